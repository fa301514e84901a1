package documents

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"testing"

	"github.com/refreshd/refreshd/cmd/run"
)

// servesAtTheAdminListener fails the test unless a service in memory answers 200 to GET of each path there.
func servesAtTheAdminListener(t *testing.T, paths ...string) {
	t.Helper()
	t.Chdir(t.TempDir())
	ctx, stop := context.WithCancel(t.Context())
	log, stderr := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- run.Run(ctx, run.Options{
			Args: []string{"serve"}, Stdout: io.Discard, Stderr: stderr, Environ: []string{
				"REFRESHD_DATABASE_URL=memory:", "REFRESHD_LISTEN=127.0.0.1:0", "REFRESHD_ADMIN_LISTEN=127.0.0.1:0",
				"REFRESHD_LOG_FORMAT=json",
			},
		})
		stderr.Close()
	}()
	defer func() {
		stop()
		go func() { _, _ = io.Copy(io.Discard, log) }() // so that the rest of the log does not block its writer
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	admin := ""
	for lines := bufio.NewScanner(log); lines.Scan(); {
		var line struct{ Event, Address, URL string } // the API's line has the public URL
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Fatalf("%v: %s", err, lines.Bytes())
		}
		if line.Event == "server.listening" && line.URL != "" {
			break
		}
		admin = cmp.Or(line.Address, admin)
	}
	go func() { _, _ = io.Copy(io.Discard, log) }()
	for _, path := range paths {
		response, err := http.Get("http://" + admin + path)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Errorf("GET %s at the admin listener: %s", path, response.Status)
		}
	}
}
