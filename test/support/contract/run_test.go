package contract

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/go-cmp/cmp"
)

// A run that misses nothing would let the document promise what no test gets.
func TestWhatNoTestGotIsMissing(t *testing.T) {
	doc, err := openapi3.NewLoader().LoadFromData([]byte(`
openapi: 3.1.0
info: {title: t, version: '1'}
paths:
  /one:
    get: {operationId: one, responses: {'200': {description: x}, '400': {description: x}, '500': {description: x}}}
  /docs:
    get: {operationId: docs, responses: {'200': {description: x}, '500': {description: x}}}
`))
	if err != nil {
		t.Fatal(err)
	}
	r := Run{
		Infallible: []string{"docs"},
		Promises:   func(*openapi3.T) []string { return []string{"a code", "another code"} },
	}
	for _, promise := range []string{"one 200", "another code"} {
		r.Got(promise)
	}
	if diff := cmp.Diff([]string{"a code", "docs 200", "one 400", "one 500"}, r.missing(doc)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// Two requests of one shape are checked once, so a part that the document describes must be a part of the shape.
func TestOnlyWhatEachRequestHasOfItsOwnIsLeftOutOfAShape(t *testing.T) {
	shape := func(method, target, body string, status int) string {
		res := &http.Response{StatusCode: status, Header: http.Header{}}
		return shapeOf("one", httptest.NewRequest(method, target, nil), nil, res, []byte(body))
	}
	const id, other = `{"id":"019b2f6e-3c5a-7d41-9e0c-5b7a8d2f1c34"}`, `{"id":"019b2f6e-3c5a-7d41-9e0c-5b7a8d2f1c35"}`
	first := shape("GET", "/one", id, 200)
	if got := shape("GET", "/one", other, 200); got != first {
		t.Errorf("two ids: got the shapes %s and %s, want one", first, got)
	}
	for name, got := range map[string]string{
		"another member": shape("GET", "/one", `{"ids":"019b2f6e-3c5a-7d41-9e0c-5b7a8d2f1c34"}`, 200),
		"no body":        shape("GET", "/one", "", 200),
		"another status": shape("GET", "/one", id, 201),
		"a query":        shape("GET", "/one?x=1", id, 200),
		"HEAD":           shape("HEAD", "/one", id, 200),
	} {
		if got == first {
			t.Errorf("%s: got the same shape", name)
		}
	}
	if shape("HEAD", "/one", id, 404) == shape("GET", "/one", id, 404) {
		t.Error("a refusal of HEAD has the shape of one of GET, which has a body")
	}
}
