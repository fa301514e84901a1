package httpapi_test

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/labstack/echo/v4"
	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/lestrrat-go/jwx/v2/jws"

	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/usecase/admin"
)

func keyIDs(t *testing.T, a *answer) []string {
	t.Helper()
	set, err := jwk.Parse(a.body)
	if err != nil {
		t.Fatal(err)
	}
	ids := []string{}
	for i := range set.Len() {
		key, _ := set.Key(i)
		ids = append(ids, key.KeyID())
	}
	return ids
}

func TestATenantsKeysVerifyItsAccessTokens(t *testing.T) {
	s := newService(t)
	// A verifier may fetch the set before the first access token, and must not cache an empty one.
	published := s.do(t, "GET", "/t/acme/.well-known/jwks.json").want(t, 200)
	if len(keyIDs(t, published)) != 1 {
		t.Fatalf("got %s, want one key", published.body)
	}
	if strings.Contains(string(published.body), `"d":`) {
		t.Error("a private key is published")
	}
	g := s.issue(t, "shop", "ada")
	set, err := jwk.Parse(published.body)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := jws.Verify([]byte(g.Token), jws.WithKeySet(set)); err != nil {
		t.Errorf("the published keys do not verify an access token: %v", err)
	}
	key, _ := set.Key(0)
	if key.Algorithm() != jwa.ES256 || key.KeyUsage() != "sig" {
		t.Errorf("got alg %v, use %q", key.Algorithm(), key.KeyUsage())
	}
	other := s.do(t, "GET", "/t/globex/.well-known/jwks.json").want(t, 200)
	if slices.Equal(keyIDs(t, other), keyIDs(t, published)) {
		t.Error("two tenants have one key")
	}
}

func TestKeySetsMayBeKeptForAWhile(t *testing.T) {
	s := newService(t)
	for _, path := range []string{"/t/acme/.well-known/jwks.json", "/.well-known/jwks.json"} {
		first := s.do(t, "GET", path).want(t, 200)
		etag := first.header.Get("ETag")
		if !strings.Contains(first.header.Get("Cache-Control"), "max-age=300") || len(etag) < 4 || etag[0] != '"' {
			t.Errorf("got Cache-Control %q, ETag %q", first.header.Get("Cache-Control"), etag)
		}
		for _, condition := range []string{etag, "W/" + etag, `"other", ` + etag, "*"} {
			same := s.do(t, "GET", path, header("If-None-Match", condition)).want(t, 304)
			if len(same.body) > 0 || same.header.Get("ETag") != etag ||
				same.header.Get("Cache-Control") != first.header.Get("Cache-Control") {
				t.Errorf("If-None-Match %s: got %v and %d bytes", condition, same.header, len(same.body))
			}
		}
		s.do(t, "GET", path, header("If-None-Match", `"other"`)).want(t, 200)
	}
	a, b := s.do(t, "GET", "/t/acme/.well-known/jwks.json"), s.do(t, "GET", "/t/globex/.well-known/jwks.json")
	if a.header.Get("ETag") == b.header.Get("ETag") {
		t.Error("two key sets have one ETag")
	}
}

// Starts are planned by the cache age: no cache may hold a set for longer.
func TestNoKeySetIsCachedLongerThanStartsArePlannedFor(t *testing.T) {
	s := newService(t)
	s.api.Publish.Keys.CacheAge = time.Minute
	s.mount(t)
	got := s.do(t, "GET", "/.well-known/jwks.json").want(t, 200).header.Get("Cache-Control")
	if got != "public, max-age=60" {
		t.Errorf("Cache-Control is %q, want max-age=60", got)
	}
}

