package web_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/domain"
)

// A site is one mounted dialect with its log. It is mounted again when a route is added.
type site struct {
	mounting sync.Mutex // of the handler: requests may be concurrent
	options  web.Options
	dialect  web.Dialect
	kinds    map[string]web.Kind // of routes, by path

	handler http.Handler
	log     *bytes.Buffer
}

func newSite(t *testing.T, change func(*site)) *site {
	t.Helper()
	log := &bytes.Buffer{}
	s := &site{
		log: log, options: web.Options{Log: slog.New(slog.NewJSONHandler(log, nil))},
		dialect: web.Dialect{Headers: web.CORSHeaders{
			Expose: []string{"Refreshd-Outcome", "X-Request-Id", "Link", "X-Total-Count", "Retry-After"},
			Allow:  []string{"Authorization", "Content-Type", "X-Stencil-TenantId"},
		}},
	}
	s.dialect.Render = func(c echo.Context, status int, err error) error {
		if status == 401 || status == 404 || status >= 500 {
			return web.NoBody(c, status)
		}
		return c.String(status, web.Message(status, err))
	}
	if change != nil {
		change(s)
	}
	return s
}

// add mounts a route. A route without actions is for anybody.
func (s *site) add(r web.Route) {
	r.Anybody = r.Action == "" && len(r.Asks) == 0
	r.Kind = s.kinds[r.Path]
	s.dialect.Routes = append(s.dialect.Routes, r)
	s.handler = nil
}

func (s *site) GET(path string, h echo.HandlerFunc) {
	s.add(web.Route{Method: "GET", Path: path, Handle: h})
}
func (s *site) POST(path string, h echo.HandlerFunc) {
	s.add(web.Route{Method: "POST", Path: path, Handle: h})
}
func (s *site) PATCH(path string, h echo.HandlerFunc) {
	s.add(web.Route{Method: "PATCH", Path: path, Handle: h})
}
func (s *site) DELETE(path string, h echo.HandlerFunc) {
	s.add(web.Route{Method: "DELETE", Path: path, Handle: h})
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mounted().ServeHTTP(w, r) }

// mounted returns the handler of the routes that were added so far.
func (s *site) mounted() http.Handler {
	s.mounting.Lock()
	defer s.mounting.Unlock()
	if s.handler == nil {
		mounted, err := web.New(s.options, s.dialect)
		if err != nil {
			panic(err)
		}
		s.handler = mounted
	}
	return s.handler
}

