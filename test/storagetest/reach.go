package storagetest

import (
	"cmp"
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
	factsOf         = "Reach/Revoked/returns each revocation as a fact, and no other end"
	factsOfTenants  = "Reach/Revoked/returns the facts of every tenant, deleted ones included"
	factsNameSpared = "Reach/Revoked/names the spared session, for the epoch of its revocation only"
	factsRaised     = "Reach/Revoked/a mark that is raised is one fact, with its last epoch"
	factsAbove      = "Reach/Revoked/returns what is above a position and what has none"
	factsHead       = "Reach/Revoked/of a huge position returns the head and what has none"
	factsAnyClock   = "Reach/Revoked/returns what has no position, whatever the clock of the revocation showed"
	factsHistory    = "Reach/Revoked/a reader with a cursor knows everything, whatever happened before"
	factsRace       = "Reach/Revoked/concurrent readers with cursors know everything that returned before"
	stampPositions  = "Reach/Stamp/gives one position, above all others, although now steps back"
	stampClock      = "Reach/Stamp/positions are the time, of now or of the store's clock"
	stampLimit      = "Reach/Stamp/stamps at most the limit of each kind, and returns the greater number"
	stampNothing    = "Reach/Stamp/moves no position if there is nothing to stamp"
	stampAgain      = "Reach/Stamp/stamps a mark again that was raised"
	beatReturns     = "Reach/Beat/succeeds for any number of readers, and changes no fact"
	beatShown       = "Reach/Revoked/shows the last beat of the reader, exactly"
	longestGrows    = "Reach/LongestAccessTTL/is the longest that a policy of the tenant has ever had"
	longestUnknown  = "Reach/LongestAccessTTL/is not found for a tenant that never existed or was purged"
	purgeFactFloor  = "Janitor/Purge/keeps the fact of a revoked refresh token while its access tokens may be valid"
	purgeUnstamped  = "Janitor/Purge/keeps a fact without a position, and deletes what has expired"
	purgeMarkFacts  = "Janitor/Purge/keeps a mark while its fact is in use, and its deleted tenant with it"
)

