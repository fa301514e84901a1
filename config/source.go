package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/v2"

	"github.com/refreshd/refreshd/config/spelling"
)

// Error is the reason that a configuration was refused: all its problems.
type Error struct{ Problems []Problem }

// Problem is a mistake in a configuration, described for the operator. It never repeats a value.
type Problem struct {
	Source  string // "environment", "flags", "file PATH" or "defaults"
	Key     string // the setting in the spelling of that source; empty for a problem of the whole source
	Message string // what is wrong and what to do
}

// WrongUsage reports whether a problem is in the command line.
func (e *Error) WrongUsage() bool {
	return slices.ContainsFunc(e.Problems, func(p Problem) bool { return p.Source == flags.label })
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("config: ")
	if len(e.Problems) == 1 {
		b.WriteString("1 problem")
	} else {
		fmt.Fprintf(&b, "%d problems", len(e.Problems))
	}
	for _, p := range e.Problems {
		b.WriteString("\n  " + p.Source + ": ")
		if p.Key != "" {
			// A key of a file can be any text; quoted, it cannot pass for a line of its own.
			quoted := strconv.Quote(p.Key)
			b.WriteString(quoted[1:len(quoted)-1] + " ")
		}
		b.WriteString(p.Message)
	}
	return b.String()
}

// source is where a value came from, with the spelling of settings there.
type source struct {
	label string
	spell func(setting) string
}

var (
	defaults    = source{"defaults", setting.env}
	environment = source{"environment", setting.env}
	flags       = source{"flags", func(s setting) string { return "--" + s.kebab() }}
)

func fileSource(path string) source {
	return source{"file " + path, func(s setting) string { return s.name }}
}

// names returns the name of s in messages about this source.
func (src source) names(s setting) string { return src.spell(s) + " (" + src.label + ")" }

// of returns where s came from, for a list of settings.
func (src source) of(s setting) string {
	switch src.label {
	case defaults.label:
		return "default"
	case environment.label:
		return "environment " + src.spell(s)
	case flags.label:
		return "flag " + src.spell(s)
	default:
		return src.label
	}
}

type value struct {
	text   string
	source source
	read   bool // text was read from the file that the source names
}

// withoutLineBreak returns text without the line break that may end it.
func withoutLineBreak(text string) string {
	if line, ok := strings.CutSuffix(text, "\r\n"); ok {
		return line
	}
	return strings.TrimSuffix(text, "\n")
}

// check parses v into c.
func (s setting) check(c *draft, v value) error {
	switch {
	case v.text == "" && s.def != "" && !s.emptyTurnsOff:
		return errors.New("is empty; give it a value, or do not set it: then it is " + s.def)
	case s.secret && v.source.label == flags.label && !v.read && holdsPassword(v.text, c.schemes):
		return errors.New("holds a password, and arguments show in process lists; set " + s.env() + " or " + s.env() +
			"_FILE, or leave the password out and set PGPASSFILE")
	}
	return s.parse(c, v.text)
}

// loader reads the sources and collects their problems.
type loader struct {
	problems []Problem
	refused  map[string]bool // the names of settings with a problem
}

func (l *loader) note(src source, s setting, message string) {
	l.refused[s.name] = true
	l.problems = append(l.problems, Problem{src.label, src.spell(s), message})
}

func (l *loader) noteUnknown(src source, key string, known []string, advice string) {
	message := "is not a known setting"
	if near := nearest(key, known); near != "" {
		message += "; did you mean " + near + "?"
	} else {
		message += "; " + advice
	}
	l.problems = append(l.problems, Problem{src.label, key, message})
}

// takeFlags checks that each flag belongs to a setting. Package cli refuses other flags before.
func (l *loader) takeFlags(set map[string]string) map[string]value {
	found := make(map[string]any, len(set))
	for name, text := range set {
		found["--"+name] = text
	}
	flagged := slices.DeleteFunc(slices.Clone(settings), func(s setting) bool { return s.unflagged })
	return l.take(flags, found, flagged, func(string) string { return listed })
}

