package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/domain"
)

// A mutation changes one thing about a call. It returns false if the call has no such thing.
type mutation struct {
	name  string
	apply func(*world, *call) bool
}

// fields returns the selector or the body, in the query or in the body: most mutations change these.
func (c *call) fields() *[]field {
	if len(c.body) > 0 {
		return &c.body
	}
	return &c.query
}

// one returns a mutation that applies change to one of the fields.
func one(change func(w *world, c *call, f *field) bool) func(*world, *call) bool {
	return func(w *world, c *call) bool {
		fields := *c.fields()
		return len(fields) > 0 && change(w, c, &fields[w.rng.IntN(len(fields))])
	}
}

func add(c *call, f field) bool {
	if c.media == "" && len(c.query) == 0 && c.method != "GET" {
		c.media = jsonMedia
		c.body = []field{f}
		return true
	}
	*c.fields() = append(*c.fields(), f)
	return true
}

// hostile are values that have a meaning somewhere else, such as in HTML, logs or SQL. The first ones are not valid in
// JSON.
var hostile = []string{
	"\xff\xfe", "\xc0\xaf", "\xed\xa0\x80", "a\x00b", "a\r\nSet-Cookie: evil=1", "a\nlevel=ERROR msg=forged",
	"\x1b[2J\x1b]0;x\a", "\u0085", "\u009b31m",
	"\u202e\u2066x", "\ufeff", "<script>alert(1)</script>", `","admin":true,"x":"`, `"}{"`, "' OR '1'='1", "%00",
	"%0d%0aX: y", "../../etc/passwd", " x ", "", " ",
	"\u2028", strings.Repeat("é", 200), "NaN", "-1", "1e400", "0x10", "null", "[]", "{}", "rt_", "ak_", "..", "*",
}

// others are values of another user or tenant, or old ones.
func (w *world) other(c *call, name string) (string, bool) {
	s := w.alive(func(s *session) bool { return s != c.session })
	if s == nil {
		return "", false
	}
	switch name {
	case "refreshToken", "tokenString", "TokenString", "refresh_token", "subject_token":
		return pick(w.rng, s.strings), true
	case "token", "actor_token":
		return pick(w.rng, []string{s.access, s.current()}), true
	case "id", "tokenId", "exceptTokenId", "refreshTokenId":
		return s.id.String(), true
	case "userId", "userID", "usersId":
		return pick(w.rng, users), true
	case "applicationsId", "applicationId":
		return pick(w.rng, []string{"blog", "locked", "dark", "nowhere"}), true
	}
	return "", false
}

// badHeaders are unusual values of a header.
var badHeaders = []string{
	"\u202ex", "a\x00b", "\x1b[31m", "a\tb", "level=ERROR msg=forged", `"},"level":"ERROR"`, "é\xff", "<b>",
	strings.Repeat("a", 300), "a b", "", ",", "::1%eth0", "127.0.0.1, evil",
}

