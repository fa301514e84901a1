package cli_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/adapter/cli"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/usecase/admin"
)

// The name of a variable is valid for a shell, belongs to one API key, and is no setting of refreshd.
func TestAnExportNamesAVariableForEachAPIKey(t *testing.T) {
	var k admin.Kickstart
	for _, name := range []string{"backend", "back end", "back-end", "42", "refreshd-admin", "ключ", "back end key 2"} {
		k.APIKeys = append(k.APIKeys, admin.KickstartAPIKey{APIKey: domain.APIKey{Name: name, Hash: "hash of " + name}})
	}
	text, needed, err := cli.WriteKickstart(k, "")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]cli.Variable{
		{Name: "BACKEND_KEY", Key: "the API key backend"}, {Name: "BACK_END_KEY", Key: "the API key back end"},
		{Name: "BACK_END_KEY_2", Key: "the API key back-end"}, {Name: "API_42_KEY", Key: "the API key 42"},
		{Name: "API_REFRESHD_ADMIN_KEY", Key: "the API key refreshd-admin"}, {Name: "API_KEY", Key: "the API key ключ"},
		{Name: "BACK_END_KEY_2_KEY", Key: "the API key back end key 2"},
	}, needed); diff != "" {
		t.Errorf("variables (-want +got):\n%s", diff)
	}
	if strings.Contains(string(text), "hash of") {
		t.Errorf("the file has hashes:\n%s", text)
	}
	env := make(map[string]string)
	for _, v := range needed {
		env[v.Name] = "ak_0123456789012345678901234_" + v.Name
	}
	d, err := cli.ReadKickstart(file, text, variables(env))
	if err != nil {
		t.Fatal(err)
	}
	for i, ka := range d.Kickstart.APIKeys {
		if want := env[needed[i].Name]; ka.Key.Reveal() != want || ka.APIKey.Name != k.APIKeys[i].APIKey.Name {
			t.Errorf("%q has the key %q, want %q", ka.APIKey.Name, ka.Key.Reveal(), want)
		}
	}
}

// Only the variable of a key may be missing, and only if the reader asks for that.
func TestOnlyAKeyMayBeLeftToTheStore(t *testing.T) {
	const text = "apiKeys: [{name: 'a', key: '${A_KEY}'}]"
	if _, err := cli.ReadKickstart(file, []byte(text), variables(nil)); err == nil {
		t.Error("a variable that is not set was accepted")
	}
	d, err := cli.ReadKickstartWithoutKeys(file, []byte(text), variables(nil))
	if err != nil || !d.Kickstart.APIKeys[0].Key.IsZero() {
		t.Errorf("%+v, %v; want no key", d.Kickstart.APIKeys, err)
	}
	const key = "ak_01234567890123456789012345"
	d, err = cli.ReadKickstartWithoutKeys(file, []byte(text), variables(map[string]string{"A_KEY": key}))
	if err != nil || d.Kickstart.APIKeys[0].Key.Reveal() != key {
		t.Errorf("%+v, %v; want the key of the environment", d.Kickstart.APIKeys, err)
	}
	for name, text := range map[string]string{
		"set and empty":       "apiKeys: [{name: a, key: '${EMPTY}'}]",
		"a part of the key":   "apiKeys: [{name: a, key: 'ak_${A_KEY}'}]",
		"another field":       "apiKeys: [{name: a, tenantId: '${TENANT}'}]",
		"a name":              "apiKeys: [{name: '${NAME}'}]",
		"a field of a policy": "tenants: [{id: a, jwtConfiguration: {algorithm: '${KEY}'}}]",
	} {
		env := variables(map[string]string{"EMPTY": ""})
		if _, err := cli.ReadKickstartWithoutKeys(file, []byte(text), env); err == nil {
			t.Errorf("%s: was accepted", name)
		}
	}
}

