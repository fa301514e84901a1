package port

import (
	"context"
	"time"

	"github.com/refreshd/refreshd/domain"
)

// RefreshTokens keeps refresh tokens: one record each, for its whole life.
//
// A refresh token is alive at an instant if it is not revoked itself, no mark that covers it has an epoch above its
// IssuedEpoch, the instant is before ExpiresAt, and its application and tenant exist (whether they are active does not
// matter). [domain.Snapshot.Alive] is the definition.
type RefreshTokens interface {
	// Insert stores t and returns it as stored. In one step with storing it, it sets
	//
	//   - IssuedEpoch to the epoch that its tenant has at that moment: no revocation can fall between the two;
	//   - Ordinal to 1 + the greatest among the refresh tokens of its user in its application that are not revoked
	//     themselves; 1 if there are none. An Insert that starts after another one returned sees that one. Two that
	//     overlap may tie.
	//
	// It returns ErrNotFound if application or tenant do not exist or are not active, and ErrDuplicate, with nothing
	// written, if a refresh token of that id exists, of any owner, active or ended. Where both are so, it may return
	// either.
	Insert(ctx context.Context, t domain.RefreshToken) (domain.RefreshToken, error)

	// Advance is the exchange: it moves the refresh token from generation c.Generation to the next, in one step, if
	//
	//   - its current generation is c.Generation and not [domain.MaxGeneration], and it is alive at c.Now;
	//   - its last answer does not stand ([domain.RefreshToken.InGracePeriod]): it is at generation 1, or c.Now is at
	//     least the grace period before or after RecoveredAt, or RotatedAt where RecoveredAt is zero;
	//   - if the policy slides ([domain.Policy.Slide] gives window and maximum; window 0 means no), IssuedAt + maximum,
	//     cut to the second, is after c.Now;
	//   - c.TenantID is empty or its tenant;
	//   - its binding is empty or c.Binding;
	//   - its application's policy is active, is OneTimeUse, and does not RequireAuthentication unless c.Authenticated;
	//   - c.AccessTokenTTL is not above the policy's.
	//
	// It then stores exactly what [domain.RefreshToken.Rotated] makes of it:
	//
	//   - Generation + 1; RotatedAt and LastUsedAt = c.Now; RecoveredAt zero; MetaData.ClientAddress = c.ClientAddress;
	//   - if the policy slides, ExpiresAt = the earlier of c.Now + window and IssuedAt + maximum, cut to the second.
	//
	// It returns the record as stored and the policy in force. If any condition fails it writes nothing and returns
	// ErrConflict, and does not say which: the caller then asks for a Snapshot. Of any number of calls at once with one
	// generation, at most one succeeds. Calls at once for different refresh tokens may share a write, but never an
	// answer: what one lacks, the others do not hear of.
	//
	// It never waits long for another writer that holds the record: a second, and no more than another one behind calls
	// that wait for it too; then it returns an operational error. A store that locks more than the record may wait
	// longer for that, and reads marks only after the wait.
	Advance(ctx context.Context, id domain.ID, c domain.Call) (domain.RefreshToken, domain.Policy, error)

	// Snapshot reads the record, the highest epoch of the marks that cover it, and its application's policy, all as of
	// one moment, dead or alive. It returns ErrNotFound if there is no such record.
	Snapshot(ctx context.Context, id domain.ID) (domain.Snapshot, error)

	// Use stores after's LastUsedAt and ExpiresAt, and nothing else, in one step, if the record still has before's
	// Generation, RecoveredAt and RecoveryPaidUntil, and is alive at now; else it writes nothing and returns
	// ErrConflict.
	Use(ctx context.Context, before, after domain.RefreshToken, now time.Time) error

	// Swap stores after in the place of before under the conditions of Use. Stored are Generation, RotatedAt,
	// LastUsedAt, ExpiresAt, RecoveredAt, RecoveryPaidUntil, RevokedAt, RevokedReason and MetaData.ClientAddress, and
	// nothing else. The event names the refresh token.
	Swap(ctx context.Context, before, after domain.RefreshToken, now time.Time, e domain.Event) error

	// Find returns the refresh token of that tenant and id, active or ended, with the mark that ended it. ErrNotFound
	// if it is unknown, purged, or another tenant's. Whether it is active is for the caller to decide, by
	// [domain.Session.End].
	Find(ctx context.Context, tenantID string, id domain.ID) (domain.Session, error)

	// List returns a page of the refresh tokens that q selects, by id from high to low, each as Find returns it.
	//
	// It looks at refresh tokens below q.Below one after another: at those of q's user, in every application, if q
	// names a user; else at those of its application, if it names one; else at all of the tenant. Those that q.State
	// leaves out are looked at too. The page ends with the first of these:
	//
	//   - the q.Limit-th refresh token on it;
	//   - the refresh token that brings their [PageBytes] to q.MaxBytes or above: it is still on the page, so that each
	//     page makes progress;
	//   - the q.MaxRows-th that List looked at.
	//
	// A store may count more bytes than PageBytes does, as it keeps them, but never fewer. It neither reads nor holds
	// much more than a page. If refresh tokens that q selects are left, Next is the id of the last one that was
	// looked at, or of the last one on the page: the page that follows has it as Below. A page with a Next may be
	// empty, and may be the last one all the same.
	//
	// Pages that follow each other show each refresh token once that q selected from before the first page was read
	// until after the last one was, whatever is stored or revoked meanwhile.
	List(ctx context.Context, q ListQuery) (Page, error)

	// Count returns how many refresh tokens q selects, on all pages together: q.Below and q.MaxBytes do not matter to
	// it. It looks at no more than q.MaxRows refresh tokens, as List does, from the highest id on, and n is at most
	// q.Limit. more reports whether there may be others: it found one more than q.Limit, or there are refresh tokens
	// that it did not look at. Where neither is so, n is the exact number.
	Count(ctx context.Context, q ListQuery) (n int, more bool, err error)

	// Change stores, of each change's After, Roles, Scopes, Claims, MetaData.Device and MetaData.Data, and nothing
	// else, in one step, if each of the refresh tokens named by Before.ID is of that tenant, still has what Before has
	// of these five, and is alive at now. Else it writes nothing and returns ErrConflict; also if two changes name one
	// refresh token. No changes are no call. The event names the refresh tokens.
	//
	// It serves for a thousand changes, and does not disturb an exchange that happens meanwhile: both are stored.
	Change(ctx context.Context, tenantID string, changes []domain.Change, now time.Time, e domain.Event) error
}

// ListQuery selects refresh tokens of a tenant, and bounds a page of them.
type ListQuery struct {
	TenantID      string
	UserID        string              // empty for every user
	ApplicationID string              // empty for every application
	State         domain.SessionState // as of Now; one of the three
	Below         domain.ID           // only ids below this one; zero for from the top
	Limit         int                 // refresh tokens on the page; at least 1
	MaxBytes      int                 // at least 1
	MaxRows       int                 // at least 1
	Now           time.Time
}

// Page is a part of a list. Next is zero if nothing is left, else what Below is for the page that follows.
type Page struct {
	Sessions []domain.Session
	Next     domain.ID
}

// PageBytes is how much t counts on a page: the lengths of the texts in it that a caller chose, but for its owner's.
func PageBytes(t domain.RefreshToken) int {
	n := len(t.Claims) + len(t.MetaData.Device.Name) + len(t.MetaData.Device.Type) + len(t.MetaData.Device.Description) +
		len(t.MetaData.Data)
	for _, list := range [][]string{t.Roles, t.Scopes} {
		for _, s := range list {
			n += len(s)
		}
	}
	return n
}
