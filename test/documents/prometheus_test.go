package documents

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/refreshd/refreshd/test/support/rig"
)

// waitFor is longer than anything takes that a test waits for here, on a busy machine.
const waitFor = time.Minute

// prometheusServer is a running Prometheus.
type prometheusServer struct{ url string }

// startPrometheus starts a Prometheus with that configuration and the rules beside it.
func startPrometheus(t *testing.T, configuration string) prometheusServer {
	t.Helper()
	rules, err := os.ReadFile(rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	dir := writeFiles(t, map[string]string{
		"prometheus.yml": configuration, filepath.Base(rulesFile): string(rules), "log": "",
	})
	addresses, err := rig.FreeAddresses(1)
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.OpenFile(filepath.Join(dir, "log"), os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	c := exec.Command("prometheus", "--config.file="+filepath.Join(dir, "prometheus.yml"),
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+addresses[0])
	c.Stdout, c.Stderr = log, log
	if err := rig.StartCommand(c); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = c.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = c.Process.Kill()
		<-ended
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("the log of Prometheus ends with\n%s", text[max(0, len(text)-3000):])
		}
	})
	p := prometheusServer{"http://" + addresses[0]}
	eventually(t, "Prometheus is ready", func() error {
		response, err := http.Get(p.url + "/-/ready")
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("%s", response.Status)
		}
		return nil
	})
	return p
}

// eventually waits until is returns nil.
func eventually(t *testing.T, what string, is func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waitFor)
	defer cancel()
	for {
		err := is()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("after %s it is not so that %s: %v", waitFor, what, err)
		case <-time.After(100 * time.Millisecond): // a scrape interval: another process has to make progress
		}
	}
}

// api requests a path of the API of Prometheus.
func (p prometheusServer) api(path string, query url.Values, into any) error {
	response, err := http.Get(p.url + "/api/v1/" + path + "?" + query.Encode())
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	envelope := struct {
		Status string
		Error  string
		Data   any
	}{Data: into}
	if err := json.Unmarshal(text, &envelope); err != nil {
		return fmt.Errorf("%w in %s", err, text)
	}
	if envelope.Status != "success" {
		return fmt.Errorf("%s: %s", query.Get("query"), envelope.Error)
	}
	return nil
}

// query returns the values of an expression that are numbers.
func (p prometheusServer) query(expression string) (values []string, err error) {
	var data struct{ Result []struct{ Value []any } }
	if err := p.api("query", url.Values{"query": {expression}}, &data); err != nil {
		return nil, err
	}
	for _, r := range data.Result {
		if text, ok := r.Value[1].(string); ok && text != "NaN" {
			values = append(values, text)
		}
	}
	return values, nil
}

// hasData returns an error if the expression has no value.
func (p prometheusServer) hasData(expression string) error {
	values, err := p.query(expression)
	if err == nil && len(values) == 0 {
		err = fmt.Errorf("no data for %s", expression)
	}
	return err
}

// selectors are the metrics of an expression with their labels.
func selectors(expression string) []string {
	metric := regexp.MustCompile(`\b(?:refreshd|process|go)_[a-z_]+(?:\{[^}]*\})?|\bup\b(?:\{[^}]*\})?`)
	return metric.FindAllString(expression, -1)
}

func TestSelectorsAreFound(t *testing.T) {
	const expression = `sum by (kind) (rate(refreshd_a_total{x="{y"}[5m])) / refreshd_b and up{job="j"} == 0`
	got := strings.Join(selectors(expression), " ")
	if want := `refreshd_a_total{x="{y"} refreshd_b up{job="j"}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// The expressions are those of Prometheus, not of a parser beside it, and the metrics those of a service: a name or a
// label that the service does not have selects nothing, and an alert on nothing never fires.
func TestPrometheusEvaluatesEachRuleAndEachPanelOnAService(t *testing.T) {
	withPrometheus(t)
	w := newWorld(t)
	s := w.serve(t)
	configuration := blocksOf(t, "Monitor", "yaml", 1)[0]
	for _, replace := range [][2]string{
		{"rule_files:", "global: {scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 200ms}\nrule_files:"},
		{"127.0.0.1:3001", s.Admin},
	} {
		if !strings.Contains(configuration, replace[0]) {
			t.Fatalf("%q is not in\n%s", replace[0], configuration)
		}
		configuration = strings.Replace(configuration, replace[0], replace[1], 1)
	}
	p := startPrometheus(t, configuration)
	g := issue(t, s, "u-1", "")
	traffic := func() {
		g = exchanged(t, s, g.RefreshToken)
		exchange(t, s, "no token string")
		issue(t, s, "u-1", "")
	}

	// After each expression has had its traffic, nothing is wrong with the service.
	eventually(t, "each panel has data", func() error {
		traffic()
		for _, panel := range readPanels(t) {
			for _, target := range panel.Targets {
				if err := p.hasData(target.Expr); err != nil {
					return fmt.Errorf("%s: %w", panel.Title, err)
				}
			}
		}
		return nil
	})
	eventually(t, "no rule fails, and no alert is about to fire", func() error {
		var data struct {
			Groups []struct {
				Rules []struct {
					Name, Health, LastError, State string
				}
			}
		}
		if err := p.api("rules", nil, &data); err != nil {
			return err
		}
		rules := 0
		for _, group := range data.Groups {
			for _, r := range group.Rules {
				rules++
				if r.Health != "ok" || r.State != "inactive" {
					return fmt.Errorf("%s is %s, %s: %s", r.Name, r.Health, r.State, r.LastError)
				}
			}
		}
		if want := len(readRules(t)); rules != want {
			return fmt.Errorf("Prometheus has %d rules, want %d", rules, want)
		}
		return nil
	})

	// Errors have series of their own, from the first one.
	failOnce(t, w, func() rig.Response { return exchange(t, s, g.RefreshToken) })
	seen := map[string]bool{}
	check := func(of, expression string) {
		for _, selector := range selectors(expression) {
			if !seen[selector] {
				seen[selector] = true
				eventually(t, of+" selects something", func() error { return p.hasData(selector) })
			}
		}
	}
	for _, r := range readRules(t) {
		check(r.Alert, r.Expr)
	}
	for _, panel := range readPanels(t) {
		for _, target := range panel.Targets {
			check(panel.Title, target.Expr)
		}
	}
	if len(seen) < len(readRules(t)) {
		t.Errorf("%d selectors were found", len(seen))
	}
}

// failOnce locks the refresh tokens, so that the store fails for that request.
func failOnce(t *testing.T, w world, request func() rig.Response) {
	t.Helper()
	db, err := sql.Open("pgx", w.database)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.ExecContext(t.Context(), "LOCK TABLE refresh_tokens IN ACCESS EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	if r := request(); r.Status != http.StatusServiceUnavailable {
		t.Fatalf("got %s with a locked table, want 503", r)
	}
}
