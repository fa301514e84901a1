package storagetest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// listed makes List answer another query, and returns the page that change makes of the result.
func (f *faulty) listed(alter func(*port.ListQuery), change func(port.ListQuery, *port.Page)) {
	f.list = func(ctx context.Context, q port.ListQuery) (port.Page, error) {
		asked := q
		if alter != nil {
			alter(&q)
		}
		page, err := f.within.List(ctx, q)
		if err == nil && change != nil {
			change(asked, &page)
		}
		return page, err
	}
}

// counted makes Count answer another query.
func (f *faulty) counted(alter func(*port.ListQuery)) {
	f.count = func(ctx context.Context, q port.ListQuery) (int, bool, error) {
		alter(&q)
		return f.within.Count(ctx, q)
	}
}

var listMutants = []mutant{
	{
		clause: listScope,
		fault:  "the list of a tenant is that of one application",
		inject: func(f *faulty) {
			f.listed(func(q *port.ListQuery) {
				if q.UserID == "" && q.ApplicationID == "" {
					q.ApplicationID = "shop"
				}
			}, nil)
		},
	},
	{
		clause: listScope,
		fault:  "an application of that name in every tenant is one",
		inject: func(f *faulty) {
			f.listed(func(q *port.ListQuery) {
				if q.UserID == "" && q.ApplicationID != "" {
					q.TenantID = "acme"
				}
			}, nil)
		},
	},
	{
		clause: listWide,
		fault:  "the list of an application is not ended by the rows looked at",
		inject: func(f *faulty) {
			f.listed(func(q *port.ListQuery) {
				if q.UserID == "" && q.ApplicationID != "" {
					q.MaxRows = unbounded
				}
			}, nil)
		},
	},
	{
		clause: listWide,
		fault:  "the list of a tenant is not ended by the rows looked at",
		inject: func(f *faulty) {
			f.listed(func(q *port.ListQuery) {
				if q.UserID == "" && q.ApplicationID == "" {
					q.MaxRows = unbounded
				}
			}, nil)
		},
	},
	{
		clause: listWide,
		fault:  "of a tenant those that are not shown do not count as looked at",
		inject: func(f *faulty) {
			f.listed(func(q *port.ListQuery) {
				if q.UserID == "" && q.State != domain.AllSessions {
					q.MaxRows *= 2
				}
			}, nil)
		},
	},
	{
		clause: listWide,
		fault:  "a page of a tenant begins with the last one of the previous page",
		inject: func(f *faulty) {
			f.listed(func(q *port.ListQuery) {
				if q.UserID == "" && !q.Below.IsZero() {
					q.Below[15]++
				}
			}, nil)
		},
	},
	{
		clause: listAgain,
		fault:  "only applications that exist are listed",
		inject: func(f *faulty) {
			f.listed(nil, func(_ port.ListQuery, page *port.Page) {
				page.Sessions = slices.DeleteFunc(page.Sessions, func(s domain.Session) bool { return s.Deleted })
			})
		},
	},
	{
		clause: listAgain,
		fault:  "an application that is made again has its sessions back",
		inject: func(f *faulty) {
			f.listsAs(func(s *domain.Session, _ time.Time) { s.Mark = domain.Mark{} })
		},
	},
	{
		clause: listAgain,
		fault:  "a tenant forgets why its earlier sessions have ended",
		inject: func(f *faulty) {
			f.onSession(func(s *domain.Session) {
				if !s.Deleted {
					s.Mark.Reason = domain.RevokedByRequest
				}
			})
		},
	},
	{
		clause: listPurged,
		fault:  "a list shows what was purged",
		inject: func(f *faulty) {
			of := f.inserted()
			f.list = func(_ context.Context, q port.ListQuery) (page port.Page, _ error) {
				for _, id := range of(domain.Scope{TenantID: q.TenantID}) {
					page.Sessions = append(page.Sessions, domain.Session{Token: domain.RefreshToken{ID: id}})
				}
				return page, nil
			}
		},
	},
	{
		clause: listPurged,
		fault:  "Count counts what was purged",
		inject: func(f *faulty) {
			of := f.inserted()
			f.count = func(_ context.Context, q port.ListQuery) (int, bool, error) {
				return len(of(domain.Scope{TenantID: q.TenantID})), false, nil
			}
		},
	},
	{
		clause: listPurged,
		fault:  "Find finds what was purged",
		inject: func(f *faulty) {
			of := f.inserted()
			f.find = func(ctx context.Context, tenantID string, id domain.ID) (domain.Session, error) {
				found, err := f.within.Find(ctx, tenantID, id)
				if errors.Is(err, domain.ErrNotFound) && slices.Contains(of(domain.Scope{TenantID: tenantID}), id) {
					err = nil
				}
				return found, err
			}
		},
	},
	{
		clause: listMoving,
		fault:  "a page begins after a number of sessions instead of below an id",
		inject: func(f *faulty) {
			var mu sync.Mutex
			offsets := map[domain.ID]int{}
			f.list = func(ctx context.Context, q port.ListQuery) (port.Page, error) {
				mu.Lock()
				defer mu.Unlock()
				from, limit := offsets[q.Below], q.Limit
				q.Below, q.Limit = domain.ID{}, unbounded
				page, err := f.within.List(ctx, q)
				page.Sessions = page.Sessions[min(from, len(page.Sessions)):]
				if len(page.Sessions) > limit {
					page.Sessions = page.Sessions[:limit]
					page.Next = page.Sessions[limit-1].Token.ID
					offsets[page.Next] = from + limit
				}
				return page, err
			}
		},
	},
	{
		clause: countSame,
		fault:  "Count counts the rest of the list",
		inject: func(f *faulty) {
			f.count = func(ctx context.Context, q port.ListQuery) (int, bool, error) {
				q.MaxBytes = unbounded
				page, err := f.within.List(ctx, q)
				return len(page.Sessions), false, err
			}
		},
	},
	{
		clause: countSame,
		fault:  "Count is ended by MaxBytes",
		inject: func(f *faulty) {
			f.count = func(ctx context.Context, q port.ListQuery) (int, bool, error) {
				q.Below = domain.ID{}
				page, err := f.within.List(ctx, q)
				return len(page.Sessions), false, err
			}
		},
	},
	{
		clause: countSame,
		fault:  "Count counts what it looks at",
		inject: func(f *faulty) { f.counted(func(q *port.ListQuery) { q.State = domain.AllSessions }) },
	},
	{
		clause: countSame,
		fault:  "Count forgot the application",
		inject: func(f *faulty) { f.counted(func(q *port.ListQuery) { q.ApplicationID = "" }) },
	},
	{
		clause: countSame,
		fault:  "Count forgot the user",
		inject: func(f *faulty) { f.counted(func(q *port.ListQuery) { q.UserID = "" }) },
	},
	{
		clause: countLimit,
		fault:  "Count counts past Limit",
		inject: func(f *faulty) { f.counted(func(q *port.ListQuery) { q.Limit++ }) },
	},
	{
		clause: countLimit,
		fault:  "a count that Limit ended claims to be all",
		inject: func(f *faulty) {
			f.count = func(ctx context.Context, q port.ListQuery) (int, bool, error) {
				n, _, err := f.within.Count(ctx, q)
				return n, false, err
			}
		},
	},
	{
		clause: countRows,
		fault:  "Count looks at all",
		inject: func(f *faulty) { f.counted(func(q *port.ListQuery) { q.MaxRows = unbounded }) },
	},
	{
		clause: countRows,
		fault:  "a count that MaxRows ended claims to be all",
		inject: func(f *faulty) {
			f.count = func(ctx context.Context, q port.ListQuery) (int, bool, error) {
				n, more, err := f.within.Count(ctx, q)
				return n, more && n == q.Limit, err
			}
		},
	},
	{
		clause: countExact,
		fault:  "a count of just Limit says that there may be others",
		inject: func(f *faulty) {
			f.count = func(ctx context.Context, q port.ListQuery) (int, bool, error) {
				n, more, err := f.within.Count(ctx, q)
				return n, more || n == q.Limit, err
			}
		},
	},
	{
		clause: countExact,
		fault:  "a count that looked at just MaxRows says that there may be others",
		inject: func(f *faulty) {
			f.count = func(ctx context.Context, q port.ListQuery) (int, bool, error) {
				n, _, err := f.within.Count(ctx, q)
				q.MaxRows--
				_, more, failed := f.within.Count(ctx, q)
				return n, more, errors.Join(err, failed)
			}
		},
	},
	{
		clause: countRows,
		fault:  "Count looks from the lowest id on",
		inject: func(f *faulty) {
			f.count = func(ctx context.Context, q port.ListQuery) (int, bool, error) {
				n, more, err := f.within.Count(ctx, q)
				rows := q.MaxRows
				q.Below, q.Limit, q.MaxRows = domain.ID{}, unbounded, unbounded
				all, failed := f.within.List(ctx, wholly(q))
				if failed != nil || rows >= len(all.Sessions) {
					return n, more, errors.Join(err, failed)
				}
				n = 0
				for _, s := range all.Sessions[len(all.Sessions)-rows:] {
					if q.State.Includes(s.Alive(q.Now)) {
						n++
					}
				}
				return n, more, err
			}
		},
	},
}

