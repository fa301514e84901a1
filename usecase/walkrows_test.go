package usecase_test

import (
	"context"
	"encoding/pem"
	"slices"
	"testing"
	"time"

	"github.com/refreshd/refreshd/adapter/memstore"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
	"github.com/refreshd/refreshd/test/storagetest"
	"github.com/refreshd/refreshd/usecase"
	"github.com/refreshd/refreshd/usecase/admin"
)

var operatorOfStore = admin.By{Operator: true, Origin: byOperator}

// walkRows are the rows of TestEveryWriteOfEveryUseCaseHasItsEvent. A line of want is
//
//	METHOD KIND by ORIGIN: tenant/object/application/user [before] [after]
func walkRows() []walkRow {
	return slices.Concat(sessionRows(), keyRows(), serviceRows(), directoryRows(), apiKeyRows(), fileRows())
}

func exchangeIn(s domain.Secret) usecase.ExchangeInput {
	return usecase.ExchangeInput{TokenString: s, ClientAddress: "192.0.2.9", RequestID: "exchange"}
}

// exchangeTo exchanges a token string with that outcome.
func (w *walk) exchangeTo(t *testing.T, s domain.Secret, want domain.Outcome) domain.Secret {
	t.Helper()
	out := w.exchangedAs(t, exchangeIn(s))
	w.secret(out.TokenString, out.AccessToken)
	wantOutcome(t, out, want, nil)
	return out.TokenString
}

