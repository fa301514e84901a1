package web

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/domain"
)

const (
	// failedCredentialCost is the number of requests that an invalid credential counts as.
	failedCredentialCost = 10

	// maxCheckedBytes bounds the body and the cookies of an exchange whose address has used up its budget, in bytes. It
	// is more than any genuine exchange has, with an old access token.
	maxCheckedBytes = 12 << 10
)

// A budget is that of a client address for one kind of requests. The budgets of an address are independent.
type budget byte

const (
	ordinaryBudget      budget = iota // requests without an API key, 404 and 405
	unverifiedKeyBudget               // requests with an API key that has not been verified
	publicBudget                      // public documents, which verifiers need
	healthBudget                      // health and readiness, which orchestrators need
)

// charge is the accounting of one request: which bucket it is charged to, and which place it takes.
type charge struct {
	guard           *Guard
	kind            Kind
	req             *http.Request
	address, apiKey string
	known           bool // the API key is charged, not the address
	paid            int  // number of requests that the address was charged
	validKey        bool // the API key was verified by this request
	genuine         bool // the credential is genuine
	failed          bool // the credential is invalid, though the status is not 401
	guessed         bool // a proof beside the credential is invalid
	// waitUnlessGenuine is set if the address has used up its budget. The request is then admitted only if it presents
	// a genuine token string. Otherwise this is the wait in its refusal.
	waitUnlessGenuine time.Duration

	token         domain.ID // its bucket is charged
	generation    uint32    // of the token string
	authenticated bool
	presented     []string      // keys of the token strings that were admitted before this one
	asking        bool          // the store was queried for the refresh token
	caller        uint64        // in places
	enteredAt     time.Duration // since the places' start
	placed        bool          // it has a place; of a stream: it is counted
	turned        bool          // it has a turn
	// client ends when the client disconnects; ctx ends then or when the handler's time is over.
	client, ctx context.Context
}

// admit charges a request and admits it, or returns a *Refused.
func (g *Guard) admit(c echo.Context, k Kind, apiKey string) error {
	ch := &LogRecord(c).charge
	*ch = charge{
		guard: g, kind: k, req: c.Request(), address: network(c.RealIP()), apiKey: apiKey,
		known: apiKey != "" && g.apiKeys.Knows(apiKey),
	}
	if ch.known {
		ch.caller = g.places.caller(apiKey)
	} else {
		ch.caller = g.places.caller(ch.address) + uint64(ch.budget()) // one caller for each budget
	}
	if k.inPlace() && g.places.full(ch.caller, k != Exchange) {
		return g.refuse(Overload, 0)
	}
	if ch.known {
		if wait := g.apiKeys.Take(apiKey, 1); wait > 0 {
			return g.refuse(LimitAPIKey, wait)
		}
		return nil
	}
	switch wait := ch.bucket().Take(ch.address, 1); {
	case wait == 0:
		ch.paid = 1
	case apiKey != "" && g.lookupSlots.take(apiKey):
	case apiKey == "" && k == Exchange && cheapToCheck(ch.req):
		ch.waitUnlessGenuine = wait
	default:
		return ch.tooMany(wait)
	}
	return nil
}

// cheapToCheck reports whether a request can present a token string, in few enough bytes to verify them without charge.
func cheapToCheck(req *http.Request) bool {
	cookies := 0
	for _, line := range req.Header[echo.HeaderCookie] {
		cookies += len(line)
	}
	body := req.ContentLength // -1 if it is not known
	return 0 <= body && body <= maxCheckedBytes && cookies <= maxCheckedBytes && body+int64(cookies) > 0
}

func (ch *charge) budget() budget {
	switch {
	case ch.kind == Public, ch.kind == PublicFile, ch.kind == preflight:
		return publicBudget
	case ch.kind == Health:
		return healthBudget
	case ch.apiKey != "":
		return unverifiedKeyBudget
	default:
		return ordinaryBudget
	}
}

// bucket returns the limiter of the request's budget.
func (ch *charge) bucket() *Limiter {
	switch g := ch.guard; ch.budget() {
	case unverifiedKeyBudget:
		return g.unverifiedKeys
	case publicBudget:
		return g.public
	case healthBudget:
		return g.health
	default:
		return g.addresses
	}
}

// tooMany returns the refusal of a request whose address has used up its budget.
func (ch *charge) tooMany(wait time.Duration) error {
	refused := ch.guard.refuse(LimitClientAddress, wait)
	refused.hint = ch.guard.hint(ch.req)
	return refused
}

// refuse returns the refusal of a request that had to present a genuine credential, and did not.
func (ch *charge) refuse() error { return ch.tooMany(ch.waitUnlessGenuine) }

// begin takes a place among the requests in progress. It is called once the client has sent all of the request, so that
// a slow client holds no place. A request that needs a turn waits for it until client or ctx has ended.
func (ch *charge) begin(client, ctx context.Context) error {
	ch.client, ch.ctx = client, ctx
	switch {
	case ch.kind == streaming:
		return ch.beginStream()
	case !ch.kind.inPlace() || ch.waitUnlessGenuine > 0:
		return nil
	case ch.kind == Exchange:
		return ch.enter()
	default:
		return ch.turn()
	}
}

func (ch *charge) enter() error {
	if !ch.guard.places.enter(ch.caller) {
		return ch.guard.refuse(Overload, 0)
	}
	ch.placed, ch.enteredAt = true, ch.guard.places.now()
	return nil
}

func (ch *charge) turn() error {
	if !ch.guard.places.enterTurn(ch.caller, ch.client, ch.ctx) {
		if ch.client.Err() != nil { // not a refusal: the client has disconnected
			return fmt.Errorf("wait for a turn: %w", ch.client.Err())
		}
		return ch.guard.refuse(Overload, 0)
	}
	ch.placed, ch.turned = true, true
	return nil
}

// end gives back what begin took. An exchange that queried the store adjusts the bound by its duration.
func (ch *charge) end() {
	switch places := ch.guard.places; {
	case ch.kind == streaming:
		ch.endStream()
	case !ch.placed:
	case ch.turned:
		places.leaveTurn(ch.caller)
	default:
		places.leave(ch.caller)
		if ch.asking {
			places.adjust(ch.enteredAt)
		}
	}
	ch.placed, ch.turned, ch.asking = false, false, false
}

// finish charges for an invalid credential. A request with a valid API key is not charged more: a token string that a
// user of the backend presents is no guess of the backend, and a missing permission is a mistake.
func (ch *charge) finish(c echo.Context, err error) {
	offered := c.Request().Header.Get(echo.HeaderAuthorization) != ""
	failed := ch.failed || offered && err != nil && Status(c, err) == http.StatusUnauthorized
	if !ch.guessed && (ch.validKey || ch.genuine || !failed) {
		return
	}
	if ch.known {
		ch.guard.apiKeys.Forget(ch.apiKey)
	}
	ch.bucket().Charge(ch.address, failedCredentialCost-ch.paid)
}

// nat64 is the prefix under which IPv4 clients reach a host that has IPv6 only (RFC 6052, section 2.1).
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

// network returns the key of a client address: for IPv6 its first 64 bits.
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
