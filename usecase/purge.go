package usecase

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

const (
	purgeStep = 500 // refresh tokens: some milliseconds
	// purgeStepTimeout ends a step that gets nowhere: no statement of a call takes longer.
	purgeStepTimeout = 10 * time.Second
	// purgeRest is how much longer than a step the pause after it is: a pass takes a fifth of a processor and of the disk at most,
	// however slow they are, and exchanges have the rest.
	purgeRest     = 4
	purgeMinPause = 10 * time.Millisecond
	purgeMaxPause = 5 * time.Second
	// PurgeLease is for how long a process that was killed in a pass keeps others from going on with it. It runs from the beginning
	// of a step, and is renewed when the next step is over: it covers two steps and the pause between them, and something for clocks.
	PurgeLease = 30 * time.Second
	// purgeEndTimeout bounds what is still to be written when a pass has ended, or was cut off.
	purgeEndTimeout = 2 * time.Second
	// purgeLooks are how often in an interval a process looks whether a pass is due, or was left unfinished by another one.
	purgeLooks = 10
)

// Purge deletes refresh tokens that have been dead for a while, and marks and deleted tenants that nothing needs any more. Until then
// their holders hear why they are refused; afterwards they are unknown.
type Purge struct {
	Janitor port.Janitor
	Events  port.Events
	Jobs    port.Jobs
	Clock   Clock
	// Pause returns nil when that time has passed, or an error as soon as ctx is done.
	Pause func(ctx context.Context, d time.Duration) error
	// LeaseHolder names this process among all that purge.
	LeaseHolder string
	// After is how long the dead stay: longer than any call takes and clocks differ, so minutes at least.
	After time.Duration
	// KeepEvents is how long events stay; 0 for ever.
	KeepEvents time.Duration
	Random     io.Reader
}

// ErrPassUnrecorded means that the event of what a pass deleted could not be stored.
var ErrPassUnrecorded = errors.New("the event of the pass was not stored")

// Pass goes on with the pass that is under way, or begins one, until its end, and reports each step to progress, which
// may be nil. It returns what it did, also with an error. The error is ErrConflict if another process is at it, and
// ErrPassUnrecorded, beside any other, if the event of what it did could not be stored.
func (p *Purge) Pass(ctx context.Context, progress func(port.Purged)) (port.Purged, error) {
	return p.pass(ctx, time.Time{}, progress)
}

// Run makes a pass whenever the last one, of any process, ended longer than interval ago, until ctx is done. It reports
// to failed every pass that ended with an error, and goes on. That another process is at it is no error, nor is the end
// of ctx, but what was deleted without an event is one in any case.
func (p *Purge) Run(ctx context.Context, interval time.Duration, progress func(port.Purged), failed func(error)) {
	for ctx.Err() == nil {
		_, err := p.pass(ctx, p.Clock.now().Add(-interval), progress)
		routine := errors.Is(err, domain.ErrConflict) || ctx.Err() != nil
		if err != nil && !routine || errors.Is(err, ErrPassUnrecorded) {
			failed(err)
		}
		if p.Pause(ctx, interval/purgeLooks) != nil {
			return
		}
	}
}

func (p *Purge) pass(ctx context.Context, endedBefore time.Time, progress func(port.Purged)) (sum port.Purged, err error) {
	defer func() {
		if err != nil && !errors.Is(err, domain.ErrConflict) {
			p.release(ctx)
		}
		if failed := p.record(ctx, sum); failed != nil {
			err = errors.Join(err, wrap("purge", fmt.Errorf("%w: %w", ErrPassUnrecorded, failed)))
		}
	}()
	for {
		begin := p.Clock()
		done, err := p.step(ctx, endedBefore)
		if err != nil {
			return sum, wrap("purge", err)
		}
		if progress != nil {
			progress(done)
		}
		sum.LookedAt, sum.Deleted = sum.LookedAt+done.LookedAt, sum.Deleted+done.Deleted
		sum.Marks, sum.Tenants, sum.Done = sum.Marks+done.Marks, sum.Tenants+done.Tenants, done.Done
		sum.Events += done.Events
		if done.Done {
			return sum, nil
		}
		rest := min(max(purgeRest*p.Clock().Sub(begin), purgeMinPause), purgeMaxPause)
		if err := p.Pause(ctx, rest); err != nil {
			return sum, wrap("purge", err)
		}
	}
}

func (p *Purge) step(ctx context.Context, endedBefore time.Time) (port.Purged, error) {
	ctx, cancel := context.WithTimeout(ctx, purgeStepTimeout)
	defer cancel()
	now := p.Clock.now()
	step := port.PurgeStep{
		LeaseHolder: p.LeaseHolder, Now: now, LeaseUntil: now.Add(PurgeLease), EndedBefore: endedBefore, Before: now.Add(-p.After),
		MaxClockSkew: domain.MaxClockSkew, Limit: purgeStep,
	}
	if p.KeepEvents > 0 {
		step.EventsBefore = domain.FirstID(now.Add(-p.KeepEvents))
	}
	return p.Janitor.Purge(ctx, step)
}

// release gives the lease back after a pass that was cut off, so that another process can go on with it before the
// lease has run out. If that fails the lease runs out.
func (p *Purge) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), purgeEndTimeout)
	defer cancel()
	_ = p.Jobs.Release(ctx, port.JobPurge, p.LeaseHolder)
}

// record stores the event of a pass, or of this process' part of one, that deleted something. Events alone are nothing
// here: the event of a pass is itself deleted one day, and that pass would have an event, for ever. A step that returned
// an error is not counted, although the store may have taken it: only an event in the step itself would have it.
func (p *Purge) record(ctx context.Context, sum port.Purged) error {
	if sum.Deleted+sum.Marks+sum.Tenants == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), purgeEndTimeout)
	defer cancel()
	event, err := domain.NewEvent(domain.PurgePass, domain.Service(), p.Clock.now(), p.Random)
	if err != nil {
		return err
	}
	event.After = domain.EventObject(map[string]int{
		"refreshTokens": sum.Deleted, "marks": sum.Marks, "tenants": sum.Tenants, "events": sum.Events,
	})
	return p.Events.Record(ctx, event)
}
