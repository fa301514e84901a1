package main

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// restartFacts is how many revoked sessions matter in a storm of a thousand revocations a second.
const restartFacts = 1_200_000

// restartMinutes is how long ago the first of them was revoked. A revocation of 20 minutes ago does not matter.
const restartMinutes = 15

// reachRestartPart restarts a resource server with its state file.
func reachRestartPart(ctx context.Context, b *bench) error {
	b.report.section("Restart of a resource server")
	how := b.withFeed()
	k, err := b.newBulk(ctx, how, never)
	if err != nil {
		return err
	}
	// The session is revoked and has its position before it is copied, so its copies are revoked too.
	if _, err := how.briefly(ctx, k.dsn, func(s *service) error {
		a, err := call(ctx, http.MethodDelete, s.API, "/jwt/refresh/"+k.prototype.String(), "")
		if err != nil || a.Status != http.StatusOK {
			return fmt.Errorf("revoke: %w: %s", err, a)
		}
		return k.stamped(ctx)
	}); err != nil {
		return err
	}
	// They were revoked one minute after another, because a stream that is resumed repeats the last two minutes.
	for i := range restartMinutes {
		age := time.Duration(restartMinutes-1-i)*time.Minute + 30*time.Second
		if err := b.grow(ctx, k, restartFacts*(i+1)/restartMinutes, age); err != nil {
			return err
		}
	}
	services, addresses, err := b.replicas(ctx, 1, k.dsn)
	if err != nil {
		return err
	}
	grants, err := issueAll(ctx, services, 1)
	if err != nil {
		return err
	}
	setup := serverSetup{StateFile: filepath.Join(b.dir, "view"), MaxAge: time.Minute, Poll: time.Millisecond}
	live := watch{ID: 0, Token: string(grants[0].accessToken), Until: becauseAccepted}
	dead := watch{ID: 1, Token: string(grants[0].accessToken), Until: becauseRevoked}
	first, _, err := b.restarted(ctx, addresses, setup, live)
	if err != nil {
		return err
	}
	var took []time.Duration
	early := first.Early
	for range max(3, b.plan.rounds) {
		s, t, err := b.restarted(ctx, addresses, setup, live)
		if err != nil {
			return err
		}
		took, early = append(took, t), early+s.Early
	}
	// A session that is revoked while the server is down is never accepted by it.
	if a, err := call(ctx, http.MethodDelete, services[0].API, "/jwt/refresh/"+string(grants[0].id), ""); err != nil ||
		a.Status != http.StatusOK {
		return fmt.Errorf("revoke: %w: %s", err, a)
	}
	s, _, err := b.restarted(ctx, addresses, setup, dead)
	if err != nil {
		return err
	}
	slices.Sort(took)
	b.report.say("With a state file of %d revoked sessions, the first request was accepted %s ms after the start of the "+
		"process, in the median of %d restarts (from %s to %s ms). %d acceptances were before the first frame `fresh`; the "+
		"token of a session that was revoked meanwhile was accepted %d times.", restartFacts, ms(took[len(took)/2]),
		len(took), ms(took[0]), ms(took[len(took)-1]), early, s.Acceptances)
	b.report.figure("reach restart", took[len(took)/2].Seconds()*1e3)
	b.report.figure("reach restart early", float64(early+s.Acceptances))
	return nil
}

// restarted starts a resource server, has it watch a token from the begin, and ends it.
func (b *bench) restarted(
	ctx context.Context, addresses []string, setup serverSetup, w watch,
) (s sighting, took time.Duration, err error) {
	b.progress("reach: starting a resource server with %d revoked sessions", restartFacts)
	f := &fleet{servers: 1, checks: 1, sightings: make(chan sighting, 16)}
	b.later(f.stop)
	setup.Addresses = addresses
	begin := time.Now()
	if err := f.start(setup); err != nil {
		return s, 0, err
	}
	if err := f.watch(w); err != nil {
		return s, 0, err
	}
	for {
		if s, err = f.next(ctx, time.Minute); err != nil {
			return s, 0, err
		}
		if s.Ready == 0 {
			break
		}
	}
	if s.Reason != w.Until {
		return s, 0, fmt.Errorf("the end of the check of a token is %q, want %q", s.Reason, w.Until)
	}
	took = time.Duration(s.Last - begin.UnixNano())
	_, err = f.end()
	return s, took, err
}

// stamped returns when every revoked session of the database has a position.
func (k *bulk) stamped(ctx context.Context) error {
	return withConnection(ctx, k.dsn, func(c *pgx.Conn) error {
		for {
			var left int
			if err := c.QueryRow(ctx, `SELECT count(*) FROM refresh_tokens WHERE revoked_at <> 0 AND feed = 0`).
				Scan(&left); err != nil || left == 0 {
				return err
			}
			if err := sleepUntil(ctx, time.Now().Add(50*time.Millisecond)); err != nil {
				return err
			}
		}
	})
}
