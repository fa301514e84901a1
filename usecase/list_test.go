package usecase_test

import (
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
			page, err := w.list.Of(t.Context(), in)
			must(t, err)
			for _, session := range page.Sessions {
				got = append(got, session.Token.ID)
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
	page, err := w.list.Of(t.Context(), usecase.ListInput{
		TenantID: "acme", UserID: new("ana"), ApplicationID: new("shop"), Limit: 10,
	})
	must(t, err)
	if diff := cmp.Diff([]domain.Session{{Token: mine.RefreshToken}}, page.Sessions); diff != "" {
		t.Errorf("tokens (-want +got):\n%s", diff)
	}

	w.clock.at = mine.RefreshToken.ExpiresAt
	page, err = w.list.Of(t.Context(), usecase.ListInput{TenantID: "acme", UserID: new("ana"), Limit: 10})
	must(t, err)
	if len(page.Sessions) != 0 || !page.Next.IsZero() {
		t.Errorf("%d tokens after all have expired", len(page.Sessions))
	}
}

// What is left empty by mistake must not become a wider question.
func TestAListNamesItsUser(t *testing.T) {
	w := newWorld(t)
	w.probe.forget()
	for name, tc := range map[string]struct {
		in   usecase.ListInput
		want string
	}{
		"no user":              {usecase.ListInput{}, "[blank]userId"},
		"an empty user":        {usecase.ListInput{UserID: new("")}, "[blank]userId"},
		"an empty application": {usecase.ListInput{UserID: new("ana"), ApplicationID: new("")}, "[blank]applicationsId"},
		"a control character":  {usecase.ListInput{UserID: new("ana\x00")}, "[invalid]userId"},
	} {
		t.Run(name, func(t *testing.T) {
			tc.in.TenantID, tc.in.Limit = "acme", 10
			_, err := w.list.Of(t.Context(), tc.in)
			wantCodes(t, err, tc.want)
		})
	}
	if calls := w.probe.asked(); len(calls) > 0 {
		t.Errorf("calls of ports: %v", calls)
	}
}

// Unknown, dead, of another tenant, and no id at all are one thing to readers.
func TestOneRefreshTokenIsFoundByItsTenantAlone(t *testing.T) {
	w := newWorld(t)
	mine, dead := w.issued(t, "shop"), w.issued(t, "shop")
	_, err := w.revoke.Do(t.Context(), usecase.RevokeInput{TenantID: "acme", TokenString: &dead.TokenString})
	must(t, err)
	got, err := w.list.One(t.Context(), "acme", mine.RefreshToken.ID.String())
	must(t, err)
	if diff := cmp.Diff(mine.RefreshToken, got); diff != "" {
		t.Errorf("token (-want +got):\n%s", diff)
	}
	for _, tc := range []struct{ tenantID, id string }{
		{"globex", mine.RefreshToken.ID.String()},
		{"acme", dead.RefreshToken.ID.String()},
		{"acme", domain.ID{9}.String()},
		{"acme", "no UUID"},
		{"acme", ""},
	} {
		_, err := w.list.One(t.Context(), tc.tenantID, tc.id)
		wantErr(t, err, domain.ErrNotFound)
	}
}
