package cis

import (
	"reflect"
	"sync"

	"github.com/k3s-cis/packer-plugin-k3s/internal/harden"
)

// drafts makes plans for nodes without a K3s configuration of their own, and
// keeps the last one: it depends on nothing but the options, and the rehearsal
// has made it already.
type drafts struct {
	mu      sync.Mutex
	options harden.Options
	plan    *harden.Plan
}

func (d *drafts) draw(o harden.Options) (*harden.Plan, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.plan != nil && reflect.DeepEqual(d.options, o) {
		return d.plan, nil
	}
	plan, err := harden.Make(o, nil)
	if err == nil {
		d.options, d.plan = o, plan
	}
	return plan, err
}
