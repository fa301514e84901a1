package storagetest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// changingKeys changes what is passed to ChangeKeys.
func changingKeys(change func(*port.KeyChange)) func(*faulty) {
	return func(f *faulty) {
		f.changeKeys = func(ctx context.Context, e domain.Event, c port.KeyChange) error {
			c.Add, c.Replace = slices.Clone(c.Add), slices.Clone(c.Replace)
			change(&c)
			return f.within.ChangeKeys(ctx, e, c)
		}
	}
}

// blindChange: keys are replaced whatever their revision is.
func blindChange(f *faulty) {
	f.changeKeys = func(ctx context.Context, e domain.Event, c port.KeyChange) error {
		keys, err := f.within.KeysSince(ctx, 0, 1000)
		if err != nil {
			return err
		}
		c.Replace = slices.Clone(c.Replace)
		for i, k := range c.Replace {
			if stored := keyOf(keys, k); stored.Revision != 0 {
				c.Replace[i].Revision = stored.Revision
			}
		}
		return instead(f.within.ChangeKeys(ctx, e, c), domain.ErrStale)
	}
}

// inSteps: each key of a change is written by itself.
func inSteps(f *faulty) {
	f.changeKeys = func(ctx context.Context, _ domain.Event, c port.KeyChange) error {
		for _, k := range c.Replace {
			if err := f.within.ChangeKeys(ctx, NewEvent(), port.KeyChange{Replace: []domain.SealedKey{k}}); err != nil {
				return err
			}
		}
		for _, k := range c.Add {
			if err := f.within.ChangeKeys(ctx, NewEvent(), port.KeyChange{Add: []domain.SealedKey{k}}); err != nil {
				return err
			}
		}
		return nil
	}
}

// turning replaces the master key that TurnCheck compares.
func turning(compare func(ctx context.Context, s port.Store, before, after *domain.SealedKey)) func(*faulty) {
	return func(f *faulty) {
		f.turnCheck = func(ctx context.Context, e domain.Event, before, after domain.SealedKey) error {
			compare(ctx, f.within, &before, &after)
			return f.within.TurnCheck(ctx, e, before, after)
		}
	}
}

// sealedByAny seals the check value although other keys are sealed by another master key.
func sealedByAny(f *faulty) {
	f.turnCheck = func(ctx context.Context, e domain.Event, before, after domain.SealedKey) error {
		return errors.Join(f.within.Reseal(ctx, before, after.Sealed, after.SealedBy), f.within.Record(ctx, e))
	}
}

// passSees changes what OldestRotation returns.
func passSees(change func(began, oldest *time.Time)) func(*faulty) {
	return func(f *faulty) {
		f.oldestRotation = func(ctx context.Context) (began, oldest time.Time, err error) {
			began, oldest, err = f.within.OldestRotation(ctx)
			change(&began, &oldest)
			return began, oldest, err
		}
	}
}

func stepping(change func(*port.PurgeStep)) func(*faulty) {
	return func(f *faulty) {
		f.purge = func(ctx context.Context, s port.PurgeStep) (port.Purged, error) {
			s.Ended = slices.Clone(s.Ended)
			change(&s)
			return f.within.Purge(ctx, s)
		}
	}
}

func rehash(change func(before, after *domain.APIKey)) func(*faulty) {
	return func(f *faulty) {
		f.rehashAPIKey = func(ctx context.Context, before, after domain.APIKey) error {
			change(&before, &after)
			return f.within.RehashAPIKey(ctx, before, after)
		}
	}
}

const changes = "KeyChanges/ChangeKeys/"

