package strict

import (
	"reflect"
	"strconv"

	"github.com/refreshd/refreshd/domain"
)

// kind is what a value is in its document.
type kind int

const (
	object kind = iota
	list
	text
	boolean
	number
	null
	date  // YAML has words that are dates unless they are in quotes
	other // of YAML too
)

// source is a document that is gone over once, from value to value. The caller of a method that returns a value is
// behind that value afterwards; of a value that it does not want it calls skip.
type source interface {
	words
	kind() kind
	plain(want string) (message string) // why the value must not be written as it is; empty if it may
	empty() bool                        // whether it is a text without content
	enter()                             // into the object or list at hand
	next() bool                         // to the next value in it, or out of it if there is none
	name() (name, message string)       // of the member that next has reached: to be called first
	text() (s string, messages []string)
	integer(bits int) (n int64, message string)
	boolean() (b bool, message string)
	skip()
}

// words is how a source names things, and where.
type words interface {
	line() int // of the value at hand; 0 if lines mean nothing in such a document
	want(t reflect.Type) string
	mismatch(want string, k kind) string
	null(want string) string
	unknown(name string, p *plan) string
	repeated(before sent, name string) string
	below(path, name string) (below string, shown bool) // the path of a name that the writer of the document chose
	entry(path string, i int) string
}

type decoder struct {
	words
	src      source
	options  Options
	problems []Problem
	most     int            // problems; 0 for all of them
	lines    map[string]int // by path; nil if lines mean nothing
}

func (d *decoder) add(path string, reason domain.Reason, message string) {
	if d.most == 0 || len(d.problems) < d.most {
		d.problems = append(d.problems, Problem{d.line(), domain.FieldError{Field: path, Reason: reason, Message: message}})
	}
}

func (d *decoder) malformed(path string, messages ...string) {
	for _, message := range messages {
		if message != "" {
			d.add(path, domain.Malformed, message)
		}
	}
}

// invalid is what was wrong.
func (d *decoder) invalid() error {
	if len(d.problems) == 0 {
		return nil
	}
	fields := make([]domain.FieldError, len(d.problems))
	for i, p := range d.problems {
		fields[i] = p.FieldError
	}
	return &domain.Invalid{Fields: fields}
}

// place notes where a value is, the first time.
func (d *decoder) place(path string) {
	if d.lines == nil {
		return
	}
	if _, known := d.lines[path]; !known {
		d.lines[path] = d.line()
	}
}

// decode reads the value at hand into v, or notes what is wrong with it.
func (d *decoder) decode(v reflect.Value, path string, depth int) {
	if d.src.kind() == null && v.Kind() == reflect.Pointer && v.Type().Elem().Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		d.src.skip()
		return
	}
	if !d.written(d.want(v.Type()), path, depth) {
		return
	}
	for v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}
	switch k := d.src.kind(); {
	case v.Type() == rawObject && k == object:
		v.SetBytes(d.src.(*jsonSource).raw(d, path, depth))
	case v.Type() == rawObject:
		d.mismatched(v, path, k)
	case v.Kind() == reflect.Struct && k == object:
		d.structure(v, path, depth)
	case v.Kind() == reflect.Map && k == object:
		d.dictionary(v, path, depth)
	case v.Kind() == reflect.Slice && k == list:
		d.list(v, path, depth)
	default:
		d.scalar(v, path, k)
	}
}

// written reports whether the value at hand is one, and written as one may be. If not, that is noted, and it is
// skipped.
func (d *decoder) written(want, path string, depth int) bool {
	message := d.src.plain(want)
	switch k := d.src.kind(); {
	case message != "":
	case k == null:
		message = d.null(want)
	case depth > maxDepth && (k == object || k == list):
		message = "is nested deeper than " + strconv.Itoa(maxDepth) + " levels"
	default:
		return true
	}
	d.malformed(path, message)
	d.src.skip()
	return false
}

func (d *decoder) mismatched(v reflect.Value, path string, k kind) {
	d.malformed(path, d.mismatch(d.want(v.Type()), k))
	d.src.skip()
}

func (d *decoder) scalar(v reflect.Value, path string, k kind) {
	switch {
	case v.Kind() == reflect.String && k == text:
		s, messages := d.src.text()
		v.SetString(s)
		d.malformed(path, messages...)
	case v.Kind() == reflect.Bool && k == boolean:
		b, message := d.src.boolean()
		v.SetBool(b)
		d.malformed(path, message)
	case v.CanInt() && k == number:
		n, message := d.src.integer(v.Type().Bits())
		v.SetInt(n)
		d.malformed(path, message)
	default:
		d.mismatched(v, path, k)
	}
}

// structure reads an object whose names are known.
func (d *decoder) structure(v reflect.Value, path string, depth int) {
	p := planOf(v.Type())
	if p.object {
		d.object(v.Addr().Interface().(Object), path, depth)
		return
	}
	m := members{plan: p}
	for d.src.enter(); d.src.next(); {
		if f, ok := d.member(&m, path); ok {
			d.decode(v.Field(f.index), join(path, f.name), depth+1)
		}
	}
}

