package adminapi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// A kind is what the tests need to know of a kind of objects that are written.
type kind struct {
	path, noun   string
	in           option // the tenant that its requests name
	body         string // without an id
	stored       string // the same as it is retrieved, without the id
	other        string // a member with another value
	changed      string // the object then
	unset, typed string // a member that null removes, and one with a wrong type
}

var kinds = []kind{
	{path: "/tenant", noun: "tenant", in: func(*service, *http.Request) {},
		body:    `{"name":"New","jwtConfiguration":{"algorithm":"ES256","timeToLiveInSeconds":60}}`,
		stored:  `"name":"New","jwtConfiguration":{"timeToLiveInSeconds":60,"algorithm":"ES256"}`,
		other:   `{"name":"Newer","jwtConfiguration":{"timeToLiveInSeconds":null}}`,
		changed: `"name":"Newer","jwtConfiguration":{"algorithm":"ES256"}`, unset: "name", typed: `{"active":1}`},
	{path: "/application", noun: "application", in: tenant(acme),
		body:    `{"name":"New","jwtConfiguration":{"refreshTokenUsagePolicy":"Reusable"}}`,
		stored:  `"name":"New","jwtConfiguration":{"refreshTokenUsagePolicy":"Reusable"}`,
		other:   `{"active":false,"jwtConfiguration":null}`,
		changed: `"name":"New","active":false`, unset: "name", typed: `{"active":1}`},
	{path: "/api-key", noun: "API key", in: func(*service, *http.Request) {},
		body:   `{"name":"new","tenantId":"acme","permissions":{"endpoints":{"/jwt/issue":["POST"]}}}`,
		stored: `"name":"new","tenantId":"acme","permissions":{"endpoints":{"/jwt/issue":["POST"]}},"hasPreviousKey":false`,
		other:  `{"permissions":{"endpoints":{"/jwt/issue":null,"/jwt/refresh":["GET"]}},"expiresAt":"2030-01-31T12:00:00Z"}`,
		changed: `"name":"new","tenantId":"acme","permissions":{"endpoints":{"/jwt/refresh":["GET"]}},` +
			`"expiresAt":"2030-01-31T12:00:00Z","hasPreviousKey":false`,
		unset: "expiresAt", typed: `{"name":1}`},
}

func eachKind(t *testing.T, test func(t *testing.T, s *service, k kind)) {
	for _, k := range kinds {
		t.Run(k.noun, func(t *testing.T) { test(t, newService(t), k) })
	}
}

// create creates an object of the kind, and returns it with the path of it.
func (k kind) create(t *testing.T, s *service) (path string, created *answer) {
	t.Helper()
	created = s.do(t, "POST", k.path, k.body, k.in).want(t, 201)
	return k.path + "/" + created.member(t, "id"), created
}

