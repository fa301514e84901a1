package storagetest

import (
	"context"
	"errors"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

var eventPurgeMutants = []mutant{
	{
		clause: purgeEvents,
		fault:  "a pass keeps all events",
		inject: func(f *faulty) { f.purgesAs(func(s *port.PurgeStep) { s.EventsBefore = domain.ID{} }) },
	},
	{
		clause: purgeEvents,
		fault:  "a pass deletes the event of the very id",
		inject: func(f *faulty) {
			f.purgesAs(func(s *port.PurgeStep) {
				if !s.EventsBefore.IsZero() {
					s.EventsBefore[15]++
				}
			})
		},
	},
	{
		clause: releaseFrees,
		fault:  "a lease that is released runs on",
		inject: func(f *faulty) { f.release = func(context.Context, string, string) error { return nil } },
	},
	{
		clause: releaseFrees,
		fault:  "a released job begins again",
		inject: func(f *faulty) {
			f.release = func(ctx context.Context, _, holder string) error {
				for { // until the end of the pass
					p, err := f.within.Purge(ctx, stepOf(holder, t0, time.Time{}, 1))
					if err != nil || p.Done {
						return err
					}
				}
			}
		},
	},
	{
		clause: leaseExcludes,
		fault:  "a lease excludes nobody",
		inject: func(f *faulty) {
			f.lease = func(ctx context.Context, l port.JobLease) error {
				if err := f.within.Lease(ctx, l); !errors.Is(err, domain.ErrConflict) {
					return err
				}
				return nil
			}
		},
	},
	{
		clause: leaseExcludes,
		fault:  "a lease that is too long is not void",
		inject: func(f *faulty) {
			f.lease = func(ctx context.Context, l port.JobLease) error {
				l.MaxClockSkew = 365 * 24 * time.Hour
				return f.within.Lease(ctx, l)
			}
		},
	},
	{
		clause: releaseOthers,
		fault:  "anybody releases a lease",
		inject: func(f *faulty) {
			f.release = func(ctx context.Context, job, _ string) error { return f.within.Release(ctx, job, "one") }
		},
	},
	{
		clause: releaseOthers,
		fault:  "the lease of any job is released",
		inject: func(f *faulty) {
			f.release = func(ctx context.Context, _, holder string) error {
				return f.within.Release(ctx, port.JobPurge, holder)
			}
		},
	},
}

// purgesAs makes Purge run another step.
func (f *faulty) purgesAs(alter func(*port.PurgeStep)) {
	f.purge = func(ctx context.Context, s port.PurgeStep) (port.Purged, error) {
		alter(&s)
		return f.within.Purge(ctx, s)
	}
}

// purgeSpares makes Purge keep what it should delete: reads still find it.
func (f *faulty) purgeSpares(spare func(domain.Snapshot) bool) {
	of := f.inserted()
	left := make(map[domain.ID]domain.Snapshot)
	f.purge = func(ctx context.Context, s port.PurgeStep) (port.Purged, error) {
		before := make(map[domain.ID]domain.Snapshot)
		for _, tenant := range []string{"acme", "other"} {
			for _, id := range of(domain.Scope{TenantID: tenant}) {
				if shot, err := f.within.Snapshot(ctx, id); err == nil {
					before[id] = shot
				}
			}
		}
		p, err := f.within.Purge(ctx, s)
		for id, shot := range before {
			if _, gone := f.within.Snapshot(ctx, id); gone != nil && spare(shot) {
				left[id] = shot
				p.Deleted--
			}
		}
		return p, err
	}
	f.snapshot = func(ctx context.Context, id domain.ID) (domain.Snapshot, error) {
		if shot, ok := left[id]; ok {
			return shot, nil
		}
		return f.within.Snapshot(ctx, id)
	}
}

// purgeTakes makes Purge delete more than it should, once a pass has begun.
func (f *faulty) purgeTakes(take func(domain.Snapshot) bool) {
	begun := false
	f.purge = func(ctx context.Context, s port.PurgeStep) (port.Purged, error) {
		begun = true
		return f.within.Purge(ctx, s)
	}
	f.snapshot = func(ctx context.Context, id domain.ID) (domain.Snapshot, error) {
		shot, err := f.within.Snapshot(ctx, id)
		if err == nil && begun && take(shot) {
			return domain.Snapshot{}, domain.ErrNotFound
		}
		return shot, err
	}
}

var purgeMutants = []mutant{
	{
		clause: "Janitor/Purge/continues at its position, whichever process takes the next step",
		fault:  "each holder begins a pass of its own",
		inject: func(f *faulty) {
			holder := ""
			f.purge = func(ctx context.Context, s port.PurgeStep) (port.Purged, error) {
				for p := (port.Purged{}); holder != "" && holder != s.LeaseHolder && !p.Done; {
					end := s
					end.Before = time.Time{}
					var err error
					if p, err = f.within.Purge(ctx, end); err != nil {
						return port.Purged{}, err
					}
				}
				holder = s.LeaseHolder
				return f.within.Purge(ctx, s)
			}
		},
	},
	{
		clause: "Janitor/Purge/continues at its position, whichever process takes the next step",
		fault:  "where a pass has got to is stored without what it deletes",
		inject: func(f *faulty) {
			n := 0
			f.purgesAs(func(s *port.PurgeStep) {
				if n++; n == 4 {
					s.Before = time.Time{}
				}
			})
		},
	},
	{
		clause: "Janitor/Purge/is a conflict while the lease is another's, and does nothing",
		fault:  "the holder of the lease is not compared",
		inject: func(f *faulty) {
			f.purgesAs(func(s *port.PurgeStep) { s.LeaseHolder = "one" })
		},
	},
	{
		clause: "Janitor/Purge/is a conflict while the lease is another's, and does nothing",
		fault:  "a lease has no end",
		inject: func(f *faulty) {
			f.purgesAs(func(s *port.PurgeStep) { s.LeaseUntil = s.LeaseUntil.Add(1e6 * time.Hour) })
		},
	},
	{
		clause: "Janitor/Purge/is a conflict while the lease is another's, and does nothing",
		fault:  "a lease is not renewed",
		inject: func(f *faulty) {
			f.purgesAs(func(s *port.PurgeStep) { s.LeaseUntil = t0.Add(lease) })
		},
	},
	{
		clause: "Janitor/Purge/is a conflict while the lease is another's, and does nothing",
		fault:  "a lease ends a microsecond too early",
		inject: func(f *faulty) {
			f.purgesAs(func(s *port.PurgeStep) { s.LeaseUntil = s.LeaseUntil.Add(-tick) })
		},
	},
	{
		clause: "Janitor/Purge/of many concurrent calls exactly one has the lease",
		fault:  "a lease is looked for first and taken later",
		inject: func(f *faulty) {
			f.purgesAs(func(s *port.PurgeStep) { s.LeaseHolder = "one" })
		},
	},
	{
		clause: "Janitor/Purge/is refused, and does nothing, if the store has a clock and it says otherwise",
		fault:  "the clocks are compared when the step is done",
		inject: func(f *faulty) {
			f.purge = func(ctx context.Context, s port.PurgeStep) (port.Purged, error) {
				p, err := f.within.Purge(ctx, s)
				if fault := domain.CheckClocks(s.Now, today(), s.MaxClockSkew); fault != nil {
					return port.Purged{}, fault
				}
				return p, err
			}
		},
	},
	{
		clause: "Janitor/Purge/is refused, and does nothing, if the store has a clock and it says otherwise",
		fault:  "that a clock is ahead is told as a conflict",
		inject: func(f *faulty) {
			f.purge = func(ctx context.Context, s port.PurgeStep) (port.Purged, error) {
				if s.Now.After(today().Add(s.MaxClockSkew)) {
					return port.Purged{}, domain.ErrConflict
				}
				return f.within.Purge(ctx, s)
			}
		},
	},
	{
		clause: "Janitor/Purge/is not refused for a difference that there may be",
		fault:  "clocks may not differ at all",
		inject: func(f *faulty) {
			f.purge = func(ctx context.Context, s port.PurgeStep) (port.Purged, error) {
				if err := domain.CheckClocks(s.Now, today(), 0); err != nil {
					return port.Purged{}, err
				}
				return f.within.Purge(ctx, s)
			}
		},
	},
	{
		clause: "Janitor/Purge/frees the lease at the end of a pass",
		fault:  "the lease outlives the pass",
		inject: func(f *faulty) {
			var (
				holder string
				until  time.Time
			)
			f.purge = func(ctx context.Context, s port.PurgeStep) (port.Purged, error) {
				if holder != s.LeaseHolder && s.Now.Before(until) {
					return port.Purged{}, domain.ErrConflict
				}
				holder, until = s.LeaseHolder, s.LeaseUntil
				return f.within.Purge(ctx, s)
			}
		},
	},
	{
		clause: "Janitor/Purge/begins no pass where the last one ended too late, and ends every one that began",
		fault:  "a pass begins at any time",
		inject: func(f *faulty) {
			f.purgesAs(func(s *port.PurgeStep) { s.EndedBefore = time.Time{} })
		},
	},
	{
		clause: "Janitor/Purge/begins no pass where the last one ended too late, and ends every one that began",
		fault:  "a pass that was cut off waits as long as a new one",
		inject: func(f *faulty) {
			var ended time.Time
			f.purge = func(ctx context.Context, s port.PurgeStep) (port.Purged, error) {
				if !s.EndedBefore.IsZero() && ended.After(s.EndedBefore) {
					return port.Purged{}, domain.ErrConflict
				}
				p, err := f.within.Purge(ctx, s)
				if p.Done {
					ended = s.Now
				}
				return p, err
			}
		},
	},
	{
		clause: "Janitor/Purge/takes a lease that ends further ahead than clocks differ for void",
		fault:  "a lease counts, however far ahead it ends",
		inject: func(f *faulty) {
			var (
				holder string
				until  time.Time
			)
			f.purge = func(ctx context.Context, s port.PurgeStep) (port.Purged, error) {
				if holder != s.LeaseHolder && s.Now.Before(until) {
					return port.Purged{}, domain.ErrConflict
				}
				holder, until = s.LeaseHolder, s.LeaseUntil
				return f.within.Purge(ctx, s)
			}
		},
	},
	{
		clause: "Janitor/Purge/takes a lease that ends further ahead than clocks differ for void",
		fault:  "a lease is void as soon as it ends later than one's own would",
		inject: func(f *faulty) {
			f.purgesAs(func(s *port.PurgeStep) { s.MaxClockSkew = 0 })
		},
	},
	{
		clause: "Janitor/Purge/takes a lease that ends further ahead than clocks differ for void",
		fault:  "a void lease stays void",
		inject: func(f *faulty) {
			f.purgesAs(func(s *port.PurgeStep) {
				if s.LeaseHolder != "ahead" {
					s.LeaseUntil = s.Now
				}
			})
		},
	},
	{
		clause: "Janitor/Purge/takes a pass that ended further ahead than clocks differ for none",
		fault:  "an end counts, however far ahead it lies",
		inject: func(f *faulty) {
			f.purgesAs(func(s *port.PurgeStep) { s.MaxClockSkew = century })
		},
	},
	{
		clause: "Janitor/Purge/takes a pass that ended further ahead than clocks differ for none",
		fault:  "an end is void as soon as it lies ahead",
		inject: func(f *faulty) {
			f.purgesAs(func(s *port.PurgeStep) { s.MaxClockSkew = 0 })
		},
	},
	{
		clause: "Janitor/Purge/looks at every refresh token, by id, at no more than the limit in a step",
		fault:  "a step has no limit",
		inject: func(f *faulty) {
			f.purgesAs(func(s *port.PurgeStep) { s.Limit = 1000 })
		},
	},
	{
		clause: "Janitor/Purge/looks at every refresh token, by id, at no more than the limit in a step",
		fault:  "only what is deleted counts as looked at",
		inject: func(f *faulty) {
			f.purge = func(ctx context.Context, s port.PurgeStep) (port.Purged, error) {
				p, err := f.within.Purge(ctx, s)
				p.LookedAt = p.Deleted
				return p, err
			}
		},
	},
	{
		clause: "Janitor/Purge/deletes what had ended, to the microsecond",
		fault:  "ended refresh tokens are deleted a microsecond too early",
		inject: func(f *faulty) {
			f.purgesAs(func(s *port.PurgeStep) { s.Before = s.Before.Add(tick) })
		},
	},
	{
		clause: "Janitor/Purge/deletes what had ended, to the microsecond",
		fault:  "ended refresh tokens are deleted a microsecond too late",
		inject: func(f *faulty) {
			f.purgesAs(func(s *port.PurgeStep) { s.Before = s.Before.Add(-tick) })
		},
	},
	{
		clause: "Janitor/Purge/deletes what had ended, to the microsecond",
		fault:  "Purge forgot marks",
		inject: func(f *faulty) {
			f.purgeSpares(func(s domain.Snapshot) bool { return s.MarkEpoch > s.Token.IssuedEpoch })
		},
	},
	{
		clause: "Janitor/Purge/deletes what had ended, to the microsecond",
		fault:  "Purge forgot that a token may be revoked itself",
		inject: func(f *faulty) {
			f.purgeSpares(func(s domain.Snapshot) bool { return !s.Token.RevokedAt.IsZero() })
		},
	},
	{
		clause: "Janitor/Purge/deletes what had ended, to the microsecond",
		fault:  "Purge forgot expiry",
		inject: func(f *faulty) {
			f.purgeSpares(func(s domain.Snapshot) bool { return !t0.Add(time.Hour).Before(s.Token.ExpiresAt) })
		},
	},
	{
		clause: "Janitor/Purge/deletes what had ended, to the microsecond",
		fault:  "refresh tokens of a deleted application are deleted immediately",
		inject: func(f *faulty) {
			f.purgeTakes(func(s domain.Snapshot) bool { return s.Deleted })
		},
	},
	{
		clause: "Janitor/Purge/takes a mark that was raised since for written then",
		fault:  "a mark that is raised keeps its instant",
		inject: func(f *faulty) {
			f.revokeScope = func(
				ctx context.Context, s domain.Scope, except domain.ID, r port.Revocation, e domain.Event,
			) (uint64, error) {
				return f.within.RevokeScope(ctx, s, except, byRequest(t0), e)
			}
		},
	},
	{
		clause: "Janitor/Purge/does not change active refresh tokens",
		fault:  "refresh tokens of inactive applications are purged",
		inject: func(f *faulty) {
			f.purgeTakes(func(s domain.Snapshot) bool { return !s.Policy.Active })
		},
	},
	{
		clause: "Janitor/Purge/does not change active refresh tokens",
		fault:  "what a mark's scope covers is purged, whatever its epoch",
		inject: func(f *faulty) {
			f.purgeTakes(func(s domain.Snapshot) bool { return s.MarkEpoch > 0 })
		},
	},
	{
		clause: "Janitor/Purge/does not change active refresh tokens",
		fault:  "what is looked at is marked as such",
		inject: func(f *faulty) {
			purged := false
			f.purge = func(ctx context.Context, s port.PurgeStep) (port.Purged, error) {
				purged = true
				return f.within.Purge(ctx, s)
			}
			f.onRead(func(t *domain.RefreshToken) {
				if purged {
					t.LastUsedAt = t0.Add(tick)
				}
			})
		},
	},
	{
		clause: "Janitor/Purge/makes ended refresh tokens unknown, and their ids free",
		fault:  "ended refresh tokens are hidden, and keep their ids",
		inject: func(f *faulty) {
			ever := make(map[domain.ID]bool)
			f.insert = func(ctx context.Context, t domain.RefreshToken) (domain.RefreshToken, error) {
				if ever[t.ID] {
					return domain.RefreshToken{}, domain.ErrDuplicate
				}
				ever[t.ID] = true
				return f.within.Insert(ctx, t)
			}
		},
	},
	{
		clause: "Janitor/Purge/beside exchanges deletes every ended and no active refresh token",
		fault:  "a refresh token that was just exchanged is taken for what it was before",
		inject: func(f *faulty) {
			f.purgesAs(func(s *port.PurgeStep) { s.Before = s.Before.Add(48 * time.Hour) })
		},
	},
	{
		clause: "Janitor/Purge/beside exchanges deletes every ended and no active refresh token",
		fault:  "a refresh token that is skipped once is always skipped",
		inject: func(f *faulty) {
			f.purgesAs(func(s *port.PurgeStep) { s.Before = time.Time{} })
		},
	},
	{
		clause: "Janitor/Purge/deletes a mark from the instant until which it is kept, a few in a step",
		fault:  "marks are never deleted",
		inject: func(f *faulty) {
			f.purge = func(ctx context.Context, s port.PurgeStep) (port.Purged, error) {
				p, err := f.within.Purge(ctx, s)
				p.Marks = 0
				return p, err
			}
		},
	},
	{
		clause: "Janitor/Purge/deletes a mark from the instant until which it is kept, a few in a step",
		fault:  "a mark is deleted with the last refresh token that it covers",
		inject: func(f *faulty) {
			f.purgesAs(func(s *port.PurgeStep) { s.Before = s.Before.Add(domain.DefaultPolicy().TTL) })
		},
	},
	{
		clause: "Janitor/Purge/deletes a mark from the instant until which it is kept, a few in a step",
		fault:  "all marks go in one step",
		inject: func(f *faulty) {
			f.purgesAs(func(s *port.PurgeStep) { s.Limit = 1000 })
		},
	},
	{
		clause: "Janitor/Purge/deletes a mark from the instant until which it is kept, a few in a step",
		fault:  "an epoch goes with its mark",
		inject: func(f *faulty) {
			purged := false
			f.purge = func(ctx context.Context, s port.PurgeStep) (port.Purged, error) {
				p, err := f.within.Purge(ctx, s)
				purged = purged || p.Marks > 0
				return p, err
			}
			f.revokeScope = func(
				ctx context.Context, s domain.Scope, except domain.ID, r port.Revocation, e domain.Event,
			) (uint64, error) {
				epoch, err := f.within.RevokeScope(ctx, s, except, r, e)
				if purged {
					epoch = 1
				}
				return epoch, err
			}
		},
	},
	{
		clause: "Janitor/Purge/deletes the rest of a tenant, and it begins at epoch 0 if it is created again",
		fault:  "a deleted tenant's epoch is never deleted",
		inject: func(f *faulty) {
			f.onRead(func(t *domain.RefreshToken) {
				if t.ID == tokenID(2) {
					t.IssuedEpoch = 5
				}
			})
		},
	},
	{
		clause: "Janitor/Purge/deletes the rest of a tenant, and it begins at epoch 0 if it is created again",
		fault:  "a mark survives its tenant, and ends what is issued later",
		inject: func(f *faulty) {
			f.onSession(func(s *domain.Session) { s.Deleted = s.Deleted || s.Token.ID == tokenID(2) })
		},
	},
	{
		clause: "Janitor/Purge/deletes the rest of a tenant, and it begins at epoch 0 if it is created again",
		fault:  "a tenant goes without its retention",
		inject: func(f *faulty) {
			f.purgesAs(func(s *port.PurgeStep) { s.Before = s.Before.Add(tick) })
		},
	},
	{
		clause: "Janitor/Purge/deletes the rest of a tenant, and it begins at epoch 0 if it is created again",
		fault:  "all of a tenant's marks go in one step",
		inject: func(f *faulty) {
			f.purgesAs(func(s *port.PurgeStep) { s.Limit = 1000 })
		},
	},
	{
		clause: "Janitor/Purge/leaves a deleted tenant its epoch and marks while a refresh token of it is stored",
		fault:  "a tenant is deleted before its last refresh token",
		inject: func(f *faulty) {
			f.onSession(func(s *domain.Session) { s.Mark, s.Deleted = domain.Mark{}, false })
		},
	},
	{
		clause: "Store/History/states and exchanges agree with the domain, whatever happened before",
		fault:  "a pass deletes what is about to expire",
		inject: func(f *faulty) {
			f.purgesAs(func(s *port.PurgeStep) { s.Before = s.Before.Add(25 * time.Hour) })
		},
	},
}
