package gormstore_test

import (
	"database/sql"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/adapter/gormstore"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
	"github.com/refreshd/refreshd/test/storagetest"
)

var _ port.Reach = (*gormstore.Store)(nil)

// facts returns what Revoked reports above after, and the head.
func facts(t *testing.T, s *gormstore.Store, after domain.Position) (all []domain.Fact, head domain.Position) {
	t.Helper()
	read := must(s.Revoked(t.Context(), port.FactQuery{After: after}, func(f domain.Fact) { all = append(all, f) }))(t)
	return all, read.Head
}

func stamp(t *testing.T, s *gormstore.Store, want int) {
	t.Helper()
	if got := must(s.Stamp(t.Context(), time.Now(), 1000))(t); got != want {
		t.Errorf("Stamp = %d, want %d", got, want)
	}
}

func revoke(t *testing.T, s *gormstore.Store, token domain.RefreshToken) {
	t.Helper()
	r := port.Revocation{At: start, Reason: domain.RevokedByRequest}
	if err := s.Revoke(t.Context(), token.TenantID, token.ID, r, storagetest.NewEvent()); err != nil {
		t.Fatal(err)
	}
}

func revokeScope(t *testing.T, s *gormstore.Store, scope domain.Scope, except domain.ID) (epoch uint64) {
	t.Helper()
	r := port.Revocation{At: start, Reason: domain.RevokedByRequest}
	return must(s.RevokeScope(t.Context(), scope, except, r, storagetest.NewEvent()))(t)
}

func TestFactsGetOnePositionAStamp(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		s := d.migrated(t, gormstore.Options{})
		shop(t, s)
		tokens := issue(t, s, 2)
		if none, head := facts(t, s, 0); len(none) != 0 || head != 0 {
			t.Errorf("got the facts %v up to %d of a new store", none, head)
		}
		revoke(t, s, tokens[0])
		epoch := revokeScope(t, s, domain.Scope{TenantID: "acme", UserID: "user-1"}, tokens[1].ID)
		stamp(t, s, 1)
		stamp(t, s, 0)
		all, head := facts(t, s, 0)
		want := []domain.Fact{
			{Position: head, TenantID: "acme", SessionID: tokens[0].ID},
			{Position: head, TenantID: "acme", Epoch: epoch, UserID: "user-1", Except: tokens[1].ID},
		}
		if diff := cmp.Diff(want, all); diff != "" || head == 0 {
			t.Errorf("the facts up to %d: -want +got:\n%s", head, diff)
		}
		if err := s.Beat(t.Context(), "reader", time.Now()); err != nil {
			t.Error(err)
		}
		longest := domain.DefaultPolicy().AccessTokenTTL
		if got, err := s.LongestAccessTTL(t.Context(), "acme"); got != longest || err != nil {
			t.Errorf("LongestAccessTTL = %v, %v, want %v", got, err, longest)
		}
		if _, err := s.LongestAccessTTL(t.Context(), "nobody"); !errors.Is(err, domain.ErrNotFound) {
			t.Errorf("LongestAccessTTL of no tenant: %v, want ErrNotFound", err)
		}
	})
}

// Every replica looks each second. An idle service must not write, or its disk and its standbys never rest.
func TestAStampOfNothingWritesNothing(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		s := d.migrated(t, gormstore.Options{})
		shop(t, s)
		revoke(t, s, issue(t, s, 1)[0])
		stamp(t, s, 1)
		conn := must(d.raw(t).Conn(t.Context()))(t)
		defer conn.Close()
		trace := `SELECT xmin || ' ' || xmax || ' ' || ctid FROM revocation_feed` // of a write and of a lock
		if s.Stats().MaxOpenConnections == 1 {
			trace = `SELECT CAST(data_version AS TEXT) FROM pragma_data_version`
		}
		before := lines(t, conn, trace)
		for range 3 {
			stamp(t, s, 0)
		}
		if after := lines(t, conn, trace); !slices.Equal(before, after) {
			t.Errorf("got %q, want %q as before", after, before)
		}
		revoke(t, s, issue(t, s, 1)[0])
		stamp(t, s, 1)
		if after := lines(t, conn, trace); slices.Equal(before, after) {
			t.Errorf("got %q after a stamp: the test sees no write", after)
		}
	})
}

