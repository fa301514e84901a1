//go:build integrating

package integrating_test

import (
	"errors"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var node = language{
	name: "node", build: buildNode,
	login: []string{"node", "login.mjs"}, api: []string{"node", "api.mjs"}, driver: []string{"node", "driver.mjs"},
}

func init() { languages = append(languages, node) }

func buildNode(t *testing.T, dir string) {
	t.Helper()
	write(t, dir, ".mjs", ".html")
	for _, name := range []string{"driver.mjs", "browser.mjs"} {
		copyFile(t, filepath.Join("testdata", name), filepath.Join(dir, name))
	}
	npm(t, dir, "jose@6")
}

// npm installs packages into dir.
func npm(t *testing.T, dir string, packages ...string) {
	t.Helper()
	run(t, dir, "npm", append([]string{"install", "--no-audit", "--no-fund"}, packages...)...)
}

// The client in JavaScript logs out, lists devices, and runs in a page that has cookies.
func TestTheClientInJavaScript(t *testing.T) {
	inLanguage(t, node, func(t *testing.T, s *shop) {
		phone, laptop := s.client(t, "/register", "alice"), s.client(t, "/login", "alice")
		// A page has no environment, so its addresses are the document's.
		file := filepath.Join(s.dir, "page.mjs")
		text, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(text), "http://127.0.0.1:3000") {
			t.Fatalf("page.mjs does not name the default address: %v", err)
		}
		writeFile(t, file, strings.Replace(string(text), "http://127.0.0.1:3000", s.refreshd, 1))
		page := func() *driver {
			b := s.newDriver(t, s.dir, "", "env", "LOGIN="+s.http, "node", "browser.mjs")
			if got := b.do(t, "login alice"); !strings.HasPrefix(got, "200 ") || strings.Contains(got, "rt_") {
				t.Fatalf("the page's login: %s", got)
			}
			return b
		}
		first, second := page(), page()
		want(t, http.StatusOK, "POST", s.http+"/register", credentials("bob"))
		for _, step := range []struct{ command, said string }{
			{"page", `{"hello":"alice","roles":["admin"]}`},
			{"submit nobody", "wrong name or password"},
			{"submit bob", `{"hello":"bob","roles":[]}`},
			{"click", "Please log in."},
			{"page", "Please log in."},
			{"submit alice", `{"hello":"alice","roles":["admin"]}`},
			{"page", `{"hello":"alice","roles":["admin"]}`},
		} {
			if got := first.do(t, step.command); got != step.said {
				t.Errorf("%s: the page of the document said %s, want %s", step.command, got, step.said)
			}
		}
		first.do(t, "open")
		if got := first.do(t, "devices"); strings.Count(got, `"current":true`) != 1 || strings.Count(got, `"id":`) != 5 {
			t.Errorf("devices: %s, want five, one of them current", got)
		}
		second.do(t, "token")
		second.do(t, "logout")
		if got := second.do(t, "cookies"); got != "" {
			t.Errorf("cookies after the logout: %s", got)
		}
		second.do(t, "logout") // without a cookie: no user is logged in
		second.do(t, "open")
		if _, kind := second.ask(t, "token"); kind != "logged out" {
			t.Errorf("the page after its logout: %q", kind)
		}
		phone.do(t, "others")
		wantLoggedOut(t, laptop)
		first.do(t, "open")
		if _, kind := first.ask(t, "token"); kind != "logged out" || first.do(t, "cookies") != "" {
			t.Errorf("the page after a logout everywhere else: %q, cookies %q", kind, first.do(t, "cookies"))
		}
		phone.do(t, "token")
		phone.do(t, "logout")
		if got := phone.stored(t); got != "" {
			t.Error("the client kept its refresh token after the logout")
		}
		if _, kind := phone.ask(t, "token"); kind != "logged out" {
			t.Errorf("the client after its logout: %q", kind)
		}
	})
}

