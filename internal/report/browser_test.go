package report

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
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
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
)

// browser is a page of a report in headless Chromium, with everything that it
// said on the console or asked of the network.
type browser struct {
	t   *testing.T
	ctx context.Context
	url string

	mu       sync.Mutex
	console  []string
	requests []string
}

// open shows r's page at the given width. The test is skipped without
// PACKER_ACC or without Chromium.
func open(t *testing.T, r Report, width int) *browser {
	t.Helper()
	if os.Getenv("PACKER_ACC") == "" {
		t.Skip("set PACKER_ACC=1 to test the page in Chromium")
	}
	var path string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			path = p
			break
		}
	}
	if path == "" {
		t.Skip("no chromium on PATH; on Debian: apt-get install chromium")
	}
	data, err := renderHTML(newView(r))
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "report.html")
	require.NoError(t, os.WriteFile(file, data, 0o600))

	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx,
		chromedp.ExecPath(path), chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.NoFirstRun, chromedp.UserDataDir(t.TempDir()), chromedp.WindowSize(width, 1000),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
		chromedp.Flag("hide-scrollbars", true))
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	b := &browser{t: t, ctx: ctx, url: (&url.URL{Scheme: "file", Path: filepath.ToSlash(file)}).String()}
	require.NoError(t, chromedp.Listen(ctx, b.hear))
	call(b, network.Enable, network.EnableParams{})
	call(b, log.Enable, cdp.Empty{})
	call(b, runtime.Enable, cdp.Empty{})
	b.visit("")
	t.Cleanup(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		assert.Empty(t, b.console, "nothing on the console")
		for _, u := range b.requests {
			assert.True(t, strings.HasPrefix(u, b.url), "the page asked for %s", u)
		}
	})
	return b
}

// hear records what the page says and asks for.
func (b *browser) hear(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventConsoleAPICalled:
		b.console = append(b.console, string(e.Type))
	case *runtime.EventExceptionThrown:
		b.console = append(b.console, e.ExceptionDetails.Text)
	case *log.EventEntryAdded:
		b.console = append(b.console, e.Entry.Text)
	case *network.EventRequestWillBeSent:
		b.requests = append(b.requests, e.Request.URL)
	}
}

func (b *browser) run(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	require.NoError(b.t, chromedp.Do(b.ctx, actions...))
}

// get is what an action yields.
func get[T any](b *browser, action chromedp.Action[T]) T {
	b.t.Helper()
	out, err := chromedp.Run(b.ctx, action)
	require.NoError(b.t, err)
	return out
}

// call runs a command of the DevTools protocol.
func call[P, R any](b *browser, cmd cdp.Command[P, R], params P) {
	b.t.Helper()
	_, err := chromedp.Call(b.ctx, cmd, params)
	require.NoError(b.t, err)
}

// visit opens the page with a fragment, from anew.
func (b *browser) visit(fragment string) {
	b.t.Helper()
	b.run(chromedp.Navigate("about:blank"), chromedp.Navigate(b.url+fragment))
}

// eval is what a JavaScript expression yields.
func eval[T any](b *browser, js string) T {
	b.t.Helper()
	return get(b, chromedp.Evaluate[T](js))
}

const visibleIDs = `[...document.querySelectorAll(".control")].filter(e => e.checkVisibility()).map(e => e.querySelector(".id").textContent)`

