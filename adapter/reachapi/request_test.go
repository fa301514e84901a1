package reachapi_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/refreshd/refreshd/adapter/web"
)

// A program that does not know of streams must get a response that ends; so must one that prefers JSON.
func TestAcceptChoosesTheFormat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		const stream, poll, neither = "text/event-stream", "application/json", ""
		for accept, want := range map[string]string{
			"text/event-stream":                                 stream,
			"Text/Event-Stream":                                 stream,
			"text/event-stream;charset=utf-8":                   stream,
			"text/event-stream, application/json":               stream,
			"application/json, text/event-stream":               stream,
			"text/event-stream, */*":                            stream,
			"text/event-stream, */*;q=0.1":                      stream,
			"text/event-stream;q=0.5, application/json;q=0.4":   stream,
			"text/event-stream;q=0.5, application/json;q=0.499": stream,
			"application/json;q=0, text/event-stream;q=0.001":   stream,
			"text/*":                             stream,
			"text/html, text/event-stream;q=0.9": stream,
			"application/json;q=0, */*":          stream,

			"application/json":       poll,
			"application/json;q=0.1": poll,
			"*/*":                    poll,
			"":                       poll,
			" ":                      poll,
			"text/html,application/xml;q=0.9,*/*;q=0.8": poll,
			"application/*":                                    poll,
			"application/json, text/*;q=0.9":                   poll,
			"application/json, text/event-stream;q=0.5":        poll,
			"application/json, text/event-stream;q=0":          poll,
			"text/event-stream;q=0.5, */*":                     poll,
			"text/event-stream;q=0.5;q=1, application/json":    poll,
			"text/event-stream;q=2, application/json;q=0.1":    poll, // no quality is 2
			"text/event-stream;q=0.1234, application/json;q=0": neither,

			"text/html":                     neither,
			"text/event-stream;q=0":         neither,
			"*/*;q=0":                       neither,
			"application/json;q=0.000":      neither,
			"application/json;q=x":          neither,
			"application/problem+json":      neither,
			"text, application, json/*, */": neither,
			";,;,":                          neither,
		} {
			req := s.request(t, "", "Accept", accept)
			res := s.follow(req, 300*time.Millisecond)
			status, mediaType := 200, want
			if want == neither {
				status, mediaType = 406, "application/json"
			}
			if res.Code != status || res.Header().Get("Content-Type") != mediaType {
				t.Errorf("%q: got %d %s, want %d %s",
					accept, res.Code, res.Header().Get("Content-Type"), status, mediaType)
			}
		}
		two := s.request(t, "", "Accept", "text/html")
		two.Header.Add("Accept", asStream)
		if res := s.follow(two, 300*time.Millisecond); res.Header().Get("Content-Type") != asStream {
			t.Errorf("two headers got %d %s", res.Code, res.Header().Get("Content-Type"))
		}
		absent := s.request(t, "")
		if res := s.do(absent); res.Header().Get("Content-Type") != "application/json" {
			t.Errorf("without Accept: got %d %s", res.Code, res.Header().Get("Content-Type"))
		}
	})
}

// refusal is the body of a refusal.
type refusal struct {
	Success bool
	Message string
	Errors  struct {
		FieldErrors   map[string][]struct{ Code, Message string }
		GeneralErrors []struct{ Code, Message string }
	}
}

// codes returns the codes of a refusal, sorted.
func codes(t testing.TB, res *httptest.ResponseRecorder) (all []string) {
	t.Helper()
	var r refusal
	if err := json.Unmarshal(res.Body.Bytes(), &r); err != nil || r.Success || r.Message == "" {
		t.Errorf("%d: the body is %q", res.Code, res.Body)
	}
	for _, problems := range append(slices.Collect(maps.Values(r.Errors.FieldErrors)), r.Errors.GeneralErrors) {
		for _, p := range problems {
			all = append(all, p.Code)
		}
	}
	slices.Sort(all)
	return all
}

