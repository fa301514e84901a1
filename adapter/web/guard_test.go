package web_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/domain"
)

// A busySite has handlers that hold their requests until they are released: /work is an exchange, and /other is not.
type busySite struct {
	*httptest.Server
	guard   *web.Guard
	clock   *clock
	entered chan struct{}
	letGo   chan struct{}

	mu      sync.Mutex
	refused []string
}

func newBusySite(t *testing.T) *busySite {
	t.Helper()
	b := &busySite{clock: &clock{}, entered: make(chan struct{}), letGo: make(chan struct{})}
	b.guard = web.NewGuard(web.RateLimits{}, nil, b.clock.now, func(reason string) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.refused = append(b.refused, reason)
	})
	s := newGuardedSite(t, b.guard)
	s.GET("/healthz", ok)
	hold := func(c echo.Context) error {
		b.entered <- struct{}{}
		<-b.letGo
		return ok(c)
	}
	s.POST("/work", func(c echo.Context) error {
		if err := web.LogRecord(c).AdmitExchange(domain.PresentedToken{ID: domain.ID{1}}, false); err != nil {
			return err
		}
		return hold(c)
	})
	s.POST("/other", hold)
	s.POST("/document", hold)
	s.POST("/garbage", func(c echo.Context) error { return web.LogRecord(c).CredentialFailed() })
	s.POST("/authenticate", func(c echo.Context) error { web.LogRecord(c).Authenticated(); return nil })
	s.POST("/panic", func(echo.Context) error { panic("on purpose") })
	b.Server = httptest.NewServer(s.mounted())
	b.Server.Client().Transport.(*http.Transport).MaxIdleConnsPerHost = web.MaxInProgress
	t.Cleanup(b.Close)
	return b
}

// newGuardedSite returns a busySite with a guard, for which POST /work is the exchange.
func newGuardedSite(t *testing.T, guard *web.Guard) *site {
	t.Helper()
	return newSite(t, func(s *site) {
		s.options.Guard = guard
		s.kinds = map[string]web.Kind{
			"/work": web.Exchange, "/document": web.PublicFile, "/healthz": web.Health,
		}
	})
}

func (b *busySite) call(t *testing.T, method, path string, body io.Reader) (status int, retryAfter string) {
	t.Helper()
	req, err := http.NewRequest(method, b.URL+path, body)
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	res, err := b.Client().Do(req)
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	defer res.Body.Close()
	if text, err := io.ReadAll(res.Body); err != nil || res.StatusCode == 503 && len(text) > 0 {
		t.Errorf("got %d %q, %v", res.StatusCode, text, err)
	}
	return res.StatusCode, res.Header.Get("Retry-After")
}

// half is the share of one caller.
const half = web.MaxInProgress / 2

