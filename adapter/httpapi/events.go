package httpapi

import "github.com/refreshd/refreshd/adapter/web"

// The events of requests with a more specific event than http.request. OPERATING.md lists all.
const (
	eventTokenIssued  = "token.issued"
	eventTokenChanged = "token.changed"
)

// Counted are the events that metrics count, and their kinds.
var Counted = Events{
	Issued: eventTokenIssued, Revoked: web.EventTokenRevoked, CredentialFailed: web.EventCredentialFailed,
	RevocationKinds: []string{
		web.RevokedToken, revokedUser, revokedApplication, revokedUserInApplication, revokedTenant,
	},
	CredentialKinds: web.CredentialKinds,
}

// Events are names of events and of their kinds.
type Events struct {
	Issued, Revoked, CredentialFailed string
	RevocationKinds, CredentialKinds  []string
}
