package gormstore_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/refreshd/refreshd/adapter/gormstore"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
	"github.com/refreshd/refreshd/test/storagetest"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 1000, time.UTC)

// shop creates the application acme/shop.
func shop(tb testing.TB, s *gormstore.Store) {
	tb.Helper()
	if err := errors.Join(
		storagetest.SaveTenant(tb.Context(), s, domain.Tenant{ID: "acme"}),
		storagetest.SaveApplication(tb.Context(), s, domain.Application{TenantID: "acme", ID: "shop"}),
	); err != nil {
		tb.Fatal(err)
	}
}

func newToken(tb testing.TB, user string) domain.RefreshToken {
	tb.Helper()
	return must(domain.NewRefreshToken(domain.RefreshToken{
		ID:       must(domain.NewID(start, rand.Reader))(tb),
		TenantID: "acme", ApplicationID: "shop", UserID: user,
	}, domain.DefaultPolicy(), start))(tb)
}

// issue stores n refresh tokens, each of another user.
func issue(tb testing.TB, s *gormstore.Store, n int) []domain.RefreshToken {
	tb.Helper()
	tokens := make([]domain.RefreshToken, n)
	for i := range tokens {
		tokens[i] = newToken(tb, fmt.Sprintf("user-%d", i))
		tokens[i] = must(s.Insert(tb.Context(), tokens[i]))(tb)
	}
	return tokens
}

func rotate(tb testing.TB, s *gormstore.Store, t domain.RefreshToken) domain.RefreshToken {
	tb.Helper()
	t, _, err := s.Advance(tb.Context(), t.ID, domain.Call{Generation: t.Generation, Now: t.RotatedAt.Add(time.Minute)})
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

// journal is a logger that keeps all lines.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) logger() *slog.Logger {
	return slog.New(slog.NewJSONHandler(j, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// statements returns those since the last call.
func (j *journal) statements(tb testing.TB) (statements []string) {
	tb.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	for d := json.NewDecoder(&j.text); d.More(); {
		var line struct{ SQL string }
		if err := d.Decode(&line); err != nil {
			tb.Fatal(err)
		}
		statements = append(statements, strings.TrimSpace(line.SQL))
	}
	return statements
}

func TestAnExchangeIsOneStatement(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		var j journal
		s := d.migrated(t, gormstore.Options{Logger: j.logger()})
		shop(t, s)
		token := issue(t, s, 1)[0]
		j.statements(t)
		rotate(t, s, token)
		if got := j.statements(t); len(got) != 1 || !strings.HasPrefix(got[0], "UPDATE refresh_tokens SET") {
			t.Errorf("got statements %q, want a single UPDATE", got)
		}
		// A retry is refused, and read.
		_, _, err := s.Advance(t.Context(), token.ID, domain.Call{Generation: 2, Now: start.Add(time.Minute)})
		if !errors.Is(err, domain.ErrConflict) {
			t.Errorf("Advance within the grace period: got error %v, want ErrConflict", err)
		}
		must(s.Snapshot(t.Context(), token.ID))(t)
		if got := j.statements(t); len(got) != 2 || !strings.HasPrefix(got[0], "UPDATE refresh_tokens SET") ||
			!strings.HasPrefix(got[1], "SELECT") {
			t.Errorf("got statements %q, want an UPDATE and a SELECT", got)
		}
	})
}

func TestNoValueReachesTheLog(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		var j journal
		s := d.migrated(t, gormstore.Options{Logger: j.logger()})
		shop(t, s)
		token := newToken(t, "canary-user")
		token.Binding, token.Claims, token.Roles = "canary-binding", `{"x":"canary-claim"}`, []string{"canary-role"}
		call := domain.Call{Generation: 1, Now: start, Binding: "canary-binding", ClientAddress: "canary-address"}
		_, _, err := s.Advance(t.Context(), token.ID, call)
		if !errors.Is(err, domain.ErrConflict) {
			t.Errorf("Advance before Insert: got %v, want ErrConflict", err)
		}
		key := domain.APIKey{Name: "backend", Hash: "canary-hash"}
		sealed := domain.SealedKey{Kind: domain.KeyToken, Number: 1, Sealed: "canary-sealed"}
		must(s.Insert(t.Context(), token))(t)
		if err := errors.Join(
			storagetest.SaveAPIKey(t.Context(), s, key), s.AddKeys(t.Context(), storagetest.NewEvent(), sealed),
		); err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.Advance(t.Context(), token.ID, call); err != nil {
			t.Fatal(err)
		}
		key.Name = "another"
		_, again := s.Insert(t.Context(), token)
		for what, err := range map[string]error{
			"Insert": again, "SaveAPIKey": storagetest.SaveAPIKey(t.Context(), s, key), "AddKeys": s.AddKeys(t.Context(),
				storagetest.NewEvent(), sealed),
		} {
			if !errors.Is(err, domain.ErrDuplicate) || strings.Contains(err.Error(), "canary") {
				t.Errorf("%s again: got error %v, want ErrDuplicate, without values", what, err)
			}
		}
		if log := j.text.String(); strings.Contains(log, "canary") || !strings.Contains(log, "INSERT INTO keys") {
			t.Errorf("got log %s, want statements, without values", log)
		}
	})
}

// tableStatistics are PostgreSQL's counters of a table.
type tableStatistics struct{ updated, hot, wholeScans int64 }

// awaitClosed returns when no other connection than the caller's is open. A connection reports its counters when it
// ends, which may be a moment after Close.
func awaitClosed(t *testing.T, db *sql.DB) {
	t.Helper()
	for others := 1; others > 0; {
		if err := db.QueryRowContext(t.Context(), `SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()`).
			Scan(&others); err != nil {
			t.Fatal(err)
		}
	}
}

func statistics(t *testing.T, db *sql.DB, table string) (s tableStatistics) {
	t.Helper()
	if err := db.QueryRowContext(t.Context(), `SELECT n_tup_upd, n_tup_hot_upd, seq_scan FROM pg_stat_user_tables
WHERE relname = $1`, table).Scan(&s.updated, &s.hot, &s.wholeScans); err != nil {
		t.Fatal(err)
	}
	return s
}

