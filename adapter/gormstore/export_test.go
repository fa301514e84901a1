package gormstore

import (
	"context"
	"database/sql"

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
func (c Combiner) Do(ctx context.Context, id domain.ID, generation uint32) (domain.RefreshToken, error) {
	e := &exchange{id: id, call: domain.Call{Generation: generation}}
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

// MigrateTo brings the schema to an older version.
func (s *Store) MigrateTo(ctx context.Context, version int64) error {
	return s.migrateTo(ctx, version, nil)
}

// Waiting is how many exchanges wait for a write to share.
func (s *Store) Waiting() int { return Combiner{s.combiner}.Waiting() }

// Free is how many writes could begin now.
func (s *Store) Free() int { return Combiner{s.combiner}.Free() }

// ID is the refresh token that e means.
func (e *exchange) ID() domain.ID { return e.id }

// Settle gives e its answer.
func (e *exchange) Settle(t domain.RefreshToken, err error) { e.settled, e.token, e.err = true, t, err }

// Answer gives an exchange that runs by itself its answer.
func (e *exchange) Answer(t domain.RefreshToken) { e.token = t }

// SessionSettings are what our statements are written for.
var SessionSettings = sessionSettings

// ConnectTimeout bounds the attempt at each host.
const ConnectTimeout = connectTimeout

// Pool are the connections to PostgreSQL.
func (s *Store) Pool() *sql.DB { return s.pool }

// Within compares a setting that was found with the one that we would have.
var Within = within
