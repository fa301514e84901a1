package strict

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strconv"
	"strings"

	"github.com/refreshd/refreshd/domain"
)

// kind is the type of a value in a document.
type kind int

const (
	object kind = iota
	list
	text
	boolean
	number
	null
	date  // in YAML, a date without quotes
	other // in YAML
)

// source is a cursor over a document, which is read once. Methods that return a value advance past it. To ignore a
// value, call skip.
type source interface {
	words
	kind() kind
	plain(want string) (message string) // why the notation of the value is refused; empty if it is not
	empty() bool                        // whether it is an empty text
	enter()                             // into the current object or list
	next() bool                         // to the next value in it, or out of it at its end
	name() (name, message string)       // of the current member; must be called before its value is read
	text(path string) (s string, messages []string)
	integer(bits int) (n int64, message string)
	boolean() (b bool, message string)
	skip()
}

// words has the wording of errors for a source, and their positions.
type words interface {
	line() int // of the current value; 0 if the format has no lines
	want(t reflect.Type) string
	mismatch(want string, k kind) string
	null(want string) string
	unknown(name string, p *plan) string
	repeated(before sent, name string) string
	below(path, name string) (below string, shown bool) // the path of a name that the document chose
	entry(path string, i int) string
}

type decoder struct {
	words
	src      source
	options  Options
	problems []Problem
	most     int            // maximum number of problems; 0 for no limit
	lines    map[string]int // by path; nil if the format has no lines
	merge    bool           // the destinations have values: null removes one, an object changes one
}

func (d *decoder) add(path string, reason domain.Reason, message string) {
	if d.most == 0 || len(d.problems) < d.most {
		d.problems = append(d.problems, Problem{
			d.line(), domain.FieldError{Field: path, Reason: reason, Message: message},
		})
	}
}

func (d *decoder) malformed(path string, messages ...string) {
	for _, message := range messages {
		if message != "" {
			d.add(path, domain.Malformed, message)
		}
	}
}

// invalid returns the problems as an error.
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

// place records the line of a path, unless it is known.
func (d *decoder) place(path string) {
	if d.lines == nil {
		return
	}
	if _, known := d.lines[path]; !known {
		d.lines[path] = d.line()
	}
}

// decode decodes the current value into v, or records what is wrong with it.
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
	case v.Type() == rawText && k == object:
		d.raw(v, path, depth)
	case v.Type() == rawObject || v.Type() == rawText:
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

// written reports whether the current value is not null, and its notation and depth are allowed. If not, it records
// that, and skips the value.
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
		s, messages := d.src.text(path)
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

// raw decodes an object with free names into a Raw.
func (d *decoder) raw(v reflect.Value, path string, depth int) {
	before := len(d.problems)
	object := d.free(path, depth)
	if len(d.problems) > before {
		return
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out) // which orders names
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(object); err != nil {
		d.malformed(path, "is not an object of texts, numbers and lists")
		return
	}
	v.SetString(strings.TrimSuffix(out.String(), "\n"))
}

// free returns the current value, of an object with free names.
func (d *decoder) free(path string, depth int) any {
	if !d.written("a value", path, depth) {
		return nil
	}
	switch k := d.src.kind(); k {
	case object:
		out, seen := map[string]any{}, map[string]sent{}
		for d.src.enter(); d.src.next(); {
			name, message := d.src.name()
			below, _ := d.below(path, name)
			before, again := seen[name]
			if name == "" && message == "" {
				message = "a name must be text" // YAML has no empty ones
			}
			switch {
			case message != "":
				d.malformed(path, message)
				d.src.skip()
			case again:
				d.add(below, domain.Repeated, d.repeated(before, name))
				d.src.skip()
			default:
				seen[name] = sent{name: name, line: d.line()}
				d.place(below)
				out[name] = d.free(below, depth+1)
			}
		}
		return out
	case list:
		out := []any{}
		d.src.enter()
		for i := 0; d.src.next(); i++ {
			out = append(out, d.free(d.entry(path, i), depth+1))
		}
		return out
	case boolean:
		b, message := d.src.boolean()
		d.malformed(path, message)
		return b
	case number:
		n, message := d.src.integer(64)
		d.malformed(path, message)
		return n
	case text:
		s, messages := d.src.text(path)
		d.malformed(path, messages...)
		return s
	default:
		d.mismatched(reflect.ValueOf(""), path, k)
		return nil
	}
}

