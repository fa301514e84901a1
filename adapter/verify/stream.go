package verify

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	mathrand "math/rand/v2"
	"mime"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// silence ends a stream that has no facts and no fresh frame with a later e: there is one every 500 ms. What a proxy
	// inserts does not prolong it, and neither does a replica whose reads hang. A proxy that keeps a response until it is
	// complete, or full, shows the same before the first frame.
	silence = 3 * time.Second

	// A stream that was fresh for healthyAfter has ended a run of failures.
	healthyAfter           = 5 * time.Second
	firstDelay, lastDelay  = 100 * time.Millisecond, 3 * time.Second
	refusedDelay           = 10 * time.Second // after a refusal that only somebody can mend
	longestDelay           = 30 * time.Second // whatever the service asks for
	minPollDelay           = 200 * time.Millisecond
	minPollWait            = time.Second
	maxPollWait            = 25 * time.Second
	firstRetry, lastRetry  = time.Minute, 10 * time.Minute // of a stream, instead of long polls
	expireEvery, saveEvery = time.Minute, 30 * time.Second
	maxProofAge            = 20 * time.Second

	// maxFrame bounds a frame: a thousand marks, with ids of 255 bytes that are all escaped, are below it.
	maxFrame = 4 << 20
	// maxName bounds an id of an application, a user or a key: the service has at most 255 bytes.
	maxName = 1 << 10

	// keyFacts bounds how far back the stream is taken to name the signing keys that were ended, if keep is longer: a
	// tenant whose access tokens are valid for longer since a moment ago has no older ones.
	keyFacts = 20 * time.Minute

	// clockStep is by how much the two clocks of this machine may differ in the length of a stream. Beyond that one of
	// them was set, or the machine slept: a new stream starts with new readings of both.
	clockStep = time.Second
)

// drift bounds what a quartz clock gains or loses in d: 200 ppm.
func drift(d time.Duration) time.Duration { return max(d, 0) / 5000 }

// instant is a moment by both clocks of this machine, as the time since the feed was made. The monotonic clock stands
// still while the machine sleeps or a virtual machine is paused; the wall clock can be set.
type instant struct{ monotonic, wall time.Duration }

// since returns the time since another instant, by the clock that shows more.
func (i instant) since(other instant) time.Duration {
	return max(i.monotonic-other.monotonic, i.wall-other.wall)
}

func (i instant) add(d time.Duration) instant { return instant{i.monotonic + d, i.wall + d} }

// freshness is what a frame `fresh` says: the facts are complete as of e after the request of its stream arrived. That
// was after the request was sent, so they are complete as of sent + e by this machine's clocks, whatever the server's
// show: durations are added, instants of two machines are never compared.
type freshness struct {
	sent instant // the moment before the request was sent
	asOf instant
	e    time.Duration
}

// age is the age at now, with what the two machines' clocks may differ by.
func (f *freshness) age(now instant) time.Duration {
	return now.since(f.asOf) + drift(now.since(f.sent))
}

// feed keeps the facts by following the revocation stream. The methods that a decision uses take no lock.
type feed struct {
	config Config
	client *http.Client
	own    *http.Transport // of client; nil if it is of another type
	keys   *keySet
	facts  *table
	began  time.Time
	now    func() instant

	fresh     atomic.Pointer[freshness] // nil while the view is incomplete
	cursor    atomic.Int64              // of the facts in the table; noCursor if it may lack some of them
	strictest atomic.Int64              // the least age that somebody asks for
	lastProof atomic.Pointer[time.Time]
	tenant    atomic.Pointer[string] // empty until it is known
	saved     saved                  // by one goroutine after another

	// mu makes the stream and the expiry one writer of facts.
	mu   sync.Mutex
	keep time.Duration // only raised
	full bool          // a fact had no room: the view is incomplete until a stream has begun from zero
	news chan struct{} // closed when there are new facts
	room chan struct{} // receives when full is taken back
}

const noCursor = -1

