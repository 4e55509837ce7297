# One node of a fleet, as `run bake` makes it: a release, a role, an architecture.
packer {
  required_plugins {
    k3s = {
      source  = "github.com/k3s-cis/k3s"
      version = ">= 0.1.0"
    }
  }
}

variable "name" {
  type        = string
  description = "What the image and the folder of its report are called."
}

variable "release" {
  type        = string
  description = "The release of K3s that the image will run, such as v1.36.3+k3s1."
}

variable "role" {
  type        = string
  description = "server or agent."
}

variable "architecture" {
  type        = string
  description = "The architecture of the base. Nothing of it is run: any host makes it."
}

variable "base" {
  type        = string
  description = "Root file system as a tar, a path or a URL; {architecture} in it stands for the architecture."
}

variable "base_checksum" {
  type        = string
  default     = ""
  description = "Its checksum, with {architecture} too; without one the file beside it that ends in .sha256 has it."
}

variable "images" {
  type = string
}

variable "reports" {
  type = string
}

locals {
  base          = replace(var.base, "{architecture}", var.architecture)
  base_checksum = replace(var.base_checksum, "{architecture}", var.architecture)
}

source "k3s-image" "node" {
  iso_url          = local.base
  iso_checksum     = local.base_checksum == "" ? "file:${local.base}.sha256" : local.base_checksum
  output_directory = "${var.images}/${var.name}"
  vm_name          = var.name
  format           = "qcow2"
  disk_size        = "2G"
}

build {
  sources = ["source.k3s-image.node"]

  provisioner "k3s-cis" {
    k3s_version = var.release
    role        = var.role
    report_dir  = "${var.reports}/${var.name}"
  }
}
