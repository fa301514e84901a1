package domain_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/refreshd/refreshd/domain"
)

func TestAClientSecretHasOneCharacterAsOftenAsAnother(t *testing.T) {
	seen := map[rune]int{}
	const n, alphabet = 5_000, 62
	random := rand.NewChaCha8([32]byte{1})
	for range n {
		secret, err := domain.NewClientSecret(random)
		if err != nil {
			t.Fatal(err)
		}
		text := secret.Reveal()
		if len(text) != 43 || !domain.IsClientSecret(text) {
			t.Fatalf("%q is no client secret of 43 characters", text)
		}
		for _, c := range text {
			seen[c]++
		}
	}
	for c, times := range seen {
		if mean := n * 43 / alphabet; times < mean*9/10 || times > mean*11/10 {
			t.Errorf("%q: %d times, want about %d", c, times, mean)
		}
	}
	if len(seen) != alphabet {
		t.Errorf("%d characters, want %d", len(seen), alphabet)
	}
}

// The bytes 248 to 255 stand for no character. Secrets are of equal length anyway.
func TestAClientSecretSkipsBytesThatWouldFavorACharacter(t *testing.T) {
	random := bytes.NewReader(append(bytes.Repeat([]byte{248, 255, 0}, 40), bytes.Repeat([]byte{61}, 64)...))
	secret, err := domain.NewClientSecret(random)
	if want := strings.Repeat("A", 40) + strings.Repeat("9", 3); err != nil || secret.Reveal() != want {
		t.Errorf("got %q, %v, want %q", secret.Reveal(), err, want)
	}
}

func TestAClientSecretIsMadeOfEnoughRandomnessOrNot(t *testing.T) {
	for name, random := range map[string]io.Reader{
		"none": bytes.NewReader(nil), "too little": bytes.NewReader(make([]byte, 63)),
		"it fails": iotest.ErrReader(errors.New("no entropy")),
	} {
		if secret, err := domain.NewClientSecret(random); err == nil || !secret.IsZero() {
			t.Errorf("%s: got %d characters and no error", name, len(secret.Reveal()))
		}
	}
}

func TestIsClientSecret(t *testing.T) {
	for text, want := range map[string]bool{
		"":                           false,
		strings.Repeat("x", 23):      false,
		strings.Repeat("x", 24):      true,
		strings.Repeat("x", 256):     true,
		strings.Repeat("x", 257):     false,
		" " + spaces(22) + "~":       true, // the first and the last character of printable ASCII
		"\x1f" + spaces(30):          false,
		spaces(30) + "\x7f":          false,
		spaces(30) + "é":             false,
		spaces(30) + "\xff":          false,
		"line\n" + spaces(30):        false,
		strings.Repeat("é", 12):      false, // 24 bytes
		"abc:def%20/+=" + spaces(20): true,
	} {
		if got := domain.IsClientSecret(text); got != want {
			t.Errorf("%q: got %t, want %t", text, got, want)
		}
	}
}

func spaces(n int) string { return strings.Repeat(" ", n) }

// Two clients, or two deployments, have no hash in common, also where one name continues another.
func TestAHashOfAClientSecretIsOfOneClientOnly(t *testing.T) {
	key, secret := domain.NewSecret("key"), domain.NewSecret("a secret of 24 characters")
	hash := domain.HashClientSecret(key, "acme", "shop", secret)
	if again := domain.HashClientSecret(key, "acme", "shop", secret); again != hash || len(hash) != 32 {
		t.Errorf("got %x and %x, want the same 32 bytes", hash, again)
	}
	for what, other := range map[string]string{
		"another key":         domain.HashClientSecret(domain.NewSecret("yek"), "acme", "shop", secret),
		"another tenant":      domain.HashClientSecret(key, "other", "shop", secret),
		"another application": domain.HashClientSecret(key, "acme", "bar", secret),
		"the names divided":   domain.HashClientSecret(key, "acmes", "hop", secret),
		"another secret":      domain.HashClientSecret(key, "acme", "shop", domain.NewSecret("a secret of 24 characterS")),
		"a part of the secret in the name": domain.HashClientSecret(key, "acme", "shopa",
			domain.NewSecret(" secret of 24 characters")),
		"an API key": domain.HashAPIKey(key, secret),
	} {
		if other == hash {
			t.Errorf("%s: the same hash", what)
		}
	}
	if strings.Contains(hash, secret.Reveal()) {
		t.Error("the hash holds the secret")
	}
}

