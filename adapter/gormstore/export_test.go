package gormstore

import (
	"context"
	"database/sql"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/refreshd/refreshd/domain"
)

// GroupCommit exports groupCommit for its tests.
type GroupCommit struct{ *groupCommit }

// Exchange is one call of Advance, as groupCommit receives it.
type Exchange = exchange

// MaxBatch is the size of the largest batch.
const MaxBatch = maxBatch

// NewGroupCommit returns a GroupCommit whose database is two functions.
func NewGroupCommit(
	slots int, writeOne func(context.Context, *Exchange) error, writeMany func(context.Context, []*Exchange) error,
) GroupCommit {
	return GroupCommit{newGroupCommit(writeRule{most: slots, enough: 1}, writeOne, writeMany)}
}

// WriteApart is how long after the last one a further write of PostgreSQL starts, WriteEnough with how many exchanges
// it starts before, and MostWrites the number of writes at a time.
var WriteApart, WriteEnough, MostWrites = sharedWrites.apart, sharedWrites.enough, sharedWrites.most

// MostWritesWithin is MostWrites of a store with so many connections.
func MostWritesWithin(connections int) int { return sharedWrites.within(connections).most }

// NewSharedGroupCommit returns a GroupCommit as that of PostgreSQL.
func NewSharedGroupCommit(
	writeOne func(context.Context, *Exchange) error, writeMany func(context.Context, []*Exchange) error,
) GroupCommit {
	return GroupCommit{newGroupCommit(sharedWrites, writeOne, writeMany)}
}

// Do runs an exchange.
func (c GroupCommit) Do(ctx context.Context, id domain.ID, call domain.Call) (domain.RefreshToken, error) {
	e := &exchange{id: id, call: call}
	err := c.do(ctx, e)
	return e.token, err
}

// Waiting returns the number of exchanges in the queue.
func (c GroupCommit) Waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.waiting)
}

// Free returns the number of free slots.
func (c GroupCommit) Free() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.slots
}

// Waiting returns the number of exchanges that wait for a slot.
func (s *Store) Waiting() int { return GroupCommit{s.groupCommit}.Waiting() }

// Free returns the number of free slots.
func (s *Store) Free() int { return GroupCommit{s.groupCommit}.Free() }

// HoldSlots takes all slots, as writes that do not end would, so that exchanges wait for the same write as long as a
// test needs.
func (s *Store) HoldSlots() (release func()) {
	c := s.groupCommit
	c.mu.Lock()
	defer c.mu.Unlock()
	held := c.slots
	c.slots = 0
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.slots += held
		c.startNext()
	}
}

// ID returns the id of the refresh token of e.
func (e *exchange) ID() domain.ID { return e.id }

// Call returns the argument of e.
func (e *exchange) Call() domain.Call { return e.call }

// Finish sets the result of an exchange of a batch.
func (e *exchange) Finish(t domain.RefreshToken, p domain.Policy) { e.Answer(t, p); e.finished = true }

// Answer sets the result of an exchange that runs by itself.
func (e *exchange) Answer(t domain.RefreshToken, p domain.Policy) { e.token, e.policy = t, p }

// SessionSettings are the settings that the statements rely on, and PlannerSettings those that decide their plans.
var SessionSettings, PlannerSettings = sessionSettings, plannerSettings

// ChangedColumns and ChangedValues are the columns that a change compares and writes, and their values.
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

// Readers returns the connections that read.
func (s *Store) Readers() (*sql.DB, error) { return s.read.DB() }

// Within reports whether a setting is acceptable.
var Within = within

// WrittenTables are the tables that the role of the service writes; ReadTables, those that it only reads.
var WrittenTables, ReadTables = writtenTables, readTables

// Turns are turns for the rows of tenants.
type Turns struct{ turns }

// Take waits for a turn.
func (t *Turns) Take(ctx context.Context, tenantID string) error {
	return t.take(ctx, rowName{tenantID: tenantID})
}

// Pass ends it.
func (t *Turns) Pass(tenantID string, err error) { t.pass(rowName{tenantID: tenantID}, err) }

// Running returns how many turns are taken.
func (t *Turns) Running() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.waiting)
}

// TurnsRunning returns how many turns are taken.
func (s *Store) TurnsRunning() int {
	s.turns.mu.Lock()
	defer s.turns.mu.Unlock()
	return len(s.turns.waiting)
}

// Remember sets how long the pool stays small, and how fast it then grows.
func (s *Store) Remember(smallFor, growEvery time.Duration) {
	s.engine.limit.smallFor, s.engine.limit.growEvery = smallFor, growEvery
}

// Grow runs the timer's function.
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

// PoolLimit is a poolLimit whose pool opens no connection by itself.
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

// Ticking reports whether the timer runs. It then fires after growEvery.
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

// LacksSlot reports whether a connection was refused because there is no slot for it.
var LacksSlot = lacksSlot

// PlainTextHosts returns the remote hosts of dsn to which a connection may be unencrypted.
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

// ExamineStrictly is ExaminePostgres with a warning about every transaction, and every byte that a standby lacks.
func ExamineStrictly(ctx context.Context, dsn domain.Secret) ([]Finding, error) {
	return examinePostgres(ctx, dsn, doctor{clock: time.Now, transactionAge: 1 << 40, lagTime: time.Hour})
}

// VersionFinding judges the version of a server.
var VersionFinding = versionFinding
