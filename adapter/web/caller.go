package web

import (
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/usecase"
)

const eventCredentialFailed = "credential.failed"

// EventCredentialFailed is the event of a credential that is missing, invalid, or not sufficient. Its kinds are the
// kinds of credential.
const EventCredentialFailed = eventCredentialFailed

// The kinds of credential.
const (
	CredentialNone        = "none" // although one is required
	CredentialAPIKey      = "apiKey"
	CredentialAccessToken = "accessToken"
	CredentialTokenString = "tokenString"
	CredentialClient      = "client" // a client's secret or assertion
	CredentialOther       = "other"
)

// CredentialKinds lists these kinds.
var CredentialKinds = []string{
	CredentialNone, CredentialAPIKey, CredentialAccessToken, CredentialTokenString, CredentialClient, CredentialOther,
}

// Stencil is the platform that the API was first written for.
const tenantHeader = "X-Stencil-TenantId"

// TenantHeaders are the header that names the tenant, a misspelling of it that clients use, and its name without the
// platform.
var TenantHeaders = []string{tenantHeader, "X-Stencil-Tenanid", "X-Tenant-Id"}

// tenantInPath is the prefix of the routes that take the tenant from the path.
const tenantInPath = "/t/:tenantId/"

// credential returns the credential in Authorization: alone, as a bearer token (RFC 6750, section 2.1), or, for an API
// key, by Basic (RFC 7617). Two such headers are refused, because a proxy may have checked the other one.
//
// All code that distinguishes credentials by their form uses this function. So the guard recognizes an API key in every
// form that the handlers accept.
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

