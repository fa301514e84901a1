package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/refreshd/refreshd/test/support/rig"
)

// The hosts of the world. All are the test's proxy. To a browser, the hosts below example.test are one site.
const (
	authHost      = "auth.app.example.test"  // the service, and pages of its own origin beside it
	wwwHost       = "www.app.example.test"   // the login service's pages: a configured origin
	otherHost     = "other.app.example.test" // a neighbour below the cookies' domain
	neighbourHost = "evil.example.test"      // a neighbour above it
	foreignHost   = "attacker.test"          // another site
)

const (
	key      = "ak_browser_browser_browser_browser"
	tenant   = "acme"
	stranger = "beta" // another tenant
)

const kickstart = `
tenants:
  - id: acme
    name: Acme
    applications:
      - {id: shop, name: Shop, cookieDomain: app.example.test}
      - {id: blog, name: Blog, cookieDomain: app.example.test}
      - id: storm
        name: Storm
        cookieDomain: app.example.test
        jwtConfiguration:
          refreshTokenOneTimeUseConfiguration: {gracePeriodInSeconds: 2, recoveryBurst: 100, recoveryInterval: 1000}
      - {id: sleeping, name: Sleeping, cookieDomain: app.example.test}
      - id: strict
        name: Strict
        cookieDomain: app.example.test
        jwtConfiguration: {refreshTokenOneTimeUseConfiguration: {gracePeriodInSeconds: 0, recoveryBurst: 0}}
      - {id: alone, name: Alone, cookieHostOnly: true}
      - {id: prefixed, name: Prefixed, cookieHostOnly: true, cookieName: __Host-refresh}
      - {id: one, name: One, cookieDomain: example.test, cookieName: one_refresh}
      - {id: two, name: Two, cookieDomain: example.test, cookieName: two_refresh}
      - {id: body, name: Body, cookieDomain: app.example.test, cookieOnly: false}
  - id: beta
    name: Beta
    applications:
      - {id: shop, name: Shop, cookieDomain: app.example.test}
apiKeys:
  - {name: backend, key: ` + key + `, permissions: {endpoints: {"*": ["*"]}}}
`

// world is the service behind a proxy with TLS, the pages, and the login service's backend.
type world struct {
	program  rig.Program
	settings rig.Settings
	service  *rig.Service
	proxy    *httptest.Server
	api      http.Handler // the service, as a browser reaches it

	mu      sync.Mutex
	delay   func(*http.Request) time.Duration // of the service's response on its way to the browser; nil: none
	reports chan<- json.RawMessage            // the reports of pages; nil: they are dropped
	seen    []request
}

// request is a request that reached the service.
type request struct {
	method  string
	origin  string
	cookies bool // whether it carried a refresh token's cookie
	status  int
}

// forget drops the recorded requests.
func (w *world) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen = nil
}

// requests returns the requests since forget.
func (w *world) requests() []request {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen
}

func newWorld(ctx context.Context, p rig.Program) (*world, error) {
	settings := rig.Settings{
		Database: "sqlite:" + filepath.Join(p.Dir, "browser.db"), Kickstart: kickstart,
		Env: []string{
			"REFRESHD_PUBLIC_URL=https://" + authHost, "REFRESHD_CORS_ORIGINS=https://" + wwwHost,
			"REFRESHD_TRUSTED_PROXIES=127.0.0.0/8",
		},
	}
	service, err := p.Serve(ctx, settings)
	if err != nil {
		return nil, err
	}
	w := &world{program: p, settings: settings, service: service}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: service.API})
			r.Out.Host = r.In.Host
			r.SetXForwarded()
		},
		Transport: &http.Transport{MaxIdleConnsPerHost: 64},
		ModifyResponse: func(r *http.Response) error {
			_, err := r.Request.Cookie("refresh_token")
			w.mu.Lock()
			delay := w.delay
			w.seen = append(w.seen, request{r.Request.Method, r.Request.Header.Get("Origin"), err == nil, r.StatusCode})
			w.mu.Unlock()
			if delay == nil {
				return nil
			}
			return rig.Sleep(r.Request.Context(), delay(r.Request))
		},
	}
	// A page that navigates away cancels its request. The page sees other failures.
	proxy.ErrorHandler = func(rw http.ResponseWriter, _ *http.Request, _ error) { rw.WriteHeader(http.StatusBadGateway) }
	w.api = proxy
	w.proxy = httptest.NewUnstartedServer(http.HandlerFunc(w.serve))
	w.proxy.EnableHTTP2 = true
	w.proxy.Config.ErrorLog = log.New(io.Discard, "", 0) // Chromium opens connections that it then does not need
	w.proxy.StartTLS()
	return w, nil
}

// stop stops everything. It fails if the service logged an error.
func (w *world) stop() error {
	w.proxy.CloseClientConnections()
	w.proxy.Close()
	var err error
	if lines := w.service.ErrorsLogged(); len(lines) > 0 {
		err = fmt.Errorf("the service logged an error: %s", lines[0])
	}
	return errors.Join(err, w.service.Stop())
}

