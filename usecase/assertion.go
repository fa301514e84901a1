package usecase

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// Assertions checks the assertions by which clients authenticate (RFC 7523, section 3). An assertion serves once, at
// whichever process: a copy of one, from a log or a proxy, does not
// authenticate a client.
type Assertions struct {
	Signer       port.Signer
	Applications port.Applications
	Once         port.Once
	// PublicURL is as in Minter.
	PublicURL string
	// RootTenant is the tenant whose token endpoint is at the root too; empty for none.
	RootTenant string
	Clock      Clock
}

// tokenEndpoint is the path of the token endpoint below an issuer.
const tokenEndpoint = "/oauth2/token"

// Check is for [AuthenticateClient.Assertion]. The error is ErrUnauthorized for an assertion that is not valid for the
// application, or that was used before, and ErrUnavailable if that cannot be said. The assertion then counts as used.
func (a *Assertions) Check(ctx context.Context, app domain.Application, c ClientCredential) error {
	if app.Client.Keys == "" {
		return fmt.Errorf("the client has no keys: %w", domain.ErrUnauthorized)
	}
	// The signature comes first: only the client itself may cost a read, or a write.
	assertion, err := a.Signer.VerifyAssertion(app.Client.Keys, c.Assertion)
	if err != nil {
		return Wrap("authenticate the client", err)
	}
	audiences, err := a.audiences(ctx, app)
	if err != nil {
		return err
	}
	now := a.Clock.Now()
	if err := assertion.Check(app.ID, audiences, now); err != nil {
		return err
	}
	key := onceKey(app, assertion.ID)
	err = a.Once.Once(ctx, key[:], now, assertion.ExpiresAt.Add(domain.MaxClockSkew))
	if errors.Is(err, domain.ErrDuplicate) {
		return fmt.Errorf("the client's assertion was used before: %w", domain.ErrUnauthorized)
	}
	if err != nil {
		return Wrap("authenticate the client: remember the assertion", err)
	}
	return nil
}

// audiences returns what an assertion may be for: the issuer of the tenant, and each URL of its token endpoint. All of
// them are this service's alone.
func (a *Assertions) audiences(ctx context.Context, app domain.Application) ([]string, error) {
	policy, err := a.Applications.Policy(ctx, app.TenantID, app.ID)
	if errors.Is(err, domain.ErrNotFound) {
		return nil, fmt.Errorf("the client is unknown: %w", domain.ErrUnauthorized)
	}
	if err != nil {
		return nil, Wrap("authenticate the client", err)
	}
	issuer := domain.Issuer(a.PublicURL, app.TenantID, policy.Issuer)
	derived := domain.Issuer(a.PublicURL, app.TenantID, "")
	all := []string{issuer, strings.TrimSuffix(issuer, "/") + tokenEndpoint, derived + tokenEndpoint}
	if app.TenantID == a.RootTenant {
		all = append(all, strings.TrimSuffix(a.PublicURL, "/")+tokenEndpoint)
	}
	return all, nil
}

// onceKey identifies an assertion among those of all clients. Each part is preceded by its length, so that no two
// assertions have the same text.
func onceKey(app domain.Application, id string) [sha256.Size]byte {
	var text []byte
	for _, part := range []string{"client assertion", app.TenantID, app.ID, id} {
		text = fmt.Appendf(text, "%d:%s", len(part), part)
	}
	return sha256.Sum256(text)
}
