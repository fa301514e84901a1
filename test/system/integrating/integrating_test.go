// Package integrating runs the code of INTEGRATING.md: it copies the blocks from the document as a reader does, starts
// them beside the real service after its first start, and uses them as browsers and apps do.
//
// The Go code always runs. With the build tag integrating, which `make integrating` sets, the code in other languages
// runs too. It needs Node 20, the npm registry and PyJWT, which a machine with only Go may lack.
package integrating_test

import (
	"bufio"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/refreshd/refreshd/test/support/rig"
)

// language is a language in which the document has a login service, a client and an API.
type language struct {
	name               string
	build              func(t *testing.T, dir string)
	login, api, driver []string // commands
}

var golang = language{
	name: "go", build: buildGo,
	login: []string{"./bin/login"}, api: []string{"./bin/api"}, driver: []string{"./bin/driver"},
}

// languages are the languages that run. Files with the build tag add to them.
var languages = []language{golang}

func run(t *testing.T, dir, name string, args ...string) {
	t.Helper()
	c := exec.Command(name, args...)
	c.Dir = dir
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// buildGo makes the reader's module and builds it. It has this module's requirements, so nothing has to be fetched.
func buildGo(t *testing.T, dir string) {
	t.Helper()
	write(t, dir, ".go", ".mjs", ".html")
	if err := os.RemoveAll(filepath.Join(dir, "orders")); err != nil { // of a module that requires this one
		t.Fatal(err)
	}
	for _, name := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile(filepath.Join("../../..", name))
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(dir, name),
			strings.Replace(string(text), "module github.com/refreshd/refreshd\n", "module example.com/shop\n", 1))
	}
	copyFile(t, "testdata/driver.go", filepath.Join(dir, "driver", "main.go"))
	if out, err := exec.Command("gofmt", "-l", dir).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("gofmt: %v, not formatted: %s", err, out)
	}
	run(t, dir, "go", "vet", "./login", "./session", "./verify", "./api", "./driver")
	run(t, dir, "go", "build", "-o", "bin/", "./login", "./api", "./driver")
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, to, string(text))
}

// shop is a world with the document's login service and API in one language.
type shop struct {
	*world
	language
	dir  string
	http string // the login service's URL
}

// eachShop runs a test in each language.
func eachShop(t *testing.T, test func(t *testing.T, s *shop)) {
	t.Helper()
	for _, l := range languages {
		t.Run(l.name, func(t *testing.T) { inLanguage(t, l, test) })
	}
}

// inLanguage runs a test on a service of its own. All tests of a language share one build of the document's code.
func inLanguage(t *testing.T, l language, test func(t *testing.T, s *shop)) {
	t.Helper()
	s := &shop{world: newWorld(t), language: l, dir: built(t, l)}
	s.start(t, s.dir, s.world.login, l.login...)
	s.start(t, s.dir, s.world.api, l.api...)
	s.http = "http://" + s.world.login
	test(t, s)
}

// built returns the directory of the document's code in a language.
func built(t *testing.T, l language) string {
	t.Helper()
	dir := filepath.Join(builds, l.name)
	if _, err := os.Stat(dir); err != nil {
		l.build(t, dir)
	}
	return dir
}

func credentials(user string) string {
	return fmt.Sprintf(`{"user": %q, "password": "correct horse"}`, user)
}

// client registers or logs in, and starts the document's client with the refresh token.
func (s *shop) client(t *testing.T, path, user string) *driver {
	t.Helper()
	got := want(t, http.StatusOK, "POST", s.http+path, credentials(user)).data(t)
	if !strings.HasPrefix(got.RefreshToken, "rt_") || got.Token == "" || got.ExpiresIn < 1 || got.RefreshTokenID == "" {
		t.Fatalf("%s: got %+v", path, got)
	}
	return s.newDriver(t, s.dir, got.RefreshToken, s.driver...)
}

// hello checks that the API accepts an access token, and returns its response.
func (s *shop) hello(t *testing.T, token string) (user string, roles []string) {
	t.Helper()
	r := want(t, http.StatusOK, "GET", "http://"+s.world.api+"/hello", "", "Authorization", "Bearer "+token)
	var body struct {
		Hello string
		Roles []string
	}
	if err := json.Unmarshal([]byte(r.body), &body); err != nil {
		t.Fatal(err)
	}
	return body.Hello, body.Roles
}

