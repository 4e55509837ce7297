// Package sysctl is the kernel parameters that a node will have after boot, by
// its files alone: the sysctl.d directories in the order systemd-sysctl applies
// them, /etc/sysctl.conf, and the kernel command line.
package sysctl
