package run

import (
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"testing"
)

// stopAt ends a run when its log has that text.
type stopAt struct {
	bytes.Buffer
	text string
	stop context.CancelFunc
}

func (s *stopAt) Write(line []byte) (int, error) {
	if strings.Contains(string(line), s.text) {
		s.stop()
	}
	return s.Buffer.Write(line)
}

// An issuer is derived from the public URL. A URL of this machine is right for a first try only.
func TestAServiceForOthersIsWarnedOfAPublicURLOfThisMachine(t *testing.T) {
	for _, test := range []struct {
		name, listen, publicURL string
		warned                  bool
	}{
		{"every address", "0.0.0.0:" + freePort(t), "", true},
		{"every address, and a public URL", "0.0.0.0:0", "https://auth.example.com", false},
		{"this machine only", "127.0.0.1:0", "", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			ctx, stop := context.WithCancel(t.Context())
			log := &stopAt{text: `"msg":"listening"`, stop: stop}
			o := Options{Stdout: io.Discard, Stderr: log, Args: []string{"serve"}, Environ: []string{
				"REFRESHD_DATABASE_URL=memory:", "REFRESHD_LISTEN=" + test.listen, "REFRESHD_ADMIN_LISTEN=",
				"REFRESHD_PUBLIC_URL=" + test.publicURL, "REFRESHD_LOG_FORMAT=json",
			}}
			if err := Run(ctx, o); err != nil {
				t.Fatal(err)
			}
			if got := strings.Contains(log.String(), "set REFRESHD_PUBLIC_URL"); got != test.warned {
				t.Errorf("warned: %t, want %t\n%s", got, test.warned, log.String())
			}
		})
	}
}

// Without a root tenant the endpoints at the root respond 404, which looks like a fault of the client.
func TestAServiceWarnsOfARootTenantThatDoesNotExist(t *testing.T) {
	for id, warned := range map[string]bool{"": false, "default": false, "nobody": true} {
		t.Run(id, func(t *testing.T) {
			t.Chdir(t.TempDir())
			ctx, stop := context.WithCancel(t.Context())
			log := &stopAt{text: `"msg":"listening"`, stop: stop}
			o := Options{Stdout: io.Discard, Stderr: log, Args: []string{"serve"}, Environ: []string{
				"REFRESHD_DATABASE_URL=memory:", "REFRESHD_LISTEN=127.0.0.1:0", "REFRESHD_ADMIN_LISTEN=",
				"REFRESHD_LOG_FORMAT=json", "REFRESHD_ROOT_TENANT=" + id,
			}}
			if err := Run(ctx, o); err != nil {
				t.Fatal(err)
			}
			if got := strings.Contains(log.String(), eventRootTenantMissing); got != warned {
				t.Errorf("warned: %t, want %t\n%s", got, warned, log.String())
			}
		})
	}
}

// freePort returns a port that was free a moment ago. With a port of 0 the configuration could not derive a URL by
// itself.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}
