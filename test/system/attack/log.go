package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/refreshd/refreshd/test/support/rig"
)

const (
	lostLines       = "refreshd_log_lines_lost_total"
	logPatience     = 60 * time.Second // for all exchanges
	logAnswer       = 3 * time.Second  // for one
	shutdownTimeout = 15 * time.Second // the default
)

// logPart runs services that cannot write their log.
func logPart(ctx context.Context, a *attack) error {
	for _, kind := range []struct {
		name string
		open func() (*os.File, func() error, error)
	}{
		{"stderr closed", brokenPipe},
		{"stderr a pipe that is never read", fullPipe},
		{"stderr on a full disk", func() (*os.File, func() error, error) {
			f, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
			return f, func() error { return nil }, err
		}},
	} {
		if err := a.logless(ctx, kind.name, kind.open); err != nil {
			return fmt.Errorf("%s: %w", kind.name, err)
		}
	}
	return nil
}

// brokenPipe is a pipe whose reader has ended, as after `2>&1 | head`.
func brokenPipe() (w *os.File, end func() error, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	return w, func() error { return nil }, r.Close()
}

func fullPipe() (w *os.File, end func() error, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	return w, r.Close, nil
}

func (a *attack) logless(ctx context.Context, what string, open func() (*os.File, func() error, error)) error {
	stderr, end, err := open()
	if err != nil {
		return err
	}
	defer end()
	addresses, err := rig.FreeAddresses(2)
	if err != nil {
		return err
	}
	how := settings(a.sqlite())
	how.Listen, how.AdminListen = addresses[0], addresses[1]
	how.Alter = func(c *exec.Cmd) { c.Stderr = stderr }
	s, err := a.program.Start(ctx, how)
	if err != nil {
		return err
	}
	a.later(s.Kill)
	stderr.Close() // the process has a descriptor of its own
	starting, cancel := context.WithTimeout(ctx, 20*time.Second)
	err = s.Ready(starting)
	cancel()
	var answered int
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err == nil {
		if answered, err = a.exchangesUnheard(ctx, s.API); err != nil {
			return err
		}
	}
	a.atLeast(what+": exchanges answered", float64(answered), float64(a.plan.logged), "%.0f")
	health := newClient("127.0.0.5", logAnswer)
	h, err := do(ctx, health, s.API, rig.Request{Method: http.MethodGet, Path: "/healthz"})
	a.judge(what+": /healthz responds", err == nil && h.Status == http.StatusOK, "200", fmt.Sprint(h.Status))
	lost := lostCount(ctx, s.Admin)
	a.atLeast(what+": lost lines counted", lost, 1, "%.0f")
	a.judgeStop(what+": SIGTERM obeyed", s, shutdownTimeout)
	return nil
}

// exchangesUnheard returns how many exchanges of the plan succeed. It gives up on a service that hangs.
func (a *attack) exchangesUnheard(ctx context.Context, host string) (int, error) {
	const clients = 16
	if a.plan.logged%clients != 0 {
		return 0, fmt.Errorf("%d exchanges cannot be divided among %d clients", a.plan.logged, clients)
	}
	client := newClient("127.0.0.6", logAnswer)
	defer client.CloseIdleConnections()
	var answered, failed atomic.Int64
	begin := time.Now()
	_ = each(clients, clients, func(i int) error { // what fails is counted
		s, err := issue(ctx, host, honestKey, honestTenant,
			fmt.Sprintf(`{"applicationsId": "fast", "userId": "unheard-%d"}`, i))
		if err != nil {
			failed.Add(1)
			return nil
		}
		for n := 0; n < a.plan.logged/clients && failed.Load() < clients && time.Since(begin) < logPatience; n++ {
			r, err := do(ctx, client, host, exchangeOf(s.current))
			if err != nil {
				failed.Add(1)
				continue
			}
			if g, err := granted(r); err == nil {
				s.current = g.current
				answered.Add(1)
			} else {
				failed.Add(1)
			}
		}
		return nil
	})
	if ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	return int(answered.Load()), nil
}

// lostCount returns the sum of the metric over all labels. It is 0 if the service has no such metric or does not
// respond.
func lostCount(ctx context.Context, admin string) (sum float64) {
	client := newClient("127.0.0.7", logAnswer)
	defer client.CloseIdleConnections()
	a, err := do(ctx, client, admin, rig.Request{Method: http.MethodGet, Path: "/metrics"})
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(a.Body)) {
		if !strings.HasPrefix(line, lostLines) {
			continue
		}
		fields := strings.Fields(line)
		n, err := strconv.ParseFloat(fields[len(fields)-1], 64)
		if err == nil {
			sum += n
		}
	}
	return sum
}

// judgeStop sends SIGTERM, and checks that the process exits with status 0 in time.
func (a *attack) judgeStop(what string, s *rig.Service, within time.Duration) {
	seen := "already ended"
	met := false
	select {
	case <-s.Ended():
	default:
		begin := time.Now()
		_ = syscall.Kill(s.PID(), syscall.SIGTERM)
		select {
		case <-s.Ended():
			seen = fmt.Sprintf("%.1f s, %s", time.Since(begin).Seconds(), s.State())
			met = s.State().Success() && time.Since(begin) <= within
		case <-time.After(shutdownTimeout + 5*time.Second):
			seen = fmt.Sprintf("still running after %s", shutdownTimeout+5*time.Second)
		}
	}
	a.judge(what, met, fmt.Sprintf("%s, status 0", within), seen)
}
