package usecase_test

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/usecase"
)

// Each selector revokes what it names and nothing else, immediately.
func TestARevocationEndsWhatItSelects(t *testing.T) {
	type session struct{ tenantID, applicationID, userID string }
	all := []session{
		{"acme", "shop", "ana"}, {"acme", "shop", "ana"}, {"acme", "shop", "bob"}, {"acme", "reusable", "ana"},
		{"globex", "shop", "ana"},
	}
	for _, tc := range []struct {
		name  string
		input func([]usecase.Grant) usecase.RevokeInput
		dead  []int // of all
	}{
		{"id", func(g []usecase.Grant) usecase.RevokeInput {
			return usecase.RevokeInput{Selector: domain.SelectorInput{TokenID: new(g[0].RefreshToken.ID.String())}}
		}, []int{0}},
		{"token string", func(g []usecase.Grant) usecase.RevokeInput {
			return usecase.RevokeInput{TokenString: &g[0].TokenString}
		}, []int{0}},
		{"user", func([]usecase.Grant) usecase.RevokeInput {
			return usecase.RevokeInput{Selector: domain.SelectorInput{UserID: new("ana")}}
		}, []int{0, 1, 3}},
		{"application", func([]usecase.Grant) usecase.RevokeInput {
			return usecase.RevokeInput{Selector: domain.SelectorInput{ApplicationID: new("shop")}}
		}, []int{0, 1, 2}},
		{"user and application", func([]usecase.Grant) usecase.RevokeInput {
			return usecase.RevokeInput{Selector: domain.SelectorInput{UserID: new("ana"), ApplicationID: new("shop")}}
		}, []int{0, 1}},
		{"user but one", func(g []usecase.Grant) usecase.RevokeInput {
			return usecase.RevokeInput{Selector: domain.SelectorInput{
				UserID: new("ana"), ExceptTokenID: new(g[0].RefreshToken.ID.String()),
			}}
		}, []int{1, 3}},
		{"tenant", func([]usecase.Grant) usecase.RevokeInput {
			return usecase.RevokeInput{Selector: domain.SelectorInput{AllInTenant: new(true)}}
		}, []int{0, 1, 2, 3}},
		{"a user without tokens", func([]usecase.Grant) usecase.RevokeInput {
			return usecase.RevokeInput{Selector: domain.SelectorInput{UserID: new("nobody")}}
		}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t)
			var grants []usecase.Grant
			for _, s := range all {
				g, err := w.issue.Do(t.Context(),
					usecase.IssueInput{TenantID: s.tenantID, ApplicationID: s.applicationID, UserID: s.userID})
				must(t, err)
				grants = append(grants, g)
			}
			w.rotated(t, grants[0].TokenString) // what selects is any genuine string, not only the current
			w.clock.advance(time.Hour)
			in := tc.input(grants)
			in.TenantID = "acme"

			got, err := w.revoke.Do(t.Context(), in)

			must(t, err)
			if got.At != stored(w.clock.now()) {
				t.Errorf("at = %s, want now", got.At)
			}
			var dead []int
			for i, g := range grants {
				if !w.alive(t, g.RefreshToken.ID) {
					dead = append(dead, i)
					wantOutcome(t, w.exchanged(t, g.TokenString), domain.RefusedRevoked, nil)
				}
			}
			if diff := cmp.Diff(tc.dead, dead); diff != "" {
				t.Errorf("dead (-want +got):\n%s", diff)
			}
			after := w.issued(t, "shop")
			wantOutcome(t, w.exchanged(t, after.TokenString), domain.Rotated, nil)
		})
	}
}

