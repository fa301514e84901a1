package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/refreshd/refreshd/test/support/rig"
)

// library is the functions that a page's scripts call, as the scripts of an application do.
const library = `
const api = 'https://` + authHost + `';
// exchange returns the status, the code of a refusal, the outcome, and the response's data.
async function exchange(options) {
  const query = options && options.cookieName ? '?cookieName=' + options.cookieName : '';
  const headers = options && options.tenant ? {'X-Stencil-TenantId': options.tenant} : {};
  const r = await fetch(api + '/jwt/refresh' + query, {method: 'POST', credentials: 'include', headers});
  return answer(r);
}
async function logout(options) {
  const headers = {'X-Stencil-TenantId': options.tenant};
  if (options.token) headers.Authorization = 'Bearer ' + options.token;
  const query = options.cookieName ? '?cookieName=' + options.cookieName : '';
  const path = '/jwt/refresh' + (options.id ? '/' + options.id : '') + query;
  return answer(await fetch(api + path, {method: 'DELETE', credentials: 'include', headers}));
}
async function answer(r) {
  const text = await r.text();
  const body = text ? JSON.parse(text) : {};
  const fields = body.errors && body.errors.fieldErrors || {};
  const codes = Object.values(fields).flat().map(e => e.code);
  return {status: r.status, outcome: r.headers.get('Refreshd-Outcome') || '', codes, data: body.data || {}};
}
// login logs in at the login service on this page's host.
async function login(application, user) {
  const r = await fetch('/test/login?application=' + application + '&user=' + user);
  if (!r.ok) throw new Error('login: ' + await r.text());
}
// set has a host set cookies, as that host's own responses do.
async function set(host, lines) {
  await fetch('https://' + host + '/test/set',
    {method: 'POST', mode: 'no-cors', credentials: 'include', body: JSON.stringify(lines)});
}
`

// answer is the response to a page.
type answer struct {
	Status  int
	Outcome string
	Codes   []string
	Data    struct {
		RefreshToken   *string
		RefreshTokenID string
		Token          string
	}
}

func (a answer) ok() bool { return a.Status == 200 }

func (a answer) String() string {
	if a.ok() {
		return fmt.Sprintf("%d %s", a.Status, a.Outcome)
	}
	return strings.TrimSpace(fmt.Sprintf("%d %s", a.Status, strings.Join(a.Codes, " ")))
}

// who is the user and the session of an exchange.
func (a answer) who() (c claims, err error) {
	err = rig.ReadClaims(a.Data.Token, &c)
	return c, err
}

func (t *page) run(ctx context.Context, body string, given, result any) error {
	return t.eval(ctx, library+body, given, result)
}

func (t *page) exchange(ctx context.Context, options object) (a answer, err error) {
	err = t.run(ctx, "return exchange(given);", options, &a)
	return a, err
}

func (t *page) logout(ctx context.Context, options object) (a answer, err error) {
	err = t.run(ctx, "return logout(given);", options, &a)
	return a, err
}

func (t *page) login(ctx context.Context, application, user string) error {
	return t.run(ctx, "await login(given[0], given[1]);", []string{application, user}, nil)
}

func (t *page) set(ctx context.Context, host string, lines ...string) error {
	return t.run(ctx, "await set(given.host, given.lines);", object{"host": host, "lines": lines}, nil)
}

// form is how a cookie was set: what distinguishes it from others of its name in a jar.
type form struct {
	domain      string // empty: host-only
	path        string // empty: /
	partitioned bool
}

func (f form) line(name, value string) string {
	path := f.path
	if path == "" {
		path = "/"
	}
	line := fmt.Sprintf("%s=%s; Path=%s; Max-Age=86400; Secure; HttpOnly; SameSite=Lax", name, value, path)
	if f.domain != "" {
		line += "; Domain=" + f.domain
	}
	if f.partitioned {
		line += "; Partitioned"
	}
	return line
}

func (f form) String() string {
	s := "host-only"
	if f.domain != "" {
		s = "Domain=" + f.domain
	}
	if f.path != "" {
		s += " Path=" + f.path
	}
	if f.partitioned {
		s += " Partitioned"
	}
	return s
}

// withName returns the cookies of those names.
func withName(cookies []cookie, names ...string) (found []cookie) {
	for _, c := range cookies {
		if slices.Contains(names, c.Name) {
			found = append(found, c)
		}
	}
	return found
}

func describe(cookies []cookie) string {
	if len(cookies) == 0 {
		return "none"
	}
	var all []string
	for _, c := range cookies {
		all = append(all, fmt.Sprintf("%s (%s%s)", c.Name, c.Domain, c.Path))
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}
