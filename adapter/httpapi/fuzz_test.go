package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// A fuzzed service records its revocations instead of executing them.
type fuzzed struct {
	*service
	revoked *revocations
}

// revocations records the selectors that reached the store. Nothing is revoked, so the next input finds the same
// service.
type revocations struct {
	port.Store
	tokens []domain.ID
	scopes []domain.Scope
	spared []domain.ID
}

func (r *revocations) Revoke(
	_ context.Context, tenantID string, id domain.ID, _ port.Revocation, _ domain.Event,
) error {
	r.tokens = append(r.tokens, id)
	r.scopes = append(r.scopes, domain.Scope{TenantID: tenantID})
	return nil
}

func (r *revocations) RevokeScope(
	_ context.Context, s domain.Scope, except domain.ID, _ port.Revocation, _ domain.Event,
) (uint64, error) {
	r.scopes, r.spared = append(r.scopes, s), append(r.spared, except)
	return 1, nil
}

func newFuzzed(f *testing.F) (fuzzed, grant, grant) {
	f.Helper()
	s := newService(f)
	s.options.Log = slog.New(slog.DiscardHandler) // or the log of an hour would fill the memory
	s.mount(f)
	var mine, foreign grant
	for who, g := range map[string]*grant{"backend": &mine, "globex backend": &foreign} {
		tenantID := aTenant
		if g == &foreign {
			tenantID = bTenant
		}
		for range 3 {
			got := s.ask("POST", "/jwt/issue", `{"userId":"ada","applicationsId":"shop"}`, "application/json",
				s.keys[who], tenantID)
			if *g, _ = got.tryGrant(); g.Token == "" {
				f.Fatalf("issue: %d %s", got.status, got.body)
			}
			checks.Secrets.Add(g.Token)
			checks.Secrets.Add(g.RefreshToken)
		}
	}
	spy := &revocations{Store: s.store.Store}
	s.store.Store = spy
	return fuzzed{s, spy}, mine, foreign
}

// ask is do without the check against the document: a fuzzer sends a thousand times as many requests.
func (s *service) ask(method, target, body, mediaType, key, tenantID string) *answer {
	r := httptest.NewRequest(method, "http://refreshd.example/jwt/refresh", strings.NewReader(body))
	r.URL.Path, r.URL.RawQuery, _ = strings.Cut(target, "?")
	r.Header.Set("Content-Type", mediaType)
	if key != "" {
		r.Header.Set("Authorization", key)
	}
	if tenantID != "" {
		r.Header.Set("X-Stencil-TenantId", tenantID)
	}
	rec := httptest.NewRecorder()
	s.handler.ServeHTTP(rec, r)
	a := &answer{status: rec.Code, header: rec.Result().Header, body: rec.Body.Bytes()}
	_ = json.Unmarshal(a.body, a) // 401 and 404 have no body
	return a
}

// said returns the members of a body, decoded by encoding/json or net/url, with the aliases of this API. repeated
// reports whether a name occurs twice.
func said(body, mediaType string) (says map[string]string, repeated bool) {
	names := map[string]string{"userID": "userId", "usersId": "userId", "applicationId": "applicationsId",
		"TokenString": "tokenString", "token": "tokenString"}
	says = map[string]string{}
	add := func(name, value string) {
		if alias, ok := names[name]; ok {
			name = alias
		}
		_, again := says[name]
		repeated = repeated || again
		says[name] = value
	}
	if mediaType == "application/json" {
		d := json.NewDecoder(strings.NewReader(body))
		if first, err := d.Token(); err != nil || first != json.Delim('{') {
			return nil, false
		}
		for d.More() {
			name, err := d.Token()
			var value json.RawMessage
			if err != nil || d.Decode(&value) != nil {
				return nil, false
			}
			var text string
			if json.Unmarshal(value, &text) != nil {
				text = string(value)
			}
			add(name.(string), text)
		}
		return says, repeated
	}
	form, err := url.ParseQuery(body)
	if err != nil {
		return nil, false
	}
	for name, values := range form {
		for _, v := range values {
			add(name, v)
		}
	}
	return says, repeated
}

