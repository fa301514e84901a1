package domain_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/domain"
)

func asked() domain.RefreshToken {
	return domain.RefreshToken{
		ID: tokenID, TenantID: "acme", ApplicationID: "shop", UserID: "ada", Binding: "thumbprint",
		Roles: []string{"admin", "editor"}, Scopes: []string{"read", "write"}, Claims: `{"plan":"gold"}`,
		MetaData: domain.MetaData{Device: domain.Device{Name: "phone", Type: "MOBILE", Description: "Ada's"},
			ClientAddress: "192.0.2.1", Data: `{"a":1}`},
	}
}

func TestNewRefreshToken(t *testing.T) {
	in := asked()
	in.Generation, in.RotatedAt, in.LastUsedAt = 7, issued.Add(-day), issued.Add(-day) // NewRefreshToken ignores these
	got, err := domain.NewRefreshToken(in, domain.DefaultPolicy(), issued)
	want := asked()
	want.Generation, want.IssuedAt, want.RotatedAt, want.LastUsedAt = 1, issued, issued, issued
	want.ExpiresAt = issued.Add(30 * day).Truncate(time.Second)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

// The expiry is rounded down to the second, as `exp` is, so that no access token outlives it and the last one does not
// lose a second.
func TestNewRefreshTokenExpires(t *testing.T) {
	const subsecond = 123_456 * µs
	for _, tt := range []struct {
		expiration   domain.ExpirationPolicy
		ttl, maximum time.Duration
		issuedAt     time.Duration // before now; 0 for an issue that is no import
		wanted       time.Duration // the expiry that the caller names, after now; 0 for none
		want         time.Duration // after now
		code         string
	}{
		{domain.Fixed, 3 * day, day, 0, 0, 3*day - subsecond, ""},
		{domain.SlidingWindow, 3 * day, day, 0, 0, 3*day - subsecond, ""},
		{domain.SlidingWindowWithMaximumLifetime, 3 * day, 4 * day, 0, 0, 3*day - subsecond, ""},
		{domain.SlidingWindowWithMaximumLifetime, 3 * day, day, 0, 0, day - subsecond, ""},

		{domain.Fixed, 3 * day, day, 2 * day, 0, day - subsecond, ""},
		{domain.SlidingWindow, 3 * day, day, 2 * day, 0, 3*day - subsecond, ""},
		{domain.SlidingWindow, 3 * day, day, 999 * day, 0, 3*day - subsecond, ""},
		{domain.SlidingWindowWithMaximumLifetime, 3 * day, 4 * day, 2 * day, 0, 2*day - subsecond, ""},
		{domain.SlidingWindowWithMaximumLifetime, 3 * day, 40 * day, 2 * day, 0, 3*day - subsecond, ""},

		// By the original instant it would have expired: by less than a second, too, because the expiry is rounded
		// down.
		{domain.Fixed, 3 * day, day, 3 * day, 0, 0, "[invalid]insertInstant"},
		{domain.Fixed, 3 * day, day, 3*day - subsecond, 0, 0, "[invalid]insertInstant"},
		{domain.Fixed, 3 * day, day, 3*day + subsecond - time.Second, 0, time.Second - subsecond, ""},
		{domain.SlidingWindowWithMaximumLifetime, 3 * day, 4 * day, 4 * day, 0, 0, "[invalid]insertInstant"},
		{domain.SlidingWindowWithMaximumLifetime, 3 * day, 4 * day, 400 * day, 0, 0, "[invalid]insertInstant"},
		// Ahead, by the largest clock skew and by more.
		{domain.Fixed, 3 * day, day, -time.Minute, 0, 3*day + time.Minute - subsecond, ""},
		{domain.SlidingWindow, 3 * day, day, -time.Minute, 0, 3*day - subsecond, ""},
		{domain.SlidingWindow, 3 * day, day, -time.Minute - µs, 0, 0, "[invalid]insertInstant"},

		// No store can distinguish the beginning of 1970 from no instant, and no session began before it.
		{domain.SlidingWindow, 3 * day, day, issued.Sub(time.Unix(0, 0)), 0, 0, "[invalid]insertInstant"},
		{domain.SlidingWindow, 3 * day, day, issued.Sub(time.Unix(0, 0)) + day, 0, 0, "[invalid]insertInstant"},
		{domain.SlidingWindow, 3 * day, day, issued.Sub(time.Unix(0, 0)) - µs, 0, 3*day - subsecond, ""},

		{domain.Fixed, 3 * day, day, 0, day, day - subsecond, ""},
		{domain.Fixed, 3 * day, day, 2 * day, day, day - subsecond, ""},
		{domain.Fixed, 3 * day, day, 2 * day, day - subsecond + time.Second, 0, "[invalid]expirationInstant"},
		{domain.Fixed, 3 * day, day, 2 * day, day - subsecond + time.Second - µs, day - subsecond, ""},
		{domain.SlidingWindow, 3 * day, day, 0, 3 * day, 3*day - subsecond, ""},
		{domain.SlidingWindow, 3 * day, day, 0, 4 * day, 0, "[invalid]expirationInstant"},
		{domain.SlidingWindowWithMaximumLifetime, 3 * day, 4 * day, 2 * day, 3 * day, 0, "[invalid]expirationInstant"},
		{domain.SlidingWindowWithMaximumLifetime, 3 * day, 4 * day, 2 * day, day, day - subsecond, ""},
		{domain.SlidingWindowWithMaximumLifetime, 3 * day, 4 * day, 0, time.Second, time.Second - subsecond, ""},
		{domain.SlidingWindowWithMaximumLifetime, 3 * day, 4 * day, 0, time.Second - subsecond - µs, 0,
			"[invalid]expirationInstant"},
		{domain.SlidingWindowWithMaximumLifetime, 3 * day, 4 * day, 0, -day, 0, "[invalid]expirationInstant"},
	} {
		p, in := domain.DefaultPolicy(), asked()
		p.Expiration, p.TTL, p.MaximumTTL = tt.expiration, tt.ttl, tt.maximum
		if tt.issuedAt != 0 {
			in.IssuedAt = issued.Add(-tt.issuedAt)
		}
		if tt.wanted != 0 {
			in.ExpiresAt = issued.Add(tt.wanted)
		}
		r, err := domain.NewRefreshToken(in, p, issued)
		if tt.code != "" {
			wantCodes(t, err, tt.code)
			continue
		}
		wantIssued := in.IssuedAt
		if wantIssued.IsZero() {
			wantIssued = issued
		}
		if got := r.ExpiresAt.Sub(issued); err != nil || got != tt.want {
			t.Errorf("%s, %s, maximum %s, issued %s ago, wanted %s: expires after %s (%v), want %s",
				tt.expiration, tt.ttl, tt.maximum, tt.issuedAt, tt.wanted, got, err, tt.want)
		}
		if !r.IssuedAt.Equal(wantIssued) || !r.RotatedAt.Equal(issued) || !r.LastUsedAt.Equal(issued) {
			t.Errorf("issued %s ago: got issued %s, rotated %s, last used %s", tt.issuedAt, r.IssuedAt, r.RotatedAt,
				r.LastUsedAt)
		}
	}
}

// The expiry is the first instant at which a refresh token is expired: one that would be issued with it now is refused.
func TestNewRefreshTokenIsNotExpiredAtIssue(t *testing.T) {
	now, p := issued.Truncate(time.Second), domain.DefaultPolicy()
	imported := asked()
	imported.IssuedAt = now.Add(-p.MaximumTTL)
	_, err := domain.NewRefreshToken(imported, p, now)
	wantCodes(t, err, "[invalid]insertInstant")
	ends := asked()
	ends.ExpiresAt = now
	_, err = domain.NewRefreshToken(ends, p, now)
	wantCodes(t, err, "[invalid]expirationInstant")
	ends.ExpiresAt = now.Add(time.Second)
	if r, err := domain.NewRefreshToken(ends, p, now); err != nil || !r.ExpiresAt.Equal(ends.ExpiresAt) {
		t.Errorf("a second later: expires %s (%v)", r.ExpiresAt, err)
	}
}

// A caller that uses its slices again must not change a stored record.
func TestNewRefreshTokenCopies(t *testing.T) {
	in := asked()
	got, _ := domain.NewRefreshToken(in, domain.DefaultPolicy(), issued)
	in.Roles[0], in.Scopes[0] = "root", "all"
	if got.Roles[0] != "admin" || got.Scopes[0] != "read" {
		t.Errorf("got roles %q, scopes %q", got.Roles, got.Scopes)
	}
}

func TestNewRefreshTokenRefuses(t *testing.T) {
	many := make([]string, 101)
	for i := range many {
		many[i] = fmt.Sprint("r", i)
	}
	object := func(n int) domain.Object {
		return domain.Object(`{"a":"` + strings.Repeat("x", n-8) + `"}`)
	}
	for _, tt := range []struct {
		rule   string
		change func(*domain.RefreshToken)
		want   []string
	}{
		{"only the owner is needed", func(r *domain.RefreshToken) {
			*r = domain.RefreshToken{ID: r.ID, TenantID: r.TenantID, ApplicationID: r.ApplicationID, UserID: r.UserID}
		}, nil},
		{"no id", func(r *domain.RefreshToken) { r.ID = domain.ID{} }, []string{"[invalid]refreshTokenId"}},
		{"no owner", func(r *domain.RefreshToken) { r.TenantID, r.ApplicationID, r.UserID = "", "", "" },
			[]string{"[blank]tenantId", "[blank]applicationsId", "[blank]userId"}},
		{"user of 255 bytes", func(r *domain.RefreshToken) { r.UserID = strings.Repeat("x", 255) }, nil},
		{"user of 256 bytes", func(r *domain.RefreshToken) { r.UserID = strings.Repeat("x", 256) },
			[]string{"[tooLong]userId"}},
		{"control character", func(r *domain.RefreshToken) { r.UserID = "a\x00b" }, []string{"[invalid]userId"}},
		{"outer blanks", func(r *domain.RefreshToken) { r.ApplicationID = "shop " },
			[]string{"[invalid]applicationsId"}},
		{"binding of 255 bytes", func(r *domain.RefreshToken) { r.Binding = strings.Repeat("x", 255) }, nil},
		{"binding of 256 bytes", func(r *domain.RefreshToken) { r.Binding = strings.Repeat("x", 256) },
			[]string{"[tooLong]binding"}},
		{"100 roles and scopes", func(r *domain.RefreshToken) { r.Roles, r.Scopes = many[:100], many[:100] }, nil},
		{"101 roles and scopes", func(r *domain.RefreshToken) { r.Roles, r.Scopes = many, many },
			[]string{"[tooLong]roles", "[tooLong]scopes"}},
		{"entries twice", func(r *domain.RefreshToken) {
			r.Roles, r.Scopes = []string{"a", "b", "a"}, []string{"a", "a"}
		},
			[]string{"[repeated]roles[2]", "[repeated]scopes[1]"}},
		{"empty entries", func(r *domain.RefreshToken) { r.Roles, r.Scopes = []string{"a", ""}, []string{""} },
			[]string{"[blank]roles[1]", "[blank]scopes[0]"}},
		{"a role may hold blanks within, a scope may not", func(r *domain.RefreshToken) {
			r.Roles, r.Scopes = []string{"content editor"}, []string{"content editor"}
		}, []string{"[invalid]scopes[0]"}},
		{"every character of a scope-token", func(r *domain.RefreshToken) {
			r.Scopes = []string{"!#$%&'()*+,-./0123456789:;<=>?@[]^_`{|}~AZaz"}
		}, nil},
		{"what a scope-token may not hold",
			func(r *domain.RefreshToken) { r.Scopes = []string{`a"`, `a\`, "a\t", "é", "a\x7f", "\xff"} },
			[]string{"[invalid]scopes[0]", "[invalid]scopes[1]", "[invalid]scopes[2]", "[invalid]scopes[3]",
				"[invalid]scopes[4]", "[invalid]scopes[5]"}},
		{"a scope and a role of 256 bytes", func(r *domain.RefreshToken) {
			r.Roles, r.Scopes = []string{strings.Repeat("x", 256)}, []string{strings.Repeat("x", 256)}
		}, []string{"[tooLong]roles[0]", "[tooLong]scopes[0]"}},
		{"claims of 4096 bytes", func(r *domain.RefreshToken) { r.Claims = object(4096) }, nil},
		{"claims of 4097 bytes", func(r *domain.RefreshToken) { r.Claims = object(4097) }, []string{"[tooLong]claims"}},
		{"metadata of 4096 bytes",
			func(r *domain.RefreshToken) { r.MetaData = domain.MetaData{Data: object(4096)} }, nil},
		{"metadata of 4097 bytes, together", func(r *domain.RefreshToken) {
			r.MetaData = domain.MetaData{Device: domain.Device{Name: "x"}, Data: object(4096)}
		}, []string{"[tooLong]metaData"}},
		{"device", func(r *domain.RefreshToken) {
			r.MetaData.Device = domain.Device{Name: strings.Repeat("x", 256), Type: "a\nb", Description: " a"}
		}, []string{"[tooLong]metaData.device.name", "[invalid]metaData.device.type",
			"[invalid]metaData.device.description"}},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			r := asked()
			tt.change(&r)
			got, err := domain.NewRefreshToken(r, domain.DefaultPolicy(), issued)
			wantCodes(t, err, tt.want...)
			if err != nil && !got.ID.IsZero() {
				t.Error("refused, and yet there is a record")
			}
		})
	}
}

// A reserved claim that a caller could set would let one application act for another user or tenant.
func TestReservedClaims(t *testing.T) {
	const names = "iss sub aud exp nbf iat jti sid tid client_id applicationId roles scope cnf act events rve rsid"
	for name := range strings.FieldsSeq(names) {
		for _, spelt := range []string{
			name, strings.ToUpper(name), strings.ToUpper(name[:1]) + name[1:],
			fmt.Sprintf(`\u%04x`, name[0]) + name[1:],
		} {
			t.Run(spelt, func(t *testing.T) {
				r := asked()
				r.Claims = domain.Object(`{"fine":1,"` + spelt + `":"x"}`)
				_, err := domain.NewRefreshToken(r, domain.DefaultPolicy(), issued)
				wantCodes(t, err, "[conflict]claims."+name)
			})
		}
	}
	r := asked()
	r.Claims = `{"subject":1,"nested":{"sub":"x"},"s":2,"":3,"role":["x"],"scopes":"x"}`
	_, err := domain.NewRefreshToken(r, domain.DefaultPolicy(), issued)
	wantCodes(t, err)
	// Go's encoding/json would read the long s as an s.
	r.Claims = `{"ſub":"x"}`
	_, err = domain.NewRefreshToken(r, domain.DefaultPolicy(), issued)
	wantCodes(t, err, "[conflict]claims.sub")
	r.Claims = `{"sid":1,"aud":1,"tid":1,"exp":1,"iss":1}`
	for range 20 {
		_, err = domain.NewRefreshToken(r, domain.DefaultPolicy(), issued)
		wantCodes(t, err, "[conflict]claims.aud", "[conflict]claims.exp", "[conflict]claims.iss",
			"[conflict]claims.sid", "[conflict]claims.tid")
	}
}

// SameIssue decides whether a repeated issue succeeds or is refused as a duplicate: the values that the caller sent
// must be the same, those that the service added need not be. Reflection covers a field that is added later.
func TestSameIssue(t *testing.T) {
	ours := map[string]bool{
		"Generation": true, "RotatedAt": true, "LastUsedAt": true, "Ordinal": true, "RecoveredAt": true,
		"RecoveryPaidUntil": true, "IssuedEpoch": true, "RevokedAt": true, "RevokedReason": true,
	}
	stored, err := domain.NewRefreshToken(asked(), domain.DefaultPolicy(), issued)
	if err != nil {
		t.Fatal(err)
	}
	for field := range reflect.TypeFor[domain.RefreshToken]().Fields() {
		if field.Name == "MetaData" {
			continue
		}
		t.Run(field.Name, func(t *testing.T) {
			again := asked()
			v := reflect.ValueOf(&again).Elem().FieldByIndex(field.Index)
			switch x := v.Addr().Interface().(type) {
			case *domain.ID:
				x[0]++
			case *time.Time:
				*x = issued.Add(time.Hour)
			case *[]string:
				*x = append(*x, "more")
			default:
				switch v.Kind() {
				case reflect.String:
					v.SetString(v.String() + "x")
				case reflect.Int64:
					v.SetInt(1)
				default:
					v.SetUint(2)
				}
			}
			if got := stored.SameIssue(again); got != ours[field.Name] {
				t.Errorf("they differ in it: got %t, want %t", got, ours[field.Name])
			}
		})
	}
	for name, tt := range map[string]struct {
		change func(*domain.MetaData)
		want   bool
	}{
		"nothing":        {func(*domain.MetaData) {}, true},
		"device":         {func(m *domain.MetaData) { m.Device.Type = "x" }, false},
		"data":           {func(m *domain.MetaData) { m.Data = `{}` }, false},
		"client address": {func(m *domain.MetaData) { m.ClientAddress = "x" }, true},
	} {
		again := asked()
		tt.change(&again.MetaData)
		if got := stored.SameIssue(again); got != tt.want {
			t.Errorf("metadata, %s: got %t, want %t", name, got, tt.want)
		}
	}
}

// The instants that a caller sent are compared as long as the record still has them.
func TestSameIssueOfAnImport(t *testing.T) {
	long, ends := issued.Add(-100*day), issued.Add(10*day)
	const fraction = 876_543 * µs // issued plus this is still of the same second
	used := func(r domain.RefreshToken) domain.RefreshToken {
		r.LastUsedAt, r.ExpiresAt = issued.Add(day), issued.Add(31*day)
		return r
	}
	rotated := func(r domain.RefreshToken) domain.RefreshToken {
		return r.Rotated(domain.DefaultPolicy(), issued.Add(day), "")
	}
	for _, tt := range []struct {
		rule                      string
		issuedAt, expiresAt       time.Time // of the first request
		since                     func(domain.RefreshToken) domain.RefreshToken
		issuedAgain, expiresAgain time.Time
		want                      bool
	}{
		{"neither names an instant", time.Time{}, time.Time{}, nil, time.Time{}, time.Time{}, true},
		{"neither does, rotated", time.Time{}, time.Time{}, rotated, time.Time{}, time.Time{}, true},
		{"only the second names the issue", time.Time{}, time.Time{}, nil, long, time.Time{}, false},
		{"the second names the instant that was taken", time.Time{}, time.Time{}, nil, issued, time.Time{}, true},
		{"both name the same issue", long, time.Time{}, nil, long, time.Time{}, true},
		{"both do, used", long, time.Time{}, used, long, time.Time{}, true},
		{"both do, rotated: it is too late to say", long, time.Time{}, rotated, long, time.Time{}, false},
		{"they name different issues", long, time.Time{}, nil, long.Add(µs), time.Time{}, false},
		{"only the first names the issue", long, time.Time{}, nil, time.Time{}, time.Time{}, false},
		{"only the first does, used", long, time.Time{}, used, time.Time{}, time.Time{}, false},
		{"only the first does, rotated", long, time.Time{}, rotated, time.Time{}, time.Time{}, false},
		{"both name the same expiry", time.Time{}, ends, nil, time.Time{}, ends, true},
		{"the same second of expiry", time.Time{}, ends, nil, time.Time{}, ends.Add(fraction), true},
		{"another second of expiry", time.Time{}, ends, nil, time.Time{}, ends.Add(fraction + µs), false},
		{"another expiry than the policy's", time.Time{}, time.Time{}, nil, time.Time{}, ends, false},
		{"another expiry, used", time.Time{}, ends, used, time.Time{}, ends.Add(day), true},
		{"another expiry, rotated", time.Time{}, ends, rotated, time.Time{}, ends.Add(day), true},
	} {
		first, again := asked(), asked()
		id, err := domain.NewID(issued, strings.NewReader("0123456789"))
		if err != nil {
			t.Fatal(err)
		}
		first.ID, again.ID = id, id
		first.IssuedAt, first.ExpiresAt = tt.issuedAt, tt.expiresAt
		again.IssuedAt, again.ExpiresAt = tt.issuedAgain, tt.expiresAgain
		stored, err := domain.NewRefreshToken(first, domain.DefaultPolicy(), issued)
		if err != nil {
			t.Fatal(err)
		}
		if tt.since != nil {
			stored = tt.since(stored)
		}
		if got := stored.SameIssue(again); got != tt.want {
			t.Errorf("%s: got %t, want %t", tt.rule, got, tt.want)
		}
	}
}

// A User-Agent header becomes the description of a device that has none, cut between two characters if it is too long.
func TestDescribedBy(t *testing.T) {
	long := strings.Repeat("a", 254) + "é"
	for _, tt := range []struct{ description, userAgent, want string }{
		{"the red one", "Mozilla/5.0", "the red one"},
		{"", " Mozilla/5.0 ", "Mozilla/5.0"},
		{"", "", ""},
		{"", strings.Repeat("a", 255), strings.Repeat("a", 255)},
		{"", strings.Repeat("a", 256), strings.Repeat("a", 255)},
		{"", long, strings.Repeat("a", 254)},
		{"", strings.Repeat("a", 254) + " b", strings.Repeat("a", 254)},
	} {
		got := domain.Device{Name: "phone", Description: tt.description}.DescribedBy(tt.userAgent)
		if want := (domain.Device{Name: "phone", Description: tt.want}); got != want {
			t.Errorf("%q described by %q: got %q, want %q", tt.description, tt.userAgent, got.Description, tt.want)
		}
	}
}

// The response to a repeated issue has the first token string, whatever was exchanged since.
func TestAsIssued(t *testing.T) {
	fresh, err := domain.NewRefreshToken(asked(), domain.DefaultPolicy(), issued)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(fresh, fresh.AsIssued()); diff != "" {
		t.Errorf("not exchanged yet (-want +got):\n%s", diff)
	}
	imported := asked()
	imported.IssuedAt = issued.Add(-day)
	if imported, err = domain.NewRefreshToken(imported, domain.DefaultPolicy(), issued); err != nil {
		t.Fatal(err)
	}
	if got := imported.AsIssued().RotatedAt; !got.Equal(issued) {
		t.Errorf("imported: rotated at %s, want the instant of the insert", got)
	}
	r := fresh.Rotated(domain.DefaultPolicy(), issued.Add(time.Hour), "192.0.2.2")
	r = r.Rotated(domain.DefaultPolicy(), issued.Add(day), "")
	r.RecoveredAt = issued.Add(2 * day)
	want := r
	want.Generation, want.RotatedAt, want.RecoveredAt = 1, issued, time.Time{}
	if diff := cmp.Diff(want, r.AsIssued()); diff != "" {
		t.Errorf("rotated twice and recovered (-want +got):\n%s", diff)
	}
}
