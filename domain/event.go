package domain

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// Version counts the writes of an object. An object that does not exist has version 0.
type Version uint64

// EventKind is the kind of an event: the kind of the object, and the operation.
type EventKind string

const (
	TenantCreated EventKind = "tenant.created"
	TenantUpdated EventKind = "tenant.updated"
	TenantDeleted EventKind = "tenant.deleted"

	ApplicationCreated EventKind = "application.created"
	ApplicationUpdated EventKind = "application.updated"
	ApplicationDeleted EventKind = "application.deleted"

	APIKeyCreated EventKind = "apiKey.created"
	APIKeyUpdated EventKind = "apiKey.updated"
	APIKeyDeleted EventKind = "apiKey.deleted"
	APIKeyRefused EventKind = "apiKey.refused" // a known one, for a permission or a tenant

	KeyAdded     EventKind = "key.added"
	KeyChanged   EventKind = "key.changed" // its start or its name
	KeyRetired   EventKind = "key.retired"
	KeyRevoked   EventKind = "key.revoked"
	KeysResealed EventKind = "keys.resealed" // all are sealed with another master key, which is in force

	TokenRevoked      EventKind = "token.revoked"   // one refresh token
	ManyTokensRevoked EventKind = "tokens.revoked"  // all of a scope
	TokenChanged      EventKind = "token.changed"   // roles, scopes, claims or metadata
	TokenReplayed     EventKind = "token.replayed"  // revoked by the use of an old token string
	TokenRecovered    EventKind = "token.recovered" // first use of the previous token string after the grace period
	TokenRestored     EventKind = "token.restored"  // moved to a later generation than was stored
	TokenRebound      EventKind = "token.rebound"   // bound to another key of its client
	TokenLimited      EventKind = "token.limited"   // revoked by maximumActiveTokens

	PurgePass EventKind = "purge.pass"
)

// EventKinds lists all kinds of events.
var EventKinds = []EventKind{
	TenantCreated, TenantUpdated, TenantDeleted, ApplicationCreated, ApplicationUpdated, ApplicationDeleted,
	APIKeyCreated, APIKeyUpdated, APIKeyDeleted, APIKeyRefused, KeyAdded, KeyChanged, KeyRetired,
	KeyRevoked, KeysResealed, TokenRevoked, ManyTokensRevoked, TokenChanged, TokenReplayed, TokenRecovered, TokenRestored,
	TokenRebound, TokenLimited, PurgePass,
}

// ActorKind is the kind of an actor.
type ActorKind string

const (
	ActorAPIKey    ActorKind = "apiKey"    // ID and Name are the API key's
	ActorOwner     ActorKind = "owner"     // an access token: ID is its user, Name its session
	ActorClient    ActorKind = "client"    // a token string, or a cookie that holds one
	ActorKickstart ActorKind = "kickstart" // Name is the base name of the file
	ActorService   ActorKind = "service"   // this program, by itself
	ActorOperator  ActorKind = "operator"  // of the store, with the command line; Name is the user of the system
)

// Actor is the party that caused an event. It holds no secret.
type Actor struct {
	Kind     ActorKind
	ID, Name string
	Address  string // of the client; empty where there was no request
}

// Origin is the actor and the request that a write comes from.
type Origin struct {
	Actor     Actor
	RequestID string // empty where there was no request
}

// Service returns the origin of a write that no request caused.
func Service() Origin { return Origin{Actor: Actor{Kind: ActorService}} }

// Event is one entry of the audit trail: who did what to which object, and when. It is stored in the same step as the
// change that it reports. It holds no secret.
type Event struct {
	ID ID // made by the clock of the process that writes it; writes are idempotent by this id
	At time.Time
	Origin
	Kind EventKind

	// TenantID is the object's tenant; empty for an object of no tenant. For an API key that is changed from one tenant
	// to all it is the former tenant.
	TenantID string
	// ObjectID is the id of the tenant, the application, the API key or the refresh token. For a key it is its id or,
	// if it has none, its kind and number (`token-1`); for a key and another one made in its place, it is the former's.
	// It is empty for a scope, for several refresh tokens, and for several keys.
	ObjectID string
	// ApplicationID and UserID narrow the scope of a revocation, a limit or a change of a user's sessions.
	ApplicationID, UserID string

	// Before and After describe the object. Before has only the fields that changed; After is complete for a
	// configuration object. Each has at most [MaxEventBytes].
	Before, After Object

	// The store sets the following fields.

	Version Version      // the object's new version; for a wide revocation its epoch
	Tokens  []EndedToken // by id: the refresh tokens that the write ended or changed, if it wrote each of them
}

