package usecase

import "github.com/refreshd/refreshd/domain"

// Actor is the caller, as an event names it: a client where no credential was needed. The address is the adapter's to
// add.
func (c Caller) Actor() domain.Actor {
	if c.Owner != nil {
		return domain.Actor{Kind: domain.ActorOwner, ID: c.Owner.Subject, Name: c.Owner.SessionID}
	}
	if c.Key.Name == "" {
		return domain.Actor{Kind: domain.ActorClient}
	}
	return domain.Actor{Kind: domain.ActorAPIKey, ID: c.Key.ID.String(), Name: c.Key.Name}
}
