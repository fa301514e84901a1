package verify

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	testIssuer = "https://id.example/t/acme"
	testKey    = "ak_the-secret-of-this-test"
	helloFrame = "event: hello\ndata: {\"v\":1,\"tenant\":\"acme\",\"keep\":1200,\"beat\":500}\n\n"
)

// script is a revocation stream, as its transport. Each request is answered by serve, which writes the response.
type script struct {
	serve func(*wire)
	steps chan string // for serve; made in the bubble

	mu       sync.Mutex
	requests []*http.Request
	at       []time.Time
}

// wire is the response to one request.
type wire struct {
	*io.PipeWriter
	r       *http.Request
	number  int // of the request, from 0
	arrived time.Time
	started chan *http.Response
	header  http.Header
	n       int
	ctx     context.Context
	steps   chan string
}

func (s *script) RoundTrip(r *http.Request) (*http.Response, error) {
	reader, writer := io.Pipe()
	ctx, cancel := context.WithCancelCause(r.Context())
	s.mu.Lock()
	w := &wire{
		PipeWriter: writer, r: r, number: len(s.requests), arrived: time.Now(), started: make(chan *http.Response, 1),
		header: http.Header{"Content-Type": {r.Header.Get("Accept")}}, ctx: ctx, steps: s.steps,
	}
	s.requests, s.at = append(s.requests, r), append(s.at, time.Now())
	s.mu.Unlock()
	context.AfterFunc(ctx, func() { _ = writer.CloseWithError(context.Cause(ctx)) })
	go func() {
		s.serve(w)
		_ = writer.Close()
		w.status(http.StatusOK)
	}()
	select {
	case response := <-w.started:
		response.Body = closer{reader, func() { cancel(io.ErrClosedPipe) }}
		return response, nil
	case <-ctx.Done():
		err := context.Cause(ctx)
		cancel(err)
		return nil, err
	}
}

type closer struct {
	io.Reader
	close func()
}

func (c closer) Close() error { c.close(); return nil }

func (s *script) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.requests)
}

func (s *script) request(i int) *http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests[i]
}

// status sends the header of the response, if it has not been sent.
func (w *wire) status(code int) {
	select {
	case w.started <- &http.Response{
		StatusCode: code, Status: fmt.Sprint(code, " ", http.StatusText(code)), Header: w.header, Request: w.r,
	}:
	default:
	}
}

// send writes text unchanged.
func (w *wire) send(text string) {
	w.status(http.StatusOK)
	_, _ = io.WriteString(w, text)
}

func (w *wire) facts(members string) {
	w.n++
	w.send(fmt.Sprintf("event: facts\ndata: {\"n\":%d,\"keep\":1200,%s}\n\n", w.n, members))
}

// fresh sends that everything is known as of now.
func (w *wire) fresh(cursor int64) { w.freshAt(cursor, time.Since(w.arrived)) }

func (w *wire) freshAt(cursor int64, e time.Duration) {
	w.n++
	w.send(fmt.Sprintf("event: fresh\nid: %d\ndata: {\"n\":%d,\"e\":%d}\n\n", cursor, w.n, e.Milliseconds()))
}

// beat sends fresh frames until the client leaves.
func (w *wire) beat(cursor int64) {
	for w.ctx.Err() == nil {
		w.fresh(cursor)
		w.sleep(500 * time.Millisecond)
	}
}

func (w *wire) sleep(d time.Duration) {
	select {
	case <-w.ctx.Done():
	case <-time.After(d):
	}
}

// hold keeps the response open, and sends nothing more.
func (w *wire) hold() { <-w.ctx.Done() }

func text(id [16]byte) string { return base64.RawURLEncoding.EncodeToString(id[:]) }

func sessionsOf(ids ...[16]byte) string {
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = `"` + text(id) + `"`
	}
	return `"s":[` + strings.Join(texts, ",") + `]`
}

func numbered(n uint64) (id [16]byte) {
	binary.BigEndian.PutUint64(id[:8], n)
	id[8] = 0x80
	return id
}

// clocks are the two clocks of a machine, which a test moves apart.
type clocks struct {
	mu sync.Mutex
	by instant
}

func (c *clocks) move(monotonic, wall time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.by.monotonic += monotonic
	c.by.wall += wall
}

// rig is a feed that follows a script in a bubble.
type rig struct {
	*feed
	*clocks
	s   *script
	log *bytes.Buffer
	end func()
}

func (r *rig) age(t *testing.T) time.Duration {
	t.Helper()
	age, ok := r.ageAt(r.now())
	if !ok {
		t.Fatal("the view is incomplete")
	}
	return age
}

// logged returns the log; the feed has ended.
func (r *rig) logged(t *testing.T) string {
	r.end()
	if strings.Contains(r.log.String(), testKey) {
		t.Error("the API key is in the log")
	}
	return r.log.String()
}

func inBubble(t *testing.T, serve func(*wire), change func(*Config), f func(*testing.T, *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, serve, change)
		defer r.end() // also after Fatal, which a bubble with a goroutine left would hide
		f(t, r)
	})
}