var mediaTypes = []string{"application/json", "application/x-www-form-urlencoded"}

// Whatever is sent, a revocation with a success response is the one in the body, once. One that is refused revokes
// nothing.
func FuzzRevokeBody(f *testing.F) {
	s, mine, foreign := newFuzzed(f)
	for _, seed := range []string{
		`{"userId":"ada"}`, `{"userId":"ada","applicationsId":"shop"}`, `{"applicationsId":"shop"}`, `{"allInTenant":true}`,
		`{"allInTenant":false}`, `{}`,
		`{"tokenId":"` + mine.RefreshTokenID + `"}`, `{"tokenString":"` + mine.RefreshToken + `"}`,
		`{"userId":"ada","exceptTokenId":"` + mine.RefreshTokenID + `"}`,
		`{"tokenId":"` + foreign.RefreshTokenID + `"}`, `{"userId":"ada","userID":"bob"}`,
		`{"userId":"ada","applicationsId":""}`, `{"userId":null,"applicationsId":"shop"}`,
		`{"userid":"ada","applicationsId":"shop"}`, `{"userId":"ada"}{"allInTenant":true}`,
	} {
		f.Add(false, []byte(seed))
	}
	for _, seed := range []string{"userId=ada", "userId=ada&applicationsId=shop", "userId=ada&applicationsId",
		"allInTenant=true", "userId=ada;applicationsId=shop", "userId=%00"} {
		f.Add(true, []byte(seed))
	}
	f.Fuzz(func(t *testing.T, form bool, body []byte) {
		mediaType := mediaTypes[0]
		if form {
			mediaType = mediaTypes[1]
		}
		*s.revoked = revocations{Store: s.revoked.Store}
		got := s.ask("DELETE", "/jwt/refresh", string(body), mediaType, s.keys["backend"], aTenant)
		switch {
		case got.status >= 500:
			t.Fatalf("got %d for %q", got.status, body)
		case got.status != 200:
			if len(s.revoked.scopes) > 0 {
				t.Fatalf("%d, and %+v was revoked for %q", got.status, s.revoked.scopes, body)
			}
			return
		}
		says, repeated := said(string(body), mediaType)
		if repeated || len(s.revoked.scopes) != 1 || says == nil {
			t.Fatalf("%q was done, as %+v", body, s.revoked.scopes)
		}
		scope := s.revoked.scopes[0]
		if scope.TenantID != aTenant || says["userId"] != scope.UserID || says["applicationsId"] != scope.ApplicationID {
			t.Fatalf("%q revoked %+v", body, scope)
		}
		_, all := says["allInTenant"]
		if one := len(s.revoked.tokens) == 1; scope == (domain.Scope{TenantID: aTenant}) && !one &&
			(!all || says["allInTenant"] != "true") {
			t.Fatalf("%q revoked everything", body)
		}
		if except := says["exceptTokenId"]; except != "" && s.revoked.spared[0].String() != strings.ToLower(except) {
			t.Fatalf("%q spared %v", body, s.revoked.spared)
		}
	})
}

