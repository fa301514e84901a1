package web

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/adapter/web/apidocs"
)

// documentPolicy allows the page's style sheet and its script, and nothing else: no inline script, no frame, nothing
// from another origin. A policy cannot name one file without the address of the service, so it has 'self'; no other
// response of the service has the media type of a script. Trusted Types prevent the script from turning text into
// markup.
const documentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; base-uri 'none'; " +
	"form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// A Document is an OpenAPI document and the page made from it, with the page's own files, ready to send.
type Document struct {
	base                      string
	yaml, page, style, script file
}

type file struct {
	mediaType string
	etag      string
	content   []byte
}

// Example returns text, or without it the placeholder, as an example in YAML. A Go string literal in ASCII is a YAML
// string too, whatever its content.
func Example(text, placeholder string) string { return strconv.QuoteToASCII(cmp.Or(text, placeholder)) }

// FillExamples returns an OpenAPI document in YAML with the address of this service and its only tenant, or a
// placeholder if there are several. more are pairs of other texts and what replaces them. The tenant is in examples of
// YAML and of JSON, and begins the id of a key.
func FillExamples(openapi []byte, url, tenantID string, more ...string) []byte {
	tenant := Example(tenantID, "your-tenant")
	return []byte(strings.NewReplacer(append([]string{
		"- url: http://127.0.0.1:3000\n", "- url: " + Example(url, "") + "\n",
		"example: default\n", "example: " + tenant + "\n",
		"tenantId: default\n", "tenantId: " + tenant + "\n",
		"tenant: default,", "tenant: " + tenant + ",",
		`"tenant":"default"`, `"tenant":` + tenant,
		"kid: default-1,", "kid: " + strings.TrimSuffix(tenant, `"`) + `-1",`,
	}, more...)...).Replace(string(openapi)))
}

// NewDocument makes the page of an OpenAPI document in YAML, which takes some 30 ms. The document is served at base +
// "/openapi.yaml", and the page at base + "/docs".
func NewDocument(base string, openapi []byte) (*Document, error) {
	page, err := apidocs.Render(base, openapi)
	if err != nil {
		return nil, fmt.Errorf("web: openapi.yaml: %w", err)
	}
	return &Document{
		base:   base,
		yaml:   newFile("application/yaml", openapi),
		page:   newFile("text/html; charset=utf-8", page),
		style:  newFile("text/css; charset=utf-8", apidocs.Style),
		script: newFile("text/javascript; charset=utf-8", apidocs.Script),
	}, nil
}

func newFile(mediaType string, content []byte) file {
	sum := sha256.Sum256(content)
	return file{mediaType: mediaType, etag: `"` + hex.EncodeToString(sum[:16]) + `"`, content: content}
}

func (d *Document) routes() []Route {
	get := func(path string, handle echo.HandlerFunc) Route {
		return Route{Method: http.MethodGet, Path: d.base + path, Anybody: true, Kind: PublicFile, Handle: handle}
	}
	return []Route{
		get("/openapi.yaml", d.serveYAML),
		get("/docs", d.page.serve),
		get("/docs/style.css", d.style.serve),
		get("/docs/script.js", d.script.serve),
	}
}

// serveYAML lets pages of every origin read the document, because a viewer may be on another origin.
func (d *Document) serveYAML(c echo.Context) error {
	AnyOrigin(c)
	return d.yaml.serve(c)
}

// serve lets a copy be stored but not used without validation, because the next version may have another document.
func (f file) serve(c echo.Context) error {
	header := c.Response().Header()
	header.Set("Content-Security-Policy", documentPolicy)
	header.Set("Referrer-Policy", "no-referrer")
	return f.serveFor(c, "no-cache")
}

// Cached responds with the content, or with 304 if the client has it.
func Cached(c echo.Context, mediaType string, content []byte, cacheControl string) error {
	return newFile(mediaType, content).serveFor(c, cacheControl)
}

// Known reports whether the client has the representation with this entity tag, by If-None-Match (RFC 9110, section
// 13.1.2).
func Known(c echo.Context, etag string) bool {
	known := c.Request().Header.Get("If-None-Match")
	return known == "*" || strings.Contains(known, etag)
}

// serveFor does not use http.ServeContent, which adds ranges, conditions, and statuses that are not documented.
func (f file) serveFor(c echo.Context, cacheControl string) error {
	c.Response().Header().Set("ETag", f.etag)
	c.Response().Header().Set(echo.HeaderCacheControl, cacheControl)
	if Known(c, f.etag) {
		return c.NoContent(http.StatusNotModified)
	}
	return c.Blob(http.StatusOK, f.mediaType, f.content)
}
