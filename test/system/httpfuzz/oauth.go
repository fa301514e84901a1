package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/refreshd/refreshd/adapter/oauthapi"
	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/test/support/rig"
	"github.com/refreshd/refreshd/usecase"
	"github.com/refreshd/refreshd/usecase/admin"
)

// oauth is the document of worlds whose requests are those of clients of OAuth 2. Their sessions are issued between the
// requests.
const oauth = "oauth"

const (
	partner  = "partner" // the application that has a secret and audiences
	rootOf   = "acme"    // the root tenant
	exchange = "urn:ietf:params:oauth:grant-type:token-exchange"
	typeOf   = "urn:ietf:params:oauth:token-type:"
)

var audiences = []string{"https://api.example", "orders"}

func (w *world) oauth(keys *usecase.Keys, minter usecase.Minter) (web.Dialect, error) {
	w.issue = &usecase.Issue{
		Tokens: w.store, Revocations: w.store, Applications: w.store, Minter: minter, Clock: w.clock, Random: w.random,
	}
	api := &oauthapi.API{
		Exchange: &usecase.Exchange{Tokens: w.store, Applications: w.store, Minter: minter, Clock: w.clock},
		Revoke: &usecase.RevokeHeld{
			Revocations: w.store, Tokens: w.store, Applications: w.store, Keys: keys, Clock: w.clock,
		},
		Introspect:   &usecase.Introspect{Tokens: w.store, Keys: keys, Clock: w.clock, PublicURL: minter.PublicURL},
		Authenticate: &usecase.AuthenticateClient{Applications: w.store, Keys: keys},
		Publish: &usecase.Publish{
			Tenants: w.store, Keys: keys, Clock: w.clock, RootTenant: rootOf, PublicURL: minter.PublicURL,
		},
		RootTenant: rootOf, URL: minter.PublicURL,
	}
	return api.Dialect()
}

// addPartner adds the application partner to each tenant, with a secret of its own.
func (w *world) addPartner(k *admin.Kickstart, keys *usecase.Keys) {
	for i, t := range k.Tenants {
		secret := fmt.Sprintf("secret%032x", w.rng.Uint64())
		w.keys[secretOf(t.Tenant.ID)] = secret
		hash, number := keys.HashClientSecret(t.Tenant.ID, partner, domain.NewSecret(secret))
		k.Tenants[i].Applications = append(k.Tenants[i].Applications, domain.Application{
			ID: partner, Name: "Partner", Client: domain.Client{
				Audiences: audiences, Secrets: []domain.ClientSecret{{Hash: hash, HashKey: number, CreatedAt: w.now}},
			},
		})
	}
}

func secretOf(tenant string) string { return tenant + " secret" }

// login issues a session. Its access token may later name its user as an actor.
func (w *world) login(ctx context.Context) error {
	s := &session{
		tenant: pick(w.rng, tenants), application: pick(w.rng, []string{"shop", "blog", "kiosk", partner, partner}),
		user: pick(w.rng, users),
	}
	g, err := w.issue.Do(ctx, usecase.IssueInput{
		TenantID: s.tenant, ApplicationID: s.application, UserID: s.user, Scopes: []string{"orders:read", "orders:write"},
	})
	if err != nil {
		return err
	}
	s.id, s.strings, s.access = g.RefreshToken.ID, []string{g.TokenString.Reveal()}, g.AccessToken.Reveal()
	w.sessions = append(w.sessions, s)
	w.previous, err = w.snapshot(ctx)
	return err
}

// oauthWeights is how often an operation is chosen, compared with the others.
var oauthWeights = map[string]int{"exchangeToken": 24, "rootExchangeToken": 6, "introspectToken": 4, "revokeToken": 2}

