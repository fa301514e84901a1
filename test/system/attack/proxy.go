package main

import (
	"io"
	"net"
	"net/url"
	"sync/atomic"
)

// proxy stands before PostgreSQL, and counts the connections that are opened: attempts too, which PostgreSQL's own
// counters leave out when the client is gone before they are accepted.
type proxy struct {
	listener net.Listener
	opened   atomic.Int64
}

func newProxy(to string) (*proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{listener: l}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.opened.Add(1)
			go join(c, to)
		}
	}()
	return p, nil
}

// join copies in both directions until either side ends.
func join(c net.Conn, to string) {
	defer c.Close()
	s, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer s.Close()
	ended := make(chan struct{}, 2)
	for _, d := range [][2]net.Conn{{c, s}, {s, c}} {
		go func() {
			_, _ = io.Copy(d[0], d[1]) // how it ends is its clients' to see
			ended <- struct{}{}
		}()
	}
	<-ended
}

// behind is the DSN of a database as it is reached through a proxy, which ends with the part.
func (a *attack) behind(dsn string) (p *proxy, through string, err error) {
	u, err := url.Parse(dsn)
	if err != nil {
		return nil, "", err
	}
	if p, err = newProxy(u.Host); err != nil {
		return nil, "", err
	}
	a.later(p.listener.Close)
	u.Host = p.listener.Addr().String()
	return p, u.String(), nil
}