func TestARevocationThatNamesNothingThatIsThereIsNotFound(t *testing.T) {
	w := newWorld(t)
	mine := w.issued(t, "shop")
	gone := w.issued(t, "shop")
	_, err := w.revoke.Do(t.Context(), usecase.RevokeInput{TenantID: "acme", TokenString: &gone.TokenString})
	must(t, err)
	raw, err := base64.RawURLEncoding.DecodeString(mine.TokenString.Reveal()[3:])
	must(t, err)
	raw[30]++ // of the MAC: who knows the id and the checksum must not be able to end the session
	for name, in := range map[string]usecase.RevokeInput{
		"a forged token string": {TenantID: "acme", TokenString: new(domain.NewSecret(withChecksum(raw)))},
		"unknown id": {TenantID: "acme",
			Selector: domain.SelectorInput{TokenID: new(domain.ID{9}.String())}},
		"no id": {TenantID: "acme", Selector: domain.SelectorInput{TokenID: new("no UUID")}},
		"another tenant's id": {TenantID: "globex",
			Selector: domain.SelectorInput{TokenID: new(mine.RefreshToken.ID.String())}},
		"another tenant's":    {TenantID: "globex", TokenString: &mine.TokenString},
		"revoked before":      {TenantID: "acme", TokenString: &gone.TokenString},
		"no token string":     {TenantID: "acme", TokenString: new(domain.NewSecret("rt_no"))},
		"unknown application": {TenantID: "acme", Selector: domain.SelectorInput{ApplicationID: new("unknown")}},
		"unknown tenant":      {TenantID: "unknown", Selector: domain.SelectorInput{AllInTenant: new(true)}},
		"all but another tenant": {TenantID: "globex",
			Selector: domain.SelectorInput{UserID: new("ana"), ExceptTokenID: new(mine.RefreshToken.ID.String())}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.revoke.Do(t.Context(), in)
			wantErr(t, err, domain.ErrNotFound)
		})
	}
	if !w.alive(t, mine.RefreshToken.ID) {
		t.Error("something was still revoked")
	}
}

// A selector is never widened: an incomplete or ambiguous one revokes nothing.
func TestASelectorSaysOneThingInFull(t *testing.T) {
	w := newWorld(t)
	mine := w.issued(t, "shop")
	id := mine.RefreshToken.ID.String()
	w.probe.forget()
	for name, tc := range map[string]struct {
		in   usecase.RevokeInput
		want string
	}{
		"nothing":               {usecase.RevokeInput{}, "[blank]"},
		"an empty token string": {usecase.RevokeInput{TokenString: new(domain.Secret{})}, "[blank]tokenString"},
		"a token string and a user": {usecase.RevokeInput{TokenString: &mine.TokenString,
			Selector: domain.SelectorInput{UserID: new("ana")}}, "[conflict]tokenString"},
		"an empty user": {usecase.RevokeInput{Selector: domain.SelectorInput{UserID: new("")}},
			"[blank]userId"},
		"an id and a user": {usecase.RevokeInput{Selector: domain.SelectorInput{TokenID: &id,
			UserID: new("ana")}}, "[conflict]tokenId"},
		"all, and a user": {usecase.RevokeInput{Selector: domain.SelectorInput{AllInTenant: new(true),
			UserID: new("ana")}}, "[conflict]allInTenant"},
		"not all": {usecase.RevokeInput{Selector: domain.SelectorInput{AllInTenant: new(false)}},
			"[invalid]allInTenant"},
		"but one, of nobody": {usecase.RevokeInput{Selector: domain.SelectorInput{ExceptTokenID: &id}},
			"[conflict]exceptTokenId"},
	} {
		t.Run(name, func(t *testing.T) {
			tc.in.TenantID = "acme"
			_, err := w.revoke.Do(t.Context(), tc.in)
			wantCodes(t, err, tc.want)
		})
	}
	if calls := w.probe.asked(); len(calls) > 0 {
		t.Errorf("calls of ports: %v", calls)
	}
}

