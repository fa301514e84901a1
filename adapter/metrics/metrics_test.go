package metrics_test

import (
	"context"
	"database/sql"
	"errors"
	"net/http/httptest"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/refreshd/refreshd/adapter/httpapi"
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
	// An alert on a rate needs a zero before the first event.
	wantLines(t, scrape(t, m), `refreshd_exchanges_total{outcome="replayed"} 0`,
		`refreshd_build_info{goversion="`+runtime.Version()+`",revision="",version="v1"} 1`)
	m.Exchanged(domain.Retried, true, nil)
	m.Exchanged(domain.RefusedInvalid, false, domain.ErrAhead)
	m.Exchanged(domain.RefusedInvalid, false, nil)
	wantLines(t, scrape(t, m),
		`refreshd_exchanges_total{outcome="retried"} 1`, `refreshd_exchanges_total{outcome="invalid"} 2`,
		`refreshd_retries_from_other_address_total 1`, `refreshd_generations_ahead_total 1`)
}

func TestRefusedRequestsAreCountedByReason(t *testing.T) {
	m := metrics.New("v1")
	inProgress := 3
	m.InProgress(func() int { return inProgress }, []string{"clientAddress", "overload"})
	m.Refused("overload")
	m.Refused("overload")
	wantLines(t, scrape(t, m), `refreshd_requests_refused_total{reason="client_address"} 0`,
		`refreshd_requests_refused_total{reason="overload"} 2`, "refreshd_requests_in_progress 3")
}

func TestStepsOfTheJanitorAreCountedAndPassesDated(t *testing.T) {
	m := metrics.New("v1")
	m.Purged(500, 40, false)
	wantLines(t, scrape(t, m), "refreshd_purge_tokens_examined_total 500", "refreshd_purge_tokens_deleted_total 40",
		"refreshd_purge_last_pass_timestamp_seconds 0")
	m.Purged(7, 2, true)
	text := scrape(t, m)
	wantLines(t, text, "refreshd_purge_tokens_examined_total 507", "refreshd_purge_tokens_deleted_total 42")
	if strings.Contains(text, "refreshd_purge_last_pass_timestamp_seconds 0\n") {
		t.Error("a complete pass set no timestamp")
	}
}

func TestRequestsAreCountedByRouteAndStatus(t *testing.T) {
	m := metrics.New("v1")
	m.Observe(metrics.Response{Route: "/jwt/refresh/{id}", Method: "GET", Status: 404, Took: 30 * time.Millisecond})
	wantLines(t, scrape(t, m),
		`refreshd_http_request_duration_seconds_count{code="404",method="GET",route="/jwt/refresh/{id}"} 1`,
		`refreshd_http_request_duration_seconds_bucket{code="404",method="GET",route="/jwt/refresh/{id}",le="0.05"} 1`,
		`refreshd_http_request_duration_seconds_bucket{code="404",method="GET",route="/jwt/refresh/{id}",le="0.025"} 0`)
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
	wantLines(t, scrape(t, m), "refreshd_exchanges_waiting 5", "refreshd_exchange_batches_total 6",
		"refreshd_batched_exchanges_total 7",
		"refreshd_pool_open_connections 3", "refreshd_pool_wait_seconds_total 2",
		"refreshd_table_updates_total 100", "refreshd_table_hot_updates_total 99",
		"refreshd_oldest_transaction_seconds 60")
	open, broken = 4, true
	text := scrape(t, m)
	wantLines(t, text, "refreshd_pool_open_connections 4")
	if strings.Contains(text, "refreshd_table_updates_total") {
		t.Error("statistics of a database that did not respond are exported")
	}
}

// The events that operators investigate are counted from zero: a rate needs a zero before the first event.
func TestIssuesRevocationsAndFailedCredentialsAreCountedByKind(t *testing.T) {
	m := metrics.New("v1")
	m.Count(metrics.Events(httpapi.Counted))
	wantLines(t, scrape(t, m), "refreshd_tokens_issued_total 0",
		`refreshd_revocations_total{kind="user_in_application"} 0`,
		`refreshd_credentials_failed_total{kind="api_key"} 0`)
	for _, r := range []metrics.Response{
		{Event: "token.issued"}, {Event: "token.issued"}, {Event: "token.revoked", Kind: "userInApplication"},
		{Event: "credential.failed", Kind: "tokenString"}, {Event: "request.refused", Kind: "apiKey"},
	} {
		m.Observe(r)
	}
	wantLines(t, scrape(t, m), "refreshd_tokens_issued_total 2",
		`refreshd_revocations_total{kind="user_in_application"} 1`,
		`refreshd_credentials_failed_total{kind="token_string"} 1`,
		`refreshd_credentials_failed_total{kind="api_key"} 0`)
}

