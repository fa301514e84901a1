package usecase_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
	"github.com/refreshd/refreshd/test/storagetest"
	"github.com/refreshd/refreshd/usecase"
)

// signedBy returns the key that signs a new session of acme's shop.
func (w *world) signedBy(t *testing.T) string {
	t.Helper()
	return kidOf(t, w.issued(t, "shop").AccessToken)
}

// wantUnsafe checks that err is an unsafe step that becomes safe at until.
func wantUnsafe(t *testing.T, err error, until time.Time) {
	t.Helper()
	var unsafe *domain.UnsafeStep
	if !errors.As(err, &unsafe) || !unsafe.Until.Equal(until) {
		t.Fatalf("error = %v, want an unsafe step until %s", err, until)
	}
}

// old makes acme's tenant older than the minutes in which its keys may start immediately.
func (w *world) old(t *testing.T) {
	t.Helper()
	w.signedBy(t)
	w.clock.advance(time.Hour)
	must(t, w.keys.Reload(t.Context()))
}

func (w *world) rotation() *usecase.KeyRotation {
	return &usecase.KeyRotation{
		Keys: w.keys, Tenants: w.store, Jobs: w.store, Clock: w.clock.now, LeaseHolder: "one",
		Pause: func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
	}
}

func (w *world) key(t *testing.T, name string) domain.SealedKey {
	t.Helper()
	for _, k := range w.sealed(t) {
		if k.KeyName() == name {
			return k
		}
	}
	t.Fatalf("there is no key %s", name)
	return domain.SealedKey{}
}

// knownAfter is how long after it was made a key is known: to verifiers that use a key set for two hours, from any
// process and by any clock.
const knownAfter = 2*time.Hour + 2*time.Minute

// Section 9, "When a key starts": a key starts two hours after every process publishes it, and until then the old key
// signs.
func TestARotationStartsWhenVerifiersKnowTheKey(t *testing.T) {
	w := newWorld(t)
	w.old(t)
	first, at := w.signedBy(t), stored(w.clock.now())
	in := usecase.RotateKeys{TenantID: "acme", Algorithm: domain.ES256}
	now := in
	now.Now = true
	_, err := w.keys.Rotate(t.Context(), byOperator, now)
	wantUnsafe(t, err, at.Add(knownAfter))
	next, err := w.keys.Rotate(t.Context(), byOperator, in)
	must(t, err)
	if want := at.Add(knownAfter); !next.StartsAt.Equal(want) || next.Sealed != "" {
		t.Errorf("the next key starts at %s, want %s", next.StartsAt, want)
	}
	again, err := w.keys.Rotate(t.Context(), byOperator, in)
	if must(t, err); again.ID != next.ID {
		t.Errorf("a second rotation made another key")
	}
	w.clock.at = next.StartsAt.Add(-time.Second)
	if kid := w.signedBy(t); kid != first {
		t.Errorf("signed by %s before its start, want %s", kid, first)
	}
	w.clock.at = next.StartsAt.Add(time.Second)
	if kid := w.signedBy(t); kid != next.ID {
		t.Errorf("signed by %s, want %s", kid, next.ID)
	}
}

// A standby that verifiers know can take over within seconds, which every process has read before.
func TestARotationTakesTheStandby(t *testing.T) {
	w := newWorld(t)
	w.old(t)
	_, err := w.rotation().Pass(t.Context())
	must(t, err)
	w.clock.advance(3 * time.Hour)
	next, err := w.keys.Rotate(t.Context(), byOperator, usecase.RotateKeys{TenantID: "acme", Algorithm: domain.ES256})
	must(t, err)
	if in := next.StartsAt.Sub(stored(w.clock.now())); in != 5*time.Second {
		t.Errorf("the standby starts in %s, want 5s", in)
	}
	w.clock.advance(6 * time.Second)
	if kid := w.signedBy(t); kid != next.ID {
		t.Errorf("signed by %s, want %s", kid, next.ID)
	}
}

// A forced step is an event that says so.
func TestAForcedStepIsAnEventThatSaysSo(t *testing.T) {
	w := newWorld(t)
	w.old(t)
	next, err := w.keys.Rotate(t.Context(), byOperator, usecase.RotateKeys{
		TenantID: "acme", Algorithm: domain.ES256, Now: true, Force: true,
	})
	must(t, err)
	w.clock.advance(6 * time.Second)
	if kid := w.signedBy(t); kid != next.ID {
		t.Errorf("signed by %s, want %s", kid, next.ID)
	}
	e := w.lastEvent(t, domain.KeyAdded)
	if e.ObjectID != next.ID || e.Actor != byOperator.Actor {
		t.Errorf("event %+v", e)
	}
	if !strings.Contains(string(e.After), `"forced":true`) || !strings.Contains(string(e.After), `"unsafe":`) {
		t.Errorf("after = %s, want that it was forced, and why it was unsafe", e.After)
	}
}

// Section 9: a tenant's new algorithm waits for its key, in a tenant that has verifiers, and no request waits.
func TestAChangeOfTheAlgorithmWaitsForItsKey(t *testing.T) {
	w := newWorld(t)
	w.old(t)
	first, made := w.signedBy(t), stored(w.clock.now())
	must(t, w.keys.Prepare(t.Context(), byOperator, []usecase.SigningKeys{{TenantID: "acme", Algorithm: domain.EdDSA}}))
	w.application(t, "acme", "shop", domain.Settings{Algorithm: new(domain.EdDSA)})
	g := w.issued(t, "shop")
	if kid := kidOf(t, g.AccessToken); kid != first {
		t.Errorf("signed by %s, want %s until the new key has started", kid, first)
	}
	w.clock.at = made.Add(knownAfter - time.Minute)
	if got := w.rotated(t, g.TokenString); kidOf(t, got.AccessToken) != first {
		t.Errorf("an exchange was signed by %s, want %s", kidOf(t, got.AccessToken), first)
	}
	w.clock.at = made.Add(knownAfter + time.Second)
	if kid := w.signedBy(t); kid == first {
		t.Error("the new algorithm does not sign after its start")
	}
}

