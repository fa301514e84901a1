package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
	"github.com/refreshd/refreshd/usecase"
)

// Apply creates and updates tenants, applications and API keys so that they match a kickstart file. Objects that the
// file does not name stay, unless Prune deletes them. Apply sets every field of the objects that the file names: an
// omitted field gets its default.
type Apply struct {
	Tenants      port.Tenants
	Applications port.Applications
	APIKeys      port.APIKeys
	Keys         *usecase.Keys
	Clock        usecase.Clock
	Random       io.Reader
	// ParseClientKeys is as in Applications.
	ParseClientKeys func(keys string) error
}

// Kickstart is the content of a kickstart file.
type Kickstart struct {
	By      domain.Origin // of the events
	Tenants []KickstartTenant
	APIKeys []KickstartAPIKey
	Keys    []ImportedKey // a stored one keeps its private key if Text is zero, and its KnownAt in any case
}

// KickstartTenant is a tenant with its applications.
type KickstartTenant struct {
	Tenant       domain.Tenant
	Applications []domain.Application // Do sets TenantID
	// Secrets are the client secrets by application id. Do computes the hashes from them. An application without an entry
	// gets those of its Client, whose hashes were made with hash keys of this store; without those, the stored ones stay.
	Secrets map[string]ClientSecrets
}

// KickstartAPIKey is an API key. Do computes Hash from Key. Without a Key it takes Hash and PreviousHash, which were
// made with a hash key of this store; a stored hash of a newer hash key stays, unless Force is true. Without either,
// the stored key of that name keeps its text. A text that changes ends the former one. While a previous text is valid
// too, a change of the text is refused, unless
// Force is true: it may be one that was replaced long ago, and would end the text in use.
type KickstartAPIKey struct {
	APIKey domain.APIKey
	Key    domain.Secret
	Force  bool
}

// Applied is the result for one object.
type Applied struct {
	Kind     string // "tenant", "application", "API key" or "key"
	Name     string
	Action   string // "created", "updated" or "unchanged"; of an object that the file does not name "deleted"
	Changes  []Change
	Warnings []string
	Notes    []string
}

// Change is a changed field of an object that existed. A secret has no values.
type Change struct {
	Field    string // as in domain.FieldError, within its object
	Old, New string
}

const (
	created   = "created"
	updated   = "updated"
	unchanged = "unchanged"
	deleted   = "deleted"
)

// Validate checks everything that needs no store. The fields of its *domain.Invalid are like
// `tenants[0].applications[2].jwtConfiguration.algorithm`.
func (k Kickstart) Validate() error {
	var p domain.Problems
	tenants, issuers := map[string]bool{}, map[string]bool{}
	for i, kt := range k.Tenants {
		at := fmt.Sprintf("tenants[%d].", i)
		p.Merge(at, kt.Tenant.Validate())
		checkUnique(&p, at+"id", tenants, kt.Tenant.ID)
		checkUnique(&p, at+"issuer", issuers, kt.Tenant.Issuer)
		apps := map[string]bool{}
		for j, app := range kt.Applications {
			at := fmt.Sprintf("%sapplications[%d].", at, j)
			p.Merge(at, app.Validate(kt.Tenant))
			p.Merge(at, checkClientKeys("", app.Client.Keys, nil))
			kt.Secrets[app.ID].validate(&p, at)
			checkUnique(&p, at+"id", apps, app.ID)
		}
	}
	names, keys := map[string]bool{}, map[string]bool{}
	for i, ka := range k.APIKeys {
		at := fmt.Sprintf("apiKeys[%d].", i)
		p.Merge(at, ka.APIKey.Validate())
		checkUnique(&p, at+"name", names, ka.APIKey.Name)
		if !ka.Key.IsZero() && !domain.IsAPIKey(ka.Key.Reveal()) {
			p.Add(at+"key", domain.Malformed, keyForm)
		}
		checkUnique(&p, at+"key", keys, ka.Key.Reveal())
	}
	k.validateKeys(&p)
	return p.Err()
}

func checkUnique(p *domain.Problems, field string, seen map[string]bool, value string) {
	if value == "" {
		return
	}
	if seen[value] {
		p.Add(field, domain.Repeated, "an earlier entry has the same value: every entry needs its own")
	}
	seen[value] = true
}

