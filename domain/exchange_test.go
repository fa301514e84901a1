package domain_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/domain"
)

const (
	µs    = time.Microsecond
	day   = 24 * time.Hour
	grace = 30 * time.Second
)

var (
	issued  = time.Date(2026, 3, 1, 12, 0, 0, 123_456_000, time.UTC)
	tokenID = domain.ID{0x01, 0x8f, 0x2a, 0x3b, 0x4c, 0x5d, 0x76, 0x6e, 0x87, 0x7f, 0x80, 0x91, 0xa2, 0xb3, 0xc4, 0xd5}
)

// stored is a refresh token at generation 7, rotated from one client address an hour ago.
func stored() domain.Snapshot {
	return domain.Snapshot{
		Token: domain.RefreshToken{
			ID: tokenID, TenantID: "acme", ApplicationID: "shop", UserID: "ada",
			Generation: 7,
			IssuedAt:   issued, RotatedAt: issued.Add(5 * day), LastUsedAt: issued.Add(5 * day), ExpiresAt: issued.Add(35 * day),
			GraceGeneration: 6, GraceSince: issued.Add(5 * day),
			IssuedEpoch: 4, Roles: []string{"admin"}, Scopes: []string{"read"}, Claims: `{"plan":"gold"}`,
			MetaData: domain.MetaData{Device: domain.Device{Name: "phone"}, ClientAddress: "192.0.2.1"},
		},
		MarkEpoch: 4,
		Policy:    domain.DefaultPolicy(),
	}
}

// hourLater is a call an hour after stored was rotated.
func hourLater(generation uint32) domain.Call {
	return domain.Call{Generation: generation, Now: issued.Add(5*day + time.Hour), ClientAddress: "192.0.2.2"}
}

