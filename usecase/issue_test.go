package usecase_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/golang/mock/gomock"
	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port/portmock"
	"github.com/refreshd/refreshd/test/storagetest"
	"github.com/refreshd/refreshd/usecase"
)

// fullIssue returns an input without a zero field.
func fullIssue(id domain.ID) usecase.IssueInput {
	return usecase.IssueInput{
		ID: id, TenantID: "acme", ApplicationID: "shop", UserID: "ana",
		Roles: []string{"owner", "clerk"}, Scopes: []string{"write", "read"}, Claims: `{"plan":12345678901234567890}`,
		MetaData: domain.MetaData{
			Device:        domain.Device{Name: "phone", Type: "mobile", Description: "the red one"},
			ClientAddress: "192.0.2.1", Data: `{"build":"7.1"}`,
		},
		Binding: "thumbprint",
	}
}

// chosenID returns a UUIDv7 of the instant at which tests begin.
func chosenID(n byte) domain.ID {
	id, _ := domain.NewID(t0, bytes.NewReader(bytes.Repeat([]byte{n}, 10)))
	return id
}

func TestIssueStoresTheSessionAndSaysItInTheAccessToken(t *testing.T) {
	w := newWorld(t)
	in := fullIssue(domain.ID{})
	got, err := w.issue.Do(t.Context(), in)
	must(t, err)

	now := stored(t0)
	want := domain.RefreshToken{
		ID: got.RefreshToken.ID, TenantID: "acme", ApplicationID: "shop", UserID: "ana", Generation: 1,
		IssuedAt: now, RotatedAt: now, LastUsedAt: now, ExpiresAt: wholeSecond(now.Add(30 * 24 * time.Hour)),
		Ordinal: 1,
		Roles:   in.Roles, Scopes: in.Scopes, Claims: in.Claims, MetaData: in.MetaData, Binding: in.Binding,
	}
	if diff := cmp.Diff(want, w.record(t, want.ID)); diff != "" {
		t.Errorf("the record (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, got.RefreshToken); diff != "" {
		t.Errorf("the answer's record (-want +got):\n%s", diff)
	}
	if id := want.ID.String(); id[14] != '7' || !strings.HasPrefix(id, beginningOfID(now)) {
		t.Errorf("id = %s, want a UUIDv7 of %s", id, now)
	}
	claims := claimsOf(t, got.AccessToken)
	if jti, _ := claims["jti"].(string); jti == "" {
		t.Error("there is no jti")
	}
	delete(claims, "jti")
	iat := float64(now.Unix())
	if diff := cmp.Diff(map[string]any{
		"iss": "https://login.acme.example", "sub": "ana", "aud": "shop", "client_id": "shop", "iat": iat,
		"exp": iat + 900,
		"sid": want.ID.String(), "rve": 0.0, "tid": "acme", "applicationId": "shop", "roles": []any{"owner", "clerk"},
		"scope": "write read", "plan": 12345678901234567890.0,
		"cnf": map[string]any{"jkt": "thumbprint"},
	}, claims); diff != "" {
		t.Errorf("claims (-want +got):\n%s", diff)
	}
}

// beginningOfID returns the first characters of a UUIDv7 of that instant.
func beginningOfID(t time.Time) string {
	id, _ := domain.NewID(t, newCounting())
	return id.String()[:13]
}

func TestATenantWithoutAnIssuerHasOneUnderThePublicURL(t *testing.T) {
	w := newWorld(t)
	got, err := w.issue.Do(t.Context(), usecase.IssueInput{TenantID: "globex", ApplicationID: "shop", UserID: "ana"})
	must(t, err)
	if iss := claimsOf(t, got.AccessToken)["iss"]; iss != publicURL+"/t/globex" {
		t.Errorf("iss = %v", iss)
	}
}

// A backend that got no response sends the same request again, perhaps after the device has used the tokens of the
// first one.
func TestIssueWithTheCallersIDIsIdempotent(t *testing.T) {
	w := newWorld(t)
	in := fullIssue(chosenID(3))
	first, err := w.issue.Do(t.Context(), in)
	must(t, err)
	again := func(when string) {
		t.Helper()
		before := w.record(t, in.ID)
		got, err := w.open(t).issue.Do(t.Context(), in)
		must(t, err)
		sameGrant(t, got, first)
		if diff := cmp.Diff(before, w.record(t, in.ID)); diff != "" {
			t.Errorf("%s: the record changed (-before +after):\n%s", when, diff)
		}
	}
	w.clock.advance(time.Minute)
	in.MetaData.ClientAddress = "198.51.100.2" // where a call comes from is not what it says
	again("immediately")

	rotated := w.exchangedAs(t, usecase.ExchangeInput{TokenString: first.TokenString,
		Possession: domain.Possession{Key: in.Binding}})
	wantOutcome(t, rotated, domain.Rotated, nil)
	again("after a rotation")

	w.clock.advance(7 * time.Minute)
	late, err := w.issue.Do(t.Context(), in)
	must(t, err)
	if !late.TokenString.Equal(first.TokenString) || late.AccessToken.Equal(first.AccessToken) {
		t.Error("half a lifetime later, the token string stays and the access token is new")
	}
}

// A backend that repeats an issue late, from a queue of jobs, must not get the first token string if that is a replay
// by now: a device that used it would end its own session.
func TestARepeatedIssueIsAnsweredOnlyWhileItsTokenStringCanBeExchanged(t *testing.T) {
	w := newWorld(t)
	in := usecase.IssueInput{ID: chosenID(7), TenantID: "acme", ApplicationID: "shop", UserID: "ana"}
	first, err := w.issue.Do(t.Context(), in)
	must(t, err)
	w.clock.advance(time.Minute)
	second := w.rotated(t, first.TokenString)
	w.clock.advance(time.Minute)
	again, err := w.issue.Do(t.Context(), in)
	must(t, err)
	wantOutcome(t, w.exchanged(t, again.TokenString), domain.Recovered, nil)
	w.clock.advance(time.Minute)
	third := w.rotated(t, second.TokenString)
	_, err = w.issue.Do(t.Context(), in)
	wantCodes(t, err, "[duplicate]refreshTokenId")
	w.clock.advance(time.Minute)
	w.rotated(t, third.TokenString)

	// Without recovery, that is so from the end of the grace period on.
	w.application(t, "acme", "unforgiving", domain.Settings{RecoveryBurst: new(int64(0))})
	in.ID, in.ApplicationID = chosenID(8), "unforgiving"
	first, err = w.issue.Do(t.Context(), in)
	must(t, err)
	w.rotated(t, first.TokenString)
	_, err = w.issue.Do(t.Context(), in)
	must(t, err)
	w.clock.advance(time.Minute)
	_, err = w.issue.Do(t.Context(), in)
	wantCodes(t, err, "[duplicate]refreshTokenId")
}

// The limit was lowered since: the repeated issue ends the session that it would return.
func TestARepeatedIssueThatTheLimitEndsIsRefused(t *testing.T) {
	w := newWorld(t)
	in := usecase.IssueInput{ID: chosenID(7), TenantID: "acme", ApplicationID: "limited", UserID: "ana"}
	_, err := w.issue.Do(t.Context(), in)
	must(t, err)
	second := w.issued(t, "limited")
	w.application(t, "acme", "limited", domain.Settings{MaximumActiveTokens: new(int64(1))})
	_, err = w.issue.Do(t.Context(), in)
	wantCodes(t, err, "[duplicate]refreshTokenId")
	if w.alive(t, in.ID) || !w.alive(t, second.RefreshToken.ID) {
		t.Error("the limit keeps the later login, and that alone")
	}
}

func TestAnIDThatIsTakenIsRefused(t *testing.T) {
	w := newWorld(t)
	id := chosenID(3)
	_, err := w.issue.Do(t.Context(), fullIssue(id))
	must(t, err)
	before := w.record(t, id)
	for name, change := range map[string]func(*usecase.IssueInput){
		"another tenant":      func(in *usecase.IssueInput) { in.TenantID = "globex" },
		"another application": func(in *usecase.IssueInput) { in.ApplicationID = "reusable" },
		"another user":        func(in *usecase.IssueInput) { in.UserID = "bob" },
		"other roles":         func(in *usecase.IssueInput) { in.Roles = []string{"clerk", "owner"} },
		"other scopes":        func(in *usecase.IssueInput) { in.Scopes = nil },
		"other claims":        func(in *usecase.IssueInput) { in.Claims = "" },
		"another binding":     func(in *usecase.IssueInput) { in.Binding = "" },
		"another device":      func(in *usecase.IssueInput) { in.MetaData.Device.Name = "tablet" },
		"other data":          func(in *usecase.IssueInput) { in.MetaData.Data = "" },
	} {
		t.Run(name, func(t *testing.T) {
			in := fullIssue(id)
			change(&in)
			got, err := w.issue.Do(t.Context(), in)
			wantCodes(t, err, "[duplicate]refreshTokenId")
			if !got.TokenString.IsZero() {
				t.Error("there is a token string beside the error")
			}
		})
	}
	if diff := cmp.Diff(before, w.record(t, id)); diff != "" {
		t.Errorf("the record changed (-before +after):\n%s", diff)
	}

	_, err = w.revoke.Do(t.Context(), usecase.RevokeInput{TenantID: "acme",
		Selector: domain.SelectorInput{TokenID: new(id.String())}})
	must(t, err)
	_, err = w.issue.Do(t.Context(), fullIssue(id))
	wantCodes(t, err, "[duplicate]refreshTokenId")

	expired := fullIssue(chosenID(4))
	g, err := w.issue.Do(t.Context(), expired)
	must(t, err)
	w.clock.at = g.RefreshToken.ExpiresAt
	_, err = w.issue.Do(t.Context(), expired)
	wantCodes(t, err, "[duplicate]refreshTokenId")
}

func TestIssueNeedsAnActiveApplication(t *testing.T) {
	w := newWorld(t)
	must(t, storagetest.SaveTenant(t.Context(), w.store,
		domain.Tenant{ID: "closed", Settings: domain.Settings{Active: new(false)}}))
	w.application(t, "closed", "shop", domain.Settings{Active: new(true)})
	for _, in := range []usecase.IssueInput{
		{TenantID: "acme", ApplicationID: "unknown", UserID: "ana"},
		{TenantID: "unknown", ApplicationID: "shop", UserID: "ana"},
		{TenantID: "globex", ApplicationID: "guarded", UserID: "ana"}, // acme's
	} {
		t.Run(in.TenantID+"/"+in.ApplicationID, func(t *testing.T) {
			w.probe.forget()
			_, err := w.issue.Do(t.Context(), in)
			wantErr(t, err, domain.ErrNotFound)
			if n := w.probe.count("Insert"); n != 0 {
				t.Errorf("%d inserts", n)
			}
		})
	}
	for _, in := range []usecase.IssueInput{
		{TenantID: "acme", ApplicationID: "inactive", UserID: "ana"},
		{TenantID: "closed", ApplicationID: "shop", UserID: "ana"},
	} {
		w.probe.forget()
		_, err := w.issue.Do(t.Context(), in)
		wantCodes(t, err, "[inactive]applicationsId")
		if n := w.probe.count("Insert"); n != 0 {
			t.Errorf("%s/%s: %d inserts", in.TenantID, in.ApplicationID, n)
		}
	}
}

// Of two errors a caller first gets the one that it can correct by reading its own request.
func TestWhatIsWrongWithTheInputIsToldBeforeWhatIsMissing(t *testing.T) {
	w := newWorld(t)
	_, err := w.issue.Do(t.Context(), usecase.IssueInput{
		TenantID: "acme", ApplicationID: "unknown", Scopes: []string{"a b"}, Claims: `{"sub":"mallory"}`,
	})
	wantCodes(t, err, "[blank]userId", "[invalid]scopes[0]", "[conflict]claims.sub")
}

func TestTheLimitEndsTheOldestSessionsOfTheUserInTheApplication(t *testing.T) {
	w := newWorld(t)
	elsewhere := w.issued(t, "shop")
	other, err := w.issue.Do(t.Context(), usecase.IssueInput{TenantID: "acme", ApplicationID: "limited", UserID: "bob"})
	must(t, err)
	var mine []usecase.Grant
	for range 4 {
		w.clock.advance(time.Minute)
		mine = append(mine, w.issued(t, "limited"))
	}
	for i, want := range []bool{false, false, true, true} {
		if got := w.alive(t, mine[i].RefreshToken.ID); got != want {
			t.Errorf("session %d alive = %t, want %t", i+1, got, want)
		}
	}
	if r := w.record(t, mine[0].RefreshToken.ID).RevokedReason; r != domain.RevokedByLimit {
		t.Errorf("reason = %q, want %q", r, domain.RevokedByLimit)
	}
	if !w.alive(t, elsewhere.RefreshToken.ID) || !w.alive(t, other.RefreshToken.ID) {
		t.Error("the limit reached beyond the user in the application")
	}
}

// The session is stored when signing fails; a caller with its own id gets it by sending the request again.
func TestAnIssueThatCouldNotBeSignedIsAnsweredToTheNextCall(t *testing.T) {
	w := newWorld(t)
	w.issued(t, "shop") // the tenant has its key
	down := portmock.NewMockSigner(gomock.NewController(t))
	down.EXPECT().Sign(gomock.Any(), gomock.Any(), gomock.Any()).Return("", errPort)
	failing := *w.issue
	failing.Minter.Signer = down
	in := fullIssue(chosenID(5))
	_, err := failing.Do(t.Context(), in)
	wantErr(t, err, domain.ErrUnavailable)
	got, err := w.issue.Do(t.Context(), in)
	must(t, err)
	wantOutcome(t, w.exchangedAs(t, usecase.ExchangeInput{
		TokenString: got.TokenString, Possession: domain.Possession{Key: in.Binding},
	}), domain.Rotated, nil)
}

// An id without a time cannot be distinguished from one whose refresh token was purged; one far in the future would
// never be old enough.
func TestAnIDThatMayBeChosenIsAFreshUUIDv7(t *testing.T) {
	w := newWorld(t)
	ahead := func(d time.Duration) domain.ID {
		id, err := domain.NewID(stored(t0).Add(d), w.random)
		must(t, err)
		return id
	}
	for name, tt := range map[string]struct {
		id    domain.ID
		wants []string
	}{
		"of version 4":              {domain.ID{0x0f, 6: 0x49, 8: 0x87, 15: 1}, []string{"[invalid]refreshTokenId"}},
		"a minute ahead":            {ahead(time.Minute), nil},
		"a minute and 1 ms ahead":   {ahead(time.Minute + time.Millisecond), []string{"[invalid]refreshTokenId"}},
		"years ahead":               {ahead(50_000 * time.Hour), []string{"[invalid]refreshTokenId"}},
		"old, where purging is off": {ahead(-50_000 * time.Hour), nil},
	} {
		w.probe.forget()
		_, err := w.issue.Do(t.Context(), usecase.IssueInput{
			ID: tt.id, TenantID: "acme", ApplicationID: "shop", UserID: "ada",
		})
		if tt.wants == nil {
			must(t, err)
			continue
		}
		wantCodes(t, err, tt.wants...)
		if calls := w.probe.asked(); len(calls) > 0 {
			t.Errorf("%s: calls of ports: %v", name, calls)
		}
	}
}

// The clocks of replicas differ, and ids are made by clocks. A login that begins after another one has returned must be
// the newer one, whatever its id says; otherwise it would end itself.
func TestTheLimitGoesByTheOrderOfIssueAndNotByIDs(t *testing.T) {
	w := newWorld(t)
	w.application(t, "acme", "limited", domain.Settings{MaximumActiveTokens: new(int64(1))})
	var before domain.ID
	for i := range 20 {
		w.clock.advance(-2 * time.Second)
		g := w.issued(t, "limited")
		if !w.alive(t, g.RefreshToken.ID) {
			t.Fatalf("login %d was ended by itself", i)
		}
		if i > 0 && w.alive(t, before) {
			t.Fatalf("login %d did not end the one before", i)
		}
		before = g.RefreshToken.ID
	}
}

// An imported session keeps the instant from which its lifetime counts. Its access token counts from now.
func TestAnImportCountsFromItsInstantOfIssue(t *testing.T) {
	w := newWorld(t)
	w.application(t, "acme", "fixed", domain.Settings{Expiration: new(domain.Fixed)})
	now := stored(t0)
	in := usecase.IssueInput{
		ID: chosenID(9), TenantID: "acme", ApplicationID: "fixed", UserID: "ana",
		IssuedAt: now.Add(-10 * 24 * time.Hour),
	}
	got, err := w.issue.Do(t.Context(), in)
	must(t, err)
	r := w.record(t, in.ID)
	if !r.IssuedAt.Equal(in.IssuedAt) || !r.RotatedAt.Equal(now) ||
		!r.ExpiresAt.Equal(wholeSecond(now.Add(20*24*time.Hour))) {
		t.Errorf("issued %s, rotated %s, expires %s", r.IssuedAt, r.RotatedAt, r.ExpiresAt)
	}
	if iat := claimsOf(t, got.AccessToken)["iat"]; iat != float64(now.Unix()) {
		t.Errorf("iat = %v, want now, %d", iat, now.Unix())
	}
	again, err := w.issue.Do(t.Context(), in)
	must(t, err)
	sameGrant(t, again, got)

	other := in
	other.IssuedAt = time.Time{}
	_, err = w.issue.Do(t.Context(), other)
	wantCodes(t, err, "[duplicate]refreshTokenId")
	w.clock.advance(time.Hour)
	w.rotated(t, got.TokenString)
	_, err = w.issue.Do(t.Context(), in) // the instant of its insert is no longer stored, nor the key of its first string
	wantCodes(t, err, "[duplicate]refreshTokenId")

	for name, tt := range map[string]struct {
		issued, expires time.Duration
		want            string
	}{
		"ahead":                  {2 * time.Minute, 0, "[invalid]insertInstant"},
		"over by now":            {-30 * 24 * time.Hour, 0, "[invalid]insertInstant"},
		"expires in this second": {-time.Hour, time.Second - 789_012*time.Microsecond, "[invalid]expirationInstant"},
		"expires before now":     {-time.Hour, -time.Minute, "[invalid]expirationInstant"},
		"longer than the policy": {-time.Hour, 30 * 24 * time.Hour, "[invalid]expirationInstant"},
	} {
		at := stored(w.clock.now())
		in := usecase.IssueInput{TenantID: "acme", ApplicationID: "fixed", UserID: "ana", IssuedAt: at.Add(tt.issued)}
		if tt.expires != 0 {
			in.ExpiresAt = at.Add(tt.expires)
		}
		if name == "expires in this second" {
			in.ExpiresAt = wholeSecond(at).Add(900 * time.Millisecond)
		}
		w.probe.forget()
		_, err := w.issue.Do(t.Context(), in)
		wantCodes(t, err, tt.want)
		if n := w.probe.count("Insert"); n != 0 {
			t.Errorf("%s: %d inserts", name, n)
		}
	}
}

// A backend that stores its ids may send one again long after its session has ended and was deleted. The old token
// strings would be valid for the new session: a thief of one of them would have access to it.
func TestAnOldIDIsNotIssuedUnderAgain(t *testing.T) {
	w := newWorld(t)
	w.issue.PurgeAfter = 24 * time.Hour
	id, err := domain.NewID(w.clock.now(), w.random)
	must(t, err)
	in := fullIssue(id)
	first, err := w.issue.Do(t.Context(), in)
	must(t, err)
	_, err = w.revoke.Do(t.Context(), usecase.RevokeInput{TenantID: "acme",
		Selector: domain.SelectorInput{TokenID: new(id.String())}})
	must(t, err)
	_, err = w.store.Stamp(t.Context(), w.clock.now(), 1) // without a position it would stay
	must(t, err)
	purge, _ := w.purger("one")
	w.clock.advance(23 * time.Hour)
	_, err = purge.Pass(t.Context(), nil)
	must(t, err)
	_, err = w.issue.Do(t.Context(), in)
	wantCodes(t, err, "[duplicate]refreshTokenId") // it has ended, and is still stored
	w.clock.advance(2 * time.Hour)                 // an hour for the fact of its revocation
	if done, err := purge.Pass(t.Context(), nil); err != nil || done.Deleted != 1 {
		t.Fatalf("a pass did %+v (%v), want the ended one deleted", done, err)
	}
	w.probe.forget()
	_, err = w.issue.Do(t.Context(), in)
	wantCodes(t, err, "[invalid]refreshTokenId")
	if n := w.probe.count("Insert"); n != 0 {
		t.Errorf("%d inserts", n)
	}
	old := w.exchangedAs(t, usecase.ExchangeInput{TokenString: first.TokenString,
		Possession: domain.Possession{Key: in.Binding}})
	if !old.Outcome.Refused() {
		t.Errorf("the old token string: %s, want a refusal", old.Outcome)
	}

	for name, tt := range map[string]struct {
		id  string
		age time.Duration
	}{
		"as old as an id may be": {"", 24*time.Hour - 2*domain.MaxClockSkew - time.Millisecond},
		"of a clock ahead":       {"", -time.Minute},
	} {
		fresh, ok := domain.ParseID(tt.id)
		if !ok {
			if fresh, err = domain.NewID(stored(w.clock.now()).Add(-tt.age), w.random); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := w.issue.Do(t.Context(), fullIssue(fresh)); err != nil {
			t.Errorf("%s: error %v, want none", name, err)
		}
	}
	stale, err := domain.NewID(stored(w.clock.now()).Add(domain.MaxClockSkew-24*time.Hour), w.random)
	must(t, err)
	_, err = w.issue.Do(t.Context(), fullIssue(stale))
	wantCodes(t, err, "[invalid]refreshTokenId")
}

// The lifetime of a session is longer than the retention of ended ones, and a retry of its issue still gets its
// response, whatever other requests use its id.
func TestAnOldIDIsStillAnsweredForWhatItIssued(t *testing.T) {
	w := newWorld(t)
	w.issue.PurgeAfter = 24 * time.Hour
	id, err := domain.NewID(w.clock.now(), w.random)
	must(t, err)
	in := fullIssue(id)
	first, err := w.issue.Do(t.Context(), in)
	must(t, err)
	w.clock.advance(48 * time.Hour)
	again, err := w.issue.Do(t.Context(), in)
	must(t, err)
	if !again.TokenString.Equal(first.TokenString) {
		t.Error("the same call again was answered with another token string")
	}
	in.UserID = "bob"
	_, err = w.issue.Do(t.Context(), in)
	wantCodes(t, err, "[duplicate]refreshTokenId")
}

// An access token that fits into no header and no cookie would be issued, and then refused by every recipient.
func TestAnAccessTokenTooLargeToBeSentIsNotIssued(t *testing.T) {
	w := newWorld(t)
	w.application(t, "acme", "cookies", domain.Settings{CookieDomain: new("acme.example")})
	roles := func(n int) (all []string) {
		for i := range n {
			all = append(all, fmt.Sprintf("%03d", i)+strings.Repeat("r", 97))
		}
		return all
	}
	for _, tt := range []struct {
		application string
		roles       int
		fits        bool
	}{{"cookies", 20, true}, {"cookies", 30, false}, {"shop", 30, true}, {"shop", 60, false}} {
		in := usecase.IssueInput{TenantID: "acme", ApplicationID: tt.application, UserID: "ana", Roles: roles(tt.roles)}
		w.probe.forget()
		got, err := w.issue.Do(t.Context(), in)
		if tt.fits {
			must(t, err)
			continue
		}
		wantCodes(t, err, "[tooLong]")
		if n := w.probe.count("Insert"); n != 0 || !got.TokenString.IsZero() {
			t.Errorf("%s with %d roles: %d inserts", tt.application, tt.roles, n)
		}
	}
}
