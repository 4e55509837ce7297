package report

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
	"github.com/k3s-cis/packer-plugin-k3s/internal/testing/browsertest"
)

// open shows r's page at the given width.
func open(t *testing.T, r Report, width int) *browsertest.Page {
	t.Helper()
	data, err := renderHTML(newView(r))
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "report.html")
	require.NoError(t, os.WriteFile(file, data, 0o600))
	return browsertest.Open(t, file, width)
}

const visibleIDs = `[...document.querySelectorAll(".control")].filter(e => e.checkVisibility()).map(e => e.querySelector(".id").textContent)`

func TestPageFiltersByStatus(t *testing.T) {
	b := open(t, fixture(), 1280)
	all := browsertest.Eval[[]string](b, visibleIDs)
	assert.Len(t, all, 12)
	assert.Equal(t, "12 controls", browsertest.Eval[string](b, `shown.textContent`))

	b.Run(chromedp.Click(chromedp.CSS(`[data-filter=fail]`)))
	assert.Equal(t, []string{"1.2.16", "node.hygiene.ssh-host-keys"}, browsertest.Eval[[]string](b, visibleIDs))
	assert.Equal(t, "true", browsertest.Eval[string](b, `document.querySelector("[data-filter=fail]").ariaPressed`))
	assert.Equal(t, "Filtered: 2 of 12 controls", browsertest.Eval[string](b, `shown.textContent`))
	assert.Equal(t, "#status=fail", browsertest.Eval[string](b, `location.hash`))
	assert.Equal(t, []string{"1.2 API server", "Image hygiene"}, browsertest.Eval[[]string](b,
		`[...document.querySelectorAll("nav li")].filter(e => e.checkVisibility()).map(e => e.querySelector(".nav-name").textContent)`))

	b.Run(chromedp.Click(chromedp.CSS(`[data-filter=error]`)))
	assert.Equal(t, []string{"1.2.16", "3.2.1", "node.hygiene.ssh-host-keys"}, browsertest.Eval[[]string](b, visibleIDs))
	b.Run(chromedp.Click(chromedp.CSS(`[data-filter=fail]`)), chromedp.Click(chromedp.CSS(`[data-filter=error]`)))
	assert.Equal(t, all, browsertest.Eval[[]string](b, visibleIDs))
	assert.Empty(t, browsertest.Eval[string](b, `location.hash`))
}

func TestPageSearches(t *testing.T) {
	b := open(t, fixture(), 1280)
	b.Run(chromedp.SendKeys(chromedp.CSS("#q"), "AUDIT 99.yaml"))
	assert.Equal(t, []string{"1.2.16"}, browsertest.Eval[[]string](b, visibleIDs), "all words, in evidence too, whatever the case")
	b.Run(chromedp.SendKeys(chromedp.CSS("#q"), " nowhere"))
	assert.Empty(t, browsertest.Eval[[]string](b, visibleIDs))
	assert.True(t, browsertest.Eval[bool](b, `none.checkVisibility()`))
	b.Run(chromedp.Click(chromedp.CSS("#reset")))
	assert.Len(t, browsertest.Eval[[]string](b, visibleIDs), 12)
	assert.Equal(t, "q", browsertest.Eval[string](b, `document.activeElement.id`))
}

func TestPageKeepsFiltersInItsAddress(t *testing.T) {
	b := open(t, fixture(), 1280)
	b.Visit("#status=pass,manual&q=kernel")
	assert.Equal(t, []string{"4.2.6"}, browsertest.Eval[[]string](b, visibleIDs))
	assert.Equal(t, "kernel", browsertest.Eval[string](b, `q.value`))
	b.Visit("#status=<img src=x onerror=alert(1)>&q=%")
	assert.Equal(t, "%", browsertest.Eval[string](b, `q.value`))
	b.Visit("#control-kubelet.protect-kernel-defaults")
	assert.True(t, browsertest.Eval[bool](b, `document.querySelector(":target details").open`), "a link to a control unfolds it")
	b.Visit("#%E0%A4%A")
	assert.Len(t, browsertest.Eval[[]string](b, visibleIDs), 12)
}