// changesAs makes Change store another change, where stored is the stored record.
func (f *faulty) changesAs(alter func(stored domain.RefreshToken, c *domain.Change)) {
	f.change = func(
		ctx context.Context, tenantID string, changes []domain.Change, now time.Time, e domain.Event,
	) error {
		changes = slices.Clone(changes)
		for i := range changes {
			if s, err := f.within.Snapshot(ctx, changes[i].Before.ID); err == nil {
				alter(s.Token, &changes[i])
			}
		}
		return f.within.Change(ctx, tenantID, changes, now, e)
	}
}

// changesUnrotated is a Change that a rotation in between makes a conflict.
func (f *faulty) changesUnrotated(
	ctx context.Context, tenantID string, changes []domain.Change, now time.Time, e domain.Event,
) error {
	for _, c := range changes {
		if s, err := f.within.Snapshot(ctx, c.Before.ID); err == nil && s.Token.Generation != c.Before.Generation {
			return domain.ErrConflict
		}
	}
	return f.within.Change(ctx, tenantID, changes, now, e)
}

// changesToo makes Change store more, by a Swap of the changed record.
func (f *faulty) changesToo(more func(c domain.Change, t *domain.RefreshToken)) {
	f.change = func(
		ctx context.Context, tenantID string, changes []domain.Change, now time.Time, e domain.Event,
	) error {
		if err := f.within.Change(ctx, tenantID, changes, now, e); err != nil {
			return err
		}
		for _, c := range changes {
			s, err := f.within.Snapshot(ctx, c.Before.ID)
			if err != nil {
				return err
			}
			after := s.Token
			more(c, &after)
			if err := f.within.Swap(ctx, s.Token, after, now,
				NewEvent()); err != nil && !errors.Is(err, domain.ErrConflict) {
				return err
			}
		}
		return nil
	}
}