// Without an API key, a POST is an exchange or is refused. No body makes it a selector, only a genuine token string
// writes to the store, and no response is an internal error.
func FuzzRefreshBodyOfAStranger(f *testing.F) {
	s, mine, foreign := newFuzzed(f)
	for _, seed := range []string{
		`{"refreshToken":"rt_"}`, `{"refreshToken":"` + strings.ToLower(mine.RefreshToken) + `"}`,
		`{"tokenId":"` + mine.RefreshTokenID + `"}`, `{"userId":"ada"}`, `{"id":"x"}`,
		`{"applicationsId":"shop","userId":"ada"}`, `{"refreshToken":"x","userId":"ada"}`, `{"token":"` + mine.Token + `"}`,
		`{"timeToLiveInSeconds":1e3}`, `{}`, ``, `null`,
	} {
		f.Add(false, []byte(seed))
	}
	f.Add(true, []byte("refreshToken=rt_"))
	f.Add(true, []byte("tokenId="+mine.RefreshTokenID))
	f.Add(true, []byte("tokenString="+foreign.RefreshToken))
	f.Fuzz(func(t *testing.T, form bool, body []byte) {
		if bytes.Contains(body, []byte(mine.RefreshToken)) || bytes.Contains(body, []byte(foreign.RefreshToken)) {
			// An exchange would change the state for the next input.
			body = bytes.ReplaceAll(body, []byte("refreshToken"), []byte("refresh_Token"))
		}
		mediaType := mediaTypes[0]
		if form {
			mediaType = mediaTypes[1]
		}
		*s.revoked = revocations{Store: s.revoked.Store}
		writes := len(s.store.writesSoFar())
		got := s.ask("POST", "/jwt/refresh", string(body), mediaType, "", aTenant)
		if got.status != 400 && got.status != 401 && got.status != 413 {
			t.Fatalf("got %d %s for %q", got.status, got.body, body)
		}
		if len(s.store.writesSoFar()) != writes || len(s.revoked.scopes) > 0 {
			t.Fatalf("%d, and something was written for %q", got.status, body)
		}
		says, repeated := said(string(body), mediaType)
		for _, selector := range []string{"id", "tokenId", "userId", "applicationsId"} {
			if _, there := says[selector]; there && !repeated && got.status == 400 && got.outcome() != "" {
				t.Fatalf("%q names %s, and was exchanged", body, selector)
			}
		}
	})
}

