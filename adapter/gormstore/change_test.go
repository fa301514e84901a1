package gormstore_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/refreshd/refreshd/adapter/gormstore"
	"github.com/refreshd/refreshd/domain"
)

// A field without a column would be lost by a change, and not be compared with another change. So each field of a
// refresh token is tried: those that domain counts as its content have a column of their own, and no other field has
// one.
func TestAChangeHasAColumnForEachFieldOfTheContent(t *testing.T) {
	var before domain.RefreshToken
	was := must(gormstore.ChangedValues(before))(t)
	ofContent := 0
	var each func(path string, field func(*domain.RefreshToken) reflect.Value)
	each = func(path string, field func(*domain.RefreshToken) reflect.Value) {
		after := before
		v := field(&after)
		switch v.Kind() {
		case reflect.String:
			v.SetString("{}")
		case reflect.Int64:
			v.SetInt(7)
		case reflect.Uint32, reflect.Uint64:
			v.SetUint(7)
		case reflect.Array:
			v.Index(0).SetUint(7)
		case reflect.Slice:
			v.Set(reflect.ValueOf([]string{"one"}))
		case reflect.Struct:
			if v.Type() != reflect.TypeFor[time.Time]() {
				for i := range v.NumField() {
					each(path+"."+v.Type().Field(i).Name, func(t *domain.RefreshToken) reflect.Value { return field(t).Field(i) })
				}
				return
			}
			v.Set(reflect.ValueOf(start))
		default:
			t.Fatalf("%s is a %s: teach this test", path, v.Kind())
		}
		differ := 0
		for i, value := range must(gormstore.ChangedValues(after))(t) {
			if value != was[i] {
				differ++
			}
		}
		want := 0
		if !after.SameContent(before) {
			want = 1
			ofContent++
		}
		if differ != want {
			t.Errorf("%s is in %d columns of a change, want %d", path, differ, want)
		}
	}
	each("RefreshToken", func(t *domain.RefreshToken) reflect.Value { return reflect.ValueOf(t).Elem() })
	if ofContent != len(was) || len(was) != len(gormstore.ChangedColumns) {
		t.Errorf("%d fields are content, %d values and %d columns are changed, want the same", ofContent, len(was),
			len(gormstore.ChangedColumns))
	}
}
