# Judges an image that somebody else made. Nothing is changed and no image is
# made; the build fails if a control does not hold.
packer {
  required_plugins {
    k3s = {
      source  = "github.com/k3s-cis/k3s"
      version = ">= 0.1.0"
    }
  }
}

variable "image" {
  type        = string
  description = "A disk image (raw or qcow2) or a root file system tar."
}

variable "k3s_version" {
  type        = string
  default     = ""
  description = "The release that the image will run; asked of the image's own K3s where it is empty."
}

variable "role" {
  type    = string
  default = "server"
}

source "k3s-image" "existing" {
  iso_url      = var.image
  iso_checksum = "none"
  read_only    = true
}

build {
  sources = ["source.k3s-image.existing"]

  provisioner "k3s-cis" {
    mode        = "check"
    k3s_version = var.k3s_version
    role        = var.role
    report_dir  = "report"
  }
}
