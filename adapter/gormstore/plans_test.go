package gormstore_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/refreshd/refreshd/adapter/gormstore"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
	"github.com/refreshd/refreshd/test/storagetest"
)

// tokenStatement is a statement that reads or changes refresh tokens by one of their indexes.
type tokenStatement struct {
	name, text string
	index      string // on PostgreSQL
	search     string // in SQLite's plan
}

// tokenStatements returns those of all calls but the purge. One text serves each state of a list.
func tokenStatements(t *testing.T, s *gormstore.Store, j *journal) (all []tokenStatement) {
	t.Helper()
	tokens := issue(t, s, 2)
	recorded := func(name, index, search string, call func() error) {
		t.Helper()
		j.statements(t)
		if err := call(); err != nil {
			t.Fatal(err)
		}
		got := slices.DeleteFunc(j.statements(t), func(text string) bool {
			return !strings.Contains(text, "refresh_tokens") // SQLite stores the event in another statement
		})
		if len(got) < 1 {
			t.Fatalf("%s: no statement", name)
		}
		for _, text := range got {
			all = append(all, tokenStatement{name, text, index, search})
		}
	}
	for _, of := range []struct {
		name, index, search string
		query               port.ListQuery
	}{
		{"a user", "refresh_tokens_user", "(tenant_id=? AND user_id=? AND id", port.ListQuery{UserID: "user-0"}},
		{"an application", "refresh_tokens_application", "(tenant_id=? AND application_id=? AND id",
			port.ListQuery{ApplicationID: "shop"}},
		{"a user in an application", "refresh_tokens_user", "(tenant_id=? AND user_id=? AND id",
			port.ListQuery{UserID: "user-0", ApplicationID: "shop"}},
		{"a tenant", "refresh_tokens_tenant", "(tenant_id=? AND id", port.ListQuery{}},
	} {
		for _, state := range []domain.SessionState{domain.ActiveSessions, domain.EndedSessions, domain.AllSessions} {
			q := of.query
			q.TenantID, q.State, q.Limit, q.MaxBytes, q.MaxRows, q.Now = "acme", state, 10, 1<<20, 5_000, start
			what := string(state) + " of " + of.name
			recorded("list "+what, of.index, "INDEX "+of.index+" "+of.search, func() error {
				_, err := s.List(t.Context(), q)
				return err
			})
			recorded("count "+what, of.index, "INDEX "+of.index+" "+of.search, func() error {
				_, _, err := s.Count(t.Context(), q)
				return err
			})
		}
	}
	const byID = "INDEX sqlite_autoindex_refresh_tokens_1 (id=?)"
	recorded("find", "refresh_tokens_pkey", byID, func() error {
		_, err := s.Find(t.Context(), "acme", tokens[0].ID)
		return err
	})
	one := domain.Change{Before: tokens[0], After: tokens[0]}
	other := domain.Change{Before: tokens[1], After: tokens[1]}
	recorded("change one", "refresh_tokens_pkey", byID, func() error {
		return s.Change(t.Context(), "acme", []domain.Change{one}, start, storagetest.NewEvent())
	})
	recorded("change two", "refresh_tokens_pkey", byID, func() error {
		return s.Change(t.Context(), "acme", []domain.Change{one, other}, start, storagetest.NewEvent())
	})
	// Older statements must not use the indexes of the lists.
	now := port.Revocation{At: start, Reason: domain.RevokedByRequest}
	const byOrdinal = "INDEX refresh_tokens_newest (<expr>=? AND user_id=?"
	recorded("insert", "refresh_tokens_newest", byOrdinal, func() error {
		_, err := s.Insert(t.Context(), newToken(t, "user-1"))
		return err
	})
	recorded("keep newest", "refresh_tokens_newest", byOrdinal, func() error {
		return s.KeepNewest(t.Context(), domain.Scope{TenantID: "acme", ApplicationID: "shop", UserID: "user-1"}, 1, now,
			storagetest.NewEvent())
	})
	recorded("revoke", "refresh_tokens_pkey", byID, func() error {
		return s.Revoke(t.Context(), "acme", tokens[0].ID, now, storagetest.NewEvent())
	})
	tokens = issue(t, s, 5)
	last := tokens[4]
	recorded("spare", "refresh_tokens_pkey", byID, func() error {
		_, err := s.RevokeScope(t.Context(), domain.Scope{TenantID: "acme", UserID: last.UserID}, last.ID, now,
			storagetest.NewEvent())
		return err
	})
	recorded("use", "refresh_tokens_pkey", byID, func() error { return s.Use(t.Context(), last, last, start) })
	recorded("swap", "refresh_tokens_pkey", byID, func() error {
		return s.Swap(t.Context(), last, last, start, storagetest.NewEvent())
	})
	recorded("snapshot", "refresh_tokens_pkey", byID, func() error {
		_, err := s.Snapshot(t.Context(), last.ID)
		return err
	})
	recorded("exchange, alone and in a batch", "refresh_tokens_pkey", byID, func() (err error) {
		for _, done := range advancingInBatch(t, s, tokens) {
			err = errors.Join(err, <-done)
		}
		return err
	})
	return all
}

