package domain_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"strings"
	"testing"
	"time"

	"github.com/refreshd/refreshd/domain"
)

var tokenKey = domain.TokenKey{Number: 0x010203, Key: domain.NewSecret("0123456789abcdef0123456789abcdef")}

// The layout is a promise to secret scanners and to every issued token string: a change here logs everybody out. The
// vector was computed by another program.
const (
	golden    = "rt_AQECAwGPKjtMXXZuh3-AkaKzxNUKCwwN-iWqU7PRlgIO7INOXkhUburb9KyfYSGh"
	goldenHex = "01" + "010203" + "018f2a3b4c5d766e877f8091a2b3c4d5" + "0a0b0c0d" +
		"fa25aa53b3d196020eec834e5e48546eeadbf4ac" + "9f6121a1"
)

const goldenGeneration = 0x0a0b0c0d

func TestTokenStringLayout(t *testing.T) {
	got := tokenKey.Mint(tokenID, goldenGeneration).Reveal()
	if got != golden {
		t.Errorf("got %s, want %s", got, golden)
	}
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(got, "rt_"))
	if err != nil || hex.EncodeToString(raw) != goldenHex {
		t.Fatalf("got bytes %x (%v), want %s", raw, err, goldenHex)
	}
	mac := hmac.New(sha256.New, []byte("0123456789abcdef0123456789abcdef"))
	mac.Write(raw[:24])
	if want := mac.Sum(nil)[:20]; !bytes.Equal(raw[24:44], want) {
		t.Errorf("MAC: got %x, want %x", raw[24:44], want)
	}
	if got, want := binary.BigEndian.Uint32(raw[44:]), crc32.ChecksumIEEE(raw[:44]); got != want {
		t.Errorf("checksum: got %08x, want %08x", got, want)
	}
}

func TestParseTokenStringTakesApartWhatMintMade(t *testing.T) {
	p, ok := domain.ParseTokenString(golden)
	if !ok || p.KeyNumber != 0x010203 || p.ID != tokenID || p.Generation != goldenGeneration {
		t.Fatalf("got key %x, id %s, generation %x, %t", p.KeyNumber, p.ID, p.Generation, ok)
	}
	if !p.Genuine(tokenKey) {
		t.Error("not genuine under the key that minted it")
	}
	other := tokenKey
	other.Key = domain.NewSecret("1123456789abcdef0123456789abcdef")
	if p.Genuine(other) {
		t.Error("genuine under another key")
	}
}

func TestMintIsDeterministicAndDistinct(t *testing.T) {
	seen := map[string]string{}
	otherKey, otherNumber := tokenKey, tokenKey
	otherKey.Key = domain.NewSecret("another key of thirty-two bytes!")
	otherNumber.Number++
	otherID := tokenID
	otherID[15]++
	for name, mint := range map[string]func() domain.Secret{
		"as it is":           func() domain.Secret { return tokenKey.Mint(tokenID, 1) },
		"another generation": func() domain.Secret { return tokenKey.Mint(tokenID, 2) },
		"another id":         func() domain.Secret { return tokenKey.Mint(otherID, 1) },
		"another key":        func() domain.Secret { return otherKey.Mint(tokenID, 1) },
		"another key number": func() domain.Secret { return otherNumber.Mint(tokenID, 1) },
	} {
		s := mint().Reveal()
		if again := mint().Reveal(); again != s {
			t.Errorf("%s: two strings of the same arguments", name)
		}
		if twin, taken := seen[s]; taken {
			t.Errorf("%s: the same string as %s", name, twin)
		}
		seen[s] = name
	}
}

// A flipped bit is refused without a call of the store. With a corrected checksum, as a forger would send it, the MAC
// refuses it.
func TestEveryFlippedBitIsRefused(t *testing.T) {
	raw, _ := hex.DecodeString(goldenHex)
	for bit := range 384 {
		forged := bytes.Clone(raw)
		forged[bit/8] ^= 0x80 >> (bit % 8)
		if _, ok := domain.ParseTokenString("rt_" + base64.RawURLEncoding.EncodeToString(forged)); ok {
			t.Errorf("bit %d: parsed, its checksum is wrong", bit)
		}
		if bit >= 44*8 {
			continue
		}
		if p, ok := domain.ParseTokenString(checksummed(forged)); ok && p.Genuine(tokenKey) {
			t.Errorf("bit %d: genuine", bit)
		}
	}
}

func checksummed(raw []byte) string {
	binary.BigEndian.PutUint32(raw[44:], crc32.ChecksumIEEE(raw[:44]))
	return "rt_" + base64.RawURLEncoding.EncodeToString(raw)
}

