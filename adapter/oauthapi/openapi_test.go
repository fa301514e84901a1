package oauthapi_test

import (
	"testing"

	"github.com/refreshd/refreshd/test/support/contract"
)

func TestTheDocumentIsValid(t *testing.T) { contract.CheckDocument(t) }

func TestTheDocumentHasEveryRoute(t *testing.T) {
	dialect, err := newService(t).api.Dialect()
	if err != nil {
		t.Fatal(err)
	}
	var routes []string
	for _, r := range dialect.Routes {
		routes = append(routes, r.Method+" "+r.Path)
	}
	contract.CheckRoutes(t, "/oauth2", routes)
}
