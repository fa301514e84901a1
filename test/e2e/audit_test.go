package e2e_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/adapter/gormstore"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// auditEvent is an event as GET /audit lists it.
type auditEvent struct {
	ID, Kind, TenantID, ApplicationID, UserID, ObjectID string
	Actor                                               struct{ Kind string }
	Instant                                             int64
	Version                                             uint64
	Before, After                                       json.RawMessage
	Tokens                                              []struct{ ID string }
}

// issued is a session that the test had issued. Those of one instant were issued before what was done at that instant.
type issued struct {
	id, tenantID, applicationID, userID string
	at                                  int64
}

// audited is what an audit trail says: the fields of each object that exists, and the sessions that were revoked.
type audited struct {
	Objects map[string]string
	Revoked []string
}

// replayed returns what the events, and the issues, which have none, lead to. It returns an error if an event does not
// follow from those before it.
func replayed(events []auditEvent, issues []issued) (audited, error) {
	// The objects of a tenant have one counter, and each API key has its own: the order is that of the versions.
	type write struct {
		auditEvent
		object string
	}
	isDeletion := func(w write) bool { return strings.HasSuffix(w.Kind, ".deleted") }
	families := map[string][]write{}
	for _, e := range events {
		switch kind, _, _ := strings.Cut(e.Kind, "."); kind {
		case "tenant":
			families[e.TenantID] = append(families[e.TenantID], write{e, "tenant " + e.ObjectID})
		case "application":
			families[e.TenantID] = append(families[e.TenantID], write{e, "application " + e.TenantID + "/" + e.ObjectID})
		case "apiKey":
			if e.Kind != string(domain.APIKeyRefused) {
				families["key "+e.ObjectID] = append(families["key "+e.ObjectID], write{e, "apiKey " + e.ObjectID})
			}
		}
	}
	result := audited{Objects: map[string]string{}}
	for family, writes := range families {
		slices.SortStableFunc(writes, func(a, b write) int { return cmp.Compare(a.Version, b.Version) })
		// A deletion has an epoch instead of a version: it comes before the creation of the same object again, or last.
		deletions := map[string][]write{}
		deleteObject := func(object string) error {
			w := deletions[object][0]
			was, exists := result.Objects[object]
			if deletions[object] = deletions[object][1:]; !exists {
				return fmt.Errorf("%s was deleted, but did not exist", object)
			}
			delete(result.Objects, object)
			if tenant, ok := strings.CutPrefix(object, "tenant "); ok {
				maps.DeleteFunc(result.Objects, func(object, _ string) bool {
					return strings.HasPrefix(object, "application "+tenant+"/")
				})
			}
			return follows(was, w.Before)
		}
		for _, w := range writes {
			if isDeletion(w) {
				deletions[w.object] = append(deletions[w.object], w)
			}
		}
		last := uint64(0)
		for _, w := range slices.DeleteFunc(writes, isDeletion) {
			if w.Version != last && w.Version != last+1 {
				return audited{}, fmt.Errorf("%s: version %d follows %d", family, w.Version, last)
			}
			last = w.Version
			created := strings.HasSuffix(w.Kind, ".created")
			if _, exists := result.Objects[w.object]; created && exists && len(deletions[w.object]) > 0 {
				if err := deleteObject(w.object); err != nil {
					return audited{}, err
				}
			}
			was, exists := result.Objects[w.object]
			if exists == created {
				return audited{}, fmt.Errorf("%s of %s, but exists: %t", w.Kind, w.object, exists)
			}
			if exists {
				if err := follows(was, w.Before); err != nil {
					return audited{}, fmt.Errorf("%s of version %d: %w", w.object, w.Version, err)
				}
			}
			result.Objects[w.object] = string(w.After)
		}
		for object := range deletions {
			for len(deletions[object]) > 0 {
				if err := deleteObject(object); err != nil {
					return audited{}, err
				}
			}
		}
	}
	for _, i := range issues {
		if slices.ContainsFunc(events, func(e auditEvent) bool { return e.revokes(i) }) {
			result.Revoked = append(result.Revoked, i.id)
		}
	}
	slices.Sort(result.Revoked)
	return result, nil
}

