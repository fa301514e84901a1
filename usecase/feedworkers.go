package usecase

import (
	"context"
	"math"
	"time"

	"github.com/refreshd/refreshd/domain"
)

const (
	// feedReadInterval is the time from the start of one reading to that of the next, and feedSlowInterval that after
	// a reading that took longer than feedSlowRead: the store has other work.
	feedReadInterval = 100 * time.Millisecond
	feedSlowInterval = time.Second
	feedSlowRead     = 25 * time.Millisecond
	// feedCheckInterval is how often a reading begins below the head, to count what the others have missed.
	feedCheckInterval = time.Minute
	feedSweepInterval = 10 * time.Second

	feedBeatInterval  = 500 * time.Millisecond
	feedStampInterval = time.Second
	feedStampLimit    = 1000

	// feedCallTimeout bounds each call of the store: one that never responds makes the feed blind, and does not stop
	// it.
	feedCallTimeout = 2 * time.Second
	// feedStampTimeout is shorter: a stamp that never responds delays a beat, and must not make the feed blind.
	feedStampTimeout = feedBlindAfter - feedBeatInterval
	// feedMaxReadTimeout bounds a reading after others were cut short: there may be millions of facts to read, and the
	// first reading would never succeed.
	feedMaxReadTimeout = 30 * time.Second
)

// RunReader reads the facts until ctx is done, while there are streams and for a minute after.
func (f *Feed) RunReader(ctx context.Context) error {
	var swept time.Time
	timeout := feedCallTimeout
	for ctx.Err() == nil {
		if woken := f.asleep(); woken != nil {
			select {
			case <-woken:
			case <-ctx.Done():
			}
			continue
		}
		began := f.Clock()
		if f.read(ctx, timeout) {
			timeout = min(2*timeout, feedMaxReadTimeout)
		} else {
			timeout = feedCallTimeout
		}
		if !recent(f.Clock(), swept, feedSweepInterval) {
			swept = f.Clock()
			f.sweep(swept)
		}
		interval, took := feedReadInterval, f.Clock().Sub(began)
		if took > feedSlowRead {
			interval = feedSlowInterval
		}
		sleep(ctx, interval-took)
	}
	return nil
}

// asleep returns nil if facts have to be read. Otherwise it drops those that are held, and returns a channel that is
// closed when they have to be.
func (f *Feed) asleep() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.awakeSince.IsZero() {
		if f.streams > 0 || recent(f.Clock(), f.idleSince, feedIdle) {
			return nil
		}
		f.awakeSince, f.isRead, f.isRewound, f.head = time.Time{}, false, false, 0
		f.tenants, f.widening, f.facts = nil, nil, 0
	}
	return f.demanded.wait()
}

// reading is one reading of the store.
type reading struct {
	began    time.Time
	head     domain.Position // that of the reading before
	after    domain.Position
	from     domain.Position // facts matter that are not older than the window of their tenant, counted from here
	isCheck  bool            // no fact that it finds at or below head should be unknown
	isBelow  bool            // it begins below head
	widening []widening
	touched  []*tenantFacts
	repaired int
}

// widening is a tenant whose facts have to be read as far back as window.
type widening struct {
	tenant *tenantFacts
	window time.Duration
}

// read reads the facts once. It reports whether that took longer than timeout, and failed.
func (f *Feed) read(ctx context.Context, timeout time.Duration) (cutShort bool) {
	within, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	began := f.Clock()
	r, head, err := f.readWithin(within)
	f.mu.Lock()
	f.lastRead = f.Clock().Sub(began)
	f.mu.Unlock()
	if ctx.Err() != nil {
		return false // the process stops
	}
	f.note(FeedRead, err)
	if err != nil {
		f.abandon(r)
		return within.Err() != nil
	}
	if r.repaired > 0 {
		f.notify(FeedNotice{Kind: FeedRepaired, Facts: r.repaired})
	}
	if head < r.head {
		f.notify(FeedNotice{Kind: FeedRewound})
	}
	return false
}

func (f *Feed) readWithin(ctx context.Context) (r *reading, head domain.Position, err error) {
	first, isFirst := domain.Position(0), f.isFirst()
	if isFirst {
		if first, err = f.Store.Revoked(ctx, math.MaxInt64, func(domain.Fact) {}); err != nil {
			return &reading{}, 0, err
		}
	}
	r = f.plan(first, isFirst)
	batch := make([]domain.Fact, 0, maxTick)
	head, err = f.Store.Revoked(ctx, r.after, func(fact domain.Fact) {
		if batch = append(batch, fact); len(batch) == cap(batch) {
			f.take(r, batch)
			batch = batch[:0]
		}
	})
	if err != nil {
		f.take(r, batch) // they are facts anyway
		return r, 0, err
	}
	f.finish(r, batch, head)
	return r, head, nil
}

func (f *Feed) isFirst() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.isRead
}