// object does the same where the object names its members itself.
func (d *decoder) object(o Object, path string, depth int) {
	ms := o.Members()
	m := members{plan: ms.plan()}
	for d.src.enter(); d.src.next(); {
		if f, ok := d.member(&m, path); ok {
			d.into(ms[f.index].Into, join(path, f.name), depth+1)
		}
	}
}

// into reads the value at hand to the place of a member.
func (d *decoder) into(place any, path string, depth int) {
	switch place := place.(type) {
	case Object:
		switch k := d.src.kind(); {
		case !d.written("an object", path, depth):
		case k != object:
			d.malformed(path, d.mismatch("an object", k))
			d.src.skip()
		default:
			d.object(place, path, depth)
		}
	case Text:
		d.ownText(place, path, depth)
	default:
		d.decode(reflect.ValueOf(place).Elem(), path, depth)
	}
}

func (d *decoder) ownText(into Text, path string, depth int) {
	want := into.Want()
	mayBeDate := want != ""
	if want == "" {
		want = d.want(reflect.TypeFor[string]())
	}
	if !d.written(want, path, depth) {
		return
	}
	if k := d.src.kind(); k != text && (k != date || !mayBeDate) {
		d.malformed(path, d.mismatch(want, k))
		d.src.skip()
		return
	}
	s, messages := d.src.text()
	if len(messages) == 0 {
		messages = []string{into.SetText(s)}
	}
	d.malformed(path, messages...)
}

// dictionary reads an object whose names are free.
func (d *decoder) dictionary(v reflect.Value, path string, depth int) {
	v.Set(reflect.MakeMap(v.Type()))
	seen := map[string]sent{}
	for d.src.enter(); d.src.next(); {
		name, message := d.src.name()
		if message != "" {
			d.malformed(path, message)
			d.src.skip()
			continue
		}
		below, _ := d.below(path, name)
		if before, again := seen[name]; again {
			d.add(below, domain.Repeated, d.repeated(before, name))
			d.src.skip()
			continue
		}
		seen[name] = sent{name: name, line: d.line()}
		d.place(below)
		value := reflect.New(v.Type().Elem()).Elem()
		d.decode(value, below, depth+1)
		v.SetMapIndex(reflect.ValueOf(name), value)
	}
}

func (d *decoder) list(v reflect.Value, path string, depth int) {
	v.Set(reflect.MakeSlice(v.Type(), 0, 0))
	d.src.enter()
	for i := 0; d.src.next(); i++ {
		before, at := len(d.problems), d.entry(path, i)
		if at != path {
			d.place(at)
		}
		entry := reflect.New(v.Type().Elem()).Elem()
		d.decode(entry, at, depth+1)
		v.Set(reflect.Append(v, entry))
		if at == path { // the path does not say which
			for j := range d.problems[before:] {
				p := &d.problems[before+j]
				p.Message = "entry " + strconv.Itoa(i+1) + ": " + p.Message
			}
		}
	}
}

// members are the names in one object.
type members struct {
	plan    *plan
	few     [4]sent // what sent begins in: most objects have no more
	sent    []sent
	unknown map[string]bool // already complained about
}

// sent is a name that was there.
type sent struct {
	index int
	name  string
	line  int
}

// member finds the field of the member at hand. Otherwise it notes why there is none, and skips the value.
func (d *decoder) member(m *members, path string) (field, bool) {
	name, message := d.src.name()
	if message != "" {
		d.malformed(path, message)
	} else if !d.options.EmptyIsAbsent || !d.src.empty() {
		if f, ok := d.take(m, path, name); ok {
			d.place(join(path, f.name))
			return f, true
		}
	}
	d.src.skip()
	return field{}, false
}

// take finds the field for a name, unless it is unknown or was sent before.
func (d *decoder) take(m *members, path, name string) (field, bool) {
	f, known := m.plan.byName[name]
	if !known {
		if !m.unknown[name] && !d.options.IgnoreUnknown {
			d.complain(m, path, name)
		}
		return field{}, false
	}
	for _, before := range m.sent {
		if before.index == f.index {
			d.add(join(path, f.name), domain.Repeated, d.repeated(before, name))
			return field{}, false
		}
	}
	if m.sent == nil {
		m.sent = m.few[:0]
	}
	m.sent = append(m.sent, sent{f.index, name, d.line()})
	return f, true
}

func (d *decoder) complain(m *members, path, name string) {
	if m.unknown == nil {
		m.unknown = map[string]bool{}
	}
	m.unknown[name] = true
	message := d.unknown(name, m.plan)
	below, shown := d.below(path, name)
	if !shown {
		message = "a name in it " + message
	}
	d.add(below, domain.Unknown, message)
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
