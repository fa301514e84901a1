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
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/usecase"
)

// Options of New. Log is required.
type Options struct {
	Log *slog.Logger
	// Authenticate identifies the callers of requests. It may be nil only if no route needs a caller.
	Authenticate *usecase.Authenticate
	// Proofs checks the DPoP proofs of requests; if it is nil, they are ignored.
	Proofs *usecase.Proofs
	// Pages identifies the service's own pages, whose requests may use cookies.
	Pages          Pages
	TrustedProxies []netip.Prefix
	// Guard, if set, is applied before routing, to 404 and 405 too.
	Guard *Guard
	// Observe, if set, is called for every request after its response.
	Observe func(Response)
}

// New returns a handler for the routes of all dialects, with the middleware of this package in the right order. A path
// that no route matches is refused in the nearest dialect, or in the first. It returns an error if routes contradict
// each other, or if the public URL is not valid.
func New(o Options, dialects ...Dialect) (*echo.Echo, error) {
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.Logger.SetOutput(logLines(o.Log).Writer())
	e.IPExtractor = ClientAddr(o.TrustedProxies)
	public, err := url.Parse(o.Pages.PublicURL)
	if err != nil {
		return nil, fmt.Errorf("web: the public URL: %w", err)
	}
	m := &mount{
		Options: o, public: public, paths: map[string]*path{}, rechecks: map[checked]*recheck{},
	}
	if len(dialects) == 0 {
		return nil, errors.New("web: there is no dialect")
	}
	for _, d := range dialects {
		if err := m.add(e, d); err != nil {
			return nil, err
		}
	}
	e.HTTPErrorHandler = m.refuse
	e.Pre(headAsGET, m.logged, trimSlash)
	e.Use(m.routed)
	anyOrigin := func(d Dialect) bool { return d.AnyOrigin }
	if len(o.Pages.Origins.exact) > 0 || slices.ContainsFunc(dialects, anyOrigin) {
		if o.Guard != nil {
			e.Use(m.preflights)
		}
		e.Use(onlyMatched(m.cors))
	}
	if o.Guard != nil {
		e.Use(m.guarded)
	}
	e.Use(limited)
	return e, nil
}

// NewServer returns a Server for handler, without an address. Its time-outs exceed the time limit of handlers; a stream
// sets its own.
func NewServer(handler http.Handler, to *slog.Logger) *Server {
	stopping, stop := context.WithCancel(context.Background())
	return &Server{stopping: stopping, stop: stop, Server: http.Server{
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

// logLines returns a logger for messages of a library.
func logLines(to *slog.Logger) *log.Logger {
	return slog.NewLogLogger(to.Handler().WithAttrs([]slog.Attr{slog.String("event", eventHTTPServer)}), slog.LevelWarn)
}

// trimSlash removes a trailing slash from the path, before routing. echo's middleware for that ignores RawPath.
func trimSlash(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		u := c.Request().URL
		if path := echo.GetPath(c.Request()); len(path) > 1 && strings.HasSuffix(path, "/") {
			u.Path = strings.TrimSuffix(u.Path, "/")
			u.RawPath = strings.TrimSuffix(u.RawPath, "/")
		}
		return next(c)
	}
}

// onlyMatched applies m only to requests whose path has a route.
func onlyMatched(m echo.MiddlewareFunc) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		with := m(next)
		return func(c echo.Context) error {
			if LogRecord(c).path == nil {
				return next(c)
			}
			return with(c)
		}
	}
}

// PathParam returns a path parameter, unescaped once. echo routes by the escaped path if that differs from its default
// encoding, and by the unescaped one otherwise. Unescaping always would turn %2541 into A.
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

// NoStore keeps a response with tokens out of caches (RFC 6749, section 5.1).
func NoStore(c echo.Context) {
	c.Response().Header().Set(echo.HeaderCacheControl, "no-store")
	c.Response().Header().Set("Pragma", "no-cache")
}