// A revocation that is held open, by a slow commit for example, must delay no other, and must not be lost.
func TestPostgresAStampSkipsWhatAnotherSessionHolds(t *testing.T) {
	t.Parallel()
	d := onPostgres(t)
	s := d.migrated(t, gormstore.Options{})
	shop(t, s)
	tokens := issue(t, s, 2)
	for _, token := range tokens {
		revoke(t, s, token)
		revokeScope(t, s, domain.Scope{TenantID: "acme", UserID: token.UserID}, domain.ID{})
	}
	db := d.raw(t)
	releaseToken := session(t, db, `SELECT 1 FROM refresh_tokens WHERE id = $1 FOR UPDATE`, tokens[0].ID[:])
	releaseMark := session(t, db, `SELECT 1 FROM marks WHERE user_id = $1 FOR UPDATE`, tokens[1].UserID)
	stamp(t, s, 1)
	stamp(t, s, 0)
	rest, head := facts(t, s, math.MaxInt64)
	if len(rest) != 2 || rest[0].SessionID != tokens[0].ID || rest[1].UserID != tokens[1].UserID {
		t.Errorf("got %v, want what is held", rest)
	}
	releaseToken()
	releaseMark()
	stamp(t, s, 1)
	after, last := facts(t, s, head)
	if len(after) != 2 || last <= head || after[0].Position != last || after[1].Position != last {
		t.Errorf("got %v up to %d, want what was held above %d", after, last, head)
	}
}

