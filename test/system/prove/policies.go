package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/refreshd/refreshd/test/support/rig"
)

// changing is an application whose policy changes while its refresh tokens are in use. A kickstart file that names it
// would undo the changes at each start of a service.
const changing = "changing"

// of returns the rules that are in force for t.
func (r rules) of(t token) rules {
	if len(r.variants) == 0 {
		return r
	}
	return r.variants[t.Variant]
}

// longest returns the longest lifetime that the rules ever give.
func (r rules) longest() instant {
	life := r.life
	for _, v := range r.variants {
		life = max(life, v.life)
	}
	return life
}

// document returns the application as its resource.
func (r rules) document() map[string]any {
	usage, expiration := "OneTimeUse", "SlidingWindow"
	if r.reusable {
		usage = "Reusable"
	}
	if r.fixed {
		expiration = "Fixed"
	}
	return map[string]any{"active": !r.inactive, "jwtConfiguration": map[string]any{
		"refreshTokenExpirationPolicy": expiration, "refreshTokenTimeToLiveInMinutes": r.life / minute,
		"refreshTokenUsagePolicy": usage, "timeToLiveInSeconds": r.access / second,
		"refreshTokenOneTimeUseConfiguration": map[string]any{
			"gracePeriodInSeconds": r.grace / second, "recoveryBurst": r.burst, "recoveryInterval": r.interval,
		},
	}}
}

// makeChanging makes the application changing in each tenant, before anything fails.
func (c *crowd) makeChanging(ctx context.Context, api string) error {
	for n := range tenants {
		document := applications[changing].variants[0].document()
		document["name"] = changing
		text, err := json.Marshal(document)
		if err != nil {
			return err
		}
		asked := rig.Request{
			Method: "POST", Path: "/application/" + changing, Key: c.apiKey, Tenant: tenantName(n), Body: string(text),
		}
		res, err := asked.Do(ctx, http.DefaultClient, api)
		if err != nil {
			return err
		}
		if res.Status != http.StatusCreated {
			return fmt.Errorf("make the application %s: %s", changing, res)
		}
	}
	return nil
}

// changer changes the policy of the application in a tenant, again and again. A change is one call, however often its
// request is sent: each names the version that it replaces, so it takes effect once.
func (c *crowd) changer(ctx context.Context, r *rand.Rand, client int, tenant string) {
	variants := applications[changing].variants
	for ctx.Err() == nil {
		if variants[c.policyOf(tenant)].inactive {
			pause(ctx, r, time.Second)
		} else {
			pause(ctx, r, 6*time.Second)
		}
		version := ""
		for version == "" && ctx.Err() == nil {
			a := c.do(ctx, c.replica(r), "GET", "/application/"+changing, tenant, true, nil)
			switch {
			case a.status == http.StatusOK:
				version = a.version
			case a.answered():
				c.unexpected("reading the application", a)
				return
			}
			pause(ctx, r, 100*time.Millisecond)
		}
		to := uint8(r.IntN(len(variants)))
		if to == c.policyOf(tenant) {
			continue
		}
		text, _ := json.Marshal(variants[to].document())
		asked := rig.Request{
			Method: "PATCH", Path: "/application/" + changing, Key: c.apiKey, Tenant: tenant, Body: string(text),
			Header: map[string]string{"If-Match": version},
		}
		p := c.recorder.call(client, input{To: to}, func(h *history) kind {
			if h.tenant == tenant && h.Application == changing {
				return newPolicy
			}
			return ""
		})
		for ctx.Err() == nil {
			a := c.send(ctx, c.replica(r), asked)
			if a.status == http.StatusOK || a.status == http.StatusPreconditionFailed { // by an earlier attempt
				c.recorder.changed(p, tenant, to)
				break
			}
			if a.answered() {
				c.unexpected("a change of the policy", a)
			}
			pause(ctx, r, 300*time.Millisecond)
		}
		if !p.over {
			p.ended(forever, false, nil)
		}
		c.words.add(newPolicy, map[bool]string{true: done}[!p.lost])
	}
}

// policyOf returns the number of the rules that were in force last.
func (r *recorder) policyOf(tenant string) uint8 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.policies[tenant]
}

// changed records the response to a change. A refresh token that is followed from now on begins under these rules.
func (r *recorder) changed(p *pending, tenant string, to uint8) {
	p.endedWith(forever, true, func(*history) output { return output{Word: done} }, func() { r.policies[tenant] = to })
}

// inForce adds the rules that are in force to a history.
func (r *recorder) inForce(h *history) {
	if h.Application != changing {
		return
	}
	now := r.since()
	h.Operations = append(h.Operations, &operation{
		Input:  input{Kind: newPolicy, Rules: h.Application, To: r.policies[h.tenant], At: span{0, forever}},
		Output: output{Word: done}, Call: now, Return: now, Answered: true,
	})
}
