package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/test/support/rig"
)

func seen(id, server int, at time.Time, after time.Duration) sighting {
	return sighting{
		ID: id, Server: server, Reason: becauseRevoked, Refused: at.Add(after).UnixNano(),
		Last: at.Add(after - 5*time.Millisecond).UnixNano(), AsOf: at.Add(-time.Second).UnixNano(), Acceptances: 3,
	}
}

func TestDelaysAreThoseOfEachServer(t *testing.T) {
	at := time.Now()
	revoked := map[int]time.Time{0: at, 7: at.Add(time.Second)}
	r, err := newReached(revoked, []sighting{
		seen(0, 0, at, 10*time.Millisecond), seen(0, 1, at, 30*time.Millisecond),
		seen(7, 0, at.Add(time.Second), 20*time.Millisecond),
		seen(7, 1, at.Add(time.Second), -time.Millisecond), // it was refused before the response arrived
	}, 2, 10*time.Second)
	want := []time.Duration{0, 10 * time.Millisecond, 20 * time.Millisecond, 30 * time.Millisecond}
	if diff := cmp.Diff(want, r.delays); diff != "" || err != nil {
		t.Errorf("%v, delays (-want +got):\n%s", err, diff)
	}
	if r.p50 != 10*time.Millisecond || r.max != 30*time.Millisecond || r.late+r.unsound+r.again != 0 {
		t.Errorf("got %+v", r)
	}
}

// An acceptance that must not be is a figure, not an error: the report has to say it.
func TestWrongAcceptancesAreCounted(t *testing.T) {
	at := time.Now()
	late := seen(0, 0, at, 11*time.Second)
	unsound := seen(0, 1, at, time.Second)
	unsound.AsOf = at.Add(time.Millisecond).UnixNano()
	r, err := newReached(map[int]time.Time{0: at}, []sighting{late, unsound, {ID: 0, Server: 1, Again: 1}}, 2,
		10*time.Second)
	if err != nil || r.late != 1 || r.unsound != 1 || r.again != 1 || len(r.delays) != 2 {
		t.Errorf("got %+v, %v, want one of each and two delays", r, err)
	}
}

func TestDelaysWithoutARefusalByEachServerAreAnError(t *testing.T) {
	at := time.Now()
	good := seen(0, 0, at, time.Millisecond)
	stale, never, other := good, good, good
	stale.Reason, never.Acceptances, other.ID = becauseStale, 0, 1
	for name, sightings := range map[string][]sighting{
		"a server is missing":        {good},
		"one server twice":           {good, good},
		"the view was stale":         {good, stale},
		"never accepted before":      {good, never},
		"a token that is not dead":   {good, other},
		"only accepted again":        {good, {ID: 0, Server: 1, Again: 1}},
		"both checks, and one wrong": {good, {ID: 0, Server: 0, Strict: true, Reason: "x", Acceptances: 1}},
	} {
		if r, err := newReached(map[int]time.Time{0: at}, sightings, 2, time.Second); err == nil {
			t.Errorf("%s: got %+v, want an error", name, r)
		}
	}
}

func TestTheLastAcceptanceAfterACutIsThatOfAnyServer(t *testing.T) {
	cut := time.Now()
	of := func(server int, strict bool, after time.Duration) sighting {
		return sighting{Server: server, Strict: strict, Reason: becauseStale, Acceptances: 9, Last: cut.Add(after).UnixNano()}
	}
	got, err := lastAccepted([]sighting{
		of(0, false, 9*time.Second), of(0, true, time.Second), of(1, false, 8*time.Second), of(1, true, 2*time.Second),
		{Server: 1, Again: 1},
	}, cut)
	if want := (lastAcceptance{9 * time.Second, 2 * time.Second, 1}); err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	revoked := of(0, false, time.Second)
	revoked.Reason = becauseRevoked // the cut cannot have been one
	if _, err := lastAccepted([]sighting{revoked}, cut); err == nil {
		t.Error("a server heard of a revocation after the cut: want an error")
	}
}

func TestResultsOfBenchmarksAreRead(t *testing.T) {
	got, err := parseBenchmark("goos: linux\n" +
		"BenchmarkRevoked/sessions=12000/marks=0/writing=false-2   \t 12345\t  24.05 ns/op\t 0 B/op\t 0 allocs/op\n" +
		"PASS\n")
	want := checkCost{"Revoked/sessions=12000/marks=0/writing=false", 24.05, 0, 0}
	if err != nil || len(got) != 1 || got[0] != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	if got, err := parseBenchmark("BenchmarkRevoked-2 1 24 ns/op\n"); err == nil {
		t.Errorf("a line without allocations: got %+v, want an error", got)
	}
	rest, second, err := sessionMemory("x: at most 28.1 bytes a session\n" +
		"y: a second table of 1 300 000 sessions: 25.2 bytes a session on the heap\n")
	if rest != 28.1 || second != 25.2 || err != nil {
		t.Errorf("got %v, %v, %v, want 28.1 and 25.2", rest, second, err)
	}
	if _, _, err := sessionMemory("at most 28.1 bytes a session\n"); err == nil {
		t.Error("a log without the second table: want an error")
	}
}

func TestDifferenceIsTakenWithinARound(t *testing.T) {
	var s series
	for _, r := range []struct{ now, before float64 }{{262, 260}, {300, 299}, {264, 260}} {
		s.add("now", 8, run{objects: r.now})
		s.add("before", 8, run{objects: r.before})
	}
	if got := difference(&s, "now", "before", 8, objects); got != 2 {
		t.Errorf("got %v, want 2", got)
	}
}

