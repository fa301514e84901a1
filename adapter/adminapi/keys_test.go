package adminapi_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// stored returns the signing keys of a tenant; for an empty id the keys of no tenant.
func (s *service) stored(t *testing.T, tenantID string) []domain.SealedKey {
	t.Helper()
	all, err := s.store.KeysOfTenant(t.Context(), tenantID)
	if err != nil || len(all) == 0 {
		t.Fatalf("tenant %q has the keys %v, %v", tenantID, all, err)
	}
	return all
}

// keyRow is what tests read of a key.
type keyRow struct {
	ID, Kind, TenantID, Algorithm, Name, State  string
	StartsInstant, KnownInstant, RevokedInstant int64
	Timeline                                    []struct {
		Instant int64
		What    string
	}
}

func (a *answer) key(t *testing.T) (k keyRow) {
	t.Helper()
	if err := json.Unmarshal(a.Data, &k); err != nil {
		t.Fatal(err)
	}
	return k
}

func (k keyRow) moments() (all []string) {
	for _, m := range k.Timeline {
		all = append(all, m.What)
	}
	return all
}

// newPEM returns a private key in PEM, and the base64 of its content, which no output may have.
func newPEM(t *testing.T) (text, content string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	text = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	line := strings.Split(text, "\n")[1]
	for piece := range strings.FieldsFuncSeq(line, func(r rune) bool { return r == '+' || r == '/' }) {
		checks.Secrets.Add(piece) // which TestMain looks for in the log, between such characters
	}
	return text, base64.StdEncoding.EncodeToString(der)
}

func quoted(s string) string {
	text, _ := json.Marshal(s)
	return string(text)
}

// A key over HTTP: it is made as standby, starts when it is safe, signs, and is retired or revoked. Each
// change has an event by the API key.
func TestAKeyIsMadeRotatedRetiredAndRevoked(t *testing.T) {
	s := newService(t)
	s.now = s.now.Add(24 * time.Hour)
	first := s.stored(t, acme)[0].ID
	made := s.do(t, "POST", "/key/generate", `{"algorithm":"ES256","name":"Next"}`, tenant(acme)).want(t, 201)
	next := made.key(t)
	if next.State != "standby" || next.Name != "Next" || next.TenantID != acme ||
		made.Header.Get("Location") != "./"+next.ID {
		t.Errorf("made %+v at %s", next, made.Header.Get("Location"))
	}
	if diff := cmp.Diff([]string{"made", "known", "starts"}, next.moments()); diff != "" {
		t.Errorf("moments (-want +got)\n%s", diff)
	}

	// Verifiers do not know it: it cannot sign now, and the response says from when on it can.
	soon := s.do(t, "POST", "/key/rotate", `{"algorithm":"ES256","signNow":true}`, tenant(acme)).want(t, 409, "[unsafe]")
	want := s.now.Add(2*time.Hour + 2*time.Minute).UnixMilli()
	if got := soon.Errors.GeneralErrors[0].SafeInstant; got != want {
		t.Errorf("safe at %d, want %d", got, want)
	}
	s.do(t, "PATCH", "/key/"+next.ID, fmt.Sprintf(`{"startsInstant":%d}`, s.now.Add(time.Hour).UnixMilli())).
		want(t, 409, "[unsafe]")
	s.do(t, "POST", "/key/generate/forced-0", `{"algorithm":"ES256","signNow":true}`, tenant(acme)).
		want(t, 409, "[unsafe]")
	s.do(t, "POST", "/key/generate", `{"algorithm":"ES256","signNow":true}`, tenant(acme)).want(t, 409, "[unsafe]")
	text, _ := newPEM(t)
	for _, path := range []string{"/key/import", "/key/import/foreign-0"} {
		s.do(t, "POST", path, `{"tenantId":"acme","signNow":true,"privateKey":`+quoted(text)+`}`).want(t, 409, "[unsafe]")
	}
	s.do(t, "POST", "/key/retire/"+first, "").want(t, 409, "[unsafe]")
	renamed := s.do(t, "PATCH", "/key/"+next.ID, `{"name":null}`).want(t, 200).key(t)
	if renamed.Name != "" || renamed.StartsInstant != next.StartsInstant {
		t.Errorf("renamed: %+v", renamed)
	}
	s.do(t, "PATCH", "/key/"+next.ID, `{"startsInstant":null}`).want(t, 400, "[blank]startsInstant")

	rotated := s.do(t, "POST", "/key/rotate", `{"algorithm":"ES256"}`, tenant(acme)).want(t, 200).key(t)
	if rotated.ID != next.ID || rotated.StartsInstant != want {
		t.Errorf("rotated %+v, want %s at %d", rotated, next.ID, want)
	}
	s.now = s.now.Add(3 * time.Hour)
	for id, state := range map[string]string{first: "published", next.ID: "signing"} {
		if k := s.do(t, "GET", "/key/"+id, "").want(t, 200).key(t); k.State != state {
			t.Errorf("%s is %s, want %s", id, k.State, state)
		}
	}
	retired := s.do(t, "POST", "/key/retire/"+first, `{"force":true}`).want(t, 200).key(t)
	if retired.State != "retired" {
		t.Errorf("retired: %+v", retired)
	}
	revoked := s.do(t, "POST", "/key/revoke/"+next.ID, `{"newKey":true}`).want(t, 200).key(t)
	if revoked.State != "revoked" || revoked.RevokedInstant != s.now.UnixMilli() {
		t.Errorf("revoked: %+v", revoked)
	}
	text, _ = newPEM(t)
	forced := `{"tenantId":"acme","force":true,"signNow":true,"privateKey":` + quoted(text) + `}`
	s.do(t, "POST", "/key/import", forced).want(t, 201)
	s.do(t, "POST", "/key/generate/chosen-1", `{"tenantId":"globex","algorithm":"EdDSA"}`).want(t, 201)
	s.do(t, "POST", "/key/reseal", "").want(t, 200).is(t, `{"keys":0,"complete":true}`)

	page, err := s.store.Events(t.Context(), port.EventQuery{
		Kinds: []domain.EventKind{domain.KeyAdded, domain.KeyChanged, domain.KeyRetired, domain.KeyRevoked},
		Limit: 100, MaxRows: 1000, MaxBytes: 1 << 20,
	})
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[domain.EventKind]int{}
	for _, e := range page.Events {
		if e.Actor.Name == "root" && e.RequestID != "" {
			kinds[e.Kind]++
		}
	}
	if diff := cmp.Diff(map[domain.EventKind]int{
		domain.KeyAdded: 3, domain.KeyChanged: 2, domain.KeyRetired: 1, domain.KeyRevoked: 1,
	}, kinds); diff != "" {
		t.Errorf("events by the API key (-want +got)\n%s", diff)
	}
}