func TestPageFiltersByStatus(t *testing.T) {
	b := open(t, fixture(), 1280)
	all := eval[[]string](b, visibleIDs)
	assert.Len(t, all, 12)
	assert.Equal(t, "12 controls", eval[string](b, `shown.textContent`))

	b.run(chromedp.Click(chromedp.CSS(`[data-filter=fail]`)))
	assert.Equal(t, []string{"1.2.16", "node.hygiene.ssh-host-keys"}, eval[[]string](b, visibleIDs))
	assert.Equal(t, "true", eval[string](b, `document.querySelector("[data-filter=fail]").ariaPressed`))
	assert.Equal(t, "Filtered: 2 of 12 controls", eval[string](b, `shown.textContent`))
	assert.Equal(t, "#status=fail", eval[string](b, `location.hash`))
	assert.Equal(t, []string{"1.2 API server", "Image hygiene"}, eval[[]string](b,
		`[...document.querySelectorAll("nav li")].filter(e => e.checkVisibility()).map(e => e.querySelector(".nav-name").textContent)`))

	b.run(chromedp.Click(chromedp.CSS(`[data-filter=error]`)))
	assert.Equal(t, []string{"1.2.16", "3.2.1", "node.hygiene.ssh-host-keys"}, eval[[]string](b, visibleIDs))
	b.run(chromedp.Click(chromedp.CSS(`[data-filter=fail]`)), chromedp.Click(chromedp.CSS(`[data-filter=error]`)))
	assert.Equal(t, all, eval[[]string](b, visibleIDs))
	assert.Empty(t, eval[string](b, `location.hash`))
}

func TestPageSearches(t *testing.T) {
	b := open(t, fixture(), 1280)
	b.run(chromedp.SendKeys(chromedp.CSS("#q"), "AUDIT 99.yaml"))
	assert.Equal(t, []string{"1.2.16"}, eval[[]string](b, visibleIDs), "all words, in evidence too, whatever the case")
	b.run(chromedp.SendKeys(chromedp.CSS("#q"), " nowhere"))
	assert.Empty(t, eval[[]string](b, visibleIDs))
	assert.True(t, eval[bool](b, `none.checkVisibility()`))
	b.run(chromedp.Click(chromedp.CSS("#reset")))
	assert.Len(t, eval[[]string](b, visibleIDs), 12)
	assert.Equal(t, "q", eval[string](b, `document.activeElement.id`))
}

func TestPageKeepsFiltersInItsAddress(t *testing.T) {
	b := open(t, fixture(), 1280)
	b.visit("#status=pass,manual&q=kernel")
	assert.Equal(t, []string{"4.2.6"}, eval[[]string](b, visibleIDs))
	assert.Equal(t, "kernel", eval[string](b, `q.value`))
	b.visit("#status=<img src=x onerror=alert(1)>&q=%")
	assert.Equal(t, "%", eval[string](b, `q.value`))
	b.visit("#control-kubelet.protect-kernel-defaults")
	assert.True(t, eval[bool](b, `document.querySelector(":target details").open`), "a link to a control unfolds it")
	b.visit("#%E0%A4%A")
	assert.Len(t, eval[[]string](b, visibleIDs), 12)
}

func TestPageLinksToWhatAFilterHides(t *testing.T) {
	b := open(t, fixture(), 1280)
	b.visit("#status=pass")
	b.run(chromedp.Click(chromedp.CSS(`.blocking a`)), chromedp.WaitVisible(chromedp.CSS(`#control-apiserver\.audit-log-path`)))
	assert.Len(t, eval[[]string](b, visibleIDs), 12)
}

func TestPageFolds(t *testing.T) {
	b := open(t, fixture(), 1280)
	unfolded := `[...document.querySelectorAll("details[open]")].map(e => e.closest("li").querySelector(".id").textContent)`
	assert.Equal(t, []string{"1.2.16", "3.2.1", "node.hygiene.ssh-host-keys"}, eval[[]string](b, unfolded), "what needs remediation is open")
	b.run(chromedp.Click(chromedp.CSS("#unfold")))
	assert.Len(t, eval[[]string](b, unfolded), 12)
	b.run(chromedp.Click(chromedp.CSS("#fold")))
	assert.Empty(t, eval[[]string](b, unfolded))
}

func TestPageByKeyboard(t *testing.T) {
	b := open(t, fixture(), 1280)
	b.run(chromedp.KeyEvent(kb.Tab))
	assert.Equal(t, "Skip to the controls", eval[string](b, `document.activeElement.textContent`))
	b.run(chromedp.KeyEvent(kb.Enter))
	for range 40 {
		b.run(chromedp.KeyEvent(kb.Tab))
		assert.True(t, eval[bool](b, `document.activeElement === document.body || getComputedStyle(document.activeElement).outlineStyle !== "none"`),
			"the focus is seen")
		if eval[bool](b, `document.activeElement.dataset.filter === "waived"`) {
			break
		}
	}
	b.run(chromedp.KeyEvent(" "))
	assert.Equal(t, []string{"1.2.9"}, eval[[]string](b, visibleIDs))
	b.run(chromedp.Focus(chromedp.CSS(`.control:not([hidden]) summary`)), chromedp.KeyEvent(kb.Enter))
	assert.Contains(t, eval[string](b, `document.querySelector(".control:not([hidden]) .body").innerText`), "platform@example.com until 2027-03-31")
}

