package verify

import (
	"context"
	"crypto/sha256"
	"errors"
	"sync"
	"time"
)

// bindings are the contexts that end with a session. One goroutine watches all of them.
type bindings struct {
	mu     sync.Mutex
	all    map[*binding]struct{}
	closed bool // watch has ended
}

type binding struct {
	v      *Verifier // with the MaxAge of the route
	token  *Token
	ended  func() error // reports whether the context ended otherwise
	cancel context.CancelCauseFunc
}

func newBindings() *bindings { return &bindings{all: map[*binding]struct{}{}} }

// Bind returns a context that is cancelled when [Verifier.Verify] would begin to refuse the token: its cause is then
// [ErrRevoked], [ErrExpired] (the leeway after exp has passed), [ErrStale], or [ErrInvalid] if the key set no longer
// has the token's key. It is for responses that last, such as event streams and WebSockets. If the token is not valid
// at the call, the context is cancelled already, with the error of Verify as its cause. Call the function when the
// response has ended.
//
// Behind [Verifier.Middleware], with the request's context and its token, Bind does not verify the signature again, and
// it accepts a token that the request proved possession of.
//
// Introspection does not keep a binding: it says that a session is active, and not when it ends. So while the view is
// stale Bind cancels with ErrStale, also for a request that was accepted by introspection.
//
// A binding has neither a goroutine nor a timer. One goroutine compares all of them with the view when facts arrive,
// and twice a second. A binding takes about 1 KB with its Token.
func (v *Verifier) Bind(ctx context.Context, token string) (context.Context, context.CancelFunc) {
	t, err := v.forBinding(ctx, token)
	ctx, cancel := context.WithCancelCause(ctx)
	if err != nil {
		cancel(err)
		return ctx, func() { cancel(nil) }
	}
	b := &binding{v, t, ctx.Err, cancel}
	if !v.bound.add(b) {
		cancel(ErrStale)
	}
	b.refused(v.look()) // It is added first: a fact that arrives now is seen by the goroutine, or here.
	return ctx, func() {
		v.bound.remove(b)
		cancel(nil)
	}
}

func (v *Verifier) forBinding(ctx context.Context, token string) (*Token, error) {
	if t, ok := FromContext(ctx); ok && t.by == v.shared && t.digest == sha256.Sum256([]byte(token)) {
		return t, nil
	}
	t, err := v.bearer(ctx, token)
	if err == nil {
		_, err = v.decideByView(t)
	}
	return v.decided(t, err)
}

func (b *bindings) add(one *binding) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.all[one] = struct{}{}
	}
	return !b.closed
}

func (b *bindings) remove(one *binding) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.all, one)
}

// refused cancels b and returns true if its token is refused.
func (b *binding) refused(now view) bool {
	err := b.v.check(b.token, now)
	if err != nil {
		b.cancel(err)
	}
	return err != nil
}

// watch checks all bindings when facts arrive, and regularly for what time alone brings about, until ctx is done.
func (s *shared) watch(ctx context.Context) {
	ticker := time.NewTicker(500 * time.Millisecond)
	defer ticker.Stop()
	for {
		changed := s.feed.changed() // before the bindings are checked, so that no fact is missed
		s.bound.mu.Lock()
		now := s.look()
		for b := range s.bound.all {
			if b.ended() != nil || b.refused(now) {
				delete(s.bound.all, b)
			}
		}
		s.bound.mu.Unlock()
		select {
		case <-changed:
		case <-ticker.C:
		case <-ctx.Done():
			s.bound.end(errors.Join(ErrStale, context.Cause(ctx)))
			return
		}
	}
}

// end cancels all bindings: from now on nothing would.
func (b *bindings) end(cause error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	for one := range b.all {
		one.cancel(cause)
	}
	clear(b.all)
}
