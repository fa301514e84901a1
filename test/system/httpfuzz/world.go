package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/refreshd/refreshd/adapter/gormstore"
	"github.com/refreshd/refreshd/adapter/httpapi"
	"github.com/refreshd/refreshd/adapter/jwxsigner"
	"github.com/refreshd/refreshd/adapter/memstore"
	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
	"github.com/refreshd/refreshd/usecase"
	"github.com/refreshd/refreshd/usecase/admin"
)

const ourOrigin = "https://app.acme.example" // the configured origin

var (
	began        = time.Date(2027, time.March, 4, 5, 6, 7, 891_234_000, time.UTC)
	tenants      = []string{"acme", "globex"}
	applications = []string{"shop", "blog", "locked", "cookies", "kiosk", "dark"}
	users        = []string{"ada", "Zoë 用户", `bob' OR 1=1 --`, `<b>"eve"</b>\`, "\u202egnp.exe\u2066"}
)

// A world is a whole service on a store of its own. Its clock and its source of randomness follow from its seed, so
// that the same requests get the same responses when the world is made again.
type world struct {
	document string // tokens, administration or oauth
	seed     uint64
	rng      *rand.Rand
	random   *rand.ChaCha8
	store    *watched
	server   *web.Server
	log      lockedBuffer
	addr     string
	conn     *conn
	dir      string

	now      time.Time // the service's time, which moves only between requests
	keys     map[string]string
	sessions []*session
	links    []link // next pages that were offered
	previous map[domain.ID]domain.Snapshot
	made     map[string]int    // mutations, by name
	formed   map[string]int    // unchanged calls in a form that succeeded, by form
	answered int               // responses of the service itself, each of which has a line in the log
	config   map[string]object // of a world of administration: what the store held, by kind and id
	shown    []string          // keys that were made or given
	issue    *usecase.Issue    // of a world of oauth
}

// A session is a refresh token as its owner knows it.
type session struct {
	tenant, application, user string
	id                        domain.ID
	strings                   []string // every token string, the newest last
	access                    string   // the latest access token
}

func (s *session) current() string { return s.strings[len(s.strings)-1] }

type link struct{ tenant, target string }

// watched records the ids of all refresh tokens, and counts wide revocations, which snapshots show only by the tokens
// that they end.
type watched struct {
	port.Store
	ids    []domain.ID
	scopes int
}

func (w *watched) Insert(ctx context.Context, t domain.RefreshToken) (domain.RefreshToken, error) {
	stored, err := w.Store.Insert(ctx, t)
	if err == nil && !slices.Contains(w.ids, t.ID) {
		w.ids = append(w.ids, t.ID)
	}
	return stored, err
}

func (w *watched) RevokeScope(
	ctx context.Context, s domain.Scope, except domain.ID, r port.Revocation, e domain.Event,
) (uint64, error) {
	epoch, err := w.Store.RevokeScope(ctx, s, except, r, e)
	if err == nil {
		w.scopes++
	}
	return epoch, err
}

// A lockedBuffer takes the log.
type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

// newWorld makes a service on a store of that kind, with the middleware of the plan, and serves it on the loopback.
func newWorld(
	ctx context.Context, p plan, storeKind, document string, seed uint64,
) (w *world, err error) {
	var key [32]byte
	copy(key[:], fmt.Sprintf("httpfuzz world %d", seed))
	w = &world{
		document: document, seed: seed, rng: rand.New(rand.NewPCG(seed, 0)), random: rand.NewChaCha8(key), now: began,
		keys:     map[string]string{},
		previous: map[domain.ID]domain.Snapshot{}, made: map[string]int{}, formed: map[string]int{},
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	var store port.Store
	switch storeKind {
	case "memory":
		store = memstore.New()
	case "sqlite":
		if w.dir, err = os.MkdirTemp("", "httpfuzz"); err != nil {
			return w, err
		}
		db, err := gormstore.OpenSQLite(ctx, filepath.Join(w.dir, "refreshd.db"), gormstore.Options{})
		if err != nil {
			return w, err
		}
		store = db
		if err := db.Migrate(ctx, func(string) {}); err != nil {
			return w, errors.Join(err, db.Close())
		}
	case "postgres":
		dsn, err := p.database(ctx)
		if err != nil {
			return w, err
		}
		db, err := gormstore.OpenPostgres(ctx, domain.NewSecret(dsn), gormstore.Options{})
		if err != nil {
			return w, err
		}
		store = db
		if err := db.Migrate(ctx, func(string) {}); err != nil {
			return w, errors.Join(err, db.Close())
		}
	default:
		return w, fmt.Errorf("there is no store %q: use memory, sqlite or postgres", storeKind)
	}
	w.store = &watched{Store: store}
	handler, err := w.service(ctx)
	if err != nil {
		return w, err
	}
	if p.wrap != nil {
		handler = p.wrap(w, handler)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return w, err
	}
	w.addr = listener.Addr().String()
	w.server = web.NewServer(handler, slog.New(slog.DiscardHandler)) // net/http logs none of the requests that count
	go func() { _ = w.server.Serve(listener) }()
	return w, nil
}

func (w *world) clock() time.Time { return w.now }

// service wires the use cases as the composition root does, and fills the store.
func (w *world) service(ctx context.Context) (http.Handler, error) {
	signer := jwxsigner.New(w.random)
	master, _, err := domain.NewMasterKey(w.random)
	if err != nil {
		return nil, err
	}
	keys, err := usecase.OpenKeys(ctx, usecase.KeysConfig{
		Store: w.store, Signer: signer, Master: master, Clock: w.clock, Random: w.random,
		CacheAge: 2 * time.Hour, Rotation: 90 * 24 * time.Hour,
		Pause: func(context.Context, time.Duration) error { return nil },
	})
	if err != nil {
		return nil, err
	}
	apply := &admin.Apply{
		Tenants: w.store, Applications: w.store, APIKeys: w.store, Keys: keys, Clock: w.clock, Random: w.random,
	}
	k := w.kickstart()
	if w.document == oauth {
		w.addPartner(&k, keys)
	}
	if _, err := apply.Do(ctx, k); err != nil {
		return nil, err
	}
	origins, err := web.ParseOrigins([]string{ourOrigin})
	if err != nil {
		return nil, err
	}
	const publicURL = "https://refreshd.example"
	minter := usecase.Minter{Keys: keys, Signer: signer, PublicURL: publicURL}
	api := &httpapi.API{
		Issue: &usecase.Issue{
			Tokens: w.store, Revocations: w.store, Applications: w.store, Minter: minter, Clock: w.clock, Random: w.random,
			PurgeAfter: 24 * time.Hour,
		},
		Exchange: &usecase.Exchange{Tokens: w.store, Minter: minter, Clock: w.clock},
		List:     &usecase.List{Tokens: w.store, Clock: w.clock},
		Patch: &usecase.Patch{Tokens: w.store, Applications: w.store, PublicURL: publicURL, Clock: w.clock,
			Random: w.random},
		Revoke: &usecase.Revoke{Revocations: w.store, Applications: w.store, Keys: keys, Clock: w.clock},
		Logout: &usecase.Logout{
			Revocations: w.store, Tokens: w.store, Keys: keys, Clock: w.clock,
		},
		Publish:  &usecase.Publish{Tenants: w.store, Keys: keys, Clock: w.clock, RootTenant: "acme"},
		Ready:    w.store.Ready,
		Examples: httpapi.Examples{URL: publicURL},
	}
	dialect, err := api.Dialect()
	switch w.document {
	case administration:
		dialect, err = w.administration(keys)
	case oauth:
		dialect, err = w.oauth(keys, minter)
	}
	if err != nil {
		return nil, err
	}
	return web.New(web.Options{
		Proofs: &usecase.Proofs{Signer: signer, Keys: keys, Tenants: w.store, PublicURL: publicURL, Clock: w.clock},
		Authenticate: &usecase.Authenticate{APIKeys: w.store, Tokens: w.store, Tenants: w.store, Keys: keys,
			Clock: w.clock},
		Log:            slog.New(slog.NewJSONHandler(&w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Pages:          web.Pages{PublicURL: publicURL, Origins: origins},
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
	}, dialect)
}

// kickstart makes two tenants whose applications have the same names, so that only the tenant separates them.
func (w *world) kickstart() (k admin.Kickstart) {
	for _, id := range tenants {
		k.Tenants = append(k.Tenants, admin.KickstartTenant{
			// EdDSA is the only fast algorithm that makes the same key from the same source of randomness.
			Tenant: domain.Tenant{ID: id, Name: id, Settings: domain.Settings{Algorithm: new(domain.EdDSA)}},
			Applications: []domain.Application{
				{ID: "shop", Name: "Shop"},
				{ID: "blog", Name: "Blog", Settings: domain.Settings{
					GraceSeconds: new(int64(0)), RecoveryBurst: new(int64(0)), MaximumActiveTokens: new(int64(3)),
				}},
				{ID: "locked", Name: "Locked", Settings: domain.Settings{RequireAuthentication: new(true)}},
				{ID: "cookies", Name: "Cookies", Settings: domain.Settings{CookieOnly: new(true),
					CookieDomain: new("acme.example")}},
				{ID: "kiosk", Name: "Kiosk", Settings: domain.Settings{Usage: new(domain.Reusable)}},
				{ID: "dark", Name: "Dark", Settings: domain.Settings{Active: new(false)}},
			},
		})
		w.addKey(&k, id, id, domain.Permissions{
			"/jwt/issue": {"POST"}, "/jwt/refresh": {"*"}, "/sessions": {"GET"},
		}, time.Time{})
		w.addKey(&k, id+" powerless", id, domain.Permissions{"/tenant": {"DELETE"}}, time.Time{})
		w.addKey(&k, id+" expired", id, domain.Permissions{"*": {"*"}}, began)
	}
	w.addKey(&k, "everywhere", "", domain.Permissions{"*": {"*"}}, time.Time{})
	if w.document == administration {
		w.addOperators(&k)
	}
	return k
}

func (w *world) addKey(k *admin.Kickstart, name, tenant string, p domain.Permissions, expires time.Time) {
	key := fmt.Sprintf("ak_%032x", w.rng.Uint64())
	w.keys[name] = key
	k.APIKeys = append(k.APIKeys, admin.KickstartAPIKey{
		APIKey: domain.APIKey{Name: name, TenantID: tenant, Permissions: p, ExpiresAt: expires}, Key: domain.NewSecret(key),
	})
}

func (w *world) snapshot(ctx context.Context) (map[domain.ID]domain.Snapshot, error) {
	all := make(map[domain.ID]domain.Snapshot, len(w.store.ids))
	for _, id := range w.store.ids {
		s, err := w.store.Snapshot(ctx, id)
		if err != nil {
			return nil, fmt.Errorf("snapshot of %s: %w", id, err)
		}
		all[id] = s
	}
	return all, nil
}

func (w *world) close() error {
	var errs []error
	if w.conn != nil {
		errs = append(errs, w.conn.Close())
	}
	if w.server != nil {
		errs = append(errs, w.server.Close())
	}
	if w.store != nil {
		errs = append(errs, w.store.Close())
	}
	if w.dir != "" {
		errs = append(errs, os.RemoveAll(w.dir))
	}
	return errors.Join(errs...)
}

// pick returns a random element.
func pick[T any](r *rand.Rand, of []T) T { return of[r.IntN(len(of))] }

// alive returns a session that should be active; otherwise any session, and nil if there is none.
func (w *world) alive(fits func(*session) bool) *session {
	var living, all []*session
	for _, s := range w.sessions {
		if !fits(s) {
			continue
		}
		all = append(all, s)
		if w.previous[s.id].Alive(w.now) {
			living = append(living, s)
		}
	}
	switch {
	case len(living) > 0 && w.rng.IntN(10) > 0:
		return pick(w.rng, living)
	case len(all) > 0:
		return pick(w.rng, all)
	}
	return nil
}