// An exchange that changes an index, or reads a table, gets slower with every refresh token in the store. This test is
// not parallel: a transaction of another test would keep old versions of rows, even in another database.
func TestPostgresExchangesAreHOTAndReadNoTable(t *testing.T) {
	d := onPostgres(t)
	db := d.raw(t)
	s := d.open(t, gormstore.Options{})
	if err := errors.Join(s.Migrate(t.Context(), nil), s.Close()); err != nil {
		t.Fatal(err)
	}
	awaitClosed(t, db)
	if _, err := db.ExecContext(t.Context(), `SELECT pg_stat_reset()`); err != nil { // creating an index reads the table
		t.Fatal(err)
	}
	var j journal
	s = d.open(t, gormstore.Options{Logger: j.logger()})
	// The statement is planned while all tables are empty.
	_, _, err := s.Advance(t.Context(), domain.ID{1}, domain.Call{Generation: 1, Now: start})
	if !errors.Is(err, domain.ErrConflict) {
		t.Fatal(err)
	}
	shop(t, s)
	// Few of the thirty refresh tokens on a page are exchanged at the same moment. A statement that exchanges many more
	// would not find room for all on it; the first of these would not be HOT, and would make room on the page.
	var tokens []domain.RefreshToken
	for i, token := range issue(t, s, 2000) {
		if i%20 == 0 {
			tokens = append(tokens, token)
		}
	}
	scope := domain.Scope{TenantID: "acme", UserID: "user-0"}
	for round := range 10 {
		var group sync.WaitGroup
		for i := range tokens[1:] {
			group.Go(func() { tokens[1+i] = rotate(t, s, tokens[1+i]) })
			if round < 5 { // one at a time; then in batches
				group.Wait()
			}
		}
		group.Wait()
		if _, err := s.RevokeScope(t.Context(), scope, domain.ID{},
			port.Revocation{At: start}, storagetest.NewEvent()); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Snapshot(t.Context(), tokens[0].ID); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	awaitClosed(t, db)
	shared := slices.ContainsFunc(j.statements(t), func(s string) bool { return strings.Contains(s, "SKIP LOCKED") })
	if !shared {
		t.Error("no exchanges shared a write")
	}
	got := statistics(t, db, "refresh_tokens")
	t.Logf("%d of %d updates were HOT", got.hot, got.updated)
	if got.updated != 990 || float64(got.hot) < 0.98*float64(got.updated) {
		t.Errorf("got %d HOT updates of %d, want 98 %% of 990", got.hot, got.updated)
	}
	shown, err := d.open(t, gormstore.Options{}).TableStatistics(t.Context())
	if err != nil || shown.Updates != got.updated || shown.HOTUpdates != got.hot {
		t.Errorf("TableStatistics = %+v, %v, want what PostgreSQL says: %+v", shown, err, got)
	}
	var searches int64
	if err := db.QueryRowContext(t.Context(), `SELECT idx_scan FROM pg_stat_user_indexes
WHERE indexrelname = 'refresh_tokens_user'`).Scan(&searches); err != nil {
		t.Fatal(err)
	}
	if searches != 0 {
		t.Errorf("the index on users was searched %d times, want 0: it does not lead to an id", searches)
	}
	for _, table := range []string{"refresh_tokens", "applications", "marks"} {
		if got := statistics(t, db, table).wholeScans; got != 0 {
			t.Errorf("%s was read whole %d times, want 0", table, got)
		}
	}
}

func TestSQLiteExchangesSearchByKey(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	var j journal
	s := d.migrated(t, gormstore.Options{Logger: j.logger()})
	shop(t, s)
	token := issue(t, s, 1)[0]
	j.statements(t)
	rotate(t, s, token)
	exchange := j.statements(t)[0]

	got := planOf(t, d.raw(t), exchange)
	const mark = "SEARCH m USING PRIMARY KEY (tenant_id=? AND application_id=? AND user_id=?)"
	want := []string{
		"SEARCH refresh_tokens USING INDEX sqlite_autoindex_refresh_tokens_1 (id=?)",
		"SEARCH a USING PRIMARY KEY (tenant_id=? AND id=?)",
		"COMPOUND QUERY", "LEFT-MOST SUBQUERY", mark, "UNION ALL", mark, "UNION ALL", mark, "UNION ALL", mark,
		"SEARCH a USING PRIMARY KEY (tenant_id=? AND id=?)", // in RETURNING
	}
	if !slices.Equal(got, want) {
		t.Errorf("got plan\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// machine creates a user with 100 000 logins that the limit has ended, as a machine has that logs in once a second.
func machine(t *testing.T, s *gormstore.Store, d database) {
	t.Helper()
	logins(t, s, d, 100_000)
	// They are not in the index on ordinals, but on PostgreSQL their entries stay in it until a vacuum.
	executeOn(t, d, `UPDATE refresh_tokens SET revoked_at = 1, revoked_reason = 'limit'`, 100_000)
}

// executeOn runs a statement that has to write n rows.
func executeOn(t *testing.T, d database, statement string, n int64) {
	t.Helper()
	db := d.raw(t)
	defer db.Close()
	result := must(db.ExecContext(t.Context(), statement))(t)
	if got := must(result.RowsAffected())(t); got != n {
		t.Fatalf("%s: wrote %d rows, want %d", statement, got, n)
	}
}

// logins creates a user with n refresh tokens, and no other user.
func logins(t *testing.T, s *gormstore.Store, d database, n int) {
	t.Helper()
	shop(t, s)
	if token := must(s.Insert(t.Context(), newToken(t, "machine")))(t); token.Ordinal != 1 {
		t.Fatalf("the first has ordinal %d", token.Ordinal)
	}
	numbers, id := `generate_series(2, %d) AS n (n)`, `decode(lpad(to_hex(n.n), 32, '0'), 'hex')`
	if s.Stats().MaxOpenConnections == 1 {
		numbers = `(WITH RECURSIVE c (n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM c WHERE n < %d) SELECT n FROM c) AS n`
		id = `CAST(printf('%016d', n.n) AS BLOB)`
	}
	columns := strings.Join(gormstore.TokenColumns, ", ")
	values := strings.NewReplacer("id, generation", id+", generation", "ordinal", "n.n",
		"device_name", "'filled'").Replace(columns)
	executeOn(t, d, `INSERT INTO refresh_tokens (`+columns+`) SELECT `+values+` FROM refresh_tokens, `+
		fmt.Sprintf(numbers, n), int64(n-1))
}

// login issues, and then applies the limit.
func login(t *testing.T, s *gormstore.Store) domain.RefreshToken {
	t.Helper()
	token := must(s.Insert(t.Context(), newToken(t, "machine")))(t)
	if err := s.KeepNewest(t.Context(), domain.Scope{TenantID: "acme", ApplicationID: "shop", UserID: "machine"}, 2,
		port.Revocation{At: start, Reason: domain.RevokedByLimit}, storagetest.NewEvent()); err != nil {
		t.Fatal(err)
	}
	return token
}

// moment is a state of PostgreSQL's statistics, and how a table of many refresh tokens came to it.
type moment struct {
	name  string
	steps []string
}

// moments are states in which a user has thousands of logins, which a limit has ended. None depends on autovacuum.
func moments() []moment {
	const (
		manyLogins = 5_000
		analyse    = `ANALYZE refresh_tokens`
		vacuum     = `VACUUM refresh_tokens`
		revoke     = `UPDATE refresh_tokens SET revoked_at = 1, revoked_reason = 'limit'`
		revokeHalf = revoke + ` WHERE ordinal % 2 = 0`
		ofMany     = `UPDATE refresh_tokens SET user_id = 'user ' || ordinal WHERE ordinal > 1`
		ofTenants  = `UPDATE refresh_tokens SET tenant_id = 'tenant ' || ordinal WHERE ordinal > 1`
	)
	columns := strings.Join(gormstore.TokenColumns, ", ")
	fill := func(from, to int) string {
		return `INSERT INTO refresh_tokens (` + columns + `) SELECT ` + strings.NewReplacer("id, generation",
			"decode(lpad(to_hex(n.n), 32, '0'), 'hex'), generation", "ordinal", "n.n").Replace(columns) +
			fmt.Sprintf(` FROM (SELECT * FROM refresh_tokens WHERE ordinal = 1) AS one, generate_series(%d, %d) AS n (n)`,
				from, to)
	}
	fifty, rest, all := fill(2, 50), fill(51, manyLogins), fill(2, manyLogins)
	return []moment{
		{"never analysed", []string{all, revoke}},
		{"never analysed, vacuumed when new", []string{vacuum, all, revoke}},
		{"never analysed, vacuumed at the end", []string{all, revoke, vacuum}},
		{"analysed with fifty", []string{fifty, analyse, rest, revoke}},
		{"analysed with fifty users", []string{fifty, ofMany, analyse, rest, revoke}},
		{"analysed with fifty tenants", []string{fifty, ofTenants, analyse, rest, revoke}},
		{"analysed before the limit", []string{all, analyse, revoke}},
		{"analysed before the limit, vacuumed after it", []string{all, analyse, revoke, vacuum}},
		{"analysed in the middle", []string{all, revokeHalf, analyse, revoke}},
		{"analysed after the limit", []string{all, revoke, analyse}},
		{"analysed and vacuumed after the limit", []string{all, revoke, vacuum, analyse}},
		{"analysed with many users", []string{all, ofMany, analyse, revoke}},
	}
}

// in returns a new database in that state, with one login of machine before.
func (m moment) in(t *testing.T) (database, *gormstore.Store) {
	t.Helper()
	d := onPostgres(t)
	s := d.migrated(t, gormstore.Options{})
	shop(t, s)
	executeOn(t, d, `ALTER TABLE refresh_tokens SET (autovacuum_enabled = false)`, 0)
	must(s.Insert(t.Context(), newToken(t, "machine")))(t)
	db := d.raw(t)
	defer db.Close()
	execute(t, db, m.steps...)
	return d, s
}

// The rows that a limit has ended stay until they are purged. If a login read them, the service would get slower with
// each login of a user. The result must not depend on PostgreSQL's statistics: on the moment of the last ANALYZE.
func TestPostgresALoginReadsNoRevokedRow(t *testing.T) {
	for _, m := range moments() {
		t.Run(m.name, func(t *testing.T) {
			d, s := m.in(t)
			readsFew(t, d, s, d.raw(t))
		})
	}
}

// A first login has no refresh token to find. If it read those of the other users to see that, the service would get
// slower with each user of an application.
func TestPostgresAFirstLoginReadsNoOtherUser(t *testing.T) {
	const users = 20_000
	d := onPostgres(t)
	s := d.migrated(t, gormstore.Options{})
	shop(t, s)
	must(s.Insert(t.Context(), newToken(t, "user 1")))(t)
	db := d.raw(t)
	columns := strings.Join(gormstore.TokenColumns, ", ")
	execute(t, db, `INSERT INTO refresh_tokens (`+columns+`) SELECT `+strings.NewReplacer("id, generation",
		"decode(lpad(to_hex(n.n), 32, '0'), 'hex'), generation", "user_id", "'user ' || n.n").Replace(columns)+
		fmt.Sprintf(` FROM refresh_tokens, generate_series(2, %d) AS n (n)`, users), `VACUUM (ANALYZE) refresh_tokens`)
	read := func() int64 {
		t.Helper()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		awaitClosed(t, db)
		s = d.open(t, gormstore.Options{})
		var pages int64
		if err := db.QueryRowContext(t.Context(), `SELECT sum(idx_blks_read + idx_blks_hit)
FROM pg_statio_user_indexes WHERE indexrelname = 'refresh_tokens_newest'`).Scan(&pages); err != nil {
			t.Fatal(err)
		}
		return pages
	}
	before := read()
	const logins = 10
	for i := range logins {
		for _, user := range []string{fmt.Sprint("a ", i), fmt.Sprint("user of the middle ", i), fmt.Sprint("z", i)} {
			stored := must(s.Insert(t.Context(), newToken(t, user)))(t)
			if err := s.KeepNewest(t.Context(), domain.Scope{TenantID: "acme", ApplicationID: "shop", UserID: user}, 2,
				port.Revocation{At: start, Reason: domain.RevokedByLimit}, storagetest.NewEvent()); err != nil {
				t.Fatal(err)
			}
			if stored.Ordinal != 1 {
				t.Errorf("the first login of %s has ordinal %d", user, stored.Ordinal)
			}
		}
	}
	pages := read() - before
	t.Logf("%d pages", pages)
	if pages > 30*3*logins {
		t.Errorf("%d first logins read %d pages of the index on ordinals: want some for each", 3*logins, pages)
	}
}

// readsFew checks that a login reads few rows of refresh_tokens, and few entries of its indexes. It closes s.
func readsFew(t *testing.T, d database, s *gormstore.Store, db *sql.DB) {
	t.Helper()
	last := login(t, s) // marks the index entries of revoked rows, as each scan does
	const logins = 20
	for _, before := range []string{`SELECT pg_stat_reset()`, `ANALYZE; SELECT pg_stat_reset()`} {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		awaitClosed(t, db)
		if _, err := db.ExecContext(t.Context(), before); err != nil {
			t.Fatal(err)
		}
		s = d.open(t, gormstore.Options{})
		begin := time.Now()
		for range logins {
			next := login(t, s)
			if next.Ordinal != last.Ordinal+1 {
				t.Errorf("after ordinal %d: %d", last.Ordinal, next.Ordinal)
			}
			last = next
		}
		t.Logf("after %s: %s a login", before, time.Since(begin)/logins)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		awaitClosed(t, db)
		var fetched, read, userScans int64
		if err := db.QueryRowContext(t.Context(), `SELECT idx_tup_fetch,
  (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE indexrelname = 'refresh_tokens_newest'),
  (SELECT sum(idx_scan) FROM pg_stat_user_indexes WHERE indexrelname = 'refresh_tokens_user')
FROM pg_stat_user_tables WHERE relname = 'refresh_tokens'`).Scan(&fetched, &read, &userScans); err != nil {
			t.Fatal(err)
		}
		t.Logf("%d rows fetched, %d entries read", fetched, read)
		if read == 0 || read > 50*logins || fetched > 50*logins || userScans > 0 {
			t.Errorf("after %s: %d logins fetched %d rows, read %d entries of the index on ordinals, and searched "+
				"that on users %d times; want few, and 0", before, logins, fetched, read, userScans)
		}
		if got := statistics(t, db, "refresh_tokens").wholeScans; got != 0 {
			t.Errorf("after %s: refresh_tokens was read whole %d times, want 0", before, got)
		}
	}
}

func TestSQLiteALoginReadsNoRevokedRow(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	var j journal
	s := d.migrated(t, gormstore.Options{Logger: j.logger()})
	machine(t, s, d)
	j.statements(t)
	login(t, s)
	begin := time.Now()
	login(t, s)
	t.Logf("%s a login", time.Since(begin))
	for _, statement := range j.statements(t)[:3] {
		plan := planOf(t, d.raw(t), statement)
		if !slices.ContainsFunc(plan, func(step string) bool { return strings.Contains(step, "refresh_tokens_newest") }) ||
			slices.ContainsFunc(plan, func(step string) bool {
				return strings.Contains(step, "refresh_tokens_user") || strings.HasPrefix(step, "SCAN")
			}) {
			t.Errorf("got plan\n%s\nof %s\nwant the index on ordinals", strings.Join(plan, "\n"), statement)
		}
	}
}

// counted returns how many rows are in the index on ordinals.
func counted(t *testing.T, db *sql.DB) (n int) {
	t.Helper()
	if err := db.QueryRowContext(t.Context(),
		`SELECT count(*) FROM refresh_tokens WHERE revoked_at = 0 AND ordinal > 0`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// revokeAll ends what machine has by a mark.
func revokeAll(t *testing.T, s *gormstore.Store) {
	t.Helper()
	if _, err := s.RevokeScope(t.Context(), domain.Scope{TenantID: "acme", UserID: "machine"}, domain.ID{},
		port.Revocation{At: start, Reason: domain.RevokedByRequest}, storagetest.NewEvent()); err != nil {
		t.Fatal(err)
	}
}

// endings end all refresh tokens of machine, other than by revoking each.
var endings = map[string]func(t *testing.T, s *gormstore.Store, d database, n int){
	"marked": func(t *testing.T, s *gormstore.Store, _ database, _ int) { revokeAll(t, s) },
	"expired": func(t *testing.T, _ *gormstore.Store, d database, n int) {
		executeOn(t, d, `UPDATE refresh_tokens SET expires_at = 1`, int64(n))
	},
}

// forget logs in until all ended ones are out of the index. Each login removes 500, and changes nothing else of them.
func forget(t *testing.T, s *gormstore.Store, d database, n int) {
	t.Helper()
	const others = `SELECT count(*), sum(revoked_at), sum(expires_at % 1000003), sum(issued_epoch), sum(generation),
  sum(last_used_at % 1000003) FROM refresh_tokens WHERE device_name = 'filled'`
	db := d.raw(t)
	defer db.Close()
	state := func() (all [6]int64) {
		t.Helper()
		if err := db.QueryRowContext(t.Context(), others).Scan(&all[0], &all[1], &all[2], &all[3], &all[4],
			&all[5]); err != nil {
			t.Fatal(err)
		}
		return all
	}
	before := state()
	var took []time.Duration
	for left := n; left > 0; {
		begin := time.Now()
		login(t, s)
		took = append(took, time.Since(begin))
		left = max(0, left-500)
		if len(took)%20 != 1 && left > 0 {
			continue
		}
		if got, want := counted(t, db), left+min(2, len(took)); got != want {
			t.Fatalf("after %d logins the index has %d rows, want %d", len(took), got, want)
		}
	}
	t.Logf("a login took %s at first, and %s at last", took[0], took[len(took)-1])
	if after := state(); after != before {
		t.Errorf("of what has ended, its ordinal apart, there is %v, want as before: %v", after, before)
	}
}

// A refresh token that a mark or its expiry has ended is not revoked itself.
func TestPostgresALoginReadsNothingThatHasEnded(t *testing.T) {
	const n = 100_000
	for name, end := range endings {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := onPostgres(t)
			s, db := d.migrated(t, gormstore.Options{}), d.raw(t)
			// Autovacuum would make the result depend on the speed of the test. Its effect is tested at the end.
			executeOn(t, d, `ALTER TABLE refresh_tokens SET (autovacuum_enabled = false)`, 0)
			logins(t, s, d, n)
			end(t, s, d, n)
			forget(t, s, d, n)
			executeOn(t, d, `VACUUM ANALYZE refresh_tokens`, 0)
			readsFew(t, d, s, db)
		})
	}
	t.Run("login and revocation alternately", func(t *testing.T) {
		d := onPostgres(t)
		s, db := d.migrated(t, gormstore.Options{}), d.raw(t)
		shop(t, s)
		for range 1000 {
			login(t, s)
			revokeAll(t, s)
		}
		if got := counted(t, db); got > 2 {
			t.Errorf("the index on ordinals has %d rows, want 2 at most", got)
		}
		readsFew(t, d, s, db)
	})
}

func TestSQLiteALoginReadsNothingThatHasEnded(t *testing.T) {
	t.Parallel()
	const n = 5000
	for name, end := range endings {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := onSQLite(t)
			s := d.migrated(t, gormstore.Options{})
			logins(t, s, d, n)
			end(t, s, d, n)
			forget(t, s, d, n)
		})
	}
}

// Concurrent logins may have equal ordinals. The greater id then counts, at every call.
func TestOfTiesTheGreaterIDIsKept(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		s := d.migrated(t, gormstore.Options{})
		shop(t, s)
		var tokens []domain.RefreshToken
		for range 6 {
			tokens = append(tokens, must(s.Insert(t.Context(), newToken(t, "ana")))(t))
		}
		if _, err := d.raw(t).ExecContext(t.Context(),
			`UPDATE refresh_tokens SET ordinal = CASE WHEN ordinal <= 4 THEN 7 ELSE 1 END`); err != nil {
			t.Fatal(err)
		}
		tied := tokens[:4]
		slices.SortFunc(tied, func(a, b domain.RefreshToken) int { return bytes.Compare(b.ID[:], a.ID[:]) })
		for _, keep := range []int{3, 3, 1} {
			if err := s.KeepNewest(t.Context(), domain.Scope{TenantID: "acme", ApplicationID: "shop", UserID: "ana"}, keep,
				port.Revocation{At: start, Reason: domain.RevokedByLimit}, storagetest.NewEvent()); err != nil {
				t.Fatal(err)
			}
			var got, want []domain.ID
			alive := listed(t, s, "ana")
			for _, token := range alive {
				got = append(got, token.ID)
			}
			for _, token := range tied[:keep] {
				want = append(want, token.ID)
			}
			if !slices.Equal(got, want) {
				t.Errorf("keep %d: alive are %v, want %v", keep, got, want)
			}
		}
	})
}

