package web

import (
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"
)

// CORSHeaders are what a dialect has the pages of a configured origin read and send.
type CORSHeaders struct {
	Expose []string // headers of a response
	Allow  []string // headers of a request, where a preflight does not say which are asked for
}

// preflightMaxAge is for how many seconds a browser may keep the response to a preflight.
const preflightMaxAge = "600"

// cors answers preflights, and tells browsers which pages may read a response. Other origins get no CORS header;
// their requests are served, since CORS protects only the user of a browser. It is not echo's, which allows either a
// fixed list of headers or whatever was asked for.
func (m *mount) cors(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		req, header := c.Request(), c.Response().Header()
		preflight := req.Method == http.MethodOptions
		header.Set(echo.HeaderVary, echo.HeaderOrigin)
		if preflight {
			header.Set(echo.HeaderVary, echo.HeaderOrigin+", "+echo.HeaderAccessControlRequestHeaders)
		}
		origin := req.Header.Get(echo.HeaderOrigin)
		if !m.Pages.Origins.Has(origin) {
			return next(c)
		}
		header.Set(echo.HeaderAccessControlAllowOrigin, origin)
		header.Set(echo.HeaderAccessControlAllowCredentials, "true")
		if !preflight {
			header.Set(echo.HeaderAccessControlExposeHeaders, dialectOf(c).expose)
			return next(c)
		}
		methods, _ := c.Get(echo.ContextKeyHeaderAllow).(string)
		header.Set(echo.HeaderAllow, methods)
		header.Set(echo.HeaderAccessControlAllowMethods, methods)
		header.Set(echo.HeaderAccessControlAllowHeaders, allowedHeaders(req.Header, dialectOf(c).allow))
		header.Set(echo.HeaderAccessControlMaxAge, preflightMaxAge)
		return c.NoContent(http.StatusNoContent)
	}
}

// allowedHeaders are those that a preflight asks for; the usual ones if they are too many, or none. Libraries for
// tracing add headers of their own to each request of a page, and a browser does not send a request with a header that
// is not allowed. The origin and its credentials are what is guarded, not the names of headers.
func allowedHeaders(request http.Header, usual string) string {
	asked := strings.Join(request.Values(echo.HeaderAccessControlRequestHeaders), ",")
	if len(asked) > 1<<10 {
		return usual
	}
	for name := range strings.SplitSeq(asked, ",") {
		name = strings.Trim(name, " \t")
		if name == "" || strings.ContainsFunc(name, func(r rune) bool { return !strings.ContainsRune(tokenAlphabet, r) }) {
			return usual
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