var reaching = []clause{
	{factsOf, func(e *env) {
		e.shop(noGrace())
		e.application("acme", "bar", domain.Settings{})
		e.wantFacts("of nothing", 0)
		ts := e.issue(token(1), token(2), token(3), token(4), token(5), tokenOf(6, "acme", "shop", "bob"),
			tokenOf(7, "acme", "bar", "cem"))
		short := token(8)
		short.ExpiresAt = t0.Add(time.Second)
		e.issue(short) // expires, which is no fact
		e.wantFacts("of active sessions", 0)

		e.must(e.store.Revoke(e.Context(), "acme", ts[0].ID, byRequest(t0), NewEvent()))
		want := []domain.Fact{sessionFact(ts[0])}
		e.wantFacts("Revoke", 0, want...)

		e.advance(ts[1], t0)
		used := e.snapshot(ts[1].ID).Token
		recovered := used
		recovered.RecoveredAt = t0
		e.must(e.store.Swap(e.Context(), used, recovered, t0, NewEvent()))
		e.wantFacts("Swap without a revocation", 0, want...)
		replayed := recovered
		replayed.RevokedAt, replayed.RevokedReason = t0, domain.RevokedByReplay
		e.must(e.store.Swap(e.Context(), recovered, replayed, t0, NewEvent()))
		want = append(want, sessionFact(ts[1]))
		e.wantFacts("Swap with a revocation", 0, want...)

		e.must(e.store.KeepNewest(e.Context(), own(ts[0]), 2, byRequest(t0.Add(time.Minute)), NewEvent()))
		want = append(want, sessionFact(ts[2]))
		e.wantFacts("KeepNewest", 0, want...)
		e.must(e.store.KeepNewest(e.Context(), own(ts[0]), 2, byRequest(t0.Add(time.Minute)), NewEvent()))
		e.wantFacts("KeepNewest of no more than it keeps", 0, want...)

		e.wantErr("Revoke again", e.store.Revoke(e.Context(), "acme", ts[0].ID, byRequest(t0), NewEvent()),
			domain.ErrNotFound)
		_, err := e.store.RevokeScope(e.Context(), domain.Scope{TenantID: "acme", ApplicationID: "none"}, domain.ID{},
			byRequest(t0), NewEvent())
		e.wantErr("RevokeScope of an unknown application", err, domain.ErrNotFound)
		e.wantFacts("refused revocations", 0, want...)

		for _, s := range []domain.Scope{
			{TenantID: "acme", UserID: "ana"}, {TenantID: "acme", ApplicationID: "shop", UserID: "bob"},
			{TenantID: "acme", ApplicationID: "bar"}, {TenantID: "acme"},
		} {
			epoch := e.revokeScope(s, domain.ID{}, t0)
			want = append(want, markFact(s, epoch, domain.ID{}))
			e.wantFacts(fmt.Sprintf("RevokeScope %+v", s), 0, want...)
		}
		e.must(DeleteApplication(e.Context(), e.store, "acme", "shop", t0))
		want = append(want, markFact(domain.Scope{TenantID: "acme", ApplicationID: "shop"}, 5, domain.ID{}))
		e.wantFacts("DeleteApplication", 0, want...)
		e.stampAt(t0)
		e.wantFacts("all of them stamped", 0, want...)
	}},

	{factsOfTenants, func(e *env) {
		var want []domain.Fact
		for i, tenant := range []string{"acme", "other", awkwardTenant} {
			e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: tenant}))
			e.application(tenant, awkward, domain.Settings{})
			t := e.issue(tokenOf(i+1, tenant, awkward, awkward))[0]
			e.must(e.store.Revoke(e.Context(), tenant, t.ID, byRequest(t0), NewEvent()))
			s := domain.Scope{TenantID: tenant, ApplicationID: awkward, UserID: awkward}
			want = append(want, sessionFact(t), markFact(s, e.revokeScope(s, domain.ID{}, t0), domain.ID{}))
		}
		e.wantFacts("of three tenants", 0, want...)
		e.must(DeleteApplication(e.Context(), e.store, "acme", awkward, t0))
		want = append(want, markFact(domain.Scope{TenantID: "acme", ApplicationID: awkward}, 2, domain.ID{}))
		e.wantFacts("an application deleted", 0, want...)
		e.must(DeleteTenant(e.Context(), e.store, "other", t0))
		want = append(want, markFact(domain.Scope{TenantID: "other"}, 2, domain.ID{}))
		e.wantFacts("a tenant deleted", 0, want...)
		e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "other"}))
		e.wantFacts("the tenant created again", 0, want...)
		e.stampAt(t0)
		e.wantFacts("all of them stamped", 0, want...)
	}},

	{factsNameSpared, func(e *env) {
		e.shop(domain.Settings{})
		ts := e.issue(token(1), token(2))
		ana := domain.Scope{TenantID: "acme", UserID: "ana"}
		check := func(what string, except domain.ID) {
			e.Helper()
			epoch := e.revokeScope(ana, except, t0)
			e.wantFacts(what, 0, markFact(ana, epoch, except))
			e.stampAt(t0)
			e.wantFacts(what+", stamped", 0, markFact(ana, epoch, except))
		}
		check("a session is spared", ts[0].ID)
		check("the same session again", ts[0].ID)
		ts = e.issue(token(3))
		check("another session is spared", ts[0].ID)
		check("no session is spared", domain.ID{})
		ts = e.issue(token(4))
		check("a session of later is spared", ts[0].ID)
		_, err := e.store.RevokeScope(e.Context(), ana, tokenID(99), byRequest(t0), NewEvent())
		e.wantErr("an unknown session", err, domain.ErrNotFound)
		e.wantFacts("a refused revocation", 0, markFact(ana, 5, ts[0].ID))
		shop := domain.Scope{TenantID: "acme", ApplicationID: "shop"}
		e.revokeScope(shop, domain.ID{}, t0)
		want := []domain.Fact{markFact(ana, 5, ts[0].ID), markFact(shop, 6, domain.ID{})}
		e.wantFacts("another scope", 0, want...)
		all := e.issue(token(5))[0]
		e.revokeScope(domain.Scope{TenantID: "acme"}, all.ID, t0)
		want = append(want, markFact(domain.Scope{TenantID: "acme"}, 7, all.ID))
		e.wantFacts("a session of the tenant is spared", 0, want...)
		e.must(DeleteTenant(e.Context(), e.store, "acme", t0))
		want[2] = markFact(domain.Scope{TenantID: "acme"}, 8, domain.ID{})
		e.wantFacts("a deletion spares none", 0, want...)
	}},

	{factsRaised, func(e *env) {
		e.shop(domain.Settings{})
		s := domain.Scope{TenantID: "acme", UserID: "ana"}
		for i := range 4 {
			epoch := e.revokeScope(s, domain.ID{}, t0.Add(-time.Duration(i)*time.Hour))
			e.wantFacts("raised", 0, markFact(s, epoch, domain.ID{}))
			if i%2 > 0 {
				e.stampAt(t0)
				e.wantFacts("stamped", 0, markFact(s, epoch, domain.ID{}))
			}
		}
	}},

	{factsAbove, func(e *env) {
		e.shop(domain.Settings{})
		ts := e.issue(token(1), token(2), token(3))
		s := domain.Scope{TenantID: "acme", UserID: "bob"}
		e.must(e.store.Revoke(e.Context(), "acme", ts[0].ID, byRequest(t0), NewEvent()))
		e.revokeScope(s, domain.ID{}, t0)
		e.stampAt(t0)
		all, first := e.facts(0)
		for _, f := range all {
			if f.Position != first || first == 0 {
				e.Errorf("%+v has another position than the head, %d", f, first)
			}
		}
		e.must(e.store.Revoke(e.Context(), "acme", ts[1].ID, byRequest(t0), NewEvent()))
		e.stampAt(t0)
		_, second := e.facts(0)
		if second <= first {
			e.Fatalf("the head is %d after %d", second, first)
		}
		e.must(e.store.Revoke(e.Context(), "acme", ts[2].ID, byRequest(t0), NewEvent()))
		none := sessionFact(ts[2])
		for after, want := range map[domain.Position][]domain.Fact{
			first - 1:  {sessionFact(ts[0]), markFact(s, 1, domain.ID{}), sessionFact(ts[1]), none},
			first:      {sessionFact(ts[1]), none},
			second - 1: {sessionFact(ts[1]), none},
			second:     {none},
		} {
			e.wantFacts(fmt.Sprintf("above %d of %d and %d", after, first, second), after, want...)
		}
		all, head := e.facts(first)
		if head != second {
			e.Errorf("the head is %d, want %d", head, second)
		}
		for _, f := range all {
			want := second
			if f.SessionID == none.SessionID {
				want = 0
			}
			if f.Position != want {
				e.Errorf("%+v has that position, want %d", f, want)
			}
		}
	}},

	{factsHead, func(e *env) {
		e.shop(domain.Settings{})
		ts := e.issue(token(1), token(2))
		_, head := e.facts(math.MaxInt64)
		if head != 0 {
			e.Errorf("the head is %d before the first stamp, want 0", head)
		}
		e.must(e.store.Revoke(e.Context(), "acme", ts[0].ID, byRequest(t0), NewEvent()))
		e.wantFacts("one without a position", math.MaxInt64, sessionFact(ts[0]))
		e.stampAt(t0)
		e.wantFacts("one with a position", math.MaxInt64)
		e.must(e.store.Revoke(e.Context(), "acme", ts[1].ID, byRequest(t0), NewEvent()))
		e.wantFacts("another without one", math.MaxInt64, sessionFact(ts[1]))
		_, all := e.facts(0)
		if _, head = e.facts(math.MaxInt64); head != all || head == 0 {
			e.Errorf("the head is %d, and %d above 0", head, all)
		}
	}},

	{factsAnyClock, func(e *env) {
		e.shop(domain.Settings{})
		e.revokeScope(domain.Scope{TenantID: "acme", UserID: "zoe"}, domain.ID{}, t0)
		e.stampAt(t0)
		_, head := e.facts(0)
		var want []domain.Fact
		for i, off := range []time.Duration{-time.Hour, -100 * 24 * time.Hour, 0, time.Hour, 23 * time.Hour} {
			t := e.issue(tokenOf(i+1, "acme", "shop", fmt.Sprint("user ", i)))[0]
			e.must(e.store.Revoke(e.Context(), "acme", t.ID, byRequest(t0.Add(off)), NewEvent()))
			s := domain.Scope{TenantID: "acme", UserID: t.UserID}
			want = append(want, sessionFact(t), markFact(s, e.revokeScope(s, domain.ID{}, t0.Add(off)), domain.ID{}))
			e.wantFacts(fmt.Sprintf("revoked by a clock that is %s off", off), head, want...)
		}
		e.stampAt(t0)
		e.wantFacts("all of them stamped", head, want...)
	}},

	{factsHistory, func(e *env) { runFactHistory(e, seeded(e)) }},
	{factsRace, func(e *env) { raceFacts(e, seeded(e)) }},

	{stampPositions, func(e *env) {
		e.shop(domain.Settings{})
		clocks := []time.Duration{time.Hour, 0, time.Hour, -24 * time.Hour, time.Hour, time.Hour + tick}
		_, last := e.facts(0)
		hs := e.handles(3)
		for i, off := range clocks {
			t := e.issue(tokenOf(i+1, "acme", "shop", fmt.Sprint("user ", i)))[0]
			e.must(e.store.Revoke(e.Context(), "acme", t.ID, byRequest(t0), NewEvent()))
			s := domain.Scope{TenantID: "acme", UserID: "bob"}
			epoch := e.revokeScope(s, domain.ID{}, t0)
			n, err := hs[i%3].Stamp(e.Context(), t0.Add(off), 10)
			if e.must(err); n != 1 {
				e.Errorf("stamp %d stamped %d, want 1", i, n)
			}
			e.wantFacts("above the former head", last, sessionFact(t), markFact(s, epoch, domain.ID{}))
			all, head := e.facts(last)
			for _, f := range all {
				if f.Position != head || head <= last {
					e.Errorf("%+v has another position than the head, %d, or not above the former, %d", f, head, last)
				}
			}
			last = head
		}
	}},

	// The time of the machine is compared with that of a database server, which may be another machine.
	{stampClock, func(e *env) {
		e.shop(domain.Settings{})
		stampOne := func(n int, now time.Time) domain.Position {
			e.Helper()
			t := e.issue(tokenOf(n, "acme", "shop", fmt.Sprint("user ", n)))[0]
			e.must(e.store.Revoke(e.Context(), "acme", t.ID, byRequest(t0), NewEvent()))
			_, err := e.store.Stamp(e.Context(), now, 1)
			e.must(err)
			_, head := e.facts(0)
			return head
		}
		first := stampOne(1, t0)
		if first != domain.Position(t0.UnixMicro()) { // a store with a clock of its own
			if off := time.Until(time.UnixMicro(int64(first))).Abs(); off > time.Hour {
				e.Errorf("the position is neither now nor the time of day: it is %s away from that", off)
			}
			return
		}
		for i, tt := range []struct {
			off  time.Duration
			want domain.Position
		}{{0, first + 1}, {-time.Hour, first + 2}, {2 * tick, first + 3}, {time.Hour, first + 3_600_000_000}} {
			if got := stampOne(i+2, t0.Add(tt.off)); got != tt.want {
				e.Errorf("a stamp %s later has position %d after the first, want %d", tt.off, got-first, tt.want-first)
			}
		}
	}},

	{stampLimit, func(e *env) {
		e.shop(domain.Settings{})
		e.stampsAtMost(3, 7, 5)
		e.stampsAtMost(3, 2, 4)
		e.stampsAtMost(1, 2, 2)
	}},

	{stampNothing, func(e *env) {
		e.shop(domain.Settings{})
		stampsNone := func(what string) {
			e.Helper()
			before, head := e.facts(0)
			n, err := e.store.Stamp(e.Context(), t0.Add(time.Hour), 10)
			if e.must(err); n != 0 {
				e.Errorf("%s: stamped %d, want none", what, n)
			}
			after, again := e.facts(0)
			e.wantSame(what+": the facts", after, before)
			if again != head {
				e.Errorf("%s: the head moved from %d to %d", what, head, again)
			}
		}
		t := e.issue(token(1))[0]
		stampsNone("no revocation")
		e.must(e.store.Revoke(e.Context(), "acme", t.ID, byRequest(t0), NewEvent()))
		e.revokeScope(domain.Scope{TenantID: "acme"}, domain.ID{}, t0)
		e.stampAt(t0)
		stampsNone("all of them stamped")
	}},

	{stampAgain, func(e *env) {
		e.shop(domain.Settings{})
		s := domain.Scope{TenantID: "acme", UserID: "ana"}
		var last domain.Position
		for i := range 3 {
			t := e.issue(token(i + 1))[0]
			var except domain.ID
			if i == 1 {
				except = t.ID
			}
			epoch := e.revokeScope(s, except, t0)
			want := markFact(s, epoch, except)
			e.wantFacts("raised, above the head", last, want)
			if all, _ := e.facts(last); len(all) == 1 && all[0].Position != 0 {
				e.Errorf("raised: it has position %d, want none", all[0].Position)
			}
			e.stampAt(t0)
			e.wantFacts("stamped, above the former head", last, want)
			_, head := e.facts(0)
			if head <= last {
				e.Errorf("the head is %d after %d", head, last)
			}
			last = head
			e.wantFacts("above the head", last)
		}
	}},

	{beatReturns, func(e *env) {
		e.shop(domain.Settings{})
		t := e.issue(token(1))[0]
		e.must(e.store.Revoke(e.Context(), "acme", t.ID, byRequest(t0), NewEvent()))
		before, _ := e.facts(0)
		hs := e.handles(3)
		errs := make([]error, 12)
		together(len(errs), func(i int) {
			for n := range 3 {
				now := t0.Add(time.Duration(i-n) * time.Second)
				errs[i] = errors.Join(errs[i], hs[i%3].Beat(e.Context(), fmt.Sprint("reader ", i%4), now))
			}
		})
		e.must(errors.Join(errs...))
		after, _ := e.facts(0)
		e.wantSame("the facts", after, before)
		e.must(e.store.Beat(e.Context(), awkward, t0))
	}},

	// A reading that shows a beat is complete as of its start. So it shows no other: neither one of another reader, nor
	// one to come.
	{beatShown, func(e *env) {
		e.shop(domain.Settings{})
		t := e.issue(token(1))[0]
		e.must(e.store.Revoke(e.Context(), "acme", t.ID, byRequest(t0), NewEvent()))
		shows := func(what, reader string, want time.Time) {
			e.Helper()
			for _, after := range []domain.Position{0, math.MaxInt64} {
				read, err := e.store.Revoked(e.Context(), port.FactQuery{After: after, Reader: reader}, func(domain.Fact) {})
				if e.must(err); !read.Beat.Equal(want) {
					e.Errorf("%s, after %d: the beat of %q is %s, want %s", what, after, reader, read.Beat, want)
				}
			}
		}
		shows("before the first", "one", time.Time{})
		shows("no reader", "", time.Time{})
		last := map[string]time.Time{}
		for i, step := range []struct {
			reader string
			at     time.Time
		}{
			{"one", t0}, {"two", t0.Add(tick)}, {"one", t0.Add(2 * tick)}, {awkward, t0.Add(time.Hour)},
			{"one", t0.Add(3*time.Hour + 123456*tick)}, {"two", t0.Add(-time.Hour)}, {"two", t0.Add(-time.Hour + tick)},
		} {
			e.must(e.store.Beat(e.Context(), step.reader, step.at))
			last[step.reader] = step.at
			for _, reader := range []string{"one", "two", awkward, "three"} {
				shows(fmt.Sprint("after beat ", i), reader, last[reader])
			}
		}
		e.stampAt(t0)
		shows("after a stamp", "one", last["one"])
		done, cancel := context.WithCancel(e.Context())
		cancel()
		if err := e.store.Beat(done, "one", t0.Add(5*time.Hour)); err == nil {
			e.Errorf("a beat whose context was done before succeeded")
		}
		shows("after a beat that was not made", "one", last["one"])
	}},

	{longestGrows, func(e *env) {
		check := func(what, tenant string, want time.Duration) {
			e.Helper()
			got, err := e.store.LongestAccessTTL(e.Context(), tenant)
			if e.must(err); got != want {
				e.Errorf("%s: %s, want %s", what, got, want)
			}
		}
		access := func(seconds int64) domain.Settings {
			return domain.Settings{AccessTokenSeconds: new(seconds), GraceSeconds: new(int64(0))}
		}
		e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "acme"}))
		check("without an application", "acme", 0)
		e.application("acme", "shop", domain.Settings{})
		check("by default", "acme", domain.DefaultPolicy().AccessTokenTTL)
		e.application("acme", "shop", access(60))
		check("lowered", "acme", domain.DefaultPolicy().AccessTokenTTL)
		e.application("acme", "shop", access(3600))
		check("raised", "acme", time.Hour)
		e.application("acme", "bar", access(4001))
		check("another application", "acme", 4001*time.Second)
		e.application("acme", "bar", access(60))
		check("which is lowered", "acme", 4001*time.Second)
		e.application("acme", "inherits", domain.Settings{})
		e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "acme", Settings: access(5002)}))
		check("the tenant raises what it passes on", "acme", 5002*time.Second)
		e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "acme", Settings: access(60)},
			domain.Application{TenantID: "acme", ID: "bar", Settings: access(6003)}))
		check("saved with its tenant", "acme", 6003*time.Second)
		e.must(DeleteApplication(e.Context(), e.store, "acme", "bar", t0))
		check("the application deleted", "acme", 6003*time.Second)
		e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "other"}))
		e.application("other", "shop", access(61))
		check("another tenant", "other", 61*time.Second)
		check("beside another tenant", "acme", 6003*time.Second)
		e.must(DeleteTenant(e.Context(), e.store, "acme", t0))
		check("the tenant deleted", "acme", 6003*time.Second)
		e.shop(access(60))
		check("created again", "acme", 6003*time.Second)
	}},

	{longestUnknown, func(e *env) {
		unknown := func(what string) {
			e.Helper()
			_, err := e.store.LongestAccessTTL(e.Context(), "acme")
			e.wantErr(what, err, domain.ErrNotFound)
		}
		unknown("never existed")
		e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "other"}))
		unknown("another tenant exists")
		e.shop(domain.Settings{})
		e.must(DeleteTenant(e.Context(), e.store, "acme", t0))
		e.stamp()
		e.purgeAll(t0, 10)
		unknown("purged")
	}},

	{purgeFactFloor, func(e *env) {
		const longest = 4001 * time.Second
		e.shop(domain.Settings{AccessTokenSeconds: new(int64(longest / time.Second)), GraceSeconds: new(int64(0))})
		e.application("acme", "shop", domain.Settings{AccessTokenSeconds: new(int64(60)), GraceSeconds: new(int64(0))})
		now := today()
		all := []domain.RefreshToken{token(1), token(2), token(3)}
		for i := range all {
			all[i].ExpiresAt = now.Truncate(time.Second).Add(48 * time.Hour)
		}
		e.issue(all...)
		// A mark covers the third one, too.
		e.must(e.store.Revoke(e.Context(), "acme", all[0].ID, byRequest(now.Add(-time.Hour)), NewEvent()))
		e.must(e.store.Revoke(e.Context(), "acme", all[2].ID, byRequest(now.Add(-time.Hour)), NewEvent()))
		e.revokeScope(domain.Scope{TenantID: "acme"}, all[1].ID, now.Add(-time.Hour))
		e.stampAt(now)
		_, head := e.facts(0)
		out := time.UnixMicro(int64(head)).UTC().Add(longest + 10*time.Minute)
		e.purgeAll(out.Add(-tick), 10)
		e.wantLeft("a microsecond before", all, all...)
		e.purgeAll(out, 10)
		e.wantLeft("at that instant", all, all[1])
		// A clock ahead revokes: its instant counts, too.
		e.must(e.store.Revoke(e.Context(), "acme", all[1].ID, byRequest(out.Add(2*time.Hour)), NewEvent()))
		e.stampAt(now)
		e.purgeAll(out.Add(2*time.Hour-tick), 10)
		e.wantLeft("a microsecond before it was revoked", all, all[1])
		e.purgeAll(out.Add(2*time.Hour), 10)
		e.wantLeft("when it was revoked", all)
	}},

	{purgeUnstamped, func(e *env) {
		e.shop(domain.Settings{})
		all := []domain.RefreshToken{token(1), token(2), token(3), token(4)}
		all[3].ExpiresAt = t0.Add(time.Hour)
		e.issue(all...)
		for _, t := range all {
			e.must(e.store.Revoke(e.Context(), "acme", t.ID, byRequest(t0), NewEvent()))
		}
		e.purgeAll(t0.Add(time.Hour-tick), 10)
		e.wantLeft("without a position", all, all...)
		e.purgeAll(t0.Add(23*time.Hour), 10)
		e.wantLeft("without a position, and one expired", all, all[:3]...)
		_, head := e.facts(0)
		e.wantFacts("without a position", head, sessionFact(all[0]), sessionFact(all[1]), sessionFact(all[2]))
		e.stamp()
		e.purgeAll(t0.Add(23*time.Hour), 10)
		e.wantLeft("with one", all)
		e.wantFacts("deleted", 0)
	}},

	{purgeMarkFacts, func(e *env) {
		e.shop(domain.Settings{})
		e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "other"}))
		e.application("other", "shop", domain.Settings{AccessTokenSeconds: new(int64(4001))})
		ana := domain.Scope{TenantID: "acme", UserID: "ana"}
		keep := t0.Add(domain.DefaultPolicy().TTL + domain.MarkRetention)
		e.revokeScope(ana, domain.ID{}, t0)
		e.wantPurged("a mark without a position", e.purgeAll(keep, 10), port.Purged{})
		e.wantFacts("a mark without a position", 0, markFact(ana, 1, domain.ID{}))
		e.stamp()
		e.revokeScope(ana, domain.ID{}, t0)
		e.wantPurged("a mark that was raised since", e.purgeAll(keep, 10), port.Purged{})
		e.wantFacts("a mark that was raised since", 0, markFact(ana, 2, domain.ID{}))
		e.stamp()
		e.wantPurged("a mark with a position", e.purgeAll(keep, 10), port.Purged{Marks: 1})
		e.wantFacts("a mark with a position", 0)

		now := today()
		other := domain.Scope{TenantID: "other"}
		e.must(DeleteTenant(e.Context(), e.store, "other", now.Add(-time.Hour)))
		e.wantPurged("a deleted tenant without a position", e.purgeAll(keep, 10), port.Purged{})
		e.stampAt(now)
		_, head := e.facts(0)
		// Feeds and resource servers may hold the mark for three lifetimes and an hour. One that is created again before
		// continues above its epoch.
		out := time.UnixMicro(int64(head)).UTC().Add(3*4001*time.Second + time.Hour)
		e.wantPurged("a deleted tenant, a microsecond before", e.purgeAll(out.Add(-tick), 10), port.Purged{})
		e.wantFacts("a deleted tenant, a microsecond before", 0, markFact(other, 1, domain.ID{}))
		e.wantPurged("a deleted tenant", e.purgeAll(out, 10), port.Purged{Marks: 1, Tenants: 1})
		e.wantFacts("a deleted tenant", 0)
	}},
}

