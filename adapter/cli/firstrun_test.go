package cli_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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
	made, _, err := cli.FirstRun(bytes.NewReader(bytes.Repeat([]byte{0xfb}, 32)))
	if err != nil {
		t.Fatal(err)
	}
	return cli.FirstRunNotice{
		BaseURL: "http://127.0.0.1:3000", TenantID: made.Tenants[0].Tenant.ID,
		ApplicationID: made.Tenants[0].Applications[0].ID, KeyFile: "/var/lib/refreshd/first-api-key",
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
	if want := domain.NewSecret("ak_" + strings.Repeat("A", 43)); !key.Equal(want) || !apiKey.Key.Equal(want) ||
		!domain.IsAPIKey(key.Reveal()) {
		t.Errorf("the key is not made of the 32 bytes that were given: %q", key.Reveal())
	}
	if !apiKey.APIKey.Serves(tenant.ID) || apiKey.APIKey.Serves("another") {
		t.Error("the key serves another tenant, or not its own")
	}
	if p := apiKey.APIKey.Permissions; !p.Allow("POST", "/jwt/issue") || !p.Allow("DELETE", "/jwt/refresh/:id") ||
		!p.Allow("GET", "/sessions") || !p.Allow("GET", "/revocations") || p.Allow("GET", "/api-key") {
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

func TestTheNoticeSaysWhereTheKeyIsAndWhatComesNext(t *testing.T) {
	n := firstRun(t)
	var notice strings.Builder
	cli.PrintFirstRun(&notice, n)
	for _, want := range []string{
		"API key      in the file " + n.KeyFile, "API_KEY=$(cat " + n.KeyFile + ")", "refreshd apply -f kickstart.yaml",
		"http://127.0.0.1:3000/docs",
	} {
		if !strings.Contains(notice.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, notice.String())
		}
	}
	for line := range strings.Lines(notice.String()) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > 100 {
			t.Errorf("%d columns, want at most 100: %s", n, line)
		}
	}
	if strings.Contains(notice.String(), "!") {
		t.Error("an interactive bash takes an exclamation mark for history")
	}
	var later strings.Builder
	cli.PrintLaterRun(&later, n.KeyFile, n.BaseURL)
	if got := later.String(); !strings.Contains(got, n.KeyFile) || !strings.Contains(got, "http://127.0.0.1:3000/docs") {
		t.Errorf("a later run says %q", got)
	}
}

