package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	_ "modernc.org/sqlite"             // the driver "sqlite"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/test/support/figures"
	"github.com/refreshd/refreshd/test/support/rig"
)

const (
	costRatio    = 1.1
	keySetP99    = 10.0 // ms
	keySetRate   = 20   // a second
	startSeconds = 5.0

	workers = 16 // that exchange concurrently while processor time is measured
)

// tenantsPart compares a store with two tenants and one with very many, each with an application and a signing key.
func tenantsPart(ctx context.Context, a *attack) error {
	for _, kind := range []string{sqlite, postgreS} {
		if err := a.tenants(ctx, kind); err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
	}
	return nil
}

func (a *attack) tenants(ctx context.Context, kind string) error {
	n := a.plan.tenants
	few, err := a.database(ctx, kind)
	if err != nil {
		return err
	}
	many, err := a.filledDatabase(ctx, kind, n)
	if err != nil {
		return err
	}
	small, err := a.serveTenants(ctx, few, func(int) string { return honestTenant })
	if err != nil {
		return err
	}
	big, err := a.serveTenants(ctx, many, func(k int) string { return filled(1 + k*(n-1)/workers) })
	if err != nil {
		return err
	}
	a.figure(fmt.Sprintf("%s: start with two tenants", kind), "%.2f s", small.ReadyAfter.Seconds())
	a.atMost(fmt.Sprintf("%s: start, until ready", kind), big.ReadyAfter.Seconds(), startSeconds, "%.2f s")
	a.figure(kind+": tenants", "%d", n)
	resident := func(when string) {
		a.figure(kind+": resident "+when+", two tenants and many", "%.0f, %.0f MiB",
			small.Resources().RSS, big.Resources().RSS)
	}
	resident("after the start")
	with2, withMany, err := a.exchangeCosts(ctx, kind, small, big)
	if err != nil {
		return err
	}
	a.figure(kind+": processor time of an exchange, two tenants and many", "%.3f, %.3f ms", with2, withMany)
	a.atMost(kind+": processor time of an exchange, many / two", withMany/with2, costRatio, "%.2f")

	p99, health, err := keySets(ctx, big.API, n, a.plan.window)
	if err != nil {
		return err
	}
	a.figure(kind+": p99 of /healthz, alternating with the key sets", "%.1f ms", milliseconds(health))
	a.atMost(kind+": p99 of a key set, 20 a second", milliseconds(p99), keySetP99, "%.1f ms")
	resident("at the end")
	if err := small.Kill(); err != nil {
		return err
	}
	return big.Kill()
}

// filledDatabase returns a database that a service has initialized, with n tenants.
func (a *attack) filledDatabase(ctx context.Context, kind string, n int) (string, error) {
	database, err := a.database(ctx, kind)
	if err != nil {
		return "", err
	}
	s, err := a.serve(ctx, settings(database))
	if err != nil {
		return "", err
	}
	if err := s.Stop(); err != nil {
		return "", err
	}
	a.progress("%s: filling the store with %d tenants", kind, n)
	if err := fill(ctx, database, n); err != nil {
		return "", fmt.Errorf("fill the store: %w", err)
	}
	return database, nil
}

// tenantsService is a service with one session for each worker.
type tenantsService struct {
	*rig.Service
	sessions []session
}

// serveTenants starts a service, and issues to worker k in the tenant with the name that tenant has for k.
func (a *attack) serveTenants(
	ctx context.Context, database string, tenant func(k int) string,
) (s tenantsService, err error) {
	if s.Service, err = a.serve(ctx, settings(database)); err != nil {
		return s, err
	}
	s.sessions = make([]session, workers)
	for k := range s.sessions {
		s.sessions[k], err = issue(ctx, s.API, anyKey, tenant(k), `{"applicationsId": "fast", "userId": "u"}`)
		if err != nil {
			return s, err
		}
	}
	return s, nil
}

// exchangeCosts returns the medians of exchangeCost of both services, measured alternately.
func (a *attack) exchangeCosts(
	ctx context.Context, kind string, small, big tenantsService,
) (with2, withMany float64, err error) {
	var costs [2][]float64
	for round := range a.plan.rounds + 1 {
		for i, s := range []tenantsService{small, big} {
			cost, err := exchangeCost(ctx, s.Service, s.sessions, a.plan.exchanges)
			if err != nil {
				return 0, 0, err
			}
			if round > 0 { // the first one warms up
				costs[i] = append(costs[i], cost)
			}
			if err := s.Forget(); err != nil {
				return 0, 0, err
			}
		}
		a.progress("%s: processor time, round %d of %d", kind, round, a.plan.rounds)
	}
	return figures.Median(costs[0]), figures.Median(costs[1]), nil
}

