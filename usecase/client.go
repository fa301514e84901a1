package usecase

import (
	"context"
	"errors"
	"fmt"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// AuthenticateClient authenticates an application as a client of OAuth 2 (RFC 6749, section 2.3). Nothing is cached: a
// secret that was removed is refused at the next request. Its errors give the reason for the operator's log, not for
// the client, and never contain the credential.
type AuthenticateClient struct {
	Applications port.Applications
	Keys         *Keys
	// Assertion checks an assertion (RFC 7523, section 3); nil if none is accepted. The error is ErrUnauthorized if it
	// is not valid.
	Assertion func(ctx context.Context, app domain.Application, c ClientCredential) error
}

// ClientCredential is what a request says of its client.
type ClientCredential struct {
	TenantID string
	ClientID string // empty if only the assertion names it
	// Secret is the client's secret, and Assertion a JWT that the client signed (RFC 7523, section 2.2). At most one is
	// not zero.
	Secret, Assertion domain.Secret
	// Raw is another reading of id and secret; nil if there is none. Clients differ in whether they encode the two
	// parts of Basic (RFC 6749, section 2.3.1).
	Raw *ClientCredential
}

// Public reports whether the credential has nothing to check.
func (c ClientCredential) Public() bool { return c.Secret.IsZero() && c.Assertion.IsZero() }

// names returns the id of the client. Without ClientID, the assertion names it (RFC 7521, section 4.2).
func (c ClientCredential) names() string {
	if c.ClientID == "" {
		return domain.AssertionSubject(c.Assertion)
	}
	return c.ClientID
}

// ClientAuth is the client of a request.
type ClientAuth struct {
	// Application is the client. Only its ID is set unless Read is.
	Application domain.Application
	Read        bool
	// Authenticated is set if the client proved who it is.
	Authenticated bool
}

// Do returns the client of a request. One that offers no proof is not looked up: an exchange compares its id with that
// of the session in any case. The error is ErrUnauthorized if there is no such client, or if the proof is wrong.
func (a *AuthenticateClient) Do(ctx context.Context, c ClientCredential) (ClientAuth, error) {
	if c.Public() {
		return ClientAuth{Application: domain.Application{TenantID: c.TenantID, ID: c.ClientID}}, nil
	}
	auth, err := a.check(ctx, c)
	if c.Raw != nil && errors.Is(err, domain.ErrUnauthorized) {
		return a.check(ctx, *c.Raw)
	}
	return auth, err
}

// Known returns an ErrUnauthorized if there is no such client.
func (a *AuthenticateClient) Known(ctx context.Context, tenantID, clientID string) error {
	_, err := findClient(ctx, a.Applications, tenantID, clientID)
	return err
}

// Origins returns the origins whose pages may use the client that the credential names; none if it does not exist.
func (a *AuthenticateClient) Origins(ctx context.Context, c ClientCredential) ([]string, error) {
	app, err := findClient(ctx, a.Applications, c.TenantID, c.names())
	if errors.Is(err, domain.ErrUnauthorized) {
		return nil, nil
	}
	return app.Client.Origins, err
}

// findClient returns the application that a request names as its client, or an ErrUnauthorized if there is none.
func findClient(
	ctx context.Context, applications port.Applications, tenantID, clientID string,
) (domain.Application, error) {
	unknown := fmt.Errorf("the client is unknown: %w", domain.ErrUnauthorized)
	if !domain.IsTenantID(tenantID) || !domain.IsApplicationID(clientID) {
		return domain.Application{}, unknown
	}
	app, err := applications.Application(ctx, tenantID, clientID)
	if errors.Is(err, domain.ErrNotFound) {
		return domain.Application{}, unknown
	}
	if err != nil {
		return domain.Application{}, Wrap("read the client", err)
	}
	return app, nil
}

func (a *AuthenticateClient) check(ctx context.Context, c ClientCredential) (ClientAuth, error) {
	app, err := findClient(ctx, a.Applications, c.TenantID, c.names())
	if err != nil {
		return ClientAuth{}, err
	}
	auth := ClientAuth{Application: app, Read: true}
	switch {
	case c.Assertion.IsZero():
		err = a.secret(ctx, app, c.Secret)
	case a.Assertion == nil:
		err = fmt.Errorf("no assertion is accepted: %w", domain.ErrUnauthorized)
	default:
		err = a.Assertion(ctx, app, c)
	}
	auth.Authenticated = err == nil
	return auth, err
}

func (a *AuthenticateClient) secret(ctx context.Context, app domain.Application, secret domain.Secret) error {
	if len(app.Client.Secrets) == 0 {
		return fmt.Errorf("the client has no secret: %w", domain.ErrUnauthorized)
	}
	if !domain.IsClientSecret(secret.Reveal()) {
		return fmt.Errorf("the client's secret is not well-formed: %w", domain.ErrUnauthorized)
	}
	hashes, err := a.Keys.HashesOfClientSecret(ctx, app.TenantID, app.ID, secret)
	if err != nil {
		return Wrap("authenticate the client", err)
	}
	at := app.Client.SecretWith(hashes...)
	if at < 0 {
		return fmt.Errorf("the client's secret is wrong: %w", domain.ErrUnauthorized)
	}
	if len(hashes) > 1 {
		if after, changed := a.Keys.RehashedClient(app, at, secret); changed {
			_ = a.Applications.RehashClientSecrets(ctx, app, after) // if it fails, the next request does it
		}
	}
	return nil
}
