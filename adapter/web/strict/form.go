package strict

import (
	"errors"
	"net/url"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/refreshd/refreshd/domain"
)

// form decodes a form into v. A form is not a source, because its values are not nested and all have the form of text.
func (d *decoder) form(v reflect.Value, encoded string) {
	m := members{plan: planOf(v.Type())}
	for pair := range strings.SplitSeq(encoded, "&") {
		if pair == "" {
			continue
		}
		if strings.Contains(pair, ";") {
			d.add("", domain.Malformed, "parameters are separated by &; a semicolon is written %3B")
			continue
		}
		rawName, rawValue, _ := strings.Cut(pair, "=")
		if rawValue == "" && d.options.EmptyIsAbsent {
			continue
		}
		name, err := unescape(rawName)
		if err != nil {
			d.add("", domain.Malformed, "a parameter's name "+err.Error())
			continue
		}
		f, ok := m.plan.byName[name]
		if !ok || v.Field(f.index).Type() != severalTexts {
			f, ok = d.take(&m, "", name)
		}
		if !ok {
			continue
		}
		value, err := unescape(rawValue)
		if err != nil {
			d.add(f.name, domain.Malformed, err.Error())
			continue
		}
		if message := setText(v.Field(f.index), value); message != "" {
			d.add(f.name, domain.Malformed, message)
		}
	}
}

func unescape(s string) (string, error) {
	s, err := url.QueryUnescape(s)
	if err != nil {
		return "", errors.New("has a percent sign that is not followed by two hexadecimal digits")
	}
	if !utf8.ValidString(s) {
		return "", errors.New("is not valid UTF-8")
	}
	return s, nil
}

// setText sets v from the text of a form, or returns what is wrong.
func setText(v reflect.Value, s string) (message string) {
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}
	switch {
	case v.Type() == severalTexts:
		v.Set(reflect.Append(v, reflect.ValueOf(s)))
	case v.Kind() == reflect.String:
		v.SetString(s)
	case v.Kind() == reflect.Bool:
		if s != "true" && s != "false" {
			return "must be true or false"
		}
		v.SetBool(s == "true")
	case v.CanInt():
		n, message := parseInteger(s, v.Type().Bits())
		v.SetInt(n)
		return message
	default:
		return "is " + bodyWords{}.want(v.Type()) + ", which only a JSON body can carry"
	}
	return ""
}
