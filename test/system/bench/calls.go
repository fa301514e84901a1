package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/refreshd/refreshd/test/support/rig"
)

// caller is a backend with a connection and an API key.
type caller struct{ line }

func newCallers(s *service, n int) (callers []*caller) {
	for range n {
		callers = append(callers, &caller{line{address: s.API}})
	}
	return callers
}

// request returns a request that can be sent any number of times.
func (c *caller) request(method, path, body string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\nAuthorization: %s\r\nX-Stencil-TenantId: %s\r\n",
		method, path, c.address, apiKey, tenant)
	if body != "" {
		fmt.Fprintf(&b, "Content-Type: application/json\r\nContent-Length: %d\r\n", len(body))
	}
	b.WriteString("\r\n" + body)
	return b.Bytes()
}

func (c *caller) expect(want int, method, path, body string) error {
	status, err := c.call(c.request(method, path, body))
	if err == nil && status != want {
		err = fmt.Errorf("%s %s: got status %d, want %d: %s", method, path, status, want, c.body)
	}
	return err
}

func (c *caller) issue(application, userID string) (grant, error) {
	status, err := c.call(c.request(http.MethodPost, "/jwt/issue",
		fmt.Sprintf(`{"applicationsId": %q, "userId": %q}`, application, userID)))
	if err != nil {
		return grant{}, err
	}
	return parseGrant(status, c.body)
}

// list reads a page of 100.
func (c *caller) list(path string) error {
	if err := c.expect(http.StatusOK, http.MethodGet, path, ""); err != nil {
		return err
	}
	if n := bytes.Count(c.body, []byte(`"tenantId"`)); n != 100 {
		return fmt.Errorf("listed %d refresh tokens, want 100", n)
	}
	return nil
}

const firstPage = "/jwt/refresh?limit=100&userId=" + hoarder

// deepPage returns the path of the hoarder's page after 9 000 refresh tokens.
func deepPage(ctx context.Context, s *service) (string, error) {
	path := "/jwt/refresh?limit=1000&userId=" + hoarder
	for range 9 {
		a, err := call(ctx, http.MethodGet, s.API, path, "")
		if err != nil {
			return "", err
		}
		link := a.Header.Get("Link")
		query, isLink := strings.CutPrefix(link, "<")
		query, _, _ = strings.Cut(query, ">")
		path = "/jwt/refresh" + query
		if a.Status != http.StatusOK || !isLink {
			return "", fmt.Errorf("list 9 000 refresh tokens: status %d, Link %q: %s", a.Status, link, a.Body)
		}
	}
	return strings.Replace(path, "limit=1000", "limit=100", 1), nil
}

// callsPart measures the requests of backends and operators, on a table with at least a million refresh tokens in the
// application.
func callsPart(ctx context.Context, b *bench) error {
	k, err := b.bulk(ctx, b.plan.stages[1])
	if err != nil {
		return err
	}
	b.report.section(fmt.Sprintf("Other calls, PostgreSQL, %d refresh tokens", k.rows))
	s, err := b.setup(asItComes, noGrace).serve(ctx, k.dsn)
	if err != nil {
		return err
	}
	b.later(s.Stop)
	if err := b.singleCalls(ctx, k, s); err != nil {
		return err
	}
	if err := b.wideRevocations(ctx, k, s); err != nil {
		return err
	}
	return b.revokeApplication(ctx, s)
}

