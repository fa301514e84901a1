package web

import (
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/domain"
)

// CORSHeaders are the headers that pages of a configured origin may read and send.
type CORSHeaders struct {
	Expose []string // headers of a response
	Allow  []string // headers of a request, if the preflight does not name any
}

// preflightMaxAge is the number of seconds for which a browser may cache the response to a preflight.
const preflightMaxAge = "600"

// cors responds to preflights, and sets the headers by which browsers decide which pages may read a response. In a
// dialect for pages of any origin, all of them get these headers, without credentials. Otherwise only those of the
// configured origins do, and other origins get no CORS header. Their requests are still handled, because CORS protects
// only the users of browsers. It is not echo's, which allows either a fixed list of headers or any that are requested.
func (m *mount) cors(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		dialect := dialectOf(c)
		if dialect.BackendOnly {
			return next(c)
		}
		req, header := c.Request(), c.Response().Header()
		preflight := req.Method == http.MethodOptions
		header.Set(echo.HeaderVary, echo.HeaderOrigin)
		if preflight {
			header.Set(echo.HeaderVary, echo.HeaderOrigin+", "+echo.HeaderAccessControlRequestHeaders)
		}
		origin := req.Header.Get(echo.HeaderOrigin)
		switch {
		case dialect.AnyOrigin:
			AnyOrigin(c)
		case m.Pages.Origins.Has(origin):
			header.Set(echo.HeaderAccessControlAllowOrigin, origin)
			header.Set(echo.HeaderAccessControlAllowCredentials, "true")
		default:
			return next(c)
		}
		if !preflight {
			header.Set(echo.HeaderAccessControlExposeHeaders, dialect.expose)
			return next(c)
		}
		methods, _ := c.Get(echo.ContextKeyHeaderAllow).(string)
		header.Set(echo.HeaderAllow, methods)
		header.Set(echo.HeaderAccessControlAllowMethods, methods)
		header.Set(echo.HeaderAccessControlAllowHeaders, allowedHeaders(req.Header, dialect.allow))
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

// AllowPage returns an *domain.Invalid if a page of an origin that is not allowed sent the request: an origin other
// than the service's own, the configured ones, and those that listed returns, which is called only if the others do not
// match. A client that is not a page sends no Origin. It is for dialects with AnyOrigin, so that the page can read what
// is wrong.
func AllowPage(c echo.Context, listed func() ([]string, error)) error {
	origins := c.Request().Header.Values(echo.HeaderOrigin)
	switch len(origins) {
	case 0:
		return nil
	case 1:
	default:
		return domain.NewInvalid(echo.HeaderOrigin, domain.Conflict, "send this header once")
	}
	m := LogRecord(c).mount
	if m.Pages.Origins.Has(origins[0]) || isOwn(origins[0], c.Request().Host, m.public) {
		return nil
	}
	if allowed, err := listed(); err != nil || slices.Contains(allowed, origins[0]) {
		return err
	}
	return domain.NewInvalid(echo.HeaderOrigin, domain.Forbidden,
		"pages of this origin may not use the client: add the origin to the application's origins, or to "+
			"REFRESHD_CORS_ORIGINS")
}
