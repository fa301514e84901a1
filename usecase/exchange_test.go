package usecase_test

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang/mock/gomock"
	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/adapter/memstore"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
	"github.com/refreshd/refreshd/port/portmock"
	"github.com/refreshd/refreshd/test/storagetest"
	"github.com/refreshd/refreshd/usecase"
)

// An exchange is one call of the store. It uses no randomness either: a retry must get the same bytes.
func TestAnExchangeIsOneCallOfTheStore(t *testing.T) {
	w := newWorld(t)
	issued := w.issued(t, "shop")
	w.clock.advance(time.Hour)
	must(t, w.keys.Reload(t.Context())) // as a process does each second
	w.probe.forget()
	drawn := w.random.drawn

	got := w.exchangedAs(t, usecase.ExchangeInput{
		TokenString: issued.TokenString, TenantID: "acme", ClientAddress: "192.0.2.7",
	})

	wantOutcome(t, got, domain.Rotated, nil)
	if diff := cmp.Diff([]string{"Advance", "Sign"}, w.probe.asked()); diff != "" {
		t.Errorf("calls of ports (-want +got):\n%s", diff)
	}
	if w.random.drawn != drawn {
		t.Error("the exchange drew randomness")
	}
	if got.TokenString.Equal(issued.TokenString) || got.TokenString.IsZero() {
		t.Error("the token string did not change")
	}
	now := stored(w.clock.now())
	want := issued.RefreshToken
	want.Generation, want.RotatedAt, want.LastUsedAt, want.ExpiresAt = 2, now, now,
		wholeSecond(now.Add(30*24*time.Hour))
	want.MetaData.ClientAddress = "192.0.2.7"
	if diff := cmp.Diff(want, w.record(t, issued.RefreshToken.ID)); diff != "" {
		t.Errorf("the record (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, got.RefreshToken); diff != "" {
		t.Errorf("the answer's record (-want +got):\n%s", diff)
	}
	claims := claimsOf(t, got.AccessToken)
	if iat := float64(now.Unix()); claims["iat"] != iat || claims["exp"] != iat+900 {
		t.Errorf("iat and exp = %v, %v, want %v and 900 s later", claims["iat"], claims["exp"], iat)
	}
}

// Two tabs, two replicas: for a grace period every exchange, with the old string or the new one, gets the same bytes
// and changes nothing.
func TestEveryRetryIsAnsweredWithTheSameBytes(t *testing.T) {
	w := newWorld(t)
	another := w.open(t)
	first := w.issued(t, "shop")
	w.clock.advance(time.Hour)
	want := w.rotated(t, first.TokenString)
	record := w.record(t, first.RefreshToken.ID)
	for _, after := range []time.Duration{0, time.Microsecond, 29 * time.Second, time.Second - 2*time.Microsecond} {
		w.clock.advance(after)
		for name, r := range map[string]replica{"the same process": w.replica, "another": another,
			"one that started meanwhile": w.open(t)} {
			for _, s := range []domain.Secret{first.TokenString, want.TokenString} {
				got := r.exchanged(t, s)
				if got.Outcome != domain.Retried {
					t.Errorf("%s: outcome = %s, want retried", name, got.Outcome)
				}
				sameGrant(t, got.Grant, want.Grant)
			}
		}
	}
	if diff := cmp.Diff(record, w.record(t, first.RefreshToken.ID)); diff != "" {
		t.Errorf("the retries changed the record (-before +after):\n%s", diff)
	}
}

// Fifty tabs exchange concurrently. None may be logged out, and all must get the same token.
func TestParallelExchangesOfOneTokenStringAgree(t *testing.T) {
	w := newWorld(t)
	processes := []replica{w.replica, w.open(t)}
	first := w.issued(t, "shop")
	w.clock.advance(time.Hour)
	answers := make([]usecase.Exchanged, 50)
	var all sync.WaitGroup
	for i := range answers {
		all.Go(func() {
			answers[i], _ = processes[i%2].exchange.Do(t.Context(),
				usecase.ExchangeInput{TokenString: first.TokenString})
		})
	}
	all.Wait()
	outcomes := map[domain.Outcome]int{}
	for _, a := range answers {
		outcomes[a.Outcome]++
		sameGrant(t, a.Grant, answers[0].Grant)
	}
	if diff := cmp.Diff(map[domain.Outcome]int{domain.Rotated: 1, domain.Retried: 49}, outcomes); diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
	if g := w.record(t, first.RefreshToken.ID).Generation; g != 2 {
		t.Errorf("generation = %d, want 2", g)
	}
}

// The access tokens of an application may have a shorter lifetime than its grace period. A retry must not get one that
// is about to expire. It gets a new one for each half of the lifetime that has passed, and within a half the same
// bytes.
func TestARetryGetsAnotherAccessTokenInEachHalfOfItsLifetime(t *testing.T) {
	w := newWorld(t)
	w.application(t, "acme", "hasty", domain.Settings{AccessTokenSeconds: new(int64(10))})
	first := w.issued(t, "hasty")
	second := w.rotated(t, first.TokenString)
	half := wholeSecond(w.clock.now()).Add(5 * time.Second)

	w.clock.at = half.Add(-time.Microsecond)
	sameGrant(t, w.exchanged(t, first.TokenString).Grant, second.Grant)

	w.clock.at = half
	fresh := w.exchanged(t, first.TokenString)
	wantOutcome(t, fresh, domain.Retried, nil)
	if iat := claimsOf(t, fresh.AccessToken)["iat"]; iat != float64(half.Unix()) {
		t.Errorf("iat = %v, want half a lifetime after the rotation, %d", iat, half.Unix())
	}
	if !fresh.TokenString.Equal(second.TokenString) {
		t.Error("the token string changed")
	}
	w.clock.at = half.Add(5*time.Second - time.Microsecond)
	sameGrant(t, w.open(t).exchanged(t, second.TokenString).Grant, fresh.Grant)
}

func TestACallMayAskForAShorterLifeAndNotForALongerOne(t *testing.T) {
	w := newWorld(t)
	first := w.issued(t, "shop")
	asking := func(s domain.Secret, life time.Duration) usecase.Exchanged {
		return w.exchangedAs(t, usecase.ExchangeInput{TokenString: s, AccessTokenTTL: life})
	}
	wantOutcome(t, asking(first.TokenString, 901*time.Second), domain.RefusedInvalid, domain.ErrLifetimeTooLong)
	if g := w.record(t, first.RefreshToken.ID).Generation; g != 1 {
		t.Fatalf("generation = %d after a refusal, want 1", g)
	}

	second := asking(first.TokenString, time.Minute)
	wantOutcome(t, second, domain.Rotated, nil)
	claims := claimsOf(t, second.AccessToken)
	if life := claims["exp"].(float64) - claims["iat"].(float64); life != 60 {
		t.Errorf("life = %v s, want 60", life)
	}
	sameGrant(t, asking(first.TokenString, time.Minute).Grant, second.Grant)

	wantOutcome(t, asking(first.TokenString, 901*time.Second), domain.RefusedInvalid, domain.ErrLifetimeTooLong)
	longest := asking(first.TokenString, 900*time.Second)
	wantOutcome(t, longest, domain.Retried, nil)
	if !longest.TokenString.Equal(second.TokenString) || longest.AccessToken.Equal(second.AccessToken) {
		t.Error("a retry that asks for another life gets the same token string and another access token")
	}
	sameGrant(t, asking(first.TokenString, 0).Grant, longest.Grant)
}

// An old access token can only restrict. If it belongs to another session, two credentials were mixed up or stolen
// separately, and nothing may happen.
func TestAnOldAccessTokenOfAnotherSessionStopsTheExchange(t *testing.T) {
	w := newWorld(t)
	mine, other := w.issued(t, "shop"), w.issued(t, "shop")
	foreign := w.refounded(t).issued(t, "shop")
	with := func(access domain.Secret) usecase.Exchanged {
		w.probe.forget()
		return w.exchangedAs(t, usecase.ExchangeInput{TokenString: mine.TokenString, AccessToken: access})
	}

	wantOutcome(t, with(other.AccessToken), domain.RefusedInvalid, nil)
	if diff := cmp.Diff([]string{"Verify"}, w.probe.asked()); diff != "" {
		t.Errorf("calls of ports (-want +got):\n%s", diff)
	}
	w.clock.advance(time.Hour)
	wantOutcome(t, with(other.AccessToken), domain.RefusedInvalid, nil) // expired, but it verifies
	wantOutcome(t, with(foreign.AccessToken), domain.Rotated, nil)
	wantOutcome(t, with(domain.NewSecret("no.access.token")), domain.Retried, nil)
	wantOutcome(t, with(mine.AccessToken), domain.Retried, nil)
}

func TestOfSeveralTokenStringsTheHighestGenerationCounts(t *testing.T) {
	w := newWorld(t)
	first := w.issued(t, "shop")
	second := w.rotated(t, first.TokenString)
	w.clock.advance(time.Hour)

	got := w.exchangedAs(t, usecase.ExchangeInput{
		Ambient: []domain.Secret{first.TokenString, second.TokenString, first.TokenString},
	})
	wantOutcome(t, got, domain.Rotated, nil)
	if got.RefreshToken.Generation != 3 {
		t.Errorf("generation = %d, want 3", got.RefreshToken.Generation)
	}

	w.probe.forget()
	_, err := w.exchange.Do(t.Context(), usecase.ExchangeInput{
		Ambient: []domain.Secret{got.TokenString, w.issued(t, "shop").TokenString},
	})
	wantCodes(t, err, "[conflict]refreshToken")
	if n := w.probe.count("Advance"); n != 0 {
		t.Errorf("the store was asked to advance %d times", n)
	}
	wantOutcome(t, w.exchangedAs(t, usecase.ExchangeInput{}), domain.RefusedInvalid, nil)
}

// A page on a sibling domain can set a cookie of the same name. It must not log the user out; but a string that the
// client sent explicitly is never skipped.
func TestAmbientGarbageIsPassedOver(t *testing.T) {
	w := newWorld(t)
	first, garbage := w.issued(t, "shop"), domain.NewSecret("rt_garbage")
	wantOutcome(t, w.exchangedAs(t, usecase.ExchangeInput{
		TokenString: garbage, Ambient: []domain.Secret{first.TokenString},
	}), domain.RefusedInvalid, nil)
	wantOutcome(t, w.exchangedAs(t, usecase.ExchangeInput{Ambient: []domain.Secret{garbage}}), domain.RefusedInvalid,
		nil)
	wantOutcome(t, w.exchangedAs(t, usecase.ExchangeInput{
		Ambient: []domain.Secret{garbage, first.TokenString, garbage},
	}), domain.Rotated, nil)
}

// A string that this service did not mint must not cost the store anything, because anybody can send one.
func TestGarbageAndForgeriesAreRefusedWithoutAskingTheStore(t *testing.T) {
	w := newWorld(t)
	genuine := w.issued(t, "shop").TokenString.Reveal()
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(genuine, "rt_"))
	must(t, err)
	presented := []string{"", "rt_", "rt_" + strings.Repeat("A", 64), genuine[3:], genuine + "\n", genuine[:66] + "\n",
		"RT_" + genuine[3:]}
	for bit := range 8 * len(raw) {
		b := append([]byte(nil), raw...)
		b[bit/8] ^= 1 << (bit % 8)
		presented = append(presented, "rt_"+base64.RawURLEncoding.EncodeToString(b))
		presented = append(presented, withChecksum(b))
	}
	w.probe.forget()
	for _, s := range presented {
		if s != genuine {
			wantOutcome(t, w.exchanged(t, domain.NewSecret(s)), domain.RefusedInvalid, nil)
		}
	}
	if calls := w.probe.asked(); len(calls) > 0 {
		t.Errorf("%d calls of ports: %v", len(calls), calls)
	}
	wantOutcome(t, w.exchanged(t, domain.NewSecret(genuine)), domain.Rotated, nil)
}