func TestDecideTable(t *testing.T) {
	rotatedAt := stored().Token.RotatedAt
	tests := []struct {
		rule    string
		change  func(*domain.Snapshot, *domain.Call)
		present uint32
		want    domain.Outcome
		why     error
	}{
		{"another tenant than the token's is invalid", func(_ *domain.Snapshot, c *domain.Call) { c.TenantID = "other" }, 7,
			domain.RefusedInvalid, nil},
		{"the token's own tenant serves", func(_ *domain.Snapshot, c *domain.Call) { c.TenantID = "acme" }, 7, domain.Rotated, nil},
		{"generation 0 is none", nil, 0, domain.RefusedInvalid, nil},
		{"generation 0 is not the one before the first", func(s *domain.Snapshot, _ *domain.Call) { s.Token.Generation = 1 }, 0,
			domain.RefusedInvalid, nil},
		{"authentication asked for and not proved is invalid", func(s *domain.Snapshot, _ *domain.Call) {
			s.Policy.RequireAuthentication = true
		}, 7, domain.RefusedInvalid, domain.ErrUnproved},
		{"a stranger without an API key cannot revoke by replay", func(s *domain.Snapshot, _ *domain.Call) {
			s.Policy.RequireAuthentication = true
		}, 1, domain.RefusedInvalid, domain.ErrUnproved},
		{"authentication asked for and proved serves", func(s *domain.Snapshot, c *domain.Call) {
			s.Policy.RequireAuthentication, c.Authenticated = true, true
		}, 7, domain.Rotated, nil},
		{"authentication proved and not asked for serves", func(_ *domain.Snapshot, c *domain.Call) { c.Authenticated = true }, 7,
			domain.Rotated, nil},
		{"a binding not proved is invalid", func(s *domain.Snapshot, _ *domain.Call) { s.Token.Binding = "key" }, 7,
			domain.RefusedInvalid, nil},
		{"another binding proved is invalid", func(s *domain.Snapshot, c *domain.Call) {
			s.Token.Binding, c.Binding = "key", "kez"
		}, 7, domain.RefusedInvalid, nil},
		{"a stranger without the bound key cannot revoke by replay", func(s *domain.Snapshot, _ *domain.Call) {
			s.Token.Binding = "key"
		}, 1, domain.RefusedInvalid, nil},
		{"the binding proved serves", func(s *domain.Snapshot, c *domain.Call) { s.Token.Binding, c.Binding = "key", "key" }, 7,
			domain.Rotated, nil},
		{"a binding proved and not asked for serves", func(_ *domain.Snapshot, c *domain.Call) { c.Binding = "key" }, 7,
			domain.Rotated, nil},

		{"revoked itself", func(s *domain.Snapshot, c *domain.Call) { s.Token.RevokedAt = c.Now.Add(-time.Hour) }, 7,
			domain.RefusedRevoked, nil},
		{"revoked at an instant that is still to come for this replica's clock", func(s *domain.Snapshot, c *domain.Call) {
			s.Token.RevokedAt = c.Now.Add(time.Second)
		}, 7, domain.RefusedRevoked, nil},
		{"revoked by a mark of a later epoch", func(s *domain.Snapshot, _ *domain.Call) { s.MarkEpoch = 5 }, 7,
			domain.RefusedRevoked, nil},
		{"a mark of the epoch of issue does not reach it", func(s *domain.Snapshot, _ *domain.Call) { s.MarkEpoch = 4 }, 7,
			domain.Rotated, nil},
		{"application or tenant gone", func(s *domain.Snapshot, _ *domain.Call) { s.Gone, s.Policy = true, domain.Policy{} }, 7,
			domain.RefusedRevoked, nil},
		{"expired at expiresAt", func(s *domain.Snapshot, c *domain.Call) { s.Token.ExpiresAt = c.Now }, 7,
			domain.RefusedExpired, nil},
		{"expired past expiresAt", func(s *domain.Snapshot, c *domain.Call) { s.Token.ExpiresAt = c.Now.Add(-µs) }, 7,
			domain.RefusedExpired, nil},
		{"alive a microsecond before expiresAt", func(s *domain.Snapshot, c *domain.Call) { s.Token.ExpiresAt = c.Now.Add(µs) }, 7,
			domain.Rotated, nil},
		{"inactive", func(s *domain.Snapshot, _ *domain.Call) { s.Policy.Active = false }, 7, domain.RefusedInactive, nil},
		{"an old string does not kill while the application is inactive", func(s *domain.Snapshot, _ *domain.Call) {
			s.Policy.Active = false
		}, 1, domain.RefusedInactive, nil},
		{"a generation to come is invalid", nil, 8, domain.RefusedInvalid, domain.ErrAhead},
		{"an access token's life of the policy's serves", func(_ *domain.Snapshot, c *domain.Call) {
			c.AccessTokenTTL = 15 * time.Minute
		}, 7, domain.Rotated, nil},
		{"an access token's life above the policy's is invalid", func(_ *domain.Snapshot, c *domain.Call) {
			c.AccessTokenTTL = 15*time.Minute + µs
		}, 7, domain.RefusedInvalid, domain.ErrLifeTooLong},

		{"the current one is unchanged where reusable", func(s *domain.Snapshot, _ *domain.Call) {
			s.Policy.Usage = domain.Reusable
		}, 7, domain.Unchanged, nil},
		{"the current one is rotated", nil, 7, domain.Rotated, nil},
		{"the current one is rotated with all grace over and all recovery off", func(s *domain.Snapshot, _ *domain.Call) {
			s.Policy.GracePeriod, s.Policy.RecoveryBurst = 0, 0
		}, 7, domain.Rotated, nil},
		{"the one before, at the instant of the rotation", func(_ *domain.Snapshot, c *domain.Call) { c.Now = rotatedAt }, 6,
			domain.Retried, nil},
		{"the one before, by a clock behind that of the rotation: age zero", func(_ *domain.Snapshot, c *domain.Call) {
			c.Now = rotatedAt.Add(-time.Minute)
		}, 6, domain.Retried, nil},
		{"the one before, a microsecond within the grace period", func(_ *domain.Snapshot, c *domain.Call) {
			c.Now = rotatedAt.Add(grace - µs)
		}, 6, domain.Retried, nil},
		{"the one before, at the end of the grace period", func(_ *domain.Snapshot, c *domain.Call) {
			c.Now = rotatedAt.Add(grace)
		}, 6, domain.Recovered, nil},
		{"the one before, at the end of the grace period, recovery off", func(s *domain.Snapshot, c *domain.Call) {
			c.Now, s.Policy.RecoveryBurst = rotatedAt.Add(grace), 0
		}, 6, domain.RefusedReplayed, nil},
		{"a retry where the policy turned reusable since", func(s *domain.Snapshot, c *domain.Call) {
			c.Now, s.Policy.Usage = rotatedAt.Add(time.Second), domain.Reusable
		}, 6, domain.Retried, nil},
		{"grace 0: there is no retry, also at the instant of the rotation", func(s *domain.Snapshot, c *domain.Call) {
			c.Now, s.Policy.GracePeriod = rotatedAt, 0
		}, 6, domain.Recovered, nil},
		{"grace 0: there is no retry, also by a clock behind that of the rotation", func(s *domain.Snapshot, c *domain.Call) {
			c.Now, s.Policy.GracePeriod = rotatedAt.Add(-time.Second), 0
		}, 6, domain.Recovered, nil},
		{"grace 0 and burst 0: strictly once", func(s *domain.Snapshot, c *domain.Call) {
			c.Now, s.Policy.GracePeriod, s.Policy.RecoveryBurst = rotatedAt, 0, 0
		}, 6, domain.RefusedReplayed, nil},
		{"several before, from graceGeneration on, within the grace period of graceSince", func(s *domain.Snapshot, c *domain.Call) {
			s.Token.GraceGeneration, c.Now = 2, rotatedAt.Add(grace-µs)
		}, 2, domain.Retried, nil},
		{"several before, at the end of the grace period of graceSince", func(s *domain.Snapshot, c *domain.Call) {
			s.Token.GraceGeneration, c.Now = 2, rotatedAt.Add(grace)
		}, 2, domain.RefusedReplayed, nil},
		{"one before graceGeneration", func(s *domain.Snapshot, c *domain.Call) {
			s.Token.GraceGeneration, c.Now = 3, rotatedAt
		}, 2, domain.RefusedReplayed, nil},
		{"graceGeneration 0 is none", func(s *domain.Snapshot, c *domain.Call) {
			s.Token.GraceGeneration, s.Token.GraceSince, c.Now = 0, time.Time{}, rotatedAt
		}, 5, domain.RefusedReplayed, nil},
		{"the one before is a retry by rotatedAt where graceSince is over", func(s *domain.Snapshot, c *domain.Call) {
			s.Token.GraceGeneration, s.Token.GraceSince = 3, rotatedAt.Add(-grace)
			c.Now = rotatedAt.Add(grace - µs)
		}, 6, domain.Retried, nil},
		{"the one before, late, within the budget", nil, 6, domain.Recovered, nil},
		{"the one before, late, free because it was recovered before", func(s *domain.Snapshot, _ *domain.Call) {
			s.Token.RecoveredGeneration, s.Token.RecoveryPaidUntil = 7, 1_000
		}, 6, domain.Recovered, nil},
		{"recovered before, and recovery turned off since: still free", func(s *domain.Snapshot, _ *domain.Call) {
			s.Token.RecoveredGeneration, s.Policy.RecoveryBurst = 7, 0
		}, 6, domain.Recovered, nil},
		{"the one before, late, where another generation was recovered and the budget is spent", func(s *domain.Snapshot, _ *domain.Call) {
			s.Token.RecoveredGeneration, s.Token.RecoveryPaidUntil = 6, 18
		}, 6, domain.RefusedReplayed, nil},
		{"two before, late", nil, 5, domain.RefusedReplayed, nil},
		{"the first, late", nil, 1, domain.RefusedReplayed, nil},
		{"replay is refused where the policy does not revoke", func(s *domain.Snapshot, _ *domain.Call) {
			s.Policy.RevokeOnReplay = false
		}, 5, domain.RefusedReplayed, nil},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			s, c := stored(), hourLater(tt.present)
			if tt.change != nil {
				tt.change(&s, &c)
			}
			d := s.Decide(c)
			if d.Outcome != tt.want || !errors.Is(d.Why, tt.why) || (tt.why == nil) != (d.Why == nil) {
				t.Errorf("got %s (%v), want %s (%v)", d.Outcome, d.Why, tt.want, tt.why)
			}
			if d.Outcome != domain.RefusedReplayed && d.Outcome.Refused() && d.Write {
				t.Errorf("%s writes", d.Outcome)
			}
			if !d.Write {
				if diff := cmp.Diff(s.Token, d.After); diff != "" {
					t.Errorf("nothing is written, yet the record differs (-stored +after):\n%s", diff)
				}
			}
		})
	}
}

