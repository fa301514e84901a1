package domain_test

import (
	"slices"
	"testing"
	"time"

	"github.com/refreshd/refreshd/domain"
)

// An application that is switched off must not shut a user out of another one, nor lose its own session by that.
func TestASessionOfAnInactiveApplicationCountsWhereNoOtherDoes(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	candidate := func(id byte, active bool) domain.Candidate {
		s := domain.Snapshot{
			Token:  domain.RefreshToken{ID: domain.ID{id}, Generation: 1, IssuedAt: now, ExpiresAt: now.Add(time.Hour)},
			Policy: domain.DefaultPolicy(),
		}
		s.Policy.Active = active
		return domain.Candidate{Presented: domain.PresentedToken{ID: s.Token.ID, Generation: 1}, Known: true, Snapshot: s}
	}
	on, other, off, alsoOff := candidate(1, true), candidate(2, true), candidate(3, false), candidate(4, false)
	for _, test := range []struct {
		name       string
		candidates []domain.Candidate
		want       []domain.ID
		kept       bool
	}{
		{"beside an active one", []domain.Candidate{off, on}, []domain.ID{{1}}, true},
		{"in front of one", []domain.Candidate{on, off}, []domain.ID{{1}}, true},
		{"alone", []domain.Candidate{off}, []domain.ID{{3}}, false},
		{"two", []domain.Candidate{off, alsoOff}, []domain.ID{{3}, {4}}, false},
		{"beside two active ones", []domain.Candidate{on, off, other}, []domain.ID{{1}, {2}}, true},
		{"none", []domain.Candidate{on, other}, []domain.ID{{1}, {2}}, false},
	} {
		got := domain.Choose(test.candidates, "", now)
		ids := make([]domain.ID, len(got.Counting))
		for i, one := range got.Counting {
			ids[i] = one.Presented.ID
		}
		if !slices.Equal(ids, test.want) || got.Kept != test.kept {
			t.Errorf("%s: got %v, kept %t; want %v, %t", test.name, ids, got.Kept, test.want, test.kept)
		}
	}
}
