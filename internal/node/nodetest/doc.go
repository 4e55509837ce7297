// Package nodetest holds the tests that say what reading and changing a node
// means. They run against every kind of target, each in its own room, on trees
// that are laid on this host.
package nodetest
