package gormstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"maps"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/gorm"

	"github.com/refreshd/refreshd/domain"
)

const (
	// connectTimeout bounds the attempt at each host, unless the DSN does: a silent host must not use up the time that
	// a caller has for the next one.
	connectTimeout = 3 * time.Second

	// userTimeout is how long sent data may stay unacknowledged (RFC 5482). By default the kernel waits for a quarter
	// of an hour for a host that vanished without closing its connections: without power, or with a cable pulled.
	userTimeout = 4 * time.Second
)

// keepAlive detects in seconds that the peer of an idle connection has vanished.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 3 * time.Second, Interval: time.Second, Count: 3}

var errReadOnly = errors.New("the server accepts no writes: it is a standby, or was made read-only. " +
	"Name the primary, or all hosts, separated by commas, with target_session_attrs=read-write")

// sessionSettings are the settings that the statements rely on. They replace those of the DSN.
var sessionSettings = map[string]string{
	"default_transaction_isolation": "read committed",
	// An exchange that waits for its row counts from the instant at which it began, so that wait has to be short.
	"lock_timeout":                        "1s",
	"statement_timeout":                   "10s",
	"idle_in_transaction_session_timeout": "10s",
	// Each statement is planned once a connection, not at each call, and uses indexes even while tables are so small
	// that reading them whole looks cheaper: they may grow much before it is planned again. The few statements without
	// an index then look expensive enough to be compiled, hence no JIT.
	//
	// Each reads few rows, one by one. Bitmaps, and joins that hash or merge, are for statements that read many: with
	// statistics of a moment at which one user had most rows, a login would hash all refresh tokens, and read all index
	// entries of rows that have ended, which a bitmap does not mark.
	"plan_cache_mode":   "force_generic_plan",
	"enable_seqscan":    "off",
	"enable_bitmapscan": "off",
	"enable_hashjoin":   "off",
	"enable_mergejoin":  "off",
	"jit":               "off",
}

// plannerSettings are those that decide how a statement is planned.
var plannerSettings = []string{
	"plan_cache_mode", "enable_seqscan", "enable_bitmapscan", "enable_hashjoin", "enable_mergejoin", "jit",
}

// verifiedSettings are those that a promise depends on. A pooler may ignore them, so each connection is asked for them:
// the time-outs may be shorter, not longer.
var verifiedSettings = []string{
	"default_transaction_isolation", "lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout",
}

// link opens connections to PostgreSQL, and records what they reveal about the server and the pooler.
type link struct {
	config *pgx.ConnConfig
	pooled atomic.Bool // there is a pooler in between
	broken atomic.Bool // and has lost a prepared statement
}

// parseDSN parses a URL of PostgreSQL. Its error has no cause, because that of ParseConfig quotes what it cannot parse,
// possibly a password.
func parseDSN(dsn domain.Secret) (*pgx.ConnConfig, error) {
	config, err := pgx.ParseConfig(dsn.Reveal())
	if err != nil {
		return nil, errors.New("the DSN is malformed: write postgres://USER:PASSWORD@HOST:PORT/DATABASE")
	}
	return config, nil
}

// newLink prepares config for connections that serve. They survive a fail-over: they end in seconds when their server
// stops responding, are opened only to a server that accepts writes, and are not used again after it has refused one.
func newLink(config *pgx.ConnConfig) *link {
	l := &link{config: config}
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "refreshd"
	}
	maps.Copy(config.RuntimeParams, sessionSettings)
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = connectTimeout
	}
	dialer := &net.Dialer{Timeout: config.ConnectTimeout, KeepAliveConfig: keepAlive, Control: setUserTimeout}
	config.DialFunc = dialer.DialContext
	closing := config.OnPgError // reports false for fatal errors
	config.OnPgError = func(c *pgconn.PgConn, e *pgconn.PgError) bool {
		switch e.Code {
		// A read-only transaction: the server has become a standby, and the next connection finds the primary.
		case "25006":
			return false
		case "26000", "42P05": // a prepared statement does not exist, or already exists
			if l.pooled.Load() {
				l.broken.Store(true)
			}
		}
		return closing(c, e)
	}
	config.ValidateConnect = l.validate
	return l
}

// connector opens connections that send no cancel requests. If a statement's time is over while its commit waits for a
// synchronous standby, a cancel request ends that wait, and others see the commit although the standby does not have
// it. A retry would then return an answer that a fail-over loses. Without a cancel request the commit stays invisible
// until it is safe. The statements end by their own time-outs, and a cancel request would cost a connection at the
// moment when the server is slow.
func (l *link) connector() connector {
	c := l.config.Copy()
	dial := c.DialFunc
	c.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		if ctx.Value(connecting{}) == nil {
			return nil, errors.New("gormstore: cancel requests are not sent")
		}
		return dial(ctx, network, address)
	}
	return newConnector(c)
}