// Each outcome changes these fields and no others: a store is told to write them all.
func TestDecideWhatIsStored(t *testing.T) {
	now := hourLater(7).Now
	slid := now.Add(30 * day)
	tests := []struct {
		rule   string
		change func(*domain.Snapshot)
		call   domain.Call
		want   func(*domain.RefreshToken)
		write  bool
		from   time.Time
	}{
		{"rotated", nil, hourLater(7), func(r *domain.RefreshToken) {
			r.Generation, r.RotatedAt, r.LastUsedAt, r.ExpiresAt = 8, now, now, slid
			r.GraceGeneration, r.GraceSince = 7, now
			r.MetaData.ClientAddress = "192.0.2.2"
		}, true, now},
		{"unchanged", func(s *domain.Snapshot) { s.Policy.Usage = domain.Reusable }, hourLater(7), func(r *domain.RefreshToken) {
			r.LastUsedAt, r.ExpiresAt = now, slid
		}, true, now},
		{"retried", func(s *domain.Snapshot) { s.Policy.GracePeriod = 2 * time.Hour }, hourLater(6), nil, false, issued.Add(5 * day)},
		{"recovered", nil, hourLater(6), func(r *domain.RefreshToken) {
			r.RecoveredGeneration, r.RecoveryPaidUntil, r.LastUsedAt, r.ExpiresAt = 7, 17, now, slid
		}, true, now},
		{"recovered again is not charged again", func(s *domain.Snapshot) {
			s.Token.RecoveredGeneration, s.Token.RecoveryPaidUntil = 7, 17
		}, hourLater(6), func(r *domain.RefreshToken) {
			r.RecoveredGeneration, r.RecoveryPaidUntil, r.LastUsedAt, r.ExpiresAt = 7, 17, now, slid
		}, true, now},
		{"replayed", nil, hourLater(5), func(r *domain.RefreshToken) {
			r.RevokedAt, r.RevokedReason = now, domain.RevokedByReplay
		}, true, time.Time{}},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			s := stored()
			if tt.change != nil {
				tt.change(&s)
			}
			want := s.Token
			if tt.want != nil {
				tt.want(&want)
			}
			d := s.Decide(tt.call)
			if diff := cmp.Diff(want, d.After); diff != "" {
				t.Errorf("stored record (-want +got):\n%s", diff)
			}
			if d.Write != tt.write {
				t.Errorf("write: got %t, want %t", d.Write, tt.write)
			}
			if !d.AccessTokenFrom.Equal(tt.from) {
				t.Errorf("access token counts from: got %s, want %s", d.AccessTokenFrom, tt.from)
			}
		})
	}
}

