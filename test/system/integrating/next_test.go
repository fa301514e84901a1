//go:build integrating

package integrating_test

import (
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// TestTheProxyOfTheDocumentInNextJS builds a real application with the document's two files, and loads its page as a
// browser does: several times concurrently, with cookies that have expired or were revoked.
func TestTheProxyOfTheDocumentInNextJS(t *testing.T) {
	w, dir := newWorld(t), t.TempDir()
	write(t, dir, ".js")
	writeFile(t, filepath.Join(dir, "package.json"), `{"private": true, "type": "module"}`)
	writeFile(t, filepath.Join(dir, "app", "layout.js"),
		"export default function Layout({ children }) {\n  return <html><body>{children}</body></html>;\n}\n")
	npm(t, dir, "next@16", "react@19", "react-dom@19")
	t.Setenv("NEXT_TELEMETRY_DISABLED", "1")
	next := filepath.Join("node_modules", "next", "dist", "bin", "next") // by npx it would be a child of our child
	run(t, dir, "node", next, "build")
	host, port, _ := strings.Cut(w.login, ":")
	w.start(t, dir, w.login, "node", next, "start", "--hostname", host, "--port", port)
	home := "http://" + w.login + "/"
	shown := regexp.MustCompile(`access token: ([A-Za-z0-9_.-]+)`)
	load := func(cookies string, headers ...string) (token string, set []string) {
		t.Helper()
		r := want(t, http.StatusOK, "GET", home, "", append(headers, "Cookie", cookies)...)
		if m := shown.FindStringSubmatch(strings.ReplaceAll(r.body, "<!-- -->", "")); m != nil {
			token = m[1]
		}
		return token, r.header["Set-Cookie"]
	}

	issued := w.backend(t, "POST", "/jwt/issue", `{"userId": "alice", "applicationsId": "demo"}`).data(t)
	cookie := "refresh_token=" + issued.RefreshToken
	var group sync.WaitGroup
	pages := make([]string, 5)
	cookies := make([]string, 5)
	for i := range pages {
		group.Go(func() {
			token, set := load(cookie)
			pages[i], cookies[i] = token, regexp.MustCompile(`refresh_token=[^;]*`).FindString(strings.Join(set, "\n"))
		})
	}
	group.Wait()
	for i := range pages {
		if pages[i] == "" || pages[i] != pages[0] || cookies[i] == cookie || cookies[i] != cookies[0] {
			t.Errorf("of five concurrent requests, number %d has the access token of the first: %t, its cookie: %t",
				i, pages[i] == pages[0], cookies[i] == cookies[0])
		}
	}
	if token, set := load("access_token=" + pages[0] + "; " + cookies[0]); token != pages[0] || set != nil {
		t.Errorf("with a valid access token: %q, cookies %q, want no exchange", token, set)
	}
	if token, _ := load("a=b", "X-Access-Token", "forged"); token != "" {
		t.Errorf("a browser's own header reached the page: %s", token)
	}
	w.backend(t, "DELETE", "/jwt/refresh/"+issued.RefreshTokenID, "")
	if token, set := load(cookies[0]); token != "" || !strings.Contains(strings.Join(set, "\n"), "refresh_token=; ") {
		t.Errorf("a session that ended: access token %q, cookies %q, want them deleted", token, set)
	}
}
