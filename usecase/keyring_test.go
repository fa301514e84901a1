package usecase_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/adapter/jwxsigner"
	"github.com/refreshd/refreshd/adapter/memstore"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
	"github.com/refreshd/refreshd/test/storagetest"
	"github.com/refreshd/refreshd/usecase"
	"github.com/refreshd/refreshd/usecase/admin"
)

// signingKey stores a second key of a tenant, as a process of an operator would.
func (w *world) signingKey(t *testing.T, k domain.SealedKey) {
	t.Helper()
	private, err := w.probe.Signer.NewKey(k.Algorithm, 0)
	must(t, err)
	k.Kind, k.CreatedAt = domain.KeySigning, stored(w.clock.now())
	sealed, err := w.master.Seal(k, private, w.random)
	must(t, err)
	must(t, w.store.AddKeys(t.Context(), storagetest.NewEvent(), sealed))
}

func published(t *testing.T, r replica, tenantID string) []string {
	t.Helper()
	set, err := r.publish.Tenant(t.Context(), tenantID)
	must(t, err)
	var ids []string
	for _, k := range publicKeys(t, set) {
		ids = append(ids, k.Kid)
	}
	return ids
}

// A key that another process makes must be published here before verifiers give up, sign here from its start, and
// verify here immediately.
func TestAKeyThatAnotherProcessMadeServesInThisOne(t *testing.T) {
	w := newWorld(t)
	here, there := w.replica, w.open(t)
	first := w.issued(t, "shop")
	old := published(t, here, "acme")
	published(t, there, "acme")

	w.signingKey(t, domain.SealedKey{
		TenantID: "acme", Algorithm: domain.ES256, Number: 2, ID: "next",
		StartsAt: stored(w.clock.now()).Truncate(time.Second),
	})
	must(t, there.keys.Reload(t.Context()))
	byNext, err := there.issue.Do(t.Context(),
		usecase.IssueInput{TenantID: "acme", ApplicationID: "shop", UserID: "ben"})
	must(t, err)
	if kid := kidOf(t, byNext.AccessToken); kid != "next" {
		t.Fatalf("signed by %s, want next", kid)
	}
	if _, err := here.byToken(t, byNext.AccessToken); err != nil {
		t.Errorf("before this process has read of it: %v", err)
	}
	for i, wait := range []struct {
		how  string
		wait func()
	}{
		{"after a second", func() { w.clock.advance(time.Second); must(t, here.keys.Reload(t.Context())) }},
		{"without the reading of each second", func() { w.clock.advance(4 * time.Second) }},
	} {
		wait.wait()
		want := append([]string{"next"}, old...)
		slices.Sort(want)
		if diff := cmp.Diff(want, published(t, here, "acme")); diff != "" {
			t.Errorf("%s: published (-want +got):\n%s", wait.how, diff)
		}
		g := w.issued(t, "shop")
		if kid := kidOf(t, g.AccessToken); kid != "next" {
			t.Errorf("%s: signed by %s, want next", wait.how, kid)
		}
		id := fmt.Sprint("other-", i)
		w.signingKey(t, domain.SealedKey{TenantID: "acme", Algorithm: domain.EdDSA, Number: uint32(i + 1), ID: id})
		old = append(old, id)
	}
	if _, err := here.byToken(t, first.AccessToken); err != nil {
		t.Errorf("by the earlier key: %v", err)
	}
}

// A shared key is valid for every tenant, also for those that are loaded already.
func TestASharedKeyOfAnotherProcessServesAllTenants(t *testing.T) {
	w := newWorld(t)
	w.issued(t, "shop")
	w.signingKey(t, domain.SealedKey{Algorithm: domain.ES256, Number: 1, ID: "shared"})
	must(t, w.keys.Reload(t.Context()))
	for _, tenantID := range []string{"acme", "globex"} {
		if ids := published(t, w.replica, tenantID); !slices.Contains(ids, "shared") {
			t.Errorf("%s publishes %v, want the shared key too", tenantID, ids)
		}
	}
	g, err := w.issue.Do(t.Context(), usecase.IssueInput{TenantID: "globex", ApplicationID: "shop", UserID: "ana"})
	must(t, err)
	if kid := kidOf(t, g.AccessToken); kid != "shared" {
		t.Errorf("globex, which has no key of its own, signed by %s", kid)
	}
	if _, err := w.open(t).byToken(t, g.AccessToken); err != nil {
		t.Error(err)
	}
}

