package contract

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

// The service accepts more spellings of a request than the document has: aliases of names, and POST in place of other
// methods. They are not in the document, because each client generated from it would offer them. A request in one of
// these spellings is checked against the document as the request that it stands for.
//
// The alternative was a second document with everything in it: what both have would have to be maintained twice.

// Aliases maps a name of the document to the other names that are accepted for it, wherever an operation has that name
// and does not use the alias for something else.
var Aliases = map[string][]string{
	"userId":         {"userID", "usersId"},
	"applicationsId": {"applicationId"},
	"tokenString":    {"TokenString", "token"},
}

// AliasesIn returns the aliases of a name in an operation.
func AliasesIn(op *openapi3.Operation, name string) []string {
	known := namesOf(op)
	if !known[name] {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(Aliases[name]), func(alias string) bool { return known[alias] })
}

// Selectors are the sets of names that select what a revocation covers. Every other set is refused. A schema could
// express this only as a choice between lists of required names, which no generator supports.
var Selectors = [][]string{
	{"allInTenant"}, {"applicationsId"}, {"applicationsId", "userId"}, {"exceptTokenId", "userId"}, {"tokenId"},
	{"tokenString"}, {"userId"},
}

// A Form is a POST with a selector that stands for another operation.
type Form struct {
	Path   string   // of the POST
	Names  []string // of its body; none for no body
	Stands string   // the operation that it stands for
}

const (
	many = "/jwt/refresh"
	one  = "/jwt/refresh/{id}"
)

// Forms are all of them. Any other POST with these names and paths is an exchange, or is refused.
var Forms = []Form{
	{many, []string{"id"}, "retrieve"},
	{many, []string{"userId"}, "list"},
	{many, []string{"tokenId"}, "revoke"},
	{many, []string{"tokenString"}, "revoke"},
	{many, []string{"applicationsId"}, "revoke"},
	{many, []string{"applicationsId", "userId"}, "revoke"},
	{one, nil, "retrieve"},
	{one, []string{"tokenId"}, "revokeOne"},
}

func (f Form) String() string { return "POST " + f.Path + " " + strings.Join(f.Names, ",") }

// A Reading is a request as the document reads it: as one of its operations, or as none.
type Reading struct {
	Request   *http.Request
	Body      []byte
	Operation *openapi3.Operation // nil if the document does not have it
	Form      bool                // whether it is a POST that stands for another operation
	Spellings []string            // the aliases and the form that were used, to count which were tried
}

// Read returns the request that the document has for this one.
func Read(doc *openapi3.T, req *http.Request, body []byte) Reading {
	r := Reading{Request: req.Clone(req.Context()), Body: body}
	if f, ok := r.form(); ok {
		r.Form = true
		r.Spellings = append(r.Spellings, f.String())
	}
	if route, _ := FindRoute(doc, r.Request.Method, r.Request.URL); route != nil {
		r.Operation = route.Operation
		r.replaceAliases()
	}
	r.Request.Body, r.Request.ContentLength = http.NoBody, int64(len(r.Body))
	if len(r.Body) > 0 {
		r.Request.Body = io.NopCloser(bytes.NewReader(r.Body))
	}
	return r
}

// form turns a POST that stands for another operation into that one.
func (r *Reading) form() (Form, bool) {
	if r.Request.Method != http.MethodPost {
		return Form{}, false
	}
	path := strings.TrimSuffix(r.Request.URL.EscapedPath(), "/")
	id, atOne := strings.CutPrefix(path, many+"/")
	atOne = atOne && id != "" && !strings.Contains(id, "/")
	if !atOne && path != many {
		return Form{}, false
	}
	said, values := r.said()
	for _, f := range Forms {
		if (f.Path == one) != atOne || !slices.Equal(f.Names, said) || f.Names == nil && len(r.Body) > 0 {
			continue
		}
		switch {
		case f.Stands == "revoke":
			r.Request.Method = http.MethodDelete
		case f.Stands == "revokeOne":
			given, err := url.PathUnescape(id)
			if err != nil || given != values["tokenId"] {
				continue
			}
			r.Request.Method = http.MethodDelete
			r.drop()
		case f.Stands == "list":
			r.Request.Method = http.MethodGet
			r.addQuery(url.Values{"userId": {values["userId"]}})
			r.drop()
		case atOne: // retrieve
			r.Request.Method = http.MethodGet
		default:
			r.Request.Method = http.MethodGet
			r.Request.URL.Path = many + "/" + values["id"]
			r.Request.URL.RawPath = many + "/" + url.PathEscape(values["id"])
			r.drop()
		}
		return f, true
	}
	if atOne { // with a body that stands for no operation: a revocation that must be refused for its body
		r.Request.Method = http.MethodDelete
	}
	return Form{}, false
}