// withChecksum returns a token string with a correct checksum, as a forger without a key can make it.
func withChecksum(b []byte) string {
	b = append([]byte(nil), b...)
	binary.BigEndian.PutUint32(b[44:], crc32.ChecksumIEEE(b[:44]))
	return "rt_" + base64.RawURLEncoding.EncodeToString(b)
}

// A key that another process made must be found, but made-up numbers must not load the store. The limit is that of the
// refresh token of a genuine string: anybody can write another one's id into a string.
func TestTheLimitIsAskedOfGenuineStringsAndBeforeTheStore(t *testing.T) {
	w := newWorld(t)
	issued := w.issued(t, "shop")
	tooMany := errors.New("too many")
	var asked []domain.ID
	limit := func(p domain.PresentedToken, _ bool) error {
		asked = append(asked, p.ID)
		return tooMany
	}
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(issued.TokenString.Reveal(), "rt_"))
	if err != nil {
		t.Fatal(err)
	}
	raw[30] ^= 1
	for _, s := range []domain.Secret{domain.NewSecret(withChecksum(raw)), domain.NewSecret("rt_x")} {
		in := usecase.ExchangeInput{TokenString: s, Limit: limit}
		wantOutcome(t, w.exchangedAs(t, in), domain.RefusedInvalid, nil)
	}
	if len(asked) > 0 {
		t.Errorf("the limit was asked of %v, whose strings were forged", asked)
	}
	// An access token of another session, or a tenant that does not exist, does not turn a genuine string into a guess.
	other := w.issued(t, "shop")
	w.probe.forget()
	for _, in := range []usecase.ExchangeInput{{}, {AccessToken: other.AccessToken}, {TenantID: "no tenant"}} {
		in.TokenString, in.Limit = issued.TokenString, limit
		if _, err := w.exchange.Do(t.Context(), in); !errors.Is(err, tooMany) {
			t.Errorf("got %v, want the limit's error", err)
		}
	}
	id := issued.RefreshToken.ID
	if diff := cmp.Diff([]domain.ID{id, id, id}, asked); diff != "" {
		t.Errorf("asked of (-want +got):\n%s", diff)
	}
	if got := w.probe.asked(); len(got) > 0 {
		t.Errorf("a refused exchange called %v", got)
	}
	none := func(domain.PresentedToken, bool) error { return nil }
	in := usecase.ExchangeInput{TokenString: issued.TokenString, Limit: none}
	wantOutcome(t, w.exchangedAs(t, in), domain.Rotated, nil)
}

