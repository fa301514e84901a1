package e2e_test

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/refreshd/refreshd/test/support/rig"
)

// together are the settings of replicas behind a balancer.
var together = settings{env: []string{"REFRESHD_PUBLIC_URL=https://auth.example.com", "REFRESHD_SHUTDOWN_DELAY=400ms"}}

// Replicas are restarted one after another, during the day, for a new version, another setting or a kernel. A client
// that retries a failed request once must not notice.
func TestARollingRestartFailsNoExchangeAfterOneRetry(t *testing.T) {
	const users, rounds = 24, 2
	d := newDatabase(t, postgreSQL).migrated(t)
	replicas := []*service{start(t, d, together), start(t, d, together), start(t, d, together)}
	b := newBalancer(t, replicas...)
	p := &patience{}
	crowd, stop := replicas[0].crowdOf(t, users, func(ctx context.Context, u *virtualUser) { p.run(ctx, b.client, u) })
	defer stop()
	p.more(replicas[0], 500)
	begin := time.Now()
	for range rounds {
		for _, r := range replicas {
			r.Restart()
			p.more(r, 200)
			b.awaitReady(t, r)
		}
	}
	took := time.Since(begin)
	stop()
	replicas[0].holds(t, crowd, &p.load)
	t.Logf("%d replicas restarted %d times each in %s, %d users: %d exchanges answered, %d calls made again, %d failed "+
		"after that, "+
		"no user logged out; longest time without a response: %s", len(replicas), rounds, took.Round(time.Millisecond), users,
		p.answered.Load(), p.again.Load(), p.lost.Load(), p.quiet().Round(time.Millisecond))
}

// awaitReady waits until v gets connections.
func (b *balancer) awaitReady(t *testing.T, v *service) {
	t.Helper()
	v.await("seen by the balancer", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return slices.Contains(b.ready, strings.TrimPrefix(v.URL(), "http://"))
	})
}

// A version with a migration is rolled out like any other: first the schema, then one replica after another, while old
// and new ones use one database. A migration that removes something cannot be: then the old replicas have to report it,
// and not to malfunction.
func TestARollingUpgradeOverAMigrationFailsNoExchange(t *testing.T) {
	const users = 24
	d := newDatabase(t, postgreSQL).migrated(t)
	own := newestMigration(t)
	adds := upgraded(t, own+1, `ALTER TABLE refresh_tokens ADD COLUMN of_the_next_version TEXT NOT NULL DEFAULT '';
CREATE TABLE of_the_next_version (id BIGINT PRIMARY KEY);`)
	breaks := upgraded(t, own+1, fmt.Sprintf(`UPDATE schema_compatibility SET oldest_reader = %d;`, own+1))

	old := []*service{start(t, d, together), start(t, d, together)}
	b := newBalancer(t, old...)
	p := &patience{}
	crowd, stop := old[0].crowdOf(t, users, func(ctx context.Context, u *virtualUser) { p.run(ctx, b.client, u) })
	defer stop()
	p.more(old[0], 500)

	newer := together
	newer.program = adds
	if got := runVerb(t, d, newer, "migrate"); got.Status != 0 ||
		!strings.Contains(got.Stdout, fmt.Sprintf("applied %05d_", own+1)) {
		t.Fatalf("migrate with the new program: %s", got)
	}
	p.more(old[0], 500) // the old ones continue, on the new schema
	for _, v := range old {
		v.want(t, call{method: "GET", path: "/readyz"}, http.StatusOK)
	}
	both := start(t, d, newer)
	b.add(both)
	b.awaitReady(t, both) // otherwise all connections would move to the other old one
	byNew := func() string { return both.metrics()[`refreshd_exchanges_total{outcome="rotated"}`] }
	beside := p.answered.Load()
	old[0].Restart() // an old one starts on the new schema, and connections move
	b.awaitReady(t, old[0])
	both.await("exchanging beside the old ones",
		func() bool { return byNew() != "" && byNew() != "0" && p.answered.Load() > beside+1000 })
	for _, v := range old {
		v.Stop()
	}
	p.more(both, 500)
	stop()
	both.holds(t, crowd, &p.load)
	t.Logf("%d users over an upgrade with a migration: %d exchanges answered, %d calls made again, %d failed after "+
		"that, no user logged out; longest time without a response: %s",
		users, p.answered.Load(), p.again.Load(), p.lost.Load(), p.quiet().Round(time.Millisecond))

	// The same with a migration that removes something, on a database of its own, so that it is the next migration.
	d = newDatabase(t, postgreSQL).migrated(t)
	running := start(t, d, settings{expectsErrors: true})
	newest := settings{program: breaks}
	if got := runVerb(t, d, newest, "migrate"); got.Status != 0 {
		t.Fatalf("migrate with the newest program: %s", got)
	}
	want := fmt.Sprintf("run a program of version %d or later", own+1)
	running.awaitNotReady(t)
	if status, _, body := get(t, running.Admin+"/readyz"); status != http.StatusServiceUnavailable ||
		!strings.Contains(body, want) {
		t.Errorf("/readyz of a running old program: %d %q, want 503 and %q", status, body, want)
	}
	if got := runVerb(t, d, settings{}, "serve"); got.Status != 1 || !strings.Contains(got.Stderr, want) {
		t.Errorf("start an old program: %s\nwant status 1 and %q", got, want)
	}
	start(t, d, newest).want(t, call{method: "GET", path: "/readyz"}, http.StatusOK)
}

const migrations = "../../adapter/gormstore/migrations/postgres"

// newestMigration returns the schema version of the source.
func newestMigration(t *testing.T) (newest int64) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(migrations, "*.sql"))
	if err != nil || len(files) == 0 {
		t.Fatalf("migrations: %v, %v", files, err)
	}
	for _, f := range files {
		n, err := goose.NumericComponent(f)
		if err != nil {
			t.Fatal(err)
		}
		newest = max(newest, n)
	}
	return newest
}

// upgraded builds the next version of the program: this one, and another migration. The build sees a file that the
// source does not have.
func upgraded(t *testing.T, version int64, statements string) rig.Program {
	t.Helper()
	name := fmt.Sprintf("%05d_next", version)
	return built(t, rig.BuildOptions{Name: name, Files: map[string]string{
		strings.TrimPrefix(migrations, "../../") + "/" + name + ".sql": "-- +goose Up\n\n" + statements + "\n",
	}})
}
