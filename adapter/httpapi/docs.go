package httpapi

import (
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/adapter/httpapi/docs"
	"github.com/refreshd/refreshd/adapter/web"
)

//go:embed openapi.yaml
var openapiYAML []byte

// docsPolicy lets the page load its style sheet and its script, and nothing else: no inline script, no frame, nothing
// from elsewhere. A policy cannot name one file without the address of the service, so it says 'self'; no other
// response of the service has the media type of a script. The script cannot turn text into markup either.
const docsPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; base-uri 'none'; " +
	"form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// Examples are what the documents of a running service name, so that what is copied from them works there.
type Examples struct {
	// URL is where clients reach the API.
	URL string
	// TenantID and ApplicationID are the only tenant and an application of it. Empty, the documents say which to put
	// in: of several tenants none is named to everybody.
	TenantID, ApplicationID string
}

// fill returns openapi.yaml with these examples in place of those that it has for itself, which are a first start's. A
// string of Go in ASCII is one of YAML too, whatever is in it.
func (x Examples) fill() []byte {
	url, tenant := strconv.QuoteToASCII(x.URL), strconv.QuoteToASCII(cmp.Or(x.TenantID, "your-tenant"))
	application := strconv.QuoteToASCII(cmp.Or(x.ApplicationID, "your-application"))
	return []byte(strings.NewReplacer(
		"- url: http://127.0.0.1:3000\n", "- url: "+url+"\n",
		"example: default\n", "example: "+tenant+"\n",
		"tenantId: default\n", "tenantId: "+tenant+"\n",
		"applicationsId: demo", "applicationsId: "+application,
	).Replace(string(openapiYAML)))
}

// documentFor takes some 30 ms. Tests, which make hundreds of APIs, put a cache before it.
var documentFor = func(x Examples) (*document, error) { return newDocument(x.fill()) }

// document is openapi.yaml and the page that is made of it, with the page's own files, all ready to send.
type document struct{ yaml, page, style, script file }

type file struct {
	mediaType string
	etag      string
	content   []byte
}

func newDocument(openapi []byte) (*document, error) {
	page, err := docs.Render(openapi)
	if err != nil {
		return nil, err
	}
	return &document{
		yaml:   newFile("application/yaml", openapi),
		page:   newFile("text/html; charset=utf-8", page),
		style:  newFile("text/css; charset=utf-8", docs.Style),
		script: newFile("text/javascript; charset=utf-8", docs.Script),
	}, nil
}

func newFile(mediaType string, content []byte) file {
	sum := sha256.Sum256(content)
	return file{mediaType: mediaType, etag: `"` + hex.EncodeToString(sum[:16]) + `"`, content: content}
}

// serveYAML answers GET /openapi.yaml. A viewer of such documents may be a page of any origin.
func (d *document) serveYAML(c echo.Context) error {
	web.AnyOrigin(c)
	return d.yaml.serve(c)
}

// servePage answers GET /docs.
func (d *document) servePage(c echo.Context) error { return d.page.serve(c) }

// serveStyle answers GET /docs/style.css.
func (d *document) serveStyle(c echo.Context) error { return d.style.serve(c) }

// serveScript answers GET /docs/script.js.
func (d *document) serveScript(c echo.Context) error { return d.script.serve(c) }

// serve lets a copy be kept but not used without asking: the next version of the program may say something else.
func (f file) serve(c echo.Context) error {
	header := c.Response().Header()
	header.Set("Content-Security-Policy", docsPolicy)
	header.Set("Referrer-Policy", "no-referrer")
	return f.serveFor(c, "no-cache")
}

// serveFor answers with the content, or with 304 to a caller that has it. It is not http.ServeContent, which would add
// ranges and conditions, and statuses that the document does not have.
func (f file) serveFor(c echo.Context, cacheControl string) error {
	c.Response().Header().Set("ETag", f.etag)
	c.Response().Header().Set(echo.HeaderCacheControl, cacheControl)
	if known := c.Request().Header.Get("If-None-Match"); known == "*" || strings.Contains(known, f.etag) {
		return c.NoContent(http.StatusNotModified)
	}
	return c.Blob(http.StatusOK, f.mediaType, f.content)
}
