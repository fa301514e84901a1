package adminapi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// key sends a key itself.
func key(text string) option {
	checks.Secrets.Add(text)
	return func(_ *service, r *http.Request) { r.Header.Set("Authorization", text) }
}

const issuing = `"permissions":{"endpoints":{"/jwt/issue":["POST"],"/tenant":["GET"]}}`

// The text of a key is in the response that made it, and in no other one.
func TestAKeyIsShownOnce(t *testing.T) {
	s := newService(t)
	created := s.do(t, "POST", "/api-key", `{"name":"made",`+issuing+`}`).want(t, 201)
	text, path := created.member(t, "key"), "/api-key/"+created.member(t, "id")
	if created.Header.Get("Cache-Control") != "no-store" || len(text) < 27 || !strings.HasPrefix(text, "ak_") {
		t.Errorf("got the key %q, Cache-Control %q", text, created.Header.Get("Cache-Control"))
	}
	s.do(t, "GET", "/tenant", "", key(text)).want(t, 200)
	for _, a := range []*answer{
		s.do(t, "GET", path, "").want(t, 200), s.do(t, "GET", "/api-key", "").want(t, 200),
		s.do(t, "PATCH", path, `{"expiresAt":"2030-01-31T12:00:00Z"}`).want(t, 200),
		s.do(t, "PUT", path, `{"name":"made",`+issuing+`}`).want(t, 200),
	} {
		if strings.Contains(string(a.Data), "ak_") || a.Header.Get("Cache-Control") != "" {
			t.Errorf("got %s, %v", a.Data, a.Header)
		}
	}

	// A key that the request has is not repeated.
	const given = "ak_given-0123456789-0123456789"
	document := `{"name":"given","key":"` + given + `",` + issuing + `}`
	created = s.do(t, "POST", "/api-key", document, key(s.keys["root"])).want(t, 201)
	if created.member(t, "key") != "" {
		t.Errorf("got %s", created.Data)
	}
	s.do(t, "GET", "/tenant", "", key(given)).want(t, 200)
	s.do(t, "POST", "/api-key", `{"name":"other","key":"`+given+`"}`).want(t, 400, "[duplicate]key")
	s.do(t, "POST", "/api-key", `{"name":"given"}`).want(t, 400, "[duplicate]name")
	refused := s.do(t, "POST", "/api-key", `{"name":"short","key":"ak_short-secret"}`).want(t, 400, "[invalid]key")
	if strings.Contains(fmt.Sprint(refused.Errors), "short-secret") {
		t.Errorf("the refusal has the key: %v", refused.Errors)
	}
}

