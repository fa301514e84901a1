package web

import (
	"context"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/domain"
)

// The reasons for which a Guard refuses calls: the limits, each for its own key, and that too much is under way.
const (
	LimitClientAddress = "clientAddress"
	LimitAPIKey        = "apiKey"
	LimitRefreshToken  = "refreshToken"
	Overload           = "overload"
)

// Refusals are all these reasons.
var Refusals = []string{LimitClientAddress, LimitAPIKey, LimitRefreshToken, Overload}

const (
	// MaxInProgress is how many calls are worked on at once at most, and MinInProgress at least. The store writes 128 exchanges together;
	// with fewer it would have to be waited for. As many more have to wait for the next writes to be full, and the rest is the queue. What
	// comes on top is refused, before its body is read.
	MaxInProgress = 512
	MinInProgress = 128

	// SlowCall is when a call took so long that fewer are to be worked on at once: where the store is slow, 512 calls are a queue of
	// seconds. The bound falls by a quarter, at most once in this time, and rises by a quarter of one for each call that was faster.
	SlowCall = 100 * time.Millisecond

	// overloadRest is how long a connection on which a call was refused for overload is not read again. The client has its answer, and
	// was told to come back after a second. Without a rest whoever does not wait for that takes, in refusals at a third of what an
	// exchange costs, most of what the exchanges that are let in could do.
	overloadRest = 250 * time.Millisecond

	// A failed proof counts as so many calls.
	failedProof = 10

	// A bucket has to be kept until it is full again: at the limits that are set by default a hundredth of a second after a call of an
	// address, and a fifth of one after an exchange. What lives on the heap is taken five times (GOGC=400), so not more than is needed.
	addressesKept     = 1 << 14
	refreshTokensKept = 1 << 14
	apiKeysKept       = 1 << 12

	// logEvery is how often a refusal is logged at warning, for each reason. The others are logged at debug.
	logEvery = time.Second
)

// RateLimits are calls a second, and ten times as many at once; 0 for no limit.
type RateLimits struct {
	Address      int // of a client address, of calls without an API key that is known to be good
	APIKey       int // of an API key
	RefreshToken int // exchanges of a refresh token
}

// A Guard refuses calls that come too often, and calls that come while too many are under way, before they cost anything.
//
// Each call pays in one bucket. One with an API key that has been good before pays in the key's, before the key is looked up. All others
// pay in that of their client address: a failed proof ten times. A call with a key that is not known yet pays in a bucket of its
// address for such calls alone, and gets back what it paid if the key is good. So neither guesses nor neighbours behind the same
// address shut out a backend that is at work, nor what its own users send through it, and nobody guesses faster than an address is
// allowed to. An exchange pays in the bucket of its refresh token besides, once its token string is known to be genuine, and gets it
// back if it lacked another proof: nobody can use up another one's with forgeries, nor with a copy that is worth nothing.
//
// A client of IPv6 is known by the first half of its address, for it has all of the other half to itself.
type Guard struct {
	addresses, offers, apiKeys, tokens *Limiter // offers: of an address, the API keys that are not known to be good
	trusts                             func(netip.Addr) bool
	refused                            func(reason string)
	log                                map[string]*sparing // by reason
	clock                              func() time.Time
	inProgress                         atomic.Int64
	bound                              atomic.Int64 // of inProgress, in quarters
	cutAt                              atomic.Int64 // when it last fell, in nanoseconds since 1970
}

// NewGuard is told the trusted proxies only for a hint in the log. refused, if set, is told of each refusal.
func NewGuard(l RateLimits, trusted []netip.Prefix, clock func() time.Time, refused func(reason string)) *Guard {
	g := &Guard{
		trusts: trustIn(trusted), refused: refused, log: map[string]*sparing{}, clock: clock,
		addresses: NewLimiter(l.Address, addressesKept, clock), offers: NewLimiter(l.Address, apiKeysKept, clock),
		apiKeys: NewLimiter(l.APIKey, apiKeysKept, clock), tokens: NewLimiter(l.RefreshToken, refreshTokensKept, clock),
	}
	g.bound.Store(4 * MaxInProgress)
	for _, reason := range Refusals {
		g.log[reason] = &sparing{}
	}
	return g
}

