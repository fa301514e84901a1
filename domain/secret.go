package domain

import (
	"crypto/subtle"
	"fmt"
	"io"
	"log/slog"
)

const redacted = "[redacted]"

// Secret is a value that must not be shown: a token string, an API key, the bytes of a key. When it is printed, logged
// or encoded it shows `[redacted]`. Reveal is the only access to its value, and easy to search for.
//
// It is a struct, not a named string, because encoding/json and fmt look through named types. The struct holds no
// string either: fmt calls no method of an unexported field, so a string would be printed wherever a Secret is a
// private field of another value (a MasterKey, an adapter). A pointer is printed as an address. A handle of package
// unique would be too, and could be compared with ==. But it interns every token string, which made a twentieth of the
// allocations of an exchange, and work for the garbage collector.
type Secret struct {
	_     [0]func() // not comparable: == would compare addresses
	value *string
}

// NewSecret returns a Secret that holds value.
func NewSecret(value string) Secret {
	if value == "" {
		return Secret{}
	}
	return Secret{value: &value}
}

// Reveal returns the value. It may be used in a response, a MAC or a cipher, and nowhere else.
func (s Secret) Reveal() string {
	if s.IsZero() {
		return ""
	}
	return *s.value
}

// IsZero reports whether s holds no value.
func (s Secret) IsZero() bool { return s.value == nil }

// Equal reports, in constant time, whether s and t hold the same value.
func (s Secret) Equal(t Secret) bool {
	return subtle.ConstantTimeCompare([]byte(s.Reveal()), []byte(t.Reveal())) == 1
}

// Format implements fmt.Formatter for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue implements slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText implements encoding.TextMarshaler, and so JSON and YAML.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
