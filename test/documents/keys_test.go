package documents

import (
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/refreshd/refreshd/test/support/rig"
)

// newAgedSQLite is a store of SQLite with the kickstart file that was made five days ago: its verifiers know its keys.
func newAgedSQLite(t *testing.T) world {
	t.Helper()
	p, err := build()
	if err != nil {
		t.Fatal(err)
	}
	w := world{p, "sqlite:" + filepath.Join(t.TempDir(), "refreshd.db")}
	if _, err := w.Run(t.Context(), w.settings(), "migrate"); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(writeFiles(t, map[string]string{"kickstart.yaml": kickstart}), "kickstart.yaml")
	if _, err := w.Run(t.Context(), w.settings(), "apply", "-f", file); err != nil {
		t.Fatal(err)
	}
	w.age(t, 5*24*time.Hour)
	return w
}

// age has all keys been made and started earlier by d. No process has the store open.
func (w world) age(t *testing.T, d time.Duration) {
	t.Helper()
	db, err := sql.Open("sqlite", strings.TrimPrefix(w.database, "sqlite:"))
	if err == nil {
		_, err = db.ExecContext(t.Context(), "UPDATE keys SET created_at = created_at - ?1, "+
			"starts_at = CASE WHEN starts_at = 0 OR starts_at > 4e15 THEN starts_at ELSE starts_at - ?1 END", d.Microseconds())
		err = errors.Join(err, db.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// addStandby makes the standby of the tenant's key, as the service does a minute after its start, a day ago.
func (w world) addStandby(t *testing.T) {
	t.Helper()
	_, err := w.Run(t.Context(), w.settings(), "key", "generate", "--tenant", "acme", "--algorithm", "ES256")
	if err != nil {
		t.Fatal(err)
	}
	w.age(t, 24*time.Hour)
}

// reopen starts a replica on the store, without a kickstart file.
func (w world) reopen(t *testing.T, env ...string) *rig.Service {
	t.Helper()
	settings := w.settings(env...)
	settings.Kickstart = ""
	return w.start(t, settings)
}

// without stops the service, calls change, and starts the service again.
func (w world) without(t *testing.T, s *rig.Service, change func()) *rig.Service {
	t.Helper()
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	change()
	return w.reopen(t)
}

// tokenHeader is that of an access token.
type tokenHeader struct{ Kid, Alg string }

func headerOf(t *testing.T, g grant) (h tokenHeader) {
	t.Helper()
	text, err := base64.RawURLEncoding.DecodeString(strings.SplitN(g.Token, ".", 2)[0])
	if err == nil {
		err = json.Unmarshal(text, &h)
	}
	if err != nil {
		t.Fatalf("%v: %q", err, g.Token)
	}
	return h
}

// published are the ids of the keys in the key set of the tenant.
func published(t *testing.T, s *rig.Service) (kids []string) {
	t.Helper()
	r := do(t, s, http.MethodGet, "/t/acme/.well-known/jwks.json", "", nil)
	var set struct{ Keys []tokenHeader }
	if err := json.Unmarshal(r.Body, &set); err != nil || r.Status != http.StatusOK {
		t.Fatal(err, r)
	}
	for _, k := range set.Keys {
		kids = append(kids, k.Kid)
	}
	return kids
}

// isValid reports whether the service accepts the access token of its own user.
func isValid(t *testing.T, s *rig.Service, g grant) bool {
	t.Helper()
	switch r := do(t, s, http.MethodGet, "/jwt/refresh/"+g.RefreshTokenID, "Bearer "+g.Token, nil); r.Status {
	case http.StatusOK:
		return true
	case http.StatusUnauthorized:
		return false
	default:
		t.Fatal(r)
		return false
	}
}

// until calls is until it reports true. A start that is to be now is seconds ahead.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); !is(); {
		if time.Now().After(deadline) {
			t.Fatalf("after three minutes: not %s", what)
		}
		time.Sleep(200 * time.Millisecond) // between two looks; the test waits for the state, and not for this time
	}
}

// keyed is a key as `refreshd key list` has it.
type keyed struct{ ID, Kind, State, Algorithm string }

func (s shell) keys(t *testing.T) (keys map[string]keyed) {
	t.Helper()
	var list []keyed
	text := s.paste(t, "refreshd key list --limit 0 --output json")
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	keys = make(map[string]keyed)
	for _, k := range list {
		keys[k.ID] = k
	}
	return keys
}

func TestTheRecipeToRotateLeavesEverythingValid(t *testing.T) {
	blocks := recipe(t, "Rotate a key", 1)
	w := newAgedSQLite(t)
	w.addStandby(t)
	s := w.reopen(t)
	g := issue(t, s, "u-1", "")
	former, sh := headerOf(t, g).Kid, w.shell(t, nil)
	wants(t, sh.paste(t, blocks[0]), former, "startsInstant", "token-2", "api-2")

	later := g
	until(t, "signed by another key", func() bool {
		later = exchanged(t, s, later.RefreshToken)
		return headerOf(t, later).Kid != former
	})
	if kids := published(t, s); !slices.Contains(kids, former) || !slices.Contains(kids, headerOf(t, later).Kid) {
		t.Errorf("the key set has %q, want the former key and the new one", kids)
	}
	for what, g := range map[string]grant{"former": g, "new": later} {
		if !isValid(t, s, g) {
			t.Errorf("the access token of the %s key was refused", what)
		}
	}
	until(t, "hashing with the new key", func() bool { return sh.keys(t)["api-2"].State == "active" })
	issue(t, s, "u-2", "") // by the API key that was made under the former hash key
	for id, want := range map[string]string{former: "published", headerOf(t, later).Kid: "signing", "token-1": "active"} {
		if got := sh.keys(t)[id].State; got != want {
			t.Errorf("%s is %q, want %q", id, got, want)
		}
	}
}

func TestTheRecipeToChangeTheAlgorithmWaitsForVerifiers(t *testing.T) {
	blocks := recipe(t, "Change the algorithm", 1)
	w := newAgedSQLite(t)
	s := w.reopen(t)
	before := issue(t, s, "u-1", "")
	sh := w.shell(t, nil)
	wants(t, sh.paste(t, blocks[0]), "effectiveAlgorithm\tES256", "algorithmStartsInstant", "standby")
	until(t, "published with the keys of both algorithms", func() bool { return len(published(t, s)) == 2 })
	g := exchanged(t, s, before.RefreshToken)
	if alg := headerOf(t, g).Alg; alg != "ES256" {
		t.Errorf("signed with %s before verifiers know the key, want ES256", alg)
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	w.age(t, 3*time.Hour)
	wants(t, sh.paste(t, "refreshd tenant show acme"), "jwtConfiguration.algorithm\tRS256")
	if output := sh.paste(t, "refreshd tenant show acme"); strings.Contains(output, "effectiveAlgorithm") {
		t.Errorf("three hours later another algorithm still signs:\n%s", output)
	}
	later := w.reopen(t)
	if alg := headerOf(t, exchanged(t, later, g.RefreshToken)).Alg; alg != "RS256" {
		t.Errorf("three hours later signed with %s, want RS256", alg)
	}
	if !isValid(t, later, before) {
		t.Error("the access token of the former algorithm was refused")
	}
}

func TestTheRecipeToImportAKeySignsWithIt(t *testing.T) {
	blocks := recipe(t, "Import a key", 1)
	w := newAgedSQLite(t)
	s := w.reopen(t)
	g := issue(t, s, "u-1", "")
	sh := w.shell(t, nil)
	sh.paste(t, "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out former.pem")
	wants(t, sh.paste(t, blocks[0]), "former-1", "Of the former server", "standby")
	until(t, "published", func() bool { return slices.Contains(published(t, s), "former-1") })
	until(t, "signed by the imported key", func() bool {
		g = exchanged(t, s, g.RefreshToken)
		return headerOf(t, g).Kid == "former-1"
	})
	if !isValid(t, s, g) {
		t.Error("what the imported key signed was refused")
	}
}

func TestTheRecipeToRetireAKeyEndsItWhenItIsSafe(t *testing.T) {
	blocks := recipe(t, "Retire a key", 1)
	w := newAgedSQLite(t)
	s := w.reopen(t)
	g := issue(t, s, "u-1", "")
	former, sh := headerOf(t, g).Kid, w.shell(t, nil)
	signs := sh.paste(t, "refreshd key retire "+former+" || true")
	wants(t, signs, "rotate first", "Nothing was done")
	s = w.without(t, s, func() {
		w.addStandby(t)
		sh.paste(t, "refreshd key rotate --tenant acme --algorithm ES256")
		w.age(t, time.Hour) // the standby has signed for an hour
	})
	wants(t, sh.paste(t, "refreshd key retire "+former+" || true"), "not safe before")
	if !isValid(t, s, g) {
		t.Error("a refusal to retire a key ended it")
	}
	s = w.without(t, s, func() { w.age(t, 48*time.Hour) })
	wants(t, sh.paste(t, blocks[0], "former-1", former), "timeline.retirable", "retired")
	until(t, "published without the retired key", func() bool { return !slices.Contains(published(t, s), former) })
	if g = exchanged(t, s, g.RefreshToken); !isValid(t, s, g) {
		t.Error("the access token of the new key was refused")
	}
}

func TestTheRecipeToChangeTheMasterKeyLeavesTheOldOneUseless(t *testing.T) {
	blocks := recipe(t, "Change the master key", 2)
	w := newAgedSQLite(t)
	s := w.reopen(t)
	g := issue(t, s, "u-1", "")
	sh := w.shell(t, nil)
	sh.paste(t, blocks[0])
	text, err := os.ReadFile(filepath.Join(sh.dir, "master-key.new"))
	if err != nil {
		t.Fatal(err)
	}
	master := "REFRESHD_MASTER_KEY=" + strings.TrimSpace(string(text))
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	s = w.reopen(t, master, "REFRESHD_MASTER_KEY_PREVIOUS="+rig.MasterKey)
	wants(t, sh.paste(t, blocks[1]), "the master key is in force", " 4 ") // keys, sealed by one master key
	g = exchanged(t, s, g.RefreshToken)
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	s = w.reopen(t, master)
	exchanged(t, s, g.RefreshToken)
	issue(t, s, "u-2", "")
	wants(t, sh.paste(t, "refreshd key list || true"), "the master key does not open the keys in the store")
}

func TestTheRecipeForALeakedSigningKeyEndsWhatItSigned(t *testing.T) {
	blocks := recipe(t, "Act on a leaked signing key", 1)
	w := newAgedSQLite(t)
	w.addStandby(t)
	s := w.reopen(t)
	g := issue(t, s, "u-1", "")
	leaked, sh := headerOf(t, g).Kid, w.shell(t, nil)
	if !isValid(t, s, g) {
		t.Fatal("a new access token was refused")
	}
	wants(t, sh.paste(t, blocks[0], "former-1", leaked), "(dry run: nothing was written)", "key.revoked", "standby",
		"revoked")
	kids := published(t, s)
	if slices.Contains(kids, leaked) {
		t.Errorf("the key set has the leaked key: %q", kids)
	}
	if isValid(t, s, g) {
		t.Error("an access token of the leaked key was accepted")
	}
	g = exchanged(t, s, g.RefreshToken)
	if kid := headerOf(t, g).Kid; !slices.Contains(kids, kid) || len(kids) != 1 {
		t.Errorf("signed by %q, want the standby of %q", kid, kids)
	}
	if !isValid(t, s, g) {
		t.Error("the access token of the standby was refused")
	}
}

func TestTheRecipeForALeakedMasterKeyReplacesEveryKey(t *testing.T) {
	blocks := recipe(t, "Act on a leaked master key", 1)
	w := newAgedSQLite(t)
	w.addStandby(t)
	s := w.reopen(t)
	g := issue(t, s, "u-1", "")
	sh := w.shell(t, nil)
	before := sh.keys(t)
	wants(t, sh.paste(t, blocks[0]), "token-2", "api-2")

	for id, k := range sh.keys(t) {
		if _, leaked := before[id]; leaked && k.State != "revoked" && k.Kind != "check" && k.Kind != "api" {
			t.Errorf("the leaked key %s is %s", id, k.State)
		}
	}
	for _, kid := range published(t, s) {
		if _, leaked := before[kid]; leaked {
			t.Errorf("the key set has the leaked key %s", kid)
		}
	}
	if isValid(t, s, g) {
		t.Error("an access token of a leaked key was accepted")
	}
	if r := exchange(t, s, g.RefreshToken); r.Status == http.StatusOK || !strings.Contains(string(r.Body), "[invalid]") {
		t.Errorf("a token string of a leaked key: got %s, want [invalid]", r)
	}
	wants(t, sh.paste(t, "refreshd token list --tenant acme --state all"), "ended")
	wants(t, sh.paste(t, "refreshd audit --from 1h --kind tokens.revoked -o json"), "keyRevoked", g.RefreshTokenID)

	until(t, "retiring the former hash key", func() bool {
		if again := issue(t, s, "u-1", ""); !isValid(t, s, exchanged(t, s, again.RefreshToken)) {
			t.Fatal("the access token of a new login was refused")
		}
		output := sh.paste(t, "refreshd key retire api-1 || true")
		if !strings.Contains(output, "retiredInstant") {
			wants(t, output, "not safe", "backend")
		}
		return strings.Contains(output, "retiredInstant")
	})
	issue(t, s, "u-1", "")
}
