package web_test

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/usecase"
)

// A contradiction in the table of routes is found at start.
func TestRoutesThatContradictEachOtherAreNotMounted(t *testing.T) {
	get := web.Route{Method: "GET", Path: "/x", Anybody: true, Handle: ok}
	render := func(c echo.Context, status int, _ error) error { return c.NoContent(status) }
	asking := func(change func(*web.Route)) []web.Dialect {
		r := get
		change(&r)
		r.Anybody = r.Anybody && r.Action == "" && len(r.Asks) == 0
		return []web.Dialect{{Render: render, Routes: []web.Route{r}}}
	}
	for name, tt := range map[string]struct {
		dialects []web.Dialect
		options  web.Options
		want     string // empty: it is mounted
	}{
		"one":         {[]web.Dialect{{Render: render, Routes: []web.Route{get}}}, web.Options{}, ""},
		"none":        {nil, web.Options{}, "no dialect"},
		"no renderer": {[]web.Dialect{{Routes: []web.Route{get}}}, web.Options{}, "no renderer"},
		"twice, in one dialect": {[]web.Dialect{{Render: render, Routes: []web.Route{get, get}}}, web.Options{},
			"GET /x is mounted twice"},
		"twice, in two of them": {[]web.Dialect{{Render: render, Routes: []web.Route{get}},
			{Render: render, Routes: []web.Route{get}}}, web.Options{}, "mounted twice"},
		"HEAD beside GET": {[]web.Dialect{{Render: render,
			Routes: []web.Route{get, {Method: "HEAD", Path: "/x", Anybody: true, Handle: ok}}}}, web.Options{}, "mounted twice"},
		"nothing authenticates": {asking(func(r *web.Route) { r.Action = domain.TokenRead }), web.Options{},
			"Authenticate is not set"},
		"nothing authenticates 2": {asking(func(r *web.Route) { r.Asks = []domain.Action{domain.TokenRead} }),
			web.Options{}, "Authenticate is not set"},
		"two ways to ask": {asking(func(r *web.Route) {
			r.Action, r.Asks = domain.TokenRead, []domain.Action{domain.TokenList}
		}),
			web.Options{Authenticate: &usecase.Authenticate{}}, "both Action and Asks"},
		"no callers": {asking(func(r *web.Route) { r.Anybody = false }), web.Options{}, "Asks and Anybody"},
		"two kinds of callers": {[]web.Dialect{{Render: render, Routes: []web.Route{
			{Method: "GET", Path: "/x", Anybody: true, Action: domain.TokenRead, Handle: ok},
		}}}, web.Options{Authenticate: &usecase.Authenticate{}}, "Asks and Anybody"},
		"no such action": {asking(func(r *web.Route) { r.Action = "token.reed" }),
			web.Options{Authenticate: &usecase.Authenticate{}}, "token.reed, which no permission allows"},
		"no such action 2": {asking(func(r *web.Route) { r.Asks = []domain.Action{domain.TokenList, "token.reed"} }),
			web.Options{Authenticate: &usecase.Authenticate{}}, "token.reed, which no permission allows"},
		"no public URL": {asking(func(*web.Route) {}), web.Options{Pages: web.Pages{PublicURL: "http://a b"}}, "public URL"},
	} {
		tt.options.Log = slog.New(slog.DiscardHandler)
		_, err := web.New(tt.options, tt.dialects...)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", name, err, tt.want)
		}
	}
}

// A route that lists fewer actions than its handler uses would be documented and tested as less than it is.
func TestAHandlerAsksForNothingThatItsRouteDoesNotName(t *testing.T) {
	s := newSite(t, nil)
	s.options.Authenticate = &usecase.Authenticate{}
	ask := func(c echo.Context) error {
		_, err := web.Identify(c, domain.TokenRead)
		return err
	}
	s.GET("/public", ask)
	s.add(web.Route{Method: "GET", Path: "/other", Asks: []domain.Action{domain.TokenList, ""}, Handle: ask})
	s.add(web.Route{Method: "GET", Path: "/offered", Handle: func(c echo.Context) error {
		_, _, err := web.OptionalCaller(c, domain.TokenRead)
		return err
	}})
	for _, path := range []string{"/public", "/other", "/offered"} {
		if got := s.send("GET", path, "", "Authorization", "ak_x", "X-Tenant-Id", "acme").Code; got != 500 {
			t.Errorf("%s: got %d, want 500", path, got)
		}
	}
}

func TestHeadIsServedBesideGet(t *testing.T) {
	s := newSite(t, nil)
	s.GET("/x", ok)
	s.POST("/y", ok)
	s.add(web.Route{Method: "GET", Path: "/stream", Stream: true, Handle: ok})
	for path, want := range map[string]int{"/x": 200, "/y": 405, "/stream": 405} {
		rec := s.send("HEAD", path, "")
		if rec.Code != want || rec.Body.Len() > 0 {
			t.Errorf("%s: got %d with %q, want %d", path, rec.Code, rec.Body, want)
		}
	}
	if got := s.send("HEAD", "/x", "").Header().Get("Content-Length"); got != "2" {
		t.Errorf("got length %q, want that of GET", got)
	}
}

