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

	"github.com/pressly/goose/v3"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"modernc.org/sqlite"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// Options configure a store. The zero value is valid.
type Options struct {
	// MaxConnections limits the connections to PostgreSQL (0: 20; feedConnections more are the feed's), or those that
	// read from SQLite (0: one for each processor, at least 4; one more writes).
	MaxConnections int
	// Logger receives every statement, without its values: at debug, slow ones at warning. Errors are returned, not
	// logged.
	Logger *slog.Logger
	// OneByOne turns group commit off: each exchange is written by itself.
	OneByOne bool
}

// engine is the difference between the engines, beside the migrations.
type engine struct {
	name          goose.Dialect
	advance, find string
	counts        [listedKinds]string
	// writes says how many exchanges, or batches of them, are written concurrently. writeBatch writes a batch.
	writes     writeRule
	writeBatch func(*Store, context.Context, []*exchange) error
	// list implements List.
	list func(*Store, context.Context, port.ListQuery) (port.Page, error)
	// change writes all changes or none, and returns domain.ErrConflict for none.
	change func(s *Store, ctx context.Context, tenantID string, changes []changeRow, now int64, e domain.Event) error
	// writesInWith: a statement can write in its WITH, so a change and its event are one statement.
	writesInWith bool
	// purgeTokens deletes those of ids, all that there are from after to the last one, that had ended before an instant.
	purgeTokens func(tx *gorm.DB, after []byte, ids [][]byte, before int64) *gorm.DB
	// revokeRotated returns the statement that revokes those of the same ids that were active at before, and were rotated
	// within r.
	revokeRotated func(tx *gorm.DB, after []byte, ids [][]byte, now, before int64, r port.RotationRange) *gorm.DB
	// clock asks for the time; it is empty if the process has the same clock.
	clock string
	// events are the statements of a page of events: of all, and of a tenant.
	events [2]eventTexts
	// statistics asks how exchanges are stored; empty if the engine has none.
	statistics string
	// migrated asks whether a migration ever ran.
	migrated string
	// migrating opens a pool for migrations. withoutTx is for those that run without a transaction.
	migrating func(withoutTx bool) *sql.DB
	// checkFiles runs after each call that succeeded. It returns an error if the next process would not find what the
	// call read or wrote. explain adds to an error what an operator can do.
	checkFiles func() error
	explain    func(error) error
	// checkServer checks that the server, and a pooler before it, accept the service's statements; nil without a
	// server.
	checkServer func(*gorm.DB) error
	// limit records that the server refuses another connection, and feedLimit one of the feed's; nil without a server.
	limit, feedLimit *poolLimit
}

// feedConnections are the feed's own: one reads while the other one writes.
const feedConnections = 2

// OpenSQLite opens the database in the file at path, and creates an empty one if there is none. It does not migrate.
func OpenSQLite(ctx context.Context, path string, o Options) (*Store, error) {
	s, err := openSQLite(ctx, path, o)
	if err == nil {
		return s, nil
	}
	return nil, advised(fmt.Errorf("gormstore: open the SQLite database %s: %w", path, err))
}

