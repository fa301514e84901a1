package httpapi

import (
	"encoding/base64"
	"errors"
	"log/slog"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/usecase"
)

// Stencil is the platform that the API was first written for.
const tenantHeader = "X-Stencil-TenantId"

// tenantHeaders are the header, a spelling of it that is in use, and its name without the platform.
var tenantHeaders = []string{tenantHeader, "X-Stencil-Tenanid", "X-Tenant-Id"}

// credential is what Authorization holds: raw, as a bearer token (RFC 6750, section 2.1), or, if it is an API key, by
// Basic (RFC 7617). Two such headers are refused: what stands before the service may look at the other one.
//
// Everything that tells credentials apart by their form does so by what this returns. So a way to write a key that the
// handlers accept is a way that the guard counts.
func credential(c echo.Context) (domain.Secret, error) {
	if len(c.Request().Header.Values(echo.HeaderAuthorization)) > 1 {
		return domain.Secret{}, domain.NewInvalid(echo.HeaderAuthorization, domain.Conflict, "send this header once")
	}
	s := strings.TrimSpace(c.Request().Header.Get(echo.HeaderAuthorization))
	if scheme, rest, found := strings.Cut(s, " "); found {
		switch rest = strings.TrimSpace(rest); {
		case strings.EqualFold(scheme, "Bearer"):
			s = rest
		case strings.EqualFold(scheme, "Basic"):
			if key, ok := basicKey(rest); ok {
				s = key
			}
		}
	}
	return domain.NewSecret(s), nil
}

// basicKey returns the API key in the credentials of Basic: a raw key, or the user-id, with an empty password, in
// base64. The two cannot be confused: no base64 holds a "_". A key with a password is returned with it, so that it is
// refused as a wrong key, and not passed over as something else. It is false for all that begins with no API key.
func basicKey(credentials string) (string, bool) {
	if isAPIKey(domain.NewSecret(credentials)) {
		return credentials, true
	}
	pair, err := base64.StdEncoding.Strict().DecodeString(credentials)
	if err != nil || !isAPIKey(domain.NewSecret(string(pair))) {
		return "", false
	}
	if key, password, found := strings.Cut(string(pair), ":"); found && password == "" {
		return key, true
	}
	return string(pair) + ":", true // no key has a colon
}

// An API key holds no dot and an access token two and no blank, so one header can hold either.
func isAPIKey(s domain.Secret) bool { return strings.HasPrefix(s.Reveal(), "ak_") }
func isAccessToken(s domain.Secret) bool {
	return strings.Count(s.Reveal(), ".") == 2 && !strings.Contains(s.Reveal(), " ")
}

// offeredKey is what may be an API key, for the guard; empty if there is none, or if there are two headers that may
// hold one.
func offeredKey(c echo.Context) string {
	if s, err := credential(c); err == nil && isAPIKey(s) {
		return s.Reveal()
	}
	return ""
}

// namedTenant is the tenant that the headers name; empty for none. Two that differ are refused.
func namedTenant(c echo.Context) (string, error) {
	tenant := ""
	for _, name := range tenantHeaders {
		for _, value := range c.Request().Header.Values(name) {
			if value = strings.TrimSpace(value); value == "" {
				continue
			}
			if tenant != "" && tenant != value {
				return "", domain.NewInvalid(tenantHeader, domain.Conflict, "the headers name two tenants: send one")
			}
			tenant = value
		}
	}
	return tenant, nil
}

// requiredTenant is namedTenant, but refuses a request that names none.
func requiredTenant(c echo.Context) (string, error) {
	tenantID, err := namedTenant(c)
	if err == nil && tenantID == "" {
		err = domain.NewInvalid(tenantHeader, domain.Blank, "name the tenant in this header")
	}
	return tenantID, err
}

// backend identifies a caller that needs an API key for the action, and the tenant it means: first who, then for whom.
func (a *API) backend(c echo.Context, action domain.Action) (tenantID string, err error) {
	caller, err := a.caller(c, action, false)
	return caller.TenantID, err
}

// backendOrOwner is backend, but an access token serves as well; owner is then who it belongs to.
func (a *API) backendOrOwner(c echo.Context, action domain.Action) (
	tenantID string, owner *domain.AccessToken, err error,
) {
	caller, err := a.caller(c, action, true)
	return caller.TenantID, caller.Owner, err
}

func (a *API) caller(c echo.Context, action domain.Action, owners bool) (usecase.Caller, error) {
	caller, named, err := a.identify(c, action, owners)
	switch {
	case err != nil:
		return usecase.Caller{}, err
	case !named:
		return usecase.Caller{}, domain.NewInvalid(tenantHeader, domain.Blank, "name the tenant in this header")
	}
	record := web.Note(c)
	record.Tenant = caller.TenantID
	if caller.Owner == nil {
		record.Raise(slog.LevelInfo, slog.String("apiKey", caller.Key.Name))
	} else {
		record.Raise(slog.LevelInfo, slog.String("sessionId", caller.Owner.SessionID))
	}
	return caller, nil
}

// identify finds out who sent the request, tells the guard, and reports whether the request names a tenant.
func (a *API) identify(c echo.Context, action domain.Action, owners bool) (
	caller usecase.Caller, named bool, err error,
) {
	s, err := credential(c)
	if err != nil {
		return caller, false, err
	}
	cred := usecase.Credential{APIKey: s}
	if owners && isAccessToken(s) {
		cred = usecase.Credential{AccessToken: s}
	}
	tenantID, twoTenants := namedTenant(c)
	caller, err = a.Authenticate.Do(c.Request().Context(), cred, action, tenantID)
	if caller.Key.Name != "" { // also if it may not do this
		web.Note(c).Authenticated()
	}
	if caller.Owner != nil { // also if it is refused: what has a right signature is no guess
		web.Note(c).Proved()
	}
	if err != nil {
		return caller, false, tellWhy(c, credentialKind(c), err)
	}
	return caller, tenantID != "", twoTenants
}

// credentialKind returns what the request's credential is by its form.
func credentialKind(c echo.Context) string {
	switch s, err := credential(c); {
	case err != nil || s.IsZero():
		return credentialNone
	case isAPIKey(s):
		return credentialAPIKey
	case isAccessToken(s):
		return credentialAccessToken
	default:
		return credentialOther
	}
}

// tellWhy puts the reason of a 401 into the log: the response says nothing, and somebody has to find out. kind is that
// of the credential.
func tellWhy(c echo.Context, kind string, err error) error {
	if errors.Is(err, domain.ErrUnauthorized) {
		record := web.Note(c)
		record.Event, record.Kind = eventCredentialFailed, kind
		record.Raise(slog.LevelInfo, slog.String("why", err.Error()))
	}
	return err
}
