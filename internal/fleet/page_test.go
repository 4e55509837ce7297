package fleet

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/testing/browsertest"
)

// visible are the kinds of the images that the list shows.
const visible = `[...document.querySelectorAll(".images > li:not([hidden])")].length`

// opening is how long the page of a thousand reports may take.
const opening = 2 * time.Second

// TestPageOfAThousandReports: the page opens at once, asks for nothing, says
// nothing on the console, filters, and is as wide as the screen.
func TestPageOfAThousandReports(t *testing.T) {
	browsertest.Need(t)
	dir, out := t.TempDir(), t.TempDir()
	madeUp(t, dir, 1000, 20)
	_, said := run(t, "--out", out, dir)
	require.FileExists(t, filepath.Join(out, "fleet.html"), said)
	p := browsertest.Open(t, filepath.Join(out, "fleet.html"), 1280)
	took := time.Duration(browsertest.Eval[float64](p, `performance.getEntriesByType("navigation")[0].loadEventEnd`) * float64(time.Millisecond))
	t.Logf("opened in %s", took)
	assert.Less(t, took, opening)
	assert.Equal(t, 1000, browsertest.Eval[int](p, visible))
	assert.Equal(t, 1000*6, browsertest.Eval[int](p, `document.getElementById("cells").height`))

	for _, scheme := range []string{"light", "dark"} {
		browsertest.Call(p, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		})
		p.Shoot(scheme + ".png")
	}
	p.Run(chromedp.SendKeys(chromedp.CSS("#q"), "node03 audit-log"))
	assert.Less(t, browsertest.Eval[int](p, visible), 51)
	p.Run(chromedp.EmulateViewport(360, 800, chromedp.EmulateMobile))
	assert.Equal(t, 360, browsertest.Eval[int](p, `document.documentElement.scrollWidth`), "nothing is wider than the screen")
	p.Shoot("phone.png")
	p.Save("fleet.pdf", browsertest.Get(p, chromedp.PrintToPDF(chromedp.PDFPrintBackground(), chromedp.PDFPreferCSSPageSize())))
}