// unreadable is a store whose key ring can be made to fail or to block.
type unreadable struct {
	usecase.KeyStore
	cut   atomic.Bool
	after func(tenantID string) // a tenant's keys were read
	hold  chan struct{}         // a look-up by id waits for it
	now   atomic.Int64
	most  atomic.Int64
}

func (u *unreadable) KeysSince(ctx context.Context, revision uint64, limit int) ([]domain.SealedKey, error) {
	if u.cut.Load() {
		return nil, errPort
	}
	return u.KeyStore.KeysSince(ctx, revision, limit)
}

func (u *unreadable) KeysOfTenant(ctx context.Context, tenantID string) ([]domain.SealedKey, error) {
	keys, err := u.KeyStore.KeysOfTenant(ctx, tenantID)
	if u.after != nil {
		u.after(tenantID)
	}
	return keys, err
}

func (u *unreadable) KeyByID(ctx context.Context, id string) (domain.SealedKey, error) {
	if u.hold != nil {
		n := u.now.Add(1)
		for most := u.most.Load(); n > most && !u.most.CompareAndSwap(most, n); most = u.most.Load() {
		}
		<-u.hold
		u.now.Add(-1)
	}
	return u.KeyStore.KeyByID(ctx, id)
}

func (w *world) openOn(t *testing.T, store usecase.KeyStore) replica {
	t.Helper()
	c := w.keysConfig()
	c.Store = store
	keys, err := usecase.OpenKeys(t.Context(), c)
	must(t, err)
	return w.replicaOf(keys)
}

// A process that cannot read the ring must not sign forever with a key that was revoked meanwhile. Verifiers still get
// its key sets; otherwise they would refuse every access token.
func TestAProcessThatCannotReadTheRingSignsForThreeSecondsMore(t *testing.T) {
	w := newWorld(t)
	store := &unreadable{KeyStore: w.probe}
	w.replica = w.openOn(t, store)
	g := w.issued(t, "shop")
	set := published(t, w.replica, "acme")
	store.cut.Store(true)
	for _, step := range []struct {
		after time.Duration
		signs bool
	}{{3 * time.Second, true}, {time.Microsecond, false}, {time.Hour, false}} {
		w.clock.advance(step.after)
		_, err := w.issue.Do(t.Context(), usecase.IssueInput{TenantID: "acme", ApplicationID: "shop", UserID: "ben"})
		_, verify := w.byToken(t, g.AccessToken)
		for what, err := range map[string]error{"issue": err, "verify": verify} {
			if step.signs && err != nil && !strings.Contains(err.Error(), "expired") {
				t.Errorf("%s: %s: %v", step.after, what, err)
			} else if !step.signs {
				wantErr(t, err, domain.ErrUnavailable)
			}
		}
		if diff := cmp.Diff(set, published(t, w.replica, "acme")); diff != "" {
			t.Errorf("%s: published (-want +got):\n%s", step.after, diff)
		}
	}
	store.cut.Store(false)
	w.issued(t, "shop") // immediately
}

// stalling is a store and a signer of which one call blocks on hold.
type stalling struct {
	*probe
	what string // the call
	hold chan struct{}
	at   chan struct{} // has as many as have begun to wait
}

func (s *stalling) wait(call string) {
	if s.what == call {
		s.at <- struct{}{}
		<-s.hold
	}
}

func (s *stalling) KeysSince(ctx context.Context, revision uint64, limit int) ([]domain.SealedKey, error) {
	s.wait("KeysSince")
	return s.probe.KeysSince(ctx, revision, limit)
}

func (s *stalling) KeysOfTenant(ctx context.Context, tenantID string) ([]domain.SealedKey, error) {
	s.wait("KeysOfTenant")
	return s.probe.KeysOfTenant(ctx, tenantID)
}

func (s *stalling) NewKey(a domain.Algorithm, bits int) (domain.Secret, error) {
	s.wait("NewKey")
	return s.probe.NewKey(a, bits)
}

// openStalling starts a process on a store and with a signer of which no call blocks yet.
func (w *world) openStalling(t *testing.T) (*stalling, replica) {
	t.Helper()
	s := &stalling{probe: w.probe, hold: make(chan struct{}), at: make(chan struct{}, 100)}
	c := w.keysConfig()
	c.Store, c.Signer = s, s
	keys, err := usecase.OpenKeys(t.Context(), c)
	must(t, err)
	return s, w.replicaOf(keys)
}

