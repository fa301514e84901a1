package usecase_test

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/test/storagetest"
	"github.com/refreshd/refreshd/usecase"
)

// since returns the events that were stored after these.
func (w *world) since(t *testing.T, before []domain.Event) []domain.Event {
	t.Helper()
	var since []domain.Event
	for _, e := range w.events(t) {
		if !slices.ContainsFunc(before, func(b domain.Event) bool { return b.ID == e.ID }) {
			since = append(since, e)
		}
	}
	return since
}

func ended(t domain.RefreshToken) domain.EndedToken {
	return domain.EndedToken{ID: t.ID, ApplicationID: t.ApplicationID, UserID: t.UserID}
}

// An event says who revoked what, when and by which request.
func TestARevocationIsAnEvent(t *testing.T) {
	w := newWorld(t)
	one, other := w.issued(t, "shop"), w.issued(t, "shop")
	before := w.events(t)
	id, user, app, except := one.RefreshToken.ID.String(), one.RefreshToken.UserID, "shop",
		other.RefreshToken.ID.String()
	for _, in := range []usecase.RevokeInput{
		{Selector: domain.SelectorInput{TokenID: &id}},
		{Selector: domain.SelectorInput{UserID: &user, ApplicationID: &app}},
	} {
		w.clock.advance(time.Millisecond) // the order of the ids
		in.TenantID, in.By = "acme", byBackend
		_, err := w.revoke.Do(t.Context(), in)
		must(t, err)
	}
	w.clock.advance(time.Millisecond)
	third := w.issued(t, "shop")
	except = third.RefreshToken.ID.String()
	_, err := w.revoke.Do(t.Context(), usecase.RevokeInput{
		TenantID: "acme", By: byBackend, Selector: domain.SelectorInput{UserID: &user, ExceptTokenID: &except},
	})
	must(t, err)
	_, err = w.revoke.Do(t.Context(), usecase.RevokeInput{ // that is refused
		TenantID: "acme", By: byBackend, Selector: domain.SelectorInput{TokenID: &id},
	})
	wantErr(t, err, domain.ErrNotFound)
	at := stored(w.clock.now())
	wantEvents(t, w.since(t, before),
		domain.Event{
			At: at.Add(-2 * time.Millisecond), Origin: byBackend, Kind: domain.TokenRevoked, TenantID: "acme",
			ObjectID: id,
			After:    `{"revokedReason":"revoked"}`, Tokens: []domain.EndedToken{ended(one.RefreshToken)},
		},
		domain.Event{
			At: at.Add(-time.Millisecond), Origin: byBackend, Kind: domain.ManyTokensRevoked, TenantID: "acme",
			ApplicationID: app, UserID: user,
			After: `{"revokedReason":"revoked"}`, Version: 1,
		},
		domain.Event{
			At: at, Origin: byBackend, Kind: domain.ManyTokensRevoked, TenantID: "acme", UserID: user, Version: 2,
			After: domain.Object(`{"exceptTokenId":"` + except + `","revokedReason":"revoked"}`),
		})
}

func TestALogoutIsAnEventOfEachSession(t *testing.T) {
	w := newWorld(t)
	one := w.issued(t, "shop")
	before := w.events(t)
	by := domain.Origin{Actor: domain.Actor{Kind: domain.ActorClient, Address: "192.0.2.9"}, RequestID: "request-2"}
	logout := &usecase.Logout{
		Revocations: w.store, Tokens: w.store, Keys: w.exchange.Minter.Keys, Clock: w.clock.now,
	}
	_, err := logout.Do(t.Context(), usecase.LogoutInput{
		TenantID: "acme", Ambient: []domain.Secret{one.TokenString}, By: by,
	})
	must(t, err)
	wantEvents(t, w.since(t, before), domain.Event{
		At: stored(w.clock.now()), Origin: by, Kind: domain.TokenRevoked, TenantID: "acme",
		ObjectID: one.RefreshToken.ID.String(), After: `{"revokedReason":"revoked"}`,
		Tokens: []domain.EndedToken{ended(one.RefreshToken)},
	})
}

// An exchange that rotates or retries has no event. A first recovery and a replay have one each, a repeated recovery
// has none.
func TestARecoveryAndAReplayAreEvents(t *testing.T) {
	w := newWorld(t)
	first := w.issued(t, "shop")
	id := first.RefreshToken.ID.String()
	before := w.events(t)
	exchange := func(s domain.Secret, want domain.Outcome) domain.Secret {
		t.Helper()
		out, err := w.exchange.Do(t.Context(), usecase.ExchangeInput{
			TokenString: s, ClientAddress: "192.0.2.9", RequestID: "request-3",
		})
		must(t, err)
		if out.Outcome != want {
			t.Fatalf("outcome %s, want %s", out.Outcome, want)
		}
		return out.TokenString
	}
	second := exchange(first.TokenString, domain.Rotated)
	exchange(first.TokenString, domain.Retried)
	wantEvents(t, w.since(t, before))
	w.clock.advance(time.Hour)
	recoveredAt := stored(w.clock.now())
	exchange(first.TokenString, domain.Recovered)
	w.clock.advance(time.Hour)
	exchange(first.TokenString, domain.Recovered)
	exchange(second, domain.Rotated)
	w.clock.advance(time.Hour)
	exchange(first.TokenString, domain.RefusedReplayed)
	by := domain.Origin{Actor: domain.Actor{Kind: domain.ActorClient, Address: "192.0.2.9"}, RequestID: "request-3"}
	tokens := []domain.EndedToken{ended(first.RefreshToken)}
	interval := domain.DefaultPolicy().RecoveryInterval
	wantEvents(t, w.since(t, before),
		domain.Event{
			At: recoveredAt, Origin: by, Kind: domain.TokenRecovered, TenantID: "acme", ObjectID: id, Tokens: tokens,
			Before: `{"recoveryPaidUntil":0}`,
			After:  domain.Object(fmt.Sprintf(`{"generation":2,"recoveryPaidUntil":%d}`, 2+interval)),
		},
		domain.Event{
			At: stored(w.clock.now()), Origin: by, Kind: domain.TokenReplayed, TenantID: "acme", ObjectID: id,
			Tokens: tokens,
			After:  `{"generation":3,"presentedGeneration":1,"revokedReason":"replayed"}`,
		})
}

