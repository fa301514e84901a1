package web

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
)

const (
	// overloadRest is how long a connection on which a request was refused for overload is not read again. The client
	// has its answer, and was told to come back after a second. Without a rest a client that does not wait for that
	// takes, in refusals at a third of what an exchange costs, most of what the exchanges that are let in could do.
	overloadRest = 250 * time.Millisecond

	// logEvery is how often a refusal is logged at warning, for each reason. The others are logged at debug.
	logEvery = time.Second
)

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
