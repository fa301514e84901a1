package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/test/support/contract"
	"github.com/refreshd/refreshd/test/support/rig"
)

// headersOfAnswers are all headers that a response of the service may have. Any other one was injected by the request.
var headersOfAnswers = []string{
	"Access-Control-Allow-Credentials", "Access-Control-Allow-Headers", "Access-Control-Allow-Methods",
	"Access-Control-Allow-Origin",
	"Access-Control-Expose-Headers", "Access-Control-Max-Age",
	"Accept", "Accept-Encoding", "Accept-Patch", "Allow", "Cache-Control", "Connection", "Content-Length",
	"Content-Security-Policy", "Content-Type", "Date", "Dpop-Nonce",
	"Etag", "Link", "Location", "Pragma", "Referrer-Policy", "Refreshd-Outcome", "Retry-After", "Set-Cookie",
	"Transfer-Encoding",
	"Vary",
	"Www-Authenticate", "X-Content-Type-Options", "X-Request-Id", "X-Total-Count",
}

// judgement is the data for judging a response, and what was found to be wrong.
type judgement struct {
	world         *world
	call          *call
	mutated       string
	answer        answer
	before, after map[domain.ID]domain.Snapshot // what the store held
	scopes        int                           // how many wide revocations happened meanwhile

	changed []domain.ID // the refresh tokens that differ
	request *http.Request
	tenant  string // in the request
	wrong   []string
}

// judge returns what is wrong with a response, given the content of the store before and after.
func (g *grammar) judge(
	w *world, c *call, mutated string, a answer, before, after map[domain.ID]domain.Snapshot, scopes int,
) (wrong []string) {
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
	j.tenant = tenantOf(j.request)
	g.judgeContract(j)
	var body body
	isJSON := strings.HasPrefix(a.Header.Get("Content-Type"), jsonMedia) && c.method != http.MethodHead
	if isJSON && json.Unmarshal(a.content, &body) != nil {
		j.complain("%d: the body is not JSON", a.StatusCode)
	}
	if a.StatusCode/100 == 2 {
		j.success(body)
	} else {
		j.refusal(body)
	}
	return j.wrong
}

func (j *judgement) complain(format string, args ...any) {
	j.wrong = append(j.wrong, fmt.Sprintf(format, args...))
}

func (j *judgement) wrote() bool { return len(j.changed) > 0 || j.scopes > 0 }

// body is an answer's.
type body struct {
	Data   json.RawMessage
	Errors struct {
		FieldErrors   map[string][]problem
		GeneralErrors []problem
	}
}

// tenantOf returns the tenant that the request names in one of the spellings of that header.
func tenantOf(r *http.Request) string {
	for _, name := range []string{"X-Stencil-TenantId", "X-Stencil-Tenanid", "X-Tenant-Id"} {
		if tenant := strings.TrimSpace(r.Header.Get(name)); tenant != "" {
			return tenant
		}
	}
	return ""
}

// unanswered judges a response of net/http itself.
func (j *judgement) unanswered() {
	if j.wrote() {
		j.complain("net/http refused the request, and the store changed")
	}
	if !slices.Contains([]int{400, 417, 431, 501, 505}, j.answer.StatusCode) || j.mutated == "" {
		j.complain("%d, without a request id", j.answer.StatusCode)
	}
}

// judgeContract checks a response against the document. A refusal that was correct once is not checked again.
func (g *grammar) judgeContract(j *judgement) {
	a := j.answer
	if seen := seenAs(j.request, a); !g.faultless[seen] {
		g.faultless[seen] = a.StatusCode/100 == 4
		request, content := j.request, j.call.content()
		if j.world.document == oauth {
			request, content = asRead(request, content)
		}
		for _, breach := range contract.Breaches(g.doc, request, content, a.Response, a.content) {
			j.complain("%d: %v", a.StatusCode, breach)
			g.faultless[seen] = false
		}
	}
	for name := range a.Header {
		if !slices.Contains(headersOfAnswers, name) {
			j.complain("the answer has the header %s", name)
		}
	}
}

