package web

import (
	"log"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
)

// Options of New. Log and Render are required.
type Options struct {
	Log    *slog.Logger
	Render Renderer

	TrustedProxies []netip.Prefix
	Origins        Origins

	// Guard, if set, stands before all routes, 404 and 405. APIKey then returns what a request offers as an API key, or
	// "".
	Guard  *Guard
	APIKey func(echo.Context) string
	// Kinds are those of routes that are not [Work].
	Kinds map[string]Kind

	// Observe, if set, is told of every request once it is answered.
	Observe func(Response)
}

// New is an Echo with everything this package does, in the right order, and without a route. Register routes on it one by one:
// Group.Use and RouteNotFound put a catch-all beside them, which turns 405 into 404.
func New(o Options) *echo.Echo {
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.Logger.SetOutput(logLines(o.Log).Writer())
	e.IPExtractor = ClientAddr(o.TrustedProxies)
	e.HTTPErrorHandler = newErrorHandler(o.Render)
	e.Pre(withoutBody, o.logged, oneSlashLess)
	e.Use(routed)
	if len(o.Origins.exact) > 0 {
		if o.Guard != nil {
			e.Use(o.preflights)
		}
		e.Use(unlessUnmatched(o.Origins.cors))
	}
	if o.Guard != nil {
		e.Use(o.guarded)
	}
	e.Use(limited)
	return e
}

// NewServer is a Server around handler, without an address. Its time-outs leave a handler the time that this package
// grants it; a caller that streams for longer raises WriteTimeout.
func NewServer(handler http.Handler, to *slog.Logger) *Server {
	return &Server{Server: http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       120 * time.Second,
		MaxHeaderBytes:    32 << 10, // two cookies and an Authorization, each with an access token of some KiB
		ErrorLog:          logLines(to),
	}}
}

// logLines returns a logger for what a library has to say.
func logLines(to *slog.Logger) *log.Logger {
	return slog.NewLogLogger(to.Handler().WithAttrs([]slog.Attr{slog.String("event", eventHTTPServer)}), slog.LevelWarn)
}

// oneSlashLess makes a path with a trailing slash the path without, before routing. echo's own forgets RawPath.
func oneSlashLess(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		u := c.Request().URL
		if path := echo.GetPath(c.Request()); len(path) > 1 && strings.HasSuffix(path, "/") {
			u.Path = strings.TrimSuffix(u.Path, "/")
			u.RawPath = strings.TrimSuffix(u.RawPath, "/")
		}
		return next(c)
	}
}

// routed takes the route away where none is meant, for limited to answer 404. echo lets the last parameter of a route
// take the rest of the path, slashes and all, and one in the middle take nothing.
func routed(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		path, route := echo.GetPath(c.Request()), c.Path()
		wildcard := strings.Contains(route, "*")
		if !wildcard && (strings.Count(path, "/") != strings.Count(route, "/") || strings.Contains(path, "//")) {
			c.SetPath("")
		}
		return next(c)
	}
}

// unlessUnmatched keeps m away from requests that no route is meant by.
func unlessUnmatched(m echo.MiddlewareFunc) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		with := m(next)
		return func(c echo.Context) error {
			if c.Path() == "" {
				return next(c)
			}
			return with(c)
		}
	}
}

// PathParam is a path parameter, unescaped once. echo routes by the path as it was sent if that differs from its usual spelling,
// and by the unescaped one otherwise; to unescape always would turn %2541 into A.
func PathParam(c echo.Context, name string) string {
	value := c.Param(name)
	if c.Request().URL.RawPath == "" {
		return value
	}
	unescaped, err := url.PathUnescape(value)
	if err != nil {
		return ""
	}
	return unescaped
}

// NoStore keeps an answer with tokens in it out of every cache (RFC 6749 section 5.1).
func NoStore(c echo.Context) {
	c.Response().Header().Set(echo.HeaderCacheControl, "no-store")
	c.Response().Header().Set("Pragma", "no-cache")
}
