package reachapi_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"

	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/test/support/contract"
)

// checks has what the package's tests got of the service.
var checks = contract.Run{
	Infallible: []string{"openapi", "docs", "docsStyle", "docsScript"},
	Promises: func(doc *openapi3.T) (frames []string) {
		for name := range doc.Components.Schemas {
			if event, ok := strings.CutSuffix(name, "Frame"); ok {
				frames = append(frames, "frame "+strings.ToLower(event))
			}
		}
		return frames
	},
}

func TestMain(m *testing.M) {
	openapi3filter.RegisterBodyDecoder(asStream, openapi3filter.RegisteredBodyDecoder("text/plain"))
	os.Exit(checks.Main(m))
}

// checkAgainstContract checks one response against openapi.yaml.
func checkAgainstContract(t testing.TB, req *http.Request, res *http.Response, body []byte) {
	t.Helper()
	if req.Method == http.MethodHead { // the document says that it is not served
		if res.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("HEAD: got %d", res.StatusCode)
		}
		return
	}
	checks.Check(t, req, nil, res, body)
	if res.Header.Get("Content-Type") == asStream {
		for _, f := range events(t, string(body)) {
			checkFrame(t, contract.Document(t), f)
		}
	}
}

// faultless has the frames that were checked before, without their numbers: the validator compiles a schema each time.
var (
	faultless sync.Map
	counts    = regexp.MustCompile(`"[ne]":-?[1-9][0-9]*`)
)

// checkFrame checks a frame of a stream against the schema of the frame in a long poll.
func checkFrame(t testing.TB, doc *openapi3.T, f frame) {
	t.Helper()
	shape := fmt.Sprintf("%s %t %s", f.Event, f.ID != "", counts.ReplaceAll(f.Data, nil))
	if _, ok := faultless.Load(shape); ok {
		return
	}
	ref := doc.Components.Schemas[strings.ToUpper(f.Event[:1])+f.Event[1:]+"Frame"]
	if ref == nil {
		t.Errorf("the document has no frame %s", f.Event)
		return
	}
	value := map[string]any{"event": f.Event}
	if f.ID != "" {
		value["id"] = f.ID
	}
	var parsed any
	if err := json.Unmarshal(f.Data, &parsed); err != nil {
		t.Error(err)
	}
	value["data"] = parsed
	if err := ref.Value.VisitJSON(value, openapi3.EnableJSONSchema2020()); err != nil {
		t.Errorf("%s %s: %v", f.Event, f.Data, err)
		return
	}
	faultless.Store(shape, true)
	checks.Got("frame " + f.Event)
}

