package httpapi_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// The document must not have forms that client generators reject, or from which they generate poor clients. `make
// interop` generates clients with the generators themselves. This test needs no network, and says what to change.

// shapeFaults returns the places of a document that have such a form.
func shapeFaults(text []byte) ([]string, error) {
	var root yaml.Node
	if err := yaml.Unmarshal(text, &root); err != nil {
		return nil, err
	}
	var found []string
	complain := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }

	operations := map[string]bool{}
	var visit func(path string, n *yaml.Node)
	visit = func(path string, n *yaml.Node) {
		if n.Kind == yaml.ScalarNode && n.Style == 0 && n.Tag == "!!str" && yaml11.MatchString(n.Value) {
			complain("line %d: %s is no string to a reader of YAML 1.1: quote it", n.Line, n.Value)
		}
		if n.Kind != yaml.MappingNode {
			for i, child := range n.Content {
				visit(fmt.Sprintf("%s/%d", path, i), child)
			}
			return
		}
		for i := 0; i < len(n.Content); i += 2 {
			key, value := n.Content[i], n.Content[i+1]
			visit(path, key)
			at := path + "/" + key.Value
			switch key.Value {
			case "oneOf", "anyOf", "allOf", "not":
				if !isExample(path) && !inPropertyNames(path) {
					complain("line %d: %s: a choice of schemas: say the rule in words, and hold it in test/support/contract",
						key.Line, at)
				}
			case "const":
				if member(n, "type") == nil && !isExample(path) {
					complain("line %d: %s: a constant without its type, which clients then do not know", key.Line, at)
				}
			case "x-alias-of":
				complain("line %d: %s: an alias: it belongs into contract.Aliases", key.Line, at)
			case "operationId":
				if operations[value.Value] {
					complain("line %d: two operations have the id %s", value.Line, value.Value)
				}
				operations[value.Value] = true
			}
			visit(at, value)
		}
	}
	visit("", root.Content[0])

	// Generators make a type of each component that is not a header, and more types of each operation.
	types := map[string]string{}
	for id := range operations {
		for _, suffix := range []string{"Response", "Params", "JSONRequestBody", "FormdataRequestBody"} {
			types[strings.ToLower(id+suffix)] = "the operation " + id
		}
	}
	components := member(root.Content[0], "components")
	for _, kind := range []string{"schemas", "responses", "parameters", "requestBodies", "securitySchemes"} {
		of := member(components, kind)
		if of == nil {
			continue
		}
		for i := 0; i < len(of.Content); i += 2 {
			name := of.Content[i]
			asType := strings.ToLower(strings.ReplaceAll(name.Value, "-", ""))
			if other, taken := types[asType]; taken {
				complain("line %d: the name of %s in %s is that of %s, too", name.Line, name.Value, kind, other)
			}
			types[asType] = "one in " + kind
		}
	}
	return found, nil
}

// yaml11 matches plain scalars that YAML 1.2 reads as strings, and YAML 1.1 as booleans, octal numbers, numbers to base
// 60 or with underscores, dates, or the value of a mapping.
var yaml11 = regexp.MustCompile(`^(?:y|Y|yes|Yes|YES|n|N|no|No|NO|on|On|ON|off|Off|OFF|` +
	`[-+]?0b?[0-7_]+|[-+]?[0-9][0-9_]*|[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?|` +
	`[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}.*|=)$`)

func isExample(path string) bool { return strings.Contains(path, "/examples/") }

func inPropertyNames(path string) bool { return strings.HasSuffix(path, "/propertyNames") }

func member(of *yaml.Node, name string) *yaml.Node {
	for i := 0; of != nil && i+1 < len(of.Content); i += 2 {
		if of.Content[i].Value == name {
			return of.Content[i+1]
		}
	}
	return nil
}

func TestTheDocumentHasNoShapeThatGeneratorsRefuse(t *testing.T) {
	text, err := os.ReadFile("openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	found, err := shapeFaults(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, fault := range found {
		t.Error(fault)
	}
}

func TestEachShapeThatGeneratorsRefuseIsFound(t *testing.T) {
	const good = `
paths:
  /p:
    get: {operationId: issue, summary: 'Yes', responses: {'200': {$ref: '#/components/responses/Done'}}}
components:
  schemas:
    IssueResult: {type: object, required: [userId], properties: {userId: {type: string}}}
    Free: {type: object, propertyNames: {not: {enum: [a]}}}
  responses: {Done: {content: {application/json: {examples: {x: {value: {not: 1, at: '12:30'}}}}}}}
`
	for name, test := range map[string]struct{ old, new, want string }{
		"none": {"", "", ""},
		"a choice of required lists": {"required: [userId]", "oneOf: [{required: [userId]}, {required: [userID]}]",
			"a choice of schemas"},
		"a choice of results": {"{type: string}", "{anyOf: [{type: string}, {type: integer}]}",
			"a choice of schemas"},
		"a response named as a schema": {"{Done: {", "{IssueResult: {description: x}, Done: {", "the name of IssueResult"},
		"a schema named as a client's": {"IssueResult:", "IssueResponse:", "the operation issue"},
		"an alias":                     {"{type: string}}}", "{type: string}, userID: {x-alias-of: userId}}}", "an alias"},
		"a constant without a type":    {"{type: string}", "{const: x}", "a constant without its type"},
		"two operations of one id":     {"    get:", "    put: {operationId: issue}\n    get:", "two operations"},
		"a boolean of YAML 1.1":        {"'Yes'", "Yes", "Yes is no string"},
		"a key that is one":            {"{x: {value", "{on: {value", "on is no string"},
		"a number to base 60":          {"'12:30'", "12:30", "12:30 is no string"},
	} {
		t.Run(name, func(t *testing.T) {
			changed := strings.Replace(good, test.old, test.new, 1)
			found, err := shapeFaults([]byte(changed))
			if err != nil {
				t.Fatal(err)
			}
			all := strings.Join(found, "\n")
			if test.want == "" && all != "" || test.want != "" && !strings.Contains(all, test.want) {
				t.Errorf("got %q, want %q", found, test.want)
			}
		})
	}
}