func TestPageLinksToWhatAFilterHides(t *testing.T) {
	b := open(t, fixture(), 1280)
	b.Visit("#status=pass")
	b.Run(chromedp.Click(chromedp.CSS(`.blocking a`)), chromedp.WaitVisible(chromedp.CSS(`#control-apiserver\.audit-log-path`)))
	assert.Len(t, browsertest.Eval[[]string](b, visibleIDs), 12)
}

func TestPageFolds(t *testing.T) {
	b := open(t, fixture(), 1280)
	unfolded := `[...document.querySelectorAll("details[open]")].map(e => e.closest("li").querySelector(".id").textContent)`
	assert.Equal(t, []string{"1.2.16", "3.2.1", "node.hygiene.ssh-host-keys"}, browsertest.Eval[[]string](b, unfolded), "what needs remediation is open")
	b.Run(chromedp.Click(chromedp.CSS("#unfold")))
	assert.Len(t, browsertest.Eval[[]string](b, unfolded), 12)
	b.Run(chromedp.Click(chromedp.CSS("#fold")))
	assert.Empty(t, browsertest.Eval[[]string](b, unfolded))
}

func TestPageByKeyboard(t *testing.T) {
	b := open(t, fixture(), 1280)
	b.Run(chromedp.KeyEvent(kb.Tab))
	assert.Equal(t, "Skip to the controls", browsertest.Eval[string](b, `document.activeElement.textContent`))
	b.Run(chromedp.KeyEvent(kb.Enter))
	for range 40 {
		b.Run(chromedp.KeyEvent(kb.Tab))
		assert.True(t, browsertest.Eval[bool](b, `document.activeElement === document.body || getComputedStyle(document.activeElement).outlineStyle !== "none"`),
			"the focus is seen")
		if browsertest.Eval[bool](b, `document.activeElement.dataset.filter === "waived"`) {
			break
		}
	}
	b.Run(chromedp.KeyEvent(" "))
	assert.Equal(t, []string{"1.2.9"}, browsertest.Eval[[]string](b, visibleIDs))
	b.Run(chromedp.Focus(chromedp.CSS(`.control:not([hidden]) summary`)), chromedp.KeyEvent(kb.Enter))
	assert.Contains(t, browsertest.Eval[string](b, `document.querySelector(".control:not([hidden]) .body").innerText`), "platform@example.com until 2027-03-31")
}

func TestPageNamesEverythingForScreenReaders(t *testing.T) {
	b := open(t, fixture(), 1280)
	assert.Empty(t, browsertest.Eval[[]string](b, `[...document.querySelectorAll("button, input, a, summary, nav, section, form, [role=img], [role=group]")]
		.filter(e => !(e.textContent.trim() || e.labels?.length || e.getAttribute("aria-label") ||
			document.getElementById(e.getAttribute("aria-labelledby"))?.textContent.trim()))
		.map(e => e.outerHTML)`), "a name for each")
	for _, landmark := range []string{"header", "nav", "main", "footer", "[role=search]"} {
		assert.Equal(t, 1, browsertest.Eval[int](b, `document.querySelectorAll("`+landmark+`").length`), landmark)
	}
	assert.Equal(t, 1, browsertest.Eval[int](b, `document.querySelectorAll("h1").length`))
	assert.Empty(t, browsertest.Eval[[]string](b, `[...document.querySelectorAll("[id]")].map(e => e.id).filter((id, i, all) => all.indexOf(id) !== i)`), "ids are unique")
	assert.Empty(t, browsertest.Eval[[]string](b, `[...document.querySelectorAll(".control")].filter(e => !e.querySelector(".status").innerText.trim()).map(e => e.id)`),
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
	b.Run(chromedp.Click(chromedp.CSS("#unfold")), chromedp.Click(chromedp.CSS("[data-filter=fail]")), chromedp.Click(chromedp.CSS("[data-filter=error]")),
		chromedp.Click(chromedp.CSS("[data-filter=pass]")), chromedp.Click(chromedp.CSS("[data-filter=manual]")))
	for _, scheme := range []string{"light", "dark"} {
		browsertest.Call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		})
		assert.Empty(t, browsertest.Eval[[]string](b, contrasts), scheme)
		b.Shoot(scheme + ".png")
	}
}

