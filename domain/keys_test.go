package domain_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/refreshd/refreshd/domain"
)

var (
	// holds both characters in which the alphabets differ
	masterBytes = "\xfb\xff\xfe" + "0123456789abcdef0123456789abc"
	sealedName  = domain.SealedKey{Kind: domain.KeySigning, TenantID: "acme", Algorithm: domain.EdDSA, Number: 3,
		ID: "kid", CreatedAt: issued, StartsAt: issued}
	nonce = "twelve bytes"
)

func masterKey(t *testing.T, b string) domain.MasterKey {
	t.Helper()
	m, _, err := domain.NewMasterKey(strings.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestSealAndOpen(t *testing.T) {
	m := masterKey(t, masterBytes)
	sealed, err := m.Seal(sealedName, domain.NewSecret(confidential), strings.NewReader(nonce))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(sealed.Sealed, confidential[:8]) || !strings.HasPrefix(sealed.Sealed, nonce) {
		t.Errorf("got %q, want the nonce and a ciphertext", sealed.Sealed)
	}
	want := sealedName
	want.Sealed = sealed.Sealed
	if want.SealedBy, err = m.ID(); err != nil {
		t.Fatal(err)
	}
	if sealed != want {
		t.Errorf("got %+v, want all else as it was", sealed)
	}
	if plain, err := m.Open(sealed); err != nil || plain.Reveal() != confidential {
		t.Errorf("opened: %v", err)
	}
	if _, err := masterKey(t, "another"+masterBytes[7:]).Open(sealed); !errors.Is(err, domain.ErrWrongMasterKey) {
		t.Errorf("another master key: got %v, want ErrWrongMasterKey", err)
	}
}

// An attacker who can write the database must not be able to move a key to another row: a key of one tenant would sign
// for another.
func TestASealedKeyIsBoundToItsName(t *testing.T) {
	m := masterKey(t, masterBytes)
	sealed, _ := m.Seal(sealedName, domain.NewSecret(confidential), strings.NewReader(nonce))
	bound := map[string]bool{
		"Kind": true, "TenantID": true, "Algorithm": true, "Number": true, "ID": true,
		"Name": false, "CreatedAt": false, "KnownAt": false, "StartsAt": false, "UnusedAt": false, "RetiredAt": false,
		"RevokedAt": false, "SealedBy": false, "Revision": false,
	}
	for field := range reflect.TypeFor[domain.SealedKey]().Fields() {
		if field.Name == "Sealed" {
			continue
		}
		moved := sealed
		v := reflect.ValueOf(&moved).Elem().FieldByIndex(field.Index)
		switch x := v.Addr().Interface().(type) {
		case *time.Time:
			*x = issued.Add(time.Hour)
		case *uint32:
			*x++
		case *uint64:
			*x++
		default:
			v.SetString(v.String() + "x")
		}
		if _, err := m.Open(moved); errors.Is(err, domain.ErrWrongMasterKey) != bound[field.Name] {
			t.Errorf("another %s: got %v, want refused %t", field.Name, err, bound[field.Name])
		}
	}
	shifted := sealed
	shifted.TenantID, shifted.Algorithm = "acmeEd", "DSA"
	if _, err := m.Open(shifted); !errors.Is(err, domain.ErrWrongMasterKey) {
		t.Errorf("the same letters, divided in another way: got %v", err)
	}
}

func TestAnAlteredSealDoesNotOpen(t *testing.T) {
	m := masterKey(t, masterBytes)
	sealed, _ := m.Seal(sealedName, domain.NewSecret(confidential), strings.NewReader(nonce))
	for n := range len(sealed.Sealed) {
		cut := sealed
		cut.Sealed = sealed.Sealed[:n]
		if _, err := m.Open(cut); !errors.Is(err, domain.ErrWrongMasterKey) {
			t.Errorf("the first %d bytes: got %v, want ErrWrongMasterKey", n, err)
		}
		altered := []byte(sealed.Sealed)
		altered[n] ^= 1
		cut.Sealed = string(altered)
		if _, err := m.Open(cut); !errors.Is(err, domain.ErrWrongMasterKey) {
			t.Errorf("byte %d altered: got %v, want ErrWrongMasterKey", n, err)
		}
	}
}

func TestSealNeedsItsRandomness(t *testing.T) {
	broken := errors.New("broken")
	if _, err := masterKey(t, masterBytes).Seal(sealedName, domain.NewSecret("x"),
		iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("seal: got %v, want the reader's error", err)
	}
	if _, _, err := domain.NewMasterKey(strings.NewReader("short")); err == nil {
		t.Error("a master key of 5 bytes was made")
	}
}

func TestParseMasterKey(t *testing.T) {
	m, text, err := domain.NewMasterKey(strings.NewReader(masterBytes))
	if err != nil {
		t.Fatal(err)
	}
	secret := domain.NewSecret("sealed")
	sealed, err := m.Seal(domain.SealedKey{Kind: domain.KeyToken, Number: 1}, secret, strings.NewReader(masterBytes))
	if err != nil {
		t.Fatal(err)
	}
	b := []byte(masterBytes)
	std := base64.StdEncoding.EncodeToString(b)
	if text.Reveal() != std {
		t.Error("the text for a file is not its base64")
	}
	for name, s := range map[string]string{
		"standard": std, "standard, not padded": strings.TrimRight(std, "="),
		"URL": base64.URLEncoding.EncodeToString(b), "URL, not padded": base64.RawURLEncoding.EncodeToString(b),
		"line end of a file": std + "\n", "Windows line end": std + "\r\n", "blanks": "  " + std + " ",
	} {
		got, err := domain.ParseMasterKey(domain.NewSecret(s))
		if err != nil {
			t.Errorf("%s: got %v", name, err)
			continue
		}
		if plain, err := got.Open(sealed); err != nil || !plain.Equal(secret) {
			t.Errorf("%s: got another key", name)
		}
	}
	for name, s := range map[string]string{
		"empty": "", "blank": " \n", "16 bytes": base64.StdEncoding.EncodeToString(b[:16]),
		"31 bytes":      base64.StdEncoding.EncodeToString(b[:31]),
		"33 bytes":      base64.StdEncoding.EncodeToString(append(bytes.Clone(b), 0)),
		"hexadecimal":   strings.Repeat("0f", 32),
		"32 characters": strings.Repeat("x", 32), "a blank within": std[:10] + " " + std[10:],
		"other characters": "!" + std[1:],
		"unused bits set":  strings.TrimRight(std[:42], "=") + "d",
	} {
		_, err := domain.ParseMasterKey(domain.NewSecret(s))
		if err == nil {
			t.Errorf("%s: taken for a master key", name)
		} else if len(s) > 8 && strings.Contains(err.Error(), s[:8]) {
			t.Errorf("%s: the error shows what was given: %v", name, err)
		}
	}
}