func newFeed(c Config, keys *keySet) *feed {
	f := &feed{
		config: c, keys: keys, facts: newTable(c.MaxFacts), began: time.Now(),
		news: make(chan struct{}), room: make(chan struct{}, 1),
	}
	tenant := tenantOf(c.FeedURL)
	f.tenant.Store(&tenant)
	f.client, f.own = streamClient(c.Client)
	f.now = func() instant { return f.at(time.Now()) }
	f.cursor.Store(noCursor)
	f.strictest.Store(int64(c.MaxAge))
	return f
}

// streamClient returns a client that uses HTTP/1.1. A stream then has a connection of its own, which ends with it. With
// HTTP/2, requests after a network failure would be sent on the old connection for minutes. The transport is nil if it
// is one that cannot be changed.
func streamClient(c *http.Client) (*http.Client, *http.Transport) {
	client := *c
	if client.Transport == nil {
		client.Transport = http.DefaultTransport
	}
	transport, ok := client.Transport.(*http.Transport)
	if !ok {
		return &client, nil
	}
	transport = transport.Clone()
	transport.Protocols = new(http.Protocols)
	transport.Protocols.SetHTTP1(true)
	// A transport that was used with HTTP/2 has "h2" in here, and its clone would still offer it.
	if transport.TLSClientConfig == nil {
		transport.TLSClientConfig = &tls.Config{}
	}
	transport.TLSClientConfig.NextProtos = []string{"http/1.1"}
	transport.TLSNextProto = nil
	transport.ResponseHeaderTimeout = 0 // a long poll takes its time
	client.Transport = transport
	return &client, transport
}

// tenantOf returns the tenant that the path of a FeedURL names, empty if it names none.
func tenantOf(feedURL string) string {
	u, err := url.Parse(feedURL)
	if err != nil {
		return ""
	}
	before, _ := strings.CutSuffix(u.Path, "/revocations")
	_, tenant, found := strings.Cut(before, "/t/")
	if !found || before == u.Path || strings.Contains(tenant, "/") {
		return ""
	}
	return tenant
}

// at returns the instant of a time with a monotonic reading.
func (f *feed) at(t time.Time) instant {
	return instant{t.Sub(f.began), t.Round(0).Sub(f.began.Round(0))}
}

// revoked reports whether a fact covers s. For a decision, read asOf and age before: the facts may become newer in
// between, but not older.
func (f *feed) revoked(s *subject) bool { return f.facts.revoked(s) }

// asOf returns the instant as of which the facts are complete. ok is false if they are not: before the first fresh
// frame of this process, and while there are more than MaxFacts.
func (f *feed) asOf() (at time.Time, ok bool) {
	fresh := f.fresh.Load()
	if fresh == nil {
		return time.Time{}, false
	}
	return f.began.Add(fresh.asOf.monotonic - drift(fresh.e)), true
}

// age returns the age of the view at now, which has a monotonic reading.
func (f *feed) age(now time.Time) (time.Duration, bool) { return f.ageAt(f.at(now)) }

func (f *feed) ageAt(now instant) (time.Duration, bool) {
	fresh := f.fresh.Load()
	if fresh == nil {
		return 0, false
	}
	return max(fresh.age(now), 0), true
}

// changed returns a channel that is closed when there are new facts.
func (f *feed) changed() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.news
}

// need tells the feed of a route that wants a view of at most that age: it decides how long a long poll waits.
func (f *feed) need(maxAge time.Duration) {
	for old := f.strictest.Load(); int64(maxAge) < old; old = f.strictest.Load() {
		if f.strictest.CompareAndSwap(old, int64(maxAge)) {
			return
		}
	}
}

func (f *feed) state(now time.Time) State {
	s := State{Cursor: max(f.cursor.Load(), 0), Facts: int(f.facts.count.Load())}
	s.Age, s.Complete = f.age(now)
	s.AsOf, _ = f.asOf()
	if t := f.lastProof.Load(); t != nil {
		s.LastProof = *t
	}
	s.Tenant = *f.tenant.Load()
	return s
}