func TestPageNamesEverythingForScreenReaders(t *testing.T) {
	b := open(t, fixture(), 1280)
	assert.Empty(t, eval[[]string](b, `[...document.querySelectorAll("button, input, a, summary, nav, section, form, [role=img], [role=group]")]
		.filter(e => !(e.textContent.trim() || e.labels?.length || e.getAttribute("aria-label") ||
			document.getElementById(e.getAttribute("aria-labelledby"))?.textContent.trim()))
		.map(e => e.outerHTML)`), "a name for each")
	for _, landmark := range []string{"header", "nav", "main", "footer", "[role=search]"} {
		assert.Equal(t, 1, eval[int](b, `document.querySelectorAll("`+landmark+`").length`), landmark)
	}
	assert.Equal(t, 1, eval[int](b, `document.querySelectorAll("h1").length`))
	assert.Empty(t, eval[[]string](b, `[...document.querySelectorAll("[id]")].map(e => e.id).filter((id, i, all) => all.indexOf(id) !== i)`), "ids are unique")
	assert.Empty(t, eval[[]string](b, `[...document.querySelectorAll(".control")].filter(e => !e.querySelector(".status").innerText.trim()).map(e => e.id)`),
		"a verdict is said in words, not by colour alone")
}

// contrasts lists texts whose contrast is below WCAG 2.2 level AA.
const contrasts = `(() => {
	const rgb = s => (s.match(/[\d.]+/g) || []).map(Number);
	const light = c => { const [r, g, b] = c.slice(0, 3).map(v => { v /= 255; return v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; });
		return .2126 * r + .7152 * g + .0722 * b; };
	const ground = e => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c.length === 3 || c[3] > 0) return c; } return [255, 255, 255]; };
	const bad = [];
	const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	for (let n; (n = walker.nextNode());) {
		const e = n.parentElement;
		if (!n.data.trim() || !e.checkVisibility() || e.closest("svg, .sr, script, :disabled")) continue;
		const style = getComputedStyle(e);
		const a = light(rgb(style.webkitTextFillColor)), b = light(ground(e));
		const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
		if (ratio < 4.5) bad.push(ratio.toFixed(2) + " " + n.data.trim());
	}
	return [...new Set(bad)];
})()`

func TestPageContrast(t *testing.T) {
	b := open(t, fixture(), 1280)
	b.run(chromedp.Click(chromedp.CSS("#unfold")), chromedp.Click(chromedp.CSS("[data-filter=fail]")), chromedp.Click(chromedp.CSS("[data-filter=error]")),
		chromedp.Click(chromedp.CSS("[data-filter=pass]")), chromedp.Click(chromedp.CSS("[data-filter=manual]")))
	for _, scheme := range []string{"light", "dark"} {
		call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		})
		assert.Empty(t, eval[[]string](b, contrasts), scheme)
		b.shoot(scheme + ".png")
	}
}

func TestPageOnANarrowScreen(t *testing.T) {
	b := open(t, hostile(), 360)
	b.run(chromedp.EmulateViewport(360, 800, chromedp.EmulateMobile))
	assert.Equal(t, 360, eval[int](b, `document.documentElement.scrollWidth`), "nothing is wider than the screen")
	b.shoot("narrow.png")
}

func TestPageIsNotBrokenByHostileText(t *testing.T) {
	b := open(t, hostile(), 1280)
	assert.Equal(t, 1, eval[int](b, `document.scripts.length`))
	assert.Len(t, eval[[]string](b, visibleIDs), 7)
	assert.Contains(t, eval[string](b, `document.querySelector(".title").textContent`), "<script>alert(1)</script>")
	assert.Zero(t, eval[int](b, `document.querySelectorAll("a:not([href^='#'])").length`), "every link stays in the page")
}

