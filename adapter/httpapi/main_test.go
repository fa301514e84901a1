package httpapi_test

import (
	"os"
	"regexp"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/refreshd/refreshd/test/support/contract"
)

// checks has what the package's tests got of the service.
var checks = contract.Run{
	Infallible: []string{"health", "openapi", "docs", "docsStyle", "docsScript"},
	Promises:   codesAndSpellings,
}

func TestMain(m *testing.M) { os.Exit(checks.Main(m)) }

// codesAndSpellings returns the error codes of the document's examples, and a success in each of the spellings that the
// document does not have.
func codesAndSpellings(doc *openapi3.T) (promises []string) {
	eachOperation(doc, func(_ string, op *openapi3.Operation) {
		for name := range contract.Aliases {
			for _, alias := range contract.AliasesIn(op, name) {
				promises = append(promises, op.OperationID+" "+alias+" 200")
			}
		}
	})
	for _, f := range contract.Forms {
		promises = append(promises, f.String()+" 200")
	}
	text, err := os.ReadFile("openapi.yaml")
	if err != nil {
		return []string{err.Error()} // which no test got
	}
	for _, match := range exampleCode.FindAllSubmatch(text, -1) {
		promises = append(promises, "the code "+string(match[1]))
	}
	return promises
}

// exampleCode finds the codes in the document's examples.
var exampleCode = regexp.MustCompile(`code: '(\[[a-zA-Z]+\][^']*)'`)