// run follows the stream until ctx is done.
func (f *feed) run(ctx context.Context) {
	f.load()
	var upkeep sync.WaitGroup
	upkeep.Go(func() { f.upkeep(ctx) })
	f.follow(ctx)
	upkeep.Wait()
	f.save()
	if f.own != nil {
		f.own.CloseIdleConnections()
	}
}

// upkeep drops old facts and saves the others.
func (f *feed) upkeep(ctx context.Context) {
	expire, save := time.NewTicker(expireEvery), time.NewTicker(saveEvery)
	defer expire.Stop()
	defer save.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-expire.C:
			f.expire()
		case <-save.C:
			f.save()
		}
	}
}

// minute returns the minute of now. Receipts count by the monotonic clock: where it stands still, facts stay longer.
func (f *feed) minute() minute { return minute(f.now().monotonic / time.Minute) }

func (f *feed) expire() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.keep == 0 {
		return
	}
	f.facts.expire(f.minute(), f.keep)
	// Much has to be free, because the stream sends everything again.
	if f.full && f.facts.count.Load() <= int64(f.facts.max-max(f.facts.max/16, 1)) {
		f.full = false
		select {
		case f.room <- struct{}{}:
		default:
		}
	}
}

// Errors of a connection.
var (
	errSilent   = errors.New("no frame with news came for 3 s")
	errNoFrame  = errors.New("no frame came within 3 s: a proxy may hold the response back")
	errClock    = errors.New("a clock of this machine was set, or the machine slept")
	errNoProof  = errors.New("no valid proof of freshness for 20 s")
	errProtocol = errors.New("unexpected frame")
)

func protocol(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{errProtocol}, args...)...)
}

// statusError is a response that is not a stream.
type statusError struct {
	status string
	code   int
	after  time.Duration // of Retry-After; 0 without one
}

func (e *statusError) Error() string {
	switch e.code {
	case http.StatusUnauthorized, http.StatusForbidden:
		return e.status + ": the API key needs the permission GET on /revocations of this tenant"
	case http.StatusNotFound: // refreshd has 401 for a tenant that it does not know
		return e.status + ": there is no revocation stream at this URL: set the tenant's issuer, or FeedURL"
	}
	return e.status
}

// lasts reports whether only somebody who changes something can end the refusal.
func (e *statusError) lasts() bool {
	return e.code < 500 && e.code != http.StatusTooManyRequests && e.code != http.StatusRequestTimeout
}

// byeError is the end that the service announced.
type byeError struct{ after time.Duration }

func (e *byeError) Error() string { return "the service ended the stream" }

// failures is a run of attempts none of which led to a stream that lasted.
type failures struct {
	count int
	since instant
	kind  string // of the last line of the log
}

// follow connects until ctx is done.
func (f *feed) follow(ctx context.Context) {
	var run failures
	polling, retry := false, firstRetry
	var streamAt time.Duration // when a stream is tried again, by the monotonic clock
	for ctx.Err() == nil {
		c := f.newConnection(polling)
		c.works = func(now instant) { run.ended(f.config.Log, now) }
		err := c.do(ctx)
		if ctx.Err() != nil {
			return
		}
		now := f.now()
		delay := time.Duration(0)
		if c.lasted(now, err) {
			run.ended(f.config.Log, now)
		}
		switch {
		case err == nil: // of a long poll
			delay = minPollDelay - now.since(c.sent)
			polling = now.monotonic < streamAt
		default:
			delay = run.delay(err)
			run.add(f.config.Log, f.config.FeedURL, err, now, c.complete)
			switch {
			case polling:
				polling = c.complete
			case errors.Is(err, errNoFrame):
				polling, streamAt = true, now.monotonic+retry
				retry = min(2*retry, lastRetry)
			case c.complete:
				retry = firstRetry
			}
		}
		var bye *byeError
		if errors.As(err, &bye) {
			delay = max(delay, f.shortened(bye.after))
		}
		if errors.Is(err, errFull) {
			select {
			case <-f.room:
			case <-ctx.Done():
			}
		}
		if delay > 0 {
			timer := time.NewTimer(delay)
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
			}
		}
	}
}

