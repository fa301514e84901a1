// Package usecase is what refreshd does, a verb a file: issue, exchange, list, revoke, authenticate, apply, and publish keys.
// Each is a struct of the ports it needs, with its input type beside its method. The rules are in domain; a use case asks a
// store, lets domain decide, stores what was decided, and answers.
//
// Errors are the sentinels of domain, an *domain.Invalid, or domain.ErrUnavailable around whatever a port failed with. A refused
// exchange is no error: its outcome says it was refused. Nothing here logs or counts; the adapter that called does, once.
//
// Every use case is safe for concurrent use, and unit-testable: adapter/memstore is a store for what works,
// port/portmock for what fails.
package usecase

import (
	"errors"
	"fmt"
	"time"

	"github.com/refreshd/refreshd/domain"
)

// Clock tells the time. It may go backwards and differ between processes; the rules bear it.
type Clock func() time.Time

// now is the clock's time as it can be stored: UTC, whole microseconds, no monotonic reading.
func (c Clock) now() time.Time { return c().UTC().Truncate(time.Microsecond) }

// wrap wraps an error of a port with what was attempted, and tells apart the answers, which are sentinels or say what is wrong with
// the input, from everything else, which is operational.
func wrap(attempted string, err error) error {
	var invalid *domain.Invalid
	if errors.As(err, &invalid) {
		return fmt.Errorf("%s: %w", attempted, err)
	}
	for _, answer := range []error{
		domain.ErrNotFound, domain.ErrConflict, domain.ErrStale, domain.ErrDuplicate, domain.ErrUnauthorized, domain.ErrBusy,
	} {
		if errors.Is(err, answer) {
			return fmt.Errorf("%s: %w", attempted, err)
		}
	}
	return fmt.Errorf("%s: %w: %w", attempted, domain.ErrUnavailable, err)
}
