package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/Shopify/toxiproxy/v2/stream"
	"github.com/Shopify/toxiproxy/v2/toxics"
	"github.com/rs/zerolog"
)

// wire is a connection between two processes that can be made to fail, in one direction or both.
type wire struct {
	proxy *toxiproxy.Proxy
	mu    sync.Mutex
	ill   bool
}

var proxies = toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())

func newWire(name, listen, to string) (*wire, error) {
	p := toxiproxy.NewProxy(proxies, name, listen, to)
	if err := p.Start(); err != nil {
		return nil, fmt.Errorf("the network before %s: %w", to, err)
	}
	return &wire{proxy: p}, nil
}

// illness is a failure of a wire, as toxiproxy describes it. toCaller reports that it is in the direction of the
// responses; otherwise it is in the direction of the requests.
type illness struct {
	kind, attributes string
	toCaller         bool
}

// held is a proxy that keeps a response back until the connection ends, or until it heals.
const held = "hold"

func init() {
	toxics.Register(held, new(holdToxic))
	zerolog.SetGlobalLevel(zerolog.Disabled) // of the logger that toxics use, which is not the proxies'
}

// holdToxic implements the illness held. It loses nothing.
type holdToxic struct{}

// NewState implements toxics.StatefulToxic.
func (*holdToxic) NewState() any { return &[]*stream.StreamChunk{} }

// Pipe implements toxics.Toxic.
func (*holdToxic) Pipe(stub *toxics.ToxicStub) {
	kept := stub.State.(*[]*stream.StreamChunk)
	flush := func() {
		for _, c := range *kept {
			stub.Output <- c
		}
		*kept = nil
	}
	for {
		select {
		case <-stub.Interrupt:
			flush()
			return
		case c := <-stub.Input:
			if c == nil {
				flush()
				stub.Close()
				return
			}
			*kept = append(*kept, c)
		}
	}
}

// fall makes most connections of the wire fail, open ones too.
func (w *wire) fall(i illness) error { return w.fallWith(i, 0.7) }

// fallFully makes all of them fail.
func (w *wire) fallFully(i illness) error { return w.fallWith(i, 1) }

func (w *wire) fallWith(i illness, share float64) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ill {
		return errBusy
	}
	stream := "upstream"
	if i.toCaller {
		stream = "downstream"
	}
	_, err := w.proxy.Toxics.AddToxicJson(strings.NewReader(fmt.Sprintf(
		`{"name": "ill", "type": %q, "stream": %q, "toxicity": %g, "attributes": {%s}}`, i.kind, stream, share,
		i.attributes)))
	w.ill = err == nil
	return err
}

// isolate makes every connection of the wire fail, in one direction or in both, until it is healed: what is sent is
// lost, and neither side learns of it.
func (w *wire) isolate(directions ...string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ill {
		return errBusy
	}
	for _, direction := range directions {
		if _, err := w.proxy.Toxics.AddToxicJson(strings.NewReader(fmt.Sprintf(
			`{"name": %q, "type": "timeout", "stream": %[1]q, "toxicity": 1, "attributes": {"timeout": 0}}`, direction,
		))); err != nil {
			return err
		}
	}
	w.ill = true
	return nil
}

// join heals a wire that isolate has cut.
func (w *wire) join(ctx context.Context, directions ...string) (err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ill = false
	for _, direction := range directions {
		err = errors.Join(err, w.proxy.Toxics.RemoveToxic(ctx, direction))
	}
	return err
}

// heal removes the failure.
func (w *wire) heal(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ill = false
	return w.proxy.Toxics.RemoveToxic(ctx, "ill")
}

// cut closes every connection. New ones are accepted immediately.
func (w *wire) cut() error {
	w.proxy.Stop()
	return w.proxy.Start()
}

func (w *wire) close() { w.proxy.Stop() }

// balancer spreads connections over several wires, at random, as a load balancer in front of replicas does that knows
// nothing of their health.
type balancer struct {
	listener net.Listener

	mu    sync.Mutex
	wires []*wire
	open  map[net.Conn]bool
}

func newBalancer(wires []*wire) (*balancer, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	b := &balancer{listener: l, wires: wires, open: map[net.Conn]bool{}}
	go b.serve()
	return b, nil
}

func (b *balancer) address() string { return b.listener.Addr().String() }

func (b *balancer) serve() {
	for {
		from, err := b.listener.Accept()
		if err != nil {
			return
		}
		b.mu.Lock()
		w := b.wires[rand.IntN(len(b.wires))]
		b.mu.Unlock()
		go b.connect(from, w.proxy.Listen)
	}
}

func (b *balancer) connect(from net.Conn, address string) {
	to, err := net.Dial("tcp", address)
	if err != nil {
		from.Close()
		return
	}
	b.keep(from, to)
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{from, to}, {to, from}} {
		both.Go(func() {
			_, _ = io.Copy(way[1], way[0])
			from.Close()
			to.Close()
		})
	}
	both.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.open, from)
	delete(b.open, to)
}

func (b *balancer) keep(all ...net.Conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range all {
		b.open[c] = true
	}
}

// cut closes every connection.
func (b *balancer) cut() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for c := range b.open {
		c.Close()
	}
}

// use has new connections use these wires. Open ones stay.
func (b *balancer) use(wires ...*wire) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wires = wires
}

func (b *balancer) close() {
	b.listener.Close()
	b.cut()
}
