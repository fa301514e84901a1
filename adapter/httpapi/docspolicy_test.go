package httpapi_test

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/adapter/httpapi"
)

// Whatever text the document will have, the page's policy allows no script except the page's own file, does not let
// that write markup, and loads nothing from another origin.
func TestThePolicyOfThePageAllowsOnlyItsOwnScript(t *testing.T) {
	e := documentServer(t, firstStart)
	want := map[string]string{
		"default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "img-src": "data:", "base-uri": "'none'",
		"form-action": "'none'", "frame-ancestors": "'none'",
		"require-trusted-types-for": "'script'", "trusted-types": "'none'",
	}
	var scripts []string
	for _, path := range []string{"/openapi.yaml", "/docs", "/docs/style.css", "/docs/script.js"} {
		rec := httptest.NewRecorder()
		e.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
		got := map[string]string{}
		for directive := range strings.SplitSeq(rec.Header().Get("Content-Security-Policy"), ";") {
			name, value, _ := strings.Cut(strings.TrimSpace(directive), " ")
			got[name] = value
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("GET %s: the policy differs (-want +got):\n%s", path, diff)
		}
		if strings.Contains(rec.Header().Get("Content-Type"), "script") {
			scripts = append(scripts, path)
		}
	}
	// 'self' allows every script of the service: it has only this one.
	if diff := cmp.Diff([]string{"/docs/script.js"}, scripts); diff != "" {
		t.Errorf("what is sent as a script differs (-want +got):\n%s", diff)
	}
}

func TestEverythingThatThePageLoadsIsServed(t *testing.T) {
	e := documentServer(t, firstStart)
	rec := httptest.NewRecorder()
	e.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/docs", nil))
	var got []string
	for _, m := range regexp.MustCompile(`(?:src|href)="(/[^"]*)"`).FindAllStringSubmatch(rec.Body.String(), -1) {
		got = append(got, m[1])
		loaded := httptest.NewRecorder()
		e.ServeHTTP(loaded, httptest.NewRequest(http.MethodGet, m[1], nil))
		if loaded.Code != http.StatusOK {
			t.Errorf("GET %s: got %d, want 200", m[1], loaded.Code)
		}
	}
	if diff := cmp.Diff([]string{"/docs/style.css", "/docs/script.js", "/openapi.yaml"}, got); diff != "" {
		t.Errorf("what the page refers to differs (-want +got):\n%s", diff)
	}
}

// The URL for another viewer is the one at which the running service has the document.
func TestThePageNamesTheDocumentOfTheRunningService(t *testing.T) {
	rec := httptest.NewRecorder()
	e := documentServer(t, httpapi.Examples{URL: "https://auth.acme.example/tokens"})
	e.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/docs", nil))
	if want := ">https://auth.acme.example/tokens/openapi.yaml</code>"; !strings.Contains(rec.Body.String(), want) {
		t.Errorf("the page does not hold %s", want)
	}
}