// EndedToken names a refresh token in an event.
type EndedToken struct {
	ID                    ID
	ApplicationID, UserID string
}

// NewEvent returns an event that happened at now. Its id takes 10 bytes of random.
func NewEvent(kind EventKind, by Origin, now time.Time, random io.Reader) (Event, error) {
	id, err := NewID(now, random)
	if err != nil {
		return Event{}, fmt.Errorf("make an event: %w", err)
	}
	return Event{ID: id, At: now, Origin: by, Kind: kind}, nil
}

// RevocationEvent returns the event of a revocation at now of the refresh tokens that s selects.
func RevocationEvent(
	tenantID string, s Selector, reason RevocationReason, by Origin, now time.Time, random io.Reader,
) (Event, error) {
	after := map[string]string{"revokedReason": string(reason)}
	if s.IsToken() {
		e, err := NewEvent(TokenRevoked, by, now, random)
		e.TenantID, e.ObjectID, e.After = tenantID, s.TokenID.String(), EventObject(after)
		return e, err
	}
	if !s.Except.IsZero() {
		after["exceptTokenId"] = s.Except.String()
	}
	e, err := NewEvent(ManyTokensRevoked, by, now, random)
	e.After = EventObject(after)
	return e.About(s.Scope), err
}

// ExchangeEvent returns the event of an exchange that decided d on before, if d has an event.
func ExchangeEvent(d Decision, before RefreshToken, c Call, requestID string, random io.Reader) (Event, error) {
	by := Origin{Actor: Actor{Kind: ActorClient, Address: c.ClientAddress}, RequestID: requestID}
	e, err := NewEvent(d.Event, by, c.Now, random)
	e.TenantID, e.ObjectID = before.TenantID, before.ID.String()
	switch d.Event {
	case TokenRebound:
		e.Before = EventObject(map[string]any{"dpopJkt": before.Binding})
		e.After = EventObject(map[string]any{"dpopJkt": d.After.Binding})
	case TokenReplayed:
		e.After = EventObject(map[string]any{
			"revokedReason": d.After.RevokedReason,
			"generation":    before.Generation, "presentedGeneration": c.Generation,
		})
	case TokenRecovered:
		e.Before = EventObject(map[string]any{"recoveryPaidUntil": before.RecoveryPaidUntil})
		e.After = EventObject(map[string]any{
			"recoveryPaidUntil": d.After.RecoveryPaidUntil, "generation": before.Generation,
		})
	case TokenRestored:
		e.Before = EventObject(map[string]any{"generation": before.Generation})
		e.After = EventObject(map[string]any{"generation": d.After.Generation})
	}
	return e, err
}

// ChangeEvent returns the event of changes of refresh tokens within a scope. Its Before and After hold the changed
// fields by the id of each refresh token. If one is not zero, the change is of that refresh token alone, and they hold
// its fields.
func ChangeEvent(changes []Change, one ID, s Scope, by Origin, now time.Time, random io.Reader) (Event, error) {
	e, err := NewEvent(TokenChanged, by, now, random)
	if err != nil {
		return Event{}, err
	}
	e = e.About(s)
	size := 0
	before, after := make(map[string]any), make(map[string]any)
	for _, c := range changes {
		// A thousand of the largest would be megabytes, which EventObject would truncate.
		if size += c.Before.contentSize() + c.After.contentSize(); size > 4*MaxEventBytes {
			e.Before = EventObject(map[string]any{"truncated": true, "refreshTokens": len(changes)})
			e.After = e.Before
			return e, nil
		}
		b, a := c.Before.changedContent(c.After), c.After.changedContent(c.Before)
		if before[c.Before.ID.String()], after[c.Before.ID.String()] = b, a; !one.IsZero() {
			before, after = b, a
		}
	}
	if !one.IsZero() {
		e.ObjectID = one.String()
	}
	e.Before, e.After = EventObject(before), EventObject(after)
	return e, nil
}

// contentSize is the approximate size in an event of the fields of t that a [Patch] changes.
func (t RefreshToken) contentSize() int {
	d := t.MetaData.Device
	n := len(t.Claims) + len(t.MetaData.Data)
	for _, list := range [][]string{t.Roles, t.Scopes, {d.Name, d.Type, d.Description}} {
		for _, s := range list {
			n += len(s)
		}
	}
	return n
}