// The document's programs do what it says, in the order in which a user uses them.
func TestTheLoginServiceOfTheDocument(t *testing.T) {
	eachShop(t, func(t *testing.T, s *shop) {
		phone := s.client(t, "/register", "alice") // the first user is an administrator
		laptop := s.client(t, "/login", "alice")
		bob := s.client(t, "/register", "bob")
		t.Run("the commands to paste", func(t *testing.T) {
			n := 0
			for _, b := range blocks(t) {
				if b.language != "sh" || !strings.Contains(b.text, " -d '") {
					continue
				}
				n++
				commands := strings.NewReplacer("http://127.0.0.1:8080", s.http, "http://127.0.0.1:3000", s.refreshd,
					"alice", "carol").Replace(b.text)
				c := exec.Command("bash", "-euc", commands)
				c.Dir = s.Dir
				out, err := c.Output()
				if err != nil {
					t.Fatalf("%s: %v", commands, err)
				}
				if got := (reply{body: string(out)}).data(t); got.RefreshToken == "" || got.Token == "" {
					t.Errorf("%s: got %s", commands, out)
				}
			}
			if n != 2 {
				t.Errorf("the document has commands that log in and import; got %d that send something", n)
			}
			var list struct {
				Data []struct {
					InsertInstant int64
					Roles         []string
					MetaData      struct{ Device struct{ Description string } }
				}
			}
			text := s.backend(t, "GET", "/jwt/refresh?userId=carol", "").body
			if err := json.Unmarshal([]byte(text), &list); err != nil {
				t.Fatal(err)
			}
			// Imported 20 days after its issue; the other one was issued today.
			if len(list.Data) != 2 || list.Data[0].InsertInstant-list.Data[1].InsertInstant > -19*24*3_600_000 {
				t.Errorf("the sessions of carol: %s, want one that began 20 days ago", text)
			}
			if len(list.Data) == 2 && (!slices.Equal(list.Data[0].Roles, []string{"editor"}) ||
				list.Data[0].MetaData.Device.Description != "shop-app/3.2 (Android 16)") {
				t.Errorf("the imported session of carol: %s, want its roles and its device", text)
			}
		})
		t.Run("refusals", func(t *testing.T) {
			want(t, http.StatusConflict, "POST", s.http+"/register", `{"user": "bob", "password": "another"}`)
			want(t, http.StatusUnauthorized, "POST", s.http+"/login", `{"user": "bob", "password": "wrong"}`)
			want(t, http.StatusUnauthorized, "POST", s.http+"/login", `{"user": "nobody", "password": "correct horse"}`)
			for _, path := range []string{"/register", "/login", "/password"} {
				for _, body := range []string{
					`{}`, `{"user": "carol"}`, `{"password": "correct horse"}`, `{"user": 1, "password": "x", "newPassword": "y"}`,
					fmt.Sprintf(`{"user": %q, "password": "x", "newPassword": "y"}`, strings.Repeat("c", 256)),
					// A name that refreshd refuses would be stored, and could never log in.
					`{"user": "a\u0000b", "password": "x", "newPassword": "y"}`,
					`{"user": "a\ud800", "password": "x", "newPassword": "y"}`,
					`{"user": "a\u0085b", "password": "x", "newPassword": "y"}`,
					`{"user": " a", "password": "x", "newPassword": "y"}`,
					`{"user": "a\u00a0", "password": "x", "newPassword": "y"}`,
					"{\"user\": \"a\xff\", \"password\": \"x\", \"newPassword\": \"y\"}",
				} {
					want(t, http.StatusBadRequest, "POST", s.http+path, body)
				}
			}
			want(t, http.StatusBadRequest, "POST", s.http+"/register", `{"user"`)
			want(t, http.StatusNotFound, "POST", s.http+"/nowhere", `{}`)
			want(t, http.StatusUnsupportedMediaType, "POST", s.http+"/login", credentials("bob"),
				"Content-Type", "application/x-www-form-urlencoded")
		})
		t.Run("the API takes the client's access token", func(t *testing.T) {
			s.proxy.will()
			user, roles := s.hello(t, phone.do(t, "token"))
			if user != "alice" || !slices.Equal(roles, []string{"admin"}) {
				t.Errorf("got %s with roles %v, want alice with admin", user, roles)
			}
			phone.do(t, "token")
			if got := s.proxy.said(); got != "rotated" {
				t.Errorf("exchanges: %s, want one: the access token is still valid", got)
			}
			if got := phone.do(t, "fetch http://"+s.world.api+"/hello"); !strings.Contains(got, `"hello":"alice"`) {
				t.Errorf("the client's request to the API: %s", got)
			}
		})
		t.Run("callers share an exchange", func(t *testing.T) {
			s.proxy.will()
			got := strings.Fields(laptop.do(t, "three"))
			if len(got) != 3 || got[0] != got[1] || got[1] != got[2] {
				t.Errorf("got %d access tokens that differ", len(got))
			}
			if got := s.proxy.said(); got != "rotated" {
				t.Errorf("exchanges: %s, want one", got)
			}
		})
		t.Run("role change", func(t *testing.T) {
			admin, user := "Bearer "+phone.do(t, "token"), "Bearer "+bob.do(t, "token")
			change := `{"user": "bob", "roles": ["editor"]}`
			want(t, http.StatusUnauthorized, "POST", s.http+"/roles", change)
			want(t, http.StatusForbidden, "POST", s.http+"/roles", change, "Authorization", user)
			for _, roles := range []string{`{"user": "bob"}`, `{"user": "bob", "roles": null}`, `{"user": "bob", "roles": "x"}`,
				`{"user": "bob", "roles": [1]}`, `{"user": "bob", "roles": [""]}`} {
				want(t, http.StatusBadRequest, "POST", s.http+"/roles", roles, "Authorization", admin)
			}
			many := make([]string, 101) // names that differ
			for i := range many {
				many[i] = fmt.Sprintf("role%03d", i)
			}
			large := slices.Clone(many[:36]) // too much for an access token
			for i := range large {
				large[i] += strings.Repeat("r", 240)
			}
			// What refreshd refuses is not stored: it would refuse each login.
			for _, roles := range [][]string{{strings.Repeat("r", 256)}, {"x", "x"}, {"a\x00"}, {" a"}, many, large} {
				text, err := json.Marshal(map[string]any{"user": "bob", "roles": roles})
				if err != nil {
					t.Fatal(err)
				}
				want(t, http.StatusBadRequest, "POST", s.http+"/roles", string(text), "Authorization", admin)
			}
			want(t, http.StatusOK, "POST", s.http+"/login", credentials("bob"))
			want(t, http.StatusOK, "POST", s.http+"/roles", change, "Authorization", admin)
			// Within the grace period of bob's exchange, so this is a retry: it carries the change as well.
			bob.do(t, "open")
			s.proxy.will()
			name, roles := s.hello(t, bob.do(t, "token"))
			if name != "bob" || !slices.Equal(roles, []string{"editor"}) || s.proxy.said() != "retried" {
				t.Errorf("%s: %s has roles %v, want editor by a retry", s.proxy.said(), name, roles)
			}
		})
		t.Run("password change ends all sessions", func(t *testing.T) {
			s.apply(t, "shop.yaml")
			elsewhere := s.backend(t, "POST", "/jwt/issue", `{"userId": "bob", "applicationsId": "shop"}`).data(t)
			change := `{"user": "bob", "password": "correct horse", "newPassword": "battery staple"}`
			want(t, http.StatusOK, "POST", s.http+"/password", change)
			wantLoggedOut(t, bob)
			want(t, http.StatusBadRequest, "POST", s.refreshd+"/jwt/refresh",
				fmt.Sprintf(`{"refreshToken": %q}`, elsewhere.RefreshToken))
			want(t, http.StatusUnauthorized, "POST", s.http+"/login", credentials("bob"))
			want(t, http.StatusOK, "POST", s.http+"/login", `{"user": "bob", "password": "battery staple"}`)
			phone.do(t, "open")
			phone.do(t, "token") // another user's session is unchanged
		})
	})
}

