package storagetest

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

var inserting = []clause{
	{"RefreshTokens/Insert/keeps every field", func(e *env) {
		e.shop(domain.Settings{})
		for range 3 { // to the epoch of the fixture
			e.revokeScope(domain.Scope{TenantID: "acme", UserID: "somebody else"}, domain.ID{}, t0)
		}
		e.issue(token(2))
		e.insert(fullToken())
		e.wantStored("inserted", fullToken())
	}},

	{"RefreshTokens/Insert/sets the epoch that the tenant has, whatever it is told", func(e *env) {
		e.shop(domain.Settings{})
		for epoch := range uint64(3) {
			t := token(int(epoch) + 1)
			t.IssuedEpoch = 1000
			if got := e.issue(t)[0].IssuedEpoch; got != epoch {
				e.Errorf("IssuedEpoch = %d, want %d", got, epoch)
			}
			e.revokeScope(domain.Scope{TenantID: "acme", ApplicationID: "shop"}, domain.ID{}, t0)
		}
	}},

	{"RefreshTokens/Insert/returns the record as it is stored, and a copy", func(e *env) {
		e.shop(domain.Settings{})
		e.issue(token(2))
		e.revokeScope(domain.Scope{TenantID: "acme"}, domain.ID{}, t0)
		in := activeToken()
		in.IssuedEpoch, in.Ordinal = 1000, 1000
		zone := time.FixedZone("elsewhere", 5*60*60)
		for _, at := range []*time.Time{&in.IssuedAt, &in.RotatedAt, &in.LastUsedAt, &in.ExpiresAt, &in.RecoveredAt} {
			*at = at.In(zone).Add(999 * time.Nanosecond)
		}
		want := activeToken()
		want.IssuedEpoch, want.Ordinal = 1, 2
		got := e.insert(in)
		e.wantSame("returned", got, want)
		e.wantStored("stored", got)
		in.Roles[0], in.Scopes[1] = "changed", "changed"
		e.wantSame("returned, after a change to what was handed in", got, want)
		got.Roles[1], got.Scopes[0] = "changed", "changed"
		e.wantStored("after a change to what was returned", want)
	}},

	{"RefreshTokens/Insert/keeps the instant of the original issue apart from that of the insert", func(e *env) {
		e.shop(domain.Settings{})
		want := token(1)
		want.IssuedAt, want.Ordinal = t0.Add(-1000*time.Hour-tick), 1
		e.wantSame("returned", e.insert(want), want)
		e.wantStored("stored", want)
	}},

	{"RefreshTokens/Insert/sets the ordinal above the greatest of the user in the application", func(e *env) {
		e.shop(domain.Settings{})
		e.application("acme", "bar", domain.Settings{})
		e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "other"}))
		e.application("other", "shop", domain.Settings{})
		for i, c := range []struct {
			tenantID, applicationID, userID string
			want                            int64
		}{
			{"acme", "shop", "ana", 1},
			{"acme", "shop", "ana", 2},
			{"acme", "shop", "bob", 1},
			{"acme", "bar", "ana", 1},
			{"other", "shop", "ana", 1},
			{"acme", "shop", "ana", 3},
			{"acme", "bar", "ana", 2},
			{"other", "shop", "ana", 2},
			{"acme", "shop", "bob", 2},
		} {
			t := tokenOf(100-i, c.tenantID, c.applicationID, c.userID) // descending ids
			t.Ordinal = 1000
			if got := e.issue(t)[0].Ordinal; got != c.want {
				e.Errorf("%s: ordinal %d, want %d", describe(t), got, c.want)
			}
		}
	}},

	{"RefreshTokens/Insert/counts in the ordinal what expired or is marked, and not what is revoked itself", func(e *env) {
		e.shop(domain.Settings{})
		next := 0
		wantOrdinal := func(what string, want int64, expiresAt time.Time) domain.RefreshToken {
			next++
			t := token(next)
			t.ExpiresAt = expiresAt
			t = e.issue(t)[0]
			if t.Ordinal != want {
				e.Errorf("%s: ordinal %d, want %d", what, t.Ordinal, want)
			}
			return t
		}
		day := t0.Add(24 * time.Hour)
		wantOrdinal("the first", 1, t0)
		wantOrdinal("after one that expired", 2, day)
		wantOrdinal("after an active one", 3, day)
		e.revokeScope(domain.Scope{TenantID: "acme", ApplicationID: "shop"}, domain.ID{}, t0)
		third := wantOrdinal("after marked ones", 4, day)
		fourth := wantOrdinal("after it", 5, day)
		e.must(e.store.Revoke(e.Context(), "acme", third.ID, byRequest(t0), NewEvent()))
		fifth := wantOrdinal("with one below the greatest revoked", 6, day)
		for _, t := range []domain.RefreshToken{fourth, fifth} {
			e.must(e.store.Revoke(e.Context(), "acme", t.ID, byRequest(t0), NewEvent()))
		}
		wantOrdinal("with the greatest two revoked, above the marked ones", 4, day)
	}},

	{"RefreshTokens/Insert/that starts after another one returned has the greater ordinal, at every handle", func(e *env) {
		e.shop(domain.Settings{})
		hs := e.handles(3)
		var clock atomic.Int64
		type insert struct {
			began, returned int64
			t               domain.RefreshToken
			err             error
		}
		all := make([]insert, 60)
		together(6, func(caller int) {
			for i := caller; i < len(all); i += 6 {
				began := clock.Add(1)
				t, err := hs[i%3].Insert(e.Context(), token((i*37)%len(all)+1))
				all[i] = insert{began, clock.Add(1), t, err}
			}
		})
		for _, b := range all {
			e.must(b.err)
			e.wantStored("stored", b.t)
			for _, a := range all {
				if a.returned < b.began && a.t.Ordinal >= b.t.Ordinal {
					e.Errorf("one that returned has ordinal %d, one that began after it %d, want a greater one",
						a.t.Ordinal, b.t.Ordinal)
				}
			}
		}
	}},

	{"RefreshTokens/Insert/without application or tenant is not found, and writes nothing", func(e *env) {
		e.shop(domain.Settings{})
		e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "other"}))
		for i, owner := range [][2]string{{"acme", "none"}, {"none", "shop"}, {"other", "shop"}} {
			t := tokenOf(i+1, owner[0], owner[1], "ana")
			e.wantInsert(describe(t), t, domain.ErrNotFound)
			_, err := e.store.Snapshot(e.Context(), t.ID)
			e.wantErr("Snapshot", err, domain.ErrNotFound)
		}
	}},

	{"RefreshTokens/Insert/with application or tenant inactive is not found, and writes nothing", func(e *env) {
		e.shop(domain.Settings{Active: new(false)})
		e.wantInsert("application inactive", token(1), domain.ErrNotFound)
		e.application("acme", "shop", domain.Settings{})
		e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "acme", Settings: domain.Settings{Active: new(false)}}))
		e.wantInsert("tenant inactive", token(1), domain.ErrNotFound)
		_, err := e.store.Snapshot(e.Context(), tokenID(1))
		e.wantErr("Snapshot", err, domain.ErrNotFound)
		e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "acme"}))
		e.insert(token(1))
	}},

	{"RefreshTokens/Insert/an id that exists is a duplicate, whatever its owner, and writes nothing", func(e *env) {
		e.shop(domain.Settings{})
		e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "other"}))
		e.application("other", "shop", domain.Settings{})
		stored := e.issue(token(1))[0]
		again := stored
		again.UserID, again.Roles = "bob", []string{"thief"}
		e.wantInsert("another user's", again, domain.ErrDuplicate)
		again.TenantID = "other"
		e.wantInsert("another tenant's", again, domain.ErrDuplicate)
		e.wantStored("after the duplicates", stored)
	}},

	{"RefreshTokens/Insert/the id of an ended one is a duplicate too", func(e *env) {
		e.shop(domain.Settings{})
		ts := e.issue(token(1), token(2), token(3))
		e.revokeScope(domain.Scope{TenantID: "acme"}, domain.ID{}, t0) // a mark covers 1
		ts[1] = token(4)
		ts[1].ExpiresAt = t0.Add(-time.Hour)
		e.issue(ts[1])
		ts[2] = e.issue(token(5))[0]
		e.must(e.store.Revoke(e.Context(), "acme", ts[2].ID, byRequest(t0), NewEvent()))
		for _, t := range ts {
			before := e.snapshot(t.ID)
			e.wantInsert(describe(t), t, domain.ErrDuplicate)
			e.wantSame("after the duplicate", e.snapshot(t.ID), before)
		}
	}},

	{"RefreshTokens/Insert/of many concurrent calls with one id exactly one succeeds", func(e *env) {
		e.shop(domain.Settings{})
		hs := e.handles(3)
		errs := make([]error, 30)
		together(len(errs), func(i int) {
			t := token(1)
			t.UserID = fmt.Sprint("user ", i)
			_, errs[i] = hs[i%3].Insert(e.Context(), t)
		})
		winner := e.wantOneWinner(errs, domain.ErrDuplicate)
		if got, want := e.snapshot(tokenID(1)).Token.UserID, fmt.Sprint("user ", winner); got != want {
			e.Errorf("stored is that of %q, want that of %q, whose Insert succeeded", got, want)
		}
	}},
}

