package web

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
)

const (
	// overloadPause is the time for which a connection is not read again after a refusal for overload. The client has
	// its response, with a Retry-After of a second. A refusal costs a third of an exchange, so without the pause
	// clients that ignore Retry-After would take most of the capacity of the admitted exchanges.
	overloadPause = 250 * time.Millisecond

	// logEvery is the minimum time between two refusals that are logged at warning, for each reason. The others are
	// logged at debug.
	logEvery = time.Second
)

// Refused is a request that a Guard refused. Nothing was done.
type Refused struct {
	Reason string // one of Refusals
	// Wait is the time until such a request is admitted, if no other one comes first.
	Wait time.Duration

	hint string // for the operator
	log  *logSampler
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

// seconds returns Wait for Retry-After.
func (e *Refused) seconds() int { return max(1, int((e.Wait+time.Second-1)/time.Second)) }

func (g *Guard) refuse(reason string, wait time.Duration) *Refused {
	if g.refused != nil {
		g.refused(reason)
	}
	return &Refused{Reason: reason, Wait: wait, log: g.log[reason]}
}

// hint returns the likely reason why all clients have one address, or nothing.
func (g *Guard) hint(req *http.Request) string {
	peer, ok := parseAddr(req.RemoteAddr)
	if !ok || g.trusts(peer) || req.Header.Get(echo.HeaderXForwardedFor) == "" {
		return ""
	}
	return "the peer sent X-Forwarded-For and is not trusted: if it is your load balancer, add it to " +
		"REFRESHD_TRUSTED_PROXIES, otherwise all clients behind it count as one address"
}

// delayNextRead sends the response, and then delays the next read of its connection. It is not for the connection of a
// trusted proxy, because the next request on it is another client's.
func delayNextRead(ctx context.Context, res *echo.Response) {
	if http.NewResponseController(res.Writer).Flush() != nil {
		return
	}
	pause := time.NewTimer(overloadPause)
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-ctx.Done(): // the client has disconnected
	}
}

// logSampler limits the log lines of refusals.
type logSampler struct {
	mu       sync.Mutex
	loggedAt time.Time
	omitted  int
}

// shouldWarn reports whether to log this refusal at warning, and how many were omitted since the last one. A nil s
// omits none.
func (s *logSampler) shouldWarn(now time.Time) (warn bool, omitted int) {
	if s == nil {
		return true, 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if since := now.Sub(s.loggedAt); since >= 0 && since < logEvery {
		s.omitted++
		return false, 0
	}
	s.loggedAt, omitted, s.omitted = now, s.omitted, 0
	return true, omitted
}
