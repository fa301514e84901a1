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
	// A failed proof counts as so many requests.
	failedProof = 10

	// maxProof is how long, in bytes, the body or the cookies of an exchange may be whose address cannot pay: more
	// than any genuine exchange's, with an old access token.
	maxProof = 12 << 10
)

// A budget is what a client address has for one kind of requests. What uses up one takes nothing from the others.
type budget byte

const (
	ordinaryBudget budget = iota // requests without an API key, 404 and 405
	offersBudget                 // requests with an API key that is not known to be good
	publicBudget                 // public documents, which verifiers need
	healthBudget                 // health and readiness, which orchestrators need
)

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
	case p.kind == Public, p.kind == PublicFile, p.kind == preflight:
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
	failed := p.failed || offered && err != nil && Status(c, err) == http.StatusUnauthorized
	if p.good || p.genuine || !failed {
		return
	}
	if p.known {
		p.guard.apiKeys.Forget(p.apiKey)
	}
	p.bucket().Charge(p.address, failedProof-p.paid)
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
