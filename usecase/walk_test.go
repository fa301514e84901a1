package usecase_test

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/adapter/gormstore"
	"github.com/refreshd/refreshd/adapter/jwxsigner"
	"github.com/refreshd/refreshd/adapter/memstore"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
	"github.com/refreshd/refreshd/test/storagetest"
	"github.com/refreshd/refreshd/usecase"
)

// walked is a store that notes the calls that take an event, once they succeeded.
type walked struct {
	port.Store
	calls   []walkedCall
	secrets []string          // that the store was given
	names   map[string]string // by id
}

type walkedCall struct {
	method string
	event  domain.ID
}

func (w *walked) note(method string, err error, events ...domain.Event) {
	for _, e := range events {
		if err == nil {
			w.calls = append(w.calls, walkedCall{method, e.ID})
		}
	}
}

func (w *walked) Swap(
	ctx context.Context, before, after domain.RefreshToken, now time.Time, e domain.Event,
) (err error) {
	defer func() { w.note("Swap", err, e) }()
	return w.Store.Swap(ctx, before, after, now, e)
}

func (w *walked) Rebind(
	ctx context.Context, before, after domain.RefreshToken, now time.Time, e domain.Event,
) (err error) {
	defer func() { w.note("Rebind", err, e) }()
	return w.Store.Rebind(ctx, before, after, now, e)
}

func (w *walked) Change(
	ctx context.Context, tenantID string, changes []domain.Change, now time.Time, e domain.Event,
) (err error) {
	defer func() { w.note("Change", err, e) }()
	return w.Store.Change(ctx, tenantID, changes, now, e)
}

func (w *walked) Revoke(
	ctx context.Context, tenantID string, id domain.ID, r port.Revocation, e domain.Event,
) (err error) {
	defer func() { w.note("Revoke", err, e) }()
	return w.Store.Revoke(ctx, tenantID, id, r, e)
}

func (w *walked) RevokeScope(
	ctx context.Context, s domain.Scope, except domain.ID, r port.Revocation, e domain.Event,
) (_ uint64, err error) {
	defer func() { w.note("RevokeScope", err, e) }()
	return w.Store.RevokeScope(ctx, s, except, r, e)
}

func (w *walked) KeepNewest(
	ctx context.Context, s domain.Scope, keep int, r port.Revocation, e domain.Event,
) (err error) {
	defer func() { w.note("KeepNewest", err, e) }()
	return w.Store.KeepNewest(ctx, s, keep, r, e)
}

func (w *walked) SaveTenant(
	ctx context.Context, t domain.Tenant, expect domain.Version, e domain.Event, with ...port.ApplicationWrite,
) (_ domain.Version, err error) {
	events := []domain.Event{e}
	for _, a := range with {
		events = append(events, a.Event)
	}
	defer func() { w.note("SaveTenant", err, events...) }()
	return w.Store.SaveTenant(ctx, t, expect, e, with...)
}

func (w *walked) DeleteTenant(
	ctx context.Context, id string, expect domain.Version, e domain.Event,
) (err error) {
	defer func() { w.note("DeleteTenant", err, e) }()
	return w.Store.DeleteTenant(ctx, id, expect, e)
}

func (w *walked) SaveApplication(
	ctx context.Context, a domain.Application, expect domain.Version, e domain.Event,
) (_ domain.Version, err error) {
	defer func() { w.note("SaveApplication", err, e) }()
	return w.Store.SaveApplication(ctx, a, expect, e)
}

func (w *walked) DeleteApplication(
	ctx context.Context, tenantID, id string, expect domain.Version, e domain.Event,
) (err error) {
	defer func() { w.note("DeleteApplication", err, e) }()
	return w.Store.DeleteApplication(ctx, tenantID, id, expect, e)
}

func (w *walked) SaveAPIKey(
	ctx context.Context, k domain.APIKey, expect domain.Version, e domain.Event,
) (_ domain.Version, err error) {
	w.secrets = append(w.secrets, k.Hash, k.PreviousHash)
	w.names[k.ID.String()] = k.Name
	defer func() { w.note("SaveAPIKey", err, e) }()
	return w.Store.SaveAPIKey(ctx, k, expect, e)
}

func (w *walked) DeleteAPIKey(
	ctx context.Context, id domain.ID, expect domain.Version, e domain.Event,
) (err error) {
	defer func() { w.note("DeleteAPIKey", err, e) }()
	return w.Store.DeleteAPIKey(ctx, id, expect, e)
}

func (w *walked) ChangeKeys(ctx context.Context, e domain.Event, c port.KeyChange) (err error) {
	for _, k := range c.Add {
		w.secrets = append(w.secrets, k.Sealed)
		if k.ID != "" {
			w.names[k.ID] = "signing key"
		}
	}
	defer func() { w.note("ChangeKeys", err, e) }()
	return w.Store.ChangeKeys(ctx, e, c)
}