// The commands of the section about token exchange get what it says.
func TestATokenIsExchangedByTheCommandsOfTheDocument(t *testing.T) {
	w := newWorld(t)
	w.apply(t, "audiences.yaml")
	var commands []string
	for _, b := range blocks(t) {
		if b.language == "sh" && strings.Contains(b.text, "grant-type:token-exchange") {
			commands = append(commands, strings.ReplaceAll(b.text, "http://127.0.0.1:3000", w.refreshd))
		}
	}
	if len(commands) != 1 {
		t.Fatalf("the document has %d blocks that exchange a token, want one", len(commands))
	}
	c := exec.Command("bash", "-euc", commands[0])
	c.Dir = w.Dir
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%s: %v", commands[0], err)
	}
	var got struct {
		AccessToken  string `json:"access_token"`
		RefreshToken string `json:"refresh_token"`
		Scope        string
	}
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	parts := strings.Split(got.AccessToken, ".")
	if len(parts) != 3 || !strings.HasPrefix(got.RefreshToken, "rt_") || got.Scope != "orders:read" {
		t.Fatalf("got %s", out)
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"sub":"alice"`, `"aud":"https://orders.example"`, `"scope":"orders:read"`,
		`"act":{"sub":"agent","client_id":"backoffice"}`,
	} {
		if !strings.Contains(string(payload), want) {
			t.Errorf("the access token has the claims %s, want %s", payload, want)
		}
	}
}

// wantLoggedOut wants a client's next exchange to be refused for good, and the client to drop its refresh token.
func wantLoggedOut(t *testing.T, d *driver) {
	t.Helper()
	d.do(t, "open")
	if _, kind := d.ask(t, "token"); kind != "logged out" {
		t.Errorf("got %q, want the client to be logged out", kind)
	}
	if got := d.stored(t); got != "" {
		t.Error("the client kept a refresh token that is refused for good")
	}
}

// What a client does with each response is a table in the document: each row of it, by a client of a real session.
func TestTheClientDoesWhatTheTableSays(t *testing.T) {
	refusal := func(status int, codes ...string) fault {
		errs := make([]string, len(codes))
		for i, code := range codes {
			errs[i] = fmt.Sprintf(`{"code": %q, "message": "m"}`, code)
		}
		body := `{"success": false, "message": "m", "errors": {"fieldErrors": {"refreshToken": [` +
			strings.Join(errs, ",") + `]}}}`
		return fault{status: status, body: body, header: http.Header{"Content-Type": {"application/json"}}}
	}
	unavailable := fault{status: http.StatusServiceUnavailable, header: http.Header{"Retry-After": {"1"}}}
	eachShop(t, func(t *testing.T, s *shop) {
		for i, tt := range []struct {
			name    string
			faults  []fault
			kind    string // empty: an access token
			said    string
			dropped bool
		}{
			{"a response is lost", []fault{{lose: true}}, "", "lost, retried", false},
			{"two responses are lost", []fault{{lose: true}, {lose: true}}, "", "lost, lost, retried", false},
			{"503", []fault{unavailable}, "", "Service Unavailable, rotated", false},
			{"429", []fault{refusal(429, "[tooMany]request")}, "", "Too Many Requests, rotated", false},
			{"500", []fault{{status: 500}}, "", "Internal Server Error, rotated", false},
			{"502 by a proxy", []fault{{status: 502, body: "<html>"}}, "", "Bad Gateway, rotated", false},
			{"503 for a minute", []fault{{status: 503, header: http.Header{"Retry-After": {"60"}}}}, "unavailable",
				"Service Unavailable", false},
			{"401", []fault{{status: 401}}, "unavailable", "Unauthorized", false},
			{"404 by a proxy", []fault{{status: 404, body: "<html>"}}, "unavailable", "Not Found", false},
			{"inactive", []fault{refusal(400, "[inactive]refreshToken")}, "unavailable", "Bad Request", false},
			{"unproved", []fault{refusal(400, "[unproved]refreshToken")}, "unavailable", "Bad Request", false},
			{"a bug", []fault{refusal(400, "[unknown]refreshTokn")}, "unavailable", "Bad Request", false},
			{"invalid", []fault{refusal(400, "[invalid]refreshToken")}, "logged out", "Bad Request", true},
			{"expired", []fault{refusal(400, "[expired]refreshToken")}, "logged out", "Bad Request", true},
			{"revoked", []fault{refusal(400, "[revoked]refreshToken")}, "logged out", "Bad Request", true},
			{"reused", []fault{refusal(400, "[reused]refreshToken")}, "logged out", "Bad Request", true},
		} {
			t.Run(tt.name, func(t *testing.T) {
				user := fmt.Sprintf("user%d", i)
				d := s.client(t, "/register", user)
				before := d.stored(t)
				s.proxy.will(tt.faults...)
				token, kind := d.ask(t, "token")
				if kind != tt.kind || s.proxy.said() != tt.said {
					t.Errorf("got %q after %s, want %q after %s", kind, s.proxy.said(), tt.kind, tt.said)
				}
				after := d.stored(t)
				switch {
				case tt.kind == "":
					if name, _ := s.hello(t, token); name != user || after == before || after == "" {
						t.Errorf("got an access token of %s; the refresh token changed: %t", name, after != before)
					}
				case tt.dropped && after != "", !tt.dropped && after != before:
					t.Errorf("the client dropped its refresh token: %t, want %t", after == "", tt.dropped)
				}
				if tt.kind == "unavailable" { // the session was not harmed
					s.proxy.will()
					d.do(t, "token")
				}
			})
		}
	})
}

// The document tells a reader to check six things; each of its verifiers does.
func TestTheVerifiersOfTheDocument(t *testing.T) {
	eachShop(t, func(t *testing.T, s *shop) {
		verifiers(t, s.world, func(token string) int {
			return send(t, http.DefaultClient, "GET", "http://"+s.world.api+"/hello", "",
				"Authorization", "Bearer "+token).status
		})
	})
}

// A verifier that starts before refreshd responds with 503 and not with 401, and reads the keys when refreshd is ready.
func TestAnAccessTokenIsNotRefusedWhereTheKeysAreUnavailable(t *testing.T) {
	for _, l := range languages {
		t.Run(l.name, func(t *testing.T) {
			dir, w := built(t, l), newWorld(t)
			token := w.backend(t, "POST", "/jwt/issue",
				`{"userId": "alice", "applicationsId": "demo", "roles": ["admin"]}`).data(t).Token
			w.stop(t)
			balancer := &http.Server{Addr: strings.TrimPrefix(w.refreshd, "http://"), Handler: http.HandlerFunc(
				func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusServiceUnavailable) })}
			listener, err := net.Listen("tcp", balancer.Addr)
			if err != nil {
				t.Fatal(err)
			}
			go func() { _ = balancer.Serve(listener) }()
			t.Cleanup(func() { _ = balancer.Close() })
			w.start(t, dir, w.api, l.api...)
			w.start(t, dir, w.login, l.login...)
			change := `{"user": "nobody", "roles": []}`
			want(t, http.StatusServiceUnavailable, "GET", "http://"+w.api+"/hello", "", "Authorization", "Bearer "+token)
			want(t, http.StatusServiceUnavailable, "POST", "http://"+w.login+"/roles", change, "Authorization", "Bearer "+token)
			if err := balancer.Close(); err != nil {
				t.Fatal(err)
			}
			w.serve(t)
			want(t, http.StatusOK, "GET", "http://"+w.api+"/hello", "", "Authorization", "Bearer "+token)
			want(t, http.StatusNotFound, "POST", "http://"+w.login+"/roles", change, "Authorization", "Bearer "+token)
		})
	}
}

// The login service has the page, the modules that it names, and the API's path.
func TestTheLoginServiceHasThePageOfTheDocument(t *testing.T) {
	named := regexp.MustCompile(`(?:src="|from '\.)(/[a-z]+\.mjs)`)
	eachShop(t, func(t *testing.T, s *shop) {
		files, types := []string{"/"}, map[string]string{"/": "text/html"}
		for i := 0; i < len(files); i++ {
			r := want(t, http.StatusOK, "GET", s.http+files[i], "")
			want := cmp.Or(types[files[i]], "text/javascript")
			if got := r.header.Get("Content-Type"); got != want+"; charset=utf-8" {
				t.Errorf("%s is of type %s, want %s", files[i], got, want)
			}
			for _, m := range named.FindAllStringSubmatch(r.body, -1) {
				files = append(files, m[1])
			}
		}
		if got := strings.Join(files, " "); got != "/ /page.mjs /session.mjs" {
			t.Errorf("the page consists of %s", got)
		}
		token := want(t, http.StatusOK, "POST", s.http+"/register", credentials("alice")).data(t).Token
		want(t, http.StatusUnauthorized, "GET", s.http+"/hello", "")
		r := want(t, http.StatusOK, "GET", s.http+"/hello", "", "Authorization", "Bearer "+token)
		if !strings.Contains(r.body, `"hello":"alice"`) {
			t.Errorf("the API by way of the login service: %s", r.body)
		}
	})
}

// verifiers wants status to be 200 for a good access token only.
func verifiers(t *testing.T, w *world, status func(token string) int) {
	t.Helper()
	writeFile(t, filepath.Join(w.Dir, "others.yaml"), `
tenants:
  - id: neighbour
    name: Neighbour
    applications: [{id: demo, name: Demo}]
  - id: default
    name: Default
    applications:
      - {id: other, name: Other}
      - {id: demo, name: Demo, cookieHostOnly: true, jwtConfiguration: {accessTokenType: JWT}}
apiKeys:
  - {name: neighbour, key: ak_neighbour-neighbour-neighbour, tenantId: neighbour,
     permissions: {endpoints: {"*": ["*"]}}}
`)
	issue := func(application string) tokens {
		body := fmt.Sprintf(`{"userId": "alice", "applicationsId": %q}`, application)
		return w.backend(t, "POST", "/jwt/issue", body).data(t)
	}
	good := issue("demo")
	short := want(t, http.StatusOK, "POST", w.refreshd+"/jwt/refresh",
		fmt.Sprintf(`{"refreshToken": %q, "timeToLiveInSeconds": 1}`, good.RefreshToken)).data(t).Token
	w.apply(t, "others.yaml")
	neighbour := want(t, http.StatusOK, "POST", w.refreshd+"/jwt/issue", `{"userId": "alice", "applicationsId": "demo"}`,
		"Authorization", "ak_neighbour-neighbour-neighbour", "X-Stencil-TenantId", "neighbour").data(t).Token
	plain := issue("demo").Token // of type JWT
	w.apply(t, "demo.yaml")

	header, rest, _ := strings.Cut(good.Token, ".")
	payload, signature, _ := strings.Cut(rest, ".")
	encode := base64.RawURLEncoding.EncodeToString
	decoded, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		t.Fatal(err)
	}
	changed := encode([]byte(strings.Replace(string(decoded), "alice", "mallory", 1)))
	time.Sleep(2 * time.Second) // the access token for one second has expired then
	for _, tt := range []struct {
		name, token string
		want        int
	}{
		{"good", good.Token, http.StatusOK},
		{"another application", issue("other").Token, http.StatusUnauthorized},
		{"expired", short, http.StatusUnauthorized},
		{"another tenant", neighbour, http.StatusUnauthorized},
		{"another type", plain, http.StatusUnauthorized},
		{"changed", header + "." + changed + "." + signature, http.StatusUnauthorized},
		{"not signed", encode([]byte(`{"alg":"none","typ":"at+jwt"}`)) + "." + payload + ".", http.StatusUnauthorized},
		{"no token", "", http.StatusUnauthorized},
		{"a refresh token", good.RefreshToken, http.StatusUnauthorized},
	} {
		if got := status(tt.token); got != tt.want {
			t.Errorf("%s: got %d, want %d", tt.name, got, tt.want)
		}
	}
}

