package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync"
	"syscall"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/test/support/rig"
)

const apiKey = "ak_soaking_soaking_soaking_soaking"

const (
	callTimeout = 10 * time.Second
	// A request is repeated until it gets a response, at least so often and for so long: a service restarts much faster.
	// Both count, because on a machine without free memory one request may take minutes.
	patience = time.Minute
	attempts = 50
	// clocks is by how much a time of a service may lie outside of the call: the service rounds to microseconds.
	clocks = time.Millisecond
)

// client sends the requests of users and backends, and is the balancer: a request without a response goes to the other
// service.
type client struct {
	http      *http.Client
	addresses []string
	tally     *tally
}

func newClient(addresses []string, connections int, t *tally) *client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost, transport.MaxIdleConns, transport.DisableCompression = connections, 0, true
	return &client{http: &http.Client{Transport: transport, Timeout: callTimeout}, addresses: addresses, tally: t}
}

// request is a request that may be repeated.
type request struct {
	kind         string // its name in the report
	method, path string
	body         string
	tenant       string // of a backend's request; empty for a device, which has no API key
}

// reply is the response to a request.
type reply struct {
	status  int
	outcome string
	body    []byte
	call    span          // from the first attempt until the response
	took    time.Duration // of the attempt that got the response
	calls   int           // number of attempts
}

func (r reply) String() string {
	return fmt.Sprintf("%d %s %.300s (sent %d times)", r.status, r.outcome, redact(r.body), r.calls)
}

// redact removes what may be a secret, because faults are printed.
func redact(body []byte) []byte {
	if bytes.Contains(body, []byte(`"refreshToken":"`)) {
		return []byte("(a grant)")
	}
	return body
}

// send sends r until the response is not a 503. It returns an error if there is none.
func (c *client) send(ctx context.Context, r request) (reply, error) {
	begin := time.Now()
	for at, calls := rand.IntN(len(c.addresses)), 1; ; at, calls = (at+1)%len(c.addresses), calls+1 {
		sent := time.Now()
		got, err := c.once(ctx, c.addresses[at], r)
		if err == nil && got.status != http.StatusServiceUnavailable {
			now := time.Now()
			got.call, got.took, got.calls = span{begin.Add(-clocks), now.Add(clocks)}, now.Sub(sent), calls
			c.tally.answered(r.kind, got)
			return got, nil
		}
		c.tally.failed(got.status, err)
		if ctx.Err() != nil {
			return reply{}, ctx.Err()
		}
		if calls >= attempts && time.Since(begin) > patience {
			return reply{}, fmt.Errorf("%s %s got no response in %s, sent %d times: status %d, %w", r.method, r.kind,
				time.Since(begin), calls, got.status, err)
		}
		if calls >= len(c.addresses) {
			_ = rig.Sleep(ctx, rand.N(20*time.Millisecond))
		}
	}
}

// lose sends r once and waits for the response only for a moment, so that the request or the response may be lost.
func (c *client) lose(ctx context.Context, r request) {
	ctx, cancel := context.WithTimeout(ctx, rand.N(3*time.Millisecond))
	defer cancel()
	_, err := c.once(ctx, c.addresses[rand.IntN(len(c.addresses))], r)
	c.tally.lost(err != nil)
}

func (c *client) once(ctx context.Context, address string, r request) (reply, error) {
	asked := rig.Request{Method: r.method, Path: r.path, Body: r.body, Tenant: r.tenant}
	if r.tenant != "" {
		asked.Key = apiKey
	}
	got, err := asked.Do(ctx, c.http, address)
	return reply{status: got.Status, outcome: got.Header.Get("Refreshd-Outcome"), body: got.Body}, err
}

// grant is the data of a response to an issue or an exchange.
type grant struct {
	TokenString string `json:"refreshToken"`
	ID          string `json:"refreshTokenId"`
	AccessToken string `json:"token"`
}

func (r reply) grant() (g grant, generation uint32, err error) {
	if err := r.data(&g); err != nil {
		return g, 0, err
	}
	presented, ok := domain.ParseTokenString(g.TokenString)
	if !ok || g.AccessToken == "" {
		return g, 0, errors.New("the response has no token string or no access token")
	}
	return g, presented.Generation, nil
}

// record is a refresh token as the API returns it.
type record struct {
	ID            string `json:"id"`
	ApplicationID string `json:"applicationsId"`
	UserID        string `json:"userId"`
	Generation    uint32 `json:"generation"`
}

func (r reply) data(to any) error {
	return json.Unmarshal(r.body, &struct{ Data any }{to})
}

func exchangeOf(kind, tokenString string) request {
	return request{kind: kind, method: http.MethodPost, path: "/jwt/refresh",
		body: `{"refreshToken":"` + tokenString + `"}`}
}

func issueOf(s scope, id string) request {
	return request{kind: "issue", method: http.MethodPost, path: "/jwt/issue", tenant: s.tenant, body: fmt.Sprintf(
		`{"applicationsId":%q,"userId":%q,"refreshTokenId":%q,"roles":["buyer"],"scopes":["read","write"],`+
			`"metaData":{"device":{"name":"Phone","type":"MOBILE"}}}`,
		s.application, s.user, id)}
}

// query returns the path of a list or a revocation, with its selector.
func query(s scope, more ...string) string {
	q := url.Values{}
	if s.user != "" {
		q.Set("userId", s.user)
	}
	if s.application != "" {
		q.Set("applicationsId", s.application)
	}
	if s.user == "" && s.application == "" {
		q.Set("allInTenant", "true")
	}
	for i := 0; i+1 < len(more); i += 2 {
		q.Set(more[i], more[i+1])
	}
	return "/jwt/refresh?" + q.Encode()
}

func revokeOf(kind string, s scope, more ...string) request {
	return request{kind: kind, method: http.MethodDelete, path: query(s, more...), tenant: s.tenant}
}

// tally counts requests and their results.
type tally struct {
	mu        sync.Mutex
	calls     map[string]int  // by kind
	outcomes  map[string]int  // of exchanges
	failures  map[string]int  // of the network, by kind; each request was repeated
	exchanges []time.Duration // since the last window
	all       int             // since then
	lostCalls int
}

func newTally() *tally {
	return &tally{calls: map[string]int{}, outcomes: map[string]int{}, failures: map[string]int{}}
}

func (t *tally) answered(kind string, r reply) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.calls[kind]++
	t.all++
	if r.outcome != "" {
		t.outcomes[r.outcome]++
	}
	if kind == exchangeKind {
		t.exchanges = append(t.exchanges, r.took)
	}
}

func (t *tally) failed(status int, err error) {
	kind := fmt.Sprint("status ", status)
	switch {
	case err == nil:
	case errors.Is(err, context.Canceled):
		return // cancelled by this program
	case errors.Is(err, syscall.ECONNREFUSED):
		kind = "connection refused"
	case errors.Is(err, context.DeadlineExceeded):
		kind = "timed out"
	default:
		kind = "cut off"
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failures[kind]++
}

func (t *tally) lost(really bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if really {
		t.lostCalls++
	}
}

// window returns the counts since its last call.
func (t *tally) window() (all int, exchanges []time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	all, exchanges = t.all, t.exchanges
	t.all, t.exchanges = 0, make([]time.Duration, 0, len(exchanges))
	return all, exchanges
}
