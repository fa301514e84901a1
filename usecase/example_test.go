package usecase_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/refreshd/refreshd/adapter/jwxsigner"
	"github.com/refreshd/refreshd/adapter/memstore"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/test/storagetest"
	"github.com/refreshd/refreshd/usecase"
)

// A use case runs on a store in memory, at a time that the test sets. Keys are opened before anything is stored: a
// store with data and without keys has lost its keys.
func Example() {
	ctx, now := context.Background(), time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	store, signer := memstore.New(), jwxsigner.New(rand.Reader)
	master, _, _ := domain.NewMasterKey(rand.Reader)
	keys, err := usecase.OpenKeys(ctx, usecase.KeysConfig{
		Store: store, Signer: signer, Master: master, Clock: clock, Random: rand.Reader,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = storagetest.SaveTenant(ctx, store, domain.Tenant{ID: "acme"})
	_ = storagetest.SaveApplication(ctx, store, domain.Application{TenantID: "acme", ID: "shop"})

	minter := usecase.Minter{Keys: keys, Signer: signer, PublicURL: "https://auth.example.com"}
	issue := &usecase.Issue{
		Tokens: store, Revocations: store, Applications: store, Minter: minter, Clock: clock, Random: rand.Reader,
	}
	exchange := &usecase.Exchange{Tokens: store, Minter: minter, Clock: clock}

	first, _ := issue.Do(ctx, usecase.IssueInput{TenantID: "acme", ApplicationID: "shop", UserID: "alice"})
	for _, later := range []time.Duration{0, 29 * time.Second, time.Hour} {
		now = now.Add(later)
		got, _ := exchange.Do(ctx, usecase.ExchangeInput{TokenString: first.TokenString})
		fmt.Println(got.Outcome, got.RefreshToken.Generation)
	}
	// Output:
	// rotated 2
	// retried 2
	// recovered 2
}