// follows returns an error unless the object had the fields that an event says it had before.
func follows(was string, before json.RawMessage) error {
	var had, says map[string]*string
	if was != "" {
		if err := json.Unmarshal([]byte(was), &had); err != nil {
			return err
		}
	}
	if len(before) > 0 {
		if err := json.Unmarshal(before, &says); err != nil {
			return err
		}
	}
	for field, value := range says {
		if is := had[field]; (is == nil) != (value == nil) || is != nil && *is != *value {
			if field != "key" { // a secret has no values
				return fmt.Errorf("before, %s was another", field)
			}
		}
	}
	return nil
}

// revokes reports whether the event ended the session.
func (e auditEvent) revokes(i issued) bool {
	var after struct{ ExceptTokenID string }
	_ = json.Unmarshal(e.After, &after)
	covers := e.TenantID == i.tenantID && i.at <= e.Instant
	switch domain.EventKind(e.Kind) {
	case domain.TokenRevoked, domain.TokenReplayed, domain.TokenLimited:
		return slices.ContainsFunc(e.Tokens, func(t struct{ ID string }) bool { return t.ID == i.id })
	case domain.ManyTokensRevoked:
		return covers && (e.ApplicationID == "" || e.ApplicationID == i.applicationID) &&
			(e.UserID == "" || e.UserID == i.userID) && after.ExceptTokenID != i.id
	case domain.ApplicationDeleted:
		return covers && e.ObjectID == i.applicationID
	case domain.TenantDeleted:
		return covers
	default:
		return false
	}
}

const auditedKickstart = `
tenants:
  - id: acme
    name: Acme
    applications:
      - {id: shop, name: Shop}
      - {id: gone, name: Gone}
      - {id: wide}
      - id: zero
        jwtConfiguration: {refreshTokenOneTimeUseConfiguration: {gracePeriodInSeconds: 0}}
      - {id: one, jwtConfiguration: {maximumActiveTokens: 1}}
  - id: rival
    applications: [{id: shop}]
apiKeys:
  - name: root
    key: ${ACME_KEY}
    permissions:
      endpoints: {"*": ["*"], /tenant: ["*"], /application: ["*"], /api-key: ["*"], /audit: [GET]}
`

