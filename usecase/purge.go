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
	// purgeStepTimeout ends a step that makes no progress: no statement of a call takes longer.
	purgeStepTimeout = 10 * time.Second
	// purgeRest is the length of the pause after a step in multiples of that step: a pass takes at most a fifth of a
	// processor and of the disk, however slow they are, and leaves the rest to exchanges.
	purgeRest     = 4
	purgeMinPause = 10 * time.Millisecond
	purgeMaxPause = 5 * time.Second
	// PurgeLease is how long a process that was killed in a pass keeps others from continuing it. It runs from the
	// beginning of a step, and is renewed at the next step: it covers two steps, the pause between them, and some clock
	// skew.
	PurgeLease = 30 * time.Second
	// purgeEndTimeout bounds the writes after a pass has ended or was interrupted.
	purgeEndTimeout = 2 * time.Second
	// purgeLooks is how often in an interval a process checks whether a pass is due, or was interrupted in another
	// process.
	purgeLooks = 10
)

// Purge deletes refresh tokens that ended a while ago, and marks and deleted tenants that are no longer needed. Until
// then a refused holder of a token string gets the reason; afterwards the refresh token is unknown.
type Purge struct {
	Janitor port.Janitor
	Events  port.Events
	Jobs    port.Jobs
	Clock   Clock
	// Pause returns nil after d, or an error as soon as ctx is done.
	Pause func(ctx context.Context, d time.Duration) error
	// LeaseHolder names this process; no other process has the same text.
	LeaseHolder string
	// After is how long ended refresh tokens are kept: longer than any call and than the clock skew, so minutes at
	// least.
	After time.Duration
	// KeepEvents is how long events are kept; 0 keeps them forever.
	KeepEvents time.Duration
	Random     io.Reader
	// Keys holds the token keys: a pass ends the sessions whose current token strings a revoked one minted. nil for a
	// store that has none.
	Keys port.Keys
	// Asked, if it is not nil, receives when a pass should begin no matter when the last one ended.
	Asked <-chan struct{}
}

// ErrPassUnrecorded reports that the event of a pass could not be stored.
var ErrPassUnrecorded = errors.New("the event of the pass was not stored")

// Pass continues the pass in progress, or begins one, until its end, and reports each step to progress, which may be
// nil. It returns what it deleted, also with an error. The error is ErrConflict if another process purges, and
// ErrPassUnrecorded, beside any other, if the event of the pass could not be stored.
func (p *Purge) Pass(ctx context.Context, progress func(port.Purged)) (port.Purged, error) {
	return p.pass(ctx, time.Time{}, progress)
}

// Run makes a pass whenever the last one, of any process, ended longer than interval ago, until ctx is done. It reports
// to failed every pass that ended with an error, and continues. It is not an error that another process purges, or that
// ctx is done, but deletions without an event are one in any case.
func (p *Purge) Run(ctx context.Context, interval time.Duration, progress func(port.Purged), failed func(error)) {
	asked := false
	for ctx.Err() == nil {
		endedBefore := p.Clock.Now().Add(-interval)
		if asked {
			endedBefore = time.Time{}
		}
		_, err := p.pass(ctx, endedBefore, progress)
		asked = asked && err != nil // another process's pass may be beyond what this one was asked for
		routine := errors.Is(err, domain.ErrConflict) || ctx.Err() != nil
		if err != nil && !routine || errors.Is(err, ErrPassUnrecorded) {
			failed(err)
		}
		if asked = p.wait(ctx, interval/purgeLooks) || asked; ctx.Err() != nil {
			return
		}
	}
}

// wait returns after d, when ctx is done, or when a pass is asked for, which it reports.
func (p *Purge) wait(ctx context.Context, d time.Duration) (asked bool) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-p.Asked:
			asked = true
			cancel()
		case <-ctx.Done():
		}
	}()
	_ = p.Pause(ctx, d)
	cancel()
	<-ended
	return asked
}

