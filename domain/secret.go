package domain

import (
	"crypto/subtle"
	"fmt"
	"io"
	"log/slog"
)

const redacted = "[redacted]"

// Secret is a value that must not be seen: a token string, an API key, a key's bytes. However it is printed, logged or
// encoded it shows `[redacted]`; Reveal is the only way to its value, and easy to search for.
//
// It is a struct, not a named string, because encoding/json and fmt look through named types. The struct holds no string
// either: fmt calls no method of an unexported field, so a string would show wherever a Secret is a private field of what is
// printed (a MasterKey, an adapter). A pointer prints as an address. A handle of package unique would too, and compare with ==;
// but it interns every token string that passes, which made a twentieth of what an exchange allocates, and work for the
// collector.
type Secret struct {
	_     [0]func() // not comparable: == would compare addresses
	value *string
}

// NewSecret wraps value.
func NewSecret(value string) Secret {
	if value == "" {
		return Secret{}
	}
	return Secret{value: &value}
}

// Reveal is the value itself. It belongs into an answer, a MAC or a cipher, and nowhere else.
func (s Secret) Reveal() string {
	if s.IsZero() {
		return ""
	}
	return *s.value
}

// IsZero reports whether there is no value.
func (s Secret) IsZero() bool { return s.value == nil }

// Equal tells, in constant time, whether both have the same value.
func (s Secret) Equal(t Secret) bool {
	return subtle.ConstantTimeCompare([]byte(s.Reveal()), []byte(t.Reveal())) == 1
}

// Format implements fmt.Formatter for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue implements slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText implements encoding.TextMarshaler, and so JSON and YAML.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
