package web

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/labstack/echo/v4"
)

// Origins are the web origins whose pages may call the service with cookies. The zero value is none.
type Origins struct{ exact map[string]bool }

// ParseOrigins refuses what no browser would send in an Origin header, so that a slip in a configuration shows at start: there
// are no wildcards, and "null", which any sandboxed page has, cannot be allowed.
func ParseOrigins(list []string) (Origins, error) {
	o := Origins{exact: make(map[string]bool, len(list))}
	for _, s := range list {
		u, err := url.Parse(s)
		if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Hostname() == "" || s != u.Scheme+"://"+u.Host ||
			s != strings.ToLower(s) || strings.ContainsAny(s, "*? ,") || strings.HasSuffix(s, ":") {
			return Origins{}, fmt.Errorf("web: %q is no origin: write it as a browser does, like https://app.example or http://localhost:8080", s)
		}
		if u.Scheme == "https" && u.Port() == "443" || u.Scheme == "http" && u.Port() == "80" {
			return Origins{}, fmt.Errorf("web: the origin %q must leave out its port: browsers leave out the usual one", s)
		}
		o.exact[s] = true
	}
	return o, nil
}

// Has reports whether origin, the value of an Origin header, is one of o.
func (o Origins) Has(origin string) bool { return o.exact[origin] }

// What a configured origin may read, and for how many seconds a browser may keep the answer to a preflight.
var (
	exposedHeaders = strings.Join([]string{
		"Refreshd-Outcome", echo.HeaderXRequestID, "Link", "X-Total-Count", echo.HeaderRetryAfter,
	}, ",")
	usualHeaders = strings.Join([]string{
		echo.HeaderAuthorization, echo.HeaderContentType, "X-Stencil-TenantId", "X-Stencil-Tenanid", "X-Tenant-Id",
		echo.HeaderXRequestID,
	}, ",")
)

const preflightMaxAge = "600"

// cors answers preflights, and tells browsers which pages may read a response. Other origins get no CORS header;
// their requests are served, since CORS protects only the user of a browser. It is not echo's, which allows either a
// fixed list of headers or whatever was asked for.
func (o Origins) cors(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		req, header := c.Request(), c.Response().Header()
		preflight := req.Method == http.MethodOptions
		header.Set(echo.HeaderVary, echo.HeaderOrigin)
		if preflight {
			header.Set(echo.HeaderVary, echo.HeaderOrigin+", "+echo.HeaderAccessControlRequestHeaders)
		}
		origin := req.Header.Get(echo.HeaderOrigin)
		if !o.Has(origin) {
			return next(c)
		}
		header.Set(echo.HeaderAccessControlAllowOrigin, origin)
		header.Set(echo.HeaderAccessControlAllowCredentials, "true")
		if !preflight {
			header.Set(echo.HeaderAccessControlExposeHeaders, exposedHeaders)
			return next(c)
		}
		methods, _ := c.Get(echo.ContextKeyHeaderAllow).(string)
		header.Set(echo.HeaderAllow, methods)
		header.Set(echo.HeaderAccessControlAllowMethods, methods)
		header.Set(echo.HeaderAccessControlAllowHeaders, allowedHeaders(req.Header))
		header.Set(echo.HeaderAccessControlMaxAge, preflightMaxAge)
		return c.NoContent(http.StatusNoContent)
	}
}

// allowedHeaders are those that a preflight asks for. Libraries for tracing add headers of their own to each request
// of a page, and a browser does not send a request with a header that is not allowed. The origin and its credentials
// are what is guarded, not the names of headers.
func allowedHeaders(request http.Header) string {
	asked := strings.Join(request.Values(echo.HeaderAccessControlRequestHeaders), ",")
	if len(asked) > 1<<10 {
		return usualHeaders
	}
	for name := range strings.SplitSeq(asked, ",") {
		name = strings.Trim(name, " \t")
		if name == "" || strings.ContainsFunc(name, func(r rune) bool { return !strings.ContainsRune(tokenAlphabet, r) }) {
			return usualHeaders
		}
	}
	return asked
}

// tokenAlphabet is that of the name of a header (RFC 9110, section 5.6.2).
const tokenAlphabet = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// AnyOrigin lets the pages of every origin read the response, without credentials. It is for what is public, and the
// same for every caller: a configured origin gets the same header, so that a cache may give one copy to all.
func AnyOrigin(c echo.Context) {
	header := c.Response().Header()
	header.Set(echo.HeaderAccessControlAllowOrigin, "*")
	header.Del(echo.HeaderAccessControlAllowCredentials)
	header.Del(echo.HeaderVary)
}