// validOfOAuth makes a request that the document allows and that has an effect in this world.
func (g *grammar) validOfOAuth(ctx context.Context, w *world) (*call, error) {
	for len(w.sessions) < fewSessions || w.rng.IntN(5) == 0 {
		if err := w.login(ctx); err != nil {
			return nil, err
		}
	}
	total := 0
	for _, o := range g.operations {
		total += max(1, oauthWeights[o.id])
	}
	var op operation
	at := w.rng.IntN(total)
	for _, op = range g.operations {
		if at -= max(1, oauthWeights[op.id]); at < 0 {
			break
		}
	}
	c := &call{operation: op.id, method: op.method, tenant: rootOf}
	root := strings.HasPrefix(op.path, "/oauth2/")
	c.session = w.alive(func(s *session) bool { return !root || s.tenant == rootOf })
	if c.session == nil {
		c.session = w.sessions[0]
	}
	if !root {
		c.tenant = c.session.tenant
	}
	c.path = strings.ReplaceAll(op.path, "{tenantId}", c.tenant)
	if op.RequestBody == nil {
		return c, nil
	}
	c.media = formMedia
	switch {
	case strings.HasSuffix(op.path, "/token"):
		c.body = w.tokenForm(c.session)
	default:
		c.body = []field{{"token", pick(w.rng, []string{c.session.current(), c.session.access})}}
		if w.rng.IntN(2) == 0 {
			c.body = append(c.body, field{"token_type_hint", pick(w.rng, texts)})
		}
	}
	if strings.HasSuffix(op.path, "/introspect") && c.session.application != partner {
		c.set("Authorization", "Bearer "+w.keys["everywhere"])
		return c, nil
	}
	w.addClient(c)
	return c, nil
}

// addClient names the client of the session, and authenticates it if it has to.
func (w *world) addClient(c *call) {
	id, secret := c.session.application, ""
	if id == partner {
		secret = w.keys[secretOf(c.session.tenant)]
	}
	switch basic := w.rng.IntN(2) == 0; {
	case basic:
		c.set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(id+":"+secret)))
	case secret != "":
		c.body = append(c.body, field{"client_id", id}, field{"client_secret", secret})
	default:
		c.body = append(c.body, field{"client_id", id})
	}
}

// tokenForm returns the parameters of a refresh or a token exchange.
func (w *world) tokenForm(s *session) []field {
	current := s.current()
	if n := len(s.strings); n > 1 && w.rng.IntN(6) == 0 {
		current = s.strings[n-2] // a retry, a recovery or a replay
	}
	body := []field{{"grant_type", "refresh_token"}, {"refresh_token", current}}
	if w.rng.IntN(3) > 0 {
		body = []field{{"grant_type", exchange}, {"subject_token", current}, {"subject_token_type", typeOf + "refresh_token"}}
		if w.rng.IntN(4) == 0 {
			body = append(body, field{"requested_token_type", typeOf + "access_token"})
		}
		actor := w.alive(func(a *session) bool { return a.tenant == s.tenant && a.application == s.application })
		if actor != nil && w.rng.IntN(2) == 0 {
			body = append(body, field{"actor_token", actor.access}, field{"actor_token_type", typeOf + "access_token"})
		}
	}
	if w.rng.IntN(3) == 0 {
		scopes := []string{"orders:read", "orders:read openid", "orders:write orders:read"}
		body = append(body, field{"scope", pick(w.rng, scopes)})
	}
	if w.rng.IntN(3) == 0 {
		audience := s.application
		if s.application == partner {
			audience = pick(w.rng, audiences)
		}
		body = append(body, field{pick(w.rng, []string{"resource", "audience"}), audience})
	}
	return body
}

