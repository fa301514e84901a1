package domain_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/domain"
)

// A token key may be retired once no active refresh token has a token string that it minted, current or previous, and
// none can get one. The first pass finds that no current one is of it, and a later one that no previous one is.
func TestATokenKeyIsRetiredWhenNothingNeedsIt(t *testing.T) {
	start := issued.Add(2 * time.Minute)
	late := start.Add(domain.MaxClockSkew + µs)
	noted := start.Add(24 * time.Hour)
	twice := noted.Add(domain.MaxClockSkew + µs)
	for name, c := range map[string]struct {
		number                uint32
		unused, began, oldest time.Time
		found, safe           bool
	}{
		"all were rotated since":              {1, time.Time{}, late, start.Add(µs), true, false},
		"nothing is active":                   {1, time.Time{}, late, time.Time{}, true, false},
		"one was rotated at the start":        {1, time.Time{}, late, start, false, false},
		"one was rotated before":              {1, time.Time{}, late, issued, false, false},
		"clocks may differ":                   {1, time.Time{}, late.Add(-µs), start.Add(µs), false, false},
		"no pass":                             {1, time.Time{}, time.Time{}, time.Time{}, false, false},
		"the key mints":                       {2, time.Time{}, late, start.Add(µs), false, false},
		"the key mints, and nothing is there": {2, time.Time{}, late, time.Time{}, false, false},

		"all were rotated twice":                     {1, noted, twice, twice, false, true},
		"nothing is active any more":                 {1, noted, twice, time.Time{}, false, true},
		"one was rotated once, before the note":      {1, noted, twice, noted.Add(-µs), false, false},
		"one was rotated when clocks may differ":     {1, noted, twice, twice.Add(-µs), false, false},
		"the pass that was noted":                    {1, noted, late, time.Time{}, false, false},
		"a pass that began when clocks may differ":   {1, noted, twice.Add(-µs), time.Time{}, false, false},
		"the last pass was made by an older program": {1, noted, time.Time{}, time.Time{}, false, false},
	} {
		keys := domain.TokenKeys{{Number: 1, UnusedAt: c.unused}, {Number: 2, StartsAt: start}}
		err := keys.CheckRetire(c.number, c.began, c.oldest)
		if (err == nil) != c.safe || err != nil && !errors.Is(err, domain.ErrUnsafe) {
			t.Errorf("%s: got %v, want safe %t", name, err, c.safe)
		}
		due := keys.DueToRetire(c.began, c.oldest)
		if _, isDue := due.ByNumber(c.number); isDue != c.safe {
			t.Errorf("%s: due are %d, want safe %t", name, len(due), c.safe)
		}
		found := keys.FoundUnused(c.began, c.oldest)
		if _, is := found.ByNumber(c.number); is != c.found {
			t.Errorf("%s: found unused are %d, want %t", name, len(found), c.found)
		}
	}
}

// A revocation ends exactly the refresh tokens whose current token string the key minted.
func TestARevokedTokenKeyEndsWhatItMinted(t *testing.T) {
	keys := domain.TokenKeys{{Number: 1}}
	if at := keys.NextStart(issued); !at.Equal(issued.Add(2*time.Minute)) ||
		!(domain.TokenKeys{}).NextStart(issued).IsZero() {
		t.Errorf("start of the next key: got %s", at)
	}
	keys = append(keys, domain.TokenKey{Number: keys.NextNumber(), StartsAt: issued})
	now := issued.Add(time.Hour)
	at, needs := keys.Revocation(2, now)
	if !needs || !at.Equal(now.Add(5*time.Second)) {
		t.Fatalf("revoke the key that mints: got %s, %t", at, needs)
	}
	if _, needs := keys.Revocation(1, now); needs {
		t.Error("revoke a superseded key: it needs no successor")
	}
	pending := domain.TokenKey{Number: 4, StartsAt: now.Add(time.Minute), RevokedAt: at}
	keys[1].RevokedAt = at
	keys = append(keys, domain.TokenKey{Number: 3, StartsAt: at}, pending)
	want := []domain.RotationRange{{From: issued, To: at}}
	if diff := cmp.Diff(want, keys.Ended()); diff != "" {
		t.Errorf("ended (-want +got):\n%s", diff)
	}
	for rotated, number := range map[time.Time]uint32{
		issued.Add(-µs): 1, issued: 2, at.Add(-µs): 2, at: 3, pending.StartsAt: 3,
	} {
		if k, _ := keys.MintingAt(rotated); k.Number != number {
			t.Errorf("at %s key %d mints, want %d", rotated, k.Number, number)
		}
	}
	if keys[1].Accepts() || keys[1].Ended(at.Add(-µs)) || !keys[1].Ended(at) {
		t.Error("a revoked key mints until its successor starts, and its token strings are refused from the first")
	}
}

