// Package safetext makes fit to be shown what comes from a node: its owner may
// be hostile and its files may hold secrets. It has the one way in which control
// characters are cleaned out of a text, the one way in which passwords are taken
// out of it, what may be said of a file that a parser refuses, and which name a
// misspelt one was meant to be.
package safetext
