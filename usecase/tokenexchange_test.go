package usecase_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/usecase"
)

// issuedTo returns a new session of a user of acme's shop, with the key that it is bound to, if any.
func (w *world) issuedTo(t *testing.T, user, binding string) usecase.Grant {
	t.Helper()
	g, err := w.issue.Do(t.Context(), usecase.IssueInput{
		TenantID: "acme", ApplicationID: "shop", UserID: user, Binding: binding, Scopes: []string{"read", "write"},
	})
	must(t, err)
	return g
}

// forActor is the input of an exchange for an actor.
func forActor(tokenString, actorToken domain.Secret) usecase.ExchangeInput {
	return usecase.ExchangeInput{
		TokenString: tokenString, TenantID: "acme", ApplicationID: "shop", ActorToken: actorToken,
	}
}

// An actor's access token counts only if it is active, of this tenant, and the client's own or for it; a proof only if
// it is of the key that the access token is bound to (RFC 8693, section 2.2.2). Otherwise nothing is written.
func TestAnActorTokenThatIsNotActiveIsRefused(t *testing.T) {
	w := newWorld(t)
	agent := w.issuedTo(t, "agent", "")
	elsewhere, err := w.issue.Do(t.Context(), usecase.IssueInput{
		TenantID: "acme", ApplicationID: "reusable", UserID: "agent",
	})
	must(t, err)
	good, err := w.keys.Signer.Verify(t.Context(), func(context.Context, string) (domain.SigningKey, error) {
		keys, err := w.keys.SigningKeysOf(t.Context(), "acme")
		if err != nil {
			return domain.SigningKey{}, err
		}
		return keys.Published()[0], nil
	}, agent.AccessToken.Reveal())
	must(t, err)
	for name, test := range map[string]struct {
		change func(*domain.AccessToken)
		code   string // empty: it counts
	}{
		"unchanged":      {func(*domain.AccessToken) {}, ""},
		"for the client": {func(a *domain.AccessToken) { a.Audience = "shop" }, ""},
		"for another audience of the client": {func(a *domain.AccessToken) { a.Audience = "https://api.example.com" },
			""},
		"about to expire": {func(a *domain.AccessToken) {
			a.ExpiresAt = stored(w.clock.now()).Add(time.Microsecond)
		}, ""},
		"expired": {func(a *domain.AccessToken) { a.ExpiresAt = stored(w.clock.now()) },
			"[invalid]actor_token"},
		"of another tenant": {func(a *domain.AccessToken) { a.TenantID = "globex" }, "[invalid]actor_token"},
		"of no tenant":      {func(a *domain.AccessToken) { a.TenantID = "" }, "[invalid]actor_token"},
		"of another user":   {func(a *domain.AccessToken) { a.Subject = "root" }, "[invalid]actor_token"},
		"of no session":     {func(a *domain.AccessToken) { a.SessionID = "" }, "[invalid]actor_token"},
		"of an unknown session": {func(a *domain.AccessToken) { a.SessionID = domain.ID{9}.String() },
			"[invalid]actor_token"},
		"of another application": {func(a *domain.AccessToken) { a.ApplicationID, a.Audience = "reusable", "reusable" },
			"[invalid]actor_token"},
		"of another application, for the client": {func(a *domain.AccessToken) { a.ApplicationID = "reusable" },
			"[invalid]actor_token"}, // its session is the shop's
		"of another application's session": {func(a *domain.AccessToken) {
			a.ApplicationID, a.Audience, a.SessionID = "reusable", "reusable", elsewhere.RefreshToken.ID.String()
		}, "[invalid]actor_token"},
		"of another application's session, for the client": {func(a *domain.AccessToken) {
			a.ApplicationID, a.Audience, a.SessionID = "reusable", "shop", elsewhere.RefreshToken.ID.String()
		}, ""},
		"bound to a key": {func(a *domain.AccessToken) { a.Confirmation = "thumbprint" }, "[unproved]actor_token"},
		"with two actors": {func(a *domain.AccessToken) { a.Actors = []domain.TokenActor{{Subject: "x"}, {Subject: "y"}} },
			""},
		"with three actors": {func(a *domain.AccessToken) {
			a.Actors = []domain.TokenActor{{Subject: "x"}, {Subject: "y"}, {Subject: "z"}}
		}, "[tooMany]actor_token"},
	} {
		t.Run(name, func(t *testing.T) {
			g := w.issuedTo(t, "ana", "")
			before := w.record(t, g.RefreshToken.ID)
			changed := good
			test.change(&changed)
			w.probe.verified = &changed
			w.probe.forget()
			out, err := w.exchange.Do(t.Context(), forActor(g.TokenString, agent.AccessToken))
			if test.code == "" {
				must(t, err)
				wantOutcome(t, out, domain.Rotated, nil)
				if act, _ := claimsOf(t, out.AccessToken)["act"].(map[string]any); act["sub"] != "agent" {
					t.Errorf("got the actor %v", act)
				}
				return
			}
			wantCodes(t, err, test.code)
			if asked := w.probe.asked(); slices.Contains(asked, "Advance") || slices.Contains(asked, "Swap") {
				t.Errorf("got the calls %v", asked)
			}
			if diff := cmp.Diff(before, w.record(t, g.RefreshToken.ID)); diff != "" {
				t.Errorf("the refusal changed the record (-before +after):\n%s", diff)
			}
		})
	}
}

