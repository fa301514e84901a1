package storagetest

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/refreshd/refreshd/adapter/memstore"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// mutant is a store with one fault, and the clause that must detect it.
type mutant struct {
	clause string
	fault  string
	inject func(*faulty)
	// each gives every handle a fault of its own: other handles do not see what one caches.
	each bool
}

func (m mutant) database() (open func() port.Store) {
	s := memstore.New()
	if m.each {
		return func() port.Store {
			f := newFaulty(s)
			m.inject(f)
			return f
		}
	}
	f := newFaulty(s)
	m.inject(f)
	return func() port.Store { return f }
}

// tries is how often a mutant's clause runs until it fails. Some clauses are random, and some need two goroutines to
// meet, which a busy machine may prevent for a while.
const tries = 200

// TestEveryMutantFailsItsClause: a clause that a broken store passes has no value.
func TestEveryMutantFailsItsClause(t *testing.T) {
	byName := make(map[string]clause)
	for _, c := range clauses() {
		byName[c.name] = c
	}
	for _, m := range mutants() {
		t.Run(m.fault, func(t *testing.T) {
			c, ok := byName[m.clause]
			if !ok {
				t.Fatalf("there is no clause %q", m.clause)
			}
			for range tries {
				if len(failuresOf(t.Context(), c, m.database())) > 0 {
					return
				}
			}
			t.Errorf("a store where %s passes %q", m.fault, m.clause)
		})
	}
}

// TestEveryClauseHasAMutant: a new clause needs a store that fails it.
func TestEveryClauseHasAMutant(t *testing.T) {
	covered := make(map[string]bool)
	for _, m := range mutants() {
		covered[m.clause] = true
	}
	seen := make(map[string]bool)
	for _, c := range clauses() {
		if !covered[c.name] {
			t.Errorf("no mutant for %q", c.name)
		}
		if seen[c.name] {
			t.Errorf("two clauses have the name %q", c.name)
		}
		seen[c.name] = true
	}
}

// TestAFaultlessStorePassesEveryClause: a mutant must fail because of its fault alone.
func TestAFaultlessStorePassesEveryClause(t *testing.T) {
	faultless := mutant{inject: func(*faulty) {}}
	for _, c := range clauses() {
		if got := failuresOf(t.Context(), c, faultless.database()); len(got) > 0 {
			t.Errorf("%s: %s", c.name, strings.Join(got, "\n"))
		}
	}
}

func mutants() []mutant {
	return slices.Concat(promiseMutants, insertMutants, readMutants, advanceMutants, swapMutants, rebindMutants,
		revocationMutants,
		directoryMutants, keyMutants, eventMutants, eventWriteMutants(), versionMutants, reachMutants,
		eventPurgeMutants, keyChangeMutants, onceMutants,
		purgeMutants, listMutants, changeMutants)
}

// once makes f return its first result for each key.
func once[K comparable, V any](f func(context.Context, K) (V, error)) func(context.Context, K) (V, error) {
	var mu sync.Mutex
	known := make(map[K]V)
	return func(ctx context.Context, k K) (V, error) {
		mu.Lock()
		defer mu.Unlock()
		if v, ok := known[k]; ok {
			return v, nil
		}
		v, err := f(ctx, k)
		if err == nil {
			known[k] = v
		}
		return v, err
	}
}

var promiseMutants = []mutant{
	{
		clause: "Store/Ready/is nil on a store that is ready, and writes nothing",
		fault:  "Ready writes a row to see whether it can",
		inject: func(f *faulty) {
			f.ready = func(ctx context.Context) error { return f.within.AddKeys(ctx, NewEvent(), tokenKey(1)) }
		},
	},
	{
		clause: "Store/Ready/is nil on a store that is ready, and writes nothing",
		fault:  "Ready asks for more than there is",
		inject: func(f *faulty) {
			f.ready = func(context.Context) error { return errors.New("schema 7, want 8") }
		},
	},
	{
		clause: "Store/Close/leaves other handles working, and what was written stored",
		fault:  "handles share what Close closes",
		inject: func(f *faulty) {
			closed := false
			f.close = func() error { closed = true; return nil }
			f.tenant = func(ctx context.Context, id string) (domain.Tenant, error) {
				if closed {
					return domain.Tenant{}, errors.New("closed")
				}
				return f.within.Tenant(ctx, id)
			}
		},
	},
	{
		clause: "Store/Context/one that is done ends every call with an operational error",
		fault:  "Advance ignores its context",
		inject: func(f *faulty) {
			f.advance = func(ctx context.Context, id domain.ID, c domain.Call) (domain.RefreshToken, domain.Policy, error) {
				return f.within.Advance(context.WithoutCancel(ctx), id, c)
			}
		},
	},
	{
		clause: "Store/Context/one that is done ends every call with an operational error",
		fault:  "a call that was cut off found nothing",
		inject: func(f *faulty) {
			f.apiKeyByHash = func(ctx context.Context, hashes ...string) (domain.APIKey, error) {
				k, err := f.within.APIKeyByHash(ctx, hashes...)
				if err != nil {
					err = domain.ErrNotFound
				}
				return k, err
			}
		},
	},
	{
		clause: "Store/Handles/a refresh token is the same at every one immediately",
		fault:  "a handle caches refresh tokens",
		each:   true,
		inject: func(f *faulty) {
			f.snapshot = once(f.within.Snapshot)
		},
	},
	{
		clause: "Store/Handles/a revocation is seen by the next call at every one",
		fault:  "a handle caches which refresh tokens are active",
		each:   true,
		inject: func(f *faulty) {
			var mu sync.Mutex
			known := make(map[domain.ID]domain.Session)
			f.find = func(ctx context.Context, tenantID string, id domain.ID) (domain.Session, error) {
				mu.Lock()
				defer mu.Unlock()
				if found, ok := known[id]; ok {
					return found, nil
				}
				found, err := f.within.Find(ctx, tenantID, id)
				if err == nil {
					known[id] = found
				}
				return found, err
			}
		},
	},
	{
		clause: "Store/Handles/a policy is in force at every one immediately",
		fault:  "a handle caches policies",
		each:   true,
		inject: func(f *faulty) {
			cached := once(func(ctx context.Context, k [2]string) (domain.Policy, error) {
				return f.within.Policy(ctx, k[0], k[1])
			})
			f.policy = func(ctx context.Context, tenantID, id string) (domain.Policy, error) {
				return cached(ctx, [2]string{tenantID, id})
			}
		},
	},
	{
		clause: "Store/Handles/an application deactivated at one issues and exchanges at none",
		fault:  "a handle caches which applications are active",
		each:   true,
		inject: func(f *faulty) {
			f.advanceForgets(func(s *domain.Snapshot, _ *domain.Call) { s.Policy.Active = true })
		},
	},
	{
		clause: "Store/Handles/a replaced API key is unknown at every one immediately",
		fault:  "a handle caches API keys",
		each:   true,
		inject: func(f *faulty) {
			byHash := once(func(ctx context.Context, hash string) (domain.APIKey, error) {
				return f.within.APIKeyByHash(ctx, hash)
			})
			f.apiKeyByHash = func(ctx context.Context, hashes ...string) (domain.APIKey, error) {
				return byHash(ctx, hashes[0])
			}
		},
	},
	{
		clause: "Store/Handles/sealed keys are the same at every one immediately",
		fault:  "a handle caches sealed keys",
		each:   true,
		inject: func(f *faulty) {
			cached := once(func(ctx context.Context, since uint64) ([]domain.SealedKey, error) {
				return f.within.KeysSince(ctx, since, 1000)
			})
			f.keysSince = func(ctx context.Context, since uint64, _ int) ([]domain.SealedKey, error) {
				return cached(ctx, since)
			}
		},
	},
	{
		clause: "Store/Values/what was handed in may change afterwards",
		fault:  "the caller's slice is what is stored",
		inject: func(f *faulty) {
			roles := make(map[domain.ID][]string)
			f.onInsert(func(t *domain.RefreshToken) { roles[t.ID] = t.Roles })
			f.onRead(func(t *domain.RefreshToken) { t.Roles = roles[t.ID] })
		},
	},
	{
		clause: "Store/Values/what was handed in may change afterwards",
		fault:  "the caller's settings are what is stored",
		inject: func(f *faulty) {
			settings := make(map[string]domain.Settings)
			f.saveTenant = func(ctx context.Context, w tenantSave) (domain.Version, error) {
				settings[w.t.ID] = w.t.Settings
				return w.in(ctx, f.within)
			}
			f.tenant = func(ctx context.Context, id string) (domain.Tenant, error) {
				t, err := f.within.Tenant(ctx, id)
				t.Settings = settings[id]
				return t, err
			}
		},
	},
	{
		clause: "Store/Values/what was handed out may change afterwards",
		fault:  "readers share one slice",
		inject: func(f *faulty) {
			scopes := make(map[domain.ID][]string)
			f.onRead(func(t *domain.RefreshToken) {
				if shared, ok := scopes[t.ID]; ok {
					t.Scopes = shared
				}
				scopes[t.ID] = t.Scopes
			})
		},
	},
	{
		clause: "Store/Values/what was handed out may change afterwards",
		fault:  "readers share one map of permissions",
		inject: func(f *faulty) {
			f.apiKeyByName = once(f.within.APIKeyByName)
		},
	},
	{
		clause: "Store/Values/what was handed out may change afterwards",
		fault:  "readers share one application",
		inject: func(f *faulty) {
			cached := once(func(ctx context.Context, k [2]string) (domain.Application, error) {
				return f.within.Application(ctx, k[0], k[1])
			})
			f.application = func(ctx context.Context, tenantID, id string) (domain.Application, error) {
				return cached(ctx, [2]string{tenantID, id})
			}
		},
	},
	{
		clause: "Store/Values/instants keep their microsecond and are UTC, whatever zone they came in",
		fault:  "instants come back in local time",
		inject: func(f *faulty) {
			f.onRead(func(t *domain.RefreshToken) { t.IssuedAt = t.IssuedAt.Local() })
		},
	},
	{
		clause: "Store/Values/instants keep their microsecond and are UTC, whatever zone they came in",
		fault:  "instants lose their zone, not their wall clock",
		inject: func(f *faulty) {
			f.onInsert(func(t *domain.RefreshToken) {
				_, offset := t.IssuedAt.Zone()
				t.IssuedAt = t.IssuedAt.Add(time.Duration(offset) * time.Second)
			})
		},
	},
	{
		clause: "Store/Values/a zero instant stays zero",
		fault:  "a zero instant becomes 1970",
		inject: func(f *faulty) {
			f.onRead(func(t *domain.RefreshToken) {
				if t.RecoveredAt.IsZero() {
					t.RecoveredAt = time.Unix(0, 0).UTC()
				}
			})
		},
	},
	{
		clause: "Store/Values/a zero instant stays zero",
		fault:  "an API key without an end ends immediately",
		inject: func(f *faulty) {
			f.saveAPIKey = func(ctx context.Context, w apiKeySave) (domain.Version, error) {
				if w.k.ExpiresAt.IsZero() {
					w.k.ExpiresAt = time.Unix(0, 0)
				}
				return w.in(ctx, f.within)
			}
		},
	},
	{
		clause: "Store/Values/text keeps every byte",
		fault:  "claims are parsed and encoded again",
		inject: func(f *faulty) {
			f.onRead(func(t *domain.RefreshToken) {
				t.Claims = domain.Object(strings.ReplaceAll(string(t.Claims), "1.0e+2", "100"))
			})
		},
	},
	{
		clause: "Store/Values/text keeps every byte",
		fault:  "bytes end at the first NUL",
		inject: func(f *faulty) {
			f.apiKeyByHash = func(ctx context.Context, hashes ...string) (domain.APIKey, error) {
				k, err := f.within.APIKeyByHash(ctx, hashes...)
				k.Hash, _, _ = strings.Cut(k.Hash, "\x00")
				return k, err
			}
		},
	},
	{
		clause: "Store/Values/text keeps every byte",
		fault:  "lists are joined with commas",
		inject: func(f *faulty) {
			f.onRead(func(t *domain.RefreshToken) { t.Scopes = strings.Split(strings.Join(t.Scopes, ","), ",") })
		},
	},
	{
		clause: "Store/Values/text keeps every byte",
		fault:  "text is cut to 250 bytes",
		inject: func(f *faulty) {
			f.onRead(func(t *domain.RefreshToken) {
				t.MetaData.Device.Name = t.MetaData.Device.Name[:min(250, len(t.MetaData.Device.Name))]
			})
		},
	},
	{
		clause: "Store/Values/names that look alike are different",
		fault:  "users are compared without case",
		inject: func(f *faulty) {
			f.list = func(ctx context.Context, q port.ListQuery) (port.Page, error) {
				var all port.Page
				for _, user := range slices.Compact([]string{strings.ToLower(q.UserID), strings.ToUpper(q.UserID)}) {
					q.UserID = user
					page, err := f.within.List(ctx, q)
					if err != nil {
						return port.Page{}, err
					}
					all.Sessions = append(all.Sessions, page.Sessions...)
				}
				return all, nil
			}
		},
	},
	{
		clause: "Store/Values/names that look alike are different",
		fault:  "blanks at the end are padding",
		inject: func(f *faulty) {
			f.policy = func(ctx context.Context, tenantID, id string) (domain.Policy, error) {
				return f.within.Policy(ctx, tenantID, strings.TrimRight(id, " "))
			}
		},
	},
	{
		clause: "Store/Values/tenants that look alike are different",
		fault:  "tenants are compared without case",
		inject: func(f *faulty) {
			f.revokeScope = func(
				ctx context.Context, s domain.Scope, except domain.ID, r port.Revocation, e domain.Event,
			) (uint64, error) {
				upper := s
				upper.TenantID = strings.ToUpper(s.TenantID)
				if _, err := f.within.RevokeScope(ctx, upper, except, r, NewEvent()); err != nil {
					return 0, err
				}
				return f.within.RevokeScope(ctx, s, except, r, e)
			}
		},
	},
	{
		clause: "Store/Values/empty and nil lists are one",
		fault:  "no roles become one empty role",
		inject: func(f *faulty) {
			f.onRead(func(t *domain.RefreshToken) { t.Roles = strings.Split(strings.Join(t.Roles, ","), ",") })
		},
	},
	{
		clause: "Store/History/states and exchanges agree with the domain, whatever happened before",
		fault:  "the predicate forgot expiry",
		inject: func(f *faulty) {
			f.listsAs(func(s *domain.Session, _ time.Time) { s.Token.ExpiresAt = t0.Add(1e6 * time.Hour) })
		},
	},
	{
		clause: "Store/History/states and exchanges agree with the domain, whatever happened before",
		fault:  "an exchange forgot marks",
		inject: func(f *faulty) {
			f.advanceForgets(func(s *domain.Snapshot, _ *domain.Call) { s.MarkEpoch = 0 })
		},
	},
	{
		clause: "Store/History/states and exchanges agree with the domain, whatever happened before",
		fault:  "a history ignores the application of an exchange",
		inject: func(f *faulty) {
			f.advanceForgets(func(_ *domain.Snapshot, c *domain.Call) { c.ApplicationID = "" })
		},
	},
	{
		clause: "Store/History/states and exchanges agree with the domain, whatever happened before",
		fault:  "an exchange ignores the binding",
		inject: func(f *faulty) {
			f.advanceForgets(func(s *domain.Snapshot, c *domain.Call) { c.Binding = s.Token.Binding })
		},
	},
	{
		clause: "Store/History/states and exchanges agree with the domain, whatever happened before",
		fault:  "a history forgets the hold",
		inject: func(f *faulty) {
			f.advanceForgets(func(s *domain.Snapshot, _ *domain.Call) { s.Policy.GracePeriod = 0 })
		},
	},
	{
		clause: "Store/History/states and exchanges agree with the domain, whatever happened before",
		fault:  "a history holds for a microsecond too long",
		inject: func(f *faulty) {
			f.advanceHolds(func(s domain.Snapshot, c domain.Call) bool {
				return s.Token.Generation > 1 && s.Token.RecoveredAt.IsZero() &&
					c.Now.Sub(s.Token.RotatedAt) == s.Policy.GracePeriod
			})
		},
	},
	{
		clause: "Store/History/states and exchanges agree with the domain, whatever happened before",
		fault:  "a history holds on one side only",
		inject: func(f *faulty) {
			f.advanceForgets(func(s *domain.Snapshot, c *domain.Call) {
				if c.Now.Before(s.Token.RotatedAt) && s.Token.RecoveredAt.IsZero() {
					s.Policy.GracePeriod = 0
				}
			})
		},
	},
	{
		clause: "Store/History/states and exchanges agree with the domain, whatever happened before",
		fault:  "a history forgets when it was recovered",
		inject: func(f *faulty) {
			f.advanceForgets(func(s *domain.Snapshot, _ *domain.Call) { s.Token.RecoveredAt = time.Time{} })
		},
	},
	{
		clause: "Store/History/states and exchanges agree with the domain, whatever happened before",
		fault:  "a history ignores a shortened maximum",
		inject: func(f *faulty) {
			f.advanceForgets(func(s *domain.Snapshot, _ *domain.Call) { s.Policy.MaximumTTL = 1e6 * time.Hour })
		},
	},
	{
		clause: "Store/History/states and exchanges agree with the domain, whatever happened before",
		fault:  "a history compares the maximum before it is cut",
		inject: func(f *faulty) {
			f.advanceForgets(func(s *domain.Snapshot, c *domain.Call) {
				if c.Now.Before(s.Token.IssuedAt.Add(s.Policy.MaximumTTL)) {
					s.Policy.MaximumTTL += time.Second
				}
			})
		},
	},
	{
		clause: "Store/History/states and exchanges agree with the domain, whatever happened before",
		fault:  "in a history the limit goes by id",
		inject: func(f *faulty) {
			f.keepBy(byID)
		},
	},
	{
		clause: "Store/History/states and exchanges agree with the domain, whatever happened before",
		fault:  "in a history a swap compares no recovery",
		inject: func(f *faulty) {
			f.swapAs(func(stored domain.RefreshToken, before, _ *domain.RefreshToken, _ *time.Time) {
				before.RecoveredAt = stored.RecoveredAt
			})
		},
	},
	{
		clause: "Store/History/states and exchanges agree with the domain, whatever happened before",
		fault:  "a restored generation is stored as the next",
		inject: func(f *faulty) {
			f.swapAs(func(stored domain.RefreshToken, _, after *domain.RefreshToken, _ *time.Time) {
				after.Generation = min(after.Generation, stored.Generation+1)
			})
		},
	},
	{
		clause: "Store/History/states and exchanges agree with the domain, whatever happened before",
		fault:  "in a history an ordinal counts what is revoked",
		inject: func(f *faulty) {
			f.ordinals(func(t domain.RefreshToken, before []domain.Snapshot) int64 {
				return above(before, func(s domain.Snapshot) bool { return own(t).Covers(s.Token) })
			})
		},
	},
	{
		clause: "Store/History/states and exchanges agree with the domain, whatever happened before",
		fault:  "in a history the last generation rotates",
		inject: func(f *faulty) {
			f.advanceForgets(func(s *domain.Snapshot, c *domain.Call) {
				if c.Generation == domain.MaxGeneration {
					s.Token.Generation, c.Generation = 1, 1
				}
			})
		},
	},
	{
		clause: "Store/History/states and exchanges agree with the domain, whatever happened before",
		fault:  "the newest are kept of all applications together",
		inject: func(f *faulty) {
			f.keepNewest = func(
				ctx context.Context, s domain.Scope, keep int, r port.Revocation, e domain.Event,
			) error {
				s.ApplicationID = ""
				return f.within.KeepNewest(ctx, s, keep, r, e)
			}
		},
	},
}