func newRig(t *testing.T, serve func(*wire), change func(*Config)) *rig {
	t.Helper()
	r := &rig{clocks: &clocks{}, s: &script{serve: serve, steps: make(chan string)}, log: &bytes.Buffer{}}
	c := Config{
		Issuer: testIssuer, Audience: "orders", APIKey: testKey, Client: &http.Client{Transport: r.s},
		Log: slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if change != nil {
		change(&c)
	}
	c, err := c.checked()
	if err != nil {
		t.Fatal(err)
	}
	r.feed = newFeed(c, newKeySet(c))
	plain := r.now
	r.now = func() instant {
		r.clocks.mu.Lock()
		defer r.clocks.mu.Unlock()
		i := plain()
		return instant{i.monotonic + r.by.monotonic, i.wall + r.by.wall}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.run(ctx)
	}()
	r.end = func() {
		cancel()
		<-done
	}
	return r
}

func (r *rig) complete() bool {
	_, ok := r.asOf()
	return ok
}

func (r *rig) refuses(id [16]byte) bool { return r.revoked(&subject{sid: id}) }

func settle(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestEventsOfAStream(t *testing.T) {
	at := func(event, id, data string) frame { return frame{event, id, []byte(data)} }
	for _, tc := range []struct {
		name, text string
		want       []frame
	}{
		{"LF", "event: a\nid: 1\ndata: x\n\n", []frame{at("a", "1", "x")}},
		{"CR", "event: a\rid: 1\rdata: x\r\r", []frame{at("a", "1", "x")}},
		{"CRLF", "event: a\r\nid: 1\r\ndata: x\r\n\r\n", []frame{at("a", "1", "x")}},
		{"mixed", "event: a\r\ndata: x\r\n\n\revent: b\ndata: y\r\r\n", []frame{at("a", "", "x"), at("b", "", "y")}},
		{"no space", "event:a\ndata:x\n\n", []frame{at("a", "", "x")}},
		{"two spaces", "event: a\ndata:  x\n\n", []frame{at("a", "", " x")}},
		{"a byte order mark", "\ufeffevent: a\ndata: x\n\n", []frame{at("a", "", "x")}},
		{"two lines of data", "event: a\ndata: x\ndata: y\n\n", []frame{at("a", "", "x\ny")}},
		{"an empty line of data", "event: a\ndata\n\n", []frame{{Event: "a"}}},
		{"comments", ": c\n\n:\nevent: a\n: c\ndata: x\n\n", []frame{at("a", "", "x")}},
		{"unknown fields", "retry: 1\nx\nevent: a\ndata: x\n\n", []frame{at("a", "", "x")}},
		{"an event without data", "event: a\nid: 1\n\ndata: x\n\n", []frame{at("", "", "x")}},
		{"an id is of one event", "id: 1\ndata: x\n\ndata: y\n\n", []frame{at("", "1", "x"), at("", "", "y")}},
		{"an incomplete event", "event: a\ndata: x\n\nevent: b\ndata: y\n", []frame{at("a", "", "x")}},
	} {
		for name, cut := range map[string]func(io.Reader) io.Reader{
			"whole": func(r io.Reader) io.Reader { return r }, "bytes": iotest.OneByteReader, "halves": iotest.HalfReader,
			"with its end": iotest.DataErrReader,
		} {
			next := streamFrames(cut(strings.NewReader(tc.text)))
			var got []frame
			f, err := next()
			for ; err == nil; f, err = next() {
				got = append(got, f)
			}
			if !errors.Is(err, io.EOF) {
				t.Errorf("%s, %s: got %v, want EOF", tc.name, name, err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s, %s: -want +got:\n%s", tc.name, name, diff)
			}
		}
	}
}

// An event that ends with CR is returned immediately: its LF may come with the next one, half a second later.
func TestAnEventDoesNotWaitForTheNextOne(t *testing.T) {
	reader, writer := io.Pipe()
	next := streamFrames(reader)
	read := make(chan struct{})
	go func() {
		for range 2 {
			_, _ = io.WriteString(writer, "data: x\r\n\r")
			<-read
			_, _ = io.WriteString(writer, "\n")
		}
	}()
	for range 2 {
		if f, err := next(); err != nil || string(f.Data) != "x" {
			t.Fatalf("got %q, %v", f.Data, err)
		}
		read <- struct{}{}
	}
	_ = reader.Close()
}

// Without a bound a service, or who stands in its place, could fill the memory.
func TestAFrameIsBounded(t *testing.T) {
	for name, next := range map[string]func() (frame, error){
		"a line":    streamFrames(&repeated{first: "data: ", then: "x"}),
		"lines":     streamFrames(&repeated{then: "data: xxxxxxxxxxxxxxxxxxxxxxx\n"}),
		"a comment": streamFrames(&repeated{first: ":", then: "x"}),
		"a text":    arrayFrames(&repeated{first: `[{"event":"`, then: "x"}),
		"spaces":    arrayFrames(&repeated{then: " "}),
		"elements":  arrayFrames(&repeated{first: `[{"data":[1`, then: ",1"}),
	} {
		if _, err := next(); !errors.Is(err, errProtocol) {
			t.Errorf("%s: got %v, want %v", name, err, errProtocol)
		}
	}
	// The bound is of one frame, not of all.
	next := arrayFrames(&repeated{first: "[{}", then: `,{"event":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}`})
	for i := range 3 * maxFrame / 40 {
		if _, err := next(); err != nil {
			t.Fatalf("element %d: %v", i, err)
		}
	}
}

// repeated reads as first, followed by then without end.
type repeated struct{ first, then string }

func (r *repeated) Read(p []byte) (n int, err error) {
	for n < len(p) {
		if r.first == "" {
			r.first = r.then
		}
		took := copy(p[n:], r.first)
		r.first = r.first[took:]
		n += took
	}
	return n, nil
}

// P1: the first fresh frame makes the view complete, and nothing before.
func TestNothingIsCompleteBeforeTheFirstFreshFrame(t *testing.T) {
	inBubble(t, func(w *wire) {
		w.send(helloFrame)
		<-w.steps
		w.facts(sessionsOf(numbered(1)) + `,"m":[[null,"u",5,null],["a",null,6,"` + text(numbered(7)) + `"]],"k":["stolen"]`)
		<-w.steps
		w.beat(10)
	}, nil, func(t *testing.T, r *rig) {
		settle(time.Second)
		r.s.steps <- ""
		settle(time.Second)
		if r.complete() {
			t.Error("the view is complete before the first fresh frame")
		}
		r.s.steps <- ""
		settle(time.Millisecond)
		if !r.complete() {
			t.Error("the view is incomplete after the first fresh frame")
		}
		for _, tc := range []struct {
			s    subject
			want bool
		}{
			{subject{sid: numbered(1)}, true},
			{subject{sid: numbered(2)}, false},
			{subject{sid: numbered(2), rsid: numbered(1), hasRoot: true}, true},
			{subject{sid: numbered(2), user: "u", epoch: 4}, true},
			{subject{sid: numbered(2), user: "u", epoch: 5}, false},
			{subject{sid: numbered(2), application: "a", epoch: 5}, true},
			{subject{sid: numbered(7), application: "a", epoch: 5}, false},
			{subject{sid: numbered(2), application: "u", user: "a"}, false},
			{subject{sid: numbered(2), kid: "stolen"}, true},
		} {
			if got := r.revoked(&tc.s); got != tc.want {
				t.Errorf("%+v: got %t, want %t", tc.s, got, tc.want)
			}
		}
		request := r.s.request(0)
		if got := request.URL.String(); got != testIssuer+"/revocations" {
			t.Errorf("the request was sent to %s", got)
		}
		if got, want := request.Header.Get("Authorization"), "Bearer "+testKey; got != want {
			t.Errorf("got Authorization %q, want %q", got, want)
		}
		if s := r.state(time.Now()); s.Tenant != "acme" || s.Cursor != 10 || s.Facts != 4 || !s.Complete {
			t.Errorf("got the state %+v", s)
		}
		if log := r.logged(t); log != "" {
			t.Errorf("got a log without a failure:\n%s", log)
		}
	})
}

// P1: the age counts from the moment before the request was sent, plus what the service says; a slow network makes the
// view older and never newer.
func TestAViewIsAsOldAsTheServiceSays(t *testing.T) {
	inBubble(t, func(w *wire) {
		w.sleep(700 * time.Millisecond) // the request is on its way
		w.arrived = time.Now()
		w.sleep(time.Second)
		e := time.Since(w.arrived) - 200*time.Millisecond // of a read 200 ms ago
		w.sleep(400 * time.Millisecond)                   // the response is on its way
		w.send(helloFrame)
		w.freshAt(10, e)
		w.hold()
	}, nil, func(t *testing.T, r *rig) {
		settle(2100 * time.Millisecond)
		// 2.1 s after the request was sent, complete as of 0.8 s after it.
		want := 1300*time.Millisecond + drift(2100*time.Millisecond)
		if got := r.age(t); got != want {
			t.Errorf("got the age %v, want %v", got, want)
		}
		asOf, _ := r.asOf()
		if got, want := asOf.Sub(r.began), 800*time.Millisecond-drift(800*time.Millisecond); got != want {
			t.Errorf("got complete as of %v after the request, want %v", got, want)
		}
		settle(500 * time.Millisecond)
		if got, want := r.age(t), want+500*time.Millisecond+drift(500*time.Millisecond); got != want {
			t.Errorf("got the age %v after another 500 ms, want %v", got, want)
		}
	})
}

// P1, P2: neither a clock that is set nor a machine that sleeps makes a view look newer, and none of them lasts longer
// than the next connection.
func TestClockStepsAndPauses(t *testing.T) {
	for _, tc := range []struct {
		name            string
		monotonic, wall time.Duration
		least           time.Duration // of the age after it
	}{
		{"the wall clock is set forward", 0, 5 * time.Minute, 5 * time.Minute},
		{"the wall clock is set back", 0, -5 * time.Minute, 0},
		{"the machine sleeps: the monotonic clock stands still", 0, time.Hour, time.Hour},
		{"a pause that only the monotonic clock shows", time.Hour, 0, time.Hour},
		{"a pause that both show", time.Hour, time.Hour, time.Hour},
		{"set back during a pause", time.Hour, -time.Hour, time.Hour},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inBubble(t, func(w *wire) {
				w.send(helloFrame)
				w.beat(10)
			}, nil, func(t *testing.T, r *rig) {
				settle(5100 * time.Millisecond)
				before := r.age(t)
				if before > 200*time.Millisecond {
					t.Errorf("got the age %v in health", before)
				}
				r.move(tc.monotonic, tc.wall)
				if got := r.age(t); got < before+tc.least {
					t.Errorf("got the age %v just after it, want at least %v", got, before+tc.least)
				}
				settle(time.Second)
				// The service of this test did not see the pause, so its stream claims to be that old.
				seen := tc.monotonic == tc.wall
				if got := r.age(t); got > time.Second && !seen {
					t.Errorf("got the age %v a second later, want a new view", got)
				}
			})
		})
	}
}

// A service whose clock was set does not matter, because no instant is in a frame. One that claims to know what has yet
// to happen is refused.
func TestAFreshFrameFromTheFutureIsRefused(t *testing.T) {
	inBubble(t, func(w *wire) {
		w.send(helloFrame)
		w.freshAt(10, time.Since(w.arrived)+time.Second)
		w.hold()
	}, nil, func(t *testing.T, r *rig) {
		settle(time.Minute)
		if r.complete() {
			t.Error("the view is complete")
		}
	})
	// Within what clocks may differ by, the view is complete as of now, and not of later.
	inBubble(t, func(w *wire) {
		w.send(helloFrame)
		w.freshAt(10, time.Since(w.arrived)+8*time.Millisecond)
		w.hold()
	}, nil, func(t *testing.T, r *rig) {
		synctest.Wait()
		if at, ok := r.asOf(); !ok || at.After(time.Now()) {
			t.Errorf("got complete %t as of %v after now", ok, time.Until(at))
		}
	})
}

// P1: a view does not get older by a new connection, and not newer than the facts.
func TestANewConnectionKeepsANewerView(t *testing.T) {
	inBubble(t, func(w *wire) {
		w.send(helloFrame)
		if w.number == 0 {
			w.fresh(10)
			w.sleep(time.Second)
			w.fresh(11)
			return
		}
		w.freshAt(5, -10*time.Second) // of a replica that has not read for that long
		w.sleep(2 * time.Second)
		w.beat(12)
	}, nil, func(t *testing.T, r *rig) {
		settle(1900 * time.Millisecond)
		if r.s.count() != 2 {
			t.Fatalf("got %d requests, want 2", r.s.count())
		}
		if got := r.age(t); got < 900*time.Millisecond || got > time.Second {
			t.Errorf("got the age %v, want that of the first connection", got)
		}
		if got := r.s.request(1).URL.Query().Get("cursor"); got != "11" {
			t.Errorf("got the cursor %q, want 11", got)
		}
		settle(2 * time.Second)
		if got := r.age(t); got > time.Second {
			t.Errorf("got the age %v, want that of the second connection", got)
		}
		if log := r.logged(t); log != "" {
			t.Errorf("the end of a stream that was complete is in the log:\n%s", log)
		}
	})
}

// Fail closed: what is not understood makes no view complete, is logged once, and is not asked for without a pause.
func TestAStreamThatIsNotUnderstoodMakesNoView(t *testing.T) {
	id := text(numbered(1))
	const fresh = "event: fresh\nid: 10\ndata: {\"n\":1,\"e\":0}\n\n"
	facts := func(members string) string {
		return helloFrame + "event: facts\ndata: {\"n\":1,\"keep\":1200," + members + "}\n\n" +
			strings.Replace(fresh, `"n":1`, `"n":2`, 1)
	}
	for name, stream := range map[string]string{
		"no hello":               fresh,
		"two hellos":             helloFrame + helloFrame + fresh,
		"another version":        strings.Replace(helloFrame, `"v":1`, `"v":2`, 1) + fresh,
		"no version":             strings.Replace(helloFrame, `"v":1,`, ``, 1) + fresh,
		"another tenant":         strings.Replace(helloFrame, `acme`, `other`, 1) + fresh,
		"no tenant":              strings.Replace(helloFrame, `acme`, ``, 1) + fresh,
		"no keep":                strings.Replace(helloFrame, `"keep":1200`, `"keep":0`, 1) + fresh,
		"keep of years":          strings.Replace(helloFrame, `1200`, `100000000`, 1) + fresh,
		"a frame is missing":     helloFrame + strings.Replace(fresh, `"n":1`, `"n":2`, 1),
		"a frame has no number":  helloFrame + strings.Replace(fresh, `"n":1,`, ``, 1),
		"a number comes twice":   strings.Replace(facts(sessionsOf(numbered(1))), `"n":2`, `"n":1`, 1),
		"no cursor":              helloFrame + strings.Replace(fresh, "id: 10\n", "", 1),
		"a cursor is no number":  helloFrame + strings.Replace(fresh, "10", "x10", 1),
		"a cursor is negative":   helloFrame + strings.Replace(fresh, "10", "-10", 1),
		"no e":                   helloFrame + strings.Replace(fresh, `,"e":0`, "", 1),
		"e is null":              helloFrame + strings.Replace(fresh, `"e":0`, `"e":null`, 1),
		"e is huge":              helloFrame + strings.Replace(fresh, `"e":0`, `"e":9223372036854775807`, 1),
		"e is far in the past":   helloFrame + strings.Replace(fresh, `"e":0`, `"e":-9223372036854775808`, 1),
		"a number is huge":       helloFrame + strings.Replace(fresh, `"n":1`, `"n":9223372036854775807`, 1),
		"a number of 2^64 + 1":   helloFrame + strings.Replace(fresh, `"n":1`, `"n":18446744073709551617`, 1),
		"a cursor of 2^63":       helloFrame + strings.Replace(fresh, "10", "9223372036854775808", 1),
		"a cursor is long":       helloFrame + strings.Replace(fresh, "10", strings.Repeat("9", 1<<14), 1),
		"a user is long":         facts(`"m":[["a","` + strings.Repeat("u", maxName+1) + `",1,null]]`),
		"an application is long": facts(`"m":[["` + strings.Repeat("u", maxName+1) + `","u",1,null]]`),
		"a key id is long":       facts(`"k":["` + strings.Repeat("u", maxName+1) + `"]`),
		"an epoch of 2^64":       facts(`"m":[["a","u",18446744073709551616,null]]`),
		"arrays are deep":        facts(`"s":` + strings.Repeat("[", 1<<14)), // encoding/json has 10 000
		"no JSON":                helloFrame + strings.Replace(fresh, `}`, ``, 1),
		"an id is short":         facts(`"s":["` + id[1:] + `"]`),
		"an id is long":          facts(`"s":["` + id + `AA"]`),
		"an id is padded":        facts(`"s":["` + id + `=="]`),
		"an id is in hex":        facts(`"s":["00000000-0000-0001-8000-000000000000"]`),
		"an id has a line break": facts(`"s":["` + id[:4] + `\n` + id[4:] + `"]`),
		"an id is zero":          facts(`"s":["` + text([16]byte{}) + `"]`),
		"a mark is short":        facts(`"m":[["a","u",5]]`),
		"a mark has no epoch":    facts(`"m":[["a","u",null,null]]`),
		"an epoch is negative":   facts(`"m":[["a","u",-1,null]]`),
		"an epoch is a fraction": facts(`"m":[["a","u",1.5,null]]`),
		"a user is a number":     facts(`"m":[["a",7,1,null]]`),
		"an exception is short":  facts(`"m":[["a","u",1,"` + id[1:] + `"]]`),
		"facts are no array":     facts(`"s":"` + id + `"`),
		"facts have no keep":     strings.Replace(facts(sessionsOf(numbered(1))), `"n":1,"keep":1200`, `"n":1`, 1),
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w *wire) {
				w.send(stream)
				w.hold()
			}, nil, func(t *testing.T, r *rig) {
				settle(time.Minute)
				if age, ok := r.ageAt(r.now()); ok && age < 30*time.Second {
					t.Errorf("the view is %v old", age)
				}
				if n := r.s.count(); n < 5 || n > 200 {
					t.Errorf("got %d requests in a minute", n)
				}
				log := r.logged(t)
				if strings.Count(log, "not understood") != 1 || strings.Count(log, "\n") != 1 || len(log) > 1000 {
					t.Errorf("got the log\n%s", log)
				}
			})
		})
	}
}

