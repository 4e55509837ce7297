package fleet

import (
	"context"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// visible are the kinds of the images that the list shows.
const visible = `[...document.querySelectorAll(".images > li:not([hidden])")].length`

// opening is how long the page of a thousand reports may take.
const opening = 2 * time.Second

// TestPageOfAThousandReports: the page opens at once, asks for nothing, says
// nothing on the console, filters, and is as wide as the screen.
func TestPageOfAThousandReports(t *testing.T) {
	if os.Getenv("PACKER_ACC") == "" {
		t.Skip("set PACKER_ACC=1 to test the page in Chromium")
	}
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("no chromium on PATH; on Debian: apt-get install chromium")
	}
	dir, out := t.TempDir(), t.TempDir()
	madeUp(t, dir, 1000, 20)
	_, said := run(t, "--out", out, dir)
	require.FileExists(t, filepath.Join(out, "fleet.html"), said)
	address := (&url.URL{Scheme: "file", Path: filepath.Join(out, "fleet.html")}).String()

	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	ctx, cancel = chromedp.NewExecAllocator(ctx, chromedp.ExecPath(chromium), chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.NoFirstRun, chromedp.UserDataDir(t.TempDir()), chromedp.WindowSize(1280, 1000),
		chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true))
	defer cancel()
	ctx, cancel = chromedp.NewContext(ctx)
	defer cancel()
	var mu sync.Mutex
	var heard []string
	require.NoError(t, chromedp.Listen(ctx, func(event any) {
		mu.Lock()
		defer mu.Unlock()
		switch e := event.(type) {
		case *runtime.EventConsoleAPICalled:
			heard = append(heard, string(e.Type))
		case *runtime.EventExceptionThrown:
			heard = append(heard, e.ExceptionDetails.Text)
		case *log.EventEntryAdded:
			heard = append(heard, e.Entry.Text)
		case *network.EventRequestWillBeSent:
			if !strings.HasPrefix(e.Request.URL, address) && e.Request.URL != "about:blank" {
				heard = append(heard, "asked for "+e.Request.URL)
			}
		}
	}))
	call(t, ctx, network.Enable, network.EnableParams{})
	call(t, ctx, log.Enable, cdp.Empty{})
	call(t, ctx, runtime.Enable, cdp.Empty{})

	require.NoError(t, chromedp.Do(ctx, chromedp.Navigate(address)))
	took := time.Duration(eval[float64](t, ctx, `performance.getEntriesByType("navigation")[0].loadEventEnd`) * float64(time.Millisecond))
	t.Logf("opened in %s", took)
	assert.Less(t, took, opening)
	assert.Equal(t, 1000, eval[int](t, ctx, visible))
	assert.Equal(t, 1000*6, eval[int](t, ctx, `document.getElementById("cells").height`))

	for _, scheme := range []string{"light", "dark"} {
		call(t, ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		})
		shoot(t, ctx, scheme+".png")
	}
	require.NoError(t, chromedp.Do(ctx, chromedp.SendKeys(chromedp.CSS("#q"), "node03 audit-log")))
	assert.Less(t, eval[int](t, ctx, visible), 51)
	require.NoError(t, chromedp.Do(ctx, chromedp.EmulateViewport(360, 800, chromedp.EmulateMobile)))
	assert.Equal(t, 360, eval[int](t, ctx, `document.documentElement.scrollWidth`), "nothing is wider than the screen")
	shoot(t, ctx, "phone.png")
	pdf, err := chromedp.Run(ctx, chromedp.PrintToPDF(chromedp.PDFPrintBackground(), chromedp.PDFPreferCSSPageSize()))
	require.NoError(t, err)
	save(t, "fleet.pdf", pdf)
	mu.Lock()
	defer mu.Unlock()
	assert.Empty(t, heard)
}

// eval is what a JavaScript expression yields.
func eval[T any](t *testing.T, ctx context.Context, js string) T { //nolint:revive // a test's handle comes first
	t.Helper()
	out, err := chromedp.Run(ctx, chromedp.Evaluate[T](js))
	require.NoError(t, err)
	return out
}

// call runs a command of the DevTools protocol.
func call[P, R any](t *testing.T, ctx context.Context, cmd cdp.Command[P, R], params P) { //nolint:revive // a test's handle comes first
	t.Helper()
	_, err := chromedp.Call(ctx, cmd, params)
	require.NoError(t, err)
}

// shoot saves a picture of the whole page where REPORT_SHOTS says, for a look.
func shoot(t *testing.T, ctx context.Context, name string) { //nolint:revive // a test's handle comes first
	t.Helper()
	if os.Getenv("REPORT_SHOTS") == "" {
		return
	}
	data, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	require.NoError(t, err)
	save(t, name, data)
}

func save(t *testing.T, name string, data []byte) {
	t.Helper()
	if dir := os.Getenv("REPORT_SHOTS"); dir != "" {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o600))
	}
}
