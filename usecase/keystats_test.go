package usecase_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/test/storagetest"
	"github.com/refreshd/refreshd/usecase"
)

// The metrics of signing keys show the worst of the tenants that are loaded, change with the keys and with time, and
// cost no call of the store.
func TestKeyStatsShowTheWorstOfTheLoadedTenants(t *testing.T) {
	w := newWorld(t)
	want := func(when string, want usecase.KeyStats) {
		t.Helper()
		w.probe.forget()
		if diff := cmp.Diff(want, w.keys.Stats(t.Context())); diff != "" {
			t.Errorf("%s (-want +got):\n%s", when, diff)
		}
		if calls := w.probe.asked(); len(calls) > 0 {
			t.Errorf("%s: calls of ports = %v, want none", when, calls)
		}
	}
	wait := func(d time.Duration) {
		w.clock.advance(d)
		must(t, w.keys.Reload(t.Context()))
	}
	want("nothing is loaded", usecase.KeyStats{})
	w.issued(t, "shop")
	must(t, w.keys.Reload(t.Context()))
	want("a first key", usecase.KeyStats{})
	wait(time.Hour)
	want("an hour later", usecase.KeyStats{Age: time.Hour})
	now := w.clock.now()
	w.signingKey(t, domain.SealedKey{TenantID: "acme", Algorithm: domain.ES256, Number: 2, ID: "standby",
		CreatedAt: now, StartsAt: now.Add(24 * time.Hour)})
	must(t, w.keys.Reload(t.Context()))
	want("a standby", usecase.KeyStats{Age: time.Hour, NextStep: new(24 * time.Hour)})
	w.signingKey(t, domain.SealedKey{TenantID: "acme", Algorithm: domain.EdDSA, Number: 1, ID: "soon",
		CreatedAt: now, StartsAt: now.Add(time.Hour)})
	must(t, w.keys.Reload(t.Context()))
	want("a key that starts too early", usecase.KeyStats{
		Age: time.Hour, NextStep: new(time.Hour), Refusal: new(time.Hour),
	})
	wait(time.Hour)
	want("it signs", usecase.KeyStats{
		Age: 2 * time.Hour, NextStep: new(23 * time.Hour), Refusal: new(time.Duration),
	})
	wait(time.Hour + 2*time.Minute)
	want("verifiers know it", usecase.KeyStats{
		Age: 3*time.Hour + 2*time.Minute, NextStep: new(22*time.Hour - 2*time.Minute),
	})
	wait(23*time.Hour - 2*time.Minute)
	want("the standby signs", usecase.KeyStats{Age: 24 * time.Hour})
}

// While the keys of 100 000 tenants are rotated, some change every second. The metrics must not go through the keys of
// all loaded tenants again for that: those of tenants without a change are known.
func TestKeyStatsComputeOnlyTheTenantsThatChanged(t *testing.T) {
	w := newWorld(t)
	const tenants = 300
	for i := range tenants {
		id := fmt.Sprintf("t%d", i)
		must(t, storagetest.SaveTenant(t.Context(), w.store, domain.Tenant{ID: id, Name: id}))
		w.signingKey(t, domain.SealedKey{TenantID: id, Algorithm: domain.ES256, Number: 1, ID: id})
		published(t, replica{keys: w.keys, publish: w.publish}, id)
	}
	computed := func() (objects uint64) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		w.keys.Stats(t.Context())
		runtime.ReadMemStats(&after)
		return after.Mallocs - before.Mallocs
	}
	must(t, w.keys.Reload(t.Context()))
	if first := computed(); first < tenants {
		t.Fatalf("the first computation allocates %d objects, which shows nothing", first)
	}
	w.clock.advance(time.Second)
	w.signingKey(t, domain.SealedKey{TenantID: "t7", Algorithm: domain.ES256, Number: 2, ID: "next",
		StartsAt: w.clock.now().Add(time.Hour)})
	must(t, w.keys.Reload(t.Context()))
	if again := computed(); again > tenants {
		t.Errorf("after a change of one tenant the computation allocates %d objects, of %d tenants", again, tenants)
	}
	if next := w.keys.Stats(t.Context()).NextStep; next == nil || *next != time.Hour {
		t.Errorf("the next step is in %v, want the new one, in an hour", next)
	}
}