// Two stamps that overlapped could become visible in the other order, and a reader would miss the facts of one.
func TestPostgresAStampDoesNothingWhileAnotherOneIsOpen(t *testing.T) {
	t.Parallel()
	d := onPostgres(t)
	var j journal
	s := d.migrated(t, gormstore.Options{Logger: j.logger()})
	shop(t, s)
	tokens := issue(t, s, 2)
	j.statements(t)
	stamp(t, s, 0)
	statement := j.statements(t)[0]
	revoke(t, s, tokens[0])
	tx := must(d.raw(t).BeginTx(t.Context(), nil))(t)
	defer tx.Rollback()
	var n, marks, keys int
	if err := tx.QueryRowContext(t.Context(), statement, 1000).Scan(&n, &marks, &keys); err != nil || n != 1 {
		t.Fatalf("got %d, %v, want one stamped in the open transaction", n, err)
	}
	revoke(t, s, tokens[1])
	stamp(t, s, 0)
	before, head := facts(t, s, 0)
	if len(before) != 2 || before[0].Position != 0 || before[1].Position != 0 || head != 0 {
		t.Errorf("got %v up to %d, want both without a position", before, head)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	after, first := facts(t, s, 0)
	if len(after) != 2 || first == 0 {
		t.Errorf("got %v up to %d, want a head", after, first)
	}
	stamp(t, s, 1)
	if rest, head := facts(t, s, first); len(rest) != 1 || rest[0].SessionID != tokens[1].ID || head <= first {
		t.Errorf("got %v up to %d, want the other one above %d", rest, head, first)
	}
}

// A commit may wait for a standby for as long as it takes. A fact that was stamped meanwhile has a higher position
// than the instant of that revocation.
func TestPostgresARevocationThatCommitsLateIsFound(t *testing.T) {
	t.Parallel()
	d := onPostgres(t)
	s := d.migrated(t, gormstore.Options{})
	shop(t, s)
	tokens := issue(t, s, 2)
	db := d.raw(t)
	commitToken := committing(t, db, `UPDATE refresh_tokens SET revoked_at = 1, revoked_reason = '' WHERE id = $1`,
		tokens[0].ID[:])
	commitMark := committing(t, db, `INSERT INTO marks (tenant_id, application_id, user_id, epoch, revoked_at, reason,
		keep_until) VALUES ('acme', '', 'late', 1, 1, '', 1)`)
	revoke(t, s, tokens[1])
	stamp(t, s, 1)
	first, cursor := facts(t, s, 0)
	if len(first) != 1 {
		t.Fatalf("got %v, want one fact", first)
	}
	commitToken()
	commitMark()
	for range 2 { // without a position, and with one
		late, _ := facts(t, s, cursor)
		if len(late) != 2 || late[0].SessionID != tokens[0].ID || late[1].UserID != "late" {
			t.Errorf("got %v, want the session and the mark that were committed late", late)
		}
		must(s.Stamp(t.Context(), time.Now(), 1000))(t)
	}
}

// An overload of exchanges must not make the feed blind: it has connections of its own.
func TestPostgresTheFeedIsReadWhileNoConnectionIsFree(t *testing.T) {
	t.Parallel()
	d := onPostgres(t)
	s := d.migrated(t, gormstore.Options{MaxConnections: 1})
	shop(t, s)
	revoke(t, s, issue(t, s, 1)[0])
	held := must(s.Pool().Conn(t.Context()))(t)
	defer held.Close()
	stamp(t, s, 1)
	if all, _ := facts(t, s, 0); len(all) != 1 {
		t.Errorf("got %v, want one fact", all)
	}
	if err := s.Beat(t.Context(), "reader", time.Now()); err != nil {
		t.Error(err)
	}
	must(s.LongestAccessTTL(t.Context(), "acme"))(t)
	var open int
	if err := held.QueryRowContext(t.Context(), `SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'refreshd'`).Scan(&open); err != nil || open > 3 {
		t.Errorf("got %d connections, %v, want at most one and the feed's two", open, err)
	}
}

// A primary that was replaced must not be able to make a beat durable, so a beat is a write, of one row a process.
func TestPostgresABeatIsAWriteOfOneRow(t *testing.T) {
	t.Parallel()
	d := onPostgres(t)
	s := d.migrated(t, gormstore.Options{})
	shop(t, s)
	db := d.raw(t)
	row := func() string {
		t.Helper()
		const rows = `SELECT xmin || ' ' || holder || ' ' || beat FROM feed_readers ORDER BY holder`
		return strings.Join(lines(t, db, rows), ", ")
	}
	now := start.Add(time.Minute)
	seen := map[string]bool{}
	for range 3 { // the clock may have stopped
		if err := s.Beat(t.Context(), "one", now); err != nil {
			t.Fatal(err)
		}
		seen[row()] = true
	}
	if len(seen) != 3 {
		t.Errorf("got %v, want a new version of one row each time", seen)
	}
	if err := s.Beat(t.Context(), "two", now.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	step := purgeStep(10)
	step.Now = now.Add(time.Hour + time.Microsecond)
	pass(t, s, step)
	if got := row(); !strings.HasSuffix(got, fmt.Sprintf("two %d", now.Add(time.Hour).UnixMicro())) ||
		strings.Contains(got, "one") {
		t.Errorf("got %q, want the reader of this hour only", got)
	}
}

// The beat is read with the facts, in their snapshot, whatever connection made it. Another process, with a store of its
// own, sees it too, so it is not kept in memory.
func TestPostgresAReadingShowsTheBeatThatItsServerHas(t *testing.T) {
	t.Parallel()
	d := onPostgres(t)
	s, other := d.migrated(t, gormstore.Options{}), d.open(t, gormstore.Options{})
	db := d.raw(t)
	shows := func(what string, want time.Time) {
		t.Helper()
		for _, s := range []*gormstore.Store{s, other} {
			read := must(s.Revoked(t.Context(), port.FactQuery{Reader: "one"}, func(domain.Fact) {}))(t)
			if !read.Beat.Equal(want) {
				t.Errorf("%s: the beat is %s, want %s", what, read.Beat, want)
			}
		}
	}
	if err := s.Beat(t.Context(), "one", start); err != nil {
		t.Fatal(err)
	}
	shows("stored", start)
	commit := committing(t, db, `UPDATE feed_readers SET beat = beat + 1 WHERE holder = $1`, "one")
	shows("before the next is committed", start)
	commit()
	shows("after that", start.Add(time.Microsecond))
	execute(t, db, `UPDATE feed_readers SET beat = beat - 1000000`) // a server that has not the last ones
	shows("on another server", start.Add(time.Microsecond-time.Second))
	execute(t, db, `DELETE FROM feed_readers`)
	shows("deleted", time.Time{})
}

// A connection to a server that was replaced works well, so no error closes it. The store must, because it may be the
// only one that reads, and it must not believe what that server says of the longest lifetime. Here a server that lacks
// the last beat is simulated by an older one in the row.
func TestPostgresAConnectionToAReplacedServerIsClosed(t *testing.T) {
	t.Parallel()
	d := onPostgres(t)
	s := d.migrated(t, gormstore.Options{})
	shop(t, s)
	db := d.raw(t)
	connections := func() string {
		t.Helper()
		return strings.Join(lines(t, db, `SELECT pid::text FROM pg_stat_activity WHERE query LIKE '%feed_readers%'
  AND datname = current_database() AND pid <> pg_backend_pid() ORDER BY pid`), " ")
	}
	want := must(s.LongestAccessTTL(t.Context(), "acme"))(t) // before the first beat nothing can be known
	for name, call := range map[string]func() error{
		"Revoked": func() error {
			_, err := s.Revoked(t.Context(), port.FactQuery{Reader: "one"}, func(domain.Fact) {})
			return err
		},
		"LongestAccessTTL": func() error {
			got, err := s.LongestAccessTTL(t.Context(), "acme")
			if err == nil && got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			return err
		},
	} {
		if err := s.Beat(t.Context(), "one", start); err != nil {
			t.Fatal(err)
		}
		before := connections()
		if err := call(); err != nil || connections() != before {
			t.Errorf("%s: got %v, and the connections %q, want the same %q", name, err, connections(), before)
		}
		execute(t, db, `UPDATE feed_readers SET beat = beat - 1`)
		if err := call(); (name == "LongestAccessTTL") != errors.Is(err, domain.ErrUnavailable) {
			t.Errorf("%s: got %v", name, err)
		}
		isOpen := func(pid string) bool { return slices.Contains(strings.Fields(connections()), pid) }
		deadline := time.Now().Add(time.Minute)
		for slices.ContainsFunc(strings.Fields(before), isOpen) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: one of the connections %s is still open", name, before)
			}
			time.Sleep(10 * time.Millisecond) // the server notices the end of a connection by itself
		}
	}
	if _, err := s.LongestAccessTTL(t.Context(), "globex"); !errors.Is(err, domain.ErrUnavailable) {
		t.Errorf("an unknown tenant on a replaced server: got %v", err)
	}
	must(0, s.Beat(t.Context(), "one", start.Add(time.Second)))(t)
	if _, err := s.LongestAccessTTL(t.Context(), "globex"); !errors.Is(err, domain.ErrNotFound) {
		t.Errorf("an unknown tenant: got %v, want %v", err, domain.ErrNotFound)
	}
}