// shortened returns the time that the service asks for before the next attempt, but no more than leaves a view fresh
// enough for all.
func (f *feed) shortened(after time.Duration) time.Duration {
	return min(after, time.Duration(f.strictest.Load())/4, longestDelay)
}

// lasted reports whether a connection has shown that the service works.
func (c *connection) lasted(now instant, err error) bool {
	return c.complete && (err == nil || now.since(c.sent) >= healthyAfter)
}

// delay returns how long to wait after an error. It has full jitter, so that many clients do not return together.
func (r *failures) delay(err error) time.Duration {
	var status *statusError
	if errors.As(err, &status) {
		switch {
		case status.lasts():
			return refusedDelay*4/5 + mathrand.N(refusedDelay*2/5)
		case status.after > 0:
			after := min(status.after, longestDelay)
			return after + mathrand.N(after/4+time.Millisecond)
		}
	}
	return mathrand.N(min(firstDelay<<min(r.count, 10), lastDelay))
}

// add counts a failure. It logs the first of a run, and one of another kind. The end of a stream that was complete is
// none: proxies end connections.
func (r *failures) add(log *slog.Logger, address string, err error, now instant, complete bool) {
	kind, level := "interrupted", slog.LevelWarn
	var status *statusError
	switch {
	case errors.As(err, &status) && status.lasts():
		kind, level = "refused", slog.LevelError
	case errors.Is(err, errProtocol), errors.Is(err, errNoProof):
		kind, level = "not understood", slog.LevelError
	case errors.Is(err, errFull):
		kind, level = "too large", slog.LevelError
	case complete && r.count == 0:
		r.count, r.since = 1, now
		return
	}
	if r.count++; r.count == 1 {
		r.since = now
	}
	if r.kind != kind {
		r.kind = kind
		log.Log(context.Background(), level, "the revocation stream is "+kind, slog.String("url", address),
			slog.String("error", fmt.Sprintf("%.300s", err.Error()))) // it may quote a frame
	}
}

// ended logs the end of a run.
func (r *failures) ended(log *slog.Logger, now instant) {
	if r.kind != "" {
		log.Info("the revocation stream works again", slog.Int("failures", r.count),
			slog.Duration("after", now.since(r.since)))
	}
	*r = failures{}
}

// connection is one request, for a stream or a long poll.
type connection struct {
	f        *feed
	polling  bool
	sent     instant
	sentAt   time.Time
	nonce    string
	greeted  bool
	n        int64 // of the last frame that is numbered
	last     *claim
	proven   time.Duration // e of the last valid proof
	hasProof bool
	complete bool          // the view was complete as of this connection
	works    func(instant) // is called when the connection has lasted, which may be long before it ends; may be nil
	news     bool          // the last frame had facts, or its e was later

	// For the timer that ends a silence.
	frames  atomic.Int64
	dialing atomic.Bool // the request has not been sent yet
}

// claim is a frame `fresh`.
type claim struct {
	cursor int64
	e      time.Duration
}

func (f *feed) newConnection(polling bool) *connection {
	c := &connection{f: f, polling: polling}
	if f.config.RequireProof {
		c.nonce = rand.Text()
	}
	return c
}