func TestPageWithoutScript(t *testing.T) {
	b := open(t, fixture(), 1280)
	call(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	b.visit("")
	assert.Len(t, eval[[]string](b, visibleIDs), 12)
	assert.False(t, eval[bool](b, `document.querySelector(".tools").checkVisibility()`), "no button that does nothing")
	b.run(chromedp.Click(chromedp.CSS(`.control summary`)))
	assert.True(t, eval[bool](b, `document.querySelector(".control details").open`))
}

// TestPagePrintsWhatMatters: what keeps the image from being made is printed in
// full, what else there is in a line each, and what a reader unfolds in full too.
func TestPagePrintsWhatMatters(t *testing.T) {
	b := open(t, fixture(), 1280)
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Media: "print"})
	unfolded := `[...document.querySelectorAll(".control")].filter(e => e.querySelector("details").open && e.querySelector(".body").getBoundingClientRect().height > 0).map(e => e.querySelector(".id").textContent)`
	assert.Equal(t, []string{"1.2.16", "3.2.1", "node.hygiene.ssh-host-keys"}, eval[[]string](b, unfolded))
	assert.Len(t, eval[[]string](b, visibleIDs), 12, "every control has its line")
	assert.False(t, eval[bool](b, `document.querySelector("nav").checkVisibility()`))
	assert.Contains(t, eval[string](b, `document.querySelector("#waivers").parentElement.innerText`), "platform@example.com")
	eval[bool](b, `document.getElementById("unfold").click() || true`)
	assert.Len(t, eval[[]string](b, unfolded), 12)
}

// TestPageOnPaper: a report of a whole benchmark, with some failures and waivers,
// is under 12 pages, each with its number and the build at its head.
func TestPageOnPaper(t *testing.T) {
	results := large().Results
	kept := map[benchmark.Status]int{benchmark.Fail: 3, benchmark.Error: 1, benchmark.Waived: 5}
	for i := range results {
		if n, few := kept[results[i].Status]; few && n == 0 {
			results[i].Status, results[i].Waiver = benchmark.Pass, nil
		} else if few {
			kept[results[i].Status]--
		}
	}
	r := New(fixtureMeta(), results)
	b := open(t, r, 1280)
	pdf := get(b, chromedp.PrintToPDF(chromedp.PDFPrintBackground(), chromedp.PDFPreferCSSPageSize()))
	b.save("report.pdf", pdf)
	file := filepath.Join(t.TempDir(), "report.pdf")
	require.NoError(t, os.WriteFile(file, pdf, 0o600))
	pages := regexp.MustCompile(`/Type\s*/Page\b`).FindAll(pdf, -1)
	t.Logf("%d controls on %d pages", len(r.Results), len(pages))
	assert.NotEmpty(t, pages)
	assert.Less(t, len(pages), 12)
	pdftotext, err := exec.LookPath("pdftotext")
	if err != nil {
		return // the text of a PDF is compressed
	}
	out, err := exec.CommandContext(t.Context(), pdftotext, "-layout", file, "-").Output()
	require.NoError(t, err)
	for i, page := range strings.Split(strings.TrimSuffix(string(out), "\f"), "\f") {
		assert.Contains(t, page, fmt.Sprintf("%d of %d", i+1, len(pages)))
		assert.Contains(t, page, "qemu.node, cis-2.1")
	}
}

// shoot saves a picture of the whole page where REPORT_SHOTS says, for a look.
func (b *browser) shoot(name string) {
	b.t.Helper()
	if os.Getenv("REPORT_SHOTS") == "" {
		return
	}
	b.save(name, get(b, chromedp.FullScreenshot(100)))
}

func (b *browser) save(name string, data []byte) {
	b.t.Helper()
	if dir := os.Getenv("REPORT_SHOTS"); dir != "" {
		require.NoError(b.t, os.WriteFile(filepath.Join(dir, name), data, 0o600))
	}
}
