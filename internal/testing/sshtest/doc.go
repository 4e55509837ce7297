// Package sshtest gives tests and benchmarks a real machine to reach over SSH:
// an OpenSSH server whose root directory is not this host's, and a connection
// to it that takes as long as one across a continent.
package sshtest