func TestReadinessAndTheLostLinesAreReadAtEachScrape(t *testing.T) {
	m := metrics.New("v1")
	ready, lost := false, int64(0)
	m.Ready(func() bool { return ready })
	m.PurgeInterval(90 * time.Second)
	m.LogLinesLost(func() int64 { return lost })
	wantLines(t, scrape(t, m), "refreshd_ready 0", "refreshd_log_lines_lost_total 0", "refreshd_purge_interval_seconds 90")
	ready, lost = true, 7
	wantLines(t, scrape(t, m), "refreshd_ready 1", "refreshd_log_lines_lost_total 7")
}

func TestTheFeedIsReadAtEachScrape(t *testing.T) {
	m := metrics.New("v1")
	f := metrics.Feed{Streams: 2, Facts: 3, Repaired: 4, Age: 1500 * time.Millisecond, LastRead: 20 * time.Millisecond}
	m.Feed(func() metrics.Feed { return f })
	wantLines(t, scrape(t, m), "refreshd_feed_age_seconds 1.5", "refreshd_feed_streams 2", "refreshd_feed_facts 3",
		"refreshd_feed_repaired_total 4", "refreshd_feed_read_seconds 0.02")
	f = metrics.Feed{}
	wantLines(t, scrape(t, m), "refreshd_feed_age_seconds 0")
}

func TestTheSigningKeysAreReadAtEachScrape(t *testing.T) {
	m := metrics.New("v1")
	s := metrics.SigningKeys{Age: time.Hour, NextStep: new(24 * time.Hour), Refusal: new(time.Duration)}
	m.SigningKeys(func() metrics.SigningKeys { return s })
	wantLines(t, scrape(t, m), "refreshd_signing_key_age_seconds 3600", "refreshd_signing_key_next_step_seconds 86400",
		"refreshd_verifier_refusal_seconds 0")
	s = metrics.SigningKeys{}
	wantLines(t, scrape(t, m), "refreshd_signing_key_age_seconds 0", "refreshd_signing_key_next_step_seconds +Inf",
		"refreshd_verifier_refusal_seconds +Inf")
}

var (
	snakeCase = regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)
	// notWords are the labels whose values are not words.
	notWords = []string{"route", "method", "code", "version", "goversion", "revision"}
)

// Authors of alerts expect Prometheus' rules: names, units and help as its linter requires, labels in snake case.
func TestNamesAndLabelsAreThoseOfPrometheusGuide(t *testing.T) {
	m := metrics.New("v1")
	m.Pool(func() sql.DBStats { return sql.DBStats{} })
	m.Sharing(func() metrics.Sharing { return metrics.Sharing{} })
	m.TableStatistics(func(context.Context) (metrics.Tables, error) { return metrics.Tables{}, nil })
	m.InProgress(func() int { return 0 }, []string{"clientAddress", "apiKey", "refreshToken", "overload"})
	m.Count(metrics.Events(httpapi.Counted))
	m.LogLinesLost(func() int64 { return 0 })
	m.Feed(func() metrics.Feed { return metrics.Feed{} })
	m.Ready(func() bool { return true })
	m.PurgeInterval(time.Hour)
	m.Observe(metrics.Response{Route: "/jwt/refresh/{id}", Method: "GET", Status: 200})
	if _, err := m.Store(memstore.New()).HasData(t.Context()); err != nil {
		t.Fatal(err)
	}
	registry := m.Registry()
	problems, err := testutil.GatherAndLint(registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, family := range families {
		if !strings.HasPrefix(family.GetName(), "refreshd_") {
			continue
		}
		for _, metric := range family.Metric {
			for _, label := range metric.Label {
				checked++
				isWord := !slices.Contains(notWords, label.GetName())
				if !snakeCase.MatchString(label.GetName()) || isWord && !snakeCase.MatchString(label.GetValue()) {
					t.Errorf("%s: %s=%q is not in snake case", family.GetName(), label.GetName(), label.GetValue())
				}
				if label.GetName() == "tenant" {
					t.Errorf("%s has a label that grows with the number of tenants", family.GetName())
				}
			}
		}
	}
	if checked < 20 {
		t.Errorf("%d labels were checked, want at least 20", checked)
	}
}

// A timed store passes all arguments and results through.
func TestATimedStoreKeepsThePortsPromises(t *testing.T) {
	storagetest.Run(t, func(*testing.T) func() port.Store {
		s := metrics.New("v1").Store(memstore.New())
		return func() port.Store { return s }
	})
}

// A method that is added to the port and forgotten here would be passed through and not timed.
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
			t.Errorf("%s: %d kinds of calls are timed, want %d", method.Name, got, want)
		}
	}
}

var callPattern = regexp.MustCompile(`refreshd_store_call_duration_seconds_count\{call="`)

func calls(t *testing.T, m *metrics.Metrics) int {
	return len(callPattern.FindAllString(scrape(t, m), -1))
}
