package gormstore_test

import (
	"context"
	"database/sql"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/refreshd/refreshd/adapter/gormstore"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// withoutClients undoes the eighth migration and those after it.
var withoutClients = []string{
	`DROP TABLE used_keys`, `DELETE FROM goose_db_version WHERE version_id = 10`,
	`CREATE INDEX refresh_tokens_ordinal ON refresh_tokens (tenant_id, application_id, user_id, ordinal)
    WHERE revoked_at = 0 AND ordinal > 0`,
	`DROP INDEX refresh_tokens_newest`, `DELETE FROM goose_db_version WHERE version_id = 9`,
	`ALTER TABLE applications DROP COLUMN client`, `ALTER TABLE tenants DROP COLUMN login`,
	`DELETE FROM goose_db_version WHERE version_id = 8`,
}

// withoutKeyChanges undoes the seventh migration and those after it.
var withoutKeyChanges = append(slices.Clone(withoutClients),
	`ALTER TABLE jobs DROP COLUMN began_at, DROP COLUMN oldest_rotation`, `DROP INDEX keys_revoked`,
	`ALTER TABLE keys DROP COLUMN name, DROP COLUMN known_at, DROP COLUMN unused_at, DROP COLUMN revoked_at,
		DROP COLUMN revoked_position, DROP COLUMN sealed_by, DROP COLUMN sealed_revision`,
	`ALTER TABLE api_keys DROP COLUMN hash_key, DROP COLUMN previous_hash_key`,
	`DELETE FROM goose_db_version WHERE version_id = 7`,
)

// withoutPreviousAPIKeys undoes the sixth migration and those after it.
var withoutPreviousAPIKeys = append(slices.Clone(withoutKeyChanges),
	`ALTER TABLE key_ring DROP COLUMN deleted_api_key_version`,
	`ALTER TABLE api_keys DROP COLUMN previous_hash`, `DROP INDEX api_keys_tenant`,
	`DELETE FROM goose_db_version WHERE version_id = 6`,
)

// withoutReach undoes the fifth migration and those after it.
var withoutReach = append(slices.Clone(withoutPreviousAPIKeys),
	`DROP TABLE revocation_feed, feed_readers`, `ALTER TABLE refresh_tokens DROP COLUMN feed`,
	`ALTER TABLE marks DROP COLUMN feed, DROP COLUMN stamped_epoch, DROP COLUMN except_id, DROP COLUMN except_epoch`,
	`ALTER TABLE tenants DROP COLUMN longest_access_ttl`, `DELETE FROM goose_db_version WHERE version_id = 5`,
)

// withoutEvents undoes the fourth migration and those after it.
var withoutEvents = append(slices.Clone(withoutReach),
	`DROP TABLE events, jobs`, `ALTER TABLE tenants DROP COLUMN version, DROP COLUMN version_counter`,
	`ALTER TABLE applications DROP COLUMN version`, `ALTER TABLE api_keys DROP COLUMN id, DROP COLUMN version`,
	`DELETE FROM goose_db_version WHERE version_id = 4`,
)

// beforeLists returns a store in the state after two migrations, with n refresh tokens of different users.
func beforeLists(t *testing.T, d database, n int) (*gormstore.Store, []domain.RefreshToken) {
	t.Helper()
	s := d.migrated(t, gormstore.Options{})
	shop(t, s)
	tokens := issue(t, s, n)
	execute(t, d.raw(t), append(slices.Clone(withoutEvents),
		`DROP INDEX refresh_tokens_tenant, refresh_tokens_application`,
		`DELETE FROM goose_db_version WHERE version_id = 3`)...)
	wantReady(t, s, "the schema is older (version 2)")
	return s, tokens
}

// holdTable begins a transaction that has written to refresh_tokens, and stays open until release.
func holdTable(t *testing.T, db *sql.DB, id domain.ID) (release func()) {
	t.Helper()
	tx := must(db.BeginTx(t.Context(), nil))(t)
	t.Cleanup(func() { tx.Rollback() })
	if _, err := tx.ExecContext(t.Context(), `UPDATE refresh_tokens SET data = data WHERE id = $1`, id[:]); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
	}
}

