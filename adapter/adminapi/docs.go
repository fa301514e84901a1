package adminapi

import (
	"cmp"
	_ "embed"
	"strconv"
	"strings"

	"github.com/refreshd/refreshd/adapter/web"
)

// base is where the document is. The endpoints are beside those of the other APIs, under the names in permissions.
const base = "/administration"

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

// documentFor takes some 30 ms. Tests, which make many APIs, replace it by a cached one.
var documentFor = func(url, tenantID string) (*web.Document, error) {
	return web.NewDocument(base, fill(url, tenantID))
}
