package storagetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// recorder is a tb that records failures instead of failing.
type recorder struct {
	ctx      context.Context
	mu       sync.Mutex
	failures []string
	cleanups []func()
}

func (r *recorder) Helper()                  {}
func (r *recorder) Context() context.Context { return r.ctx }
func (r *recorder) Cleanup(f func())         { r.cleanups = append(r.cleanups, f) }
func (r *recorder) Logf(string, ...any)      {}

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

// failuresOf runs one clause on a database, and returns its failures.
func failuresOf(ctx context.Context, c clause, open func() port.Store) []string {
	r := &recorder{ctx: ctx}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.check(newEnv(r, open))
	}()
	<-done
	for _, cleanup := range slices.Backward(r.cleanups) {
		cleanup()
	}
	return r.failures
}

// faulty is a store whose methods can be replaced. By default each calls that of the store within.
type faulty struct {
	within   port.Store
	ready    func(context.Context) error
	close    func() error
	insert   func(context.Context, domain.RefreshToken) (domain.RefreshToken, error)
	advance  func(context.Context, domain.ID, domain.Call) (domain.RefreshToken, domain.Policy, error)
	snapshot func(context.Context, domain.ID) (domain.Snapshot, error)
	use      func(ctx context.Context, before, after domain.RefreshToken, now time.Time) error
	swap     func(ctx context.Context, before, after domain.RefreshToken, now time.Time, e domain.Event) error
	rebind   func(ctx context.Context, before, after domain.RefreshToken, now time.Time, e domain.Event) error
	find     func(context.Context, string, domain.ID) (domain.Session, error)
	list     func(context.Context, port.ListQuery) (port.Page, error)
	count    func(context.Context, port.ListQuery) (int, bool, error)
	change   func(ctx context.Context, tenantID string, changes []domain.Change, now time.Time,
		e domain.Event) error
	revoke            func(context.Context, string, domain.ID, port.Revocation, domain.Event) error
	revokeScope       func(context.Context, domain.Scope, domain.ID, port.Revocation, domain.Event) (uint64, error)
	keepNewest        func(context.Context, domain.Scope, int, port.Revocation, domain.Event) error
	saveTenant        func(context.Context, tenantSave) (domain.Version, error)
	saveApplication   func(context.Context, applicationSave) (domain.Version, error)
	tenant            func(context.Context, string) (domain.Tenant, error)
	tenantByIssuer    func(context.Context, string) (domain.Tenant, error)
	applications      func(context.Context, string, string, int) ([]domain.Application, string, error)
	tenants           func(context.Context, string, int) ([]domain.Tenant, string, error)
	application       func(context.Context, string, string) (domain.Application, error)
	policy            func(context.Context, string, string) (domain.Policy, error)
	deleteApplication func(ctx context.Context, tenantID, id string, expect domain.Version, e domain.Event) error
	deleteTenant      func(context.Context, string, domain.Version, domain.Event) error
	saveAPIKey        func(context.Context, apiKeySave) (domain.Version, error)
	deleteAPIKey      func(context.Context, domain.ID, domain.Version, domain.Event) error
	apiKey            func(context.Context, domain.ID) (domain.APIKey, error)
	apiKeys           func(context.Context, string, domain.ID, int) ([]domain.APIKey, domain.ID, error)
	apiKeyByName      func(context.Context, string) (domain.APIKey, error)
	apiKeyByHash      func(context.Context, ...string) (domain.APIKey, error)
	keyRevision       func(context.Context) (uint64, error)
	keysSince         func(context.Context, uint64, int) ([]domain.SealedKey, error)
	keysOfTenant      func(context.Context, string) ([]domain.SealedKey, error)
	keyByID           func(context.Context, string) (domain.SealedKey, error)
	addKey            func(context.Context, domain.Event, domain.SealedKey) error // for each key of AddKeys
	addKeys           func(context.Context, domain.Event, ...domain.SealedKey) error
	reseal            func(ctx context.Context, before domain.SealedKey, sealed, sealedBy string) error
	changeKeys        func(context.Context, domain.Event, port.KeyChange) error
	turnCheck         func(ctx context.Context, e domain.Event, before, after domain.SealedKey) error
	signingKeys       func(ctx context.Context, after string, limit int) ([]domain.SealedKey, string, error)
	oldestRotation    func(context.Context) (began, oldest time.Time, err error)
	rehashAPIKey      func(ctx context.Context, before, after domain.APIKey) error
	apiKeysHashedWith func(ctx context.Context, number uint32, limit int) ([]domain.APIKey, int, error)
	rehashSecrets     func(ctx context.Context, before, after domain.Application) error
	applicationsWith  func(ctx context.Context, number uint32, limit int) ([]domain.Application, int, error)
	hasData           func(context.Context) (bool, error)
	record            func(context.Context, domain.Event) error
	events            func(context.Context, port.EventQuery) (port.EventPage, error)
	purge             func(context.Context, port.PurgeStep) (port.Purged, error)
	lease             func(ctx context.Context, l port.JobLease) error
	release           func(ctx context.Context, job, holder string) error
	revoked           func(context.Context, port.FactQuery, func(domain.Fact)) (port.Reading, error)
	stamp             func(ctx context.Context, now time.Time, limit int) (int, error)
	beat              func(ctx context.Context, reader string, at time.Time) error
	longestAccessTTL  func(ctx context.Context, tenantID string) (time.Duration, error)
	once              func(ctx context.Context, key []byte, now, until time.Time) error
}