func (s *site) send(method, target, body string, header ...string) *httptest.ResponseRecorder {
	req := httptest.NewRequest(method, target, strings.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	rec := httptest.NewRecorder()
	s.ServeHTTP(rec, req)
	return rec
}

// line returns the log, which must be one line.
func (s *site) line(t *testing.T) map[string]any {
	t.Helper()
	if got := strings.Count(s.log.String(), "\n"); got != 1 {
		t.Fatalf("got %d log lines, want one a request:\n%s", got, s.log)
	}
	line := map[string]any{}
	if err := json.Unmarshal(s.log.Bytes(), &line); err != nil {
		t.Fatal(err)
	}
	s.log.Reset()
	return line
}

func ok(c echo.Context) error { return c.String(http.StatusOK, "ok") }

func fails(err error) echo.HandlerFunc { return func(echo.Context) error { return err } }

func TestEveryErrorHasOneStatus(t *testing.T) {
	tests := []struct {
		err    error
		status int
		body   string
		header map[string]string
	}{
		{domain.NewInvalid("userId", domain.Blank, "is missing"), 400, "Bad Request", nil},
		{domain.ErrDuplicate, 400, "Bad Request", nil},
		{domain.ErrUnauthorized, 401, "", map[string]string{"WWW-Authenticate": `Bearer realm="refreshd"`}},
		{domain.ErrNotFound, 404, "", nil},
		{echo.ErrStatusRequestEntityTooLarge, 413, "Request Entity Too Large", nil},
		{echo.NewHTTPError(http.StatusTooManyRequests, "slow down"), 429, "slow down", map[string]string{"Retry-After": "1"}},
		{domain.ErrBusy, 503, "", map[string]string{"Retry-After": "1"}},
		{domain.ErrConflict, 503, "", nil},
		{domain.ErrUnavailable, 503, "", map[string]string{"Retry-After": "1"}},
		{context.DeadlineExceeded, 503, "", nil},
		{context.Canceled, 503, "", nil},
		{errors.New("an unexpected error"), 500, "", nil},
		{echo.NewHTTPError(http.StatusOK, "no refusal"), 500, "", nil},
		{errors.Join(domain.ErrNotFound, domain.ErrUnavailable), 503, "", nil},
	}
	for _, tt := range tests {
		t.Run(tt.err.Error(), func(t *testing.T) {
			s := newSite(t, nil)
			s.GET("/x", fails(fmt.Errorf("exchange: store: %w", tt.err)))
			rec := s.send("GET", "/x", "")
			if rec.Code != tt.status || rec.Body.String() != tt.body {
				t.Errorf("got %d %q, want %d %q", rec.Code, rec.Body, tt.status, tt.body)
			}
			for name, want := range tt.header {
				if got := rec.Header().Get(name); got != want {
					t.Errorf("%s: got %q, want %q", name, got, want)
				}
			}
			line := s.line(t)
			_, explained := line["error"]
			if wantExplained := tt.status >= 500; explained != wantExplained || (line["level"] == "ERROR") != wantExplained {
				t.Errorf("got log line %v for a %d", line, tt.status)
			}
		})
	}
}

func TestA400AlwaysHasAFieldError(t *testing.T) {
	tests := []struct {
		err  error
		want string
	}{
		{fmt.Errorf("issue: %w", domain.NewInvalid("userId", domain.Blank, "is missing")), "[blank]userId"},
		{fmt.Errorf("issue: %w", domain.ErrDuplicate), "[duplicate]"},
		{echo.NewHTTPError(http.StatusBadRequest, "try again"), "[invalid]"},
	}
	for _, tt := range tests {
		got := web.FieldErrors(tt.err)
		if len(got) != 1 || got[0].Code() != tt.want || got[0].Message == "" {
			t.Errorf("%v: got %+v, want %s", tt.err, got, tt.want)
		}
	}
}

func TestARetryAfterOfTheHandlerStays(t *testing.T) {
	s := newSite(t, nil)
	s.GET("/x", func(c echo.Context) error {
		c.Response().Header().Set("Retry-After", "30")
		return domain.ErrBusy
	})
	if got := s.send("GET", "/x", "").Header().Get("Retry-After"); got != "30" {
		t.Errorf("got %q, want 30", got)
	}
}

// The order of checks determines what an unauthenticated client learns. Every pair of adjacent checks is in this
// table.
func TestChecksComeInTheDocumentedOrder(t *testing.T) {
	huge := strings.Repeat(" ", web.MaxBody+1)
	tests := []struct {
		name, method, target, body string
		want                       int
	}{
		{"an unknown route with a huge body", "POST", "/nowhere", huge, 404},
		{"a wrong method with a huge body", "PUT", "/token", huge, 405},
		{"a wrong method on a route that is none", "PUT", "/token/a/b", "", 404},
		{"a huge body without a key", "POST", "/token", huge, 413},
		{"no key and no media type", "POST", "/token", "x", 401},
		{"the largest body", "POST", "/token", huge[1:], 401},
	}
	for _, tt := range tests {
		for _, sent := range []string{"with its length", "in chunks"} {
			t.Run(tt.name+" "+sent, func(t *testing.T) {
				s := newSite(t, nil)
				s.POST("/token", fails(domain.ErrUnauthorized))
				s.POST("/token/:id", fails(domain.ErrUnauthorized))
				req := httptest.NewRequest(tt.method, tt.target, strings.NewReader(tt.body))
				if sent == "in chunks" {
					req.ContentLength = -1
				}
				rec := httptest.NewRecorder()
				s.ServeHTTP(rec, req)
				if rec.Code != tt.want {
					t.Errorf("got %d, want %d", rec.Code, tt.want)
				}
			})
		}
	}
}

func TestAWrongMethodIsToldTheRightOnes(t *testing.T) {
	s := newSite(t, nil)
	s.GET("/x", ok)
	s.DELETE("/x", ok)
	rec := s.send("PUT", "/x", "")
	if allow := rec.Header().Get("Allow"); rec.Code != 405 || !strings.Contains(allow, "GET") ||
		!strings.Contains(allow, "DELETE") || rec.Body.Len() == 0 {
		t.Errorf("got %d, Allow %q, body %q", rec.Code, allow, rec.Body)
	}
	if got := s.line(t)["route"]; got != "/x" {
		t.Errorf("got route %q, want its pattern", got)
	}
}

// A client that announces too much and waits for 100 Continue must not be made to send it.
func TestABodyAnnouncedTooLargeIsNotRead(t *testing.T) {
	s := newSite(t, nil)
	s.POST("/x", ok)
	req := httptest.NewRequest("POST", "/x", unreadable{t})
	req.ContentLength = web.MaxBody + 1
	rec := httptest.NewRecorder()
	s.ServeHTTP(rec, req)
	if rec.Code != 413 || !strings.Contains(rec.Body.String(), "32768") {
		t.Errorf("got %d %q, want a 413 that says the limit", rec.Code, rec.Body)
	}
}

type unreadable struct{ t *testing.T }

func (u unreadable) Read([]byte) (int, error) {
	u.t.Error("the body was read")
	return 0, io.EOF
}

func TestABodyThatBreaksOffIsRefused(t *testing.T) {
	s := newSite(t, nil)
	s.POST("/x", ok)
	req := httptest.NewRequest("POST", "/x", io.MultiReader(strings.NewReader("{}"), brokenReader{}))
	rec := httptest.NewRecorder()
	s.ServeHTTP(rec, req)
	if rec.Code != 400 {
		t.Errorf("got %d, want 400", rec.Code)
	}
}

// A proxy that used a length which net/http ignored would send the rest of the body as the beginning of the next
// request.
func TestAConnectionEndsAfterABodyInChunks(t *testing.T) {
	s := newSite(t, nil)
	s.POST("/x", ok)
	for sent, want := range map[string]string{"in chunks": "close", "with its length": ""} {
		req := httptest.NewRequest("POST", "/x", strings.NewReader("{}"))
		if sent == "in chunks" {
			req.TransferEncoding, req.ContentLength = []string{"chunked"}, -1
		}
		rec := httptest.NewRecorder()
		s.ServeHTTP(rec, req)
		if got := rec.Header().Get("Connection"); got != want {
			t.Errorf("%s: got Connection %q, want %q", sent, got, want)
		}
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestPaths(t *testing.T) {
	tests := []struct{ target, want string }{
		{"/token/abc", "abc"},
		{"/token/abc/", "abc"},
		{"/token/a%20b", "a b"},
		{"/token/a%2Fb", "a/b"},
		{"/token/a%2Fb/", "a/b"},
		{"/token/a%2F", "a/"},
		{"/token/%2541", "%41"},
		{"/token/%2541%2F", "%41/"},
		{"/token/a+b", "a+b"},
		{"/token/%00", "\x00"},
		{"/token/", "list"},
		{"/token", "list"},
		{"/token//", ""},
		{"/token/a/b", ""},
		{"/token/a//", ""},
		{"/t/acme/keys", "acme"},
		{"/t/acme/keys/", "acme"},
		{"/t//keys", ""},
		{"/docs/a/b", "docs"},
		{"//token", ""},
		{"/", ""},
	}
	for _, tt := range tests {
		t.Run(tt.target, func(t *testing.T) {
			s := newSite(t, nil)
			param := func(c echo.Context) error { return c.String(200, web.PathParam(c, "id")) }
			s.GET("/token/:id", param)
			s.GET("/t/:id/keys", param)
			s.GET("/token", func(c echo.Context) error { return c.String(200, "list") })
			s.GET("/docs/*", func(c echo.Context) error { return c.String(200, "docs") })
			rec := s.send("GET", tt.target, "")
			want := 200
			if tt.want == "" {
				want = 404
			}
			if rec.Code != want || rec.Body.String() != tt.want {
				t.Errorf("got %d %q, want %d %q", rec.Code, rec.Body, want, tt.want)
			}
		})
	}
}

type userInput struct {
	UserID *string `json:"userId" alias:"userID"`
}

func TestMediaTypes(t *testing.T) {
	const asJSON, asForm = `{"userId":"a"}`, `userId=a`
	tests := []struct {
		name, body string
		header     []string
		json, form int
	}{
		{"JSON", asJSON, []string{"Content-Type", "application/json"}, 200, 200},
		{"JSON in capitals", asJSON, []string{"Content-Type", "Application/JSON"}, 200, 200},
		{"JSON in UTF-8", asJSON, []string{"Content-Type", `application/json; charset="UTF-8"`}, 200, 200},
		{"JSON in Latin-1", asJSON, []string{"Content-Type", "application/json; charset=iso-8859-1"}, 415, 415},
		{"a kin of JSON", asJSON, []string{"Content-Type", "application/ld+json"}, 415, 415},
		{"a form", asForm, []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, 200},
		{"a form in Latin-1", asForm, []string{"Content-Type",
			"application/x-www-form-urlencoded; charset=latin1"}, 415, 415},
		{"parts", asForm, []string{"Content-Type", "multipart/form-data; boundary=x"}, 415, 415},
		{"text", asJSON, []string{"Content-Type", "text/plain"}, 415, 415},
		{"none", asJSON, nil, 415, 415},
		{"garbage", asJSON, []string{"Content-Type", "application/json; charset"}, 415, 415},
		{"two", asJSON, []string{"Content-Type", "application/json", "Content-Type", "application/json"}, 415, 415},
		{"compressed", asJSON, []string{"Content-Type", "application/json", "Content-Encoding", "gzip"}, 415, 415},
		{"compressed twice", asJSON, []string{"Content-Type", "application/json", "Content-Encoding",
			"identity, br"}, 415, 415},
		{"not compressed", asJSON, []string{"Content-Type", "application/json", "Content-Encoding", "Identity"}, 200, 200},
		{"JSON as a form", asJSON, []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, 400},
		{"a form as JSON", asForm, []string{"Content-Type", "application/json"}, 400, 400},
		{"no body", "", []string{"Content-Type", "text/plain"}, 400, 400},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t, nil)
			handler := func(media web.Media) echo.HandlerFunc {
				return func(c echo.Context) error {
					in, err := web.Body[userInput](c, media)
					if err != nil {
						return err
					}
					return c.String(200, *in.UserID)
				}
			}
			s.POST("/json", handler(web.JSON))
			s.POST("/form", handler(web.JSONOrForm))
			for target, want := range map[string]int{"/json": tt.json, "/form": tt.form} {
				rec := s.send("POST", target, tt.body, tt.header...)
				if rec.Code != want {
					t.Errorf("%s: got %d %s, want %d", target, rec.Code, rec.Body, want)
				}
				if told := rec.Header().Get("Accept") + rec.Header().Get("Accept-Encoding"); (want == 415) != (told != "") {
					t.Errorf("%s: got a %d that says to send %q", target, want, told)
				}
			}
		})
	}
}

