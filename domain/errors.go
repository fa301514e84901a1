package domain

import (
	"errors"
	"strings"
)

// Sentinels. Adapters and use cases return them wrapped; compare with errors.Is. Everything that is none of these, and no
// *Invalid, is operational: the store, the signer or the caller's context failed, and the call may or may not have happened.
var (
	// ErrNotFound: there is no such object that the caller may see. Unknown, revoked, expired and of another tenant are one
	// thing to readers, so that no answer tells them apart.
	ErrNotFound = errors.New("not found")
	// ErrConflict: what the caller read before has changed since. Read again and decide again.
	ErrConflict = errors.New("changed since it was read")
	// ErrStale: the object has another version than the caller expected: it was written, created or deleted since it was
	// read. Nothing was written. Unlike ErrConflict it is for the caller, who decided by what it had read.
	ErrStale = errors.New("has another version by now")
	// ErrDuplicate: the id or name is taken by something else. Nothing was written.
	ErrDuplicate = errors.New("already exists")
	// ErrUnauthorized: the call carries no proof, or none that serves here.
	ErrUnauthorized = errors.New("unauthorized")
	// ErrUnknownKey comes beside ErrUnauthorized: no key of that id is known here. Another process may know it.
	ErrUnknownKey = errors.New("unknown key")
	// ErrUnavailable: the store or the signer failed, or took too long. The call may or may not have happened; sending it
	// again is safe. Use cases give it to every operational error of a port.
	ErrUnavailable = errors.New("unavailable")
	// ErrBusy: the same step failed too often because others were faster. Nothing was written; sending it again is safe.
	ErrBusy = errors.New("too much contention")
)

// Reason says what is wrong with a field; with the field's name it makes the stable code `[reason]field` that programs read.
type Reason string

const (
	Blank     Reason = "blank"     // missing or empty
	Malformed Reason = "invalid"   // present, and not what it should be
	TooLong   Reason = "tooLong"   // above the documented size
	TooMany   Reason = "tooMany"   // selects more than the documented number
	Unknown   Reason = "unknown"   // a name that this document does not have
	Repeated  Reason = "repeated"  // the same name twice, or the same thing said twice
	Conflict  Reason = "conflict"  // does not go together with another field
	Duplicate Reason = "duplicate" // taken by something else
	Inactive  Reason = "inactive"  // names what is switched off
)

// FieldError is one thing wrong with one field of an input. Field is the name as the wire and the kickstart file spell it, with
// dots for nesting, e.g. `jwtConfiguration.timeToLiveInSeconds`; empty for what concerns the input as a whole. Message is for
// people: what is wrong and what to do about it. It never repeats the value.
type FieldError struct {
	Field   string
	Reason  Reason
	Message string
	// Name is what the field names, and Known what it could, where that is what is wrong: so that an adapter can suggest
	// the nearest. Choice follows Message where nothing is suggested. It need not list all that is known.
	Name   string
	Known  []string
	Choice string
}

// Text returns the message, with the choice that there is.
func (e FieldError) Text() string { return e.Message + e.Choice }

// Code is `[reason]field`, stable, for programs.
func (e FieldError) Code() string { return "[" + string(e.Reason) + "]" + e.Field }

// Invalid is a refused input: every field that is wrong, at least one. Nothing was written.
type Invalid struct{ Fields []FieldError }

func (e *Invalid) Error() string {
	parts := make([]string, len(e.Fields))
	for i, f := range e.Fields {
		parts[i] = f.Code() + ": " + f.Text()
	}
	return "invalid input: " + strings.Join(parts, "; ")
}

// NewInvalid is an *Invalid with a single field.
func NewInvalid(field string, reason Reason, message string) *Invalid {
	return &Invalid{Fields: []FieldError{{Field: field, Reason: reason, Message: message}}}
}

// Problems gathers field errors, so that a caller learns of all of them at once. The zero value is ready.
type Problems struct{ fields []FieldError }

// Add notes a problem.
func (p *Problems) Add(field string, reason Reason, message string) {
	p.fields = append(p.fields, FieldError{Field: field, Reason: reason, Message: message})
}

// Merge notes the problems in err, with prefix before each field's name; an err that is no *Invalid is noted as it reads.
func (p *Problems) Merge(prefix string, err error) {
	if err == nil {
		return
	}
	var invalid *Invalid
	if !errors.As(err, &invalid) {
		p.Add(strings.TrimSuffix(prefix, "."), Malformed, err.Error())
		return
	}
	for _, f := range invalid.Fields {
		f.Field = prefix + f.Field
		p.fields = append(p.fields, f)
	}
}

// Err is nil if nothing was noted, else an *Invalid.
func (p *Problems) Err() error {
	if len(p.fields) == 0 {
		return nil
	}
	return &Invalid{Fields: p.fields}
}