// cookieNames are the cookies that a browser has for a host.
func cookieNames(t *testing.T, client *http.Client, target string) string {
	t.Helper()
	at, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range client.Jar.Cookies(at) {
		names = append(names, c.Name)
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

// What the document says of cookies, at the login service and at refreshd.
func TestTheCookiesOfTheDocument(t *testing.T) {
	eachShop(t, func(t *testing.T, s *shop) {
		want(t, http.StatusOK, "POST", s.http+"/register", credentials("alice"))
		b := browser(t)
		page := []string{"Origin", s.http, "Sec-Fetch-Site", "same-site"}
		login := func() reply {
			return send(t, b, "POST", s.http+"/login", `{"user": "alice", "password": "correct horse", "cookies": true}`)
		}
		exchange := func(header ...string) reply {
			return send(t, b, "POST", s.refreshd+"/jwt/refresh", "", header...)
		}

		got := login()
		if got.status != http.StatusOK || got.data(t).RefreshToken != "" || got.data(t).Token == "" {
			t.Fatalf("login: %d %s, want an access token and no refresh token", got.status, got.body)
		}
		for _, c := range (&http.Response{Header: got.header}).Cookies() {
			if !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" || c.MaxAge < 1 {
				t.Errorf("cookie %s of the login: %v", c.Name, got.header["Set-Cookie"])
			}
		}
		if names := cookieNames(t, b, s.refreshd); names != "access_token refresh_token" {
			t.Fatalf("cookies after the login: %s", names)
		}
		if r := exchange("Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"); r.status != 400 {
			t.Errorf("another site's exchange: %d %s", r.status, r.body)
		}
		r := exchange(page...)
		if r.status != http.StatusOK || r.header.Get("Refreshd-Outcome") != "rotated" || r.data(t).RefreshToken != "" {
			t.Fatalf("the page's exchange: %d %s %s", r.status, r.header.Get("Refreshd-Outcome"), r.body)
		}
		if user, _ := s.hello(t, r.data(t).Token); user != "alice" {
			t.Errorf("an access token of %s", user)
		}
		logout := append([]string{"X-Stencil-TenantId", "default"}, page...)
		if r := send(t, b, "DELETE", s.refreshd+"/jwt/refresh", "", logout...); r.status != http.StatusOK {
			t.Errorf("logout: %d %s", r.status, r.body)
		}
		if names := cookieNames(t, b, s.refreshd); names != "" {
			t.Errorf("cookies after the logout: %s", names)
		}

		// A session that ended elsewhere: the refusal deletes its cookies, and a login brings new ones.
		login()
		change := `{"user": "alice", "password": "correct horse", "newPassword": "correct horse"}`
		want(t, http.StatusOK, "POST", s.http+"/password", change)
		if r := exchange(page...); r.status != 400 || !strings.Contains(r.body, "[revoked]refreshToken") {
			t.Errorf("the exchange of a session that ended: %d %s", r.status, r.body)
		}
		if names := cookieNames(t, b, s.refreshd); names != "" {
			t.Errorf("cookies after the refusal: %s", names)
		}
		login()
		if r := exchange(page...); r.status != http.StatusOK {
			t.Errorf("the exchange after another login: %d %s", r.status, r.body)
		}
	})
}

// deviceIn is a session as a user reads it in the list.
type deviceIn struct {
	ID       string
	Current  bool
	MetaData struct {
		LastClientAddress string
		Device            struct{ Description string }
	}
}

// The table "Logout" and the section "Devices": a user's own access token is enough for the user's own sessions.
func TestAUsersOwnAccessTokenServesForItsSessions(t *testing.T) {
	eachShop(t, func(t *testing.T, s *shop) {
		login := func(path, agent string) tokens {
			return want(t, http.StatusOK, "POST", s.http+path, credentials("alice"), "User-Agent", agent).data(t)
		}
		own := func(status int, token, method, target string) reply {
			t.Helper()
			return want(t, status, method, s.refreshd+"/jwt/refresh"+target, "",
				"Authorization", "Bearer "+token, "X-Stencil-TenantId", "default")
		}
		phone, laptop, tablet := login("/register", "phone/1.0"), login("/login", "laptop/2.0"), login("/login", "tablet/3.0")

		var list struct{ Data []deviceIn }
		text := own(http.StatusOK, laptop.Token, "GET", "?userId=alice").body
		if err := json.Unmarshal([]byte(text), &list); err != nil {
			t.Fatal(err)
		}
		if len(list.Data) != 3 || strings.Contains(text, "rt_") {
			t.Fatalf("got %s, want three sessions and no refresh token", text)
		}
		for i, want := range []string{"tablet/3.0", "laptop/2.0", "phone/1.0"} { // newest first
			d := list.Data[i]
			if d.Current != (want == "laptop/2.0") || d.MetaData.LastClientAddress != "127.0.0.1" ||
				!strings.Contains(text, want) {
				t.Errorf("session %d of the list: %+v, want %s, the laptop's current", i, d, want)
			}
		}
		own(http.StatusOK, tablet.Token, "DELETE", "/"+tablet.RefreshTokenID)
		exchange := func(status int, g tokens) {
			t.Helper()
			want(t, status, "POST", s.refreshd+"/jwt/refresh", fmt.Sprintf(`{"refreshToken": %q}`, g.RefreshToken))
		}
		exchange(http.StatusBadRequest, tablet)
		own(http.StatusOK, laptop.Token, "DELETE", "?userId=alice&exceptTokenId="+laptop.RefreshTokenID)
		exchange(http.StatusBadRequest, phone)
		exchange(http.StatusOK, laptop)
		own(http.StatusUnauthorized, laptop.Token, "GET", "?userId=bob")
		own(http.StatusOK, laptop.Token, "DELETE", "?userId=alice")
		exchange(http.StatusBadRequest, laptop)
	})
}

// The login service tells a client to send a request again if refreshd is unavailable. So the same request succeeds
// then, and does all that the first was to do.
func TestARequestToTheLoginServiceCanBeRepeatedAfterA503(t *testing.T) {
	eachShop(t, func(t *testing.T, s *shop) {
		phone := s.client(t, "/register", "alice")
		change := `{"user": "alice", "password": "correct horse", "newPassword": "battery staple"}`
		s.stop(t)
		want(t, http.StatusServiceUnavailable, "POST", s.http+"/register", credentials("bob"))
		want(t, http.StatusServiceUnavailable, "POST", s.http+"/password", change)
		s.serve(t)
		want(t, http.StatusOK, "POST", s.http+"/register", credentials("bob"))
		want(t, http.StatusOK, "POST", s.http+"/password", change)
		wantLoggedOut(t, phone)
		want(t, http.StatusUnauthorized, "POST", s.http+"/login", credentials("alice"))
		want(t, http.StatusOK, "POST", s.http+"/login", `{"user": "alice", "password": "battery staple"}`)
		wrong := `{"user": "alice", "password": "correct horse", "newPassword": "another"}`
		want(t, http.StatusUnauthorized, "POST", s.http+"/password", wrong)
		nobody := `{"user": "nobody", "password": "correct horse", "newPassword": "another"}`
		want(t, http.StatusUnauthorized, "POST", s.http+"/password", nobody)
	})
}

// The login service passes on of a User-Agent what refreshd takes, so that no header prevents a login.
func TestEveryUserAgentMayLogIn(t *testing.T) {
	eachShop(t, func(t *testing.T, s *shop) {
		want(t, http.StatusOK, "POST", s.http+"/register", credentials("alice"))
		for name, agent := range map[string]string{
			"longest": strings.Repeat("a", 1024), "too long": strings.Repeat("a", 1025),
			"two bytes each": strings.Repeat("é", 600), "a tab": "a\tb", "not UTF-8": "a\xff\x85b", "none": "",
			"a character at the end": strings.Repeat("a", 1023) + "é",
		} {
			r := send(t, rig.Client, "POST", s.http+"/login", credentials("alice"), "User-Agent", agent)
			if r.status != http.StatusOK {
				t.Errorf("%s: got %d %s, want 200", name, r.status, r.body)
			}
		}
	})
}

// A body may reach the login service in pieces, and a piece may end within a character.
func TestTheLoginServiceReadsABodyThatComesInPieces(t *testing.T) {
	eachShop(t, func(t *testing.T, s *shop) {
		body := credentials("zoë")
		cut := strings.Index(body, "ë") + 1
		conn, err := net.Dial("tcp", s.world.login)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "POST /register HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n"+
			"Connection: close\r\nContent-Length: %d\r\n\r\n%s", s.world.login, len(body), body[:cut])
		time.Sleep(200 * time.Millisecond) // so that the service reads the first piece alone; otherwise this proves less
		fmt.Fprint(conn, body[cut:])
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Errorf("got %d, want 200", response.StatusCode)
		}
		want(t, http.StatusOK, "POST", s.http+"/login", body)
	})
}

