// Package benchmark judges a node against the CIS Kubernetes benchmarks as the K3s
// documentation applies them. The controls are data (see catalogue/README.md);
// evaluation is a pure function of that data, the node's evidence, its
// effective K3s configuration and the waivers. It never looks at what anybody
// meant to put on the node.
package benchmark