func openSQLite(ctx context.Context, path string, o Options) (*Store, error) {
	file := &sqliteFile{path: path}
	if err := file.create(); err != nil {
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
	// The writer opens first: it switches the file to WAL mode, which a reader may not do.
	write := newPool(preparing{writing, file.check}, 1)
	if err := write.PingContext(ctx); err != nil {
		return nil, errors.Join(err, write.Close())
	}
	hold := newPool(reading, 1)
	if err := file.holdLog(ctx, hold); err != nil {
		return nil, errors.Join(err, hold.Close(), write.Close())
	}
	read := newPool(preparing{reading, file.check}, cmp.Or(o.MaxConnections, max(4, runtime.NumCPU())))
	return newStore(o, engine{
		name:          goose.DialectSQLite3,
		advance:       advanceSQLite,
		find:          find(markedSQLite),
		list:          (*Store).listAsRead,
		counts:        countsSQLite,
		change:        (*Store).changeInTransaction,
		writes:        writeRule{most: 1},
		writeBatch:    (*Store).advanceInTransaction,
		purgeTokens:   purgeRangeSQLite,
		revokeRotated: revokeRangeSQLite,
		events:        eventTextsSQLite,
		migrated:      migratedSQLite,
		migrating:     func(bool) *sql.DB { return newPool(writing, 1) },
		checkFiles:    file.check,
		explain:       file.explain,
	}, sqliteDialect{pool: write}, sqliteDialect{pool: read}, sqliteDialect{pool: read}, write, read, hold)
}

// sqliteDSN sets pragmas in the DSN, because a statement sets them for one connection only. A transaction takes the
// write lock when it begins: one that begins by reading cannot always get it later.
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
	config, err := parseDSN(dsn)
	if err != nil {
		return nil, fmt.Errorf("gormstore: open PostgreSQL: %w", err)
	}
	l := newLink(config)
	if hosts := l.plainTextHosts(); len(hosts) > 0 {
		orDiscard(o.Logger).Warn("the connection to the database may be plain text: "+
			"set sslmode=verify-full in REFRESHD_DATABASE_URL", "event", eventPlainText, "hosts", hosts)
	}
	hosts := l.connector()
	pool, limit := newServingPool(hosts, cmp.Or(o.MaxConnections, 20), o.Logger)
	feed, feedLimit := newServingPool(hosts, feedConnections, o.Logger) // opens its connections when they are used
	err = pool.PingContext(ctx)
	if err == nil {
		err = l.probe(ctx)
	}
	if err != nil {
		limit.close()
		return nil, fmt.Errorf("gormstore: open PostgreSQL: %w", errors.Join(err, pool.Close(), feed.Close()))
	}
	dialect := func(pool *sql.DB) gorm.Dialector {
		return postgresDialect{&postgres.Dialector{Config: &postgres.Config{Conn: pool}}}
	}
	return newStore(o, engine{
		name:          goose.DialectPostgres,
		writesInWith:  true,
		advance:       advancePostgres,
		find:          find(markedPostgres),
		list:          (*Store).listInParts,
		counts:        countsPostgres,
		change:        (*Store).changeInStatement,
		writes:        sharedWrites.within(cmp.Or(o.MaxConnections, 20)),
		writeBatch:    (*Store).advanceInStatement,
		purgeTokens:   purgeIDsPostgres,
		revokeRotated: revokeIDsPostgres,
		clock:         clockPostgres,
		statistics:    statistics,
		events:        eventTextsPostgres,
		migrated:      migratedPostgres,
		migrating:     func(withoutTx bool) *sql.DB { return newPool(l.migrating(withoutTx), 2) },
		checkServer:   l.check,
		limit:         limit,
		feedLimit:     feedLimit,
		checkFiles:    func() error { return nil },
		explain:       func(err error) error { return err },
	}, dialect(pool), dialect(pool), dialect(feed), pool, feed)
}

// newServingPool returns a pool of connections that serve, and its limit.
func newServingPool(hosts connector, size int, log *slog.Logger) (*sql.DB, *poolLimit) {
	limit := newPoolLimit(size, orDiscard(log))
	limit.pool = newPool(serving{hosts, limit}, size)
	limit.pool.SetConnMaxLifetime(30 * time.Minute) // moves load after a fail-over, and renews plans
	return limit.pool, limit
}

// newPool keeps as many idle connections as it may open: opening one costs more than its work of a second.
func newPool(c driver.Connector, size int) *sql.DB {
	pool := sql.OpenDB(c)
	pool.SetMaxOpenConns(size)
	pool.SetMaxIdleConns(size)
	pool.SetConnMaxIdleTime(5 * time.Minute)
	return pool
}

func newStore(o Options, e engine, write, read, feed gorm.Dialector, pools ...*sql.DB) (*Store, error) {
	s := &Store{engine: e, pool: pools[0], feedPool: pools[len(pools)-1], close: func() error {
		for _, l := range []*poolLimit{e.limit, e.feedLimit} {
			if l != nil {
				l.close()
			}
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
	if s.feed, err = gorm.Open(feed, config()); err != nil {
		return nil, errors.Join(err, s.close())
	}
	if !o.OneByOne {
		s.groupCommit = newGroupCommit(e.writes, s.advanceAlone, func(ctx context.Context, batch []*exchange) error {
			return e.writeBatch(s, ctx, batch)
		})
	}
	return s, nil
}
