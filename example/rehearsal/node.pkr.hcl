# A tree that is already on this host, with K3s put into it and started once before there
# is an image: what is deferred to first boot otherwise is proven.
packer {
  required_plugins {
    k3s = {
      source  = "github.com/k3s-cis/k3s"
      version = ">= 0.1.0"
    }
  }
}

variable "rootfs" {
  type        = string
  description = "A directory that holds a root file system. It is changed in place."
}

source "k3s-image" "node" {
  rootfs_directory = var.rootfs
  output_directory = "${path.root}/output"
  vm_name          = "node"
  format           = "qcow2"
}

build {
  sources = ["source.k3s-image.node"]

  provisioner "k3s-cis" {
    role       = "server"
    report_dir = "${path.root}/output/report"

    install {
      version = "v1.36.3+k3s1"
    }
    rehearsal {
      agent    = false
      timeout  = "3m"
      keep_log = true
      required = true
    }
  }
}
