package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/refreshd/refreshd/domain"
)

// documentFlags are the flags that give the document of an object, in whole or by field.
type documentFlags struct {
	file textFlag
	sets fieldFlags
}

func (f *documentFlags) add(c *cobra.Command) {
	f.file = textFlag{form: "FILE"}
	c.Flags().VarP(&f.file, "file", "f", "the document, YAML or JSON; - for the standard input")
	c.Flags().Var(&f.sets, "set", "a field, as NAME=VALUE; may be repeated; null removes it")
}

// checkChange checks the flags of an update, which replaces the object or changes fields.
func (f *documentFlags) checkChange(s *session) error {
	if (f.file.text != "") == (len(f.sets) > 0) {
		return s.wrong("give the changes with --set NAME=VALUE, or a complete document with -f FILE")
	}
	return nil
}

// read returns the document with the fields that were set.
func (f *documentFlags) read(s *session) (map[string]any, error) {
	document := map[string]any{}
	for _, field := range f.sets {
		if field.name == "key" {
			return nil, s.wrong("a key is not given with --set, because arguments show in process lists: leave it out, and " +
				"it is made, or use a document with -f")
		}
		if field.name == domain.FieldClientSecrets {
			return nil, s.wrong("a client secret is not given with --set, because arguments show in process lists: make one " +
				"with `refreshd application secret`")
		}
	}
	if f.file.text != "" {
		text, err := readInput(s, f.file.text)
		if err != nil {
			return nil, failed(StatusFailed, "read the document: %v", err)
		}
		d := yaml.NewDecoder(bytes.NewReader(text)) // JSON is YAML
		if err := d.Decode(&document); err != nil && !errors.Is(err, io.EOF) {
			return nil, failed(StatusRefused, "%s: %s", printable(f.file.text), invalidYAML(err))
		}
		if err := d.Decode(new(any)); !errors.Is(err, io.EOF) {
			return nil, failed(StatusRefused, "%s: has more than one document: give one object", printable(f.file.text))
		}
	}
	for _, field := range f.sets {
		if err := field.put(document); err != nil {
			return nil, s.wrong("%v", err)
		}
	}
	return document, inJSON(document)
}

// readInput reads a file, or the standard input.
func readInput(s *session, name string) ([]byte, error) {
	if name != "-" {
		return ReadFile(name)
	}
	if s.Stdin == nil {
		return nil, nil
	}
	text, err := io.ReadAll(io.LimitReader(s.Stdin, maxKickstart+1))
	if err == nil && len(text) > maxKickstart {
		err = errors.New("the standard input is larger than 1 MiB")
	}
	return text, err
}

// invalidYAML says where a text is not YAML, without repeating it: it may hold a key.
func invalidYAML(err error) string {
	_, after, found := strings.Cut(err.Error(), "line ")
	if line, _, ok := strings.Cut(after, ":"); found && ok && strings.Trim(line, "0123456789") == "" {
		return "line " + line + ": not the YAML or JSON of one object in which each name stands once"
	}
	return "not the YAML or JSON of one object in which each name stands once"
}

// inJSON replaces what YAML has and JSON has not.
func inJSON(object map[string]any) error {
	var value func(v any) (any, error)
	value = func(v any) (_ any, err error) {
		switch v := v.(type) {
		case time.Time:
			return v.UTC().Format(time.RFC3339Nano), nil
		case map[string]any:
			return v, inJSON(v)
		case []any:
			for i := range v {
				if v[i], err = value(v[i]); err != nil {
					return nil, err
				}
			}
		case map[any]any:
			return nil, failed(StatusRefused, "a name in the document is not text: put it in quotes")
		}
		return v, nil
	}
	for name, v := range object {
		got, err := value(v)
		if err != nil {
			return err
		}
		object[name] = got
	}
	return nil
}

// errNoField is the error of a value of --set.
var errNoField = errors.New("is not NAME=VALUE")

// field is one NAME=VALUE of --set. A name with dots is within objects.
type field struct {
	name  string
	value any
}

// fieldFlags is the flag --set.
type fieldFlags []field

func (f *fieldFlags) String() string { return "" }
func (f *fieldFlags) Type() string   { return "NAME=VALUE" }

func (f *fieldFlags) Set(text string) error {
	name, value, found := strings.Cut(text, "=")
	if !found || name == "" || strings.HasPrefix(name, "-") || strings.Contains("."+name+".", "..") {
		return errNoField
	}
	*f = append(*f, field{name, fieldValue(value)})
	return nil
}

// fieldValue is the value that a text stands for in YAML if that is a number, true, false, null, or a list or an object
// in brackets. Anything else is a text, such as one with a colon, which YAML would take for an object.
func fieldValue(text string) any {
	var value any
	if err := yaml.Unmarshal([]byte(text), &value); err != nil || text == "" {
		return text
	}
	switch value.(type) {
	case int, int64, uint64, float64, bool, nil:
		return value
	case []any, map[string]any:
		if text[0] == '[' || text[0] == '{' {
			return value
		}
	case string:
		if text[0] == '"' || text[0] == '\'' {
			return value
		}
	}
	return text
}

// put sets the field in a document.
func (f field) put(document map[string]any) error {
	path := strings.Split(f.name, ".")
	for _, name := range path[:len(path)-1] {
		within, ok := document[name].(map[string]any)
		if !ok {
			if document[name] != nil {
				return fmt.Errorf("--set %s: %s is not an object", printable(f.name), printable(name))
			}
			within = map[string]any{}
			document[name] = within
		}
		document = within
	}
	document[path[len(path)-1]] = f.value
	return nil
}