// wantOneWinner checks that exactly one error is nil, the others loser, and returns its index.
func (e *env) wantOneWinner(errs []error, loser error) int {
	e.Helper()
	winner, wins := 0, 0
	for i, err := range errs {
		if err == nil {
			winner = i
			wins++
		} else {
			e.wantErr("a loser", err, loser)
		}
	}
	if wins != 1 {
		e.Errorf("%d of %d calls succeeded, want exactly one", wins, len(errs))
	}
	return winner
}

// endings are all ways in which a refresh token has just ended. Each function receives an active one that was issued at
// t0, and returns the instant at which it has ended.
var endings = []struct {
	name   string
	after  time.Duration // how long after t0 it ended, and why
	reason domain.EndReason
	end    func(*env, domain.RefreshToken) time.Time
}{
	{"expired this instant", 24 * time.Hour, domain.EndedByExpiry,
		func(_ *env, t domain.RefreshToken) time.Time { return t.ExpiresAt }},
	{"expired long ago", 24 * time.Hour, domain.EndedByExpiry,
		func(_ *env, t domain.RefreshToken) time.Time { return t.ExpiresAt.Add(1000 * time.Hour) }},
	{"revoked itself", 0, "revoked", func(e *env, t domain.RefreshToken) time.Time {
		e.must(e.store.Revoke(e.Context(), t.TenantID, t.ID, byRequest(t0), NewEvent()))
		return t0
	}},
	{"revoked itself in the future, by a clock that is ahead", time.Minute, "revoked",
		func(e *env, t domain.RefreshToken) time.Time {
			e.must(e.store.Revoke(e.Context(), t.TenantID, t.ID, byRequest(t0.Add(time.Minute)), NewEvent()))
			return t0
		}},
	{"covered by the tenant's mark", 0, "revoked", func(e *env, t domain.RefreshToken) time.Time {
		e.revokeScope(domain.Scope{TenantID: t.TenantID}, domain.ID{}, t0)
		return t0
	}},
	{"covered by the application's mark", 0, "revoked", func(e *env, t domain.RefreshToken) time.Time {
		e.revokeScope(domain.Scope{TenantID: t.TenantID, ApplicationID: t.ApplicationID}, domain.ID{}, t0)
		return t0
	}},
	{"covered by the user's mark", 0, "revoked", func(e *env, t domain.RefreshToken) time.Time {
		e.revokeScope(domain.Scope{TenantID: t.TenantID, UserID: t.UserID}, domain.ID{}, t0)
		return t0
	}},
	{"covered by the mark of user and application, made in the future", time.Minute, "revoked",
		func(e *env, t domain.RefreshToken) time.Time {
			e.revokeScope(domain.Scope{TenantID: t.TenantID, ApplicationID: t.ApplicationID, UserID: t.UserID},
				domain.ID{}, t0.Add(time.Minute))
			return t0
		}},
	{"its application deleted", 0, "deleted", func(e *env, t domain.RefreshToken) time.Time {
		e.must(DeleteApplication(e.Context(), e.store, t.TenantID, t.ApplicationID, t0))
		return t0
	}},
	{"its tenant deleted", 0, "deleted", func(e *env, t domain.RefreshToken) time.Time {
		e.must(DeleteTenant(e.Context(), e.store, t.TenantID, t0))
		return t0
	}},
}