// Before and after hold the changes of one session, or of each session of a user.
func TestAPatchIsAnEventOfWhatItChanged(t *testing.T) {
	w := newWorld(t)
	one := w.issued(t, "shop")
	id, user := one.RefreshToken.ID.String(), one.RefreshToken.UserID
	_, err := w.patch.One(t.Context(), "acme", id, rolesPatch("clerk"), byBackend)
	must(t, err)
	before := w.events(t)
	_, err = w.patch.One(t.Context(), "acme", id, rolesPatch("clerk"), byBackend) // changes nothing
	must(t, err)
	_, err = w.patch.One(t.Context(), "acme", id, rolesPatch("owner"), byBackend)
	must(t, err)
	at := stored(w.clock.now())
	w.clock.advance(time.Millisecond)
	_, err = w.patch.OfUser(t.Context(), usecase.PatchInput{
		TenantID: "acme", UserID: &user, Patch: rolesPatch("guest"), By: byBackend,
	})
	must(t, err)
	tokens := []domain.EndedToken{ended(one.RefreshToken)}
	wantEvents(t, w.since(t, before),
		domain.Event{
			At: at, Origin: byBackend, Kind: domain.TokenChanged, TenantID: "acme", ObjectID: id, ApplicationID: "shop",
			UserID: user, Before: `{"roles":["clerk"]}`, After: `{"roles":["owner"]}`, Tokens: tokens,
		},
		domain.Event{
			At: at.Add(time.Millisecond), Origin: byBackend, Kind: domain.TokenChanged, TenantID: "acme", UserID: user,
			Tokens: tokens,
			Before: domain.Object(`{"` + id + `":{"roles":["owner"]}}`),
			After:  domain.Object(`{"` + id + `":{"roles":["guest"]}}`),
		})
}

// The event names the session that a limit ended, and the request that issued another one.
func TestASessionThatTheLimitEndsIsAnEvent(t *testing.T) {
	w := newWorld(t)
	must(t, storagetest.SaveApplication(t.Context(), w.store, domain.Application{
		TenantID: "acme", ID: "shop", Settings: domain.Settings{MaximumActiveTokens: new(int64(1))},
	}))
	before := w.events(t)
	var grants []usecase.Grant
	for range 2 { // the first of which ends none
		g, err := w.issue.Do(t.Context(), usecase.IssueInput{
			TenantID: "acme", ApplicationID: "shop", UserID: "limited", By: byBackend,
		})
		must(t, err)
		grants = append(grants, g)
	}
	var got []domain.Event
	for _, e := range w.since(t, before) {
		if e.Kind != domain.KeyAdded {
			got = append(got, e)
		}
	}
	wantEvents(t, got, domain.Event{
		At: stored(w.clock.now()), Origin: byBackend, Kind: domain.TokenLimited, TenantID: "acme",
		ApplicationID: "shop",
		UserID:        "limited", After: `{"jwtConfiguration.maximumActiveTokens":1,"revokedReason":"limit"}`,
		Tokens: []domain.EndedToken{ended(grants[0].RefreshToken)},
	})
}

// The keys that a start makes have the service as their origin; none of their bytes are in their events.
func TestAKeyThatIsAddedIsAnEvent(t *testing.T) {
	w := emptyWorld(t)
	w.open(t)
	at := stored(w.clock.now())
	var want []domain.Event
	for _, kind := range []domain.KeyKind{domain.KeyAPI, domain.KeyCheck, domain.KeyToken} {
		name := string(kind) + "-1"
		want = append(want, domain.Event{
			At: at, Origin: domain.Service(), Kind: domain.KeyAdded, ObjectID: name,
			After: domain.Object(`{"` + name + `":{"algorithm":"","kind":"` + string(kind) + `","tenantId":""}}`),
		})
	}
	got := w.events(t)
	if len(got) != len(want) {
		t.Fatalf("got %d events, want %d", len(got), len(want))
	}
	slices.SortFunc(got, func(a, b domain.Event) int { return cmp.Compare(a.ObjectID, b.ObjectID) })
	wantEvents(t, got, want...)
}
