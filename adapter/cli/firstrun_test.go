package cli_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/adapter/cli"
	"github.com/refreshd/refreshd/domain"
)

func firstRun(t *testing.T) cli.FirstRunNotice {
	t.Helper()
	made, key, err := cli.FirstRun(bytes.NewReader(bytes.Repeat([]byte{0xfb}, 32)))
	if err != nil {
		t.Fatal(err)
	}
	return cli.FirstRunNotice{
		BaseURL: "http://127.0.0.1:3000", TenantID: made.Tenants[0].Tenant.ID,
		ApplicationID: made.Tenants[0].Applications[0].ID, Key: key,
	}
}

func TestTheFirstRunMakesWhatApplyTakes(t *testing.T) {
	k, key, err := cli.FirstRun(bytes.NewReader(make([]byte, 64)))
	if err != nil {
		t.Fatal(err)
	}
	if len(k.Tenants) != 1 || len(k.Tenants[0].Applications) != 1 || len(k.APIKeys) != 1 {
		t.Fatalf("FirstRun = %+v, want one of each", k)
	}
	tenant, app, apiKey := k.Tenants[0].Tenant, k.Tenants[0].Applications[0], k.APIKeys[0]
	if err := errors.Join(tenant.Validate(), app.Validate(tenant), apiKey.APIKey.Validate()); err != nil {
		t.Error(err)
	}
	policy, err := domain.Combine(tenant, app)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(domain.DefaultPolicy(), policy); diff != "" {
		t.Errorf("policy (-default +got):\n%s", diff)
	}
	if want := domain.NewSecret("ak_" + strings.Repeat("A", 43)); !key.Equal(want) || !apiKey.Key.Equal(want) || !domain.IsAPIKey(key.Reveal()) {
		t.Errorf("the key is not made of the 32 bytes that were given: %q", key.Reveal())
	}
	if !apiKey.APIKey.Serves(tenant.ID) || apiKey.APIKey.Serves("another") {
		t.Error("the key serves another tenant, or not its own")
	}
	if p := apiKey.APIKey.Permissions; !p.Allow("POST", "/jwt/issue") || !p.Allow("DELETE", "/jwt/refresh/:id") || p.Allow("GET", "/api-key") {
		t.Errorf("permissions = %v, want all but administration", p)
	}
}

func TestAFirstRunWithoutRandomnessFails(t *testing.T) {
	if _, _, err := cli.FirstRun(iotest.ErrReader(errClosed)); !errors.Is(err, errClosed) {
		t.Errorf("FirstRun = %v, want %v", err, errClosed)
	}
}

func TestAKeyFileIsTheOwnersAndIsNeverOverwritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data", "first-api-key")
	if err := cli.WriteKeyFile(path, domain.NewSecret("ak_first")); err != nil {
		t.Fatal(err)
	}
	err := cli.WriteKeyFile(path, domain.NewSecret("ak_second"))
	if !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "ak_") {
		t.Errorf("a second time: %v, want an error that names the file and no key", err)
	}
	got, err := os.ReadFile(path)
	if err != nil || string(got) != "ak_first\n" {
		t.Errorf("the file holds %q, %v, want the first key", got, err)
	}
	for name, want := range map[string]fs.FileMode{path: 0o600, filepath.Dir(path): 0o700 | fs.ModeDir} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != want {
			t.Errorf("%s has mode %v, want %v", name, info.Mode(), want)
		}
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*")); err != nil || len(left) != 1 {
		t.Errorf("files %q, %v, want the key's alone", left, err)
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); err != nil || len(left) != 0 {
		t.Errorf("hidden files %q, %v, want none", left, err)
	}
	if err := cli.WriteKeyFile(filepath.Join(path, "below-a-file"), domain.NewSecret("ak_third")); err == nil {
		t.Error("WriteKeyFile below a file: want an error")
	}
}

