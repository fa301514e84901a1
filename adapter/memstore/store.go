// Package memstore is a [port.Store] of maps behind one mutex.
//
// It is for tests and trials, and it is the shortest implementation of the port's comments. It is not a cache for
// another store, and nothing survives the process: durability is the only promise of the port that it does not keep.
//
// List and Count read the refresh tokens of the user, the application or the tenant; KeepNewest and Insert those of the
// user in the application.
//
// # Decisions
//
// Advance has its own conditions and does not call [domain.Snapshot.Decide]. That would be shorter, but the suite's
// comparison of a store with the domain would then compare the domain with itself.
package memstore

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

var _ port.Store = (*Store)(nil)

// Store is a port.Store in memory. Every handle is the Store itself.
type Store struct {
	mu           sync.Mutex
	tenants      map[string]domain.Tenant
	byIssuer     map[string]string                 // the id of its tenant
	applications map[string]map[string]application // by tenant and id
	epochs       map[string]uint64                 // by tenant, deleted ones included
	versions     map[string]domain.Version         // the last one used, by tenant as above
	longest      map[string]longest                // by tenant as above
	deleted      map[string]time.Time              // the time, by tenant that is deleted now
	marks        map[domain.Scope]mark
	tokens       map[domain.ID]domain.RefreshToken
	owned        map[string]int                      // the number of tokens of a tenant
	ofUser       map[domain.Scope]map[domain.ID]bool // the tokens of a user in an application
	ids          map[domain.Scope][]domain.ID        // of the tokens of a user, an application or a tenant, ascending
	apiKeys      map[domain.ID]domain.APIKey
	byName       map[string]domain.ID // API keys by name
	byHash       map[string]domain.ID // API keys by hash and by previous hash
	ring         keyRing
	// deletedAPIKey is the highest version of an API key that was deleted.
	deletedAPIKey domain.Version
	events        events
	reach         reach
	janitor       janitor
	leases        map[string]lease // by job; not the janitor's
	used          used
}

type application struct {
	domain.Application
	policy domain.Policy
}

// longest holds the longest lifetimes that a policy of a tenant ever had.
type longest struct{ refresh, access time.Duration }

// New returns an empty store.
func New() *Store {
	return &Store{
		tenants:      make(map[string]domain.Tenant),
		byIssuer:     make(map[string]string),
		applications: make(map[string]map[string]application),
		epochs:       make(map[string]uint64),
		versions:     make(map[string]domain.Version),
		longest:      make(map[string]longest),
		deleted:      make(map[string]time.Time),
		marks:        make(map[domain.Scope]mark),
		tokens:       make(map[domain.ID]domain.RefreshToken),
		owned:        make(map[string]int),
		ofUser:       make(map[domain.Scope]map[domain.ID]bool),
		ids:          make(map[domain.Scope][]domain.ID),
		apiKeys:      make(map[domain.ID]domain.APIKey),
		byName:       make(map[string]domain.ID),
		byHash:       make(map[string]domain.ID),
		ring:         newKeyRing(),
		reach:        newReach(),
		leases:       make(map[string]lease),
		used:         used{until: make(map[string]time.Time)},
	}
}

// Ready implements port.Store: memory is ready.
func (s *Store) Ready(ctx context.Context) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	s.mu.Unlock()
	return nil
}

// Close implements port.Store. It does nothing, because other handles may be open, and they are the same Store.
func (s *Store) Close() error { return nil }

// lock locks the mutex, unless ctx is done. No method waits for anything while it holds it.
func (s *Store) lock(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("memstore: %w", err)
	}
	s.mu.Lock()
	return nil
}
