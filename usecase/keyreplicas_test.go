package usecase_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/usecase"
)

// Three processes on one store, with operators and workers on each, in random order: for one instant all sign with the
// same key, and no exchange fails. A revocation is the exception: it changes which key signed, and takes effect in all
// processes before it returns.
func TestReplicasSignWithTheSameKeyForTheSameInstant(t *testing.T) {
	for seed := range uint64(30) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { replicasSignWithTheSameKey(t, rand.New(rand.NewPCG(seed, 1))) })
		})
	}
}

func replicasSignWithTheSameKey(t *testing.T, r *rand.Rand) {
	w := newWorld(t)
	w.replica = w.open(t)
	processes := []replica{w.open(t), w.open(t), w.open(t)}
	algorithms := []domain.Algorithm{domain.ES256, domain.EdDSA}
	strings := make([]domain.Secret, 3)
	for i := range strings {
		strings[i] = w.issued(t, "shop").TokenString
	}
	for range 150 {
		p, a := processes[r.IntN(3)], algorithms[r.IntN(2)]
		in := usecase.RotateKeys{TenantID: "acme", Algorithm: a, Now: r.IntN(4) == 0, Force: r.IntN(2) == 0}
		var err error
		switch r.IntN(8) {
		case 0:
			_, err = p.keys.Rotate(t.Context(), byOperator, in)
		case 1:
			_, err = p.keys.Generate(t.Context(), byOperator, usecase.NewKey{
				Kind: domain.KeySigning, TenantID: "acme", Algorithm: a, Now: in.Now, Force: in.Force,
			})
		case 2:
			err = p.keys.Prepare(t.Context(), byOperator, []usecase.SigningKeys{{TenantID: "acme", Algorithm: a}})
			w.application(t, "acme", "shop", domain.Settings{Algorithm: &a})
		case 3:
			_, err = p.keys.Rotate(t.Context(), byOperator, usecase.RotateKeys{Kind: domain.KeyToken})
		case 4:
			_, err = (&usecase.KeyRotation{
				Keys: p.keys, Tenants: w.store, Jobs: w.store, Clock: w.clock.now, LeaseHolder: fmt.Sprint(r.IntN(3)),
				Pause: w.rotation().Pause,
			}).Pass(t.Context())
		case 5:
			kid := published(t, p, "acme")
			_, err = p.keys.Revoke(t.Context(), byOperator, kid[r.IntN(len(kid))], usecase.RevokeKey{NewKey: r.IntN(2) == 0})
		case 6:
			must(t, p.keys.Reload(t.Context()))
		}
		if err != nil && !errors.Is(err, domain.ErrUnsafe) && !errors.Is(err, domain.ErrConflict) {
			t.Fatal(err)
		}
		synctest.Wait() // a key that no request waits for takes no hours to make
		w.clock.advance([]time.Duration{time.Second, 2 * time.Second, time.Minute, time.Hour, 9 * time.Hour}[r.IntN(5)])
		one := r.IntN(len(strings))
		var kids []string
		for _, p := range processes {
			out, err := p.exchange.Do(t.Context(), usecase.ExchangeInput{TokenString: strings[one]})
			if err != nil || out.Outcome.Refused() {
				t.Fatalf("an exchange: %s, %v", out.Outcome, err)
			}
			kids = append(kids, kidOf(t, out.AccessToken))
			strings[one] = out.TokenString
		}
		if kids[0] != kids[1] || kids[1] != kids[2] {
			t.Fatalf("for one instant the processes signed with %v", kids)
		}
	}
}

// The master key is changed while processes of all three steps run, start and are killed in any order: those with the
// old one, those with both in either order, and those with the new one. In the end all start on the new one alone, and
// every key is the one that it was.
func TestAChangeOfTheMasterKeySurvivesAnyOrderOfReplicasAndKills(t *testing.T) {
	for seed := range uint64(100) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 2))
			w := newWorld(t)
			first := w.issued(t, "shop")
			want := w.rotated(t, first.TokenString)
			before, next := w.master, newMasterKey(t, w.random)
			steps := []func(*usecase.KeysConfig){
				func(c *usecase.KeysConfig) { c.Master = before },
				func(c *usecase.KeysConfig) { c.Master, c.Previous = before, &next },
				func(c *usecase.KeysConfig) { c.Master, c.Previous = next, &before },
				func(c *usecase.KeysConfig) { c.Master = next },
			}
			processes := []*usecase.Keys{w.keys}
			content := map[string]bool{}
			for range 40 {
				c := w.keysConfig()
				steps[r.IntN(len(steps))](&c)
				keys, err := usecase.OpenKeys(t.Context(), c)
				switch {
				case err == nil:
					processes = append(processes, keys)
				case c.Previous != nil || !errors.Is(err, domain.ErrWrongMasterKey):
					t.Fatalf("start: %v", err)
				}
				p := processes[r.IntN(len(processes))]
				switch r.IntN(4) {
				case 0: // killed anywhere in it; also back to the old one
					w.probe.forget()
					w.probe.failAt, w.probe.how = 1+r.IntN(12), []fault{notDone, done}[r.IntN(2)]
					_ = p.Reseal(t.Context(), byOperator, nil)
					w.probe.failAt = 0
				case 1:
					made, err := p.Generate(t.Context(), byOperator, usecase.NewKey{
						Kind: domain.KeySigning, TenantID: fmt.Sprintf("t%d", r.IntN(5)), Algorithm: domain.EdDSA,
					})
					if err == nil {
						content[made.ID] = true
					} else if !errors.Is(err, domain.ErrWrongMasterKey) {
						t.Fatalf("make a key: %v", err)
					}
				case 2:
					w.clock.advance(time.Second)
					must(t, p.Reload(t.Context()))
				}
			}
			c := w.keysConfig()
			steps[2](&c)
			last, err := usecase.OpenKeys(t.Context(), c)
			must(t, err)
			must(t, last.Reseal(t.Context(), byOperator, nil))
			w.master = next
			alone := w.open(t)
			got, err := alone.keys.CheckAll(t.Context())
			if must(t, err); got.Previous != 0 || len(got.Unopened) != 0 {
				t.Errorf("not sealed by the new master key: %+v", got)
			}
			for id := range content {
				if w.key(t, id).SealedBy == "" {
					t.Errorf("key %s is lost", id)
				}
			}
			sameGrant(t, alone.exchanged(t, want.TokenString).Grant, want.Grant)
			c = w.keysConfig()
			c.Master = before
			_, err = usecase.OpenKeys(t.Context(), c)
			wantErr(t, err, domain.ErrWrongMasterKey)
		})
	}
}
