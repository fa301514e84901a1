package usecase_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/adapter/memstore"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/test/storagetest"
	"github.com/refreshd/refreshd/usecase"
)

func TestTheFirstStartMakesItsKeysAndTheNextOneNone(t *testing.T) {
	w := emptyWorld(t)
	w.open(t)
	var got []domain.SealedKey
	for _, k := range w.sealed(t) {
		if k.Sealed == "" || k.SealedBy == "" {
			t.Errorf("the %s key is not sealed, or by an unknown master key", k.Kind)
		}
		k.Sealed, k.SealedBy = "", ""
		got = append(got, k)
	}
	now := stored(t0)
	if diff := cmp.Diff([]domain.SealedKey{
		{Kind: domain.KeyCheck, Number: 1, CreatedAt: now},
		{Kind: domain.KeyToken, Number: 1, CreatedAt: now},
		{Kind: domain.KeyAPI, Number: 1, CreatedAt: now},
	}, got); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}

	before, drawn := w.sealed(t), w.random.drawn
	w.clock.advance(time.Hour)
	w.open(t)
	if diff := cmp.Diff(before, w.sealed(t)); diff != "" || w.random.drawn != drawn {
		t.Errorf("the second start changed keys (-before +after):\n%s", diff)
	}
}

// A wrong master key must not cause a second set of keys.
func TestAWrongMasterKeyChangesNothing(t *testing.T) {
	w := newWorld(t)
	w.issued(t, "shop")
	before := w.sealed(t)
	w.probe.forget()
	wrong := w.keysConfig()
	wrong.Master = newMasterKey(t, w.random)
	_, err := usecase.OpenKeys(t.Context(), wrong)
	wantErr(t, err, domain.ErrWrongMasterKey)

	alsoWrong := newMasterKey(t, w.random)
	wrong.Previous = &alsoWrong
	_, err = usecase.OpenKeys(t.Context(), wrong)
	wantErr(t, err, domain.ErrWrongMasterKey)

	if diff := cmp.Diff(before, w.sealed(t)); diff != "" {
		t.Errorf("keys (-before +after):\n%s", diff)
	}
	if n := w.probe.count("AddKeys") + w.probe.count("Reseal"); n != 0 {
		t.Errorf("%d attempts to write", n)
	}
}

// A store that was restored in part must not be written to: under new keys no token string and no API key in use would
// be valid.
func TestDataWithoutItsKeysIsARefusalToStart(t *testing.T) {
	w := newWorld(t)
	for name, lost := range map[string]func(domain.SealedKey) bool{
		"all":                 func(domain.SealedKey) bool { return true },
		"the check value":     func(k domain.SealedKey) bool { return k.Kind == domain.KeyCheck },
		"the token key":       func(k domain.SealedKey) bool { return k.Kind == domain.KeyToken },
		"the key of API keys": func(k domain.SealedKey) bool { return k.Kind == domain.KeyAPI },
	} {
		t.Run(name, func(t *testing.T) {
			store := memstore.New()
			must(t, storagetest.SaveTenant(t.Context(), store, domain.Tenant{ID: "acme"}))
			left := slices.DeleteFunc(w.sealed(t), lost)
			for _, k := range left {
				must(t, store.AddKeys(t.Context(), storagetest.NewEvent(), k))
			}
			c := w.keysConfig()
			c.Store = store
			_, err := usecase.OpenKeys(t.Context(), c)
			wantErr(t, err, usecase.ErrKeysLost)
			after := sealedIn(t, store)
			if len(after) != len(left) {
				t.Errorf("%d keys, want the %d from before the start", len(after), len(left))
			}
		})
	}
}

func TestKeysWithoutACheckValueAreARefusalToStart(t *testing.T) {
	w := newWorld(t)
	c := w.keysConfig()
	c.Store = memstore.New()
	for _, k := range w.sealed(t) {
		if k.Kind == domain.KeyToken {
			must(t, c.Store.AddKeys(t.Context(), storagetest.NewEvent(), k))
		}
	}
	_, err := usecase.OpenKeys(t.Context(), c)
	wantErr(t, err, usecase.ErrKeysLost)
}

func TestAKeyThatWasAlteredIsARefusalToStart(t *testing.T) {
	w := newWorld(t)
	c := w.keysConfig()
	c.Store = memstore.New()
	for _, k := range w.sealed(t) {
		if k.Kind == domain.KeyToken {
			k.Number = 2 // moved to another row
		}
		must(t, c.Store.AddKeys(t.Context(), storagetest.NewEvent(), k))
	}
	_, err := usecase.OpenKeys(t.Context(), c)
	wantErr(t, err, domain.ErrWrongMasterKey)
	if errors.Is(err, usecase.ErrKeysLost) {
		t.Error("nothing was lost")
	}
}