// said returns the names in the body of a form, sorted and without aliases, and the values of those that are strings. A
// name that occurs twice, under any alias, is not a name of a form.
func (r *Reading) said() (names []string, values map[string]string) {
	values = map[string]string{}
	add := func(name string, value any) {
		if name != "token" { // at a POST this is the access token
			name = published(name)
		}
		if slices.Contains(names, name) {
			name = "repeated " + name
		}
		names = append(names, name)
		values[name], _ = value.(string)
	}
	switch object, form := r.fields(); {
	case object != nil:
		for name, value := range object {
			add(name, value)
		}
	case form != nil:
		for name, all := range form {
			for _, value := range all {
				add(name, value)
			}
		}
	case len(r.Body) > 0:
		return []string{"unreadable"}, nil
	}
	slices.Sort(names)
	return names, values
}

// fields returns the fields of a JSON body or of a form. It returns none for other bodies, and for a body that has a
// name twice.
func (r *Reading) fields() (object map[string]any, form url.Values) {
	if len(r.Body) == 0 {
		return nil, nil
	}
	media, _, _ := mime.ParseMediaType(r.Request.Header.Get("Content-Type"))
	if media == "application/x-www-form-urlencoded" {
		form, err := url.ParseQuery(string(r.Body))
		if err != nil {
			return nil, nil
		}
		return nil, form
	}
	d := json.NewDecoder(bytes.NewReader(r.Body))
	d.UseNumber()
	if d.Decode(&object) != nil {
		return nil, nil
	}
	return object, nil
}

func (r *Reading) drop() {
	r.Body = nil
	r.Request.Header.Del("Content-Type")
}

func (r *Reading) addQuery(more url.Values) {
	query := r.Request.URL.RawQuery
	if query != "" {
		query += "&"
	}
	r.Request.URL.RawQuery = query + more.Encode()
}

// replaceAliases replaces aliases by the document's names, except where the name occurs too.
func (r *Reading) replaceAliases() {
	rename := map[string]string{}
	for name := range Aliases {
		for _, alias := range AliasesIn(r.Operation, name) {
			rename[alias] = name
		}
	}
	renamed := func(name string, taken func(string) bool) string {
		of, ok := rename[name]
		if !ok || taken(of) {
			return name
		}
		r.Spellings = append(r.Spellings, r.Operation.OperationID+" "+name)
		return of
	}
	object, form := r.fields()
	switch {
	case object != nil:
		before := slices.Sorted(maps.Keys(object))
		for _, name := range before {
			to := renamed(name, func(of string) bool { _, ok := object[of]; return ok })
			if to != name {
				object[to] = object[name]
				delete(object, name)
			}
		}
		if len(r.Spellings) > 0 {
			r.Body, _ = json.Marshal(object) // it was read from JSON
		}
	case form != nil && replaced(form, renamed):
		r.Body = []byte(form.Encode())
	}
	if query := r.Request.URL.Query(); replaced(query, renamed) {
		r.Request.URL.RawQuery = query.Encode()
	}
}

func replaced(values url.Values, renamed func(string, func(string) bool) string) (any bool) {
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if to := renamed(name, values.Has); to != name {
			values[to] = values[name]
			delete(values, name)
			any = true
		}
	}
	return any
}

// published returns the document's name for a name that may be an alias.
func published(name string) string {
	for of, aliases := range Aliases {
		if slices.Contains(aliases, name) {
			return of
		}
	}
	return name
}

// namesOf returns the names that an operation has in its query and its bodies.
func namesOf(op *openapi3.Operation) map[string]bool {
	names := map[string]bool{}
	for _, p := range op.Parameters {
		if p.Value.In == openapi3.ParameterInQuery {
			names[p.Value.Name] = true
		}
	}
	if op.RequestBody != nil {
		for _, media := range op.RequestBody.Value.Content {
			for name := range media.Schema.Value.Properties {
				names[name] = true
			}
		}
	}
	return names
}
