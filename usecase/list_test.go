package usecase_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/usecase"
)

func TestPagesFollowEachOtherWithoutGapAndRepeat(t *testing.T) {
	w := newWorld(t)
	var want []domain.ID
	for i := range 7 {
		w.clock.advance(time.Minute)
		application := []string{"shop", "reusable"}[i%2]
		want = append(want, w.issued(t, application).RefreshToken.ID)
	}
	slices.Reverse(want)
	for limit := 1; limit <= 8; limit++ {
		var got []domain.ID
		in := usecase.ListInput{TenantID: "acme", UserID: new("ana"), Limit: limit}
		for pages := 1; ; pages++ {
			page, err := w.list.Page(t.Context(), in)
			must(t, err)
			for _, token := range page.Sessions {
				got = append(got, token.ID)
			}
			if in.Below = page.Next; in.Below.IsZero() {
				if want := (7 + limit - 1) / limit; pages != want {
					t.Errorf("limit %d: %d pages, want %d", limit, pages, want)
				}
				break
			}
			if len(page.Sessions) != limit {
				t.Errorf("limit %d: a page of %d that is not the last", limit, len(page.Sessions))
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("limit %d: ids (-want +got):\n%s", limit, diff)
		}
	}
}

func TestAListIsOfTheLivingOfOneUserInOneTenant(t *testing.T) {
	w := newWorld(t)
	mine, dead := w.issued(t, "shop"), w.issued(t, "shop")
	_, err := w.revoke.Do(t.Context(), usecase.RevokeInput{TenantID: "acme", TokenString: &dead.TokenString})
	must(t, err)
	for _, other := range []usecase.IssueInput{
		{TenantID: "acme", ApplicationID: "shop", UserID: "bob"},
		{TenantID: "globex", ApplicationID: "shop", UserID: "ana"},
		{TenantID: "acme", ApplicationID: "reusable", UserID: "ana"},
	} {
		_, err := w.issue.Do(t.Context(), other)
		must(t, err)
	}
	page, err := w.list.Page(t.Context(), usecase.ListInput{
		TenantID: "acme", UserID: new("ana"), ApplicationID: new("shop"), Limit: 10,
	})
	must(t, err)
	if diff := cmp.Diff([]usecase.Session{{RefreshToken: mine.RefreshToken}}, page.Sessions); diff != "" {
		t.Errorf("tokens (-want +got):\n%s", diff)
	}

	w.clock.at = mine.RefreshToken.ExpiresAt
	page, err = w.list.Page(t.Context(), usecase.ListInput{TenantID: "acme", UserID: new("ana"), Limit: 10})
	must(t, err)
	if len(page.Sessions) != 0 || !page.Next.IsZero() {
		t.Errorf("%d tokens after all have expired", len(page.Sessions))
	}
}

// A value that is empty by mistake must not select more.
func TestAListSaysInFullWhatItIsOf(t *testing.T) {
	w := newWorld(t)
	w.probe.forget()
	for name, tc := range map[string]struct {
		in   usecase.ListInput
		want string
	}{
		"an empty user": {usecase.ListInput{UserID: new("")}, "[blank]userId"},
		"an empty application": {usecase.ListInput{UserID: new("ana"), ApplicationID: new("")},
			"[blank]applicationsId"},
		"an empty application alone": {usecase.ListInput{ApplicationID: new("")}, "[blank]applicationsId"},
		"a control character":        {usecase.ListInput{UserID: new("ana\x00")}, "[invalid]userId"},
	} {
		t.Run(name, func(t *testing.T) {
			tc.in.TenantID, tc.in.Limit = "acme", 10
			_, err := w.list.Page(t.Context(), tc.in)
			wantCodes(t, err, tc.want)
			_, _, err = w.list.Count(t.Context(), tc.in)
			wantCodes(t, err, tc.want)
		})
	}
	if calls := w.probe.asked(); len(calls) > 0 {
		t.Errorf("calls of ports: %v", calls)
	}
}

// Each of a list's four forms in each of its three states lists exactly what it selects, of one tenant, and counts the
// same.
func TestAListShowsItsScopeInItsState(t *testing.T) {
	w := newWorld(t)
	names := map[domain.ID]string{}
	issue := func(name, tenantID, applicationID, userID string) usecase.Grant {
		w.clock.advance(time.Second)
		g, err := w.issue.Do(t.Context(), usecase.IssueInput{TenantID: tenantID, ApplicationID: applicationID,
			UserID: userID})
		must(t, err)
		names[g.RefreshToken.ID] = name
		return g
	}
	revoke := func(in domain.SelectorInput) {
		_, err := w.revoke.Do(t.Context(), usecase.RevokeInput{TenantID: "acme", Selector: in})
		must(t, err)
	}
	one := issue("ana shop one", "acme", "shop", "ana")
	issue("ana shop", "acme", "shop", "ana")
	issue("ana reusable", "acme", "reusable", "ana")
	issue("bob reusable", "acme", "reusable", "bob")
	issue("bob shop", "acme", "shop", "bob")
	issue("foreign", "globex", "shop", "ana")
	revoke(domain.SelectorInput{TokenID: new(one.RefreshToken.ID.String())})
	revoke(domain.SelectorInput{UserID: new("bob"), ApplicationID: new("reusable")})
	issue("bob new", "acme", "reusable", "bob")

	ana, shop := new("ana"), new("shop")
	for _, tc := range []struct {
		name          string
		in            usecase.ListInput
		active, ended []string
	}{
		{"a user", usecase.ListInput{UserID: ana}, []string{"ana reusable", "ana shop"}, []string{"ana shop one"}},
		{"a user in an application", usecase.ListInput{UserID: ana, ApplicationID: shop}, []string{"ana shop"},
			[]string{"ana shop one"}},
		{"an application", usecase.ListInput{ApplicationID: shop}, []string{"bob shop", "ana shop"},
			[]string{"ana shop one"}},
		{"another application", usecase.ListInput{ApplicationID: new("reusable")}, []string{"bob new", "ana reusable"},
			[]string{"bob reusable"}},
		{"a tenant", usecase.ListInput{}, []string{"bob new", "bob shop", "ana reusable", "ana shop"},
			[]string{"bob reusable", "ana shop one"}},
		{"a user without any", usecase.ListInput{UserID: new("nobody")}, nil, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			all := slices.Concat(tc.active, tc.ended)
			for state, want := range map[domain.SessionState][]string{
				"": tc.active, domain.ActiveSessions: tc.active, domain.EndedSessions: tc.ended,
				domain.AllSessions: all,
			} {
				tc.in.TenantID, tc.in.State, tc.in.Limit = "acme", state, 1000
				page, err := w.list.Page(t.Context(), tc.in)
				must(t, err)
				var got []string
				for i, s := range page.Sessions {
					got = append(got, names[s.ID])
					if ended := slices.Contains(tc.ended, names[s.ID]); ended != (s.Ending != nil) {
						t.Errorf("%s: %s has the ending %v", state, names[s.ID], s.Ending)
					}
					if i > 0 && page.Sessions[i-1].ID.String() <= s.ID.String() {
						t.Errorf("%s: %s is not below the one before", state, names[s.ID])
					}
				}
				if diff := cmp.Diff(slices.Sorted(slices.Values(want)), slices.Sorted(slices.Values(got))); diff != "" {
					t.Errorf("%s (-want +got):\n%s", state, diff)
				}
				n, more, err := w.list.Count(t.Context(), tc.in)
				must(t, err)
				if n != len(want) || more {
					t.Errorf("%s: counted %d, more: %t, want %d", state, n, more, len(want))
				}
			}
		})
	}
}