func (w *walked) TurnCheck(ctx context.Context, e domain.Event, before, after domain.SealedKey) (err error) {
	w.secrets = append(w.secrets, after.Sealed)
	defer func() { w.note("TurnCheck", err, e) }()
	return w.Store.TurnCheck(ctx, e, before, after)
}

func (w *walked) AddKeys(ctx context.Context, e domain.Event, keys ...domain.SealedKey) (err error) {
	for _, k := range keys {
		w.secrets = append(w.secrets, k.Sealed)
		if k.ID != "" {
			w.names[k.ID] = "signing key"
		}
	}
	defer func() { w.note("AddKeys", err, e) }()
	return w.Store.AddKeys(ctx, e, keys...)
}

func (w *walked) Record(ctx context.Context, e domain.Event) (err error) {
	defer func() { w.note("Record", err, e) }()
	return w.Store.Record(ctx, e)
}

// walk is a world of which a row of the walk runs one use case.
type walk struct {
	*world
	*walked
	before []domain.Event
}

func newWalk(t *testing.T, store port.Store) *walk {
	t.Helper()
	w := &walk{walked: &walked{Store: store, names: map[string]string{}}}
	w.world = &world{clock: &clock{at: t0}, random: newCounting(), store: store}
	w.probe = &probe{Store: w.walked, Signer: jwxsigner.New(w.random)}
	w.master = newMasterKey(t, w.random)
	w.replica = w.open(t)
	must(t, storagetest.SaveTenant(t.Context(), store, domain.Tenant{ID: "acme", Name: "Acme"}))
	w.application(t, "acme", "shop", domain.Settings{})
	w.application(t, "acme", "limited", domain.Settings{MaximumActiveTokens: new(int64(1))})
	w.begin(t)
	return w
}

// begin ends the preparation: what follows is walked.
func (w *walk) begin(t *testing.T) {
	t.Helper()
	w.calls, w.before = nil, w.events(t)
}

// secret makes the walk look for these texts in events.
func (w *walk) secret(secrets ...domain.Secret) {
	for _, s := range secrets {
		w.secrets = append(w.secrets, s.Reveal())
	}
}

// session returns a new session of ana.
func (w *walk) session(t *testing.T, applicationID string) usecase.Grant {
	t.Helper()
	g := w.issued(t, applicationID)
	w.granted(g)
	return g
}

func (w *walk) granted(g usecase.Grant) {
	w.secret(g.TokenString, g.AccessToken)
	w.names[g.RefreshToken.ID.String()] = "session"
}

var (
	byClient = domain.Origin{
		Actor: domain.Actor{Kind: domain.ActorClient, Address: "192.0.2.9"}, RequestID: "exchange",
	}
	byOperator = domain.Origin{
		Actor: domain.Actor{Kind: domain.ActorOperator, Name: "root"}, RequestID: "administration",
	}
	byFile = domain.Origin{Actor: domain.Actor{Kind: domain.ActorKickstart, Name: "kickstart.yaml"}}

	walkedOrigins = map[domain.Origin]string{
		byBackend: "backend", byClient: "client", byOperator: "operator", byFile: "file", domain.Service(): "service",
	}
)

// lines describes the calls, each with its event. A call without an event, and an event without a call, are lines too.
func (w *walk) lines(events []domain.Event) (lines []string) {
	left := slices.Clone(w.calls)
	for _, e := range events {
		method := "nothing"
		if i := slices.IndexFunc(left, func(c walkedCall) bool { return c.event == e.ID }); i >= 0 {
			method = left[i].method
			left = slices.Delete(left, i, i+1)
		}
		by, known := walkedOrigins[e.Origin]
		if !known {
			by = fmt.Sprintf("%+v", e.Origin)
		}
		line := fmt.Sprintf("%s %s by %s: %s/%s/%s/%s", method, e.Kind, by, e.TenantID, e.ObjectID, e.ApplicationID,
			e.UserID)
		for id, name := range w.names {
			line = strings.ReplaceAll(line, id, name)
		}
		if e.Before != "" {
			line += " before"
		}
		if e.After != "" {
			line += " after"
		}
		text := fmt.Sprintf("%+v", e)
		if slices.ContainsFunc(w.secrets, func(s string) bool { return reveals(text, s) }) {
			line += " with a secret"
		}
		lines = append(lines, line)
	}
	for _, c := range left {
		lines = append(lines, c.method+" without an event")
	}
	slices.Sort(lines)
	return lines
}

