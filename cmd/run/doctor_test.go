package run

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/adapter/cli"
	"github.com/refreshd/refreshd/config"
	"github.com/refreshd/refreshd/test/support/postgres"
)

// examined runs the doctor, and returns its findings by check, and the exit status.
func examined(t *testing.T, environ []string, args ...string) (found map[string]cli.Finding, exit int) {
	t.Helper()
	got, err := runs(t, environ, append([]string{"doctor", "--output=json"}, args...)...)
	var all []cli.Finding
	if failed := json.Unmarshal([]byte(got.stdout), &all); failed != nil {
		t.Fatalf("%v: %s\n%v", failed, got.stdout, err)
	}
	found = byCheck(t, all)
	failed := slices.ContainsFunc(all, func(f cli.Finding) bool { return f.Status == cli.FindingFailed })
	if err != nil {
		exit = status(err)
	}
	if want := map[bool]int{true: 1}[failed]; exit != want {
		t.Errorf("exit status %d, want %d: %s", exit, want, got.stdout)
	}
	return found, exit
}

func byCheck(t *testing.T, all []cli.Finding) map[string]cli.Finding {
	t.Helper()
	found := map[string]cli.Finding{}
	for _, f := range all {
		if found[f.Check].Check != "" || (f.Advice == "") != (f.Status == cli.FindingOK) {
			t.Errorf("%+v: want one finding a check, and advice if there is a problem", f)
		}
		found[f.Check] = f
	}
	return found
}

func wantStatus(t *testing.T, found map[string]cli.Finding, check, status string, says ...string) {
	t.Helper()
	f := found[check]
	if f.Status != status {
		t.Errorf("%s: got %+v, want %s", check, f, status)
	}
	for _, want := range says {
		if !strings.Contains(f.Detail+"\n"+f.Advice, want) {
			t.Errorf("%s: got %+v, want it to say %q", check, f, want)
		}
	}
}

