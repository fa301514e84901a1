package domain_test

import (
	"errors"
	"fmt"
	"slices"
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

// stored is a refresh token at generation 7, rotated from one client address five days after its issue.
func stored() domain.Snapshot {
	return domain.Snapshot{
		Token: domain.RefreshToken{
			ID: tokenID, TenantID: "acme", ApplicationID: "shop", UserID: "ada", Generation: 7, Ordinal: 3,
			IssuedAt: issued, RotatedAt: issued.Add(5 * day), LastUsedAt: issued.Add(5 * day),
			ExpiresAt:   issued.Add(35 * day).Truncate(time.Second),
			IssuedEpoch: 4, Roles: []string{"admin"}, Scopes: []string{"read"}, Claims: `{"plan":"gold"}`,
			MetaData: domain.MetaData{Device: domain.Device{Name: "phone"}, ClientAddress: "192.0.2.1"},
		},
		MarkEpoch: 4,
		Policy:    domain.DefaultPolicy(),
	}
}

// hourLater is an exchange one hour after stored was rotated.
func hourLater(generation uint32) domain.Call {
	return domain.Call{Generation: generation, Now: issued.Add(5*day + time.Hour), ClientAddress: "192.0.2.2"}
}

func TestDecideTable(t *testing.T) {
	type (
		snap = *domain.Snapshot
		call = *domain.Call
	)
	rotatedAt := stored().Token.RotatedAt
	at := func(age time.Duration) func(snap, call) {
		return func(_ snap, c call) { c.Now = rotatedAt.Add(age) }
	}
	// afterRecovery changes stored so that it was recovered ten minutes after the rotation, and is presented at that
	// age of the recovery.
	afterRecovery := func(age time.Duration) func(snap, call) {
		return func(s snap, c call) {
			s.Token.RecoveredAt, s.Token.RecoveryPaidUntil = rotatedAt.Add(10*time.Minute), 17
			c.Now = s.Token.RecoveredAt.Add(age)
		}
	}
	reusable := func(s snap, _ call) { s.Policy.Usage = domain.Reusable }
	tooLong := func(_ snap, c call) { c.AccessTokenTTL = 15*time.Minute + µs }
	lastGeneration := func(s snap, _ call) { s.Token.Generation = domain.MaxGeneration }
	// maximum sets the maximum lifetime of the policy in force.
	maximum := func(d time.Duration) func(snap, call) { return func(s snap, _ call) { s.Policy.MaximumTTL = d } }
	const (
		// Cut to the second, the end of such a lifetime is the first second after the instant of hourLater.
		justLongEnough = 5*day + time.Hour + (1_000_000-123_456)*µs
		lastOne        = uint32(domain.MaxGeneration)
	)
	both := func(changes ...func(snap, call)) func(snap, call) {
		return func(s snap, c call) {
			for _, change := range changes {
				change(s, c)
			}
		}
	}
	const (
		rotated, retried, recovered, unchanged = domain.Rotated, domain.Retried, domain.Recovered, domain.Unchanged
		invalid, expired, revoked              = domain.RefusedInvalid, domain.RefusedExpired, domain.RefusedRevoked
		inactive, replayed                     = domain.RefusedInactive, domain.RefusedReplayed
	)
	tests := []struct {
		rule    string
		change  func(snap, call)
		present uint32
		want    domain.Outcome
		why     error
	}{
		{"another tenant than the token's", func(_ snap, c call) { c.TenantID = "other" }, 7, invalid, nil},
		{"the token's own tenant", func(_ snap, c call) { c.TenantID = "acme" }, 7, rotated, nil},
		{"generation 0 is none", nil, 0, invalid, nil},
		{"generation 0 is not the one before the first", func(s snap, c call) {
			s.Token.Generation, c.Now = 1, rotatedAt
		}, 0, invalid, nil},
		{"authentication required and missing", func(s snap, _ call) { s.Policy.RequireAuthentication = true }, 7,
			invalid, domain.ErrAuthenticationRequired},
		{"an old string without the API key does not revoke", func(s snap, _ call) {
			s.Policy.RequireAuthentication = true
		}, 1, invalid, domain.ErrAuthenticationRequired},
		{"authentication required and sent", func(s snap, c call) {
			s.Policy.RequireAuthentication, c.Authenticated = true, true
		}, 7, rotated, nil},
		{"authentication sent and not required", func(_ snap, c call) { c.Authenticated = true }, 7, rotated, nil},
		{"a binding not proved", func(s snap, _ call) { s.Token.Binding = "key" }, 7, invalid, domain.ErrProofRequired},
		{"another binding proved", func(s snap, c call) { s.Token.Binding, c.Binding = "key", "kez" }, 7,
			invalid, domain.ErrProofRequired},
		{"an old string without the bound key does not revoke", func(s snap, _ call) { s.Token.Binding = "key" }, 1,
			invalid, domain.ErrProofRequired},
		{"the binding proved", func(s snap, c call) { s.Token.Binding, c.Binding = "key", "key" }, 7, rotated, nil},
		{"a binding proved and not required", func(_ snap, c call) { c.Binding = "key" }, 7, rotated, nil},

		{"revoked itself", func(s snap, c call) { s.Token.RevokedAt = c.Now.Add(-time.Hour) }, 7, revoked, nil},
		{"revoked at an instant that is still to come for this replica's clock", func(s snap, c call) {
			s.Token.RevokedAt = c.Now.Add(time.Second)
		}, 7, revoked, nil},
		{"revoked by a mark of a later epoch", func(s snap, _ call) { s.MarkEpoch = 5 }, 7, revoked, nil},
		{"a mark of the epoch of issue does not cover it", func(s snap, _ call) { s.MarkEpoch = 4 }, 7, rotated, nil},
		{"application or tenant deleted", func(s snap, _ call) { s.Deleted, s.Policy = true, domain.Policy{} }, 7,
			revoked, nil},

		{"at expiresAt", func(s snap, c call) { s.Token.ExpiresAt = c.Now }, 7, expired, nil},
		{"past expiresAt", func(s snap, c call) { s.Token.ExpiresAt = c.Now.Add(-µs) }, 7, expired, nil},
		{"a microsecond before expiresAt", func(s snap, c call) { s.Token.ExpiresAt = c.Now.Add(µs) }, 7, rotated, nil},
		{"a shortened maximum would expire it before now", maximum(day), 7, expired, nil},
		{"a shortened maximum would expire it now, to the second", maximum(justLongEnough - µs), 7, expired, nil},
		{"a shortened maximum leaves it a part of a second", maximum(justLongEnough), 7, rotated, nil},
		{"a shortened maximum: also the one before", maximum(day), 6, expired, nil},
		{"a shortened maximum: also an answer that stands", both(maximum(day), at(0)), 6, expired, nil},
		{"a shortened maximum: also an old string", maximum(day), 5, expired, nil},
		{"a shortened maximum: also where reusable", both(maximum(day), reusable), 7, expired, nil},
		{"the maximum does not count where the expiry is fixed", func(s snap, _ call) {
			s.Policy.Expiration, s.Policy.MaximumTTL = domain.Fixed, day
		}, 7, rotated, nil},
		{"the maximum does not count where the window has none", func(s snap, _ call) {
			s.Policy.Expiration, s.Policy.MaximumTTL = domain.SlidingWindow, day
		}, 7, rotated, nil},
		{"the last generation", lastGeneration, lastOne, expired, nil},
		{"the one before the last generation", lastGeneration, lastOne - 1, expired, nil},
		{"the one before the last generation, whose answer would stand", both(lastGeneration, at(0)), lastOne - 1,
			expired, nil},
		{"an old string at the last generation", lastGeneration, 5, expired, nil},
		{"the last generation, where reusable", both(lastGeneration, reusable), lastOne, expired, nil},
		{"the last but one rotates", func(s snap, _ call) { s.Token.Generation = lastOne - 1 }, lastOne - 1, rotated,
			nil},
		{"inactive", func(s snap, _ call) { s.Policy.Active = false }, 7, inactive, nil},
		{"an old string does not revoke while the application is inactive", func(s snap, _ call) {
			s.Policy.Active = false
		}, 1, inactive, nil},

		{"a later generation", nil, 8, invalid, domain.ErrAhead},
		{"a later generation, where reusable", reusable, 8, invalid, domain.ErrAhead},
		{"a later generation, restored", func(_ snap, c call) { c.Restored = true }, 8, rotated, nil},
		{"a much later generation, restored", func(_ snap, c call) { c.Restored = true }, 1_000, rotated, nil},
		{"a later generation, restored, while an answer stands", func(_ snap, c call) {
			c.Restored, c.Now = true, rotatedAt
		}, 8, rotated, nil},
		{"the last but one, restored", func(_ snap, c call) { c.Restored = true }, lastOne - 1, rotated, nil},
		{"the last generation, restored", func(_ snap, c call) { c.Restored = true }, lastOne,
			invalid, domain.ErrAhead},
		{"restored: the one before is recovered", func(_ snap, c call) { c.Restored = true }, 6, recovered, nil},
		{"restored: an old string is a replay", func(_ snap, c call) { c.Restored = true }, 5, replayed, nil},

		{"reusable: the current one", reusable, 7, unchanged, nil},
		{"reusable: the current one, while an answer stands", both(reusable, at(0)), 7, unchanged, nil},
		{"reusable: the first one", both(reusable, func(s snap, _ call) { s.Token.Generation = 1 }), 1, unchanged, nil},
		{"reusable: the one before, while an answer stands", both(reusable, at(time.Second)), 6, retried, nil},
		{"reusable: the one before, late", reusable, 6, recovered, nil},
		{"reusable: the one before, late, with recovery off", both(reusable, func(s snap, _ call) {
			s.Policy.RecoveryBurst = 0
		}), 6, recovered, nil},
		{"reusable: the one before, late, with the budget spent", both(reusable, func(s snap, _ call) {
			s.Token.RecoveryPaidUntil = 1_000
		}), 6, recovered, nil},
		{"reusable: the one before, late, again", both(reusable, afterRecovery(20*day)), 6, recovered, nil},
		{"reusable: two before", both(reusable, at(0)), 5, replayed, nil},

		{"the current one, at the instant of the rotation", at(0), 7, retried, nil},
		{"the current one, by a clock behind, within a grace period", at(µs - grace), 7, retried, nil},
		{"the current one, by a clock behind, a grace period away", at(-grace), 7, rotated, nil},
		{"the current one, by a clock that is an hour behind that of the rotation", at(-time.Hour), 7, rotated, nil},
		{"the current one, a microsecond within the grace period", at(grace - µs), 7, retried, nil},
		{"the current one, at the end of the grace period", at(grace), 7, rotated, nil},
		{"the current one, late", nil, 7, rotated, nil},
		{"the one before, at the instant of the rotation", at(0), 6, retried, nil},
		{"the one before, by a clock behind, within a grace period", at(µs - grace), 6, retried, nil},
		{"the one before, by a clock behind, a grace period away", at(-grace), 6, recovered, nil},
		{"the one before, a microsecond within the grace period", at(grace - µs), 6, retried, nil},
		{"the one before, at the end of the grace period", at(grace), 6, recovered, nil},
		{"two before, at the instant of the rotation", at(0), 5, replayed, nil},

		{"recovered: the current one, at the instant of the recovery", afterRecovery(0), 7, retried, nil},
		{"recovered: the current one, by a clock behind, within a grace period", afterRecovery(µs - grace), 7, retried,
			nil},
		{"recovered: the current one, by a clock behind, a grace period away", afterRecovery(-grace), 7, rotated, nil},
		{"recovered: the current one, a microsecond within the grace period", afterRecovery(grace - µs), 7, retried,
			nil},
		{"recovered: the current one, at the end of the grace period", afterRecovery(grace), 7, rotated, nil},
		{"recovered: the one before, at the instant of the recovery", afterRecovery(0), 6, retried, nil},
		{"recovered: the one before, a microsecond within the grace period", afterRecovery(grace - µs), 6, retried,
			nil},
		{"recovered: the one before, at the end of the grace period", afterRecovery(grace), 6, recovered, nil},
		{"recovered: the rotation does not count any more", afterRecovery(-10 * time.Minute), 7, rotated, nil},

		{"the first generation rotates, at the instant of the insert", func(s snap, c call) {
			s.Token.Generation, c.Now = 1, rotatedAt
		}, 1, rotated, nil},
		{"the first generation rotates, by a clock behind", func(s snap, c call) {
			s.Token.Generation, c.Now = 1, rotatedAt.Add(-time.Second)
		}, 1, rotated, nil},
		{"the second generation does not, then", func(s snap, c call) {
			s.Token.Generation, c.Now = 2, rotatedAt
		}, 2, retried, nil},
		{"grace 0: the current one, at the instant of the rotation", both(at(0), func(s snap, _ call) {
			s.Policy.GracePeriod = 0
		}), 7, rotated, nil},
		{"grace 0: the one before, at the instant of the rotation", both(at(0), func(s snap, _ call) {
			s.Policy.GracePeriod = 0
		}), 6, recovered, nil},
		{"grace 0: the one before, by a clock behind", both(at(-time.Second), func(s snap, _ call) {
			s.Policy.GracePeriod = 0
		}), 6, recovered, nil},
		{"grace 0 and burst 0: strictly once", both(at(0), func(s snap, _ call) {
			s.Policy.GracePeriod, s.Policy.RecoveryBurst = 0, 0
		}), 6, replayed, nil},

		{"the one before, late, within the budget", nil, 6, recovered, nil},
		{"the one before, at the end of the grace period, with recovery off", both(at(grace), func(s snap, _ call) {
			s.Policy.RecoveryBurst = 0
		}), 6, replayed, nil},
		{"the one before, late, free because it was recovered before",
			both(afterRecovery(20*day), func(s snap, _ call) {
				s.Token.RecoveryPaidUntil = 1_000
			}), 6, recovered, nil},
		{"recovered before, and recovery turned off since: still free",
			both(afterRecovery(20*day), func(s snap, _ call) {
				s.Policy.RecoveryBurst = 0
			}), 6, recovered, nil},
		{"the one before, late, with the budget spent", func(s snap, _ call) { s.Token.RecoveryPaidUntil = 18 }, 6,
			replayed, nil},
		{"two before, late", nil, 5, replayed, nil},
		{"two before, late, where the current one was recovered", afterRecovery(time.Hour), 5, replayed, nil},
		{"the first, late", nil, 1, replayed, nil},
		{"a replay is refused where the policy does not revoke", func(s snap, _ call) {
			s.Policy.RevokeOnReplay = false
		}, 5, replayed, nil},

		{"an access token's lifetime of the policy's", func(_ snap, c call) { c.AccessTokenTTL = 15 * time.Minute }, 7,
			rotated, nil},
		{"an access token's lifetime above the policy's", tooLong, 7, invalid, domain.ErrLifetimeTooLong},
		{"the same, retried", both(tooLong, at(0)), 6, invalid, domain.ErrLifetimeTooLong},
		{"the same, recovered", tooLong, 6, invalid, domain.ErrLifetimeTooLong},
		{"the same, reusable", both(tooLong, reusable), 7, invalid, domain.ErrLifetimeTooLong},
		{"the same, restored", both(tooLong, func(_ snap, c call) { c.Restored = true }), 8, invalid,
			domain.ErrLifetimeTooLong},
		{"a replay that asks for too long a lifetime is a replay", tooLong, 5, replayed, nil},
		{"the same, strictly once", both(tooLong, at(0), func(s snap, _ call) {
			s.Policy.GracePeriod, s.Policy.RecoveryBurst = 0, 0
		}), 6, replayed, nil},
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
			writes := d.Outcome == rotated || d.Outcome == recovered || d.Outcome == unchanged ||
				d.Outcome == replayed && s.Policy.RevokeOnReplay
			if d.Write != writes {
				t.Errorf("%s: write %t, want %t", d.Outcome, d.Write, writes)
			}
			if revokes := d.After.RevokedReason == domain.RevokedByReplay; revokes != (writes &&
				d.Outcome == replayed) {
				t.Errorf("%s: revoked %t", d.Outcome, revokes)
			}
			if !d.Write {
				if diff := cmp.Diff(s.Token, d.After); diff != "" {
					t.Errorf("nothing is written, yet the record differs (-stored +after):\n%s", diff)
				}
			}
		})
	}
}

