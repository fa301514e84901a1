package httpapi_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

// A jar stores cookies as a browser does (RFC 6265, sections 5.3 and 5.4). Prefixes, and the difference between a
// cookie without a domain and one with the host's, are those of RFC 6265bis. All requests use https, at one time.
type jar struct{ cookies []kept }

type kept struct {
	name, value, domain string
	hostOnly            bool
	path                string
	partitioned         bool
}

// publicSuffixes lists those of the hosts in the tests.
var publicSuffixes = []string{"example", "co.uk", "uk", "net"}

// receive obeys the Set-Cookie headers of a response of host, one after another.
func (j *jar) receive(host string, h http.Header) {
	for _, c := range (&http.Response{Header: h}).Cookies() {
		k := kept{name: c.Name, value: c.Value, domain: host, hostOnly: true, path: c.Path, partitioned: c.Partitioned}
		if c.Domain != "" {
			k.domain, k.hostOnly = strings.ToLower(strings.TrimPrefix(c.Domain, ".")), false
			if slices.Contains(publicSuffixes, k.domain) || !domainMatch(host, k.domain) {
				continue
			}
		}
		lower := strings.ToLower(c.Name)
		if (strings.HasPrefix(lower, "__host-") && !(c.Secure && k.hostOnly && c.Path == "/")) ||
			(strings.HasPrefix(lower, "__secure-") && !c.Secure) || len(c.String()) > 4096 {
			continue
		}
		j.cookies = slices.DeleteFunc(j.cookies, func(o kept) bool {
			o.value = k.value
			return o == k
		})
		if c.MaxAge >= 0 {
			j.cookies = append(j.cookies, k)
		}
	}
}

// put stores a cookie that another host or page has set, without a domain if domain is empty.
func (j *jar) put(host, name, value, domain string) {
	k := kept{name: name, value: value, domain: host, hostOnly: true, path: "/"}
	if domain != "" {
		k.domain, k.hostOnly = domain, false
	}
	j.cookies = append(j.cookies, k)
}

func domainMatch(host, domain string) bool {
	return host == domain || strings.HasSuffix(host, "."+domain)
}

// header returns the Cookie header of a request for path of host.
func (j *jar) header(host, path string) string {
	var pairs []string
	for _, k := range j.cookies {
		rest, below := strings.CutPrefix(path, k.path)
		if !below || rest != "" && rest[0] != '/' && !strings.HasSuffix(k.path, "/") { // RFC 6265, section 5.1.4
			continue
		}
		if k.hostOnly && k.domain == host || !k.hostOnly && domainMatch(host, k.domain) {
			pairs = append(pairs, k.name+"="+k.value)
		}
	}
	return strings.Join(pairs, "; ")
}

// values returns the values of a name, in the order in which they were set.
func (j *jar) values(name string) (values []string) {
	for _, k := range j.cookies {
		if k.name == name {
			values = append(values, k.value)
		}
	}
	return values
}

func (j *jar) has(value string) bool {
	return slices.ContainsFunc(j.cookies, func(k kept) bool { return k.value == value })
}

// A browser has a page of the service's own origin open, at host.
type browser struct {
	s    *service
	jar  jar
	host string
	// prefix begins the path at which the browser reaches the service, and a proxy removes it.
	prefix string
}

func (s *service) browser(h string) *browser { return &browser{s: s, host: h} }

// send sends a request as the page does, with the cookies of the browser, and keeps those of the response.
func (b *browser) send(t *testing.T, method, target string, options ...option) *answer {
	t.Helper()
	own := []option{host(b.host), header("Sec-Fetch-Site", "same-origin")}
	path, _, _ := strings.Cut(b.prefix+target, "?")
	if cookies := b.jar.header(strings.Split(b.host, ":")[0], path); cookies != "" {
		own = append(own, header("Cookie", cookies))
	}
	got := b.s.do(t, method, target, append(own, options...)...)
	b.jar.receive(strings.Split(b.host, ":")[0], got.header)
	return got
}

// login issues a session in cookies, which the login service forwards.
func (b *browser) login(t *testing.T, app string) grant {
	t.Helper()
	got := b.s.do(t, "POST", "/jwt/issue", backend, body(object{"applicationsId": app, "userId": "ada", "cookies": true}))
	b.jar.receive(strings.Split(b.host, ":")[0], got.want(t, 200).header)
	return got.grant(t)
}

func containsWord(list, word string) bool {
	return slices.ContainsFunc(strings.Split(list, ","), func(w string) bool { return strings.TrimSpace(w) == word })
}