func newFaulty(s port.Store) *faulty {
	return &faulty{
		within: s, ready: s.Ready, close: s.Close, insert: s.Insert, advance: s.Advance, snapshot: s.Snapshot,
		use: s.Use, swap: s.Swap, rebind: s.Rebind, find: s.Find, list: s.List, count: s.Count,
		change: s.Change, revoke: s.Revoke, revokeScope: s.RevokeScope, keepNewest: s.KeepNewest,
		saveTenant:      func(ctx context.Context, w tenantSave) (domain.Version, error) { return w.in(ctx, s) },
		saveApplication: func(ctx context.Context, w applicationSave) (domain.Version, error) { return w.in(ctx, s) },
		tenant:          s.Tenant, tenants: s.Tenants,
		tenantByIssuer: s.TenantByIssuer, applications: s.Applications,
		application: s.Application, policy: s.Policy, deleteApplication: s.DeleteApplication, deleteTenant: s.DeleteTenant,
		saveAPIKey:   func(ctx context.Context, w apiKeySave) (domain.Version, error) { return w.in(ctx, s) },
		deleteAPIKey: s.DeleteAPIKey, apiKey: s.APIKey, apiKeys: s.APIKeys,
		apiKeyByName: s.APIKeyByName, apiKeyByHash: s.APIKeyByHash,
		keyRevision: s.KeyRevision, keysSince: s.KeysSince, keysOfTenant: s.KeysOfTenant, keyByID: s.KeyByID,
		addKey:     func(ctx context.Context, e domain.Event, k domain.SealedKey) error { return s.AddKeys(ctx, e, k) },
		changeKeys: s.ChangeKeys, turnCheck: s.TurnCheck, signingKeys: s.SigningKeys, oldestRotation: s.OldestRotation,
		rehashAPIKey: s.RehashAPIKey, apiKeysHashedWith: s.APIKeysHashedWith,
		rehashSecrets: s.RehashClientSecrets, applicationsWith: s.ApplicationsHashedWith,
		addKeys: s.AddKeys, reseal: s.Reseal, hasData: s.HasData, purge: s.Purge,
		record: s.Record, events: s.Events, lease: s.Lease, release: s.Release,
		revoked: s.Revoked, stamp: s.Stamp, beat: s.Beat, longestAccessTTL: s.LongestAccessTTL, once: s.Once,
	}
}

func (f *faulty) Ready(ctx context.Context) error { return f.ready(ctx) }
func (f *faulty) Close() error                    { return f.close() }

func (f *faulty) Record(ctx context.Context, e domain.Event) error { return f.record(ctx, e) }

func (f *faulty) Events(ctx context.Context, q port.EventQuery) (port.EventPage, error) {
	return f.events(ctx, q)
}

func (f *faulty) Revoked(ctx context.Context, q port.FactQuery, each func(domain.Fact)) (port.Reading, error) {
	return f.revoked(ctx, q, each)
}