// A service that was upgraded before its clients may say more.
func TestWhatIsNewInAStreamIsIgnored(t *testing.T) {
	inBubble(t, func(w *wire) {
		w.send(": padding\n\n" + strings.Replace(helloFrame, `"v":1`, `"v":1,"more":{"a":[1]}`, 1))
		w.send("event: new\ndata: no JSON\n\n" + "data: {}\n\n" + "retry: 10\n\n")
		w.facts(`"more":1,` + sessionsOf(numbered(1)))
		w.beat(1)
	}, nil, func(t *testing.T, r *rig) {
		settle(10 * time.Second)
		if !r.complete() || !r.refuses(numbered(1)) || r.s.count() != 1 {
			t.Errorf("got complete %t, refused %t, %d requests", r.complete(), r.refuses(numbered(1)), r.s.count())
		}
	})
}

// A one-way cut: requests arrive, and nothing comes back. There is no end of the connection to see.
func TestASilentStreamIsLeft(t *testing.T) {
	inBubble(t, func(w *wire) {
		if w.number == 0 {
			w.send(helloFrame)
			w.fresh(10)
			w.hold()
		}
		w.send(helloFrame)
		w.facts(sessionsOf(numbered(1)))
		w.beat(11)
	}, nil, func(t *testing.T, r *rig) {
		settle(2900 * time.Millisecond)
		if r.s.count() != 1 {
			t.Errorf("got %d requests before 3 s", r.s.count())
		}
		settle(300 * time.Millisecond)
		if r.s.count() != 2 || !r.refuses(numbered(1)) || r.age(t) > time.Second {
			t.Errorf("got %d requests, refused %t, age %v", r.s.count(), r.refuses(numbered(1)), r.age(t))
		}
		if got := r.s.request(1).URL.Query().Get("cursor"); got != "10" {
			t.Errorf("got the cursor %q, want 10", got)
		}
	})
}

