package web

import (
	"errors"
	"net/http"
	"net/netip"
	"time"

	"github.com/labstack/echo/v4"
)

// The reasons for which a Guard refuses requests: the limits, each for its own key, and too many requests in progress.
const (
	LimitClientAddress = "clientAddress"
	LimitAPIKey        = "apiKey"
	LimitRefreshToken  = "refreshToken"
	Overload           = "overload"
)

// Refusals lists these reasons.
var Refusals = []string{LimitClientAddress, LimitAPIKey, LimitRefreshToken, Overload}

const (
	// genuineFactor is the budget of an address for genuine token strings, as a multiple of its limit. It is used once
	// the ordinary budget is used up.
	genuineFactor = 10

	// The numbers of buckets. A bucket has to be kept until it is full again: with the default limits 10 ms after a
	// request of an address, and 200 ms after an exchange. With GOGC=400 the heap takes five times the size of these
	// tables, so they are no larger than necessary.
	addressesKept     = 1 << 14
	genuineKept       = 1 << 12
	refreshTokensKept = 1 << 14
	apiKeysKept       = 1 << 12
)

// RateLimits are requests a second, with a burst of ten times as many; 0 for no limit.
type RateLimits struct {
	Address      int // of a client address, for requests without a verified API key
	APIKey       int // of an API key
	RefreshToken int // exchanges of a refresh token

	// Running is the maximum number of requests of one caller, other than exchanges, that run concurrently; 0 for 8. As
	// many streams, of all callers, are opened concurrently.
	// Set it to half of the connections to the store, which leaves the other half to other callers, and to at most two
	// for each processor: one computes while the other waits for the store.
	Running int

	// Streams is the maximum number of open streams; 0 for 512. One caller gets half of them.
	Streams int
}

// A Guard refuses requests above a rate limit, and requests that arrive while too many are in progress, before they do
// any work. The rate limits are token buckets by GCRA, see [Limiter]. The bound of concurrent requests is AIMD, see
// places.
//
// Each request is charged to one bucket. A request with an API key that was verified before is charged to the key,
// before the key is looked up. All others are charged to their client address, and ten times for an invalid credential.
// An address has independent budgets for four kinds of requests: ordinary ones, including 404 and 405; those with an
// API key that has not been verified, which get their charge back if the key is valid; public documents, such as key
// sets; and health. So guesses and neighbours behind the same address do not keep out an active backend, the requests
// that its users send through it, a verifier or an orchestrator. No client guesses faster than the limit of its
// address. A flood of requests for health itself does give 429 to an orchestrator behind the same address. If other
// clients share its address, the orchestrator has to probe the admin listener.
//
// Guesses never keep out a genuine token string. If an exchange's address has used up its ordinary budget, the MAC of
// its token string is still verified, provided that the body is short and its length is known. That costs only
// processor time, little more than the refusal itself (some times as much for a Cookie header full of forgeries). So it
// needs no bound, and guesses could use up any bound for each address. If the MAC is right, the exchange continues, and
// is charged to a third bucket of its address, for genuine token strings only: ten times the limit. Otherwise it is
// refused as if it had not been verified. Until the MAC is verified, such a request holds no place among those in
// progress. A token string that was rejected, for example because it is an old one, or because the request named
// another tenant, is admitted this way as often as a refresh token may be exchanged: one copy that is sent repeatedly
// cannot use up the bucket. An exchange with an API key is one of the requests with an API key.
//
// Only a malformed credential or one with a wrong MAC is invalid. A genuine token string is no guess, whatever happened
// to its session. An access token that has expired is no guess either. Each costs one request.
//
// Guesses never keep out a valid API key either, though after a restart no key has been verified. If the budget for
// unverified keys is used up, a key is still looked up if its slot is free. Keys are hashed, with a seed of the
// process, to a table of slots, each of which allows one look-up a second. The table bounds the look-ups, and a guess
// cannot aim at the slot of another key: at g guesses a second a valid key is looked up in about one of g/512 attempts.
// Afterwards it is verified.
//
// An exchange is also charged to the bucket of its refresh token, once its token string is known to be genuine. Only
// exchanges that returned tokens, or whose refresh token has ended, are charged to it. So forgeries, or
// a copy that is rejected, cannot use up another user's bucket. Charging first and giving back was rejected:
// concurrent copies would use it up in the meantime.
//
// An IPv6 client is identified by the first half of its address, because it controls the other half.
type Guard struct {
	addresses, unverifiedKeys, public, health, genuine *Limiter // by address
	apiKeys, tokens                                    *Limiter
	rejected                                           *Limiter // by token string and address
	lookupSlots                                        slots
	places                                             *places
	streams                                            *streams
	trusts                                             func(netip.Addr) bool
	refused                                            func(reason string)
	log                                                map[string]*logSampler // by reason
	clock                                              func() time.Time
}

