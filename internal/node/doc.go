// Package node is the model: a machine as data, files with mode, owner and
// bytes, and the kernel parameters of a running one; the questions that can be
// asked of it and the changes that can be made. It knows no machine and no
// disk: targets in other rooms answer and change, and all are held to nodetest.
package node
