package usecase_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
	"github.com/refreshd/refreshd/test/storagetest"
	"github.com/refreshd/refreshd/usecase"
)

// proofs is a Signer that keeps the last proof and the id of the key's tenant.
type proofs struct {
	port.Signer
	last     domain.ViewProof
	tenantID string
}

func (p *proofs) SignProof(_ context.Context, key domain.SigningKey, v domain.ViewProof) (string, error) {
	p.last, p.tenantID = v, key.TenantID
	return "signed", nil
}

// The proof has the claims of the frame, and the signature of the tenant whose stream it is. A view that claimed to be
// newer than it is, by rounding, would make the proof a lie.
func TestProveSignsWhatTheStreamSaid(t *testing.T) {
	w := newWorld(t)
	signer := &proofs{Signer: w.probe}
	p := &usecase.Prove{
		Tenants: w.probe, Keys: w.keys, Signer: signer, PublicURL: publicURL, Clock: w.clock.now,
	}
	for _, tc := range []struct {
		tenantID, issuer string
		after, want      time.Duration
	}{
		{"acme", "https://login.acme.example", 1013*time.Millisecond + 999, 1013 * time.Millisecond},
		{"globex", publicURL + "/t/globex", -1500 * time.Microsecond, -2 * time.Millisecond},
		{"globex", publicURL + "/t/globex", -2 * time.Millisecond, -2 * time.Millisecond},
	} {
		if _, err := p.Do(t.Context(), tc.tenantID, "nonce", 7, tc.after); err != nil {
			t.Fatal(err)
		}
		want := domain.ViewProof{
			Issuer: tc.issuer, Nonce: "nonce", Cursor: 7, CompleteAfter: tc.want,
			IssuedAt: stored(t0).Truncate(time.Second),
		}
		if diff := cmp.Diff(want, signer.last); diff != "" {
			t.Errorf("proof of %s (-want +got):\n%s", tc.tenantID, diff)
		}
		if signer.tenantID != tc.tenantID {
			t.Errorf("a key of %q signed the proof of %q", signer.tenantID, tc.tenantID)
		}
	}
}

// 2 500 streams with a nonce each want a proof every 10 s.
func TestProveReadsATenantEveryTenSeconds(t *testing.T) {
	w := newWorld(t)
	p := &usecase.Prove{Tenants: w.probe, Keys: w.keys, Signer: w.probe, PublicURL: publicURL, Clock: w.clock.now}
	prove := func() error {
		_, err := p.Do(t.Context(), "acme", "nonce", 7, 0)
		return err
	}
	must(t, prove())
	must(t, storagetest.DeleteTenant(t.Context(), w.store, "acme", w.clock.now()))
	must(t, prove())
	w.clock.advance(11 * time.Second)
	if err := prove(); !errors.Is(err, domain.ErrNotFound) {
		t.Errorf("proof of a tenant that was deleted 11 s ago: %v, want ErrNotFound", err)
	}
}
