package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
	"github.com/refreshd/refreshd/test/support/figures"
	"github.com/refreshd/refreshd/test/support/rig"
	"github.com/refreshd/refreshd/usecase"
)

// keysParts are the parts of keysPart. Each of them can be run alone.
var keysParts = []part{
	{name: "keys-sets", about: "key sets while sessions of all tenants are exchanged, and memory with the keys of all " +
		"tenants; only if it is named", run: keysSetsPart, apart: true},
	{name: "keys-rotate", about: "rotation of the keys of all tenants while their sessions are exchanged; only if it is " +
		"named", run: keysRotatePart, apart: true},
	{name: "keys-list", about: "lists of the keys of all tenants, three each; only if it is named",
		run: keysListPart, apart: true},
	{name: "keys-before", about: "exchanges beside those of the older program, which -base names, and their statements; " +
		"only if it is named", run: keysBeforePart, apart: true},
}

// keysPart runs all of them. Without an older program it leaves out the last one.
func keysPart(ctx context.Context, b *bench) error { return b.allOf(ctx, keysParts, "keys-before") }

const (
	keyUsers   = 8
	keySetRate = 100 // requests a second
	loaders    = 8   // that request the key sets of all tenants
	keyAge     = 80 * 24 * time.Hour
	rotation   = 90 * 24 * time.Hour // the default of the setting
)

// keyTenant is the id of a tenant that has keys of its own, numbered from 1. bulkInsert has the same in SQL.
func keyTenant(i int) string { return fmt.Sprintf("t%d", i) }

// keyed returns a setup of this source for tenants with keys of their own.
func (b *bench) keyed() setup {
	how := b.operated(es256)
	how.profiled = true
	return how
}

// newKeyed returns a database with tenants that have a signing key each, and with sessions of each tenant.
func (b *bench) newKeyed(ctx context.Context, how setup) (*bulk, error) {
	k, err := b.newBulk(ctx, how, never)
	if err != nil {
		return nil, err
	}
	k.tenants = b.plan.keyTenants
	b.progress("loading %d tenants", k.tenants)
	if err := withConnection(ctx, k.dsn, func(c *pgx.Conn) error {
		for _, load := range []string{keyTenants, keyApplications} {
			if _, err := c.Exec(ctx, load, k.tenants); err != nil {
				return fmt.Errorf("load tenants: %w", err)
			}
		}
		return nil
	}); err != nil {
		return nil, err
	}
	if err := b.loadKeys(ctx, k, 1, time.Time{}); err != nil {
		return nil, err
	}
	if err := b.grow(ctx, k, max(costPool, k.tenants), rested); err != nil {
		return nil, err
	}
	return k, k.holdPass(ctx)
}

// holdPass takes the lease of a pass over all keys, so that no service begins one until freeLease.
func (k *bulk) holdPass(ctx context.Context) error {
	return withConnection(ctx, k.dsn, func(c *pgx.Conn) error {
		_, err := c.Exec(ctx, `
INSERT INTO jobs (name, holder, lease_until, cursor, ended_at) VALUES ($1, 'bench', $2, '', 0)
ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, lease_until = excluded.lease_until`,
			port.JobRotateKeys, time.Now().Add(usecase.KeyRotationInterval).UnixMicro())
		return err
	})
}

// loadRotated gives each tenant two keys more, as after a rotation: the one that signs, and its standby.
func (b *bench) loadRotated(ctx context.Context, k *bulk) error {
	if err := b.loadKeys(ctx, k, 2, time.Now().Add(-time.Hour)); err != nil {
		return err
	}
	return b.loadKeys(ctx, k, 3, time.Now().Add(rotation))
}

