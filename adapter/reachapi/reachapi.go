// Package reachapi is the stream of revocations, by which resource servers learn which access tokens to refuse. GET
// /t/:tenantId/revocations responds with the facts of one tenant ([domain.Fact]), first all that matter, then each new
// one, and says of each moment how old the client's view is. Requests, frames and refusals are described in
// openapi.yaml, which the API serves.
//
// The facts come from [usecase.Feed], which reads the store on behalf of all streams. This package decides nothing
// about them: it encodes them, sends them, and ends streams.
//
// Decisions:
//   - A frame `fresh` names no instant. It gives the age of the view as a duration since the request arrived, by this
//     machine's monotonic clock. The client adds it to its own instant of the request, so no two clocks are compared.
//   - A client that does not name text/event-stream in Accept gets the long poll. `curl`, a health check or a browser
//     sends */*, and gets a response that ends.
//   - A long poll with a cursor waits for half a second at least, if it may wait that long. A fact has no position
//     until it is stamped, so until then each response to the same client repeats it: polls without that pause would
//     follow each other as fast as the network allows.
//   - A response to a stream closes its connection at its end. The client's next one then goes through the load
//     balancer again, which is the purpose of ending a stream after ten minutes.
package reachapi

import (
	"context"
	"fmt"
	"time"

	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/usecase"
)

// API has the use cases of the endpoint, and its other dependencies.
type API struct {
	Feed *usecase.Feed
	// Prove returns a signed statement that the client that sent the nonce, once it has the facts up to the cursor, has
	// a view of that age: see openapi.yaml.
	Prove func(ctx context.Context, tenantID, nonce string, cursor domain.Position, age time.Duration) (string, error)
	// URL is where clients reach the API, and TenantID the only tenant, or empty, for the examples in openapi.yaml.
	URL, TenantID string
}

// Dialect returns the endpoint with its documentation. It returns an error only if the embedded openapi.yaml is broken.
func (a *API) Dialect() (web.Dialect, error) {
	document, err := documentFor(a.URL, a.TenantID)
	if err != nil {
		return web.Dialect{}, fmt.Errorf("reachapi: %w", err)
	}
	return web.Dialect{
		Render: web.RenderEnvelope, Document: document, BackendOnly: true,
		Routes: []web.Route{{
			Method: "GET", Path: "/t/:tenantId/revocations", Action: domain.FeedRead, BackendOnly: true, Stream: true,
			Handle: a.revocations,
		}},
	}, nil
}