// A caller whose context is done does not wait for an exchange, not even for that of another caller. The exchange
// continues, and its response is stored.
func TestTheClientInGoHonoursTheContext(t *testing.T) {
	inLanguage(t, golang, func(t *testing.T, s *shop) {
		phone := s.client(t, "/register", "alice")
		first := phone.stored(t)
		held := make(chan struct{})
		s.proxy.will(fault{hold: held})
		got := phone.do(t, "impatient") // two callers, whose contexts are done while refreshd has not responded
		close(held)
		if got != "context canceled, context canceled" {
			t.Errorf("got %s, want that both contexts are done", got)
		}
		phone.do(t, "token")
		if s.proxy.said() != "rotated" || phone.stored(t) == first {
			t.Errorf("exchanges: %s, want one, and its refresh token stored", s.proxy.said())
		}
	})
}

// The commands that make the login service's key leave it in a file for its owner alone, and refreshd takes it.
func TestTheCommandsThatMakeTheKeyForProduction(t *testing.T) {
	w := newWorld(t)
	n := 0
	for _, b := range blocks(t) {
		commands, starts := strings.CutSuffix(b.text, "API_KEY_FILE=login-key node login.mjs\n")
		if !starts {
			continue
		}
		n++
		c := exec.Command("bash", "-euc", strings.ReplaceAll(commands, "./refreshd", w.Path))
		c.Dir, c.Env = w.Dir, append(os.Environ(), "REFRESHD_MASTER_KEY="+rig.MasterKey)
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	if n != 1 {
		t.Fatalf("got %d blocks that make the key, want one", n)
	}
	file := filepath.Join(w.Dir, "login-key")
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("login-key: %v %v, want a file for its owner alone", info, err)
	}
	key, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	backend := []string{"Authorization", strings.TrimSpace(string(key)), "X-Stencil-TenantId", "default"}
	// A session that was idle for longer than the policy allows is active after its import, as the document says.
	idle := fmt.Sprintf(`{"userId": "alice", "applicationsId": "demo", "insertInstant": %d}`,
		time.Now().AddDate(0, 0, -100).UnixMilli())
	imported := want(t, http.StatusOK, "POST", w.refreshd+"/jwt/issue", idle, backend...).data(t)
	want(t, http.StatusOK, "POST", w.refreshd+"/jwt/refresh", fmt.Sprintf(`{"refreshToken": %q}`, imported.RefreshToken))
}

