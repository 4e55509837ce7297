package boot

import (
	"path"

	"go.yaml.in/yaml/v3"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// stages reads the configuration of a system that goes through stages at each boot
// (Kairos, Elemental): the commands, parameters and files of all of them.
func (c *Changes) stages(e node.Entry, text string) {
	c.cloudConfig(e, text)
	var doc struct {
		Stages map[string][]struct {
			Commands []yaml.Node          `yaml:"commands"`
			Sysctl   map[string]yaml.Node `yaml:"sysctl"`
			Files    []struct {
				Path    yaml.Node `yaml:"path"`
				Content string    `yaml:"content"`
			} `yaml:"files"`
		} `yaml:"stages"`
		Server started `yaml:"k3s"`
		Agent  started `yaml:"k3s-agent"`
	}
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		c.search(e.Path, 1, text)
		return
	}
	doc.Server.starts(c, e, "server")
	doc.Agent.starts(c, e, "agent")
	for _, stage := range doc.Stages {
		for _, step := range stage {
			for _, n := range step.Commands {
				c.run(e.Path, n.Line, n.Value)
			}
			for key, n := range step.Sysctl {
				c.set(Place{e.Path, n.Line}, parameterPath(key), n.Value, true, false)
			}
			for _, f := range step.Files {
				if path.IsAbs(f.Path.Value) {
					s := &shell{changes: c}
					s.written(Place{e.Path, f.Path.Line}, word{f.Path.Value, true}, f.Content, true)
				}
			}
		}
	}
}

// started is how such a system starts K3s with arguments of its own.
type started struct {
	Args []yaml.Node `yaml:"args"`
}

func (s started) starts(c *Changes, e node.Entry, role string) {
	if len(s.Args) == 0 {
		return
	}
	words := []word{{role, true}}
	for _, a := range s.Args {
		words = append(words, word{a.Value, true})
	}
	c.called(Place{e.Path, s.Args[0].Line}, "k3s", words)
}
