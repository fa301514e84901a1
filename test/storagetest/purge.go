package storagetest

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

const (
	lease = 15 * time.Second
	// century is how far clocks may differ, so that the suite may choose the time.
	century = 100 * 365 * 24 * time.Hour
)

// stepOf returns a step of that holder at now. It takes the lease for a while, and may begin a pass at any time.
func stepOf(holder string, now, before time.Time, limit int) port.PurgeStep {
	return port.PurgeStep{LeaseHolder: holder, Now: now, LeaseUntil: now.Add(lease), Before: before, MaxClockSkew: century,
		Limit: limit}
}

// onTime returns a step of that holder as a janitor takes it at that instant, if clocks may differ by an hour.
func onTime(holder string, now time.Time) port.PurgeStep {
	s := stepOf(holder, now, now.Add(-24*time.Hour), 1)
	s.MaxClockSkew = time.Hour
	return s
}

// today returns the time as a store keeps it, for what a store compares with its own clock.
func today() time.Time { return time.Now().UTC().Truncate(tick) }

// purgeStep runs a step that has to succeed.
func (e *env) purgeStep(s port.PurgeStep) port.Purged {
	e.Helper()
	p, err := e.store.Purge(e.Context(), s)
	e.must(err)
	return p
}

// purgeEvents runs steps to the end of a pass that deletes events below an id.
func (e *env) purgeEvents(below domain.ID, limit int) (deleted int) {
	e.Helper()
	for range 10_000 {
		s := stepOf("one", t0, t0.Add(-24*time.Hour), limit)
		s.EventsBefore = below
		p := e.purgeStep(s)
		if p.Events > limit {
			e.Errorf("a step of at most %d deleted %d events", limit, p.Events)
		}
		if deleted += p.Events; p.Done {
			return deleted
		}
	}
	e.Fatalf("a pass is not at its end")
	return 0
}

// purgeAll runs steps to the end of a pass, and returns the sum of their results.
func (e *env) purgeAll(before time.Time, limit int) (sum port.Purged) {
	e.Helper()
	for steps := 1; !sum.Done; steps++ {
		if steps > 10_000 {
			e.Fatalf("a pass is not at its end after %d steps", steps)
		}
		p := e.purgeStep(stepOf("one", before, before, limit))
		if p.LookedAt > limit || p.Deleted > p.LookedAt || p.Marks+p.Tenants > limit {
			e.Errorf("a step of at most %d did %+v", limit, p)
		}
		sum.LookedAt += p.LookedAt
		sum.Deleted += p.Deleted
		sum.Marks += p.Marks
		sum.Tenants += p.Tenants
		sum.Done = p.Done
	}
	return sum
}

// stamp gives positions to everything that is revoked, at an instant at which no fact of the clauses of the purge is in
// use any more: those count from t0. A database server stamps by its own clock, which is not there yet either.
func (e *env) stamp() { e.Helper(); e.stampAt(t0.Add(-48 * time.Hour)) }

func (e *env) stampAt(now time.Time) {
	e.Helper()
	const limit = 1000
	for n := limit; n == limit; {
		var err error
		n, err = e.store.Stamp(e.Context(), now, limit)
		e.must(err)
	}
}

func (e *env) wantPurged(what string, got, want port.Purged) {
	e.Helper()
	want.Done = true
	e.wantSame(what, got, want)
}

// stored returns which of the tokens are stored, active or ended.
func (e *env) stored(ts ...domain.RefreshToken) (all []string) {
	e.Helper()
	for _, t := range ts {
		_, err := e.store.Snapshot(e.Context(), t.ID)
		switch {
		case err == nil:
			all = append(all, describe(t))
		case !errors.Is(err, domain.ErrNotFound):
			e.Fatalf("Snapshot: %v", err)
		}
	}
	return all
}

func (e *env) wantLeft(what string, of []domain.RefreshToken, want ...domain.RefreshToken) {
	e.Helper()
	var names []string
	for _, t := range want {
		names = append(names, describe(t))
	}
	e.wantSame(what+": what is stored", e.stored(of...), names)
}

