//go:build integrating

package integrating_test

import (
	"net/http"
	"os"
	"os/exec"
	"testing"

	"github.com/refreshd/refreshd/test/apt"
)

func TestTheVerifierOfTheDocumentInPython(t *testing.T) {
	for _, name := range []string{"python3-jwt", "python3-cryptography"} {
		there := func() bool { return exec.Command("/usr/bin/python3", "-c", "import jwt, cryptography").Run() == nil }
		if there() {
			break
		}
		if err := apt.Install(t.Context(), name, there); err != nil {
			t.Fatalf("%s is needed: %v", name, err)
		}
	}
	w, dir := newWorld(t), t.TempDir()
	write(t, dir, ".py")
	verifiers(t, w, func(token string) int {
		t.Helper()
		// The first exit status is that of a refusal; a missing package, say, is another.
		c := exec.Command("/usr/bin/python3", "-c",
			"import sys, jwt, verify\ntry: verify.verify(sys.argv[1])\nexcept jwt.PyJWTError: sys.exit(77)", token)
		c.Dir, c.Env = dir, append(os.Environ(), "ISSUER="+w.refreshd+"/t/default")
		out, err := c.CombinedOutput()
		switch c.ProcessState.ExitCode() {
		case 0:
			return http.StatusOK
		case 77:
			return http.StatusUnauthorized
		}
		t.Fatalf("python: %v\n%s", err, out)
		return 0
	})
}