// A wrong cursor that was taken for none would send everything, again and again.
func TestTheQueryIsChecked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		n15, n16 := strings.Repeat("a", 15), strings.Repeat("a", 16)
		n128, n129 := strings.Repeat("_", 128), strings.Repeat("-", 129)
		for _, test := range []struct {
			query, lastEventID string
			stream             bool
			want               string // the codes; empty for 200
		}{
			{"", "", false, ""},
			{"?", "", true, ""},
			{"?cursor=0&wait=0", "", false, ""},
			{"?cursor=9223372036854775807", "9223372036854775807", true, ""},
			{"?wait=25", "", false, ""},
			{"?nonce=" + n16, "", false, ""},
			{"?nonce=" + n128, "", true, ""},

			{"?cursor=", "", true, "[invalid]cursor"},
			{"?cursor=-1", "", true, "[invalid]cursor"},
			{"?cursor=%2B1", "", true, "[invalid]cursor"},
			{"?cursor=01", "", true, "[invalid]cursor"},
			{"?cursor=1.0", "", true, "[invalid]cursor"},
			{"?cursor=1e3", "", true, "[invalid]cursor"},
			{"?cursor=0x1", "", true, "[invalid]cursor"},
			{"?cursor=%D9%A1", "", true, "[invalid]cursor"}, // a digit, and not an ASCII one
			{"?cursor=9223372036854775808", "", true, "[invalid]cursor"},
			{"?cursor=10000000000000000000000", "", true, "[invalid]cursor"},
			{"?cursor=x", "", false, "[invalid]cursor"},
			{"", "x", true, "[invalid]Last-Event-ID"},
			{"", "1,2", true, "[invalid]Last-Event-ID"},
			{"?cursor=1", "2", true, "[conflict]Last-Event-ID"},
			{"?cursor=1", "2", false, "[conflict]Last-Event-ID"},
			{"?cursor=x", "2", true, "[invalid]cursor"},
			{"?cursor=x", "y", true, "[invalid]Last-Event-ID [invalid]cursor"},
			{"?cursor=1&cursor=1", "", true, "[repeated]cursor"},
			{"?Cursor=1", "", true, "[unknown]Cursor"},
			{"?since=1", "", false, "[unknown]since"},
			{"?wait=26", "", false, "[invalid]wait"},
			{"?wait=-1", "", false, "[invalid]wait"},
			{"?wait=1.5", "", false, "[invalid]wait"},
			{"?wait=", "", false, "[invalid]wait"},
			{"?wait=1s", "", false, "[invalid]wait"},
			{"?wait=0", "", true, "[conflict]wait"},
			{"?nonce=", "", true, "[invalid]nonce"},
			{"?nonce=" + n15, "", true, "[invalid]nonce"},
			{"?nonce=" + n129, "", true, "[invalid]nonce"},
			{"?nonce=" + n15 + "%20", "", true, "[invalid]nonce"},
			{"?nonce=" + n16 + "%0A", "", false, "[invalid]nonce"},
			{"?wait=99&nonce=1&cursor=a", "b", false,
				"[invalid]Last-Event-ID [invalid]cursor [invalid]nonce [invalid]wait"},
		} {
			req := s.request(t, test.query)
			if test.stream {
				req.Header.Set("Accept", asStream)
			}
			if test.lastEventID != "" {
				req.Header.Set("Last-Event-ID", test.lastEventID)
			}
			res := s.follow(req, 300*time.Millisecond)
			switch {
			case test.want == "" && res.Code != 200:
				t.Errorf("%s %q: got %d %s", test.query, test.lastEventID, res.Code, res.Body)
			case test.want == "":
			case res.Code != 400 || strings.Join(codes(t, res), " ") != test.want:
				t.Errorf("%s %q: got %d %s, want %s", test.query, test.lastEventID, res.Code, res.Body, test.want)
			}
		}
		two := s.request(t, "")
		two.Header["Last-Event-Id"] = []string{"1", "2"}
		if res := s.do(two); res.Code != 400 || strings.Join(codes(t, res), " ") != "[conflict]Last-Event-ID" {
			t.Errorf("two headers: got %d %s", res.Code, res.Body)
		}
	})
}

