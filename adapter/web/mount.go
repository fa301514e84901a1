package web

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/adapter/web/strict"
	"github.com/refreshd/refreshd/domain"
)

// A Route is one endpoint: a method on a path. Everything that must be known of it before its handler runs is here.
type Route struct {
	Method string
	Path   string // with parameters in echo's syntax, /t/:tenantId
	// Action is the action for which the caller of each request needs a permission. It is checked before Handle, which
	// finds the caller in the [Record]. It is zero if Anybody or Asks is set.
	Action domain.Action
	// Asks lists the actions of a route whose requests determine which one they need. Handle authenticates the caller
	// with [Identify] or [OptionalCaller], which refuse any action that is neither in Asks nor Action.
	Asks []domain.Action
	// Anybody is set if no request needs a caller. A route without Action, Asks and Anybody is not mounted.
	Anybody bool
	// TenantOptional is set if a request need not name a tenant, because its object may belong to none. The caller's
	// tenant is then that of its API key, or empty. Identify refuses other requests without a tenant.
	TenantOptional bool
	// BackendOnly routes do not accept an owner's access token, whatever the action.
	BackendOnly bool
	Kind        Kind
	// Stream is set if the response continues until the client disconnects or the server stops. It has no time limit,
	// holds no place among the requests in progress, and is bounded by [RateLimits].Streams instead, whatever its Kind.
	// Its handler returns when the context of its request is done. HEAD is not served for it.
	Stream  bool
	MaxBody int64 // of a request, in bytes; 0 for [MaxBody]
	Handle  echo.HandlerFunc
}

// A Dialect is one of the HTTP APIs that are served on one address: its endpoints, and the format of its refusals.
type Dialect struct {
	// Routes are the endpoints, in addition to those of Document. HEAD is served for each GET.
	Routes []Route
	// Render writes every refusal on these routes, and on unmatched paths that share the most with one of them.
	Render Renderer
	// Statuses are matched before those of all dialects, but after those of failures, which no dialect can change.
	Statuses []ErrorStatus
	Headers  CORSHeaders
	// BackendOnly is set if no page in a browser may use the dialect: its responses have no CORS headers, those to a
	// preflight included, except those of Document.
	BackendOnly bool
	// AnyOrigin is set if pages of every origin may send requests of the dialect and read the responses, always without
	// cookies. Handlers that must not serve some pages call [AllowPage].
	AnyOrigin bool
	Decoder   strict.Options // of Body and Query
	// Document, if set, is served with its page.
	Document *Document
}

// A mount is the routing table of all dialects.
type mount struct {
	Options
	public   *url.URL // Pages.PublicURL
	dialects []*mounted
	paths    map[string]*path

	rechecksMu sync.Mutex
	rechecks   map[checked]*recheck
}

// mounted is a mounted dialect.
type mounted struct {
	Dialect
	expose, allow string // its CORSHeaders, joined
}

// path has the endpoints of all dialects on one path.
type path struct {
	label     string // as in an OpenAPI document
	endpoints []*endpoint
}

// endpoint is a mounted route.
type endpoint struct {
	Route
	dialect *mounted
}

func (p *path) endpoint(method string) *endpoint {
	for _, e := range p.endpoints {
		if e.Method == method || e.Method == http.MethodGet && method == http.MethodHead && !e.Stream {
			return e
		}
	}
	return nil
}