// Many tabs, two processes: one rotates, the others get a conflict, and no call fails.
func TestOfParallelExchangesOneRotates(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		handles := []*gormstore.Store{d.migrated(t, gormstore.Options{}), d.migrated(t, gormstore.Options{})}
		shop(t, handles[0])
		token := issue(t, handles[0], 1)[0]
		for generation := uint32(1); generation <= 5; generation++ {
			var (
				group sync.WaitGroup
				errs  = make([]error, 100)
			)
			for i := range errs {
				group.Go(func() {
					_, _, errs[i] = handles[i%2].Advance(t.Context(), token.ID,
						domain.Call{Generation: generation, Now: start.Add(time.Duration(generation) * time.Hour)})
				})
			}
			group.Wait()
			rotated := 0
			for _, err := range errs {
				switch {
				case err == nil:
					rotated++
				case !errors.Is(err, domain.ErrConflict):
					t.Errorf("got error %v, want ErrConflict", err)
				}
			}
			if rotated != 1 {
				t.Errorf("generation %d: %d rotated, want 1", generation, rotated)
			}
		}
	})
}

// session is another session's transaction, which holds locks until it is released.
func session(t *testing.T, db *sql.DB, query string, args ...any) (release func()) {
	t.Helper()
	return ending(t, (*sql.Tx).Rollback, db, query, args...)
}

