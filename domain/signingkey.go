package domain

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// SigningKey is an unsealed key that signs access tokens.
type SigningKey struct {
	ID        string // `kid`
	TenantID  string // empty for a key that all tenants share
	Algorithm Algorithm
	Name      string
	CreatedAt time.Time
	KnownAt   time.Time // see [SealedKey], as the next three
	StartsAt  time.Time
	RetiredAt time.Time
	RevokedAt time.Time
	Private   Secret // PKCS #8, DER
}

// PrivateKey is a private key that was made elsewhere.
type PrivateKey struct {
	Private    Secret      // PKCS #8, DER
	Algorithms []Algorithm // those that it can sign with; not empty
	// ID and Algorithm are `kid` and `alg` of a JWK; empty if it has none. Algorithm is one of Algorithms.
	ID        string
	Algorithm Algorithm
}

// IsKeyID reports whether id has the form of a signing key's `kid`: 1 to 64 printable ASCII characters that JSON does
// not escape. It is in the header of each access token, and its length counts in [AccessTokenSize]. The store need not
// be asked for any other.
func IsKeyID(id string) bool {
	return id != "" && len(id) <= maxKeyID &&
		!strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`"\<>&`, r) })
}

// Published reports whether key sets contain the key: it is neither retired nor revoked.
func (k SigningKey) Published() bool { return k.RetiredAt.IsZero() && k.RevokedAt.IsZero() }

// publishedWithin is how long after its instant a key that was made, or that is said to be known, may be missing from a
// key set that a verifier has just read. The clock of the process that made it may be behind those of the verifiers by
// [MaxClockSkew], and a process publishes a key some seconds after its commit, which may itself take as long as a
// request.
const publishedWithin = 2 * MaxClockSkew

// known is the instant since which each new reading of the key set has contained the key, in every process and by every
// clock.
func (k SigningKey) known() time.Time {
	if k.KnownAt.IsZero() {
		return k.CreatedAt.Add(publishedWithin)
	}
	return k.KnownAt.Add(publishedWithin)
}

// start is the first instant at which the key can have been in use by its start.
func (k SigningKey) start() time.Time { return later(k.StartsAt, k.CreatedAt) }

// started reports whether the start of the key is at or before at.
func (k SigningKey) started(at time.Time) bool { return !k.StartsAt.After(at) }

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// SigningKeys are the signing keys of one tenant: its own, and those that all tenants share; retired and revoked ones
// included. The zero value holds none.
type SigningKeys struct {
	all         []SigningKey               // by algorithm, then in the order of precedes
	published   []SigningKey               // in the order of precedes
	byAlgorithm map[Algorithm][]SigningKey // the published ones, each in the order of precedes
	// standIn holds, for an algorithm, the instant of the last revocation of a key that signed: a key that was made
	// before it may sign before its start.
	standIn map[Algorithm]time.Time
	// youth is the end of the first minutes of a tenant whose tokens no shared key signed; zero if there is none.
	youth time.Time
}

// youthOf is how long after its first key a tenant has no verifiers yet: the keys of all algorithms that it needs may
// sign immediately, so that an import of tenants and applications works without a wait.
const youthOf = 10 * time.Minute

// NewSigningKeys returns a set of these keys, which belong to one tenant or are shared.
func NewSigningKeys(keys ...SigningKey) SigningKeys {
	ks := SigningKeys{
		all: slices.Clone(keys), byAlgorithm: make(map[Algorithm][]SigningKey), standIn: make(map[Algorithm]time.Time),
	}
	slices.SortFunc(ks.all, func(a, b SigningKey) int {
		return cmp.Or(cmp.Compare(a.Algorithm, b.Algorithm), precedes(a, b))
	})
	for _, k := range ks.all {
		if k.Published() {
			ks.published = append(ks.published, k)
			ks.byAlgorithm[k.Algorithm] = append(ks.byAlgorithm[k.Algorithm], k)
		}
	}
	slices.SortFunc(ks.published, precedes)
	ks.findStandIns()
	ks.findYouth()
	return ks
}

// findStandIns goes through the revoked keys by the instant of revocation. One counts if it had started, or if it was
// itself made before an earlier one that counts, so that it may have stood in for that.
func (ks SigningKeys) findStandIns() {
	var revoked []SigningKey
	for _, k := range ks.all {
		if !k.RevokedAt.IsZero() {
			revoked = append(revoked, k)
		}
	}
	slices.SortStableFunc(revoked, func(a, b SigningKey) int { return a.RevokedAt.Compare(b.RevokedAt) })
	for _, k := range revoked {
		if k.started(k.RevokedAt) || ks.standsIn(k) {
			ks.standIn[k.Algorithm] = k.RevokedAt
		}
	}
}

