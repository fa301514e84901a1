package usecase_test

import (
	order "cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/refreshd/refreshd/adapter/jwxsigner"
	"github.com/refreshd/refreshd/adapter/memstore"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
	"github.com/refreshd/refreshd/test/storagetest"
	"github.com/refreshd/refreshd/usecase"
	"github.com/refreshd/refreshd/usecase/admin"
)

// t0 is the instant at which every test begins: not in UTC, and with more digits than a store keeps, like the time of a
// real clock.
var t0 = time.Date(2031, 2, 3, 4, 5, 6, 789_012_345, time.FixedZone("", 3600))

// stored returns t as every store returns it.
func stored(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

const publicURL = "https://auth.example"

// world is a deployment: a store, and one process on it. Further processes are replicas.
type world struct {
	replica
	clock  *clock
	random *counting
	store  port.Store // without the probe, to inspect and to prepare
	probe  *probe     // what the use cases are given
	master domain.MasterKey
}

// replica is one process.
type replica struct {
	keys         *usecase.Keys
	issue        *usecase.Issue
	exchange     *usecase.Exchange
	list         *usecase.List
	patch        *usecase.Patch
	revoke       *usecase.Revoke
	authenticate *usecase.Authenticate
	publish      *usecase.Publish
	apply        *admin.Apply
}

// newWorld returns a world with the tenants acme and globex, each with a shop; acme's other applications are named
// after what is special about them.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := emptyWorld(t)
	w.replica = w.open(t)
	for _, tenant := range []domain.Tenant{
		{ID: "acme", Name: "Acme", Issuer: "https://login.acme.example"},
		{ID: "globex", Name: "Globex"},
	} {
		must(t, storagetest.SaveTenant(t.Context(), w.store, tenant))
		w.application(t, tenant.ID, "shop", domain.Settings{})
	}
	w.application(t, "acme", "guarded", domain.Settings{RequireAuthentication: new(true)})
	w.application(t, "acme", "reusable", domain.Settings{Usage: new(domain.Reusable)})
	w.application(t, "acme", "inactive", domain.Settings{Active: new(false)})
	w.application(t, "acme", "limited", domain.Settings{MaximumActiveTokens: new(int64(2))})
	w.application(t, "acme", "graceless", domain.Settings{GraceSeconds: new(int64(0))})
	w.probe.forget()
	return w
}

// emptyWorld returns a world with a store on which no process has started.
func emptyWorld(t *testing.T) *world {
	t.Helper()
	w := &world{clock: &clock{at: t0}, random: newCounting(), store: memstore.New()}
	w.probe = &probe{Store: w.store, Signer: jwxsigner.New(w.random)}
	w.master = newMasterKey(t, w.random)
	return w
}

func newMasterKey(t *testing.T, random *counting) domain.MasterKey {
	t.Helper()
	key, _, err := domain.NewMasterKey(random)
	must(t, err)
	return key
}

func (w *world) keysConfig() usecase.KeysConfig {
	return usecase.KeysConfig{
		Store: w.probe, Signer: w.probe, Master: w.master, Clock: w.clock.now, Random: w.random, CacheAge: 2 * time.Hour,
		Rotation: 90 * 24 * time.Hour,
		Pause: func(_ context.Context, d time.Duration) error {
			w.clock.advance(d)
			return nil
		},
	}
}

// open starts a process.
func (w *world) open(t *testing.T) replica {
	t.Helper()
	keys, err := usecase.OpenKeys(t.Context(), w.keysConfig())
	must(t, err)
	return w.replicaOf(keys)
}

