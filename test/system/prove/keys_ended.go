package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/refreshd/refreshd/adapter/verify"
	"github.com/refreshd/refreshd/test/support/rig"
)

// endedKeys are the keys that were revoked, with when the response arrived.
type endedKeys struct {
	*keyFleet

	mu     sync.Mutex
	ended  map[string]time.Time
	tokens map[string][]keySession // the latest sessions by the key of their access token
}

// provesEnded revokes signing keys under load. From the response on no service signs with the key or accepts its
// tokens, and within a second no resource server accepts them. No exchange is refused.
func provesEnded(ctx context.Context, f *keyFleet, d time.Duration) error {
	e := &endedKeys{keyFleet: f, ended: map[string]time.Time{}, tokens: map[string][]keySession{}}
	servers, err := f.resourceServers(ctx)
	defer func() {
		for _, s := range servers {
			s.Close()
		}
	}()
	if err != nil {
		return err
	}
	running, end := context.WithCancel(ctx)
	var load sync.WaitGroup
	load.Go(func() { f.load(running, e.granted) })
	defer load.Wait()
	defer end()
	for until := time.Now().Add(d); time.Now().Before(until) && ctx.Err() == nil; {
		pause(ctx, f.random, 2*time.Second)
		if err := e.end(ctx, servers); err != nil {
			return err
		}
	}
	return nil
}