// Do applies k. It first checks k, also against the store: after an *domain.Invalid of this check nothing was written.
// Then it writes each tenant that changes together with its applications that change in one step, all or none, and each
// other application and each API key by itself. It stops at the first error and returns with it what it applied before.
//
// Do overwrites only what it has read: it reads and compares again what another process wrote meanwhile, and returns
// ErrBusy if that happens too often. It then also returns an *domain.Invalid if an object that another process stored
// cannot be combined with k, or took an issuer or a key of it. Do can be called again after any error.
//
// Each object that is written has an event by k.By. An unchanged object has none.
func (a *Apply) Do(ctx context.Context, k Kickstart) ([]Applied, error) {
	p, err := a.plan(ctx, k)
	if err != nil {
		return nil, err
	}
	var done []Applied
	for i, pk := range p.keys { // before their tenants: otherwise a key would be made for an algorithm that one is for
		applied, err := a.key(ctx, k.By, k.Keys[i], pk)
		if err != nil {
			return done, usecase.Wrap("apply key "+k.Keys[i].ID, within(fmt.Sprintf("keys[%d].", i), err))
		}
		done = append(done, applied)
	}
	for i, pt := range p.tenants {
		// Keys are made before they sign, so that no verifier caches a key set without them. They stay if a tenant is
		// then refused, and are used when their algorithm is next in force.
		if i%keysTogether == 0 {
			if err := a.Keys.Prepare(ctx, k.By, keysOf(p.tenants[i:min(i+keysTogether, len(p.tenants))])); err != nil {
				return done, err
			}
		}
		applied, err := a.tenant(ctx, k.By, k.Tenants[i], pt)
		if err == nil {
			err = a.note(ctx, pt, applied)
		}
		done = append(done, applied...)
		if err != nil {
			return done, usecase.Wrap("apply tenant "+pt.tenant.ID, within(fmt.Sprintf("tenants[%d].", i), err))
		}
	}
	for i, pk := range p.apiKeys {
		applied, err := a.apiKey(ctx, k.By, k.APIKeys[i], pk)
		if err != nil {
			return done, usecase.Wrap(fmt.Sprintf("apply API key %q", pk.key.Name), within(fmt.Sprintf("apiKeys[%d].", i), err))
		}
		done = append(done, applied)
	}
	return done, nil
}

// DryRun returns what Do would return, and writes nothing.
func (a *Apply) DryRun(ctx context.Context, k Kickstart) ([]Applied, error) {
	p, err := a.plan(ctx, k)
	if err != nil {
		return nil, err
	}
	var would []Applied
	for _, pk := range p.keys {
		would = append(would, pk.applied)
	}
	for _, pt := range p.tenants {
		all := pt.all()
		if err := a.noteAhead(ctx, pt, p.keys, all); err != nil {
			return nil, usecase.Wrap("apply tenant "+pt.tenant.ID, err)
		}
		would = append(would, all...)
	}
	for _, pk := range p.apiKeys {
		would = append(would, pk.applied)
	}
	return would, nil
}

// plan is the list of objects to write.
type plan struct {
	keys    []plannedKey
	tenants []plannedTenant
	apiKeys []plannedAPIKey
}

// plannedTenant is a tenant as it is to be, the stored tenant, and the result.
type plannedTenant struct {
	tenant       domain.Tenant
	stored       domain.Tenant
	applied      Applied
	applications []plannedApplication
	policies     policies // of all its applications, also of those that k does not name
}

type plannedApplication struct {
	application, stored domain.Application
	applied             Applied
}

type plannedAPIKey struct {
	key, stored domain.APIKey
	applied     Applied
}

// all returns the results for the tenant and its applications.
func (pt plannedTenant) all() []Applied {
	all := []Applied{pt.applied}
	for _, pa := range pt.applications {
		all = append(all, pa.applied)
	}
	return all
}

// keysTogether is the number of tenants whose keys are stored in one write. Making a write durable takes most of the
// time.
const keysTogether = 100

// keysOf returns the signing keys that these tenants need.
func keysOf(tenants []plannedTenant) (wanted []usecase.SigningKeys) {
	for _, pt := range tenants {
		wanted = append(wanted, pt.policies.signingKeys(pt.tenant.ID)...)
	}
	return wanted
}

// applyAttempts is the number of attempts to write an object that other processes write too.
const applyAttempts = 10