// add mounts the routes of a dialect. Two routes with the same method and path are an error. A route that does not say
// which callers it accepts, or that names an action without a permission, such as a misspelled one, is an error too.
func (m *mount) add(e *echo.Echo, dialect Dialect) error {
	if dialect.Document != nil {
		dialect.Routes = slices.Concat(dialect.Routes, dialect.Document.routes())
	}
	if dialect.Render == nil {
		return errors.New("web: a dialect has no renderer")
	}
	d := &mounted{
		Dialect: dialect,
		expose:  strings.Join(dialect.Headers.Expose, ","), allow: strings.Join(dialect.Headers.Allow, ","),
	}
	m.dialects = append(m.dialects, d)
	for _, r := range d.Routes {
		at := m.paths[r.Path]
		if at == nil {
			at = &path{label: documented(r.Path)}
			m.paths[r.Path] = at
		}
		where := r.Method + " " + r.Path
		switch {
		case at.endpoint(r.Method) != nil:
			return fmt.Errorf("web: %s is mounted twice", where)
		case r.Action != "" && len(r.Asks) > 0:
			return fmt.Errorf("web: %s has both Action and Asks", where)
		case r.Anybody == (r.Action != "" || len(r.Asks) > 0):
			return fmt.Errorf("web: %s must have one of Action, Asks and Anybody", where)
		case !r.Anybody && m.Authenticate == nil:
			return fmt.Errorf("web: %s needs a caller, but Options.Authenticate is not set", where)
		}
		for _, a := range append(slices.Clone(r.Asks), r.Action) {
			if _, endpoints := a.Permissions(); a != "" && len(endpoints) == 0 {
				return fmt.Errorf("web: %s asks for %s, which no permission allows", where, a)
			}
		}
		route := &endpoint{Route: r, dialect: d}
		at.endpoints = append(at.endpoints, route)
		e.Add(r.Method, r.Path, route.serve)
		if r.Method == http.MethodGet && !r.Stream {
			e.HEAD(r.Path, route.serve)
		}
		if last := r.Path[strings.LastIndexByte(r.Path, '/')+1:]; strings.HasPrefix(last, ":") {
			// echo lets a parameter without a route below it match slashes too. GET /a/:id would then match
			// GET /a/b/c, which is 405 if the only route there is POST /a/b/:id. [mount.routed] refuses "//" in any case.
			e.Router().Add(echo.RouteNotFound, r.Path+"//", echo.NotFoundHandler) // not among e.Routes()
		}
	}
	return nil
}

// serve authenticates the caller, if the route has an action, and handles the request.
func (e *endpoint) serve(c echo.Context) error {
	if e.Action != "" {
		if _, err := Identify(c, e.Action); err != nil {
			return err
		}
	}
	if e.Stream {
		return streamed(c, e.Handle)
	}
	return e.Handle(c)
}

// routed sets the path and endpoint of the request. echo lets a parameter inside a route match nothing. Such a
// request has no route here.
func (m *mount) routed(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		record, sent, route := LogRecord(c), echo.GetPath(c.Request()), c.Path()
		if strings.Contains(route, "*") || !strings.Contains(sent, "//") {
			record.path = m.paths[route]
		}
		if record.path != nil {
			record.endpoint = record.path.endpoint(c.Request().Method)
		}
		return next(c)
	}
}

// dialectOf returns the dialect in which a request is refused. It is the dialect of the route; without a route for the
// method, the first one on the path; without a route for the path, the one of the route that shares the most leading
// segments with it. A parameter matches any segment. Of several dialects it returns the first.
func dialectOf(c echo.Context) *mounted {
	record := LogRecord(c)
	switch {
	case record.endpoint != nil:
		return record.endpoint.dialect
	case record.path != nil:
		return record.path.endpoints[0].dialect
	}
	sent := strings.Split(echo.GetPath(c.Request()), "/")
	best, most := record.mount.dialects[0], 0
	for _, d := range record.mount.dialects {
		for _, r := range d.Routes {
			if n := inCommon(strings.Split(r.Path, "/"), sent); n > most {
				best, most = d, n
			}
		}
	}
	return best
}

func inCommon(route, sent []string) (n int) {
	for n < min(len(route), len(sent)) && (route[n] == sent[n] || strings.HasPrefix(route[n], ":") && sent[n] != "") {
		n++
	}
	return n
}

// documented returns the path of a route, /a/:b, in the syntax of OpenAPI, /a/{b}.
func documented(route string) string {
	before, after, found := strings.Cut(route, "/:")
	if !found {
		return route
	}
	name, rest, more := strings.Cut(after, "/")
	if more {
		rest = documented("/" + rest)
	}
	return before + "/{" + name + "}" + rest
}