func TestTheNoticeShowsTheKeyOrWhereItIs(t *testing.T) {
	n := firstRun(t)
	var onTerminal, elsewhere strings.Builder
	cli.PrintFirstRun(&onTerminal, n)
	if got := strings.Count(onTerminal.String(), n.Key.Reveal()); got != 2 {
		t.Errorf("the key stands there %d times, want 2: to note down, and in the commands:\n%s", got, onTerminal.String())
	}
	n.Key, n.KeyFile = domain.Secret{}, "/var/lib/refreshd/first-api-key"
	cli.PrintFirstRun(&elsewhere, n)
	if got := elsewhere.String(); strings.Contains(got, "ak_") || !strings.Contains(got, "API_KEY=$(cat "+n.KeyFile+")") {
		t.Errorf("want the file in place of the key:\n%s", got)
	}
	for line := range strings.Lines(elsewhere.String()) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > 100 {
			t.Errorf("%d columns, want at most 100: %s", n, line)
		}
	}
	if strings.Contains(elsewhere.String(), "!") {
		t.Error("an interactive bash takes an exclamation mark for history")
	}
}

// The commands are run as they stand, in bash, with a curl that writes down how it was called and answers as the service does.
// Names need quotes here, so that one left out shows.
func TestTheCommandsWorkWhenTheyArePasted(t *testing.T) {
	dir := t.TempDir()
	n := firstRun(t)
	n.KeyFile = filepath.Join(dir, "it's a key; $HOME")
	if err := cli.WriteKeyFile(n.KeyFile, n.Key); err != nil {
		t.Fatal(err)
	}
	key := n.Key.Reveal()
	n.Key, n.ApplicationID = domain.Secret{}, `O'Hara "demo"`
	var notice strings.Builder
	cli.PrintFirstRun(&notice, n)
	_, commands, found := strings.Cut(notice.String(), "in this order:\n")
	if !found {
		t.Fatalf("no commands in:\n%s", notice.String())
	}
	const curl = `set -eu
answer() {
  printf '{"success":true,"message":"m","data":{"refreshToken":"%s","refreshTokenId":"id-1",' "$1"
  printf '"token":"a.b.c","expiresIn":%s}}\n' "$2"
}
curl() {
  printf '%s|' "$@" >> calls; echo >> calls
  case "$*" in
  */jwt/issue*) answer rt_first 900;;
  *rt_first) answer rt_second 900;;
  *rt_second) answer rt_second 899;;
  esac
}
`
	bash := exec.Command("bash", "-c", curl+commands)
	bash.Dir = dir
	out, err := bash.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "\nthe same answer\n") {
		t.Fatalf("bash: %v\n%s", err, out)
	}
	calls, err := os.ReadFile(filepath.Join(dir, "calls"))
	if err != nil {
		t.Fatal(err)
	}
	backend := "-H|Authorization: " + key + "|-H|X-Stencil-TenantId: default|"
	want := []string{
		"-sS|http://127.0.0.1:3000/jwt/issue|" + backend + `-H|Content-Type: application/json|-d|{"userId": "alice", "applicationsId": "O'Hara \"demo\""}|`,
		"-sS|http://127.0.0.1:3000/jwt/refresh|-d|refreshToken=rt_first|",
		"-sS|http://127.0.0.1:3000/jwt/refresh|-d|refreshToken=rt_first|",
		"-sS|http://127.0.0.1:3000/jwt/refresh|-d|refreshToken=rt_second|",
		"-sS|http://127.0.0.1:3000/jwt/refresh?userId=alice|" + backend,
		"-sS|-X|DELETE|http://127.0.0.1:3000/jwt/refresh/id-1|" + backend,
		"-sS|http://127.0.0.1:3000/jwt/refresh|-d|refreshToken=rt_second|",
		"",
	}
	if diff := cmp.Diff(want, strings.Split(string(calls), "\n")); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

func TestAFileIsNoTerminal(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if cli.IsTerminal(f) || cli.IsTerminal(&strings.Builder{}) {
		t.Error("IsTerminal of a file or a buffer: want false, else the first API key lands in a log")
	}
}
