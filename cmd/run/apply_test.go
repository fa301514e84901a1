package run

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const applied = `tenants:
- id: acme
  name: Acme
  applications:
  - {id: admin, name: Admin, cookieOnly: false}
apiKeys:
- name: backend
  key: ak_backend_backend_backend_backend
  permissions: {endpoints: {/jwt/issue: [POST]}}
`

// applying runs apply on a database below dir, and returns what it printed.
func applying(t *testing.T, dir, text string, args ...string) (printed string, err error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kickstart.yaml")
	if text != "" {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var stdout bytes.Buffer
	o := Options{Stdout: &stdout, Stderr: &bytes.Buffer{}, Environ: []string{
		"REFRESHD_DATABASE_URL=sqlite:" + filepath.Join(dir, "data", "refreshd.db"),
	}}
	o.Args = append([]string{"apply", "-f", file}, args...)
	err = Run(t.Context(), o)
	return stdout.String(), err
}

// contents returns the files below dir with their contents.
func contents(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	for _, name := range []string{"refreshd.db", masterKeyName, firstKeyName} {
		text, err := os.ReadFile(filepath.Join(dir, "data", name))
		if err == nil {
			all.WriteString(name + ": " + string(text) + "\n")
		}
	}
	return all.String()
}

// A mistake in the file or its name must not make a database in the working directory.
func TestApplyReadsItsFileBeforeItMakesADatabase(t *testing.T) {
	for name, tt := range map[string]struct{ text, says string }{
		"no file": {"", "read the kickstart file"},
		"no YAML": {"tenants: [", "kickstart.yaml:"},
		"a misspelled endpoint": {
			strings.Replace(applied, "/jwt/issue", "/jwt/isue", 1),
			"kickstart.yaml:9: apiKeys[0].permissions.endpoints./jwt/isue: there is no such endpoint; did you mean /jwt/issue?",
		},
		"another method": {
			strings.Replace(applied, "POST", "DELETE", 1),
			"kickstart.yaml:9: apiKeys[0].permissions.endpoints./jwt/issue: ",
		},
		"another tenant's issuer": {
			strings.Replace(applied, "name: Acme", "issuer: https://auth.example/t/globex", 1),
			"kickstart.yaml:3: tenants[0].issuer: ",
		},
	} {
		for _, args := range [][]string{nil, {"--dry-run"}} {
			dir := t.TempDir()
			_, err := applying(t, dir, tt.text, args...)
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%s %q: error %v, want %q", name, args, err, tt.says)
			}
			if found, err := os.ReadDir(dir); len(found) > 0 || err != nil {
				t.Errorf("%s %q: made %v (%v)", name, args, found, err)
			}
		}
		dir := t.TempDir()
		file := filepath.Join(t.TempDir(), "kickstart.yaml")
		if tt.text != "" {
			if err := os.WriteFile(file, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		_, err := served(t, "REFRESHD_DATABASE_URL=sqlite:"+filepath.Join(dir, "data", "refreshd.db"),
			"REFRESHD_KICKSTART_FILE="+file)
		if err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("serve, %s: error %v, want %q", name, err, tt.says)
		}
		if found, err := os.ReadDir(dir); len(found) > 0 || err != nil {
			t.Errorf("serve, %s: made %v (%v)", name, found, err)
		}
	}
}

// A dry run prints exactly the changes of the run that follows, and writes nothing.
func TestADryRunPrintsWhatWouldChangeAndWritesNothing(t *testing.T) {
	dir := t.TempDir()
	printed, err := applying(t, dir, applied, "--dry-run")
	if err != nil || !strings.Contains(printed, "3 created, 0 updated, 0 unchanged (dry run: nothing was written)") {
		t.Errorf("on nothing: %q, %v", printed, err)
	}
	if found, err := os.ReadDir(dir); len(found) > 0 || err != nil {
		t.Errorf("on nothing: made %v (%v)", found, err)
	}
	if _, err := applying(t, dir, applied); err != nil {
		t.Fatal(err)
	}
	before := contents(t, dir)
	changed := strings.NewReplacer(", cookieOnly: false", "", "[POST]", "['*']").Replace(applied)
	printed, err = applying(t, dir, changed, "--dry-run")
	for _, want := range []string{
		"updated    application  acme/admin\n           cookieOnly: false -> true (not set)\n",
		"updated    API key      backend\n           permissions.endpoints./jwt/issue: POST -> *\n",
		"0 created, 2 updated, 1 unchanged (dry run: nothing was written)\n",
	} {
		if err != nil || !strings.Contains(printed, want) {
			t.Errorf("dry run: %v\n%s\nwant\n%s", err, printed, want)
		}
	}
	if contents(t, dir) != before {
		t.Error("the dry run changed a file")
	}
	done, err := applying(t, dir, changed)
	if want := strings.ReplaceAll(printed, " (dry run: nothing was written)", ""); err != nil || done != want {
		t.Errorf("then: %v\n%s\nwant\n%s", err, done, want)
	}
}
