package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/refreshd/refreshd/test/postgres"
)

// BenchmarkExchange is the whole service, over HTTP on the loopback, in a closed loop of virtual users who chain the string that
// they were last given. Driver and service share the process, so its figures are below what the service can do by itself.
func BenchmarkExchange(b *testing.B) {
	stores := map[string]func(b *testing.B) string{
		"memory":   func(*testing.B) string { return "memory:" },
		"sqlite":   func(b *testing.B) string { return "sqlite:" + filepath.Join(b.TempDir(), "refreshd.db") },
		"postgres": durablePostgres(b),
	}
	for _, store := range []string{"memory", "sqlite", "postgres"} {
		for _, users := range []int{1, 8, 32} {
			b.Run(fmt.Sprintf("%s/%d-users", store, users), func(b *testing.B) {
				base := startService(b, stores[store](b))
				benchmarkExchange(b, base, users)
			})
		}
	}
}

// durablePostgres is one that waits for the disk, as one that is used does; that of the tests does not.
func durablePostgres(b *testing.B) func(*testing.B) string {
	server, err := postgres.StartServer(b.Context(), postgres.Options{Durable: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := server.Stop(); err != nil {
			b.Error(err)
		}
	})
	return func(b *testing.B) string {
		dsn, err := server.NewDatabase(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		return dsn
	}
}

func benchmarkExchange(b *testing.B, base string, users int) {
	strings := make([]string, users)
	for i := range strings {
		strings[i] = post(b, base+"/jwt/issue", map[string]string{"applicationsId": "shop", "userId": fmt.Sprint("user-", i)})
	}
	b.ReportAllocs()
	var left atomic.Int64
	left.Store(int64(b.N))
	var group sync.WaitGroup
	b.ResetTimer()
	for _, current := range strings {
		group.Go(func() {
			for left.Add(-1) >= 0 {
				next := post(b, base+"/jwt/refresh", map[string]string{"refreshToken": current})
				if next == current {
					b.Error("the string was not rotated")
					return
				}
				current = next
			}
		})
	}
	group.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "exchanges/s")
}

const benchKey = "ak_benchmark_benchmark_benchmark"

var benchClient = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: 10 * time.Second}

// post returns the token string of the answer.
func post(b *testing.B, url string, body map[string]string) string {
	text, err := json.Marshal(body)
	if err != nil {
		b.Error(err)
		return ""
	}
	request, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(text))
	if err != nil {
		b.Error(err)
		return ""
	}
	request.Header.Set("Content-Type", "application/json")
	if _, exchange := body["refreshToken"]; !exchange {
		request.Header.Set("Authorization", benchKey)
		request.Header.Set("X-Stencil-TenantId", "acme")
	}
	response, err := benchClient.Do(request)
	if err != nil {
		b.Error(err)
		return ""
	}
	defer response.Body.Close()
	var answer struct {
		Data struct{ RefreshToken, Token string }
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || response.StatusCode != http.StatusOK || answer.Data.Token == "" {
		b.Errorf("%s: %s: %v", url, response.Status, err)
	}
	return answer.Data.RefreshToken
}

// startService runs the program on a free port until the benchmark ends.
func startService(tb testing.TB, database string) (base string) {
	kickstart := filepath.Join(tb.TempDir(), "kickstart.yaml")
	err := os.WriteFile(kickstart, []byte(`
tenants: [{id: acme, name: Acme, applications: [{id: shop, name: Shop}]}]
apiKeys: [{name: bench, key: `+benchKey+`, permissions: {endpoints: {"*": ["*"]}}}]
`), 0o600)
	if err != nil {
		tb.Fatal(err)
	}
	listening := &listenLine{address: make(chan string, 1)}
	p := process{stdout: io.Discard, stderr: listening, environ: []string{
		"REFRESHD_DATABASE_URL=" + database, "REFRESHD_LISTEN=127.0.0.1:0", "REFRESHD_ADMIN_LISTEN=", "REFRESHD_LOG_FORMAT=json",
		"REFRESHD_KICKSTART_FILE=" + kickstart, "REFRESHD_MASTER_KEY=MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
	}}
	if database[0] == 'p' {
		if err := p.run(context.Background(), []string{"migrate"}); err != nil {
			tb.Fatal(err)
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.run(ctx, []string{"serve"}) }()
	tb.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			tb.Error(err)
		}
	})
	select {
	case address := <-listening.address:
		return "http://" + address
	case err := <-ended:
		ended <- nil
		tb.Fatal(err)
		return ""
	}
}

// listenLine reads the log for the address that the system chose.
type listenLine struct {
	address chan string
	found   atomic.Bool
}

var listenPattern = regexp.MustCompile(`"msg":"listening","address":"([^"]+)"`)

func (l *listenLine) Write(line []byte) (int, error) {
	if !l.found.Load() {
		if match := listenPattern.FindSubmatch(line); match != nil && l.found.CompareAndSwap(false, true) {
			l.address <- string(match[1])
		}
	}
	return len(line), nil
}
