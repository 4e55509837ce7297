# An image with all that an auditor asks for: what is accepted and until when, who looked
# at what CIS leaves to a person, controls of the organisation's own, what changed since
# the last image, and one signed file of it all.
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

variable "key_file" {
  type        = string
  description = "The private key to sign with (PEM): openssl genpkey -algorithm ed25519 -out attest.pem"
}

variable "baseline" {
  type        = string
  default     = ""
  description = "The report.json of the last image; none for the first."
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

  provisioner "k3s-cis" {
    k3s_version  = "v1.36.3+k3s1"
    role         = "server"
    report_dir   = "${path.root}/output/report"
    baseline     = var.baseline
    controls     = ["${path.root}/controls.yaml"]
    attestations = ["${path.root}/manual.yaml"]

    # The kubelet's connections stay open for as long as CI's jobs run.
    kubelet_args = ["streaming-connection-idle-timeout=0"]

    waiver {
      control = "4.2.5"
      reason  = "port forwards of the CI system stay open for hours"
      owner   = "platform@example.com"
      expires = "2027-06-30"
      role    = "server"
      build   = "k3s-image.node"
    }
  }

  post-processors {
    post-processor "provenance" {
      signing_mode = "key"
      signer       = var.key_file
    }
    post-processor "k3s-attest" {
      report   = "${path.root}/output/report"
      key_file = var.key_file
      bundle   = true
    }
  }
}
