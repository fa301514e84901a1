// Package metrics exports Prometheus metrics: requests, exchanges by outcome, calls of the store, connections, the feed
// of revocations, and the work of the janitor.
//
// Other packages report to it (httpapi's Observe and Exchanged, the use case's steps of a pass), and it wraps the store
// ([Metrics.Store]), so none of them imports it. No label value comes from a request: routes are patterns, all others
// are words of a fixed set. The tenant is not a label: series would grow with tenants, and readers of the metrics would
// learn their names.
//
// Names follow Prometheus' guide: base units, _total for counters, labels and their values in snake case. A word that
// is camel case in the log becomes snake case here.
package metrics

import (
	"context"
	"database/sql"
	"errors"
	"math"
	"net/http"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/refreshd/refreshd/domain"
)

// Metrics is a registry of its own, so a process can have several.
type Metrics struct {
	registry       *prometheus.Registry
	requests       *prometheus.HistogramVec
	issued         prometheus.Counter
	revocations    *prometheus.CounterVec
	credentials    *prometheus.CounterVec
	exchanges      *prometheus.CounterVec
	addressChanged prometheus.Counter
	ahead          prometheus.Counter
	refused        *prometheus.CounterVec
	calls          *prometheus.HistogramVec
	purged         prometheus.Counter
	examined       prometheus.Counter
	lastPass       prometheus.Gauge
	counted        map[string]func(kind string) // by event
}

// durations are buckets in seconds, from an exchange on a fast disk to the time-out of a handler.
var durations = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

// New returns a Metrics. version becomes a label of refreshd_build_info.
func New(version string) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "refreshd_http_request_duration_seconds", Buckets: durations,
			Help: "Duration of requests by route, method and status code.",
		}, []string{"route", "method", "code"}),
		issued: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "refreshd_tokens_issued_total", Help: "Refresh tokens issued; a repeated request counts again.",
		}),
		revocations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "refreshd_revocations_total",
			Help: "Requests to revoke, by what they revoked: a token, or all of a user, an application, both, or a tenant.",
		}, []string{"kind"}),
		credentials: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "refreshd_credentials_failed_total",
			Help: "Credentials that are invalid or do not allow the request. kind=none: the request needs one and has none.",
		}, []string{"kind"}),
		exchanges: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "refreshd_exchanges_total",
			Help: "Exchanges by outcome. Alert when recovered or replayed rises.",
		}, []string{"outcome"}),
		addressChanged: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "refreshd_retries_from_other_address_total",
			Help: "Retries with the previous token string from a client address other than the rotation's.",
		}),
		ahead: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "refreshd_generations_ahead_total",
			Help: "Genuine token strings of a future generation: the store went back in time, or a token key leaked.",
		}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "refreshd_requests_refused_total",
			Help: "Requests refused before they were processed, by a rate limit (429) or because of overload (503).",
		}, []string{"reason"}),
		calls: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "refreshd_store_call_duration_seconds", Buckets: durations,
			Help: "Duration of store calls; result is ok, answer (an expected one such as not found) or error.",
		}, []string{"call", "result"}),
		purged: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "refreshd_purge_tokens_deleted_total",
			Help: "Expired or revoked refresh tokens that this process has deleted.",
		}),
		examined: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "refreshd_purge_tokens_examined_total", Help: "Refresh tokens that this process has examined in purges.",
		}),
		lastPass: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "refreshd_purge_last_pass_timestamp_seconds",
			Help: "Time at which this process last completed a purge pass; 0 for never. Replicas share the passes: " +
				"take the maximum.",
		}),
	}
	// A rate needs a zero before the first event.
	for _, o := range domain.Outcomes {
		m.exchanges.WithLabelValues(string(o))
	}
	m.registry.MustRegister(m.requests, m.issued, m.revocations, m.credentials, m.exchanges, m.addressChanged, m.ahead,
		m.refused, m.calls, m.purged, m.examined, m.lastPass, buildInfo(version),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func buildInfo(version string) prometheus.Collector {
	labels := prometheus.Labels{"version": version, "goversion": runtime.Version(), "revision": ""}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				labels["revision"] = s.Value
			}
		}
	}
	g := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "refreshd_build_info", ConstLabels: labels,
		Help: "1, with the build as labels; revision is empty if the source had none.",
	})
	g.Set(1)
	return g
}

// Handler serves the metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{Registry: m.registry})
}

// Response describes a response that was sent. Each of its strings is from a fixed set.
type Response struct {
	Route  string
	Method string
	Status int
	Took   time.Duration

	Event, Kind string // as in the log
}

// Observe counts a request and its event.
func (m *Metrics) Observe(r Response) {
	m.requests.WithLabelValues(r.Route, r.Method, strconv.Itoa(r.Status)).Observe(r.Took.Seconds())
	if count := m.counted[r.Event]; count != nil {
		count(r.Kind)
	}
}

// Events are the log's names of the events that Observe counts.
type Events struct {
	Issued, Revoked, CredentialFailed string
	RevocationKinds, CredentialKinds  []string
}