// A count has a cost, and a bound. If there is nothing beyond the bound, the number is exact, whatever has ended.
func TestACountIsExactUpToItsBound(t *testing.T) {
	const compared, most = 5_000, 10_000
	w := newWorld(t)
	insert := func(n int) {
		t.Helper()
		token, err := domain.NewRefreshToken(domain.RefreshToken{
			ID: domain.ID{0: 1, 14: byte(n >> 8), 15: byte(n)}, TenantID: "acme", ApplicationID: "shop",
			UserID: fmt.Sprint("user-", n),
		}, domain.DefaultPolicy(), t0)
		must(t, err)
		if n > compared-3 && n < compared+1 { // the newest
			token.RevokedAt, token.RevokedReason = t0, domain.RevokedByRequest
		}
		_, err = w.store.Insert(t.Context(), token)
		must(t, err)
	}
	want := func(state domain.SessionState, want int, wantMore bool) {
		t.Helper()
		n, more, err := w.list.Count(t.Context(), usecase.ListInput{TenantID: "acme", State: state})
		if must(t, err); n != want || more != wantMore {
			t.Errorf("%s: counted %d, more: %t, want %d, %t", state, n, more, want, wantMore)
		}
	}
	for n := range compared {
		insert(n)
	}
	want(domain.ActiveSessions, compared-2, false)
	want(domain.EndedSessions, 2, false)
	insert(compared) // the oldest, an active one, is no longer looked at
	want(domain.ActiveSessions, compared-3, true)
	want(domain.EndedSessions, 3, true)
	for n := compared + 1; n < most; n++ {
		insert(n)
	}
	want(domain.AllSessions, most, false)
	insert(most)
	want(domain.AllSessions, most, true)
}