// Section 9: creating a tenant makes the keys of all its algorithms, which sign immediately, in every process.
func TestTheKeysOfANewTenantSignImmediately(t *testing.T) {
	w := newWorld(t)
	there := w.open(t)
	first := kidOf(t, w.issued(t, "shop").AccessToken)
	published(t, there, "acme") // it has loaded the tenant's keys
	w.clock.advance(9 * time.Minute)
	must(t, w.keys.Reload(t.Context()))
	must(t, there.keys.Reload(t.Context()))
	must(t, w.keys.Prepare(t.Context(), byOperator, []usecase.SigningKeys{{TenantID: "acme", Algorithm: domain.EdDSA}}))
	w.application(t, "acme", "shop", domain.Settings{Algorithm: new(domain.EdDSA)})
	here := kidOf(t, w.issued(t, "shop").AccessToken)
	g, err := there.issue.Do(t.Context(), usecase.IssueInput{TenantID: "acme", ApplicationID: "shop", UserID: "ben"})
	must(t, err)
	if kid := kidOf(t, g.AccessToken); here == first || kid != here {
		t.Errorf("signed by %s here and by %s there, want the new key by both", here, kid)
	}
}

// A policy that another program wrote has no key: another one signs, and the key is made meanwhile.
func TestAKeyThatAPolicyLacksIsMadeBesideRequests(t *testing.T) {
	w := newWorld(t)
	w.old(t)
	first := w.signedBy(t)
	w.application(t, "acme", "shop", domain.Settings{Algorithm: new(domain.EdDSA)})
	if kid := w.signedBy(t); kid != first {
		t.Errorf("signed by %s, want %s", kid, first)
	}
	for { // until another goroutine has made it; the test's deadline ends a wait that never does
		if slices.ContainsFunc(w.sealed(t), func(k domain.SealedKey) bool { return k.Algorithm == domain.EdDSA }) {
			break
		}
		time.Sleep(time.Millisecond) // the key is made in the background: nothing tells when it is stored
	}
}

// A revoked or retired key neither verifies nor is published.
func TestARevokedKeyVerifiesNothingAndIsNotPublished(t *testing.T) {
	for name, end := range map[string]func(*world, string) error{
		"revoked": func(w *world, id string) error {
			_, err := w.keys.Revoke(context.Background(), byOperator, id, usecase.RevokeKey{})
			return err
		},
		"retired": func(w *world, id string) error {
			_, err := w.keys.Retire(context.Background(), byOperator, id, true)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.old(t)
			there := w.open(t)
			g := w.issued(t, "shop")
			kid := kidOf(t, g.AccessToken)
			if _, err := there.byToken(t, g.AccessToken); err != nil {
				t.Fatal(err)
			}
			must(t, end(w, kid))
			if name == "retired" {
				w.clock.advance(4 * time.Second)
			}
			for i, r := range []replica{w.replica, there} {
				if _, err := r.byToken(t, g.AccessToken); !errors.Is(err, domain.ErrUnauthorized) {
					t.Errorf("process %d: error = %v, want ErrUnauthorized", i, err)
				}
				got := r.exchanged(t, g.TokenString) // signed by another key, never refused
				if got.Outcome.Refused() || kidOf(t, got.AccessToken) == kid {
					t.Errorf("process %d: outcome %s, signed by the %s key", i, got.Outcome, name)
				}
				if slices.Contains(published(t, r, "acme"), kid) {
					t.Errorf("process %d publishes the %s key", i, name)
				}
			}
		})
	}
}

// A resource server may ask any replica about an access token, for one that it cannot learn of by the stream: each says
// that it is not active when the revocation of its key has returned. The session itself continues.
func TestAnAccessTokenOfARevokedKeyIsNotActiveInAnyProcess(t *testing.T) {
	w := newWorld(t)
	w.old(t)
	processes := []replica{w.replica, w.open(t), w.open(t)}
	g := w.issued(t, "shop")
	active := func(token domain.Secret) (all []bool) {
		t.Helper()
		for _, r := range processes {
			i := usecase.Introspect{Tokens: w.probe, Keys: r.keys, Clock: w.clock.now, PublicURL: publicURL}
			got, err := i.Do(t.Context(), usecase.IntrospectInput{TenantID: "acme", Token: token})
			must(t, err)
			all = append(all, got.Active)
		}
		return all
	}
	if got := active(g.AccessToken); slices.Contains(got, false) { // from now on each has the key in memory
		t.Fatalf("before: active in the processes %t", got)
	}
	_, err := processes[1].keys.Revoke(t.Context(), byOperator, kidOf(t, g.AccessToken), usecase.RevokeKey{})
	must(t, err)
	if got := active(g.AccessToken); slices.Contains(got, true) {
		t.Errorf("the access token is active in the processes %t", got)
	}
	if got := active(g.TokenString); slices.Contains(got, false) {
		t.Errorf("the refresh token is active in the processes %t", got)
	}
	if got := active(processes[2].exchanged(t, g.TokenString).AccessToken); slices.Contains(got, false) {
		t.Errorf("the next access token is active in the processes %t", got)
	}
}