// reveals reports whether text has the secret, in a usual form.
func reveals(text, secret string) bool {
	b := []byte(secret)
	return secret != "" && slices.ContainsFunc([]string{
		secret, hex.EncodeToString(b), base64.StdEncoding.EncodeToString(b), base64.RawURLEncoding.EncodeToString(b),
	}, func(form string) bool { return strings.Contains(text, form) })
}

// walkRow runs one exported function of the use cases.
type walkRow struct {
	name string // as writers has it
	run  func(t *testing.T, w *walk)
	want string // the lines
}

var walkedStores = map[string]func(t *testing.T) port.Store{
	"memory": func(*testing.T) port.Store { return memstore.New() },
	"SQLite": func(t *testing.T) port.Store {
		s, err := gormstore.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "refreshd.db"), gormstore.Options{})
		must(t, err)
		t.Cleanup(func() { must(t, s.Close()) })
		must(t, s.Migrate(t.Context(), func(string) {}))
		return s
	},
}

// Every write of every use case has exactly one event, which says who did what to which object, and holds no secret. A
// use case that writes and has no row here fails the test, as does one of whose writes no row has.
func TestEveryWriteOfEveryUseCaseHasItsEvent(t *testing.T) {
	want := writers(t)
	for store, open := range walkedStores {
		t.Run(store, func(t *testing.T) {
			got := map[string][]string{}
			for _, row := range walkRows() {
				t.Run(row.name, func(t *testing.T) {
					w := newWalk(t, open(t))
					row.run(t, w)
					got[row.name] = append(got[row.name], w.check(t, row)...)
				})
			}
			for name, methods := range got {
				slices.Sort(methods)
				got[name] = slices.Compact(methods)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("the writes that the source has, and those of the rows (-source +rows):\n%s", diff)
			}
		})
	}
}

// check compares the events with those that the row wants, and checks that it would notice if one were missing, were
// there twice, were another party's, or had a secret. It returns the methods that were called.
func (w *walk) check(t *testing.T, row walkRow) (methods []string) {
	t.Helper()
	keys, err := w.keys.Copy(t.Context())
	must(t, err)
	for _, k := range keys {
		w.secret(k.Plain)
	}
	var want []string
	for line := range strings.Lines(row.want) {
		if line = strings.TrimSpace(line); line != "" {
			want = append(want, line)
		}
	}
	slices.Sort(want)
	events := w.since(t, w.before)
	if diff := cmp.Diff(want, w.lines(events)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	for i := range events {
		for fault, change := range map[string]func(domain.Event) []domain.Event{
			"is missing": func(domain.Event) []domain.Event { return nil },
			"is there with another id too": func(e domain.Event) []domain.Event {
				other := e
				other.ID[15]++
				return []domain.Event{e, other}
			},
			"is of another request": func(e domain.Event) []domain.Event {
				e.RequestID += "?"
				return []domain.Event{e}
			},
			"has a secret": func(e domain.Event) []domain.Event {
				e.After += domain.Object(`{"key":"` + w.secrets[len(w.secrets)-1] + `"}`)
				return []domain.Event{e}
			},
		} {
			bad := slices.Concat(events[:i], change(events[i]), events[i+1:])
			if cmp.Equal(want, w.lines(bad)) {
				t.Errorf("%s %s, and the walk does not notice", events[i].Kind, fault)
			}
		}
	}
	for _, c := range w.calls {
		methods = append(methods, c.method)
	}
	return methods
}

// The events of a deleted tenant say who deleted it, so they stay when nothing else of it does.
func TestTheEventsOfADeletedTenantStayAfterAPurge(t *testing.T) {
	for store, open := range walkedStores {
		t.Run(store, func(t *testing.T) {
			w := newWalk(t, open(t))
			w.session(t, "shop")
			must(t, w.tenants().Delete(t.Context(), operatorOfStore, "acme", nil))
			want := w.events(t)
			var sum port.Purged
			for range 3 {
				for now := w.clock.now(); ; {
					stamped, err := w.store.Stamp(t.Context(), now, 100)
					must(t, err)
					if stamped == 0 {
						break
					}
				}
				w.clock.advance(400 * 24 * time.Hour)
				purge, _ := w.purger("this process")
				one, err := purge.Pass(t.Context(), nil)
				must(t, err)
				sum.Deleted, sum.Tenants = sum.Deleted+one.Deleted, sum.Tenants+one.Tenants
			}
			if sum.Deleted != 1 || sum.Tenants != 1 {
				t.Errorf("%d refresh tokens and %d tenants were purged, want one of each", sum.Deleted, sum.Tenants)
			}
			if diff := cmp.Diff(want, w.events(t)[:len(want)]); diff != "" {
				t.Errorf("events of the tenant (-before +after the purge):\n%s", diff)
			}
		})
	}
}
