package run

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// probedStore is a store whose probes take a while, and then return the err of their beginning.
type probedStore struct {
	probes atomic.Int64
	err    error
	takes  time.Duration
}

func (s *probedStore) ready(ctx context.Context) error {
	s.probes.Add(1)
	err := s.err
	select {
	case <-time.After(s.takes):
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

var (
	errDown = errors.New("the store is down")
	discard = slog.New(slog.DiscardHandler)
)

// With a probe for each request, unauthenticated clients could take all connections to the store.
func TestAllCallersShareOneProbe(t *testing.T) {
	for name, err := range map[string]error{"ready": nil, "not ready": errDown} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &probedStore{err: err, takes: time.Second}
				r := &readiness{ctx: t.Context(), probe: s.ready, log: discard}
				ask := func() {
					if got := r.ready(t.Context()); !errors.Is(got, err) {
						t.Errorf("got %v, want %v", got, err)
					}
				}
				for range 100 {
					go ask()
				}
				synctest.Wait()
				ask() // joins the running probe
				ask() // gets its result
				if got := s.probes.Load(); got != 1 {
					t.Errorf("the store was asked %d times, want once", got)
				}
				synctest.Wait()
			})
		})
	}
}

// A service that is ready again must become visible soon, as one that is down.
func TestAProbeIsBelievedForAMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &probedStore{}
		r := &readiness{ctx: t.Context(), probe: s.ready, log: discard}
		for _, step := range []struct {
			after time.Duration
			store error // after that
			want  error
			asked int64
		}{
			{0, nil, nil, 1},
			{readyFor - 1, errDown, nil, 1},
			{1, errDown, errDown, 2},
			{notReadyFor - 1, nil, errDown, 2},
			{1, nil, nil, 3},
		} {
			time.Sleep(step.after)
			s.err = step.store
			if got := r.ready(t.Context()); !errors.Is(got, step.want) || s.probes.Load() != step.asked {
				t.Errorf("after %s: got %v, asked %d times; want %v, %d", step.after, got, s.probes.Load(), step.want, step.asked)
			}
		}
	})
}

// A client that hangs up again and again must not take the result from the other callers.
func TestACallerThatLeavesDoesNotEndTheProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &probedStore{takes: time.Second}
		r := &readiness{ctx: t.Context(), probe: s.ready, log: discard}
		for range 100 {
			leaving, leave := context.WithCancel(t.Context())
			go leave()
			if got := r.ready(leaving); !errors.Is(got, context.Canceled) {
				t.Errorf("the caller that left got %v", got)
			}
		}
		if got := r.ready(t.Context()); got != nil || s.probes.Load() != 1 {
			t.Errorf("who stayed got %v, and the store was asked %d times; want nil, once", got, s.probes.Load())
		}
	})
}

// silentStore is a store whose server is silent: its calls end when the test ends them, not with their contexts.
type silentStore struct {
	probes atomic.Int64
	result chan error
}

func (s *silentStore) ready(context.Context) error {
	s.probes.Add(1)
	return <-s.result
}

// A call of a store may last longer than its context. Callers do not wait longer: they and the gauge get the time-out.
// No probe begins meanwhile, because each would take one more connection of a silent store.
func TestAProbeThatDoesNotEndIsNotReadyInTimeAndIsTheOnlyOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &silentStore{result: make(chan error, 1)}
		r := &readiness{ctx: t.Context(), probe: s.ready, log: discard}
		s.result <- nil
		if got := r.ready(t.Context()); got != nil || !r.isReady() {
			t.Fatalf("got %v, gauge %t; want nil, true", got, r.isReady())
		}
		time.Sleep(readyFor)
		for i, wait := range []time.Duration{probeTimeout, 0, 0} { // the others are told immediately
			begun := time.Now()
			if got := r.ready(t.Context()); !errors.Is(got, context.DeadlineExceeded) || time.Since(begun) != wait {
				t.Errorf("%d: got %v after %s, want a time-out after %s", i, got, time.Since(begun), wait)
			}
			if r.isReady() || s.probes.Load() != 2 {
				t.Errorf("%d: gauge %t, %d probes; want false, 2", i, r.isReady(), s.probes.Load())
			}
			time.Sleep(5 * time.Second)
		}
		s.result <- nil // the call ends, too late
		synctest.Wait()
		if r.isReady() {
			t.Error("a probe that timed out is ready")
		}
		s.result <- nil
		if got := r.ready(t.Context()); got != nil || !r.isReady() || s.probes.Load() != 3 {
			t.Errorf("got %v, gauge %t, %d probes; want nil, true, 3", got, r.isReady(), s.probes.Load())
		}
	})
}

