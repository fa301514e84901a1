package httpapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/go-cmp/cmp"
	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
	"github.com/refreshd/refreshd/test/storagetest"
	"github.com/refreshd/refreshd/test/support/contract"
)

// errStoreDown is the error of an unreachable store. The address in it must not be in a response.
var errStoreDown = errors.New("dial tcp 10.1.2.3:5432: connection refused")

// A probe is a valid request for one operation of the document.
type probe struct {
	operation, method, target string
	options                   []option
	// public ones need no API key; alone ones do not query the store.
	public, alone bool
}

func (h *household) probes() []probe {
	one := "/jwt/refresh/" + h.adaShop.RefreshTokenID
	b := []option{backend}
	with := func(o object) []option { return []option{backend, body(o)} }
	return []probe{
		{operation: "issue", method: "POST", target: "/jwt/issue",
			options: with(object{"applicationsId": "shop", "userId": "ada"})},
		{operation: "exchange", method: "POST", target: "/jwt/refresh",
			options: []option{body(object{"refreshToken": h.bobBlog.RefreshToken})}, public: true},
		{operation: "exchange", method: "POST", target: "/jwt/refresh", options: []option{byCookie(h.bobShop)}, public: true},
		{operation: "retrieve", method: "POST", target: "/jwt/refresh",
			options: with(object{"id": h.adaShop.RefreshTokenID})},
		{operation: "list", method: "POST", target: "/jwt/refresh", options: with(object{"userId": "ada"})},
		{operation: "list", method: "GET", target: "/jwt/refresh?userId=ada", options: b},
		{operation: "retrieve", method: "GET", target: one, options: b},
		{operation: "retrieve", method: "POST", target: one, options: b},
		{operation: "changeOne", method: "PATCH", target: one, options: []option{patcher, text(`{"roles":["a"]}`)}},
		{operation: "change", method: "PATCH", target: "/jwt/refresh?userId=bob",
			options: []option{patcher, text(`{"claims":{"a":1}}`)}},
		{operation: "jwks", method: "GET", target: "/t/acme/.well-known/jwks.json", public: true},
		{operation: "sharedJwks", method: "GET", target: "/.well-known/jwks.json", public: true},
		{operation: "ready", method: "GET", target: "/readyz", public: true},
		{operation: "health", method: "GET", target: "/healthz", public: true, alone: true},
		{operation: "openapi", method: "GET", target: "/openapi.yaml", public: true, alone: true},
		{operation: "docs", method: "GET", target: "/docs", public: true, alone: true},
		{operation: "docsStyle", method: "GET", target: "/docs/style.css", public: true, alone: true},
		{operation: "docsScript", method: "GET", target: "/docs/script.js", public: true, alone: true},
		{operation: "revoke", method: "DELETE", target: "/jwt/refresh?userId=nobody", options: b},
		{operation: "revoke", method: "DELETE", target: "/jwt/refresh",
			options: with(object{"tokenString": h.adaShop2.RefreshToken})},
		{operation: "revoke", method: "POST", target: "/jwt/refresh", options: with(object{"applicationsId": "blog"})},
		{operation: "revokeOne", method: "POST", target: "/jwt/refresh/" + h.bobShop.RefreshTokenID,
			options: with(object{"tokenId": h.bobShop.RefreshTokenID})},
		{operation: "revokeOne", method: "DELETE", target: one, options: b},
	}
}

// If the list of probes omitted an operation, the tests that use it would not test that operation.
func TestTheProbesCoverTheDocumentAndWork(t *testing.T) {
	h := newHousehold(t)
	probed := map[string]bool{}
	for _, p := range h.probes() {
		h.do(t, p.method, p.target, p.options...).want(t, 200)
		probed[p.operation] = true
	}
	for _, item := range contract.Document(t).Paths.Map() {
		for _, op := range item.Operations() {
			if !probed[op.OperationID] {
				t.Errorf("no probe for %s", op.OperationID)
			}
		}
	}
}

func TestEveryRouteIsDocumentedAndEveryPathHasItsRoute(t *testing.T) {
	e, ok := newService(t).handler.(*echo.Echo)
	if !ok {
		t.Fatal("the handler is no echo.Echo")
	}
	var served, documented []string
	for _, route := range e.Routes() {
		served = append(served, route.Method+" "+route.Path)
	}
	eachOperation(contract.Document(t), func(where string, _ *openapi3.Operation) {
		route := strings.NewReplacer("{", ":", "}", "").Replace(where)
		documented = append(documented, route)
		if path, isGet := strings.CutPrefix(route, "GET "); isGet { // the document has one statement for all of them
			documented = append(documented, "HEAD "+path)
		}
	})
	for _, form := range contract.Forms { // are served, and not for new code
		documented = append(documented, "POST "+strings.NewReplacer("{", ":", "}", "").Replace(form.Path))
	}
	slices.Sort(served)
	slices.Sort(documented)
	if diff := cmp.Diff(slices.Compact(documented), served); diff != "" {
		t.Errorf("documented, and served (+): %s", diff)
	}
}