// An object is created, found, listed, replaced, changed and deleted, and each response has it as it then is.
func TestAnObjectIsAdministered(t *testing.T) {
	eachKind(t, func(t *testing.T, s *service, k kind) {
		path, created := k.create(t, s)
		id := created.member(t, "id")
		if len(id) != 36 || created.Header.Get("Location") != "."+path {
			t.Errorf("got the id %q at %q", id, created.Header.Get("Location"))
		}
		found := s.do(t, "GET", path, "", k.in).want(t, 200).is(t, `{"id":"`+id+`",`+k.stored+`}`)
		if found.tag() == "" || found.tag() != created.tag() {
			t.Errorf("got the ETags %s when created and %s when found", created.tag(), found.tag())
		}
		head := s.do(t, "HEAD", path, "", k.in).want(t, 200)
		if head.tag() != found.tag() || head.Header.Get("Content-Length") != fmt.Sprint(found.ContentLength) &&
			found.ContentLength >= 0 {
			t.Errorf("HEAD: got %v, want as GET %v", head.Header, found.Header)
		}
		s.do(t, "GET", path, "", k.in, header("If-None-Match", found.tag())).want(t, 304)
		s.do(t, "GET", path, "", k.in, header("If-None-Match", `W/"0", `+found.tag())).want(t, 304)
		s.do(t, "GET", path+"/", "", k.in, header("If-None-Match", `"0"`)).want(t, 200)
		list := s.do(t, "GET", k.path+"/", "", k.in).want(t, 200)
		if !strings.Contains(string(list.Data), string(found.Data)) {
			t.Errorf("the list is %s, want %s in it", list.Data, found.Data)
		}

		// The same document again changes nothing, so it is no event, and no other version.
		events := s.events(t)
		same := s.do(t, "PUT", path, string(found.Data), k.in, ifMatch(found.tag())).want(t, 200).is(t, string(found.Data))
		s.do(t, "PATCH", path, `{}`, k.in).want(t, 200).is(t, string(found.Data))
		if same.tag() != found.tag() || s.events(t) != events {
			t.Errorf("the same document: got the ETag %s after %s, and %d events after %d", same.tag(), found.tag(),
				s.events(t), events)
		}
		s.do(t, "PATCH", path, k.other, k.in, ifMatch(found.tag()), header("Content-Type", "")).want(t, 415)
		changed := s.do(t, "PATCH", path, k.other, k.in, ifMatch(found.tag()), mergePatch).want(t, 200).
			is(t, `{"id":"`+id+`",`+k.changed+`}`)
		if changed.tag() == found.tag() || s.events(t) != events+1 {
			t.Errorf("the ETag is still %s, or there are %d events", changed.tag(), s.events(t)-events)
		}
		s.do(t, "PATCH", path, `{"`+k.unset+`":null}`, k.in).want(t, 200)
		s.do(t, "PUT", path, k.body, k.in).want(t, 200).is(t, `{"id":"`+id+`",`+k.stored+`}`)
		s.do(t, "DELETE", path, "", k.in).want(t, 200).is(t, `{"id":"`+id+`"}`)
		for _, method := range []string{"GET", "DELETE"} {
			s.do(t, method, path, "", k.in).want(t, 404)
		}
		s.do(t, "PUT", path, k.body, k.in).want(t, 404)
		s.do(t, "PATCH", path, `{}`, k.in, ifMatch(found.tag())).want(t, 404)
	})
}

// Location leads to the object from the URL of the request as it was sent, below any prefix.
func TestLocationLeadsToTheObject(t *testing.T) {
	eachKind(t, func(t *testing.T, s *service, k kind) {
		for n, target := range []string{k.path, k.path + "/", k.path + "/%s", k.path + "/%s/"} {
			id := fmt.Sprintf("01000000-0000-7000-8000-00000000000%d", n)
			if strings.Contains(target, "%s") {
				target = fmt.Sprintf(target, id)
			}
			body := strings.Replace(k.body, `"new"`, fmt.Sprintf(`"new %d"`, n), 1)
			created := s.do(t, "POST", target, body, k.in).want(t, 201)
			at, err := url.Parse("https://proxy.example/prefix" + target)
			if err != nil {
				t.Fatal(err)
			}
			to, err := at.Parse(created.Header.Get("Location"))
			if want := "/prefix" + k.path + "/" + created.member(t, "id"); err != nil || to.Path != want {
				t.Errorf("POST %s: Location leads to %v, want %s", target, to, want)
			}
		}
	})
}

