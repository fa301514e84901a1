package domain

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"time"
)

// MaxAccessTokenTTL is the longest lifetime of an access token that a policy can set.
const MaxAccessTokenTTL = 24 * time.Hour

// Limits of the signing keys of one tenant, and of those that all tenants share. Key sets are read by every verifier,
// and the keys of a tenant are in the memory of every process.
const (
	MaxPublishedKeys = 100
	MaxSigningKeys   = 500 // retired and revoked ones included
)

// CheckCount checks that the tenant itself, or all tenants together if the id is empty, may get another signing key
// because somebody asks for one. It returns an *Invalid. What the service makes by itself, and what replaces a revoked
// key, is not limited.
func (ks SigningKeys) CheckCount(tenantID string) error {
	published, all := 0, 0
	for _, k := range ks.all {
		if k.TenantID != tenantID {
			continue
		}
		all++
		if k.Published() {
			published++
		}
	}
	switch {
	case published >= MaxPublishedKeys:
		return NewInvalid("tenantId", TooMany, fmt.Sprintf("%d signing keys are published, which is the most that a tenant, "+
			"or all tenants together, may have: retire one first", published))
	case all >= MaxSigningKeys:
		return NewInvalid("tenantId", TooMany, fmt.Sprintf("%d signing keys are stored, retired and revoked ones included, "+
			"which is the most that a tenant, or all tenants together, may have: use another tenant, or rotate less often",
			all))
	}
	return nil
}

// KeyRules are the settings that the times of signing keys depend on.
type KeyRules struct {
	// CacheAge is the greatest age of the key sets that verifiers use, whatever `max-age` says.
	CacheAge time.Duration
	// Rotation is how long a key signs before its successor starts; 0 for until an operator rotates it.
	Rotation time.Duration
}

// scheduledLead is how long a key is published before a schedule starts it, at least.
const scheduledLead = 24 * time.Hour

// UnsafeStep is the error of a step that would make valid tokens invalid. An operator can force it. It is an ErrUnsafe.
type UnsafeStep struct {
	Step  string    // what was refused, such as `start key "k1"`
	Until time.Time // from when on the step is safe; zero if it does not become so by waiting
	Why   string    // what would happen
}

func (e *UnsafeStep) Error() string {
	if e.Until.IsZero() {
		return fmt.Sprintf("%s: not safe: %s", e.Step, e.Why)
	}
	return fmt.Sprintf("%s: not safe before %s: %s", e.Step, e.Until.UTC().Format(time.RFC3339), e.Why)
}

// Is reports whether target is ErrUnsafe.
func (e *UnsafeStep) Is(target error) bool { return target == ErrUnsafe }

// isKnown reports whether a verifier whose key set is not older than the cache age knows the key at that instant. Those
// of a tenant's first minutes count as known: see youthOf.
func (ks SigningKeys) isKnown(k SigningKey, at time.Time, cacheAge time.Duration) bool {
	return !k.known().Add(cacheAge).After(at) ||
		k.TenantID != "" && k.CreatedAt.Before(ks.youth) && k.start().Before(ks.youth)
}

// FirstStart returns the start of a key of the algorithm that is made at now for the tenant, or for all tenants if the
// id is empty, to be in use as soon as that is safe. It is zero, the beginning of time, if no key signs for the tenant,
// or if none is older than ten minutes and shared keys do not sign for it. It is never so for a shared key, because
// tenants may have keys that the set does not show; where there are none, the first key to start signs in any case.
func (ks SigningKeys) FirstStart(tenantID string, a Algorithm, now time.Time, r KeyRules) time.Time {
	if tenantID != "" && (len(ks.published) == 0 || now.Before(ks.youth) && !ks.Has(a)) {
		return time.Time{}
	}
	return ks.SafeStart(SigningKey{TenantID: tenantID, Algorithm: a, CreatedAt: now}, now, r)
}

// SafeStart returns the earliest instant, at or after now, at which k may start. k need not be in the set.
func (ks SigningKeys) SafeStart(k SigningKey, now time.Time, r KeyRules) time.Time {
	if k.TenantID != "" && now.Before(ks.youth) {
		return now
	}
	return later(now, k.known().Add(r.CacheAge))
}

