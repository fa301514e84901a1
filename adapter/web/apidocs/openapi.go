package apidocs

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// The parts of an OpenAPI document that the page shows.

type spec struct {
	Info struct {
		Title, Version, Summary, Description string
	}
	Tags       []struct{ Name, Description string }
	Paths      ordered[ordered[yaml.Node]]
	Servers    []struct{ URL string }
	Components struct {
		SecuritySchemes     ordered[securityScheme] `yaml:"securitySchemes"`
		Parameters, Headers ordered[parameter]
		Responses           ordered[response]
		Schemas             ordered[schema]
	}
}

// securityScheme is a header or cookie that identifies the caller. Example is its value in the samples.
type securityScheme struct {
	Name    string
	Example string `yaml:"x-example"`
}

type operation struct {
	ID                   string `yaml:"operationId"`
	Tags                 []string
	Summary, Description string
	Security             []ordered[yaml.Node]
	Parameters           []parameter
	RequestBody          *body `yaml:"requestBody"`
	Responses            ordered[response]
}

type parameter struct {
	Ref                   string `yaml:"$ref"`
	Name, In, Description string
	Required              bool
	Asked                 bool   `yaml:"x-required"`
	AliasOf               string `yaml:"x-alias-of"`
	Schema                schema
	Example               string
}

type body struct {
	Required    bool
	Description string
	Content     ordered[media]
}

type response struct {
	Ref         string `yaml:"$ref"`
	Description string
	Headers     ordered[parameter]
	Content     ordered[media]
}

type media struct {
	Schema   schema
	Examples ordered[example]
}

type example struct {
	Summary string
	Value   yaml.Node
	// WithKey: the operation needs no API key, but this example does.
	WithKey bool `yaml:"x-with-api-key"`
}

type schema struct {
	Ref                        string `yaml:"$ref"`
	Title, Description, Format string
	Type                       kinds
	Const                      yaml.Node
	Enum                       []yaml.Node
	Default                    yaml.Node
	Minimum, Maximum           *int64
	MaxLength                  *int64 `yaml:"maxLength"`
	MaxItems                   *int64 `yaml:"maxItems"`
	Items                      *schema
	Properties                 ordered[schema]
	AdditionalProperties       yaml.Node `yaml:"additionalProperties"`
	Required                   []string
	OneOf                      []schema `yaml:"oneOf"`
	Asked                      bool     `yaml:"x-required"`
	AliasOf                    string   `yaml:"x-alias-of"`
}

// kinds are the types that a value may have; the document has one or a list.
type kinds []string

func (k *kinds) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind == yaml.SequenceNode {
		return node.Decode((*[]string)(k))
	}
	*k = kinds{node.Value}
	return nil
}

// ordered is a mapping in the order of the document.
type ordered[T any] []named[T]

type named[T any] struct {
	Name  string
	Value T
}

func (o *ordered[T]) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind != yaml.MappingNode {
		return fmt.Errorf("line %d: not a mapping", node.Line)
	}
	for i := 0; i < len(node.Content); i += 2 {
		entry := named[T]{Name: node.Content[i].Value}
		if err := node.Content[i+1].Decode(&entry.Value); err != nil {
			return err
		}
		*o = append(*o, entry)
	}
	return nil
}

// find returns the entry that a reference names in its last segment.
func (o ordered[T]) find(ref string) (T, error) {
	for _, entry := range o {
		if entry.Name == path.Base(ref) {
			return entry.Value, nil
		}
	}
	var none T
	return none, fmt.Errorf("%s does not exist", ref)
}

// orFind returns value, or the entry that ref names if it is not empty.
func (o ordered[T]) orFind(ref string, value T) (T, error) {
	if ref == "" {
		return value, nil
	}
	return o.find(ref)
}

// schema follows a reference. The description beside the reference takes precedence.
func (s *spec) schema(of schema) (schema, error) {
	if of.Ref == "" {
		return of, nil
	}
	target, err := s.Components.Schemas.find(of.Ref)
	if err != nil {
		return target, err
	}
	if of.Description != "" {
		target.Description = of.Description
	}
	target.Asked, target.AliasOf = of.Asked, of.AliasOf
	return target, nil
}

// typeOf describes a type in a few words.
func typeOf(s schema, items string) string {
	var words []string
	switch {
	case s.Const.Kind != 0:
		words = append(words, s.Const.Value)
	case len(s.Enum) > 0:
		values := make([]string, len(s.Enum))
		for i, v := range s.Enum {
			values[i] = v.Value
		}
		words = append(words, strings.Join(values, " | "))
	case slices.Contains(s.Type, "array"):
		words = append(words, strings.Replace(strings.Join(s.Type, " or "), "array", "array of "+items, 1))
	case s.Format == "uuid":
		words = append(words, "UUID")
	default:
		words = append(words, strings.Join(s.Type, " or "))
	}
	switch {
	case s.Minimum != nil && s.Maximum != nil:
		words = append(words, fmt.Sprintf("%d to %d", *s.Minimum, *s.Maximum))
	case s.Minimum != nil && *s.Minimum > 0:
		words = append(words, fmt.Sprintf("at least %d", *s.Minimum))
	}
	if s.MaxLength != nil {
		words = append(words, fmt.Sprintf("at most %d bytes", *s.MaxLength))
	}
	if s.MaxItems != nil {
		words = append(words, fmt.Sprintf("at most %d", *s.MaxItems))
	}
	if s.Default.Kind != 0 {
		words = append(words, "default "+s.Default.Value)
	}
	return strings.Join(words, ", ")
}
