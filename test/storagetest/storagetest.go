// Package storagetest is the conformance suite for implementations of [port.Store]: what the comments on the port promise, as
// named subtests. An adapter, ours or a stranger's, passes it with one call:
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
// # What it cannot see
//
// It sees a store through the port only, and from within the process that the store is in:
//
//   - Durability. The port promises that a write that returned nil is durable, and the suite can neither cut the power
//     nor kill its own process. A store that keeps answered writes in the memory of its process, or of the kernel,
//     until Close passes every clause, those of [Reopens] too. Package gormstore's test of that is
//     test/e2e/sqlite_powerloss_test.go, which records what a process writes and syncs, cuts the recording anywhere,
//     and serves on what a disk may hold then; test/e2e/crash_test.go kills processes. A store has to have such tests
//     of its own.
//   - Cost. It does not show that a revocation touches a constant number of rows, or that a page or a step of the
//     janitor reads no more than it looks at. It says nothing about speed.
//   - Steps within a call. Where a rule is about calls that overlap, the suite races them and checks what must hold in
//     every order; it cannot stop a store between two of its own steps.
//
// # Running it
//
// One clause draws lots: it logs its seed, and the environment variable STORAGETEST_SEED runs that history again.
//
// Names of subtests are stable: Interface/Method/rule. A new promise on the port comes with a clause here and, in
// mutants_test.go, with a broken store that fails that clause.
//
// # Decisions
//
// Every clause has a fresh database, although that makes the suite slower on engines where one is dear: clauses that share one
// must agree on names, and some are about an empty store.
//
// No clause can be switched off, and an option only adds clauses. A store that does not keep a promise is one that use
// cases cannot stand on, and a list of exceptions beside an adapter is where promises go to die.
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

// Run holds the store to every clause. newDatabase makes a fresh, empty database that is ready to work on, which lives until
// its t ends; open opens one more handle on it, as another process would (in memory: gives the same Store again). Run
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

// Option is what a store promises beyond the port.
type Option struct{ clauses []clause }

// Reopens is for a store whose databases outlive their handles: when all are closed and open is called again, all that
// was answered is there.
func Reopens() Option { return Option{reopening} }

// clause is one promise of the port.
type clause struct {
	name  string
	check func(*env)
}

func clauses() []clause {
	return slices.Concat(promises, inserting, reading, listing, advancing, swapping, changing, revoking, directory, keeping, recording, eventClauses(),
		versioning, purging, histories)
}

// tb is what a clause needs of a *testing.T, so that the suite can be tested without one that fails.
type tb interface {
	Helper()
	Context() context.Context
	Cleanup(func())
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// env is a database of its own, for one clause.
type env struct {
	tb
	store   port.Store
	handle  func() port.Store // opens one more
	known   map[domain.ID]bool
	mu      sync.Mutex
	handled []port.Store // what is open
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

// closeAll closes what is open, the last first, and returns what went wrong.
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

// handles are n handles on the database, e.store among them.
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

// unversioned leaves out what a store makes up of each object that it keeps: versions have clauses of their own, and in
// all others any write counts.
var unversioned = cmp.Options{
	cmpopts.IgnoreFields(domain.Tenant{}, "Version"), cmpopts.IgnoreFields(domain.Application{}, "Version"),
	cmpopts.IgnoreFields(domain.APIKey{}, "ID", "Version"),
}

func (e *env) wantSame(what string, got, want any) {
	e.Helper()
	if reflect.DeepEqual(got, want) {
		return // cmp is slow, and this is the usual case
	}
	if d := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmp.Comparer(sameInstant), unversioned); d != "" {
		e.Errorf("%s: (-want +got)\n%s", what, d)
	}
}

// sameInstant is stricter than time.Time.Equal: what comes out of a store is UTC.
func sameInstant(a, b time.Time) bool { return a.Equal(b) && a.Location() == b.Location() }

// shop makes the tenant acme with the application shop.
func (e *env) shop(s domain.Settings) {
	e.Helper()
	e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "acme"}))
	e.application("acme", "shop", s)
}

func (e *env) application(tenantID, id string, s domain.Settings) {
	e.Helper()
	e.must(SaveApplication(e.Context(), e.store, domain.Application{TenantID: tenantID, ID: id, Settings: s}))
}

// insert inserts t and gives back what Insert returned.
func (e *env) insert(t domain.RefreshToken) domain.RefreshToken {
	e.Helper()
	t, err := e.store.Insert(e.Context(), t)
	e.must(err)
	return t
}

// wantInsert checks that Insert of t fails so.
func (e *env) wantInsert(what string, t domain.RefreshToken, want error) {
	e.Helper()
	_, err := e.store.Insert(e.Context(), t)
	e.wantErr(what, err, want)
}

// issue inserts the tokens and gives them back as stored.
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

// wantStored checks that the record is as want, in every field.
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

// alive asks a handle for the token's life, as a reader sees it.
func (e *env) alive(s port.Store, t domain.RefreshToken, now time.Time) bool {
	e.Helper()
	found, err := s.Find(e.Context(), t.TenantID, t.ID)
	if err != nil && !errors.Is(err, domain.ErrNotFound) {
		e.Fatalf("Find: %v", err)
	}
	return err == nil && found.Alive(now)
}

func (e *env) wantAlive(what string, now time.Time, ts ...domain.RefreshToken) {
	e.Helper()
	for _, t := range ts {
		if !e.alive(e.store, t, now) {
			e.Errorf("%s: %s is dead, want alive", what, describe(t))
		}
	}
}

func (e *env) wantDead(what string, now time.Time, ts ...domain.RefreshToken) {
	e.Helper()
	for _, t := range ts {
		if e.alive(e.store, t, now) {
			e.Errorf("%s: %s is alive, want dead", what, describe(t))
		}
	}
}

// revokeScope revokes and gives back the epoch.
func (e *env) revokeScope(s domain.Scope, except domain.ID, at time.Time) uint64 {
	e.Helper()
	epoch, err := e.store.RevokeScope(e.Context(), s, except, byCall(at), NewEvent())
	e.must(err)
	return epoch
}

// list asks for a page, bounded only where q is.
func (e *env) list(q port.ListQuery) port.Page {
	e.Helper()
	page, err := e.store.List(e.Context(), bounded(q))
	e.must(err)
	return page
}

const unbounded = 1 << 40

// bounded gives q the bounds that it lacks, so high that nothing meets them, and a state.
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

func byCall(at time.Time) port.Revocation {
	return port.Revocation{At: at, Reason: domain.RevokedByRequest}
}

// together calls f(0) to f(n-1) at once, and returns when all have.
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
