package e2e_test

import (
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A client that hangs up in the middle of its request does not affect others: no connection to the database is closed
// or opened for it.
func TestClientsThatHangUpCostNoDatabaseConnection(t *testing.T) {
	const connections, sockets, each = 4, 4, 200
	const stamping = 1 // connection of the feed: without streams it only stamps
	d := newDatabase(t, postgreSQL).migrated(t)
	v := start(t, d, settings{env: []string{fmt.Sprint("REFRESHD_DATABASE_MAX_CONNECTIONS=", connections)}})
	db := d.open(t)
	processes := func() []string {
		return rows(t, db, `SELECT pid FROM pg_stat_activity
			WHERE application_name = 'refreshd' AND datname = current_database()`)
	}
	g := v.issue(t, "alice", "shop")
	body := `{"refreshToken":"` + g.RefreshToken + `"}`
	host := strings.TrimPrefix(v.URL(), "http://")
	request := func(method, path, headers, body string) string {
		return fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s\r\n%sContent-Length: %d\r\n\r\n%s",
			method, path, host, headers, len(body), body)
	}
	backend := "Authorization: " + acmeKey + "\r\nX-Stencil-TenantId: acme\r\n"
	requests := []string{
		request("GET", "/readyz", "", ""),
		request("GET", "/t/acme/.well-known/jwks.json", "", ""),
		request("GET", "/jwt/refresh?userId=alice", backend, ""),
		request("POST", "/jwt/refresh", "Content-Type: application/json\r\nX-Stencil-TenantId: acme\r\n", body),
	}
	flood := func(n int, hangUp bool) {
		var group sync.WaitGroup
		for i := range sockets {
			group.Go(func() {
				for j := range n {
					c, err := net.Dial("tcp", host)
					if err != nil {
						t.Error(err)
						return
					}
					if _, err := c.Write([]byte(requests[(i+j)%len(requests)])); err != nil {
						t.Error(err)
					}
					if hangUp {
						// Clients hang up before, during and after the processing of their request.
						time.Sleep(time.Duration(j%8) * 200 * time.Microsecond)
						err = c.(*net.TCPConn).SetLinger(0) // a reset, which the service receives immediately
					} else {
						_, err = c.Read(make([]byte, 1))
					}
					if err != nil {
						t.Error(err)
					}
					c.Close()
				}
			})
		}
		group.Wait()
	}
	v.await("the pool is full", func() bool {
		flood(10, false)
		return len(processes()) == connections+stamping
	})
	before := processes()
	flood(each, true)
	if after := processes(); !slices.Equal(after, before) {
		t.Errorf("the server's processes were %q and are %q after %d clients hung up; want the same",
			before, after, sockets*each)
	}
	v.want(t, call{method: "GET", path: "/readyz"}, http.StatusOK)
	v.exchange(t, g.RefreshToken)
}
