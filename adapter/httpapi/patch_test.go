package httpapi_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/domain"
)

// patcher is an API key that may only change acme's sessions.
func patcher(s *service, r *request) {
	as("patcher")(s, r)
	tenant(aTenant)(s, r)
}

// content has the fields that a PATCH can change, as a GET returns them.
type content struct {
	Roles, Scopes []string
	Claims        map[string]any
	MetaData      struct {
		Device struct{ Name, Type, Description string }
		Data   map[string]any
	}
}

func (s *service) content(t *testing.T, id string) (c content) {
	t.Helper()
	s.do(t, "GET", "/jwt/refresh/"+id, backend).want(t, 200).data(t, &c)
	return c
}

// rolesOf returns the roles of an access token.
func rolesOf(t *testing.T, g grant) string {
	t.Helper()
	roles, err := json.Marshal(claimsOf(t, g.Token)["roles"])
	if err != nil {
		t.Fatal(err)
	}
	return string(roles)
}

// A null removes a member, a list replaces it, and an object is merged into it. Other members are unchanged.
func TestAPatchOfOneSession(t *testing.T) {
	s := newService(t)
	g := s.do(t, "POST", "/jwt/issue", backend, text(`{"applicationsId":"shop","userId":"ada","roles":["admin","editor"],
		"scopes":["read"],"claims":{"plan":"gold","limits":{"a":1,"b":2}},
		"metaData":{"device":{"name":"Phone","type":"MOBILE"},"data":{"x":1,"y":[1]}}}`)).want(t, 200).grant(t)
	for _, step := range []struct{ patch, want string }{
		{`{"roles":["viewer"]}`, `{"roles":["viewer"],"scopes":["read"],"claims":{"plan":"gold","limits":{"a":1,"b":2}},
			"metaData":{"device":{"name":"Phone","type":"MOBILE"},"data":{"x":1,"y":[1]}}}`},
		{`{"claims":{"limits":{"a":null,"c":3}},"metaData":{"device":{"name":"Tablet","type":null},"data":{"y":[2],"x":null}}}`,
			`{"roles":["viewer"],"scopes":["read"],"claims":{"plan":"gold","limits":{"b":2,"c":3}},
			"metaData":{"device":{"name":"Tablet"},"data":{"y":[2]}}}`},
		{`{"roles":null,"scopes":["read","write"],"claims":{},"metaData":{"data":null,"device":{}}}`,
			`{"roles":[],"scopes":["read","write"],"claims":{"plan":"gold","limits":{"b":2,"c":3}},
			"metaData":{"device":{"name":"Tablet"}}}`},
		{`{"roles":[],"scopes":null,"claims":null,"metaData":{"device":null}}`,
			`{"roles":[],"scopes":[],"claims":{},"metaData":{}}`},
	} {
		a := s.do(t, "PATCH", "/jwt/refresh/"+g.RefreshTokenID, patcher, raw("application/merge-patch+json", step.patch))
		var got, want content
		a.want(t, 200).data(t, &got)
		if err := json.Unmarshal([]byte(step.want), &want); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("response to %s (-want +got):\n%s", step.patch, diff)
		}
		if diff := cmp.Diff(want, s.content(t, g.RefreshTokenID)); diff != "" {
			t.Errorf("%s stored (-want +got):\n%s", step.patch, diff)
		}
	}
	s.next(t, g.RefreshToken, "rotated")
}

// The response is the session as a GET returns it, so that the client need not send one.
func TestAPatchAnswersTheSession(t *testing.T) {
	s := newService(t)
	g := s.issue(t, "shop", "ada")
	patched := s.do(t, "PATCH", "/jwt/refresh/"+g.RefreshTokenID, patcher, text(`{"roles":["a"]}`)).want(t, 200)
	retrieved := s.do(t, "GET", "/jwt/refresh/"+g.RefreshTokenID, backend).want(t, 200)
	if diff := cmp.Diff(string(retrieved.Data), string(patched.Data)); diff != "" {
		t.Errorf("(-retrieved +patched):\n%s", diff)
	}
}