// Each outcome changes these fields and no others.
func TestDecideWhatIsStored(t *testing.T) {
	now := hourLater(7).Now
	slid := now.Add(30 * day).Truncate(time.Second)
	recoveredAt := now.Add(-10 * time.Minute)
	recovered := func(s *domain.Snapshot) { s.Token.RecoveredAt, s.Token.RecoveryPaidUntil = recoveredAt, 17 }
	restored := hourLater(41)
	restored.Restored = true
	tests := []struct {
		rule       string
		change     func(*domain.Snapshot)
		call       domain.Call
		want       func(*domain.RefreshToken)
		write      bool
		answeredAt time.Time
	}{
		{"rotated", nil, hourLater(7), func(r *domain.RefreshToken) {
			r.Generation, r.RotatedAt, r.LastUsedAt, r.ExpiresAt = 8, now, now, slid
			r.MetaData.ClientAddress = "192.0.2.2"
		}, true, now},
		{"rotated after a recovery, which is then over but paid", recovered, hourLater(7),
			func(r *domain.RefreshToken) {
				r.Generation, r.RotatedAt, r.LastUsedAt, r.ExpiresAt = 8, now, now, slid
				r.RecoveredAt, r.RecoveryPaidUntil = time.Time{}, 17
				r.MetaData.ClientAddress = "192.0.2.2"
			}, true, now},
		{"rotated by a clock that is behind", func(s *domain.Snapshot) { s.Token.RotatedAt = now.Add(grace) },
			hourLater(7),
			func(r *domain.RefreshToken) {
				r.Generation, r.RotatedAt, r.LastUsedAt, r.ExpiresAt = 8, now, now, slid
				r.MetaData.ClientAddress = "192.0.2.2"
			}, true, now},
		{"rotated from a restored store", recovered, restored, func(r *domain.RefreshToken) {
			r.Generation, r.RotatedAt, r.LastUsedAt, r.ExpiresAt = 42, now, now, slid
			r.RecoveredAt, r.RecoveryPaidUntil = time.Time{}, 17
			r.MetaData.ClientAddress = "192.0.2.2"
		}, true, now},
		{"unchanged", func(s *domain.Snapshot) { s.Policy.Usage = domain.Reusable }, hourLater(7),
			func(r *domain.RefreshToken) { r.LastUsedAt, r.ExpiresAt = now, slid }, true, now},
		{"retried with the current string", func(s *domain.Snapshot) { s.Policy.GracePeriod = 2 * time.Hour },
			hourLater(7),
			nil, false, issued.Add(5 * day)},
		{"retried with the one before", func(s *domain.Snapshot) { s.Policy.GracePeriod = 2 * time.Hour }, hourLater(6),
			nil, false, issued.Add(5 * day)},
		{"retried after a recovery", func(s *domain.Snapshot) {
			recovered(s)
			s.Policy.GracePeriod = 11 * time.Minute
		}, hourLater(7), nil, false, recoveredAt},
		{"recovered", nil, hourLater(6), func(r *domain.RefreshToken) {
			r.RecoveredAt, r.RecoveryPaidUntil, r.LastUsedAt, r.ExpiresAt = now, 17, now, slid
		}, true, now},
		{"recovered again: neither charged nor another last answer", recovered, hourLater(6),
			func(r *domain.RefreshToken) {
				r.LastUsedAt, r.ExpiresAt = now, slid
			}, true, now},
		{"recovered where reusable: not charged", func(s *domain.Snapshot) { s.Policy.Usage = domain.Reusable },
			hourLater(6),
			func(r *domain.RefreshToken) { r.RecoveredAt, r.LastUsedAt, r.ExpiresAt = now, now, slid }, true, now},
		{"replayed", nil, hourLater(5), func(r *domain.RefreshToken) {
			r.RevokedAt, r.RevokedReason = now, domain.RevokedByReplay
		}, true, time.Time{}},
		{"replayed where the policy does not revoke", func(s *domain.Snapshot) { s.Policy.RevokeOnReplay = false },
			hourLater(5), nil, false, time.Time{}},
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
			if !d.AnsweredAt.Equal(tt.answeredAt) {
				t.Errorf("answered at: got %s, want %s", d.AnsweredAt, tt.answeredAt)
			}
		})
	}
}

