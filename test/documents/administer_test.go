package documents

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"os/exec"
	"strings"
	"testing"

	"github.com/refreshd/refreshd/cmd/run"
)

// The session of OPERATING.md does what its comments say, with the API key of its kickstart file.
func TestTheSessionOfAdministrationRuns(t *testing.T) {
	const heading = "Administer over HTTP"
	script := blocksOf(t, heading, "sh", 1)[0]
	dir := writeFiles(t, map[string]string{"kickstart.yaml": blocksOf(t, heading, "yaml", 1)[0]})
	url := serving(t, "REFRESHD_KICKSTART_FILE="+dir+"/kickstart.yaml", "OPERATOR_KEY="+backendKey)
	bash := exec.CommandContext(t.Context(), "bash", "-eu", "-o", "pipefail")
	bash.Stdin = strings.NewReader(script + `api -o /dev/null -w '%{http_code}' "$URL/tenant/acme" || true`)
	bash.Env = append(bash.Environ(), "URL="+url, "OPERATOR_KEY="+backendKey)
	out, err := bash.CombinedOutput()
	if err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	rest := string(out)
	for _, want := range []string{
		"The tenant was created.", "The application was created.", "The API key was created.", `"key":"ak_`,
		"The tenant was changed.", `"timeToLiveInSeconds":300`, "The key was made.", `"hasPreviousKey":true`,
		"The previous key has ended.", `"hasPreviousKey":false`, "The tenant was deleted.", "404",
	} {
		_, after, found := strings.Cut(rest, want)
		if !found {
			t.Fatalf("after the earlier ones there is no %q in\n%s", want, out)
		}
		rest = after
	}
}

// serving runs a service in memory until the test ends, and returns the URL of its API.
func serving(t *testing.T, environ ...string) (url string) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	log, stderr := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- run.Run(ctx, run.Options{
			Args: []string{"serve"}, Stdout: io.Discard, Stderr: stderr, Environ: append([]string{
				"REFRESHD_DATABASE_URL=memory:", "REFRESHD_LISTEN=127.0.0.1:0", "REFRESHD_ADMIN_LISTEN=",
				"REFRESHD_LOG_FORMAT=json",
			}, environ...),
		})
		stderr.Close()
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	lines := bufio.NewScanner(log)
	for url == "" && lines.Scan() {
		var line struct{ Event, URL string }
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Fatalf("%v: %s", err, lines.Bytes())
		}
		if line.Event == "server.listening" {
			url = line.URL
		}
	}
	go func() { _, _ = io.Copy(io.Discard, log) }() // so that the rest of the log does not block its writer
	return url
}