func TestAPatchOfAUser(t *testing.T) {
	s := newService(t)
	shop, blog, bob := s.issue(t, "shop", "ada"), s.issue(t, "blog", "ada"), s.issue(t, "shop", "bob")
	ended, foreign := s.issue(t, "shop", "ada"), s.issueAt(t, globex, "shop", "ada")
	s.do(t, "DELETE", "/jwt/refresh/"+ended.RefreshTokenID, backend).want(t, 200)
	patch := func(query, body string, want int) {
		t.Helper()
		var got struct{ Changed int }
		s.do(t, "PATCH", "/jwt/refresh?"+query, patcher, text(body)).want(t, 200).data(t, &got)
		if got.Changed != want {
			t.Errorf("%s changed %d, want %d", query, got.Changed, want)
		}
	}
	patch("userId=ada", `{"roles":["editor"]}`, 2)
	patch("usersId=ada&applicationId=shop", `{"scopes":["read"]}`, 1)
	// A mistyped application is an error, and not a change of no session. The same holds for DELETE.
	for _, method := range []string{"PATCH", "DELETE"} {
		caller, body := patcher, text(`{"scopes":["write"]}`)
		if method == "DELETE" {
			caller, body = backend, text("")
		}
		s.do(t, method, "/jwt/refresh?userId=ada&applicationsId=nothing", caller, body).want(t, 404)
	}
	patch("userID=eve", `{"scopes":["write"]}`, 0)
	for name, want := range map[string]struct {
		grant
		roles, scope string
	}{
		"shop": {shop, `["editor"]`, "read"}, "blog": {blog, `["editor"]`, ""}, "bob": {bob, `null`, ""},
		"foreign": {foreign, `null`, ""},
	} {
		g := s.exchange(t, want.RefreshToken).want(t, 200).grant(t)
		if scope, _ := claimsOf(t, g.Token)["scope"].(string); rolesOf(t, g) != want.roles || scope != want.scope {
			t.Errorf("%s: roles %s and scope %q, want %s and %q", name, rolesOf(t, g), scope, want.roles, want.scope)
		}
	}
}

// The response to a retry has the token string of the lost response, and the present roles and claims.
func TestAPatchIsInARetry(t *testing.T) {
	s := newService(t)
	g := s.issue(t, "shop", "ada")
	first := s.exchange(t, g.RefreshToken).want(t, 200).grant(t)
	s.do(t, "PATCH", "/jwt/refresh?userId=ada", patcher, text(`{"roles":["viewer"]}`)).want(t, 200)
	s.wait(time.Second)
	a := s.exchange(t, g.RefreshToken).want(t, 200)
	again := a.grant(t)
	if a.outcome() != "retried" || again.RefreshToken != first.RefreshToken || rolesOf(t, again) != `["viewer"]` {
		t.Errorf("got %s, the same token string %t, roles %s; want retried, true, [\"viewer\"]", a.outcome(),
			again.RefreshToken == first.RefreshToken, rolesOf(t, again))
	}
}

// The response to an issue that is sent again after a PATCH would have the old roles.
func TestAnIssueAfterAPatchIsADuplicate(t *testing.T) {
	s := newService(t)
	request := body(object{"applicationsId": "shop", "userId": "ada", "refreshTokenId": freshID(t, s),
		"roles": []string{"admin"}})
	g := s.do(t, "POST", "/jwt/issue", backend, request).want(t, 200).grant(t)
	s.do(t, "POST", "/jwt/issue", backend, request).want(t, 200)
	s.do(t, "PATCH", "/jwt/refresh/"+g.RefreshTokenID, patcher, text(`{"roles":null}`)).want(t, 200)
	s.do(t, "POST", "/jwt/issue", backend, request).want(t, 400, "[duplicate]refreshTokenId")
}

func freshID(t *testing.T, s *service) string {
	t.Helper()
	id, err := domain.NewID(s.clock(), strings.NewReader(strings.Repeat("x", 16)))
	if err != nil {
		t.Fatal(err)
	}
	return id.String()
}

