package e2e_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/refreshd/refreshd/test/support/rig"
)

// The API keys of testdata/kickstart.yaml.
var (
	acmeKey    = newAPIKey()
	readerKey  = newAPIKey()
	rivalKey   = newAPIKey()
	expiredKey = newAPIKey()
)

const (
	asJSON = "application/json"
	asForm = "application/x-www-form-urlencoded"
)

// client sends requests to one service.
type client struct {
	url  atomic.Pointer[string] // changes when the service restarts
	http *http.Client
}

func newClient() *client {
	return &client{http: &http.Client{
		Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 256, MaxConnsPerHost: 256},
	}}
}

func (c *client) setURL(base string) { c.url.Store(&base) }
func (c *client) URL() string        { return *c.url.Load() }

// call is a request. The zero values of the last three send nothing.
type call struct {
	method, path string
	body         string
	media        string // application/json if there is a body
	key, tenant  string
	header       map[string]string
}

// acme returns c as the backend of tenant acme.
func acme(c call) call { return as(c, acmeKey, "acme") }

// rival returns c as the backend of tenant rival.
func rival(c call) call { return as(c, rivalKey, "rival") }

func as(c call, key, tenant string) call {
	c.key, c.tenant = key, tenant
	return c
}

// answer is a response that was read to its end.
type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) String() string { return fmt.Sprintf("%d %s", a.status, a.body) }

type grant struct {
	RefreshToken   string `json:"refreshToken"`
	RefreshTokenID string `json:"refreshTokenId"`
	Token          string `json:"token"`
	// The seconds left.
	ExpiresIn             int64 `json:"expiresIn"`
	RefreshTokenExpiresIn int64 `json:"refreshTokenExpiresIn"`
}

type record struct {
	ID            string `json:"id"`
	TenantID      string `json:"tenantId"`
	ApplicationID string `json:"applicationsId"`
	UserID        string `json:"userId"`
	Generation    uint32 `json:"generation"`
}

// do sends c. It remembers the secrets in the response.
func (c *client) do(r call) (answer, error) {
	address := strings.TrimPrefix(c.URL(), "http://")
	asked := rig.Request{
		Method: r.method, Path: r.path, Body: r.body, Media: r.media, Key: r.key, Tenant: r.tenant, Header: r.header,
	}
	res, err := asked.Do(context.Background(), c.http, address)
	if err != nil {
		return answer{}, err
	}
	a := answer{res.Status, res.Header, string(res.Body)}
	if g, err := a.grant(); err == nil {
		remember("token string", g.RefreshToken)
		remember("access token", g.Token)
	}
	for _, cookie := range (&http.Response{Header: res.Header}).Cookies() {
		remember("token in a cookie", cookie.Value)
	}
	return a, nil
}

func (c *client) mustDo(t *testing.T, r call) answer {
	t.Helper()
	a, err := c.do(r)
	if err != nil {
		t.Fatalf("%s %s: %v", r.method, r.path, err)
	}
	return a
}

// want is mustDo for a response with that status and, if it is 400, with exactly that code.
func (c *client) want(t *testing.T, r call, status int, codes ...string) answer {
	t.Helper()
	a := c.mustDo(t, r)
	if a.status != status || status == http.StatusBadRequest && !slices.Equal(a.codes(), codes) {
		t.Fatalf("%s %s: got %s, want %d %s", r.method, r.path, a, status, codes)
	}
	return a
}

func (a answer) grant() (g grant, err error) {
	e := struct{ Data *grant }{&g}
	err = json.Unmarshal([]byte(a.body), &e)
	return g, err
}

func (a answer) record(t *testing.T) (r record) {
	t.Helper()
	e := struct{ Data *record }{&r}
	if err := json.Unmarshal([]byte(a.body), &e); err != nil {
		t.Fatalf("%v: %s", err, a)
	}
	return r
}

func (a answer) records(t *testing.T) (r []record) {
	t.Helper()
	e := struct{ Data *[]record }{&r}
	if err := json.Unmarshal([]byte(a.body), &e); err != nil {
		t.Fatalf("%v: %s", err, a)
	}
	return r
}

