package web

import (
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"
)

// CORSHeaders are the headers that pages of a configured origin may read and send.
type CORSHeaders struct {
	Expose []string // headers of a response
	Allow  []string // headers of a request, if the preflight does not name any
}

// preflightMaxAge is the number of seconds for which a browser may cache the response to a preflight.
const preflightMaxAge = "600"

// cors responds to preflights, and sets the headers by which browsers decide which pages may read a response. Other
// origins get no CORS header. Their requests are still handled, because CORS protects only the users of browsers. It is
// not echo's, which allows either a fixed list of headers or any that are requested.
func (m *mount) cors(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if dialectOf(c).BackendOnly {
			return next(c)
		}
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

// allowedHeaders returns the headers that a preflight requests, or the usual ones if it requests none or too many.
// Tracing libraries add headers to each request of a page, and a browser sends no request with a header that is not
// allowed. CORS restricts the origin and its credentials here, not the names of headers.
func allowedHeaders(request http.Header, usual string) string {
	asked := strings.Join(request.Values(echo.HeaderAccessControlRequestHeaders), ",")
	if len(asked) > 1<<10 {
		return usual
	}
	for name := range strings.SplitSeq(asked, ",") {
		name = strings.Trim(name, " \t")
		if name == "" || strings.Trim(name, tokenAlphabet) != "" {
			return usual
		}
	}
	return asked
}

// tokenAlphabet is the alphabet of a header's name (RFC 9110, section 5.6.2).
const tokenAlphabet = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// AnyOrigin lets pages of every origin read the response, without credentials. It is for public responses that are the
// same for every caller. A configured origin gets the same header, so that a cache can use one copy for all.
func AnyOrigin(c echo.Context) {
	header := c.Response().Header()
	header.Set(echo.HeaderAccessControlAllowOrigin, "*")
	header.Del(echo.HeaderAccessControlAllowCredentials)
	header.Del(echo.HeaderVary)
}
