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
)

// purgeUsed makes a pass that deletes used keys up to that instant, and returns how many it deleted.
func purgeUsed(t *testing.T, s *gormstore.Store, before time.Time, limit int) (deleted int, err error) {
	t.Helper()
	for {
		now := time.Now()
		done, err := s.Purge(t.Context(), port.PurgeStep{
			LeaseHolder: "one", Now: now, LeaseUntil: now.Add(time.Minute), Before: start.Add(-time.Hour),
			OnceBefore: before, MaxClockSkew: time.Minute, Limit: limit,
		})
		if deleted += done.OnceKeys; err != nil || done.Done {
			return deleted, err
		}
	}
}

// A janitor that waits for a key which is being stored again must not delete it: a copy of the assertion could be used.
func TestPostgresAKeyThatIsBeingUsedAgainIsNotPurged(t *testing.T) {
	t.Parallel()
	d := onPostgres(t)
	s := d.migrated(t, gormstore.Options{})
	db := d.raw(t)
	until := start.Add(time.Minute)
	for _, key := range []string{"again", "passed"} {
		if err := s.Once(t.Context(), []byte(key), start, until); err != nil {
			t.Fatal(err)
		}
	}
	commit := committing(t, db, `UPDATE used_keys SET until = $1 WHERE key = $2`, until.Add(time.Hour).UnixMicro(),
		[]byte("again"))
	purged := make(chan error)
	var deleted int
	go func() {
		var err error
		deleted, err = purgeUsed(t, s, until, 100)
		purged <- err
	}()
	awaitBlocked(t, db)
	commit()
	if err := <-purged; err != nil || deleted != 1 {
		t.Errorf("deleted %d keys, %v, want the other one", deleted, err)
	}
	if err := s.Once(t.Context(), []byte("again"), until, until.Add(time.Hour)); !errors.Is(err, domain.ErrDuplicate) {
		t.Errorf("the key that is used: got %v, want ErrDuplicate", err)
	}
}

// Copies of one assertion must not take the connections that the exchanges of all others need.
func TestPostgresCallsForOneUsedKeyLeaveConnectionsToOthers(t *testing.T) {
	t.Parallel()
	d := onPostgres(t)
	s := d.migrated(t, gormstore.Options{MaxConnections: 2})
	db := d.raw(t)
	release := session(t, db, `INSERT INTO used_keys (key, until) VALUES ($1, 1)`, []byte("copied"))
	results := make(chan error)
	const copies = 8
	for range copies {
		go func() { results <- s.Once(t.Context(), []byte("copied"), start, start.Add(time.Minute)) }()
	}
	awaitBlocked(t, db)
	for i := range 20 {
		if err := s.Once(t.Context(), fmt.Appendf(nil, "other %d", i), start, start.Add(time.Minute)); err != nil {
			t.Fatalf("another key: %v", err)
		}
	}
	release()
	succeeded := 0
	for range copies {
		switch err := <-results; {
		case err == nil:
			succeeded++
		case !errors.Is(err, domain.ErrDuplicate) && !strings.Contains(err.Error(), "55P03"):
			t.Errorf("got %v, want ErrDuplicate, or that the lock timed out", err)
		}
	}
	if succeeded > 1 {
		t.Errorf("%d calls succeeded, want at most one", succeeded)
	}
}

// A pass reads the keys that it deletes, and no others, however many there are.
func TestAStepOfThePurgeOfUsedKeysFollowsTheirIndex(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		var j journal
		s := d.migrated(t, gormstore.Options{Logger: j.logger()})
		for i := range 30 {
			until := start.Add(time.Duration(i) * time.Second)
			if err := s.Once(t.Context(), fmt.Appendf(nil, "%d", i), start, until); err != nil {
				t.Fatal(err)
			}
		}
		j.statements(t)
		if deleted, err := purgeUsed(t, s, start.Add(9*time.Second), 4); err != nil || deleted != 10 {
			t.Errorf("deleted %d keys, %v, want 10", deleted, err)
		}
		var text string
		for _, statement := range j.statements(t) {
			if strings.Contains(statement, "used_keys") {
				text = statement
			}
		}
		db := d.raw(t)
		args := []any{int64(0), start.UnixMicro(), 4}
		explain := "EXPLAIN QUERY PLAN "
		if s.Stats().MaxOpenConnections > 1 {
			must(db.ExecContext(t.Context(), `INSERT INTO used_keys (key, until)
				SELECT decode(md5(i::text), 'hex'), $1::bigint + i FROM generate_series(1, 50000) AS i`,
				start.Add(time.Hour).UnixMicro()))(t)
			execute(t, db, `ANALYZE used_keys`)
			explain = "EXPLAIN "
		}
		plan := strings.Join(lines(t, db, explain+text, args...), "\n")
		if !strings.Contains(plan, "used_keys_until") || strings.Contains(plan, "Seq Scan on used_keys") {
			t.Errorf("the plan is\n%s", plan)
		}
	})
}
