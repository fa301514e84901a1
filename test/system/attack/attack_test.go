package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/test/support/rig"
)

func windowOf(answered, refused int, p50, p99 time.Duration) seen {
	return seen{
		due: answered + refused, answered: answered, refused: refused, p50: p50, p99: p99,
		latencies: []time.Duration{p50, p99},
	}
}

func TestARunIsGoodIfNothingFailedAndTheLatencyIsAtMostTwice(t *testing.T) {
	before := windowOf(100, 0, 2*time.Millisecond, 10*time.Millisecond)
	for _, tc := range []struct {
		name                 string
		p                    pair
		withMedian, p99Alone bool
	}{
		{"the same", pair{before, before}, true, true},
		{"twice", pair{before, windowOf(100, 0, 4*time.Millisecond, 20*time.Millisecond)}, true, true},
		{"median above twice", pair{before, windowOf(100, 0, 5*time.Millisecond, 20*time.Millisecond)}, false, true},
		{"p99 above twice", pair{before, windowOf(100, 0, 2*time.Millisecond, 21*time.Millisecond)}, false, false},
		{"one refused", pair{before, windowOf(99, 1, 2*time.Millisecond, 10*time.Millisecond)}, false, false},
		{"nothing answered", pair{before, seen{due: 100, lost: 100}}, false, false},
		{"no window without the attack", pair{seen{}, before}, false, false},
		{"disturbed before", pair{windowOf(99, 1, 2*time.Millisecond, 10*time.Millisecond), before}, false, false},
	} {
		if got := tc.p.good(true); got != tc.withMedian {
			t.Errorf("%s, median and p99: good is %t, want %t", tc.name, got, tc.withMedian)
		}
		if got := tc.p.good(false); got != tc.p99Alone {
			t.Errorf("%s, p99: good is %t, want %t", tc.name, got, tc.p99Alone)
		}
	}
}

func TestTheBetterRunIsTheOneThatAnsweredMoreThenTheFasterOne(t *testing.T) {
	before := windowOf(100, 0, 2*time.Millisecond, 10*time.Millisecond)
	slow := pair{before, windowOf(100, 0, 2*time.Millisecond, 90*time.Millisecond)}
	fast := pair{before, windowOf(100, 0, 2*time.Millisecond, 30*time.Millisecond)}
	refused := pair{before, windowOf(99, 1, 2*time.Millisecond, 10*time.Millisecond)}
	for _, tc := range []struct {
		name string
		p, q pair
	}{{"faster", fast, slow}, {"answered", slow, refused}} {
		if !tc.p.better(tc.q, true) || tc.q.better(tc.p, true) {
			t.Errorf("%s: the order is wrong", tc.name)
		}
	}
}

func TestPercentilesAreOfAllUsersTogether(t *testing.T) {
	var all seen
	for i := range 4 {
		one := seen{due: 25, answered: 25}
		for k := range 25 {
			one.latencies = append(one.latencies, time.Duration(4*k+i+1)*time.Millisecond)
		}
		all = all.and(one)
	}
	all = all.summed()
	if all.p50 != 50*time.Millisecond || all.p99 != 99*time.Millisecond || all.due != 100 || all.unanswered() != 0 {
		t.Errorf("got %s", all)
	}
}

// A target that an older program misses is only reported. A target that this program misses fails the run.
func TestOnlyTheProgramOfThisSourceDecides(t *testing.T) {
	r := &report{begun: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	this := &attack{name: "this", report: r, part: "p"}
	base := &attack{name: "abc", base: true, report: r, part: "p"}
	base.atMost("x", 3, 2, "%.0f")
	if got := r.missed(); got != 0 {
		t.Errorf("the base missed one: %d count, want 0", got)
	}
	this.atMost("x", 2, 2, "%.0f")
	this.atLeast("y", 2, 2, "%.0f")
	this.figure("z", "%d", 7)
	if got := r.missed(); got != 0 {
		t.Errorf("at the bounds: %d missed, want 0", got)
	}
	this.atMost("v", 2.5, 2, "%.1f")
	this.atLeast("w", 1.5, 2, "%.1f")
	if got := r.missed(); got != 2 {
		t.Errorf("beyond the bounds: %d missed, want 2", got)
	}
	got := strings.Split(r.text("refreshd v1"), "\n")
	want := []string{
		"# Attacked 2026-01-02", "", "refreshd v1.", "",
		"| part: figure | target | abc: seen |   abc: met | this: seen |  this: met |",
		"| ------------ | -----: | --------: | ---------: | ---------: | ---------: |",
		"| p: x         |    ≤ 2 |         3 | **missed** |          2 |        met |",
		"| p: y         |    ≥ 2 |         – |            |          2 |        met |",
		"| p: z         |      – |         – |            |          7 |            |",
		"| p: v         |  ≤ 2.0 |         – |            |        2.5 | **missed** |",
		"| p: w         |  ≥ 2.0 |         – |            |        1.5 | **missed** |", "",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the report (-want +got):\n%s", diff)
	}
}

// The verdicts of a part count even if the part fails. The failure is one more missed target.
func TestAPartThatFailsIsATargetMissed(t *testing.T) {
	a := &attack{name: "this", report: &report{begun: time.Now()}}
	ends := func(err error) part {
		return part{name: "p", limit: time.Minute, run: func(context.Context, *attack) error { return err }}
	}
	a.one(t.Context(), ends(errors.New("no")))
	if got := a.report.missed(); got != 1 {
		t.Errorf("%d missed, want 1", got)
	}
	a.one(t.Context(), ends(nil))
	if got := a.report.missed(); got != 1 {
		t.Errorf("after a part that did not fail %d missed, want 1", got)
	}
}

func TestARequestAsBytesIsTheSameRequest(t *testing.T) {
	want := rig.Request{Method: "POST", Path: "/jwt/issue?a=b", Key: "ak_x", Tenant: "acme", Body: `{"userId": "u"}`}
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(want.Bytes("127.0.0.1:80"))))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	h := r.Header
	got := rig.Request{
		Method: r.Method, Path: r.URL.String(), Key: h.Get("Authorization"), Tenant: h.Get("X-Stencil-TenantId"),
		Body: string(body),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the request (-want +got):\n%s", diff)
	}
	if h.Get("Content-Type") != "application/json" || r.Host != "127.0.0.1:80" {
		t.Errorf("got %v, host %q", h, r.Host)
	}
}

