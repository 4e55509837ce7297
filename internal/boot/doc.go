// Package boot is what a node does to its own disk and kernel when it boots,
// and while it runs, besides applying sysctl files: tmpfiles.d, udev rules,
// scripts, cron tables, commands of units, of cloud-init and of modprobe. It
// knows nothing of K3s.
//
// What can be read exactly is known: a mode that is set, a value that is
// written. Of the rest it is known which path or parameter it may change, so
// that nobody relies on what the disk holds there.
package boot
