package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"github.com/refreshd/refreshd/test/support/rig"
)

// newMaster returns a random master key.
func newMaster(r *rand.Rand) string {
	b := make([]byte, 32)
	for i := range b {
		b[i] = byte(r.IntN(256))
	}
	return base64.StdEncoding.EncodeToString(b)
}

// provesMaster changes the master key again and again, while services of every step start and are killed in any order.
// After each change all services start with the new key alone, and nothing is lost.
func provesMaster(ctx context.Context, f *keyFleet, d time.Duration) error {
	h := &holdings{keyFleet: f, kids: map[string]bool{}}
	if err := h.fill(ctx); err != nil {
		return err
	}
	before := rig.MasterKey
	for until := time.Now().Add(d); time.Now().Before(until) && ctx.Err() == nil; {
		after := newMaster(f.random)
		if err := h.turn(ctx, before, after); err != nil {
			return err
		}
		f.counts.add("rounds:", "the master key changed")
		before = after
	}
	return nil
}

// holdings are what must not be lost.
type holdings struct {
	*keyFleet
	sessions []*keySession
	apiKeys  []string
	kids     map[string]bool // of signing keys
}

// fill begins sessions and makes API keys.
func (h *holdings) fill(ctx context.Context) error {
	for t := range keyTenants {
		for i, a := range keyApplications {
			s, err := h.issue(ctx, h.random, tenantName(t), a.id, userName(i))
			if err != nil {
				return err
			}
			h.sessions = append(h.sessions, s)
		}
	}
	for i := range 3 {
		res, err := h.ask(ctx, h.random, rig.Request{Method: "POST", Path: "/api-key", Body: body(map[string]any{
			"name": fmt.Sprintf("more-%d", i), "tenantId": tenantName(0),
			"permissions": map[string]any{"endpoints": map[string]any{"/jwt/refresh": []string{"GET"}}},
		})})
		if err == nil && res.Status != http.StatusCreated {
			err = fmt.Errorf("make an API key: %s", res)
		}
		if err != nil {
			return err
		}
		var made struct{ Data struct{ Key string } }
		if err := jsonOf(res, &made); err != nil || made.Data.Key == "" {
			return fmt.Errorf("make an API key: %s, %w", res, err)
		}
		h.apiKeys = append(h.apiKeys, made.Data.Key)
	}
	return h.note(ctx)
}

// note notes which signing keys there are.
func (h *holdings) note(ctx context.Context) error {
	all, err := h.keys(ctx)
	for _, k := range all {
		if k.Kind == "signing" {
			h.kids[k.ID] = true
		}
	}
	return err
}

// turn changes the master key from before to after, with steps of processes in random order.
func (h *holdings) turn(ctx context.Context, before, after string) error {
	steps := [][2]string{{before, ""}, {before, after}, {after, before}, {after, ""}}
	r := h.random
	begun := false // whether anything sealed by the new key
	for range 8 {
		if ctx.Err() != nil {
			return nil
		}
		switch r.IntN(3) {
		case 0, 1: // a service with the keys of another step, whichever it had
			m := h.members[r.IntN(len(h.members))]
			if m.service != nil {
				if err := m.service.Kill(); err != nil {
					return err
				}
				m.service = nil
			}
			step := steps[r.IntN(len(steps))]
			m.settings.Env = h.env(step[0], step[1])
			s, err := h.program.Serve(context.WithoutCancel(ctx), m.settings)
			switch {
			case err == nil && !begun && step == steps[3]:
				h.faults.add("a service starts with the new master key alone, although nothing sealed by it")
				return s.Kill()
			case err != nil && !begun && step == steps[0]:
				h.faults.add("a service does not start with the old master key, although nothing sealed by another: %s", err)
				return nil
			case err == nil:
				m.service = s
				h.counts.add("services:", "started")
			case step[1] == "" && isWrongMaster(err):
				h.counts.add("services:", "refused to start without the key in force")
			default:
				h.faults.add("a service with both keys, or with that in force, does not start: %s", err)
				return nil
			}
		case 2: // killed anywhere in it
			begun = true
			if err := h.reseal(ctx, after, before, time.Duration(r.Int64N(int64(400*time.Millisecond)))); err != nil {
				return err
			}
		}
		h.use(ctx)
	}
	if err := h.reseal(ctx, after, before, 0); err != nil {
		return err
	}
	h.use(ctx) // by services of earlier steps
	for _, m := range h.members {
		if m.service != nil {
			if err := m.service.Kill(); err != nil {
				return err
			}
			m.service = nil
		}
	}
	for _, m := range h.members {
		m.settings.Env = h.env(after, "")
		var err error
		if m.service, err = h.program.Serve(context.WithoutCancel(ctx), m.settings); err != nil {
			h.faults.add("a service with the new master key alone does not start: %s", err)
			return nil
		}
	}
	return h.compare(ctx, before)
}