// The audit trail, replayed from empty, is the configuration and, with the list of issues, the set of revoked sessions.
// Without any one of the events that say so it is not.
func TestTheAuditTrailTellsTheConfigurationAndWhatWasRevoked(t *testing.T) {
	eachDatabase(t, func(t *testing.T, d database) {
		v, clock := startStopped(t, d, settings{kickstart: auditedKickstart})
		var issues []issued
		issue := func(tenant, user, application string) grant {
			t.Helper()
			g := v.granted(t, as(issueCall(user, application), acmeKey, tenant))
			issues = append(issues, issued{g.RefreshTokenID, tenant, application, user, clock.now().UnixMilli()})
			return g
		}
		do := func(method, path, tenant, body string, status int) {
			t.Helper()
			v.want(t, as(call{method: method, path: path, body: body}, acmeKey, tenant), status)
			clock.advance(time.Second)
		}
		revoke := func(path string) { t.Helper(); do("DELETE", "/jwt/refresh"+path, "acme", "", 200) }
		for _, application := range []string{"shop", "gone", "wide", "zero", "one"} {
			issue("acme", "ana", application)
		}
		issue("rival", "ana", "shop")
		clock.advance(time.Second)
		revoke("/" + issue("acme", "uno", "shop").RefreshTokenID)
		issue("acme", "bob", "shop")
		revoke("?userId=bob&applicationsId=shop")
		issue("acme", "eve", "zero")
		revoke("?userId=eve&exceptTokenId=" + issue("acme", "eve", "shop").RefreshTokenID)
		issue("acme", "zoe", "wide")
		revoke("?applicationsId=wide")
		issue("acme", "zoe", "wide")
		clock.advance(time.Second)

		first := issue("acme", "max", "zero")
		second := v.exchange(t, first.RefreshToken)
		clock.advance(time.Second)
		v.outcome(t, first.RefreshToken) // recovers
		clock.advance(time.Second)
		third := v.exchange(t, second.RefreshToken)
		v.exchange(t, third.RefreshToken)
		clock.advance(time.Second)
		v.refused(t, first.RefreshToken, "[reused]refreshToken")
		clock.advance(time.Second)
		issue("acme", "ana", "one") // ends the former
		clock.advance(time.Second)
		do("PATCH", "/jwt/refresh/"+issue("acme", "pat", "shop").RefreshTokenID, "acme", `{"roles":["clerk"]}`, 200)

		do("PATCH", "/tenant/acme", "acme", `{"name":"Acme again"}`, 200)
		do("PATCH", "/application/shop", "acme", `{"name":"The shop"}`, 200)
		do("PATCH", "/application/shop", "acme", `{"name":"The best shop"}`, 200)
		do("DELETE", "/application/gone", "acme", "", 200)
		do("POST", "/application/gone", "acme", `{"name":"Gone and back"}`, 201)
		issue("acme", "ana", "gone")
		do("PATCH", "/application/shop", "rival", `{"name":"Rival's shop"}`, 200)
		do("DELETE", "/tenant/rival", "rival", "", 200)
		do("POST", "/tenant/rival", "", `{"name":"Rival again"}`, 201)
		do("POST", "/application/shop", "rival", `{}`, 201)
		issue("rival", "ana", "shop")
		made := v.want(t, as(call{
			method: "POST", path: "/api-key", body: `{"name":"second","permissions":{"endpoints":{"/jwt/issue":["POST"]}}}`,
		}, acmeKey, ""), 201)
		var key struct{ Data struct{ ID, Key string } }
		if err := json.Unmarshal([]byte(made.body), &key); err != nil {
			t.Fatal(err)
		}
		remember("API key of the administration", key.Data.Key)
		clock.advance(time.Second)
		do("PATCH", "/api-key/"+key.Data.ID, "", `{"permissions":{"endpoints":{"/jwt/refresh":["POST"]}}}`, 200)

		command := func(line string) {
			t.Helper()
			if got := runVerb(t, d, v.settings, strings.Fields(line)...); got.Status != 0 {
				t.Fatalf("refreshd %s: %v", line, got)
			}
			clock.advance(time.Second)
		}
		command("tenant create third --set=name=Third")
		command("tenant update third --set=name=null --set=issuer=https://third.example")
		command("application create web --tenant=third")
		command("application create mobile --tenant=third")
		command("application update web --tenant=third --set=name=Web")
		command("application delete mobile --tenant=third --yes")
		command("tenant create fourth")
		command("tenant delete fourth --yes")
		command("apikey create colleague --set=tenantId=third")
		command("apikey rotate colleague")
		command("apikey end-previous colleague")
		command("apikey rotate colleague")
		command("apikey update second --set=expiresAt=2090-01-31T12:00:00Z")
		command("apikey create former")
		command("apikey delete former")
		one := issue("acme", "kim", "shop")
		kept := issue("acme", "lou", "shop")
		issue("acme", "lou", "wide")
		issue("acme", "kim", "zero")
		issue("third", "kim", "web")
		clock.advance(time.Second)
		command("token revoke --tenant=acme " + one.RefreshTokenID)
		command("token revoke --tenant=acme --user=lou --except=" + kept.RefreshTokenID + " --yes")
		command("token revoke --tenant=acme --user=kim --application=zero --yes")
		command("token revoke --tenant=third --all-in-tenant --yes")

		v.readAsTheDocumentSays(t)
		events := v.auditTrail(t)
		v.Stop()
		want := stateOf(t, d, issues, clock.now())
		got, err := replayed(events, issues)
		if err != nil {
			t.Fatal(err)
		}
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Errorf("what is stored, and what the audit trail says (-stored +replayed):\n%s", diff)
		}
		dropped := 0
		for i, e := range events {
			switch domain.EventKind(e.Kind) {
			case domain.KeyAdded, domain.TokenChanged, domain.TokenRecovered, domain.TokenRestored, domain.APIKeyRefused:
				continue // these neither configure nor revoke
			}
			dropped++
			got, err := replayed(slices.Delete(slices.Clone(events), i, i+1), issues)
			if err == nil && gocmp.Equal(want, got) {
				t.Errorf("without %s of %q, object %q, version %d: nothing is missing", e.Kind, e.TenantID, e.ObjectID, e.Version)
			}
		}
		if dropped < 40 {
			t.Errorf("%d events were dropped one by one, want those of the scenario", dropped)
		}
		byCommands := 0
		for _, e := range events {
			if e.Actor.Kind == string(domain.ActorOperator) {
				byCommands++
			}
		}
		if byCommands < 19 {
			t.Errorf("%d events of an operator, want one for each command", byCommands)
		}
	})
}