// An operator must learn when a session ended, and why. The first cause counts.
func TestAnEndedSessionSaysWhenAndWhy(t *testing.T) {
	w := newWorld(t)
	called, replayed, expired, wide := w.issued(t, "shop"), w.issued(t, "shop"), w.issued(t, "shop"),
		w.issued(t, "reusable")
	w.clock.advance(time.Minute)
	second := w.rotated(t, replayed.TokenString)
	w.clock.advance(time.Minute)
	w.rotated(t, second.TokenString)
	at := map[domain.ID]domain.Ending{expired.RefreshToken.ID: {At: expired.RefreshToken.ExpiresAt,
		Reason: domain.EndedByExpiry}}
	end := func(g usecase.Grant, reason domain.RevocationReason) {
		at[g.RefreshToken.ID] = domain.Ending{At: stored(w.clock.now()), Reason: domain.EndReason(reason)}
		w.clock.advance(time.Minute)
	}
	_, err := w.revoke.Do(t.Context(), usecase.RevokeInput{TenantID: "acme", TokenString: &called.TokenString})
	must(t, err)
	end(called, domain.RevokedByRequest)
	wantOutcome(t, w.exchanged(t, replayed.TokenString), domain.RefusedReplayed, nil)
	end(replayed, domain.RevokedByReplay)
	_, err = w.revoke.Do(t.Context(), usecase.RevokeInput{TenantID: "acme",
		Selector: domain.SelectorInput{ApplicationID: new("reusable")}})
	must(t, err)
	end(wide, domain.RevokedByRequest)
	w.clock.at = expired.RefreshToken.ExpiresAt

	page, err := w.list.Page(t.Context(), usecase.ListInput{TenantID: "acme", UserID: new("ana"),
		State: domain.EndedSessions, Limit: 10})
	must(t, err)
	got := map[domain.ID]domain.Ending{}
	for _, s := range page.Sessions {
		got[s.ID] = *s.Ending
		one, err := w.list.One(t.Context(), usecase.OneInput{TenantID: "acme", ID: s.ID.String(),
			State: domain.EndedSessions})
		must(t, err)
		if diff := cmp.Diff(s, one); diff != "" {
			t.Errorf("the session by itself (-in the list +alone):\n%s", diff)
		}
	}
	if diff := cmp.Diff(at, got); diff != "" {
		t.Errorf("endings (-want +got):\n%s", diff)
	}
}

// Unknown, ended, another tenant's and malformed ids give the same error to a request for active ones; and a state
// lists no sessions of another state.
func TestOneRefreshTokenIsFoundByItsTenantInItsState(t *testing.T) {
	w := newWorld(t)
	mine, ended := w.issued(t, "shop"), w.issued(t, "shop")
	_, err := w.revoke.Do(t.Context(), usecase.RevokeInput{TenantID: "acme", TokenString: &ended.TokenString})
	must(t, err)
	got, err := w.list.One(t.Context(), usecase.OneInput{TenantID: "acme", ID: mine.RefreshToken.ID.String()})
	must(t, err)
	if diff := cmp.Diff(usecase.Session{RefreshToken: mine.RefreshToken}, got); diff != "" {
		t.Errorf("token (-want +got):\n%s", diff)
	}
	const active, gone, all = domain.ActiveSessions, domain.EndedSessions, domain.AllSessions
	for _, tc := range []struct {
		tenantID, id string
		states       []domain.SessionState // that show it
	}{
		{"acme", mine.RefreshToken.ID.String(), []domain.SessionState{"", active, all}},
		{"acme", ended.RefreshToken.ID.String(), []domain.SessionState{gone, all}},
		{"globex", mine.RefreshToken.ID.String(), nil},
		{"globex", ended.RefreshToken.ID.String(), nil},
		{"acme", domain.ID{9}.String(), nil},
		{"acme", "no UUID", nil},
		{"acme", "", nil},
	} {
		for _, state := range []domain.SessionState{"", active, gone, all} {
			_, err := w.list.One(t.Context(), usecase.OneInput{TenantID: tc.tenantID, ID: tc.id, State: state})
			if slices.Contains(tc.states, state) {
				must(t, err)
			} else {
				wantErr(t, err, domain.ErrNotFound)
			}
		}
	}
}

