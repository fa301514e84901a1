package domain

import (
	"errors"
	"strings"
)

// Sentinel errors. Adapters and use cases wrap them; compare with errors.Is. Any error that is neither one of these nor
// an *Invalid is operational: the store, the signer or the caller's context failed, and the operation may or may not
// have happened.
var (
	// ErrNotFound: no such object exists that the caller may see. Unknown, revoked, expired and another tenant's
	// objects are the same to a reader, so that no response distinguishes them.
	ErrNotFound = errors.New("not found")
	// ErrConflict: the object has changed since the use case read it. Read again and decide again.
	ErrConflict = errors.New("changed since it was read")
	// ErrStale: the object does not have the version that the caller expects: it was written, created or deleted since
	// it was read. Nothing was written. Unlike ErrConflict it goes to the caller, who decided by that version.
	ErrStale = errors.New("has another version by now")
	// ErrDuplicate: the id or name is taken by another object. Nothing was written.
	ErrDuplicate = errors.New("already exists")
	// ErrUnauthorized: the request has no credential, or none that is valid for the operation.
	ErrUnauthorized = errors.New("unauthorized")
	// ErrUnknownKey accompanies ErrUnauthorized: this process knows no key of that id. Another process may.
	ErrUnknownKey = errors.New("unknown key")
	// ErrUnavailable: the store or the signer failed or took too long. The operation may or may not have happened; it
	// is safe to send the request again. Use cases wrap every operational error of a port in it.
	ErrUnavailable = errors.New("unavailable")
	// ErrBusy: the same step failed too often because of concurrent writers. Nothing was written; it is safe to send
	// the request again.
	ErrBusy = errors.New("too much contention")
	// ErrUnsafe: the step would make valid tokens invalid. Nothing was written. The error is an *UnsafeStep.
	ErrUnsafe = errors.New("unsafe")
)

// Reason says what is wrong with a field. With the field's name it makes the stable code `[reason]field` that programs
// read.
type Reason string

const (
	Blank     Reason = "blank"     // missing or empty
	Malformed Reason = "invalid"   // present, but not valid
	TooLong   Reason = "tooLong"   // above the documented size
	TooMany   Reason = "tooMany"   // selects more than the documented number
	Unknown   Reason = "unknown"   // an unknown name
	Repeated  Reason = "repeated"  // the same name or the same value twice
	Conflict  Reason = "conflict"  // cannot be combined with another field
	Duplicate Reason = "duplicate" // taken by another object
	Inactive  Reason = "inactive"  // names an object that is switched off
	Forbidden Reason = "forbidden" // more than the caller may do itself
	Stale     Reason = "stale"     // names a version that the object no longer has
	Unsafe    Reason = "unsafe"    // would make valid tokens invalid: see UnsafeStep
	Unproved  Reason = "unproved"  // lacks the proof of a key, or has one that is not valid
)

// FieldError is one problem of one field of an input. Field is the name on the wire and in the kickstart file, with
// dots for nesting, such as `jwtConfiguration.timeToLiveInSeconds`. It is empty for a problem of the input as a whole.
// Message is for people: what is wrong and what to do about it. It never repeats the value.
type FieldError struct {
	Field   string
	Reason  Reason
	Message string
	// Name is the name that the field holds, and Known the names that it could hold, if the name is what is wrong: an
	// adapter can then suggest the nearest. Choice follows Message if nothing is suggested. It need not list all of
	// Known.
	Name   string
	Known  []string
	Choice string
}

// Text returns the message and the choice.
func (e FieldError) Text() string { return e.Message + e.Choice }

// Code returns `[reason]field`, which is stable and for programs.
func (e FieldError) Code() string { return "[" + string(e.Reason) + "]" + e.Field }

// Invalid is the error of an input that is not valid. It has every field that is wrong, at least one. Nothing was
// written.
type Invalid struct{ Fields []FieldError }

func (e *Invalid) Error() string {
	parts := make([]string, len(e.Fields))
	for i, f := range e.Fields {
		parts[i] = f.Code() + ": " + f.Text()
	}
	return "invalid input: " + strings.Join(parts, "; ")
}

// NewInvalid returns an *Invalid with a single field.
func NewInvalid(field string, reason Reason, message string) *Invalid {
	return &Invalid{Fields: []FieldError{{Field: field, Reason: reason, Message: message}}}
}

// Problems collects field errors, so that a caller gets all of them in one response. The zero value is ready to use.
type Problems struct{ fields []FieldError }

// Add adds a problem.
func (p *Problems) Add(field string, reason Reason, message string) {
	p.fields = append(p.fields, FieldError{Field: field, Reason: reason, Message: message})
}

// Merge adds the problems of err, with prefix before the name of each field. An err that is not an *Invalid is added as
// one problem with its text.
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

// Err returns an *Invalid, or nil if no problem was added.
func (p *Problems) Err() error {
	if len(p.fields) == 0 {
		return nil
	}
	return &Invalid{Fields: p.fields}
}