// CheckStart checks that k may be added to the set, or replace the key of its id there, at now, with the start that it
// has. A start before now counts as now, and must be stored as now, unless it is zero. The error is an *UnsafeStep if a
// key would then sign that verifiers may not know, and an *Invalid if the key has started already: tokens may have been
// signed with it, and when they expire could not be determined any more.
func (ks SigningKeys) CheckStart(k SigningKey, now time.Time, r KeyRules) error {
	if old, ok := ks.ByID(k.ID); ok {
		switch {
		case !old.Published():
			return NewInvalid("startsInstant", Conflict, "the key is retired or revoked: make another one")
		case old.started(now) && !old.StartsAt.Equal(k.StartsAt):
			return NewInvalid("startsInstant", Conflict, "the key has started already: rotate to another one")
		case old.started(now):
			return nil
		}
	}
	if !k.StartsAt.IsZero() {
		k.StartsAt = later(k.StartsAt, now)
	}
	step := fmt.Sprintf("start key %q", k.ID)
	if safe := k.known().Add(r.CacheAge); k.TenantID == "" && later(k.StartsAt, now).Before(safe) {
		return &UnsafeStep{Step: step, Until: safe, Why: refusals(k, r)} // it may sign for tenants with keys of their own
	}
	return ks.checkStep(ks.with(k), step, now, r)
}

func refusals(k SigningKey, r KeyRules) string {
	return fmt.Sprintf("verifiers may use a key set that is %s old, which lacks key %q, and refuse what it signs",
		r.CacheAge, k.ID)
}

// checkStep checks that at no instant from now on, after the step to next, a key signs that a verifier may not know,
// whatever algorithm a policy wants. What happens without the step too does not count. Between the starts of two keys
// nothing changes, so it looks at the starts.
func (ks SigningKeys) checkStep(next SigningKeys, step string, now time.Time, r KeyRules) error {
	var unsafe *UnsafeStep
	for _, at := range next.startsFrom(now) {
		for _, a := range Algorithms {
			is, ok := next.SigningAt(a, at)
			was, before := ks.SigningAt(a, at)
			if !ok || !before || is.ID == was.ID || next.isKnown(is, at, r.CacheAge) {
				continue
			}
			until := is.known().Add(r.CacheAge)
			if unsafe == nil || until.After(unsafe.Until) {
				unsafe = &UnsafeStep{Step: step, Until: until, Why: refusals(is, r)}
			}
		}
	}
	if unsafe == nil {
		return nil
	}
	return unsafe
}

// startsFrom returns now and the later instants at which a published key starts, in order.
func (ks SigningKeys) startsFrom(now time.Time) []time.Time {
	at := []time.Time{now}
	for _, k := range ks.published {
		if !k.started(now) && k.StartsAt.Before(Never) {
			at = append(at, k.StartsAt)
		}
	}
	slices.SortFunc(at, time.Time.Compare)
	return slices.CompactFunc(at, time.Time.Equal)
}

// superseded returns the instant from which on k does not sign, as far as the stored starts show; Never if it may. k is
// in the set. Policies do not count: one that is changed back makes the newest key of an algorithm sign again.
func (ks SigningKeys) superseded(k SigningKey, now time.Time) time.Time {
	first := Never
	for _, s := range ks.published {
		if s.ID == k.ID || s.TenantID != k.TenantID && (s.TenantID != "" || k.started(now)) {
			continue // of another scope: it precedes k for some tenants, if at all
		}
		at := s.start()
		switch {
		case k.started(now) && precedes(s, k) > 0:
			continue
		case !k.started(now) && !s.started(now):
			continue
		case s.Algorithm == k.Algorithm:
		case k.TenantID == "":
			continue // tenants may have more keys of this algorithm than the set shows
		case k.started(now), ks.standsIn(k):
			continue
		}
		if at.Before(first) {
			first = at
		}
	}
	return first
}

// RetirableFrom returns from when on k, which is in the set, may be retired: everything that it signed has expired
// then, and a cache age has passed. It is zero for a key that has never signed, and Never if no other key supersedes k.
func (ks SigningKeys) RetirableFrom(k SigningKey, now time.Time, r KeyRules) time.Time {
	switch last := ks.superseded(k, now); {
	case !last.Before(Never):
		return Never
	case !k.started(now) && !last.After(k.CreatedAt):
		return time.Time{}
	default:
		return last.Add(MaxAccessTokenTTL + r.CacheAge)
	}
}

