package rig

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	_ "modernc.org/sqlite"
)

func TestProcessesAreReadWhateverTheirName(t *testing.T) {
	got, err := parseStat("4711 (a) (b) S 42 1 1 0 -1 4194560 1 2 0 0 150 50 30 20 20 0 7 0 99 1000 10 " +
		"18446744073709551615")
	want := Process{Name: "a) (b", Parent: 42, CPU: 2 * time.Second, Children: 500 * time.Millisecond, Threads: 7}
	if err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	for _, bad := range []string{"", "1 (x) S", "1 x S 1 1 1 0 -1 4194560 1 2 0 0 150 50 30 20"} {
		if got, err := parseStat(bad); err == nil {
			t.Errorf("%q: got %+v, want an error", bad, got)
		}
	}
}

func TestMachineIsIdleAlsoWhileItWaitsForTheDisk(t *testing.T) {
	got, err := parseMachine("cpu  100 10 200 600 50 5 15 20 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n")
	if want := (Machine{Total: 10 * time.Second, Idle: 6500 * time.Millisecond}); err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	for _, bad := range []string{"", "cpu 1 2 3", "intr 1 2 3 4 5 6 7 8 9", "cpu a b c d e f g h"} {
		if got, err := parseMachine(bad); err == nil {
			t.Errorf("%q: got %+v, want an error", bad, got)
		}
	}
}

func TestMetricIsTheOneOfThatName(t *testing.T) {
	const text = "first 7\n# HELP a_total x\na_total_created 1\na_total 1.5e+06\nb 2\nb{c=\"d\"} 3\n"
	for name, want := range map[string]float64{"first": 7, "a_total": 1.5e6, "b": 2, `b{c="d"}`: 3} {
		if got, err := metric(text, name); got != want || err != nil {
			t.Errorf("%s: got %v, %v, want %v", name, got, err, want)
		}
	}
	if _, err := metric(text, "c"); err == nil {
		t.Error("an unknown metric: want an error")
	}
}

// built is the program, which all tests of this package share.
var built = sync.OnceValues(func() (Program, error) {
	dir, err := os.MkdirTemp("", "refreshd-rig-")
	if err != nil {
		return Program{}, err
	}
	return Build(context.Background(), dir, BuildOptions{Version: "v1.2.3-rig"})
})

func TestMain(m *testing.M) {
	if os.Getenv(asParent) != "" {
		beParent()
	}
	status := m.Run()
	if p, err := built(); err == nil {
		os.RemoveAll(p.Dir)
	}
	os.Exit(status)
}

func program(t *testing.T) Program {
	t.Helper()
	p, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func serve(t *testing.T, s Settings) *Service {
	t.Helper()
	service, err := program(t).Serve(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := service.Stop(); err != nil {
			t.Error(err)
		}
	})
	return service
}

func TestProgramIsTheOneThatWasAskedFor(t *testing.T) {
	if got, want := program(t).Version, "refreshd v1.2.3-rig"; got != want {
		t.Errorf("got version %q, want %q", got, want)
	}
	for _, change := range []Change{{"cmd/refreshd/main.go", "nowhere", ""}, {"cmd/refreshd/nowhere.go", "a", "b"}} {
		if _, err := Build(t.Context(), t.TempDir(), BuildOptions{Changes: []Change{change}}); err == nil {
			t.Errorf("%v does not fit the source: want an error", change)
		}
	}
}

func TestServiceIsThereUntilItIsStopped(t *testing.T) {
	s := serve(t, Settings{Database: "memory:"})
	if s.API == "" || s.Admin == "" || s.ReadyAfter == 0 {
		t.Errorf("ready at %q and %q after %s", s.API, s.Admin, s.ReadyAfter)
	}
	if n, err := s.Metric(t.Context(), "go_goroutines"); n < 1 || err != nil {
		t.Errorf("goroutines: got %v, %v", n, err)
	}
	if r := s.Resources(); runtime.GOOS == "linux" && (r.RSS < 1 || r.Files < 3 || r.Threads < 1) {
		t.Errorf("resources: got %+v", r)
	}
	if err := s.Forget(); err != nil || s.Log() != "" {
		t.Errorf("after Forget: %v, the log is %q", err, s.Log())
	}
	for range 2 {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	}
	if _, _, err := get(t.Context(), "http://"+s.API+"/healthz"); err == nil {
		t.Error("it still answers")
	}
}

