# The card of a small arm64 machine at the edge: a vendor's disk image, with K3s's arm64
# release put into it, hardened and judged on this host, which may be of any architecture.
packer {
  required_plugins {
    k3s = {
      source  = "github.com/k3s-cis/k3s"
      version = ">= 0.1.0"
    }
  }
}

variable "images" {
  type        = list(string)
  description = "Where the vendor's image is: the first that answers is taken."
  default = [
    "https://mirror.example.com/debian-12-generic-arm64.qcow2",
    "https://cloud.debian.org/images/cloud/bookworm/latest/debian-12-generic-arm64.qcow2",
  ]
}

variable "image_checksum" {
  type        = string
  description = "Its checksum, such as sha512:HEX or file:URL."
}

variable "partition" {
  type        = string
  default     = ""
  description = "The root's partition, such as LABEL=writable; found by itself where it is empty."
}

variable "releases" {
  type        = string
  default     = "https://github.com/k3s-io/k3s/releases/download"
  description = "Where K3s's releases are, or a mirror of them."
}

source "k3s-image" "edge" {
  iso_urls             = var.images
  iso_checksum         = var.image_checksum
  iso_target_path      = "${path.root}/downloads"
  iso_target_extension = "img"
  architecture         = "arm64"
  partition            = var.partition
  output_directory     = "${path.root}/output"
  vm_name              = "edge"
  format               = "raw"
  disk_size            = "8G"
  checksum             = true
}

build {
  sources = ["source.k3s-image.edge"]

  provisioner "k3s-cis" {
    role          = "agent"
    config_layout = "drop-in"
    report_dir    = "${path.root}/output/report"

    install {
      version         = "v1.36.3+k3s1"
      artifact_url    = var.releases
      bin_dir         = "/usr/local/bin"
      service         = "systemd"
      registries_file = "${path.root}/registries.yaml"
      # For machines that enforce SELinux, the module of k3s-selinux and its digest:
      selinux_policy          = ""
      selinux_policy_checksum = ""
      # For machines without a network, the release's archive of images and its digest:
      airgap_images = []
    }
    seal {
      enabled = true
    }
  }
}
