package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"text/template"

	"github.com/refreshd/refreshd/config"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/usecase/admin"
)

// FirstRun is what serve applies to an empty embedded store, for a first try: a tenant and an application, both with
// the default policy, and an API key for that tenant that may do everything except administration: it may list all
// sessions and follow the revocations too, so that every example works with it. The Secret is that key, made of 32
// random bytes.
func FirstRun(random io.Reader) (admin.Kickstart, domain.Secret, error) {
	key, err := domain.NewAPIKey(random)
	if err != nil {
		return admin.Kickstart{}, domain.Secret{}, fmt.Errorf("cli: the first run: %w", err)
	}
	const tenant = config.FirstTenant
	return admin.Kickstart{
		By: domain.Service(),
		Tenants: []admin.KickstartTenant{{
			Tenant:       domain.Tenant{ID: tenant, Name: "Default"},
			Applications: []domain.Application{{ID: "demo", Name: "Demo"}},
		}},
		APIKeys: []admin.KickstartAPIKey{{
			APIKey: domain.APIKey{Name: "first", TenantID: tenant, Permissions: domain.Permissions{
				"*": {"*"}, domain.SessionsPermission: {"GET"}, domain.RevocationsPermission: {"GET"},
			}},
			Key: key,
		}},
	}, key, nil
}

// unfinished marks the names under which WriteKeyFile writes.
const unfinished = ".unfinished-"

// RemoveUnfinished removes the files that interrupted calls of WriteKeyFile left in dir. No such call may be running.
func RemoveUnfinished(dir string) error {
	left, err := os.ReadDir(dir)
	for _, f := range left {
		if strings.HasPrefix(f.Name(), ".") && strings.Contains(f.Name(), unfinished) {
			err = errors.Join(err, os.Remove(filepath.Join(dir, f.Name())))
		}
	}
	return err
}

// ReadAPIKeyFile returns the API key that WriteKeyFile stored at path; false if there is no such file, or no API key
// in it.
func ReadAPIKeyFile(path string) (domain.Secret, bool, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return domain.Secret{}, false, nil
	}
	if err != nil {
		return domain.Secret{}, false, fmt.Errorf("cli: read key file: %w", err)
	}
	key := strings.TrimSuffix(string(text), "\n")
	return domain.NewSecret(key), domain.IsAPIKey(key), nil
}

// WriteKeyFile stores a key in a file that only the owner can read. It creates the directory if there is none. It
// does not change an existing file, and returns fs.ErrExist: the key in it may be in use, and stored nowhere else.
func WriteKeyFile(path string, key domain.Secret) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("cli: write key file: %w", err)
	}
	// The file gets its name when it is complete on the disk. Otherwise a power cut could leave half a key, and no start
	// would succeed after it.
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+unfinished+"*") // with mode 0600
	if err != nil {
		return fmt.Errorf("cli: write key file: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = io.WriteString(f, key.Reveal()+"\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("cli: write key file %s: %w", path, err)
	}
	err = os.Link(f.Name(), path)                                                   // unlike Rename, it replaces nothing
	if _, there := os.Lstat(path); err != nil && errors.Is(there, fs.ErrNotExist) { // there are file systems without links
		// An empty file takes the name first, so that one of two concurrent calls is refused.
		reserved, taken := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err = taken; err == nil {
			err = errors.Join(reserved.Close(), os.Rename(f.Name(), path))
		}
	}
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("cli: write key file: %w: the key in it may be in use; move the file away if it is not", err)
	}
	// The name of the key file must be on the disk before anything that is encrypted with the key.
	if err = errors.Join(err, syncDirectory(filepath.Dir(path))); err != nil {
		return fmt.Errorf("cli: write key file %s: %w", path, err)
	}
	return nil
}

// syncDirectory makes the names in dir durable, if the file system supports it.
func syncDirectory(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); !errors.Is(err, fs.ErrPermission) && !errors.Is(err, errors.ErrUnsupported) &&
		!errors.Is(err, syscall.EINVAL) {
		return err
	}
	return nil
}

// FirstRunNotice holds the values that a first run shows.
type FirstRunNotice struct {
	BaseURL       string // of the API, without a trailing slash
	TenantID      string
	ApplicationID string
	KeyFile       string // absolute, so that the commands work in any directory
}

