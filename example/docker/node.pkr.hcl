# A container image of a node, hardened through the engine's own commands, as a user who
# becomes root by sudo.
packer {
  required_plugins {
    docker = {
      source  = "github.com/hashicorp/docker"
      version = ">= 1.1.2"
    }
    k3s = {
      source  = "github.com/k3s-cis/k3s"
      version = ">= 0.1.0"
    }
  }
}

variable "image" {
  type        = string
  description = "A container image with a user who may use sudo."
}

variable "user" {
  type    = string
  default = "packer"
}

variable "signing_key" {
  type        = string
  sensitive   = true
  default     = ""
  description = "The text of a private key (PEM); without it the statement is not signed."
}

source "docker" "node" {
  image     = var.image
  commit    = true
  pull      = false
  exec_user = var.user
}

build {
  sources = ["source.docker.node"]

  # K3s is started by an entry point of the image's own, which a service would do otherwise.
  provisioner "k3s-cis" {
    k3s_version     = "v1.36.3+k3s1"
    role            = "server"
    k3s_command     = "server --config /etc/rancher/k3s/config.yaml"
    use_sudo        = true
    command_timeout = "2m"
    report_dir      = "output/report"

    # Stop a K3s that runs, and let the users' keys stay.
    seal {
      keep  = ["authorized-keys"]
      reset = true
    }
  }

  # The same once more, only to judge, through doas.
  provisioner "k3s-cis" {
    k3s_version     = "v1.36.3+k3s1"
    mode            = "check"
    k3s_command     = "server --config /etc/rancher/k3s/config.yaml"
    execute_command = "doas {{ .Path }}"
    report_dir      = "output/check"
  }

  post-processor "k3s-attest" {
    report           = "output/report"
    key              = var.signing_key
    output_directory = "output"
  }
}