func TestKilledServiceComesBackOnItsAddress(t *testing.T) {
	addresses, err := FreeAddresses(2)
	if err != nil {
		t.Fatal(err)
	}
	settings := Settings{
		Database: "sqlite:" + filepath.Join(t.TempDir(), "a.db"), Listen: addresses[0], AdminListen: addresses[1],
		Env: []string{"REFRESHD_LOG_LEVEL=warn"}, // so that the log has no address
	}
	for range 2 {
		s := serve(t, settings)
		if s.API != addresses[0] || s.Admin != addresses[1] {
			t.Errorf("at %s and %s, want %v", s.API, s.Admin, addresses)
		}
		for range 2 {
			if err := s.Kill(); err != nil {
				t.Error(err)
			}
		}
		select {
		case <-s.Ended():
		default:
			t.Error("it has not ended")
		}
	}
}

func TestServiceThatCannotStartExplainsItself(t *testing.T) {
	const kickstart = "tenants: [{id: 'no id'}]"
	_, err := program(t).Serve(t.Context(), Settings{Database: "memory:", Kickstart: kickstart})
	if err == nil || !strings.Contains(err.Error(), "ended before it was ready") ||
		!strings.Contains(err.Error(), "tenants[0].id") {
		t.Errorf("got %v, want an error that quotes the log", err)
	}
}

func TestServiceThatEndsByItselfIsToldOf(t *testing.T) {
	s, err := program(t).Start(t.Context(), Settings{Database: "nonsense:"})
	if err != nil {
		t.Fatal(err)
	}
	<-s.Ended()
	if err := s.Stop(); err == nil || !strings.Contains(err.Error(), "ended by itself") {
		t.Errorf("Stop: got %v, want an error", err)
	}
}