func TestARouteHasALimitOfItsOwnForBodies(t *testing.T) {
	s := newSite(t, nil)
	read := func(c echo.Context) error {
		if !web.HasBody(c) {
			return errors.New("no body")
		}
		return ok(c)
	}
	s.POST("/usual", read)
	s.add(web.Route{Method: "POST", Path: "/small", MaxBody: 10, Handle: read})
	s.add(web.Route{Method: "POST", Path: "/large", MaxBody: 2 * web.MaxBody, Handle: read})
	for _, tt := range []struct {
		path       string
		size, want int
	}{
		{"/usual", web.MaxBody, 200}, {"/usual", web.MaxBody + 1, 413},
		{"/small", 10, 200}, {"/small", 11, 413},
		{"/large", 2 * web.MaxBody, 200}, {"/large", 2*web.MaxBody + 1, 413},
	} {
		body := strings.Repeat("a", tt.size)
		if got := s.send("POST", tt.path, body).Code; got != tt.want {
			t.Errorf("%s, %d bytes: got %d, want %d", tt.path, tt.size, got, tt.want)
		}
		req := httptest.NewRequest("POST", tt.path, io.MultiReader(strings.NewReader(body))) // in chunks
		rec := httptest.NewRecorder()
		s.ServeHTTP(rec, req)
		if rec.Code != tt.want {
			t.Errorf("%s, %d bytes in chunks: got %d, want %d", tt.path, tt.size, rec.Code, tt.want)
		}
	}
}

// After a refusal for overload the connection pauses before its next request. The client gets the complete response
// first, even if the dialect gives it a body.
func TestARefusalForOverloadIsWholeBeforeItsConnectionRests(t *testing.T) {
	s := newSite(t, nil)
	s.dialect.Render = func(c echo.Context, status int, _ error) error {
		return c.JSON(status, map[string]string{"error": "temporarily_unavailable"})
	}
	s.GET("/x", fails(&web.Refused{Reason: web.Overload}))
	rec := s.send("GET", "/x", "")
	if rec.Code != 503 || rec.Header().Get("Content-Length") != "36" || rec.Body.Len() != 36 || !rec.Flushed {
		t.Errorf("got %d, %v and %q, flushed %t", rec.Code, rec.Header(), rec.Body, rec.Flushed)
	}
	for name, render := range map[string]web.Renderer{
		"an error": func(echo.Context, int, error) error { return errors.New("no ink") },
		"a panic":  func(echo.Context, int, error) error { panic("no ink") },
		"half":     func(c echo.Context, _ int, _ error) error { _ = c.String(503, "half"); panic("no ink") },
	} {
		s.dialect.Render, s.handler = render, nil
		server := httptest.NewServer(s.mounted())
		res, err := server.Client().Get(server.URL + "/x")
		if err == nil {
			body, readErr := io.ReadAll(res.Body)
			res.Body.Close()
			if err = readErr; err == nil && (res.StatusCode != 500 || len(body) > 0) {
				t.Errorf("%s: got %d with %q", name, res.StatusCode, body)
			}
		}
		if name == "half" && err == nil {
			t.Errorf("%s: the client could take the response for complete", name)
		}
		server.Close()
	}
}

// A path that is in no dialect's table is not served, whatever is registered on the handler itself.
func TestWhatIsNotInATableIsNotServed(t *testing.T) {
	s := newSite(t, nil)
	s.GET("/x", ok)
	s.mounted().(*echo.Echo).GET("/beside", ok)
	if got := s.send("GET", "/beside", "").Code; got != http.StatusNotFound {
		t.Errorf("got %d", got)
	}
}

// Another method on a path is 405, also if a shorter path with that method ends in a parameter.
func TestAParameterDoesNotHideTheMethodsOfALongerPath(t *testing.T) {
	render := func(c echo.Context, status int, _ error) error { return c.NoContent(status) }
	routes := []web.Route{
		{Method: "GET", Path: "/x/:id", Anybody: true, Handle: ok},
		{Method: "POST", Path: "/x/end/:id", Anybody: true, Handle: ok},
	}
	server, err := web.New(web.Options{Log: slog.New(slog.DiscardHandler)}, web.Dialect{Render: render, Routes: routes})
	if err != nil {
		t.Fatal(err)
	}
	for sent, want := range map[string]int{
		"GET /x/end": 200, "GET /x/a%2Fb": 200, "POST /x/end/a": 200, "GET /x/end/a": 405, "GET /x/end/a/": 405,
		"GET /x/a/b": 404, "GET /x/end/a/b": 404, "GET /x/a//": 404, "GET /x//": 404, "POST /x/a": 405,
	} {
		method, path, _ := strings.Cut(sent, " ")
		rec := httptest.NewRecorder()
		server.ServeHTTP(rec, httptest.NewRequest(method, path, nil))
		if rec.Code != want || want == 405 && rec.Header().Get("Allow") == "" {
			t.Errorf("%s: got %d, Allow %q, want %d", sent, rec.Code, rec.Header().Get("Allow"), want)
		}
	}
}