func (w *world) replicaOf(keys *usecase.Keys) replica {
	clock := usecase.Clock(w.clock.now)
	minter := usecase.Minter{Keys: keys, Signer: w.probe, PublicURL: publicURL}
	return replica{
		keys: keys,
		issue: &usecase.Issue{
			Tokens: w.probe, Revocations: w.probe, Applications: w.probe, Minter: minter, Clock: clock,
			Random: w.random,
		},
		exchange: &usecase.Exchange{Tokens: w.probe, Minter: minter, Clock: clock},
		list:     &usecase.List{Tokens: w.probe, Clock: clock},
		patch: &usecase.Patch{
			Tokens: w.probe, Applications: w.probe, PublicURL: publicURL, Clock: clock, Random: w.random,
		},
		revoke: &usecase.Revoke{Revocations: w.probe, Applications: w.probe, Keys: keys, Clock: clock},
		authenticate: &usecase.Authenticate{APIKeys: w.probe, Tokens: w.probe, Tenants: w.probe, Keys: keys,
			Clock: clock},
		publish: &usecase.Publish{Tenants: w.probe, Keys: keys, Clock: clock, RootTenant: "acme"},
		apply: &admin.Apply{
			Tenants: w.probe, Applications: w.probe, APIKeys: w.probe, Keys: keys, Clock: clock, Random: w.random,
		},
	}
}

func (w *world) application(t *testing.T, tenantID, id string, s domain.Settings) {
	t.Helper()
	must(t, storagetest.SaveApplication(t.Context(), w.store,
		domain.Application{TenantID: tenantID, ID: id, Name: "The " + id, Settings: s}))
}

// issued returns a new session of ana in one of acme's applications.
func (w *world) issued(t *testing.T, applicationID string) usecase.Grant {
	t.Helper()
	g, err := w.issue.Do(t.Context(), usecase.IssueInput{TenantID: "acme", ApplicationID: applicationID, UserID: "ana"})
	must(t, err)
	return g
}

// exchanged returns the result for a token string, which may be a refusal.
func (r replica) exchanged(t *testing.T, tokenString domain.Secret) usecase.Exchanged {
	t.Helper()
	return r.exchangedAs(t, usecase.ExchangeInput{TokenString: tokenString})
}

func (r replica) exchangedAs(t *testing.T, in usecase.ExchangeInput) usecase.Exchanged {
	t.Helper()
	out, err := r.exchange.Do(t.Context(), in)
	must(t, err)
	return out
}

// rotated returns the result for a token string that must be the current one.
func (r replica) rotated(t *testing.T, tokenString domain.Secret) usecase.Exchanged {
	t.Helper()
	out := r.exchanged(t, tokenString)
	if out.Outcome != domain.Rotated {
		t.Fatalf("outcome = %s, want rotated", out.Outcome)
	}
	return out
}

// record returns the refresh token as it is stored, active or ended.
func (w *world) record(t *testing.T, id domain.ID) domain.RefreshToken {
	t.Helper()
	s, err := w.store.Snapshot(t.Context(), id)
	must(t, err)
	return s.Token
}

func (w *world) alive(t *testing.T, id domain.ID) bool {
	t.Helper()
	s, err := w.store.Snapshot(t.Context(), id)
	must(t, err)
	return s.Alive(stored(w.clock.now()))
}

func (w *world) sealed(t *testing.T) []domain.SealedKey {
	t.Helper()
	return sealedIn(t, w.store)
}

// sealedIn returns all keys that a store holds, by name, without their revisions.
func sealedIn(t *testing.T, store port.Keys) []domain.SealedKey {
	t.Helper()
	keys, err := store.KeysSince(t.Context(), 0, 1000)
	must(t, err)
	kinds := []domain.KeyKind{domain.KeyCheck, domain.KeyToken, domain.KeyAPI, domain.KeySigning}
	slices.SortFunc(keys, func(a, b domain.SealedKey) int {
		return order.Or(slices.Index(kinds, a.Kind)-slices.Index(kinds, b.Kind),
			strings.Compare(a.TenantID, b.TenantID),
			strings.Compare(string(a.Algorithm), string(b.Algorithm)), int(a.Number)-int(b.Number))
	})
	for i := range keys {
		keys[i].Revision = 0
	}
	return keys
}

// sameGrant checks that a client could not distinguish the two results.
func sameGrant(t *testing.T, got, want usecase.Grant) {
	t.Helper()
	if !got.TokenString.Equal(want.TokenString) {
		t.Error("the token strings differ")
	}
	if !got.AccessToken.Equal(want.AccessToken) {
		t.Errorf("the access tokens differ: %v, want %v", claimsOf(t, got.AccessToken), claimsOf(t, want.AccessToken))
	}
}

