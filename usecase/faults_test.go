package usecase_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
	"github.com/refreshd/refreshd/usecase"
	"github.com/refreshd/refreshd/usecase/admin"
)

// A client that gets an error sends the same request again. Whichever call of a port failed, and whether or not it was
// done, the result is then as if nothing had failed: no session is lost, none is duplicated, and no budget is charged
// twice.
func TestAfterAnyFaultTheSameCallAgainGivesTheSameAnswer(t *testing.T) {
	clean := newStory(t, 0, "")
	clean.play()
	calls := clean.w.probe.asked()
	for _, must := range []string{
		"Insert", "Advance", "Snapshot", "Swap", "Rebind", "Find", "List", "Change", "Count", "Revoke", "RevokeScope",
		"KeepNewest", "SaveTenant",
		"Tenant", "TenantByIssuer", "Applications", "Policy", "SaveAPIKey", "APIKeyByName", "APIKeyByHash",
		"KeyRevision", "KeysSince", "KeysOfTenant", "KeyByID", "AddKeys", "Reseal", "HasData", "NewKey", "Sign",
		"Verify", "JWKS",
	} {
		if !slices.Contains(calls, must) {
			t.Errorf("the story never calls %s, and so no fault of it is tried", must)
		}
	}
	for n, call := range calls {
		ways := []fault{notDone, done}
		if slices.Index(calls, call) == n {
			ways = append(ways, cancelled) // as notDone except for the error, so once for each kind of call is enough
		}
		for _, how := range ways {
			t.Run(fmt.Sprintf("call %d, %s, %s", n+1, call, how), func(t *testing.T) {
				t.Parallel()
				s := newStory(t, n+1, how)
				s.play()
				if !slices.Equal(s.told, clean.told) {
					t.Errorf("the clients were told something else than without the fault (-want +got):\n%s",
						cmp.Diff(clean.told, s.told))
				}
				// A wide revocation that is done twice raises the epoch twice, without a visible effect.
				if diff := cmp.Diff(clean.known, s.known,
					cmpopts.IgnoreFields(domain.RefreshToken{}, "IssuedEpoch")); diff != "" {
					t.Errorf("the store ended up with something else than without the fault (-want +got):\n%s", diff)
				}
			})
		}
	}
}

// story is a sequence of operations on a few sessions, from the first start of the service on. Each is done twice, and
// once more if it failed.
type story struct {
	t     *testing.T
	w     *world
	told  []string
	known map[domain.ID]domain.RefreshToken // as stored, after the last call
}

// told is what a client receives: words that are the same in every run, and bytes that are the same only within a run.
type told struct{ words, bytes string }

func newStory(t *testing.T, failAt int, how fault) *story {
	s := &story{t: t, w: emptyWorld(t), known: map[domain.ID]domain.RefreshToken{}}
	s.w.probe.failAt, s.w.probe.how = failAt, how
	s.w.probe.Signer = &notary{random: s.w.random} // real signatures would take most of the time of a hundred stories
	return s
}

