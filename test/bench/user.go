package main

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
)

// user is a virtual one: a device with a connection of its own, which presents the token string that it was last given. It is made
// to cost little, because driver and service share the machine: the request is written once, and only the string in it changes.
//
// It is connected only while it calls: the service closes a connection on which nothing comes.
type user struct {
	address string
	conn    net.Conn
	in      *bufio.Reader
	request []byte
	current []byte // the token string, within request
	id      string // of the refresh token
	body    []byte
}

func newUser(address, tokenString, id string) (*user, error) {
	if len(tokenString) != tokenStringLength {
		return nil, fmt.Errorf("%d characters are no token string", len(tokenString))
	}
	u := &user{address: address, id: id}
	body := `{"refreshToken":"` + tokenString + `"}`
	u.request = fmt.Appendf(nil, "POST /jwt/refresh HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		address, len(body), body)
	at := bytes.LastIndex(u.request, []byte("rt_"))
	u.current = u.request[at : at+tokenStringLength]
	return u, nil
}

func (u *user) connect() (err error) {
	if u.conn, err = net.Dial("tcp", u.address); err != nil {
		return fmt.Errorf("connect to the service: %w", err)
	}
	u.in = bufio.NewReaderSize(u.conn, 4096)
	return nil
}

// present sends the current string, and returns the answer, which is good until the next call.
func (u *user) present() (grant, error) {
	if _, err := u.conn.Write(u.request); err != nil {
		return grant{}, fmt.Errorf("send an exchange: %w", err)
	}
	status, body, err := readAnswer(u.in, u.body)
	u.body = body
	if err != nil {
		return grant{}, err
	}
	g, err := parseGrant(status, body)
	if err == nil && string(g.id) != u.id {
		err = fmt.Errorf("the answer is of refresh token %q, want %q", g.id, u.id)
	}
	return g, err
}

// exchange presents the current string, and keeps the one that it is given.
func (u *user) exchange() error {
	g, err := u.present()
	if err != nil {
		return err
	}
	if bytes.Equal(g.tokenString, u.current) {
		return fmt.Errorf("refresh token %s was not rotated", u.id)
	}
	copy(u.current, g.tokenString)
	return nil
}
