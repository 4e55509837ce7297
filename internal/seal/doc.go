// Package seal knows what an image carries of the machine that it was built on,
// and not of the fleet: K3s's state and identity, the machine's own, the keys of
// the build, what was logged and typed.
//
// Items is the whole list, and nothing outside it is removed. Make is a pure
// function of the options and of what a node has, and gives the change to make. A
// machine that is reached by SSH needs some of it until it is shut down, and makes
// some of it anew until then: that waits for a service which runs at the shutdown,
// or at the first boot where there was none, and then removes itself. The same
// service makes SSH host keys at the first boot.
package seal
