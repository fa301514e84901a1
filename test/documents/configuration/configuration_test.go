package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/adapter/cli"
	"github.com/refreshd/refreshd/config"
)

func generated(t *testing.T) string {
	t.Helper()
	text, err := generate()
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The document says what the code says: a default that was changed, or a setting that was added, makes another one.
func TestTheDocumentIsFresh(t *testing.T) {
	got, err := os.ReadFile("../../../CONFIGURATION.md")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(generated(t), string(got)); diff != "" {
		t.Errorf("run make docs: CONFIGURATION.md (-want +got):\n%s", diff)
	}
}

func load(environ ...string) (config.Config, error) {
	return config.Load(nil, environ, config.SQLite, config.Postgres, config.PostgreSQL)
}

const masterKey = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=" // as the command of newKey makes one

// asFile writes text to a file, for settings that name one.
func asFile(t *testing.T, text string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// An example that is refused, or that changes nothing, is none.
func TestEverySettingHasAnExampleThatIsAccepted(t *testing.T) {
	keys := config.Keys()
	if len(keys) != len(examples) {
		t.Errorf("there are %d settings and %d examples", len(keys), len(examples))
	}
	for _, k := range keys {
		example := examples[k.Env]
		if example == "" || example == k.Default {
			t.Errorf("%s has the example %q", k.Env, example)
		}
		value := strings.ReplaceAll(example, newKey, masterKey)
		if secret, ok := strings.CutSuffix(k.Env, "_FILE"); ok && examples[secret] != "" {
			value = asFile(t, strings.ReplaceAll(examples[secret], newKey, masterKey))
		} else if k.Name == "" {
			value = asFile(t, "listen: "+examples["REFRESHD_LISTEN"])
		}
		if _, err := load(k.Env + "=" + value); err != nil {
			t.Errorf("%s: the example %q: %v", k.Env, example, err)
		}
	}
}

var block = regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$")

// The first example is a file of settings, the second one a kickstart file. Both are what a reader begins with. The
// third one imports a key.
func TestTheFilesInTheDocumentAreAccepted(t *testing.T) {
	files := block.FindAllStringSubmatch(generated(t), -1)
	if len(files) != 3 {
		t.Fatalf("got %d files, want three", len(files))
	}
	database := asFile(t, examples["REFRESHD_DATABASE_URL"])
	text := strings.Replace(files[0][1], examples["REFRESHD_DATABASE_URL_FILE"], database, 1)
	if got, err := load("REFRESHD_CONFIG_FILE=" + asFile(t, text)); err != nil {
		t.Errorf("the file of settings: %v", err)
	} else if got.Database.Scheme != "postgres" || len(got.TrustedProxies) != 2 || got.PublicURL == "" {
		t.Errorf("the file of settings makes %+v", got)
	}

	const key = "ak_0123456789abcdef0123456789abcdef"
	document, err := cli.ReadKickstart("kickstart.yaml", []byte(files[1][1]), func(name string) (string, bool) {
		return key, name == "BACKEND_KEY"
	})
	if err != nil {
		t.Fatal(err)
	}
	k := document.Kickstart
	if err := document.Explain(k.Validate()); err != nil {
		t.Error(err)
	}
	if len(k.Tenants) != 1 || len(k.Tenants[0].Applications) != 1 || len(k.APIKeys) != 1 {
		t.Errorf("the kickstart file makes %+v", k)
	}
	pem := asFile(t, "a private key")
	text = strings.Replace(files[2][1], "former.pem", pem, 1)
	document, err = cli.ReadKickstart("keys.yaml", []byte(text), func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	if k := document.Kickstart.Keys; len(k) != 1 || k[0].KnownAt.IsZero() || k[0].Text.Reveal() != "a private key" {
		t.Errorf("the file that imports a key makes %d keys: %+v", len(k), k)
	}
}

// A bar would end the cell of a table, also in code.
func TestEveryRowHasTheCellsOfItsTable(t *testing.T) {
	cells, rows := 0, 0
	for i, line := range strings.Split(generated(t), "\n") {
		if !strings.HasPrefix(line, "|") {
			cells = 0
			continue
		}
		rows++
		got := strings.Count(strings.ReplaceAll(line, `\|`, ""), "|")
		if cells == 0 {
			cells = got
		}
		if got != cells {
			t.Errorf("line %d has %d bars, want %d: %s", i+1, got, cells, line)
		}
		if strings.Contains(line, "<no value>") {
			t.Errorf("line %d: %s", i+1, line)
		}
	}
	if want := len(examples); rows < want {
		t.Error(fmt.Sprint(rows, " rows"))
	}
}