func sessionRows() []walkRow {
	revoked := func(s func(w *walk, g usecase.Grant) domain.SelectorInput) func(t *testing.T, w *walk) {
		return func(t *testing.T, w *walk) {
			g := w.session(t, "shop")
			w.begin(t)
			_, err := w.revoke.Do(t.Context(), usecase.RevokeInput{TenantID: "acme", Selector: s(w, g), By: byBackend})
			must(t, err)
		}
	}
	return []walkRow{
		{"usecase.Issue.Do", func(t *testing.T, w *walk) {
			for range 2 {
				g, err := w.world.issue.Do(t.Context(), usecase.IssueInput{
					TenantID: "acme", ApplicationID: "limited", UserID: "ana", By: byBackend,
				})
				must(t, err)
				w.granted(g)
			}
		}, `AddKeys key.added by service: acme/signing key// after
			KeepNewest token.limited by backend: acme//limited/ana after
			KeepNewest without an event`}, // the first session ends none
		{"usecase.Exchange.Do", func(t *testing.T, w *walk) { // recovers
			first := w.session(t, "shop").TokenString
			w.exchangeTo(t, first, domain.Rotated)
			w.clock.advance(time.Hour)
			w.begin(t)
			w.exchangeTo(t, first, domain.Recovered)
		}, `Swap token.recovered by client: acme/session// before after`},
		{"usecase.Exchange.Do", func(t *testing.T, w *walk) { // replaces the key
			g, err := w.world.issue.Do(t.Context(), usecase.IssueInput{
				TenantID: "acme", ApplicationID: "shop", UserID: "ana", Binding: "first", By: byBackend,
			})
			must(t, err)
			w.granted(g)
			w.clock.advance(time.Hour)
			w.begin(t)
			in := exchangeIn(g.TokenString)
			in.Possession = domain.Possession{Key: "first", Next: "second"}
			w.granted(w.exchangedAs(t, in).Grant)
		}, `Rebind token.rebound by client: acme/session// before after`},
		{"usecase.Exchange.Do", func(t *testing.T, w *walk) { // finds a replay
			first := w.session(t, "shop").TokenString
			second := w.exchangeTo(t, first, domain.Rotated)
			w.clock.advance(time.Hour)
			w.exchangeTo(t, second, domain.Rotated)
			w.begin(t)
			w.exchangeTo(t, first, domain.RefusedReplayed)
		}, `Swap token.replayed by client: acme/session// after`},
		{"usecase.Exchange.Do", func(t *testing.T, w *walk) { // in a store that was restored from a backup
			later := newWalk(t, memstore.New()) // has the same keys
			first := later.session(t, "shop")
			w.granted(first)
			second := later.exchangeTo(t, first.TokenString, domain.Rotated)
			_, err := w.store.Insert(t.Context(), first.RefreshToken)
			must(t, err)
			w.world.exchange.Restored = true
			w.begin(t)
			w.exchangeTo(t, second, domain.Rotated)
		}, `AddKeys key.added by service: acme/signing key// after
			Swap token.restored by client: acme/session// before after`},
		{"usecase.Revoke.Do", revoked(func(_ *walk, g usecase.Grant) domain.SelectorInput {
			id := g.RefreshToken.ID.String()
			return domain.SelectorInput{TokenID: &id}
		}), `Revoke token.revoked by backend: acme/session// after`},
		{"usecase.Revoke.Do", revoked(func(_ *walk, g usecase.Grant) domain.SelectorInput {
			user, app := "ana", "shop"
			return domain.SelectorInput{UserID: &user, ApplicationID: &app}
		}), `RevokeScope tokens.revoked by backend: acme//shop/ana after`},
		{"usecase.Logout.Do", func(t *testing.T, w *walk) {
			g := w.session(t, "shop")
			w.begin(t)
			logout := &usecase.Logout{Revocations: w.probe, Tokens: w.probe, Keys: w.keys, Clock: w.clock.now}
			_, err := logout.Do(t.Context(), usecase.LogoutInput{
				TenantID: "acme", Ambient: []domain.Secret{g.TokenString}, By: byClient,
			})
			must(t, err)
		}, `Revoke token.revoked by client: acme/session// after`},
		{"usecase.RevokeHeld.Do", func(t *testing.T, w *walk) {
			g := w.session(t, "shop")
			w.begin(t)
			revoke := &usecase.RevokeHeld{
				Revocations: w.probe, Tokens: w.probe, Applications: w.probe, Keys: w.keys, Clock: w.clock.now,
			}
			_, err := revoke.Do(t.Context(), usecase.RevokeHeldInput{
				TenantID: "acme", Token: g.TokenString, By: byClient,
				Limit: func(domain.PresentedToken) error { return nil },
				Authenticate: func(context.Context) (usecase.ClientAuth, error) {
					return usecase.ClientAuth{Application: domain.Application{ID: "shop"}}, nil
				},
			})
			must(t, err)
		}, `Revoke token.revoked by client: acme/session// after`},
		{"usecase.Patch.One", func(t *testing.T, w *walk) {
			id := w.session(t, "shop").RefreshToken.ID.String()
			w.begin(t)
			_, err := w.patch.One(t.Context(), "acme", id, rolesPatch("clerk"), byBackend)
			must(t, err)
		}, `Change token.changed by backend: acme/session/shop/ana before after`},
		{"usecase.Patch.OfUser", func(t *testing.T, w *walk) {
			w.session(t, "shop")
			w.begin(t)
			user := "ana"
			_, err := w.patch.OfUser(t.Context(), usecase.PatchInput{
				TenantID: "acme", UserID: &user, Patch: rolesPatch("clerk"), By: byBackend,
			})
			must(t, err)
		}, `Change token.changed by backend: acme///ana before after`},
	}
}

