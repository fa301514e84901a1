package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
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
)

// headersOfAnswers are all that an answer of the service may have. Another one was put there by the request.
var headersOfAnswers = []string{
	"Access-Control-Allow-Credentials", "Access-Control-Allow-Headers", "Access-Control-Allow-Methods", "Access-Control-Allow-Origin",
	"Access-Control-Expose-Headers", "Access-Control-Max-Age",
	"Accept", "Accept-Encoding", "Accept-Patch", "Allow", "Cache-Control", "Connection", "Content-Length",
	"Content-Security-Policy", "Content-Type", "Date",
	"Etag", "Link", "Pragma", "Referrer-Policy", "Refreshd-Outcome", "Retry-After", "Set-Cookie", "Transfer-Encoding", "Vary",
	"Www-Authenticate", "X-Content-Type-Options", "X-Request-Id", "X-Total-Count",
}

// judge says what is wrong with an answer, given what the store held before and after.
func (g *grammar) judge(w *world, c *call, mutated string, a answer, before, after map[domain.ID]domain.Snapshot, scopes int) (wrong []string) {
	complain := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	changed := differing(before, after)
	wrote := len(changed) > 0 || scopes > 0
	request, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(c.wire())))
	if a.Header.Get("X-Request-Id") == "" { // net/http has answered by itself
		if wrote {
			complain("net/http refused the request, and the store changed")
		}
		if !slices.Contains([]int{400, 417, 431, 501, 505}, a.StatusCode) || mutated == "" {
			complain("%d, without a request id", a.StatusCode)
		}
		return wrong
	}
	w.answered++
	if a.StatusCode >= 500 {
		complain("%d: a fault of ours", a.StatusCode)
	}
	if err != nil {
		complain("the service answered what is no HTTP request: %v", err)
		return wrong
	}
	seen := seenAs(request, a)
	if !g.faultless[seen] {
		g.faultless[seen] = a.StatusCode/100 == 4
		for _, breach := range contract.Breaches(g.doc, request, c.content(), a.Response, a.content) {
			complain("%d: %v", a.StatusCode, breach)
			g.faultless[seen] = false
		}
	}
	for name := range a.Header {
		if !slices.Contains(headersOfAnswers, name) {
			complain("the answer has the header %s", name)
		}
	}

	var body struct {
		Data   json.RawMessage
		Errors struct {
			FieldErrors   map[string][]problem
			GeneralErrors []problem
		}
	}
	isJSON := strings.HasPrefix(a.Header.Get("Content-Type"), jsonMedia) && c.method != http.MethodHead
	if isJSON && json.Unmarshal(a.content, &body) != nil {
		complain("%d: the body is no JSON", a.StatusCode)
	}
	if a.StatusCode/100 != 2 {
		if mutated == "" {
			for field, problems := range body.Errors.FieldErrors {
				for _, p := range problems {
					for _, word := range []string{"[unknown]", "[repeated]", "[tooLong]", "[blank]", "[conflict]"} {
						if strings.HasPrefix(p.Code, word) && !askable[p.Code] {
							complain("a request that the document allows is refused: %s%s", p.Code, field)
						}
					}
				}
			}
			if len(body.Errors.GeneralErrors) > 0 || slices.Contains([]int{405, 413, 415}, a.StatusCode) {
				complain("a request that the document allows is refused: %d %s", a.StatusCode, a.content)
			}
		}
		if slices.ContainsFunc(body.Errors.FieldErrors["timeToLiveInSeconds"], isMalformed) && c.hidesReplay(before) {
			complain("an old token string is refused for the lifetime that it asks for")
		}
		if !wrote {
			return wrong
		}
		// A replay revokes: the one refusal that writes.
		presented := c.presented()
		for _, id := range changed {
			if a.Header.Get("Refreshd-Outcome") != string(domain.RefusedReplayed) || !slices.Contains(presented, id) ||
				after[id].Token.RevokedAt.IsZero() {
				complain("%d %q: a refused request changed refresh token %s", a.StatusCode, a.Header.Get("Refreshd-Outcome"), id)
			}
		}
		if scopes > 0 {
			complain("%d: a refused request revoked a scope", a.StatusCode)
		}
		return wrong
	}

	var data struct {
		grant
		TokenID, UserID, ApplicationsID, ExceptTokenID string
		TokenIDs                                       []string
		AllInTenant                                    bool
		RevokedBefore                                  int64
	}
	_ = json.Unmarshal(body.Data, &data) // a list is no object, and has none of these
	tenant := strings.TrimSpace(request.Header.Get("X-Stencil-TenantId"))
	for _, name := range []string{"X-Stencil-Tenanid", "X-Tenant-Id"} {
		if tenant == "" {
			tenant = strings.TrimSpace(request.Header.Get(name))
		}
	}
	shown := shownIn(body.Data)
	for _, one := range shown {
		if one.TenantID != tenant {
			complain("a refresh token of tenant %q is shown to %q", one.TenantID, tenant)
		}
	}
	proof := proof{request: request, tenant: tenant, before: before}
	switch {
	case data.Token != "" && a.Header.Get("Refreshd-Outcome") != "": // an exchange
		for _, id := range append(changed, idOf(data.RefreshTokenID)) {
			if !slices.Contains(c.presented(), id) || id.String() != data.RefreshTokenID {
				complain("the exchange is about %s, and was not asked to be", id)
			}
		}
		if tenant != "" && after[idOf(data.RefreshTokenID)].Token.TenantID != tenant {
			complain("the exchange is of another tenant than %q", tenant)
		}
		id := idOf(data.RefreshTokenID)
		data.judge(w, a, after[id].Token, complain)
		judgeOutcome(domain.Outcome(a.Header.Get("Refreshd-Outcome")), before[id].Token, after[id].Token, wrote, complain)
	case data.Token != "": // an issue
		issued := after[idOf(data.RefreshTokenID)].Token
		if issued.TenantID != tenant || !c.has(issued.UserID) || !c.has(issued.ApplicationID) {
			complain("issued for %s, %s, %s, which was not asked for", issued.TenantID, issued.ApplicationID, issued.UserID)
		}
		data.judge(w, a, issued, complain)
		if _, known := before[issued.ID]; !known {
			c.judgeImport(w, issued, complain)
		}
		for _, id := range changed {
			if t := after[id].Token; t.TenantID != issued.TenantID || t.ApplicationID != issued.ApplicationID || t.UserID != issued.UserID {
				complain("the issue changed refresh token %s", id)
			}
		}
		w.mustBeProved(proof, complain)
	case data.TokenID != "":
		revoked := append(data.TokenIDs, data.TokenID) // of several by a logout, which names one of them twice
		for _, id := range changed {
			if !slices.Contains(revoked, id.String()) {
				complain("revoked %s, and refresh token %s changed", revoked, id)
			}
		}
		for _, id := range revoked {
			if scopes > 0 || !c.has(id) && !slices.Contains(c.presented(), idOf(id)) {
				complain("revoked more or another than asked for")
			}
			if len(data.TokenIDs) > 0 && !w.loggedOut(request, tenant, id) {
				complain("revoked several, and the request is no logout of %s", id)
			}
		}
		proof.owner = func(s *session) bool { return s.id.String() == data.TokenID }
		proof.revoked = data.TokenID
		w.mustBeProved(proof, complain)
	case data.RevokedBefore != 0:
		for _, id := range changed {
			t := after[id].Token
			spared := data.ExceptTokenID == id.String() && before[id].Alive(w.now) != after[id].Alive(w.now)
			if t.TenantID != tenant || spared || data.UserID != "" && data.UserID != t.UserID || data.ApplicationsID != "" && data.ApplicationsID != t.ApplicationID {
				complain("revoked %s, and refresh token %s changed", body.Data, id)
			}
		}
		for name, value := range map[string]string{"user": data.UserID, "application": data.ApplicationsID, "except": data.ExceptTokenID} {
			asked := c.named(name)
			if asked != (value != "") || value != "" && !c.has(value) {
				complain("the selector was widened or narrowed to %s", body.Data)
			}
		}
		if data.AllInTenant != c.named("all") {
			complain("the selector was widened to the tenant")
		}
		proof.owner = func(s *session) bool {
			return data.UserID == s.user && data.ApplicationsID == "" && (data.ExceptTokenID == "" || data.ExceptTokenID == s.id.String())
		}
		w.mustBeProved(proof, complain)
	case request.Method == http.MethodPatch:
		for _, id := range changed {
			c.judgePatch(before[id], after[id], tenant, complain)
		}
		w.mustBeProved(proof, complain)
	case wrote:
		complain("%d: what only reads has changed refresh tokens %s", a.StatusCode, changed)
	case len(shown) > 0:
		// Of an owner they are its user's, and active.
		proof.owner = func(s *session) bool {
			return !slices.ContainsFunc(shown, func(one record) bool {
				return one.UserID != s.user || one.State != string(domain.ActiveSessions)
			})
		}
		proof.wide = bytes.HasPrefix(body.Data, []byte("[")) && !c.named("user")
		w.mustBeProved(proof, complain)
	}
	return wrong
}

