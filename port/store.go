package port

import (
	"context"
	"time"

	"github.com/refreshd/refreshd/domain"
)

// Store is everything that refreshd keeps, in one place, so that one handle can be opened and closed. Use cases ask for the
// part that they need.
//
// A context that is done ends a call that waits for its turn: for a connection, or behind another call. What has begun
// in the database runs to its end, or to a deadline of the store's own, some seconds; so a caller that leaves costs
// those that stay nothing, and learns no sooner how its call ended. Every wait has such a bound, also with a context
// that is never done. A call that returned an operational error may or may not have happened.
//
// Many calls that wait for one record, because somebody holds it, do not keep those for other records waiting.
type Store interface {
	RefreshTokens
	Revocations
	Directory
	APIKeys
	Keys
	Janitor

	// Ready returns nil if the store answers, lets this process write, and has a schema that this program can work on;
	// else an error that says which of these fails and what to do about it, fit for an operator. It writes nothing.
	Ready(ctx context.Context) error
	// Close frees the handle. Calls under way may fail; nothing that was answered is lost.
	Close() error
}

// RefreshTokens keeps refresh tokens: one record each, for its whole life.
//
// A refresh token is alive at an instant if it is not revoked itself, no mark that covers it has an epoch above its
// IssuedEpoch, the instant is before ExpiresAt, and its application and tenant exist (whether they are active does not matter).
// [domain.Snapshot.Alive] is the definition.
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
	//   - its last answer does not stand ([domain.RefreshToken.AnswerStands]): it is at generation 1, or c.Now is at
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
	// generation, at most one succeeds. Calls at once for different refresh tokens may share a write, but never an answer: what one
	// lacks, the others do not hear of.
	//
	// It never waits long for another writer that holds the record: a second, and no more than another one behind calls
	// that wait for it too; then it returns an operational error. A store that locks more than the record may wait
	// longer for that, and reads marks only after the wait.
	Advance(ctx context.Context, id domain.ID, c domain.Call) (domain.RefreshToken, domain.Policy, error)

	// Snapshot reads the record, the highest epoch of the marks that cover it, and its application's policy, all as of one
	// moment, dead or alive. It returns ErrNotFound if there is no such record.
	Snapshot(ctx context.Context, id domain.ID) (domain.Snapshot, error)

	// Swap stores after in the place of before, in one step, if the record still has before's Generation, RecoveredAt
	// and RecoveryPaidUntil, and is alive at now; else it writes nothing and returns ErrConflict. Stored are Generation,
	// RotatedAt, LastUsedAt, ExpiresAt, RecoveredAt, RecoveryPaidUntil, RevokedAt, RevokedReason and
	// MetaData.ClientAddress, and nothing else.
	Swap(ctx context.Context, before, after domain.RefreshToken, now time.Time) error

	// Find returns the refresh token of that tenant and id, active or ended, with the mark that ended it. ErrNotFound if
	// it is unknown, purged, or another tenant's. Whether it is active is for the caller to decide, by
	// [domain.Session.End].
	Find(ctx context.Context, tenantID string, id domain.ID) (domain.Session, error)

	// List returns a page of the refresh tokens that q selects, by id from high to low, each as Find returns it.
	//
	// It looks at refresh tokens below q.Below one after another: at those of q's user, in every application, if q names
	// a user; else at those of its application, if it names one; else at all of the tenant. Those that q.State leaves
	// out are looked at too. The page ends with the first of these:
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

	// Change stores, of each change's After, Roles, Scopes, Claims, MetaData.Device and MetaData.Data, and nothing else,
	// in one step, if each of the refresh tokens named by Before.ID is of that tenant, still has what Before has of
	// these five, and is alive at now. Else it writes nothing and returns ErrConflict; also if two changes name one
	// refresh token. No changes are no call.
	//
	// It serves for a thousand changes, and does not disturb an exchange that happens meanwhile: both are stored.
	Change(ctx context.Context, tenantID string, changes []domain.Change, now time.Time) error
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