// basicKey returns the API key in the credentials of Basic: a raw key, or the base64 of the key as user-id with an
// empty password. The two cannot be confused, because base64 has no "_". A key with a password is returned with it, so
// that it is refused as an unknown key instead of being ignored. ok is false if the credentials do not begin with an
// API key.
func basicKey(credentials string) (key string, ok bool) {
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

// An API key has no dot, and an access token has two and no space, so one header can carry either.
func isAPIKey(s domain.Secret) bool { return strings.HasPrefix(s.Reveal(), "ak_") }
func isAccessToken(s domain.Secret) bool {
	return strings.Count(s.Reveal(), ".") == 2 && !strings.Contains(s.Reveal(), " ")
}

// apiKeyOf returns the API key in Authorization, unverified, for the guard. It is empty if there is none, or if there
// are two such headers.
func apiKeyOf(c echo.Context) string {
	if s, err := credential(c); err == nil && isAPIKey(s) {
		return s.Reveal()
	}
	return ""
}

// HasAPIKey reports whether the request has an API key in Authorization, which need not be valid.
func HasAPIKey(c echo.Context) bool { return apiKeyOf(c) != "" }

// HasCredential reports whether the request has an Authorization that is not empty, or several.
func HasCredential(c echo.Context) bool {
	s, err := credential(c)
	return err != nil || !s.IsZero()
}

// NamedTenant returns the tenant that the request names, in the path if the route has one there, otherwise in a header.
// It is empty if the request names none. Two that differ are refused. The tenant need not exist.
func NamedTenant(c echo.Context) (string, error) {
	tenant := ""
	for _, name := range TenantHeaders {
		for _, value := range c.Request().Header.Values(name) {
			if value = strings.TrimSpace(value); value == "" {
				continue
			}
			if tenant != "" && tenant != value {
				return "", domain.NewInvalid(tenantHeader, domain.Conflict,
					"the headers name two different tenants: send one")
			}
			tenant = value
		}
	}
	if !strings.HasPrefix(c.Path(), tenantInPath) {
		return tenant, nil
	}
	inPath := PathParam(c, "tenantId")
	if tenant != "" && tenant != inPath {
		return "", domain.NewInvalid(tenantHeader, domain.Conflict,
			"the header and the path name two different tenants: omit the header")
	}
	return inPath, nil
}

// RequiredTenant is [NamedTenant] for a request that must name one.
func RequiredTenant(c echo.Context) (string, error) {
	tenantID, err := NamedTenant(c)
	if err == nil && tenantID == "" {
		err = domain.NewInvalid(tenantHeader, domain.Blank, "name the tenant in this header")
	}
	return tenantID, err
}

// Identify authenticates the caller of the request, and checks that it may perform the action for the tenant that the
// request names. The credential is checked before the tenant. The caller is then in the request's [Record] and in its
// log line. On a route with an Action it already is.
func Identify(c echo.Context, action domain.Action) (usecase.Caller, error) {
	caller, noTenant, err := identify(c, action)
	if err == nil {
		err = noTenant
	}
	if err != nil {
		return usecase.Caller{}, err
	}
	record := LogRecord(c)
	record.Caller, record.Tenant = caller, caller.TenantID
	switch {
	case caller.Operator != "":
		record.Add(slog.LevelInfo, slog.String("operator", caller.Operator))
	case caller.Owner != nil:
		record.Add(slog.LevelInfo, slog.String("sessionId", caller.Owner.SessionID))
	default:
		record.Add(slog.LevelInfo, slog.String("apiKey", caller.Key.Name))
	}
	return caller, nil
}

// OptionalCaller is Identify for a request that needs no credential. An API key that was sent must still be valid. Any
// other credential is ignored, such as an expired access token that a client's interceptor attached. authenticated
// reports whether the caller sent an API key and the tenant header. Without the header the caller's tenant is that of
// its key. An anonymous caller's tenant is the one that the request names.
func OptionalCaller(c echo.Context, action domain.Action) (caller usecase.Caller, authenticated bool, err error) {
	s, err := credential(c)
	if err != nil {
		return caller, false, err
	}
	if !isAPIKey(s) {
		caller.TenantID, err = NamedTenant(c)
		return caller, false, err
	}
	caller, noTenant, err := identify(c, action)
	if err != nil {
		return usecase.Caller{}, false, err
	}
	if noTenant == nil {
		return caller, true, nil
	}
	_, err = NamedTenant(c) // naming none is not an error here
	return caller, false, err
}

// identify authenticates the caller, and informs the guard. If the caller is authenticated, noTenant is the error of
// the tenant that the request names.
func identify(c echo.Context, action domain.Action) (caller usecase.Caller, noTenant, err error) {
	record := LogRecord(c)
	s, err := credential(c)
	if err != nil {
		return caller, nil, err
	}
	route := record.endpoint
	if route == nil || action != route.Action && !slices.Contains(route.Asks, action) {
		return caller, nil, fmt.Errorf("web: the route %s does not list the action %s", c.Path(), action)
	}
	cred := usecase.Credential{APIKey: s, Address: c.RealIP(), RequestID: record.RequestID}
	if isAccessToken(s) && !route.BackendOnly {
		cred.APIKey, cred.AccessToken = domain.Secret{}, s
	}
	tenantIn := RequiredTenant
	if route.TenantOptional {
		tenantIn = NamedTenant
	}
	tenantID, noTenant := tenantIn(c)
	caller, err = record.mount.Authenticate.Do(c.Request().Context(), cred, action, tenantID)
	if caller.Key.Name != "" { // even if it may not do this
		record.Authenticated()
	}
	if caller.Owner != nil { // even if it is refused: a valid signature is no guess
		record.CredentialGenuine()
	}
	return caller, noTenant, err
}

// OriginOf returns the origin of what the request writes, for events: its caller, or a client without a credential.
func OriginOf(c echo.Context) domain.Origin {
	record := LogRecord(c)
	actor := record.Caller.Actor()
	actor.Address = c.RealIP()
	return domain.Origin{Actor: actor, RequestID: record.RequestID}
}

// credentialKind returns the kind of a credential by its form.
func credentialKind(s domain.Secret) string {
	switch {
	case s.IsZero():
		return CredentialNone
	case isAPIKey(s):
		return CredentialAPIKey
	case isAccessToken(s):
		return CredentialAccessToken
	default:
		return CredentialOther
	}
}

// recordUnauthorized logs the reason of a 401, because the response does not have it. This includes an owner whom a use
// case refused access to another user's session. An event that the handler recorded is kept.
func recordUnauthorized(c echo.Context, err error) {
	record := LogRecord(c)
	if record.Event != "" || !errors.Is(err, domain.ErrUnauthorized) {
		return
	}
	s, _ := credential(c) // two headers are a 400
	record.Event, record.Kind = eventCredentialFailed, credentialKind(s)
	record.Add(slog.LevelInfo, slog.String("why", err.Error()))
}