// readAsTheDocumentSays runs the command of OPERATING.md that reads the audit trail.
func (v *service) readAsTheDocumentSays(t *testing.T) {
	t.Helper()
	_, section, _ := strings.Cut(read(t, "../../OPERATING.md"), "\n## Read the audit trail\n")
	_, block, _ := strings.Cut(section, "```sh\n")
	block, _, found := strings.Cut(block, "```")
	const at = "http://127.0.0.1:3000"
	if !found || strings.Count(block, at) != 1 {
		t.Fatalf("the document has no command with %s", at)
	}
	command := exec.Command("sh", "-c", strings.Replace(block, at, v.URL(), 1))
	command.Env = append(os.Environ(), "API_KEY="+acmeKey)
	out, err := command.CombinedOutput()
	if err != nil || !strings.Contains(string(out), `"kind":"application.deleted"`) {
		t.Errorf("the command of the document: %v, %s", err, out)
	}
}

// auditTrail returns all events, the oldest first.
func (c *client) auditTrail(t *testing.T) (all []auditEvent) {
	t.Helper()
	query := "?limit=7"
	for {
		a := c.want(t, call{method: "GET", path: "/audit" + query, key: acmeKey}, 200)
		var page struct{ Data []auditEvent }
		if err := json.Unmarshal([]byte(a.body), &page); err != nil {
			t.Fatal(err)
		}
		all = append(all, page.Data...)
		link := a.header.Get("Link")
		if link == "" {
			slices.Reverse(all)
			return all
		}
		query = strings.TrimSuffix(strings.TrimPrefix(link, "<"), `>; rel="next"`)
	}
}

// stateOf reads the objects of the store, and which of the sessions were revoked.
func stateOf(t *testing.T, d database, issues []issued, now time.Time) audited {
	t.Helper()
	ctx := context.Background()
	open := func() (*gormstore.Store, error) { return gormstore.OpenSQLite(ctx, d.path(), gormstore.Options{}) }
	if d.engine == postgreSQL {
		open = func() (*gormstore.Store, error) {
			return gormstore.OpenPostgres(ctx, domain.NewSecret(d.url), gormstore.Options{})
		}
	}
	var s port.Store
	store, err := open()
	if err != nil {
		t.Fatal(err)
	}
	s = store
	defer s.Close()
	state := audited{Objects: map[string]string{}}
	set := func(object string, fields []domain.Setting) {
		_, after := domain.EventObjects(nil, fields)
		state.Objects[object] = string(after)
	}
	tenants, _, err := s.Tenants(ctx, "", 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, tenant := range tenants {
		set("tenant "+tenant.ID, tenant.Fields())
		applications, _, err := s.Applications(ctx, tenant.ID, "", 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range applications {
			set("application "+a.TenantID+"/"+a.ID, a.Fields())
		}
	}
	keys, _, err := s.APIKeys(ctx, "", domain.ID{}, 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		set("apiKey "+k.ID.String(), k.Fields())
	}
	for _, i := range issues {
		id, _ := domain.ParseID(i.id)
		session, err := s.Find(ctx, i.tenantID, id)
		if err != nil {
			t.Fatal(err)
		}
		if !session.Alive(now) {
			state.Revoked = append(state.Revoked, i.id)
		}
	}
	slices.Sort(state.Revoked)
	return state
}
