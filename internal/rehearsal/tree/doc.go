// Package tree rehearses the first start of a node that is a directory on this
// host. This program itself, started once more, is the first process of the
// namespaces: it lays the tree below a scratch in memory, starts the tree's own
// K3s there, asks, and writes the transcript. The tree is never written, and what
// is done there ends with that process, which ends with this one.
package tree
