// Package web has what the HTTP dialects of refreshd share: request ids, the log line, limits, authentication, the
// rules of origins and cookies, strict decoding, and the table from errors to statuses. Its only endpoints are the
// documents of the dialects. It writes no body: the dialect does.
//
// A dialect is a table of [Route]s and a [Renderer] of refusals, and [New] serves several on one address. Everything
// that must be known of an endpoint before its handler runs is in its Route. A handler reads its input with [Query],
// [Body] and [PathParam], never with echo's Bind. It finds its caller in [LogRecord], records there what happened, and
// returns errors.
//
// The order of checks determines what a client without a credential can find out. First come the [Guard] (429, 503),
// the route (404), the method (405) and the size (413). Then come the API key or access token and its permission for
// the route's action (401), and the tenant (400, 401). Then [Body] checks the media type (415) and the body (400). The
// whole body is read before authentication, because the size of a chunked body is not known otherwise. It is 32 KiB at
// most unless its Route says otherwise, and the exchange accepts one from any client anyway.
//
// Decisions:
//   - The caller of a route with an Action is authenticated before its handler, so that no handler can forget it. Only
//     a handler whose requests determine the action authenticates by itself, for the actions that its Route lists.
//   - A path that no route matches is refused in the dialect whose routes share most of it. Prefixes declared by the
//     dialects were rejected, because they would repeat the routes.
//   - The client address is parsed with net/netip. echo's extractors trust private networks by default, and reject an
//     address with a port, which some proxies write.
//   - CORS is not echo's, which accepts wildcards and takes an empty list for every origin.
package web
