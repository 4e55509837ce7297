package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const listed = `
# What may be skipped.
acc internal/a.TestAcc* real machines
any internal/a.TestKernel/* not everywhere
plain internal/a.TestSweep tries much
`

// events are lines of go test -json for one package; a word each of action, test
// and output.
func events(list ...[3]string) string {
	var b strings.Builder
	for _, e := range list {
		b.WriteString(`{"Action":"` + e[0] + `","Package":"example.org/packer-plugin-k3s/internal/a","Test":"` + e[1] + `","Output":"` + e[2] + `"}` + "\n")
	}
	return b.String()
}

func TestRun(t *testing.T) {
	last := [3]string{"output", "", `ok  \tinternal/a\t0.1s\n`}
	for name, tt := range map[string]struct {
		in         string
		acceptance bool
		ok         bool
		says, not  string
	}{
		"all pass":           {in: events([3]string{"output", "TestA", `noise\n`}, [3]string{"pass", "TestA"}, last), ok: true, says: "0 tests were skipped", not: "noise"},
		"one fails":          {in: events([3]string{"output", "TestA", `why\n`}, [3]string{"fail", "TestA"}, last), says: "why\n"},
		"one panics":         {in: events([3]string{"output", "TestA", `panic: why\n`}, [3]string{"fail", ""}), says: "panic: why\n"},
		"the build fails":    {in: "a.go:1: broken\n" + events([3]string{"fail", ""}), says: "a.go:1: broken\n"},
		"skipped and listed": {in: events([3]string{"skip", "TestAccBoot"}, last), ok: true, says: "1 tests were skipped, 0 of them not on the list"},
		"a part of it":       {in: events([3]string{"skip", "TestAccBoot/x/y"}, last), ok: true, says: "1 tests were skipped, 0 of"},
		"one of its parts":   {in: events([3]string{"skip", "TestKernel/x/y"}, last), ok: true, says: "1 tests were skipped, 0 of"},
		"the whole of it":    {in: events([3]string{"skip", "TestKernel"}, last), says: "1 tests were skipped, 1 of"},
		"not listed":         {in: events([3]string{"output", "TestB", `no tool\n`}, [3]string{"skip", "TestB"}, last), says: "FAIL\tskipped, and not on the list: internal/a.TestB\nno tool\n"},
		"plain":              {in: events([3]string{"skip", "TestSweep"}, last), says: "1 tests were skipped, 1 of"},
		"another's name":     {in: events([3]string{"skip", "TestBAcc"}, last), says: "1 of them not"},
		"acceptance":         {in: events([3]string{"skip", "TestAccBoot"}, last), acceptance: true, says: "1 of them not on the list"},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			ok, err := run(strings.NewReader(tt.in), &out, listed, tt.acceptance)
			require.NoError(t, err)
			assert.Equal(t, tt.ok, ok, out.String())
			assert.Contains(t, out.String(), tt.says)
			if tt.not != "" {
				assert.NotContains(t, out.String(), tt.not)
			}
		})
	}
}

func TestListIsChecked(t *testing.T) {
	for _, list := range []string{"acc internal/a.TestB", "never internal/a.TestB why", "any [ why"} {
		_, err := run(strings.NewReader(""), &strings.Builder{}, list, false)
		assert.ErrorContains(t, err, "line 1 of the list")
	}
}
