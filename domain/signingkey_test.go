package domain_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/refreshd/refreshd/domain"
)

func TestSigningAt(t *testing.T) {
	at := func(s int) time.Time { return issued.Add(time.Duration(s) * time.Second) }
	zero := time.Time{}
	key := func(id, tenant string, starts time.Time) domain.SigningKey {
		return domain.SigningKey{ID: id, TenantID: tenant, Algorithm: domain.EdDSA, CreatedAt: at(-1000), StartsAt: starts}
	}
	of := func(a domain.Algorithm, k domain.SigningKey) domain.SigningKey { k.Algorithm = a; return k }
	retired := func(k domain.SigningKey, when time.Time) domain.SigningKey { k.RetiredAt = when; return k }
	revoked := func(k domain.SigningKey, when time.Time) domain.SigningKey { k.RevokedAt = when; return k }
	made := func(k domain.SigningKey, when time.Time) domain.SigningKey { k.CreatedAt = when; return k }
	own1, own2 := key("own1", "acme", at(0)), key("own2", "acme", at(100))
	shared1, shared2 := key("shared1", "", at(50)), key("shared2", "", at(200))
	type keys = []domain.SigningKey
	for _, tt := range []struct {
		rule string
		keys keys
		at   time.Time
		want string
	}{
		{"no key", nil, at(0), ""},
		{"from the beginning", keys{key("x", "acme", zero)}, at(-1_000_000), "x"},
		{"at its start", keys{own1, own2}, at(100), "own2"},
		{"the newest that has started", keys{own1, own2}, at(100).Add(-µs), "own1"},
		{"of two that start together the smaller id",
			keys{key("b", "acme", at(0)), key("a", "acme", at(0)), key("c", "acme", at(0))}, at(0), "a"},
		{"the tenant's own before a shared one that is newer", keys{own1, shared2}, at(300), "own1"},
		{"a shared one while the tenant's own has not started", keys{own2, shared1}, at(99), "shared1"},
		{"the newest of the shared ones", keys{shared1, shared2}, at(200), "shared2"},
		{"one of the algorithm before a newer one of another", keys{own1, of(domain.RS256, own2)}, at(300), "own1"},
		{"one of another algorithm that has started before one of the algorithm that has not",
			keys{own2, of(domain.RS256, own1)}, at(50), "own1"},
		{"the newest of other algorithms", keys{of(domain.RS256, own1), of(domain.ES256, own2)}, at(100), "own2"},
		{"the first to start if none has", keys{own2, of(domain.RS256, own1)}, at(-1), "own1"},
		{"the tenant's own first to start if none has", keys{own2, shared1}, at(-1), "own2"},
		{"a standby, after the key was revoked", keys{revoked(own1, at(10)), key("s", "acme", domain.Never)}, at(10), "s"},
		{"a standby, after the key was revoked, before one of another algorithm",
			keys{revoked(own1, at(10)), own2, of(domain.RS256, key("r", "acme", at(5)))}, at(10), "own2"},
		{"not a key that was made after the revocation, if another algorithm has one",
			keys{revoked(own1, at(10)), made(own2, at(11)), of(domain.RS256, key("r", "acme", at(5)))}, at(50), "r"},
		{"a standby made before, although one made later starts first",
			keys{revoked(own1, at(10)), made(own2, at(11)), key("s", "acme", domain.Never)}, at(50), "s"},
		{"the second standby, after the first stood in and was revoked too",
			keys{revoked(own1, at(10)), revoked(made(own2, at(0)), at(20)), made(key("s", "acme", domain.Never), at(5)),
				of(domain.RS256, key("r", "acme", at(5)))}, at(30), "s"},
		{"another algorithm's, if what was revoked had not started",
			keys{revoked(own2, at(10)), key("s", "acme", domain.Never), of(domain.RS256, own1)}, at(10), "own1"},
		{"no retired one, even for an earlier instant", keys{own1, retired(own2, at(150))}, at(120), "own1"},
		{"no revoked one, even for an earlier instant", keys{own1, revoked(own2, at(150))}, at(120), "own1"},
		{"none if all are revoked or retired", keys{retired(own1, at(1)), revoked(own2, at(150))}, at(120), ""},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			for range len(tt.keys) + 1 { // whatever their order
				got, ok := domain.NewSigningKeys(tt.keys...).SigningAt(domain.EdDSA, tt.at)
				if got.ID != tt.want || ok != (tt.want != "") {
					t.Errorf("got %q, %t, want %q", got.ID, ok, tt.want)
				}
				if len(tt.keys) > 0 {
					tt.keys = append(slices.Clone(tt.keys[1:]), tt.keys[0])
				}
			}
		})
	}
}