// tenant writes a tenant with its applications as planned, and plans again while the stored objects have changed since
// they were read. An application that makes the tenant impossible was then stored meanwhile. If kt names it, the next
// attempt writes it with the tenant.
func (a *Apply) tenant(
	ctx context.Context, by domain.Origin, kt KickstartTenant, pt plannedTenant,
) (done []Applied, err error) {
	wrote := make(map[string]Applied) // applications of earlier attempts
	for attempt := 1; ; attempt++ {
		if pt.applied.Action == unchanged {
			err = a.saveApplications(ctx, by, pt, wrote)
		} else {
			err = a.saveTenant(ctx, by, pt)
		}
		var invalid *domain.Invalid
		// ErrNotFound: the tenant was deleted.
		stale := errors.Is(err, domain.ErrStale) || errors.Is(err, domain.ErrNotFound)
		again := stale || errors.Is(err, domain.ErrDuplicate) || errors.As(err, &invalid)
		switch {
		case err == nil:
			for _, one := range pt.all() {
				if earlier, ok := wrote[one.Name]; ok && one.Action == unchanged {
					one = earlier
				}
				done = append(done, one)
			}
			return done, nil
		case again && attempt < applyAttempts:
			if pt, err = a.planTenant(ctx, kt); err == nil {
				err = a.Keys.Prepare(ctx, by, keysOf([]plannedTenant{pt}))
			}
			if err == nil {
				continue
			}
		case stale:
			err = fmt.Errorf("%w: %w", domain.ErrBusy, err)
		}
		for _, app := range kt.Applications {
			if one, ok := wrote[kt.Tenant.ID+"/"+app.ID]; ok {
				done = append(done, one)
			}
		}
		return done, err
	}
}

// saveTenant writes the tenant with the applications that change, in one step.
func (a *Apply) saveTenant(ctx context.Context, by domain.Origin, pt plannedTenant) error {
	e, err := pt.event(a.newEvent(by))
	if err != nil {
		return err
	}
	var with []port.ApplicationWrite
	for _, pa := range pt.applications {
		if pa.applied.Action == unchanged {
			continue
		}
		e, err := pa.event(a.newEvent(by))
		if err != nil {
			return err
		}
		with = append(with, port.ApplicationWrite{
			Application: pa.application, Expect: pa.stored.Version, Event: e,
		})
	}
	_, err = a.Tenants.SaveTenant(ctx, pt.tenant, pt.stored.Version, e, with...)
	return err
}

// saveApplications writes the applications that change, one after another, and adds them to wrote.
func (a *Apply) saveApplications(
	ctx context.Context, by domain.Origin, pt plannedTenant, wrote map[string]Applied,
) error {
	for _, pa := range pt.applications {
		if pa.applied.Action == unchanged {
			continue
		}
		e, err := pa.event(a.newEvent(by))
		if err != nil {
			return err
		}
		if _, err := a.Applications.SaveApplication(ctx, pa.application, pa.stored.Version, e); err != nil {
			return err
		}
		wrote[pa.applied.Name] = pa.applied
	}
	return nil
}

// apiKey writes an API key, as tenant writes a tenant.
func (a *Apply) apiKey(
	ctx context.Context, by domain.Origin, ka KickstartAPIKey, pk plannedAPIKey,
) (Applied, error) {
	for attempt := 1; ; attempt++ {
		if pk.applied.Action == unchanged {
			return pk.applied, nil
		}
		if pk.applied.Action == created {
			var err error
			if pk.key.ID, err = domain.NewID(a.Clock.Now(), a.Random); err != nil {
				return Applied{}, err
			}
		}
		e, err := pk.event(a.newEvent(by))
		if err != nil {
			return Applied{}, err
		}
		_, err = a.APIKeys.SaveAPIKey(ctx, pk.key, pk.stored.Version, e)
		// If two processes create a key of one name concurrently, one finds the name taken, by the key that it wants. A
		// key whose tenant was deleted is refused when it is planned again.
		stale := errors.Is(err, domain.ErrStale)
		again := stale || errors.Is(err, domain.ErrDuplicate) || errors.Is(err, domain.ErrNotFound)
		switch {
		case err == nil:
			return pk.applied, nil
		case again && attempt < applyAttempts:
			if pk, err = a.planAPIKey(ctx, ka, nil); err != nil {
				return Applied{}, err
			}
		case stale:
			return Applied{}, fmt.Errorf("%w: %w", domain.ErrBusy, err)
		default:
			return Applied{}, err
		}
	}
}