// The app of the document stores the refresh token of its login, and leaves none behind after its logout.
func TestTheAppInJavaScript(t *testing.T) {
	inLanguage(t, node, func(t *testing.T, s *shop) {
		want(t, http.StatusOK, "POST", s.http+"/register", credentials("alice"))
		c := exec.Command("node", "app.mjs")
		c.Dir, c.Env = s.dir, append(s.environment(""), "LOGIN="+s.http)
		out, err := c.CombinedOutput()
		if got := string(out); err != nil || got != `{"hello":"alice","roles":["admin"]}`+"\n" {
			t.Errorf("app.mjs: %v, it wrote %s", err, got)
		}
		if _, err := os.Stat(filepath.Join(s.dir, "refresh-token")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("app.mjs has logged out, and left its store behind: %v", err)
		}
		list := s.backend(t, "GET", "/jwt/refresh?userId=alice", "").body
		if strings.Count(list, `"insertInstant"`) != 1 {
			t.Errorf("sessions of alice: %s, want that of the registration", list)
		}
	})
}

// A client has an access token of a session that ended elsewhere: it is logged out, and not told to try again later.
func TestTheClientInJavaScriptOfASessionThatEnded(t *testing.T) {
	inLanguage(t, node, func(t *testing.T, s *shop) {
		want(t, http.StatusOK, "POST", s.http+"/register", credentials("alice"))
		for _, command := range []string{"logout", "devices", "others"} {
			phone := s.client(t, "/login", "alice")
			phone.do(t, "token")
			s.backend(t, "DELETE", "/jwt/refresh?userId=alice", "")
			wantKind := "logged out"
			if command == "logout" { // which is what it was to do
				wantKind = ""
			}
			if _, kind := phone.ask(t, command); kind != wantKind {
				t.Errorf("%s: %q: %s, want %q", command, kind, phone.why, wantKind)
			}
			if phone.stored(t) != "" {
				t.Errorf("%s: the client kept a refresh token of a session that has ended", command)
			}
		}
		// A request that fails for another reason is neither.
		phone := s.client(t, "/login", "alice")
		phone.do(t, "token")
		s.stop(t)
		for _, command := range []string{"devices", "others"} {
			if _, kind := phone.ask(t, command); kind != "unavailable" || phone.stored(t) == "" {
				t.Errorf("%s without refreshd: %q", command, kind)
			}
		}
		// A logout leaves nothing in the store, and says that the session was not ended.
		if _, kind := phone.ask(t, "logout"); kind != "unavailable" || phone.stored(t) != "" {
			t.Errorf("logout without refreshd: %q, stored: %t", kind, phone.stored(t) != "")
		}
		s.serve(t)
		if _, kind := phone.ask(t, "token"); kind != "logged out" {
			t.Errorf("after a logout without refreshd: %q", kind)
		}

		page := s.newDriver(t, s.dir, "", "env", "LOGIN="+s.http, "node", "browser.mjs")
		page.do(t, "login alice")
		for range 4 {
			other := s.backend(t, "POST", "/jwt/issue", `{"userId": "alice", "applicationsId": "demo"}`).data(t)
			page.do(t, "other "+other.RefreshToken)
		}
		page.do(t, "logout") // of more sessions than are looked up: 400, and the cookies are deleted
		if got := page.do(t, "cookies"); got != "" {
			t.Errorf("cookies after the logout of a browser that had five sessions: %s", got)
		}
	})
}

// A session of the document that is bound to a key is exchanged with proofs that the browser's cryptography signs.
func TestTheBoundSessionInJavaScript(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	write(t, dir, ".mjs")
	c := exec.Command("node", "bound.mjs")
	c.Dir, c.Env = dir, w.environment("")
	out, err := c.CombinedOutput()
	const said = "the access token is bound to the key: true\nwithout the key: 400 [unproved]refreshToken\n"
	if got := string(out); err != nil || got != said {
		t.Errorf("bound.mjs: %v, it wrote %s, want %s", err, got, said)
	}
}
