package verify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Introspection configures what a [Verifier] does while its view is stale: it asks the service about each token (RFC
// 7662), instead of refusing all of them. Only a token with a valid signature is asked about, so a forged one costs no
// request.
//
// An answer counts as a view of the token's revocations as of the instant at which its request was sent. It is used
// again for as long as MaxAge, or the age of [Verifier.Require], allows; an answer that the token is not active, until
// the token expires. For a token there is at most one request at a time, whose answer all of its callers share, and a
// second passes after one that failed. A token that no answer says anything about is treated as without Introspection:
// see [OnStale].
//
// The load that an interruption of the stream causes at the service is one request per active token and MaxAge, or age
// of Require, from each process of the API, and at most Rate requests a second. Above Rate or Concurrent, requests of
// the API are refused with [ErrStale] and do not wait.
//
// A token is not active from its exp on, by the service's clock: there is no leeway.
type Introspection struct {
	// URL is the address of the introspection endpoint; Issuer + "/oauth2/introspect" if it is empty.
	URL string
	// APIKey is a key of refreshd with the permission POST on /oauth2/introspect. It is sent to URL only. Either APIKey
	// or Authorize is required.
	APIKey string `json:"-"`
	// Authorize adds other credentials to a request, in its header, such as those of a client by SetBasicAuth. A client
	// has to be the application Audience: another one would be told that the tokens are not active. Authorize is called
	// concurrently, and must not block.
	Authorize func(*http.Request) `json:"-"`
	// Timeout is how long a request of the API waits for an answer; 2 s if it is zero, at most 10 s.
	Timeout time.Duration
	// Concurrent bounds the requests at a time; 32 if it is zero.
	Concurrent int
	// Rate bounds the requests in a second, on average; 100 if it is zero. As many may be sent in one moment.
	Rate int
}

// Format implements [fmt.Formatter]: it leaves the API key out, whatever the verb.
func (c Introspection) Format(s fmt.State, verb rune) {
	type plain Introspection
	if c.APIKey != "" {
		c.APIKey = redacted
	}
	fmt.Fprintf(s, fmt.FormatString(s, verb), plain(c))
}

// LogValue implements [slog.LogValuer].
func (c Introspection) LogValue() slog.Value { return slog.StringValue(fmt.Sprintf("%+v", c)) }

// Limits and defaults of an [Introspection].
const (
	defaultTimeout    = 2 * time.Second
	maxTimeout        = 10 * time.Second
	defaultConcurrent = 32
	defaultRate       = 100

	maxAnswer    = 64 << 10    // bytes; a token has 16 KiB at most, and an answer repeats what it says
	failurePause = time.Second // until a token is asked about again
	quietLog     = time.Minute // between two lines of the log of one kind
	knownAnswers = 16 << 10    // of each generation: about 4 MB in all
)

// checked returns c with its defaults, for a tenant's issuer.
func (c Introspection) checked(issuer string) (Introspection, error) {
	wrong := func(field, format string, args ...any) (Introspection, error) {
		return Introspection{}, fmt.Errorf("verify: Config.Introspection."+field+": "+format, args...)
	}
	if c.URL == "" {
		c.URL = strings.TrimSuffix(issuer, "/") + "/oauth2/introspect"
	}
	if err := checkURL(c.URL); err != nil {
		return wrong("URL", "%w: set the URL of the tenant's introspection endpoint, or leave it empty", err)
	}
	switch {
	case c.APIKey != "" && c.Authorize != nil:
		return wrong("APIKey", "set together with Authorize: set one of them")
	case c.Authorize == nil && !isAPIKey(c.APIKey):
		return wrong("APIKey", "not an API key of refreshd: set one (ak_…) with the permission POST on /oauth2/introspect, "+
			"or Authorize")
	}
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	if c.Timeout < 0 || c.Timeout > maxTimeout {
		return wrong("Timeout", "%v: set at most %v, because a request of the API waits that long", c.Timeout, maxTimeout)
	}
	if c.Concurrent == 0 {
		c.Concurrent = defaultConcurrent
	}
	if c.Concurrent < 0 {
		return wrong("Concurrent", "%d: set a positive number, or 0 for %d", c.Concurrent, defaultConcurrent)
	}
	if c.Rate == 0 {
		c.Rate = defaultRate
	}
	if c.Rate < 0 {
		return wrong("Rate", "%d: set a positive number, or 0 for %d", c.Rate, defaultRate)
	}
	return c, nil
}

// introspector asks the service about tokens. One goroutine starts the requests; callers wait for them at most.
type introspector struct {
	config  Introspection // checked
	client  *http.Client
	own     *http.Transport // of client; nil if it is of another type
	log     *slog.Logger
	metrics Metrics
	start   chan *flight
	ended   chan struct{} // closed when no request is started any more

	mu      sync.Mutex
	answers answers
	flights map[[32]byte]*flight // by digest of the token
	next    time.Time            // see admits
	last    time.Time            // when the last request was sent that was answered
	used    time.Time            // when the last request was sent
	warned  time.Time            // when a failure was logged
	failing bool                 // a failure was logged, and no answer since
}

func newIntrospector(c Config) *introspector {
	i := &introspector{
		config: *c.Introspection, log: c.Log, metrics: c.Metrics,
		start: make(chan *flight), ended: make(chan struct{}), flights: map[[32]byte]*flight{},
	}
	// With HTTP/1.1 a request that timed out ends its connection, and the next one does not wait for the same.
	i.client, i.own = streamClient(c.Client)
	if i.own != nil {
		i.own.MaxIdleConnsPerHost = i.config.Concurrent
	}
	return i
}

// flight is a request for one token.
type flight struct {
	of    *Token
	token string
	done  chan struct{} // closed when answer and err are set
	answer
	err error
}

// answer is what the service said of a token.
type answer struct {
	active bool
	sent   time.Time // the moment before the request was sent
}

// serves reports whether the answer may be used at now, where a view may be maxAge old. A token that is not active
// stays so.
func (a answer) serves(now time.Time, maxAge time.Duration) bool {
	return !a.active || elapsed(a.sent, now) <= maxAge
}

// Reasons for which nothing is known of a token.
var (
	errFailedBefore = errors.New("a request for this token has just failed")
	errConcurrent   = errors.New("as many requests as Concurrent allows are in progress")
	errRate         = errors.New("as many requests as Rate allows were sent")
	errSlowAnswer   = errors.New("the answer came when it was too old")
	errClosed       = errors.New("the Verifier is closed")
)

// run starts the requests, until ctx is done. It returns when all have ended.
func (i *introspector) run(ctx context.Context) {
	var flights sync.WaitGroup
	for {
		select {
		case f := <-i.start:
			flights.Go(func() {
				a, err := i.request(ctx, f)
				i.finish(f, a, err)
			})
		case <-ctx.Done():
			close(i.ended)
			flights.Wait()
			if i.own != nil {
				i.own.CloseIdleConnections()
			}
			return
		}
	}
}

// ask returns what the service says of t, whose text is token, as of an instant that is at most maxAge ago. When ctx is
// done, it does not wait any longer; the request continues for others.
func (i *introspector) ask(ctx context.Context, t *Token, token string, maxAge time.Duration) (answer, error) {
	if ctx.Err() != nil {
		return answer{}, context.Cause(ctx)
	}
	i.mu.Lock()
	now := time.Now()
	known := i.answers.find(t.digest)
	if known.answered && known.serves(now, maxAge) {
		i.mu.Unlock()
		return known.answer, nil
	}
	f := i.flights[t.digest]
	if f == nil {
		err := errFailedBefore
		if known.failed.IsZero() || elapsed(known.failed, now) >= failurePause {
			err = i.admits(now)
		}
		if err != nil {
			i.mu.Unlock()
			return answer{}, err
		}
		f = &flight{of: t.copy(), token: token, done: make(chan struct{})}
		i.flights[t.digest] = f
		i.mu.Unlock()
		select {
		case i.start <- f:
		case <-i.ended:
			i.finish(f, answer{}, errClosed)
		}
	} else {
		i.mu.Unlock()
	}
	select {
	case <-f.done:
	case <-ctx.Done():
		return answer{}, context.Cause(ctx)
	}
	switch {
	case f.err != nil:
		return answer{}, f.err
	case !f.serves(time.Now(), maxAge):
		return answer{}, errSlowAnswer
	}
	return f.answer, nil
}

// admits returns nil if a request may be sent at now, and counts it. It needs the lock.
func (i *introspector) admits(now time.Time) error {
	if len(i.flights) >= i.config.Concurrent {
		return errConcurrent
	}
	// next is when the next request is due that keeps to the rate exactly. One may be sent if that is not ahead, and no
	// more than a second's requests have been saved up.
	interval := time.Second / time.Duration(i.config.Rate)
	if idle := now.Add(interval - time.Second); i.next.Before(idle) {
		i.next = idle
	}
	if i.next.After(now) {
		return errRate
	}
	i.next = i.next.Add(interval)
	return nil
}

// finish makes the result of f known.
func (i *introspector) finish(f *flight, a answer, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	f.answer, f.err = a, err
	known := i.answers.find(f.of.digest)
	if err == nil {
		known.answer, known.answered, known.failed = a, true, time.Time{}
	} else {
		known.failed = time.Now()
	}
	i.answers.put(f.of.digest, known)
	delete(i.flights, f.of.digest)
	close(f.done)
}

// request makes one request.
func (i *introspector) request(ctx context.Context, f *flight) (answer, error) {
	limited, cancel := context.WithTimeout(ctx, i.config.Timeout)
	defer cancel()
	sent := time.Now()
	i.begins(sent)
	active, err := i.exchange(limited, f)
	switch {
	case err == nil:
		i.answered(sent)
	case ctx.Err() != nil:
		return answer{}, errClosed
	default:
		i.failed(err)
	}
	i.metrics.Introspected(err)
	return answer{active, sent}, err
}

// exchange sends the request, and reads the response.
func (i *introspector) exchange(ctx context.Context, f *flight) (active bool, err error) {
	form := url.Values{"token": {f.token}, "token_type_hint": {"access_token"}}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, i.config.URL, strings.NewReader(form.Encode()))
	if err != nil {
		return false, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Accept", "application/json")
	if i.config.Authorize != nil {
		i.config.Authorize(r)
	} else {
		r.Header.Set("Authorization", "Bearer "+i.config.APIKey)
	}
	response, err := i.client.Do(r)
	if err != nil {
		return false, err
	}
	defer func() { _ = response.Body.Close() }()
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusUnauthorized, http.StatusForbidden:
		return false, fmt.Errorf("status %d: the API key needs the permission POST on /oauth2/introspect of this tenant, "+
			"and a client its secret", response.StatusCode)
	case http.StatusNotFound:
		return false, errors.New("status 404: there is no introspection at this URL: set Introspection.URL")
	default:
		return false, errors.New("status " + strconv.Itoa(response.StatusCode))
	}
	if got, _, err := mime.ParseMediaType(response.Header.Get("Content-Type")); err != nil || got != "application/json" {
		return false, errors.New("the response is no application/json")
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return false, err
	}
	if len(body) > maxAnswer {
		return false, fmt.Errorf("a response of more than %d bytes", maxAnswer)
	}
	return parseAnswer(body, f.of)
}