// committing is a session that holds locks until it commits.
func committing(t *testing.T, db *sql.DB, query string, args ...any) (commit func()) {
	t.Helper()
	return ending(t, (*sql.Tx).Commit, db, query, args...)
}

func ending(t *testing.T, how func(*sql.Tx) error, db *sql.DB, query string, args ...any) (end func()) {
	t.Helper()
	tx := must(db.BeginTx(t.Context(), nil))(t)
	if _, err := tx.ExecContext(t.Context(), query, args...); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if err := how(tx); err != nil {
			t.Fatal(err)
		}
	}
}

// awaitBlocked returns when a call waits for a lock in the database.
func awaitBlocked(t *testing.T, db *sql.DB) {
	t.Helper()
	for waiting := 0; waiting == 0; {
		if err := db.QueryRowContext(t.Context(), `SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock'`).Scan(&waiting); err != nil {
			t.Fatal(err)
		}
	}
}

// An exchange that waited while a revocation committed stores a refresh token that has ended: a revocation takes effect
// immediately.
func TestPostgresARevocationOutlivesAnExchangeThatWaited(t *testing.T) {
	t.Parallel()
	d := onPostgres(t)
	s := d.migrated(t, gormstore.Options{})
	shop(t, s)
	token := issue(t, s, 1)[0]
	db := d.raw(t)
	release := session(t, db, `SELECT 1 FROM refresh_tokens WHERE id = $1 FOR UPDATE`, token.ID[:])
	done := make(chan error)
	go func() {
		_, _, err := s.Advance(t.Context(), token.ID, domain.Call{Generation: 1, Now: start})
		done <- err
	}()
	awaitBlocked(t, db)
	// The revocation does not wait for the row.
	if _, err := s.RevokeScope(t.Context(), domain.Scope{TenantID: "acme"}, domain.ID{},
		port.Revocation{At: start}, storagetest.NewEvent()); err != nil {
		t.Fatal(err)
	}
	release()
	if err := <-done; err != nil && !errors.Is(err, domain.ErrConflict) {
		t.Errorf("Advance: got error %v, want none or ErrConflict", err)
	}
	if shot := must(s.Snapshot(t.Context(), token.ID))(t); shot.Alive(start) {
		t.Error("the refresh token is active, want it ended")
	}
}