// A caller repeats the request after a 503; any other status would report something about an unavailable database.
func TestAStoreThatIsDownIs503Everywhere(t *testing.T) {
	for name, failure := range map[string]error{
		"an operational error":     errStoreDown,
		"one that says so":         errors.Join(domain.ErrUnavailable, errStoreDown),
		"one that ran out of time": context.DeadlineExceeded,
	} {
		t.Run(name, func(t *testing.T) {
			h := newHousehold(t)
			before := h.dump(t)
			h.store.fail = func(string) error { return failure }
			for _, p := range h.probes() {
				got := h.do(t, p.method, p.target, p.options...)
				if p.alone {
					got.want(t, 200)
					continue
				}
				got.want(t, 503).keepsCookies(t)
				if got.header.Get("Retry-After") == "" || len(got.body) > 0 || got.outcome() != "" {
					t.Errorf("%s %s: got Retry-After %q, outcome %q, body %q; want a time, none and none",
						p.method, p.target, got.header.Get("Retry-After"), got.outcome(), got.body)
				}
			}
			h.store.fail = nil
			if diff := cmp.Diff(before, h.dump(t)); diff != "" {
				t.Errorf("the store changed: %s", diff)
			}
			h.next(t, h.adaShop.RefreshToken, "rotated")
		})
	}
}

// Any single call of the store may fail. None of these failures may be reported as something else.
func TestAnyCallOfTheStoreThatFailsIs503(t *testing.T) {
	for _, method := range []string{"Insert", "Advance", "Find", "List", "Change", "Revoke", "RevokeScope", "Tenant",
		"Tenants", "Policy", "APIKeyByHash", "Ready"} {
		h := newHousehold(t)
		failed := false
		h.store.fail = func(m string) error {
			if m == method {
				failed = true
				return errStoreDown
			}
			return nil
		}
		for _, p := range h.probes() {
			failed = false
			got := h.do(t, p.method, p.target, p.options...)
			if failed != (got.status == 503) || !failed && got.status >= 500 {
				t.Errorf("%s failed: %t; %s %s: got %d", method, failed, p.method, p.target, got.status)
			}
		}
	}
}

// The result of an exchange may be lost on the way from the store. The client then gets 503, sends the same string
// again, and continues.
func TestAnExchangeOfWhichTheAnswerWasLostIsRetried(t *testing.T) {
	s := newService(t)
	g := s.issue(t, "shop", "ada")
	lost := false
	s.store.fail = func(method string) error {
		if method != "Advance" || lost {
			return nil
		}
		lost = true
		id, _ := domain.ParseID(g.RefreshTokenID)
		if _, _, err := s.store.Store.Advance(t.Context(), id, domain.Call{Generation: 1, Now: s.now}); err != nil {
			t.Error(err)
		}
		return errStoreDown
	}
	s.exchange(t, g.RefreshToken).want(t, 503)
	s.next(t, g.RefreshToken, "retried")
}

func TestAPanicIs500WithoutABodyAndIsLoggedWithItsStack(t *testing.T) {
	h := newHousehold(t)
	h.store.fail = func(string) error { panic("the store lost its mind") }
	for _, p := range h.probes() {
		if p.alone {
			continue
		}
		got := h.do(t, p.method, p.target, p.options...).want(t, 500).keepsCookies(t)
		if len(got.body) > 0 {
			t.Errorf("%s %s: got %s, want no body", p.method, p.target, got.body)
		}
		line := logLine(t, got.header.Get("X-Request-Id"))
		if stack, _ := line["stack"].(string); line["level"] != "ERROR" || !strings.Contains(stack, "goroutine") {
			t.Errorf("%s %s: got the log line %v, want an error with its stack", p.method, p.target, line)
		}
	}
}

func TestOver32KiBIs413Everywhere(t *testing.T) {
	h := newHousehold(t)
	before := h.dump(t)
	for _, p := range h.probes() {
		got := h.do(t, p.method, p.target, append(p.options, text(`"`+strings.Repeat("x", 32<<10)+`"`))...).want(t, 413)
		if got.Message == "" || got.Success {
			t.Errorf("%s %s: got %s, want a message", p.method, p.target, got.body)
		}
	}
	if diff := cmp.Diff(before, h.dump(t)); diff != "" {
		t.Errorf("the store changed: %s", diff)
	}
	// Up to that size the body is accepted.
	h.do(t, "POST", "/jwt/issue", backend, text(`{"userId":"`+strings.Repeat("x", 32<<10-13)+`"}`)).
		want(t, 400, "[blank]applicationsId", "[tooLong]userId")
}

