package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
)

// answerTimeout is how long a client waits. A request without an answer by then has none.
const answerTimeout = 10 * time.Second

// newClient has a client address of its own.
func newClient(source string, timeout time.Duration) *http.Client {
	return &http.Client{Timeout: timeout, Transport: &http.Transport{
		DialContext: dialer(source).DialContext, MaxIdleConnsPerHost: 256, DisableCompression: true,
	}}
}

func dialer(source string) *net.Dialer {
	return &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}, Timeout: answerTimeout}
}

// address is the n-th of a block: of the honest users 1, of attackers 2, of what shares an address 3.
func address(block, n int) string { return fmt.Sprintf("127.0.%d.%d", block, 1+n%250) }

// request is one to a service.
type request struct {
	Method, Path string
	Key, Tenant  string // neither is sent where it is empty
	Body         string // JSON
}

type response struct {
	status int
	body   []byte
}

func do(ctx context.Context, c *http.Client, host string, r request) (response, error) {
	q, err := http.NewRequestWithContext(ctx, r.Method, "http://"+host+r.Path, bytes.NewReader([]byte(r.Body)))
	if err != nil {
		return response{}, err
	}
	r.head(q.Header.Set)
	a, err := c.Do(q)
	if err != nil {
		return response{}, err
	}
	defer a.Body.Close()
	body, err := io.ReadAll(a.Body)
	return response{a.StatusCode, body}, err
}

func (r request) head(set func(name, value string)) {
	if r.Key != "" {
		set("Authorization", r.Key)
	}
	if r.Tenant != "" {
		set("X-Stencil-TenantId", r.Tenant)
	}
	if r.Body != "" {
		set("Content-Type", "application/json")
	}
}

// raw is the request as bytes, for clients that send many.
func (r request) raw(host string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", r.Method, r.Path, host)
	r.head(func(name, value string) { fmt.Fprintf(&b, "%s: %s\r\n", name, value) })
	if r.Body != "" {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(r.Body))
	}
	b.WriteString("\r\n" + r.Body)
	return b.Bytes()
}

// session is what a client holds of a refresh token.
type session struct{ id, current string }

func exchangeOf(tokenString string) request {
	return request{Method: http.MethodPost, Path: "/jwt/refresh", Body: `{"refreshToken":"` + tokenString + `"}`}
}

// granted reads what an issue or an exchange was answered with.
func granted(a response) (session, error) {
	var b struct {
		Data struct{ RefreshToken, RefreshTokenID string }
	}
	if a.status != http.StatusOK {
		return session{}, fmt.Errorf("status %d: %s", a.status, a.body)
	}
	if err := json.Unmarshal(a.body, &b); err != nil || b.Data.RefreshToken == "" {
		return session{}, fmt.Errorf("the answer grants nothing: %s", a.body)
	}
	return session{b.Data.RefreshTokenID, b.Data.RefreshToken}, nil
}

// counts are the answers of many requests, by status. Those without an answer count under 0.
type counts map[int]int

func (c counts) add(other counts) {
	for status, n := range other {
		c[status] += n
	}
}

func (c counts) String() string { return c.per(1) }

// per divides each by the seconds.
func (c counts) per(seconds float64) string {
	var parts []string
	for _, status := range slices.Sorted(maps.Keys(c)) {
		parts = append(parts, fmt.Sprintf("%d: %.0f", status, float64(c[status])/seconds))
	}
	return strings.Join(parts, ", ")
}

func (c counts) total() (n int) {
	for _, v := range c {
		n += v
	}
	return n
}