func TestAnUnknownKeyNumberReloadsTheKeysOnceASecondAtMost(t *testing.T) {
	w := newWorld(t)
	b := make([]byte, 48)
	b[0], b[3], b[19], b[23] = 1, 99, 1, 1 // version, key number, id, generation
	forged := domain.NewSecret(withChecksum(b))
	present := func() {
		t.Helper()
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				out, err := w.exchange.Do(t.Context(), usecase.ExchangeInput{TokenString: forged})
				if err != nil || out.Outcome != domain.RefusedInvalid {
					t.Errorf("outcome = %s, %v, want invalid", out.Outcome, err)
				}
			})
		}
		all.Wait()
	}
	for _, step := range []struct {
		after time.Duration
		want  int
	}{
		{0, 0}, {time.Second - 2*time.Microsecond, 0}, {2 * time.Microsecond, 1}, {time.Second, 1},
		{time.Millisecond, 0},
		{-time.Hour, 1}, // a clock that was set back must not end the reloading
	} {
		w.clock.advance(step.after)
		w.probe.forget()
		present()
		if got := w.probe.count("KeysSince"); got != step.want || len(w.probe.asked()) != got {
			t.Errorf("after %s: calls of ports = %v, want KeysSince %d times", step.after, w.probe.asked(), step.want)
		}
	}
}