// filesIn lists the files below dir with their content, except the lock table of SQLite.
func filesIn(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(path, "-shm") {
			return err
		}
		text, err := os.ReadFile(path)
		all[path] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// embedded returns the environment of a new database in a file, and its directory.
func embedded(t *testing.T) (environ []string, dir string) {
	t.Helper()
	dir = t.TempDir()
	if _, err := applying(t, dir, applied); err != nil {
		t.Fatal(err)
	}
	return []string{"REFRESHD_DATABASE_URL=sqlite:" + filepath.Join(dir, "data", "refreshd.db")},
		filepath.Join(dir, "data")
}

// change runs statements on the database in dir.
func change(t *testing.T, dir string, statements ...string) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(dir, "refreshd.db"))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range statements {
		if _, err := db.ExecContext(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// A doctor that made a database would hide that the configured one does not exist.
func TestTheDoctorWritesNothing(t *testing.T) {
	t.Chdir(t.TempDir())
	found, _ := examined(t, nil)
	wantStatus(t, found, "database", "failed", "there is none at sqlite:refreshd-data/refreshd.db")
	if made, err := os.ReadDir("."); err != nil || len(made) > 0 {
		t.Errorf("it made %v (%v)", made, err)
	}
	environ, dir := embedded(t)
	before := filesIn(t, dir)
	found, _ = examined(t, environ)
	for check, f := range found {
		if f.Status != cli.FindingOK {
			t.Errorf("%s of a new database: %+v", check, f)
		}
	}
	if diff := cmp.Diff(before, filesIn(t, dir)); diff != "" {
		t.Errorf("it changed a file (-before +after):\n%.500s", diff)
	}
	change(t, dir, `DELETE FROM goose_db_version WHERE version_id = 10`)
	before = filesIn(t, dir)
	found, _ = examined(t, environ)
	wantStatus(t, found, "schema", "failed", "version 9, this program: 10", "refreshd migrate")
	wantStatus(t, found, "keys, purge, audit trail, API keys", "failed", "not checked")
	if diff := cmp.Diff(before, filesIn(t, dir)); diff != "" {
		t.Errorf("it changed a file of an old schema (-before +after):\n%.500s", diff)
	}
	if err := os.Remove(filepath.Join(dir, "refreshd.db")); err != nil {
		t.Fatal(err)
	}
	found, _ = examined(t, environ)
	wantStatus(t, found, "database", "failed", "a database was here before")
}

func TestTheDoctorChecksTheSettings(t *testing.T) {
	environ, dir := embedded(t)
	key := strings.TrimSpace(filesIn(t, dir)[filepath.Join(dir, masterKeyName)])
	for _, tt := range []struct{ setting, check, status, says string }{
		{"REFRESHD_RESTORED=true", "restored", "warning", "Back up and restore"},
		{"REFRESHD_PUBLIC_URL=http://auth.example.com", "public URL", "warning", "https"},
		{"REFRESHD_PUBLIC_URL=https://auth.example.com", "public URL", "ok", "https://auth.example.com"},
		{"REFRESHD_PUBLIC_URL=http://[::1]:3000", "public URL", "ok", ""},
		{"REFRESHD_LISTEN=127.0.0.1:0", "public URL", "warning", "set REFRESHD_PUBLIC_URL"},
		{"REFRESHD_PUBLIC_URL=https://auth.example.com", "settings", "warning", "REFRESHD_TRUSTED_PROXIES"},
		{"REFRESHD_PPROF=true REFRESHD_ADMIN_LISTEN=", "settings", "warning", "REFRESHD_PPROF"},
		{"REFRESHD_MASTER_KEY=" + key + " REFRESHD_MASTER_KEY_PREVIOUS=" + key, "settings", "warning", "the same key"},
		{"REFRESHD_PUBLIC_URL=https://a.example REFRESHD_TRUSTED_PROXIES=10.0.0.0/8", "settings", "ok", ""},
		{"REFRESHD_ROOT_TENANT=nobody", "root tenant", "warning", `no tenant "nobody"`},
		{"REFRESHD_ROOT_TENANT=acme", "root tenant", "ok", ""},
		{"REFRESHD_LISTEN=nowhere", "configuration", "failed", "REFRESHD_LISTEN is not host:port"},
		{"REFRESHD_DATABASE_URL=memory:", "database", "warning", "ends with it"},
	} {
		found, _ := examined(t, append(slices.Clone(environ), strings.Fields(tt.setting)...))
		wantStatus(t, found, tt.check, tt.status, tt.says)
	}
	if _, err := runs(t, environ, "doctor", "--listen=nowhere"); status(err) != 2 {
		t.Errorf("a wrong flag: %v, want the exit status 2", err)
	}
	if _, err := runs(t, environ, "doctor", "--output=xml"); status(err) != 2 {
		t.Errorf("a wrong format: %v, want the exit status 2", err)
	}
	lines := ran(t, append(slices.Clone(environ), "REFRESHD_RESTORED=true"), "doctor").stdout
	if !strings.Contains(lines, "ok       keys: the master key opens all") ||
		!strings.Contains(lines, "\nwarning  restored: ") {
		t.Errorf("the lines are\n%s", lines)
	}
	if strings.Contains(lines, key) {
		t.Error("it printed the master key")
	}
}

// Other users of the machine who can read the key file have every token.
func TestTheDoctorChecksPermissionsOfFiles(t *testing.T) {
	environ, dir := embedded(t)
	secret := filepath.Join(t.TempDir(), "url")
	text := strings.TrimPrefix(environ[0], "REFRESHD_DATABASE_URL=")
	if err := os.WriteFile(secret, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	environ = []string{"REFRESHD_DATABASE_URL_FILE=" + secret}
	found, _ := examined(t, environ)
	wantStatus(t, found, "file permissions", "ok")
	for _, path := range []string{secret, filepath.Join(dir, masterKeyName), filepath.Join(dir, "refreshd.db")} {
		if err := os.Chmod(path, 0o644); err != nil {
			t.Fatal(err)
		}
		found, _ = examined(t, environ)
		wantStatus(t, found, "file permissions", "warning", path+" has 0644", "chmod 600")
		if err := os.Chmod(path, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTheDoctorOpensEveryKey(t *testing.T) {
	environ, dir := embedded(t)
	other := environment(t, "")[2]
	found, _ := examined(t, append(slices.Clone(environ), other))
	wantStatus(t, found, "keys", "failed", "the master key does not open the keys in the store")
	own := filesIn(t, dir)[filepath.Join(dir, masterKeyName)]
	previous := "REFRESHD_MASTER_KEY_PREVIOUS=" + strings.TrimSpace(own)
	found, _ = examined(t, append(slices.Clone(environ), other, previous))
	wantStatus(t, found, "keys", "warning", "only the previous master key opens 4 of 4")
	found, _ = examined(t, append(slices.Clone(environ), "REFRESHD_MASTER_KEY="+strings.TrimSpace(own),
		strings.Replace(other, "_KEY=", "_KEY_PREVIOUS=", 1)))
	wantStatus(t, found, "keys", "warning", "remove REFRESHD_MASTER_KEY_PREVIOUS")
	// A start does not open the keys of a tenant, so a damaged one is found when its users log in.
	change(t, dir, `UPDATE keys SET sealed = zeroblob(64) WHERE tenant_id = 'acme'`)
	found, _ = examined(t, environ)
	wantStatus(t, found, "keys", "failed", "does not open 1 of 4", "of tenant acme")
	if err := os.Remove(filepath.Join(dir, masterKeyName)); err != nil {
		t.Fatal(err)
	}
	found, _ = examined(t, environ)
	wantStatus(t, found, "keys", "failed", "does not exist")
}

func TestTheDoctorChecksAPIKeys(t *testing.T) {
	environ, dir := embedded(t)
	const more = `apiKeys:
- name: everything
  key: ak_everything_everything_everything
  permissions: {endpoints: {"*": ["*"], /api-key: ["*"]}}
- name: for-a-year
  key: ak_for_a_year_for_a_year_for_a_year
  expiresAt: 2098-01-01T00:00:00Z
  permissions: {endpoints: {"*": ["*"], /api-key: ["*"]}}
- name: auditor
  key: ak_auditor_auditor_auditor_auditor
  permissions: {endpoints: {"*": ["*"], /audit: [GET]}}
`
	if _, err := applying(t, filepath.Dir(dir), more); err != nil {
		t.Fatal(err)
	}
	found, _ := examined(t, environ)
	wantStatus(t, found, "API keys", "warning", "never expire: everything", "expiresAt")
	if got := found["API keys"].Detail; !strings.HasSuffix(got, "never expire: everything") {
		t.Errorf("keys that expire, or only read, are not wide: %s", got)
	}
	change(t, dir, `UPDATE api_keys SET expires_at = 1000000 WHERE name IN ('everything', 'backend')`)
	found, _ = examined(t, environ)
	wantStatus(t, found, "API keys", "warning", "expired: ", "everything", "backend")
	if strings.Contains(found["API keys"].Detail, "never") {
		t.Errorf("a key that has expired is not wide: %+v", found["API keys"])
	}
	change(t, dir, `DELETE FROM api_keys`)
	found, _ = examined(t, environ)
	wantStatus(t, found, "API keys", "warning", "there are none", "refreshd apply")
}

// at returns the findings of a process with that clock.
func at(t *testing.T, environ []string, now time.Time) map[string]cli.Finding {
	t.Helper()
	p := process{stores: stores, stdout: io.Discard, stderr: io.Discard}
	c, err := config.Load(nil, environ, p.schemes()...)
	if err != nil {
		t.Fatal(err)
	}
	var all []cli.Finding
	p.examine(t.Context(), c, func(f cli.Finding) { all = append(all, f) }, func() time.Time { return now })
	return byCheck(t, all)
}

// Without a purge the tables grow for months before anybody notices.
func TestTheDoctorFindsAPurgeThatDoesNotRun(t *testing.T) {
	environ, _ := embedded(t)
	now := time.Now()
	wantStatus(t, at(t, environ, now), "purge", "ok", "no pass has ended yet")
	wantStatus(t, at(t, environ, now.Add(4*time.Hour)), "purge", "warning", "no pass has ever ended", "purge.failed")
	wantStatus(t, at(t, environ, now.Add(4*time.Hour)), "audit trail", "ok")
	wantStatus(t, at(t, environ, now.Add(100*24*time.Hour)), "audit trail", "warning",
		"older than REFRESHD_AUDIT_RETENTION")
	ran(t, environ, "purge")
	now = time.Now()
	wantStatus(t, at(t, environ, now.Add(2*time.Hour)), "purge", "ok", "the last pass ended 2h")
	wantStatus(t, at(t, environ, now.Add(4*time.Hour)), "purge", "warning", "the last pass ended 4h", "more than 3h")
	elsewhere := append(slices.Clone(environ), "REFRESHD_PURGE_INTERVAL=0s")
	wantStatus(t, at(t, elsewhere, now.Add(4*time.Hour)), "purge", "ok")
	wantStatus(t, at(t, elsewhere, now.Add(3*24*time.Hour)), "purge", "warning")
}

func TestTheDoctorExaminesPostgreSQL(t *testing.T) {
	environ := append(environment(t, postgres.NewDatabase(t)), "REFRESHD_TRUSTED_PROXIES=10.0.0.0/8")
	found, _ := examined(t, environ)
	wantStatus(t, found, "schema", "failed", "run `refreshd migrate`", "version 0, this program: 10")
	wantStatus(t, found, "keys, purge, audit trail, API keys", "failed", "not checked")
	ran(t, environ, "migrate")
	ran(t, environ, "apply", "-f", fileWith(t, applied))
	found, _ = examined(t, environ)
	wantStatus(t, found, "database role", "warning", "is a superuser")
	wantStatus(t, found, "standbys", "warning", "synchronous_commit is off") // as the tests' server has it
	for check, f := range found {
		if f.Status != cli.FindingOK && check != "database role" && check != "standbys" {
			t.Errorf("%s: %+v", check, f)
		}
	}
	for _, check := range []string{"replication lag", "database privileges", "keys", "readiness", "API keys", "purge"} {
		wantStatus(t, found, check, "ok")
	}
	wantStatus(t, at(t, environ, time.Now().Add(time.Hour)), "database clock", "failed", "NTP")
	found, _ = examined(t, environ[:1])
	wantStatus(t, found, "public URL", "failed", "set REFRESHD_PUBLIC_URL")
	wantStatus(t, found, "keys", "failed", "PostgreSQL needs a master key")
	found, _ = examined(t, append(environ[1:], "REFRESHD_DATABASE_URL=postgres://u:hunter2@127.0.0.1:1/d"))
	wantStatus(t, found, "database", "failed", "127.0.0.1:1")
	if len(found) > 8 || strings.Contains(found["database"].Detail, "hunter2") {
		t.Errorf("without a server: %+v", found)
	}
}

// A driver may ignore its context. The doctor would then hang, as the service does.
func TestTheDoctorWaitsForNoStoreThatHangs(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	hangs := make(chan struct{})
	defer close(hangs)
	_, err := within(ctx, func(context.Context) (int, error) {
		cancel()
		<-hangs
		return 0, nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want that the context was done", err)
	}
}
