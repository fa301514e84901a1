package e2e_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/test/support/rig"
	"github.com/refreshd/refreshd/test/support/short"
)

func TestSIGTERMFinishesWhatIsRunning(t *testing.T) {
	eachStore(t, func(t *testing.T, d database) {
		s := start(t, d, settings{})
		g := s.issue(t, "alice", "shop")
		body := object("refreshToken", g.RefreshToken)
		c, err := net.Dial("tcp", strings.TrimPrefix(s.URL(), "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.SetDeadline(time.Now().Add(stopTimeout)); err != nil {
			t.Fatal(err)
		}
		// The response 100 shows that it reads the body: then the request is running.
		fmt.Fprintf(c, "POST /jwt/refresh HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nExpect: "+
			"100-continue\r\nContent-Length: %d\r\n\r\n", len(body))
		answers := bufio.NewReader(c)
		if line, err := answers.ReadString('\n'); err != nil || !strings.Contains(line, "100") {
			t.Fatalf("%q, %v; want 100 Continue", line, err)
		}
		if _, err := answers.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		s.http.CloseIdleConnections()
		s.Terminate()
		s.await("not ready", func() bool {
			res, err := http.Get(s.Admin + "/readyz")
			if err != nil {
				t.Fatalf("the admin listener is closed while a request is running: %v", err)
			}
			defer res.Body.Close()
			return res.StatusCode == http.StatusServiceUnavailable
		})
		s.await("closed to new calls", func() bool {
			_, err := s.do(call{method: "GET", path: "/readyz"})
			return err != nil
		})
		if _, err := io.WriteString(c, body); err != nil {
			t.Fatal(err)
		}
		res, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatalf("the running request got no answer: %v", err)
		}
		defer res.Body.Close()
		if text, err := io.ReadAll(res.Body); err != nil || res.StatusCode != http.StatusOK {
			t.Errorf("the running request got %d %s, %v", res.StatusCode, text, err)
		}
		s.Stop()
		if _, stopping := s.logged("stopping: finishing what is running", "level"); !stopping {
			t.Error("the log does not tell that it was stopped")
		}
	})
}

