package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/refreshd/refreshd/adapter/adminapi"
	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/usecase"
	"github.com/refreshd/refreshd/usecase/admin"
)

// administration is the document of worlds whose requests administer the service.
const administration = "administration"

func (w *world) administration(keys *usecase.Keys) (web.Dialect, error) {
	api := &adminapi.API{
		Tenants: &admin.Tenants{
			Tenants: w.store, Applications: w.store, Keys: keys, Clock: w.clock, Random: w.random,
		},
		Applications: &admin.Applications{
			Tenants: w.store, Applications: w.store, Keys: keys, Clock: w.clock, Random: w.random,
		},
		APIKeys: &admin.APIKeys{
			APIKeys: w.store, Tenants: w.store, Keys: keys, Clock: w.clock, Random: w.random,
		},
		Keys: &admin.Keys{
			Keys: w.store, Tenants: w.store, Changes: keys, Parse: keys.Signer.ParseKey, Rules: keys.Rules(),
			Clock: w.clock,
		},
		Audit: &admin.Audit{Events: w.store}, URL: "https://refreshd.example",
	}
	return api.Dialect()
}

// addOperators adds an API key for administration for each tenant, and one for all of them.
func (w *world) addOperators(k *admin.Kickstart) {
	all := domain.Permissions{"*": {"*"}, "/sessions": {"GET"}}
	for _, endpoint := range domain.AdministrationEndpoints() {
		all[endpoint] = []string{"*"}
	}
	for _, tenant := range append(slices.Clone(tenants), "") {
		w.addKey(k, operatorOf(tenant), tenant, all, time.Time{})
	}
}

func operatorOf(tenant string) string { return strings.TrimSpace(tenant + " operator") }

// object is an object of administration in the store, with its version.
type object struct {
	kind, tenant, id string
	value            string
}

// dump returns all objects of administration, by kind, tenant and id.
func (w *world) dump(ctx context.Context) (map[string]object, error) {
	all := map[string]object{}
	add := func(kind, tenant, id string, value any) {
		all[kind+" "+tenant+" "+id] = object{kind, tenant, id, fmt.Sprintf("%+v", value)}
	}
	for after := ""; ; {
		page, next, err := w.store.Tenants(ctx, after, 1000)
		if err != nil {
			return nil, err
		}
		for _, t := range page {
			add("tenant", t.ID, t.ID, []any{t.Fields(), t.Version})
			apps, _, err := w.store.Applications(ctx, t.ID, "", 1000)
			if err != nil {
				return nil, err
			}
			for _, a := range apps {
				add("application", t.ID, a.ID, []any{a.Fields(), a.Version})
			}
		}
		if after = next; next == "" {
			break
		}
	}
	keys, _, err := w.store.APIKeys(ctx, "", domain.ID{}, 1000)
	for _, k := range keys {
		add("api-key", k.TenantID, k.ID.String(), []any{k.Fields(), k.Version, []byte(k.Hash), []byte(k.PreviousHash)})
	}
	return all, err
}

