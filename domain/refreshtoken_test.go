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
		MetaData: domain.MetaData{Device: domain.Device{Name: "phone", Type: "MOBILE", Description: "Ada's"}, ClientAddress: "192.0.2.1", Data: `{"a":1}`},
	}
}

func TestNewRefreshTokenStartsALife(t *testing.T) {
	got, err := domain.NewRefreshToken(asked(), domain.DefaultPolicy(), issued)
	want := asked()
	want.Generation, want.IssuedAt, want.RotatedAt, want.LastUsedAt, want.ExpiresAt = 1, issued, issued, issued, issued.Add(30*day)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestNewRefreshTokenExpires(t *testing.T) {
	for _, tt := range []struct {
		expiration   domain.ExpirationPolicy
		ttl, maximum time.Duration
		want         time.Duration
	}{
		{domain.Fixed, 3 * day, day, 3 * day},
		{domain.SlidingWindow, 3 * day, day, 3 * day},
		{domain.SlidingWindowWithMaximumLifetime, 3 * day, 4 * day, 3 * day},
		{domain.SlidingWindowWithMaximumLifetime, 3 * day, day, day},
	} {
		p := domain.DefaultPolicy()
		p.Expiration, p.TTL, p.MaximumTTL = tt.expiration, tt.ttl, tt.maximum
		r, err := domain.NewRefreshToken(asked(), p, issued)
		if got := r.ExpiresAt.Sub(issued); err != nil || got != tt.want {
			t.Errorf("%s, %s, maximum %s: got %s (%v), want %s", tt.expiration, tt.ttl, tt.maximum, got, err, tt.want)
		}
	}
}

// A caller that goes on to use its slices must not change a stored record.
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
		{"nothing but the owner is needed", func(r *domain.RefreshToken) {
			*r = domain.RefreshToken{ID: r.ID, TenantID: r.TenantID, ApplicationID: r.ApplicationID, UserID: r.UserID}
		}, nil},
		{"no id", func(r *domain.RefreshToken) { r.ID = domain.ID{} }, []string{"[invalid]refreshTokenId"}},
		{"no owner", func(r *domain.RefreshToken) { r.TenantID, r.ApplicationID, r.UserID = "", "", "" },
			[]string{"[blank]tenantId", "[blank]applicationsId", "[blank]userId"}},
		{"user of 255 bytes", func(r *domain.RefreshToken) { r.UserID = strings.Repeat("x", 255) }, nil},
		{"user of 256 bytes", func(r *domain.RefreshToken) { r.UserID = strings.Repeat("x", 256) }, []string{"[tooLong]userId"}},
		{"control character", func(r *domain.RefreshToken) { r.UserID = "a\x00b" }, []string{"[invalid]userId"}},
		{"outer blanks", func(r *domain.RefreshToken) { r.ApplicationID = "shop " }, []string{"[invalid]applicationsId"}},
		{"binding of 255 bytes", func(r *domain.RefreshToken) { r.Binding = strings.Repeat("x", 255) }, nil},
		{"binding of 256 bytes", func(r *domain.RefreshToken) { r.Binding = strings.Repeat("x", 256) }, []string{"[tooLong]binding"}},
		{"100 roles and scopes", func(r *domain.RefreshToken) { r.Roles, r.Scopes = many[:100], many[:100] }, nil},
		{"101 roles and scopes", func(r *domain.RefreshToken) { r.Roles, r.Scopes = many, many }, []string{"[tooLong]roles", "[tooLong]scopes"}},
		{"entries twice", func(r *domain.RefreshToken) { r.Roles, r.Scopes = []string{"a", "b", "a"}, []string{"a", "a"} },
			[]string{"[repeated]roles[2]", "[repeated]scopes[1]"}},
		{"empty entries", func(r *domain.RefreshToken) { r.Roles, r.Scopes = []string{"a", ""}, []string{""} },
			[]string{"[blank]roles[1]", "[blank]scopes[0]"}},
		{"a role may hold blanks within, a scope may not", func(r *domain.RefreshToken) {
			r.Roles, r.Scopes = []string{"content editor"}, []string{"content editor"}
		}, []string{"[invalid]scopes[0]"}},
		{"every character of a scope-token", func(r *domain.RefreshToken) {
			r.Scopes = []string{"!#$%&'()*+,-./0123456789:;<=>?@[]^_`{|}~AZaz"}
		}, nil},
		{"what a scope-token may not hold", func(r *domain.RefreshToken) { r.Scopes = []string{`a"`, `a\`, "a\t", "é", "a\x7f", "\xff"} },
			[]string{"[invalid]scopes[0]", "[invalid]scopes[1]", "[invalid]scopes[2]", "[invalid]scopes[3]", "[invalid]scopes[4]", "[invalid]scopes[5]"}},
		{"a scope and a role of 256 bytes", func(r *domain.RefreshToken) {
			r.Roles, r.Scopes = []string{strings.Repeat("x", 256)}, []string{strings.Repeat("x", 256)}
		}, []string{"[tooLong]roles[0]", "[tooLong]scopes[0]"}},
		{"claims of 4096 bytes", func(r *domain.RefreshToken) { r.Claims = object(4096) }, nil},
		{"claims of 4097 bytes", func(r *domain.RefreshToken) { r.Claims = object(4097) }, []string{"[tooLong]claims"}},
		{"metadata of 4096 bytes", func(r *domain.RefreshToken) { r.MetaData = domain.MetaData{Data: object(4096)} }, nil},
		{"metadata of 4097 bytes, together", func(r *domain.RefreshToken) {
			r.MetaData = domain.MetaData{Device: domain.Device{Name: "x"}, Data: object(4096)}
		}, []string{"[tooLong]metaData"}},
		{"device", func(r *domain.RefreshToken) {
			r.MetaData.Device = domain.Device{Name: strings.Repeat("x", 256), Type: "a\nb", Description: " a"}
		}, []string{"[tooLong]metaData.device.name", "[invalid]metaData.device.type", "[invalid]metaData.device.description"}},
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

// A claim of ours that a caller could set would let one application speak for another user or tenant.
func TestReservedClaims(t *testing.T) {
	for name := range strings.FieldsSeq("iss sub aud exp nbf iat jti sid tid client_id applicationId roles scope cnf act events") {
		for _, spelt := range []string{name, strings.ToUpper(name), strings.ToUpper(name[:1]) + name[1:], fmt.Sprintf(`\u%04x`, name[0]) + name[1:]} {
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
		wantCodes(t, err, "[conflict]claims.aud", "[conflict]claims.exp", "[conflict]claims.iss", "[conflict]claims.sid", "[conflict]claims.tid")
	}
}

// SameIssue decides whether a repeated issue is answered or refused as a duplicate: what the caller said must agree, what the
// service added need not. Reflection, so that a field that is added later is thought of.
func TestSameIssue(t *testing.T) {
	ours := map[string]bool{
		"Generation": true, "IssuedAt": true, "RotatedAt": true, "LastUsedAt": true, "ExpiresAt": true, "GraceGeneration": true, "GraceSince": true,
		"RecoveredGeneration": true, "RecoveryPaidUntil": true, "IssuedEpoch": true, "RevokedAt": true, "RevokedReason": true,
	}
	for field := range reflect.TypeFor[domain.RefreshToken]().Fields() {
		if field.Name == "MetaData" {
			continue
		}
		t.Run(field.Name, func(t *testing.T) {
			a, b := asked(), asked()
			v := reflect.ValueOf(&b).Elem().FieldByIndex(field.Index)
			switch x := v.Addr().Interface().(type) {
			case *domain.ID:
				x[0]++
			case *time.Time:
				*x = issued
			case *[]string:
				*x = append(*x, "more")
			default:
				switch v.Kind() {
				case reflect.String:
					v.SetString(v.String() + "x")
				case reflect.Int64:
					v.SetInt(1)
				default:
					v.SetUint(1)
				}
			}
			if got := a.SameIssue(b); got != ours[field.Name] {
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
		b := asked()
		tt.change(&b.MetaData)
		if got := asked().SameIssue(b); got != tt.want {
			t.Errorf("metadata, %s: got %t, want %t", name, got, tt.want)
		}
	}
}
