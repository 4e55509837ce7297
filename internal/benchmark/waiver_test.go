package benchmark_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

var today = time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)

func waiver(control string, change ...func(*benchmark.Waiver)) benchmark.Waiver {
	w := benchmark.Waiver{Control: control, Reason: "accepted", Owner: "ops@example.com", Expires: today}
	for _, c := range change {
		c(&w)
	}
	return w
}

func TestWaivers(t *testing.T) {
	for name, c := range map[string]struct {
		waiver benchmark.Waiver
		want   benchmark.Status
	}{
		"by id":             {waiver("1.2.15"), benchmark.Waived},
		"by key":            {waiver("apiserver.profiling"), benchmark.Waived},
		"on its last day":   {waiver("1.2.15"), benchmark.Waived},
		"the day after":     {waiver("1.2.15", func(w *benchmark.Waiver) { w.Expires = today.AddDate(0, 0, -1) }), benchmark.Fail},
		"another control":   {waiver("1.2.16"), benchmark.Fail},
		"this role":         {waiver("1.2.15", func(w *benchmark.Waiver) { w.Role = "server" }), benchmark.Waived},
		"another role":      {waiver("1.2.15", func(w *benchmark.Waiver) { w.Role = "agent" }), benchmark.Fail},
		"this build":        {waiver("1.2.15", func(w *benchmark.Waiver) { w.Build = "qemu.node" }), benchmark.Waived},
		"its name alone":    {waiver("1.2.15", func(w *benchmark.Waiver) { w.Build = "node" }), benchmark.Waived},
		"its type alone":    {waiver("1.2.15", func(w *benchmark.Waiver) { w.Build = "qemu" }), benchmark.Fail},
		"another build":     {waiver("1.2.15", func(w *benchmark.Waiver) { w.Build = "qemu.other" }), benchmark.Fail},
		"without an owner":  {waiver("1.2.15", func(w *benchmark.Waiver) { w.Owner = " " }), benchmark.Fail},
		"without a reason":  {waiver("1.2.15", func(w *benchmark.Waiver) { w.Reason = "" }), benchmark.Fail},
		"without an expiry": {waiver("1.2.15", func(w *benchmark.Waiver) { w.Expires = time.Time{} }), benchmark.Fail},
	} {
		t.Run(name, func(t *testing.T) {
			tr := hardened(t, "v1.36.3+k3s1", k3s.Server, "cis-2.1")
			tr.arg(t, k3s.APIServer, "profiling=true")
			in := tr.input(t, "cis-2.1")
			in.Waivers, in.Build = []benchmark.Waiver{c.waiver}, "qemu.node"
			results := benchmark.Evaluate(in)
			for _, r := range results {
				if r.Key != "apiserver.profiling" {
					assert.NotEqual(t, benchmark.Waived, r.Status, r.Key)
					continue
				}
				assert.Equal(t, c.want, r.Status)
				if c.want == benchmark.Waived {
					assert.Equal(t, &c.waiver, r.Waiver)
					assert.Equal(t, "waived by ops@example.com until 2026-11-23: accepted", r.Reason)
					assert.Empty(t, benchmark.UnneededWaivers(results, in.Waivers, in.Role, in.Build))
					continue
				}
				assert.Nil(t, r.Waiver)
				unneeded, elsewhere := in.Waivers, []benchmark.Waiver{}
				if c.waiver.Role == "agent" || c.waiver.Build == "qemu.other" || c.waiver.Build == "qemu" {
					unneeded, elsewhere = nil, in.Waivers
				}
				assert.Equal(t, unneeded, benchmark.UnneededWaivers(results, in.Waivers, in.Role, in.Build))
				assert.Equal(t, elsewhere, benchmark.Elsewhere(in.Waivers, in.Role, in.Build))
			}
		})
	}
}

// TestWaiverNeverHidesMissingEvidence: only a failure can be accepted.
func TestWaiverNeverHidesMissingEvidence(t *testing.T) {
	in := empty(t, k3s.Server).input(t, "cis-2.1")
	for _, c := range benchmark.ControlsOf("cis-2.1") {
		in.Waivers = append(in.Waivers, waiver(c.Key))
	}
	for _, r := range benchmark.Evaluate(in) {
		assert.NotEqual(t, benchmark.Waived, r.Status, r.Key)
	}
}

func TestCheckWaivers(t *testing.T) {
	own, err := benchmark.LoadControls("own.yaml", []byte(ownControl))
	require.NoError(t, err)
	check := func(ws ...benchmark.Waiver) []string {
		var out []string
		for _, err := range benchmark.CheckWaivers(ws, "cis-2.1", k3s.Server, own, now) {
			out = append(out, err.Error())
		}
		return out
	}
	assert.Empty(t, check(waiver("1.2.15"), waiver("node.config.mode"), waiver("acme.motd"), waiver("kubelet.protect-kernel-defaults")))
	assert.Empty(t, check(waiver("1.2.15", func(w *benchmark.Waiver) { w.Build = "a" }), waiver("1.2.15", func(w *benchmark.Waiver) { w.Build = "b" })), "different scopes")
	assert.Equal(t, []string{`waiver "apiserver.profiling": there is a second waiver for the same control and scope`}, check(waiver("1.2.15"), waiver("apiserver.profiling")))
	assert.Equal(t, []string{`waiver "1.2.99": cis-2.1 has no control of that id or key`}, check(waiver("1.2.99")))
	assert.Equal(t, []string{`waiver "": control is missing: give a control's id or key`}, check(waiver("")))
	assert.Equal(t, []string{
		`waiver "1.2.15": reason is missing: say why the failure is accepted`,
		`waiver "1.2.15": owner is missing: say who accepts the failure`,
		`waiver "1.2.15": role is "boss": use server or agent, or leave it out`,
		`waiver "1.2.15": expires is missing: give the last day on which the waiver holds`,
	}, check(benchmark.Waiver{Control: "1.2.15", Role: "boss"}), "all at once")
	assert.Equal(t, []string{`waiver "1.2.15": it expired on 2026-11-22: remediate the control or renew the waiver`},
		check(waiver("1.2.15", func(w *benchmark.Waiver) { w.Expires = today.AddDate(0, 0, -1) })))
	unknown := benchmark.CheckWaivers([]benchmark.Waiver{waiver("1.2.15"), waiver("1.2.99"), waiver("node.config.mode")}, benchmark.Any, k3s.Server, nil, now)
	require.Len(t, unknown, 1)
	assert.EqualError(t, unknown[0], `waiver "1.2.99": no benchmark has a control of that id or key`)
	agent := benchmark.CheckWaivers([]benchmark.Waiver{waiver("1.2.15")}, "cis-2.1", k3s.Agent, nil, now)
	require.Len(t, agent, 1)
	assert.EqualError(t, agent[0], `waiver "1.2.15": the control is not one of the role agent`)
}