// An id is in the path or made. Another one in the body would be ambiguous.
func TestTheIdIsThatOfThePath(t *testing.T) {
	eachKind(t, func(t *testing.T, s *service, k kind) {
		const id, other = "01000000-0000-7000-8000-000000000001", "01000000-0000-7000-8000-000000000002"
		with := func(id string) string { return `{"id":"` + id + `",` + k.body[1:] }
		s.do(t, "POST", k.path, with(id), k.in).want(t, 400, "[conflict]id")
		s.do(t, "POST", k.path+"/"+other, with(id), k.in).want(t, 400, "[conflict]id")
		s.do(t, "POST", k.path+"/"+id, with(id), k.in).want(t, 201)
		s.do(t, "POST", k.path+"/"+id, k.body, k.in).want(t, 400, "[duplicate]id")
		path := k.path + "/" + id
		s.do(t, "PUT", path, with(other), k.in).want(t, 400, "[conflict]id")
		s.do(t, "PUT", path, with(id), k.in).want(t, 200)
		s.do(t, "PATCH", path, `{"id":"`+other+`"}`, k.in).want(t, 400, "[conflict]id")
		s.do(t, "PATCH", path, `{"id":null}`, k.in).want(t, 400, "[conflict]id")
		s.do(t, "PATCH", path, `{"id":"`+id+`"}`, k.in).want(t, 200)
		for _, unfit := range []string{"%00", "%ff", "x%2Fy%20z", strings.Repeat("x", 300)} {
			s.do(t, "GET", k.path+"/"+unfit, "", k.in).want(t, 404)
			s.do(t, "DELETE", k.path+"/"+unfit, "", k.in).want(t, 404)
			s.do(t, "PATCH", k.path+"/"+unfit, "{}", k.in).want(t, 404)
		}
	})
}

// What a body must not have is refused, whether or not the object exists.
func TestABodyIsReadStrictly(t *testing.T) {
	eachKind(t, func(t *testing.T, s *service, k kind) {
		path, _ := k.create(t, s)
		for _, target := range []string{path, k.path + "/01000000-0000-7000-8000-000000000001"} {
			for _, method := range []string{"POST", "PUT", "PATCH"} {
				for body, code := range map[string]string{
					`{"nmae":"x"}`: "[unknown]nmae", `{"Name":"x"}`: "[unknown]Name", `{"name":"x","name":"y"}`: "[repeated]name",
					`[]`: "[invalid]", `{}x`: "[invalid]", k.typed: "[invalid]" + k.typed[2:strings.LastIndex(k.typed, `"`)],
				} {
					s.do(t, method, target, body, k.in).want(t, 400, code)
				}
			}
			s.do(t, "PATCH", target, `{"nmae":null}`, k.in).want(t, 400, "[unknown]nmae")
			s.do(t, "PUT", target, `{"name":null}`, k.in).want(t, 400, "[invalid]name")
			for _, tag := range []string{`5`, `"5`, `W/5`, `"5" "6"`, `x"5"`, `*, "5"`} {
				s.do(t, "PATCH", target, `{}`, k.in, ifMatch(tag)).want(t, 400, "[invalid]If-Match")
				s.do(t, "DELETE", target, ``, k.in, ifMatch(tag)).want(t, 400, "[invalid]If-Match")
			}
		}
	})
}

// Two operators read the same version and change the object concurrently: one wins, the other one gets 412, and nothing
// of the first change is lost.
func TestOfTwoOperatorsOneIsRefused(t *testing.T) {
	eachKind(t, func(t *testing.T, s *service, k kind) {
		path, created := k.create(t, s)
		bodies := []string{`{"name":"one"}`, `{"name":"two"}`}
		answers := make([]*answer, len(bodies))
		var both sync.WaitGroup
		for i, body := range bodies {
			both.Go(func() {
				answers[i] = s.do(t, "PATCH", path, body, k.in, ifMatch(created.tag()))
			})
		}
		both.Wait()
		winner := 0
		if answers[0].StatusCode != 200 {
			winner = 1
		}
		answers[winner].want(t, 200)
		answers[1-winner].want(t, 412, "[stale]If-Match")
		s.do(t, "GET", path, "", k.in).want(t, 200).is(t, string(answers[winner].Data))

		now := answers[winner].tag()
		for _, stale := range []string{created.tag(), `"x"`, `W/` + now, `"01"`, `"",` + created.tag(), ``} {
			for _, method := range []string{"PUT", "PATCH", "DELETE"} {
				body := map[string]string{"PUT": k.body, "PATCH": "{}"}[method]
				s.do(t, method, path, body, k.in, ifMatch(stale)).want(t, 412, "[stale]If-Match")
			}
		}
		s.do(t, "GET", path, "", k.in).want(t, 200).is(t, string(answers[winner].Data))
		s.do(t, "PATCH", path, `{}`, k.in, ifMatch(created.tag()+" , "+now)).want(t, 200)
		s.do(t, "PATCH", path, `{}`, k.in, ifMatch("*")).want(t, 200)
		s.do(t, "DELETE", path, ``, k.in, ifMatch(now)).want(t, 200)
	})
}

