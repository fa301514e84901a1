package web

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/adapter/web/strict"
	"github.com/refreshd/refreshd/domain"
)

// A Route is one endpoint: a method on a path. All that has to be known of it before its handler runs is told here,
// and nowhere else.
type Route struct {
	Method string
	Path   string // with the parameters as echo writes them, /t/:tenantId
	// Action is what the caller of each request must be allowed to do. It is checked before Handle, which finds the
	// caller in its [Record]. It is zero where Anybody or Asks is set.
	Action domain.Action
	// Asks are the actions of a route whose requests decide which they need. Handle asks, with [Identify] or [Offered];
	// for another action than one of these, and than Action, nobody is allowed.
	Asks []domain.Action
	// Anybody is set where no request needs a caller. A route that says nothing of its callers is not mounted.
	Anybody bool
	// BackendOnly routes take no access token of an owner, whatever the action.
	BackendOnly bool
	Kind        Kind
	// Stream is for a response that goes on until the client leaves or the server stops. It has no time limit of its
	// own, needs none of the places that requests share, and is bounded by [RateLimits].Streams. Its handler returns
	// when the context of its request is done. HEAD is not served beside it.
	Stream  bool
	MaxBody int64 // of a request, in bytes; 0 for [MaxBody]
	Handle  echo.HandlerFunc
}

// A Dialect is one HTTP API among those that are served on one address: its endpoints, and how it refuses.
type Dialect struct {
	// Routes are the endpoints, besides those of Document. HEAD is served beside each GET.
	Routes []Route
	// Render writes every refusal on these routes, and on paths that no route matches but whose beginning is nearest to
	// one of these.
	Render Renderer
	// Statuses are looked at before those that all dialects have, but for those of a failure, which no dialect can make
	// a refusal.
	Statuses []ErrorStatus
	Headers  CORSHeaders
	Decoder  strict.Options // of Body and Query
	// Document, if there is one, is served at Base + "/openapi.yaml", and as a page at Base + "/docs".
	Document *Document
	Base     string
}

// A mount is all dialects, by what echo says of a request.
type mount struct {
	Options
	public   *url.URL // Pages.PublicURL
	dialects []*mounted
	paths    map[string]*path
}

// mounted is a dialect where it is mounted.
type mounted struct {
	Dialect
	expose, allow string // its CORSHeaders
}

// path is what is mounted on one path, by all dialects.
type path struct {
	label     string // as a document writes it
	endpoints []*endpoint
}

// endpoint is a route where it is mounted.
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

// add mounts the routes of d. Two of one method and path are an error, and so is a route that does not say who is
// allowed, or that asks for what no caller can be allowed: a misspelled action, say.
func (m *mount) add(e *echo.Echo, dialect Dialect) error {
	if dialect.Document != nil {
		dialect.Routes = slices.Concat(dialect.Routes, dialect.Document.routes(dialect.Base))
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
			return fmt.Errorf("web: %s has an action, and asks for others", where)
		case r.Anybody == (r.Action != "" || len(r.Asks) > 0):
			return fmt.Errorf("web: %s has to say either what its callers must be allowed to do, or Anybody", where)
		case !r.Anybody && m.Authenticate == nil:
			return fmt.Errorf("web: %s needs a caller, and nothing authenticates", where)
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
	}
	return nil
}

// serve authenticates the caller, if the route says what for, and handles the request.
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

// routed finds out which route is meant. echo lets the last parameter of a route take the rest of the path, slashes and
// all, and one in the middle take nothing: there none is.
func (m *mount) routed(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		record, sent, route := Note(c), echo.GetPath(c.Request()), c.Path()
		if strings.Contains(route, "*") ||
			strings.Count(sent, "/") == strings.Count(route, "/") && !strings.Contains(sent, "//") {
			record.path = m.paths[route]
		}
		if record.path != nil {
			record.endpoint = record.path.endpoint(c.Request().Method)
		}
		return next(c)
	}
}

// dialectOf returns the dialect in which a request is refused: that of its route; where there is none for the method,
// the first on that path; and where none has the path, that of the route with which the path has the most segments in
// common, from the first on. A parameter is any segment. Of several the first is taken.
func dialectOf(c echo.Context) *mounted {
	record := Note(c)
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

// documented returns a route of echo, /a/:b, as the document writes it, /a/{b}.
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
