package usecase

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// Proofs checks DPoP proofs (RFC 9449). Nothing about them is stored. It must not be copied.
//
// A proof serves once in each process, for as long as its `iat` would let it serve again: two minutes at most. Another
// process accepts it once more. RFC 9449, section 11.1, allows that, and a store that all processes ask would cost each
// exchange a write. What a thief of a proof gains by it is one more exchange of a token string that must be stolen too,
// and which the exchange itself answers once only, or as the retry that it is.
//
// The memory of proofs that were used has a bound. A proof that finds no room is refused with ErrBusy, and the client
// sends its request again: to forget another one would let that one serve twice, and to accept this one unremembered
// would let it. Only a request whose token string is genuine takes room, and as much as the limit of its rate allows.
type Proofs struct {
	Signer port.Signer
	Keys   *Keys
	// PublicURL is as in Minter. A request may also reach the service by the issuer of its tenant, one of Tenants.
	PublicURL string
	Tenants   port.Tenants
	Clock     Clock
	// DemandNonce refuses a proof without a current nonce (RFC 9449, section 8). Without it a nonce that a proof has is
	// still checked.
	DemandNonce bool
	// MaxUsed bounds the number of proofs that are remembered; 0 for 2^20, which take about 30 MB.
	MaxUsed int

	mu    sync.Mutex
	used  map[int64]map[[16]byte]struct{} // by iat, in units of usedSet
	count int
	floor int64 // sets below are dropped; it never decreases, so setting the clock back lets no proof in again
}

const (
	maxUsedProofs = 1 << 20
	usedSet       = 10 // seconds
)

// ProofInput is a request with a proof.
type ProofInput struct {
	Proof string
	// Next is the proof of the key that is to replace that of Proof; empty for none.
	Next     string
	Method   string
	Path     string // of the request as it was sent, escaped
	TenantID string // that the request names; empty for none
	// AccessToken is the one that comes along; zero for none.
	AccessToken domain.Secret
}

// Check returns what the request proves the possession of. The proofs then count as used. The error is an ErrProof or
// an ErrProofNonce for a proof that is refused, and ErrBusy if no more proofs can be remembered.
func (p *Proofs) Check(ctx context.Context, in ProofInput) (domain.Possession, error) {
	now := p.Clock.Now()
	proof, err := p.verify(ctx, in, in.Proof, now)
	if err != nil {
		return domain.Possession{}, err
	}
	all, proved := []domain.Proof{proof}, domain.Possession{Key: proof.Key}
	if in.Next != "" {
		next, err := p.verify(ctx, in, in.Next, now)
		if err == nil {
			err = proof.CheckRoll(next)
		}
		if err != nil {
			return domain.Possession{}, err
		}
		all, proved.Next = append(all, next), next.Key
	}
	for _, one := range all {
		if err := p.use(one, now); err != nil {
			return domain.Possession{}, err
		}
	}
	return proved, nil
}

// verify returns a proof of the request that is valid now, whether it was used before or not.
func (p *Proofs) verify(ctx context.Context, in ProofInput, text string, now time.Time) (domain.Proof, error) {
	proof, err := p.Signer.ParseProof(text)
	if err != nil {
		return proof, Wrap("check the proof", err)
	}
	use := domain.ProofUse{
		Method: in.Method, URLs: []string{strings.TrimSuffix(p.PublicURL, "/") + in.Path}, AccessToken: in.AccessToken,
		Now: now,
	}
	if err := proof.Check(use); err != nil {
		// Only now, because most requests come by the public URL: this may cost a read.
		var failed error
		if use.URLs, failed = p.byIssuer(ctx, in); failed != nil {
			return proof, failed
		}
		if proof.Check(use) != nil {
			return proof, err
		}
	}
	return proof, p.checkNonce(proof.Nonce, now)
}

// byIssuer returns the URLs of the request by the issuer of its tenant; none if it names no tenant that exists.
func (p *Proofs) byIssuer(ctx context.Context, in ProofInput) ([]string, error) {
	if !domain.IsTenantID(in.TenantID) {
		return nil, nil
	}
	t, err := p.Tenants.Tenant(ctx, in.TenantID)
	if errors.Is(err, domain.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, Wrap("check the proof", err)
	}
	policy, err := domain.Combine(t, domain.Application{})
	if err != nil {
		return nil, Wrap("check the proof", err)
	}
	return domain.URLsByIssuer(domain.Issuer(p.PublicURL, t.ID, policy.Issuer), t.ID, in.Path), nil
}