// NewGuard returns a Guard. The trusted proxies are only for a hint in the log. It calls refused, if set, for each
// refusal.
func NewGuard(l RateLimits, trusted []netip.Prefix, clock func() time.Time, refused func(reason string)) *Guard {
	g := &Guard{
		trusts: trustIn(trusted), refused: refused, log: map[string]*logSampler{}, clock: clock,
		places:         newPlaces(l.Running, clock),
		addresses:      NewLimiter(l.Address, addressesKept, clock),
		unverifiedKeys: NewLimiter(l.Address, apiKeysKept, clock),
		public:         NewLimiter(l.Address, addressesKept, clock), health: NewLimiter(l.Address, apiKeysKept, clock),
		genuine: NewLimiter(genuineFactor*l.Address, genuineKept, clock), lookupSlots: newSlots(clock),
		apiKeys: NewLimiter(l.APIKey, apiKeysKept, clock), tokens: NewLimiter(l.RefreshToken, refreshTokensKept, clock),
		rejected: NewLimiter(l.RefreshToken, apiKeysKept, clock),
	}
	g.streams = newStreams(l.Streams, g.places.turns)
	for _, reason := range Refusals {
		g.log[reason] = &logSampler{}
	}
	return g
}

// InProgress returns the number of requests in progress.
func (g *Guard) InProgress() int { return int(g.places.running.Load()) }

// Kind is the class of a route for a Guard.
type Kind byte

const (
	Work       Kind = iota
	Exchange        // presents a token string, unless the handler calls Turn
	Public          // a short public document from the store: a key set, which verifiers need
	PublicFile      // a public document of the program, in the budget of Public
	preflight       // a CORS preflight
	Health          // health and readiness, which orchestrators need
	Logout          // Work if the request has Authorization, Exchange if it has none
	unmatched       // 404 and 405
	streaming       // Work whose response is a stream
)

// kind returns the Kind of the request.
func kind(c echo.Context) Kind {
	e := LogRecord(c).endpoint
	switch {
	case e == nil:
		return unmatched
	case e.Stream:
		return streaming
	case e.Kind == Logout && c.Request().Header.Get(echo.HeaderAuthorization) == "":
		return Exchange
	case e.Kind == Logout:
		return Work
	default:
		return e.Kind
	}
}

// inPlace reports whether such requests need a place among those in progress. Other requests do not wait for the store.
// They may wait for their clients, because a document is longer than the send buffer.
func (k Kind) inPlace() bool { return k <= Public }

// guarded is the middleware that applies the guard. It comes before 404 and 405. If a request was admitted only to
// present a genuine credential, its handler must not write a response before it has called Record.AdmitExchange,
// AdmitLookup, AdmitWithoutLookup, CredentialGenuine or CredentialFailed.
func (m *mount) guarded(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		k := kind(c)
		apiKey := ""
		if k == Work || k == Exchange || k == streaming {
			apiKey = apiKeyOf(c)
		}
		if err := m.Guard.admit(c, k, apiKey); err != nil {
			return err
		}
		err := next(c)
		ch := &LogRecord(c).charge
		if ch.waitUnlessGenuine == 0 || ch.genuine {
			ch.finish(c, err)
			return err
		}
		if refused := (*Refused)(nil); errors.As(err, &refused) {
			return err
		}
		return ch.refuse()
	}
}

// preflights is the middleware that charges CORS preflights.
func (m *mount) preflights(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if c.Request().Method == http.MethodOptions && LogRecord(c).path != nil {
			if err := m.Guard.admit(c, preflight, ""); err != nil {
				return err
			}
		}
		return next(c)
	}
}
