package rootfs

import (
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/selinux"
)

// label looks up which SELinux label the tree's own policy gives to everything
// that will be made. Nobody else does it: this host need not have SELinux, and
// on the machine that the tree becomes, what has no label is out of reach for
// confined programs, systemd-sysctl among them.
func (x *transaction) label() error {
	var files []selinux.File
	var made []*step
	for i := range x.steps {
		s := &x.steps[i]
		if s.remove || s.kept || s.exists && s.entry.Kind == node.KindDirectory {
			continue
		}
		kind := byte('-')
		switch s.entry.Kind {
		case node.KindDirectory:
			kind = 'd'
		case node.KindLink:
			kind = 'l'
		}
		files, made = append(files, selinux.File{Path: s.at, Kind: kind}), append(made, s)
	}
	if len(files) == 0 {
		return nil
	}
	policy, err := selinux.Load(x.tree.readRegular)
	if err != nil {
		return fmt.Errorf("cannot tell the SELinux labels of new files: %w", err)
	}
	if policy == nil {
		return nil
	}
	labels, err := policy.Labels(files)
	if err != nil {
		return fmt.Errorf("cannot tell the SELinux labels of new files: %w", err)
	}
	given := map[string]string{}
	for i, s := range made {
		if s.label = labels[i]; s.label == "" {
			if s.label, err = x.inherited(s, given); err != nil {
				return fmt.Errorf("cannot change %s: %w", s.shown, cause(err))
			}
		}
		given[s.at] = s.label
	}
	return nil
}

// inherited is the label of what s replaces or, where that is new, of the
// directory it comes into, as a kernel with SELinux would give it.
func (x *transaction) inherited(s *step, given map[string]string) (string, error) {
	at := s.at
	if !s.exists {
		at = path.Dir(at)
	}
	if label, ok := given[at]; ok {
		return label, nil
	}
	f, err := x.tree.open(at)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return labelOf(f)
}

// labelDirectory gives the new directory of s its label.
func (x *transaction) labelDirectory(s *step) error {
	if s.label == "" {
		return nil
	}
	f, err := x.tree.open(s.at)
	if err != nil {
		return err
	}
	return errors.Join(setLabel(f, s.label), f.Close())
}

// labelLink gives the new link of s its label: a link cannot be opened, but named
// from its directory.
func (x *transaction) labelLink(s *step) error {
	if s.label == "" {
		return nil
	}
	dir, err := x.tree.open(path.Dir(s.at))
	if err != nil {
		return err
	}
	return errors.Join(setLinkLabel(dir, path.Base(s.at), s.label), dir.Close())
}

// readRegular returns the bytes of the file that opening p gives; what is not a
// regular file counts as missing.
func (t *tree) readRegular(p string) ([]byte, error) {
	at, err := t.resolve(p)
	if err != nil {
		return nil, err
	}
	fi, err := t.lstat(at)
	if err != nil {
		return nil, cause(err)
	}
	if !fi.Mode().IsRegular() {
		return nil, fs.ErrNotExist
	}
	data, err := t.readFile(at)
	if err != nil {
		return nil, cause(err)
	}
	return data, nil
}