// reachStatements returns those of port.Reach.
func reachStatements(t *testing.T, s *gormstore.Store, j *journal) []string {
	t.Helper()
	revoke(t, s, issue(t, s, 1)[0])
	j.statements(t)
	stamp(t, s, 1)
	facts(t, s, 0)
	must(s.LongestAccessTTL(t.Context(), "acme"))(t)
	if err := s.Beat(t.Context(), "reader", start); err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(j.statements(t), func(text string) bool { return text == "" })
}

// The feed is read ten times a second by each replica, and most of the time there is nothing to read. A statement that
// read more than its part of an index would get slower with every session that ever ended.
func TestPostgresTheFeedFollowsItsIndexes(t *testing.T) {
	t.Parallel()
	d := onPostgres(t)
	var j journal
	s := d.migrated(t, gormstore.Options{Logger: j.logger()})
	shop(t, s)
	statements := reachStatements(t, s, &j)
	if len(statements) != 4 {
		t.Fatalf("got %d statements, want one for each method: %q", len(statements), statements)
	}
	db := d.raw(t)
	conn := must(db.Conn(t.Context()))(t)
	defer conn.Close()
	for name, value := range gormstore.SessionSettings {
		if name != "statement_timeout" && name != "lock_timeout" {
			planText(t, conn, `SET `+name+` = '`+value+`'`)
		}
	}
	parameter := regexp.MustCompile(`\$(\d+)`)
	explain := func(when string) {
		t.Helper()
		for i, want := range [][]string{
			{`refresh_tokens_feed`, `marks_unstamped`, `keys_revoked`, `revocation_feed_pkey`, `refresh_tokens_pkey`,
				`marks_pkey`, `keys_id`},
			{`refresh_tokens_feed`, `marks_unstamped`, `marks_feed`, `keys_revoked`, `revocation_feed_pkey`,
				`feed_readers_pkey`},
			{`tenants_pkey`},
			nil,
		} {
			most := 0
			for _, p := range parameter.FindAllStringSubmatch(statements[i], -1) {
				most = max(most, must(strconv.Atoi(p[1]))(t))
			}
			planText(t, conn, `PREPARE step AS `+statements[i])
			nulls := strings.TrimSuffix(strings.Repeat("NULL, ", most), ", ")
			plan := planText(t, conn, `EXPLAIN EXECUTE step (`+nulls+`)`)
			planText(t, conn, `DEALLOCATE step`)
			for _, index := range want {
				if !strings.Contains(plan, " "+index+" ") {
					t.Errorf("%s: %s is not used:\n%s", when, index, plan)
				}
			}
			for _, bad := range []string{"Seq Scan", "Hash", "Merge", "Sort", "_user", "_ordinal", "_tenant "} {
				if strings.Contains(plan, bad) {
					t.Errorf("%s: the plan has %q:\n%s", when, bad, plan)
				}
			}
			if i == 1 && strings.Count(plan, "Index Cond: (feed ")+strings.Count(plan, "Recheck Cond: ((feed ") < 2 {
				t.Errorf("%s: what is read does not begin at a position:\n%s", when, plan)
			}
		}
	}
	explain("on a new table")
	execute(t, db, `ANALYZE`)
	explain("on an analysed table that is almost empty")
	rest := strings.NewReplacer(
		"revoked_at", "CASE WHEN n % 10 = 0 THEN n ELSE 0 END", "user_id", "'user ' || n / 100").
		Replace(strings.Join(gormstore.TokenColumns[1:], ", "))
	execute(t, db,
		`INSERT INTO refresh_tokens (`+strings.Join(gormstore.TokenColumns, ", ")+`, feed)
			SELECT decode(lpad(to_hex(n), 32, '0'), 'hex'), `+rest+`, CASE WHEN n % 1000 = 0 THEN 0 ELSE n END
			FROM generate_series(1, 100000) AS n, (SELECT * FROM refresh_tokens LIMIT 1) AS r`,
		`INSERT INTO marks (tenant_id, application_id, user_id, epoch, revoked_at, reason, keep_until, feed,
				stamped_epoch)
			SELECT 'acme', '', 'user ' || n, n, 1, '', 1, n, n - CASE WHEN n % 100 = 0 THEN 1 ELSE 0 END
			FROM generate_series(1, 20000) AS n`,
		`INSERT INTO keys (kind, tenant_id, algorithm, number, id, created_at, starts_at, retired_at, sealed, revision,
				revoked_at, revoked_position)
			SELECT 'signing', 'tenant ' || n, 'ES256', 1, 'kid ' || n, 1, 0, 0, '', n,
				CASE WHEN n % 10 = 0 THEN n ELSE 0 END, CASE WHEN n % 100 = 0 THEN 0 ELSE n END
			FROM generate_series(1, 20000) AS n`)
	explain("on a table that has grown since")
	execute(t, db, `ANALYZE`)
	explain("on a large table")
}

