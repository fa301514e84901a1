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

// errNoSlot says that the server, or a pooler, has no slot for one more connection.
var errNoSlot = errors.New("no slot for another connection")

// lacksSlot reports whether a connection was refused for want of a slot: too_many_connections, which also says that the
// remaining ones are reserved, and configuration_limit_exceeded. PgBouncer has one SQLSTATE for everything, also for
// what its server said.
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
	// smallFor is how long the pool stays at what there was when a connection was refused.
	smallFor = time.Minute
	// growEvery is the time between two steps by which it then grows.
	growEvery = time.Second
)

// poolLimit makes calls wait for the connections that there are where the server refuses another one, and remembers
// that for a while. Two sets of pools at a rolling restart, or a smaller server after a fail-over, would else fail
// calls that had only to wait. After the while the pool grows, as far as it is used, in steps that double: a limit that
// still holds then costs one refused connection.
//
// The pool counts the connections that are being opened with those that are open, and closes what is returned to it
// when there are more than it may have. So it is made smaller when none is being opened; until then no further attempt
// is made.
type poolLimit struct {
	pool *sql.DB
	size int
	log  *slog.Logger

	smallFor, growEvery time.Duration

	open atomic.Int64 // what closes a connection may hold the lock already

	mu      sync.Mutex
	opening int
	now     int         // how many there may be
	step    int         // by which now grows next
	timer   *time.Timer // nil where nothing was refused
	resting bool        // the timer stands still, for the pool does not use what it may open
	closed  bool
}

func newPoolLimit(size int, log *slog.Logger) *poolLimit {
	return &poolLimit{size: size, now: size, log: log, smallFor: smallFor, growEvery: growEvery}
}

// begin is called before a connection is opened. It reports whether that may be tried.
func (l *poolLimit) begin() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timer != nil && l.count()+l.opening >= l.now {
		return false
	}
	l.opening++
	return true
}

// end is called after begin, when the connection is open, or is not.
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
	l.log.Warn("the database refuses more connections: calls wait for those that are open",
		"event", eventPoolLimited, "open", l.count(), "configured", l.size)
}

// lost is called when a connection that was open is closed.
func (l *poolLimit) lost() { l.open.Add(-1) }

// count is how many connections are open.
func (l *poolLimit) count() int { return int(l.open.Load()) }

// refused is called after a call has got no connection. It reports whether there is one that the call can wait for.
func (l *poolLimit) refused() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timer != nil && l.opening == 0 {
		l.set(max(1, l.count()))
		l.wake()
	}
	return !l.closed && l.count()+l.opening > 0
}

// wake starts the timer again, under the lock, once the pool has as many connections as it may have.
func (l *poolLimit) wake() {
	if l.resting && !l.closed && l.count() >= l.now {
		l.resting = false
		l.timer.Reset(l.growEvery)
	}
}

// grow lets the pool open a few more connections.
func (l *poolLimit) grow() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.timer == nil {
		return
	}
	if l.count() < l.now && l.now < l.size { // it is not known whether there are more
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
	l.log.Info("the connection pool may grow to its configured size again", "event", eventPoolRestored,
		"configured", l.size)
}

// set is called under the lock.
func (l *poolLimit) set(now int) {
	l.now = now
	l.pool.SetMaxOpenConns(now)
	l.pool.SetMaxIdleConns(now) // which the line above only lowers
}

func (l *poolLimit) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.timer != nil {
		l.timer.Stop()
	}
}
