package verify

import "context"

// FromContext returns the token of the request that [Verifier.Middleware] let through.
func FromContext(ctx context.Context) (*Token, bool) {
	t, ok := ctx.Value(contextKey{}).(*Token)
	return t, ok
}

type contextKey struct{}