// makingIndex reports whether a session has been creating an index for more than that many seconds.
func makingIndex(t *testing.T, db *sql.DB, seconds int) (making bool) {
	t.Helper()
	if err := db.QueryRowContext(t.Context(), `SELECT count(*) > 0 FROM pg_stat_activity
WHERE datname = current_database() AND state = 'active' AND query LIKE 'CREATE INDEX%'
  AND clock_timestamp() - query_start > make_interval(secs => $1)`, seconds).Scan(&making); err != nil {
		t.Fatal(err)
	}
	return making
}

// indexes returns those of these indexes that exist, by default those of the lists, and whether each is valid.
func indexes(t *testing.T, db *sql.DB, names ...string) string {
	t.Helper()
	if len(names) == 0 {
		names = []string{"refresh_tokens_tenant", "refresh_tokens_application"}
	}
	rows := must(db.QueryContext(t.Context(), `SELECT c.relname || CASE WHEN i.indisvalid THEN '' ELSE ' invalid' END
FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
WHERE c.relname = ANY ($1) ORDER BY c.relname`, names))(t)
	defer rows.Close()
	var all []string
	for rows.Next() {
		var one string
		if err := rows.Scan(&one); err != nil {
			t.Fatal(err)
		}
		all = append(all, one)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, ", ")
}

// Creating an index may take long, and must not block the service. Without CONCURRENTLY it waits for every transaction
// that has written to the table, and every exchange waits behind it.
func TestPostgresExchangesGoOnWhileAMigrationMakesIndexes(t *testing.T) {
	t.Parallel()
	d := onPostgres(t)
	s, tokens := beforeLists(t, d, 3)
	db := d.raw(t)
	release := holdTable(t, db, tokens[0].ID)
	const replicas = 2 // that start concurrently and migrate
	migrated := make(chan error, replicas)
	for range replicas {
		other := d.open(t, gormstore.Options{})
		defer other.Close()
		go func() { migrated <- other.Migrate(t.Context(), nil) }()
	}
	// Longer than lock_timeout, which bounds all other waits: the migration has to survive an hour.
	for !makingIndex(t, db, 2) {
		for i, token := range tokens[1:] {
			tokens[1+i] = rotate(t, s, token)
		}
		select {
		case err := <-migrated:
			t.Fatalf("Migrate = %v while a transaction is open", err)
		default:
		}
	}
	rotate(t, s, must(s.Insert(t.Context(), newToken(t, "new")))(t))
	if got := tokens[1].Generation; got < 10 {
		t.Errorf("%d exchanges in two seconds", got)
	}
	release()
	for range replicas {
		if err := <-migrated; err != nil {
			t.Errorf("Migrate = %v", err)
		}
	}
	if got, want := indexes(t, db), "refresh_tokens_application, refresh_tokens_tenant"; got != want {
		t.Errorf("got indexes %q, want %q", got, want)
	}
	wantReady(t, s, "")
}

// An index whose creation was interrupted exists, and serves no query.
func TestPostgresAMigrationThatWasInterruptedIsDoneAgain(t *testing.T) {
	t.Parallel()
	d := onPostgres(t)
	s, tokens := beforeLists(t, d, 1)
	db := d.raw(t)
	release := holdTable(t, db, tokens[0].ID)
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	migrated := make(chan error)
	go func() { migrated <- s.Migrate(ctx, nil) }()
	for !makingIndex(t, db, 0) || indexes(t, db) == "" {
		time.Sleep(time.Millisecond) // lets the server create the index
	}
	interrupt()
	if err := <-migrated; err == nil {
		t.Error("Migrate = nil though it was interrupted")
	}
	if got, want := indexes(t, db), "refresh_tokens_tenant invalid"; got != want {
		t.Errorf("got indexes %q, want %q", got, want)
	}
	wantReady(t, s, "the schema is older (version 2)")
	release()
	for _, want := range []string{
		"applied 00003_lists.sql, applied 00004_events.sql, applied 00005_reach.sql, " +
			"applied 00006_previous_api_keys.sql, applied 00007_key_changes.sql, applied 00008_oauth_clients.sql, " +
			"applied 00009_first_logins.sql, applied 00010_used_keys.sql",
		"",
	} {
		var got []string
		if err := s.Migrate(t.Context(), func(step string) { got = append(got, step) }); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(got, ", "); got != want {
			t.Errorf("got steps %q, want %q", got, want)
		}
	}
	if got, want := indexes(t, db), "refresh_tokens_application, refresh_tokens_tenant"; got != want {
		t.Errorf("got indexes %q, want %q", got, want)
	}
	wantReady(t, s, "")
}