// Section 9, "Replicas": `key revoke` returns when every process has read it, 4 seconds after its commit.
func TestRevokeReturnsWhenEveryProcessHasReadIt(t *testing.T) {
	w := newWorld(t)
	w.old(t)
	kid := w.signedBy(t)
	began := w.clock.now()
	_, err := w.keys.Revoke(t.Context(), byOperator, kid, usecase.RevokeKey{NewKey: true})
	must(t, err)
	if got := w.clock.now().Sub(began); got != 4*time.Second {
		t.Errorf("Revoke returned after %s, want 4s", got)
	}
	// The audit trail of the key and of its tenant has it, although the write also made another key.
	if e := w.lastEvent(t, domain.KeyRevoked); e.Actor != byOperator.Actor || e.ObjectID != kid || e.TenantID != "acme" {
		t.Errorf("event %+v", e)
	}
}

// Section 9: revoking a signing key makes the standby sign, without any further step.
func TestTheStandbySignsAfterARevocation(t *testing.T) {
	w := newWorld(t)
	w.old(t)
	first := w.signedBy(t)
	did, err := w.rotation().Pass(t.Context())
	must(t, err)
	if did.Made == 0 {
		t.Fatal("no standby was made")
	}
	var standby string
	for _, k := range w.sealed(t) {
		if k.Kind == domain.KeySigning && k.TenantID == "acme" && k.ID != first {
			standby = k.ID
		}
	}
	_, err = w.keys.Revoke(t.Context(), byOperator, first, usecase.RevokeKey{})
	must(t, err)
	if kid := w.signedBy(t); kid != standby {
		t.Errorf("signed by %s, want the standby %s", kid, standby)
	}
}

// The standby leaked too: it never signs, neither now nor by its schedule, whether that was known at first, or the
// request is sent once more.
func TestADistrustedStandbyNeverSigns(t *testing.T) {
	for name, requests := range map[string][]usecase.RevokeKey{
		"together":         {{NewKey: true}},
		"and again":        {{NewKey: true}, {NewKey: true}},
		"a second thought": {{}, {NewKey: true}, {NewKey: true}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.old(t)
			first := w.signedBy(t)
			_, err := w.rotation().Pass(t.Context())
			must(t, err)
			var standby string
			for _, k := range w.sealed(t) {
				if k.Kind == domain.KeySigning && k.TenantID == "acme" && k.ID != first {
					standby = k.ID
				}
			}
			w.clock.advance(24 * time.Hour)
			for _, r := range requests {
				got, err := w.keys.Revoke(t.Context(), byOperator, first, r)
				must(t, err)
				if got.ID != first || got.RevokedAt.IsZero() {
					t.Errorf("got %+v, want %s, revoked", got, first)
				}
			}
			now, made := w.signedBy(t), 0
			for _, k := range w.sealed(t) {
				switch {
				case k.Kind != domain.KeySigning || k.TenantID != "acme":
				case k.ID == first || k.ID == standby:
					if k.RevokedAt.IsZero() {
						t.Errorf("%s is not revoked", k.ID)
					}
				default:
					made++
				}
			}
			if now == first || now == standby || made != 1 {
				t.Errorf("signed by %s, of %d new keys, want the only new one", now, made)
			}
			if !slices.ContainsFunc(w.events(t), func(e domain.Event) bool {
				return e.Kind == domain.KeyRevoked && e.ObjectID == standby
			}) {
				t.Error("no event says that the standby was revoked")
			}
			for range 10 {
				w.clock.advance(20 * 24 * time.Hour)
				must(t, w.keys.Reload(t.Context()))
				_, err := w.rotation().Pass(t.Context())
				must(t, err)
				if kid := w.signedBy(t); kid == standby {
					t.Fatalf("the standby signs at %s", w.clock.now())
				}
			}
		})
	}
}

// Section 9: a shared key without a standby is revoked. Each tenant is signed for by a key that its verifiers know, if
// there is one: the new shared key, which they do not know, signs only for tenants without keys of their own.
func TestAStandbyOfATenantSignsAfterTheRevocationOfASharedKey(t *testing.T) {
	w := newWorld(t)
	for _, k := range []domain.SealedKey{
		{Algorithm: domain.ES256, Number: 1, ID: "shared"},
		{TenantID: "acme", Algorithm: domain.ES256, Number: 1, ID: "standby", StartsAt: domain.Never},
	} {
		w.signingKey(t, k)
	}
	w.clock.advance(24 * time.Hour)
	must(t, w.keys.Reload(t.Context()))
	if kid := w.signedBy(t); kid != "shared" {
		t.Fatalf("signed by %s, want the shared key", kid)
	}
	_, err := w.keys.Revoke(t.Context(), byOperator, "shared", usecase.RevokeKey{})
	must(t, err)
	if kid := w.signedBy(t); kid != "standby" {
		t.Errorf("signed by %s, want the tenant's standby, which verifiers know", kid)
	}
	var next domain.SigningKey
	for _, k := range w.sealed(t) {
		if k.Kind == domain.KeySigning && k.TenantID == "" && k.Published() {
			next = k.Signing(domain.Secret{})
		}
	}
	signs, ok := domain.NewSigningKeys(next).SigningAt(domain.ES256, w.clock.now())
	if !ok || !signs.StartsAt.After(w.clock.now()) {
		t.Errorf("a tenant without keys: got key %q, start %s, want one that signs before its start", signs.ID,
			signs.StartsAt)
	}
}

