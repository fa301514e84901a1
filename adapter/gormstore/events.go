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
	// recordEvent stores an event alone. Several processes store that of a refused API key.
	recordEvent = insertEvent + ` ON CONFLICT (id) DO NOTHING`

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
	return s.writing(ctx, "record", func(db *gorm.DB) error {
		return db.Exec(recordEvent, append(eventArgs(e), 0, "")...).Error
	})
}

// eventTexts are the statements of a page of events: of all, or of a tenant, which is their last argument.
type eventTexts struct {
	// last selects the id of the last event that is looked at: below $1, after $2 others.
	last string
	// measure selects the id and the size of the events below $1 and from $2 that are selected by $4 to $7: the first
	// $3 of them, among the first $8 of all. read selects all columns.
	measure, read string
}

// newEventTexts returns the statements where tenant is the condition on the tenant $tenant, or empty. lookedAt are the
// events that measure and read look at. find is the function that returns the position of its second text in its first
// one.
func newEventTexts(tenant, lookedAt, find string) eventTexts {
	lookedAt = strings.ReplaceAll(lookedAt, "$condition", strings.ReplaceAll(tenant, "$tenant", "$9"))
	selected := ` FROM ` + lookedAt + fmt.Sprintf(selectedEvent, find)
	return eventTexts{
		last: `SELECT id FROM events WHERE ` + strings.ReplaceAll(tenant, "$tenant", "$3") +
			`id < $1 ORDER BY id DESC LIMIT 1 OFFSET $2`,
		// PostgreSQL knows the length of a text without reading it.
		measure: `SELECT id, octet_length(before) + octet_length(after) + octet_length(tokens)` + selected,
		read:    `SELECT ` + columns("", eventColumns) + selected,
	}
}

// PostgreSQL finds the lower id by reading on to it, among few rows. A condition on the id from both sides would let it
// read the events of all tenants by the primary key. SQLite would read the texts of all these rows.
const (
	lookedAtPostgres = `(
  SELECT * FROM events WHERE $conditionid < $1 ORDER BY id DESC LIMIT $8
) AS events WHERE id >= $2`
	lookedAtSQLite = `events WHERE $conditionid < $1 AND id >= $2 AND $8 > 0`
)

// selectedEvent is port.EventQuery.Selects. One text serves all filters. None has an index, which every write of an
// event would have to change: a page looks at few events.
const selectedEvent = `
  AND (CAST($4 AS TEXT) = '' OR actor_id = $4) AND (CAST($5 AS TEXT) = '' OR object_id = $5)
  AND (CAST($6 AS TEXT) = '' OR request_id = $6) AND (CAST($7 AS TEXT) = '' OR %s($7, ',' || kind || ',') > 0)
ORDER BY id DESC LIMIT $3`

// The tenant's condition on PostgreSQL is that of its index, see 00003.
var (
	eventTextsPostgres = [...]eventTexts{
		newEventTexts(``, lookedAtPostgres, "strpos"),
		newEventTexts(`tenant_id || '/' = CAST($tenant AS TEXT) || '/' AND `, lookedAtPostgres, "strpos"),
	}
	eventTextsSQLite = [...]eventTexts{
		newEventTexts(``, lookedAtSQLite, "instr"),
		newEventTexts(`tenant_id = $tenant AND `, lookedAtSQLite, "instr"),
	}
)

// Events implements port.Events. If there is a filter, the first statement finds the last event that may be looked at.
// Then one statement finds where the page ends, and another one reads it. So no event is read that is not on the page:
// the largest have half a megabyte.
func (s *Store) Events(ctx context.Context, q port.EventQuery) (page port.EventPage, err error) {
	texts, tenant := s.engine.events[0], []any(nil)
	if q.TenantID != "" {
		texts, tenant = s.engine.events[1], []any{q.TenantID}
	}
	rows := q.Limit + 1 // if each event that is looked at is selected
	if q.IsFiltered() {
		var last []byte
		args := append([]any{below(q.Below), q.MaxRows - 1}, tenant...)
		err := s.reading(ctx, "events", func(db *gorm.DB) error { return queryRow(raw(db, texts.last, args...), nil, &last) })
		if err != nil {
			return port.EventPage{}, err
		}
		if rows = q.MaxRows; bytes.Compare(last, q.From[:]) > 0 {
			copy(q.From[:], last)
			page.Next = q.From
		}
	}
	args := slices.Concat([]any{below(q.Below), q.From[:], q.Limit + 1},
		[]any{q.ActorID, q.ObjectID, q.RequestID, kindsText(q.Kinds), rows}, tenant)
	n, last, more := 0, domain.ID{}, false
	err = s.reading(ctx, "events", func(db *gorm.DB) error {
		size := 0
		n, last, more = 0, domain.ID{}, false
		return queryRows(raw(db, texts.measure, args...), func(rows *sql.Rows) error {
			if more = n == q.Limit || size >= q.MaxBytes; more { // this one is for the next page
				return errPageEnds
			}
			var id []byte
			var bytes int
			err := rows.Scan(&id, &bytes)
			copy(last[:], id)
			n, size = n+1, size+bytes
			return err
		})
	})
	if err != nil || n == 0 {
		return port.EventPage{Next: page.Next}, err
	}
	args[1], args[2] = last[:], n
	err = s.reading(ctx, "events", func(db *gorm.DB) error {
		page.Events = make([]domain.Event, 0, n)
		return queryRows(raw(db, texts.read, args...), func(rows *sql.Rows) error {
			e, err := scanEvent(rows.Scan)
			page.Events = append(page.Events, e)
			return err
		})
	})
	if err != nil {
		return port.EventPage{}, err
	}
	// An event that was stored between the statements takes the place of the last one, which is then on the next page.
	if len(page.Events) == n && (more || page.Events[n-1].ID != last) {
		page.Next = page.Events[n-1].ID
	} else if more {
		page.Next = last
	}
	return page, nil
}

// kindsText is the argument of selectedEvent for kinds, none of which has a comma.
func kindsText(kinds []domain.EventKind) string {
	if len(kinds) == 0 {
		return ""
	}
	text := ","
	for _, k := range kinds {
		text += string(k) + ","
	}
	return text
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
