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
  description = "A cloud image (qcow2) with cloud-init, such as Debian's genericcloud."
}

variable "image_checksum" {
  type = string
}

# cloud-init makes the user that Packer works as from a seed on a second disk,
# and the last command removes it again: seal knows keys and rules, but not who is
# to stay.
locals {
  user     = "packer"
  password = uuidv4()
  seed = {
    "meta-data" = "instance-id: packer\n"
    "user-data" = <<-SEED
      #cloud-config
      ssh_pwauth: true
      users:
        - name: ${local.user}
          plain_text_passwd: ${local.password}
          lock_passwd: false
          shell: /bin/sh
          sudo: ALL=(ALL) NOPASSWD:ALL
    SEED
  }
  farewell = [
    "userdel --force --remove ${local.user}",
    "systemctl poweroff",
  ]
}

source "qemu" "server" {
  iso_url          = var.image
  iso_checksum     = var.image_checksum
  disk_image       = true
  cd_label         = "cidata"
  cd_content       = local.seed
  output_directory = "output"
  vm_name          = "server.qcow2"
  ssh_username     = local.user
  ssh_password     = local.password
  shutdown_command = "sudo sh -c '${join("; ", local.farewell)}'"
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

    # Nothing of the machine that this image is made on goes into it.
    seal {
      package_caches = true
    }

    waiver {
      control = "4.2.5"
      reason  = "port forwards of the CI system stay open for hours"
      owner   = "platform@example.com"
      expires = "2027-06-30"
    }
  }
}
