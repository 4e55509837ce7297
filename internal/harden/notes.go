package harden

import "github.com/k3s-cis/packer-plugin-k3s/internal/k3s"

// notes tells what the plan does that a user may not expect, and what in the
// configuration takes the effect from it. eff is what K3s will run with.
func (p *planner) notes(eff *k3s.Effective) {
	c := p.c
	p.note("the policy of namespace default also keeps Traefik from pods there: add a policy of your own for what Traefik is to reach")
	if more := c.moreNamespaces(); len(more) > 0 {
		p.note("the policies of %s are applied once these namespaces exist; until then K3s retries them every 15 seconds", enumerate(more, 5))
	}
	if c.Release.Range().ExtendTokenExpiration {
		p.note("service account tokens are no longer stretched to a year: a program that never reads its token file again loses access after about an hour")
	}
	if eff.Text("server") != "" {
		p.note("this server joins others: each server of a cluster must have secrets-encryption, or K3s refuses to join")
	}
	if on, _ := boolean(eff.Text("disable-network-policy")); on {
		p.warn("%s: disable-network-policy switches K3s's policy controller off: the network policies have no effect unless your network plugin enforces them", place(eff, "disable-network-policy"))
	} else if eff.Text("flannel-backend") == "none" {
		p.warn("%s: flannel-backend is none: the network policies have no effect unless your network plugin enforces them", place(eff, "flannel-backend"))
	}
}

// place is where a setting comes from.
func place(eff *k3s.Effective, key string) string {
	vs := eff.Settings[key].Values
	if len(vs) == 0 {
		return key
	}
	return vs[len(vs)-1].Origin.String()
}

// serviceLBSpace is the namespace of the service load balancer's pods.
func (p *planner) serviceLBSpace() string {
	if v, ok := p.c.Config["servicelb-namespace"]; ok {
		return textOf(v)
	}
	if p.eff != nil {
		if v := p.eff.Text("servicelb-namespace"); v != "" {
			return v
		}
	}
	return kubeSystem
}
