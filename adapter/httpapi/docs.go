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

// Examples are the values in the examples of openapi.yaml and its page, so that copied commands work on this service.
type Examples struct {
	// URL is where clients reach the API.
	URL string
	// TenantID and ApplicationID are the only tenant and one of its applications. If they are empty, the documents have
	// placeholders: with several tenants none is published.
	TenantID, ApplicationID string
}

// fill returns openapi.yaml with these examples instead of those of a first start. A Go string literal in ASCII is a
// YAML string too, whatever its content.
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

// documentFor takes some 30 ms. Tests, which make hundreds of APIs, replace it by a cached one.
var documentFor = func(x Examples) (*web.Document, error) { return web.NewDocument("", x.fill()) }
