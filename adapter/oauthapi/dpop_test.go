package oauthapi_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/test/support/dpop"
	"github.com/refreshd/refreshd/usecase"
)

const tokenURL = publicURL + "/t/acme/oauth2/token"

// loginBound issues a session of the application that is bound to the key.
func (s *service) loginBound(t *testing.T, app string, key dpop.Key) usecase.Grant {
	t.Helper()
	g, err := s.issue.Do(t.Context(), usecase.IssueInput{
		TenantID: acme, ApplicationID: app, UserID: "ada", Binding: key.Thumbprint(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	checks.Secrets.Add(g.TokenString.Reveal())
	return g
}

func (s *service) stored(t *testing.T, g usecase.Grant) domain.RefreshToken {
	t.Helper()
	found, err := s.store.Store.Snapshot(t.Context(), g.RefreshToken.ID)
	if err != nil {
		t.Fatal(err)
	}
	return found.Token
}

func proofFor(t *testing.T, s *service, key dpop.Key, change ...func(header, claims map[string]any)) option {
	t.Helper()
	return header("DPoP", key.Proof(t, "POST", tokenURL, s.clock(), change...))
}

// RFC 9449, section 5: the refresh token of a public client is bound to its key, and the access token is of the type
// DPoP. A thief without the key changes nothing, with the current string and with an old one.
func TestABoundSessionIsExchangedWithItsProofOnly(t *testing.T) {
	s := newService(t)
	key, other := dpop.NewKey(t), dpop.NewKey(t)
	g := s.loginBound(t, "spa", key)
	strings := []domain.Secret{g.TokenString}
	for range 2 {
		s.wait(time.Hour)
		a := s.token(t, refresh(strings[len(strings)-1], "client_id", "spa"), proofFor(t, s, key)).want(t, 200, "")
		confirmed, _ := a.claims(t)["cnf"].(map[string]any)
		if a.text("token_type") != "DPoP" || confirmed["jkt"] != key.Thumbprint(t) {
			t.Errorf("got the type %s and cnf %v, want DPoP and the key", a.text("token_type"), confirmed)
		}
		strings = append(strings, domain.NewSecret(a.text("refresh_token")))
	}
	s.wait(time.Hour)
	before := s.stored(t, g)
	for i, tokenString := range strings {
		for name, with := range map[string][]option{"no proof": nil, "that of another": {proofFor(t, s, other)}} {
			a := s.token(t, append(with, refresh(tokenString, "client_id", "spa"))...).want(t, 400, "invalid_dpop_proof")
			if a.text("refreshd_code") != "[unproved]refreshToken" {
				t.Errorf("generation %d, %s: got %s", i+1, name, a.body)
			}
		}
	}
	if diff := cmp.Diff(before, s.stored(t, g)); diff != "" {
		t.Errorf("a refusal changed the session (-before +after):\n%s", diff)
	}
}

// RFC 9449, sections 4.3 and 8: each refusal of a proof has its code, and a wrong nonce brings the right one.
func TestAProofThatIsNotForThisEndpointIsRefused(t *testing.T) {
	s := newService(t)
	key := dpop.NewKey(t)
	g := s.loginBound(t, "spa", key)
	s.wait(time.Hour)
	before := s.stored(t, g)
	form := refresh(g.TokenString, "client_id", "spa")
	for name, with := range map[string][]option{
		"of another tenant": {header("DPoP", key.Proof(t, "POST", publicURL+"/t/globex/oauth2/token", s.clock()))},
		"of revocation":     {header("DPoP", key.Proof(t, "POST", publicURL+"/t/acme/oauth2/revoke", s.clock()))},
		"of an hour ago":    {header("DPoP", key.Proof(t, "POST", tokenURL, s.clock().Add(-time.Hour)))},
		"twice":             {proofFor(t, s, key), proofFor(t, s, key)},
		"no JWS":            {header("DPoP", "proof")},
	} {
		a := s.token(t, append(with, form)...).want(t, 400, "invalid_dpop_proof")
		if a.text("refreshd_code") != "[unproved]DPoP" {
			t.Errorf("%s: got %s", name, a.body)
		}
	}
	nonce := func(nonce string) option {
		return proofFor(t, s, key, func(_, claims map[string]any) { claims["nonce"] = nonce })
	}
	a := s.token(t, form, nonce("another")).want(t, 400, "use_dpop_nonce")
	if diff := cmp.Diff(before, s.stored(t, g)); diff != "" {
		t.Errorf("a refusal changed the session (-before +after):\n%s", diff)
	}
	s.token(t, form, nonce(a.header.Get("DPoP-Nonce"))).want(t, 200, "")
}

// A proof serves once, and only beside a client that may use it: RFC 6749, section 2.3, comes first.
func TestAClientAuthenticatesBeforeItsProofIsUsed(t *testing.T) {
	s := newService(t)
	key := dpop.NewKey(t)
	g := s.loginBound(t, "backend", key)
	s.wait(time.Hour)
	once, client := proofFor(t, s, key), basic("backend", s.secrets["acme backend"])
	s.token(t, refresh(g.TokenString), basic("backend", "wrong-wrong-wrong-wrong-wrong"), once).
		want(t, 401, "invalid_client")
	s.token(t, refresh(g.TokenString), client, once).want(t, 200, "")
	s.token(t, refresh(g.TokenString), client, once).want(t, 400, "invalid_dpop_proof")
}