// askable are codes of requests that the document allows: what a cookie could have brought, and what an application
// that sets no cookies cannot do.
var askable = map[string]bool{"[blank]refreshToken": true, "[blank]cookieDomain": true}

type problem struct{ Code string }

func isMalformed(p problem) bool { return strings.HasPrefix(p.Code, "[invalid]") }

// A grant is what an issue and an exchange answer with.
type grant struct {
	RefreshTokenID, Token            string
	ExpiresIn, RefreshTokenExpiresIn int64
}

// judge complains of seconds left that are not those of the tokens, in the body or in a cookie, and of an access token
// that outlives its session.
func (g grant) judge(w *world, a answer, t domain.RefreshToken, complain func(string, ...any)) {
	left := func(until time.Time) int64 { return int64((until.Sub(w.now) + time.Second - 1) / time.Second) }
	var claims struct{ Exp int64 }
	if parts := strings.Split(g.Token, "."); len(parts) == 3 {
		text, _ := base64.RawURLEncoding.DecodeString(parts[1])
		_ = json.Unmarshal(text, &claims)
	}
	expires := time.Unix(claims.Exp, 0)
	if g.ExpiresIn < 1 || g.ExpiresIn != left(expires) || g.RefreshTokenExpiresIn != left(t.ExpiresAt) ||
		expires.After(t.ExpiresAt) {
		complain("%d and %d seconds left of an access token that expires at %s and a session that ends at %s, at %s",
			g.ExpiresIn, g.RefreshTokenExpiresIn, expires.UTC(), t.ExpiresAt, w.now)
	}
	for _, cookie := range a.Cookies() {
		if cookie.MaxAge < 0 { // another form of it is deleted
			continue
		}
		want := map[string]int64{"refresh_token": g.RefreshTokenExpiresIn, "access_token": g.ExpiresIn}[cookie.Name]
		if int64(cookie.MaxAge) != want {
			complain("a cookie lasts %d seconds, and its token %d: %s", cookie.MaxAge, want, cookie.Raw)
		}
	}
}