var insertMutants = []mutant{
	{
		clause: "RefreshTokens/Insert/keeps every field",
		fault:  "instants are cut to milliseconds",
		inject: func(f *faulty) {
			f.onRead(func(t *domain.RefreshToken) { t.IssuedAt = t.IssuedAt.Truncate(time.Millisecond) })
		},
	},
	{
		clause: "RefreshTokens/Insert/keeps every field",
		fault:  "the save is half-written",
		inject: func(f *faulty) {
			f.onInsert(func(t *domain.RefreshToken) { t.MetaData = domain.MetaData{} })
		},
	},
	{
		clause: "RefreshTokens/Insert/keeps every field",
		fault:  "generations have 31 bits",
		inject: func(f *faulty) {
			f.onRead(func(t *domain.RefreshToken) { t.Generation &= 1<<31 - 1 })
		},
	},
	{
		clause: "RefreshTokens/Insert/keeps every field",
		fault:  "two columns are confused",
		inject: func(f *faulty) {
			f.onRead(func(t *domain.RefreshToken) {
				t.MetaData.Device.Name, t.MetaData.Device.Type = t.MetaData.Device.Type, t.MetaData.Device.Name
			})
		},
	},
	{
		clause: "RefreshTokens/Insert/sets the epoch that the tenant has, whatever it is told",
		fault:  "the epoch is not copied",
		inject: func(f *faulty) {
			told := make(map[domain.ID]uint64)
			f.onInsert(func(t *domain.RefreshToken) { told[t.ID] = t.IssuedEpoch })
			f.onRead(func(t *domain.RefreshToken) { t.IssuedEpoch = told[t.ID] })
		},
	},
	{
		clause: "RefreshTokens/Insert/without application or tenant is not found, and writes nothing",
		fault:  "an issue does not check the application",
		inject: func(f *faulty) {
			f.insertIgnores(domain.ErrNotFound, func(context.Context, domain.RefreshToken) bool { return true })
		},
	},
	{
		clause: "RefreshTokens/Insert/with application or tenant inactive is not found, and writes nothing",
		fault:  "an inactive application issues",
		inject: func(f *faulty) {
			f.insertIgnores(domain.ErrNotFound, func(ctx context.Context, t domain.RefreshToken) bool {
				_, err := f.within.Application(ctx, t.TenantID, t.ApplicationID)
				return err == nil
			})
		},
	},
	{
		clause: "RefreshTokens/Insert/an id that exists is a duplicate, whatever its owner, and writes nothing",
		fault:  "a duplicate overwrites",
		inject: func(f *faulty) {
			last := make(map[domain.ID]domain.RefreshToken)
			f.insertIgnores(domain.ErrDuplicate, func(_ context.Context, t domain.RefreshToken) bool {
				last[t.ID] = t
				return true
			})
			f.onRead(func(t *domain.RefreshToken) {
				if over, ok := last[t.ID]; ok {
					*t = over
				}
			})
		},
	},
	{
		clause: "RefreshTokens/Insert/an id that exists is a duplicate, whatever its owner, and writes nothing",
		fault:  "ids are unique in a tenant only",
		inject: func(f *faulty) {
			f.insertIgnores(domain.ErrDuplicate, func(ctx context.Context, t domain.RefreshToken) bool {
				s, err := f.within.Snapshot(ctx, t.ID)
				return err == nil && s.Token.TenantID != t.TenantID
			})
		},
	},
	{
		clause: "RefreshTokens/Insert/the id of an ended one is a duplicate too",
		fault:  "an issue makes an ended refresh token active",
		inject: func(f *faulty) {
			f.insertIgnores(domain.ErrDuplicate, func(ctx context.Context, t domain.RefreshToken) bool {
				s, err := f.within.Snapshot(ctx, t.ID)
				return err == nil && !s.Alive(t0)
			})
		},
	},
	{
		clause: "RefreshTokens/Insert/of many concurrent calls with one id exactly one succeeds",
		fault:  "issues look first and insert later",
		inject: func(f *faulty) {
			f.insertIgnores(domain.ErrDuplicate, func(context.Context, domain.RefreshToken) bool { return true })
		},
	},
	{
		clause: "RefreshTokens/Insert/returns the record as it is stored, and a copy",
		fault:  "Insert returns its argument",
		inject: func(f *faulty) {
			f.insert = func(ctx context.Context, t domain.RefreshToken) (domain.RefreshToken, error) {
				_, err := f.within.Insert(ctx, t)
				return t, err
			}
		},
	},
	{
		clause: "RefreshTokens/Insert/returns the record as it is stored, and a copy",
		fault:  "Insert returns its argument with what it set",
		inject: func(f *faulty) {
			f.insert = func(ctx context.Context, t domain.RefreshToken) (domain.RefreshToken, error) {
				stored, err := f.within.Insert(ctx, t)
				t.IssuedEpoch, t.Ordinal = stored.IssuedEpoch, stored.Ordinal
				return t, err
			}
		},
	},
	{
		clause: "RefreshTokens/Insert/returns the record as it is stored, and a copy",
		fault:  "Insert returns the caller's slices",
		inject: func(f *faulty) {
			f.insert = func(ctx context.Context, t domain.RefreshToken) (domain.RefreshToken, error) {
				stored, err := f.within.Insert(ctx, t)
				stored.Roles, stored.Scopes = t.Roles, t.Scopes
				return stored, err
			}
		},
	},
	{
		clause: "RefreshTokens/Insert/keeps the instant of the original issue apart from that of the insert",
		fault:  "an import is issued when it is inserted",
		inject: func(f *faulty) {
			f.onInsert(func(t *domain.RefreshToken) { t.IssuedAt = t.RotatedAt })
		},
	},
	{
		clause: "RefreshTokens/Insert/keeps the instant of the original issue apart from that of the insert",
		fault:  "an import was inserted when it was issued",
		inject: func(f *faulty) {
			f.onInsert(func(t *domain.RefreshToken) { t.RotatedAt = t.IssuedAt })
		},
	},
	{
		clause: insertOrdinal,
		fault:  "the ordinal is what Insert was told",
		inject: func(f *faulty) {
			f.ordinals(func(t domain.RefreshToken, _ []domain.Snapshot) int64 { return t.Ordinal })
		},
	},
	{
		clause: insertOrdinal,
		fault:  "a user's ordinals go through all applications",
		inject: func(f *faulty) {
			f.ordinals(func(t domain.RefreshToken, before []domain.Snapshot) int64 {
				return above(before, func(s domain.Snapshot) bool {
					return s.Token.TenantID == t.TenantID && s.Token.UserID == t.UserID
				})
			})
		},
	},
	{
		clause: insertOrdinal,
		fault:  "ordinals go through all users of an application",
		inject: func(f *faulty) {
			f.ordinals(func(t domain.RefreshToken, before []domain.Snapshot) int64 {
				return above(before, func(s domain.Snapshot) bool {
					return s.Token.TenantID == t.TenantID && s.Token.ApplicationID == t.ApplicationID
				})
			})
		},
	},
	{
		clause: insertOrdinal,
		fault:  "ordinals go through all tenants",
		inject: func(f *faulty) {
			f.ordinals(func(t domain.RefreshToken, before []domain.Snapshot) int64 {
				return above(before, func(s domain.Snapshot) bool {
					return s.Token.ApplicationID == t.ApplicationID && s.Token.UserID == t.UserID
				})
			})
		},
	},
	{
		clause: insertOrdinal,
		fault:  "the ordinal is the greatest, and not above it",
		inject: func(f *faulty) {
			f.ordinals(func(t domain.RefreshToken, before []domain.Snapshot) int64 {
				return max(1, above(before, func(s domain.Snapshot) bool { return own(t).Covers(s.Token) })-1)
			})
		},
	},
	{
		clause: insertCounts,
		fault:  "the ordinal counts what is revoked itself",
		inject: func(f *faulty) {
			f.ordinals(func(t domain.RefreshToken, before []domain.Snapshot) int64 {
				return above(before, func(s domain.Snapshot) bool { return own(t).Covers(s.Token) })
			})
		},
	},
	{
		clause: insertCounts,
		fault:  "the ordinal does not count what expired",
		inject: func(f *faulty) {
			f.ordinals(func(t domain.RefreshToken, before []domain.Snapshot) int64 {
				return above(before, func(s domain.Snapshot) bool {
					return own(t).Covers(s.Token) && s.Token.RevokedAt.IsZero() && s.Token.ExpiresAt.After(t0)
				})
			})
		},
	},
	{
		clause: insertCounts,
		fault:  "the ordinal does not count what is marked",
		inject: func(f *faulty) {
			f.ordinals(func(t domain.RefreshToken, before []domain.Snapshot) int64 {
				return above(before, func(s domain.Snapshot) bool {
					return own(t).Covers(s.Token) && s.Token.RevokedAt.IsZero() && s.MarkEpoch <= s.Token.IssuedEpoch
				})
			})
		},
	},
	{
		clause: insertCounts,
		fault:  "the ordinal is one more than there are",
		inject: func(f *faulty) {
			f.ordinals(func(t domain.RefreshToken, before []domain.Snapshot) (ordinal int64) {
				for _, s := range before {
					if own(t).Covers(s.Token) && s.Token.RevokedAt.IsZero() {
						ordinal++
					}
				}
				return ordinal + 1
			})
		},
	},
	{
		clause: "RefreshTokens/Insert/that starts after another one returned has the greater ordinal, at every handle",
		fault:  "a handle reads the greatest ordinal once, and counts on by itself",
		each:   true,
		inject: func(f *faulty) {
			f.ordinals(func(t domain.RefreshToken, before []domain.Snapshot) int64 {
				return above(before, func(s domain.Snapshot) bool { return own(t).Covers(s.Token) })
			})
		},
	},
	{
		clause: "RefreshTokens/Insert/that starts after another one returned has the greater ordinal, at every handle",
		fault:  "the greatest ordinal is read from a replica that lags",
		inject: func(f *faulty) {
			f.ordinals(func(_ domain.RefreshToken, before []domain.Snapshot) int64 { return max(1, int64(len(before))-9) })
		},
	},
}

// Names of clauses that have many mutants.
const (
	insertOrdinal = "RefreshTokens/Insert/sets the ordinal above the greatest of the user in the application"
	insertCounts  = "RefreshTokens/Insert/counts in the ordinal what expired or is marked, and not what is revoked itself"
	advanceMoves  = "RefreshTokens/Advance/moves generation, instants and address, clears RecoveredAt, and no more"
	advanceSlides = "RefreshTokens/Advance/slides the expiry as the policy says, cut to the second"
	holdRotation  = "RefreshTokens/Advance/refuses while the rotation's answer stands, on either side of it"
	holdRecovery  = "RefreshTokens/Advance/refuses while the recovery's answer stands, whenever the rotation was"
	cutBefore     = "RefreshTokens/Advance/refuses where the expiry, moved and cut, would not be after now"
	keepHighest   = "Revocations/KeepNewest/revokes all but the highest ordinals, whatever the ids, for the reason given"
	swapStores    = "RefreshTokens/Swap/stores its nine fields and nothing else"
)

