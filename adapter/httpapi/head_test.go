package httpapi_test

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/adapter/web"
)

// Monitors and balancers send HEAD. Its response has the status and the headers of GET, and no more (RFC 9110, section
// 9.3.2).
func TestHeadIsGetWithoutTheBody(t *testing.T) {
	h := newHousehold(t)
	asked := 0
	both := func(target string, options ...option) {
		t.Helper()
		get := h.do(t, "GET", target, options...)
		head := h.do(t, "HEAD", target, options...).want(t, get.status)
		if len(head.body) > 0 {
			t.Errorf("HEAD %s: got the body %s", target, head.body)
		}
		want := get.header.Clone()
		for _, header := range []http.Header{want, head.header} {
			header.Del("X-Request-Id")
		}
		if length := head.header.Get("Content-Length"); length != itoa(len(get.body)) && get.status != 304 {
			t.Errorf("HEAD %s: got Content-Length %q of %d bytes", target, length, len(get.body))
		}
		want.Del("Content-Length") // which net/http adds to a GET
		head.header.Del("Content-Length")
		if diff := cmp.Diff(want, head.header); diff != "" {
			t.Errorf("HEAD %s, %d: got another header than GET: %s", target, get.status, diff)
		}
	}
	for _, p := range h.probes() {
		if p.method != "GET" {
			continue
		}
		asked++
		both(p.target, p.options...)
		both(p.target, append(p.options, header("Origin", ourOrigin))...)
		both(p.target+"?unknown=1", p.options...)
		both(p.target, append(p.options, text(`{}`))...)
		both(p.target, append(p.options, as("powerless"))...)
		both(p.target)
	}
	if asked < 9 {
		t.Errorf("asked for %d routes, want all that have GET", asked)
	}
	both("/jwt/refresh?userId=ada&limit=1", backend) // with a Link
	both("/jwt/nothing", backend)
	etag := h.do(t, "GET", "/docs").header.Get("ETag")
	both("/docs", header("If-None-Match", etag))
	h.do(t, "HEAD", "/jwt/issue", backend).want(t, 405)
}

// Otherwise a client whose key is refused for GET could continue with HEAD, and learn from the status which ids exist.
func TestHeadCostsWhatGetCosts(t *testing.T) {
	h := newHousehold(t)
	h.limit(t, web.RateLimits{APIKey: 1, Address: 1})
	const target = "/jwt/refresh?userId=ada"
	for range 5 {
		h.do(t, "HEAD", target, backend).want(t, 200)
		h.do(t, "GET", target, backend).want(t, 200)
	}
	h.do(t, "HEAD", target, backend).want(t, 429)
	h.do(t, "GET", target, backend).refusedFor(t, "apiKey")
	wrong := header("Authorization", "ak_made_up_made_up_made_up_made_up")
	h.do(t, "HEAD", target, wrong).want(t, 401) // ten requests of an address
	h.do(t, "HEAD", target, wrong).want(t, 401) // the one look-up a second beyond them
	h.do(t, "HEAD", target, wrong).want(t, 429)
	h.do(t, "GET", target, wrong).refusedFor(t, "clientAddress")
}
