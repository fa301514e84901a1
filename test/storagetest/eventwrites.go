package storagetest

import (
	"fmt"
	"slices"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// eventWrite is a method that stores an event in the same step as its change.
type eventWrite struct {
	name string
	// prepare creates what write needs.
	prepare func(e *env)
	// write runs the method, and returns its version or epoch, or 0 if it returns none.
	write func(e *env, s port.Store, one domain.Event) (uint64, error)
	// refused is a call that writes nothing, and err its error.
	refused func(e *env, s port.Store, one domain.Event) error
	err     error
	// stored is the event of write as it is read.
	stored func(one domain.Event) domain.Event
	// state is everything that write changes.
	state func(e *env) any
}

// record returns the state of refresh token 1.
func record(e *env) any { return e.snapshot(tokenID(1)).Token }

// naming returns an event with these refresh tokens of ana in the shop.
func naming(ns ...int) func(domain.Event) domain.Event {
	return func(one domain.Event) domain.Event {
		for _, n := range ns {
			one.Tokens = append(one.Tokens, domain.EndedToken{ID: tokenID(n), ApplicationID: "shop", UserID: "ana"})
		}
		return one
	}
}

// ofOne returns an eventWrite for one refresh token of ana.
func ofOne(name string, err error, write, refused func(e *env, s port.Store, one domain.Event) error) eventWrite {
	return eventWrite{
		name: name, err: err, refused: refused, stored: naming(1), state: record,
		prepare: func(e *env) {
			e.shop(domain.Settings{})
			e.insert(token(1))
		},
		write: func(e *env, s port.Store, one domain.Event) (uint64, error) { return 0, write(e, s, one) },
	}
}

func eventWrites() []eventWrite { return slices.Concat(tokenWrites(), versionedWrites()) }

func tokenWrites() []eventWrite {
	revokeScope := func(except domain.ID) func(e *env, s port.Store, one domain.Event) (uint64, error) {
		return func(e *env, s port.Store, one domain.Event) (uint64, error) {
			return s.RevokeScope(e.Context(), domain.Scope{TenantID: "acme", UserID: "ana"}, except, byRequest(t0), one)
		}
	}
	twoTokens := func(e *env) {
		e.shop(domain.Settings{})
		e.issue(token(1), token(2))
	}
	twoRecords := func(e *env) any {
		return []domain.Snapshot{e.snapshot(tokenID(1)), e.snapshot(tokenID(2))}
	}
	epochOne := func(one domain.Event) domain.Event {
		one.Version = 1
		return one
	}
	swap := func(e *env, s port.Store, generation uint32, one domain.Event) error {
		before, after := token(1), token(1)
		before.Generation = generation
		after.RecoveredAt, after.RecoveryPaidUntil, after.LastUsedAt = t0, 11, t0
		return s.Swap(e.Context(), before, after, t0, one)
	}
	rebind := func(e *env, s port.Store, binding string, one domain.Event) error {
		before, after := token(1), token(1)
		before.Binding, after.Binding = binding, "new"
		return s.Rebind(e.Context(), before, after, t0, one)
	}
	change := func(e *env, s port.Store, one domain.Event, roles []string, ns ...int) error {
		var changes []domain.Change
		for _, n := range ns {
			before := token(n)
			before.Roles = roles
			changes = append(changes, domain.Change{Before: before, After: changed(before)})
		}
		return s.Change(e.Context(), "acme", changes, t0, one)
	}
	return []eventWrite{
		ofOne("Revocations/Revoke", domain.ErrNotFound, func(e *env, s port.Store, one domain.Event) error {
			return s.Revoke(e.Context(), "acme", tokenID(1), byRequest(t0), one)
		}, func(e *env, s port.Store, one domain.Event) error {
			return s.Revoke(e.Context(), "other", tokenID(1), byRequest(t0), one)
		}),
		{
			name: "Revocations/RevokeScope", prepare: twoTokens, stored: epochOne, state: twoRecords,
			write: revokeScope(domain.ID{}), err: domain.ErrNotFound,
			refused: func(e *env, s port.Store, one domain.Event) error {
				_, err := s.RevokeScope(e.Context(), domain.Scope{TenantID: "acme", ApplicationID: "none"}, domain.ID{},
					byRequest(t0), one)
				return err
			},
		},
		{
			name: "Revocations/RevokeScope/with one spared", prepare: twoTokens, stored: epochOne, state: twoRecords,
			write: revokeScope(tokenID(2)), err: domain.ErrNotFound,
			refused: func(e *env, s port.Store, one domain.Event) error {
				_, err := revokeScope(tokenID(99))(e, s, one)
				return err
			},
		},
		{
			name: "Revocations/KeepNewest", prepare: twoTokens, stored: naming(1), state: twoRecords,
			write: func(e *env, s port.Store, one domain.Event) (uint64, error) {
				return 0, s.KeepNewest(e.Context(), anaInShop, 1, byRequest(t0), one)
			},
			refused: func(e *env, s port.Store, one domain.Event) error {
				return s.KeepNewest(e.Context(), anaInShop, 2, byRequest(t0), one) // ends none
			},
		},
		ofOne("RefreshTokens/Swap", domain.ErrConflict, func(e *env, s port.Store, one domain.Event) error {
			return swap(e, s, 1, one)
		}, func(e *env, s port.Store, one domain.Event) error {
			return swap(e, s, 2, one)
		}),
		ofOne("RefreshTokens/Rebind", domain.ErrConflict, func(e *env, s port.Store, one domain.Event) error {
			return rebind(e, s, "", one)
		}, func(e *env, s port.Store, one domain.Event) error {
			return rebind(e, s, "another", one)
		}),
		ofOne("RefreshTokens/Change", domain.ErrConflict, func(e *env, s port.Store, one domain.Event) error {
			return change(e, s, one, nil, 1)
		}, func(e *env, s port.Store, one domain.Event) error {
			return change(e, s, one, []string{"other"}, 1)
		}),
		{
			name: "RefreshTokens/Change/of two", prepare: twoTokens, stored: naming(1, 2), state: twoRecords,
			write: func(e *env, s port.Store, one domain.Event) (uint64, error) {
				return 0, change(e, s, one, nil, 2, 1)
			},
			err: domain.ErrConflict,
			refused: func(e *env, s port.Store, one domain.Event) error {
				return change(e, s, one, nil, 1, 99)
			},
		},
		{
			name: "KeyChanges/ChangeKeys", err: domain.ErrStale,
			prepare: func(e *env) { e.add(tokenKey(1)) },
			write: func(e *env, s port.Store, one domain.Event) (uint64, error) {
				named := tokenKey(1)
				named.Name, named.Revision = "another", 1
				c := port.KeyChange{Add: []domain.SealedKey{tokenKey(2)}, Replace: []domain.SealedKey{named}}
				return 0, s.ChangeKeys(e.Context(), one, c)
			},
			refused: func(e *env, s port.Store, one domain.Event) error {
				unknown := tokenKey(3)
				unknown.Revision = 1
				return s.ChangeKeys(e.Context(), one, port.KeyChange{Replace: []domain.SealedKey{unknown}})
			},
			stored: naming(), state: everyKey,
		},
		{
			name: "KeyChanges/TurnCheck", err: domain.ErrConflict,
			prepare: func(e *env) { e.add(checkKey("one")) },
			write: func(e *env, s port.Store, one domain.Event) (uint64, error) {
				after := checkKey("two")
				after.Sealed = "again"
				return 0, s.TurnCheck(e.Context(), one, checkKey("one"), after)
			},
			refused: func(e *env, s port.Store, one domain.Event) error {
				before := checkKey("one")
				before.Sealed = "another"
				return s.TurnCheck(e.Context(), one, before, checkKey("two"))
			},
			stored: naming(), state: everyKey,
		},
		{
			name: "Keys/AddKeys", err: domain.ErrDuplicate,
			prepare: func(*env) {},
			write: func(e *env, s port.Store, one domain.Event) (uint64, error) {
				return 0, s.AddKeys(e.Context(), one, tokenKey(2), fullSealedKey())
			},
			refused: func(e *env, s port.Store, one domain.Event) error {
				return s.AddKeys(e.Context(), one, tokenKey(2), tokenKey(3), tokenKey(2))
			},
			stored: naming(), state: everyKey,
		},
	}
}

// everyKey returns all keys.
func everyKey(e *env) any {
	keys, err := sealedKeys(e.Context(), e.store)
	e.must(err)
	return keys
}

var anaInShop = domain.Scope{TenantID: "acme", ApplicationID: "shop", UserID: "ana"}

// The promises of each of them about its event.
const (
	eventWith = "/stores its event with what it writes"
	eventSets = "/sets the version and the refresh tokens of its event, whatever the caller has set"
	eventNone = "/stores no event where it writes nothing"
	eventOnce = "/twice with one event is one write"
	eventMany = "/of many concurrent calls with one event one writes, and all return the same"
)

// eventClauses returns five clauses for each.
func eventClauses() (all []clause) {
	for _, w := range eventWrites() {
		all = append(all, w.with(), w.sets(), w.none(), w.once(), w.concurrently())
	}
	return all
}

func (w eventWrite) with() clause {
	return clause{w.name + eventWith, func(e *env) {
		w.prepare(e)
		e.knownEvents()
		before := w.state(e)
		other := e.handle()
		_, err := w.write(e, other, fullEvent(1))
		e.must(err)
		e.must(other.Close()) // and the write is stored
		e.wantEvents("stored", w.stored(fullEvent(1)))
		if sameState(before, w.state(e)) {
			e.Errorf("nothing was written")
		}
	}}
}

func (w eventWrite) sets() clause {
	return clause{w.name + eventSets, func(e *env) {
		w.prepare(e)
		e.knownEvents()
		_, err := w.write(e, e.store, presumptuous(event(1)))
		e.must(err)
		e.wantEvents("stored", w.stored(event(1)))
	}}
}

// presumptuous returns an event with a version and refresh tokens, which the store sets.
func presumptuous(one domain.Event) domain.Event {
	one.Version, one.Tokens = 77, []domain.EndedToken{{ID: tokenID(98), ApplicationID: "bar", UserID: "eve"}}
	return one
}

func (w eventWrite) none() clause {
	return clause{w.name + eventNone, func(e *env) {
		w.prepare(e)
		e.knownEvents()
		before := w.state(e)
		e.wantErr("a call that is refused", w.refused(e, e.store, event(1)), w.err)
		e.wantEvents("after it")
		e.wantSame("what is stored after it", w.state(e), before)
		_, err := w.write(e, e.store, event(1)) // its event is not stored, so it is not a repeated call
		e.must(err)
		e.wantEvents("after one that is not", w.stored(event(1)))
	}}
}

func (w eventWrite) once() clause {
	return clause{w.name + eventOnce, func(e *env) {
		w.prepare(e)
		e.knownEvents()
		hs := e.handles(3)
		first, err := w.write(e, hs[0], event(1))
		e.must(err)
		after := w.state(e)
		for i, h := range hs {
			again, err := w.write(e, h, event(1))
			e.must(err)
			if again != first {
				e.Errorf("again at handle %d: got %d, want %d as before", i, again, first)
			}
		}
		e.wantSame("what is stored after the same call again", w.state(e), after)
		e.wantEvents("after the same call again", w.stored(event(1)))
	}}
}

func (w eventWrite) concurrently() clause {
	return clause{w.name + eventMany, func(e *env) {
		w.prepare(e)
		e.knownEvents()
		hs := e.handles(3)
		results, errs := make([]uint64, 9), make([]error, 9)
		together(len(errs), func(i int) { results[i], errs[i] = w.write(e, hs[i%3], event(1)) })
		for i, err := range errs {
			if err != nil || results[i] != results[0] {
				e.Errorf("got %d, %v, want %d", results[i], err, results[0])
			}
		}
		e.wantEvents("afterwards", w.stored(event(1)))
	}}
}

func sameState(a, b any) bool { return fmt.Sprintf("%+v", a) == fmt.Sprintf("%+v", b) }