// states are the states of a list.
var states = []domain.SessionState{domain.ActiveSessions, domain.EndedSessions, domain.AllSessions}

// listsOf returns the lists that contain t.
func listsOf(t domain.RefreshToken) []port.ListQuery {
	q := port.ListQuery{TenantID: t.TenantID, Limit: 999, Now: t0}
	user, application, both := q, q, q
	user.UserID, application.ApplicationID = t.UserID, t.ApplicationID
	both.UserID, both.ApplicationID = t.UserID, t.ApplicationID
	return []port.ListQuery{user, both, application, q}
}

// wantEnding checks that Find reports how t, which has ended in one way, has ended.
func (e *env) wantEnding(how string, t domain.RefreshToken, now time.Time) domain.Session {
	e.Helper()
	found, err := e.store.Find(e.Context(), t.TenantID, t.ID)
	e.must(err)
	stored := e.snapshot(t.ID).Token
	e.wantSame(how+": the record", found.Token, stored)
	for _, ending := range endings {
		if ending.name == how {
			want := domain.Ending{At: t0.Add(ending.after), Reason: ending.reason}
			got, ended := found.End(now)
			if e.wantSame(how+": the ending", got, want); !ended {
				e.Errorf("%s: it has not ended", how)
			}
		}
	}
	return found
}

