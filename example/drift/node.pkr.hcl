# Judges a node in service over SSH and compares it with how it was: nothing is changed,
# and the build fails where a control is further from proven than in the baseline.
packer {
  required_plugins {
    k3s = {
      source  = "github.com/k3s-cis/k3s"
      version = ">= 0.1.0"
    }
  }
}

variable "host" {
  type        = string
  description = "The node's name or address."
}

variable "user" {
  type    = string
  default = "root"
}

variable "key_file" {
  type        = string
  description = "The private key of that user."
}

variable "role" {
  type    = string
  default = "server"
}

variable "baseline" {
  type        = string
  default     = ""
  description = "An earlier report.json of this node; none for the first look."
}

# A node in service has what an image must not have: accepted here, and said in the
# reports. What it has by nature, such as a machine ID, is deferred by itself.
locals {
  in_service = [
    "server-credentials", "server-tls", "tokens", "datastore", "node-identity",
    "kubeconfig", "agent-credentials", "agent-state", "logs",
  ]
}

source "null" "node" {
  ssh_host             = var.host
  ssh_username         = var.user
  ssh_private_key_file = var.key_file
}

build {
  sources = ["source.null.node"]

  provisioner "k3s-cis" {
    mode       = "check"
    role       = var.role
    baseline   = var.baseline
    report_dir = "reports/${var.host}"

    dynamic "waiver" {
      for_each = local.in_service
      content {
        control = "node.hygiene.${waiver.value}"
        reason  = "the node is in service"
        owner   = "platform@example.com"
        expires = "2027-06-30"
      }
    }
  }
}
