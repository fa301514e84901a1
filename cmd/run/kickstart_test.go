package run

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ed25519"
	crypto "crypto/rand"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/adapter/cli"
	"github.com/refreshd/refreshd/adapter/jwxsigner"
	"github.com/refreshd/refreshd/adapter/memstore"
	"github.com/refreshd/refreshd/config"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
	"github.com/refreshd/refreshd/test/support/postgres"
	"github.com/refreshd/refreshd/usecase"
	"github.com/refreshd/refreshd/usecase/admin"
)

func TestMain(m *testing.M) { os.Exit(postgres.Main(m)) }

const publicURL = "https://auth.example.com"

// command is a run of the program on a database.
type command struct{ stdout, stderr string }

// environment has the settings of a database on which commands run, each with a master key of its own.
func environment(t *testing.T, url string) []string {
	t.Helper()
	_, master, err := domain.NewMasterKey(crypto.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return []string{
		"REFRESHD_DATABASE_URL=" + url, "REFRESHD_PUBLIC_URL=" + publicURL, "REFRESHD_MASTER_KEY=" + master.Reveal(),
	}
}

// runs runs the program without a terminal.
func runs(t *testing.T, environ []string, args ...string) (command, error) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	err := Run(t.Context(), Options{Args: args, Environ: environ, Stdout: &stdout, Stderr: &stderr})
	return command{stdout.String(), stderr.String()}, err
}

// ran runs the program, which must succeed.
func ran(t *testing.T, environ []string, args ...string) command {
	t.Helper()
	got, err := runs(t, environ, args...)
	if err != nil {
		t.Fatalf("refreshd %q: %v\n%s", args, err, got.stderr)
	}
	return got
}

// fileWith returns the path of a new file with that text.
func fileWith(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kickstart.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// wantSays fails the test unless err says that.
func wantSays(t *testing.T, what string, err error, says string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), says) {
		t.Errorf("%s: error %v, want one that says %q", what, err, says)
	}
}

// newSQLite returns the URL of a database that does not exist yet.
func newSQLite(t *testing.T) string {
	t.Helper()
	return "sqlite:" + filepath.Join(t.TempDir(), "refreshd.db")
}

// serviceOn opens the database of these settings, and returns its API.
func serviceOn(t *testing.T, environ []string) http.Handler {
	t.Helper()
	p := process{stores: stores, stderr: io.Discard}
	c, err := config.Load(nil, environ, p.schemes()...)
	if err != nil {
		t.Fatal(err)
	}
	s, err := p.open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.store.Close() })
	handler, err := s.newHandler(t.Context(), c, publicURL, s.store.Ready)
	if err != nil {
		t.Fatal(err)
	}
	return handler
}

// ask sends a request with an API key to a tenant.
func ask(handler http.Handler, method, path, key, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Authorization", key)
	r.Header.Set("X-Stencil-TenantId", "acme")
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	return w
}

const oldKey = "ak_backend_backend_backend_backend"

// issuedToken issues an access token for a user of the shop.
func issuedToken(t *testing.T, handler http.Handler) (accessToken string) {
	t.Helper()
	got := ask(handler, "POST", "/jwt/issue", oldKey, `{"userId":"ana","applicationsId":"shop"}`)
	var body struct {
		Data struct{ Token string }
	}
	if err := json.Unmarshal(got.Body.Bytes(), &body); got.Code/100 != 2 || err != nil || body.Data.Token == "" {
		t.Fatalf("issue: %d %s %v", got.Code, got.Body, err)
	}
	return body.Data.Token
}

// wantVerified fails the test unless a key of the tenant's JWK Set signed the token, with EdDSA.
func wantVerified(t *testing.T, handler http.Handler, token string) {
	t.Helper()
	var set struct {
		Keys []struct{ X string }
	}
	got := ask(handler, "GET", "/t/acme/.well-known/jwks.json", "", "")
	if err := json.Unmarshal(got.Body.Bytes(), &set); err != nil {
		t.Fatalf("%s: %v", got.Body, err)
	}
	i := strings.LastIndex(token, ".")
	signature, err := base64.RawURLEncoding.DecodeString(token[i+1:])
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range set.Keys {
		x, err := base64.RawURLEncoding.DecodeString(key.X)
		if err == nil && len(x) == ed25519.PublicKeySize && ed25519.Verify(x, []byte(token[:i]), signature) {
			return
		}
	}
	t.Errorf("no key of %s signed the token", got.Body)
}

