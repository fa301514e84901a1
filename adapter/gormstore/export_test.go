package gormstore

import (
	"context"
	"database/sql"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/refreshd/refreshd/domain"
)

// Combiner is a combiner, for its tests.
type Combiner struct{ *combiner }

// Exchange is one call of Advance, as a combiner sees it.
type Exchange = exchange

// MostTogether is the size of the largest batch.
const MostTogether = mostTogether

// NewCombiner returns a combiner before a database that is made of two functions.
func NewCombiner(places int, one func(context.Context, *Exchange) error, many func(context.Context, []*Exchange) error) Combiner {
	return Combiner{newCombiner(places, one, many)}
}

// Do exchanges.
func (c Combiner) Do(ctx context.Context, id domain.ID, call domain.Call) (domain.RefreshToken, error) {
	e := &exchange{id: id, call: call}
	err := c.do(ctx, e)
	return e.token, err
}

// Waiting is how many wait.
func (c Combiner) Waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.waiting)
}

// Free is how many writes could begin now.
func (c Combiner) Free() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.places
}

// Waiting is how many exchanges wait for a write to share.
func (s *Store) Waiting() int { return Combiner{s.combiner}.Waiting() }

// Free is how many writes could begin now.
func (s *Store) Free() int { return Combiner{s.combiner}.Free() }

// HoldPlaces takes all places to write, as writes would that do not end, so that what comes waits for the same write
// for as long as a test needs.
func (s *Store) HoldPlaces() (release func()) {
	c := s.combiner
	c.mu.Lock()
	defer c.mu.Unlock()
	held := c.places
	c.places = 0
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		for range held {
			c.pass()
		}
	}
}

// ID is the refresh token that e means.
func (e *exchange) ID() domain.ID { return e.id }

// Call is what e asks for.
func (e *exchange) Call() domain.Call { return e.call }

// Settle gives e its answer, in a batch.
func (e *exchange) Settle(t domain.RefreshToken, p domain.Policy) { e.Answer(t, p); e.settled = true }

// Answer gives an exchange that runs by itself its answer.
func (e *exchange) Answer(t domain.RefreshToken, p domain.Policy) { e.token, e.policy = t, p }

// SessionSettings are what our statements are written for.
var SessionSettings = sessionSettings

// ChangedColumns and ChangedValues are what a change compares and writes.
var (
	ChangedColumns = changedColumns
	ChangedValues  = changedValues
)

// TokenColumns are those of refresh_tokens.
var TokenColumns = tokenColumns

// ConnectTimeout bounds the attempt at each host.
const ConnectTimeout = connectTimeout

// StatementDeadline is how long a statement may take.
const StatementDeadline = statementDeadline

// Pool are the connections to PostgreSQL, or the one that writes to SQLite.
func (s *Store) Pool() *sql.DB { return s.pool }

// Readers are the connections that read.
func (s *Store) Readers() (*sql.DB, error) { return s.read.DB() }

// Within compares a setting that was found with the one that we would have.
var Within = within

// WrittenTables are those that the role of the service writes to; ReadTables, those that it only reads.
var WrittenTables, ReadTables = writtenTables, readTables

// Turns are turns for the rows of tenants.
type Turns struct{ turns }

// Take waits for a turn.
func (t *Turns) Take(ctx context.Context, tenantID string) error {
	return t.take(ctx, rowName{tenantID: tenantID})
}

// Pass ends it.
func (t *Turns) Pass(tenantID string, err error) { t.pass(rowName{tenantID: tenantID}, err) }

// UnderWay is how many there are.
func (t *Turns) UnderWay() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.waiting)
}

// TurnsUnderWay is how many calls have their turn.
func (s *Store) TurnsUnderWay() int {
	s.turns.mu.Lock()
	defer s.turns.mu.Unlock()
	return len(s.turns.waiting)
}

// Remember sets for how long the pool stays small, and how fast it then grows.
func (s *Store) Remember(smallFor, growEvery time.Duration) {
	s.engine.limit.smallFor, s.engine.limit.growEvery = smallFor, growEvery
}

// Grow is what happens when it is time to look for slots again.
func (s *Store) Grow() {
	if l := s.engine.limit; l.limited() {
		l.grow()
	}
}

// limited reports whether a connection was refused.
func (l *poolLimit) limited() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.timer != nil
}

// PoolLimit is a poolLimit of a pool that opens no connection by itself.
type PoolLimit struct{ *poolLimit }

// NewPoolLimit returns one for that many connections.
func NewPoolLimit(size int, log *slog.Logger) PoolLimit {
	l := newPoolLimit(size, log)
	l.pool = newPool(serving{limit: l}, size)
	return PoolLimit{l}
}

// Open opens a connection, or is refused one.
func (l PoolLimit) Open(refused bool) error {
	if !l.begin() {
		return errNoSlot
	}
	if refused {
		l.end(errNoSlot)
		return errNoSlot
	}
	l.end(nil)
	return nil
}

// Lose closes a connection.
func (l PoolLimit) Lose() { l.lost() }

// Ticking reports whether something is to happen later. It then happens growEvery later.
func (l PoolLimit) Ticking() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.timer != nil && l.timer.Reset(l.growEvery)
}

// Close ends it.
func (l PoolLimit) Close() error {
	l.close()
	return l.pool.Close()
}

// LacksSlot reports whether a connection was refused for want of a slot.
var LacksSlot = lacksSlot

// PlainTextHosts are those of dsn that are not on this machine and to which a connection may not be encrypted.
func PlainTextHosts(dsn string) ([]string, error) {
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, err
	}
	return newLink(config).plainTextHosts(), nil
}

// EncodePolicy and DecodePolicy are the codec of the policy column.
func EncodePolicy(p domain.Policy) (string, error) {
	args, err := policyArgs(p)
	if err != nil {
		return "", err
	}
	return args[len(args)-1].(string), nil
}

func DecodePolicy(text string) (domain.Policy, error) {
	return new(policyCache).decode(policyText(text))
}

// EncodeSettings and DecodeSettings are the codec of the settings columns.
var (
	EncodeSettings = encodeSettings
	DecodeSettings = decodeSettings
)

// PolicyCache is a policyCache, for its tests.
type PolicyCache struct{ policyCache }

// MaxCachedPolicies is how many it holds.
const MaxCachedPolicies = maxCachedPolicies

// Decode returns the policy that the text holds.
func (c *PolicyCache) Decode(text string) (domain.Policy, error) { return c.decode(policyText(text)) }

// Len is how many policies it holds.
func (c *PolicyCache) Len() int { return len(c.read) }
