# A golden AMI: an agent node on Ubuntu, hardened over SSH before the snapshot.
packer {
  required_plugins {
    amazon = {
      source  = "github.com/hashicorp/amazon"
      version = ">= 1.3.0"
    }
    k3s = {
      source  = "github.com/k3s-cis/k3s"
      version = ">= 0.1.0"
    }
  }
}

variable "k3s" {
  type        = string
  description = "The k3s binary of the release, checked against its sha256sum file."
}

variable "region" {
  type    = string
  default = "eu-central-1"
}

source "amazon-ebs" "agent" {
  ami_name      = "k3s-agent-{{timestamp}}"
  instance_type = "t3.small"
  region        = var.region
  ssh_username  = "ubuntu"

  source_ami_filter {
    filters = {
      name                = "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-*"
      virtualization-type = "hvm"
    }
    owners      = ["099720109477"]
    most_recent = true
  }
}

build {
  sources = ["source.amazon-ebs.agent"]

  # Put K3s in first: its release is then read from the binary.
  provisioner "file" {
    source      = var.k3s
    destination = "/tmp/k3s"
  }

  provisioner "shell" {
    inline = [
      "sudo install -m 0755 /tmp/k3s /usr/local/bin/k3s",
      "rm /tmp/k3s",
    ]
  }

  provisioner "k3s-cis" {
    role       = "agent"
    report_dir = "report"
  }
}