// Contention on one refresh token must end in an error that asks the client to retry, not in a loop and not in a
// refusal.
func TestAnExchangeGivesUpWhenOthersAreAlwaysFaster(t *testing.T) {
	w := newWorld(t)
	for _, tc := range []struct {
		name          string
		applicationID string
		advances      int // conflicts
		uses          int
	}{
		{"at rotating", "shop", 6, 0},
		{"at using", "reusable", 1, 5},
	} {
		t.Run(tc.name, func(t *testing.T) {
			issued := w.issued(t, tc.applicationID)
			snapshot, err := w.store.Snapshot(t.Context(), issued.RefreshToken.ID)
			must(t, err)
			tokens := portmock.NewMockRefreshTokens(gomock.NewController(t))
			tokens.EXPECT().Advance(gomock.Any(), issued.RefreshToken.ID, gomock.Any()).
				Return(domain.RefreshToken{}, domain.Policy{}, domain.ErrConflict).Times(tc.advances)
			tokens.EXPECT().Snapshot(gomock.Any(), issued.RefreshToken.ID).Return(snapshot, nil).Times(5)
			tokens.EXPECT().Use(gomock.Any(), gomock.Any(), gomock.Any(), gomock.Any()).
				Return(domain.ErrConflict).Times(tc.uses)
			x := *w.exchange
			x.Tokens = tokens
			out, err := x.Do(t.Context(), usecase.ExchangeInput{TokenString: issued.TokenString})
			wantErr(t, err, domain.ErrBusy)
			if out.Outcome != "" || !out.TokenString.IsZero() {
				t.Errorf("answer = %s, want none", out.Outcome)
			}
		})
	}
}