// A request has 10 seconds. The work that it waits for may take longer, and others wait for the same work: the request
// that started it returns in time as they do, and does not cancel it.
func TestTheFirstWhoWaitsForKeysMayLeaveToo(t *testing.T) {
	for what, prepare := range map[string]func(*world){
		"KeysSince":    func(w *world) { published(t, w.replica, "acme"); w.clock.advance(time.Minute) },
		"KeysOfTenant": func(*world) {},
		"NewKey":       func(*world) {},
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			if what != "NewKey" {
				w.issued(t, "shop") // so that there is a key
			}
			var s *stalling
			s, w.replica = w.openStalling(t)
			prepare(w)
			s.what = what
			ctx, leave := context.WithCancel(t.Context())
			in := usecase.IssueInput{TenantID: "acme", ApplicationID: "shop", UserID: "ana"}
			first, second := make(chan error, 1), make(chan error, 1)
			call := func(ctx context.Context, came chan<- error) {
				_, err := w.issue.Do(ctx, in)
				came <- err
			}
			go call(ctx, first)
			<-s.at
			go call(t.Context(), second)
			leave()
			select {
			case err := <-first:
				wantErr(t, err, context.Canceled)
			case <-time.After(10 * time.Second):
				t.Fatal("the first one has left, and waits")
			}
			close(s.hold)
			must(t, <-second)
		})
	}
}

// Anybody may request the key sets of tenants that have no key yet, and making one takes a processor for a while. They
// are made one after another, and a login that needs a new key too does not wait for all of them.
func TestKeySetsMakeOneKeyAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ids := []string{"a", "b", "c", "d", "e"}
		for _, id := range ids {
			must(t, storagetest.SaveTenant(t.Context(), w.store, domain.Tenant{ID: id}))
		}
		var s *stalling
		s, w.replica = w.openStalling(t)
		s.what = "NewKey"
		var all sync.WaitGroup
		for _, id := range ids {
			all.Go(func() {
				set, err := w.publish.Tenant(t.Context(), id)
				if err != nil || len(publicKeys(t, set)) != 1 {
					t.Errorf("key set of %s: got %s, %v, want one key", id, set, err)
				}
			})
		}
		synctest.Wait()
		if n := len(s.at); n != 1 {
			t.Errorf("%d keys are made for key sets at the same time, want 1", n)
		}
		for _, id := range []string{"acme", "globex"} {
			all.Go(func() {
				in := usecase.IssueInput{TenantID: id, ApplicationID: "shop", UserID: "ana"}
				if _, err := w.issue.Do(t.Context(), in); err != nil {
					t.Errorf("login of %s: %v", id, err)
				}
			})
		}
		synctest.Wait()
		if n := len(s.at); n != 2 {
			t.Errorf("%d keys are made at the same time, want 2, one of them for a login", n)
		}
		close(s.hold)
		all.Wait()
	})
}

// panicking is a signer that panics once.
type panicking struct {
	port.Signer
	once sync.Once
}

func (p *panicking) NewKey(a domain.Algorithm, bits int) (domain.Secret, error) {
	p.once.Do(func() { panic("a fault of the signer") })
	return p.Signer.NewKey(a, bits)
}

// The work that requests wait for runs in its own goroutine, in which a panic would end the process.
func TestAPanicInWhatRequestsWaitForIsAnError(t *testing.T) {
	w := newWorld(t)
	c := w.keysConfig()
	c.Signer = &panicking{Signer: w.probe}
	keys, err := usecase.OpenKeys(t.Context(), c)
	must(t, err)
	w.replica = w.replicaOf(keys)
	_, err = w.issue.Do(t.Context(), usecase.IssueInput{TenantID: "acme", ApplicationID: "shop", UserID: "ana"})
	wantErr(t, err, domain.ErrUnavailable)
	if !strings.Contains(err.Error(), "a fault of the signer") {
		t.Errorf("got %v, want that it says what panicked", err)
	}
	w.issued(t, "shop")
}

