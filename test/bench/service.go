package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	apiKey    = "ak_benchmark_benchmark_benchmark"
	masterKey = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="

	tenant      = "acme"
	application = "shop"

	startTimeout = 2 * time.Minute
	stopTimeout  = 20 * time.Second
)

const kickstart = `
tenants: [{id: ` + tenant + `, name: Acme, applications: [{id: ` + application + `, name: Shop}]}]
apiKeys: [{name: bench, key: ` + apiKey + `, permissions: {endpoints: {"*": ["*"]}}}]
`

// program is the service's binary, built from this source.
type program struct {
	path     string
	dir      string // for its files; the caller removes it
	version  string
	combines bool // it knows the setting that turns write combining off
	purges   bool // it knows the verb purge
}

func buildProgram(ctx context.Context, dir, version string) (program, error) {
	p := program{path: filepath.Join(dir, "refreshd"), dir: dir}
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-X main.version="+version, "-o", p.path,
		"github.com/refreshd/refreshd/cmd/refreshd")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return p, fmt.Errorf("build the service: %w\n%s", err, out)
	}
	help, err := exec.CommandContext(ctx, p.path, "serve", "--help").Output()
	if err != nil {
		return p, fmt.Errorf("ask the service for its settings: %w", err)
	}
	said, err := exec.CommandContext(ctx, p.path, "version").Output()
	if err != nil {
		return p, fmt.Errorf("ask the service for its version: %w", err)
	}
	p.version = strings.TrimSpace(string(said))
	p.combines = bytes.Contains(help, []byte(combiningSetting))
	p.purges = exec.CommandContext(ctx, p.path, "purge", "--help").Run() == nil
	return p, os.WriteFile(filepath.Join(dir, "kickstart.yaml"), []byte(kickstart), 0o600)
}

func (p program) command(ctx context.Context, m mode, database string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, p.path, args...)
	c.Dir = p.dir
	c.Env = append(p.settings(m), "REFRESHD_DATABASE_URL="+database, "REFRESHD_MASTER_KEY="+masterKey, "REFRESHD_LOG_FORMAT=json",
		"REFRESHD_LISTEN=127.0.0.1:0", "REFRESHD_ADMIN_LISTEN=127.0.0.1:0", "REFRESHD_KICKSTART_FILE="+filepath.Join(p.dir, "kickstart.yaml"))
	// A group of its own, so that Ctrl-C on a terminal reaches it through us: in its turn, and by SIGTERM.
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return c
}