func (f *faulty) Stamp(ctx context.Context, now time.Time, limit int) (int, error) {
	return f.stamp(ctx, now, limit)
}

func (f *faulty) Beat(ctx context.Context, reader string, at time.Time) error {
	return f.beat(ctx, reader, at)
}

func (f *faulty) LongestAccessTTL(ctx context.Context, tenantID string) (time.Duration, error) {
	return f.longestAccessTTL(ctx, tenantID)
}

func (f *faulty) Once(ctx context.Context, key []byte, now, until time.Time) error {
	return f.once(ctx, key, now, until)
}

func (f *faulty) Lease(ctx context.Context, l port.JobLease) error { return f.lease(ctx, l) }

func (f *faulty) Release(ctx context.Context, job, holder string) error {
	return f.release(ctx, job, holder)
}

func (f *faulty) Insert(ctx context.Context, t domain.RefreshToken) (domain.RefreshToken, error) {
	return f.insert(ctx, t)
}

func (f *faulty) Advance(ctx context.Context, id domain.ID, c domain.Call) (domain.RefreshToken, domain.Policy, error) {
	return f.advance(ctx, id, c)
}

func (f *faulty) Snapshot(ctx context.Context, id domain.ID) (domain.Snapshot, error) {
	return f.snapshot(ctx, id)
}

func (f *faulty) Use(ctx context.Context, before, after domain.RefreshToken, now time.Time) error {
	return f.use(ctx, before, after, now)
}

func (f *faulty) Swap(ctx context.Context, before, after domain.RefreshToken, now time.Time, e domain.Event) error {
	return f.swap(ctx, before, after, now, e)
}

func (f *faulty) Rebind(ctx context.Context, before, after domain.RefreshToken, now time.Time, e domain.Event) error {
	return f.rebind(ctx, before, after, now, e)
}

func (f *faulty) Find(ctx context.Context, tenantID string, id domain.ID) (domain.Session, error) {
	return f.find(ctx, tenantID, id)
}

func (f *faulty) Count(ctx context.Context, q port.ListQuery) (int, bool, error) {
	return f.count(ctx, q)
}

func (f *faulty) Change(
	ctx context.Context, tenantID string, changes []domain.Change, now time.Time, e domain.Event,
) error {
	return f.change(ctx, tenantID, changes, now, e)
}

func (f *faulty) List(ctx context.Context, q port.ListQuery) (port.Page, error) {
	return f.list(ctx, q)
}

func (f *faulty) Revoke(
	ctx context.Context, tenantID string, id domain.ID, r port.Revocation, e domain.Event,
) error {
	return f.revoke(ctx, tenantID, id, r, e)
}

func (f *faulty) RevokeScope(
	ctx context.Context, s domain.Scope, except domain.ID, r port.Revocation, e domain.Event,
) (uint64, error) {
	return f.revokeScope(ctx, s, except, r, e)
}

func (f *faulty) KeepNewest(
	ctx context.Context, s domain.Scope, keep int, r port.Revocation, e domain.Event,
) error {
	return f.keepNewest(ctx, s, keep, r, e)
}

// tenantSave is a call of SaveTenant.
type tenantSave struct {
	t      domain.Tenant
	expect domain.Version
	e      domain.Event
	with   []port.ApplicationWrite
}

func (w tenantSave) in(ctx context.Context, s port.Store) (domain.Version, error) {
	return s.SaveTenant(ctx, w.t, w.expect, w.e, w.with...)
}

// over makes the call in s with the version that is stored there.
func (w tenantSave) over(ctx context.Context, s port.Store) error {
	return SaveTenant(ctx, s, w.t, w.applications()...)
}

func (w tenantSave) applications() (all []domain.Application) {
	for _, a := range w.with {
		all = append(all, a.Application)
	}
	return all
}

// applicationSave is a call of SaveApplication.
type applicationSave struct {
	a      domain.Application
	expect domain.Version
	e      domain.Event
}

func (w applicationSave) in(ctx context.Context, s port.Store) (domain.Version, error) {
	return s.SaveApplication(ctx, w.a, w.expect, w.e)
}

// apiKeySave is a call of SaveAPIKey.
type apiKeySave struct {
	k      domain.APIKey
	expect domain.Version
	e      domain.Event
}