// claimsOf returns the claims of an access token without verifying it.
func claimsOf(t *testing.T, accessToken domain.Secret) map[string]any {
	t.Helper()
	parts := strings.Split(accessToken.Reveal(), ".")
	if len(parts) != 3 {
		t.Fatal("this is not an access token")
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	must(t, err)
	var claims map[string]any
	must(t, json.Unmarshal(payload, &claims))
	return claims
}

// wholeSecond returns t rounded down to the second.
func wholeSecond(t time.Time) time.Time { return stored(t).Truncate(time.Second) }

func wantOutcome(t *testing.T, got usecase.Exchanged, outcome domain.Outcome, why error) {
	t.Helper()
	if got.Outcome != outcome || !errors.Is(got.Why, why) {
		t.Errorf("outcome = %s (%v), want %s (%v)", got.Outcome, got.Why, outcome, why)
	}
	if got.Outcome.Refused() && (!got.TokenString.IsZero() || !got.AccessToken.IsZero()) {
		t.Error("a refused exchange was answered with tokens")
	}
}

func wantErr(t *testing.T, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("error = %v, want %v", got, want)
	}
}

// wantCodes checks that err names these fields, in this order, and nothing else.
func wantCodes(t *testing.T, err error, want ...string) {
	t.Helper()
	var invalid *domain.Invalid
	if !errors.As(err, &invalid) {
		t.Fatalf("error = %v, want an *Invalid", err)
	}
	var got []string
	for _, f := range invalid.Fields {
		got = append(got, f.Code())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("codes (-want +got):\n%s", diff)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// clock stands still until it is moved. A test that sets at itself does so only while nothing else runs.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// counting is a source of the same bytes in every run, which counts the bytes that it returned.
type counting struct {
	mu     sync.Mutex
	source *rand.ChaCha8
	drawn  int
}

func newCounting() *counting { return &counting{source: rand.NewChaCha8([32]byte{7})} }

func (c *counting) Read(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drawn += len(b)
	return c.source.Read(b)
}

// probe is a store and a signer that record their calls, and of which one call can be made to fail.
type probe struct {
	port.Store
	port.Signer

	mu     sync.Mutex
	calls  []string
	failAt int // the number of the call, from 1
	how    fault
	struck int // how many calls there were when one failed; 0 before

	forgotten []string // the ids of the keys of which nothing is kept

	verified *domain.AccessToken // if set, what an access token that verifies says instead
}

// fault is a way in which a call of a port fails.
type fault string

const (
	notDone   fault = "failed, and was not done"
	done      fault = "was done, and its answer lost"
	cancelled fault = "met a cancelled context"
)

var errPort = errors.New("the port failed")

// forget resets the counts.
func (p *probe) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls = nil
}

func (p *probe) asked() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.calls)
}

func (p *probe) count(name string) int {
	n := 0
	for _, c := range p.asked() {
		if c == name {
			n++
		}
	}
	return n
}

func (p *probe) next(name string) fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls = append(p.calls, name)
	if len(p.calls) != p.failAt {
		return ""
	}
	return p.how
}

func (p *probe) strike() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.struck = len(p.calls)
}

func through[T any](
	ctx context.Context, p *probe, name string, call func(context.Context) (T, error),
) (answer T, err error) {
	var nothing T
	switch how := p.next(name); how {
	case notDone, done:
		if how == done {
			_, _ = call(ctx)
		}
		p.strike()
		return nothing, fmt.Errorf("%s: %w", name, errPort)
	case cancelled:
		ctx, cancel := context.WithCancel(ctx)
		cancel()
		if answer, err = call(ctx); err != nil {
			p.strike()
		}
		return answer, err
	default:
		return call(ctx)
	}
}

func (p *probe) do(ctx context.Context, name string, call func(context.Context) error) error {
	_, err := through(ctx, p, name, func(ctx context.Context) (struct{}, error) { return struct{}{}, call(ctx) })
	return err
}

