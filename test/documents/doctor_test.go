package documents

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/refreshd/refreshd/cmd/run"
)

// An operator pastes the commands before users depend on the service. They succeed on a deployment without a fault,
// fail on one without a database, and name what the table of the section says that they check.
func TestTheCommandsBeforeProductionRun(t *testing.T) {
	text, err := section("OPERATING.md", "Check before production")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	doctor := func(args ...string) (string, error) {
		var out bytes.Buffer
		err := run.Run(t.Context(), run.Options{Args: args, Stdout: &out, Stderr: io.Discard})
		return out.String(), err
	}
	var commands [][]string
	for _, block := range blocks(text, "sh") {
		commands = append(commands, commandsIn("```sh\n"+block+"```\n")...)
	}
	if len(commands) != 2 {
		t.Fatalf("the section has the commands %q, want two", commands)
	}
	for _, args := range commands {
		if out, err := doctor(args...); err == nil || !strings.Contains(out, "failed") {
			t.Errorf("refreshd %q without a database: %v\n%s", args, err, out)
		}
	}
	dir := writeFiles(t, map[string]string{"kickstart.yaml": `
apiKeys:
- name: backend
  key: ` + backendKey + `
  permissions: {endpoints: {/jwt/issue: [POST]}}
`})
	if out, err := doctor("apply", "-f", dir+"/kickstart.yaml"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, args := range commands {
		out, err := doctor(args...)
		if err != nil || strings.Contains(out, "failed") || strings.Contains(out, "warning") {
			t.Errorf("refreshd %q: %v\n%s", args, err, out)
		}
		for _, check := range []string{
			"configuration", "public URL", "file permissions", "database", "schema", "readiness", "keys", "purge",
			"audit trail", "API keys",
		} {
			if !strings.Contains(out, check) {
				t.Errorf("refreshd %q says nothing about %s:\n%s", args, check, out)
			}
		}
	}
}