// eachEnding runs check on a refresh token that has ended in each way, at an instant after that.
func eachEnding(e *env, check func(how string, t domain.RefreshToken, now time.Time)) {
	e.Helper()
	for i, ending := range endings {
		e.shop(domain.Settings{})
		t := e.issue(token(i + 1))[0]
		e.wantActive("before it is "+ending.name, t0, t)
		e.wantActive("an instant before it expires", t.ExpiresAt.Add(-tick), t)
		check(ending.name, t, ending.end(e, t))
	}
}

var reading = []clause{
	{"RefreshTokens/Find/keeps every field", func(e *env) {
		e.shop(domain.Settings{})
		want := activeToken()
		e.insert(want)
		got, err := e.store.Find(e.Context(), "acme", want.ID)
		e.must(err)
		e.wantSame("found", got, domain.Session{Token: want})
	}},

	{"RefreshTokens/Find/what is unknown or of another tenant is not found", func(e *env) {
		e.shop(domain.Settings{})
		e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "other"}))
		e.issue(token(1))
		_, err := e.store.Find(e.Context(), "other", tokenID(1))
		e.wantErr("of another tenant", err, domain.ErrNotFound)
		_, err = e.store.Find(e.Context(), "", tokenID(1))
		e.wantErr("of no tenant", err, domain.ErrNotFound)
		_, err = e.store.Find(e.Context(), "acme", tokenID(2))
		e.wantErr("unknown", err, domain.ErrNotFound)
	}},

	// An operator needs to know when and why.
	{findEnded, func(e *env) {
		eachEnding(e, func(how string, t domain.RefreshToken, now time.Time) {
			e.wantEnding(how, t, now)
		})
	}},

	{"RefreshTokens/Find/what is of an inactive application or tenant is found", func(e *env) {
		e.shop(domain.Settings{})
		t := e.issue(token(1))[0]
		e.application("acme", "shop", domain.Settings{Active: new(false)})
		e.wantActive("application inactive", t0, t)
		e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "acme", Settings: domain.Settings{Active: new(false)}}))
		e.wantActive("tenant inactive", t0, t)
	}},

	{"RefreshTokens/Snapshot/reads ended refresh tokens as stored, and only an unknown one is not found", func(e *env) {
		eachEnding(e, func(how string, t domain.RefreshToken, now time.Time) {
			s := e.snapshot(t.ID)
			if s.Alive(now) {
				e.Errorf("%s: Snapshot.Alive = true, want false", how)
			}
			t.RevokedAt, t.RevokedReason = s.Token.RevokedAt, s.Token.RevokedReason
			e.wantSame(how, s.Token, t)
		})
		_, err := e.store.Snapshot(e.Context(), tokenID(99))
		e.wantErr("unknown", err, domain.ErrNotFound)
	}},

	{"RefreshTokens/Snapshot/has the highest epoch of the marks that cover the token, and of no other", func(e *env) {
		e.shop(domain.Settings{})
		e.application("acme", "bar", domain.Settings{})
		t := e.issue(token(1))[0]
		if got := e.snapshot(t.ID).MarkEpoch; got != 0 {
			e.Errorf("without a mark: MarkEpoch = %d, want 0", got)
		}
		var want uint64
		for _, s := range []domain.Scope{
			{TenantID: "acme", ApplicationID: "shop"},
			{TenantID: "acme", UserID: "bob"},
			{TenantID: "acme", ApplicationID: "shop", UserID: "ana"},
			{TenantID: "acme", ApplicationID: "bar"},
			{TenantID: "acme", UserID: "ana"},
			{TenantID: "acme", ApplicationID: "bar", UserID: "ana"},
			{TenantID: "acme"},
			{TenantID: "acme", ApplicationID: "shop", UserID: "bob"},
			{TenantID: "acme", ApplicationID: "shop"}, // again: lower marks that cover it, too, remain
			{TenantID: "acme", ApplicationID: "bar", UserID: "bob"},
		} {
			if epoch := e.revokeScope(s, domain.ID{}, t0); s.Covers(t) {
				want = epoch
			}
			if got := e.snapshot(t.ID).MarkEpoch; got != want {
				e.Errorf("after %+v: MarkEpoch = %d, want %d", s, got, want)
			}
		}
	}},

	{"RefreshTokens/Snapshot/reports that application or tenant is deleted, and then has no policy", func(e *env) {
		for i, gone := range []func() error{
			func() error { return DeleteApplication(e.Context(), e.store, "acme", "shop", t0) },
			func() error { return DeleteTenant(e.Context(), e.store, "acme", t0) },
		} {
			e.shop(domain.Settings{})
			t := e.issue(token(i + 1))[0]
			if e.snapshot(t.ID).Deleted {
				e.Errorf("before: Deleted = true, want false")
			}
			e.must(gone())
			s := e.snapshot(t.ID)
			if !s.Deleted {
				e.Errorf("after: Deleted = false, want true")
			}
			e.wantSame("the policy of a deleted one", s.Policy, domain.Policy{})
		}
	}},

	{"RefreshTokens/Snapshot/has the policy in force, in every field", func(e *env) {
		e.must(SaveTenant(e.Context(), e.store, fullTenant()))
		e.must(SaveApplication(e.Context(), e.store, fullApplication()))
		t := e.issue(token(1))[0]
		e.wantSame("the policy", e.snapshot(t.ID).Policy, combined(fullTenant(), fullApplication()))
		a := fullApplication()
		a.Settings = zeroSettings()
		e.must(SaveApplication(e.Context(), e.store, a))
		e.wantSame("the policy", e.snapshot(t.ID).Policy, combined(fullTenant(), a))
	}},

	{"RefreshTokens/List/keeps every field", func(e *env) {
		e.shop(domain.Settings{})
		want := activeToken()
		e.insert(want)
		got := e.list(port.ListQuery{TenantID: "acme", UserID: "ana", Limit: 9, Now: t0})
		e.wantSame("listed", got.Sessions, []domain.Session{{Token: want}})
	}},

	{"RefreshTokens/List/goes by id from high to low, byte by byte", func(e *env) {
		e.shop(domain.Settings{})
		var want []domain.ID
		for _, first := range []byte{0x00, 0x01, 0x7f, 0x80, 0xff} {
			for _, last := range []byte{0x00, 0x7f, 0x80, 0xff} {
				t := token(1)
				t.ID[0], t.ID[15] = first, last
				want = append(want, t.ID)
			}
		}
		for i := range want { // inserted in another order
			t := token(1)
			t.ID = want[(i*7)%len(want)]
			e.insert(t)
		}
		slices.Reverse(want)
		got := e.list(port.ListQuery{TenantID: "acme", UserID: "ana", Limit: 99, Now: t0})
		e.wantSame("ids", ids(got.Sessions), want)
	}},

	{listPages, func(e *env) {
		e.shop(domain.Settings{})
		var want []domain.ID
		for i := 10; i > 0; i-- {
			want = append(want, e.issue(token(i))[0].ID)
		}
		for _, limit := range []int{1, 3, 5, 10, 11} {
			q := port.ListQuery{TenantID: "acme", UserID: "ana", Limit: limit, Now: t0}
			e.wantPages(fmt.Sprintf("pages of %d", limit), q, want, func(page port.Page, _ port.ListQuery) {
				if len(page.Sessions) > limit {
					e.Errorf("a page of %d, want at most %d", len(page.Sessions), limit)
				}
			})
		}
	}},

	// A page stays in memory as long as its client reads it, and a thousand refresh tokens may be of any size.
	{listBytes, func(e *env) {
		e.shop(domain.Settings{})
		var want []domain.ID
		for i := 24; i > 0; i-- {
			t := token(i)
			text := strings.Repeat("x", 100)
			switch i % 6 { // each text that counts is the only one of four refresh tokens
			case 0:
				t.Roles = []string{text, text + "y"}
			case 1:
				t.Scopes = []string{text + "y", text}
			case 2:
				t.Claims = domain.Object(`{"a":"` + text + text + `"}`)
			case 3:
				t.MetaData.Data = domain.Object(`{"a":"` + text + text + `"}`)
			case 4:
				t.MetaData.Device = domain.Device{Name: text, Type: text}
			case 5:
				t.MetaData.Device.Description = text + text
			}
			want = append(want, e.insert(t).ID)
		}
		for _, most := range []int{1, 200, 201, 500, 1_000, 100_000} {
			q := port.ListQuery{TenantID: "acme", UserID: "ana", Limit: 99, MaxBytes: most, Now: t0}
			e.wantPages(fmt.Sprintf("pages of %d bytes", most), q, want, func(page port.Page, _ port.ListQuery) {
				before := 0
				for _, t := range page.Sessions[:max(0, len(page.Sessions)-1)] {
					before += port.PageBytes(t.Token)
				}
				if before >= most {
					e.Errorf("a page continues after %d bytes, want it to end at %d", before, most)
				}
			})
		}
	}},

	// Rows cost the store time, selected or not: a user's ten thousand ended sessions must not stop it.
	{listRows, func(e *env) {
		e.shop(domain.Settings{})
		e.application("acme", "bar", domain.Settings{})
		var all, want, ofShop []domain.ID // descending
		for i := 30; i > 0; i-- {
			t := tokenOf(i, "acme", []string{"shop", "bar"}[i/4%2], "ana")
			ended := i%3 == 0 || i > 12 && i < 20 // with a run that is longer than a page
			if ended {
				t.ExpiresAt = t0
			}
			all = append(all, e.insert(t).ID)
			if ended {
				continue
			}
			if want = append(want, t.ID); t.ApplicationID == "shop" {
				ofShop = append(ofShop, t.ID)
			}
			e.insert(tokenOf(i+100, "acme", "shop", "bob"))
		}
		for _, rows := range []int{1, 2, 5, 29, 30, 31} {
			looked := func(page port.Page, q port.ListQuery) {
				n := 0
				for _, id := range all {
					if (q.Below.IsZero() || bytes.Compare(id[:], q.Below[:]) < 0) && bytes.Compare(id[:], page.Next[:]) >= 0 {
						n++
					}
				}
				if n > rows {
					e.Errorf("a page ends after %d rows were looked at, want at most %d", n, rows)
				}
			}
			q := port.ListQuery{TenantID: "acme", UserID: "ana", Limit: 99, MaxRows: rows, Now: t0}
			e.wantPages(fmt.Sprintf("pages of %d rows", rows), q, want, looked)
			q.Limit = 2
			e.wantPages(fmt.Sprintf("pages of 2 out of %d rows", rows), q, want, looked)
			q.ApplicationID = "shop"
			e.wantPages(fmt.Sprintf("pages of 2 out of %d rows, of an application", rows), q, ofShop, looked)
		}
	}},

	{listScope, func(e *env) {
		var all []domain.RefreshToken
		for _, tenant := range []string{"acme", "other"} {
			e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: tenant}))
			for _, app := range []string{"shop", "bar"} {
				e.application(tenant, app, domain.Settings{})
				for _, user := range []string{"ana", "bob"} {
					all = append(all, e.issue(tokenOf(len(all)+1, tenant, app, user))[0])
				}
			}
		}
		for _, s := range []domain.Scope{
			{TenantID: "acme", UserID: "ana"},
			{TenantID: "other", UserID: "bob"},
			{TenantID: "acme", ApplicationID: "shop", UserID: "ana"},
			{TenantID: "acme", ApplicationID: "none", UserID: "ana"},
			{TenantID: "none", UserID: "ana"},
			{TenantID: "acme", UserID: "shop"},
			{TenantID: "acme"},
			{TenantID: "other"},
			{TenantID: "none"},
			{TenantID: "acme", ApplicationID: "shop"},
			{TenantID: "other", ApplicationID: "bar"},
			{TenantID: "acme", ApplicationID: "ana"},
			{TenantID: "none", ApplicationID: "shop"},
			{},
		} {
			var want []domain.ID
			for _, t := range slices.Backward(all) {
				if s.Covers(t) {
					want = append(want, t.ID)
				}
			}
			got := e.list(port.ListQuery{
				TenantID: s.TenantID, UserID: s.UserID, ApplicationID: s.ApplicationID, Limit: 99, Now: t0,
			})
			e.wantSame(fmt.Sprintf("%+v", s), ids(got.Sessions), want)
		}
	}},

	{listStates, func(e *env) {
		eachEnding(e, func(how string, t domain.RefreshToken, now time.Time) {
			for _, q := range listsOf(t) {
				q.Now = now
				for _, state := range states {
					q.State = state
					shown := slices.Contains(ids(e.list(q).Sessions), t.ID)
					if want := state != domain.ActiveSessions; shown != want {
						e.Errorf("%s: in a list of state %q: %t, want %t", how, state, shown, want)
					}
				}
				q.Now = t0
				if how != "expired this instant" && how != "expired long ago" {
					continue // not active at t0 either
				}
				for _, state := range states {
					q.State = state
					shown := slices.Contains(ids(e.list(q).Sessions), t.ID)
					if want := state != domain.EndedSessions; shown != want {
						e.Errorf("before it is %s: in a list of state %q: %t, want %t", how, state, shown, want)
					}
				}
			}
		})
	}},

	{listEnded, func(e *env) {
		eachEnding(e, func(how string, t domain.RefreshToken, now time.Time) {
			want := e.wantEnding(how, t, now)
			for _, q := range listsOf(t) {
				q.State, q.Now = domain.EndedSessions, now
				for _, s := range e.list(q).Sessions {
					if s.Token.ID == t.ID {
						e.wantSame(how+", listed", s, want)
					}
				}
			}
		})
	}},

	{"RefreshTokens/List/ended refresh tokens do not use up the limit", func(e *env) {
		e.shop(domain.Settings{})
		ts := e.issue(token(1), token(2), token(3), token(4))
		e.must(e.store.Revoke(e.Context(), "acme", ts[3].ID, byRequest(t0), NewEvent()))
		expired := token(5)
		expired.ExpiresAt = t0
		e.issue(expired)
		got := e.list(port.ListQuery{TenantID: "acme", UserID: "ana", Limit: 2, Now: t0})
		e.wantSame("ids", ids(got.Sessions), []domain.ID{tokenID(3), tokenID(2)})
	}},
}

