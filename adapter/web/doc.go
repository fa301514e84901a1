// Package web is what every HTTP dialect of refreshd shares: request ids, the log line, limits, reading bodies and queries,
// and the one table from errors to statuses. It has no endpoint and writes no body: how an answer reads is the dialect's.
//
// A dialect calls [New], registers its routes, and returns errors from its handlers. A handler reads its input with [Query],
// [Body] and [PathParam], never with echo's Bind, and says for the log what happened with [Note].
//
// The one thing to know is the order of checks, which decides what a stranger can find out: route (404), method (405), what a
// [Guard] refuses (429, 503) and size (413) are settled before a handler runs; API key (401) and tenant header are the handler's; then [Body] checks the media
// type (415) and the body (400). To know the size of a chunked body before asking for a key, the body is read first, whole.
// It is 32 KiB at most, and the exchange takes one from anybody anyway.
//
// Decisions:
//   - The client address is found with net/netip. echo's extractors trust private networks unless told otherwise and give up
//     on an address with a port, which some proxies write.
//   - CORS is echo's, behind an exact comparison: its own list takes wildcards, and an empty one means everybody.
package web