// exchangeCost returns the processor time of the service for one of n exchanges, in milliseconds.
func exchangeCost(ctx context.Context, s *rig.Service, sessions []session, n int) (float64, error) {
	before, ok := rig.ReadProcess(s.PID())
	if !ok {
		return 0, errors.New("the service's processor time cannot be read")
	}
	client := newClient("127.0.0.3", answerTimeout)
	defer client.CloseIdleConnections()
	// Each worker has a session of its own, so that every exchange is of its current string.
	if err := each(len(sessions), len(sessions), func(i int) error {
		for range n / len(sessions) {
			a, err := do(ctx, client, s.API, exchangeOf(sessions[i].current))
			if err != nil {
				return err
			}
			g, err := granted(a)
			if err != nil {
				return err
			}
			if g.current == sessions[i].current {
				return errors.New("an exchange did not rotate")
			}
			sessions[i].current = g.current
		}
		return nil
	}); err != nil {
		return 0, err
	}
	after, _ := rig.ReadProcess(s.PID())
	return milliseconds(after.CPU-before.CPU) / float64(n/len(sessions)*len(sessions)), nil
}

// keySets requests the key sets of random tenants and /healthz alternately, and returns the p99 of each. The latency of
// /healthz is that of the machine. Each key set must have at least one key.
func keySets(ctx context.Context, host string, n int, window time.Duration) (p99, health time.Duration, err error) {
	client := newClient("127.0.0.4", answerTimeout)
	defer client.CloseIdleConnections()
	var took, healthy []time.Duration
	begin := time.Now()
	for i := 0; time.Since(begin) < window; i++ {
		at := begin.Add(time.Duration(i) * time.Second / keySetRate)
		if err := rig.Sleep(ctx, time.Until(at)); err != nil {
			return 0, 0, err
		}
		if _, err := do(ctx, client, host, rig.Request{Method: http.MethodGet, Path: "/healthz"}); err != nil {
			return 0, 0, err
		}
		healthy = append(healthy, time.Since(at))
		at = time.Now()
		tenant := filled(1 + mathrand.IntN(n))
		a, err := do(ctx, client, host, rig.Request{Method: http.MethodGet, Path: "/t/" + tenant + "/.well-known/jwks.json"})
		if err != nil {
			return 0, 0, err
		}
		var set struct{ Keys []json.RawMessage }
		if err := json.Unmarshal(a.Body, &set); err != nil || a.Status != http.StatusOK || len(set.Keys) == 0 {
			return 0, 0, fmt.Errorf("the key set of %s: status %d: %s", tenant, a.Status, a.Body)
		}
		took = append(took, time.Since(at))
	}
	slices.Sort(took)
	slices.Sort(healthy)
	return figures.Percentile(took, .99), figures.Percentile(healthy, .99), nil
}

// filled returns the name of a copied tenant, numbered from 1.
func filled(i int) string { return fmt.Sprintf("t%d", i) }

// fill copies the rows of the tenant acme, of one of its applications and of its signing key under other names. The
// keys are genuine: each is generated, and sealed for its place under the master key of all services. fill reads the
// columns from the database, because older programs have others. No service may be running.
func fill(ctx context.Context, database string, n int) (err error) {
	db, engine, err := openSQL(database)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = tx.Rollback() // err says why
		}
	}()
	if err := fillTenants(ctx, tx, engine, n); err != nil {
		return err
	}
	if err := fillKeys(ctx, tx, engine, n); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, "ANALYZE")
	return err
}

// fillTenants copies the rows of the tenant and of its application.
func fillTenants(ctx context.Context, tx *sql.Tx, e engine, n int) error {
	numbers := fmt.Sprintf(
		"(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) SELECT i FROM n) AS n", n)
	for _, t := range []struct{ name, key, which string }{
		{"tenants", "id", "p.id = 'acme'"}, {"applications", "tenant_id", "p.tenant_id = 'acme' AND p.id = 'fast'"},
	} {
		names, values, err := copied(tx, e.columns, t.name, map[string]string{t.key: "'t' || n.i"})
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, fmt.Sprintf("INSERT INTO %s (%s) SELECT %s FROM %s AS p, %s WHERE %s",
			t.name, names, values, t.name, numbers, t.which)); err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
	}
	return nil
}