// Alerts use the gauge: it has to fall even if no caller waits for the result.
func TestTheGaugeIsThatOfTheProbeAndNotOfThoseWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		s := &silentStore{result: make(chan error, 1)}
		r := &readiness{ctx: ctx, probe: s.ready, log: discard}
		if r.isReady() {
			t.Error("got ready before the first probe")
		}
		s.result <- nil
		if got := r.ready(t.Context()); got != nil || !r.isReady() {
			t.Fatalf("got %v, gauge %t; want nil, true", got, r.isReady())
		}
		time.Sleep(readyFor)
		leaving, leave := context.WithTimeout(t.Context(), time.Second)
		defer leave()
		if got := r.ready(leaving); !errors.Is(got, context.DeadlineExceeded) || !r.isReady() {
			t.Errorf("got %v, gauge %t; want that the caller gave up, and no result yet", got, r.isReady())
		}
		time.Sleep(probeTimeout)
		if r.isReady() {
			t.Error("the gauge is that of a probe before one that timed out")
		}
		s.result <- nil
		synctest.Wait()
		s.result <- nil
		if got := r.ready(t.Context()); got != nil || !r.isReady() {
			t.Errorf("got %v, gauge %t; want nil, true", got, r.isReady())
		}
		stop()
		if r.isReady() {
			t.Error("got ready when stopping")
		}
	})
}

// Without a balancer only Prometheus looks at the service, and an alert on the gauge has to be right there too.
func TestAScrapeBeginsTheProbeThatTheNextOneReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		s := &probedStore{takes: time.Millisecond}
		r := &readiness{ctx: ctx, probe: s.ready, log: discard}
		before := false
		for i, err := range []error{nil, errDown, nil} {
			s.err = err
			if got := r.scraped(); got != before {
				t.Errorf("%d: got %t before the store has responded, want %t as before", i, got, before)
			}
			time.Sleep(readyFor + notReadyFor) // of the clock of synctest: the result is too old to be used
			if before = err == nil; r.isReady() != before {
				t.Errorf("%d: got %t after the store has responded, want %t", i, !before, before)
			}
		}
		stop()
		if r.scraped() || s.probes.Load() != 3 {
			t.Errorf("got ready, or a probe, when stopping: %d probes, want 3", s.probes.Load())
		}
	})
}

// A balancer has to see at its first request that the process is stopping, even while the store does not respond.
func TestAServiceThatStopsIsNotReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		s := &probedStore{}
		r := &readiness{ctx: ctx, probe: s.ready, log: discard}
		if got := r.ready(t.Context()); got != nil {
			t.Fatal(got)
		}
		s.takes = time.Hour
		time.Sleep(readyFor)
		waiting := make(chan error)
		go func() { waiting <- r.ready(t.Context()) }()
		synctest.Wait()
		begun := time.Now()
		stop()
		if got := <-waiting; !errors.Is(got, errStopping) || time.Since(begun) != 0 {
			t.Errorf("who waited got %v after %s, want %v immediately", got, time.Since(begun), errStopping)
		}
		if got := r.ready(t.Context()); !errors.Is(got, errStopping) || s.probes.Load() != 2 {
			t.Errorf("got %v, and %d probes; want %v, and no probe for it", got, s.probes.Load(), errStopping)
		}
	})
}

// Any client may request readiness, on two listeners, and must not fill the log. The log has the reason if the service
// is not ready.
func TestAFailingProbeIsLoggedAtMostOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		var log bytes.Buffer
		s := &probedStore{err: errDown}
		r := &readiness{ctx: ctx, probe: s.ready, log: slog.New(slog.NewJSONHandler(&log, nil))}
		for range 110 {
			for range 3 {
				if got := r.ready(t.Context()); !errors.Is(got, errDown) {
					t.Errorf("got %v, want %v", got, errDown)
				}
			}
			time.Sleep(notReadyFor / 10) // 2.2 s together
		}
		s.takes = time.Hour
		go r.ready(t.Context())
		synctest.Wait()
		stop()
		synctest.Wait()
		const line = `"level":"WARN","msg":"not ready","event":"server.not_ready","error":"the store is down"`
		got, lines := strings.Count(log.String(), line), strings.Count(log.String(), "\n")
		if got != 3 || lines != got || s.probes.Load() != 12 {
			t.Errorf("got %d warnings in %d lines of %d probes, want 3 of 12, and nothing of a stop:\n%s",
				got, lines, s.probes.Load(), log.String())
		}
	})
}