// Section 9, "Token keys": a new one mints from two minutes after it was made; strings of a revoked one are refused
// from the start of its successor on, and the janitor ends their sessions.
func TestStringsOfARevokedTokenKeyAreRefusedAndTheirSessionsEnd(t *testing.T) {
	w := newWorld(t)
	first, other := w.issued(t, "shop"), w.issued(t, "shop")
	asked := 0
	c := w.keysConfig()
	c.TokenKeyRevoked = func() { asked++ }
	keys, err := usecase.OpenKeys(t.Context(), c)
	must(t, err)
	w.replica = w.replicaOf(keys)
	w.clock.advance(time.Minute)
	second := w.rotated(t, first.TokenString)
	w.clock.advance(time.Minute)
	revoked, err := w.keys.Revoke(t.Context(), byOperator, "token-1", usecase.RevokeKey{})
	must(t, err)
	if w.clock.now().Before(revoked.RevokedAt) || asked != 1 {
		t.Errorf("Revoke returned at %s, asked for %d passes, want after %s and 1", w.clock.now(), asked,
			revoked.RevokedAt)
	}
	if next := w.key(t, "token-2"); !next.StartsAt.Equal(revoked.RevokedAt) {
		t.Errorf("the successor starts at %s, want %s", next.StartsAt, revoked.RevokedAt)
	}
	for _, behind := range []time.Duration{domain.MaxClockSkew, 0} {
		w.clock.at = revoked.RevokedAt.Add(-behind)
		for _, s := range []domain.Secret{first.TokenString, second.TokenString, other.TokenString} {
			wantOutcome(t, w.exchanged(t, s), domain.RefusedInvalid, nil)
		}
	}
	third := w.issued(t, "shop")
	w.clock.advance(time.Hour)
	w.rotated(t, third.TokenString)
	p, _ := w.purger("one")
	p.Keys = w.store
	done, err := p.Pass(t.Context(), nil)
	must(t, err)
	if done.Revoked != 2 || w.alive(t, first.RefreshToken.ID) || w.alive(t, other.RefreshToken.ID) ||
		!w.alive(t, third.RefreshToken.ID) {
		t.Errorf("the pass revoked %d sessions, want the two of the revoked key", done.Revoked)
	}
	if reason := w.record(t, first.RefreshToken.ID).RevokedReason; reason != domain.RevokedWithKey {
		t.Errorf("reason = %s, want %s", reason, domain.RevokedWithKey)
	}
	if e := w.lastEvent(t, domain.ManyTokensRevoked); len(e.Tokens) != 2 {
		t.Errorf("the event names %d sessions, want 2", len(e.Tokens))
	}
}

// The current string of a session is of a revoked key, and the client presents the one before, of an older key: the
// session has ended, and the exchange is refused. It is not an error.
func TestAStringOfAnOlderKeyOfAnEndedSessionIsRefused(t *testing.T) {
	w := newWorld(t)
	first := w.issued(t, "shop")
	next, err := w.keys.Rotate(t.Context(), byOperator, usecase.RotateKeys{Kind: domain.KeyToken})
	must(t, err)
	if in := next.StartsAt.Sub(stored(w.clock.now())); in != 2*time.Minute {
		t.Errorf("a token key starts in %s, want 2m", in)
	}
	w.clock.at = next.StartsAt.Add(time.Second)
	w.rotated(t, first.TokenString)
	_, err = w.keys.Revoke(t.Context(), byOperator, next.KeyName(), usecase.RevokeKey{})
	must(t, err)
	wantOutcome(t, w.exchanged(t, first.TokenString), domain.RefusedRevoked, nil)
}

// Section 9, "Replicas": a process whose last reading is older than three seconds reads before it presents a token
// string, verifies an access token or looks up an API key.
func TestAStaleProcessReadsTheKeysBeforeItUsesThem(t *testing.T) {
	w := newWorld(t)
	_, err := w.apply.Do(t.Context(), kickstart())
	must(t, err)
	g := w.issued(t, "shop")
	there := w.open(t)
	_, err = w.keys.Rotate(t.Context(), byOperator, usecase.RotateKeys{Kind: domain.KeyAPI})
	must(t, err)
	w.clock.advance(time.Minute)
	must(t, there.keys.Reload(t.Context()))
	for _, name := range []string{"api-1", "token-1", kidOf(t, g.AccessToken)} {
		_, err := w.keys.Revoke(t.Context(), byOperator, name, usecase.RevokeKey{})
		must(t, err)
		switch name {
		case "api-1":
			_, err = there.byKey(t, backendKey, domain.TokenIssue)
			wantErr(t, err, domain.ErrUnauthorized)
		case "token-1":
			wantOutcome(t, there.exchanged(t, g.TokenString), domain.RefusedInvalid, nil)
		default:
			_, err = there.byToken(t, g.AccessToken)
			wantErr(t, err, domain.ErrUnauthorized)
		}
	}
}

// A token key that is revoked before its start never mints.
func TestATokenKeyThatIsRevokedBeforeItsStartNeverMints(t *testing.T) {
	w := newWorld(t)
	first := w.issued(t, "shop")
	next, err := w.keys.Rotate(t.Context(), byOperator, usecase.RotateKeys{Kind: domain.KeyToken})
	must(t, err)
	_, err = w.keys.Revoke(t.Context(), byOperator, next.KeyName(), usecase.RevokeKey{})
	must(t, err)
	w.clock.advance(time.Hour)
	second := w.rotated(t, first.TokenString)
	w.clock.advance(time.Hour)
	w.rotated(t, second.TokenString)
}

