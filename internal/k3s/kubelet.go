package k3s

// kubeletFiles shows the kubelet's configuration files as the flags they
// stand for.
func (r *resolver) kubeletFiles(user []Value, defaults []Argument) ([]Value, []Argument) {
	return user, defaults
}