// Revocations ends refresh tokens. What one of its methods revoked is refused to every call on the store that starts after it
// returned. A call that had started may still succeed; what it then stored is dead all the same, where it is a rotation, and may
// be dead where it is an issue.
type Revocations interface {
	// Revoke revokes the refresh token of that tenant and id if it is alive at r.At, else it returns ErrNotFound.
	Revoke(ctx context.Context, tenantID string, id domain.ID, r Revocation) error

	// RevokeScope revokes every refresh token in the scope that was stored before, and none that is stored later, in a number
	// of writes that does not depend on how many there are: the tenant's epoch grows by one, and the scope's mark takes the new
	// epoch, r.At, r.Reason and, as KeepUntil, the latest instant that one of them could have lived to: r.At + the longest
	// TTL that a policy of any application of the tenant has ever had in this store + [domain.MarkSlack]. A mark's epoch
	// and KeepUntil only grow. It returns the new epoch.
	//
	// If except is not zero, that refresh token is spared: its IssuedEpoch becomes the new epoch, in the same step. If it
	// is not within the scope and alive at r.At, nothing is written and ErrNotFound returned.
	//
	// It returns ErrNotFound, with nothing written, if the tenant does not exist or the scope names an application that does
	// not. A user needs no existence. Revocations of one tenant happen one after another.
	RevokeScope(ctx context.Context, s domain.Scope, except domain.ID, r Revocation) (epoch uint64, err error)

	// KeepNewest revokes, of the refresh tokens within the scope that are alive at r.At, all but the keep (at least 1)
	// with the highest (Ordinal, ID). A scope of a user in an application is all that it has to serve. When several
	// calls run at once, and each began after its own Insert returned, at most keep are alive when all have returned,
	// and no token that is among the keep highest of all was revoked.
	//
	// It may also set to 0 the Ordinal of refresh tokens within the scope that have ended for good and are not revoked
	// themselves, so that a store need not read them at each login: those below the epoch of a mark that covers them, and
	// those that expired at least twice [domain.ClocksMayDiffer] before r.At. They then count as 0 in what Insert sets. No
	// other loses its Ordinal, above all none that a process whose clock is behind could still exchange.
	KeepNewest(ctx context.Context, s domain.Scope, keep int, r Revocation) error
}

// Revocation is when and why.
type Revocation struct {
	At     time.Time
	Reason domain.RevocationReason
}

// Directory keeps tenants and applications.
//
// Beside each application it keeps [domain.Combine] of the application and its tenant, combined again in the same step
// as either is saved: this is the policy that Advance, Snapshot and Policy speak of. A save that would make a
// combination impossible writes nothing, also when tenant and application are saved concurrently: what is stored can
// always be combined.
type Directory interface {
	// SaveTenant creates or replaces the tenant and, in the same step, these of its applications; its other applications
	// stay. They are stored as t's, whatever their TenantID says; if an id is there twice, the last counts. The tenant's
	// epoch and marks stay as they are, also if it was deleted before. It returns ErrDuplicate, with nothing written, if
	// another tenant has its (non-empty) issuer, and the *Invalid of [domain.CombineAll], with nothing written, if its
	// settings are impossible by themselves or with one of its applications, as they would then be stored.
	SaveTenant(ctx context.Context, t domain.Tenant, with ...domain.Application) error
	// SaveApplication creates or replaces the application. ErrNotFound if its tenant does not exist; the *Invalid of
	// [domain.Combine], with nothing written, if the two cannot be combined.
	SaveApplication(ctx context.Context, a domain.Application) error

	// Tenant returns ErrNotFound if it does not exist.
	Tenant(ctx context.Context, id string) (domain.Tenant, error)
	// TenantByIssuer returns the tenant that has set this issuer, which is not empty; ErrNotFound if none has.
	TenantByIssuer(ctx context.Context, issuer string) (domain.Tenant, error)
	// Tenants returns at most limit tenants, by id.
	Tenants(ctx context.Context, limit int) ([]domain.Tenant, error)
	// Application returns ErrNotFound if it or its tenant does not exist.
	Application(ctx context.Context, tenantID, id string) (domain.Application, error)
	// Applications returns all applications of the tenant, by id; none if it does not exist.
	Applications(ctx context.Context, tenantID string) ([]domain.Application, error)
	// Policy is the effective policy of the application. ErrNotFound as above.
	Policy(ctx context.Context, tenantID, applicationID string) (domain.Policy, error)

	// DeleteApplication revokes its refresh tokens, as RevokeScope does, and removes it, in one step. ErrNotFound if it does
	// not exist. Created again, it begins without the refresh tokens of before.
	DeleteApplication(ctx context.Context, tenantID, id string, at time.Time) error
	// DeleteTenant does so with a tenant, its applications and its API keys. Its epoch and marks stay, and a tenant created
	// again under its id goes on from that epoch. Its sealed keys stay too.
	DeleteTenant(ctx context.Context, id string, at time.Time) error
}

// APIKeys keeps what API keys may do. Reads are never cached: a key that was replaced, or went with its tenant, is dead at once.
type APIKeys interface {
	// SaveAPIKey creates or replaces the key of that name. ErrDuplicate, with nothing written, if another name has its hash;
	// ErrNotFound if it names a tenant that does not exist.
	SaveAPIKey(ctx context.Context, k domain.APIKey) error
	// APIKeyByName returns ErrNotFound if there is none.
	APIKeyByName(ctx context.Context, name string) (domain.APIKey, error)
	// APIKeyByHash finds a key by [domain.HashAPIKey] of it. ErrNotFound if there is none.
	APIKeyByHash(ctx context.Context, hash string) (domain.APIKey, error)
}

