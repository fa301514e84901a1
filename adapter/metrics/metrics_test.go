package metrics_test

import (
	"context"
	"database/sql"
	"errors"
	"net/http/httptest"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/refreshd/refreshd/adapter/memstore"
	"github.com/refreshd/refreshd/adapter/metrics"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
	"github.com/refreshd/refreshd/test/storagetest"
)

func scrape(t *testing.T, m *metrics.Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

func wantLines(t *testing.T, text string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no line %q in\n%s", line, text)
		}
	}
}

func TestExchangesAreCountedByTheWordsOfTheTable(t *testing.T) {
	m := metrics.New("v1")
	// An alert on a rate needs the zero that comes before the first.
	wantLines(t, scrape(t, m), `refreshd_exchanges_total{outcome="replayed"} 0`, `refreshd_build_info{version="v1"} 1`)
	m.Exchanged(domain.Retried, true, nil)
	m.Exchanged(domain.RefusedInvalid, false, domain.ErrAhead)
	m.Exchanged(domain.RefusedInvalid, false, nil)
	wantLines(t, scrape(t, m),
		`refreshd_exchanges_total{outcome="retried"} 1`, `refreshd_exchanges_total{outcome="invalid"} 2`,
		`refreshd_retries_from_other_address_total 1`, `refreshd_generations_ahead_total 1`)
}

func TestRefusedCallsAreCountedByReason(t *testing.T) {
	m := metrics.New("v1")
	inProgress := 3
	m.InProgress(func() int { return inProgress }, []string{"clientAddress", "overload"})
	m.Refused("overload")
	m.Refused("overload")
	wantLines(t, scrape(t, m), `refreshd_calls_refused_total{reason="clientAddress"} 0`, `refreshd_calls_refused_total{reason="overload"} 2`,
		"refreshd_calls_in_progress 3")
}

func TestStepsOfTheJanitorAreCountedAndPassesDated(t *testing.T) {
	m := metrics.New("v1")
	m.Purged(500, 40, false)
	wantLines(t, scrape(t, m), "refreshd_purge_looked_at_total 500", "refreshd_purged_tokens_total 40",
		"refreshd_purge_last_pass_timestamp_seconds 0")
	m.Purged(7, 2, true)
	text := scrape(t, m)
	wantLines(t, text, "refreshd_purge_looked_at_total 507", "refreshd_purged_tokens_total 42")
	if strings.Contains(text, "refreshd_purge_last_pass_timestamp_seconds 0\n") {
		t.Error("a complete pass left no date")
	}
}

func TestRequestsAreCountedByRouteAndStatus(t *testing.T) {
	m := metrics.New("v1")
	m.Observe("/jwt/refresh/:id", "GET", 404, 30*time.Millisecond, "")
	wantLines(t, scrape(t, m),
		`refreshd_http_request_duration_seconds_count{method="GET",route="/jwt/refresh/:id",status="404"} 1`,
		`refreshd_http_request_duration_seconds_bucket{method="GET",route="/jwt/refresh/:id",status="404",le="0.05"} 1`,
		`refreshd_http_request_duration_seconds_bucket{method="GET",route="/jwt/refresh/:id",status="404",le="0.025"} 0`)
}

func TestPoolAndTablesAreReadAtEachScrape(t *testing.T) {
	m := metrics.New("v1")
	open, broken := 3, false
	m.Pool(func() sql.DBStats { return sql.DBStats{OpenConnections: open, WaitDuration: 2 * time.Second} })
	m.Sharing(func() metrics.Sharing { return metrics.Sharing{Waiting: 5, Writes: 6, Exchanges: 7} })
	m.TableStatistics(func(context.Context) (metrics.Tables, error) {
		if broken {
			return metrics.Tables{}, errors.New("down")
		}
		return metrics.Tables{Updates: 100, HOTUpdates: 99, OldestTransaction: time.Minute}, nil
	})
	wantLines(t, scrape(t, m), "refreshd_exchanges_waiting 5", "refreshd_exchange_writes_total 6", "refreshd_exchanges_written_total 7",
		"refreshd_pool_open_connections 3", "refreshd_pool_wait_seconds_total 2",
		"refreshd_table_updates_total 100", "refreshd_table_hot_updates_total 99", "refreshd_oldest_transaction_seconds 60")
	open, broken = 4, true
	text := scrape(t, m)
	wantLines(t, text, "refreshd_pool_open_connections 4")
	if strings.Contains(text, "refreshd_table_updates_total") {
		t.Error("figures of a database that did not answer are shown")
	}
}

// A timed store is still a store: whatever a method is handed and gives back passes through.
func TestATimedStoreKeepsThePortsPromises(t *testing.T) {
	storagetest.Run(t, func(*testing.T) func() port.Store {
		s := metrics.New("v1").Store(memstore.New())
		return func() port.Store { return s }
	})
}

// A method that is added to the port and forgotten here would be passed through, and not be counted.
func TestEveryCallIsTimed(t *testing.T) {
	m := metrics.New("v1")
	s := reflect.ValueOf(m.Store(memstore.New()))
	methods := reflect.TypeFor[port.Store]()
	for i := range methods.NumMethod() {
		method := methods.Method(i)
		if method.Name == "Close" {
			continue
		}
		var in []reflect.Value
		for j := range method.Type.NumIn() {
			if in = append(in, reflect.Zero(method.Type.In(j))); j == 0 {
				in[0] = reflect.ValueOf(t.Context())
			}
		}
		before := calls(t, m)
		if call := s.MethodByName(method.Name); method.Type.IsVariadic() {
			call.CallSlice(in)
		} else {
			call.Call(in)
		}
		if got, want := calls(t, m), before+1; got != want {
			t.Errorf("%s: %d kinds of call are counted, want %d", method.Name, got, want)
		}
	}
}

var callPattern = regexp.MustCompile(`refreshd_store_call_duration_seconds_count\{call="`)

func calls(t *testing.T, m *metrics.Metrics) int {
	return len(callPattern.FindAllString(scrape(t, m), -1))
}
