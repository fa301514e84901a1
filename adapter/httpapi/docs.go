package httpapi

import (
	_ "embed"

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

// fill returns openapi.yaml with these examples instead of those of a first start.
func (x Examples) fill() []byte {
	return web.FillExamples(openapiYAML, x.URL, x.TenantID,
		"applicationsId: demo", "applicationsId: "+web.Example(x.ApplicationID, "your-application"))
}

// documentFor takes some 30 ms. Tests, which make hundreds of APIs, replace it by a cached one.
var documentFor = func(x Examples) (*web.Document, error) { return web.NewDocument("", x.fill()) }