// Each copies a row that the service itself stored, with other ids.
const (
	keyTenants = `
INSERT INTO tenants
SELECT (jsonb_populate_record(t, jsonb_build_object('id', 't' || i))).*
FROM tenants AS t, generate_series(1, $1::int) AS i WHERE t.id = '` + tenant + `'`

	keyApplications = `
INSERT INTO applications
SELECT (jsonb_populate_record(a, jsonb_build_object('tenant_id', 't' || i))).*
FROM applications AS a, generate_series(1, $1::int) AS i WHERE a.tenant_id = '` + tenant + `' AND a.id = '` +
		application + `'`
)

// loadKeys gives each tenant one key more, with that number and start. The keys are genuine: each is made, and sealed
// for its place under the master key of all services. No service may be running.
func (b *bench) loadKeys(ctx context.Context, k *bulk, number uint32, starts time.Time) error {
	b.progress("loading signing keys, number %d of each tenant", number)
	master, err := domain.ParseMasterKey(domain.NewSecret(rig.MasterKey))
	if err != nil {
		return err
	}
	return withConnection(ctx, k.dsn, func(c *pgx.Conn) error {
		var revision int64
		if err := c.QueryRow(ctx, `UPDATE key_ring SET revision = revision + $1 RETURNING revision - $1`,
			k.tenants).Scan(&revision); err != nil {
			return err
		}
		created, start := time.Now().Add(-keyAge), int64(0)
		if !starts.IsZero() {
			start = starts.UnixMicro()
		}
		_, err := c.CopyFrom(ctx, pgx.Identifier{"keys"}, []string{"kind", "tenant_id", "algorithm", "number", "id",
			"created_at", "starts_at", "retired_at", "sealed", "sealed_by", "sealed_revision", "revision"},
			pgx.CopyFromSlice(k.tenants, func(i int) ([]any, error) {
				private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
				if err != nil {
					return nil, err
				}
				text, err := x509.MarshalPKCS8PrivateKey(private)
				if err != nil {
					return nil, err
				}
				tenantID := keyTenant(i + 1)
				s, err := master.Seal(domain.SealedKey{
					Kind: domain.KeySigning, TenantID: tenantID, Algorithm: domain.ES256, Number: number,
					ID: fmt.Sprintf("bench-%s-%d", tenantID, number),
				}, domain.NewSecret(string(text)), rand.Reader)
				stored := revision + int64(i) + 1
				return []any{string(s.Kind), s.TenantID, string(s.Algorithm), int64(s.Number), s.ID, created.UnixMicro(), start,
					int64(0), []byte(s.Sealed), s.SealedBy, stored, stored}, err
			}))
		if err == nil {
			_, err = c.Exec(ctx, "VACUUM (ANALYZE)")
		}
		return err
	})
}

// keySet requests the key set of a tenant, which has to have so many keys.
func (c *caller) keySet(number, keys int) error {
	r := rig.Request{Method: http.MethodGet, Path: "/t/" + keyTenant(number) + "/.well-known/jwks.json"}
	status, err := c.call(r.Bytes(c.address))
	if err != nil {
		return err
	}
	if n := bytes.Count(c.body, []byte(`"kid":`)); status != http.StatusOK || n != keys {
		return fmt.Errorf("GET %s: got status %d and %d keys, want %d: %s", r.Path, status, n, keys, c.body)
	}
	return nil
}

// keysSetsPart requests key sets of tenants that the service has not loaded, and again, while sessions of all tenants
// are exchanged. Then it loads the keys of all tenants, one each and three each, and reads the memory.
func keysSetsPart(ctx context.Context, b *bench) error {
	b.report.section("Keys: key sets and memory, PostgreSQL")
	how := b.keyed()
	k, err := b.newKeyed(ctx, how)
	if err != nil {
		return err
	}
	p, err := newPool(k, &service{&rig.Service{}}, 0)
	if err != nil {
		return err
	}
	for i := range p.order { // so that each tenant has its turn
		p.order[i] = i
	}
	t := figures.NewTable("keys of a tenant", "ready after ms", "idle MiB", "all key sets: MiB", "heap bytes a tenant",
		"all have signed: MiB", "heap bytes a tenant", "metrics: p50 ms", "p99 ms")
	for _, keys := range []int{1, 3} {
		if keys == 3 {
			if err := b.loadRotated(ctx, k); err != nil {
				return err
			}
		}
		row, err := b.keyMemory(ctx, how, p, keys)
		if err != nil {
			return err
		}
		t.Add(row...)
	}
	b.report.say("%d tenants. The heap is what remains after a garbage collection, less that of the service before it "+
		"loaded a tenant. Signed means that a session of each tenant was exchanged.", k.tenants)
	b.report.table(t)
	return nil
}

