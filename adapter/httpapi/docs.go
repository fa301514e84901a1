package httpapi

import (
	"cmp"
	_ "embed"
	"strconv"
	"strings"

	"github.com/refreshd/refreshd/adapter/web"
)

//go:embed openapi.yaml
var openapiYAML []byte

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
var documentFor = func(x Examples) (*web.Document, error) { return web.NewDocument(x.fill()) }
