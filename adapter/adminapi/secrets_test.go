package adminapi_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/refreshd/refreshd/domain"
)

var clientSecret = regexp.MustCompile(`^[A-Za-z0-9]{43}$`)

// A client secret is made, replaced and ended without an outage, and is in no response but the one that made it. Its
// hash is in none.
func TestAClientSecretIsShownOnceAndReplacedWithoutAnOutage(t *testing.T) {
	s := newService(t)
	const path = "/application/shop"
	in := tenant(acme)
	stored := func() []domain.ClientSecret {
		t.Helper()
		a, err := s.store.Application(t.Context(), acme, "shop")
		if err != nil {
			t.Fatal(err)
		}
		return a.Client.Secrets
	}
	made := func(body string, more ...option) *answer {
		t.Helper()
		a := s.do(t, "POST", path+"/secret", body, append(more, in)...).want(t, 200)
		secret := a.member(t, "clientSecret")
		if !clientSecret.MatchString(secret) || a.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("got the secret %q, Cache-Control %q", secret, a.Header.Get("Cache-Control"))
		}
		checks.Secrets.Add(secret)
		checks.Secrets.Add(stored()[0].Hash)
		return a
	}
	before := s.do(t, "GET", path, "", in).want(t, 200)
	if strings.Contains(string(before.Data), "clientSecrets") {
		t.Errorf("a public client: %s", before.Data)
	}
	first := made("", ifMatch(before.tag()))
	s.do(t, "POST", path+"/secret", "", in, ifMatch(before.tag())).want(t, 412, "[stale]If-Match")
	s.do(t, "DELETE", path+"/secret", "", in, ifMatch(before.tag())).want(t, 412, "[stale]If-Match")
	one := stored()
	second := made("{}")
	two := stored()
	if len(one) != 1 || len(two) != 2 || two[1] != one[0] ||
		first.member(t, "clientSecret") == second.member(t, "clientSecret") {
		t.Errorf("got %d secrets, then %d", len(one), len(two))
	}

	// A third one would end the first one, unless the request says so.
	events := s.events(t)
	for _, body := range []string{"", "{}", `{"force":false}`} {
		s.do(t, "POST", path+"/secret", body, in).want(t, 409, "[conflict]clientSecrets")
	}
	if s.events(t) != events || len(stored()) != 2 || stored()[0] != two[0] {
		t.Error("a secret that was refused is a change")
	}
	made(`{"force":true}`)
	if three := stored(); len(three) != 2 || three[1] != two[0] {
		t.Error("a forced secret did not end the older one")
	}

	// A document that was read can be sent back, and changes no secret. No document changes one.
	kept := stored()
	found := s.do(t, "GET", path, "", in).want(t, 200)
	s.do(t, "PUT", path, string(found.Data), in).want(t, 200)
	s.do(t, "PUT", path, `{"name":"Renamed"}`, in).want(t, 200)
	s.do(t, "PATCH", path, `{"name":"Again"}`, in).want(t, 200)
	for _, body := range []string{`{"clientSecrets":[]}`, `{"clientSecrets":[{"createdInstant":1}]}`} {
		s.do(t, "PATCH", path, body, in).want(t, 400, "[conflict]clientSecrets")
		s.do(t, "PUT", path, body, in).want(t, 400, "[conflict]clientSecrets")
	}
	s.do(t, "POST", "/application/new", `{"clientSecrets":[{"createdInstant":1}]}`, in).
		want(t, 400, "[conflict]clientSecrets")
	s.do(t, "PATCH", path, `{"clientSecrets":[{"secret":"a-secret-of-24-characters"}]}`, in).
		want(t, 400, "[unknown]clientSecrets.secret")
	if now := stored(); len(now) != 2 || now[0] != kept[0] || now[1] != kept[1] {
		t.Error("a document changed the secrets")
	}

	end := func(query, want string) {
		t.Helper()
		if data := string(s.do(t, "DELETE", path+"/secret"+query, "", in).want(t, 200).Data); !strings.HasPrefix(data, want) {
			t.Errorf("the end of a secret: got %s, want it to begin with %s", data, want)
		}
	}
	end("", `{"endedSecrets":1,`)
	if now := stored(); len(now) != 1 || now[0] != kept[0] {
		t.Error("the end of the previous secret ended the newest")
	}
	events = s.events(t)
	end("?all=false", `{"endedSecrets":0,`)
	if s.events(t) != events {
		t.Error("the end of no secret is an event")
	}
	end("?all=true", `{"endedSecrets":1,`)
	if len(stored()) != 0 {
		t.Error("a secret is left")
	}
	s.do(t, "POST", "/application/none/secret", "", in).want(t, 404)
	s.do(t, "DELETE", "/application/none/secret", "", in).want(t, 404)
	trail := string(s.do(t, "GET", "/audit?limit=100", "").want(t, 200).Data)
	if !strings.Contains(trail, "clientSecrets") || strings.Contains(trail, first.member(t, "clientSecret")) {
		t.Errorf("the audit trail: %s", trail)
	}
}

