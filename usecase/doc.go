// Package usecase holds the operations of refreshd, one file each: issue, exchange, list, patch, revoke, log out,
// authenticate, purge, publish keys, feed streams of revocations, and prove their views. Each is a struct of the
// ports that it needs, with its input type next to its method. The rules are in domain: a use case reads from a store,
// lets domain decide, stores the decision, and returns the result.
//
// Errors are the sentinels of domain, an *domain.Invalid, or domain.ErrUnavailable wrapped around the error of a port.
// A refused exchange is not an error: its outcome is a refusal. Nothing here logs or counts; the adapter does, once.
//
// Every use case is safe for concurrent use. Unit tests use adapter/memstore as a store that works, and port/portmock
// for failures.
package usecase

import (
	"errors"
	"fmt"
	"time"

	"github.com/refreshd/refreshd/domain"
)

// Clock returns the current time. It may go backwards and differ between processes; the rules allow for both.
type Clock func() time.Time

// Now returns the clock's time as it can be stored: UTC, whole microseconds, no monotonic reading.
func (c Clock) Now() time.Time { return c().UTC().Truncate(time.Microsecond) }

// Wrap wraps an error of a port with the operation that failed. A sentinel of domain or an *domain.Invalid is a result
// and is kept; every other error is operational and becomes ErrUnavailable.
func Wrap(operation string, err error) error {
	var invalid *domain.Invalid
	if errors.As(err, &invalid) {
		return fmt.Errorf("%s: %w", operation, err)
	}
	for _, result := range []error{
		domain.ErrNotFound, domain.ErrConflict, domain.ErrStale, domain.ErrDuplicate, domain.ErrUnauthorized,
		domain.ErrBusy, domain.ErrUnsafe,
	} {
		if errors.Is(err, result) {
			return fmt.Errorf("%s: %w", operation, err)
		}
	}
	return fmt.Errorf("%s: %w: %w", operation, domain.ErrUnavailable, err)
}