// Several replicas start concurrently on an empty store. They must get the same keys; otherwise each would refuse the
// others' strings.
func TestProcessesThatStartAtOnceAgree(t *testing.T) {
	w := emptyWorld(t)
	processes := make([]replica, 8)
	var all sync.WaitGroup
	for i := range processes {
		all.Go(func() {
			keys, err := usecase.OpenKeys(t.Context(), w.keysConfig())
			if err != nil {
				t.Error(err)
				return
			}
			processes[i] = w.replicaOf(keys)
		})
	}
	all.Wait()
	if t.Failed() {
		return
	}
	must(t, storagetest.SaveTenant(t.Context(), w.store, domain.Tenant{ID: "acme"}))
	w.application(t, "acme", "shop", domain.Settings{})
	w.replica = processes[0]
	current := w.issued(t, "shop").TokenString
	for _, r := range processes {
		current = r.rotated(t, current).TokenString
		w.clock.advance(time.Minute)
	}
	if n := len(w.sealed(t)); n != 4 { // with the signing key
		t.Errorf("%d keys, want 4", n)
	}
}

// Of two processes that start with different master keys, one owns the store, and the other fails.
func TestOfTwoMasterKeysAtOnceOneWins(t *testing.T) {
	w := emptyWorld(t)
	other := w.keysConfig()
	other.Master = newMasterKey(t, w.random)
	var errs [2]error
	var all sync.WaitGroup
	for i, c := range []usecase.KeysConfig{w.keysConfig(), other} {
		all.Go(func() { _, errs[i] = usecase.OpenKeys(t.Context(), c) })
	}
	all.Wait()
	slices.SortFunc(errs[:], func(a, b error) int {
		if a == nil {
			return -1
		}
		return 1
	})
	if errs[0] != nil || !errors.Is(errs[1], domain.ErrWrongMasterKey) {
		t.Errorf("errors = %v, want none and ErrWrongMasterKey", errs)
	}
}

// overtaken runs a function after the first call that a starting process makes.
type overtaken struct {
	usecase.KeyStore
	once sync.Once
	by   func()
}

func (o *overtaken) KeyRevision(ctx context.Context) (uint64, error) {
	defer o.once.Do(o.by)
	return o.KeyStore.KeyRevision(ctx)
}

func (o *overtaken) HasData(ctx context.Context) (bool, error) {
	defer o.once.Do(o.by)
	return o.KeyStore.HasData(ctx)
}

// Two replicas start for the first time, each with a kickstart file. The slower one finds data, which is not a loss of
// keys.
func TestAFirstStartThatIsOvertakenByAnotherSucceeds(t *testing.T) {
	w := emptyWorld(t)
	c := w.keysConfig()
	c.Store = &overtaken{KeyStore: w.store, by: func() {
		_, err := w.open(t).apply.Do(t.Context(), kickstart())
		must(t, err)
	}}
	_, err := usecase.OpenKeys(t.Context(), c)
	must(t, err)
}

// A first start that was interrupted did not lose the keys of its store.
func TestAFirstStartThatBrokeOffGoesOn(t *testing.T) {
	w := emptyWorld(t)
	c := w.keysConfig()
	c.Random = io.LimitReader(w.random, 30) // enough for the check value and its event
	if _, err := usecase.OpenKeys(t.Context(), c); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("error = %v, want that the randomness ended", err)
	}
	if keys := w.sealed(t); len(keys) != 1 || keys[0].Kind != domain.KeyCheck {
		t.Fatalf("keys = %v, want the check value", keys)
	}
	w.open(t)
}