const (
	purgeEvents   = "Janitor/Purge/deletes the events below an id, and no others"
	releaseFrees  = "Jobs/Release/lets another holder continue at the job's position"
	releaseOthers = "Jobs/Release/ends no lease of another holder or job"
	leaseExcludes = "Jobs/Lease/excludes other holders of the job until it ends or is released"
)

var purging = []clause{
	{purgeEvents, func(e *env) {
		e.knownEvents()
		const n = 7
		var all []domain.Event
		for i := range n {
			one := event(i + 1)
			one.TenantID = []string{"acme", "", "gone"}[i%3]
			all = append(all, one)
			e.must(e.store.Record(e.Context(), one))
		}
		if got := e.purgeEvents(domain.ID{}, 2); got != 0 {
			e.Errorf("without an id: deleted %d events, want none", got)
		}
		e.wantEvents("without an id", all...)
		left := 0
		for _, limit := range []int{1, 2, 500} {
			if got := e.purgeEvents(eventID(left+3), limit); got != 2 {
				e.Errorf("at most %d a step: deleted %d events, want 2", limit, got)
			}
			left += 2
			e.wantEvents("afterwards", all[left:]...)
		}
		e.must(e.store.Record(e.Context(), event(1))) // its id is free now
		e.wantEvents("recorded again", event(1), all[left])
	}},

	{releaseFrees, func(e *env) {
		e.shop(domain.Settings{})
		ts := e.issue(token(1), token(2))
		hs := e.handles(2)
		e.wantSame("the first step", e.purgeStep(stepOf("one", t0, t0, 1)), port.Purged{LookedAt: 1})
		_, err := hs[1].Purge(e.Context(), stepOf("two", t0, t0.Add(24*time.Hour), 1))
		e.wantErr("while the lease is another's", err, domain.ErrConflict)
		e.must(hs[0].Release(e.Context(), port.JobPurge, "one"))
		p, err := hs[1].Purge(e.Context(), stepOf("two", t0, t0.Add(24*time.Hour), 1))
		e.must(err)
		e.wantSame("the next step, by another", p, port.Purged{LookedAt: 1, Deleted: 1})
		e.wantLeft("afterwards", ts, ts[0])
	}},

	{releaseOthers, func(e *env) {
		e.must(e.store.Release(e.Context(), port.JobPurge, "one")) // no such job yet
		e.shop(domain.Settings{})
		e.issue(token(1))
		e.wantSame("the first step", e.purgeStep(stepOf("one", t0, t0, 1)), port.Purged{LookedAt: 1})
		e.must(e.store.Release(e.Context(), port.JobPurge, "two"))
		e.must(e.store.Release(e.Context(), "another", "one"))
		_, err := e.store.Purge(e.Context(), stepOf("two", t0, t0, 1))
		e.wantErr("the lease is another's still", err, domain.ErrConflict)
	}},

	{leaseExcludes, func(e *env) {
		hs := e.handles(2)
		const two = port.JobRotateKeys
		lease := func(h int, job, holder string, now, until time.Duration) error {
			return hs[h].Lease(e.Context(), port.JobLease{
				Job: job, Holder: holder, Now: t0.Add(now), Until: t0.Add(until), MaxClockSkew: time.Minute,
			})
		}
		e.must(lease(0, two, "one", 0, time.Hour))
		e.wantErr("while the lease is another's", lease(1, two, "two", time.Hour-time.Microsecond, 2*time.Hour),
			domain.ErrConflict)
		e.must(lease(1, "another job", "two", 0, time.Hour))
		e.must(lease(0, two, "one", time.Minute, 2*time.Hour)) // renewed
		e.wantErr("after it was renewed", lease(1, two, "two", time.Hour, 3*time.Hour), domain.ErrConflict)
		e.must(lease(1, two, "two", 2*time.Hour, 3*time.Hour)) // it has ended
		e.wantErr("of the next holder", lease(0, two, "one", 2*time.Hour, 3*time.Hour), domain.ErrConflict)
		e.must(hs[0].Release(e.Context(), two, "one")) // not the holder
		e.wantErr("released by another", lease(0, two, "one", 2*time.Hour, 3*time.Hour), domain.ErrConflict)
		e.must(hs[1].Release(e.Context(), two, "two"))
		e.must(lease(0, two, "one", 0, time.Hour))
		// A clock that was far ahead blocks no process.
		e.must(lease(0, two, "one", 0, 9*time.Hour))
		e.wantErr("a little ahead", lease(1, two, "two", 0, 9*time.Hour-time.Minute), domain.ErrConflict)
		e.must(lease(1, two, "two", 0, 9*time.Hour-time.Minute-time.Microsecond))
	}},

	{"Janitor/Purge/continues at its position, whichever process takes the next step", func(e *env) {
		e.shop(domain.Settings{})
		hs := e.handles(3)
		var all []domain.RefreshToken // alternately active and ended
		for i := range 6 {
			t := token(i + 1)
			if i%2 > 0 {
				t.ExpiresAt = t0
			}
			all = append(all, e.issue(t)...)
		}
		now := t0
		for i := range all {
			p, err := hs[i%3].Purge(e.Context(), stepOf(fmt.Sprint("holder ", i), now, t0, 1))
			e.must(err)
			e.wantSame(fmt.Sprintf("step %d", i), p, port.Purged{LookedAt: 1, Deleted: i % 2})
			now = now.Add(lease)
		}
		e.wantLeft("after all steps", all, all[0], all[2], all[4])
	}},

	{"Janitor/Purge/is a conflict while the lease is another's, and does nothing", func(e *env) {
		e.shop(domain.Settings{})
		var all []domain.RefreshToken
		for i := range 4 {
			t := token(i + 1)
			t.ExpiresAt = t0
			all = append(all, e.issue(t)...)
		}
		other := e.handle()
		refused := func(holder string, now time.Time, left ...domain.RefreshToken) {
			e.Helper()
			p, err := other.Purge(e.Context(), stepOf(holder, now, t0, 1))
			e.wantErr(fmt.Sprintf("%s, %s later", holder, now.Sub(t0)), err, domain.ErrConflict)
			e.wantSame("what a refused step did", p, port.Purged{})
			e.wantLeft("after a refused step", all, left...)
		}
		e.purgeStep(stepOf("one", t0, t0, 1))
		refused("two", t0.Add(lease-tick), all[1:]...)
		// Each step of the holder renews the lease.
		e.purgeStep(stepOf("one", t0.Add(lease-tick), t0, 1))
		refused("two", t0.Add(lease), all[2:]...)
		e.purgeStep(stepOf("two", t0.Add(2*lease-tick), t0, 1))
		refused("one", t0.Add(2*lease), all[3:]...)
	}},

	{"Janitor/Purge/of many concurrent calls exactly one has the lease", func(e *env) {
		e.shop(domain.Settings{})
		e.issue(token(1), token(2), token(3))
		hs := e.handles(3)
		errs := make([]error, 12)
		together(len(errs), func(i int) {
			_, errs[i] = hs[i%3].Purge(e.Context(), stepOf(fmt.Sprint("holder ", i), t0, t0, 1))
		})
		e.wantOneWinner(errs, domain.ErrConflict)
	}},

	// A deletion cannot be undone: a process with a wrong clock must not decide what had ended.
	{"Janitor/Purge/is refused, and does nothing, if the store has a clock and it says otherwise", func(e *env) {
		e.shop(domain.Settings{})
		now := today()
		all := []domain.RefreshToken{token(1), token(2), token(3)}
		for i := range all {
			all[i].ExpiresAt = now.Add(10 * 24 * time.Hour)
		}
		e.issue(all...)
		for _, off := range []time.Duration{31 * 24 * time.Hour, -31 * 24 * time.Hour, 2 * time.Hour, -2 * time.Hour} {
			p, err := e.store.Purge(e.Context(), onTime("wrong", now.Add(off)))
			var fault *domain.ClockError
			switch {
			case err == nil:
				return // a store without a clock of its own
			case !errors.As(err, &fault):
				e.Fatalf("%s off: got error %v, want a *domain.ClockError", off, err)
			case (fault.Ahead - off).Abs() > time.Hour:
				e.Errorf("%s off: it says %s ahead", off, fault.Ahead)
			}
			e.wantSame("what a refused step did", p, port.Purged{})
		}
		e.wantLeft("after refused steps", all, all...)
		other := e.handle()
		for range 2 {
			p, err := other.Purge(e.Context(), onTime("right", today()))
			e.must(err) // the lease was not taken either
			e.wantSame("a step of another holder", p, port.Purged{LookedAt: 1})
		}
	}},

	{"Janitor/Purge/is not refused for a difference that there may be", func(e *env) {
		e.shop(domain.Settings{})
		e.issue(token(1), token(2), token(3))
		for _, off := range []time.Duration{-30 * time.Minute, 0, 30 * time.Minute} {
			p, err := e.store.Purge(e.Context(), onTime("one", today().Add(off)))
			e.must(err)
			e.wantSame(off.String()+" off", p, port.Purged{LookedAt: 1})
		}
	}},

	{"Janitor/Purge/frees the lease at the end of a pass", func(e *env) {
		e.shop(domain.Settings{})
		e.purgeAll(t0, 10)
		_, err := e.handle().Purge(e.Context(), stepOf("two", t0, t0, 10))
		e.must(err)
	}},

	{"Janitor/Purge/begins no pass where the last one ended too late, and ends every one that began", func(e *env) {
		e.shop(domain.Settings{})
		all := e.issue(token(1), token(2), token(3))
		s := stepOf("one", t0, t0, 1)
		s.EndedBefore = t0.Add(-time.Hour)
		e.must(func() error { _, err := e.store.Purge(e.Context(), s); return err }()) // no pass has ended yet
		e.purgeAll(t0, 1)
		p, err := e.store.Purge(e.Context(), s)
		e.wantErr("a pass that ended since", err, domain.ErrConflict)
		e.wantSame("what a refused step did", p, port.Purged{})
		s.EndedBefore = t0.Add(-tick)
		_, err = e.store.Purge(e.Context(), s)
		e.wantErr("a pass that ended a microsecond since", err, domain.ErrConflict)
		s.EndedBefore = t0
		e.wantSame("a pass that ended just then", e.purgeStep(s), port.Purged{LookedAt: 1})
		s.EndedBefore = t0.Add(-time.Hour)
		for range len(all) - 1 {
			e.wantSame("in the middle of a pass", e.purgeStep(s), port.Purged{LookedAt: 1})
		}
		for steps := 0; !e.purgeStep(s).Done; steps++ {
			if steps > 10 {
				e.Fatalf("the pass has no end")
			}
		}
	}},

	// A process whose clock was a year ahead has stopped. Its lease would prevent all others from purging for that
	// year.
	{"Janitor/Purge/takes a lease that ends further ahead than clocks differ for void", func(e *env) {
		e.shop(domain.Settings{})
		e.issue(token(1), token(2), token(3))
		now := today()
		far := onTime("ahead", now)
		far.LeaseUntil = now.Add(lease + time.Hour)
		e.wantSame("a step with a clock that is ahead", e.purgeStep(far), port.Purged{LookedAt: 1})
		p, err := e.store.Purge(e.Context(), onTime("two", now))
		e.wantErr("a lease that may be", err, domain.ErrConflict)
		e.wantSame("what a refused step did", p, port.Purged{})
		far.LeaseUntil = far.LeaseUntil.Add(tick)
		e.wantSame("a step with a clock that is further ahead", e.purgeStep(far), port.Purged{LookedAt: 1})
		e.wantSame("a lease that is void", e.purgeStep(onTime("two", now)), port.Purged{LookedAt: 1})
		_, err = e.store.Purge(e.Context(), onTime("three", now))
		e.wantErr("the lease of the one that was accepted", err, domain.ErrConflict)
	}},

	{"Janitor/Purge/takes a pass that ended further ahead than clocks differ for none", func(e *env) {
		e.shop(domain.Settings{})
		now := today()
		pass := func(s port.PurgeStep) {
			e.Helper()
			for steps := 0; !e.purgeStep(s).Done; steps++ {
				if steps > 10 {
					e.Fatalf("the pass has no end")
				}
			}
		}
		far, again := onTime("ahead", now), onTime("two", now)
		again.EndedBefore = now.Add(-time.Minute)
		far.Now, far.LeaseUntil, far.MaxClockSkew = now.Add(time.Hour), now.Add(time.Hour+lease), century
		pass(far)
		_, err := e.store.Purge(e.Context(), again)
		e.wantErr("an end that may be", err, domain.ErrConflict)
		far.Now = far.Now.Add(tick)
		pass(far)
		pass(again)
		_, err = e.store.Purge(e.Context(), again)
		e.wantErr("the end of that pass", err, domain.ErrConflict)
	}},

	{"Janitor/Purge/looks at every refresh token, by id, at no more than the limit in a step", func(e *env) {
		e.shop(domain.Settings{})
		all := e.issue(token(4), token(2), token(5), token(1), token(3))
		for _, tt := range []struct {
			limit int
			steps []int
		}{{2, []int{2, 2, 1}}, {3, []int{3, 2}}, {9, []int{5}}} {
			for i, want := range tt.steps {
				p := e.purgeStep(stepOf("one", t0, t0, tt.limit))
				e.wantSame(fmt.Sprintf("step %d of at most %d", i, tt.limit), p, port.Purged{LookedAt: want})
			}
			e.wantPurged("the rest of the pass", e.purgeAll(t0, tt.limit), port.Purged{})
		}
		e.wantActive("afterwards", t0, all...)
		// A refresh token that is stored below the position, meanwhile, belongs to the next pass; one above, to this
		// pass.
		e.purgeStep(stepOf("one", t0, t0, 5))
		below, above := token(0), token(6)
		below.ID[15], below.ID[8] = 0, 0x7f
		below.ExpiresAt, above.ExpiresAt = t0, t0
		e.issue(below, above)
		e.purgeAll(t0, 5)
		e.wantLeft("stored meanwhile", []domain.RefreshToken{below, above}, below)
		e.purgeAll(t0, 5)
		e.wantLeft("a pass later", []domain.RefreshToken{below, above})
	}},

	{"Janitor/Purge/deletes what had ended, to the microsecond", func(e *env) {
		at := t0.Add(time.Hour)
		scoped := func(s domain.Scope) func() {
			return func() { e.revokeScope(s, domain.ID{}, at) }
		}
		for i, ending := range []struct {
			how string
			end func()
		}{
			{"expired", func() {}},
			{"revoked itself", func() {
				e.must(e.store.Revoke(e.Context(), "acme", tokenID(2),
					byRequest(at), NewEvent()))
			}},
			{"covered by the tenant's mark", scoped(domain.Scope{TenantID: "acme"})},
			{"covered by the application's mark", scoped(domain.Scope{TenantID: "acme", ApplicationID: "shop"})},
			{"covered by the user's mark", scoped(domain.Scope{TenantID: "acme", UserID: "ana"})},
			{"covered by the mark of both", scoped(domain.Scope{TenantID: "acme", ApplicationID: "shop", UserID: "ana"})},
			{"its application deleted", func() { e.must(DeleteApplication(e.Context(), e.store, "acme", "shop", at)) }},
			{"its tenant deleted", func() { e.must(DeleteTenant(e.Context(), e.store, "acme", at)) }},
		} {
			e.shop(domain.Settings{})
			t := token(i + 1)
			if ending.how == "expired" {
				t.ExpiresAt = at
			}
			t = e.issue(t)[0]
			ending.end()
			e.stamp()
			want := e.snapshot(t.ID).Token
			e.wantPurged(ending.how+", a microsecond before", e.purgeAll(at.Add(-tick), 10), port.Purged{LookedAt: 1})
			e.wantStored(ending.how+", a microsecond before", want)
			if got := e.purgeAll(at, 10); got.LookedAt != 1 || got.Deleted != 1 {
				e.Errorf("%s: a pass did %+v, want one refresh token deleted", ending.how, got)
			}
			e.wantLeft(ending.how, []domain.RefreshToken{t})
		}
	}},

	{"Janitor/Purge/takes a mark that was raised since for written then", func(e *env) {
		e.shop(domain.Settings{})
		t := e.issue(token(1))
		for i := range 3 {
			e.revokeScope(domain.Scope{TenantID: "acme", UserID: "ana"}, domain.ID{}, t0.Add(time.Duration(i)*time.Hour))
		}
		e.purgeAll(t0.Add(2*time.Hour-tick), 10)
		e.wantLeft("raised since", t, t...)
		e.purgeAll(t0.Add(2*time.Hour), 10)
		e.wantLeft("raised at that instant", t)
	}},

	{"Janitor/Purge/does not change active refresh tokens", func(e *env) {
		e.shop(domain.Settings{})
		e.application("acme", "closed", domain.Settings{})
		e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "asleep"}))
		e.application("asleep", "shop", domain.Settings{})
		e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "again"}))
		e.must(DeleteTenant(e.Context(), e.store, "again", t0))
		e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "again"}))
		e.application("again", "shop", domain.Settings{})
		short := token(5)
		short.ExpiresAt = t0.Add(tick)
		all := e.issue(tokenOf(1, "acme", "closed", "bob"), tokenOf(2, "asleep", "shop", "ana"),
			tokenOf(3, "again", "shop", "ana"),
			tokenOf(4, "acme", "shop", "bob"), short)
		e.application("acme", "closed", domain.Settings{Active: new(false)})
		e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "asleep", Settings: domain.Settings{Active: new(false)}}))
		dead := e.issue(token(6), token(7))
		e.revokeScope(domain.Scope{TenantID: "acme", UserID: "ana"}, all[4].ID, t0)
		fresh := e.issue(token(8), fullTokenAt(9))
		all = append(all, fresh...)
		all[4] = e.snapshot(all[4].ID).Token // the spared one
		e.purgeAll(t0, 3)
		e.wantLeft("afterwards", dead)
		for _, t := range all {
			e.wantStored("alive", t)
			e.wantActive("afterwards", t0, t)
		}
		e.advance(all[3], t0)
		e.advance(all[4], t0)
		e.advance(fresh[0], t0)
	}},

	{"Janitor/Purge/makes ended refresh tokens unknown, and their ids free", func(e *env) {
		e.shop(domain.Settings{})
		t := token(1)
		t.ExpiresAt = t0
		e.issue(t)
		e.purgeAll(t0, 10)
		_, err := e.store.Snapshot(e.Context(), t.ID)
		e.wantErr("Snapshot", err, domain.ErrNotFound)
		_, _, err = e.store.Advance(e.Context(), t.ID, domain.Call{Generation: 1, Now: t0.Add(-tick)})
		e.wantErr("Advance", err, domain.ErrConflict)
		e.wantErr("Revoke", e.store.Revoke(e.Context(), "acme", t.ID,
			byRequest(t0.Add(-tick)), NewEvent()), domain.ErrNotFound)
		e.wantActive("the id again", t0, e.issue(token(1))...)
	}},

	// The active ones are exchanged repeatedly, at one handle, while another one purges between them, and pauses
	// between its steps, as it should.
	{"Janitor/Purge/beside exchanges deletes every ended and no active refresh token", func(e *env) {
		e.shop(noGrace())
		hs := e.handles(3)
		const n, exchanges = 4, 15
		var all, living, dead []domain.RefreshToken
		for i := range 3 * n {
			t := token(i + 1)
			if i%3 > 0 {
				t.ExpiresAt = t0
			}
			all = append(all, e.issue(t)...)
		}
		for i, t := range all {
			if i%3 == 0 {
				living = append(living, t)
			} else {
				dead = append(dead, t)
			}
		}
		errs := make([]error, n+1)
		progress := make(chan struct{}, n*exchanges)
		var exchanging sync.WaitGroup
		exchanging.Add(n)
		over := make(chan struct{})
		go func() {
			exchanging.Wait()
			close(over)
		}()
		together(n+1, func(i int) {
			if i == n {
				for last := false; !last && errs[i] == nil; {
					last = isClosed(over)
					_, errs[i] = hs[2].Purge(e.Context(), stepOf("one", t0, t0, 2))
					for range n {
						select {
						case <-progress:
						case <-over:
						}
					}
				}
				return
			}
			defer exchanging.Done()
			for range exchanges {
				if living[i], _, errs[i] = hs[i%2].Advance(e.Context(), living[i].ID,
					domain.Call{Generation: living[i].Generation, Now: t0}); errs[i] != nil {
					return
				}
				progress <- struct{}{}
			}
		})
		for _, err := range errs {
			e.must(err)
		}
		for _, t := range living {
			e.wantStored("exchanged beside a pass", t)
		}
		e.purgeAll(t0, 2) // ends the running pass
		e.purgeAll(t0, 2)
		e.wantLeft("after a whole pass", dead)
	}},

	{"Janitor/Purge/deletes a mark from the instant until which it is kept, a few in a step", func(e *env) {
		e.shop(domain.Settings{})
		keep := t0.Add(domain.DefaultPolicy().TTL + domain.MarkRetention)
		for _, s := range []domain.Scope{
			{TenantID: "acme"}, {TenantID: "acme", UserID: "ana"}, {TenantID: "acme", ApplicationID: "shop"},
			{TenantID: "acme", ApplicationID: "shop", UserID: "ana"}, {TenantID: "acme", ApplicationID: "shop", UserID: "bob"},
		} {
			e.revokeScope(s, domain.ID{}, t0)
		}
		e.revokeScope(domain.Scope{TenantID: "acme", UserID: "bob"}, domain.ID{}, t0.Add(tick))
		e.stamp()
		for _, limit := range []int{1, 2, 9} {
			e.wantPurged("a microsecond before", e.purgeAll(keep.Add(-tick), limit), port.Purged{})
		}
		e.wantPurged("at that instant", e.purgeAll(keep, 2), port.Purged{Marks: 5})
		if got := e.revokeScope(domain.Scope{TenantID: "acme", UserID: "ana"}, domain.ID{}, keep); got != 7 {
			e.Errorf("the next epoch is %d, want 7", got)
		}
	}},

	{"Janitor/Purge/deletes the rest of a tenant, and it begins at epoch 0 if it is created again", func(e *env) {
		e.shop(domain.Settings{})
		e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "other"}))
		e.revokeScope(domain.Scope{TenantID: "other"}, domain.ID{}, t0)
		for _, user := range []string{"ana", "bob", "cem", "dan"} {
			e.revokeScope(domain.Scope{TenantID: "acme", UserID: user}, domain.ID{}, t0)
		}
		e.issue(token(1))
		at := t0.Add(time.Hour)
		e.must(DeleteTenant(e.Context(), e.store, "acme", at))
		e.stamp()
		e.wantPurged("a microsecond before", e.purgeAll(at.Add(-tick), 2), port.Purged{LookedAt: 1})
		e.wantPurged("at that instant", e.purgeAll(at, 2), port.Purged{LookedAt: 1, Deleted: 1, Marks: 5, Tenants: 1})
		e.wantPurged("again", e.purgeAll(at, 2), port.Purged{})
		e.shop(domain.Settings{})
		t := e.issue(token(2))[0]
		if t.IssuedEpoch != 0 {
			e.Errorf("issued with epoch %d, want 0", t.IssuedEpoch)
		}
		e.wantActive("issued since", t0, t)
		for tenant, want := range map[string]uint64{"acme": 1, "other": 2} {
			if got := e.revokeScope(domain.Scope{TenantID: tenant}, domain.ID{}, t0); got != want {
				e.Errorf("%s: the next epoch is %d, want %d", tenant, got, want)
			}
		}
	}},

	// A refresh token below the position is still stored at the end of the pass.
	{"Janitor/Purge/leaves a deleted tenant its epoch and marks while a refresh token of it is stored", func(e *env) {
		e.shop(domain.Settings{})
		ts := e.issue(token(1), token(2))
		e.wantSame("the first step", e.purgeStep(stepOf("one", t0, t0, 1)), port.Purged{LookedAt: 1})
		e.must(DeleteTenant(e.Context(), e.store, "acme", t0))
		e.stamp()
		e.wantPurged("the rest of the pass", e.purgeAll(t0, 1), port.Purged{LookedAt: 1, Deleted: 1})
		e.wantLeft("after the pass", ts, ts[0])
		e.shop(domain.Settings{})
		e.wantEnded("the tenant created again", t0, ts[0])
		e.wantActive("issued since", t0, e.issue(token(3))...)
		e.wantPurged("the tenant created again", e.purgeAll(t0, 1), port.Purged{LookedAt: 2, Deleted: 1})
		if got := e.revokeScope(domain.Scope{TenantID: "acme"}, domain.ID{}, t0); got != 2 {
			e.Errorf("the next epoch is %d, want 2", got)
		}
	}},
}

// fullTokenAt returns activeToken with another id.
func fullTokenAt(n int) domain.RefreshToken {
	t := activeToken()
	t.ID = tokenID(n)
	return t
}
