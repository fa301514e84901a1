package documents

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/refreshd/refreshd/test/support/apt"
	"github.com/refreshd/refreshd/test/support/short"
)

const (
	rulesFile     = "../../prometheus-alerts.yaml"
	dashboardFile = "../../grafana-dashboard.json"
)

// rule is an alert rule, with the names of Prometheus.
type rule struct {
	Alert       string            `yaml:"alert"`
	Expr        string            `yaml:"expr"`
	For         string            `yaml:"for"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

func readRules(t *testing.T) (rules []rule) {
	t.Helper()
	text, err := os.ReadFile(rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Name  string `yaml:"name"`
			Rules []rule `yaml:"rules"`
		} `yaml:"groups"`
	}
	if err := strictly(string(text), &file); err != nil {
		t.Fatal(err)
	}
	for _, g := range file.Groups {
		rules = append(rules, g.Rules...)
	}
	if len(rules) == 0 {
		t.Fatal("there are no rules")
	}
	return rules
}

// panel is a panel of the dashboard, with the names of Grafana.
type panel struct {
	ID      int
	Title   string
	Targets []struct{ Expr string }
}

// readPanels returns the panels, whose expressions have values in place of the variables of Grafana.
func readPanels(t *testing.T) []panel {
	t.Helper()
	text, err := os.ReadFile(dashboardFile)
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Templating struct{ List []struct{ Name string } }
		Panels     []panel
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	var variables []string
	for _, v := range dashboard.Templating.List {
		variables = append(variables, v.Name)
	}
	if want := []string{"datasource", "job"}; !slices.Equal(variables, want) {
		t.Fatalf("got the variables %q, want %q", variables, want)
	}
	ids := map[int]bool{}
	values := strings.NewReplacer("$job", "refreshd", "$__rate_interval", "1m")
	for i, p := range dashboard.Panels {
		if p.Title == "" || ids[p.ID] || len(p.Targets) == 0 {
			t.Errorf("panel %d: got title %q and %d expressions, want an id of its own and both",
				p.ID, p.Title, len(p.Targets))
		}
		ids[p.ID] = true
		for j, target := range p.Targets {
			dashboard.Panels[i].Targets[j].Expr = values.Replace(target.Expr)
			if strings.Contains(dashboard.Panels[i].Targets[j].Expr, "$") {
				t.Errorf("%s: %s has an unknown variable", p.Title, target.Expr)
			}
		}
	}
	if len(dashboard.Panels) == 0 {
		t.Fatal("there are no panels")
	}
	return dashboard.Panels
}

// withPrometheus installs Prometheus and promtool where they are missing.
func withPrometheus(t *testing.T) {
	t.Helper()
	short.LeaveOut(t, "Prometheus")
	are := func() bool {
		_, err := exec.LookPath("promtool")
		_, err2 := exec.LookPath("prometheus")
		return err == nil && err2 == nil
	}
	if are() {
		return
	}
	if err := apt.Install(t.Context(), "prometheus", are); err != nil {
		t.Fatalf("prometheus and promtool are missing: install Prometheus (Debian, Ubuntu: apt-get install prometheus): %v",
			err)
	}
}

// An operator who is woken needs to know how bad it is, what it is, and where to read on.
func TestEveryAlertSaysHowBadItIsAndWhereToReadOn(t *testing.T) {
	section, err := section("OPERATING.md", "Act on an alert")
	if err != nil {
		t.Fatal(err)
	}
	listed := regexp.MustCompile("(?m)^\\| `(Refreshd[A-Za-z]+)` \\|")
	var inDocument, inRules []string
	for _, row := range listed.FindAllStringSubmatch(section, -1) {
		inDocument = append(inDocument, row[1])
	}
	for _, r := range readRules(t) {
		inRules = append(inRules, r.Alert)
		if s := r.Labels["severity"]; s != "critical" && s != "warning" {
			t.Errorf("%s: got severity %q, want critical or warning", r.Alert, s)
		}
		if r.Annotations["summary"] == "" {
			t.Errorf("%s has no summary", r.Alert)
		}
		// test/arch checks that the heading exists.
		const at = "https://github.com/refreshd/refreshd/blob/main/OPERATING.md#"
		if u := r.Annotations["runbook_url"]; !strings.HasPrefix(u, at) || u == at {
			t.Errorf("%s: got runbook_url %q, want a heading at %s", r.Alert, u, at)
		}
	}
	if !slices.Equal(inDocument, inRules) {
		t.Errorf("OPERATING.md lists\n%q, want those of the file, in its order:\n%q", inDocument, inRules)
	}
}

// healthy are the series of two replicas with some traffic: values of each minute, in promtool's notation. A replay, a
// failed credential, a refused request and an error happen now and then.
func healthy() map[string]string {
	const exchange = `code="200",method="POST",route="/jwt/refresh"`
	series := map[string]string{}
	for _, instance := range []string{"a", "b"} {
		for metric, values := range map[string]string{
			`up{}`:             "1x220",
			`refreshd_ready{}`: "1x220",
			`refreshd_http_request_duration_seconds_count{` + exchange + `}`:             "0+300x220",
			`refreshd_http_request_duration_seconds_bucket{le="0.005",` + exchange + `}`: "0+299x220",
			`refreshd_http_request_duration_seconds_bucket{le="1",` + exchange + `}`:     "0+300x220",
			`refreshd_http_request_duration_seconds_bucket{le="+Inf",` + exchange + `}`:  "0+300x220",
			`refreshd_http_request_duration_seconds_count` +
				`{code="503",method="POST",route="/jwt/refresh"}`: "0+0.1x220",
			`refreshd_http_request_duration_seconds_count{code="503",method="GET",route="/readyz"}`: "0+60x220",
			`refreshd_store_call_duration_seconds_count{call="advance",result="ok"}`:                "0+600x220",
			`refreshd_store_call_duration_seconds_count{call="advance",result="error"}`:             "0+0.1x220",
			`refreshd_exchanges_waiting{}`:                             "5x220",
			`refreshd_pool_wait_seconds_total{}`:                       "0+1x220",
			`refreshd_requests_refused_total{reason="overload"}`:       "0x220",
			`refreshd_requests_refused_total{reason="client_address"}`: "0+6x220",
			`refreshd_exchanges_total{outcome="replayed"}`:             "0+0.05x220",
			`refreshd_exchanges_total{outcome="recovered"}`:            "0+2x220",
			`refreshd_generations_ahead_total{}`:                       "0x220",
			`refreshd_credentials_failed_total{kind="none"}`:           "0+600x220",
			`refreshd_credentials_failed_total{kind="token_string"}`:   "0+6x220",
			`refreshd_feed_age_seconds{}`:                              "0.6x220",
			`refreshd_feed_repaired_total{}`:                           "0x220",
			`refreshd_verifier_refusal_seconds{}`:                      "90000x220",
			`refreshd_purge_interval_seconds{}`:                        "3600x220",
			`refreshd_purge_last_pass_timestamp_seconds{}`:             "0+60x220",
			`process_start_time_seconds{}`:                             "-90000x220",
			`refreshd_table_updates_total{}`:                           "0+300x220",
			`refreshd_table_hot_updates_total{}`:                       "0+299x220",
			`refreshd_oldest_transaction_seconds{}`:                    "2x220",
			`refreshd_log_lines_lost_total{}`:                          "0x220",
		} {
			series[on(instance, metric)] = values
		}
	}
	return series
}

// on adds the labels of a scrape.
func on(instance, metric string) string {
	name, labels, _ := strings.Cut(metric, "{")
	return strings.Replace(name+`{job="refreshd",instance="`+instance+`",`+labels, ",}", "}", 1)
}

// just returns those of the healthy series that keep returns true for, with the values of its choice.
func just(values func(metric, healthy string) (string, bool)) map[string]string {
	series := map[string]string{}
	for metric, v := range healthy() {
		if v, ok := values(metric, v); ok {
			series[metric] = v
		}
	}
	return series
}

// with returns the healthy series with other values for those of replica a.
func with(changed map[string]string) map[string]string {
	series := healthy()
	for metric, values := range changed {
		series[on("a", metric)] = values
	}
	return series
}

// In promtool's notation a fault begins after two hours. Counters begin at 0 again, as after a restart.
var alertCases = []struct {
	what   string
	series map[string]string
	at     []string // the times of evaluation
	want   []string // the alerts that fire at each of them, and no other
}{
	{"healthy", healthy(), []string{"1m", "20m", "90m", "200m"}, nil},
	{
		// A service without traffic, then a single request of each kind.
		"quiet", just(func(metric, values string) (string, bool) {
			if strings.Contains(values, "+") && !strings.Contains(metric, "last_pass") {
				return "0x180 1x100", !strings.Contains(metric, `code="503"`) && !strings.Contains(metric, `"error"`)
			}
			return values, true
		}), []string{"1m", "20m", "90m", "182m", "190m", "210m"}, nil,
	},
	{
		"a first failure, whose series did not exist before", just(func(metric, values string) (string, bool) {
			if strings.Contains(metric, `code="503"`) || strings.Contains(metric, `"error"`) {
				return "_x120 1 2 3x100", true
			}
			return values, true
		}), []string{"122m", "126m", "130m"}, nil,
	},
	{
		"just started, with traffic that loses many responses", just(func(metric, values string) (string, bool) {
			switch {
			case strings.Contains(metric, "process_start"):
				return "_x120 7200x100", true
			case strings.Contains(metric, "refreshd_ready"), strings.Contains(metric, "last_pass"):
				return "_x120 0 1x100", true
			case strings.HasPrefix(metric, "up{"), strings.Contains(metric, "refused"), !strings.Contains(values, "+"):
				return "_x120 " + values, true
			}
			return "_x120 0+60x100", !strings.Contains(metric, `code="503"`) && !strings.Contains(metric, `"error"`)
		}), []string{"122m", "130m", "200m"}, nil,
	},
	{"no replica is ready", just(func(metric, values string) (string, bool) {
		if strings.Contains(metric, "refreshd_ready") {
			return "1x120 0x100", true
		}
		return values, true
	}), []string{"126m"}, []string{"RefreshdUnavailable"}},
	{"no replica can be scraped", just(func(metric, values string) (string, bool) {
		if strings.HasPrefix(metric, "up{") {
			return "1x120 0x100", true
		}
		return strings.ReplaceAll(values, "x220", "x120"), true
	}), []string{"140m"}, []string{"RefreshdReplicaNotReady", "RefreshdUnavailable"}},
	{"Prometheus knows no replica", map[string]string{}, []string{"5m"}, []string{"RefreshdUnavailable"}},
	{"a replica is not ready", with(map[string]string{"refreshd_ready{}": "1x120 0x100"}),
		[]string{"140m"}, []string{"RefreshdReplicaNotReady"}},
	{"a replica is down", with(map[string]string{"up{}": "1x120 0x100", "refreshd_ready{}": "1x120 stale"}),
		[]string{"140m"}, []string{"RefreshdReplicaNotReady"}},
	{"a replica restarts", with(map[string]string{
		"up{}": "1x120 0x3 1x100", "refreshd_ready{}": "1x120 _x3 0 1x100",
		"process_start_time_seconds{}": "-90000x120 _x3 7380x100", "refreshd_purge_last_pass_timestamp_seconds{}": "0x220",
	}), []string{"122m", "126m", "130m", "140m"}, nil},
	{"requests fail", with(map[string]string{
		`refreshd_http_request_duration_seconds_count{code="503",method="POST",route="/jwt/refresh"}`: "0x120 0+30x100",
	}), []string{"140m"}, []string{"RefreshdServerErrors"}},
	{"calls of the store fail", with(map[string]string{
		`refreshd_store_call_duration_seconds_count{call="advance",result="error"}`: "0x120 0+60x100",
	}), []string{"140m"}, []string{"RefreshdStoreErrors"}},
	{"exchanges are slow", with(map[string]string{
		`refreshd_http_request_duration_seconds_bucket{le="0.005",code="200",method="POST",route="/jwt/refresh"}`: //
		"0+299x120 35880+270x100",
	}), []string{"150m"}, []string{"RefreshdExchangesSlow"}},
	{"exchanges wait", with(map[string]string{"refreshd_exchanges_waiting{}": "5x120 200x100"}),
		[]string{"140m"}, []string{"RefreshdDatabaseFull"}},
	{"calls wait for a connection", with(map[string]string{"refreshd_pool_wait_seconds_total{}": "0x120 0+120x100"}),
		[]string{"140m"}, []string{"RefreshdDatabaseFull"}},
	{"overload", with(map[string]string{`refreshd_requests_refused_total{reason="overload"}`: "0x120 0+30x100"}),
		[]string{"140m"}, []string{"RefreshdOverloaded"}},
	{"a limit", with(map[string]string{`refreshd_requests_refused_total{reason="client_address"}`: "0x120 0+600x100"}),
		[]string{"140m"}, []string{"RefreshdRateLimited"}},
	{"replays", with(map[string]string{`refreshd_exchanges_total{outcome="replayed"}`: "0x120 0+1x100"}),
		[]string{"150m"}, []string{"RefreshdReplaysRising"}},
	{"recoveries, of which there are usually some", with(map[string]string{
		`refreshd_exchanges_total{outcome="recovered"}`: "0+2x120 240+30x100",
	}), []string{"150m"}, []string{"RefreshdReplaysRising"}},
	{"a generation ahead", with(map[string]string{"refreshd_generations_ahead_total{}": "0x120 1x100"}),
		[]string{"122m", "160m"}, []string{"RefreshdGenerationsAhead"}},
	{"guesses", with(map[string]string{`refreshd_credentials_failed_total{kind="api_key"}`: "0x120 0+300x100"}),
		[]string{"150m"}, []string{"RefreshdCredentialsFailing"}},
	{"the feed stands still", with(map[string]string{"refreshd_feed_age_seconds{}": "0.6x120 6+60x100"}),
		[]string{"124m"}, []string{"RefreshdFeedStale"}},
	{"the feed missed revocations", with(map[string]string{"refreshd_feed_repaired_total{}": "0x120 2x100"}),
		[]string{"124m"}, []string{"RefreshdFeedRepaired"}},
	{"a key signs that verifiers do not know", with(map[string]string{
		"refreshd_verifier_refusal_seconds{}": "90000x120 0x100",
	}), []string{"124m"}, []string{"RefreshdVerifiersMayRefuse"}},
	{"a key is about to sign that verifiers do not know", with(map[string]string{
		"refreshd_verifier_refusal_seconds{}": "7200x120 3000-60x100",
	}), []string{"124m"}, []string{"RefreshdVerifiersMayRefuse"}},
	{"no purge ends", just(func(metric, values string) (string, bool) {
		if strings.Contains(metric, "last_pass") {
			return "-36000x220", true
		}
		return values, true
	}), []string{"20m", "2h"}, []string{"RefreshdPurgeStalled"}},
	{"no purge is due", just(func(metric, values string) (string, bool) {
		if strings.Contains(metric, "refreshd_purge_") {
			return map[bool]string{true: "0x220", false: "-36000x220"}[strings.Contains(metric, "interval")], true
		}
		return values, true
	}), []string{"20m", "2h"}, nil},
	{"updates touch indexes", just(func(metric, values string) (string, bool) {
		if strings.Contains(metric, "hot_updates") {
			return "0+299x120 35880+200x200", true
		}
		return values, true
	}), []string{"220m"}, []string{"RefreshdHOTUpdatesFall"}},
	{"a transaction stays open", with(map[string]string{"refreshd_oldest_transaction_seconds{}": "2x60 0+60x200"}),
		[]string{"140m"}, []string{"RefreshdLongTransaction"}},
	{"lines are lost", with(map[string]string{"refreshd_log_lines_lost_total{}": "0x120 0+5x100"}),
		[]string{"126m"}, []string{"RefreshdLogLinesLost"}},
}

// An alert that never fires is worse than none, and one that fires for nothing is switched off.
func TestEachAlertFiresForItsCauseAndForNoOther(t *testing.T) {
	withPrometheus(t)
	rules, err := filepath.Abs(rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	type (
		input struct {
			Series string `yaml:"series"`
			Values string `yaml:"values"`
		}
		sample struct {
			Labels string `yaml:"labels"`
			Value  int    `yaml:"value"`
		}
		expectation struct {
			Expr string   `yaml:"expr"`
			At   string   `yaml:"eval_time"`
			Want []sample `yaml:"exp_samples"`
		}
		test struct {
			Name     string        `yaml:"name"`
			Interval string        `yaml:"interval"`
			Series   []input       `yaml:"input_series"`
			Expect   []expectation `yaml:"promql_expr_test"`
		}
	)
	var tests []test
	fires := map[string]bool{}
	for _, c := range alertCases {
		one := test{Name: c.what, Interval: "1m"}
		for _, metric := range slices.Sorted(maps.Keys(c.series)) {
			one.Series = append(one.Series, input{metric, c.series[metric]})
		}
		for _, at := range c.at {
			e := expectation{Expr: `group by (alertname) (ALERTS{alertstate="firing"})`, At: at}
			for _, name := range c.want {
				fires[name] = true
				e.Want = append(e.Want, sample{`{alertname="` + name + `"}`, 1})
			}
			one.Expect = append(one.Expect, e)
		}
		tests = append(tests, one)
	}
	for _, r := range readRules(t) {
		if !fires[r.Alert] {
			t.Errorf("no case has %s", r.Alert)
		}
	}
	text, err := yaml.Marshal(map[string]any{"rule_files": []string{rules}, "evaluation_interval": "2m", "tests": tests})
	if err != nil {
		t.Fatal(err)
	}
	dir := writeFiles(t, map[string]string{"tests.yaml": string(text)})
	out, err := exec.CommandContext(t.Context(), "promtool", "test", "rules", filepath.Join(dir, "tests.yaml")).
		CombinedOutput()
	if err != nil {
		t.Errorf("promtool test rules: %v\n%s", err, out)
	}
}
