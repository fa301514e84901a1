package web

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/domain"
)

// The reasons for which a Guard refuses requests: the limits, each for its own key, and that too many are in
// progress.
const (
	LimitClientAddress = "clientAddress"
	LimitAPIKey        = "apiKey"
	LimitRefreshToken  = "refreshToken"
	Overload           = "overload"
)

// Refusals are all these reasons.
var Refusals = []string{LimitClientAddress, LimitAPIKey, LimitRefreshToken, Overload}

const (
	// overloadRest is how long a connection on which a request was refused for overload is not read again. The client
	// has its answer, and was told to come back after a second. Without a rest a client that does not wait for that
	// takes, in refusals at a third of what an exchange costs, most of what the exchanges that are let in could do.
	overloadRest = 250 * time.Millisecond

	// A failed proof counts as so many requests.
	failedProof = 10

	// genuineFactor is how many times the limit of an address it has for genuine token strings, once its ordinary
	// budget is used up.
	genuineFactor = 10

	// maxProof is how long, in bytes, the body or the cookies of an exchange may be whose address cannot pay: more
	// than any genuine exchange's, with an old access token.
	maxProof = 12 << 10

	// A bucket has to be kept until it is full again: at the limits that are set by default a hundredth of a second
	// after a request of an address, and a fifth of one after an exchange. What lives on the heap is taken five times
	// (GOGC=400), so not more than is needed.
	addressesKept     = 1 << 14
	genuineKept       = 1 << 12
	refreshTokensKept = 1 << 14
	apiKeysKept       = 1 << 12

	// logEvery is how often a refusal is logged at warning, for each reason. The others are logged at debug.
	logEvery = time.Second
)

// RateLimits are requests a second, with a burst of ten times as many; 0 for no limit.
type RateLimits struct {
	Address      int // of a client address, of requests without an API key that is known to be good
	APIKey       int // of an API key
	RefreshToken int // exchanges of a refresh token

	// Running is how many requests of one caller, other than exchanges, run concurrently; 0 for 8. Right are
	// half of the connections to the store, so that one caller leaves the other half, and no more than two a
	// processor, of which one computes while the other waits for the store.
	Running int
}

// A budget is what a client address has for one kind of requests. What uses up one takes nothing from the others.
type budget byte

const (
	ordinaryBudget budget = iota // requests without an API key, 404 and 405
	offersBudget                 // requests with an API key that is not known to be good
	publicBudget                 // public documents, which verifiers need
	healthBudget                 // health and readiness, which orchestrators need
)

// A Guard refuses requests that come too often, and requests that come while too many are in progress, before they
// cost anything.
//
// Each request is charged to one bucket. One with an API key that has been good before is charged to the key's,
// before the key is looked up. All others are charged to their client address: a failed proof ten times. An address
// has a budget for each of these kinds of requests: ordinary ones, which 404 and 405 are too; those with an API key
// that is not known yet, which get back what they paid if the key is good; public documents, such as key sets; and
// health. So neither guesses nor neighbours behind the same address shut out a backend that is at work, what its own
// users send through it, a verifier or an orchestrator, and nobody guesses faster than an address is allowed to. A
// flood of requests for health itself does make an orchestrator behind the same address see 429: where strangers
// share its address, it has to ask the listener for operators.
//
// Guesses never shut out a genuine token string. An exchange whose address has used up its ordinary budget still has
// its body read, if that is short and complete in its length, and the MAC of its token string verified. That costs
// processor time only, little more than the refusal itself (for a Cookie header full of forgeries, some times as
// much), so it needs no bound of its own, and any bound for each address would be one that guesses can use up. If the
// MAC holds, the exchange goes on, and is charged to a third bucket of its address, which only genuine token strings
// are charged to: ten times the limit. If not, it is refused as if it had not been looked at. Until the MAC holds
// such a request holds no place among those in progress. A token string that was worth nothing, because it is an old
// one say, or the request named another tenant, goes this way as often as a refresh token may be exchanged, and no
// more: the budget is not for one copy that is sent again and again. An exchange that offers an API key as well is
// one of the requests with an API key, below.
//
// Only what is malformed or has a wrong MAC is a failed proof. A genuine token string is no guess, whatever became of
// its session, nor is an access token that has expired: it costs one request.
//
// Guesses never shut out a good API key either, though after a restart no key is known to be good. Where the budget
// for unknown keys is used up, a key is looked up all the same if its slot is free: keys are hashed, with a seed of
// the process, to a table of slots, each of which allows one look-up a second. The table bounds the look-ups, and a
// guess cannot aim at the slot of another key: where g guesses a second come, a good key is looked up in about one of
// g/512 attempts. From then on it is known.
//
// An exchange has to fit into the bucket of its refresh token besides, once its token string is known to be genuine.
// Only exchanges that were answered with tokens, or whose refresh token has ended, are charged to it: nobody can use
// up another one's with forgeries, nor with a copy that is worth nothing. (To charge first and give back lost: copies
// that are in progress would use it up meanwhile.)
//
// A client of IPv6 is known by the first half of its address, for it has all of the other half to itself.
type Guard struct {
	addresses, offers, public, health, genuine *Limiter // by address
	apiKeys, tokens                            *Limiter
	worthless                                  *Limiter // by token string and address
	unknownKeys                                slots
	places                                     *places
	trusts                                     func(netip.Addr) bool
	refused                                    func(reason string)
	log                                        map[string]*sparing // by reason
	clock                                      func() time.Time
}

