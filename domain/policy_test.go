package domain_test

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/domain"
)

// codes returns the stable codes of an error, in order; nil for no error.
func codes(t *testing.T, err error) []string {
	t.Helper()
	if err == nil {
		return nil
	}
	var invalid *domain.Invalid
	if !errors.As(err, &invalid) {
		return []string{err.Error()}
	}
	var out []string
	for _, f := range invalid.Fields {
		if f.Message == "" {
			t.Errorf("%s has no message", f.Code())
		}
		out = append(out, f.Code())
	}
	return out
}

func wantCodes(t *testing.T, err error, want ...string) {
	t.Helper()
	if got := codes(t, err); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// settingOf maps a field of Settings to the field of Policy that it sets, with two values for it.
var settingOf = map[string]struct {
	field           string
	tenant, app     any // what is set
	tenantIs, appIs any // what the policy then says
}{
	"Active":                {"Active", false, true, false, false},
	"RequireAuthentication": {"RequireAuthentication", true, false, true, false},
	"CookieOnly":            {"CookieOnly", false, true, false, true},
	"CookieName":            {"CookieName", "a_session", "b_session", "a_session", "b_session"},
	"CookieHostOnly":        {"CookieHostOnly", true, false, true, false},
	"CookieDomain":          {"CookieDomain", "a.example", "b.example", "a.example", "b.example"},
	"AccessTokenSeconds":    {"AccessTokenTTL", int64(61), int64(62), 61 * time.Second, 62 * time.Second},
	"AccessTokenType":       {"AccessTokenType", domain.TypeJWT, domain.TypeATJWT, domain.TypeJWT, domain.TypeATJWT},
	"Algorithm":             {"Algorithm", domain.EdDSA, domain.PS256, domain.EdDSA, domain.PS256},
	"Expiration":            {"Expiration", domain.Fixed, domain.SlidingWindow, domain.Fixed, domain.SlidingWindow},
	"TTLMinutes":            {"TTL", int64(63), int64(64), 63 * time.Minute, 64 * time.Minute},
	"MaximumTTLMinutes":     {"MaximumTTL", int64(65_000), int64(66_000), 65_000 * time.Minute, 66_000 * time.Minute},
	"Usage":                 {"Usage", domain.Reusable, domain.OneTimeUse, domain.Reusable, domain.OneTimeUse},
	"GraceSeconds":          {"GracePeriod", int64(0), int64(67), time.Duration(0), 67 * time.Second},
	"RecoveryBurst":         {"RecoveryBurst", int64(0), int64(5), int64(0), int64(5)},
	"RecoveryInterval":      {"RecoveryInterval", int64(11), int64(12), int64(11), int64(12)},
	"RevokeOnReplay":        {"RevokeOnReplay", false, true, false, true},
	"MaximumActiveTokens":   {"MaximumActiveTokens", int64(3), int64(0), int64(3), int64(0)},
}

func combined(t *testing.T, tenant domain.Tenant, a domain.Application) domain.Policy {
	t.Helper()
	p, err := domain.Combine(tenant, a)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func with(field string, value any) domain.Settings {
	var s domain.Settings
	p := reflect.New(reflect.TypeOf(value))
	p.Elem().Set(reflect.ValueOf(value))
	reflect.ValueOf(&s).Elem().FieldByName(field).Set(p)
	return s
}

// Reflection covers a setting that is added later and forgotten in the merge. A value that is set takes precedence also
// if it is zero or false.
func TestCombineMergesEverySetting(t *testing.T) {
	for field := range reflect.TypeFor[domain.Settings]().Fields() {
		t.Run(field.Name, func(t *testing.T) {
			e, known := settingOf[field.Name]
			if !known {
				t.Fatal("no expectation for this setting: add one")
			}
			for name, tt := range map[string]struct {
				tenant, app domain.Settings
				want        any
			}{
				"tenant only":             {with(field.Name, e.tenant), domain.Settings{}, e.tenantIs},
				"application over tenant": {with(field.Name, e.tenant), with(field.Name, e.app), e.appIs},
				"application only":        {domain.Settings{}, with(field.Name, e.tenant), e.tenantIs},
			} {
				got := combined(t, domain.Tenant{Settings: tt.tenant}, domain.Application{Settings: tt.app})
				want := domain.DefaultPolicy()
				reflect.ValueOf(&want).Elem().FieldByName(e.field).Set(reflect.ValueOf(tt.want))
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s (-want +got):\n%s", name, diff)
				}
			}
		})
	}
}

// Only the issuer has another source; every other field of a policy is set by some setting.
func TestEveryFieldOfAPolicyCanBeSet(t *testing.T) {
	set := map[string]bool{"Issuer": true}
	for _, e := range settingOf {
		set[e.field] = true
	}
	for field := range reflect.TypeFor[domain.Policy]().Fields() {
		if !set[field.Name] {
			t.Errorf("no setting moves %s", field.Name)
		}
	}
	const issuer = "https://a.example"
	if got := combined(t, domain.Tenant{Issuer: issuer}, domain.Application{}).Issuer; got != issuer {
		t.Errorf("issuer: got %q, want %q", got, issuer)
	}
}

func TestAnApplicationCannotWinBackActive(t *testing.T) {
	for _, tt := range []struct {
		tenant, app *bool
		want        bool
	}{
		{nil, nil, true}, {new(true), nil, true}, {nil, new(true), true}, {new(true), new(true), true},
		{new(false), nil, false}, {nil, new(false), false}, {new(false), new(true), false},
		{new(true), new(false), false},
	} {
		got := combined(t, domain.Tenant{Settings: domain.Settings{Active: tt.tenant}},
			domain.Application{Settings: domain.Settings{Active: tt.app}})
		if got.Active != tt.want {
			t.Errorf("tenant %v, application %v: got %t, want %t", tt.tenant, tt.app, got.Active, tt.want)
		}
	}
}

func TestDefaultPolicyIsTheDocumentedOne(t *testing.T) {
	want := domain.Policy{
		Active: true, AccessTokenTTL: 900 * time.Second, AccessTokenType: "at+jwt", Algorithm: "ES256",
		Expiration: "SlidingWindowWithMaximumLifetime", TTL: 43_200 * time.Minute, MaximumTTL: 525_600 * time.Minute,
		Usage: "OneTimeUse", GracePeriod: 30 * time.Second, RecoveryBurst: 2, RecoveryInterval: 10,
		RevokeOnReplay: true, CookieOnly: true,
	}
	if diff := cmp.Diff(want, combined(t, domain.Tenant{}, domain.Application{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if w := domain.DefaultPolicy().Warnings(); w != nil {
		t.Errorf("the default warns: %q", w)
	}
}

func TestSettingsBounds(t *testing.T) {
	const tenYears = 5_270_400 // minutes
	tested := map[string]bool{}
	for _, tt := range []struct {
		setting   string
		wire      string
		low, high int64
	}{
		{"AccessTokenSeconds", "jwtConfiguration.timeToLiveInSeconds", 1, 86_400},
		{"TTLMinutes", "jwtConfiguration.refreshTokenTimeToLiveInMinutes", 1, tenYears},
		{"MaximumTTLMinutes", "jwtConfiguration.refreshTokenSlidingWindowConfiguration.maximumTimeToLiveInMinutes", 1,
			tenYears},
		{"GraceSeconds", "jwtConfiguration.refreshTokenOneTimeUseConfiguration.gracePeriodInSeconds", 0, 3_600},
		{"RecoveryBurst", "jwtConfiguration.refreshTokenOneTimeUseConfiguration.recoveryBurst", 0, 100},
		{"RecoveryInterval", "jwtConfiguration.refreshTokenOneTimeUseConfiguration.recoveryInterval", 2, 1_000},
		{"MaximumActiveTokens", "jwtConfiguration.maximumActiveTokens", 0, 10_000},
	} {
		tested[tt.wire] = true
		for value, fits := range map[int64]bool{tt.low: true, tt.high: true, tt.low - 1: false, tt.high + 1: false,
			-1 << 63: false, 1<<63 - 1: false} {
			t.Run(fmt.Sprintf("%s/%d", tt.setting, value), func(t *testing.T) {
				s := with(tt.setting, value)
				if fits { // what goes together with it: the bounds are what is tested here
					s.Expiration = new(domain.Fixed)
					switch tt.setting {
					case "RecoveryBurst":
						s.RecoveryInterval = new(value + 2)
					case "RecoveryInterval":
						s.RecoveryBurst = new(int64(1))
					}
				}
				var want []string
				if !fits {
					want = []string{"[invalid]" + tt.wire}
				}
				wantCodes(t, domain.Tenant{ID: "acme", Settings: s}.Validate(), want...)
				wantCodes(t, domain.Application{ID: "shop", Settings: s}.Validate(domain.Tenant{ID: "acme"}), want...)
			})
		}
	}
	for _, f := range new(domain.Settings).Fields() {
		if f.High > 0 && !tested[f.Name] {
			t.Errorf("%s has bounds, and no case here", f.Name)
		}
	}
}

func TestSettingsWords(t *testing.T) {
	tested := map[string]bool{}
	for _, tt := range []struct {
		setting, wire string
		good          []any
		bad           []any
	}{
		{"AccessTokenType", "jwtConfiguration.accessTokenType", []any{domain.TypeATJWT, domain.TypeJWT},
			[]any{domain.AccessTokenType(""), domain.AccessTokenType("jwt"),
				domain.AccessTokenType("application/at+jwt")}},
		{"Algorithm", "jwtConfiguration.algorithm", []any{domain.EdDSA, domain.ES256, domain.RS256, domain.PS256},
			[]any{domain.Algorithm(""), domain.Algorithm("none"), domain.Algorithm("HS256"), domain.Algorithm("eddsa"),
				domain.Algorithm("EdDSA ")}},
		{"Expiration", "jwtConfiguration.refreshTokenExpirationPolicy",
			[]any{domain.Fixed, domain.SlidingWindow, domain.SlidingWindowWithMaximumLifetime},
			[]any{domain.ExpirationPolicy(""), domain.ExpirationPolicy("fixed"), domain.ExpirationPolicy("Never")}},
		{"Usage", "jwtConfiguration.refreshTokenUsagePolicy", []any{domain.OneTimeUse, domain.Reusable},
			[]any{domain.UsagePolicy(""), domain.UsagePolicy("onetimeuse")}},
		{"CookieDomain", "cookieDomain", []any{"", "example.com", "a.b.example.com", "xn--bcher-kva.example",
			"EXAMPLE.com",
			strings.Repeat("a", 63) + ".com", "127.example", "1.2.com", "0.a1"},
			[]any{"localhost", ".example.com", "example.com.", "exa mple.com", "https://example.com", "example.com:80",
				"example.com/", "a..b", "-a.com", "a-.com",
				"127.0.0.1", "::1", "bücher.example", "a_b.com", "example.com;", "example.com\r\n",
				strings.Repeat("a", 64) + ".com", strings.Repeat("abcd.", 51) + "com",
				"127.1", "1.2.3.4.5", "example.1", "example.0x10", "a.1b", "1.2", "127.0.0.1."}},
		{"CookieName", "cookieName",
			[]any{"", "refresh_token", "shop", "shop.session", "__Host-shop", "__Secure-s", "!#$%&'*+-.^_`|~",
				strings.Repeat("a", 64)},
			[]any{"a b", "a=b", "a;b", "a,b", "a\"", "a/b", "a\tb", "a\r\nSet-Cookie: x", "é", "access_token",
				"shop_access", "_access"}},
	} {
		tested[tt.wire] = true
		for _, v := range tt.good {
			wantCodes(t, domain.Tenant{ID: "acme", Settings: with(tt.setting, v)}.Validate())
		}
		for _, v := range tt.bad {
			t.Run(fmt.Sprintf("%s/%v", tt.setting, v), func(t *testing.T) {
				wantCodes(t, domain.Tenant{ID: "acme", Settings: with(tt.setting, v)}.Validate(), "[invalid]"+tt.wire)
			})
		}
	}
	for _, f := range new(domain.Settings).Fields() {
		if f.Words != nil && !tested[f.Name] {
			t.Errorf("%s has a list of words, and no case here", f.Name)
		}
	}
}

// An operator corrects a file once, not field by field.
func TestAllProblemsAreNamedAtOnce(t *testing.T) {
	err := domain.Tenant{ID: "a b", Issuer: "ftp://x", Settings: domain.Settings{
		RecoveryInterval: new(int64(1)), Usage: new(domain.UsagePolicy("x")), CookieDomain: new("x"),
	}}.Validate()
	wantCodes(t, err, "[invalid]id", "[invalid]issuer", "[invalid]cookieDomain",
		"[invalid]jwtConfiguration.refreshTokenUsagePolicy",
		"[invalid]jwtConfiguration.refreshTokenOneTimeUseConfiguration.recoveryInterval")
}

func TestImpossibleCombinations(t *testing.T) {
	const (
		conflict = "[conflict]jwtConfiguration.refreshTokenSlidingWindowConfiguration." +
			"maximumTimeToLiveInMinutes"
		graceConflict    = "[conflict]jwtConfiguration.refreshTokenOneTimeUseConfiguration.gracePeriodInSeconds"
		intervalConflict = "[conflict]jwtConfiguration.refreshTokenOneTimeUseConfiguration.recoveryInterval"
	)
	grace := func(seconds, ttl *int64) domain.Settings {
		return domain.Settings{GraceSeconds: seconds, TTLMinutes: ttl}
	}
	recovery := func(burst, interval *int64) domain.Settings {
		return domain.Settings{RecoveryBurst: burst, RecoveryInterval: interval}
	}
	life := func(ttl, maximum *int64, e *domain.ExpirationPolicy) domain.Settings {
		return domain.Settings{TTLMinutes: ttl, MaximumTTLMinutes: maximum, Expiration: e}
	}
	fixed, sliding := new(domain.Fixed), new(domain.SlidingWindow)
	for _, tt := range []struct {
		rule        string
		tenant, app domain.Settings
		want        string
	}{
		{"the default grace period, the shortest lifetime", grace(nil, new(int64(1))), domain.Settings{}, ""},
		{"grace at half of the lifetime", grace(new(int64(3_600)), new(int64(120))), domain.Settings{}, ""},
		{"grace above half of the lifetime", grace(new(int64(3_600)), new(int64(119))), domain.Settings{}, graceConflict},
		{"a second above half of the lifetime", grace(new(int64(31)), new(int64(1))), domain.Settings{}, graceConflict},
		{"the application's grace, the tenant's lifetime", grace(nil, new(int64(2))), grace(new(int64(61)), nil),
			graceConflict},
		{"the tenant's grace, the application's lifetime", grace(new(int64(61)), nil), grace(nil, new(int64(2))),
			graceConflict},
		{"the application repairs the grace period", grace(new(int64(600)), nil), grace(new(int64(60)), new(int64(2))),
			""},
		{"interval above the burst", recovery(new(int64(9)), nil), domain.Settings{}, ""},
		{"interval equal to the burst", recovery(new(int64(10)), nil), domain.Settings{}, intervalConflict},
		{"interval below the default burst", recovery(nil, new(int64(2))), domain.Settings{}, intervalConflict},
		{"the shortest interval", recovery(new(int64(1)), new(int64(2))), domain.Settings{}, ""},
		{"recovery off", recovery(new(int64(0)), new(int64(2))), domain.Settings{}, ""},
		{"the application's burst, the tenant's interval", recovery(nil, new(int64(5))),
			recovery(new(int64(5)), nil), intervalConflict},
		{"the tenant's burst, the application's interval", recovery(new(int64(7)), nil),
			recovery(nil, new(int64(7))), intervalConflict},
		{"maximum above", life(new(int64(60)), new(int64(61)), nil), domain.Settings{}, ""},
		{"maximum equal", life(new(int64(60)), new(int64(60)), nil), domain.Settings{}, ""},
		{"maximum below", life(new(int64(60)), new(int64(59)), nil), domain.Settings{}, conflict},
		{"maximum below the default life", life(nil, new(int64(43_199)), nil), domain.Settings{}, conflict},
		{"life above the default maximum", life(new(int64(525_601)), nil, nil), domain.Settings{}, conflict},
		{"maximum below, and it does not count: Fixed", life(new(int64(60)), new(int64(59)), fixed), domain.Settings{},
			""},
		{"maximum below, and it does not count: SlidingWindow", life(new(int64(60)), new(int64(59)), sliding),
			domain.Settings{}, ""},
		{"the application's life above the tenant's maximum", life(new(int64(60)), new(int64(600)), nil),
			life(new(int64(601)), nil, nil), conflict},
		{"the application's maximum below the tenant's lifetime", life(new(int64(60)), nil, nil),
			life(nil, new(int64(59)), nil), conflict},
		{"the application makes the tenant's harmless maximum count", life(new(int64(60)), new(int64(59)), fixed),
			life(nil, nil, new(domain.SlidingWindowWithMaximumLifetime)), conflict},
		{"the application repairs", life(new(int64(60)), new(int64(600)), nil),
			life(new(int64(601)), new(int64(601)), nil), ""},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			var want []string
			if tt.want != "" {
				want = []string{tt.want}
			}
			tenant, app := domain.Tenant{ID: "acme", Settings: tt.tenant},
				domain.Application{ID: "shop", Settings: tt.app}
			wantCodes(t, app.Validate(tenant), want...)
			p, err := domain.Combine(tenant, app)
			wantCodes(t, err, want...)
			if err != nil && p != (domain.Policy{}) {
				t.Errorf("a policy beside the error: %+v", p)
			}
			if cmp.Equal(tt.app, domain.Settings{}) {
				wantCodes(t, tenant.Validate(), want...)
			}
		})
	}
}

// A tenant's settings apply to many applications: the operator must learn which of them conflict.
func TestCombineAllNamesTheApplications(t *testing.T) {
	tenant := domain.Tenant{ID: "acme", Settings: domain.Settings{MaximumTTLMinutes: new(int64(50_000))}}
	long := domain.Settings{TTLMinutes: new(int64(50_001))}
	fine := domain.Application{ID: "fine", Settings: domain.Settings{TTLMinutes: new(int64(60))}}
	got, err := domain.CombineAll(tenant, map[string]domain.Application{"fine": fine, "plain": {}})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]domain.Policy{
		"fine": combined(t, tenant, fine), "plain": combined(t, tenant, domain.Application{}),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	_, err = domain.CombineAll(tenant, map[string]domain.Application{
		`c"d`: {Settings: long}, "fine": fine, "a.b": {Settings: long},
	})
	wantCodes(t, err, `[conflict]applications["a.b"].`+domain.FieldMaximumTTLMinutes,
		`[conflict]applications["c\"d"].`+domain.FieldMaximumTTLMinutes)
	tenant.Settings.MaximumTTLMinutes = new(int64(60)) // below the default lifetime
	_, err = domain.CombineAll(tenant, map[string]domain.Application{"fine": fine})
	wantCodes(t, err, "[conflict]"+domain.FieldMaximumTTLMinutes)
}

// Only the operator knows which of two settings is wrong.
func TestAnImpossibleCombinationNamesBothSettings(t *testing.T) {
	for _, tt := range []struct {
		settings domain.Settings
		names    []string
	}{
		{domain.Settings{GraceSeconds: new(int64(60)), TTLMinutes: new(int64(1))},
			[]string{"gracePeriodInSeconds", "refreshTokenTimeToLiveInMinutes"}},
		{domain.Settings{RecoveryBurst: new(int64(3)), RecoveryInterval: new(int64(3))},
			[]string{"recoveryBurst", "recoveryInterval"}},
	} {
		err := domain.Tenant{ID: "acme", Settings: tt.settings}.Validate()
		var invalid *domain.Invalid
		if !errors.As(err, &invalid) {
			t.Fatalf("%v: got %v", tt.names, err)
		}
		for _, name := range tt.names {
			if !strings.Contains(invalid.Fields[0].Message, name) {
				t.Errorf("the message does not name %s: %s", name, invalid.Fields[0].Message)
			}
		}
	}
}

func TestWarnings(t *testing.T) {
	for _, tt := range []struct {
		rule   string
		change func(*domain.Policy)
		names  []string
	}{
		{"grace at half of the access token's lifetime", func(p *domain.Policy) { p.GracePeriod = 450 * time.Second }, nil},
		{"grace above half of the access token's lifetime", func(p *domain.Policy) { p.GracePeriod = 451 * time.Second },
			[]string{domain.FieldGraceSeconds}},
		{"an access token as long as the session", func(p *domain.Policy) { p.TTL = p.AccessTokenTTL }, nil},
		{"an access token longer than the session", func(p *domain.Policy) { p.TTL = p.AccessTokenTTL - time.Minute },
			[]string{domain.FieldAccessTokenSeconds}},
		{"a short access token", func(p *domain.Policy) { p.AccessTokenTTL = 59 * time.Second },
			[]string{domain.FieldGraceSeconds}},
		{"sliding without end", func(p *domain.Policy) { p.Expiration = domain.SlidingWindow },
			[]string{domain.FieldExpiration}},
		{"both", func(p *domain.Policy) { p.Expiration, p.GracePeriod = domain.SlidingWindow, time.Hour },
			[]string{domain.FieldGraceSeconds, domain.FieldExpiration}},
		{"neither counts where reusable", func(p *domain.Policy) {
			p.Usage, p.Expiration, p.GracePeriod = domain.Reusable, domain.SlidingWindow, time.Hour
		}, nil},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			p := domain.DefaultPolicy()
			tt.change(&p)
			got := p.Warnings()
			if len(got) != len(tt.names) {
				t.Fatalf("got %q, want warnings on %q", got, tt.names)
			}
			for i, w := range got {
				if !strings.HasPrefix(w, tt.names[i]+" ") {
					t.Errorf("got %q, want one that begins with %s", w, tt.names[i])
				}
			}
		})
	}
}