func (p *probe) Insert(ctx context.Context, t domain.RefreshToken) (domain.RefreshToken, error) {
	return through(ctx, p, "Insert", func(ctx context.Context) (domain.RefreshToken, error) {
		return p.Store.Insert(ctx, t)
	})
}

func (p *probe) Advance(
	ctx context.Context, id domain.ID, c domain.Call,
) (t domain.RefreshToken, _ domain.Policy, _ error) {
	type advanced struct {
		t domain.RefreshToken
		p domain.Policy
	}
	a, err := through(ctx, p, "Advance", func(ctx context.Context) (a advanced, err error) {
		a.t, a.p, err = p.Store.Advance(ctx, id, c)
		return a, err
	})
	return a.t, a.p, err
}

func (p *probe) Snapshot(ctx context.Context, id domain.ID) (domain.Snapshot, error) {
	return through(ctx, p, "Snapshot", func(ctx context.Context) (domain.Snapshot,
		error) {
		return p.Store.Snapshot(ctx, id)
	})
}

func (p *probe) Use(ctx context.Context, before, after domain.RefreshToken, now time.Time) error {
	return p.do(ctx, "Use", func(ctx context.Context) error { return p.Store.Use(ctx, before, after, now) })
}

func (p *probe) Record(ctx context.Context, e domain.Event) error {
	return p.do(ctx, "Record", func(ctx context.Context) error { return p.Store.Record(ctx, e) })
}

func (p *probe) Rebind(ctx context.Context, before, after domain.RefreshToken, now time.Time, e domain.Event) error {
	return p.do(ctx, "Rebind", func(ctx context.Context) error { return p.Store.Rebind(ctx, before, after, now, e) })
}

func (p *probe) Swap(ctx context.Context, before, after domain.RefreshToken, now time.Time, e domain.Event) error {
	return p.do(ctx, "Swap", func(ctx context.Context) error { return p.Store.Swap(ctx, before, after, now, e) })
}

func (p *probe) Find(ctx context.Context, tenantID string, id domain.ID) (domain.Session, error) {
	return through(ctx, p, "Find", func(ctx context.Context) (domain.Session, error) {
		return p.Store.Find(ctx, tenantID, id)
	})
}

func (p *probe) Count(ctx context.Context, q port.ListQuery) (int, bool, error) {
	type counted struct {
		n    int
		more bool
	}
	c, err := through(ctx, p, "Count", func(ctx context.Context) (c counted, err error) {
		c.n, c.more, err = p.Store.Count(ctx, q)
		return c, err
	})
	return c.n, c.more, err
}

func (p *probe) Change(
	ctx context.Context, tenantID string, changes []domain.Change, now time.Time, e domain.Event,
) error {
	return p.do(ctx, "Change", func(ctx context.Context) error {
		return p.Store.Change(ctx, tenantID, changes, now, e)
	})
}

func (p *probe) List(ctx context.Context, q port.ListQuery) (port.Page, error) {
	return through(ctx, p, "List", func(ctx context.Context) (port.Page, error) { return p.Store.List(ctx, q) })
}

func (p *probe) Revoke(
	ctx context.Context, tenantID string, id domain.ID, r port.Revocation, e domain.Event,
) error {
	return p.do(ctx, "Revoke", func(ctx context.Context) error { return p.Store.Revoke(ctx, tenantID, id, r, e) })
}

func (p *probe) RevokeScope(
	ctx context.Context, s domain.Scope, except domain.ID, r port.Revocation, e domain.Event,
) (uint64, error) {
	return through(ctx, p, "RevokeScope", func(ctx context.Context) (uint64, error) {
		return p.Store.RevokeScope(ctx, s, except, r, e)
	})
}

func (p *probe) KeepNewest(ctx context.Context, s domain.Scope, keep int, r port.Revocation, e domain.Event) error {
	return p.do(ctx, "KeepNewest", func(ctx context.Context) error { return p.Store.KeepNewest(ctx, s, keep, r, e) })
}

