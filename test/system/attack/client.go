package main

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/refreshd/refreshd/test/support/rig"
)

// answerTimeout is how long a client waits. After that a request counts as one without a response.
const answerTimeout = 10 * time.Second

// newClient returns a client with an address of its own.
func newClient(source string, timeout time.Duration) *http.Client {
	return &http.Client{Timeout: timeout, Transport: &http.Transport{
		DialContext: dialer(source).DialContext, MaxIdleConnsPerHost: 256, DisableCompression: true,
	}}
}

func dialer(source string) *net.Dialer {
	return &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}, Timeout: answerTimeout}
}

// address returns the n-th address of a block: 1 for honest users, 2 for attackers, 3 for those who share an address.
func address(block, n int) string { return fmt.Sprintf("127.0.%d.%d", block, 1+n%250) }

func do(ctx context.Context, c *http.Client, host string, r rig.Request) (rig.Response, error) {
	return r.Do(ctx, c, host)
}

// session is a refresh token as its client has it.
type session struct{ id, current string }

func exchangeOf(tokenString string) rig.Request {
	return rig.Request{Method: http.MethodPost, Path: "/jwt/refresh", Body: `{"refreshToken":"` + tokenString + `"}`}
}

// granted reads the response to an issue or an exchange.
func granted(a rig.Response) (session, error) {
	var g struct{ RefreshToken, RefreshTokenID string }
	if err := a.Data(&g); err != nil || g.RefreshToken == "" {
		return session{}, fmt.Errorf("%s has no tokens: %v", a, err)
	}
	return session{g.RefreshTokenID, g.RefreshToken}, nil
}

// counts are the responses to many requests, by status. A request without a response counts under 0.
type counts map[int]int

func (c counts) add(other counts) {
	for status, n := range other {
		c[status] += n
	}
}

func (c counts) String() string { return c.per(1) }

// per returns each count per second.
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