// A key for one tenant sees and changes the signing keys of that tenant, and nothing else.
func TestAKeyForOneTenantManagesItsSigningKeysOnly(t *testing.T) {
	s := newService(t)
	own, other := s.stored(t, acme)[0].ID, s.stored(t, globex)[0].ID
	for _, o := range [][]option{{as("acme root")}, {tenant(acme)}} {
		for _, id := range []string{other, "token-1", "api-1", "check-1", "token-9", "none"} {
			s.do(t, "GET", "/key/"+id, "", o...).want(t, 404)
			s.do(t, "PATCH", "/key/"+id, `{"name":"x"}`, o...).want(t, 404)
			s.do(t, "POST", "/key/retire/"+id, `{"force":true}`, o...).want(t, 404)
			s.do(t, "POST", "/key/revoke/"+id, `{}`, o...).want(t, 404)
		}
		for _, path := range []string{"/key/generate", "/key/generate/x", "/key/rotate"} {
			s.do(t, "POST", path, `{"kind":"token"}`, o...).want(t, 400, "[forbidden]kind")
			s.do(t, "POST", path, `{"tenantId":"globex","algorithm":"ES256"}`, o...).want(t, 400, "[forbidden]tenantId")
		}
		text, _ := newPEM(t)
		for _, path := range []string{"/key/import", "/key/import/x"} {
			s.do(t, "POST", path, `{"tenantId":"globex","privateKey":`+quoted(text)+`}`, o...).
				want(t, 400, "[forbidden]tenantId")
		}
		s.do(t, "PATCH", "/key/"+own, `{"name":"Ours"}`, o...).want(t, 200)
	}
	s.do(t, "POST", "/key/reseal", "", as("acme root")).want(t, 401)
	for _, path := range []string{"/key/generate", "/key/rotate"} {
		s.do(t, "POST", path, `{"tenantId":"nobody","algorithm":"ES256"}`).want(t, 400, "[invalid]tenantId")
	}
	for _, id := range []string{"token-1", "api-1", "check-1"} {
		if k := s.do(t, "GET", "/key/"+id, "").want(t, 200).key(t); k.ID != id || k.State != "active" {
			t.Errorf("%s is %+v", id, k)
		}
	}
	s.do(t, "POST", "/key/generate", `{"algorithm":"ES256"}`, as("reader")).want(t, 401)
}

// A size that no key of the algorithm has is an error of the request, and not of the service.
func TestTheSizeOfAKeyIsChecked(t *testing.T) {
	s := newService(t)
	for body, want := range map[string]string{
		`{"algorithm":"RS256","bits":1024}`: "[invalid]bits",
		`{"algorithm":"PS256","bits":2500}`: "[invalid]bits",
		`{"algorithm":"ES256","bits":2048}`: "[invalid]bits",
		`{"algorithm":"RS256","bits":-1}`:   "[invalid]bits",
		`{"kind":"token","bits":2048}`:      "[conflict]kind",
	} {
		s.do(t, "POST", "/key/generate", body).want(t, 400, want)
	}
	s.do(t, "POST", "/key/generate", `{"tenantId":"acme","algorithm":"PS256","bits":3072}`).want(t, 201)
}

