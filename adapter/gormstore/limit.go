package gormstore

import (
	"database/sql"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// errNoSlot means that the server, or a pooler, has no slot for another connection.
var errNoSlot = errors.New("no slot for another connection")

// lacksSlot reports whether a connection was refused because there is no slot for it: too_many_connections, which also
// means that the remaining ones are reserved, or configuration_limit_exceeded. PgBouncer has one SQLSTATE for
// everything, including errors of its server.
func lacksSlot(err error) bool {
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		return false
	}
	return e.Code == "53300" || e.Code == "53400" ||
		e.Code == "08P01" && slices.ContainsFunc([]string{
			"no more connections allowed", "too many connections", "too many clients", "remaining connection slots",
		}, func(text string) bool { return strings.Contains(e.Message, text) })
}

const (
	// smallFor is how long the pool keeps the size that it had when a connection was refused.
	smallFor = time.Minute
	// growEvery is the time between two steps when the pool grows again.
	growEvery = time.Second
)

// poolLimit lets calls wait for the open connections when the server refuses another one, and remembers that for
// smallFor. Otherwise two sets of pools during a rolling restart, or a smaller server after a fail-over, would fail
// calls that only had to wait. Afterwards the pool grows, as far as it is used, in steps that double. If the limit
// still holds, that costs one refused connection.
//
// The pool counts connections that are being opened with those that are open, and closes a returned connection if it
// has more than its limit. So the limit is lowered only while none is being opened; until then no further attempt is
// made.
type poolLimit struct {
	pool *sql.DB
	size int
	log  *slog.Logger

	smallFor, growEvery time.Duration

	open atomic.Int64 // an atomic: a connection may be closed while mu is held

	mu      sync.Mutex
	opening int
	now     int         // the limit now
	step    int         // added to now by the next grow
	timer   *time.Timer // nil if no connection was refused
	resting bool        // the timer is stopped, because the pool does not use its limit
	closed  bool
}

func newPoolLimit(size int, log *slog.Logger) *poolLimit {
	return &poolLimit{size: size, now: size, log: log, smallFor: smallFor, growEvery: growEvery}
}

// begin is called before a connection is opened. It reports whether the attempt is allowed.
func (l *poolLimit) begin() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timer != nil && l.count()+l.opening >= l.now {
		return false
	}
	l.opening++
	return true
}

// end is called after begin, with the result of the attempt.
func (l *poolLimit) end(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.opening--
	if err == nil {
		l.open.Add(1)
		l.wake()
		return
	}
	if !errors.Is(err, errNoSlot) || l.closed {
		return
	}
	l.now, l.step, l.resting = max(1, min(l.now, l.count())), 1, false
	if l.timer != nil {
		l.timer.Reset(l.smallFor)
		return
	}
	l.timer = time.AfterFunc(l.smallFor, l.grow)
	l.log.Warn("the database refuses more connections: requests wait for the open ones",
		"event", eventPoolLimited, "open", l.count(), "configured", l.size)
}

// lost is called when an open connection is closed.
func (l *poolLimit) lost() { l.open.Add(-1) }

// count returns the number of open connections.
func (l *poolLimit) count() int { return int(l.open.Load()) }

// refused is called after a call got no connection. It reports whether there is one that the call can wait for.
func (l *poolLimit) refused() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timer != nil && l.opening == 0 {
		l.set(max(1, l.count()))
		l.wake()
	}
	return !l.closed && l.count()+l.opening > 0
}

// wake starts the timer again once the pool uses its limit. l.mu is held.
func (l *poolLimit) wake() {
	if l.resting && !l.closed && l.count() >= l.now {
		l.resting = false
		l.timer.Reset(l.growEvery)
	}
}

// grow raises the limit of the pool.
func (l *poolLimit) grow() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.timer == nil {
		return
	}
	if l.count() < l.now && l.now < l.size { // nothing shows that the server has more slots
		l.resting = true
		return
	}
	l.set(min(l.size, l.now+l.step))
	l.step *= 2
	if l.now < l.size {
		l.timer.Reset(l.growEvery)
		return
	}
	l.timer = nil
	l.log.Info("the connection pool can grow to its configured size again", "event", eventPoolRestored,
		"configured", l.size)
}

// set sets the limit. l.mu is held.
func (l *poolLimit) set(now int) {
	l.now = now
	l.pool.SetMaxOpenConns(now)
	l.pool.SetMaxIdleConns(now) // the line above never raises it
}

func (l *poolLimit) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.timer != nil {
		l.timer.Stop()
	}
}
