// Package memstore keeps everything that a [port.Store] keeps in maps, behind one mutex.
//
// It is for tests and for trying things, and it is the shortest answer to what the port's comments mean. It is no cache
// before another store, and nothing survives the process: of the port's promises it breaks durability, and no other.
//
// List and Count look at the refresh tokens of the user, the application or the tenant, KeepNewest and Insert at those of
// the user in the application.
//
// # Decisions
//
// Advance spells its conditions out instead of asking [domain.Snapshot.Decide] for its verdict. That would be shorter, and the
// suite's comparison of a store with the domain would compare the domain with itself.
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

// Store is a port.Store in memory. A handle on it is the Store itself.
type Store struct {
	mu           sync.Mutex
	tenants      map[string]domain.Tenant
	byIssuer     map[string]string                 // the id of the tenant that has set it
	applications map[string]map[string]application // by tenant and id
	epochs       map[string]uint64                 // by tenant, also by one that was deleted
	versions     map[string]domain.Version         // the last one given, by the same
	longest      map[string]time.Duration          // the longest TTL that a policy ever had, by the same
	deleted      map[string]time.Time              // when, by tenants that were deleted and not created again
	marks        map[domain.Scope]domain.Mark
	tokens       map[domain.ID]domain.RefreshToken
	owned        map[string]int                      // how many of them are of a tenant
	ofUser       map[domain.Scope]map[domain.ID]bool // those of a user in an application
	ids          map[domain.Scope][]domain.ID        // those of a user, of an application, of a tenant, from low to high
	apiKeys      map[domain.ID]domain.APIKey
	byName       map[string]domain.ID // the API key of that name
	byHash       map[string]domain.ID // the API key of that hash
	ring         keyRing
	events       events
	janitor      janitor
}

type application struct {
	domain.Application
	policy domain.Policy
}

// New returns an empty store.
func New() *Store {
	return &Store{
		tenants:      make(map[string]domain.Tenant),
		byIssuer:     make(map[string]string),
		applications: make(map[string]map[string]application),
		epochs:       make(map[string]uint64),
		versions:     make(map[string]domain.Version),
		longest:      make(map[string]time.Duration),
		deleted:      make(map[string]time.Time),
		marks:        make(map[domain.Scope]domain.Mark),
		tokens:       make(map[domain.ID]domain.RefreshToken),
		owned:        make(map[string]int),
		ofUser:       make(map[domain.Scope]map[domain.ID]bool),
		ids:          make(map[domain.Scope][]domain.ID),
		apiKeys:      make(map[domain.ID]domain.APIKey),
		byName:       make(map[string]domain.ID),
		byHash:       make(map[string]domain.ID),
		ring:         newKeyRing(),
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

// Close implements port.Store. It does nothing: other handles may be open, and they are the same Store.
func (s *Store) Close() error { return nil }

// lock takes the mutex, unless ctx is done. No method waits for anything while it holds it.
func (s *Store) lock(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("memstore: %w", err)
	}
	s.mu.Lock()
	return nil
}