// awkwardTenant is a tenant's id with everything that one may have.
const awkwardTenant = "Z.a_b~-1"

func sessionFact(t domain.RefreshToken) domain.Fact {
	return domain.Fact{TenantID: t.TenantID, SessionID: t.ID}
}

func markFact(s domain.Scope, epoch uint64, except domain.ID) domain.Fact {
	return domain.Fact{
		TenantID: s.TenantID, ApplicationID: s.ApplicationID, UserID: s.UserID, Epoch: epoch, Except: except,
	}
}

// facts returns the facts above a position, each once, and the head.
func (e *env) facts(after domain.Position) ([]domain.Fact, domain.Position) {
	e.Helper()
	all, head, err := factsIn(e, e.store, after)
	e.must(err)
	return all, head
}

func factsIn(e *env, s port.Reach, after domain.Position) ([]domain.Fact, domain.Position, error) {
	var all []domain.Fact
	read, err := s.Revoked(e.Context(), port.FactQuery{After: after}, func(f domain.Fact) { all = append(all, f) })
	slices.SortFunc(all, compareFacts)
	return slices.Compact(all), read.Head, err
}

func compareFacts(a, b domain.Fact) int {
	return cmp.Or(cmp.Compare(a.TenantID, b.TenantID), slices.Compare(a.SessionID[:], b.SessionID[:]),
		cmp.Compare(a.ApplicationID, b.ApplicationID), cmp.Compare(a.UserID, b.UserID), cmp.Compare(a.Epoch, b.Epoch),
		slices.Compare(a.Except[:], b.Except[:]), cmp.Compare(a.KeyID, b.KeyID), cmp.Compare(a.Position, b.Position))
}

