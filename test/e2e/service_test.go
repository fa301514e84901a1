package e2e_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/refreshd/refreshd/test/support/rig"
)

// startTimeout bounds every wait. A wait that takes longer is stuck: the service's own time-outs are a few seconds
// each, and the rest is for a busy machine. No result depends on how much was done until then.
const startTimeout = 3 * time.Minute

// stopTimeout bounds the wait for the end of a process.
const stopTimeout = time.Minute

// loud makes a service log every statement, so that these lines are searched for secrets too.
const loud = "REFRESHD_LOG_LEVEL=debug"

// settings configure a process, beside its database.
type settings struct {
	program       rig.Program // zero: the one that was built from the unchanged source
	env           []string
	kickstart     string // a path; empty: testdata/kickstart.yaml
	noKickstart   bool
	expectsErrors bool                // the test provokes errors in the log
	under         func(cmd *exec.Cmd) // changes the command before it starts
	listen        [2]string           // addresses of the API and the admin listener, if the log does not contain them
}

// service is a running process. Its methods may be called concurrently, except those that end it.
type service struct {
	*client
	Admin string // the base URL of the admin listener

	t        *testing.T
	database database
	settings settings
	process  *rig.Service
}

// rigged returns s on d for the rig. The output of the process is searched for secrets.
func (s settings) rigged(t *testing.T, d database) (rig.Program, rig.Settings) {
	t.Helper()
	r := rig.Settings{
		Database: d.url, Plain: true, Dir: d.dir, Alter: s.under, Listen: s.listen[0], AdminListen: s.listen[1],
		Name: strings.NewReplacer("/", "_", " ", "_").Replace(t.Name()),
		Env: []string{"PATH=" + os.Getenv("PATH"),
			"ACME_KEY=" + acmeKey, "READER_KEY=" + readerKey, "RIVAL_KEY=" + rivalKey, "EXPIRED_KEY=" + expiredKey},
	}
	if d.engine == postgreSQL {
		r.Env = append(r.Env, "REFRESHD_PUBLIC_URL=https://auth.example.com")
	}
	if d.masterKey != "" {
		r.Env = append(r.Env, "REFRESHD_MASTER_KEY="+d.masterKey)
	}
	r.Env = append(r.Env, s.env...)
	p := program
	p.Path = cmp.Or(s.program.Path, p.Path)
	return p, r
}

// begin starts the program with args on d, and does not wait.
func begin(t *testing.T, d database, s settings, args ...string) *rig.Service {
	t.Helper()
	p, how := s.rigged(t, d)
	process, err := p.Start(context.Background(), how, args...)
	if err != nil {
		t.Fatal(err)
	}
	return process
}

// runVerb runs the program with args to its end.
func runVerb(t *testing.T, d database, s settings, args ...string) rig.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	p, how := s.rigged(t, d)
	result, err := p.Verb(ctx, how, args...)
	if err != nil {
		t.Fatalf("%v: %s", err, result)
	}
	return result
}

// start runs a service until the test ends, and returns when it is ready. The test fails if the service did not end
// properly, or logged an error that the test did not announce.
func start(t *testing.T, d database, s settings) *service {
	t.Helper()
	if !s.noKickstart {
		s.env = append(s.env, "REFRESHD_KICKSTART_FILE="+kickstartFile(t, s.kickstart))
	}
	v := &service{t: t, database: d, settings: s}
	v.run()
	t.Cleanup(v.Stop)
	return v
}

