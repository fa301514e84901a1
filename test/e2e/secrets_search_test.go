package e2e_test

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A search that reads nothing would find nothing, and always pass.
func TestTheSearchForSecretsFindsThem(t *testing.T) {
	token := remember("token string", "rt_"+rand.Text()+rand.Text())
	access := remember("access token", "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhbGljZSJ9."+rand.Text()+rand.Text())
	for name, tt := range map[string]struct {
		text string
		want int
	}{
		"whole":             {"line\nmsg=" + token + " end\n", 1},
		"cut short":         {"prefix " + token[:30], 1},
		"its end":           {token[20:], 1},
		"a signature":       {`{"token":"` + access + `"}`, 1},
		"nothing":           {"rt_ ak_ eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhbGljZSJ9. " + token[:12], 0},
		"a common header":   {access[:strings.LastIndexByte(access, '.')], 0},
		"nothing to search": {"", 0},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "log"), []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, leaks, err := searchLogs(dir)
		if err != nil {
			t.Fatal(err)
		}
		if len(leaks) != tt.want {
			t.Errorf("%s: found %q, want %d", name, leaks, tt.want)
		}
	}
}
