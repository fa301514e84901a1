package documents

import (
	"database/sql"
	"errors"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/refreshd/refreshd/test/support/apt"
	"github.com/refreshd/refreshd/test/support/postgres"
	"github.com/refreshd/refreshd/test/support/rig"
)

// shell runs blocks of a document where an operator would paste them: in one directory, with the settings of the
// service in the environment, and the program and PostgreSQL's clients on the path.
type shell struct {
	dir string
	env []string
}

func (w world) shell(t *testing.T, files map[string]string) shell {
	t.Helper()
	for _, tool := range []string{"curl", "jq", "openssl"} {
		is := func() bool { _, err := exec.LookPath(tool); return err == nil }
		if is() {
			continue
		}
		if err := apt.Install(t.Context(), tool, is); err != nil {
			t.Fatalf("%s is missing: install it: %v", tool, err)
		}
	}
	bin, err := postgres.Binaries(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return shell{writeFiles(t, files), []string{
		"REFRESHD_DATABASE_URL=" + w.database, "REFRESHD_MASTER_KEY=" + rig.MasterKey, "BACKEND_KEY=" + backendKey,
		"REFRESHD_PUBLIC_URL=https://rig.example",
		"PATH=" + strings.Join([]string{filepath.Dir(w.Path), bin, os.Getenv("PATH")}, ":"),
	}}
}

// paste runs a block, in which it replaces what the reader has to replace: pairs of old and new text. It returns what
// the block printed. Each command has to succeed.
func (s shell) paste(t *testing.T, block string, replace ...string) (output string) {
	t.Helper()
	for i := 0; i < len(replace); i += 2 {
		if !strings.Contains(block, replace[i]) {
			t.Fatalf("%q is not in\n%s", replace[i], block)
		}
	}
	c := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", strings.NewReplacer(replace...).Replace(block))
	c.Dir, c.Env = s.dir, s.env
	printed, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\nof\n%s\nwhich printed\n%s", err, block, printed)
	}
	return string(printed)
}

// wants fails the test unless the output has each of these texts.
func wants(t *testing.T, output string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(output, text) {
			t.Errorf("%q is not in what the commands printed:\n%s", text, output)
		}
	}
}

// recipe returns the commands of a section: want blocks.
func recipe(t *testing.T, heading string, want int) []string {
	t.Helper()
	return blocksOf(t, heading, "sh", want)
}

