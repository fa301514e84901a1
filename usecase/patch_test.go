package usecase_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
	"github.com/refreshd/refreshd/test/storagetest"
	"github.com/refreshd/refreshd/usecase"
)

// claimPatch sets one claim.
func claimPatch(t *testing.T, name string, value any) domain.Patch {
	t.Helper()
	p, ok := domain.NewObjectPatch(fmt.Appendf(nil, `{%q:%q}`, name, fmt.Sprint(value)))
	if !ok {
		t.Fatalf("%q is no name of a claim", name)
	}
	return domain.Patch{Claims: &p}
}

// patching returns the Patch of another process, with these refresh tokens.
func (w *world) patching(tokens port.RefreshTokens) *usecase.Patch {
	return &usecase.Patch{Tokens: tokens, Applications: w.probe, PublicURL: publicURL, Clock: w.clock.now,
		Random: w.random}
}

func rolesPatch(roles ...string) domain.Patch { return domain.Patch{Roles: &roles} }

func (r replica) changed(t *testing.T, g usecase.Grant, p domain.Patch) {
	t.Helper()
	got, err := r.patch.One(t.Context(), g.RefreshToken.TenantID, g.RefreshToken.ID.String(), p, byBackend)
	must(t, err)
	if got.ID != g.RefreshToken.ID {
		t.Fatalf("changed %s, want %s", got.ID, g.RefreshToken.ID)
	}
}

func wantRoles(t *testing.T, g usecase.Grant, want ...any) {
	t.Helper()
	got, _ := claimsOf(t, g.AccessToken)["roles"].([]any)
	if diff := cmp.Diff(append([]any{}, want...), append([]any{}, got...)); diff != "" {
		t.Errorf("roles of the access token (-want +got):\n%s", diff)
	}
}

// A role that was removed is in no later access token, whatever the outcome of the exchange; and the token string stays
// valid as if nothing had changed.
func TestTheNextExchangeCarriesAChange(t *testing.T) {
	t.Run("rotated", func(t *testing.T) {
		w := newWorld(t)
		g := w.issued(t, "shop")
		w.changed(t, g, rolesPatch("admin"))
		wantRoles(t, w.rotated(t, g.TokenString).Grant, "admin")
	})
	t.Run("retried", func(t *testing.T) {
		w := newWorld(t)
		g := w.issued(t, "shop")
		w.changed(t, g, rolesPatch("admin"))
		first := w.rotated(t, g.TokenString)
		w.clock.advance(time.Second)
		w.changed(t, g, rolesPatch("viewer"))
		for _, sent := range []domain.Secret{g.TokenString, first.TokenString} {
			again := w.exchanged(t, sent)
			wantOutcome(t, again, domain.Retried, nil)
			wantRoles(t, again.Grant, "viewer")
			if !again.TokenString.Equal(first.TokenString) {
				t.Error("the retry was answered with another token string")
			}
			before, after := claimsOf(t, first.AccessToken), claimsOf(t, again.AccessToken)
			if before["iat"] != after["iat"] || before["jti"] == after["jti"] {
				t.Errorf("iat %v and %v, want the same; jti %v and %v, want others", before["iat"], after["iat"],
					before["jti"], after["jti"])
			}
		}
	})
	t.Run("recovered", func(t *testing.T) {
		w := newWorld(t)
		g := w.issued(t, "shop")
		first := w.rotated(t, g.TokenString)
		w.clock.advance(time.Hour)
		w.changed(t, g, rolesPatch("viewer"))
		again := w.exchanged(t, g.TokenString)
		wantOutcome(t, again, domain.Recovered, nil)
		wantRoles(t, again.Grant, "viewer")
		if !again.TokenString.Equal(first.TokenString) {
			t.Error("the recovery was answered with another token string")
		}
		w.clock.advance(time.Hour)
		w.changed(t, g, rolesPatch("editor"))
		repeated := w.exchanged(t, g.TokenString)
		wantOutcome(t, repeated, domain.Recovered, nil)
		wantRoles(t, repeated.Grant, "editor")
	})
	t.Run("unchanged", func(t *testing.T) {
		w := newWorld(t)
		g := w.issued(t, "reusable")
		w.changed(t, g, rolesPatch("viewer"))
		again := w.exchanged(t, g.TokenString)
		wantOutcome(t, again, domain.Unchanged, nil)
		wantRoles(t, again.Grant, "viewer")
	})
	t.Run("after the application was inactive", func(t *testing.T) {
		w := newWorld(t)
		g := w.issued(t, "shop")
		w.application(t, "acme", "shop", domain.Settings{Active: new(false)})
		w.changed(t, g, rolesPatch("viewer"))
		w.application(t, "acme", "shop", domain.Settings{})
		wantRoles(t, w.rotated(t, g.TokenString).Grant, "viewer")
	})
}

