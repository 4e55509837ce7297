// Package remote is a node behind a Packer communicator: what node.Target asks,
// done by one shell command.
//
// # The request
//
// A request is an archive: the scripts of scripts/ as they are, the contents
// of new files, the settings of this run and plan.sh, which names each thing to
// be done once. It travels in one of four ways, tried in this order, each after
// the machine has refused the one before: on the standard input of one command;
// poured into a file; typed in, where there is a terminal between; uploaded.
// A machine whose way is known is not asked again.
//
// # The states of a run
//
// guard.sh stays from the first moment to the last and runs worker.sh, which
//
//  1. waits its turn, and takes back what a run left behind that was cut off;
//  2. compares what the plan assumed; where that does not hold, the answer is
//     "stale" and nothing is changed;
//  3. prepares everything in staging directories beside its destination, and
//     the script "undo" that can take all of it back;
//  4. makes the mark "armed", and only then puts anything in place;
//  5. has it all on the disk, reads back what was asked for, and makes the mark
//     "settled": from here on the change is final.
//
// Where anything fails or ends between "armed" and "settled", the guard runs
// "undo". So a machine is as before or completely changed, whatever becomes of
// the connection, the worker, or the power; what cannot be put back stays in
// the staging directory, and the answer says where.
//
// A request may run a program of the caller's instead (Program): from a directory in
// memory, and no longer than somebody waits for it. What it reads ends when nobody
// hears the machine any more, when the caller stops it, or when the time is over.
//
// # The answer
//
// Exit status 0 proves nothing. An answer counts when it is whole and signed
// with the nonce of its request: lines about paths, then contents, then how many
// there were. It comes from a machine that may be hostile: each part has a
// limit, and what was not asked for is damage.
package remote