// structure decodes an object into a struct.
func (d *decoder) structure(v reflect.Value, path string, depth int) {
	p := planOf(v.Type())
	if p.object {
		d.object(v.Addr().Interface().(Object), path, depth)
		return
	}
	m := members{plan: p}
	for d.src.enter(); d.src.next(); {
		if f, ok := d.member(&m, path); ok && !d.removed(v.Field(f.index)) {
			d.decode(v.Field(f.index), join(path, f.name), depth+1)
		}
	}
}

// object decodes an object into an Object.
func (d *decoder) object(o Object, path string, depth int) {
	ms := o.Members()
	m := members{plan: ms.plan()}
	for d.src.enter(); d.src.next(); {
		if f, ok := d.member(&m, path); ok {
			d.into(ms[f.index].Into, join(path, f.name), depth+1)
		}
	}
}

// removed reports whether the current value removes the member v. If so, v is the zero value, and the value is skipped.
func (d *decoder) removed(v reflect.Value) bool {
	if !d.merge || d.src.kind() != null {
		return false
	}
	v.SetZero()
	d.src.skip()
	return true
}

// clear removes all members of o.
func clear(o Object) {
	for _, m := range o.Members() {
		switch place := m.Into.(type) {
		case Elsewhere:
		case Object:
			clear(place)
		default:
			reflect.ValueOf(place).Elem().SetZero()
		}
	}
}

// into decodes the current value into the destination of a member.
func (d *decoder) into(place any, path string, depth int) {
	switch place := place.(type) {
	case Elsewhere:
		d.add(path, domain.Unknown, string(place))
		d.src.skip()
	case Object:
		switch k := d.src.kind(); {
		case d.merge && k == null:
			clear(place)
			d.src.skip()
		case !d.written("an object", path, depth):
		case k != object:
			d.malformed(path, d.mismatch("an object", k))
			d.src.skip()
		default:
			d.object(place, path, depth)
		}
	default:
		if v := reflect.ValueOf(place).Elem(); d.removed(v) {
			return
		} else if text, ok := place.(Text); ok {
			d.ownText(text, path, depth)
		} else {
			d.decode(v, path, depth)
		}
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
	s, messages := d.src.text(path)
	if len(messages) == 0 {
		messages = []string{into.SetText(s)}
	}
	d.malformed(path, messages...)
}

// dictionary decodes an object with free names into a map.
func (d *decoder) dictionary(v reflect.Value, path string, depth int) {
	entries := reflect.MakeMap(v.Type()) // not v itself, which others may hold
	if d.merge {
		for entry := v.MapRange(); entry.Next(); {
			entries.SetMapIndex(entry.Key(), entry.Value())
		}
	}
	v.Set(entries)
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
		if d.merge && d.src.kind() == null {
			v.SetMapIndex(reflect.ValueOf(name), reflect.Value{})
			d.src.skip()
			continue
		}
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
		if at == path { // the path does not identify the entry
			for j := range d.problems[before:] {
				p := &d.problems[before+j]
				p.Message = "entry " + strconv.Itoa(i+1) + ": " + p.Message
			}
		}
	}
}

// members tracks the names in one object.
type members struct {
	plan    *plan
	few     [4]sent // first array of sent: most objects have no more members
	sent    []sent
	unknown map[string]bool // already reported
}

// sent is a name that was read.
type sent struct {
	index int
	name  string
	line  int
}

// member returns the field of the current member. If there is none, it records why, and skips the value.
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

// take returns the field for a name, unless it is unknown or repeated.
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