// parseAnswer reads a response of RFC 7662, section 2.2, about t. One that says that a token is active has to name t:
// what answers for another token, or for every one, answers for none.
func parseAnswer(body []byte, t *Token) (active bool, err error) {
	var said bool
	var iss, sub, sid, tid string
	err = members(body, func(name string, value []byte) (err error) {
		switch name {
		case "active":
			switch said = true; string(value) {
			case "true":
				active = true
			case "false":
			default:
				err = errors.New("not a boolean")
			}
		case "iss":
			iss, err = text1(value)
		case "sub":
			sub, err = text1(value)
		case "sid":
			sid, err = text1(value)
		case "tid":
			tid, err = text1(value)
		}
		if err != nil {
			return errors.New("the response is not understood: " + name + ": wrong type or value")
		}
		return nil
	})
	switch {
	case err != nil:
		return false, err
	case !said:
		return false, errors.New("the response is not understood: no member active")
	case active && (iss != t.Issuer || sub != t.Subject || sid != t.SessionID || tid != t.TenantID):
		return false, errors.New("the response is about another token: its iss, sub, sid or tid is not the token's")
	}
	return active, nil
}

// begins logs the first request after a while.
func (i *introspector) begins(sent time.Time) {
	i.mu.Lock()
	first := i.used.IsZero() || sent.Sub(i.used) >= quietLog
	i.used = sent
	i.mu.Unlock()
	if first {
		i.log.Warn("the view of revocations is stale: the service is asked about access tokens one by one",
			slog.String("url", i.config.URL))
	}
}

