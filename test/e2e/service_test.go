package e2e_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// What takes longer is stuck: the service's own time-outs are a few seconds each, and the rest is for a machine that is
// busy. Nothing is judged by how much was done until then.
const (
	startTimeout = 3 * time.Minute
	stopTimeout  = time.Minute
)

// loud has every statement logged, so that these lines are searched for secrets too.
const loud = "REFRESHD_LOG_LEVEL=debug"

// settings are what a process is told beside its database.
type settings struct {
	program       string // if it is not the one that was built from the source as it is
	env           []string
	kickstart     string // of the file; empty for testdata/kickstart.yaml
	noKickstart   bool
	expectsErrors bool                // that it logs an error is part of the test
	under         func(cmd *exec.Cmd) // what is done to the command before it starts
}

// service is a running process. Its methods may be called from several goroutines, those that end it aside.
type service struct {
	*client
	Admin string // the base URL of the admin listener

	t        *testing.T
	database database
	settings settings
	cmd      *exec.Cmd
	ended    chan struct{}
	log      string // the file that has what it wrote to stderr
	stdout   string // and to stdout
	killed   bool
	stopped  bool
}

var processes atomic.Int64

// command is the program with d and s, and with what it writes going to two files that are searched for secrets.
func command(t *testing.T, d database, s settings, args ...string) (cmd *exec.Cmd, stdout, stderr string) {
	t.Helper()
	cmd = exec.Command(cmp.Or(s.program, program), args...)
	cmd.Dir = d.dir
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "REFRESHD_DATABASE_URL=" + d.url, "REFRESHD_LISTEN=127.0.0.1:0", "REFRESHD_ADMIN_LISTEN=127.0.0.1:0",
		// All clients have one address here.
		"REFRESHD_RATE_LIMIT_ADDRESS=0", "REFRESHD_RATE_LIMIT_API_KEY=0", "REFRESHD_RATE_LIMIT_REFRESH_TOKEN=0",
		"ACME_KEY=" + acmeKey, "READER_KEY=" + readerKey, "RIVAL_KEY=" + rivalKey, "EXPIRED_KEY=" + expiredKey,
	}
	if d.engine == postgreSQL {
		cmd.Env = append(cmd.Env, "REFRESHD_PUBLIC_URL=https://auth.example.com")
	}
	if d.masterKey != "" {
		cmd.Env = append(cmd.Env, "REFRESHD_MASTER_KEY="+d.masterKey)
	}
	cmd.Env = append(cmd.Env, s.env...)
	name := fmt.Sprintf("%s-%d", strings.NewReplacer("/", "_", " ", "_").Replace(t.Name()), processes.Add(1))
	create := func(suffix string) *os.File {
		f, err := os.OpenFile(filepath.Join(logs, name+suffix), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	out, err := create(".stdout"), create(".stderr")
	cmd.Stdout, cmd.Stderr = out, err
	if s.under != nil {
		s.under(cmd)
	}
	return cmd, out.Name(), err.Name()
}

// result is a process that ended by itself.
type result struct {
	status         int
	stdout, stderr string
}

func (r result) String() string {
	return fmt.Sprintf("exit status %d\nstdout: %s\nstderr: %s", r.status, r.stdout, r.stderr)
}

// runVerb runs the program with args to its end.
func runVerb(t *testing.T, d database, s settings, args ...string) result {
	t.Helper()
	cmd, stdout, stderr := command(t, d, s, args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(startTimeout, func() { cmd.Process.Kill() })
	defer timer.Stop()
	_ = cmd.Wait() // the status says it
	return result{cmd.ProcessState.ExitCode(), read(t, stdout), read(t, stderr)}
}

// start runs a service until the test ends, and returns when it is ready. Where it did not end by itself as it should, or logged
// an error that the test did not announce, the test fails.
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

func (v *service) run() {
	v.t.Helper()
	v.cmd, v.stdout, v.log = command(v.t, v.database, v.settings, "serve")
	v.launch()
}

// launch starts v.cmd, and returns when the service is ready.
func (v *service) launch() {
	v.t.Helper()
	v.killed, v.stopped, v.ended = false, false, make(chan struct{})
	if err := v.cmd.Start(); err != nil {
		v.t.Fatal(err)
	}
	v.started()
}

// started returns when v.cmd, which was started, is ready.
func (v *service) started() {
	v.t.Helper()
	go func() {
		_ = v.cmd.Wait() // the state of the process tells
		close(v.ended)
	}()
	var api string
	v.await("listening", func() bool {
		var ok bool
		if api, ok = v.logged("listening", "address"); !ok {
			return false
		}
		v.Admin, ok = v.logged("admin listening", "address")
		return ok
	})
	v.Admin = "http://" + v.Admin
	if v.client == nil {
		v.client = newClient()
	}
	v.setURL("http://" + api)
	v.await("ready", func() bool {
		a, err := v.do(call{method: "GET", path: "/readyz"})
		return err == nil && a.status == http.StatusOK
	})
}

// awaitNotReady returns when the service has seen that it is not ready: a probe that succeeded is believed for a
// second.
func (v *service) awaitNotReady(t *testing.T) {
	t.Helper()
	v.await("not ready", func() bool {
		return v.mustDo(t, call{method: "GET", path: "/readyz"}).status == http.StatusServiceUnavailable
	})
}

// eventually asks until is true, at growing intervals.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	deadline := time.Now().Add(startTimeout)
	for pause := 5 * time.Millisecond; !is(); pause = min(2*pause, 40*time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not after %s: %s", startTimeout, what)
		}
		time.Sleep(pause) // between two questions
	}
}

