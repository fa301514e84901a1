package domain_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/domain"
)

var sessionStart = time.Date(2031, 2, 3, 4, 5, 6, 0, time.UTC)

// A list and an exchange must agree on which sessions are active: both are driven with random records, marks and
// instants. The end of a session is at one of its causes, and none of them is earlier.
func TestASessionIsAliveExactlyWhereItsSnapshotIs(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 3))
	instant := func() time.Time { return sessionStart.Add(time.Duration(r.IntN(5)) * time.Second) }
	for range 100_000 {
		now := instant()
		token := domain.RefreshToken{ExpiresAt: instant(), IssuedEpoch: uint64(r.IntN(3))}
		if r.IntN(2) == 0 {
			token.RevokedAt, token.RevokedReason = instant(), domain.RevokedByReplay
		}
		session := domain.Session{Token: token, Deleted: r.IntN(4) == 0}
		shot := domain.Snapshot{Token: token, Deleted: session.Deleted}
		for range r.IntN(4) { // the marks that cover it
			m := domain.Mark{Epoch: 1 + uint64(r.IntN(5)), At: instant(), Reason: domain.RevokedByRequest}
			shot.MarkEpoch = max(shot.MarkEpoch, m.Epoch)
			if m.Epoch > token.IssuedEpoch && (session.Mark.Epoch == 0 || m.Epoch < session.Mark.Epoch) {
				session.Mark = m
			}
		}
		ending, ended := session.End(now)
		if alive := shot.Alive(now); session.Alive(now) != alive || ended == alive {
			t.Fatalf("%+v at %v: Alive = %t, ended = %t, Snapshot.Alive = %t", session, now, session.Alive(now), ended,
				alive)
		}
		candidates := map[domain.Ending]bool{}
		if !token.RevokedAt.IsZero() {
			candidates[domain.Ending{At: token.RevokedAt, Reason: "replayed"}] = true
		}
		if session.Mark.Epoch > 0 {
			candidates[domain.Ending{At: session.Mark.At, Reason: "revoked"}] = true
		}
		if !now.Before(token.ExpiresAt) {
			candidates[domain.Ending{At: token.ExpiresAt, Reason: domain.EndedByExpiry}] = true
		}
		if session.Deleted && len(candidates) == 0 {
			candidates[domain.Ending{Reason: "deleted"}] = true
		}
		if ended && !candidates[ending] || !ended && ending != (domain.Ending{}) {
			t.Fatalf("%+v at %v: got %+v, %t, want one of %v", session, now, ending, ended, candidates)
		}
		for c := range candidates {
			if c.At.Before(ending.At) {
				t.Fatalf("%+v at %v: got %+v, but there is %+v", session, now, ending, c)
			}
		}
	}
}

// For an operator: of ends at one instant, the one that says most.
func TestAnEndingSaysWhatEndedTheSessionFirst(t *testing.T) {
	at := func(s int) time.Time { return sessionStart.Add(time.Duration(s) * time.Second) }
	mark := domain.Mark{Epoch: 5, At: at(5), Reason: domain.RevokedByDelete}
	token := domain.RefreshToken{IssuedEpoch: 4, ExpiresAt: at(9)}
	revoked := token
	revoked.RevokedAt, revoked.RevokedReason = at(5), domain.RevokedByLimit
	early := token
	early.ExpiresAt = at(3)
	spared := token
	spared.IssuedEpoch = 5
	for _, tc := range []struct {
		name    string
		session domain.Session
		now     time.Time
		want    domain.Ending
		ended   bool
	}{
		{"active", domain.Session{Token: token}, at(8), domain.Ending{}, false},
		{"active above the mark", domain.Session{Token: spared, Mark: mark}, at(8), domain.Ending{}, false},
		{"expired", domain.Session{Token: token}, at(9), domain.Ending{At: at(9), Reason: "expired"}, true},
		{"a mark", domain.Session{Token: token, Mark: mark}, at(20), domain.Ending{At: at(5), Reason: "deleted"}, true},
		{"a mark of a clock that is ahead", domain.Session{Token: token, Mark: mark}, at(1),
			domain.Ending{At: at(5), Reason: "deleted"}, true},
		{"its own revocation and a mark", domain.Session{Token: revoked, Mark: mark}, at(20),
			domain.Ending{At: at(5), Reason: "limit"}, true},
		{"an expiry before the mark", domain.Session{Token: early, Mark: mark}, at(20),
			domain.Ending{At: at(3), Reason: "expired"}, true},
		{"an expiry before the mark that has not come", domain.Session{Token: early, Mark: mark}, at(2),
			domain.Ending{At: at(5), Reason: "deleted"}, true},
		{"gone, and its mark too", domain.Session{Token: token, Deleted: true}, at(8), domain.Ending{Reason: "deleted"},
			true},
		{"gone and expired", domain.Session{Token: token, Deleted: true}, at(9),
			domain.Ending{At: at(9), Reason: "expired"}, true},
	} {
		got, ended := tc.session.End(tc.now)
		if diff := cmp.Diff(tc.want, got); diff != "" || ended != tc.ended {
			t.Errorf("%s: ended = %t, want %t; (-want +got):\n%s", tc.name, ended, tc.ended, diff)
		}
	}
}

func TestAStateIncludesWhatItsNameSays(t *testing.T) {
	for _, tc := range []struct {
		state         domain.SessionState
		active, ended bool
		orActive      domain.SessionState
	}{
		{domain.ActiveSessions, true, false, domain.ActiveSessions},
		{domain.EndedSessions, false, true, domain.EndedSessions},
		{domain.AllSessions, true, true, domain.AllSessions}, {"", false, false, domain.ActiveSessions},
	} {
		if got := tc.state.Includes(true); got != tc.active {
			t.Errorf("state %q includes active sessions: %t, want %t", tc.state, got, tc.active)
		}
		if got := tc.state.Includes(false); got != tc.ended {
			t.Errorf("state %q includes ended sessions: %t, want %t", tc.state, got, tc.ended)
		}
		if got := tc.state.OrActive(); got != tc.orActive {
			t.Errorf("state %q, or active: %q, want %q", tc.state, got, tc.orActive)
		}
	}
}