// NewGuard takes the trusted proxies only for a hint in the log. It calls refused, if that is set, for each refusal.
func NewGuard(l RateLimits, trusted []netip.Prefix, clock func() time.Time, refused func(reason string)) *Guard {
	g := &Guard{
		trusts: trustIn(trusted), refused: refused, log: map[string]*sparing{}, clock: clock,
		places:    newPlaces(l.Running, clock),
		addresses: NewLimiter(l.Address, addressesKept, clock), offers: NewLimiter(l.Address, apiKeysKept, clock),
		public: NewLimiter(l.Address, addressesKept, clock), health: NewLimiter(l.Address, apiKeysKept, clock),
		genuine: NewLimiter(genuineFactor*l.Address, genuineKept, clock), unknownKeys: newSlots(clock),
		apiKeys: NewLimiter(l.APIKey, apiKeysKept, clock), tokens: NewLimiter(l.RefreshToken, refreshTokensKept, clock),
		worthless: NewLimiter(l.RefreshToken, apiKeysKept, clock),
	}
	for _, reason := range Refusals {
		g.log[reason] = &sparing{}
	}
	return g
}

// Refused is a request that a Guard refused. Nothing was done.
type Refused struct {
	Reason string // one of Refusals
	// Wait is how long it takes until such a request is let through, if no other one comes before it.
	Wait time.Duration

	hint string // for the operator
	log  *sparing
}