var keyChangeMutants = []mutant{
	{changes + "adds a key with every field", "the seal is lost", changingKeys(func(c *port.KeyChange) {
		for i := range c.Add {
			c.Add[i].SealedBy = ""
		}
	}), false},
	{changes + "adds a key with every field", "the start of verification is lost", changingKeys(func(c *port.KeyChange) {
		for i := range c.Add {
			c.Add[i].KnownAt = time.Time{}
		}
	}), false},
	{changes + "replaces name and instants of a key, and nothing else", "that it is unused is not stored",
		changingKeys(func(c *port.KeyChange) {
			for i := range c.Replace {
				c.Replace[i].UnusedAt = time.Time{}
			}
		}), false},
	{changes + "replaces name and instants of a key, and nothing else", "a revocation is not stored",
		changingKeys(func(c *port.KeyChange) {
			for i := range c.Replace {
				c.Replace[i].RevokedAt = time.Time{}
			}
		}), false},
	{changes + "replaces name and instants of a key, and nothing else", "the ciphertext is lost", func(f *faulty) {
		f.changeKeys = func(ctx context.Context, e domain.Event, c port.KeyChange) error {
			err := f.within.ChangeKeys(ctx, e, c)
			for _, k := range c.Replace {
				err = errors.Join(err, f.within.Reseal(ctx, k, "", k.SealedBy))
			}
			return err
		}
	}, false},
	{changes + "gives each key a revision of its own, above all others", "a replaced key keeps its revision",
		func(f *faulty) {
			f.keysSince = func(ctx context.Context, revision uint64, limit int) ([]domain.SealedKey, error) {
				keys, err := f.within.KeysSince(ctx, revision, limit)
				return slices.DeleteFunc(keys, func(k domain.SealedKey) bool { return revision > 0 && k.Number < 3 }), err
			}
		}, false},
	{changes + "of a key that has another revision is stale, and writes nothing", "revisions are not compared",
		blindChange, false},
	{changes + "of a key that has another revision is stale, and writes nothing", "each key is a step of its own", inSteps,
		false},
	{changes + "a taken name or id is a duplicate, and writes nothing", "each key is a step of its own", inSteps, false},
	{changes + "of concurrent changes of one key exactly one succeeds", "ChangeKeys reads, compares and writes",
		blindChange, false},
	{changes + "a key that another master key sealed than the check value is a conflict", "seals are not compared",
		func(f *faulty) {
			f.changeKeys = func(ctx context.Context, e domain.Event, c port.KeyChange) error {
				err := f.within.ChangeKeys(ctx, e, c)
				if errors.Is(err, domain.ErrConflict) {
					return nil
				}
				return err
			}
		}, false},
	{changes + "without a known master key in force, keys of any are added", "a seal must be that of the check value",
		func(f *faulty) {
			f.changeKeys = func(ctx context.Context, e domain.Event, c port.KeyChange) error {
				keys, err := f.within.KeysSince(ctx, 0, 1000)
				for _, k := range c.Add {
					if check := keyOf(keys, checkKey("")); check.Revision != 0 && check.SealedBy != k.SealedBy {
						err = errors.Join(err, domain.ErrConflict)
					}
				}
				return errors.Join(err, f.within.ChangeKeys(ctx, e, c))
			}
		}, false},

	{"KeyChanges/TurnCheck/replaces ciphertext and seal of the check value", "the ciphertext stays",
		turning(func(_ context.Context, _ port.Store, before, after *domain.SealedKey) { after.Sealed = before.Sealed }),
		false},
	{"KeyChanges/TurnCheck/while a key is sealed by another master key is a conflict, and writes nothing",
		"other keys are not looked at", sealedByAny, false},
	{"KeyChanges/TurnCheck/of a check value that has changed is a conflict, and writes nothing",
		"the former check value is not compared",
		turning(func(ctx context.Context, s port.Store, before, _ *domain.SealedKey) {
			keys, _ := s.KeysSince(ctx, 0, 1000)
			before.Sealed = keyOf(keys, *before).Sealed
		}), false},
	{"KeyChanges/TurnCheck/leaves no key that is added concurrently behind", "other keys are not looked at", sealedByAny,
		false},

	{"KeyChanges/SigningKeys/gives all of each tenant, in pages by tenant", "a page ends within a tenant",
		func(f *faulty) {
			f.signingKeys = func(ctx context.Context, after string, limit int) ([]domain.SealedKey, string, error) {
				page, next, err := f.within.SigningKeys(ctx, after, limit)
				return page[:min(limit, len(page))], next, err
			}
		}, false},
	{"KeyChanges/SigningKeys/gives all of each tenant, in pages by tenant", "retired keys are given", func(f *faulty) {
		f.signingKeys = func(ctx context.Context, after string, limit int) ([]domain.SealedKey, string, error) {
			page, next, err := f.within.SigningKeys(ctx, after, limit)
			if len(page) == 0 {
				return page, next, err
			}
			all, more := f.within.KeysOfTenant(ctx, page[0].TenantID)
			rest := slices.DeleteFunc(page, func(k domain.SealedKey) bool { return k.TenantID == all[0].TenantID })
			return append(all, rest...), next, errors.Join(err, more)
		}
	}, false},
	{"KeyChanges/SigningKeys/gives all of each tenant, in pages by tenant", "a page has one tenant", func(f *faulty) {
		f.signingKeys = func(ctx context.Context, after string, _ int) ([]domain.SealedKey, string, error) {
			return f.within.SigningKeys(ctx, after, 1)
		}
	}, false},

	{"KeyChanges/OldestRotation/is zero before a pass, and what the last complete pass saw active",
		"nothing is ever noted", passSees(func(_, oldest *time.Time) { *oldest = time.Time{} }), false},
	{"KeyChanges/OldestRotation/is zero before a pass, and what the last complete pass saw active",
		"the end of the pass is its beginning", func(f *faulty) {
			var ended time.Time
			f.purge = func(ctx context.Context, s port.PurgeStep) (port.Purged, error) {
				p, err := f.within.Purge(ctx, s)
				if p.Done {
					ended = s.Now
				}
				return p, err
			}
			f.oldestRotation = func(ctx context.Context) (began, oldest time.Time, err error) {
				_, oldest, err = f.within.OldestRotation(ctx)
				return ended, oldest, err
			}
		}, false},

	{"APIKeys/APIKeyByHash/of several hashes gives the key of the first that is a hash of one",
		"only the first is looked up", func(f *faulty) {
			f.apiKeyByHash = func(ctx context.Context, hashes ...string) (domain.APIKey, error) {
				return f.within.APIKeyByHash(ctx, hashes[0])
			}
		}, false},
	{"APIKeys/APIKeyByHash/of several hashes gives the key of the first that is a hash of one", "the last one wins",
		func(f *faulty) {
			f.apiKeyByHash = func(ctx context.Context, hashes ...string) (domain.APIKey, error) {
				hashes = slices.Clone(hashes)
				slices.Reverse(hashes)
				return f.within.APIKeyByHash(ctx, hashes...)
			}
		}, false},
	{"APIKeys/RehashAPIKey/replaces the hashes and their keys, under the next version, and nothing else",
		"the number of the hash key stays", rehash(func(before, after *domain.APIKey) { after.HashKey = before.HashKey }),
		false},
	{"APIKeys/RehashAPIKey/replaces the hashes and their keys, under the next version, and nothing else",
		"the version stays", func(f *faulty) {
			f.apiKeyByHash = func(ctx context.Context, hashes ...string) (domain.APIKey, error) {
				k, err := f.within.APIKeyByHash(ctx, hashes...)
				k.Version = 1
				return k, err
			}
		}, false},
	{"APIKeys/RehashAPIKey/a save of the version before it is stale, and changes nothing", "a save does not compare it",
		func(f *faulty) {
			f.saveAPIKey = func(ctx context.Context, w apiKeySave) (domain.Version, error) {
				if k, err := f.within.APIKey(ctx, w.k.ID); err == nil && w.expect == k.Version-1 {
					w.expect = k.Version
				}
				return w.in(ctx, f.within)
			}
		}, false},
	{"APIKeys/RehashAPIKey/of a key with other hashes is a conflict, and writes nothing", "the hashes are not compared",
		func(f *faulty) {
			f.rehashAPIKey = func(ctx context.Context, before, after domain.APIKey) error {
				k, err := f.within.APIKey(ctx, before.ID)
				if err != nil {
					return domain.ErrConflict
				}
				return f.within.RehashAPIKey(ctx, k, after)
			}
		}, false},
	{"APIKeys/RehashAPIKey/a hash of another key, current or previous, is a duplicate",
		"the previous hash is not compared", func(f *faulty) {
			f.rehashAPIKey = func(ctx context.Context, before, after domain.APIKey) error {
				other, err := f.within.APIKeyByHash(ctx, after.Hash, after.PreviousHash)
				if err == nil && other.ID != before.ID && other.Hash != after.Hash && other.Hash != after.PreviousHash {
					return nil
				}
				return f.within.RehashAPIKey(ctx, before, after)
			}
		}, false},
	{"Applications/RehashClientSecrets/replaces the secrets, under a new version, and nothing else",
		"the version stays", func(f *faulty) {
			f.application = func(ctx context.Context, tenantID, id string) (domain.Application, error) {
				a, err := f.within.Application(ctx, tenantID, id)
				a.Version = min(a.Version, 1)
				return a, err
			}
		}, false},
	{"Applications/RehashClientSecrets/a concurrent save does not put the former secrets back",
		"a save does not compare the version", func(f *faulty) {
			f.saveApplication = func(ctx context.Context, w applicationSave) (domain.Version, error) {
				for {
					a, err := f.within.Application(ctx, w.a.TenantID, w.a.ID)
					if err != nil {
						return w.in(ctx, f.within)
					}
					w.expect = a.Version
					if version, err := w.in(ctx, f.within); !errors.Is(err, domain.ErrStale) {
						return version, err
					}
				}
			}
		}, true},
	{"Applications/RehashClientSecrets/a save of the version before it is stale, and changes nothing",
		"a save does not compare it", func(f *faulty) {
			f.saveApplication = func(ctx context.Context, w applicationSave) (domain.Version, error) {
				if a, err := f.within.Application(ctx, w.a.TenantID, w.a.ID); err == nil && w.expect == a.Version-1 {
					w.expect = a.Version
				}
				return w.in(ctx, f.within)
			}
		}, false},
	{"Applications/RehashClientSecrets/of one that has changed is a conflict, and writes nothing",
		"the secrets are not compared", func(f *faulty) {
			f.rehashSecrets = func(ctx context.Context, before, after domain.Application) error {
				a, err := f.within.Application(ctx, before.TenantID, before.ID)
				if err != nil {
					return domain.ErrConflict
				}
				return f.within.RehashClientSecrets(ctx, a, after)
			}
		}, false},
	{"Applications/ApplicationsHashedWith/counts the applications with a secret of that key, and names the first",
		"only the newest secret is looked at", func(f *faulty) {
			f.applicationsWith = func(
				ctx context.Context, number uint32, limit int,
			) (first []domain.Application, total int, err error) {
				all, _, err := f.within.ApplicationsHashedWith(ctx, number, 1000)
				all = slices.DeleteFunc(all, func(a domain.Application) bool { return a.Client.Secrets[0].HashKey != number })
				return all[:min(limit, len(all))], len(all), err
			}
		}, false},
	{"APIKeys/APIKeysHashedWith/counts the keys of which one hash is of that key, and names the first",
		"previous hashes are not counted", func(f *faulty) {
			f.apiKeysHashedWith = func(
				ctx context.Context, number uint32, limit int,
			) (first []domain.APIKey, total int, err error) {
				all, _, err := f.within.APIKeysHashedWith(ctx, number, 1000)
				all = slices.DeleteFunc(all, func(k domain.APIKey) bool { return k.HashKey != number })
				return all[:min(limit, len(all))], len(all), err
			}
		}, false},
	{"APIKeys/APIKeysHashedWith/counts the keys of which one hash is of that key, and names the first",
		"only those on the page are counted", func(f *faulty) {
			f.apiKeysHashedWith = func(ctx context.Context, number uint32, limit int) ([]domain.APIKey, int, error) {
				first, _, err := f.within.APIKeysHashedWith(ctx, number, limit)
				return first, len(first), err
			}
		}, false},

	{"Janitor/Purge/revokes what is active and was rotated within a range, with the event and as facts",
		"only the first range is ended", stepping(func(s *port.PurgeStep) { s.Ended = s.Ended[:min(1, len(s.Ended))] }),
		false},
	{"Janitor/Purge/revokes what is active and was rotated within a range, with the event and as facts",
		"the end of a range is within it", stepping(func(s *port.PurgeStep) {
			for i := range s.Ended {
				s.Ended[i].To = s.Ended[i].To.Add(tick)
			}
		}), false},
	{"Janitor/Purge/a step that revokes nothing stores no event", "the event is stored anyway", func(f *faulty) {
		f.purge = func(ctx context.Context, s port.PurgeStep) (port.Purged, error) {
			p, err := f.within.Purge(ctx, s)
			if len(s.Ended) > 0 {
				err = errors.Join(err, f.within.Record(ctx, s.Event))
			}
			return p, err
		}
	}, false},

	{"Reach/Revoked/gives the signing keys that are revoked, and no other keys", "keys are no facts", func(f *faulty) {
		f.revoked = func(ctx context.Context, q port.FactQuery, each func(domain.Fact)) (port.Reading, error) {
			return f.within.Revoked(ctx, q, func(k domain.Fact) {
				if k.KeyID == "" {
					each(k)
				}
			})
		}
	}, false},
	{"Reach/Revoked/gives the signing keys that are revoked, and no other keys", "shared keys are no facts",
		func(f *faulty) {
			f.revoked = func(ctx context.Context, q port.FactQuery, each func(domain.Fact)) (port.Reading, error) {
				return f.within.Revoked(ctx, q, func(k domain.Fact) {
					if !strings.HasPrefix(k.KeyID, "kid ") || k.TenantID != "" {
						each(k)
					}
				})
			}
		}, false},
	{"Reach/Stamp/stamps at most its limit of signing keys, and tells that there may be more", "the limit is not kept",
		func(f *faulty) {
			f.stamp = func(ctx context.Context, now time.Time, _ int) (int, error) { return f.within.Stamp(ctx, now, 1000) }
		}, false},
}
