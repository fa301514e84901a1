// Package admin holds the operations of administration: tenants, applications, API keys, the list of keys, and apply,
// which makes all of them match a file. Package usecase says what is the same for every use case.
//
// Each write reads the object, decides, builds the event from what it read, and saves on the condition that the version
// is still the one that it read. So Before of the event is true, and nothing that another process wrote is lost.
package admin

import (
	"errors"
	"fmt"
	"slices"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/usecase"
)

// By is the party that asks. Without Operator and without Key it may see and change nothing.
type By struct {
	Origin   domain.Origin
	Operator bool           // has the store itself, so no API key limits it
	Key      *domain.APIKey // authenticated
	TenantID string         // of the request: no object of another tenant, or of none, is seen; empty for all objects
}

// sees reports whether objects of that tenant, or for an empty id those of no tenant, exist for this caller.
func (by By) sees(tenantID string) bool {
	return (by.Operator || by.Key != nil && by.Key.Serves(tenantID)) && (by.TenantID == "" || by.TenantID == tenantID)
}

// tenant returns the tenant that the request is about: the one that it names, or that of a key for one tenant. It is
// empty for all.
func (by By) tenant() string {
	if by.TenantID == "" && by.Key != nil {
		return by.Key.TenantID
	}
	return by.TenantID
}

// Expect is the condition of an If-Match: the object has one of these versions. Nil is no condition. An empty one that
// is not nil matches no object.
type Expect []domain.Version

// check returns ErrStale if the condition does not hold.
func (e Expect) check(v domain.Version) error {
	if e != nil && !slices.Contains(e, v) {
		return domain.ErrStale
	}
	return nil
}

// changeAttempts is how often a change is tried while other processes change the object too.
const changeAttempts = 5

// retry calls attempt, which reads and writes, again while another process writes in between. A caller with a condition
// decided by what it saw, so it gets ErrStale.
func retry(expect Expect, attempt func() error) error {
	for n := 1; ; n++ {
		err := attempt()
		switch {
		case !errors.Is(err, domain.ErrStale) || expect != nil:
			return err
		case n == changeAttempts:
			return fmt.Errorf("%w: %v", domain.ErrBusy, err) // not ErrStale: there is no condition that failed
		}
	}
}

// result wraps the error of an operation, if there is one.
func result(operation string, err error) error {
	if err == nil {
		return nil
	}
	return usecase.Wrap(operation, err)
}

// duplicate is the error of a field whose value another object has.
func duplicate(field, message string) error {
	return domain.NewInvalid(field, domain.Duplicate, message)
}

// errID is the error of an edit that changes the id.
func errID() error {
	return domain.NewInvalid("id", domain.Conflict, "an id cannot be changed: create an object with the new id")
}