// A merge patch has a media type of its own (RFC 7396, section 4). A refusal names those that PATCH accepts (RFC
// 5789, section 2.2).
func TestMediaTypesOfAMergePatch(t *testing.T) {
	s := newSite(t, nil)
	s.PATCH("/patch", func(c echo.Context) error {
		_, err := web.Body[userInput](c, web.MergePatch)
		if err != nil {
			return err
		}
		return c.NoContent(204)
	})
	const accepted = "application/json, application/merge-patch+json"
	for contentType, want := range map[string]int{
		"application/json": 204, "application/merge-patch+json": 204, "Application/Merge-Patch+JSON; charset=utf-8": 204,
		"application/merge-patch+json; charset=latin1": 415, "application/json-patch+json": 415,
		"application/x-www-form-urlencoded": 415, "text/plain": 415, "": 415,
	} {
		rec := s.send("PATCH", "/patch", `{"userId":"a"}`, "Content-Type", contentType)
		told := rec.Header().Get("Accept-Patch")
		if rec.Code != want || (want == 415) != (told == accepted) || rec.Header().Get("Accept") != told {
			t.Errorf("%q: got %d, Accept-Patch %q, Accept %q; want %d", contentType, rec.Code, told,
				rec.Header().Get("Accept"), want)
		}
	}
}

