// Package install puts K3s itself into an image: its binary, a service that
// starts it, an environment file and archives of container images. It turns files
// of the build host into a change of a node, and starts nothing.
package install