// await asks until is true, at growing intervals, for as long as the process lives.
func (v *service) await(what string, is func() bool) {
	v.t.Helper()
	deadline := time.Now().Add(startTimeout)
	for pause := 5 * time.Millisecond; !is(); pause = min(2*pause, 40*time.Millisecond) {
		select {
		case <-v.ended:
			v.t.Fatalf("the service ended before it was %s:\n%s", what, read(v.t, v.log))
		case <-time.After(pause): // between two questions
		}
		if time.Now().After(deadline) {
			v.t.Fatalf("the service is not %s after %s:\n%s", what, startTimeout, read(v.t, v.log))
		}
	}
}

// logged finds the field of the first line with that message in the service's log.
func (v *service) logged(message, field string) (string, bool) {
	for line := range strings.Lines(read(v.t, v.log)) {
		var l map[string]any
		if json.Unmarshal([]byte(line), &l) == nil && l["msg"] == message {
			value, ok := l[field].(string)
			return value, ok
		}
	}
	return "", false
}

// Terminate sends SIGTERM, and does not wait.
func (v *service) Terminate() {
	v.t.Helper()
	if err := v.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		v.t.Error(err)
	}
}

// Stop ends the service by SIGTERM, which it has to obey with status 0. Again, it does nothing.
func (v *service) Stop() {
	v.t.Helper()
	if v.killed || v.stopped {
		return
	}
	v.stopped = true
	// A connection that was opened and never used would keep the service for five seconds.
	v.http.CloseIdleConnections()
	v.Terminate()
	v.waitForEnd()
	if status := v.cmd.ProcessState.ExitCode(); status != 0 {
		v.t.Errorf("exit status after SIGTERM = %d, want 0\n%s", status, tail(read(v.t, v.log)))
	}
	if v.settings.expectsErrors {
		return
	}
	for line := range strings.Lines(read(v.t, v.log)) {
		if strings.Contains(line, `"level":"ERROR"`) || strings.HasPrefix(line, "panic") {
			v.t.Errorf("the service logged: %.2000s", line)
			break
		}
	}
}

func (v *service) waitForEnd() {
	v.t.Helper()
	select {
	case <-v.ended:
	case <-time.After(stopTimeout): // it is stuck
		v.cmd.Process.Kill()
		<-v.ended
		v.t.Errorf("the service did not end within %s of SIGTERM", stopTimeout)
	}
}

// Kill9 ends the service as a power cut would.
func (v *service) Kill9() {
	v.t.Helper()
	v.killed = true
	if err := v.cmd.Process.Kill(); err != nil {
		v.t.Fatal(err)
	}
	<-v.ended
}

// Restart stops the service unless it was killed, and starts it on the same store, on another port. Its client follows.
func (v *service) Restart() {
	v.t.Helper()
	v.Stop()
	v.run()
}

// metrics are the service's counters and gauges by name and labels.
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

// storeCalls are how many calls of the store there were, by call and result. The janitor's come when it likes, and are left out.
func (v *service) storeCalls() map[string]string {
	calls := map[string]string{}
	for name, value := range v.metrics() {
		if strings.HasPrefix(name, "refreshd_store_call_duration_seconds_count{") && !strings.Contains(name, `call="purge"`) {
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