// CheckRetire checks that k, which is in the set, may be retired at now. Its error is an *UnsafeStep. The newest key of
// an algorithm that no policy names any more does not retire: an operator forces it.
func (ks SigningKeys) CheckRetire(k SigningKey, now time.Time, r KeyRules) error {
	step := fmt.Sprintf("retire key %q", k.ID)
	if !k.Published() {
		return NewInvalid("", Conflict, "the key is retired or revoked already")
	}
	from := ks.RetirableFrom(k, now, r)
	if !from.Before(Never) {
		return &UnsafeStep{Step: step,
			Why: "it signs, or may sign again, because no newer key of its algorithm has started: rotate first; or force " +
				"it if no policy names " + string(k.Algorithm) + ", " + (MaxAccessTokenTTL + r.CacheAge).String() +
				" after it last signed"}
	}
	if now.Before(from) {
		return &UnsafeStep{Step: step, Until: from,
			Why: "access tokens that it signed may not have expired, and verifiers refuse them without it"}
	}
	k.RetiredAt = now
	return ks.checkStep(ks.with(k), step, now, r)
}

// DueToRetire returns the keys of the tenant itself, or the shared ones if the id is empty, that are superseded and may
// be retired at now.
func (ks SigningKeys) DueToRetire(tenantID string, now time.Time, r KeyRules) (due []SigningKey) {
	for _, k := range ks.published {
		if k.TenantID == tenantID && k.started(now) && ks.CheckRetire(k, now, r) == nil {
			due = append(due, k)
		}
	}
	return due
}

// NeedsStandby reports whether the tenant itself, or all tenants together if the id is empty, lack the key that is
// published for the time after the one that signs with the algorithm now. An algorithm whose key has not started yet
// needs none.
func (ks SigningKeys) NeedsStandby(tenantID string, a Algorithm, now time.Time) bool {
	signs, ok := ks.SigningAt(a, now)
	return ok && signs.Algorithm == a && signs.TenantID == tenantID &&
		!slices.ContainsFunc(ks.byAlgorithm[a], func(k SigningKey) bool {
			return k.ID != signs.ID && k.TenantID == tenantID && !k.started(now)
		})
}

// ScheduledStart returns the start of a standby that is made at now: a rotation interval after the start of the key
// that signs, and never sooner than a day from now. Keys of a deployment that was set up on one day must not be made in
// one hour, so it is at an instant of that day (in UTC) that follows from tenant and algorithm.
func (ks SigningKeys) ScheduledStart(tenantID string, a Algorithm, now time.Time, r KeyRules) time.Time {
	if r.Rotation <= 0 {
		return Never
	}
	base := now
	if signs, ok := ks.SigningAt(a, now); ok && signs.Algorithm == a && signs.started(now) {
		base = signs.start()
	}
	const day = 24 * time.Hour
	sum := sha256.Sum256([]byte(string(a) + " " + tenantID))
	within := time.Duration(binary.BigEndian.Uint64(sum[:])%uint64(day/time.Second)) * time.Second
	least := now.Add(max(scheduledLead, publishedWithin+r.CacheAge))
	start := base.Add(r.Rotation).UTC().Truncate(day).Add(within)
	if start.Before(least) {
		if start = least.UTC().Truncate(day).Add(within); start.Before(least) {
			start = start.Add(day)
		}
	}
	return start
}

// Rescheduled returns the standbys of the tenant itself, or the shared ones for an empty id, with the starts that the
// setting of the rotation gives them: a schedule if they have none, and none if rotation is off. A start that is less
// than a day away stays: an operator may have chosen it.
func (ks SigningKeys) Rescheduled(tenantID string, now time.Time, r KeyRules) (moved []SigningKey) {
	for _, a := range Algorithms {
		signs, ok := ks.SigningAt(a, now)
		if !ok || signs.Algorithm != a || signs.TenantID != tenantID {
			continue
		}
		for _, k := range slices.Backward(ks.byAlgorithm[a]) {
			if k.ID == signs.ID || k.TenantID != tenantID || k.started(now) {
				continue
			}
			switch scheduled := k.StartsAt.Before(Never); {
			case !scheduled && r.Rotation > 0:
				k.StartsAt = ks.ScheduledStart(tenantID, a, now, r)
				moved = append(moved, k)
			case scheduled && r.Rotation <= 0 && k.StartsAt.After(now.Add(scheduledLead)):
				k.StartsAt = Never
				moved = append(moved, k)
			}
			break // of several, the first to start is the one that rotation takes
		}
	}
	return moved
}