// keyMemory starts a service, and returns a row of the table: what it takes with the keys of all tenants.
func (b *bench) keyMemory(ctx context.Context, how setup, p *pool, keys int) (row []string, err error) {
	k := p.bulk
	s, err := how.serve(ctx, k.dsn)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	if err := p.bind(s, keyUsers); err != nil {
		return nil, err
	}
	idle, empty, err := s.memory(ctx)
	if err != nil {
		return nil, err
	}
	if keys == 1 {
		if err := b.measureKeySets(ctx, s, k, p); err != nil {
			return nil, err
		}
	}
	begun := time.Now()
	if err := loadKeySets(ctx, s, k.tenants, keys); err != nil {
		return nil, s.Explain(err)
	}
	b.progress("keys: loaded %d tenants in %s", k.tenants, time.Since(begun).Round(time.Millisecond))
	rss, heap, err := s.memory(ctx)
	if err != nil {
		return nil, err
	}
	if err := signAll(ctx, p, k.tenants); err != nil {
		return nil, s.Explain(err)
	}
	signedRSS, signedHeap, err := s.memory(ctx)
	if err != nil {
		return nil, err
	}
	scraped, err := s.scrapes(ctx, 100)
	if err != nil {
		return nil, err
	}
	each := func(bytes float64) float64 { return (bytes - empty) / float64(k.tenants) }
	b.report.figure(fmt.Sprintf("keys memory %d", keys), each(signedHeap))
	return []string{fmt.Sprint(keys), ms(s.ReadyAfter), figures.Format(idle, "%.0f"), figures.Format(rss, "%.0f"),
		figures.Format(each(heap), "%.0f"), figures.Format(signedRSS, "%.0f"), figures.Format(each(signedHeap), "%.0f"),
		ms(scraped.p50), ms(scraped.p99)}, s.Forget()
}

// memory collects the garbage, and returns what is resident, in MiB, and the bytes of the heap.
func (s *service) memory(ctx context.Context) (rss, heap float64, err error) {
	r, err := call(ctx, http.MethodGet, s.Admin, "/debug/pprof/heap?gc=1", "")
	if err == nil && r.Status != http.StatusOK {
		err = fmt.Errorf("read the service's heap: status %d", r.Status)
	}
	if err != nil {
		return 0, 0, err
	}
	heap, err = s.Metric(ctx, "go_memstats_heap_alloc_bytes")
	return rig.Memory(s.PID(), "VmRSS"), heap, err
}

// scrapes reads the metrics n times.
func (s *service) scrapes(ctx context.Context, n int) (latencies, error) {
	var took []time.Duration
	for range n {
		begin := time.Now()
		if _, err := s.Metric(ctx, "go_memstats_heap_alloc_bytes"); err != nil {
			return latencies{}, err
		}
		took = append(took, time.Since(begin))
	}
	return newLatencies(took), nil
}