// Section 9: a token key is retired if neither the current nor the previous token string of an active refresh token is
// of it: a retry or a recovery presents the previous one, however late.
func TestATokenKeyIsRetiredWhenNoSessionNeedsIt(t *testing.T) {
	w := newWorld(t)
	first := w.issued(t, "shop")
	_, err := w.keys.Retire(t.Context(), byOperator, "token-1", true)
	wantCodes(t, err, "[conflict]")
	next, err := w.keys.Rotate(t.Context(), byOperator, usecase.RotateKeys{Kind: domain.KeyToken})
	must(t, err)
	w.clock.at = next.StartsAt.Add(time.Hour)
	_, err = w.keys.Retire(t.Context(), byOperator, "token-1", false)
	wantErr(t, err, domain.ErrUnsafe) // no pass yet
	p, _ := w.purger("one")
	pass := func() {
		w.clock.advance(time.Hour)
		_, err := p.Pass(t.Context(), nil)
		must(t, err)
		_, err = w.rotation().Pass(t.Context())
		must(t, err)
		w.clock.advance(2 * time.Hour) // until the lease of the rotation ends
	}
	pass()
	_, err = w.keys.Retire(t.Context(), byOperator, "token-1", false)
	wantErr(t, err, domain.ErrUnsafe) // a session's string is of that key
	second := w.rotated(t, first.TokenString)
	for range 3 {
		pass()
		if k := w.key(t, "token-1"); !k.RetiredAt.IsZero() || k.UnusedAt.IsZero() {
			t.Fatalf("unused since %s, retired at %s, want only the former: the previous token string is of the key",
				k.UnusedAt, k.RetiredAt)
		}
	}
	_, err = w.keys.Retire(t.Context(), byOperator, "token-1", false)
	wantErr(t, err, domain.ErrUnsafe)
	recovered := w.exchanged(t, first.TokenString) // the response with the second string was lost
	if !recovered.TokenString.Equal(second.TokenString) {
		t.Error("the recovery gave another token string than the rotation")
	}
	w.clock.advance(time.Hour)
	w.rotated(t, second.TokenString)
	pass()
	if k := w.key(t, "token-1"); k.RetiredAt.IsZero() {
		t.Error("the worker did not retire the token key after its last session was rotated twice")
	}
	wantOutcome(t, w.exchanged(t, first.TokenString), domain.RefusedInvalid, nil)
}

// Section 9: API keys are looked up under each hash key that is not retired, and are stored again under the newest.
func TestAPIKeysAreStoredAgainUnderTheNewestHashKey(t *testing.T) {
	w := newWorld(t)
	_, err := w.apply.Do(t.Context(), kickstart())
	must(t, err)
	there := w.open(t)
	next, err := w.keys.Rotate(t.Context(), byOperator, usecase.RotateKeys{Kind: domain.KeyAPI})
	must(t, err)
	if _, err := w.keys.Generate(t.Context(), byOperator, usecase.NewKey{Kind: domain.KeyAPI}); err == nil {
		t.Error("a third hash key was made")
	}
	w.clock.advance(2 * time.Minute)
	before := w.storedUnder(t, backendKey)
	_, err = w.keys.Retire(t.Context(), byOperator, "api-1", false)
	var unsafe *domain.UnsafeStep
	if !errors.As(err, &unsafe) || !strings.Contains(unsafe.Why, fmt.Sprintf("%q", before.Name)) {
		t.Errorf("error = %v, want an unsafe step that names %q", err, before.Name)
	}
	for i, r := range []replica{there, w.replica} {
		if _, err := r.byKey(t, backendKey, domain.TokenIssue); err != nil {
			t.Errorf("process %d: %v", i, err)
		}
	}
	after := w.storedUnder(t, backendKey)
	if after.HashKey != next.Number || after.Hash == before.Hash || after.Version != before.Version+1 {
		t.Errorf("the API key is stored under key %d, version %d, want %d and %d", after.HashKey, after.Version,
			next.Number, before.Version+1)
	}
	_, err = w.keys.Retire(t.Context(), byOperator, "api-2", true)
	wantCodes(t, err, "[conflict]")
	_, err = w.keys.Retire(t.Context(), byOperator, "api-1", true)
	must(t, err)
	w.clock.advance(4 * time.Second)
	if _, err := there.byKey(t, backendKey, domain.TokenIssue); err != nil {
		t.Error(err)
	}
}

// A client secret is hashed under the same keys as an API key is. Such a key stays while one needs it, and the operator
// reads whose it is.
func TestAHashKeyStaysWhileAClientSecretNeedsIt(t *testing.T) {
	w := newWorld(t)
	secret := domain.NewSecret("a client secret of 40 characters, or so.")
	save := func(tenantID, id string) domain.Application {
		t.Helper()
		must(t, storagetest.SaveTenant(t.Context(), w.store, domain.Tenant{ID: tenantID}))
		hash, number := w.keys.HashClientSecret(tenantID, id, secret)
		a := domain.Application{TenantID: tenantID, ID: id, Client: domain.Client{Secrets: []domain.ClientSecret{
			{Hash: hash, HashKey: number, CreatedAt: w.clock.now()},
		}}}
		must(t, storagetest.SaveApplication(t.Context(), w.store, a))
		return a
	}
	first := save("one", "web")
	save("two", "app")
	next, err := w.keys.Rotate(t.Context(), byOperator, usecase.RotateKeys{Kind: domain.KeyAPI})
	must(t, err)
	w.clock.advance(2 * time.Minute)
	needed := func(names ...string) {
		t.Helper()
		_, err := w.keys.Retire(t.Context(), byOperator, "api-1", false)
		var unsafe *domain.UnsafeStep
		if !errors.As(err, &unsafe) {
			t.Fatalf("error = %v, want an unsafe step", err)
		}
		for _, name := range names {
			if !strings.Contains(unsafe.Why, name) {
				t.Errorf("it names no %s: %s", name, unsafe.Why)
			}
		}
	}
	needed(`the client "web" of tenant "one"`, `the client "app" of tenant "two"`, "2")

	// The worker counts them too: it retires no key that one needs, however long ago the next one began.
	for range 30 {
		w.clock.advance(24 * time.Hour)
		if _, err := w.rotation().Pass(t.Context()); err != nil && !errors.Is(err, domain.ErrConflict) {
			t.Fatal(err)
		}
	}
	if k := w.key(t, "api-1"); !k.RetiredAt.IsZero() {
		t.Fatal("the worker retired a key that two clients need")
	}

	// The rehash of a request changes the record that it makes, and not the one that it was given.
	old := first.Client.Clone()
	rehashed, changed := w.keys.RehashedClient(first, 0, secret)
	if s := rehashed.Client.Secrets[0]; !changed || s.HashKey != next.Number || s.Hash == old.Secrets[0].Hash {
		t.Errorf("rehashed to key %d, changed = %t", s.HashKey, changed)
	}
	if !first.Client.Equal(old) {
		t.Errorf("the rehash changed its argument: key %d", first.Client.Secrets[0].HashKey)
	}
	if again, changed := w.keys.RehashedClient(rehashed, 0, secret); changed || !again.Client.Equal(rehashed.Client) {
		t.Error("a secret under the newest key was hashed again")
	}
	save("one", "web")
	needed(`the client "app" of tenant "two"`, "1")
	save("two", "app")
	_, err = w.keys.Retire(t.Context(), byOperator, "api-1", false)
	must(t, err)
}

