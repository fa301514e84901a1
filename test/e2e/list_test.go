package e2e_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// session is a record with its state.
type session struct {
	record
	State        string
	EndedInstant int64
	EndedReason  string
	Current      *bool
}

func (a answer) sessions(t *testing.T) (s []session) {
	t.Helper()
	e := struct{ Data *[]session }{&s}
	if err := json.Unmarshal([]byte(a.body), &e); err != nil {
		t.Fatalf("%v: %s", err, a)
	}
	return s
}

// all follows the links from path on, and returns the sessions on the pages.
func (c *client) all(t *testing.T, r call) (all []session) {
	t.Helper()
	for pages := 0; ; pages++ {
		a := c.want(t, r, http.StatusOK)
		all = append(all, a.sessions(t)...)
		next, _ := strings.CutSuffix(strings.TrimPrefix(a.header.Get("Link"), "<"), `>; rel="next"`)
		if next == "" {
			return all
		}
		if pages == 1_000 {
			t.Fatal("the pages do not end")
		}
		path, _, _ := strings.Cut(r.path, "?")
		r.path = path + next
	}
}

// An operator needs to know whose session a replay ended, and when, with the application of the alert and without SQL.
func TestTheVictimOfAReplayIsFound(t *testing.T) {
	eachStore(t, func(t *testing.T, d database) {
		s := start(t, d, settings{})
		stolen, kept, left := s.issue(t, "victim", "zero"), s.issue(t, "bob", "zero"), s.issue(t, "carol", "zero")
		s.issue(t, "victim", "shop")
		current := stolen
		for range 3 {
			current = s.exchange(t, current.RefreshToken)
		}
		began := time.Now()
		s.refused(t, stolen.RefreshToken, "[reused]refreshToken")
		s.want(t, acme(call{method: "DELETE", path: "/jwt/refresh?userId=carol&applicationsId=zero"}), http.StatusOK)

		list := func(query string) []session {
			return s.all(t, acme(call{method: "GET", path: "/jwt/refresh?limit=1&" + query}))
		}
		found := list("applicationsId=zero&state=ended")
		if len(found) != 2 || found[1].ID != stolen.RefreshTokenID || found[1].UserID != "victim" ||
			found[1].EndedReason != "replayed" || found[0].ID != left.RefreshTokenID || found[0].EndedReason != "revoked" {
			t.Fatalf("got %+v, want carol's, revoked, and the victim's, replayed", found)
		}
		for _, one := range found {
			// The service's clock is this machine's, in milliseconds.
			at := time.UnixMilli(one.EndedInstant)
			if one.State != "ended" || at.Before(began.Truncate(time.Millisecond)) || at.After(time.Now()) {
				t.Errorf("got %+v, want it ended between %s and now", one, began)
			}
		}
		for query, want := range map[string]int{
			"applicationsId=zero": 1, "applicationsId=zero&state=all": 3, "state=ended": 2, "state=active": 2, "state=all": 4,
			"userId=victim&state=all": 2, "userId=victim&applicationsId=zero": 0, "applicationsId=quick&state=all": 0,
		} {
			if got := list(query); len(got) != want {
				t.Errorf("%s: got %+v, want %d", query, got, want)
			}
			a := s.want(t, acme(call{method: "GET", path: "/jwt/refresh?limit=1&count=true&" + query}), http.StatusOK)
			if got := a.header.Get("X-Total-Count"); got != string(rune('0'+want)) {
				t.Errorf("%s: counted %q, want %d", query, got, want)
			}
		}
		one := "/jwt/refresh/" + stolen.RefreshTokenID
		s.want(t, acme(call{method: "GET", path: one}), http.StatusNotFound)
		a := s.want(t, acme(call{method: "GET", path: one + "?state=ended"}), http.StatusOK)
		if !strings.Contains(a.body, `"endedReason":"replayed"`) {
			t.Errorf("got %s, want that it was replayed", a)
		}
		s.want(t, as(call{method: "GET", path: "/jwt/refresh?state=ended"}, readerKey, "acme"), http.StatusUnauthorized)
		s.exchange(t, kept.RefreshToken)
	})
}

// A user's own page shows where the user is logged in, and logs out everywhere else, with only its access token.
func TestAnOwnerLogsOutEverywhereElse(t *testing.T) {
	eachStore(t, func(t *testing.T, d database) {
		s := start(t, d, settings{})
		mine, phone, other := s.issue(t, "alice", "shop"), s.issue(t, "alice", "quick"), s.issue(t, "bob", "shop")
		owner := func(g grant, method, query string) call {
			return as(call{method: method, path: "/jwt/refresh?" + query}, "Bearer "+g.Token, "acme")
		}
		var got []string
		for _, one := range s.all(t, owner(mine, "GET", "userId=alice&limit=1")) {
			if one.Current == nil || *one.Current != (one.ID == mine.RefreshTokenID) {
				t.Errorf("got %+v, want only its own to be current", one)
			}
			got = append(got, one.ID)
		}
		want := []string{mine.RefreshTokenID, phone.RefreshTokenID}
		if diff := cmp.Diff(slices.Sorted(slices.Values(want)), slices.Sorted(slices.Values(got))); diff != "" {
			t.Errorf("alice's sessions (-want +got):\n%s", diff)
		}
		s.want(t, owner(mine, "DELETE", "userId=alice&exceptTokenId="+mine.RefreshTokenID), http.StatusOK)
		s.refused(t, phone.RefreshToken, "[revoked]refreshToken")
		s.want(t, owner(phone, "DELETE", "userId=alice"), http.StatusUnauthorized) // whose session has ended
		s.want(t, owner(phone, "GET", "userId=alice"), http.StatusUnauthorized)
		s.exchange(t, other.RefreshToken)
		next := s.exchange(t, mine.RefreshToken)
		s.want(t, owner(next, "DELETE", "userId=alice"), http.StatusOK)
		s.refused(t, next.RefreshToken, "[revoked]refreshToken")
		s.want(t, owner(next, "GET", "userId=alice"), http.StatusUnauthorized)
	})
}

// A user name without a password, as HTTP clients send it, is an API key too, and the tenant header has a neutral name.
func TestAKeyAsAUserName(t *testing.T) {
	s := start(t, newDatabase(t, sqlite), settings{})
	req, err := http.NewRequest("GET", s.URL()+"/jwt/refresh?userId=alice", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(acmeKey, "")
	remember("API key in base64", strings.TrimPrefix(req.Header.Get("Authorization"), "Basic "))
	req.Header.Set("X-Tenant-Id", "acme")
	res, err := s.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if err := res.Body.Close(); err != nil || res.StatusCode != http.StatusOK {
		t.Errorf("got %d, %v; want 200", res.StatusCode, err)
	}
}
