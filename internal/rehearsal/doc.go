// Package rehearsal is the first start of K3s before there is an image: what is
// done and asked then (Request), and what was seen (Observation). It starts
// nothing itself: the room tree does, for a directory of this host, and the room
// machine, behind a communicator, each by one program that writes a transcript of
// lines.
//
// The order of a rehearsal:
//
//  1. In namespaces of its own (mount, network, process, name, IPC, cgroup) the
//     node's files are laid below a scratch in memory, so that nothing of the
//     start gets to the disk; the kernel's parameters are read-only but for those
//     of the network, which are the namespace's.
//  2. K3s is started as the node's own service starts it, without a network but
//     an address of its own.
//  3. When it says that it is up, the asks are put to it with its own kubectl,
//     each again until what is awaited is there or the time for it is over.
//  4. The datastore is searched for a Secret that was made, modes and owners of
//     files are looked at, and the first process of the namespaces ends: with it
//     everything else does.
//
// What was not seen proves nothing: an ask without an answer leaves a control as
// it was before.
package rehearsal
