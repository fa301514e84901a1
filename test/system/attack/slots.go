package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/refreshd/refreshd/test/support/rig"
)

const (
	slots       = 3 // the connection limit of the role
	slotClients = 8
	slotTime    = 3 * time.Second
)

// slotsPart gives the service's role fewer connections than its pool wants.
func slotsPart(ctx context.Context, a *attack) error {
	dsn, err := a.server.NewDatabase(ctx)
	if err != nil {
		return err
	}
	a.later(func() error { return a.server.DropDatabase(context.Background(), dsn) })
	limited, err := a.asLimitedRole(ctx, dsn)
	if err != nil {
		return err
	}
	s := settings(limited)
	if _, err := a.program.Run(ctx, s, "migrate"); err != nil {
		return err
	}
	service, err := a.serve(ctx, s)
	if err != nil {
		return err
	}
	for _, kind := range []string{"issue", "revoke", "exchange"} {
		var (
			mu  sync.Mutex
			all = counts{}
		)
		if err := each(slotClients, slotClients, func(i int) error {
			own, err := a.slotLoad(ctx, service.API, kind, i)
			mu.Lock()
			defer mu.Unlock()
			all.add(own)
			return err
		}); err != nil {
			return err
		}
		a.figure(kind+": responses by status", "%s", all)
		a.atMost(kind+": refused", float64(all.total()-all[http.StatusOK]), 0, "%.0f")
	}
	lines := 0
	for line := range strings.Lines(service.Log()) {
		if strings.Contains(line, "53300") || strings.Contains(line, "too many connections") {
			lines++
		}
	}
	a.atMost("lines of the log about it", float64(lines), 5, "%.0f")
	return nil
}

// asLimitedRole makes a role with few connections in the database, and returns the DSN for it.
func (a *attack) asLimitedRole(ctx context.Context, dsn string) (string, error) {
	u, err := url.Parse(dsn)
	if err != nil {
		return "", err
	}
	role := "attacked_" + a.name
	c, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return "", err
	}
	for _, statement := range []string{
		"CREATE ROLE %s LOGIN PASSWORD 'attacked'", "GRANT ALL ON SCHEMA public TO %s",
		fmt.Sprintf("ALTER ROLE %%s CONNECTION LIMIT %d", slots),
	} {
		if _, err = c.Exec(ctx, fmt.Sprintf(statement, pgx.Identifier{role}.Sanitize())); err != nil {
			break
		}
	}
	if err := errors.Join(err, c.Close(ctx)); err != nil {
		return "", err
	}
	u.User = url.UserPassword(role, "attacked")
	return u.String(), nil
}

// slotLoad is the load of one client.
func (a *attack) slotLoad(ctx context.Context, host, kind string, client int) (counts, error) {
	own := newClient(address(2, client), answerTimeout)
	defer own.CloseIdleConnections()
	answers := counts{}
	// Refresh tokens are issued before their revocations are counted. An issue that is refused is repeated.
	issued := func(n int) (session, error) {
		for try := 0; ; try++ {
			s, err := issue(ctx, host, honestKey, honestTenant,
				fmt.Sprintf(`{"applicationsId": "fast", "userId": "slot-%d-%d"}`, client, n))
			if err == nil || try == 20 || ctx.Err() != nil {
				return s, err
			}
			if err := rig.Sleep(ctx, 50*time.Millisecond); err != nil {
				return s, err
			}
		}
	}
	current, err := issued(-1)
	if err != nil {
		return answers, err
	}
	begin := time.Now()
	for n := 0; time.Since(begin) < slotTime && ctx.Err() == nil; n++ {
		var r rig.Request
		switch kind {
		case "issue":
			r = rig.Request{
				Method: http.MethodPost, Path: "/jwt/issue",
				Body: fmt.Sprintf(`{"applicationsId": "shop", "userId": "issued-%d-%d"}`, client, n),
			}
		case "revoke":
			r = rig.Request{Method: http.MethodDelete, Path: fmt.Sprintf("/jwt/refresh?userId=nobody-%d-%d", client, n)}
		default:
			r = exchangeOf(current.current)
		}
		if kind != "exchange" {
			r.Key, r.Tenant = honestKey, honestTenant
		}
		got, err := do(ctx, own, host, r)
		if err != nil {
			answers[0]++
			continue
		}
		answers[got.Status]++
		if g, err := granted(got); kind == "exchange" && err == nil {
			current = g
		}
	}
	return answers, nil
}

const (
	copiesRate = 60 // a second
	copiesTime = 15 * time.Second
	ownerPause = 2 * time.Second
)

// copiesPart presents a replaced string, in an application where a replay does not end the session, while the owner
// continues.
func copiesPart(ctx context.Context, a *attack) error {
	s, err := a.serve(ctx, settings(a.sqlite(), limits...))
	if err != nil {
		return err
	}
	owner := newClient(address(1, 0), answerTimeout)
	current, err := issue(ctx, s.API, honestKey, honestTenant, `{"applicationsId": "kept", "userId": "owner"}`)
	if err != nil {
		return err
	}
	first := current.current
	exchange := func() int {
		r, err := do(ctx, owner, s.API, exchangeOf(current.current))
		if err != nil {
			return 0
		}
		if g, err := granted(r); err == nil {
			current = g
		}
		return r.Status
	}
	for range 3 {
		if status := exchange(); status != http.StatusOK {
			return fmt.Errorf("an exchange of the owner: status %d", status)
		}
		if err := rig.Sleep(ctx, ownerPause); err != nil {
			return err
		}
	}
	copying, end := context.WithCancel(ctx)
	defer end()
	ended := make(chan counts, 1)
	go func() {
		// From several addresses, so that the limit of an address does not protect the owner.
		clients := make([]*http.Client, 10)
		for i := range clients {
			clients[i] = newClient(address(2, i), answerTimeout)
		}
		ended <- pace(copying, copiesRate, func(n int) int {
			return statusOf(copying, clients[n%len(clients)], s.API, exchangeOf(first))
		})
	}()
	if err := rig.Sleep(ctx, 3*time.Second); err != nil {
		return err
	}
	got := counts{}
	for begin := time.Now(); time.Since(begin) < copiesTime; {
		got[exchange()]++
		if err := rig.Sleep(ctx, ownerPause); err != nil {
			return err
		}
	}
	end()
	copies := <-ended
	a.figure("copies: responses by status", "%s", copies)
	a.figure("the owner: responses by status", "%s", got)
	a.atMost("the owner: refused", float64(got.total()-got[http.StatusOK]), 0, "%.0f")
	if copies[http.StatusBadRequest] == 0 {
		return errors.New("no copy was refused as a replay")
	}
	return nil
}
