package web

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"
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

// cors answers preflights and says to browsers which pages may read the answers. Other origins get no CORS header; their
// requests are served, since CORS protects no one but the browser's user.
func (o Origins) cors() echo.MiddlewareFunc {
	return middleware.CORSWithConfig(middleware.CORSConfig{
		AllowOriginFunc:  func(origin string) (bool, error) { return o.Has(origin), nil },
		AllowCredentials: true,
		AllowHeaders:     []string{echo.HeaderAuthorization, echo.HeaderContentType, "X-Stencil-TenantId", "X-Stencil-Tenanid", echo.HeaderXRequestID},
		ExposeHeaders:    []string{"Refreshd-Outcome", echo.HeaderXRequestID, "Link", echo.HeaderRetryAfter},
		MaxAge:           600,
	})
}