// An access token lets its owner log out here, everywhere, and everywhere else; and revokes nothing else.
func TestAnOwnerRevokesItsOwn(t *testing.T) {
	type grants struct{ mine, other, bobs usecase.Grant }
	prepare := func(t *testing.T) (*world, grants, *domain.AccessToken) {
		w := newWorld(t)
		g := grants{mine: w.issued(t, "shop"), other: w.issued(t, "reusable")}
		var err error
		g.bobs, err = w.issue.Do(t.Context(),
			usecase.IssueInput{TenantID: "acme", ApplicationID: "shop", UserID: "bob"})
		must(t, err)
		caller, err := w.byToken(t, g.mine.AccessToken)
		must(t, err)
		w.probe.forget()
		return w, g, caller.Owner
	}
	id := func(g usecase.Grant) *string { return new(g.RefreshToken.ID.String()) }
	for name, tc := range map[string]struct {
		in   func(grants) usecase.RevokeInput
		left string // of mine, other and bobs
	}{
		"its session by string": {func(g grants) usecase.RevokeInput {
			return usecase.RevokeInput{TokenString: &g.mine.TokenString}
		}, "other bobs"},
		"its session by id": {func(g grants) usecase.RevokeInput {
			return usecase.RevokeInput{Selector: domain.SelectorInput{TokenID: id(g.mine)}}
		}, "other bobs"},
		"its user": {func(grants) usecase.RevokeInput {
			return usecase.RevokeInput{Selector: domain.SelectorInput{UserID: new("ana")}}
		}, "bobs"},
		"its user but itself": {func(g grants) usecase.RevokeInput {
			return usecase.RevokeInput{Selector: domain.SelectorInput{UserID: new("ana"), ExceptTokenID: id(g.mine)}}
		}, "mine bobs"},
	} {
		t.Run(name, func(t *testing.T) {
			w, g, owner := prepare(t)
			in := tc.in(g)
			in.TenantID, in.Owner = "acme", owner
			_, err := w.revoke.Do(t.Context(), in)
			must(t, err)
			var left []string
			for _, one := range []struct {
				name string
				usecase.Grant
			}{{"mine", g.mine}, {"other", g.other}, {"bobs", g.bobs}} {
				if w.alive(t, one.RefreshToken.ID) {
					left = append(left, one.name)
				}
			}
			if got := strings.Join(left, " "); got != tc.left {
				t.Errorf("active: %q, want %q", got, tc.left)
			}
		})
	}
	for name, selects := range map[string]func(grants) usecase.RevokeInput{
		"another session by string": func(g grants) usecase.RevokeInput {
			return usecase.RevokeInput{TokenString: &g.other.TokenString}
		},
		"another user's by string": func(g grants) usecase.RevokeInput {
			return usecase.RevokeInput{TokenString: &g.bobs.TokenString}
		},
		"another session by id": func(g grants) usecase.RevokeInput {
			return usecase.RevokeInput{Selector: domain.SelectorInput{TokenID: id(g.other)}}
		},
		"another user": func(grants) usecase.RevokeInput {
			return usecase.RevokeInput{Selector: domain.SelectorInput{UserID: new("bob")}}
		},
		"another user but itself": func(g grants) usecase.RevokeInput {
			return usecase.RevokeInput{Selector: domain.SelectorInput{UserID: new("bob"), ExceptTokenID: id(g.mine)}}
		},
		"its user but another session": func(g grants) usecase.RevokeInput {
			return usecase.RevokeInput{Selector: domain.SelectorInput{UserID: new("ana"), ExceptTokenID: id(g.other)}}
		},
		"its user in its application": func(grants) usecase.RevokeInput {
			return usecase.RevokeInput{Selector: domain.SelectorInput{UserID: new("ana"), ApplicationID: new("shop")}}
		},
		"its application": func(grants) usecase.RevokeInput {
			return usecase.RevokeInput{Selector: domain.SelectorInput{ApplicationID: new("shop")}}
		},
		"its tenant": func(grants) usecase.RevokeInput {
			return usecase.RevokeInput{Selector: domain.SelectorInput{AllInTenant: new(true)}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, g, owner := prepare(t)
			in := selects(g)
			in.TenantID, in.Owner = "acme", owner
			_, err := w.revoke.Do(t.Context(), in)
			wantErr(t, err, domain.ErrUnauthorized)
			if calls := w.probe.asked(); len(calls) > 0 {
				t.Errorf("calls of ports: %v", calls)
			}
		})
	}
}
