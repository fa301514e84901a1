package memstore

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// janitor is who purges, and where the pass has got to. Marks and tenants are a last step of their own, with no place in between:
// as long as some are left to delete it is taken again.
type janitor struct {
	holder      string
	leaseUntil  time.Time
	after       domain.ID
	tokensDone  bool
	lastEndedAt time.Time
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
	leased := step.Now.Before(j.leaseUntil) && !j.leaseUntil.After(step.LeaseUntil.Add(step.MayDiffer))
	ended := j.lastEndedAt.After(step.EndedBefore) && !j.lastEndedAt.After(step.Now.Add(step.MayDiffer))
	if leased && j.holder != step.Holder || ended && !underWay && !step.EndedBefore.IsZero() {
		return port.Purged{}, domain.ErrConflict
	}
	j.holder, j.leaseUntil = step.Holder, step.LeaseUntil
	if !j.tokensDone {
		return s.purgeTokens(step), nil
	}
	done := s.purgeTraces(step)
	if done.Done = done.Marks+done.Tenants < step.Limit; done.Done {
		*j = janitor{lastEndedAt: step.Now}
	}
	return done, nil
}

func (s *Store) purgeTokens(step port.PurgeStep) (done port.Purged) {
	next := slices.SortedFunc(func(yield func(domain.ID) bool) {
		for id := range s.tokens {
			if bytes.Compare(id[:], s.janitor.after[:]) > 0 && !yield(id) {
				return
			}
		}
	}, func(a, b domain.ID) int { return bytes.Compare(a[:], b[:]) })
	s.janitor.tokensDone = len(next) < step.Limit
	for _, id := range next[:min(len(next), step.Limit)] {
		done.LookedAt++
		s.janitor.after = id
		if s.wasDead(s.tokens[id], step.Before) {
			delete(s.tokens, id)
			done.Deleted++
		}
	}
	return done
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

// purgeTraces deletes marks, and tenants that are left without refresh tokens, each after its marks.
func (s *Store) purgeTraces(step port.PurgeStep) (done port.Purged) {
	purgeMarks := func(is func(domain.Mark) bool) {
		for scope, m := range s.marks {
			if done.Marks+done.Tenants < step.Limit && is(m) {
				delete(s.marks, scope)
				done.Marks++
			}
		}
	}
	purgeMarks(func(m domain.Mark) bool { return !m.KeepUntil.After(step.Before) })
	owners := make(map[string]bool)
	for t := range maps.Values(s.tokens) {
		owners[t.TenantID] = true
	}
	for id, at := range s.deleted {
		if at.After(step.Before) || owners[id] {
			continue
		}
		purgeMarks(func(m domain.Mark) bool { return m.Scope.TenantID == id })
		if done.Marks+done.Tenants < step.Limit {
			delete(s.deleted, id)
			delete(s.epochs, id)
			delete(s.longest, id)
			done.Tenants++
		}
	}
	return done
}
