package domain

import "slices"

// An Action is what a caller may be allowed to do. Permissions do not name actions: they name the endpoint and the
// method by which an action is done, see [Permissions]. The zero value is allowed to nobody.
type Action string

// The actions on refresh tokens. One token and many are different actions: a permission for "/jwt/refresh/:id" is one
// for that endpoint only.
const (
	TokenIssue      Action = "token.issue"
	TokenExchange   Action = "token.exchange"
	TokenRead       Action = "token.read"      // one, by its id
	TokenList       Action = "token.list"      // a user's
	TokenListWide   Action = "token.list.wide" // an application's or a tenant's
	TokenListAny    Action = "token.list.any"  // whoever may do either of these may do it
	TokenChange     Action = "token.change"
	TokenChangeMany Action = "token.change.many"
	TokenRevoke     Action = "token.revoke"
	TokenRevokeMany Action = "token.revoke.many"
)

// FeedRead is to read the stream of revocations.
const FeedRead Action = "feed.read"

// spelling is how a permission names an action.
type spelling struct {
	action           Action
	method, endpoint string
}

// spellings translate the permissions of an API key to actions. An action that is spelled twice is allowed by either.
// Those of administration are made of its endpoints, an action for each method: tenant.read, tenant.create,
// tenant.write, tenant.change, tenant.delete; and of what is below each, which names one object: tenant.read.one and
// so on. Fewer actions, such as one for all that writes, would allow more than the methods that a permission names, and
// one action for both endpoints would let a permission for one object list all.
var spellings = append([]spelling{
	{TokenIssue, "POST", "/jwt/issue"},
	{TokenExchange, "POST", "/jwt/refresh"},
	{TokenList, "GET", "/jwt/refresh"},
	{TokenListAny, "GET", "/jwt/refresh"},
	{TokenChangeMany, "PATCH", "/jwt/refresh"},
	{TokenRevokeMany, "DELETE", "/jwt/refresh"},
	{TokenRead, "GET", "/jwt/refresh/:id"},
	{"", "POST", "/jwt/refresh/:id"}, // the forms by POST need what they stand for
	{TokenChange, "PATCH", "/jwt/refresh/:id"},
	{TokenRevoke, "DELETE", "/jwt/refresh/:id"},
	{TokenListWide, "GET", SessionsPermission},
	{TokenListAny, "GET", SessionsPermission},
	{FeedRead, "GET", RevocationsPermission},
}, administrative()...)

// administration are the endpoints that "*" does not cover, and the first word of their actions.
var administration = []struct{ endpoint, object string }{
	{"/api-key", "apikey"}, {"/key", "key"}, {"/tenant", "tenant"}, {"/application", "application"}, {"/audit", "audit"},
}

// AdministrationEndpoints are those of administration. No route asks for them yet.
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

// ofOne is the parameter of an endpoint of administration that names one object.
const ofOne = "/:id"

func administrative() (all []spelling) {
	for _, a := range administration {
		for _, v := range verbs {
			action := a.object + "." + v.verb
			all = append(all, spelling{Action(action), v.method, a.endpoint},
				spelling{Action(action + ".one"), v.method, a.endpoint + ofOne})
		}
	}
	return all
}

// ownable are the actions that the owner of a session may do, on what is the owner's.
var ownable = []Action{TokenRead, TokenList, TokenListWide, TokenListAny, TokenRevoke, TokenRevokeMany}

// IsOwners reports whether an owner's access token serves for the action. Which sessions are the owner's is for the
// use case.
func (a Action) IsOwners() bool { return slices.Contains(ownable, a) }

// Spelled returns the method and the endpoints of the permissions that allow the action, of which one is enough; none
// for what is no action.
func (a Action) Spelled() (method string, endpoints []string) {
	for _, s := range spellings {
		if a != "" && s.action == a {
			method, endpoints = s.method, append(endpoints, s.endpoint)
		}
	}
	return method, endpoints
}
