package strict

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/refreshd/refreshd/config/spelling"
)

// A yamlSource is a cursor over the nodes of the parser. Its errors are for a person with the file open, so they have
// lines and unabridged names.
type yamlSource struct {
	node   *yaml.Node
	at     int // the line of the current value, or of its name if it has one
	inside []yamlFrame
	expand func(path, text string) (string, []string)
}

// yamlFrame is an object or list around the current value.
type yamlFrame struct {
	node *yaml.Node
	i    int // index of the next node
}

func (y *yamlSource) kind() kind {
	switch {
	case y.node.Kind == yaml.MappingNode:
		return object
	case y.node.Kind == yaml.SequenceNode:
		return list
	}
	switch y.node.Tag {
	case "!!null":
		return null
	case "!!bool":
		return boolean
	case "!!int", "!!float":
		return number
	case "!!timestamp":
		return date
	case "!!str":
		return text
	}
	return other
}

const refusesAnchors = "anchors (&) and aliases (*) are not allowed: write the value out"

func (y *yamlSource) plain(want string) (message string) {
	switch n := y.node; {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		return refusesAnchors
	case n.Style&yaml.TaggedStyle != 0:
		return "tags (!) are not allowed: write " + want
	}
	return ""
}

func (y *yamlSource) empty() bool { return y.kind() == text && y.node.Value == "" }

func (y *yamlSource) enter() { y.inside = append(y.inside, yamlFrame{node: y.node}) }

func (y *yamlSource) next() bool {
	in := &y.inside[len(y.inside)-1]
	if in.i >= len(in.node.Content) {
		y.inside = y.inside[:len(y.inside)-1]
		return false
	}
	y.node = in.node.Content[in.i]
	y.at = y.node.Line
	in.i++
	return true
}

// name advances to the value, which has the line of its name.
func (y *yamlSource) name() (name, message string) {
	n := y.node
	y.next()
	y.at = n.Line
	switch {
	case n.Tag == "!!merge":
		return "", "merge keys (<<) are not allowed: write the values out"
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		return "", refusesAnchors
	case n.Kind != yaml.ScalarNode || n.Style&yaml.TaggedStyle != 0 || n.Value == "":
		return "", "a name must be text"
	}
	return n.Value, ""
}

func (y *yamlSource) text(path string) (string, []string) {
	if y.expand == nil {
		return y.node.Value, nil
	}
	return y.expand(path, y.node.Value)
}

func (y *yamlSource) boolean() (bool, string) {
	if y.node.Value != "true" && y.node.Value != "false" {
		return false, "must be true or false, in lower case"
	}
	return y.node.Value == "true", ""
}

// integer accepts less than YAML: 010 is eight for some readers and ten for others.
func (y *yamlSource) integer(bits int) (int64, string) {
	n, err := strconv.ParseInt(y.node.Value, 10, bits)
	if err != nil || strconv.FormatInt(n, 10) != y.node.Value {
		return 0, "must be a whole number of decimal digits, without leading zeros"
	}
	return n, ""
}

// skip does nothing, because next advances in the surrounding node.
func (y *yamlSource) skip() {}

var yamlKinds = [...]string{
	object: "an object", list: "a list", text: "text", boolean: "true or false", number: "a number", date: "a date",
	other: "text",
}

func (y *yamlSource) line() int { return y.at }

func (y *yamlSource) want(t reflect.Type) string { return want(t, "text in quotes") }

func (y *yamlSource) mismatch(want string, k kind) string {
	ofText := want != "an object" && want != "a list" && y.expand != nil
	if ofText && strings.Contains(y.node.Value, "${") {
		return "must be " + want + ": a variable stands for text only"
	}
	return "must be " + want + ", not " + yamlKinds[k]
}

func (y *yamlSource) null(string) string { return "has no value: give it one, or omit the name" }

func (y *yamlSource) unknown(name string, p *plan) string {
	names := slices.Sorted(maps.Keys(p.byName))
	if near := spelling.Nearest(name, names); near != "" {
		return "is not known here; did you mean " + near + "?"
	}
	return "is not known here; known are " + strings.Join(names, ", ")
}

func (y *yamlSource) repeated(before sent, _ string) string {
	return fmt.Sprintf("is already set in line %d: a name may occur only once", before.line)
}

func (y *yamlSource) below(path, name string) (string, bool) { return join(path, name), true }

func (y *yamlSource) entry(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }
