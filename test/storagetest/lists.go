package storagetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

const (
	listWide   = "RefreshTokens/List/of an application or a tenant ends its pages as that of a user does"
	listAgain  = "RefreshTokens/List/of what was deleted shows what it had, also once it is made again"
	listPurged = "RefreshTokens/List/what was purged is on none, and is not counted or found"
	listMoving = "RefreshTokens/List/pages miss nothing that stays, whatever comes and ends meanwhile"
	countSame  = "RefreshTokens/Count/counts what List shows on all pages together"
	countLimit = "RefreshTokens/Count/counts to Limit, and reports that there may be others"
	countRows  = "RefreshTokens/Count/ends after MaxRows rows, and reports that there may be others"
	countExact = "RefreshTokens/Count/reports that there may be others if and only if Limit or MaxRows ended it"
)

// crowd stores n refresh tokens of two users in two applications of acme, between those of another tenant. Every third,
// and a run of others, has expired at t0. It returns them from the highest id down.
func (e *env) crowd(n int) (all []domain.RefreshToken) {
	e.Helper()
	for _, tenant := range []string{"acme", "other"} {
		e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: tenant}))
		for _, app := range []string{"shop", "bar"} {
			e.application(tenant, app, domain.Settings{})
		}
	}
	for i := n; i > 0; i-- {
		t := tokenOf(2*i, "acme", []string{"shop", "bar"}[i/4%2], []string{"ana", "bob"}[i/2%2])
		t.Roles = []string{"clerk"}
		if i%3 == 0 || i > 12 && i < 20 {
			t.ExpiresAt = t0
		}
		all = append(all, e.insert(t))
		e.insert(tokenOf(2*i+1, "other", t.ApplicationID, t.UserID))
	}
	return all
}

// selected returns the ids of those that q selects.
func selected(q port.ListQuery, all []domain.RefreshToken) (want []domain.ID) {
	s := domain.Scope{TenantID: q.TenantID, ApplicationID: q.ApplicationID, UserID: q.UserID}
	for _, t := range all {
		if s.Covers(t) && q.State.Includes(q.Now.Before(t.ExpiresAt)) {
			want = append(want, t.ID)
		}
	}
	return want
}

// lookedAt returns those that a list reads.
func lookedAt(q port.ListQuery, all []domain.RefreshToken) []domain.ID {
	q.State = domain.AllSessions
	if q.UserID != "" {
		q.ApplicationID = ""
	}
	return selected(q, all)
}

