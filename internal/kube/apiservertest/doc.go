// Package apiservertest runs the real kube-apiserver and its store for
// acceptance tests: as it would run inside K3s, from the same arguments and
// files, with certificates and keys made in place of those K3s makes at its
// first start. It needs etcd on the PATH and builds kube-apiserver with the
// pinned modules below tools/.
package apiservertest
