package gormstore_test

import (
	"runtime"
	"strings"
	"testing"

	"github.com/refreshd/refreshd/adapter/gormstore"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// pageOf reads the first page of acme's user, with bounds that few lists reach.
func pageOf(user string, limit int) port.ListQuery {
	return port.ListQuery{
		TenantID: "acme", UserID: user, State: domain.ActiveSessions,
		Limit: limit, MaxBytes: 1 << 20, MaxRows: 5_000, Now: start,
	}
}

// listed returns the first nine refresh tokens of acme's user.
func listed(t *testing.T, s *gormstore.Store, user string) []domain.RefreshToken {
	t.Helper()
	var tokens []domain.RefreshToken
	for _, session := range must(s.List(t.Context(), pageOf(user, 9)))(t).Sessions {
		tokens = append(tokens, session.Token)
	}
	return tokens
}

// large stores n refresh tokens of a user, each with about 4 KiB of claims and of data.
func large(t *testing.T, s *gormstore.Store, user string, n int) {
	t.Helper()
	for range n {
		token := newToken(t, user)
		token.Claims = domain.Object(`{"x":"` + strings.Repeat("c", 4_000) + `"}`)
		token.MetaData.Data = domain.Object(`{"x":"` + strings.Repeat("d", 4_000) + `"}`)
		must(s.Insert(t.Context(), token))(t)
	}
}

// Rows that the database sends and a page leaves out use memory as well, for each concurrent reader.
func TestAPageReadsNoMoreThanItHolds(t *testing.T) {
	for _, engine := range []struct {
		name string
		on   func(testing.TB) database
	}{{"sqlite", onSQLite}, {"postgres", onPostgres}} {
		t.Run(engine.name, func(t *testing.T) { // not parallel: it counts allocations
			s := engine.on(t).migrated(t, gormstore.Options{})
			shop(t, s)
			large(t, s, "ana", 400)
			q := pageOf("ana", 300)
			q.MaxBytes = 64 << 10
			must(s.List(t.Context(), q))(t) // for one-time allocations
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			page := must(s.List(t.Context(), q))(t)
			runtime.ReadMemStats(&after)
			if len(page.Sessions) != 9 || page.Next != page.Sessions[8].Token.ID {
				t.Errorf("got a page of %d refresh tokens, next %v, want 9", len(page.Sessions), page.Next)
			}
			if got := after.TotalAlloc - before.TotalAlloc; got > 400<<10 {
				t.Errorf("a page of 64 KiB took %d KiB, and 300 refresh tokens have 2 400", got>>10)
			}
		})
	}
}

// A list that reads the table, or all refresh tokens that a user ever had, gets slower with every refresh token in the
// store, and 20 concurrent lists block the database for all others.
func TestPostgresListsLookAtNoMoreThanTheyMay(t *testing.T) {
	t.Parallel()
	d := onPostgres(t)
	db := d.raw(t)
	s := d.migrated(t, gormstore.Options{})
	logins(t, s, d, 4_000)
	large(t, s, "ana", 20)
	executeOn(t, d, `UPDATE refresh_tokens SET revoked_at = 1 WHERE user_id = 'machine'`, 4_000)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	awaitClosed(t, db)
	if _, err := db.ExecContext(t.Context(), `VACUUM ANALYZE refresh_tokens`); err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), `SELECT pg_stat_reset()`); err != nil {
		t.Fatal(err)
	}
	s = d.open(t, gormstore.Options{MaxConnections: 1})
	const rounds = 8 // plans for these arguments, and then a generic one
	for range rounds {
		ended := pageOf("machine", 10)
		ended.MaxRows = 300
		if page := must(s.List(t.Context(), ended))(t); len(page.Sessions) != 0 || page.Next.IsZero() {
			t.Errorf("got a page of %d, next %v, want an empty one with a next", len(page.Sessions), page.Next)
		}
		if page := must(s.List(t.Context(), pageOf("ana", 10)))(t); len(page.Sessions) != 10 {
			t.Errorf("got a page of %d, want 10", len(page.Sessions))
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	awaitClosed(t, db)
	read := func(index string) (n int64) {
		if err := db.QueryRowContext(t.Context(), `SELECT idx_tup_read FROM pg_stat_user_indexes
WHERE indexrelname = $1`, index).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	// An empty page reads by its key the last row of each of its two statements; the page of ana reads 10 rows and one
	// more.
	if got, most := read("refresh_tokens_user"), int64(rounds*(300+20)); got == 0 || got > most {
		t.Errorf("%d entries of the index on users were read, want at most %d", got, most)
	}
	if got, want := read("refresh_tokens_pkey"), int64(rounds*(2+11)); got != want {
		t.Errorf("%d rows were read by their keys, want %d", got, want)
	}
	if got := statistics(t, db, "refresh_tokens").wholeScans; got != 0 {
		t.Errorf("refresh_tokens was read whole %d times, want 0", got)
	}
}