// keyHistory is a random history of the keys of one tenant, and of the shared ones.
type keyHistory struct {
	draw  draw
	rules domain.KeyRules
	force bool // steps are done although they are unsafe
	keys  []domain.SigningKey
	now   time.Time
	born  time.Time // when the first key was made
	// published holds since when and until when each key was in the key set.
	published map[string][2]time.Time
	signed    []signedAt
}

type signedAt struct {
	kid string
	at  time.Time
}

func (h *keyHistory) set() domain.SigningKeys { return domain.NewSigningKeys(h.keys...) }

// of returns the set that the use cases check a step with: all keys of the tenant, or the shared ones.
func (h *keyHistory) of(tenantID string) domain.SigningKeys {
	if tenantID != "" {
		return h.set()
	}
	return domain.NewSigningKeys(slices.DeleteFunc(slices.Clone(h.keys),
		func(k domain.SigningKey) bool { return k.TenantID != "" })...)
}

func (h *keyHistory) algorithm() domain.Algorithm {
	return []domain.Algorithm{domain.ES256, domain.EdDSA, domain.RS256}[h.draw(3)]
}

func (h *keyHistory) allowed(err error) bool {
	var invalid *domain.Invalid
	return err == nil || h.force && !errors.As(err, &invalid)
}

func (h *keyHistory) add(k domain.SigningKey) {
	h.keys = append(h.keys, k)
	h.published[k.ID] = [2]time.Time{h.now, domain.Never}
	if h.born.IsZero() {
		h.born = h.now
	}
}

// step does one random step if the rules allow it.
func (h *keyHistory) step() {
	tenantID := "acme"
	if h.draw(5) == 0 {
		tenantID = ""
	}
	set, a := h.of(tenantID), h.algorithm()
	k := domain.SigningKey{ID: fmt.Sprintf("k%03d", h.draw(1000)), TenantID: tenantID, Algorithm: a, CreatedAt: h.now}
	if _, taken := h.published[k.ID]; taken {
		return
	}
	start := h.now.Add([]time.Duration{0, 10 * time.Minute, h.rules.CacheAge, 30 * time.Hour}[h.draw(4)])
	switch h.draw(6) {
	case 0: // the first of its algorithm, as a change of the algorithm makes it
		if !set.Has(a) {
			k.StartsAt = set.FirstStart(tenantID, a, h.now, h.rules)
			h.add(k)
		}
	case 1: // a standby
		if set.NeedsStandby(tenantID, a, h.now) {
			k.StartsAt = set.ScheduledStart(tenantID, a, h.now, h.rules)
			h.add(k)
		}
	case 2: // with a start of the operator's choice
		if k.StartsAt = start; h.draw(3) == 0 {
			k.StartsAt = domain.Never
		}
		if h.allowed(set.CheckStart(k, h.now, h.rules)) {
			h.add(k)
		}
	case 3: // another start
		if i := h.draw(len(h.keys) + 1); i < len(h.keys) {
			set, k = h.of(h.keys[i].TenantID), h.keys[i]
			if k.StartsAt = start; h.draw(2) == 0 {
				k.StartsAt = set.SafeStart(k, h.now, h.rules)
			}
			if h.allowed(set.CheckStart(k, h.now, h.rules)) {
				h.keys[i] = k
			}
		}
	default:
		if i := h.draw(len(h.keys) + 1); i < len(h.keys) {
			set, k = h.of(h.keys[i].TenantID), h.keys[i]
			if h.allowed(set.CheckRetire(k, h.now, h.rules)) {
				h.keys[i].RetiredAt = h.now
				h.published[k.ID] = [2]time.Time{h.published[k.ID][0], h.now}
			}
		}
	}
}

