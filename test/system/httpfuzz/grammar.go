package main

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/test/support/contract"
)

// A grammar generates requests from the document: its operations, their parameters, and the names that a body may have
// together. The world provides useful values.
type grammar struct {
	faultless  map[string]bool // refusals that were checked against the document already, because that is slow
	doc        *openapi3.T
	operations []operation
	fitting    map[string][][]string // sets of names that a body may have, as found so far, by operation and media type
}

type operation struct {
	id, method, path string
	item             *openapi3.PathItem
	*openapi3.Operation
}

func newGrammar(text []byte) (*grammar, error) {
	doc, err := openapi3.NewLoader().LoadFromData(text)
	if err != nil {
		return nil, err
	}
	g := &grammar{doc: doc, faultless: map[string]bool{}}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			g.operations = append(g.operations, operation{op.OperationID, method, path, item, op})
		}
	}
	slices.SortFunc(g.operations, func(a, b operation) int { return strings.Compare(a.id, b.id) })
	return g, nil
}

// weights is how often an operation is chosen, compared with the others.
var weights = map[string]int{
	"issue": 12, "exchange": 20, "list": 12, "retrieve": 14, "revoke": 18, "revokeOne": 8, "change": 4, "changeOne": 4,
}

// fewSessions is how many issues a world begins with, before any other request.
const fewSessions = 15

// valid makes a request that the document allows and that has an effect in this world.
func (g *grammar) valid(w *world) (*call, error) {
	if len(w.sessions) >= fewSessions && w.rng.IntN(12) == 0 {
		return w.inForm(), nil
	}
	total := 0
	for _, o := range g.operations {
		total += max(1, weights[o.id])
	}
	at := w.rng.IntN(total)
	var op operation
	for _, o := range g.operations {
		if len(w.sessions) < fewSessions {
			if op = o; o.id == "issue" {
				break
			}
		} else if at -= max(1, weights[o.id]); at < 0 {
			op = o
			break
		}
	}
	c := &call{operation: op.id, method: op.method, path: op.path, tenant: pick(w.rng, tenants)}
	if s := w.alive(func(*session) bool { return true }); s != nil && op.id != "issue" {
		c.session, c.tenant = s, s.tenant
	}
	if op.id == "list" && len(w.links) > 0 && w.rng.IntN(2) == 0 {
		l := pick(w.rng, w.links)
		c.tenant = l.tenant
		c.path, c.query = splitTarget(l.target)
	} else if err := g.parameters(w, c, op); err != nil {
		return nil, err
	}
	if err := g.requestBody(w, c, op); err != nil {
		return nil, err
	}
	if g.byCookie(w, c) {
		c.header = append(c.header, field{"Cookie", "refresh_token=" + c.session.current()})
	}
	byOwner := g.proof(w, c, op)
	g.respell(w, c, op, byOwner)
	return c, nil
}

// respell changes some calls to spellings that the document does not have and the service accepts.
func (g *grammar) respell(w *world, c *call, op operation, byOwner bool) {
	if !byOwner && w.rng.IntN(2) == 0 { // an owner's access token is not valid for these
		c.post(w)
	}
	for _, fields := range [][]field{c.query, c.body} {
		for i, f := range fields {
			aliases := contract.AliasesIn(op.Operation, f.name)
			if c.form != "" { // at the exchange's path this is the access token
				aliases = slices.DeleteFunc(aliases, func(name string) bool { return name == "token" })
			}
			if len(aliases) > 0 && w.rng.IntN(4) == 0 {
				fields[i].name = pick(w.rng, aliases)
			}
		}
	}
}

// post changes the call to a form that stands for its operation and has its names, if there is one.
func (c *call) post(w *world) {
	id := ""
	if c.session != nil {
		id = c.session.id.String()
	}
	names := map[string]any{}
	for _, f := range slices.Concat(c.query, c.body) {
		names[f.name] = f.value
	}
	if c.operation == "retrieve" && id != "" && w.rng.IntN(2) == 0 {
		names["id"] = id
	}
	if c.operation == "revokeOne" {
		names["tokenId"] = id
	}
	sorted := slices.Sorted(maps.Keys(names))
	for _, f := range contract.Forms {
		if f.Stands != c.operation || !slices.Equal(f.Names, sorted) {
			continue
		}
		if !strings.HasSuffix(f.Path, "}") {
			c.path = f.Path
		}
		c.form, c.method, c.query, c.body = f.String(), "POST", nil, nil
		for _, name := range sorted {
			c.body = append(c.body, field{name, names[name]})
		}
		if c.media == "" && len(c.body) > 0 {
			c.media = pick(w.rng, []string{jsonMedia, formMedia})
		}
		return
	}
}

