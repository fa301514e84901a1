package main

import (
	"fmt"
	"time"
)

// comparison is the result of comparing store and model at one instant.
type comparison struct {
	at                   time.Time
	sessions, rows       int // in the model, and in the store
	modelLive, storeLive int
	undecided            int // that ended about that instant, or that may have been revoked
	generations          int // of active ones that were compared
	modelMarks, marks    int
	differences          []string
	gone                 []*session // purged
}

// differ adds a difference. The report shows some.
func (c *comparison) differ(format string, args ...any) {
	c.differences = append(c.differences, fmt.Sprintf(format, args...))
}

// compare compares every row with the model, and every session of the model with the rows. There is no load meanwhile.
// at is the instant for which the rows say whether they are active. purged is when the last purge began, or zero: what
// it had to delete must not be stored.
func compare(sessions []*session, rows []row, at, purged time.Time) (c comparison) {
	c.at, c.rows = at, len(rows)
	stored := make(map[string]row, len(rows))
	for _, r := range rows {
		stored[r.id] = r
		if r.alive {
			c.storeLive++
		}
	}
	now := span{at, at}
	for _, s := range sessions {
		r, in := stored[s.id]
		delete(stored, s.id)
		state := s.state(now)
		mayBeGone := s.mayBeGone(at)
		switch state {
		case alive:
			c.modelLive++
		case either:
			c.undecided++
		}
		if in || !mayBeGone {
			c.sessions++
		}
		switch {
		case !in && !mayBeGone:
			c.differ("%s of %s/%s is not stored", s.id, s.user.id, s.application.id)
		case !in:
			c.gone = append(c.gone, s)
		case !purged.IsZero() && s.isOld(purged):
			c.differ("%s expired before %s and is not purged", s.id, s.expires.to.UTC().Format(time.TimeOnly))
		case r.tenant != s.user.tenant.id || r.application != s.application.id || r.user != s.user.id:
			c.differ("%s is stored as %s/%s/%s", s.id, r.tenant, r.application, r.user)
		case r.alive && state == dead:
			c.differ("%s is active in the store and has ended in the model", s.id)
		case !r.alive && state == alive:
			c.differ("%s has ended in the store and is active in the model", s.id)
		case state == alive && r.generation != s.current().generation:
			c.differ("%s is at generation %d, its user was given %d", s.id, r.generation, s.current().generation)
		case state == alive:
			c.generations++
		}
	}
	for id := range stored {
		c.differ("%s is stored and was not issued", id)
	}
	return c
}

// compareMarks compares the marks of all tenants with the model.
func (c *comparison) compareMarks(tenants []*tenant, marks []scope) {
	c.marks = len(marks)
	stored := map[scope]bool{}
	for _, m := range marks {
		stored[m] = true
	}
	for _, t := range tenants {
		c.modelMarks += len(t.marks)
		for m := range t.marks {
			if !stored[m] {
				c.differ("the mark of %s is not stored", m)
			}
			delete(stored, m)
		}
	}
	for m := range stored {
		c.differ("a mark of %s is stored without a revocation", m)
	}
}

// compareEpoch compares a tenant's epoch with the number of its revocations. A repeated revocation may have counted
// each time.
func (c *comparison) compareEpoch(t *tenant, epoch uint64) {
	if epoch < t.epoch || epoch > t.epoch+t.repeats {
		c.differ("%s is at epoch %d, and had %d revocations and %d that were sent again", t.id, epoch, t.epoch, t.repeats)
	}
}