// Each request has two faults or more. Which one the response names determines what an unauthenticated client learns.
func TestTheFirstFaultInTheOrderOfChecksIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		for _, test := range []struct {
			name, method, path string
			key                string
			header             []string
			body               int
			status             int
		}{
			{"route before key", "GET", "/t/acme/revocation", "", nil, 0, 404},
			{"route before key, below", "GET", "/t/acme/revocations/x?cursor=x", "", nil, 0, 404},
			{"method before key", "POST", "/t/acme/revocations", "", nil, 0, 405},
			{"method before size", "POST", "/t/acme/revocations", "", nil, 40_000, 405},
			{"HEAD is not served", "HEAD", "/t/acme/revocations", "reader", nil, 0, 405},
			{"a preflight", "OPTIONS", "/t/acme/revocations", "", []string{"Origin", ourOrigin,
				"Access-Control-Request-Method", "GET"}, 0, 204},
			{"size before key", "GET", "/t/acme/revocations", "", nil, 40_000, 413},
			{"key before tenant", "GET", "/t/nobody/revocations", "", nil, 0, 401},
			{"key before two tenants", "GET", "/t/acme/revocations", "", []string{"X-Tenant-Id", "globex"}, 0, 401},
			{"permission before two tenants", "GET", "/t/acme/revocations", "everything else",
				[]string{"X-Tenant-Id", "globex"}, 0, 401},
			{"tenant before Accept", "GET", "/t/globex/revocations", "reader", []string{"Accept", "text/html"}, 0, 401},
			{"no such tenant", "GET", "/t/nobody/revocations", "unbound reader",
				[]string{"Accept", "text/html"}, 0, 401},
			{"two tenants before Accept", "GET", "/t/acme/revocations", "reader",
				[]string{"X-Tenant-Id", "globex", "Accept", "text/html"}, 0, 400},
			{"key before Accept", "GET", "/t/acme/revocations", "", []string{"Accept", "text/html"}, 0, 401},
			{"key before query", "GET", "/t/acme/revocations?cursor=x", "", nil, 0, 401},
			{"permission before query", "GET", "/t/acme/revocations?cursor=x", "everything else", nil, 0, 401},
			{"Accept before query", "GET", "/t/acme/revocations?cursor=x", "reader",
				[]string{"Accept", "text/html"}, 0, 406},
			{"an unbound key", "GET", "/t/globex/revocations", "unbound reader", nil, 0, 200},
			{"the tenant twice", "GET", "/t/acme/revocations/", "reader",
				[]string{"X-Stencil-TenantId", "acme"}, 0, 200},
			{"a body is ignored", "GET", "/t/acme/revocations", "reader", nil, 10, 200},
		} {
			req := httptest.NewRequest(test.method, test.path, strings.NewReader(strings.Repeat("x", test.body)))
			if test.key != "" {
				req.Header.Set("Authorization", s.keys[test.key])
			}
			for i := 0; i < len(test.header); i += 2 {
				req.Header.Set(test.header[i], test.header[i+1])
			}
			res := s.do(req)
			if res.Code != test.status {
				t.Errorf("%s: got %d %s, want %d", test.name, res.Code, res.Body, test.status)
			}
			if test.status == 405 && res.Header().Get("Allow") != "OPTIONS, GET" {
				t.Errorf("%s: got Allow %q", test.name, res.Header().Get("Allow"))
			}
			if (test.status == 401 || test.status == 404) && res.Body.Len() > 0 {
				t.Errorf("%s: got the body %q", test.name, res.Body)
			}
		}
	})
}

