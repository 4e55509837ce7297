# A server whose cluster is stricter than the guide, and knows the platforms that run
# on it: what the API server admits, records and limits, and what the kubelet allows.
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

source "k3s-image" "node" {
  iso_url      = var.base
  iso_checksum = var.base_checksum
  vm_name      = "node"
  format       = "tar"
}

# The plugin's own policies, by options.
build {
  name = "options"
  source "k3s-image.node" {
    output_directory = "${path.root}/output/options"
  }

  provisioner "k3s-cis" {
    k3s_version = "v1.36.3+k3s1"
    benchmark   = "cis-2.0"
    report_dir  = "${path.root}/output/options/report"

    pod_security {
      enforce                = "restricted"
      audit                  = "restricted"
      warn                   = "restricted"
      version                = "v1.36"
      presets                = ["longhorn", "monitoring"]
      exempt_namespaces      = ["ingress"]
      exempt_usernames       = []
      exempt_runtime_classes = ["kata"]
    }

    audit {
      profile    = "metadata"
      level      = "Request"
      log_path   = "/var/log/k3s/audit.log"
      max_age    = 90
      max_backup = 20
      max_size   = 200
    }

    event_rate_limit {
      limit {
        type  = "Server"
        qps   = 5000
        burst = 20000
      }
      limit {
        type       = "Namespace"
        qps        = 50
        burst      = 100
        cache_size = 2000
      }
    }

    network_policies {
      namespaces           = ["payments"]
      allow_dns            = true
      allow_metrics_server = true
      allow_service_lb     = false
      allow_traefik        = false
      manifests            = ["${path.root}/registry.yaml"]
    }

    # K3s's configuration and its components' arguments, beside the guide's.
    config                       = { write-kubeconfig-mode = "0600", disable = jsonencode(["traefik", "servicelb"]) }
    config_file                  = "${path.root}/config.yaml"
    kube_apiserver_args          = ["max-requests-inflight=600"]
    kube_controller_manager_args = ["node-monitor-grace-period=60s"]
    kube_scheduler_args          = ["kube-api-qps=100"]
    kubelet_args                 = ["max-pods=200"]

    service_accounts            = true
    secrets_encryption_provider = "secretbox"
    pod_max_pids                = 2048
    seccomp_default             = true
    deny_service_external_ips   = true
    strict_manifests            = true
    tls_cipher_suites = [
      "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
      "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    ]
    sysctl = { "net.core.somaxconn" = "4096" }
  }
}

# Policies of your own, as files. The API server's loader reads them before anything
# is written.
build {
  name = "files"
  source "k3s-image.node" {
    output_directory = "${path.root}/output/files"
  }

  provisioner "k3s-cis" {
    k3s_version = "v1.36.3+k3s1"
    overwrite   = "config,policies"
    report_dir  = "${path.root}/output/files/report"

    pod_security {
      policy_file = "${path.root}/pod-security.yaml"
    }
    audit {
      policy_file = "${path.root}/audit.yaml"
    }
  }
}