func TestErrorsAreFoundInTheLog(t *testing.T) {
	s := &Service{log: filepath.Join(t.TempDir(), "log")}
	const text = `{"level":"INFO","msg":"ERROR"}` + "\n" + `{"level":"ERROR","msg":"bad"}` + "\npanic: x\n"
	if err := os.WriteFile(s.log, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := s.ErrorsLogged(); len(got) != 2 || got[1] != "panic: x" {
		t.Errorf("got %q, want two lines", got)
	}
	if err := s.Forget(); err == nil || s.Log() != text {
		t.Error("Forget: want an error, and the log unchanged")
	}
}

func TestACommandRunsToItsEndOrUntilItIsCancelled(t *testing.T) {
	p := program(t)
	if got, err := p.Run(t.Context(), Settings{}, "version"); err != nil || !strings.Contains(got, "v1.2.3-rig") {
		t.Errorf("version: got %q, %v", got, err)
	}
	_, err := p.Run(t.Context(), Settings{}, "nonsense")
	if err == nil || !strings.Contains(err.Error(), "unknown command") {
		t.Errorf("an unknown command: got %v, want its message", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := p.Run(ctx, Settings{Database: "memory:"}, "serve"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a command that was cancelled: got %v", err)
	}
}

// A service whose clock is in a file takes every time from it, as a service does whose clock is in its environment.
func TestProgramWithAClockGoesByIt(t *testing.T) {
	p, err := Build(t.Context(), t.TempDir(), BuildOptions{Clock: true})
	if err != nil {
		t.Fatal(err)
	}
	const key = "ak_rig_rig_rig_rig_rig_rig_rig_rig"
	settings := Settings{Database: "memory:", Kickstart: `
tenants: [{id: acme, name: Acme, applications: [{id: shop, name: Shop}]}]
apiKeys: [{name: rig, key: ` + key + `, permissions: {endpoints: {"*": ["*"]}}}]
`}
	at := time.Now().Truncate(time.Second).Add(48 * time.Hour)
	file := filepath.Join(t.TempDir(), "clock")
	for name, clock := range map[string]string{"told": Standing(at).Env(), "in a file": ClockFile(file)} {
		if err := Ahead(-time.Hour).Set(file); err != nil {
			t.Fatal(err)
		}
		settings := settings
		settings.Env = []string{clock, "REFRESHD_PURGE_INTERVAL=0s"}
		s, err := p.Serve(t.Context(), settings)
		if err != nil {
			t.Fatal(err)
		}
		if err := Standing(at).Set(file); err != nil {
			t.Fatal(err)
		}
		issue := Request{
			Method: http.MethodPost, Path: "/jwt/issue", Key: key, Tenant: "acme",
			Body: `{"applicationsId": "shop", "userId": "ada"}`,
		}
		response, err := issue.Do(t.Context(), Client, s.API)
		if err != nil {
			t.Fatal(err)
		}
		var grant struct{ Token string }
		err = response.Data(&grant)
		var claims struct{ Iat int64 }
		if err := errors.Join(err, ReadClaims(grant.Token, &claims), s.Stop()); err != nil {
			t.Fatal(err)
		}
		if claims.Iat != at.Unix() {
			t.Errorf("a clock that is %s: an access token of %d, want %d", name, claims.Iat, at.Unix())
		}
	}
}

const asParent = "REFRESHD_RIG_PARENT"

// beParent starts a service, prints its address, and waits to be killed.
func beParent() {
	p := Program{Path: os.Getenv(asParent), Dir: filepath.Dir(os.Getenv(asParent))}
	s, err := p.Serve(context.Background(), Settings{Database: "memory:"})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(s.API)
	select {}
}

func TestServiceWritesItsLogWhereItIsTold(t *testing.T) {
	addresses, err := FreeAddresses(2)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	s := serve(t, Settings{Database: "memory:", Listen: addresses[0], AdminListen: addresses[1],
		Alter: func(c *exec.Cmd) { c.Stderr = file }})
	var text []byte
	for deadline := time.Now().Add(time.Minute); ; { // the log is written beside the service
		if text, err = os.ReadFile(file.Name()); err != nil || strings.Contains(string(text), addresses[0]) ||
			time.Now().After(deadline) {
			break
		}
		time.Sleep(time.Millisecond) // between looks
	}
	if err != nil || !strings.Contains(string(text), addresses[0]) || s.Log() != "" {
		t.Errorf("the file has %q (%v), the log of the rig %q; want the lines in the file alone", text, err, s.Log())
	}
}

// A clock that is set keeps its monotonic reading, as the clock of a machine does: a difference of two readings is the
// time that has passed.
func TestAClockThatIsSetKeepsItsMonotonicReading(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":   "module rigged\n",
		"clock.go": fmt.Sprintf(clockSource, "main"),
		"main.go": `package main

import (
	"fmt"
	"time"
)

func main() {
	begin := time.Now()
	now := riggedClock(time.Now)()
	fmt.Println(now.Sub(begin) < time.Minute, now.Round(0).Sub(begin.Round(0)).Truncate(time.Minute))
}
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for ahead, want := range map[time.Duration]string{
		90 * time.Minute: "true 1h30m0s\n", -90*time.Minute - time.Second: "true -1h30m0s\n",
	} {
		run := exec.CommandContext(t.Context(), "go", "run", ".")
		run.Dir, run.Env = dir, append(os.Environ(), "CGO_ENABLED=0", Ahead(ahead).Env()) // as the Makefile
		if out, err := run.CombinedOutput(); err != nil || string(out) != want {
			t.Errorf("ahead by %s: %q, %v, want %q", ahead, out, err, want)
		}
	}
}
