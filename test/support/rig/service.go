package rig

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// Client is for those few calls that nobody counts: it keeps connections, and Stop closes those that it does not use. One of another
// client that was opened and never used keeps a service that stops for five seconds.
var Client = &http.Client{Timeout: time.Minute, Transport: http.DefaultTransport.(*http.Transport).Clone()}

// Service is a running process of the program, also of another verb than serve. Its methods may be called from several
// goroutines, Ready and those that end it aside.
type Service struct {
	API, Admin string        // host:port; of a port 0, known once it is ready
	ReadyAfter time.Duration // from its start; 0 until Ready returned

	cmd         *exec.Cmd
	begun       time.Time
	ended       chan struct{}
	log, stdout string      // the files
	told        atomic.Bool // to end
	judged      atomic.Bool // how it ended
}

// Serve starts a service, and returns when it is ready. ctx bounds the start, not the service's life.
func (p Program) Serve(ctx context.Context, settings Settings) (*Service, error) {
	s, err := p.Start(ctx, settings)
	if err != nil {
		return nil, err
	}
	if err := s.Ready(ctx); err != nil {
		return nil, errors.Join(err, s.Kill())
	}
	return s, nil
}

// Start starts a process, and returns immediately. It runs the verb of args; without args it serves. A service that
// finds its store down ends by itself.
func (p Program) Start(ctx context.Context, settings Settings, args ...string) (*Service, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(args) == 0 {
		args = []string{"serve"}
	}
	c, name, err := p.command(settings, args...)
	if err != nil {
		return nil, err
	}
	s := &Service{
		API: fixed(settings.Listen), Admin: fixed(settings.AdminListen), cmd: c, ended: make(chan struct{}),
		log: name + ".log", stdout: name + ".out",
	}
	// The log is emptied while the service writes to it, so each line has to go to the end that it has then.
	for name, w := range map[string]*io.Writer{s.log: &c.Stderr, s.stdout: &c.Stdout} {
		file, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			return nil, err
		}
		defer file.Close() // the process has its own
		*w = file
	}
	if settings.Alter != nil {
		settings.Alter(c)
	}
	s.begun = time.Now()
	if err := start(c); err != nil {
		return nil, fmt.Errorf("start refreshd %s: %w", args[0], err)
	}
	go func() {
		_ = c.Wait() // its state tells
		close(s.ended)
	}()
	return s, nil
}

func fixed(address string) string {
	if strings.HasSuffix(address, ":0") {
		return ""
	}
	return address
}

// Ready returns when the service says that it is ready, and explains with the log when it ended before or takes too long.
func (s *Service) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("not ready after %s", startTimeout))
	defer cancel()
	for !s.ready(ctx) {
		select {
		case <-s.ended:
			return s.Explain(fmt.Errorf("the service ended before it was ready: %s", s.cmd.ProcessState))
		case <-ctx.Done():
			return s.Explain(fmt.Errorf("the service is not ready: %w", context.Cause(ctx)))
		case <-time.After(2 * time.Millisecond):
		}
	}
	if s.ReadyAfter == 0 {
		s.ReadyAfter = time.Since(s.begun)
	}
	return nil
}

// ready finds the addresses in the log, and asks.
func (s *Service) ready(ctx context.Context) bool {
	if s.API == "" || s.Admin == "" {
		for line := range strings.Lines(s.Log()) {
			var l struct{ Msg, Address string }
			if json.Unmarshal([]byte(line), &l) != nil {
				continue
			}
			switch l.Msg {
			case "admin listening":
				s.Admin = l.Address
			case "listening":
				s.API = l.Address
			}
		}
	}
	if s.API == "" {
		return false
	}
	status, _, err := get(ctx, "http://"+s.API+"/readyz")
	return err == nil && status == http.StatusOK
}

func get(ctx context.Context, url string) (status int, body string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	response, err := Client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, string(text), err
}

// PID is the process'.
func (s *Service) PID() int { return s.cmd.Process.Pid }

// State is how the process ended, once it has.
func (s *Service) State() *os.ProcessState {
	if !s.hasEnded() {
		return nil
	}
	return s.cmd.ProcessState
}

// Ended is closed when the process is gone, however it ended.
func (s *Service) Ended() <-chan struct{} { return s.ended }

func (s *Service) hasEnded() bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

