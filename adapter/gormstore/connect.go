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
)

const (
	// connectTimeout bounds the attempt at each host, where the DSN does not: a host that is silent must not take the
	// time that a caller has for the one that would answer.
	connectTimeout = 3 * time.Second

	// silence is for how long a host may leave what we sent unacknowledged. The kernel would wait for a quarter of an
	// hour for one that is gone without a word: without power, or behind a cable that was pulled.
	silence = 4 * time.Second
)

// keepAlive finds out in seconds that the peer of an idle connection is gone.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 3 * time.Second, Interval: time.Second, Count: 3}

var errReadOnly = errors.New("the server takes no writes: it is a standby, or was made read-only. Name the primary; " +
	"or all hosts, separated by commas, with target_session_attrs=read-write")

// sessionSettings are what our statements are written for. An operator's own application_name stays; these are ours.
var sessionSettings = map[string]string{
	"default_transaction_isolation": "read committed",
	// An exchange that waits for its row was begun before what it waits for, and counts as such: so not for long.
	"lock_timeout":                        "1s",
	"statement_timeout":                   "10s",
	"idle_in_transaction_session_timeout": "10s",
	// Each statement is planned once a connection, not at each call; and by its keys, also while tables are so small
	// that reading them whole looks cheaper: they may grow much before the plan is made anew. That makes the rare
	// statement without a key look expensive enough to compile, hence no JIT.
	"plan_cache_mode": "force_generic_plan",
	"enable_seqscan":  "off",
	"jit":             "off",
}

// promised are those of them that a promise rests on. A pooler may have passed over them, so each connection is asked:
// the waits may be shorter than ours, and not longer.
var promised = []string{
	"default_transaction_isolation", "lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout",
}

// link is the way to PostgreSQL, and what has come to light of it.
type link struct {
	config *pgx.ConnConfig
	pooled atomic.Bool // a pooler stands between
	broken atomic.Bool // and has lost a prepared statement
}

// newLink makes config ready for connections that serve. They bear a fail-over: they end in seconds when their server
// falls silent, begin only where writes are taken, and are not used again after a server has refused one.
func newLink(config *pgx.ConnConfig) *link {
	l := &link{config: config}
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "refreshd"
	}
	maps.Copy(config.RuntimeParams, sessionSettings)
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = connectTimeout
	}
	dialer := &net.Dialer{Timeout: config.ConnectTimeout, KeepAliveConfig: keepAlive, Control: limitSilence}
	config.DialFunc = dialer.DialContext
	closing := config.OnPgError // on what is fatal
	config.OnPgError = func(c *pgconn.PgConn, e *pgconn.PgError) bool {
		switch e.Code {
		// A read-only transaction: the server has become a standby, and the next connection finds the primary.
		case "25006":
			return false
		case "26000", "42P05": // a prepared statement that is not there, or already is
			if l.pooled.Load() {
				l.broken.Store(true)
			}
		}
		return closing(c, e)
	}
	config.ValidateConnect = l.validate
	return l
}

// connector opens connections that send no cancel requests. When a statement's time is over while its commit waits for
// a synchronous standby, a cancel request ends that wait, and the commit is seen by others although the standby does
// not have it: a retry would be answered from what a fail-over then forgets. Without one the commit stays unseen until
// it is safe. Our statements end by their own time-outs, and a cancel request would cost a connection at the very
// moment that the server is slow.
func (l *link) connector() connector {
	c := l.config.Copy()
	dial := c.DialFunc
	c.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		if ctx.Value(connecting{}) == nil {
			return nil, errors.New("gormstore: no cancel requests are sent")
		}
		return dial(ctx, network, address)
	}
	return newConnector(c)
}

// migrating opens connections for migrations, which may take long and may be cancelled. Those that run apart from a
// transaction wait for others without being in anybody's way. Behind the others, that wait for the lock on a table, each
// exchange waits: they give up before those do.
func (l *link) migrating(apart bool) driver.Connector {
	c := l.config.Copy()
	c.RuntimeParams["statement_timeout"] = "0"
	c.RuntimeParams["lock_timeout"] = "500ms"
	if apart {
		c.RuntimeParams["lock_timeout"] = "0"
		c.RuntimeParams["idle_in_transaction_session_timeout"] = "0"
	}
	c.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	return newConnector(c)
}

// validate looks at a connection before its first use. One that cannot serve is none, and the next host is tried.
func (l *link) validate(ctx context.Context, c *pgconn.PgConn) error {
	query := `SELECT pg_backend_pid(), current_setting('transaction_read_only')`
	for _, name := range promised {
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
	// PgBouncer and its like make up a process of their own to show to a client.
	if string(row[0]) != strconv.FormatUint(uint64(c.PID()), 10) {
		l.pooled.Store(true)
	}
	for i, name := range promised {
		if got, want := string(row[2+i]), sessionSettings[name]; !within(got, want) {
			return fmt.Errorf("%s is %q although the connection brought %q (a time may be less, not 0): a pooler passes over "+
				"what a connection brings; so as an administrator ALTER ROLE … SET %s = '%s', and let the pooler "+
				"connect anew (RECONNECT)",
				name, got, want, name, want)
		}
	}
	return nil
}

// within compares settings: times, or words.
func within(got, want string) bool {
	limit, isTime := settingTime(want)
	if !isTime {
		return got == want
	}
	d, ok := settingTime(got)
	return ok && d > 0 && d <= limit
}

var timeSetting = regexp.MustCompile(`^([0-9]+)(us|ms|s|min|h|d)?$`)

// settingTime reads a time as PostgreSQL shows it, where a bare number is milliseconds.
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

// writtenTables are what the role of the service needs SELECT, INSERT, UPDATE and DELETE on; readTables, SELECT.
var (
	writtenTables = []string{
		"tenants", "applications", "refresh_tokens", "marks", "api_keys", "keys", "key_ring", "events", "jobs",
	}
	readTables = []string{"goose_db_version", "schema_compatibility"}
)

// fit asks whether the server takes writes, and for each privilege that the role lacks. A table that is not there is
// the migration's affair, and has no privileges.
const fit = `
SELECT current_setting('transaction_read_only') = 'on', quote_ident(current_user), COALESCE((
    SELECT string_agg(p.privilege || ' on ' || t.name, ', ' ORDER BY t.name, p.privilege)
    FROM (SELECT unnest($1::text[]) AS name, true AS written UNION ALL SELECT unnest($2::text[]), false) AS t,
      unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS p (privilege)
    WHERE (t.written OR p.privilege = 'SELECT') AND NOT has_table_privilege(to_regclass(t.name), p.privilege)), '')`

// fits returns an error once it is known that prepared statements do not survive the pooler, or if the server has
// become read-only, or if the role may not do what the service does.
func (l *link) fits(db *gorm.DB) error {
	if l.broken.Load() {
		return errPrepared
	}
	var (
		readOnly      bool
		role, lacking string
	)
	if err := queryRow(raw(db, fit, writtenTables, readTables), sql.ErrNoRows, &readOnly, &role, &lacking); err != nil {
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