// validOfAdministration makes a request that the document allows.
func (g *grammar) validOfAdministration(w *world) (*call, error) {
	if w.config == nil {
		var err error
		if w.config, err = w.dump(context.Background()); err != nil {
			return nil, err
		}
	}
	op := pick(w.rng, g.operations)
	c := &call{operation: op.id, method: op.method, path: op.path, tenant: pick(w.rng, tenants)}
	kind, below, _ := strings.Cut(strings.TrimPrefix(op.path, "/"), "/")
	if kind == administration {
		return c, nil
	}
	bound := w.rng.IntN(3) > 0
	if bound || kind == "application" || w.rng.IntN(3) == 0 {
		c.set("X-Stencil-TenantId", c.tenant)
	}
	if kind == "tenant" && op.method != "GET" && w.rng.IntN(2) == 0 {
		bound = false
		c.drop("X-Stencil-TenantId")
	}
	operator := operatorOf("")
	if bound {
		operator = operatorOf(c.tenant)
	}
	key := w.keys[operator]
	c.set("Authorization", pick(w.rng, []string{key, "Bearer " + key}))
	id := ""
	if below != "" {
		id = w.idFor(c, kind, op.method)
		c.path = strings.Replace(op.path, "{id}", pathEscape(id), 1)
	}
	for _, p := range op.Parameters {
		switch p := p.Value; {
		case p.Name == "limit" && w.rng.IntN(2) == 0:
			c.query = append(c.query, field{p.Name, 1 + w.rng.IntN(3)})
		case p.Name == "cursor" && len(w.links) > 0 && w.rng.IntN(2) == 0:
			if l := pick(w.rng, w.links); strings.HasPrefix(l.target, c.path+"?") && l.tenant == c.get("X-Stencil-TenantId") {
				_, c.query = splitTarget(l.target)
			}
		case p.Name == "If-Match" && w.rng.IntN(3) == 0:
			c.set(p.Name, pick(w.rng, []string{"*", `"1"`, `"2"`, `"3"`, `W/"1"`, `"x", "1" , "2"`}))
		case p.Name == "If-None-Match" && w.rng.IntN(3) == 0:
			c.set(p.Name, pick(w.rng, []string{"*", `"1"`, `W/"2"`}))
		}
	}
	if op.RequestBody == nil || !op.RequestBody.Value.Required && w.rng.IntN(2) == 0 {
		return c, nil
	}
	c.media = pick(w.rng, slices.Sorted(maps.Keys(op.RequestBody.Value.Content)))
	schema := op.RequestBody.Value.Content[c.media].Schema.Value
	for _, name := range slices.Sorted(maps.Keys(schema.Properties)) {
		usual := name == "tenantId" && op.method != "PATCH" || slices.Contains(schema.Required, name) ||
			name == "algorithm" && !slices.Contains(schema.Required, "privateKey")
		if name == "id" && (id == "" || w.rng.IntN(4) > 0) || w.rng.IntN(3) > 0 && !usual {
			continue
		}
		c.body = append(c.body, field{name, w.member(c, name, id, schema.Properties[name].Value)})
	}
	if len(c.body) == 0 && op.method != "PATCH" && op.RequestBody.Value.Required {
		c.body = append(c.body, field{"name", w.member(c, "name", id, nil)})
	}
	return c, nil
}

// idFor returns an id for the path: mostly that of an object which is not one of the world's own API keys and tenants.
func (w *world) idFor(c *call, kind, method string) string {
	var known []string
	for _, name := range slices.Sorted(maps.Keys(w.config)) {
		o := w.config[name]
		own := kind == "tenant" && slices.Contains(tenants, o.id) && method == "DELETE" ||
			kind == "api-key" && method != "GET" && w.isFixture(o)
		if o.kind == kind && !own && (kind == "tenant" || o.tenant == c.tenant) {
			known = append(known, o.id)
		}
	}
	if kind == "key" {
		keys, err := w.store.KeysOfTenant(context.Background(), c.tenant)
		if err == nil && len(keys) > 0 {
			known = append(known, pick(w.rng, keys).ID)
		}
	}
	creates := method == "POST" &&
		slices.Contains([]string{"/" + kind + "/{id}", "/key/generate/{id}", "/key/import/{id}"}, c.path)
	if len(known) > 0 && !creates && w.rng.IntN(8) > 0 {
		return pick(w.rng, known)
	}
	id, err := domain.NewID(w.now, w.random)
	if err != nil {
		panic(err) // the source never ends
	}
	return id.String()
}

// isFixture reports whether o is an API key that the world began with.
func (w *world) isFixture(o object) bool {
	for name := range w.keys {
		if strings.Contains(o.value, "{Field:name Value:"+name+"}") {
			return true
		}
	}
	return false
}

var permissions = []map[string][]string{
	{}, {"/jwt/issue": {"POST"}}, {"/jwt/refresh": {"GET", "DELETE"}, "/tenant": {"GET"}}, {"*": {"*"}},
	{"/api-key": {"*"}, "/sessions": {"GET"}}, {"/revocations": {"GET"}},
}

