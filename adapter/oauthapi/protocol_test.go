package oauthapi_test

import (
	"encoding/base64"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/test/support/dpop"
	"github.com/refreshd/refreshd/usecase"
)

// play is one request of a row, with a session of its own.
type play struct {
	*service
	t      *testing.T
	g      usecase.Grant
	app    string
	key    dpop.Key // that the session is bound to, if it is
	secret string   // of the application backend
}

// exchange is the usual request of the token endpoint for the session, with further parameters.
func (p *play) exchange(pairs ...string) option {
	if p.app == "backend" {
		return refresh(p.g.TokenString, pairs...)
	}
	return refresh(p.g.TokenString, append([]string{"client_id", p.app}, pairs...)...)
}

func (p *play) raw(body string) []option {
	return []option{raw("application/x-www-form-urlencoded", strings.ReplaceAll(body, "TOKEN", p.g.TokenString.Reveal()))}
}

func (p *play) basic() option { return basic("backend", p.secret) }

func (p *play) proof(change ...parts) option {
	return header("DPoP", p.key.Proof(p.t, "POST", tokenURL, p.clock(), change...))
}

// row is a request of the token endpoint and its response. A refusal changes nothing that is stored.
type row struct {
	section, what string
	app           string // spa if it is empty
	with          func(p *play) []option
	status        int
	code          string // of a refusal; none for 200
}

func one(o func(p *play) option) func(p *play) []option {
	return func(p *play) []option { return []option{o(p)} }
}

func sent(pairs ...string) func(p *play) []option {
	return one(func(p *play) option { return p.exchange(pairs...) })
}

func form1(body string) func(p *play) []option {
	return func(p *play) []option { return p.raw(body) }
}

func client(options func(p *play) []option) func(p *play) []option {
	return func(p *play) []option { return append([]option{p.exchange()}, options(p)...) }
}

// proved sends a proof that is changed.
func proved(change ...parts) func(p *play) []option {
	return func(p *play) []option { return []option{p.exchange(), p.proof(change...)} }
}

const (
	usual       = "grant_type=refresh_token&refresh_token=TOKEN"
	ok          = 200
	bad, denied = 400, 401
)