// granted checks the key of an access token that a request returned.
func (e *endedKeys) granted(_ *rand.Rand, s *keySession, asked time.Time) {
	t, err := readToken(s.access)
	if err != nil {
		e.faults.add("%s", err)
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if at, ok := e.ended[t.kid]; ok && asked.After(at) {
		e.faults.add("%s after the response to its revocation, key %s signed", asked.Sub(at), t.kid)
	}
	e.counts.add("access tokens:", "whose key was checked")
	const each = 12
	all := append(e.tokens[t.kid], *s)
	e.tokens[t.kid] = all[max(0, len(all)-each):]
}

// resourceServers starts verifiers with streams from every service, for the tokens of each tenant and application.
func (f *keyFleet) resourceServers(ctx context.Context) (servers map[string]*verify.Verifier, err error) {
	servers = map[string]*verify.Verifier{}
	for i, m := range f.members {
		for t := range keyTenants {
			base := "http://" + m.settings.Listen + "/t/" + tenantName(t)
			for _, a := range keyApplications {
				v, err := verify.New(ctx, verify.Config{
					Issuer: publicURL + "/t/" + tenantName(t), Audience: a.id, APIKey: adminKey,
					FeedURL: base + "/revocations", KeysURL: base + "/.well-known/jwks.json", MaxAge: 10 * time.Second,
				})
				if err != nil {
					return servers, err
				}
				servers[fmt.Sprint(tenantName(t), " ", a.id, " ", i)] = v
			}
		}
	}
	return servers, nil
}

// end revokes a signing key that signs, and checks what follows.
func (e *endedKeys) end(ctx context.Context, servers map[string]*verify.Verifier) error {
	all, err := e.keys(ctx)
	if err != nil {
		return err
	}
	e.mu.Lock()
	all = slices.DeleteFunc(all, func(k storedKey) bool {
		return k.Kind != "signing" || k.State != "signing" || len(e.tokens[k.ID]) < 3
	})
	e.mu.Unlock()
	if len(all) == 0 {
		return nil
	}
	k := all[e.random.IntN(len(all))]
	e.mu.Lock()
	sessions := slices.Clone(e.tokens[k.ID])
	e.mu.Unlock()
	// A service that refuses everything would pass.
	for _, s := range sessions {
		for _, m := range e.members {
			if status, err := e.asOwner(ctx, m, s); err != nil || status != http.StatusOK {
				return fmt.Errorf("before its key is revoked an access token is refused: %d, %w", status, err)
			}
		}
		for name, v := range servers {
			if !strings.HasPrefix(name, s.tenant+" "+s.application+" ") {
				continue
			}
			if _, err := v.Verify(ctx, s.access); err != nil && !errors.Is(err, verify.ErrStale) {
				return fmt.Errorf("before its key is revoked %s refuses an access token: %w", name, err)
			}
		}
	}
	done, err := e.change(ctx, "a signing key revoked under load", "POST", "/key/revoke/"+k.ID,
		map[string]any{"newKey": e.random.IntN(2) == 0})
	if err != nil || !done {
		return err
	}
	at := time.Now()
	e.mu.Lock()
	e.ended[k.ID] = at
	e.mu.Unlock()
	var checks sync.WaitGroup
	for _, m := range e.members {
		checks.Go(func() { e.refused(ctx, m, k, sessions) })
	}
	for name, v := range servers {
		checks.Go(func() { e.reached(ctx, name, v, at, sessions) })
	}
	checks.Wait()
	return nil
}

// asOwner asks for a session with its own access token.
func (e *endedKeys) asOwner(ctx context.Context, m *keyMember, s keySession) (status int, err error) {
	res, err := rig.Request{Method: "GET", Path: "/jwt/refresh/" + s.id, Tenant: s.tenant, Key: "Bearer " + s.access}.
		Do(ctx, e.client, m.settings.Listen)
	return res.Status, err
}

// refused checks that a service does not accept the access tokens of a key that was revoked, and does not publish it.
func (e *endedKeys) refused(ctx context.Context, m *keyMember, k storedKey, sessions []keySession) {
	for i, s := range sessions {
		if status, err := e.asOwner(ctx, m, s); err == nil && status != http.StatusUnauthorized {
			e.faults.add("after the revocation of its key, an access token as an owner's credential: %d", status)
		}
		e.counts.add("tokens of revoked keys:", "as an owner's credential")
		// The access token of another session refuses an exchange, unless it is not valid.
		fresh, err := e.issue(ctx, rand.New(rand.NewPCG(e.seed, uint64(i))), s.tenant, s.application, "other")
		if err != nil {
			e.faults.add("%s", err)
			return
		}
		res, err := rig.Request{Method: "POST", Path: "/jwt/refresh", Key: adminKey, Tenant: s.tenant,
			Body: body(map[string]any{"refreshToken": fresh.tokenString, "token": s.access}),
		}.Do(ctx, e.client, m.settings.Listen)
		if err == nil && res.Status != http.StatusOK {
			e.faults.add("after the revocation of its key, an access token counts as the old one of an exchange: %s", res)
		}
		e.counts.add("tokens of revoked keys:", "as the old one of an exchange")
	}
	for t := range keyTenants {
		res, err := rig.Request{Method: "GET", Path: "/t/" + tenantName(t) + "/.well-known/jwks.json"}.
			Do(ctx, e.client, m.settings.Listen)
		if err == nil && strings.Contains(string(res.Body), `"`+k.ID+`"`) {
			e.faults.add("the key set of %s has key %s after its revocation", tenantName(t), k.ID)
		}
	}
}

// reached checks that a resource server refuses the tokens of a key within a second.
func (e *endedKeys) reached(
	ctx context.Context, name string, v *verify.Verifier, at time.Time, sessions []keySession,
) {
	for _, s := range sessions {
		if !strings.HasPrefix(name, s.tenant+" "+s.application+" ") {
			continue
		}
		for {
			began := time.Now()
			_, err := v.Verify(ctx, s.access)
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				e.counts.add("tokens of revoked keys, refused by a resource server:", orElse(errorWord(err), err.Error()))
				break
			}
			if began.Sub(at) > time.Second {
				e.faults.add("%s accepts a token %s after the revocation of its key", name, began.Sub(at))
				return
			}
			_ = rig.Sleep(ctx, 5*time.Millisecond)
		}
	}
}

func errorWord(err error) string {
	for _, known := range []error{verify.ErrRevoked, verify.ErrStale, verify.ErrExpired, verify.ErrInvalid} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return ""
}
