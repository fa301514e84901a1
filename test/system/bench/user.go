package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"time"
)

// line is a connection to the service, for one request at a time. It is cheap, because driver and service share the
// machine.
type line struct {
	address string
	conn    net.Conn
	in      *bufio.Reader
	response
}

func (l *line) dial() (err error) {
	if l.conn, err = net.Dial("tcp", l.address); err != nil {
		return fmt.Errorf("connect to the service: %w", err)
	}
	l.in = bufio.NewReaderSize(l.conn, 4096)
	return nil
}

// call sends the bytes of a request. The response is in the line until the next call.
func (l *line) call(request []byte) (status int, err error) {
	if _, err := l.conn.Write(request); err != nil {
		return 0, fmt.Errorf("send a request: %w", err)
	}
	err = l.read(l.in)
	return l.status, err
}

// responseTimeout is how long a response may take. A service that hangs is an error.
const responseTimeout = 15 * time.Second

// connect connects lines for a while, and closes them when ctx is done. They are connected only while they send
// requests, because the service closes idle connections.
func connect[L interface{ connection() *line }](
	ctx context.Context, lines []L, atMost time.Duration,
) (disconnect func(), err error) {
	var connected []net.Conn
	for _, l := range lines {
		l := l.connection()
		if err = l.dial(); err != nil {
			break
		}
		l.conn.SetDeadline(time.Now().Add(atMost + responseTimeout))
		connected = append(connected, l.conn)
	}
	release := context.AfterFunc(ctx, func() {
		for _, c := range connected {
			c.SetDeadline(time.Unix(1, 0))
		}
	})
	return func() {
		release()
		for _, c := range connected {
			c.Close()
		}
	}, err
}

func (l *line) connection() *line { return l }

// rotated is the outcome of an exchange that moves to the next generation.
const rotated = "rotated"

// user is a virtual user: a device that presents its current token string. The request is written once, and only the
// string in it changes.
type user struct {
	line
	request []byte
	current []byte // the token string, within request
	id      string // of the refresh token
}

func newUser(address, tokenString, id string) (*user, error) {
	if len(tokenString) != tokenStringLength {
		return nil, fmt.Errorf("%d characters are not a token string", len(tokenString))
	}
	u := &user{line: line{address: address}, id: id}
	body := `{"refreshToken":"` + tokenString + `"}`
	u.request = fmt.Appendf(nil, "POST /jwt/refresh HTTP/1.1\r\nHost: %s\r\n"+
		"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		address, len(body), body)
	end := len(u.request) - len(`"}`) // not searched by its prefix, which may occur within a token string again
	u.current = u.request[end-tokenStringLength : end]
	return u, nil
}

// present sends the current string, and returns the grant, which is valid until the next call.
func (u *user) present() (grant, error) {
	status, err := u.call(u.request)
	if err != nil {
		return grant{}, err
	}
	return u.granted(status)
}

// granted returns the grant of the last response.
func (u *user) granted(status int) (grant, error) {
	g, err := parseGrant(status, u.body)
	if err == nil && string(g.id) != u.id {
		err = fmt.Errorf("the response is of refresh token %q, want %q", g.id, u.id)
	}
	return g, err
}

// retry presents its string, and checks that the grant is the same as before.
func (u *user) retry(want grant) error {
	g, err := u.present()
	if err == nil && (string(u.outcome) != "retried" || !g.equal(want)) {
		err = fmt.Errorf("a retry got %s, and the exchange %s: %s", u.outcome, want.tokenString, u.body)
	}
	return err
}

// exchange presents the current string, and keeps the new one.
func (u *user) exchange() error {
	status, err := u.call(u.request)
	if err != nil {
		return err
	}
	return u.take(status)
}

// take keeps the string of the last response.
func (u *user) take(status int) error {
	g, err := u.granted(status)
	if err != nil {
		return err
	}
	if string(u.outcome) != rotated || bytes.Equal(g.tokenString, u.current) {
		return fmt.Errorf("the outcome of an exchange of refresh token %s is %q, want %q and a new string", u.id,
			u.outcome, rotated)
	}
	copy(u.current, g.tokenString)
	return nil
}