// The kickstart files of the document are accepted, and make applications that are what the document says of them.
func TestTheKickstartFilesOfTheDocument(t *testing.T) {
	w := newWorld(t)
	const key = "ak_login-service-login-service-login"
	w.settings.Env = append(w.settings.Env, "LOGIN_SERVICE_KEY="+key, "ORDERS_KEY=ak_orders-orders-orders-orders")
	for _, b := range blocks(t) {
		if filepath.Ext(b.file) == ".yaml" {
			w.apply(t, b.file)
		}
	}
	issue := func(application string) reply {
		return w.backend(t, "POST", "/jwt/issue", fmt.Sprintf(`{"userId": "alice", "applicationsId": %q, "cookies": %t}`,
			application, application == "shop"))
	}
	var names []string
	for _, c := range (&http.Response{Header: issue("shop").header}).Cookies() {
		names = append(names, c.Name)
	}
	slices.Sort(names)
	if !slices.Equal(names, []string{"__Host-shop", "__Host-shop_access"}) {
		t.Errorf("the cookies of shop are %v", names)
	}

	var sessions []tokens
	for range 11 {
		sessions = append(sessions, issue("demo").data(t))
	}
	if got := sessions[0].ExpiresIn; got != 300 {
		t.Errorf("an access token of demo ends in %d seconds, want 300", got)
	}
	for i, status := range map[int]int{0: http.StatusBadRequest, 1: http.StatusOK} { // ten are left
		want(t, status, "POST", w.refreshd+"/jwt/refresh", fmt.Sprintf(`{"refreshToken": %q}`, sessions[i].RefreshToken))
	}

	// The key for production serves for what a login service does, and for nothing else.
	backend := []string{"Authorization", key, "X-Stencil-TenantId", "default"}
	byUser := w.refreshd + "/jwt/refresh?userId=bob"
	bob := `{"userId": "bob", "applicationsId": "rendered"}`
	exchange := fmt.Sprintf(`{"refreshToken": %q}`,
		want(t, 200, "POST", w.refreshd+"/jwt/issue", bob, backend...).data(t).RefreshToken)
	want(t, http.StatusOK, "PATCH", byUser, `{"roles": ["x"]}`, backend...)
	want(t, http.StatusOK, "GET", byUser, "", backend...)
	want(t, http.StatusUnauthorized, "POST", w.refreshd+"/jwt/refresh", exchange, backend...)
	want(t, http.StatusUnauthorized, "GET", w.refreshd+"/jwt/refresh?applicationsId=rendered", "", backend...)
	want(t, http.StatusOK, "DELETE", byUser, "", backend...)

	first := issue("rendered").data(t).RefreshToken
	body := fmt.Sprintf(`{"refreshToken": %q}`, first)
	want(t, http.StatusUnauthorized, "POST", w.refreshd+"/jwt/refresh", body)
	r := w.backend(t, "POST", "/jwt/refresh", body)
	if r.header.Get("Refreshd-Outcome") != "unchanged" || r.data(t).RefreshToken != first {
		t.Errorf("an exchange of rendered is %s, want the same refresh token", r.header.Get("Refreshd-Outcome"))
	}
}