// The time line of a key that was ended has no moment that does not come.
func TestTheTimeLineEndsWithTheKey(t *testing.T) {
	s := newService(t)
	s.now = s.now.Add(24 * time.Hour)
	for path, want := range map[string]string{"/key/retire/": "retired", "/key/revoke/": "revoked"} {
		made := s.do(t, "POST", "/key/generate", `{"algorithm":"ES256"}`, tenant(acme)).want(t, 201).key(t)
		ended := s.do(t, "POST", path+made.ID, "").want(t, 200).key(t)
		if diff := cmp.Diff([]string{"made", want}, ended.moments()); diff != "" {
			t.Errorf("%s (-want +got)\n%s", path, diff)
		}
	}
}

// A private key that is imported is in no response, no event and no error, and TestMain finds it in no log line.
func TestAnImportedKeyIsShownNowhere(t *testing.T) {
	s := newService(t)
	text, content := newPEM(t)
	hidden := func(what, got string) {
		t.Helper()
		for _, secret := range []string{content, content[40:80], text[30:80]} {
			if strings.Contains(got, secret) {
				t.Errorf("%s has the private key", what)
			}
		}
	}
	known := s.now.Add(-24 * time.Hour).UnixMilli()
	body := fmt.Sprintf(`{"tenantId":"acme","name":"Former","knownInstant":%d,"privateKey":%s}`, known, quoted(text))
	got := s.do(t, "POST", "/key/import/former-1", body).want(t, 201)
	if k := got.key(t); k.ID != "former-1" || k.Algorithm != "ES256" || k.KnownInstant != known ||
		got.Header.Get("Location") != "../former-1" {
		t.Errorf("imported %+v at %s", k, got.Header.Get("Location"))
	}
	hidden("the response", string(got.Data)+got.Message)
	later := fmt.Sprintf(`"knownInstant":%d`, s.now.Add(time.Minute).UnixMilli())
	for name, refused := range map[string]struct{ id, body, code string }{
		"the same id":   {"former-1", body, "[duplicate]id"},
		"a reserved id": {"token-7", body, "[invalid]id"},
		"the wrong one": {"x", strings.Replace(body, `"name"`, `"algorithm":"RS256","name"`, 1), "[invalid]algorithm"},
		"one that verifiers will know": {"x", strings.Replace(body, fmt.Sprintf(`"knownInstant":%d`, known), later, 1),
			"[invalid]knownInstant"},
		"a cut one":          {"x", `{"privateKey":` + quoted(text[:90]) + `}`, "[invalid]privateKey"},
		"a member of a list": {"x", `{"privateKey":[` + quoted(text) + `]}`, "[invalid]privateKey"},
	} {
		got := s.do(t, "POST", "/key/import/"+refused.id, refused.body).want(t, 400, refused.code)
		hidden(name, fmt.Sprint(got.Errors, got.Message))
	}
	s.do(t, "POST", "/key/import", `{}`).want(t, 400, "[invalid]privateKey")
	for _, path := range []string{"/key", "/key/former-1", "/audit"} {
		hidden("GET "+path, string(s.do(t, "GET", path, "").want(t, 200).Data))
	}
}

// A policy whose algorithm has no key that verifiers know is signed with another one: the objects say so, and from when
// on. They can be sent back unchanged.
func TestATenantSaysWhichAlgorithmSigns(t *testing.T) {
	s := newService(t)
	s.now = s.now.Add(24 * time.Hour)
	got := s.do(t, "PATCH", "/application/shop", `{"jwtConfiguration":{"algorithm":"RS256"}}`, tenant(acme)).want(t, 200)
	var members struct {
		EffectiveAlgorithm     string
		AlgorithmStartsInstant int64
	}
	for _, a := range []*answer{got, s.do(t, "GET", "/application/shop", "", tenant(acme)).want(t, 200)} {
		if err := json.Unmarshal(a.Data, &members); err != nil {
			t.Fatal(err)
		}
		if members.EffectiveAlgorithm != "ES256" ||
			members.AlgorithmStartsInstant != s.now.Add(2*time.Hour+2*time.Minute).UnixMilli() {
			t.Errorf("the application says %+v", members)
		}
	}
	s.do(t, "PUT", "/application/shop", string(got.Data), tenant(acme), ifMatch(got.tag())).want(t, 200)
	s.now = s.now.Add(3 * time.Hour)
	after := s.do(t, "GET", "/application/shop", "", tenant(acme)).want(t, 200)
	if strings.Contains(string(after.Data), "effectiveAlgorithm") {
		t.Errorf("the wanted algorithm signs: %s", after.Data)
	}
	tenantNow := s.do(t, "PATCH", "/tenant/acme", `{"jwtConfiguration":{"algorithm":"EdDSA"}}`).want(t, 200)
	if err := json.Unmarshal(tenantNow.Data, &members); err != nil || members.EffectiveAlgorithm == "" {
		t.Errorf("the tenant says %s, %v", tenantNow.Data, err)
	}
}