func (p *probe) SaveTenant(
	ctx context.Context, t domain.Tenant, expect domain.Version, e domain.Event, with ...port.ApplicationWrite,
) (domain.Version, error) {
	return through(ctx, p, "SaveTenant", func(ctx context.Context) (domain.Version, error) {
		return p.Store.SaveTenant(ctx, t, expect, e, with...)
	})
}

func (p *probe) SaveApplication(
	ctx context.Context, a domain.Application, expect domain.Version, e domain.Event,
) (domain.Version, error) {
	return through(ctx, p, "SaveApplication", func(ctx context.Context) (domain.Version, error) {
		return p.Store.SaveApplication(ctx, a, expect, e)
	})
}

func (p *probe) Tenant(ctx context.Context, id string) (domain.Tenant, error) {
	return through(ctx, p, "Tenant", func(ctx context.Context) (domain.Tenant,
		error) {
		return p.Store.Tenant(ctx, id)
	})
}

func (p *probe) Tenants(
	ctx context.Context, after string, limit int,
) (page []domain.Tenant, next string, err error) {
	page, err = through(ctx, p, "Tenants", func(ctx context.Context) (page []domain.Tenant, err error) {
		page, next, err = p.Store.Tenants(ctx, after, limit)
		return page, err
	})
	return page, next, err
}

func (p *probe) Application(ctx context.Context, tenantID, id string) (domain.Application, error) {
	return through(ctx, p, "Application", func(ctx context.Context) (domain.Application, error) {
		return p.Store.Application(ctx, tenantID, id)
	})
}

func (p *probe) Policy(ctx context.Context, tenantID, applicationID string) (domain.Policy, error) {
	return through(ctx, p, "Policy", func(ctx context.Context) (domain.Policy, error) {
		return p.Store.Policy(ctx, tenantID, applicationID)
	})
}

func (p *probe) SaveAPIKey(
	ctx context.Context, k domain.APIKey, expect domain.Version, e domain.Event,
) (domain.Version, error) {
	return through(ctx, p, "SaveAPIKey", func(ctx context.Context) (domain.Version, error) {
		return p.Store.SaveAPIKey(ctx, k, expect, e)
	})
}

func (p *probe) APIKeyByName(ctx context.Context, name string) (domain.APIKey, error) {
	return through(ctx, p, "APIKeyByName", func(ctx context.Context) (domain.APIKey,
		error) {
		return p.Store.APIKeyByName(ctx, name)
	})
}

func (p *probe) APIKeyByHash(ctx context.Context, hashes ...string) (domain.APIKey, error) {
	return through(ctx, p, "APIKeyByHash", func(ctx context.Context) (domain.APIKey,
		error) {
		return p.Store.APIKeyByHash(ctx, hashes...)
	})
}

func (p *probe) TenantByIssuer(ctx context.Context, issuer string) (domain.Tenant, error) {
	return through(ctx, p, "TenantByIssuer", func(ctx context.Context) (domain.Tenant, error) {
		return p.Store.TenantByIssuer(ctx, issuer)
	})
}

func (p *probe) Applications(
	ctx context.Context, tenantID, after string, limit int,
) (page []domain.Application, next string, err error) {
	page, err = through(ctx, p, "Applications", func(ctx context.Context) (page []domain.Application, err error) {
		page, next, err = p.Store.Applications(ctx, tenantID, after, limit)
		return page, err
	})
	return page, next, err
}

func (p *probe) KeyRevision(ctx context.Context) (uint64, error) {
	return through(ctx, p, "KeyRevision", p.Store.KeyRevision)
}

func (p *probe) KeysSince(ctx context.Context, revision uint64, limit int) ([]domain.SealedKey, error) {
	return through(ctx, p, "KeysSince", func(ctx context.Context) ([]domain.SealedKey, error) {
		return p.Store.KeysSince(ctx, revision, limit)
	})
}

func (p *probe) KeysOfTenant(ctx context.Context, tenantID string) ([]domain.SealedKey, error) {
	return through(ctx, p, "KeysOfTenant", func(ctx context.Context) ([]domain.SealedKey, error) {
		return p.Store.KeysOfTenant(ctx, tenantID)
	})
}

