package domain_test

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/refreshd/refreshd/domain"
)

// Only the minted token string is genuine, whatever part of it is changed, inserted or removed.
func FuzzAlteredTokenString(f *testing.F) {
	f.Add([]byte(goldenHex)[:16], uint32(goldenGeneration), 5, 1, "A")
	f.Add([]byte("\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01"), uint32(1), 66, 1, "")
	f.Add([]byte("\xff"), uint32(1<<32-1), 0, 0, "\n")
	f.Add([]byte("generation moved"), uint32(2), 35, 6, "AAAAAB")
	other := domain.TokenKey{Number: tokenKey.Number, Key: domain.NewSecret("0123456789abcdef0123456789abcdeg")}
	f.Fuzz(func(t *testing.T, idBytes []byte, generation uint32, at, length int, with string) {
		var id domain.ID
		copy(id[:], idBytes)
		if id.IsZero() || generation == 0 {
			return
		}
		s := tokenKey.Mint(id, generation).Reveal()
		p, ok := domain.ParseTokenString(s)
		if !ok || !p.Genuine(tokenKey) || p.Genuine(other) || p.ID != id || p.Generation != generation ||
			p.KeyNumber != tokenKey.Number {
			t.Fatalf("%q was minted, and read as %v, %d of key %d, %t", s, p.ID, p.Generation, p.KeyNumber, ok)
		}
		at = min(max(at, 0), len(s))
		end := min(at+max(length, 0), len(s))
		altered := s[:at] + with + s[end:]
		if altered == s {
			return
		}
		if p, ok := domain.ParseTokenString(altered); ok && p.Genuine(tokenKey) {
			t.Fatalf("%q became %q, and is genuine", s, altered)
		}
	})
}

// A selector covers what it names and nothing more: every name is either used or refused.
func FuzzSelectorIsNeverWidened(f *testing.F) {
	const id = "018f2a3b-4c5d-766e-877f-8091a2b3c4d5"
	f.Add(uint8(1), id, "", "", "", false)
	f.Add(uint8(2), "", "ada", "", "", false)
	f.Add(uint8(2|4), "", "ada", "shop", "", false)
	f.Add(uint8(2|8), "", "ada", "", id, false)
	f.Add(uint8(16), "", "", "", "", true)
	f.Add(uint8(2|4), "", "ada", "", "", false)
	f.Add(uint8(31), id, "ada", "shop", id, true)
	f.Add(uint8(0), "", "", "", "", false)
	f.Fuzz(func(t *testing.T, set uint8, tokenID, userID, applicationID, except string, all bool) {
		given := func(bit uint8, s *string) *string {
			if set&bit == 0 {
				return nil
			}
			return s
		}
		in := domain.SelectorInput{
			TokenID: given(1, &tokenID), UserID: given(2, &userID), ApplicationID: given(4, &applicationID),
			ExceptTokenID: given(8, &except),
		}
		if set&16 != 0 {
			in.AllInTenant = &all
		}
		s, err := domain.ParseSelector("acme", in)
		if err != nil {
			if s != (domain.Selector{}) {
				t.Fatalf("refused, and yet %+v", s)
			}
			return
		}
		if s.IsToken() {
			if want, _ := domain.ParseID(tokenID); set&31 != 1 || s.TokenID != want {
				t.Fatalf("%05b selects the token %v", set, s.TokenID)
			}
			return
		}
		says := func(bit uint8, said, got string) {
			if set&bit == 0 && got != "" || set&bit != 0 && (got != said || got == "") {
				t.Fatalf("%05b: %q was said, and %q selected", set, said, got)
			}
		}
		says(2, userID, s.Scope.UserID)
		says(4, applicationID, s.Scope.ApplicationID)
		if wantExcept, _ := domain.ParseID(except); set&8 != 0 && (s.Except != wantExcept || s.Except.IsZero()) ||
			set&8 == 0 && !s.Except.IsZero() {
			t.Fatalf("%05b spares %v", set, s.Except)
		}
		if wide := s.Scope == (domain.Scope{TenantID: "acme"}); wide != (set&31 == 16 && all) ||
			s.Scope.TenantID != "acme" {
			t.Fatalf("%05b selects %+v", set, s.Scope)
		}
	})
}

// An object keeps its content: encoding/json reads the same from it, and a second NewObject gives the same bytes.
func FuzzObject(f *testing.F) {
	for _, seed := range []string{`{}`, ` { } `, `{"a":1.50,"b":[null,{"c":"\u2028<"}]}`, `[]`, `{"a":1}{}`,
		"{\"a\":\"\xff\"}", `{"a":1e400}`, "{\"\x00\":1}", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		o, ok := domain.NewObject([]byte(text))
		isObject := json.Valid([]byte(text)) && utf8.ValidString(text) &&
			strings.HasPrefix(strings.TrimLeft(text, " \t\r\n"), "{")
		if ok != isObject {
			t.Fatalf("%q: got %t, want %t", text, ok, isObject)
		}
		if !ok || o == "" {
			return
		}
		var before, after map[string]json.RawMessage
		if json.Unmarshal([]byte(text), &before) != nil || json.Unmarshal([]byte(o), &after) != nil ||
			len(before) != len(after) {
			t.Fatalf("%q became %q", text, o)
		}
		if again, ok := domain.NewObject([]byte(o)); !ok || again != o {
			t.Fatalf("%q became %q, and then %q", text, o, again)
		}
	})
}
