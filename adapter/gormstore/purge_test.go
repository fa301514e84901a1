package gormstore_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/refreshd/refreshd/adapter/gormstore"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
	"github.com/refreshd/refreshd/test/storagetest"
)

const century = 100 * 365 * 24 * time.Hour // so that a test may choose instants

// purgeStep returns a step at an instant at which everything of newToken has expired.
func purgeStep(limit int) port.PurgeStep {
	now := start.Add(domain.DefaultPolicy().MaximumTTL)
	return port.PurgeStep{LeaseHolder: "test", Now: now, LeaseUntil: now.Add(time.Minute), Before: now,
		MaxClockSkew: century, Limit: limit}
}

// pass runs steps to the end of a pass, and returns the sum of their results.
func pass(t *testing.T, s *gormstore.Store, step port.PurgeStep) (sum port.Purged) {
	t.Helper()
	for !sum.Done {
		p := must(s.Purge(t.Context(), step))(t)
		sum.LookedAt, sum.Deleted = sum.LookedAt+p.LookedAt, sum.Deleted+p.Deleted
		sum.Marks, sum.Tenants, sum.Done = sum.Marks+p.Marks, sum.Tenants+p.Tenants, p.Done
	}
	return sum
}

// stampLongAgo gives every fact a position that is out of use. Stamp would take PostgreSQL's time.
func stampLongAgo(t *testing.T, d database) {
	t.Helper()
	execute(t, d.raw(t), `UPDATE refresh_tokens SET feed = 1 WHERE revoked_at <> 0`,
		`UPDATE marks SET feed = 1, stamped_epoch = epoch`)
}