func (p *probe) KeyByID(ctx context.Context, id string) (domain.SealedKey, error) {
	return through(ctx, p, "KeyByID", func(ctx context.Context) (domain.SealedKey,
		error) {
		return p.Store.KeyByID(ctx, id)
	})
}

func (p *probe) AddKeys(ctx context.Context, e domain.Event, keys ...domain.SealedKey) error {
	return p.do(ctx, "AddKeys", func(ctx context.Context) error { return p.Store.AddKeys(ctx, e, keys...) })
}

func (p *probe) Reseal(ctx context.Context, before domain.SealedKey, sealed, sealedBy string) error {
	return p.do(ctx, "Reseal", func(ctx context.Context) error { return p.Store.Reseal(ctx, before, sealed, sealedBy) })
}

func (p *probe) HasData(ctx context.Context) (bool, error) {
	return through(ctx, p, "HasData", p.Store.HasData)
}

func (p *probe) Purge(ctx context.Context, s port.PurgeStep) (port.Purged, error) {
	return through(ctx, p, "Purge", func(ctx context.Context) (port.Purged, error) { return p.Store.Purge(ctx, s) })
}

func (p *probe) NewKey(a domain.Algorithm, bits int) (domain.Secret, error) {
	return through(context.Background(), p, "NewKey",
		func(context.Context) (domain.Secret, error) { return p.Signer.NewKey(a, bits) })
}

func (p *probe) Sign(ctx context.Context, key domain.SigningKey, t domain.AccessToken) (string, error) {
	return through(ctx, p, "Sign", func(ctx context.Context) (string, error) { return p.Signer.Sign(ctx, key, t) })
}

func (p *probe) SignProof(ctx context.Context, key domain.SigningKey, v domain.ViewProof) (string, error) {
	return through(ctx, p, "SignProof", func(ctx context.Context) (string, error) {
		return p.Signer.SignProof(ctx, key, v)
	})
}

func (p *probe) Verify(ctx context.Context, find port.FindKey, token string) (domain.AccessToken, error) {
	return through(ctx, p, "Verify", func(ctx context.Context) (domain.AccessToken, error) {
		t, err := p.Signer.Verify(ctx, find, token)
		if err == nil && p.verified != nil {
			t = *p.verified
		}
		return t, err
	})
}

func (p *probe) JWKS(keys []domain.SigningKey) ([]byte, error) {
	return through(context.Background(), p, "JWKS",
		func(context.Context) ([]byte, error) { return p.Signer.JWKS(keys) })
}

func (p *probe) Forget(key domain.SigningKey) {
	p.mu.Lock()
	p.forgotten = append(p.forgotten, key.ID)
	p.mu.Unlock()
	p.Signer.Forget(key)
}

// byBackend is the origin of the requests of these tests.
var byBackend = domain.Origin{
	Actor: domain.Actor{Kind: domain.ActorAPIKey, Name: "backend", Address: "192.0.2.1"}, RequestID: "request-1",
}

// events returns all events that are stored, from the lowest id to the highest.
func (w *world) events(t *testing.T) []domain.Event {
	t.Helper()
	page, err := w.store.Events(t.Context(), port.EventQuery{Limit: 1000, MaxBytes: 1 << 30})
	must(t, err)
	slices.Reverse(page.Events)
	return slices.DeleteFunc(page.Events, storagetest.OfSetup)
}

// wantEvents compares events except for their ids, which must differ and have the time of the event.
func wantEvents(t *testing.T, got []domain.Event, want ...domain.Event) {
	t.Helper()
	ids := make(map[domain.ID]bool)
	for i, e := range got {
		made, ok := e.ID.Time()
		if !ok || ids[e.ID] || !made.Equal(e.At.Truncate(time.Millisecond)) {
			t.Errorf("event %d has the id %s, made at %s, want a new one of %s", i, e.ID, made, e.At)
		}
		ids[e.ID] = true
		got[i].ID = domain.ID{}
	}
	if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" {
		t.Errorf("events: (-want +got)\n%s", d)
	}
}