// measureKeySets requests random key sets once, and then again, beside exchanges.
func (b *bench) measureKeySets(ctx context.Context, s *service, k *bulk, p *pool) error {
	numbers := mathrand.Perm(k.tenants)[:b.plan.keySets]
	t := figures.NewTable("key sets of tenants", "requests", "p50 ms", "p99 ms", "health: p99 ms", "exchanges: per second",
		"p99 ms", "others %")
	worst := 0.0
	for _, when := range []string{"that are not loaded", "that are loaded"} {
		b.progress("keys: key sets of tenants %s", when)
		length := time.Duration(len(numbers)) * time.Second / keySetRate
		var exchanged run
		ended := make(chan error, 1)
		go func() {
			var err error
			exchanged, err = p.run(ctx, window{0, length}, s, b.server, keyUsers)
			ended <- err
		}()
		took, healthy, err := keySetsOf(ctx, s, numbers)
		if err = errors.Join(err, <-ended); err != nil {
			return s.Explain(err)
		}
		sets, health := newLatencies(took), newLatencies(healthy)
		worst = max(worst, sets.p99.Seconds()*1e3)
		t.Add(when, fmt.Sprint(len(took)), ms(sets.p50), ms(sets.p99), ms(health.p99),
			figures.Format(exchanged.rate, "%.0f"), ms(exchanged.latency.p99), figures.Format(100*exchanged.others, "%.0f"))
	}
	b.report.say("%d key sets a second in random order, of %d tenants, each after a request for /healthz, whose latency "+
		"is that of the machine, while %d users exchange sessions of all tenants in a closed loop:", keySetRate, k.tenants,
		keyUsers)
	b.report.table(t)
	b.report.figure("keys set", worst)
	return nil
}

// keySetsOf requests one key set after another, as fast as keySetRate, and the health of the service before each.
func keySetsOf(ctx context.Context, s *service, numbers []int) (took, healthy []time.Duration, err error) {
	c := newCallers(s, 1)
	disconnect, err := connect(ctx, c, time.Duration(len(numbers))*time.Second)
	defer disconnect()
	if err != nil {
		return nil, nil, err
	}
	health := rig.Request{Method: http.MethodGet, Path: "/healthz"}.Bytes(s.API)
	begun := time.Now()
	for i, number := range numbers {
		if err := rig.Sleep(ctx, time.Until(begun.Add(time.Duration(i)*time.Second/keySetRate))); err != nil {
			return nil, nil, err
		}
		begin := time.Now()
		if status, err := c[0].call(health); err != nil || status != http.StatusOK {
			return nil, nil, fmt.Errorf("GET /healthz: got status %d, %w", status, err)
		}
		between := time.Now()
		if err := c[0].keySet(number+1, 1); err != nil {
			return nil, nil, err
		}
		healthy, took = append(healthy, between.Sub(begin)), append(took, time.Since(between))
	}
	return took, healthy, nil
}

// loadKeySets requests the key set of each tenant.
func loadKeySets(ctx context.Context, s *service, tenants, keys int) error {
	callers := newCallers(s, loaders)
	disconnect, err := connect(ctx, callers, time.Duration(tenants)*10*time.Millisecond)
	defer disconnect()
	if err != nil {
		return err
	}
	var next atomic.Int64
	return together(loaders, func(i int) error {
		for number := int(next.Add(1)); number <= tenants; number = int(next.Add(1)) {
			if err := callers[i].keySet(number, keys); err != nil {
				return err
			}
		}
		return nil
	})
}

// signAll exchanges at least one session of each tenant.
func signAll(ctx context.Context, p *pool, tenants int) error {
	disconnect, err := connect(ctx, p.users, time.Duration(tenants)*10*time.Millisecond)
	defer disconnect()
	if err != nil {
		return err
	}
	return together(len(p.users), func(i int) error {
		for range tenants/len(p.users) + 1 {
			if err := p.exchange(i); err != nil {
				return err
			}
		}
		return nil
	})
}

// together calls f for 0 to n-1 concurrently.
func together(n int, f func(i int) error) error {
	errs := make([]error, n)
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() { errs[i] = f(i) })
	}
	group.Wait()
	return errors.Join(errs...)
}

