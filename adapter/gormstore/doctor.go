package gormstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"gorm.io/gorm"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// Finding is the result of a check of a database.
type Finding struct {
	Check  string
	Status string // "ok", "warning" or "failed"
	Detail string // what was found
	Advice string // what to do; empty if there is nothing to do
}

const (
	ok      = "ok"
	warning = "warning"
	failed  = "failed"
)

// doctor examines a PostgreSQL database.
type doctor struct {
	link  *link
	conn  *sql.Conn
	clock func() time.Time
	// The limits above which a finding is a warning.
	transactionTime time.Duration
	transactionAge  int64 // in transactions that began since
	lagTime         time.Duration
	lagBytes        int64
}

// oldestTested is the major version of PostgreSQL that the tests use.
const oldestTested = 15

// maxClockOffset is above the error of NTP over the internet. Up to domain.MaxClockSkew the service still works.
const maxClockOffset = time.Second

// ExaminePostgres examines the database that dsn names, on the first host that accepts writes: the server, the role of
// the connection, its settings, the pooler, the standbys and the clock. It writes nothing. It returns an error if it
// cannot connect. clock is that of this process.
func ExaminePostgres(ctx context.Context, dsn domain.Secret, clock func() time.Time) ([]Finding, error) {
	return examinePostgres(ctx, dsn, doctor{
		clock: clock, transactionTime: 10 * time.Minute, transactionAge: 1_000_000, lagTime: 10 * time.Second,
		lagBytes: 64 << 20,
	})
}

func examinePostgres(ctx context.Context, dsn domain.Secret, d doctor) (all []Finding, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("gormstore: examine the PostgreSQL database: %w", err)
		}
	}()
	config, err := parseDSN(dsn)
	if err != nil {
		return nil, err
	}
	d.link = newLink(config)
	c := d.link.config.Copy()
	c.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	c.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol // a pooler may lose a prepared statement
	pool := newPool(newConnector(c), 1)
	defer func() { err = errors.Join(err, pool.Close()) }()
	if d.conn, err = pool.Conn(ctx); err != nil {
		return nil, err
	}
	defer d.conn.Close()
	for _, check := range []struct {
		name string
		do   func(*doctor, context.Context) (Finding, error)
	}{
		{"database encryption", (*doctor).encryption},
		{"database version", (*doctor).version},
		{"database role", (*doctor).role},
		{"database privileges", (*doctor).privileges},
		{"database pooler", (*doctor).pooler},
		{"session settings", (*doctor).settings},
		{"standbys", (*doctor).standbys},
		{"replication lag", (*doctor).lag},
		{"long transactions", (*doctor).transactions},
		{"database clock", (*doctor).time},
	} {
		f, err := check.do(&d, ctx)
		if err != nil {
			f = Finding{Status: failed, Detail: "not checked: " + err.Error(), Advice: "run it again"}
		}
		f.Check = check.name
		all = append(all, f)
	}
	return all, nil
}

// ask reads one row into dest.
func (d *doctor) ask(ctx context.Context, query string, args []any, dest ...any) error {
	return d.conn.QueryRowContext(ctx, query, args...).Scan(dest...)
}

