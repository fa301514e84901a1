package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/refreshd/refreshd/adapter/cli"
	"github.com/refreshd/refreshd/adapter/gormstore"
	"github.com/refreshd/refreshd/adapter/httpapi"
	"github.com/refreshd/refreshd/adapter/jwxsigner"
	"github.com/refreshd/refreshd/adapter/logsink"
	"github.com/refreshd/refreshd/adapter/memstore"
	"github.com/refreshd/refreshd/adapter/metrics"
	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/config"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
	"github.com/refreshd/refreshd/usecase"
)

// The files beside an embedded database.
const (
	masterKeyName = "master.key"
	firstKeyName  = "first-api-key"
)

// service is the parts of a running refreshd, put together.
type service struct {
	store   port.Store
	signer  port.Signer
	keys    *usecase.Keys
	metrics *metrics.Metrics
	log     *slog.Logger
	clock   usecase.Clock
}

// newService is what needs no store.
func (p process) newService(c config.Config) *service {
	return &service{
		signer: jwxsigner.New(rand.Reader), metrics: metrics.New(programVersion()), log: p.logger(c), clock: time.Now,
	}
}

// open connects to the store, checks its schema or, if it is embedded, brings it up, and opens the keys in it. An error has changed
// nothing else.
func (p process) open(ctx context.Context, c config.Config) (*service, error) {
	s := p.newService(c)
	if sink, ok := p.stderr.(*logsink.Sink); ok {
		s.metrics.LogLinesLost(sink.Lost)
	}
	var err error
	if c.Database.Engine == config.SQLite {
		unlock, err := aloneIn(ctx, filepath.Dir(c.Database.Path))
		if err != nil {
			return nil, err
		}
		defer unlock()
	}
	if s.store, err = s.openStore(ctx, c); err != nil {
		return nil, err
	}
	if err := s.openKeys(ctx, c, false); err != nil {
		return nil, errors.Join(err, s.store.Close())
	}
	return s, nil
}

// openReadOnly is open for a look at the store: it writes nothing, makes no file, and brings no schema up. What is not
// there is empty.
func (p process) openReadOnly(ctx context.Context, c config.Config) (*service, error) {
	s := p.newService(c)
	if err := refuseALostDatabase(c); err != nil {
		return nil, err
	}
	if c.Database.Engine == config.SQLite {
		nothing, err := gormstore.HoldsNothing(c.Database.Path)
		if err != nil {
			return nil, err
		}
		if nothing {
			c.Database.Engine, s.store = config.Memory, memstore.New()
		}
	}
	if s.store == nil {
		store, err := openDatabase(ctx, c, s.log)
		if err != nil {
			return nil, err
		}
		s.store = store
		if err := store.Ready(ctx); err != nil {
			return nil, errors.Join(err, store.Close())
		}
	}
	if err := s.openKeys(ctx, c, true); err != nil {
		return nil, errors.Join(err, s.store.Close())
	}
	return s, nil
}

// aloneIn has processes that are started concurrently in one directory make its database and its keys one after
// another. Each of them alone could be made exclusively; but between two, a process would take another's first half for
// the traces of a database that was lost, or overwrite its API key.
func aloneIn(ctx context.Context, dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return func() {}, nil // to open the database there will tell more
	}
	unlock, err = lock(ctx, dir)
	if err != nil && ctx.Err() != nil {
		return nil, fmt.Errorf("wait for another process that is starting in %s: %w", dir, err)
	}
	if err != nil || unlock == nil {
		return func() {}, nil
	}
	// Nobody else writes here now, so what is unfinished stays so.
	if err := cli.RemoveUnfinished(dir); err != nil {
		unlock()
		return nil, err
	}
	return unlock, nil
}