// changedContent returns the fields of t that a [Patch] changes and in which u differs.
func (t RefreshToken) changedContent(u RefreshToken) map[string]any {
	fields := make(map[string]any)
	add := func(name string, same bool, value any) {
		if !same {
			fields[name] = value
		}
	}
	object := func(o Object) any {
		if o == "" {
			return nil
		}
		return json.RawMessage(o)
	}
	d, v := t.MetaData.Device, u.MetaData.Device
	add("roles", slices.Equal(t.Roles, u.Roles), append([]string{}, t.Roles...)) // never null
	add("scopes", slices.Equal(t.Scopes, u.Scopes), append([]string{}, t.Scopes...))
	add("claims", t.Claims == u.Claims, object(t.Claims))
	add("metaData.device.name", d.Name == v.Name, d.Name)
	add("metaData.device.type", d.Type == v.Type, d.Type)
	add("metaData.device.description", d.Description == v.Description, d.Description)
	add("metaData.data", t.MetaData.Data == u.MetaData.Data, object(t.MetaData.Data))
	return fields
}

// KeyEdit is a change of one key. Before is zero for a key that is added.
type KeyEdit struct{ Before, After SealedKey }

// KeysEvent returns the event of keys that are added.
func KeysEvent(by Origin, now time.Time, random io.Reader, keys ...SealedKey) (Event, error) {
	edits := make([]KeyEdit, len(keys))
	for i, k := range keys {
		edits[i].After = k
	}
	return KeyEvent(KeyAdded, edits, nil, by, now, random)
}

// KeyEvent returns the event of one write of these keys. Its Before and After hold the fields of each by [KeyName]:
// Before what changed, After of an added key also what it is. forced, if not nil, is the reason for which the write
// would have been refused. Then After holds it too.
func KeyEvent(
	kind EventKind, edits []KeyEdit, forced *UnsafeStep, by Origin, now time.Time, random io.Reader,
) (Event, error) {
	e, err := NewEvent(kind, by, now, random)
	if err != nil {
		return Event{}, err
	}
	before, after := make(map[string]any), make(map[string]any)
	for _, edit := range edits {
		name := edit.After.KeyName()
		was, is := edit.Before.changedFields(edit.After), edit.After.changedFields(edit.Before)
		if edit.Before.Kind != "" {
			before[name] = was
		}
		if forced != nil {
			is["forced"], is["unsafe"] = true, forced.Error()
		}
		after[name] = is
	}
	if object, ok := objectOf(edits); ok {
		e.TenantID, e.ObjectID = object.TenantID, object.KeyName()
	}
	if len(before) > 0 {
		e.Before = EventObject(before)
	}
	e.After = EventObject(after)
	return e, nil
}

// objectOf returns the key that the event of a write is about: the only one that was there before or, if none was, the
// only one at all.
func objectOf(edits []KeyEdit) (object SealedKey, ok bool) {
	changed := slices.DeleteFunc(slices.Clone(edits), func(e KeyEdit) bool { return e.Before.Kind == "" })
	if len(changed) == 0 {
		changed = edits
	}
	if len(changed) != 1 {
		return SealedKey{}, false
	}
	return changed[0].After, true
}

// changedFields returns the fields of k in which other differs, for an event. Of a key that other does not name, it has
// kind, tenant and algorithm, and of the other fields those that are set.
func (k SealedKey) changedFields(other SealedKey) map[string]any {
	fields := make(map[string]any)
	if other.Kind == "" && k.Kind != "" {
		fields["kind"], fields["tenantId"], fields["algorithm"] = k.Kind, k.TenantID, k.Algorithm
	}
	if k.Name != other.Name {
		fields["name"] = k.Name
	}
	for name, at := range map[string][2]time.Time{
		"knownInstant": {k.KnownAt, other.KnownAt}, "startsInstant": {k.StartsAt, other.StartsAt},
		"unusedInstant":  {k.UnusedAt, other.UnusedAt},
		"retiredInstant": {k.RetiredAt, other.RetiredAt}, "revokedInstant": {k.RevokedAt, other.RevokedAt},
	} {
		switch {
		case at[0].Equal(at[1]):
		case at[0].IsZero():
			fields[name] = nil
		default:
			fields[name] = at[0].UnixMilli()
		}
	}
	return fields
}

// Refusal is the reason why a known API key was refused.
type Refusal string

const (
	RefusedPermission Refusal = "permission" // it does not allow the action
	RefusedTenant     Refusal = "tenant"     // it is for another tenant, or the tenant is unknown
)

