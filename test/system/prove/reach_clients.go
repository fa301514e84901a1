package main

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
	"github.com/refreshd/refreshd/test/storagetest"
)

// reachCrowd is the clients of a round with resource servers: sessions that end in every way, and operators who revoke
// by every selector. The tokens of the latest sessions are checked before, while and after they end.
type reachCrowd struct {
	*crowd
	pool  *pool
	store port.Store // for deletions, which have no request yet; nil for none
}

// reachUsers is so small that a revocation of a user covers several sessions.
const reachUsers = 6

// oldID is by how much the times in ids are behind: no service, whatever its clock shows, takes them for the future.
const oldID = 40 * minute

func reachID(r *rand.Rand) string { return idOf(r, time.Now().UnixMicro()-oldID-r.Int64N(minute)) }

// ends are the ways in which the owner of a session ends it.
var ends = []string{"by id", "by string", "by a replay", "not", "not"}

// sessions runs one session after another until ctx is done.
func (c *reachCrowd) sessions(ctx context.Context, r *rand.Rand, client int) {
	applications := []string{"patient", "web", "none", "limited"}
	for ctx.Err() == nil {
		h := &history{
			ID: reachID(r), Application: applications[r.IntN(len(applications))], tenant: tenantName(r.IntN(tenants)),
			user: userName(r.IntN(reachUsers)),
		}
		c.follow(h)
		// Its tokens are checked for some time: if it has not ended for certain, a later revocation still concerns it.
		if c.session(ctx, r, client, h) {
			c.recorder.close(h)
		}
	}
}

// login issues the refresh token of h, and returns its first string.
func (c *reachCrowd) login(ctx context.Context, r *rand.Rand, client int, h *history) (tokenString string, ok bool) {
	for first, try := time.Now(), 0; ctx.Err() == nil; try++ {
		// After some time, each attempt may take effect later than the check assumes of the first one.
		again := try > 0 && time.Since(first) < lingers/4
		if !again {
			first = time.Now()
		}
		out, tokenString := c.issue(ctx, client, c.replica(r), h, again)
		if out.Word == done || out.Word == duplicate {
			return tokenString, out.Word == done
		}
		backOff(ctx, r, try)
	}
	return "", false
}

// session runs a session, and reports whether it has ended for certain.
func (c *reachCrowd) session(ctx context.Context, r *rand.Rand, client int, h *history) (ended bool) {
	first, ok := c.login(ctx, r, client, h)
	if !ok {
		return false
	}
	current := first
	use := func(presented string) (word string) {
		for try := 0; ctx.Err() == nil; try++ {
			out, next := c.exchange(ctx, client, c.replica(r), h, presented, true)
			if next != "" {
				current = next
			}
			if out.Word != "" {
				return out.Word
			}
			backOff(ctx, r, try)
		}
		return ""
	}
	how := ends[r.IntN(len(ends))]
	if how == "by a replay" && h.Application != "none" {
		how = "by id"
	}
	for n := 1 + r.IntN(6); n > 0 || how == "not"; n-- {
		pause(ctx, r, 1200*time.Millisecond)
		if ctx.Err() != nil {
			return false
		}
		if r.IntN(2) > 0 || n == 1 && how == "by a replay" {
			switch word := use(current); word {
			case revoked, replayed:
				return true
			case expired, "":
				return false
			}
		}
		if how == "not" && n < -20 {
			return false
		}
	}
	c.pool.hurry(h)
	pause(ctx, r, 50*time.Millisecond)
	presented := ""
	switch how {
	case "by a replay":
		use(current)
		ended = use(first) == replayed
	case "by string":
		presented = current
		fallthrough
	default:
		for try := 0; ctx.Err() == nil; try++ {
			if out := c.revoke(ctx, client, c.replica(r), h, presented); out.Word != "" {
				ended = out.Word == done
				break
			}
			backOff(ctx, r, try)
		}
	}
	if !ended || r.IntN(2) == 0 {
		ended = use(current) == revoked || ended
	}
	return ended
}