// keysRotatePart has a second process make the standby of each tenant, while the first one, which has loaded the keys
// of all tenants, exchanges their sessions. A process begins a pass a minute after its start, if the lease is free.
func keysRotatePart(ctx context.Context, b *bench) error {
	b.report.section("Keys: rotation, PostgreSQL")
	b.startsOfADay()
	how := b.keyed()
	k, err := b.newKeyed(ctx, how)
	if err != nil {
		return err
	}
	s, err := how.serve(ctx, k.dsn)
	if err != nil {
		return err
	}
	b.later(s.Stop)
	tried := time.Now().Add(keysWait) // the first process
	p, err := newPool(k, s, keyUsers)
	if err != nil {
		return err
	}
	if err := loadKeySets(ctx, s, k.tenants, 1); err != nil {
		return s.Explain(err)
	}
	var all series
	const quiet, passing = "no pass", "a pass in progress"
	measure := func(name string) (scraped time.Duration, err error) {
		r, err := p.run(ctx, window{b.plan.window.warm, 3 * b.plan.window.length}, s, b.server, keyUsers)
		if err != nil {
			return 0, err
		}
		all.add(name, keyUsers, r)
		l, err := s.scrapes(ctx, 5)
		return l.p50, err
	}
	for len(all.runs[quiet][keyUsers]) < b.plan.keyRounds || time.Now().Before(tried) {
		if _, err := measure(quiet); err != nil {
			return err
		}
	}
	if err := k.freeLease(ctx); err != nil {
		return err
	}
	other, err := how.serve(ctx, k.dsn)
	if err != nil {
		return err
	}
	b.later(other.Stop)
	b.progress("keys: waiting for the pass")
	made := standbys{}
	for deadline := time.Now().Add(2 * keysWait); made.keys == 0; {
		if made, err = readStandbys(ctx, k.dsn); err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return other.Explain(errors.New("no standby was made"))
		}
		if err := rig.Sleep(ctx, time.Second); err != nil {
			return err
		}
	}
	cpu := func() time.Duration { p, _ := rig.ReadProcess(other.PID()); return p.CPU }
	from, begun, used := rig.ReadMachine(), time.Now(), cpu()
	ours := b.cpuOf([]*service{s, other}, &fleet{})
	var scraped []float64
	for round := range b.plan.keyRounds {
		b.progress("keys: a pass in progress, round %d of %d", round+1, b.plan.keyRounds)
		scrape, err := measure(passing)
		if err != nil {
			return err
		}
		scraped = append(scraped, scrape.Seconds()*1e3)
	}
	after, err := readStandbys(ctx, k.dsn)
	if err != nil {
		return err
	}
	took, keys, spent := time.Since(begun), after.keys-made.keys, cpu()-used
	if keys == 0 {
		return other.Explain(errors.New("the pass made no key"))
	}
	load := newLoad(from, rig.ReadMachine(), b.cpuOf([]*service{s, other}, &fleet{})-ours)
	b.report.say("%d tenants. In %s of the pass %d keys were made, %.1f a second: %s for all tenants. The process that "+
		"makes them used %.1f %% of a processor. Of the %d standbys at most %d start in one minute. The metrics of "+
		"the process "+
		"that exchanges, which has loaded all tenants, took %s ms. Other processes took %.0f %% of the machine.",
		k.tenants, took.Round(time.Second), keys, float64(keys)/took.Seconds(),
		(took / time.Duration(keys) * time.Duration(k.tenants)).Round(time.Minute), 100*spent.Seconds()/took.Seconds(),
		after.keys, after.most, figures.Format(figures.Median(scraped), "%.1f"), 100*load.others)
	variants := []variant{{name: quiet}, {name: passing}}
	b.report.table(all.table(variants, "", keyUsers))
	b.report.figure("keys rotation exchange", all.of(passing, keyUsers, p99)/all.of(quiet, keyUsers, p99))
	b.report.figure("keys scrape", figures.Median(scraped))
	return errors.Join(s.Stop(), other.Stop())
}

// keysWait is longer than the time from the start of a process to its first pass.
const keysWait = 65 * time.Second