// EffectiveAlgorithm returns the algorithm that signs now what a policy wants signed with that one. If they differ,
// until is when a key of the wanted one starts; zero if none will.
func (ks SigningKeys) EffectiveAlgorithm(wanted Algorithm, now time.Time) (effective Algorithm, until time.Time) {
	signs, ok := ks.SigningAt(wanted, now)
	if !ok || signs.Algorithm == wanted {
		return wanted, time.Time{}
	}
	for _, at := range ks.startsFrom(now) {
		if next, _ := ks.SigningAt(wanted, at); next.Algorithm == wanted {
			return signs.Algorithm, at
		}
	}
	return signs.Algorithm, time.Time{}
}

// NextStep returns the next instant after now at which, by the stored starts, another key signs; ok is false if there
// is none.
func (ks SigningKeys) NextStep(now time.Time) (at time.Time, ok bool) {
	for _, at := range ks.startsFrom(now)[1:] {
		for _, a := range Algorithms {
			was, _ := ks.SigningAt(a, now)
			if is, _ := ks.SigningAt(a, at); is.ID != was.ID {
				return at, true
			}
		}
	}
	return time.Time{}, false
}

// RefusalIn returns how long it is from now, by the stored starts, until a verifier may refuse a token that is signed
// then, because its key set may be as old as the cache age and lack the key that signs. It is 0 if such a verifier may
// refuse a token that is signed now; ok is false if this never happens.
func (ks SigningKeys) RefusalIn(now time.Time, cacheAge time.Duration) (in time.Duration, ok bool) {
	for _, at := range ks.startsFrom(now) {
		for a := range ks.byAlgorithm {
			if k, _ := ks.SigningAt(a, at); !ks.isKnown(k, at, cacheAge) {
				return at.Sub(now), true
			}
		}
	}
	return 0, false
}

// KeyState is what a key is used for at some instant.
type KeyState string

const (
	StateStandby   KeyState = "standby"   // published, to be used later
	StateActive    KeyState = "signing"   // the newest that has started
	StatePublished KeyState = "published" // superseded; what it made is still valid
	StateRetired   KeyState = "retired"
	StateRevoked   KeyState = "revoked"
)

// State returns the state of k, which is in the set.
func (ks SigningKeys) State(k SigningKey, now time.Time) KeyState {
	switch {
	case !k.RevokedAt.IsZero():
		return StateRevoked
	case !k.RetiredAt.IsZero():
		return StateRetired
	}
	if signs, _ := ks.SigningAt(k.Algorithm, now); signs.ID == k.ID {
		return StateActive
	}
	if !k.started(now) {
		return StateStandby
	}
	return StatePublished
}

// KeyMoment is one instant of the time line of a key. It has passed if At is not after the present.
type KeyMoment struct {
	At   time.Time
	What KeyMomentKind
}

// KeyMomentKind is what happens to a key at a moment.
type KeyMomentKind string

const (
	MomentMade       KeyMomentKind = "made"
	MomentKnown      KeyMomentKind = "known" // verifiers have the key: their key sets are not older than the cache age
	MomentStarts     KeyMomentKind = "starts"
	MomentSuperseded KeyMomentKind = "superseded"
	MomentRetirable  KeyMomentKind = "retirable"
	MomentRetired    KeyMomentKind = "retired"
	MomentRevoked    KeyMomentKind = "revoked"
)

// Timeline returns what has happened to k, which is in the set, and what will by the stored starts, by instant.
func (ks SigningKeys) Timeline(k SigningKey, now time.Time, r KeyRules) []KeyMoment {
	moments := []KeyMoment{{k.CreatedAt, MomentMade}, {k.known().Add(r.CacheAge), MomentKnown}}
	add := func(what KeyMomentKind, at time.Time) {
		if !at.IsZero() && at.Before(Never) {
			moments = append(moments, KeyMoment{at, what})
		}
	}
	add(MomentStarts, k.start())
	if k.Published() {
		if at := ks.superseded(k, later(now, k.StartsAt)); k.StartsAt.Before(Never) && at.Before(Never) {
			add(MomentSuperseded, later(at, k.start()))
			add(MomentRetirable, later(at, k.start()).Add(MaxAccessTokenTTL+r.CacheAge))
		}
	}
	add(MomentRetired, k.RetiredAt)
	add(MomentRevoked, k.RevokedAt)
	slices.SortStableFunc(moments, func(a, b KeyMoment) int { return a.At.Compare(b.At) })
	return moments
}