// judgeOutcome complains where the word for an exchange is not what happened to the refresh token.
func judgeOutcome(o domain.Outcome, before, after domain.RefreshToken, wrote bool, complain func(string, ...any)) {
	steps := map[domain.Outcome]uint32{domain.Rotated: 1, domain.Retried: 0, domain.Recovered: 0, domain.Unchanged: 0}
	want, ok := steps[o]
	if !ok || after.Generation-before.Generation != want || wrote && o == domain.Retried || !wrote && o == domain.Rotated {
		complain("%s, from generation %d to %d; it wrote: %t", o, before.Generation, after.Generation, wrote)
	}
}

// judgeImport complains where a new refresh token is not as the call says.
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

// judgePatch complains where a session changed that the call does not select, or in anything else than a PATCH changes.
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

// hidesReplay reports whether the call has a single token string, of a generation long past, and asks for a lifetime
// that a policy may allow.
func (c *call) hidesReplay(before map[domain.ID]domain.Snapshot) bool {
	seconds, err := strconv.Atoi(c.said().Get("timeToLiveInSeconds"))
	presented := c.presentedTokens()
	return err == nil && seconds >= 1 && seconds <= 86_400 && len(presented) == 1 &&
		presented[0].Generation+1 < before[presented[0].ID].Token.Generation
}

