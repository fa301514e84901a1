package port_test

import (
	"reflect"
	"slices"
	"testing"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// withoutEvent lists the methods that write and store no event: logins and uses, which every request makes; the change
// of a key's seal or of the hash of an API key or a client secret, which changes nothing that these do; leases; the
// positions of facts, whose revocations have events; and that an assertion was used, as each request of a client does.
var withoutEvent = []string{
	"Insert", "Advance", "Use", "Reseal", "RehashAPIKey", "RehashClientSecrets", "Lease", "Release", "Stamp", "Beat",
	"Once",
}

// readers lists the methods that write nothing.
var readers = []string{
	"Ready", "Close", "Snapshot", "Find", "List", "Count", "Tenant", "TenantByIssuer", "Tenants", "Application",
	"Applications", "Policy", "APIKey", "APIKeyByName", "APIKeyByHash", "APIKeys", "KeyRevision", "KeysSince",
	"KeysOfTenant", "KeyByID", "SigningKeys", "OldestRotation", "APIKeysHashedWith", "ApplicationsHashedWith",
	"HasData", "Events", "Revoked", "LongestAccessTTL",
}

// A write that an operator may ask about later must have an actor: a new method takes an event, or is listed here.
func TestEveryMethodThatWritesTakesAnEvent(t *testing.T) {
	store := reflect.TypeFor[port.Store]()
	event := reflect.TypeFor[domain.Event]()
	var methods []string
	for m := range store.Methods() {
		methods = append(methods, m.Name)
		takes := false
		for in := range m.Type.Ins() {
			takes = takes || in == event || holds(in, event)
		}
		switch exempt := slices.Contains(withoutEvent, m.Name) || slices.Contains(readers, m.Name); {
		case takes && exempt:
			t.Errorf("%s takes an event, and is named among those that take none", m.Name)
		case !takes && !exempt:
			t.Errorf("%s takes no event", m.Name)
		}
	}
	for _, name := range slices.Concat(withoutEvent, readers) {
		if !slices.Contains(methods, name) {
			t.Errorf("there is no %s", name)
		}
	}
}

// holds reports whether a struct, or the elements of a slice of them, has a field of that type.
func holds(in, field reflect.Type) bool {
	if in.Kind() == reflect.Slice {
		in = in.Elem()
	}
	if in.Kind() != reflect.Struct {
		return false
	}
	for f := range in.Fields() {
		if f.Type == field {
			return true
		}
	}
	return false
}
