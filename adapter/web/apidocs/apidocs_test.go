package apidocs_test

import (
	"bytes"
	"encoding/hex"
	"math"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/refreshd/refreshd/adapter/web/apidocs"
)

func render(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../httpapi/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	page, err := apidocs.Render("", text)
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

// The page must work without a network, and under a policy that forbids all scripts and styles except its files.
func TestThePageRunsAndLoadsOnlyItsFiles(t *testing.T) {
	const script = `<script src="/docs/script.js" defer></script>`
	page := render(t)
	if !strings.Contains(page, script) {
		t.Errorf("the page does not hold %s", script)
	}
	bad := regexp.MustCompile(`<script|<style|<iframe|<img|\sstyle=|<[^>]*\son[a-z]+=|javascript:|@import|url\(`)
	for name, text := range map[string]string{
		"page": strings.Replace(page, script, "", 1), "style sheet": string(apidocs.Style),
	} {
		if found := bad.FindString(text); found != "" {
			t.Errorf("the %s holds %q", name, found)
		}
	}
	loads := regexp.MustCompile(`(?:src|href|action)="([^#"][^"]*)"`).FindAllStringSubmatch(page, -1)
	allowed := map[string]bool{"/docs/style.css": true, "/docs/script.js": true, "/openapi.yaml": true, "data:,": true}
	for _, load := range loads {
		if !allowed[load[1]] {
			t.Errorf("the page points at %s; want only files of the program", load[1])
		}
	}
}

// The script must not turn the page's text into markup or code, store data, or use the network.
func TestTheScriptWritesTextOnly(t *testing.T) {
	bad := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|eval\(|Function\(|` +
		`import|fetch|XMLHttp|WebSocket|cookie|Storage`)
	if found := bad.Find(apidocs.Script); found != nil {
		t.Errorf("the script holds %q", found)
	}
}

// Without the script the page shows no control that needs it: the script shows or creates these controls.
func TestThePageOffersNothingThatNeedsTheScript(t *testing.T) {
	page := render(t)
	if want := `<div id="searching" role="search" hidden>`; !strings.Contains(page, want) {
		t.Errorf("the page does not hold %s", want)
	}
	for _, button := range regexp.MustCompile(`<button[^>]*>`).FindAllString(page, -1) {
		if !strings.Contains(button, "popovertarget=") {
			t.Errorf("got %s, want none that needs the script", button)
		}
	}
	for _, id := range regexp.MustCompile(`querySelector\("#([a-z]+)"\)`).FindAllSubmatch(apidocs.Script, -1) {
		if strings.Count(page, `id="`+string(id[1])+`"`) != 1 {
			t.Errorf("the script looks for #%s, which the page does not have once", id[1])
		}
	}
}

func TestEveryOperationIsInTheContents(t *testing.T) {
	page := render(t)
	_, contents, _ := strings.Cut(page, `<div id="toc"`)
	contents, main, _ := strings.Cut(contents, "</nav>")
	operations := regexp.MustCompile(`<article id="([^"]*)">\s*<h3><a href="#([^"]*)">`).FindAllStringSubmatch(main, -1)
	if len(operations) == 0 || len(operations) != strings.Count(main, "<article") {
		t.Fatalf("got %d operations with a heading, want all %d", len(operations), strings.Count(main, "<article"))
	}
	for _, operation := range operations {
		if operation[2] != operation[1] || !strings.Contains(contents, `href="#`+operation[1]+`"`) {
			t.Errorf("%s: its heading leads to #%s; want to itself, and a link in the contents", operation[1], operation[2])
		}
	}
}

// Each error code in prose and in examples links to the row that says what to do.
func TestEveryErrorCodeLeadsToWhereItIsExplained(t *testing.T) {
	page := render(t)
	codes := regexp.MustCompile(`(\S*)(\[[A-Za-z]+\][A-Za-z0-9.-]*)`).FindAllStringSubmatch(page, -1)
	linked := 0
	for _, code := range codes {
		switch {
		case strings.HasPrefix(code[2], "[reason]"): // the form of a code
		case strings.Contains(code[1], `href="#error-`):
			linked++
		case !strings.Contains(code[1], `id="error-`):
			t.Errorf("%s: got neither a link nor a row that explains it: %s", code[2], code[0])
		}
	}
	for _, want := range []string{
		`<code id="error-reused-refreshToken">[reused]refreshToken</code>`,
		`<a href="#error-reused-refreshToken">[reused]refreshToken</a>`,
		`<code id="error-duplicate">duplicate</code>`, `<a href="#error-duplicate">[duplicate]refreshTokenId</a>`,
		`<span class="s">&#34;<a href="#error-blank">[blank]userId</a>&#34;</span>`,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not hold %s", want)
		}
	}
	if linked < 20 {
		t.Errorf("got %d codes that are links, want those of every example", linked)
	}
}