// A process that is killed while it writes a key leaves a file with a key that is nowhere else.
func TestWhatAKilledWriterLeftIsRemovedAndNothingElse(t *testing.T) {
	dir := t.TempDir()
	keep := []string{"first-api-key", "master.key", ".master.key-2026", "refreshd.db.unfinished-1"}
	for _, name := range append(keep, ".first-api-key.unfinished-7", ".master.key.unfinished-123") {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := cli.RemoveUnfinished(dir); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range left {
		got = append(got, f.Name())
	}
	slices.Sort(keep)
	if diff := cmp.Diff(keep, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAKeyFileIsReadAsItWasWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "first-api-key")
	if _, is, err := cli.ReadAPIKeyFile(path); is || err != nil {
		t.Errorf("no file: %t, %v, want false", is, err)
	}
	want := domain.NewSecret("ak_0123456789abcdefghijklmn")
	if err := cli.WriteKeyFile(path, want); err != nil {
		t.Fatal(err)
	}
	if got, is, err := cli.ReadAPIKeyFile(path); !is || err != nil || !got.Equal(want) {
		t.Errorf("got %t, %v, want the key", is, err)
	}
	if err := os.WriteFile(path, []byte("ak_half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, is, err := cli.ReadAPIKeyFile(path); is || err != nil {
		t.Errorf("half a key: %t, %v, want false", is, err)
	}
	if _, _, err := cli.ReadAPIKeyFile(filepath.Dir(path)); err == nil {
		t.Error("a directory: want an error")
	}
}

// The commands are run as they stand, in bash, with a curl that writes down how it was called and answers as the
// service does. Names need quotes here, so that one left out shows.
func TestTheCommandsWorkWhenTheyArePasted(t *testing.T) {
	const answers = `
  case "$*" in
  */jwt/issue*) answer rt_first 900;;
  *rt_first) answer rt_second 900;;
  *rt_second) answer rt_second 899;;
  esac`
	n, out, calls := paste(t, answers)
	if !strings.Contains(out, "\nthe same response\n") {
		t.Fatalf("bash: %s", out)
	}
	backend := "-H|Authorization: ak_pasted|-H|X-Stencil-TenantId: default|"
	want := []string{
		"-fsS|http://127.0.0.1:3000/jwt/issue|" + backend + `-H|Content-Type: application/json|` +
			`-d|{"userId": "alice", "applicationsId": "O'Hara \"demo\""}|`,
		"-fsS|http://127.0.0.1:3000/jwt/refresh|-d|refreshToken=rt_first|",
		"-fsS|http://127.0.0.1:3000/jwt/refresh|-d|refreshToken=rt_first|",
		"-fsS|http://127.0.0.1:3000/jwt/refresh|-d|refreshToken=rt_second|",
		"-fsS|http://127.0.0.1:3000/jwt/refresh?userId=alice|" + backend,
		"-fsS|-X|DELETE|http://127.0.0.1:3000/jwt/refresh/id-1|" + backend,
		"-sS|http://127.0.0.1:3000/jwt/refresh|-d|refreshToken=rt_second|",
		"",
	}
	if diff := cmp.Diff(want, strings.Split(calls, "\n")); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	if n.KeyFile == "" {
		t.Error("no key file")
	}
}

// Two refusals are equal, too. Two lost responses are also equal.
func TestTheCommandsDoNotTakeTwoRefusalsForTheSameResponse(t *testing.T) {
	for name, answers := range map[string]string{
		"refused":     "\n  printf '{\"success\":false,\"message\":\"m\",\"data\":null}\\n'",
		"no response": "\n  :",
		"retry failed": "\n  case \"$*\" in *issue*) answer rt_first 900;; " +
			"*) [ -e once ] || answer rt_second 900; touch once;; esac",
		"another one": "\n  case \"$*\" in *issue*) answer rt_first 900;; *) answer rt_$RANDOM 900;; esac",
	} {
		_, out, _ := paste(t, answers)
		if strings.Contains(out, "the same response") || !strings.Contains(out, "another response") {
			t.Errorf("%s: %s", name, out)
		}
	}
}

// paste runs the commands of a first run with a curl whose responses that script makes.
func paste(t *testing.T, answers string) (n cli.FirstRunNotice, out, calls string) {
	t.Helper()
	dir := t.TempDir()
	n = firstRun(t)
	n.KeyFile, n.ApplicationID = filepath.Join(dir, "it's a key; $HOME"), `O'Hara "demo"`
	if err := cli.WriteKeyFile(n.KeyFile, domain.NewSecret("ak_pasted")); err != nil {
		t.Fatal(err)
	}
	var notice strings.Builder
	cli.PrintFirstRun(&notice, n)
	_, commands, found := strings.Cut(notice.String(), "in this order:\n")
	if !found {
		t.Fatalf("no commands in:\n%s", notice.String())
	}
	curl := `set -u
answer() {
  printf '{"success":true,"message":"m","data":{"refreshToken":"%s","refreshTokenId":"id-1",' "$1"
  printf '"token":"a.b.c","expiresIn":%s}}\n' "$2"
}
curl() {
  printf '%s|' "$@" >> calls; echo >> calls` + answers + `
}
`
	bash := exec.Command("bash", "-c", curl+commands)
	bash.Dir = dir
	printed, err := bash.CombinedOutput()
	if err != nil {
		t.Fatalf("bash: %v\n%s", err, printed)
	}
	text, err := os.ReadFile(filepath.Join(dir, "calls"))
	if err != nil {
		t.Fatal(err)
	}
	return n, string(printed), string(text)
}

func TestAFileIsNoTerminal(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if cli.IsTerminal(f) || cli.IsTerminal(&strings.Builder{}) {
		t.Error("IsTerminal of a file or a buffer: want false")
	}
}
