package memstore

import (
	"bytes"
	"container/heap"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// janitor is the lease and the position of a pass. Marks, tenants, events and keys of Once are its last step, which has
// no position: it repeats while there is something to delete.
//
// Every id is in one of two heaps, so the cost of a step depends only on the ids that it visits. That includes the
// first step, during which all other calls wait. Sorting the remaining ids in each step was quadratic in their number.
// Sorting them once a pass blocks all calls for the better part of a second with a million ids. It also leaves refresh
// tokens that are stored above the position to the next pass, while the port promises them to this one.
type janitor struct {
	holder      string
	leaseUntil  time.Time
	after       domain.ID // zero at the beginning
	ahead       ids       // those above it, which this pass still visits
	behind      ids       // those that the next pass visits
	tokensDone  bool
	lastEndedAt time.Time
	began       time.Time // of the pass
	noted       time.Time // the smallest rotation instant that the pass has noted
	lastBeganAt time.Time // of the last complete pass, as oldest
	oldest      time.Time
}

var errRepeated = errors.New("memstore: a step of the janitor has the event of an earlier one")

// Release implements port.Jobs.
func (s *Store) Release(ctx context.Context, job, holder string) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if j := &s.janitor; job == port.JobPurge && j.holder == holder {
		j.leaseUntil = time.Time{}
	}
	if s.leases[job].holder == holder {
		delete(s.leases, job)
	}
	return nil
}

// lease is the lease of a job other than the janitor's.
type lease struct {
	holder string
	until  time.Time
}

// Lease implements port.Jobs.
func (s *Store) Lease(ctx context.Context, l port.JobLease) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	now, until := instant(l.Now), instant(l.Until)
	have := s.leases[l.Job]
	if have.holder != l.Holder && have.until.After(now) && !have.until.After(until.Add(l.MaxClockSkew)) {
		return domain.ErrConflict
	}
	s.leases[l.Job] = lease{l.Holder, until}
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
	step.OnceBefore = instant(step.OnceBefore)
	j := &s.janitor
	running := j.tokensDone || !j.after.IsZero()
	leased := step.Now.Before(j.leaseUntil) && !j.leaseUntil.After(step.LeaseUntil.Add(step.MaxClockSkew))
	ended := j.lastEndedAt.After(step.EndedBefore) && !j.lastEndedAt.After(step.Now.Add(step.MaxClockSkew))
	if leased && j.holder != step.LeaseHolder || ended && !running && !step.EndedBefore.IsZero() {
		return port.Purged{}, domain.ErrConflict
	}
	if _, ok := s.events.stored(step.Event); ok && len(step.Ended) > 0 {
		return port.Purged{}, errRepeated
	}
	j.holder, j.leaseUntil = step.LeaseHolder, step.LeaseUntil
	if !running {
		j.began = step.Now
	}
	if !j.tokensDone {
		return s.purgeTokens(step), nil
	}
	done := s.purgeTraces(step)
	if done.Done = done.Marks+done.Tenants+done.Events+done.OnceKeys < step.Limit; done.Done {
		*j = janitor{
			lastEndedAt: step.Now, ahead: j.behind, behind: j.ahead, lastBeganAt: j.began, oldest: j.noted,
		}
	}
	return done, nil
}

func (s *Store) purgeTokens(step port.PurgeStep) (done port.Purged) {
	j := &s.janitor
	j.tokensDone = len(j.ahead) < step.Limit
	deleted := make(map[domain.Scope][]domain.ID) // ascending
	var revoked []domain.RefreshToken
	for done.LookedAt < step.Limit && len(j.ahead) > 0 {
		done.LookedAt++
		j.after = heap.Pop(&j.ahead).(domain.ID)
		t := s.tokens[j.after]
		switch active := s.alive(t, step.Before); {
		case active && slices.ContainsFunc(step.Ended, func(r port.RotationRange) bool { return r.Holds(t.RotatedAt) }):
			s.revoke(t, port.Revocation{At: step.Now, Reason: domain.RevokedWithKey})
			revoked = append(revoked, t)
			t = s.tokens[t.ID]
		case active && (j.noted.IsZero() || t.RotatedAt.Before(j.noted)):
			j.noted = t.RotatedAt
		}
		if !s.hadEnded(t, step.Before) {
			heap.Push(&j.behind, t.ID)
			continue
		}
		delete(s.tokens, t.ID)
		s.reach.remove(factKey{session: t.ID})
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
	if done.Revoked = len(revoked); done.Revoked > 0 {
		s.events.add(step.Event, 0, revoked...)
	}
	return done
}

// unlist removes ids, in ascending order, from a list. It moves the ids above them once, not once for each.
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

// inserted records a new refresh token.
func (j *janitor) inserted(id domain.ID) {
	if j.tokensDone || bytes.Compare(id[:], j.after[:]) < 0 {
		heap.Push(&j.behind, id)
	} else {
		heap.Push(&j.ahead, id)
	}
}

// ids is a heap with the lowest id on top.
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

// hadEnded reports whether t had expired at that instant, or was revoked and its fact, if it has one, is out of use.
// All of that is final.
func (s *Store) hadEnded(t domain.RefreshToken, at time.Time) bool {
	if !t.ExpiresAt.After(at) {
		return true
	}
	if !t.RevokedAt.IsZero() {
		return !t.RevokedAt.After(at) && s.outOfUse(factKey{session: t.ID}, t.TenantID, at)
	}
	for _, m := range s.covering(t) {
		if m.Epoch > t.IssuedEpoch && !m.At.After(at) {
			return true
		}
	}
	return false
}

// purgeTraces deletes marks, then deleted tenants without refresh tokens, then events, then keys of Once.
func (s *Store) purgeTraces(step port.PurgeStep) (done port.Purged) {
	deletable := func(tenantID string) bool {
		at, deleted := s.deleted[tenantID]
		return deleted && !at.After(step.Before) && s.owned[tenantID] == 0
	}
	marked := make(map[string]bool)
	for scope, m := range s.marks {
		if done.Marks == step.Limit {
			return done // there may be more marks, and tenants come after them
		}
		if (!m.KeepUntil.After(step.Before) || deletable(scope.TenantID)) &&
			s.outOfUse(factKey{mark: scope}, scope.TenantID, step.Before) {
			delete(s.marks, scope)
			s.reach.remove(factKey{mark: scope})
			done.Marks++
		} else {
			marked[scope.TenantID] = true
		}
	}
	for id := range s.deleted {
		if done.Marks+done.Tenants == step.Limit {
			return done
		}
		if deletable(id) && !marked[id] {
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
	done.OnceKeys = s.used.purge(step.OnceBefore, step.Limit-done.Marks-done.Tenants-done.Events)
	return done
}

// OldestRotation implements port.KeyChanges.
func (s *Store) OldestRotation(ctx context.Context) (began, oldest time.Time, err error) {
	if err := s.lock(ctx); err != nil {
		return time.Time{}, time.Time{}, err
	}
	defer s.mu.Unlock()
	return s.janitor.lastBeganAt, s.janitor.oldest, nil
}
