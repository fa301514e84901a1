package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/refreshd/refreshd/test/support/rig"
)

const (
	abortedRate    = 860 // requests a second
	abortedSockets = 4
	abortedAfter   = 700 * time.Microsecond // from the request to the reset
	abortedStrings = 300                    // of the attacker: three exchanges a second of each, within the limit
	abortedSources = 100                    // addresses: within the limit of each
)

// abortedPart sends requests whose client disconnects before the response. They are within every limit, so no limit
// bounds their cost.
func abortedPart(ctx context.Context, a *attack) error {
	dsn, err := a.postgres(ctx)
	if err != nil {
		return err
	}
	counting, through, err := a.behind(dsn)
	if err != nil {
		return err
	}
	s, err := a.serve(ctx, settings(through, limits...))
	if err != nil {
		return err
	}
	users, err := honestly(ctx, s.API)
	if err != nil {
		return err
	}
	own, err := issueMany(ctx, s.API, attackerKey, attackerTenant, "again", "attacker", abortedStrings)
	if err != nil {
		return err
	}
	var exchanges [][]byte
	for _, o := range own {
		exchanges = append(exchanges, exchangeOf(o.current).Bytes(s.API))
	}
	kinds := []struct {
		name     string
		requests [][]byte
	}{
		{"/readyz", [][]byte{rig.Request{Method: http.MethodGet, Path: "/readyz"}.Bytes(s.API)}},
		{"key set", [][]byte{rig.Request{Method: http.MethodGet, Path: "/t/other/.well-known/jwks.json"}.Bytes(s.API)}},
		{"exchange", exchanges},
		{"list", [][]byte{rig.Request{
			Method: http.MethodGet, Path: "/jwt/refresh?userId=attacker-1", Key: attackerKey, Tenant: attackerTenant,
		}.Bytes(s.API)}},
	}
	for _, kind := range kinds {
		// The pool has its largest size before connections are counted: it may open connections for load.
		if err := fillPool(ctx, s.API); err != nil {
			return err
		}
		var most int64 = -1
		var sent atomic.Int64
		if err := a.best(ctx, "aborted "+kind.name, s.API, users, true, func(ctx context.Context) error {
			before := counting.opened.Load()
			err := abort(ctx, s.API, kind.requests, false, &sent)
			if n := counting.opened.Load() - before; most < 0 || n < most {
				most = n
			}
			return err
		}); err != nil {
			return err
		}
		a.figure("aborted "+kind.name+": requests sent", "%d", sent.Load())
		if err := a.answered(ctx, kind.name, s.API, users, kind.requests); err != nil {
			return err
		}
		a.atMost("aborted "+kind.name+": new database connections", float64(most), 0, "%.0f")
	}
	return nil
}

// answered sends the same requests and reads their responses, to measure what serving them costs the honest users.
func (a *attack) answered(ctx context.Context, what, host string, users []*user, requests [][]byte) error {
	var sent atomic.Int64
	p, err := a.pair(ctx, host, users, func(ctx context.Context) error { return abort(ctx, host, requests, true, &sent) })
	if err != nil {
		return err
	}
	p50, p99 := p.ratios()
	a.figure("the same "+what+" not aborted: p50, p99 with / without", "%.2f, %.2f, of %d requests: %s",
		p50, p99, sent.Load(), p.during)
	return nil
}

// fillPool sends more concurrent requests than the pool has connections, twice.
func fillPool(ctx context.Context, host string) error {
	return each(400, 64, func(i int) error {
		a, err := do(ctx, backend, host, rig.Request{
			Method: http.MethodGet, Path: "/jwt/refresh?userId=honest-0-1", Key: honestKey, Tenant: honestTenant,
		})
		if err == nil && a.Status != http.StatusOK && a.Status != http.StatusServiceUnavailable {
			err = fmt.Errorf("list: status %d", a.Status)
		}
		return err
	})
}

// abort sends the requests, one after another, until ctx is done. It reads the responses, or resets the connections
// before them. Errors of the network belong to the attack.
func abort(ctx context.Context, host string, requests [][]byte, read bool, sent *atomic.Int64) error {
	var group sync.WaitGroup
	var next atomic.Int64
	begin := time.Now()
	for socket := range abortedSockets {
		group.Go(func() {
			pause := time.Second * abortedSockets / abortedRate
			at := begin.Add(pause * time.Duration(socket) / abortedSockets)
			for ; rig.Sleep(ctx, time.Until(at)) == nil; at = at.Add(pause) {
				n := int(next.Add(1))
				if reset(ctx, address(2, n%abortedSources), host, requests[n%len(requests)], read) == nil {
					sent.Add(1)
				}
			}
		})
	}
	group.Wait()
	return errors.Join(context.Cause(ctx))
}

// reset connects, sends a request, and resets the connection before or after the response.
func reset(ctx context.Context, source, host string, request []byte, read bool) error {
	d := dialer(source)
	d.Timeout = time.Second
	c, err := d.DialContext(ctx, "tcp", host)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.(*net.TCPConn).SetLinger(0); err != nil {
		return err
	}
	if read {
		if err := c.SetDeadline(time.Now().Add(answerTimeout)); err != nil {
			return err
		}
		_, err := exchangeBytes(c, bufio.NewReader(c), request)
		return err
	}
	if _, err := c.Write(request); err != nil {
		return err
	}
	time.Sleep(abortedAfter)
	return nil
}
