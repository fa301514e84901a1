package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/refreshd/refreshd/adapter/manifest"
	"github.com/refreshd/refreshd/config/spelling"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/usecase"
	"github.com/refreshd/refreshd/usecase/admin"
)

// maxKickstart is the maximum size of a kickstart file in bytes. An export of more is refused, too.
const maxKickstart = 16 << 20

// Document is a kickstart file that was read.
type Document struct {
	Kickstart admin.Kickstart
	Keys      []domain.OpenKey // that Unseal opened

	file   string
	sealed string // keys under a passphrase; empty if the file has none
	lines  manifest.Lines
}

// ReadKickstart reads the text of a kickstart file; file is its name, for messages. In a string value ${NAME} stands
// for the text that lookupEnv returns for NAME, ${file:PATH} for the content of that file, and $$ for a dollar sign. A
// file without content is an empty Kickstart.
//
// The error has one line for each problem, with the line of the file and the field.
func ReadKickstart(file string, text []byte, lookupEnv func(string) (string, bool)) (Document, error) {
	return readKickstart(file, text, variables{lookupEnv: lookupEnv})
}

// ReadKickstartWithoutKeys is ReadKickstart, but an API key whose `key`, a signing key whose `privateKey`, and a client
// secret whose `secret` is a variable that is not set has none. So a reader without the keys
// can compare a file with a store.
func ReadKickstartWithoutKeys(
	file string, text []byte, lookupEnv func(string) (string, bool),
) (Document, error) {
	return readKickstart(file, text, variables{lookupEnv, true})
}

func readKickstart(file string, text []byte, v variables) (Document, error) {
	if len(text) > maxKickstart {
		return Document{}, &fileError{file, []manifest.Problem{{FieldError: domain.FieldError{
			Message: "is larger than 16 MiB: split it, and apply the parts one after the other",
		}}}}
	}
	m, lines, problems := manifest.ReadYAML[manifest.Document](text, v.expand)
	if len(problems) > 0 {
		return Document{}, &fileError{file, problems}
	}
	by := domain.Actor{Kind: domain.ActorKickstart, Name: filepath.Base(file)}
	k := admin.Kickstart{By: domain.Origin{Actor: by}}
	for _, t := range m.Tenants {
		kt := admin.KickstartTenant{Tenant: t.Tenant}
		for _, a := range t.Applications {
			kt.Applications = append(kt.Applications, a.Application)
			if a.Secrets == nil {
				continue
			}
			texts := make([]domain.Secret, len(a.Secrets))
			for i, s := range a.Secrets {
				texts[i] = s.Secret
			}
			if kt.Secrets == nil {
				kt.Secrets = make(map[string]admin.ClientSecrets)
			}
			kt.Secrets[a.ID] = admin.ClientSecrets{Texts: texts}
		}
		k.Tenants = append(k.Tenants, kt)
	}
	for _, key := range m.APIKeys {
		k.APIKeys = append(k.APIKeys, admin.KickstartAPIKey{APIKey: key.APIKey, Key: key.Key})
	}
	for _, key := range m.Keys {
		k.Keys = append(k.Keys, admin.ImportedKey{Text: key.Private, NewKey: usecase.NewKey{
			ID: key.ID, TenantID: key.TenantID, Algorithm: key.Algorithm, Name: key.Name, KnownAt: key.KnownSince,
		}})
	}
	return Document{Kickstart: k, file: file, lines: lines, sealed: m.SealedKeys}, nil
}

// IsSealed reports whether the file has sealed keys, which Unseal opens.
func (d Document) IsSealed() bool { return d.sealed != "" }

// Unseal returns d with its sealed keys, and with the hashes of those of its API keys and applications that have no key
// and no client secrets of their own.
func (d Document) Unseal(passphrase domain.Secret) (Document, error) {
	sealed, err := manifest.Unseal(d.sealed, passphrase)
	if err != nil {
		return Document{}, &fileError{d.file, []manifest.Problem{{
			Line: d.lines.Of("sealedKeys"), FieldError: domain.FieldError{Field: "sealedKeys", Message: err.Error()},
		}}}
	}
	hashed := make(map[string]manifest.HashedAPIKey)
	for _, k := range sealed.APIKeys {
		hashed[k.Name] = k
	}
	d.Keys, d.Kickstart.APIKeys = sealed.Keys, slices.Clone(d.Kickstart.APIKeys)
	for i := range d.Kickstart.APIKeys {
		if k := &d.Kickstart.APIKeys[i]; k.Key.IsZero() {
			h := hashed[k.APIKey.Name]
			k.APIKey.Hash, k.APIKey.PreviousHash = h.Hash, h.PreviousHash
			k.APIKey.HashKey, k.APIKey.PreviousHashKey = h.HashKey, h.PreviousHashKey
		}
	}
	secrets := make(map[[2]string][]domain.ClientSecret)
	for _, s := range sealed.ClientSecrets {
		of := [2]string{s.TenantID, s.ApplicationID}
		secrets[of] = append(secrets[of], s.ClientSecret)
	}
	d.Kickstart.Tenants = slices.Clone(d.Kickstart.Tenants)
	for i := range d.Kickstart.Tenants {
		kt := &d.Kickstart.Tenants[i]
		kt.Applications = slices.Clone(kt.Applications)
		for j := range kt.Applications {
			a := &kt.Applications[j]
			a.Client.Secrets = secrets[[2]string{kt.Tenant.ID, a.ID}]
		}
	}
	return d, nil
}