func (s *story) play() {
	var (
		w                            = s.w
		old, phone, tablet, terminal = storyID(1), storyID(2), storyID(3), storyID(4)
	)
	start := func(c usecase.KeysConfig) func(ctx context.Context) (told, error) {
		return func(ctx context.Context) (told, error) {
			keys, err := usecase.OpenKeys(ctx, c)
			if err == nil {
				w.replica = w.replicaOf(keys)
			}
			return told{}, err
		}
	}
	s.step("start", start(w.keysConfig()))
	previous := w.master
	w.master = newMasterKey(s.t, w.random)
	changed := w.keysConfig()
	changed.Previous = &previous
	s.step("start with another master key", start(changed))
	s.step("change the master key", func(ctx context.Context) (told, error) {
		return told{}, w.keys.Reseal(ctx, byOperator, nil)
	})
	s.step("kickstart", func(ctx context.Context) (told, error) {
		done, err := w.apply.Do(ctx, kickstart())
		return told{words: fmt.Sprint(len(done))}, err
	})
	s.step("authenticate", func(ctx context.Context) (told, error) {
		caller, err := w.authenticate.Do(ctx, usecase.Credential{APIKey: backendKey}, domain.TokenIssue, "acme")
		return told{words: caller.Key.Name}, err
	})
	s.step("publish", func(ctx context.Context) (told, error) {
		set, err := w.publish.Root(ctx)
		return told{bytes: string(set)}, err
	})

	old1 := s.issue(old, "shop")
	phone1 := s.issue(phone, "shop")
	tablet1 := s.issue(tablet, "shop")
	s.exchange("the limit has ended the oldest", old1, "refused")
	terminal1 := s.issue(terminal, "terminal")

	w.clock.advance(time.Minute)
	s.exchange("the phone rotates, and loses the answer", phone1, "generation 2")
	w.clock.advance(10 * time.Second)
	phone2 := s.exchange("and retries", phone1, "generation 2")
	w.clock.advance(time.Minute)
	s.exchange("the phone rotates, and loses the answer again", phone2, "generation 3")
	w.clock.advance(time.Hour)
	phone3 := s.exchange("and recovers", phone2, "generation 3")
	w.clock.advance(time.Minute)
	phone4 := s.exchange("it shows its old access token too", phone3, "generation 4")
	s.exchange("a reusable token string stays", terminal1, "generation 1")

	tablet2 := s.exchange("the tablet rotates", tablet1, "generation 2")
	w.clock.advance(time.Hour)
	tablet2.keys.Next = "key 2"
	tablet3 := s.exchange("and again, with another key", tablet2, "generation 3")
	tablet3.keys = domain.Possession{Key: "key 2"}
	w.clock.advance(time.Hour)
	tablet1.keys = tablet3.keys
	s.exchange("a thief has its first token string, and its key", tablet1, "refused")
	s.exchange("which ends the session", tablet3, "refused")

	s.step("the terminal gets a role", func(ctx context.Context) (told, error) {
		t, err := w.patch.One(ctx, "acme", terminal.String(), rolesPatch("clerk"), byBackend)
		return told{words: fmt.Sprint(t.Roles)}, err
	})
	s.step("ana's phone and terminal get a claim", func(ctx context.Context) (told, error) {
		p, _ := domain.NewObjectPatch([]byte(`{"plan":{"name":"gold"}}`))
		n, err := w.patch.OfUser(ctx, usecase.PatchInput{TenantID: "acme", UserID: new("ana"),
			Patch: domain.Patch{Claims: &p}})
		return told{words: fmt.Sprint(n)}, err
	})
	s.exchange("the terminal continues", terminal1, "generation 1")
	s.step("list", func(ctx context.Context) (told, error) {
		page, err := w.list.Page(ctx, usecase.ListInput{TenantID: "acme", UserID: new("ana"), Limit: 10})
		var ids string
		for _, session := range page.Sessions {
			ids += session.ID.String() + " "
		}
		return told{words: ids}, err
	})
	s.step("count", func(ctx context.Context) (told, error) {
		n, more, err := w.list.Count(ctx, usecase.ListInput{TenantID: "acme", UserID: new("ana")})
		return told{words: fmt.Sprint(n, more)}, err
	})
	s.step("retrieve", func(ctx context.Context) (told, error) {
		one, err := w.list.One(ctx, usecase.OneInput{TenantID: "acme", ID: phone.String()})
		return told{words: fmt.Sprint(one.Generation)}, err
	})
	s.step("revoke all of ana's but the phone's", func(ctx context.Context) (told, error) {
		_, err := w.revoke.Do(ctx, usecase.RevokeInput{
			TenantID: "acme", Selector: domain.SelectorInput{UserID: new("ana"), ExceptTokenID: new(phone.String())},
		})
		return told{}, err
	})
	s.exchange("the terminal is out", terminal1, "refused")
	w.clock.advance(time.Minute)
	phone5 := s.exchange("the phone is not", phone4, "generation 5")
	restarted := w.keysConfig()
	s.step("start again", start(restarted))
	s.step("the phone logs itself out", func(ctx context.Context) (told, error) {
		caller, err := w.authenticate.Do(ctx, usecase.Credential{AccessToken: phone5.access}, domain.TokenRevoke, "")
		if caller.Owner != nil && errors.Is(err, domain.ErrUnauthorized) {
			return told{}, nil // its session has ended, which is what was wanted
		}
		if err != nil {
			return told{}, err
		}
		_, err = w.revoke.Do(ctx, usecase.RevokeInput{TenantID: "acme", TokenString: &phone5.tokenString,
			Owner: caller.Owner})
		if errors.Is(err, domain.ErrNotFound) {
			err = nil // it has ended, as required
		}
		return told{}, err
	})
	s.exchange("the phone is out", phone5, "refused")
}

