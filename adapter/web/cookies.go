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

// Cookies are how a dialect sets, reads and deletes the cookies of tokens.
type Cookies struct {
	Path string // of the requests that present them
}

// Read returns the values of the cookies of that name in a request that a page may send. A browser adds cookies to what
// other sites make it send, so they count only on a request of an own page.
//
// The access token's cookie is not read. The exchange would be refused if it were another session's, and it easily is:
// a login that sets only the other cookie, or a neighbouring domain, leaves it behind.
func (Cookies) Read(c echo.Context, name string) (tokenStrings []domain.Secret, err error) {
	for _, cookie := range c.Cookies() {
		if cookie.Name == name && cookie.Value != "" {
			tokenStrings = append(tokenStrings, domain.NewSecret(cookie.Value))
		}
	}
	if len(tokenStrings) > 0 && !OwnPage(c) {
		// The field is not refreshToken: the token string may be good, and is to be kept.
		return nil, domain.NewInvalid(echo.HeaderOrigin, domain.Malformed,
			"the cookie does not count on a request from another site: "+
				"send the token string in the body, or configure the origin")
	}
	return tokenStrings, nil
}

const (
	// maxCookie is the size of cookie that a client has to support (RFC 6265, section 6.1): name, value and attributes
	// together. Browsers drop larger ones.
	maxCookie = 4096
	// maxSetCookies is how many bytes of Set-Cookie headers a response that deletes cookies has at most, if the access
	// token's cookie is left out for it: common proxies answer 502 where a response's headers are longer than 4 096.
	maxSetCookies = 3500
	// roomForRest is how many of these bytes the likely forms of cookies leave to the others. The longest line of a
	// deletion, by the names that are accepted, is shorter than half of it.
	roomForRest = 1000
	// maxDomains bounds the domains of a host for which a deletion is likely to be needed, besides that of the policy.
	maxDomains = 4
	maxHost    = 253 // bytes of a host name
)

// cookieJar is how a response sets and deletes cookies. Lines are collected, because what is set has to come last: a
// browser obeys them one after another.
type cookieJar struct {
	secure   bool
	reserved int    // bytes of maxSetCookies that no deletion takes
	kept     string // the line that would delete what is set later
	lines    []string
}

// line returns c as a Set-Cookie header has it. The caller has checked the domain, and it is written here: net/http
// writes no name with an underscore, which browsers take, and reports it to the standard logger for each cookie.
func (j *cookieJar) line(c http.Cookie) string {
	d := c.Domain
	if c.Domain = ""; c.Path == "" {
		c.Path = "/"
	}
	c.Secure = j.secure || domain.IsSecureName(c.Name) // which browsers refuse otherwise, also on this machine
	line := c.String()
	if d != "" {
		line += "; Domain=" + d
	}
	return line
}

// size is how many bytes a line takes in a response.
func size(line string) int { return len("Set-Cookie: \r\n") + len(line) }

func (j *cookieJar) length() (n int) {
	for _, line := range j.lines {
		n += size(line)
	}
	return n
}

// delete deletes the cookie of that name, domain (empty for none), path and partition: no other attribute tells cookies
// apart (RFC 6265, section 5.3, step 11). It reports false if there is no room.
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

// deleteIn deletes the cookie of that name in each of domains.
func (j *cookieJar) deleteIn(domains []string, name string) {
	for _, d := range domains {
		if d == "" || !domain.IsHostOnlyName(name) {
			j.delete(http.Cookie{Name: name, Domain: d})
		}
	}
}

