package web

import (
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/usecase"
)

// Cookies sets, reads and deletes the cookies of tokens for a dialect.
type Cookies struct {
	Path string // of the requests that send them
}

// Read returns the values of the cookies of that name. A browser also adds cookies to requests that other sites
// trigger, so they count only on a request of the service's own pages, see [OwnPage].
//
// The access token's cookie is not read. It may belong to another session, for which the exchange would be refused: a
// login that sets only the other cookie, or a neighbouring domain, leaves it behind.
func (Cookies) Read(c echo.Context, name string) (tokenStrings []domain.Secret, err error) {
	for _, cookie := range c.Cookies() {
		if cookie.Name == name && cookie.Value != "" {
			tokenStrings = append(tokenStrings, domain.NewSecret(cookie.Value))
		}
	}
	if len(tokenStrings) > 0 && !OwnPage(c) {
		// The field is not refreshToken, because the token string may be valid and should be kept.
		return nil, domain.NewInvalid(echo.HeaderOrigin, domain.Malformed,
			"the cookie does not count on a request from another site: "+
				"send the token string in the body, or configure the origin")
	}
	return tokenStrings, nil
}

const (
	// maxCookie is the size of a cookie that a client must support (RFC 6265, section 6.1): name, value and attributes
	// together. Browsers drop larger ones.
	maxCookie = 4096
	// maxSetCookies bounds the Set-Cookie headers of a response that deletes cookies, in bytes. The access token's
	// cookie is omitted if it does not fit: common proxies respond with 502 if a response's headers are longer than 4
	// 096 bytes.
	maxSetCookies = 3500
	// roomForRest is the part of maxSetCookies that the deletions of likely forms leave to those of the other forms.
	// The longest deletion, by the accepted names, is shorter than half of it.
	roomForRest = 1000
	// maxDomains bounds the likely domains of a host, besides that of the policy.
	maxDomains = 4
	maxHost    = 253 // bytes of a host name
)

// cookieJar collects the Set-Cookie lines of a response. A browser processes them in order, so the cookies that are set
// have to come after the deletions.
type cookieJar struct {
	secure   bool
	reserved int    // bytes of maxSetCookies that deletions must leave
	kept     string // the deletion of the cookie that is set later, which is omitted
	lines    []string
}

// line returns the Set-Cookie header of c. It writes the domain itself, which the caller has checked: net/http omits a
// domain with an underscore, which browsers accept, and logs that for each cookie.
func (j *cookieJar) line(c http.Cookie) string {
	d := c.Domain
	if c.Domain = ""; c.Path == "" {
		c.Path = "/"
	}
	c.Secure = j.secure || domain.IsSecureName(c.Name) // browsers refuse such a name otherwise, even on localhost
	line := c.String()
	if d != "" {
		line += "; Domain=" + d
	}
	return line
}

// size returns the number of bytes of a line in a response.
func size(line string) int { return len("Set-Cookie: \r\n") + len(line) }

func (j *cookieJar) length() (n int) {
	for _, line := range j.lines {
		n += size(line)
	}
	return n
}

// delete deletes the cookie with the name, domain (empty for none), path and partition of c, which identify a cookie
// (RFC 6265, section 5.3, step 11). It returns false if there is no room.
func (j *cookieJar) delete(c http.Cookie) bool {
	c.MaxAge = -1 // Max-Age=0 on the wire
	line := j.line(c)
	if line == j.kept || slices.Contains(j.lines, line) {
		return true
	}
	if j.length()+size(line) > maxSetCookies-j.reserved {
		return false
	}
	j.lines = append(j.lines, line)
	return true
}

// deleteIn deletes the cookie of that name in each of the domains.
func (j *cookieJar) deleteIn(domains []string, name string) {
	for _, d := range domains {
		if d == "" || !domain.IsHostOnlyName(name) {
			j.delete(http.Cookie{Name: name, Domain: d})
		}
	}
}

