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

source "k3s-image" "existing" {
  iso_url      = var.image
  iso_checksum = "none"
  read_only    = true
}

build {
  sources = ["source.k3s-image.existing"]

  provisioner "k3s-cis" {
    mode       = "check"
    report_dir = "report"
  }
}