// deactivate makes an application inactive, as an operator does.
func (w *world) deactivate(ctx context.Context, application string) error {
	settings := w.settings
	before, after, _ := strings.Cut(kickstart, "{id: "+application+",")
	settings.Kickstart = before + "{id: " + application + ", active: false," + after
	_, err := w.program.Run(ctx, settings, "apply")
	return err
}

func (w *world) address() string { return w.proxy.Listener.Addr().String() }

// slow delays the service's responses from now on; nil ends the delays.
func (w *world) slow(delay func(*http.Request) time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.delay = delay
}

// listen sets where pages report to, until it is called again.
func (w *world) listen(n int) <-chan json.RawMessage {
	reports := make(chan json.RawMessage, n)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reports = reports
	return reports
}

// serve serves every host. The pages of the test are below /test/, so that on the service's host they are beside the
// API.
func (w *world) serve(rw http.ResponseWriter, r *http.Request) {
	name, ok := strings.CutPrefix(r.URL.Path, "/test/")
	switch {
	case !ok && r.Host == authHost:
		w.api.ServeHTTP(rw, r)
	case name == "page":
		rw.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(rw, "<!doctype html><title>page</title><link rel=icon href=data:,>")
	case name == "storm":
		rw.Header().Set("Content-Type", "text/html; charset=utf-8")
		rw.Header().Set("Cache-Control", "no-store")
		_, _ = io.WriteString(rw, stormPage)
	case name == "set":
		var lines []string
		if err := json.NewDecoder(r.Body).Decode(&lines); err != nil {
			http.Error(rw, err.Error(), http.StatusBadRequest)
			return
		}
		for _, line := range lines {
			rw.Header().Add("Set-Cookie", line)
		}
	case name == "login":
		w.login(rw, r)
	case name == "report":
		text, err := io.ReadAll(r.Body)
		w.mu.Lock()
		defer w.mu.Unlock()
		if err == nil && w.reports != nil {
			w.reports <- text
		}
	default:
		http.NotFound(rw, r)
	}
}

// login is the login service: it knows the user, and passes on the cookies that the service sets.
func (w *world) login(rw http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	status, header, body, err := w.call(r.Context(), http.MethodPost, "/jwt/issue", tenant, object{
		"applicationsId": q.Get("application"), "userId": q.Get("user"), "cookies": true,
	})
	if err != nil || status != http.StatusOK {
		http.Error(rw, fmt.Sprintf("%d %s %v", status, body, err), http.StatusBadGateway)
		return
	}
	for _, line := range header.Values("Set-Cookie") {
		rw.Header().Add("Set-Cookie", line)
	}
}

// call sends a request of a backend with an API key, without the proxy.
func (w *world) call(ctx context.Context, method, path, tenant string, body any) (int, http.Header, []byte, error) {
	asked := rig.Request{Method: method, Path: path, Key: "Bearer " + key, Tenant: tenant}
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return 0, nil, nil, err
		}
		asked.Body = string(text)
	}
	a, err := asked.Do(ctx, rig.Client, w.service.API)
	return a.Status, a.Header, a.Body, err
}

// session is a refresh token as issued.
type session struct {
	tenant, application, user string
	ID                        string `json:"refreshTokenId"`
	String                    string `json:"refreshToken"`
	Token                     string `json:"token"`
}

func (w *world) issue(ctx context.Context, tenant, application, user string, more object) (session, error) {
	body := object{"applicationsId": application, "userId": user}
	for name, value := range more {
		body[name] = value
	}
	status, _, text, err := w.call(ctx, http.MethodPost, "/jwt/issue", tenant, body)
	if err != nil {
		return session{}, err
	}
	a := struct{ Data session }{session{tenant: tenant, application: application, user: user}}
	if status != http.StatusOK {
		return session{}, fmt.Errorf("issue: status %d: %s", status, text)
	}
	return a.Data, json.Unmarshal(text, &a)
}

func (w *world) revoke(ctx context.Context, s session) error {
	status, _, text, err := w.call(ctx, http.MethodDelete, "/jwt/refresh/"+s.ID, s.tenant, nil)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("revoke: status %d: %s", status, text)
	}
	return err
}

// generation returns the generation of an active session, and 0 if it has ended.
func (w *world) generation(ctx context.Context, tenant, id string) (int, error) {
	status, _, text, err := w.call(ctx, http.MethodGet, "/jwt/refresh/"+id, tenant, nil)
	var a struct{ Data struct{ Generation int } }
	switch {
	case err != nil:
		return 0, err
	case status == http.StatusNotFound:
		return 0, nil
	case status != http.StatusOK:
		return 0, fmt.Errorf("retrieve: status %d: %s", status, text)
	}
	err = json.Unmarshal(text, &a)
	return a.Data.Generation, err
}

// exchangeString exchanges as a device without cookies does, and returns the outcome.
func (w *world) exchangeString(ctx context.Context, tokenString string) (outcome string, err error) {
	_, header, _, err := w.call(ctx, http.MethodPost, "/jwt/refresh", tenant, object{"refreshToken": tokenString})
	return header.Get("Refreshd-Outcome"), err
}

// claims are the claims of an access token.
type claims struct {
	Subject     string `json:"sub"`
	Application string `json:"applicationId"`
	Tenant      string `json:"tid"`
	Session     string `json:"sid"`
}
