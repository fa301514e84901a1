package storagetest

import (
	"fmt"
	"time"

	"github.com/refreshd/refreshd/domain"
)

const (
	rebindStores  = "RefreshTokens/Rebind/stores the binding and nothing else"
	rebindFits    = "RefreshTokens/Rebind/refuses another binding than it read"
	rebindEnded   = "RefreshTokens/Rebind/refuses an ended one and an unknown one"
	rebindOne     = "RefreshTokens/Rebind/of many concurrent calls with the same before one succeeds"
	rebindAdvance = "RefreshTokens/Rebind/keeps a concurrent Advance"
)

// bound returns t with that binding.
func bound(t domain.RefreshToken, binding string) domain.RefreshToken {
	t.Binding = binding
	return t
}

func (e *env) rebind(before, after domain.RefreshToken) error {
	return e.store.Rebind(e.Context(), before, after, t0, NewEvent())
}

var rebinding = []clause{
	{rebindStores, func(e *env) {
		e.shop(domain.Settings{})
		before := e.issue(activeToken())[0]
		after := changed(before)
		after.TenantID, after.ApplicationID, after.UserID, after.Binding = "other", "bar", "bob", "new key"
		after.Generation, after.Ordinal, after.IssuedEpoch = 98, 99, 97
		after.IssuedAt, after.RotatedAt, after.LastUsedAt = t0.Add(tick), t0.Add(2*tick), t0.Add(3*tick)
		after.ExpiresAt, after.RecoveredAt, after.RecoveryPaidUntil = t0.Add(time.Hour), time.Time{}, 0
		after.RevokedAt, after.RevokedReason, after.MetaData.ClientAddress = t0, domain.RevokedByRequest, "192.0.2.9"
		e.must(e.rebind(before, after))
		want := bound(before, "new key")
		e.wantStored("stored", want)
		// Only the binding is compared.
		e.must(e.rebind(bound(after, "new key"), bound(after, awkward)))
		e.wantStored("stored again", bound(want, awkward))
		e.must(e.rebind(bound(after, awkward), bound(after, "")))
		e.wantStored("unbound", bound(want, ""))
	}},

	{rebindFits, func(e *env) {
		e.shop(domain.Settings{})
		stored := e.issue(activeToken())[0]
		for _, binding := range []string{"", "Thumbprint", "thumbprint ", "new"} {
			e.wantErr(fmt.Sprintf("it read the binding %q", binding), e.rebind(bound(stored, binding), bound(stored, "new")),
				domain.ErrConflict)
			e.wantStored("after the refusal", stored)
		}
	}},

	{rebindEnded, func(e *env) {
		eachEnding(e, func(how string, t domain.RefreshToken, now time.Time) {
			before := e.snapshot(t.ID).Token
			err := e.store.Rebind(e.Context(), before, bound(before, "new"), now, NewEvent())
			e.wantErr(how, err, domain.ErrConflict)
			e.wantStored(how+": afterwards", before)
		})
		e.wantErr("unknown", e.rebind(token(99), bound(token(99), "new")), domain.ErrConflict)
	}},

	{rebindOne, func(e *env) {
		e.shop(domain.Settings{})
		hs := e.handles(3)
		before := e.issue(activeToken())[0]
		errs := make([]error, 30)
		together(len(errs), func(i int) {
			errs[i] = hs[i%3].Rebind(e.Context(), before, bound(before, fmt.Sprint("key ", i)), t0, NewEvent())
		})
		winner := e.wantOneWinner(errs, domain.ErrConflict)
		e.wantStored("stored", bound(before, fmt.Sprint("key ", winner)))
	}},

	{rebindAdvance, func(e *env) {
		e.shop(domain.Settings{})
		hs := e.handles(2)
		for i := range 25 {
			before := e.issue(token(i + 1))[0]
			var rebound, advanced error
			var want domain.RefreshToken
			together(2, func(j int) {
				if j == i%2 { // alternately the first
					rebound = hs[0].Rebind(e.Context(), before, bound(before, "new"), t0, NewEvent())
				} else {
					want, _, advanced = hs[1].Advance(e.Context(), before.ID, domain.Call{Generation: 1, Now: t0, Binding: "new"})
				}
			})
			e.must(rebound)
			e.must(advanced)
			e.wantStored("stored", bound(want, "new"))
		}
	}},
}