// inForm makes a call in the form that succeeded least often in this world, so that each one succeeds. By chance alone
// a seed might leave one out.
func (w *world) inForm() *call {
	f := slices.MinFunc(contract.Forms, func(a, b contract.Form) int {
		return cmp.Compare(w.formed[a.String()], w.formed[b.String()])
	})
	s := w.alive(func(*session) bool { return true })
	c := &call{
		operation: f.Stands, form: f.String(), method: "POST", session: s, tenant: s.tenant,
		path: strings.ReplaceAll(f.Path, "{id}", s.id.String()),
	}
	for _, name := range f.Names {
		c.body = append(c.body, field{name, w.value(c, name, nil)}) // a session has all of them
	}
	if len(c.body) > 0 {
		c.media = pick(w.rng, []string{jsonMedia, formMedia})
	}
	c.set("X-Stencil-TenantId", c.tenant)
	w.addKeyTo(c)
	return c
}

// addKeyTo adds an API key that covers the call, in one of the spellings of the header.
func (w *world) addKeyTo(c *call) {
	key := w.keys[pick(w.rng, []string{c.tenant, c.tenant, "everywhere"})]
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte(key+":"))
	c.set("Authorization", pick(w.rng, []string{key, "Bearer " + key, "Basic " + key, basic}))
}

func splitTarget(target string) (path string, query []field) {
	path, raw, _ := strings.Cut(target, "?")
	for pair := range strings.SplitSeq(raw, "&") {
		name, value, _ := strings.Cut(pair, "=")
		query = append(query, field{name, verbatim(value)})
	}
	return path, query
}

func (g *grammar) parameters(w *world, c *call, op operation) error {
	all := slices.Concat(op.item.Parameters, op.Parameters)
	ofUser := op.id == "list" && w.rng.IntN(3) == 0 // and nothing else, as by POST
	for _, i := range w.rng.Perm(len(all)) {
		p := all[i].Value
		schema := p.Schema.Value
		switch p.In {
		case "path":
			value := text(w.value(c, p.Name, schema))
			c.path = strings.ReplaceAll(c.path, "{"+p.Name+"}", pathEscape(value))
		case "query":
			if ofUser && p.Name == "userId" {
				c.query = append(c.query, field{p.Name, w.value(c, p.Name, schema)})
				continue
			}
			if ofUser || p.Name == "cursor" || op.id == "revoke" || !p.Required && w.rng.IntN(2) == 0 {
				continue // a cursor comes from a link, and the selector of a revocation is one place's: the body's, or see below
			}
			c.query = append(c.query, field{p.Name, w.value(c, p.Name, schema)})
		case "header":
			if p.Name == "If-None-Match" && w.rng.IntN(2) == 0 {
				c.header = append(c.header, field{p.Name, pick(w.rng, []string{"*", `"x"`, `W/"x", "y"`})})
			}
		}
	}
	return nil
}

// pathEscape escapes only what every client escapes, so that most paths have their usual spelling.
func pathEscape(s string) string {
	var b strings.Builder
	for _, x := range []byte(s) {
		if 'a' <= x && x <= 'z' || 'A' <= x && x <= 'Z' || '0' <= x && x <= '9' || strings.IndexByte("-._~", x) >= 0 {
			b.WriteByte(x)
			continue
		}
		fmt.Fprintf(&b, "%%%02X", x)
	}
	return b.String()
}

// byCookie changes some exchanges with only a token string to exchanges by cookie.
func (g *grammar) byCookie(w *world, c *call) bool {
	if c.session == nil || c.operation != "exchange" || len(c.body) != 1 || c.body[0].name != "refreshToken" ||
		w.rng.IntN(4) > 0 {
		return false
	}
	c.body, c.media = nil, ""
	c.header = append(c.header, field{"Sec-Fetch-Site", pick(w.rng, []string{"same-origin", "none"})})
	return true
}

func (g *grammar) requestBody(w *world, c *call, op operation) error {
	if op.RequestBody == nil {
		return nil
	}
	media := pick(w.rng, slices.Sorted(maps.Keys(op.RequestBody.Value.Content)))
	schema := op.RequestBody.Value.Content[media].Schema
	names := map[string]*openapi3.Schema{}
	properties(schema, names)
	chosen, err := g.names(w, c, op.id+" "+media, schema.Value, names)
	if err != nil {
		return err
	}
	c.media = media
	for _, name := range chosen {
		if name == "dpopJkt" && w.rng.IntN(4) > 0 {
			continue // no request here has its proof, so each exchange of such a session is refused
		}
		c.body = append(c.body, field{name, w.value(c, name, names[name])})
	}
	if op.id == "revoke" && w.rng.IntN(3) == 0 { // the same selector in the query
		c.query, c.body, c.media = c.body, nil, ""
	}
	return nil
}