const movedFile = `tenants:
- {id: acme, jwtConfiguration: {algorithm: EdDSA}, applications: [{id: shop}]}
- {id: globex, applications: [{id: web}]}
apiKeys:
- {name: backend, key: ` + oldKey + `, tenantId: acme, permissions: {endpoints: {/jwt/issue: [POST]}}}
`

// A deployment moves to another database: who holds an API key or an access token notices nothing. The file holds
// nothing of it in clear, and does not open with another passphrase. A store with other keys does not change.
func TestAnExportWithKeysMovesADeployment(t *testing.T) {
	from := environment(t, newSQLite(t))
	ran(t, from, "apply", "-f", fileWith(t, movedFile))
	used := everyUseOfKeys(t, from)
	before := serviceOn(t, from)
	token := issuedToken(t, before)
	passphrase := fileWith(t, "correct horse battery staple\n")
	export := filepath.Join(t.TempDir(), "export.yaml")
	got := ran(t, from, "export", "--with-keys", "--passphrase-file", passphrase, "-o", export)
	if got.stdout != "" || strings.Contains(got.stderr, "environment") {
		t.Errorf("it printed %q and %q, want nothing of variables", got.stdout, got.stderr)
	}
	text, err := os.ReadFile(export)
	if err != nil {
		t.Fatal(err)
	}
	for what, secret := range secretsOf(t, from) {
		for form, s := range map[string]string{
			"in clear": secret, "in base64": base64.StdEncoding.EncodeToString([]byte(secret)),
			"in hex": fmt.Sprintf("%x", secret), "in base64, of the URL": base64.RawURLEncoding.EncodeToString([]byte(secret)),
		} {
			if strings.Contains(string(text), s) || strings.Contains(strings.ReplaceAll(string(text), "\n    ", ""), s) {
				t.Errorf("the file has the %s, %s", what, form)
			}
		}
	}

	to := environment(t, postgres.NewDatabase(t))
	ran(t, to, "migrate")
	_, err = runs(t, to, "apply", "-f", export)
	wantSays(t, "without a passphrase", err, "--passphrase-file")
	_, err = runs(t, to, "apply", "-f", export, "--passphrase-file", fileWith(t, "correct horse battery stable"))
	wantSays(t, "with another passphrase", err, "the passphrase is wrong")
	dry := ran(t, to, "apply", "-f", export, "--passphrase-file", passphrase, "--dry-run")
	if keys := keysIn(t, to); keys > 0 {
		t.Errorf("a refusal or a dry run stored %d keys", keys)
	}
	done := ran(t, to, "apply", "-f", export, "--passphrase-file", passphrase)
	if want := strings.ReplaceAll(dry.stdout, " (dry run: nothing was written)", ""); done.stdout != want ||
		!strings.Contains(want, "5 created") {
		t.Errorf("apply printed\n%s, want the dry run's\n%s", done.stdout, want)
	}
	if diff := gocmp.Diff(used, usesOfKeys(t, to)); diff != "" {
		t.Errorf("keys of the new store (-want +got):\n%s", diff)
	}
	after := serviceOn(t, to)
	issuedToken(t, after)
	wantVerified(t, before, token)
	wantVerified(t, after, token)
	if again := ran(t, to, "apply", "-f", export, "--passphrase-file", passphrase); !strings.Contains(again.stdout,
		"0 created, 0 updated, 5 unchanged") {
		t.Errorf("again: %s, want nothing to do", again.stdout)
	}
	second := filepath.Join(t.TempDir(), "second.yaml")
	ran(t, to, "export", "-o", second)
	first := ran(t, from, "export")
	if text, err := os.ReadFile(second); err != nil || string(text) != first.stdout {
		t.Errorf("%v: the export of the new store is\n%s, want\n%s", err, text, first.stdout)
	}

	other := environment(t, newSQLite(t))
	ran(t, other, "apply", "-f", fileWith(t, "tenants: [{id: other}]"))
	keys, configured := keysIn(t, other), ran(t, other, "export").stdout
	for _, args := range [][]string{{"--dry-run"}, nil} {
		args = append([]string{"apply", "-f", export, "--passphrase-file", passphrase}, args...)
		_, err := runs(t, other, args...)
		wantSays(t, "on a store with other keys", err, "the store has other keys")
	}
	if now := ran(t, other, "export").stdout; now != configured || keysIn(t, other) != keys {
		t.Errorf("the refused apply changed the store to\n%s, from\n%s", now, configured)
	}
	_, err = served(t, append(to, "REFRESHD_KICKSTART_FILE="+export)...)
	wantSays(t, "serve", err, "apply it with `refreshd apply`")
}

