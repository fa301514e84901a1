package run

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A signing key of another server is imported by a kickstart file: once, under its own id. An export names it again,
// and a prune leaves it.
func TestAKickstartImportsASigningKey(t *testing.T) {
	dir := t.TempDir()
	newKey := func() string {
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalPKCS8PrivateKey(private)
		if err != nil {
			t.Fatal(err)
		}
		return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	}
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	key := write("former.pem", newKey())
	const tenant = "tenants: [{id: acme, applications: [{id: shop}]}]\n"
	file := write("k.yaml", tenant+"keys: [{id: former-1, tenantId: acme, name: Former, "+
		"knownSince: 2026-01-31T12:00:00Z, privateKey: '${file:"+key+"}'}]\n")
	apply := func(want string, args ...string) string {
		t.Helper()
		out, err := operateIn(t, dir, append([]string{"apply"}, args...)...)
		if text := out + errorText(err); !strings.Contains(text, want) {
			t.Fatalf("apply %v: %q, want %q", args, text, want)
		}
		return out
	}
	apply("created  key          former-1", "-f", file, "--dry-run")
	apply("created", "-f", file)
	apply("0 created, 0 updated, 3 unchanged", "-f", file)
	list, err := operateIn(t, dir, "key", "list", "--tenant=acme")
	if err != nil || !strings.Contains(list, "former-1\tsigning\tacme\tES256\tsigning\tFormer\t") {
		t.Errorf("key list: %v\n%s", err, list)
	}
	exported, err := operateIn(t, dir, "export")
	if err != nil || !strings.Contains(exported, "privateKey: ${FORMER_1_KEY}") {
		t.Errorf("export: %v\n%s", err, exported)
	}
	apply("0 created, 0 updated, 3 unchanged", "-f", write("exported.yaml", exported), "--keep-keys")
	if _, err := operateIn(t, dir, "diff", "-f", write("exported.yaml", exported), "--keep-keys"); err != nil {
		t.Errorf("diff with its own export: %v", err)
	}
	apply("another key of this id", "-f", write("other.yaml", tenant+
		"keys: [{id: former-1, tenantId: acme, privateKey: '${file:"+write("other.pem", newKey())+"}'}]\n"))
	apply("unchanged", "-f", write("without.yaml", tenant), "--prune", "--yes")
	out, err := operateIn(t, dir, "diff", "-f", write("without.yaml", tenant))
	if err == nil || !strings.Contains(out, "not in the file  key") {
		t.Errorf("diff without the key: %v\n%s", err, out)
	}
	shown, err := operateIn(t, dir, "key", "show", "former-1")
	if err != nil || !strings.Contains(shown, "timeline.made") {
		t.Errorf("after a prune: %v\n%s", err, shown)
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