// An access token gives access to the active sessions of its user, and to nothing of anybody else: not even to whether
// it exists.
func TestAnOwnerSeesItsUsersActiveSessions(t *testing.T) {
	w := newWorld(t)
	mine := w.issued(t, "shop")
	w.clock.advance(time.Second)
	other, ended := w.issued(t, "reusable"), w.issued(t, "shop")
	_, err := w.revoke.Do(t.Context(), usecase.RevokeInput{TenantID: "acme", TokenString: &ended.TokenString})
	must(t, err)
	bobs, err := w.issue.Do(t.Context(), usecase.IssueInput{TenantID: "acme", ApplicationID: "shop", UserID: "bob"})
	must(t, err)
	caller, err := w.byToken(t, mine.AccessToken)
	must(t, err)

	one := func(id string, state domain.SessionState) error {
		_, err := w.list.One(t.Context(), usecase.OneInput{TenantID: "acme", ID: id, State: state, Owner: caller.Owner})
		return err
	}
	must(t, one(mine.RefreshToken.ID.String(), ""))
	must(t, one(other.RefreshToken.ID.String(), ""))
	must(t, one(other.RefreshToken.ID.String(), domain.ActiveSessions))
	wantCodes(t, one(mine.RefreshToken.ID.String(), domain.AllSessions), "[conflict]state")
	wantErr(t, one(ended.RefreshToken.ID.String(), ""), domain.ErrNotFound)
	for _, id := range []string{bobs.RefreshToken.ID.String(), domain.ID{9}.String(), "no UUID", ""} {
		wantErr(t, one(id, ""), domain.ErrUnauthorized)
	}
	wantCodes(t, one(ended.RefreshToken.ID.String(), domain.EndedSessions), "[conflict]state")

	for name, tc := range map[string]struct {
		in   usecase.ListInput
		ids  []domain.ID
		err  error
		code string
	}{
		"its user": {in: usecase.ListInput{UserID: new("ana")},
			ids: []domain.ID{other.RefreshToken.ID, mine.RefreshToken.ID}},
		"its user in an application": {
			in:  usecase.ListInput{UserID: new("ana"), ApplicationID: new("reusable")},
			ids: []domain.ID{other.RefreshToken.ID},
		},
		"another user":   {in: usecase.ListInput{UserID: new("bob")}, err: domain.ErrUnauthorized},
		"an application": {in: usecase.ListInput{ApplicationID: new("shop")}, err: domain.ErrUnauthorized},
		"the tenant":     {in: usecase.ListInput{}, err: domain.ErrUnauthorized},
		"another user, ended": {in: usecase.ListInput{UserID: new("bob"), State: domain.AllSessions},
			err: domain.ErrUnauthorized},
		"its user, ended": {in: usecase.ListInput{UserID: new("ana"), State: domain.EndedSessions},
			code: "[conflict]state"},
		"its user, all": {in: usecase.ListInput{UserID: new("ana"), State: domain.AllSessions},
			code: "[conflict]state"},
		"its user, named active": {
			in:  usecase.ListInput{UserID: new("ana"), State: domain.ActiveSessions},
			ids: []domain.ID{other.RefreshToken.ID, mine.RefreshToken.ID},
		},
	} {
		t.Run(name, func(t *testing.T) {
			tc.in.TenantID, tc.in.Limit, tc.in.Owner = "acme", 10, caller.Owner
			page, err := w.list.Page(t.Context(), tc.in)
			n, _, countErr := w.list.Count(t.Context(), tc.in)
			if tc.code != "" {
				wantCodes(t, err, tc.code)
				wantCodes(t, countErr, tc.code)
				return
			}
			wantErr(t, err, tc.err)
			wantErr(t, countErr, tc.err)
			var got []domain.ID
			for _, s := range page.Sessions {
				got = append(got, s.ID)
			}
			if diff := cmp.Diff(tc.ids, got); diff != "" || n != len(tc.ids) {
				t.Errorf("counted %d; ids (-want +got):\n%s", n, diff)
			}
		})
	}
}
