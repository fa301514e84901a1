package storagetest

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

const (
	historySteps  = 300
	historyTokens = 6 // how many of the latest are compared after each step
)

var histories = []clause{
	// A store implements in SQL, or otherwise, the rules that the domain has in Go. Both are driven with one random
	// history, beside a model without epochs, which ends each refresh token individually.
	{"Store/History/states and exchanges agree with the domain, whatever happened before", func(e *env) {
		runHistory(e, seeded(e))
	}},
}

// seeded returns a source of numbers, and logs its seed.
func seeded(e *env) *rand.Rand {
	seed := rand.Uint64()
	if again, err := strconv.ParseUint(os.Getenv("STORAGETEST_SEED"), 10, 64); err == nil {
		seed = again
	}
	e.Logf("run this history again with STORAGETEST_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// history is a run of random calls and of their expected results.
type history struct {
	*env
	random  *rand.Rand
	now     time.Time
	tenants map[string]domain.Tenant
	apps    map[string]domain.Application // by tenant/application
	tokens  []*modelToken                 // those that may be stored, in the order of issue
	issued  int                           // how many issues were tried
}

type modelToken struct {
	domain.RefreshToken
	ended bool
}

func runHistory(e *env, random *rand.Rand) {
	h := &history{
		env: e, random: random, now: t0, tenants: make(map[string]domain.Tenant), apps: make(map[string]domain.Application),
	}
	for _, tenant := range []string{"acme", "other"} {
		h.saveTenant(tenant, domain.Settings{})
		for _, app := range []string{"shop", "bar"} {
			h.saveApplication(tenant, app, domain.Settings{})
		}
	}
	steps := []struct {
		weight int
		step   func()
	}{
		{12, h.insert}, {24, h.exchange}, {4, h.swap}, {2, h.revoke}, {4, h.revokeSome}, {3, h.keepNewest},
		{4, h.save}, {1, h.delete}, {3, h.stamp}, {1, h.purge}, {5, h.wait},
	}
	var deck []func()
	for _, s := range steps {
		for range s.weight {
			deck = append(deck, s.step)
		}
	}
	for range historySteps {
		deck[random.IntN(len(deck))]()
		h.compare()
	}
}

func pick[T any](h *history, of ...T) T { return of[h.random.IntN(len(of))] }

// mostly returns usual four times in five.
func mostly[T any](h *history, usual T, others ...T) T {
	if h.random.IntN(5) > 0 {
		return usual
	}
	return pick(h, others...)
}

func (h *history) tenantID() string { return mostly(h, "acme", "other") }
func (h *history) appID() string    { return pick(h, "shop", "bar") }
func (h *history) userID() string   { return pick(h, "ana", "bob") }

func appKey(tenantID, appID string) string { return tenantID + "/" + appID }

// policy returns the effective policy; ok reports whether the application exists.
func (h *history) policy(tenantID, appID string) (p domain.Policy, ok bool) {
	a, ok := h.apps[appKey(tenantID, appID)]
	if !ok {
		return domain.Policy{}, false
	}
	return combined(h.tenants[tenantID], a), true
}

func (h *history) alive(t *modelToken) bool {
	_, ok := h.policy(t.TenantID, t.ApplicationID)
	return ok && !t.ended && t.RevokedAt.IsZero() && h.now.Before(t.ExpiresAt)
}

// token returns one of the latest, mostly an active one, or nil if there is none.
func (h *history) token() *modelToken {
	latest := h.latest()
	if len(latest) == 0 {
		return nil
	}
	living := slices.DeleteFunc(slices.Clone(latest), func(t *modelToken) bool { return !h.alive(t) })
	if len(living) > 0 && h.random.IntN(3) > 0 {
		return pick(h, living...)
	}
	return pick(h, latest...)
}

func (h *history) latest() []*modelToken { return h.tokens[max(0, len(h.tokens)-historyTokens):] }

// wantVerdict checks that a call succeeded or failed as the model predicts.
func (h *history) wantVerdict(call string, got error, succeeds bool, refusal error) {
	h.Helper()
	switch {
	case succeeds && got != nil:
		h.Fatalf("%s: got error %v, want none", call, got)
	case !succeeds && !errors.Is(got, refusal):
		h.Fatalf("%s: got error %v, want %v", call, got, refusal)
	}
}

func (h *history) insert() {
	h.issued++
	t := token(h.issued)
	t.ID[10] = byte(h.random.Uint32()) // so that ids are in another order than issues
	t.TenantID, t.ApplicationID, t.UserID = h.tenantID(), h.appID(), h.userID()
	t.IssuedAt, t.RotatedAt, t.LastUsedAt = h.now, h.now, h.now
	if h.random.IntN(5) == 0 { // an import
		t.IssuedAt = h.now.Add(-pick(h, time.Second, 3*time.Minute, 4*time.Minute, 24*time.Hour))
	}
	t.Generation = mostly[uint32](h, 1, 2, domain.MaxGeneration-1)
	t.ExpiresAt = h.now.Add(pick(h, time.Minute, 24*time.Hour, 24*time.Hour, 0))
	t.Binding = pick(h, "", "", "thumbprint")
	p, ok := h.policy(t.TenantID, t.ApplicationID)
	got, err := h.store.Insert(h.Context(), t)
	h.wantVerdict("Insert "+describe(t), err, ok && p.Active, domain.ErrNotFound)
	if err == nil {
		t.Ordinal = h.ordinal(t)
		got.IssuedEpoch = 0 // the model has none
		h.wantSame("Insert gave", got, t)
		h.tokens = append(h.tokens, &modelToken{RefreshToken: t})
	}
}

// ordinal returns the ordinal that an insert of t has to assign.
func (h *history) ordinal(t domain.RefreshToken) (highest int64) {
	for _, other := range h.tokens {
		if own(t).Covers(other.RefreshToken) && other.RevokedAt.IsZero() {
			highest = max(highest, other.Ordinal)
		}
	}
	return highest + 1
}

// own returns the scope of the user's refresh tokens in the application.
func own(t domain.RefreshToken) domain.Scope {
	return domain.Scope{TenantID: t.TenantID, ApplicationID: t.ApplicationID, UserID: t.UserID}
}

// exchange does what the use case does, but asks the domain first: a rotation of the current generation is written by
// Advance alone, and every other change by Swap.
func (h *history) exchange() {
	t := h.token()
	if t == nil {
		return
	}
	p, _ := h.policy(t.TenantID, t.ApplicationID)
	c := domain.Call{
		Generation:     mostly(h, t.Generation, t.Generation-1, t.Generation-1, t.Generation-2, t.Generation+1),
		Now:            h.instant(t.RefreshToken, p),
		TenantID:       mostly(h, t.TenantID, "", "other"),
		ApplicationID:  mostly(h, t.ApplicationID, "", "", "shop", "bar", "none"),
		Authenticated:  h.random.IntN(4) > 0,
		Binding:        mostly(h, t.Binding, t.Binding, "", "another"),
		AccessTokenTTL: mostly(h, 0, time.Minute, time.Hour),
		ClientAddress:  pick(h, "", "192.0.2.7"),
		Restored:       h.random.IntN(4) == 0,
	}
	before := h.snapshot(t.ID)
	decision := before.Decide(c)
	rotated := decision.Outcome == domain.Rotated && c.Generation == t.Generation
	call := fmt.Sprintf("%s at %v, generation %d of %d, for which Decide says %s",
		describe(t.RefreshToken), c.Now.Sub(h.now), c.Generation, t.Generation, decision.Outcome)
	got, policy, err := h.store.Advance(h.Context(), t.ID, c)
	h.wantVerdict("Advance "+call, err, rotated, domain.ErrConflict)
	if err == nil {
		h.wantSame("policy", policy, p)
		h.wantSame("Advance gave", got, decision.After)
		t.RefreshToken = t.Rotated(p, c.Now, c.ClientAddress)
	} else if decision.Write {
		h.wantVerdict("Swap "+call, h.store.Swap(h.Context(), before.Token, decision.After, c.Now,
			NewEvent()), true, domain.ErrConflict)
		t.RefreshToken = decision.After
		t.IssuedEpoch = 0
	}
}

// instant returns when a call is made: mostly now; otherwise by a clock that differs, or near the end of the grace
// period of t's last answer, or near the end of its maximum lifetime.
func (h *history) instant(t domain.RefreshToken, p domain.Policy) time.Time {
	last := t.RotatedAt
	if !t.RecoveredAt.IsZero() {
		last = t.RecoveredAt
	}
	edge := pick(h, -tick, 0, tick)
	return mostly(h, h.now,
		h.now.Add(pick(h, -2*time.Second, 2*time.Second, time.Hour)),
		last.Add(p.GracePeriod+edge), last.Add(-p.GracePeriod+edge),
		t.IssuedAt.Add(p.MaximumTTL).Truncate(time.Second).Add(edge), t.IssuedAt.Add(p.MaximumTTL+edge))
}

func (h *history) swap() {
	t := h.token()
	if t == nil {
		return
	}
	before := t.RefreshToken
	switch h.random.IntN(6) {
	case 0:
		before.Generation++
	case 1:
		before.RecoveredAt = pick(h, h.now, time.Time{})
	case 2:
		before.RecoveryPaidUntil++
	}
	after := t.RefreshToken
	after.LastUsedAt, after.ExpiresAt = h.now, h.now.Add(pick(h, time.Minute, 24*time.Hour))
	after.RecoveredAt, after.RecoveryPaidUntil = h.now, t.RecoveryPaidUntil+10
	after.MetaData.ClientAddress = pick(h, "192.0.2.8", "")
	if h.random.IntN(4) == 0 && t.Generation < domain.MaxGeneration-2 {
		after.Generation, after.RotatedAt, after.RecoveredAt = t.Generation+2, h.now, time.Time{}
	}
	if h.random.IntN(3) == 0 {
		after.RevokedAt, after.RevokedReason = h.now, domain.RevokedByReplay
	}
	ok := h.alive(t) && before.Generation == t.Generation && before.RecoveredAt.Equal(t.RecoveredAt) &&
		before.RecoveryPaidUntil == t.RecoveryPaidUntil
	h.wantVerdict("Swap "+describe(after), h.store.Swap(h.Context(), before, after, h.now,
		NewEvent()), ok, domain.ErrConflict)
	if ok {
		t.RefreshToken = after
	}
}

func (h *history) revoke() {
	t := h.token()
	if t == nil {
		return
	}
	tenant := pick(h, t.TenantID, t.TenantID, "other")
	ok := h.alive(t) && tenant == t.TenantID
	h.wantVerdict("Revoke "+describe(t.RefreshToken), h.store.Revoke(h.Context(), tenant, t.ID,
		byRequest(h.now), NewEvent()), ok, domain.ErrNotFound)
	if ok {
		t.RevokedAt, t.RevokedReason = h.now, domain.RevokedByRequest
	}
}

func (h *history) scope() domain.Scope {
	return domain.Scope{
		TenantID: h.tenantID(), ApplicationID: pick(h, "", "shop", "bar", "none"), UserID: mostly(h, h.userID(), ""),
	}
}

func (h *history) revokeSome() {
	s := h.scope()
	var except *modelToken
	if h.random.IntN(3) == 0 {
		except = h.token()
	}
	_, ok := h.tenants[s.TenantID]
	if s.ApplicationID != "" {
		_, ok = h.policy(s.TenantID, s.ApplicationID)
	}
	var id domain.ID
	if except != nil {
		id = except.ID
		ok = ok && s.Covers(except.RefreshToken) && h.alive(except)
	}
	_, err := h.store.RevokeScope(h.Context(), s, id, byRequest(h.now), NewEvent())
	h.wantVerdict(fmt.Sprintf("RevokeScope %+v except %s", s, id), err, ok, domain.ErrNotFound)
	if ok {
		h.end(s, except)
	}
}

// end ends the refresh tokens of the scope.
func (h *history) end(s domain.Scope, except *modelToken) {
	for _, t := range h.tokens {
		if s.Covers(t.RefreshToken) && t != except {
			t.ended = true
		}
	}
}

func (h *history) keepNewest() {
	s := domain.Scope{TenantID: h.tenantID(), ApplicationID: h.appID(), UserID: h.userID()}
	keep := 1 + h.random.IntN(3)
	h.must(h.store.KeepNewest(h.Context(), s, keep, byRequest(h.now), NewEvent()))
	var alive []*modelToken
	for _, t := range h.tokens {
		if s.Covers(t.RefreshToken) && h.alive(t) {
			alive = append(alive, t)
		}
	}
	slices.SortFunc(alive, func(a, b *modelToken) int {
		return cmp.Or(cmp.Compare(b.Ordinal, a.Ordinal), bytes.Compare(b.ID[:], a.ID[:]))
	})
	for _, t := range alive[min(len(alive), keep):] {
		t.RevokedAt, t.RevokedReason = h.now, domain.RevokedByRequest
	}
	for _, t := range h.tokens { // the store may have removed the ordinal of one that has ended for good
		forGood := t.ended || !h.now.Before(t.ExpiresAt.Add(2*domain.MaxClockSkew))
		if s.Covers(t.RefreshToken) && t.RevokedAt.IsZero() && forGood && h.snapshot(t.ID).Token.Ordinal == 0 {
			t.Ordinal = 0
		}
	}
}

func (h *history) save() {
	s := domain.Settings{
		Active: mostly(h, nil, new(true), new(false)), RequireAuthentication: pick(h, nil, nil, new(true)),
		Usage: mostly(h, nil, new(domain.Reusable)), GraceSeconds: pick(h, nil, new(int64(0)), new(int64(3600))),
		Expiration: pick(h, nil, new(domain.Fixed), new(domain.SlidingWindow)), TTLMinutes: pick(h, nil, new(int64(2))),
		MaximumTTLMinutes: pick(h, nil, new(int64(5))), AccessTokenSeconds: pick(h, nil, new(int64(59))),
	}
	tenant := h.tenantID()
	_, ok := h.tenants[tenant]
	switch {
	case !ok: // created again with everything: a history of refusals shows little
		err := SaveApplication(h.Context(), h.store, domain.Application{TenantID: tenant, ID: "shop"})
		h.wantErr("SaveApplication without tenant", err, domain.ErrNotFound)
		h.saveTenant(tenant, domain.Settings{})
		h.saveApplication(tenant, "shop", s)
		h.saveApplication(tenant, "bar", domain.Settings{})
	case h.random.IntN(3) == 0:
		var with []domain.Application
		for _, id := range []string{"shop", "bar"}[h.random.IntN(3):] {
			with = append(with, domain.Application{TenantID: tenant, ID: id})
		}
		h.saveTenant(tenant, s, with...)
	default:
		id := h.appID()
		for _, missing := range []string{"shop", "bar"} {
			if _, ok := h.apps[appKey(tenant, missing)]; !ok {
				id = missing
			}
		}
		h.saveApplication(tenant, id, s)
	}
}

func (h *history) saveTenant(id string, s domain.Settings, with ...domain.Application) {
	t := domain.Tenant{ID: id, Settings: s}
	apps := make(map[string]domain.Application)
	for _, a := range h.apps {
		if a.TenantID == id {
			apps[a.ID] = a
		}
	}
	for _, a := range with {
		apps[a.ID] = a
	}
	_, impossible := domain.CombineAll(t, apps)
	if h.wantSaved("SaveTenant", SaveTenant(h.Context(), h.store, t, with...), impossible) {
		h.tenants[id] = t
		for _, a := range with {
			h.apps[appKey(id, a.ID)] = a
		}
	}
}

func (h *history) saveApplication(tenantID, id string, s domain.Settings) {
	a := domain.Application{TenantID: tenantID, ID: id, Settings: s}
	_, impossible := domain.Combine(h.tenants[tenantID], a)
	if h.wantSaved("SaveApplication", SaveApplication(h.Context(), h.store, a), impossible) {
		h.apps[appKey(tenantID, id)] = a
	}
}

// wantSaved reports whether a save had to succeed: it is refused if the combination is impossible.
func (h *history) wantSaved(what string, err, impossible error) bool {
	if impossible == nil {
		h.must(err)
		return true
	}
	var invalid *domain.Invalid
	if !errors.As(err, &invalid) {
		h.Errorf("%s: got error %v, want %v", what, err, impossible)
	}
	return false
}

func (h *history) delete() {
	s := domain.Scope{TenantID: h.tenantID()}
	if h.random.IntN(3) > 0 {
		s.ApplicationID = h.appID()
		_, ok := h.policy(s.TenantID, s.ApplicationID)
		h.wantVerdict("DeleteApplication", DeleteApplication(h.Context(), h.store, s.TenantID, s.ApplicationID, h.now), ok,
			domain.ErrNotFound)
		delete(h.apps, appKey(s.TenantID, s.ApplicationID))
	} else {
		_, ok := h.tenants[s.TenantID]
		h.wantVerdict("DeleteTenant", DeleteTenant(h.Context(), h.store, s.TenantID, h.now), ok, domain.ErrNotFound)
		delete(h.tenants, s.TenantID)
		maps.DeleteFunc(h.apps, func(_ string, a domain.Application) bool { return a.TenantID == s.TenantID })
	}
	h.end(s, nil)
}

// stamp gives some facts a position, by a clock that may be far behind.
func (h *history) stamp() {
	_, err := h.store.Stamp(h.Context(), h.now.Add(-pick(h, 0, 20*time.Minute, 48*time.Hour)), 1+h.random.IntN(9))
	h.must(err)
}

// purge runs a pass. Afterwards those that had ended are unknown if their facts are out of use, and nothing else has
// changed.
func (h *history) purge() {
	outOfUse := make(map[domain.ID]bool)
	_, err := h.store.Revoked(h.Context(), port.FactQuery{}, func(f domain.Fact) {
		longest, err := h.store.LongestAccessTTL(h.Context(), f.TenantID)
		h.must(err)
		outOfUse[f.SessionID] = f.Position != 0 && f.Position <= domain.FactFloor(h.now, longest)
	})
	h.must(err)
	h.purgeAll(h.now, 1+h.random.IntN(9))
	h.tokens = slices.DeleteFunc(h.tokens, func(t *modelToken) bool {
		ended := t.ended
		if !t.RevokedAt.IsZero() {
			free, found := outOfUse[t.ID]
			if !found {
				h.Errorf("%s is revoked, and is no fact", describe(t.RefreshToken))
			}
			ended = free && !t.RevokedAt.After(h.now)
		}
		if !ended && h.now.Before(t.ExpiresAt) {
			return false
		}
		_, err := h.store.Snapshot(h.Context(), t.ID)
		h.wantErr("Snapshot of "+describe(t.RefreshToken)+", which was purged", err, domain.ErrNotFound)
		return true
	})
}

func (h *history) wait() {
	h.now = h.now.Add(pick(h, tick, time.Second, 29*time.Second, 59*time.Second, time.Minute, 10*time.Minute))
}

// compare compares the state of each refresh token in the store, the domain and the model.
func (h *history) compare() {
	h.Helper()
	for _, t := range h.latest() {
		s, want := h.snapshot(t.ID), h.alive(t)
		found := h.env.alive(h.store, t.RefreshToken, h.now)
		if found != want || s.Alive(h.now) != want {
			h.Fatalf("%s: Find reports active = %t, Snapshot.Alive %t, want %t", describe(t.RefreshToken), found,
				s.Alive(h.now), want)
		}
		p, ok := h.policy(t.TenantID, t.ApplicationID)
		if s.Deleted == ok {
			h.Fatalf("%s: Deleted = %t, want %t", describe(t.RefreshToken), s.Deleted, !ok)
		}
		h.wantSame("policy", s.Policy, p)
		s.Token.IssuedEpoch = 0
		h.wantSame("the record", s.Token, t.RefreshToken)
	}
	h.compareLists()
}

// compareLists compares a list of the refresh tokens of the tenant, an application or a user, in each state, with the
// model.
func (h *history) compareLists() {
	h.Helper()
	s := domain.Scope{TenantID: h.tenantID(), ApplicationID: pick(h, "", h.appID()), UserID: pick(h, "", h.userID())}
	for _, state := range states {
		q := port.ListQuery{
			TenantID: s.TenantID, ApplicationID: s.ApplicationID, UserID: s.UserID, State: state, Limit: 999, Now: h.now,
		}
		var want []domain.ID
		for _, t := range h.tokens {
			if s.Covers(t.RefreshToken) && state.Includes(h.alive(t)) {
				want = append(want, t.ID)
			}
		}
		slices.SortFunc(want, func(a, b domain.ID) int { return bytes.Compare(b[:], a[:]) })
		h.wantSame(fmt.Sprintf("listed of state %q in %+v", state, s), ids(h.list(q).Sessions), want)
		n, more, err := h.store.Count(h.Context(), bounded(q))
		if h.must(err); n != len(want) || more {
			h.Fatalf("counted of state %q in %+v: %d, more = %t, want %d", state, s, n, more, len(want))
		}
	}
}
