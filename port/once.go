package port

import (
	"context"
	"time"
)

// Once stores keys that are used once, such as the `jti` of client assertions (RFC 7523, section 3), for all processes.
type Once interface {
	// Once stores key, which is not empty and of at most 64 bytes, until that instant. It returns ErrDuplicate, with
	// nothing written, if the key is stored and its instant is after now. Of concurrent calls with one key, also in
	// several processes, one succeeds. A key whose instant has passed may be stored again, and the [Janitor] deletes
	// it.
	Once(ctx context.Context, key []byte, now, until time.Time) error
}