// A change is not an exchange: it moves neither generation nor expiry, and a replay is detected after it as before.
func TestAChangeLeavesTheRestOfTheRecord(t *testing.T) {
	w := newWorld(t)
	g := w.issued(t, "shop")
	first := w.rotated(t, g.TokenString)
	want := w.record(t, g.RefreshToken.ID)
	w.clock.advance(time.Hour)
	data, _ := domain.NewObjectPatch([]byte(`{"a":1}`))
	p := claimPatch(t, "plan", "gold")
	p.Roles, p.Scopes, p.Data = new([]string{"admin"}), new([]string{"read"}), &data
	p.Device = &domain.DevicePatch{Name: new("phone")}
	answered, err := w.patch.One(t.Context(), "acme", g.RefreshToken.ID.String(), p, byBackend)
	must(t, err)
	want.Roles, want.Scopes, want.Claims = []string{"admin"}, []string{"read"}, `{"plan":"gold"}`
	want.MetaData.Device.Name, want.MetaData.Data = "phone", `{"a":1}`
	if diff := cmp.Diff(want, w.record(t, g.RefreshToken.ID)); diff != "" {
		t.Errorf("stored (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, answered); diff != "" {
		t.Errorf("answered (-want +got):\n%s", diff)
	}
	second := w.rotated(t, first.TokenString)
	w.clock.advance(time.Hour)
	w.rotated(t, second.TokenString)
	w.clock.advance(time.Hour)
	wantOutcome(t, w.exchanged(t, first.TokenString), domain.RefusedReplayed, nil)
}

// A change by one backend must not undo that of another.
func TestAChangeIsMergedIntoWhatIsStoredByThen(t *testing.T) {
	w := newWorld(t)
	g := w.issued(t, "shop")
	meddler := &meddler{RefreshTokens: w.probe, times: 4, meddle: func(n int) {
		w.changed(t, g, claimPatch(t, fmt.Sprintf("other%d", n), n))
	}}
	change := w.patching(meddler)
	_, err := change.One(t.Context(), "acme", g.RefreshToken.ID.String(), claimPatch(t, "mine", 0), byBackend)
	must(t, err)
	const want = `{"other1":"1","other2":"2","other3":"3","other4":"4","mine":"0"}`
	if got := w.record(t, g.RefreshToken.ID).Claims; got != want {
		t.Errorf("claims = %s, want %s", got, want)
	}

	// It gives up after a number of attempts.
	meddler.times = 100
	_, err = change.One(t.Context(), "acme", g.RefreshToken.ID.String(), claimPatch(t, "mine", 1), byBackend)
	wantErr(t, err, domain.ErrBusy)
	if got := w.record(t, g.RefreshToken.ID).Claims; strings.Contains(string(got), `"mine":"1"`) {
		t.Errorf("claims = %s after a change that gave up", got)
	}
}

// meddler changes the record after it was read and before it is written, that many times.
type meddler struct {
	port.RefreshTokens
	done, times int
	meddle      func(n int)
}

func (m *meddler) Change(
	ctx context.Context, tenantID string, changes []domain.Change, now time.Time, e domain.Event,
) error {
	if m.done < m.times {
		m.done++
		m.meddle(m.done)
	}
	return m.RefreshTokens.Change(ctx, tenantID, changes, now, e)
}

// A session that ends meanwhile is not changed; the others are.
func TestASessionThatEndsMeanwhileIsLeftOut(t *testing.T) {
	for name, end := range map[string]func(*world, usecase.Grant) error{
		"revoked": func(w *world, g usecase.Grant) error {
			_, err := w.revoke.Do(t.Context(), usecase.RevokeInput{TenantID: "acme", TokenString: &g.TokenString})
			return err
		},
		"its application deleted": func(w *world, g usecase.Grant) error {
			return storagetest.DeleteApplication(t.Context(), w.store, "acme", g.RefreshToken.ApplicationID,
				w.clock.now())
		},
	} {
		w := newWorld(t)
		stays, ends := w.issued(t, "shop"), w.issued(t, "reusable")
		change := w.patching(&meddler{RefreshTokens: w.probe, times: 1, meddle: func(int) { must(t, end(w, ends)) }})
		n, err := change.OfUser(t.Context(), usecase.PatchInput{TenantID: "acme", UserID: new("ana"),
			Patch: rolesPatch("viewer")})
		if err != nil || n != 1 {
			t.Errorf("%s: changed %d (%v), want 1", name, n, err)
		}
		if a, b := w.record(t, stays.RefreshToken.ID).Roles, w.record(t, ends.RefreshToken.ID).Roles; len(a) != 1 ||
			len(b) != 0 {
			t.Errorf("%s: roles %v and %v, want those of the active session changed", name, a, b)
		}

		w = newWorld(t)
		ends = w.issued(t, "shop")
		change = w.patching(&meddler{RefreshTokens: w.probe, times: 1, meddle: func(int) { must(t, end(w, ends)) }})
		_, err = change.One(t.Context(), "acme", ends.RefreshToken.ID.String(), rolesPatch("viewer"), byBackend)
		wantErr(t, err, domain.ErrNotFound)
	}
}

// The application was deleted after its session was read, and before its policy was.
func TestAnApplicationThatIsDeletedMeanwhile(t *testing.T) {
	w := newWorld(t)
	g := w.issued(t, "shop")
	change := w.patching(w.probe)
	change.Applications = &deleting{w.probe, func() error {
		return storagetest.DeleteApplication(t.Context(), w.store, "acme", "shop", w.clock.now())
	}}
	_, err := change.One(t.Context(), "acme", g.RefreshToken.ID.String(), rolesPatch("viewer"), byBackend)
	wantErr(t, err, domain.ErrNotFound)
}

type deleting struct {
	port.Store
	remove func() error
}

func (d *deleting) Policy(ctx context.Context, tenantID, applicationID string) (domain.Policy, error) {
	if d.remove != nil {
		if err := d.remove(); err != nil {
			return domain.Policy{}, err
		}
		d.remove = nil
	}
	return d.Store.Policy(ctx, tenantID, applicationID)
}

func TestAChangeOfAUserCoversWhatItSelects(t *testing.T) {
	type session struct{ tenantID, applicationID, userID string }
	all := []session{
		{"acme", "shop", "ana"}, {"acme", "shop", "ana"}, {"acme", "reusable", "ana"}, {"acme", "shop", "bob"},
		{"globex", "shop", "ana"}, {"acme", "shop", "ana"},
	}
	for name, tc := range map[string]struct {
		in   usecase.PatchInput
		want []int // of all; the last one has ended
	}{
		"user":                      {usecase.PatchInput{UserID: new("ana")}, []int{0, 1, 2}},
		"user and application":      {usecase.PatchInput{UserID: new("ana"), ApplicationID: new("shop")}, []int{0, 1}},
		"another application":       {usecase.PatchInput{UserID: new("ana"), ApplicationID: new("guarded")}, nil},
		"a user without a session":  {usecase.PatchInput{UserID: new("eve")}, nil},
		"a user of another session": {usecase.PatchInput{UserID: new("bob")}, []int{3}},
	} {
		w := newWorld(t)
		var grants []usecase.Grant
		for _, s := range all {
			g, err := w.issue.Do(t.Context(),
				usecase.IssueInput{TenantID: s.tenantID, ApplicationID: s.applicationID, UserID: s.userID})
			must(t, err)
			grants = append(grants, g)
		}
		_, err := w.revoke.Do(t.Context(), usecase.RevokeInput{TenantID: "acme", TokenString: &grants[5].TokenString})
		must(t, err)
		tc.in.TenantID, tc.in.Patch = "acme", rolesPatch("viewer")
		for range 2 { // the second time they have nothing to write, and still count
			n, err := w.patch.OfUser(t.Context(), tc.in)
			if err != nil || n != len(tc.want) {
				t.Errorf("%s: changed %d (%v), want %d", name, n, err, len(tc.want))
			}
		}
		if n := w.probe.count("Change"); n > 1 {
			t.Errorf("%s: %d writes, want 1 at most", name, n)
		}
		for i, g := range grants {
			if got := len(w.record(t, g.RefreshToken.ID).Roles) > 0; got != slices.Contains(tc.want, i) {
				t.Errorf("%s: session %d changed: %t", name, i, got)
			}
		}
	}
}

func TestAChangeIsRefusedBeforeTheStoreIsAsked(t *testing.T) {
	w := newWorld(t)
	g := w.issued(t, "shop")
	w.probe.forget()
	of := func(in usecase.PatchInput) error {
		in.TenantID = "acme"
		_, err := w.patch.OfUser(t.Context(), in)
		return err
	}
	wantCodes(t, of(usecase.PatchInput{UserID: new("ana")}), "[blank]")
	wantCodes(t, of(usecase.PatchInput{Patch: rolesPatch("a")}), "[blank]userId")
	wantCodes(t, of(usecase.PatchInput{UserID: new(""), ApplicationID: new(""), Patch: rolesPatch("a", "a")}),
		"[repeated]roles[1]", "[blank]applicationsId", "[blank]userId")
	_, err := w.patch.One(t.Context(), "acme", g.RefreshToken.ID.String(), domain.Patch{}, byBackend)
	wantCodes(t, err, "[blank]")
	_, err = w.patch.One(t.Context(), "acme", "no id", rolesPatch("a"), byBackend)
	wantErr(t, err, domain.ErrNotFound)
	if calls := w.probe.asked(); len(calls) > 0 {
		t.Errorf("the store was asked %v", calls)
	}
}

func TestWhatHasEndedIsNotChanged(t *testing.T) {
	w := newWorld(t)
	g := w.issued(t, "shop")
	for name, tc := range map[string]struct {
		tenantID, id string
		before       func() error
	}{
		"unknown":          {"acme", "018f2a3b-4c5d-766e-877f-8091a2b3c4d5", nil},
		"another tenant's": {"globex", g.RefreshToken.ID.String(), nil},
	} {
		_, err := w.patch.One(t.Context(), tc.tenantID, tc.id, rolesPatch("viewer"), byBackend)
		if !errors.Is(err, domain.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.clock.at = g.RefreshToken.ExpiresAt
	_, err := w.patch.One(t.Context(), "acme", g.RefreshToken.ID.String(), rolesPatch("viewer"), byBackend)
	wantErr(t, err, domain.ErrNotFound)
	if got := w.record(t, g.RefreshToken.ID).Roles; len(got) > 0 {
		t.Errorf("roles = %v", got)
	}
}

// If the issue was repeated, its response would no longer be true.
func TestAnIssueIsNotRepeatedAfterAChange(t *testing.T) {
	w := newWorld(t)
	id, err := domain.NewID(w.clock.now(), w.random)
	must(t, err)
	in := usecase.IssueInput{ID: id, TenantID: "acme", ApplicationID: "shop", UserID: "ana", Roles: []string{"admin"}}
	g, err := w.issue.Do(t.Context(), in)
	must(t, err)
	_, err = w.issue.Do(t.Context(), in)
	must(t, err)
	w.changed(t, g, rolesPatch("viewer"))
	_, err = w.issue.Do(t.Context(), in)
	wantCodes(t, err, "[duplicate]refreshTokenId")
	wantRoles(t, w.rotated(t, g.TokenString).Grant, "viewer")
}

// manySessions stores n sessions of a user, each with the largest claims.
func (w *world) manySessions(t *testing.T, user string, n int) (ids []domain.ID) {
	t.Helper()
	return w.manySessionsOf(t, "acme", user, n, 4000)
}

func (w *world) manySessionsOf(t *testing.T, tenantID, user string, n, size int) (ids []domain.ID) {
	t.Helper()
	now := stored(w.clock.now())
	for i := range n {
		id, err := domain.NewID(now.Add(time.Duration(i)*time.Millisecond), w.random)
		must(t, err)
		_, err = w.store.Insert(t.Context(), domain.RefreshToken{
			ID: id, TenantID: tenantID, ApplicationID: "shop", UserID: user,
			Generation: 1, IssuedAt: now, RotatedAt: now, LastUsedAt: now,
			ExpiresAt: now.Add(time.Hour).Truncate(time.Second),
			Claims:    domain.Object(`{"a":"` + strings.Repeat("x", size) + `"}`),
		})
		must(t, err)
		ids = append(ids, id)
	}
	return ids
}

// A thousand sessions do not fit on one page, and one more is refused as a whole.
func TestAThousandSessionsAreChangedTogether(t *testing.T) {
	w := newWorld(t)
	ids := w.manySessions(t, "ana", 1000)
	n, err := w.patch.OfUser(t.Context(), usecase.PatchInput{TenantID: "acme", UserID: new("ana"),
		Patch: rolesPatch("viewer")})
	if err != nil || n != 1000 {
		t.Fatalf("changed %d (%v), want 1000", n, err)
	}
	if lists, writes := w.probe.count("List"), w.probe.count("Change"); lists < 4 || writes != 1 {
		t.Errorf("%d pages and %d writes, want several pages and one write", lists, writes)
	}
	for _, id := range ids {
		if got := w.record(t, id).Roles; len(got) != 1 {
			t.Fatalf("roles of %s = %v", id, got)
		}
	}
	w.manySessions(t, "ana", 1)
	w.probe.forget()
	_, err = w.patch.OfUser(t.Context(), usecase.PatchInput{TenantID: "acme", UserID: new("ana"),
		Patch: rolesPatch("editor")})
	wantCodes(t, err, "[tooMany]userId")
	if w.probe.count("Change") > 0 || w.record(t, ids[0]).Roles[0] != "viewer" {
		t.Error("some of 1001 sessions were changed")
	}
}

// All or none: one session that cannot take the patch keeps it from the others too, and is named. Of many such sessions
// some are named.
func TestASessionThatCannotTakeAChangeIsNamed(t *testing.T) {
	w := newWorld(t)
	small := w.issued(t, "shop")
	full := w.manySessions(t, "ana", 30)
	large, _ := domain.NewObjectPatch([]byte(`{"b":"` + strings.Repeat("x", 100) + `"}`))
	_, err := w.patch.OfUser(t.Context(), usecase.PatchInput{
		TenantID: "acme", UserID: new("ana"), Patch: domain.Patch{Claims: &large},
	})
	var invalid *domain.Invalid
	if !errors.As(err, &invalid) || len(invalid.Fields) != 20 {
		t.Fatalf("error = %v, want 20 problems", err)
	}
	for i, f := range invalid.Fields { // newest first
		if id := full[len(full)-1-i]; f.Code() != "[tooLong]claims" || !strings.Contains(f.Message, id.String()) {
			t.Errorf("problem %d is %s: %s, want it to name %s", i, f.Code(), f.Message, id)
		}
	}
	if got := w.record(t, small.RefreshToken.ID).Claims; got != "" || w.probe.count("Change") > 0 {
		t.Errorf("the claims of a session that could take the patch became %s", got)
	}
}

// A misspelled application must not look like a change without sessions, as it does in a DELETE.
func TestAChangeInAnUnknownApplicationIsNotFound(t *testing.T) {
	w := newWorld(t)
	g := w.issued(t, "shop")
	in := usecase.PatchInput{TenantID: "acme", UserID: new("ana"), ApplicationID: new("shpo"), Patch: rolesPatch("a")}
	_, err := w.patch.OfUser(t.Context(), in)
	wantErr(t, err, domain.ErrNotFound)

	in.ApplicationID = new("shop")
	change := w.patching(&meddler{RefreshTokens: w.probe, times: 1, meddle: func(int) {
		must(t, storagetest.DeleteApplication(t.Context(), w.store, "acme", "shop", w.clock.now()))
	}})
	_, err = change.OfUser(t.Context(), in)
	wantErr(t, err, domain.ErrNotFound)
	if got := w.record(t, g.RefreshToken.ID).Roles; len(got) > 0 {
		t.Errorf("roles = %v", got)
	}
}

// The ended sessions of a user could be read without end. A user with too many of them gets an error that does not
// speak of active ones.
func TestReadingForAChangeIsBounded(t *testing.T) {
	w := newWorld(t)
	endless := &endless{RefreshTokens: w.probe}
	change := w.patching(endless)
	_, err := change.OfUser(t.Context(), usecase.PatchInput{TenantID: "acme", UserID: new("ana"),
		Patch: rolesPatch("a")})
	wantCodes(t, err, "[tooMany]userId")
	if text := err.Error(); !strings.Contains(text, "too many ended refresh tokens") {
		t.Errorf("error = %s, want it to name the ended ones", text)
	}
	if want := append([]int{1 << 18}, slices.Repeat([]int{1 << 20}, 40)...); !slices.Equal(endless.pages, want) {
		t.Errorf("pages of %v bytes were read, want %v", endless.pages, want)
	}
}

// endless is a store in which all sessions of a user have ended, and whose list never ends.
type endless struct {
	port.RefreshTokens
	pages []int // their bytes
}

func (e *endless) List(_ context.Context, q port.ListQuery) (port.Page, error) {
	e.pages = append(e.pages, q.MaxBytes)
	if q.MaxRows != 5_000 || q.Limit < 1 {
		return port.Page{}, fmt.Errorf("a page of %+v", q)
	}
	return port.Page{Next: domain.ID{0: 1, 15: byte(100 - len(e.pages))}}, nil
}

// gauge counts the patches that are between the first page that they read and the end of their write.
type gauge struct {
	port.RefreshTokens
	mu    sync.Mutex
	large map[patched]bool
	most  int       // of large ones
	order []patched // of their writes
	fault string
}

type patched struct{ tenantID, userID string }

func (g *gauge) List(ctx context.Context, q port.ListQuery) (port.Page, error) {
	if q.MaxBytes == 1<<20 && q.Below.IsZero() {
		g.enter(patched{q.TenantID, q.UserID})
	}
	time.Sleep(time.Millisecond) // of synctest: every goroutine that can run does
	return g.RefreshTokens.List(ctx, q)
}

func (g *gauge) enter(of patched) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for other := range g.large {
		if other.tenantID == of.tenantID {
			g.fault = fmt.Sprintf("%v came in while %v was inside", of, other)
		}
	}
	g.large[of] = true
	g.most = max(g.most, len(g.large))
}

func (g *gauge) Change(
	ctx context.Context, tenantID string, changes []domain.Change, now time.Time, e domain.Event,
) error {
	time.Sleep(time.Millisecond) // of synctest
	err := g.RefreshTokens.Change(ctx, tenantID, changes, now, e)
	g.mu.Lock()
	defer g.mu.Unlock()
	of := patched{tenantID, changes[0].Before.UserID}
	delete(g.large, of)
	g.order = append(g.order, of)
	return err
}

// Concurrent patches of one user wait for each other: each reads once, writes once and succeeds, however many there
// are. Otherwise all but the first would fail at their write and have to read again.
func TestConcurrentChangesOfAUserTakeTurns(t *testing.T) {
	for name, sessions := range map[string]int{"few sessions": 3, "many sessions": 300} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			ids := w.manySessionsOf(t, "acme", "ana", sessions, 1000)
			store := &gauge{RefreshTokens: w.probe, large: map[patched]bool{}}
			patch := w.patching(store)
			const callers = 16
			var all sync.WaitGroup
			for n := range callers {
				p := claimPatch(t, fmt.Sprintf("c%d", n), n)
				all.Go(func() {
					if n%4 == 0 {
						_, err := patch.One(t.Context(), "acme", ids[0].String(), p, byBackend)
						must(t, err)
						return
					}
					in := usecase.PatchInput{TenantID: "acme", UserID: new("ana"), Patch: p}
					if n, err := patch.OfUser(t.Context(), in); err != nil || n != sessions {
						t.Errorf("%s: changed %d (%v), want %d", name, n, err, sessions)
					}
				})
			}
			all.Wait()
			if got := w.probe.count("Change"); got != callers || store.most > 1 || store.fault != "" {
				t.Errorf("%s: %d writes, want %d; %d large ones concurrently, want 1 at most; %s",
					name, got, callers, store.most, store.fault)
			}
			claims := string(w.record(t, ids[0]).Claims)
			for n := range callers {
				if want := fmt.Sprintf(`"c%d":"%[1]d"`, n); !strings.Contains(claims, want) {
					t.Errorf("%s: claims = %.200s, want %s in it", name, claims, want)
				}
			}
		})
	}
}

