package report

import (
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
)

func TestNewCountsEveryStatus(t *testing.T) {
	r := fixture()
	assert.Equal(t, map[benchmark.Status]int{
		benchmark.Fail: 2, benchmark.Error: 1, benchmark.Waived: 1, benchmark.Pass: 5, benchmark.Deferred: 1, benchmark.Manual: 1, benchmark.NotApplicable: 1,
	}, r.Summary)

	empty := New(fixtureMeta(), nil)
	require.NotNil(t, empty.Results)
	assert.Len(t, empty.Summary, len(benchmark.Statuses), "a status that nothing has is counted as zero")
}

func TestNewKeepsTimeToTheSecondInUTC(t *testing.T) {
	assert.Equal(t, time.Date(2026, 11, 23, 8, 30, 0, 0, time.UTC), fixture().Created)
}

func TestNewLeavesItsInputAlone(t *testing.T) {
	in := []benchmark.Result{{
		ID: "1", Key: "k", Found: "a\nb", Evidence: []benchmark.Evidence{{Source: "s\x1b"}},
		Waiver: &benchmark.Waiver{Owner: "o\n"},
	}}
	out := New(fixtureMeta(), in)
	assert.Equal(t, "a\nb", in[0].Found)
	assert.Equal(t, "s\x1b", in[0].Evidence[0].Source)
	assert.Equal(t, "o\n", in[0].Waiver.Owner)
	assert.Equal(t, `a\nb`, out.Results[0].Found)
	assert.Equal(t, `s\x1b`, out.Results[0].Evidence[0].Source)
	assert.Equal(t, `o\n`, out.Results[0].Waiver.Owner)
}

func TestFailed(t *testing.T) {
	var ids []string
	for _, res := range fixture().Failed() {
		ids = append(ids, res.ID)
	}
	assert.Equal(t, []string{"1.2.16", "3.2.1", "node.hygiene.ssh-host-keys"}, ids)
}

func TestClean(t *testing.T) {
	for _, c := range []struct{ name, in, line, text string }{
		{"plain", "mode 0600", "mode 0600", "mode 0600"},
		{"terminal escape", "\x1b[31mred\x07", `\x1b[31mred\x07`, `\x1b[31mred\x07`},
		{"line breaks", "a\r\nb\n", `a\x0d\nb\n`, "a\nb"},
		{"tab", "a\tb", "a b", "a b"},
		{"NUL", "a\x00b", `a\x00b`, `a\x00b`},
		{"not UTF-8", "caf\xe9", `caf\xe9`, `caf\xe9`},
		{"direction override", "a\u202eb", `a\u202eb`, `a\u202eb`},
		{"line separator", "a\u2028b", `a\u2028b`, `a\u2028b`},
		{"C1 control", "a\u009bb", `a\u009bb`, `a\u009bb`},
		{"forbidden in XML", "a\uffffb", `a\uffffb`, `a\uffffb`},
		{"beyond the basic plane", "a\U000e0001b", `a\U000e0001b`, `a\U000e0001b`},
		{"letters of all scripts", "Größe 証拠 ✓", "Größe 証拠 ✓", "Größe 証拠 ✓"},
		{"the replacement character itself", "\ufffd", "\ufffd", "\ufffd"},
	} {
		t.Run(c.name, func(t *testing.T) {
			assert.Equal(t, c.line, line(c.in))
			assert.Equal(t, c.text, text(c.in))
		})
	}
}

func TestCleanBoundsLength(t *testing.T) {
	long := strings.Repeat("é", maxText+10)
	cut := line(long)
	assert.Equal(t, maxText, utf8.RuneCountInString(cut))
	assert.True(t, strings.HasSuffix(cut, "é… (4020 bytes in all)"), cut)
	assert.Equal(t, long[:2*maxText], line(long[:2*maxText]), "what just fits is not cut")
	assert.Equal(t, maxText, utf8.RuneCountInString(line(strings.Repeat("\x00", 1<<20))), "escapes count")
}

const maxText = 2000 // characters of one text

func FuzzClean(f *testing.F) {
	f.Add(nasty)
	f.Add(strings.Repeat("\xff", maxText))
	f.Fuzz(func(t *testing.T, s string) {
		for _, clean := range []func(string) string{line, text} {
			got := clean(s)
			require.Equal(t, got, clean(got), "what is clean stays")
			require.True(t, utf8.ValidString(got))
			require.LessOrEqual(t, utf8.RuneCountInString(got), maxText)
			for _, r := range got {
				require.True(t, unicode.IsPrint(r) || r == '\n', "%q", r)
			}
		}
		require.NotContains(t, line(s), "\n")
	})
}