// All requests above the bound are refused immediately, and health stays green. As soon as a place is free, the next
// request is served.
func TestCallsAboveTheLimitAreRefusedAtOnceAndRecoveryIsImmediate(t *testing.T) {
	b := newBusySite(t)
	statuses := make(chan int, half)
	work := func() {
		status, _ := b.call(t, "POST", "/work", strings.NewReader("{}"))
		statuses <- status
	}
	for range half {
		go work()
	}
	for range half {
		<-b.entered
	}
	for range 4 {
		if status, wait := b.call(t, "POST", "/work", http.NoBody); status != 503 || wait != "1" {
			t.Fatalf("got %d with Retry-After %q, want 503 with 1", status, wait)
		}
		if status, _ := b.call(t, "GET", "/healthz", nil); status != 200 {
			t.Fatalf("health: got %d", status)
		}
	}
	if got := b.guard.InProgress(); got != half {
		t.Errorf("got %d in progress, want %d", got, half)
	}
	b.mu.Lock()
	if len(b.refused) != 4 || slices.ContainsFunc(b.refused, func(r string) bool { return r != web.Overload }) {
		t.Errorf("got the refusals %q, want 4 times overload", b.refused)
	}
	b.mu.Unlock()

	// A client that ignores Retry-After is not read again immediately.
	conn, err := net.Dial("tcp", b.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	begin, in := time.Now(), bufio.NewReader(conn)
	for range 2 {
		if _, err := io.WriteString(conn, "POST /work HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"); err != nil {
			t.Fatal(err)
		}
		res, err := http.ReadResponse(in, nil)
		if err != nil || res.StatusCode != 503 || res.ContentLength != 0 {
			t.Fatalf("got %v, %v; want 503", res, err)
		}
	}
	if took := time.Since(begin); took < 250*time.Millisecond { // a busy machine only adds to it
		t.Errorf("two requests on one connection were refused within %s", took)
	}

	b.letGo <- struct{}{}
	if status := <-statuses; status != 200 {
		t.Errorf("got %d for a request in progress", status)
	}
	go work()
	<-b.entered // the free place was taken
	close(b.letGo)
	for range half {
		if status := <-statuses; status != 200 {
			t.Errorf("got %d for a request in progress", status)
		}
	}
	if got := b.guard.InProgress(); got != 0 {
		t.Errorf("got %d in progress after all responses", got)
	}
}

// A caller sends requests from an address of its own, or with an API key.
type caller struct{ address, key string }

// send sends a request, and returns its status.
func (b *busySite) send(from caller, path string) int {
	req := httptest.NewRequest("POST", path, strings.NewReader("{}"))
	if from.address != "" {
		req.RemoteAddr = from.address + ":1"
	}
	if from.key != "" {
		req.Header.Set("Authorization", from.key)
	}
	rec := httptest.NewRecorder()
	b.Config.Handler.ServeHTTP(rec, req)
	return rec.Code
}

// occupy sends n requests, the i-th from from(i), and returns how many are admitted. They end at release.
func (b *busySite) occupy(t *testing.T, n int, path string, from func(i int) caller) (in int, release func()) {
	t.Helper()
	statuses := make(chan int, n)
	for i := range n {
		go func() { statuses <- b.send(from(i), path) }()
	}
	refused := 0
	for in+refused < n {
		select {
		case <-b.entered:
			in++
		case status := <-statuses:
			if status != 503 {
				t.Errorf("got %d, want 503", status)
			}
			refused++
		}
	}
	return in, func() {
		for range in {
			b.letGo <- struct{}{}
			if status := <-statuses; status != 200 {
				t.Errorf("got %d for a request in progress", status)
			}
		}
	}
}

func one(address string) func(int) caller {
	return func(int) caller { return caller{address: address} }
}

func eachItsOwn(i int) caller { return caller{address: fmt.Sprintf("198.51.%d.%d", i/256, i%256)} }

// With a slow store the admitted requests must not be a queue of seconds. When it is fast again, it must be used
// immediately.
func TestWhereExchangesAreSlowFewerAreLetIn(t *testing.T) {
	b := newBusySite(t)
	for _, step := range []struct {
		took time.Duration
		want int
	}{
		{web.SlowExchange, 512}, {web.SlowExchange + 1, 512}, {web.SlowExchange + 1, 384},
		{0, 288}, // 288 fast ones count as 72
		{time.Second, 360}, {time.Second, 270}, {time.Second, 256}, {time.Minute, 256},
	} {
		in, release := b.occupy(t, web.MaxInProgress, "/work", eachItsOwn)
		if diff := in - step.want; diff < -1 || diff > 1 {
			t.Errorf("got %d admitted, want %d", in, step.want)
		}
		b.clock.wait(step.took)
		release()
	}
	for range 4 * (web.MaxInProgress - web.MinInProgress) {
		_, release := b.occupy(t, 1, "/work", eachItsOwn)
		release()
	}
	in, release := b.occupy(t, web.MaxInProgress, "/work", eachItsOwn)
	if in != web.MaxInProgress {
		t.Errorf("got %d admitted after exchanges were fast again, want %d", in, web.MaxInProgress)
	}
	release()
}

// A client that sends slowly must not hold a place, or a few hundred of them would keep all others out.
func TestABodyThatIsStillComingHoldsNoPlace(t *testing.T) {
	b := newBusySite(t)
	reader, writer := io.Pipe()
	slow := make(chan int)
	go func() {
		status, _ := b.call(t, "POST", "/work", reader)
		slow <- status
	}()
	if _, err := writer.Write([]byte("{")); err != nil { // returns when the transport has taken it
		t.Fatal(err)
	}
	if got := b.guard.InProgress(); got != 0 {
		t.Errorf("got %d in progress while a body is coming", got)
	}
	writer.Close()
	<-b.entered
	if got := b.guard.InProgress(); got != 1 {
		t.Errorf("got %d in progress, want 1", got)
	}
	close(b.letGo)
	if got := <-slow; got != 200 {
		t.Errorf("got %d", got)
	}
}

func TestACallThatPanicsGivesItsPlaceBack(t *testing.T) {
	b := newBusySite(t)
	for range 10 {
		if status, _ := b.call(t, "POST", "/panic", http.NoBody); status != 500 {
			t.Errorf("got %d, want 500", status)
		}
	}
	if got := b.guard.InProgress(); got != 0 {
		t.Errorf("got %d in progress", got)
	}
}

func TestRetryAfterIsInWholeSecondsAndLongEnough(t *testing.T) {
	c := &clock{}
	g := web.NewGuard(web.RateLimits{RefreshToken: 1}, nil, c.now, nil)
	s := newSite(t, func(s *site) { s.options.Guard = g })
	s.GET("/x", func(c echo.Context) error {
		if err := web.LogRecord(c).AdmitExchange(domain.PresentedToken{ID: domain.ID{1}}, false); err != nil {
			return err
		}
		web.LogRecord(c).ChargeExchange(true)
		return nil
	})
	for range 10 {
		s.send("GET", "/x", "")
	}
	for _, tt := range []struct {
		pause time.Duration
		want  string
	}{{0, "1"}, {999 * time.Millisecond, "1"}} {
		c.wait(tt.pause)
		if got := s.send("GET", "/x", ""); got.Code != 429 || got.Header().Get("Retry-After") != tt.want {
			t.Errorf("got %d with Retry-After %q, want 429 with %s", got.Code, got.Header().Get("Retry-After"), tt.want)
		}
	}
	s.GET("/z", fails(&web.Refused{Reason: web.LimitAPIKey, Wait: 1001 * time.Millisecond}))
	if got := s.send("GET", "/z", "").Code; got != 429 {
		t.Errorf("got status %d", got)
	}
	s.GET("/y", fails(&web.Refused{Reason: web.Overload, Wait: 1001 * time.Millisecond}))
	if got := s.send("GET", "/y", ""); got.Code != 503 || got.Header().Get("Retry-After") != "2" || got.Body.Len() > 0 {
		t.Errorf("got %d with Retry-After %q and %q, want 503 with 2 and nothing", got.Code,
			got.Header().Get("Retry-After"), got.Body)
	}
}
