package documents

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/refreshd/refreshd/adapter/manifest"
	"github.com/refreshd/refreshd/cmd/run"
)

// The commands of the section do what it says when they are pasted in its order.
func TestTheCommandsOfExportWork(t *testing.T) {
	blocks := blocksOf(t, "Export, compare and import the configuration", "sh", 2)
	t.Chdir(t.TempDir())
	if err := os.WriteFile("first.yaml", []byte(manifest.Example), 0o600); err != nil {
		t.Fatal(err)
	}
	environ := []string{"REFRESHD_DATABASE_URL=sqlite:data/refreshd.db", "BACKEND_KEY=" + backendKey}
	refreshd := func(args ...string) (stdout, stderr string) {
		t.Helper()
		var out, errors bytes.Buffer
		o := run.Options{Args: args, Environ: environ, Stdout: &out, Stderr: &errors}
		if err := run.Run(t.Context(), o); err != nil {
			t.Fatalf("refreshd %q: %v\n%s", args, err, errors.String())
		}
		return out.String(), errors.String()
	}
	refreshd("apply", "-f", "first.yaml")
	environ = environ[:1] // the operator who exports has no API key
	var printed []string
	for line := range strings.Lines(strings.Join(blocks, "")) {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		switch words[0] {
		case "refreshd":
			stdout, stderr := refreshd(words[1:]...)
			printed = append(printed, words[1]+": "+stdout+stderr)
		case "export":
			environ = append(environ, words[1])
		case "openssl":
			if err := os.WriteFile(words[len(words)-1], []byte("IRMC4vJLqJQbVdTVKmXqHAp1MyCDVpYq\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		default:
			t.Fatalf("the command %q is not known here", line)
		}
	}
	for i, want := range []string{
		"export: The file takes these keys from the environment:\n  BACKEND_KEY  the API key backend\n",
		"diff: unchanged  tenant       acme\n", "apply: unchanged  tenant       acme\n", "export: ",
		"apply: created  tenant       acme\n",
	} {
		if i >= len(printed) || !strings.HasPrefix(printed[i], want) {
			t.Errorf("command %d of %q, want it to begin with %q", i, printed, want)
		}
	}
	if len(printed) != 5 {
		t.Errorf("%d commands ran, want 5", len(printed))
	}
	if _, err := os.Stat("moved/refreshd.db"); err != nil {
		t.Error(err)
	}
}
