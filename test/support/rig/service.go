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

// Client is for the few requests that are not measured. It keeps connections open, and Stop closes its idle ones. A
// connection of another client that was opened and never used delays the stop of a service by five seconds.
var Client = &http.Client{Timeout: time.Minute, Transport: http.DefaultTransport.(*http.Transport).Clone()}

// Service is a running process of the program, of serve or of another verb. Its methods are safe for concurrent use,
// except Ready and those that end the process.
type Service struct {
	API, Admin string        // host:port; for port 0, known once it is ready
	ReadyAfter time.Duration // from its start; 0 until Ready returned

	cmd         *exec.Cmd
	begun       time.Time
	ended       chan struct{}
	log, stdout string      // the files
	told        atomic.Bool // whether it was told to end
	judged      atomic.Bool // whether its end was checked
}

// Serve starts a service and returns when it is ready. ctx bounds the start, not the service.
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

// Start starts a process and returns immediately. It runs the verb in args; without args it runs serve. A service that
// cannot reach its store exits.
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
	// Forget truncates the log while the service writes to it, so the service has to append.
	for name, w := range map[string]*io.Writer{s.log: &c.Stderr, s.stdout: &c.Stdout} {
		file, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			return nil, err
		}
		defer file.Close() // the process has a descriptor of its own
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
		_ = c.Wait() // c.ProcessState has the result
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

// Ready returns when the service is ready. If the service ended or takes too long, the error quotes the log.
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

// ready reads the addresses from the log and requests the readiness.
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

// PID returns the process id.
func (s *Service) PID() int { return s.cmd.Process.Pid }

// State returns how the process ended. It is nil until then.
func (s *Service) State() *os.ProcessState {
	if !s.hasEnded() {
		return nil
	}
	return s.cmd.ProcessState
}

// Ended returns a channel that is closed when the process has ended.
func (s *Service) Ended() <-chan struct{} { return s.ended }

func (s *Service) hasEnded() bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

// Kill kills the process by SIGKILL and waits for its end. A second call, or a call after Stop, does nothing.
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

// Signal sends a signal. It is not an error if the process has ended.
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

// Wait waits for the end of a process that was told to end. A process that takes too long is killed, which is an error.
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

// Stop ends the service by SIGTERM. The service has to exit with status 0; it is an error if it ended before. A second
// call, or a call after Kill, does nothing.
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

// Log returns what the service logged since its start, or since Forget.
func (s *Service) Log() string {
	text, _ := os.ReadFile(s.log)
	return string(text)
}

// Stdout returns what the service wrote to standard output.
func (s *Service) Stdout() string {
	text, _ := os.ReadFile(s.stdout)
	return string(text)
}

// LogTail returns the end of the log.
func (s *Service) LogTail() string {
	text := s.Log()
	return text[max(0, len(text)-2000):]
}

// Explain adds the end of the log to err, if err is not nil.
func (s *Service) Explain(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w\nthe service's log ends with:\n%s", err, s.LogTail())
}

// ErrorsLogged returns the lines of the log that report errors.
func (s *Service) ErrorsLogged() (lines []string) {
	for line := range strings.Lines(s.Log()) {
		if strings.Contains(line, `"level":"ERROR"`) || strings.HasPrefix(line, "panic:") ||
			strings.HasPrefix(line, "fatal error:") ||
			strings.Contains(line, "WARNING: DATA RACE") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

// Forget truncates the log. It returns an error if the log has an error. Lines that are written meanwhile are lost.
func (s *Service) Forget() error {
	if lines := s.ErrorsLogged(); len(lines) > 0 {
		return fmt.Errorf("the service logged an error: %s", lines[0])
	}
	return os.Truncate(s.log, 0)
}

// Metric returns the value of a metric. The name includes the labels, as in
// `refreshd_exchanges_total{outcome="rotated"}`.
func (s *Service) Metric(ctx context.Context, name string) (float64, error) {
	values, err := s.Metrics(ctx, name)
	if err != nil {
		return 0, err
	}
	return values[0], nil
}

// Metrics returns the values of several metrics at one instant.
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

// Resources are the memory and descriptors of a process. Without /proc, everything is zero.
type Resources struct {
	RSS     float64 // MiB resident
	Files   int     // open descriptors
	Threads int
}

// Resources returns the resources of the service.
func (s *Service) Resources() Resources {
	p, _ := ReadProcess(s.PID())
	files, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.PID()))
	return Resources{RSS: Memory(s.PID(), "VmRSS"), Files: len(files), Threads: p.Threads}
}
