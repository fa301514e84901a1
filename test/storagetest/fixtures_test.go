package storagetest

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/refreshd/refreshd/adapter/memstore"
	"github.com/refreshd/refreshd/port"
)

// TestFullFixturesLeaveNoFieldZero: a store may lose a field that a fixture leaves zero, undetected. A new field of the
// domain fails here.
func TestFullFixturesLeaveNoFieldZero(t *testing.T) {
	key := fullSealedKey()
	key.Revision = 1 // set by the store
	// A policy has only one of these two: each is set by one fixture.
	exclusive := map[string]bool{"Tenant.Settings.CookieDomain": true, "Application.Settings.CookieHostOnly": true}
	for _, fixture := range []any{fullToken(), fullTenant(), fullApplication(), fullAPIKey(), key} {
		leaves(reflect.ValueOf(fixture), reflect.TypeOf(fixture).Name(), func(path string, v reflect.Value) {
			if v.IsZero() != exclusive[path] {
				t.Errorf("%s is zero: %t", path, v.IsZero())
			}
		})
	}
}

// TestFieldsOfTheFullTokenAreDistinct: a store may confuse two columns with one value, undetected.
func TestFieldsOfTheFullTokenAreDistinct(t *testing.T) {
	seen := make(map[string]string)
	leaves(reflect.ValueOf(fullToken()), "RefreshToken", func(path string, v reflect.Value) {
		value := fmt.Sprint(v.Interface())
		if other, ok := seen[value]; ok {
			t.Errorf("%s and %s are both %s", other, path, value)
		}
		seen[value] = path
	})
}

func leaves(v reflect.Value, path string, visit func(path string, v reflect.Value)) {
	if _, ok := v.Interface().(time.Time); ok {
		visit(path, v)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			visit(path, v)
			return
		}
		leaves(v.Elem(), path, visit)
	case reflect.Struct:
		for i := range v.NumField() {
			leaves(v.Field(i), path+"."+v.Type().Field(i).Name, visit)
		}
	case reflect.Slice:
		if v.Len() == 0 {
			visit(path, v)
		}
		for i := range v.Len() {
			leaves(v.Index(i), fmt.Sprintf("%s[%d]", path, i), visit)
		}
	case reflect.Map:
		if v.Len() == 0 {
			visit(path, v)
		}
		for _, k := range v.MapKeys() {
			leaves(v.MapIndex(k), fmt.Sprintf("%s[%s]", path, k), visit)
		}
	default:
		visit(path, v)
	}
}

// TestEveryCallMakesEveryCall: a method of the port that everyCall leaves out could ignore a context that is done.
func TestEveryCallMakesEveryCall(t *testing.T) {
	called := everyCall(t.Context(), memstore.New(), token(1), tokenKey(1))
	called["Close"] = nil // no call has to work after it
	for m := range reflect.TypeFor[port.Store]().Methods() {
		if _, ok := called[m.Name]; !ok {
			t.Errorf("%s is not called", m.Name)
		}
		delete(called, m.Name)
	}
	for name := range called {
		t.Errorf("there is no %s", name)
	}
}