// A list of a small tenant must not read through the sessions of a large one, and no call through those that have
// ended. None may read the table, or sort rows that it does not return. PostgreSQL must plan that whatever its
// statistics are. The test asks for the generic plan of each statement, as on the store's connections.
func TestPostgresStatementsFollowTheirIndexes(t *testing.T) {
	t.Parallel()
	d := onPostgres(t)
	var j journal
	s := d.migrated(t, gormstore.Options{Logger: j.logger()})
	shop(t, s)
	statements := tokenStatements(t, s, &j)
	must(s.Purge(t.Context(), purgeStep(10)))(t)
	for _, text := range j.statements(t) {
		if strings.Contains(text, "DELETE FROM refresh_tokens") {
			statements = append(statements, tokenStatement{name: "purge", text: text, index: "refresh_tokens_pkey"})
		}
	}
	t.Run("on a new table", func(t *testing.T) {
		d := onPostgres(t)
		d.migrated(t, gormstore.Options{})
		followTheirIndexes(t, d, statements)
	})
	t.Run("where one tenant has most", func(t *testing.T) {
		rest := strings.NewReplacer("tenant_id, application_id, user_id",
			"CASE WHEN n % 20 = 0 THEN 'other' ELSE 'acme' END, 'shop', 'user ' || n / 100").
			Replace(strings.Join(gormstore.TokenColumns[1:], ", "))
		d := onPostgres(t)
		s := d.migrated(t, gormstore.Options{})
		shop(t, s)
		issue(t, s, 1)
		execute(t, d.raw(t),
			`INSERT INTO refresh_tokens (`+strings.Join(gormstore.TokenColumns, ", ")+`)
			SELECT decode(lpad(to_hex(n), 32, '0'), 'hex'), `+rest+`
			FROM generate_series(1, 200000) AS n, (SELECT * FROM refresh_tokens LIMIT 1) AS r`,
			`INSERT INTO marks SELECT 'acme', '', 'user ' || n, n, 1, '', 1 FROM generate_series(1, 5000) AS n`,
			`ANALYZE`)
		followTheirIndexes(t, d, statements)
	})
	for _, m := range moments() {
		t.Run(m.name, func(t *testing.T) {
			d, _ := m.in(t)
			followTheirIndexes(t, d, statements)
		})
	}
	for _, m := range []moment{
		{"marks analysed while there were none", []string{`ANALYZE marks`}},
		{"with one mark of each tenant", []string{
			`INSERT INTO marks SELECT 'tenant ' || n, '', 'user', 1, 1, '', 1 FROM generate_series(1, 1000) AS n`,
			`ANALYZE marks`,
		}},
		{"with 100 000 marks of one tenant", []string{
			`INSERT INTO marks SELECT 'acme', '', 'user ' || n, n, 1, '', 1 FROM generate_series(1, 100000) AS n`,
			`ANALYZE marks`,
		}},
	} {
		t.Run(m.name, func(t *testing.T) {
			d, _ := m.in(t)
			followTheirIndexes(t, d, statements)
		})
	}
}