// A reading of the ring may happen between reading a tenant's keys and storing them. The key that it returns must not
// be lost.
func TestAKeyThatIsMadeWhileItsTenantIsLoadedIsNotMissed(t *testing.T) {
	w := newWorld(t)
	w.issued(t, "shop")
	store := &unreadable{KeyStore: w.probe}
	w.replica = w.openOn(t, store)
	var once sync.Once
	store.after = func(tenantID string) {
		if tenantID != "acme" {
			return
		}
		once.Do(func() {
			w.signingKey(t, domain.SealedKey{TenantID: "acme", Algorithm: domain.EdDSA, Number: 1, ID: "between"})
			must(t, w.keys.Reload(t.Context()))
		})
	}
	if ids := published(t, w.replica, "acme"); !slices.Contains(ids, "between") {
		t.Errorf("published %v, want the key that was made meanwhile", ids)
	}
}

// suspended is a store whose next reading ends long after it began, once stop is set.
type suspended struct {
	usecase.KeyStore
	stop atomic.Bool
	ends chan struct{}
}

func (s *suspended) KeysSince(ctx context.Context, revision uint64, limit int) ([]domain.SealedKey, error) {
	keys, err := s.KeyStore.KeysSince(ctx, revision, limit)
	if s.stop.Swap(false) {
		<-s.ends
	}
	return keys, err
}

// The process is suspended for hours in a reading of the ring, and another one makes a key meanwhile. A request that
// waits for the end of that reading must not sign with what it knew.
func TestAReadingThatBeganLongAgoIsNoReadingOfNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.issued(t, "shop")
		store := &suspended{KeyStore: w.probe, ends: make(chan struct{})}
		w.replica = w.openOn(t, store)
		published(t, w.replica, "acme") // the tenant's keys are held
		w.clock.advance(time.Minute)
		store.stop.Store(true)
		read := make(chan error, 1)
		go func() { read <- w.keys.Reload(t.Context()) }()
		synctest.Wait()
		w.signingKey(t, domain.SealedKey{
			TenantID: "acme", Algorithm: domain.ES256, Number: 2, ID: "next",
			StartsAt: stored(w.clock.now()).Truncate(time.Second),
		})
		w.clock.advance(9 * time.Hour)
		signed := make(chan string, 1)
		go func() { signed <- kidOf(t, w.issued(t, "shop").AccessToken) }()
		synctest.Wait() // it waits for the reading
		close(store.ends)
		if kid := <-signed; kid != "next" {
			t.Errorf("signed by %s, want the key that another process made hours ago", kid)
		}
		must(t, <-read)
	})
}

// retiring is a store in which a key can be retired, as a tool of an operator would.
type retiring struct {
	usecase.KeyStore
	key     domain.SealedKey // as it is then; nothing while it has no id
	meeting func()           // a key was looked up by its id
}

func (r *retiring) KeysSince(ctx context.Context, revision uint64, limit int) ([]domain.SealedKey, error) {
	keys, err := r.KeyStore.KeysSince(ctx, revision, limit)
	if r.key.ID != "" && revision < r.key.Revision {
		keys = append(keys, r.key)
	}
	return keys, err
}

func (r *retiring) KeyByID(ctx context.Context, id string) (domain.SealedKey, error) {
	key, err := r.KeyStore.KeyByID(ctx, id)
	r.meeting()
	return key, err
}

// A reading of the ring may happen between looking up a key and storing it, and return the key as retired. It returns
// that once: if the older state was kept, this process would sign with the key forever.
func TestAKeyThatIsRetiredWhileItIsLookedUpStaysRetired(t *testing.T) {
	w := newWorld(t)
	first := kidOf(t, w.issued(t, "shop").AccessToken)
	store := &retiring{KeyStore: w.probe}
	w.replica = w.openOn(t, store)
	published(t, w.replica, "acme") // the tenant's keys are held
	there := w.open(t)
	w.signingKey(t, domain.SealedKey{
		TenantID: "acme", Algorithm: domain.ES256, Number: 2, ID: "next",
		StartsAt: stored(w.clock.now()).Truncate(time.Second),
	})
	must(t, there.keys.Reload(t.Context()))
	byNext, err := there.issue.Do(t.Context(),
		usecase.IssueInput{TenantID: "acme", ApplicationID: "shop", UserID: "ben"})
	must(t, err)
	store.meeting = func() {
		key, err := w.store.KeyByID(t.Context(), "next")
		must(t, err)
		key.RetiredAt, key.Revision = key.StartsAt, key.Revision+1
		store.key = key
		must(t, w.keys.Reload(t.Context()))
	}
	_, err = w.byToken(t, byNext.AccessToken)
	wantErr(t, err, domain.ErrUnknownKey)
	if store.key.ID == "" {
		t.Fatal("the key was not looked up")
	}
	must(t, w.keys.Reload(t.Context()))
	if kid := kidOf(t, w.issued(t, "shop").AccessToken); kid != first {
		t.Errorf("signed by %s, which is retired; want %s", kid, first)
	}
}