// An interruption of the fifth migration leaves an index that serves no query, and no head: no process reads a feed
// whose facts have no positions yet.
func TestPostgresAnInterruptedMigrationOfTheFeedIsDoneAgain(t *testing.T) {
	t.Parallel()
	d := onPostgres(t)
	s := d.migrated(t, gormstore.Options{})
	shop(t, s)
	tokens := issue(t, s, 2)
	revoke(t, s, tokens[0])
	db := d.raw(t)
	beforeReach(t, s, db)
	// A transaction with a snapshot, as that of a backup. It locks no table that the migration changes.
	backup := must(db.BeginTx(t.Context(), &sql.TxOptions{Isolation: sql.LevelRepeatableRead}))(t)
	defer backup.Rollback()
	must(backup.ExecContext(t.Context(), `SELECT count(*) FROM keys`))(t)
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	migrated := make(chan error)
	go func() { migrated <- s.Migrate(ctx, nil) }()
	all := []string{"refresh_tokens_feed", "marks_feed", "marks_unstamped"}
	for !makingIndex(t, db, 0) || indexes(t, db, all...) == "" {
		tokens[1] = rotate(t, s, tokens[1]) // exchanges continue
	}
	interrupt()
	if err := <-migrated; err == nil {
		t.Error("Migrate = nil though it was interrupted")
	}
	if got, want := indexes(t, db, all...), "refresh_tokens_feed invalid"; got != want {
		t.Errorf("got indexes %q, want %q", got, want)
	}
	if _, err := s.Revoked(t.Context(), port.FactQuery{}, func(domain.Fact) {}); err == nil {
		t.Error("Revoked = nil before the migration is complete")
	}
	revoke(t, s, tokens[1]) // as the older replicas do
	if err := backup.Rollback(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Migrate(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := indexes(t, db, all...), "marks_feed, marks_unstamped, refresh_tokens_feed"; got != want {
		t.Errorf("got indexes %q, want %q", got, want)
	}
	if got, head := facts(t, s, 0); len(got) != 2 || head == 0 {
		t.Errorf("got %v up to %d, want both revocations", got, head)
	}
	wantReady(t, s, "")
}

// A column is added with a lock on its table, and every exchange waits behind a migration that waits for that lock. So
// the migration gives up before they do, and runs again when the other transaction, a backup for example, has ended.
func TestPostgresNoExchangeFailsWhileAMigrationWaitsForATable(t *testing.T) {
	for _, tc := range []struct {
		table string
		undo  []string
	}{
		{"applications", withoutEvents}, {"refresh_tokens", withoutReach}, {"marks", withoutReach},
		{"tenants", withoutReach},
	} {
		t.Run(tc.table, func(t *testing.T) {
			t.Parallel()
			exchangeWhileMigrating(t, tc.table, tc.undo)
		})
	}
}

// exchangeWhileMigrating undoes migrations, and applies them again while another transaction reads the table.
func exchangeWhileMigrating(t *testing.T, table string, undo []string) {
	d := onPostgres(t)
	db := d.raw(t)
	s := d.migrated(t, gormstore.Options{})
	shop(t, s)
	token := issue(t, s, 1)[0]
	execute(t, db, undo...)
	backup := must(db.BeginTx(t.Context(), nil))(t)
	defer backup.Rollback()
	if _, err := backup.ExecContext(t.Context(), `LOCK TABLE `+table+` IN ACCESS SHARE MODE`); err != nil {
		t.Fatal(err)
	}
	migrated := make(chan error)
	go func() { migrated <- s.Migrate(t.Context(), nil) }()
	var err error
	for waiting := true; waiting; {
		token = rotate(t, s, token)
		select {
		case err = <-migrated:
			waiting = false
		default:
		}
	}
	if err == nil || !strings.Contains(err.Error(), "55P03") {
		t.Errorf("Migrate = %v while a backup reads, want that the lock timed out", err)
	}
	if err := backup.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := s.Migrate(t.Context(), nil); err != nil {
		t.Errorf("Migrate = %v after the backup", err)
	}
	wantReady(t, s, "")
}
