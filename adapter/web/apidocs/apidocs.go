// Package apidocs turns an OpenAPI document into one page for people. It is no general renderer: it knows the parts of
// OpenAPI 3.1 and of Markdown that our document uses, and a test fails when the document uses more.
//
// The page is plain HTML, a style sheet and a small script of its own, which adds search and copy buttons and nothing
// else. Its content security policy forbids every other script. The page works without any, with the network unplugged,
// in a text browser, on paper, and under the browser's own search. The options that lost: swagger-ui and Redoc,
// megabytes of vendored script to show one text; a page generated ahead and committed, which needs a second check that
// nobody forgot to generate it again.
package apidocs

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
)

//go:embed page.html
var pageText string

// Style is the page's style sheet; the page asks for it at docs/style.css beside itself.
//
//go:embed style.css
var Style []byte

// Script adds search and copy buttons; the page asks for it at docs/script.js beside itself.
//
//go:embed script.js
var Script []byte

var page = template.Must(template.New("page").Parse(pageText))

// Render makes the page for an OpenAPI 3.1 document in YAML. The same document gives the same bytes.
func Render(openapi []byte) ([]byte, error) {
	view, err := newView(openapi)
	if err != nil {
		return nil, fmt.Errorf("apidocs: %w", err)
	}
	var out bytes.Buffer
	if err := page.Execute(&out, view); err != nil {
		return nil, fmt.Errorf("apidocs: %w", err)
	}
	return linkCodes(out.Bytes()), nil
}
