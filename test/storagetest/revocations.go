package storagetest

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/refreshd/refreshd/domain"
)

var revoking = []clause{
	{"Revocations/Revoke/ends the one, keeps instant and reason, and touches nothing else", func(e *env) {
		e.shop(domain.Settings{})
		other := e.issue(token(2))[0]
		want := e.issue(activeToken())[0]
		at := t0.Add(time.Hour + tick)
		r := byRequest(at)
		r.Reason = domain.RevokedByLimit
		e.must(e.store.Revoke(e.Context(), "acme", want.ID, r, NewEvent()))
		want.RevokedAt, want.RevokedReason = at, domain.RevokedByLimit
		e.wantStored("the one", want)
		e.wantStored("another", other)
		e.wantActive("another", t0, other)
		e.wantEnded("the one", t0, want)
	}},

	{"Revocations/Revoke/what is unknown or of another tenant is not found, and stays active", func(e *env) {
		e.shop(domain.Settings{})
		e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "other"}))
		t := e.issue(token(1))[0]
		e.wantErr("unknown", e.store.Revoke(e.Context(), "acme", tokenID(2),
			byRequest(t0), NewEvent()), domain.ErrNotFound)
		for _, tenant := range []string{"other", "none", ""} {
			e.wantErr("as tenant "+tenant, e.store.Revoke(e.Context(), tenant, t.ID,
				byRequest(t0), NewEvent()), domain.ErrNotFound)
		}
		e.wantStored("afterwards", t)
	}},

	{"Revocations/Revoke/an ended one is not found, and keeps the first instant and reason", func(e *env) {
		eachEnding(e, func(how string, t domain.RefreshToken, now time.Time) {
			before := e.snapshot(t.ID).Token
			r := byRequest(now.Add(time.Hour))
			r.Reason = domain.RevokedByLimit
			if now.Before(t.ExpiresAt) {
				r.At = now
			}
			e.wantErr(how, e.store.Revoke(e.Context(), t.TenantID, t.ID, r, NewEvent()), domain.ErrNotFound)
			e.wantStored(how+": afterwards", before)
		})
	}},

	{"Revocations/RevokeScope/covers its scope and nothing beside it", func(e *env) {
		n := 0
		for _, s := range []domain.Scope{
			{TenantID: "acme"},
			{TenantID: "acme", ApplicationID: "shop"},
			{TenantID: "acme", UserID: "ana"},
			{TenantID: "acme", ApplicationID: "shop", UserID: "ana"},
		} {
			var all []domain.RefreshToken
			for _, tenant := range []string{"acme", "other"} {
				e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: tenant}))
				for _, app := range []string{"shop", "ana"} { // an application and a user may have one name
					e.application(tenant, app, domain.Settings{})
					for _, user := range []string{"ana", "shop"} {
						n++
						all = append(all, e.issue(tokenOf(n, tenant, app, user))[0])
					}
				}
			}
			e.revokeScope(s, domain.ID{}, t0)
			for _, t := range all {
				if s.Covers(t) {
					e.wantEnded(fmt.Sprintf("%+v revoked", s), t0, t)
				} else {
					e.wantActive(fmt.Sprintf("%+v revoked", s), t0, t)
				}
			}
		}
	}},

	{"Revocations/RevokeScope/what is stored later is active, also with a clock that is behind", func(e *env) {
		e.shop(domain.Settings{})
		for i, s := range []domain.Scope{
			{TenantID: "acme"}, {TenantID: "acme", ApplicationID: "shop"}, {TenantID: "acme", UserID: "ana"},
			{TenantID: "acme", ApplicationID: "shop", UserID: "ana"},
		} {
			before := e.issue(token(2*i + 1))[0]
			e.revokeScope(s, domain.ID{}, t0.Add(time.Hour))
			after := e.issue(token(2*i + 2))[0]
			e.wantEnded("stored before", t0, before)
			e.wantActive("stored after", t0, after)
			e.advance(after, t0)
		}
	}},

	{"Revocations/RevokeScope/grows the tenant's epoch by one and returns it", func(e *env) {
		e.shop(domain.Settings{})
		e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "other"}))
		for want := range uint64(3) {
			for i, s := range []domain.Scope{{TenantID: "acme"}, {TenantID: "acme", ApplicationID: "shop"},
				{TenantID: "acme", UserID: "ana"}} {
				if got := e.revokeScope(s, domain.ID{}, t0); got != 3*want+uint64(i)+1 {
					e.Errorf("%+v: epoch %d, want %d", s, got, 3*want+uint64(i)+1)
				}
			}
			if got := e.revokeScope(domain.Scope{TenantID: "other"}, domain.ID{}, t0); got != want+1 {
				e.Errorf("another tenant: epoch %d, want %d", got, want+1)
			}
		}
	}},

	{"Revocations/RevokeScope/needs no user to exist", func(e *env) {
		e.shop(domain.Settings{})
		e.revokeScope(domain.Scope{TenantID: "acme", UserID: "nobody"}, domain.ID{}, t0)
		e.revokeScope(domain.Scope{TenantID: "acme", ApplicationID: "shop", UserID: "nobody"}, domain.ID{}, t0)
	}},

	{"Revocations/RevokeScope/an unknown tenant or application is not found, and writes nothing", func(e *env) {
		e.shop(domain.Settings{})
		e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "other"}))
		for _, s := range []domain.Scope{
			{TenantID: "none"}, {TenantID: "none", UserID: "ana"}, {TenantID: "none", ApplicationID: "shop"},
			{TenantID: "acme", ApplicationID: "none"}, {TenantID: "other", ApplicationID: "shop", UserID: "ana"}, {},
		} {
			epoch, err := e.store.RevokeScope(e.Context(), s, domain.ID{}, byRequest(t0), NewEvent())
			if !errors.Is(err, domain.ErrNotFound) {
				e.Errorf("%+v: got epoch %d, error %v, want ErrNotFound", s, epoch, err)
			}
		}
		for _, tenant := range []string{"acme", "other"} {
			if got := e.revokeScope(domain.Scope{TenantID: tenant}, domain.ID{}, t0); got != 1 {
				e.Errorf("%s: the next epoch is %d, want 1", tenant, got)
			}
		}
	}},

	{"Revocations/RevokeScope/works while application and tenant are inactive", func(e *env) {
		e.shop(domain.Settings{})
		ts := e.issue(token(1), token(2))
		e.application("acme", "shop", domain.Settings{Active: new(false)})
		e.revokeScope(domain.Scope{TenantID: "acme", ApplicationID: "shop"}, ts[1].ID, t0)
		e.wantEnded("application inactive", t0, ts[0])
		e.wantActive("the one spared", t0, ts[1])
		e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "acme", Settings: domain.Settings{Active: new(false)}}))
		e.revokeScope(domain.Scope{TenantID: "acme"}, domain.ID{}, t0)
		e.wantEnded("tenant inactive", t0, ts[1])
	}},

	{"Revocations/RevokeScope/spares the one that it is told to", func(e *env) {
		e.shop(domain.Settings{})
		ts := e.issue(token(1), token(2), token(3))
		for _, s := range []domain.Scope{
			{TenantID: "acme", UserID: "ana"}, {TenantID: "acme"}, {TenantID: "acme", ApplicationID: "shop"},
		} {
			want := e.snapshot(ts[1].ID).Token
			want.IssuedEpoch = e.revokeScope(s, ts[1].ID, t0)
			e.wantStored("the one spared", want)
			e.wantActive("the one spared", t0, ts[1])
			e.wantEnded("the others", t0, ts[0], ts[2])
		}
		e.advance(ts[1], t0)
		e.revokeScope(domain.Scope{TenantID: "acme", UserID: "ana"}, domain.ID{}, t0)
		e.wantEnded("spared no more", t0, ts[1])
	}},

	{"Revocations/RevokeScope/sparing an ended or uncovered one is not found, and writes nothing", func(e *env) {
		e.shop(domain.Settings{})
		e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "other"}))
		e.application("other", "shop", domain.Settings{})
		expired := token(3)
		expired.ExpiresAt = t0
		ts := e.issue(token(1), tokenOf(2, "acme", "shop", "bob"), expired, token(4), tokenOf(5, "other", "shop", "ana"))
		e.must(e.store.Revoke(e.Context(), "acme", ts[3].ID, byRequest(t0), NewEvent()))
		for name, except := range map[string]domain.ID{
			"another user's": ts[1].ID, "an expired one": ts[2].ID, "a revoked one": ts[3].ID, "another tenant's": ts[4].ID,
			"an unknown one": tokenID(99),
		} {
			_, err := e.store.RevokeScope(e.Context(), domain.Scope{TenantID: "acme", UserID: "ana"}, except,
				byRequest(t0), NewEvent())
			e.wantErr(name, err, domain.ErrNotFound)
		}
		e.wantActive("afterwards", t0, ts[0], ts[1], ts[4])
		if got := e.revokeScope(domain.Scope{TenantID: "acme"}, domain.ID{}, t0); got != 1 {
			e.Errorf("the next epoch is %d, want 1", got)
		}
	}},

	{"Revocations/RevokeScope/many concurrent calls have an epoch each, and the mark takes the highest", func(e *env) {
		e.shop(domain.Settings{})
		hs := e.handles(3)
		t := e.issue(token(1))[0]
		epochs, errs := make([]uint64, 30), make([]error, 30)
		together(len(epochs), func(i int) {
			s := []domain.Scope{{TenantID: "acme"}, {TenantID: "acme", UserID: "ana"}}[i%2]
			epochs[i], errs[i] = hs[i%3].RevokeScope(e.Context(), s, domain.ID{}, byRequest(t0), NewEvent())
		})
		want := make([]uint64, len(epochs))
		for i := range want {
			e.must(errs[i])
			want[i] = uint64(i + 1)
		}
		slices.Sort(epochs)
		e.wantSame("epochs", epochs, want)
		if got := e.snapshot(t.ID).MarkEpoch; got != uint64(len(epochs)) {
			e.Errorf("MarkEpoch = %d, want %d", got, len(epochs))
		}
	}},

	// Each issue is before, after or concurrent with a revocation; the result of the first two is certain.
	{"Revocations/RevokeScope/ends what was issued before it began, and nothing issued after it returned", func(e *env) {
		e.shop(domain.Settings{})
		hs := e.handles(3)
		var began, returned atomic.Int64 // revocations
		type issued struct {
			t                          domain.RefreshToken
			returnedBefore, begunAfter int64 // revocations that had returned before the issue, and had begun when it returned
		}
		const issuers, each, revocations = 4, 12, 8
		progress := make(chan struct{}, issuers*each) // paces the revocations between the issues
		var mu sync.Mutex
		var all []issued
		var failures []error
		fail := func(err error) {
			mu.Lock()
			defer mu.Unlock()
			failures = append(failures, err)
		}
		together(issuers+1, func(i int) {
			if i == issuers {
				for range revocations {
					began.Add(1)
					if _, err := hs[0].RevokeScope(e.Context(), domain.Scope{TenantID: "acme", UserID: "ana"}, domain.ID{},
						byRequest(t0), NewEvent()); err != nil {
						fail(err)
					}
					returned.Add(1)
					for range issuers * each / (revocations + 1) {
						<-progress
					}
				}
				return
			}
			for j := range each {
				it := issued{t: token(i*each + j + 1), returnedBefore: returned.Load()}
				if _, err := hs[i%3].Insert(e.Context(), it.t); err != nil {
					fail(err)
				}
				it.begunAfter = began.Load()
				mu.Lock()
				all = append(all, it)
				mu.Unlock()
				progress <- struct{}{}
			}
		})
		for _, err := range failures {
			e.must(err)
		}
		for _, it := range all {
			if it.returnedBefore == revocations {
				e.wantActive("issued after the last revocation", t0, it.t)
			}
			if it.begunAfter < revocations {
				e.wantEnded("issued before the last revocation began", t0, it.t)
			}
			if epoch := e.snapshot(it.t.ID).Token.IssuedEpoch; int64(epoch) < it.returnedBefore || int64(epoch) > it.begunAfter {
				e.Errorf("issued with epoch %d, want %d to %d", epoch, it.returnedBefore, it.begunAfter)
			}
		}
	}},

	{"Revocations/RevokeScope/lets no exchange succeed that begins after it returned", func(e *env) {
		e.shop(noGrace())
		hs := e.handles(3)
		for round := range 3 {
			t := e.issue(token(round + 1))[0]
			const callers, exchanges = 6, 15
			progress := make(chan struct{}, callers*(exchanges+1))
			revoked := make(chan struct{})
			late := make([]bool, callers) // an exchange that began after the revocation succeeded
			errs := make([]error, callers+1)
			together(callers+1, func(i int) {
				if i == callers {
					for range callers * exchanges / 3 {
						<-progress
					}
					_, errs[i] = hs[0].RevokeScope(e.Context(), domain.Scope{TenantID: "acme", UserID: "ana"}, domain.ID{},
						byRequest(t0), NewEvent())
					close(revoked)
					return
				}
				for n := range exchanges + 1 {
					if n == exchanges {
						<-revoked
					}
					s, err := hs[i%3].Snapshot(e.Context(), t.ID)
					if err != nil {
						errs[i] = err
					}
					began := isClosed(revoked)
					_, _, err = hs[i%3].Advance(e.Context(), t.ID, domain.Call{Generation: s.Token.Generation, Now: t0})
					late[i] = late[i] || began && err == nil
					if err != nil && !errors.Is(err, domain.ErrConflict) {
						errs[i] = err
					}
					progress <- struct{}{}
				}
			})
			for _, err := range errs {
				e.must(err)
			}
			if slices.Contains(late, true) {
				e.Errorf("an exchange that began after the revocation returned succeeded")
			}
			e.wantEnded("revoked", t0, t)
		}
	}},

	{"Revocations/KeepNewest/revokes all but the highest ordinals, whatever the ids, for the reason given", func(e *env) {
		e.shop(domain.Settings{})
		ts := e.issue(token(3), token(5), token(4), token(1), token(2))
		r := byRequest(t0.Add(tick))
		r.Reason = domain.RevokedByLimit
		e.must(e.store.KeepNewest(e.Context(), owner, 2, r, NewEvent()))
		for i := range ts[:3] {
			ts[i].RevokedAt, ts[i].RevokedReason = r.At, r.Reason
		}
		for _, t := range ts {
			e.wantStored("afterwards", t)
		}
	}},

	{"Revocations/KeepNewest/after each of many issues the latest are active, at every handle", func(e *env) {
		e.shop(domain.Settings{})
		hs := e.handles(3)
		for round, keep := range []int{1, 3} {
			var ts []domain.RefreshToken
			for i := range 12 {
				t, err := hs[i%3].Insert(e.Context(), token(100*round+(i*7)%12+1))
				e.must(err)
				ts = append(ts, t)
				e.must(hs[i%3].KeepNewest(e.Context(), owner, keep, byRequest(t0), NewEvent()))
				ended := max(0, len(ts)-keep)
				e.wantEnded(fmt.Sprintf("of %d, kept are %d", len(ts), keep), t0, ts[:ended]...)
				e.wantActive(fmt.Sprintf("of %d, kept are %d", len(ts), keep), t0, ts[ended:]...)
			}
			e.revokeScope(domain.Scope{TenantID: "acme"}, domain.ID{}, t0)
		}
	}},

	{"Revocations/KeepNewest/revokes nothing if there are no more than it keeps", func(e *env) {
		e.shop(domain.Settings{})
		e.must(e.store.KeepNewest(e.Context(), owner, 1, byRequest(t0), NewEvent()))
		ts := e.issue(token(1), token(2))
		for _, keep := range []int{2, 3} {
			e.must(e.store.KeepNewest(e.Context(), owner, keep, byRequest(t0), NewEvent()))
			e.wantActive("kept", t0, ts...)
		}
	}},

	{"Revocations/KeepNewest/touches no one else's", func(e *env) {
		e.shop(domain.Settings{})
		e.application("acme", "bar", domain.Settings{})
		e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "other"}))
		e.application("other", "shop", domain.Settings{})
		others := e.issue(tokenOf(1, "acme", "shop", "bob"), tokenOf(2, "acme", "bar", "ana"),
			tokenOf(3, "other", "shop", "ana"))
		own := e.issue(token(4), token(5))
		others = append(others,
			e.issue(tokenOf(6, "acme", "shop", "bob"), tokenOf(7, "acme", "bar", "ana"), tokenOf(8, "other", "shop", "ana"))...)
		e.must(e.store.KeepNewest(e.Context(), owner, 1, byRequest(t0), NewEvent()))
		e.wantActive("of others", t0, others...)
		e.wantEnded("the older one", t0, own[0])
		e.wantActive("the newest", t0, own[1])
	}},

	{"Revocations/KeepNewest/counts only active refresh tokens, and does not change ended ones", func(e *env) {
		e.shop(domain.Settings{})
		marked := e.issue(token(6))[0]
		e.revokeScope(domain.Scope{TenantID: "acme", UserID: "ana"}, domain.ID{}, t0)
		expired := func(n int) domain.RefreshToken {
			t := token(n)
			t.ExpiresAt = t0
			return e.issue(t)[0]
		}
		revoked := func(n int) domain.RefreshToken {
			t := e.issue(token(n))[0]
			e.must(e.store.Revoke(e.Context(), "acme", t.ID, byRequest(t0), NewEvent()))
			return e.snapshot(t.ID).Token
		}
		ended := []domain.RefreshToken{expired(1), revoked(5)}
		ts := e.issue(token(2), token(3))
		ended = append(ended, expired(4), revoked(7))
		r := byRequest(t0)
		r.Reason = domain.RevokedByLimit
		e.must(e.store.KeepNewest(e.Context(), owner, 2, r, NewEvent()))
		e.wantActive("the two active ones", t0, ts...)
		for _, t := range ended {
			e.wantStored("dead already", t)
		}
		e.wantForgotten("marked before", marked)
	}},

	{keepOrdinals, func(e *env) {
		e.shop(domain.Settings{})
		expiring := func(n int, at time.Time) domain.RefreshToken {
			t := token(n)
			t.ExpiresAt = at
			return e.issue(t)[0]
		}
		final := t0.Add(-2 * domain.MaxClockSkew) // what expired by then has expired by every clock
		spared := e.issue(token(9))[0]
		ended := e.issue(token(1), token(12))
		spared.IssuedEpoch = e.revokeScope(domain.Scope{TenantID: "acme", UserID: "ana"}, spared.ID, t0)
		ended = append(ended, expiring(2, final))
		soon := expiring(8, t0.Add(tick))
		ended = append(ended, expiring(11, final.Add(-time.Hour)))
		lately := []domain.RefreshToken{expiring(3, final.Add(tick)), expiring(13, t0)}
		long := e.issue(token(7))[0]
		ended = append(ended, expiring(10, final.Add(-tick)))
		newest := e.issue(token(6))[0]
		alive := []domain.RefreshToken{spared, soon, long, newest}

		want := func(what string) {
			e.Helper()
			for _, t := range slices.Concat(alive, lately) {
				e.wantStored(what, t)
			}
			for _, t := range ended {
				e.wantForgotten(what, t)
			}
		}
		for _, keep := range []int{5, 4} {
			e.must(e.store.KeepNewest(e.Context(), owner, keep, byRequest(t0), NewEvent()))
			want(fmt.Sprintf("keeps %d", keep))
		}
		// By a clock that is behind, a refresh token that expired recently is exchanged and extended. It then counts in
		// the order of its issue.
		next := lately[0]
		next.ExpiresAt = t0.Add(time.Hour)
		e.must(e.store.Swap(e.Context(), lately[0], next, final, NewEvent()))
		alive, lately = append(alive, next), lately[1:]
		e.must(e.store.KeepNewest(e.Context(), owner, 5, byRequest(t0), NewEvent()))
		want("extended by a clock that is behind")
		r := byRequest(t0)
		e.must(e.store.KeepNewest(e.Context(), owner, 3, r,
			NewEvent())) // of spared, soon, the extended one, long and newest
		for i := range 2 {
			alive[i].RevokedAt, alive[i].RevokedReason = r.At, r.Reason
		}
		want("keeps 3")
	}},

	{keepMoving, func(e *env) {
		e.shop(domain.Settings{})
		hs := e.handles(2)
		behind := t0.Add(-domain.MaxClockSkew)
		for round := range 12 {
			marked := e.issue(token(10*round+1), token(10*round+2))
			e.revokeScope(domain.Scope{TenantID: "acme"}, domain.ID{}, t0)
			moving := token(10*round + 3)
			moving.ExpiresAt = behind.Add(tick)
			moving = e.issue(moving)[0]
			newest := e.issue(token(10*round + 4))[0]
			after, errs := moving, make([]error, 2)
			after.ExpiresAt = t0.Add(time.Hour)
			if round%2 == 0 { // another one before
				e.must(hs[0].KeepNewest(e.Context(), owner, 2, byRequest(t0), NewEvent()))
			}
			together(2, func(i int) {
				if i == 0 {
					errs[0] = hs[0].KeepNewest(e.Context(), owner, 2, byRequest(t0), NewEvent())
				} else {
					errs[1] = hs[1].Swap(e.Context(), moving, after, behind, NewEvent())
				}
			})
			e.must(errors.Join(errs...))
			e.wantStored("moved", after)
			e.wantStored("the newest", newest)
			for _, t := range marked {
				e.wantForgotten("marked", t)
			}
			e.must(hs[0].KeepNewest(e.Context(), owner, 1, byRequest(t0), NewEvent()))
			e.wantEnded("moved, and older", t0, after)
			e.wantStored("the newest, alone", newest)
		}
	}},

	// Concurrent issues may have equal ordinals: the greater id then counts. None is ended for one that returned before
	// it began.
	{"Revocations/KeepNewest/after many concurrent issues the newest are active, and no more", func(e *env) {
		e.shop(domain.Settings{})
		hs := e.handles(3)
		for round, keep := range []int{1, 3} {
			var clock atomic.Int64
			type login struct {
				began, returned int64
				t               domain.RefreshToken
				err             error
			}
			logins := make([]login, 48)
			together(8, func(caller int) {
				for i := caller; i < len(logins); i += 8 {
					l := login{began: clock.Add(1)}
					h := hs[i%3]
					if l.t, l.err = h.Insert(e.Context(), token(100*round+(i*29)%len(logins)+1)); l.err == nil {
						l.err = h.KeepNewest(e.Context(), owner, keep, byRequest(t0), NewEvent())
					}
					l.returned = clock.Add(1)
					logins[i] = l
				}
			})
			slices.SortFunc(logins, func(a, b login) int {
				return cmp.Or(cmp.Compare(b.t.Ordinal, a.t.Ordinal), bytes.Compare(b.t.ID[:], a.t.ID[:]))
			})
			for i, l := range logins {
				e.must(l.err)
				if i < keep {
					e.wantActive("one of the newest", t0, l.t)
					continue
				}
				e.wantEnded("an older one", t0, l.t)
				ending := 0 // newer ones that had not returned when it began
				for _, newer := range logins[:i] {
					if newer.returned > l.began {
						ending++
					}
				}
				if ending < keep {
					e.Errorf("%s: ended, though only %d newer ones overlapped it or began later, want %d", describe(l.t), ending, keep)
				}
			}
			e.revokeScope(domain.Scope{TenantID: "acme"}, domain.ID{}, t0)
		}
	}},
}

const (
	keepOrdinals = "Revocations/KeepNewest/takes the ordinal only of what has ended for good, and keeps the order"
	keepMoving   = "Revocations/KeepNewest/takes no ordinal from what is extended meanwhile by a clock that is behind"
)

// wantForgotten checks that the record of a refresh token that had ended for good at a KeepNewest is want, except for
// its ordinal.
func (e *env) wantForgotten(what string, want domain.RefreshToken) {
	e.Helper()
	got := e.snapshot(want.ID).Token
	if got.Ordinal == 0 {
		want.Ordinal = 0
	}
	e.wantSame(what, got, want)
}

// owner is the scope of ana's refresh tokens in acme's shop.
var owner = domain.Scope{TenantID: "acme", ApplicationID: "shop", UserID: "ana"}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
