package storagetest

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// ledger gives the facts of a store positions of its own, as a database would: the store within never stamps. Its
// fields are the faults.
type ledger struct {
	f *faulty

	reading sync.RWMutex // locked to hold reads up

	mu   sync.Mutex
	head domain.Position
	seen domain.Position                 // the highest head that a read returned
	at   map[domain.Fact]domain.Position // by fact without position: a mark that is raised is another one
	held map[Held]bool

	// position of a stamp.
	position func(head, now domain.Position) domain.Position
	// key of a fact in at.
	key func(domain.Fact) domain.Fact
	// pause between the two moments of a read or a stamp that are one otherwise.
	pause func(chosen domain.Position) (resume func())
	// stampsApart makes a stamp two steps: the first chooses the position, the second gives it to facts.
	stampsApart bool
	// halvesApart makes a read two reads: of what has a position, and of what has none.
	halvesApart bool
	// headLast makes a read return a later head.
	headLast bool
	// waits makes a stamp wait for what is held; ignoresHeld makes it stamp that.
	waits, ignoresHeld bool
	// reads reports whether a read returns a fact.
	reads func(f domain.Fact, after domain.Position) bool
	// takes returns how many of each kind a stamp takes.
	takes func(limit int) int
	// counts returns the result of a stamp.
	counts func(sessions, marks int) int
	// always makes a stamp take a position even if there is nothing to stamp.
	always bool
}

func newLedger(f *faulty) *ledger {
	l := &ledger{
		f: f, at: make(map[domain.Fact]domain.Position), held: make(map[Held]bool),
		position: func(head, now domain.Position) domain.Position { return max(head+1, now) },
		key:      func(f domain.Fact) domain.Fact { return f },
		pause:    func(domain.Position) func() { return func() {} },
		reads:    func(f domain.Fact, after domain.Position) bool { return f.Position == 0 || f.Position > after },
		takes:    func(limit int) int { return limit },
		counts:   func(sessions, marks int) int { return max(sessions, marks) },
	}
	f.revoked, f.stamp = l.revoked, l.stamp
	return l
}

// facts returns all facts of the store within, with their positions. The mutex is held.
func (l *ledger) facts(ctx context.Context) (all []domain.Fact, err error) {
	_, err = l.f.within.Revoked(ctx, port.FactQuery{}, func(f domain.Fact) {
		f.Position = 0
		f.Position = l.at[l.key(f)]
		all = append(all, f)
	})
	return all, err
}

func (l *ledger) revoked(ctx context.Context, q port.FactQuery, each func(domain.Fact)) (port.Reading, error) {
	l.reading.RLock()
	defer l.reading.RUnlock()
	moment := func(take func(domain.Fact) bool) (port.Reading, error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		all, err := l.facts(ctx)
		for _, f := range all {
			if take(f) && l.reads(f, q.After) {
				each(f)
			}
		}
		l.seen = max(l.seen, l.head)
		return port.Reading{Head: l.head}, err
	}
	if l.halvesApart {
		read, err := moment(func(f domain.Fact) bool { return f.Position > 0 })
		l.pause(0)
		_, again := moment(func(f domain.Fact) bool { return f.Position == 0 })
		return read, errors.Join(err, again)
	}
	read, err := moment(func(domain.Fact) bool { return true })
	if l.headLast {
		l.pause(0)
		l.mu.Lock()
		defer l.mu.Unlock()
		read.Head = l.head
	}
	return read, err
}

func (l *ledger) stamp(ctx context.Context, now time.Time, limit int) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if head := (Held{Head: true}); l.held[head] && !l.waitFor(head) {
		return 0, l.timeout()
	}
	position := l.position(l.head, domain.Position(now.UnixMicro()))
	if l.stampsApart {
		l.mu.Unlock()
		defer l.pause(position)()
		l.mu.Lock()
	}
	all, err := l.facts(ctx)
	if err != nil {
		return 0, err
	}
	var taken []domain.Fact
	var sessions, marks int
	for _, f := range all {
		what, n := Held{Token: f.SessionID}, &sessions
		if f.Epoch > 0 {
			what, n = Held{Mark: scopeOf(f)}, &marks
		}
		if f.Position != 0 || *n == l.takes(limit) {
			continue
		}
		if l.held[what] && !l.waitFor(what) {
			if err := l.timeout(); err != nil {
				return 0, err
			}
			continue
		}
		*n++
		taken = append(taken, f)
	}
	if len(taken) == 0 && !l.always {
		return 0, nil
	}
	if !l.stampsApart || l.head < position {
		l.head = position
	}
	for _, f := range taken {
		l.at[l.key(f)] = position
	}
	return l.counts(sessions, marks), nil
}

