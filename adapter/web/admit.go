package web

import (
	"encoding/binary"

	"github.com/refreshd/refreshd/domain"
)

// exchanger is the key of a refresh token's bucket. Exchanges with an API key are counted separately.
func exchanger(id domain.ID, authenticated bool) string {
	if authenticated {
		return "ak_" + string(id[:])
	}
	return string(id[:])
}

// Authenticated says that the request's API key is good. From then on the key pays.
func (r *Record) Authenticated() {
	p := &r.payer
	if p.guard == nil || p.apiKey == "" {
		return
	}
	p.good = true
	if p.known {
		return
	}
	p.known = true
	p.guard.apiKeys.Charge(p.apiKey, 1)
	if p.paid > 0 {
		p.guard.offers.Charge(p.address, -p.paid)
	}
}

// Proved says that what the request presented is genuine, though it may be refused.
func (r *Record) Proved() { r.payer.genuine = true }

// Unread is Proved for token strings that are genuine and of which none is looked up. Such a request costs what any
// other with a genuine one does; that it is worth nothing is known beforehand. An error is a *Refused.
func (r *Record) Unread() error {
	p, g := &r.payer, r.payer.guard
	if g != nil && p.mustProve > 0 { // else it has paid
		if wait := g.worthless.Wait(p.copy(), 1); wait > 0 { // of no token string: all of these are one
			return p.tooMany(wait)
		}
		if wait := g.genuine.Take(p.address, 1); wait > 0 {
			return p.tooMany(wait)
		}
		g.worthless.Charge(p.copy(), 1)
	}
	p.genuine = true
	return nil
}

// FailedProof says that what the request presented is not genuine, where its status will not be 401. An error is the
// answer instead.
func (r *Record) FailedProof() error {
	p := &r.payer
	if p.genuine {
		return nil
	}
	if p.mustProve > 0 {
		return p.refuse()
	}
	p.failed = true
	return nil
}

// Genuine admits an exchange of a refresh token whose token string is genuine, before the store is asked. An error is
// a *Refused.
func (r *Record) Genuine(t domain.PresentedToken, authenticated bool) error {
	p, g := &r.payer, r.payer.guard
	if g == nil {
		return nil
	}
	if wait := g.tokens.Wait(exchanger(t.ID, authenticated), 1); wait > 0 {
		p.genuine = true
		return g.refuse(LimitRefreshToken, wait)
	}
	return p.present(t, authenticated)
}

// Presented is Genuine for what asks the store about a token string and does not exchange it: a logout, and the choice
// among several. However often a refresh token is exchanged, it can be revoked; and the limit of one that has ended,
// whose cookie a browser may still keep, refuses no other.
//
// A request may call Presented and Genuine for one token string after another, and pays for each as a request of its
// own would. The last one is that which Exchanged charges.
func (r *Record) Presented(t domain.PresentedToken) error {
	if r.payer.guard == nil {
		return nil
	}
	return r.payer.present(t, false)
}

func (p *payer) present(t domain.PresentedToken, authenticated bool) error {
	g, first := p.guard, !p.asking
	if !first {
		p.presented = append(p.presented, p.copy())
	}
	p.genuine = true
	p.token, p.generation, p.authenticated = t.ID, t.Generation, authenticated
	switch {
	case p.mustProve > 0:
		if wait := g.worthless.Wait(p.copy(), 1); wait > 0 {
			return p.tooMany(wait)
		}
		if wait := g.genuine.Take(p.address, 1); wait > 0 {
			return p.tooMany(wait)
		}
		if first {
			if err := p.enter(); err != nil {
				return err
			}
		}
	case first: // it has paid
	case p.known:
		g.apiKeys.Charge(p.apiKey, 1)
	default:
		p.bucket().Charge(p.address, 1)
	}
	p.asking = true
	return nil
}

// Exchanged charges the exchange to the refresh token that Genuine was called for; or, if it does not count, because
// the token string was worth nothing, to that token string at its address. The other ones that Genuine was called for
// are charged as worth nothing.
func (r *Record) Exchanged(counts bool) {
	p := &r.payer
	if p.guard == nil || !p.genuine {
		return
	}
	for _, other := range p.presented {
		if other != p.copy() {
			p.guard.worthless.Charge(other, 1)
		}
	}
	if counts {
		p.guard.tokens.Charge(exchanger(p.token, p.authenticated), 1)
		return
	}
	p.guard.worthless.Charge(p.copy(), 1)
}

// copy is the key of a token string at an address.
func (p *payer) copy() string {
	return string(binary.BigEndian.AppendUint32(p.token[:], p.generation)) + p.address
}

// Turn is for a request on the route of the exchange that is something else: it gives back the place of an exchange,
// and waits for a turn as requests on other routes have done by then. An error is a *Refused.
func (r *Record) Turn() error {
	p := &r.payer
	if p.guard == nil || p.turned {
		return nil
	}
	if p.mustProve > 0 {
		return p.refuse()
	}
	p.end()
	return p.turn()
}