// A token string is longer than its box. The style breaks it at any letter, and does not cut it off.
func TestTokenStringsAreNotCut(t *testing.T) {
	page, style := render(t), string(apidocs.Style)
	for _, want := range []string{`<span class="s long">&#34;rt_`, `<span class="s long">&#34;eyJ`} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not hold %s", want)
		}
	}
	for _, want := range []string{".long { word-break: break-all; }", "white-space: pre-wrap; overflow-wrap: anywhere;"} {
		if !strings.Contains(style, want) {
			t.Errorf("the style sheet does not hold %s", want)
		}
	}
	if strings.Contains(style, "text-overflow") {
		t.Error("the style sheet cuts text")
	}
}

func TestEveryRequestAndTheDocumentsAddressCanBeCopied(t *testing.T) {
	page := render(t)
	requests := regexp.MustCompile(`<pre( data-copy="[^"]+")?><code>curl `).FindAllStringSubmatch(page, -1)
	if len(requests) == 0 {
		t.Error("the page has no request")
	}
	for _, request := range requests {
		if request[1] == "" {
			t.Error("a request cannot be copied")
		}
	}
	address := regexp.MustCompile(`<code data-copy="[^"]+">http://[^/<]+/openapi.yaml</code>`)
	if !address.MatchString(page) {
		t.Error("the document's address cannot be copied")
	}
}

// The page has the headings and labels that a screen reader needs.
func TestThePageIsInOrderForAScreenReader(t *testing.T) {
	page := render(t)
	last := 0
	for _, heading := range regexp.MustCompile(`<h([1-6])`).FindAllStringSubmatch(page, -1) {
		level := int(heading[1][0] - '0')
		if level > last+1 || last > 0 && level == 1 {
			t.Errorf("got a heading of level %d after one of level %d", level, last)
		}
		last = level
	}
	for _, want := range []string{
		`<html lang="en">`, `name="viewport" content="width=device-width, initial-scale=1"`, `<nav aria-label=`,
		`type="search" aria-label=`, `<p id="found" role="status">`, `<p id="said" role="status">`,
		`class="skip" href="#main"`,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not hold %s", want)
		}
	}
}

// WCAG 2.2 requires a contrast of 4.5 between text and its background, and of 3 for the edges of controls and the
// focus.
func TestTheColoursCanBeTold(t *testing.T) {
	const text, edge = 4.5, 3
	style := string(apidocs.Style)
	colour := regexp.MustCompile(`--([a-z-]+): #([0-9a-f]{6})`)
	colours := map[string]string{}
	for i, block := range regexp.MustCompile(`:root \{[^}]*\}`).FindAllString(style, -1) {
		for _, c := range colour.FindAllStringSubmatch(block, -1) {
			colours[c[1]] = c[2]
		}
		for behind, all := range map[string]map[string]float64{
			"bg": {
				"text": text, "soft": text, "accent": text, "get": text, "post": text, "delete": text, "ok": text, "warn": text,
				"bad": text, "edge": edge,
			},
			"side": {
				"text": text, "soft": text, "accent": edge, "get": text, "post": text, "delete": text, "edge": edge,
			},
			"chip":    {"text": text, "soft": text, "get": text, "post": text, "delete": text},
			"code-bg": {"code-text": text, "k": text, "s": text, "v": text},
			"found":   {"found-text": text},
		} {
			for name, want := range all {
				if got := contrast(t, colours[name], colours[behind]); got < want {
					t.Errorf("theme %d: %s on %s: got a contrast of %.2f, want %.1f", i, name, behind, got, want)
				}
			}
		}
	}
}

func contrast(t *testing.T, a, b string) float64 {
	t.Helper()
	luminance := func(colour string) float64 {
		var sum float64
		rgb, err := hex.DecodeString(colour)
		if err != nil || len(rgb) != 3 {
			t.Fatalf("%q is no colour of the style sheet", colour)
		}
		for i, weight := range []float64{.2126, .7152, .0722} {
			c := float64(rgb[i]) / 255
			if c <= .04045 {
				c /= 12.92
			} else {
				c = math.Pow((c+.055)/1.055, 2.4)
			}
			sum += weight * c
		}
		return sum
	}
	x, y := luminance(a), luminance(b)
	return (max(x, y) + .05) / (min(x, y) + .05)
}