// reseal runs `refreshd key reseal`, which is killed after a while, if that is not zero.
func (h *holdings) reseal(ctx context.Context, master, previous string, killAfter time.Duration) error {
	p, err := h.program.Start(context.WithoutCancel(ctx), rig.Settings{
		Database: h.database, Env: h.env(master, previous), Name: "reseal",
	}, "key", "reseal")
	if err != nil {
		return err
	}
	if killAfter > 0 {
		_ = rig.Sleep(ctx, killAfter)
		h.counts.add("keys:", "sealing again killed (kill -9)")
		return p.Kill()
	}
	<-p.Ended()
	if code := p.State().ExitCode(); code != 0 {
		h.faults.add("key reseal: exit status %d: %s", code, p.Log())
	}
	h.counts.add("keys:", "sealed again")
	return nil
}

// use exchanges and makes keys on the services that run. One that lacks the master key in force may be unable to make a
// key; no exchange may be refused.
func (h *holdings) use(ctx context.Context) {
	for _, m := range h.members {
		if m.service == nil {
			continue
		}
		s := h.sessions[h.random.IntN(len(h.sessions))]
		res, err := rig.Request{Method: "POST", Path: "/jwt/refresh", Key: adminKey, Tenant: s.tenant,
			Body: body(map[string]any{"refreshToken": s.tokenString})}.Do(ctx, h.client, m.settings.Listen)
		switch {
		case err != nil:
		case res.Status == 200:
			h.counts.add("exchanges:", "done during a change")
			if err := s.take(res); err != nil {
				h.faults.add("%s", err)
			}
		case res.Status >= 500:
			h.counts.add("exchanges:", "not possible on this service, during a change")
		default:
			h.faults.add("an exchange was refused during a change of the master key: %s", res)
		}
		if h.random.IntN(2) > 0 {
			continue
		}
		res, err = rig.Request{Method: "POST", Path: "/key/generate", Key: adminKey, Tenant: s.tenant,
			Body: body(map[string]any{"kind": "signing", "tenantId": s.tenant, "algorithm": "EdDSA"}),
		}.Do(ctx, h.client, m.settings.Listen)
		var k struct{ Data storedKey }
		switch {
		case err != nil || res.Status != http.StatusCreated:
			h.counts.add("keys:", "not made on this service, during a change")
		default:
			h.counts.add("keys:", "made during a change")
			if err := jsonOf(res, &k); err != nil {
				h.faults.add("%s", err)
			}
			h.kids[k.Data.ID] = true
		}
	}
}

// compare checks that nothing was lost.
func (h *holdings) compare(ctx context.Context, before string) error {
	all, err := h.keys(ctx)
	if err != nil {
		return err
	}
	missing, by := maps.Clone(h.kids), map[string]bool{}
	for _, k := range all {
		delete(missing, k.ID)
		by[k.SealedBy] = true
	}
	if len(missing) > 0 {
		h.faults.add("keys were lost: %v", slices.Collect(maps.Keys(missing)))
	}
	if len(by) != 1 || by[""] {
		h.faults.add("keys are sealed by several master keys: %v", slices.Collect(maps.Keys(by)))
	}
	for _, s := range h.sessions {
		if old := s.access; old != "" { // its key still verifies
			res, err := h.ask(ctx, h.random, rig.Request{Method: "GET", Path: "/jwt/refresh/" + s.id, Tenant: s.tenant,
				Key: "Bearer " + old})
			if t, bad := readToken(old); err == nil && bad == nil && h.now().Before(t.expires) && res.Status != 200 {
				h.faults.add("an access token from before is refused: %s", res)
			}
		}
		if err := h.exchange(ctx, h.random, s, ""); err != nil {
			h.faults.add("after the change: %s", err)
		}
	}
	for _, key := range h.apiKeys {
		res, err := h.ask(ctx, h.random, rig.Request{Method: "GET", Path: "/jwt/refresh?userId=" + userName(0), Key: key,
			Tenant: tenantName(0)})
		if err == nil && res.Status != 200 {
			h.faults.add("an API key is refused: %s", res)
		}
	}
	s, err := h.program.Serve(ctx, rig.Settings{Database: h.database, Env: h.env(before, "")})
	switch {
	case err == nil:
		h.faults.add("a service starts with the master key before")
		return s.Kill()
	case ctx.Err() == nil && !isWrongMaster(err):
		return err
	}
	return nil
}
