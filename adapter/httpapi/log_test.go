package httpapi_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/domain"
)

// told returns the attributes of the one line of a request, without those that every line has.
func told(t *testing.T, a *answer) map[string]any {
	t.Helper()
	line := logLine(t, a.header.Get("X-Request-Id"))
	for _, field := range []string{"time", "msg", "id", "method", "route", "status", "durationMs", "client", "bytes"} {
		if _, there := line[field]; !there {
			t.Errorf("no %s in %v", field, line)
		}
		delete(line, field)
	}
	return line
}

// An operator who investigates a possible theft has to find the user after the session was deleted.
func TestALineOfWhatMayBeTheftNamesTheSessionAndItsUser(t *testing.T) {
	s := newService(t)
	began := s.clock().Format(time.RFC3339Nano)
	line := func(g grant, app, event, outcome string, generation int) map[string]any {
		return map[string]any{
			"level": "WARN", "event": event, "tenant": aTenant, "outcome": outcome, "refreshTokenId": g.RefreshTokenID,
			"applicationId": app, "userId": "ada", "generation": float64(generation), "issuedAt": began,
			"presented": 1.0,
		}
	}
	g := s.issue(t, "blog", "ada")
	s.wait(time.Minute)
	s.next(t, g.RefreshToken, "rotated")
	got := told(t, s.exchange(t, g.RefreshToken).want(t, 400, "[reused]refreshToken"))
	want := line(g, "blog", "exchange.replayed", "replayed", 2)
	want["lastClient"] = "192.0.2.1"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("a replay (-want +got):\n%s", diff)
	}

	began = s.clock().Format(time.RFC3339Nano)
	g = s.issue(t, "shop", "ada")
	s.wait(time.Minute)
	s.exchange(t, g.RefreshToken, from("203.0.113.7:1")).want(t, 200)
	want = line(g, "shop", "exchange.address_changed", "retried", 2)
	want["rotatedFrom"], want["why"] = "203.0.113.7", "a retry from another client address than the rotation's"
	got = told(t, s.exchange(t, g.RefreshToken, from("198.51.100.9:1")).want(t, 200))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("a retry from another address (-want +got):\n%s", diff)
	}
	s.wait(time.Minute)
	got = told(t, s.exchange(t, g.RefreshToken).want(t, 200))
	if diff := cmp.Diff(line(g, "shop", "exchange.recovered", "recovered", 2), got); diff != "" {
		t.Errorf("a recovery (-want +got):\n%s", diff)
	}
}

// Logs are searched by event and fields, not by sentences. A line names the user only if an operator has to inform the
// user, or if the request named the user.
func TestTheEventSaysWhatHappened(t *testing.T) {
	s := newService(t)
	issued := s.do(t, "POST", "/jwt/issue", backend, body(object{"userId": "ada", "applicationsId": "shop"})).want(t, 200)
	g := issued.grant(t)
	if diff := cmp.Diff(map[string]any{
		"level": "INFO", "event": "token.issued", "tenant": aTenant, "outcome": "", "apiKey": "backend",
		"refreshTokenId": g.RefreshTokenID, "applicationId": "shop",
	}, told(t, issued)); diff != "" {
		t.Errorf("an issue (-want +got):\n%s", diff)
	}
	list := func(options ...option) *answer { return s.do(t, "GET", "/jwt/refresh?userId=ada", options...) }
	revoke := func(accessToken string) *answer {
		return s.do(t, "DELETE", "/jwt/refresh/"+g.RefreshTokenID, bearer(accessToken), tenant(aTenant))
	}
	const request, failed = "http.request", "credential.failed"
	for name, test := range map[string]struct {
		got                *answer
		status             int
		event, kind, level string
	}{
		"rotated":       {s.exchange(t, g.RefreshToken), 200, "exchange.rotated", "", "INFO"},
		"retried":       {s.exchange(t, g.RefreshToken), 200, "exchange.retried", "", "INFO"},
		"no string":     {s.exchange(t, "rt_nonsense"), 400, failed, "tokenString", "INFO"},
		"listed":        {list(backend), 200, request, "", "INFO"},
		"no credential": {list(tenant(aTenant)), 401, failed, "none", "INFO"},
		"of no form":    {list(bearer("x"), tenant(aTenant)), 401, failed, "other", "INFO"},
		"not permitted": {list(as("revoker"), tenant(aTenant)), 401, failed, "apiKey", "INFO"},
		"a wrong token": {revoke("a.b.c"), 401, failed, "accessToken", "INFO"},
		"unmatched":     {s.do(t, "GET", "/nope"), 404, request, "", "INFO"},
		"invalid input": {s.do(t, "POST", "/jwt/issue", backend, body(object{"userId": ""})), 400, request, "", "INFO"},
		"health":        {s.do(t, "GET", "/healthz"), 200, request, "", "DEBUG"},
		"readiness":     {s.do(t, "GET", "/readyz/"), 200, request, "", "DEBUG"},
		"wrong method":  {s.do(t, "PATCH", "/healthz"), 405, request, "", "INFO"},
	} {
		if test.got.status != test.status {
			t.Errorf("%s: got status %d, want %d", name, test.got.status, test.status)
		}
		got := told(t, test.got)
		if kind, _ := got["kind"].(string); got["event"] != test.event || kind != test.kind || got["level"] != test.level {
			t.Errorf("%s: got %v, want %s %q at %s", name, got, test.event, test.kind, test.level)
		}
		if got["userId"] != nil {
			t.Errorf("%s: the user is named: %v", name, got)
		}
	}
	s.store.fail = func(string) error { return fmt.Errorf("%w: down", domain.ErrUnavailable) }
	for path, want := range map[string][2]string{
		"/readyz": {request, "DEBUG"}, "/jwt/refresh?userId=ada": {"request.failed", "ERROR"},
	} {
		if got := told(t, s.do(t, "GET", path, backend).want(t, 503)); got["event"] != want[0] || got["level"] != want[1] {
			t.Errorf("%s without a store: got %v, want %v", path, got, want)
		}
	}
}

