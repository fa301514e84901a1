package oauthapi

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/usecase"
)

// clientParams are the parameters in which a client names itself in the body.
type clientParams struct {
	id, secret, assertionType, assertion *string
}

// jwtBearer is the type of an assertion that is a JWT (RFC 7523, section 2.2).
const jwtBearer = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

var (
	errNoClient error = domain.NewInvalid("client_id", domain.Blank,
		"name the client, which is the application, in the body or by Basic")
	errTwoProofs error = domain.NewInvalid("client_secret", domain.Conflict,
		"the client authenticates in two ways: use one (RFC 6749, section 2.3)")
)

// tenantOf returns the tenant of a request: that of the path, or at the root the root tenant.
func (a *API) tenantOf(c echo.Context) (string, error) {
	named, err := web.NamedTenant(c)
	switch {
	case err != nil:
		return "", err
	case strings.HasPrefix(c.Path(), "/t/"):
		return named, nil
	case a.RootTenant == "":
		return "", fmt.Errorf("there is no root tenant: %w", domain.ErrNotFound)
	case named != "" && named != a.RootTenant:
		return "", fmt.Errorf("the header names another tenant than the root tenant: %w", domain.ErrNotFound)
	default:
		return a.RootTenant, nil
	}
}

// formOf reads a request of a client: its form, and what it says of the client. It refuses a page that may not use the
// client.
func formOf[F interface{ client() clientParams }](
	a *API, c echo.Context,
) (form F, cred usecase.ClientCredential, err error) {
	tenantID, err := a.tenantOf(c)
	if err != nil {
		return form, cred, err
	}
	if form, err = web.Body[F](c, web.FormOnly); err != nil {
		return form, cred, err
	}
	if cred, err = credentialOf(c, tenantID, form.client()); err != nil {
		return form, cred, err
	}
	return form, cred, a.allowPage(c, cred)
}

// basicOf returns the credentials of the scheme Basic, and whether the request uses it.
func basicOf(c echo.Context) (credentials string, ok bool) {
	scheme, rest, _ := strings.Cut(strings.TrimSpace(c.Request().Header.Get(echo.HeaderAuthorization)), " ")
	return strings.TrimSpace(rest), strings.EqualFold(scheme, "Basic")
}

// credentialOf returns what a request says of its client, by Basic or in the body (RFC 6749, section 2.3.1). Basic with
// an empty password is a client without a secret: some clients try that form first. Any other Authorization is ignored,
// such as an access token that an interceptor attached.
func credentialOf(c echo.Context, tenantID string, p clientParams) (usecase.ClientCredential, error) {
	cred := usecase.ClientCredential{TenantID: tenantID}
	if p.id != nil {
		cred.ClientID = *p.id
	}
	if p.secret != nil {
		cred.Secret = domain.NewSecret(*p.secret)
	}
	if len(c.Request().Header.Values(echo.HeaderAuthorization)) > 1 {
		return cred, domain.NewInvalid(echo.HeaderAuthorization, domain.Conflict, "send this header once")
	}
	encoded, ok := basicOf(c)
	if ok {
		var err error
		if cred, err = withBasic(cred, encoded); err != nil {
			return cred, err
		}
	}
	if p.assertion != nil || p.assertionType != nil {
		switch {
		case ok || !cred.Secret.IsZero():
			return cred, errTwoProofs
		case p.assertion == nil || p.assertionType == nil || *p.assertionType != jwtBearer:
			return cred, fmt.Errorf("the assertion is missing, or is not a JWT: %w", domain.ErrUnauthorized)
		}
		cred.Assertion = domain.NewSecret(*p.assertion)
		return cred, nil // the assertion names the client
	}
	if cred.ClientID == "" {
		return cred, errNoClient
	}
	return cred, nil
}

// withBasic returns the credential of the body with that of Basic.
func withBasic(body usecase.ClientCredential, encoded string) (usecase.ClientCredential, error) {
	pair, err := base64.StdEncoding.DecodeString(encoded)
	id, password, found := strings.Cut(string(pair), ":")
	if err != nil || !found {
		return body, fmt.Errorf("the credentials of Basic are not base64 of id and secret: %w", domain.ErrUnauthorized)
	}
	cred, raw := body, body
	if password != "" {
		if !body.Secret.IsZero() {
			return body, errTwoProofs
		}
		cred.Secret, raw.Secret = domain.NewSecret(decoded(password)), domain.NewSecret(password)
	}
	if id != "" {
		cred.ClientID, raw.ClientID = decoded(id), id
	}
	if !cred.Secret.Equal(raw.Secret) || cred.ClientID != raw.ClientID {
		cred.Raw = &raw
	}
	switch body.ClientID {
	case "", cred.ClientID:
		return cred, nil
	case raw.ClientID:
		return raw, nil
	}
	return body, domain.NewInvalid("client_id", domain.Conflict,
		"the body and Basic name two different clients: omit one of them")
}

// decoded returns a part of Basic in the form in which it was before it was encoded (RFC 6749, section 2.3.1), or as it
// is if it is not encoded.
func decoded(part string) string {
	if s, err := url.QueryUnescape(part); err == nil {
		return s
	}
	return part
}

// client authenticates the client. A wrong proof is a guess.
func (a *API) client(
	ctx context.Context, record *web.Record, cred usecase.ClientCredential,
) (usecase.ClientAuth, error) {
	auth, err := a.Authenticate.Do(ctx, cred)
	if errors.Is(err, domain.ErrUnauthorized) {
		record.Event, record.Kind = web.EventCredentialFailed, web.CredentialClient
		record.Add(slog.LevelInfo, slog.String("why", err.Error()))
		record.ProofFailed()
	}
	return auth, err
}

// refusedClient returns an error if the client does not exist, or its proof is wrong. It is for a client whose token is
// refused: that refusal would hide the other one.
func (a *API) refusedClient(ctx context.Context, record *web.Record, cred usecase.ClientCredential) error {
	if !cred.Public() {
		_, err := a.client(ctx, record, cred)
		return err
	}
	return a.Authenticate.Known(ctx, cred.TenantID, cred.ClientID)
}

// allowPage returns an *domain.Invalid if a page that may not use the client sent the request, RFC 6454. An unknown
// client has no pages; what is refused next says so.
func (a *API) allowPage(c echo.Context, cred usecase.ClientCredential) error {
	return web.AllowPage(c, func() ([]string, error) {
		return a.Authenticate.Origins(c.Request().Context(), cred)
	})
}
