package httpapi

import (
	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/domain"
)

// The events of the log, of requests that are more than a request. OPERATING.md lists all.
const (
	eventTokenIssued  = "token.issued"
	eventTokenChanged = "token.changed"
	eventTokenRevoked = "token.revoked"

	eventExchangeRotated        = "exchange.rotated"
	eventExchangeRetried        = "exchange.retried"
	eventExchangeRecovered      = "exchange.recovered"
	eventExchangeUnchanged      = "exchange.unchanged"
	eventExchangeRefused        = "exchange.refused"
	eventExchangeReplayed       = "exchange.replayed"
	eventExchangeAddressChanged = "exchange.address_changed"
	eventExchangeAhead          = "exchange.ahead"
	eventExchangeRestored       = "exchange.restored"
)

var exchangeEvents = map[domain.Outcome]string{
	domain.Rotated: eventExchangeRotated, domain.Retried: eventExchangeRetried, domain.Recovered: eventExchangeRecovered,
	domain.Unchanged: eventExchangeUnchanged, domain.RefusedReplayed: eventExchangeReplayed,
	domain.RefusedInvalid: eventExchangeRefused, domain.RefusedExpired: eventExchangeRefused,
	domain.RefusedRevoked: eventExchangeRefused, domain.RefusedInactive: eventExchangeRefused,
}

// Counted are the events that are counted for the operator, and their kinds.
var Counted = Events{
	Issued: eventTokenIssued, Revoked: eventTokenRevoked, CredentialFailed: web.EventCredentialFailed,
	RevocationKinds: []string{
		revokedToken, revokedUser, revokedApplication, revokedUserInApplication, revokedTenant,
	},
	CredentialKinds: web.CredentialKinds,
}

// Events are the words of the log for what is counted.
type Events struct {
	Issued, Revoked, CredentialFailed string
	RevocationKinds, CredentialKinds  []string
}