// A case of the table takes precedence over every later one: if any two apply, the earlier decides. If authentication
// was checked after the generation, a caller with an old string and no API key could revoke. If expiry was checked
// before revocation, the user would get the wrong reason. A lifetime above the policy's comes last: if it came first,
// it would reveal that a session is active, and a replay would not be detected.
func TestDecideOrder(t *testing.T) {
	rows := []struct {
		name  string
		apply func(*domain.Snapshot, *domain.Call)
		want  domain.Outcome
		why   error
	}{
		{"other tenant", func(_ *domain.Snapshot, c *domain.Call) { c.TenantID = "other" }, domain.RefusedInvalid, nil},
		{"authentication", func(s *domain.Snapshot, _ *domain.Call) { s.Policy.RequireAuthentication = true },
			domain.RefusedInvalid, domain.ErrAuthenticationRequired},
		{"binding", func(s *domain.Snapshot, _ *domain.Call) { s.Token.Binding = "key" },
			domain.RefusedInvalid, domain.ErrProofRequired},
		{"revoked", func(s *domain.Snapshot, _ *domain.Call) { s.Token.RevokedAt = issued.Add(day) },
			domain.RefusedRevoked, nil},
		{"revoked by a mark", func(s *domain.Snapshot, _ *domain.Call) { s.MarkEpoch = 5 }, domain.RefusedRevoked, nil},
		{"expired", func(s *domain.Snapshot, _ *domain.Call) { s.Token.ExpiresAt = issued.Add(day) },
			domain.RefusedExpired, nil},
		{"expired by a shortened policy", func(s *domain.Snapshot, _ *domain.Call) { s.Policy.MaximumTTL = day },
			domain.RefusedExpired, nil},
		{"expired by the last generation", func(s *domain.Snapshot, _ *domain.Call) {
			s.Token.Generation = domain.MaxGeneration
		}, domain.RefusedExpired, nil},
		{"inactive", func(s *domain.Snapshot, _ *domain.Call) { s.Policy.Active = false }, domain.RefusedInactive, nil},
		{"ahead", func(_ *domain.Snapshot, c *domain.Call) { c.Generation, c.Restored = 8, false },
			domain.RefusedInvalid, domain.ErrAhead},
		{"replayed", func(s *domain.Snapshot, c *domain.Call) { c.Generation = s.Token.Generation - 2 },
			domain.RefusedReplayed, nil},
		{"life too long", func(_ *domain.Snapshot, c *domain.Call) { c.AccessTokenTTL = time.Hour },
			domain.RefusedInvalid, domain.ErrLifetimeTooLong},
	}
	for i, first := range rows {
		for _, later := range rows[i+1:] {
			t.Run(first.name+" before "+later.name, func(t *testing.T) {
				for _, present := range []uint32{8, 7, 6, 5} {
					if later.name == "life too long" && first.name == "replayed" && present != 5 {
						continue
					}
					for _, age := range []time.Duration{0, time.Hour} {
						for _, usage := range []domain.UsagePolicy{domain.OneTimeUse, domain.Reusable} {
							s, c := stored(), hourLater(present)
							c.Now, c.Restored, s.Policy.Usage = s.Token.RotatedAt.Add(age), true, usage
							later.apply(&s, &c)
							first.apply(&s, &c)
							write := first.want == domain.RefusedReplayed
							d := s.Decide(c)
							if d.Outcome != first.want || !errors.Is(d.Why, first.why) || d.Write != write {
								t.Errorf("generation %d, %s after the rotation, %s: "+
									"got %s (%v) write %t, want %s (%v) write %t",
									present, age, usage, d.Outcome, d.Why, d.Write, first.want, first.why, write)
							}
						}
					}
				}
			})
		}
	}
}