var mutations = []mutation{
	{"drop a field", func(w *world, c *call) bool {
		f := c.fields()
		if len(*f) == 0 {
			return false
		}
		i := w.rng.IntN(len(*f))
		*f = append((*f)[:i:i], (*f)[i+1:]...)
		return true
	}},
	{"repeat a field", func(w *world, c *call) bool {
		f := c.fields()
		if len(*f) == 0 {
			return false
		}
		again := pick(w.rng, *f)
		if v, ok := w.other(c, again.name); ok && w.rng.IntN(2) == 0 {
			again.value = v
		}
		*f = append(*f, again)
		return true
	}},
	{"null", one(func(_ *world, _ *call, f *field) bool { f.value = verbatim("null"); return true })},
	{"another type", one(func(w *world, _ *call, f *field) bool {
		f.value = verbatim(pick(w.rng, []string{
			"1", "-0", "1.5", "1e2", "1e400", "true", "false", "[]", "{}", `[""]`, `{"a":1}`, `"x"`, "99999999999999999999",
			`[null]`, `[[["x"]]]`,
		}))
		return true
	})},
	{"oversized field", one(func(w *world, _ *call, f *field) bool {
		f.value = strings.Repeat(pick(w.rng, []string{"a", "é", "😀", `"`}), pick(w.rng, []int{100, 256, 4100, 8000}))
		return true
	})},
	{"too many entries", func(_ *world, c *call) bool {
		return c.operation == "issue" && add(c, field{"roles", slices.Repeat([]string{"r"}, 101)})
	}},
	{"deep nesting", func(w *world, c *call) bool {
		n := pick(w.rng, []int{33, 1000, 5000})
		open, shut := `{"a":`, "}"
		if w.rng.IntN(2) == 0 {
			open, shut = "[", "]"
		}
		return add(c, field{pick(w.rng, []string{"claims", "userId", "x", "metaData"}),
			verbatim(strings.Repeat(open, n) + "1" + strings.Repeat(shut, n))})
	}},
	{"hostile value", one(func(w *world, _ *call, f *field) bool { f.value = pick(w.rng, hostile); return true })},
	{"raw hostile value", one(func(w *world, _ *call, f *field) bool {
		f.value = verbatim(pick(w.rng, []string{
			"\"\xff\"", "\"a\x00b\"", `"\ud800"`, `"\udc00\ud800"`, `"\u0000"`, `"\u202e"`, "\"a\nb\"", `'x'`, `"x`, `"\x41"`,
			"\"\xed\xa0\x80\"", `"\u00"`, "%ff", "%zz", "%", "%00", "a;b=c",
		}))
		return true
	})},
	{"foreign value", one(func(w *world, c *call, f *field) bool {
		v, ok := w.other(c, f.name)
		f.value = v
		return ok
	})},
	{"foreign tenant's value", one(func(w *world, c *call, f *field) bool {
		s := w.alive(func(s *session) bool { return s.tenant != c.tenant })
		if s == nil {
			return false
		}
		switch f.name {
		case "refreshToken", "tokenString", "TokenString", "refresh_token", "subject_token":
			f.value = s.current()
		case "id", "tokenId", "exceptTokenId", "refreshTokenId":
			f.value = s.id.String()
		case "token", "actor_token":
			f.value = s.access
		default:
			return false
		}
		return true
	})},
	{"old token string", one(func(w *world, c *call, f *field) bool {
		if c.session == nil || len(c.session.strings) < 2 ||
			!slices.Contains([]string{"refreshToken", "tokenString", "token", "refresh_token", "subject_token"}, f.name) {
			return false
		}
		f.value = pick(w.rng, c.session.strings[:len(c.session.strings)-1])
		return true
	})},
	{"an old token string and a lifetime", func(w *world, c *call) bool {
		s := w.alive(func(s *session) bool { return len(s.strings) > 2 })
		if s == nil || c.operation != "exchange" || c.media == "" {
			return false
		}
		c.body = []field{{"refreshToken", s.strings[0]}, {"timeToLiveInSeconds", pick(w.rng, []int{1, 900, 901, 86_400,
			86_401})}}
		return true
	}},
	{"too long a lifetime", func(w *world, c *call) bool {
		if c.operation != "exchange" || c.media == "" {
			return false
		}
		c.body = slices.DeleteFunc(c.body, func(f field) bool { return f.name == "timeToLiveInSeconds" })
		return add(c, field{"timeToLiveInSeconds", pick(w.rng, []int{901, 86_400, 86_401})})
	}},
	{"another instant", func(w *world, c *call) bool {
		if c.operation != "issue" {
			return false
		}
		c.body = slices.DeleteFunc(c.body, func(f field) bool { return strings.HasSuffix(f.name, "Instant") })
		ms := w.now.UnixMilli()
		return add(c, field{pick(w.rng, []string{"insertInstant", "expirationInstant"}), pick(w.rng, []int64{
			-1, 0, ms, ms - 1, ms + 61_000, ms - 366*86_400_000, ms + 31*86_400_000, ms / 1000, ms * 1000, 253_402_300_799_999,
			253_402_300_800_000,
			math.MinInt64, math.MaxInt64,
		})})
	}},
	{"an id that may not be chosen", func(w *world, c *call) bool {
		if c.operation != "issue" {
			return false
		}
		c.body = slices.DeleteFunc(c.body, func(f field) bool { return f.name == "refreshTokenId" })
		ahead, _ := domain.NewID(w.now.Add(2*time.Minute), w.random)
		stale, _ := domain.NewID(w.now.Add(-25*time.Hour), w.random)
		return add(c, field{"refreshTokenId", pick(w.rng, []string{
			ahead.String(), stale.String(), "9b2f6e3c-5a7d-4d41-9e0c-5b7a8d2f1c34", "ffffffff-ffff-7fff-bfff-ffffffffffff",
		})})
	}},
	{"altered value", one(func(w *world, _ *call, f *field) bool {
		s, ok := f.value.(string)
		if !ok || s == "" {
			return false
		}
		i := w.rng.IntN(len(s))
		f.value = s[:i] + string(rune('!'+w.rng.IntN(90))) + s[i+1:]
		return true
	})},
	{"shortened value", one(func(w *world, _ *call, f *field) bool {
		s, ok := f.value.(string)
		if !ok || len(s) < 2 {
			return false
		}
		f.value = s[:w.rng.IntN(len(s))]
		return true
	})},
	{"unknown name", func(w *world, c *call) bool {
		return add(c, field{pick(w.rng, []string{"x", "admin", "__proto__", "", "\u202e", "refresh_token", "tenantId",
			"generation", "a.b", "userId\x00", "\xff"}), "1"})
	}},
	{"another case of a name", one(func(w *world, _ *call, f *field) bool {
		before := f.name
		f.name = pick(w.rng, []string{strings.ToUpper(before), strings.ToLower(before),
			strings.ToUpper(before[:min(1, len(before))]) + before[min(1, len(before)):], before + " "})
		return f.name != before
	})},
	{"one more selector", func(w *world, c *call) bool {
		if c.session == nil {
			return false
		}
		return add(c, pick(w.rng, []field{
			{"id", c.session.id.String()}, {"tokenId", c.session.id.String()}, {"tokenString", c.session.current()},
			{"userId", c.session.user},
			{"applicationsId", c.session.application}, {"allInTenant", true}, {"allInTenant", false},
			{"exceptTokenId", c.session.id.String()},
			{"refreshToken", c.session.current()}, {"userId", ""}, {"tokenId", ""}, {"applicationsId", ""},
		}))
	}},
	{"a selector in the query", func(w *world, c *call) bool {
		if c.session == nil || len(c.query) > 0 {
			return false
		}
		c.query = []field{pick(w.rng, []field{{"userId", c.session.user}, {"tokenId", c.session.id.String()},
			{"allInTenant", "true"}, {"x", "1"}, {"limit", "1"}})}
		return true
	}},
	{"broken query", func(w *world, c *call) bool {
		if len(c.query) == 0 {
			c.query = []field{{pick(w.rng, []string{"", "x", "limit"}),
				verbatim(pick(w.rng, []string{"%zz", "%ff", "a;b", "=", ""}))}}
			return true
		}
		c.query[w.rng.IntN(len(c.query))].value = verbatim(pick(w.rng,
			[]string{"%zz", "%ff", "a;b=1", "%00", "+", "0", "1001", "99999999999999999999"}))
		return true
	}},
	{"altered cursor", func(w *world, c *call) bool {
		for i, f := range c.query {
			if f.name != "cursor" {
				continue
			}
			s := text(f.value)
			at := w.rng.IntN(len(s))
			c.query[i].value = verbatim(pick(w.rng, []string{
				s[:at] + "A" + s[at+1:], s[:at], s + "A", s + "=", "", base64.RawURLEncoding.EncodeToString(make([]byte, 24)),
				"%0a" + s,
			}))
			return true
		}
		return false
	}},
	{"a cursor for another query", func(w *world, c *call) bool {
		if len(w.links) == 0 || c.operation != "list" {
			return false
		}
		_, query := splitTarget(pick(w.rng, w.links).target)
		for _, f := range query {
			if f.name == "cursor" {
				c.query = append(slices.DeleteFunc(c.query, func(f field) bool { return f.name == "cursor" }), f)
			}
		}
		return true
	}},
	{"empty body", func(_ *world, c *call) bool {
		if c.media == "" {
			return false
		}
		c.literal = []byte{}
		return true
	}},
	{"another body", func(w *world, c *call) bool {
		if c.media == "" {
			c.media = jsonMedia
		}
		c.literal = []byte(pick(w.rng, []string{
			"null", "[]", `""`, "{", "{}", "{}{}", "{} x", `{"a"}`, "\xef\xbb\xbf{}", "[{}]", "\x00", "tokenId", "=", "&&",
			"%", " ", "{\"userId\":\"a\"\xff}",
		}))
		return true
	}},
	{"trailing bytes", func(w *world, c *call) bool {
		if len(c.body) == 0 {
			return false
		}
		more := []string{"x", "{}", "\x00", "]", "&a=1", ","}
		if c.media == formMedia { // where most of those would belong to the last value
			more = []string{"&a=1", "&%zz", "&;", "&userId=x&userId=y"}
		}
		c.literal = append(c.content(), pick(w.rng, more)...)
		return true
	}},
	{"truncated body", func(w *world, c *call) bool {
		content := c.content()
		if len(content) == 0 {
			return false
		}
		c.literal = content[:w.rng.IntN(len(content))]
		return true
	}},
	{"body that breaks off", func(_ *world, c *call) bool {
		if c.media == "" {
			return false
		}
		c.cut = 10
		return true
	}},
	{"oversized body", func(w *world, c *call) bool {
		if c.media == "" {
			c.media = jsonMedia
		}
		c.literal = []byte(`{"userId":"` + strings.Repeat("a", web.MaxBody+w.rng.IntN(2)*40_000) + `"}`)
		return true
	}},
	{"chunked", func(w *world, c *call) bool {
		if len(c.content()) == 0 {
			return false
		}
		c.chunked = true
		if w.rng.IntN(4) == 0 {
			c.literal = []byte(strings.Repeat(" ", web.MaxBody+1))
		}
		return true
	}},
	{"body where none is taken", func(_ *world, c *call) bool {
		if c.media != "" {
			return false
		}
		c.media, c.literal = jsonMedia, []byte(`{"userId":"ada"}`)
		return true
	}},
	{"another media type", func(w *world, c *call) bool {
		if c.media == "" {
			return false
		}
		c.literal = c.content()
		c.media = pick(w.rng, []string{
			"none", "text/plain", "text/plain; charset=utf-8", "application/jsonp", "application/JSON",
			"application/json; charset=utf-16", "multipart/form-data; boundary=x",
			"application/json, text/plain", "application/json;", "*/*", "application/x-www-form-urlencoded", jsonMedia,
			"application/json\r\nContent-Type: text/plain", ";", "\u202e",
		})
		return true
	}},
	{"content coding", func(w *world, c *call) bool {
		c.set("Content-Encoding", pick(w.rng, []string{"gzip", "deflate", "identity", "br, identity", "x", ""}))
		return true
	}},
	{"another method", func(w *world, c *call) bool {
		before := c.method
		c.method = pick(w.rng, []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW", "post",
			"PROPFIND"})
		return c.method != before
	}},
	{"encoded path", func(w *world, c *call) bool {
		i := 1 + w.rng.IntN(len(c.path)-1)
		c.path = c.path[:i] + fmt.Sprintf("%%%02x", c.path[i]) + c.path[i+1:]
		return true
	}},
	{"another path", func(w *world, c *call) bool {
		c.path = pick(w.rng, []string{
			c.path + "/", "/" + c.path, c.path + "//", c.path + "/x", c.path + "/..", c.path + "/%2e%2e/x", c.path + "%2f",
			c.path + "%00", c.path + "%0d%0aX:y", c.path + ";x=1",
			c.path + "%zz", strings.ToUpper(c.path), "/", "/metrics", "/debug/pprof/", "*", "/jwt", c.path + "%20",
			"/t//.well-known/jwks.json", "/t/..%2f/.well-known/jwks.json",
			"http://evil.example" + c.path, c.path + "\\", c.path + "%ff", "//evil.example" + c.path,
		})
		return true
	}},
	{"no proof", func(_ *world, c *call) bool { return c.drop("Authorization") }},
	{"another API key", func(w *world, c *call) bool {
		other := "globex"
		if c.tenant == other {
			other = "acme"
		}
		name := pick(w.rng, []string{other, c.tenant + " powerless", c.tenant + " expired", "everywhere"})
		c.set("Authorization", "Bearer "+w.keys[name])
		return true
	}},
	{"broken proof", func(w *world, c *call) bool {
		key := w.keys[c.tenant]
		c.set("Authorization", pick(w.rng, []string{
			key[:len(key)-1], key + "A", strings.ToUpper(key), "Token " + key, "Bearer", "Bearer  ",
			"Bearer " + key + ", Bearer x", "ak_", "ak_" + strings.Repeat("A", 32), "..", "a.b.c",
			"Basic " + base64.StdEncoding.EncodeToString([]byte(key+":x")),
			"Basic " + base64.StdEncoding.EncodeToString([]byte("x:"+key)),
			"Bearer ..", "ak_é", "ak_" + strings.Repeat("A", 5000), "\u202e",
		}))
		return true
	}},
	{"two proofs", func(w *world, c *call) bool {
		c.header = append(c.header, field{"Authorization", pick(w.rng, []string{w.keys["everywhere"], "x"})})
		return true
	}},
	{"an access token as proof", func(w *world, c *call) bool {
		s := w.alive(func(s *session) bool { return s.access != "" })
		if s == nil {
			return false
		}
		c.set("Authorization", "Bearer "+s.access)
		return true
	}},
	{"a forged access token", func(w *world, c *call) bool {
		s := w.alive(func(s *session) bool { return s.access != "" })
		if s == nil {
			return false
		}
		forged := forge(w, s.access)
		if c.operation == "exchange" && c.media == jsonMedia && w.rng.IntN(2) == 0 {
			c.body = append(slices.DeleteFunc(c.body, func(f field) bool { return f.name == "token" }), field{"token", forged})
			return true
		}
		c.set("Authorization", "Bearer "+forged)
		return true
	}},
	{"no tenant", func(_ *world, c *call) bool { return c.drop("X-Stencil-TenantId") }},
	{"another tenant", func(w *world, c *call) bool {
		c.set("X-Stencil-TenantId", pick(w.rng, []string{"globex", "acme", "nowhere", "ACME", "..", "*", "%", "", " ",
			"a\x00b", "\u202e", strings.Repeat("a", 65), "acme,globex"}))
		return true
	}},
	{"two tenants", func(w *world, c *call) bool {
		c.header = append(c.header, field{pick(w.rng, []string{"X-Stencil-TenantId", "x-stencil-tenanid", "X-Tenant-Id"}),
			pick(w.rng, tenants)})
		return true
	}},
	{"strange header", func(w *world, c *call) bool {
		c.header = append(c.header, field{
			pick(w.rng, []string{"X-Request-Id", "User-Agent", "X-Forwarded-For", "Origin", "Referer", "Accept",
				"Accept-Encoding", "If-None-Match", "X-Forwarded-Host", "Forwarded",
				"X-HTTP-Method-Override", "Cookie", "Range", "If-Match", "Sec-Fetch-Site", "Upgrade", "X-Original-URL",
				"DPoP", "DPoP-Next"}),
			pick(w.rng, badHeaders),
		})
		return true
	}},
	{"method override", func(w *world, c *call) bool {
		c.header = append(c.header, field{pick(w.rng, []string{"X-HTTP-Method-Override", "X-HTTP-Method",
			"X-Method-Override"}), "DELETE"})
		return true
	}},
	{"a cookie beside it", func(w *world, c *call) bool {
		s := w.alive(func(*session) bool { return true })
		if s == nil {
			return false
		}
		value := pick(w.rng, []string{s.current(), pick(w.rng, s.strings), "rt_garbage", `"` + s.current() + `"`, "",
			"a\x00b", s.current() + "; refresh_token=rt_x"})
		c.header = append(c.header, field{"Cookie", "refresh_token=" + value + "; access_token=" + s.access})
		return true
	}},
	{"from another site", func(w *world, c *call) bool {
		if c.session == nil {
			return false
		}
		c.set("Cookie", "refresh_token="+c.session.current())
		c.set("Sec-Fetch-Site", pick(w.rng, []string{"cross-site", "same-site", "SAME-ORIGIN", "same-origin, none"}))
		if w.rng.IntN(2) == 0 {
			c.set("Origin", pick(w.rng, []string{"https://evil.example", "null", ourOrigin, ourOrigin + ".evil"}))
		}
		return true
	}},
	{"strange framing", func(w *world, c *call) bool {
		if len(c.content()) == 0 {
			return false
		}
		c.alone = true
		c.header = append(c.header, pick(w.rng, []field{
			{"Content-Length", "0"}, {"Content-Length", "1, 1"}, {"Content-Length", "-1"}, {"Content-Length", "+5"},
			{"Content-Length", "99999999999999999999"},
			{"Transfer-Encoding", "chunked"}, {"Transfer-Encoding", "identity"}, {"Transfer-Encoding", "xchunked"},
			{"Transfer-Encoding", "gzip, chunked"},
			{"Expect", "100-continue"}, {"Expect", "a miracle"}, {"Connection", "close, X-Request-Id"},
			{"Trailer", "Authorization"}, {"Host", "evil.example"}, {"X Y", "1"},
			{"X-A", "1\r\n Folded: 2"}, {"", "1"},
		}))
		return true
	}},
	{"another protocol", func(w *world, c *call) bool {
		c.proto, c.alone = pick(w.rng, []string{"HTTP/1.0", "HTTP/0.9", "HTTP/2.0", "HTTP/1.2", "http/1.1", "HTTP/1.1 x",
			"HTTPS/1.1", "ICAP/1.0"}), true
		return true
	}},
	{"preflight", func(w *world, c *call) bool {
		c.method = "OPTIONS"
		c.set("Origin", pick(w.rng, []string{ourOrigin, "https://evil.example"}))
		c.set("Access-Control-Request-Method", "POST")
		return true
	}},
}

