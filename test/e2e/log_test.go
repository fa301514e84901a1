package e2e_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/refreshd/refreshd/test/support/rig"
)

// logReader is the reading end of a pipe to which a service writes its log.
type logReader struct {
	*bufio.Reader
	end, write *os.File
	seen       strings.Builder // everything that was read
}

// piped makes s write both of its outputs to a pipe.
func piped(t *testing.T, s *service) *logReader {
	t.Helper()
	end, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	s.writeTo(write)
	t.Cleanup(func() { end.Close() })
	r := &logReader{end: end, write: write}
	r.Reader = bufio.NewReader(io.TeeReader(end, &r.seen))
	return r
}

// writeTo makes s write both of its outputs to w.
func (v *service) writeTo(w *os.File) {
	under := v.settings.under
	v.settings.under = func(cmd *exec.Cmd) {
		if under != nil {
			under(cmd)
		}
		cmd.Stdout, cmd.Stderr = w, w
	}
}

// begin starts s, and reads r until the service logs its addresses.
func (r *logReader) begin(t *testing.T, s *service) {
	t.Helper()
	s.beginBlind()
	r.write.Close() // the service has its own descriptor
	for admin := ""; s.client == nil; {
		text, err := r.ReadString('\n')
		if err != nil {
			t.Fatalf("the service ended before it listened: %v\n%s", err, r.seen.String())
		}
		var line struct{ Msg, Address string }
		if json.Unmarshal([]byte(text), &line) != nil {
			continue
		}
		switch line.Msg {
		case "admin listening":
			admin = line.Address
		case "listening":
			s.reach(line.Address, admin)
		}
	}
}

// beginBlind starts v until the test ends, and ignores its exit status.
func (v *service) beginBlind() {
	v.t.Helper()
	process := begin(v.t, v.database, v.settings)
	v.process = process
	v.t.Cleanup(func() { _ = process.Kill() })
}

// unread returns a service in memory that is not started.
func unread(t *testing.T) *service {
	t.Helper()
	return &service{t: t, database: newDatabase(t, memory), settings: settings{env: []string{
		"REFRESHD_KICKSTART_FILE=" + kickstartFile(t, ""), "REFRESHD_LOG_FORMAT=json",
	}}}
}

const manyExchanges = 10_000

// exchangeMany runs n exchanges, several concurrently, each of which has to succeed.
func exchangeMany(t *testing.T, s *service) {
	t.Helper()
	var (
		group sync.WaitGroup
		wrong atomic.Pointer[string]
	)
	const users = 8
	for i := range users {
		g := s.issue(t, fmt.Sprintf("user%d", i), "shop")
		group.Go(func() {
			for range manyExchanges / users {
				a, err := s.do(call{method: "POST", path: "/jwt/refresh", body: object("refreshToken", g.RefreshToken)})
				if err != nil || a.status != http.StatusOK {
					wrong.CompareAndSwap(nil, new(fmt.Sprintf("%s, %v", a, err)))
					return
				}
			}
		})
	}
	group.Wait()
	if w := wrong.Load(); w != nil {
		t.Fatalf("an exchange was not answered: %s", *w)
	}
}

// servesOn checks that everything of s works, that lost lines, if any, are counted, and that s then obeys stop.
func servesOn(t *testing.T, s *service, loses bool, stop syscall.Signal) {
	t.Helper()
	exchangeMany(t, s)
	for _, url := range []string{s.URL() + "/healthz", s.URL() + "/readyz", s.Admin + "/healthz", s.Admin + "/readyz"} {
		if status, _, body := get(t, url); status != http.StatusOK {
			t.Errorf("%s: %d %s", url, status, body)
		}
	}
	if lost := s.metrics()["refreshd_log_lines_lost_total"]; lost == "" || (lost != "0") != loses {
		t.Errorf("%q lines of %d are counted as lost; want that some are: %t", lost, manyExchanges, loses)
	}
	s.http.CloseIdleConnections()
	s.Signal(stop)
	if state := s.waitForEnd(); state.ExitCode() != 0 {
		t.Errorf("it ended with %s, want status 0", state)
	}
}