// statement runs a statement on a database.
func statement(t *testing.T, database, text string) {
	t.Helper()
	db, err := sql.Open("pgx", database)
	if err == nil {
		_, err = db.ExecContext(t.Context(), text)
		err = errors.Join(err, db.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// role makes a role that ends with the test, and returns the URL of the database for it.
func (w world) role(t *testing.T, name string) string {
	t.Helper()
	statement(t, w.database, "CREATE ROLE "+name+" LOGIN PASSWORD 'before'")
	t.Cleanup(func() {
		db, err := sql.Open("pgx", w.database)
		if err != nil {
			t.Error(err)
			return
		}
		defer db.Close()
		if _, err := db.Exec("DROP OWNED BY " + name + "; DROP ROLE " + name); err != nil {
			t.Error(err)
		}
	})
	u, err := url.Parse(w.database)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(name, "before")
	return u.String()
}

func TestTheRecipeForALeakedAPIKeyStopsTheThief(t *testing.T) {
	blocks := recipe(t, "Replace a leaked API key", 2)
	w := newWorld(t)
	s := w.serve(t)
	stolen := issue(t, s, "u-9", "")
	if r := do(t, s, http.MethodDelete, "/jwt/refresh?userId=u-8", backendKey, nil); r.Status != http.StatusOK {
		t.Fatal(r)
	}
	sh := w.shell(t, nil)
	wants(t, sh.paste(t, blocks[0]), "/jwt/issue", "tokens.revoked", "127.0.0.1", "ended the previous text")

	if r := do(t, s, http.MethodGet, "/jwt/refresh?userId=u-9", backendKey, nil); r.Status != http.StatusUnauthorized {
		t.Errorf("with the leaked key: got %s, want 401", r)
	}
	key, err := os.ReadFile(filepath.Join(sh.dir, "backend.key"))
	if err != nil {
		t.Fatal(err)
	}
	issue(t, s, "u-1", strings.TrimSpace(string(key)))

	if err := s.Stop(); err != nil { // then its log is complete
		t.Fatal(err)
	}
	journal := "#!/bin/sh\ncat <<'END'\n" + s.Log() + "END\n"
	if err := os.WriteFile(filepath.Join(sh.dir, "journalctl"), []byte(journal), 0o700); err != nil {
		t.Fatal(err)
	}
	sh.env = append(sh.env, "PATH="+sh.dir+":"+os.Getenv("PATH"))
	wants(t, sh.paste(t, blocks[1]), stolen.RefreshTokenID, "127.0.0.1")
}

func TestTheRecipeForALeakedDatabaseChangesThePassword(t *testing.T) {
	blocks := recipe(t, "Act on a leaked database", 1)
	w := newWorld(t)
	issue(t, w.serve(t), "u-1", "")
	role := w.role(t, "leaked")
	statement(t, w.database, "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO leaked")
	verifier := func() (v string) {
		db, err := sql.Open("pgx", w.database)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		query := "SELECT rolpassword FROM pg_authid WHERE rolname = 'leaked'"
		if err := db.QueryRowContext(t.Context(), query).Scan(&v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	before := verifier()
	sh := w.shell(t, map[string]string{"kickstart.yaml": kickstart})
	sh.env = append(sh.env, "REFRESHD_DATABASE_URL="+role)
	wants(t, sh.paste(t, blocks[0]), "acme", "tenant.created", "unchanged")
	if verifier() == before {
		t.Error("the role has the password that it had before")
	}
	for name, want := range map[string]string{"leaked-sessions.json": `"u-1"`, "database-password": ""} {
		info, err := os.Stat(filepath.Join(sh.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(filepath.Join(sh.dir, name))
		if err != nil || !strings.Contains(string(text), want) || len(text) < 20 {
			t.Errorf("%s has %q, %v; want %s in it", name, text, err, want)
		}
		if name == "database-password" && info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %o, want 600", name, info.Mode().Perm())
		}
	}
}

func TestTheRecipeForAStolenDeviceEndsItsSession(t *testing.T) {
	blocks := recipe(t, "Act on a stolen device", 1)
	w := newWorld(t)
	s := w.serve(t)
	device, phone, other := issue(t, s, "u-1", ""), issue(t, s, "u-1", ""), issue(t, s, "u-2", "")
	// The thief uses a copy of a token string that its owner has exchanged twice.
	exchanged(t, s, exchanged(t, s, device.RefreshToken).RefreshToken)
	if r := exchange(t, s, device.RefreshToken); r.Status == http.StatusOK {
		t.Fatalf("a replay: got %s", r)
	}
	output := w.shell(t, nil).paste(t, blocks[0], "01981e2c-9a38-7b4d-8a8e-d5a2f1a4c0de", phone.RefreshTokenID)
	wants(t, output, phone.RefreshTokenID, "token.replayed", "token.revoked", "tokens.revoked", "operator")
	for what, g := range map[string]grant{"the device's": device, "the phone's": phone} {
		if r := exchange(t, s, g.RefreshToken); r.Status == http.StatusOK {
			t.Errorf("%s session: got %s, want that it has ended", what, r)
		}
	}
	exchanged(t, s, other.RefreshToken)
}

func TestTheRecipeForARestoredBackupTakesClientsBack(t *testing.T) {
	blocks := recipe(t, "Serve a restored backup", 2)
	w := newWorld(t)
	s := w.serve(t)
	early, late := issue(t, s, "u-1", ""), issue(t, s, "u-2", "")
	sh := w.shell(t, nil)
	sh.paste(t, `pg_dump --format=custom --file=backup.dump "$REFRESHD_DATABASE_URL"`)
	ahead := func(g grant) string {
		for range 3 {
			g = exchanged(t, s, g.RefreshToken)
		}
		return g.RefreshToken
	}
	first, second := ahead(early), ahead(late)
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}

	restored := world{w.Program, postgres.NewDatabase(t)}
	sh.env = append(sh.env, "REFRESHD_DATABASE_URL="+restored.database)
	wants(t, sh.paste(t, blocks[0]), "acme")
	s = restored.serve(t, "REFRESHD_RESTORED=true")
	g := exchanged(t, s, first)
	wants(t, sh.paste(t, blocks[1]), "token.restored", early.RefreshTokenID)
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	wants(t, s.Log(), `"config.restored"`, `"exchange.restored"`)

	s = restored.serve(t)
	exchanged(t, s, g.RefreshToken)
	r := exchange(t, s, second)
	if r.Status == http.StatusOK || !strings.Contains(string(r.Body), "[invalid]") {
		t.Errorf("a client that returns later: got %s, want [invalid]", r)
	}
}

func TestTheRecipeForAnUpgradeMigrates(t *testing.T) {
	blocks := recipe(t, "Upgrade", 1)
	p, err := build()
	if err != nil {
		t.Fatal(err)
	}
	w := world{p, postgres.NewDatabase(t)}
	role := w.role(t, "serving")
	grants := blocksOf(t, "Deploy with PostgreSQL", "sql", 1)[0]
	sh := w.shell(t, map[string]string{"grants.sql": grants})
	wants(t, sh.paste(t, blocks[0]), "pending", "up to date", "GRANT")
	if info, err := os.Stat(filepath.Join(sh.dir, "before-upgrade.dump")); err != nil || info.Size() == 0 {
		t.Errorf("the backup: %v", err)
	}
	w.database = role
	issue(t, w.serve(t), "u-1", "")
}

func TestTheRecipeToScaleOutComparesReplicas(t *testing.T) {
	blocks := recipe(t, "Scale out", 2)
	w := newWorld(t)
	sh := w.shell(t, nil)
	before := w.serve(t)
	wants(t, sh.paste(t, blocks[0]), "https://rig.example")
	after := w.serve(t)
	output := sh.paste(t, blocks[1],
		"10.0.0.1:3000", before.API, "10.0.0.2:3000", after.API, "127.0.0.1:3001", after.Admin)
	wants(t, output, "ready", "refreshd_ready 1", "refreshd_pool_max_connections 16", `version="documented"`, "same")
	exchanged(t, after, issue(t, before, "u-1", "").RefreshToken)
}