// Only an API key with the permission for it changes the rights of a user. The owner, an unauthenticated client and
// other API keys are refused.
func TestWhoMayPatch(t *testing.T) {
	s := newService(t)
	g := s.issue(t, "shop", "ada")
	one, many, roles := "/jwt/refresh/"+g.RefreshTokenID, "/jwt/refresh?userId=ada", text(`{"roles":["admin"]}`)
	for _, target := range []string{one, many} {
		for name, who := range map[string][]option{
			"nobody":                {tenant(aTenant)},
			"its owner":             {bearer(g.Token), tenant(aTenant)},
			"without permission":    {backend},
			"with another's":        {as("powerless"), tenant(aTenant)},
			"expired":               {as("expired"), tenant(aTenant)},
			"for another tenant":    {as("globex backend"), tenant(aTenant)},
			"for an unknown tenant": {as("everywhere"), tenant("nobody")},
		} {
			a := s.do(t, "PATCH", target, append(who, roles)...)
			if a.want(t, 401); len(a.body) > 0 {
				t.Errorf("%s: a body: %s", name, a.body)
			}
		}
		s.do(t, "PATCH", target, as("patcher"), roles).want(t, 400, "[blank]X-Stencil-TenantId")
	}
	s.do(t, "PATCH", one, as("everywhere"), tenant(bTenant), roles).want(t, 404)
	if got := s.content(t, g.RefreshTokenID).Roles; len(got) > 0 {
		t.Errorf("roles = %v", got)
	}
	s.do(t, "PATCH", one, as("everything of acme"), tenant(aTenant), roles).want(t, 200)
	s.do(t, "GET", one, patcher).want(t, 401)
}

func TestAPatchOfWhatHasEndedIsNotFound(t *testing.T) {
	s := newService(t)
	revoked, expired := s.issue(t, "shop", "ada"), s.issue(t, "short", "ada")
	s.do(t, "DELETE", "/jwt/refresh/"+revoked.RefreshTokenID, backend).want(t, 200)
	s.wait(10 * time.Minute)
	for _, id := range []string{revoked.RefreshTokenID, expired.RefreshTokenID, chosenID, "ada", revoked.RefreshToken} {
		s.do(t, "PATCH", "/jwt/refresh/"+id, patcher, text(`{"roles":["a"]}`)).want(t, 404)
	}
	var got struct{ Changed int }
	s.do(t, "PATCH", "/jwt/refresh?userId=ada", patcher, text(`{"roles":["a"]}`)).want(t, 200).data(t, &got)
	if got.Changed != 0 {
		t.Errorf("changed %d, want 0", got.Changed)
	}
}