const (
	findEnded  = "RefreshTokens/Find/what has ended is found, with when and why"
	listScope  = "RefreshTokens/List/is of one tenant, of one user and of one application if they are named"
	listStates = "RefreshTokens/List/shows active, ended or all sessions, as of its instant"
	listEnded  = "RefreshTokens/List/shows what has ended as Find does, with when and why"
	listPages  = "RefreshTokens/List/pages with Below and Limit, without a gap and without a repetition"
	listBytes  = "RefreshTokens/List/ends a page with the refresh token that reaches MaxBytes, and continues after it"
	listRows   = "RefreshTokens/List/ends a page after MaxRows rows, ended ones included, and continues after them"
)

// wantPages reads q's pages to the end, checks that together they have the ids of want, and runs check on each.
func (e *env) wantPages(what string, q port.ListQuery, want []domain.ID, check func(port.Page, port.ListQuery)) {
	e.Helper()
	var got []domain.ID
	for {
		page := e.list(q)
		check(page, q)
		got = append(got, ids(page.Sessions)...)
		if page.Next.IsZero() {
			break
		}
		if !q.Below.IsZero() && bytes.Compare(page.Next[:], q.Below[:]) >= 0 {
			e.Fatalf("%s: the page below %v continues at %v", what, q.Below, page.Next)
		}
		q.Below = page.Next
	}
	e.wantSame(what, got, want)
}