func (a *Apply) newEvent(by domain.Origin) (domain.Event, error) {
	return newEvent(by, a.Clock, a.Random)
}

func (pt plannedTenant) event(e domain.Event, err error) (domain.Event, error) {
	return aboutTenant(e, ifStored(pt.applied, &pt.stored), &pt.tenant), err
}

func (pa plannedApplication) event(e domain.Event, err error) (domain.Event, error) {
	return aboutApplication(e, ifStored(pa.applied, &pa.stored), &pa.application), err
}

func (pk plannedAPIKey) event(e domain.Event, err error) (domain.Event, error) {
	return aboutAPIKey(e, ifStored(pk.applied, &pk.stored), &pk.key), err
}

// ifStored returns the stored object; nil if it is created.
func ifStored[T any](applied Applied, stored *T) *T {
	if applied.Action == created {
		return nil
	}
	return stored
}

// plan compares k with the store.
func (a *Apply) plan(ctx context.Context, k Kickstart) (plan, error) {
	if err := k.Validate(); err != nil {
		return plan{}, err
	}
	var (
		problems domain.Problems
		out      plan
		tenants  = make(map[string]bool)
	)
	for i, kt := range k.Tenants {
		tenants[kt.Tenant.ID] = true
		pt, err := a.planTenant(ctx, kt)
		at := fmt.Sprintf("tenants[%d].", i)
		var invalid *domain.Invalid
		if errors.As(err, &invalid) {
			problems.Merge(at, invalid)
		} else if err != nil {
			return plan{}, usecase.Wrap("apply tenant "+kt.Tenant.ID, err)
		}
		out.tenants = append(out.tenants, pt)
	}
	for i, key := range k.Keys {
		pk, err := a.planKey(ctx, key, tenants)
		var invalid *domain.Invalid
		if errors.As(err, &invalid) {
			problems.Merge(fmt.Sprintf("keys[%d].", i), invalid)
		} else if err != nil {
			return plan{}, usecase.Wrap("apply key "+key.ID, err)
		}
		out.keys = append(out.keys, pk)
	}
	for i, ka := range k.APIKeys {
		pk, err := a.planAPIKey(ctx, ka, tenants)
		var invalid *domain.Invalid
		if errors.As(err, &invalid) {
			problems.Merge(fmt.Sprintf("apiKeys[%d].", i), invalid)
		} else if err != nil {
			return plan{}, usecase.Wrap(fmt.Sprintf("apply API key %q", ka.APIKey.Name), err)
		}
		out.apiKeys = append(out.apiKeys, pk)
	}
	return out, problems.Err()
}

func (a *Apply) planTenant(ctx context.Context, kt KickstartTenant) (plannedTenant, error) {
	t, pt := kt.Tenant, plannedTenant{tenant: kt.Tenant}
	if err := checkIssuer(ctx, a.Tenants, t); err != nil {
		return pt, err
	}
	stored, err := a.Tenants.Tenant(ctx, t.ID)
	exists := err == nil
	if err != nil && !errors.Is(err, domain.ErrNotFound) {
		return pt, err
	}
	before, err := applicationsOf(ctx, a.Applications, t.ID)
	if err != nil {
		return pt, err
	}
	t.Version = stored.Version
	pt.tenant, pt.stored = t, stored
	after := maps.Clone(before)
	var problems domain.Problems
	for i, app := range kt.Applications {
		app.TenantID, app.Version = t.ID, before[app.ID].Version
		if app, err = a.client(ctx, app, before[app.ID], kt.Secrets); err != nil {
			var invalid *domain.Invalid
			if !errors.As(err, &invalid) {
				return pt, err
			}
			problems.Merge(fmt.Sprintf("applications[%d].", i), invalid)
		}
		after[app.ID] = app
		pt.applications = append(pt.applications, plannedApplication{application: app, stored: before[app.ID]})
	}
	if err := problems.Err(); err != nil {
		return pt, err
	}
	if pt.policies, err = domain.CombineAll(t, after); err != nil {
		return pt, err
	}
	storedPolicy, newPolicy := combined(stored, domain.Application{}), combined(t, domain.Application{})
	pt.applied = Applied{Kind: "tenant", Name: t.ID, Action: actionFor(exists, reflect.DeepEqual(stored, t))}
	if pt.applied.Action == updated {
		const derived = "derived from the public URL"
		pt.applied.Changes = slices.Concat(
			change("name", stored.Name, t.Name, notSet), change("issuer", stored.Issuer, t.Issuer, derived),
			loginChanges(stored.Login, t.Login),
			settingChanges(stored.Settings, t.Settings, storedPolicy, newPolicy))
	}
	for i := range pt.applications {
		pa := &pt.applications[i]
		app, old := pa.application, pa.stored
		_, exists := before[app.ID]
		pa.applied = Applied{
			Kind: "application", Name: t.ID + "/" + app.ID, Action: actionFor(exists, sameApplication(old, app)),
			Warnings: pt.policies[app.ID].Warnings(),
		}
		if pa.applied.Action == updated {
			pa.applied.Changes = slices.Concat(
				change("name", old.Name, app.Name, notSet), clientChanges(old.Client, app.Client),
				settingChanges(old.Settings, app.Settings, combined(stored, old), pt.policies[app.ID]))
		}
	}
	return pt, nil
}