func TestLoadIsWhatOtherProcessesUsed(t *testing.T) {
	got := newLoad(rig.Machine{Total: 10 * time.Second, Idle: 5 * time.Second},
		rig.Machine{Total: 20 * time.Second, Idle: 7 * time.Second}, 6*time.Second)
	if want := (load{idle: .2, others: .2}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

const streamText = "event: hello\ndata: {\"v\":1}\n\nevent: facts\ndata: {\"n\":1,\"keep\":1200,\"s\":[\"a\",\"b\"]," +
	"\"m\":[[null,\"u\",5,null]],\"k\":[\"x\"]}\n\nevent: fresh\nid: 12\ndata: {\"n\":2,\"e\":1013}\n\n"

// A stream is read from a real server, with its chunks, and after a refusal.
func TestStreamsAreReadAndCounted(t *testing.T) {
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) == 1 {
			w.Header().Set("Retry-After", "3")
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, streamText)
		_ = http.NewResponseController(w).Flush()
		_, _ = io.WriteString(w, "event: facts\ndata: {\"s\":[\""+strings.Repeat("c", 5000)+"\"]}\n\n"+
			"event: fresh\ndata: {}\n\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	defer server.Close()
	address := server.Listener.Addr().String()
	_, err := followStream(address, true)
	if busy := (errBusy{}); !errors.As(err, &busy) || busy.after != 3*time.Second {
		t.Errorf("got %v, want a refusal for 3 s", err)
	}
	for _, of := range []struct {
		isDecoded bool
		facts     int64
	}{{true, 5}, {false, 2}} {
		s, err := followStream(address, of.isDecoded)
		if err != nil {
			t.Fatal(err)
		}
		for s.fresh.Load() < 2 {
			time.Sleep(time.Millisecond) // until both frames have been read
		}
		if err := s.failure(); err != nil || s.facts.Load() != of.facts {
			t.Errorf("decoded %v: got %d facts, %v, want %d", of.isDecoded, s.facts.Load(), err, of.facts)
		}
	}
}

func TestAStreamThatEndsIsAFailure(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, streamText)
	}))
	defer server.Close()
	s, err := followStream(server.Listener.Addr().String(), true)
	if err != nil {
		t.Fatal(err)
	}
	s.group.Wait()
	if s.failed == nil {
		t.Error("got no error")
	}
}

// The first frame is seen wherever two reads divide it, and nothing else is taken for it.
func TestTheFirstFreshIsSeen(t *testing.T) {
	for at := range len(streamText) {
		var f freshSeen
		r := &freshReader{seen: &f.seen}
		r.look([]byte(streamText[:at]))
		if want := strings.Contains(streamText[:at], "event: fresh"); f.seen.Load() != want {
			t.Fatalf("after %d bytes: got %v, want %v", at, f.seen.Load(), want)
		}
		r.look([]byte(streamText[at:]))
		if !f.seen.Load() {
			t.Fatalf("divided after %d bytes: not seen", at)
		}
	}
}

// Before the cut data passes both ways; after it nothing does, and the connection is not closed.
func TestNothingPassesANetworkThatIsCut(t *testing.T) {
	echo, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer echo.Close()
	go func() {
		for {
			c, err := echo.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(c, c) }()
		}
	}()
	n, err := newNetwork(echo.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer n.close()
	exchange := func(c net.Conn) error {
		if _, err := c.Write([]byte("x")); err != nil {
			return err
		}
		// Long for the loopback; after the cut it is how long the test waits for what must not come.
		c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		_, err := io.ReadFull(c, make([]byte, 1))
		return err
	}
	dial := func() net.Conn {
		c, err := net.Dial("tcp", n.address())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	c := dial()
	for err := exchange(c); err != nil; err = exchange(c) {
		if !errors.Is(err, context.DeadlineExceeded) && !isTimeout(err) {
			t.Fatal(err)
		}
	}
	n.cut()
	for name, c := range map[string]net.Conn{"an open connection": c, "a new connection": dial()} {
		if err := exchange(c); !isTimeout(err) {
			t.Errorf("%s: got %v, want a time-out", name, err)
		}
	}
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

// A server that never had a view is not taken for one that refuses: its report says why a watch ended.
func TestAResourceServerReportsWhyItRefuses(t *testing.T) {
	refused := httptest.NewServer(http.NotFoundHandler())
	defer refused.Close()
	setup, err := json.Marshal(serverSetup{
		First: 3, Addresses: []string{refused.Listener.Addr().String()}, MaxAge: reachMaxAge, Poll: time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	in, lines := io.Pipe()
	out, w := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- resourceServers(t.Context(), string(setup), in, w) }()
	if err := json.NewEncoder(lines).Encode(watch{ID: 5, Token: "no token"}); err != nil {
		t.Fatal(err)
	}
	var s sighting
	if err := json.NewDecoder(out).Decode(&s); err != nil {
		t.Fatal(err)
	}
	lines.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if s.Server != 3 || s.ID != 5 || s.Acceptances != 0 || s.Reason == becauseRevoked || s.Reason == "" {
		t.Errorf("got %+v", s)
	}
}

func TestTheRestOfAnOutputIsKept(t *testing.T) {
	var l lastLines
	for range 10 {
		_, _ = l.Write(bytes.Repeat([]byte("x"), 500))
	}
	_, _ = l.Write([]byte("end"))
	if len(l.text) != 2000 || !bytes.HasSuffix(l.text, []byte("end")) {
		t.Errorf("got %d bytes", len(l.text))
	}
}