// The refusal of an invalid patch names the field. Nothing is written, for one session or for many.
func TestAPatchIsRead(t *testing.T) {
	s := newService(t)
	g := s.issue(t, "shop", "ada")
	one, many := "/jwt/refresh/"+g.RefreshTokenID, "/jwt/refresh?userId=ada"
	long := strings.Repeat("x", 4096)
	deep := strings.Repeat(`{"a":`, 40) + "1" + strings.Repeat("}", 40)
	for name, tt := range map[string]struct {
		body  string
		codes string
	}{
		"empty":                           {`{}`, "[blank]"},
		"metaData without a field":        {`{"metaData":{}}`, "[blank]"},
		"blanks":                          {` `, "[blank]"},
		"null":                            {`null`, "[invalid]"},
		"a list":                          {`[]`, "[invalid]"},
		"a JSON patch (RFC 6902)":         {`[{"op":"remove","path":"/roles"}]`, "[invalid]"},
		"metaData null":                   {`{"metaData":null}`, "[invalid]metaData"},
		"a role null":                     {`{"roles":["a",null]}`, "[invalid]roles"},
		"roles an object":                 {`{"roles":{"a":null}}`, "[invalid]roles"},
		"roles a string":                  {`{"roles":"admin"}`, "[invalid]roles"},
		"a role empty":                    {`{"roles":[""]}`, "[blank]roles[0]"},
		"a role twice":                    {`{"roles":["a","a"]}`, "[repeated]roles[1]"},
		"a scope with a blank":            {`{"scopes":["a b"]}`, "[invalid]scopes[0]"},
		"claims a list":                   {`{"claims":[]}`, "[invalid]claims"},
		"claims a string":                 {`{"claims":""}`, "[invalid]claims"},
		"a claim of the service":          {`{"claims":{"sub":"eve"}}`, "[conflict]claims.sub"},
		"a claim of the service, removed": {`{"claims":{"Roles":null}}`, "[conflict]claims.roles"},
		"a claim twice":                   {`{"claims":{"a":null,"a":1}}`, "[repeated]claims.a"},
		"a claim of a claim twice":        {`{"claims":{"a":{"b":null,"b":null}}}`, "[repeated]claims.a.b"},
		"claims too deep": {`{"claims":` + deep + `}`,
			"[invalid]claims." + strings.TrimSuffix(strings.Repeat("a.", 31), ".")},
		"half a surrogate pair":         {`{"claims":{"a":"\ud800"}}`, "[invalid]claims.a"},
		"invalid UTF-8":                 {"{\"roles\":[\"\xff\"]}", "[invalid]"},
		"large claims":                  {`{"claims":{"a":"` + long + `"}}`, "[tooLong]claims"},
		"large data":                    {`{"metaData":{"data":{"a":"` + long + `"}}}`, "[tooLong]metaData"},
		"a device a string":             {`{"metaData":{"device":"Phone"}}`, "[invalid]metaData.device"},
		"a device's name a number":      {`{"metaData":{"device":{"name":1}}}`, "[invalid]metaData.device.name"},
		"a device's control character":  {`{"metaData":{"device":{"name":"\u0000"}}}`, "[invalid]metaData.device.name"},
		"a device's unknown field":      {`{"metaData":{"device":{"os":null}}}`, "[unknown]metaData.device.os"},
		"the address":                   {`{"metaData":{"lastClientAddress":null}}`, "[unknown]metaData.lastClientAddress"},
		"an unknown field":              {`{"roles":["a"],"role":null}`, "[unknown]role"},
		"another case":                  {`{"Roles":["a"]}`, "[unknown]Roles"},
		"roles twice":                   {`{"roles":["a"],"roles":null}`, "[repeated]roles"},
		"the user, in the body":         {`{"roles":["a"],"userId":"ada"}`, "[unknown]userId"},
		"what an issue has":             {`{"roles":["a"],"expirationInstant":1}`, "[unknown]expirationInstant"},
		"trailing bytes":                {`{"roles":["a"]}{}`, "[invalid]"},
		"wrong in two ways":             {`{"roles":[1],"metaData":{"x":null}}`, "[invalid]roles [unknown]metaData.x"},
		"wrong in two ways, for domain": {`{"roles":[""],"claims":{"exp":1}}`, "[blank]roles[0] [conflict]claims.exp"},
	} {
		for _, target := range []string{one, many, "/jwt/refresh?userId=nobody"} {
			t.Run(name+" "+target, func(t *testing.T) {
				s.do(t, "PATCH", target, patcher, text(tt.body)).want(t, 400, strings.Fields(tt.codes)...)
			})
		}
	}
	roles := text(`{"roles":["a"]}`)
	for target, codes := range map[string]string{
		"/jwt/refresh":                                      "[blank]userId",
		"/jwt/refresh?userId":                               "[blank]userId",
		"/jwt/refresh?applicationsId=shop":                  "[blank]userId",
		"/jwt/refresh?userId=ada&applicationsId=":           "[blank]applicationsId",
		"/jwt/refresh?userId=ada&userID=bob":                "[repeated]userId",
		"/jwt/refresh?userId=ada&tokenId=" + chosenID:       "[unknown]tokenId",
		"/jwt/refresh?userId=ada&roles=admin":               "[unknown]roles",
		"/jwt/refresh?userId=ada&limit=1":                   "[unknown]limit",
		"/jwt/refresh?allInTenant=true":                     "[unknown]allInTenant",
		"/jwt/refresh?userId=ada&exceptTokenId=" + chosenID: "[unknown]exceptTokenId",
		one + "?userId=ada":                                 "[unknown]userId",
		one + "?roles=admin":                                "[unknown]roles",
	} {
		s.do(t, "PATCH", target, patcher, roles).want(t, 400, codes)
	}
	for _, contentType := range []string{"", "text/plain", "application/x-www-form-urlencoded",
		"application/json-patch+json"} {
		for _, target := range []string{one, many} {
			a := s.do(t, "PATCH", target, patcher, raw(contentType, `{"roles":["a"]}`)).want(t, 415)
			if got := a.header.Get("Accept-Patch"); got != "application/json, application/merge-patch+json" {
				t.Errorf("%q: Accept-Patch %q", contentType, got)
			}
		}
	}
	s.do(t, "PATCH", one, patcher).want(t, 400, "[blank]")
	s.do(t, "PATCH", one, patcher, text(`{"roles":["`+strings.Repeat("x", 32<<10)+`"]}`)).want(t, 413)
	if writes := s.store.writesSoFar(); slices.Contains(writes, "Change") || len(writes) == 0 {
		t.Errorf("writes = %v, want no Change", writes)
	}
}