// Kill ends the process as a power cut would, and waits for its end. Again, or after Stop, it does nothing.
func (s *Service) Kill() error {
	s.judged.Store(true)
	if s.hasEnded() {
		return nil
	}
	err := s.cmd.Process.Kill()
	<-s.ended
	Client.CloseIdleConnections()
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// Signal sends a signal. A process that has ended takes none, which is no error.
func (s *Service) Signal(signal os.Signal) error {
	if err := s.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// Terminate sends SIGTERM, and does not wait.
func (s *Service) Terminate() error {
	s.told.Store(true)
	Client.CloseIdleConnections()
	return s.Signal(syscall.SIGTERM)
}

// Wait waits for the end of a process that was told to end. One that takes too long is killed, which is an error.
func (s *Service) Wait() error {
	select {
	case <-s.ended:
		return nil
	case <-time.After(stopTimeout):
		_ = s.cmd.Process.Kill()
		<-s.ended
		return fmt.Errorf("the process did not end within %s", stopTimeout)
	}
}

// Stop ends the service by SIGTERM, which it has to obey with status 0; that it ended by itself before is an error. Again, or after
// Kill, it does nothing.
func (s *Service) Stop() error {
	if s.judged.Swap(true) {
		return nil
	}
	if s.hasEnded() && !s.told.Load() {
		return s.Explain(fmt.Errorf("the service ended by itself: %s", s.cmd.ProcessState))
	}
	if err := errors.Join(s.Terminate(), s.Wait()); err != nil {
		return s.Explain(err)
	}
	if !s.cmd.ProcessState.Success() {
		return s.Explain(fmt.Errorf("the service ended: %s", s.cmd.ProcessState))
	}
	return nil
}

// Log is what the service wrote since it began, or since Forget.
func (s *Service) Log() string {
	text, _ := os.ReadFile(s.log)
	return string(text)
}

// Stdout is what it wrote to standard output.
func (s *Service) Stdout() string {
	text, _ := os.ReadFile(s.stdout)
	return string(text)
}

// LogTail is the end of the log.
func (s *Service) LogTail() string {
	text := s.Log()
	return text[max(0, len(text)-2000):]
}

// Explain adds the end of the log to what went wrong, if something did.
func (s *Service) Explain(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w\nthe service's log ends with:\n%s", err, s.LogTail())
}

// ErrorsLogged are the lines of the log that should not be in one.
func (s *Service) ErrorsLogged() (lines []string) {
	for line := range strings.Lines(s.Log()) {
		if strings.Contains(line, `"level":"ERROR"`) || strings.HasPrefix(line, "panic:") || strings.HasPrefix(line, "fatal error:") ||
			strings.Contains(line, "WARNING: DATA RACE") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

// Forget empties the log, after looking for what should not be in it. What is written meanwhile is lost.
func (s *Service) Forget() error {
	if lines := s.ErrorsLogged(); len(lines) > 0 {
		return fmt.Errorf("the service logged an error: %s", lines[0])
	}
	return os.Truncate(s.log, 0)
}

// Metric is the value of one; a name has its labels behind it, as in `refreshd_exchanges_total{outcome="rotated"}`.
func (s *Service) Metric(ctx context.Context, name string) (float64, error) {
	values, err := s.Metrics(ctx, name)
	if err != nil {
		return 0, err
	}
	return values[0], nil
}

// Metrics are the values of several, of one instant.
func (s *Service) Metrics(ctx context.Context, names ...string) ([]float64, error) {
	status, text, err := get(ctx, "http://"+s.Admin+"/metrics")
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("status %d", status)
	}
	if err != nil {
		return nil, fmt.Errorf("read the service's metrics: %w", err)
	}
	values := make([]float64, len(names))
	for i, name := range names {
		if values[i], err = metric(text, name); err != nil {
			return nil, err
		}
	}
	return values, nil
}

func metric(text, name string) (float64, error) {
	_, rest, found := strings.Cut("\n"+text, "\n"+name+" ")
	if !found {
		return 0, fmt.Errorf("the service has no metric %s", name)
	}
	value, _, _ := strings.Cut(rest, "\n")
	return strconv.ParseFloat(value, 64)
}

// Resources are what a process holds. Where there is no /proc, everything is zero.
type Resources struct {
	RSS     float64 // MiB resident
	Files   int     // descriptors that are open
	Threads int
}

// Resources are the service's now.
func (s *Service) Resources() Resources {
	p, _ := ReadProcess(s.PID())
	files, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.PID()))
	return Resources{RSS: Memory(s.PID(), "VmRSS"), Files: len(files), Threads: p.Threads}
}