// Every token string has one spelling. A second one would bypass a deny list, and appear as two tokens in a log.
func TestOtherSpellingsAreRefused(t *testing.T) {
	body := strings.TrimPrefix(golden, "rt_")
	raw, _ := hex.DecodeString(goldenHex)
	tests := map[string]string{
		"empty":                       "",
		"prefix only":                 "rt_",
		"no prefix":                   body,
		"other case of the prefix":    "RT_" + body,
		"other prefix":                "ak_" + body,
		"one character short":         golden[:len(golden)-1],
		"one character more":          golden + "A",
		"padding":                     golden + "=",
		"padding in the last place":   golden[:len(golden)-1] + "=",
		"padding for four characters": golden[:len(golden)-4] + "====",
		"line feed at the end":        golden + "\n",
		"line feed within":            golden[:20] + "\n" + golden[20:],
		"line feed for a character":   golden[:20] + "\n" + golden[21:],
		"carriage return for one":     golden[:20] + "\r" + golden[21:],
		"line feeds for four":         golden[:len(golden)-4] + "\n\n\n\n",
		"line feed first":             "rt_\n" + body[1:],
		"blank before":                " " + golden,
		"blank after":                 golden + " ",
		"blank for a character":       golden[:20] + " " + golden[21:],
		"standard alphabet":           strings.NewReplacer("-", "+", "_", "/").Replace(golden),
		"standard alphabet, body":     "rt_" + base64.RawStdEncoding.EncodeToString(raw),
		"percent encoding":            "rt_" + "%41" + body[3:],
		"NUL":                         golden[:20] + "\x00" + golden[21:],
		"letters of two bytes":        "rt_" + strings.Repeat("é", 32),
		"hexadecimal":                 "rt_" + goldenHex,
	}
	for name, change := range map[string]func([]byte){
		"version 0":            func(b []byte) { b[0] = 0 },
		"version 2":            func(b []byte) { b[0] = 2 },
		"generation 0":         func(b []byte) { copy(b[20:24], make([]byte, 4)) },
		"the id that names no": func(b []byte) { copy(b[4:20], make([]byte, 16)) },
	} {
		b := bytes.Clone(raw)
		change(b)
		tests[name] = checksummed(b)
	}
	for name, s := range tests {
		if _, ok := domain.ParseTokenString(s); ok {
			t.Errorf("%s: parsed %q", name, s)
		}
	}
}

func TestParseTokenStringDoesNotAllocate(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() { domain.ParseTokenString(golden) }); n > 1 {
		t.Errorf("got %.0f allocations for a string that may be garbage, want at most 1", n)
	}
}

func TestMintingAt(t *testing.T) {
	at := func(s int) time.Time { return issued.Add(time.Duration(s) * time.Second) }
	first := domain.TokenKey{Number: 1}
	second := domain.TokenKey{Number: 2, StartsAt: at(100)}
	third := domain.TokenKey{Number: 3, StartsAt: at(200)}
	twin := domain.TokenKey{Number: 4, StartsAt: at(200)}
	tests := []struct {
		rule      string
		keys      domain.TokenKeys
		rotatedAt time.Time
		want      uint32
	}{
		{"no key", nil, at(0), 0},
		{"none has started", domain.TokenKeys{second, third}, at(99), 0},
		{"the first serves from the beginning", domain.TokenKeys{first}, at(-1_000_000), 1},
		{"before the second starts", domain.TokenKeys{first, second}, at(100).Add(-µs), 1},
		{"from the instant that the second starts", domain.TokenKeys{first, second}, at(100), 2},
		{"a later key does not change the past", domain.TokenKeys{first, second, third}, at(150), 2},
		{"the newest", domain.TokenKeys{first, second, third}, at(1_000), 3},
		{"of two that start together the higher number", domain.TokenKeys{third, twin, first}, at(200), 4},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			for range tt.keys { // whatever their order
				got, ok := tt.keys.MintingAt(tt.rotatedAt)
				if got.Number != tt.want || ok != (tt.want != 0) {
					t.Errorf("got key %d, %t, want %d", got.Number, ok, tt.want)
				}
				tt.keys = append(tt.keys[1:], tt.keys[0])
			}
			if got, ok := tt.keys.MintingAt(tt.rotatedAt); got.Number != tt.want || ok != (tt.want != 0) {
				t.Errorf("got key %d, %t, want %d", got.Number, ok, tt.want)
			}
		})
	}
}

func TestNumbered(t *testing.T) {
	keys := domain.TokenKeys{{Number: 3}, {Number: 1}}
	if k, ok := keys.ByNumber(1); !ok || k.Number != 1 {
		t.Errorf("1: got %d, %t", k.Number, ok)
	}
	for _, n := range []uint32{0, 2, 4} {
		if _, ok := keys.ByNumber(n); ok {
			t.Errorf("%d: found", n)
		}
	}
}

// Every string that is parsed has one spelling, and every genuine one was minted.
func FuzzParseTokenString(f *testing.F) {
	f.Add(golden)
	f.Add(golden[:66] + "\n")
	f.Add("rt_" + strings.Repeat("A", 64))
	raw, _ := hex.DecodeString(goldenHex)
	for i := range 44 {
		b := bytes.Clone(raw)
		b[i] ^= 0xff
		f.Add(checksummed(b))
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, ok := domain.ParseTokenString(s)
		if !ok {
			return
		}
		raw, err := base64.RawURLEncoding.DecodeString(s[3:])
		if err != nil || "rt_"+base64.RawURLEncoding.EncodeToString(raw) != s {
			t.Fatalf("%q is a second spelling of %x (%v)", s, raw, err)
		}
		key := tokenKey
		key.Number = p.KeyNumber
		if minted := key.Mint(p.ID, p.Generation).Reveal(); p.Genuine(tokenKey) != (minted == s) {
			t.Fatalf("%q: genuine %t, minted %q", s, p.Genuine(tokenKey), minted)
		}
	})
}

func ExampleTokenKey_Mint() {
	fmt.Println(tokenKey.Mint(tokenID, 1))
	// Output: [redacted]
}

func BenchmarkMint(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		tokenKey.Mint(tokenID, 7)
	}
}

func BenchmarkParseAndGenuine(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if p, ok := domain.ParseTokenString(golden); !ok || !p.Genuine(tokenKey) {
			b.Fatal("refused")
		}
	}
}

func BenchmarkParseGarbage(b *testing.B) {
	garbage := "rt_" + strings.Repeat("A", 64)
	b.ReportAllocs()
	for b.Loop() {
		domain.ParseTokenString(garbage)
	}
}