func keyRows() []walkRow {
	const first = `AddKeys key.added by service: acme/signing key// after`
	return []walkRow{
		{"usecase.OpenKeys", func(t *testing.T, w *walk) {
			w.empty()
			w.open(t)
		}, `AddKeys key.added by service: /check-1// after
			AddKeys key.added by service: /token-1// after
			AddKeys key.added by service: /api-1// after`},
		{"usecase.OpenKeys", func(t *testing.T, w *walk) { // into an empty store, with the keys of another one
			keys, err := w.keys.Copy(t.Context())
			must(t, err)
			w.empty()
			config := w.keysConfig()
			config.Copied = &usecase.CopiedKeys{By: byOperator, Keys: keys}
			_, err = usecase.OpenKeys(t.Context(), config)
			must(t, err)
		}, `AddKeys key.added by operator: /// after`},
		{"usecase.Keys.Prepare", func(t *testing.T, w *walk) {
			must(t, w.keys.Prepare(t.Context(), byFile, []usecase.SigningKeys{{TenantID: "acme", Algorithm: "ES256"}}))
		}, `AddKeys key.added by file: acme/signing key// after`},
		{"usecase.Keys.Generate", func(t *testing.T, w *walk) {
			_, err := w.keys.Generate(t.Context(), byOperator, usecase.NewKey{Kind: domain.KeyToken})
			must(t, err)
		}, `ChangeKeys key.added by operator: /token-2// after`},
		{"usecase.Keys.Import", func(t *testing.T, w *walk) {
			private, err := w.probe.Signer.NewKey(domain.ES256, 0)
			must(t, err)
			_, err = w.keys.Import(t.Context(), byOperator, usecase.NewKey{
				ID: "imported", Kind: domain.KeySigning, TenantID: "acme", Algorithm: domain.ES256, Private: private,
			})
			must(t, err)
		}, `ChangeKeys key.added by operator: acme/signing key// after`},
		{"usecase.Keys.Rotate", func(t *testing.T, w *walk) {
			_, err := w.keys.Rotate(t.Context(), byOperator, usecase.RotateKeys{Kind: domain.KeyAPI})
			must(t, err)
		}, `ChangeKeys key.added by operator: /api-2// after`},
		{"usecase.Keys.Change", func(t *testing.T, w *walk) {
			_, err := w.keys.Change(t.Context(), byOperator, "token-1", "", usecase.KeyPatch{Name: new("first")}, false)
			must(t, err)
		}, `ChangeKeys key.changed by operator: /token-1// before after`},
		{"usecase.Keys.Retire", func(t *testing.T, w *walk) {
			_, err := w.keys.Rotate(t.Context(), byOperator, usecase.RotateKeys{Kind: domain.KeyAPI})
			must(t, err)
			w.begin(t)
			_, err = w.keys.Retire(t.Context(), byOperator, "api-1", true)
			must(t, err)
		}, `ChangeKeys key.retired by operator: /api-1// before after`},
		{"usecase.Keys.Revoke", func(t *testing.T, w *walk) {
			_, err := w.keys.Revoke(t.Context(), byOperator, "token-1", usecase.RevokeKey{})
			must(t, err)
		}, `ChangeKeys key.revoked by operator: /token-1// before after`},
		{"usecase.Keys.Reseal", func(t *testing.T, w *walk) {
			before := w.master
			w.master = newMasterKey(t, w.random)
			c := w.keysConfig()
			c.Previous = &before
			keys, err := usecase.OpenKeys(t.Context(), c)
			must(t, err)
			w.replica = w.replicaOf(keys)
			must(t, w.keys.Reseal(t.Context(), byOperator, nil))
		}, `TurnCheck keys.resealed by operator: /// before after`},
		{"usecase.KeyRotation.Pass", func(t *testing.T, w *walk) {
			w.old(t)
			w.begin(t)
			_, err := w.rotation().Pass(t.Context())
			must(t, err)
		}, `ChangeKeys key.added by service: acme/signing key// after`},
		{"usecase.KeyRotation.Run", func(t *testing.T, w *walk) {
			w.old(t)
			w.begin(t)
			ctx, cancel := context.WithCancel(t.Context())
			w.rotation().Run(ctx, func(_ usecase.KeyPass, err error) {
				must(t, err)
				cancel()
			})
		}, `ChangeKeys key.added by service: acme/signing key// after`},
		{"usecase.Publish.Tenant", func(t *testing.T, w *walk) {
			_, err := w.publish.Tenant(t.Context(), "acme")
			must(t, err)
		}, first},
		{"usecase.Publish.Metadata", func(t *testing.T, w *walk) {
			_, err := w.publish.Metadata(t.Context(), "acme")
			must(t, err)
		}, first},
		{"usecase.Publish.Root", func(t *testing.T, w *walk) {
			_, err := w.publish.Root(t.Context())
			must(t, err)
		}, first},
		{"usecase.Prove.Do", func(t *testing.T, w *walk) {
			p := &usecase.Prove{
				Tenants: w.probe, Keys: w.keys, Signer: w.probe, PublicURL: publicURL, Clock: w.clock.now,
			}
			_, err := p.Do(t.Context(), "acme", "0123456789abcdef", 0, time.Second)
			must(t, err)
		}, first},
	}
}