// Of the patches that read more than a quarter of a page two run in a process, one for each tenant: their memory is
// bounded, and a tenant with many of them does not delay another one.
func TestLargeChangesAreFewAndFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		store := &gauge{RefreshTokens: w.probe, large: map[patched]bool{}}
		patch := w.patching(store)
		var all sync.WaitGroup
		change := func(tenantID, userID string) {
			w.manySessionsOf(t, tenantID, userID, 70, 4000)
			all.Go(func() {
				in := usecase.PatchInput{TenantID: tenantID, UserID: &userID, Patch: rolesPatch("viewer")}
				if n, err := patch.OfUser(t.Context(), in); err != nil || n != 70 {
					t.Errorf("%s of %s: changed %d (%v), want 70", userID, tenantID, n, err)
				}
			})
			synctest.Wait() // they come in this order
		}
		for n := range 8 {
			change("acme", fmt.Sprint("user", n))
		}
		others := []string{"globex", "initech", "umbrella"}
		for _, tenantID := range others {
			must(t, storagetest.SaveTenant(t.Context(), w.store, domain.Tenant{ID: tenantID, Name: tenantID}))
			w.application(t, tenantID, "shop", domain.Settings{})
			change(tenantID, "user")
		}
		all.Wait()
		if store.most != 2 || store.fault != "" {
			t.Errorf("%d large ones concurrently, want 2; %s", store.most, store.fault)
		}
		for i, of := range store.order[:2*len(others)] {
			others = slices.DeleteFunc(others, func(id string) bool { return id == of.tenantID })
			t.Log(i, of)
		}
		if len(others) > 0 {
			t.Errorf("%v came after six, want them to take turns with the tenant that came first", others)
		}
	})
}

