package usecase_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
	"github.com/refreshd/refreshd/test/storagetest"
)

// leases counts how often a lease is taken or renewed.
type leases struct {
	port.Jobs
	taken int
}

func (l *leases) Lease(ctx context.Context, j port.JobLease) error {
	l.taken++
	return l.Jobs.Lease(ctx, j)
}

// Of a pass over many tenants each costs one write and few readings: the lease is renewed by its age, and nothing is
// read for a step that is not due.
func TestAPassCostsOneWriteATenant(t *testing.T) {
	w := newWorld(t)
	const tenants = 40
	for i := range tenants {
		id := fmt.Sprintf("t%d", i)
		must(t, storagetest.SaveTenant(t.Context(), w.store, domain.Tenant{ID: id, Name: id}))
		w.signingKey(t, domain.SealedKey{TenantID: id, Algorithm: domain.ES256, Number: 1, ID: id})
	}
	w.clock.advance(time.Hour)
	rotation := w.rotation()
	jobs := &leases{Jobs: w.store}
	rotation.Jobs = jobs
	w.probe.forget()
	did, err := rotation.Pass(t.Context())
	must(t, err)
	if did.Made != tenants {
		t.Fatalf("the pass made %d keys, want %d", did.Made, tenants)
	}
	if jobs.taken != 1 {
		t.Errorf("a pass that takes less than a minute took the lease %d times, want once", jobs.taken)
	}
	if n := w.probe.count("KeysOfTenant"); n > 2*tenants+10 {
		t.Errorf("the keys of a tenant were read %d times, of %d tenants", n, tenants)
	}
}
