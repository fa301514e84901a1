package domain_test

import (
	"strings"
	"testing"
	"time"

	"github.com/refreshd/refreshd/domain"
)

// A cookie that a browser happened to keep locks no user out, and a session that may be meant is never replaced by
// another.
func TestChoose(t *testing.T) {
	now := time.Date(2027, time.March, 4, 5, 6, 7, 0, time.UTC)
	policy := domain.DefaultPolicy()
	session := func(n byte, change func(*domain.Snapshot)) domain.Candidate {
		s := domain.Snapshot{Policy: policy, Token: domain.RefreshToken{
			ID: domain.ID{n}, TenantID: "acme", Generation: 2, IssuedAt: now.Add(-time.Hour),
			RotatedAt: now.Add(-time.Hour),
			ExpiresAt: now.Add(time.Hour),
		}}
		if change != nil {
			change(&s)
		}
		return domain.Candidate{Presented: domain.PresentedToken{ID: s.Token.ID, Generation: 1}, Known: true,
			Snapshot: s}
	}
	live, other := session(1, nil), session(2, nil)
	inactive := session(3, func(s *domain.Snapshot) { s.Policy.Active = false })
	asleep := session(14, func(s *domain.Snapshot) { s.Policy.Active = false })
	bound := session(4, func(s *domain.Snapshot) { s.Token.Binding = "x" })
	foreign := session(5, func(s *domain.Snapshot) { s.Token.TenantID = "globex" })
	foreignEnded := session(6, func(s *domain.Snapshot) { s.Token.TenantID, s.Token.RevokedAt = "globex", now })
	revoked := session(7, func(s *domain.Snapshot) { s.Token.RevokedAt = now })
	marked := session(8, func(s *domain.Snapshot) { s.MarkEpoch = 1 })
	gone := session(9, func(s *domain.Snapshot) { s.Deleted, s.Policy = true, domain.Policy{} })
	expired := session(10, func(s *domain.Snapshot) { s.Token.ExpiresAt = now })
	lastGeneration := session(11, func(s *domain.Snapshot) { s.Token.Generation = domain.MaxGeneration })
	cutShort := session(12, func(s *domain.Snapshot) { s.Policy.MaximumTTL = time.Minute })
	unknown := domain.Candidate{Presented: domain.PresentedToken{ID: domain.ID{13}, Generation: 1}}

	list := func(cs ...domain.Candidate) []domain.Candidate { return cs }
	for name, tt := range map[string]struct {
		candidates []domain.Candidate
		tenant     string
		counting   []domain.Candidate
		outcome    domain.Outcome
		kept       bool
	}{
		"a live one beside each that ended": {list(revoked, marked, gone, expired, lastGeneration, cutShort, unknown,
			live), "", list(live), "", false},
		"two that live":                     {list(live, other), "acme", list(live, other), "", false},
		"an inactive one beside a live one": {list(live, inactive), "", list(live), "", true},
		"in another order":                  {list(inactive, revoked, live), "", list(live), "", true},
		"an inactive one may be meant":      {list(revoked, inactive), "", list(inactive), "", false},
		"two inactive ones":                 {list(inactive, asleep), "", list(inactive, asleep), "", false},
		"an inactive one beside two":        {list(live, inactive, other), "", list(live, other), "", true},
		"so may one that lacks a proof":     {list(bound, live), "", list(bound, live), "", false},
		"another tenant's, named":           {list(foreign, live), "acme", list(live), "", true},
		"another tenant's, not named":       {list(foreign, live), "", list(foreign, live), "", false},
		"another tenant's that has ended":   {list(foreignEnded, live), "acme", list(live), "", true},
		"none, one revoked":                 {list(expired, revoked, unknown), "", nil, domain.RefusedRevoked, false},
		"none, in another order":            {list(revoked, unknown, expired), "", nil, domain.RefusedRevoked, false},
		"none, one expired":                 {list(unknown, expired), "", nil, domain.RefusedExpired, false},
		"none is known":                     {list(unknown, unknown), "", nil, domain.RefusedInvalid, false},
		"none, one another tenant's":        {list(unknown, foreign), "acme", nil, domain.RefusedInvalid, true},
	} {
		t.Run(name, func(t *testing.T) {
			got := domain.Choose(tt.candidates, tt.tenant, now)
			if len(got.Counting) != len(tt.counting) || got.Kept != tt.kept {
				t.Fatalf("got %d that count, kept %t; want %d, %t", len(got.Counting), got.Kept, len(tt.counting),
					tt.kept)
			}
			for i, c := range got.Counting {
				if c.Presented.ID != tt.counting[i].Presented.ID {
					t.Errorf("got %v counting, want %v", c.Presented.ID, tt.counting[i].Presented.ID)
				}
			}
			if len(tt.counting) == 0 && got.Outcome != tt.outcome {
				t.Errorf("got %s, want %s", got.Outcome, tt.outcome)
			}
			if ended := got.Outcome != domain.RefusedInvalid; ended != got.Ended.Known {
				t.Errorf("%s of %+v", got.Outcome, got.Ended)
			}
		})
	}
}