func (w *world) storedUnder(t *testing.T, key domain.Secret) domain.APIKey {
	t.Helper()
	hashes, err := w.keys.HashesOfAPIKey(t.Context(), key)
	must(t, err)
	k, err := w.store.APIKeyByHash(t.Context(), hashes...)
	must(t, err)
	return k
}

// Section 9: a signing key stays published for the longest access token lifetime and the cache age after it last
// signed; then the worker retires it. Each algorithm has one key more than signs.
func TestTheWorkerMakesStandbysAndRetiresWhatIsDue(t *testing.T) {
	w := newWorld(t)
	w.old(t)
	first := w.signedBy(t)
	r := w.rotation()
	count := func() (published, retired int) {
		for _, k := range w.sealed(t) {
			switch {
			case k.Kind != domain.KeySigning || k.TenantID != "acme":
			case k.Published():
				published++
			default:
				retired++
			}
		}
		return published, retired
	}
	for day := range 200 {
		if _, err := r.Pass(t.Context()); err != nil && !errors.Is(err, domain.ErrConflict) {
			t.Fatal(err)
		}
		w.signedBy(t)
		if published, _ := count(); published < 2 || published > 3 {
			t.Fatalf("day %d: %d keys are published, want one that signs, a standby, and one that may be needed", day,
				published)
		}
		w.clock.advance(24 * time.Hour)
	}
	if published, retired := count(); published != 2 || retired != 2 {
		t.Errorf("after 200 days: %d published, %d retired, want 2 and 2", published, retired)
	}
	if k := w.key(t, first); k.RetiredAt.IsZero() {
		t.Error("the first key is not retired")
	}
}

// The setting of the rotation applies to the standbys that there are too: one without a schedule gets one, and loses it
// when rotation is turned off. A start of the next day stays.
func TestAChangeOfTheRotationMovesTheStandbys(t *testing.T) {
	w := newWorld(t)
	w.old(t)
	start := func(rotation time.Duration) time.Time {
		t.Helper()
		c := w.keysConfig()
		c.Rotation = rotation
		keys, err := usecase.OpenKeys(t.Context(), c)
		must(t, err)
		w.replica = w.replicaOf(keys)
		_, err = w.rotation().Pass(t.Context())
		must(t, err)
		w.clock.advance(2 * usecase.KeyRotationInterval)
		var starts []time.Time
		for _, k := range w.sealed(t) {
			if k.Kind == domain.KeySigning && k.TenantID == "acme" && k.StartsAt.After(w.clock.now()) {
				starts = append(starts, k.StartsAt)
			}
		}
		if len(starts) != 1 {
			t.Fatalf("there are %d standbys, want 1", len(starts))
		}
		return starts[0]
	}
	const quarter = 90 * 24 * time.Hour
	if at := start(0); !at.Equal(domain.Never) {
		t.Errorf("without rotation the standby starts at %s, want never", at)
	}
	if at := start(quarter); !at.Before(w.clock.now().Add(quarter + 24*time.Hour)) {
		t.Errorf("with rotation the standby starts at %s, want within the interval", at)
	}
	if at := start(0); !at.Equal(domain.Never) {
		t.Errorf("after rotation was turned off the standby starts at %s, want never", at)
	}
}

// One process makes a pass over the keys; the others make none before the next pass is due.
func TestOneProcessAtATimeRotatesKeys(t *testing.T) {
	w := newWorld(t)
	w.old(t)
	one, two := w.rotation(), w.rotation()
	two.LeaseHolder = "two"
	_, err := one.Pass(t.Context())
	must(t, err)
	_, err = two.Pass(t.Context())
	wantErr(t, err, domain.ErrConflict)
	w.clock.advance(usecase.KeyRotationInterval)
	_, err = two.Pass(t.Context())
	must(t, err)
}

// A worker whose store fails continues, and reports it.
func TestARotationThatFailsIsReportedAndTriedAgain(t *testing.T) {
	w := newWorld(t)
	w.old(t)
	r := w.rotation()
	r.Jobs = brokenJobs{}
	ctx, cancel := context.WithCancel(t.Context())
	var errs []error
	r.Run(ctx, func(_ usecase.KeyPass, err error) {
		if errs = append(errs, err); len(errs) == 3 {
			cancel()
		}
	})
	if len(errs) != 3 || !errors.Is(errs[0], errPort) {
		t.Errorf("reported %v", errs)
	}
}

type brokenJobs struct{}

func (brokenJobs) Lease(context.Context, port.JobLease) error { return errPort }

func (brokenJobs) Release(context.Context, string, string) error { return errPort }