// A case of the table that holds beats every later one: with any two at once, the earlier decides. Were authentication checked
// after the generation, a stranger with an old string could revoke; were expiry checked before revocation, the user would be told
// the wrong reason.
func TestDecideOrder(t *testing.T) {
	rows := []struct {
		name  string
		apply func(*domain.Snapshot, *domain.Call)
		want  domain.Outcome
		why   error
	}{
		{"other tenant", func(_ *domain.Snapshot, c *domain.Call) { c.TenantID = "other" }, domain.RefusedInvalid, nil},
		{"unproved", func(s *domain.Snapshot, _ *domain.Call) { s.Policy.RequireAuthentication = true },
			domain.RefusedInvalid, domain.ErrUnproved},
		{"binding", func(s *domain.Snapshot, _ *domain.Call) { s.Token.Binding = "key" }, domain.RefusedInvalid, nil},
		{"revoked", func(s *domain.Snapshot, _ *domain.Call) { s.Token.RevokedAt = issued.Add(day) }, domain.RefusedRevoked, nil},
		{"expired", func(s *domain.Snapshot, _ *domain.Call) { s.Token.ExpiresAt = issued.Add(day) }, domain.RefusedExpired, nil},
		{"inactive", func(s *domain.Snapshot, _ *domain.Call) { s.Policy.Active = false }, domain.RefusedInactive, nil},
		{"ahead", func(_ *domain.Snapshot, c *domain.Call) { c.Generation = 8 }, domain.RefusedInvalid, domain.ErrAhead},
		{"life too long", func(_ *domain.Snapshot, c *domain.Call) { c.AccessTokenTTL = time.Hour },
			domain.RefusedInvalid, domain.ErrLifeTooLong},
	}
	for i, first := range rows {
		for _, later := range rows[i+1:] {
			for _, present := range []uint32{7, 6, 5} {
				t.Run(fmt.Sprintf("%s before %s, generation %d", first.name, later.name, present), func(t *testing.T) {
					s, c := stored(), hourLater(present)
					later.apply(&s, &c)
					first.apply(&s, &c)
					if d := s.Decide(c); d.Outcome != first.want || d.Why != first.why || d.Write {
						t.Errorf("got %s (%v) write %t, want %s (%v) and no write", d.Outcome, d.Why, d.Write, first.want, first.why)
					}
				})
			}
		}
	}
}

