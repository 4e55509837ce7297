package report

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
)

func TestFrom(t *testing.T) {
	for _, c := range []struct {
		res         benchmark.Result
		from, where string
	}{
		{benchmark.Result{ID: "1.2.16", Key: "apiserver.audit-log-path", Section: "1.2"}, fromCIS, "1.2"},
		{benchmark.Result{ID: "1.2.16", Key: "apiserver.audit-log-path"}, fromCIS, "1.2"},
		{benchmark.Result{ID: "7", Key: "k"}, fromCIS, "7"},
		{benchmark.Result{ID: "node.k3s-starts", Key: "node.k3s-starts", Section: "node"}, fromImage, "image"},
		{benchmark.Result{ID: "kubelet.x", Key: "kubelet.x", Section: "node"}, fromImage, "image"},
		{benchmark.Result{ID: "node.hygiene.token", Key: "node.hygiene.token", Section: "node.hygiene"}, fromImage, "image.hygiene"},
		{benchmark.Result{ID: "acme.motd", Key: "acme.motd"}, fromOwn, "own"},
		{benchmark.Result{ID: "acme.motd", Key: "acme.motd", Section: "nodes"}, fromOwn, "own"},
	} {
		assert.Equal(t, c.from, from(c.res), "%+v", c.res)
		assert.Equal(t, c.where, sectionID(c.res), "%+v", c.res)
	}
}

func TestSectionsAreInTheBenchmarksOrder(t *testing.T) {
	var results []benchmark.Result
	for _, s := range []string{"5.10", "own", "node.hygiene", "1.2", "5.9", "2", "node", "1.1", "1.10"} {
		res := benchmark.Result{ID: s, Key: s, Section: s}
		if s[0] < 'a' {
			res.ID = s + ".1"
		}
		results = append(results, res, res)
	}
	var ids []string
	for _, s := range New(fixtureMeta(), results).sections() {
		ids = append(ids, s.ID)
		assert.Len(t, s.Results, 2)
	}
	assert.Equal(t, []string{"1.1", "1.2", "1.10", "2", "5.9", "5.10", "image", "image.hygiene", "own"}, ids)
}
