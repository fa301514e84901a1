package main

import (
	"net"
	"sync"
)

// network forwards TCP connections to an address until it is cut: then nothing arrives any more, and
// no connection is closed.
type network struct {
	listener net.Listener
	to       string
	mu       sync.Mutex
	isCut    bool
	ends     []net.Conn
	group    sync.WaitGroup
}

func newNetwork(to string) (*network, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	n := &network{listener: l, to: to}
	n.group.Go(n.accept)
	return n, nil
}

func (n *network) address() string { return n.listener.Addr().String() }

func (n *network) accept() {
	for {
		near, err := n.listener.Accept()
		if err != nil {
			return
		}
		n.group.Go(func() { n.connect(near) })
	}
}

// connect forwards a connection. One that is opened after the cut is accepted, as by a proxy, and never served.
func (n *network) connect(near net.Conn) {
	if !n.add(near) {
		return
	}
	far, err := net.Dial("tcp", n.to)
	if err != nil {
		near.Close()
		return
	}
	if !n.add(far) {
		far.Close()
		return
	}
	n.group.Go(func() { n.forward(far, near) })
	n.forward(near, far)
}

// add remembers a connection, and reports whether the network is whole.
func (n *network) add(c net.Conn) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ends = append(n.ends, c)
	return !n.isCut
}

func (n *network) forward(to, from net.Conn) {
	buffer := make([]byte, 32<<10)
	for {
		k, err := from.Read(buffer)
		n.mu.Lock()
		isCut := n.isCut
		n.mu.Unlock()
		switch {
		case isCut:
			return
		case k > 0:
			if _, e := to.Write(buffer[:k]); e != nil {
				err = e
			}
		}
		if err != nil {
			to.Close()
			from.Close()
			return
		}
	}
}

func (n *network) cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.isCut = true
}

func (n *network) close() error {
	err := n.listener.Close()
	n.cut()
	n.mu.Lock()
	for _, c := range n.ends {
		c.Close()
	}
	n.mu.Unlock()
	n.group.Wait()
	return err
}
