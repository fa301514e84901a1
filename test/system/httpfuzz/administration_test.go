package main

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/refreshd/refreshd/test/support/postgres"
)

func TestMain(m *testing.M) { os.Exit(postgres.Main(m)) }

func administrationPlan(t *testing.T, stores ...string) plan {
	return plan{seed: 1, stores: stores, documents: []string{administration}, worlds: 2 * len(stores), requests: 400,
		findings: 5, database: func(context.Context) (string, error) { return postgres.NewDatabase(t), nil }}
}

// A short run on each store. Each operation succeeds.
func TestEveryAnswerOfAdministrationIsWhatTheDocumentSays(t *testing.T) {
	r, err := run(t.Context(), administrationPlan(t, "memory", "sqlite", "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	var printed strings.Builder
	r.print(&printed, 1)
	t.Log(printed.String())
	if len(r.findings) > 0 {
		t.Errorf("%d findings, see above", len(r.findings))
	}
	for operation, statuses := range r.byOperation {
		if statuses[http.StatusOK]+statuses[http.StatusCreated] == 0 {
			t.Errorf("%s never succeeded: %v", operation, statuses)
		}
	}
	if len(r.byOperation) < 25 {
		t.Errorf("got %d operations", len(r.byOperation))
	}
}

// A fuzzer that finds nothing in a broken service would be useless.
func TestEachFaultOfAdministrationIsFound(t *testing.T) {
	turned := func(turn func(*http.Request, *httptest.ResponseRecorder)) func(*world, http.Handler) http.Handler {
		return func(_ *world, inner http.Handler) http.Handler {
			return http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
				rec := httptest.NewRecorder()
				inner.ServeHTTP(rec, r)
				turn(r, rec)
				for name, values := range rec.Header() {
					out.Header()[name] = values
				}
				out.Header().Del("Content-Length")
				out.WriteHeader(rec.Code)
				_, _ = out.Write(rec.Body.Bytes())
			})
		}
	}
	changed := func(change func(*world, *http.Request)) func(*world, http.Handler) http.Handler {
		return func(w *world, inner http.Handler) http.Handler {
			return http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
				change(w, r)
				inner.ServeHTTP(out, r)
			})
		}
	}
	for name, test := range map[string]struct {
		wrap func(*world, http.Handler) http.Handler
		want string
	}{
		"a success that is reported as a refusal": {turned(func(r *http.Request, rec *httptest.ResponseRecorder) {
			// The end of no client secret changes nothing.
			if r.Method == "DELETE" && rec.Code == 200 && !strings.HasSuffix(r.URL.Path, "/secret") {
				rec.Code = 404
				rec.Body = &bytes.Buffer{}
			}
		}), "changed"},
		"a service that asks for no key": {changed(func(w *world, r *http.Request) {
			if r.Header.Get("Authorization") == "" {
				r.Header.Set("Authorization", w.keys[operatorOf("")])
			}
		}), "apiKey"},
		"a service that mixes tenants up": {changed(func(w *world, r *http.Request) {
			if strings.HasSuffix(r.Header.Get("Authorization"), w.keys[operatorOf("acme")]) {
				r.Header.Set("Authorization", w.keys[operatorOf("")])
				r.Header.Set("X-Stencil-TenantId", "globex")
				r.Header.Del("X-Tenant-Id")
				r.Header.Del("X-Stencil-Tenanid")
			}
		}), "tenant"},
		"a key that a cache keeps": {turned(func(_ *http.Request, rec *httptest.ResponseRecorder) {
			rec.Header().Del("Cache-Control")
		}), "the response has a key"},
		"a version that is not sent": {turned(func(r *http.Request, rec *httptest.ResponseRecorder) {
			if r.Method == "PUT" {
				rec.Header().Del("ETag")
			}
		}), "ETag"},
	} {
		t.Run(name, func(t *testing.T) {
			p := administrationPlan(t, "memory")
			p.worlds, p.findings, p.wrap = 10, 1, test.wrap
			r, err := run(t.Context(), p)
			if err != nil {
				t.Fatal(err)
			}
			if len(r.findings) == 0 {
				t.Fatalf("nothing was found in %d requests", r.requests)
			}
			if got := r.findings[0].String(); !strings.Contains(got, test.want) {
				t.Errorf("got %s\nwant it to say %q", got, test.want)
			}
		})
	}
}