// standsIn reports whether the key may sign before its start because a key of its algorithm was revoked. A key that was
// made after the revocation may not: verifiers do not know it yet, and those of other algorithms are better.
func (ks SigningKeys) standsIn(k SigningKey) bool {
	last, ok := ks.standIn[k.Algorithm]
	return ok && !k.CreatedAt.After(last)
}

func (ks *SigningKeys) findYouth() {
	var first time.Time
	for _, k := range ks.all {
		if k.TenantID != "" && (first.IsZero() || k.CreatedAt.Before(first)) {
			first = k.CreatedAt
		}
	}
	if first.IsZero() {
		return
	}
	end := first.Add(youthOf)
	for _, k := range ks.published {
		if k.TenantID == "" && k.CreatedAt.Before(end) {
			return
		}
	}
	ks.youth = end
}

// SigningKeysOf returns the set of the signing keys among stored ones, without their content.
func SigningKeysOf(stored []SealedKey) SigningKeys {
	var keys []SigningKey
	for _, s := range stored {
		if s.Kind == KeySigning {
			keys = append(keys, s.Signing(Secret{}))
		}
	}
	return NewSigningKeys(keys...)
}

// precedes orders keys by which of two signs if both may: a tenant's own key before a shared one, then the key that
// starts later, then the key with the smaller id.
func precedes(a, b SigningKey) int {
	return cmp.Or(ownFirst(a, b), b.StartsAt.Compare(a.StartsAt), cmp.Compare(a.ID, b.ID))
}

// knownFirst orders keys by which of two signs if neither has started: the one that verifiers have known longer. By the
// starts, a key that is made now could sign immediately because it starts before one that is known.
func knownFirst(a, b SigningKey) int {
	return cmp.Or(a.known().Compare(b.known()), ownFirst(a, b), a.StartsAt.Compare(b.StartsAt), cmp.Compare(a.ID, b.ID))
}

func ownFirst(a, b SigningKey) int {
	switch aShared, bShared := a.TenantID == "", b.TenantID == ""; {
	case aShared == bShared:
		return 0
	case aShared:
		return 1
	default:
		return -1
	}
}

// SigningAt returns the key that signs at that instant what a policy wants signed with that algorithm. It is the first
// of these that exists:
//   - the newest key of the algorithm that has started,
//   - if one of the algorithm was revoked, the key of the algorithm that was made before and has been known longest,
//   - the newest key of any algorithm that has started,
//   - the key that has been known longest.
//
// So a change of the algorithm waits for the start of its key. Of several that have started the tenant's own comes
// before shared ones, and of two that start together the one with the smaller id. Retired and revoked keys never sign.
// The result depends on nothing else, so replicas agree. It returns false only if no key is published.
func (ks SigningKeys) SigningAt(wanted Algorithm, at time.Time) (SigningKey, bool) {
	for _, k := range ks.byAlgorithm[wanted] {
		if k.started(at) {
			return k, true
		}
	}
	if k, ok := firstOf(ks.byAlgorithm[wanted], ks.standsIn); ok {
		return k, true
	}
	for _, k := range ks.published {
		if k.started(at) {
			return k, true
		}
	}
	return firstOf(ks.published, func(SigningKey) bool { return true })
}

// firstOf returns the first, in the order of knownFirst, of the keys that may sign.
func firstOf(keys []SigningKey, may func(SigningKey) bool) (first SigningKey, ok bool) {
	for _, k := range keys {
		if may(k) && (!ok || knownFirst(k, first) < 0) {
			first, ok = k, true
		}
	}
	return first, ok
}

// Has reports whether a key of that algorithm is published, started or not.
func (ks SigningKeys) Has(a Algorithm) bool { return len(ks.byAlgorithm[a]) > 0 }

// All returns all keys, retired and revoked ones included. The caller must not change the slice.
func (ks SigningKeys) All() []SigningKey { return ks.all }

// Published returns the keys whose public half the tenant publishes. The caller must not change the slice.
func (ks SigningKeys) Published() []SigningKey { return ks.published }

// ByID returns the key of that id.
func (ks SigningKeys) ByID(id string) (SigningKey, bool) {
	i := slices.IndexFunc(ks.all, func(k SigningKey) bool { return k.ID == id })
	if i < 0 {
		return SigningKey{}, false
	}
	return ks.all[i], true
}

// with returns the set with k added, or replaced if it has a key of that id.
func (ks SigningKeys) with(k SigningKey) SigningKeys {
	keys := slices.DeleteFunc(slices.Clone(ks.all), func(other SigningKey) bool { return other.ID == k.ID })
	return NewSigningKeys(append(keys, k)...)
}