// Writing a backup that fails must not destroy the one before.
func TestAFileIsReplacedWhenItsSuccessorIsComplete(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.yaml")
	for _, text := range []string{"first", "second"} {
		if err := cli.WriteFile(path, []byte(text)); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		info, statErr := os.Stat(path)
		if err != nil || statErr != nil || string(got) != text || info.Mode().Perm() != 0o600 {
			t.Errorf("%q, %v, %v, want %q for its owner only", got, info, errors.Join(err, statErr), text)
		}
	}
	if found, err := os.ReadDir(dir); err != nil || len(found) != 1 {
		t.Errorf("it left %v, %v", found, err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if err := cli.WriteFile(link, []byte("third")); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "third" {
		t.Errorf("through a link: %q, %v", got, err)
	}
}

func TestAPassphraseFromAFile(t *testing.T) {
	dir := t.TempDir()
	write := func(text string) string {
		path := filepath.Join(dir, "passphrase")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	terminal := cli.Terminal{Out: &bytes.Buffer{}}
	for text, want := range map[string]string{
		"correct horse\n": "correct horse", "correct horse\r\n": "correct horse", " correct horse\n\n": " correct horse\n",
		"": "", "\n": "", "short\n": "",
	} {
		got, err := terminal.NewPassphrase(t.Context(), write(text))
		if want == "" && err == nil || want != "" && (err != nil || got.Reveal() != want) {
			t.Errorf("%q: got %q, %v, want %q", text, got.Reveal(), err, want)
		}
	}
	if got, err := terminal.Passphrase(t.Context(), write("short\n")); err != nil || got.Reveal() != "short" {
		t.Errorf("to open a file: %q, %v; want any passphrase", got.Reveal(), err)
	}
	if _, err := terminal.Passphrase(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "--passphrase-file") {
		t.Errorf("without a terminal: error %v, want one that names the flag", err)
	}
}

// diff in a script distinguishes a difference from a failure.
func TestTheStatusOfADiff(t *testing.T) {
	for _, tt := range []struct {
		args   []string
		status int
		says   string
	}{
		{[]string{"diff", "-f", "same.yaml"}, 0, ""},
		{[]string{"diff", "-f", "other.yaml"}, 1, ""},
		{[]string{"diff"}, 2, "name the kickstart file"},
		{[]string{"diff", "-f", "same.yaml", "--log-level=x"}, 2, "--log-level"},
	} {
		got := run(t, nil, tt.args...)
		var of *cli.Failure
		if status := 0; errors.As(got.err, &of) && of.Status != tt.status || (got.err == nil) != (tt.status == status) {
			t.Errorf("%q: %v, want status %d", tt.args, got.err, tt.status)
		}
		if got.err != nil && !strings.Contains(got.err.Error(), tt.says) || tt.status == 1 && got.err.Error() != "" {
			t.Errorf("%q: error %q, want %q", tt.args, got.err, tt.says)
		}
	}
}

// A sealed export needs no variables: it has the hashes of the API keys, of the previous ones too. An API key that is
// given takes precedence over its hash.
func TestASealedExportHasTheHashesOfTheAPIKeys(t *testing.T) {
	k := admin.Kickstart{APIKeys: []admin.KickstartAPIKey{
		{APIKey: domain.APIKey{Name: "backend", Hash: "the hash", PreviousHash: "the one before"}},
		{APIKey: domain.APIKey{Name: "other", Hash: "another hash"}},
	}}
	passphrase := domain.NewSecret("correct horse battery staple")
	keys := []domain.OpenKey{{
		SealedKey: domain.SealedKey{Kind: domain.KeyAPI, Number: 1}, Plain: domain.NewSecret("the key"),
	}}
	sealed, err := cli.Seal(k, keys, passphrase, rand.NewChaCha8([32]byte{2}))
	if err != nil {
		t.Fatal(err)
	}
	text, needed, err := cli.WriteKickstart(k, sealed)
	if err != nil || len(needed) > 0 || strings.Contains(string(text), "hash") {
		t.Errorf("it needs %v, %v, in\n%s", needed, err, text)
	}
	const given = "ak_01234567890123456789012345"
	text = bytes.Replace(text, []byte("name: other"), []byte("name: other\n    key: "+given), 1)
	d, err := cli.ReadKickstart(file, text, variables(nil))
	if err != nil || !d.IsSealed() {
		t.Fatalf("sealed: %t, %v in\n%s", d.IsSealed(), err, text)
	}
	d, err = d.Unseal(passphrase)
	if err != nil {
		t.Fatal(err)
	}
	backend, other := d.Kickstart.APIKeys[0], d.Kickstart.APIKeys[1]
	if backend.APIKey.Hash != "the hash" || backend.APIKey.PreviousHash != "the one before" || !backend.Key.IsZero() {
		t.Errorf("backend is %+v, want its two hashes", backend)
	}
	if other.APIKey.Hash != "" || other.Key.Reveal() != given {
		t.Errorf("the other is %+v, want the key of the file", other)
	}
	if len(d.Keys) != 1 || d.Keys[0].Plain.Reveal() != "the key" {
		t.Errorf("the keys are %v", d.Keys)
	}
}

// An export of a service needs no database, reads again a tenant that changed between its lists, and refuses what only
// the store can give.
func TestAnExportOfAService(t *testing.T) {
	version := 0
	f := &fake{respond: func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Request-Id", "r")
		switch r.URL.Path {
		case "/tenant":
			sends(w, 200, `[{"id":"acme","name":"Acme"}]`)
		case "/tenant/acme":
			version = min(version+1, 3)
			w.Header().Set("ETag", fmt.Sprintf("%q", strconv.Itoa(version)))
			sends(w, 200, fmt.Sprintf(`{"id":"acme","name":"Acme %d","effectiveAlgorithm":"ES256"}`, version))
		case "/application":
			if r.Header.Get("X-Stencil-TenantId") != "acme" {
				t.Errorf("the applications of the tenant %q were read", r.Header.Get("X-Stencil-TenantId"))
			}
			sends(w, 200, fmt.Sprintf(`[{"id":"of-%d","effectiveAlgorithm":"ES256","algorithmStartsInstant":1}]`, version))
		case "/api-key":
			sends(w, 200, `[{"id":"1","name":"backend","tenantId":"acme","hasPreviousKey":true},
				{"id":"2","name":"gone","tenantId":"created-meanwhile","hasPreviousKey":false}]`)
		case "/key":
			sends(w, 200, `[{"id":"made-here","kind":"signing","tenantId":"acme","algorithm":"ES256"},
				{"id":"theirs","kind":"signing","tenantId":"acme","algorithm":"ES256","knownInstant":1796000000000},
				{"id":"ended","kind":"signing","tenantId":"acme","algorithm":"ES256","knownInstant":1796000000000,
				"revokedInstant":1796000000001}]`)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}}
	got := administer(t, f, "", "export")
	want := `# A kickstart file: refreshd apply -f FILE, refreshd help kickstart
tenants:
  - id: acme
    name: Acme 3
    applications:
      - id: of-3
apiKeys:
  - name: backend
    key: ${BACKEND_KEY}
    tenantId: acme
keys:
  - id: theirs
    tenantId: acme
    algorithm: ES256
    privateKey: ${THEIRS_KEY}
    knownSince: 2026-11-30T00:53:20Z
`
	if diff := cmp.Diff(want, got.stdout); diff != "" || got.err != nil || got.opened ||
		!strings.Contains(got.stderr, "BACKEND_KEY  the API key backend") {
		t.Errorf("%+v (-want +got):\n%s", got, diff)
	}
	f.requests = nil
	if got := administer(t, f, "", "export", "--with-keys"); got.status != cli.StatusUsage || len(f.requests) > 0 ||
		!strings.HasPrefix(got.err.Error(), "--with-keys is for the database") {
		t.Errorf("with keys: %+v, sent %q", got, f.requests)
	}
	refused := &fake{respond: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }}
	if got := administer(t, refused, "", "export"); got.status != cli.StatusRefused || got.stdout != "" ||
		!strings.HasPrefix(got.err.Error(), "the API key was refused") {
		t.Errorf("refused: %+v", got)
	}
}