// A refresh token that is issued during a revocation has no higher epoch than one that was issued before it.
func TestPostgresIssuedDuringARevocationIsDeadAndIssuedAfterIsAlive(t *testing.T) {
	t.Parallel()
	d := onPostgres(t)
	s := d.migrated(t, gormstore.Options{})
	shop(t, s)
	revoke := func() error {
		_, err := s.RevokeScope(t.Context(), domain.Scope{TenantID: "acme"}, domain.ID{},
			port.Revocation{At: start}, storagetest.NewEvent())
		return err
	}
	if err := revoke(); err != nil {
		t.Fatal(err)
	}
	db := d.raw(t)
	release := session(t, db, `SELECT 1 FROM marks FOR UPDATE`)
	done := make(chan error)
	go func() { done <- revoke() }()
	awaitBlocked(t, db) // between the epoch and the mark
	during := issue(t, s, 1)[0]
	release()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	after := issue(t, s, 1)[0]
	if must(s.Snapshot(t.Context(), during.ID))(t).Alive(start) {
		t.Error("issued during the revocation: alive, want dead")
	}
	if !must(s.Snapshot(t.Context(), after.ID))(t).Alive(start) {
		t.Error("issued after the revocation: dead, want alive")
	}
}

// An exchange counts as of its beginning, so it must not wait for long.
func TestPostgresAnExchangeWaitsASecondForItsRow(t *testing.T) {
	t.Parallel()
	d := onPostgres(t)
	s := d.migrated(t, gormstore.Options{})
	shop(t, s)
	token := issue(t, s, 1)[0]
	defer session(t, d.raw(t), `SELECT 1 FROM refresh_tokens FOR UPDATE`)()
	// The lock is not released. The test checks what ended the wait, and not how soon: a busy machine adds to a second.
	ctx, cancel := context.WithTimeout(t.Context(), stuck)
	defer cancel()
	_, _, err := s.Advance(ctx, token.ID, domain.Call{Generation: 1, Now: start})
	var lock *pgconn.PgError
	if !errors.As(err, &lock) || lock.Code != "55P03" || errors.Is(err, domain.ErrConflict) || ctx.Err() != nil {
		t.Errorf("got error %v, want that of the lock's time-out, 55P03", err)
	}
	var timeout string
	if err := s.Pool().QueryRowContext(t.Context(), `SHOW lock_timeout`).Scan(&timeout); err != nil || timeout != "1s" {
		t.Errorf("got a lock_timeout of %q, %v, want 1s", timeout, err)
	}
}

