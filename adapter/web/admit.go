package web

import (
	"encoding/binary"

	"github.com/refreshd/refreshd/domain"
)

// tokenBucketKey returns the key of a refresh token's bucket. Exchanges with an API key are counted separately.
func tokenBucketKey(id domain.ID, authenticated bool) string {
	if authenticated {
		return "ak_" + string(id[:])
	}
	return string(id[:])
}

// Authenticated records that the request's API key is valid. Afterwards requests with it are charged to the key.
func (r *Record) Authenticated() {
	ch := &r.charge
	if ch.guard == nil || ch.apiKey == "" {
		return
	}
	ch.validKey = true
	if ch.known {
		return
	}
	ch.known = true
	ch.guard.apiKeys.Charge(ch.apiKey, 1)
	if ch.paid > 0 {
		ch.guard.unverifiedKeys.Charge(ch.address, -ch.paid)
	}
}

// CredentialGenuine records that the request's credential is genuine, though it may be refused.
func (r *Record) CredentialGenuine() { r.charge.genuine = true }

// AdmitWithoutLookup is CredentialGenuine for genuine token strings of which none is looked up in the store. The
// request is charged as one with a genuine token string that was rejected. An error is a *Refused.
func (r *Record) AdmitWithoutLookup() error {
	ch, g := &r.charge, r.charge.guard
	if g != nil && ch.waitUnlessGenuine > 0 { // otherwise it has been charged
		// The key is that of the zero token string: all such requests of an address share it.
		if wait := g.rejected.Wait(ch.tokenAtAddress(), 1); wait > 0 {
			return ch.tooMany(wait)
		}
		if wait := g.genuine.Take(ch.address, 1); wait > 0 {
			return ch.tooMany(wait)
		}
		g.rejected.Charge(ch.tokenAtAddress(), 1)
	}
	ch.genuine = true
	return nil
}

// CredentialFailed records that the request's credential is not genuine, if its status will not be 401. If it returns
// an error, the handler must return that error.
func (r *Record) CredentialFailed() error {
	ch := &r.charge
	if ch.genuine {
		return nil
	}
	if ch.waitUnlessGenuine > 0 {
		return ch.refuse()
	}
	ch.failed = true
	return nil
}

// ProofFailed records that a proof beside the token string is wrong, such as a client's secret. It is charged as an
// invalid credential, although the token string may be genuine.
func (r *Record) ProofFailed() { r.charge.guessed = true }

// AdmitExchange admits an exchange whose token string is genuine, before the store is queried. An error is a *Refused.
func (r *Record) AdmitExchange(t domain.PresentedToken, authenticated bool) error {
	ch, g := &r.charge, r.charge.guard
	if g == nil {
		return nil
	}
	if wait := g.tokens.Wait(tokenBucketKey(t.ID, authenticated), 1); wait > 0 {
		ch.genuine = true
		return g.refuse(LimitRefreshToken, wait)
	}
	return ch.present(t, authenticated)
}

// AdmitLookup is AdmitExchange for a query of the store that exchanges nothing: a logout, and the choice among several
// token strings. The limit of the refresh token does not apply. So a refresh token can be revoked however often it is
// exchanged, and one that has ended, whose cookie a browser may still have, does not prevent the use of another.
//
// A request may call AdmitLookup and AdmitExchange for several token strings, and is charged for each as a request of
// its own. ChargeExchange charges the last one.
func (r *Record) AdmitLookup(t domain.PresentedToken) error {
	if r.charge.guard == nil {
		return nil
	}
	return r.charge.present(t, false)
}

func (ch *charge) present(t domain.PresentedToken, authenticated bool) error {
	g, first := ch.guard, !ch.asking
	if !first {
		ch.presented = append(ch.presented, ch.tokenAtAddress())
	}
	ch.genuine = true
	ch.token, ch.generation, ch.authenticated = t.ID, t.Generation, authenticated
	switch {
	case ch.waitUnlessGenuine > 0:
		if wait := g.rejected.Wait(ch.tokenAtAddress(), 1); wait > 0 {
			return ch.tooMany(wait)
		}
		if wait := g.genuine.Take(ch.address, 1); wait > 0 {
			return ch.tooMany(wait)
		}
		if first {
			if err := ch.enter(); err != nil {
				return err
			}
		}
	case first: // it has been charged
	case ch.known:
		g.apiKeys.Charge(ch.apiKey, 1)
	default:
		ch.bucket().Charge(ch.address, 1)
	}
	ch.asking = true
	return nil
}

// ChargeExchange charges the exchange to the refresh token that AdmitExchange was called for last. If counts is false,
// because the token string was rejected, it charges that token string at its address instead. The others that were
// admitted are charged as rejected.
func (r *Record) ChargeExchange(counts bool) {
	ch := &r.charge
	if ch.guard == nil || !ch.genuine {
		return
	}
	for _, other := range ch.presented {
		if other != ch.tokenAtAddress() {
			ch.guard.rejected.Charge(other, 1)
		}
	}
	if counts {
		ch.guard.tokens.Charge(tokenBucketKey(ch.token, ch.authenticated), 1)
		return
	}
	ch.guard.rejected.Charge(ch.tokenAtAddress(), 1)
}

// tokenAtAddress returns the key of a token string at its client address.
func (ch *charge) tokenAtAddress() string {
	return string(binary.BigEndian.AppendUint32(ch.token[:], ch.generation)) + ch.address
}

// Turn is for a request on the route of the exchange that is not an exchange. It gives back the place of an exchange,
// and waits for a turn, as requests on other routes did before their handler. An error is a *Refused.
func (r *Record) Turn() error {
	ch := &r.charge
	if ch.guard == nil || ch.turned {
		return nil
	}
	if ch.waitUnlessGenuine > 0 {
		return ch.refuse()
	}
	ch.end()
	return ch.turn()
}