// Force returns d with which stored keys and client secrets may end although a previous one is valid too.
func (d Document) Force() Document {
	d.Kickstart.APIKeys = slices.Clone(d.Kickstart.APIKeys)
	for i := range d.Kickstart.APIKeys {
		d.Kickstart.APIKeys[i].Force = true
	}
	for _, kt := range d.Kickstart.Tenants {
		for id, s := range kt.Secrets {
			s.Force = true
			kt.Secrets[id] = s
		}
	}
	return d
}

// Explain turns the *domain.Invalid that admin.Apply returned for this document into an error with one line for
// each problem: the line of the file and the field. A field that the file leaves out has the line of its object.
// Explain returns other errors unchanged.
func (d Document) Explain(err error) error {
	var invalid *domain.Invalid
	if !errors.As(err, &invalid) {
		return err
	}
	problems := make([]manifest.Problem, len(invalid.Fields))
	for i, f := range invalid.Fields {
		if near := spelling.Nearest(f.Name, f.Known); near != "" {
			f.Message += "; did you mean " + near + "?"
		} else {
			f.Message = f.Text()
		}
		problems[i] = manifest.Problem{Line: d.lines.Of(f.Field), FieldError: f}
	}
	return &fileError{d.file, problems}
}

// fileError is all problems of a file.
type fileError struct {
	file     string
	problems []manifest.Problem
}

func (e *fileError) Error() string {
	problems := slices.Clone(e.problems)
	slices.SortStableFunc(problems, func(a, b manifest.Problem) int { return cmp.Compare(a.Line, b.Line) })
	lines := make([]string, len(problems))
	for i, p := range problems {
		at := e.file
		if p.Line > 0 {
			at += ":" + strconv.Itoa(p.Line)
		}
		if p.Field != "" {
			at += ": " + short(printable(p.Field))
		}
		lines[i] = at + ": " + printable(p.Message)
	}
	return strings.Join(lines, "\n")
}

// printable returns s on one line without control characters: names in a file can be any text.
func printable(s string) string {
	if !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		quoted := strconv.Quote(s)
		s = quoted[1 : len(quoted)-1]
	}
	return s
}

// short returns at most 255 bytes of s.
func short(s string) string {
	if len(s) > 255 {
		s = strings.ToValidUTF8(s[:255], "") + "…"
	}
	return s
}

var variable = regexp.MustCompile(`^\{(?:([A-Za-z_][A-Za-z0-9_]*)|file:([^{}]+))\}`)

// variables are the variables and files that a text can name.
type variables struct {
	lookupEnv   func(string) (string, bool)
	withoutKeys bool
}

var (
	keyField = regexp.MustCompile(`^apiKeys\[\d+\]\.key$|^keys\[\d+\]\.privateKey$|` +
		`^tenants\[\d+\]\.applications\[\d+\]\.clientSecrets\[\d+\]\.secret$`)
	onlyVariable = regexp.MustCompile(`^\$\{([A-Za-z_][A-Za-z0-9_]*)\}$`)
)

// expand replaces the names of environment variables and files in a text by their content, without one line break at
// its end. It does not expand the replacement again. path is that of the text in the document.
func (v variables) expand(path, value string) (_ string, missing []string) {
	if name := onlyVariable.FindStringSubmatch(value); v.withoutKeys && name != nil && keyField.MatchString(path) {
		if _, set := v.lookupEnv(name[1]); !set {
			return "", nil
		}
	}
	var text strings.Builder
	for rest := value; ; {
		before, after, found := strings.Cut(rest, "$")
		text.WriteString(before)
		if !found {
			return text.String(), missing
		}
		if unescaped, ok := strings.CutPrefix(after, "$"); ok {
			text.WriteByte('$')
			rest = unescaped
			continue
		}
		name := variable.FindStringSubmatch(after)
		if name == nil {
			return "", append(missing, "has a $ that names no variable: write ${NAME} for a variable of the environment, "+
				"${file:PATH} for the content of a file, $$ for a dollar sign")
		}
		s, needed := v.lookUp(name[1], name[2])
		if needed != "" {
			missing = append(missing, "needs "+needed)
		}
		text.WriteString(s)
		rest = after[len(name[0]):]
	}
}

// ReadFile reads a kickstart file, which may be a pipe. It returns an error if the file is larger than 16 MiB, or is an
// endless device.
func ReadFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxKickstart+1))
	if err == nil && len(text) > maxKickstart {
		err = fmt.Errorf("%s is larger than 16 MiB", path)
	}
	return text, err
}

// lookUp returns the content of an environment variable or, if name is empty, of the file at path, without one line
// break at its end; or what is missing.
func (v variables) lookUp(name, path string) (text, missing string) {
	missing = "the environment variable " + name + ", which is not set or empty"
	if name == "" {
		content, err := ReadFile(path)
		if err != nil {
			return "", "a file that cannot be read: " + err.Error()
		}
		text, missing = string(content), "the file "+path+", which is empty"
	} else {
		text, _ = v.lookupEnv(name)
	}
	if text = withoutLineBreak(text); text == "" {
		return "", missing
	}
	return text, ""
}
