package reachapi

import (
	"cmp"
	_ "embed"
	"strconv"
	"strings"

	"github.com/refreshd/refreshd/adapter/web"
)

// base is below the name of the permission. The stream itself is below the tenant.
const base = "/revocations"

//go:embed openapi.yaml
var openapiYAML []byte

// fill returns openapi.yaml with the address of this service and its only tenant, or a placeholder if there are
// several. A Go string literal in ASCII is a YAML string too, whatever its content.
func fill(url, tenantID string) []byte {
	return []byte(strings.NewReplacer(
		"- url: http://127.0.0.1:3000\n", "- url: "+strconv.QuoteToASCII(url)+"\n",
		"example: default\n", "example: "+strconv.QuoteToASCII(cmp.Or(tenantID, "your-tenant"))+"\n",
	).Replace(string(openapiYAML)))
}

// documentFor takes some 30 ms.
var documentFor = func(url, tenantID string) (*web.Document, error) {
	return web.NewDocument(base, fill(url, tenantID))
}