// Gone comes with a zero policy, which is inactive too: the user must learn that it is final.
func TestDecideGoneIsRevokedAndNotInactive(t *testing.T) {
	s := stored()
	s.Gone, s.Policy = true, domain.Policy{}
	if d := s.Decide(hourLater(7)); d.Outcome != domain.RefusedRevoked {
		t.Errorf("got %s, want %s", d.Outcome, domain.RefusedRevoked)
	}
}

func TestAlive(t *testing.T) {
	now := issued.Add(6 * day)
	tests := []struct {
		rule   string
		change func(*domain.Snapshot)
		want   bool
	}{
		{"as stored", func(*domain.Snapshot) {}, true},
		{"inactive is alive: it may come back", func(s *domain.Snapshot) { s.Policy.Active = false }, true},
		{"revoked", func(s *domain.Snapshot) { s.Token.RevokedAt = issued }, false},
		{"mark above", func(s *domain.Snapshot) { s.MarkEpoch = 5 }, false},
		{"mark below", func(s *domain.Snapshot) { s.MarkEpoch = 3 }, true},
		{"gone", func(s *domain.Snapshot) { s.Gone = true }, false},
		{"a microsecond before expiry", func(s *domain.Snapshot) { s.Token.ExpiresAt = now.Add(µs) }, true},
		{"at expiry", func(s *domain.Snapshot) { s.Token.ExpiresAt = now }, false},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			s := stored()
			tt.change(&s)
			if got := s.Alive(now); got != tt.want {
				t.Errorf("got %t, want %t", got, tt.want)
			}
		})
	}
}

func TestStrangerIsARetryFromAnotherKnownAddress(t *testing.T) {
	for _, tt := range []struct {
		rotation, retry string
		want            bool
	}{
		{"192.0.2.1", "192.0.2.1", false},
		{"192.0.2.1", "192.0.2.2", true},
		{"", "192.0.2.2", false},
		{"192.0.2.1", "", false},
	} {
		s := stored()
		s.Token.MetaData.ClientAddress = tt.rotation
		d := s.Decide(domain.Call{Generation: 6, Now: s.Token.RotatedAt, ClientAddress: tt.retry})
		if d.Outcome != domain.Retried || d.Stranger != tt.want {
			t.Errorf("rotation from %q, retry from %q: got %s, stranger %t, want %t", tt.rotation, tt.retry, d.Outcome, d.Stranger, tt.want)
		}
	}
}

// Five tabs restored together, each refreshing with what the one before it stored, move five generations in seconds. The first
// string must still be answered while the first of these rotations is within its grace period, and no longer.
func TestRotationsWithinOneGracePeriodCountAsOne(t *testing.T) {
	s := stored()
	start := hourLater(7).Now
	steps := []struct {
		after      time.Duration
		graceGen   uint32
		graceSince time.Duration
	}{
		{0, 7, 0},
		{time.Second, 7, 0},
		{2 * time.Second, 7, 0},
		{29 * time.Second, 7, 0},
		{grace - µs, 7, 0},
		{grace, 12, grace}, // the first is over: what this rotation leaves begins anew
		{grace + time.Second, 12, grace},
		{2*grace - µs, 12, grace},
		{2 * grace, 15, 2 * grace},
		{10 * time.Minute, 16, 10 * time.Minute},
	}
	for _, step := range steps {
		d := s.Decide(domain.Call{Generation: s.Token.Generation, Now: start.Add(step.after)})
		if d.Outcome != domain.Rotated {
			t.Fatalf("after %s: got %s", step.after, d.Outcome)
		}
		s.Token = d.After
		if s.Token.GraceGeneration != step.graceGen || !s.Token.GraceSince.Equal(start.Add(step.graceSince)) {
			t.Errorf("after %s: graceGeneration %d since %s, want %d since %s", step.after, s.Token.GraceGeneration,
				s.Token.GraceSince.Sub(start), step.graceGen, step.graceSince)
		}
	}
}