func (p *Purge) pass(
	ctx context.Context, endedBefore time.Time, progress func(port.Purged),
) (sum port.Purged, err error) {
	defer func() {
		if err != nil && !errors.Is(err, domain.ErrConflict) {
			p.release(ctx)
		}
		if failed := p.record(ctx, sum); failed != nil {
			err = errors.Join(err, Wrap("purge", fmt.Errorf("%w: %w", ErrPassUnrecorded, failed)))
		}
	}()
	for {
		begin := p.Clock()
		done, err := p.step(ctx, endedBefore)
		if err != nil {
			return sum, Wrap("purge", err)
		}
		if progress != nil {
			progress(done)
		}
		sum.LookedAt, sum.Deleted = sum.LookedAt+done.LookedAt, sum.Deleted+done.Deleted
		sum.Marks, sum.Tenants, sum.Done = sum.Marks+done.Marks, sum.Tenants+done.Tenants, done.Done
		sum.Revoked, sum.Events = sum.Revoked+done.Revoked, sum.Events+done.Events
		sum.OnceKeys += done.OnceKeys
		if done.Done {
			return sum, nil
		}
		rest := min(max(purgeRest*p.Clock().Sub(begin), purgeMinPause), purgeMaxPause)
		if err := p.Pause(ctx, rest); err != nil {
			return sum, Wrap("purge", err)
		}
	}
}

func (p *Purge) step(ctx context.Context, endedBefore time.Time) (port.Purged, error) {
	ctx, cancel := context.WithTimeout(ctx, purgeStepTimeout)
	defer cancel()
	now := p.Clock.Now()
	step := port.PurgeStep{
		LeaseHolder: p.LeaseHolder, Now: now, LeaseUntil: now.Add(PurgeLease),
		EndedBefore: endedBefore, Before: now.Add(-p.After), MaxClockSkew: domain.MaxClockSkew, Limit: purgeStep,
		OnceBefore: now.Add(-domain.MaxClockSkew),
	}
	if p.KeepEvents > 0 {
		step.EventsBefore = domain.FirstID(now.Add(-p.KeepEvents))
	}
	if p.Keys != nil {
		stored, err := p.Keys.KeysOfTenant(ctx, "")
		if err != nil {
			return port.Purged{}, err
		}
		if step.Ended = endedRotations(stored); len(step.Ended) > 0 {
			if step.Event, err = domain.NewEvent(domain.ManyTokensRevoked, domain.Service(), now, p.Random); err != nil {
				return port.Purged{}, err
			}
			step.Event.After = domain.EventObject(map[string]any{"revokedReason": domain.RevokedWithKey})
		}
	}
	return p.Janitor.Purge(ctx, step)
}

// endedRotations returns the ranges of rotation instants whose token strings were minted by a revoked token key.
func endedRotations(stored []domain.SealedKey) (ranges []port.RotationRange) {
	var keys domain.TokenKeys
	for _, s := range stored {
		if s.Kind == domain.KeyToken {
			keys = append(keys, s.Token(domain.Secret{}))
		}
	}
	for _, r := range keys.Ended() {
		ranges = append(ranges, port.RotationRange(r))
	}
	return ranges
}

// release returns the lease after a pass that was interrupted, so that another process can continue it before the lease
// expires. If that fails, the lease expires.
func (p *Purge) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), purgeEndTimeout)
	defer cancel()
	_ = p.Jobs.Release(ctx, port.JobPurge, p.LeaseHolder)
}

// record stores the event of a pass, or of this process's part of one, that deleted something. A pass that deleted only
// events has none: its event would be deleted by a later pass, which would have an event, and so on. It has
// none either if it deleted only keys of port.Once, which every pass does. A step
// that returned an error is not counted, although the store may have done it: only an event in the step itself would
// count it.
func (p *Purge) record(ctx context.Context, sum port.Purged) error {
	if sum.Deleted+sum.Marks+sum.Tenants == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), purgeEndTimeout)
	defer cancel()
	event, err := domain.NewEvent(domain.PurgePass, domain.Service(), p.Clock.Now(), p.Random)
	if err != nil {
		return err
	}
	event.After = domain.EventObject(map[string]int{
		"refreshTokens": sum.Deleted, "marks": sum.Marks, "tenants": sum.Tenants, "events": sum.Events,
	})
	return p.Events.Record(ctx, event)
}