// An unauthenticated client with one connection must not make a stop fail: the exit status tells an orchestrator that
// nothing was lost.
func TestSIGTERMDoesNotWaitForABodyThatTrickles(t *testing.T) {
	s := start(t, newDatabase(t, memory), settings{})
	c, err := net.Dial("tcp", strings.TrimPrefix(s.URL(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const head = "POST /jwt/refresh HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 300\r\n\r\n"
	if _, err := io.WriteString(c, head); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(c).ReadString('\n'); err != nil || !strings.Contains(line, "100") {
		t.Fatalf("%q, %v; want 100 Continue", line, err)
	}
	s.Terminate()
	s.Stop() // and exits with 0
}

// A balancer learns a moment later that a process is not ready, and sends requests to it until then.
func TestAfterSIGTERMItServesForTheDelayWhileNotReady(t *testing.T) {
	short.LeaveOut(t, "the fifteen seconds of a delay")
	t.Parallel() // it takes the delay, during which a busy machine has to send three requests
	s := start(t, newDatabase(t, memory), settings{env: []string{"REFRESHD_SHUTDOWN_DELAY=15s"}})
	g := s.issue(t, "alice", "shop")
	s.Terminate()
	s.await("not ready", func() bool {
		a, err := s.do(call{method: "GET", path: "/readyz"})
		if err != nil {
			t.Fatalf("it does not listen any more: %v", err)
		}
		return a.status == http.StatusServiceUnavailable
	})
	s.exchange(t, g.RefreshToken)
	// A balancer that forwards connections does not see requests: a client that kept its connection would stay to the
	// end, and be cut off.
	res, err := s.http.Get(s.URL() + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if !res.Close {
		t.Error("a process that is stopping keeps the connection of its caller open")
	}
	s.Stop()
}

func TestConfigurationIsStrict(t *testing.T) {
	d := newDatabase(t, memory)
	secret := newMasterKey()
	for name, tt := range map[string]struct {
		env    []string
		args   []string
		says   string
		status int // 2: the command line is wrong
	}{
		"unknown key": {
			[]string{"REFRESHD_LISTNE=x"}, []string{"serve"},
			"REFRESHD_LISTNE is not a known setting; did you mean REFRESHD_LISTEN?", 1,
		},
		"unknown flag":       {nil, []string{"serve", "--lisen=127.0.0.1:0"}, "--listen", 2},
		"unknown command":    {nil, []string{"run"}, "did you mean `refreshd serve`?", 2},
		"no command":         {nil, []string{"--listen=127.0.0.1:0"}, "did you mean `refreshd serve --listen`?", 2},
		"a secret in a flag": {nil, []string{"serve", "--master-key=" + secret}, "REFRESHD_MASTER_KEY", 2},
		"a password in a flag": {
			nil, []string{"migrate", "--database-url=postgres://u:" + url.QueryEscape(secret) + "@127.0.0.1:1/x"},
			"--database-url holds a password, and arguments show in process lists; set REFRESHD_DATABASE_URL or " +
				"REFRESHD_DATABASE_URL_FILE", 2,
		},
		"a flag without one": {nil, []string{"migrate", "--database-url=postgres://u@127.0.0.1:1/x"}, "PostgreSQL", 1},
		"a secret twice": {
			[]string{"REFRESHD_MASTER_KEY=" + secret, "REFRESHD_MASTER_KEY_FILE=/nowhere"}, []string{"serve"},
			"REFRESHD_MASTER_KEY_FILE is set beside REFRESHD_MASTER_KEY (environment); keep one of them", 1,
		},
		"a wrong address": {[]string{"REFRESHD_LISTEN=nonsense"}, []string{"serve"}, "REFRESHD_LISTEN", 1},
		"a port": {
			[]string{"REFRESHD_PORT=8080"}, []string{"serve"},
			"REFRESHD_PORT is not a known setting; a port is set in REFRESHD_LISTEN", 1,
		},
		"an empty value": {[]string{"REFRESHD_LOG_LEVEL="}, []string{"serve"}, "REFRESHD_LOG_LEVEL is empty", 1},
		"a wrong database": {
			[]string{"REFRESHD_DATABASE_URL=mysql://root:" + secret + "@localhost/x"}, []string{"serve"},
			"REFRESHD_DATABASE_URL", 1,
		},
		"a wrong password": {
			[]string{
				"REFRESHD_DATABASE_URL=postgres://refreshd:" + url.QueryEscape(secret) + "@127.0.0.1:1/x",
				"REFRESHD_MASTER_KEY=" + secret, "REFRESHD_PUBLIC_URL=https://auth.example.com",
			}, []string{"serve"}, "PostgreSQL", 1,
		},
		"PostgreSQL, no public URL": {
			[]string{"REFRESHD_DATABASE_URL=postgres://127.0.0.1:1/x", "REFRESHD_MASTER_KEY=" + secret}, []string{"serve"},
			"REFRESHD_PUBLIC_URL is not set, or empty", 1,
		},
		"PostgreSQL, an empty public URL": {
			[]string{"REFRESHD_DATABASE_URL=postgres://127.0.0.1:1/x", "REFRESHD_PUBLIC_URL="}, []string{"serve"},
			"REFRESHD_PUBLIC_URL is not set, or empty", 1,
		},
		"a wrong origin":  {[]string{"REFRESHD_CORS_ORIGINS=*"}, []string{"serve"}, "REFRESHD_CORS_ORIGINS", 1},
		"migrate, memory": {nil, []string{"migrate"}, "memory", 1},
		"apply, memory":   {nil, []string{"apply", "-f", "x"}, "memory", 1},
	} {
		got := runVerb(t, d, settings{env: tt.env}, tt.args...)
		if got.Status != tt.status || !strings.Contains(got.Stderr, tt.says) || strings.Contains(got.String(), secret) {
			t.Errorf("%s: %s\nwant status %d and %q", name, got, tt.status, tt.says)
		}
	}
	// Variables that Kubernetes injects for Services with this one's name as a prefix are skipped.
	s := start(t, d, settings{env: []string{
		"REFRESHD_PORT=tcp://10.0.0.1:3000", "REFRESHD_PORT_3000_TCP_ADDR=10.0.0.1", "REFRESHD_SERVICE_HOST=10.0.0.1",
		"REFRESHD_SERVICE_PORT=3000", "REFRESHD_POSTGRESQL_SERVICE_HOST=10.3.1.4",
		"REFRESHD_DATABASE_PORT=tcp://10.3.1.4:5432",
		"REFRESHD_MASTER_KEY_PORT=tcp://10.3.1.4:1", "REFRESHD_METRICS_SERVICE_PORT_HTTP=3001",
		"REFRESHD_LOG_LEVEL=info\n", // a line break at the end is not part of a value
	}})

	for _, tt := range []struct {
		args   []string
		status int
		says   string
	}{
		{[]string{"version"}, 0, "refreshd "},
		{[]string{"--help"}, 0, "refreshd serve"},
		{[]string{"--version"}, 0, "refreshd "},
		{[]string{"help", "configuration"}, 0, "REFRESHD_DATABASE_URL"},
		{[]string{"config", "show"}, 0, "environment REFRESHD_LISTEN"},
		{[]string{"help"}, 0, "migrate"},
		{[]string{"serve", "--help"}, 0, "REFRESHD_LISTEN"},
		{[]string{"apply", "-h"}, 0, "kickstart"},
		{[]string{"migrate", "--help"}, 0, "REFRESHD_DATABASE_URL"},
		{[]string{"purge", "--help"}, 0, "REFRESHD_PURGE_AFTER"},
		{[]string{"health", "--listen=" + strings.TrimPrefix(s.URL(), "http://")}, 0, "ready"},
	} {
		if got := runVerb(t, d, settings{}, tt.args...); got.Status != tt.status || !strings.Contains(got.Stdout, tt.says) {
			t.Errorf("refreshd %s: %s\nwant status %d and %q", tt.args, got, tt.status, tt.says)
		}
	}
	s.Stop()
	if got := runVerb(t, d, settings{}, "health", "--listen="+strings.TrimPrefix(s.URL(), "http://")); got.Status != 1 ||
		got.Stderr == "" {
		t.Errorf("health of a stopped service: %s", got)
	}
}

// The error of an address that is in use comes before any other output on a terminal.
func TestATakenPortIsARefusal(t *testing.T) {
	d := newDatabase(t, memory)
	s := start(t, d, settings{})
	got := runVerb(t, d, settings{env: []string{"REFRESHD_LISTEN=" + strings.TrimPrefix(s.URL(), "http://")}}, "serve")
	if got.Status != 1 || !strings.Contains(got.Stderr, "REFRESHD_LISTEN") || got.Stdout != "" {
		t.Errorf("%s", got)
	}
	got = runVerb(t, d, settings{env: []string{"REFRESHD_ADMIN_LISTEN=" + strings.TrimPrefix(s.Admin, "http://")}},
		"serve")
	if got.Status != 1 || !strings.Contains(got.Stderr, "REFRESHD_ADMIN_LISTEN") {
		t.Errorf("%s", got)
	}
}

// Where both go to a terminal, the last line says what went wrong. stdout and stderr are written by goroutines of their
// own, so one run in the wrong order is chance: without the rule, some of these are.
func TestTheErrorOfACommandFollowsItsOutput(t *testing.T) {
	d := newDatabase(t, memory)
	for range 10 {
		both, err := os.Create(filepath.Join(t.TempDir(), "both"))
		if err != nil {
			t.Fatal(err)
		}
		defer both.Close()
		got := runVerb(t, d, settings{
			env:   []string{"REFRESHD_LOG_LEVEL=loud"},
			under: func(cmd *exec.Cmd) { cmd.Stdout, cmd.Stderr = both, both },
		}, "config", "show")
		text, err := os.ReadFile(both.Name())
		if err != nil {
			t.Fatal(err)
		}
		if i := strings.Index(string(text), "refreshd: config: 1 problem"); got.Status != 1 || i < 0 ||
			i < strings.Index(string(text), "shutdown_timeout") {
			t.Fatalf("status %d; want 1, and the error after the table:\n%s", got.Status, text)
		}
	}
}

var logFields = []string{
	"time", "level", "msg", "event", "id", "method", "route", "status", "durationMs", "tenant", "outcome",
}

func TestWhatOperatorsSee(t *testing.T) {
	eachStore(t, func(t *testing.T, d database) {
		s := start(t, d, settings{})
		g := s.issue(t, "alice", "shop")
		s.want(t, call{method: "POST", path: "/jwt/refresh", body: object("refreshToken", g.RefreshToken),
			header: map[string]string{"X-Request-Id": "op.1"}}, http.StatusOK)
		s.exchange(t, g.RefreshToken)
		s.refused(t, "rt_nonsense", "[invalid]refreshToken")
		s.want(t, acme(call{method: "GET", path: "/jwt/refresh/" + g.RefreshTokenID}), http.StatusOK)
		s.want(t, acme(call{method: "DELETE", path: "/jwt/refresh?tokenString=" + g.RefreshToken}), http.StatusOK)

		m := s.metrics()
		for name, want := range map[string]string{
			`refreshd_exchanges_total{outcome="rotated"}`:                                                     "1",
			`refreshd_exchanges_total{outcome="retried"}`:                                                     "1",
			`refreshd_exchanges_total{outcome="invalid"}`:                                                     "1",
			`refreshd_exchanges_total{outcome="replayed"}`:                                                    "0",
			`refreshd_http_request_duration_seconds_count{code="200",method="POST",route="/jwt/refresh"}`:     "2",
			`refreshd_http_request_duration_seconds_count{code="400",method="POST",route="/jwt/refresh"}`:     "1",
			`refreshd_http_request_duration_seconds_count{code="200",method="GET",route="/jwt/refresh/{id}"}`: "1",
			`refreshd_store_call_duration_seconds_count{call="insert",result="ok"}`:                           "1",
			`refreshd_tokens_issued_total`:                                                                    "1",
			`refreshd_revocations_total{kind="token"}`:                                                        "1",
			`refreshd_credentials_failed_total{kind="token_string"}`:                                          "1",
			`refreshd_log_lines_lost_total`:                                                                   "0",
			`refreshd_ready`:                                                                                  "1",
			`refreshd_store_call_duration_seconds_count{call="advance",result="ok"}`:                          "1",
		} {
			if m[name] != want {
				t.Errorf("%s = %q, want %s", name, m[name], want)
			}
		}
		if _, shown := m["refreshd_pool_open_connections"]; shown != (d.engine != memory) {
			t.Errorf("the state of the pool is shown: %t", shown)
		}

		// One line a request, with what is needed and without secrets. It is written a moment after the response.
		s.await("done with its log", func() bool { return strings.Contains(s.process.Log(), `"event":"token.revoked"`) })
		var exchange map[string]any
		requests := 0
		for line := range strings.Lines(s.process.Log()) {
			var l map[string]any
			if err := json.Unmarshal([]byte(line), &l); err != nil {
				t.Fatalf("not a line of JSON: %s", line)
			}
			if l["msg"] == "request" && l["route"] != "/readyz" {
				requests++
			}
			if l["id"] == "op.1" {
				exchange = l
			}
		}
		if requests != 6 {
			t.Errorf("%d lines for 6 requests", requests)
		}
		for _, field := range logFields {
			if _, there := exchange[field]; !there {
				t.Errorf("the line of a request has no %s: %v", field, exchange)
			}
		}
		if exchange["route"] != "/jwt/refresh" || exchange["status"] != 200.0 || exchange["tenant"] != "acme" ||
			exchange["outcome"] != "rotated" {
			t.Errorf("the line of an exchange is %v", exchange)
		}

		// The admin listener serves what must not be public, and the API does not serve it.
		for path, want := range map[string]string{"/healthz": "ok", "/readyz": "ready"} {
			if status, _, body := get(t, s.Admin+path); status != http.StatusOK || !strings.Contains(body, want) {
				t.Errorf("admin %s: %d %.200s", path, status, body)
			}
		}
		if status, _, _ := get(t, s.Admin+"/debug/pprof/"); status != http.StatusNotFound {
			t.Errorf("admin /debug/pprof/, which is off by default: %d, want 404", status)
		}
		if status, _, _ := get(t, s.URL()+"/metrics"); status != http.StatusNotFound {
			t.Errorf("API /metrics: %d, want 404", status)
		}
		if status, _, _ := get(t, s.Admin+"/jwt/refresh"); status != http.StatusNotFound {
			t.Errorf("admin /jwt/refresh: %d, want 404", status)
		}
	})
}

// getAs sends a request with another Host to the listener at url.
func getAs(t *testing.T, host, url string) (status int, body string) {
	t.Helper()
	address, path, _ := strings.Cut(strings.TrimPrefix(url, "http://"), "/")
	request := rig.Request{Method: http.MethodGet, Path: "/" + path, Header: map[string]string{"Host": host}}
	response, err := request.Do(t.Context(), http.DefaultClient, address)
	if err != nil {
		t.Fatal(err)
	}
	return response.Status, string(response.Body)
}

// A web page whose host name resolves to the operator's machine must not read a profile there, and no client may read
// the arguments of the process. Prometheus may use any Host.
func TestProfilesAreForThisMachineAndOnlyWhereAskedFor(t *testing.T) {
	s := start(t, newDatabase(t, memory), settings{env: []string{"REFRESHD_PPROF=true"}})
	_, port, err := net.SplitHostPort(strings.TrimPrefix(s.Admin, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]int{
		"localhost:" + port: http.StatusOK, "LOCALHOST": http.StatusOK, "127.0.0.1:" + port: http.StatusOK,
		"127.9.9.9": http.StatusOK, "[::1]:" + port: http.StatusOK, "[::ffff:127.0.0.1]": http.StatusOK,
		"evil.example:" + port: http.StatusForbidden, "localhost.evil.example": http.StatusForbidden,
		"10.0.0.1:" + port: http.StatusForbidden, "127.0.0.1.evil.example": http.StatusForbidden,
		"0.0.0.0": http.StatusForbidden, "[fe80::1]:" + port: http.StatusForbidden, "localhost.": http.StatusForbidden,
	} {
		for _, path := range []string{"/debug/pprof/", "/debug/pprof/goroutine?debug=1", "/debug/pprof/symbol"} {
			if status, body := getAs(t, host, s.Admin+path); status != want {
				t.Errorf("%s for Host %s: %d %.100s, want %d", path, host, status, body, want)
			}
		}
		for _, path := range []string{"/metrics", "/healthz", "/readyz"} {
			if status, body := getAs(t, host, s.Admin+path); status != http.StatusOK {
				t.Errorf("%s for Host %s: %d %.100s, want 200", path, host, status, body)
			}
		}
	}
	if status, _, body := get(t, s.Admin+"/debug/pprof/cmdline"); status != http.StatusNotFound {
		t.Errorf("the command line: %d %s, want 404", status, body)
	}
	if status, _, _ := get(t, s.URL()+"/debug/pprof/"); status != http.StatusNotFound {
		t.Errorf("profiles on the API's listener: %d, want 404", status)
	}
}

var reference = regexp.MustCompile(`(?:src|href)="([^"]*)"|url\(([^)]*)\)|@import`)

func TestDocumentsNeedNoNetwork(t *testing.T) {
	s := start(t, newDatabase(t, memory), settings{})
	status, header, yaml := get(t, s.URL()+"/openapi.yaml")
	if status != http.StatusOK || !strings.HasPrefix(yaml, "openapi: 3.1") && !strings.Contains(yaml, "\nopenapi: 3.1") {
		t.Errorf("/openapi.yaml: %d %s %.100s", status, header.Get("Content-Type"), yaml)
	}
	for _, path := range []string{"/jwt/issue:", "/jwt/refresh:", "/jwt/refresh/{"} {
		if !strings.Contains(yaml, "\n  "+path) {
			t.Errorf("/openapi.yaml does not have %s", path)
		}
	}
	status, header, page := get(t, s.URL()+"/docs")
	if status != http.StatusOK || !strings.HasPrefix(header.Get("Content-Type"), "text/html") {
		t.Fatalf("/docs: %d %s", status, header.Get("Content-Type"))
	}
	policy := header.Get("Content-Security-Policy")
	if !strings.HasPrefix(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") ||
		strings.Contains(policy, "http") {
		t.Errorf("Content-Security-Policy = %q", policy)
	}
	if rest := strings.Replace(page, `<script src="/docs/script.js" defer></script>`, "", 1); strings.Contains(rest,
		"<script") {
		t.Error("/docs has a script that is not a file of the service")
	}
	fetched := 0
	for _, m := range reference.FindAllStringSubmatch(page, -1) {
		to := m[1] + m[2]
		if strings.HasPrefix(to, "#") || strings.HasPrefix(to, "data:") {
			continue
		}
		if !strings.HasPrefix(to, "/") {
			continue // a link to follow; the page's policy forbids other requests
		}
		if status, _, _ := get(t, s.URL()+to); status != http.StatusOK {
			t.Errorf("/docs refers to %s: %d", to, status)
		}
		fetched++
	}
	if fetched == 0 {
		t.Error("/docs has no style sheet of the service")
	}
}

func TestHealthAndKeysAreCheapToAskFor(t *testing.T) {
	eachStore(t, func(t *testing.T, d database) {
		s := start(t, d, settings{})
		s.want(t, call{method: "GET", path: "/healthz"}, http.StatusOK)
		s.want(t, call{method: "GET", path: "/readyz/"}, http.StatusOK)
		s.issue(t, "alice", "shop")
		keys := call{method: "GET", path: "/t/acme/.well-known/jwks.json"}
		a := s.want(t, keys, http.StatusOK)
		if a.header.Get("Etag") == "" || !strings.Contains(a.header.Get("Cache-Control"), "max-age=") {
			t.Errorf("ETag %q, Cache-Control %q", a.header.Get("Etag"), a.header.Get("Cache-Control"))
		}
		keys.header = map[string]string{"If-None-Match": a.header.Get("Etag")}
		s.want(t, keys, http.StatusNotModified)
		var set struct{ Keys []map[string]any }
		if err := json.Unmarshal([]byte(a.body), &set); err != nil || len(set.Keys) != 1 {
			t.Fatalf("%v: %s", err, a.body)
		}
		if diff := cmp.Diff([]string{"alg", "crv", "kid", "kty", "use", "x", "y"}, keysOf(set.Keys[0])); diff != "" {
			t.Errorf("members of a published key (-want +got):\n%s", diff)
		}
	})
}