// everyUseOfKeys gives the store keys in each state, with each field, and the API keys a hash of the former key. It
// returns their uses.
func everyUseOfKeys(t *testing.T, environ []string) map[string]map[string]any {
	t.Helper()
	private, err := jwxsigner.New(crypto.Reader).NewKey(domain.ES256, 0)
	if err != nil {
		t.Fatal(err)
	}
	file := fileWith(t, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte(private.Reveal())})))
	ran(t, environ, "key", "import", "former", "--tenant=acme", "--name=Former server", "-f", file,
		"--known-since=2026-01-31T12:00:00Z")
	for _, id := range []string{"next", "retired", "revoked"} {
		ran(t, environ, "key", "generate", id, "--tenant=acme", "--algorithm=EdDSA", "--starts=never")
	}
	ran(t, environ, "key", "retire", "retired")
	ran(t, environ, "key", "revoke", "revoked", "--yes")
	ran(t, environ, "key", "rotate", "--kind=api")
	ran(t, environ, "key", "rotate", "--kind=token")
	return usesOfKeys(t, environ)
}

// usesOfKeys returns the keys as they are listed, by id, without what another store has of its own.
func usesOfKeys(t *testing.T, environ []string) map[string]map[string]any {
	t.Helper()
	var rows []map[string]any
	if err := json.Unmarshal([]byte(ran(t, environ, "key", "list", "-o", "json").stdout), &rows); err != nil {
		t.Fatal(err)
	}
	keys := make(map[string]map[string]any)
	for _, row := range rows {
		delete(row, "sealedBy")
		delete(row, "state") // which changes as time passes
		delete(row, "timeline")
		if row["kind"] != "check" {
			keys[row["id"].(string)] = row
		}
	}
	return keys
}

