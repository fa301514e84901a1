package admin_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/usecase"
	"github.com/refreshd/refreshd/usecase/admin"
)

// notes returns the notes of each result, by its name.
func notes(done []admin.Applied) map[string][]string {
	all := make(map[string][]string)
	for _, one := range done {
		if len(one.Notes) > 0 {
			all[one.Kind+" "+one.Name] = one.Notes
		}
	}
	return all
}

// An apply says which algorithm signs until verifiers know the key of the wanted one, and a dry run says the same: for
// a policy that changes, and for a tenant that the file creates where a shared key signs.
func TestApplyNotesTheAlgorithmThatSigns(t *testing.T) {
	const cacheAge = 2 * time.Hour
	const known = cacheAge + 2*time.Minute // every process publishes a key by then
	w := emptyWorld(t)
	c := w.keysConfig()
	c.CacheAge = cacheAge
	keys, err := usecase.OpenKeys(t.Context(), c)
	must(t, err)
	w.replica = w.replicaOf(keys)
	k := kickstart()
	if got := notes(applied(t, w, k)); len(got) > 0 { // the first keys of a new tenant sign immediately
		t.Errorf("a new tenant: %v", got)
	}
	w.clock.at = w.clock.at.Add(24 * time.Hour)
	agreed := func(k admin.Kickstart, want map[string][]string) {
		t.Helper()
		would, err := w.apply.DryRun(t.Context(), k)
		must(t, err)
		for what, got := range map[string][]admin.Applied{"dry run": would, "apply": applied(t, w, k)} {
			if diff := cmp.Diff(want, notes(got)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", what, diff)
			}
		}
	}
	note := func(signs, wanted string, in time.Duration) []string {
		at := w.clock.at.Add(in).UTC().Format(time.RFC3339)
		return []string{signs + " signs until " + at + ", when the key for " + wanted + " starts"}
	}
	k.Tenants[0].Applications[0].Settings.Algorithm = new(domain.EdDSA)
	agreed(k, map[string][]string{"application acme/shop": note("ES256", "EdDSA", known)})
	k.Tenants[0].Tenant.Settings.Algorithm = new(domain.RS256) // of the application terminal
	agreed(k, map[string][]string{"tenant acme": note("ES256", "RS256", known)})

	_, err = w.apply.Keys.Generate(t.Context(), domain.Origin{}, usecase.NewKey{
		Kind: domain.KeySigning, Algorithm: domain.PS256,
	})
	must(t, err)
	w.clock.at = w.clock.at.Add(24 * time.Hour)
	k.Tenants = append(slices.Clone(k.Tenants), admin.KickstartTenant{
		Tenant: domain.Tenant{ID: "beta"}, Applications: []domain.Application{{ID: "web"}},
	})
	agreed(k, map[string][]string{
		"tenant beta": note("PS256", "ES256", known), "application beta/web": note("PS256", "ES256", known),
	})
}