// Frames without news do not keep a stream whose service is disconnected: the comments and events of a proxy, and those
// of a replica whose reads hang. The view would age until it is stale, although another replica has a newer one.
func TestFramesWithoutNewsKeepNoStream(t *testing.T) {
	for name, again := range map[string]func(*wire){
		"comments":             func(w *wire) { w.send(": ping\n\n") },
		"events of a proxy":    func(w *wire) { w.send("event: ping\ndata: {}\n\n") },
		"the same fresh frame": func(w *wire) { w.freshAt(10, 0) },
		"proofs that were not asked for": func(w *wire) {
			w.n++
			w.send(fmt.Sprintf("event: proof\ndata: {\"n\":%d}\n\n", w.n))
		},
		"a line that is never whole": func(w *wire) { w.send("d") },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w *wire) {
				w.send(helloFrame)
				if w.number > 0 {
					w.beat(11)
				}
				w.freshAt(10, 0)
				for w.ctx.Err() == nil {
					again(w)
					w.sleep(time.Second)
				}
			}, nil, func(t *testing.T, r *rig) {
				settle(2900 * time.Millisecond)
				if r.s.count() != 1 {
					t.Errorf("got %d requests before 3 s, want 1", r.s.count())
				}
				settle(300 * time.Millisecond)
				if r.s.count() != 2 || r.age(t) > time.Second {
					t.Errorf("got %d requests, age %v, want 2 and a new view", r.s.count(), r.age(t))
				}
			})
		})
	}
}