// A check that accepts everything would make each test that relies on it useless.
func TestTheContractCheckSeesEachBreach(t *testing.T) {
	const hello = `{"v":1,"tenant":"acme","keep":1200,"beat":500}`
	for name, test := range map[string]struct {
		event, id, data string
		ok              bool
	}{
		"hello":                      {"hello", "", hello, true},
		"hello with more":            {"hello", "", strings.Replace(hello, `"v"`, `"x":1,"v"`, 1), false},
		"hello of another version":   {"hello", "", strings.Replace(hello, `1`, `2`, 1), false},
		"facts":                      {"facts", "", `{"n":1,"keep":300,"s":["AQIDAAAAAAAAAAAAAAAAAA"]}`, true},
		"a mark":                     {"facts", "", `{"n":1,"keep":300,"m":[[null,"u",1,null]]}`, true},
		"a short mark":               {"facts", "", `{"n":1,"keep":300,"m":[[null,"u",1]]}`, false},
		"a mark whose epoch is text": {"facts", "", `{"n":1,"keep":300,"m":[[null,"u","1",null]]}`, false},
		"a mark whose user is none":  {"facts", "", `{"n":1,"keep":300,"m":[[null,"",1,null]]}`, false},
		"a mark except a UUID": {"facts", "",
			`{"n":1,"keep":300,"m":[[null,"u",1,"019b2f6e-3c5a-7d41-9e0c-5b7a8d2f1c34"]]}`, false},
		"no facts":      {"facts", "", `{"n":1,"keep":300}`, false},
		"an empty list": {"facts", "", `{"n":1,"keep":300,"s":[]}`, false},
		"a session as a UUID": {"facts", "",
			`{"n":1,"keep":300,"s":["019b2f6e-3c5a-7d41-9e0c-5b7a8d2f1c34"]}`, false},
		"facts without keep":     {"facts", "", `{"n":1,"k":["a"]}`, false},
		"facts with an id":       {"facts", "1", `{"n":1,"keep":300,"k":["a"]}`, false},
		"fresh":                  {"fresh", "1", `{"n":1,"e":-5}`, true},
		"fresh without a cursor": {"fresh", "", `{"n":1,"e":-5}`, false},
		"fresh without e":        {"fresh", "1", `{"n":1}`, false},
		"fresh with a fraction":  {"fresh", "1", `{"n":1,"e":0.5}`, false},
		"fresh with number 0":    {"fresh", "1", `{"n":0,"e":1}`, false},
		"proof":                  {"proof", "", `{"n":1,"jws":"a.b.c"}`, true},
		"proof without a JWS":    {"proof", "", `{"n":1}`, false},
		"bye":                    {"bye", "", `{"after":1500}`, true},
		"bye with a number":      {"bye", "", `{"n":1,"after":1500}`, false},
		"an unknown frame":       {"hi", "", `{}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			spy := &spy{TB: t}
			checkFrame(spy, contract.Document(t), frame{Event: test.event, ID: test.id, Data: json.RawMessage(test.data)})
			if spy.failed == test.ok {
				t.Errorf("got a breach %t, want %t", spy.failed, !test.ok)
			}
		})
	}
}

// spy notes failures.
type spy struct {
	testing.TB
	failed bool
}

func (s *spy) Helper()               {}
func (s *spy) Error(...any)          { s.failed = true }
func (s *spy) Errorf(string, ...any) { s.failed = true }

func TestTheDocumentIsValid(t *testing.T) {
	contract.CheckDocument(t)
	doc := contract.Document(t)
	example := doc.Paths.Value("/t/{tenantId}/revocations").Get.Responses.Status(200).Value.
		Content[asStream].Examples["stream"].Value.Value.(string)
	for _, f := range events(t, example) {
		checkFrame(t, doc, f)
	}
}

func TestTheDocumentHasEveryRoute(t *testing.T) {
	dialect, err := newIdleService(t).api.Dialect()
	if err != nil {
		t.Fatal(err)
	}
	var routes []string
	for _, r := range dialect.Routes {
		routes = append(routes, r.Method+" "+r.Path)
	}
	contract.CheckRoutes(t, "/revocations", routes)
}

// The document and its page are served as the document says, with the address and the tenant of this service.
func TestTheDocumentIsServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newIdleService(t)
		s.api.URL, s.api.TenantID = "https://auth.acme.example/tokens", "1.0"
		s.start(t, s.facts)
		for path, want := range map[string]string{
			"/revocations/openapi.yaml": "application/yaml", "/revocations/docs": "text/html; charset=utf-8",
			"/revocations/docs/style.css": "text/css; charset=utf-8",
			"/revocations/docs/script.js": "text/javascript; charset=utf-8",
		} {
			req := httptest.NewRequest("GET", path, nil)
			res := s.do(req)
			if res.Code != 200 || res.Header().Get("Content-Type") != want || res.Body.Len() == 0 {
				t.Errorf("GET %s: got %d %q", path, res.Code, res.Header().Get("Content-Type"))
			}
			req.Header.Set("If-None-Match", res.Header().Get("ETag"))
			if again := s.do(req); again.Code != 304 {
				t.Errorf("GET %s with its ETag: got %d", path, again.Code)
			}
			large := httptest.NewRequest("GET", path, bytes.NewReader(make([]byte, 40_000)))
			if res := s.do(large); res.Code != 413 {
				t.Errorf("GET %s with a large body: got %d", path, res.Code)
			}
		}
		text := s.do(httptest.NewRequest("GET", "/revocations/openapi.yaml", nil)).Body.Bytes()
		doc, err := openapi3.NewLoader().LoadFromData(text)
		if err != nil {
			t.Fatal(err)
		}
		tenant := doc.Paths.Value("/t/{tenantId}/revocations").Get.Parameters.GetByInAndName("path", "tenantId").Example
		if doc.Servers[0].URL != s.api.URL || tenant != "1.0" {
			t.Errorf("got the server %v and the tenant %v", doc.Servers[0].URL, tenant)
		}
		page := s.do(httptest.NewRequest("GET", "/revocations/docs", nil)).Body.String()
		for _, want := range []string{
			"https://auth.acme.example/tokens/t/1.0/revocations", "event: fresh\n", "application/json", asStream,
			`href="/revocations/openapi.yaml"`, `href="/revocations/docs/style.css"`,
			"The version of the frames.", "Sessions that are revoked.", "Connect again after this time",
		} {
			if !strings.Contains(page, want) {
				t.Errorf("the page does not have %q", want)
			}
		}
	})
}

// Each status of the endpoint that other tests do not get.
func TestEveryFailureHasItsStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		s.onCheck(func() { panic("a fault") })
		if res := s.do(s.request(t, "")); res.Code != 500 || res.Body.Len() > 0 {
			t.Errorf("a fault: got %d %q", res.Code, res.Body)
		}
		s.outage.Store(true)
		if res := s.do(s.request(t, "")); res.Code != 503 || res.Body.Len() > 0 {
			t.Errorf("an outage of the store: got %d %q", res.Code, res.Body)
		}
		s.options.Guard = web.NewGuard(web.RateLimits{Address: 1}, nil, time.Now, nil)
		s.mount(t)
		for _, path := range []string{"openapi.yaml", "docs", "docs/style.css", "docs/script.js"} {
			for range 11 { // a burst of ten
				s.do(httptest.NewRequest("GET", "/revocations/"+path, nil))
			}
		}
	})
}
