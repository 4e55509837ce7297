// Package kube is what Kubernetes itself accepts of the files and flags that a
// node gives it, judged by Kubernetes's own loaders and libraries wherever one
// exists. Refusals name the reason the API server or K3s would give and what
// would be right. The package knows nothing of CIS, the guide or Packer.
package kube