func (e *Refused) Error() string {
	switch e.Reason {
	case LimitClientAddress:
		return "too many requests from one client address"
	case LimitAPIKey:
		return "too many requests with one API key"
	case LimitRefreshToken:
		return "too many exchanges of one refresh token"
	default:
		return "too many requests are in progress"
	}
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

// InProgress is how many requests are worked on now.
func (g *Guard) InProgress() int { return int(g.places.running.Load()) }

// exchanger is the key of a refresh token's bucket. Exchanges with an API key are counted separately.
func exchanger(id domain.ID, authenticated bool) string {
	if authenticated {
		return "ak_" + string(id[:])
	}
	return string(id[:])
}

// Kind is what a Guard has to know of a route.
type Kind byte

const (
	Work      Kind = iota
	Exchange       // POST, and DELETE without Authorization, present a token string, unless the handler calls Turn
	Public         // what is public and short, and asks the store: a key set, which verifiers need
	Document       // a public document of the program's own, in the budget of Public
	preflight      // what CORS answers
	Health         // health and readiness, which orchestrators need
	unmatched      // 404 and 405
)

func (o Options) kind(c echo.Context) Kind {
	if c.Path() == "" || isWrongMethod(c) {
		return unmatched
	}
	k := o.Kinds[c.Path()]
	if k != Exchange {
		return k
	}
	switch req := c.Request(); {
	case req.Method == http.MethodPost:
	case req.Method == http.MethodDelete && req.Header.Get(echo.HeaderAuthorization) == "": // a logout by cookie
	default:
		return Work
	}
	return k
}

// inPlace reports whether such requests need a place among those in progress. The others wait for nothing, or for
// what they share: above all for their clients, since a document is longer than a client that does not read takes.
func (k Kind) inPlace() bool { return k <= Public }

// guarded refuses what o.Guard refuses. It stands before 404 and 405. Where a request was let in only to present
// something genuine, its handler must not write an answer before Record.Genuine, Proved, Unread or FailedProof.
func (o Options) guarded(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		k := o.kind(c)
		apiKey := ""
		if k == Work || k == Exchange {
			apiKey = o.APIKey(c)
		}
		if err := o.Guard.admit(c, k, apiKey); err != nil {
			return err
		}
		err := next(c)
		p := &Note(c).payer
		if p.mustProve == 0 || p.genuine {
			p.settle(c, err)
			return err
		}
		if refused := (*Refused)(nil); errors.As(err, &refused) {
			return err
		}
		return p.refuse()
	}
}

// preflights charges what cors answers.
func (o Options) preflights(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if c.Request().Method == http.MethodOptions && c.Path() != "" {
			if err := o.Guard.admit(c, preflight, ""); err != nil {
				return err
			}
		}
		return next(c)
	}
}

// payer is what a request is charged to.
type payer struct {
	guard           *Guard
	kind            Kind
	req             *http.Request
	address, apiKey string
	known           bool // the API key is charged
	paid            int  // by the address
	good            bool // the API key is good, as far as this request goes
	genuine         bool // what it presented is genuine
	failed          bool // a proof failed though the status is not 401
	// mustProve is set where the address could not pay, and the request is let in only if it presents a genuine token
	// string: how long the address has to wait.
	mustProve time.Duration

	token         domain.ID // whose bucket it is charged to
	generation    uint32    // of the token string
	authenticated bool
	presented     []string      // copies that were admitted before this one
	asking        bool          // the store is asked about the token
	caller        uint64        // among those who have a place
	begun         time.Duration // since the places' start
	placed        bool          // it has a place
	turned        bool          // and a turn
	// client ends when the client leaves, and ctx besides when the handler's time is over.
	client, ctx context.Context
}

// admit lets a request in, or returns a *Refused.
func (g *Guard) admit(c echo.Context, k Kind, apiKey string) error {
	p := &Note(c).payer
	*p = payer{
		guard: g, kind: k, req: c.Request(), address: network(c.RealIP()), apiKey: apiKey,
		known: apiKey != "" && g.apiKeys.Knows(apiKey),
	}
	if k.inPlace() {
		if p.known {
			p.caller = g.places.caller(apiKey)
		} else {
			p.caller = g.places.caller(p.address) + uint64(p.budget()) // for a caller each
		}
		if g.places.full(p.caller, k != Exchange) {
			return g.refuse(Overload, 0)
		}
	}
	if p.known {
		if wait := g.apiKeys.Take(apiKey, 1); wait > 0 {
			return g.refuse(LimitAPIKey, wait)
		}
		return nil
	}
	switch wait := p.bucket().Take(p.address, 1); {
	case wait == 0:
		p.paid = 1
	case apiKey != "" && g.unknownKeys.take(apiKey):
	case apiKey == "" && k == Exchange && mayProve(p.req):
		p.mustProve = wait
	default:
		return p.tooMany(wait)
	}
	return nil
}

// mayProve reports whether a request can present a token string in so few bytes that they can be looked at for
// nothing.
func mayProve(req *http.Request) bool {
	cookies := 0
	for _, line := range req.Header[echo.HeaderCookie] {
		cookies += len(line)
	}
	body := req.ContentLength // -1 if it is not known
	return 0 <= body && body <= maxProof && cookies <= maxProof && body+int64(cookies) > 0
}