// All facts over a slow network take longer than a stream may be silent.
func TestASlowStartIsNotSilence(t *testing.T) {
	inBubble(t, func(w *wire) {
		w.status(http.StatusOK)
		w.sleep(2 * time.Second)
		w.send(helloFrame)
		for n := range uint64(5) {
			w.sleep(2 * time.Second)
			w.facts(sessionsOf(numbered(n + 1)))
		}
		w.sleep(2 * time.Second)
		w.beat(1)
	}, nil, func(t *testing.T, r *rig) {
		settle(20 * time.Second)
		if r.s.count() != 1 || !r.complete() {
			t.Errorf("got %d requests, complete %t, want one that made the view complete", r.s.count(), r.complete())
		}
	})
}

// A service that answers a long poll immediately must not get the next one without a pause.
func TestLongPollsHaveAPause(t *testing.T) {
	inBubble(t, func(w *wire) {
		if w.r.Header.Get("Accept") == "text/event-stream" {
			w.hold()
			return
		}
		w.send(`[{"event":"hello","data":{"v":1,"tenant":"acme","keep":1200}},{"event":"fresh","id":"2","data":{"n":1,"e":0}}]`)
	}, nil, func(t *testing.T, r *rig) {
		settle(33 * time.Second)
		if n := r.s.count(); n < 100 || n > 152 {
			t.Errorf("got %d requests in 33 s, of them 30 s of long polls, want 5 a second", n)
		}
	})
}

// A service that ends each stream immediately, and asks for no delay, must not get requests without a pause.
func TestAServiceThatEndsEachStreamIsNotFlooded(t *testing.T) {
	for name, before := range map[string]func(*wire){
		"before hello": func(*wire) {},
		"after hello":  func(w *wire) { w.send(helloFrame) },
		"after fresh":  func(w *wire) { w.send(helloFrame); w.fresh(1) },
	} {
		for _, after := range []string{"0", "-1", "1"} {
			inBubble(t, func(w *wire) {
				before(w)
				w.send(`event: bye` + "\n" + `data: {"after":` + after + "}\n\n")
				w.hold()
			}, nil, func(t *testing.T, r *rig) {
				settle(time.Minute)
				if n := r.s.count(); n < 10 || n > 150 {
					t.Errorf("%s, %s ms: got %d requests in a minute", name, after, n)
				}
				if log := r.logged(t); strings.Count(log, "\n") != 1 {
					t.Errorf("%s: got the log\n%s", name, log)
				}
			})
		}
	}
}

// A proxy that holds streams back is bypassed by long polls; from time to time a stream is tried again.
func TestABufferingProxyIsBypassed(t *testing.T) {
	for _, held := range []string{"the body is held", "the header is held"} {
		t.Run(held, func(t *testing.T) {
			var buffering sync.Map
			inBubble(t, func(w *wire) {
				if w.r.Header.Get("Accept") == "text/event-stream" {
					if _, off := buffering.Load("off"); off {
						w.send(helloFrame)
						w.beat(30)
					}
					if held == "the body is held" {
						w.status(http.StatusOK)
					}
					w.hold()
					return
				}
				q := w.r.URL.Query()
				facts := ""
				if q.Get("cursor") == "" {
					facts = `{"event":"facts","data":{"n":1,"keep":1200,` + sessionsOf(numbered(1)) + `}},`
				} else {
					w.sleep(2 * time.Second) // a fact comes
					facts = `{"event":"facts","data":{"n":1,"keep":1200,` + sessionsOf(numbered(2)) + `}},`
				}
				w.send(`[{"event":"hello","data":{"v":1,"tenant":"acme","keep":1200,"beat":500}},` + facts +
					fmt.Sprintf(`{"event":"fresh","id":"20","data":{"n":2,"e":%d}}]`, time.Since(w.arrived).Milliseconds()))
			}, nil, func(t *testing.T, r *rig) {
				settle(3200 * time.Millisecond)
				if !r.complete() || !r.refuses(numbered(1)) || r.age(t) > time.Second {
					t.Fatalf("got complete %t, refused %t", r.complete(), r.refuses(numbered(1)))
				}
				settle(3 * time.Second)
				if !r.refuses(numbered(2)) || r.age(t) > 3*time.Second {
					t.Errorf("got refused %t, age %v", r.refuses(numbered(2)), r.age(t))
				}
				poll := r.s.request(2).URL.Query()
				if poll.Get("wait") != "15" || poll.Get("cursor") != "20" {
					t.Errorf("got the query %v, want a wait of 15 and the cursor 20", poll)
				}
				r.need(2 * time.Second)
				settle(4 * time.Second)
				if got := r.s.request(r.s.count() - 1).URL.Query().Get("wait"); got != "1" {
					t.Errorf("got a wait of %s with a route that wants 2 s, want 1", got)
				}
				for range 70 {
					settle(time.Second)
					if got := r.age(t); got > 6*time.Second {
						t.Fatalf("got the age %v", got)
					}
				}
				buffering.Store("off", true)
				settle(3 * time.Minute)
				last := r.s.request(r.s.count() - 1)
				if last.Header.Get("Accept") != "text/event-stream" || r.age(t) > time.Second {
					t.Errorf("no stream was tried again: %v", last.Header)
				}
			})
		})
	}
}

