package reachapi

// The event of the line of a stream, at its end. Its kinds are Endings. OPERATING.md lists all events.
const eventStreamEnded = "revocations.stream_ended"