// fillKeys makes a signing key for each tenant.
func fillKeys(ctx context.Context, tx *sql.Tx, e engine, n int) error {
	names, values, err := copied(tx, e.columns, "keys", map[string]string{
		"tenant_id": "$1", "id": "$2", "sealed": e.bytes, "revision": "(SELECT revision FROM key_ring) + $4",
	})
	if err != nil {
		return err
	}
	numbered := strings.Contains(values, "$4")
	const theKey = "FROM keys AS p WHERE p.kind = 'signing' AND p.tenant_id = 'acme' AND p.number = 1"
	insert, err := tx.PrepareContext(ctx, fmt.Sprintf("INSERT INTO keys (%s) SELECT %s %s", names, values, theKey))
	if err != nil {
		return err
	}
	defer insert.Close()
	var algorithm string
	if err := tx.QueryRowContext(ctx, "SELECT p.algorithm "+theKey).Scan(&algorithm); err != nil {
		return err
	}
	if algorithm != string(domain.ES256) {
		return fmt.Errorf("the signing key is one of %s", algorithm)
	}
	master, err := domain.ParseMasterKey(domain.NewSecret(rig.MasterKey))
	if err != nil {
		return err
	}
	for i := 1; i <= n; i++ {
		k, err := sealedKey(master, filled(i))
		if err != nil {
			return err
		}
		args := []any{k.TenantID, k.ID, []byte(k.Sealed)}
		if numbered {
			args = append(args, i)
		}
		if _, err := insert.ExecContext(ctx, args...); err != nil {
			return fmt.Errorf("keys: %w", err)
		}
	}
	if !numbered {
		return nil
	}
	_, err = tx.ExecContext(ctx, fmt.Sprintf("UPDATE key_ring SET revision = revision + %d", n))
	return err
}

func sealedKey(master domain.MasterKey, tenant string) (domain.SealedKey, error) {
	k := domain.SealedKey{
		Kind: domain.KeySigning, TenantID: tenant, Algorithm: domain.ES256, Number: 1, ID: "attack-" + tenant,
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return k, err
	}
	text, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return k, err
	}
	return master.Seal(k, domain.NewSecret(string(text)), rand.Reader)
}

// engine is what differs between the two databases in this file's SQL.
type engine struct {
	columns string // the query for the names of a table's columns
	bytes   string // the parameter $3
}

func openSQL(database string) (db *sql.DB, e engine, err error) {
	if path, ok := strings.CutPrefix(database, "sqlite:"); ok {
		pragmas := url.Values{"_pragma": {"busy_timeout(5000)", "journal_mode(WAL)"}}
		db, err = sql.Open("sqlite", "file:"+path+"?"+pragmas.Encode())
		return db, engine{`SELECT name FROM pragma_table_info($1)`, "$3"}, err
	}
	db, err = sql.Open("pgx", database)
	return db, engine{`SELECT column_name FROM information_schema.columns
		WHERE table_schema = current_schema AND table_name = $1`, "CAST($3 AS bytea)"}, err
}

// copied returns the columns of a table, and for each the expression that copies it from the row p, or the expression
// that replaces it.
func copied(tx *sql.Tx, columns, table string, places map[string]string) (names, values string, err error) {
	rows, err := tx.Query(columns, table)
	if err != nil {
		return "", "", err
	}
	defer rows.Close()
	var all, from []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return "", "", err
		}
		all = append(all, name)
		if place, ok := places[name]; ok {
			from = append(from, place)
		} else {
			from = append(from, "p."+name)
		}
	}
	if len(all) == 0 {
		return "", "", fmt.Errorf("there is no table %s", table)
	}
	return strings.Join(all, ", "), strings.Join(from, ", "), rows.Err()
}

const (
	applySeconds = 10.0
	applyGrowth  = 2.2
)

// applyPart applies files of new tenants to empty stores.
func applyPart(ctx context.Context, a *attack) error {
	n := a.plan.applied
	for _, kind := range []string{sqlite, postgreS} {
		var took []float64
		for _, tenants := range []int{n, 2 * n} {
			database, err := a.database(ctx, kind)
			if err != nil {
				return err
			}
			file := filepath.Join(a.dir, fmt.Sprintf("apply-%d.yaml", tenants))
			if err := os.WriteFile(file, []byte(newTenants(tenants)), 0o600); err != nil {
				return err
			}
			s := rig.Settings{Database: database, Env: common}
			if kind == sqlite { // as a service would; its start is not measured
				if _, err := a.program.Run(ctx, s, "migrate"); err != nil {
					return err
				}
			}
			a.progress("%s: applying %d tenants", kind, tenants)
			begin := time.Now()
			if _, err := a.program.Run(ctx, s, "apply", "-f", file); err != nil {
				return err
			}
			took = append(took, time.Since(begin).Seconds())
			a.progress("%s: %d tenants took %.1f s", kind, tenants, took[len(took)-1])
		}
		a.atMost(fmt.Sprintf("%s: apply of %d new tenants", kind, n), took[0], applySeconds, "%.1f s")
		a.atMost(fmt.Sprintf("%s: apply of %d / of %d", kind, 2*n, n), took[1]/took[0], applyGrowth, "%.2f")
	}
	return nil
}

func newTenants(n int) string {
	var b strings.Builder
	b.WriteString("tenants:\n")
	for i := range n {
		fmt.Fprintf(&b, "  - {id: n%d, name: New %d, applications: [{id: shop, name: Shop}]}\n", i, i)
	}
	return b.String()
}