// PrintFirstRun prints what the first run created, and commands for bash that use it when they are pasted in order. It
// prints no secret: the commands read the API key from its file, on a terminal too, as README's tour does.
func PrintFirstRun(w io.Writer, n FirstRunNotice) {
	// A closed w is not an error: the key is in its file.
	_ = firstRun.Execute(w, n)
}

// PrintLaterRun prints where a first run left its API key.
func PrintLaterRun(w io.Writer, keyFile, baseURL string) {
	_, _ = fmt.Fprintf(w, "The API key of the first start is in the file %s\nThe API is described at %s/docs\n",
		keyFile, baseURL)
}

// The commands need curl alone, and hold no exclamation mark, which an interactive bash takes for history. The last
// request is to be refused, so it is the one without -f.
var firstRun = template.Must(template.New("").Funcs(template.FuncMap{
	"shell": shellQuote, "secure": func(url string) bool { return strings.HasPrefix(url, "https:") },
}).Parse(
	`The store was empty. It now has something to try:

  tenant       {{.TenantID}}
  application  {{.ApplicationID}}
  API key      in the file {{.KeyFile}}
               Keep it: the store holds a hash of it only.

Then, for tenants and applications of your own: write a kickstart.yaml as "refreshd help kickstart"
shows it, and apply it with "refreshd apply -f kickstart.yaml". The API in full, with examples:
{{.BaseURL}}/docs
{{if not (secure .BaseURL)}}
OAuth libraries refuse http: use --public-url https://auth.example.com behind a TLS proxy.
{{end}}
Paste these commands into bash, in this order:

# The address of the service, the API key, and the headers of a backend, for all of them.
BASE={{shell .BaseURL}}
API_KEY=$(cat {{shell .KeyFile}})
BACKEND=(-H "Authorization: $API_KEY" -H {{shell (print "X-Stencil-TenantId: " .TenantID)}})

# Issue: a user logs in; the login service gets a refresh token and an access token.
ISSUED=$(curl -fsS "$BASE/jwt/issue" "${BACKEND[@]}" -H 'Content-Type: application/json' \
  -d {{shell (printf "{\"userId\": \"alice\", \"applicationsId\": %q}" .ApplicationID)}})
echo "$ISSUED"

# Exchange: the device sends its token string, and gets an access token and the next token string.
FIRST=$(echo "$ISSUED" | sed -n 's/.*"refreshToken":"\([^"]*\)".*/\1/p')
EXCHANGED=$(curl -fsS "$BASE/jwt/refresh" -d "refreshToken=$FIRST")
echo "$EXCHANGED"

# Retry: that response was lost, and the device sends the string again. A response is repeated
# for 30 seconds: a request with the old string or the new one gets it again.
RETRIED=$(curl -fsS "$BASE/jwt/refresh" -d "refreshToken=$FIRST")
echo "$RETRIED"
CURRENT=$(echo "$EXCHANGED" | sed -n 's/.*"refreshToken":"\([^"]*\)".*/\1/p')
AGAIN=$(curl -fsS "$BASE/jwt/refresh" -d "refreshToken=$CURRENT")
tokens() { echo "$1" | sed -n 's/,"expiresIn".*//p'; }   # without the seconds left
[ -n "$(tokens "$EXCHANGED")" ] && [ "$(tokens "$RETRIED")" = "$(tokens "$EXCHANGED")" ] &&
  [ "$(tokens "$AGAIN")" = "$(tokens "$EXCHANGED")" ] && echo 'the same response' ||
  echo 'another response'

# List: the refresh tokens of a user. There is one, in its second generation.
curl -fsS "$BASE/jwt/refresh?userId=alice" "${BACKEND[@]}"

# Revoke: that one, by its id.
ID=$(echo "$ISSUED" | sed -n 's/.*"refreshTokenId":"\([^"]*\)".*/\1/p')
curl -fsS -X DELETE "$BASE/jwt/refresh/$ID" "${BACKEND[@]}"

# Refused: the token string that was current until now, with the code [revoked]refreshToken.
curl -sS "$BASE/jwt/refresh" -d "refreshToken=$CURRENT"

`))

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./~-]+$`)

// shellQuote returns s as one word of a shell.
func shellQuote(s string) string {
	if plainWord.MatchString(s) && !strings.HasPrefix(s, "~") {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
