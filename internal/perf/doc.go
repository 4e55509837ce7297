// Package perf holds `make bench`: it compares what hardening a node over SSH
// costs with other ways to lay down the same files, and measures the check pass.
//
// # How to read the table
//
// Every way runs against a real OpenSSH server on a fresh machine, through a
// proxy that makes a round trip take 0, 50 or 150 ms. After each run the
// machine's files, modes and owners are compared with the plan: a way that did
// not do the work has no figure.
//
//   - seconds is the median of the runs, from start to end of the process.
//   - adds is seconds less those of connecting alone with the same client: the
//     null builder without provisioner for what Packer runs, a login without a
//     command for ssh and Ansible.
//   - channels is how many SSH channels the server opened.
//   - round trips is how often the client waited for the server more than for
//     connecting alone. It is counted where there is a delay, and is an upper bound.
//   - KiB in and out are what went to the server and came back, encrypted, more
//     than for connecting alone.
//
// The ways:
//
//   - "k3s-cis" is this plugin: files laid down, everything that the benchmark
//     asks about brought back, judged and reported.
//   - "ssh, same bytes" is one bare ssh command that takes as many bytes on
//     standard input and gives as many on standard output, and does nothing with
//     them.
//   - "file + shell" is one file provisioner a file, and one shell provisioner
//     that installs them with mode and owner and prints both with a digest.
//   - "Ansible" is a playbook of file, copy and stat with pipelining, one
//     connection for all and no facts.
//
// Ours waits for the machine's disk, several times: what it says must be there
// whatever becomes of the power. That is why it may take twice as long as a
// command that waits for nothing.
//
// "install 200 MB" is ours with K3s itself and an archive of images, which
// "cat >file" brings alone, neither verified nor waited for until the disk has it.
//
// The images are made of one disk of 2, 8 and 32 GiB with the same tree on it. adds
// is less what Packer takes for a build with the null builder. "k3s-image" hardens,
// judges and reports, as above; "cp, virt-customize" copies the disk and lays down the
// same files, without judging them; the other two only copy. reread is how much of
// seconds goes by while the finished image is read again, and its digest computed,
// until Packer has ended.
//
// "rehearsal {}" starts a program in K3s's place that is up at once and answers what is
// asked as K3s would. adds is what the rehearsal takes beyond the time until that
// program is up: sending, laying the node's files out in namespaces, some twenty asks of
// which each is a process, searching the datastore, and leaving nothing behind.
//
// Ratios are comparable between machines, seconds are not. A target that was
// missed is printed as MISSED; the run still succeeds, since other load on the
// machine can be the reason, which is why the load is printed too.
package perf
