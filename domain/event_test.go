package domain_test

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/refreshd/refreshd/domain"
)

// An event holds what changed and the complete object after it. A setting that was not set differs from one that was
// empty.
func TestEventObjectsHoldWhatChangedAndTheWhole(t *testing.T) {
	before := domain.Application{Name: "Shop", Settings: domain.Settings{
		Active: new(true), CookieName: new("shop"), GraceSeconds: new(int64(5)),
	}}
	after := before
	after.Settings.Active, after.Settings.CookieName, after.Settings.TTLMinutes = new(false), nil, new(int64(7))
	const ttl = `"jwtConfiguration.refreshTokenTimeToLiveInMinutes"`
	const grace = `"jwtConfiguration.refreshTokenOneTimeUseConfiguration.gracePeriodInSeconds"`
	old := domain.Object(`{"active":"true","cookieName":"shop",` + grace + `:"5","name":"Shop"}`)
	for _, c := range []struct {
		what          string
		before, after []domain.Setting
		b, a          domain.Object
	}{
		{"created", nil, before.Fields(), "", old},
		{"deleted", before.Fields(), nil, old, ""},
		{"unchanged", before.Fields(), before.Fields(), "", old},
		{
			"updated", before.Fields(), after.Fields(),
			`{"active":"true","cookieName":"shop",` + domain.Object(ttl) + `:null}`,
			domain.Object(`{"active":"false",` + grace + `:"5",` + ttl + `:"7","name":"Shop"}`),
		},
	} {
		if b, a := domain.EventObjects(c.before, c.after); b != c.b || a != c.a {
			t.Errorf("%s: got\n%s\n%s, want\n%s\n%s", c.what, b, a, c.b, c.a)
		}
	}
}

// The hash of an API key is a secret of the store.
func TestAnEventOfAnAPIKeyHoldsNoHash(t *testing.T) {
	k := domain.APIKey{
		Name: "backend", Hash: "sesame", TenantID: "acme", Permissions: domain.Permissions{"/jwt/issue": {"POST"}},
		ExpiresAt: time.Date(2031, 2, 3, 4, 5, 6, 0, time.UTC),
	}
	_, got := domain.EventObjects(nil, k.Fields())
	want := domain.Object(`{"expiresAt":"2031-02-03T04:05:06Z","name":"backend",` +
		`"permissions.endpoints./jwt/issue":"POST","tenantId":"acme"}`)
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// An object that is too large must not keep an event from being stored.
func TestAnEventObjectThatIsTooLargeIsCut(t *testing.T) {
	text := strings.Repeat("x", domain.MaxEventBytes-len(`{"b":""}`))
	fits := domain.EventObject(map[string]string{"b": text})
	if want := domain.Object(`{"b":"` + text + `"}`); fits != want {
		t.Errorf("got %d bytes, want all %d", len(fits), len(want))
	}
	got := domain.EventObject(map[string]string{"b": text + "x"})
	if want := domain.Object(`{"bytes":32769,"names":["b"],"truncated":true}`); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	many := map[string]string{}
	for i := range 2_000 {
		many[strings.Repeat("n", i)] = "v"
	}
	if got := domain.EventObject(many); len(got) > domain.MaxEventBytes || !json.Valid([]byte(got)) {
		t.Errorf("got %d bytes, want at most %d of JSON", len(got), domain.MaxEventBytes)
	}
	if got := domain.EventObject(struct{}{}); got != "" {
		t.Errorf("got %q for nothing", got)
	}
}

func TestFirstIDIsBelowEveryIDOfItsInstant(t *testing.T) {
	at := time.Date(2031, 2, 3, 4, 5, 6, 0, time.UTC)
	for _, c := range []struct {
		of   time.Time
		want int
	}{{at.Add(-time.Millisecond), 1}, {at, -1}, {at.Add(time.Millisecond), -1}} {
		e, err := domain.NewEvent(domain.KeyAdded, domain.Service(), c.of, bytes.NewReader(make([]byte, 10)))
		if err != nil {
			t.Fatal(err)
		}
		first := domain.FirstID(at)
		if got := bytes.Compare(first[:], e.ID[:]); got != c.want {
			t.Errorf("FirstID(%s) compared with an id of %s: got %d, want %d", at, c.of, got, c.want)
		}
	}
	if !slices.Contains(domain.EventKinds, domain.KeyAdded) {
		t.Error("EventKinds lacks one")
	}
}

// Device descriptions alone must not make an event of megabytes that is then truncated.
func TestTheEventOfManyChangesCountsAllThatTheyChange(t *testing.T) {
	const n = 1000
	for name, content := range map[string]func(t *domain.RefreshToken, text string){
		"roles":  func(t *domain.RefreshToken, text string) { t.Roles = []string{text} },
		"scopes": func(t *domain.RefreshToken, text string) { t.Scopes = []string{text} },
		"claims": func(t *domain.RefreshToken, text string) {
			t.Claims = domain.Object(`{"a":"` + text + `"}`)
		},
		"device name":        func(t *domain.RefreshToken, text string) { t.MetaData.Device.Name = text },
		"device type":        func(t *domain.RefreshToken, text string) { t.MetaData.Device.Type = text },
		"device description": func(t *domain.RefreshToken, text string) { t.MetaData.Device.Description = text },
	} {
		changes := make([]domain.Change, n)
		for i := range changes {
			changes[i].Before.ID = domain.ID{14: byte(i >> 8), 15: byte(i)}
			changes[i].After.ID = changes[i].Before.ID
			content(&changes[i].After, strings.Repeat("x", 200))
		}
		e, err := domain.ChangeEvent(changes, domain.ID{}, domain.Scope{}, domain.Service(), time.Now(), rand.Reader)
		if want := domain.Object(`{"refreshTokens":1000,"truncated":true}`); err != nil || e.After != want {
			t.Errorf("%s: got %.100s, %v, want %s", name, e.After, err, want)
		}
	}
}