// Another session locks rows in another order than the store. The caller must not get an error.
func TestPostgresADeadlockIsTriedAgain(t *testing.T) {
	t.Parallel()
	d := onPostgres(t)
	s := d.migrated(t, gormstore.Options{})
	shop(t, s)
	var tokens []domain.RefreshToken
	for range 3 {
		tokens = append(tokens, must(s.Insert(t.Context(), newToken(t, "user")))(t))
	}

	const lock = `SELECT 1 FROM refresh_tokens WHERE id = $1 FOR UPDATE`
	db := d.raw(t)
	tx := must(db.BeginTx(t.Context(), nil))(t)
	if _, err := tx.ExecContext(t.Context(), lock, tokens[1].ID[:]); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		done <- s.KeepNewest(t.Context(), domain.Scope{TenantID: "acme", ApplicationID: "shop", UserID: "user"}, 1,
			port.Revocation{At: start, Reason: domain.RevokedByLimit}, storagetest.NewEvent())

	}()
	awaitBlocked(t, db) // it has the first row, and waits for the second
	_, err := tx.ExecContext(t.Context(), lock, tokens[0].ID[:])
	t.Logf("the other session: %v", err)
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("KeepNewest: %v", err)
	}
	got := listed(t, s, "user")
	if len(got) != 1 || got[0].ID != tokens[2].ID {
		t.Errorf("got %d alive, want the newest alone", len(got))
	}
}

// advancing runs an exchange in a goroutine.
func advancing(t *testing.T, s *gormstore.Store, token domain.RefreshToken, clientAddress string) <-chan error {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		got, _, err := s.Advance(t.Context(), token.ID,
			domain.Call{Generation: token.Generation, Now: start, ClientAddress: clientAddress})
		if err == nil && (got.ID != token.ID || got.MetaData.ClientAddress != clientAddress ||
			got.Generation != token.Generation+1) {
			err = fmt.Errorf("got generation %d of %s for %q, want that of %s for %q",
				got.Generation, got.ID, got.MetaData.ClientAddress, token.ID, clientAddress)
		}
		done <- err
	}()
	return done
}

// awaitWaiting returns when n exchanges wait for a slot.
func awaitWaiting(t *testing.T, s *gormstore.Store, n int) {
	t.Helper()
	for s.Waiting() != n {
		if err := t.Context().Err(); err != nil {
			t.Fatal(err)
		}
		runtime.Gosched()
	}
}

func wantDone(t *testing.T, what string, done <-chan error) {
	t.Helper()
	if err := <-done; err != nil {
		t.Errorf("%s: got error %v, want none", what, err)
	}
}

// A batch that waited for one row would delay all of its exchanges.
func TestPostgresAHeldRowKeepsNobodyElseWaiting(t *testing.T) {
	t.Parallel()
	d := onPostgres(t)
	var j journal
	s := d.migrated(t, gormstore.Options{Logger: j.logger()})
	shop(t, s)
	tokens, db := issue(t, s, 5), d.raw(t)
	const hold = `SELECT 1 FROM refresh_tokens WHERE id = $1 FOR UPDATE`
	var releases []func()
	for i := range 3 {
		releases = append(releases, session(t, db, hold, tokens[i].ID[:]))
	}
	freeSlots := s.HoldSlots()
	var done []<-chan error
	for i, token := range tokens {
		done = append(done, advancing(t, s, token, fmt.Sprintf("192.0.2.%d", i)))
	}
	awaitWaiting(t, s, len(done))
	freeSlots()
	// The batch skips locked rows. These exchanges then run alone, and wait.
	wantDone(t, "one beside the held rows", done[3])
	wantDone(t, "another beside them", done[4])
	for _, release := range releases {
		release()
	}
	for _, done := range done[:3] {
		if err := <-done; err != nil && !strings.Contains(err.Error(), "55P03") { // if the machine took a second
			t.Errorf("one whose row was held: got error %v", err)
		}
	}
	shared := 0
	for _, statement := range j.statements(t) {
		if strings.Contains(statement, "SKIP LOCKED") {
			shared++
		}
	}
	if shared != 1 {
		t.Errorf("%d statements were shared, want 1", shared)
	}
	if got, want := s.Sharing(), (gormstore.Sharing{Writes: 1, Exchanges: 5}); got != want {
		t.Errorf("Sharing = %+v, want %+v", got, want)
	}
}