func (p *payer) budget() budget {
	switch {
	case p.kind == Public, p.kind == Document, p.kind == preflight:
		return publicBudget
	case p.kind == Health:
		return healthBudget
	case p.apiKey != "":
		return offersBudget
	default:
		return ordinaryBudget
	}
}

// bucket is where the address pays.
func (p *payer) bucket() *Limiter {
	switch g := p.guard; p.budget() {
	case offersBudget:
		return g.offers
	case publicBudget:
		return g.public
	case healthBudget:
		return g.health
	default:
		return g.addresses
	}
}

// tooMany is the refusal of a request whose address cannot pay.
func (p *payer) tooMany(wait time.Duration) error {
	refused := p.guard.refuse(LimitClientAddress, wait)
	refused.hint = p.guard.hint(p.req)
	return refused
}

// refuse is the refusal of a request that had to present something genuine, and did not.
func (p *payer) refuse() error { return p.tooMany(p.mustProve) }

// begin takes a place among the requests in progress, once nothing has to come from the client any more: a slow one
// keeps nobody out. What needs a turn waits for it until client or ctx has ended.
func (p *payer) begin(client, ctx context.Context) error {
	p.client, p.ctx = client, ctx
	switch {
	case !p.kind.inPlace() || p.mustProve > 0:
		return nil
	case p.kind == Exchange:
		return p.enter()
	default:
		return p.turn()
	}
}

func (p *payer) enter() error {
	if !p.guard.places.enter(p.caller) {
		return p.guard.refuse(Overload, 0)
	}
	p.placed, p.begun = true, p.guard.places.now()
	return nil
}

func (p *payer) turn() error {
	if !p.guard.places.enterTurn(p.caller, p.client, p.ctx) {
		if p.client.Err() != nil { // no refusal: the client has left
			return fmt.Errorf("wait for a turn: %w", p.client.Err())
		}
		return p.guard.refuse(Overload, 0)
	}
	p.placed, p.turned = true, true
	return nil
}

// end gives back what begin took. An exchange that asked the store moves the bound by how long it took.
func (p *payer) end() {
	switch places := p.guard.places; {
	case !p.placed:
	case p.turned:
		places.leaveTurn(p.caller)
	default:
		places.leave(p.caller)
		if p.asking {
			places.learn(p.begun)
		}
	}
	p.placed, p.turned, p.asking = false, false, false
}

// settle charges for a proof that failed. Where the request has a good API key it has paid: what a user of the backend
// presents is no guess of the backend's, and a permission that the key lacks is a mistake.
func (p *payer) settle(c echo.Context, err error) {
	offered := c.Request().Header.Get(echo.HeaderAuthorization) != ""
	failed := p.failed || offered && err != nil && Status(err) == http.StatusUnauthorized
	if p.good || p.genuine || !failed {
		return
	}
	if p.known {
		p.guard.apiKeys.Forget(p.apiKey)
	}
	p.bucket().Charge(p.address, failedProof-p.paid)
}

// Authenticated says that the request's API key is good. From then on the key pays.
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
	if p.paid > 0 {
		p.guard.offers.Charge(p.address, -p.paid)
	}
}

// Proved says that what the request presented is genuine, though it may be refused.
func (r *Record) Proved() { r.payer.genuine = true }

// Unread is Proved for token strings that are genuine and of which none is looked up. Such a request costs what any
// other with a genuine one does; that it is worth nothing is known beforehand. An error is a *Refused.
func (r *Record) Unread() error {
	p, g := &r.payer, r.payer.guard
	if g != nil && p.mustProve > 0 { // else it has paid
		if wait := g.worthless.Wait(p.copy(), 1); wait > 0 { // of no token string: all of these are one
			return p.tooMany(wait)
		}
		if wait := g.genuine.Take(p.address, 1); wait > 0 {
			return p.tooMany(wait)
		}
		g.worthless.Charge(p.copy(), 1)
	}
	p.genuine = true
	return nil
}

