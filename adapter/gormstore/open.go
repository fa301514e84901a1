package gormstore

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"runtime"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/pressly/goose/v3"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"modernc.org/sqlite"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// Options of a store. The zero value is fine.
type Options struct {
	// MaxConnections limits the connections to PostgreSQL (0: 20), or those that read from SQLite (0: one a processor, at
	// least 4; one more writes).
	MaxConnections int
	// Logger gets every statement, without its values, at debug, and slow ones at warning. Errors are returned, not logged.
	Logger *slog.Logger
	// OneByOne writes each exchange by itself, also where many wait.
	OneByOne bool
}

// engine is where the two engines differ beside their hot statements and their migrations.
type engine struct {
	name          goose.Dialect
	advance, find string
	counts        [listedKinds]string
	// writes are how many exchanges, or batches of them, are written at once; together writes a batch.
	writes   int
	together func(*Store, context.Context, []*exchange) error
	// list is List.
	list func(*Store, context.Context, port.ListQuery) (port.Page, error)
	// change writes all changes or none; none with domain.ErrConflict.
	change func(s *Store, ctx context.Context, tenantID string, changes []changeRow, now int64, e domain.Event) error
	// writesInWith reports whether a statement can write in its WITH, and so a change and its event be one.
	writesInWith bool
	// purgeTokens deletes what was dead in a range of ids; clock asks what time it is, and is empty where the process knows as well.
	purgeTokens, clock string
	// eventsOfTenant asks for the next events of a tenant.
	eventsOfTenant string
	// statistics asks how exchanges are stored; empty where there is nothing to ask.
	statistics string
	// migrated asks whether any migration ever ran.
	migrated string
	// migrating opens a pool for migrations; apart, for those that run without a transaction.
	migrating func(apart bool) *sql.DB
	// present is asked after each call that succeeded, and returns an error if what it saw or wrote is not where the next process
	// looks. explain adds to an error what an operator can do about it.
	present func() error
	explain func(error) error
	// fits asks whether the server, and what stands before it, take what we write; nil where there is nothing to ask.
	fits func(*gorm.DB) error
	// limit is told when the server refuses another connection; nil where there is no server.
	limit *poolLimit
}

// OpenSQLite opens the database in the file at path, and creates an empty one if there is none. It does not migrate.
func OpenSQLite(ctx context.Context, path string, o Options) (*Store, error) {
	s, err := openSQLite(ctx, path, o)
	if err == nil {
		return s, nil
	}
	err = fmt.Errorf("gormstore: open the SQLite database %s: %w", path, err)
	if what := advice(err); what != "" {
		err = fmt.Errorf("%w: %s", err, what)
	}
	return nil, err
}

func openSQLite(ctx context.Context, path string, o Options) (*Store, error) {
	file := &sqliteFile{path: path}
	if err := file.place(); err != nil {
		return nil, err
	}
	if err := file.inspect(ctx); err != nil {
		return nil, err
	}
	writing, err := sqlite.NewConnector(sqliteDSN(path, "journal_mode(WAL)", "synchronous(FULL)"))
	if err != nil {
		return nil, err
	}
	reading, err := sqlite.NewConnector(sqliteDSN(path, "query_only(1)"))
	if err != nil {
		return nil, err
	}
	// The writer comes first: it puts the file into WAL mode, which a reader may not.
	write := newPool(preparing{writing, file.present}, 1)
	if err := write.PingContext(ctx); err != nil {
		return nil, errors.Join(err, write.Close())
	}
	hold := newPool(reading, 1)
	if err := file.holdLog(ctx, hold); err != nil {
		return nil, errors.Join(err, hold.Close(), write.Close())
	}
	read := newPool(preparing{reading, file.present}, cmp.Or(o.MaxConnections, max(4, runtime.NumCPU())))
	return newStore(o, engine{
		name:           goose.DialectSQLite3,
		advance:        advanceSQLite,
		find:           find(markedSQLite),
		list:           (*Store).listAsRead,
		counts:         countsSQLite,
		change:         (*Store).changeInTurn,
		writes:         1,
		together:       (*Store).advanceInTurn,
		purgeTokens:    purgeTokensSQLite,
		eventsOfTenant: eventsOfTenantSQLite,
		migrated:       migratedSQLite,
		migrating:      func(bool) *sql.DB { return newPool(writing, 1) },
		present:        file.present,
		explain:        file.explain,
	}, sqliteDialect{pool: write}, sqliteDialect{pool: read}, write, read, hold)
}