// listed is the advice for an unknown setting.
const listed = "`refreshd help configuration` lists them"

func (l *loader) readEnvironment(environ []string) map[string]value {
	layer := koanf.New(".")
	// Without a delimiter the provider keeps names whole, so that a message has a refused name as it is in the
	// environment. The provider fails only if it is asked for bytes.
	_ = layer.Load(env.Provider("", env.Opt{
		Prefix:      envPrefix,
		EnvironFunc: func() []string { return environ },
		TransformFunc: func(name, text string) (string, any) {
			if injected(name, text) {
				return "", nil
			}
			return name, text
		},
	}), nil)
	return l.take(environment, layer.Raw(), slices.Clone(settings), func(name string) string {
		if strings.HasSuffix(name, "_PORT") {
			return "a port is set in REFRESHD_LISTEN or REFRESHD_ADMIN_LISTEN, as host:port"
		}
		return listed
	})
}

// Variables that Kubernetes injects into every container for each Service of its namespace: for a Service named
// refreshd-db the names begin with REFRESHD_DB. (kubernetes/pkg/kubelet/envvars) No setting has a name of these shapes.
var (
	injectedName = regexp.MustCompile(`^REFRESHD(_[A-Z0-9_]+)?_` +
		`(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$`)
	injectedURL  = regexp.MustCompile(`^REFRESHD(_[A-Z0-9_]+)?_PORT$`)
	injectedHost = regexp.MustCompile(`^(tcp|udp|sctp)://[^/]+:[0-9]+$`)
)

// injected reports whether Kubernetes makes such a variable. If the name ends in _PORT, the value must
// have the form too: REFRESHD_PORT=8080 is an attempt to set the port, and must not be ignored.
func injected(name, text string) bool {
	return injectedName.MatchString(name) || injectedURL.MatchString(name) && injectedHost.MatchString(text)
}

// yamlLine finds the line in a message of the YAML parser. The rest of the message may quote values.
var yamlLine = regexp.MustCompile(`line [0-9]+`)

// readFile reads the file that the command line names, or otherwise the environment, if one of them does.
func (l *loader) readFile(env, flags map[string]value) map[string]value {
	where, ok := flags[configFile]
	if !ok {
		where = env[configFile]
	}
	path := where.text
	if path == "" {
		return nil
	}
	src := fileSource(path)
	layer := koanf.New(".")
	text, err := readAtMost(path, maxConfigFile)
	if err != nil {
		l.note(where.source, settingNamed(configFile), "names a file that cannot be read: "+withoutPath(err))
		return nil
	}
	if err := layer.Load(fileText(text), yaml.Parser()); err != nil {
		message := "is not a YAML mapping in which each key stands once"
		if line := yamlLine.FindString(err.Error()); line != "" {
			message += ", see " + line
		}
		l.problems = append(l.problems, Problem{Source: src.label, Message: message})
		return nil
	}
	allowed := slices.DeleteFunc(slices.Clone(settings), func(s setting) bool { return s.name == configFile })
	return l.take(src, layer.All(), allowed, func(key string) string {
		if key == configFile {
			return "a file cannot name another one"
		}
		return listed + "; a file names them in lower case, without " + envPrefix
	})
}

// take checks the keys of src against the allowed settings. advice is for an unknown key that resembles no setting.
func (l *loader) take(
	src source, found map[string]any, allowed []setting, advice func(key string) string,
) map[string]value {
	bySpelling := map[string]setting{}
	for _, s := range allowed {
		bySpelling[src.spell(s)] = s
	}
	known := slices.Sorted(maps.Keys(bySpelling))
	values := map[string]value{}
	for _, key := range slices.Sorted(maps.Keys(found)) {
		s, ok := bySpelling[key]
		if !ok {
			l.noteUnknown(src, key, known, advice(key))
			continue
		}
		text, err := s.text(found[key])
		if err != nil {
			l.note(src, s, err.Error())
			continue
		}
		values[s.name] = value{text: withoutLineBreak(text), source: src}
	}
	return values
}

