// Package web is what every HTTP dialect of refreshd shares: request ids, the log line, limits, who sent a request, the
// rules of origins and cookies, strict decoding, and the table from errors to statuses. It has no endpoint but the
// documents of dialects, and writes no body: how a response reads is the dialect's.
//
// A dialect is a table of [Route]s and how it refuses, and [New] serves several on one address. What has to be known of
// an endpoint before its handler runs is told in its Route and nowhere else. A handler reads its input with [Query],
// [Body] and [PathParam], never with echo's Bind, finds its caller in [Note], returns errors, and says there for the log
// what happened.
//
// The one thing to know is the order of checks, which decides what a stranger can find out: what a [Guard] refuses
// (429, 503), route (404), method (405) and size (413) are settled first; then API key or access token, and whether it
// allows the route's action (401), and the tenant (400, 401); then [Body] checks the media type (415) and the body
// (400). To know the size of a chunked body before asking for a key, the body is read first, whole. It is 32 KiB at most
// unless its Route says otherwise, and the exchange takes one from anybody anyway.
//
// Decisions:
//   - A route with an Action is authenticated before its handler, so that none can forget to. Only a route whose requests
//     decide which action they need asks by itself, and for nothing that its table does not name.
//   - A path that no route matches is refused in the dialect whose routes have the most of it in common. Prefixes that
//     dialects declare lost: they would say again what the routes say.
//   - The client address is found with net/netip. echo's extractors trust private networks unless told otherwise and
//     give up on an address with a port, which some proxies write.
//   - CORS is not echo's: that takes wildcards, and an empty list means everybody.
package web
