package usecase_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/golang/mock/gomock"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
	"github.com/refreshd/refreshd/port/portmock"
	"github.com/refreshd/refreshd/usecase"
)

// pauses take no time, and move the clock.
type pauses struct {
	clock *clock
	taken []time.Duration
	at    func(n int) // called in the n-th, if it is set
}

func (p *pauses) pause(ctx context.Context, d time.Duration) error {
	p.clock.advance(d)
	p.taken = append(p.taken, d)
	if p.at != nil {
		p.at(len(p.taken))
	}
	return ctx.Err()
}

// purger returns a process's purge on w, which deletes refresh tokens one day after their end.
func (w *world) purger(holder string) (*usecase.Purge, *pauses) {
	p := &pauses{clock: w.clock}
	return &usecase.Purge{
		Janitor: w.probe, Events: w.probe, Jobs: w.probe, Clock: w.clock.now, Pause: p.pause, LeaseHolder: holder,
		After: 24 * time.Hour, Random: w.random,
	}, p
}

// sessions stores n refresh tokens, every other one of which expires now.
func (w *world) sessions(t *testing.T, n int) (living, dead []domain.ID) {
	t.Helper()
	now := stored(w.clock.now())
	for i := range n {
		id, err := domain.NewID(now.Add(time.Duration(i)*time.Millisecond), w.random) // in this order
		must(t, err)
		r, err := domain.NewRefreshToken(domain.RefreshToken{
			ID: id, TenantID: "acme", ApplicationID: "shop", UserID: fmt.Sprint("user ", i),
		}, domain.DefaultPolicy(), now)
		must(t, err)
		if i%2 == 0 {
			r.ExpiresAt = now
			dead = append(dead, id)
		} else {
			living = append(living, id)
		}
		_, err = w.store.Insert(t.Context(), r)
		must(t, err)
	}
	return living, dead
}

func (w *world) count(t *testing.T, ids []domain.ID) (n int) {
	t.Helper()
	for _, id := range ids {
		if _, err := w.store.Snapshot(t.Context(), id); err == nil {
			n++
		}
	}
	return n
}

// The holder of an ended refresh token's string gets the reason for as long as the operator configures, to the
// microsecond.
func TestAPassDeletesWhatHasBeenDeadForTheRetention(t *testing.T) {
	w := newWorld(t)
	living, dead := w.sessions(t, 1201)
	purge, pauses := w.purger("one")
	w.clock.advance(24*time.Hour - time.Second)
	var steps []port.Purged
	note := func(p port.Purged) { steps = append(steps, p) }
	got, err := purge.Pass(t.Context(), note)
	must(t, err)
	if want := (port.Purged{LookedAt: 1201, Done: true}); got != want {
		t.Errorf("a second early: %+v, want %+v", got, want)
	}
	w.clock.advance(time.Second)
	steps, pauses.taken = nil, nil
	if got, err = purge.Pass(t.Context(), note); err != nil ||
		got != (port.Purged{LookedAt: 1201, Deleted: 601, Done: true}) {
		t.Errorf("got %+v, %v, want 601 of 1201 deleted", got, err)
	}
	if living, dead := w.count(t, living), w.count(t, dead); living != 600 || dead != 0 {
		t.Errorf("%d living and %d dead are stored, want 600 and 0", living, dead)
	}
	if len(steps) < 3 || steps[0].LookedAt != 500 || steps[1].LookedAt != 500 || steps[2].LookedAt != 201 ||
		!steps[len(steps)-1].Done {
		t.Errorf("the steps were %+v, want 500, 500 and 201, and an end", steps)
	}
	if len(pauses.taken) != len(steps)-1 {
		t.Errorf("%d pauses between %d steps", len(pauses.taken), len(steps))
	}
}

// slow is a janitor whose steps take time.
type slow struct {
	port.Janitor
	clock *clock
	takes []time.Duration
}

func (s *slow) Purge(ctx context.Context, step port.PurgeStep) (port.Purged, error) {
	s.clock.advance(s.takes[0])
	s.takes = s.takes[1:]
	return s.Janitor.Purge(ctx, step)
}

// Exchanges get the rest of the machine, however slow it is.
func TestThePauseIsFourTimesAsLongAsTheStep(t *testing.T) {
	w := newWorld(t)
	w.sessions(t, 1400)
	purge, pauses := w.purger("one")
	purge.Janitor = &slow{w.probe, w.clock, []time.Duration{time.Millisecond, 50 * time.Millisecond, time.Minute, 0}}
	_, err := purge.Pass(t.Context(), nil)
	must(t, err)
	want := []time.Duration{10 * time.Millisecond, 200 * time.Millisecond, 5 * time.Second}
	if !slices.Equal(pauses.taken, want) {
		t.Errorf("pauses %v, want %v", pauses.taken, want)
	}
}