// The policy of a deleted application is zero, and so not active: the refusal must still be final.
func TestDecideGoneIsRevokedAndNotInactive(t *testing.T) {
	s := stored()
	s.Deleted, s.Policy = true, domain.Policy{}
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
		{"inactive counts as active: its policy may change back", func(s *domain.Snapshot) { s.Policy.Active = false }, true},
		{"revoked", func(s *domain.Snapshot) { s.Token.RevokedAt = issued }, false},
		{"mark above", func(s *domain.Snapshot) { s.MarkEpoch = 5 }, false},
		{"mark below", func(s *domain.Snapshot) { s.MarkEpoch = 3 }, true},
		{"gone", func(s *domain.Snapshot) { s.Deleted = true }, false},
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

// Only the previous string counts: with the current one, a phone that changes networks while it loads pages would be
// logged all day.
func TestAddressChangedIsARetryOfTheStringBeforeFromAnotherKnownAddress(t *testing.T) {
	for _, tt := range []struct {
		rotation, retry string
		present         uint32
		want            bool
	}{
		{"192.0.2.1", "192.0.2.1", 6, false},
		{"192.0.2.1", "192.0.2.2", 6, true},
		{"", "192.0.2.2", 6, false},
		{"192.0.2.1", "", 6, false},
		{"192.0.2.1", "192.0.2.2", 7, false},
	} {
		s := stored()
		s.Token.MetaData.ClientAddress = tt.rotation
		d := s.Decide(domain.Call{Generation: tt.present, Now: s.Token.RotatedAt, ClientAddress: tt.retry})
		if d.Outcome != domain.Retried || d.AddressChanged != tt.want {
			t.Errorf("rotation from %q, retry of generation %d from %q: got %s, address changed %t, want %t",
				tt.rotation, tt.present, tt.retry, d.Outcome, d.AddressChanged, tt.want)
		}
	}
	// A rotation or a recovery from another address is not reported.
	for _, present := range []uint32{7, 6} {
		if d := stored().Decide(hourLater(present)); d.AddressChanged {
			t.Errorf("%s: address changed", d.Outcome)
		}
	}
}

// Tabs that exchange all the time, each with its newest string, rotate once in a grace period.
func TestAtMostOneRotationInAGracePeriod(t *testing.T) {
	s := stored()
	start := hourLater(7).Now
	var rotations []time.Duration
	for age := time.Duration(0); age <= 2*grace; age += time.Second {
		for before := range uint32(2) {
			present := s.Token.Generation - before
			d := s.Decide(domain.Call{Generation: present, Now: start.Add(age)})
			switch {
			case d.Outcome == domain.Rotated:
				rotations = append(rotations, age)
			case d.Outcome != domain.Retried || d.Write || d.After.Generation != s.Token.Generation:
				t.Fatalf("after %s, generation %d: got %s, write %t", age, present, d.Outcome, d.Write)
			}
			s.Token = d.After
		}
	}
	if want := []time.Duration{0, grace, 2 * grace}; !slices.Equal(rotations, want) {
		t.Errorf("got rotations after %v, want after %v", rotations, want)
	}
}

// The grace period counts from the rotation. If it counted from the last retry, a thief could keep an old string valid
// by frequent retries.
func TestRetriesDoNotProlongAnAnswer(t *testing.T) {
	s := stored()
	s.Policy.RecoveryBurst = 0
	for at := time.Duration(0); at < grace; at += time.Second {
		for _, present := range []uint32{7, 6} {
			d := s.Decide(domain.Call{Generation: present, Now: s.Token.RotatedAt.Add(at)})
			if d.Outcome != domain.Retried || d.Write {
				t.Fatalf("after %s: got %s, write %t", at, d.Outcome, d.Write)
			}
			s.Token = d.After
		}
	}
	if d := s.Decide(domain.Call{Generation: 6,
		Now: s.Token.RotatedAt.Add(grace)}); d.Outcome != domain.RefusedReplayed {
		t.Errorf("at the end: got %s, want %s", d.Outcome, domain.RefusedReplayed)
	}
}

// A repeated recovery costs nothing and starts no grace period. If it did, a thief with the previous string could send
// it after every grace period, and the owner's next rotation, which detects the thief, would never happen.
func TestRepeatedRecoveriesDoNotHoldARotationBack(t *testing.T) {
	s := stored()
	now := hourLater(6).Now
	first := s.Decide(domain.Call{Generation: 6, Now: now})
	s.Token = first.After
	for range 100 {
		now = now.Add(grace + 100*time.Millisecond)
		d := s.Decide(domain.Call{Generation: 6, Now: now})
		if d.Outcome != domain.Recovered || d.After.RecoveryPaidUntil != first.After.RecoveryPaidUntil {
			t.Fatalf("got %s, paid until %d, want %s, %d", d.Outcome, d.After.RecoveryPaidUntil,
				domain.Recovered, first.After.RecoveryPaidUntil)
		}
		s.Token = d.After
		if d := s.Decide(domain.Call{Generation: 7, Now: now}); d.Outcome != domain.Rotated {
			t.Fatalf("the current string, beside it: got %s, want %s", d.Outcome, domain.Rotated)
		}
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
		{"burst 1: one, and the next an interval later", 1, 10,
			[]ask{{7, yes, 17}, {8, no, 17}, {16, no, 17}, {17, yes, 27}}},
		{"burst 2: two in a row, not three", 2, 10, []ask{{7, yes, 17}, {8, yes, 27}, {9, no, 27}}},
		{"burst 2: the third an interval after the first", 2, 10,
			[]ask{{7, yes, 17}, {8, yes, 27}, {16, no, 27}, {17, yes, 37}, {18, no, 37}}},
		{"burst 2: what was not used does not pile up beyond the burst", 2, 10,
			[]ask{{1000, yes, 1010}, {1001, yes, 1020}, {1002, no, 1020}}},
		{"burst 2: one every interval, without end", 2, 10,
			[]ask{{10, yes, 20}, {20, yes, 30}, {30, yes, 40}, {40, yes, 50}, {41, yes, 60}, {42, no, 60}}},
		{"the same generation again is free", 2, 10,
			[]ask{{7, yes, 17}, {7, yes, 17}, {7, yes, 17}, {8, yes, 27}, {8, yes, 27}, {9, no, 27}}},
		{"interval 2, burst 2: the fourth in a row is too much", 2, 2,
			[]ask{{7, yes, 9}, {8, yes, 11}, {9, yes, 13}, {10, no, 13}}},
		{"interval 3, burst 2: the third in a row is too much", 2, 3, []ask{{7, yes, 10}, {8, yes, 13}, {9, no, 13}}},
		{"burst 3: three in a row, not four", 3, 10, []ask{{7, yes, 17}, {8, yes, 27}, {9, yes, 37}, {10, no, 37}}},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			s := stored()
			s.Policy.RecoveryBurst, s.Policy.RecoveryInterval = tt.burst, tt.interval
			s.Policy.RevokeOnReplay = false
			for i, a := range tt.asks {
				if s.Token.Generation != a.generation {
					s.Token.Generation, s.Token.RecoveredAt = a.generation, time.Time{}
				}
				c := hourLater(a.generation - 1)
				c.Now = c.Now.Add(time.Duration(i) * time.Hour)
				d := s.Decide(c)
				s.Token = d.After
				if d.Outcome != a.want || s.Token.RecoveryPaidUntil != a.paidUntil {
					t.Errorf("generation %d: got %s, paid until %d, want %s, %d", a.generation, d.Outcome,
						s.Token.RecoveryPaidUntil, a.want, a.paidUntil)
				}
				if s.Token.Generation != a.generation {
					t.Errorf("generation %d: moved to %d", a.generation, s.Token.Generation)
				}
			}
		})
	}
}

