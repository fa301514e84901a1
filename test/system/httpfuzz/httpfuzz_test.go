package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
	"github.com/refreshd/refreshd/test/storagetest"
	"github.com/refreshd/refreshd/test/support/contract"
)

// A short run of what `make httpfuzz` does for longer.
func TestEveryAnswerIsWhatTheDocumentSays(t *testing.T) {
	r, err := run(t.Context(), plan{seed: 1, stores: []string{"memory", "sqlite"}, worlds: 10, requests: 300, findings: 5})
	if err != nil {
		t.Fatal(err)
	}
	var printed strings.Builder
	r.print(&printed, 1)
	t.Log(printed.String())
	if len(r.findings) > 0 {
		t.Errorf("%d findings, see above", len(r.findings))
	}
	// An operation that is never tried, or never succeeds, proves nothing.
	wanted := []string{"issue", "exchange", "list", "retrieve", "revoke", "revokeOne", "change", "changeOne"}
	for _, f := range contract.Forms {
		wanted = append(wanted, f.String())
	}
	for _, o := range wanted {
		if r.byOperation[o][http.StatusOK] == 0 {
			t.Errorf("%s never succeeded", o)
		}
	}
	for _, m := range mutations {
		if n := r.byMutation[m.name]; len(n) == 0 {
			t.Errorf("the mutation %q was never made", m.name)
		}
	}
}

// A single world tries all forms, whatever its seed.
func TestEveryFormSucceedsInEveryWorld(t *testing.T) {
	for seed := range uint64(8) {
		r, err := run(t.Context(), plan{seed: seed, stores: []string{"memory"}, worlds: 1, requests: 400, findings: 1})
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range contract.Forms {
			if r.byOperation[f.String()][http.StatusOK] == 0 {
				t.Errorf("seed %d: %s never succeeded", seed, f)
			}
		}
	}
}