// People and programs later search for the actor and the object of a revocation.
func TestALineOfARevocationHasWhatWasRevokedInFields(t *testing.T) {
	s := newService(t)
	one, other := s.issue(t, "shop", "ada"), s.issue(t, "shop", "ada")
	for _, test := range []struct {
		query string
		want  map[string]any
	}{
		{"/" + one.RefreshTokenID, map[string]any{"kind": "token", "tokenId": one.RefreshTokenID}},
		{"?userId=ada&exceptTokenId=" + other.RefreshTokenID,
			map[string]any{"kind": "user", "userId": "ada", "exceptTokenId": other.RefreshTokenID}},
		{"?userId=bob", map[string]any{"kind": "user", "userId": "bob"}},
		{"?userId=bob&applicationsId=shop",
			map[string]any{"kind": "userInApplication", "userId": "bob", "applicationId": "shop"}},
		{"?applicationsId=blog", map[string]any{"kind": "application", "applicationId": "blog"}},
		{"?allInTenant=true", map[string]any{"kind": "tenant"}},
	} {
		for field, value := range map[string]any{
			"level": "INFO", "event": "token.revoked", "tenant": aTenant, "outcome": "", "apiKey": "backend",
		} {
			test.want[field] = value
		}
		got := told(t, s.do(t, "DELETE", "/jwt/refresh"+test.query, backend).want(t, 200))
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.query, diff)
		}
	}
	// The line of a revocation by the user has the session of the access token.
	g := s.issue(t, "shop", "ada")
	owner := told(t, s.do(t, "DELETE", "/jwt/refresh?userId=ada&exceptTokenId="+g.RefreshTokenID, bearer(g.Token),
		tenant(aTenant)).want(t, 200))
	want := map[string]any{
		"level": "INFO", "event": "token.revoked", "tenant": aTenant, "outcome": "", "kind": "user", "userId": "ada",
		"exceptTokenId": g.RefreshTokenID, "sessionId": g.RefreshTokenID,
	}
	if diff := cmp.Diff(want, owner); diff != "" {
		t.Errorf("an owner's (-want +got):\n%s", diff)
	}
	// An owner's request for another user's session is refused everywhere, and the log has the reason.
	got := told(t, s.do(t, "DELETE", "/jwt/refresh/"+one.RefreshTokenID, bearer(g.Token), tenant(aTenant)).want(t, 401))
	if got["event"] != "credential.failed" || got["kind"] != "accessToken" || got["why"] == nil {
		t.Errorf("another's session: got %v", got)
	}
	for target, why := range map[string]string{
		"/jwt/refresh?userId=bob":                     "sessions of its own user only",
		"/jwt/refresh":                                "sessions of its own user only",
		"/jwt/refresh/" + chosenID:                    "sessions of its own user only",
		"/jwt/refresh?userId=ada&applicationsId=none": "",
	} {
		got := told(t, s.do(t, "GET", target, bearer(g.Token), tenant(aTenant)))
		if said, _ := got["why"].(string); (why == "") != (said == "") || !strings.Contains(said, why) {
			t.Errorf("GET %s: got %v, want why: %s", target, got, why)
		}
	}
	s.do(t, "DELETE", "/jwt/refresh?userId=ada", backend).want(t, 200)
	got = told(t, s.do(t, "GET", "/jwt/refresh?userId=ada", bearer(g.Token), tenant(aTenant)).want(t, 401))
	if said, _ := got["why"].(string); !strings.Contains(said, "session has ended") || got["sessionId"] != nil {
		t.Errorf("of an ended session: got %v", got)
	}
	got = told(t, s.do(t, "GET", "/jwt/refresh", backend).want(t, 401))
	if said, _ := got["why"].(string); !strings.Contains(said, "no GET on /sessions") {
		t.Errorf("a list of the tenant: got %v", got)
	}
}

// Routes in metrics are spelled as in the document, where operators look them up.
func TestRoutesAreObservedAsTheDocumentWritesThem(t *testing.T) {
	s := newService(t)
	var seen []string
	s.options.Observe = func(r web.Response) { seen = append(seen, r.Route) }
	s.mount(t)
	s.do(t, "GET", "/jwt/refresh/"+s.issue(t, "shop", "ada").RefreshTokenID, backend)
	s.do(t, "GET", "/t/acme/.well-known/jwks.json")
	s.do(t, "GET", "/jwt/refresh?userId=ada", backend)
	document := string(s.do(t, "GET", "/openapi.yaml").body)
	want := []string{"/jwt/issue", "/jwt/refresh/{id}", "/t/{tenantId}/.well-known/jwks.json", "/jwt/refresh",
		"/openapi.yaml"}
	if !slices.Equal(seen, want) {
		t.Errorf("got %v, want %v", seen, want)
	}
	for _, route := range want {
		if !strings.Contains(document, "\n  "+route+":") {
			t.Errorf("the document has no %s", route)
		}
	}
}