// plan decides where a reading begins. head is that of the store if this is the first reading.
//
// The first reading does not begin at position 0, because the store keeps facts for days. It begins at the head, or at
// the present if that is lower, minus what may matter: positions follow the store's clock, and only upwards.
func (f *Feed) plan(head domain.Position, isFirst bool) *reading {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := &reading{began: f.Clock(), head: f.head}
	if isFirst {
		r.head = head
	}
	r.from = min(r.head, domain.Position(r.began.UnixMicro()))
	isCheck := !recent(r.began, f.checkedAt, feedCheckInterval)
	var window time.Duration
	if isFirst || f.isRewound {
		window = feedWindow
		for _, t := range f.tenants {
			window = max(window, t.window)
		}
	}
	for _, t := range f.widening {
		r.widening = append(r.widening, widening{t, t.window})
		window = max(window, t.window)
	}
	f.widening = nil
	switch {
	case window > 0:
		r.after, r.isBelow = r.from-position(window), true
	case f.readAgain || isCheck:
		r.after, r.isBelow, r.isCheck = r.head-position(feedMargin), true, !f.readAgain
	default:
		r.after = r.head
	}
	r.after = max(r.after, 0)
	f.readAgain = false
	return r
}

// abandon has the next reading do what a failed one had to.
func (f *Feed) abandon(r *reading) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, w := range r.widening {
		f.widening = append(f.widening, w.tenant)
	}
}

// take adds facts of a reading.
func (f *Feed) take(r *reading, facts []domain.Fact) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.add(r, facts)
	r.publish()
}

// finish adds the last facts of a reading that succeeded, and extends what is complete.
func (f *Feed) finish(r *reading, facts []domain.Fact, head domain.Position) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.add(r, facts)
	defer r.publish()
	if head < r.head {
		// Stamps were lost: facts may have positions below those that were read. All that matters is read again.
		f.head, f.isRewound = head, true
		for _, w := range r.widening {
			f.widening = append(f.widening, w.tenant)
		}
		return
	}
	for _, w := range r.widening {
		w.tenant.covered = max(w.tenant.covered, w.window)
	}
	f.head, f.readAt, f.readOK, f.isRead, f.isRewound = head, r.began, f.Clock(), true, false
	if r.isBelow {
		f.checkedAt = r.began
	}
	f.confirmed.wake()
}

// add adds facts. The caller holds mu.
func (f *Feed) add(r *reading, facts []domain.Fact) {
	for _, fact := range facts {
		t := f.tenant(fact.TenantID)
		if fact.Position != 0 && fact.Position <= r.from-position(t.window) {
			continue
		}
		hadOpen, known := t.open != nil, t.len()
		if !t.take(fact, r.began) {
			continue
		}
		f.facts += t.len() - known // a mark that was raised takes the place of another
		if !hadOpen {
			r.touched = append(r.touched, t)
		}
		if r.isCheck && 0 < fact.Position && fact.Position <= r.head {
			r.repaired++
			f.repaired++
		}
	}
}

// publish gives the facts that were added to the subscribers. The caller holds the mutex of the feed.
func (r *reading) publish() {
	for _, t := range r.touched {
		t.publish()
	}
	r.touched = r.touched[:0]
}

// sweep drops the facts that no longer matter. It lets subscribers in between.
func (f *Feed) sweep(now time.Time) {
	f.mu.Lock()
	tenants := make([]*tenantFacts, 0, len(f.tenants))
	for _, t := range f.tenants {
		tenants = append(tenants, t)
	}
	f.mu.Unlock()
	for _, t := range tenants {
		f.mu.Lock()
		f.facts -= t.sweep(now)
		f.forget(t)
		f.mu.Unlock()
	}
}

// RunStamper gives facts their positions until ctx is done. While facts are read it also beats.
func (f *Feed) RunStamper(ctx context.Context) error {
	var stampAt, beatAt time.Time
	for ctx.Err() == nil {
		woken, isAwake := f.isAwake()
		switch now := f.Clock(); {
		case isAwake && !now.Before(beatAt):
			beatAt = now.Add(feedBeatInterval)
			f.beat(ctx, now)
		case !now.Before(stampAt):
			if !f.stamp(ctx, now) {
				stampAt = now.Add(feedStampInterval)
			}
		default:
			next := stampAt
			if isAwake && beatAt.Before(next) {
				next = beatAt
			}
			timer := time.NewTimer(next.Sub(now))
			select {
			case <-timer.C:
			case <-woken:
			case <-ctx.Done():
			}
			timer.Stop()
		}
	}
	return nil
}

// isAwake reports whether facts are read. woken is closed when they are again.
func (f *Feed) isAwake() (woken <-chan struct{}, is bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.awakeSince.IsZero() {
		return f.demanded.wait(), false
	}
	return nil, true
}

// stamp reports whether there may be more to stamp.
func (f *Feed) stamp(ctx context.Context, now time.Time) bool {
	within, cancel := context.WithTimeout(ctx, feedStampTimeout)
	defer cancel()
	n, err := f.Store.Stamp(within, now.UTC().Truncate(time.Microsecond), feedStampLimit)
	if ctx.Err() != nil {
		return false
	}
	f.note(FeedStamp, err)
	return err == nil && n >= feedStampLimit
}

// beat has the store confirm that it is the primary. began is the time now.
func (f *Feed) beat(ctx context.Context, began time.Time) {
	within, cancel := context.WithTimeout(ctx, feedCallTimeout)
	defer cancel()
	err := f.Store.Beat(within, f.Reader, began.UTC().Truncate(time.Microsecond))
	if ctx.Err() != nil {
		return
	}
	f.note(FeedBeat, err)
	if err != nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.beatAt, f.beatOK = began, f.Clock()
	f.confirmed.wake()
}

// sleep returns after d, or when ctx is done.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