// seenAs is all of a refusal that the document could have a say in.
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

// A proof is what must stand behind a request that was served: a good API key or, where owner is set, the access token
// of an active session that owner reports true for.
type proof struct {
	request *http.Request
	tenant  string
	before  map[domain.ID]domain.Snapshot
	owner   func(*session) bool
	wide    bool   // it is a list without a user, for which "*" is not enough
	revoked string // the id of the one refresh token that was revoked, which its cookie proves too
}

func (w *world) mustBeProved(p proof, complain func(string, ...any)) {
	sent := p.request.Header.Get("Authorization")
	scheme, rest, _ := strings.Cut(sent, " ")
	switch user, password, basic := p.request.BasicAuth(); {
	case basic && password == "":
		sent = user
	case strings.EqualFold(scheme, "Bearer"), strings.EqualFold(scheme, "Basic"):
		sent = rest
	}
	switch sent = strings.TrimSpace(sent); {
	case sent == w.keys[p.tenant], sent == w.keys["everywhere"] && !p.wide:
		return
	}
	if sent == "" && p.revoked != "" && w.loggedOut(p.request, p.tenant, p.revoked) {
		return
	}
	for _, s := range w.sessions {
		if p.owner != nil && s.access == sent && s.tenant == p.tenant && p.before[s.id].Alive(w.now) && p.owner(s) {
			return
		}
	}
	complain("served without a proof that covers it")
}

// loggedOut reports whether the request is a logout of that session by its cookie, from a page that may send one.
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

// presented are the refresh tokens whose strings the call brings anywhere.
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

// has tells whether the call says this value, in any of its places.
func (c *call) has(value string) bool {
	for _, values := range c.said() {
		if slices.ContainsFunc(values, func(v string) bool { return strings.EqualFold(v, value) }) {
			return true
		}
	}
	path, _ := url.PathUnescape(c.path)
	return strings.Contains(strings.ToLower(path), strings.ToLower(value))
}

// named tells whether the call has a name that begins so.
func (c *call) named(prefix string) bool {
	for name := range c.said() {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// said is what the query and the body say, read as leniently as libraries do.
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

// tenantsIn are the tenants that stand in an answer's data.
func shownIn(data json.RawMessage) (found []record) {
	var one record
	if json.Unmarshal(data, &one) == nil && one.TenantID != "" {
		return []record{one}
	}
	_ = json.Unmarshal(data, &found) // what is no list shows none
	return found
}

// A record is what an answer shows of a refresh token.
type record struct{ TenantID, UserID, State string }

// judgeLog holds the log to one line for each request that was answered, each an object with the same beginning and none an error.
func (w *world) judgeLog() (wrong []string) {
	w.log.mu.Lock()
	defer w.log.mu.Unlock()
	lines := 0
	for line := range strings.Lines(w.log.text.String()) {
		lines++
		var record struct{ Level, Msg, ID, Client string }
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			wrong = append(wrong, fmt.Sprintf("a line of the log is no JSON: %v: %q", err, line))
		}
		if record.Msg != "request" || record.ID == "" || record.Level == "ERROR" || strings.Trim(record.Client, "0123456789abcdef.:") != "" {
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
	for _, s := range w.sessions {
		all = append(all, s.strings...)
		all = append(all, s.access)
	}
	return all
}
