package usecase

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

const (
	// feedReadInterval is the time from the start of one reading to that of the next. After a slow one it is longer,
	// because the store has other work: feedReadShare times what the reading took, up to feedSlowInterval. That leaves
	// 200 ms of a second for the reading that finds a fact. One long interval for all that are slow was rejected: a
	// pause of the scheduler would delay the facts as an overload does.
	feedReadInterval = 100 * time.Millisecond
	feedReadShare    = 10
	feedSlowInterval = 800 * time.Millisecond
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
		if beaten := f.unconfirmed(); beaten != nil {
			timer := time.NewTimer(feedReadInterval)
			select {
			case <-beaten:
			case <-timer.C:
			case <-ctx.Done():
			}
			timer.Stop()
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
		took := f.Clock().Sub(began)
		sleep(ctx, min(max(feedReadInterval, feedReadShare*took), feedSlowInterval)-took)
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
		f.tenants, f.widening, f.facts, f.beats = nil, nil, 0, nil
	}
	return f.demanded.wait()
}

// unconfirmed returns nil if a beat was confirmed since the workers woke. Otherwise no reading can succeed, and it
// returns a channel that is closed when a beat ends.
func (f *Feed) unconfirmed() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.beats) > 0 {
		return nil
	}
	return f.ended.wait()
}

// reading is one reading of the store.
type reading struct {
	began    time.Time
	beat     beat            // that it shows
	head     domain.Position // that of the reading before
	after    domain.Position
	from     domain.Position // facts matter that are not older than the window of their tenant, counted from here
	isCheck  bool            // no fact that it finds at or below head should be unknown
	isBelow  bool            // it begins below head
	widening []widening
	touched  []*tenantFacts
	repaired int
	// settled are the facts that were known without a position, and their positions here. A server that was replaced may
	// have given them positions that the new one does not know, so they count only if the reading succeeds.
	settled map[domain.Fact]domain.Position
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
		read, err := f.Store.Revoked(ctx, port.FactQuery{After: math.MaxInt64}, func(domain.Fact) {})
		if err != nil {
			return &reading{}, 0, err
		}
		first = read.Head
	}
	r = f.plan(first, isFirst)
	var batch []domain.Fact // of most readings none
	q := port.FactQuery{After: r.after, Reader: f.Reader}
	read, err := f.Store.Revoked(ctx, q, func(fact domain.Fact) {
		if batch = append(batch, fact); len(batch) == maxTick {
			f.take(r, batch)
			batch = batch[:0]
		}
	})
	if err == nil {
		r.beat, err = f.confirmed(ctx, read.Beat)
	}
	if err != nil {
		f.take(r, batch) // they are facts anyway
		return r, 0, err
	}
	f.finish(r, batch, read.Head)
	return r, read.Head, nil
}

// confirmed returns the beat that stored an instant, which a reading shows. It waits for one that has not ended. It
// returns errReplaced if none was confirmed since the last one before the reading.
func (f *Feed) confirmed(ctx context.Context, shown time.Time) (beat, error) {
	for {
		f.mu.Lock()
		i := slices.IndexFunc(f.beats, func(b beat) bool { return b.stored.Equal(shown) })
		if i >= 0 {
			defer f.mu.Unlock()
			return f.beats[i], nil
		}
		isEnded, ended := !f.isBeating || !f.beaten.Equal(shown), f.ended.wait()
		f.mu.Unlock()
		if isEnded {
			return beat{}, errReplaced
		}
		select {
		case <-ended:
		case <-ctx.Done():
			return beat{}, fmt.Errorf("%w: %w", errReplaced, ctx.Err())
		}
	}
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
	f.beats = f.beats[max(0, len(f.beats)-1):]
	if isFirst {
		r.head = head
	}
	r.from = min(r.head, domain.Position(r.began.UnixMicro()))
	// Of a head that has not moved for long, there is nothing left to check: what is found there was dropped.
	isCheck := !recent(r.began, f.checkedAt, feedCheckInterval) && recent(r.began, f.headAt, feedWindow/2)
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
	case !f.failedAt.IsZero() || isCheck:
		r.after, r.isBelow, r.isCheck = r.head-position(feedMargin), true, f.failedAt.IsZero()
	default:
		r.after = r.head
	}
	r.after = max(r.after, 0)
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
	for fact, at := range r.settled {
		fact.Position = at
		f.tenant(fact.TenantID).take(fact, r.began)
	}
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
	if head != f.head {
		f.headAt = r.began
	}
	f.head, f.readAt, f.readOK, f.isRead, f.isRewound = head, r.began, f.Clock(), true, false
	if r.beat.began.After(f.failedAt) {
		f.failedAt = time.Time{}
	}
	f.completeAsOf = r.began
	if r.beat.began.Before(r.began) {
		f.completeAsOf = r.beat.began
	}
	if r.isBelow {
		f.checkedAt = r.began
	}
	f.progressed.wake()
}