// run runs a verb to its end.
func (p program) run(ctx context.Context, database string, args ...string) error {
	if out, err := p.command(ctx, oneByOne, database, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("refreshd %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// processes are those that were started.
var processes atomic.Int64

// service is a running one.
type service struct {
	cmd     *exec.Cmd
	ended   chan struct{}
	log     *os.File
	api     string // host and port
	admin   string
	started time.Duration // from start to ready
	stopped bool
}

// serve starts a service on a store, and returns when it is ready. ctx ends it too.
func (p program) serve(ctx context.Context, m mode, database string) (*service, error) {
	// It is emptied while the service writes to it, so each line has to go to the end that it has then.
	log, err := os.OpenFile(filepath.Join(p.dir, fmt.Sprintf("service-%d.log", processes.Add(1))), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	s := &service{cmd: p.command(ctx, m, database, "serve"), ended: make(chan struct{}), log: log}
	s.cmd.Stderr = log
	begin := time.Now()
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the service: %w", err)
	}
	go func() {
		_ = s.cmd.Wait() // its state tells
		close(s.ended)
	}()
	for !s.ready(ctx) {
		select {
		case <-s.ended:
			return nil, fmt.Errorf("the service ended before it was ready:\n%s", s.logged())
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), s.stop())
		case <-time.After(2 * time.Millisecond):
		}
		if time.Since(begin) > startTimeout {
			return nil, errors.Join(fmt.Errorf("the service is not ready after %s:\n%s", startTimeout, s.logged()), s.stop())
		}
	}
	s.started = time.Since(begin)
	return s, nil
}

// ready finds the addresses in the log, and asks.
func (s *service) ready(ctx context.Context) bool {
	if s.api == "" {
		for line := range strings.Lines(s.logged()) {
			var l struct{ Msg, Address string }
			if json.Unmarshal([]byte(line), &l) != nil {
				continue
			}
			switch l.Msg {
			case "admin listening":
				s.admin = l.Address
			case "listening":
				s.api = l.Address
			}
		}
	}
	if s.api == "" {
		return false
	}
	a, err := call(ctx, http.MethodGet, "http://"+s.api+"/readyz", nil)
	return err == nil && a.status == http.StatusOK
}

func (s *service) logged() string {
	text, _ := os.ReadFile(s.log.Name())
	return string(text)
}

// tail is the end of the log.
func (s *service) tail() string {
	text := s.logged()
	return text[max(0, len(text)-2000):]
}

// explained adds the end of the log to what went wrong.
func (s *service) explained(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w\nthe service's log ends with:\n%s", err, s.tail())
}

// forget empties the log, which grows by a line an exchange, after looking for what should not be in it.
func (s *service) forget() error {
	for line := range strings.Lines(s.logged()) {
		if strings.Contains(line, `"level":"ERROR"`) {
			return fmt.Errorf("the service logged an error: %s", line)
		}
	}
	return s.log.Truncate(0)
}

// stop ends the service. It may be called again.
func (s *service) stop() error {
	if s.stopped {
		return nil
	}
	s.stopped = true
	select {
	case <-s.ended:
		return fmt.Errorf("the service ended by itself: %s\n%s", s.cmd.ProcessState, s.tail())
	default:
	}
	client.CloseIdleConnections() // one that was opened and not used would keep the service
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.ended:
	case <-time.After(stopTimeout):
		_ = s.cmd.Process.Kill()
		<-s.ended
		return fmt.Errorf("the service did not end within %s of SIGTERM", stopTimeout)
	}
	if !s.cmd.ProcessState.Success() {
		return fmt.Errorf("the service ended: %s\n%s", s.cmd.ProcessState, s.tail())
	}
	return s.log.Close()
}

func (s *service) pid() int { return s.cmd.Process.Pid }

// allocations are the objects and bytes that the service has allocated since it began.
func (s *service) allocations(ctx context.Context) (objects, bytes float64, err error) {
	a, err := call(ctx, http.MethodGet, "http://"+s.admin+"/metrics", nil)
	if err != nil {
		return 0, 0, fmt.Errorf("read the service's metrics: %w", err)
	}
	objects, err = metric(string(a.body), "go_memstats_mallocs_total")
	if err != nil {
		return 0, 0, err
	}
	bytes, err = metric(string(a.body), "go_memstats_alloc_bytes_total")
	return objects, bytes, err
}

func metric(text, name string) (float64, error) {
	_, rest, found := strings.Cut(text, "\n"+name+" ")
	if !found {
		return 0, fmt.Errorf("the service has no metric %s", name)
	}
	value, _, _ := strings.Cut(rest, "\n")
	return strconv.ParseFloat(value, 64)
}

// users are n of them, each with a refresh token of its own.
func (s *service) users(ctx context.Context, n int) (users []*user, err error) {
	for i := range n {
		a, err := call(ctx, http.MethodPost, "http://"+s.api+"/jwt/issue",
			fmt.Appendf(nil, `{"applicationsId": %q, "userId": "user-%d"}`, application, i))
		if err != nil {
			return nil, err
		}
		g, err := parseGrant(a.status, a.body)
		if err != nil {
			return nil, fmt.Errorf("issue: %w", err)
		}
		u, err := newUser(s.api, string(g.tokenString), string(g.id))
		if err != nil {
			return nil, err
		}
		users = append(users, u)
	}
	return users, nil
}

var client = &http.Client{Timeout: time.Minute}

type answer struct {
	status int
	header http.Header
	body   []byte
}

// call does what is not counted by the thousand.
func call(ctx context.Context, method, url string, body []byte) (a answer, err error) {
	request, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return a, err
	}
	request.Header.Set("Authorization", apiKey)
	request.Header.Set("X-Stencil-TenantId", tenant)
	request.Header.Set("Content-Type", "application/json")
	response, err := client.Do(request)
	if err != nil {
		return a, err
	}
	defer response.Body.Close()
	a = answer{status: response.StatusCode, header: response.Header}
	a.body, err = io.ReadAll(response.Body)
	return a, err
}
