package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/refreshd/refreshd/test/support/rig"
)

const (
	readers       = 20
	readersTokens = 1000 // of the user whose pages they request
	readersHold   = 15 * time.Second
	readersMiB    = 200
)

// readersPart requests the largest possible pages and does not read them.
func readersPart(ctx context.Context, a *attack) error {
	for _, kind := range []string{sqlite, postgreS} {
		database, err := a.database(ctx, kind)
		if err != nil {
			return err
		}
		s, err := a.serve(ctx, settings(database, limits...))
		if err != nil {
			return err
		}
		if err := a.readers(ctx, kind, s); err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
		if err := s.Kill(); err != nil {
			return err
		}
	}
	return nil
}

func (a *attack) readers(ctx context.Context, kind string, s *rig.Service) error {
	body, err := largest(ctx, s.API)
	if err != nil {
		return err
	}
	a.progress("%s: issuing %d refresh tokens, each by a request of %d bytes", kind, readersTokens, len(body))
	if err := each(readersTokens, 8, func(int) error {
		_, err := issue(ctx, s.API, attackerKey, attackerTenant, body)
		return err
	}); err != nil {
		return err
	}
	idle := s.Resources().RSS
	page := rig.Request{
		Method: http.MethodGet, Path: "/jwt/refresh?userId=big&limit=1000", Key: attackerKey, Tenant: attackerTenant,
	}
	first, err := do(ctx, backend, s.API, page)
	if err != nil {
		return err
	}
	if first.Status != http.StatusOK || len(first.Body) < 1000 {
		return fmt.Errorf("the page: status %d, %d bytes", first.Status, len(first.Body))
	}
	var open atomic.Int64
	holding, end := context.WithTimeout(ctx, readersHold)
	defer end()
	for i := range readers {
		go hold(holding, address(2, i), s.API, page.Bytes(s.API), &open)
	}
	var highest float64
	var together int64
	for rig.Sleep(holding, 100*time.Millisecond) == nil {
		highest, together = max(highest, s.Resources().RSS), max(together, open.Load())
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if together < readers {
		return fmt.Errorf("only %d of %d readers had a connection", together, readers)
	}
	a.figure(kind+": bytes of the largest issue, and of a page", "%d, %d", len(body), len(first.Body))
	a.figure(kind+": resident before", "%.0f MiB", idle)
	highest = max(highest, rig.Memory(s.PID(), "VmHWM"))
	a.atMost(kind+": resident with 20 readers that do not read", highest, readersMiB, "%.0f MiB")
	status, err := do(ctx, backend, s.API, rig.Request{Method: http.MethodGet, Path: "/readyz"})
	a.judge(kind+": ready meanwhile", err == nil && status.Status == http.StatusOK, "200", fmt.Sprint(status.Status))
	return nil
}

// hold requests the page again whenever the service closed the connection, and never reads a response.
func hold(ctx context.Context, source, host string, request []byte, open *atomic.Int64) {
	for ctx.Err() == nil {
		d := dialer(source)
		c, err := d.DialContext(ctx, "tcp", host)
		if err != nil {
			_ = rig.Sleep(ctx, 100*time.Millisecond)
			continue
		}
		open.Add(1)
		_ = c.(*net.TCPConn).SetReadBuffer(4096)
		_, err = c.Write(request)
		// A client that does not read does not see the end of its connection. It sees a reset when it sends one more line.
		for err == nil && rig.Sleep(ctx, time.Second) == nil {
			_, err = c.Write([]byte("\r\n"))
		}
		open.Add(-1)
		c.Close()
	}
}

// largest returns the body of the largest refresh token that issue accepts: each member as large as the ones before it
// allow.
func largest(ctx context.Context, host string) (string, error) {
	type sizes struct{ data, device, claims, roles, scopes int }
	body := func(n sizes) string {
		return fmt.Sprintf(`{"applicationsId":"app","userId":"big",
			"metaData":{"device":{"name":%q,"type":%[1]q,"description":%[1]q},"data":{"d":%q}},
			"claims":{"c":%q},"roles":%s,"scopes":%s}`,
			angles(n.device), angles(n.data), letters(n.claims), words(n.roles), words(n.scopes))
	}
	var n sizes
	for _, m := range []struct {
		size *int
		most int
	}{{&n.data, 32 << 10}, {&n.device, 255}, {&n.claims, 32 << 10}, {&n.roles, 120}, {&n.scopes, 120}} {
		low, high := -1, m.most+1 // low was accepted, high was not
		for high-low > 1 {
			*m.size = (low + high) / 2
			a, err := do(ctx, backend, host, rig.Request{
				Method: http.MethodPost, Path: "/jwt/issue", Key: attackerKey, Tenant: attackerTenant, Body: body(n),
			})
			switch {
			case err != nil:
				return "", err
			case a.Status == http.StatusOK:
				low = *m.size
			case a.Status == http.StatusBadRequest || a.Status == http.StatusRequestEntityTooLarge:
				high = *m.size
			default:
				return "", fmt.Errorf("issue: status %d: %s", a.Status, a.Body)
			}
		}
		if low < 0 {
			return "", fmt.Errorf("issue refuses a body of %d bytes", len(body(n)))
		}
		*m.size = low
	}
	return body(n), nil
}

func letters(n int) string { return strings.Repeat("x", n) }

// angles are longer in a response than in a request, because the service escapes JSON for HTML.
func angles(n int) string { return strings.Repeat("<", n) }

// words returns different words, each as long as a role may be.
func words(n int) string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf("%q", fmt.Sprintf("%04d", i)+letters(244))
	}
	return "[" + strings.Join(list, ",") + "]"
}