func TestSecretWith(t *testing.T) {
	two := domain.Client{Secrets: []domain.ClientSecret{{Hash: "new"}, {Hash: "old"}}}
	imported := domain.Client{Secrets: []domain.ClientSecret{{Hash: ""}}}
	for _, c := range []struct {
		client domain.Client
		hashes []string
		want   int
	}{
		{two, []string{"new"}, 0},
		{two, []string{"old"}, 1},
		{two, []string{"none", "old"}, 1},
		{two, []string{"none"}, -1},
		{two, []string{"ol"}, -1},
		{two, []string{"OLD"}, -1},
		{two, nil, -1},
		{two, []string{""}, -1},
		{imported, []string{""}, -1}, // a record without a hash has no secret
		{domain.Client{}, []string{"new"}, -1},
	} {
		if got := c.client.SecretWith(c.hashes...); got != c.want {
			t.Errorf("%q in %v: got %d, want %d", c.hashes, c.client.Secrets, got, c.want)
		}
	}
}

func TestHashedWithIsOfAnyOfTheSecrets(t *testing.T) {
	c := domain.Client{Secrets: []domain.ClientSecret{{HashKey: 3}, {HashKey: 1}}}
	for number, want := range map[uint32]bool{0: false, 1: true, 2: false, 3: true} {
		if got := c.HashedWith(number); got != want {
			t.Errorf("key %d: got %t, want %t", number, got, want)
		}
	}
}

// A refresh ignores an audience that an application without audiences cannot have (RFC 8707, section 2); a token
// exchange, whose purpose it is, does not (RFC 8693, section 2.2.2).
func TestTheAudienceOfAnAccessToken(t *testing.T) {
	none, some := domain.Client{}, domain.Client{Audiences: []string{"orders", "https://api.example.com"}}
	for _, tt := range []struct {
		client            domain.Client
		asked             string
		audience          string
		refresh, exchange bool // whether it is accepted
	}{
		{none, "", "", true, true},
		{none, "shop", "", true, true},
		{none, "orders", "", true, false},
		{some, "", "", true, true},
		{some, "shop", "", true, true},
		{some, "orders", "orders", true, true},
		{some, "https://api.example.com", "https://api.example.com", true, true},
		{some, "https://api.example.com/", "", false, false},
		{some, "Orders", "", false, false},
	} {
		audience, ok := tt.client.Audience("shop", tt.asked)
		if ok != tt.refresh || ok && audience != tt.audience {
			t.Errorf("%v, a refresh for %q: got %q, %t", tt.client.Audiences, tt.asked, audience, ok)
		}
		audience, ok = tt.client.Target("shop", tt.asked)
		if ok != tt.exchange || ok && audience != tt.audience {
			t.Errorf("%v, a token exchange for %q: got %q, %t", tt.client.Audiences, tt.asked, audience, ok)
		}
	}
}

func TestAClientIsConfidentialIfItCanAuthenticate(t *testing.T) {
	for _, c := range []struct {
		client domain.Client
		want   bool
	}{
		{domain.Client{}, false},
		{domain.Client{Audiences: []string{"a"}, Origins: []string{"https://a.example"}}, false},
		{domain.Client{Secrets: []domain.ClientSecret{{Hash: "x"}}}, true},
		{domain.Client{Keys: `{"keys":[]}`}, true},
	} {
		if got := c.client.Confidential(); got != c.want {
			t.Errorf("%+v: got %t, want %t", c.client, got, c.want)
		}
		p, err := domain.Combine(domain.Tenant{ID: "acme"},
			domain.Application{TenantID: "acme", ID: "shop", Client: c.client})
		if err != nil || p.RequireAuthentication != c.want {
			t.Errorf("%+v: authentication is required: %t, %v, want %t", c.client, p.RequireAuthentication, err, c.want)
		}
	}
}