// do sends the request and applies the frames of the response. The error is nil only if a long poll is complete.
func (c *connection) do(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	wait := time.Duration(0)
	query := url.Values{}
	if c.polling {
		wait = min(max(time.Duration(c.f.strictest.Load())/4, minPollWait), maxPollWait)
		query.Set("wait", strconv.Itoa(int(wait/time.Second)))
	}
	if cursor := c.f.cursor.Load(); cursor != noCursor {
		query.Set("cursor", strconv.FormatInt(cursor, 10))
	}
	if c.nonce != "" {
		query.Set("nonce", c.nonce)
	}
	address := c.f.config.FeedURL
	if len(query) > 0 {
		address += "?" + query.Encode()
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	mediaType := "text/event-stream"
	if c.polling {
		mediaType = "application/json"
	}
	r.Header.Set("Accept", mediaType)
	r.Header.Set("Accept-Encoding", "identity") // what is compressed is often held back
	r.Header.Set("Authorization", "Bearer "+c.f.config.APIKey)

	watch := time.AfterFunc(silence+wait, func() {
		if c.frames.Load() == 0 && !c.dialing.Load() {
			cancel(errNoFrame)
		} else {
			cancel(errSilent)
		}
	})
	defer watch.Stop()
	dialing := func() {
		c.dialing.Store(true)
		watch.Reset(silence)
	}
	r = r.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		DNSStart:     func(httptrace.DNSStartInfo) { dialing() },
		ConnectStart: func(string, string) { dialing() },
		WroteRequest: func(httptrace.WroteRequestInfo) {
			c.dialing.Store(false)
			watch.Reset(silence + wait)
		},
	}))
	c.sent, c.sentAt = c.f.now(), time.Now()
	response, err := c.f.client.Do(r)
	if err != nil {
		return cause(ctx, err)
	}
	defer func() { _ = response.Body.Close() }()
	watch.Reset(silence + wait)
	if err := checkResponse(response, mediaType); err != nil {
		return err
	}
	next := streamFrames(response.Body)
	if c.polling {
		next = arrayFrames(response.Body)
	}
	for since := time.Now(); ; {
		frame, err := next()
		switch {
		case errors.Is(err, io.EOF) && c.complete && c.polling:
			return nil
		case errors.Is(err, io.EOF) && c.last != nil && c.polling:
			return errNoProof
		case errors.Is(err, io.EOF):
			return cause(ctx, io.ErrUnexpectedEOF)
		case err != nil:
			return cause(ctx, err)
		}
		watch.Stop() // what takes long here is not the stream's
		c.frames.Add(1)
		c.news = false
		began := time.Now()
		if err := c.apply(ctx, frame); err != nil {
			return cause(ctx, err)
		}
		if since = since.Add(time.Since(began)); c.news {
			since = time.Now()
		}
		watch.Reset(silence - time.Since(since))
		if now := c.f.now(); c.works != nil && c.lasted(now, io.EOF) {
			c.works(now)
			c.works = nil
		}
	}
}

// cause returns why ctx ended, if it did: the error of the transport says only that it has.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// checkResponse returns an error unless the response is 200 with that type.
func checkResponse(r *http.Response, mediaType string) error {
	if r.StatusCode != http.StatusOK {
		e := &statusError{status: r.Status, code: r.StatusCode}
		if e.status == "" {
			e.status = strconv.Itoa(r.StatusCode)
		}
		if seconds, err := strconv.Atoi(r.Header.Get("Retry-After")); err == nil && seconds > 0 {
			e.after = min(time.Duration(min(seconds, 3600))*time.Second, longestDelay)
		}
		return e
	}
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return &statusError{code: r.StatusCode, status: "the response is compressed, which a proxy must not do"}
	}
	got, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || got != mediaType {
		return &statusError{code: r.StatusCode, status: fmt.Sprintf("the response is no %s", mediaType)}
	}
	return nil
}

// frame is an event of a stream, or an element of the array of a long poll.
type frame struct {
	Event string          `json:"event"`
	ID    string          `json:"id"`
	Data  json.RawMessage `json:"data"`
}

// streamFrames returns a function that returns the events of a stream (WHATWG HTML, section 9.2.6) one by one.
func streamFrames(body io.Reader) func() (frame, error) {
	r := bufio.NewReaderSize(body, 32<<10)
	afterCR, first := false, true
	var line []byte
	// A line ends with CR, LF or CRLF. It is returned at a CR: the LF may not have been sent yet.
	readLine := func(budget int) error {
		line = line[:0]
		for {
			b, err := r.ReadByte()
			switch {
			case err != nil:
				return err
			case b == '\n' && afterCR:
				afterCR = false
				continue
			case b == '\n' || b == '\r':
				afterCR = b == '\r'
				return nil
			case len(line) >= budget:
				return protocol("above %d bytes", maxFrame)
			}
			afterCR = false
			line = append(line, b)
		}
	}
	return func() (frame, error) {
		var f frame
		var data []byte
		hasData := false
		for {
			if err := readLine(maxFrame - len(data)); err != nil {
				return frame{}, err // also in the middle of an event: it is incomplete
			}
			if first {
				line, first = bytes.TrimPrefix(line, []byte("\ufeff")), false
			}
			if len(line) == 0 {
				if hasData {
					f.Data = data
					return f, nil
				}
				f = frame{}
				continue
			}
			name, value, _ := bytes.Cut(line, []byte(":"))
			value = bytes.TrimPrefix(value, []byte(" "))
			switch string(name) {
			case "event":
				f.Event = string(value)
			case "id":
				f.ID = string(value)
			case "data":
				if hasData {
					data = append(data, '\n')
				}
				data, hasData = append(data, value...), true
			}
		}
	}
}