// Count makes Observe count these events. Their kinds are exported with zero from the start, which a rate needs.
func (m *Metrics) Count(e Events) {
	m.counted = map[string]func(kind string){
		e.Issued:           func(string) { m.issued.Inc() },
		e.Revoked:          func(kind string) { m.revocations.WithLabelValues(snake(kind)).Inc() },
		e.CredentialFailed: func(kind string) { m.credentials.WithLabelValues(snake(kind)).Inc() },
	}
	for _, kind := range e.RevocationKinds {
		m.revocations.WithLabelValues(snake(kind))
	}
	for _, kind := range e.CredentialKinds {
		m.credentials.WithLabelValues(snake(kind))
	}
}

// snake converts a word from the log's camel case to snake case.
func snake(word string) string {
	var b strings.Builder
	for _, r := range word {
		if unicode.IsUpper(r) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// Ready exports whether the service is ready, read at each scrape.
func (m *Metrics) Ready(read func() bool) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "refreshd_ready",
		Help: "1 if the last readiness probe succeeded, otherwise 0; 0 before the first probe, and while stopping. " +
			"A scrape begins a probe.",
	}, func() float64 {
		if read() {
			return 1
		}
		return 0
	}))
}

// LogLinesLost exports the number of lost log lines, read at each scrape.
func (m *Metrics) LogLinesLost(read func() int64) {
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "refreshd_log_lines_lost_total",
		Help: "Log lines dropped because the log was not read or could not be written.",
	}, func() float64 { return float64(read()) }))
}

// Exchanged counts an exchange. addressChanged and why are those of the domain's decision.
func (m *Metrics) Exchanged(o domain.Outcome, addressChanged bool, why error) {
	m.exchanges.WithLabelValues(string(o)).Inc()
	if addressChanged {
		m.addressChanged.Inc()
	}
	if errors.Is(why, domain.ErrAhead) {
		m.ahead.Inc()
	}
}

// Refused counts a request that was refused for reason before it was processed.
func (m *Metrics) Refused(reason string) { m.refused.WithLabelValues(snake(reason)).Inc() }

// InProgress exports the number of requests in progress, read at each scrape, and the reasons for which a request may
// be refused, with zero.
func (m *Metrics) InProgress(read func() int, reasons []string) {
	for _, reason := range reasons {
		m.refused.WithLabelValues(snake(reason))
	}
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "refreshd_requests_in_progress", Help: "Requests that are being processed.",
	}, func() float64 { return float64(read()) }))
}

// Purged counts a step of the purge; complete reports that it ended a pass.
func (m *Metrics) Purged(examined, deleted int, complete bool) {
	m.examined.Add(float64(examined))
	m.purged.Add(float64(deleted))
	if complete {
		m.lastPass.SetToCurrentTime()
	}
}

// PurgeInterval exports how often this process makes a pass of the purge. An alert on the last pass needs it: it
// differs between services, and with 0 no pass is missing.
func (m *Metrics) PurgeInterval(every time.Duration) {
	g := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "refreshd_purge_interval_seconds",
		Help: "Interval between purge passes; 0 if this process makes none.",
	})
	g.Set(every.Seconds())
	m.registry.MustRegister(g)
}

// Pool exports the state of a connection pool, read at each scrape.
func (m *Metrics) Pool(stats func() sql.DBStats) {
	gauge := func(name, help string, value func(sql.DBStats) float64) {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "refreshd_pool_" + name, Help: help},
			func() float64 { return value(stats()) }))
	}
	counter := func(name, help string, value func(sql.DBStats) float64) {
		m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "refreshd_pool_" + name, Help: help},
			func() float64 { return value(stats()) }))
	}
	gauge("max_connections", "Maximum number of connections.",
		func(s sql.DBStats) float64 { return float64(s.MaxOpenConnections) })
	gauge("open_connections", "Open connections.", func(s sql.DBStats) float64 { return float64(s.OpenConnections) })
	gauge("busy_connections", "Connections in use.", func(s sql.DBStats) float64 { return float64(s.InUse) })
	counter("waits_total", "Calls that waited for a connection.",
		func(s sql.DBStats) float64 { return float64(s.WaitCount) })
	counter("wait_seconds_total", "Total time that calls waited for a connection.",
		func(s sql.DBStats) float64 { return s.WaitDuration.Seconds() })
}

// Sharing counts how exchanges share writes of the store.
type Sharing struct {
	Waiting   int   // exchanges that wait for a write slot now
	Writes    int64 // since the process started
	Exchanges int64 // in those writes
}

// Sharing exports how exchanges share writes, read at each scrape.
func (m *Metrics) Sharing(read func() Sharing) {
	m.registry.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "refreshd_exchanges_waiting",
			Help: "Exchanges that wait for a write slot. Above 128 they arrive faster than the database writes them.",
		}, func() float64 { return float64(read().Waiting) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "refreshd_exchange_batches_total", Help: "Writes of exchanges, each of one exchange or more.",
		}, func() float64 { return float64(read().Writes) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "refreshd_batched_exchanges_total", Help: "Exchanges in those writes.",
		}, func() float64 { return float64(read().Exchanges) }))
}