// The endpoints of RFC 6749, section 3.2, accept forms. The refusal of another media type must say so, not that the
// body is malformed.
func TestAnEndpointForFormsTakesFormsAlone(t *testing.T) {
	s := newSite(t, nil)
	s.POST("/token", func(c echo.Context) error {
		if _, err := web.Body[userInput](c, web.FormOnly); err != nil {
			return err
		}
		return c.NoContent(204)
	})
	for contentType, want := range map[string]int{
		"application/x-www-form-urlencoded": 204, "Application/X-WWW-Form-URLencoded; charset=UTF-8": 204,
		"application/json": 415, "application/merge-patch+json": 415, "text/plain": 415, "": 415,
	} {
		rec := s.send("POST", "/token", "userId=a", "Content-Type", contentType)
		accept := map[bool]string{true: "application/x-www-form-urlencoded"}[want == 415]
		if rec.Code != want || rec.Header().Get("Accept") != accept {
			t.Errorf("%q: got %d, Accept %q; want %d, %q", contentType, rec.Code, rec.Header().Get("Accept"), want, accept)
		}
	}
}

func TestTheQueryIsStrict(t *testing.T) {
	s := newSite(t, nil)
	s.GET("/x", func(c echo.Context) error {
		_, err := web.Query[userInput](c)
		return err
	})
	for query, want := range map[string]int{"": 200, "?userId=a": 200, "?userID=a": 200, "?userId=a&userId=a": 400,
		"?x": 400, "?userId=%zz": 400} {
		if got := s.send("GET", "/x"+query, "").Code; got != want {
			t.Errorf("%s: got %d, want %d", query, got, want)
		}
	}
}