// Whatever happens to the reader of the log, the service serves and obeys.
func TestTheLogCanNeitherEndNorStopTheService(t *testing.T) {
	t.Run("the reader has closed the pipe", func(t *testing.T) { // refreshd serve 2>&1 | head -n 3
		s := unread(t)
		r := piped(t, s)
		r.begin(t, s)
		r.end.Close()
		servesOn(t, s, true, syscall.SIGTERM)
	})
	t.Run("the reader has closed the pipe and SIGPIPE is ignored", func(t *testing.T) { // as systemd starts it
		s := unread(t)
		sh, err := exec.LookPath("sh")
		if err != nil {
			t.Fatal(err)
		}
		s.settings.under = func(cmd *exec.Cmd) {
			cmd.Path, cmd.Args = sh, []string{"sh", "-c", `trap '' PIPE; exec "$0" serve`, program.Path}
		}
		r := piped(t, s)
		r.begin(t, s)
		r.end.Close()
		servesOn(t, s, true, syscall.SIGTERM)
	})
	t.Run("it is not read", func(t *testing.T) {
		s := unread(t)
		piped(t, s).begin(t, s)
		servesOn(t, s, true, syscall.SIGTERM)
	})
	t.Run("the disk is full", func(t *testing.T) {
		full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer full.Close()
		servesOn(t, startedBlind(t, func(s *service) { s.writeTo(full) }), true, syscall.SIGTERM)
	})
	t.Run("without a descriptor", func(t *testing.T) { // 2>&-
		servesOn(t, startedBlind(t, func(s *service) {
			s.settings.under = func(cmd *exec.Cmd) {
				cmd.Path, cmd.Args = "/bin/sh", []string{"sh", "-c", `exec "$0" serve >&- 2>&-`, program.Path}
			}
		}), false, syscall.SIGTERM) // the runtime opens /dev/null instead
	})
}

// startedBlind returns a ready service without a log, so its addresses have to be chosen beforehand. If another process
// takes one first, the service ends, and is started again on others.
func startedBlind(t *testing.T, change func(*service)) *service {
	t.Helper()
	for range 10 {
		s := unread(t)
		change(s)
		addresses, err := rig.FreeAddresses(2)
		if err != nil {
			t.Fatal(err)
		}
		s.settings.listen = [2]string(addresses)
		s.beginBlind()
		if err := s.process.Ready(t.Context()); err == nil {
			s.reach(addresses[0], addresses[1])
			return s
		} else if s.process.State() == nil {
			t.Fatal(err)
		}
	}
	t.Fatal("no service is ready after ten starts")
	return nil
}

// The log reports lost lines where they are missing, and nowhere else: every line is in it once, whole and in order, or
// is counted.
func TestWhatTheLogLostIsToldOnceItIsReadAgain(t *testing.T) {
	s := unread(t)
	r := piped(t, s)
	r.begin(t, s)
	exchangeMany(t, s)
	lost := s.metrics()["refreshd_log_lines_lost_total"]
	told, exchanges, stopping := 0, 0, false
	for {
		text, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) && len(text) == 0 {
			break
		}
		var line struct {
			Event string
			Lines int
		}
		if err := errors.Join(err, json.Unmarshal(text, &line)); err != nil {
			t.Fatalf("a torn line: %v in %q", err, text)
		}
		switch {
		case line.Event == "log.lost": // without another line after it
			told += line.Lines
			s.http.CloseIdleConnections()
			s.Terminate()
		case line.Event == "server.stopping":
			stopping = true
		case strings.HasPrefix(line.Event, "exchange."):
			exchanges++
		}
	}
	if state := s.waitForEnd(); state.ExitCode() != 0 || !stopping {
		t.Errorf("it ended with %s, and said so: %t; want status 0 and true", state, stopping)
	}
	if fmt.Sprint(told) != lost || told == 0 {
		t.Errorf("the log reports %d lost lines, the metrics %s", told, lost)
	}
	if exchanges+told < manyExchanges || exchanges == 0 {
		t.Errorf("%d exchanges are in the log and %d lines were lost, of %d", exchanges, told, manyExchanges)
	}
}

// A process that crashes must end, and say why if it can: a balancer takes a process that hangs for a slow one.
func TestACrashEndsTheProcessThoughNobodyReads(t *testing.T) {
	s := unread(t)
	piped(t, s).begin(t, s)
	exchangeMany(t, s) // the pipe is full
	s.Signal(syscall.SIGQUIT)
	if state := s.waitForEnd(); state.ExitCode() != 2 {
		t.Errorf("it ended with %s, want the status of a crash, 2", state)
	}
}