// RefusalEvent returns the event of the API key, which was refused for that reason when a request from the address
// asked for the action. The event's id and instant are those of the key and of the minute: every process makes the
// same ones, so a store has one of them. The instant of the refusal itself is in After.
func RefusalEvent(k APIKey, why Refusal, action Action, tenantID, address, requestID string, now time.Time) Event {
	minute := now.Truncate(time.Minute)
	sum := sha256.Sum256(append([]byte("apiKey.refused "), k.ID[:]...))
	id, err := NewID(minute, bytes.NewReader(sum[:]))
	if err != nil {
		panic(err) // the sum is long enough
	}
	after := map[string]any{"reason": why, "action": action, "instant": now.UnixMilli()}
	if IsTenantID(tenantID) { // it is the sender's text
		after["tenantId"] = tenantID
	}
	return Event{
		ID: id, At: minute, Kind: APIKeyRefused, TenantID: k.TenantID, ObjectID: k.ID.String(), After: EventObject(after),
		Origin: Origin{Actor{ActorAPIKey, k.ID.String(), k.Name, address}, requestID},
	}
}

// About returns e as an event about the objects of a scope.
func (e Event) About(s Scope) Event {
	e.TenantID, e.ApplicationID, e.UserID = s.TenantID, s.ApplicationID, s.UserID
	return e
}

// FirstID returns the lowest id of an event that was made at that instant, to the millisecond.
func FirstID(at time.Time) (id ID) {
	for i, ms := 0, at.UnixMilli(); i < 6; i++ {
		id[i] = byte(ms >> (40 - 8*i))
	}
	return id
}

// MaxEventBytes is the largest size of an event's Before or After, in bytes.
const MaxEventBytes = 32 << 10

// EventObject returns v, which must marshal to a JSON object, for an event. An object that is too large is replaced by
// its names and its size, so that the event can still be stored.
func EventObject(v any) Object {
	text, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("an event holds a %T: %v", v, err)) // all types that events hold can be encoded
	}
	if len(text) <= MaxEventBytes {
		o, _ := NewObject(text)
		return o
	}
	const mostNames = 64 // of which none is longer than an id
	names := Object(text).names()
	short, err := json.Marshal(map[string]any{
		"truncated": true, "bytes": len(text), "names": names[:min(len(names), mostNames)],
	})
	if err != nil || len(short) > MaxEventBytes {
		return `{"truncated":true}`
	}
	return Object(short)
}

// EventObjects returns before and after of an event about a configuration object with these fields; nil fields mean
// that the object does not exist. A created or deleted object is complete. For an updated object, before has the fields
// that changed, with null for those that were not set.
func EventObjects(before, after []Setting) (b, a Object) {
	was, is := valuesOf(before), valuesOf(after)
	changed := make(map[string]any)
	for field, old := range was {
		if old != is[field] {
			changed[field] = old
		}
	}
	for field := range is {
		if _, set := was[field]; !set {
			changed[field] = nil
		}
	}
	if before != nil {
		b = EventObject(changed)
	}
	if after != nil {
		a = EventObject(is)
	}
	return b, a
}

func valuesOf(fields []Setting) map[string]string {
	values := make(map[string]string, len(fields))
	for _, s := range fields {
		if s.Value != "" {
			values[s.Field] = s.Value
		}
	}
	return values
}

// Fields returns the fields of the tenant, for an event.
func (t Tenant) Fields() []Setting {
	return slices.Concat([]Setting{{"name", t.Name}, {"issuer", t.Issuer}}, t.Login.Fields(), t.Settings.List())
}

// Fields returns the fields of the application, for an event. Of its secrets they have when each was made.
func (a Application) Fields() []Setting {
	return slices.Concat([]Setting{{"name", a.Name}}, a.Client.Fields(), []Setting{a.Client.secretTimes()},
		a.Settings.List())
}

// Fields returns the fields of the API key without its hashes, for an event.
func (k APIKey) Fields() []Setting {
	fields := []Setting{{"name", k.Name}, {"tenantId", k.TenantID}}
	if k.PreviousHash != "" {
		fields = append(fields, Setting{"hasPreviousKey", "true"})
	}
	if !k.ExpiresAt.IsZero() {
		fields = append(fields, Setting{"expiresAt", k.ExpiresAt.UTC().Format(time.RFC3339Nano)})
	}
	for _, endpoint := range slices.Sorted(maps.Keys(k.Permissions)) {
		fields = append(fields,
			Setting{"permissions.endpoints." + endpoint, strings.Join(k.Permissions[endpoint], " ")})
	}
	return fields
}
