// Package remote is a node behind a Packer communicator: the operations of
// node.Target by one shell command, whose scripts are in scripts/.
package remote
