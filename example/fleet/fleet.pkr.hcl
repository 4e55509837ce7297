# The images of a fleet: for the server that starts a cluster, for servers and agents
# that join it, and one for all of them, which becomes what its first boot says. What
# they join, and with which token, comes then: neither is in an image.
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

variable "k3s" {
  type        = string
  default     = "https://github.com/k3s-io/k3s/releases/download/v1.36.3%2Bk3s1/k3s"
  description = "K3s's binary: a path, or a URL."
}

variable "k3s_checksum" {
  type        = string
  default     = "file:https://github.com/k3s-io/k3s/releases/download/v1.36.3%2Bk3s1/sha256sum-amd64.txt"
  description = "Its checksum, such as sha256:HEX."
}

source "k3s-image" "node" {
  iso_url      = var.base
  iso_checksum = var.base_checksum
  vm_name      = "node"
  format       = "qcow2"
  disk_size    = "2G"
}

# Starts a cluster. cloud-init/first-server.yaml gives it the token.
build {
  name = "first-server"
  source "k3s-image.node" {
    output_directory = "${path.root}/output/first-server"
  }
  provisioner "k3s-cis" {
    role          = "server"
    config_layout = "drop-in"
    config        = { cluster-init = true }
    report_dir    = "${path.root}/output/first-server/report"
    install {
      binary   = var.k3s
      checksum = var.k3s_checksum
    }
  }
}

# Joins as a server. cloud-init/server.yaml says what, and gives it the token.
build {
  name = "server"
  source "k3s-image.node" {
    output_directory = "${path.root}/output/server"
  }
  provisioner "k3s-cis" {
    role          = "server"
    config_layout = "drop-in"
    report_dir    = "${path.root}/output/server/report"
    install {
      binary   = var.k3s
      checksum = var.k3s_checksum
    }
  }
}

# Joins as an agent. cloud-init/agent.yaml says what, and gives it the token.
build {
  name = "agent"
  source "k3s-image.node" {
    output_directory = "${path.root}/output/agent"
  }
  provisioner "k3s-cis" {
    role          = "agent"
    config_layout = "drop-in"
    report_dir    = "${path.root}/output/agent/report"
    install {
      binary   = var.k3s
      checksum = var.k3s_checksum
    }
  }
}

# Becomes any of them: by cloud-init/any-*.yaml, by ignition/*.ign, or by the file
# k3s-node on the boot partition, which the service that is baked here reads.
build {
  name = "any"
  source "k3s-image.node" {
    output_directory = "${path.root}/output/any"
  }
  provisioner "file" {
    source      = "${path.root}/boot-partition/k3s-node-role"
    destination = "/usr/local/sbin/k3s-node-role"
  }
  provisioner "file" {
    source      = "${path.root}/boot-partition/systemd/"
    destination = "/etc/systemd/system"
  }
  provisioner "k3s-cis" {
    role          = "both"
    config_layout = "drop-in"
    report_dir    = "${path.root}/output/any/report"
    install {
      binary   = var.k3s
      checksum = var.k3s_checksum
    }
  }
}
