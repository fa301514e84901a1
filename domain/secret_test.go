package domain_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/refreshd/refreshd/domain"
)

const confidential = "hunter2-hunter2-hunter2-hunter2!" // 32 bytes, so that it can be a master key too

// exposed fails if text holds the secret in any form that fmt, slog or encoding/json could give it.
func exposed(t *testing.T, how, text string) {
	t.Helper()
	var decimal, hexadecimal []string
	for _, b := range []byte(confidential) {
		decimal = append(decimal, fmt.Sprint(b))
		hexadecimal = append(hexadecimal, fmt.Sprintf("0x%x", b))
	}
	for _, form := range []string{
		confidential, "hunter2", hex.EncodeToString([]byte(confidential)),
		strings.ToUpper(hex.EncodeToString([]byte(confidential))),
		base64.StdEncoding.EncodeToString([]byte(confidential))[:40], strings.Join(decimal, " "),
		strings.Join(decimal, ","),
		strings.Join(hexadecimal, ", "), strings.Join(hexadecimal, " "),
	} {
		if strings.Contains(text, form) {
			t.Errorf("%s shows the secret: %s", how, text)
			return
		}
	}
}

type holder struct {
	Public  domain.Secret
	private domain.Secret
	Nested  struct{ inner *domain.Secret }
	Listed  []domain.Secret
	Mapped  map[string]domain.Secret
	Any     any
}

// secrets returns a secret in every place that a program keeps one. An unexported field is the critical one: fmt calls
// no method there.
func secrets(t *testing.T) map[string]any {
	s := domain.NewSecret(confidential)
	h := holder{Public: s, private: s, Listed: []domain.Secret{s}, Mapped: map[string]domain.Secret{"s": s}, Any: s}
	h.Nested.inner = &s
	master, _, err := domain.NewMasterKey(strings.NewReader(confidential))
	if err != nil {
		t.Fatal(err)
	}
	return map[string]any{
		"itself": s, "pointer": &s, "struct": h, "pointer to struct": &h, "slice of structs": []holder{h},
		"interface":  any(s),
		"master key": master, "pointer to master key": &master,
		"private master key": struct{ m domain.MasterKey }{master},
		"token key":          domain.TokenKey{Number: 1, Key: s}, "token keys": domain.TokenKeys{{Number: 1, Key: s}},
		"private token key": struct{ k domain.TokenKey }{domain.TokenKey{Key: s}},
		"signing key":       domain.SigningKey{Private: s},
	}
}

func TestSecretIsNotPrinted(t *testing.T) {
	for name, v := range secrets(t) {
		for _, verb := range "vsqxXdbocUeEfFgGtTpw" {
			for _, flags := range []string{"", "+", "#", " ", "0", "-", "40", ".3", "#40"} {
				format := "%" + flags + string(verb)
				exposed(t, name+" "+format, fmt.Sprintf(format, v))
			}
		}
		exposed(t, name+" Sprint", fmt.Sprint(v))
		exposed(t, name+" Sprintln", fmt.Sprintln(v))
		exposed(t, name+" in an error", fmt.Errorf("open: %v: %w", v, errors.New("x")).Error())
	}
}

func TestSecretIsNotEncoded(t *testing.T) {
	for name, v := range secrets(t) {
		text, err := json.Marshal(v)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		exposed(t, name+" as JSON", string(text))
	}
}

func TestSecretIsNotLogged(t *testing.T) {
	for name, v := range secrets(t) {
		for kind, handler := range map[string]func(*bytes.Buffer) slog.Handler{
			"text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
			"JSON": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
		} {
			var b bytes.Buffer
			log := slog.New(handler(&b))
			log.With("with", v).WithGroup("group").Info("message", "key", v, slog.Group("g", "key", v),
				slog.Any("any", []any{v}))
			exposed(t, name+" in a "+kind+" log", b.String())
		}
	}
}

func TestSecretSaysThatItIsOne(t *testing.T) {
	s := domain.NewSecret(confidential)
	text, _ := json.Marshal(map[string]any{"a": s})
	for got, want := range map[string]string{
		fmt.Sprint(s):        "[redacted]",
		fmt.Sprintf("%x", s): "[redacted]",
		string(text):         `{"a":"[redacted]"}`,
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestSecretReveals(t *testing.T) {
	if got := domain.NewSecret(confidential).Reveal(); got != confidential {
		t.Errorf("got %q", got)
	}
	for name, zero := range map[string]domain.Secret{"zero": {}, "made of nothing": domain.NewSecret("")} {
		if !zero.IsZero() || zero.Reveal() != "" || !zero.Equal(domain.Secret{}) || fmt.Sprint(zero) != "[redacted]" {
			t.Errorf("%s: IsZero %t, Reveal %q, prints %v", name, zero.IsZero(), zero.Reveal(), zero)
		}
	}
	if domain.NewSecret("a").IsZero() {
		t.Error("a value is zero")
	}
}

func TestSecretsCompareByValue(t *testing.T) {
	a, b := domain.NewSecret(strings.Clone(confidential)), domain.NewSecret(strings.Clone(confidential))
	if !a.Equal(b) || a.Equal(domain.NewSecret("other")) || a.Equal(domain.Secret{}) ||
		!(domain.Secret{}).Equal(domain.Secret{}) {
		t.Error("two secrets are equal if and only if their values are")
	}
}