func TestRequestID(t *testing.T) {
	tests := []struct {
		name  string
		sent  []string
		taken bool
	}{
		{"sane", []string{"a.B_9-"}, true},
		{"the longest", []string{strings.Repeat("a", 128)}, true},
		{"none", nil, false},
		{"empty", []string{""}, false},
		{"too long", []string{strings.Repeat("a", 129)}, false},
		{"with a line break", []string{"a\nlevel=ERROR"}, false},
		{"with a blank inside", []string{"a b"}, false},
		{"two", []string{"a", "b"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t, nil)
			var noted string
			s.GET("/x", func(c echo.Context) error { noted = web.LogRecord(c).RequestID; return nil })
			req := httptest.NewRequest("GET", "/x", nil)
			req.Header["X-Request-Id"] = tt.sent
			rec := httptest.NewRecorder()
			s.ServeHTTP(rec, req)
			answered := rec.Header().Get("X-Request-Id")
			if answered == "" || answered != noted || s.line(t)["id"] != answered {
				t.Errorf("the response has %q, the handler %q: want one id everywhere", answered, noted)
			}
			if taken := tt.sent != nil && answered == tt.sent[0]; taken != tt.taken {
				t.Errorf("got %q for %q", answered, tt.sent)
			}
		})
	}
}

func TestOneLineSaysWhatHappenedAndNothingSecret(t *testing.T) {
	var got []web.Response
	s := newSite(t, func(s *site) {
		s.options.Observe = func(r web.Response) {
			if r.Took < 0 {
				t.Errorf("took %v", r.Took)
			}
			r.Took = 0
			got = append(got, r)
		}
	})
	s.DELETE("/token/:id", func(c echo.Context) error {
		note := web.LogRecord(c)
		note.Tenant, note.Outcome, note.Event, note.Kind = "acme", "recovered", "exchange.recovered", "late"
		note.Add(slog.LevelWarn, slog.Int("generation", 7))
		return ok(c)
	})
	s.send("DELETE", "/token/rt_secret?tokenString=rt_secret", "rt_secret", "Authorization", "ak_secret",
		"X-Request-Id", "r1")
	if strings.Contains(s.log.String(), "secret") {
		t.Errorf("a secret is in the log: %s", s.log)
	}
	line := s.line(t)
	delete(line, "time")
	delete(line, "durationMs")
	want := map[string]any{"level": "WARN", "msg": "request", "event": "exchange.recovered", "kind": "late",
		"id": "r1", "method": "DELETE", "route": "/token/{id}", "status": 200.0,
		"tenant": "acme", "outcome": "recovered", "client": "192.0.2.1", "bytes": 2.0, "generation": 7.0}
	if diff := cmp.Diff(want, line); diff != "" {
		t.Error(diff)
	}

	s.send("BREW", "/pot/rt_secret", "")
	if line := s.line(t); line["route"] != "unmatched" || line["method"] != "other" {
		t.Errorf("got %v: a client must not choose labels", line)
	}
	wantSeen := []web.Response{
		{Route: "/token/{id}", Method: "DELETE", Status: 200, Event: "exchange.recovered", Kind: "late"},
		{Route: "unmatched", Method: "other", Status: 404, Event: "http.request"},
	}
	if diff := cmp.Diff(wantSeen, got); diff != "" {
		t.Error(diff)
	}
}

// A client that posts a bare token string as a form has sent it as a name. A faulty client sends it as the name of a
// member.
func TestNamesTheCallerMadeUpAreNotLogged(t *testing.T) {
	type input struct {
		UserID string          `json:"userId"`
		Claims json.RawMessage `json:"claims"`
	}
	s := newSite(t, nil)
	s.POST("/x", func(c echo.Context) error {
		_, err := web.Body[input](c, web.JSONOrForm)
		return err
	})
	s.send("POST", "/x", "rt_secret", "Content-Type", "application/x-www-form-urlencoded")
	if got := s.line(t)["codes"]; got != "[unknown]" {
		t.Errorf("got %q", got)
	}
	s.send("POST", "/x", `{"rt_secret":1,"userId":2,"claims":{"rt_secret":1,"rt_secret":1}}`, "Content-Type",
		"application/json")
	if got := s.line(t)["codes"]; got != "[unknown] [invalid]userId [repeated]claims" {
		t.Errorf("got %q", got)
	}
}

func TestTheTextLogCannotBeForged(t *testing.T) {
	log := &bytes.Buffer{}
	s := newSite(t, func(s *site) { s.options.Log = slog.New(slog.NewTextHandler(log, nil)) })
	s.GET("/x", func(c echo.Context) error {
		web.LogRecord(c).Tenant = "acme\ntime=0 level=INFO msg=request id=forged"
		return errors.New("broken\r\ntime=0 level=INFO msg=forged")
	})
	s.send("GET", "/x", "")
	if got := strings.Count(log.String(), "\n"); got != 1 || strings.Contains(log.String(), "\r") {
		t.Errorf("got %d lines:\n%s", got, log)
	}
}