// Keys, audiences and origins are written, changed and removed as every field. One object has one text.
func TestAClientIsAdministered(t *testing.T) {
	s := newService(t)
	in := tenant(acme)
	const path = "/application/shop"
	const key = `{"crv":"Ed25519","kty":"OKP","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`
	s.do(t, "PATCH", path, `{"audiences":["https://api.example.com"],"origins":["https://app.example.com"],
		"clientKeys":{"keys":[{"x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kty":"OKP","crv":"Ed25519"}]}}`, in).want(t, 200)
	found := s.do(t, "GET", path, "", in).want(t, 200)
	const want = `"audiences":["https://api.example.com"],"origins":["https://app.example.com"],` +
		`"clientKeys":{"keys":[` + key + `]}`
	if !strings.Contains(string(found.Data), want) {
		t.Errorf("got %s", found.Data)
	}
	events := s.events(t)
	s.do(t, "PUT", path, string(found.Data), in).want(t, 200)
	if s.events(t) != events {
		t.Error("the same document is a change")
	}
	for body, code := range map[string]string{
		`{"clientKeys":{"keys":[]}}`:                                    "[invalid]clientKeys",
		`{"clientKeys":{}}`:                                             "[invalid]clientKeys",
		`{"clientKeys":[]}`:                                             "[invalid]clientKeys",
		`{"clientKeys":{"keys":[{"kty":"oct","k":"a"}]}}`:               "[invalid]clientKeys",
		`{"clientKeys":{"keys":[{"kty":"OKP","x":"a","d":"private"}]}}`: "[invalid]clientKeys",
		`{"audiences":["a b"]}`:                                         "[invalid]audiences[0]",
		`{"origins":["https://app.example.com/"]}`:                      "[invalid]origins[0]",
	} {
		s.do(t, "PATCH", path, body, in).want(t, 400, code)
	}
	s.do(t, "PATCH", path, `{"audiences":null,"origins":[],"clientKeys":null}`, in).want(t, 200)
	if found := s.do(t, "GET", path, "", in).want(t, 200); string(found.Data) != `{"id":"shop","name":"Acme's"}` {
		t.Errorf("got %s", found.Data)
	}
	s.do(t, "PATCH", "/tenant/acme", `{"authorizationEndpoint":"https://login.acme.example/authorize",
		"endSessionEndpoint":"https://login.acme.example/end","userinfoEndpoint":"https://login.acme.example/me"}`).want(t, 200)
	s.do(t, "PATCH", "/tenant/acme", `{"userinfoEndpoint":null}`).want(t, 200)
	if data := string(s.do(t, "GET", "/tenant/acme", "").want(t, 200).Data); strings.Contains(data, "userinfoEndpoint") ||
		!strings.Contains(data, `"authorizationEndpoint":"https://login.acme.example/authorize"`) {
		t.Errorf("got %s", data)
	}
	s.do(t, "PATCH", "/tenant/acme", `{"userinfoEndpoint":"ftp://a"}`).want(t, 400, "[invalid]userinfoEndpoint")
}
