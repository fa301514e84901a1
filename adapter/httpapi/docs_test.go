package httpapi_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/adapter/httpapi"
)

func documentServer(t *testing.T) *echo.Echo {
	t.Helper()
	routes, err := httpapi.DocumentRoutes()
	if err != nil {
		t.Fatal(err)
	}
	e := echo.New()
	e.Use(func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			c.Response().Header().Set("X-Request-Id", "test")
			return next(c)
		}
	})
	for path, handler := range routes {
		e.GET(path, handler)
	}
	return e
}

func TestTheDocumentIsServedAsItSaysItself(t *testing.T) {
	e := documentServer(t)
	for path, wantType := range map[string]string{
		"/openapi.yaml":   "application/yaml",
		"/docs":           "text/html; charset=utf-8",
		"/docs/style.css": "text/css; charset=utf-8",
	} {
		req := httptest.NewRequest(http.MethodGet, path, nil)
		rec := httptest.NewRecorder()
		e.ServeHTTP(rec, req)
		checkAgainstContract(t, req, nil, rec.Result(), rec.Body.Bytes())
		if rec.Code != http.StatusOK || rec.Header().Get("Content-Type") != wantType || rec.Body.Len() == 0 {
			t.Errorf("GET %s: got %d, %q, %d bytes; want 200, %q and a body", path, rec.Code, rec.Header().Get("Content-Type"), rec.Body.Len(), wantType)
		}

		again := httptest.NewRequest(http.MethodGet, path, nil)
		again.Header.Set("If-None-Match", `W/"other", `+rec.Header().Get("ETag"))
		recAgain := httptest.NewRecorder()
		e.ServeHTTP(recAgain, again)
		checkAgainstContract(t, again, nil, recAgain.Result(), recAgain.Body.Bytes())
		if recAgain.Code != http.StatusNotModified {
			t.Errorf("GET %s with its ETag: got %d, want 304", path, recAgain.Code)
		}
	}
}

// Whatever the document's text may one day hold, the page's policy lets no script run and nothing be loaded from elsewhere.
func TestThePolicyOfThePageAllowsNoScript(t *testing.T) {
	rec := httptest.NewRecorder()
	documentServer(t).ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/docs", nil))
	policy := rec.Header().Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "style-src 'self'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"} {
		if !strings.Contains(policy, want) {
			t.Errorf("got policy %q, want %q in it", policy, want)
		}
	}
	for _, bad := range []string{"script-src", "unsafe", "http", "*"} {
		if strings.Contains(policy, bad) {
			t.Errorf("got policy %q, want no %q in it", policy, bad)
		}
	}
}
