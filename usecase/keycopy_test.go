package usecase_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/usecase"
)

// openWith opens the keys of w after the keys of another store were put there.
func (w *world) openWith(t *testing.T, copied []domain.OpenKey, o ...func(*usecase.KeysConfig)) (*usecase.Keys, error) {
	t.Helper()
	c := w.keysConfig()
	c.Copied = &usecase.CopiedKeys{By: domain.Service(), Keys: copied}
	for _, change := range o {
		change(&c)
	}
	return usecase.OpenKeys(t.Context(), c)
}

func copied(t *testing.T, k *usecase.Keys) []domain.OpenKey {
	t.Helper()
	all, err := k.Copy(t.Context())
	must(t, err)
	return all
}

var reveal = cmp.Transformer("reveal", func(s domain.Secret) string { return s.Reveal() })

// A store without keys gets those of another one under its own master key, and no others. Opening it again, also when
// it has made further keys, changes nothing.
func TestKeysOfAnotherStoreArePutIntoAStoreThatHasNone(t *testing.T) {
	from := newWorld(t)
	from.issued(t, "shop") // which makes a signing key
	want := copied(t, from.keys)
	to := emptyWorld(t)
	to.master = newMasterKey(t, to.random) // the first of every world is the same
	if _, err := to.openWith(t, want, func(c *usecase.KeysConfig) { c.ReadOnly = true }); err != nil {
		t.Fatal(err)
	}
	if got := to.sealed(t); len(got) > 0 {
		t.Fatalf("a reader stored %d keys", len(got))
	}
	keys, err := to.openWith(t, want)
	must(t, err)
	if diff := cmp.Diff(want, copied(t, keys), reveal); diff != "" || len(want) < 3 {
		t.Errorf("of %d keys (-want +got):\n%s", len(want), diff)
	}
	if got := to.sealed(t); len(got) != len(want)+1 {
		t.Errorf("the store has %d keys, want these and a check value", len(got))
	}
	for _, s := range to.sealed(t) {
		if _, err := from.master.Open(s); err == nil {
			t.Errorf("the %s key is sealed with the other master key", s.Kind)
		}
	}
	must(t, keys.Prepare(t.Context(), domain.Service(), []usecase.SigningKeys{{TenantID: "new", Algorithm: domain.ES256}}))
	before := to.sealed(t)
	if _, err := to.openWith(t, want); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(before, to.sealed(t)); diff != "" {
		t.Errorf("the second start changed keys (-before +after):\n%s", diff)
	}
}

// Keys of two deployments in one store would make either's token strings invalid.
func TestKeysOfAnotherStoreAreRefusedWhereThereAreKeys(t *testing.T) {
	from := newWorld(t)
	from.issued(t, "shop")
	want := copied(t, from.keys)
	for name, prepare := range map[string]func(t *testing.T, w *world){
		"keys of its own": func(t *testing.T, w *world) { w.open(t) },
		"all but one of these": func(t *testing.T, w *world) {
			_, err := w.openWith(t, want[:len(want)-1])
			must(t, err)
		},
		"one of another content": func(t *testing.T, w *world) {
			other := append([]domain.OpenKey(nil), want...)
			other[0].Plain = domain.NewSecret("another-another-another-another-")
			_, err := w.openWith(t, other)
			must(t, err)
		},
		"an interrupted first start": func(t *testing.T, w *world) {
			check, err := w.master.Seal(domain.SealedKey{Kind: domain.KeyCheck, Number: 1}, domain.NewSecret("x"), w.random)
			must(t, err)
			must(t, w.store.AddKeys(t.Context(), domain.Event{}, check))
		},
	} {
		w := emptyWorld(t)
		prepare(t, w)
		before := w.sealed(t)
		for _, readOnly := range []bool{true, false} {
			_, err := w.openWith(t, want, func(c *usecase.KeysConfig) { c.ReadOnly = readOnly })
			wantErr(t, err, usecase.ErrOtherKeys)
		}
		if diff := cmp.Diff(before, w.sealed(t)); diff != "" {
			t.Errorf("%s: the refusal changed keys (-before +after):\n%s", name, diff)
		}
	}
}

// late is a store to which another process adds its first keys just before this one does.
type late struct {
	usecase.KeyStore
	first func()
}

func (l *late) AddKeys(ctx context.Context, e domain.Event, keys ...domain.SealedKey) error {
	if first := l.first; first != nil {
		l.first = nil
		first()
	}
	return l.KeyStore.AddKeys(ctx, e, keys...)
}

// Of a start and a copy that meet in an empty store one wins as a whole.
func TestACopyThatIsOvertakenByAFirstStartIsRefused(t *testing.T) {
	from := newWorld(t)
	want := copied(t, from.keys)
	w := emptyWorld(t)
	_, err := w.openWith(t, want, func(c *usecase.KeysConfig) {
		c.Store = &late{c.Store, func() { w.open(t) }}
	})
	wantErr(t, err, usecase.ErrOtherKeys)
	keys := w.open(t).keys
	for _, key := range copied(t, keys) {
		for _, other := range want {
			if key.Plain.Equal(other.Plain) {
				t.Errorf("the %s key is of the other store", key.Kind)
			}
		}
	}
}