// names chooses which of a body's names to send: at first by trial, then mostly from the sets that were found to fit.
func (g *grammar) names(
	w *world, c *call, key string, schema *openapi3.Schema, all map[string]*openapi3.Schema,
) ([]string, error) {
	sorted := slices.Sorted(maps.Keys(all))
	if c.operation == "exchange" && w.rng.IntN(4) > 0 {
		return pick(w.rng, [][]string{{"refreshToken"}, {"refreshToken"}, {"refreshToken", "token"},
			{"refreshToken", "timeToLiveInSeconds"}}), nil
	}
	if c.operation == "revoke" {
		for {
			if names := pick(w.rng, contract.Selectors); !isWide(names) || w.rng.IntN(8) == 0 {
				return names, nil
			}
		}
	}
	if known := g.fitting[key]; len(known) >= 12 {
		return pick(w.rng, known), nil
	}
	for range 500 {
		var names []string
		most := 3
		if c.operation == "issue" {
			most = 6
			names = slices.Clone(schema.Required)
		}
		for range w.rng.IntN(most) + 1 {
			if name := pick(w.rng, sorted); !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
		candidate := map[string]any{}
		for _, name := range names {
			candidate[name] = plain(w.value(c, name, all[name]))
		}
		if schema.VisitJSON(candidate, openapi3.EnableJSONSchema2020()) == nil {
			g.fitting[key] = append(g.fitting[key], names)
			return names, nil
		}
	}
	return nil, fmt.Errorf("%s: no set of names was found that fits its schema", key)
}

// isWide reports whether the call would end too many refresh tokens of the world if it were made often.
func isWide(names []string) bool {
	user := slices.Contains(names, "userId")
	return slices.Contains(names, "allInTenant") || !user && len(names) == 1 && names[0] == "applicationsId"
}

// plain returns a value as encoding/json decodes it.
func plain(v any) any {
	encoded, err := json.Marshal(v)
	if err != nil {
		panic(err) // it was made here
	}
	var out any
	if err := json.Unmarshal(encoded, &out); err != nil {
		panic(err)
	}
	return out
}

// properties returns the properties of a schema and of the schemas that it is composed of.
func properties(ref *openapi3.SchemaRef, into map[string]*openapi3.Schema) {
	for name, p := range ref.Value.Properties {
		into[name] = p.Value
	}
	for _, parts := range []openapi3.SchemaRefs{ref.Value.OneOf, ref.Value.AnyOf, ref.Value.AllOf} {
		for _, part := range parts {
			properties(part, into)
		}
	}
}

// proof adds the credential that the operation requires: an API key or, where it is accepted, the owner's access token
// or the cookie. byOwner reports one of the latter two.
func (g *grammar) proof(w *world, c *call, op operation) (byOwner bool) {
	needs := op.Security
	if needs == nil || len(*needs) == 0 {
		return false
	}
	alternative := pick(w.rng, *needs)
	if op.id == "exchange" && c.session != nil && c.session.application == "locked" {
		alternative = (*needs)[len(*needs)-1]
	}
	var names []string
	for _, f := range slices.Concat(c.query, c.body) {
		names = append(names, f.name)
	}
	// An owner's access token is sent where it is valid; mutations send it elsewhere.
	if _, byOwner = alternative["accessToken"]; byOwner && (c.session == nil || c.session.access == "" || isWide(names)) {
		alternative, byOwner = (*needs)[0], false
	}
	_, byCookie := alternative["cookie"]
	if byCookie && (c.session == nil || w.rng.IntN(2) == 0) { // the API key most often, as it covers more
		alternative, byCookie = (*needs)[0], false
	}
	if byCookie {
		c.query, c.body, c.media = nil, nil, ""
		if w.rng.IntN(2) == 0 {
			c.query = []field{{"cookieName", "refresh_token"}}
		}
		c.set("Cookie", "refresh_token="+c.session.current())
		c.set("Sec-Fetch-Site", pick(w.rng, []string{"same-origin", "none"}))
	}
	for _, scheme := range slices.Sorted(maps.Keys(alternative)) {
		switch scheme {
		case "tenant":
			c.set("X-Stencil-TenantId", c.tenant)
		case "accessToken":
			c.set("Authorization", "Bearer "+c.session.access)
			// The document's text excludes this combination.
			c.query = slices.DeleteFunc(c.query, func(f field) bool { return f.name == "state" })
		case "apiKey":
			w.addKeyTo(c)
		}
	}
	return byOwner || byCookie
}

// value returns a useful value for a name, or one that the schema allows.
func (w *world) value(c *call, name string, schema *openapi3.Schema) any {
	s := c.session
	switch name {
	case "tenantId":
		return c.tenant
	case "cookieName":
		return "refresh_token"
	case "userId":
		if s != nil {
			return s.user
		}
		return pick(w.rng, users[:1+w.rng.IntN(len(users))]) // the first most often
	case "applicationsId":
		if s != nil {
			return s.application
		}
		if w.rng.IntN(3) > 0 {
			return "shop"
		}
		return pick(w.rng, applications)
	case "refreshTokenId":
		id, err := domain.NewID(w.now, w.random)
		if err != nil {
			panic(err) // the source never ends
		}
		return id.String()
	case "allInTenant":
		return true
	case "timeToLiveInSeconds":
		return 1 + w.rng.IntN(900)
	case "insertInstant": // within what every policy here takes, also beside an expirationInstant
		return w.now.Add(time.Minute - time.Duration(w.rng.Int64N(int64(300*24*time.Hour)))).UnixMilli()
	case "expirationInstant":
		return w.now.Add(time.Second + time.Duration(w.rng.Int64N(int64(29*24*time.Hour)))).UnixMilli()
	case "clientAddress":
		return pick(w.rng, []string{"203.0.113.7", "2001:DB8:0:0::7", "::ffff:203.0.113.7", "::", "fe80::1%eth0",
			"127.0.0.1"})
	case "userAgent":
		return pick(w.rng, []string{"", "Firefox/147", strings.Repeat("é", 400), pick(w.rng, texts), pick(w.rng, texts)})
	case "dpopJkt": // RFC 9449, section 6.1; RFC 7638, section 3.1
		return pick(w.rng, []string{"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I",
			"NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"})
	case "limit":
		return 1 + w.rng.IntN(2) // so that there are further pages
	}
	if s != nil {
		switch name {
		case "refreshToken":
			if n := len(s.strings); n > 1 && w.rng.IntN(6) == 0 {
				return s.strings[n-2] // a retry, a recovery or a replay
			}
			return s.current()
		case "token":
			return s.access
		case "tokenString":
			return pick(w.rng, s.strings)
		case "id", "tokenId", "exceptTokenId":
			return s.id.String()
		}
	}
	return w.generic(schema)
}

// texts are strange texts that are allowed wherever text is free.
var texts = []string{
	"x", "Phone of Ada", "\u202e\u2066bidi", `<script>alert(1)</script>`, `"},"level":"ERROR","msg":"forged`,
	`level=ERROR msg=forged`,
	"😀 ключ", "\u2028", `\`, `%0d%0aSet-Cookie: a=b`, "../../etc/passwd", "${jndi:ldap://x}", "' OR 1=1 --",
}

func (w *world) generic(s *openapi3.Schema) any {
	switch {
	case len(s.Enum) > 0:
		return pick(w.rng, s.Enum)
	case s.Type.Includes("null") && w.rng.IntN(4) == 0:
		return nil
	case s.Type.Includes("array"):
		list := []any{}
		for range w.rng.IntN(4) {
			if entry := w.generic(s.Items.Value); !s.UniqueItems || !slices.Contains(list, entry) {
				list = append(list, entry)
			}
		}
		return list
	case s.Type.Includes("object"):
		object := map[string]any{}
		names := slices.Sorted(maps.Keys(s.Properties))
		for _, name := range names {
			if w.rng.IntN(2) == 0 {
				object[name] = w.generic(s.Properties[name].Value)
			}
		}
		if len(object) == 0 && s.MinProps > 0 {
			name := pick(w.rng, names)
			object[name] = w.generic(s.Properties[name].Value)
		}
		if len(s.Properties) == 0 {
			for range w.rng.IntN(3) {
				object[pick(w.rng, texts)] = pick(w.rng, []any{nil, true, 1, -1.5, "x", pick(w.rng, texts), []any{},
					map[string]any{"": 1}})
			}
		}
		return object
	case s.Type.Includes("integer"):
		return 1 + w.rng.IntN(100)
	case s.Type.Includes("boolean"):
		return w.rng.IntN(2) == 0
	case strings.HasPrefix(s.Pattern, "^rt_"):
		return "rt_" + strings.Repeat("A", 64)
	case strings.HasPrefix(s.Pattern, "^[!#"): // a scope
		return pick(w.rng, []string{"orders:read", "a", "!", "<b>&"})
	case s.MinLength > 0 && s.MaxLength == nil:
		return "018c0000-0000-7000-8000-00000000002a" // an id that does not exist
	}
	return pick(w.rng, texts)
}
