package gormstore

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"gorm.io/gorm"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// eventColumns are the columns of events: the values of eventArgs, and those that the store fills in.
var (
	givenColumns = []string{
		"id", "at", "kind", "actor_kind", "actor_id", "actor_name", "actor_address", "request_id",
		"tenant_id", "object_id", "application_id", "user_id", "before", "after",
	}
	eventColumns = slices.Concat(givenColumns, []string{"version", "tokens"})
)

// eventArgs are the values of givenColumns.
func eventArgs(e domain.Event) []any {
	return []any{
		e.ID[:], micros(e.At), string(e.Kind), string(e.Actor.Kind), e.Actor.ID, e.Actor.Name, e.Actor.Address,
		e.RequestID, e.TenantID, e.ObjectID, e.ApplicationID, e.UserID, string(e.Before), string(e.After),
	}
}

var (
	insertEvent = `INSERT INTO events (` + columns("", eventColumns) + `) VALUES (` +
		placeholders(len(eventColumns)) + `)`

	selectEvents = `SELECT ` + columns("", eventColumns) + ` FROM events WHERE id < $1`
	// There is an index for each of the two orders.
	eventsOfAll            = selectEvents + ` ORDER BY id DESC LIMIT $2`
	eventsOfTenantPostgres = selectEvents + ` AND tenant_id || '/' = $3 || '/' ORDER BY id DESC LIMIT $2`
	eventsOfTenantSQLite   = selectEvents + ` AND tenant_id = $3 ORDER BY id DESC LIMIT $2`

	eventVersion = `SELECT version FROM events WHERE id = $1`
)

// eventFrom returns an insertEvent with the givenColumns from $first, for a statement that writes something else and
// has the result in the named WITH. version and tokens are expressions on it. Without a row, no event is stored.
func eventFrom(first int, with, version, tokens string) string {
	given := make([]string, len(givenColumns))
	for i, column := range givenColumns {
		given[i] = fmt.Sprintf("$%d::%s", first+i, map[string]string{"id": "bytea", "at": "bigint"}[column])
		given[i] = strings.TrimSuffix(given[i], "::")
	}
	return `INSERT INTO events (` + columns("", eventColumns) + `)
SELECT ` + strings.Join(given, ", ") + `, ` + version + `, ` + tokens + ` FROM ` + with
}

// tokenWrite is a statement that writes at most one refresh token.
type tokenWrite struct {
	plain     string // without the event, for SQLite, which cannot write in a WITH
	withEvent string // for PostgreSQL: one round trip
}

// newTokenWrite returns a tokenWrite for an UPDATE of refresh_tokens with that number of arguments.
func newTokenWrite(update string, args int) tokenWrite {
	plain := update + `
RETURNING refresh_tokens.id, refresh_tokens.application_id, refresh_tokens.user_id`
	return tokenWrite{plain, `
WITH written AS (` + plain + `
) ` + eventFrom(args+1, `written`, `0`, `json_build_array(`+tokenInEvent+`)::text`) + `
RETURNING version`}
}

// tokenInEvent is a written row as an element of the tokens of an event.
const tokenInEvent = `json_build_array(encode(id, 'hex'), application_id, user_id)`

// writeToken runs w for the refresh token of that id, and stores e in the same step. It returns none if w writes
// nothing.
func (s *Store) writeToken(
	ctx context.Context, operation string, id domain.ID, w tokenWrite, e domain.Event, none error, args ...any,
) error {
	return s.onceOnly(ctx, e, func() error {
		return s.inTurn(ctx, operation, rowName{token: id}, func() error {
			return s.writing(ctx, operation, func(db *gorm.DB) error {
				if s.engine.writesInWith {
					var version int64
					return queryRow(raw(db, w.withEvent, append(args, eventArgs(e)...)...), none, &version)
				}
				return db.Transaction(func(tx *gorm.DB) error {
					tokens, err := tokensWritten(tx.Raw(w.plain, args...))
					if err == nil && len(tokens) == 0 {
						err = none
					}
					if err != nil {
						return err
					}
					return appendEvent(tx, e, 0, tokens...)
				})
			})
		})
	})
}

// tokensWritten runs a statement that returns the columns of tokenInEvent.
func tokensWritten(query *gorm.DB) (tokens []domain.EndedToken, err error) {
	err = queryRows(query, func(rows *sql.Rows) error {
		var (
			t  domain.EndedToken
			id []byte
		)
		err := rows.Scan(&id, &t.ApplicationID, &t.UserID)
		copy(t.ID[:], id)
		tokens = append(tokens, t)
		return err
	})
	return tokens, err
}