// An import says since when verifiers have known the key; it may then start at that time plus the cache age.
func TestAnImportedKeyThatVerifiersKnowSignsSoon(t *testing.T) {
	w := newWorld(t)
	w.old(t)
	private, err := w.probe.Signer.NewKey(domain.ES256, 0)
	must(t, err)
	n := usecase.NewKey{
		ID: "imported", Kind: domain.KeySigning, TenantID: "acme", Algorithm: domain.ES256, Private: private, Now: true,
	}
	_, err = w.keys.Import(t.Context(), byOperator, n)
	wantUnsafe(t, err, stored(w.clock.now()).Add(knownAfter))
	n.KnownAt = w.clock.now().Add(-3 * time.Hour)
	_, err = w.keys.Import(t.Context(), byOperator, n)
	must(t, err)
	w.clock.advance(6 * time.Second)
	if kid := w.signedBy(t); kid != "imported" {
		t.Errorf("signed by %s, want imported", kid)
	}
	_, err = w.keys.Import(t.Context(), byOperator, n)
	wantCodes(t, err, "[duplicate]id")
	n.ID = "token-7"
	_, err = w.keys.Import(t.Context(), byOperator, n)
	wantCodes(t, err, "[invalid]id")
}

// A change moves the start of a key that has not started, and no other.
func TestAChangeMovesTheStartOfAStandbyOnly(t *testing.T) {
	w := newWorld(t)
	w.old(t)
	first := w.signedBy(t)
	later := w.clock.now().Add(300 * time.Hour)
	_, err := w.keys.Change(t.Context(), byOperator, first, "acme", usecase.KeyPatch{StartsAt: &later}, false)
	wantCodes(t, err, "[conflict]startsInstant")
	next, err := w.keys.Generate(t.Context(), byOperator,
		usecase.NewKey{Kind: domain.KeySigning, TenantID: "acme", Algorithm: domain.ES256})
	must(t, err)
	_, err = w.keys.Change(t.Context(), byOperator, next.ID, "globex", usecase.KeyPatch{Name: new("x")}, false)
	wantErr(t, err, domain.ErrNotFound)
	got, err := w.keys.Change(t.Context(), byOperator, next.ID, "acme",
		usecase.KeyPatch{Name: new("the next"), StartsAt: &later}, false)
	must(t, err)
	if got.Name != "the next" || !w.key(t, next.ID).StartsAt.Equal(stored(later)) {
		t.Errorf("the key is %+v", got)
	}
	soon := w.clock.now().Add(time.Hour)
	_, err = w.keys.Change(t.Context(), byOperator, next.ID, "acme", usecase.KeyPatch{StartsAt: &soon}, false)
	wantUnsafe(t, err, next.CreatedAt.Add(knownAfter))
}

// While another process puts another master key in force, keys are still added: they are sealed again by that one.
func TestAKeyThatIsAddedDuringAChangeOfTheMasterKeyIsSealedByTheOneInForce(t *testing.T) {
	w := newWorld(t)
	w.old(t)
	before := w.master
	w.master = newMasterKey(t, w.random)
	c := w.keysConfig()
	c.Previous = &before
	both, err := usecase.OpenKeys(t.Context(), c)
	must(t, err)
	c.Master, c.Previous = before, &w.master // the other order
	other, err := usecase.OpenKeys(t.Context(), c)
	must(t, err)
	must(t, both.Reseal(t.Context(), byOperator, nil))
	if e := w.lastEvent(t, domain.KeysResealed); e.Actor != byOperator.Actor {
		t.Errorf("event %+v", e)
	}
	next, err := other.Generate(t.Context(), byOperator, usecase.NewKey{Kind: domain.KeyToken})
	must(t, err)
	if want, _ := w.master.ID(); next.SealedBy != want {
		t.Errorf("sealed by %s, want %s, which is in force", next.SealedBy, want)
	}
	w.open(t)
}

func (w *world) lastEvent(t *testing.T, kind domain.EventKind) domain.Event {
	t.Helper()
	all := w.events(t)
	slices.Reverse(all)
	i := slices.IndexFunc(all, func(e domain.Event) bool { return e.Kind == kind })
	if i < 0 {
		t.Fatalf("there is no event %s", kind)
	}
	return all[i]
}

// An id that begins with a hyphen would be a flag on the command line, and one key in 64 had such an id.
func TestNoKeyHasAnIDThatIsAFlag(t *testing.T) {
	w := newWorld(t)
	w.keys.Random = strings.NewReader(strings.Repeat("\xfb", 1024)) // the first six bits are those of "-"
	key, err := w.keys.Generate(t.Context(), byOperator, usecase.NewKey{
		Kind: domain.KeySigning, TenantID: "acme", Algorithm: domain.EdDSA,
	})
	if err != nil || strings.HasPrefix(key.ID, "-") {
		t.Errorf("got id %q, %v; want one that does not begin with a hyphen", key.ID, err)
	}
}

// A process holds nothing of the content of a key that is retired or revoked: otherwise its memory grows with each
// rotation of each tenant.
func TestAnEndedKeyIsNotHeld(t *testing.T) {
	w := newWorld(t)
	w.old(t)
	first := w.signedBy(t)
	if !w.keys.HoldsContent(first) {
		t.Fatalf("the content of %s, which signs, is not held", first)
	}
	next, err := w.keys.Rotate(t.Context(), byOperator, usecase.RotateKeys{TenantID: "acme", Algorithm: domain.ES256})
	must(t, err)
	w.clock.at = next.StartsAt.Add(27 * time.Hour)
	must(t, w.keys.Reload(t.Context()))
	w.probe.forgotten = nil
	_, err = w.keys.Retire(t.Context(), byOperator, first, false)
	must(t, err)
	if w.keys.HoldsContent(first) || !slices.Contains(w.probe.forgotten, first) {
		t.Errorf("the retired key %s is held, or the signer keeps it; forgotten: %q", first, w.probe.forgotten)
	}
	_, err = w.keys.Revoke(t.Context(), byOperator, next.ID, usecase.RevokeKey{NewKey: true})
	must(t, err)
	if w.keys.HoldsContent(next.ID) || !slices.Contains(w.probe.forgotten, next.ID) {
		t.Errorf("the revoked key %s is held, or the signer keeps it; forgotten: %q", next.ID, w.probe.forgotten)
	}
	other := w.open(t)
	if kid := published(t, other, "acme"); slices.Contains(kid, first) || other.keys.HoldsContent(first) {
		t.Errorf("a process that starts later holds the retired key %s, or publishes it: %q", first, kid)
	}
}