// Refused is a call that a Guard refused. Nothing was done.
type Refused struct {
	Reason string // one of Refusals
	// Wait is how long it takes until such a call is let through, if no other one comes before it.
	Wait time.Duration

	hint string // for the operator
	log  *sparing
}

func (e *Refused) Error() string {
	if e.Reason == Overload {
		return "too many calls are under way"
	}
	return "too many calls of one " + e.Reason
}

func (e *Refused) status() int {
	if e.Reason == Overload {
		return http.StatusServiceUnavailable
	}
	return http.StatusTooManyRequests
}

// seconds is Wait as Retry-After takes it.
func (e *Refused) seconds() int { return max(1, int((e.Wait+time.Second-1)/time.Second)) }

func (g *Guard) refuse(reason string, wait time.Duration) *Refused {
	if g.refused != nil {
		g.refused(reason)
	}
	return &Refused{Reason: reason, Wait: wait, log: g.log[reason]}
}

// InProgress is how many calls are worked on now.
func (g *Guard) InProgress() int { return int(g.inProgress.Load()) }

// Exchange counts an exchange of a refresh token whose token string is genuine. Those behind which an API key stands are counted apart.
// An error is a *Refused.
func (g *Guard) Exchange(id domain.ID, authenticated bool) error {
	if wait := g.tokens.Take(exchanger(id, authenticated), 1); wait > 0 {
		return g.refuse(LimitRefreshToken, wait)
	}
	return nil
}

// Unproved takes back what Exchange counted, for a call that lacked another proof.
func (g *Guard) Unproved(id domain.ID, authenticated bool) {
	g.tokens.Charge(exchanger(id, authenticated), -1)
}

func exchanger(id domain.ID, authenticated bool) string {
	if authenticated {
		return "ak_" + string(id[:])
	}
	return string(id[:])
}

// guarded keeps out of the way of routes in free, and of what is answered 405.
func (g *Guard) guarded(apiKey func(echo.Context) string, free []string) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			if isWrongMethod(c) || slices.Contains(free, c.Path()) {
				return next(c)
			}
			if err := g.admit(c, apiKey(c)); err != nil {
				return err
			}
			err := next(c)
			Note(c).payer.settle(err)
			return err
		}
	}
}

// payer is who pays for a call.
type payer struct {
	guard           *Guard
	address, apiKey string
	known           bool // the API key pays
	good            bool // it is good, as far as this call goes
	failed          bool // a proof failed though the status is not 401
}

// admit lets a call in, or returns a *Refused.
func (g *Guard) admit(c echo.Context, apiKey string) error {
	if 4*g.inProgress.Load() >= g.bound.Load() {
		return g.refuse(Overload, 0)
	}
	p := payer{guard: g, address: network(c.RealIP()), apiKey: apiKey, known: apiKey != "" && g.apiKeys.Knows(apiKey)}
	Note(c).payer = p
	if p.known {
		if wait := g.apiKeys.Take(apiKey, 1); wait > 0 {
			return g.refuse(LimitAPIKey, wait)
		}
	} else if wait := p.bucket().Take(p.address, 1); wait > 0 {
		refused := g.refuse(LimitClientAddress, wait)
		refused.hint = g.hint(c.Request())
		return refused
	}
	return nil
}

// bucket is where the address pays.
func (p *payer) bucket() *Limiter {
	if p.apiKey != "" {
		return p.guard.offers
	}
	return p.guard.addresses
}