// A poll that is cut short makes nothing fresh, and neither does one without a fresh frame.
func TestAnIncompletePollMakesNoView(t *testing.T) {
	const hello = `[{"event":"hello","data":{"v":1,"tenant":"acme","keep":1200,"beat":500}}`
	for name, body := range map[string]string{
		"nothing": "", "no array": `{}`, "no fresh": hello + `]`, "no end": hello, "no JSON": hello + `,{`,
		"a frame is missing": hello + `,{"event":"fresh","id":"2","data":{"n":2,"e":0}}]`,
	} {
		inBubble(t, func(w *wire) {
			if w.r.Header.Get("Accept") == "text/event-stream" {
				w.hold()
			}
			w.send(body)
		}, nil, func(t *testing.T, r *rig) {
			settle(time.Minute)
			if r.complete() || r.s.count() < 3 || r.s.count() > 100 {
				t.Errorf("%s: got complete %t, %d requests", name, r.complete(), r.s.count())
			}
		})
	}
}

// How soon the next request comes.
func TestReconnecting(t *testing.T) {
	for _, tc := range []struct {
		name         string
		first        func(*wire)
		least, most  time.Duration // to the second request
		log          string        // of the failures; empty if nothing is logged
		noAcceptance bool
	}{
		{"the stream ends", func(w *wire) { w.send(helloFrame); w.fresh(1) }, 0, 100 * time.Millisecond, "", false},
		{"bye", func(w *wire) {
			w.send(helloFrame)
			w.fresh(1)
			w.send("event: bye\ndata: {\"after\":1500}\n\n")
			w.hold()
		}, 1500 * time.Millisecond, 1600 * time.Millisecond, "", false},
		{"bye for an hour", func(w *wire) {
			w.send(helloFrame)
			w.fresh(1)
			w.send("event: bye\ndata: {\"after\":3600000}\n\n")
			w.hold()
		}, 15 * time.Second, 15 * time.Second, "", false},
		{"500", func(w *wire) { w.status(500) }, 0, 100 * time.Millisecond, "interrupted", true},
		{"503", func(w *wire) {
			w.header.Set("Retry-After", "2")
			w.status(503)
		}, 2 * time.Second, 2600 * time.Millisecond, "interrupted", true},
		{"503 for a day", func(w *wire) {
			w.header.Set("Retry-After", "86400")
			w.status(503)
		}, 30 * time.Second, 38 * time.Second, "interrupted", true},
		{"429", func(w *wire) {
			w.header.Set("Retry-After", "1")
			w.status(429)
		}, time.Second, 1300 * time.Millisecond, "interrupted", true},
		{"401", func(w *wire) { w.status(401) }, 8 * time.Second, 12 * time.Second, "GET on /revocations", true},
		{"403", func(w *wire) { w.status(403) }, 8 * time.Second, 12 * time.Second, "refused", true},
		{"404", func(w *wire) { w.status(404) }, 8 * time.Second, 12 * time.Second, "or FeedURL", true},
		{"a redirect", func(w *wire) {
			w.header.Set("Location", "https://elsewhere.example/")
			w.status(302)
		}, 8 * time.Second, 12 * time.Second, "refused", true},
		{"a compressed stream", func(w *wire) {
			w.header.Set("Content-Encoding", "gzip")
			w.send("\x1f\x8b")
			w.hold()
		}, 8 * time.Second, 12 * time.Second, "refused", true},
		{"a page", func(w *wire) {
			w.header.Set("Content-Type", "text/html")
			w.send("<html>")
		}, 8 * time.Second, 12 * time.Second, "refused", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var once sync.Once
			var ended time.Time
			inBubble(t, func(w *wire) {
				if w.number < 1 {
					tc.first(w)
					return
				}
				once.Do(func() { ended = time.Now() })
				w.send(helloFrame)
				w.beat(2)
			}, nil, func(t *testing.T, r *rig) {
				settle(time.Minute)
				got := ended.Sub(r.s.at[0])
				if got < tc.least || got > tc.most {
					t.Errorf("got the next request after %v, want %v to %v", got, tc.least, tc.most)
				}
				if r.s.count() != 2 || r.age(t) > time.Second {
					t.Errorf("got %d requests, age %v", r.s.count(), r.age(t))
				}
				// The end of the run is logged when the stream has lasted.
				r.s.serve = func(w *wire) { w.send(helloFrame); w.beat(3) }
				log := r.logged(t)
				if want := tc.log; want == "" && log != "" || strings.Count(log, want) < 1 || strings.Count(log, "\n") > 2 {
					t.Errorf("got the log\n%s", log)
				}
			})
		})
	}
}

// An operator learns when an outage is over, and not when the stream after it ends: that may be ten minutes later.
func TestTheEndOfAnOutageIsLoggedWhileTheStreamGoesOn(t *testing.T) {
	var requests atomic.Int64
	inBubble(t, func(w *wire) {
		if requests.Add(1) == 1 {
			w.status(502)
			return
		}
		w.send(helloFrame)
		for range 600 {
			w.fresh(2)
			w.sleep(500 * time.Millisecond)
		}
	}, nil, func(t *testing.T, r *rig) {
		settle(10 * time.Second)
		if n, log := r.s.count(), r.logged(t); n != 2 || !strings.Contains(log, "works again") {
			t.Errorf("the second of %d streams has lasted for ten seconds, and the log has %s", n, log)
		}
	})
}

// An outage is two lines, however long it lasts, and its attempts get rarer up to a bound.
func TestAnOutageIsLoggedTwice(t *testing.T) {
	var mu sync.Mutex
	down := true
	inBubble(t, func(w *wire) {
		mu.Lock()
		off := down
		mu.Unlock()
		if off {
			w.status(502)
			return
		}
		w.send(helloFrame)
		for range 20 {
			w.fresh(2)
			w.sleep(500 * time.Millisecond)
		}
	}, nil, func(t *testing.T, r *rig) {
		settle(10 * time.Minute)
		if n := r.s.count(); n < 200 || n > 800 {
			t.Errorf("got %d requests in ten minutes, want about 400", n)
		}
		for i := 1; i < r.s.count(); i++ {
			if between := r.s.at[i].Sub(r.s.at[i-1]); between > lastDelay {
				t.Errorf("got %v between two attempts, want at most %v", between, lastDelay)
			}
		}
		mu.Lock()
		down = false
		mu.Unlock()
		settle(time.Minute)
		log := r.logged(t)
		if strings.Count(log, "\n") != 2 || !strings.Contains(log, "interrupted") || !strings.Contains(log, "works again") {
			t.Errorf("got the log\n%s", log)
		}
	})
}