var readMutants = []mutant{
	{
		clause: "RefreshTokens/Find/keeps every field",
		fault:  "Find reads no scopes",
		inject: func(f *faulty) {
			f.onRead(func(t *domain.RefreshToken) { t.Scopes = nil })
		},
	},
	{
		clause: "RefreshTokens/Find/what is unknown or of another tenant is not found",
		fault:  "Find forgot the tenant",
		inject: func(f *faulty) {
			f.find = func(ctx context.Context, tenantID string, id domain.ID) (domain.Session, error) {
				if s, err := f.within.Snapshot(ctx, id); err == nil {
					tenantID = s.Token.TenantID
				}
				return f.within.Find(ctx, tenantID, id)
			}
		},
	},
	{
		clause: findEnded,
		fault:  "what has ended is not found",
		inject: func(f *faulty) {
			f.find = func(ctx context.Context, tenantID string, id domain.ID) (domain.Session, error) {
				if s, err := f.within.Snapshot(ctx, id); err == nil && !s.Alive(t0) {
					return domain.Session{}, domain.ErrNotFound
				}
				return f.within.Find(ctx, tenantID, id)
			}
		},
	},
	{
		clause: findEnded,
		fault:  "what is of a deleted application or tenant is not found",
		inject: func(f *faulty) {
			f.find = func(ctx context.Context, tenantID string, id domain.ID) (domain.Session, error) {
				if s, err := f.within.Snapshot(ctx, id); err == nil && s.Deleted {
					return domain.Session{}, domain.ErrNotFound
				}
				return f.within.Find(ctx, tenantID, id)
			}
		},
	},
	{
		clause: findEnded,
		fault:  "a session has no mark",
		inject: func(f *faulty) { f.onSession(func(s *domain.Session) { s.Mark = domain.Mark{} }) },
	},
	{
		clause: findEnded,
		fault:  "a session has the mark without its instant",
		inject: func(f *faulty) { f.onSession(func(s *domain.Session) { s.Mark.At = s.Token.IssuedAt.Add(tick) }) },
	},
	{
		clause: findEnded,
		fault:  "a session has the mark without its reason",
		inject: func(f *faulty) { f.onSession(func(s *domain.Session) { s.Mark.Reason = domain.RevokedByRequest }) },
	},
	{
		clause: findEnded,
		fault:  "a revocation has no reason",
		inject: func(f *faulty) { f.onSession(func(s *domain.Session) { s.Token.RevokedReason = "" }) },
	},
	{
		clause: "RefreshTokens/Find/what is of an inactive application or tenant is found",
		fault:  "refresh tokens of inactive applications have ended",
		inject: func(f *faulty) {
			f.find = func(ctx context.Context, tenantID string, id domain.ID) (domain.Session, error) {
				if s, err := f.within.Snapshot(ctx, id); err == nil && !s.Policy.Active {
					return domain.Session{}, domain.ErrNotFound
				}
				return f.within.Find(ctx, tenantID, id)
			}
		},
	},
	{
		clause: "RefreshTokens/Snapshot/reads ended refresh tokens as stored, and only an unknown one is not found",
		fault:  "Snapshot reads active refresh tokens only",
		inject: func(f *faulty) {
			f.snapshot = func(ctx context.Context, id domain.ID) (domain.Snapshot, error) {
				s, err := f.within.Snapshot(ctx, id)
				if err == nil && !s.Alive(t0) {
					return domain.Snapshot{}, domain.ErrNotFound
				}
				return s, err
			}
		},
	},
	{
		clause: "RefreshTokens/Snapshot/has the highest epoch of the marks that cover the token, and of no other",
		fault:  "Snapshot has the tenant's epoch",
		inject: func(f *faulty) {
			var epoch uint64
			f.revokeScope = func(
				ctx context.Context, s domain.Scope, except domain.ID, r port.Revocation, e domain.Event,
			) (uint64, error) {
				var err error
				epoch, err = f.within.RevokeScope(ctx, s, except, r, e)
				return epoch, err
			}
			f.snapshot = func(ctx context.Context, id domain.ID) (domain.Snapshot, error) {
				s, err := f.within.Snapshot(ctx, id)
				s.MarkEpoch = epoch
				return s, err
			}
		},
	},
	{
		clause: "RefreshTokens/Snapshot/reports that application or tenant is deleted, and then has no policy",
		fault:  "nothing is ever deleted",
		inject: func(f *faulty) {
			f.snapshot = func(ctx context.Context, id domain.ID) (domain.Snapshot, error) {
				s, err := f.within.Snapshot(ctx, id)
				s.Deleted = false
				return s, err
			}
		},
	},
	{
		clause: "RefreshTokens/Snapshot/reports that application or tenant is deleted, and then has no policy",
		fault:  "a deleted application has the default policy",
		inject: func(f *faulty) {
			f.snapshot = func(ctx context.Context, id domain.ID) (domain.Snapshot, error) {
				s, err := f.within.Snapshot(ctx, id)
				if s.Deleted {
					s.Policy = domain.DefaultPolicy()
				}
				return s, err
			}
		},
	},
	{
		clause: "RefreshTokens/Snapshot/has the policy in force, in every field",
		fault:  "Snapshot reads no cookie domain",
		inject: func(f *faulty) {
			f.snapshot = func(ctx context.Context, id domain.ID) (domain.Snapshot, error) {
				s, err := f.within.Snapshot(ctx, id)
				s.Policy.CookieDomain = ""
				return s, err
			}
		},
	},
	{
		clause: "RefreshTokens/Snapshot/has the policy in force, in every field",
		fault:  "Snapshot reads no cookie name",
		inject: func(f *faulty) {
			f.snapshot = func(ctx context.Context, id domain.ID) (domain.Snapshot, error) {
				s, err := f.within.Snapshot(ctx, id)
				s.Policy.CookieName = ""
				return s, err
			}
		},
	},
	{
		clause: "RefreshTokens/List/keeps every field",
		fault:  "List reads no claims",
		inject: func(f *faulty) {
			f.onRead(func(t *domain.RefreshToken) { t.Claims = "" })
		},
	},
	{
		clause: "RefreshTokens/List/goes by id from high to low, byte by byte",
		fault:  "List goes from low to high",
		inject: func(f *faulty) {
			f.list = func(ctx context.Context, q port.ListQuery) (port.Page, error) {
				page, err := f.within.List(ctx, q)
				slices.Reverse(page.Sessions)
				return page, err
			}
		},
	},
	{
		clause: "RefreshTokens/List/goes by id from high to low, byte by byte",
		fault:  "bytes of an id have a sign",
		inject: func(f *faulty) {
			f.list = func(ctx context.Context, q port.ListQuery) (port.Page, error) {
				page, err := f.within.List(ctx, q)
				slices.SortStableFunc(page.Sessions,
					func(a, b domain.Session) int { return int(int8(b.Token.ID[0])) - int(int8(a.Token.ID[0])) })
				return page, err
			}
		},
	},
	{
		clause: listPages,
		fault:  "a page begins with the last of the one before",
		inject: func(f *faulty) {
			f.list = func(ctx context.Context, q port.ListQuery) (port.Page, error) {
				if !q.Below.IsZero() {
					q.Below[15]++
				}
				return f.within.List(ctx, q)
			}
		},
	},
	{
		clause: listPages,
		fault:  "a page skips its first",
		inject: func(f *faulty) {
			f.list = func(ctx context.Context, q port.ListQuery) (port.Page, error) {
				if !q.Below.IsZero() {
					q.Below[15]--
				}
				return f.within.List(ctx, q)
			}
		},
	},
	{
		clause: listPages,
		fault:  "a page has one too many",
		inject: func(f *faulty) {
			f.list = func(ctx context.Context, q port.ListQuery) (port.Page, error) {
				q.Limit++
				return f.within.List(ctx, q)
			}
		},
	},
	{
		clause: listScope,
		fault:  "List forgot the application",
		inject: func(f *faulty) {
			f.list = func(ctx context.Context, q port.ListQuery) (port.Page, error) {
				q.ApplicationID = ""
				return f.within.List(ctx, q)
			}
		},
	},
	{
		clause: listScope,
		fault:  "List forgot the tenant",
		inject: func(f *faulty) {
			f.list = func(ctx context.Context, q port.ListQuery) (port.Page, error) {
				q.TenantID = "acme"
				return f.within.List(ctx, q)
			}
		},
	},
	{
		clause: listStates,
		fault:  "List forgot expiry",
		inject: func(f *faulty) {
			f.listsAs(func(s *domain.Session, _ time.Time) { s.Token.ExpiresAt = t0.Add(1e6 * time.Hour) })
		},
	},
	{
		clause: listStates,
		fault:  "a session lives a microsecond too long",
		inject: func(f *faulty) {
			f.listsAs(func(s *domain.Session, _ time.Time) { s.Token.ExpiresAt = s.Token.ExpiresAt.Add(tick) })
		},
	},
	{
		clause: listStates,
		fault:  "List forgot marks",
		inject: func(f *faulty) {
			f.listsAs(func(s *domain.Session, _ time.Time) { s.Mark = domain.Mark{} })
		},
	},
	{
		clause: listStates,
		fault:  "List forgot that a session may be revoked itself",
		inject: func(f *faulty) {
			f.listsAs(func(s *domain.Session, _ time.Time) { s.Token.RevokedAt = time.Time{} })
		},
	},
	{
		clause: listStates,
		fault:  "a session is revoked from its instant on only",
		inject: func(f *faulty) {
			f.listsAs(func(s *domain.Session, now time.Time) {
				if s.Token.RevokedAt.After(now) {
					s.Token.RevokedAt = time.Time{}
				}
			})
		},
	},
	{
		clause: listStates,
		fault:  "a mark counts from its instant on only",
		inject: func(f *faulty) {
			f.listsAs(func(s *domain.Session, now time.Time) {
				if s.Mark.At.After(now) {
					s.Mark = domain.Mark{}
				}
			})
		},
	},
	{
		clause: listStates,
		fault:  "a list of ended sessions shows all",
		inject: func(f *faulty) {
			f.list = func(ctx context.Context, q port.ListQuery) (port.Page, error) {
				if q.State == domain.EndedSessions {
					q.State = domain.AllSessions
				}
				return f.within.List(ctx, q)
			}
		},
	},
	{
		clause: listStates,
		fault:  "a list of all shows the active ones",
		inject: func(f *faulty) {
			f.list = func(ctx context.Context, q port.ListQuery) (port.Page, error) {
				if q.State == domain.AllSessions {
					q.State = domain.ActiveSessions
				}
				return f.within.List(ctx, q)
			}
		},
	},
	{
		clause: listEnded,
		fault:  "List shows ended sessions without their mark",
		inject: func(f *faulty) {
			f.list = func(ctx context.Context, q port.ListQuery) (port.Page, error) {
				page, err := f.within.List(ctx, q)
				for i := range page.Sessions {
					page.Sessions[i].Mark = domain.Mark{}
				}
				return page, err
			}
		},
	},
	{
		clause: listEnded,
		fault:  "List never reports that an application is deleted",
		inject: func(f *faulty) {
			f.list = func(ctx context.Context, q port.ListQuery) (port.Page, error) {
				page, err := f.within.List(ctx, q)
				for i := range page.Sessions {
					page.Sessions[i].Deleted = false
				}
				return page, err
			}
		},
	},
	{
		clause: "RefreshTokens/List/ended refresh tokens do not use up the limit",
		fault:  "List applies the limit before it leaves out ended ones",
		inject: func(f *faulty) {
			f.list = func(ctx context.Context, q port.ListQuery) (port.Page, error) {
				page, err := f.within.List(ctx, wholly(q))
				page.Sessions = slices.DeleteFunc(page.Sessions,
					func(s domain.Session) bool { return !q.State.Includes(s.Alive(q.Now)) })
				return page, err
			}
		},
	},
	{
		clause: listBytes,
		fault:  "a page is never ended by its bytes",
		inject: func(f *faulty) {
			f.list = func(ctx context.Context, q port.ListQuery) (port.Page, error) {
				q.MaxBytes = unbounded
				return f.within.List(ctx, q)
			}
		},
	},
	{
		clause: listBytes,
		fault:  "the bytes of roles and scopes do not count",
		inject: func(f *faulty) {
			f.list = func(ctx context.Context, q port.ListQuery) (port.Page, error) {
				return f.pageBy(ctx, q, func(t domain.RefreshToken) int {
					t.Roles, t.Scopes = nil, nil
					return port.PageBytes(t)
				})
			}
		},
	},
	{
		clause: listBytes,
		fault:  "the bytes of metadata do not count",
		inject: func(f *faulty) {
			f.list = func(ctx context.Context, q port.ListQuery) (port.Page, error) {
				return f.pageBy(ctx, q, func(t domain.RefreshToken) int {
					t.MetaData = domain.MetaData{}
					return port.PageBytes(t)
				})
			}
		},
	},
	{
		clause: listBytes,
		fault:  "a page that is ended by its bytes skips the refresh token that crosses the bound",
		inject: func(f *faulty) {
			f.list = func(ctx context.Context, q port.ListQuery) (port.Page, error) {
				page, err := f.within.List(ctx, q)
				if n := len(page.Sessions); n > 1 && n < q.Limit && !page.Next.IsZero() {
					page.Sessions = page.Sessions[:n-1]
				}
				return page, err
			}
		},
	},
	{
		clause: listBytes,
		fault:  "a refresh token that is larger than a page is on none",
		inject: func(f *faulty) {
			f.list = func(ctx context.Context, q port.ListQuery) (port.Page, error) {
				page, err := f.within.List(ctx, q)
				if len(page.Sessions) == 1 && port.PageBytes(page.Sessions[0].Token) > q.MaxBytes {
					page.Sessions, page.Next = nil, q.Below // without end
				}
				return page, err
			}
		},
	},
	{
		clause: listBytes,
		fault:  "a page that is ended by its bytes claims to be the last",
		inject: func(f *faulty) {
			f.list = func(ctx context.Context, q port.ListQuery) (port.Page, error) {
				page, err := f.within.List(ctx, q)
				if len(page.Sessions) < q.Limit {
					page.Next = domain.ID{}
				}
				return page, err
			}
		},
	},
	{
		clause: listRows,
		fault:  "a page is never ended by the rows looked at",
		inject: func(f *faulty) {
			f.list = func(ctx context.Context, q port.ListQuery) (port.Page, error) {
				q.MaxRows = unbounded
				return f.within.List(ctx, q)
			}
		},
	},
	{
		clause: listRows,
		fault:  "only refresh tokens of the application count as looked at",
		inject: func(f *faulty) {
			f.list = func(ctx context.Context, q port.ListQuery) (port.Page, error) {
				if q.ApplicationID != "" {
					q.MaxRows *= 2
				}
				return f.within.List(ctx, q)
			}
		},
	},
	{
		clause: listRows,
		fault:  "an empty page claims to be the last",
		inject: func(f *faulty) {
			f.list = func(ctx context.Context, q port.ListQuery) (port.Page, error) {
				page, err := f.within.List(ctx, q)
				if len(page.Sessions) == 0 {
					page.Next = domain.ID{}
				}
				return page, err
			}
		},
	},
	{
		clause: listRows,
		fault:  "an empty page continues where it began",
		inject: func(f *faulty) {
			f.list = func(ctx context.Context, q port.ListQuery) (port.Page, error) {
				page, err := f.within.List(ctx, q)
				if len(page.Sessions) == 0 && !page.Next.IsZero() {
					page.Next = q.Below
				}
				return page, err
			}
		},
	},
	{
		clause: listRows,
		fault:  "a page that is ended by the rows looked at skips the next one",
		inject: func(f *faulty) {
			f.list = func(ctx context.Context, q port.ListQuery) (port.Page, error) {
				page, err := f.within.List(ctx, q)
				if len(page.Sessions) < q.Limit && !page.Next.IsZero() {
					page.Next[15]--
				}
				return page, err
			}
		},
	},
	{
		clause: listPages,
		fault:  "a page that is ended by Limit claims to be the last",
		inject: func(f *faulty) {
			f.list = func(ctx context.Context, q port.ListQuery) (port.Page, error) {
				page, err := f.within.List(ctx, q)
				page.Next = domain.ID{}
				return page, err
			}
		},
	},
}

// pageBy is List with another length of a refresh token.
func (f *faulty) pageBy(
	ctx context.Context, q port.ListQuery, size func(domain.RefreshToken) int,
) (page port.Page, err error) {
	most, bytes := q.MaxBytes, 0
	q.MaxBytes = unbounded
	if page, err = f.within.List(ctx, q); err != nil {
		return page, err
	}
	for i, s := range page.Sessions[:max(0, len(page.Sessions)-1)] {
		if bytes += size(s.Token); bytes >= most {
			return port.Page{Sessions: page.Sessions[:i+1], Next: s.Token.ID}, nil
		}
	}
	return page, nil
}

