package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

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

The store has a hash of each API key only. So the file takes each API key from an environment
variable, and export lists them on stderr: set each to a new key before you apply the file to
another store. On the same store, "refreshd apply --keep-keys" and "refreshd diff --keep-keys" keep
the API keys that they have.

With --with-keys the file also holds the signing keys, the token keys and the hashes of the API
keys, encrypted with a passphrase. A new store that such a file is applied to accepts the API keys
and the access tokens of this one. A thief of the file and the passphrase can make tokens.

What does not change while export reads is exact, and each tenant fits its applications. Another
object that is created, changed or deleted meanwhile is in the file as before, as after, or not.`,
		Example: `  refreshd export -o kickstart.yaml
  refreshd export --with-keys --passphrase-file passphrase.txt -o backup.yaml`,
	}
	c.Flags().VarP(&file, "output", "o", "the file to write or replace; without it, stdout")
	c.Flags().BoolVar(&withKeys, "with-keys", false, "add the keys, encrypted with a passphrase")
	c.Flags().Var(&passphrase, "passphrase-file", "a file with the passphrase; without it, a terminal is asked")
	return l.configured(c, func(ctx context.Context, loaded config.Config) error {
		if passphrase.text != "" && !withKeys {
			return wrong(c, "--passphrase-file is for --with-keys")
		}
		return l.Export(ctx, loaded, ExportOptions{file.text, withKeys, passphrase.text})
	})
}

// Variable is an environment variable that a kickstart file takes an API key from.
type Variable struct{ Name, APIKey string }

// WriteKickstart returns k as a kickstart file in which each API key is a variable, and these variables. sealed, if it
// is not empty, holds the keys and the hashes of the API keys, so that the file needs no variables.
func WriteKickstart(k admin.Kickstart, sealed string) (text []byte, variables []Variable, err error) {
	d := manifest.Document{Keys: sealed}
	for _, kt := range k.Tenants {
		t := manifest.Tenant{Tenant: kt.Tenant}
		for _, a := range kt.Applications {
			t.Applications = append(t.Applications, manifest.Application{Application: a})
		}
		d.Tenants = append(d.Tenants, t)
	}
	taken := make(map[string]bool)
	for _, ka := range k.APIKeys {
		one := manifest.APIKey{APIKey: ka.APIKey}
		if sealed == "" {
			one.Variable = variableFor(ka.APIKey.Name, taken)
			variables = append(variables, Variable{one.Variable, ka.APIKey.Name})
		}
		d.APIKeys = append(d.APIKeys, one)
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

// variableFor returns a name for the variable of an API key that is not taken, and takes it. No name begins with
// REFRESHD_, because the configuration refuses settings that it does not know.
func variableFor(apiKey string, taken map[string]bool) string {
	base := strings.Trim(notInVariable.ReplaceAllString(strings.ToUpper(apiKey), "_"), "_")
	switch {
	case base == "":
		base = "API"
	case base[0] <= '9' || strings.HasPrefix(base+"_", "REFRESHD_"):
		base = "API_" + base
	}
	name := base + "_KEY"
	for n := 2; taken[name]; n++ {
		name = fmt.Sprintf("%s_KEY_%d", base, n)
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
	out.WriteString("The file takes these API keys from the environment:\n")
	for _, v := range variables {
		fmt.Fprintf(&out, "  %-*s  %s\n", width, v.Name, printable(v.APIKey))
	}
	_, _ = io.WriteString(w, out.String())
}

// Seal returns the sealed part of an export: the keys, and the hashes of the API keys.
func Seal(k admin.Kickstart, keys []domain.OpenKey, passphrase domain.Secret, random io.Reader) (string, error) {
	s := manifest.Sealed{Keys: keys}
	for _, ka := range k.APIKeys {
		s.APIKeys = append(s.APIKeys, manifest.HashedAPIKey{
			Name: ka.APIKey.Name, Hash: ka.APIKey.Hash, PreviousHash: ka.APIKey.PreviousHash,
		})
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