// meeting is a signer whose making of a key calls meet first.
type meeting struct {
	port.Signer
	meet func(domain.Algorithm)
}

func (m meeting) NewKey(a domain.Algorithm, bits int) (domain.Secret, error) {
	m.meet(a)
	return m.Signer.NewKey(a, bits)
}

// Two requests for a key of one id both find the id free. The second one is not too late for a retry: it is refused.
func TestAnIDThatIsTakenMeanwhileIsADuplicate(t *testing.T) {
	w := newWorld(t)
	w.old(t)
	there := w.open(t)
	n := usecase.NewKey{ID: "same", Kind: domain.KeySigning, TenantID: "acme", Algorithm: domain.EdDSA}
	w.keys.Signer = meeting{w.keys.Signer, func(domain.Algorithm) {
		_, err := there.keys.Generate(t.Context(), byOperator, n)
		must(t, err)
	}}
	_, err := w.keys.Generate(t.Context(), byOperator, n)
	wantCodes(t, err, "[duplicate]id")
}

func TestATenantCannotFillTheKeySets(t *testing.T) {
	w := newWorld(t)
	w.old(t)
	now := stored(w.clock.now())
	for i := range domain.MaxPublishedKeys {
		w.signingKey(t, domain.SealedKey{TenantID: "acme", Algorithm: domain.EdDSA, Number: uint32(i + 1),
			ID: fmt.Sprint("key-", i), CreatedAt: now, StartsAt: domain.Never})
	}
	n := usecase.NewKey{Kind: domain.KeySigning, TenantID: "acme", Algorithm: domain.EdDSA}
	_, err := w.keys.Generate(t.Context(), byOperator, n)
	wantCodes(t, err, "[tooMany]tenantId")
	n.Private, err = w.probe.Signer.NewKey(domain.EdDSA, 0)
	must(t, err)
	_, err = w.keys.Import(t.Context(), byOperator, n)
	wantCodes(t, err, "[tooMany]tenantId")
	_, err = w.keys.Rotate(t.Context(), byOperator, usecase.RotateKeys{TenantID: "acme", Algorithm: domain.ES256})
	wantCodes(t, err, "[tooMany]tenantId")
	// The service still makes the keys that it needs itself, and another tenant is not affected.
	must(t, w.keys.Prepare(t.Context(), byOperator, []usecase.SigningKeys{{TenantID: "acme", Algorithm: domain.RS256}}))
	_, err = w.keys.Revoke(t.Context(), byOperator, w.signedBy(t), usecase.RevokeKey{NewKey: true})
	must(t, err)
	n.TenantID, n.Private = "globex", domain.Secret{}
	_, err = w.keys.Generate(t.Context(), byOperator, n)
	must(t, err)
}

// An RSA key of 4096 bits takes seconds. Requests that make such keys in a loop must not hold every place, because the
// first login of a tenant waits for its key.
func TestKeysThatAreAskedForAreMadeOneAtATime(t *testing.T) {
	w := newWorld(t)
	w.old(t)
	var inside sync.Map // algorithm -> *atomic.Int64
	entered := map[domain.Algorithm]chan struct{}{
		domain.ES256: make(chan struct{}, 3), domain.EdDSA: make(chan struct{}, 3),
	}
	release := make(chan struct{})
	w.keys.Signer = meeting{w.keys.Signer, func(a domain.Algorithm) {
		n, _ := inside.LoadOrStore(a, new(atomic.Int64))
		n.(*atomic.Int64).Add(1)
		entered[a] <- struct{}{}
		<-release
	}}
	var group sync.WaitGroup
	for range 3 {
		group.Go(func() {
			_, err := w.keys.Generate(t.Context(), byOperator,
				usecase.NewKey{Kind: domain.KeySigning, TenantID: "acme", Algorithm: domain.ES256})
			if err != nil {
				t.Error(err)
			}
		})
	}
	<-entered[domain.ES256]
	group.Go(func() {
		must(t, w.keys.Prepare(t.Context(), byOperator, []usecase.SigningKeys{{TenantID: "new", Algorithm: domain.EdDSA}}))
	})
	select {
	case <-entered[domain.EdDSA]: // the first key of the new tenant
	case <-time.After(time.Minute):
		t.Error("the first key of a tenant waits for the keys that requests ask for")
	}
	if n, _ := inside.Load(domain.ES256); n.(*atomic.Int64).Load() != 1 {
		t.Errorf("%d keys that were asked for are made concurrently", n.(*atomic.Int64).Load())
	}
	close(release)
	group.Wait()
}

// A process whose clock is ahead hashes under a new key before one that is behind. All must have read it by then.
func TestANewHashKeyStartsByNoClockBeforeItIsRead(t *testing.T) {
	w := newWorld(t)
	w.old(t)
	next, err := w.keys.Rotate(t.Context(), byOperator, usecase.RotateKeys{Kind: domain.KeyAPI})
	must(t, err)
	under := func() uint32 {
		_, number := w.keys.HashAPIKey(backendKey)
		return number
	}
	w.clock.advance(domain.MaxClockSkew + 3*time.Second)
	if under() == next.Number {
		t.Error("a clock that is ahead has the key hash before every process has read it")
	}
	w.clock.advance(2 * time.Second)
	if under() != next.Number {
		t.Error("the key does not hash after its start")
	}
}