// sqliteDSN sets pragmas in the DSN, because those that a statement sets reach one connection only. A transaction takes the
// write lock when it begins: one that starts by reading cannot always get it later.
func sqliteDSN(path string, pragmas ...string) string {
	q := url.Values{
		"_txlock":   {"immediate"},
		"_dqs":      {"0"},
		"_error_rc": {"1"},
		"_pragma":   append([]string{"busy_timeout(5000)", "foreign_keys(1)"}, pragmas...),
	}
	return "file:" + strings.NewReplacer("%", "%25", "?", "%3F", "#", "%23").Replace(path) + "?" + q.Encode()
}

// OpenPostgres opens the database that dsn names, as a URL or as keywords and values. It does not migrate.
func OpenPostgres(ctx context.Context, dsn domain.Secret, o Options) (*Store, error) {
	config, err := pgx.ParseConfig(dsn.Reveal())
	if err != nil {
		// The cause quotes what it cannot parse, and a password may be in there.
		return nil, errors.New("gormstore: open PostgreSQL: the DSN is malformed: write postgres://USER:PASSWORD@HOST:PORT/DATABASE")
	}
	l := newLink(config)
	if hosts := l.plainTextHosts(); len(hosts) > 0 {
		orDiscard(o.Logger).Warn("the connection to the database may be plain text: "+
			"set sslmode=verify-full in REFRESHD_DATABASE_URL", "event", eventPlainText, "hosts", hosts)
	}
	limit := newPoolLimit(cmp.Or(o.MaxConnections, 20), orDiscard(o.Logger))
	pool := newPool(serving{l.connector(), limit}, limit.size)
	limit.pool = pool
	pool.SetConnMaxLifetime(30 * time.Minute) // so that load moves after a failover, and plans are made anew at last
	err = pool.PingContext(ctx)
	if err == nil {
		err = l.probe(ctx)
	}
	if err != nil {
		limit.close()
		return nil, fmt.Errorf("gormstore: open PostgreSQL: %w", errors.Join(err, pool.Close()))
	}
	dialect := postgresDialect{&postgres.Dialector{Config: &postgres.Config{Conn: pool}}}
	return newStore(o, engine{
		name:           goose.DialectPostgres,
		writesInWith:   true,
		advance:        advancePostgres,
		find:           find(markedPostgres),
		list:           (*Store).listInParts,
		counts:         countsPostgres,
		change:         (*Store).changeTogether,
		writes:         2,
		together:       (*Store).advanceTogether,
		purgeTokens:    purgeTokensPostgres,
		clock:          clockPostgres,
		statistics:     statistics,
		eventsOfTenant: eventsOfTenantPostgres,
		migrated:       migratedPostgres,
		migrating:      func(apart bool) *sql.DB { return newPool(l.migrating(apart), 2) },
		fits:           l.fits,
		limit:          limit,
		present:        func() error { return nil },
		explain:        func(err error) error { return err },
	}, dialect, dialect, pool, pool)
}

// newPool keeps as many connections as it may open: opening one costs more than all that is done with it in a second.
func newPool(c driver.Connector, size int) *sql.DB {
	pool := sql.OpenDB(c)
	pool.SetMaxOpenConns(size)
	pool.SetMaxIdleConns(size)
	pool.SetConnMaxIdleTime(5 * time.Minute)
	return pool
}

func newStore(o Options, e engine, write, read gorm.Dialector, pools ...*sql.DB) (*Store, error) {
	s := &Store{engine: e, pool: pools[0], close: func() error {
		if e.limit != nil {
			e.limit.close()
		}
		var errs []error
		for _, p := range pools {
			errs = append(errs, p.Close())
		}
		return errors.Join(errs...)
	}}
	config := func() *gorm.Config {
		return &gorm.Config{
			Logger:                 newStatementLog(o.Logger),
			SkipDefaultTransaction: true,
			TranslateError:         true,
			DisableAutomaticPing:   true,
		}
	}
	var err error
	if s.write, err = gorm.Open(write, config()); err != nil {
		return nil, errors.Join(err, s.close())
	}
	if s.read, err = gorm.Open(read, config()); err != nil {
		return nil, errors.Join(err, s.close())
	}
	if !o.OneByOne {
		s.combiner = newCombiner(e.writes, s.advanceAlone, func(ctx context.Context, batch []*exchange) error {
			return e.together(s, ctx, batch)
		})
	}
	return s, nil
}