func TestEveryLinkWithinThePageLeadsSomewhere(t *testing.T) {
	page := render(t)
	ids := map[string]int{}
	for _, id := range regexp.MustCompile(` id="([^"]*)"`).FindAllStringSubmatch(page, -1) {
		ids[id[1]]++
		if ids[id[1]] > 1 {
			t.Errorf("two elements have the id %q", id[1])
		}
	}
	for _, link := range regexp.MustCompile(`href="#([^"]*)"`).FindAllStringSubmatch(page, -1) {
		if ids[link[1]] == 0 {
			t.Errorf("a link leads to #%s, which is nowhere", link[1])
		}
	}
}

// Markdown that the package does not support would be shown as plain text.
func TestThePageKnowsAllTheMarkdownOfTheDocument(t *testing.T) {
	page := render(t)
	for _, left := range []string{"`", "**", "](", "##", "<no value>"} {
		if strings.Contains(page, left) {
			at := strings.Index(page, left)
			t.Errorf("%q is left in the page: …%s…", left, page[max(0, at-60):min(len(page), at+60)])
		}
	}
}

func TestThePageShowsWhatTheDocumentSays(t *testing.T) {
	page := render(t)
	for _, want := range []string{
		`id="exchange"`, `<code>/t/{tenantId}/.well-known/jwks.json</code>`, "[inactive]refreshToken", "Refreshd-Outcome",
		"rotated | retried | recovered | unchanged", "invalid | expired | revoked | inactive | replayed",
		"curl -i -X DELETE &#39;http://127.0.0.1:3000/jwt/refresh/019b2f6e",
		"array of strings, at most 100", "1 to 1000, default 100", "exceptTokenId", "lastClientAddress",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not show %s", want)
		}
	}
}

func TestStrongTextMayHoldCode(t *testing.T) {
	text := strings.Replace(small, `description: "D"`, "description: 'x **Without `a*b**c`** y'", 1)
	page, err := apidocs.Render("", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := "x <strong>Without <code>a&#42;b&#42;&#42;c</code></strong> y"
	if !bytes.Contains(page, []byte(want)) {
		t.Errorf("the page does not hold %s", want)
	}
}

func TestEmphasizedTextIsRendered(t *testing.T) {
	text := strings.Replace(small, `description: "D"`, "description: 'under *Other spellings*, `*` and 2 * 3 * 4'", 1)
	page, err := apidocs.Render("", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := "under <em>Other spellings</em>, <code>&#42;</code> and 2 * 3 * 4"
	if !bytes.Contains(page, []byte(want)) {
		t.Errorf("the page does not hold %s", want)
	}
}

func TestTheSameDocumentGivesTheSamePage(t *testing.T) {
	if first, second := render(t), render(t); first != second {
		t.Error("two renderings differ: the ETag would change between replicas")
	}
}

const small = `
info: {title: T, version: "1", summary: S, description: "D"}
tags: [{name: A, description: "x <script>alert(1)</script> and ` + "`<b>`" + `"}]
paths:
  /p:
    post:
      operationId: op
      tags: [A]
      summary: It's one
      security: [{}]
      requestBody:
        content:
          application/json:
            schema: {type: object}
            examples: {one: {summary: One, value: {name: "it's <i>", n: 1, yes: true}}}
      responses:
        '200': {$ref: '#/components/responses/Done'}
components:
  responses:
    Done: {description: Done.}
`

func TestTextOfTheDocumentIsNeverMarkup(t *testing.T) {
	page, err := apidocs.Render("", []byte(small))
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"<script>", "<b>", "<i>"} {
		if bytes.Contains(page, []byte(bad)) {
			t.Errorf("the page holds %s unescaped", bad)
		}
	}
}

// A sample is pasted into a shell: a quote in an example must not end the word.
func TestASampleSurvivesTheShell(t *testing.T) {
	page, err := apidocs.Render("", []byte(small))
	if err != nil {
		t.Fatal(err)
	}
	if want := `it&#39;\&#39;&#39;s`; !bytes.Contains(page, []byte(want)) {
		t.Errorf("the page does not hold %s", want)
	}
}

func TestABrokenDocumentIsRefused(t *testing.T) {
	for name, text := range map[string]string{
		"no YAML":                  "\t{",
		"a list for a mapping":     "paths: []",
		"a reference to nothing":   strings.Replace(small, "responses/Done", "responses/Gone", 1),
		"an operation without tag": strings.Replace(small, "tags: [A]", "tags: []", 1),
	} {
		if page, err := apidocs.Render("", []byte(text)); err == nil {
			t.Errorf("%s: got a page of %d bytes, want an error", name, len(page))
		}
	}
}
