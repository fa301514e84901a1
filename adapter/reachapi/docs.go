package reachapi

import (
	_ "embed"

	"github.com/refreshd/refreshd/adapter/web"
)

// base is below the name of the permission. The stream itself is below the tenant.
const base = "/revocations"

//go:embed openapi.yaml
var openapiYAML []byte

// documentFor takes some 30 ms.
var documentFor = func(url, tenantID string) (*web.Document, error) {
	return web.NewDocument(base, web.FillExamples(openapiYAML, url, tenantID))
}
