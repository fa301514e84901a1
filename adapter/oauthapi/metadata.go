package oauthapi

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/usecase"
)

// metadataMaxAge is how long a cache may use metadata without a request. Clients read it once at their start, and
// verifiers for its algorithms, which change hours before they are used.
const metadataMaxAge = 5 * time.Minute

// metadata returns the routes of the documents by which clients find the endpoints of an issuer, and verifiers its
// keys. All forms of the address have the same document: that of OpenID Connect Discovery 1.0 (section 4), which
// appends the well-known path to the issuer; and those of RFC 8414 (section 3.1), which insert it before the issuer's
// path. They are public, and outside the limits of clients without a credential, as key sets are.
func (a *API) metadata() (all []web.Route) {
	get := func(path string, tenantID func(echo.Context) string) {
		all = append(all, web.Route{Method: "GET", Path: path, Anybody: true, Kind: web.Public,
			Handle: func(c echo.Context) error { return a.describe(c, tenantID(c)) }})
	}
	inPath := func(c echo.Context) string { return web.PathParam(c, "tenantId") }
	root := func(echo.Context) string { return a.RootTenant }
	for _, document := range []string{"/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"} {
		get("/t/:tenantId"+document, inPath)
		get(document+"/t/:tenantId", inPath)
		get(document, root)
	}
	return all
}

func (a *API) describe(c echo.Context, tenantID string) error {
	known, err := a.Publish.Metadata(c.Request().Context(), tenantID)
	if err != nil {
		return err
	}
	text, err := json.Marshal(newDocument(known))
	if err != nil {
		return err
	}
	return web.Cached(c, echo.MIMEApplicationJSON, text,
		fmt.Sprintf("public, max-age=%d", int(metadataMaxAge.Seconds())))
}

// The endpoints below an issuer. A proxy of an issuer on another host than the public URL's routes them, and what is
// below wellKnownPath, to the same paths below /t/ and the tenant's id.
const (
	tokenPath       = "/oauth2/token"
	revokePath      = "/oauth2/revoke"
	introspectPath  = "/oauth2/introspect"
	keysPath        = "/.well-known/jwks.json"
	revocationsPath = "/revocations"
)

// The grants.
const (
	grantRefreshToken  = "refresh_token"                                   // RFC 6749, section 6
	grantTokenExchange = "urn:ietf:params:oauth:grant-type:token-exchange" // RFC 8693, section 2.1
)

// The methods of client authentication (RFC 7591, section 2, and OpenID Connect Core 1.0, section 9).
const (
	methodNone       = "none"
	methodBasic      = "client_secret_basic"
	methodPost       = "client_secret_post"
	methodPrivateKey = "private_key_jwt"
)

// document is the metadata on the wire. The members are those of RFC 8414, section 2, and of OpenID Connect Discovery
// 1.0, section 3; the stream of revocations is this service's own.
type document struct {
	Issuer        string `json:"issuer"`
	Token         string `json:"token_endpoint"`
	Revocation    string `json:"revocation_endpoint"`
	Introspection string `json:"introspection_endpoint"`
	Keys          string `json:"jwks_uri"`
	Revocations   string `json:"revocations_endpoint"`

	Authorization string `json:"authorization_endpoint,omitempty"`
	EndSession    string `json:"end_session_endpoint,omitempty"`
	Userinfo      string `json:"userinfo_endpoint,omitempty"`

	ResponseTypes            []string `json:"response_types_supported"`
	GrantTypes               []string `json:"grant_types_supported"`
	Scopes                   []string `json:"scopes_supported"`
	SubjectTypes             []string `json:"subject_types_supported"`
	TokenAuthMethods         []string `json:"token_endpoint_auth_methods_supported"`
	RevocationAuthMethods    []string `json:"revocation_endpoint_auth_methods_supported"`
	IntrospectionAuthMethods []string `json:"introspection_endpoint_auth_methods_supported"`
	// The algorithms of the assertions of clients, which the method private_key_jwt requires.
	TokenAuthAlgorithms         []domain.Algorithm `json:"token_endpoint_auth_signing_alg_values_supported"`
	RevocationAuthAlgorithms    []domain.Algorithm `json:"revocation_endpoint_auth_signing_alg_values_supported"`
	IntrospectionAuthAlgorithms []domain.Algorithm `json:"introspection_endpoint_auth_signing_alg_values_supported"`
	// IDTokenAlgorithms are those of the access tokens. No id_token is issued, but some verifiers take the algorithms
	// that they accept from this member, and accept RS256 only without it.
	IDTokenAlgorithms []domain.Algorithm `json:"id_token_signing_alg_values_supported"`
	// ProofAlgorithms are those of DPoP proofs (RFC 9449, section 5.1).
	ProofAlgorithms []domain.Algorithm `json:"dpop_signing_alg_values_supported"`
}

// newDocument repeats the issuer byte for byte, because clients compare it (RFC 8414, section 3.3).
func newDocument(m usecase.Metadata) document {
	base := strings.TrimSuffix(m.Issuer, "/")
	return document{
		Issuer: m.Issuer,
		Token:  base + tokenPath, Revocation: base + revokePath, Introspection: base + introspectPath,
		Keys: base + keysPath, Revocations: base + revocationsPath,
		Authorization: m.Login.Authorization, EndSession: m.Login.EndSession, Userinfo: m.Login.Userinfo,
		ResponseTypes: []string{}, GrantTypes: []string{grantRefreshToken, grantTokenExchange},
		Scopes: []string{"offline_access"}, SubjectTypes: []string{"public"},
		TokenAuthMethods:            []string{methodNone, methodBasic, methodPost, methodPrivateKey},
		RevocationAuthMethods:       []string{methodNone, methodBasic, methodPost, methodPrivateKey},
		IntrospectionAuthMethods:    []string{methodBasic, methodPost, methodPrivateKey},
		TokenAuthAlgorithms:         domain.ClientAlgorithms,
		RevocationAuthAlgorithms:    domain.ClientAlgorithms,
		IntrospectionAuthAlgorithms: domain.ClientAlgorithms,
		IDTokenAlgorithms:           m.Algorithms,
		ProofAlgorithms:             domain.ClientAlgorithms,
	}
}
