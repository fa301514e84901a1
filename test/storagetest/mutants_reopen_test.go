package storagetest

import (
	"context"
	"testing"

	"github.com/refreshd/refreshd/adapter/memstore"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// oblivious is a store in memory that is empty again after its handle is closed.
func oblivious() port.Store { return memstore.New() }

// TestAStoreThatForgetsAtCloseFailsEveryClauseOfReopens: each clause reads what was written before.
func TestAStoreThatForgetsAtCloseFailsEveryClauseOfReopens(t *testing.T) {
	for _, c := range reopening {
		if len(failuresOf(t.Context(), c, oblivious)) == 0 {
			t.Errorf("a store that forgets everything at Close passes %q", c.name)
		}
	}
}

// TestAStoreThatReopensPassesEveryClauseOfReopens: a mutant must fail because of its fault alone.
func TestAStoreThatReopensPassesEveryClauseOfReopens(t *testing.T) {
	faultless := mutant{inject: func(f *faulty) { f.close = func() error { return nil } }}
	for _, c := range reopening {
		for _, failure := range failuresOf(t.Context(), c, faultless.database()) {
			t.Errorf("%s: %s", c.name, failure)
		}
	}
}

// TestAStoreThatForgetsAPartAtCloseFails: a store may keep its rows, and lose at Close what it had in memory.
func TestAStoreThatForgetsAPartAtCloseFails(t *testing.T) {
	byName := make(map[string]clause)
	for _, c := range reopening {
		byName[c.name] = c
	}
	for fault, m := range map[string]struct {
		clause string
		inject func(f *faulty, reopened func() bool)
	}{
		"the last rotation is lost": {
			"Reopens/refresh tokens are stored in every field, as the last write left them",
			func(f *faulty, reopened func() bool) {
				f.snapshot = func(ctx context.Context, id domain.ID) (domain.Snapshot, error) {
					s, err := f.within.Snapshot(ctx, id)
					if reopened() && s.Token.Generation == 2 {
						s.Token.Generation = 1
					}
					return s, err
				}
			},
		},
		"a mark is lost": {
			"Reopens/marks cover what was stored before, and the epoch continues",
			func(f *faulty, reopened func() bool) {
				f.find = func(ctx context.Context, tenantID string, id domain.ID) (domain.Session, error) {
					found, err := f.within.Find(ctx, tenantID, id)
					if reopened() {
						found.Mark = domain.Mark{}
					}
					return found, err
				}
			},
		},
		"the revision of the keys begins again": {
			"Reopens/keys are stored as they were sealed, and the revision continues",
			func(f *faulty, reopened func() bool) {
				f.keyRevision = func(ctx context.Context) (uint64, error) {
					revision, err := f.within.KeyRevision(ctx)
					if reopened() {
						revision = 0
					}
					return revision, err
				}
			},
		},
		"the lease of the janitor ends": {
			"Reopens/the janitor continues at its position, and its lease keeps its end",
			func(f *faulty, reopened func() bool) {
				f.purge = func(ctx context.Context, s port.PurgeStep) (port.Purged, error) {
					if reopened() {
						s.LeaseHolder = "one" // whatever the holder
					}
					return f.within.Purge(ctx, s)
				}
			},
		},
		"the janitor begins its pass again": {
			"Reopens/the janitor continues at its position, and its lease keeps its end",
			func(f *faulty, reopened func() bool) {
				f.purge = func(ctx context.Context, s port.PurgeStep) (port.Purged, error) {
					p, err := f.within.Purge(ctx, s)
					if reopened() {
						p.Deleted = 0 // the first ones are active
					}
					return p, err
				}
			},
		},
		"what was deleted is back": {
			"Reopens/tenants and applications are stored, and deleted ones are not",
			func(f *faulty, reopened func() bool) {
				f.applications = func(
					ctx context.Context, tenantID, after string, limit int,
				) ([]domain.Application, string, error) {
					page, next, err := f.within.Applications(ctx, tenantID, after, limit)
					if reopened() {
						page = append(page, domain.Application{TenantID: tenantID, ID: "gone"})
					}
					return page, next, err
				}
			},
		},
		"the last event is lost": {
			"Reopens/events are stored in every field, and one that is stored again is still one",
			func(f *faulty, reopened func() bool) {
				f.events = func(ctx context.Context, q port.EventQuery) (port.EventPage, error) {
					page, err := f.within.Events(ctx, q)
					if n := len(page.Events); reopened() && n > 0 {
						page.Events = page.Events[:n-1]
					}
					return page, err
				}
			},
		},
		"a tenant loses its version": {
			"Reopens/tenants and applications are stored, and deleted ones are not",
			func(f *faulty, reopened func() bool) {
				f.tenant = func(ctx context.Context, id string) (domain.Tenant, error) {
					t, err := f.within.Tenant(ctx, id)
					if reopened() {
						t.Version = 1
					}
					return t, err
				}
			},
		},
		"the ids of events are forgotten": {
			"Reopens/events are stored in every field, and one that is stored again is still one",
			func(f *faulty, reopened func() bool) {
				f.record = func(ctx context.Context, e domain.Event) error {
					if reopened() {
						e.ID[15] += 100
					}
					return f.within.Record(ctx, e)
				}
			},
		},
		"API keys lose their permissions": {
			"Reopens/API keys are stored",
			func(f *faulty, reopened func() bool) {
				f.apiKeyByHash = func(ctx context.Context, hashes ...string) (domain.APIKey, error) {
					k, err := f.within.APIKeyByHash(ctx, hashes...)
					if reopened() {
						k.Permissions = nil
					}
					return k, err
				}
			},
		},
	} {
		c, ok := byName[m.clause]
		if !ok {
			t.Errorf("there is no clause %q", m.clause)
			continue
		}
		closed := false
		database := mutant{inject: func(f *faulty) {
			f.close = func() error { closed = true; return nil }
			m.inject(f, func() bool { return closed })
		}}.database()
		if len(failuresOf(t.Context(), c, database)) == 0 {
			t.Errorf("a store where %s at Close passes %q", fault, m.clause)
		}
	}
}
