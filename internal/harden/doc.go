// Package harden is the K3s CIS hardening guide as data: from options, a K3s
// release and what a node has already, it plans what the node must become.
// It knows nothing of Packer or of how the plan travels to the node.
//
// Make is a pure function, and goes through these stages:
//
//  1. The options are validated, all mistakes at once.
//  2. The node is looked at: k3s.Resolve says what K3s would run with as it is.
//     What the node's files point to and was not collected is an Incomplete,
//     which names the query that is missing; the caller asks and begins again.
//     No node stands for one that has no K3s configuration.
//  3. Options, release and node become choices: each once, with what
//     the guide of that release says where nobody chose.
//  4. The rules of the guide become what is desired of K3s's configuration, and
//     are merged into its files, of which the rest keeps its bytes (see
//     k3s/configfile). What somebody set otherwise is a conflict unless it
//     serves the control as well: never overwritten in silence.
//  5. The files of a server are added: policies, admission, manifests.
//  6. What is superseded is removed, and what is replaced is kept beside it.
//  7. The result is resolved as the node would and compared with what was
//     desired, so that a plan which K3s reads otherwise is refused.
//  8. What the plan took for granted is written down as preconditions. The target
//     verifies them before it changes anything, and says "stale" otherwise.
package harden