// startsOfADay spreads the starts of the standbys of tenants that were made together, as the schedule does.
func (b *bench) startsOfADay() {
	const tenants = 100_000
	now := time.Now()
	rules := domain.KeyRules{CacheAge: 2 * time.Hour, Rotation: rotation}
	minutes, most := map[int64]int{}, 0
	for i := range tenants {
		id := keyTenant(i + 1)
		keys := domain.NewSigningKeys(domain.SigningKey{ID: id, TenantID: id, Algorithm: domain.ES256, CreatedAt: now})
		minute := keys.ScheduledStart(id, domain.ES256, now, rules).Unix() / 60
		minutes[minute]++
		most = max(most, minutes[minute])
	}
	const mean = float64(tenants) / (24 * 60)
	b.report.say("The schedule of %d tenants whose keys were made in one second: the standbys start in %d different "+
		"minutes, at most %d in one, %.1f on average.", tenants, len(minutes), most, mean)
	b.report.figure("keys starts", float64(most)/mean)
}

// standbys are the standbys that were made.
type standbys struct{ keys, most int } // most start in one minute

func readStandbys(ctx context.Context, dsn string) (r standbys, err error) {
	return r, withConnection(ctx, dsn, func(c *pgx.Conn) error {
		return c.QueryRow(ctx, `
SELECT COALESCE(sum(n), 0)::bigint, COALESCE(max(n), 0)::bigint FROM (
  SELECT count(*) AS n FROM keys WHERE kind = 'signing' AND tenant_id <> $1 AND number = 2 GROUP BY starts_at / 60000000
) AS minutes`, tenant).Scan(&r.keys, &r.most)
	})
}

// keysListPart lists three keys of each tenant.
func keysListPart(ctx context.Context, b *bench) error {
	b.report.section("Keys: lists, PostgreSQL")
	how := b.keyed()
	k, err := b.newKeyed(ctx, how)
	if err != nil {
		return err
	}
	if err := b.loadRotated(ctx, k); err != nil {
		return err
	}
	s, err := how.serve(ctx, k.dsn)
	if err != nil {
		return err
	}
	b.later(s.Stop)
	l := adminList{name: "keys", path: "/key?"}
	from := rig.ReadMachine()
	begun := time.Now()
	cursors, err := l.walk(ctx, s, 3*k.tenants)
	if err != nil {
		return s.Explain(err)
	}
	walked := time.Since(begun)
	first, err := l.measure(ctx, s, b.plan.adminCalls, "")
	if err != nil {
		return err
	}
	deep, err := l.measure(ctx, s, b.plan.adminCalls, cursors...)
	if err != nil {
		return err
	}
	own, err := adminList{name: "keys of a tenant", path: "/key?", tenant: keyTenant(1)}.measure(ctx, s,
		b.plan.adminCalls, "")
	if err != nil {
		return err
	}
	load := newLoad(from, rig.ReadMachine(), 0)
	if err := s.Stop(); err != nil {
		return err
	}
	begun = time.Now()
	if _, err := b.program.Run(ctx, how.settings(k.dsn), "key", "list", "--output", "json"); err != nil {
		return err
	}
	command := time.Since(begun)
	b.report.say("%d tenants with three keys each. All pages of %s: %d in %s. `refreshd key list` on the store: %s. "+
		"All processes took %.0f %% of the machine.", k.tenants, walkedLimit, len(cursors)+1,
		walked.Round(time.Millisecond), command.Round(time.Millisecond), 100*load.others)
	t := figures.NewTable("a page of 100", "p50 ms", "p99 ms")
	t.Add("first", ms(first.p50), ms(first.p99))
	t.Add("deep", ms(deep.p50), ms(deep.p99))
	t.Add("of a tenant", ms(own.p50), ms(own.p99))
	b.report.table(t)
	b.report.figure("keys list", max(first.p99, deep.p99, own.p99).Seconds()*1e3)
	return nil
}

