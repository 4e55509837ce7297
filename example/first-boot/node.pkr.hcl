# One image for servers and agents, whose configuration cloud-init writes at first
# boot: server.user-data and agent.user-data say which of the two a machine is.
packer {
  required_plugins {
    k3s = {
      source  = "github.com/k3s-cis/k3s"
      version = ">= 0.1.0"
    }
  }
}

variable "base" {
  type        = string
  description = "Root file system as a tar, such as `tools/base/build` makes."
}

variable "base_checksum" {
  type        = string
  description = "Its checksum, such as sha256:HEX or file:PATH."
}

source "k3s-image" "node" {
  iso_url          = var.base
  iso_checksum     = var.base_checksum
  output_directory = "${path.root}/output"
  vm_name          = "node"
  format           = "qcow2"
  disk_size        = "2G"
}

build {
  sources = ["source.k3s-image.node"]

  # The services as K3s's installer makes them; neither is enabled yet.
  provisioner "file" {
    source      = "${path.root}/k3s.service"
    destination = "/etc/systemd/system/k3s.service"
  }
  provisioner "file" {
    source      = "${path.root}/k3s-agent.service"
    destination = "/etc/systemd/system/k3s-agent.service"
  }

  provisioner "k3s-cis" {
    k3s_version   = "v1.36.3+k3s1"
    role          = "both"
    config_layout = "drop-in"
    report_dir    = "${path.root}/output/report"
  }
}