// Pages of any origin verify access tokens too. One cached copy is for all, so it must not depend on the origin.
func TestKeySetsAndTheDocumentAreReadByPagesOfEveryOrigin(t *testing.T) {
	for name, configured := range map[string]web.Origins{
		"an origin is configured": newService(t).options.Pages.Origins, "none is": {},
	} {
		s := newService(t)
		s.options.Pages.Origins = configured
		s.mount(t)
		for path, status := range map[string]int{
			"/t/acme/.well-known/jwks.json": 200, "/.well-known/jwks.json": 200, "/openapi.yaml": 200,
			"/t/nobody/.well-known/jwks.json": 404,
		} {
			for _, origin := range []string{ourOrigin, "https://other.example", "null"} {
				got := s.do(t, "GET", path, header("Origin", origin)).want(t, status).header
				if values := got.Values("Access-Control-Allow-Origin"); !slices.Equal(values, []string{"*"}) ||
					got.Get("Access-Control-Allow-Credentials") != "" || got.Get("Vary") != "" {
					t.Errorf("%s: %s for %s: got %v, want every origin, and no credentials", name, path, origin, got)
				}
			}
		}
		got := s.do(t, "GET", "/docs", header("Origin", "https://other.example")).header
		if got.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: got %v for the page of the document", name, got)
		}
	}
}

func TestTheKeysOfATenantThatIsNotThere(t *testing.T) {
	s := newService(t)
	before := len(s.dump(t).Keys)
	for _, id := range []string{"nobody", "ACME", "acme%20", "%00", "..%2Facme", "%2e%2e", strings.Repeat("x", 300)} {
		s.do(t, "GET", "/t/"+id+"/.well-known/jwks.json").want(t, 404)
	}
	s.do(t, "GET", "/t//.well-known/jwks.json").want(t, 404)
	if after := len(s.dump(t).Keys); after != before {
		t.Errorf("%d keys were made for tenants that are not there", after-before)
	}
}

func TestTheRootHasTheKeysOfItsTenantWhateverOthersThereAre(t *testing.T) {
	s := newEmptyService(t)
	s.do(t, "GET", "/.well-known/jwks.json").want(t, 404)
	k := standard(s.keys)
	k.APIKeys = nil
	s.apply(t, admin.Kickstart{Tenants: k.Tenants[:1]})
	s.wait(time.Second)
	own := s.do(t, "GET", "/t/acme/.well-known/jwks.json").want(t, 200)
	root := s.do(t, "GET", "/.well-known/jwks.json").want(t, 200)
	if string(own.body) != string(root.body) {
		t.Errorf("got %s, want the tenant's %s", root.body, own.body)
	}
	s.apply(t, k)
	s.wait(time.Second)
	etag := root.header.Get("ETag")
	s.do(t, "GET", "/.well-known/jwks.json", header("If-None-Match", etag)).want(t, 304)
}

func TestKeysOfEveryAlgorithmArePublished(t *testing.T) {
	s := newEmptyService(t)
	var k admin.Kickstart
	for _, a := range []domain.Algorithm{domain.ES256, domain.PS256} {
		k.Tenants = append(k.Tenants, admin.KickstartTenant{
			Tenant: domain.Tenant{ID: string(a), Name: string(a), Settings: domain.Settings{Algorithm: &a}},
		})
	}
	s.apply(t, k)
	for _, tenant := range k.Tenants {
		got := s.do(t, "GET", "/t/"+tenant.Tenant.ID+"/.well-known/jwks.json").want(t, 200)
		if !strings.Contains(string(got.body), `"alg":"`+tenant.Tenant.ID+`"`) {
			t.Errorf("got %s, want a key for %s", got.body, tenant.Tenant.ID)
		}
	}
}

// Permissions can name exactly the routes of the API. A route that is missing in their list could be granted only by
// "*", and one that does not exist would be a useless permission.
func TestAPermissionCanNameEveryRouteThatNeedsOne(t *testing.T) {
	s := newEmptyService(t)
	routed := map[string][]string{}
	for _, r := range s.handler.(*echo.Echo).Routes() {
		if strings.HasPrefix(r.Path, "/jwt/") && r.Method != http.MethodHead { // HEAD takes the permission for GET
			routed[r.Path] = append(routed[r.Path], r.Method)
		}
	}
	named := domain.Endpoints()
	maps.DeleteFunc(named, func(path string, _ []string) bool { // those of another dialect, which tests them
		return strings.HasPrefix(path, "/oauth2/")
	})
	for _, methods := range []map[string][]string{routed, named} {
		for path := range methods {
			slices.Sort(methods[path])
		}
	}
	if diff := cmp.Diff(routed, named); diff != "" {
		t.Errorf("(-routed +can be named)\n%s", diff)
	}
}