// forge returns an access token that no key of the service signed, made from one that a key signed. The signature is
// for the original bytes, so every change is a forgery.
func forge(w *world, token string) string {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return token + "x"
	}
	header, _ := base64.RawURLEncoding.DecodeString(parts[0])
	claims, _ := base64.RawURLEncoding.DecodeString(parts[1])
	encode := base64.RawURLEncoding.EncodeToString
	var h map[string]any
	if json.Unmarshal(header, &h) != nil {
		return token + "x"
	}
	change := func(name string, value any) string {
		h[name] = value
		text, _ := json.Marshal(h)
		return encode(text) + "." + parts[1] + "." + parts[2]
	}
	switch w.rng.IntN(7) {
	case 0:
		h["alg"] = "none"
		text, _ := json.Marshal(h)
		return encode(text) + "." + parts[1] + "."
	case 1:
		return change("alg", "HS256")
	case 2:
		return change("kid", pick(w.rng, []string{"", "../../dev/null", "' OR 1=1 --", "x"}))
	case 3:
		return change("jku", "https://evil.example/jwks.json")
	case 4:
		return parts[0] + "." + encode([]byte(strings.Replace(string(claims), `"exp":1`, `"exp":9`, 1))) + "." + parts[2]
	case 5:
		return token + "."
	default:
		return parts[0] + "." + parts[1] + "." + parts[2][:len(parts[2])-2] + "AA"
	}
}