// The view must not be incomplete in silence. It recovers when old facts are dropped.
func TestAboveMaxFactsTheViewIsIncomplete(t *testing.T) {
	var mu sync.Mutex
	many := 150
	inBubble(t, func(w *wire) {
		mu.Lock()
		n := many
		mu.Unlock()
		w.send(helloFrame)
		w.fresh(1)
		w.sleep(time.Second)
		for i := range n {
			w.facts(sessionsOf(numbered(uint64(i + 1))))
		}
		w.beat(2)
	}, func(c *Config) { c.MaxFacts = 100 }, func(t *testing.T, r *rig) {
		settle(900 * time.Millisecond)
		if !r.complete() {
			t.Error("the view is incomplete below MaxFacts")
		}
		settle(time.Second)
		if r.complete() {
			t.Error("the view is complete above MaxFacts")
		}
		mu.Lock()
		many = 90
		mu.Unlock()
		settle(15 * time.Minute)
		if r.complete() || r.s.count() != 1 {
			t.Errorf("got complete %t, %d requests, while there is no room", r.complete(), r.s.count())
		}
		settle(10 * time.Minute)
		if got := r.s.request(1).URL.Query().Has("cursor"); got {
			t.Error("the stream was not begun from zero")
		}
		if !r.complete() || !r.refuses(numbered(90)) || r.s.count() != 2 {
			t.Errorf("got complete %t, refused %t, %d requests after the facts are old",
				r.complete(), r.refuses(numbered(90)), r.s.count())
		}
		if log := r.logged(t); strings.Count(log, "too large") != 1 {
			t.Errorf("got the log\n%s", log)
		}
	})
}

// P1: a fact stays for keep, which is only raised.
func TestFactsStayForKeep(t *testing.T) {
	inBubble(t, func(w *wire) {
		w.send(strings.Replace(helloFrame, "1200", "600", 1))
		w.n++
		w.send(`event: facts` + "\n" + `data: {"n":1,"keep":900,` + sessionsOf(numbered(1)) + "}\n\n")
		w.n++
		w.send(`event: facts` + "\n" + `data: {"n":2,"keep":700,` + sessionsOf(numbered(1)) + "}\n\n")
		w.beat(1)
	}, nil, func(t *testing.T, r *rig) {
		settle(900 * time.Second)
		if !r.refuses(numbered(1)) {
			t.Error("a fact was dropped before 900 s")
		}
		settle(3 * time.Minute)
		if r.refuses(numbered(1)) {
			t.Error("a fact is still there three minutes after 900 s")
		}
	})
}

// Bind waits for new facts, and not for each frame.
func TestChangedIsClosedByNewFacts(t *testing.T) {
	inBubble(t, func(w *wire) {
		w.send(helloFrame)
		for step := range w.steps {
			if step == "fresh" {
				w.fresh(1)
			} else {
				w.facts(step)
			}
		}
	}, nil, func(t *testing.T, r *rig) {
		one := sessionsOf(numbered(1))
		for _, tc := range []struct {
			step string
			want bool
		}{
			{"fresh", false}, {one, true}, {one, false}, {`"m":[[null,null,3,null]]`, true},
			{`"m":[[null,null,2,null]]`, false}, {`"m":[[null,null,4,null]]`, true}, {`"k":["k"]`, true}, {`"k":["k"]`, false},
		} {
			changed := r.changed()
			r.s.steps <- tc.step
			settle(time.Millisecond)
			select {
			case <-changed:
				if !tc.want {
					t.Errorf("%s: changed was closed", tc.step)
				}
			default:
				if tc.want {
					t.Errorf("%s: changed was not closed", tc.step)
				}
			}
		}
		close(r.s.steps)
	})
}

// A start from zero after a storm: a hundred frames of a thousand sessions, and a network that cuts them anywhere.
func TestAHundredThousandFacts(t *testing.T) {
	inBubble(t, func(w *wire) {
		w.send(helloFrame)
		for i := range 100 {
			ids := make([][16]byte, 1000)
			for k := range ids {
				ids[k] = numbered(uint64(i*1000 + k + 1))
			}
			w.n++
			frame := fmt.Sprintf("event: facts\ndata: {\"n\":%d,\"keep\":1200,%s}\n\n", w.n, sessionsOf(ids...))
			for part := range slices.Chunk([]byte(frame), 1+i*37) {
				w.send(string(part))
			}
		}
		w.beat(9)
	}, nil, func(t *testing.T, r *rig) {
		settle(time.Second)
		if got := r.facts.count.Load(); !r.complete() || got != 100_000 {
			t.Fatalf("got complete %t, %d facts", r.complete(), got)
		}
		for i := range uint64(100_000) {
			if !r.refuses(numbered(i + 1)) {
				t.Fatalf("session %d is not refused", i+1)
			}
		}
	})
}

// proofSigner makes the key set of a rig have one key, and returns a function that signs with it.
func (r *rig) proofSigner(t *testing.T) func(header, payload string) string {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	r.keys.current.Store(&keys{byID: map[string]*key{"k": {eddsa, public}}, asOf: time.Now(), age: time.Hour})
	return func(header, payload string) string {
		signed := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." +
			base64.RawURLEncoding.EncodeToString([]byte(payload))
		return signed + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(private, []byte(signed)))
	}
}

