package storagetest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/refreshd/refreshd/domain"
)

const (
	changeStores  = "RefreshTokens/Change/stores its five fields and nothing else"
	changeFits    = "RefreshTokens/Change/refuses what was changed since in one of the five"
	changeAll     = "RefreshTokens/Change/stores all or none"
	changeEnded   = "RefreshTokens/Change/refuses an ended one, an unknown one and another tenant's"
	changeAdvance = "RefreshTokens/Change/and a concurrent Advance are both stored"
)

// changed returns t with another value in each field that a change stores.
func changed(t domain.RefreshToken) domain.RefreshToken {
	t.Roles, t.Scopes, t.Claims = []string{"clerk", "owner", "<auditor>"}, []string{"read"}, `{"plan":"pro"}`
	t.MetaData.Device = domain.Device{Name: "tablet", Type: "slate", Description: "the blue one"}
	t.MetaData.Data = `{"build":"8.0"}`
	return t
}

func (e *env) change(tenantID string, changes ...domain.Change) error {
	return e.store.Change(e.Context(), tenantID, changes, t0, NewEvent())
}

var changing = []clause{
	{changeStores, func(e *env) {
		e.shop(domain.Settings{})
		before := e.issue(activeToken())[0]
		want := changed(before)
		after := want
		after.ID, after.TenantID, after.ApplicationID, after.UserID = tokenID(9), "other", "bar", "bob"
		after.Generation, after.Ordinal, after.IssuedEpoch, after.Binding = 98, 99, 97, "another"
		after.IssuedAt, after.RotatedAt, after.LastUsedAt = t0.Add(tick), t0.Add(2*tick), t0.Add(3*tick)
		after.ExpiresAt, after.RecoveredAt, after.RecoveryPaidUntil = t0.Add(time.Hour), time.Time{}, 0
		after.RevokedAt, after.RevokedReason, after.MetaData.ClientAddress = t0, domain.RevokedByRequest, "192.0.2.9"
		e.must(e.change("acme", domain.Change{Before: before, After: after}))
		e.wantStored("stored", want)
		empty := want
		empty.Roles, empty.Scopes, empty.Claims = nil, nil, ""
		empty.MetaData.Device, empty.MetaData.Data = domain.Device{}, ""
		e.must(e.change("acme", domain.Change{Before: want, After: empty}))
		e.wantStored("emptied", empty)
		e.must(e.change("acme"))
		e.wantStored("after no change", empty)
	}},

	// A change must not restore a role that another administrator has just removed.
	{changeFits, func(e *env) {
		e.shop(domain.Settings{})
		stored := e.issue(activeToken())[0]
		for name, differ := range map[string]func(*domain.RefreshToken){
			"roles":              func(t *domain.RefreshToken) { t.Roles = t.Roles[:1] },
			"the order of roles": func(t *domain.RefreshToken) { t.Roles = []string{t.Roles[1], t.Roles[0]} },
			"scopes":             func(t *domain.RefreshToken) { t.Scopes = nil },
			"claims":             func(t *domain.RefreshToken) { t.Claims = "" },
			"a name":             func(t *domain.RefreshToken) { t.MetaData.Device.Name += " " },
			"a type":             func(t *domain.RefreshToken) { t.MetaData.Device.Type = "" },
			"a description":      func(t *domain.RefreshToken) { t.MetaData.Device.Description = "the Red one" },
			"data":               func(t *domain.RefreshToken) { t.MetaData.Data = `{"build": "7.1"}` },
		} {
			before := stored
			differ(&before)
			e.wantErr("it read other "+name, e.change("acme", domain.Change{Before: before, After: changed(before)}),
				domain.ErrConflict)
			e.wantStored("after the refusal", stored)
		}
	}},

	{"RefreshTokens/Change/compares nothing else", func(e *env) {
		e.shop(domain.Settings{})
		stored := e.issue(activeToken())[0]
		before := stored
		before.Generation, before.RotatedAt, before.LastUsedAt, before.ExpiresAt = 3, t0, t0, t0
		before.RecoveredAt, before.RecoveryPaidUntil, before.MetaData.ClientAddress = time.Time{}, 0, ""
		before.ApplicationID, before.UserID, before.Binding, before.Ordinal = "bar", "bob", "", 7
		e.must(e.change("acme", domain.Change{Before: before, After: changed(before)}))
		e.wantStored("stored", changed(stored))
	}},

	{changeEnded, func(e *env) {
		eachEnding(e, func(how string, t domain.RefreshToken, now time.Time) {
			before := e.snapshot(t.ID).Token
			e.wantErr(how, e.store.Change(e.Context(), t.TenantID, []domain.Change{{Before: before, After: changed(before)}},
				now, NewEvent()),
				domain.ErrConflict)
			e.wantStored(how+": afterwards", before)
		})
		e.wantErr("unknown", e.change("acme", domain.Change{Before: token(99), After: token(99)}), domain.ErrConflict)
		e.shop(domain.Settings{})
		e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "other"}))
		t := e.issue(token(98))[0]
		for _, tenant := range []string{"other", ""} {
			e.wantErr("of the tenant "+tenant, e.change(tenant, domain.Change{Before: t, After: changed(t)}), domain.ErrConflict)
		}
		e.wantStored("afterwards", t)
	}},

	{changeAll, func(e *env) {
		e.shop(domain.Settings{})
		e.application("acme", "bar", domain.Settings{})
		e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "other"}))
		e.application("other", "shop", domain.Settings{})
		ts := e.issue(token(3), tokenOf(1, "acme", "bar", "ana"), tokenOf(2, "acme", "shop", "bob"), token(4), token(5),
			tokenOf(6, "other", "shop", "ana"))
		all := func() (cs []domain.Change) {
			for _, t := range ts[:4] {
				cs = append(cs, domain.Change{Before: t, After: changed(t)})
			}
			return cs
		}
		refused := func(how string, c domain.Change) {
			for i := range 5 {
				e.wantErr(how, e.change("acme", slices.Insert(all(), i, c)...), domain.ErrConflict)
				for _, t := range ts[:4] {
					e.wantStored(how+": afterwards", t)
				}
			}
		}
		read := ts[4]
		read.Roles = []string{"auditor"}
		refused("one was changed since", domain.Change{Before: read, After: changed(read)})
		refused("one is unknown", domain.Change{Before: token(99), After: token(99)})
		refused("one is another tenant's", domain.Change{Before: ts[5], After: changed(ts[5])})
		e.must(e.store.Revoke(e.Context(), "acme", ts[4].ID, byRequest(t0), NewEvent()))
		refused("one is revoked", domain.Change{Before: ts[4], After: changed(ts[4])})
		refused("one is repeated", domain.Change{Before: ts[1], After: ts[1]})
		e.must(e.change("acme", all()...))
		for _, t := range ts[:4] {
			e.wantStored("all changed", changed(t))
		}
	}},

	{"RefreshTokens/Change/serves for a thousand", func(e *env) {
		e.shop(domain.Settings{})
		var changes []domain.Change
		for i := range 1_000 {
			t := e.insert(token(i + 1))
			after := changed(t)
			after.Roles = []string{fmt.Sprint("role ", i)}
			changes = append(changes, domain.Change{Before: t, After: after})
		}
		e.must(e.change("acme", changes...))
		for _, c := range changes {
			e.wantStored("changed", c.After)
		}
	}},

	{"RefreshTokens/Change/of many concurrent calls that read the same exactly one succeeds", func(e *env) {
		e.shop(domain.Settings{})
		hs := e.handles(3)
		ts := e.issue(token(1), token(2), token(3))
		errs := make([]error, 30)
		together(len(errs), func(i int) {
			var cs []domain.Change
			for _, t := range ts[:1+i%3] {
				after := t
				after.Roles = []string{fmt.Sprint("role ", i)}
				cs = append(cs, domain.Change{Before: t, After: after})
			}
			errs[i] = hs[i%3].Change(e.Context(), "acme", cs, t0, NewEvent())
		})
		winner := e.wantOneWinner(errs, domain.ErrConflict)
		for i, t := range ts {
			if i <= winner%3 {
				t.Roles = []string{fmt.Sprint("role ", winner)}
			}
			e.wantStored("afterwards", t)
		}
	}},

	// Two administrators each add a role to all of a user's sessions, in different orders: neither role is lost, and
	// neither call hangs.
	{"RefreshTokens/Change/that add to the same in different orders all succeed in the end", func(e *env) {
		e.shop(domain.Settings{})
		hs := e.handles(3)
		var all []domain.ID
		for i := range 8 {
			all = append(all, e.insert(token(i+1)).ID)
		}
		const adders = 6
		var mu sync.Mutex
		var failures []error
		together(adders, func(i int) {
			ids := slices.Clone(all)
			if i%2 == 0 {
				slices.Reverse(ids)
			}
			for range 1_000 {
				var cs []domain.Change
				var err error
				for _, id := range ids {
					found, missing := hs[i%3].Find(e.Context(), "acme", id)
					err = errors.Join(err, missing)
					after := found.Token
					after.Roles = append(slices.Clone(after.Roles), fmt.Sprint("role ", i))
					cs = append(cs, domain.Change{Before: found.Token, After: after})
				}
				if err == nil {
					err = hs[i%3].Change(e.Context(), "acme", cs, t0, NewEvent())
				}
				if !errors.Is(err, domain.ErrConflict) {
					mu.Lock()
					defer mu.Unlock()
					failures = append(failures, err)
					return
				}
			}
		})
		e.must(errors.Join(failures...))
		if len(failures) != adders {
			e.Errorf("%d of %d were done in the end", len(failures), adders)
		}
		for _, id := range all {
			if roles := e.snapshot(id).Token.Roles; len(roles) != adders {
				e.Errorf("got the roles %q, want one of each of %d", roles, adders)
			}
		}
	}},

	// A concurrent exchange keeps its rotation, and the change is stored.
	{changeAdvance, func(e *env) {
		e.shop(noGrace())
		hs := e.handles(2)
		for i := range 12 {
			ts := e.issue(token(3*i+1), token(3*i+2), token(3*i+3))
			var cs []domain.Change
			for _, t := range ts[:1+i%3] {
				cs = append(cs, domain.Change{Before: t, After: changed(t)})
			}
			const rotations = 5
			var changing error
			advancing := make([]error, len(ts))
			together(len(ts)+1, func(j int) {
				if j == len(ts) {
					changing = hs[0].Change(e.Context(), "acme", cs, t0, NewEvent())
					return
				}
				for g := range uint32(rotations) {
					_, _, err := hs[1].Advance(e.Context(), ts[j].ID, domain.Call{Generation: 1 + g, Now: t0})
					advancing[j] = errors.Join(advancing[j], err)
				}
			})
			e.must(errors.Join(append(advancing, changing)...))
			for j, t := range ts {
				want := t
				if j < len(cs) {
					want = changed(t)
				}
				for range rotations {
					want = want.Rotated(e.snapshot(t.ID).Policy, t0, "")
				}
				e.wantStored("afterwards", want)
			}
		}
	}},

	{"RefreshTokens/Change/is in what the next exchange gives", func(e *env) {
		e.shop(noGrace())
		for i, h := range e.handles(3) {
			t := e.issue(token(i + 1))[0]
			e.must(h.Change(e.Context(), "acme", []domain.Change{{Before: t, After: changed(t)}}, t0, NewEvent()))
			for _, other := range e.handles(3) {
				got, policy, err := other.Advance(e.Context(), t.ID, domain.Call{Generation: t.Generation, Now: t0})
				e.must(err)
				want := changed(t).Rotated(policy, t0, "")
				e.wantSame("advanced", got, want)
				e.wantSame("read", e.snapshot(t.ID).Token, want)
				t = got
			}
		}
	}},
}
