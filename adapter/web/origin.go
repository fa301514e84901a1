package web

import (
	"fmt"
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

// Pages are what tells the service's own pages from others.
type Pages struct {
	PublicURL string  // where clients reach the service
	Origins   Origins // of other pages that may call it with cookies
}

// IsBrowser reports whether a request says that a browser sent it, and from where.
func IsBrowser(c echo.Context) bool {
	header := c.Request().Header
	return header.Get(echo.HeaderOrigin) != "" || header.Get("Sec-Fetch-Site") != ""
}

// UsesCookies reports whether the sender of a request may have its tokens in cookies: whether it is a browser, or sends
// a cookie, and is on an own page.
func UsesCookies(c echo.Context) bool {
	return (IsBrowser(c) || c.Request().Header.Get(echo.HeaderCookie) != "") && OwnPage(c)
}

// OwnPage reports whether a request that a browser may have sent comes from a page of the service, or of a configured
// origin. A browser says that itself in Sec-Fetch-Site, which no page can set. Where it does not, an Origin other than
// the service's own is another site's; an old browser leaves Origin out where no other origin is at work.
func OwnPage(c echo.Context) bool {
	mount := Note(c).mount
	header := c.Request().Header
	origins, sites := header.Values(echo.HeaderOrigin), header.Values("Sec-Fetch-Site")
	switch {
	case len(origins) > 1 || len(sites) > 1: // no browser sends two
		return false
	case len(origins) == 1 && mount.Pages.Origins.Has(origins[0]):
		return true
	case len(sites) == 1:
		return sites[0] == "same-origin" || sites[0] == "none"
	default:
		return len(origins) == 0 || isOwn(origins[0], c.Request().Host, mount.public)
	}
}

// isOwn reports whether origin is that of a request to host. Behind a proxy the request does not show its scheme, and
// a header may lie about it. So it is that of the public URL where the host is; elsewhere it is one over which browsers
// send the cookies: they are Secure except on a loopback address.
func isOwn(origin, host string, public *url.URL) bool {
	scheme, own, _ := strings.Cut(origin, "://")
	if host == "" || !strings.EqualFold(own, host) {
		return false
	}
	if strings.EqualFold(public.Host, host) {
		return scheme == public.Scheme
	}
	return scheme == "https" || scheme == "http" && IsLoopback(host)
}