// add adds facts. The caller holds mu.
func (f *Feed) add(r *reading, facts []domain.Fact) {
	for _, fact := range facts {
		isNew := f.addTo(f.tenant(fact.TenantID), r, fact)
		if isNew && r.isCheck && 0 < fact.Position && fact.Position <= r.head {
			r.repaired++
			f.repaired++
		}
		if fact.TenantID != allTenants {
			continue
		}
		for id, t := range f.tenants {
			if fact.TenantID = id; id != allTenants {
				f.addTo(t, r, fact)
			}
		}
	}
}

// addTo adds a fact to those of t, and reports whether it was unknown.
func (f *Feed) addTo(t *tenantFacts, r *reading, fact domain.Fact) (isNew bool) {
	if fact.Position != 0 && fact.Position <= r.from-position(t.window) {
		return false
	}
	key := fact
	key.Position = 0
	if fact.Position != 0 && t.lacksPosition(fact) {
		if r.settled == nil {
			r.settled = make(map[domain.Fact]domain.Position)
		}
		r.settled[key] = fact.Position
		return false
	}
	delete(r.settled, key)
	hadOpen, known := t.open != nil, t.len()
	if !t.take(fact, r.began) {
		return false
	}
	f.facts += t.len() - known // a mark that was raised takes the place of another
	if !hadOpen {
		r.touched = append(r.touched, t)
	}
	return true
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

// StampAll gives each fact of a store its position, as RunStamper does, until there is no more to stamp.
func StampAll(ctx context.Context, s port.Reach, clock Clock) error {
	for {
		more, err := stampSome(ctx, s, clock())
		if err != nil {
			return Wrap("give the revocations their positions", err)
		}
		if !more {
			return nil
		}
	}
}

// stamp reports whether there may be more to stamp.
func (f *Feed) stamp(ctx context.Context, now time.Time) bool {
	within, cancel := context.WithTimeout(ctx, feedStampTimeout)
	defer cancel()
	more, err := stampSome(within, f.Store, now)
	if ctx.Err() != nil {
		return false
	}
	f.note(FeedStamp, err)
	return more
}

// stampSome gives some facts their positions. more reports whether there may be others; it is false with an error.
func stampSome(ctx context.Context, s port.Reach, now time.Time) (more bool, err error) {
	n, err := s.Stamp(ctx, now.UTC().Truncate(time.Microsecond), feedStampLimit)
	return err == nil && n >= feedStampLimit, err
}

// errReplaced reports a reading that does not show what a beat has stored before.
var errReplaced = errors.New("the reading does not show the last beat that was confirmed: it may have been served " +
	"by a server that another one has replaced, or the row of the table feed_readers was deleted")

// beat is a beat that the store has confirmed.
type beat struct {
	stored       time.Time // in microseconds
	began, ended time.Time
}

// lastBeat returns the last beat that was confirmed, or the zero beat. The caller holds mu.
func (f *Feed) lastBeat() beat {
	if len(f.beats) == 0 {
		return beat{}
	}
	return f.beats[len(f.beats)-1]
}

// beat has the store confirm that it is the primary. began is the time now.
func (f *Feed) beat(ctx context.Context, began time.Time) {
	within, cancel := context.WithTimeout(ctx, feedCallTimeout)
	defer cancel()
	stored := f.beginBeat(began)
	err := f.Store.Beat(within, f.Reader, stored)
	if ctx.Err() == nil {
		f.note(FeedBeat, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.isBeating = false
	f.ended.wake()
	if err == nil {
		f.beats = append(f.beats, beat{stored, began, f.Clock()})
		f.progressed.wake()
	}
}

// beginBeat returns the instant that a beat stores: the present, but above that of the beat before, although the clock
// may have been set back.
func (f *Feed) beginBeat(now time.Time) time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	stored := now.UTC().Truncate(time.Microsecond)
	if !stored.After(f.beaten) {
		stored = f.beaten.Add(time.Microsecond)
	}
	f.beaten, f.isBeating = stored, true
	return stored
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
