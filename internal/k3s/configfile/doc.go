// Package configfile edits a configuration file of K3s so that what is not
// changed keeps its bytes: comments, blank lines, quotes and order. A file is
// parsed, its entries are found by K3s's names for them, items are set, added
// and removed, and what is rendered means that and nothing else, or is refused.
package configfile