func TestWithoutAnAPIKeyEveryOtherEndpointIs401(t *testing.T) {
	h := newHousehold(t)
	before := h.dump(t)
	for _, p := range h.probes() {
		if p.public {
			continue
		}
		got := h.do(t, p.method, p.target, append(p.options,
			func(_ *service, r *request) { r.Header.Del("Authorization") })...).want(t, 401)
		if len(got.body) > 0 || got.header.Get("WWW-Authenticate") != `Bearer realm="refreshd"` {
			t.Errorf("%s %s: got body %q and %v", p.method, p.target, got.body, got.header)
		}
	}
	if diff := cmp.Diff(before, h.dump(t)); diff != "" {
		t.Errorf("the store changed: %s", diff)
	}
}

func TestOneLogLineTellsOfEachRequest(t *testing.T) {
	s := newService(t)
	g := s.issue(t, "blog", "ada")
	ok := s.exchange(t, g.RefreshToken, from("203.0.113.7:4711")).want(t, 200)
	line := logLine(t, ok.header.Get("X-Request-Id"))
	for field, want := range map[string]any{
		"level": "INFO", "method": "POST", "route": "/jwt/refresh", "status": 200.0, "tenant": "acme", "outcome": "rotated",
		"refreshTokenId": g.RefreshTokenID, "client": "203.0.113.7",
	} {
		if line[field] != want {
			t.Errorf("got %s %v, want %v", field, line[field], want)
		}
	}
	replayed := logLine(t, s.exchange(t, g.RefreshToken).want(t, 400, "[reused]refreshToken").header.Get("X-Request-Id"))
	if replayed["level"] != "WARN" || replayed["outcome"] != "replayed" || replayed["generation"] != 2.0 {
		t.Errorf("got %v, want a warning of a replay", replayed)
	}

	g = s.issue(t, "shop", "ada")
	current := s.exchange(t, g.RefreshToken, from("203.0.113.7:1")).want(t, 200).grant(t)
	stranger := logLine(t, s.exchange(t, g.RefreshToken, from("198.51.100.9:1")).want(t, 200).header.Get("X-Request-Id"))
	if stranger["level"] != "WARN" || stranger["outcome"] != "retried" || stranger["rotatedFrom"] != "203.0.113.7" {
		t.Errorf("got %v, want a warning of a retry from elsewhere", stranger)
	}
	// A phone that changes networks sends the current string, which is not logged as a warning.
	moved := logLine(t, s.exchange(t, current.RefreshToken, from("198.51.100.9:1")).want(t,
		200).header.Get("X-Request-Id"))
	if moved["level"] != "INFO" || moved["outcome"] != "retried" || moved["rotatedFrom"] != nil {
		t.Errorf("got %v, want no warning of a retry with the current string", moved)
	}
}

// A token string of a future generation is genuine: the store was restored from a copy, or a key leaked.
func TestAStringFromTheFutureIsLoggedAtError(t *testing.T) {
	s := newService(t)
	g := s.issue(t, "shop", "ada")
	before, err := s.store.Store.Snapshot(t.Context(), s.store.ids[0])
	if err != nil {
		t.Fatal(err)
	}
	ahead := s.next(t, g.RefreshToken, "rotated")
	s.store.Store = rewound{Store: s.store.Store, snapshot: before}
	got := s.exchange(t, ahead.RefreshToken).want(t, 400, "[invalid]refreshToken")
	if line := logLine(t, got.header.Get("X-Request-Id")); line["level"] != "ERROR" || line["outcome"] != "invalid" {
		t.Errorf("got %v, want an error", line)
	}
}