// A list has every object once, in pages, whose links are relative.
func TestAListHasEveryObjectOnce(t *testing.T) {
	eachKind(t, func(t *testing.T, s *service, k kind) {
		want := map[string]bool{}
		for n := range 7 {
			body := strings.Replace(k.body, `"new"`, fmt.Sprintf(`"new %d"`, n), 1)
			want[s.do(t, "POST", k.path, body, k.in).want(t, 201).member(t, "id")] = true
		}
		link := s.walk(t, k.path, "?limit=2", k.in, func(id string, _ json.RawMessage) { delete(want, id) })
		if len(want) > 0 {
			t.Errorf("the list has not %v", want)
		}
		s.do(t, "GET", k.path+link, "", tenant(globex)).want(t, 400, "[invalid]cursor")
		for _, other := range kinds {
			if other.path != k.path {
				s.do(t, "GET", other.path+link, "", other.in).want(t, 400, "[invalid]cursor")
			}
		}
		for query, code := range map[string]string{
			"?limit=0": "[invalid]limit", "?limit=1001": "[invalid]limit", "?limit=x": "[invalid]limit",
			"?cursor=": "[invalid]cursor", "?cursor=AAAA": "[invalid]cursor", "?cursor=AAAAAAAAAAAAAAAA": "[invalid]cursor",
			"?limit=1&limit=2": "[repeated]limit",
		} {
			s.do(t, "GET", k.path+query, "", k.in).want(t, 400, code)
		}
	})
}

// A page ends when its JSON is long, whatever its limit is. It is held in memory until its reader has received it.
func TestAPageEndsAfterAMegabyte(t *testing.T) {
	s := newService(t)
	const each = 15_000 // bytes
	endpoints := map[string][]string{}
	for size := 0; size < each; size += 50 {
		endpoints[fmt.Sprintf("/tenant/:%040d", size)] = []string{"GET"}
	}
	text, err := json.Marshal(endpoints)
	if err != nil {
		t.Fatal(err)
	}
	const objects = 100
	for n := range objects {
		s.do(t, "POST", "/api-key", fmt.Sprintf(`{"name":"n%d","permissions":{"endpoints":%s}}`, n, text)).want(t, 201)
	}
	first := s.do(t, "GET", "/api-key?limit=1000", "").want(t, 200)
	if n := len(first.Data); n < 1<<20 || n > 1<<20+2*each || first.Header.Get("Link") == "" {
		t.Errorf("a page has %d bytes, and the link %q", n, first.Header.Get("Link"))
	}
	found := 0
	s.walk(t, "/api-key", "?limit=1000", tenant(""), func(string, json.RawMessage) { found++ })
	if want := objects + len(standardKeys); found != want {
		t.Errorf("got %d API keys, want %d", found, want)
	}
}

// walk reads a list to its end, and returns the link to its last page.
func (s *service) walk(
	t *testing.T, path, query string, in option, visit func(id string, row json.RawMessage),
) (link string) {
	t.Helper()
	seen := map[string]bool{}
	for {
		page := s.do(t, "GET", path+query, "", in).want(t, 200)
		var rows []json.RawMessage
		if err := json.Unmarshal(page.Data, &rows); err != nil {
			t.Fatal(err)
		}
		for _, row := range rows {
			var object struct{ ID, Kind string }
			if err := json.Unmarshal(row, &object); err != nil || object.ID != "" && seen[object.ID] {
				t.Fatalf("got %s twice, or %v", row, err)
			}
			seen[object.ID] = true
			visit(object.ID, row)
		}
		next, more := strings.CutSuffix(page.Header.Get("Link"), `>; rel="next"`)
		if !more {
			return link
		}
		query = strings.TrimPrefix(next, "<")
		link = query
	}
}

