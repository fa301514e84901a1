package strict

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"sync"
)

// A field is one field of a struct.
type field struct {
	index int
	name  string // its first name, even if found by an alias
}

// A plan has the names of one struct type.
type plan struct {
	byName map[string]field
	object bool // it is an Object: byName is empty
}

var plans sync.Map // reflect.Type to *plan

func planOf(t reflect.Type) *plan {
	if p, ok := plans.Load(t); ok {
		return p.(*plan)
	}
	p := &plan{byName: map[string]field{}}
	if t.Kind() != reflect.Struct {
		panic(fmt.Sprintf("strict: %v is not a struct", t))
	}
	if p.object = reflect.PointerTo(t).Implements(anObject); p.object {
		plans.Store(t, p)
		return p
	}
	for i := range t.NumField() {
		sf := t.Field(i)
		name, _, _ := strings.Cut(sf.Tag.Get("json"), ",")
		if name == "-" {
			continue
		}
		if name == "" || !sf.IsExported() || sf.Anonymous {
			panic(fmt.Sprintf("strict: %v.%s must be an ordinary exported field with a json tag", t, sf.Name))
		}
		mustDecode(sf.Type)
		names := []string{name}
		if alias := sf.Tag.Get("alias"); alias != "" {
			names = append(names, strings.Split(alias, ",")...)
		}
		for _, n := range names {
			if _, taken := p.byName[n]; taken {
				panic(fmt.Sprintf("strict: %v has the name %q twice", t, n))
			}
			p.byName[n] = field{index: i, name: name}
		}
	}
	plans.Store(t, p)
	return p
}

// plan returns the plan of one object, whose names may depend on its value.
func (ms Members) plan() *plan {
	p := &plan{byName: make(map[string]field, len(ms))}
	for i, m := range ms {
		p.byName[m.Name] = field{index: i, name: m.Name}
	}
	return p
}

var (
	anObject        = reflect.TypeFor[Object]()
	severalTexts    = reflect.TypeFor[Texts]()
	rawText         = reflect.TypeFor[Raw]()
	rawObject       = reflect.TypeFor[json.RawMessage]()
	jsonUnmarshaler = reflect.TypeFor[json.Unmarshaler]()
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// mustDecode panics for a type that decode does not support. It does not check the fields of structs, because they may
// be recursive; planOf does when they are used.
func mustDecode(t reflect.Type) {
	if t == rawObject {
		return
	}
	if p := reflect.PointerTo(t); p.Implements(jsonUnmarshaler) || p.Implements(textUnmarshaler) {
		panic(fmt.Sprintf("strict: %v decodes itself; decode a plain type and convert it", t))
	}
	switch t.Kind() {
	case reflect.String, reflect.Bool, reflect.Struct,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
	case reflect.Pointer, reflect.Slice:
		mustDecode(t.Elem())
	case reflect.Map:
		if t.Key() != reflect.TypeFor[string]() {
			panic(fmt.Sprintf("strict: the keys of %v are no strings", t))
		}
		mustDecode(t.Elem())
	default:
		panic(fmt.Sprintf("strict: cannot decode into %v", t))
	}
}
