package domain

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Patch changes what the access tokens of a session hold, and the session's metadata, as a JSON merge patch (RFC 7396)
// does. A nil field leaves the stored value.
type Patch struct {
	Roles, Scopes *[]string // replace the whole list; an empty one removes it
	Claims        *ObjectPatch
	Device        *DevicePatch
	Data          *ObjectPatch // of the metadata
}

// DevicePatch changes a [Device] field by field. An empty string removes a field.
type DevicePatch struct{ Name, Type, Description *string }

// ObjectPatch changes an [Object]. It is parsed once for any number of sessions.
type ObjectPatch struct{ patch jsonValue }

// RemoveObject is the patch `null`, which removes the object.
var RemoveObject = ObjectPatch{jsonValue{text: "null"}}

// NewObjectPatch parses the text of a JSON object. A member that is null removes the stored member of its name, an
// object is merged into it, and any other value replaces it.
func NewObjectPatch(text []byte) (ObjectPatch, bool) {
	o, ok := NewObject(text)
	if !ok {
		return ObjectPatch{}, false
	}
	patch, err := o.parse()
	return ObjectPatch{patch}, err == nil
}

// Fields returns the names on the wire of the fields that p changes.
func (p Patch) Fields() (names []string) {
	for _, f := range []struct {
		name string
		sent bool
	}{
		{"roles", p.Roles != nil}, {"scopes", p.Scopes != nil}, {"claims", p.Claims != nil},
		{"metaData.device", p.Device != nil}, {"metaData.data", p.Data != nil},
	} {
		if f.sent {
			names = append(names, f.name)
		}
	}
	return names
}

// Validate returns an *Invalid for a patch that changes nothing, or that no session can take because the values that it
// sets are too large by themselves.
func (p Patch) Validate() error {
	if len(p.Fields()) == 0 {
		return NewInvalid("", Blank, "name what to change: roles, scopes, claims, metaData.device or metaData.data")
	}
	t, err := p.apply(RefreshToken{})
	if err != nil {
		return err
	}
	var problems Problems
	t.checkContent(&problems)
	if p.Claims != nil {
		for _, m := range p.Claims.patch.members {
			if m.value.text == "null" { // the removal of a reserved claim would appear to change it
				checkClaimName(&problems, m.name)
			}
		}
	}
	return problems.Err()
}

// Patched returns t with p applied. It returns an *Invalid that names t if the result cannot be stored, or if its
// access tokens would become too large for their carrier. An access token that is too large already, because the policy
// was changed, may become smaller: otherwise a role could not be removed.
func (t RefreshToken) Patched(p Patch, policy Policy, issuer string) (RefreshToken, error) {
	after, err := p.apply(t)
	if err != nil {
		return RefreshToken{}, fmt.Errorf("refresh token %s: %w", t.ID, err)
	}
	err = after.Validate()
	if err == nil && AccessTokenSize(after, policy, issuer) > AccessTokenSize(t, policy, issuer) {
		err = CheckAccessTokenSize(after, policy, issuer)
	}
	var invalid *Invalid
	if !errors.As(err, &invalid) {
		return after, err
	}
	var problems Problems
	for _, f := range invalid.Fields {
		if f.Field == "" { // of the access token's size
			f.Field = p.Fields()[0]
		}
		problems.Add(f.Field, f.Reason, fmt.Sprintf("refresh token %s: %s", t.ID, f.Message))
	}
	return RefreshToken{}, problems.Err()
}

func (p Patch) apply(t RefreshToken) (RefreshToken, error) {
	if p.Roles != nil {
		t.Roles = slices.Clone(*p.Roles)
	}
	if p.Scopes != nil {
		t.Scopes = slices.Clone(*p.Scopes)
	}
	if d := p.Device; d != nil {
		set(&t.MetaData.Device.Name, d.Name)
		set(&t.MetaData.Device.Type, d.Type)
		set(&t.MetaData.Device.Description, d.Description)
	}
	return t, errors.Join(p.Claims.apply(&t.Claims), p.Data.apply(&t.MetaData.Data))
}

func (p *ObjectPatch) apply(o *Object) error {
	if p == nil {
		return nil
	}
	stored, err := o.parse()
	if err != nil {
		return err
	}
	merged := stored.merge(p.patch)
	*o = ""
	if len(merged.members) > 0 {
		*o = Object(merged.append(nil))
	}
	return nil
}

// jsonValue is a parsed JSON value. Numbers, names and the order of members keep their spelling.
type jsonValue struct {
	object  bool
	members []jsonMember // of an object
	text    string       // of any other value
}

type jsonMember struct {
	name  string
	key   string // the name in its original spelling, with quotes
	value jsonValue
}

func (o Object) parse() (jsonValue, error) {
	if o == "" {
		o = "{}"
	}
	return parseJSON(string(o))
}

// parseJSON parses compact text.
func parseJSON(text string) (jsonValue, error) {
	if !strings.HasPrefix(text, "{") {
		return jsonValue{text: text}, nil
	}
	v := jsonValue{object: true}
	d := json.NewDecoder(strings.NewReader(text))
	if _, err := d.Token(); err != nil {
		return v, err
	}
	for d.More() {
		before := d.InputOffset()
		name, err := d.Token()
		if err != nil {
			return v, err
		}
		m := jsonMember{name: name.(string), key: strings.TrimPrefix(text[before:d.InputOffset()], ",")}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return v, err
		}
		if m.value, err = parseJSON(string(value)); err != nil {
			return v, err
		}
		v.members = append(v.members, m)
	}
	return v, nil
}

// merge is MergePatch of RFC 7396, section 2. It changes neither value.
func (v jsonValue) merge(patch jsonValue) jsonValue {
	if !patch.object {
		return patch
	}
	merged := jsonValue{object: true, members: slices.Clone(v.members)}
	index := make(map[string]int, len(v.members))
	for i, m := range v.members {
		index[m.name] = i
	}
	removed := jsonMember{} // it has an empty key
	for _, m := range patch.members {
		i, stored := index[m.name]
		switch {
		case m.value.text == "null" && stored:
			merged.members[i] = removed
		case m.value.text == "null":
		case stored:
			merged.members[i].value = v.members[i].value.merge(m.value)
		default:
			m.value = jsonValue{}.merge(m.value)
			merged.members = append(merged.members, m)
		}
	}
	merged.members = slices.DeleteFunc(merged.members, func(m jsonMember) bool { return m.key == "" })
	return merged
}

// append appends the text of v to b.
func (v jsonValue) append(b []byte) []byte {
	if !v.object {
		return append(b, v.text...)
	}
	b = append(b, '{')
	for i, m := range v.members {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(b, m.key...), ':')
		b = m.value.append(b)
	}
	return append(b, '}')
}