var changeMutants = []mutant{
	{
		clause: changeStores,
		fault:  "Change stores no scopes",
		inject: func(f *faulty) {
			f.changesAs(func(_ domain.RefreshToken, c *domain.Change) { c.After.Scopes = c.Before.Scopes })
		},
	},
	{
		clause: changeStores,
		fault:  "Change stores no data",
		inject: func(f *faulty) {
			f.changesAs(func(_ domain.RefreshToken, c *domain.Change) { c.After.MetaData.Data = c.Before.MetaData.Data })
		},
	},
	{
		clause: changeStores,
		fault:  "Change keeps what is emptied",
		inject: func(f *faulty) {
			f.changesAs(func(_ domain.RefreshToken, c *domain.Change) {
				if c.After.Claims == "" {
					c.After.Claims = c.Before.Claims
				}
			})
		},
	},
	{
		clause: changeStores,
		fault:  "Change moves the expiry",
		inject: func(f *faulty) {
			f.changesToo(func(c domain.Change, t *domain.RefreshToken) { t.ExpiresAt = c.After.ExpiresAt })
		},
	},
	{
		clause: changeStores,
		fault:  "Change stores the client address",
		inject: func(f *faulty) {
			f.changesToo(func(c domain.Change, t *domain.RefreshToken) {
				t.MetaData.ClientAddress = c.After.MetaData.ClientAddress
			})
		},
	},
	{
		clause: changeStores,
		fault:  "no changes are a conflict",
		inject: func(f *faulty) {
			f.change = func(
				ctx context.Context, tenantID string, changes []domain.Change, now time.Time, e domain.Event,
			) error {
				if len(changes) == 0 {
					return domain.ErrConflict
				}
				return f.within.Change(ctx, tenantID, changes, now, e)
			}
		},
	},
	{
		clause: changeFits,
		fault:  "Change does not compare roles",
		inject: func(f *faulty) {
			f.changesAs(func(stored domain.RefreshToken, c *domain.Change) { c.Before.Roles = stored.Roles })
		},
	},
	{
		clause: changeFits,
		fault:  "Change compares roles as a set",
		inject: func(f *faulty) {
			f.changesAs(func(stored domain.RefreshToken, c *domain.Change) {
				if slices.Equal(slices.Sorted(slices.Values(stored.Roles)), slices.Sorted(slices.Values(c.Before.Roles))) {
					c.Before.Roles = stored.Roles
				}
			})
		},
	},
	{
		clause: changeFits,
		fault:  "Change does not compare scopes",
		inject: func(f *faulty) {
			f.changesAs(func(stored domain.RefreshToken, c *domain.Change) { c.Before.Scopes = stored.Scopes })
		},
	},
	{
		clause: changeFits,
		fault:  "Change does not compare claims",
		inject: func(f *faulty) {
			f.changesAs(func(stored domain.RefreshToken, c *domain.Change) { c.Before.Claims = stored.Claims })
		},
	},
	{
		clause: changeFits,
		fault:  "Change does not compare the device",
		inject: func(f *faulty) {
			f.changesAs(func(stored domain.RefreshToken, c *domain.Change) { c.Before.MetaData.Device = stored.MetaData.Device })
		},
	},
	{
		clause: changeFits,
		fault:  "Change does not compare data",
		inject: func(f *faulty) {
			f.changesAs(func(stored domain.RefreshToken, c *domain.Change) { c.Before.MetaData.Data = stored.MetaData.Data })
		},
	},
	{
		clause: "RefreshTokens/Change/compares nothing else",
		fault:  "a change that was read before a rotation is a conflict",
		inject: func(f *faulty) {
			f.change = f.changesUnrotated
		},
	},
	{
		clause: changeEnded,
		fault:  "Change forgot expiry",
		inject: func(f *faulty) {
			f.change = func(
				ctx context.Context, tenantID string, changes []domain.Change, _ time.Time, e domain.Event,
			) error {
				return f.within.Change(ctx, tenantID, changes, t0, e)
			}
		},
	},
	{
		clause: changeEnded,
		fault:  "Change skips ended and unknown ones",
		inject: func(f *faulty) {
			f.change = func(
				ctx context.Context, tenantID string, changes []domain.Change, now time.Time, e domain.Event,
			) error {
				return f.within.Change(ctx, tenantID, slices.DeleteFunc(slices.Clone(changes), func(c domain.Change) bool {
					s, err := f.within.Snapshot(ctx, c.Before.ID)
					return err != nil || !s.Alive(now)
				}), now, NewEvent())

			}
		},
	},
	{
		clause: changeEnded,
		fault:  "Change forgot the tenant",
		inject: func(f *faulty) {
			f.change = func(
				ctx context.Context, _ string, changes []domain.Change, now time.Time, e domain.Event,
			) error {
				return f.within.Change(ctx, changes[0].Before.TenantID, changes, now, e)
			}
		},
	},
	{
		clause: changeAll,
		fault:  "Change stores what fits",
		inject: func(f *faulty) {
			f.change = func(
				ctx context.Context, tenantID string, changes []domain.Change, now time.Time, e domain.Event,
			) (err error) {
				for _, c := range changes {
					err = errors.Join(err, f.within.Change(ctx, tenantID, []domain.Change{c}, now, NewEvent()))
				}
				return err
			}
		},
	},
	{
		clause: changeAll,
		fault:  "Change stores what comes before the first that does not fit",
		inject: func(f *faulty) {
			f.change = func(
				ctx context.Context, tenantID string, changes []domain.Change, now time.Time, e domain.Event,
			) error {
				for _, c := range changes {
					if err := f.within.Change(ctx, tenantID, []domain.Change{c}, now, NewEvent()); err != nil {
						return err
					}
				}
				return nil
			}
		},
	},
	{
		clause: changeAll,
		fault:  "of two changes of one refresh token the last counts",
		inject: func(f *faulty) {
			f.change = func(
				ctx context.Context, tenantID string, changes []domain.Change, now time.Time, e domain.Event,
			) error {
				last := map[domain.ID]domain.Change{}
				for _, c := range changes {
					last[c.Before.ID] = c
				}
				var once []domain.Change
				for _, c := range last {
					once = append(once, c)
				}
				return f.within.Change(ctx, tenantID, once, now, e)
			}
		},
	},
	{
		clause: "RefreshTokens/Change/serves for a thousand",
		fault:  "Change stores the first 500",
		inject: func(f *faulty) {
			f.change = func(
				ctx context.Context, tenantID string, changes []domain.Change, now time.Time, e domain.Event,
			) error {
				return f.within.Change(ctx, tenantID, changes[:min(len(changes), 500)], now, NewEvent())
			}
		},
	},
	{
		clause: "RefreshTokens/Change/of many concurrent calls that read the same exactly one succeeds",
		fault:  "the last one to write wins",
		inject: func(f *faulty) {
			f.changesAs(func(stored domain.RefreshToken, c *domain.Change) {
				c.Before.Roles, c.Before.MetaData = stored.Roles, stored.MetaData
			})
		},
	},
	{
		clause: "RefreshTokens/Change/that add to the same in different orders all succeed in the end",
		fault:  "one of two is lost",
		inject: func(f *faulty) {
			f.changesAs(func(stored domain.RefreshToken, c *domain.Change) { c.Before.Roles = stored.Roles })
			change := f.change
			f.change = func(
				ctx context.Context, tenantID string, changes []domain.Change, now time.Time, e domain.Event,
			) error {
				time.Sleep(time.Millisecond) // so that another one runs after the read
				return change(ctx, tenantID, changes, now, e)
			}
		},
	},
	{
		clause: "RefreshTokens/Change/that add to the same in different orders all succeed in the end",
		fault:  "two that meet end each other",
		inject: func(f *faulty) {
			var mu sync.Mutex
			f.change = func(
				ctx context.Context, tenantID string, changes []domain.Change, now time.Time, e domain.Event,
			) error {
				if !mu.TryLock() {
					return errors.New("deadlock detected")
				}
				defer mu.Unlock()
				time.Sleep(time.Millisecond) // so that they overlap
				return f.within.Change(ctx, tenantID, changes, now, e)
			}
		},
	},
	{
		clause: changeAdvance,
		fault:  "Change stores the whole record",
		inject: func(f *faulty) {
			f.changesToo(func(c domain.Change, t *domain.RefreshToken) {
				t.Generation, t.RotatedAt, t.LastUsedAt = c.After.Generation, c.After.RotatedAt, c.After.LastUsedAt
			})
			change := f.change
			f.change = func(
				ctx context.Context, tenantID string, changes []domain.Change, now time.Time, e domain.Event,
			) error {
				time.Sleep(time.Millisecond) // so that an exchange runs after the read
				return change(ctx, tenantID, changes, now, e)
			}
		},
	},
	{
		clause: changeAdvance,
		fault:  "a change is a conflict where an exchange was faster",
		inject: func(f *faulty) {
			f.change = func(
				ctx context.Context, tenantID string, changes []domain.Change, now time.Time, e domain.Event,
			) error {
				time.Sleep(time.Millisecond) // so that an exchange runs first
				return f.changesUnrotated(ctx, tenantID, changes, now, e)
			}
		},
	},
	{
		clause: "RefreshTokens/Change/is in what the next exchange gives",
		fault:  "an exchange gives what was issued",
		inject: func(f *faulty) {
			f.onAdvance(func(_ domain.RefreshToken, after *domain.RefreshToken, _ *domain.Policy) { after.Roles = nil })
		},
	},
}