// A statement that reads the table, or sorts it, takes minutes with ten million refresh tokens, and it runs for each
// five hundred of them.
func TestPostgresAStepOfThePurgeFollowsThePrimaryKey(t *testing.T) {
	t.Parallel()
	d := onPostgres(t)
	var j journal
	s := d.migrated(t, gormstore.Options{Logger: j.logger()})
	shop(t, s)
	issue(t, s, 3)
	must(s.RevokeScope(t.Context(), domain.Scope{TenantID: "acme"}, domain.ID{},
		port.Revocation{At: start}, storagetest.NewEvent()))(t)
	if err := storagetest.DeleteTenant(t.Context(), s, "acme", start); err != nil {
		t.Fatal(err)
	}
	stampLongAgo(t, d)
	j.statements(t)
	step := purgeStep(500)
	step.Before = start
	step.Ended, step.Event = []port.RotationRange{{From: start, To: start}}, storagetest.NewEvent()
	pass(t, s, step)
	// The statements of a pass whose tables grow with the store, and the keys that they must use.
	type want struct {
		args string
		keys []string
	}
	statements := map[string]want{}
	for _, text := range j.statements(t) {
		for begin, w := range map[string]want{
			"SELECT id, CASE WHEN": {`(1, '\x00', 500)`, []string{"refresh_tokens_pkey", "marks_pkey"}},
			"WITH locked AS MATERIALIZED (\n  SELECT refresh_tokens.id FROM unnest($1": {
				`(NULL, 1)`, []string{"refresh_tokens_pkey", "marks_pkey"}},
			"WITH locked AS MATERIALIZED (\n  SELECT refresh_tokens.id FROM unnest($6": {
				`(1, '', 1, 1, 2, NULL)`, []string{"refresh_tokens_pkey", "marks_pkey"}},
			"SELECT tenant_id, application_id": {`('', '', '', 500)`, []string{"marks_pkey"}},
			"DELETE FROM marks WHERE (":        {`('', '', '', 'a', 'b', 'c', 1)`, []string{"marks_pkey"}},
			"SELECT id, deleted_at":            {`('', 500)`, []string{"tenants_pkey"}},
			"UPDATE tenants":                   {`('acme', 1)`, []string{"tenants_pkey", "refresh_tokens_user"}},
			"SELECT application_id":            {`('acme', '', '', 500)`, []string{"marks_pkey"}},
			"DELETE FROM marks WHERE tenant":   {`('acme', '', '', 'a', 'b', 1)`, []string{"marks_pkey"}},
			"DELETE FROM tenants":              {`('acme')`, []string{"tenants_pkey"}},
		} {
			if strings.HasPrefix(text, begin) {
				statements[text] = w
			}
		}
	}
	if len(statements) != 10 {
		t.Fatalf("got %d statements, want 10: %q", len(statements), statements)
	}
	db := d.raw(t)
	conn := must(db.Conn(t.Context()))(t)
	defer conn.Close()
	explain := func(when string) {
		t.Helper()
		run := func(query string) string {
			t.Helper()
			return planText(t, conn, query)
		}
		// As on the store's connections.
		for _, name := range gormstore.PlannerSettings {
			run(`SET ` + name + ` = '` + gormstore.SessionSettings[name] + `'`)
		}
		for text, want := range statements {
			run(`PREPARE step AS ` + text)
			plan := run(`EXPLAIN EXECUTE step ` + want.args)
			run(`DEALLOCATE step`)
			for _, key := range want.keys {
				if !strings.Contains(plan, " "+key) {
					t.Errorf("%s: %s is not used:\n%s", when, key, plan)
				}
			}
			for _, bad := range []string{"Seq Scan", "Sort", "Hash", "Merge", "Bitmap"} {
				if strings.Contains(plan, bad) {
					t.Errorf("%s: the plan has a %s:\n%s", when, bad, plan)
				}
			}
		}
	}
	explain("on a new table")
	rest := strings.Join(gormstore.TokenColumns[1:], ", ") // all but the id
	shop(t, s)
	issue(t, s, 1)
	for _, statement := range []string{
		`INSERT INTO refresh_tokens (id, ` + rest + `) SELECT decode(md5(n::text), 'hex'), ` + rest + `
			FROM generate_series(1, 20000) AS n, (SELECT * FROM refresh_tokens LIMIT 1) AS r`,
		`INSERT INTO marks SELECT 'acme', '', 'user ' || n, n, 1, '', 1 FROM generate_series(1, 5000) AS n`,
		`ANALYZE`,
	} {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	explain("on a table that was analysed")
}

func TestSQLiteAStepOfThePurgeFollowsThePrimaryKey(t *testing.T) {
	t.Parallel()
	d := onSQLite(t)
	var j journal
	s := d.migrated(t, gormstore.Options{Logger: j.logger()})
	shop(t, s)
	issue(t, s, 3)
	j.statements(t)
	must(s.Purge(t.Context(), purgeStep(2)))(t)
	explained := 0
	for _, text := range j.statements(t) {
		if !strings.Contains(text, "\nFROM refresh_tokens WHERE id >") &&
			!strings.HasPrefix(text, "DELETE FROM refresh_tokens") {
			continue
		}
		explained++
		got := strings.Join(planOf(t, d.raw(t), text), "\n")
		if !strings.Contains(got, "INDEX sqlite_autoindex_refresh_tokens_1 (id>?") || strings.Contains(got, "SCAN") ||
			strings.Contains(got, "TEMP B-TREE") {
			t.Errorf("got plan\n%s", got)
		}
	}
	if explained != 2 {
		t.Errorf("got %d statements on refresh tokens, want 2", explained)
	}
}

// A container whose clock was never set, or was set for a test of next month, would permanently delete active refresh
// tokens.
func TestPostgresAClockThatIsFarAheadPurgesNothing(t *testing.T) {
	t.Parallel()
	d := onPostgres(t)
	s := d.migrated(t, gormstore.Options{})
	shop(t, s)
	tokens := issue(t, s, 2)
	db := d.raw(t)
	expiry := time.Now().Add(24 * time.Hour).UnixMicro()
	must(db.ExecContext(t.Context(), `UPDATE refresh_tokens SET expires_at = $1`, expiry))(t)
	purge := func(ahead time.Duration) error {
		now := time.Now().Add(ahead)
		_, err := s.Purge(t.Context(), port.PurgeStep{
			LeaseHolder: "test", Now: now, LeaseUntil: now.Add(time.Minute), Before: now.Add(-time.Hour),
			MaxClockSkew: domain.MaxClockSkew, Limit: 10,
		})
		return err
	}
	for _, ahead := range []time.Duration{31 * 24 * time.Hour, 70 * time.Second, -70 * time.Second} {
		err := purge(ahead)
		var fault *domain.ClockError
		if !errors.As(err, &fault) || (fault.Ahead-ahead).Abs() > 5*time.Second {
			t.Errorf("%s ahead: got %v, want that the clocks differ by that", ahead, err)
		}
	}
	var taken int
	if err := db.QueryRowContext(t.Context(), `SELECT count(*) FROM jobs`).Scan(&taken); err != nil || taken != 0 {
		t.Errorf("got %d rows (%v) of the job, want none: a refused step has taken the lease", taken, err)
	}
	for _, ahead := range []time.Duration{50 * time.Second, -50 * time.Second} {
		if err := purge(ahead); err != nil {
			t.Errorf("%s ahead: got %v, want none", ahead, err)
		}
	}
	for _, token := range tokens {
		must(s.Snapshot(t.Context(), token.ID))(t)
	}
}

// An exchange holds its row as long as its commit takes. A purge that waited would hold its other rows meanwhile.
func TestPostgresAPurgePassesOverWhatAnotherSessionHolds(t *testing.T) {
	t.Parallel()
	d := onPostgres(t)
	s := d.migrated(t, gormstore.Options{})
	shop(t, s)
	tokens := issue(t, s, 4)
	release := session(t, d.raw(t), `UPDATE refresh_tokens SET last_used_at = last_used_at WHERE id = $1`, tokens[1].ID[:])
	if got := pass(t, s, purgeStep(10)); got.LookedAt != 4 || got.Deleted != 3 {
		t.Errorf("beside another session a pass did %+v, want 3 of 4 deleted", got)
	}
	must(s.Snapshot(t.Context(), tokens[1].ID))(t)
	release()
	if got := pass(t, s, purgeStep(10)); got.LookedAt != 1 || got.Deleted != 1 {
		t.Errorf("afterwards a pass did %+v, want 1 of 1 deleted", got)
	}
}

// Deleting a mark while it is raised would make refresh tokens active that were just revoked, and readers of the feed
// would not receive the new epoch.
func TestPostgresAMarkThatIsBeingRaisedIsNotPurged(t *testing.T) {
	t.Parallel()
	step := purgeStep(10)
	for what, raise := range map[string]string{
		"kept for longer":    fmt.Sprintf(`UPDATE marks SET keep_until = %d`, step.Before.UnixMicro()+1),
		"without a position": `UPDATE marks SET epoch = epoch + 1`,
	} {
		d := onPostgres(t)
		s := d.migrated(t, gormstore.Options{})
		shop(t, s)
		scope := domain.Scope{TenantID: "acme"}
		must(s.RevokeScope(t.Context(), scope, domain.ID{}, port.Revocation{At: start}, storagetest.NewEvent()))(t)
		stampLongAgo(t, d)
		must(s.Purge(t.Context(), step))(t) // no refresh tokens; the next step is at the marks
		commit := committing(t, d.raw(t), raise)
		type answer struct {
			port.Purged
			error
		}
		done := make(chan answer)
		go func() {
			p, err := s.Purge(t.Context(), step)
			done <- answer{p, err}
		}()
		awaitBlocked(t, d.raw(t))
		commit()
		if got := <-done; got.error != nil || got.Marks != 0 {
			t.Errorf("%s: got %+v, %v, want no mark deleted", what, got.Purged, got.error)
		}
	}
}

// A tenant that is created again at the last moment continues from its epoch: its old marks are still stored.
func TestPostgresATenantThatIsBeingCreatedAgainIsNotPurged(t *testing.T) {
	t.Parallel()
	d := onPostgres(t)
	s := d.migrated(t, gormstore.Options{})
	shop(t, s)
	if err := storagetest.DeleteTenant(t.Context(), s, "acme", start); err != nil {
		t.Fatal(err)
	}
	stampLongAgo(t, d)
	step := purgeStep(10)
	step.Before = start
	for range 2 { // no refresh tokens, and no mark to delete; the next step is at the tenants
		must(s.Purge(t.Context(), step))(t)
	}
	commit := committing(t, d.raw(t), `UPDATE tenants SET deleted_at = 0 WHERE id = 'acme'`) // as SaveTenant
	done := make(chan error)
	go func() {
		p, err := s.Purge(t.Context(), step)
		if err == nil && p.Tenants+p.Marks > 0 {
			err = fmt.Errorf("the step did %+v", p)
		}
		done <- err
	}()
	awaitBlocked(t, d.raw(t))
	commit()
	if err := <-done; err != nil {
		t.Error(err)
	}
	epoch := must(s.RevokeScope(t.Context(), domain.Scope{TenantID: "acme"}, domain.ID{},
		port.Revocation{At: start}, storagetest.NewEvent()))(t)
	if epoch != 2 {
		t.Errorf("the next epoch is %d, want 2", epoch)
	}
}

// In the other order: a tenant that is created again while the rest of it is being deleted finds nothing of it.
func TestPostgresATenantThatIsCreatedWhileItIsPurgedBeginsAnew(t *testing.T) {
	t.Parallel()
	d := onPostgres(t)
	s := d.migrated(t, gormstore.Options{})
	shop(t, s)
	if err := storagetest.DeleteTenant(t.Context(), s, "acme", start); err != nil {
		t.Fatal(err)
	}
	db := d.raw(t)
	// The statements of the step, in a session that can be stopped in the middle.
	tx := must(db.BeginTx(t.Context(), nil))(t)
	for _, statement := range []string{
		`UPDATE tenants SET epoch = epoch WHERE id = 'acme'`, `DELETE FROM marks WHERE tenant_id = 'acme'`,
		`DELETE FROM tenants WHERE id = 'acme'`,
	} {
		if _, err := tx.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan error)
	go func() { done <- storagetest.SaveTenant(t.Context(), s, domain.Tenant{ID: "acme"}) }()
	awaitBlocked(t, db)
	if err := errors.Join(tx.Commit(), <-done); err != nil {
		t.Fatal(err)
	}
	shop(t, s)
	token := issue(t, s, 1)[0]
	if shot := must(s.Snapshot(t.Context(), token.ID))(t); !shot.Alive(start) || shot.Token.IssuedEpoch != 0 {
		t.Errorf("alive: %t, epoch %d, want alive and 0", shot.Alive(start), shot.Token.IssuedEpoch)
	}
}

// What an old mark has revoked stays ended when the mark is deleted, although the policy has become longer since:
// nothing extended it.
func TestWhatAMarkRevokedIsDeadAfterTheMarkIsGone(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		s := d.migrated(t, gormstore.Options{})
		shop(t, s)
		token := issue(t, s, 1)[0]
		must(s.RevokeScope(t.Context(), domain.Scope{TenantID: "acme"}, domain.ID{},
			port.Revocation{At: start}, storagetest.NewEvent()))(t)
		long := int64(domain.DefaultPolicy().TTL/time.Minute) * 10
		if err := storagetest.SaveTenant(t.Context(), s,
			domain.Tenant{ID: "acme", Settings: domain.Settings{TTLMinutes: &long}}); err != nil {
			t.Fatal(err)
		}
		stampLongAgo(t, d)
		step := purgeStep(10)
		step.Before = start.Add(domain.DefaultPolicy().TTL + domain.MarkRetention)
		hold := step
		hold.Before = start.Add(-time.Hour) // the pass deletes the mark, and keeps the refresh token
		must(s.Purge(t.Context(), hold))(t)
		if got := pass(t, s, step); got.Marks != 1 || got.Deleted != 0 {
			t.Fatalf("a pass did %+v, want a mark deleted and nothing else", got)
		}
		shot := must(s.Snapshot(t.Context(), token.ID))(t)
		if now := step.Before.Add(-domain.MarkRetention); shot.MarkEpoch != 0 || shot.Alive(now) {
			t.Errorf("mark epoch %d, alive: %t, want no mark and dead", shot.MarkEpoch, shot.Alive(now))
		}
	})
}