// killed is a process that has no time to release its lease.
type killed struct{}

func (killed) Lease(context.Context, port.JobLease) error { return errors.New("killed") }

func (killed) Release(context.Context, string, string) error { return errors.New("killed") }

// A clean stop releases the lease, so that another process can continue immediately.
func TestAPassThatWasStoppedGoesOnInAnotherProcessRightAway(t *testing.T) {
	w := newWorld(t)
	_, dead := w.sessions(t, 600)
	w.clock.advance(24 * time.Hour)
	first, pauses := w.purger("first")
	ctx, stop := context.WithCancel(t.Context())
	pauses.at = func(int) { stop() }
	_, err := first.Pass(ctx, nil)
	wantErr(t, err, domain.ErrUnavailable)
	second, _ := w.purger("second")
	got, err := second.Pass(t.Context(), nil)
	if err != nil || got != (port.Purged{LookedAt: 100, Deleted: 50, Done: true}) {
		t.Errorf("got %+v, %v, want the other 50 of 100 deleted", got, err)
	}
	if n := w.count(t, dead); n != 0 {
		t.Errorf("%d dead are stored, want 0", n)
	}
}

// Each process records what its part of a pass has deleted. A pass that deleted only events has no event; otherwise
// each pass would have one.
func TestAPassThatDeletedSomethingIsAnEventWithItsCounts(t *testing.T) {
	w := newWorld(t)
	w.sessions(t, 40)
	w.clock.advance(24 * time.Hour)
	purge, _ := w.purger("one")
	purge.KeepEvents = time.Hour
	deleted, at := len(w.events(t)), time.Time{}
	for range 2 { // the second one finds nothing
		_, err := purge.Pass(t.Context(), nil)
		must(t, err)
		if at.IsZero() {
			at = stored(w.clock.now())
		}
	}
	want := domain.Event{
		At: at, Origin: domain.Service(), Kind: domain.PurgePass,
		After: domain.Object(fmt.Sprintf(`{"events":%d,"marks":0,"refreshTokens":20,"tenants":0}`, deleted)),
	}
	wantEvents(t, w.events(t), want)
	w.clock.advance(time.Hour)
	w.clock.advance(time.Millisecond)
	_, err := purge.Pass(t.Context(), nil)
	must(t, err)
	wantEvents(t, w.events(t))
}

func TestAPassThatWasCutOffGoesOnWhereItWas(t *testing.T) {
	w := newWorld(t)
	_, dead := w.sessions(t, 1400)
	w.clock.advance(24 * time.Hour)
	first, pauses := w.purger("first")
	first.Jobs = killed{}
	ctx, kill := context.WithCancel(t.Context())
	pauses.at = func(n int) {
		if n == 2 {
			kill()
		}
	}
	got, err := first.Pass(ctx, nil)
	if wantErr(t, err, domain.ErrUnavailable); got.LookedAt != 1000 || got.Deleted != 500 || got.Done {
		t.Errorf("until it was cut off it did %+v, want 500 of 1000 deleted", got)
	}
	second, _ := w.purger("second")
	got, err = second.Pass(t.Context(), nil)
	if wantErr(t, err, domain.ErrConflict); got != (port.Purged{}) {
		t.Errorf("while the lease runs another one did %+v", got)
	}
	w.clock.advance(usecase.PurgeLease)
	if got, err = second.Pass(t.Context(), nil); err != nil ||
		got != (port.Purged{LookedAt: 400, Deleted: 200, Done: true}) {
		t.Errorf("got %+v, %v, want the other 200 of 400 deleted", got, err)
	}
	if n := w.count(t, dead); n != 0 {
		t.Errorf("%d dead are stored, want 0", n)
	}
}

