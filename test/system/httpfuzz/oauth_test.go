package main

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/refreshd/refreshd/test/support/postgres"
)

func oauthPlan(t *testing.T, stores ...string) plan {
	return plan{seed: 1, stores: stores, documents: []string{oauth}, worlds: 2 * len(stores), requests: 300, findings: 5,
		database: func(context.Context) (string, error) { return postgres.NewDatabase(t), nil }}
}

// A short run on each store. Each operation succeeds.
func TestEveryAnswerToAClientIsWhatTheDocumentSays(t *testing.T) {
	r, err := run(t.Context(), oauthPlan(t, "memory", "sqlite", "postgres"))
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
		if statuses[http.StatusOK] == 0 {
			t.Errorf("%s never succeeded: %v", operation, statuses)
		}
	}
	if len(r.byOperation) < 12 {
		t.Errorf("got %d operations", len(r.byOperation))
	}
}

// A fuzzer that finds nothing in a broken service would be useless.
func TestEachFaultOfTheDialectIsFound(t *testing.T) {
	// changed lets change make another form of each.
	changed := func(change func(w *world, r *http.Request, form url.Values)) func(*world, http.Handler) http.Handler {
		return func(w *world, inner http.Handler) http.Handler {
			return http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				form, malformed := url.ParseQuery(string(body))
				if err != nil || malformed != nil || r.Header.Get("Content-Type") != formMedia {
					r.Body = io.NopCloser(io.MultiReader(bytes.NewReader(body), iotest.ErrReader(cmp.Or(err, io.EOF))))
				} else {
					change(w, r, form)
					body = []byte(form.Encode())
					r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
				}
				inner.ServeHTTP(out, r)
			})
		}
	}
	// turned lets turn make another answer of each.
	turned := func(turn func(*httptest.ResponseRecorder)) func(*world, http.Handler) http.Handler {
		return func(_ *world, inner http.Handler) http.Handler {
			return http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
				rec := httptest.NewRecorder()
				inner.ServeHTTP(rec, r)
				turn(rec)
				for name, values := range rec.Header() {
					out.Header()[name] = values
				}
				out.Header().Del("Content-Length")
				out.WriteHeader(rec.Code)
				_, _ = out.Write(rec.Body.Bytes())
			})
		}
	}
	for name, test := range map[string]struct {
		wrap func(*world, http.Handler) http.Handler
		want string
	}{
		"a service that asks for no secret": {changed(func(w *world, r *http.Request, form url.Values) {
			tenant, below, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/t/"), "/")
			if below != "" && form.Get("client_id") == partner {
				form.Set("client_secret", w.keys[secretOf(tenant)])
			}
		}), "without the secret of the client"},
		"a service that ignores an actor": {changed(func(_ *world, _ *http.Request, form url.Values) {
			form.Del("actor_token")
			form.Del("actor_token_type")
		}), "the actor is"},
		"a service that chooses the audience": {changed(func(_ *world, _ *http.Request, form url.Values) {
			if form.Get("audience") == audiences[0] {
				form.Set("audience", audiences[1])
			}
		}), "the audience is"},
		"a type that is not said": {turned(func(rec *httptest.ResponseRecorder) {
			rec.Body = bytes.NewBuffer(bytes.Replace(rec.Body.Bytes(),
				[]byte(`"issued_token_type":"urn:ietf:params:oauth:token-type:access_token",`), nil, 1))
		}), "the type of the issued token"},
		"a refusal of everything": {turned(func(rec *httptest.ResponseRecorder) {
			if bytes.Contains(rec.Body.Bytes(), []byte("access_token")) {
				rec.Code = http.StatusBadRequest
				rec.Body = bytes.NewBufferString(`{"error":"invalid_grant","error_description":"no"}`)
			}
		}), "a refused request changed"},
	} {
		t.Run(name, func(t *testing.T) {
			p := oauthPlan(t, "memory")
			p.worlds, p.findings, p.wrap = 20, 1, test.wrap
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
