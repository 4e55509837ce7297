// Package selinux tells which labels the SELinux policy of a root file system
// gives to files. It reads the policy's own files, so that the host needs no
// SELinux, no policy and no program of the tree: see selabel_file(5) and
// selinux_config(5) for the formats.
package selinux
