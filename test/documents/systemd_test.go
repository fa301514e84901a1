package documents

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/refreshd/refreshd/test/support/apt"
	"github.com/refreshd/refreshd/test/support/short"
)

// program is where the unit has the binary.
const program = "/usr/local/bin/refreshd"

// unit is the unit of the document, and what it says beside with SQLite.
func unit(t *testing.T) (unit, withSQLite string) {
	t.Helper()
	both := blocksOf(t, "Run it under systemd", "ini", 2)
	return both[0], both[1]
}

// valuesOf are what a unit says under the name, in its order.
func valuesOf(unit, name string) (values []string) {
	for line := range strings.Lines(unit) {
		if value, ok := strings.CutPrefix(line, name+"="); ok {
			values = append(values, strings.TrimSpace(value))
		}
	}
	return values
}

// environmentFile is the block of the document with the file's settings.
func environmentFile(t *testing.T) []string {
	t.Helper()
	for _, block := range blocksOf(t, "Run it under systemd", "sh", 3) {
		if lines := strings.Split(strings.TrimSpace(block), "\n"); strings.HasPrefix(lines[0], "REFRESHD_") {
			return lines
		}
	}
	t.Fatal("the document has no settings for the unit")
	return nil
}

// credentials are the directory that %d stands for, with what LoadCredential puts there.
func credentials(t *testing.T, unit string, texts map[string]string) string {
	t.Helper()
	files := map[string]string{}
	for _, loaded := range valuesOf(unit, "LoadCredential") {
		name, path, found := strings.Cut(loaded, ":")
		text, ok := texts[name]
		if !found || !ok || path != "/etc/refreshd/"+name {
			t.Errorf("LoadCredential=%s is not of a file that the document makes", loaded)
		}
		files[name] = text
	}
	return writeFiles(t, files)
}

// A reader who copies the unit gets a service that starts, with its secrets in files that only systemd reads.
func TestTheUnitOfTheDocumentStarts(t *testing.T) {
	text, sqlite := unit(t)
	secrets := map[string]string{
		"database-url":   "postgres://refreshd:secret@db.example:5432/refreshd?sslmode=verify-full\n",
		"master-key":     masterKey + "\n",
		"kickstart.yaml": "tenants: []\n",
	}
	command := strings.Fields(strings.Join(valuesOf(text, "ExecStart"), " "))
	if len(command) != 2 || command[0] != program || command[1] != "serve" {
		t.Fatalf("ExecStart is %q", command)
	}
	takesArguments(t, command[1:]...)
	if got := valuesOf(text, "EnvironmentFile"); !slices.Equal(got, []string{"/etc/refreshd/refreshd.env"}) {
		t.Errorf("EnvironmentFile is %q", got)
	}
	settings := environmentFile(t)

	dir := credentials(t, text, secrets)
	environ := slices.Clone(settings)
	for _, e := range valuesOf(text, "Environment") {
		environ = append(environ, strings.ReplaceAll(e, "%d", dir))
	}
	got, err := load(environ)
	if err != nil {
		t.Fatal(err)
	}
	if got.Database.Scheme != "postgres" || got.MasterKey.IsZero() || got.PublicURL == "" {
		t.Errorf("the service is configured as %+v", got)
	}
	stop, err := time.ParseDuration(strings.Join(valuesOf(text, "TimeoutStopSec"), "") + "s")
	if err != nil || stop <= got.ShutdownDelay+got.ShutdownTimeout {
		t.Errorf("it is killed after %s, %v, and takes %s and %s to stop", stop, err, got.ShutdownDelay, got.ShutdownTimeout)
	}

	environ = slices.Clone(settings)
	dir = credentials(t, sqlite, secrets)
	state := filepath.Join("/var/lib", strings.Join(valuesOf(sqlite, "StateDirectory"), ""))
	for _, e := range valuesOf(sqlite, "Environment") {
		environ = append(environ, strings.NewReplacer("%d", dir, "%S", "/var/lib").Replace(e))
	}
	got, err = load(environ)
	if err != nil {
		t.Fatal(err)
	}
	if got.Database.Rest() != state+"/refreshd.db" || got.KickstartFile != dir+"/kickstart.yaml" {
		t.Errorf("with SQLite the service is configured as %+v", got)
	}
}

// systemd skips what it does not know, with a warning only: a misspelt line of hardening hardens nothing.
func TestSystemdTakesEveryLineOfTheUnit(t *testing.T) {
	short.LeaveOut(t, "systemd")
	there := func() bool { _, err := exec.LookPath("systemd-analyze"); return err == nil }
	if !there() {
		if err := apt.Install(t.Context(), "systemd", there); err != nil {
			t.Fatalf("systemd-analyze is missing: %v", err)
		}
	}
	text, sqlite := unit(t)
	if complaint := verify(t, text, ""); complaint != "" {
		t.Errorf("systemd-analyze verify:\n%s", complaint)
	}
	if complaint := verify(t, text, sqlite); complaint != "" {
		t.Errorf("systemd-analyze verify, with SQLite:\n%s", complaint)
	}
	if complaint := verify(t, strings.Replace(text, "ProtectHome=", "ProtectHomes=", 1), ""); complaint == "" {
		t.Error("ProtectHomes= was accepted")
	}
}

// verify returns what systemd says of the unit with that drop-in; nothing if all is well.
func verify(t *testing.T, unit, dropIn string) string {
	t.Helper()
	// It looks for the binary, which is not installed here.
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := writeFiles(t, map[string]string{"refreshd.service": strings.ReplaceAll(unit, program, self)})
	if dropIn != "" {
		drops := filepath.Join(dir, "refreshd.service.d")
		if err := os.Mkdir(drops, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(drops, "sqlite.conf"), []byte(dropIn), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.CommandContext(t.Context(), "systemd-analyze", "verify",
		filepath.Join(dir, "refreshd.service")).CombinedOutput()
	if err != nil && len(out) == 0 {
		t.Fatal(err)
	}
	return string(out)
}