// begin takes a place among the calls in progress, once nothing has to come from the client any more: a slow one keeps nobody out.
func (g *Guard) begin() (begun time.Time, err error) {
	if 4*g.inProgress.Add(1) > g.bound.Load() {
		g.inProgress.Add(-1)
		return begun, g.refuse(Overload, 0)
	}
	return g.clock(), nil
}

// end gives the place back, and moves the bound by how long the call took.
func (g *Guard) end(begun time.Time) {
	g.inProgress.Add(-1)
	now, bound := g.clock(), g.bound.Load()
	if now.Sub(begun) <= SlowCall {
		if bound < 4*MaxInProgress {
			g.bound.CompareAndSwap(bound, bound+1)
		}
		return
	}
	cut := g.cutAt.Load()
	if since := time.Duration(now.UnixNano() - cut); (since < 0 || since >= SlowCall) && g.cutAt.CompareAndSwap(cut, now.UnixNano()) {
		g.bound.Store(max(4*MinInProgress, bound-bound/4))
	}
}

// settle charges for a proof that failed. Where a good API key stands behind the call it has paid: what a user of the backend presents is
// no guess of the backend's, and a permission that the key lacks is a mistake.
func (p *payer) settle(err error) {
	if p.good || !p.failed && (err == nil || Status(err) != http.StatusUnauthorized) {
		return
	}
	paid := 1
	if p.known {
		p.guard.apiKeys.Forget(p.apiKey)
		paid = 0
	}
	p.bucket().Charge(p.address, failedProof-paid)
}

// Authenticated tells that the call's API key is good. From then on the key pays.
func (r *Record) Authenticated() {
	p := &r.payer
	if p.guard == nil || p.apiKey == "" {
		return
	}
	p.good = true
	if p.known {
		return
	}
	p.known = true
	p.guard.apiKeys.Charge(p.apiKey, 1)
	p.guard.offers.Charge(p.address, -1)
}

// FailedProof tells that what the call offered as a proof is none, where its status will not be 401.
func (r *Record) FailedProof() { r.payer.failed = true }

// hint says what most likely gives all clients one address.
func (g *Guard) hint(req *http.Request) string {
	peer, ok := parseAddr(req.RemoteAddr)
	if !ok || g.trusts(peer) || req.Header.Get(echo.HeaderXForwardedFor) == "" {
		return ""
	}
	return "the peer sent X-Forwarded-For and is not believed: if it is a balancer of yours, name it in REFRESHD_TRUSTED_PROXIES, " +
		"or all clients behind it are one"
}

// rest sends the answer, and keeps its connection from being read for a while.
//
// Behind a proxy the next call on the connection is somebody else's, so a trusted one's is not kept.
func rest(ctx context.Context, res *echo.Response) {
	if http.NewResponseController(res.Writer).Flush() != nil {
		return
	}
	pause := time.NewTimer(overloadRest)
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-ctx.Done(): // the client is gone
	}
}

// nat64 is the prefix under which IPv4 clients reach a host that has IPv6 only (RFC 6052, section 2.1).
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

// network is what a client address is known by: of IPv6 its first 64 bits.
func network(address string) string {
	addr, err := netip.ParseAddr(address)
	if err != nil {
		return address
	}
	b := addr.AsSlice()
	if nat64.Contains(addr) {
		b = b[12:]
	}
	return string(b[:min(len(b), 8)])
}

// sparing keeps a flood of refusals from becoming a flood of log lines.
type sparing struct {
	mu       sync.Mutex
	loggedAt time.Time
	leftOut  int
}

// loud tells whether this one is to be logged at warning, and how many have not been since the last that was. A nil s spares nothing.
func (s *sparing) loud(now time.Time) (loud bool, leftOut int) {
	if s == nil {
		return true, 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if since := now.Sub(s.loggedAt); since >= 0 && since < logEvery {
		s.leftOut++
		return false, 0
	}
	s.loggedAt, leftOut, s.leftOut = now, s.leftOut, 0
	return true, leftOut
}
