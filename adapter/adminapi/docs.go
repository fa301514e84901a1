package adminapi

import (
	_ "embed"

	"github.com/refreshd/refreshd/adapter/web"
)

// base is where the document is. The endpoints are beside those of the other APIs, under the names in permissions.
const base = "/administration"

//go:embed openapi.yaml
var openapiYAML []byte

// documentFor takes some 30 ms. Tests, which make many APIs, replace it by a cached one.
var documentFor = func(url, tenantID string) (*web.Document, error) {
	return web.NewDocument(base, web.FillExamples(openapiYAML, url, tenantID))
}