var listing = []clause{
	{listWide, func(e *env) {
		all := e.crowd(30)
		for _, q := range listsOf(all[0]) {
			looked := lookedAt(q, all)
			for _, q.State = range states {
				for _, bounds := range [][2]int{{99, 1}, {99, 5}, {2, 7}, {3, 99}, {30, 30}, {1, 1}} {
					q.Limit, q.MaxRows = bounds[0], bounds[1]
					what := fmt.Sprintf("state %q of user %q, application %q: pages of %d out of %d rows", q.State, q.UserID,
						q.ApplicationID, q.Limit, q.MaxRows)
					e.wantPages(what, q, selected(q, all), func(page port.Page, q port.ListQuery) {
						n := 0
						for _, id := range looked {
							if (q.Below.IsZero() || bytes.Compare(id[:], q.Below[:]) < 0) && bytes.Compare(id[:], page.Next[:]) >= 0 {
								n++
							}
						}
						if n > q.MaxRows || len(page.Sessions) > q.Limit {
							e.Errorf("%s: a page of %d, after %d rows were looked at", what, len(page.Sessions), n)
						}
					})
				}
				q.Limit, q.MaxRows, q.MaxBytes = 99, unbounded, 1
				e.wantPages("pages of a byte", q, selected(q, all), func(port.Page, port.ListQuery) {})
			}
		}
	}},

	{listAgain, func(e *env) {
		for i, remove := range []func() error{
			func() error { return DeleteApplication(e.Context(), e.store, "acme", "shop", t0) },
			func() error { return DeleteTenant(e.Context(), e.store, "acme", t0) },
		} {
			e.shop(domain.Settings{})
			before := e.insert(tokenOf(2*i+1, "acme", "shop", "ana"))
			e.must(remove())
			check := func(what string, state domain.SessionState, t domain.RefreshToken, want bool) {
				e.Helper()
				for _, q := range listsOf(t) {
					q.State = state
					if got := slices.Contains(ids(e.list(q).Sessions), t.ID); got != want {
						e.Errorf("%s: in a list of state %q of user %q, application %q: %t, want %t", what, state, q.UserID,
							q.ApplicationID, got, want)
					}
				}
			}
			check("deleted", domain.ActiveSessions, before, false)
			check("deleted", domain.EndedSessions, before, true)
			check("deleted", domain.AllSessions, before, true)
			e.shop(domain.Settings{})
			after := e.insert(tokenOf(2*i+2, "acme", "shop", "ana"))
			for _, again := range []struct {
				t      domain.RefreshToken
				active bool
			}{{before, false}, {after, true}} {
				check("made again", domain.ActiveSessions, again.t, again.active)
				check("made again", domain.EndedSessions, again.t, !again.active)
				check("made again", domain.AllSessions, again.t, true)
			}
			found, err := e.store.Find(e.Context(), "acme", before.ID)
			e.must(err)
			ending, _ := found.End(t0.Add(time.Hour))
			e.wantSame("the ending of the earlier one", ending, domain.Ending{At: t0, Reason: "deleted"})
		}
	}},

	{listPurged, func(e *env) {
		e.shop(domain.Settings{})
		ts := e.issue(token(1), token(2), token(3))
		e.must(e.store.Revoke(e.Context(), "acme", ts[1].ID, byRequest(t0), NewEvent()))
		e.stamp()
		e.purgeAll(t0.Add(time.Hour), 2)
		_, err := e.store.Find(e.Context(), "acme", ts[1].ID)
		e.wantErr("Find", err, domain.ErrNotFound)
		for _, q := range listsOf(ts[1]) {
			q.State = domain.AllSessions
			e.wantSame("listed", ids(e.list(q).Sessions), []domain.ID{ts[2].ID, ts[0].ID})
			n, more, err := e.store.Count(e.Context(), bounded(q))
			if e.must(err); n != 2 || more {
				e.Errorf("counted %d, more = %t, want 2", n, more)
			}
		}
	}},

	{listMoving, func(e *env) {
		e.shop(domain.Settings{})
		var stay []domain.ID
		for i := 40; i > 0; i-- {
			stay = append(stay, e.insert(token(10*i)).ID)
			e.insert(token(10*i + 5))
		}
		hs := e.handles(2)
		ctx, stop := context.WithCancel(e.Context())
		var moving error
		var group sync.WaitGroup
		group.Go(func() { // revokes some, and issues others between and above them
			for i := 0; i < 400 && ctx.Err() == nil; i++ {
				end := hs[1].Revoke(e.Context(), "acme", tokenID(10*(i%40+1)+5), byRequest(t0), NewEvent())
				_, issue := hs[1].Insert(e.Context(), token(10*(i%50+1)+1+i/50))
				for _, err := range []error{end, issue} {
					if !errors.Is(err, domain.ErrNotFound) && !errors.Is(err, domain.ErrDuplicate) {
						moving = errors.Join(moving, err)
					}
				}
			}
		})
		for _, q := range listsOf(token(1)) {
			for q.Limit = 1; q.Limit < 40; q.Limit += 6 {
				seen := map[domain.ID]int{}
				for q.Below = (domain.ID{}); ; {
					page := e.list(q)
					for _, id := range ids(page.Sessions) {
						seen[id]++
					}
					if q.Below = page.Next; q.Below.IsZero() {
						break
					}
				}
				for _, id := range stay {
					if seen[id] != 1 {
						e.Errorf("pages of %d of user %q, application %q: %v was shown %d times, want once", q.Limit, q.UserID,
							q.ApplicationID, id, seen[id])
					}
				}
				for id, n := range seen {
					if n > 1 {
						e.Errorf("%v was shown %d times", id, n)
					}
				}
			}
		}
		stop()
		group.Wait()
		e.must(moving)
	}},

	{countSame, func(e *env) {
		all := e.crowd(30)
		for _, q := range listsOf(all[0]) {
			for _, q.State = range states {
				want := len(selected(q, all))
				q.Below, q.MaxBytes = all[15].ID, 1 // which Count ignores
				n, more, err := e.store.Count(e.Context(), bounded(q))
				if e.must(err); n != want || more {
					e.Errorf("state %q of user %q, application %q: counted %d, more = %t, want %d", q.State, q.UserID,
						q.ApplicationID, n, more, want)
				}
			}
		}
		none := port.ListQuery{TenantID: "none", State: domain.AllSessions, Limit: 9, Now: t0}
		if n, more, err := e.store.Count(e.Context(), bounded(none)); n != 0 || more || err != nil {
			e.Errorf("of no tenant: counted %d, more = %t, error %v, want none", n, more, err)
		}
	}},

	{countLimit, func(e *env) {
		all := e.crowd(30)
		for _, q := range listsOf(all[0]) {
			for _, q.State = range states {
				total := len(selected(q, all))
				for _, q.Limit = range []int{1, total - 1, total, total + 1} {
					if q.Limit < 1 {
						continue
					}
					n, more, err := e.store.Count(e.Context(), bounded(q))
					if e.must(err); n != min(total, q.Limit) || !more && total > q.Limit {
						e.Errorf("state %q of user %q, application %q, limit %d of %d: counted %d, more = %t", q.State, q.UserID,
							q.ApplicationID, q.Limit, total, n, more)
					}
				}
			}
		}
	}},

	{countRows, func(e *env) {
		all := e.crowd(30)
		for _, q := range listsOf(all[0]) {
			looked := lookedAt(q, all)
			for _, q.State = range states {
				for _, q.MaxRows = range []int{1, 5, len(looked) - 1, len(looked), len(looked) + 1} {
					want := 0
					within := looked[:min(len(looked), q.MaxRows)]
					for _, id := range selected(q, all) {
						if slices.Contains(within, id) {
							want++
						}
					}
					n, more, err := e.store.Count(e.Context(), bounded(q))
					if e.must(err); n != want || !more && q.MaxRows < len(looked) {
						e.Errorf("state %q of user %q, application %q, %d rows of %d: counted %d, more = %t, want %d", q.State,
							q.UserID, q.ApplicationID, q.MaxRows, len(looked), n, more, want)
					}
				}
			}
		}
	}},

	{countExact, func(e *env) {
		all := e.crowd(30)
		for _, q := range listsOf(all[0]) {
			looked := len(lookedAt(q, all))
			for _, q.State = range states {
				total := len(selected(q, all))
				for _, q.Limit = range []int{max(1, total-1), max(1, total), total + 1} {
					for _, q.MaxRows = range []int{looked - 1, looked, looked + 1} {
						want := q.MaxRows < looked || q.Limit < total
						_, more, err := e.store.Count(e.Context(), bounded(q))
						if e.must(err); more != want {
							e.Errorf("state %q of user %q, application %q, limit %d of %d, %d rows of %d: more = %t, want %t", q.State,
								q.UserID, q.ApplicationID, q.Limit, total, q.MaxRows, looked, more, want)
						}
					}
				}
			}
		}
	}},
}