// The actor token is read after limit, client and proof, of which the proof may be the one that it needs.
func TestAnActorTokenIsCheckedLast(t *testing.T) {
	w := newWorld(t)
	agent, g := w.issuedTo(t, "agent", "thumbprint"), w.issuedTo(t, "ana", "")
	in := forActor(g.TokenString, agent.AccessToken)
	refusal := errors.New("refused")
	var order []string
	step := func(name string) error {
		w.probe.forget()
		order = append(order, name)
		return nil
	}
	in.Limit = func(domain.PresentedToken, bool) error { return step("limit") }
	in.Authenticate = func(context.Context) (usecase.ClientAuth, error) {
		return usecase.ClientAuth{Application: domain.Application{ID: "shop"}}, step("authenticate")
	}
	in.Prove = func(context.Context) (domain.Possession, error) {
		return domain.Possession{}, errors.Join(step("prove"), refusal)
	}
	_, err := w.exchange.Do(t.Context(), in)
	wantErr(t, err, refusal)
	if asked := w.probe.asked(); len(asked) > 0 || !slices.Equal(order, []string{"limit", "authenticate", "prove"}) {
		t.Errorf("got the calls %v after %v", asked, order)
	}
	for binding, code := range map[string]string{"": "[unproved]actor_token", "another": "[unproved]actor_token"} {
		in.Prove = func(context.Context) (domain.Possession, error) { return domain.Possession{Key: binding}, nil }
		_, err := w.exchange.Do(t.Context(), in)
		wantCodes(t, err, code)
	}
	in.Prove = func(context.Context) (domain.Possession, error) { return domain.Possession{Key: "thumbprint"}, nil }
	out := w.exchangedAs(t, in)
	wantOutcome(t, out, domain.Rotated, nil)
	if claims := claimsOf(t, out.AccessToken); claims["act"] == nil || claims["cnf"] == nil {
		t.Errorf("got %v", claims)
	}
}

// A replay is a theft whatever else the request asks for; a retry gets the same bytes for the same actor, and the same
// refresh token for any.
func TestAnActorChangesNoOutcome(t *testing.T) {
	w := newWorld(t)
	agent, other := w.issuedTo(t, "agent", ""), w.issuedTo(t, "other", "")
	g := w.issuedTo(t, "ana", "")
	first := w.exchangedAs(t, forActor(g.TokenString, agent.AccessToken))
	wantOutcome(t, first, domain.Rotated, nil)
	for _, tokenString := range []domain.Secret{g.TokenString, first.TokenString} {
		again := w.exchangedAs(t, forActor(tokenString, agent.AccessToken))
		wantOutcome(t, again, domain.Retried, nil)
		sameGrant(t, again.Grant, first.Grant)
		without := w.exchanged(t, tokenString)
		wantOutcome(t, without, domain.Retried, nil)
		byOther := w.exchangedAs(t, forActor(tokenString, other.AccessToken))
		for _, x := range []usecase.Exchanged{without, byOther} {
			if !x.TokenString.Equal(first.TokenString) || x.AccessToken.Equal(first.AccessToken) {
				t.Error("another actor got another refresh token, or the same access token")
			}
		}
	}
	w.clock.advance(time.Minute)
	second := w.rotated(t, first.TokenString)
	w.clock.advance(time.Minute)
	narrow := forActor(g.TokenString, agent.AccessToken)
	narrow.Narrow, narrow.Scopes = true, []string{"admin"}
	wantOutcome(t, w.exchangedAs(t, narrow), domain.RefusedReplayed, nil)
	wantOutcome(t, w.exchanged(t, second.TokenString), domain.RefusedRevoked, nil)
}

// Whichever call of a port fails during an exchange for an actor, the same request again gets the response.
func TestAfterAFaultAnExchangeForAnActorIsRepeated(t *testing.T) {
	for n := 1; ; n++ {
		ways, most := []fault{notDone, done, cancelled}, 0
		for _, how := range ways {
			w := newWorld(t)
			agent, g := w.issuedTo(t, "agent", ""), w.issuedTo(t, "ana", "")
			w.probe.forget()
			w.probe.failAt, w.probe.how = n, how
			_, err := w.exchange.Do(t.Context(), forActor(g.TokenString, agent.AccessToken))
			most = max(most, len(w.probe.asked()))
			var invalid *domain.Invalid
			if errors.As(err, &invalid) {
				t.Errorf("call %d, %s: a fault is a refusal: %v", n, how, err)
			}
			w.probe.failAt = 0
			out := w.exchangedAs(t, forActor(g.TokenString, agent.AccessToken))
			if out.Outcome != domain.Rotated && out.Outcome != domain.Retried || w.record(t, g.RefreshToken.ID).Generation != 2 {
				t.Errorf("call %d, %s: then got %s", n, how, out.Outcome)
			}
		}
		if n > most {
			if n < 5 {
				t.Errorf("an exchange for an actor made %d calls", most)
			}
			return
		}
	}
}