func TestSQLiteTheFeedFollowsItsIndexes(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	var j journal
	s := d.migrated(t, gormstore.Options{Logger: j.logger()})
	shop(t, s)
	statements := reachStatements(t, s, &j)
	for _, want := range []struct {
		begin    string
		searches int
	}{
		{"SELECT EXISTS", 3}, {"UPDATE revocation_feed", 3}, {"UPDATE refresh_tokens", 2}, {"UPDATE marks", 2},
		{"UPDATE keys", 2}, {"SELECT 1, feed", 7}, {"SELECT longest", 1},
	} {
		i := slices.IndexFunc(statements, func(text string) bool { return strings.HasPrefix(text, want.begin) })
		if i < 0 {
			t.Errorf("no statement begins with %s: %q", want.begin, statements)
			continue
		}
		plan := strings.Join(planOf(t, d.raw(t), statements[i]), "\n")
		// Each row of a partial index is read.
		plan = strings.NewReplacer("SCAN marks USING INDEX marks_unstamped", "SEARCH", "SCAN CONSTANT ROW", "",
			"SCAN marks USING COVERING INDEX marks_unstamped", "SEARCH").Replace(plan)
		found, scans := strings.Count(plan, "SEARCH"), strings.Count(plan, "SCAN")
		if want.begin == "UPDATE revocation_feed" {
			scans-- // of its one row
		}
		if found < want.searches || scans > 0 || strings.Contains(plan, "TEMP B-TREE") {
			t.Errorf("%s: got the plan\n%s", want.begin, plan)
		}
	}
}

