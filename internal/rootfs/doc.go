// Package rootfs is a node in a directory of this host: a mounted image, an
// unpacked root file system. It collects what is asked for and puts changes in
// place as a transaction, with the labels that the tree's own SELinux policy
// gives. Nothing of the tree is executed, and no symbolic link leads out of it.
package rootfs