// A write without If-Match reads again if another one comes between. Then a PATCH loses nothing of it.
func TestAPatchWithoutConditionLosesNothing(t *testing.T) {
	s := newService(t)
	for _, path := range []string{"/tenant/acme", "/application/shop"} {
		in := tenant(acme)
		s.store.onWrite = func() {
			s.do(t, "PATCH", path, `{"name":"by another operator"}`, in).want(t, 200)
		}
		s.do(t, "PATCH", path, `{"cookieOnly":false}`, in).want(t, 200)
		got := s.do(t, "GET", path, "", in).want(t, 200)
		if got.member(t, "name") != "by another operator" || !strings.Contains(string(got.Data), `"cookieOnly":false`) {
			t.Errorf("%s: got %s", path, got.Data)
		}
	}
}

// Among endless concurrent writes it gives up, and says so.
func TestEndlessContentionIsUnavailable(t *testing.T) {
	s := newService(t)
	n := 0
	var again func()
	again = func() {
		n++
		s.do(t, "PATCH", "/tenant/acme", fmt.Sprintf(`{"name":"%d"}`, n), as("acme root")).want(t, 200)
		s.store.onWrite = again
	}
	s.store.onWrite = again
	s.do(t, "PATCH", "/tenant/acme", `{"cookieOnly":false}`).want(t, 503)
}

// The body of a request to a tenant points to where applications are changed.
func TestATenantHasNoApplicationsInIt(t *testing.T) {
	s := newService(t)
	for _, method := range []string{"PUT", "PATCH"} {
		got := s.do(t, method, "/tenant/acme", `{"applications":[]}`).want(t, 400, "[unknown]applications")
		if message := got.Errors.FieldErrors["applications"][0].Message; !strings.Contains(message, "/application") {
			t.Errorf("got %q", message)
		}
	}
}

// The settings of a tenant are checked with those of its stored applications, and the one that would become impossible
// is named.
func TestATenantIsCheckedWithItsApplications(t *testing.T) {
	s := newService(t)
	s.do(t, "PATCH", "/application/shop", `{"cookieName":"__Host-shop"}`, tenant(acme)).want(t, 200)
	s.do(t, "PATCH", "/tenant/globex", `{"cookieDomain":"acme.example"}`).want(t, 200)
	for method, body := range map[string]string{
		"PUT": `{"cookieDomain":"acme.example"}`, "PATCH": `{"cookieDomain":"acme.example"}`,
	} {
		got := s.do(t, method, "/tenant/acme", body)
		if text := fmt.Sprint(got.Errors); got.StatusCode != 400 || !strings.Contains(text, "shop") {
			t.Errorf("%s: got %d %s, want the application shop named", method, got.StatusCode, text)
		}
	}
	s.do(t, "PATCH", "/tenant/acme", `{"issuer":"https://x.example"}`).want(t, 200)
	s.do(t, "PATCH", "/tenant/globex", `{"issuer":"https://x.example"}`).want(t, 400, "[duplicate]issuer")
	s.do(t, "PATCH", "/tenant/globex", `{"issuer":"`+publicURL+`/t/acme"}`).want(t, 400, "[conflict]issuer")
}

// The line of a write names the object and the API key.
func TestAWriteIsLogged(t *testing.T) {
	s := newService(t)
	created := s.do(t, "POST", "/tenant", `{"name":"logged"}`, header("X-Request-Id", "a-logged-write")).want(t, 201)
	line := ""
	for l := range strings.Lines(checks.Log.String()) {
		if strings.Contains(l, `"id":"a-logged-write"`) {
			line = l
		}
	}
	for _, want := range []string{`"apiKey":"root"`, `"object":"` + created.member(t, "id") + `"`, `"route":"/tenant"`} {
		if !strings.Contains(line, want) {
			t.Errorf("the line has not %s: %s", want, line)
		}
	}
}

// mergePatch is the media type of a JSON Merge Patch.
func mergePatch(_ *service, r *http.Request) {
	r.Header.Set("Content-Type", "application/merge-patch+json; charset=utf-8")
}