// A patch that gets no turn in its time returns an error that says so, not one about the store, and leaves no entry.
func TestAWaitForATurnEndsWithTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		g := w.issued(t, "shop")
		patch := w.patching(nil)
		patch.Tokens = &meddler{RefreshTokens: w.probe, times: 1, meddle: func(int) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := patch.OfUser(ctx, usecase.PatchInput{TenantID: "acme", UserID: new("ana"),
				Patch: rolesPatch("a")})
			wantErr(t, err, domain.ErrBusy)
			if errors.Is(err, domain.ErrUnavailable) || !strings.Contains(err.Error(), "wait for other patches") {
				t.Errorf("error = %v, want it to say what the patch waited for", err)
			}
		}}
		for range 2 {
			_, err := patch.One(t.Context(), "acme", g.RefreshToken.ID.String(), rolesPatch("b"), byBackend)
			must(t, err)
		}
	})
}

// Two backends change different claims of the same sessions while exchanges happen: all changes are stored in the end.
func TestConcurrentChangesLoseNothing(t *testing.T) {
	w := newWorld(t)
	a, b := w.issued(t, "graceless"), w.issued(t, "graceless")
	const rounds = 100
	var all sync.WaitGroup
	again := func(change func() error) {
		for {
			err := change()
			if err == nil {
				return
			}
			if !errors.Is(err, domain.ErrBusy) {
				t.Error(err)
				return
			}
		}
	}
	for writer := range 3 {
		all.Go(func() {
			for i := range rounds {
				p := claimPatch(t, fmt.Sprintf("w%d", writer), i)
				again(func() error {
					if writer == 0 {
						_, err := w.patch.One(t.Context(), "acme", a.RefreshToken.ID.String(), p, byBackend)
						return err
					}
					n, err := w.patch.OfUser(t.Context(),
						usecase.PatchInput{TenantID: "acme", UserID: new("ana"), Patch: p})
					if err == nil && n != 2 {
						t.Errorf("changed %d, want 2", n)
					}
					return err
				})
				if got := w.record(t, a.RefreshToken.ID).Claims; !strings.Contains(string(got),
					fmt.Sprintf(`"w%d":"%d"`, writer, i)) {
					t.Errorf("claims = %s after the change of w%d to %d", got, writer, i)
				}
			}
		})
	}
	all.Go(func() {
		current := a.TokenString
		for range rounds {
			current = w.rotated(t, current).TokenString
		}
	})
	all.Wait()
	for _, g := range []usecase.Grant{a, b} {
		got := w.record(t, g.RefreshToken.ID)
		for writer := range 3 {
			if want := fmt.Sprintf(`"w%d":"%d"`, writer, rounds-1); writer > 0 ||
				g.RefreshToken.ID == a.RefreshToken.ID {
				if !strings.Contains(string(got.Claims), want) {
					t.Errorf("claims = %s, want %s in it", got.Claims, want)
				}
			}
		}
	}
	if got := w.record(t, a.RefreshToken.ID).Generation; got != rounds+1 {
		t.Errorf("generation = %d, want %d", got, rounds+1)
	}
}
