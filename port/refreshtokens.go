package port

import (
	"context"
	"time"

	"github.com/refreshd/refreshd/domain"
)

// RefreshTokens stores refresh tokens: one record each, from issue until it is purged.
//
// A refresh token is active at an instant if it is not revoked itself, no mark that covers it has an epoch above its
// IssuedEpoch, the instant is before ExpiresAt, and its application and tenant exist. Whether these are switched on
// does not matter. [domain.Snapshot.Alive] is the definition.
type RefreshTokens interface {
	// Insert stores t and returns it as stored. In the same step it sets
	//
	//   - IssuedEpoch to the epoch that its tenant has at that moment, so that no revocation can come between the two;
	//   - Ordinal to 1 + the greatest among the refresh tokens of its user in its application that are not revoked
	//     themselves; 1 if there are none. An Insert that starts after another one returned sees that one. Two that
	//     overlap may set the same.
	//
	// It returns ErrNotFound if application or tenant do not exist or are switched off, and ErrDuplicate, with nothing
	// written, if a refresh token of that id exists, of any owner, active or ended. If both apply, it may return
	// either.
	Insert(ctx context.Context, t domain.RefreshToken) (domain.RefreshToken, error)

	// Advance is the exchange: it moves the refresh token from generation c.Generation to the next, in one step, if
	//
	//   - its current generation is c.Generation and not [domain.MaxGeneration], and it is active at c.Now;
	//   - it is not in the grace period ([domain.RefreshToken.InGracePeriod]): it is at generation 1, or c.Now is at
	//     least the grace period before or after RecoveredAt, or RotatedAt if RecoveredAt is zero;
	//   - if the policy slides ([domain.Policy.Slide] returns window and maximum; a window of 0 means that it does
	//     not), IssuedAt + maximum, rounded down to the second, is after c.Now;
	//   - c.TenantID is empty or its tenant;
	//   - c.ApplicationID is empty or its application;
	//   - its binding is empty or c.Binding;
	//   - its application's policy is active, is OneTimeUse, and does not RequireAuthentication unless c.Authenticated;
	//   - c.AccessTokenTTL is not above the policy's.
	//
	// It then stores exactly the record that [domain.RefreshToken.Rotated] returns:
	//
	//   - Generation + 1; RotatedAt and LastUsedAt = c.Now; RecoveredAt zero; MetaData.ClientAddress = c.ClientAddress;
	//   - if the policy slides, ExpiresAt = the earlier of c.Now + window and IssuedAt + maximum, rounded down to the
	//     second.
	//
	// It returns the record as stored and the policy in force. If any condition fails it writes nothing and returns
	// ErrConflict, without saying which; the caller then reads a Snapshot. Of any number of concurrent calls with one
	// generation, at most one succeeds. Concurrent calls for different refresh tokens may share a write, but not a
	// result: the failure of one does not affect the others.
	//
	// It waits at most a second for another writer that has locked the record, and at most one second more behind other
	// calls that wait for the record. Then it returns an operational error. A store that locks more than the record may
	// wait longer for that lock, and reads marks only after the wait.
	Advance(ctx context.Context, id domain.ID, c domain.Call) (domain.RefreshToken, domain.Policy, error)

	// Snapshot reads the record, the highest epoch of the marks that cover it, and its application's policy, all as of
	// one moment, whether it is active or has ended. It returns ErrNotFound if there is no such record.
	Snapshot(ctx context.Context, id domain.ID) (domain.Snapshot, error)

	// Use stores LastUsedAt and ExpiresAt of after, and nothing else, in one step, if the record's Generation, RecoveredAt
	// and RecoveryPaidUntil still equal those in before, and it is active at now. Otherwise it writes nothing and returns
	// ErrConflict.
	Use(ctx context.Context, before, after domain.RefreshToken, now time.Time) error

	// Swap replaces before with after under the conditions of Use. It stores Generation, RotatedAt, LastUsedAt,
	// ExpiresAt, RecoveredAt, RecoveryPaidUntil, RevokedAt, RevokedReason and MetaData.ClientAddress, and nothing else.
	// The event names the refresh token.
	Swap(ctx context.Context, before, after domain.RefreshToken, now time.Time, e domain.Event) error

	// Rebind stores Binding of after, and nothing else, in one step, if the record's Binding still equals that in before,
	// and the record is active at now. Otherwise it writes nothing and returns ErrConflict. The event names the refresh
	// token. Of concurrent calls with the same before, one succeeds. A concurrent Advance that stores is kept.
	Rebind(ctx context.Context, before, after domain.RefreshToken, now time.Time, e domain.Event) error

	// Find returns the refresh token of that tenant and id, active or ended, with the mark that ended it. It returns
	// ErrNotFound if it is unknown, purged, or another tenant's. The caller decides whether it is active, by
	// [domain.Session.End].
	Find(ctx context.Context, tenantID string, id domain.ID) (domain.Session, error)

	// List returns a page of the refresh tokens that q selects, by id from high to low, each as Find returns it.
	//
	// It reads refresh tokens below q.Below one after another: those of q.UserID, in every application, if it is set;
	// otherwise those of q.ApplicationID, if it is set; otherwise all of the tenant. It also reads those that q.State
	// excludes. The page ends with the first of these:
	//
	//   - the q.Limit-th refresh token on it;
	//   - the refresh token with which the sum of their [PageBytes] reaches q.MaxBytes, which is still on the page, so
	//     that each page makes progress;
	//   - the q.MaxRows-th refresh token that List reads.
	//
	// A store may count more bytes than PageBytes, as it stores them, but never fewer. It reads and holds not much more
	// than a page. If there are more refresh tokens that q selects, Next is the id of the last one that was read, or of
	// the last one on the page: it is Below of the next page. A page with a Next may be empty, and may be the last one.
	//
	// Consecutive pages list each refresh token once that q selected from before the first page was read until after
	// the last one was, whatever is stored or revoked meanwhile.
	List(ctx context.Context, q ListQuery) (Page, error)

	// Count returns the number of refresh tokens that q selects on all pages together, regardless of q.Below and
	// q.MaxBytes. It reads at most q.MaxRows refresh tokens, as List does, from the highest id on, and n is at most
	// q.Limit. more reports that there may be others: it found one more than q.Limit, or there are refresh tokens that
	// it did not read. Otherwise n is the exact number.
	Count(ctx context.Context, q ListQuery) (n int, more bool, err error)

	// Change stores Roles, Scopes, Claims, MetaData.Device and MetaData.Data of each change's After, and nothing else,
	// in one step, if each of the refresh tokens named by Before.ID belongs to that tenant, has these
	// five values unchanged from Before, and is active at now. Otherwise, and if two changes name one refresh token, it
	// writes nothing and returns ErrConflict. Without changes it does nothing and returns nil. The event names the
	// refresh tokens.
	//
	// It must support a thousand changes, and does not disturb a concurrent exchange: both are stored.
	Change(ctx context.Context, tenantID string, changes []domain.Change, now time.Time, e domain.Event) error
}

// ListQuery selects refresh tokens of a tenant, and bounds a page of them.
type ListQuery struct {
	TenantID      string
	UserID        string              // empty for every user
	ApplicationID string              // empty for every application
	State         domain.SessionState // at Now; one of the three
	Below         domain.ID           // only ids below this one; zero for all
	Limit         int                 // refresh tokens on the page; at least 1
	MaxBytes      int                 // at least 1
	MaxRows       int                 // at least 1
	Now           time.Time
}

// Page is one page of a list. Next is Below of the next page, or zero on the last page.
type Page struct {
	Sessions []domain.Session
	Next     domain.ID
}

// PageBytes is the size of t on a page: the lengths of the texts that a caller chose, without the ids of its owner.
func PageBytes(t domain.RefreshToken) int {
	n := len(t.Claims) + len(t.MetaData.Device.Name) + len(t.MetaData.Device.Type) +
		len(t.MetaData.Device.Description) +
		len(t.MetaData.Data)
	for _, list := range [][]string{t.Roles, t.Scopes} {
		for _, s := range list {
			n += len(s)
		}
	}
	return n
}