// FailedProof says that what the request presented is not genuine, where its status will not be 401. An error is the
// answer instead.
func (r *Record) FailedProof() error {
	p := &r.payer
	if p.genuine {
		return nil
	}
	if p.mustProve > 0 {
		return p.refuse()
	}
	p.failed = true
	return nil
}

// Genuine admits an exchange of a refresh token whose token string is genuine, before the store is asked. An error is
// a *Refused.
func (r *Record) Genuine(t domain.PresentedToken, authenticated bool) error {
	p, g := &r.payer, r.payer.guard
	if g == nil {
		return nil
	}
	if wait := g.tokens.Wait(exchanger(t.ID, authenticated), 1); wait > 0 {
		p.genuine = true
		return g.refuse(LimitRefreshToken, wait)
	}
	return p.present(t, authenticated)
}

// Presented is Genuine for what asks the store about a token string and does not exchange it: a logout, and the choice
// among several. However often a refresh token is exchanged, it can be revoked; and the limit of one that has ended,
// whose cookie a browser may still keep, refuses no other.
//
// A request may call Presented and Genuine for one token string after another, and pays for each as a request of its
// own would. The last one is that which Exchanged charges.
func (r *Record) Presented(t domain.PresentedToken) error {
	if r.payer.guard == nil {
		return nil
	}
	return r.payer.present(t, false)
}

func (p *payer) present(t domain.PresentedToken, authenticated bool) error {
	g, first := p.guard, !p.asking
	if !first {
		p.presented = append(p.presented, p.copy())
	}
	p.genuine = true
	p.token, p.generation, p.authenticated = t.ID, t.Generation, authenticated
	switch {
	case p.mustProve > 0:
		if wait := g.worthless.Wait(p.copy(), 1); wait > 0 {
			return p.tooMany(wait)
		}
		if wait := g.genuine.Take(p.address, 1); wait > 0 {
			return p.tooMany(wait)
		}
		if first {
			if err := p.enter(); err != nil {
				return err
			}
		}
	case first: // it has paid
	case p.known:
		g.apiKeys.Charge(p.apiKey, 1)
	default:
		p.bucket().Charge(p.address, 1)
	}
	p.asking = true
	return nil
}

// Exchanged charges the exchange to the refresh token that Genuine was called for; or, if it does not count, because
// the token string was worth nothing, to that token string at its address. The other ones that Genuine was called for
// are charged as worth nothing.
func (r *Record) Exchanged(counts bool) {
	p := &r.payer
	if p.guard == nil || !p.genuine {
		return
	}
	for _, other := range p.presented {
		if other != p.copy() {
			p.guard.worthless.Charge(other, 1)
		}
	}
	if counts {
		p.guard.tokens.Charge(exchanger(p.token, p.authenticated), 1)
		return
	}
	p.guard.worthless.Charge(p.copy(), 1)
}

// copy is the key of a token string at an address.
func (p *payer) copy() string {
	return string(binary.BigEndian.AppendUint32(p.token[:], p.generation)) + p.address
}

// Turn is for a request on the route of the exchange that is something else: it gives back the place of an exchange,
// and waits for a turn as requests on other routes have done by then. An error is a *Refused.
func (r *Record) Turn() error {
	p := &r.payer
	if p.guard == nil || p.turned {
		return nil
	}
	if p.mustProve > 0 {
		return p.refuse()
	}
	p.end()
	return p.turn()
}

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
	switch {
	case err != nil:
		return address
	case addr.Is4():
		b := addr.As4()
		return string(b[:])
	case nat64.Contains(addr):
		b := addr.As16()
		return string(b[12:])
	default:
		b := addr.As16()
		return string(b[:8])
	}
}

// sparing keeps a flood of refusals from becoming a flood of log lines.
type sparing struct {
	mu       sync.Mutex
	loggedAt time.Time
	leftOut  int
}

// loud tells whether this one is to be logged at warning, and how many have not been since the last that was. A nil s
// spares nothing.
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