func TestAPanicIsAnswered500AndLoggedWithItsStack(t *testing.T) {
	s := newSite(t, nil)
	s.GET("/x", func(echo.Context) error { panic("out of cheese") })
	rec := s.send("GET", "/x", "", "X-Request-Id", "r1")
	if rec.Code != 500 || rec.Body.Len() != 0 {
		t.Errorf("got %d %q, want an empty 500", rec.Code, rec.Body)
	}
	line := s.line(t)
	stack, _ := line["stack"].(string)
	if line["level"] != "ERROR" || line["id"] != "r1" || line["error"] != "panic: out of cheese" ||
		!strings.Contains(stack, "web_test.go") {
		t.Errorf("got %v", line)
	}
}

func TestAPanicWithASentinelIsStillAFault(t *testing.T) {
	s := newSite(t, nil)
	s.GET("/x", func(echo.Context) error { panic(domain.ErrNotFound) })
	if got := s.send("GET", "/x", "").Code; got != 500 {
		t.Errorf("got %d, want 500", got)
	}
}

// A client must not take a truncated response for a complete one.
func TestAPanicInTheMiddleOfAnAnswerEndsTheConnection(t *testing.T) {
	half := func(c echo.Context, status int, _ error) error {
		_ = c.String(status, "the first half")
		panic("torn")
	}
	for name, handler := range map[string]echo.HandlerFunc{
		"of a handler":  func(c echo.Context) error { return half(c, 200, nil) },
		"of a renderer": fails(domain.ErrDuplicate),
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, func(s *site) { s.dialect.Render = half })
			s.GET("/x", handler)
			server := httptest.NewServer(s)
			resp, err := server.Client().Get(server.URL + "/x")
			if err == nil {
				_, err = io.ReadAll(resp.Body)
				resp.Body.Close()
			}
			server.Close()
			if err == nil {
				t.Error("the client could take the response for complete")
			}
			if line := s.line(t); line["level"] != "ERROR" || line["stack"] == nil {
				t.Errorf("got %v", line)
			}
		})
	}
}

func TestABodyThatCannotBeRenderedIsAFault(t *testing.T) {
	for name, render := range map[string]web.Renderer{
		"an error": func(echo.Context, int, error) error { return errors.New("no ink") },
		"a panic":  func(echo.Context, int, error) error { panic("no ink") },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, func(s *site) { s.dialect.Render = render })
			s.GET("/x", fails(domain.ErrDuplicate))
			rec := s.send("GET", "/x", "")
			if rec.Code != 500 || rec.Body.Len() != 0 {
				t.Errorf("got %d %q, want an empty 500", rec.Code, rec.Body)
			}
			if line := fmt.Sprint(s.line(t)); !strings.Contains(line, "ERROR") || !strings.Contains(line, "no ink") {
				t.Errorf("got %s", line)
			}
		})
	}
}

func TestAnErrorAfterTheAnswerIsLogged(t *testing.T) {
	s := newSite(t, nil)
	s.GET("/x", func(c echo.Context) error { return errors.Join(ok(c), errors.New("too late")) })
	if got := s.send("GET", "/x", ""); got.Code != 200 || got.Body.String() != "ok" {
		t.Errorf("got %d %q", got.Code, got.Body)
	}
	if line := s.line(t); line["level"] != "ERROR" || line["status"] != 200.0 || line["error"] != "too late" {
		t.Errorf("got %v", line)
	}
}

// Clients disconnect often. At error level these lines would hide real errors.
func TestAClientThatLeftIsNoFault(t *testing.T) {
	s := newSite(t, nil)
	s.GET("/x", func(c echo.Context) error { return c.Request().Context().Err() })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/x", nil).WithContext(ctx))
	if line := s.line(t); line["level"] != "INFO" || line["status"] != 503.0 {
		t.Errorf("got %v", line)
	}
}

func TestAClientThatTakesNoMoreOfAResponseIsNoFault(t *testing.T) {
	s := newSite(t, nil)
	s.GET("/x", func(c echo.Context) error {
		return errors.Join(ok(c), &net.OpError{Op: "write", Net: "tcp", Err: syscall.ECONNRESET})
	})
	s.send("GET", "/x", "")
	if line := s.line(t); line["level"] != "INFO" {
		t.Errorf("got %v", line)
	}
}

func TestAHandlerHasADeadline(t *testing.T) {
	s := newSite(t, nil)
	s.GET("/x", func(c echo.Context) error {
		deadline, has := c.Request().Context().Deadline()
		server := web.NewServer(s, slog.Default())
		// The time that remains is shorter the longer the test takes.
		if !has || time.Until(deadline) >= server.WriteTimeout-server.ReadTimeout {
			t.Errorf("got deadline %v, %v: want one that leaves time for the response", deadline, has)
		}
		return nil
	})
	s.send("GET", "/x", "")
}