func TestACloneOfAClientSharesNothing(t *testing.T) {
	c := domain.Client{
		Secrets: []domain.ClientSecret{{Hash: "a"}}, Audiences: []string{"a"}, Origins: []string{"https://a.example"},
	}
	clone := c.Clone()
	if !clone.Equal(c) {
		t.Fatal("a clone differs")
	}
	clone.Secrets[0].Hash, clone.Audiences[0], clone.Origins[0] = "b", "b", "b"
	if c.Secrets[0].Hash != "a" || c.Audiences[0] != "a" || c.Origins[0] != "https://a.example" {
		t.Errorf("a change of the clone changed %+v", c)
	}
}

func TestEqualComparesEveryField(t *testing.T) {
	at := time.Date(2031, 2, 3, 4, 5, 6, 0, time.UTC)
	full := func() domain.Client {
		return domain.Client{
			Secrets: []domain.ClientSecret{{Hash: "a", HashKey: 1, CreatedAt: at}, {Hash: "b", HashKey: 1, CreatedAt: at}},
			Keys:    "{}", Audiences: []string{"a", "b"}, Origins: []string{"https://a.example"},
		}
	}
	same := full()
	same.Secrets[0].CreatedAt = at.In(time.FixedZone("", 3600))
	empty := domain.Client{Secrets: []domain.ClientSecret{}, Audiences: []string{}, Origins: []string{}}
	if !full().Equal(same) || !(domain.Client{}).Equal(empty) {
		t.Error("equal clients differ")
	}
	for name, change := range map[string]func(c *domain.Client){
		"the hash":               func(c *domain.Client) { c.Secrets[1].Hash = "c" },
		"its key":                func(c *domain.Client) { c.Secrets[1].HashKey = 2 },
		"its instant":            func(c *domain.Client) { c.Secrets[1].CreatedAt = at.Add(1) },
		"fewer secrets":          func(c *domain.Client) { c.Secrets = c.Secrets[:1] },
		"secrets in other order": func(c *domain.Client) { slices.Reverse(c.Secrets) },
		"the keys":               func(c *domain.Client) { c.Keys = "" },
		"an audience":            func(c *domain.Client) { c.Audiences[1] = "c" },
		"an origin":              func(c *domain.Client) { c.Origins = nil },
	} {
		other := full()
		change(&other)
		if full().Equal(other) || other.Equal(full()) {
			t.Errorf("%s: equal", name)
		}
	}
}

// An event of an application says when its secrets were made, and holds no hash of one, whole or in part.
func TestAnEventOfAnApplicationHoldsNoHashOfASecret(t *testing.T) {
	at := time.Date(2031, 2, 3, 4, 5, 6, 0, time.UTC)
	a := domain.Application{TenantID: "acme", ID: "shop", Name: "Shop", Client: domain.Client{
		Secrets: []domain.ClientSecret{
			{Hash: "sesame-new", HashKey: 4711, CreatedAt: at},
			{Hash: "sesame-old", HashKey: 4711, CreatedAt: at.Add(-time.Hour)},
		},
		Audiences: []string{"reports", "billing"},
	}}
	before := a
	before.Client = a.Client.Clone()
	before.Client.Secrets[0].Hash = "sesame-before"
	for name, changed := range map[string][2][]domain.Setting{
		"created": {nil, a.Fields()}, "deleted": {a.Fields(), nil}, "updated": {before.Fields(), a.Fields()},
	} {
		b, after := domain.EventObjects(changed[0], changed[1])
		for _, o := range []domain.Object{b, after} {
			if strings.Contains(string(o), "sesame") || strings.Contains(string(o), "4711") {
				t.Errorf("%s: the event holds a hash, or its key: %s", name, o)
			}
		}
	}
	_, got := domain.EventObjects(nil, a.Fields())
	want := domain.Object(`{"audiences":"reports billing",` +
		`"clientSecrets":"2031-02-03T04:05:06Z 2031-02-03T03:05:06Z","name":"Shop"}`)
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if secrets := fmt.Sprint(a.Client.Fields()); strings.Contains(secrets, "sesame") {
		t.Errorf("the fields of a client for a report hold a hash: %s", secrets)
	}
}

