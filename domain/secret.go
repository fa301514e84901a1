package domain

import (
	"fmt"
	"io"
	"log/slog"
	"unique"
)

const redacted = "[redacted]"

// Secret is a value that must not be seen: a token string, an API key, a key's bytes. However it is printed, logged or
// encoded it shows `[redacted]`; Reveal is the only way to its value, and easy to search for.
//
// It is a struct, not a named string, because encoding/json and fmt look through named types. The struct holds no string
// either: fmt calls no method of an unexported field, so a string would show wherever a Secret is a private field of what is
// printed (a MasterKey, an adapter). A handle prints as an address, and two secrets still compare with ==.
type Secret struct{ value unique.Handle[string] }

// NewSecret wraps value.
func NewSecret(value string) Secret {
	if value == "" {
		return Secret{}
	}
	return Secret{unique.Make(value)}
}

// Reveal is the value itself. It belongs into an answer, a MAC or a cipher, and nowhere else.
func (s Secret) Reveal() string {
	if s.IsZero() {
		return ""
	}
	return s.value.Value()
}

// IsZero tells whether there is no value.
func (s Secret) IsZero() bool { return s == Secret{} }

// Format implements fmt.Formatter for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue implements slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText implements encoding.TextMarshaler, and so JSON and YAML.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