// A key is changed without an outage: the former text is valid until it is ended.
func TestAKeyIsChangedWithoutAnOutage(t *testing.T) {
	s := newService(t)
	created := s.do(t, "POST", "/api-key", `{"name":"made",`+issuing+`}`).want(t, 201)
	first, path := created.member(t, "key"), "/api-key/"+created.member(t, "id")
	works := func(text string, want int) {
		t.Helper()
		s.do(t, "GET", "/tenant", "", key(text)).want(t, want)
	}
	renewed := s.do(t, "POST", path+"/key", "", ifMatch(created.tag())).want(t, 200)
	second := renewed.member(t, "key")
	if second == first || second == "" || !strings.Contains(string(renewed.Data), `"hasPreviousKey":true`) {
		t.Errorf("got %s after %q", renewed.Data, first)
	}
	works(first, 200)
	works(second, 200)
	s.do(t, "POST", path+"/key", "", ifMatch(created.tag())).want(t, 412, "[stale]If-Match")
	s.do(t, "DELETE", path+"/key", "", ifMatch(created.tag())).want(t, 412, "[stale]If-Match")

	// A third key would end the first one, which is refused in every way to give one, unless the request says so.
	const none, given = "ak_none-0123456789-0123456789-", "ak_given-0123456789-0123456789"
	events := s.events(t)
	found := s.do(t, "GET", path, "").want(t, 200)
	for _, try := range []struct{ method, path, body string }{
		{"POST", path + "/key", ""}, {"POST", path + "/key", "{}"}, {"POST", path + "/key", `{"force":false}`},
		{"PATCH", path, `{"key":"` + none + `"}`},
		{"PUT", path, `{"name":"made","key":"` + none + `",` + issuing + `}`},
	} {
		s.do(t, try.method, try.path, try.body).want(t, 409, "[conflict]key")
	}
	if s.events(t) != events || s.do(t, "GET", path, "").want(t, 200).tag() != found.tag() {
		t.Error("a replacement that was refused is a change")
	}
	works(first, 200)
	works(second, 200)
	works(none, 401)
	third := s.do(t, "POST", path+"/key", `{"force":true}`).want(t, 200).member(t, "key")
	works(first, 401)
	works(second, 200)
	works(third, 200)
	found = s.do(t, "GET", path, "").want(t, 200)
	s.do(t, "PUT", path, string(found.Data)).want(t, 200) // a document that was read can be sent back
	for _, body := range []string{`{"hasPreviousKey":false}`, `{"name":"made","hasPreviousKey":false}`} {
		method := map[bool]string{true: "PUT", false: "PATCH"}[strings.Contains(body, "name")]
		s.do(t, method, path, body).want(t, 400, "[conflict]hasPreviousKey")
	}
	end := func(want string) {
		t.Helper()
		if data := string(s.do(t, "DELETE", path+"/key", "").want(t, 200).Data); !strings.HasPrefix(data, want) {
			t.Errorf("the end of the previous key: got %s, want it to begin with %s", data, want)
		}
	}
	end(`{"endedPreviousKey":true,`)
	works(second, 401)
	works(third, 200)
	events = s.events(t)
	end(`{"endedPreviousKey":false,`)
	if s.events(t) != events {
		t.Error("the end of no key is an event")
	}

	// A text that is given becomes the present one, too. The text that it replaced can be given back, which ends none.
	s.do(t, "PATCH", path, `{"key":"`+given+`"}`).want(t, 200)
	works(third, 200)
	works(given, 200)
	s.do(t, "PATCH", path, `{"key":"`+third+`"}`).want(t, 200)
	works(given, 200)
	s.do(t, "DELETE", path, "").want(t, 200)
	works(third, 401)
	works(given, 401)
	s.do(t, "POST", path+"/key", "").want(t, 404)
	s.do(t, "DELETE", path+"/key", "").want(t, 404)
	s.do(t, "POST", "/api-key/none/key", "").want(t, 404)
}

