package memstore

import (
	"bytes"
	"container/heap"
	"context"
	"slices"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// janitor is who purges, and where the pass has got to. Marks and tenants are a last step of their own, with no place in between:
// as long as some are left to delete it is taken again.
//
// Every id is in one of two heaps, so that a step costs as much as it looks at, the first one too: everybody waits for it. To sort
// the ids that are left in each step was the square of their number. To sort them once a pass keeps everybody waiting for the better
// part of a second where there are a million, and leaves what is stored above meanwhile to the next pass, while the port says
// that it is this one's.
type janitor struct {
	holder      string
	leaseUntil  time.Time
	after       domain.ID // zero at the beginning
	ahead       ids       // above it: what this pass still looks at
	behind      ids       // what only the next one does
	tokensDone  bool
	lastEndedAt time.Time
}

// Release implements port.Jobs.
func (s *Store) Release(ctx context.Context, job, holder string) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if j := &s.janitor; job == port.JobPurge && j.holder == holder {
		j.leaseUntil = time.Time{}
	}
	return nil
}

// Purge implements port.Janitor.
func (s *Store) Purge(ctx context.Context, step port.PurgeStep) (port.Purged, error) {
	if err := s.lock(ctx); err != nil {
		return port.Purged{}, err
	}
	defer s.mu.Unlock()
	step.Now, step.LeaseUntil = instant(step.Now), instant(step.LeaseUntil)
	step.EndedBefore, step.Before = instant(step.EndedBefore), instant(step.Before)
	j := &s.janitor
	underWay := j.tokensDone || !j.after.IsZero()
	leased := step.Now.Before(j.leaseUntil) && !j.leaseUntil.After(step.LeaseUntil.Add(step.MaxClockSkew))
	ended := j.lastEndedAt.After(step.EndedBefore) && !j.lastEndedAt.After(step.Now.Add(step.MaxClockSkew))
	if leased && j.holder != step.LeaseHolder || ended && !underWay && !step.EndedBefore.IsZero() {
		return port.Purged{}, domain.ErrConflict
	}
	j.holder, j.leaseUntil = step.LeaseHolder, step.LeaseUntil
	if !j.tokensDone {
		return s.purgeTokens(step), nil
	}
	done := s.purgeTraces(step)
	if done.Done = done.Marks+done.Tenants+done.Events < step.Limit; done.Done {
		*j = janitor{lastEndedAt: step.Now, ahead: j.behind, behind: j.ahead}
	}
	return done, nil
}

func (s *Store) purgeTokens(step port.PurgeStep) (done port.Purged) {
	j := &s.janitor
	j.tokensDone = len(j.ahead) < step.Limit
	deleted := make(map[domain.Scope][]domain.ID) // from low to high
	for done.LookedAt < step.Limit && len(j.ahead) > 0 {
		done.LookedAt++
		j.after = heap.Pop(&j.ahead).(domain.ID)
		t := s.tokens[j.after]
		if !s.wasDead(t, step.Before) {
			heap.Push(&j.behind, t.ID)
			continue
		}
		delete(s.tokens, t.ID)
		if delete(s.ofUser[owner(t)], t.ID); len(s.ofUser[owner(t)]) == 0 {
			delete(s.ofUser, owner(t))
		}
		for _, scope := range listed(t) {
			deleted[scope] = append(deleted[scope], t.ID)
		}
		if s.owned[t.TenantID]--; s.owned[t.TenantID] == 0 {
			delete(s.owned, t.TenantID)
		}
		done.Deleted++
	}
	for scope, ids := range deleted {
		s.unlist(scope, ids)
	}
	return done
}

// unlist takes ids, from low to high, out of a list. It moves what is above them once, not once for each.
func (s *Store) unlist(scope domain.Scope, ids []domain.ID) {
	all := s.ids[scope]
	if len(all) == len(ids) {
		delete(s.ids, scope)
		return
	}
	from, _ := slices.BinarySearchFunc(all, ids[0], compareIDs)
	to, _ := slices.BinarySearchFunc(all, ids[len(ids)-1], compareIDs)
	kept := slices.DeleteFunc(all[from:to+1], func(id domain.ID) bool {
		_, found := slices.BinarySearchFunc(ids, id, compareIDs)
		return found
	})
	s.ids[scope] = slices.Delete(all, from+len(kept), to+1)
}

// inserted tells of one more refresh token.
func (j *janitor) inserted(id domain.ID) {
	if j.tokensDone || bytes.Compare(id[:], j.after[:]) < 0 {
		heap.Push(&j.behind, id)
	} else {
		heap.Push(&j.ahead, id)
	}
}

// ids are a heap, the lowest on top.
type ids []domain.ID

func (h ids) Len() int           { return len(h) }
func (h ids) Less(a, b int) bool { return bytes.Compare(h[a][:], h[b][:]) < 0 }
func (h ids) Swap(a, b int)      { h[a], h[b] = h[b], h[a] }
func (h *ids) Push(id any)       { *h = append(*h, id.(domain.ID)) }

func (h *ids) Pop() any {
	last := len(*h) - 1
	id := (*h)[last]
	*h = (*h)[:last]
	return id
}

// wasDead tells whether t was dead at that instant. Who is dead stays dead.
func (s *Store) wasDead(t domain.RefreshToken, at time.Time) bool {
	if !t.RevokedAt.IsZero() && !t.RevokedAt.After(at) || !t.ExpiresAt.After(at) {
		return true
	}
	for _, m := range s.covering(t) {
		if m.Epoch > t.IssuedEpoch && !m.At.After(at) {
			return true
		}
	}
	return false
}

// purgeTraces deletes marks, then tenants that are left without refresh tokens, then events.
func (s *Store) purgeTraces(step port.PurgeStep) (done port.Purged) {
	over := func(tenantID string) bool {
		at, deleted := s.deleted[tenantID]
		return deleted && !at.After(step.Before) && s.owned[tenantID] == 0
	}
	for scope, m := range s.marks {
		if done.Marks == step.Limit {
			return done // there may be more of them, and tenants come after
		}
		if !m.KeepUntil.After(step.Before) || over(scope.TenantID) {
			delete(s.marks, scope)
			done.Marks++
		}
	}
	for id := range s.deleted {
		if done.Marks+done.Tenants == step.Limit {
			return done
		}
		if over(id) {
			delete(s.deleted, id)
			delete(s.epochs, id)
			delete(s.versions, id)
			delete(s.longest, id)
			done.Tenants++
		}
	}
	for len(s.events.ids) > 0 && compareIDs(s.events.ids[0], step.EventsBefore) < 0 {
		if done.Marks+done.Tenants+done.Events == step.Limit {
			return done
		}
		delete(s.events.byID, s.events.ids[0])
		s.events.ids = s.events.ids[1:]
		done.Events++
	}
	return done
}