func (w apiKeySave) in(ctx context.Context, s port.Store) (domain.Version, error) {
	return s.SaveAPIKey(ctx, w.k, w.expect, w.e)
}

func (f *faulty) SaveTenant(
	ctx context.Context, t domain.Tenant, expect domain.Version, e domain.Event, with ...port.ApplicationWrite,
) (domain.Version, error) {
	return f.saveTenant(ctx, tenantSave{t, expect, e, with})
}

func (f *faulty) SaveApplication(
	ctx context.Context, a domain.Application, expect domain.Version, e domain.Event,
) (domain.Version, error) {
	return f.saveApplication(ctx, applicationSave{a, expect, e})
}

func (f *faulty) Tenant(ctx context.Context, id string) (domain.Tenant, error) {
	return f.tenant(ctx, id)
}

func (f *faulty) Tenants(ctx context.Context, after string, limit int) ([]domain.Tenant, string, error) {
	return f.tenants(ctx, after, limit)
}

func (f *faulty) Application(ctx context.Context, tenantID, id string) (domain.Application, error) {
	return f.application(ctx, tenantID, id)
}

func (f *faulty) Policy(ctx context.Context, tenantID, applicationID string) (domain.Policy, error) {
	return f.policy(ctx, tenantID, applicationID)
}

func (f *faulty) DeleteApplication(
	ctx context.Context, tenantID, id string, expect domain.Version, e domain.Event,
) error {
	return f.deleteApplication(ctx, tenantID, id, expect, e)
}

func (f *faulty) DeleteTenant(ctx context.Context, id string, expect domain.Version, e domain.Event) error {
	return f.deleteTenant(ctx, id, expect, e)
}

func (f *faulty) SaveAPIKey(
	ctx context.Context, k domain.APIKey, expect domain.Version, e domain.Event,
) (domain.Version, error) {
	return f.saveAPIKey(ctx, apiKeySave{k, expect, e})
}

func (f *faulty) DeleteAPIKey(ctx context.Context, id domain.ID, expect domain.Version, e domain.Event) error {
	return f.deleteAPIKey(ctx, id, expect, e)
}

func (f *faulty) APIKey(ctx context.Context, id domain.ID) (domain.APIKey, error) {
	return f.apiKey(ctx, id)
}

func (f *faulty) APIKeys(
	ctx context.Context, tenantID string, after domain.ID, limit int,
) ([]domain.APIKey, domain.ID, error) {
	return f.apiKeys(ctx, tenantID, after, limit)
}

func (f *faulty) APIKeyByName(ctx context.Context, name string) (domain.APIKey, error) {
	return f.apiKeyByName(ctx, name)
}

func (f *faulty) APIKeyByHash(ctx context.Context, hashes ...string) (domain.APIKey, error) {
	return f.apiKeyByHash(ctx, hashes...)
}

func (f *faulty) TenantByIssuer(ctx context.Context, issuer string) (domain.Tenant, error) {
	return f.tenantByIssuer(ctx, issuer)
}

func (f *faulty) Applications(
	ctx context.Context, tenantID, after string, limit int,
) ([]domain.Application, string, error) {
	return f.applications(ctx, tenantID, after, limit)
}

func (f *faulty) KeyRevision(ctx context.Context) (uint64, error) { return f.keyRevision(ctx) }

func (f *faulty) KeysSince(ctx context.Context, revision uint64, limit int) ([]domain.SealedKey, error) {
	return f.keysSince(ctx, revision, limit)
}

func (f *faulty) KeysOfTenant(ctx context.Context, tenantID string) ([]domain.SealedKey, error) {
	return f.keysOfTenant(ctx, tenantID)
}

func (f *faulty) KeyByID(ctx context.Context, id string) (domain.SealedKey, error) {
	return f.keyByID(ctx, id)
}

func (f *faulty) AddKeys(ctx context.Context, e domain.Event, keys ...domain.SealedKey) error {
	if len(keys) == 1 {
		return f.addKey(ctx, e, keys[0])
	}
	return f.addKeys(ctx, e, keys...)
}

func (f *faulty) Reseal(ctx context.Context, before domain.SealedKey, sealed, sealedBy string) error {
	return f.reseal(ctx, before, sealed, sealedBy)
}

