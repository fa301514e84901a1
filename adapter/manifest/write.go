package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/refreshd/refreshd/adapter/web/strict"
	"github.com/refreshd/refreshd/domain"
)

// YAML returns the document for [ReadYAML] with variables in texts: a dollar sign is doubled, except that of a
// variable.
func YAML(o strict.Object) ([]byte, error) {
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	n := objectOf(o)
	doubleDollars(n)
	if err := encoder.Encode(n); err != nil {
		return nil, err
	}
	return out.Bytes(), encoder.Close()
}

// variableTag marks a text that is a variable until doubleDollars has seen it.
const variableTag = "variable"

// doubleDollars doubles the dollar signs in texts. Names have no variables.
func doubleDollars(n *yaml.Node) {
	if n.Tag == variableTag {
		n.Tag = "!!str"
		return
	}
	n.Value = strings.ReplaceAll(n.Value, "$", "$$")
	for i, c := range n.Content {
		if n.Kind != yaml.MappingNode || i%2 == 1 {
			doubleDollars(c)
		}
	}
}

// JSON returns the document for [ReadJSON].
func JSON(o strict.Object) ([]byte, error) { return appendJSON(nil, objectOf(o)) }

// objectOf returns the members of o that are set.
func objectOf(o strict.Object) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	for _, m := range o.Members() {
		if value := nodeOf(m.Into); value != nil {
			n.Content = append(n.Content, textNode(m.Name), value)
		}
	}
	return n
}

// nodeOf returns the value of a member, nil if it is not set.
func nodeOf(place any) *yaml.Node {
	switch place := place.(type) {
	case strict.Elsewhere:
		return nil
	case *secret:
		if place.variable == "" {
			return nil
		}
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: variableTag, Value: "${" + place.variable + "}"}
	case *instant:
		if t := time.Time(*place); !t.IsZero() {
			return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!timestamp", Value: t.Format(time.RFC3339Nano)}
		}
		return nil
	case *domain.Permissions:
		return permissionsOf(*place)
	case *strict.Raw:
		return rawOf(string(*place))
	case strict.Object:
		if n := objectOf(place); len(n.Content) > 0 {
			return n
		}
		return nil
	}
	v := reflect.ValueOf(place).Elem()
	if v.IsZero() {
		return nil
	}
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	switch v.Kind() {
	case reflect.Bool:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: strconv.FormatBool(v.Bool())}
	case reflect.Int64:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: strconv.FormatInt(v.Int(), 10)}
	case reflect.String:
		return textNode(v.String())
	case reflect.Slice:
		list := &yaml.Node{Kind: yaml.SequenceNode}
		for i := range v.Len() {
			entry := v.Index(i)
			if entry.Kind() == reflect.String {
				list.Content = append(list.Content, textNode(entry.String()))
				continue
			}
			list.Content = append(list.Content, objectOf(entry.Addr().Interface().(strict.Object)))
		}
		return list
	}
	panic(fmt.Sprintf("manifest: no way to write a %v", v.Type()))
}

// rawOf returns an object that is stored as JSON; nil for none.
func rawOf(text string) *yaml.Node {
	if text == "" {
		return nil
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var object map[string]any
	if err := d.Decode(&object); err != nil {
		return textNode(text) // a store has it, so it must not get lost
	}
	return freeOf(object)
}

func freeOf(value any) *yaml.Node {
	switch value := value.(type) {
	case map[string]any:
		n := &yaml.Node{Kind: yaml.MappingNode}
		for _, name := range slices.Sorted(maps.Keys(value)) {
			n.Content = append(n.Content, textNode(name), freeOf(value[name]))
		}
		return n
	case []any:
		n := &yaml.Node{Kind: yaml.SequenceNode}
		for _, entry := range value {
			n.Content = append(n.Content, freeOf(entry))
		}
		return n
	case json.Number:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: value.String()}
	case bool:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: strconv.FormatBool(value)}
	default:
		return textNode(fmt.Sprint(value))
	}
}

func textNode(s string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s} }

func permissionsOf(p domain.Permissions) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	for _, endpoint := range slices.Sorted(maps.Keys(p)) {
		methods := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
		for _, m := range p[endpoint] {
			methods.Content = append(methods.Content, textNode(m))
		}
		n.Content = append(n.Content, textNode(endpoint), methods)
	}
	if len(n.Content) == 0 {
		return nil
	}
	return n
}

func appendJSON(out []byte, n *yaml.Node) (_ []byte, err error) {
	switch {
	case n.Kind == yaml.MappingNode:
		out = append(out, '{')
		for i, c := range n.Content {
			if i > 0 {
				out = append(out, ",:"[i%2])
			}
			if out, err = appendJSON(out, c); err != nil {
				return nil, err
			}
		}
		return append(out, '}'), nil
	case n.Kind == yaml.SequenceNode:
		out = append(out, '[')
		for i, c := range n.Content {
			if i > 0 {
				out = append(out, ',')
			}
			if out, err = appendJSON(out, c); err != nil {
				return nil, err
			}
		}
		return append(out, ']'), nil
	case n.Tag == "!!bool" || n.Tag == "!!int":
		return append(out, n.Value...), nil
	}
	text := &strings.Builder{}
	encoder := json.NewEncoder(text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(n.Value); err != nil {
		return nil, err
	}
	return append(out, strings.TrimSuffix(text.String(), "\n")...), nil
}
