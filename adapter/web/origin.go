package web

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/labstack/echo/v4"
)

// Origins is a set of web origins whose pages may send requests with cookies. The zero value is empty.
type Origins struct{ exact map[string]bool }

// ParseOrigins returns the set of the listed origins. It refuses values that no browser sends in an Origin header, so
// that a mistake in the configuration is found at start. There are no wildcards, and "null", the origin of any
// sandboxed page, is refused.
func ParseOrigins(list []string) (Origins, error) {
	o := Origins{exact: make(map[string]bool, len(list))}
	for _, s := range list {
		u, err := url.Parse(s)
		if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Hostname() == "" ||
			s != u.Scheme+"://"+u.Host || s != strings.ToLower(s) ||
			strings.ContainsAny(s, "*? ,") || strings.HasSuffix(s, ":") {
			return Origins{}, fmt.Errorf("web: %q is not an origin: write it as a browser does, "+
				"such as https://app.example or http://localhost:8080", s)
		}
		if u.Scheme == "https" && u.Port() == "443" || u.Scheme == "http" && u.Port() == "80" {
			return Origins{}, fmt.Errorf("web: the origin %q has the default port, which browsers omit: remove it", s)
		}
		o.exact[s] = true
	}
	return o, nil
}

// Has reports whether origin, the value of an Origin header, is in o.
func (o Origins) Has(origin string) bool { return o.exact[origin] }

// Pages identifies the service's own pages.
type Pages struct {
	PublicURL string  // where clients reach the service
	Origins   Origins // of other pages that may send requests with cookies
}

// IsBrowser reports whether a request has the headers in which a browser names its origin.
func IsBrowser(c echo.Context) bool {
	header := c.Request().Header
	return header.Get(echo.HeaderOrigin) != "" || header.Get("Sec-Fetch-Site") != ""
}

// UsesCookies reports whether the client of a request may have its tokens in cookies: it is a browser or sends a
// cookie, and the request comes from an own page.
func UsesCookies(c echo.Context) bool {
	return (IsBrowser(c) || c.Request().Header.Get(echo.HeaderCookie) != "") && OwnPage(c)
}

// OwnPage reports whether a request comes from a page of the service or of a configured origin, if a browser sent it. A
// browser says so in Sec-Fetch-Site, which no page can set. Without that header, an Origin other than the service's is
// another site's. An old browser omits Origin if no other origin is involved.
func OwnPage(c echo.Context) bool {
	mount := LogRecord(c).mount
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

// isOwn reports whether origin is the origin of host. Behind a proxy the scheme of a request is not known, and a header
// that names it may be forged. So the scheme must be that of the public URL if the host is its host. Otherwise it must
// be one over which browsers send the cookies, which are Secure except on a loopback address.
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
