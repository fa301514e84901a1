package usecase

import "github.com/refreshd/refreshd/domain"

// Actor returns the caller as the actor of an event: a client if no credential was needed. The adapter adds the
// address.
func (c Caller) Actor() domain.Actor {
	if c.Owner != nil {
		return domain.Actor{Kind: domain.ActorOwner, ID: c.Owner.Subject, Name: c.Owner.SessionID}
	}
	if c.Operator != "" {
		return domain.Actor{Kind: domain.ActorOperator, Name: c.Operator}
	}
	if c.Key.Name == "" {
		return domain.Actor{Kind: domain.ActorClient}
	}
	return domain.Actor{Kind: domain.ActorAPIKey, ID: c.Key.ID.String(), Name: c.Key.Name}
}
