package httpapi_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/refreshd/refreshd/test/support/contract"
)

func TestTheDocumentAndItsExamplesAreValid(t *testing.T) {
	contract.CheckDocument(t)
	doc := contract.Document(t)
	media := 0
	check := func(where string, content openapi3.Content) {
		for mediaType, m := range content {
			for name, example := range m.Examples {
				media++
				if err := m.Schema.Value.VisitJSON(example.Value.Value, openapi3.EnableJSONSchema2020()); err != nil {
					t.Errorf("%s, %s, example %s: %v", where, mediaType, name, err)
				}
			}
		}
	}
	eachOperation(doc, func(where string, op *openapi3.Operation) {
		if op.RequestBody != nil {
			check(where+" request", op.RequestBody.Value.Content)
		}
		for status, response := range op.Responses.Map() {
			check(where+" "+status, response.Value.Content)
		}
	})
	for name, response := range doc.Components.Responses {
		check("response "+name, response.Value.Content)
	}
	if media == 0 {
		t.Error("the document has no examples")
	}
}

// A schema that allows unknown names would allow the service to return a field that is not documented.
func TestOnlyClaimsAndDataAreFree(t *testing.T) {
	free := map[string]bool{"claims": true, "data": true}
	var walk func(path string, name string, node any)
	walk = func(path, name string, node any) {
		switch node := node.(type) {
		case map[string]any:
			if node["type"] == "object" {
				additional, stated := node["additionalProperties"]
				_, typed := additional.(map[string]any)
				switch {
				case !stated:
					t.Errorf("%s: an object without additionalProperties", path)
				case additional == true && !free[name]:
					t.Errorf("%s: additionalProperties is true", path)
				case typed && name != "fieldErrors":
					t.Errorf("%s: a map of names that are not documented", path)
				}
			}
			for key, child := range node {
				walk(path+"/"+key, key, child)
			}
		case []any:
			for _, child := range node {
				walk(path, name, child)
			}
		}
	}
	text, err := json.Marshal(contract.Document(t))
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		Paths      any `json:"paths"`
		Components struct {
			Schemas any `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	walk("paths", "", document.Paths)
	walk("schemas", "", document.Components.Schemas)
}

func TestEveryOperationSaysWhatItIsAndHowItFails(t *testing.T) {
	ids := map[string]string{}
	eachOperation(contract.Document(t), func(where string, op *openapi3.Operation) {
		if op.Summary == "" || len(op.Tags) != 1 || op.Security == nil {
			t.Errorf("%s: summary %q, tags %v, security stated %t; want all three", where, op.Summary, op.Tags,
				op.Security != nil)
		}
		if before, taken := ids[op.OperationID]; taken || op.OperationID == "" {
			t.Errorf("%s: operationId %q; want one of its own, it is also that of %q", where, op.OperationID, before)
		}
		ids[op.OperationID] = where
		wants := []string{"200", "500"}
		if strings.Contains(where, "/jwt/") {
			wants = append(wants, "400", "401", "413", "429", "503")
		}
		if op.RequestBody != nil {
			wants = append(wants, "415")
		}
		for _, want := range wants {
			if op.Responses.Value(want) == nil {
				t.Errorf("%s: status %s is not documented", where, want)
			}
		}
		for status, response := range op.Responses.Map() {
			id := response.Value.Headers["X-Request-Id"]
			if id == nil || !id.Value.Required {
				t.Errorf("%s %s: does not promise X-Request-Id", where, status)
			}
		}
	})
}

func eachOperation(doc *openapi3.T, visit func(where string, op *openapi3.Operation)) {
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			visit(method+" "+path, op)
		}
	}
}