// A step that failed may have happened or not. The same process continues immediately, and nothing is lost or left.
func TestAfterAnyFaultAPassGoesOn(t *testing.T) {
	for _, how := range []fault{notDone, done, cancelled} {
		for n := 1; ; n++ {
			w := newWorld(t)
			living, dead := w.sessions(t, 1100)
			w.clock.advance(24 * time.Hour)
			w.probe.failAt, w.probe.how = n, how
			purge, _ := w.purger("one")
			_, err := purge.Pass(t.Context(), nil)
			if w.probe.struck == 0 {
				if must(t, err); n < 4 {
					t.Errorf("a pass of %d steps, want more", n-1)
				}
				break
			}
			wantErr(t, err, domain.ErrUnavailable)
			_, err = purge.Pass(t.Context(), nil)
			must(t, err)
			if living, dead := w.count(t, living), w.count(t, dead); living != 550 || dead != 0 {
				t.Errorf("step %d %s: %d living and %d dead are stored, want 550 and 0", n, how, living, dead)
			}
		}
	}
}

// unrecorded is a store that cannot store events.
type unrecorded struct{ port.Store }

func (unrecorded) Record(context.Context, domain.Event) error { return errPort }

// Deletions without an event are reported, also if the pass ended in a way that is not a failure.
func TestAPassWhoseEventIsNotStoredIsReported(t *testing.T) {
	for name, last := range map[string]func(stop func()) (port.Purged, error){
		"at its end":                func(func()) (port.Purged, error) { return port.Purged{Done: true}, nil },
		"another process took over": func(func()) (port.Purged, error) { return port.Purged{}, domain.ErrConflict },
		"a step failed":             func(func()) (port.Purged, error) { return port.Purged{}, errors.New("step") },
		"the process is being stopped": func(stop func()) (port.Purged, error) {
			stop()
			return port.Purged{}, context.Canceled
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			janitor := portmock.NewMockJanitor(gomock.NewController(t))
			purge, _ := w.purger("one")
			purge.Janitor, purge.Events = janitor, unrecorded{}
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			gomock.InOrder(
				janitor.EXPECT().Purge(gomock.Any(), gomock.Any()).Return(port.Purged{Deleted: 7, LookedAt: 9}, nil),
				janitor.EXPECT().Purge(gomock.Any(), gomock.Any()).DoAndReturn(
					func(context.Context, port.PurgeStep) (port.Purged, error) { return last(stop) }),
			)
			var got []error
			purge.Run(ctx, time.Hour, nil, func(err error) {
				got = append(got, err)
				stop()
			})
			if len(got) != 1 {
				t.Fatalf("Run reported %v, want one error", got)
			}
			wantErr(t, got[0], usecase.ErrPassUnrecorded)
			wantErr(t, got[0], errPort)
		})
	}
}

// Ten replicas with an interval of an hour make one pass an hour, not ten.
func TestReplicasShareTheirPasses(t *testing.T) {
	w := newWorld(t)
	var passes []time.Duration
	began := w.clock.now()
	note := func(p port.Purged) {
		if p.Done {
			passes = append(passes, w.clock.now().Sub(began).Truncate(time.Hour))
		}
	}
	fail := func(err error) { t.Errorf("Run told of %v", err) }
	replica := func(n int) (run func()) {
		purge, pauses := w.purger(fmt.Sprint("replica ", n))
		return func() {
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			until := w.clock.now().Add(20 * time.Minute)
			pauses.at = func(int) {
				if !w.clock.now().Before(until) {
					stop()
				}
			}
			purge.Run(ctx, time.Hour, note, fail)
		}
	}
	one, two := replica(1), replica(2)
	for range 5 { // in turns, for more than three hours
		one()
		two()
	}
	if want := []time.Duration{0, 1 * time.Hour, 2 * time.Hour, 3 * time.Hour}; !slices.Equal(passes, want) {
		t.Errorf("passes ended in the hours %v, want %v", passes, want)
	}
}

// A store that is down for a while does not stop Run; that another process has the lease is not reported.
func TestRunTellsOfFailuresAndGoesOn(t *testing.T) {
	w := newWorld(t)
	janitor := portmock.NewMockJanitor(gomock.NewController(t))
	purge, pauses := w.purger("one")
	purge.Janitor = janitor
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	gomock.InOrder(
		janitor.EXPECT().Purge(gomock.Any(), gomock.Any()).Return(port.Purged{}, errPort),
		janitor.EXPECT().Purge(gomock.Any(), gomock.Any()).Return(port.Purged{}, domain.ErrConflict),
		janitor.EXPECT().Purge(gomock.Any(), gomock.Any()).Return(port.Purged{Deleted: 7, LookedAt: 9}, nil),
		janitor.EXPECT().Purge(gomock.Any(), gomock.Any()).Return(port.Purged{}, errPort),
		janitor.EXPECT().Purge(gomock.Any(), gomock.Any()).DoAndReturn(
			func(ctx context.Context, _ port.PurgeStep) (port.Purged, error) {
				stop()
				return port.Purged{}, ctx.Err()
			}),
	)
	var (
		told []error
		seen port.Purged
	)
	purge.Run(ctx, time.Hour, func(p port.Purged) { seen = p }, func(err error) { told = append(told, err) })
	if len(told) != 2 {
		t.Errorf("told of %v, want two failures", told)
	}
	for _, err := range told {
		wantErr(t, err, errPort)
		wantErr(t, err, domain.ErrUnavailable)
	}
	if seen.Deleted != 7 {
		t.Errorf("told of %+v, want the step that succeeded", seen)
	}
	if want := []time.Duration{6 * time.Minute, 6 * time.Minute, 10 * time.Millisecond, 6 * time.Minute,
		6 * time.Minute}; !slices.Equal(pauses.taken, want) {
		t.Errorf("pauses %v, want %v", pauses.taken, want)
	}
}

