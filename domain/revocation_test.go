package domain_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/domain"
)

func TestScopeCovers(t *testing.T) {
	token := domain.RefreshToken{TenantID: "acme", ApplicationID: "shop", UserID: "ada"}
	for scope, want := range map[domain.Scope]bool{
		{TenantID: "acme"}: true, {TenantID: "other"}: false, {}: false,
		{TenantID: "acme", ApplicationID: "shop"}: true, {TenantID: "acme", ApplicationID: "blog"}: false,
		{TenantID: "other", ApplicationID: "shop"}: false,
		{TenantID: "acme", UserID: "ada"}:          true, {TenantID: "acme", UserID: "bob"}: false,
		{TenantID: "other", UserID: "ada"}:                       false,
		{TenantID: "acme", ApplicationID: "shop", UserID: "ada"}: true,
		{TenantID: "acme", ApplicationID: "blog", UserID: "ada"}: false,
		{TenantID: "acme", ApplicationID: "shop", UserID: "bob"}: false, {TenantID: "acme", UserID: "shop"}: false,
		{TenantID: "acme", ApplicationID: "ada"}: false,
	} {
		if got := scope.Covers(token); got != want {
			t.Errorf("%+v: got %t, want %t", scope, got, want)
		}
	}
}

// All 32 combinations of what a caller can name. Seven are selectors; every other one is refused, and none is ever
// widened: a revocation by mistake cannot be undone.
func TestSelectorCombinations(t *testing.T) {
	const (
		tokenID_ = 1 << iota
		user
		application
		except
		all
	)
	spared := domain.ID{15: 9}
	scope := func(application, user string) domain.Scope {
		return domain.Scope{TenantID: "acme", ApplicationID: application, UserID: user}
	}
	meaning := map[int]domain.Selector{
		tokenID_:           {TokenID: tokenID, Scope: scope("", "")},
		user:               {Scope: scope("", "ada")},
		application:        {Scope: scope("shop", "")},
		user | application: {Scope: scope("shop", "ada")},
		user | except:      {Scope: scope("", "ada"), Except: spared},
		all:                {Scope: scope("", "")},
	}
	refused := map[int][]string{
		0:                           {"[blank]"},
		except:                      {"[conflict]exceptTokenId"},
		application | except:        {"[conflict]exceptTokenId"},
		user | application | except: {"[conflict]exceptTokenId"},
	}
	for named := range 32 {
		t.Run(fmt.Sprintf("%05b", named), func(t *testing.T) {
			var in domain.SelectorInput
			if named&tokenID_ != 0 {
				in.TokenID = new(tokenID.String())
			}
			if named&user != 0 {
				in.UserID = new("ada")
			}
			if named&application != 0 {
				in.ApplicationID = new("shop")
			}
			if named&except != 0 {
				in.ExceptTokenID = new(spared.String())
			}
			if named&all != 0 {
				in.AllInTenant = new(true)
			}
			got, err := domain.ParseSelector("acme", in)
			if want, means := meaning[named]; means {
				if diff := cmp.Diff(want, got); diff != "" || err != nil {
					t.Errorf("%v (-want +got):\n%s", err, diff)
				}
				if got.IsToken() != (named == tokenID_) {
					t.Errorf("IsToken: got %t", got.IsToken())
				}
				return
			}
			if got != (domain.Selector{}) {
				t.Errorf("refused, and yet it selects %+v", got)
			}
			if want, known := refused[named]; known {
				wantCodes(t, err, want...)
				return
			}
			// The code of a selector that excludes the others.
			lone := "[conflict]tokenId"
			if named&tokenID_ == 0 {
				lone = "[conflict]allInTenant"
			}
			if got := codes(t, err); len(got) == 0 || got[0] != lone {
				t.Errorf("got %q, want %s first", got, lone)
			}
		})
	}
}

// A value that is sent and empty is a mistake in the caller's program. Taken as "not named", it would revoke more than
// was meant.
func TestSelectorWithEmptyOrMalformedValues(t *testing.T) {
	id := tokenID.String()
	for name, tt := range map[string]struct {
		in   domain.SelectorInput
		want []string
	}{
		"empty token id": {domain.SelectorInput{TokenID: new("")}, []string{"[blank]tokenId"}},
		"empty user":     {domain.SelectorInput{UserID: new("")}, []string{"[blank]userId"}},
		"empty application": {domain.SelectorInput{ApplicationID: new("")},
			[]string{"[blank]applicationsId"}},
		"empty user of an application": {domain.SelectorInput{UserID: new(""), ApplicationID: new("shop")},
			[]string{"[blank]userId"}},
		"empty application of a user": {domain.SelectorInput{UserID: new("ada"), ApplicationID: new("")},
			[]string{"[blank]applicationsId"}},
		"empty user, one spared": {domain.SelectorInput{UserID: new(""), ExceptTokenID: &id},
			[]string{"[blank]userId"}},
		"empty one spared": {domain.SelectorInput{UserID: new("ada"), ExceptTokenID: new("")},
			[]string{"[blank]exceptTokenId"}},
		"allInTenant false": {domain.SelectorInput{AllInTenant: new(false)},
			[]string{"[invalid]allInTenant"}},
		"allInTenant false beside a user": {domain.SelectorInput{AllInTenant: new(false), UserID: new("ada")},
			[]string{"[conflict]allInTenant", "[invalid]allInTenant"}},
		"token id beside allInTenant false": {domain.SelectorInput{AllInTenant: new(false), TokenID: &id},
			[]string{"[conflict]tokenId", "[invalid]allInTenant"}},
		"control characters in a user": {domain.SelectorInput{UserID: new("a\x00")}, []string{"[invalid]userId"}},
		"outer blanks in an application": {domain.SelectorInput{ApplicationID: new(" shop")},
			[]string{"[invalid]applicationsId"}},
		"token id that can be none": {domain.SelectorInput{TokenID: new("no-uuid")}, []string{"not found"}},
		"the nil UUID": {domain.SelectorInput{TokenID: new("00000000-0000-0000-0000-000000000000")},
			[]string{"not found"}},
		"one spared that can be none": {domain.SelectorInput{UserID: new("ada"), ExceptTokenID: new("no-uuid")},
			[]string{"not found"}},
		"the nil UUID spared": {domain.SelectorInput{UserID: new("ada"),
			ExceptTokenID: new("00000000-0000-0000-0000-000000000000")}, []string{"not found"}},
		"a conflict comes before a bad id": {domain.SelectorInput{TokenID: new("no-uuid"), UserID: new("ada")},
			[]string{"[conflict]tokenId"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := domain.ParseSelector("acme", tt.in)
			wantCodes(t, err, tt.want...)
			if got != (domain.Selector{}) {
				t.Errorf("refused, and yet it selects %+v", got)
			}
			if tt.want[0] == "not found" && !errors.Is(err, domain.ErrNotFound) {
				t.Errorf("got %v, want ErrNotFound", err)
			}
		})
	}
}