// A session counts among several exactly if an exchange of it alone is not refused for good.
func TestWhatChooseCallsEndedIsWhatDecideRefusesForGood(t *testing.T) {
	now := time.Date(2027, time.March, 4, 5, 6, 7, 0, time.UTC)
	for _, mark := range []uint64{0, 1} {
		for _, gone := range []bool{false, true} {
			for _, left := range []time.Duration{-time.Second, 0, time.Second} {
				for _, maximum := range []time.Duration{time.Minute, 48 * time.Hour} {
					for _, active := range []bool{false, true} {
						p := domain.DefaultPolicy()
						p.Active, p.MaximumTTL = active, maximum
						s := domain.Snapshot{MarkEpoch: mark, Deleted: gone, Policy: p, Token: domain.RefreshToken{
							ID: domain.ID{1}, TenantID: "acme", Generation: 3, IssuedAt: now.Add(-time.Hour),
							RotatedAt: now.Add(-time.Hour),
							ExpiresAt: now.Add(left),
						}}
						d := s.Decide(domain.Call{Generation: 3, Now: now})
						ended := d.Outcome == domain.RefusedRevoked || d.Outcome == domain.RefusedExpired
						c := domain.Choose([]domain.Candidate{{Presented: domain.PresentedToken{ID: s.Token.ID},
							Known: true, Snapshot: s}}, "", now)
						if counts := len(c.Counting) == 1; counts == ended || ended && c.Outcome != d.Outcome {
							t.Errorf("%+v: got %s alone, and counts %t, %s", s, d.Outcome, counts, c.Outcome)
						}
					}
				}
			}
		}
	}
}

func TestOfASessionTheHighestGenerationCounts(t *testing.T) {
	var a domain.Ambient
	for _, generation := range []uint32{2, 5, 3} {
		for id := range byte(2) {
			a.Add(domain.PresentedToken{ID: domain.ID{id + 1}, Generation: generation})
		}
	}
	if len(a.Sessions) != 2 || a.Sessions[0].Generation != 5 || a.Sessions[1].Generation != 5 {
		t.Errorf("got %+v, want two of generation 5", a.Sessions)
	}
}

func TestTokenStringForm(t *testing.T) {
	for s, want := range map[string]bool{
		"rt_" + strings.Repeat("A", 64): true, "rt_" + strings.Repeat("é", 32): false,
		"rt_" + strings.Repeat("A", 63) + "=": false, "rt_" + strings.Repeat("A", 63): false,
		"rt_" + strings.Repeat("A", 65): false, "RT_" + strings.Repeat("A", 64): false, strings.Repeat("A", 67): false,
		"": false, "rt_": false,
	} {
		if got := domain.IsTokenStringForm(s); got != want {
			t.Errorf("%q: got %t", s, got)
		}
	}
}