func (f *faulty) ChangeKeys(ctx context.Context, e domain.Event, c port.KeyChange) error {
	return f.changeKeys(ctx, e, c)
}

func (f *faulty) TurnCheck(ctx context.Context, e domain.Event, before, after domain.SealedKey) error {
	return f.turnCheck(ctx, e, before, after)
}

func (f *faulty) SigningKeys(ctx context.Context, after string, limit int) ([]domain.SealedKey, string, error) {
	return f.signingKeys(ctx, after, limit)
}

func (f *faulty) OldestRotation(ctx context.Context) (began, oldest time.Time, err error) {
	return f.oldestRotation(ctx)
}

func (f *faulty) RehashAPIKey(ctx context.Context, before, after domain.APIKey) error {
	return f.rehashAPIKey(ctx, before, after)
}

func (f *faulty) RehashClientSecrets(ctx context.Context, before, after domain.Application) error {
	return f.rehashSecrets(ctx, before, after)
}

func (f *faulty) ApplicationsHashedWith(
	ctx context.Context, number uint32, limit int,
) ([]domain.Application, int, error) {
	return f.applicationsWith(ctx, number, limit)
}

func (f *faulty) APIKeysHashedWith(ctx context.Context, number uint32, limit int) ([]domain.APIKey, int, error) {
	return f.apiKeysHashedWith(ctx, number, limit)
}

func (f *faulty) HasData(ctx context.Context) (bool, error) { return f.hasData(ctx) }

func (f *faulty) Purge(ctx context.Context, s port.PurgeStep) (port.Purged, error) {
	return f.purge(ctx, s)
}

// allApplications is Applications with no bound but its limit.
func (f *faulty) allApplications(
	ctx context.Context, tenantID, after string, limit int,
) (all []domain.Application, next string, err error) {
	for next = after; len(all) < limit; {
		var page []domain.Application
		if page, next, err = f.within.Applications(ctx, tenantID, next, limit-len(all)); err != nil || next == "" {
			return append(all, page...), "", err
		}
		all = append(all, page...)
	}
	return all, next, nil
}

// onRead changes each record that a method returns.
func (f *faulty) onRead(spoil func(*domain.RefreshToken)) {
	f.advance = func(ctx context.Context, id domain.ID, c domain.Call) (domain.RefreshToken, domain.Policy, error) {
		t, p, err := f.within.Advance(ctx, id, c)
		if err == nil {
			spoil(&t)
		}
		return t, p, err
	}
	f.snapshot = func(ctx context.Context, id domain.ID) (domain.Snapshot, error) {
		s, err := f.within.Snapshot(ctx, id)
		if err == nil {
			spoil(&s.Token)
		}
		return s, err
	}
	f.find = func(ctx context.Context, tenantID string, id domain.ID) (domain.Session, error) {
		found, err := f.within.Find(ctx, tenantID, id)
		if err == nil {
			spoil(&found.Token)
		}
		return found, err
	}
	f.list = func(ctx context.Context, q port.ListQuery) (port.Page, error) {
		page, err := f.within.List(ctx, q)
		for i := range page.Sessions {
			spoil(&page.Sessions[i].Token)
		}
		return page, err
	}
}

// onAdvance changes the result of Advance.
func (f *faulty) onAdvance(spoil func(before domain.RefreshToken, after *domain.RefreshToken, p *domain.Policy)) {
	f.advance = func(ctx context.Context, id domain.ID, c domain.Call) (domain.RefreshToken, domain.Policy, error) {
		before, _ := f.within.Snapshot(ctx, id)
		t, p, err := f.within.Advance(ctx, id, c)
		if err == nil {
			spoil(before.Token, &t, &p)
		}
		return t, p, err
	}
}

// advanceForgets makes Advance succeed where the domain would rotate if it ignored something.
func (f *faulty) advanceForgets(overlook func(*domain.Snapshot, *domain.Call)) {
	f.advance = func(ctx context.Context, id domain.ID, c domain.Call) (domain.RefreshToken, domain.Policy, error) {
		t, p, err := f.within.Advance(ctx, id, c)
		if !errors.Is(err, domain.ErrConflict) {
			return t, p, err
		}
		s, missing := f.within.Snapshot(ctx, id)
		if missing != nil {
			return t, p, err
		}
		overlook(&s, &c)
		if d := s.Decide(c); d.Outcome == domain.Rotated {
			return d.After, s.Policy, nil
		}
		return t, p, err
	}
}