// No page in a browser may read the stream, not even one of a configured origin.
func TestThereAreNoHeadersForBrowsers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		for _, method := range []string{"GET", "OPTIONS", "POST"} {
			req := s.request(t, "", "Origin", ourOrigin, "Access-Control-Request-Method", "GET")
			req.Method = method
			for name := range s.do(req).Header() {
				if strings.HasPrefix(name, "Access-Control-") || name == "Vary" {
					t.Errorf("%s: the response has %s", method, name)
				}
			}
		}
	})
}

// A long poll is for clients behind proxies that delay a stream. Its frames are the same.
func TestALongPollIsThisByteForByte(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		s.facts.revoke(7, session(acme, 1))
		got := s.do(s.request(t, "", "Accept", "application/json")).Body.String()
		want := `[{"event":"hello","data":{"v":1,"tenant":"acme","keep":1200,"beat":500}},` +
			`{"event":"facts","data":{"n":1,"keep":1200,"s":["AQAAAAAAAAAAAAAAAAAAAQ"]}},` +
			`{"event":"fresh","id":"7","data":{"n":2,"e":0}}]` + "\n"
		if got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	})
}

// A client that polls without pause must get new facts soon, and must not be answered as fast as the network allows
// while a fact is repeated: until it is stamped each response has it.
func TestALongPollWaitsForFacts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		took := func(query string) (time.Duration, []frame) {
			begun := time.Now()
			all := array(t, s.do(s.request(t, query)).Body.String())
			return time.Since(begun), all
		}
		want := func(name, query string, least, most time.Duration, facts ...int) (cursor string) {
			t.Helper()
			d, all := took(query)
			if got := sids(t, all); d < least || d > most || !slices.Equal(got, facts) {
				t.Errorf("%s: got %v after %v, want %v after %v to %v", name, got, d, facts, least, most)
			}
			if n := strings.Count(named(all), "fresh"); n != 1 {
				t.Errorf("%s: %d frames fresh", name, n)
			}
			if e := *last(all, "fresh").data.E; e < d.Milliseconds()-1000 || e > d.Milliseconds() {
				t.Errorf("%s: e is %d after %v", name, e, d)
			}
			return last(all, "fresh").ID
		}
		const ms = time.Millisecond
		want("without a cursor", "?wait=25", 0, 110*ms)
		cursor := want("of a store that has stamped nothing", "?cursor=0&wait=3", 3*time.Second, 3*time.Second+ms)
		if cursor != "0" {
			t.Errorf("got the cursor %s, want 0", cursor)
		}
		time.AfterFunc(7*time.Second, func() { s.facts.revoke(0, session(acme, 1)) })
		want("a new fact", "?cursor=0&wait=25", 7*time.Second, 7110*ms, 1)
		want("a fact without a position", "?cursor=0&wait=25", 500*ms, 501*ms, 1)
		want("the same, without a wait", "?cursor=0", 0, 110*ms, 1)
		s.facts.stamp(120_000_000)
		time.Sleep(time.Second)
		cursor = want("a fact above the cursor", "?cursor=0&wait=25", 500*ms, 501*ms, 1)
		want("a fact at the cursor", "?wait=25&cursor="+cursor, 25*time.Second, 25*time.Second+ms, 1)
		want("a cursor above the head", "?wait=25&cursor=9"+cursor, 0, 110*ms, 1)
		s.facts.revoke(500_000_000, session(acme, 2))
		time.AfterFunc(100*ms, func() { s.facts.revoke(0, session(acme, 3)) })
		want("several", "?wait=1&cursor="+cursor, 500*ms, 610*ms, 1, 2, 3)
		want("after a minute", "?wait=1&cursor=499999999", 500*ms, 610*ms, 2, 3)
	})
}

