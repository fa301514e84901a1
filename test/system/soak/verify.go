package main

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/refreshd/refreshd/test/support/rig"
)

// checkPoint compares store and model while the load waits, and removes purged sessions from the model.
func (s *soak) checkPoint(ctx context.Context) error {
	c, err := s.compare(ctx, time.Now().Add(-pass))
	if err != nil {
		return err
	}
	s.note("compared: %d rows", c.rows)
	return nil
}

func (s *soak) compare(ctx context.Context, purged time.Time) (c comparison, err error) {
	for _, t := range s.crowd.tenants {
		t.Lock()
		defer t.Unlock()
	}
	var sessions []*session
	for _, t := range s.crowd.tenants {
		sessions = append(sessions, t.sessions()...)
	}
	at := time.Now()
	rows, err := s.store.rows(ctx, at)
	if err != nil {
		return c, err
	}
	c = compare(sessions, rows, at, purged)
	marks, err := s.store.marks(ctx)
	if err != nil {
		return c, err
	}
	c.compareMarks(s.crowd.tenants, marks)
	for _, t := range s.crowd.tenants {
		epoch, err := s.store.epoch(ctx, t.id)
		if err != nil {
			return c, err
		}
		c.compareEpoch(t, epoch)
	}
	for _, d := range c.differences {
		s.faults.add(wrongStore, "%s", d)
	}
	forget(c.gone)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.purged += len(c.gone)
	s.comparisons = append(s.comparisons, c)
	return c, nil
}

// forget removes purged sessions from the model.
func forget(gone []*session) {
	is := make(map[*session]bool, len(gone))
	users := map[*user]bool{}
	for _, s := range gone {
		is[s], users[s.user] = true, true
	}
	for u := range users {
		u.sessions = slices.DeleteFunc(u.sessions, func(s *session) bool { return is[s] })
	}
}

// verify compares the state after the load with the model: the rows of the store, every user's list, an exchange of
// every refresh token that is active or has ended and is not yet purged, and the rows again.
func (s *soak) verify(ctx context.Context) error {
	s.say("comparing the store and the model")
	s.after = s.services[0].Resources()
	if _, err := s.compare(ctx, time.Now().Add(-pass)); err != nil {
		return err
	}
	var users []*user
	for _, t := range s.crowd.tenants {
		users = append(users, t.users...)
	}
	var listed, exchanged, stale atomic.Int64
	var next atomic.Int64
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= len(users) {
					return
				}
				if err := s.verifyUser(ctx, users[i], &listed, &exchanged, &stale); err != nil {
					cancel(err)
				}
			}
		})
	}
	group.Wait()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	s.listed, s.exchanged, s.stale = int(listed.Load()), int(exchanged.Load()), int(stale.Load())
	_, err := s.compare(ctx, time.Now().Add(-pass))
	return err
}

func (s *soak) verifyUser(ctx context.Context, u *user, listed, exchanged, stale *atomic.Int64) error {
	u.Lock()
	defer u.Unlock()
	if len(u.sessions) == 0 {
		return nil // it never arrived
	}
	if err := s.crowd.list(ctx, u, scope{tenant: u.tenant.id, user: u.id}); err != nil {
		return err
	}
	listed.Add(1)
	for _, session := range u.sessions {
		now := time.Now()
		if session.state(span{now, now}) != dead {
			exchanged.Add(1)
		} else {
			stale.Add(1)
		}
		if err := s.crowd.exchange(ctx, session, nil); err != nil {
			return err
		}
	}
	return nil
}

// end stops the services, and compares what remains after a last purge.
func (s *soak) end(ctx context.Context) error {
	for i, service := range s.services {
		s.services[i] = nil
		s.crowd.client.http.CloseIdleConnections()
		if err := service.Stop(); err != nil {
			return err
		}
		s.readLog(service)
	}
	s.say("purging")
	// The first pass may be the rest of one that a process began, and leave what expired since then: the second is whole.
	for begin, passes := time.Now(), 0; ; {
		purged := time.Now()
		out, err := s.program.Run(ctx, s.settings[0], "purge")
		if err == nil {
			if passes++; passes < 2 {
				continue
			}
			_, err = s.compare(ctx, purged)
			return err
		}
		// A process that was killed during a pass keeps its lease for half a minute; the rest is for a busy machine.
		leased := strings.Contains(out, "another process is purging")
		if !leased || time.Since(begin) > 3*time.Minute || ctx.Err() != nil {
			return err
		}
		_ = rig.Sleep(ctx, time.Second)
	}
}