// waitFor reports whether a stamp may have what is held, for which it waits if it does, as long as a database does.
func (l *ledger) waitFor(what Held) bool {
	until := time.Now().Add(20 * time.Millisecond)
	for l.waits && l.held[what] && time.Now().Before(until) {
		l.mu.Unlock()
		aMoment()
		l.mu.Lock()
	}
	return l.ignoresHeld || !l.held[what]
}

func (l *ledger) timeout() error {
	if l.waits {
		return errors.New("timeout of a lock")
	}
	return nil
}

// hold holds a record until release.
func (l *ledger) hold(what Held) (release func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held[what] = true
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.held, what)
	}
}

// overtaken pauses every other stamp, when it has chosen its position, until the order of calls is one in which that is
// fatal: a reader has seen a later position, and then a revocation returns that no reader has seen. Calls that are not
// paused might take that order once in many thousand stamps.
func (l *ledger) overtaken() {
	revoked, n := make(chan struct{}), 0
	revoke := l.f.revoke
	l.f.revoke = func(ctx context.Context, tenantID string, id domain.ID, r port.Revocation, e domain.Event) error {
		err := revoke(ctx, tenantID, id, r, e)
		select {
		case revoked <- struct{}{}:
		default:
		}
		return err
	}
	l.stampsApart = true
	l.pause = func(chosen domain.Position) (resume func()) {
		l.mu.Lock()
		n++
		pauses := n%2 == 0
		l.mu.Unlock()
		until := time.Now().Add(20 * time.Millisecond)
		for seen := false; pauses && !seen && time.Now().Before(until); runtime.Gosched() {
			l.mu.Lock()
			seen = l.seen >= chosen
			l.mu.Unlock()
		}
		if !pauses {
			return func() {}
		}
		l.reading.Lock()
		select {
		case <-revoked:
			aMoment() // so that it returns
		case <-time.After(time.Until(until)):
		}
		return l.reading.Unlock
	}
}

// aMoment is so long that another call ends meanwhile.
func aMoment() { time.Sleep(time.Millisecond) }

func pauseAMoment(domain.Position) (resume func()) {
	aMoment()
	return func() {}
}

// by returns a mutation of a ledger.
func by(change func(*ledger)) func(*faulty) {
	return func(f *faulty) { change(newLedger(f)) }
}

// onFact changes the facts that Revoked returns. It leaves one out if change returns false.
func onFact(change func(f *faulty) func(*domain.Fact) bool) func(*faulty) {
	return func(f *faulty) {
		var mu sync.Mutex
		returns := change(f)
		f.revoked = func(ctx context.Context, q port.FactQuery, each func(domain.Fact)) (port.Reading, error) {
			return f.within.Revoked(ctx, q, func(one domain.Fact) {
				mu.Lock()
				defer mu.Unlock()
				if returns(&one) {
					each(one)
				}
			})
		}
	}
}

// lacks leaves facts out.
func lacks(left func(f *faulty, one domain.Fact) bool) func(*faulty) {
	return onFact(func(f *faulty) func(*domain.Fact) bool {
		return func(one *domain.Fact) bool { return !left(f, *one) }
	})
}

// lacksRevoked leaves out the facts of refresh tokens that are revoked in some way.
func lacksRevoked(how func(domain.RefreshToken) bool) func(*faulty) {
	return lacks(func(f *faulty, one domain.Fact) bool {
		s, err := f.within.Snapshot(context.Background(), one.SessionID)
		return err == nil && how(s.Token)
	})
}

// withoutGreatest makes a stamp take the time, whatever the last position.
func withoutGreatest(l *ledger) {
	l.position = func(_, now domain.Position) domain.Position { return now }
}

