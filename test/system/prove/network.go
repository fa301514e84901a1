package main

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/Shopify/toxiproxy/v2"
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

// fall makes the wire fail, for open connections too.
func (w *wire) fall(i illness) error {
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
		`{"name": "ill", "type": %q, "stream": %q, "toxicity": 0.7, "attributes": {%s}}`, i.kind, stream, i.attributes)))
	w.ill = err == nil
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