// opened returns the keys of the database.
func opened(t *testing.T, environ []string) (all []domain.OpenKey, keys []domain.APIKey) {
	t.Helper()
	p := process{stores: stores, stderr: io.Discard}
	c, err := config.Load(nil, environ, p.schemes()...)
	if err != nil {
		t.Fatal(err)
	}
	s, err := p.openReadOnly(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer s.store.Close()
	if all, err = s.keys.Copy(t.Context()); err != nil {
		t.Fatal(err)
	}
	if keys, _, err = s.store.APIKeys(t.Context(), "", domain.ID{}, 100); err != nil {
		t.Fatal(err)
	}
	return all, keys
}

func keysIn(t *testing.T, environ []string) int {
	all, _ := opened(t, environ)
	return len(all)
}

// secretsOf returns what an export must not show.
func secretsOf(t *testing.T, environ []string) map[string]string {
	all, keys := opened(t, environ)
	secrets := map[string]string{"API key": oldKey, "passphrase": "correct horse battery staple"}
	for _, key := range all {
		secrets[fmt.Sprintf("%s key %d %s", key.Kind, key.Number, key.ID)] = key.Plain.Reveal()
	}
	for _, key := range keys {
		secrets["hash of "+key.Name] = key.Hash
	}
	for _, e := range environ {
		if name, value, _ := strings.Cut(e, "="); name == "REFRESHD_MASTER_KEY" {
			secrets["master key"] = value
		}
	}
	if len(secrets) < 8 {
		t.Errorf("only %d secrets are looked for", len(secrets))
	}
	return secrets
}

// An operator edits an export and compares it before applying it: the file takes the API keys that are stored.
func TestAnExportIsComparedAndAppliedToItsStoreWithoutTheAPIKeys(t *testing.T) {
	environ := environment(t, newSQLite(t))
	_, err := runs(t, environ, "export")
	wantSays(t, "without a database", err, "there is no database")
	ran(t, environ, "apply", "-f", fileWith(t, movedFile))
	got := ran(t, environ, "export")
	want := "The file takes these keys from the environment:\n  BACKEND_KEY  the API key backend\n"
	if got.stderr != want {
		t.Errorf("stderr %q, want %q", got.stderr, want)
	}
	file := fileWith(t, got.stdout)
	_, err = runs(t, environ, "diff", "-f", file)
	wantSays(t, "without --keep-keys", err, "BACKEND_KEY, which is not set")
	same := ran(t, environ, "diff", "-f", file, "--keep-keys")
	if !strings.Contains(same.stdout, "0 created, 0 updated, 5 unchanged") {
		t.Errorf("diff: %s", same.stdout)
	}
	if again := ran(t, environ, "apply", "-f", file, "--keep-keys"); again.stdout !=
		strings.ReplaceAll(same.stdout, " (dry run: nothing was written)", "") {
		t.Errorf("apply: %s", again.stdout)
	}
	issuedToken(t, serviceOn(t, environ)) // the API key still works
	_, err = runs(t, environment(t, newSQLite(t)), "apply", "-f", file, "--keep-keys")
	wantSays(t, "on an empty store", err, "apiKeys[0].key: set the key")

	edited := fileWith(t, strings.Replace(got.stdout, "- id: globex\n", "- id: hooli\n", 1))
	differs, err := runs(t, environ, "diff", "-f", edited, "--keep-keys")
	var of *cli.Failure
	if !errors.As(err, &of) || of.Status != 1 || of.Error() != "" {
		t.Errorf("diff: error %v, want the status 1", err)
	}
	for _, line := range []string{
		"created          tenant       hooli\n", "not in the file  tenant       globex\n",
		"2 created, 0 updated, 3 unchanged, 1 not in the file (dry run: nothing was written)\n",
	} {
		if !strings.Contains(differs.stdout, line) {
			t.Errorf("diff printed\n%s, want %q in it", differs.stdout, line)
		}
	}
}

// Pruning deletes what was confirmed and nothing else, and nothing of a file that cannot be applied.
func TestPruneDeletesWhatTheFileDoesNotName(t *testing.T) {
	environ := environment(t, newSQLite(t))
	ran(t, environ, "apply", "-f", fileWith(t, movedFile))
	issuedToken(t, serviceOn(t, environ))
	before := ran(t, environ, "export").stdout
	unchanged := func(after string) {
		t.Helper()
		if now := ran(t, environ, "export").stdout; now != before {
			t.Errorf("after %s the store has\n%s, want\n%s", after, now, before)
		}
	}
	const rest = "tenants: [{id: globex, name: Globex, applications: [{id: web}]}]\n"
	file := fileWith(t, rest)
	dry := ran(t, environ, "apply", "-f", file, "--prune", "--dry-run")
	unchanged("a dry run")
	_, err := runs(t, environ, "apply", "-f", file, "--prune")
	wantSays(t, "without a terminal", err, "add --yes")
	if refused := new(cli.Failure); !errors.As(err, &refused) || refused.Status != cli.StatusUsage {
		t.Errorf("without a terminal: %v, want the status of a wrong command line", err)
	}
	unchanged("an apply without a confirmation")
	for _, tt := range []struct{ text, says string }{
		{rest + "apiKeys: [{name: a, key: short}]", "apiKeys[0].key"},
		{rest + "apiKeys: [{name: a, key: ak_0123456789012345678901234, tenantId: acme}]", "apiKeys[0].tenantId"},
		{rest + "apiKeys: [{name: a}]", "apiKeys[0].key"},
		{rest + "apiKeys: [{name: another, key: " + oldKey + "}]", "another name"},
		{"tenants: [{id: globex, issuer: 'https://x.example/t/acme'}]", "tenants[0].issuer"},
		{
			"tenants: [{id: globex, cookieDomain: a.example, applications: [{id: web, cookieHostOnly: true}]}]",
			"tenants[0]",
		},
	} {
		_, err := runs(t, environ, "apply", "-f", fileWith(t, tt.text), "--prune", "--yes")
		wantSays(t, tt.text, err, tt.says)
		unchanged("a file that is refused")
	}
	done := ran(t, environ, "apply", "-f", file, "--prune", "--yes")
	if want := strings.ReplaceAll(dry.stdout, " (dry run: nothing was written)", ""); done.stdout != want {
		t.Errorf("apply --prune printed\n%s, want the dry run's\n%s", done.stdout, want)
	}
	for _, line := range []string{
		"deleted    API key      backend\n", "deleted    tenant       acme\n           active sessions that end: 1\n",
		"0 created, 1 updated, 1 unchanged, 2 deleted\n",
	} {
		if !strings.Contains(done.stdout, line) {
			t.Errorf("it printed\n%s, want %q in it", done.stdout, line)
		}
	}
	for _, line := range []string{
		"  API key      backend\n", "active sessions that end: 1\n", "WARNING: no valid API key is left",
	} {
		if !strings.Contains(done.stderr, line) {
			t.Errorf("before, it listed\n%s, want %q in it", done.stderr, line)
		}
	}
	if got := ask(serviceOn(t, environ), "POST", "/jwt/issue", oldKey, "{}"); got.Code != http.StatusUnauthorized {
		t.Errorf("the deleted API key: %d %s", got.Code, got.Body)
	}
	if again := ran(t, environ, "apply", "-f", file, "--prune"); !strings.Contains(again.stdout, "2 unchanged\n") ||
		again.stderr != "" {
		t.Errorf("again: %s%s, want nothing to do and no question", again.stdout, again.stderr)
	}
}

// A service that starts with a file that was cut short must not delete its configuration.
func TestServeNeverPrunes(t *testing.T) {
	environ := environment(t, newSQLite(t))
	ran(t, environ, "apply", "-f", fileWith(t, movedFile))
	before := ran(t, environ, "export").stdout
	if _, err := served(t, append(environ, "REFRESHD_KICKSTART_FILE="+fileWith(t, "tenants: []"))...); err != nil {
		t.Fatal(err)
	}
	if now := ran(t, environ, "export").stdout; now != before {
		t.Errorf("the store has\n%s, want\n%s", now, before)
	}
}

// storesToExport open a new store of each kind.
func storesToExport() map[string]func(*testing.T) port.Store {
	open := func(t *testing.T, url string) port.Store {
		t.Helper()
		p := process{stores: stores, stderr: io.Discard}
		c, err := config.Load(nil, environment(t, url), p.schemes()...)
		if err != nil {
			t.Fatal(err)
		}
		store, err := p.storeOf(c).Open(t.Context(), c.Database, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { store.Close() })
		if err := store.Migrate(t.Context(), func(string) {}); err != nil {
			t.Fatal(err)
		}
		return store.Store
	}
	return map[string]func(*testing.T) port.Store{
		"memory":     func(*testing.T) port.Store { return memstore.New() },
		"SQLite":     func(t *testing.T) port.Store { return open(t, newSQLite(t)) },
		"PostgreSQL": func(t *testing.T) port.Store { return open(t, postgres.NewDatabase(t)) },
	}
}

// Any configuration: its export, applied to its store, is no change; applied to an empty store, with values for the API
// keys, it gives the same export. Pruning makes a store hold exactly a file, whatever it held before.
func TestAnExportIsTheConfiguration(t *testing.T) {
	for name, open := range storesToExport() {
		t.Run(name, func(t *testing.T) {
			one, other := newDeployment(t, open(t)), newDeployment(t, open(t))
			random := rand.New(rand.NewPCG(7, 8))
			for round := range 12 {
				want := randomKickstart(random)
				one.becomes(t, want)
				text, needed := one.export(t)
				for _, a := range one.applies(t, text, nil) {
					if a.Action != "unchanged" {
						t.Errorf("round %d: %s %s is %s, want unchanged: %v\n%s", round, a.Kind, a.Name, a.Action, a.Changes, text)
					}
				}
				other.becomes(t, admin.Kickstart{})
				if empty, _ := other.export(t); strings.Contains(empty, "name:") || strings.Contains(empty, "id:") {
					t.Fatalf("round %d: after all was pruned there is\n%s", round, empty)
				}
				values := make(map[string]string)
				for _, v := range needed {
					values[v.Name] = "ak_" + crypto.Text()
				}
				other.applies(t, text, values)
				if again, _ := other.export(t); again != text {
					t.Fatalf("round %d: the export of the other store is\n%s, want\n%s", round, again, text)
				}
				if objects := strings.Count(text, "id: ") + len(needed); objects < len(want.Tenants)+len(want.APIKeys) {
					t.Fatalf("round %d: %d objects of %d tenants and %d API keys", round, objects, len(want.Tenants),
						len(want.APIKeys))
				}
			}
		})
	}
}

type deployment struct{ *service }

func newDeployment(t *testing.T, store port.Store) deployment {
	t.Helper()
	s := &service{store: store, clock: time.Now}
	master, _, err := domain.NewMasterKey(crypto.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s.keys, err = usecase.OpenKeys(t.Context(), usecase.KeysConfig{
		Store: store, Signer: jwxsigner.New(crypto.Reader), Master: master, Clock: s.clock, Random: crypto.Reader,
	})
	if err != nil {
		t.Fatal(err)
	}
	return deployment{s}
}

// becomes makes the store hold exactly that.
func (d deployment) becomes(t *testing.T, k admin.Kickstart) {
	t.Helper()
	unnamed, err := d.pruner().Unnamed(t.Context(), k)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.pruner().Delete(t.Context(), domain.Service(), unnamed); err != nil {
		t.Fatal(err)
	}
	k.By = domain.Service()
	if _, err := d.applier().Do(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	if left, err := d.pruner().Unnamed(t.Context(), k); err != nil || len(left) > 0 {
		t.Fatalf("after a prune, %v are left, %v", left, err)
	}
}

func (d deployment) export(t *testing.T) (string, []cli.Variable) {
	t.Helper()
	e := admin.Export{Tenants: d.store, Applications: d.store, APIKeys: d.store, Keys: d.store}
	k, err := e.Do(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	text, needed, err := cli.WriteKickstart(k, "")
	if err != nil {
		t.Fatal(err)
	}
	return string(text), needed
}

// applies applies a file with the values of its variables; without them it keeps the stored API keys.
func (d deployment) applies(t *testing.T, text string, values map[string]string) []admin.Applied {
	t.Helper()
	read := cli.ReadKickstart
	if values == nil {
		read = cli.ReadKickstartWithoutKeys
	}
	document, err := read("export.yaml", []byte(text), func(name string) (string, bool) {
		value, ok := values[name]
		return value, ok
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	done, err := d.applier().Do(context.Background(), document.Kickstart)
	if err != nil {
		t.Fatalf("%v\n%s", document.Explain(err), text)
	}
	return done
}

// texts are names that a format could take for something else.
var texts = []string{
	"acme", "Acme & Co", "$", "${HOME}", "$$x", "yes", "null", "~", "1e3", "0x10", "2030-01-31", "- a", "a: b", "#a", "'",
	`"`, `\n`, "{", "[a]", "*a", "&a", "!!str a", "%", "@", "éü", "名前", "\U0001F600", "a  b", "|", ">", "REFRESHD_X",
	"back-end",
}

// idTexts are texts of ids: one of them cannot be a name.
var idTexts = append(slices.Clone(texts), "é\u2028ü")

// randomKickstart returns a valid configuration. No algorithm is one of RSA, because making its keys takes long.
func randomKickstart(random *rand.Rand) (k admin.Kickstart) {
	name := func(n int) string { return fmt.Sprintf("%s %d", idTexts[random.IntN(len(idTexts))], n) }
	for i := range random.IntN(5) {
		t := domain.Tenant{ID: fmt.Sprintf("t%d", i), Settings: randomSettings(random)}
		if random.IntN(2) == 0 {
			t.Name, t.Issuer = texts[random.IntN(len(texts))], fmt.Sprintf("https://login%d.example/$%d", i, random.IntN(3))
		}
		if t.Validate() != nil {
			t.Settings = domain.Settings{}
		}
		kt := admin.KickstartTenant{Tenant: t}
		for j := range random.IntN(4) {
			a := domain.Application{ID: name(j), Name: texts[random.IntN(len(texts))], Settings: randomSettings(random)}
			if a.Validate(t) != nil {
				a.Settings = domain.Settings{}
			}
			kt.Applications = append(kt.Applications, a)
		}
		k.Tenants = append(k.Tenants, kt)
	}
	for i := range random.IntN(6) {
		key := domain.APIKey{Name: name(i), Permissions: domain.Permissions{}}
		if random.IntN(2) == 0 && len(k.Tenants) > 0 {
			key.TenantID = k.Tenants[random.IntN(len(k.Tenants))].Tenant.ID
		}
		endpoints := domain.Endpoints()
		for _, endpoint := range slices.Sorted(maps.Keys(endpoints)) {
			if random.IntN(2) == 0 {
				methods := slices.Clone(endpoints[endpoint])
				random.Shuffle(len(methods), func(i, j int) { methods[i], methods[j] = methods[j], methods[i] })
				key.Permissions[endpoint] = methods[:1+random.IntN(len(methods))]
			}
		}
		if random.IntN(2) == 0 {
			key.ExpiresAt = time.Date(2040, 1, 1, 0, 0, 0, random.IntN(1e6)*1000, time.UTC)
		}
		k.APIKeys = append(k.APIKeys, admin.KickstartAPIKey{APIKey: key, Key: domain.NewSecret("ak_" + crypto.Text())})
	}
	slices.SortFunc(k.APIKeys, func(a, b admin.KickstartAPIKey) int { return cmp.Compare(a.APIKey.Name, b.APIKey.Name) })
	return k
}

func randomSettings(random *rand.Rand) (s domain.Settings) {
	for _, f := range s.Fields() {
		if random.IntN(3) > 0 {
			continue
		}
		switch into := f.Into.(type) {
		case **bool:
			*into = new(random.IntN(2) == 0)
		case **int64:
			*into = new(f.Low + random.Int64N(f.High-f.Low+1))
		case **domain.Algorithm:
			*into = new([]domain.Algorithm{domain.EdDSA, domain.ES256}[random.IntN(2)])
		case **string:
			*into = new([]string{"", "example.com", "shop"}[random.IntN(3)])
		default:
			word := reflect.ValueOf(f.Words[random.IntN(len(f.Words))])
			set := reflect.ValueOf(f.Into).Elem()
			set.Set(reflect.New(set.Type().Elem()))
			set.Elem().Set(word.Convert(set.Type().Elem()))
		}
	}
	return s
}

// A key that no assertion could be verified with must be found when it is written, not at the client's first request.
func TestClientKeysAreCheckedBeforeTheyAreStored(t *testing.T) {
	d := newDeployment(t, memstore.New())
	for keys, ok := range map[string]bool{
		`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`: true,
		`{"keys":[{"kty":"OKP","crv":"X25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`:  false,
		`{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}`:                                    false,
	} {
		_, err := d.applier().Do(t.Context(), admin.Kickstart{Tenants: []admin.KickstartTenant{{
			Tenant:       domain.Tenant{ID: "acme", Name: "Acme"},
			Applications: []domain.Application{{ID: "shop", Name: "Shop", Client: domain.Client{Keys: keys}}},
		}}})
		invalid := (*domain.Invalid)(nil)
		if (err == nil) != ok || err != nil && (!errors.As(err, &invalid) || !strings.Contains(err.Error(), "clientKeys")) {
			t.Errorf("%s: got %v, want ok %t", keys, err, ok)
		}
	}
}
