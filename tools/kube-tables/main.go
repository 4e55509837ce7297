// Command kube-tables makes the tables of internal/kube anew from the
// Kubernetes that this module requires: flags.tsv, the flags of each component,
// plugins.tsv, the admission plugins of kube-apiserver, and gates.tsv, the feature
// gates that a process with every component has, as K3s is. What earlier
// releases had is in the tables already: a name that this release does not have
// gets it as the first that has it no more, a new name as the first that has it.
// A feature gate whose stage or default changes is one that goes and one that comes.
//
//	go run . DIRECTORY      the tables' directory, ../../internal/kube
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"k8s.io/apiserver/pkg/util/feature"
	_ "k8s.io/component-base/logs/json/register" // has flags of its own
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	kubeproxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app/options"
	"k8s.io/kubernetes/pkg/kubeapiserver/options"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "kube-tables:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("want the directory of the tables, found %q", args)
	}
	minor, err := kubernetesMinor()
	if err != nil {
		return err
	}
	flags, err := componentFlags()
	if err != nil {
		return err
	}
	var plugins []row
	for _, name := range options.AllOrderedPlugins {
		plugins = append(plugins, row{key: name[strings.LastIndex(name, "/")+1:]})
	}
	for table, rows := range map[string][]row{"flags.tsv": flags, "plugins.tsv": plugins, "gates.tsv": featureGates()} {
		if err := update(filepath.Join(args[0], table), minor, rows); err != nil {
			return err
		}
	}
	return nil
}

// kubernetesMinor is the minor of the Kubernetes that this program is built from.
func kubernetesMinor() (int, error) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return 0, fmt.Errorf("the binary has no build information")
	}
	for _, m := range info.Deps {
		if m.Path == "k8s.io/kubernetes" {
			return strconv.Atoi(strings.Split(m.Version, ".")[1])
		}
	}
	return 0, fmt.Errorf("the binary is not built from k8s.io/kubernetes")
}

// componentFlags are the flags of every component that K3s runs.
func componentFlags() ([]row, error) {
	c, err := kubelet.NewKubeletConfiguration()
	if err != nil {
		return nil, err
	}
	k := pflag.NewFlagSet("kubelet", pflag.ContinueOnError)
	kubelet.NewKubeletFlags().AddFlags(k)
	kubelet.AddKubeletConfigFlags(k, c)
	kubelet.AddGlobalFlags(k)
	k.BoolP("help", "h", false, "")
	// The kubelet's libraries register flags with the whole process, which the
	// other commands would take for their own.
	flag.CommandLine = flag.NewFlagSet(os.Args[0], flag.ContinueOnError)
	var rows []row
	for component, fs := range map[string]*pflag.FlagSet{
		"kube-apiserver":          apiserver.NewAPIServerCommand().Flags(),
		"kube-controller-manager": controllermanager.NewControllerManagerCommand().Flags(),
		"kube-proxy":              kubeproxy.NewProxyCommand().Flags(),
		"kube-scheduler":          scheduler.NewSchedulerCommand().Flags(),
		"kubelet":                 k,
	} {
		fs.VisitAll(func(f *pflag.Flag) {
			rows = append(rows, row{key: component + "\t" + canonical(f.Name), kind: kindOf(f.Value.Type())})
		})
		// Every command takes these, whether or not its own set has them.
		for name, kind := range map[string]string{"help": "bool", "version": "text"} {
			if fs.Lookup(name) == nil {
				rows = append(rows, row{key: component + "\t" + name, kind: kind})
			}
		}
	}
	return rows, nil
}

// stages are how gates.tsv says what featuregate leaves empty or writes in capitals.
var stages = map[string]string{"": "ga", "ALPHA": "alpha", "BETA": "beta", "DEPRECATED": "deprecated"}

// featureGates are the gates that the components have registered by now with the
// one registry that they share where they are one process.
func featureGates() []row {
	var rows []row
	for name, spec := range feature.DefaultMutableFeatureGate.GetAll() {
		locked := ""
		if spec.LockToDefault {
			locked = "locked"
		}
		rows = append(rows, row{key: strings.Join([]string{string(name), stages[string(spec.PreRelease)], strconv.FormatBool(spec.Default), locked}, "\t")})
	}
	return rows
}

// canonical writes a flag's name as Kubernetes looks it up.
func canonical(name string) string { return strings.ReplaceAll(name, "_", "-") }

// kindOf is how the tables say a flag's type: what a value of it must be.
func kindOf(flagType string) string {
	switch flagType {
	case "bool", "int", "int32", "int64", "uint", "ip", "duration":
		return flagType
	case "float32", "float64":
		return "float"
	case "strings", "stringSlice":
		return "list"
	}
	return "text"
}

// row is a line of a table: what it is about, its kind where the table has that
// column, the first minor that has it and the first that has it no more, each
// empty where it is outside of what the table covers.
type row struct{ key, kind, since, until string }

// update brings the table at path to what release minor has.
func update(path string, minor int, has []row) error {
	old, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var comment []string
	var rows []row
	for line := range strings.Lines(string(old)) {
		if strings.HasPrefix(line, "#") {
			comment = append(comment, line)
			continue
		}
		rows = append(rows, parse(strings.Split(strings.TrimSuffix(line, "\n"), "\t")))
	}
	for _, now := range has {
		i := slices.IndexFunc(rows, func(r row) bool { return r.key == now.key && r.until == "" })
		if i < 0 {
			now.since = strconv.Itoa(minor)
			rows = append(rows, now)
			continue
		}
		rows[i].kind = now.kind
	}
	for i, r := range rows {
		if r.until == "" && !slices.ContainsFunc(has, func(now row) bool { return now.key == r.key }) {
			rows[i].until = strconv.Itoa(minor)
		}
	}
	slices.SortFunc(rows, func(a, b row) int { return strings.Compare(a.String(), b.String()) })
	var b strings.Builder
	b.WriteString(strings.Join(comment, ""))
	for _, r := range rows {
		b.WriteString(r.String() + "\n")
	}
	return os.WriteFile(path, []byte(b.String()), 0o644)
}

// parse reads a row's columns: a flag's are two of the key and a kind before since
// and until, of the others all before those are the key.
func parse(c []string) row {
	until, since, c := c[len(c)-1], c[len(c)-2], c[:len(c)-2]
	if len(c) == 3 {
		return row{c[0] + "\t" + c[1], c[2], since, until}
	}
	return row{strings.Join(c, "\t"), "", since, until}
}

// String is the row as a line of its table.
func (r row) String() string {
	columns := []string{r.key, r.since, r.until}
	if r.kind != "" {
		columns = slices.Insert(columns, 1, r.kind)
	}
	return strings.Join(columns, "\t")
}