// step calls until it succeeds, and then once more: the result must be the same bytes.
func (s *story) step(name string, call func(context.Context) (told, error)) told {
	s.t.Helper()
	first := s.attempt(name, call)
	if again := s.attempt(name+", again", call); again != first {
		s.t.Errorf("%s: the same call again was answered with something else", name)
	}
	s.told = append(s.told, name+": "+first.words)
	return first
}

// attempt calls, and calls again if a port failed meanwhile.
func (s *story) attempt(name string, call func(context.Context) (told, error)) told {
	s.t.Helper()
	before := s.w.probe.struck
	answer, err := call(s.t.Context())
	s.check(name)
	if s.w.probe.struck != before {
		if !errors.Is(err, domain.ErrUnavailable) {
			s.t.Errorf("%s: error = %v, want ErrUnavailable", name, err)
		}
		if calls := len(s.w.probe.asked()); calls != s.w.probe.struck {
			s.t.Errorf("%s: %d more calls of ports after one had failed", name, calls-s.w.probe.struck)
		}
		answer, err = call(s.t.Context())
		s.check(name + ", after the fault")
	}
	if err != nil {
		s.t.Fatalf("%s: %v", name, err)
	}
	return answer
}

func (s *story) issue(id domain.ID, applicationID string) session {
	s.t.Helper()
	s.known[id] = domain.RefreshToken{}
	var got session
	s.step("issue", func(ctx context.Context) (told, error) {
		in := usecase.IssueInput{ID: id, TenantID: "acme", ApplicationID: applicationID, UserID: "ana"}
		if id == storyID(3) {
			in.Binding = "key 1"
		}
		g, err := s.w.issue.Do(ctx, in)
		if err != nil {
			return told{}, err
		}
		got = session{id, g.TokenString, g.AccessToken, domain.Possession{Key: in.Binding}}
		return got.told(g), nil
	})
	return got
}

// exchange presents the string that a device holds; want is the prefix of the result.
func (s *story) exchange(name string, with session, want string) session {
	s.t.Helper()
	got := session{id: with.id, keys: with.keys}
	answer := s.step(name, func(ctx context.Context) (told, error) {
		out, err := s.w.exchange.Do(ctx, usecase.ExchangeInput{
			TokenString: with.tokenString, AccessToken: with.access, Possession: with.keys,
		})
		switch {
		case err != nil:
			return told{}, err
		case out.Outcome.Refused():
			return told{words: "refused"}, nil
		}
		got.tokenString, got.access = out.TokenString, out.AccessToken
		return got.told(out.Grant), nil
	})
	if answer.words != want {
		s.t.Errorf("%s: %s, want %s", name, answer.words, want)
	}
	return got
}