// An exchange with a value that the database rejects must not fail concurrent ones.
func TestABadExchangeFailsAlone(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		s := d.migrated(t, gormstore.Options{})
		shop(t, s)
		tokens, db := issue(t, s, 5), d.raw(t)
		// In PostgreSQL a NUL in text is an error; SQLite accepts everything except by a trigger.
		bad := "192.0.2.3\x00"
		if onSQLite := s.Stats().MaxOpenConnections == 1; onSQLite {
			if _, err := db.ExecContext(t.Context(), `CREATE TRIGGER bad BEFORE UPDATE ON refresh_tokens
WHEN NEW.client_address = 'bad' BEGIN SELECT RAISE(ABORT, 'a bad exchange'); END`); err != nil {
				t.Fatal(err)
			}
			bad = "bad"
		}
		release := s.HoldSlots()
		var done []<-chan error
		for i, address := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.3", bad, "192.0.2.5"} {
			done = append(done, advancing(t, s, tokens[i], address))
		}
		awaitWaiting(t, s, len(done))
		release()
		for i, got := range done {
			if err := <-got; (err != nil) != (i == 3) || errors.Is(err, domain.ErrConflict) {
				t.Errorf("exchange %d: got error %v", i, err)
			}
		}
		for i, token := range tokens {
			want := uint32(2)
			if i == 3 {
				want = 1
			}
			if got := must(s.Snapshot(t.Context(), token.ID))(t).Token.Generation; got != want {
				t.Errorf("exchange %d: generation %d is stored, want %d", i, got, want)
			}
		}
	})
}

// Each exchange of a batch is compared with what its own request named and proved.
func TestAnExchangeOfABatchIsComparedWithItsOwnCall(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		s := d.migrated(t, gormstore.Options{})
		shop(t, s)
		const bound, another = "nZbLJgYHmEGlCjSxJcWTX2VNiyyhuZxOfCzjMV8eXd4", "bZbLJgYHmEGlCjSxJcWTX2VNiyyhuZxOfCzjMV8eXd4"
		calls := []struct {
			what    string
			call    domain.Call
			refused bool
		}{
			{"its own client", domain.Call{ApplicationID: "shop", Binding: bound}, false},
			{"another client", domain.Call{ApplicationID: "bar", Binding: bound}, true},
			{"no client", domain.Call{Binding: bound}, false},
			{"another client of its own tenant", domain.Call{TenantID: "acme", ApplicationID: "bar", Binding: bound}, true},
			{"another tenant", domain.Call{TenantID: "other", Binding: bound}, true},
			{"another key", domain.Call{Binding: another}, true},
			{"no key", domain.Call{ApplicationID: "shop"}, true},
			{"its own tenant and client", domain.Call{TenantID: "acme", ApplicationID: "shop", Binding: bound}, false},
		}
		var tokens []domain.RefreshToken
		for i := range calls {
			token := newToken(t, fmt.Sprintf("user-%d", i))
			token.Binding = bound
			tokens = append(tokens, must(s.Insert(t.Context(), token))(t))
		}
		shared := s.Sharing().Exchanges
		release := s.HoldSlots()
		done := make([]chan error, len(calls))
		for i := range calls {
			done[i] = make(chan error, 1)
			go func() {
				c := calls[i].call
				c.Generation, c.Now = 1, start
				_, _, err := s.Advance(t.Context(), tokens[i].ID, c)
				done[i] <- err
			}()
		}
		awaitWaiting(t, s, len(calls))
		release()
		for i, c := range calls {
			err := <-done[i]
			if errors.Is(err, domain.ErrConflict) != c.refused || err != nil && !c.refused {
				t.Errorf("with %s: got error %v, refused must be %t", c.what, err, c.refused)
			}
			want := uint32(2)
			if c.refused {
				want = 1
			}
			if got := must(s.Snapshot(t.Context(), tokens[i].ID))(t).Token.Generation; got != want {
				t.Errorf("with %s: generation %d is stored, want %d", c.what, got, want)
			}
		}
		if got := int(s.Sharing().Exchanges - shared); got < len(calls) {
			t.Errorf("%d exchanges shared writes, want all %d", got, len(calls))
		}
	})
}

// A row that cannot be read, after a migration that failed, must not fail the exchanges of the same batch.
func TestPostgresARowThatCannotBeReadFailsAlone(t *testing.T) {
	t.Parallel()
	d := onPostgres(t)
	s := d.migrated(t, gormstore.Options{})
	shop(t, s)
	tokens, db := issue(t, s, 5), d.raw(t)
	if _, err := db.ExecContext(t.Context(), `UPDATE refresh_tokens SET roles = 'x' WHERE id = $1`,
		tokens[3].ID[:]); err != nil {
		t.Fatal(err)
	}
	for i, got := range advancingInBatch(t, s, tokens) {
		if err := <-got; (err != nil) != (i == 1) || errors.Is(err, domain.ErrConflict) { // the first two are done
			t.Errorf("exchange %d of the write: got error %v", i, err)
		}
	}
}

// advancingInBatch runs the first two exchanges by themselves, and the others in one batch.
func advancingInBatch(t *testing.T, s *gormstore.Store, tokens []domain.RefreshToken) (done []<-chan error) {
	t.Helper()
	for i, token := range tokens[:2] {
		wantDone(t, "one by itself", advancing(t, s, token, fmt.Sprintf("192.0.2.%d", i)))
	}
	release := s.HoldSlots()
	for i, token := range tokens[2:] {
		done = append(done, advancing(t, s, token, fmt.Sprintf("192.0.2.%d", 2+i)))
		awaitWaiting(t, s, i+1) // one after another
	}
	release()
	return done
}