// The expiry is rounded down to the second, as that of the last access token is.
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
		{domain.SlidingWindowWithMaximumLifetime, 35*day + time.Hour - time.Second, now.Add(30*day - time.Second)},
		{domain.SlidingWindowWithMaximumLifetime, 35*day + time.Hour + time.Second, now.Add(30 * day)},
	} {
		for name, change := range map[domain.Outcome]func(*domain.Snapshot, *domain.Call){
			domain.Rotated: func(_ *domain.Snapshot, c *domain.Call) { c.Generation = 7 },
			domain.Unchanged: func(s *domain.Snapshot, c *domain.Call) {
				c.Generation, s.Policy.Usage = 7, domain.Reusable
			},
			domain.Recovered: func(_ *domain.Snapshot, c *domain.Call) { c.Generation = 6 },
			domain.Retried: func(s *domain.Snapshot, c *domain.Call) {
				c.Generation, s.Policy.GracePeriod = 6, 2*time.Hour
			},
		} {
			t.Run(fmt.Sprintf("%s/%s/maximum %s", name, tt.expiration, tt.maximum), func(t *testing.T) {
				s, c := stored(), hourLater(0)
				s.Policy.Expiration, s.Policy.MaximumTTL = tt.expiration, tt.maximum
				change(&s, &c)
				want := tt.want.Truncate(time.Second)
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

// A use by a clock that is behind moves the expiry back: it counts from that clock's time, not from the latest time of
// all clocks. The next use moves it forward again.
func TestExpiryMovesBackWithTheClock(t *testing.T) {
	const behind = time.Hour + 300*time.Millisecond
	now := hourLater(0).Now
	for _, expiration := range []domain.ExpirationPolicy{domain.SlidingWindow,
		domain.SlidingWindowWithMaximumLifetime} {
		for outcome, usage := range map[domain.Outcome]domain.UsagePolicy{
			domain.Rotated: domain.OneTimeUse, domain.Recovered: domain.OneTimeUse, domain.Unchanged: domain.Reusable,
		} {
			t.Run(fmt.Sprintf("%s/%s", expiration, outcome), func(t *testing.T) {
				s := stored()
				s.Policy.Expiration, s.Policy.Usage = expiration, usage
				for _, reading := range []time.Time{now, now.Add(-behind), now.Add(time.Minute)} {
					present := s.Token.Generation
					if outcome == domain.Recovered {
						present--
					}
					d := s.Decide(domain.Call{Generation: present, Now: reading})
					want := reading.Add(s.Policy.TTL).Truncate(time.Second)
					if d.Outcome != outcome || !d.After.ExpiresAt.Equal(want) {
						t.Fatalf("at %s: got %s, expires %s, want %s, %s", reading, d.Outcome, d.After.ExpiresAt,
							outcome, want)
					}
					s.Token = d.After
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
		t.Error("an outcome that is not set does not count as a refusal")
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