// deleteRest deletes the cookie of that name in each domain, path and partition, as far as there is room. The forms
// that another host can set for the public paths come first, and leave room to the others. Their order is random: in a
// fixed order a neighbour could choose a form for which there is never room.
func (j *cookieJar) deleteRest(name string, domains []string, publicPaths, otherPaths []string) {
	if domain.IsHostOnlyName(name) { // it has only one form
		return
	}
	var first, then []http.Cookie
	add := func(to *[]http.Cookie, d string, paths []string) {
		for _, path := range paths {
			*to = append(*to, http.Cookie{Name: name, Domain: d, Path: path})
			if j.secure { // otherwise it cannot be partitioned
				*to = append(*to, http.Cookie{Name: name, Domain: d, Path: path, Partitioned: true})
			}
		}
	}
	for _, d := range domains {
		if d == "" {
			add(&then, d, publicPaths)
		} else {
			add(&first, d, publicPaths)
		}
		add(&then, d, otherPaths)
	}
	j.reserved += roomForRest / 2
	j.deleteInAnyOrder(first)
	j.reserved -= roomForRest / 2
	j.deleteInAnyOrder(append(first, then...))
}

// deleteInAnyOrder deletes cookies in random order, until there is no room for the next.
func (j *cookieJar) deleteInAnyOrder(cookies []http.Cookie) {
	for _, i := range rand.Perm(len(cookies)) {
		if !j.delete(cookies[i]) {
			return
		}
	}
}

func (j *cookieJar) send(c echo.Context) {
	for _, line := range j.lines {
		c.Response().Header().Add(echo.HeaderSetCookie, line)
	}
}

func tokenCookie(name string, value domain.Secret, left time.Duration, p domain.Policy) http.Cookie {
	return http.Cookie{
		Name: name, Value: value.Reveal(), Domain: p.CookieDomain, MaxAge: int(left / time.Second), HttpOnly: true,
		SameSite: http.SameSiteLaxMode,
	}
}

// set sets both cookies for the lifetime of their tokens. An access token that is too large for a cookie, or for a
// response that deletes cookies, is in the body only. The cookie of an earlier one is then deleted.
func (j *cookieJar) set(g usecase.Grant) {
	refreshName, accessName := g.Policy.CookieNames()
	refresh := j.line(tokenCookie(refreshName, g.TokenString, g.RefreshTokenExpiresIn, g.Policy))
	access := j.line(tokenCookie(accessName, g.AccessToken, g.ExpiresIn, g.Policy))
	tooLarge := len(access) > maxCookie
	noRoom := len(j.lines) > 0 && j.length()+size(refresh)+size(access) > maxSetCookies
	if tooLarge || noRoom {
		access = j.line(http.Cookie{Name: accessName, Domain: g.Policy.CookieDomain, MaxAge: -1})
	}
	j.lines = append(j.lines, refresh, access)
}

// Renew sets the cookies of a grant. If deletable, it replaces the cookies that were read under name. If the policy has
// another name, the cookie that was read is deleted, but not its access token's: in a domain that several applications
// share, that cookie may be a neighbour's, and an own one expires with its token. If several values were read, all
// other forms of both cookies are deleted.
func (k Cookies) Renew(c echo.Context, g usecase.Grant, name string, read int, deletable bool) {
	j := newJar(c)
	refreshName, accessName := g.Policy.CookieNames()
	likely, all := cookieDomains(c, g.Policy)
	ownDomain := strings.ToLower(g.Policy.CookieDomain)
	canSet := slices.Contains(likely, ownDomain) // otherwise browsers refuse the new cookie
	if deletable && (name != refreshName || read > 1) && canSet {
		refresh := size(j.line(tokenCookie(refreshName, g.TokenString, g.RefreshTokenExpiresIn, g.Policy)))
		j.kept = j.line(http.Cookie{Name: refreshName, Domain: ownDomain, MaxAge: -1})
		// Enough for the cookie that is set, and for the deletion of the access token's cookie, which is shorter.
		j.reserved = 2 * refresh
		j.deleteIn(likely, name)
		if name == refreshName {
			others := slices.DeleteFunc(slices.Clone(likely), func(d string) bool { return d == ownDomain })
			j.deleteIn(others, accessName)
		}
		// The remaining forms have ended or belong to this session, so they do no harm: the access token takes
		// precedence.
		j.reserved = refresh + size(j.line(tokenCookie(accessName, g.AccessToken, g.ExpiresIn, g.Policy)))
		j.deleteRest(name, all, k.publicPaths(c), k.servicePaths(c))
	}
	j.set(g)
	j.send(c)
}

// Delete deletes the cookies that were read under name, and those of the access token. A refresh token's cookie that
// another program set may have another path, or be partitioned. Such a cookie of an active session would conflict with
// that of each later login. So it is deleted in all forms in which it can have been sent. If the headers of a response
// have no room for all of them, a few responses delete them all.
func (k Cookies) Delete(c echo.Context, name string, p domain.Policy) {
	j := newJar(c)
	likely, all := cookieDomains(c, p)
	j.reserved = roomForRest
	j.deleteIn(likely, name)
	j.deleteIn(likely, domain.AccessCookieName(name))
	j.reserved = 0
	j.deleteRest(name, all, k.publicPaths(c), k.servicePaths(c))
	// The most likely form of the refresh token's cookie comes last. Browsers process deletions in any order, but the
	// cookie file of curl 7.88 loses each deletion that another one follows.
	slices.Reverse(j.lines)
	j.send(c)
}

// publicPaths returns the paths of cookies that browsers send to the public URL, which may have a path that a proxy
// removes.
func (k Cookies) publicPaths(c echo.Context) []string {
	return cookiePaths(publicURL(c).EscapedPath() + k.readPath(c))
}

// servicePaths returns the paths of cookies that browsers send to the service directly.
func (k Cookies) servicePaths(c echo.Context) []string { return cookiePaths(k.readPath(c)) }

// readPath returns the path for which cookies are read, with a slash at the end if the request has one there.
func (k Cookies) readPath(c echo.Context) string {
	// The request's URI, because routing has removed the slash.
	if sent, _, _ := strings.Cut(c.Request().RequestURI, "?"); strings.Contains(sent, k.Path+"/") {
		return k.Path + "/"
	}
	return k.Path
}

// cookiePaths returns the paths of cookies that browsers send to path (RFC 6265, section 5.1.4). A path with a slash at
// the end and one without identify different cookies.
func cookiePaths(path string) []string {
	paths := []string{"/"}
	for i := 1; i < len(path); i++ {
		if path[i] == '/' {
			paths = append(paths, path[:i], path[:i+1])
		}
	}
	if !strings.HasSuffix(path, "/") {
		paths = append(paths, path)
	}
	// A Path attribute cannot have a semicolon.
	return slices.DeleteFunc(paths, func(p string) bool { return strings.Contains(p, ";") })
}

// newJar returns a cookieJar whose cookies are Secure, unless the request's host is a loopback address and the public
// URL is not https. The public URL counts because a proxy on this machine may send a loopback address as the host.
func newJar(c echo.Context) *cookieJar {
	return &cookieJar{secure: publicURL(c).Scheme == "https" || !IsLoopback(c.Request().Host)}
}

// Issue sets the cookies of a grant for a backend to pass on. The request is the backend's, so Secure depends on the
// public URL alone.
func (Cookies) Issue(c echo.Context, g usecase.Grant) {
	public := publicURL(c)
	j := &cookieJar{secure: public.Scheme != "http" || !IsLoopback(public.Host)}
	j.set(g)
	j.send(c)
}

// cookieDomains returns the Domain attributes that a cookie of the request can have: none (""), the host and its
// parents. The host is the request's, and also that of the public URL, because a proxy may send another one. A browser
// ignores a domain that is not its own or that is a public suffix, such as co.uk. Likely are the host itself, the
// shortest parents, because pages share those, and the domain of the policy. The most likely ones come first.
func cookieDomains(c echo.Context, p domain.Policy) (likely, all []string) {
	likely, all = []string{""}, []string{""}
	add := func(to *[]string, d string) {
		if !slices.Contains(*to, d) {
			*to = append(*to, d)
		}
	}
	for _, host := range []string{c.Request().Host, publicURL(c).Host} {
		parents := parentDomains(host)
		for _, d := range parents {
			add(&all, d)
		}
		if d := strings.ToLower(p.CookieDomain); slices.Contains(parents, d) {
			add(&likely, d)
		}
		if n := len(parents); n > maxDomains {
			parents = append(parents[:1], parents[n-maxDomains+1:]...)
		}
		for _, d := range slices.Backward(parents) {
			add(&likely, d)
		}
	}
	return likely, all
}

// parentDomains returns the host, in lower case, and each of its parents with two labels or more; none for an address.
func parentDomains(hostport string) (domains []string) {
	u := url.URL{Host: hostport}
	host := strings.ToLower(u.Hostname())
	if len(host) > maxHost {
		return nil
	}
	for strings.Contains(host, ".") {
		if domain.IsDomainName(anywhere.Replace(host)) {
			domains = append(domains, host)
		}
		_, host, _ = strings.Cut(host, ".")
	}
	return domains
}

// anywhere replaces the characters that browsers accept anywhere in a host name, and RFC 1123 does not, by a letter.
var anywhere = strings.NewReplacer("_", "x", "-", "x")

func publicURL(c echo.Context) *url.URL { return LogRecord(c).mount.public }