// keptWhenRaised makes a mark keep the position of its scope.
func keptWhenRaised(l *ledger) {
	l.key = func(f domain.Fact) domain.Fact {
		f.Epoch, f.Except = min(f.Epoch, 1), domain.ID{}
		return f
	}
}

// onBeat changes the beat that Revoked returns.
func onBeat(change func(f *faulty, reader string, at time.Time) time.Time) func(*faulty) {
	return func(f *faulty) {
		f.revoked = func(ctx context.Context, q port.FactQuery, each func(domain.Fact)) (port.Reading, error) {
			read, err := f.within.Revoked(ctx, q, each)
			read.Beat = change(f, q.Reader, read.Beat)
			return read, err
		}
	}
}

// onLongest changes the result of LongestAccessTTL.
func onLongest(change func(f *faulty, tenantID string, longest time.Duration, err error) (time.Duration, error)) func(
	*faulty,
) {
	return func(f *faulty) {
		f.longestAccessTTL = func(ctx context.Context, tenantID string) (time.Duration, error) {
			longest, err := f.within.LongestAccessTTL(ctx, tenantID)
			return change(f, tenantID, longest, err)
		}
	}
}

// stampsBefore makes the janitor stamp everything at an instant before it purges: as if it ignored positions.
func stampsBefore(at func(s port.PurgeStep) time.Time) func(*faulty) {
	return func(f *faulty) {
		f.purge = func(ctx context.Context, s port.PurgeStep) (port.Purged, error) {
			if _, err := f.within.Stamp(ctx, at(s), 1000); err != nil {
				return port.Purged{}, err
			}
			return f.within.Purge(ctx, s)
		}
	}
}