// wantFacts checks the facts above a position, without their own positions.
func (e *env) wantFacts(what string, after domain.Position, want ...domain.Fact) {
	e.Helper()
	got, _ := e.facts(after)
	for i := range got {
		got[i].Position = 0
	}
	want = slices.SortedFunc(slices.Values(want), compareFacts)
	e.wantSame(what+": the facts", got, want)
}

// stampsAtMost revokes that many refresh tokens and scopes, and stamps a few of them at a time.
func (e *env) stampsAtMost(limit, sessions, marks int) {
	e.Helper()
	_, last := e.facts(0)
	first := last
	var want []domain.Fact
	for i := range sessions {
		t := e.issue(tokenOf(limit*1000+sessions*100+i, "acme", "shop", fmt.Sprint("user ", i)))[0]
		e.must(e.store.Revoke(e.Context(), "acme", t.ID, byRequest(t0), NewEvent()))
		want = append(want, sessionFact(t))
	}
	for i := range marks {
		s := domain.Scope{TenantID: "acme", UserID: fmt.Sprint("user ", i)}
		want = append(want, markFact(s, e.revokeScope(s, domain.ID{}, t0), domain.ID{}))
	}
	left := len(want)
	for n, steps := limit, 0; n == limit; steps++ {
		if steps > len(want) {
			e.Fatalf("%d stamps of at most %d, and there is more", steps, limit)
		}
		var err error
		n, err = e.store.Stamp(e.Context(), t0, limit)
		e.must(err)
		all, head := e.facts(last)
		var stamped [2]int
		for _, f := range all {
			switch {
			case f.Position == 0:
			case f.Epoch > 0:
				stamped[1]++
			default:
				stamped[0]++
			}
		}
		if n != max(stamped[0], stamped[1]) || n > limit || n == 0 && left > 0 {
			e.Errorf("a stamp of at most %d of each stamped %d refresh tokens and %d marks, and returned %d", limit,
				stamped[0], stamped[1], n)
		}
		left -= stamped[0] + stamped[1]
		last = head
	}
	e.wantFacts("not stamped although fewer than the limit were", math.MaxInt64)
	e.wantFacts("all", first, want...)
	if left != 0 {
		e.Errorf("%d facts too few were stamped", left)
	}
}