// Half of the streams are for other API keys, whatever address they come from. A long poll that waits is a stream.
func TestOneAPIKeyGetsHalfOfTheStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		s.options.Guard = web.NewGuard(web.RateLimits{Streams: 8, Address: 1000, APIKey: 1000}, nil, time.Now, nil)
		s.mount(t)
		opens := func(key, accept string) *client {
			req := s.request(t, "?cursor=0", "Accept", accept, "Authorization", s.keys[key])
			if key == "globex reader" {
				req.URL.Path = "/t/globex/revocations"
			}
			if accept != asStream {
				req.URL.RawQuery += "&wait=25"
			}
			c := s.connect(t, req)
			time.Sleep(time.Second)
			return c
		}
		refused := func(what, key string) {
			t.Helper()
			req := s.request(t, "", "Accept", asStream, "Authorization", s.keys[key])
			if key == "globex reader" {
				req.URL.Path = "/t/globex/revocations"
			}
			if res := s.do(req); res.Code != 503 || res.Header().Get("Retry-After") == "" {
				t.Errorf("%s: got %d, want 503", what, res.Code)
			}
		}
		first := opens("reader", asStream) // when it is admitted, the key is not known yet
		second := opens("reader", asStream)
		opens("reader", asStream)
		opens("reader", "application/json")
		refused("the fifth of one key", "reader")
		opens("globex reader", asStream)
		opens("globex reader", asStream)
		if got := s.options.Guard.InProgress(); got != 0 {
			t.Errorf("streams hold %d places of requests", got)
		}
		refused("the third of another", "globex reader")
		first.cancel()
		second.cancel()
		time.Sleep(time.Second)
		opens("reader", asStream).next(t)
	})
}

// A stream costs its API key one request, however long it is.
func TestAStreamIsOneRequestOfItsKeysLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		s.options.Guard = web.NewGuard(web.RateLimits{APIKey: 1, Address: 100}, nil, time.Now, nil)
		s.mount(t)
		s.do(s.request(t, ""))
		for range 9 {
			s.connect(t, s.request(t, "", "Accept", asStream)).next(t)
		}
		res := s.do(s.request(t, ""))
		if got := codes(t, res); res.Code != 429 || fmt.Sprint(got) != "[[tooMany]apiKey]" {
			t.Errorf("got %d %s, want 429", res.Code, res.Body)
		}
		time.Sleep(time.Minute)
		if res := s.do(s.request(t, "")); res.Code != 200 {
			t.Errorf("got %d a minute later", res.Code)
		}
	})
}

// FuzzRequest: no query and no header makes the endpoint fail, or take what is not a cursor for one.
func FuzzRequest(f *testing.F) {
	for _, seed := range [][3]string{
		{"", "", ""}, {"cursor=1", "1", "text/event-stream"}, {"cursor=01", "x", "*/*;q=0"},
		{"wait=25&nonce=aaaaaaaaaaaaaaaa", "", "application/json"}, {"cursor=%zz;wait", "\xff", "text/*;q=1.0001,"},
		{"cursor=18446744073709551616", "-0", ";;q="},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, query, lastEventID, accept string) {
		synctest.Test(t, func(t *testing.T) {
			s := newService(t)
			req := s.request(t, "")
			req.URL.RawQuery = query
			req.Header["Last-Event-Id"] = []string{lastEventID}
			req.Header["Accept"] = []string{accept}
			res := s.follow(req, time.Second)
			switch res.Code {
			case 200:
				isCursor := lastEventID == "0" || lastEventID != "" && lastEventID[0] != '0' &&
					strings.Trim(lastEventID, "0123456789") == "" && len(lastEventID) < 20
				if !isCursor {
					t.Errorf("the cursor %q was accepted", lastEventID)
				}
				if res.Header().Get("Content-Type") == asStream {
					events(t, res.Body.String())
				} else {
					array(t, res.Body.String())
				}
			case 400:
				if len(codes(t, res)) == 0 {
					t.Errorf("400 without a code: %s", res.Body)
				}
			case 406:
			default:
				t.Errorf("got %d %s", res.Code, res.Body)
			}
		})
	})
}