func (s *service) openStore(ctx context.Context, c config.Config) (port.Store, error) {
	if c.Database.Engine == config.Memory {
		return s.metrics.Store(memstore.New()), nil
	}
	if err := refuseALostDatabase(c); err != nil {
		return nil, err
	}
	migrated := slog.LevelInfo
	if c.Database.Engine == config.SQLite {
		if isNew, err := gormstore.HoldsNothing(c.Database.Path); err == nil && isNew {
			migrated = slog.LevelDebug // of a first start, which has other things to say
		}
	}
	store, err := openDatabase(ctx, c, s.log)
	if err != nil {
		return nil, err
	}
	if c.Database.Engine == config.SQLite {
		err = store.Migrate(ctx, func(line string) { s.log.Log(ctx, migrated, line, "event", eventMigrated) })
	}
	if err == nil {
		err = store.Ready(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	s.metrics.Pool(store.Stats)
	if c.Database.WriteCombining {
		s.metrics.Sharing(func() metrics.Sharing { return metrics.Sharing(store.Sharing()) })
	}
	if c.Database.Engine == config.Postgres {
		s.metrics.TableStatistics(func(ctx context.Context) (metrics.Tables, error) {
			t, err := store.TableStatistics(ctx)
			return metrics.Tables(t), err
		})
	}
	return s.metrics.Store(store), nil
}

// refuseALostDatabase returns an error where a database that was here before is not: a new one in its place would answer every token
// string that is out there with [invalid], and the clients would drop it. The keys beside a database are written after it; but a master
// key that is named in the configuration may be an operator's, laid down before.
func refuseALostDatabase(c config.Config) error {
	if c.Database.Engine != config.SQLite {
		return nil
	}
	if nothing, err := gormstore.HoldsNothing(c.Database.Path); err != nil || !nothing {
		return err
	}
	traces := []string{firstKeyName}
	if c.MasterKey.IsZero() {
		traces = append(traces, masterKeyName)
	}
	for _, name := range traces {
		trace := filepath.Join(filepath.Dir(c.Database.Path), name)
		if _, err := os.Lstat(trace); err == nil {
			return fmt.Errorf("the database %s is not there or empty, but %s beside it is: a database was here before. Put it back, or "+
				"name the right one in REFRESHD_DATABASE_URL; `refreshd migrate` makes a new one here, which knows nothing that was "+
				"issued before. Nothing was changed", c.Database.Path, trace)
		}
	}
	return nil
}

func openDatabase(ctx context.Context, c config.Config, log *slog.Logger) (*gormstore.Store, error) {
	o := gormstore.Options{MaxConnections: c.Database.MaxConnections, OneByOne: !c.Database.WriteCombining, Logger: log}
	if c.Database.Engine == config.SQLite {
		return gormstore.OpenSQLite(ctx, c.Database.Path, o)
	}
	return gormstore.OpenPostgres(ctx, c.Database.URL, o)
}

func (s *service) openKeys(ctx context.Context, c config.Config, readOnly bool) error {
	master, err := masterKey(ctx, c, s.store, readOnly)
	if err != nil {
		return err
	}
	k := usecase.KeysConfig{Store: s.store, Signer: s.signer, Master: master, Clock: s.clock, Random: rand.Reader}
	k.ReadOnly = readOnly
	if !c.MasterKeyPrevious.IsZero() {
		previous, err := domain.ParseMasterKey(c.MasterKeyPrevious)
		if err != nil {
			return fmt.Errorf("REFRESHD_MASTER_KEY_PREVIOUS: %w", err)
		}
		k.Previous = &previous
	}
	s.keys, err = usecase.OpenKeys(ctx, k)
	if errors.Is(err, domain.ErrWrongMasterKey) {
		return fmt.Errorf("%w: start with the master key that this store was made with; to change it, name that one in "+
			"REFRESHD_MASTER_KEY_PREVIOUS. Nothing was changed", err)
	}
	return err
}

// masterKey is the configured one; or, with an embedded store and nothing configured, the one in the file beside it, which is
// made for an empty store and never again; by a reader that writes nothing it is made up.
func masterKey(ctx context.Context, c config.Config, store port.Store, readOnly bool) (domain.MasterKey, error) {
	switch {
	case !c.MasterKey.IsZero():
		return domain.ParseMasterKey(c.MasterKey)
	case c.Database.Engine == config.Memory:
		key, _, err := domain.NewMasterKey(rand.Reader)
		return key, err
	case c.Database.Engine == config.Postgres:
		return domain.MasterKey{}, errors.New("PostgreSQL needs a master key of yours, and none is set, or an empty one: " +
			"set REFRESHD_MASTER_KEY or REFRESHD_MASTER_KEY_FILE, made with `openssl rand -base64 32`, and keep a copy: " +
			"without it the store is of no use")
	}
	path := filepath.Join(filepath.Dir(c.Database.Path), masterKeyName)
	key, err := readMasterKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	revision, err := store.KeyRevision(ctx)
	if err != nil {
		return domain.MasterKey{}, err
	}
	hasData, err := store.HasData(ctx)
	if err != nil {
		return domain.MasterKey{}, err
	}
	if revision > 0 || hasData {
		return domain.MasterKey{}, fmt.Errorf("the master key file %s is gone, and the store's keys are sealed with what was in it: "+
			"put it back, or set REFRESHD_MASTER_KEY; nothing was changed", path)
	}
	key, text, err := domain.NewMasterKey(rand.Reader)
	if err != nil || readOnly {
		return key, err
	}
	err = cli.WriteKeyFile(path, text)
	if errors.Is(err, fs.ErrExist) { // of a process that was faster, where there is no lock
		return readMasterKey(path)
	}
	return key, err
}

func readMasterKey(path string) (domain.MasterKey, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return domain.MasterKey{}, fmt.Errorf("read the master key: %w", err)
	}
	key, err := domain.ParseMasterKey(domain.NewSecret(string(text)))
	if err != nil {
		return domain.MasterKey{}, fmt.Errorf("the master key file %s: %w", path, err)
	}
	return key, nil
}

// api puts the use cases behind HTTP.
func (s *service) api(
	ctx context.Context, c config.Config, publicURL string, ready func(context.Context) error,
) (*httpapi.API, error) {
	origins, err := web.ParseOrigins(c.CORSOrigins)
	if err != nil {
		return nil, err
	}
	tenantID, applicationID, err := s.examples(ctx)
	if err != nil {
		return nil, err
	}
	limits := web.RateLimits{
		Address: c.RateLimits.Address, APIKey: c.RateLimits.APIKey, RefreshToken: c.RateLimits.RefreshToken,
		Running: max(1, min(c.Database.MaxConnections/2, 2*runtime.GOMAXPROCS(0))),
	}
	guard := web.NewGuard(limits, c.TrustedProxies, s.clock, s.metrics.Refused)
	s.metrics.InProgress(guard.InProgress, web.Refusals)
	s.metrics.Count(metrics.Events(httpapi.Counted))
	minter := usecase.Minter{Keys: s.keys, Signer: s.signer, PublicURL: publicURL}
	return &httpapi.API{
		Issue: &usecase.Issue{
			Tokens: s.store, Revocations: s.store, Applications: s.store, Minter: minter, Clock: s.clock, Random: rand.Reader,
			PurgeAfter: c.PurgeAfter,
		},
		Exchange: &usecase.Exchange{
			Tokens: s.store, Minter: minter, Clock: s.clock, Restored: c.Restored,
		},
		List: &usecase.List{Tokens: s.store, Clock: s.clock},
		Patch: &usecase.Patch{
			Tokens: s.store, Applications: s.store, PublicURL: publicURL, Clock: s.clock, Random: rand.Reader,
		},
		Revoke: &usecase.Revoke{Revocations: s.store, Keys: s.keys, Clock: s.clock},
		Logout: &usecase.Logout{
			Revocations: s.store, Tokens: s.store, Applications: s.store, Keys: s.keys, Clock: s.clock,
		},
		Authenticate: &usecase.Authenticate{
			APIKeys: s.store, Tokens: s.store, Tenants: s.store, Keys: s.keys, Clock: s.clock,
		},
		Publish:   &usecase.Publish{Tenants: s.store, Keys: s.keys, Clock: s.clock},
		Ready:     ready,
		PublicURL: publicURL, ExampleTenantID: tenantID, ExampleApplicationID: applicationID,
		Log: s.log, Origins: origins, TrustedProxies: c.TrustedProxies, Guard: guard,
		Observe:   func(r web.Response) { s.metrics.Observe(metrics.Response(r)) },
		Exchanged: func(e usecase.Exchanged) { s.metrics.Exchanged(e.Outcome, e.AddressChanged, e.Why) },
	}, nil
}

// examples are for the documents, which are public: the tenant and its first application, if there is just one tenant.
// Of several tenants none is named, or each would learn of another.
func (s *service) examples(ctx context.Context) (tenantID, applicationID string, err error) {
	t, one, err := usecase.OnlyTenant(ctx, s.store)
	if err != nil || !one {
		return "", "", err
	}
	applications, _, err := s.store.Applications(ctx, t.ID, "", 1)
	if err != nil || len(applications) == 0 {
		return t.ID, "", err
	}
	return t.ID, applications[0].ID, nil
}

func (s *service) applier() *usecase.Apply {
	return &usecase.Apply{
		Tenants: s.store, Applications: s.store, APIKeys: s.store, Keys: s.keys, Clock: s.clock, Random: rand.Reader,
	}
}

func (p process) logger(c config.Config) *slog.Logger {
	o := &slog.HandlerOptions{Level: c.LogLevel}
	to := func(w io.Writer) *slog.Logger { return slog.New(slog.NewJSONHandler(w, o)) }
	if c.LogFormat == config.LogText || c.LogFormat == config.LogAuto && cli.IsTerminal(p.stderr) {
		to = func(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, o)) }
	}
	if sink, ok := p.stderr.(*logsink.Sink); ok {
		sink.Announce(func(lines int64) []byte {
			var line bytes.Buffer
			to(&line).Log(context.Background(), max(c.LogLevel, slog.LevelWarn),
				"lines of the log were lost here, because it was not read or could not be written",
				"event", eventLogLost, "lines", lines)
			return line.Bytes()
		})
	}
	return to(p.stderr)
}