func TestTheFirstRotationStartsTheGracePeriod(t *testing.T) {
	r := domain.RefreshToken{ID: tokenID, Generation: 1, IssuedAt: issued, RotatedAt: issued, ExpiresAt: issued.Add(day)}
	got := r.Rotated(domain.DefaultPolicy(), issued, "")
	if got.GraceGeneration != 1 || !got.GraceSince.Equal(issued) || got.Generation != 2 {
		t.Errorf("got generation %d, graceGeneration %d since %s", got.Generation, got.GraceGeneration, got.GraceSince)
	}
}

// A rotation by a replica whose clock is behind must not end a grace period that another one began.
func TestRotationByAClockBehindKeepsTheGracePeriod(t *testing.T) {
	s := stored()
	d := s.Decide(domain.Call{Generation: 7, Now: s.Token.GraceSince.Add(-time.Second)})
	if d.After.GraceGeneration != 6 || !d.After.GraceSince.Equal(s.Token.GraceSince) {
		t.Errorf("got graceGeneration %d since %s, want 6 since %s", d.After.GraceGeneration, d.After.GraceSince, s.Token.GraceSince)
	}
}

// The grace period is measured from the rotation. Were it measured from the last retry, a thief could keep an old string alive
// by asking often enough.
func TestRetriesDoNotProlongTheGracePeriod(t *testing.T) {
	s := stored()
	s.Policy.RecoveryBurst = 0
	for at := time.Duration(0); at < grace; at += time.Second {
		d := s.Decide(domain.Call{Generation: 6, Now: s.Token.RotatedAt.Add(at)})
		if d.Outcome != domain.Retried || d.Write {
			t.Fatalf("after %s: got %s, write %t", at, d.Outcome, d.Write)
		}
		s.Token = d.After
	}
	if d := s.Decide(domain.Call{Generation: 6, Now: s.Token.RotatedAt.Add(grace)}); d.Outcome != domain.RefusedReplayed {
		t.Errorf("at the end: got %s, want %s", d.Outcome, domain.RefusedReplayed)
	}
}

func TestRecoveryBudget(t *testing.T) {
	type ask struct {
		generation uint32 // the current one, to which the string before it is presented late
		want       domain.Outcome
		paidUntil  int64
	}
	const yes, no = domain.Recovered, domain.RefusedReplayed
	tests := []struct {
		rule            string
		burst, interval int64
		asks            []ask
	}{
		{"burst 0 turns recovery off", 0, 10, []ask{{2, no, 0}, {500, no, 0}}},
		{"burst 1: one, and the next an interval later", 1, 10, []ask{{7, yes, 17}, {8, no, 17}, {16, no, 17}, {17, yes, 27}}},
		{"burst 2: two in a row, not three", 2, 10, []ask{{7, yes, 17}, {8, yes, 27}, {9, no, 27}}},
		{"burst 2: the third an interval after the first", 2, 10, []ask{{7, yes, 17}, {8, yes, 27}, {16, no, 27}, {17, yes, 37}, {18, no, 37}}},
		{"burst 2: what was not used does not pile up beyond the burst", 2, 10,
			[]ask{{1000, yes, 1010}, {1001, yes, 1020}, {1002, no, 1020}}},
		{"burst 2: one every interval goes on for ever", 2, 10,
			[]ask{{10, yes, 20}, {20, yes, 30}, {30, yes, 40}, {40, yes, 50}, {41, yes, 60}, {42, no, 60}}},
		{"the same generation again is free", 2, 10, []ask{{7, yes, 17}, {7, yes, 17}, {7, yes, 17}, {8, yes, 27}, {8, yes, 27}, {9, no, 27}}},
		{"interval 2, burst 2: the fourth in a row is too much", 2, 2, []ask{{7, yes, 9}, {8, yes, 11}, {9, yes, 13}, {10, no, 13}}},
		{"interval 3, burst 2: the third in a row is too much", 2, 3, []ask{{7, yes, 10}, {8, yes, 13}, {9, no, 13}}},
		{"burst 3: three in a row, not four", 3, 10, []ask{{7, yes, 17}, {8, yes, 27}, {9, yes, 37}, {10, no, 37}}},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			s := stored()
			s.Policy.RecoveryBurst, s.Policy.RecoveryInterval = tt.burst, tt.interval
			s.Policy.RevokeOnReplay = false
			for _, a := range tt.asks {
				s.Token.Generation = a.generation
				d := s.Decide(hourLater(a.generation - 1))
				s.Token = d.After
				if d.Outcome != a.want || s.Token.RecoveryPaidUntil != a.paidUntil {
					t.Errorf("generation %d: got %s, paid until %d, want %s, %d", a.generation, d.Outcome, s.Token.RecoveryPaidUntil, a.want, a.paidUntil)
				}
				if s.Token.Generation != a.generation {
					t.Errorf("generation %d: moved to %d", a.generation, s.Token.Generation)
				}
			}
		})
	}
}