func TestPageOnANarrowScreen(t *testing.T) {
	b := open(t, hostile(), 360)
	b.Run(chromedp.EmulateViewport(360, 800, chromedp.EmulateMobile))
	assert.Equal(t, 360, browsertest.Eval[int](b, `document.documentElement.scrollWidth`), "nothing is wider than the screen")
	b.Shoot("narrow.png")
}

func TestPageIsNotBrokenByHostileText(t *testing.T) {
	b := open(t, hostile(), 1280)
	assert.Equal(t, 1, browsertest.Eval[int](b, `document.scripts.length`))
	assert.Len(t, browsertest.Eval[[]string](b, visibleIDs), 7)
	assert.Contains(t, browsertest.Eval[string](b, `document.querySelector(".title").textContent`), "<script>alert(1)</script>")
	assert.Zero(t, browsertest.Eval[int](b, `document.querySelectorAll("a:not([href^='#'])").length`), "every link stays in the page")
}

func TestPageWithoutScript(t *testing.T) {
	b := open(t, fixture(), 1280)
	browsertest.Call(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	b.Visit("")
	assert.Len(t, browsertest.Eval[[]string](b, visibleIDs), 12)
	assert.False(t, browsertest.Eval[bool](b, `document.querySelector(".tools").checkVisibility()`), "no button that does nothing")
	b.Run(chromedp.Click(chromedp.CSS(`.control summary`)))
	assert.True(t, browsertest.Eval[bool](b, `document.querySelector(".control details").open`))
}

// TestPagePrintsWhatMatters: what keeps the image from being made is printed in
// full, what else there is in a line each, and what a reader unfolds in full too.
func TestPagePrintsWhatMatters(t *testing.T) {
	b := open(t, fixture(), 1280)
	browsertest.Call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Media: "print"})
	unfolded := `[...document.querySelectorAll(".control")].filter(e => e.querySelector("details").open && e.querySelector(".body").getBoundingClientRect().height > 0).map(e => e.querySelector(".id").textContent)`
	assert.Equal(t, []string{"1.2.16", "3.2.1", "node.hygiene.ssh-host-keys"}, browsertest.Eval[[]string](b, unfolded))
	assert.Len(t, browsertest.Eval[[]string](b, visibleIDs), 12, "every control has its line")
	assert.False(t, browsertest.Eval[bool](b, `document.querySelector("nav").checkVisibility()`))
	assert.Contains(t, browsertest.Eval[string](b, `document.querySelector("#waivers").parentElement.innerText`), "platform@example.com")
	browsertest.Eval[bool](b, `document.getElementById("unfold").click() || true`)
	assert.Len(t, browsertest.Eval[[]string](b, unfolded), 12)
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
	pdf := browsertest.Get(b, chromedp.PrintToPDF(chromedp.PDFPrintBackground(), chromedp.PDFPreferCSSPageSize()))
	b.Save("report.pdf", pdf)
	file := filepath.Join(t.TempDir(), "report.pdf")
	require.NoError(t, os.WriteFile(file, pdf, 0o600))
	pages := regexp.MustCompile(`/Type\s*/Page\b`).FindAll(pdf, -1)
	t.Logf("%d controls on %d pages", len(r.Results), len(pages))
	assert.NotEmpty(t, pages)
	assert.Less(t, len(pages), 12)
	// The text of a PDF is compressed.
	out, err := exec.CommandContext(t.Context(), "pdftotext", "-layout", file, "-").Output()
	require.NoError(t, err)
	for i, page := range strings.Split(strings.TrimSuffix(string(out), "\f"), "\f") {
		assert.Contains(t, page, fmt.Sprintf("%d of %d", i+1, len(pages)))
		assert.Contains(t, page, "qemu.node, cis-2.1")
	}
}