// arrayFrames returns a function that returns the elements of the array of a long poll one by one.
func arrayFrames(body io.Reader) func() (frame, error) {
	limited := &io.LimitedReader{R: body, N: maxFrame}
	decoder := json.NewDecoder(limited)
	begun := false
	ended := func(err error) error {
		switch {
		case limited.N <= 0:
			return protocol("above %d bytes", maxFrame)
		case errors.Is(err, io.EOF):
			return io.ErrUnexpectedEOF
		}
		return err
	}
	return func() (f frame, err error) {
		limited.N = maxFrame // for each: what is read ahead only makes it less
		if !begun {
			if token, err := decoder.Token(); err != nil {
				return frame{}, ended(err)
			} else if token != json.Delim('[') {
				return frame{}, protocol("no array")
			}
			begun = true
		}
		if !decoder.More() {
			if _, err := decoder.Token(); err != nil {
				return frame{}, ended(err)
			}
			return frame{}, io.EOF
		}
		if err := decoder.Decode(&f); err != nil {
			return frame{}, ended(err)
		}
		return f, nil
	}
}

// data of frames. Members and events that are not listed are ignored: a new kind of fact needs another v.
type (
	helloData struct {
		V      int    `json:"v"`
		Tenant string `json:"tenant"`
		Keep   int64  `json:"keep"`
	}
	factsData struct {
		N        int64                `json:"n"`
		Keep     int64                `json:"keep"`
		Sessions []string             `json:"s"`
		Marks    [][4]json.RawMessage `json:"m"`
		Keys     []string             `json:"k"`
	}
	freshData struct {
		N int64  `json:"n"`
		E *int64 `json:"e"` // milliseconds
	}
	proofData struct {
		N   int64  `json:"n"`
		JWS string `json:"jws"`
	}
	byeData struct {
		After int64 `json:"after"` // milliseconds
	}
)

func (c *connection) apply(ctx context.Context, f frame) error {
	var hello helloData
	var facts factsData
	var fresh freshData
	var proof proofData
	var bye byeData
	into := map[string]any{"hello": &hello, "facts": &facts, "fresh": &fresh, "proof": &proof, "bye": &bye}[f.Event]
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(f.Data, into); err != nil {
		return protocol("%s: %v", f.Event, err)
	}
	if !c.greeted && f.Event != "hello" && f.Event != "bye" {
		return protocol("%s before hello", f.Event)
	}
	switch f.Event {
	case "hello":
		return c.hello(hello)
	case "facts":
		if err := c.number(facts.N); err != nil {
			return err
		}
		c.news = true
		return c.f.add(facts)
	case "fresh":
		if err := c.number(fresh.N); err != nil {
			return err
		}
		return c.fresh(f.ID, fresh)
	case "proof":
		if err := c.number(proof.N); err != nil {
			return err
		}
		return c.proof(ctx, proof.JWS)
	default:
		return &byeError{time.Duration(min(max(bye.After, 0), 1<<30)) * time.Millisecond}
	}
}

// number checks that no numbered frame is missing.
func (c *connection) number(n int64) error {
	if n != c.n+1 {
		return protocol("number %d after %d: a frame is missing", n, c.n)
	}
	c.n = n
	return nil
}