// A change of the master key seals the keys again and changes none: every string and API key in use stays valid.
func TestAnotherMasterKeyChangesNoKey(t *testing.T) {
	w := newWorld(t)
	_, err := w.apply.Do(t.Context(), kickstart())
	must(t, err)
	first := w.issued(t, "shop")
	want := w.rotated(t, first.TokenString)
	running, before, old := w.replica, w.sealed(t), w.master

	w.master = newMasterKey(t, w.random)
	changed := w.keysConfig()
	changed.Previous = &old
	keys, err := usecase.OpenKeys(t.Context(), changed)
	must(t, err)
	during := w.replicaOf(keys)
	if diff := cmp.Diff(before, w.sealed(t)); diff != "" {
		t.Errorf("a start with both master keys changed the keys (-before +after):\n%s", diff)
	}
	must(t, keys.Reseal(t.Context(), byOperator, nil))
	for i, k := range w.sealed(t) {
		if k.Sealed == before[i].Sealed || k.SealedBy == before[i].SealedBy {
			t.Errorf("the %s key is sealed as before", k.Kind)
		}
		k.Sealed, k.SealedBy = before[i].Sealed, before[i].SealedBy
		if diff := cmp.Diff(before[i], k); diff != "" {
			t.Errorf("the %s key (-before +after):\n%s", k.Kind, diff)
		}
	}
	// A process with the old master key makes the first key of a tenant.
	if _, err := running.publish.Tenant(t.Context(), "globex"); !errors.Is(err, domain.ErrWrongMasterKey) {
		t.Fatalf("error = %v, want ErrWrongMasterKey", err)
	}
	must(t, during.keys.Reload(t.Context()))

	after := w.open(t) // without the previous one
	for name, r := range map[string]replica{"the process with the old one": running, "with both": during,
		"with the new one": after} {
		got := r.exchanged(t, first.TokenString)
		wantOutcome(t, got, domain.Retried, nil)
		sameGrant(t, got.Grant, want.Grant)
		if _, err := r.byKey(t, backendKey, domain.TokenIssue); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	c := w.keysConfig()
	c.Master = old
	_, err = usecase.OpenKeys(t.Context(), c)
	wantErr(t, err, domain.ErrWrongMasterKey)
}

// resealing runs a function before the first key is sealed again.
type resealing struct {
	usecase.KeyStore
	once sync.Once
	by   func()
}

func (r *resealing) Reseal(ctx context.Context, before domain.SealedKey, sealed, sealedBy string) error {
	r.once.Do(r.by)
	return r.KeyStore.Reseal(ctx, before, sealed, sealedBy)
}

// Two operators may run `refreshd key reseal`: one succeeds if the other was faster.
func TestTwoProcessesMaySealTheKeysAgainConcurrently(t *testing.T) {
	w := newWorld(t)
	first := w.issued(t, "shop")
	old := w.master
	w.master = newMasterKey(t, w.random)
	c := w.keysConfig()
	c.Previous = &old
	slower := c
	slower.Store = &resealing{KeyStore: w.store, by: func() {
		faster, err := usecase.OpenKeys(t.Context(), c)
		must(t, err)
		must(t, faster.Reseal(t.Context(), byOperator, nil))
	}}
	keys, err := usecase.OpenKeys(t.Context(), slower)
	must(t, err)
	must(t, keys.Reseal(t.Context(), byOperator, nil))
	second := w.replicaOf(keys).rotated(t, first.TokenString)
	sameGrant(t, w.open(t).exchanged(t, first.TokenString).Grant, second.Grant)
}

// Many first users of a tenant log in concurrently, on several processes: one key signs, and each process makes at most
// one.
func TestTheFirstSigningKeyIsMadeOnce(t *testing.T) {
	w := newWorld(t)
	processes := []replica{w.replica, w.open(t), w.open(t)}
	kids := make([]string, 30)
	w.probe.forget()
	var all sync.WaitGroup
	for i := range kids {
		all.Go(func() {
			g, err := processes[i%3].issue.Do(t.Context(),
				usecase.IssueInput{TenantID: "acme", ApplicationID: "shop", UserID: "ana"})
			if err != nil {
				t.Error(err)
				return
			}
			kids[i] = kidOf(t, g.AccessToken)
		})
	}
	all.Wait()
	if slices.Sort(kids); kids[0] != kids[len(kids)-1] {
		t.Error("several keys signed")
	}
	if n := w.probe.count("NewKey"); n > len(processes) {
		t.Errorf("%d keys were made by %d processes", n, len(processes))
	}
	// A process that starts later finds it before it makes another.
	w.probe.forget()
	w.replica = w.open(t)
	w.issued(t, "shop")
	if n := w.probe.count("NewKey"); n != 0 {
		t.Errorf("%d more keys were made", n)
	}
}

// A token key is added while strings are in use. Strings that were minted before stay valid and are minted again for a
// retry, later ones are minted with the new key, and a process that does not know the key finds it.
func TestANewTokenKeyMintsFromItsStart(t *testing.T) {
	w := newWorld(t)
	unaware := w.open(t)
	in := usecase.IssueInput{ID: chosenID(8), TenantID: "acme", ApplicationID: "shop", UserID: "ana"}
	first, err := w.issue.Do(t.Context(), in)
	must(t, err)
	second := w.rotated(t, first.TokenString)
	starts := stored(w.clock.now()).Add(2 * time.Minute)
	added, err := w.master.Seal(domain.SealedKey{Kind: domain.KeyToken, Number: 2, CreatedAt: stored(w.clock.now()),
		StartsAt: starts},
		domain.NewSecret("another 32 bytes, made by nobody"), w.random)
	must(t, err)
	must(t, w.store.AddKeys(t.Context(), storagetest.NewEvent(), added))
	must(t, w.keys.Reload(t.Context()))

	sameGrant(t, w.exchanged(t, first.TokenString).Grant, second.Grant)
	again, err := w.issue.Do(t.Context(), in)
	must(t, err)
	sameGrant(t, again, first)

	w.clock.at = starts.Add(-time.Microsecond)
	third := w.rotated(t, second.TokenString)
	w.clock.at = starts
	sameGrant(t, w.exchanged(t, second.TokenString).Grant, third.Grant)
	sameGrant(t, w.exchanged(t, third.TokenString).Grant, third.Grant)
	w.clock.advance(time.Minute)
	fourth := w.rotated(t, third.TokenString)
	for i, s := range []domain.Secret{first.TokenString, second.TokenString, third.TokenString, fourth.TokenString} {
		p, _ := domain.ParseTokenString(s.Reveal())
		if want := []uint32{1, 1, 1, 2}[i]; p.KeyNumber != want {
			t.Errorf("generation %d was minted with key %d, want %d", i+1, p.KeyNumber, want)
		}
	}

	sameGrant(t, w.open(t).exchanged(t, third.TokenString).Grant, fourth.Grant) // by a string of key 1
	w.clock.advance(time.Minute)
	fifth := unaware.rotated(t, fourth.TokenString)
	sameGrant(t, w.exchanged(t, fourth.TokenString).Grant, fifth.Grant)
}

// A store that is down for a while must not take away the keys that a process has.
func TestAReloadThatFailsLeavesTheKeys(t *testing.T) {
	w := newWorld(t)
	first := w.issued(t, "shop")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wantErr(t, w.keys.Reload(ctx), domain.ErrUnavailable)
	w.rotated(t, first.TokenString)
}

// leaving is a store whose caller cancels while the keys are read.
type leaving struct {
	usecase.KeyStore
	leave context.CancelFunc
}

func (l *leaving) KeysOfTenant(ctx context.Context, tenantID string) ([]domain.SealedKey, error) {
	if l.leave != nil {
		l.leave()
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return l.KeyStore.KeysOfTenant(ctx, tenantID)
}

func (l *leaving) KeysSince(ctx context.Context, revision uint64, limit int) ([]domain.SealedKey, error) {
	if l.leave != nil {
		l.leave()
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return l.KeyStore.KeysSince(ctx, revision, limit)
}

// The result of a look-up is shared for a second. A caller that cancels in the middle of one must not take the key set
// away from the others.
func TestACallerWhoLeavesDoesNotSpoilALookUpForOthers(t *testing.T) {
	w := newWorld(t)
	w.issued(t, "shop")
	c, store := w.keysConfig(), &leaving{KeyStore: w.store}
	c.Store = store
	keys, err := usecase.OpenKeys(t.Context(), c)
	must(t, err)
	w.clock.advance(time.Minute)
	ctx, leave := context.WithCancel(t.Context())
	store.leave = leave
	r := w.replicaOf(keys)
	_, _ = r.publish.Tenant(ctx, "acme")
	if ctx.Err() == nil {
		t.Fatal("the keys were not looked up")
	}
	if _, err := r.publish.Tenant(t.Context(), "acme"); err != nil {
		t.Errorf("the next caller got %v", err)
	}
}

// Verifiers must still get known keys while a look-up fails, for example during a change of the master key.
func TestKnownKeysArePublishedWhileNewOnesCannotBeLookedUp(t *testing.T) {
	w := newWorld(t)
	w.issued(t, "shop")
	want, err := w.publish.Tenant(t.Context(), "acme")
	must(t, err)
	running, old := w.replica, w.master
	w.master = newMasterKey(t, w.random)
	c := w.keysConfig()
	c.Previous = &old
	changed, err := usecase.OpenKeys(t.Context(), c)
	must(t, err)
	must(t, changed.Reseal(t.Context(), byOperator, nil))

	w.clock.advance(time.Minute)
	got, err := running.publish.Tenant(t.Context(), "acme")
	if err != nil || string(got) != string(want) {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
	// A string of an existing key that cannot be opened is not refused, and is not an error of the service.
	number := uint32(77)
	sealed, err := w.master.Seal(domain.SealedKey{Kind: domain.KeyToken, Number: number}, domain.NewSecret("anything"),
		w.random)
	must(t, err)
	must(t, w.store.AddKeys(t.Context(), storagetest.NewEvent(), sealed))
	unknown := domain.TokenKey{Number: number, Key: domain.NewSecret("anything")}.Mint(domain.ID{1}, 1)
	w.clock.advance(time.Minute)
	_, err = running.exchange.Do(t.Context(), usecase.ExchangeInput{TokenString: unknown})
	wantErr(t, err, domain.ErrUnavailable)
}
