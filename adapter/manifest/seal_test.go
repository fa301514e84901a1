package manifest_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/adapter/manifest"
	"github.com/refreshd/refreshd/domain"
)

// Sealed keys open with their passphrase only, and only unaltered. Their text shows nothing of them, and the parameters
// of the format are fixed: a file cannot choose weaker or costlier ones.
func TestSealedKeysOpenWithTheirPassphraseOnly(t *testing.T) {
	at := time.Date(2031, 2, 3, 4, 5, 6, 789_012_000, time.UTC)
	want := manifest.Sealed{
		Keys: []domain.OpenKey{
			{
				SealedKey: domain.SealedKey{Kind: domain.KeyAPI, Number: 1, CreatedAt: at},
				Plain:     domain.NewSecret("\x00\xffhash key"),
			},
			{SealedKey: domain.SealedKey{
				Kind: domain.KeySigning, TenantID: "acme", Algorithm: domain.ES256, Number: 2, ID: "kid", CreatedAt: at,
				StartsAt: at.Add(time.Hour), RetiredAt: at.Add(2 * time.Hour),
			}, Plain: domain.NewSecret("private")},
		},
		APIKeys: []manifest.HashedAPIKey{{Name: "backend", Hash: "\xfe\x00"}, {Name: "b", Hash: "c", PreviousHash: "d"}},
	}
	passphrase := domain.NewSecret("correct horse battery staple")
	random := rand.NewChaCha8([32]byte{1})
	text, err := want.Seal(passphrase, random)
	if err != nil {
		t.Fatal(err)
	}
	again, err := want.Seal(passphrase, random)
	if err != nil || again == text {
		t.Errorf("two seals are the same (%v): want a salt and a nonce of their own", err)
	}
	got, err := manifest.Unseal(text, passphrase)
	reveal := cmp.Transformer("reveal", func(s domain.Secret) string { return s.Reveal() })
	if diff := cmp.Diff(want, got, reveal); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	raw, err := base64.StdEncoding.DecodeString(text)
	form := "refreshd keys 1 scrypt N=131072 r=8 p=1 AES-256-GCM\n"
	if err != nil || !bytes.HasPrefix(raw, []byte(form)) || bytes.Contains(raw, []byte("private")) {
		t.Errorf("%q, %v", raw, err)
	}
	for _, line := range strings.Split(text, "\n") {
		if len(line) > 76 {
			t.Errorf("a line has %d characters", len(line))
		}
	}
	altered := func(i int) string {
		other := bytes.Clone(raw)
		other[i] ^= 1
		return base64.StdEncoding.EncodeToString(other)
	}
	for name, tt := range map[string]struct {
		text, passphrase string
		wrong            bool // as a wrong passphrase
	}{
		"another passphrase":     {text, "correct horse battery stable", true},
		"the salt altered":       {altered(len(form)), passphrase.Reveal(), true},
		"the nonce altered":      {altered(len(form) + 16), passphrase.Reveal(), true},
		"the content altered":    {altered(len(raw) - 20), passphrase.Reveal(), true},
		"the parameters altered": {altered(len(form) - 20), passphrase.Reveal(), false},
		"cut off":                {text[:120], passphrase.Reveal(), false},
		"not base64":             {"%", passphrase.Reveal(), false},
	} {
		_, err := manifest.Unseal(tt.text, domain.NewSecret(tt.passphrase))
		if err == nil || errors.Is(err, manifest.ErrWrongPassphrase) != tt.wrong {
			t.Errorf("%s: error %v, wrong passphrase: %t", name, err, tt.wrong)
		}
	}
}