// What the program of schema version 4 writes. It knows no positions and no exceptions.
var (
	oldSpare  = `UPDATE refresh_tokens SET issued_epoch = $1 WHERE id = $2`
	oldRevoke = `UPDATE refresh_tokens SET revoked_at = 1, revoked_reason = '' WHERE id = $1`
	oldMark   = `INSERT INTO marks (tenant_id, application_id, user_id, epoch, revoked_at, reason, keep_until)
		VALUES ('acme', '', $1, $2, 1, '', 1)
		ON CONFLICT (tenant_id, application_id, user_id) DO UPDATE SET
		  epoch = excluded.epoch, revoked_at = excluded.revoked_at, reason = excluded.reason,
		  keep_until = excluded.keep_until`
)

// During an upgrade old and new replicas serve side by side: what an old one revokes reaches resource servers too. The
// session that an old one spares is not in its mark, so the exception from before ends. Its older access tokens are
// refused: nothing says that they are not meant.
func TestARevocationByAnOlderProgramIsAFact(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		s := d.migrated(t, gormstore.Options{})
		shop(t, s)
		tokens := issue(t, s, 2)
		epoch := revokeScope(t, s, domain.Scope{TenantID: "acme", UserID: "user-1"}, tokens[1].ID)
		stamp(t, s, 1)
		_, cursor := facts(t, s, 0)
		db := d.raw(t)
		must(db.ExecContext(t.Context(), oldRevoke, tokens[0].ID[:]))(t)
		must(db.ExecContext(t.Context(), oldSpare, epoch+1, tokens[1].ID[:]))(t)
		must(db.ExecContext(t.Context(), oldMark, "user-1", epoch+1))(t)
		must(db.ExecContext(t.Context(), oldMark, "user-0", epoch+2))(t)
		want := []domain.Fact{
			{TenantID: "acme", SessionID: tokens[0].ID}, {TenantID: "acme", UserID: "user-0", Epoch: epoch + 2},
			{TenantID: "acme", UserID: "user-1", Epoch: epoch + 1},
		}
		for range 2 { // before it has a position, and afterwards
			got, _ := facts(t, s, cursor)
			for i := range got {
				got[i].Position = 0
			}
			slices.SortFunc(got, func(a, b domain.Fact) int { return strings.Compare(a.UserID, b.UserID) })
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			must(s.Stamp(t.Context(), time.Now(), 1000))(t)
		}
	})
}

// beforeReach undoes the migrations of a store from the fifth on.
func beforeReach(t *testing.T, s *gormstore.Store, db *sql.DB) {
	t.Helper()
	if s.Stats().MaxOpenConnections > 1 {
		execute(t, db, withoutReach...)
		return
	}
	execute(t, db, `DROP TABLE used_keys`, `DROP TABLE revocation_feed`, `DROP INDEX refresh_tokens_feed`,
		`DROP INDEX marks_feed`, `DROP INDEX marks_unstamped`, `ALTER TABLE refresh_tokens DROP COLUMN feed`,
		`ALTER TABLE marks DROP COLUMN feed`, `ALTER TABLE marks DROP COLUMN stamped_epoch`,
		`ALTER TABLE marks DROP COLUMN except_id`,
		`ALTER TABLE marks DROP COLUMN except_epoch`, `ALTER TABLE tenants DROP COLUMN longest_access_ttl`,
		`DROP INDEX api_keys_previous_hash`, `DROP INDEX api_keys_tenant`,
		`ALTER TABLE key_ring DROP COLUMN deleted_api_key_version`,
		`ALTER TABLE api_keys DROP COLUMN previous_hash`, `DROP INDEX keys_revoked`,
		`ALTER TABLE jobs DROP COLUMN began_at`, `ALTER TABLE jobs DROP COLUMN oldest_rotation`,
		`ALTER TABLE keys DROP COLUMN name`, `ALTER TABLE keys DROP COLUMN known_at`,
		`ALTER TABLE keys DROP COLUMN revoked_at`, `ALTER TABLE keys DROP COLUMN revoked_position`,
		`ALTER TABLE keys DROP COLUMN unused_at`, `ALTER TABLE keys DROP COLUMN sealed_by`,
		`ALTER TABLE keys DROP COLUMN sealed_revision`,
		`ALTER TABLE api_keys DROP COLUMN hash_key`, `ALTER TABLE api_keys DROP COLUMN previous_hash_key`,
		`ALTER TABLE applications DROP COLUMN client`, `ALTER TABLE tenants DROP COLUMN login`,
		`DROP INDEX refresh_tokens_newest`,
		`CREATE INDEX refresh_tokens_ordinal ON refresh_tokens (tenant_id, application_id, user_id, ordinal)
    WHERE revoked_at = 0 AND ordinal > 0`,
		`DELETE FROM goose_db_version WHERE version_id >= 5`)
}

