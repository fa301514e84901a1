package domain

import "slices"

// An Action is an operation that a caller may be allowed to do. Permissions do not name actions: they name an endpoint
// and a method, see [Permissions]. The zero value is allowed to no caller.
type Action string

// The actions on refresh tokens. An action on one token differs from the same action on many: a permission for
// "/jwt/refresh/:id" is one for that endpoint only.
const (
	TokenIssue      Action = "token.issue"
	TokenExchange   Action = "token.exchange"
	TokenRead       Action = "token.read"      // one, by its id
	TokenList       Action = "token.list"      // a user's
	TokenListWide   Action = "token.list.wide" // an application's or a tenant's
	TokenListAny    Action = "token.list.any"  // allowed to a caller that may do either of these
	TokenChange     Action = "token.change"
	TokenChangeMany Action = "token.change.many"
	TokenRevoke     Action = "token.revoke"
	TokenRevokeMany Action = "token.revoke.many"
)

// KeyManage is the action of each change of a key. It is one for all of them: who may make a key that signs may also
// end one.
const KeyManage Action = "key.manage"

// TokenIntrospect is the action of introspection: whether a token is active, and what it says (RFC 7662).
const TokenIntrospect Action = "token.introspect"

// FeedRead is the action of reading the stream of revocations.
const FeedRead Action = "feed.read"

// spelling is the endpoint and method by which a permission names an action.
type spelling struct {
	action           Action
	method, endpoint string
}

// spellings translate the permissions of an API key to actions. An action with two spellings is allowed by either.
//
// The actions of administration are made from its endpoints, one for each method: tenant.read, tenant.create,
// tenant.write, tenant.change, tenant.delete. Those below each endpoint, which name one object, are tenant.read.one and
// so on. Fewer actions, such as one for all writes, would allow more than the methods that a permission names. One
// action for both endpoints would let a permission for one object list all objects.
var spellings = append([]spelling{
	{TokenIssue, "POST", "/jwt/issue"},
	{TokenExchange, "POST", "/jwt/refresh"},
	{TokenList, "GET", "/jwt/refresh"},
	{TokenListAny, "GET", "/jwt/refresh"},
	{TokenChangeMany, "PATCH", "/jwt/refresh"},
	{TokenRevokeMany, "DELETE", "/jwt/refresh"},
	{TokenRead, "GET", "/jwt/refresh/:id"},
	{"", "POST", "/jwt/refresh/:id"}, // a form by POST needs the action that it stands for
	{TokenChange, "PATCH", "/jwt/refresh/:id"},
	{TokenRevoke, "DELETE", "/jwt/refresh/:id"},
	{TokenListWide, "GET", SessionsPermission},
	{TokenListAny, "GET", SessionsPermission},
	{TokenIntrospect, "POST", "/oauth2/introspect"},
	{FeedRead, "GET", RevocationsPermission},
	{KeyManage, "POST", "/key"},
}, administrationSpellings()...)

// administration lists the endpoints that "*" does not cover, and the first word of their actions.
var administration = []struct{ endpoint, object string }{
	{"/api-key", "apikey"}, {"/key", "key"}, {"/tenant", "tenant"}, {"/application", "application"},
	{"/audit", "audit"},
}

// AdministrationEndpoints are the endpoints of administration. Each covers the endpoint of one of its objects too.
func AdministrationEndpoints() (all []string) {
	for _, a := range administration {
		all = append(all, a.endpoint)
	}
	return all
}

// verbs are the second word of an action of administration.
var verbs = []struct{ method, verb string }{
	{"GET", "read"}, {"POST", "create"}, {"PUT", "write"}, {"PATCH", "change"}, {"DELETE", "delete"},
}

// objectParameter is the parameter of an endpoint of administration that names one object.
const objectParameter = "/:id"

func administrationSpellings() (all []spelling) {
	for _, a := range administration {
		for _, v := range verbs {
			action := a.object + "." + v.verb
			all = append(all, spelling{Action(action), v.method, a.endpoint},
				spelling{Action(action + ".one"), v.method, a.endpoint + objectParameter})
		}
	}
	return all
}

// ownerActions lists the actions that the owner of a session may do on its own sessions.
var ownerActions = []Action{TokenRead, TokenList, TokenListWide, TokenListAny, TokenRevoke, TokenRevokeMany}

// AllowsOwner reports whether an owner's access token suffices for the action. The use case checks which sessions are
// the owner's.
func (a Action) AllowsOwner() bool { return slices.Contains(ownerActions, a) }

// Permissions returns the method and the endpoints of the permissions that allow the action, of which one suffices. It
// returns no endpoint for an unknown action.
func (a Action) Permissions() (method string, endpoints []string) {
	for _, s := range spellings {
		if a != "" && s.action == a {
			method, endpoints = s.method, append(endpoints, s.endpoint)
		}
	}
	return method, endpoints
}