// An issue with a success response has stored the members of the body. One that is refused has stored nothing.
func FuzzIssueBody(f *testing.F) {
	s, mine, _ := newFuzzed(f)
	for _, seed := range []string{
		`{"userId":"ada","applicationsId":"shop"}`,
		`{"userId":"ada","applicationsId":"shop","roles":["a","b"],"scopes":["x:y"],"claims":{"plan":"gold","n":1.50}}`,
		`{"userId":"ada","applicationsId":"shop","claims":{"Sub":"root"}}`,
		`{"userId":"ada","applicationsId":"shop","claims":{"sub":"root"}}`,
		`{"userId":"ada","applicationsId":"shop","refreshTokenId":"` + mine.RefreshTokenID + `"}`,
		`{"userId":"a\u0000","applicationsId":"shop"}`,
		`{"usersId":"\u202e","applicationId":"shop","metaData":{"device":{"name":"<b>"},"data":{"":[]}}}`,
		`{"userId":"ada","applicationsId":"shop","roles":["a","a"]}`,
		`{"userId":"ada","applicationsId":"shop","insertInstant":1804136000000,"expirationInstant":1804137000000}`,
		`{"userId":"ada","applicationsId":"shop","clientAddress":"::ffff:203.0.113.7","userAgent":"é"}`,
		`{"userId":"ada","applicationsId":"shop","refreshTokenId":"9b2f6e3c-5a7d-4d41-9e0c-5b7a8d2f1c34"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		s.store.mu.Lock()
		s.store.calls, s.store.writes, s.store.ids = nil, nil, nil
		s.store.mu.Unlock()
		got := s.ask("POST", "/jwt/issue", string(body), mediaTypes[0], s.keys["backend"], aTenant)
		if got.status >= 500 {
			t.Fatalf("got %d for %q", got.status, body)
		}
		if got.status != 200 {
			if w := s.store.writesSoFar(); len(w) > 0 {
				t.Fatalf("%d, and %v for %q", got.status, w, body)
			}
			return
		}
		g, _ := got.tryGrant()
		id, _ := domain.ParseID(g.RefreshTokenID)
		snapshot, err := s.store.Store.Snapshot(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		stored := snapshot.Token
		says, repeated := said(string(body), mediaTypes[0])
		if repeated || stored.TenantID != aTenant || stored.UserID != says["userId"] ||
			stored.ApplicationID != says["applicationsId"] {
			t.Fatalf("%q was stored as %+v", body, stored)
		}
		claims := claimsOf(t, g.Token)
		if claims["sub"] != says["userId"] || claims["tid"] != aTenant || claims["aud"] != says["applicationsId"] ||
			claims["sid"] != g.RefreshTokenID {
			t.Fatalf("%q became the access token %v", body, claims)
		}
		var lists struct{ Roles, Scopes []string }
		if err := json.Unmarshal(body, &lists); err == nil &&
			(!slices.Equal(lists.Roles, stored.Roles) || !slices.Equal(lists.Scopes, stored.Scopes)) {
			t.Fatalf("%q was stored with roles %q, scopes %q", body, stored.Roles, stored.Scopes)
		}
		// The begin and end of a session are in the body or from the policy, and it has not ended yet.
		now := s.clock()
		if ms, said := says["insertInstant"]; said != !stored.IssuedAt.Equal(stored.RotatedAt) || said &&
			ms != fmt.Sprint(stored.IssuedAt.UnixMilli()) {
			t.Fatalf("%q was stored with the insert %s", body, stored.IssuedAt)
		}
		if !stored.ExpiresAt.After(now) || stored.ExpiresAt.After(now.Add(30*24*time.Hour)) || g.ExpiresIn < 1 ||
			g.RefreshTokenExpiresIn < 1 {
			t.Fatalf("%q was stored to expire at %s, with %d and %d seconds left", body, stored.ExpiresAt, g.ExpiresIn,
				g.RefreshTokenExpiresIn)
		}
		if ms, said := says["expirationInstant"]; said && ms[:max(0, len(ms)-3)] != fmt.Sprint(stored.ExpiresAt.Unix()) {
			t.Fatalf("%q was stored to expire at %s", body, stored.ExpiresAt)
		}
		address := stored.MetaData.ClientAddress
		if a, err := netip.ParseAddr(address); address != "" && (err != nil || a.String() != address || a.Is4In6() ||
			a.Zone() != "") {
			t.Fatalf("%q was stored with the address %q", body, address)
		}
	})
}

// A cursor continues the query that returned it, or is refused. Whatever it contains, it leads to no other user and no
// other tenant.
func FuzzCursor(f *testing.F) {
	s, mine, foreign := newFuzzed(f)
	first := s.ask("GET", "/jwt/refresh?userId=ada&limit=1", "", "", s.keys["backend"], aTenant)
	_, rest, _ := strings.Cut(first.header.Get("Link"), "cursor=")
	cursor, _, _ := strings.Cut(rest, "&")
	if cursor == "" {
		f.Fatalf("got no cursor: %d %v", first.status, first.header)
	}
	for _, seed := range []string{cursor, cursor[:31], cursor + "A", "", "=", "%0a" + cursor, strings.Repeat("A", 32),
		strings.Repeat("_", 32), mine.RefreshTokenID, foreign.RefreshTokenID} {
		f.Add("ada", seed)
		f.Add("bob", seed)
	}
	f.Fuzz(func(t *testing.T, user, sent string) {
		got := s.ask("GET", "/jwt/refresh?"+url.Values{"userId": {user}, "cursor": {sent}}.Encode(), "", "",
			s.keys["backend"], aTenant)
		switch got.status {
		case 400:
			if sent == cursor && user == "ada" {
				t.Fatalf("our own cursor is refused, of another limit: %s", got.body)
			}
		case 200:
			var page []struct{ ID, TenantID, UserID string }
			got.data(t, &page)
			for _, entry := range page {
				if entry.TenantID != aTenant || entry.UserID != user {
					t.Fatalf("the cursor %q of %q leads to %+v", sent, user, entry)
				}
			}
		default:
			t.Fatalf("got %d for %q", got.status, sent)
		}
	})
}
