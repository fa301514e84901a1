package httpapi_test

import (
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestARefreshTokenIsShownWithoutItsTokenString(t *testing.T) {
	s := newService(t)
	issued := s.do(t, "POST", "/jwt/issue", backend, body(fullIssue())).want(t, 200).grant(t)
	s.wait(90 * time.Second)
	rotated := s.exchange(t, issued.RefreshToken, from("203.0.113.7:4711")).want(t, 200).grant(t)

	millis := func(at time.Time) float64 { return float64(at.UnixMilli()) }
	want := map[string]any{
		"id": chosenID, "tenantId": "acme", "applicationsId": "shop", "userId": "ada", "generation": 2.0,
		"insertInstant": millis(began), "lastUsedInstant": millis(s.clock()),
		"expirationInstant": millis(s.clock().Add(30 * 24 * time.Hour).Truncate(time.Second)), "state": "active",
		"roles": []any{"customer", "tester"}, "scopes": []any{"orders:read", "orders:write"},
		"claims": map[string]any{"plan": "gold", "seats": 12345678901234567.0},
		"metaData": map[string]any{
			"device":            map[string]any{"name": "Phone of Ada", "type": "MOBILE", "description": "Android 16"},
			"data":              map[string]any{"appVersion": "4.2.0"},
			"lastClientAddress": "203.0.113.7",
		},
	}
	path := "/jwt/refresh/" + chosenID
	one := s.do(t, "GET", path, backend).want(t, 200)
	var got map[string]any
	one.data(t, &got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, secret := range []string{issued.RefreshToken, rotated.RefreshToken, rotated.Token} {
		if strings.Contains(string(one.body), secret) {
			t.Errorf("a secret is in %s", one.body)
		}
	}
	var list []map[string]any
	s.do(t, "GET", "/jwt/refresh?userId=ada", backend).want(t, 200).data(t, &list)
	if diff := cmp.Diff([]map[string]any{want}, list); diff != "" {
		t.Error(diff)
	}
	for _, same := range []*answer{
		s.do(t, "POST", path, backend).want(t, 200),
		s.do(t, "POST", "/jwt/refresh", backend, body(object{"id": chosenID})).want(t, 200),
		s.do(t, "POST", "/jwt/refresh", backend, form("id", chosenID)).want(t, 200),
		s.do(t, "GET", "/jwt/refresh/"+strings.ToUpper(chosenID), backend).want(t, 200),
	} {
		if diff := cmp.Diff(string(one.body), string(same.body)); diff != "" {
			t.Errorf("a POST form says something else: %s", diff)
		}
	}
}

// A refresh token without optional values still has every field, so that a client need not check which are present.
func TestWhatWasNotSaidIsEmpty(t *testing.T) {
	s := newService(t)
	g := s.issue(t, "shop", "ada")
	got := s.do(t, "GET", "/jwt/refresh/"+g.RefreshTokenID, backend).want(t, 200)
	for _, want := range []string{`"roles":[]`, `"scopes":[]`, `"claims":{}`, `"metaData":{}`} {
		if !strings.Contains(string(got.body), want) {
			t.Errorf("got %s, want %s in it", got.body, want)
		}
	}
}

func TestWhatIsDeadIsNotFound(t *testing.T) {
	s := newService(t)
	revoked, expired := s.issue(t, "shop", "ada"), s.issue(t, "short", "ada")
	s.do(t, "DELETE", "/jwt/refresh/"+revoked.RefreshTokenID, backend).want(t, 200)
	s.wait(10 * time.Minute)
	for _, id := range []string{revoked.RefreshTokenID, expired.RefreshTokenID, chosenID, "no-uuid", "..",
		"%2e%2e", "a%2Fb"} {
		s.do(t, "GET", "/jwt/refresh/"+id, backend).want(t, 404)
		s.do(t, "POST", "/jwt/refresh/"+id, backend).want(t, 404)
	}
	s.do(t, "POST", "/jwt/refresh", backend, body(object{"id": chosenID})).want(t, 404)
	if got := s.do(t, "GET", "/jwt/refresh?userId=ada", backend).want(t, 200); string(got.Data) != "[]" {
		t.Errorf("got %s, want no ended ones", got.Data)
	}
}

func (s *service) page(t *testing.T, target string, options ...option) (ids []string, next string) {
	t.Helper()
	a := s.do(t, "GET", target, append(options, backend)...).want(t, 200)
	var list []struct{ ID string }
	a.data(t, &list)
	for _, entry := range list {
		ids = append(ids, entry.ID)
	}
	return ids, a.next(t, target)
}

// next returns the target of the page after a, a response to target, as a client does: relative to its request. It is
// empty if there is none.
func (a *answer) next(t *testing.T, target string) string {
	t.Helper()
	link := a.header.Get("Link")
	if link == "" {
		return ""
	}
	reference, isNext := strings.CutSuffix(strings.TrimPrefix(link, "<"), `>; rel="next"`)
	base, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	next, err := base.Parse(reference)
	if err != nil || !isNext || !strings.HasPrefix(link, "<?") {
		t.Fatalf("got Link %q, want a query", link)
	}
	return next.String()
}

// A proxy may remove a prefix of the path. A client must not leave the prefix by following a link (RFC 8288, section
// 3.1).
func TestTheNextPageStaysBelowAPrefix(t *testing.T) {
	s := newService(t)
	s.issue(t, "shop", "ada")
	s.issue(t, "shop", "ada")
	outside := "https://example.com/auth/jwt/refresh?userId=ada&limit=1"
	got := s.do(t, "GET", "/jwt/refresh?userId=ada&limit=1", backend).want(t, 200).next(t, outside)
	if !strings.HasPrefix(got, "https://example.com/auth/jwt/refresh?") {
		t.Errorf("the next page of %s is %s", outside, got)
	}
}

func TestAUsersTokensComeNewestFirstAndInPages(t *testing.T) {
	s := newService(t)
	var all, ofShop []string
	for i := range 7 {
		s.wait(time.Second)
		app := []string{"shop", "blog"}[i%2]
		g := s.issue(t, app, "ada & co")
		s.issue(t, app, "bob")
		all = append(all, g.RefreshTokenID)
		if app == "shop" {
			ofShop = append(ofShop, g.RefreshTokenID)
		}
	}
	slices.Reverse(all)
	slices.Reverse(ofShop)
	const ada = "/jwt/refresh?userId=ada+%26+co"
	for _, test := range []struct {
		target string
		want   []string
		pages  int
	}{
		{ada, all, 1}, {ada + "&limit=7", all, 1}, {ada + "&limit=1000", all, 1}, {ada + "&limit=3", all, 3},
		{ada + "&limit=1", all, 7},
		{ada + "&applicationsId=shop", ofShop, 1}, {ada + "&applicationId=shop&limit=2", ofShop, 2},
		{ada + "&applicationsId=nothing", nil, 1}, {"/jwt/refresh?usersId=nobody", nil, 1},
		{"/jwt/refresh?userID=ada%20%26%20co&limit=6", all, 2},
	} {
		var got []string
		pages := 0
		for next := test.target; next != ""; pages++ {
			var ids []string
			ids, next = s.page(t, next)
			got = append(got, ids...)
		}
		if !slices.Equal(got, test.want) || pages != test.pages {
			t.Errorf("%s: got %d pages of %v, want %d of %v", test.target, pages, got, test.pages, test.want)
		}
	}
}

func TestAPageHas100UnlessAskedOtherwise(t *testing.T) {
	s := newService(t)
	for range 101 {
		s.issue(t, "shop", "ada")
	}
	ids, next := s.page(t, "/jwt/refresh?userId=ada")
	if len(ids) != 100 || next == "" {
		t.Errorf("got %d and Link %q, want 100 and a next page", len(ids), next)
	}
	// A list by POST has only the first page. The Link to the next is for GET.
	a := s.do(t, "POST", "/jwt/refresh", backend, body(object{"usersId": "ada"})).want(t, 200)
	var posted []struct{ ID string }
	a.data(t, &posted)
	if got := a.next(t, "/jwt/refresh"); len(posted) != 100 || got != next {
		t.Errorf("got %d and %q, want 100 and %q", len(posted), got, next)
	}
	if rest, last := s.page(t, next); len(rest) != 1 || last != "" {
		t.Errorf("got %d and %q, want the last one", len(rest), last)
	}
}

// A cursor in another query would return a page that begins in the middle, without an error.
func TestACursorBelongsToItsQuery(t *testing.T) {
	s := newService(t)
	for range 3 {
		s.issue(t, "shop", "ada")
		s.issue(t, "shop", "bob")
		s.issueAt(t, globex, "shop", "ada")
	}
	_, next := s.page(t, "/jwt/refresh?userId=ada&limit=1")
	_, cursor, found := strings.Cut(next, "cursor=")
	if !found {
		t.Fatalf("got %q, want a cursor", next)
	}
	cursor, _, _ = strings.Cut(cursor, "&")
	s.do(t, "GET", "/jwt/refresh?userId=ada&limit=2&cursor="+cursor, backend).want(t, 200)
	for _, test := range []struct {
		target string
		who    option
	}{
		{"/jwt/refresh?userId=bob&cursor=" + cursor, backend},
		{"/jwt/refresh?userId=ada&applicationsId=shop&cursor=" + cursor, backend},
		{"/jwt/refresh?userId=ada&cursor=" + cursor, globex},
		{"/jwt/refresh?userId=ada&cursor=" + cursor + "A", backend},
		{"/jwt/refresh?userId=ada&cursor=", backend},
		{"/jwt/refresh?userId=ada&cursor=%0A" + cursor, backend},
	} {
		s.do(t, "GET", test.target, test.who).want(t, 400, "[invalid]cursor")
	}
}

// An operator finds in the list which users had a replay, and when, until the refresh token is purged.
func TestAnOperatorListsWhatEndedAndWhy(t *testing.T) {
	h := newHousehold(t)
	h.wait(time.Minute)
	second := h.next(t, h.adaBlog.RefreshToken, "rotated")
	h.next(t, second.RefreshToken, "rotated")
	h.wait(time.Minute)
	h.exchange(t, h.adaBlog.RefreshToken).want(t, 400, "[reused]refreshToken")
	replayedAt := h.clock().UnixMilli()
	h.wait(time.Minute)
	h.do(t, "DELETE", "/jwt/refresh/"+h.bobShop.RefreshTokenID, backend).want(t, 200)
	h.do(t, "DELETE", "/jwt/refresh?userId=bob&applicationsId=blog", backend).want(t, 200)
	revokedAt := h.clock().UnixMilli()

	type entry struct {
		ID, UserID, State, EndedReason string
		EndedInstant                   int64
		Current                        *bool
	}
	replayed := entry{h.adaBlog.RefreshTokenID, "ada", "ended", "replayed", replayedAt, nil}
	revoked := entry{h.bobShop.RefreshTokenID, "bob", "ended", "revoked", revokedAt, nil}
	marked := entry{h.bobBlog.RefreshTokenID, "bob", "ended", "revoked", revokedAt, nil}
	one := entry{h.adaShop.RefreshTokenID, "ada", "active", "", 0, nil}
	two := entry{h.adaShop2.RefreshTokenID, "ada", "active", "", 0, nil}
	for query, want := range map[string][]entry{
		"?applicationsId=blog&state=ended":            {marked, replayed},
		"?applicationsId=blog&state=all":              {marked, replayed},
		"?applicationsId=blog":                        nil,
		"?applicationsId=shop&state=all":              {revoked, two, one},
		"?applicationsId=shop":                        {two, one},
		"?state=ended":                                {marked, revoked, replayed},
		"?state=active":                               {two, one},
		"?state=all":                                  {marked, revoked, replayed, two, one},
		"?userId=ada&state=ended":                     {replayed},
		"?userId=ada&applicationsId=shop&state=ended": nil,
		"?userId=bob&state=all":                       {marked, revoked},
	} {
		var got []entry
		a := h.do(t, "GET", "/jwt/refresh"+query+"&count=true", as("operator"), tenant(aTenant)).want(t, 200)
		a.data(t, &got)
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", query, diff)
		}
		if total := a.header.Get("X-Total-Count"); total != itoa(len(want)) {
			t.Errorf("%s: counted %s, want %d", query, total, len(want))
		}
	}
	if a := h.do(t, "GET", "/jwt/refresh?userId=ada", backend).want(t, 200); len(a.header.Values("X-Total-Count")) > 0 {
		t.Error("a list was counted without count=true")
	}
	for query, want := range map[string]int{"": 404, "?state=active": 404, "?state=ended": 200, "?state=all": 200} {
		a := h.do(t, "GET", "/jwt/refresh/"+h.adaBlog.RefreshTokenID+query, backend).want(t, want)
		if want == 200 {
			var got entry
			if a.data(t, &got); got != replayed {
				t.Errorf("%s: got %+v, want %+v", query, got, replayed)
			}
		}
	}
}

// Lists of whole tenants need a permission that the API key of a login service need not have. The response to an
// invalid query names the errors under either permission.
func TestListsWithoutAUserNeedAPermissionOfTheirOwn(t *testing.T) {
	s := newService(t)
	g := s.issue(t, "shop", "ada")
	for target, may := range map[string]string{
		"/jwt/refresh":                              "operator lister",
		"/jwt/refresh?state=ended":                  "operator lister",
		"/jwt/refresh?applicationsId=shop":          "operator lister",
		"/jwt/refresh?userId=ada":                   "operator backend reader everywhere",
		"/jwt/refresh?usersId=ada&state=all":        "operator backend reader everywhere",
		"/jwt/refresh/" + g.RefreshTokenID:          "operator backend reader everywhere",
		"/jwt/refresh/" + g.RefreshTokenID + "/":    "operator backend reader everywhere",
		"/jwt/refresh?colour=red":                   "400 operator lister backend reader everywhere",
		"/jwt/refresh?userId=ada&colour=red":        "400 operator lister backend reader everywhere",
		"/jwt/refresh?applicationsId=shop&userid=x": "400 operator lister backend reader everywhere",
	} {
		for _, name := range []string{
			"operator", "lister", "backend", "reader", "everywhere", "everything of acme", "revoker", "issuer",
			"exchanger", "powerless",
			"expired", "globex backend",
		} {
			want := 401
			if slices.Contains(strings.Fields(may), name) || name == "everything of acme" &&
				strings.Contains(may, "everywhere") {
				want = 200
				if strings.HasPrefix(may, "400") {
					want = 400
				}
			}
			for _, method := range []string{"GET", "HEAD"} {
				if got := s.do(t, method, target, as(name), tenant(aTenant)); got.status != want {
					t.Errorf("%s %s as %s: got %d, want %d", method, target, name, got.status, want)
				}
			}
		}
	}
	s.do(t, "GET", "/jwt/refresh", as("operator"), tenant(bTenant)).want(t, 401)
	s.do(t, "GET", "/jwt/refresh", as("operator")).want(t, 400, "[blank]X-Stencil-TenantId")
}

// A cursor in a list of another state or scope would return a page that begins in the middle, without an error.
func TestACursorBelongsToItsStateAndScope(t *testing.T) {
	s := newService(t)
	for range 2 {
		for _, user := range []string{"ada", "bob"} {
			s.issue(t, "shop", user)
			ended := s.issue(t, "shop", user)
			s.do(t, "DELETE", "/jwt/refresh/"+ended.RefreshTokenID, backend).want(t, 200)
		}
	}
	queries := map[string][]string{} // those that are the same
	for _, scope := range []string{"", "&userId=ada", "&applicationsId=shop", "&userId=ada&applicationsId=shop"} {
		for _, state := range []string{"&state=active", "&state=ended", "&state=all"} {
			same := []string{"/jwt/refresh?limit=1" + scope + state}
			if state == "&state=active" {
				same = append(same, "/jwt/refresh?limit=1"+scope)
			}
			for _, one := range same {
				queries[one] = same
			}
		}
	}
	operator := []option{as("operator"), tenant(aTenant)}
	for query := range queries {
		_, next, found := strings.Cut(s.do(t, "GET", query, operator...).want(t, 200).next(t, query), "cursor=")
		if !found {
			t.Fatalf("%s: no next page", query)
		}
		cursor, _, _ := strings.Cut(next, "&")
		for other, same := range queries {
			got := s.do(t, "GET", other+"&cursor="+cursor, operator...)
			if slices.Contains(same, query) {
				got.want(t, 200)
			} else {
				got.want(t, 400, "[invalid]cursor")
			}
		}
	}
}

// Sessions end and begin while a client reads the pages. Each session that does not change is listed once.
func TestPagesOfEachStateHoldWhileSessionsEnd(t *testing.T) {
	for _, scope := range []string{"", "applicationsId=shop", "userId=ada", "userId=ada&applicationsId=shop"} {
		for _, state := range []string{"active", "ended", "all"} {
			t.Run(scope+" "+state, func(t *testing.T) {
				s := newService(t)
				stays := map[string][]string{}
				var ends []string
				for i := range 30 {
					s.wait(time.Millisecond)
					id := s.issue(t, "shop", "ada").RefreshTokenID
					switch i % 3 {
					case 0:
						stays["active"] = append(stays["active"], id)
					case 1:
						s.do(t, "DELETE", "/jwt/refresh/"+id, backend).want(t, 200)
						stays["ended"] = append(stays["ended"], id)
					default:
						ends = append(ends, id)
					}
				}
				stays["all"] = slices.Concat(stays["active"], stays["ended"], ends)
				var got []string
				for next := "/jwt/refresh?limit=4&state=" + state + "&" + scope; next != ""; {
					a := s.do(t, "GET", next, as("operator"), tenant(aTenant)).want(t, 200)
					var list []struct{ ID, State string }
					a.data(t, &list)
					for _, one := range list {
						got = append(got, one.ID)
						if state != "all" && one.State != state {
							t.Errorf("%s is %s", one.ID, one.State)
						}
					}
					if next = a.next(t, next); len(ends) > 0 {
						s.do(t, "DELETE", "/jwt/refresh/"+ends[0], backend).want(t, 200)
						ends = ends[1:]
						s.issue(t, "shop", "ada") // above the pages
					}
				}
				if !slices.IsSortedFunc(got, func(a, b string) int { return strings.Compare(b, a) }) ||
					len(slices.Compact(slices.Clone(got))) != len(got) {
					t.Errorf("got %v, want each once, newest first", got)
				}
				for _, id := range stays[state] {
					if !slices.Contains(got, id) {
						t.Errorf("%s is on no page", id)
					}
				}
			})
		}
	}
}

// Any client can send X-Forwarded-For. It counts only from a configured proxy.
func TestTheClientAddressIsBelievedOfATrustedProxyOnly(t *testing.T) {
	s := newService(t)
	for peer, want := range map[string]string{"10.1.2.3:80": "203.0.113.7", "198.51.100.9:80": "198.51.100.9",
		"[2001:db8::1]:80": "2001:db8::1"} {
		g := s.issue(t, "shop", "ada")
		s.exchange(t, g.RefreshToken, from(peer), header("X-Forwarded-For", "192.0.2.66, 203.0.113.7")).want(t, 200)
		var got struct {
			MetaData struct{ LastClientAddress string }
		}
		s.do(t, "GET", "/jwt/refresh/"+g.RefreshTokenID, backend).want(t, 200).data(t, &got)
		if got.MetaData.LastClientAddress != want {
			t.Errorf("from %s: got client address %q, want %s", peer, got.MetaData.LastClientAddress, want)
		}
	}
}