// migrating opens connections for migrations, which may take long and may be cancelled. A migration in a transaction
// may wait for the lock on a table, and each exchange waits behind it: so it gives up before the exchanges do. One
// without a transaction waits without blocking others.
func (l *link) migrating(withoutTx bool) driver.Connector {
	c := l.config.Copy()
	c.RuntimeParams["statement_timeout"] = "0"
	c.RuntimeParams["lock_timeout"] = "500ms"
	if withoutTx {
		c.RuntimeParams["lock_timeout"] = "0"
		c.RuntimeParams["idle_in_transaction_session_timeout"] = "0"
	}
	c.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	return newConnector(c)
}

// validate checks a connection before its first use. If it cannot serve, the next host is tried.
func (l *link) validate(ctx context.Context, c *pgconn.PgConn) error {
	query := `SELECT pg_backend_pid(), current_setting('transaction_read_only')`
	for _, name := range verifiedSettings {
		query += `, current_setting('` + name + `')`
	}
	results, err := c.Exec(ctx, query).ReadAll()
	if err != nil {
		return err
	}
	row := results[0].Rows[0]
	if string(row[1]) == "on" {
		return errReadOnly
	}
	// PgBouncer and similar poolers show a client a process id of their own.
	if string(row[0]) != strconv.FormatUint(uint64(c.PID()), 10) {
		l.pooled.Store(true)
	}
	for i, name := range verifiedSettings {
		if got, want := string(row[2+i]), sessionSettings[name]; !within(got, want) {
			return fmt.Errorf("%s is %q although the connection set %q (a time may be shorter, but not 0): a pooler "+
				"ignores the settings of a connection. As an administrator run ALTER ROLE … SET %s = '%s', and let the "+
				"pooler reconnect (RECONNECT)",
				name, got, want, name, want)
		}
	}
	return nil
}

// within reports whether a setting is the wanted one, or a time that is not longer.
func within(got, want string) bool {
	limit, isTime := settingTime(want)
	if !isTime {
		return got == want
	}
	d, ok := settingTime(got)
	return ok && d > 0 && d <= limit
}

var timeSetting = regexp.MustCompile(`^([0-9]+)(us|ms|s|min|h|d)?$`)

// settingTime parses a time as PostgreSQL shows it. A bare number is milliseconds.
func settingTime(text string) (time.Duration, bool) {
	m := timeSetting.FindStringSubmatch(text)
	if m == nil {
		return 0, false
	}
	n, err := strconv.ParseInt(m[1], 10, 32)
	unit := map[string]time.Duration{
		"us": time.Microsecond, "": time.Millisecond, "ms": time.Millisecond, "s": time.Second, "min": time.Minute,
		"h": time.Hour, "d": 24 * time.Hour,
	}[m[2]]
	return time.Duration(n) * unit, err == nil
}

// The role of the service needs SELECT, INSERT, UPDATE and DELETE on writtenTables, and SELECT on readTables.
var (
	writtenTables = []string{
		"tenants", "applications", "refresh_tokens", "marks", "api_keys", "keys", "key_ring", "events", "jobs",
		"revocation_feed", "feed_readers", "used_keys",
	}
	readTables = []string{"goose_db_version", "schema_compatibility"}
)

// lackedRows selects each privilege on a table that the role lacks. A table that does not exist yet has no privileges:
// the migration creates it.
const lackedRows = `
    FROM (SELECT unnest($1::text[]) AS name, true AS written UNION ALL SELECT unnest($2::text[]), false) AS t,
      unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS p (privilege)
    WHERE (t.written OR p.privilege = 'SELECT') AND NOT has_table_privilege(to_regclass(t.name), p.privilege)`

// serverState asks whether the server is read-only, and for each privilege that the role lacks; lackedPrivileges asks
// for these by table.
const (
	serverState = `
SELECT current_setting('transaction_read_only') = 'on', quote_ident(current_user), COALESCE((
    SELECT string_agg(p.privilege || ' on ' || t.name, ', ' ORDER BY t.name, p.privilege)` + lackedRows + `), '')`
	lackedPrivileges = `
SELECT t.name, string_agg(p.privilege, ', ' ORDER BY p.privilege)` + lackedRows + ` GROUP BY t.name ORDER BY t.name`
)

// check returns an error if prepared statements are known not to survive the pooler, if the server has become
// read-only, or if the role lacks a privilege.
func (l *link) check(db *gorm.DB) error {
	if l.broken.Load() {
		return errPrepared
	}
	var (
		readOnly      bool
		role, lacking string
	)
	if err := queryRow(raw(db, serverState, writtenTables, readTables), sql.ErrNoRows,
		&readOnly, &role, &lacking); err != nil {
		return err
	}
	switch {
	case readOnly:
		return errReadOnly
	case lacking != "":
		return fmt.Errorf("the role %s lacks %s: as the owner of the tables run "+
			"GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO %[1]s; GRANT SELECT ON %[4]s TO %[1]s",
			role, lacking, strings.Join(writtenTables, ", "), strings.Join(readTables, ", "))
	default:
		return nil
	}
}