// check checks the invariants that hold at any moment, whatever has failed.
func (s *story) check(name string) {
	s.t.Helper()
	now := stored(s.w.clock.now())
	for id, before := range s.known {
		snapshot, err := s.w.store.Snapshot(context.Background(), id)
		if errors.Is(err, domain.ErrNotFound) && before.ID.IsZero() {
			continue
		}
		must(s.t, err)
		t := snapshot.Token
		switch {
		case t.Generation < before.Generation || t.Generation > before.Generation+1:
			s.t.Errorf("%s: generation %d became %d", name, before.Generation, t.Generation)
		case !t.RecoveredAt.IsZero() && (t.Generation > before.Generation || t.RecoveredAt.Before(t.RotatedAt)):
			s.t.Errorf("%s: generation %d was rotated at %s, and recovered at %s", name, t.Generation, t.RotatedAt,
				t.RecoveredAt)
		case t.RotatedAt.Before(before.RotatedAt) || t.RotatedAt.After(now) || t.LastUsedAt.Before(t.RotatedAt):
			s.t.Errorf("%s: rotated at %s, used at %s, now %s", name, t.RotatedAt, t.LastUsedAt, now)
		case !before.RevokedAt.IsZero() && t.RevokedAt != before.RevokedAt:
			s.t.Errorf("%s: a revocation changed", name)
		case t.RecoveryPaidUntil < before.RecoveryPaidUntil:
			s.t.Errorf("%s: a recovery was paid back", name)
		}
		s.known[id] = t
	}
	count := map[string]int{}
	for _, k := range s.w.sealed(s.t) {
		shape := fmt.Sprint(k.Kind, k.TenantID, k.Algorithm)
		if count[shape]++; count[shape] > 1 {
			s.t.Errorf("%s: there are two keys: %s", name, shape)
		}
	}
}

func storyID(n byte) domain.ID { return domain.ID{0x01, 0x9a, 6: 0x70, 8: 0x80, 15: n} }

// session is the state of a device.
type session struct {
	id                  domain.ID
	tokenString, access domain.Secret
	keys                domain.Possession
}

// notary is a signer that records what it signed. Its signatures are as deterministic as real ones.
type notary struct {
	port.Signer // nil, for the methods that no story calls: they import no key, and verify nothing of clients

	random *counting
	signed sync.Map // by token: a signedToken
}

type signedToken struct {
	domain.AccessToken
	keyID string
}

func (n *notary) NewKey(domain.Algorithm, int) (domain.Secret, error) {
	b := make([]byte, domain.KeySize)
	_, err := n.random.Read(b)
	return domain.NewSecret(string(b)), err
}

func (n *notary) Sign(_ context.Context, key domain.SigningKey, t domain.AccessToken) (string, error) {
	token := fmt.Sprintf("%x", sha256.Sum256(fmt.Append(nil, key.ID, key.Private.Reveal(), t)))
	n.signed.Store(token, signedToken{t, key.ID})
	return token, nil
}

func (n *notary) Verify(ctx context.Context, find port.FindKey, token string) (domain.AccessToken, error) {
	t, ok := n.signed.Load(token)
	if !ok {
		return domain.AccessToken{}, domain.ErrUnauthorized
	}
	if _, err := find(ctx, t.(signedToken).keyID); err != nil {
		return domain.AccessToken{}, err
	}
	return t.(signedToken).AccessToken, nil
}

func (n *notary) Forget(domain.SigningKey) {}

func (n *notary) JWKS(keys []domain.SigningKey) ([]byte, error) {
	var set []byte
	for _, k := range keys {
		set = fmt.Appendln(set, k.ID)
	}
	return set, nil
}

func (s session) told(g usecase.Grant) told {
	return told{words: fmt.Sprintf("generation %d", g.RefreshToken.Generation),
		bytes: s.tokenString.Reveal() + " " + s.access.Reveal()}
}

// kickstart returns a tenant whose users may have two sessions in one of its applications.
func kickstart() admin.Kickstart {
	return admin.Kickstart{
		Tenants: []admin.KickstartTenant{{
			Tenant: domain.Tenant{ID: "acme", Name: "Acme", Issuer: "https://login.acme.example"},
			Applications: []domain.Application{
				{ID: "shop", Name: "Shop", Settings: domain.Settings{MaximumActiveTokens: new(int64(2))}},
				{ID: "terminal", Name: "Terminal", Settings: domain.Settings{Usage: new(domain.Reusable)}},
			},
		}},
		APIKeys: []admin.KickstartAPIKey{{
			APIKey: domain.APIKey{
				Name: "backend", TenantID: "acme",
				Permissions: domain.Permissions{"/jwt/issue": {"POST"}, "/jwt/refresh": {"GET", "DELETE"}},
			},
			Key: backendKey,
		}},
	}
}

var backendKey = domain.NewSecret("ak_backend-0123456789-0123456789")