var advanceMutants = []mutant{
	{
		clause: advanceMoves,
		fault:  "the client address stays",
		inject: func(f *faulty) {
			f.advance = func(ctx context.Context, id domain.ID, c domain.Call) (domain.RefreshToken, domain.Policy, error) {
				c.ClientAddress = ""
				return f.within.Advance(ctx, id, c)
			}
		},
	},
	{
		clause: advanceMoves,
		fault:  "an exchange resets the budget",
		inject: func(f *faulty) {
			f.advance = func(ctx context.Context, id domain.ID, c domain.Call) (domain.RefreshToken, domain.Policy, error) {
				t, p, err := f.within.Advance(ctx, id, c)
				if err == nil {
					after := t
					after.RecoveryPaidUntil = 0
					err = f.within.Swap(ctx, t, after, c.Now, NewEvent())
				}
				return t, p, err
			}
		},
	},
	{
		clause: "RefreshTokens/Advance/returns the record as it is stored",
		fault:  "the old record comes back",
		inject: func(f *faulty) {
			f.onAdvance(func(before domain.RefreshToken, after *domain.RefreshToken, _ *domain.Policy) { *after = before })
		},
	},
	{
		clause: "RefreshTokens/Advance/returns the policy in force, in every field",
		fault:  "no issuer comes back",
		inject: func(f *faulty) {
			f.onAdvance(func(_ domain.RefreshToken, _ *domain.RefreshToken, p *domain.Policy) { p.Issuer = "" })
		},
	},
	{
		clause: "RefreshTokens/Advance/returns the policy in force, in every field",
		fault:  "flags come back as defaults",
		inject: func(f *faulty) {
			f.onAdvance(func(_ domain.RefreshToken, _ *domain.RefreshToken, p *domain.Policy) { p.RevokeOnReplay = true })
		},
	},
	{
		clause: advanceSlides,
		fault:  "the window slides past the maximum",
		inject: func(f *faulty) {
			f.onAdvance(func(_ domain.RefreshToken, t *domain.RefreshToken, p *domain.Policy) {
				if p.Expiration != domain.Fixed {
					t.ExpiresAt = t.LastUsedAt.Add(p.TTL).Truncate(time.Second)
				}
			})
		},
	},
	{
		clause: "RefreshTokens/Advance/by a clock that is behind, moves the expiry back, and on again by the next",
		fault:  "a clock that is behind moves no expiry back",
		inject: func(f *faulty) {
			f.onAdvance(func(before domain.RefreshToken, t *domain.RefreshToken, _ *domain.Policy) {
				if t.LastUsedAt.Before(before.LastUsedAt) && t.ExpiresAt.Before(before.ExpiresAt) {
					t.ExpiresAt = before.ExpiresAt
				}
			})
		},
	},
	{
		clause: "RefreshTokens/Advance/does not change a fixed expiry",
		fault:  "a fixed expiry slides",
		inject: func(f *faulty) {
			f.onAdvance(func(_ domain.RefreshToken, t *domain.RefreshToken, p *domain.Policy) {
				if p.Expiration == domain.Fixed {
					t.ExpiresAt = t.LastUsedAt.Add(p.TTL).Truncate(time.Second)
				}
			})
		},
	},
	{
		clause: advanceSlides,
		fault:  "an expiry never moves back",
		inject: func(f *faulty) {
			f.onAdvance(func(before domain.RefreshToken, t *domain.RefreshToken, _ *domain.Policy) {
				if t.ExpiresAt.Before(before.ExpiresAt) {
					t.ExpiresAt = before.ExpiresAt
				}
			})
		},
	},
	{
		clause: advanceSlides,
		fault:  "an expiry keeps its microseconds",
		inject: func(f *faulty) {
			f.onAdvance(func(_ domain.RefreshToken, t *domain.RefreshToken, p *domain.Policy) {
				if window, maximum := p.Slide(); window > 0 {
					t.ExpiresAt = earlier(t.LastUsedAt.Add(window), t.IssuedAt.Add(maximum))
				}
			})
		},
	},
	{
		clause: advanceSlides,
		fault:  "an expiry is rounded to the second",
		inject: func(f *faulty) {
			f.onAdvance(func(_ domain.RefreshToken, t *domain.RefreshToken, p *domain.Policy) {
				if window, maximum := p.Slide(); window > 0 {
					t.ExpiresAt = earlier(t.LastUsedAt.Add(window), t.IssuedAt.Add(maximum)).Round(time.Second)
				}
			})
		},
	},
	{
		clause: advanceMoves,
		fault:  "a recovery outlives its generation",
		inject: func(f *faulty) {
			f.advance = func(ctx context.Context, id domain.ID, c domain.Call) (domain.RefreshToken, domain.Policy, error) {
				before, _ := f.within.Snapshot(ctx, id)
				t, p, err := f.within.Advance(ctx, id, c)
				if err == nil {
					after := t
					after.RecoveredAt = before.Token.RecoveredAt
					err = f.within.Swap(ctx, t, after, c.Now, NewEvent())
				}
				return t, p, err
			}
		},
	},
	{
		clause: holdRotation,
		fault:  "the hold is forgotten",
		inject: func(f *faulty) {
			f.advanceForgets(func(s *domain.Snapshot, _ *domain.Call) { s.Policy.GracePeriod = 0 })
		},
	},
	{
		clause: holdRotation,
		fault:  "an answer stands on one side only",
		inject: func(f *faulty) {
			f.advanceForgets(func(s *domain.Snapshot, c *domain.Call) {
				if c.Now.Before(s.Token.RotatedAt) {
					s.Policy.GracePeriod = 0
				}
			})
		},
	},
	{
		clause: holdRotation,
		fault:  "a clock that was ahead holds until the others get there",
		inject: func(f *faulty) {
			f.advanceHolds(func(s domain.Snapshot, c domain.Call) bool { return s.Token.RotatedAt.After(c.Now) })
		},
	},
	{
		clause: holdRotation,
		fault:  "an answer stands for a microsecond too long",
		inject: func(f *faulty) {
			f.advanceHolds(func(s domain.Snapshot, c domain.Call) bool {
				return c.Now.Sub(s.Token.RotatedAt).Abs() <= s.Policy.GracePeriod
			})
		},
	},
	{
		clause: holdRotation,
		fault:  "an answer stands for a microsecond too short",
		inject: func(f *faulty) {
			f.advanceForgets(func(s *domain.Snapshot, _ *domain.Call) { s.Policy.GracePeriod -= tick })
		},
	},
	{
		clause: holdRecovery,
		fault:  "a recovery's answer does not stand",
		inject: func(f *faulty) {
			f.advanceForgets(func(s *domain.Snapshot, _ *domain.Call) { s.Token.RecoveredAt = time.Time{} })
		},
	},
	{
		clause: holdRecovery,
		fault:  "a rotation's answer stands beside that of its recovery",
		inject: func(f *faulty) {
			f.advanceHolds(func(s domain.Snapshot, c domain.Call) bool {
				return c.Now.Sub(s.Token.RotatedAt).Abs() < s.Policy.GracePeriod
			})
		},
	},
	{
		clause: holdRecovery,
		fault:  "the later of two instants counts",
		inject: func(f *faulty) {
			f.advanceForgets(func(s *domain.Snapshot, _ *domain.Call) {
				if s.Token.RecoveredAt.Before(s.Token.RotatedAt) {
					s.Token.RecoveredAt = time.Time{}
				}
			})
		},
	},
	{
		clause: "RefreshTokens/Advance/without a grace period no answer stands",
		fault:  "an instant holds itself",
		inject: func(f *faulty) {
			f.advanceHolds(func(s domain.Snapshot, c domain.Call) bool {
				return s.Token.Generation > 1 && c.Now.Equal(s.Token.RotatedAt)
			})
		},
	},
	{
		clause: "RefreshTokens/Advance/without a grace period no answer stands",
		fault:  "an instant holds itself where it was recovered",
		inject: func(f *faulty) {
			f.advanceHolds(func(s domain.Snapshot, c domain.Call) bool { return c.Now.Equal(s.Token.RecoveredAt) })
		},
	},
	{
		clause: "RefreshTokens/Advance/at generation 1 no answer stands",
		fault:  "an issue is an answer that stands",
		inject: func(f *faulty) {
			f.advanceHolds(func(s domain.Snapshot, c domain.Call) bool {
				return s.Token.Generation == 1 && c.Now.Sub(s.Token.RotatedAt).Abs() < s.Policy.GracePeriod
			})
		},
	},
	{
		clause: "RefreshTokens/Advance/refuses the last generation",
		fault:  "the last generation rotates",
		inject: func(f *faulty) {
			f.advanceForgets(func(s *domain.Snapshot, c *domain.Call) {
				if c.Generation == domain.MaxGeneration {
					s.Token.Generation, c.Generation = 1, 1
				}
			})
		},
	},
	{
		clause: "RefreshTokens/Advance/refuses the last generation",
		fault:  "the last but one does not rotate",
		inject: func(f *faulty) {
			f.advanceHolds(func(_ domain.Snapshot, c domain.Call) bool { return c.Generation == domain.MaxGeneration-1 })
		},
	},
	{
		clause: cutBefore,
		fault:  "a shortened maximum is ignored",
		inject: func(f *faulty) {
			f.advanceForgets(func(s *domain.Snapshot, _ *domain.Call) { s.Policy.MaximumTTL = 1e6 * time.Hour })
		},
	},
	{
		clause: cutBefore,
		fault:  "the maximum is compared before it is cut",
		inject: func(f *faulty) {
			f.advanceForgets(func(s *domain.Snapshot, c *domain.Call) {
				if c.Now.Before(s.Token.IssuedAt.Add(s.Policy.MaximumTTL)) {
					s.Policy.MaximumTTL += time.Second
				}
			})
		},
	},
	{
		clause: cutBefore,
		fault:  "the maximum may be at now",
		inject: func(f *faulty) {
			f.advanceForgets(func(s *domain.Snapshot, c *domain.Call) {
				if c.Now.Equal(s.Token.IssuedAt.Add(s.Policy.MaximumTTL).Truncate(time.Second)) {
					s.Policy.MaximumTTL += time.Second
				}
			})
		},
	},
	{
		clause: cutBefore,
		fault:  "the maximum counts under every policy",
		inject: func(f *faulty) {
			f.advanceHolds(func(s domain.Snapshot, c domain.Call) bool {
				return s.Policy.MaximumTTL > 0 && !c.Now.Before(s.Token.IssuedAt.Add(s.Policy.MaximumTTL))
			})
		},
	},
	{
		clause: "RefreshTokens/Advance/counts the maximum of an import from the original issue",
		fault:  "the maximum counts from the last rotation",
		inject: func(f *faulty) {
			f.advanceForgets(func(s *domain.Snapshot, _ *domain.Call) { s.Token.IssuedAt = s.Token.RotatedAt })
		},
	},
	{
		clause: "RefreshTokens/Advance/many callers within a grace period move it by one generation",
		fault:  "the current string rotates, also within a grace period",
		inject: func(f *faulty) {
			f.advanceForgets(func(s *domain.Snapshot, _ *domain.Call) { s.Policy.GracePeriod = 0 })
		},
	},
	{
		clause: "RefreshTokens/Advance/and a concurrent recovery: exactly one succeeds",
		fault:  "an exchange that waits for a recovery does not see it",
		inject: func(f *faulty) {
			recovered := make(chan struct{}, 1)
			f.swap = func(ctx context.Context, before, after domain.RefreshToken, now time.Time, e domain.Event) error {
				defer func() { recovered <- struct{}{} }()
				return f.within.Swap(ctx, before, after, now, e)
			}
			f.advanceForgets(func(s *domain.Snapshot, _ *domain.Call) { s.Token.RecoveredAt = time.Time{} })
			forgetful := f.advance
			f.advance = func(ctx context.Context, id domain.ID, c domain.Call) (domain.RefreshToken, domain.Policy, error) {
				<-recovered
				return forgetful(ctx, id, c)
			}
		},
	},
	{
		clause: "RefreshTokens/Advance/stores exactly what Rotated makes of the record, whatever the policy",
		fault:  "a rotation keeps the instant of the recovery",
		inject: func(f *faulty) {
			f.onAdvance(func(before domain.RefreshToken, t *domain.RefreshToken, _ *domain.Policy) {
				t.RecoveredAt = before.RecoveredAt
			})
		},
	},
	{
		clause: "RefreshTokens/Advance/stores exactly what Rotated makes of the record, whatever the policy",
		fault:  "time does not go back",
		inject: func(f *faulty) {
			f.onAdvance(func(before domain.RefreshToken, t *domain.RefreshToken, _ *domain.Policy) {
				if t.LastUsedAt.Before(before.LastUsedAt) {
					t.LastUsedAt = before.LastUsedAt
				}
			})
		},
	},
	{
		clause: "RefreshTokens/Advance/a change of application or tenant counts at the next call",
		fault:  "the policy is cached",
		inject: func(f *faulty) {
			var first *domain.Policy
			f.onAdvance(func(_ domain.RefreshToken, _ *domain.RefreshToken, p *domain.Policy) {
				if first == nil {
					first = new(*p)
				}
				*p = *first
			})
		},
	},
	{
		clause: "RefreshTokens/Advance/refuses an ended one",
		fault:  "an exchange forgot expiry",
		inject: func(f *faulty) {
			f.advanceForgets(func(s *domain.Snapshot, _ *domain.Call) { s.Token.ExpiresAt = t0.Add(1e6 * time.Hour) })
		},
	},
	{
		clause: "RefreshTokens/Advance/refuses an ended one",
		fault:  "an exchange overlooks marks",
		inject: func(f *faulty) {
			f.advanceForgets(func(s *domain.Snapshot, _ *domain.Call) { s.MarkEpoch = 0 })
		},
	},
	{
		clause: "RefreshTokens/Advance/refuses an ended one",
		fault:  "an exchange makes a revoked refresh token active",
		inject: func(f *faulty) {
			f.advanceForgets(func(s *domain.Snapshot, _ *domain.Call) { s.Token.RevokedAt = time.Time{} })
		},
	},
	{
		clause: "RefreshTokens/Advance/refuses what is unknown",
		fault:  "what is unknown is not found",
		inject: func(f *faulty) {
			f.advance = func(ctx context.Context, id domain.ID, c domain.Call) (domain.RefreshToken, domain.Policy, error) {
				if _, err := f.within.Snapshot(ctx, id); err != nil {
					return domain.RefreshToken{}, domain.Policy{}, err
				}
				return f.within.Advance(ctx, id, c)
			}
		},
	},
	{
		clause: "RefreshTokens/Advance/asks for nothing more than its conditions",
		fault:  "an unneeded credential is refused",
		inject: func(f *faulty) {
			f.advance = func(ctx context.Context, id domain.ID, c domain.Call) (domain.RefreshToken, domain.Policy, error) {
				if s, err := f.within.Snapshot(ctx, id); err == nil && s.Token.Binding != c.Binding {
					return domain.RefreshToken{}, domain.Policy{}, domain.ErrConflict
				}
				return f.within.Advance(ctx, id, c)
			}
		},
	},
	{
		clause: "RefreshTokens/Advance/asks for nothing more than its conditions",
		fault:  "the longest access token is refused",
		inject: func(f *faulty) {
			f.advance = func(ctx context.Context, id domain.ID, c domain.Call) (domain.RefreshToken, domain.Policy, error) {
				if c.AccessTokenTTL > 0 {
					c.AccessTokenTTL++
				}
				return f.within.Advance(ctx, id, c)
			}
		},
	},
	{
		clause: "RefreshTokens/Advance/of many concurrent calls with one generation exactly one succeeds",
		fault:  "updates are lost: read, decide, write",
		inject: lostUpdates,
	},
	{
		clause: "RefreshTokens/Advance/of many concurrent calls for different refresh tokens each has its own result",
		fault:  "two concurrent calls get each other's result",
		inject: func(f *faulty) {
			type answer struct {
				t   domain.RefreshToken
				p   domain.Policy
				err error
			}
			swapped := make(chan answer)
			f.advance = func(ctx context.Context, id domain.ID, c domain.Call) (domain.RefreshToken, domain.Policy, error) {
				t, p, err := f.within.Advance(ctx, id, c)
				own := answer{t, p, err}
				select {
				case swapped <- own:
					own = <-swapped
				case other := <-swapped:
					swapped <- own
					own = other
				case <-time.After(time.Second): // no other call to be mixed up with
				}
				return own.t, own.p, own.err
			}
		},
	},
	{
		clause: "RefreshTokens/Advance/of many concurrent calls for different refresh tokens each has its own result",
		fault:  "one call that fails fails for another that is made at the same time",
		inject: func(f *faulty) {
			var failed atomic.Bool
			f.advance = func(ctx context.Context, id domain.ID, c domain.Call) (domain.RefreshToken, domain.Policy, error) {
				if failed.CompareAndSwap(true, false) {
					return domain.RefreshToken{}, domain.Policy{}, domain.ErrConflict
				}
				t, p, err := f.within.Advance(ctx, id, c)
				if err != nil {
					failed.Store(true)
				}
				return t, p, err
			}
		},
	},
	{
		clause: "RefreshTokens/Advance/many callers in a chain leave no gap and make no double",
		fault:  "updates are lost in a chain",
		inject: lostUpdates,
	},
	{
		clause: "RefreshTokens/Advance/refuses a generation that is past",
		fault:  "an old generation rotates",
		inject: func(f *faulty) {
			f.advanceForgets(func(s *domain.Snapshot, c *domain.Call) { c.Generation = max(c.Generation, s.Token.Generation) })
		},
	},
	{
		clause: "RefreshTokens/Advance/refuses a generation that is yet to come",
		fault:  "a future generation rotates",
		inject: func(f *faulty) {
			f.advanceForgets(func(s *domain.Snapshot, c *domain.Call) { c.Generation = min(c.Generation, s.Token.Generation) })
		},
	},
	{
		clause: "RefreshTokens/Advance/refuses another application",
		fault:  "an exchange ignores the application",
		inject: func(f *faulty) {
			f.advanceForgets(func(_ *domain.Snapshot, c *domain.Call) { c.ApplicationID = "" })
		},
	},
	{
		clause: "RefreshTokens/Advance/refuses another tenant",
		fault:  "an exchange ignores the tenant",
		inject: func(f *faulty) {
			f.advanceForgets(func(_ *domain.Snapshot, c *domain.Call) { c.TenantID = "" })
		},
	},
	{
		clause: "RefreshTokens/Advance/refuses a call without the binding",
		fault:  "a call without a credential needs none",
		inject: func(f *faulty) {
			f.advanceForgets(func(s *domain.Snapshot, c *domain.Call) {
				if c.Binding == "" {
					c.Binding = s.Token.Binding
				}
			})
		},
	},
	{
		clause: "RefreshTokens/Advance/refuses a call with another binding",
		fault:  "any credential will do",
		inject: func(f *faulty) {
			f.advanceForgets(func(s *domain.Snapshot, c *domain.Call) {
				if c.Binding != "" {
					c.Binding = s.Token.Binding
				}
			})
		},
	},
	{
		clause: "RefreshTokens/Advance/refuses a call without the authentication that is asked for",
		fault:  "an exchange ignores authentication",
		inject: func(f *faulty) {
			f.advanceForgets(func(_ *domain.Snapshot, c *domain.Call) { c.Authenticated = true })
		},
	},
	{
		clause: "RefreshTokens/Advance/refuses a longer access token than the policy allows",
		fault:  "an exchange ignores the lifetime of the access token",
		inject: func(f *faulty) {
			f.advanceForgets(func(_ *domain.Snapshot, c *domain.Call) { c.AccessTokenTTL = 0 })
		},
	},
	{
		clause: "RefreshTokens/Advance/refuses a longer access token than the policy allows",
		fault:  "the lifetime of the access token is compared in seconds",
		inject: func(f *faulty) {
			f.advanceForgets(func(_ *domain.Snapshot, c *domain.Call) {
				c.AccessTokenTTL = c.AccessTokenTTL.Truncate(time.Second)
			})
		},
	},
	{
		clause: "RefreshTokens/Advance/refuses a reusable token",
		fault:  "a reusable token rotates",
		inject: func(f *faulty) {
			f.advanceForgets(func(s *domain.Snapshot, _ *domain.Call) { s.Policy.Usage = domain.OneTimeUse })
		},
	},
	{
		clause: "RefreshTokens/Advance/refuses an inactive application",
		fault:  "an inactive application exchanges",
		inject: func(f *faulty) {
			f.advanceForgets(func(s *domain.Snapshot, _ *domain.Call) { s.Policy.Active = true })
		},
	},
	{
		clause: "RefreshTokens/Advance/refuses an inactive tenant",
		fault:  "an application of an inactive tenant exchanges",
		inject: func(f *faulty) {
			f.advance = func(ctx context.Context, id domain.ID, c domain.Call) (domain.RefreshToken, domain.Policy, error) {
				tenant, err := f.within.Tenant(ctx, "acme")
				if err != nil {
					return domain.RefreshToken{}, domain.Policy{}, err
				}
				if err := SaveTenant(ctx, f.within, domain.Tenant{ID: "acme"}); err != nil {
					return domain.RefreshToken{}, domain.Policy{}, err
				}
				t, p, err := f.within.Advance(ctx, id, c)
				return t, p, errors.Join(err, SaveTenant(ctx, f.within, tenant))
			}
		},
	},
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// lostUpdates: the second caller decides on what it read before, and writes unconditionally.
func lostUpdates(f *faulty) {
	f.advance = func(ctx context.Context, id domain.ID, c domain.Call) (domain.RefreshToken, domain.Policy, error) {
		t, p, err := f.within.Advance(ctx, id, c)
		if !errors.Is(err, domain.ErrConflict) {
			return t, p, err
		}
		s, err := f.within.Snapshot(ctx, id)
		if err != nil {
			return t, p, err
		}
		s.Token.Generation = c.Generation
		return s.Token.Rotated(s.Policy, c.Now, c.ClientAddress), s.Policy, nil
	}
}

// swapForgets is a store whose Swap does not write one field.
func swapForgets(field string, leave func(after *domain.RefreshToken, stored domain.RefreshToken)) mutant {
	return mutant{clause: swapStores, fault: "Swap forgets " + field, inject: func(f *faulty) {
		f.swapAs(func(stored domain.RefreshToken, _, after *domain.RefreshToken, _ *time.Time) { leave(after, stored) })
	}}
}

var swapMutants = []mutant{
	swapForgets("Generation", func(t *domain.RefreshToken, s domain.RefreshToken) { t.Generation = s.Generation }),
	swapForgets("RotatedAt", func(t *domain.RefreshToken, s domain.RefreshToken) { t.RotatedAt = s.RotatedAt }),
	swapForgets("LastUsedAt", func(t *domain.RefreshToken, s domain.RefreshToken) { t.LastUsedAt = s.LastUsedAt }),
	swapForgets("ExpiresAt", func(t *domain.RefreshToken, s domain.RefreshToken) { t.ExpiresAt = s.ExpiresAt }),
	swapForgets("RecoveredAt", func(t *domain.RefreshToken, s domain.RefreshToken) { t.RecoveredAt = s.RecoveredAt }),
	swapForgets("RecoveryPaidUntil", func(t *domain.RefreshToken, s domain.RefreshToken) {
		t.RecoveryPaidUntil = s.RecoveryPaidUntil
	}),
	swapForgets("RevokedAt", func(t *domain.RefreshToken, s domain.RefreshToken) { t.RevokedAt = s.RevokedAt }),
	swapForgets("RevokedReason", func(t *domain.RefreshToken, s domain.RefreshToken) {
		t.RevokedReason = s.RevokedReason
	}),
	swapForgets("ClientAddress", func(t *domain.RefreshToken, s domain.RefreshToken) {
		t.MetaData.ClientAddress = s.MetaData.ClientAddress
	}),
	{
		clause: swapStores,
		fault:  "Swap stores the whole record",
		inject: func(f *faulty) {
			var last domain.RefreshToken
			f.swap = func(ctx context.Context, before, after domain.RefreshToken, now time.Time, e domain.Event) error {
				last = after
				return f.within.Swap(ctx, before, after, now, e)
			}
			f.onRead(func(t *domain.RefreshToken) {
				if last.ID == t.ID {
					t.MetaData, t.Ordinal = last.MetaData, last.Ordinal
				}
			})
		},
	},
	{
		clause: "RefreshTokens/Swap/moves an expiry back as well as on, and clears what it is told to clear",
		fault:  "Swap skips zeros",
		inject: func(f *faulty) {
			f.swapAs(func(stored domain.RefreshToken, _, after *domain.RefreshToken, _ *time.Time) {
				if after.RecoveryPaidUntil == 0 {
					after.RecoveryPaidUntil = stored.RecoveryPaidUntil
				}
			})
		},
	},
	{
		clause: "RefreshTokens/Swap/moves an expiry back as well as on, and clears what it is told to clear",
		fault:  "Swap only prolongs",
		inject: func(f *faulty) {
			f.swapAs(func(stored domain.RefreshToken, _, after *domain.RefreshToken, _ *time.Time) {
				if after.ExpiresAt.Before(stored.ExpiresAt) {
					after.ExpiresAt = stored.ExpiresAt
				}
			})
		},
	},
	{
		clause: "RefreshTokens/Swap/refuses another generation",
		fault:  "Swap compares no generation",
		inject: func(f *faulty) {
			f.swapAs(func(stored domain.RefreshToken, before, _ *domain.RefreshToken, _ *time.Time) {
				before.Generation = stored.Generation
			})
		},
	},
	{
		clause: "RefreshTokens/Swap/refuses another instant of the recovery",
		fault:  "Swap compares no instant of the recovery",
		inject: func(f *faulty) {
			f.swapAs(func(stored domain.RefreshToken, before, _ *domain.RefreshToken, _ *time.Time) {
				before.RecoveredAt = stored.RecoveredAt
			})
		},
	},
	{
		clause: "RefreshTokens/Swap/refuses another instant of the recovery",
		fault:  "Swap compares whether it was recovered, not when",
		inject: func(f *faulty) {
			f.swapAs(func(stored domain.RefreshToken, before, _ *domain.RefreshToken, _ *time.Time) {
				if !before.RecoveredAt.IsZero() {
					before.RecoveredAt = stored.RecoveredAt
				}
			})
		},
	},
	{
		clause: useMany,
		fault:  "of many uses exactly one succeeds",
		inject: func(f *faulty) {
			var used atomic.Bool
			f.use = func(ctx context.Context, before, after domain.RefreshToken, now time.Time) error {
				if used.Swap(true) {
					return domain.ErrConflict
				}
				return f.within.Use(ctx, before, after, now)
			}
		},
	},
	{
		clause: useStores,
		fault:  "a use stores all that a Swap does",
		inject: func(f *faulty) {
			f.use = func(ctx context.Context, before, after domain.RefreshToken, now time.Time) error {
				return f.within.Swap(ctx, before, after, now, NewEvent())
			}
		},
	},
	{
		clause: useStores,
		fault:  "a use never moves an expiry back",
		inject: func(f *faulty) {
			f.use = func(ctx context.Context, before, after domain.RefreshToken, now time.Time) error {
				if after.ExpiresAt.Before(before.ExpiresAt) {
					after.ExpiresAt = before.ExpiresAt
				}
				return f.within.Use(ctx, before, after, now)
			}
		},
	},
	{
		clause: useRefuses,
		fault:  "a use of one that has ended is stored",
		inject: func(f *faulty) {
			f.use = func(ctx context.Context, before, after domain.RefreshToken, now time.Time) error {
				return instead(f.within.Use(ctx, before, after, now), domain.ErrConflict)
			}
		},
	},
	{
		clause: useRefuses,
		fault:  "a use compares no budget",
		inject: func(f *faulty) {
			f.use = func(ctx context.Context, before, after domain.RefreshToken, now time.Time) error {
				if s, err := f.within.Snapshot(ctx, before.ID); err == nil {
					before.RecoveryPaidUntil = s.Token.RecoveryPaidUntil
				}
				return f.within.Use(ctx, before, after, now)
			}
		},
	},
	{
		clause: "RefreshTokens/Swap/refuses another state of the budget",
		fault:  "Swap compares no budget",
		inject: func(f *faulty) {
			f.swapAs(func(stored domain.RefreshToken, before, _ *domain.RefreshToken, _ *time.Time) {
				before.RecoveryPaidUntil = stored.RecoveryPaidUntil
			})
		},
	},
	{
		clause: "RefreshTokens/Swap/compares nothing else",
		fault:  "Swap compares the last use",
		inject: func(f *faulty) {
			f.swap = func(ctx context.Context, before, after domain.RefreshToken, now time.Time, e domain.Event) error {
				if s, err := f.within.Snapshot(ctx, before.ID); err == nil && !s.Token.LastUsedAt.Equal(before.LastUsedAt) {
					return domain.ErrConflict
				}
				return f.within.Swap(ctx, before, after, now, e)
			}
		},
	},
	{
		clause: "RefreshTokens/Swap/refuses an ended one and an unknown one",
		fault:  "Swap forgot expiry",
		inject: func(f *faulty) {
			f.swapAs(func(_ domain.RefreshToken, _, _ *domain.RefreshToken, now *time.Time) { *now = t0 })
		},
	},
	{
		clause: "RefreshTokens/Swap/refuses an ended one and an unknown one",
		fault:  "what is unknown is swapped",
		inject: func(f *faulty) {
			f.swap = func(ctx context.Context, before, after domain.RefreshToken, now time.Time, e domain.Event) error {
				if _, err := f.within.Snapshot(ctx, before.ID); err != nil {
					return nil
				}
				return f.within.Swap(ctx, before, after, now, e)
			}
		},
	},
	{
		clause: "RefreshTokens/Swap/of many concurrent calls that charge one recovery exactly one succeeds",
		fault:  "Swap has no condition",
		inject: func(f *faulty) {
			f.swap = func(ctx context.Context, before, after domain.RefreshToken, now time.Time, e domain.Event) error {
				return instead(f.within.Swap(ctx, before, after, now, e), domain.ErrConflict)
			}
		},
	},
	{
		clause: "RefreshTokens/Swap/and a concurrent Advance are both stored",
		fault:  "an exchange beside it overwrites what Swap wrote",
		inject: func(f *faulty) {
			f.swap = func(context.Context, domain.RefreshToken, domain.RefreshToken, time.Time, domain.Event) error {
				return nil
			}
		},
	},
}

var rebindMutants = []mutant{
	{
		clause: rebindStores,
		fault:  "Rebind writes nothing",
		inject: func(f *faulty) {
			f.rebindAs(func(stored domain.RefreshToken, _, after *domain.RefreshToken, _ *time.Time) {
				after.Binding = stored.Binding
			})
		},
	},
	{
		clause: rebindStores,
		fault:  "Rebind stores the last use too",
		inject: func(f *faulty) {
			f.rebind = func(ctx context.Context, before, after domain.RefreshToken, now time.Time, e domain.Event) error {
				if err := f.within.Rebind(ctx, before, after, now, e); err != nil {
					return err
				}
				s, err := f.within.Snapshot(ctx, before.ID)
				if err != nil {
					return err
				}
				used := s.Token
				used.LastUsedAt = after.LastUsedAt
				return f.within.Use(ctx, s.Token, used, now)
			}
		},
	},
	{
		clause: rebindStores,
		fault:  "Rebind compares the generation",
		inject: func(f *faulty) {
			f.rebind = func(ctx context.Context, before, after domain.RefreshToken, now time.Time, e domain.Event) error {
				if s, err := f.within.Snapshot(ctx, before.ID); err == nil && s.Token.Generation != before.Generation {
					return domain.ErrConflict
				}
				return f.within.Rebind(ctx, before, after, now, e)
			}
		},
	},
	{
		clause: rebindFits,
		fault:  "Rebind does not compare the binding",
		inject: func(f *faulty) {
			f.rebindAs(func(stored domain.RefreshToken, before, _ *domain.RefreshToken, _ *time.Time) {
				before.Binding = stored.Binding
			})
		},
	},
	{
		clause: rebindEnded,
		fault:  "Rebind forgot expiry",
		inject: func(f *faulty) {
			f.rebindAs(func(_ domain.RefreshToken, _, _ *domain.RefreshToken, now *time.Time) { *now = t0 })
		},
	},
	{
		clause: rebindOne,
		fault:  "Rebind has no condition",
		inject: func(f *faulty) {
			f.rebind = func(ctx context.Context, before, after domain.RefreshToken, now time.Time, e domain.Event) error {
				return instead(f.within.Rebind(ctx, before, after, now, e), domain.ErrConflict)
			}
		},
	},
	{
		clause: rebindAdvance,
		fault:  "an exchange beside it overwrites what Rebind wrote",
		inject: func(f *faulty) {
			f.rebind = func(context.Context, domain.RefreshToken, domain.RefreshToken, time.Time, domain.Event) error {
				return nil
			}
		},
	},
}

var revocationMutants = []mutant{
	{
		clause: "Revocations/Revoke/ends the one, keeps instant and reason, and touches nothing else",
		fault:  "every reason is a call",
		inject: func(f *faulty) {
			f.revoke = func(
				ctx context.Context, tenantID string, id domain.ID, r port.Revocation, e domain.Event,
			) error {
				r.Reason = domain.RevokedByRequest
				return f.within.Revoke(ctx, tenantID, id, r, e)
			}
		},
	},
	{
		clause: "Revocations/Revoke/ends the one, keeps instant and reason, and touches nothing else",
		fault:  "one revocation ends all of the user",
		inject: func(f *faulty) {
			f.revoke = func(
				ctx context.Context, tenantID string, id domain.ID, r port.Revocation, e domain.Event,
			) error {
				if err := f.within.Revoke(ctx, tenantID, id, r, e); err != nil {
					return err
				}
				_, err := f.within.RevokeScope(ctx, domain.Scope{TenantID: tenantID, UserID: "ana"},
					domain.ID{}, r, NewEvent())
				return err
			}
		},
	},
	{
		clause: "Revocations/Revoke/what is unknown or of another tenant is not found, and stays active",
		fault:  "Revoke forgot the tenant",
		inject: func(f *faulty) {
			f.revoke = func(
				ctx context.Context, tenantID string, id domain.ID, r port.Revocation, e domain.Event,
			) error {
				if s, err := f.within.Snapshot(ctx, id); err == nil {
					tenantID = s.Token.TenantID
				}
				return f.within.Revoke(ctx, tenantID, id, r, e)
			}
		},
	},
	{
		clause: "Revocations/Revoke/an ended one is not found, and keeps the first instant and reason",
		fault:  "an ended refresh token is revoked again",
		inject: func(f *faulty) {
			f.revoke = func(
				ctx context.Context, tenantID string, id domain.ID, r port.Revocation, e domain.Event,
			) error {
				return instead(f.within.Revoke(ctx, tenantID, id, r, e), domain.ErrNotFound)
			}
		},
	},
	{
		clause: "Revocations/RevokeScope/covers its scope and nothing beside it",
		fault:  "the mark is the tenant's, whatever the scope",
		inject: func(f *faulty) {
			f.revokeScope = func(
				ctx context.Context, s domain.Scope, except domain.ID, r port.Revocation, e domain.Event,
			) (uint64, error) {
				return f.within.RevokeScope(ctx, domain.Scope{TenantID: s.TenantID}, except, r, e)
			}
		},
	},
	{
		clause: "Revocations/RevokeScope/covers its scope and nothing beside it",
		fault:  "the mark forgot the tenant",
		inject: func(f *faulty) {
			f.revokeScope = func(
				ctx context.Context, s domain.Scope, except domain.ID, r port.Revocation, e domain.Event,
			) (uint64, error) {
				other := s
				other.TenantID = "other"
				_, err := f.within.RevokeScope(ctx, other, except, r, NewEvent())
				epoch, own := f.within.RevokeScope(ctx, s, except, r, e)
				return epoch, errors.Join(err, own)
			}
		},
	},
	{
		clause: "Revocations/RevokeScope/covers its scope and nothing beside it",
		fault:  "an empty user is compared like a name",
		inject: func(f *faulty) {
			f.onSession(func(s *domain.Session) {
				if s.Token.UserID != "" {
					s.Mark = domain.Mark{}
				}
			})
		},
	},
	{
		clause: "Revocations/RevokeScope/what is stored later is active, also with a clock that is behind",
		fault:  "the mark is compared with at least",
		inject: func(f *faulty) {
			f.onSession(func(s *domain.Session) {
				if shot, err := f.within.Snapshot(context.Background(), s.Token.ID); err == nil && shot.MarkEpoch > 0 {
					s.Deleted = s.Deleted || shot.MarkEpoch >= s.Token.IssuedEpoch
				}
			})
		},
	},
	{
		clause: "Revocations/RevokeScope/what is stored later is active, also with a clock that is behind",
		fault:  "the mark is compared by clock",
		inject: func(f *faulty) {
			var last time.Time
			f.revokeScope = func(
				ctx context.Context, s domain.Scope, except domain.ID, r port.Revocation, e domain.Event,
			) (uint64, error) {
				last = r.At
				return f.within.RevokeScope(ctx, s, except, r, e)
			}
			f.onSession(func(s *domain.Session) { s.Deleted = s.Deleted || s.Token.IssuedAt.Before(last) })
		},
	},
	{
		clause: "Revocations/RevokeScope/grows the tenant's epoch by one and returns it",
		fault:  "tenants share one epoch",
		inject: func(f *faulty) {
			var shared uint64
			f.revokeScope = func(
				ctx context.Context, s domain.Scope, except domain.ID, r port.Revocation, e domain.Event,
			) (uint64, error) {
				shared++
				_, err := f.within.RevokeScope(ctx, s, except, r, e)
				return shared, err
			}
		},
	},
	{
		clause: "Revocations/RevokeScope/needs no user to exist",
		fault:  "a user without refresh tokens is not found",
		inject: func(f *faulty) {
			f.revokeScope = func(
				ctx context.Context, s domain.Scope, except domain.ID, r port.Revocation, e domain.Event,
			) (uint64, error) {
				page, err := f.within.List(ctx,
					bounded(port.ListQuery{TenantID: s.TenantID, UserID: s.UserID, Limit: 1, Now: r.At}))
				if err != nil || len(page.Sessions) == 0 {
					return 0, domain.ErrNotFound
				}
				return f.within.RevokeScope(ctx, s, except, r, e)
			}
		},
	},
	{
		clause: "Revocations/RevokeScope/an unknown tenant or application is not found, and writes nothing",
		fault:  "a mark needs no application",
		inject: func(f *faulty) {
			f.revokeScope = func(
				ctx context.Context, s domain.Scope, except domain.ID, r port.Revocation, e domain.Event,
			) (uint64, error) {
				epoch, err := f.within.RevokeScope(ctx, s, except, r, e)
				return epoch, instead(err, domain.ErrNotFound)
			}
		},
	},
	{
		clause: "Revocations/RevokeScope/an unknown tenant or application is not found, and writes nothing",
		fault:  "a refused revocation has grown the epoch",
		inject: func(f *faulty) {
			f.revokeScope = func(
				ctx context.Context, s domain.Scope, except domain.ID, r port.Revocation, e domain.Event,
			) (uint64, error) {
				epoch, err := f.within.RevokeScope(ctx, s, except, r, e)
				if errors.Is(err, domain.ErrNotFound) {
					_, _ = f.within.RevokeScope(ctx, domain.Scope{TenantID: s.TenantID, UserID: "nobody"},
						domain.ID{}, r, NewEvent())
				}
				return epoch, err
			}
		},
	},
	{
		clause: "Revocations/RevokeScope/works while application and tenant are inactive",
		fault:  "the inactive cannot be revoked",
		inject: func(f *faulty) {
			f.revokeScope = func(
				ctx context.Context, s domain.Scope, except domain.ID, r port.Revocation, e domain.Event,
			) (uint64, error) {
				if p, err := f.within.Policy(ctx, "acme", "shop"); err != nil || !p.Active {
					return 0, domain.ErrNotFound
				}
				return f.within.RevokeScope(ctx, s, except, r, e)
			}
		},
	},
	{
		clause: "Revocations/RevokeScope/spares the one that it is told to",
		fault:  "no refresh token is spared",
		inject: func(f *faulty) {
			f.revokeScope = func(
				ctx context.Context, s domain.Scope, _ domain.ID, r port.Revocation, e domain.Event,
			) (uint64, error) {
				return f.within.RevokeScope(ctx, s, domain.ID{}, r, e)
			}
		},
	},
	{
		clause: "Revocations/RevokeScope/sparing an ended or uncovered one is not found, and writes nothing",
		fault:  "the refresh token to spare is not checked",
		inject: func(f *faulty) {
			f.revokeScope = func(
				ctx context.Context, s domain.Scope, except domain.ID, r port.Revocation, e domain.Event,
			) (uint64, error) {
				epoch, err := f.within.RevokeScope(ctx, s, except, r, e)
				if errors.Is(err, domain.ErrNotFound) {
					return f.within.RevokeScope(ctx, s, domain.ID{}, r, e)
				}
				return epoch, err
			}
		},
	},
	{
		clause: "Revocations/RevokeScope/many concurrent calls have an epoch each, and the mark takes the highest",
		fault:  "two concurrent revocations share an epoch",
		inject: func(f *faulty) {
			f.revokeScope = func(
				ctx context.Context, s domain.Scope, except domain.ID, r port.Revocation, e domain.Event,
			) (uint64, error) {
				epoch, err := f.within.RevokeScope(ctx, s, except, r, e)
				return epoch | 1, err
			}
		},
	},
	{
		clause: "Revocations/RevokeScope/many concurrent calls have an epoch each, and the mark takes the highest",
		fault:  "a late writer lowers the mark",
		inject: func(f *faulty) {
			f.snapshot = func(ctx context.Context, id domain.ID) (domain.Snapshot, error) {
				s, err := f.within.Snapshot(ctx, id)
				if s.MarkEpoch > 0 {
					s.MarkEpoch--
				}
				return s, err
			}
		},
	},
	{
		clause: "Revocations/RevokeScope/ends what was issued before it began, and nothing issued after it returned",
		fault:  "an issue reads the epoch in another step",
		inject: func(f *faulty) {
			f.onRead(func(t *domain.RefreshToken) { t.IssuedEpoch += 1000 })
		},
	},
	{
		clause: "Revocations/RevokeScope/lets no exchange succeed that begins after it returned",
		fault:  "an exchange reads old marks",
		inject: func(f *faulty) {
			f.advanceForgets(func(s *domain.Snapshot, _ *domain.Call) { s.MarkEpoch = 0 })
		},
	},
	{
		clause: keepHighest,
		fault:  "the oldest are kept",
		inject: func(f *faulty) {
			f.keepBy(func(a, b domain.RefreshToken) int { return cmp.Compare(b.Ordinal, a.Ordinal) })
		},
	},
	{
		clause: keepHighest,
		fault:  "the limit goes by id",
		inject: func(f *faulty) { f.keepBy(byID) },
	},
	{
		clause: "Revocations/KeepNewest/after each of many issues the latest are active, at every handle",
		fault:  "the limit goes by id, and ends a login at birth",
		inject: func(f *faulty) { f.keepBy(byID) },
	},
	{
		clause: "Revocations/KeepNewest/after each of many issues the latest are active, at every handle",
		fault:  "the limit goes by the instant of the issue",
		inject: func(f *faulty) {
			f.keepBy(func(a, b domain.RefreshToken) int { return cmp.Or(a.RotatedAt.Compare(b.RotatedAt), byID(a, b)) })
		},
	},
	{
		clause: "Revocations/KeepNewest/after many concurrent issues the newest are active, and no more",
		fault:  "the limit goes by id, at many concurrent issues",
		inject: func(f *faulty) { f.keepBy(byID) },
	},
	{
		clause: keepHighest,
		fault:  "KeepNewest gives no reason",
		inject: func(f *faulty) {
			f.keepNewest = func(
				ctx context.Context, s domain.Scope, keep int, r port.Revocation, e domain.Event,
			) error {
				return f.within.KeepNewest(ctx, s, keep, byRequest(r.At), e)
			}
		},
	},
	{
		clause: "Revocations/KeepNewest/revokes nothing if there are no more than it keeps",
		fault:  "KeepNewest keeps one too few",
		inject: func(f *faulty) {
			f.keepNewest = func(
				ctx context.Context, s domain.Scope, keep int, r port.Revocation, e domain.Event,
			) error {
				return f.within.KeepNewest(ctx, s, keep-1, r, e)
			}
		},
	},
	{
		clause: "Revocations/KeepNewest/touches no one else's",
		fault:  "KeepNewest forgot the user",
		inject: func(f *faulty) {
			f.keepNewest = func(
				ctx context.Context, s domain.Scope, keep int, r port.Revocation, e domain.Event,
			) error {
				s.UserID = ""
				return f.within.KeepNewest(ctx, s, keep, r, e)
			}
		},
	},
	{
		clause: "Revocations/KeepNewest/counts only active refresh tokens, and does not change ended ones",
		fault:  "KeepNewest counts ended refresh tokens",
		inject: func(f *faulty) {
			of := f.inserted()
			f.keepNewest = func(
				ctx context.Context, s domain.Scope, keep int, r port.Revocation, e domain.Event,
			) error {
				all := of(s)
				for _, id := range all[min(len(all), keep):] {
					if err := f.within.Revoke(ctx, s.TenantID, id, r,
						NewEvent()); err != nil && !errors.Is(err, domain.ErrNotFound) {
						return err
					}
				}
				return nil
			}
		},
	},
	{
		clause: keepOrdinals,
		fault:  "KeepNewest forgets the ordinals of active refresh tokens",
		inject: func(f *faulty) { f.keepForgets(func(s domain.Snapshot, at time.Time) bool { return s.Alive(at) }) },
	},
	{
		clause: keepOrdinals,
		fault:  "KeepNewest forgets what expires within the minute",
		inject: func(f *faulty) {
			f.keepForgets(func(s domain.Snapshot, at time.Time) bool { return !s.Alive(at.Add(time.Minute)) })
		},
	},
	{
		clause: keepOrdinals,
		fault:  "KeepNewest forgets what expired just now",
		inject: func(f *faulty) {
			f.keepForgets(func(s domain.Snapshot, at time.Time) bool { return !at.Before(s.Token.ExpiresAt) })
		},
	},
	{
		clause: keepOrdinals,
		fault:  "KeepNewest forgets what the mark has spared",
		inject: func(f *faulty) {
			f.keepForgets(func(s domain.Snapshot, _ time.Time) bool {
				return s.MarkEpoch >= s.Token.IssuedEpoch && s.MarkEpoch > 0
			})
		},
	},
	{
		clause: keepOrdinals,
		fault:  "KeepNewest changes more of what has ended than its ordinal",
		inject: func(f *faulty) {
			var kept atomic.Bool
			f.onRead(func(t *domain.RefreshToken) {
				if kept.Load() && t.ExpiresAt.Before(t0.Add(-2*domain.MaxClockSkew)) {
					t.Ordinal, t.ExpiresAt = 0, t.ExpiresAt.Add(tick)
				}
			})
			f.keepNewest = func(
				ctx context.Context, s domain.Scope, keep int, r port.Revocation, e domain.Event,
			) error {
				kept.Store(true)
				return f.within.KeepNewest(ctx, s, keep, r, e)
			}
		},
	},
	{
		clause: keepMoving,
		fault:  "KeepNewest forgets what expired a minute ago",
		inject: func(f *faulty) {
			f.keepForgets(func(s domain.Snapshot, at time.Time) bool {
				return !at.Before(s.Token.ExpiresAt.Add(domain.MaxClockSkew - time.Second))
			})
		},
	},
	{
		clause: "Revocations/KeepNewest/after many concurrent issues the newest are active, and no more",
		fault:  "KeepNewest counts without those beside it",
		inject: func(f *faulty) {
			f.keepNewest = func(
				ctx context.Context, s domain.Scope, keep int, r port.Revocation, e domain.Event,
			) error {
				return f.within.KeepNewest(ctx, s, keep+1, r, e)
			}
		},
	},
}

var directoryMutants = []mutant{
	{
		clause: "Tenants/SaveTenant/keeps every field, and which are unset",
		fault:  "a tenant's save is half-written",
		inject: func(f *faulty) {
			f.saveTenant = func(ctx context.Context, w tenantSave) (domain.Version, error) {
				w.t.Settings = domain.Settings{}
				return w.in(ctx, f.within)
			}
		},
	},
	{
		clause: "Tenants/SaveTenant/keeps every field, and which are unset",
		fault:  "false is the same as nothing said",
		inject: func(f *faulty) {
			f.saveTenant = func(ctx context.Context, w tenantSave) (domain.Version, error) {
				if w.t.Settings.CookieOnly != nil && !*w.t.Settings.CookieOnly {
					w.t.Settings.CookieOnly = nil
				}
				return w.in(ctx, f.within)
			}
		},
	},
	{
		clause: "Tenants/SaveTenant/keeps every field, and which are unset",
		fault:  "a save skips empty fields",
		inject: func(f *faulty) {
			f.saveTenant = func(ctx context.Context, w tenantSave) (domain.Version, error) {
				if old, err := f.within.Tenant(ctx, w.t.ID); err == nil && w.t.Name == "" {
					w.t.Name = old.Name
				}
				return w.in(ctx, f.within)
			}
		},
	},
	{
		clause: "Tenants/SaveTenant/an issuer belongs to one tenant, and a duplicate writes nothing",
		fault:  "two tenants have one issuer",
		inject: func(f *faulty) {
			f.saveTenant = func(ctx context.Context, w tenantSave) (domain.Version, error) {
				v, err := w.in(ctx, f.within)
				return v, instead(err, domain.ErrDuplicate)
			}
		},
	},
	{
		clause: "Tenants/SaveTenant/an issuer belongs to one tenant, and a duplicate writes nothing",
		fault:  "a tenant is the duplicate of itself",
		inject: func(f *faulty) {
			f.saveTenant = func(ctx context.Context, w tenantSave) (domain.Version, error) {
				if old, err := f.within.Tenant(ctx, w.t.ID); err == nil && w.t.Issuer == old.Issuer {
					return 0, domain.ErrDuplicate
				}
				return w.in(ctx, f.within)
			}
		},
	},
	{
		clause: "Tenants/SaveTenant/any number of tenants may have no issuer, and one that was given up is free",
		fault:  "no issuer is an issuer",
		inject: func(f *faulty) {
			f.saveTenant = func(ctx context.Context, w tenantSave) (domain.Version, error) {
				all, _, err := f.within.Tenants(ctx, "", 99)
				has := func(o domain.Tenant) bool { return o.Issuer == w.t.Issuer && o.ID != w.t.ID }
				if err != nil || slices.ContainsFunc(all, has) {
					return 0, domain.ErrDuplicate
				}
				return w.in(ctx, f.within)
			}
		},
	},
	{
		clause: "Tenants/SaveTenant/of many concurrent calls with one issuer exactly one succeeds",
		fault:  "an issuer is looked for first and taken later",
		inject: func(f *faulty) {
			f.saveTenant = func(ctx context.Context, w tenantSave) (domain.Version, error) {
				v, err := w.in(ctx, f.within)
				return v, instead(err, domain.ErrDuplicate)
			}
		},
	},
	{
		clause: "Tenants/SaveTenant/does not change epoch, marks and applications",
		fault:  "a save deletes and creates",
		inject: func(f *faulty) {
			f.saveTenant = func(ctx context.Context, w tenantSave) (domain.Version, error) {
				if err := DeleteTenant(ctx, f.within, w.t.ID, t0); err != nil && !errors.Is(err, domain.ErrNotFound) {
					return 0, err
				}
				return 0, w.over(ctx, f.within)
			}
		},
	},
	{
		clause: "Tenants/SaveTenant/combines the policies of its applications again, and of no others",
		fault:  "a tenant's save leaves policies as they are",
		inject: stalePolicies,
	},
	{
		clause: "Tenants/SaveTenant/that makes an application impossible is refused, and writes nothing",
		fault:  "a tenant is saved whatever its applications are",
		inject: func(f *faulty) {
			f.saveTenant = func(ctx context.Context, w tenantSave) (domain.Version, error) {
				v, err := w.in(ctx, f.within)
				return v, unlessInvalid(err)
			}
		},
	},
	{
		clause: "Tenants/SaveTenant/that makes an application impossible is refused, and writes nothing",
		fault:  "a tenant is written before its applications are looked at",
		inject: func(f *faulty) {
			var mu sync.Mutex
			written := make(map[string]domain.Tenant)
			f.saveTenant = func(ctx context.Context, w tenantSave) (domain.Version, error) {
				mu.Lock()
				defer mu.Unlock()
				written[w.t.ID] = w.t
				return w.in(ctx, f.within)
			}
			f.tenant = func(_ context.Context, id string) (domain.Tenant, error) {
				mu.Lock()
				defer mu.Unlock()
				return written[id], nil
			}
		},
	},
	{
		clause: "Tenants/SaveTenant/with applications saves all of them in one step",
		fault:  "a tenant's save leaves out the applications",
		inject: func(f *faulty) {
			f.saveTenant = func(ctx context.Context, w tenantSave) (domain.Version, error) {
				w.with = nil
				v, err := w.in(ctx, f.within)
				return v, unlessInvalid(err)
			}
		},
	},
	{
		clause: "Tenants/SaveTenant/with applications saves all of them in one step",
		fault:  "a tenant is combined with what its applications were",
		inject: func(f *faulty) {
			f.saveTenant = func(ctx context.Context, w tenantSave) (domain.Version, error) {
				if err := SaveTenant(ctx, f.within, w.t); err != nil {
					return 0, err
				}
				return 0, w.over(ctx, f.within)
			}
		},
	},
	{
		clause: "Tenants/SaveTenant/with applications saves all of them in one step",
		fault:  "applications are combined with what their tenant was",
		inject: func(f *faulty) {
			f.saveTenant = func(ctx context.Context, w tenantSave) (domain.Version, error) {
				for _, a := range w.applications() {
					if err := SaveApplication(ctx, f.within, a); err != nil && !errors.Is(err, domain.ErrNotFound) {
						return 0, err
					}
				}
				return 0, w.over(ctx, f.within)
			}
		},
	},
	{
		clause: "Tenants/SaveTenant/with applications saves all of them in one step",
		fault:  "a tenant's save removes the applications that it does not name",
		inject: func(f *faulty) {
			f.saveTenant = func(ctx context.Context, w tenantSave) (domain.Version, error) {
				for _, id := range []string{"shop", "bar"} {
					named := slices.ContainsFunc(w.with, func(a port.ApplicationWrite) bool { return a.Application.ID == id })
					if _, err := f.within.Application(ctx, w.t.ID, id); err != nil || named || len(w.with) == 0 {
						continue
					}
					if err := DeleteApplication(ctx, f.within, w.t.ID, id, t0); err != nil {
						return 0, err
					}
				}
				return w.in(ctx, f.within)
			}
		},
	},
	{
		clause: "Tenants/SaveTenant/with applications saves all of them in one step",
		fault:  "a tenant's save takes an application's word for whose it is",
		inject: func(f *faulty) {
			f.saveTenant = func(ctx context.Context, w tenantSave) (domain.Version, error) {
				for _, a := range w.applications() {
					if a.TenantID == "other" {
						a.Settings = domain.Settings{}
						if err := SaveApplication(ctx, f.within, a); err != nil {
							return 0, err
						}
					}
				}
				return w.in(ctx, f.within)
			}
		},
	},
	{
		clause: "Tenants/SaveTenant/with applications saves all of them in one step",
		fault:  "of a repeated application the last counts",
		inject: func(f *faulty) {
			f.saveTenant = func(ctx context.Context, w tenantSave) (domain.Version, error) {
				last := make(map[string]port.ApplicationWrite)
				for _, a := range w.with {
					last[a.Application.ID] = a
				}
				w.with = slices.Collect(maps.Values(last))
				return w.in(ctx, f.within)
			}
		},
	},
	{
		clause: "Tenants/SaveTenant/with applications, when refused, writes nothing",
		fault:  "the applications that are possible are saved anyway",
		inject: func(f *faulty) {
			f.saveTenant = func(ctx context.Context, w tenantSave) (domain.Version, error) {
				v, err := w.in(ctx, f.within)
				if err == nil {
					return v, nil
				}
				for _, a := range w.applications() {
					err = errors.Join(err, unlessInvalid(SaveApplication(ctx, f.within, a)))
				}
				return 0, err
			}
		},
	},
	{
		clause: "Tenants/SaveTenant/with applications, when refused, writes nothing",
		fault:  "a refused tenant is saved without its applications",
		inject: func(f *faulty) {
			f.saveTenant = func(ctx context.Context, w tenantSave) (domain.Version, error) {
				v, err := w.in(ctx, f.within)
				if err != nil {
					return 0, errors.Join(err, SaveTenant(ctx, f.within, domain.Tenant{ID: w.t.ID, Name: w.t.Name}))
				}
				return v, nil
			}
		},
	},
	{
		clause: "Tenants/SaveTenant/with applications beside SaveApplication is one step",
		fault:  "an application's save brings back the tenant that it was once combined with",
		inject: func(f *faulty) {
			var once sync.Once
			var first domain.Tenant
			f.saveApplication = func(ctx context.Context, w applicationSave) (domain.Version, error) {
				var err error
				once.Do(func() { first, err = f.within.Tenant(ctx, w.a.TenantID) })
				return 0, errors.Join(err, SaveTenant(ctx, f.within, first, w.a))
			}
		},
	},
	{
		clause: "Tenants/SaveTenant/with applications beside SaveApplication is one step",
		fault:  "the policy of an application beside a tenant's save is that of its first save",
		inject: stalePolicies,
	},
	{
		clause: "Applications/SaveApplication/that its tenant makes impossible is refused, and writes nothing",
		fault:  "an application is saved whatever its tenant is",
		inject: func(f *faulty) {
			f.saveApplication = func(ctx context.Context, w applicationSave) (domain.Version, error) {
				v, err := w.in(ctx, f.within)
				return v, unlessInvalid(err)
			}
		},
	},
	{
		clause: "Applications/SaveApplication/that its tenant makes impossible is refused, and writes nothing",
		fault:  "an application is written before its tenant is looked at",
		inject: func(f *faulty) {
			written := make(map[string]domain.Application)
			f.saveApplication = func(ctx context.Context, w applicationSave) (domain.Version, error) {
				written[w.a.ID] = w.a
				return w.in(ctx, f.within)
			}
			f.application = func(_ context.Context, _, id string) (domain.Application, error) { return written[id], nil }
		},
	},
	{
		clause: "Applications/SaveApplication/beside a SaveTenant that it does not go with, one of the two is refused",
		fault:  "two concurrent saves see each other's old state",
		inject: func(f *faulty) {
			f.saveTenant = func(ctx context.Context, w tenantSave) (domain.Version, error) {
				v, err := w.in(ctx, f.within)
				return v, unlessInvalid(err)
			}
			f.saveApplication = func(ctx context.Context, w applicationSave) (domain.Version, error) {
				v, err := w.in(ctx, f.within)
				return v, unlessInvalid(err)
			}
		},
	},
	{
		clause: "Applications/SaveApplication/keeps every field, and which are unset",
		fault:  "an application's save is half-written",
		inject: func(f *faulty) {
			f.saveApplication = func(ctx context.Context, w applicationSave) (domain.Version, error) {
				w.a.Name = ""
				return w.in(ctx, f.within)
			}
		},
	},
	{
		clause: "Applications/SaveApplication/keeps every field, and which are unset",
		fault:  "zero is the same as nothing said",
		inject: func(f *faulty) {
			f.saveApplication = func(ctx context.Context, w applicationSave) (domain.Version, error) {
				if w.a.Settings.GraceSeconds != nil && *w.a.Settings.GraceSeconds == 0 {
					w.a.Settings.GraceSeconds = nil
				}
				return w.in(ctx, f.within)
			}
		},
	},
	{
		clause: "Applications/SaveApplication/without its tenant is not found, and writes nothing",
		fault:  "an application makes its tenant",
		inject: func(f *faulty) {
			f.saveApplication = func(ctx context.Context, w applicationSave) (domain.Version, error) {
				if _, err := f.within.Tenant(ctx, w.a.TenantID); err != nil {
					if err := SaveTenant(ctx, f.within, domain.Tenant{ID: w.a.TenantID}); err != nil {
						return 0, err
					}
				}
				return w.in(ctx, f.within)
			}
		},
	},
	{
		clause: "Applications/SaveApplication/does not change its refresh tokens and those of others",
		fault:  "a save is an application created again",
		inject: func(f *faulty) {
			f.saveApplication = func(ctx context.Context, w applicationSave) (domain.Version, error) {
				err := DeleteApplication(ctx, f.within, w.a.TenantID, w.a.ID, t0)
				if err != nil && !errors.Is(err, domain.ErrNotFound) {
					return 0, err
				}
				return 0, SaveApplication(ctx, f.within, w.a)
			}
		},
	},
	{
		clause: "Applications/SaveApplication/beside a SaveTenant leaves the policy of both",
		fault:  "policies are merged with a tenant read before",
		inject: stalePolicies,
	},
	{
		clause: "Tenants/Tenant/what does not exist is not found",
		fault:  "an unknown tenant is an empty one",
		inject: func(f *faulty) {
			f.tenant = func(ctx context.Context, id string) (domain.Tenant, error) {
				t, err := f.within.Tenant(ctx, id)
				return t, instead(err, domain.ErrNotFound)
			}
		},
	},
	{
		clause: "Tenants/Tenants/goes by id, byte by byte, up to the limit",
		fault:  "tenants are ordered without case",
		inject: func(f *faulty) {
			f.tenants = func(ctx context.Context, after string, limit int) ([]domain.Tenant, string, error) {
				all, _, err := f.within.Tenants(ctx, "", 99)
				all = slices.DeleteFunc(all, func(t domain.Tenant) bool { return strings.ToLower(t.ID) <= strings.ToLower(after) })
				slices.SortFunc(all, func(a, b domain.Tenant) int {
					return strings.Compare(strings.ToLower(a.ID), strings.ToLower(b.ID))
				})
				if len(all) <= limit {
					return all, "", err
				}
				return all[:limit], all[limit-1].ID, err
			}
		},
	},
	{
		clause: "Tenants/Tenants/goes by id, byte by byte, up to the limit",
		fault:  "Tenants has no limit",
		inject: func(f *faulty) {
			f.tenants = func(ctx context.Context, after string, _ int) ([]domain.Tenant, string, error) {
				return f.within.Tenants(ctx, after, 99)
			}
		},
	},
	{
		clause: "Tenants/Tenants/goes by id, byte by byte, up to the limit",
		fault:  "a page begins with the last tenant of the previous page",
		inject: func(f *faulty) {
			f.tenants = func(ctx context.Context, after string, limit int) ([]domain.Tenant, string, error) {
				page, next, err := f.within.Tenants(ctx, after, limit)
				if last, lastErr := f.within.Tenant(ctx, after); lastErr == nil {
					page = append([]domain.Tenant{last}, page...)[:min(limit, 1+len(page))]
				}
				return page, next, err
			}
		},
	},
	{
		clause: "Tenants/Tenants/goes by id, byte by byte, up to the limit",
		fault:  "Tenants forgets that there are more",
		inject: func(f *faulty) {
			f.tenants = func(ctx context.Context, after string, limit int) ([]domain.Tenant, string, error) {
				page, _, err := f.within.Tenants(ctx, after, limit)
				return page, "", err
			}
		},
	},
	{
		clause: "Tenants/Tenants/a page ends at its greatest size",
		fault:  "a page of tenants has any size",
		inject: func(f *faulty) {
			f.tenants = func(ctx context.Context, after string, limit int) (all []domain.Tenant, next string, err error) {
				for next = after; len(all) < limit; {
					var page []domain.Tenant
					if page, next, err = f.within.Tenants(ctx, next, limit-len(all)); err != nil || next == "" {
						return append(all, page...), "", err
					}
					all = append(all, page...)
				}
				return all, next, nil
			}
		},
	},
	{
		clause: "Tenants/Tenants/a page ends at its greatest size",
		fault:  "a tenant that is larger than a page is left out",
		inject: func(f *faulty) {
			f.tenants = func(ctx context.Context, after string, limit int) ([]domain.Tenant, string, error) {
				page, next, err := f.within.Tenants(ctx, after, limit)
				return slices.DeleteFunc(page, func(t domain.Tenant) bool {
					return port.TenantBytes(t) > port.MaxListBytes
				}), next, err
			}
		},
	},
	{
		clause: "Applications/Applications/a page ends at its limit, and at its greatest size",
		fault:  "a page of applications has any size",
		inject: func(f *faulty) { f.applications = f.allApplications },
	},
	{
		clause: "Applications/Applications/a page ends at its limit, and at its greatest size",
		fault:  "Applications has no limit",
		inject: func(f *faulty) {
			f.applications = func(
				ctx context.Context, tenantID, after string, limit int,
			) ([]domain.Application, string, error) {
				return f.within.Applications(ctx, tenantID, after, max(limit, 99))
			}
		},
	},
	{
		clause: "Applications/Applications/a page ends at its limit, and at its greatest size",
		fault:  "Applications begins at the first one always",
		inject: func(f *faulty) {
			f.applications = func(
				ctx context.Context, tenantID, after string, limit int,
			) ([]domain.Application, string, error) {
				page, next, err := f.within.Applications(ctx, tenantID, "", limit)
				if after != "" {
					next = ""
				}
				return page, next, err
			}
		},
	},
	{
		clause: "Applications/Applications/a page ends after the largest number of rows",
		fault:  "a page of applications looks at all of them",
		inject: func(f *faulty) { f.applications = f.allApplications },
	},
	{
		clause: "Applications/Application/what does not exist in that tenant is not found",
		fault:  "Application forgot the tenant",
		inject: func(f *faulty) {
			f.application = func(ctx context.Context, _, id string) (domain.Application, error) {
				return f.within.Application(ctx, "acme", id)
			}
		},
	},
	{
		clause: "Applications/Policy/is the effective one, in every field",
		fault:  "the tenant's settings are not merged",
		inject: func(f *faulty) {
			f.policy = func(ctx context.Context, tenantID, id string) (domain.Policy, error) {
				a, err := f.within.Application(ctx, tenantID, id)
				return combined(domain.Tenant{}, a), err
			}
		},
	},
	{
		clause: "Applications/Policy/of what does not exist is not found",
		fault:  "what does not exist has the default policy",
		inject: func(f *faulty) {
			f.policy = func(ctx context.Context, tenantID, id string) (domain.Policy, error) {
				p, err := f.within.Policy(ctx, tenantID, id)
				if err != nil {
					return domain.DefaultPolicy(), nil
				}
				return p, nil
			}
		},
	},
	{
		clause: "Applications/DeleteApplication/removes it and ends its refresh tokens, and nothing else",
		fault:  "a deletion ends the whole tenant's refresh tokens",
		inject: func(f *faulty) {
			f.deleteApplication = func(
				ctx context.Context, tenantID, id string, expect domain.Version, e domain.Event,
			) error {
				_, err := f.within.RevokeScope(ctx, domain.Scope{TenantID: tenantID}, domain.ID{},
					byRequest(e.At), NewEvent())
				return errors.Join(err, f.within.DeleteApplication(ctx, tenantID, id, expect, e))
			}
		},
	},
	{
		clause: "Applications/DeleteApplication/removes it and ends its refresh tokens, and nothing else",
		fault:  "a deletion only revokes",
		inject: func(f *faulty) {
			f.deleteApplication = func(
				ctx context.Context, tenantID, id string, expect domain.Version, e domain.Event,
			) error {
				_, err := f.within.RevokeScope(ctx, domain.Scope{TenantID: tenantID, ApplicationID: id}, domain.ID{},
					byRequest(e.At), NewEvent())
				return err
			}
		},
	},
	{
		clause: "Applications/DeleteApplication/what does not exist is not found",
		fault:  "what does not exist is deleted",
		inject: func(f *faulty) {
			f.deleteApplication = func(
				ctx context.Context, tenantID, id string, expect domain.Version, e domain.Event,
			) error {
				return instead(f.within.DeleteApplication(ctx, tenantID, id, expect, e), domain.ErrNotFound)
			}
		},
	},
	{
		clause: "Applications/DeleteApplication/created again, it has none of its earlier refresh tokens",
		fault:  "a deletion forgets the mark",
		inject: func(f *faulty) {
			f.onSession(func(s *domain.Session) { s.Mark = domain.Mark{} })
		},
	},
	{
		clause: "Applications/DeleteApplication/leaves no refresh token that was issued beside it",
		fault:  "a deletion does not see what is being issued",
		inject: func(f *faulty) {
			var mu sync.Mutex
			issued := make(map[domain.ID]domain.RefreshToken)
			f.insert = func(ctx context.Context, t domain.RefreshToken) (domain.RefreshToken, error) {
				mu.Lock()
				defer mu.Unlock()
				issued[t.ID] = t
				return f.within.Insert(ctx, t)
			}
			f.find = func(_ context.Context, _ string, id domain.ID) (domain.Session, error) {
				mu.Lock()
				defer mu.Unlock()
				return domain.Session{Token: issued[id]}, nil
			}
		},
	},
	{
		clause: "Tenants/DeleteTenant/deletes it with applications and API keys, ends its refresh tokens, and no more",
		fault:  "API keys survive their tenant",
		inject: func(f *faulty) {
			f.apiKeyByHash = func(ctx context.Context, hashes ...string) (domain.APIKey, error) {
				k, err := f.within.APIKeyByHash(ctx, hashes...)
				return k, instead(err, domain.ErrNotFound)
			}
		},
	},
	{
		clause: "Tenants/DeleteTenant/deletes it with applications and API keys, ends its refresh tokens, and no more",
		fault:  "a tenant's deletion ends API keys of all tenants",
		inject: func(f *faulty) {
			deleted := false
			f.deleteTenant = func(ctx context.Context, id string, expect domain.Version, e domain.Event) error {
				deleted = true
				return f.within.DeleteTenant(ctx, id, expect, e)
			}
			f.apiKeyByName = func(ctx context.Context, name string) (domain.APIKey, error) {
				k, err := f.within.APIKeyByName(ctx, name)
				if deleted && k.TenantID == "" {
					return domain.APIKey{}, domain.ErrNotFound
				}
				return k, err
			}
		},
	},
	{
		clause: "Tenants/DeleteTenant/created again, it continues from its epoch, without its earlier objects",
		fault:  "a tenant created again begins at epoch 0",
		inject: func(f *faulty) {
			deleted := false
			f.deleteTenant = func(ctx context.Context, id string, expect domain.Version, e domain.Event) error {
				deleted = true
				return f.within.DeleteTenant(ctx, id, expect, e)
			}
			f.onRead(func(t *domain.RefreshToken) {
				if deleted {
					t.IssuedEpoch = 0
				}
			})
		},
	},
	{
		clause: "Tenants/DeleteTenant/created again, it continues from its epoch, without its earlier objects",
		fault:  "a tenant created again has its refresh tokens back",
		inject: func(f *faulty) {
			f.onSession(func(s *domain.Session) { s.Mark = domain.Mark{} })
		},
	},
}

// unlessInvalid returns err, or nil for a refused input.
func unlessInvalid(err error) error {
	if invalid := (*domain.Invalid)(nil); errors.As(err, &invalid) {
		return nil
	}
	return err
}

// stalePolicies: an application keeps the policy of its first save.
func stalePolicies(f *faulty) {
	var mu sync.Mutex
	first := make(map[[2]string]domain.Policy)
	f.saveApplication = func(ctx context.Context, w applicationSave) (domain.Version, error) {
		v, err := w.in(ctx, f.within)
		if err != nil {
			return 0, err
		}
		p, err := f.within.Policy(ctx, w.a.TenantID, w.a.ID)
		mu.Lock()
		defer mu.Unlock()
		if _, ok := first[[2]string{w.a.TenantID, w.a.ID}]; !ok {
			first[[2]string{w.a.TenantID, w.a.ID}] = p
		}
		return v, err
	}
	f.policy = func(_ context.Context, tenantID, id string) (domain.Policy, error) {
		mu.Lock()
		defer mu.Unlock()
		return first[[2]string{tenantID, id}], nil
	}
}

var keyMutants = []mutant{
	{
		clause: "Tenants/TenantByIssuer/finds the tenant that has set it now, and none for no issuer",
		fault:  "a tenant without an issuer is found by none",
		inject: func(f *faulty) {
			f.tenantByIssuer = func(ctx context.Context, issuer string) (domain.Tenant, error) {
				ts, _, err := f.within.Tenants(ctx, "", 1000)
				for _, t := range ts {
					if t.Issuer == issuer {
						return t, err
					}
				}
				return domain.Tenant{}, cmp.Or(err, domain.ErrNotFound)
			}
		},
	},
	{
		clause: "Applications/Applications/are all of that tenant and of no other, by id",
		fault:  "ids are ordered without regard to case",
		inject: func(f *faulty) {
			f.applications = func(
				ctx context.Context, tenantID, after string, limit int,
			) ([]domain.Application, string, error) {
				all, next, err := f.within.Applications(ctx, tenantID, after, limit)
				slices.SortFunc(all, func(a, b domain.Application) int {
					return cmp.Compare(strings.ToLower(a.ID), strings.ToLower(b.ID))
				})
				return all, next, err
			}
		},
	},
	{
		clause: "Tenants/SaveTenant/of many applications changes the ones that differ, and keeps the others",
		fault:  "a save stores a hundred applications at most",
		inject: func(f *faulty) {
			f.saveTenant = func(ctx context.Context, w tenantSave) (domain.Version, error) {
				w.with = w.with[:min(len(w.with), 100)]
				return w.in(ctx, f.within)
			}
		},
	},
	{
		clause: "APIKeys/SaveAPIKey/keeps every field",
		fault:  "an API key serves every tenant",
		inject: func(f *faulty) {
			f.saveAPIKey = func(ctx context.Context, w apiKeySave) (domain.Version, error) {
				w.k.TenantID = ""
				return w.in(ctx, f.within)
			}
		},
	},
	{
		clause: "APIKeys/SaveAPIKey/keeps every field",
		fault:  "permissions have one method each",
		inject: func(f *faulty) {
			f.apiKeyByHash = func(ctx context.Context, hashes ...string) (domain.APIKey, error) {
				k, err := f.within.APIKeyByHash(ctx, hashes...)
				for endpoint, methods := range k.Permissions {
					k.Permissions[endpoint] = methods[:1]
				}
				return k, err
			}
		},
	},
	{
		clause: "APIKeys/SaveAPIKey/replaces the key of that name, whole, and its hash finds nothing any more",
		fault:  "the old hash still finds the key",
		inject: func(f *faulty) {
			f.apiKeyByHash = func(ctx context.Context, _ ...string) (domain.APIKey, error) {
				return f.within.APIKeyByName(ctx, "backend")
			}
		},
	},
	{
		clause: "APIKeys/SaveAPIKey/replaces the key of that name, whole, and its hash finds nothing any more",
		fault:  "a key that is replaced keeps its permissions",
		inject: func(f *faulty) {
			f.saveAPIKey = func(ctx context.Context, w apiKeySave) (domain.Version, error) {
				if old, err := f.within.APIKeyByName(ctx, w.k.Name); err == nil && w.k.Permissions == nil {
					w.k.Permissions = old.Permissions
				}
				return w.in(ctx, f.within)
			}
		},
	},
	{
		clause: "APIKeys/SaveAPIKey/another name's hash is a duplicate, and writes nothing",
		fault:  "two names have one hash",
		inject: func(f *faulty) {
			f.saveAPIKey = func(ctx context.Context, w apiKeySave) (domain.Version, error) {
				v, err := w.in(ctx, f.within)
				return v, instead(err, domain.ErrDuplicate)
			}
		},
	},
	{
		clause: "APIKeys/SaveAPIKey/another name's hash is a duplicate, and writes nothing",
		fault:  "a key cannot be saved again",
		inject: func(f *faulty) {
			f.saveAPIKey = func(ctx context.Context, w apiKeySave) (domain.Version, error) {
				if _, err := f.within.APIKeyByHash(ctx, w.k.Hash); err == nil {
					return 0, domain.ErrDuplicate
				}
				return w.in(ctx, f.within)
			}
		},
	},
	{
		clause: "APIKeys/SaveAPIKey/keeps every field",
		fault:  "a key has no previous hash",
		inject: func(f *faulty) {
			f.saveAPIKey = func(ctx context.Context, w apiKeySave) (domain.Version, error) {
				w.k.PreviousHash = ""
				return w.in(ctx, f.within)
			}
		},
	},
	{
		clause: "APIKeys/SaveAPIKey/its previous hash finds it too, until it has another one or none",
		fault:  "the previous hash finds nothing",
		inject: func(f *faulty) {
			f.apiKeyByHash = func(ctx context.Context, hashes ...string) (domain.APIKey, error) {
				k, err := f.within.APIKeyByHash(ctx, hashes...)
				if k.Hash != hashes[0] {
					return domain.APIKey{}, domain.ErrNotFound
				}
				return k, err
			}
		},
	},
	{
		clause: "APIKeys/SaveAPIKey/its previous hash finds it too, until it has another one or none",
		fault:  "a previous hash that is ended stays",
		inject: func(f *faulty) {
			f.saveAPIKey = func(ctx context.Context, w apiKeySave) (domain.Version, error) {
				if old, err := f.within.APIKeyByName(ctx, w.k.Name); err == nil && w.k.PreviousHash == "" {
					w.k.PreviousHash = old.PreviousHash
				}
				return w.in(ctx, f.within)
			}
		},
	},
	{
		clause: "APIKeys/SaveAPIKey/its previous hash finds it too, until it has another one or none",
		fault:  "the empty text finds a key without a previous hash",
		inject: func(f *faulty) {
			f.apiKeyByHash = func(ctx context.Context, hashes ...string) (domain.APIKey, error) {
				if hashes[0] == "" {
					return f.within.APIKeyByName(ctx, "backend")
				}
				return f.within.APIKeyByHash(ctx, hashes...)
			}
		},
	},
	{
		clause: "APIKeys/SaveAPIKey/a hash of another key, current or previous, is a duplicate",
		fault:  "a previous hash may be that of another key",
		inject: func(f *faulty) {
			f.saveAPIKey = func(ctx context.Context, w apiKeySave) (domain.Version, error) {
				if _, err := f.within.APIKeyByHash(ctx, w.k.PreviousHash); err == nil {
					w.k.PreviousHash = ""
				}
				return w.in(ctx, f.within)
			}
		},
	},
	{
		clause: "APIKeys/SaveAPIKey/a hash of another key, current or previous, is a duplicate",
		fault:  "a hash may be the previous one of another key",
		inject: func(f *faulty) {
			f.saveAPIKey = func(ctx context.Context, w apiKeySave) (domain.Version, error) {
				if other, err := f.within.APIKeyByHash(ctx, w.k.Hash); err == nil && other.PreviousHash == w.k.Hash {
					w.k.Hash += " of " + w.k.Name
				}
				return w.in(ctx, f.within)
			}
		},
	},
	{
		clause: "APIKeys/SaveAPIKey/of many concurrent keys with one hash, as either of their two, one is stored",
		fault:  "a key that is stored too late is not refused",
		inject: func(f *faulty) {
			f.saveAPIKey = func(ctx context.Context, w apiKeySave) (domain.Version, error) {
				v, err := w.in(ctx, f.within)
				return v, instead(err, domain.ErrDuplicate)
			}
		},
	},
	{
		clause: "APIKeys/SaveAPIKey/for a tenant that does not exist is not found, and writes nothing",
		fault:  "an API key waits for its tenant",
		inject: func(f *faulty) {
			f.saveAPIKey = func(ctx context.Context, w apiKeySave) (domain.Version, error) {
				v, err := w.in(ctx, f.within)
				return v, instead(err, domain.ErrNotFound)
			}
		},
	},
	{
		clause: "APIKeys/APIKeyByName/what does not exist is not found",
		fault:  "an unknown name is an empty key",
		inject: func(f *faulty) {
			f.apiKeyByName = func(ctx context.Context, name string) (domain.APIKey, error) {
				k, err := f.within.APIKeyByName(ctx, name)
				return k, instead(err, domain.ErrNotFound)
			}
		},
	},
	{
		clause: "APIKeys/APIKeyByHash/what does not exist is not found, however near",
		fault:  "hashes are compared up to the shorter one",
		inject: func(f *faulty) {
			f.apiKeyByHash = func(ctx context.Context, hashes ...string) (domain.APIKey, error) {
				k, err := f.within.APIKeyByName(ctx, "backend")
				if err == nil && !strings.HasPrefix(k.Hash, hashes[0]) && !strings.HasPrefix(hashes[0], k.Hash) {
					err = domain.ErrNotFound
				}
				return k, err
			}
		},
	},
	{
		clause: "Keys/AddKeys/keeps every field",
		fault:  "a retired key serves on",
		inject: func(f *faulty) {
			f.addKey = func(ctx context.Context, e domain.Event, k domain.SealedKey) error {
				k.RetiredAt = time.Time{}
				return f.within.AddKeys(ctx, e, k)
			}
		},
	},
	{
		clause: "Keys/AddKeys/a taken name is a duplicate, and writes nothing",
		fault:  "a key of a taken name overwrites",
		inject: overwriteKeys,
	},
	{
		clause: "Keys/AddKeys/a taken id is a duplicate, and writes nothing",
		fault:  "two keys have one id",
		inject: func(f *faulty) {
			f.addKey = func(ctx context.Context, e domain.Event, k domain.SealedKey) error {
				return instead(f.within.AddKeys(ctx, e, k), domain.ErrDuplicate)
			}
		},
	},
	{
		clause: "Keys/AddKeys/each part of the name tells keys apart, and having no id does not clash",
		fault:  "no id is an id",
		inject: func(f *faulty) {
			f.addKey = func(ctx context.Context, e domain.Event, k domain.SealedKey) error {
				if k.ID == "" {
					k.ID = "none"
				}
				return f.within.AddKeys(ctx, e, k)
			}
		},
	},
	{
		clause: "Keys/AddKeys/each part of the name tells keys apart, and having no id does not clash",
		fault:  "a key's name is without its tenant",
		inject: func(f *faulty) {
			f.addKey = func(ctx context.Context, e domain.Event, k domain.SealedKey) error {
				k.TenantID = ""
				return f.within.AddKeys(ctx, e, k)
			}
		},
	},
	{
		clause: "Keys/AddKeys/of many concurrent calls under one name exactly one succeeds",
		fault:  "of two keys added concurrently the later one stays",
		inject: overwriteKeys,
	},
	{
		clause: "Keys/Reseal/replaces ciphertext and SealedBy of that key and nothing else",
		fault:  "a key is identified by its ciphertext alone",
		inject: func(f *faulty) {
			f.reseal = func(ctx context.Context, before domain.SealedKey, sealed, sealedBy string) error {
				keys, err := sealedKeys(ctx, f.within)
				for _, k := range keys {
					if k.Sealed == before.Sealed {
						err = errors.Join(err, f.within.Reseal(ctx, k, sealed, sealedBy))
					}
				}
				return err
			}
		},
	},
	{
		clause: "Keys/Reseal/of a key that has changed or does not exist is a conflict, and writes nothing",
		fault:  "Reseal does not compare",
		inject: blindReseal,
	},
	{
		clause: "Keys/AddKeys/a taken name is a duplicate, and writes nothing",
		fault:  "a duplicate takes a revision",
		inject: func(f *faulty) {
			var wasted atomic.Uint64
			f.addKey = func(ctx context.Context, e domain.Event, k domain.SealedKey) error {
				err := f.within.AddKeys(ctx, e, k)
				if errors.Is(err, domain.ErrDuplicate) {
					wasted.Add(1)
				}
				return err
			}
			f.keyRevision = func(ctx context.Context) (uint64, error) {
				revision, err := f.within.KeyRevision(ctx)
				return revision + wasted.Load(), err
			}
		},
	},
	{
		clause: "Keys/AddKeys/of several, one of which is a duplicate, writes none",
		fault:  "keys are added one after another",
		inject: func(f *faulty) {
			f.addKeys = func(ctx context.Context, e domain.Event, keys ...domain.SealedKey) error {
				for _, k := range keys {
					if err := f.within.AddKeys(ctx, NewEvent(), k); err != nil {
						return err
					}
				}
				return nil
			}
		},
	},
	{
		clause: "Keys/Reseal/gives the key the next revision",
		fault:  "a key keeps the revision that it was added under",
		inject: func(f *faulty) { numberOutside(f, func() {}) },
	},
	{
		clause: "Keys/KeyRevision/is that of the newest key, and 0 while there is none",
		fault:  "the revision is that of the next key",
		inject: func(f *faulty) {
			f.keyRevision = func(ctx context.Context) (uint64, error) {
				revision, err := f.within.KeyRevision(ctx)
				return revision + 1, err
			}
		},
	},
	{
		clause: "Keys/KeysSince/gives what is newer, by revision, and no more than was asked for",
		fault:  "a page has no end",
		inject: func(f *faulty) {
			f.keysSince = func(ctx context.Context, since uint64, _ int) ([]domain.SealedKey, error) {
				return f.within.KeysSince(ctx, since, 1000)
			}
		},
	},
	{
		clause: "Keys/KeysSince/gives what is newer, by revision, and no more than was asked for",
		fault:  "since is inclusive",
		inject: func(f *faulty) {
			f.keysSince = func(ctx context.Context, since uint64, limit int) ([]domain.SealedKey, error) {
				return f.within.KeysSince(ctx, max(since, 1)-1, limit)
			}
		},
	},
	{
		clause: "Keys/KeysSince/a reader that continues from the last revision misses no key of concurrent writers",
		fault:  "a revision is drawn before the lock is taken",
		inject: func(f *faulty) {
			// A writer that is delayed between its number and its write.
			numberOutside(f, func() { time.Sleep(rand.N(2 * time.Millisecond)) })
		},
	},
	{
		clause: "Keys/KeysOfTenant/gives those of that tenant; for an empty id those of none",
		fault:  "keys of no tenant are every tenant's",
		inject: func(f *faulty) {
			f.keysOfTenant = func(ctx context.Context, tenantID string) ([]domain.SealedKey, error) {
				own, err := f.within.KeysOfTenant(ctx, tenantID)
				shared, more := f.within.KeysOfTenant(ctx, "")
				return slices.Concat(own, shared), errors.Join(err, more)
			}
		},
	},
	{
		clause: "Keys/KeyByID/finds the key of that id, and none for no id",
		fault:  "keys without an id are found by none",
		inject: func(f *faulty) {
			f.keyByID = func(ctx context.Context, id string) (domain.SealedKey, error) {
				if id == "" {
					keys, err := f.within.KeysSince(ctx, 0, 1)
					return keys[0], err
				}
				return f.within.KeyByID(ctx, id)
			}
		},
	},
	{
		clause: "Keys/Reseal/of many concurrent calls exactly one succeeds",
		fault:  "Reseal reads, compares and writes",
		inject: blindReseal,
	},
	{
		clause: "Store/HasData/reports everything except sealed keys",
		fault:  "sealed keys are data",
		inject: func(f *faulty) {
			f.hasData = func(ctx context.Context) (bool, error) {
				keys, err := sealedKeys(ctx, f.within)
				return len(keys) > 0, err
			}
		},
	},
	{
		clause: "Store/HasData/reports everything except sealed keys",
		fault:  "API keys are no data",
		inject: func(f *faulty) {
			f.hasData = func(ctx context.Context) (bool, error) {
				ts, _, err := f.within.Tenants(ctx, "", 1)
				return len(ts) > 0, err
			}
		},
	},
}

// numberOutside numbers keys itself as they are added, and runs meanwhile between a number and its key.
func numberOutside(f *faulty, meanwhile func()) {
	var mu sync.Mutex
	var drawn uint64
	numbers := map[uint32]uint64{}
	f.addKey = func(ctx context.Context, e domain.Event, k domain.SealedKey) error {
		mu.Lock()
		drawn++
		numbers[k.Number] = drawn
		mu.Unlock()
		meanwhile()
		return f.within.AddKeys(ctx, e, k)
	}
	f.keysSince = func(ctx context.Context, since uint64, limit int) ([]domain.SealedKey, error) {
		keys, err := sealedKeys(ctx, f.within)
		mu.Lock()
		for i := range keys {
			keys[i].Revision = numbers[keys[i].Number]
		}
		mu.Unlock()
		keys = slices.DeleteFunc(keys, func(k domain.SealedKey) bool { return k.Revision <= since })
		slices.SortFunc(keys, func(a, b domain.SealedKey) int { return cmp.Compare(a.Revision, b.Revision) })
		return keys[:min(len(keys), limit)], err
	}
}

// overwriteKeys: a key with a taken name replaces the other.
func overwriteKeys(f *faulty) {
	f.addKey = func(ctx context.Context, e domain.Event, k domain.SealedKey) error {
		err := f.within.AddKeys(ctx, e, k)
		if !errors.Is(err, domain.ErrDuplicate) {
			return err
		}
		keys, err := sealedKeys(ctx, f.within)
		return errors.Join(err, instead(f.within.Reseal(ctx, keyOf(keys, k), k.Sealed, k.SealedBy), domain.ErrConflict))
	}
}

// blindReseal: the ciphertext is replaced without a comparison.
func blindReseal(f *faulty) {
	f.reseal = func(ctx context.Context, before domain.SealedKey, sealed, sealedBy string) error {
		keys, err := sealedKeys(ctx, f.within)
		if err != nil {
			return err
		}
		return instead(f.within.Reseal(ctx, keyOf(keys, before), sealed, sealedBy), domain.ErrConflict)
	}
}