// A process whose clock is behind may still accept an assertion that has expired here. Every pass deletes such keys, so
// none of them is an event.
func TestAPassKeepsTheUsedKeysThatAnotherClockNeeds(t *testing.T) {
	w := newWorld(t)
	janitor := portmock.NewMockJanitor(gomock.NewController(t))
	purge, _ := w.purger("one")
	purge.Janitor = janitor
	events := portmock.NewMockEvents(gomock.NewController(t)) // expects no call
	purge.Events = events
	janitor.EXPECT().Purge(gomock.Any(), gomock.Any()).DoAndReturn(
		func(_ context.Context, s port.PurgeStep) (port.Purged, error) {
			if want := stored(w.clock.now()).Add(-domain.MaxClockSkew); !s.OnceBefore.Equal(want) {
				t.Errorf("deletes the keys up to %s, want %s", s.OnceBefore, want)
			}
			return port.Purged{OnceKeys: 3, Done: true}, nil
		})
	if total, err := purge.Pass(t.Context(), nil); err != nil || total.OnceKeys != 3 {
		t.Errorf("got %+v, %v, want three deleted keys", total, err)
	}
}

// A store that finds the process's clock wrong is reported like one that is down: the janitor cannot correct either.
func TestAPassSaysByHowMuchClocksMayDiffer(t *testing.T) {
	w := newWorld(t)
	janitor := portmock.NewMockJanitor(gomock.NewController(t))
	purge, _ := w.purger("one")
	purge.Janitor = janitor
	janitor.EXPECT().Purge(gomock.Any(), gomock.Any()).DoAndReturn(
		func(_ context.Context, s port.PurgeStep) (port.Purged, error) {
			if s.MaxClockSkew != time.Minute || !s.Now.Equal(stored(w.clock.now())) {
				t.Errorf("asked at %s with a difference of %s, want the process' time and a minute", s.Now,
					s.MaxClockSkew)
			}
			return port.Purged{}, &domain.ClockError{Ahead: 744 * time.Hour}
		})
	_, err := purge.Pass(t.Context(), nil)
	wantErr(t, err, domain.ErrUnavailable)
	var fault *domain.ClockError
	if !errors.As(err, &fault) || fault.Ahead != 744*time.Hour {
		t.Errorf("error = %v, want by how much the clocks differ", err)
	}
}

// Another process that asks between two steps, however slow they are, must find the lease taken.
func TestTheLeaseCoversTwoStepsAndThePauseBetweenThem(t *testing.T) {
	w := newWorld(t)
	janitor := portmock.NewMockJanitor(gomock.NewController(t))
	purge, pauses := w.purger("one")
	purge.Janitor = janitor
	var held, left []time.Duration // each step's lease, and the longest that the step may take
	janitor.EXPECT().Purge(gomock.Any(), gomock.Any()).Times(2).DoAndReturn(
		func(ctx context.Context, s port.PurgeStep) (port.Purged, error) {
			deadline, ok := ctx.Deadline()
			if !ok {
				t.Error("a step has no deadline")
			}
			took := time.Until(deadline)
			held, left = append(held, s.LeaseUntil.Sub(s.Now)), append(left, took)
			w.clock.advance(took)
			return port.Purged{Done: len(held) == 2}, nil
		})
	_, err := purge.Pass(t.Context(), nil)
	must(t, err)
	if busy := left[0] + pauses.taken[0] + left[1]; busy >= held[0] || held[0] != usecase.PurgeLease {
		t.Errorf("the lease is for %s, and the next one is stored after %s", held[0], busy)
	}
}
