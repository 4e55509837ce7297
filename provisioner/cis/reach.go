package cis

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/hashicorp/packer-plugin-sdk/template/interpolate"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/remote"
	"github.com/k3s-cis/packer-plugin-k3s/internal/rootfs"
)

// Generated data that the builder k3s-image publishes for a tree it holds on
// the build host.
const (
	rootDirectoryKey = "RootDirectory"
	rootReadOnlyKey  = "RootReadOnly"
	rootHiddenKey    = "RootHidden"
)

// access is the way to a node.
type access struct {
	target node.Target
	// name says how the node is reached, for the log and the report.
	name string
	// machine is what is behind the communicator; nil where there is none.
	machine *remote.Machine
	// root is the directory on the build host that holds the node; nil when the
	// node is behind a communicator.
	root *rootfs.Directory
	// rootPath is that directory; empty where root is nil.
	rootPath string
	// readOnly is true where nothing may be written.
	readOnly bool
	// ssh is true for a machine that Packer needs a login at until it is shut down;
	// user is whom it logs in as.
	ssh  bool
	user string
	// container is true where the node is a container.
	container bool
	// settle waits for what still goes on there; nil where nothing does.
	settle func(context.Context)
}

// refused says of communicator types why k3s-cis cannot work over them.
var refused = map[string]string{
	"none":  "the communicator is none: it reports success without running anything, so that nothing could be hardened or judged; use ssh, or build with the k3s-image builder",
	"winrm": "the communicator is winrm: K3s servers and agents run on Linux; use ssh",
	// What packer-plugin-docker calls its own when windows_container is set.
	"dockerWindowsContainer": "the container is a Windows container: K3s servers and agents run on Linux; take windows_container out",
}

// containers are the communicator types that reach a container, whose mounts do
// not get into its image.
var containers = map[string]bool{"docker": true}

// reach finds the node: a directory on the build host when the builder holds
// one, else the machine behind the communicator.
func reach(c Config, comm packersdk.Communicator, data map[string]any, say func(string)) (access, error) {
	if root, _ := data[rootDirectoryKey].(string); root != "" {
		tree := rootfs.At(root)
		if hidden, _ := data[rootHiddenKey].(string); hidden != "" {
			why := map[string]string{}
			if err := json.Unmarshal([]byte(hidden), &why); err != nil {
				return access{}, fmt.Errorf("%s of the builder cannot be read: %w", rootHiddenKey, err)
			}
			tree = tree.Hiding(why)
		}
		return access{
			target:   tree,
			name:     "root directory",
			root:     tree,
			rootPath: root,
			readOnly: data[rootReadOnlyKey] == "true",
		}, nil
	}
	connection, _ := data["ConnType"].(string)
	if why, no := refused[connection]; no {
		return access{}, errors.New(why)
	}
	if comm == nil {
		return access{}, errors.New("the builder gives no communicator: use one that connects to the machine, or the k3s-image builder")
	}
	if connection == "" {
		connection = "communicator"
	}
	machine := remote.New(comm, remote.Options{
		Wrap:       c.wrapper(data),
		Timeout:    c.CommandTimeout,
		Log:        say,
		Progress:   say,
		KernelRead: kernelNames(),
		K3sVersion: true,
		Early:      true,
		Container:  containers[connection],
	})
	user, _ := data["User"].(string)
	return access{target: machine, machine: machine, name: connection, ssh: connection == "ssh", user: user, container: containers[connection], settle: machine.Settle}, nil
}

// wrapper renders execute_command around the one remote command. A nil wrapper
// leaves the choice to the transport.
func (c Config) wrapper(data map[string]any) func(string) (string, error) {
	template := c.ExecuteCommand
	switch {
	case template != "":
	case c.UseSudo.True():
		template = "sudo -n {{ .Path }}"
	case c.UseSudo.False():
		template = "{{ .Path }}"
	default:
		return nil
	}
	return func(command string) (string, error) {
		ctx := c.ctx
		values := make(map[string]any, len(data)+2)
		for k, v := range data {
			values[k] = v
		}
		values["Path"], values["Vars"] = command, ""
		ctx.Data = values
		// RenderOnce, since the command is not the user's and must not be read
		// as a template again.
		rendered, err := interpolate.RenderOnce(template, &ctx)
		if err != nil {
			return "", errors.New("execute_command: " + notRendered)
		}
		return rendered, nil
	}
}

// kernelNames are the kernel parameters that a running machine is asked for.
func kernelNames() []string {
	var names []string
	for _, p := range k3s.KernelParameters() {
		names = append(names, p.Name)
	}
	return names
}