func TestAnExchangeThatWinsAtLastIsAnswered(t *testing.T) {
	w := newWorld(t)
	issued := w.issued(t, "shop")
	snapshot, err := w.store.Snapshot(t.Context(), issued.RefreshToken.ID)
	must(t, err)
	tokens := portmock.NewMockRefreshTokens(gomock.NewController(t))
	lost := tokens.EXPECT().Advance(gomock.Any(), gomock.Any(), gomock.Any()).
		Return(domain.RefreshToken{}, domain.Policy{}, domain.ErrConflict).Times(5)
	tokens.EXPECT().Advance(gomock.Any(), gomock.Any(), gomock.Any()).DoAndReturn(w.store.Advance).After(lost)
	tokens.EXPECT().Snapshot(gomock.Any(), gomock.Any()).Return(snapshot, nil).Times(5)
	x := *w.exchange
	x.Tokens = tokens
	out, err := x.Do(t.Context(), usecase.ExchangeInput{TokenString: issued.TokenString})
	must(t, err)
	wantOutcome(t, out, domain.Rotated, nil)
}

// The rotation is durable when signing fails: the client, which got no response, retries and gets the successor.
func TestARotationThatCouldNotBeSignedIsAnsweredToTheRetry(t *testing.T) {
	w := newWorld(t)
	first := w.issued(t, "shop")
	down := portmock.NewMockSigner(gomock.NewController(t))
	down.EXPECT().Sign(gomock.Any(), gomock.Any(), gomock.Any()).Return("", errPort)
	x := *w.exchange
	x.Minter.Signer = down

	out, err := x.Do(t.Context(), usecase.ExchangeInput{TokenString: first.TokenString})
	wantErr(t, err, domain.ErrUnavailable)
	wantErr(t, err, errPort)
	if !out.TokenString.IsZero() {
		t.Error("there is a token string beside the error")
	}
	if g := w.record(t, first.RefreshToken.ID).Generation; g != 2 {
		t.Fatalf("generation = %d, want 2", g)
	}

	w.clock.advance(10 * time.Second)
	retried := w.exchanged(t, first.TokenString)
	wantOutcome(t, retried, domain.Retried, nil)
	w.clock.advance(time.Hour)
	recovered := w.exchanged(t, first.TokenString)
	wantOutcome(t, recovered, domain.Recovered, nil)
	if !recovered.TokenString.Equal(retried.TokenString) {
		t.Error("the successor changed")
	}
	w.clock.advance(time.Hour)
	wantOutcome(t, w.exchanged(t, retried.TokenString), domain.Rotated, nil)
}

// A phone that loses every response uses up its budget; an owner and a thief who alternate use it up at their third
// collision.
func TestTheRecoveryBudgetEndsAtTheThirdCollision(t *testing.T) {
	w := newWorld(t)
	before := w.issued(t, "shop").TokenString
	for collision := range 3 {
		current := w.rotated(t, before).TokenString
		w.clock.advance(time.Hour)
		got := w.exchanged(t, before)
		if collision == 2 {
			wantOutcome(t, got, domain.RefusedReplayed, nil)
			wantOutcome(t, w.exchanged(t, current), domain.RefusedRevoked, nil)
			if r := w.record(t, got.RefreshToken.ID); r.RevokedReason != domain.RevokedByReplay ||
				r.RevokedAt != stored(w.clock.now()) {
				t.Errorf("revoked at %s as %q", r.RevokedAt, r.RevokedReason)
			}
			return
		}
		wantOutcome(t, got, domain.Recovered, nil)
		if !got.TokenString.Equal(current) {
			t.Error("a recovery was answered with another string than the current one")
		}
		if iat := claimsOf(t, got.AccessToken)["iat"]; iat != float64(w.clock.now().Unix()) {
			t.Errorf("iat = %v, want now", iat)
		}
		again := w.exchanged(t, before) // the recovery's answer stands
		wantOutcome(t, again, domain.Retried, nil)
		sameGrant(t, again.Grant, got.Grant)
		w.clock.advance(time.Hour)
		paid := w.record(t, got.RefreshToken.ID).RecoveryPaidUntil
		wantOutcome(t, w.exchanged(t, before), domain.Recovered, nil) // free: that generation was recovered
		r := w.record(t, got.RefreshToken.ID)
		if r.RecoveryPaidUntil != paid || r.RecoveredAt != got.RefreshToken.RecoveredAt {
			t.Errorf("a repeated recovery was charged, or moved the last answer: %+v", r)
		}
		before = current
	}
}

