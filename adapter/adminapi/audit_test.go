package adminapi_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/refreshd/refreshd/domain"
)

// listed is an event as the API lists it.
type listed struct {
	ID, Kind, TenantID, ObjectID, RequestID string
	Instant                                 int64
	Version                                 uint64
	Actor                                   struct{ Kind, ID, Name, Address string }
	Before, After                           json.RawMessage
}

// events returns the events of all pages of a list.
func (s *service) trail(t *testing.T, query string, options ...option) (all []listed) {
	t.Helper()
	for pages := 0; ; pages++ {
		if pages > 100 {
			t.Fatal("the list has no end")
		}
		a := s.do(t, "GET", "/audit"+query, "", options...).want(t, 200)
		var page []listed
		if err := json.Unmarshal(a.Data, &page); err != nil {
			t.Fatal(err)
		}
		all = append(all, page...)
		link := a.Header.Get("Link")
		if link == "" {
			return all
		}
		query = strings.TrimPrefix(strings.TrimSuffix(link, `>; rel="next"`), "<")
	}
}

// Each filter selects, and all pages together list each event once.
func TestTheAuditTrailIsListedByItsFilters(t *testing.T) {
	s := newService(t)
	made := s.do(t, "POST", "/application/blog", `{"name":"Blog"}`, tenant(acme)).want(t, 201)
	request := made.Header.Get("X-Request-Id")
	s.do(t, "PATCH", "/application/blog", `{"name":"The blog"}`, tenant(acme)).want(t, 200)
	all := s.trail(t, "")
	ms := began.UnixMilli()
	for _, tt := range []struct {
		query   string
		selects func(listed) bool
	}{
		{"?kind=application.updated", func(e listed) bool { return e.Kind == "application.updated" }},
		{"?kind=application.updated,tenant.created", func(e listed) bool {
			return e.Kind == "application.updated" || e.Kind == "tenant.created"
		}},
		{"?object=blog", func(e listed) bool { return e.ObjectID == "blog" }},
		{"?requestId=" + request, func(e listed) bool { return e.RequestID == request }},
		{"?actor=nobody", func(listed) bool { return false }},
		{fmt.Sprintf("?from=%d", ms), func(e listed) bool { return e.Instant >= ms }},
		{fmt.Sprintf("?until=%d", ms+1), func(e listed) bool { return e.Instant <= ms }},
		{fmt.Sprintf("?from=%d", ms+1), func(e listed) bool { return e.Instant > ms }},
		{fmt.Sprintf("?until=%d", ms), func(e listed) bool { return e.Instant < ms }},
		{"?until=0", func(listed) bool { return false }},
		{fmt.Sprintf("?from=%d&until=%d&object=blog", ms, ms+1), func(e listed) bool { return e.ObjectID == "blog" }},
	} {
		for _, limit := range []string{"", "&limit=1", "&limit=3"} {
			got := s.trail(t, tt.query+limit)
			want := slices.DeleteFunc(slices.Clone(all), func(e listed) bool { return !tt.selects(e) })
			if g, w := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want); g != w {
				t.Errorf("%s%s: got\n%s, want\n%s", tt.query, limit, g, w)
			}
		}
	}
	if len(s.trail(t, "?requestId="+request)) != 1 {
		t.Errorf("the request that made the application has no event")
	}
}

// A request about a tenant, and a key of one, see the events of that tenant only.
func TestTheAuditTrailOfATenantIsItsOwn(t *testing.T) {
	s := newService(t)
	tenants := func(options ...option) (ids []string) {
		for _, e := range s.trail(t, "?limit=2", options...) {
			ids = append(ids, e.TenantID)
		}
		slices.Sort(ids)
		return slices.Compact(ids)
	}
	if got := tenants(tenant(acme)); !slices.Equal(got, []string{acme}) {
		t.Errorf("with the tenant in the header: events of %q", got)
	}
	if got := tenants(as("acme root")); !slices.Equal(got, []string{acme}) {
		t.Errorf("with the tenant of the key: events of %q", got)
	}
	s.do(t, "GET", "/audit", "", as("acme root"), tenant(globex)).want(t, 401)
	if got := tenants(); !slices.Contains(got, "") || !slices.Contains(got, globex) {
		t.Errorf("without a tenant: events of %q", got)
	}
}

func TestAWrongQueryOfTheAuditTrailIsRefused(t *testing.T) {
	s := newService(t)
	for query, code := range map[string]string{
		"?from=-1":                     "[invalid]from",
		"?until=253402300800000":       "[invalid]until",
		"?kind=token.revoked,none":     "[invalid]kind",
		"?kind=":                       "[blank]kind",
		"?actor=":                      "[blank]actor",
		"?object=%00":                  "[invalid]object",
		"?requestId=" + longText(1025): "[tooLong]requestId",
		"?limit=0":                     "[invalid]limit",
		"?cursor=none":                 "[invalid]cursor",
		"?kinds=token.revoked":         "[unknown]kinds",
	} {
		s.do(t, "GET", "/audit"+query, "").want(t, 400, code)
	}
	link := s.do(t, "GET", "/audit?limit=1", "").want(t, 200).Header.Get("Link")
	next, err := url.ParseQuery(strings.TrimPrefix(strings.TrimSuffix(link, `>; rel="next"`), "<?"))
	if err != nil || next.Get("cursor") == "" {
		t.Fatalf("the link is %q, %v", link, err)
	}
	// A cursor of one selection is not one of another.
	s.do(t, "GET", "/audit?kind="+string(domain.TenantCreated)+"&cursor="+next.Get("cursor"), "").
		want(t, 400, "[invalid]cursor")
}

func longText(n int) string { return strings.Repeat("a", n) }
