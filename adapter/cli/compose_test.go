package cli_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/refreshd/refreshd/adapter/cli"
	"github.com/refreshd/refreshd/config"
)

// composeFile is what the tests look at of docker-compose.yml.
type composeFile struct {
	Services map[string]struct {
		Environment map[string]string
		Secrets     []string
		Configs     []struct{ Source, Target string }
		ReadOnly    bool `yaml:"read_only"`
		Command     []string
	}
	Secrets map[string]struct{ File string }
	Configs map[string]struct{ Content string }
}

func readCompose(t *testing.T) (file composeFile, text string) {
	t.Helper()
	b, err := os.ReadFile("../../docker-compose.yml")
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	return file, string(b)
}

// content is a config as a container gets it: Compose writes one dollar sign for two.
func (f composeFile) content(name string) string {
	return strings.ReplaceAll(f.Configs[name].Content, "$$", "$")
}

// The compose file is the first thing that many will run. An environment is for everybody who may inspect a container.
func TestTheComposeFileHasItsSecretsInFilesOnly(t *testing.T) {
	file, text := readCompose(t)
	for _, m := range regexp.MustCompile(`(?:^|[^$])\$\{(\w+)`).FindAllStringSubmatch(text, -1) {
		if !slices.Contains([]string{"VERSION", "REFRESHD_PUBLIC_URL", "REFRESHD_TRUSTED_PROXIES"}, m[1]) {
			t.Errorf("it takes %s from the environment", m[1])
		}
	}
	known := map[string]bool{}
	for _, k := range config.Keys() {
		known[k.Env] = true
	}
	for name, s := range file.Services {
		for variable, value := range s.Environment {
			if secret, inFile := strings.CutSuffix(variable, "_FILE"); inFile && strings.HasPrefix(value, "/run/secrets/") {
				if !slices.Contains(s.Secrets, strings.TrimPrefix(value, "/run/secrets/")) {
					t.Errorf("%s: %s names %s, which it does not get", name, secret, value)
				}
			} else if known[variable+"_FILE"] || strings.Contains(variable, "PASSWORD") {
				t.Errorf("%s: the secret %s is in its environment", name, variable)
			}
			if strings.HasPrefix(variable, "REFRESHD_") && !known[variable] {
				t.Errorf("%s: %s is no setting", name, variable)
			}
		}
		for _, secret := range s.Secrets {
			if got, want := file.Secrets[secret].File, ".secrets/"+secret; got != want {
				t.Errorf("%s: secret %s is %q, want %q", name, secret, got, want)
			}
		}
		// Compose refuses it: what is not a file on the host is copied into the container.
		for _, c := range s.Configs {
			if s.ReadOnly && file.Configs[c.Source].Content != "" {
				t.Errorf("%s is read-only, and gets the content of %s", name, c.Source)
			}
		}
	}
	for _, name := range []string{"refreshd", "migrate"} {
		if !file.Services[name].ReadOnly {
			t.Errorf("%s may write to its image", name)
		}
	}
	if user := file.Services["postgres"].Environment["POSTGRES_USER"]; user != "" {
		t.Errorf("POSTGRES_USER is %s, which makes that role a superuser", user)
	}
}

// The commands of its first comment make each secret; what its configs say works with those.
func TestTheComposeFileWorksWithTheSecretsThatItAsksFor(t *testing.T) {
	file, text := readCompose(t)
	dir := t.TempDir()
	var commands strings.Builder
	for line := range strings.Lines(text) {
		if command, ok := strings.CutPrefix(line, "#   "); ok && !strings.HasPrefix(command, "docker ") {
			commands.WriteString(command)
		}
	}
	run := func(script string) string {
		t.Helper()
		bash := exec.Command("bash", "-euo", "pipefail", "-c", script)
		bash.Dir = dir
		var out, problems bytes.Buffer
		bash.Stdout, bash.Stderr = &out, &problems
		if err := bash.Run(); err != nil {
			t.Fatalf("%v: %s\n%s", err, problems.String(), script)
		}
		return out.String()
	}
	const random = "0123456789abcdef0123456789abcdef"
	const master = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
	run("openssl() { case $2 in -base64) echo " + master + ";; *) echo " + random + ";; esac; }\n" + commands.String())
	for name, secret := range file.Secrets {
		if info, err := os.Stat(filepath.Join(dir, secret.File)); err != nil || info.Size() < 20 {
			t.Errorf("the commands do not make %s: %v", name, err)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
	secrets := filepath.Join(dir, ".secrets") + "/"
	c, err := config.Load(nil, []string{
		"REFRESHD_DATABASE_URL_FILE=" + secrets + "database-url", "REFRESHD_MASTER_KEY_FILE=" + secrets + "master-key",
	}, config.Postgres)
	if err != nil || c.Database.Scheme != "postgres" || c.MasterKey.Reveal() != master {
		t.Errorf("the service is configured as %+v, %v", c, err)
	}

	script := strings.ReplaceAll(file.content("create-database"), "/run/secrets/", secrets)
	got := run("psql() { printf '%s\\n' \"$@\"; cat; }\n" + script)
	for _, want := range []string{
		"--set=password=" + random + "\n", "CREATE ROLE refreshd LOGIN PASSWORD :'password';\n",
		"CREATE DATABASE refreshd OWNER refreshd;\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the database is created without %q:\n%s", want, got)
		}
	}

	kickstart := strings.ReplaceAll(file.content("kickstart"), "/run/secrets/", secrets)
	document, err := cli.ReadKickstart("docker-compose.yml", []byte(kickstart), variables(nil))
	if err != nil {
		t.Fatal(err)
	}
	k := document.Kickstart
	if len(k.Tenants) != 1 || len(k.APIKeys) != 1 || k.APIKeys[0].Key.Reveal() != "ak_"+random {
		t.Errorf("the kickstart makes %+v", k)
	}
}