// readSecretFiles replaces each setting that names a file of a secret by the content of the file. An empty name does
// not count: Compose sets a variable to nothing if it is not set.
func (l *loader) readSecretFiles(values map[string]value) {
	for _, s := range settings {
		named := values[s.name]
		if s.holds == "" || named.text == "" {
			continue
		}
		held := settingNamed(s.holds)
		if set := values[s.holds]; set.text != "" && set.source.label != defaults.label {
			l.note(named.source, s, "is set beside "+set.source.names(held)+"; keep one of them")
			continue
		}
		content, err := readAtMost(named.text, maxSecretFile)
		if err == nil && len(bytes.TrimSpace(content)) == 0 {
			err = errors.New("it is empty")
		}
		if err != nil {
			l.note(named.source, s, "names a file that cannot be read: "+withoutPath(err))
			continue
		}
		src := source{named.source.label, func(setting) string { return named.source.spell(s) }}
		values[s.holds] = value{withoutLineBreak(string(content)), src, true}
	}
}

// The maximum sizes of files in bytes: of a configuration, and of one secret.
const (
	maxConfigFile = 1 << 20
	maxSecretFile = 64 << 10
)

// fileText is a koanf.Provider. koanf's own provider reads a whole file, of any size.
type fileText []byte

func (t fileText) ReadBytes() ([]byte, error) { return t, nil }
func (t fileText) Read() (map[string]any, error) {
	return nil, errors.New("config: text has no keys yet")
}

// readAtMost is os.ReadFile of a file that may be a pipe, or a device without an end.
func readAtMost(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(content)) > limit {
		err = fmt.Errorf("it is larger than %d KiB", limit>>10)
	}
	return content, err
}

// withoutPath is the message of err without the path in it, which is a value.
func withoutPath(err error) string {
	var at *fs.PathError
	if errors.As(err, &at) {
		return at.Err.Error()
	}
	return err.Error()
}

// text is the value as the environment would spell it. YAML guesses types, so a value that it did not take for text is
// refused rather than spelt back: 0755 would come back as 493.
func (s setting) text(found any) (string, error) {
	switch found := found.(type) {
	case string:
		return found, nil
	case int:
		if s.count {
			return strconv.Itoa(found), nil
		}
	case bool:
		if s.truth {
			return strconv.FormatBool(found), nil
		}
	case []any:
		if !s.list {
			return "", errors.New("is a sequence; write one value")
		}
		entries := make([]string, len(found))
		for i, entry := range found {
			text, ok := entry.(string)
			if !ok || strings.Contains(text, ",") {
				return "", fmt.Errorf("entry %d is not text without a comma; put it in quotes, one entry a line", i+1)
			}
			entries[i] = text
		}
		return strings.Join(entries, ","), nil
	case nil:
		return "", errors.New(`has no value; write "" for an empty one, or leave the key out`)
	}
	return "", errors.New("is not text; put the value in quotes")
}

// nearest returns the known name that key is most likely a misspelling of, or an empty string. The character that
// joins words does not count, so log.level finds log_level. The prefix that all names of a source share does not
// count either.
func nearest(key string, known []string) string {
	joints := strings.NewReplacer("__", "_", "-", "_", ".", "_")
	fold := func(name string) string {
		return strings.TrimPrefix(strings.TrimLeft(strings.ToLower(joints.Replace(name)), "_"), strings.ToLower(envPrefix))
	}
	folded := make([]string, len(known))
	for i, name := range known {
		folded[i] = fold(name)
	}
	i := slices.Index(folded, spelling.Nearest(fold(key), folded))
	if i < 0 {
		return ""
	}
	return known[i]
}