func TestHashKeys(t *testing.T) {
	keys := domain.HashKeys{{Number: 1}, {Number: 2}}
	if k, ok := keys.Hashing(); !ok || k.Number != 2 || len(keys.Used()) != 2 || keys.Used()[1].Number != 1 {
		t.Errorf("got %d of %d keys, want the newest first", k.Number, len(keys.Used()))
	}
	var invalid *domain.Invalid
	if err := keys.CheckAdd(); !errors.As(err, &invalid) || !strings.Contains(err.Error(), "api-1") {
		t.Errorf("a third: got %v, want an Invalid that names the oldest", err)
	}
	if err := keys.CheckRetire(2, 0); !errors.As(err, &invalid) {
		t.Errorf("retire the one that hashes: got %v", err)
	}
	err := keys.CheckRetire(1, 12, "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l")
	if !errors.Is(err, domain.ErrUnsafe) || !strings.Contains(err.Error(), "12 API keys") ||
		!strings.Contains(err.Error(), "i, j and 2 more") {
		t.Errorf("retire one in use: got %v, want the number and ten names", err)
	}
	if err := keys.CheckRetire(1, 0); err != nil {
		t.Errorf("retire one that is not in use: got %v", err)
	}
	keys[0].RetiredAt = issued
	if err := keys.CheckAdd(); err != nil || len(keys.Used()) != 1 || keys.NextNumber() != 3 {
		t.Errorf("after the oldest is retired: got %v", err)
	}
	keys[1].RevokedAt = issued
	if _, ok := keys.Hashing(); ok {
		t.Error("a revoked key hashes")
	}
}

func TestKeyNames(t *testing.T) {
	for name, want := range map[string]bool{
		"token-1": true, "api-12": true, "check-1": true, "api-0": false, "token-01": false, "token-": false,
		"signing-1": false, "token": false, "token-4294967296": false, "token-1x": false, "token-+1": false,
	} {
		kind, number, ok := domain.ParseKeyName(name)
		if ok != want || ok && (domain.SealedKey{Kind: kind, Number: number}).KeyName() != name {
			t.Errorf("%q: got %s %d, %t, want %t", name, kind, number, ok, want)
		}
	}
	for id, want := range map[string]bool{
		"token-1": true, "token-01": true, "api-0": true, "check-99999999999": true, "token-": false, "token-x": false,
		"my-token-1": false, "signing-1": false,
	} {
		if got := domain.IsReservedKeyName(id); got != want {
			t.Errorf("%q is reserved: got %t, want %t", id, got, want)
		}
	}
}

// The id is in the store and in outputs: it names the key, and is the same in every release.
func TestMasterKeyID(t *testing.T) {
	id, err := masterKey(t, masterBytes).ID()
	if err != nil || id != "3b5b41283e2e2ab8" {
		t.Errorf("got %q, %v", id, err)
	}
	if other, _ := masterKey(t, "another"+masterBytes[7:]).ID(); other == id {
		t.Error("two master keys have one id")
	}
}

// The audit trail is read by object: a query for a key finds what ended it, also if that made another key.
func TestAKeyEventIsAboutTheKeyThatWasThere(t *testing.T) {
	one := domain.SealedKey{Kind: domain.KeySigning, ID: "one", TenantID: "acme"}
	two := domain.SealedKey{Kind: domain.KeySigning, ID: "two", TenantID: "acme"}
	added := func(k domain.SealedKey) domain.KeyEdit { return domain.KeyEdit{After: k} }
	changed := func(k domain.SealedKey) domain.KeyEdit {
		after := k
		after.RevokedAt = issued
		return domain.KeyEdit{Before: k, After: after}
	}
	for name, tt := range map[string]struct {
		edits []domain.KeyEdit
		want  string
	}{
		"one is added":                  {[]domain.KeyEdit{added(one)}, "acme/one"},
		"one is changed":                {[]domain.KeyEdit{changed(one)}, "acme/one"},
		"one is changed, another added": {[]domain.KeyEdit{added(two), changed(one)}, "acme/one"},
		"two are added":                 {[]domain.KeyEdit{added(one), added(two)}, "/"},
		"two are changed":               {[]domain.KeyEdit{changed(one), changed(two)}, "/"},
	} {
		e, err := domain.KeyEvent(domain.KeyRevoked, tt.edits, nil, domain.Service(), issued, strings.NewReader(confidential))
		if err != nil {
			t.Fatal(err)
		}
		if got := e.TenantID + "/" + e.ObjectID; got != tt.want {
			t.Errorf("%s: got %s, want %s", name, got, tt.want)
		}
	}
}

func TestAKeyEventSaysWhatWasForced(t *testing.T) {
	before := domain.SealedKey{Kind: domain.KeySigning, ID: "k", TenantID: "acme", Name: "old", Sealed: confidential}
	after := before
	after.Name, after.StartsAt = "new", issued
	e, err := domain.KeyEvent(domain.KeyChanged, []domain.KeyEdit{{before, after}},
		&domain.UnsafeStep{Step: "start", Why: "why"}, domain.Service(), issued, strings.NewReader(confidential))
	if err != nil {
		t.Fatal(err)
	}
	got := []string{e.TenantID, e.ObjectID, string(e.Before), string(e.After)}
	want := []string{"acme", "k", `{"k":{"name":"old","startsInstant":null}}`,
		`{"k":{"forced":true,"name":"new","startsInstant":1772366400123,"unsafe":"start: not safe: why"}}`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