// operator revokes by every wide selector.
func (c *reachCrowd) operator(ctx context.Context, r *rand.Rand, client int) {
	for ctx.Err() == nil {
		pause(ctx, r, 1500*time.Millisecond)
		tenant, user := tenantName(r.IntN(tenants)), userName(r.IntN(reachUsers))
		application := []string{"patient", "web", "none", "limited"}[r.IntN(4)]
		covers := func(*history) bool { return true }
		selector := map[string]any{"allInTenant": true}
		var spared *history
		switch n := r.IntN(100); {
		case n < 35:
			selector = map[string]any{"userId": user}
			covers = func(h *history) bool { return h.user == user }
		case n < 60:
			selector = map[string]any{"userId": user, "applicationsId": application}
			covers = func(h *history) bool { return h.user == user && h.Application == application }
		case n < 80:
			spared = c.any(r.IntN, func(h *history) bool { return h.tenant == tenant && h.Application != doomed })
			if spared == nil {
				continue
			}
			selector = map[string]any{"userId": spared.user, "exceptTokenId": spared.ID}
			covers = func(h *history) bool { return h.user == spared.user }
			c.pool.hurry(spared)
		case n < 92:
			selector = map[string]any{"applicationsId": application}
			covers = func(h *history) bool { return h.Application == application }
		}
		for range 3 {
			if h := c.any(r.IntN, func(h *history) bool { return h.tenant == tenant && covers(h) }); h != nil {
				c.pool.hurry(h)
			}
		}
		pause(ctx, r, 50*time.Millisecond)
		for try := range 4 { // the sessions end for certain if a later attempt gets a response
			before := c.lostCalls()
			c.revokeWide(ctx, client, c.replica(r), tenant, selector, spared, covers)
			if c.lostCalls() == before || ctx.Err() != nil {
				break
			}
			backOff(ctx, r, try)
		}
	}
}

func (r *recorder) lostCalls() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lost
}

// deleter issues refresh tokens of an application, deletes the application and makes it again. At the end it deletes a
// whole tenant. It writes to the store itself, because no request deletes yet.
func (c *reachCrowd) deleter(ctx context.Context, r *rand.Rand, client int, tenantEnds time.Duration) {
	begun := time.Now()
	for ctx.Err() == nil && time.Since(begun) < tenantEnds {
		tenant := tenantName(r.IntN(tenants))
		all := c.several(ctx, r, client, tenant)
		var a domain.Application
		c.deletes("application", tenant, all, func() (err error) {
			if a, err = c.store.Application(ctx, tenant, doomed); err != nil {
				return err
			}
			return storagetest.DeleteApplication(ctx, c.store, tenant, doomed, time.Now())
		})
		for a.ID != "" && ctx.Err() == nil && storagetest.SaveApplication(ctx, c.store, a) != nil {
			pause(ctx, r, 200*time.Millisecond)
		}
	}
	tenant := tenantName(tenants)
	all := c.several(ctx, r, client, tenant)
	if ctx.Err() == nil {
		c.deletes("tenant", tenant, all, func() error {
			return storagetest.DeleteTenant(ctx, c.store, tenant, time.Now())
		})
	}
}

func (c *reachCrowd) several(ctx context.Context, r *rand.Rand, client int, tenant string) (all []*history) {
	for range 4 {
		h := &history{ID: reachID(r), Application: doomed, tenant: tenant, user: userName(r.IntN(reachUsers))}
		c.follow(h)
		if _, ok := c.login(ctx, r, client, h); ok {
			all = append(all, h)
		}
		pause(ctx, r, 500*time.Millisecond)
	}
	return all
}

// deletes runs a deletion, which covers the sessions, and closes their histories.
func (c *reachCrowd) deletes(what, tenant string, all []*history, do func() error) {
	for _, h := range all {
		c.pool.hurry(h)
	}
	p := c.recorder.call(0, input{}, func(h *history) kind {
		if h.tenant == tenant && h.Application == doomed {
			return revokeWide
		}
		return ""
	})
	word := done
	if err := do(); err != nil {
		word = ""
	}
	p.ended(0, word != "", func(*history) output { return output{Word: word} })
	c.words.add("delete "+kind(what), word)
	for _, h := range all {
		if word == done {
			c.recorder.close(h)
		}
	}
}
