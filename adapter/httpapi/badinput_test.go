package httpapi_test

import (
	"crypto/rand"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/domain"
)

const (
	jsonType = "application/json"
	formType = "application/x-www-form-urlencoded"
)

// nested returns an object in an object, depth times.
func nested(depth int) string {
	return strings.Repeat(`{"a":`, depth-1) + `{}` + strings.Repeat(`}`, depth-1)
}

// issueJSON returns a valid issue with one more member.
func issueJSON(member string) option {
	return text(`{"userId":"ada","applicationsId":"shop",` + member + `}`)
}

// idAt returns an id of version 7 for that instant.
func idAt(t *testing.T, at time.Time) string {
	t.Helper()
	id, err := domain.NewID(at, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return id.String()
}

// millis returns a member of an object whose value is an instant.
func millis(name string, at time.Time) string { return fmt.Sprintf("%q:%d", name, at.UnixMilli()) }

func many(n int, format string) string {
	entries := make([]string, n)
	for i := range entries {
		entries[i] = fmt.Sprintf(format, i)
	}
	return strings.Join(entries, ",")
}

// Every request here is invalid in its own way. Each gets its documented response, none is an internal error, and they
// change nothing in the store.
func TestBadInput(t *testing.T) {
	h := newHousehold(t)
	id, str := h.adaShop.RefreshTokenID, h.adaShop.RefreshToken
	one := "/jwt/refresh/" + id
	h.issueAt(t, globex, "shop", "ada")
	foreignPage := h.do(t, "GET", "/jwt/refresh?userId=ada&limit=1", globex).want(t, 200).next(t, "/jwt/refresh")
	_, usersPage := h.page(t, "/jwt/refresh?userId=ada&limit=1")
	bobsPage := strings.Replace(usersPage, "userId=ada", "userId=bob", 1)
	if foreignPage == "" || bobsPage == usersPage {
		t.Fatal("got no cursors to try")
	}
	nul := func(s string) string { return strings.ReplaceAll(s, "~", `\u0000`) }

	type bad struct {
		name, method, target string
		option               option
		status               int
		codes                string
	}
	issue := func(name string, o option, status int, codes string) bad {
		return bad{"issue: " + name, "POST", "/jwt/issue", o, status, codes}
	}
	exchange := func(name string, o option, status int, codes string) bad {
		return bad{"exchange: " + name, "POST", "/jwt/refresh", o, status, codes}
	}
	list := func(name, query string, status int, codes string) bad {
		return bad{"list: " + name, "GET", "/jwt/refresh?" + query, nil, status, codes}
	}
	revoke := func(name string, o option, status int, codes string) bad {
		return bad{"revoke: " + name, "DELETE", "/jwt/refresh", o, status, codes}
	}
	tests := []bad{
		issue("no body", nil, 400, "[blank]"),
		issue("blanks", text("  \r\n\t"), 400, "[blank]"),
		issue("empty object", text(`{}`), 400, "[blank]applicationsId [blank]userId"),
		issue("null", text(`null`), 400, "[invalid]"),
		issue("a list", text(`[]`), 400, "[invalid]"),
		issue("a string", text(`"ada"`), 400, "[invalid]"),
		issue("a number", text(`7`), 400, "[invalid]"),
		issue("cut off", text(`{"userId":"ada"`), 400, "[invalid]"),
		issue("a comma too many", text(`{"userId":"ada",}`), 400, "[invalid]"),
		issue("a comment", text(`{"userId":"ada"/*x*/}`), 400, "[invalid]"),
		issue("single quotes", text(`{'userId':'ada'}`), 400, "[invalid]"),
		issue("trailing bytes", text(`{"userId":"ada","applicationsId":"shop"}x`), 400, "[invalid]"),
		issue("two documents", text(`{"userId":"ada","applicationsId":"shop"}{}`), 400, "[invalid]"),
		issue("a byte order mark", text("\ufeff"+`{"userId":"ada","applicationsId":"shop"}`), 400, "[invalid]"),
		issue("UTF-16", text("\xff\xfe{\x00}\x00"), 400, "[invalid]"),
		issue("invalid UTF-8", text("{\"userId\":\"a\xffb\",\"applicationsId\":\"shop\"}"), 400, "[invalid]"),
		issue("overlong UTF-8", text("{\"userId\":\"a\xc0\xafb\",\"applicationsId\":\"shop\"}"), 400, "[invalid]"),
		issue("an encoded surrogate", text("{\"userId\":\"a\xed\xa0\x80b\",\"applicationsId\":\"shop\"}"), 400, "[invalid]"),
		issue("a lone surrogate", text(`{"userId":"\ud800","applicationsId":"shop"}`), 400, "[invalid]userId"),
		issue("surrogates in the wrong order", text(`{"userId":"\udc00\ud800","applicationsId":"shop"}`), 400,
			"[invalid]userId"),
		issue("a lone surrogate in claims", issueJSON(`"claims":{"a":"\udfff"}`), 400, "[invalid]claims.a"),
		issue("a lone surrogate in a name", issueJSON(`"claims":{"\ud800":1}`), 400, "[invalid]claims"),
		issue("a control byte", text("{\"userId\":\"a\x01b\",\"applicationsId\":\"shop\"}"), 400, "[invalid]"),
		issue("NUL", text(nul(`{"userId":"a~b","applicationsId":"shop"}`)), 400, "[invalid]userId"),
		issue("NUL in the application", text(nul(`{"userId":"ada","applicationsId":"shop~"}`)), 400,
			"[invalid]applicationsId"),
		issue("a line break", text(`{"userId":"a\nb","applicationsId":"shop"}`), 400, "[invalid]userId"),
		issue("DEL", text(`{"userId":"a\u007f","applicationsId":"shop"}`), 400, "[invalid]userId"),
		issue("C1 control", text(`{"userId":"a\u0085b","applicationsId":"shop"}`), 400, "[invalid]userId"),
		issue("outer blanks", text(`{"userId":" ada ","applicationsId":"shop"}`), 400, "[invalid]userId"),
		issue("an outer no-break space", text(`{"userId":"ada\u00a0","applicationsId":"shop"}`), 400, "[invalid]userId"),
		issue("empty user", text(`{"userId":"","applicationsId":"shop"}`), 400, "[blank]userId"),
		issue("user too long", text(`{"userId":"`+strings.Repeat("ä", 128)+`","applicationsId":"shop"}`), 400,
			"[tooLong]userId"),
		issue("user a number", text(`{"userId":7,"applicationsId":"shop"}`), 400, "[invalid]userId"),
		issue("user null", text(`{"userId":null,"applicationsId":"shop"}`), 400, "[invalid]userId"),
		issue("user a list", text(`{"userId":["ada"],"applicationsId":"shop"}`), 400, "[invalid]userId"),
		issue("user an object", text(`{"userId":{"$ne":""},"applicationsId":"shop"}`), 400, "[invalid]userId"),
		issue("both wrong", text(`{"userId":true,"applicationsId":{}}`), 400, "[invalid]applicationsId [invalid]userId"),
		issue("unknown name", issueJSON(`"colour":"red"`), 400, "[unknown]colour"),
		issue("another case", text(`{"UserId":"ada","applicationsId":"shop"}`), 400, "[unknown]UserId"),
		issue("unknown and huge name", issueJSON(`"`+strings.Repeat("x", 1000)+`":1`), 400, "[unknown]"),
		issue("unknown name with controls", issueJSON(`"a\u0000b":1`), 400, "[unknown]"),
		issue("the tenant in the body", issueJSON(`"tenantId":"globex"`), 400, "[unknown]tenantId"),
		issue("repeated name", text(`{"userId":"ada","userId":"ada","applicationsId":"shop"}`), 400, "[repeated]userId"),
		issue("repeated by escapes", text(`{"userId":"ada","\u0075serId":"bob","applicationsId":"shop"}`), 400,
			"[repeated]userId"),
		issue("repeated by alias", text(`{"userId":"ada","usersId":"bob","applicationsId":"shop"}`), 400, "[repeated]userId"),
		issue("repeated at depth", issueJSON(`"metaData":{"device":{"name":"a","name":"b"}}`), 400,
			"[repeated]metaData.device.name"),
		issue("repeated in claims", issueJSON(`"claims":{"a":{"b":1,"b":2}}`), 400, "[repeated]claims.a.b"),
		issue("unknown at depth", issueJSON(`"metaData":{"device":{"vendor":"x"}}`), 400, "[unknown]metaData.device.vendor"),
		issue("the client address in metaData", issueJSON(`"metaData":{"lastClientAddress":"1.2.3.4"}`), 400,
			"[unknown]metaData.lastClientAddress"),
		issue("null at depth", issueJSON(`"metaData":{"device":null}`), 400, "[invalid]metaData.device"),
		issue("device a string", issueJSON(`"metaData":{"device":"phone"}`), 400, "[invalid]metaData.device"),
		issue("data a list", issueJSON(`"metaData":{"data":[]}`), 400, "[invalid]metaData.data"),
		issue("control in a device", issueJSON(`"metaData":{"device":{"name":"a\tb"}}`), 400,
			"[invalid]metaData.device.name"),
		issue("device too long", issueJSON(`"metaData":{"device":{"name":"`+strings.Repeat("x", 256)+`"}}`), 400,
			"[tooLong]metaData.device.name"),
		issue("metaData too long", issueJSON(`"metaData":{"data":{"a":"`+strings.Repeat("x", 4096)+`"}}`), 400,
			"[tooLong]metaData"),
		issue("roles a string", issueJSON(`"roles":"admin"`), 400, "[invalid]roles"),
		issue("roles null", issueJSON(`"roles":null`), 400, "[invalid]roles"),
		issue("a role of null", issueJSON(`"roles":[null]`), 400, "[invalid]roles"),
		issue("a role of a number", issueJSON(`"roles":["a",7]`), 400, "[invalid]roles"),
		issue("an empty role", issueJSON(`"roles":["a",""]`), 400, "[blank]roles[1]"),
		issue("a role twice", issueJSON(`"roles":["a","a"]`), 400, "[repeated]roles[1]"),
		issue("a role too long", issueJSON(`"roles":["`+strings.Repeat("x", 256)+`"]`), 400, "[tooLong]roles[0]"),
		issue("101 roles", issueJSON(`"roles":[`+many(101, `"r%d"`)+`]`), 400, "[tooLong]roles"),
		issue("101 scopes", issueJSON(`"scopes":[`+many(101, `"s%d"`)+`]`), 400, "[tooLong]scopes"),
		issue("a scope with a blank", issueJSON(`"scopes":["a b"]`), 400, "[invalid]scopes[0]"),
		issue("a scope with a quote", issueJSON(`"scopes":["a\"b"]`), 400, "[invalid]scopes[0]"),
		issue("a scope beyond ASCII", issueJSON(`"scopes":["ä"]`), 400, "[invalid]scopes[0]"),
		issue("scopes as OAuth has them", issueJSON(`"scope":"a b"`), 400, "[unknown]scope"),
		issue("claims a list", issueJSON(`"claims":[1]`), 400, "[invalid]claims"),
		issue("claims null", issueJSON(`"claims":null`), 400, "[invalid]claims"),
		issue("claims too long", issueJSON(`"claims":{"a":"`+strings.Repeat("x", 4096)+`"}`), 400, "[tooLong]claims"),
		issue("a claim of the service", issueJSON(`"claims":{"sub":"root"}`), 400, "[conflict]claims.sub"),
		issue("a claim of the service in another case", issueJSON(`"claims":{"SUB":"root"}`), 400, "[conflict]claims.sub"),
		issue("a claim of the service by escapes", issueJSON(`"claims":{"\u0073ub":"root"}`), 400, "[conflict]claims.sub"),
		issue("claims nested too deep", issueJSON(`"claims":`+nested(40)), 400, "[invalid]claims"+strings.Repeat(".a", 31)),
		issue("nested ten thousand deep", text(strings.Repeat("[", 10_000)+strings.Repeat("]", 10_000)), 400, "[invalid]"),
		issue("nested without end", text(strings.Repeat(`{"a":`, 6000)), 400, "[invalid]"),
		issue("a number too large", issueJSON(`"claims":{"a":1e999}`), 400, "[invalid]claims.a"),
		issue("NaN", issueJSON(`"claims":{"a":NaN}`), 400, "[invalid]"),
		issue("an id that is no UUID", issueJSON(`"refreshTokenId":"7"`), 400, "[invalid]refreshTokenId"),
		issue("an id in braces", issueJSON(`"refreshTokenId":"{`+chosenID+`}"`), 400, "[invalid]refreshTokenId"),
		issue("an id without hyphens", issueJSON(`"refreshTokenId":"`+strings.ReplaceAll(chosenID, "-", "")+`"`), 400,
			"[invalid]refreshTokenId"),
		issue("an id with a letter too far", issueJSON(`"refreshTokenId":"g`+chosenID[1:]+`"`), 400,
			"[invalid]refreshTokenId"),
		issue("the id of nothing", issueJSON(`"refreshTokenId":"00000000-0000-0000-0000-000000000000"`), 400,
			"[invalid]refreshTokenId"),
		issue("an empty id", issueJSON(`"refreshTokenId":""`), 400, "[invalid]refreshTokenId"),
		issue("an id of version 4", issueJSON(`"refreshTokenId":"9b2f6e3c-5a7d-4d41-9e0c-5b7a8d2f1c34"`), 400,
			"[invalid]refreshTokenId"),
		issue("an id of version 1", issueJSON(`"refreshTokenId":"9b2f6e3c-5a7d-1d41-9e0c-5b7a8d2f1c34"`), 400,
			"[invalid]refreshTokenId"),
		issue("an id ahead of now", issueJSON(`"refreshTokenId":"`+idAt(t, h.clock().Add(61*time.Second))+`"`), 400,
			"[invalid]refreshTokenId"),
		issue("an id of the end of time", issueJSON(`"refreshTokenId":"ffffffff-ffff-7fff-bfff-ffffffffffff"`), 400,
			"[invalid]refreshTokenId"),
		issue("no address", issueJSON(`"clientAddress":""`), 400, "[invalid]clientAddress"),
		issue("a host name", issueJSON(`"clientAddress":"localhost"`), 400, "[invalid]clientAddress"),
		issue("an address and its port", issueJSON(`"clientAddress":"203.0.113.7:4711"`), 400, "[invalid]clientAddress"),
		issue("an address in brackets", issueJSON(`"clientAddress":"[::1]"`), 400, "[invalid]clientAddress"),
		issue("two addresses", issueJSON(`"clientAddress":"203.0.113.7, 10.0.0.1"`), 400, "[invalid]clientAddress"),
		issue("a network", issueJSON(`"clientAddress":"10.0.0.0/8"`), 400, "[invalid]clientAddress"),
		issue("an octal address", issueJSON(`"clientAddress":"0127.0.0.1"`), 400, "[invalid]clientAddress"),
		issue("blanks around an address", issueJSON(`"clientAddress":" 203.0.113.7"`), 400, "[invalid]clientAddress"),
		issue("an address that is a number", issueJSON(`"clientAddress":3405803783`), 400, "[invalid]clientAddress"),
		issue("an address null", issueJSON(`"clientAddress":null`), 400, "[invalid]clientAddress"),
		issue("user agent too long", issueJSON(`"userAgent":"`+strings.Repeat("x", 1025)+`"`), 400, "[tooLong]userAgent"),
		issue("a line break in the user agent", issueJSON(`"userAgent":"a\r\nb"`), 400, "[invalid]userAgent"),
		issue("user agent a list", issueJSON(`"userAgent":["a"]`), 400, "[invalid]userAgent"),
		issue("a bad user agent beside a description",
			issueJSON(`"userAgent":"\u0000","metaData":{"device":{"description":"d"}}`), 400, "[invalid]userAgent"),
		issue("insert before 1970", issueJSON(`"insertInstant":-1`), 400, "[invalid]insertInstant"),
		issue("insert after the year 9999", issueJSON(`"insertInstant":253402300800000`), 400, "[invalid]insertInstant"),
		issue("insert beyond numbers", issueJSON(`"insertInstant":9223372036854775808`), 400, "[invalid]insertInstant"),
		issue("insert in microseconds", issueJSON(fmt.Sprintf(`"insertInstant":%d`, h.clock().UnixMicro())), 400,
			"[invalid]insertInstant"),
		issue("insert a fraction", issueJSON(`"insertInstant":1.5`), 400, "[invalid]insertInstant"),
		issue("insert an exponent", issueJSON(`"insertInstant":1e12`), 400, "[invalid]insertInstant"),
		issue("insert a date", issueJSON(`"insertInstant":"2027-03-04T05:06:07Z"`), 400, "[invalid]insertInstant"),
		issue("insert null", issueJSON(`"insertInstant":null`), 400, "[invalid]insertInstant"),
		issue("insert ahead", issueJSON(millis("insertInstant", h.clock().Add(61*time.Second))), 400,
			"[invalid]insertInstant"),
		issue("insert so long ago that it has expired", issueJSON(millis("insertInstant", h.clock().Add(-365*24*time.Hour))),
			400, "[invalid]insertInstant"),
		issue("insert in seconds", issueJSON(fmt.Sprintf(`"insertInstant":%d`, h.clock().Unix())), 400,
			"[invalid]insertInstant"),
		issue("expiration before 1970", issueJSON(`"expirationInstant":-1`), 400, "[invalid]expirationInstant"),
		issue("expiration after the year 9999", issueJSON(`"expirationInstant":253402300800000`), 400,
			"[invalid]expirationInstant"),
		issue("expiration in quotes", issueJSON(`"expirationInstant":"1804136767000"`), 400, "[invalid]expirationInstant"),
		issue("expiration zero", issueJSON(`"expirationInstant":0`), 400, "[invalid]expirationInstant"),
		issue("expiration now", issueJSON(millis("expirationInstant", h.clock())), 400, "[invalid]expirationInstant"),
		issue("expiration above the policy", issueJSON(millis("expirationInstant",
			h.clock().Add(30*24*time.Hour+time.Second))), 400, "[invalid]expirationInstant"),
		issue("both instants", issueJSON(`"insertInstant":-1,"expirationInstant":-1`), 400,
			"[invalid]expirationInstant [invalid]insertInstant"),
		issue("another owner's id", issueJSON(`"refreshTokenId":"`+h.bobShop.RefreshTokenID+`"`), 400,
			"[duplicate]refreshTokenId"),
		issue("another tenant's id", issueJSON(`"refreshTokenId":"`+h.foreign.RefreshTokenID+`"`), 400,
			"[duplicate]refreshTokenId"),
		issue("an unknown application", text(`{"userId":"ada","applicationsId":"nothing"}`), 404, ""),
		issue("no media type", raw("", `{}`), 415, ""),
		issue("a form", form("userId", "ada", "applicationsId", "shop"), 415, ""),
		issue("text", raw("text/plain", `{}`), 415, ""),
		issue("another JSON", raw("application/merge-patch+json", `{}`), 415, ""),
		issue("another charset", raw("application/json; charset=iso-8859-1", `{}`), 415, ""),
		issue("a broken media type", raw("application/json;;;=", `{}`), 415, ""),
		issue("two media types", func(s *service, r *request) {
			text(`{}`)(s, r)
			r.Header.Add("Content-Type", "text/plain")
		}, 415, ""),
		issue("compressed", func(s *service, r *request) { text(`{}`)(s, r); r.Header.Set("Content-Encoding", "gzip") },
			415, ""),
		issue("too large", text(`{"userId":"`+strings.Repeat("x", 40<<10)+`"}`), 413, ""),
		{"issue: a query", "POST", "/jwt/issue?userId=ada", body(object{"userId": "ada", "applicationsId": "shop"}), 400,
			"[unknown]userId"},

		exchange("empty object", text(`{}`), 400, "[blank]refreshToken"),
		exchange("empty string", text(`{"refreshToken":""}`), 400, "[blank]refreshToken"),
		exchange("null", text(`{"refreshToken":null}`), 400, "[invalid]refreshToken"),
		exchange("a number", text(`{"refreshToken":7}`), 400, "[invalid]refreshToken"),
		exchange("garbage", text(`{"refreshToken":"garbage"}`), 400, "[invalid]refreshToken"),
		exchange("garbage of the right form", text(`{"refreshToken":"rt_`+strings.Repeat("A", 64)+`"}`), 400,
			"[invalid]refreshToken"),
		exchange("NUL", text(`{"refreshToken":"\u0000"}`), 400, "[invalid]refreshToken"),
		exchange("a huge string", text(`{"refreshToken":"`+strings.Repeat("A", 30<<10)+`"}`), 400, "[invalid]refreshToken"),
		exchange("a line break inside", body(object{"refreshToken": str[:30] + "\n" + str[30:]}), 400,
			"[invalid]refreshToken"),
		exchange("unknown name", body(object{"refreshToken": str, "grant_type": "refresh_token"}), 400,
			"[unknown]grant_type"),
		exchange("another case", body(object{"RefreshToken": str}), 400, "[unknown]RefreshToken"),
		exchange("repeated", text(`{"refreshToken":"`+str+`","refreshToken":"`+str+`"}`), 400, "[repeated]refreshToken"),
		exchange("a lifetime of zero", body(object{"refreshToken": str, "timeToLiveInSeconds": 0}), 400,
			"[invalid]timeToLiveInSeconds"),
		exchange("a negative lifetime", body(object{"refreshToken": str, "timeToLiveInSeconds": -1}), 400,
			"[invalid]timeToLiveInSeconds"),
		exchange("a lifetime above policy", body(object{"refreshToken": str, "timeToLiveInSeconds": 901}), 400,
			"[invalid]timeToLiveInSeconds"),
		exchange("a lifetime that overflows", text(`{"refreshToken":"`+str+`","timeToLiveInSeconds":9223372036854775807}`),
			400, "[invalid]timeToLiveInSeconds"),
		exchange("a lifetime beyond int64", text(`{"refreshToken":"`+str+`","timeToLiveInSeconds":9223372036854775808}`),
			400, "[invalid]timeToLiveInSeconds"),
		exchange("a fraction", text(`{"refreshToken":"`+str+`","timeToLiveInSeconds":60.0}`), 400,
			"[invalid]timeToLiveInSeconds"),
		exchange("an exponent", text(`{"refreshToken":"`+str+`","timeToLiveInSeconds":6e1}`), 400,
			"[invalid]timeToLiveInSeconds"),
		exchange("a number in quotes", body(object{"refreshToken": str, "timeToLiveInSeconds": "60"}), 400,
			"[invalid]timeToLiveInSeconds"),
		exchange("a form twice", raw(formType, "refreshToken="+str+"&refreshToken="+str), 400, "[repeated]refreshToken"),
		exchange("a form that is escaped wrongly", raw(formType, "refreshToken=%zz"), 400, "[invalid]refreshToken"),
		exchange("a form of invalid UTF-8", raw(formType, "refreshToken=%ff"), 400, "[invalid]refreshToken"),
		exchange("a form with semicolons", raw(formType, "refreshToken="+str+";token=x"), 400, "[invalid]"),
		exchange("a bare token string as a form", raw(formType, str), 400, "[unknown]"),
		exchange("a form with a word for a number", form("refreshToken", str, "timeToLiveInSeconds", "a minute"), 400,
			"[invalid]timeToLiveInSeconds"),
		exchange("JSON said to be a form", raw(formType, `{"refreshToken":"`+str+`"}`), 400, "[unknown]"),
		exchange("a form said to be JSON", raw(jsonType, "refreshToken="+str), 400, "[invalid]"),
		exchange("multipart", raw("multipart/form-data; boundary=x", "--x--"), 415, ""),
		exchange("no media type", raw("", "refreshToken="+str), 415, ""),
		exchange("mixed with a selector", body(object{"refreshToken": str, "userId": "ada"}), 400, "[conflict]refreshToken"),
		exchange("two tenants", func(s *service, r *request) {
			body(object{"refreshToken": str})(s, r)
			r.Header.Set("X-Stencil-Tenanid", "globex")
		}, 400, "[conflict]X-Stencil-TenantId"),
		{"exchange: in the query", "POST", "/jwt/refresh?refreshToken=" + str, nil, 400, "[unknown]refreshToken"},

		list("an empty user", "userId=", 400, "[blank]userId"),
		list("an unknown state", "userId=ada&state=dead", 400, "[invalid]state"),
		list("an empty state", "userId=ada&state=", 400, "[invalid]state"),
		list("a state in another case", "userId=ada&state=Ended", 400, "[invalid]state"),
		list("two states", "userId=ada&state=active&state=ended", 400, "[repeated]state"),
		list("count a number", "userId=ada&count=1", 400, "[invalid]count"),
		list("count empty", "userId=ada&count=", 400, "[invalid]count"),
		list("an empty application", "userId=ada&applicationsId=", 400, "[blank]applicationsId"),
		list("user twice", "userId=ada&userId=ada", 400, "[repeated]userId"),
		list("user by two names", "userId=ada&usersId=bob", 400, "[repeated]userId"),
		list("unknown parameter", "userId=ada&page=2", 400, "[unknown]page"),
		list("another case", "USERID=ada", 400, "[unknown]USERID"),
		list("control characters", "userId=a%00b", 400, "[invalid]userId"),
		list("invalid UTF-8", "userId=%ff", 400, "[invalid]userId"),
		list("escaped wrongly", "userId=%zz", 400, "[invalid]userId"),
		list("user too long", "userId="+strings.Repeat("x", 256), 400, "[tooLong]userId"),
		list("limit zero", "userId=ada&limit=0", 400, "[invalid]limit"),
		list("limit negative", "userId=ada&limit=-1", 400, "[invalid]limit"),
		list("limit above", "userId=ada&limit=1001", 400, "[invalid]limit"),
		list("limit a word", "userId=ada&limit=all", 400, "[invalid]limit"),
		list("limit empty", "userId=ada&limit=", 400, "[invalid]limit"),
		list("limit with a sign", "userId=ada&limit=%2B5", 400, "[invalid]limit"),
		list("limit in hexadecimal", "userId=ada&limit=0x10", 400, "[invalid]limit"),
		list("limit beyond numbers", "userId=ada&limit=99999999999999999999", 400, "[invalid]limit"),
		list("cursor of garbage", "userId=ada&cursor=garbage", 400, "[invalid]cursor"),
		list("cursor empty", "userId=ada&cursor=", 400, "[invalid]cursor"),
		list("cursor of an id", "userId=ada&cursor="+id, 400, "[invalid]cursor"),
		list("cursor of zeros", "userId=ada&cursor="+strings.Repeat("A", 32), 400, "[invalid]cursor"),
		list("cursor with NUL", "userId=ada&cursor=%00", 400, "[invalid]cursor"),
		{"list: cursor of another user", "GET", bobsPage, nil, 400, "[invalid]cursor"},
		{"list: cursor of another tenant", "GET", foreignPage, nil, 400, "[invalid]cursor"},
		{"list: a body", "GET", "/jwt/refresh?userId=ada", text(`{}`), 400, "[conflict]"},

		{"retrieve: a body", "GET", one, body(object{"userId": "bob"}), 400, "[conflict]"},
		{"retrieve: a query", "GET", one + "?userId=ada", nil, 400, "[unknown]userId"},
		{"retrieve: an unknown state", "GET", one + "?state=gone", nil, 400, "[invalid]state"},
		{"retrieve: two states", "GET", one + "?state=all&state=all", nil, 400, "[repeated]state"},
		{"retrieve: a limit", "GET", one + "?limit=1", nil, 400, "[unknown]limit"},
		{"retrieve: by POST with a state", "POST", one + "?state=ended", nil, 400, "[unknown]state"},
		{"list: by POST with a state", "POST", "/jwt/refresh", body(object{"userId": "ada", "state": "ended"}), 400,
			"[unknown]state"},
		{"retrieve: no UUID", "GET", "/jwt/refresh/7", nil, 404, ""},
		{"retrieve: a UUID and more", "GET", one + "x", nil, 404, ""},
		{"retrieve: a token string", "GET", "/jwt/refresh/" + str, nil, 404, ""},
		{"retrieve: SQL", "GET", "/jwt/refresh/'%20or%201=1--", nil, 404, ""},
		{"retrieve: too deep", "GET", one + "/more", nil, 404, ""},
		{"retrieve: a body, HEAD", "HEAD", one, text(`{}`), 400, ""},
		{"issue: HEAD", "HEAD", "/jwt/issue", nil, 405, ""},
		{"retrieve: PUT", "PUT", one, text(`{}`), 405, ""},
		{"list: PUT", "PUT", "/jwt/refresh", text(`{}`), 405, ""},
		{"issue: GET", "GET", "/jwt/issue?userId=ada&applicationsId=shop", nil, 405, ""},
		{"issue: DELETE", "DELETE", "/jwt/issue", nil, 405, ""},
		{"nothing: POST", "POST", "/jwt/revoke", text(`{}`), 404, ""},

		revoke("nothing", nil, 400, "[blank]"),
		revoke("empty object", text(`{}`), 400, "[blank]"),
		revoke("a form without a name", raw(formType, "&"), 400, "[blank]"),
		revoke("null", text(`null`), 400, "[invalid]"),
		revoke("blanks", text(` `), 400, "[blank]"),
		revoke("user null", text(`{"userId":null}`), 400, "[invalid]userId"),
		revoke("user empty", body(object{"userId": ""}), 400, "[blank]userId"),
		revoke("application empty", body(object{"applicationsId": ""}), 400, "[blank]applicationsId"),
		revoke("user, and an empty application", body(object{"userId": "ada", "applicationsId": ""}), 400,
			"[blank]applicationsId"),
		revoke("application, and an empty user", body(object{"userId": "", "applicationsId": "shop"}), 400, "[blank]userId"),
		revoke("token empty", body(object{"tokenId": ""}), 400, "[blank]tokenId"),
		revoke("token string empty", body(object{"tokenString": ""}), 400, "[blank]tokenString"),
		revoke("everything, said false", body(object{"allInTenant": false}), 400, "[invalid]allInTenant"),
		revoke("everything, said as a string", body(object{"allInTenant": "true"}), 400, "[invalid]allInTenant"),
		revoke("everything, said as a number", body(object{"allInTenant": 1}), 400, "[invalid]allInTenant"),
		revoke("everything of a user", body(object{"allInTenant": true, "userId": "ada"}), 400, "[conflict]allInTenant"),
		revoke("everything of an application", body(object{"allInTenant": true, "applicationsId": "shop"}), 400,
			"[conflict]allInTenant"),
		revoke("nothing of a user", body(object{"allInTenant": false, "userId": "ada"}), 400,
			"[conflict]allInTenant [invalid]allInTenant"),
		revoke("one and a user", body(object{"tokenId": id, "userId": "ada"}), 400, "[conflict]tokenId"),
		revoke("one and an application", body(object{"tokenId": id, "applicationsId": "shop"}), 400, "[conflict]tokenId"),
		revoke("one and its string", body(object{"tokenId": id, "tokenString": str}), 400, "[conflict]tokenString"),
		revoke("a string and a user", body(object{"tokenString": str, "userId": "ada"}), 400, "[conflict]tokenString"),
		revoke("two spellings of a string", body(object{"tokenString": str, "token": str}), 400, "[repeated]tokenString"),
		revoke("all but one of nobody", body(object{"exceptTokenId": id}), 400, "[conflict]exceptTokenId"),
		revoke("all but one of an application", body(object{"applicationsId": "shop", "exceptTokenId": id}), 400,
			"[conflict]exceptTokenId"),
		revoke("all but one of a user in one", body(object{"userId": "ada", "applicationsId": "shop", "exceptTokenId": id}),
			400, "[conflict]exceptTokenId"),
		revoke("all but an empty one", body(object{"userId": "ada", "exceptTokenId": ""}), 400, "[blank]exceptTokenId"),
		revoke("control characters", body(object{"userId": "a\x00"}), 400, "[invalid]userId"),
		revoke("unknown name", body(object{"userId": "ada", "since": 7}), 400, "[unknown]since"),
		revoke("the exchange's field", body(object{"refreshToken": str}), 400, "[unknown]refreshToken"),
		revoke("a list of users", text(`{"userId":["ada","bob"]}`), 400, "[invalid]userId"),
		revoke("repeated", text(`{"userId":"ada","userId":"bob"}`), 400, "[repeated]userId"),
		revoke("no media type", raw("", `{"userId":"ada"}`), 415, ""),
		revoke("text", raw("text/plain", `userId=ada`), 415, ""),
		revoke("an unknown token", body(object{"tokenId": chosenID}), 404, ""),
		revoke("no UUID", body(object{"tokenId": "%"}), 404, ""),
		{"revoke: an empty query", "DELETE", "/jwt/refresh?", nil, 400, "[blank]"},
		{"revoke: a name without a value", "DELETE", "/jwt/refresh?userId", nil, 400, "[blank]userId"},
		{"revoke: everything, without a value", "DELETE", "/jwt/refresh?allInTenant", nil, 400, "[invalid]allInTenant"},
		{"revoke: everything, as 1", "DELETE", "/jwt/refresh?allInTenant=1", nil, 400, "[invalid]allInTenant"},
		{"revoke: twice", "DELETE", "/jwt/refresh?userId=ada&userId=bob", nil, 400, "[repeated]userId"},
		{"revoke: path and query", "DELETE", one + "?userId=ada", nil, 400, "[conflict]"},
		{"revoke: path and body", "DELETE", one, body(object{"tokenId": id}), 400, "[conflict]"},
		{"revoke: path, and a broken body", "DELETE", one, text(`{`), 400, "[invalid]"},
		{"revoke: path that is no UUID", "DELETE", "/jwt/refresh/*", nil, 404, ""},
		{"revoke: path of a user", "DELETE", "/jwt/refresh/ada", nil, 404, ""},
		{"post one: an empty object", "POST", one, text(`{}`), 400, "[conflict]tokenId"},
		{"post one: blanks", "POST", one, text(` `), 400, "[blank]"},
		{"post one: another id", "POST", one, body(object{"tokenId": chosenID}), 400, "[conflict]tokenId"},
		{"post one: unknown", "POST", one, body(object{"tokenId": id, "x": 1}), 400, "[unknown]x"},
		{"post one: text", "POST", one, raw("text/plain", "tokenId="+id), 415, ""},
	}
	if len(tests) < 100 {
		t.Errorf("got %d cases, want at least 100", len(tests))
	}
	before := h.dump(t)
	seen := map[string]bool{}
	for _, test := range tests {
		if seen[test.name] {
			t.Errorf("%s: there twice", test.name)
		}
		seen[test.name] = true
		t.Run(test.name, func(t *testing.T) {
			options := []option{backend}
			// An exchange would be refused because of the key, which it does not need.
			if test.method == "POST" && strings.HasPrefix(test.name, "exchange:") {
				options = []option{as("exchanger"), tenant(aTenant)}
			}
			if test.option != nil {
				options = append(options, test.option)
			}
			calls := len(h.store.writesSoFar())
			h.do(t, test.method, test.target, options...).want(t, test.status, strings.Fields(test.codes)...).keepsCookies(t)
			if written := h.store.writesSoFar()[calls:]; len(written) > 0 {
				t.Errorf("the store was written to: %v", written)
			}
		})
	}
	if diff := cmp.Diff(before, h.dump(t)); diff != "" {
		t.Errorf("the store changed: %s", diff)
	}
	h.next(t, str, "rotated")
}