var (
	parameter = regexp.MustCompile(`\$(\d+)`)
	// tokenScan is the name of an index of refresh tokens in a plan, and the condition for which it is searched.
	tokenScan = regexp.MustCompile(`using (refresh_tokens_\w+) on refresh_tokens.*\n(?: *Index Cond: (.*))?`)
	sortKey   = regexp.MustCompile(`Sort Key: ((?:"[^"]*")?\S+)`)
	// markScan is a scan of marks that cover something, and the condition for which it searches.
	markScan        = regexp.MustCompile(`on marks m\w*  .*\n(?: *Index Cond: (.*))?`)
	applicationScan = regexp.MustCompile(`on applications .*\n(?: *Index Cond: (.*))?`)
	ofTheMark       = regexp.MustCompile(`^\(\(tenant_id = .*\) AND \(application_id = .*\) AND \(user_id = .*\)\)$`)
)

// followTheirIndexes checks the generic plans of statements.
func followTheirIndexes(t *testing.T, d database, statements []tokenStatement) {
	t.Helper()
	conn := must(d.raw(t).Conn(t.Context()))(t)
	defer conn.Close()
	run := func(query string) string {
		t.Helper()
		return planText(t, conn, query)
	}
	for _, name := range gormstore.PlannerSettings {
		run(`SET ` + name + ` = '` + gormstore.SessionSettings[name] + `'`)
	}
	for _, statement := range statements {
		most := 0
		for _, p := range parameter.FindAllStringSubmatch(statement.text, -1) {
			most = max(most, must(strconv.Atoi(p[1]))(t))
		}
		run(`PREPARE step AS ` + statement.text)
		plan := run(`EXPLAIN EXECUTE step (` + strings.TrimSuffix(strings.Repeat("NULL, ", most), ", ") + `)`)
		run(`DEALLOCATE step`)
		scans := tokenScan.FindAllStringSubmatch(plan, -1)
		if !slices.ContainsFunc(scans, func(scan []string) bool { return scan[1] == statement.index }) {
			t.Errorf("%s: %s is not used:\n%s", statement.name, statement.index, plan)
		}
		for _, scan := range scans {
			byID := scan[1] == "refresh_tokens_pkey" && strings.HasPrefix(scan[2], "(id = ")
			if scan[2] == "" || !byID && (scan[1] != statement.index || scan[1] == "refresh_tokens_pkey") {
				t.Errorf("%s: reads by %s where %q:\n%s", statement.name, scan[1], scan[2], plan)
			}
		}
		// A tenant may have a mark for each of its users.
		for _, scan := range markScan.FindAllStringSubmatch(plan, -1) {
			if !ofTheMark.MatchString(scan[1]) || strings.Contains(scan[1], "ANY") {
				t.Errorf("%s: reads marks where %q, want the whole key:\n%s", statement.name, scan[1], plan)
			}
		}
		// Exchange and snapshot join applications: with statistics of a single one, no condition looks better than another.
		for _, scan := range applicationScan.FindAllStringSubmatch(plan, -1) {
			joins := strings.HasPrefix(statement.name, "exchange") || statement.name == "snapshot"
			if !joins && !strings.Contains(scan[1], "(id = ") {
				t.Errorf("%s: reads applications where %q:\n%s", statement.name, scan[1], plan)
			}
		}
		if strings.Contains(statement.text, "marks AS m") && !markScan.MatchString(plan) {
			t.Errorf("%s: reads no marks:\n%s", statement.name, plan)
		}
		for _, bad := range []string{"Seq Scan", "Hash", "Merge Join", "Bitmap"} {
			if strings.Contains(plan, bad) {
				t.Errorf("%s: the plan has a %s:\n%s", statement.name, bad, plan)
			}
		}
		// Few rows are sorted: the marks that cover one refresh token, the records of one change, by id, and those that a
		// limit counts.
		for _, key := range sortKey.FindAllStringSubmatch(plan, -1) {
			if !strings.HasSuffix(key[1], ".epoch") && !(statement.name == "change two" && strings.HasSuffix(key[1], ".id")) &&
				statement.name != "keep newest" {
				t.Errorf("%s: the plan sorts by %s:\n%s", statement.name, key[1], plan)
			}
		}
	}
}