func kickstartFile(t *testing.T, text string) string {
	t.Helper()
	if text == "" {
		path, err := filepath.Abs("testdata/kickstart.yaml")
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	path := filepath.Join(t.TempDir(), "kickstart.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// run starts the process, and returns when it is ready.
func (v *service) run() {
	v.t.Helper()
	v.process = begin(v.t, v.database, v.settings)
	v.started()
}

// started returns when the process is ready.
func (v *service) started() {
	v.t.Helper()
	if err := v.process.Ready(context.Background()); err != nil {
		v.t.Fatal(err)
	}
	v.reach(v.process.API, v.process.Admin)
}

// reach sets the client's base URL to the service's addresses.
func (v *service) reach(api, admin string) {
	v.Admin = "http://" + admin
	if v.client == nil {
		v.client = newClient()
	}
	v.setURL("http://" + api)
}

// awaitNotReady returns when the service knows that it is not ready: it reuses a successful probe for a second.
func (v *service) awaitNotReady(t *testing.T) {
	t.Helper()
	v.await("not ready", func() bool {
		return v.mustDo(t, call{method: "GET", path: "/readyz"}).status == http.StatusServiceUnavailable
	})
}

// eventually calls is until it returns true, at growing intervals.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	deadline := time.Now().Add(startTimeout)
	for pause := 5 * time.Millisecond; !is(); pause = min(2*pause, 40*time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not after %s: %s", startTimeout, what)
		}
		time.Sleep(pause) // between two attempts
	}
}

// await calls is until it returns true, at growing intervals, while the process runs.
func (v *service) await(what string, is func() bool) {
	v.t.Helper()
	deadline := time.Now().Add(startTimeout)
	for pause := 5 * time.Millisecond; !is(); pause = min(2*pause, 40*time.Millisecond) {
		select {
		case <-v.process.Ended():
			v.t.Fatalf("the service ended before it was %s:\n%s", what, v.process.Log())
		case <-time.After(pause): // between two attempts
		}
		if time.Now().After(deadline) {
			v.t.Fatalf("the service is not %s after %s:\n%s", what, startTimeout, v.process.Log())
		}
	}
}

// logged returns the field of the first line with that message in the service's log.
func (v *service) logged(message, field string) (string, bool) {
	for line := range strings.Lines(v.process.Log()) {
		var l map[string]any
		if json.Unmarshal([]byte(line), &l) == nil && l["msg"] == message {
			value, ok := l[field].(string)
			return value, ok
		}
	}
	return "", false
}

// Signal sends the process a signal.
func (v *service) Signal(signal os.Signal) {
	v.t.Helper()
	if err := v.process.Signal(signal); err != nil {
		v.t.Error(err)
	}
}

// Terminate sends SIGTERM, and does not wait.
func (v *service) Terminate() {
	v.t.Helper()
	if err := v.process.Terminate(); err != nil {
		v.t.Error(err)
	}
}

// Stop ends the service by SIGTERM, after which it has to exit with status 0. A second call does nothing.
func (v *service) Stop() {
	v.t.Helper()
	// An unused connection would keep the service running for five seconds.
	v.http.CloseIdleConnections()
	if err := v.process.Stop(); err != nil {
		v.t.Error(err)
	}
	if lines := v.process.ErrorsLogged(); len(lines) > 0 && !v.settings.expectsErrors {
		v.t.Errorf("the service logged: %.2000s", lines[0])
	}
}

// waitForEnd waits for the end of a process that was asked to end, and returns how it did.
func (v *service) waitForEnd() *os.ProcessState {
	v.t.Helper()
	if err := v.process.Wait(); err != nil {
		v.t.Error(err)
	}
	return v.process.State()
}

// Kill9 ends the service as a power cut would.
func (v *service) Kill9() {
	v.t.Helper()
	if err := v.process.Kill(); err != nil {
		v.t.Fatal(err)
	}
}

// Restart stops the service unless it was killed, and starts it on the same store, on another port. Its client follows.
func (v *service) Restart() {
	v.t.Helper()
	v.Stop()
	v.run()
}

// metrics returns the service's counters and gauges by name and labels.
func (v *service) metrics() map[string]string {
	v.t.Helper()
	status, _, body := get(v.t, v.Admin+"/metrics")
	if status != http.StatusOK {
		v.t.Fatalf("GET /metrics: %d", status)
	}
	all := map[string]string{}
	for line := range strings.Lines(body) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok && name != "#" {
			all[name] = value
		}
	}
	return all
}

// workersCalls are the calls of the store that the service's background workers make, at any time.
var workersCalls = []string{
	"api_keys_hashed_with", "beat", "change_keys", "key_revision", "keys_of_tenant", "keys_since", "lease",
	"oldest_rotation", "purge", "release", "revoked", "signing_keys", "stamp",
}

// storeCalls returns how many calls of the store there were, by call and result, without those that the background
// workers make.
func (v *service) storeCalls() map[string]string {
	calls := map[string]string{}
	for name, value := range v.metrics() {
		call, ok := strings.CutPrefix(name, `refreshd_store_call_duration_seconds_count{call="`)
		if call, _, _ = strings.Cut(call, `"`); ok && !slices.Contains(workersCalls, call) {
			calls[name] = value
		}
	}
	return calls
}

func get(t *testing.T, url string) (status int, header http.Header, body string) {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, res.Header, string(b)
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func tail(s string) string {
	b := bytes.TrimSpace([]byte(s))
	return string(b[max(0, len(b)-4000):])
}