// codes returns those of a 400, in order, or nil if the body is not that of a 400.
func (a answer) codes() []string {
	var e struct {
		Success *bool
		Message string
		Errors  struct {
			FieldErrors   map[string][]struct{ Code, Message string }
			GeneralErrors []struct{ Code, Message string }
		}
	}
	if json.Unmarshal([]byte(a.body), &e) != nil || e.Success == nil || *e.Success || e.Message == "" {
		return nil
	}
	var codes []string
	for _, problem := range e.Errors.GeneralErrors {
		codes = append(codes, problem.Code)
	}
	for _, problems := range e.Errors.FieldErrors {
		for _, problem := range problems {
			codes = append(codes, problem.Code)
		}
	}
	slices.Sort(codes)
	return codes
}

func issueCall(user, application string) call {
	return acme(call{method: "POST", path: "/jwt/issue", body: object("userId", user, "applicationsId", application)})
}

func exchangeCall(tokenString string) call {
	return call{method: "POST", path: "/jwt/refresh", body: object("refreshToken", tokenString)}
}

// object returns a JSON object of strings.
func object(pairs ...string) string {
	m := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	b, _ := json.Marshal(m)
	return string(b)
}

func form(pairs ...string) string {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1])
	}
	return v.Encode()
}

func (c *client) issue(t *testing.T, user, application string) grant {
	t.Helper()
	return c.granted(t, issueCall(user, application))
}

func (c *client) exchange(t *testing.T, tokenString string) grant {
	t.Helper()
	return c.granted(t, exchangeCall(tokenString))
}

func (c *client) granted(t *testing.T, r call) grant {
	t.Helper()
	g, err := c.want(t, r, http.StatusOK).grant()
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// outcome exchanges, and returns the outcome and what was granted, if anything was.
func (c *client) outcome(t *testing.T, tokenString string) (string, grant) {
	t.Helper()
	a := c.mustDo(t, exchangeCall(tokenString))
	g, _ := a.grant()
	if (a.status == http.StatusOK) != (g.RefreshToken != "") {
		t.Fatalf("exchange: %s", a)
	}
	return a.header.Get("Refreshd-Outcome"), g
}

// refused checks that an exchange is refused with that code.
func (c *client) refused(t *testing.T, tokenString, code string) {
	t.Helper()
	c.want(t, exchangeCall(tokenString), http.StatusBadRequest, code)
}

var secondsLeft = regexp.MustCompile(`("(?:expiresIn|refreshTokenExpiresIn)":)\d+`)

// steady returns a with zero for each number of seconds, the only difference between the bodies of retries.
func (a answer) steady() string {
	return fmt.Sprintf("%d %s", a.status, secondsLeft.ReplaceAllString(a.body, "${1}0"))
}

// concurrently sends n requests concurrently, and returns the distinct responses, as steady returns them, and how often
// each came.
func (c *client) concurrently(t *testing.T, n int, r call) map[string]int {
	t.Helper()
	var (
		group   sync.WaitGroup
		mu      sync.Mutex
		answers = map[string]int{}
		gate    = make(chan struct{})
	)
	for range n {
		group.Go(func() {
			<-gate
			a, err := c.do(r)
			if err != nil {
				a.body = err.Error()
			}
			mu.Lock()
			defer mu.Unlock()
			answers[a.steady()]++
		})
	}
	close(gate)
	group.Wait()
	return answers
}

// generation returns that of a token string.
func generation(tokenString string) uint32 {
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(tokenString, "rt_"))
	if err != nil || len(b) != 48 {
		return 0
	}
	return binary.BigEndian.Uint32(b[20:24])
}

func keysOf[V any](m map[string]V) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// pretty returns a JSON text indented, so that a comparison shows differences.
func pretty(s string) string {
	var b bytes.Buffer
	if json.Indent(&b, []byte(s), "", " ") != nil {
		return s
	}
	return b.String()
}