func TestExpiryMoves(t *testing.T) {
	now := hourLater(0).Now
	for _, tt := range []struct {
		expiration domain.ExpirationPolicy
		maximum    time.Duration
		want       time.Time
	}{
		{domain.Fixed, 365 * day, stored().Token.ExpiresAt},
		{domain.SlidingWindow, 30 * day, now.Add(30 * day)},
		{domain.SlidingWindowWithMaximumLifetime, 365 * day, now.Add(30 * day)},
		{domain.SlidingWindowWithMaximumLifetime, 32 * day, issued.Add(32 * day)},
		{domain.SlidingWindowWithMaximumLifetime, 35*day + time.Hour - µs, issued.Add(35*day + time.Hour - µs)},
		{domain.SlidingWindowWithMaximumLifetime, 35*day + time.Hour + µs, now.Add(30 * day)},
	} {
		for name, change := range map[domain.Outcome]func(*domain.Snapshot, *domain.Call){
			domain.Rotated:   func(_ *domain.Snapshot, c *domain.Call) { c.Generation = 7 },
			domain.Unchanged: func(s *domain.Snapshot, c *domain.Call) { c.Generation, s.Policy.Usage = 7, domain.Reusable },
			domain.Recovered: func(_ *domain.Snapshot, c *domain.Call) { c.Generation = 6 },
			domain.Retried:   func(s *domain.Snapshot, c *domain.Call) { c.Generation, s.Policy.GracePeriod = 6, 2*time.Hour },
		} {
			t.Run(fmt.Sprintf("%s/%s/maximum %s", name, tt.expiration, tt.maximum), func(t *testing.T) {
				s, c := stored(), hourLater(0)
				s.Policy.Expiration, s.Policy.MaximumTTL = tt.expiration, tt.maximum
				change(&s, &c)
				want := tt.want
				if name == domain.Retried {
					want = s.Token.ExpiresAt
				}
				if d := s.Decide(c); d.Outcome != name || !d.After.ExpiresAt.Equal(want) {
					t.Errorf("got %s, expires %s, want %s, %s", d.Outcome, d.After.ExpiresAt, name, want)
				}
			})
		}
	}
}

func TestOutcomes(t *testing.T) {
	refused := map[domain.Outcome]bool{"rotated": false, "retried": false, "recovered": false, "unchanged": false,
		"invalid": true, "expired": true, "revoked": true, "inactive": true, "replayed": true}
	if len(domain.Outcomes) != len(refused) {
		t.Errorf("got %d outcomes, want %d", len(domain.Outcomes), len(refused))
	}
	for _, o := range domain.Outcomes {
		if want, known := refused[o]; !known || o.Refused() != want {
			t.Errorf("%s: refused %t, want %t (known %t)", o, o.Refused(), want, known)
		}
	}
	if !domain.Outcome("").Refused() {
		t.Error("an outcome that nobody set is no refusal")
	}
}

func BenchmarkDecide(b *testing.B) {
	s := stored()
	for _, bm := range []struct {
		name string
		call domain.Call
	}{{"rotated", hourLater(7)}, {"recovered", hourLater(6)}, {"replayed", hourLater(5)}} {
		b.Run(bm.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.Decide(bm.call)
			}
		})
	}
}
