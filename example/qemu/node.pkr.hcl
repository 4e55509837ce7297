# A qcow2 image made by booting one: a server node with a stricter policy than
# the guide's, and one control that the organisation accepts.
packer {
  required_plugins {
    qemu = {
      source  = "github.com/hashicorp/qemu"
      version = ">= 1.0.9"
    }
    k3s = {
      source  = "github.com/k3s-cis/k3s"
      version = ">= 0.1.0"
    }
  }
}

variable "image" {
  type        = string
  description = "A cloud image (qcow2) with a user `debian` that has sudo."
}

variable "image_checksum" {
  type = string
}

source "qemu" "server" {
  iso_url          = var.image
  iso_checksum     = var.image_checksum
  disk_image       = true
  output_directory = "output"
  vm_name          = "server.qcow2"
  ssh_username     = "debian"
  ssh_agent_auth   = true
  shutdown_command = "sudo systemctl poweroff"
  headless         = true
}

build {
  sources = ["source.qemu.server"]

  provisioner "k3s-cis" {
    k3s_version = "v1.36.3+k3s1"
    role        = "server"
    report_dir  = "output/report"

    pod_security {
      enforce           = "restricted"
      exempt_namespaces = ["kube-system", "storage"]
    }

    audit {
      profile = "recommended"
      max_age = 90
    }

    kubelet_args = ["streaming-connection-idle-timeout=0"]

    waiver {
      control = "4.2.5"
      reason  = "port forwards of the CI system stay open for hours"
      owner   = "platform@example.com"
      expires = "2027-06-30"
    }
  }
}