func TestAReusableTokenStringStaysAndItsRefreshTokenSlides(t *testing.T) {
	w := newWorld(t)
	issued := w.issued(t, "reusable")
	w.clock.advance(time.Hour)
	got := w.exchanged(t, issued.TokenString)
	wantOutcome(t, got, domain.Unchanged, nil)
	if !got.TokenString.Equal(issued.TokenString) || got.AccessToken.Equal(issued.AccessToken) {
		t.Error("the token string stays, the access token is new")
	}
	now := stored(w.clock.now())
	want := issued.RefreshToken
	want.LastUsedAt, want.ExpiresAt = now, wholeSecond(now.Add(30*24*time.Hour))
	if diff := cmp.Diff(want, w.record(t, want.ID)); diff != "" {
		t.Errorf("the record (-want +got):\n%s", diff)
	}
}

// A refusal is an outcome, not an error; and only a replay changes the record.
func TestRefusals(t *testing.T) {
	w := newWorld(t)
	w.application(t, "acme", "lenient", domain.Settings{RevokeOnReplay: new(false)})
	// rotatedTwice returns a grant whose first string is too old for every retry.
	rotatedTwice := func(t *testing.T, applicationID string) usecase.Grant {
		first := w.issued(t, applicationID)
		w.clock.advance(time.Hour)
		second := w.rotated(t, first.TokenString)
		w.clock.advance(time.Hour)
		w.rotated(t, second.TokenString)
		w.clock.advance(time.Hour)
		return first
	}
	for _, tc := range []struct {
		name    string
		arrange func(t *testing.T) (usecase.Grant, usecase.ExchangeInput)
		outcome domain.Outcome
		why     error
	}{
		{"of another tenant than the call names", func(t *testing.T) (usecase.Grant, usecase.ExchangeInput) {
			return w.issued(t, "shop"), usecase.ExchangeInput{TenantID: "globex"}
		}, domain.RefusedInvalid, nil},
		{"without the authentication that the application asks for",
			func(t *testing.T) (usecase.Grant, usecase.ExchangeInput) {
				return w.issued(t, "guarded"), usecase.ExchangeInput{TenantID: "acme"}
			}, domain.RefusedInvalid, domain.ErrAuthenticationRequired},
		{"without the key that it is bound to", func(t *testing.T) (usecase.Grant, usecase.ExchangeInput) {
			g, err := w.issue.Do(t.Context(), usecase.IssueInput{
				TenantID: "acme", ApplicationID: "shop", UserID: "ana", Binding: "thumbprint",
			})
			must(t, err)
			return g, usecase.ExchangeInput{Possession: domain.Possession{Key: "another"}}
		}, domain.RefusedInvalid, domain.ErrProofRequired},
		{"expired", func(t *testing.T) (usecase.Grant, usecase.ExchangeInput) {
			g := w.issued(t, "shop")
			w.clock.at = g.RefreshToken.ExpiresAt
			return g, usecase.ExchangeInput{}
		}, domain.RefusedExpired, nil},
		{"revoked itself", func(t *testing.T) (usecase.Grant, usecase.ExchangeInput) {
			g := w.issued(t, "shop")
			_, err := w.revoke.Do(t.Context(), usecase.RevokeInput{TenantID: "acme", TokenString: &g.TokenString})
			must(t, err)
			return g, usecase.ExchangeInput{}
		}, domain.RefusedRevoked, nil},
		{"revoked with all of its user's", func(t *testing.T) (usecase.Grant, usecase.ExchangeInput) {
			g := w.issued(t, "shop")
			_, err := w.revoke.Do(t.Context(),
				usecase.RevokeInput{TenantID: "acme", Selector: domain.SelectorInput{UserID: new("ana")}})
			must(t, err)
			return g, usecase.ExchangeInput{}
		}, domain.RefusedRevoked, nil},
		{"of a deleted application", func(t *testing.T) (usecase.Grant, usecase.ExchangeInput) {
			w.application(t, "acme", "gone", domain.Settings{})
			g := w.issued(t, "gone")
			must(t, storagetest.DeleteApplication(t.Context(), w.store, "acme", "gone", w.clock.now()))
			return g, usecase.ExchangeInput{}
		}, domain.RefusedRevoked, nil},
		{"of an inactive application", func(t *testing.T) (usecase.Grant, usecase.ExchangeInput) {
			w.application(t, "acme", "resting", domain.Settings{})
			g := w.issued(t, "resting")
			w.application(t, "acme", "resting", domain.Settings{Active: new(false)})
			return g, usecase.ExchangeInput{}
		}, domain.RefusedInactive, nil},
		{"replayed where a replay does not revoke", func(t *testing.T) (usecase.Grant, usecase.ExchangeInput) {
			return rotatedTwice(t, "lenient"), usecase.ExchangeInput{}
		}, domain.RefusedReplayed, nil},
		{"replayed without the authentication that is asked for",
			func(t *testing.T) (usecase.Grant, usecase.ExchangeInput) {
				w.application(t, "acme", "late", domain.Settings{})
				g := rotatedTwice(t, "late")
				w.application(t, "acme", "late", domain.Settings{RequireAuthentication: new(true)})
				return g, usecase.ExchangeInput{}
			}, domain.RefusedInvalid, domain.ErrAuthenticationRequired},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g, in := tc.arrange(t)
			in.TokenString = g.TokenString
			before := w.record(t, g.RefreshToken.ID)
			got := w.exchangedAs(t, in)
			wantOutcome(t, got, tc.outcome, tc.why)
			if diff := cmp.Diff(before, w.record(t, g.RefreshToken.ID)); diff != "" {
				t.Errorf("the refusal changed the record (-before +after):\n%s", diff)
			}
			if got.RefreshToken.ID != g.RefreshToken.ID {
				t.Error("the answer does not tell which refresh token it was")
			}
		})
	}
}

