// Package storagetest is the conformance suite for implementations of [port.Store]: the promises in the comments of the
// port, as named subtests. Any adapter, of this module or another, runs it with one call:
//
//	func TestConformance(t *testing.T) {
//		storagetest.Run(t, func(t *testing.T) func() port.Store {
//			path := t.TempDir() + "/test.db"
//			migrate(t, path)
//			return func() port.Store { return open(t, path) }
//		})
//	}
//
// With [Reopens] it also closes every handle and opens the database again, for a store that outlives its handles.
//
// # Limits
//
// The suite sees a store only through the port, and only from within its process:
//
//   - Durability. The port promises that a write that returned nil is durable. The suite can neither cut the power nor
//     kill its own process. A store that keeps completed writes in the memory of its process or of the kernel until
//     Close passes every clause, those of [Reopens] too. For package gormstore, test/e2e/sqlite_powerloss_test.go tests
//     durability: it records what a process writes and syncs, cuts the recording at any point, and serves from what a
//     disk may contain then. test/e2e/crash_test.go kills processes. A store needs such tests of its own.
//   - Cost. The suite does not show that a revocation changes a constant number of rows, or that a page or a step of
//     the janitor reads no more rows than its limit. It does not measure speed.
//   - Steps within a call. For rules about concurrent calls, the suite runs them concurrently and checks what must hold
//     in every order. It cannot stop a store between two of its own steps.
//
// # Running it
//
// Some clauses are random: they log their seed, and the environment variable STORAGETEST_SEED runs that history again.
// If calls were concurrent in it, they may interleave in another way.
//
// Names of subtests are stable: Interface/Method/rule. A new promise of the port needs a clause here and, in
// mutants_test.go, a broken store that fails that clause.
//
// # Decisions
//
// Every clause has a new database, although that makes the suite slower on engines where one is expensive. Clauses that
// share one would have to agree on names, and some need an empty store.
//
// No clause can be switched off, and an option only adds clauses. Use cases cannot rely on a store that breaks a
// promise, and a list of exceptions beside an adapter would only grow.
package storagetest

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// Run runs every clause on the store. newDatabase creates a new, empty, migrated database, which has to exist until its
// t ends. open opens one more handle on it, as another process would (in memory: it returns the same Store again). Run
// closes each handle that it opened.
func Run(t *testing.T, newDatabase func(t *testing.T) (open func() port.Store), options ...Option) {
	t.Helper()
	held := clauses()
	for _, o := range options {
		held = append(held, o.clauses...)
	}
	for _, c := range held {
		t.Run(c.name, func(t *testing.T) { c.check(newEnv(t, newDatabase(t))) })
	}
}

// Option is a promise of a store beyond the port.
type Option struct{ clauses []clause }

// Reopens is for a store whose databases outlive their handles: after all are closed and open is called again, every
// completed write is stored.
func Reopens() Option { return Option{reopening} }

// clause is one promise of the port.
type clause struct {
	name  string
	check func(*env)
}

func clauses() []clause {
	return slices.Concat(promises, inserting, reading, listing, advancing, swapping, rebinding, changing, revoking,
		directory, keeping, keyChanging, rehashing, recording, eventClauses(),
		versioning, reaching, keyFacts, purging, endingRotations, usingOnce, histories)
}

// tb is the part of *testing.T that clauses use, so that the suite can be tested with a clause that fails.
type tb interface {
	Helper()
	Context() context.Context
	Cleanup(func())
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// env is the database of one clause.
type env struct {
	tb
	store   port.Store
	handle  func() port.Store // opens another handle
	known   map[domain.ID]bool
	mu      sync.Mutex
	handled []port.Store // the open handles
}

func newEnv(t tb, open func() port.Store) *env {
	e := &env{tb: t}
	e.handle = func() port.Store {
		s := open()
		e.mu.Lock()
		defer e.mu.Unlock()
		e.handled = append(e.handled, s)
		return s
	}
	t.Cleanup(func() {
		for _, err := range e.closeAll() {
			t.Errorf("Close = %v, want nil", err)
		}
	})
	e.store = e.handle()
	return e
}

// closeAll closes the open handles, the last first, and returns their errors.
func (e *env) closeAll() (errs []error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, s := range slices.Backward(e.handled) {
		if err := s.Close(); err != nil {
			errs = append(errs, err)
		}
	}
	e.handled = nil
	return errs
}

// reopen closes every handle, and opens the database again.
func (e *env) reopen() {
	e.Helper()
	for _, err := range e.closeAll() {
		e.Fatalf("Close = %v, want nil", err)
	}
	e.store = e.handle()
}

// handles returns n handles on the database, e.store among them.
func (e *env) handles(n int) []port.Store {
	hs := []port.Store{e.store}
	for len(hs) < n {
		hs = append(hs, e.handle())
	}
	return hs
}

func (e *env) must(err error) {
	e.Helper()
	if err != nil {
		e.Fatalf("got error %v, want none", err)
	}
}

func (e *env) wantErr(what string, got, want error) {
	e.Helper()
	if !errors.Is(got, want) {
		e.Errorf("%s: got error %v, want %v", what, got, want)
	}
}

// unversioned removes the versions, which the store sets. Versions have clauses of their own; in all others any write
// counts.
var unversioned = cmp.Options{
	cmpopts.IgnoreFields(domain.Tenant{}, "Version"), cmpopts.IgnoreFields(domain.Application{}, "Version"),
	cmpopts.IgnoreFields(domain.APIKey{}, "ID", "Version"),
}

func (e *env) wantSame(what string, got, want any) {
	e.Helper()
	if reflect.DeepEqual(got, want) {
		return // cmp is slow, and most values are equal
	}
	if d := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmp.Comparer(sameInstant), unversioned); d != "" {
		e.Errorf("%s: (-want +got)\n%s", what, d)
	}
}