// Keys keeps sealed keys. It cannot open them.
//
// Each write of a key takes the next revision of the key ring, 1 for the first, and the key carries it. Revisions are
// given one after another: when a key of some revision can be read, every key that was written under a smaller one can
// be read too, unless it was written again since. So a process that has read everything up to a revision misses nothing
// by reading only what is above it; that is how processes learn of each other's keys. A store that gave out numbers
// before it waited for others, as a sequence does, would break this: a reader would take the later of two writes for
// the end, and never see the earlier.
type Keys interface {
	// KeyRevision returns the greatest revision of a key that is stored; 0 if there are no keys.
	KeyRevision(ctx context.Context) (uint64, error)
	// KeysSince returns the keys whose revision is above the given one, by revision, at most limit (at least 1). If it
	// returns fewer, there are no more. Its cost does not depend on how many keys are stored.
	KeysSince(ctx context.Context, revision uint64, limit int) ([]domain.SealedKey, error)
	// KeysOfTenant returns the keys of that tenant, or, for an empty id, those that belong to none, in no order. Its
	// cost does not depend on how many keys other tenants have.
	KeysOfTenant(ctx context.Context, tenantID string) ([]domain.SealedKey, error)
	// KeyByID returns the key of that id, which is not empty; ErrNotFound if there is none.
	KeyByID(ctx context.Context, id string) (domain.SealedKey, error)

	// AddKeys stores these keys in one step, all or none, each under the next revision; which revision they came with
	// does not matter. ErrDuplicate, with nothing written, if for one of them there is a key of its kind, tenant,
	// algorithm and number, or (where it has one) of its id.
	AddKeys(ctx context.Context, keys ...domain.SealedKey) error
	// Reseal replaces the ciphertext of the key that before names with sealed, in one step, if it still is before.Sealed; else
	// it returns ErrConflict, with nothing written. The key takes the next revision.
	Reseal(ctx context.Context, before domain.SealedKey, sealed string) error

	// HasData reports whether the store holds anything at all besides sealed keys: a tenant, an API key, a refresh
	// token. A store with data and without the check value of its master key has lost something, and must not be
	// written to.
	HasData(ctx context.Context) (bool, error)
}

// Janitor deletes what is dead, a little at a time: in passes over everything that is stored, each of which is many calls of
// Purge. What it deleted is then unknown instead of dead, and nothing else that is asked of the store is answered differently.
type Janitor interface {
	// Purge takes the next step of the pass that is under way, or of a new one, in one step: what it deletes and where it has
	// got to are stored together. So a pass that was cut off anywhere goes on where it was, whoever takes the next step.
	//
	// One janitor works at a time: Purge returns ErrConflict, having done nothing, while the lease is another holder's, that is
	// before the LeaseUntil of that one's last step; or if it would begin a pass, s.EndedBefore is not zero, and the last pass
	// ended after it. Else the lease is s.Holder's until s.LeaseUntil, or free if this step ends the pass. The lease saves
	// work, and nothing depends on it: two that purge at once, because their clocks differ, do no harm. What a wrong clock has left
	// must not stop everybody until it is right: a lease that ends later than s.LeaseUntil + s.MayDiffer, and an end of the last pass
	// that lies later than s.Now + s.MayDiffer, are void.
	//
	// What was deleted cannot be brought back, so a clock that is ahead must not decide what was dead. A store that has a clock of
	// its own, as a database server has, reads it in the same step, and returns a *domain.ClockError, having done nothing, if it
	// and s.Now are further apart than s.MayDiffer. A store that has the process' own clock compares nothing.
	//
	// A pass looks at every refresh token that is stored while it goes on, by id from low to high, a step at no more than
	// s.Limit, and deletes those that were dead at s.Before:
	//
	//   - revoked themselves at or before it;
	//   - expired at or before it;
	//   - below the epoch of a mark that covers them and that was written at or before it. A mark that was raised since counts as
	//     written then. An application or a tenant that is gone has left such a mark.
	//
	// It deletes no other. A step waits for no call on a refresh token, passes over those that such a call holds, and is over
	// within the time of a call; the next pass finds them.
	//
	// After the last refresh token the pass deletes, in steps of no more than s.Limit, the marks whose KeepUntil is at or before
	// s.Before; then each tenant that was deleted at or before it and has no refresh token stored, after all of its marks: it
	// begins at epoch 0 if it is created again.
	//
	// s.Before must lie so far back that no call is still under way which began before it, minutes at least.
	Purge(ctx context.Context, s PurgeStep) (Purged, error)
}

// PurgeStep is what a step of the janitor needs to know.
type PurgeStep struct {
	Holder      string // who asks: a text that no other process uses
	Now         time.Time
	LeaseUntil  time.Time
	EndedBefore time.Time // zero to begin a pass whenever the last one ended
	Before      time.Time
	MayDiffer   time.Duration // how far apart clocks may be; [domain.ClocksMayDiffer] but where Now is made up
	Limit       int           // at least 1
}

// Purged is what a step did.
type Purged struct {
	LookedAt int  // refresh tokens
	Deleted  int  // refresh tokens, of those
	Marks    int  // that were deleted
	Tenants  int  // whose last trace was deleted
	Done     bool // the pass is at its end; the next step begins another
}