// empty replaces the store by an empty one.
func (w *walk) empty() {
	w.Store = memstore.New()
	w.store, w.calls, w.before = w.Store, nil, nil
}

func serviceRows() []walkRow {
	const pass = `Record purge.pass by service: /// after`
	ended := func(t *testing.T, w *walk) *usecase.Purge {
		w.sessions(t, 2)
		w.clock.advance(48 * time.Hour)
		w.begin(t)
		p, _ := w.purger("this process")
		return p
	}
	return []walkRow{
		{"usecase.Purge.Pass", func(t *testing.T, w *walk) {
			_, err := ended(t, w).Pass(t.Context(), nil)
			must(t, err)
		}, pass},
		{"usecase.Purge.Run", func(t *testing.T, w *walk) {
			ctx, stop := context.WithCancel(t.Context())
			ended(t, w).Run(ctx, time.Hour, func(p port.Purged) {
				if p.Done {
					stop()
				}
			}, func(err error) { t.Error(err) })
		}, pass},
		{"usecase.Refusals.Run", func(t *testing.T, w *walk) {
			p := usecase.NewRefusals(w.probe, func(err error) { t.Error(err) })
			e, id := refusal(1, w.clock.now())
			e.Origin = byBackend
			w.names[id.String()] = "key 1"
			p.Add(e, id)
			ctx, stop := context.WithCancel(t.Context())
			stop()
			must(t, p.Run(ctx))
		}, `Record apiKey.refused by backend: acme/key 1// after`},
	}
}

func (w *walk) tenants() *admin.Tenants {
	return &admin.Tenants{
		Tenants: w.probe, Applications: w.probe, Keys: w.keys, Clock: w.clock.now, Random: w.random,
	}
}

func (w *walk) applications() *admin.Applications {
	return &admin.Applications{
		Tenants: w.probe, Applications: w.probe, Keys: w.keys, Clock: w.clock.now, Random: w.random,
	}
}