func TestValuesOfAClient(t *testing.T) {
	entries := func(n int, format string) (all []string) {
		for i := range n {
			all = append(all, fmt.Sprintf(format, i))
		}
		return all
	}
	for _, c := range []struct {
		name   string
		client domain.Client
		codes  []string
	}{
		{"nothing", domain.Client{}, nil},
		{"two secrets", domain.Client{Secrets: make([]domain.ClientSecret, 2)}, nil},
		{"three secrets", domain.Client{Secrets: make([]domain.ClientSecret, 3)}, []string{"[tooMany]clientSecrets"}},
		{"10 audiences", domain.Client{Audiences: entries(10, "a%d")}, nil},
		{"11 audiences", domain.Client{Audiences: entries(11, "a%d")}, []string{"[tooLong]audiences"}},
		{"50 origins", domain.Client{Origins: entries(50, "https://a%d.example")}, nil},
		{"51 origins", domain.Client{Origins: entries(51, "https://a%d.example")}, []string{"[tooLong]origins"}},
		{"keys of 16 KiB", domain.Client{Keys: strings.Repeat("x", 16<<10)}, nil},
		{"longer keys", domain.Client{Keys: strings.Repeat("x", 16<<10+1)}, []string{"[tooLong]clientKeys"}},
		{"its own id", domain.Client{Audiences: []string{"a", "shop"}}, []string{"[conflict]audiences[1]"}},
		{"an audience twice", domain.Client{Audiences: []string{"a", "a"}}, []string{"[repeated]audiences[1]"}},
		{"the id in other case", domain.Client{Audiences: []string{"Shop"}}, nil},
	} {
		t.Run(c.name, func(t *testing.T) { wantCodesOf(t, c.client, c.codes...) })
	}
	for audience, ok := range map[string]bool{
		"https://api.example/v1?x=1#f": true, "urn:example:api": true, "reports": true, "!": true,
		strings.Repeat("x", 255): true, strings.Repeat("x", 256): false,
		"": false, "two words": false, "tab\t": false, "ümlaut": false, `quote"`: false, `back\slash`: false,
		"a<b": false, "a>b": false, "a&b": false, "del\x7f": false,
	} {
		var codes []string
		if !ok {
			codes = []string{"[invalid]audiences[0]"}
		}
		wantCodesOf(t, domain.Client{Audiences: []string{audience}}, codes...)
	}
	for origin, ok := range map[string]bool{
		"https://app.example": true, "http://localhost:3000": true, "https://[2001:db8::1]:8443": true,
		"capacitor://localhost": true, "https://xn--bcher-kva.example": true,
		"https://" + strings.Repeat("x", 247): true, "https://" + strings.Repeat("x", 248): false,
		"https://app.example/": false, "https://app.example/path": false, "https://app.example?x": false,
		"https://app.example#f": false, "https://user@app.example": false, "https://App.example": false,
		"HTTPS://app.example": false, "app.example": false, "//app.example": false, "https:app.example": false,
		"https://": false, "null": false, "*": false, "https://app.example:port": false, "https://a b.example": false,
	} {
		var codes []string
		if !ok {
			codes = []string{"[invalid]origins[0]"}
		}
		wantCodesOf(t, domain.Client{Origins: []string{origin}}, codes...)
	}
}

// wantCodesOf checks the problems of an application acme/shop with this client.
func wantCodesOf(t *testing.T, c domain.Client, want ...string) {
	t.Helper()
	err := domain.Application{TenantID: "acme", ID: "shop", Client: c}.Validate(domain.Tenant{ID: "acme"})
	if got := codes(t, err); !slices.Equal(got, want) {
		t.Errorf("%.300q %.300q: got %q, want %q", c.Audiences, c.Origins, got, want)
	}
}