var reachMutants = []mutant{
	{factsOf, "KeepNewest makes no facts", lacksRevoked(func(t domain.RefreshToken) bool {
		return t.RevokedAt.Equal(t0.Add(time.Minute))
	}), false},
	{factsOf, "a replay makes no fact", lacksRevoked(func(t domain.RefreshToken) bool {
		return t.RevokedReason == domain.RevokedByReplay
	}), false},
	{factsOf, "Revoke makes no fact", lacksRevoked(func(t domain.RefreshToken) bool {
		return t.RevokedReason == domain.RevokedByRequest
	}), false},
	{factsOf, "the mark of a tenant is no fact", lacks(func(_ *faulty, one domain.Fact) bool {
		return one.Epoch > 0 && one.ApplicationID+one.UserID == ""
	}), false},
	{factsOf, "the mark of a deleted application is no fact", lacks(func(f *faulty, one domain.Fact) bool {
		_, err := f.within.Application(context.Background(), one.TenantID, one.ApplicationID)
		return one.ApplicationID != "" && err != nil
	}), false},
	{factsOf, "what a mark ends is a fact, too", func(f *faulty) {
		of := f.inserted()
		f.revoked = func(ctx context.Context, q port.FactQuery, each func(domain.Fact)) (port.Reading, error) {
			for _, id := range of(domain.Scope{TenantID: "acme"}) {
				if s, err := f.within.Snapshot(ctx, id); err == nil && s.MarkEpoch > s.Token.IssuedEpoch {
					each(sessionFact(s.Token))
				}
			}
			return f.within.Revoked(ctx, q, each)
		}
	}, false},
	{factsOf, "a use is a fact", func(f *faulty) {
		var used []domain.Fact
		f.swap = func(ctx context.Context, before, after domain.RefreshToken, now time.Time, e domain.Event) error {
			used = append(used, sessionFact(before))
			return f.within.Swap(ctx, before, after, now, e)
		}
		f.revoked = func(ctx context.Context, q port.FactQuery, each func(domain.Fact)) (port.Reading, error) {
			for _, one := range used {
				each(one)
			}
			return f.within.Revoked(ctx, q, each)
		}
	}, false},
	{factsOf, "a mark loses its scope", onFact(func(*faulty) func(*domain.Fact) bool {
		return func(one *domain.Fact) bool { one.UserID = ""; return true }
	}), false},
	{factsOfTenants, "facts are those of one tenant", lacks(func(_ *faulty, one domain.Fact) bool {
		return one.TenantID != "acme"
	}), false},
	{factsOfTenants, "facts lose their tenant", onFact(func(*faulty) func(*domain.Fact) bool {
		return func(one *domain.Fact) bool { one.TenantID = "acme"; return true }
	}), false},
	{factsOfTenants, "facts are those of tenants that exist", lacks(func(f *faulty, one domain.Fact) bool {
		_, err := f.within.Tenant(context.Background(), one.TenantID)
		return err != nil
	}), false},
	{factsNameSpared, "no spared session is named", onFact(func(*faulty) func(*domain.Fact) bool {
		return func(one *domain.Fact) bool { one.Except = domain.ID{}; return true }
	}), false},
	{factsNameSpared, "the exception of an earlier epoch is kept", onFact(func(*faulty) func(*domain.Fact) bool {
		kept := make(map[domain.Scope]domain.ID)
		return func(one *domain.Fact) bool {
			if one.Except.IsZero() {
				one.Except = kept[scopeOf(*one)]
			}
			kept[scopeOf(*one)] = one.Except
			return true
		}
	}), false},
	{factsNameSpared, "a session is spared by every mark of its tenant", onFact(func(*faulty) func(*domain.Fact) bool {
		kept := make(map[string]domain.ID)
		return func(one *domain.Fact) bool {
			if !one.Except.IsZero() {
				kept[one.TenantID] = one.Except
			}
			one.Except = kept[one.TenantID]
			return true
		}
	}), false},
	{factsRaised, "a mark keeps its first epoch", onFact(func(*faulty) func(*domain.Fact) bool {
		return func(one *domain.Fact) bool { one.Epoch = min(one.Epoch, 1); return true }
	}), false},
	{factsRaised, "each epoch of a mark is a fact", func(f *faulty) {
		var (
			mu  sync.Mutex
			all []domain.Fact
		)
		f.revokeScope = func(
			ctx context.Context, s domain.Scope, except domain.ID, r port.Revocation, e domain.Event,
		) (uint64, error) {
			mu.Lock()
			defer mu.Unlock()
			epoch, err := f.within.RevokeScope(ctx, s, except, r, e)
			all = append(all, markFact(s, epoch, except))
			return epoch, err
		}
		f.revoked = func(_ context.Context, _ port.FactQuery, each func(domain.Fact)) (port.Reading, error) {
			mu.Lock()
			defer mu.Unlock()
			for _, one := range all {
				each(one)
			}
			return port.Reading{}, nil
		}
	}, false},
	{factsAbove, "facts at the position are returned, too", by(func(l *ledger) {
		l.reads = func(f domain.Fact, after domain.Position) bool { return f.Position == 0 || f.Position >= after }
	}), false},
	{factsAbove, "the next position is left out", by(func(l *ledger) {
		l.reads = func(f domain.Fact, after domain.Position) bool { return f.Position == 0 || f.Position > after+1 }
	}), false},
	{factsAbove, "a fact without a position has the head's", onFact(func(f *faulty) func(*domain.Fact) bool {
		return func(one *domain.Fact) bool { one.Position = max(1, one.Position); return true }
	}), false},
	{factsAbove, "the facts of a stamp have positions of their own", onFact(func(*faulty) func(*domain.Fact) bool {
		return func(one *domain.Fact) bool {
			if one.Epoch > 0 && one.Position > 0 {
				one.Position++
			}
			return true
		}
	}), false},
	{factsHead, "the head is the highest position of the result", func(f *faulty) {
		f.revoked = func(ctx context.Context, q port.FactQuery, each func(domain.Fact)) (port.Reading, error) {
			var head domain.Position
			read, err := f.within.Revoked(ctx, q, func(one domain.Fact) {
				head = max(head, one.Position)
				each(one)
			})
			read.Head = head
			return read, err
		}
	}, false},
	{factsHead, "nothing is above a position that there was not", by(func(l *ledger) {
		l.reads = func(f domain.Fact, after domain.Position) bool {
			return after <= l.head && (f.Position == 0 || f.Position > after)
		}
	}), false},
	{factsAnyClock, "what was revoked an hour ago is left out", by(func(l *ledger) {
		l.reads = func(f domain.Fact, after domain.Position) bool {
			if s, err := l.f.within.Snapshot(context.Background(), f.SessionID); err == nil && f.Position == 0 &&
				s.Token.RevokedAt.Before(t0.Add(-time.Minute)) {
				return false
			}
			return f.Position == 0 || f.Position > after
		}
	}), false},
	{factsAnyClock, "what will have been revoked is left out", by(func(l *ledger) {
		l.reads = func(f domain.Fact, after domain.Position) bool {
			if s, err := l.f.within.Snapshot(context.Background(), f.SessionID); err == nil && s.Token.RevokedAt.After(t0) {
				return false
			}
			return f.Position == 0 || f.Position > after
		}
	}), false},
	{factsHistory, "a stamp takes the time, whatever the last position", by(withoutGreatest), false},
	{factsHistory, "a mark keeps its position when it is raised", by(keptWhenRaised), false},
	{factsHistory, "half of a read fails, and is empty", by(func(l *ledger) {
		n := 0
		l.reads = func(f domain.Fact, after domain.Position) bool {
			if n++; f.Position == 0 && n%7 == 0 {
				return false
			}
			return f.Position == 0 || f.Position > after
		}
	}), false},
	{factsHistory, "the third epoch of a mark loses its fact with its position", by(func(l *ledger) {
		l.reads = func(f domain.Fact, after domain.Position) bool {
			return f.Position == 0 || f.Position > after && f.Epoch != 3
		}
	}), false},
	{factsHistory, "facts come once", func(f *faulty) {
		seen := make(map[domain.Fact]bool)
		f.revoked = func(ctx context.Context, q port.FactQuery, each func(domain.Fact)) (port.Reading, error) {
			return f.within.Revoked(ctx, q, func(one domain.Fact) {
				if !seen[one] {
					seen[one] = true
					each(one)
				}
			})
		}
	}, false},
	{factsRace, "a stamp reads the position first, and writes it later", by((*ledger).overtaken), false},
	{factsRace, "what has a position and what has none are read at two moments", by(func(l *ledger) {
		l.halvesApart, l.pause = true, pauseAMoment
	}), false},
	{factsRace, "the head is read after the facts", by(func(l *ledger) {
		l.headLast, l.pause = true, pauseAMoment
	}), false},
	{factsRace, "a stamp takes the time of its process", by(withoutGreatest), false},
	{factsRace, "a revocation returns before it is visible", func(f *faulty) {
		f.revoke = func(_ context.Context, tenantID string, id domain.ID, r port.Revocation, e domain.Event) error {
			go func() {
				aMoment()
				_ = f.within.Revoke(context.Background(), tenantID, id, r, e)
			}()
			runtime.Gosched()
			return nil
		}
	}, false},
	{stampPositions, "a clock that steps back takes the positions with it", by(withoutGreatest), false},
	{stampPositions, "refresh tokens and marks have positions of their own", by(func(l *ledger) {
		l.position = func(head, now domain.Position) domain.Position { return max(head+1, now) }
		l.f.revoked = func(ctx context.Context, q port.FactQuery, each func(domain.Fact)) (port.Reading, error) {
			return l.revoked(ctx, q, func(one domain.Fact) {
				if one.Epoch > 0 {
					one.Position--
				}
				each(one)
			})
		}
	}), false},
	{stampPositions, "a stamp of the same time takes the same position", by(func(l *ledger) {
		l.position = func(head, now domain.Position) domain.Position { return max(head, now) }
	}), false},
	{stampClock, "positions count from 1", by(func(l *ledger) {
		l.position = func(head, _ domain.Position) domain.Position { return head + 1 }
	}), false},
	{stampClock, "positions are in milliseconds", by(func(l *ledger) {
		l.position = func(head, now domain.Position) domain.Position { return max(head+1, now/1000) }
	}), false},
	{stampClock, "a position is that of the first stamp or counts from it", by(func(l *ledger) {
		l.position = func(head, now domain.Position) domain.Position {
			if head > 0 {
				return head + 1
			}
			return now
		}
	}), false},
	{stampLimit, "a stamp has no limit", by(func(l *ledger) { l.takes = func(int) int { return 1000 } }), false},
	{stampLimit, "a stamp returns the sum", by(func(l *ledger) {
		l.counts = func(sessions, marks int) int { return sessions + marks }
	}), false},
	{stampLimit, "a stamp returns the number of refresh tokens", by(func(l *ledger) {
		l.counts = func(sessions, _ int) int { return sessions }
	}), false},
	{stampLimit, "a stamp takes half of its limit", by(func(l *ledger) {
		l.takes = func(limit int) int { return (limit + 1) / 2 }
	}), false},
	{stampNothing, "each stamp moves the head", by(func(l *ledger) { l.always = true }), false},
	{stampNothing, "each stamp stamps everything again", by(func(l *ledger) {
		l.f.stamp = func(ctx context.Context, now time.Time, limit int) (int, error) {
			l.mu.Lock()
			clear(l.at)
			l.mu.Unlock()
			return l.stamp(ctx, now, limit)
		}
	}), false},
	{stampAgain, "a mark has a position for good", by(keptWhenRaised), false},
	{stampAgain, "a mark that is raised is a fact only when it is stamped again", by(func(l *ledger) {
		l.reads = func(f domain.Fact, after domain.Position) bool {
			return f.Position > after || f.Position == 0 && f.Epoch < 2
		}
	}), false},
	{stampAgain, "a raised mark shows its former position", onFact(func(*faulty) func(*domain.Fact) bool {
		former := make(map[domain.Scope]domain.Position)
		return func(one *domain.Fact) bool {
			if one.Position == 0 {
				one.Position = former[scopeOf(*one)]
			}
			former[scopeOf(*one)] = one.Position
			return true
		}
	}), false},
	{beatReturns, "a reader beats once", func(f *faulty) {
		var mu sync.Mutex
		beaten := make(map[string]bool)
		f.beat = func(_ context.Context, reader string, _ time.Time) error {
			mu.Lock()
			defer mu.Unlock()
			if beaten[reader] {
				return errors.New("duplicate key")
			}
			beaten[reader] = true
			return nil
		}
	}, false},
	{beatReturns, "a beat stamps", func(f *faulty) {
		f.beat = func(ctx context.Context, _ string, now time.Time) error {
			_, err := f.within.Stamp(ctx, now, 1)
			return err
		}
	}, false},
	{beatShown, "a reading shows no beat", onBeat(func(_ *faulty, _ string, _ time.Time) time.Time {
		return time.Time{}
	}), false},
	{beatShown, "a reading shows the time", onBeat(func(*faulty, string, time.Time) time.Time {
		return time.Now()
	}), false},
	{beatShown, "a reading shows the last beat of any reader", func(f *faulty) {
		var last time.Time
		f.beat = func(ctx context.Context, reader string, at time.Time) error {
			last = at
			return f.within.Beat(ctx, reader, at)
		}
		onBeat(func(*faulty, string, time.Time) time.Time { return last })(f)
	}, false},
	{beatShown, "a reading shows the first beat", func(f *faulty) {
		first := make(map[string]time.Time)
		onBeat(func(_ *faulty, reader string, at time.Time) time.Time {
			if first[reader].IsZero() {
				first[reader] = at
			}
			return first[reader]
		})(f)
	}, false},
	{beatShown, "a reading shows the latest instant", func(f *faulty) {
		latest := make(map[string]time.Time)
		onBeat(func(_ *faulty, reader string, at time.Time) time.Time {
			if at.After(latest[reader]) {
				latest[reader] = at
			}
			return latest[reader]
		})(f)
	}, false},
	{beatShown, "a beat is in milliseconds", onBeat(func(_ *faulty, _ string, at time.Time) time.Time {
		return at.Truncate(time.Millisecond)
	}), false},
	{beatShown, "a beat is kept before it is made", func(f *faulty) {
		kept := make(map[string]time.Time)
		f.beat = func(ctx context.Context, reader string, at time.Time) error {
			kept[reader] = at
			return f.within.Beat(ctx, reader, at)
		}
		onBeat(func(_ *faulty, reader string, _ time.Time) time.Time { return kept[reader] })(f)
	}, false},
	{longestGrows, "the longest is that of the current policies", onLongest(
		func(f *faulty, tenantID string, _ time.Duration, err error) (longest time.Duration, _ error) {
			all, _, _ := f.within.Applications(context.Background(), tenantID, "", 99)
			for _, a := range all {
				p, _ := f.within.Policy(context.Background(), tenantID, a.ID)
				longest = max(longest, p.AccessTokenTTL)
			}
			return longest, err
		}), false},
	{longestGrows, "the longest is that of any tenant", onLongest(
		func(f *faulty, _ string, longest time.Duration, err error) (time.Duration, error) {
			other, _ := f.within.LongestAccessTTL(context.Background(), "acme")
			return max(longest, other), err
		}), false},
	{longestGrows, "the longest is in minutes", onLongest(
		func(_ *faulty, _ string, longest time.Duration, err error) (time.Duration, error) {
			return longest.Truncate(time.Minute), err
		}), false},
	{longestGrows, "the longest is that of refresh tokens", onLongest(
		func(_ *faulty, _ string, longest time.Duration, err error) (time.Duration, error) {
			if longest > 0 {
				longest = domain.DefaultPolicy().TTL
			}
			return longest, err
		}), false},
	{longestGrows, "a deleted tenant has none", onLongest(
		func(f *faulty, tenantID string, longest time.Duration, err error) (time.Duration, error) {
			if _, gone := f.within.Tenant(context.Background(), tenantID); gone != nil {
				longest = 0
			}
			return longest, err
		}), false},
	{longestUnknown, "an unknown tenant has no lifetime", onLongest(
		func(_ *faulty, _ string, longest time.Duration, err error) (time.Duration, error) {
			return longest, instead(err, domain.ErrNotFound)
		}), false},
	{purgeFactFloor, "the lifetime of access tokens is ignored", func(f *faulty) {
		f.purgesAs(func(s *port.PurgeStep) { s.Before = s.Before.Add(4001 * time.Second) })
	}, false},
	{purgeFactFloor, "facts go without their retention", func(f *faulty) {
		f.purgesAs(func(s *port.PurgeStep) { s.Before = s.Before.Add(domain.FactRetention) })
	}, false},
	{purgeFactFloor, "facts go a microsecond too early", func(f *faulty) {
		f.purgesAs(func(s *port.PurgeStep) { s.Before = s.Before.Add(tick) })
	}, false},
	{purgeFactFloor, "facts go a microsecond too late", func(f *faulty) {
		f.purgesAs(func(s *port.PurgeStep) { s.Before = s.Before.Add(-tick) })
	}, false},
	{purgeUnstamped, "a fact without a position is deleted", stampsBefore(func(s port.PurgeStep) time.Time {
		return time.UnixMicro(1)
	}), false},
	{purgeUnstamped, "what has expired stays for its fact", func(f *faulty) {
		f.purgeSpares(func(s domain.Snapshot) bool { return !s.Token.RevokedAt.IsZero() })
	}, false},
	{purgeUnstamped, "the fact of a deleted refresh token stays", func(f *faulty) {
		var mu sync.Mutex
		ever := make(map[domain.Fact]bool)
		f.revoked = func(ctx context.Context, q port.FactQuery, each func(domain.Fact)) (port.Reading, error) {
			mu.Lock()
			defer mu.Unlock()
			read, err := f.within.Revoked(ctx, q, func(one domain.Fact) {
				one.Position = 0
				ever[one] = true
			})
			for one := range ever {
				each(one)
			}
			return read, err
		}
	}, false},
	{purgeMarkFacts, "a mark without a position is deleted", stampsBefore(func(port.PurgeStep) time.Time {
		return time.UnixMicro(1)
	}), false},
	{purgeMarkFacts, "a deleted tenant goes without the retention of facts", func(f *faulty) {
		f.purgesAs(func(s *port.PurgeStep) { s.Before = s.Before.Add(domain.FactRetention) })
	}, false},
	{purgeMarkFacts, "a deleted tenant goes while a resource server holds its mark", func(f *faulty) {
		f.purgesAs(func(s *port.PurgeStep) { s.Before = s.Before.Add(2*4001*time.Second + 50*time.Minute) })
	}, false},
	{purgeMarkFacts, "a deleted tenant goes a microsecond too early", func(f *faulty) {
		f.purgesAs(func(s *port.PurgeStep) { s.Before = s.Before.Add(tick) })
	}, false},
	{purgeMarkFacts, "a deleted tenant stays", func(f *faulty) {
		f.purgesAs(func(s *port.PurgeStep) { s.Before = s.Before.Add(-time.Minute) })
	}, false},
}
