package run

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/refreshd/refreshd/adapter/cli"
	"github.com/refreshd/refreshd/adapter/memstore"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/test/storagetest"
)

// served starts the service with environ, stops it once it listens, and returns what it printed.
func served(t *testing.T, environ ...string) (printed string, err error) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var stdout bytes.Buffer
	log := &stopAt{text: `"msg":"listening"`, stop: stop}
	o := Options{Stdout: &stdout, Stderr: log, Environ: append([]string{
		"REFRESHD_LISTEN=127.0.0.1:0", "REFRESHD_ADMIN_LISTEN=", "REFRESHD_LOG_FORMAT=json",
	}, environ...)}
	o.Args = []string{"serve"}
	err = Run(ctx, o)
	return stdout.String(), err
}

// A first run that was interrupted is repeated. A store that an operator filled with objects like those of a first run
// gets no first run: it would get a key that the operator did not ask for.
func TestAStoreThatWasFilledOtherwiseGetsNoKeyOfItsOwn(t *testing.T) {
	dir := t.TempDir()
	database, kickstart := "REFRESHD_DATABASE_URL=sqlite:"+filepath.Join(dir, "refreshd.db"), filepath.Join(t.TempDir(),
		"kickstart.yaml")
	if err := os.WriteFile(kickstart, []byte(`tenants: [{id: default, name: Default, applications: [{id: web, name: Web}]}]
apiKeys: [{name: backend, key: ak_backend_backend_backend_backend, permissions: {endpoints: {/jwt/refresh: [POST]}}}]
`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := served(t, database, "REFRESHD_KICKSTART_FILE="+kickstart); err != nil {
		t.Fatal(err)
	}
	printed, err := served(t, database)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(printed, "first-api-key") || strings.Contains(printed, "demo") {
		t.Errorf("the second start printed %s", printed)
	}
	if _, err := os.Lstat(filepath.Join(dir, firstKeyName)); !os.IsNotExist(err) {
		t.Errorf("%s: %v, want none", firstKeyName, err)
	}
}

// An operator who creates the master key first, where the database is going to be, has lost no database.
func TestAnOperatorsOwnMasterKeyIsNoTraceOfALostDatabase(t *testing.T) {
	dir := t.TempDir()
	key := filepath.Join(dir, masterKeyName)
	if err := os.WriteFile(key, []byte(base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32))+"\n"),
		0o600); err != nil {
		t.Fatal(err)
	}
	database := "REFRESHD_DATABASE_URL=sqlite:" + filepath.Join(dir, "refreshd.db")
	if _, err := served(t, database); err == nil || !strings.Contains(err.Error(), "a database was here before") {
		t.Errorf("with a key that only lies there: error %v, want a refusal", err)
	}
	if _, err := served(t, database, "REFRESHD_MASTER_KEY_FILE="+key); err != nil {
		t.Errorf("with a key that is named: %v", err)
	}
}

// A first run was interrupted before its key was stored, and an operator then filled the store: the first run is not
// finished, and the key in its file is not valid.
func TestAFirstRunThatWasBegunIsDroppedWhenTheStoreWasFilledSince(t *testing.T) {
	dir := t.TempDir()
	database := "REFRESHD_DATABASE_URL=sqlite:" + filepath.Join(dir, "refreshd.db")
	kickstart := filepath.Join(t.TempDir(), "kickstart.yaml")
	if err := os.WriteFile(kickstart, []byte("tenants: [{id: acme, name: Acme}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := served(t, database, "REFRESHD_KICKSTART_FILE="+kickstart); err != nil {
		t.Fatal(err)
	}
	begun := filepath.Join(dir, "refreshd.db."+firstKeyName)
	if err := os.WriteFile(begun, []byte("ak_begun_begun_begun_begun_begun\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	printed, err := served(t, database)
	if err != nil || printed != "" {
		t.Errorf("printed %q, %v, want nothing", printed, err)
	}
	if found, err := filepath.Glob(filepath.Join(dir, "*"+firstKeyName+"*")); err != nil || len(found) > 0 {
		t.Errorf("key files %q, %v, want none", found, err)
	}
}

// If the key is stored, the first run writes only its file: the tenant may have been changed since, and must not be set
// back.
func TestAFirstRunWhoseKeyIsStoredGetsItsFileAndNothingElse(t *testing.T) {
	dir := t.TempDir()
	database := "REFRESHD_DATABASE_URL=sqlite:" + filepath.Join(dir, "refreshd.db")
	if _, err := served(t, database); err != nil {
		t.Fatal(err)
	}
	file, begun := filepath.Join(dir, firstKeyName), filepath.Join(dir, "refreshd.db."+firstKeyName)
	if err := os.Rename(file, begun); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(begun)
	if err != nil {
		t.Fatal(err)
	}
	kickstart := filepath.Join(t.TempDir(), "kickstart.yaml")
	const changed = "tenants: [{id: default, name: Changed}]\n"
	if err := os.WriteFile(kickstart, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := served(t, database, "REFRESHD_KICKSTART_FILE="+kickstart); err != nil {
		t.Fatal(err)
	}
	printed, err := served(t, database)
	if err != nil || !strings.Contains(printed, file) {
		t.Errorf("printed %q, %v, want the file of the key", printed, err)
	}
	if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the file holds another key, or none: %v", err)
	}
	if _, err := os.Lstat(begun); !os.IsNotExist(err) {
		t.Errorf("%s: %v, want none", begun, err)
	}
	again, err := served(t, database, "REFRESHD_KICKSTART_FILE="+kickstart)
	if err != nil || !strings.Contains(again, "1 unchanged") {
		t.Errorf("the tenant was set back: %q, %v", again, err)
	}
}

// The documents are public: they name the tenant of a first start. They name no tenant if there are several, because
// tenants must not learn of each other.
func TestTheDocumentsNameTheOnlyTenant(t *testing.T) {
	ctx := t.Context()
	k, _, err := cli.FirstRun(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	first := k.Tenants[0]
	s := &service{store: memstore.New()}
	check := func(what, wantTenant, wantApplication string) {
		t.Helper()
		tenant, application, err := s.examples(ctx)
		if err != nil || tenant != wantTenant || application != wantApplication {
			t.Errorf("%s: got %q, %q, %v; want %q, %q", what, tenant, application, err, wantTenant, wantApplication)
		}
	}
	check("an empty store", "", "")
	if err := storagetest.SaveTenant(ctx, s.store, first.Tenant); err != nil {
		t.Fatal(err)
	}
	check("a tenant without applications", "default", "")
	if err := storagetest.SaveTenant(ctx, s.store, first.Tenant, first.Applications...); err != nil {
		t.Fatal(err)
	}
	check("a first start", "default", "demo")
	if err := storagetest.SaveTenant(ctx, s.store, domain.Tenant{ID: "acme", Name: "Acme"}); err != nil {
		t.Fatal(err)
	}
	check("two tenants", "", "")
}
