package main

import (
	"io"
	"net"
	"net/url"
	"sync/atomic"
)

// proxy is a proxy of PostgreSQL that counts connections, including attempts: PostgreSQL's own counters omit those
// whose client disconnects before they are accepted.
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
			_, _ = io.Copy(d[0], d[1]) // its clients see how it ends
			ended <- struct{}{}
		}()
	}
	<-ended
}

// behind returns the DSN of a database behind a proxy that ends with the part.
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
