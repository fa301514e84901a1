package admin_test

import (
	"context"
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
	store  *memstore.Store // without the probe, to inspect and to prepare
	probe  *probe          // what the use cases are given
	master domain.MasterKey
}

// replica is one process.
type replica struct {
	keys         *usecase.Keys
	issue        *usecase.Issue
	exchange     *usecase.Exchange
	authenticate *usecase.Authenticate
	apply        *admin.Apply
	tenants      *admin.Tenants
	applications *admin.Applications
	apiKeys      *admin.APIKeys
}

// newWorld returns a world with the tenants acme and globex, each with a shop; acme has a guarded application too.
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
	w.probe.forget()
	return w
}

// emptyWorld returns a world with a store on which no process has started.
func emptyWorld(t *testing.T) *world {
	t.Helper()
	w := &world{clock: &clock{t0}, random: newCounting(), store: memstore.New()}
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
	return usecase.KeysConfig{Store: w.probe, Signer: w.probe, Master: w.master, Clock: w.clock.now, Random: w.random}
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
			Tokens: w.store, Revocations: w.store, Applications: w.store, Minter: minter, Clock: clock, Random: w.random,
		},
		exchange:     &usecase.Exchange{Tokens: w.store, Minter: minter, Clock: clock},
		authenticate: &usecase.Authenticate{APIKeys: w.store, Tokens: w.store, Tenants: w.store, Keys: keys, Clock: clock},
		apply: &admin.Apply{
			Tenants: w.probe, Applications: w.probe, APIKeys: w.probe, Keys: keys, Clock: clock, Random: w.random,
		},
		tenants: &admin.Tenants{
			Tenants: w.probe, Applications: w.probe, Keys: keys, Clock: clock, Random: w.random,
		},
		applications: &admin.Applications{
			Tenants: w.probe, Applications: w.probe, Keys: keys, Clock: clock, Random: w.random,
		},
		apiKeys: &admin.APIKeys{APIKeys: w.probe, Tenants: w.probe, Keys: keys, Clock: clock, Random: w.random},
	}
}

// operator is the origin of the writes of most tests, which have the store in hand.
var operator = admin.By{
	Operator: true, Origin: domain.Origin{Actor: domain.Actor{Kind: domain.ActorService, Name: "op"}, RequestID: "r"},
}

// forTenant returns by for one tenant.
func forTenant(by admin.By, tenantID string) admin.By {
	by.TenantID = tenantID
	return by
}

// events returns the events that op caused, from the first to the last, without id.
func (w *world) events(t *testing.T) (events []domain.Event) {
	t.Helper()
	page, err := w.store.Events(t.Context(), port.EventQuery{Limit: 1000, MaxBytes: 1 << 30})
	must(t, err)
	slices.Reverse(page.Events)
	for _, e := range page.Events {
		if e.Origin == operator.Origin && e.Kind != domain.KeyAdded {
			e.ID = domain.ID{}
			events = append(events, e)
		}
	}
	return events
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

// exchanged returns the outcome of an exchange of the token string.
func (r replica) exchanged(t *testing.T, tokenString domain.Secret) domain.Outcome {
	t.Helper()
	out, err := r.exchange.Do(t.Context(), usecase.ExchangeInput{TokenString: tokenString})
	must(t, err)
	return out.Outcome
}

// byKey authenticates with an API key, for no tenant in particular.
func (r replica) byKey(t *testing.T, key domain.Secret, action domain.Action) (usecase.Caller, error) {
	return r.authenticate.Do(t.Context(), usecase.Credential{APIKey: key}, action, "")
}

// sealed returns the keys that the store holds, without their revisions.
func (w *world) sealed(t *testing.T) []domain.SealedKey {
	t.Helper()
	keys, err := w.store.KeysSince(t.Context(), 0, 1000)
	must(t, err)
	for i := range keys {
		keys[i].Revision = 0
	}
	return keys
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

// anyOrder compares lists of texts as sets: the ids of events that are made within one millisecond have no order.
var anyOrder = cmp.Options{cmpopts.SortSlices(strings.Compare), cmpopts.EquateEmpty()}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// clock stands still until it is moved. It is moved only while nothing else runs.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

// counting is a source of the same bytes in every run.
type counting struct {
	mu     sync.Mutex
	source *rand.ChaCha8
}

func newCounting() *counting { return &counting{source: rand.NewChaCha8([32]byte{7})} }

func (c *counting) Read(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
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
}

// fault is a way in which a call of a port fails.
type fault string

const (
	notDone fault = "failed, and was not done"
	done    fault = "was done, and its answer lost"
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
	how := p.next(name)
	if how == "" {
		return call(ctx)
	}
	if how == done {
		_, _ = call(ctx)
	}
	p.strike()
	return nothing, fmt.Errorf("%s: %w", name, errPort)
}

func (p *probe) do(ctx context.Context, name string, call func(context.Context) error) error {
	_, err := through(ctx, p, name, func(ctx context.Context) (struct{}, error) { return struct{}{}, call(ctx) })
	return err
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

func (p *probe) NewKey(a domain.Algorithm, bits int) (domain.Secret, error) {
	return through(context.Background(), p, "NewKey",
		func(context.Context) (domain.Secret, error) { return p.Signer.NewKey(a, bits) })
}

// kickstart returns a tenant whose users may have two sessions in one of its applications.
func kickstart() admin.Kickstart {
	return admin.Kickstart{
		Tenants: []admin.KickstartTenant{{
			Tenant: domain.Tenant{ID: "acme", Name: "Acme", Issuer: "https://login.acme.example"},
			Applications: []domain.Application{
				{ID: "shop", Name: "Shop", Settings: domain.Settings{MaximumActiveTokens: new(int64(2))}},
				{ID: "terminal", Name: "Terminal", Settings: domain.Settings{Usage: new(domain.Reusable)}},
			},
		}},
		APIKeys: []admin.KickstartAPIKey{{
			APIKey: domain.APIKey{
				Name: "backend", TenantID: "acme",
				Permissions: domain.Permissions{"/jwt/issue": {"POST"}, "/jwt/refresh": {"GET", "DELETE"}},
			},
			Key: backendKey,
		}},
	}
}

var backendKey = domain.NewSecret("ak_backend-0123456789-0123456789")