func (c *connection) hello(h helloData) error {
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	switch {
	case c.greeted:
		return protocol("a second hello")
	case h.V != 1:
		return protocol("version %d of the stream, and this package reads version 1", h.V)
	case h.Tenant == "":
		return protocol("hello without a tenant")
	case *c.f.tenant.Load() != "" && h.Tenant != *c.f.tenant.Load():
		return protocol("the stream of the tenant %q, not of %q", h.Tenant, *c.f.tenant.Load())
	}
	c.f.tenant.Store(&h.Tenant)
	c.greeted, c.news = true, true
	if err := c.f.raiseKeep(h.Keep); err != nil {
		return err
	}
	c.bridge(time.Duration(h.Keep) * time.Second)
	return nil
}

// bridge makes sure that no signing key is used which was ended unnoticed. The stream names a key for keep after its
// end. After a longer interruption, and at the start, only a key set that was read since may show the end of a key.
// Half of keep is left for the age of the set itself, which a cache may have returned.
func (c *connection) bridge(keep time.Duration) {
	covered := min(keep, keyFacts) / 2
	if old := c.f.fresh.Load(); old == nil || c.sent.since(old.asOf) > covered {
		c.f.keys.require(c.sentAt.Add(-covered))
	}
}

// raiseKeep needs the lock. A fact that was dropped under a lower keep is of no use: a session that had ended by then
// has no token of a longer lifetime that was set later.
func (f *feed) raiseKeep(seconds int64) error {
	if seconds <= 0 || seconds > int64(maximumKeep/time.Second) {
		return protocol("keep of %d s", seconds)
	}
	f.keep = max(f.keep, time.Duration(seconds)*time.Second)
	return nil
}

// add adds facts.
func (f *feed) add(d factsData) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.raiseKeep(d.Keep); err != nil {
		return err
	}
	at, news := f.minute(), false
	added := func(is bool, err error) error {
		news = news || is
		return err
	}
	err := func() error {
		ids := make([][16]byte, len(d.Sessions))
		for i, text := range d.Sessions {
			id, err := decodeID(text)
			if err != nil {
				return err
			}
			ids[i] = id
		}
		f.facts.sessions.Load().touch(ids)
		for _, id := range ids {
			if err := added(f.facts.addSession(id, at)); err != nil {
				return err
			}
		}
		for _, data := range d.Marks {
			m, err := decodeMark(data)
			if err != nil {
				return err
			}
			m.at = at
			if err := added(f.facts.addMark(m)); err != nil {
				return err
			}
		}
		for _, kid := range d.Keys {
			if len(kid) > maxName {
				return protocol("facts: a key id of %d bytes", len(kid))
			}
			if err := added(f.facts.addKey(kid, at)); err != nil {
				return err
			}
		}
		return nil
	}()
	if errors.Is(err, errFull) {
		f.full = true
		f.fresh.Store(nil)
		f.cursor.Store(noCursor)
	}
	if news {
		close(f.news)
		f.news = make(chan struct{})
	}
	return err
}

func decodeID(text string) (id [16]byte, err error) {
	b, ok := decode(text)
	if !ok || len(b) != len(id) || !isID([16]byte(b)) {
		return id, protocol("facts: an id is malformed")
	}
	return [16]byte(b), nil
}

// decodeMark reads [application|null, user|null, epoch, exception|null].
func decodeMark(data [4]json.RawMessage) (m mark, err error) {
	var except string
	for i, into := range []any{&m.application, &m.user, &m.epoch, &except} {
		if data[i] == nil {
			return mark{}, protocol("facts: a mark has %d elements", i)
		}
		if err := json.Unmarshal(data[i], into); err != nil {
			return mark{}, protocol("facts: %v", err)
		}
	}
	if len(m.application) > maxName || len(m.user) > maxName {
		return mark{}, protocol("facts: an id of %d bytes", max(len(m.application), len(m.user)))
	}
	if m.epoch == 0 {
		return mark{}, protocol("facts: a mark has no epoch")
	}
	if except != "" {
		m.except, err = decodeID(except)
	}
	return m, err
}