func TestAReplayEndsTheSessionForBoth(t *testing.T) {
	w := newWorld(t)
	first := w.issued(t, "shop")
	second := w.rotated(t, first.TokenString)
	w.clock.advance(time.Hour)
	third := w.rotated(t, second.TokenString)
	w.clock.advance(time.Hour)
	wantOutcome(t, w.exchanged(t, first.TokenString), domain.RefusedReplayed, nil)
	for _, s := range []domain.Secret{first.TokenString, second.TokenString, third.TokenString} {
		wantOutcome(t, w.exchanged(t, s), domain.RefusedRevoked, nil)
	}
}

func TestWhatIsProvedIsAnswered(t *testing.T) {
	w := newWorld(t)
	guarded := w.issued(t, "guarded")
	wantOutcome(t, w.exchangedAs(t, usecase.ExchangeInput{
		TokenString: guarded.TokenString, TenantID: "acme", Authenticated: true,
	}), domain.Rotated, nil)
	bound, err := w.issue.Do(t.Context(), usecase.IssueInput{TenantID: "acme", ApplicationID: "shop", UserID: "ana",
		Binding: "thumbprint"})
	must(t, err)
	wantOutcome(t, w.exchangedAs(t, usecase.ExchangeInput{
		TokenString: bound.TokenString, Possession: domain.Possession{Key: "thumbprint"},
	}), domain.Rotated, nil)
}

func TestARetryFromAnotherAddressIsTold(t *testing.T) {
	w := newWorld(t)
	first := w.issued(t, "shop")
	from := func(address string) usecase.Exchanged {
		return w.exchangedAs(t, usecase.ExchangeInput{TokenString: first.TokenString, ClientAddress: address})
	}
	for _, step := range []struct {
		address string
		outcome domain.Outcome
		changed bool
	}{
		{"192.0.2.1", domain.Rotated, false},
		{"192.0.2.1", domain.Retried, false},
		{"198.51.100.9", domain.Retried, true},
		{"", domain.Retried, false},
	} {
		got := from(step.address)
		wantOutcome(t, got, step.outcome, nil)
		if got.AddressChanged != step.changed {
			t.Errorf("from %q: address changed = %t, want %t", step.address, got.AddressChanged, step.changed)
		}
	}
}