// deleteRest deletes the cookie of that name in each of domains, path and partition, as far as there is room. Those
// that another host can set where browsers reach the service come first, and leave room to the others. Their order is
// random: in a fixed one a neighbour would choose a form for which there is never room.
func (j *cookieJar) deleteRest(name string, domains []string, publicPaths, otherPaths []string) {
	if domain.IsHostOnlyName(name) { // it has one form
		return
	}
	var first, then []http.Cookie
	add := func(to *[]http.Cookie, d string, paths []string) {
		for _, path := range paths {
			*to = append(*to, http.Cookie{Name: name, Domain: d, Path: path})
			if j.secure { // else it cannot be partitioned
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

// deleteInAnyOrder deletes cookies until there is no room for the next.
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

// set sets both cookies for as long as their tokens can be used. An access token that is too large for a cookie, or for
// a response that deletes cookies, is in the body only; the cookie of an earlier one is then deleted.
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

// Renew sets the cookies of a grant, in the place of those that were read under name, if none of these has to be
// kept. Where the policy has another name, that which was read is deleted, and no access token's: below a domain that
// several applications share, the cookie of that name may be a neighbour's, and an own one expires with its token.
// Where several values were read, all other forms of both cookies are deleted.
func (k Cookies) Renew(c echo.Context, g usecase.Grant, name string, read int, deletable bool) {
	j := newJar(c)
	refreshName, accessName := g.Policy.CookieNames()
	likely, all := cookieDomains(c, g.Policy)
	ownDomain := strings.ToLower(g.Policy.CookieDomain)
	if deletable && (name != refreshName || read > 1) && slices.Contains(likely, ownDomain) { // else nothing can be set
		refresh := size(j.line(tokenCookie(refreshName, g.TokenString, g.RefreshTokenExpiresIn, g.Policy)))
		j.kept = j.line(http.Cookie{Name: refreshName, Domain: ownDomain, MaxAge: -1})
		// Enough for what is set, and for the line that deletes the access token's cookie, which is shorter.
		j.reserved = 2 * refresh
		j.deleteIn(likely, name)
		if name == refreshName {
			others := slices.DeleteFunc(slices.Clone(likely), func(d string) bool { return d == ownDomain })
			j.deleteIn(others, accessName)
		}
		// What is left has ended or is of this session, and is in nobody's way: no access token is left out for it.
		j.reserved = refresh + size(j.line(tokenCookie(accessName, g.AccessToken, g.ExpiresIn, g.Policy)))
		j.deleteRest(name, all, k.publicPaths(c), k.servicePaths(c))
	}
	j.set(g)
	j.send(c)
}

// Delete deletes the cookies that were read under name, and the access token's beside them. A refresh token's
// cookie that something else has set may have another path, or be partitioned: left behind, one of an active session
// would be in conflict with that of each later login. So it is deleted in all forms in which it can have reached the
// service; where they are more than a response's headers have room for, a few responses delete them all.
func (k Cookies) Delete(c echo.Context, name string, p domain.Policy) {
	j := newJar(c)
	likely, all := cookieDomains(c, p)
	j.reserved = roomForRest
	j.deleteIn(likely, name)
	j.deleteIn(likely, domain.AccessCookieName(name))
	j.reserved = 0
	j.deleteRest(name, all, k.publicPaths(c), k.servicePaths(c))
	// The likeliest form of the refresh token's cookie comes last. Browsers delete in any order, but the cookie file of
	// curl 7.88 forgets each deletion that another one follows.
	slices.Reverse(j.lines)
	j.send(c)
}

// publicPaths are those of cookies that browsers send to the service by its public URL, which may have a path that a
// proxy removes.
func (k Cookies) publicPaths(c echo.Context) []string {
	return cookiePaths(publicURL(c).EscapedPath() + k.readPath(c))
}

// servicePaths are those of cookies that browsers send to the service itself.
func (k Cookies) servicePaths(c echo.Context) []string { return cookiePaths(k.readPath(c)) }

// readPath is the path for which cookies are read, with a slash at the end if the request has one, or goes on below it.
func (k Cookies) readPath(c echo.Context) string {
	if sent, _, _ := strings.Cut(c.Request().RequestURI, "?"); strings.Contains(sent, k.Path+"/") { // routes do without it
		return k.Path + "/"
	}
	return k.Path
}

// cookiePaths are those of cookies that browsers send to path (RFC 6265, section 5.1.4): with a slash at the end and
// without, a cookie is another one.
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
	return slices.DeleteFunc(paths, func(p string) bool { return strings.Contains(p, ";") }) // no Path can have that
}

// newJar sets cookies that are Secure, but where the service is only tried: on this machine, and without a public address
// that says otherwise. A proxy may show its own address of this machine as the request's host.
func newJar(c echo.Context) *cookieJar {
	return &cookieJar{secure: publicURL(c).Scheme == "https" || !IsLoopback(c.Request().Host)}
}

// Issue sets the cookies of a grant for a backend to pass on. The request is the backend's, so that the public
// URL says whether browsers reach the service in the clear.
func (Cookies) Issue(c echo.Context, g usecase.Grant) {
	public := publicURL(c)
	j := &cookieJar{secure: public.Scheme != "http" || !IsLoopback(public.Host)}
	j.set(g)
	j.send(c)
}

// cookieDomains are the domains of the forms in which a cookie can have reached the service: none ("", it is then the
// host's alone), and each that the host lies in. The host is the request's, or that of the public URL, where a proxy
// shows another one. A browser ignores a domain that is not its own or that is a public suffix, such as co.uk. Likely
// are the host itself and the shortest, since pages share those, and that of the policy. Those that most likely are in
// use come first.
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

// parentDomains are the host, in lower case, and each parent of it that has two labels or more; none of an address.
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

// anywhere puts a letter for what browsers take anywhere in the name of a host, and RFC 1123 does not.
var anywhere = strings.NewReplacer("_", "x", "-", "x")

func publicURL(c echo.Context) *url.URL { return Note(c).mount.public }