// fresh takes note of a frame `fresh`. With RequireProof, a signed proof must have claimed as much at most 20 s before.
func (c *connection) fresh(id string, d freshData) error {
	cursor, err := strconv.ParseInt(id, 10, 64)
	if err != nil || cursor < 0 {
		return protocol("fresh: the id %q is no cursor", id)
	}
	if d.E == nil || *d.E < math.MinInt32 || *d.E > math.MaxInt32 {
		return protocol("fresh: no e")
	}
	e := time.Duration(*d.E) * time.Millisecond
	c.news = c.last == nil || e > c.last.e
	c.last = &claim{cursor, e}
	now := c.f.now()
	if step := (now.wall - c.sent.wall) - (now.monotonic - c.sent.monotonic); step > clockStep || step < -clockStep {
		return errClock
	}
	// There are no facts of what has yet to happen.
	if elapsed := now.since(c.sent); c.last.e > elapsed+3*drift(elapsed)+10*time.Millisecond {
		return protocol("fresh: e is %v, %v after the request", c.last.e, elapsed)
	}
	if !c.f.config.RequireProof {
		c.publish()
		return nil
	}
	if c.hasProof && c.last.e-c.proven <= maxProofAge {
		c.publish()
		return nil
	}
	if c.hasProof || now.since(c.sent) > maxProofAge {
		return errNoProof
	}
	return nil // its proof follows
}

// publish makes the last claim the state of the feed. The facts are in the table. The view of another connection may be
// complete as of a later instant, and stays: facts are never withdrawn.
func (c *connection) publish() {
	f, now := c.f, c.f.now()
	fresh := &freshness{sent: c.sent, asOf: c.sent.add(c.last.e), e: c.last.e}
	fresh.asOf.monotonic = min(fresh.asOf.monotonic, now.monotonic)
	fresh.asOf.wall = min(fresh.asOf.wall, now.wall)
	f.cursor.Store(c.last.cursor)
	c.complete = true
	if old := f.fresh.Load(); old != nil && old.asOf.monotonic >= fresh.asOf.monotonic {
		return
	}
	f.fresh.Store(fresh)
	f.config.Metrics.Viewed(max(fresh.age(now), 0), int(f.facts.count.Load()))
}

// proof checks a signed claim. With the nonce of this connection it cannot be one that was kept from another
// connection. Its times are durations since the request, like those of `fresh`; iat is not read, because it is of the
// server's clock.
func (c *connection) proof(ctx context.Context, jws string) error {
	if c.nonce == "" {
		return nil // it was not asked for
	}
	parsed, err := parse(jws, []string{"rvp+jwt"})
	if err != nil {
		return fmt.Errorf("%w: %w", errNoProof, err)
	}
	if err := c.f.keys.verify(ctx, parsed); err != nil {
		return fmt.Errorf("%w: %w", errNoProof, err)
	}
	if c.f.facts.ended(parsed.header.kid) {
		return fmt.Errorf("%w: signed with a key that was ended", errNoProof)
	}
	var claims struct {
		Issuer string `json:"iss"`
		Nonce  string `json:"nonce"`
		Cursor string `json:"cursor"`
		E      *int64 `json:"e"`
	}
	if err := json.Unmarshal(parsed.payload, &claims); err != nil {
		return fmt.Errorf("%w: %w", errNoProof, err)
	}
	cursor, err := strconv.ParseInt(claims.Cursor, 10, 64)
	switch {
	case claims.Issuer != c.f.config.Issuer:
		return fmt.Errorf("%w: of another issuer", errNoProof)
	case claims.Nonce != c.nonce:
		return fmt.Errorf("%w: of another nonce", errNoProof)
	case c.last == nil || err != nil || cursor > c.last.cursor || claims.E == nil ||
		*claims.E > int64(c.last.e/time.Millisecond):
		return fmt.Errorf("%w: it claims more than the stream", errNoProof)
	}
	proven := time.Duration(max(*claims.E, math.MinInt32)) * time.Millisecond
	if c.hasProof && proven < c.proven {
		return nil // an older one
	}
	c.proven, c.hasProof = proven, true
	if c.last.e-c.proven > maxProofAge {
		return errNoProof
	}
	now := time.Now()
	c.f.lastProof.Store(&now)
	c.publish()
	return nil
}