func (j *judgement) refusal(b body) {
	if j.mutated == "" {
		j.refusalOfTheDocumented(b)
	}
	if slices.ContainsFunc(b.Errors.FieldErrors["timeToLiveInSeconds"], isMalformed) && j.call.hidesReplay(j.before) {
		j.complain("an old token string is refused for the lifetime that it asks for")
	}
	if !j.wrote() {
		return
	}
	// A replay revokes: it is the only refusal that writes.
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

// refusalOfTheDocumented judges the refusal of a request that was generated from the document and not mutated.
func (j *judgement) refusalOfTheDocumented(b body) {
	for field, problems := range b.Errors.FieldErrors {
		for _, p := range problems {
			for _, word := range []string{"[unknown]", "[repeated]", "[tooLong]", "[blank]", "[conflict]"} {
				if strings.HasPrefix(p.Code, word) && !askable[p.Code] {
					j.complain("a request that the document allows is refused: %s%s", p.Code, field)
				}
			}
		}
	}
	if status := j.answer.StatusCode; len(b.Errors.GeneralErrors) > 0 || slices.Contains([]int{405, 413, 415}, status) {
		j.complain("a request that the document allows is refused: %d %s", status, j.answer.content)
	}
}

// done returns what a success reports.
type done struct {
	grant
	TokenID, UserID, ApplicationsID, ExceptTokenID string
	TokenIDs                                       []string
	AllInTenant                                    bool
	RevokedBefore                                  int64
}

func (j *judgement) success(b body) {
	var d done
	_ = json.Unmarshal(b.Data, &d) // a list is not an object, and has none of these
	shown := shownIn(b.Data)
	for _, one := range shown {
		if one.TenantID != j.tenant {
			j.complain("a refresh token of tenant %q is shown to %q", one.TenantID, j.tenant)
		}
	}
	switch {
	case d.Token != "" && j.answer.Header.Get("Refreshd-Outcome") != "":
		j.exchange(d)
	case d.Token != "":
		j.issue(d)
	case d.TokenID != "":
		j.revocation(d)
	case d.RevokedBefore != 0:
		j.wideRevocation(d, b.Data)
	case j.request.Method == http.MethodPatch:
		for _, id := range j.changed {
			j.call.judgePatch(j.before[id], j.after[id], j.tenant, j.complain)
		}
		j.mustBeProved(proof{})
	case j.wrote():
		j.complain("%d: what only reads has changed refresh tokens %s", j.answer.StatusCode, j.changed)
	case len(shown) > 0:
		j.mustBeProved(proof{
			// For an owner they are the user's, and active.
			owner: func(s *session) bool {
				return !slices.ContainsFunc(shown, func(one record) bool {
					return one.UserID != s.user || one.State != string(domain.ActiveSessions)
				})
			},
			wide: bytes.HasPrefix(b.Data, []byte("[")) && !j.call.named("user"),
		})
	}
}

// exchange judges an exchange, which needs no other credential than the token string.
func (j *judgement) exchange(d done) {
	id := idOf(d.RefreshTokenID)
	for _, id := range append(j.changed, id) {
		if !slices.Contains(j.call.presented(), id) || id.String() != d.RefreshTokenID {
			j.complain("the exchange is about %s, and was not asked to be", id)
		}
	}
	after := j.after[id].Token
	if j.tenant != "" && after.TenantID != j.tenant {
		j.complain("the exchange is of another tenant than %q", j.tenant)
	}
	d.judge(j.world, j.answer, after, j.complain)
	outcome := domain.Outcome(j.answer.Header.Get("Refreshd-Outcome"))
	judgeOutcome(outcome, j.before[id].Token, after, j.wrote(), j.complain)
}

func (j *judgement) issue(d done) {
	issued := j.after[idOf(d.RefreshTokenID)].Token
	if issued.TenantID != j.tenant || !j.call.has(issued.UserID) || !j.call.has(issued.ApplicationID) {
		j.complain("issued for %s, %s, %s, which was not asked for", issued.TenantID, issued.ApplicationID, issued.UserID)
	}
	d.judge(j.world, j.answer, issued, j.complain)
	if _, known := j.before[issued.ID]; !known {
		j.call.judgeImport(j.world, issued, j.complain)
	}
	for _, id := range j.changed {
		t := j.after[id].Token
		if t.TenantID != issued.TenantID || t.ApplicationID != issued.ApplicationID || t.UserID != issued.UserID {
			j.complain("the issue changed refresh token %s", id)
		}
	}
	j.mustBeProved(proof{})
}

// revocation judges a revocation of refresh tokens by their ids. A logout by several cookies may revoke several.
func (j *judgement) revocation(d done) {
	revoked := append(d.TokenIDs, d.TokenID)
	for _, id := range j.changed {
		if !slices.Contains(revoked, id.String()) {
			j.complain("revoked %s, and refresh token %s changed", revoked, id)
		}
	}
	for _, id := range revoked {
		if j.scopes > 0 || !j.call.has(id) && !slices.Contains(j.call.presented(), idOf(id)) {
			j.complain("revoked more or another than asked for")
		}
		if len(d.TokenIDs) > 0 && !j.world.loggedOut(j.request, j.tenant, id) {
			j.complain("revoked several, and the request is not a logout of %s", id)
		}
	}
	j.mustBeProved(proof{
		owner:   func(s *session) bool { return s.id.String() == d.TokenID },
		revoked: d.TokenID,
	})
}

func (j *judgement) wideRevocation(d done, data json.RawMessage) {
	for _, id := range j.changed {
		t := j.after[id].Token
		spared := d.ExceptTokenID == id.String() && j.before[id].Alive(j.world.now) != j.after[id].Alive(j.world.now)
		if t.TenantID != j.tenant || spared || d.UserID != "" && d.UserID != t.UserID ||
			d.ApplicationsID != "" && d.ApplicationsID != t.ApplicationID {
			j.complain("revoked %s, and refresh token %s changed", data, id)
		}
	}
	for name, value := range map[string]string{
		"user": d.UserID, "application": d.ApplicationsID, "except": d.ExceptTokenID,
	} {
		asked := j.call.named(name)
		if asked != (value != "") || value != "" && !j.call.has(value) {
			j.complain("the selector was widened or narrowed to %s", data)
		}
	}
	if d.AllInTenant != j.call.named("all") {
		j.complain("the selector was widened to the tenant")
	}
	j.mustBeProved(proof{owner: func(s *session) bool {
		return d.UserID == s.user && d.ApplicationsID == "" && (d.ExceptTokenID == "" || d.ExceptTokenID == s.id.String())
	}})
}

// askable are error codes that a request within the document may get: the token string may be missing because a cookie
// can have it, and an application without cookies cannot set them.
var askable = map[string]bool{"[blank]refreshToken": true, "[blank]cookieDomain": true}

type problem struct{ Code string }

func isMalformed(p problem) bool { return strings.HasPrefix(p.Code, "[invalid]") }

// A grant is the data of a response to an issue or an exchange.
type grant struct {
	RefreshTokenID, Token            string
	ExpiresIn, RefreshTokenExpiresIn int64
}

// judge reports seconds left that differ from those of the tokens, in the body or in a cookie, and an access token that
// expires after its session.
func (g grant) judge(w *world, a answer, t domain.RefreshToken, complain func(string, ...any)) {
	left := func(until time.Time) int64 { return int64((until.Sub(w.now) + time.Second - 1) / time.Second) }
	var claims struct{ Exp int64 }
	_ = rig.ReadClaims(g.Token, &claims) // a malformed access token has no expiry, which is judged below
	expires := time.Unix(claims.Exp, 0)
	if g.ExpiresIn < 1 || g.ExpiresIn != left(expires) || g.RefreshTokenExpiresIn != left(t.ExpiresAt) ||
		expires.After(t.ExpiresAt) {
		complain("%d and %d seconds left of an access token that expires at %s and a session that ends at %s, at %s",
			g.ExpiresIn, g.RefreshTokenExpiresIn, expires.UTC(), t.ExpiresAt, w.now)
	}
	for _, cookie := range a.Cookies() {
		if cookie.MaxAge < 0 { // it deletes another form of the cookie
			continue
		}
		want := map[string]int64{"refresh_token": g.RefreshTokenExpiresIn, "access_token": g.ExpiresIn}[cookie.Name]
		if int64(cookie.MaxAge) != want {
			complain("a cookie lasts %d seconds, and its token %d: %s", cookie.MaxAge, want, cookie.Raw)
		}
	}
}

// judgeOutcome reports an outcome that differs from what happened to the refresh token.
func judgeOutcome(o domain.Outcome, before, after domain.RefreshToken, wrote bool, complain func(string, ...any)) {
	steps := map[domain.Outcome]uint32{domain.Rotated: 1, domain.Retried: 0, domain.Recovered: 0, domain.Unchanged: 0}
	want, ok := steps[o]
	if !ok || after.Generation-before.Generation != want || wrote && o == domain.Retried || !wrote && o == domain.Rotated {
		complain("%s, from generation %d to %d; it wrote: %t", o, before.Generation, after.Generation, wrote)
	}
}

// judgeImport reports a new refresh token that differs from the request.
func (c *call) judgeImport(w *world, t domain.RefreshToken, complain func(string, ...any)) {
	said := c.said()
	insert, expires, address := said.Get("insertInstant"), said.Get("expirationInstant"), said.Get("clientAddress")
	if insert != "" && insert != fmt.Sprint(t.IssuedAt.UnixMilli()) || insert == "" && !t.IssuedAt.Equal(w.now) {
		complain("issued at %s, and the call says %q", t.IssuedAt, insert)
	}
	if expires != "" && expires[:max(0, len(expires)-3)] != fmt.Sprint(t.ExpiresAt.Unix()) || !t.ExpiresAt.After(w.now) {
		complain("it expires at %s, and the call says %q", t.ExpiresAt, expires)
	}
	asked, _ := netip.ParseAddr(address)
	stored, err := netip.ParseAddr(t.MetaData.ClientAddress)
	if (err == nil) != (address != "") || stored != asked.Unmap().WithZone("") {
		complain("the client address is %q, and the call says %q", t.MetaData.ClientAddress, address)
	}
}

// judgePatch reports a session that changed without being selected, or in something that a PATCH does not change.
func (c *call) judgePatch(before, after domain.Snapshot, tenant string, complain func(string, ...any)) {
	t, said := after.Token, c.said()
	application := said.Get("applicationsId") + said.Get("applicationId")
	ofUser := c.has(t.UserID) && (application == "" || application == t.ApplicationID)
	if t.TenantID != tenant || !c.has(t.ID.String()) && !ofUser {
		complain("the patch changed refresh token %s", t.ID)
	}
	t.Roles, t.Scopes, t.Claims = before.Token.Roles, before.Token.Scopes, before.Token.Claims
	t.MetaData.Device, t.MetaData.Data = before.Token.MetaData.Device, before.Token.MetaData.Data
	if after.Token = t; !reflect.DeepEqual(before, after) {
		complain("the patch changed refresh token %s in something else than it can", t.ID)
	}
}

// hidesReplay reports whether the call has a single token string, of an old generation, and requests a lifetime that a
// policy may allow.
func (c *call) hidesReplay(before map[domain.ID]domain.Snapshot) bool {
	seconds, err := strconv.Atoi(c.said().Get("timeToLiveInSeconds"))
	presented := c.presentedTokens()
	return err == nil && seconds >= 1 && seconds <= 86_400 && len(presented) == 1 &&
		presented[0].Generation+1 < before[presented[0].ID].Token.Generation
}

// seenAs returns all parts of a refusal that the document describes.
func seenAs(r *http.Request, a answer) string {
	header := a.Header.Clone()
	header.Set("X-Request-Id", strings.Trim(header.Get("X-Request-Id"), "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"))
	header.Del("Date")
	path := r.URL.EscapedPath()
	if strings.HasPrefix(path, "/jwt/refresh/") && strings.Count(path, "/") == 3 {
		path = "/jwt/refresh/id"
	}
	return fmt.Sprint(r.Method, path, a.StatusCode, header, string(a.content))
}

// A proof is the credential that a successful request must have: a valid API key or, where owner is set, the access
// token of an active session for which owner returns true.
type proof struct {
	owner   func(*session) bool
	wide    bool   // whether it is a list without a user, for which "*" is not enough
	revoked string // the id of the one refresh token that was revoked, for which its cookie is a credential too
}

// credentialIn returns the credential in the Authorization of a request.
func credentialIn(r *http.Request) string {
	sent := r.Header.Get("Authorization")
	scheme, rest, _ := strings.Cut(sent, " ")
	switch user, password, basic := r.BasicAuth(); {
	case basic && password == "":
		sent = user
	case strings.EqualFold(scheme, "Bearer"), strings.EqualFold(scheme, "Basic"):
		sent = rest
	}
	return strings.TrimSpace(sent)
}

func (j *judgement) mustBeProved(p proof) {
	switch sent := credentialIn(j.request); {
	case sent == j.world.keys[j.tenant], sent == j.world.keys["everywhere"] && !p.wide:
		return
	}
	sent := credentialIn(j.request)
	if sent == "" && p.revoked != "" && j.world.loggedOut(j.request, j.tenant, p.revoked) {
		return
	}
	for _, s := range j.world.sessions {
		if p.owner != nil && s.access == sent && s.tenant == j.tenant && j.before[s.id].Alive(j.world.now) && p.owner(s) {
			return
		}
	}
	j.complain("served without a credential that covers it")
}

// loggedOut reports whether the request is a logout of that session by its cookie, from a page that may log out.
func (w *world) loggedOut(r *http.Request, tenant, tokenID string) bool {
	site, origin := r.Header.Get("Sec-Fetch-Site"), r.Header.Get("Origin")
	foreign := site != "" && site != "same-origin" && site != "none" ||
		site == "" && origin != "" && origin != "https://"+r.Host
	if r.Method != http.MethodDelete || foreign && origin != ourOrigin {
		return false
	}
	return slices.ContainsFunc(w.sessions, func(s *session) bool {
		return s.id.String() == tokenID && s.tenant == tenant && slices.ContainsFunc(s.strings, func(known string) bool {
			return slices.ContainsFunc(r.Cookies(), func(c *http.Cookie) bool { return c.Value == known })
		})
	})
}

func differing(before, after map[domain.ID]domain.Snapshot) (ids []domain.ID) {
	for id, s := range after {
		if was, known := before[id]; !known || !reflect.DeepEqual(was, s) {
			ids = append(ids, id)
		}
	}
	return ids
}

// presented returns the refresh tokens whose strings occur anywhere in the call.
func (c *call) presented() (ids []domain.ID) {
	for _, t := range c.presentedTokens() {
		ids = append(ids, t.ID)
	}
	return ids
}

func (c *call) presentedTokens() (tokens []domain.PresentedToken) {
	for _, part := range strings.FieldsFunc(string(c.wire()), func(r rune) bool {
		return r != '_' && r != '-' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	}) {
		if t, ok := domain.ParseTokenString(part); ok {
			tokens = append(tokens, t)
		}
	}
	return tokens
}

// has reports whether the call has this value, in any place.
func (c *call) has(value string) bool {
	for _, values := range c.said() {
		if slices.ContainsFunc(values, func(v string) bool { return strings.EqualFold(v, value) }) {
			return true
		}
	}
	path, _ := url.PathUnescape(c.path)
	return strings.Contains(strings.ToLower(path), strings.ToLower(value))
}

// named reports whether the call has a name with this prefix.
func (c *call) named(prefix string) bool {
	for name := range c.said() {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// said returns the fields of the query and the body, decoded as leniently as libraries do.
func (c *call) said() url.Values {
	_, query, _ := strings.Cut(c.target(), "?")
	said, _ := url.ParseQuery(query)
	var object map[string]any
	d := json.NewDecoder(bytes.NewReader(c.content()))
	d.UseNumber()
	if d.Decode(&object) == nil {
		for name, value := range object {
			said.Add(name, fmt.Sprint(value))
		}
		return said
	}
	form, _ := url.ParseQuery(string(c.content()))
	for name, values := range form {
		said[name] = append(said[name], values...)
	}
	return said
}

func idOf(s string) domain.ID {
	id, _ := domain.ParseID(s)
	return id
}

// tenantsIn returns the tenants in the data of a response.
func shownIn(data json.RawMessage) (found []record) {
	var one record
	if json.Unmarshal(data, &one) == nil && one.TenantID != "" {
		return []record{one}
	}
	_ = json.Unmarshal(data, &found) // data other than a list has none
	return found
}

// A record is a refresh token in a response.
type record struct{ TenantID, UserID, State string }

// judgeLog checks that the log has one line for each request that got a response, each an object with the same
// beginning, and none an error.
func (w *world) judgeLog() (wrong []string) {
	w.log.mu.Lock()
	defer w.log.mu.Unlock()
	lines := 0
	for line := range strings.Lines(w.log.text.String()) {
		lines++
		var record struct{ Level, Msg, ID, Client string }
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			wrong = append(wrong, fmt.Sprintf("a line of the log is not JSON: %v: %q", err, line))
		}
		if record.Msg != "request" || record.ID == "" || record.Level == "ERROR" ||
			strings.Trim(record.Client, "0123456789abcdef.:") != "" {
			wrong = append(wrong, fmt.Sprintf("a line of the log that no good request makes: %q", line))
		}
		for _, secret := range w.secrets() {
			if strings.Contains(line, secret) {
				wrong = append(wrong, fmt.Sprintf("a secret in the log: %q", line))
			}
		}
	}
	if lines != w.answered {
		wrong = append(wrong, fmt.Sprintf("%d requests were answered, and %d lines are in the log", w.answered, lines))
	}
	return wrong
}

func (w *world) secrets() (all []string) {
	for _, key := range w.keys {
		all = append(all, key)
	}
	all = append(all, w.shown...)
	for _, s := range w.sessions {
		all = append(all, s.strings...)
		all = append(all, s.access)
	}
	return all
}