// keysBeforePart compares exchanges, and the statement that the service sends for one, with those of the older program.
func keysBeforePart(ctx context.Context, b *bench) error {
	b.report.section("Keys: exchanges, PostgreSQL")
	sides, err := b.besideOlder(ctx, "keys", "keys")
	if err != nil {
		return err
	}
	var texts, plans []string
	for _, side := range sides {
		if err := side.contends.service.Stop(); err != nil {
			return err
		}
		text, plan, err := b.exchangeSent(ctx, side.contends)
		if err != nil {
			return fmt.Errorf("%s: %w", side.name, err)
		}
		texts, plans = append(texts, text), append(plans, plan)
	}
	same := 0.0
	if texts[0] == texts[1] && plans[0] == plans[1] {
		same = 1
	}
	b.report.say("The statement of an exchange: %d and %d bytes; the same text: %t; the same plan: %t.", len(texts[0]),
		len(texts[1]), texts[0] == texts[1], plans[0] == plans[1])
	if same == 0 {
		b.report.say("Now:\n\n```\n%s\n\n%s```\n\nBefore:\n\n```\n%s\n\n%s```", texts[0], plans[0], texts[1], plans[1])
	}
	b.report.figure("keys statement", same)
	return nil
}

// exchangeSent returns the statement that a service sends for an exchange, and its plan.
func (b *bench) exchangeSent(ctx context.Context, c *contender) (text, plan string, err error) {
	settings := c.how.settings(c.dsn)
	settings.Env = append(settings.Env, "REFRESHD_LOG_LEVEL=debug")
	started, err := c.how.program.Serve(ctx, settings)
	if err != nil {
		return "", "", err
	}
	s := &service{started}
	b.later(s.Stop)
	if err := c.pool.bind(s, 1); err != nil {
		return "", "", err
	}
	disconnect, err := connect(ctx, c.pool.users, responseTimeout)
	defer disconnect()
	if err != nil {
		return "", "", err
	}
	if err := c.pool.exchange(0); err != nil {
		return "", "", err
	}
	if err := s.Stop(); err != nil { // the log is complete then
		return "", "", err
	}
	for line := range strings.Lines(s.Log()) {
		var logged struct{ Event, SQL string }
		if json.Unmarshal([]byte(line), &logged) == nil && logged.Event == "database.statement" &&
			strings.HasPrefix(strings.TrimSpace(logged.SQL), "UPDATE refresh_tokens") { // another one stamps revocations
			text = logged.SQL
		}
	}
	if text == "" {
		return "", "", errors.New("the service logged no statement of an exchange")
	}
	conn, err := connectAsService(ctx, c.dsn)
	if err != nil {
		return "", "", err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, "VACUUM (ANALYZE) refresh_tokens"); err != nil {
		return "", "", err
	}
	plan, err = genericPlan(ctx, conn, text)
	return text, plan, err
}

// keysTargets are the targets of keysParts.
var keysTargets = []target{
	atMost("keys set", 10, "%.1f ms", "key sets of tenants, loaded or not, beside exchanges: worst p99"),
	atMost("keys starts", 2, "%.2f", "starts of standbys of tenants made together: most in a minute / average"),
	atMost("keys rotation exchange", 2, "%.2f", "exchanges: p99 while keys are rotated / without"),
	atMost("keys scrape", 100, "%.1f ms", "metrics with all tenants loaded, while keys are rotated: p50"),
	atMost("keys list", 50, "%.1f ms", "pages of 100 keys: worst p99"),
	atLeast("keys exchange", .92, "%.2f", "PostgreSQL, 32 users: exchanges / of the program before"),
	atMost("keys objects", 2, "%.1f", "PostgreSQL: objects allocated per exchange more than by the program before"),
	atLeast("keys hot", .99, "%.4f", "PostgreSQL: share of HOT updates of exchanges"),
	atLeast("keys statement", 1, "%.0f", "the statement of an exchange and its plan are those of the program before"),
}