// A manager cannot make a key wider than itself, neither by a new one nor by a change, and cannot get the text of a
// wider one.
func TestAManagerMakesNoKeyWiderThanItself(t *testing.T) {
	s := newService(t)
	manager := s.do(t, "POST", "/api-key", `{"name":"manager","tenantId":"acme","expiresAt":"2030-01-31T12:00:00Z",`+
		`"permissions":{"endpoints":{"/api-key":["*"],"/jwt/refresh":["GET","DELETE"]}}}`).want(t, 201)
	as := key(manager.member(t, "key"))
	narrow := func(change func(map[string]any)) string {
		d := map[string]any{
			"name": "narrow", "tenantId": acme, "expiresAt": "2029-01-31T12:00:00Z",
			"permissions": map[string]any{"endpoints": map[string]any{"/jwt/refresh": []string{"GET"}}},
		}
		change(d)
		text, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	permit := func(endpoint string, methods ...string) func(map[string]any) {
		return func(d map[string]any) {
			d["permissions"] = map[string]any{"endpoints": map[string]any{endpoint: methods}}
		}
	}
	created := s.do(t, "POST", "/api-key", narrow(func(map[string]any) {}), as).want(t, 201)
	path := "/api-key/" + created.member(t, "id")
	for name, try := range map[string]struct {
		change func(map[string]any)
		code   string
	}{
		"every tenant":     {func(d map[string]any) { delete(d, "tenantId") }, "[forbidden]tenantId"},
		"another tenant":   {func(d map[string]any) { d["tenantId"] = globex }, "[forbidden]tenantId"},
		"without end":      {func(d map[string]any) { delete(d, "expiresAt") }, "[forbidden]expiresAt"},
		"longer":           {func(d map[string]any) { d["expiresAt"] = "2030-02-01T00:00:00Z" }, "[forbidden]expiresAt"},
		"another endpoint": {permit("/jwt/issue", "POST"), "[forbidden]permissions.endpoints./jwt/issue"},
		"another method":   {permit("/jwt/refresh", "PATCH"), "[forbidden]permissions.endpoints./jwt/refresh"},
		"all methods":      {permit("/jwt/refresh", "*"), "[forbidden]permissions.endpoints./jwt/refresh"},
		"all endpoints":    {permit("*", "POST"), "[forbidden]permissions.endpoints.*"},
		"administration":   {permit("/tenant", "GET"), "[forbidden]permissions.endpoints./tenant"},
	} {
		t.Run(name, func(t *testing.T) {
			body := narrow(try.change)
			s.do(t, "POST", "/api-key", strings.Replace(body, "narrow", "wide", 1), as).want(t, 400, try.code)
			s.do(t, "POST", "/api-key/01000000-0000-7000-8000-000000000001", strings.Replace(body, "narrow", "wide", 1), as).
				want(t, 400, try.code)
			s.do(t, "PUT", path, body, as).want(t, 400, try.code)
			patch := body
			for _, name := range []string{"tenantId", "expiresAt"} {
				if !strings.Contains(patch, name) {
					patch = `{"` + name + `":null,` + patch[1:]
				}
			}
			s.do(t, "PATCH", path, patch, as).want(t, 400, try.code)
		})
	}
	wider := s.do(t, "POST", "/api-key", narrow(func(d map[string]any) {
		permit("/jwt/issue", "POST")(d)
		d["name"] = "wider"
	})).want(t, 201)
	before := s.events(t)
	at := "/api-key/" + wider.member(t, "id")
	s.do(t, "GET", at, "", as).want(t, 200)
	for _, try := range []struct{ method, path, body string }{
		{"POST", at + "/key", ""}, {"DELETE", at + "/key", ""}, {"DELETE", at, ""},
		{"PATCH", at, `{"key":"ak_taken-over-0123456789-012345"}`}, {"PUT", at, narrow(func(map[string]any) {})},
	} {
		s.do(t, try.method, try.path, try.body, as).want(t, 401)
	}
	if s.events(t) != before {
		t.Error("a refused request is an event of a change")
	}
}

// The keys of the service are listed without their secrets, those of a tenant to that tenant only.
func TestKeysAreListed(t *testing.T) {
	s := newService(t)
	var ofAcme, all, kinds int
	visit := func(count *int) func(string, json.RawMessage) {
		return func(id string, row json.RawMessage) {
			*count++
			var k struct{ Kind, TenantID string }
			if err := json.Unmarshal(row, &k); err != nil {
				t.Fatal(err)
			}
			if k.Kind != "signing" {
				kinds++
				return
			}
			want := 200
			in := tenant(globex)
			if k.TenantID != globex {
				want = 404
			}
			s.do(t, "GET", "/key/"+id, "", in).want(t, want)
			s.do(t, "GET", "/key/"+id, "").want(t, 200).is(t, string(row))
		}
	}
	s.walk(t, "/key", "?limit=1", tenant(acme), visit(&ofAcme))
	s.walk(t, "/key", "?limit=2", func(*service, *http.Request) {}, visit(&all))
	if ofAcme != 1 || all < 2+3 || kinds == 0 {
		t.Errorf("got %d keys, %d of acme, %d not for signing", all, ofAcme, kinds)
	}
	s.do(t, "GET", "/key/nothing", "").want(t, 404)
	s.do(t, "GET", "/key/%00", "").want(t, 404)
	s.do(t, "POST", "/key", "{}").want(t, 405)
}