func (b *bench) singleCalls(ctx context.Context, k *bulk, s *service) error {
	deep, err := deepPage(ctx, s)
	if err != nil {
		return err
	}
	callers := newCallers(s, slices.Max(b.plan.callers))
	w := b.plan.window
	loop := func(call func(c *caller, random int) error) func(int) (run, error) {
		return func(n int) (run, error) {
			disconnect, err := connect(ctx, callers[:n], w.warm+w.length)
			defer disconnect()
			if err != nil {
				return run{}, err
			}
			r, err := closedLoop(ctx, w, meter{driver: rig.OwnCPU, service: s, server: b.server}, n, func(i int) error {
				return call(callers[i], rand.IntN(k.rows)+1)
			})
			return r, errors.Join(err, s.Forget())
		}
	}
	var revoked atomic.Int64
	variants := []variant{
		{name: "issue", run: loop(func(c *caller, random int) error {
			_, err := c.issue(application, fmt.Sprint("issued-", random))
			return err
		})},
		{name: "retrieve one", run: loop(func(c *caller, random int) error {
			random = random/2 + 1 // the upper half is being revoked
			return c.expect(http.StatusOK, http.MethodGet, "/jwt/refresh/"+bulkID(random).String(), "")
		})},
		{name: "list 100 of 10 000", run: loop(func(c *caller, _ int) error { return c.list(firstPage) })},
		{name: "the same, after 9 000", run: loop(func(c *caller, _ int) error { return c.list(deep) })},
		{name: "revoke one", run: loop(func(c *caller, _ int) error {
			last := k.rows - int(revoked.Add(1)) + 1
			return c.expect(http.StatusOK, http.MethodDelete, "/jwt/refresh/"+bulkID(last).String(), "")
		})},
	}
	series, err := b.turns("calls", b.plan.rounds, variants, b.plan.callers...)
	if err != nil {
		return err
	}
	b.report.table(series.table(variants, "", b.plan.callers...))
	return nil
}

// wideRevocations revokes all sessions of one user after another, in one tenant: each takes the lock of the tenant's
// row.
func (b *bench) wideRevocations(ctx context.Context, k *bulk, s *service) error {
	const revocations = "revoke all of a user, of one tenant"
	callers := newCallers(s, 8)
	w := b.plan.window
	variants := []variant{
		{name: bare, run: func(int) (run, error) { return b.pgbench.run(ctx, w, k.dsn, 1, bareUpdate) }},
		{name: revocations, run: func(n int) (run, error) {
			disconnect, err := connect(ctx, callers[:n], w.warm+w.length)
			defer disconnect()
			if err != nil {
				return run{}, err
			}
			return closedLoop(ctx, w, meter{driver: rig.OwnCPU, service: s, server: b.server}, n, func(i int) error {
				return callers[i].expect(http.StatusOK, http.MethodDelete,
					fmt.Sprint("/jwt/refresh?userId=nobody-", rand.IntN(1000)), "")
			})
		}},
	}
	series, err := b.turns("wide revocations", b.plan.rounds, variants, 1, len(callers))
	if err != nil {
		return err
	}
	b.report.say("Wide revocations of one tenant, which run one after another because of its row lock; pgbench always " +
		"has a single client:")
	b.report.table(series.table(variants, bare, 1, len(callers)))
	b.report.figure("wide revocations", series.ratio(revocations, bare, 1, perSecond))
	return nil
}

// revokeApplication revokes a whole application again and again. Before each revocation a refresh token is issued; its
// exchange has to be refused after the response to the revocation.
func (b *bench) revokeApplication(ctx context.Context, s *service) error {
	c := newCallers(s, 1)
	disconnect, err := connect(ctx, c, 2*time.Minute)
	defer disconnect()
	if err != nil {
		return err
	}
	b.progress("calls: revoking the application")
	var took []time.Duration
	for range 20 + 100*b.plan.rounds {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		g, err := c[0].issue(application, "victim")
		if err != nil {
			return err
		}
		exchange := `{"refreshToken": "` + string(g.tokenString) + `"}`
		begin := time.Now()
		if err := c[0].expect(http.StatusOK, http.MethodDelete, "/jwt/refresh?applicationsId="+application, ""); err != nil {
			return err
		}
		took = append(took, time.Since(begin))
		if err := c[0].expect(http.StatusBadRequest, http.MethodPost, "/jwt/refresh", exchange); err != nil {
			return err
		}
		if !bytes.Contains(c[0].body, []byte(`"[revoked]refreshToken"`)) {
			return fmt.Errorf("after its application was revoked, an exchange of a refresh token got %s", c[0].body)
		}
	}
	first := took[0]
	l := newLatencies(took)
	b.report.say("Revoke an application, %d times, with all these refresh tokens in it: p50 %s ms, p95 %s ms, p99 %s ms, "+
		"the first, which ended them, "+
		"%s ms. The exchange after each was refused.", len(took), ms(l.p50), ms(l.p95), ms(l.p99), ms(first))
	b.report.figure("revoke application", l.p99.Seconds()*1e3)
	return nil
}
