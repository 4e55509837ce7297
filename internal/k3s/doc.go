// Package k3s is what K3s is: its releases, its paths, the configuration it
// reads from files, units and environment, how those merge, and the arguments
// it passes to its components on its own. It knows nothing of CIS or Packer.
package k3s
