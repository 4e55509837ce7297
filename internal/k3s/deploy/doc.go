// Package deploy is what K3s's deploy controller makes of the manifests
// directory (pkg/deploy/controller.go): every 15 seconds it walks the
// directory, links to directories at its top included, deletes what the key
// disable names, passes over dotfiles, what has a .skip file and what is no
// manifest by its ending, and applies the rest in the order of paths, each file
// as an AddOn named after it up to the first dot. One link that leads nowhere
// ends the walk before anything is done. It also knows which files K3s writes
// there itself, and which archives it imports before the kubelet runs.
//
// Callers hand over what is on the node and get the objects that K3s would
// deploy, with everything that keeps one from being deployed.
package deploy