// After a restore from a backup, the client's token string is ahead of the record, or there is no record.
func TestAStoreThatWentBackInTimeIsTold(t *testing.T) {
	w := newWorld(t)
	first := w.issued(t, "shop")
	second := w.rotated(t, first.TokenString)

	restored := w.restored(t)
	_, err := restored.store.Insert(t.Context(), first.RefreshToken)
	must(t, err)
	wantOutcome(t, restored.exchanged(t, second.TokenString), domain.RefusedInvalid, domain.ErrAhead)

	// If an operator says so, the owner can continue, once: the string that was current before is then an old one.
	restored.exchange.Restored = true
	third := restored.exchanged(t, second.TokenString)
	wantOutcome(t, third, domain.Rotated, nil)
	if r := restored.record(t, third.RefreshToken.ID); !third.Restored || r.Generation != 3 {
		t.Errorf("restored = %t at generation %d, want true at 3", third.Restored, r.Generation)
	}
	again := restored.exchanged(t, second.TokenString)
	wantOutcome(t, again, domain.Retried, nil)
	sameGrant(t, again.Grant, third.Grant)
	wantOutcome(t, restored.exchanged(t, first.TokenString), domain.RefusedReplayed, nil)

	older := w.restored(t)
	wantOutcome(t, older.exchanged(t, second.TokenString), domain.RefusedInvalid, nil)
}

// restored returns a deployment with the same keys and tenants as w, and no refresh tokens.
func (w *world) restored(t *testing.T) *world {
	t.Helper()
	r := &world{clock: w.clock, random: w.random, store: memstore.New(), master: w.master}
	r.probe = &probe{Store: r.store, Signer: w.probe.Signer}
	for _, k := range w.sealed(t) {
		must(t, r.store.AddKeys(t.Context(), storagetest.NewEvent(), k))
	}
	must(t, storagetest.SaveTenant(t.Context(), r.store, domain.Tenant{ID: "acme", Name: "Acme"}))
	r.application(t, "acme", "shop", domain.Settings{})
	r.replica = r.open(t)
	return r
}

// refounded returns w with its own keys: another deployment.
func (w *world) refounded(t *testing.T) *world {
	t.Helper()
	r := &world{clock: w.clock, random: w.random, store: memstore.New(), master: w.master}
	r.probe = &probe{Store: r.store, Signer: w.probe.Signer}
	r.replica = r.open(t)
	must(t, storagetest.SaveTenant(t.Context(), r.store, domain.Tenant{ID: "acme", Name: "Acme"}))
	r.application(t, "acme", "shop", domain.Settings{})
	return r
}

// After an error the client sends the same string again. So the result beside it must be empty, whichever call failed.
func TestAStoreThatIsDownIsNoRefusal(t *testing.T) {
	w := newWorld(t)
	first := w.issued(t, "shop")
	for name, arrange := range map[string]func(*portmock.MockRefreshTokens){
		"Advance": func(m *portmock.MockRefreshTokens) {
			m.EXPECT().Advance(gomock.Any(), gomock.Any(), gomock.Any()).Return(domain.RefreshToken{}, domain.Policy{},
				errPort)
		},
		"Snapshot": func(m *portmock.MockRefreshTokens) {
			m.EXPECT().Advance(gomock.Any(), gomock.Any(), gomock.Any()).
				Return(domain.RefreshToken{}, domain.Policy{}, domain.ErrConflict)
			m.EXPECT().Snapshot(gomock.Any(), gomock.Any()).Return(domain.Snapshot{}, errPort)
		},
	} {
		t.Run(name, func(t *testing.T) {
			tokens := portmock.NewMockRefreshTokens(gomock.NewController(t))
			arrange(tokens)
			x := *w.exchange
			x.Tokens = tokens
			out, err := x.Do(t.Context(), usecase.ExchangeInput{TokenString: first.TokenString})
			if !errors.Is(err, domain.ErrUnavailable) || !errors.Is(err, errPort) || out.Outcome != "" {
				t.Errorf("got %s, %v, want no outcome and ErrUnavailable with its cause", out.Outcome, err)
			}
		})
	}
}

var _ port.Store = (*probe)(nil)