// each calls scan for each row.
func (d *doctor) each(ctx context.Context, query string, args []any, scan func(*sql.Rows) error) error {
	rows, err := d.conn.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (d *doctor) encryption(context.Context) (Finding, error) {
	if hosts := d.link.plainTextHosts(); len(hosts) > 0 {
		return Finding{
			Status: warning, Detail: "the connection to " + strings.Join(hosts, ", ") + " may be plain text",
			Advice: "set sslmode=verify-full in REFRESHD_DATABASE_URL",
		}, nil
	}
	return Finding{Status: ok, Detail: "no connection to another machine is plain text"}, nil
}

func (d *doctor) version(ctx context.Context) (Finding, error) {
	var (
		text   string
		number int64 // 150004 is 15.4
	)
	err := d.ask(ctx, `SELECT current_setting('server_version'), current_setting('server_version_num')::bigint`, nil,
		&text, &number)
	return versionFinding(text, number), err
}

func versionFinding(text string, number int64) Finding {
	f := Finding{Status: ok, Detail: "PostgreSQL " + text}
	if number/10_000 < oldestTested {
		f.Status = warning
		f.Detail += fmt.Sprintf(" is older than %d, the oldest version that refreshd is tested with", oldestTested)
		f.Advice = fmt.Sprintf("upgrade the server to PostgreSQL %d or later", oldestTested)
	}
	return f
}

func (d *doctor) role(ctx context.Context) (Finding, error) {
	var (
		name  string
		super bool
	)
	err := d.ask(ctx, `SELECT quote_ident(current_user), rolsuper FROM pg_roles WHERE rolname = current_user`, nil,
		&name, &super)
	if super {
		return Finding{
			Status: warning, Detail: "the role " + name + " is a superuser, and can read and change every database and " +
				"file of the server",
			Advice: "use a role that owns nothing: OPERATING.md, \"Deploy with PostgreSQL\", has its grants",
		}, err
	}
	return Finding{Status: ok, Detail: name + " is not a superuser"}, err
}

func (d *doctor) privileges(ctx context.Context) (Finding, error) {
	var role, schema string
	if err := d.ask(ctx, `SELECT quote_ident(current_user), COALESCE(quote_ident(current_schema()), '')`, nil,
		&role, &schema); err != nil {
		return Finding{}, err
	}
	if schema == "" {
		return Finding{
			Status: failed, Detail: "the role " + role + " may use no schema of its search_path",
			Advice: "as the owner of the schema run GRANT USAGE ON SCHEMA public TO " + role,
		}, nil
	}
	var lacking, grants []string
	if err := d.each(ctx, lackedPrivileges, []any{writtenTables, readTables}, func(rows *sql.Rows) error {
		var table, privileges string
		err := rows.Scan(&table, &privileges)
		lacking = append(lacking, privileges+" on "+table)
		grants = append(grants, "GRANT "+privileges+" ON "+table+" TO "+role+";")
		return err
	}); err != nil {
		return Finding{}, err
	}
	if len(lacking) > 0 {
		return Finding{
			Status: failed, Detail: "the role " + role + " lacks " + strings.Join(lacking, "; "),
			Advice: "as the owner of the tables run " + strings.Join(grants, " "),
		}, nil
	}
	return Finding{Status: ok, Detail: role + " has every privilege that the service needs"}, nil
}

func (d *doctor) pooler(ctx context.Context) (Finding, error) {
	var seen, actual int64
	if err := d.ask(ctx, `SELECT pg_backend_pid()`, nil, &actual); err != nil {
		return Finding{}, err
	}
	if err := d.conn.Raw(func(c any) error {
		seen = int64(c.(*stdlib.Conn).Conn().PgConn().PID())
		return nil
	}); err != nil {
		return Finding{}, err
	}
	if seen == actual {
		return Finding{Status: ok, Detail: "there is none before the database"}, nil
	}
	d.link.pooled.Store(true)
	err := d.link.probe(ctx)
	switch mode := d.link.config.DefaultQueryExecMode; {
	case errors.Is(err, errPrepared):
		return Finding{Status: failed, Detail: "there is one in transaction mode, which loses prepared statements",
			Advice: useExecMode + "; OPERATING.md, \"Use PgBouncer\", has its settings"}, nil
	case mode == pgx.QueryExecModeExec || mode == pgx.QueryExecModeSimpleProtocol:
		return Finding{Status: ok, Detail: "there is one, and the service uses no prepared statements"}, err
	default:
		return Finding{
			Status: warning, Detail: "there is one, the service uses prepared statements, and none was lost now: " +
				"in session mode none ever is; in transaction mode it depends on the load",
			Advice: "unless the pooler is in session mode, " + useExecMode,
		}, err
	}
}

func (d *doctor) settings(ctx context.Context) (Finding, error) {
	var wrong, set []string
	status := ok
	for _, name := range slices.Sorted(maps.Keys(sessionSettings)) {
		var got string
		if err := d.ask(ctx, `SELECT current_setting($1)`, []any{name}, &got); err != nil {
			return Finding{}, err
		}
		want := sessionSettings[name]
		if within(got, want) {
			continue
		}
		switch {
		case slices.Contains(verifiedSettings, name):
			status = failed // serve refuses to start
		case status == ok:
			status = warning
		}
		wrong = append(wrong, fmt.Sprintf("%s is %q instead of %q", name, got, want))
		set = append(set, fmt.Sprintf("ALTER ROLE … SET %s = '%s';", name, want))
	}
	if status == ok {
		return Finding{Status: ok, Detail: "each is as the statements need it"}, nil
	}
	return Finding{
		Status: status, Detail: "a pooler ignores the settings of a connection: " + strings.Join(wrong, ", "),
		Advice: "as an administrator run " + strings.Join(set, " ") + " and let the pooler reconnect (RECONNECT)",
	}, nil
}

// walSender is a connection that replicates.
type walSender struct {
	name, sync string // sync is empty if the role may not see it
	bytes      int64  // that it has not replayed
	seconds    float64
}

func (d *doctor) walSenders(ctx context.Context) (all []walSender, err error) {
	err = d.each(ctx, `
SELECT COALESCE(NULLIF(application_name, ''), host(client_addr), 'pid ' || pid), COALESCE(sync_state, ''),
  COALESCE(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn), 0)::bigint,
  COALESCE(EXTRACT(EPOCH FROM replay_lag), 0)::float8
FROM pg_stat_replication WHERE state IS DISTINCT FROM 'backup' ORDER BY 1`, nil, func(rows *sql.Rows) error {
		var w walSender
		err := rows.Scan(&w.name, &w.sync, &w.bytes, &w.seconds)
		all = append(all, w)
		return err
	})
	return all, err
}

// lost is what a fail-over to a standby without the last commits takes from clients.
const lost = "clients have seen them, so users are logged out, and sessions that were revoked are active again"

func (d *doctor) standbys(ctx context.Context) (Finding, error) {
	var role, names, commit string
	if err := d.ask(ctx, `SELECT quote_ident(current_user), current_setting('synchronous_standby_names'),
		current_setting('synchronous_commit')`, nil, &role, &names, &commit); err != nil {
		return Finding{}, err
	}
	senders, err := d.walSenders(ctx)
	if err != nil {
		return Finding{}, err
	}
	var synchronous, asynchronous, hidden []string
	for _, w := range senders {
		switch w.sync {
		case "":
			hidden = append(hidden, w.name)
		case "sync", "quorum":
			synchronous = append(synchronous, w.name)
		default:
			asynchronous = append(asynchronous, w.name)
		}
	}
	waits := names != "" && slices.Contains([]string{"on", "remote_apply", "remote_write"}, commit)
	switch f := (Finding{Status: warning}); {
	case commit == "off":
		f.Detail = "synchronous_commit is off: a crash of the server loses its last commits, and " + lost
		f.Advice = "set synchronous_commit = on for the database and the role " + role
		return f, nil
	case len(hidden) > 0:
		f.Detail = fmt.Sprintf("%d connections replicate, and the role %s may not see how", len(hidden), role)
		f.Advice = "as an administrator run GRANT pg_read_all_stats TO " + role
		return f, nil
	case waits && len(synchronous) == 0:
		f.Status = failed
		f.Detail = fmt.Sprintf("synchronous_standby_names is %q and no such standby is connected: commits wait for one, "+
			"and requests end in 503", names)
		f.Advice = "start the standby, or remove it from synchronous_standby_names"
		return f, nil
	case len(senders) == 0:
		return Finding{Status: ok, Detail: "none is connected: a loss of the server loses the commits since the " +
			"last backup"}, nil
	case !waits:
		f.Detail = fmt.Sprintf("%s is asynchronous: a fail-over loses the commits that it lacks, and %s",
			strings.Join(append(synchronous, asynchronous...), ", "), lost)
		f.Advice = "set synchronous_standby_names, and synchronous_commit = on (now " + commit + "); or treat a promoted " +
			"standby as a restored backup: OPERATING.md, \"Fail over\""
		return f, nil
	case commit == "remote_write":
		f.Detail = "synchronous_commit is remote_write: if the machine of the standby fails too, the last commits are " +
			"lost, and " + lost
		f.Advice = "set synchronous_commit = on for the database and the role " + role
		return f, nil
	}
	f := Finding{Status: ok, Detail: "synchronous: " + strings.Join(synchronous, ", ")}
	if len(asynchronous) > 0 {
		f.Detail += "; asynchronous, and not to be promoted: " + strings.Join(asynchronous, ", ")
	}
	return f, nil
}

func (d *doctor) lag(ctx context.Context) (Finding, error) {
	senders, err := d.walSenders(ctx)
	if err != nil {
		return Finding{}, err
	}
	var late []string
	for _, w := range senders {
		if w.bytes > d.lagBytes || w.seconds > d.lagTime.Seconds() {
			late = append(late, fmt.Sprintf("%s has not replayed %d bytes, and replays after %.1f s", w.name, w.bytes,
				w.seconds))
		}
	}
	if len(late) > 0 {
		return Finding{
			Status: warning, Detail: strings.Join(late, "; ") + ": it takes that much longer until it serves after a " +
				"fail-over",
			Advice: "look for a slow disk or network, or a long query on the standby",
		}, nil
	}
	return Finding{Status: ok, Detail: fmt.Sprintf("standbys that are behind: 0 of %d", len(senders))}, nil
}

// oldSnapshots asks for the oldest transaction, prepared ones included, and for how many transactions vacuum has not
// been able to clean up after. A role sees the age of all sessions, and the time of its own only, unless it is a member
// of pg_read_all_stats.
const oldSnapshots = `
SELECT GREATEST(
    (SELECT COALESCE(max(EXTRACT(EPOCH FROM clock_timestamp() - xact_start)), 0) FROM pg_stat_activity
      WHERE pid <> pg_backend_pid() AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL)),
    (SELECT COALESCE(max(EXTRACT(EPOCH FROM clock_timestamp() - prepared)), 0) FROM pg_prepared_xacts))::float8,
  GREATEST(
    (SELECT COALESCE(max(GREATEST(age(backend_xmin), age(backend_xid))), 0) FROM pg_stat_activity
      WHERE pid <> pg_backend_pid()),
    (SELECT COALESCE(max(age(transaction)), 0) FROM pg_prepared_xacts),
    (SELECT COALESCE(max(GREATEST(age(xmin), age(catalog_xmin))), 0) FROM pg_replication_slots))::bigint`

func (d *doctor) transactions(ctx context.Context) (Finding, error) {
	var (
		seconds float64
		age     int64
	)
	if err := d.ask(ctx, oldSnapshots, nil, &seconds, &age); err != nil {
		return Finding{}, err
	}
	oldest := time.Duration(seconds * float64(time.Second))
	if oldest <= d.transactionTime && age <= d.transactionAge {
		return Finding{Status: ok, Detail: "none is older than " + d.transactionTime.String()}, nil
	}
	return Finding{
		Status: warning, Detail: fmt.Sprintf("the oldest one began %s and %d transactions ago: no table of the cluster "+
			"can be vacuumed beyond it, and exchanges get slower", oldest.Round(time.Second), age),
		Advice: "unless it is a backup, end it: pg_stat_activity, pg_prepared_xacts and pg_replication_slots show it",
	}, nil
}

func (d *doctor) time(ctx context.Context) (Finding, error) {
	var us int64
	before := d.clock()
	err := d.ask(ctx, clockPostgres, nil, &us)
	if err != nil {
		return Finding{}, err
	}
	return clockFinding(before, d.clock(), instant(us)), nil
}

// clockFinding compares the clock of the server with that of this process before and after it was asked.
func clockFinding(before, after, server time.Time) Finding {
	offset := time.Duration(0) // the least one
	switch {
	case server.Before(before):
		offset = server.Sub(before)
	case server.After(after):
		offset = server.Sub(after)
	}
	f := Finding{Status: ok, Detail: fmt.Sprintf("it differs from that of this machine by %s at least", offset.Abs())}
	switch {
	case offset.Abs() > domain.MaxClockSkew:
		f.Status = failed
		f.Detail += fmt.Sprintf(": above %s nothing is purged, and expiries are wrong", domain.MaxClockSkew)
	case offset.Abs() > maxClockOffset:
		f.Status = warning
		f.Detail += ": grace periods and expiries are wrong by as much"
	}
	if f.Status != ok {
		f.Advice = "run NTP on both machines, and compare each with a third"
	}
	return f
}

// LastPass returns when the last complete pass of the janitor ended; zero if none has.
func (s *Store) LastPass(ctx context.Context) (ended time.Time, err error) {
	var us int64
	err = s.reading(ctx, "last pass", func(db *gorm.DB) error {
		return queryRow(db.Raw(`SELECT COALESCE(max(ended_at), 0) FROM jobs WHERE name = '`+port.JobPurge+`'`),
			sql.ErrNoRows, &us)
	})
	return instant(us), err
}