// holds runs a history, and checks every token with the key sets that verifiers may have.
func (h *keyHistory) holds() error {
	h.now, h.published = issued, make(map[string][2]time.Time)
	for range 40 {
		for range 1 + h.draw(3) {
			h.step()
		}
		set := h.set()
		other := slices.Clone(h.keys)
		for i := range other {
			j := h.draw(i + 1)
			other[i], other[j] = other[j], other[i]
		}
		for _, a := range domain.Algorithms {
			k, ok := set.SigningAt(a, h.now)
			if same, _ := domain.NewSigningKeys(other...).SigningAt(a, h.now); same.ID != k.ID {
				return fmt.Errorf("replicas sign with %q and %q", k.ID, same.ID)
			}
			if ok {
				h.signed = append(h.signed, signedAt{k.ID, h.now})
			}
		}
		h.now = h.now.Add([]time.Duration{time.Second, time.Minute, 9 * time.Minute, 35 * time.Minute, 2 * time.Hour,
			25 * time.Hour, 27 * time.Hour}[h.draw(7)])
	}
	// A verifier refuses a token if its key set lacks the key. It lacks it if the verifier read it before the key was
	// published, or after it was retired. There are no verifiers in the first ten minutes.
	for _, s := range h.signed {
		in := h.published[s.kid]
		for _, age := range []time.Duration{0, 10 * time.Minute, time.Hour, 2 * time.Hour} {
			for _, used := range []time.Time{s.at, s.at.Add(domain.MaxAccessTokenTTL - time.Second)} {
				read := used.Add(-min(age, h.rules.CacheAge))
				if read.Before(h.born.Add(10 * time.Minute)) {
					continue
				}
				if read.Before(in[0]) || !read.Before(in[1]) {
					return fmt.Errorf("a verifier with a key set of %s refuses at %s what %s signed at %s: published from %s to %s",
						age, used, s.kid, s.at, in[0], in[1])
				}
			}
		}
	}
	return nil
}

func newKeyHistory(d draw) *keyHistory {
	h := &keyHistory{draw: d, rules: domain.KeyRules{CacheAge: 2 * time.Hour, Rotation: 90 * 24 * time.Hour}}
	if d(2) == 0 {
		h.rules = domain.KeyRules{CacheAge: time.Hour, Rotation: 36 * time.Hour}
	}
	return h
}