// failed logs the first failure of a run, and no more than one in a while.
func (i *introspector) failed(err error) {
	i.mu.Lock()
	now := time.Now()
	first := !i.failing && (i.warned.IsZero() || now.Sub(i.warned) >= quietLog)
	if first {
		i.failing, i.warned = true, now
	}
	i.mu.Unlock()
	if first {
		i.log.Warn("the service cannot be asked about access tokens: they are treated as without Introspection",
			slog.String("url", i.config.URL), slog.String("error", fmt.Sprintf("%.300s", err.Error())))
	}
}

// answered logs the end of a run of failures.
func (i *introspector) answered(sent time.Time) {
	i.mu.Lock()
	ended := i.failing
	i.failing, i.last = false, sent
	i.mu.Unlock()
	if ended {
		i.log.Info("the service answers about access tokens again", slog.String("url", i.config.URL))
	}
}

// lastAnswer returns when the last request was sent that was answered.
func (i *introspector) lastAnswer() time.Time {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.last
}

// answers are what is known of tokens, by digest. It is bounded as [cache] is: what it loses is asked for again.
type answers struct{ young, old map[[32]byte]known }

// known is what is known of a token. An answer and a later failure stand side by side: the failure is no reason to
// forget the answer, which may be new enough for another route.
type known struct {
	answer
	answered bool
	failed   time.Time // when the last request failed; zero if it did not
}

func (a *answers) find(digest [32]byte) known {
	if k, ok := a.young[digest]; ok {
		return k
	}
	k, ok := a.old[digest]
	if ok {
		a.put(digest, k)
	}
	return k
}

func (a *answers) put(digest [32]byte, k known) {
	if a.young == nil || len(a.young) >= knownAnswers {
		a.young, a.old = map[[32]byte]known{}, a.young
	}
	a.young[digest] = k
}
