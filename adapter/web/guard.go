package web

import (
	"errors"
	"net/http"
	"net/netip"
	"time"

	"github.com/labstack/echo/v4"
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
	// genuineFactor is how many times the limit of an address it has for genuine token strings, once its ordinary
	// budget is used up.
	genuineFactor = 10

	// A bucket has to be kept until it is full again: at the limits that are set by default a hundredth of a second
	// after a request of an address, and a fifth of one after an exchange. What lives on the heap is taken five times
	// (GOGC=400), so not more than is needed.
	addressesKept     = 1 << 14
	genuineKept       = 1 << 12
	refreshTokensKept = 1 << 14
	apiKeysKept       = 1 << 12
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

	// Streams is how many streams are open at most; 0 for 512. One caller gets half of them.
	Streams int
}

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
	streams                                    *streams
	trusts                                     func(netip.Addr) bool
	refused                                    func(reason string)
	log                                        map[string]*sparing // by reason
	clock                                      func() time.Time
}

// NewGuard takes the trusted proxies only for a hint in the log. It calls refused, if that is set, for each refusal.
func NewGuard(l RateLimits, trusted []netip.Prefix, clock func() time.Time, refused func(reason string)) *Guard {
	g := &Guard{
		trusts: trustIn(trusted), refused: refused, log: map[string]*sparing{}, clock: clock,
		places: newPlaces(l.Running, clock), streams: newStreams(l.Streams),
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

// InProgress is how many requests are worked on now.
func (g *Guard) InProgress() int { return int(g.places.running.Load()) }

// Kind is what a Guard has to know of a route.
type Kind byte

const (
	Work       Kind = iota
	Exchange        // presents a token string, unless the handler calls Turn
	Public          // what is public and short, and asks the store: a key set, which verifiers need
	PublicFile      // a public document of the program's own, in the budget of Public
	preflight       // what CORS answers
	Health          // health and readiness, which orchestrators need
	Logout          // Exchange if the request has no Authorization, else Work
	unmatched       // 404 and 405
)

// kind returns what the request is to the guard.
func kind(c echo.Context) Kind {
	e := Note(c).endpoint
	switch {
	case e == nil:
		return unmatched
	case e.Kind == Logout && c.Request().Header.Get(echo.HeaderAuthorization) == "":
		return Exchange
	case e.Kind == Logout:
		return Work
	default:
		return e.Kind
	}
}

// inPlace reports whether such requests need a place among those in progress. The others wait for nothing, or for
// what they share: above all for their clients, since a document is longer than a client that does not read takes.
func (k Kind) inPlace() bool { return k <= Public }

// guarded refuses what the guard refuses. It stands before 404 and 405. Where a request was let in only to present
// something genuine, its handler must not write an answer before Record.Genuine, Proved, Unread or FailedProof.
func (m *mount) guarded(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		k := kind(c)
		apiKey := ""
		if k == Work || k == Exchange {
			apiKey = offeredKey(c)
		}
		if err := m.Guard.admit(c, k, apiKey); err != nil {
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
func (m *mount) preflights(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if c.Request().Method == http.MethodOptions && Note(c).path != nil {
			if err := m.Guard.admit(c, preflight, ""); err != nil {
				return err
			}
		}
		return next(c)
	}
}