func directoryRows() []walkRow {
	const keyOfOperator = `AddKeys key.added by operator: acme/signing key// after
		`
	ofAcme := operatorOfStore
	ofAcme.TenantID = "acme"
	return []walkRow{
		{"admin.Tenants.Create", func(t *testing.T, w *walk) {
			_, err := w.tenants().Create(t.Context(), operatorOfStore, domain.Tenant{ID: "globex", Name: "Globex"})
			must(t, err)
		}, `SaveTenant tenant.created by operator: globex/globex// after`},
		{"admin.Tenants.Create", func(t *testing.T, w *walk) { // under an id that is taken: only the key is made
			_, err := w.tenants().Create(t.Context(), operatorOfStore, domain.Tenant{ID: "acme", Name: "Another"})
			wantCodes(t, err, "[duplicate]id")
		}, keyOfOperator},
		{"admin.Tenants.Change", func(t *testing.T, w *walk) {
			_, err := w.tenants().Change(t.Context(), operatorOfStore, "acme", nil,
				func(t domain.Tenant) (domain.Tenant, error) { t.Name = "Acme again"; return t, nil })
			must(t, err)
		}, keyOfOperator + `SaveTenant tenant.updated by operator: acme/acme// before after`},
		{"admin.Tenants.Delete", func(t *testing.T, w *walk) {
			must(t, w.tenants().Delete(t.Context(), operatorOfStore, "acme", nil))
		}, `DeleteTenant tenant.deleted by operator: acme/acme// before`},
		{"admin.Applications.Create", func(t *testing.T, w *walk) {
			_, err := w.applications().Create(t.Context(), ofAcme, domain.Application{ID: "desk", Name: "Desk"})
			must(t, err)
		}, keyOfOperator + `SaveApplication application.created by operator: acme/desk// after`},
		{"admin.Applications.Change", func(t *testing.T, w *walk) {
			_, err := w.applications().Change(t.Context(), ofAcme, "shop", nil,
				func(a domain.Application) (domain.Application, error) { a.Name = "Desk"; return a, nil })
			must(t, err)
		}, keyOfOperator + `SaveApplication application.updated by operator: acme/shop// before after`},
		{"admin.Applications.NewSecret", func(t *testing.T, w *walk) {
			_, secret, err := w.applications().NewSecret(t.Context(), ofAcme, "shop", nil, false)
			must(t, err)
			w.secret(secret)
		}, keyOfOperator + `SaveApplication application.updated by operator: acme/shop// before after`},
		{"admin.Applications.EndSecrets", func(t *testing.T, w *walk) {
			shop, err := w.store.Application(t.Context(), "acme", "shop")
			must(t, err)
			shop.Client.Secrets = []domain.ClientSecret{{Hash: "hash", HashKey: 1, CreatedAt: w.clock.now()}}
			must(t, storagetest.SaveApplication(t.Context(), w.store, shop))
			w.begin(t)
			_, _, err = w.applications().EndSecrets(t.Context(), ofAcme, "shop", nil, true)
			must(t, err)
		}, keyOfOperator + `SaveApplication application.updated by operator: acme/shop// before after`},
		{"admin.Applications.Delete", func(t *testing.T, w *walk) {
			must(t, w.applications().Delete(t.Context(), ofAcme, "shop", nil))
		}, `DeleteApplication application.deleted by operator: acme/shop// before`},
	}
}

func (w *walk) apiKeys() *admin.APIKeys {
	return &admin.APIKeys{
		APIKeys: w.probe, Tenants: w.probe, Keys: w.keys, Clock: w.clock.now, Random: w.random,
	}
}

// apiKey creates an API key named second.
func (w *walk) apiKey(t *testing.T) domain.APIKey {
	t.Helper()
	k, key, err := w.apiKeys().Create(t.Context(), operatorOfStore, domain.APIKey{
		Name: "second", TenantID: "acme", Permissions: domain.Permissions{"/jwt/issue": {"POST"}},
	}, domain.Secret{})
	must(t, err)
	w.secret(key)
	return k
}

func apiKeyRows() []walkRow {
	const updated = `SaveAPIKey apiKey.updated by operator: acme/second// before after`
	return []walkRow{
		{"admin.APIKeys.Create", func(t *testing.T, w *walk) { w.apiKey(t) },
			`SaveAPIKey apiKey.created by operator: acme/second// after`},
		{"admin.APIKeys.Change", func(t *testing.T, w *walk) {
			id := w.apiKey(t).ID
			w.begin(t)
			key := domain.NewSecret("ak_another-another-another-another")
			w.secret(key)
			_, err := w.apiKeys().Change(t.Context(), operatorOfStore, id, nil,
				func(k domain.APIKey) (domain.APIKey, domain.Secret, error) { return k, key, nil })
			must(t, err)
		}, updated},
		{"admin.APIKeys.NewKey", func(t *testing.T, w *walk) {
			id := w.apiKey(t).ID
			w.begin(t)
			_, key, err := w.apiKeys().NewKey(t.Context(), operatorOfStore, id, nil, false)
			must(t, err)
			w.secret(key)
		}, updated},
		{"admin.APIKeys.EndPrevious", func(t *testing.T, w *walk) {
			id := w.apiKey(t).ID
			_, key, err := w.apiKeys().NewKey(t.Context(), operatorOfStore, id, nil, false)
			must(t, err)
			w.secret(key)
			w.begin(t)
			_, _, err = w.apiKeys().EndPrevious(t.Context(), operatorOfStore, id, nil)
			must(t, err)
		}, updated},
		{"admin.APIKeys.Delete", func(t *testing.T, w *walk) {
			id := w.apiKey(t).ID
			w.begin(t)
			must(t, w.apiKeys().Delete(t.Context(), operatorOfStore, id, nil))
		}, `DeleteAPIKey apiKey.deleted by operator: acme/second// before`},
	}
}