// A batch sees the database as of its beginning, and locks its rows one after another. A change in between counts, as
// for an exchange by itself.
func TestPostgresASharedWriteComparesWhatItHasLocked(t *testing.T) {
	revoked := port.Revocation{At: start, Reason: domain.RevokedByRequest}
	for _, test := range []struct {
		name      string
		meanwhile func(context.Context, *gormstore.Store, domain.RefreshToken) error
		want      error
		alive     bool
	}{
		{"it is revoked", func(ctx context.Context, s *gormstore.Store, last domain.RefreshToken) error {
			return s.Revoke(ctx, "acme", last.ID, revoked, storagetest.NewEvent())
		}, domain.ErrConflict, false},
		{"it is used", func(ctx context.Context, s *gormstore.Store, last domain.RefreshToken) error {
			after := last
			after.LastUsedAt = start.Add(time.Hour)
			return s.Swap(ctx, last, after, start, storagetest.NewEvent())
		}, nil, true},
		{"it is recovered", func(ctx context.Context, s *gormstore.Store, last domain.RefreshToken) error {
			after := last
			after.RecoveredAt, after.RecoveryPaidUntil = start, 12
			return s.Swap(ctx, last, after, start, storagetest.NewEvent())
		}, domain.ErrConflict, true},
		{"all but it are revoked", func(ctx context.Context, s *gormstore.Store, last domain.RefreshToken) error {
			_, err := s.RevokeScope(ctx, domain.Scope{TenantID: "acme"}, last.ID, revoked, storagetest.NewEvent())
			return err
		}, nil, true},
		{"all are revoked, and it was running", func(ctx context.Context, s *gormstore.Store, _ domain.RefreshToken) error {
			_, err := s.RevokeScope(ctx, domain.Scope{TenantID: "acme"}, domain.ID{}, revoked, storagetest.NewEvent())
			return err
		}, nil, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			d := onPostgres(t)
			s, other, db := d.migrated(t, gormstore.Options{}), d.migrated(t, gormstore.Options{OneByOne: true}), d.raw(t)
			shop(t, s)
			tokens := issue(t, s, 4)
			// The grace period of its last answer is over.
			last, _, err := s.Advance(t.Context(), tokens[3].ID, domain.Call{Generation: 1, Now: start.Add(-time.Hour)})
			if err != nil {
				t.Fatal(err)
			}
			tokens[3] = last
			// The statement stops in the middle of its work, at the row of the third.
			for _, text := range []string{
				`CREATE FUNCTION stop() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN NEW; END $$`,
				`CREATE TRIGGER stop BEFORE UPDATE ON refresh_tokens FOR EACH ROW
WHEN (NEW.client_address = '192.0.2.2') EXECUTE FUNCTION stop()`,
			} {
				if _, err := db.ExecContext(t.Context(), text); err != nil {
					t.Fatal(err)
				}
			}
			resume := session(t, db, `SELECT pg_advisory_xact_lock(1)`)
			done := advancingInBatch(t, s, tokens)
			for stopped := 0; stopped == 0; {
				if err := db.QueryRowContext(t.Context(), `SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND wait_event = 'advisory' AND query LIKE '%WITH locked%'`,
				).Scan(&stopped); err != nil {
					t.Fatal(err)
				}
			}
			if err := test.meanwhile(t.Context(), other, last); err != nil {
				t.Fatal(err)
			}
			resume()
			wantDone(t, "the first in the shared write", done[0])
			if err := <-done[1]; !errors.Is(err, test.want) {
				t.Errorf("got error %v, want %v", err, test.want)
			}
			if got := must(s.Snapshot(t.Context(), last.ID))(t).Alive(start); got != test.alive {
				t.Errorf("alive afterwards: %t, want %t", got, test.alive)
			}
		})
	}
}

// BenchmarkAdvance measures Advance with a number of concurrent callers, each with a refresh token of its own.
// PostgreSQL is that of the tests, which does not wait for the disk, unless TEST_POSTGRES_DSN names another.
func BenchmarkAdvance(b *testing.B) {
	for _, engine := range []struct {
		name        string
		newDatabase func(testing.TB) database
	}{{"sqlite", onSQLite}, {"postgres", onPostgres}} {
		for _, callers := range []int{1, 8, 32, 64} {
			for _, oneByOne := range []bool{true, false} {
				b.Run(fmt.Sprintf("%s/callers=%d/one-by-one=%t", engine.name, callers, oneByOne), func(b *testing.B) {
					s := engine.newDatabase(b).migrated(b, gormstore.Options{OneByOne: oneByOne})
					benchmarkAdvance(b, s, callers)
				})
			}
		}
	}
}

func benchmarkAdvance(b *testing.B, s *gormstore.Store, callers int) {
	shop(b, s)
	if err := storagetest.SaveApplication(b.Context(), s, domain.Application{
		// With a grace period all exchanges but the first would be retries.
		TenantID: "acme", ID: "shop", Settings: domain.Settings{GraceSeconds: new(int64(0))},
	}); err != nil {
		b.Fatal(err)
	}
	tokens := issue(b, s, callers)
	var (
		left  atomic.Int64
		group sync.WaitGroup
	)
	left.Store(int64(b.N))
	b.ReportAllocs()
	b.ResetTimer()
	for _, t := range tokens {
		group.Go(func() {
			for left.Add(-1) >= 0 {
				var err error
				if t, _, err = s.Advance(b.Context(), t.ID, domain.Call{Generation: t.Generation, Now: start}); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "exchanges/s")
}

// A process that starts gets concurrent calls of all kinds, and none of its statements is prepared yet.
func TestTheFirstCallsOfAProcessDoNotBlockOneAnother(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		shop(t, d.migrated(t, gormstore.Options{}))
		for range 10 {
			s := d.migrated(t, gormstore.Options{})
			ctx, cancel := context.WithTimeout(t.Context(), stuck)
			var group sync.WaitGroup
			for range 10 {
				group.Go(func() {
					_, _, err := s.Advance(ctx, domain.ID{1}, domain.Call{Generation: 1, Now: start})
					if !errors.Is(err, domain.ErrConflict) {
						t.Errorf("Advance: got error %v, want ErrConflict", err)
					}
				})
				group.Go(func() {
					if err := storagetest.SaveTenant(ctx, s, domain.Tenant{ID: "acme"}); err != nil {
						t.Error(err)
					}
				})
			}
			group.Wait()
			cancel()
		}
	})
}
