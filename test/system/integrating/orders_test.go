package integrating_test

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/refreshd/refreshd/test/support/rig"
)

// buildOrders builds the API that follows the revocations, in a reader's module that requires this one.
func buildOrders(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for _, b := range blocks(t) {
		if b.file == "orders/main.go" {
			writeFile(t, filepath.Join(dir, b.file), b.text)
		}
	}
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	run(t, dir, "go", "mod", "init", "example.com/shop")
	n := 0
	for _, b := range blocks(t) {
		if b.language != "sh" || !strings.HasPrefix(b.text, "go mod edit ") {
			continue
		}
		n++
		c := exec.Command("bash", "-euc", b.text)
		c.Dir, c.Env = dir, append(os.Environ(), "CLONE="+root)
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", b.text, err, out)
		}
	}
	if n != 1 {
		t.Fatalf("got %d blocks that require the package, want one", n)
	}
	if out, err := exec.Command("gofmt", "-l", dir).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("gofmt: %v, not formatted: %s", err, out)
	}
	run(t, dir, "go", "vet", "./orders")
	run(t, dir, "go", "build", "-o", "bin/", "./orders")
	return dir
}

// The API in Go of the document accepts an access token until its session is revoked, and not until it expires. A
// route that wants a fresh view refuses it too, and a response that has begun ends.
func TestTheAPIOfTheDocumentRefusesARevokedSession(t *testing.T) {
	w, dir := newWorld(t), buildOrders(t)
	w.start(t, dir, w.api, "./bin/orders")
	api := "http://" + w.api
	until(t, api+"/readyz", "", http.StatusOK)
	issued := w.backend(t, "POST", "/jwt/issue",
		`{"userId": "alice", "applicationsId": "demo", "roles": ["admin"]}`).data(t)
	other := w.backend(t, "POST", "/jwt/issue", `{"userId": "bob", "applicationsId": "demo"}`).data(t)
	for _, path := range []string{"/hello", "/pay"} {
		r := want(t, http.StatusOK, "GET", api+path, "", "Authorization", "Bearer "+issued.Token)
		if got := strings.TrimSpace(r.body); got != `{"hello":"alice","roles":["admin"]}` {
			t.Errorf("%s: got %s, want alice with admin", path, got)
		}
		if r := want(t, http.StatusUnauthorized, "GET", api+path, ""); strings.Contains(r.body, "invalid_token") {
			t.Errorf("%s without a token: %s, want no code", path, r.body)
		}
	}
	request, err := http.NewRequestWithContext(t.Context(), "GET", api+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+issued.Token)
	events, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer events.Body.Close()
	lines := bufio.NewReader(events.Body)
	if line, err := lines.ReadString('\n'); err != nil || !strings.HasPrefix(line, "data: ") {
		t.Fatalf("/events: %q, %v", line, err)
	}

	w.backend(t, "DELETE", "/jwt/refresh/"+issued.RefreshTokenID, "")
	revoked := time.Now()
	// The access token is valid for 15 minutes, so it is the stream that ends it. No bound of a second: a busy machine
	// may take longer, and make prove has the distribution.
	r := until(t, api+"/hello", issued.Token, http.StatusUnauthorized)
	t.Logf("refused %v after the revocation", time.Since(revoked).Round(time.Millisecond))
	if !strings.Contains(r.body, "revoked") || !strings.Contains(r.header.Get("WWW-Authenticate"), "invalid_token") {
		t.Errorf("a revoked token: %s %s", r.header.Get("WWW-Authenticate"), r.body)
	}
	want(t, http.StatusUnauthorized, "GET", api+"/pay", "", "Authorization", "Bearer "+issued.Token)
	if _, err := io.Copy(io.Discard, lines); err != nil {
		t.Errorf("/events did not end with its session: %v", err)
	}
	want(t, http.StatusOK, "GET", api+"/hello", "", "Authorization", "Bearer "+other.Token)
}

// until sends a request until it has the status; the test's own time limit ends it.
func until(t *testing.T, target, token string, status int) reply {
	t.Helper()
	for {
		r := send(t, rig.Client, "GET", target, "", "Authorization", "Bearer "+token)
		if r.status == status {
			return r
		}
		time.Sleep(10 * time.Millisecond) // between two requests, which are a load for the same machine
	}
}

// An API key of its own is enough for the API, and for nothing else.
func TestTheKeyOfTheAPI(t *testing.T) {
	w := newWorld(t)
	n := 0
	for _, b := range blocks(t) {
		commands, starts := strings.CutSuffix(b.text, "API_KEY_FILE=orders-key go run ./orders\n")
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
	text, err := os.ReadFile(filepath.Join(w.Dir, "orders-key"))
	if err != nil {
		t.Fatal(err)
	}
	key := strings.TrimSpace(string(text))
	want(t, http.StatusOK, "GET", w.refreshd+"/t/default/revocations", "", "Authorization", key)
	want(t, http.StatusUnauthorized, "GET", w.refreshd+"/jwt/refresh?userId=alice", "", "Authorization", key,
		"X-Stencil-TenantId", "default")
}

// The commands that show the frames show them, with the API key of the first start.
func TestTheCommandsThatShowTheRevocations(t *testing.T) {
	w := newWorld(t)
	issued := w.backend(t, "POST", "/jwt/issue", `{"userId": "alice", "applicationsId": "demo"}`).data(t)
	w.backend(t, "DELETE", "/jwt/refresh/"+issued.RefreshTokenID, "")
	n := 0
	for _, b := range blocks(t) {
		if b.language != "sh" || !strings.Contains(b.text, "/t/default/revocations") {
			continue
		}
		n++
		c := exec.Command("bash", "-uc", strings.ReplaceAll(b.text, "http://127.0.0.1:3000", w.refreshd))
		c.Dir = w.Dir
		out, _ := c.Output() // curl fails when the stream's time is over
		if strings.Contains(b.text, "text/event-stream") {
			if !strings.Contains(string(out), "\nevent: fresh\nid: ") || !strings.Contains(string(out), `"s":["`) {
				t.Errorf("%s: got %s", b.text, out)
			}
			continue
		}
		var frames []struct{ Event string }
		if err := json.Unmarshal(out, &frames); err != nil || len(frames) != 3 {
			t.Errorf("%s: got %s, %v; want hello, facts and fresh", b.text, out, err)
		}
	}
	if n != 2 {
		t.Errorf("got %d commands, want a long poll and a stream", n)
	}
}