func listen(t *testing.T, h http.HandlerFunc) (host string) {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// A client that gets 503 or 429, or no response, presents the same string again. If it continued with its next session,
// the loss of this one would be hidden.
func TestAnHonestUserRepeatsWhatWasRefused(t *testing.T) {
	answers := []int{503, 429, 200, 200, 400, 200}
	var mu sync.Mutex
	var presented []string
	host := listen(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		presented = append(presented, string(body))
		w.WriteHeader(answers[len(presented)-1])
		_, _ = io.WriteString(w, `{"data": {"refreshToken": "next", "refreshTokenId": "id"}}`)
	})
	u := &user{
		client: newClient(address(1, 0), time.Minute), sessions: []session{{current: "a"}, {current: "b"}, {current: "c"}},
	}
	for _, want := range answers {
		if got := u.exchange(t.Context(), host); got != want {
			t.Errorf("status %d, want %d", got, want)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	var want []string
	for _, s := range []string{"a", "a", "a", "b", "c", "next"} {
		want = append(want, exchangeOf(s).Body)
	}
	if diff := cmp.Diff(want, presented); diff != "" {
		t.Errorf("presented (-want +got):\n%s", diff)
	}
}

// The latency of an exchange includes the wait for the one before it, which hangs here.
func TestLatencyCountsFromWhenAnExchangeIsDue(t *testing.T) {
	const hang = 100 * time.Millisecond
	var once sync.Once
	host := listen(t, func(w http.ResponseWriter, _ *http.Request) {
		once.Do(func() { time.Sleep(hang) }) // a server that hangs
		_, _ = io.WriteString(w, `{"data": {"refreshToken": "next", "refreshTokenId": "id"}}`)
	})
	u := &user{client: newClient(address(1, 0), time.Minute), sessions: []session{{current: "a"}}}
	got, err := honest(t.Context(), host, []*user{u}, 100, 10*time.Millisecond*5)
	if err != nil {
		t.Fatal(err)
	}
	if got.due != 5 || got.answered != 5 || got.latencies[0] < hang-50*time.Millisecond {
		t.Errorf("got %s, %v; want five answered, none sooner than the first was", got, got.latencies)
	}
}

func TestALoopCountsAnswersAndEndsWithItsInput(t *testing.T) {
	enough := make(chan struct{})
	var once sync.Once
	var mu sync.Mutex
	paths := map[string]bool{}
	host := listen(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if paths[r.URL.Path] = true; paths["/0/1"] && paths["/1/1"] && paths["/2/1"] {
			once.Do(func() { close(enough) })
		}
		w.WriteHeader(http.StatusTeapot)
	})
	in, input := io.Pipe()
	var out bytes.Buffer
	ended := make(chan error)
	go func() { ended <- beLoop(in, &out) }()
	text := `{"Host": "` + host + `", "Clients": 3, "Source": "127.0.2.1",` +
		` "Request": {"Method": "GET", "Path": "/{client}/{n}"}}`
	if _, err := io.WriteString(input, text+"\n"); err != nil {
		t.Fatal(err)
	}
	<-enough
	input.Close()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	answers := counts{}
	if err := json.Unmarshal(out.Bytes(), &answers); err != nil {
		t.Fatal(err)
	}
	if n := answers[http.StatusTeapot]; n < 3 || n != answers.total() {
		t.Errorf("got %s, want only answers of status 418, and one of each client at least", answers)
	}
}

func TestAProxyCountsWhatIsOpened(t *testing.T) {
	host := listen(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "here") })
	p, err := newProxy(host)
	if err != nil {
		t.Fatal(err)
	}
	defer p.listener.Close()
	for range 3 {
		c, err := net.Dial("tcp", p.listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		status, err := exchangeBytes(c, bufio.NewReader(c), rig.Request{Method: "GET", Path: "/"}.Bytes(host))
		if status != http.StatusOK || err != nil {
			t.Errorf("through the proxy: %d, %v", status, err)
		}
		c.Close()
	}
	if got := p.opened.Load(); got != 3 {
		t.Errorf("%d opened, want 3", got)
	}
}

// The figures about many tenants are meaningless if the service does not accept the copied tenants.
func TestFilledTenantsSign(t *testing.T) {
	dir := t.TempDir()
	program, err := rig.Build(t.Context(), dir, rig.BuildOptions{})
	if err != nil {
		t.Fatal(err)
	}
	how := settings("sqlite:" + filepath.Join(dir, "filled.db"))
	for range 2 { // the first start makes the rows that are copied
		s, err := program.Serve(t.Context(), how)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Kill() })
		if _, err := issue(t.Context(), s.API, anyKey, filled(3), `{"applicationsId": "fast", "userId": "u"}`); err == nil {
			if _, _, err := keySets(t.Context(), s.API, 3, 200*time.Millisecond); err != nil {
				t.Error(err)
			}
			return
		}
		if err := s.Stop(); err != nil {
			t.Fatal(err)
		}
		if err := fill(t.Context(), how.Database, 3); err != nil {
			t.Fatal(err)
		}
	}
	t.Error("a filled tenant issues nothing")
}