// advanceHolds makes Advance refuse more than it should.
func (f *faulty) advanceHolds(hold func(domain.Snapshot, domain.Call) bool) {
	f.advance = func(ctx context.Context, id domain.ID, c domain.Call) (domain.RefreshToken, domain.Policy, error) {
		if s, err := f.within.Snapshot(ctx, id); err == nil && hold(s, c) {
			return domain.RefreshToken{}, domain.Policy{}, domain.ErrConflict
		}
		return f.within.Advance(ctx, id, c)
	}
}

// onSession changes each session that Find and List return.
func (f *faulty) onSession(spoil func(*domain.Session)) {
	f.find = func(ctx context.Context, tenantID string, id domain.ID) (domain.Session, error) {
		found, err := f.within.Find(ctx, tenantID, id)
		if err == nil {
			spoil(&found)
		}
		return found, err
	}
	f.list = func(ctx context.Context, q port.ListQuery) (port.Page, error) {
		page, err := f.within.List(ctx, q)
		for i := range page.Sessions {
			spoil(&page.Sessions[i])
		}
		return page, err
	}
}

// listsAs makes List and Count select sessions as if each were another one.
func (f *faulty) listsAs(mistake func(s *domain.Session, now time.Time)) {
	f.list = func(ctx context.Context, q port.ListQuery) (page port.Page, err error) {
		all, err := f.within.List(ctx, wholly(q))
		for _, s := range all.Sessions {
			seen := s
			if mistake(&seen, q.Now); q.State.Includes(seen.Alive(q.Now)) {
				page.Sessions = append(page.Sessions, s)
			}
		}
		return page, err
	}
	f.count = func(ctx context.Context, q port.ListQuery) (int, bool, error) {
		page, err := f.list(ctx, q)
		return len(page.Sessions), false, err
	}
}

// wholly returns q for sessions of every state.
func wholly(q port.ListQuery) port.ListQuery {
	q.State = domain.AllSessions
	return q
}

// swapAs makes Swap compare another record than its caller read.
func (f *faulty) swapAs(alter func(stored domain.RefreshToken, before, after *domain.RefreshToken, now *time.Time)) {
	f.swap = func(ctx context.Context, before, after domain.RefreshToken, now time.Time, e domain.Event) error {
		if s, err := f.within.Snapshot(ctx, before.ID); err == nil {
			alter(s.Token, &before, &after, &now)
		}
		return f.within.Swap(ctx, before, after, now, e)
	}
}

// rebindAs makes Rebind write or compare something else.
func (f *faulty) rebindAs(alter func(stored domain.RefreshToken, before, after *domain.RefreshToken, now *time.Time)) {
	f.rebind = func(ctx context.Context, before, after domain.RefreshToken, now time.Time, e domain.Event) error {
		if s, err := f.within.Snapshot(ctx, before.ID); err == nil {
			alter(s.Token, &before, &after, &now)
		}
		return f.within.Rebind(ctx, before, after, now, e)
	}
}

// onInsert changes what is inserted.
func (f *faulty) onInsert(spoil func(t *domain.RefreshToken)) {
	f.insert = func(ctx context.Context, t domain.RefreshToken) (domain.RefreshToken, error) {
		spoil(&t)
		return f.within.Insert(ctx, t)
	}
}

// insertIgnores makes Insert succeed with its argument where it returns that error and forgive allows it.
func (f *faulty) insertIgnores(failure error, forgive func(context.Context, domain.RefreshToken) bool) {
	f.insert = func(ctx context.Context, t domain.RefreshToken) (domain.RefreshToken, error) {
		stored, err := f.within.Insert(ctx, t)
		if errors.Is(err, failure) && forgive(ctx, t) {
			return t, nil
		}
		return stored, err
	}
}