// querier is a pool or one of its connections.
type querier interface {
	QueryContext(context.Context, string, ...any) (*sql.Rows, error)
}

// lines runs a query and returns the last column of its rows.
func lines(t *testing.T, db querier, query string, args ...any) (lines []string) {
	t.Helper()
	rows := must(db.QueryContext(t.Context(), query, args...))(t)
	defer rows.Close()
	columns := must(rows.Columns())(t)
	for rows.Next() {
		row := make([]any, len(columns))
		for i := range row {
			row[i] = new(any)
		}
		var line string
		row[len(row)-1] = &line
		if err := rows.Scan(row...); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return lines
}

// planText runs a query and joins the lines that it returns.
func planText(t *testing.T, db querier, query string) string {
	t.Helper()
	return strings.Join(lines(t, db, query), "\n")
}

// planOf returns SQLite's plan of a statement, whatever its arguments.
func planOf(t *testing.T, db querier, statement string) []string {
	t.Helper()
	args := make([]any, 0, 30)
	for strings.Contains(statement, fmt.Sprintf("$%d", len(args)+1)) {
		args = append(args, 0)
	}
	plan := lines(t, db, "EXPLAIN QUERY PLAN "+statement, args...)
	return slices.DeleteFunc(plan, func(detail string) bool { return strings.HasPrefix(detail, "CORRELATED") })
}

func TestSQLiteListsCountsAndChangesFollowTheirIndexes(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	var j journal
	s := d.migrated(t, gormstore.Options{Logger: j.logger()})
	shop(t, s)
	statements := tokenStatements(t, s, &j)
	db := d.raw(t)
	for _, statement := range statements {
		plan := strings.Join(planOf(t, db, statement.text), "\n")
		// By the index alone, where that contains all columns.
		plan = strings.ReplaceAll(plan, "COVERING INDEX", "INDEX")
		if !strings.Contains(plan, statement.search) {
			t.Errorf("%s: want %q in\n%s", statement.name, statement.search, plan)
		}
		if strings.Contains(plan, "SCAN") {
			t.Errorf("%s: reads a table whole:\n%s", statement.name, plan)
		}
		if strings.Contains(plan, "TEMP B-TREE") && statement.name != "keep newest" {
			t.Errorf("%s: sorts:\n%s", statement.name, plan)
		}
	}
}

// eventStatements returns those of a page of events, of all and of a tenant's. One text serves all filters.
func eventStatements(t *testing.T, s *gormstore.Store, j *journal) (all [2][]string) {
	t.Helper()
	for i, tenant := range []string{"", "acme"} {
		j.statements(t)
		for _, kinds := range [][]domain.EventKind{nil, domain.EventKinds} {
			q := port.EventQuery{TenantID: tenant, Kinds: kinds, Limit: 10, MaxBytes: 1, MaxRows: 1}
			page, err := s.Events(t.Context(), q)
			if err != nil || len(page.Events) == 0 {
				t.Fatalf("got %d events, %v", len(page.Events), err)
			}
		}
		for _, text := range j.statements(t) {
			if !slices.Contains(all[i], text) {
				all[i] = append(all[i], text)
			}
		}
		if len(all[i]) != 3 {
			t.Fatalf("got the statements %q, want three", all[i])
		}
	}
	return all
}

// manyEvents stores n events, of which a thousandth are of acme, and the others of two tenants.
func manyEvents(tb testing.TB, d database, n int) {
	tb.Helper()
	numbers := fmt.Sprintf(`generate_series(1, %d) AS n`, n)
	id := `decode(lpad(to_hex(n), 12, '0') || '70008000000000000000', 'hex')`
	if d.isSQLite {
		numbers = fmt.Sprintf(`(WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < %d)
SELECT n FROM c)`, n)
		id = `unhex(printf('%012x', n) || '70008000000000000000')`
	}
	execute(tb, d.raw(tb), `INSERT INTO events (id, at, kind, actor_kind, actor_id, actor_name, actor_address, request_id,
  tenant_id, object_id, application_id, user_id, before, after, version, tokens)
SELECT `+id+`, n * 1000, CASE WHEN n % 1000 = 0 THEN 'tenant.updated' ELSE 'token.revoked' END, 'apiKey',
  'actor-' || n / 100000, 'backend', '192.0.2.7', 'request-' || n,
  CASE WHEN n % 1000 = 0 THEN 'acme' ELSE 'tenant-' || (n % 2) END, 'object-' || n, '', '', '',
  '{"revokedReason":"revoked","padding":"`+strings.Repeat("x", 200)+`"}', 0, ''
FROM `+numbers, `ANALYZE`)
}

// A page of events begins where the previous one ended, and reads no rows but those that it looks at: the trail of 90
// days has millions. Without a filter these are those of the page.
func TestPostgresEventsAreReadFromWhereTheirPageBegins(t *testing.T) {
	t.Parallel()
	d := onPostgres(t)
	var j journal
	s := d.migrated(t, gormstore.Options{Logger: j.logger()})
	shop(t, s)
	db := d.raw(t)
	statements := eventStatements(t, s, &j)
	check := func(t *testing.T) {
		conn := planner(t, db)
		for i, want := range []string{
			"events_pkey on events.*\n *Index Cond: \\(id < \\$1\\)\n",
			"events_tenant on events.*\n *Index Cond: \\(.* = \\(\\$[39] \\|\\| '/'::text\\)\\) AND \\(id < \\$1\\)\\)\n",
		} {
			for _, text := range statements[i] {
				most := 0
				for _, p := range parameter.FindAllStringSubmatch(text, -1) {
					most = max(most, must(strconv.Atoi(p[1]))(t))
				}
				planText(t, conn, `PREPARE page AS `+text)
				plan := planText(t, conn, `EXPLAIN EXECUTE page (`+
					strings.TrimSuffix(strings.Repeat("NULL, ", most), ", ")+`)`) + "\n"
				planText(t, conn, `DEALLOCATE page`)
				if !regexp.MustCompile(want).MatchString(plan) || strings.Count(plan, " using ") != 1 ||
					strings.Contains(plan, "Seq Scan") || strings.Contains(plan, "Sort") || strings.Contains(plan, "Parallel") {
					t.Errorf("want only %s in\n%s", want, plan)
				}
			}
		}
	}
	t.Run("on a new table", check)
	manyEvents(t, d, 50_000)
	t.Run("with many", check)
}

func TestSQLiteEventsAreReadFromWhereTheirPageBegins(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	var j journal
	s := d.migrated(t, gormstore.Options{Logger: j.logger()})
	shop(t, s)
	db := d.raw(t)
	statements := eventStatements(t, s, &j)
	check := func(t *testing.T) {
		for i, want := range []string{
			"SEARCH events USING INDEX sqlite_autoindex_events_1 (id>? AND id<?)",
			"SEARCH events USING INDEX events_tenant (tenant_id=? AND id>? AND id<?)",
		} {
			for _, text := range statements[i] {
				want, plan := want, planOf(t, db, text)
				for i, step := range plan {
					plan[i] = strings.ReplaceAll(step, "COVERING ", "")
				}
				searches := slices.DeleteFunc(slices.Clone(plan), func(step string) bool {
					return !strings.Contains(step, " events")
				})
				plan = slices.DeleteFunc(plan, func(step string) bool { return !strings.Contains(step, "B-TREE") })
				if strings.Contains(text, "OFFSET") { // that needs no lower bound
					want = strings.ReplaceAll(want, "id>? AND ", "")
				}
				if !slices.Equal(searches, []string{want}) || len(plan) > 0 {
					t.Errorf("got %q, %q, want only %s", searches, plan, want)
				}
			}
		}
	}
	t.Run("on a new table", check)
	manyEvents(t, d, 50_000)
	t.Run("with many", check)
}

// Changes and exchanges of the same refresh tokens may alternate all day. If a change touched an index, each exchange
// would.
func TestPostgresAChangeIsAHOTUpdate(t *testing.T) {
	t.Parallel()
	d := onPostgres(t)
	db := d.raw(t)
	s := d.migrated(t, gormstore.Options{})
	shop(t, s)
	// Inserts fill a page of a new table to nine tenths. So the test deletes every other row, to make room for new
	// versions.
	tokens := issue(t, s, 40)
	for i := range 20 {
		execute(t, db, fmt.Sprintf(`DELETE FROM refresh_tokens WHERE user_id = 'user-%d'`, 2*i))
		tokens = slices.Delete(tokens, i, i+1)
	}
	execute(t, db, `VACUUM refresh_tokens`)
	var changes []domain.Change
	for _, token := range tokens {
		after := token
		after.Roles = []string{"clerk"}
		changes = append(changes, domain.Change{Before: token, After: after})
	}
	for _, some := range [][]domain.Change{changes[:1], changes[1:]} {
		if err := s.Change(t.Context(), "acme", some, start, storagetest.NewEvent()); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	awaitClosed(t, db)
	if got := statistics(t, db, "refresh_tokens"); got.updated != 20 || got.hot != 20 {
		t.Errorf("got %+v, want 20 updates, all of them HOT", got)
	}
}

// keyStatement returns the statement that each request with an API key sends.
func keyStatement(t *testing.T, s *gormstore.Store, j *journal) string {
	t.Helper()
	k := domain.APIKey{Name: "backend", Hash: "now", PreviousHash: "before"}
	if err := storagetest.SaveAPIKey(t.Context(), s, k); err != nil {
		t.Fatal(err)
	}
	j.statements(t)
	var last string
	for _, hash := range []string{"now", "before"} {
		if got, err := s.APIKeyByHash(t.Context(), "unknown", hash); err != nil || got.Name != k.Name {
			t.Fatalf("by %q: %q, %v", hash, got.Name, err)
		}
		got := j.statements(t)
		if len(got) != 1 || last != "" && got[0] != last {
			t.Fatalf("by %q: got statements %q, want the same one", hash, got)
		}
		last = got[0]
	}
	return last
}

// planner returns a connection that plans as those of the store do.
func planner(t *testing.T, db *sql.DB) *sql.Conn {
	t.Helper()
	conn := must(db.Conn(t.Context()))(t)
	t.Cleanup(func() { conn.Close() })
	for _, name := range gormstore.PlannerSettings {
		planText(t, conn, `SET `+name+` = '`+gormstore.SessionSettings[name]+`'`)
	}
	return conn
}

// Every request of a backend looks an API key up: by an index for each of its hashes, whatever the statistics are.
func TestPostgresAPIKeysAreFoundByTheIndexesOfTheirHashes(t *testing.T) {
	t.Parallel()
	d := onPostgres(t)
	var j journal
	s := d.migrated(t, gormstore.Options{Logger: j.logger()})
	text := keyStatement(t, s, &j)
	db := d.raw(t)
	conn := planner(t, db)
	for _, when := range []string{"small", "large"} {
		if when == "large" {
			execute(t, db, `INSERT INTO api_keys (name, hash, tenant_id, permissions, expires_at, previous_hash)
SELECT 'key ' || n, sha256(n::text::bytea), '', '{}', 0, CASE WHEN n % 2 = 0 THEN sha256(('p' || n)::bytea) END
FROM generate_series(1, 5000) AS n`, `ANALYZE api_keys`)
		}
		planText(t, conn, `PREPARE key AS `+text)
		plan := planText(t, conn, `EXPLAIN EXECUTE key (NULL, NULL)`)
		planText(t, conn, `DEALLOCATE key`)
		for _, index := range []string{"api_keys_hash_key on api_keys", "api_keys_previous_hash on api_keys"} {
			if !strings.Contains(plan, "Index Scan using "+index) || strings.Contains(plan, "Seq Scan") {
				t.Errorf("%s: want a scan using %s and no other:\n%s", when, index, plan)
			}
		}
	}
}

func TestSQLiteAPIKeysAreFoundByTheIndexesOfTheirHashes(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	var j journal
	s := d.migrated(t, gormstore.Options{Logger: j.logger()})
	text := keyStatement(t, s, &j)
	plan := strings.Join(planOf(t, d.raw(t), text), "\n")
	for _, want := range []string{"(hash=?)", "INDEX api_keys_previous_hash (previous_hash=?)"} {
		if !strings.Contains(plan, want) || strings.Contains(plan, "SCAN") {
			t.Errorf("want a search by %s, and no scan:\n%s", want, plan)
		}
	}
}

// keyListStatements returns those of a page of API keys, of all and of a tenant's.
func keyListStatements(t *testing.T, s *gormstore.Store, j *journal) []string {
	t.Helper()
	j.statements(t)
	for _, tenant := range []string{"", "acme"} {
		if _, _, err := s.APIKeys(t.Context(), tenant, domain.ID{}, 10); err != nil {
			t.Fatal(err)
		}
	}
	return j.statements(t)
}

// A page of a tenant's API keys reads no keys of others.
func TestPostgresAPIKeysAreListedByTheirIndexes(t *testing.T) {
	t.Parallel()
	d := onPostgres(t)
	var j journal
	s := d.migrated(t, gormstore.Options{Logger: j.logger()})
	statements := keyListStatements(t, s, &j)
	db := d.raw(t)
	execute(t, db, `INSERT INTO api_keys (name, hash, tenant_id, permissions, expires_at)
SELECT 'key ' || n, sha256(n::text::bytea), 'tenant ' || n % 9, '{}', 0 FROM generate_series(1, 5000) AS n`,
		`ANALYZE api_keys`)
	conn := planner(t, db)
	for i, want := range []string{`api_keys_id on api_keys`, `api_keys_tenant on api_keys`} {
		planText(t, conn, `PREPARE page AS `+statements[i])
		plan := planText(t, conn, `EXPLAIN EXECUTE page (`+[]string{"NULL, NULL", "NULL, NULL, NULL"}[i]+`)`)
		planText(t, conn, `DEALLOCATE page`)
		if !strings.Contains(plan, "Index Scan using "+want) || strings.Contains(plan, "Filter") ||
			strings.Contains(plan, "Sort") {
			t.Errorf("want only %s:\n%s", want, plan)
		}
	}
}

func TestSQLiteAPIKeysAreListedByTheirIndexes(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	var j journal
	s := d.migrated(t, gormstore.Options{Logger: j.logger()})
	for i, text := range keyListStatements(t, s, &j) {
		want := []string{"INDEX sqlite_autoindex_api_keys_3 (id>?)", "INDEX api_keys_tenant (tenant_id=? AND id>?)"}[i]
		if plan := strings.Join(planOf(t, d.raw(t), text), "\n"); !strings.Contains(plan, want) ||
			strings.Contains(plan, "SCAN") || strings.Contains(plan, "TEMP") {
			t.Errorf("want only %s:\n%s", want, plan)
		}
	}
}
