package verify

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"
)

// VerifyRequest verifies the access token of a request. It takes it from the Authorization header only, never from a
// query or a body (RFC 6750, sections 2.2 and 2.3, and RFC 9700, section 4.3.2).
//
// With the scheme Bearer the token must not be bound to a key. With the scheme DPoP it must be bound by its thumbprint
// (cnf.jkt), and the request needs a proof (RFC 9449): signed by that key, for this method and URL, made less than a
// minute ago by this process's clock, and not used before. Proofs that were used are remembered by this process alone.
//
// The errors are those of [Verifier.Verify], [ErrMissing] and [ErrMalformed].
func (v *Verifier) VerifyRequest(r *http.Request) (*Token, error) {
	t, err := v.verifyRequest(r)
	return v.decided(t, err)
}

func (v *Verifier) verifyRequest(r *http.Request) (*Token, error) {
	scheme, token, err := credentials(r.Header)
	if err != nil {
		return nil, err
	}
	t, err := v.authenticate(r.Context(), token)
	switch {
	case err != nil:
		return nil, err
	case scheme == schemeBearer && t.jkt != "":
		return nil, invalid("bound to a key, so it needs the scheme DPoP and a proof")
	case scheme == schemeBearer:
		return t, v.decide(r.Context(), t, token)
	case t.jkt == "":
		return nil, invalid("not bound to a key, so it needs the scheme Bearer")
	}
	p, err := v.prove(r, t)
	if err != nil {
		return nil, err
	}
	if err := v.decide(r.Context(), t, token); err != nil {
		return nil, err
	}
	return t, v.proofs.use(p, time.Now())
}

const (
	schemeBearer = "Bearer"
	schemeDPoP   = "DPoP"
)

// credentials returns the scheme and the access token of an Authorization header. A request with another scheme has no
// access token: RFC 6750, section 3.1, treats both alike.
func credentials(h http.Header) (scheme, token string, err error) {
	sent := h.Values("Authorization")
	if len(sent) > 1 {
		return "", "", malformed("more than one Authorization header")
	}
	if len(sent) == 0 {
		return "", "", ErrMissing
	}
	name, token, _ := strings.Cut(sent[0], " ")
	switch {
	case strings.EqualFold(name, schemeBearer):
		scheme = schemeBearer
	case strings.EqualFold(name, schemeDPoP):
		scheme = schemeDPoP
	default:
		return "", "", ErrMissing
	}
	token = strings.TrimLeft(token, " ") // RFC 9110, section 11.4: one or more
	if token == "" || strings.ContainsFunc(token, notToken68) {
		return "", "", malformed("the Authorization header has no access token that can be read")
	}
	return scheme, token, nil
}

func malformed(reason string) error { return &refusal{ErrMalformed, codeInvalidRequest, reason} }

// notToken68 reports whether r is not a character of b64token, RFC 6750, section 2.1.
func notToken68(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-._~+/=", r))
}

// Middleware returns a handler that calls next for requests with a valid access token, which [FromContext] returns.
// Other requests get a response of RFC 6750, section 3: 401 with a challenge, 400 for credentials that cannot be read,
// and 503 with Retry-After for [ErrStale], because a client that received 401 would discard a token that may be valid.
//
// A preflight request of CORS has no token: put the handler of CORS around this one.
func (v *Verifier) Middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t, err := v.VerifyRequest(r)
		if err != nil {
			v.refuse(w, r, err)
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), contextKey{}, t)))
	})
}

type contextKey struct{}

// FromContext returns the token of the request that [Verifier.Middleware] let through.
func FromContext(ctx context.Context) (*Token, bool) {
	t, ok := ctx.Value(contextKey{}).(*Token)
	return t, ok
}

// NewContext returns a context with the token, for servers that call [Verifier.Verify] themselves.
func NewContext(ctx context.Context, t *Token) context.Context {
	return context.WithValue(ctx, contextKey{}, t)
}

// Algorithms that a proof may be signed with, RFC 9449, section 7.1.
const proofAlgorithms = es256 + " " + eddsa + " " + rs256 + " " + ps256

// retryAfter is in seconds. A stream that was interrupted is back within a few seconds, and then clients come
// gradually.
const retryAfter = "5"

// refuse sends the response for err, which Verify or VerifyRequest returned.
func (v *Verifier) refuse(w http.ResponseWriter, r *http.Request, err error) {
	var body struct {
		Error       string `json:"error,omitempty"`
		Description string `json:"error_description,omitempty"`
	}
	status := http.StatusUnauthorized
	switch resultOf(err) {
	case Missing:
		// RFC 6750, section 3.1: no error code.
		body.Description = "an access token is required in the Authorization header"
	case Malformed:
		status, body.Error, body.Description = http.StatusBadRequest, codeInvalidRequest, "malformed credentials"
	case Expired:
		body.Error, body.Description = codeInvalidToken, "the access token is expired"
	case Revoked:
		body.Error, body.Description = codeInvalidToken, "the access token is revoked"
	case Stale:
		status, body.Error = http.StatusServiceUnavailable, "temporarily_unavailable"
		body.Description = "this server cannot tell at present whether an access token is valid"
		w.Header().Set("Retry-After", retryAfter)
	default:
		body.Error, body.Description = codeInvalidToken, "the access token is invalid"
	}
	if detail := new(refusal); status != http.StatusServiceUnavailable && errors.As(err, &detail) {
		body.Error, body.Description = detail.code, detail.reason
	}
	if status != http.StatusServiceUnavailable {
		scheme, _, _ := credentials(r.Header)
		v.challenge(w.Header(), scheme, body.Error, body.Description)
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// challenge adds one challenge for each scheme that this API takes. The error belongs to the scheme of the request. A
// description is text of this package, and needs no escaping.
func (v *Verifier) challenge(h http.Header, scheme, code, description string) {
	var failed string
	if code != "" {
		failed = `, error="` + code + `", error_description="` + description + `"`
	}
	bearer := schemeBearer + " realm=" + quoted(v.config.Audience)
	if v.config.PublicURL == "" && v.config.RequestURL == nil {
		h.Add("WWW-Authenticate", bearer+failed)
		return
	}
	dpop := schemeDPoP + ` algs="` + proofAlgorithms + `"`
	if scheme == schemeDPoP {
		dpop += failed
	} else {
		bearer += failed
	}
	h.Add("WWW-Authenticate", bearer)
	h.Add("WWW-Authenticate", dpop)
}

// quoted returns s as a quoted-string of RFC 9110, section 5.6.4, with ? for what is not visible ASCII.
func quoted(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case notVisible(r) && r != ' ':
			b.WriteByte('?')
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