// With RequireProof only a signed claim, made for this connection, makes the view complete.
func TestAProofIsRequired(t *testing.T) {
	const header = `{"alg":"EdDSA","kid":"k","typ":"rvp+jwt"}`
	claims := func(issuer, nonce, cursor string, e int64) string {
		return fmt.Sprintf(`{"iss":%q,"nonce":%q,"cursor":%q,"e":%d,"iat":1,"jti":"x"}`, issuer, nonce, cursor, e)
	}
	for _, tc := range []struct {
		name  string
		proof func(sign func(string, string) string, nonce string, e int64) string
		want  bool
	}{
		{"valid", func(sign func(string, string) string, nonce string, e int64) string {
			return sign(header, claims(testIssuer, nonce, "10", e))
		}, true},
		{"none", nil, false},
		{"of an access token's type", func(sign func(string, string) string, nonce string, e int64) string {
			return sign(strings.Replace(header, "rvp+jwt", "at+jwt", 1), claims(testIssuer, nonce, "10", e))
		}, false},
		{"of another key", func(sign func(string, string) string, nonce string, e int64) string {
			return sign(strings.Replace(header, `"kid":"k"`, `"kid":"l"`, 1), claims(testIssuer, nonce, "10", e))
		}, false},
		{"damaged", func(sign func(string, string) string, nonce string, e int64) string {
			valid := sign(header, claims(testIssuer, nonce, "10", e))
			other := sign(header, claims(testIssuer, nonce, "9", e))
			return valid[:strings.LastIndex(valid, ".")] + other[strings.LastIndex(other, "."):]
		}, false},
		{"of another issuer", func(sign func(string, string) string, nonce string, e int64) string {
			return sign(header, claims(testIssuer+"x", nonce, "10", e))
		}, false},
		{"of another connection", func(sign func(string, string) string, nonce string, e int64) string {
			return sign(header, claims(testIssuer, "AAAAAAAAAAAAAAAAAAAAAA", "10", e))
		}, false},
		{"of a later cursor", func(sign func(string, string) string, nonce string, e int64) string {
			return sign(header, claims(testIssuer, nonce, "11", e))
		}, false},
		{"of a later instant", func(sign func(string, string) string, nonce string, e int64) string {
			return sign(header, claims(testIssuer, nonce, "10", e+1))
		}, false},
		{"older than 20 s", func(sign func(string, string) string, nonce string, e int64) string {
			return sign(header, claims(testIssuer, nonce, "10", e-20_001))
		}, false},
		{"without e", func(sign func(string, string) string, nonce string, e int64) string {
			return sign(header, fmt.Sprintf(`{"iss":%q,"nonce":%q,"cursor":"10"}`, testIssuer, nonce))
		}, false},
		{"unsigned", func(sign func(string, string) string, nonce string, e int64) string {
			return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","kid":"k","typ":"rvp+jwt"}`)) + "." +
				base64.RawURLEncoding.EncodeToString([]byte(claims(testIssuer, nonce, "10", e))) + ".AA"
		}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var sign func(string, string) string
			inBubble(t, func(w *wire) {
				<-w.steps
				w.arrived = time.Now()
				nonce := w.r.URL.Query().Get("nonce")
				w.send(helloFrame)
				w.fresh(10)
				if tc.proof != nil {
					w.n++
					e := time.Since(w.arrived).Milliseconds()
					w.send(fmt.Sprintf("event: proof\ndata: {\"n\":%d,\"jws\":%q}\n\n", w.n, tc.proof(sign, nonce, e)))
				}
				w.beat(10)
			}, func(c *Config) { c.RequireProof = true }, func(t *testing.T, r *rig) {
				sign = r.proofSigner(t)
				close(r.s.steps)
				settle(2 * time.Second)
				if got := r.complete(); got != tc.want {
					t.Errorf("got complete %t, want %t", got, tc.want)
				}
				if got := !r.state(time.Now()).LastProof.IsZero(); got != tc.want {
					t.Errorf("got a last proof %t, want %t", got, tc.want)
				}
				if !tc.want && r.cursor.Load() != noCursor {
					t.Error("the cursor has no proof")
				}
				first, second := r.s.request(0).URL.Query().Get("nonce"), ""
				settle(30 * time.Second)
				if r.s.count() > 1 {
					second = r.s.request(1).URL.Query().Get("nonce")
				}
				if len(first) < 22 || first == second || second == "" {
					t.Errorf("got the nonces %q and %q, want one for each connection", first, second)
				}
			})
		})
	}
}

// A proof every 10 s carries a stream; without one for 20 s the view is not renewed.
func TestAProofLasts20Seconds(t *testing.T) {
	var sign func(string, string) string
	inBubble(t, func(w *wire) {
		<-w.steps
		w.arrived = time.Now()
		w.send(helloFrame)
		for i := 0; w.ctx.Err() == nil; i++ {
			w.fresh(10)
			if i%20 == 0 && i <= 80 && w.number == 0 {
				w.n++
				jws := sign(`{"alg":"EdDSA","kid":"k","typ":"rvp+jwt"}`, fmt.Sprintf(`{"iss":%q,"nonce":%q,"cursor":"10","e":%d}`,
					testIssuer, w.r.URL.Query().Get("nonce"), time.Since(w.arrived).Milliseconds()))
				w.send(fmt.Sprintf("event: proof\ndata: {\"n\":%d,\"jws\":%q}\n\n", w.n, jws))
			}
			w.sleep(500 * time.Millisecond)
		}
	}, func(c *Config) { c.RequireProof = true }, func(t *testing.T, r *rig) {
		sign = r.proofSigner(t)
		close(r.s.steps)
		for range 59 {
			settle(time.Second)
			if got := r.age(t); got > time.Second {
				t.Fatalf("got the age %v while there are proofs", got)
			}
		}
		settle(time.Minute)
		if got := r.age(t); got < 55*time.Second {
			t.Errorf("got the age %v a minute after the last proof is 20 s old", got)
		}
	})
}

// After a network failure, HTTP/2 would send the next request on the old connection for minutes.
func TestAStreamHasAConnectionOfItsOwn(t *testing.T) {
	protocols := make(chan int, 10)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		protocols <- r.ProtoMajor
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, helloFrame+"event: fresh\nid: 10\ndata: {\"n\":1,\"e\":-1}\n\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	client := server.Client() // of HTTP/2
	used, err := client.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	_ = used.Body.Close()
	if got := <-protocols; got != 2 {
		t.Fatalf("got HTTP/%d with the server's own client, want 2", got)
	}
	c, err := Config{
		Issuer: testIssuer, Audience: "a", APIKey: testKey, FeedURL: server.URL + "/t/acme/revocations", Client: client,
	}.checked()
	if err != nil {
		t.Fatal(err)
	}
	f := newFeed(c, newKeySet(c))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.run(ctx)
	}()
	if got := <-protocols; got != 1 {
		t.Errorf("got HTTP/%d, want 1", got)
	}
	for {
		if _, ok := f.asOf(); ok {
			break
		}
		time.Sleep(time.Millisecond) // until the frame has arrived; without it the test is stuck
	}
	cancel()
	<-done
}

func TestTheTenantOfAURL(t *testing.T) {
	for address, want := range map[string]string{
		"https://id.example/t/acme/revocations":    "acme",
		"https://id.example/in/t/acme/revocations": "acme",
		"https://id.example/revocations":           "",
		"https://id.example/t/acme":                "",
		"https://id.example/t/a/b/revocations":     "",
	} {
		if got := tenantOf(address); got != want {
			t.Errorf("%s: got %q, want %q", address, got, want)
		}
	}
}
