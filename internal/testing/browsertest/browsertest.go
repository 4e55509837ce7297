// Package browsertest opens pages in headless Chromium.
package browsertest

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
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// programs are the names that Chromium goes by.
var programs = []string{"chromium", "chromium-browser", "google-chrome", "chrome"}

// Page is a page that is open, with everything that it said on the console or asked
// of the network.
type Page struct {
	t   testing.TB
	ctx context.Context //nolint:containedctx // chromedp keeps the browser in it
	url string

	mu       sync.Mutex
	console  []string
	requests []string
}

// Need returns the name of Chromium's program. The test is skipped without PACKER_ACC
// or without Chromium.
func Need(t testing.TB) string {
	t.Helper()
	if os.Getenv("PACKER_ACC") == "" {
		t.Skip("set PACKER_ACC=1 to test the page in Chromium")
	}
	for _, name := range programs {
		if _, err := exec.LookPath(name); err == nil {
			return name
		}
	}
	t.Skip("no chromium on PATH; on Debian: apt-get install chromium")
	return ""
}

// Open shows an HTML file at a width in pixels. The test is skipped as Need says; it
// fails at its end where the page said anything on the console, or asked for anything
// but itself.
func Open(t testing.TB, file string, width int) *Page {
	t.Helper()
	program := Need(t)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx,
		chromedp.ExecPath(program), chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.NoFirstRun, chromedp.UserDataDir(t.TempDir()), chromedp.WindowSize(width, 1000),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
		chromedp.Flag("hide-scrollbars", true))
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	p := &Page{t: t, ctx: ctx, url: (&url.URL{Scheme: "file", Path: filepath.ToSlash(file)}).String()}
	require.NoError(t, chromedp.Listen(ctx, p.hear))
	Call(p, network.Enable, network.EnableParams{})
	Call(p, log.Enable, cdp.Empty{})
	Call(p, runtime.Enable, cdp.Empty{})
	p.Visit("")
	t.Cleanup(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		assert.Empty(t, p.console, "nothing on the console")
		for _, u := range p.requests {
			assert.True(t, strings.HasPrefix(u, p.url), "the page asked for %s", u)
		}
	})
	return p
}

// hear records what the page says and asks for.
func (p *Page) hear(event any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventConsoleAPICalled:
		p.console = append(p.console, string(e.Type))
	case *runtime.EventExceptionThrown:
		p.console = append(p.console, e.ExceptionDetails.Text)
	case *log.EventEntryAdded:
		p.console = append(p.console, e.Entry.Text)
	case *network.EventRequestWillBeSent:
		p.requests = append(p.requests, e.Request.URL)
	}
}

// Run does what the actions say.
func (p *Page) Run(actions ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	require.NoError(p.t, chromedp.Do(p.ctx, actions...))
}

// Visit opens the page with a fragment, from anew.
func (p *Page) Visit(fragment string) {
	p.t.Helper()
	p.Run(chromedp.Navigate("about:blank"), chromedp.Navigate(p.url+fragment))
}

// Shoot saves a picture of the whole page where REPORT_SHOTS says, for a look.
func (p *Page) Shoot(name string) {
	p.t.Helper()
	if os.Getenv("REPORT_SHOTS") != "" {
		p.Save(name, Get(p, chromedp.FullScreenshot(100)))
	}
}

// Save writes a file where REPORT_SHOTS says.
func (p *Page) Save(name string, data []byte) {
	p.t.Helper()
	if dir := os.Getenv("REPORT_SHOTS"); dir != "" {
		require.NoError(p.t, os.WriteFile(filepath.Join(dir, name), data, 0o600)) //nolint:gosec // who runs the tests says where
	}
}

// Get is what an action yields.
func Get[T any](p *Page, action chromedp.Action[T]) T {
	p.t.Helper()
	out, err := chromedp.Run(p.ctx, action)
	require.NoError(p.t, err)
	return out
}

// Eval is what a JavaScript expression yields.
func Eval[T any](p *Page, js string) T {
	p.t.Helper()
	return Get(p, chromedp.Evaluate[T](js))
}

// Call runs a command of the DevTools protocol.
func Call[P, R any](p *Page, cmd cdp.Command[P, R], params P) {
	p.t.Helper()
	_, err := chromedp.Call(p.ctx, cmd, params)
	require.NoError(p.t, err)
}
