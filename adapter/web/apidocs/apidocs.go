// Package apidocs renders an OpenAPI document as one page for people. It is not a general renderer: it supports the
// parts of OpenAPI 3.1 and of Markdown that openapi.yaml uses, and a test fails if the document uses more.
//
// The page is plain HTML, a style sheet and a small script, which adds search and copy buttons. Its content security
// policy forbids every other script. The page works without scripts, without a network, in a text browser, on paper,
// and with the browser's own search. Rejected: swagger-ui and Redoc, megabytes of vendored script to show one text; a
// page that is generated and committed, which needs a check that it is up to date.
package apidocs

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
)

//go:embed page.html
var pageText string

// Style is the page's style sheet, which the page loads from base + "/docs/style.css".
//
//go:embed style.css
var Style []byte

// Script adds search and copy buttons. The page loads it from base + "/docs/script.js".
//
//go:embed script.js
var Script []byte

var page = template.Must(template.New("page").Parse(pageText))

// Render returns the page of an OpenAPI 3.1 document in YAML, which is served at base + "/docs", and the document at
// base + "/openapi.yaml". The same document gives the same bytes.
func Render(base string, openapi []byte) ([]byte, error) {
	view, err := newView(base, openapi)
	if err != nil {
		return nil, fmt.Errorf("apidocs: %w", err)
	}
	var out bytes.Buffer
	if err := page.Execute(&out, view); err != nil {
		return nil, fmt.Errorf("apidocs: %w", err)
	}
	return linkCodes(out.Bytes()), nil
}