// If one session cannot accept the patch, none is changed.
func TestASessionThatCannotTakeAPatchIsNamed(t *testing.T) {
	s := newService(t)
	small := s.issue(t, "shop", "ada")
	large := s.do(t, "POST", "/jwt/issue", backend, body(object{
		"applicationsId": "cookies", "userId": "ada", "claims": object{"a": strings.Repeat("x", 2000)},
	})).want(t, 200).grant(t)
	a := s.do(t, "PATCH", "/jwt/refresh?userId=ada", patcher,
		body(object{"claims": object{"b": strings.Repeat("x", 1000)}}))
	a.want(t, 400, "[tooLong]claims")
	if message := a.Errors.FieldErrors["claims"][0].Message; !strings.Contains(message, large.RefreshTokenID) {
		t.Errorf("the message is %q, want it to name %s", message, large.RefreshTokenID)
	}
	if got := s.content(t, small.RefreshTokenID).Claims; len(got) > 0 {
		t.Errorf("the other session's claims became %v", got)
	}
}

// A thousand sessions are changed together. If there are more, none is.
func TestAPatchOfAThousandSessions(t *testing.T) {
	s := newService(t)
	g := s.issue(t, "shop", "ada")
	id, _ := domain.ParseID(g.RefreshTokenID)
	first, err := s.store.Store.Find(t.Context(), aTenant, id)
	if err != nil {
		t.Fatal(err)
	}
	add := func(i int) {
		t.Helper()
		another := first.Token
		another.ID[14], another.ID[15] = another.ID[14]+byte(1+i>>8), byte(i)
		if _, err := s.store.Store.Insert(t.Context(), another); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 999 {
		add(i)
	}
	var got struct{ Changed int }
	s.do(t, "PATCH", "/jwt/refresh?userId=ada", patcher, text(`{"roles":["a"]}`)).want(t, 200).data(t, &got)
	if got.Changed != 1000 {
		t.Errorf("changed %d, want 1000", got.Changed)
	}
	add(999)
	s.do(t, "PATCH", "/jwt/refresh?userId=ada", patcher, text(`{"roles":["b"]}`)).want(t, 400, "[tooMany]userId")
	if roles := rolesOf(t, s.exchange(t, g.RefreshToken).grant(t)); roles != `["a"]` {
		t.Errorf("roles = %s after a patch that was refused", roles)
	}
}

// The log has the actor, the fields and the time of a change. It does not have the values, which may be personal.
func TestThePatchIsInTheLog(t *testing.T) {
	s := newService(t)
	g := s.issue(t, "shop", "ada")
	const private = "a-claim-that-is-nobodys-business"
	patch := body(object{"roles": []string{private}, "claims": object{private: private},
		"metaData": object{"device": object{"name": private}}})
	for target, want := range map[string][]string{
		"/jwt/refresh/" + g.RefreshTokenID:            {`"refreshTokenId":"` + g.RefreshTokenID + `"`},
		"/jwt/refresh?userId=ada&applicationsId=shop": {`"userId":"ada"`, `"changed":1`, `"applicationId":"shop"`},
	} {
		id := fmt.Sprintf("patch-%d", len(target))
		s.do(t, "PATCH", target, patcher, patch, header("X-Request-Id", id)).want(t, 200)
		for line := range strings.Lines(checks.Log.String()) {
			if !strings.Contains(line, id) {
				continue
			}
			for _, part := range append(want, `"event":"token.changed"`, `"fields":"roles claims metaData.device"`,
				`"apiKey":"patcher"`) {
				if !strings.Contains(line, part) {
					t.Errorf("the line %s does not say %s", line, part)
				}
			}
		}
		if log := checks.Log.String(); strings.Contains(log, private) || !strings.Contains(log, id) {
			t.Errorf("the log has the value: %t, the request: %t", strings.Contains(log, private), strings.Contains(log, id))
		}
	}
}