// member returns a value for a member of a document.
func (w *world) member(c *call, name, id string, s *openapi3.Schema) any {
	if s != nil && s.Type.Includes("null") && w.rng.IntN(4) == 0 {
		return nil
	}
	switch name {
	case "id":
		return id
	case "name":
		return pick(w.rng, []string{fmt.Sprintf("n%d", w.rng.IntN(1_000_000)), pick(w.rng, texts)})
	case "issuer":
		return fmt.Sprintf("https://i%d.example", w.rng.IntN(1_000_000))
	case "authorizationEndpoint", "endSessionEndpoint", "userinfoEndpoint":
		return fmt.Sprintf("https://login.example/%d", w.rng.IntN(1_000_000))
	case "audiences":
		return pick(w.rng, [][]string{{}, {"https://api.example"}, {"orders", "https://b.example"}})
	case "origins":
		return pick(w.rng, [][]string{{}, {"https://app.example"}, {"http://localhost:3000", "https://b.example"}})
	case "clientKeys":
		return map[string]any{"keys": []any{map[string]any{
			"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
		}}}
	case "clientSecrets":
		return []any{}
	case "tenantId":
		return c.tenant
	case "permissions":
		return map[string]any{"endpoints": pick(w.rng, permissions)}
	case "expiresAt":
		return fmt.Sprintf("20%d-01-31T12:00:00Z", 28+w.rng.IntN(60))
	case "key":
		key := fmt.Sprintf("ak_%032x", w.rng.Uint64())
		w.shown = append(w.shown, key)
		return key
	case "privateKey":
		return w.privateKey()
	case "effectiveAlgorithm": // any text, because the service ignores it
		return pick(w.rng, texts)
	case "algorithmStartsInstant":
		return w.rng.IntN(1_000_000)
	case "hasPreviousKey":
		return false
	case "cookieName":
		return pick(w.rng, []string{"", "shop", "__Host-shop"})
	case "cookieDomain":
		return pick(w.rng, []string{"", "acme.example"})
	}
	if len(s.Properties) > 0 {
		members := map[string]any{}
		for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
			if w.rng.IntN(4) == 0 {
				members[name] = w.member(c, name, id, s.Properties[name].Value)
			}
		}
		return members
	}
	if s.Min != nil && s.Max != nil {
		return int(*s.Min) + w.rng.IntN(int(*s.Max-*s.Min)+1)
	}
	if len(s.Enum) > 0 {
		return pick(w.rng, s.Enum)
	}
	return w.rng.IntN(2) == 0
}

// privateKey returns a new private key for EdDSA, as the text of a JWK.
func (w *world) privateKey() string {
	seed := make([]byte, ed25519.SeedSize)
	if _, err := io.ReadFull(w.random, seed); err != nil {
		panic(err) // the source never ends
	}
	private := ed25519.NewKeyFromSeed(seed)
	d := base64.RawURLEncoding.EncodeToString(seed)
	w.shown = append(w.shown, d)
	return fmt.Sprintf(`{"kty":"OKP","crv":"Ed25519","d":%q,"x":%q}`, d,
		base64.RawURLEncoding.EncodeToString(private[ed25519.SeedSize:]))
}

