package domain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	// tokenKeyLead is how long after it was made a token key starts: by then every process has read it.
	tokenKeyLead = 2 * time.Minute
	// tokenKeyEmergencyLead is the same in an emergency. Processes read keys every second, and one whose last reading is
	// older than three seconds reads before it mints.
	tokenKeyEmergencyLead = 5 * time.Second
)

// Accepts reports whether token strings of the key are accepted. No process that knows the end of the key accepts them,
// whatever its clock shows: it may be behind the one that ended the key.
func (k TokenKey) Accepts() bool { return k.RetiredAt.IsZero() && k.RevokedAt.IsZero() }

// Ended reports whether the key has ended at now. Until then it mints, so that a login which comes before the successor
// gets an answer.
func (k TokenKey) Ended(now time.Time) bool {
	return !k.RetiredAt.IsZero() && !now.Before(k.RetiredAt) || !k.RevokedAt.IsZero() && !now.Before(k.RevokedAt)
}

// mints reports whether the key mints from its start on. One that was revoked before it started never does. Any other
// stays in the order, retired and revoked ones included, so that a generation keeps its token string.
func (k TokenKey) mints() bool { return k.RevokedAt.IsZero() || k.StartsAt.Before(k.RevokedAt) }

// NextNumber returns the number of the key that is made next.
func (ks TokenKeys) NextNumber() uint32 {
	number := uint32(1)
	for _, k := range ks {
		number = max(number, k.Number+1)
	}
	return number
}

// NextStart returns the start of a key that is made at now: zero for the first.
func (ks TokenKeys) NextStart(now time.Time) time.Time {
	if len(ks) == 0 {
		return time.Time{}
	}
	return now.Add(tokenKeyLead)
}

// successor returns the start of the key that mints after k; Never if there is none.
func (ks TokenKeys) successor(k TokenKey) time.Time {
	first := Never
	for _, s := range ks {
		after := s.StartsAt.After(k.StartsAt) || s.StartsAt.Equal(k.StartsAt) && s.Number > k.Number
		if after && s.mints() && s.StartsAt.Before(first) {
			first = s.StartsAt
		}
	}
	return first
}

// Revocation returns when a revocation at now of the key of that number takes effect, and whether it needs a successor,
// to be made in the same write and to start then.
func (ks TokenKeys) Revocation(number uint32, now time.Time) (at time.Time, needsSuccessor bool) {
	at = now.Add(tokenKeyEmergencyLead)
	minting, _ := ks.MintingAt(at)
	return at, minting.Number == number
}

// RotationRange is the range of instants, From inclusive, To exclusive, of the last rotations of refresh tokens.
type RotationRange struct{ From, To time.Time }

// Ended returns the ranges of the revoked keys: a refresh token whose current token string one of them minted was last
// rotated in one of these, and must be ended. Those of keys that minted nothing are left out.
func (ks TokenKeys) Ended() (ended []RotationRange) {
	for _, k := range ks {
		if k.RevokedAt.IsZero() || !k.mints() {
			continue
		}
		if r := (RotationRange{From: k.StartsAt, To: ks.successor(k)}); r.From.Before(r.To) {
			ended = append(ended, r)
		}
	}
	slices.SortFunc(ended, func(a, b RotationRange) int { return a.From.Compare(b.From) })
	return ended
}

// checkUnused checks that the current token string of no active refresh token is of k. began is when the last complete
// pass of the janitor began, and oldest the smallest rotation instant of the refresh tokens that it saw active; zero if
// there was no pass, or if it saw none. Its error is an *UnsafeStep.
//
// A process whose clock is behind may still rotate with an instant before the start of the successor, so the pass must
// have begun later by more than clocks differ.
func (ks TokenKeys) checkUnused(k TokenKey, began, oldest time.Time) error {
	unsafe := unsafeRetirement(k)
	switch next := ks.successor(k); {
	case !next.Before(Never):
		unsafe.Why = "it mints token strings, or will: rotate first"
	case !next.Add(MaxClockSkew).Before(began):
		unsafe.Why = "no purge pass that began after the start of its successor has completed: wait for the next one"
	case !oldest.IsZero() && !next.Before(oldest):
		unsafe.Why = "refresh tokens that were last rotated before the start of its successor are still active"
	default:
		return nil
	}
	return unsafe
}

func unsafeRetirement(k TokenKey) *UnsafeStep {
	return &UnsafeStep{Step: fmt.Sprintf("retire key token-%d", k.Number)}
}