// client returns an application of a file with its client secrets. On an *Invalid it is returned without them.
func (a *Apply) client(
	ctx context.Context, app, stored domain.Application, secrets map[string]ClientSecrets,
) (domain.Application, error) {
	app = tidy(app)
	if err := checkClientKeys(stored.Client.Keys, app.Client.Keys, a.ParseClientKeys); err != nil {
		return app, err
	}
	var file *ClientSecrets
	if s, ok := secrets[app.ID]; ok {
		file = &s
	}
	var err error
	app.Client.Secrets, err = a.secretsOf(ctx, app, stored, file)
	return tidy(app), err
}

func loginChanges(before, after domain.LoginEndpoints) (changes []Change) {
	was, is := before.Fields(), after.Fields()
	for i := range was {
		changes = append(changes, change(was[i].Field, was[i].Value, is[i].Value, notSet)...)
	}
	return changes
}

// combined returns the policy of stored objects, which can always be combined.
func combined(t domain.Tenant, a domain.Application) domain.Policy {
	p, _ := domain.Combine(t, a)
	return p
}

func (a *Apply) planAPIKey(ctx context.Context, ka KickstartAPIKey, tenants map[string]bool) (plannedAPIKey, error) {
	key := ka.APIKey
	pk := plannedAPIKey{key: key}
	stored, err := a.APIKeys.APIKeyByName(ctx, key.Name)
	exists := err == nil
	if err != nil && !errors.Is(err, domain.ErrNotFound) {
		return pk, err
	}
	hashes := []string{key.Hash}
	if !ka.Key.IsZero() {
		if hashes, err = a.Keys.HashesOfAPIKey(ctx, ka.Key); err != nil {
			return pk, err
		}
		key.Hash, key.HashKey = a.Keys.HashFor(stored, ka.Key)
	}
	var problems domain.Problems
	if key.Hash != "" {
		other, err := a.APIKeys.APIKeyByHash(ctx, hashes...)
		if err == nil && other.Name != key.Name {
			problems.Add("key", domain.Duplicate, "this key is stored under another name: every name needs its own key")
		} else if err != nil && !errors.Is(err, domain.ErrNotFound) {
			return pk, err
		}
	}
	if key.TenantID != "" && !tenants[key.TenantID] {
		_, err := a.Tenants.Tenant(ctx, key.TenantID)
		if errors.Is(err, domain.ErrNotFound) {
			problems.Add("tenantId", domain.Malformed, "no tenant has this id: use one of this file or of the store")
		} else if err != nil {
			return pk, err
		}
	}
	key.ID, key.Version = stored.ID, stored.Version
	if key.Hash == "" {
		if !exists {
			problems.Add("key", domain.Blank, "set the key: there is no API key of this name yet, whose text could stay")
		}
		key.Hash, key.HashKey = stored.Hash, stored.HashKey
	}
	if ka.Key.IsZero() && !ka.Force {
		key.Hash, key.HashKey = newerHash(key.Hash, key.HashKey, stored.Hash, stored.HashKey)
		key.PreviousHash, key.PreviousHashKey = newerHash(key.PreviousHash, key.PreviousHashKey,
			stored.PreviousHash, stored.PreviousHashKey)
	}
	// A file from before the key was replaced names the previous one. While that is valid the file is fulfilled.
	if exists && key.PreviousHash == "" && (key.Hash == stored.Hash || key.Hash == stored.PreviousHash) {
		key.Hash, key.HashKey = stored.Hash, stored.HashKey
		key.PreviousHash, key.PreviousHashKey = stored.PreviousHash, stored.PreviousHashKey
	}
	if key.Hash == stored.Hash && key.HashKey == 0 { // a document names the hash alone
		key.HashKey = stored.HashKey
	}
	if key.PreviousHash == stored.PreviousHash && key.PreviousHashKey == 0 {
		key.PreviousHashKey = stored.PreviousHashKey
	}
	if !ka.Force && stored.PreviousHash != "" && key.Hash != stored.Hash {
		problems.Add("key", domain.Conflict, "the stored key and its previous one are both valid, and would end: end "+
			"the previous one first (`refreshd apikey end-previous`), or apply the file with --force")
	}
	pk.key, pk.stored = key, stored
	pk.applied = Applied{Kind: "API key", Name: key.Name, Action: actionFor(exists, reflect.DeepEqual(stored, key))}
	if pk.applied.Action == updated {
		pk.applied.Changes = apiKeyChanges(stored, key)
	}
	return pk, problems.Err()
}