// A store adds these to an instant in microseconds, for the longest lifetime that can be set: nothing may overflow.
func TestSlide(t *testing.T) {
	p := domain.DefaultPolicy()
	for _, tt := range []struct {
		expiration    domain.ExpirationPolicy
		window        time.Duration
		least, atMost time.Duration
	}{
		{domain.Fixed, 0, 90 * 365 * day, 200 * 365 * day},
		{domain.SlidingWindow, p.TTL, 90 * 365 * day, 200 * 365 * day},
		{domain.SlidingWindowWithMaximumLifetime, p.TTL, p.MaximumTTL, p.MaximumTTL},
	} {
		p.Expiration = tt.expiration
		window, maximum := p.Slide()
		if window != tt.window || maximum < tt.least || maximum > tt.atMost {
			t.Errorf("%s: got window %s, maximum %s", tt.expiration, window, maximum)
		}
		if late := issued.Add(maximum).Add(maximum); late.Before(issued) || late.UnixMicro() < issued.UnixMicro() {
			t.Errorf("%s: the maximum overflows", tt.expiration)
		}
	}
}

// A setting without a row would be read from no file, shown to no operator and lost by a copy. So every field of
// Settings is set through Fields, and found in itself, in a copy and in the list, under its own name.
func TestEverySettingHasARow(t *testing.T) {
	var s domain.Settings
	names := map[string]bool{}
	for _, f := range s.Fields() {
		if names[f.Name] {
			t.Errorf("%s is there twice", f.Name)
		}
		names[f.Name] = true
		into := reflect.ValueOf(f.Into).Elem()
		if !into.IsNil() {
			t.Errorf("%s is the place of another name too", f.Name)
		}
		into.Set(reflect.New(into.Type().Elem()))
		listed := slices.IndexFunc(s.List(), func(s domain.Setting) bool { return s.Field == f.Name && s.Value != "" })
		if listed != len(names)-1 {
			t.Errorf("%s is entry %d of the list, want %d", f.Name, listed, len(names)-1)
		}
	}
	clone := s.Clone()
	if diff := cmp.Diff(s, clone); diff != "" {
		t.Errorf("a copy (-want +got):\n%s", diff)
	}
	for field := range reflect.TypeFor[domain.Settings]().Fields() {
		is, copied := reflect.ValueOf(s).FieldByIndex(field.Index), reflect.ValueOf(clone).FieldByIndex(field.Index)
		if is.IsNil() || is.Pointer() == copied.Pointer() {
			t.Errorf("%s has no row, or is shared with the copy", field.Name)
		}
	}
}

// The list of changes for an operator must include every setting.
func TestSettingsAreListedInFull(t *testing.T) {
	p := domain.DefaultPolicy()
	p.CookieOnly, p.CookieName, p.CookieDomain, p.MaximumActiveTokens = false, "shop", "acme.example", 7
	all := p.Settings()
	again, err := domain.Combine(domain.Tenant{}, domain.Application{Settings: all})
	if err != nil || again != p {
		t.Errorf("the settings of a policy make %+v, %v, want %+v", again, err, p)
	}
	fields := map[string]bool{}
	for _, s := range all.List() {
		if s.Value == "" || fields[s.Field] {
			t.Errorf("%s = %q, want a value, once", s.Field, s.Value)
		}
		fields[s.Field] = true
	}
	if want := reflect.TypeFor[domain.Settings]().NumField(); len(fields) != want {
		t.Errorf("%d settings are listed, want %d", len(fields), want)
	}
	for _, s := range (domain.Settings{CookieDomain: new("")}).List() {
		if want := map[string]string{domain.FieldCookieDomain: `""`}[s.Field]; s.Value != want {
			t.Errorf("%s = %q, want %q", s.Field, s.Value, want)
		}
	}
}
