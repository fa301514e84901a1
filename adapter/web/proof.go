package web

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"

	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/usecase"
)

// NonceHeader has the nonce for the next proof of a client (RFC 9449, section 8).
const NonceHeader = "DPoP-Nonce"

// The headers of proofs in the spelling of net/http. To look one up by another spelling allocates.
var (
	proofKey     = http.CanonicalHeaderKey(domain.ProofHeader)
	nextProofKey = http.CanonicalHeaderKey(domain.NextProofHeader)
)

// ProofOf returns the function that checks the DPoP proofs of a request, as [usecase.ExchangeInput.Prove] wants it; nil
// if the request has no proof, or if the process checks none. tenantID is the tenant that the request names, if any.
// The error is a domain.ErrProof if there is more than one header of a name, or a second proof without the first.
//
// The proof must be made for the public URL with the path of the request as it was sent (RFC 9449, section 4.3), or for
// the tenant's issuer. Host and forwarded headers do not count: the sender of a stolen proof chooses them.
func ProofOf(c echo.Context, tenantID string) (func(context.Context) (domain.Possession, error), error) {
	sent, next := c.Request().Header[proofKey], c.Request().Header[nextProofKey]
	m := LogRecord(c).mount
	switch {
	case len(sent) == 0 && len(next) == 0, m.Proofs == nil:
		return nil, nil
	case len(sent) == 0:
		return nil, domain.RefuseProof("it is missing: send that of the present key beside " + domain.NextProofHeader)
	case len(sent) > 1, len(next) > 1:
		return nil, domain.RefuseProof("there is more than one header: send one proof")
	}
	path := c.Request().URL.EscapedPath()
	if asSent, err := url.ParseRequestURI(c.Request().RequestURI); err == nil {
		path = asSent.EscapedPath() // with a slash at its end that was removed before routing
	}
	in := usecase.ProofInput{Proof: sent[0], Method: c.Request().Method, Path: path, TenantID: tenantID}
	if len(next) == 1 {
		in.Next = next[0]
	}
	return func(ctx context.Context) (domain.Possession, error) {
		proved, err := m.Proofs.Check(ctx, in)
		if errors.Is(err, domain.ErrProof) || errors.Is(err, domain.ErrProofNonce) {
			record := LogRecord(c)
			record.Event = eventExchangeRefused
			record.Add(slog.LevelInfo, slog.String("why", err.Error()))
		}
		return proved, offerNonce(c, m.Proofs, err)
	}, nil
}

// offerNonce gives the client the nonce for its next proof, if it needs one, and returns err.
func offerNonce(c echo.Context, proofs *usecase.Proofs, err error) error {
	nonce, failed := proofs.NextNonce(err)
	if failed != nil {
		return failed
	}
	if nonce != "" {
		c.Response().Header().Set(NonceHeader, nonce)
	}
	return err
}