// Feed describes the feed of revocations.
type Feed struct {
	Streams  int // open, or being opened
	Facts    int // that it holds
	Repaired int64
	Age      time.Duration // of the instant up to which views are complete; 0 while nothing is read
	LastRead time.Duration
}

// Feed exports the state of the feed of revocations, read at each scrape.
func (m *Metrics) Feed(read func() Feed) {
	add := func(o prometheus.GaugeOpts, value func(Feed) float64) {
		m.registry.MustRegister(prometheus.NewGaugeFunc(o, func() float64 { return value(read()) }))
	}
	add(prometheus.GaugeOpts{
		Name: "refreshd_feed_age_seconds",
		Help: "Time since the instant up to which streams have every revocation; 0 if there was no stream for a minute. " +
			"Alert above 5.",
	}, func(f Feed) float64 { return f.Age.Seconds() })
	add(prometheus.GaugeOpts{
		Name: "refreshd_feed_streams", Help: "Streams of revocations that are open.",
	}, func(f Feed) float64 { return float64(f.Streams) })
	add(prometheus.GaugeOpts{
		Name: "refreshd_feed_facts", Help: "Revocations in memory that resource servers may still need.",
	}, func(f Feed) float64 { return float64(f.Facts) })
	add(prometheus.GaugeOpts{
		Name: "refreshd_feed_read_seconds",
		Help: "Duration of the last read of revocations. Above 0.01 they are read less than ten times a second.",
	}, func(f Feed) float64 { return f.LastRead.Seconds() })
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "refreshd_feed_repaired_total",
		Help: "Revocations that a check found and that reads had missed. Alert above 0.",
	}, func() float64 { return float64(read().Repaired) }))
}

// SigningKeys describes the signing keys of the tenants that the process has loaded.
type SigningKeys struct {
	Age               time.Duration  // of the oldest that signs
	NextStep, Refusal *time.Duration // nil for never
}

// SigningKeys exports the state of signing keys, read at each scrape. Values of one tenant each were rejected: see the
// comment of the package.
func (m *Metrics) SigningKeys(read func() SigningKeys) {
	add := func(o prometheus.GaugeOpts, value func(SigningKeys) float64) {
		m.registry.MustRegister(prometheus.NewGaugeFunc(o, func() float64 { return value(read()) }))
	}
	until := func(d *time.Duration) float64 {
		if d == nil {
			return math.Inf(1)
		}
		return d.Seconds()
	}
	add(prometheus.GaugeOpts{
		Name: "refreshd_signing_key_age_seconds",
		Help: "How long the oldest key that signs has signed, of the tenants that this process has loaded; 0 for none.",
	}, func(s SigningKeys) float64 { return s.Age.Seconds() })
	add(prometheus.GaugeOpts{
		Name: "refreshd_signing_key_next_step_seconds",
		Help: "Time until another key signs for one of these tenants; +Inf if no start is stored.",
	}, func(s SigningKeys) float64 { return until(s.NextStep) })
	add(prometheus.GaugeOpts{
		Name: "refreshd_verifier_refusal_seconds",
		Help: "Time until verifiers with a cached key set may refuse new access tokens of one of these tenants; 0 while " +
			"they may, +Inf for never. Alert below 3600.",
	}, func(s SigningKeys) float64 { return until(s.Refusal) })
}

// Tables are PostgreSQL's statistics of row versions.
type Tables struct {
	Updates           int64         // of refresh tokens, since the statistics were reset
	HOTUpdates        int64         // those of them that touched no index
	OldestTransaction time.Duration // in the whole cluster; a long one keeps old row versions in all tables
}

// TableStatistics exports what read returns within a second at each scrape, and nothing if it fails.
func (m *Metrics) TableStatistics(read func(context.Context) (Tables, error)) {
	m.registry.MustRegister(tableCollector{read})
}

type tableCollector struct {
	read func(context.Context) (Tables, error)
}

var (
	updatesDesc = prometheus.NewDesc("refreshd_table_updates_total", "Updates of stored refresh tokens.", nil, nil)
	hotDesc     = prometheus.NewDesc("refreshd_table_hot_updates_total",
		"Updates of stored refresh tokens that touched no index. A falling share means a long transaction.", nil, nil)
	oldestDesc = prometheus.NewDesc("refreshd_oldest_transaction_seconds",
		"Age of the oldest transaction in the cluster.", nil, nil)
)

func (tableCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- updatesDesc
	ch <- hotDesc
	ch <- oldestDesc
}

func (c tableCollector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	t, err := c.read(ctx)
	if err != nil {
		return
	}
	ch <- prometheus.MustNewConstMetric(updatesDesc, prometheus.CounterValue, float64(t.Updates))
	ch <- prometheus.MustNewConstMetric(hotDesc, prometheus.CounterValue, float64(t.HOTUpdates))
	ch <- prometheus.MustNewConstMetric(oldestDesc, prometheus.GaugeValue, t.OldestTransaction.Seconds())
}
