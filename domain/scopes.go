package domain

import "slices"

// loginScopes are scopes of a login. Clients repeat what they once asked a login for, although the session need not
// have been granted them, and they allow nothing at a resource server.
var loginScopes = []string{"openid", "offline_access", "profile", "email"}

// Narrow returns the scopes of an access token if the request asks for some (RFC 6749, section 6): those of granted
// that are asked for, in the order of granted. `openid`, `offline_access`, `profile` and `email` are ignored if they
// were not granted. If nothing else is asked for, the access token has all that was granted. ok is false if another
// scope was not granted: invalid_scope.
func Narrow(granted, asked []string) (scopes []string, ok bool) {
	counts := func(s string) bool { return slices.Contains(granted, s) || !slices.Contains(loginScopes, s) }
	if !slices.ContainsFunc(asked, counts) {
		return granted, true
	}
	for _, s := range granted {
		if slices.Contains(asked, s) {
			scopes = append(scopes, s)
		}
	}
	return scopes, !slices.ContainsFunc(asked, func(s string) bool { return counts(s) && !slices.Contains(granted, s) })
}