func fileRows() []walkRow {
	acme := func(applications ...domain.Application) []admin.KickstartTenant {
		return []admin.KickstartTenant{{
			Tenant: domain.Tenant{ID: "acme", Name: "Acme"}, Applications: applications,
		}}
	}
	return []walkRow{
		{"admin.Apply.Do", func(t *testing.T, w *walk) {
			key := domain.NewSecret("ak_kickstart-kickstart-kickstart")
			w.secret(key)
			_, err := w.apply.Do(t.Context(), admin.Kickstart{
				By: byFile,
				Tenants: []admin.KickstartTenant{{
					Tenant:       domain.Tenant{ID: "globex", Name: "Globex"},
					Applications: []domain.Application{{ID: "shop", Name: "Shop"}, {ID: "desk", Name: "Desk"}},
				}},
				APIKeys: []admin.KickstartAPIKey{{Key: key, APIKey: domain.APIKey{
					Name: "second", TenantID: "globex", Permissions: domain.Permissions{"/jwt/issue": {"POST"}},
				}}},
			})
			must(t, err)
		}, `AddKeys key.added by file: globex/signing key// after
			SaveTenant tenant.created by file: globex/globex// after
			SaveTenant application.created by file: globex/shop// after
			SaveTenant application.created by file: globex/desk// after
			SaveAPIKey apiKey.created by file: globex/second// after`},
		{"admin.Apply.Do", func(t *testing.T, w *walk) {
			w.session(t, "shop") // which makes the key
			w.begin(t)
			_, err := w.apply.Do(t.Context(), admin.Kickstart{
				By: byFile, Tenants: acme(domain.Application{ID: "shop", Name: "Desk"}),
			})
			must(t, err)
		}, `SaveApplication application.updated by file: acme/shop// before after`},
		{"admin.Apply.Do", func(t *testing.T, w *walk) {
			private, err := w.probe.Signer.NewKey(domain.ES256, 0)
			must(t, err)
			text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte(private.Reveal())})
			_, err = w.apply.Do(t.Context(), admin.Kickstart{By: byFile, Keys: []admin.ImportedKey{{
				NewKey: usecase.NewKey{ID: "imported", TenantID: "acme"}, Text: domain.NewSecret(string(text)),
			}}})
			must(t, err)
		}, `ChangeKeys key.added by file: acme/signing key// after`},
		{"admin.Prune.Delete", func(t *testing.T, w *walk) {
			w.apiKey(t)
			_, err := w.tenants().Create(t.Context(), operatorOfStore, domain.Tenant{ID: "globex", Name: "Globex"})
			must(t, err)
			w.begin(t)
			p := &admin.Prune{Apply: *w.apply, Tokens: w.probe}
			list, err := p.Unnamed(t.Context(), admin.Kickstart{Tenants: acme(domain.Application{ID: "shop"})})
			must(t, err)
			_, err = p.Delete(t.Context(), byFile, list)
			must(t, err)
		}, `DeleteAPIKey apiKey.deleted by file: acme/second// before
			DeleteApplication application.deleted by file: acme/limited// before
			DeleteTenant tenant.deleted by file: globex/globex// before`},
	}
}
