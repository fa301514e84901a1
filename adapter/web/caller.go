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

// EventCredentialFailed is the event of a credential that proves nothing, or not enough. Its kinds are those of
// credential that may have failed.
const EventCredentialFailed = eventCredentialFailed

// The kinds of credential.
const (
	CredentialNone        = "none" // and one was needed
	CredentialAPIKey      = "apiKey"
	CredentialAccessToken = "accessToken"
	CredentialTokenString = "tokenString"
	CredentialOther       = "other"
)

// CredentialKinds are all these kinds.
var CredentialKinds = []string{
	CredentialNone, CredentialAPIKey, CredentialAccessToken, CredentialTokenString, CredentialOther,
}

// Stencil is the platform that the API was first written for.
const tenantHeader = "X-Stencil-TenantId"

// TenantHeaders are the header that names the tenant, a spelling of it that is in use, and its name without the
// platform.
var TenantHeaders = []string{tenantHeader, "X-Stencil-Tenanid", "X-Tenant-Id"}

// tenantInPath begins the routes that take the tenant from the path.
const tenantInPath = "/t/:tenantId/"

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

// offeredKey returns what may be an API key, for the guard; empty if there is none, or if there are two headers that
// may hold one.
func offeredKey(c echo.Context) string {
	if s, err := credential(c); err == nil && isAPIKey(s) {
		return s.Reveal()
	}
	return ""
}

// HasCredential reports whether the request has an Authorization that may hold a credential. Two are one.
func HasCredential(c echo.Context) bool {
	s, err := credential(c)
	return err != nil || !s.IsZero()
}

// NamedTenant returns the tenant that the request names, by its path if the route has a tenant there, else by the
// headers; empty for none. Two that differ are refused. It need not exist.
func NamedTenant(c echo.Context) (string, error) {
	tenant := ""
	for _, name := range TenantHeaders {
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
	if !strings.HasPrefix(c.Path(), tenantInPath) {
		return tenant, nil
	}
	inPath := PathParam(c, "tenantId")
	if tenant != "" && tenant != inPath {
		return "", domain.NewInvalid(tenantHeader, domain.Conflict,
			"the header and the path name two tenants: leave the header out")
	}
	return inPath, nil
}

// RequiredTenant is [NamedTenant] where the request has to name one.
func RequiredTenant(c echo.Context) (string, error) {
	tenantID, err := NamedTenant(c)
	if err == nil && tenantID == "" {
		err = domain.NewInvalid(tenantHeader, domain.Blank, "name the tenant in this header")
	}
	return tenantID, err
}

// Identify finds out who sent the request, if that may do the action, and for which tenant: first who, then for whom.
// The caller is then in the request's [Record] and in its log line. On a route with an Action it is there already.
func Identify(c echo.Context, action domain.Action) (usecase.Caller, error) {
	caller, noTenant, err := identify(c, action)
	if err == nil {
		err = noTenant
	}
	if err != nil {
		return usecase.Caller{}, err
	}
	record := Note(c)
	record.Caller, record.Tenant = caller, caller.TenantID
	if caller.Owner == nil {
		record.Raise(slog.LevelInfo, slog.String("apiKey", caller.Key.Name))
	} else {
		record.Raise(slog.LevelInfo, slog.String("sessionId", caller.Owner.SessionID))
	}
	return caller, nil
}

// Offered is Identify where no credential is needed, and an API key that was sent must be good all the same. Anything
// else in its place counts for nothing: an expired access token, say, that a client's interceptor attached. It reports
// whether the caller has an API key and names the tenant besides. Without a tenant the caller's is that of its key; an
// unknown caller's is the one that the request names.
func Offered(c echo.Context, action domain.Action) (caller usecase.Caller, authenticated bool, err error) {
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
	_, err = NamedTenant(c) // that none is named is no error here
	return caller, false, err
}

// identify finds out who sent the request, and tells the guard. The error noTenant says what is wrong with the tenant
// that it names, if nothing is wrong with who sent it.
func identify(c echo.Context, action domain.Action) (caller usecase.Caller, noTenant, err error) {
	record := Note(c)
	s, err := credential(c)
	if err != nil {
		return caller, nil, err
	}
	route := record.endpoint
	if route == nil || action != route.Action && !slices.Contains(route.Asks, action) {
		return caller, nil, fmt.Errorf("web: the route %s does not say that it asks for %s", c.Path(), action)
	}
	cred := usecase.Credential{APIKey: s}
	if isAccessToken(s) && !route.BackendOnly {
		cred = usecase.Credential{AccessToken: s}
	}
	tenantID, noTenant := RequiredTenant(c)
	caller, err = record.mount.Authenticate.Do(c.Request().Context(), cred, action, tenantID)
	if caller.Key.Name != "" { // also if it may not do this
		record.Authenticated()
	}
	if caller.Owner != nil { // also if it is refused: what has a right signature is no guess
		record.Proved()
	}
	return caller, noTenant, err
}

// OriginOf returns where what the request writes comes from: its caller, or a client that has shown no credential.
func OriginOf(c echo.Context) domain.Origin {
	record := Note(c)
	actor := record.Caller.Actor()
	actor.Address = c.RealIP()
	return domain.Origin{Actor: actor, RequestID: record.RequestID}
}

// credentialKind returns what a credential is by its form.
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

// noteUnauthorized puts the reason of a 401 into the log, since the response says nothing, and somebody has to find out:
// also where a use case refuses an owner who means what is another's. A handler that has recorded an event knows better.
func noteUnauthorized(c echo.Context, err error) {
	record := Note(c)
	if record.Event != "" || !errors.Is(err, domain.ErrUnauthorized) {
		return
	}
	s, _ := credential(c) // two headers are a 400
	record.Event, record.Kind = eventCredentialFailed, credentialKind(s)
	record.Raise(slog.LevelInfo, slog.String("why", err.Error()))
}