// tokenBy returns an access token that names an unknown key.
func tokenBy(t *testing.T, kid string) domain.Secret {
	t.Helper()
	header := base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"alg":"EdDSA","kid":%q,"typ":"at+jwt"}`, kid))
	return domain.NewSecret(header + ".e30.AAAA")
}

// Anybody can make up names without end.
func TestMadeUpKeyIDsAreNoLoadOnTheStore(t *testing.T) {
	w := newWorld(t)
	first := w.issued(t, "shop")
	w.probe.forget()
	for range 50 {
		for _, kid := range []string{"made-up", strings.Repeat("x", 256), "with blank", "\u0000", "ключ", ""} {
			_, err := w.byToken(t, tokenBy(t, kid))
			wantErr(t, err, domain.ErrUnauthorized)
		}
	}
	if got := w.probe.count("KeyByID"); got != 1 {
		t.Errorf("%d look-ups of the same made-up key, want 1", got)
	}
	// A key that is made later is found, although its id was requested before.
	w.signingKey(t, domain.SealedKey{TenantID: "acme", Algorithm: domain.EdDSA, Number: 1, ID: "made-up"})
	must(t, w.keys.Reload(t.Context()))
	w.application(t, "acme", "modern", domain.Settings{Algorithm: new(domain.EdDSA)})
	if _, err := w.byToken(t, w.issued(t, "modern").AccessToken); err != nil {
		t.Error(err)
	}

	// While they wait, however many they are, requests with a known key do not.
	store := &unreadable{KeyStore: w.probe, hold: make(chan struct{})}
	w.replica = w.openOn(t, store)
	w.rotated(t, first.TokenString)
	var strangers sync.WaitGroup
	for i := range 40 {
		strangers.Go(func() {
			if _, err := w.byToken(t, tokenBy(t, fmt.Sprint("made-up-", i))); err == nil {
				t.Error("a made-up key verified")
			}
		})
	}
	for store.now.Load() == 0 {
		time.Sleep(time.Millisecond) // between looks
	}
	w.issued(t, "shop")
	published(t, w.replica, "acme")
	if _, err := w.byToken(t, first.AccessToken); err != nil {
		t.Error(err)
	}
	close(store.hold)
	strangers.Wait()
	if most := store.most.Load(); most > 4 {
		t.Errorf("%d look-ups at the same time, want at most 4", most)
	}
}

// The key set of a tenant comes from memory, and that of an unknown tenant costs a look-up.
func TestKeySetsComeFromMemory(t *testing.T) {
	w := newWorld(t)
	published(t, w.replica, "acme")
	_, err := w.publish.Root(t.Context())
	must(t, err)
	w.probe.forget()
	for range 100 {
		published(t, w.replica, "acme")
		if _, err := w.publish.Root(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if calls := w.probe.asked(); len(calls) > 0 {
		t.Errorf("calls of ports = %v, want none", calls)
	}
	for i := range 10 {
		_, err := w.publish.Tenant(t.Context(), fmt.Sprint("made-up-", i))
		wantErr(t, err, domain.ErrNotFound)
	}
	if calls := w.probe.asked(); w.probe.count("Tenant") != 10 || len(calls) != 10 {
		t.Errorf("calls of ports = %v, want Tenant 10 times", calls)
	}
	// A deleted tenant has no key set after a minute.
	must(t, storagetest.DeleteTenant(t.Context(), w.store, "acme", stored(w.clock.now())))
	w.clock.advance(time.Minute)
	_, err = w.publish.Tenant(t.Context(), "acme")
	wantErr(t, err, domain.ErrNotFound)
}

// measured counts the objects that are read.
type measured struct {
	port.Store
	calls, keys, tenants int
}

func (m *measured) counted(keys []domain.SealedKey, err error) ([]domain.SealedKey, error) {
	m.calls++
	m.keys += len(keys)
	return keys, err
}

func (m *measured) KeysSince(ctx context.Context, revision uint64, limit int) ([]domain.SealedKey, error) {
	return m.counted(m.Store.KeysSince(ctx, revision, limit))
}

func (m *measured) KeysOfTenant(ctx context.Context, tenantID string) ([]domain.SealedKey, error) {
	return m.counted(m.Store.KeysOfTenant(ctx, tenantID))
}

func (m *measured) KeyByID(ctx context.Context, id string) (domain.SealedKey, error) {
	m.calls++
	return m.Store.KeyByID(ctx, id)
}

func (m *measured) AddKeys(ctx context.Context, e domain.Event, keys ...domain.SealedKey) error {
	m.calls++
	return m.Store.AddKeys(ctx, e, keys...)
}

func (m *measured) Tenant(ctx context.Context, id string) (domain.Tenant, error) {
	m.calls, m.tenants = m.calls+1, m.tenants+1
	return m.Store.Tenant(ctx, id)
}

func (m *measured) Tenants(ctx context.Context, after string, limit int) ([]domain.Tenant, string, error) {
	ts, next, err := m.Store.Tenants(ctx, after, limit)
	m.calls, m.tenants = m.calls+1, m.tenants+len(ts)
	return ts, next, err
}

func (m *measured) read() string {
	return fmt.Sprintf("%d calls, %d keys, %d tenants", m.calls, m.keys, m.tenants)
}

// A start, an issue, an exchange, a verification, a key set and an apply cost the same with few tenants and with many,
// in objects that are read and written. Time would depend more on the machine.
func TestNoCostGrowsWithTheNumberOfTenants(t *testing.T) {
	costs := func(tenants int) (told []string) {
		store := &measured{Store: memstore.New()}
		w := &world{clock: &clock{at: t0}, random: newCounting(), store: store.Store.(*memstore.Store)}
		w.probe = &probe{Store: store, Signer: jwxsigner.New(w.random)}
		w.master = newMasterKey(t, w.random)
		w.replica = w.open(t)
		private, err := w.probe.Signer.NewKey(domain.ES256, 0)
		must(t, err)
		for i := range tenants {
			id := fmt.Sprintf("tenant-%d", i)
			must(t, storagetest.SaveTenant(t.Context(), w.store, domain.Tenant{ID: id}, domain.Application{ID: "shop"}))
			k, err := w.master.Seal(domain.SealedKey{
				Kind: domain.KeySigning, TenantID: id, Algorithm: domain.ES256, Number: 1, ID: "key-of-" + id,
			}, private, w.random)
			must(t, err)
			must(t, w.store.AddKeys(t.Context(), storagetest.NewEvent(), k))
		}
		step := func(name string, do func()) {
			t.Helper()
			store.calls, store.keys, store.tenants = 0, 0, 0
			do()
			told = append(told, name+": "+store.read())
		}
		var g usecase.Grant
		step("start", func() { w.replica = w.open(t) })
		step("issue", func() {
			var err error
			g, err = w.issue.Do(t.Context(), usecase.IssueInput{TenantID: "tenant-7", ApplicationID: "shop",
				UserID: "ana"})
			must(t, err)
		})
		step("exchange", func() { w.rotated(t, g.TokenString) })
		step("read the changes", func() { must(t, w.keys.Reload(t.Context())) })
		step("key set", func() { published(t, w.replica, "tenant-8") })
		step("made-up tenant", func() { _, _ = w.publish.Tenant(t.Context(), "nobody") })
		step("made-up key number", func() {
			w.clock.advance(time.Minute)
			made := domain.TokenKey{Number: 77, Key: domain.NewSecret("x")}.Mint(domain.ID{1}, 1)
			wantOutcome(t, w.exchanged(t, made), domain.RefusedInvalid, nil)
		})
		step("apply", func() {
			_, err := w.apply.Do(t.Context(), admin.Kickstart{Tenants: []admin.KickstartTenant{{
				Tenant:       domain.Tenant{ID: "new", Issuer: "https://new.example"},
				Applications: []domain.Application{{ID: "shop"}},
			}}})
			must(t, err)
		})
		other := w.open(t)
		step("verify in another process", func() {
			_, err := other.byToken(t, g.AccessToken)
			must(t, err)
		})
		return told
	}
	few, many := costs(10), costs(3000)
	if diff := cmp.Diff(few, many); diff != "" {
		t.Errorf("what is read (-with 10 tenants +with 3000):\n%s", diff)
	}
	t.Log("\n" + strings.Join(many, "\n"))
}
