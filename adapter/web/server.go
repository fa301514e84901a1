package web

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/usecase"
)

// Options of New. Log is required.
type Options struct {
	Log *slog.Logger
	// Authenticate finds out who sent a request. Only a service without a route for callers may leave it out.
	Authenticate *usecase.Authenticate
	// Pages are whose browsers' requests count as the service's own.
	Pages          Pages
	TrustedProxies []netip.Prefix
	// Guard, if set, stands before all routes, 404 and 405.
	Guard *Guard
	// Observe, if set, is told of every request once it is answered.
	Observe func(Response)
}

// New returns a handler of all that the dialects have, with everything this package does, in the right order. A path
// that no route matches is refused in the dialect to which it is nearest, or in the first. An error means that the
// routes contradict each other, or that the public URL is none.
func New(o Options, dialects ...Dialect) (*echo.Echo, error) {
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.Logger.SetOutput(logLines(o.Log).Writer())
	e.IPExtractor = ClientAddr(o.TrustedProxies)
	public, err := url.Parse(o.Pages.PublicURL)
	if err != nil {
		return nil, fmt.Errorf("web: the public URL: %w", err)
	}
	m := &mount{Options: o, public: public, paths: map[string]*path{}}
	if len(dialects) == 0 {
		return nil, errors.New("web: there is no dialect")
	}
	for _, d := range dialects {
		if err := m.add(e, d); err != nil {
			return nil, err
		}
	}
	e.HTTPErrorHandler = m.refuse
	e.Pre(withoutBody, m.logged, oneSlashLess)
	e.Use(m.routed)
	if len(o.Pages.Origins.exact) > 0 {
		if o.Guard != nil {
			e.Use(m.preflights)
		}
		e.Use(unlessUnmatched(m.cors))
	}
	if o.Guard != nil {
		e.Use(m.guarded)
	}
	e.Use(limited)
	return e, nil
}

// NewServer is a Server around handler, without an address. Its time-outs leave a handler the time that this package
// grants it; a stream sets its own.
func NewServer(handler http.Handler, to *slog.Logger) *Server {
	stopping := make(chan struct{})
	return &Server{stopping: stopping, Server: http.Server{
		BaseContext: func(net.Listener) context.Context {
			return context.WithValue(context.Background(), stoppingKey{}, stopping)
		},
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

// unlessUnmatched keeps m away from requests that no route is meant by.
func unlessUnmatched(m echo.MiddlewareFunc) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		with := m(next)
		return func(c echo.Context) error {
			if Note(c).path == nil {
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
