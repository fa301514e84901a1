package domain_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/domain"
)

var sessionStart = time.Date(2031, 2, 3, 4, 5, 6, 0, time.UTC)

// What a list shows as active and what an exchange takes for active must be one thing: both are driven with random
// records, marks and instants. An ending lies where one of the things that ended the session does, and none of them is
// earlier.
func TestASessionIsAliveExactlyWhereItsSnapshotIs(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 3))
	instant := func() time.Time { return sessionStart.Add(time.Duration(r.IntN(5)) * time.Second) }
	for range 100_000 {
		now := instant()
		token := domain.RefreshToken{ExpiresAt: instant(), IssuedEpoch: uint64(r.IntN(3))}
		if r.IntN(2) == 0 {
			token.RevokedAt, token.RevokedReason = instant(), domain.RevokedByReplay
		}
		session := domain.Session{Token: token, Gone: r.IntN(4) == 0}
		shot := domain.Snapshot{Token: token, Gone: session.Gone}
		for range r.IntN(4) { // the marks that cover it
			m := domain.Mark{Epoch: 1 + uint64(r.IntN(5)), At: instant(), Reason: domain.RevokedByCall}
			shot.MarkEpoch = max(shot.MarkEpoch, m.Epoch)
			if m.Epoch > token.IssuedEpoch && (session.Mark.Epoch == 0 || m.Epoch < session.Mark.Epoch) {
				session.Mark = m
			}
		}
		ending, ended := session.End(now)
		if alive := shot.Alive(now); session.Alive(now) != alive || ended == alive {
			t.Fatalf("%+v at %v: Alive = %t, ended = %t, Snapshot.Alive = %t", session, now, session.Alive(now), ended, alive)
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
		if session.Gone && len(candidates) == 0 {
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

// An operator reads why: of ends at one instant the one that says most.
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
		{"gone, and its mark too", domain.Session{Token: token, Gone: true}, at(8), domain.Ending{Reason: "deleted"}, true},
		{"gone and expired", domain.Session{Token: token, Gone: true}, at(9),
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
	}{
		{domain.ActiveSessions, true, false}, {domain.EndedSessions, false, true}, {domain.AllSessions, true, true},
		{"", true, false},
	} {
		if got := tc.state.Includes(true); got != tc.active {
			t.Errorf("state %q includes active sessions: %t, want %t", tc.state, got, tc.active)
		}
		if got := tc.state.Includes(false); got != tc.ended {
			t.Errorf("state %q includes ended sessions: %t, want %t", tc.state, got, tc.ended)
		}
	}
}

// Each of the five is compared, and each of the five is taken over, with nothing beside them.
func TestAChangeComparesAndTakesFiveFields(t *testing.T) {
	stored := domain.RefreshToken{
		ID: domain.ID{1}, TenantID: "acme", UserID: "ana", Generation: 7, ExpiresAt: sessionStart, IssuedEpoch: 3,
		Roles: []string{"clerk"}, Scopes: []string{"read"}, Claims: `{"a":1}`,
		MetaData: domain.MetaData{Device: domain.Device{Name: "phone"}, ClientAddress: "192.0.2.7", Data: `{"b":2}`},
	}
	differ := map[string]func(*domain.RefreshToken){
		"roles":  func(t *domain.RefreshToken) { t.Roles = []string{"owner"} },
		"scopes": func(t *domain.RefreshToken) { t.Scopes = nil },
		"claims": func(t *domain.RefreshToken) { t.Claims = "" },
		"device": func(t *domain.RefreshToken) { t.MetaData.Device.Type = "mobile" },
		"data":   func(t *domain.RefreshToken) { t.MetaData.Data = `{"b":3}` },
	}
	for name, change := range differ {
		other := stored
		change(&other)
		if (domain.Change{Before: other}).Fits(stored) {
			t.Errorf("a change that read other %s fits", name)
		}
		got := domain.Change{After: other}.Changed(stored)
		if diff := cmp.Diff(other, got); diff != "" {
			t.Errorf("%s changed (-want +got):\n%s", name, diff)
		}
	}
	rotated := stored
	rotated.Generation, rotated.MetaData.ClientAddress = 9, "192.0.2.8"
	if !(domain.Change{Before: rotated}).Fits(stored) {
		t.Error("a change does not fit because of what it does not compare")
	}
	if diff := cmp.Diff(stored, domain.Change{After: rotated}.Changed(stored)); diff != "" {
		t.Errorf("a change took over what is none of the five (-want +got):\n%s", diff)
	}
}
