package docs_test

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/refreshd/refreshd/adapter/httpapi/docs"
)

func render(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	page, err := docs.Render(text)
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

// The page must work with the network unplugged and under a policy that forbids every script and inline style.
func TestThePageRunsNothingAndLoadsOnlyItsStyle(t *testing.T) {
	page := render(t)
	for _, bad := range []string{"<script", "<style", " style=", "<iframe", "<img", "javascript:", "@import"} {
		if strings.Contains(page, bad) || bytes.Contains(docs.Style, []byte(bad)) {
			t.Errorf("the page holds %q", bad)
		}
	}
	loads := regexp.MustCompile(`(?:src|href|action)="([^#"][^"]*)"`).FindAllStringSubmatch(page, -1)
	allowed := map[string]bool{"/docs/style.css": true, "/openapi.yaml": true, "data:,": true}
	for _, load := range loads {
		if !allowed[load[1]] {
			t.Errorf("the page points at %s; want only files of the program", load[1])
		}
	}
	if bytes.Contains(docs.Style, []byte("url(")) {
		t.Error("the style sheet loads something")
	}
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

// Markdown that the page does not know would be shown as it is typed.
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
	page, err := docs.Render([]byte(small))
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"<script", "<b>", "<i>"} {
		if bytes.Contains(page, []byte(bad)) {
			t.Errorf("the page holds %s unescaped", bad)
		}
	}
}

// A sample is pasted into a shell: a quote in an example must not end the word.
func TestASampleSurvivesTheShell(t *testing.T) {
	page, err := docs.Render([]byte(small))
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
		if page, err := docs.Render([]byte(text)); err == nil {
			t.Errorf("%s: got a page of %d bytes, want an error", name, len(page))
		}
	}
}
