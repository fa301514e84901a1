//go:build integrating

package integrating_test

import (
	"os"
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
			b := s.newDriver(t, s.dir, "", "env", "LOGIN="+s.http, "API=http://"+s.world.api, "node",
				"browser.mjs")
			if got := b.do(t, "login alice"); !strings.HasPrefix(got, "200 ") || strings.Contains(got, "rt_") {
				t.Fatalf("the page's login: %s", got)
			}
			return b
		}
		first, second := page(), page()
		if got := first.do(t, "page"); !strings.Contains(got, `"hello":"alice"`) {
			t.Errorf("the page of the document said %s", got)
		}
		if got := first.do(t, "devices"); strings.Count(got, `"current":true`) != 1 || strings.Count(got, `"id":`) != 4 {
			t.Errorf("devices: %s, want four, one of them current", got)
		}
		second.do(t, "token")
		second.do(t, "logout")
		if got := second.do(t, "cookies"); got != "" {
			t.Errorf("cookies after the logout: %s", got)
		}
		second.do(t, "logout") // without a cookie: nobody is logged in
		second.do(t, "open")
		if _, kind := second.ask(t, "token"); kind != "logged out" {
			t.Errorf("the page after its logout: %q", kind)
		}
		if got := second.do(t, "page"); got != "/login" {
			t.Errorf("the page of the document, logged out, said %s", got)
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