// judgeAdministration returns what is wrong with a response to a request of administration.
func (g *grammar) judgeAdministration(
	ctx context.Context, w *world, c *call, mutated string, a answer,
) ([]string, error) {
	before := w.config
	after, err := w.dump(ctx)
	if err != nil {
		return nil, err
	}
	w.config = after
	j := &judgement{world: w, call: c, mutated: mutated, answer: a}
	var changed []object
	for name, o := range after {
		if before[name] != o {
			changed = append(changed, o)
		}
	}
	for name, o := range before {
		if _, stays := after[name]; !stays {
			changed = append(changed, o)
		}
	}
	if a.Header.Get("X-Request-Id") == "" {
		j.unanswered()
		if len(changed) > 0 {
			j.complain("net/http refused the request, and %v changed", changed)
		}
		return j.wrong, nil
	}
	w.answered++
	if a.StatusCode >= 500 {
		j.complain("%d: an internal error", a.StatusCode)
	}
	if j.request, err = http.ReadRequest(bufio.NewReader(bytes.NewReader(c.wire()))); err != nil {
		j.complain("the service answered with what is not an HTTP request: %v", err)
		return j.wrong, nil
	}
	g.judgeContract(j)
	var body body
	if strings.HasPrefix(a.Header.Get("Content-Type"), jsonMedia) && c.method != http.MethodHead &&
		json.Unmarshal(a.content, &body) != nil {
		j.complain("%d: the body is not JSON", a.StatusCode)
	}
	j.keyIn(body)
	tenant, limited := w.tenantOfRequest(j.request)
	switch {
	case a.StatusCode/100 != 2:
		j.refusalOfAdministration(body)
		fallthrough
	case !slices.Contains([]string{"POST", "PUT", "PATCH", "DELETE"}, c.method):
		if len(changed) > 0 {
			j.complain("%d: %v changed", a.StatusCode, changed)
		}
	case len(changed) > 1 && (c.method != http.MethodDelete || !slices.ContainsFunc(changed, func(o object) bool {
		return o.kind == "tenant"
	})):
		// A key that moves to another tenant is one object before and one after.
		if len(changed) > 2 || changed[0].kind != "api-key" || changed[0].id != changed[1].id {
			j.complain("one request changed %v", changed)
		}
	}
	if a.StatusCode/100 != 2 || strings.HasPrefix(j.request.URL.Path, "/"+administration) ||
		c.method == http.MethodOptions {
		return j.wrong, nil
	}
	if !limited && tenant == "none" {
		j.complain("served without a credential that covers it")
	}
	for _, o := range changed {
		if limited && o.tenant != tenant {
			j.complain("a request for tenant %q changed %v", tenant, o)
		}
	}
	for _, one := range shownIn(body.Data) {
		if limited && one.TenantID != "" && one.TenantID != tenant {
			j.complain("an object of tenant %q is shown to %q", one.TenantID, tenant)
		}
	}
	if next := a.Header.Get("Link"); next != "" {
		query, _, _ := strings.Cut(strings.TrimPrefix(next, "<"), ">")
		w.links = append(w.links, link{c.get("X-Stencil-TenantId"), c.path + query})
	}
	return j.wrong, nil
}

// tenantOfRequest returns the tenant that the request is limited to, by its header or by its API key. Without a valid
// API key it is "none".
func (w *world) tenantOfRequest(r *http.Request) (tenant string, limited bool) {
	sent := credentialIn(r)
	for _, tenant := range tenants {
		if sent == w.keys[operatorOf(tenant)] {
			return tenant, true
		}
	}
	if sent != w.keys[operatorOf("")] {
		return "none", false
	}
	tenant = tenantOf(r)
	return tenant, tenant != ""
}

// wholeKey matches an API key. A name may begin as one does.
var wholeKey = regexp.MustCompile(`"ak_[A-Za-z0-9_-]{24}`)

// keyIn judges the keys in a response: one that it shows was made by the request.
func (j *judgement) keyIn(b body) {
	var data struct{ Key string }
	_ = json.Unmarshal(b.Data, &data) // a list has none
	for _, secret := range j.world.secrets() {
		if bytes.Contains(j.answer.content, []byte(secret)) {
			j.complain("the response has a key that was known before")
		}
	}
	if wholeKey.Match(j.answer.content) && (data.Key == "" || j.call.method != http.MethodPost) ||
		data.Key != "" && j.answer.Header.Get("Cache-Control") != "no-store" {
		j.complain("the response has a key")
	}
	if data.Key != "" {
		j.world.shown = append(j.world.shown, data.Key)
	}
}

// refusalOfAdministration judges the refusal of a request that was generated from the document and not mutated.
func (j *judgement) refusalOfAdministration(b body) {
	if j.mutated != "" {
		return
	}
	for field, problems := range b.Errors.FieldErrors {
		for _, p := range problems {
			if strings.HasPrefix(p.Code, "[unknown]") || strings.HasPrefix(p.Code, "[repeated]") {
				j.complain("a request that the document allows is refused: %s%s", p.Code, field)
			}
		}
	}
	// What a key's state forbids is refused as a whole, because no member of the request is wrong.
	ofState := strings.HasPrefix(j.call.path, "/key/") && !slices.ContainsFunc(b.Errors.GeneralErrors,
		func(p problem) bool { return p.Code != "[unsafe]" && p.Code != "[conflict]" })
	if len(b.Errors.GeneralErrors) > 0 && !ofState || slices.Contains([]int{405, 413, 415}, j.answer.StatusCode) {
		j.complain("a request that the document allows is refused: %d %s", j.answer.StatusCode, j.answer.content)
	}
}
