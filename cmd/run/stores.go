package run

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"time"

	"github.com/refreshd/refreshd/adapter/cli"
	"github.com/refreshd/refreshd/adapter/gormstore"
	"github.com/refreshd/refreshd/adapter/memstore"
	"github.com/refreshd/refreshd/adapter/metrics"
	"github.com/refreshd/refreshd/config"
	"github.com/refreshd/refreshd/port"
)

// Store is a kind of store: which database URLs belong to it, how they are opened, and how a service starts because of
// where the database is.
//
// A Store with only a name and Open is shared: REFRESHD_MASTER_KEY and REFRESHD_PUBLIC_URL have to be set, since all
// processes need the same values; only `refreshd migrate` changes the schema; and the first API keys come from a
// kickstart file.
//
// A Local store is migrated at each start, and given an API key at the first one. If it is not Embedded, it is in the
// memory of one process and ends with it.
type Store struct {
	config.Scheme
	// Title names the database system in messages; if empty, it is the name of the scheme.
	Title string
	// Open opens the database, and does not change the schema.
	Open func(ctx context.Context, d config.Database, log *slog.Logger) (Opened, error)
	// Schema returns the schema of the database. It writes nothing, and creates no database. Nil if there is no
	// schema.
	Schema func(ctx context.Context, d config.Database) (Schema, error)
	// Examine checks what only this kind of store has, such as the role, the pooler and the standbys of a server. It
	// writes nothing, and creates no database. clock is that of this process. Nil if there is nothing to check.
	Examine func(ctx context.Context, d config.Database, clock func() time.Time) ([]Finding, error)
	// Embedded is set if the database is in a file of this machine. The store is then Local.
	Embedded *Embedded
}

// Embedded is the place of a database without a server. Its keys are in files beside it.
type Embedded struct {
	// File is the path of the database.
	File func(d config.Database) string
	// HoldsNothing reports whether there is no database at path, or an empty one. It changes nothing.
	HoldsNothing func(path string) (bool, error)
}

// Schema is the state of a database's schema.
type Schema struct {
	Version int64    // of the newest migration that was applied; 0 if there is none, or no database
	Program int64    // that this program needs
	Pending []string // the names of the migrations that were not applied, in order
}

// Finding is the result of a check of `refreshd doctor`. Its texts hold no secret.
type Finding = cli.Finding

// Opened is an open store.
type Opened struct {
	port.Store
	// Migrate brings the schema up to date, and calls progress, which is not nil, after each step. Nil if there is no
	// schema.
	Migrate func(ctx context.Context, progress func(line string)) error
	// LastPass returns when the last complete pass of the janitor ended; zero for none. It may be nil.
	LastPass func(ctx context.Context) (time.Time, error)
	// Measure, which may be nil, registers metrics of the store's own.
	Measure func(m *metrics.Metrics)
}

// stores are those that come with refreshd.
var stores = []Store{
	{Scheme: config.Memory, Open: openMemory},
	{
		Scheme: config.SQLite, Open: openSQLite, Schema: schemaOfSQLite,
		Embedded: &Embedded{File: config.Database.Rest, HoldsNothing: gormstore.HoldsNothing},
	},
	{Scheme: config.Postgres, Title: "PostgreSQL", Open: openPostgres, Schema: schemaOfPostgres,
		Examine: examinePostgres},
	{Scheme: config.PostgreSQL, Title: "PostgreSQL", Open: openPostgres, Schema: schemaOfPostgres,
		Examine: examinePostgres},
}

// schemeName is a scheme as RFC 3986, section 3.1, writes it in its canonical form.
var schemeName = regexp.MustCompile(`^[a-z][a-z0-9+.-]*$`)

// withStores returns the stores that come with refreshd, and others. It refuses two of one scheme: which of them
// opens a database must not depend on their order.
func withStores(others []Store) ([]Store, error) {
	all := slices.Clone(stores)
	for _, s := range others {
		switch {
		case !schemeName.MatchString(s.Name):
			return nil, fmt.Errorf("run: %q is not the name of a scheme", s.Name)
		case slices.ContainsFunc(all, func(other Store) bool { return other.Name == s.Name }):
			return nil, fmt.Errorf("run: there are two stores of the scheme %s", s.Name)
		case s.Open == nil:
			return nil, fmt.Errorf("run: the store of the scheme %s has no Open", s.Name)
		case s.Embedded != nil && (s.Embedded.File == nil || s.Embedded.HoldsNothing == nil):
			return nil, fmt.Errorf("run: the store of the scheme %s is embedded, and has no File or HoldsNothing", s.Name)
		}
		s.Local = s.Local || s.Embedded != nil
		s.Title = cmp.Or(s.Title, s.Name)
		all = append(all, s)
	}
	return all, nil
}

// storeOf returns the kind of the configured store.
func (p process) storeOf(c config.Config) Store {
	return p.stores[slices.IndexFunc(p.stores, func(s Store) bool { return s.Name == c.Database.Scheme })]
}

// schemes are those of the known stores.
func (p process) schemes() []config.Scheme {
	schemes := make([]config.Scheme, len(p.stores))
	for i, s := range p.stores {
		schemes[i] = s.Scheme
	}
	return schemes
}

func openMemory(context.Context, config.Database, *slog.Logger) (Opened, error) {
	return Opened{Store: memstore.New()}, nil
}

func openSQLite(ctx context.Context, d config.Database, log *slog.Logger) (Opened, error) {
	s, err := gormstore.OpenSQLite(ctx, d.Rest(), gormOptions(d, log))
	if err != nil {
		return Opened{}, err
	}
	return Opened{
		Store: s, Migrate: s.Migrate, LastPass: s.LastPass,
		Measure: func(m *metrics.Metrics) { measure(m, s, d) },
	}, nil
}

func openPostgres(ctx context.Context, d config.Database, log *slog.Logger) (Opened, error) {
	s, err := gormstore.OpenPostgres(ctx, d.URL, gormOptions(d, log))
	if err != nil {
		return Opened{}, err
	}
	return Opened{Store: s, Migrate: s.Migrate, LastPass: s.LastPass, Measure: func(m *metrics.Metrics) {
		measure(m, s, d)
		m.TableStatistics(func(ctx context.Context) (metrics.Tables, error) {
			t, err := s.TableStatistics(ctx)
			return metrics.Tables(t), err
		})
	}}, nil
}

func schemaOfSQLite(ctx context.Context, d config.Database) (Schema, error) {
	s, err := gormstore.SchemaOfSQLite(ctx, d.Rest())
	return Schema(s), err
}

func schemaOfPostgres(ctx context.Context, d config.Database) (Schema, error) {
	s, err := gormstore.SchemaOfPostgres(ctx, d.URL)
	return Schema(s), err
}

func examinePostgres(ctx context.Context, d config.Database, clock func() time.Time) (all []Finding, err error) {
	found, err := gormstore.ExaminePostgres(ctx, d.URL, clock)
	for _, f := range found {
		all = append(all, Finding(f))
	}
	return all, err
}

func gormOptions(d config.Database, log *slog.Logger) gormstore.Options {
	return gormstore.Options{MaxConnections: d.MaxConnections, OneByOne: !d.WriteCombining, Logger: log}
}

func measure(m *metrics.Metrics, s *gormstore.Store, d config.Database) {
	m.Pool(s.Stats)
	if d.WriteCombining {
		m.Sharing(func() metrics.Sharing { return metrics.Sharing(s.Sharing()) })
	}
}
