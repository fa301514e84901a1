package oauthapi

import (
	_ "embed"

	"github.com/refreshd/refreshd/adapter/web"
)

// base is the path of the document and its page.
const base = "/oauth2"

//go:embed openapi.yaml
var openapiYAML []byte

// documentFor takes some 30 ms. Tests, which make hundreds of APIs, replace it by a cached one.
var documentFor = func(url, tenantID string) (*web.Document, error) {
	return web.NewDocument(base, web.FillExamples(openapiYAML, url, tenantID))
}