var tokenRows = []row{
	// RFC 6749: the form.
	{"RFC 6749, section 6", "a refresh", "", sent(), ok, ""},
	{"RFC 6749, section 3.2", "parameters in the body only", "", form1("client_id=spa"), bad, "invalid_request"},
	{"RFC 6749, section 3.1", "an unknown parameter", "", form1(usual + "&client_id=spa&foo=bar"), ok, ""},
	{"RFC 6749, section 3.1", "an unknown parameter twice", "", form1(usual + "&client_id=spa&foo=1&foo=2"), ok, ""},
	{"RFC 6749, section 3.1", "a parameter without a value", "", form1(usual + "&client_id=spa&scope="), ok, ""},
	{"RFC 6749, section 3.1", "a parameter without =", "", form1(usual + "&client_id=spa&scope"), ok, ""},
	{"RFC 6749, section 3.1", "client_id without a value", "", form1(usual + "&client_id="), bad, "invalid_request"},
	{"RFC 6749, section 3.2", "refresh_token twice", "", form1(usual + "&client_id=spa&refresh_token=TOKEN"), bad,
		"invalid_request"},
	{"RFC 6749, section 3.2", "grant_type twice", "", form1(usual + "&client_id=spa&grant_type=refresh_token"), bad,
		"invalid_request"},
	{"RFC 6749, section 3.2", "client_id twice", "", form1(usual + "&client_id=spa&client_id=spa"), bad,
		"invalid_request"},
	{"RFC 6749, section 3.2", "scope twice", "", form1(usual + "&client_id=spa&scope=a&scope=a"), bad, "invalid_request"},
	{"RFC 6749, section 5.2", "no grant_type", "", form1("refresh_token=TOKEN&client_id=spa"), bad, "invalid_request"},
	{"RFC 6749, section 5.2", "no refresh_token", "", form1("grant_type=refresh_token&client_id=spa"), bad,
		"invalid_request"},
	{"RFC 6749, section 5.2", "an empty refresh_token", "", form1("grant_type=refresh_token&refresh_token=&client_id=spa"),
		bad, "invalid_request"},
	{"RFC 6749, section 4.3", "the grant password", "", form1("grant_type=password&client_id=spa"), bad,
		"unsupported_grant_type"},
	{"RFC 6749, section 4.1.3", "the grant authorization_code", "",
		form1("grant_type=authorization_code&code=x&client_id=spa"), bad, "unsupported_grant_type"},
	{"RFC 6749, section 4.4", "the grant client_credentials", "", form1("grant_type=client_credentials&client_id=spa"),
		bad, "unsupported_grant_type"},
	{"RFC 6749, section 4.5", "an unknown grant", "", form1("grant_type=urn:x:y&client_id=spa"), bad,
		"unsupported_grant_type"},
	{"RFC 6749, section 5.2", "a grant in other letters", "",
		form1("grant_type=Refresh_Token&refresh_token=TOKEN&client_id=spa"), bad, "unsupported_grant_type"},
	{"RFC 6749, appendix B", "an escape that is none", "", form1(usual + "&client_id=spa&scope=%zz"), bad,
		"invalid_request"},
	{"RFC 6749, appendix B", "a + is a space", "", form1(usual + "&client_id=spa&scope=orders%3Aread+offline_access"), ok,
		""},
	{"RFC 6749, appendix B", "text that is not UTF-8", "", form1(usual + "&client_id=spa&scope=%ff"), bad,
		"invalid_request"},
	{"RFC 6749, appendix A.1", "client_id that no application has", "", form1(usual + "&client_id=a%00b"), denied,
		"invalid_client"},

	// The refresh token.
	{"RFC 6749, section 5.2", "a refresh token that is none", "",
		form1("grant_type=refresh_token&refresh_token=abc&client_id=spa"), bad, "invalid_grant"},
	{"RFC 6749, section 5.2", "a forged refresh token", "", one(func(p *play) option {
		s := p.g.TokenString.Reveal()
		return refresh(domain.NewSecret(s[:len(s)-2]+"AA"), "client_id", "spa")
	}), bad, "invalid_grant"},
	{"RFC 6749, section 5.2", "an access token as refresh token", "", one(func(p *play) option {
		return refresh(p.g.AccessToken, "client_id", "spa")
	}), bad, "invalid_grant"},
	{"RFC 6749, section 10.4", "the refresh token of another client", "", form1(usual + "&client_id=strict"), bad,
		"invalid_grant"},
	{"RFC 6749, section 10.4", "the refresh token of another tenant", "", one(func(p *play) option {
		return refresh(p.login(p.t, globex, "spa").TokenString, "client_id", "spa")
	}), bad, "invalid_grant"},
	{"RFC 6749, section 10.4", "the refresh token of a confidential client, by a public one", "",
		one(func(p *play) option { return refresh(p.login(p.t, acme, "backend").TokenString, "client_id", "spa") }), bad,
		"invalid_grant"},

	// Scope and audience.
	{"RFC 6749, section 6", "the scope that was granted", "", sent("scope", "orders:read"), ok, ""},
	{"RFC 6749, section 6", "scope of the login", "", sent("scope", "openid orders:read offline_access"), ok, ""},
	{"RFC 6749, section 6", "a wider scope", "", sent("scope", "orders:read orders:write"), bad, "invalid_scope"},
	{"RFC 6749, section 3.3", "scope in other letters", "", sent("scope", "Orders:Read"), bad, "invalid_scope"},
	{"RFC 6749, section 3.3", "a scope twice", "", sent("scope", "orders:read orders:read"), ok, ""},
	{"RFC 6749, section 3.3", "spaces only", "", sent("scope", "   "), ok, ""},
	{"RFC 6749, section 3.3", "a scope with a quote", "", sent("scope", `orders"read`), bad, "invalid_scope"},
	{"RFC 8707, section 2", "resource of an application without audiences", "", sent("resource", "https://x.example"), ok,
		""},
	{"RFC 8707, section 2", "one of the audiences", "backend", func(p *play) []option {
		return []option{p.exchange("resource", "https://api.example.com"), p.basic()}
	}, ok, ""},
	{"RFC 8707, section 2", "an audience by its other name", "backend", func(p *play) []option {
		return []option{p.exchange("audience", "orders"), p.basic()}
	}, ok, ""},
	{"RFC 8707, section 2", "the application itself", "backend", func(p *play) []option {
		return []option{p.exchange("resource", "backend"), p.basic()}
	}, ok, ""},
	{"RFC 8707, section 2", "another audience", "backend", func(p *play) []option {
		return []option{p.exchange("resource", "https://evil.example"), p.basic()}
	}, bad, "invalid_target"},
	{"RFC 8707, section 2", "an audience with a slash more", "backend", func(p *play) []option {
		return []option{p.exchange("resource", "https://api.example.com/"), p.basic()}
	}, bad, "invalid_target"},

	// Client authentication.
	{"RFC 6749, section 2.3.1", "a secret by Basic", "backend", client(func(p *play) []option {
		return []option{p.basic()}
	}), ok, ""},
	{"RFC 6749, section 2.3.1", "a secret in the body", "backend", one(func(p *play) option {
		return p.exchange("client_id", "backend", "client_secret", p.secret)
	}), ok, ""},
	{"RFC 6749, section 2.3.1", "a secret in the query", "backend", one(func(p *play) option {
		return func(s *service, r *request) {
			r.URL.RawQuery = "client_secret=" + strings.Repeat("x", 40)
			p.exchange("client_id", "backend")(s, r)
		}
	}), denied, "invalid_client"},
	{"RFC 6749, section 2.3", "a confidential client without its secret", "backend", one(func(p *play) option {
		return p.exchange("client_id", "backend")
	}), denied, "invalid_client"},
	{"RFC 6749, section 2.3", "Basic with an empty password", "backend", client(func(*play) []option {
		return []option{basic("backend", "")}
	}), denied, "invalid_client"},
	{"RFC 6749, section 2.3", "a secret by Basic and another in the body", "backend", func(p *play) []option {
		return []option{p.exchange("client_secret", p.secret), p.basic()}
	}, bad, "invalid_request"},
	{"RFC 6749, section 2.3", "another client in the body than by Basic", "backend", func(p *play) []option {
		return []option{p.exchange("client_id", "spa"), p.basic()}
	}, bad, "invalid_request"},
	{"RFC 6749, section 3.2.1", "the same client in the body and by Basic", "backend", func(p *play) []option {
		return []option{p.exchange("client_id", "backend"), p.basic()}
	}, ok, ""},
	{"RFC 6749, section 5.2", "a wrong secret by Basic", "backend", client(func(*play) []option {
		return []option{basic("backend", strings.Repeat("x", 43))}
	}), denied, "invalid_client"},
	{"RFC 6749, section 5.2", "a wrong secret in the body", "backend", one(func(p *play) option {
		return p.exchange("client_id", "backend", "client_secret", strings.Repeat("x", 43))
	}), denied, "invalid_client"},
	{"RFC 6749, section 5.2", "the secret of another client", "backend", client(func(p *play) []option {
		return []option{basic("backend", p.secrets["encoded"])}
	}), denied, "invalid_client"},
	{"RFC 6749, section 5.2", "the secret of the same client of another tenant", "backend",
		client(func(p *play) []option { return []option{basic("backend", p.secrets["globex backend"])} }), denied,
		"invalid_client"},
	{"RFC 6749, section 5.2", "an unknown client by Basic", "backend", client(func(p *play) []option {
		return []option{basic("nobody", p.secret)}
	}), denied, "invalid_client"},
	{"RFC 6749, section 5.2", "an unknown public client", "", form1(usual + "&client_id=nobody"), denied,
		"invalid_client"},
	{"RFC 6749, section 5.2", "no client at all", "", form1(usual), bad, "invalid_request"},
	{"RFC 6749, section 2.3", "a secret of a public client", "", sent("client_secret", strings.Repeat("x", 43)), denied,
		"invalid_client"},
	{"RFC 7617, section 2", "Basic that is not base64", "backend", client(func(*play) []option {
		return []option{header("Authorization", "Basic %%%")}
	}), denied, "invalid_client"},
	{"RFC 7617, section 2", "Basic without a colon", "backend", client(func(*play) []option {
		return []option{header("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("backend")))}
	}), denied, "invalid_client"},
	{"RFC 7617, section 2", "a secret with a colon more", "backend", client(func(p *play) []option {
		return []option{basic("backend", p.secret+":")}
	}), denied, "invalid_client"},
	{"RFC 9110, section 11.6.2", "Authorization twice", "backend", client(func(p *play) []option {
		return []option{p.basic(), p.basic()}
	}), bad, "invalid_request"},
	{"RFC 9110, section 11.4", "another scheme is ignored", "", client(func(*play) []option {
		return []option{header("Authorization", "Bearer x.y.z")}
	}), ok, ""},
	{"RFC 7521, section 4.2", "an assertion of an unknown type", "", sent("client_assertion", "a.b.c",
		"client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"), denied, "invalid_client"},
	{"RFC 7521, section 4.2", "an assertion without its type", "", sent("client_assertion", "a.b.c"), denied,
		"invalid_client"},
	{"RFC 7521, section 4.2", "a type without its assertion", "", sent("client_assertion_type",
		"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"), denied, "invalid_client"},
	{"RFC 7521, section 4.2.1", "an assertion that is not a JWT", "", sent("client_assertion", "a.b.c",
		"client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"), denied, "invalid_client"},
	{"RFC 7521, section 4.2", "an assertion and a secret", "backend", func(p *play) []option {
		return []option{p.exchange("client_assertion", "a.b.c", "client_assertion_type",
			"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"), p.basic()}
	}, bad, "invalid_request"},

	// DPoP.
	{"RFC 9449, section 5", "a proof of the key", "bound", proved(), ok, ""},
	{"RFC 9449, section 5", "no proof", "bound", sent(), bad, "invalid_dpop_proof"},
	{"RFC 9449, section 5", "a proof of another key", "bound", client(func(p *play) []option {
		return []option{header("DPoP", dpop.NewKey(p.t).Proof(p.t, "POST", tokenURL, p.clock()))}
	}), bad, "invalid_dpop_proof"},
	{"RFC 9449, section 5", "a proof for a session that is not bound", "", func(p *play) []option {
		p.key = dpop.NewKey(p.t)
		return []option{p.exchange(), p.proof()}
	}, ok, ""},
	{"RFC 9449, section 4.3, item 1", "two headers", "bound", client(func(p *play) []option {
		return []option{p.proof(), p.proof()}
	}), bad, "invalid_dpop_proof"},
	{"RFC 9449, section 4.3, item 2", "a proof that is not a JWT", "bound", client(func(*play) []option {
		return []option{header("DPoP", "proof")}
	}), bad, "invalid_dpop_proof"},
	{"RFC 9449, section 4.3, item 2", "two proofs in one header", "bound", client(func(p *play) []option {
		proof := func() string { return p.key.Proof(p.t, "POST", tokenURL, p.clock()) }
		return []option{header("DPoP", proof()+", "+proof())}
	}), bad, "invalid_dpop_proof"},
	{"RFC 9449, section 4.3, item 3", "no jti", "bound", proved(claim("jti", nil)), bad, "invalid_dpop_proof"},
	{"RFC 9449, section 4.3, item 3", "an empty jti", "bound", proved(claim("jti", "")), bad, "invalid_dpop_proof"},
	{"RFC 9449, section 4.3, item 3", "no htm", "bound", proved(claim("htm", nil)), bad, "invalid_dpop_proof"},
	{"RFC 9449, section 4.3, item 3", "no htu", "bound", proved(claim("htu", nil)), bad, "invalid_dpop_proof"},
	{"RFC 9449, section 4.3, item 3", "no iat", "bound", proved(claim("iat", nil)), bad, "invalid_dpop_proof"},
	{"RFC 9449, section 4.3, item 3", "iat as a text", "bound", proved(claim("iat", "1803186367")), bad,
		"invalid_dpop_proof"},
	{"RFC 9449, section 4.3, item 4", "another typ", "bound", proved(param("typ", "JWT")), bad, "invalid_dpop_proof"},
	{"RFC 9449, section 4.3, item 4", "no typ", "bound", proved(param("typ", nil)),
		bad, "invalid_dpop_proof"},
	{"RFC 9449, section 4.3, item 5", "alg none", "bound", proved(param("alg", "none")), bad, "invalid_dpop_proof"},
	{"RFC 9449, section 4.3, item 5", "a symmetric alg", "bound", proved(param("alg", "HS256")), bad,
		"invalid_dpop_proof"},
	{"RFC 9449, section 4.3, item 5", "an alg of another type of key", "bound", proved(param("alg", "RS256")), bad,
		"invalid_dpop_proof"},
	{"RFC 9449, section 4.3, item 6", "a signature of another key", "bound", client(func(p *play) []option {
		other := dpop.NewKey(p.t).Proof(p.t, "POST", tokenURL, p.clock())
		own := p.key.Proof(p.t, "POST", tokenURL, p.clock())
		return []option{header("DPoP", own[:strings.LastIndex(own, ".")]+other[strings.LastIndex(other, "."):])}
	}), bad, "invalid_dpop_proof"},
	{"RFC 9449, section 4.3, item 7", "a private key", "bound", proved(func(header, _ map[string]any) {
		header["jwk"].(map[string]any)["d"] = "AAAA"
	}), bad, "invalid_dpop_proof"},
	{"RFC 9449, section 4.3, item 7", "no jwk", "bound", proved(param("jwk", nil)),
		bad, "invalid_dpop_proof"},
	{"RFC 9449, section 4.3, item 8", "another method", "bound", proved(claim("htm", "GET")), bad, "invalid_dpop_proof"},
	{"RFC 9449, section 4.3, item 8", "the method in small letters", "bound", proved(claim("htm", "post")), bad,
		"invalid_dpop_proof"},
	{"RFC 9449, section 4.3, item 9", "another path", "bound", proved(claim("htu", publicURL+"/oauth2/token")), bad,
		"invalid_dpop_proof"},
	{"RFC 9449, section 4.3, item 9", "another host", "bound",
		proved(claim("htu", "https://evil.example/t/acme/oauth2/token")), bad, "invalid_dpop_proof"},
	{"RFC 9449, section 4.3, item 9", "another scheme", "bound",
		proved(claim("htu", "http://refreshd.example/t/acme/oauth2/token")), bad, "invalid_dpop_proof"},
	{"RFC 9449, section 4.3, item 9", "the URL by the issuer of the tenant", "bound",
		proved(claim("htu", "https://auth.acme.example/oauth2/token")), ok, ""},
	{"RFC 9449, section 4.3, item 9", "a query and a fragment do not count", "bound",
		proved(claim("htu", tokenURL+"?a=b#c")), ok, ""},
	{"RFC 9449, section 4.3, item 9", "the URL in another spelling", "bound",
		proved(claim("htu", "HTTPS://Refreshd.Example:443/t/%61cme/oauth2/./token")), ok, ""},
	{"RFC 9449, section 4.3, item 10", "a wrong nonce", "bound", proved(claim("nonce", "AAAA")), bad, "use_dpop_nonce"},
	{"RFC 9449, section 4.3, item 11", "a proof of an hour ago", "bound", proved(func(_, claims map[string]any) {
		claims["iat"] = claims["iat"].(int64) - 3600
	}), bad, "invalid_dpop_proof"},
	{"RFC 9449, section 4.3, item 11", "a proof of the next hour", "bound", proved(func(_, claims map[string]any) {
		claims["iat"] = claims["iat"].(int64) + 3600
	}), bad, "invalid_dpop_proof"},
	{"RFC 9449, section 4.3, item 11", "a proof of half a minute ago", "bound", proved(func(_, claims map[string]any) {
		claims["iat"] = claims["iat"].(int64) - 30
	}), ok, ""},
	{"RFC 7515, section 4.1.11", "a critical parameter", "bound", proved(param("crit", []string{"b64"})), bad,
		"invalid_dpop_proof"},
	{"RFC 7515, section 4", "an unknown parameter", "bound", proved(param("x5t", "AAAA")), ok, ""},
	{"RFC 7519, section 4", "an unknown claim", "bound", proved(claim("sub", "ada")), ok, ""},
}

// Each row is a request of the token endpoint, at both of its places.
func TestTokenRequests(t *testing.T) {
	for _, r := range tokenRows {
		t.Run(r.section+": "+r.what, func(t *testing.T) {
			s := newService(t)
			p := &play{service: s, t: t, app: "spa", secret: s.secrets["acme backend"]}
			switch r.app {
			case "bound":
				p.key = dpop.NewKey(t)
				p.g = s.loginBound(t, "spa", p.key)
			case "backend":
				p.app = r.app
				fallthrough
			default:
				p.g = s.login(t, acme, p.app, "orders:read")
			}
			options := r.with(p)
			before := s.stored(t, p.g)
			a := s.token(t, options...).want(t, r.status, r.code)
			if r.status == ok {
				if claims := a.claims(t); claims["sid"] != p.g.RefreshToken.ID.String() {
					t.Errorf("the access token is of the session %v", claims["sid"])
				}
				return
			}
			if diff := cmp.Diff(before, s.stored(t, p.g)); diff != "" {
				t.Errorf("the refusal changed the session (-before +after):\n%s", diff)
			}
			calls := s.store.took()
			for _, write := range []string{"Swap", "Use", "Revoke", "Rebind"} {
				if calls[write] > 0 {
					t.Errorf("the refusal wrote: %v", calls)
				}
			}
		})
	}
}

// heldRows are requests of revocation and introspection.
var heldRows = []struct {
	section, what, path, app string
	with                     func(p *play) []option
	status                   int
	code                     string
	active, revoked          bool // what introspection says; whether the session ended
}{
	{"RFC 7009, section 2.1", "the refresh token of the client", "revoke", "spa",
		func(p *play) []option { return []option{form("token", p.g.TokenString.Reveal(), "client_id", "spa")} }, ok, "",
		false, true},
	{"RFC 7009, section 2.1", "its access token", "revoke", "spa",
		func(p *play) []option { return []option{form("token", p.g.AccessToken.Reveal(), "client_id", "spa")} }, ok, "",
		false, true},
	{"RFC 7009, section 2.1", "a wrong hint", "revoke", "spa", func(p *play) []option {
		return []option{form("token", p.g.TokenString.Reveal(), "client_id", "spa", "token_type_hint", "access_token")}
	}, ok, "", false, true},
	{"RFC 7009, section 2.1", "an unknown hint", "revoke", "spa", func(p *play) []option {
		return []option{form("token", p.g.TokenString.Reveal(), "client_id", "spa", "token_type_hint", "saml")}
	}, ok, "", false, true},
	{"RFC 7009, section 2.1", "no token", "revoke", "spa",
		func(*play) []option { return []option{form("client_id", "spa")} }, bad, "invalid_request", false, false},
	{"RFC 7009, section 2.1", "no client", "revoke", "spa",
		func(p *play) []option { return []option{form("token", p.g.TokenString.Reveal())} }, bad, "invalid_request", false,
		false},
	{"RFC 7009, section 2.1", "another client", "revoke", "spa",
		func(p *play) []option {
			return []option{form("token", p.g.TokenString.Reveal(), "client_id", "strict")}
		}, ok, "",
		false, false},
	{"RFC 7009, section 2.1", "a confidential client with its secret", "revoke", "backend",
		func(p *play) []option { return []option{form("token", p.g.TokenString.Reveal()), p.basic()} }, ok, "", false, true},
	{"RFC 7009, section 2.1", "a confidential client without it", "revoke", "backend",
		func(p *play) []option {
			return []option{form("token", p.g.TokenString.Reveal(), "client_id", "backend")}
		}, denied,
		"invalid_client", false, false},
	{"RFC 7009, section 2.1", "an unknown client", "revoke", "spa",
		func(p *play) []option {
			return []option{form("token", p.g.TokenString.Reveal(), "client_id", "nobody")}
		}, denied,
		"invalid_client", false, false},
	{"RFC 7009, section 2.2", "a token that is none", "revoke", "spa",
		func(*play) []option { return []option{form("token", "abc", "client_id", "spa")} }, ok, "", false, false},
	{"RFC 7009, section 2", "token twice", "revoke", "spa", func(p *play) []option {
		return p.raw("token=TOKEN&token=TOKEN&client_id=spa")
	}, bad, "invalid_request", false, false},
	{"RFC 9449, section 5", "a bound session is revoked without its key", "revoke", "bound",
		func(p *play) []option { return []option{form("token", p.g.TokenString.Reveal(), "client_id", "spa")} }, ok, "",
		false, true},

	{"RFC 7662, section 2.1", "a client with its secret", "introspect", "backend",
		func(p *play) []option { return []option{form("token", p.g.TokenString.Reveal()), p.basic()} }, ok, "", true, false},
	{"RFC 7662, section 2.1", "an API key", "introspect", "backend",
		func(p *play) []option { return []option{form("token", p.g.AccessToken.Reveal()), as("inspector")} }, ok, "", true,
		false},
	{"RFC 7662, section 2.1", "no credential", "introspect", "backend",
		func(p *play) []option { return []option{form("token", p.g.TokenString.Reveal())} }, denied, "invalid_client", false,
		false},
	{"RFC 7662, section 2.1", "a public client", "introspect", "spa",
		func(p *play) []option { return []option{form("token", p.g.TokenString.Reveal(), "client_id", "spa")} }, denied,
		"invalid_client", false, false},
	{"RFC 7662, section 2.3", "a wrong secret", "introspect", "backend", func(p *play) []option {
		return []option{form("token", p.g.TokenString.Reveal()), basic("backend", strings.Repeat("x", 43))}
	}, denied, "invalid_client", false, false},
	{"RFC 7662, section 2.3", "an API key without the permission", "introspect", "backend",
		func(p *play) []option { return []option{form("token", p.g.TokenString.Reveal()), as("backend")} }, denied,
		"invalid_client", false, false},
	{"RFC 7662, section 2.1", "no token", "introspect", "backend",
		func(p *play) []option { return []option{form("token_type_hint", "access_token"), p.basic()} }, bad,
		"invalid_request", false, false},
	{"RFC 7662, section 2.2", "a token that is none", "introspect", "backend",
		func(p *play) []option { return []option{form("token", "abc"), p.basic()} }, ok, "", false, false},
	{"RFC 7662, section 4", "the token of another client", "introspect", "spa",
		func(p *play) []option { return []option{form("token", p.g.TokenString.Reveal()), p.basic()} }, ok, "", false, false},
	{"RFC 7662, section 4", "an API key of another tenant", "introspect", "backend",
		func(p *play) []option {
			return []option{form("token", p.g.TokenString.Reveal()), as("globex inspector")}
		}, denied,
		"invalid_client", false, false},
	{"RFC 7662, section 2.2", "a bound session", "introspect", "bound",
		func(p *play) []option { return []option{form("token", p.g.TokenString.Reveal()), as("inspector")} }, ok, "", true,
		false},
}

func TestRevocationAndIntrospectionRequests(t *testing.T) {
	for _, r := range heldRows {
		t.Run(r.section+": "+r.what, func(t *testing.T) {
			s := newService(t)
			p := &play{service: s, t: t, app: r.app, secret: s.secrets["acme backend"]}
			if r.app == "bound" {
				p.key = dpop.NewKey(t)
				p.g = s.loginBound(t, "spa", p.key)
			} else {
				p.g = s.login(t, acme, r.app, "orders:read")
			}
			options := r.with(p)
			a := s.do(t, "POST", "/t/acme/oauth2/"+r.path, options...).want(t, r.status, r.code)
			switch {
			case r.path == "introspect" && r.status == ok:
				a.wantActive(t, r.what, r.active)
			case r.status == ok && len(a.body) > 0:
				t.Errorf("got the body %s, want none", a.body)
			}
			if got := !s.stored(t, p.g).RevokedAt.IsZero(); got != r.revoked {
				t.Errorf("revoked: %t, want %t", got, r.revoked)
			}
		})
	}
}

// The endpoints have one method each: RFC 6749, section 3.2; RFC 7009, section 2.1; RFC 7662, section 2.1; RFC
// 8414, section 3.1.
func TestMethodsOfTheEndpoints(t *testing.T) {
	s := newService(t)
	for path, allowed := range map[string]string{
		"/oauth2/token": "POST", "/oauth2/revoke": "POST", "/oauth2/introspect": "POST",
		"/.well-known/openid-configuration": "GET", "/.well-known/oauth-authorization-server": "GET",
	} {
		for _, method := range []string{"GET", "POST", "PUT", "DELETE", "PATCH"} {
			if method == allowed {
				continue
			}
			t.Run(method+" "+path, func(t *testing.T) {
				a := s.do(t, method, "/t/acme"+path).want(t, 405, "invalid_request")
				if got := a.header.Get("Allow"); !strings.Contains(got, allowed) || strings.Contains(got, method+",") {
					t.Errorf("got Allow %q, want %s", got, allowed)
				}
			})
		}
	}
}

// A response that holds tokens is not stored by a cache (RFC 6749, section 5.1), and neither is a refusal.
func TestNoResponseOfTheTokenEndpointIsCached(t *testing.T) {
	s := newService(t)
	g := s.login(t, acme, "spa")
	for _, a := range []*answer{
		s.token(t, refresh(g.TokenString, "client_id", "spa")), s.token(t, refresh(g.TokenString, "client_id", "nobody")),
		s.token(t, form("grant_type", "password", "client_id", "spa")),
	} {
		if got := a.header.Get("Cache-Control"); got != "no-store" {
			t.Errorf("%d: got Cache-Control %q", a.status, got)
		}
	}
}

// expires_in is a number of seconds that the access token is valid for (RFC 6749, section 5.1), also in a retry.
func TestExpiresInIsWhatIsLeft(t *testing.T) {
	s := newService(t)
	g := s.login(t, acme, "spa")
	s.wait(time.Hour)
	first := s.token(t, refresh(g.TokenString, "client_id", "spa")).want(t, ok, "")
	s.wait(time.Second)
	again := s.token(t, refresh(g.TokenString, "client_id", "spa")).want(t, ok, "")
	for _, a := range []*answer{first, again} {
		left := a.claims(t)["exp"].(float64) - float64(s.clock().Unix())
		if a == first {
			left++
		}
		if got := a.members["expires_in"]; got != left {
			t.Errorf("got expires_in %v, want %v", got, left)
		}
	}
	delete(first.members, "expires_in")
	delete(again.members, "expires_in")
	if !maps.EqualFunc(first.members, again.members, func(a, b any) bool { return a == b }) {
		t.Errorf("a retry got %v, want %v", again.members, first.members)
	}
}