// newerHash returns the stored hash if it was made under a newer hash key than the file's, and the file's otherwise. An
// API key is stored under the newest hash key when it is used, after which a file with its former hash is still
// fulfilled. Whether the two hashes are of one text cannot be known. If it was replaced, the stored one is in use,
// and the file's may be of a hash key that has ended.
func newerHash(hash string, number uint32, stored string, storedNumber uint32) (string, uint32) {
	if hash != "" && stored != "" && number != 0 && number < storedNumber {
		return stored, storedNumber
	}
	return hash, number
}

// actionFor returns the action that turns the stored object into the wanted one.
func actionFor(exists, same bool) string {
	switch {
	case !exists:
		return created
	case same:
		return unchanged
	default:
		return updated
	}
}

const notSet = "not set"

// change returns the change of a field; nil if before and after are the same. none stands for an empty value.
func change(field, before, after, none string) []Change {
	if before == after {
		return nil
	}
	word := func(s string) string {
		if s == "" {
			return none
		}
		return s
	}
	return []Change{{Field: field, Old: word(before), New: word(after)}}
}

// settingChanges returns the changed settings. The value of a setting that is not set is the one then in force.
func settingChanges(before, after domain.Settings, was, is domain.Policy) (changes []Change) {
	inForce := func(set domain.Setting, policy domain.Setting) string {
		if set.Value == "" {
			return policy.Value + " (" + notSet + ")"
		}
		return set.Value
	}
	old, now, oldPolicy, newPolicy := before.List(), after.List(), was.Settings().List(), is.Settings().List()
	for i := range old {
		if old[i] != now[i] {
			changes = append(changes, Change{
				Field: old[i].Field, Old: inForce(old[i], oldPolicy[i]), New: inForce(now[i], newPolicy[i]),
			})
		}
	}
	return changes
}

func apiKeyChanges(before, after domain.APIKey) (changes []Change) {
	if before.Hash != after.Hash {
		changes = append(changes, Change{Field: "key"})
	}
	changes = append(changes, change("tenantId", before.TenantID, after.TenantID, "every tenant")...)
	endpoints := maps.Clone(before.Permissions)
	if endpoints == nil {
		endpoints = domain.Permissions{}
	}
	maps.Copy(endpoints, after.Permissions)
	for _, endpoint := range slices.Sorted(maps.Keys(endpoints)) {
		methods := func(k domain.APIKey) string { return strings.Join(k.Permissions[endpoint], " ") }
		changes = append(changes, change("permissions.endpoints."+endpoint, methods(before), methods(after), "none")...)
	}
	instant := func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return t.Format(time.RFC3339Nano)
	}
	return append(changes, change("expiresAt", instant(before.ExpiresAt), instant(after.ExpiresAt), "never")...)
}

// within adds prefix to the fields of an *Invalid.
func within(prefix string, err error) error {
	var invalid *domain.Invalid
	if !errors.As(err, &invalid) {
		return err
	}
	var p domain.Problems
	p.Merge(prefix, invalid)
	return p.Err()
}