func TestTheServerWaitsForNothingForEver(t *testing.T) {
	s := web.NewServer(http.NotFoundHandler(), slog.Default())
	for name, got := range map[string]time.Duration{"header": s.ReadHeaderTimeout, "read": s.ReadTimeout,
		"write": s.WriteTimeout, "idle": s.IdleTimeout} {
		if got <= 0 {
			t.Errorf("the %s time-out is %v", name, got)
		}
	}
	if s.MaxHeaderBytes <= 0 || s.ErrorLog == nil {
		t.Errorf("got %d header bytes, log %v", s.MaxHeaderBytes, s.ErrorLog)
	}
}

func TestHeadersOfEveryAnswer(t *testing.T) {
	s := newSite(t, nil)
	s.GET("/x", func(c echo.Context) error { web.NoStore(c); return ok(c) })
	for _, target := range []string{"/x", "/nowhere"} {
		if got := s.send("GET", target, "").Header().Get("X-Content-Type-Options"); got != "nosniff" {
			t.Errorf("%s: got %q, want nosniff", target, got)
		}
	}
	header := s.send("GET", "/x", "").Header()
	if header.Get("Cache-Control") != "no-store" || header.Get("Pragma") != "no-cache" {
		t.Errorf("got %v", header)
	}
}

func TestClientAddr(t *testing.T) {
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32"),
		netip.MustParsePrefix("::ffff:172.16.0.0/108")}
	tests := []struct {
		name      string
		trusted   []netip.Prefix
		peer      string
		forwarded []string
		want      string
	}{
		{"the peer", nil, "192.0.2.1:1234", nil, "192.0.2.1"},
		{"no proxy is trusted by default", nil, "127.0.0.1:1234", []string{"198.51.100.7"}, "127.0.0.1"},
		{"a header of another peer", proxies, "192.0.2.1:1234", []string{"198.51.100.7"}, "192.0.2.1"},
		{"a header of a proxy", proxies, "10.0.0.1:1234", []string{"198.51.100.7"}, "198.51.100.7"},
		{"a proxy without a header", proxies, "10.0.0.1:1234", nil, "10.0.0.1"},
		{"two proxies", proxies, "10.0.0.1:1234", []string{"198.51.100.7, 10.0.0.2"}, "198.51.100.7"},
		{"two headers", proxies, "10.0.0.1:1234", []string{"198.51.100.7", "10.0.0.2"}, "198.51.100.7"},
		{"what the client made up before", proxies, "10.0.0.1:1234", []string{"203.0.113.9, 198.51.100.7"}, "198.51.100.7"},
		{"a trusted address that the client made up", proxies, "10.0.0.1:1234", []string{"10.9.9.9, 198.51.100.7"},
			"198.51.100.7"},
		{"trusted all the way", proxies, "10.0.0.1:1234", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
		{"garbage at the end", proxies, "10.0.0.1:1234", []string{"198.51.100.7, unknown"}, "10.0.0.1"},
		{"garbage before", proxies, "10.0.0.1:1234", []string{"unknown, 10.0.0.2"}, "10.0.0.2"},
		{"with a port", proxies, "10.0.0.1:1234", []string{"198.51.100.7:999"}, "198.51.100.7"},
		{"IPv6 with a port", proxies, "[2001:db8::1]:1234", []string{"[2001:DB9::7]:999"}, "2001:db9::7"},
		{"IPv6 in brackets", proxies, "[2001:db8::1]:1234", []string{"[2001:db9::7]"}, "2001:db9::7"},
		{"IPv4 inside IPv6", proxies, "[::ffff:10.0.0.1]:1234", []string{"::ffff:198.51.100.7"}, "198.51.100.7"},
		{"a prefix inside IPv6", proxies, "172.16.0.1:1234", []string{"198.51.100.7"}, "198.51.100.7"},
		{"a zone", nil, "[fe80::1%eth0]:1234", nil, "fe80::1"},
		{"a Unix socket", proxies, "@", []string{"198.51.100.7"}, ""},
		{"the longest", nil, "[1111:2222:3333:4444:5555:6666:7777:8888%a-very-long-zone]:1", nil,
			"1111:2222:3333:4444:5555:6666:7777:8888"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			req := httptest.NewRequest("GET", "/", nil)
			req.RemoteAddr = tt.peer
			req.Header["X-Forwarded-For"] = tt.forwarded
			if got := web.ClientAddr(tt.trusted)(req); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestOriginsAreExact(t *testing.T) {
	for _, bad := range []string{"", "*", "null", "app.example", "https://", "https://*.example", "https://app.example/",
		"https://app.example/x",
		"https://App.example", "HTTPS://app.example", "https://app.example:443", "http://app.example:80",
		"https://app.example:", "ftp://app.example",
		"https://user@app.example", "https://app.example?x", "https://a.example,https://b.example"} {
		if _, err := web.ParseOrigins([]string{bad}); err == nil {
			t.Errorf("%q was taken for an origin", bad)
		}
	}
	o, err := web.ParseOrigins([]string{"https://app.example", "http://localhost:8080", "http://[::1]:8080"})
	if err != nil {
		t.Fatal(err)
	}
	for origin, want := range map[string]bool{"https://app.example": true, "http://localhost:8080": true,
		"http://app.example":       false,
		"https://app.example:8443": false, "https://evil.app.example": false, "https://app.example.evil": false,
		"null": false, "": false} {
		if got := o.Has(origin); got != want {
			t.Errorf("%q: got %v, want %v", origin, got, want)
		}
	}
}

func TestCORS(t *testing.T) {
	origins, err := web.ParseOrigins([]string{"https://app.example"})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, method, target, origin string
		origins                      web.Origins
		status                       int
		allowed                      bool
	}{
		{"a known origin", "POST", "/x", "https://app.example", origins, 200, true},
		{"its preflight", "OPTIONS", "/x", "https://app.example", origins, 204, true},
		{"its refusal can be read too", "PUT", "/x", "https://app.example", origins, 405, true},
		{"a huge body of it", "POST", "/huge", "https://app.example", origins, 413, true},
		{"an unknown origin", "POST", "/x", "https://evil.example", origins, 200, false},
		{"its preflight has no CORS header", "OPTIONS", "/x", "https://evil.example", origins, 204, false},
		{"a sandboxed page", "POST", "/x", "null", origins, 200, false},
		{"no origin", "POST", "/x", "", origins, 200, false},
		{"none is configured", "POST", "/x", "https://app.example", web.Origins{}, 200, false},
		{"a preflight where none is configured", "OPTIONS", "/x", "https://app.example", web.Origins{}, 204, false},
		{"a preflight for no route", "OPTIONS", "/nowhere", "https://app.example", origins, 404, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t, func(s *site) { s.options.Pages.Origins = tt.origins })
			s.POST("/x", ok)
			header := []string{"Access-Control-Request-Method", "POST"}
			if tt.origin != "" {
				header = append(header, "Origin", tt.origin)
			}
			s.POST("/huge", ok)
			body := ""
			if tt.target == "/huge" {
				body = strings.Repeat(" ", web.MaxBody+1)
			}
			rec := s.send(tt.method, tt.target, body, header...)
			got := rec.Header()
			if rec.Code != tt.status {
				t.Errorf("got %d, want %d", rec.Code, tt.status)
			}
			want := tt.origins.Has("https://app.example") && rec.Code != 404
			if varies := strings.HasPrefix(got.Get("Vary"), "Origin"); varies != want {
				t.Errorf("got Vary %q", got.Get("Vary"))
			}
			if !tt.allowed {
				for name := range got {
					if strings.HasPrefix(name, "Access-Control-") {
						t.Errorf("got %s: %s", name, got.Get(name))
					}
				}
				return
			}
			if got.Get("Access-Control-Allow-Origin") != tt.origin || got.Get("Access-Control-Allow-Credentials") != "true" {
				t.Errorf("got %v", got)
			}
			if tt.method == "OPTIONS" {
				if !strings.Contains(got.Get("Access-Control-Allow-Methods"), "POST") ||
					!strings.Contains(got.Get("Access-Control-Allow-Headers"), "X-Stencil-TenantId") {
					t.Errorf("got %v", got)
				}
			} else if !strings.Contains(got.Get("Access-Control-Expose-Headers"),
				"Refreshd-Outcome,X-Request-Id,Link,X-Total-Count") {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestHeadIsAnsweredWithoutABody(t *testing.T) {
	s := newSite(t, nil)
	s.GET("/x", fails(domain.ErrDuplicate))
	if rec := s.send("HEAD", "/x", ""); rec.Code != 400 || rec.Body.Len() != 0 {
		t.Errorf("got %d %q", rec.Code, rec.Body)
	}
}

// The messages of net/http and echo are searched for in the same way as all others.
func TestWhatTheLibrariesSayHasAnEvent(t *testing.T) {
	var log bytes.Buffer
	to := slog.New(slog.NewJSONHandler(&log, nil))
	web.NewServer(nil, to).ErrorLog.Print("http: TLS handshake error")
	e, err := web.New(web.Options{Log: to}, newSite(t, nil).dialect)
	if err != nil {
		t.Fatal(err)
	}
	e.Logger.Error("echo says so")
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	for _, line := range lines {
		if !strings.Contains(line, `"event":"http.server"`) || !strings.Contains(line, `"level":"WARN"`) {
			t.Errorf("got %s", line)
		}
	}
	if len(lines) != 2 {
		t.Errorf("got %d lines, want 2: %s", len(lines), log.String())
	}
}
