// Package service is what a node's service manager will start, read from the
// node's files: systemd units with their drop-ins, aliases and specifiers,
// OpenRC scripts, environment files. What it cannot follow it says, and never
// guesses. It knows how systemd reads configuration, and nothing of K3s.
package service