// clientAnswer is a response of the dialect, of any kind.
type clientAnswer struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"issued_token_type"`
	RefreshToken string `json:"refresh_token"`
	ExpiresIn    int64  `json:"expires_in"`
	Scope        string
	Active       bool
	Error        string
	Code         string `json:"refreshd_code"`
}

// clientClaims are the claims of an access token that follow from session and request.
type clientClaims struct {
	Subject   string `json:"sub"`
	Audience  string `json:"aud"`
	ClientID  string `json:"client_id"`
	SessionID string `json:"sid"`
	TenantID  string `json:"tid"`
	Scope     string
	ExpiresAt int64 `json:"exp"`
	Actor     *struct {
		Subject  string          `json:"sub"`
		ClientID string          `json:"client_id"`
		Actor    json.RawMessage `json:"act"`
	} `json:"act"`
}

// judgeOAuth returns what is wrong with a response to a client of OAuth 2.
func (g *grammar) judgeOAuth(
	w *world, c *call, mutated string, a answer, before, after map[domain.ID]domain.Snapshot, scopes int,
) []string {
	j := &judgement{
		world: w, call: c, mutated: mutated, answer: a, before: before, after: after, scopes: scopes,
		changed: differing(before, after),
	}
	if a.Header.Get("X-Request-Id") == "" {
		j.unanswered()
		return j.wrong
	}
	w.answered++
	if a.StatusCode >= 500 {
		j.complain("%d: an internal error", a.StatusCode)
	}
	var err error
	if j.request, err = http.ReadRequest(bufio.NewReader(bytes.NewReader(c.wire()))); err != nil {
		j.complain("the service answered with what is not an HTTP request: %v", err)
		return j.wrong
	}
	g.judgeContract(j)
	var got clientAnswer
	if strings.HasPrefix(a.Header.Get("Content-Type"), jsonMedia) && c.method != http.MethodHead &&
		json.Unmarshal(a.content, &got) != nil {
		j.complain("%d: the body is not JSON", a.StatusCode)
	}
	switch path := j.request.URL.Path; {
	case a.StatusCode/100 != 2:
		j.refusalOfClient(got)
	case got.AccessToken != "":
		j.exchangeOfClient(got)
	case strings.HasSuffix(strings.TrimSuffix(path, "/"), "/revoke"):
		j.revocationOfClient()
	case j.wrote():
		j.complain("%d: what only reads has changed refresh tokens %s", a.StatusCode, j.changed)
	case got.Active && !slices.ContainsFunc(w.sessions, func(s *session) bool {
		return (c.has(s.access) || slices.ContainsFunc(s.strings, c.has)) && after[s.id].Alive(w.now)
	}):
		j.complain("a token is active, and no session of the request is")
	}
	return j.wrong
}

// asRead returns a request without the parts that the dialect ignores and the document's validator refuses: the query,
// and parameters that cannot be decoded, of which the known ones are refused.
func asRead(r *http.Request, content []byte) (*http.Request, []byte) {
	read := r.Clone(r.Context())
	read.URL.RawQuery = ""
	if !strings.HasPrefix(strings.ToLower(r.Header.Get("Content-Type")), formMedia) {
		return read, content
	}
	form, _ := url.ParseQuery(string(content))
	return read, []byte(form.Encode())
}

// refusalOfClient judges a refusal: only a replay writes.
func (j *judgement) refusalOfClient(got clientAnswer) {
	if j.mutated == "" {
		code, _, _ := strings.Cut(got.Code, "]")
		unexpected := []string{"[unknown", "[repeated", "[blank", "[tooLong", "[conflict", "[forbidden"}
		if slices.Contains(unexpected, code) || slices.Contains([]int{401, 404, 405, 413, 415}, j.answer.StatusCode) ||
			got.Error == "unsupported_grant_type" || got.Error == "invalid_scope" || got.Error == "invalid_target" {
			j.complain("a request that the document allows is refused: %d %s", j.answer.StatusCode, j.answer.content)
		}
	}
	outcome, presented := j.answer.Header.Get("Refreshd-Outcome"), j.call.presented()
	for _, id := range j.changed {
		if outcome != string(domain.RefusedReplayed) || !slices.Contains(presented, id) ||
			j.after[id].Token.RevokedAt.IsZero() {
			j.complain("%d %q: a refused request changed refresh token %s", j.answer.StatusCode, outcome, id)
		}
	}
	if j.scopes > 0 {
		j.complain("%d: a refused request revoked a scope", j.answer.StatusCode)
	}
}

// exchangeOfClient judges an exchange by either grant.
func (j *judgement) exchangeOfClient(got clientAnswer) {
	next, ok := domain.ParseTokenString(got.RefreshToken)
	for _, id := range append(j.changed, next.ID) {
		if !ok || id != next.ID || !slices.Contains(j.call.presented(), id) {
			j.complain("the exchange is about %s, and was not asked to be", id)
		}
	}
	t := j.after[next.ID].Token
	j.mustBeClient(t)
	var claims clientClaims
	if err := rig.ReadClaims(got.AccessToken, &claims); err != nil {
		j.complain("the access token cannot be read: %v", err)
	}
	if claims.Subject != t.UserID || claims.ClientID != t.ApplicationID || claims.TenantID != t.TenantID ||
		claims.SessionID != t.ID.String() {
		j.complain("the access token is of another session: %+v", claims)
	}
	for scope := range strings.FieldsSeq(claims.Scope) {
		if !slices.Contains(t.Scopes, scope) || claims.Scope != got.Scope {
			j.complain("the scopes are %q, and %q in the access token", got.Scope, claims.Scope)
		}
	}
	if left := claims.ExpiresAt - j.world.now.Unix(); got.ExpiresIn < 1 || got.ExpiresIn != left {
		j.complain("%d seconds left of an access token that has %d", got.ExpiresIn, left)
	}
	said := j.call.said()
	isExchange := said.Get("grant_type") == exchange
	asked := cmp.Or(said.Get("resource"), said.Get("audience"), t.ApplicationID)
	if t.ApplicationID != partner && !isExchange { // it has no audiences
		asked = t.ApplicationID
	}
	if claims.Audience != asked || asked != t.ApplicationID && !slices.Contains(audiences, asked) {
		j.complain("the audience is %q, and %q was asked for", claims.Audience, asked)
	}
	if isExchange != (got.TokenType == typeOf+"access_token") {
		j.complain("the type of the issued token is %q", got.TokenType)
	}
	j.actor(claims, said.Get("actor_token"), isExchange)
	judgeOutcome(domain.Outcome(j.answer.Header.Get("Refreshd-Outcome")), j.before[next.ID].Token, t, j.wrote(),
		j.complain)
}

// actor judges the actor of an access token: it is the user of the actor token, of an active session.
func (j *judgement) actor(got clientClaims, actorToken string, isExchange bool) {
	if got.Actor == nil || !isExchange || actorToken == "" {
		if got.Actor != nil || isExchange && actorToken != "" {
			j.complain("the actor is %+v", got.Actor)
		}
		return
	}
	var want clientClaims
	if err := rig.ReadClaims(actorToken, &want); err != nil {
		j.complain("the actor token cannot be read: %v", err)
	}
	if got.Actor.Subject != want.Subject || got.Actor.ClientID != want.ClientID || want.TenantID != got.TenantID ||
		want.ClientID != got.ClientID && want.Audience != got.ClientID || (want.Actor != nil) != (got.Actor.Actor != nil) {
		j.complain("the actor is %+v, and its token says %+v", got.Actor, want)
	}
	if !j.before[idOf(want.SessionID)].Alive(j.world.now) || want.ExpiresAt <= j.world.now.Unix() {
		j.complain("the session of the actor has ended, or its access token has expired")
	}
}

// mustBeClient complains unless the request is of the client of t, with its secret if it has one.
func (j *judgement) mustBeClient(t domain.RefreshToken) {
	id, secret, _ := j.request.BasicAuth()
	said := j.call.said()
	tenant := rootOf
	if path, below := strings.CutPrefix(j.request.URL.Path, "/t/"); below {
		tenant, _, _ = strings.Cut(path, "/")
	}
	if t.TenantID != tenant || id != t.ApplicationID && said.Get("client_id") != t.ApplicationID {
		j.complain("served another client than that of %s", t.ApplicationID)
	}
	want := j.world.keys[secretOf(t.TenantID)]
	if t.ApplicationID == partner && secret != want && said.Get("client_secret") != want {
		j.complain("served without the secret of the client")
	}
}

// revocationOfClient judges a revocation: of the session whose token was sent, by its client.
func (j *judgement) revocationOfClient() {
	for _, id := range j.changed {
		var claims clientClaims
		_ = rig.ReadClaims(j.call.said().Get("token"), &claims) // it may be a token string
		if !slices.Contains(j.call.presented(), id) && claims.SessionID != id.String() || claims.Actor != nil ||
			j.after[id].Token.RevokedAt.IsZero() {
			j.complain("the revocation changed %s, and was not asked to", id)
		}
		j.mustBeClient(j.after[id].Token)
	}
	if j.scopes > 0 {
		j.complain("the revocation revoked a scope")
	}
}

// learnOfClient updates the world by a response, as a client does.
func (w *world) learnOfClient(a answer) {
	var got clientAnswer
	if a.StatusCode != http.StatusOK || json.Unmarshal(a.content, &got) != nil || got.AccessToken == "" {
		return
	}
	next, _ := domain.ParseTokenString(got.RefreshToken)
	for _, s := range w.sessions {
		if s.id != next.ID {
			continue
		}
		w.shown = append(w.shown, s.access)
		s.access = got.AccessToken
		if !slices.Contains(s.strings, got.RefreshToken) {
			s.strings = append(s.strings, got.RefreshToken)
		}
	}
}