// No step that the rules allow makes a verifier refuse a token, whatever came before and whatever algorithm policies
// want, if its key set is not older than the cache age. Replicas that know the same keys sign with the same one.
func TestNoAllowedStepMakesAVerifierRefuse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := newKeyHistory(func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "of") })
		if err := h.holds(); err != nil {
			t.Fatal(err)
		}
	})
	for seed := range uint64(600) {
		if err := newKeyHistory(seeded(seed)).holds(); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

// The history above can find a refusal: forced steps cause some.
func TestAForcedStepCanMakeAVerifierRefuse(t *testing.T) {
	for seed := range uint64(200) {
		h := newKeyHistory(seeded(seed))
		if h.force = true; h.holds() != nil {
			return
		}
	}
	t.Error("no forced step made a verifier refuse")
}

// After the revocation of the key that signs, a standby signs immediately.
func TestAfterARevocationAStandbySigns(t *testing.T) {
	for seed := range uint64(500) {
		h := newKeyHistory(seeded(seed))
		if err := h.holds(); err != nil {
			t.Fatal(err)
		}
		for _, a := range domain.Algorithms {
			signs, ok := h.set().SigningAt(a, h.now)
			if !ok || signs.Algorithm != a {
				continue
			}
			keys, standby := slices.Clone(h.keys), false
			for i, k := range keys {
				if k.ID == signs.ID {
					keys[i].RevokedAt = h.now
				} else if k.Algorithm == a && k.Published() {
					standby = true
				}
			}
			next, ok := domain.NewSigningKeys(keys...).SigningAt(a, h.now)
			if standby && (!ok || next.Algorithm != a || !next.Published()) {
				t.Fatalf("seed %d: %q signs for %s after the revocation of %q", seed, next.ID, a, signs.ID)
			}
		}
	}
}

func TestUnsafeSteps(t *testing.T) {
	rules := domain.KeyRules{CacheAge: 2 * time.Hour}
	now := issued.Add(100 * time.Hour)
	signs := domain.SigningKey{ID: "a", TenantID: "acme", Algorithm: domain.ES256, CreatedAt: issued}
	set := domain.NewSigningKeys(signs)
	next := domain.SigningKey{ID: "b", TenantID: "acme", Algorithm: domain.ES256, CreatedAt: now, StartsAt: now}

	var unsafe *domain.UnsafeStep
	err := set.CheckStart(next, now, rules)
	if !errors.As(err, &unsafe) || !errors.Is(err, domain.ErrUnsafe) ||
		!unsafe.Until.Equal(now.Add(2*time.Hour+2*time.Minute)) {
		t.Errorf("a start without delay: got %v", err)
	}
	next.StartsAt = unsafe.Until
	if err := set.CheckStart(next, now, rules); err != nil {
		t.Errorf("a start at the instant of the error: got %v", err)
	}
	imported := next
	imported.KnownAt, imported.StartsAt = now.Add(-2*time.Hour-2*time.Minute), now
	if err := set.CheckStart(imported, now, rules); err != nil {
		t.Errorf("verifiers have known the key for two hours: got %v", err)
	}
	signs.StartsAt = now.Add(time.Hour)
	var invalid *domain.Invalid
	if err := set.CheckStart(signs, now, rules); !errors.As(err, &invalid) {
		t.Errorf("a key that has started, to start later: got %v, want an Invalid", err)
	}
	signs.StartsAt = time.Time{}
	if err := set.CheckRetire(signs, now, rules); !errors.As(err, &unsafe) || !unsafe.Until.IsZero() {
		t.Errorf("retire the only key: got %v, want unsafe, not by waiting", err)
	}
	set = domain.NewSigningKeys(signs, next)
	retirable := next.StartsAt.Add(26 * time.Hour)
	if err := set.CheckRetire(signs, retirable.Add(-µs), rules); !errors.As(err, &unsafe) ||
		!unsafe.Until.Equal(retirable) {
		t.Errorf("retire too early: got %v, want unsafe until %s", err, retirable)
	}
	if due := set.DueToRetire("acme", retirable, rules); len(due) != 1 || due[0].ID != "a" {
		t.Errorf("due: got %v, want a", due)
	}
	other := signs
	other.ID, other.Algorithm, other.StartsAt = "c", domain.EdDSA, issued.Add(time.Hour)
	set = domain.NewSigningKeys(signs, other)
	nextYear := now.Add(365 * 24 * time.Hour)
	if err := set.CheckRetire(signs, nextYear, rules); !errors.As(err, &unsafe) || !unsafe.Until.IsZero() {
		t.Errorf("retire the newest key of an algorithm: got %v, want unsafe, not by waiting", err)
	}
	if due := set.DueToRetire("acme", nextYear, rules); due != nil {
		t.Errorf("due: got %v, want none", due)
	}
	if !strings.Contains(err.Error(), "before "+now.Add(2*time.Hour+2*time.Minute).Format(time.RFC3339)) {
		t.Errorf("got %q, want the instant", err)
	}
}

// A verifier may read a key set that lacks a key for some seconds after the key was made, by a clock that is ahead of
// that of the process which made it. It uses that set for the cache age.
func TestAKeyStartsAfterTheCacheAgeOfEveryProcessesKeySet(t *testing.T) {
	const unread = 10 * time.Second // a commit, and a reading of the keys that is as old as it may be
	now := issued.Add(100 * time.Hour)
	set := domain.NewSigningKeys(domain.SigningKey{ID: "a", TenantID: "acme", Algorithm: domain.ES256, CreatedAt: issued})
	for _, cacheAge := range []time.Duration{0, 10 * time.Minute, 2 * time.Hour, 48 * time.Hour} {
		rules := domain.KeyRules{CacheAge: cacheAge, Rotation: 24 * time.Hour}
		k := domain.SigningKey{ID: "b", TenantID: "acme", Algorithm: domain.ES256, CreatedAt: now}
		read := now.Add(domain.MaxClockSkew + unread)
		if start := set.SafeStart(k, now, rules); start.Before(read.Add(cacheAge)) {
			t.Errorf("cache age %s: a key of now starts after %s", cacheAge, start.Sub(now))
		}
		if start := set.ScheduledStart("acme", domain.ES256, now, rules); start.Before(read.Add(cacheAge)) {
			t.Errorf("cache age %s: a standby of now starts after %s", cacheAge, start.Sub(now))
		}
		k.KnownAt = now.Add(-time.Hour)
		read = k.KnownAt.Add(domain.MaxClockSkew + unread)
		if start := set.SafeStart(k, now, rules); start.Before(read.Add(cacheAge)) {
			t.Errorf("cache age %s: a key that is known for an hour starts after %s", cacheAge, start.Sub(now))
		}
	}
}

func TestATenantHasAtMostAHundredKeys(t *testing.T) {
	var keys []domain.SigningKey
	add := func(n int, tenantID string, retired time.Time) {
		for range n {
			keys = append(keys, domain.SigningKey{ID: fmt.Sprint(len(keys)), TenantID: tenantID, Algorithm: domain.ES256,
				CreatedAt: issued, RetiredAt: retired})
		}
	}
	check := func(what, tenantID string, want bool) {
		t.Helper()
		err := domain.NewSigningKeys(keys...).CheckCount(tenantID)
		if invalid := (*domain.Invalid)(nil); (err == nil) != want || err != nil && (!errors.As(err, &invalid) ||
			invalid.Fields[0].Reason != domain.TooMany) {
			t.Errorf("%s: got %v", what, err)
		}
	}
	add(domain.MaxPublishedKeys-1, "acme", time.Time{})
	check("99 published keys", "acme", true)
	add(1, "acme", time.Time{})
	check("100 published keys", "acme", false)
	check("100 published keys of another scope", "", true)
	keys[0].RetiredAt = issued
	check("one of them retired", "acme", true)
	add(domain.MaxSigningKeys-domain.MaxPublishedKeys, "acme", issued)
	check("500 keys in all", "acme", false)
}

func TestWhatTheStoredStartsShow(t *testing.T) {
	rules := domain.KeyRules{CacheAge: 2 * time.Hour, Rotation: 90 * 24 * time.Hour}
	now := issued.Add(100 * time.Hour)
	signs := domain.SigningKey{ID: "a", TenantID: "acme", Algorithm: domain.ES256, CreatedAt: issued}
	pending := domain.SigningKey{ID: "b", TenantID: "acme", Algorithm: domain.EdDSA, CreatedAt: now.Add(-time.Hour),
		StartsAt: now.Add(30 * time.Minute)}
	set := domain.NewSigningKeys(signs, pending)
	if a, until := set.EffectiveAlgorithm(domain.EdDSA, now); a != domain.ES256 || !until.Equal(pending.StartsAt) {
		t.Errorf("effective: got %s until %s", a, until)
	}
	if a, until := set.EffectiveAlgorithm(domain.EdDSA, pending.StartsAt); a != domain.EdDSA || !until.IsZero() {
		t.Errorf("effective after the start: got %s until %s", a, until)
	}
	if at, ok := set.NextStep(now); !ok || !at.Equal(pending.StartsAt) {
		t.Errorf("next step: got %s, %t", at, ok)
	}
	if in, ok := set.RefusalIn(now, time.Hour); ok {
		t.Errorf("known for 90 minutes at its start, verifiers keep an hour: got a refusal in %s", in)
	}
	if in, ok := set.RefusalIn(now, 2*time.Hour); !ok || in != 30*time.Minute {
		t.Errorf("known for 90 minutes at its start, verifiers keep two hours: got %s, %t", in, ok)
	}
	if in, ok := set.RefusalIn(now.Add(time.Hour+2*time.Minute-time.Second), 2*time.Hour); !ok || in != 0 {
		t.Errorf("the key signs and is not known yet: got %s, %t", in, ok)
	}
	if in, ok := set.RefusalIn(now.Add(time.Hour+2*time.Minute), 2*time.Hour); ok {
		t.Errorf("the key is known: got a refusal in %s", in)
	}
	if in, ok := domain.NewSigningKeys(signs).RefusalIn(issued, 2*time.Hour); ok {
		t.Errorf("a new tenant: got a refusal in %s", in)
	}
	start := set.ScheduledStart("acme", domain.ES256, now, rules)
	if d := start.Sub(issued.Add(rules.Rotation).UTC().Truncate(24 * time.Hour)); d < 0 || d >= 24*time.Hour {
		t.Errorf("scheduled for %s", start)
	}
	if other := set.ScheduledStart("globex", domain.ES256, now, rules); other.Equal(start) {
		t.Error("two tenants rotate at one instant")
	}
	if late := set.ScheduledStart("acme", domain.ES256, now.Add(365*24*time.Hour), rules); late.Before(
		now.Add(366 * 24 * time.Hour)) {
		t.Errorf("an overdue rotation is scheduled for %s, less than a day ahead", late)
	}
	if never := set.ScheduledStart("acme", domain.ES256, now, domain.KeyRules{}); !never.Equal(domain.Never) {
		t.Errorf("without rotation: got %s", never)
	}
	standby := domain.SigningKey{ID: "s", TenantID: "acme", Algorithm: domain.ES256, CreatedAt: now, StartsAt: start}
	if !set.NeedsStandby("acme", domain.ES256, now) || set.NeedsStandby("acme", domain.EdDSA, now) ||
		domain.NewSigningKeys(signs, standby).NeedsStandby("acme", domain.ES256, now) {
		t.Error("NeedsStandby: want one for the algorithm that signs and has none")
	}
	var got []domain.KeyMomentKind
	for _, m := range domain.NewSigningKeys(signs, standby).Timeline(signs, now, rules) {
		got = append(got, m.What)
	}
	if want := []domain.KeyMomentKind{domain.MomentMade, domain.MomentStarts, domain.MomentKnown, domain.MomentSuperseded,
		domain.MomentRetirable}; !slices.Equal(got, want) {
		t.Errorf("time line: got %v, want %v", got, want)
	}
}