// A revocation from before the upgrade has a position afterwards, by its own time: the first reader finds those of the
// last minutes, and not everything of the last days in each read. Active sessions are not written.
func TestTheMigrationGivesPositionsToWhatWasRevokedBefore(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		s := d.migrated(t, gormstore.Options{})
		shop(t, s)
		tokens := issue(t, s, 600) // more pages than a loop takes in one round
		db := d.raw(t)
		beforeReach(t, s, db)
		revokedAt := time.Now().Add(-time.Minute).UnixMicro()
		ahead := time.Now().Add(time.Hour).UnixMicro()
		for i := range 500 {
			at := revokedAt
			if i == 0 {
				at = ahead
			}
			must(db.ExecContext(t.Context(), `UPDATE refresh_tokens SET revoked_at = $1 WHERE id = $2`, at,
				tokens[i].ID[:]))(t)
		}
		must(db.ExecContext(t.Context(), oldMark, "user-1", 1))(t)
		place := `SELECT ctid::text FROM refresh_tokens WHERE revoked_at = 0 ORDER BY id`
		var before []string
		if s.Stats().MaxOpenConnections > 1 {
			before = lines(t, db, place)
		}
		if err := s.Migrate(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		stamp(t, s, 0)
		now := domain.Position(time.Now().UnixMicro())
		all, head := facts(t, s, 0)
		positions := map[domain.Position]int{}
		for _, f := range all {
			if f.Position <= 0 || f.Position > head || f.Position > now {
				t.Errorf("got position %d, want one up to the head %d and now", f.Position, head)
			}
			positions[f.Position]++
		}
		if len(all) != 501 || positions[domain.Position(revokedAt)] != 499 || positions[1] != 1 {
			t.Errorf("got %d facts at %v, want 501: 499 at the instant of their revocation, the mark at 1",
				len(all), positions)
		}
		if got := must(s.LongestAccessTTL(t.Context(), "acme"))(t); got != domain.DefaultPolicy().AccessTokenTTL {
			t.Errorf("LongestAccessTTL = %v, want that of the application", got)
		}
		if before != nil && !slices.Equal(before, lines(t, db, place)) {
			t.Error("active refresh tokens have moved")
		}
		revoke(t, s, tokens[500])
		stamp(t, s, 1)
		if rest, last := facts(t, s, head); len(rest) != 1 || last <= head {
			t.Errorf("got %v up to %d, want the next revocation above %d", rest, last, head)
		}
	})
}

// An application that an old replica saves during the upgrade counts when `migrate` has run once more.
func TestMigrateRaisesTheLongestAccessTTL(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		s := d.migrated(t, gormstore.Options{})
		shop(t, s)
		long := domain.DefaultPolicy().AccessTokenTTL * 3
		must(d.raw(t).ExecContext(t.Context(), `UPDATE applications SET access_token_ttl = $1`, long.Microseconds()))(t)
		if err := s.Migrate(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		if got := must(s.LongestAccessTTL(t.Context(), "acme"))(t); got != long {
			t.Errorf("LongestAccessTTL = %v, want %v", got, long)
		}
	})
}