// NextNonce returns the nonce for the next proof of a client, after a request that Check ended with err: if the proof
// had none that is current, or if all proofs must have one. It is empty if the client needs none. A nonce that is
// not demanded would cost each client that was idle for some minutes a second request, and prevent nothing.
func (p *Proofs) NextNonce(err error) (string, error) {
	if !p.DemandNonce && !errors.Is(err, domain.ErrProofNonce) {
		return "", nil
	}
	nonces, failed := p.Keys.proofNonces(p.Clock.Now())
	if failed == nil && len(nonces) == 0 {
		failed = errUnopened
	}
	if failed != nil {
		return "", Wrap("make a nonce", failed)
	}
	return nonces[0], nil
}

func (p *Proofs) checkNonce(nonce string, now time.Time) error {
	if nonce == "" && !p.DemandNonce {
		return nil
	}
	nonces, err := p.Keys.proofNonces(now)
	switch {
	case err != nil:
		return Wrap("check the nonce of the proof", err)
	case !slices.Contains(nonces, nonce):
		return domain.RefuseNonce()
	}
	return nil
}

// proofNonces returns the nonces that are accepted, first the one to give out: those of each hash key, which every
// process has. After a hash key was replaced, nonces of the one before are accepted until that ends.
func (k *Keys) proofNonces(now time.Time) ([]string, error) {
	var nonces, later []string // of keys that have started, the newest first; and of others
	for _, h := range k.ring.Load().api {
		if h.key.IsZero() {
			continue
		}
		of, err := domain.ProofNonces(h.key, now)
		if err != nil {
			return nil, err
		}
		if h.startsAt.After(now) {
			later = append(later, of[:]...)
		} else {
			nonces = append(nonces, of[:]...)
		}
	}
	return append(nonces, later...), nil
}

// use counts a proof as used. It is the last check: a proof that is refused takes no room.
func (p *Proofs) use(proof domain.Proof, now time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.used == nil {
		p.used = map[int64]map[[16]byte]struct{}{}
	}
	for floor := now.Add(-domain.ProofWindow).Unix() / usedSet; p.floor < floor; {
		p.floor = floor
		for of, set := range p.used {
			if of < floor {
				p.count -= len(set)
				delete(p.used, of)
			}
		}
	}
	most := p.MaxUsed
	if most == 0 {
		most = maxUsedProofs
	}
	replay := proof.Replay()
	of, id := proof.IssuedAt.Unix()/usedSet, [16]byte(replay[:])
	set := p.used[of]
	switch _, again := set[id]; {
	case of < p.floor, again:
		return domain.RefuseProof("it was used before: make a proof for each request, with a jti of its own")
	case p.count >= most:
		return fmt.Errorf("check the proof: more proofs were used within two minutes than can be remembered: %w",
			domain.ErrBusy)
	case set == nil:
		set = map[[16]byte]struct{}{}
		p.used[of] = set
	}
	set[id] = struct{}{}
	p.count++
	return nil
}

// roll binds the refresh token to the key next, if it is bound to that of the call and would be exchanged. It returns
// the key for the exchange: next, or that of the call if that is refused.
func (x *Exchange) roll(
	ctx context.Context, id domain.ID, call domain.Call, next, requestID string,
) (binding string, err error) {
	for range exchangeAttempts {
		s, err := x.Tokens.Snapshot(ctx, id)
		switch {
		case errors.Is(err, domain.ErrNotFound):
			return call.Binding, nil
		case err != nil:
			return "", Wrap("exchange: read the binding", err)
		case s.Token.Binding == next, s.Token.Binding == "": // a repeat, or nothing to replace
			return next, nil
		case s.Decide(call).Outcome.Refused():
			return call.Binding, nil
		}
		after := s.Token
		after.Binding = next
		event, err := domain.ExchangeEvent(domain.Decision{Event: domain.TokenRebound, After: after}, s.Token, call,
			requestID, x.Minter.Keys.Random)
		if err != nil {
			return "", err
		}
		err = x.Tokens.Rebind(ctx, s.Token, after, call.Now, event)
		if err == nil {
			return next, nil
		}
		if !errors.Is(err, domain.ErrConflict) {
			return "", Wrap("exchange: replace the binding", err)
		}
	}
	return "", fmt.Errorf("exchange: %w", domain.ErrBusy)
}
