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

func do(ctx context.Context, c *http.Client, host string, r rig.Request) (rig.Response, error) {
	return r.Do(ctx, c, host)
}

// session is what a client holds of a refresh token.
type session struct{ id, current string }

func exchangeOf(tokenString string) rig.Request {
	return rig.Request{Method: http.MethodPost, Path: "/jwt/refresh", Body: `{"refreshToken":"` + tokenString + `"}`}
}

// granted reads what an issue or an exchange was answered with.
func granted(a rig.Response) (session, error) {
	var g struct{ RefreshToken, RefreshTokenID string }
	if err := a.Data(&g); err != nil || g.RefreshToken == "" {
		return session{}, fmt.Errorf("%s grants nothing: %v", a, err)
	}
	return session{g.RefreshTokenID, g.RefreshToken}, nil
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