// A seed makes the same requests again; otherwise it is useless.
func TestASeedMakesTheSameRequestsAgain(t *testing.T) {
	var runs [2]bytes.Buffer
	for i := range runs {
		p := plan{seed: 7, stores: []string{"memory"}, worlds: 1, requests: 60, findings: 1, show: &runs[i]}
		if _, err := run(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	if runs[0].String() != runs[1].String() {
		a, b := strings.Split(runs[0].String(), "\n"), strings.Split(runs[1].String(), "\n")
		for i := range a {
			if i >= len(b) || a[i] != b[i] {
				t.Fatalf("line %d differs:\n%s\n%s", i, a[i], b[min(i, len(b)-1)])
			}
		}
	}
}

// widening is a store that revokes all of a tenant where a user or an application is meant.
type widening struct{ port.Store }

func (s widening) RevokeScope(
	ctx context.Context, scope domain.Scope, except domain.ID, r port.Revocation, e domain.Event,
) (uint64, error) {
	return s.Store.RevokeScope(ctx, domain.Scope{TenantID: scope.TenantID}, except, r, e)
}

// forgetful is a store that ignores the instant of an import.
type forgetful struct{ port.Store }

func (s forgetful) Insert(ctx context.Context, t domain.RefreshToken) (domain.RefreshToken, error) {
	t.IssuedAt = t.RotatedAt
	return s.Store.Insert(ctx, t)
}

// A fuzzer has to find what is broken. Each of these services is broken in one way.
func TestWhatIsBrokenIsFound(t *testing.T) {
	answered := func(inner http.Handler, r *http.Request) *httptest.ResponseRecorder {
		rec := httptest.NewRecorder()
		inner.ServeHTTP(rec, r)
		return rec
	}
	pass := func(out http.ResponseWriter, rec *httptest.ResponseRecorder) {
		for name, values := range rec.Header() {
			out.Header()[name] = values
		}
		out.WriteHeader(rec.Code)
		_, _ = out.Write(rec.Body.Bytes())
	}
	// refused calls do, where a request was refused.
	refused := func(do func(*world, *http.Request)) func(*world, http.Handler) http.Handler {
		return func(w *world, inner http.Handler) http.Handler {
			return http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
				rec := answered(inner, r)
				if rec.Code/100 == 4 {
					do(w, r)
				}
				pass(out, rec)
			})
		}
	}
	// changed lets change make another request of each.
	changed := func(change func(*world, *http.Request)) func(*world, http.Handler) http.Handler {
		return func(w *world, inner http.Handler) http.Handler {
			return http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
				change(w, r)
				inner.ServeHTTP(out, r)
			})
		}
	}
	// turned lets turn make another answer of each.
	turned := func(turn func(*http.Request, *httptest.ResponseRecorder)) func(*world, http.Handler) http.Handler {
		return func(_ *world, inner http.Handler) http.Handler {
			return http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
				rec := answered(inner, r)
				turn(r, rec)
				pass(out, rec)
			})
		}
	}
	for name, test := range map[string]struct {
		wrap func(*world, http.Handler) http.Handler
		want string
	}{
		"a fault for some input": {turned(func(r *http.Request, rec *httptest.ResponseRecorder) {
			if rec.Code == http.StatusRequestEntityTooLarge {
				rec.Code = http.StatusInternalServerError
				rec.Body.Reset()
			}
		}), "an internal error"},
		"a status that is not documented": {turned(func(_ *http.Request, rec *httptest.ResponseRecorder) {
			if rec.Code == http.StatusUnauthorized {
				rec.Code = http.StatusForbidden
			}
		}), "not documented"},
		"a 401 that tells why": {turned(func(_ *http.Request, rec *httptest.ResponseRecorder) {
			if rec.Code == http.StatusUnauthorized {
				rec.Body.WriteString("the key has expired")
			}
		}), "a body, and none is documented"},
		"an answer with one more name": {turned(func(_ *http.Request, rec *httptest.ResponseRecorder) {
			rec.Body = bytes.NewBuffer(bytes.Replace(rec.Body.Bytes(), []byte(`"success"`), []byte(`"extra":1,"success"`), 1))
		}), "doesn't match"},
		"a header that the request chose": {turned(func(r *http.Request, rec *httptest.ResponseRecorder) {
			if r.Header.Get("Cookie") != "" {
				rec.Header().Set("X-Echo", "1")
			}
		}), "the answer has the header X-Echo"},
		"a refused request that writes": {refused(func(w *world, r *http.Request) {
			if len(w.store.ids) > 0 {
				t := w.previous[w.store.ids[0]].Token
				_ = w.store.Revoke(r.Context(), t.TenantID, t.ID,
					port.Revocation{At: w.now, Reason: domain.RevokedByRequest}, storagetest.NewEvent())
			}
		}), "a refused request changed refresh token"},
		"a refused request that revokes nobody's": {refused(func(w *world, r *http.Request) {
			scope := domain.Scope{TenantID: "acme", UserID: "nobody"}
			_, _ = w.store.RevokeScope(r.Context(), scope, domain.ID{},
				port.Revocation{At: w.now, Reason: domain.RevokedByRequest}, storagetest.NewEvent())
		}), "a refused request revoked a scope"},
		"a selector that is widened": {func(w *world, inner http.Handler) http.Handler {
			w.store.Store = widening{w.store.Store}
			return inner
		}, "changed"},
		"a name that is ignored": {changed(func(_ *world, r *http.Request) {
			if r.Method == http.MethodGet && r.URL.Path != "/jwt/refresh" {
				r.URL.RawQuery = ""
			}
		}), "200: done, "},
		"a service that asks for no key": {changed(func(w *world, r *http.Request) {
			if r.Header.Get("Authorization") == "" && r.Header.Get("Cookie") == "" { // which needs none
				r.Header.Set("Authorization", w.keys["everywhere"])
			}
		}), "no apiKey was sent"},
		"a service that believes any key": {changed(func(w *world, r *http.Request) {
			if strings.Contains(r.Header.Get("Authorization"), "ak_") {
				r.Header.Set("Authorization", w.keys["everywhere"])
			}
		}), "without a credential that covers it"},
		"a service that takes an access token for a key": {changed(func(w *world, r *http.Request) {
			if strings.Count(r.Header.Get("Authorization"), ".") == 2 {
				r.Header.Set("Authorization", w.keys["everywhere"])
			}
		}), "without a credential that covers it"},
		"a service that lists a tenant to any key": {changed(func(w *world, r *http.Request) {
			if r.Header.Get("Authorization") == w.keys["everywhere"] && r.Method == http.MethodGet {
				r.Header.Set("Authorization", w.keys[r.Header.Get("X-Stencil-TenantId")])
			}
		}), "without a credential that covers it"},
		"a service that mixes tenants up": {changed(func(w *world, r *http.Request) {
			own := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ") == w.keys["acme"]
			if r.Method == http.MethodGet && r.Header.Get("X-Stencil-TenantId") == "acme" && own {
				r.Header.Set("X-Stencil-TenantId", "globex")
				r.Header.Set("Authorization", w.keys["globex"])
			}
		}), `of tenant "globex" is shown to`},
		"seconds left that are made up": {turned(func(_ *http.Request, rec *httptest.ResponseRecorder) {
			rec.Body = bytes.NewBuffer(bytes.Replace(rec.Body.Bytes(), []byte(`"expiresIn":`), []byte(`"expiresIn":1`), 1))
		}), "seconds left of an access token"},
		"a cookie that outlives its token": {turned(func(_ *http.Request, rec *httptest.ResponseRecorder) {
			for i, cookie := range rec.Header()["Set-Cookie"] {
				rec.Header()["Set-Cookie"][i] = strings.Replace(cookie, "Max-Age=", "Max-Age=1", 1)
			}
		}), "a cookie lasts"},
		"an outcome that did not happen": {turned(func(_ *http.Request, rec *httptest.ResponseRecorder) {
			if rec.Header().Get("Refreshd-Outcome") == "retried" {
				rec.Header().Set("Refreshd-Outcome", "rotated")
			}
		}), "rotated, from generation"},
		"an import that begins now": {func(w *world, inner http.Handler) http.Handler {
			w.store.Store = forgetful{w.store.Store}
			return inner
		}, "issued at"},
		"a lifetime that hides a replay": {turned(func(r *http.Request, rec *httptest.ResponseRecorder) {
			if rec.Header().Get("Refreshd-Outcome") == "replayed" {
				rec.Body = bytes.NewBufferString(`{"success":false,"message":"","errors":{"fieldErrors":{"timeToLiveInSeconds":` +
					`[{"code":"[invalid]timeToLiveInSeconds","message":""}]}}}`)
			}
		}), "refused for the lifetime that it asks for"},
		"a log that can be forged": {func(w *world, inner http.Handler) http.Handler {
			return http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
				if cookie := r.Header.Get("Cookie"); cookie != "" {
					fmt.Fprintf(&w.log, "%s\n", cookie)
				}
				inner.ServeHTTP(out, r)
			})
		}, "a line of the log"},
		"a log with secrets": {func(w *world, inner http.Handler) http.Handler {
			return http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
				inner.ServeHTTP(out, r)
				fmt.Fprintf(&w.log, "{\"msg\":\"request\",\"id\":\"x\",\"of\":%q}\n", r.Header.Get("Authorization"))
			})
		}, "a secret in the log"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := run(t.Context(), plan{seed: 1, stores: []string{"memory"}, worlds: 20, requests: 200, findings: 1,
				wrap: test.wrap})
			if err != nil {
				t.Fatal(err)
			}
			if len(r.findings) == 0 {
				t.Fatalf("nothing was found in %d requests", r.requests)
			}
			if got := r.findings[0].String(); !strings.Contains(got, test.want) {
				t.Errorf("got %s\nwant it to say %q", got, test.want)
			}
			t.Logf("after %d requests", r.requests)
		})
	}
}
