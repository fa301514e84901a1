package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/lestrrat-go/jwx/v2/jws"

	"github.com/refreshd/refreshd/test/support/rig"
)

// cacheAges are how old the key sets are at most that verifiers use.
var cacheAges = []time.Duration{0, 10 * time.Minute, time.Hour, 2 * time.Hour}

// seenSet is a key set that a service has returned. Verifiers may hold it from its last return on.
type seenSet struct {
	keys jwk.Set
	last time.Time // by the clock of the services
	from string    // the service and the true time of that
}

// verifiers are verifiers of every cache age: a token is refused if any key set lacks its key that one of them
// may hold at that moment, from whichever service it came.
type verifiers struct {
	fleet *keyFleet

	mu     sync.Mutex
	sets   map[string]map[string]*seenSet // by tenant and content
	tokens map[string][]heldToken         // by tenant; those that have not expired
	ended  map[string]bool                // keys that were revoked, whose tokens have to be refused
}

type heldToken struct {
	text, kid string
	expires   time.Time
}

func newVerifiers(f *keyFleet) *verifiers {
	return &verifiers{fleet: f, sets: map[string]map[string]*seenSet{}, tokens: map[string][]heldToken{},
		ended: map[string]bool{}}
}

// read reads a tenant's key set from a service.
func (v *verifiers) read(ctx context.Context, m *keyMember, tenant string) error {
	res, err := rig.Request{Method: "GET", Path: "/t/" + tenant + "/.well-known/jwks.json"}.
		Do(context.WithoutCancel(ctx), v.fleet.client, m.settings.Listen)
	if err != nil || res.Status != 200 {
		return nil // it is down
	}
	set, err := jwk.Parse(res.Body)
	if err != nil {
		return fmt.Errorf("the key set of %s: %w", tenant, err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.sets[tenant] == nil {
		v.sets[tenant] = map[string]*seenSet{}
	}
	v.fleet.counts.add("key sets:", "read")
	v.sets[tenant][string(res.Body)] = &seenSet{set, v.fleet.now(),
		m.settings.Listen + time.Now().Format(" at 15:04:05.000")}
	return nil
}

// readAll reads every key set from every service.
func (v *verifiers) readAll(ctx context.Context) error {
	for _, m := range v.fleet.members {
		for t := range keyTenants {
			if err := v.read(ctx, m, tenantName(t)); err != nil {
				return err
			}
		}
	}
	return nil
}

// take checks a new access token, and keeps it, to be checked again while it is valid.
func (v *verifiers) take(tenant, token string) {
	t, err := readToken(token)
	if err != nil {
		v.fleet.faults.add("%s", err)
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.check(tenant, t)
	// Of each key, the latest tokens are enough.
	const each = 20
	all, n := v.tokens[tenant], 0
	for _, held := range slices.Backward(all) {
		if held.kid == t.kid {
			n++
		}
	}
	if n >= each {
		i := slices.IndexFunc(all, func(held heldToken) bool { return held.kid == t.kid })
		all = slices.Delete(all, i, i+1)
	}
	v.tokens[tenant] = append(all, t)
}

func readToken(token string) (heldToken, error) {
	message, err := jws.ParseString(token)
	if err != nil {
		return heldToken{}, err
	}
	var claims struct{ Exp int64 }
	if err := json.Unmarshal(message.Payload(), &claims); err != nil {
		return heldToken{}, err
	}
	return heldToken{token, message.Signatures()[0].ProtectedHeaders().KeyID(), time.Unix(claims.Exp, 0)}, nil
}

// checkAll checks every token that has not expired.
func (v *verifiers) checkAll() {
	v.mu.Lock()
	defer v.mu.Unlock()
	for tenant, all := range v.tokens {
		v.tokens[tenant] = slices.DeleteFunc(all, func(t heldToken) bool { return !v.fleet.now().Before(t.expires) })
		for _, t := range v.tokens[tenant] {
			v.check(tenant, t)
		}
	}
}

// check checks a token with each key set that a verifier may hold.
func (v *verifiers) check(tenant string, t heldToken) {
	now := v.fleet.now()
	if !now.Before(t.expires) || v.ended[t.kid] {
		return
	}
	for body, s := range v.sets[tenant] {
		age := now.Sub(s.last)
		if age > cacheAges[len(cacheAges)-1] {
			delete(v.sets[tenant], body)
			continue
		}
		for _, most := range cacheAges {
			if age <= most || most == 0 && age < time.Second {
				v.fleet.counts.add("tokens checked with a key set that is at most", most.String()+" old")
			}
		}
		if _, ok := s.keys.LookupKeyID(t.kid); !ok {
			v.fleet.faults.add("a verifier that uses a key set of %s from %s ago (%s) refuses a token of key %s (%s)",
				tenant, age.Round(time.Millisecond), s.from, t.kid, time.Now().Format("15:04:05.000"))
			continue
		}
		if _, err := jws.Verify([]byte(t.text), jws.WithKeySet(s.keys)); err != nil {
			v.fleet.faults.add("the key set of %s from %s ago: key %s: %s", tenant, age, t.kid, err)
		}
	}
}

// provesCaches has keys of every kind rotate in random order, under load, while services restart and the clock is set
// ahead. No exchange is refused, and no verifier refuses an access token.
func provesCaches(ctx context.Context, f *keyFleet, d time.Duration) error {
	v := newVerifiers(f)
	if err := v.readAll(ctx); err != nil {
		return err
	}
	running, end := context.WithCancel(ctx)
	var load sync.WaitGroup
	load.Go(func() {
		f.load(running, func(r *rand.Rand, s *keySession, _ time.Time) {
			if r.IntN(20) == 0 {
				if err := v.read(running, f.members[r.IntN(len(f.members))], s.tenant); err != nil {
					f.faults.add("%s", err)
				}
			}
			v.take(s.tenant, s.access)
		})
	})
	defer load.Wait()
	defer end()
	c := &changer{f, v, rig.MasterKey}
	// A tenant has no verifiers in its first minutes, by the rules.
	if err := f.leapOver(ctx, v, 15*time.Minute); err != nil {
		return err
	}
	for until := time.Now().Add(d); time.Now().Before(until) && ctx.Err() == nil; {
		for range 1 + f.random.IntN(4) {
			if err := c.step(ctx); err != nil {
				return err
			}
			if err := v.readAll(ctx); err != nil {
				return err
			}
			v.checkAll()
			pause(ctx, f.random, time.Second/2)
		}
		if err := rig.Sleep(ctx, settle); err != nil {
			return nil // the scene is over
		}
		for left := longestLeap; left > 0; {
			by, err := f.chooseLeap(ctx)
			if err != nil {
				return err
			}
			by = min(by, left)
			if err := f.leapOver(ctx, v, by); err != nil {
				return err
			}
			left -= by + longestLeap/4
		}
	}
	return nil
}

const (
	// settle is how long it takes until every service has read a change: longer than any uses keys without reading. The
	// clock is set ahead only then, because if the time had really passed every service would have read it long before.
	settle = 3200 * time.Millisecond
	// longestLeap bounds how far the clock is set ahead meanwhile. A key that the worker makes starts a day later.
	longestLeap = 20 * time.Hour
)

// leapOver sets the clock ahead, and checks all tokens before and after verifiers read key sets again.
func (f *keyFleet) leapOver(ctx context.Context, v *verifiers, by time.Duration) error {
	if err := v.readAll(ctx); err != nil {
		return err
	}
	if err := f.leap(by); err != nil {
		return err
	}
	f.counts.add("clock:", "set ahead")
	v.checkAll()
	pause(ctx, f.random, 500*time.Millisecond)
	if err := v.readAll(ctx); err != nil {
		return err
	}
	v.checkAll()
	return nil
}

// chooseLeap returns how far to set the clock ahead: often to a start of a key, to the second.
func (f *keyFleet) chooseLeap(ctx context.Context) (time.Duration, error) {
	if f.random.IntN(2) == 0 {
		all, err := f.keys(ctx)
		if err != nil {
			return 0, err
		}
		var next time.Duration
		for _, k := range all {
			in := time.UnixMilli(k.StartsInstant).Sub(f.now())
			if k.State == "standby" && in > 0 && in < longestLeap && (next == 0 || in < next) {
				next = in
			}
		}
		if next > 0 {
			return next + time.Duration(f.random.Int64N(int64(time.Second))), nil
		}
	}
	return [...]time.Duration{
		time.Second, 9 * time.Minute, 40 * time.Minute, 110 * time.Minute, 5 * time.Hour, 13 * time.Hour, 20 * time.Hour,
	}[f.random.IntN(7)], nil
}

// changer changes keys in every way that is safe.
type changer struct {
	*keyFleet
	verifiers *verifiers
	master    string
}

func (c *changer) step(ctx context.Context) (err error) {
	r := c.random
	tenant := tenantName(r.IntN(keyTenants))
	algorithm := [...]string{"ES256", "EdDSA", "RS256", "PS256"}[min(r.IntN(6), 3)]
	const rotate, post = "/key/rotate", "POST"
	switch n := r.IntN(25); {
	case n < 5:
		_, err = c.change(ctx, "a signing key rotated", post, rotate,
			map[string]any{"kind": "signing", "tenantId": tenant, "algorithm": algorithm})
	case n < 6:
		_, err = c.change(ctx, "a signing key rotated for all tenants", post, rotate,
			map[string]any{"kind": "signing", "algorithm": algorithm})
	case n < 10:
		err = c.changeAlgorithm(ctx, tenant, algorithm)
	case n < 12:
		_, err = c.change(ctx, "the token key rotated", post, rotate, map[string]any{"kind": "token"})
	case n < 13:
		_, err = c.change(ctx, "the key that hashes API keys rotated", post, rotate, map[string]any{"kind": "api"})
	case n < 15:
		_, err = c.change(ctx, "a signing key made", post, "/key/generate",
			map[string]any{"kind": "signing", "tenantId": tenant, "algorithm": algorithm})
	case n < 19:
		err = c.touch(ctx)
	case n < 21:
		err = c.restart(ctx, c.members[r.IntN(len(c.members))], r.IntN(2) == 0)
	case n < 22:
		err = c.changeMaster(ctx)
	case n < 23:
		err = c.revoke(ctx)
	default:
		_, err = c.change(ctx, "a signing key rotated, now, without force", post, rotate,
			map[string]any{"kind": "signing", "tenantId": tenant, "algorithm": algorithm, "signNow": true})
	}
	return err
}

// changeAlgorithm has a policy name another algorithm.
func (c *changer) changeAlgorithm(ctx context.Context, tenant, algorithm string) error {
	a := keyApplications[c.random.IntN(len(keyApplications))]
	res, err := c.ask(ctx, c.random, rig.Request{
		Method: "PATCH", Path: "/application/" + a.id, Tenant: tenant,
		Body: body(map[string]any{"jwtConfiguration": map[string]any{"algorithm": algorithm}}),
	})
	if err == nil && res.Status != 200 {
		err = fmt.Errorf("change the algorithm: %s", res)
	}
	c.counts.add("keys:", "an algorithm changed")
	return err
}

// touch retires a random key, or moves its start.
func (c *changer) touch(ctx context.Context) error {
	all, err := c.keys(ctx)
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(k storedKey) bool { return k.Kind == "check" })
	k := all[c.random.IntN(len(all))]
	if k.State == "standby" && c.random.IntN(2) == 0 {
		at := c.now().Add(time.Duration(c.random.Int64N(int64(8 * time.Hour)))).UnixMilli()
		_, err = c.change(ctx, "the start of a key moved", "PATCH", "/key/"+k.ID, map[string]any{"startsInstant": at})
		return err
	}
	_, err = c.change(ctx, "a key retired", "POST", "/key/retire/"+k.ID, map[string]any{})
	return err
}

// revoke revokes a signing key whose standby verifiers know.
func (c *changer) revoke(ctx context.Context) error {
	all, err := c.keys(ctx)
	if err != nil {
		return err
	}
	known := func(k storedKey) bool {
		return c.now().Sub(time.UnixMilli(k.InsertInstant)) > cacheAges[len(cacheAges)-1]+settle
	}
	for _, i := range c.random.Perm(len(all)) {
		k := all[i]
		isStandby := func(s storedKey) bool {
			return s.State == "standby" && s.TenantID == k.TenantID && s.Algorithm == k.Algorithm && known(s)
		}
		if k.Kind != "signing" || k.State != "signing" || k.TenantID == "" || !slices.ContainsFunc(all, isStandby) {
			continue
		}
		c.verifiers.mu.Lock()
		c.verifiers.ended[k.ID] = true
		c.verifiers.mu.Unlock()
		_, err := c.change(ctx, "a signing key revoked", "POST", "/key/revoke/"+k.ID, map[string]any{})
		return err
	}
	return nil
}

// restart ends a service and starts it again, with the environment of its settings.
func (f *keyFleet) restart(ctx context.Context, m *keyMember, kill bool) error {
	end, what := m.service.Stop, "stopped and started"
	if kill {
		end, what = m.service.Kill, "killed (kill -9) and started"
	}
	if err := end(); err != nil {
		return err
	}
	var err error
	m.service, err = f.program.Serve(context.WithoutCancel(ctx), m.settings)
	f.counts.add("services:", what)
	return err
}

// changeMaster changes the master key as an operator does it: with the services one after another.
func (c *changer) changeMaster(ctx context.Context) error {
	before, after := c.master, newMaster(c.random)
	for _, step := range []struct{ master, previous string }{{before, after}, {after, before}, {after, ""}} {
		if step.previous == "" {
			for complete := false; !complete; {
				res, err := c.ask(ctx, c.random, rig.Request{Method: "POST", Path: "/key/reseal"})
				if err != nil {
					return err
				}
				var sealed struct{ Complete bool }
				if err := res.Data(&sealed); err != nil {
					return fmt.Errorf("seal the keys again: %w", err)
				}
				complete = sealed.Complete
			}
		}
		for _, m := range c.members {
			if ctx.Err() != nil {
				return nil // the scene is over
			}
			m.settings.Env = c.env(step.master, step.previous)
			if err := c.restart(ctx, m, c.random.IntN(2) == 0); err != nil {
				return err
			}
		}
	}
	c.master = after
	c.counts.add("keys:", "the master key changed")
	return nil
}

func isWrongMaster(err error) bool {
	return err != nil && strings.Contains(err.Error(), "REFRESHD_MASTER_KEY_PREVIOUS")
}