// FoundUnused returns the keys of which UnusedAt can be set to the present instant, because of what the pass saw. began
// and oldest are as in CheckRetire, and were read before.
func (ks TokenKeys) FoundUnused(began, oldest time.Time) (unused TokenKeys) {
	for _, k := range ks {
		if k.UnusedAt.IsZero() && k.RetiredAt.IsZero() && k.RevokedAt.IsZero() && ks.checkUnused(k, began, oldest) == nil {
			unused = append(unused, k)
		}
	}
	return unused
}

// CheckRetire checks that the key of that number may be retired: that no active refresh token needs it. began is when
// the last complete pass of the janitor began, and oldest the smallest rotation instant of the refresh tokens that it
// saw active; zero if there was no pass, or if it saw none. Its error is an *UnsafeStep.
//
// It takes two passes. After the first one each current token string is of a later key, and the key has its UnusedAt.
// But the previous one may still be of this key, and it is presented by a retry, or by a recovery days later. A refresh
// token that was rotated after UnusedAt has a previous one that was current then. The instant at which the first pass
// began would not do: a pass reads a refresh token that was rotated since, and does not see from which key.
func (ks TokenKeys) CheckRetire(number uint32, began, oldest time.Time) error {
	k, _ := ks.ByNumber(number)
	switch unused := k.UnusedAt.Add(MaxClockSkew); {
	case !k.mints():
		return nil
	case k.UnusedAt.IsZero():
		if err := ks.checkUnused(k, began, oldest); err != nil {
			return err
		}
	case unused.Before(began) && (oldest.IsZero() || unused.Before(oldest)):
		return nil
	}
	unsafe := unsafeRetirement(k)
	unsafe.Why = "it may have minted the previous token string of active refresh tokens, which a retry or a recovery " +
		"presents: wait until each was rotated once more; the key is then retired by itself"
	return unsafe
}

// DueToRetire returns the keys that CheckRetire allows to retire and that are neither retired nor revoked.
func (ks TokenKeys) DueToRetire(began, oldest time.Time) (due TokenKeys) {
	for _, k := range ks {
		if k.RetiredAt.IsZero() && k.RevokedAt.IsZero() && ks.CheckRetire(k.Number, began, oldest) == nil {
			due = append(due, k)
		}
	}
	return due
}

// HashKey hashes API keys and client secrets.
type HashKey struct {
	Number               uint32
	RetiredAt, RevokedAt time.Time
	Key                  Secret // zero if this process cannot open it
}

// HashKeys are the keys that hash API keys, in any order.
type HashKeys []HashKey

// maxHashKeys is the number of hash keys in use. Each look-up of an API key asks under all of them.
const maxHashKeys = 2

// Used returns the keys under which an API key is looked up: those that are neither retired nor revoked, the newest,
// which hashes new ones, first.
func (ks HashKeys) Used() HashKeys {
	used := slices.DeleteFunc(slices.Clone(ks),
		func(k HashKey) bool { return !k.RetiredAt.IsZero() || !k.RevokedAt.IsZero() })
	slices.SortFunc(used, func(a, b HashKey) int { return cmp.Compare(b.Number, a.Number) })
	return used
}

// Hashing returns the key that hashes.
func (ks HashKeys) Hashing() (HashKey, bool) {
	used := ks.Used()
	if len(used) == 0 {
		return HashKey{}, false
	}
	return used[0], true
}

// NextNumber returns the number of the key that is made next.
func (ks HashKeys) NextNumber() uint32 {
	number := uint32(1)
	for _, k := range ks {
		number = max(number, k.Number+1)
	}
	return number
}

// CheckAdd returns an *Invalid if another key may not be made before the oldest is retired.
func (ks HashKeys) CheckAdd() error {
	used := ks.Used()
	if len(used) < maxHashKeys {
		return nil
	}
	return NewInvalid("kind", Conflict,
		fmt.Sprintf("there are two keys of this kind already: retire api-%d first", used[len(used)-1].Number))
}

// CheckRetire checks that the key of that number may be retired, under which inUse API keys are stored, some of them
// with these names. The error is an *UnsafeStep if there are any, and an *Invalid for the key that hashes.
func (ks HashKeys) CheckRetire(number uint32, inUse int, names ...string) error {
	if hashing, ok := ks.Hashing(); ok && hashing.Number == number {
		return NewInvalid("", Conflict, "this key hashes API keys: rotate first")
	}
	if inUse == 0 {
		return nil
	}
	const mostNames = 10
	list := strings.Join(names[:min(len(names), mostNames)], ", ")
	if more := inUse - min(len(names), mostNames); more > 0 {
		list += fmt.Sprintf(" and %d more", more)
	}
	return &UnsafeStep{
		Step: fmt.Sprintf("retire key api-%d", number),
		Why: fmt.Sprintf("%d API keys and clients have not authenticated since its successor was made, and become "+
			"invalid: %s", inUse, list),
	}
}
