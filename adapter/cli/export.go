package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/refreshd/refreshd/adapter/manifest"
	"github.com/refreshd/refreshd/config"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/usecase/admin"
)

// ExportOptions are the flags of export.
type ExportOptions struct {
	File           string // empty for stdout
	WithKeys       bool
	PassphraseFile string // empty for a prompt
}

func (l *line) export() *cobra.Command {
	var (
		file       = textFlag{form: "FILE"}
		passphrase = textFlag{form: "FILE"}
		withKeys   bool
	)
	c := &cobra.Command{
		Use: "export", GroupID: settingUp,
		Short: "Write the configuration as a kickstart file",
		Long: `Write all tenants, applications and API keys as a kickstart file, which "refreshd apply" takes.
Sessions, revocations and the audit trail are not part of it.

The store has a hash of each API key and each client secret only. So the file takes each from an
environment variable, and export lists them on stderr: set each to a new key or secret before you
apply the file to another store. A signing key that was imported takes its private key from a
variable too; other signing keys are not in the file. On the same store, "refreshd apply
--keep-keys" and "refreshd diff --keep-keys" keep the keys and secrets that are stored.

With --with-keys the file also holds the signing keys, the token keys and the hashes of the API
keys and client secrets, encrypted with a passphrase. A new store that such a file is applied to
accepts the API keys, the client secrets and the access tokens of this one. A thief of the file and
the passphrase can make tokens.

With --server it exports the configuration of a running service, as far as the API key in
REFRESHD_API_KEY or REFRESHD_API_KEY_FILE serves: one of a tenant exports that tenant. It needs GET
on /tenant, /application, /api-key and /key. --with-keys needs the database: a service gives no key.

What does not change while export reads is exact, and each tenant fits its applications. Another
object that is created, changed or deleted meanwhile is in the file as before, as after, or not.`,
		Example: `  refreshd export -o kickstart.yaml
  refreshd export --with-keys --passphrase-file passphrase.txt -o backup.yaml
  refreshd export --server https://auth.example.com -o staging.yaml`,
	}
	c.Flags().VarP(&file, "output", "o", "the file to write or replace; without it, stdout")
	c.Flags().BoolVar(&withKeys, "with-keys", false, "add the keys, encrypted with a passphrase")
	c.Flags().Var(&passphrase, "passphrase-file", "a file with the passphrase; without it, a terminal is asked")
	return l.configured(c, func(ctx context.Context, loaded config.Config) error {
		if passphrase.text != "" && !withKeys {
			return wrong(c, "--passphrase-file is for --with-keys")
		}
		switch {
		case loaded.Server == "":
			return l.Export(ctx, loaded, ExportOptions{file.text, withKeys, passphrase.text})
		case withKeys:
			return wrong(c, "--with-keys is for the database, because a service gives no key: leave out --server and "+
				"REFRESHD_SERVER")
		}
		return l.exportFrom(ctx, loaded, file.text)
	})
}