// inserted records the inserts, by owner, from the highest id down.
func (f *faulty) inserted() (of func(domain.Scope) []domain.ID) {
	var mu sync.Mutex
	var all []domain.RefreshToken
	f.insert = func(ctx context.Context, t domain.RefreshToken) (domain.RefreshToken, error) {
		t, err := f.within.Insert(ctx, t)
		if err == nil {
			mu.Lock()
			defer mu.Unlock()
			all = append(all, t)
			slices.SortFunc(all, func(a, b domain.RefreshToken) int { return slices.Compare(b.ID[:], a.ID[:]) })
		}
		return t, err
	}
	return func(s domain.Scope) []domain.ID {
		mu.Lock()
		defer mu.Unlock()
		var out []domain.ID
		for _, t := range all {
			if s.Covers(t) {
				out = append(out, t.ID)
			}
		}
		return out
	}
}

// ordinals gives each refresh token a wrong ordinal: next computes it from the inserted refresh token and those that
// were inserted before.
func (f *faulty) ordinals(next func(t domain.RefreshToken, before []domain.Snapshot) int64) {
	var (
		mu    sync.Mutex
		given = make(map[domain.ID]int64)
	)
	f.onRead(func(t *domain.RefreshToken) {
		mu.Lock()
		defer mu.Unlock()
		t.Ordinal = given[t.ID]
	})
	f.insert = func(ctx context.Context, t domain.RefreshToken) (domain.RefreshToken, error) {
		mu.Lock()
		defer mu.Unlock()
		var before []domain.Snapshot
		for id, ordinal := range given {
			if s, err := f.within.Snapshot(ctx, id); err == nil {
				s.Token.Ordinal = ordinal
				before = append(before, s)
			}
		}
		ordinal := next(t, before)
		t, err := f.within.Insert(ctx, t)
		if err == nil {
			given[t.ID], t.Ordinal = ordinal, ordinal
		}
		return t, err
	}
}

// above returns 1 + the greatest ordinal of those that count.
func above(before []domain.Snapshot, counts func(domain.Snapshot) bool) (ordinal int64) {
	for _, s := range before {
		if counts(s) {
			ordinal = max(ordinal, s.Token.Ordinal)
		}
	}
	return ordinal + 1
}

// keepBy makes KeepNewest keep the last ones in another order.
func (f *faulty) keepBy(order func(a, b domain.RefreshToken) int) {
	f.keepNewest = func(ctx context.Context, s domain.Scope, keep int, r port.Revocation, e domain.Event) error {
		page, err := f.within.List(ctx, bounded(port.ListQuery{
			TenantID: s.TenantID, ApplicationID: s.ApplicationID, UserID: s.UserID, Limit: 999, Now: r.At,
		}))
		var ts []domain.RefreshToken
		for _, s := range page.Sessions {
			ts = append(ts, s.Token)
		}
		slices.SortFunc(ts, order)
		for _, t := range ts[:max(0, len(ts)-keep)] {
			if ended := f.within.Revoke(ctx, t.TenantID, t.ID, r, NewEvent()); !errors.Is(ended, domain.ErrNotFound) {
				err = errors.Join(err, ended)
			}
		}
		return err
	}
}

// keepForgets makes KeepNewest remove the ordinals of the refresh tokens that which selects, as of its call.
func (f *faulty) keepForgets(which func(s domain.Snapshot, at time.Time) bool) {
	var mu sync.Mutex
	forgotten := make(map[domain.ID]bool)
	of := f.inserted()
	f.onRead(func(t *domain.RefreshToken) {
		mu.Lock()
		defer mu.Unlock()
		if forgotten[t.ID] {
			t.Ordinal = 0
		}
	})
	f.keepNewest = func(ctx context.Context, s domain.Scope, keep int, r port.Revocation, e domain.Event) error {
		for _, id := range of(s) {
			shot, err := f.within.Snapshot(ctx, id)
			if err != nil {
				return err
			}
			if shot.Token.RevokedAt.IsZero() && which(shot, r.At) {
				mu.Lock()
				forgotten[id] = true
				mu.Unlock()
			}
		}
		return f.within.KeepNewest(ctx, s, keep, r, e)
	}
}

func byID(a, b domain.RefreshToken) int { return bytes.Compare(a.ID[:], b.ID[:]) }

// instead returns nil in place of that error.
func instead(err, of error) error {
	if errors.Is(err, of) {
		return nil
	}
	return err
}