// After a restore the strings of later generations belong to their owners. An operator can configure that, and the
// sessions are kept.
func TestAStringFromTheFutureIsExchangedAfterARestore(t *testing.T) {
	s := newService(t)
	s.api.Exchange.Restored = true
	g := s.issue(t, "shop", "ada")
	before, err := s.store.Store.Snapshot(t.Context(), s.store.ids[0])
	if err != nil {
		t.Fatal(err)
	}
	ahead := s.next(t, g.RefreshToken, "rotated")
	later, err := s.store.Store.Snapshot(t.Context(), s.store.ids[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := s.store.Store.Swap(t.Context(), later.Token, before.Token, s.clock(),
		storagetest.NewEvent()); err != nil {
		t.Fatal(err)
	}
	s.wait(time.Minute)
	got := s.exchange(t, ahead.RefreshToken).want(t, 200)
	line := logLine(t, got.header.Get("X-Request-Id"))
	if got.outcome() != "rotated" || line["level"] != "WARN" || line["outcome"] != "rotated" || line["generation"] != 3.0 {
		t.Errorf("got outcome %q and %v, want rotated to generation 3, and a warning", got.outcome(), line)
	}
	// The store has the same generation again, so the next exchange is an ordinary one.
	s.wait(time.Minute)
	next := s.exchange(t, got.grant(t).RefreshToken).want(t, 200)
	if line := logLine(t, next.header.Get("X-Request-Id")); next.outcome() != "rotated" || line["level"] != "INFO" {
		t.Errorf("got outcome %q and %v, want rotated and no warning", next.outcome(), line)
	}
}

// rewound is a store that was restored from an earlier copy.
type rewound struct {
	port.Store
	snapshot domain.Snapshot
}

func (rewound) Advance(context.Context, domain.ID, domain.Call) (domain.RefreshToken, domain.Policy, error) {
	return domain.RefreshToken{}, domain.Policy{}, domain.ErrConflict
}

func (r rewound) Snapshot(context.Context, domain.ID) (domain.Snapshot, error) {
	return r.snapshot, nil
}

// logLine returns the line of the request, which must be the only one.
func logLine(t *testing.T, requestID string) map[string]any {
	t.Helper()
	var found map[string]any
	for line := range strings.Lines(checks.Log.String()) {
		if !strings.Contains(line, `"id":"`+requestID+`"`) {
			continue
		}
		if found != nil {
			t.Errorf("two log lines for the request %s", requestID)
		}
		if err := json.Unmarshal([]byte(line), &found); err != nil {
			t.Fatal(err)
		}
	}
	if found == nil {
		t.Fatalf("no log line for the request %s", requestID)
	}
	return found
}

func TestHealthAndReadiness(t *testing.T) {
	s := newService(t)
	calls := s.store.callCount()
	live := s.do(t, "GET", "/healthz").want(t, 200)
	if s.store.callCount() != calls {
		t.Error("healthz asked the store: a database that is down would get the process restarted")
	}
	ready := s.do(t, "GET", "/readyz").want(t, 200)
	for _, a := range []*answer{live, ready} {
		if !a.Success || a.Message == "" || a.Data != nil {
			t.Errorf("got %s, want success, a message and no data", a.body)
		}
	}
	s.store.fail = func(string) error { return errStoreDown }
	s.do(t, "GET", "/healthz").want(t, 200)
	if got := s.do(t, "GET", "/readyz").want(t, 503); strings.Contains(string(got.body), "10.1.2.3") ||
		got.header.Get("Retry-After") == "" {
		t.Errorf("got %v %s", got.header, got.body)
	}
}

func TestTheDocumentsAreServedToAnybody(t *testing.T) {
	s := newService(t)
	for path, words := range map[string][]string{
		"/openapi.yaml": {"openapi: 3.1", "operationId: exchange"}, "/docs": {"<html", "/docs/style.css"},
		"/docs/style.css": {"{"},
		"/docs/script.js": {`"use strict"`},
	} {
		got := s.do(t, "GET", path).want(t, 200)
		for _, word := range words {
			if !strings.Contains(string(got.body), word) {
				t.Errorf("GET %s: got no %q in it", path, word)
			}
		}
		if policy := got.header.Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'none'") {
			t.Errorf("GET %s: got policy %q", path, policy)
		}
		s.do(t, "GET", path, header("If-None-Match", got.header.Get("ETag"))).want(t, http.StatusNotModified)
	}
}

// A 401 does not say its reason to the caller, so the log must have it for the operator.
func TestTheLogSaysWhyNobodyWasLetIn(t *testing.T) {
	s := newService(t)
	line := func(a *answer, field string) any { return logLine(t, a.header.Get("X-Request-Id"))[field] }
	for name, test := range map[string]struct {
		options []option
		why     string
	}{
		"no key": {[]option{tenant(aTenant)}, "no API key was sent"},
		"an unknown key": {[]option{header("Authorization", "ak_0123456789012345678901234"), tenant(aTenant)},
			"the API key is unknown"},
		"without permission": {[]option{as("revoker"), tenant(aTenant)}, `API key "revoker" has no GET`},
		"another's tenant": {[]option{as("backend"), tenant(bTenant)},
			`API key "backend" is for tenant "` + aTenant + `" only`},
		"an unknown tenant": {[]option{as("everywhere"), tenant("nobody")}, "the tenant is unknown"},
	} {
		got := s.do(t, "GET", "/jwt/refresh?userId=ada", test.options...).want(t, 401)
		if why, _ := line(got, "why").(string); !strings.HasPrefix(why, test.why) {
			t.Errorf("%s: got %q, want %q", name, why, test.why)
		}
	}
}
