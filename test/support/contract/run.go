package contract

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/go-cmp/cmp"
)

// Document returns the openapi.yaml of the package under test.
func Document(t testing.TB) *openapi3.T {
	t.Helper()
	doc, err := document()
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

var document = sync.OnceValues(func() (*openapi3.T, error) {
	text, err := os.ReadFile("openapi.yaml")
	if err != nil {
		return nil, err
	}
	return openapi3.NewLoader().LoadFromData(text)
})

// A Run has what all tests of a package got: lines of the log, secrets, and promises of openapi.yaml.
type Run struct {
	Log     Log
	Secrets Secrets
	// Infallible lists the operations whose handlers call no code that could fail or panic: no test gets their 500.
	Infallible []string
	// Promises returns what the document promises besides the statuses of its operations; nil for nothing. Tests call
	// Got with them.
	Promises func(*openapi3.T) []string

	got, faultless set
}

// Got records that a test got what the document promises.
func (r *Run) Got(promise string) { r.got.add(promise) }

// Check checks a response against openapi.yaml, and records its operation and status, and these with each spelling that
// the document does not have.
func (r *Run) Check(t testing.TB, req *http.Request, reqBody []byte, res *http.Response, resBody []byte) {
	t.Helper()
	doc := Document(t)
	where := "nowhere"
	if reading := Read(doc, req, reqBody); reading.Operation != nil {
		where = reading.Operation.OperationID
		r.Got(fmt.Sprint(where, " ", res.StatusCode))
		for _, spelling := range reading.Spellings {
			r.Got(fmt.Sprint(spelling, " ", res.StatusCode))
		}
	}
	// The validator compiles a schema for each check, which would take most of the time of the tests.
	shape := shapeOf(where, req, reqBody, res, resBody)
	if r.faultless.has(shape) {
		return
	}
	found := Breaches(doc, req, reqBody, res, resBody)
	for _, problem := range found {
		t.Errorf("%s %s, %d: %v", req.Method, req.URL.Path, res.StatusCode, problem)
	}
	if len(found) == 0 {
		r.faultless.add(shape)
	}
}

// Main runs the tests of a package, and checks them as a whole: no log line has a secret, and the tests got all that
// the document promises. The second check is only possible after a run of all tests. It returns the exit status.
func (r *Run) Main(m *testing.M) (status int) {
	status = m.Run()
	log := r.Log.String()
	if found := r.Secrets.In(log); len(found) > 0 {
		fmt.Fprintf(os.Stderr, "FAIL: %d secrets in the log, the first is %q\n", len(found), found[0])
		status = 1
	}
	for _, name := range []string{"test.run", "test.skip", "test.list", "test.fuzz"} {
		if flag.Lookup(name).Value.String() != "" {
			return status
		}
	}
	if status != 0 {
		return status
	}
	doc, err := document()
	if err != nil {
		fmt.Fprintln(os.Stderr, "FAIL:", err)
		return 1
	}
	if missing := r.missing(doc); len(missing) > 0 {
		fmt.Fprintln(os.Stderr, "FAIL: documented, and met by no test:", strings.Join(missing, ", "))
		status = 1
	}
	if len(log) == 0 || r.Secrets.all.empty() {
		fmt.Fprintln(os.Stderr, "FAIL: the search for secrets in the log had nothing to search")
		status = 1
	}
	return status
}

// missing returns the promises of the document that no test got.
func (r *Run) missing(doc *openapi3.T) (missing []string) {
	var all []string
	if r.Promises != nil {
		all = r.Promises(doc)
	}
	eachOperation(doc, func(_, _ string, op *openapi3.Operation) {
		for status := range op.Responses.Map() {
			if status != "500" || !slices.Contains(r.Infallible, op.OperationID) {
				all = append(all, op.OperationID+" "+status)
			}
		}
	})
	for _, promise := range all {
		if !r.got.has(promise) {
			missing = append(missing, promise)
		}
	}
	slices.Sort(missing)
	return missing
}

// CheckDocument checks that openapi.yaml and its examples are valid. An example that does not match its schema shows
// clients a request that the service refuses.
func CheckDocument(t *testing.T) {
	t.Helper()
	err := Document(t).Validate(t.Context(), openapi3.EnableExamplesValidation(),
		openapi3.EnableSchemaFormatValidation(), openapi3.EnableMultiError())
	if err != nil {
		t.Error(err)
	}
}

// CheckRoutes checks that openapi.yaml has these routes, those of the document itself at base, and no others. A route
// is a method and a path with parameters as :name.
func CheckRoutes(t *testing.T, base string, routes []string) {
	t.Helper()
	mounted := slices.Clone(routes)
	for _, path := range []string{"openapi.yaml", "docs", "docs/style.css", "docs/script.js"} {
		mounted = append(mounted, "GET "+base+"/"+path)
	}
	var documented []string
	eachOperation(Document(t), func(method, path string, _ *openapi3.Operation) {
		documented = append(documented, method+" "+strings.NewReplacer("{", ":", "}", "").Replace(path))
	})
	slices.Sort(mounted)
	slices.Sort(documented)
	if diff := cmp.Diff(mounted, documented); diff != "" {
		t.Errorf("routes that are mounted (-), and documented (+):\n%s", diff)
	}
}

func eachOperation(doc *openapi3.T, visit func(method, path string, op *openapi3.Operation)) {
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			visit(method, path, op)
		}
	}
}

// shapeOf returns all parts of a request and its response that the document describes. Each id, token, API key and
// instant is replaced by its kind, so that requests that differ only in these have the same shape. The request is a
// part only if it succeeded, or is not in the document.
func shapeOf(where string, req *http.Request, reqBody []byte, res *http.Response, resBody []byte) string {
	whole := fmt.Sprintf("%s %d %v %q", where, res.StatusCode, res.Header, resBody)
	if req.Method == http.MethodHead || res.StatusCode/100 == 2 || where == "nowhere" {
		whole += fmt.Sprintf("%s %s %v %q", req.Method, req.URL, req.Header, reqBody)
	}
	var shape strings.Builder
	for word, isWord := range words(whole) {
		if isWord {
			word = kindOf(word)
		}
		shape.WriteString(word)
	}
	return shape.String()
}

// kindOf returns the word itself, or its kind if each request has another value of it.
func kindOf(word string) string {
	switch {
	case len(word) == 67 && strings.HasPrefix(word, "rt_"):
		return "<token string>"
	case len(word) == 29 && strings.HasPrefix(word, "ak_"):
		return "<API key>"
	case strings.HasPrefix(word, "eyJ") && strings.Count(word, ".") == 2:
		return "<access token>"
	case len(word) == 36 && word[8] == '-' && word[13] == '-' && word[14] == '7' && word[18] == '-' && word[23] == '-':
		return "<id>"
	case len(word) == 13 && strings.Trim(word, "0123456789") == "":
		return "<instant>"
	case len(word) == 26 && strings.Trim(word, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") == "":
		return "<request id>"
	default:
		return word
	}
}

// Log keeps all that is written to it. Goroutines may use it concurrently.
type Log struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// set is a set of strings that goroutines may use concurrently.
type set struct{ members sync.Map }

func (s *set) add(member string) { s.members.Store(member, true) }

func (s *set) has(member string) bool { _, ok := s.members.Load(member); return ok }

func (s *set) empty() bool {
	empty := true
	s.members.Range(func(any, any) bool { empty = false; return false })
	return empty
}