// appendEvent stores e with that version and those refresh tokens, in the transaction of the change that it reports.
// The version and the tokens in e itself come from the caller, and are not stored.
func appendEvent(tx *gorm.DB, e domain.Event, version domain.Version, tokens ...domain.EndedToken) error {
	slices.SortFunc(tokens, func(a, b domain.EndedToken) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	text, err := encodeTokens(tokens)
	if err != nil {
		return err
	}
	return tx.Exec(insertEvent, append(eventArgs(e), int64(version), text)...).Error
}

// maxEvents is how many events one statement stores.
const maxEvents = 64

// appendEvents is appendEvent for several events with one version, in few statements.
func appendEvents(tx *gorm.DB, events []domain.Event, version domain.Version) error {
	for chunk := range slices.Chunk(events, maxEvents) {
		var rows []string
		var args []any
		for _, e := range chunk {
			rows = append(rows, "("+placeholdersFrom(1+len(args), len(eventColumns))+")")
			args = append(args, append(eventArgs(e), int64(version), "")...)
		}
		text := `INSERT INTO events (` + columns("", eventColumns) + `) VALUES ` + strings.Join(rows, ", ")
		if err := tx.Exec(text, args...).Error; err != nil {
			return err
		}
	}
	return nil
}

// encodeTokens writes tokens as PostgreSQL does in a statement: json_build_array of each.
func encodeTokens(tokens []domain.EndedToken) (string, error) {
	if len(tokens) == 0 {
		return "", nil
	}
	rows := make([][3]string, len(tokens))
	for i, t := range tokens {
		rows[i] = [...]string{hex.EncodeToString(t.ID[:]), t.ApplicationID, t.UserID}
	}
	text, err := json.Marshal(rows)
	return string(text), err
}

func decodeTokens(text string) ([]domain.EndedToken, error) {
	if text == "" {
		return nil, nil
	}
	var rows [][3]string
	if err := json.Unmarshal([]byte(text), &rows); err != nil {
		return nil, fmt.Errorf("read the refresh tokens of an event: %w", err)
	}
	tokens := make([]domain.EndedToken, len(rows))
	for i, r := range rows {
		id, err := idOf(r[0])
		if err != nil {
			return nil, fmt.Errorf("read the refresh tokens of an event: %w", err)
		}
		tokens[i] = domain.EndedToken{ID: id, ApplicationID: r[1], UserID: r[2]}
	}
	return tokens, nil
}

// idOf reads an id in hex.
func idOf(text string) (id domain.ID, err error) {
	b, err := hex.DecodeString(text)
	if err == nil && len(b) != len(id) {
		err = fmt.Errorf("%d bytes are no id", len(b))
	}
	copy(id[:], b)
	return id, err
}

// once runs write, which changes something and stores e in one step. If write changed nothing, e may be stored already:
// this is then a repeated call, and once returns the version in the stored event. So idempotency costs a call that
// changes something nothing.
func (s *Store) once(
	ctx context.Context, e domain.Event, write func() (domain.Version, error),
) (domain.Version, error) {
	version, err := write()
	if err == nil || !isResult(err) {
		return version, err
	}
	var stored int64
	switch failed := s.reading(ctx, "look for an event", func(db *gorm.DB) error {
		return queryRow(db.Raw(eventVersion, e.ID[:]), domain.ErrNotFound, &stored)
	}); {
	case failed == nil:
		return domain.Version(stored), nil
	case errors.Is(failed, domain.ErrNotFound):
		return 0, err
	default:
		return 0, failed
	}
}

// onceOnly is once for a write without a version.
func (s *Store) onceOnly(ctx context.Context, e domain.Event, write func() error) error {
	_, err := s.once(ctx, e, func() (domain.Version, error) { return 0, write() })
	return err
}

// isResult reports whether err says why nothing was written, rather than that the call failed.
func isResult(err error) bool {
	var invalid *domain.Invalid
	return errors.Is(err, domain.ErrNotFound) || errors.Is(err, domain.ErrConflict) ||
		errors.Is(err, domain.ErrDuplicate) || errors.Is(err, domain.ErrStale) || errors.As(err, &invalid)
}

// Record implements port.Events.
func (s *Store) Record(ctx context.Context, e domain.Event) error {
	return s.onceOnly(ctx, e, func() error {
		return s.writing(ctx, "record", func(db *gorm.DB) error { return appendEvent(db, e, 0) })
	})
}

// eventsPerStatement is how many events one statement reads: as many of the largest as fill a page of a megabyte.
const eventsPerStatement = 16

// Events implements port.Events.
func (s *Store) Events(ctx context.Context, q port.EventQuery) (page port.EventPage, err error) {
	size := 0
	for {
		found, err := s.eventsBelow(ctx, q, max(1, min(eventsPerStatement, q.Limit-len(page.Events)+1)))
		if err != nil {
			return port.EventPage{}, err
		}
		for _, e := range found {
			if n := len(page.Events); n > 0 && (n >= q.Limit || size >= q.MaxBytes) {
				page.Next = page.Events[n-1].ID
				return page, nil
			}
			page.Events, size, q.Below = append(page.Events, e), size+port.EventBytes(e), e.ID
		}
		if len(found) == 0 {
			return page, nil
		}
	}
}

// eventsBelow returns the next events that q selects.
func (s *Store) eventsBelow(ctx context.Context, q port.EventQuery, limit int) (events []domain.Event, err error) {
	query, args := eventsOfAll, []any{below(q.Below), limit}
	if q.TenantID != "" {
		query, args = s.engine.eventsOfTenant, append(args, q.TenantID)
	}
	err = s.reading(ctx, "events", func(db *gorm.DB) error {
		events = nil
		return queryRows(db.Raw(query, args...), func(rows *sql.Rows) error {
			e, err := scanEvent(rows.Scan)
			events = append(events, e)
			return err
		})
	})
	return events, err
}

func scanEvent(scan scanner) (e domain.Event, err error) {
	var (
		id          []byte
		at, version int64
		tokens      string
	)
	if err := scan(&id, &at, &e.Kind, &e.Actor.Kind, &e.Actor.ID, &e.Actor.Name, &e.Actor.Address, &e.RequestID,
		&e.TenantID, &e.ObjectID, &e.ApplicationID, &e.UserID, &e.Before, &e.After, &version, &tokens); err != nil {
		return domain.Event{}, err
	}
	copy(e.ID[:], id)
	e.At, e.Version = instant(at), domain.Version(version)
	e.Tokens, err = decodeTokens(tokens)
	return e, err
}