// sameInstant is stricter than time.Time.Equal: a store returns UTC.
func sameInstant(a, b time.Time) bool { return a.Equal(b) && a.Location() == b.Location() }

// shop creates the tenant acme with the application shop.
func (e *env) shop(s domain.Settings) {
	e.Helper()
	e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "acme"}))
	e.application("acme", "shop", s)
}

func (e *env) application(tenantID, id string, s domain.Settings) {
	e.Helper()
	e.must(SaveApplication(e.Context(), e.store, domain.Application{TenantID: tenantID, ID: id, Settings: s}))
}

// insert inserts t and returns the result of Insert.
func (e *env) insert(t domain.RefreshToken) domain.RefreshToken {
	e.Helper()
	t, err := e.store.Insert(e.Context(), t)
	e.must(err)
	return t
}

// wantInsert checks that Insert of t fails with that error.
func (e *env) wantInsert(what string, t domain.RefreshToken, want error) {
	e.Helper()
	_, err := e.store.Insert(e.Context(), t)
	e.wantErr(what, err, want)
}

// issue inserts the tokens and returns them as stored.
func (e *env) issue(ts ...domain.RefreshToken) []domain.RefreshToken {
	e.Helper()
	for i, t := range ts {
		e.insert(t)
		ts[i] = e.snapshot(t.ID).Token
	}
	return ts
}

func (e *env) snapshot(id domain.ID) domain.Snapshot {
	e.Helper()
	s, err := e.store.Snapshot(e.Context(), id)
	e.must(err)
	return s
}

// wantStored checks that the stored record is want in every field.
func (e *env) wantStored(what string, want domain.RefreshToken) {
	e.Helper()
	e.wantSame(what, e.snapshot(want.ID).Token, want)
}

func (e *env) advance(t domain.RefreshToken, now time.Time) domain.RefreshToken {
	e.Helper()
	t, _, err := e.store.Advance(e.Context(), t.ID, domain.Call{Generation: t.Generation, Now: now})
	e.must(err)
	return t
}

// alive asks a handle whether the refresh token is active, as a reader sees it.
func (e *env) alive(s port.Store, t domain.RefreshToken, now time.Time) bool {
	e.Helper()
	found, err := s.Find(e.Context(), t.TenantID, t.ID)
	if err != nil && !errors.Is(err, domain.ErrNotFound) {
		e.Fatalf("Find: %v", err)
	}
	return err == nil && found.Alive(now)
}

func (e *env) wantActive(what string, now time.Time, ts ...domain.RefreshToken) {
	e.Helper()
	for _, t := range ts {
		if !e.alive(e.store, t, now) {
			e.Errorf("%s: %s has ended, want it active", what, describe(t))
		}
	}
}

func (e *env) wantEnded(what string, now time.Time, ts ...domain.RefreshToken) {
	e.Helper()
	for _, t := range ts {
		if e.alive(e.store, t, now) {
			e.Errorf("%s: %s is active, want it ended", what, describe(t))
		}
	}
}

// revokeScope revokes and returns the epoch.
func (e *env) revokeScope(s domain.Scope, except domain.ID, at time.Time) uint64 {
	e.Helper()
	epoch, err := e.store.RevokeScope(e.Context(), s, except, byRequest(at), NewEvent())
	e.must(err)
	return epoch
}

// list reads a page, bounded only as q is.
func (e *env) list(q port.ListQuery) port.Page {
	e.Helper()
	page, err := e.store.List(e.Context(), bounded(q))
	e.must(err)
	return page
}

const unbounded = 1 << 40

// bounded sets the bounds that q lacks, so high that no clause reaches them, and a state.
func bounded(q port.ListQuery) port.ListQuery {
	q.State = q.State.OrActive()
	if q.MaxBytes == 0 {
		q.MaxBytes = unbounded
	}
	if q.MaxRows == 0 {
		q.MaxRows = unbounded
	}
	return q
}

func byRequest(at time.Time) port.Revocation {
	return port.Revocation{At: at, Reason: domain.RevokedByRequest}
}

// together calls f(0) to f(n-1) concurrently, and returns when all have returned.
func together(n int, f func(i int)) {
	var ready, done sync.WaitGroup
	start := make(chan struct{})
	ready.Add(n)
	for i := range n {
		done.Go(func() {
			ready.Done()
			<-start
			f(i)
		})
	}
	ready.Wait()
	close(start)
	done.Wait()
}