// The lines before a crash are in the log.
func TestTheLastWordsOfACrashFollowTheLog(t *testing.T) {
	const stopping = "\t\tv.stopping.Store(true)\n"
	s := unread(t)
	s.settings.program = built(t, rig.BuildOptions{Name: "crashing", Changes: []rig.Change{
		{File: "cmd/run/serve.go", From: stopping, To: stopping + "\t\tpanic(\"these are the last words\")\n"},
	}})
	r := piped(t, s)
	r.begin(t, s)
	for range 2000 { // more than the pipe holds
		s.want(t, call{method: "GET", path: "/nowhere"}, http.StatusNotFound)
	}
	s.Terminate()
	rest, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	state := s.waitForEnd()
	log, crash, found := strings.Cut(string(rest), "panic: these are the last words")
	if !found || !strings.Contains(crash, "goroutine ") || state.ExitCode() != 2 {
		t.Errorf("%s, and the log ends in %q", state, tail(string(rest)))
	}
	got := strings.Count(log, `"route":"unmatched"`)
	if got != 2000 || !strings.Contains(log, `"event":"server.stopping"`) {
		t.Errorf("%d of 2000 lines stand before the crash, and after them %q", got, tail(log))
	}
}

// Log rotation and systemctl reload send SIGHUP. It must not end a service, nor suggest that it read its configuration
// again.
func TestSIGHUPReadsTheKeysAgainAndEndsNothing(t *testing.T) {
	s := start(t, newDatabase(t, sqlite), settings{env: []string{"REFRESHD_LOG_FORMAT=json"}})
	g := s.issue(t, "alice", "shop")
	for n := range 2 {
		s.Signal(syscall.SIGHUP)
		s.await("saying that the keys were read", func() bool {
			return strings.Count(s.process.Log(), `"event":"keys.reloaded"`) == n+1
		})
	}
	s.exchange(t, g.RefreshToken)
}

// fullPipe returns a pipe that is full until it is read, and how much it contains.
func fullPipe(t *testing.T) (end, write *os.File, filled int) {
	t.Helper()
	end, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { end.Close() })
	if err := write.SetWriteDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if filled, err = write.Write(make([]byte, 1<<21)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("the pipe took %d bytes: %v", filled, err)
	}
	return end, write, filled
}

// A reader that closes after the first line must not change what the command does; the command reports that not all was
// read.
func TestACommandWhoseOutputIsNotReadDoesItsWorkAndSaysSo(t *testing.T) {
	d := newDatabase(t, sqlite)
	kickstart := func(cmd *exec.Cmd) { cmd.Env = append(cmd.Env, "REFRESHD_KICKSTART_FILE="+kickstartFile(t, "")) }
	got := runVerb(t, d, settings{under: func(cmd *exec.Cmd) {
		kickstart(cmd)
		end, write, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		end.Close()
		t.Cleanup(func() { write.Close() })
		cmd.Stdout = write
	}}, "apply")
	if got.Status != 1 || !strings.Contains(got.Stderr, "is done, but its output could not be written") {
		t.Errorf("apply into a closed pipe: %s", got)
	}
	again := runVerb(t, d, settings{under: kickstart}, "apply")
	if again.Status != 0 || !strings.Contains(again.Stdout, "\n0 created, 0 updated") {
		t.Errorf("the same again: %s, want that all is there", again)
	}

	// A slow reader gets everything; and a signal ends a command that waits for a reader that stopped.
	for _, signalled := range []bool{false, true} {
		end, write, filled := fullPipe(t)
		help := begin(t, d, settings{under: func(cmd *exec.Cmd) { cmd.Stdout = write }}, "help")
		write.Close()
		if signalled {
			if err := help.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if err := help.Wait(); err != nil || help.State().Success() {
				t.Errorf("what was not read was written: status 0, or %v", err)
			}
		} else {
			text, err := io.ReadAll(end)
			if err := help.Wait(); err != nil || !help.State().Success() {
				t.Errorf("%v, %s", err, help.State())
			}
			if err != nil || !strings.Contains(string(text[filled:]), "REFRESHD_DATABASE_URL") {
				t.Errorf("got %d bytes of help, %v", len(text)-filled, err)
			}
		}
	}
}
