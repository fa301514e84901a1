//go:build integrating

package integrating_test

import (
	"net/http"
	"os"
	"os/exec"
	"testing"

	"github.com/refreshd/refreshd/test/support/apt"
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
	verify := func(token string) int {
		t.Helper()
		// The exit statuses are those of a refusal and of unknown keys; a missing package, say, is another.
		c := exec.Command("/usr/bin/python3", "-c", "import sys, jwt, verify\ntry: verify.verify(sys.argv[1])\n"+
			"except jwt.PyJWKClientError: sys.exit(78)\nexcept jwt.PyJWTError: sys.exit(77)", token)
		c.Dir, c.Env = dir, append(os.Environ(), "ISSUER="+w.refreshd+"/t/default")
		out, err := c.CombinedOutput()
		switch c.ProcessState.ExitCode() {
		case 0:
			return http.StatusOK
		case 77:
			return http.StatusUnauthorized
		case 78:
			return http.StatusServiceUnavailable
		}
		t.Fatalf("python: %v\n%s", err, out)
		return 0
	}
	verifiers(t, w, func(token string) int {
		if status := verify(token); status != http.StatusServiceUnavailable {
			return status
		}
		return http.StatusUnauthorized // by a key that is not in the set
	})
	good := w.backend(t, "POST", "/jwt/issue", `{"userId": "alice", "applicationsId": "demo"}`).data(t).Token
	w.stop(t)
	if got := verify(good); got != http.StatusServiceUnavailable {
		t.Errorf("without refreshd: %d, want 503", got)
	}
	w.serve(t)
}