// exportFrom writes the configuration of a running service.
func (l *line) exportFrom(ctx context.Context, loaded config.Config, file string) error {
	n := &network{http.Transport{Proxy: http.ProxyFromEnvironment}}
	defer n.Close()
	from := configuration{newClient(n, loaded.Server, loaded.APIKey, "")}
	k, err := (&admin.Export{Tenants: from, Applications: from, APIKeys: from, Keys: from}).Do(ctx)
	if failure := (*Failure)(nil); errors.As(err, &failure) {
		return failure // it says what to do; what it is wrapped in is about a store
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(l.Stderr, "This is the configuration of %s.\n", loaded.Server)
	return l.WriteExport(k, "", file)
}

// configuration reads the objects of a running service. A list is complete, whatever limit is.
type configuration struct{ client *client }

// Tenants implements admin.Export's reader of tenants. Rows have no version: Tenant has.
func (c configuration) Tenants(ctx context.Context, _ string, _ int) (all []domain.Tenant, _ string, err error) {
	found, err := documents[manifest.StoredTenant](ctx, c.client, request{path: "/tenant", what: "list of tenants"})
	for _, d := range found {
		all = append(all, d.Tenant)
	}
	return all, "", err
}

func (c configuration) Tenant(ctx context.Context, id string) (domain.Tenant, error) {
	got, err := c.client.do(ctx, request{method: "GET", path: segment("/tenant", id), what: "tenant " + id})
	if failure := (*Failure)(nil); errors.As(err, &failure) && failure.Status == StatusNotFound {
		return domain.Tenant{}, domain.ErrNotFound
	}
	if err != nil {
		return domain.Tenant{}, err
	}
	d, err := manifest.ReadJSON[manifest.StoredTenant](got.data)
	if err != nil {
		return domain.Tenant{}, failed(StatusFailed, "tenant %s is not valid: %v", id, err)
	}
	version, err := strconv.ParseUint(strings.Trim(got.header.Get("ETag"), `"`), 10, 64)
	if err != nil {
		return domain.Tenant{}, failed(StatusFailed, "tenant %s has no version", id)
	}
	d.Version = domain.Version(version)
	return d.Tenant, nil
}

func (c configuration) Applications(
	ctx context.Context, tenantID, _ string, _ int,
) (all []domain.Application, _ string, err error) {
	in := *c.client
	in.tenant = tenantID
	list := request{path: "/application", what: "list of applications"}
	found, err := documents[manifest.StoredApplication](ctx, &in, list)
	if err != nil {
		if _, gone := c.Tenant(ctx, tenantID); errors.Is(gone, domain.ErrNotFound) {
			return nil, "", gone // deleted meanwhile: the list is then refused as by a wrong key
		}
		return nil, "", err
	}
	for _, d := range found {
		d.TenantID = tenantID
		for _, s := range d.Secrets { // their number is what an export needs
			d.Client.Secrets = append(d.Client.Secrets, domain.ClientSecret{CreatedAt: instant(s.CreatedMS)})
		}
		all = append(all, d.Application)
	}
	return all, "", nil
}

func (c configuration) APIKeys(
	ctx context.Context, _ string, _ domain.ID, _ int,
) (all []domain.APIKey, _ domain.ID, err error) {
	found, err := documents[manifest.StoredAPIKey](ctx, c.client, request{path: "/api-key", what: "list of API keys"})
	for _, d := range found {
		all = append(all, d.APIKey.APIKey)
	}
	return all, domain.ID{}, err
}

// KeysSince implements admin.Export's reader of keys. The first page is the last. Rows have no revision.
func (c configuration) KeysSince(ctx context.Context, revision uint64, _ int) (all []domain.SealedKey, err error) {
	if revision > 0 {
		return nil, nil
	}
	_, err = c.client.pages(ctx, request{path: "/key", what: "list of keys"}, 0, func(rows []json.RawMessage) error {
		for _, row := range rows {
			var k struct {
				ID, Kind, TenantID, Algorithm, Name          string
				KnownInstant, RetiredInstant, RevokedInstant int64
			}
			if err := json.Unmarshal(row, &k); err != nil {
				return failed(StatusFailed, "a row of the list of keys is not valid: %v", err)
			}
			all = append(all, domain.SealedKey{
				ID: k.ID, Kind: domain.KeyKind(k.Kind), TenantID: k.TenantID, Algorithm: domain.Algorithm(k.Algorithm),
				Name: k.Name, Revision: uint64(len(all) + 1),
				KnownAt: instant(k.KnownInstant), RetiredAt: instant(k.RetiredInstant), RevokedAt: instant(k.RevokedInstant),
			})
		}
		return nil
	})
	return all, err
}

// instant returns the time of a member of a response; the zero time for 0.
func instant(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// documents returns all rows of a list.
func documents[T any](ctx context.Context, c *client, r request) (all []T, err error) {
	_, err = c.pages(ctx, r, 0, func(rows []json.RawMessage) error {
		for _, row := range rows {
			d, err := manifest.ReadJSON[T](row)
			if err != nil {
				return failed(StatusFailed, "a row of the %s is not valid: %v", r.what, err)
			}
			all = append(all, d)
		}
		return nil
	})
	return all, err
}

// WriteExport writes an export to the file, or to the output if it has no name, and prints the variables that it needs.
func (p Program) WriteExport(k admin.Kickstart, sealed, file string) error {
	text, variables, err := WriteKickstart(k, sealed)
	if err != nil {
		return err
	}
	if file == "" {
		_, err = p.Stdout.Write(text)
	} else {
		err = WriteFile(file, text)
	}
	if err != nil {
		return fmt.Errorf("write the export: %w", err)
	}
	PrintVariables(p.Stderr, variables)
	return nil
}

// Variable is an environment variable that a kickstart file takes a key from, and what key that is.
type Variable struct{ Name, Key string }

// WriteKickstart returns k as a kickstart file in which each API key, each private key and each client secret is a
// variable, and these variables. sealed, if it is not empty, holds the keys and the hashes, so that the file needs no
// variables.
func WriteKickstart(k admin.Kickstart, sealed string) (text []byte, variables []Variable, err error) {
	d := manifest.Document{SealedKeys: sealed}
	taken := make(map[string]bool)
	for _, ka := range k.APIKeys {
		one := manifest.APIKey{APIKey: ka.APIKey}
		if sealed == "" {
			one.Variable = variableFor(ka.APIKey.Name, taken)
			variables = append(variables, Variable{one.Variable, "the API key " + ka.APIKey.Name})
		}
		d.APIKeys = append(d.APIKeys, one)
	}
	for _, key := range k.Keys {
		if sealed != "" {
			break // which has all keys
		}
		one := manifest.SigningKey{
			ID: key.ID, TenantID: key.TenantID, Name: key.Name, Algorithm: key.Algorithm, KnownSince: key.KnownAt,
			Variable: variableFor(key.ID, taken),
		}
		variables = append(variables, Variable{one.Variable, "the private key " + key.ID})
		d.Keys = append(d.Keys, one)
	}
	for _, kt := range k.Tenants { // after the keys, whose variables keep their names when an application gets a secret
		t := manifest.Tenant{Tenant: kt.Tenant}
		for _, a := range kt.Applications {
			one := manifest.Application{Application: a}
			if sealed == "" {
				for range a.Client.Secrets {
					name := variableNamed(a.ID, "_SECRET", taken)
					one.Secrets = append(one.Secrets, manifest.ClientSecret{Variable: name})
					what := "the client secret of the application " + a.ID + " of the tenant " + kt.Tenant.ID
					variables = append(variables, Variable{name, what})
				}
			}
			t.Applications = append(t.Applications, one)
		}
		d.Tenants = append(d.Tenants, t)
	}
	if text, err = manifest.YAML(&d); err != nil {
		return nil, nil, err
	}
	text = append([]byte("# A kickstart file: refreshd apply -f FILE, refreshd help kickstart\n"), text...)
	if len(text) > maxKickstart {
		return nil, nil, errors.New("the configuration is larger than 16 MiB, which is the maximum of a kickstart file")
	}
	return text, variables, nil
}

var notInVariable = regexp.MustCompile(`[^A-Z0-9]+`)

// variableFor returns a name for the variable of a key that is not taken, and takes it. No name begins with
// REFRESHD_, because the configuration refuses settings that it does not know.
func variableFor(key string, taken map[string]bool) string { return variableNamed(key, "_KEY", taken) }

func variableNamed(key, suffix string, taken map[string]bool) string {
	base := strings.Trim(notInVariable.ReplaceAllString(strings.ToUpper(key), "_"), "_")
	switch {
	case base == "":
		base = "API"
	case base[0] <= '9' || strings.HasPrefix(base+"_", "REFRESHD_"):
		base = "API_" + base
	}
	name := base + suffix
	for n := 2; taken[name]; n++ {
		name = fmt.Sprintf("%s%s_%d", base, suffix, n)
	}
	taken[name] = true
	return name
}

// PrintVariables prints which variables a kickstart file needs.
func PrintVariables(w io.Writer, variables []Variable) {
	if len(variables) == 0 {
		return
	}
	width := 0
	for _, v := range variables {
		width = max(width, len(v.Name))
	}
	var out strings.Builder
	out.WriteString("The file takes these keys from the environment:\n")
	for _, v := range variables {
		fmt.Fprintf(&out, "  %-*s  %s\n", width, v.Name, printable(v.Key))
	}
	_, _ = io.WriteString(w, out.String())
}

// Seal returns the sealed part of an export: the keys, and the hashes of the API keys and the client secrets.
func Seal(k admin.Kickstart, keys []domain.OpenKey, passphrase domain.Secret, random io.Reader) (string, error) {
	s := manifest.Sealed{Keys: keys}
	for _, ka := range k.APIKeys {
		s.APIKeys = append(s.APIKeys, manifest.HashedAPIKey{
			Name: ka.APIKey.Name, Hash: ka.APIKey.Hash, PreviousHash: ka.APIKey.PreviousHash,
			HashKey: ka.APIKey.HashKey, PreviousHashKey: ka.APIKey.PreviousHashKey,
		})
	}
	for _, kt := range k.Tenants {
		for _, a := range kt.Applications {
			for _, one := range a.Client.Secrets {
				s.ClientSecrets = append(s.ClientSecrets, manifest.HashedClientSecret{
					TenantID: kt.Tenant.ID, ApplicationID: a.ID, ClientSecret: one,
				})
			}
		}
	}
	return s.Seal(passphrase, random)
}

// WriteFile writes or replaces a file that only its owner can read. A file that exists stays as it is until the new one
// is complete on the disk. A path to something else than a regular file, such as a pipe, is written to.
func WriteFile(path string, text []byte) error {
	if info, err := os.Lstat(path); err == nil && !info.Mode().IsRegular() {
		return os.WriteFile(path, text, 0o600)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+unfinished+"*") // with mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return errors.Join(os.Rename(f.Name(), path), syncDirectory(filepath.Dir(path)))
}
