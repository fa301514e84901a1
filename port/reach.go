package port

import (
	"context"
	"time"

	"github.com/refreshd/refreshd/domain"
)

// Reach gives resource servers the facts that they need to refuse access tokens, see [domain.Fact]. No call stores a
// fact: every method that revokes does, by what it stores anyway. A refresh token that is revoked itself is a fact. A
// mark with its epoch and a revoked signing key are facts, too. A refresh token that a mark or its expiry has ended is
// no fact, and a key of another kind is none either.
//
// Each fact gets a position, some time after it is visible to readers. A mark that is raised is a new fact: it has no
// position until it is stamped again.
type Reach interface {
	// Revoked calls each for every fact, as of one moment, that has no position or one above q.After, in any order. It
	// returns what else the store held at the same moment. That moment is not before the call, by the server that was
	// asked: only the beat of the reading shows that it was the right one. each may be called again for the same fact, and
	// for facts of a call that returns an error.
	//
	// Completeness: a reader calls Revoked with After = 0, and then each time with After = the head that its last call
	// returned, or a lower one. The facts of all its calls contain every fact whose revocation returned before the last
	// call started, except those that the janitor deleted before. If its first call has another After, facts with a
	// position up to that one may be missing. All of that holds for any interleaving of revocations, Stamp and Revoked, in
	// any number of processes, whatever their clocks show.
	Revoked(ctx context.Context, q FactQuery, each func(domain.Fact)) (Reading, error)

	// Stamp gives a new position, above all others, to at most limit each of the refresh tokens, the marks and the
	// signing keys that have none, and returns the greatest of the three numbers: if it is limit, there may be more.
	// The position is the greater of now and the last position + 1 microsecond; a store with a clock of its own, such
	// as a database server, uses that instead of now. If there is nothing to stamp, it writes nothing.
	//
	// Stamp never waits for another call. It skips what such a call has locked, and does nothing while another Stamp is in
	// progress. Positions are given one Stamp after another: a reader that sees the position of one sees those of all
	// before it.
	Stamp(ctx context.Context, now time.Time, limit int) (stamped int, err error)

	// Beat stores an instant of the process named reader, instead of its former one. It returns nil only if the write is
	// as durable as a revocation. Then the server that made it had, at the moment of the call, every write that had
	// returned by then: a server that was cut off and replaced by another cannot make a write durable. A reading that
	// shows this instant is of that server, or of one that has taken over its writes, and so shows all of them.
	//
	// A process never uses the same instant again, and makes one call at a time. Beat does not repeat a write unless it is
	// certain that the former attempt is rolled back: two servers would show the same instant. A store that cannot be
	// replaced while it runs may keep the instants in memory.
	Beat(ctx context.Context, reader string, at time.Time) error

	// LongestAccessTTL returns the longest lifetime of access tokens that a policy of any application of the tenant has
	// ever had in this store. It returns ErrNotFound if the tenant has never existed, or was purged. It returns neither by
	// what a server says that lacks the last beat of this process that was confirmed before the call: one that another
	// server has replaced may not know a policy with a longer lifetime.
	LongestAccessTTL(ctx context.Context, tenantID string) (time.Duration, error)
}

// FactQuery is what [Reach.Revoked] reads.
type FactQuery struct {
	After  domain.Position
	Reader string // the process whose beat is read; empty for none
}

// Reading is what [Reach.Revoked] has found beside facts, in the same snapshot.
type Reading struct {
	// Head is the position of the last Stamp; 0 if there was none.
	Head domain.Position
	// Beat is the instant of the reader's last Beat, in microseconds; zero if there was none, or the janitor has deleted
	// it. It may be one of a call that has not returned yet, or that returned an error.
	Beat time.Time
}
