package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/jackc/pgx/v5"
	"github.com/refreshd/refreshd/test/support/rig"
)

// attackers is the number of clients of one API key in a closed loop.
const attackers = 200

// rowPart has another connection lock the row of a tenant, as a long transaction of an operator does, while clients
// revoke in that tenant.
func rowPart(ctx context.Context, a *attack) error {
	s, dsn, err := a.onPostgres(ctx)
	if err != nil {
		return err
	}
	users, err := honestly(ctx, s.API)
	if err != nil {
		return err
	}
	return a.best(ctx, fmt.Sprintf("%d clients revoke in a tenant whose row is locked", attackers), s.API, users, false,
		func(ctx context.Context) (err error) {
			c, err := pgx.Connect(ctx, dsn)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, c.Close(context.Background())) }() // which rolls back
			for _, statement := range []string{"BEGIN", "UPDATE tenants SET epoch = epoch WHERE id = 'other'"} {
				if _, err := c.Exec(ctx, statement); err != nil {
					return err
				}
			}
			_, err = a.loop(ctx, loop{Host: s.API, Clients: attackers, Source: address(2, 0), Request: rig.Request{
				Method: http.MethodDelete, Path: "/jwt/refresh?userId=user-{client}", Key: attackerKey, Tenant: attackerTenant,
			}})
			return err
		})
}

// fairPart has one API key send all that it may, with as many clients as it can have.
func fairPart(ctx context.Context, a *attack) error {
	s, _, err := a.onPostgres(ctx)
	if err != nil {
		return err
	}
	users, err := honestly(ctx, s.API)
	if err != nil {
		return err
	}
	// Users with a page of tokens to list.
	if err := each(20*50, 8, func(i int) error {
		_, err := issue(ctx, s.API, attackerKey, attackerTenant,
			fmt.Sprintf(`{"applicationsId": "app", "userId": "user-%d"}`, i%20))
		return err
	}); err != nil {
		return err
	}
	for _, kind := range []struct {
		name    string
		request rig.Request
	}{
		{"list", rig.Request{Method: http.MethodGet, Path: "/jwt/refresh?userId=user-{user}"}},
		{"wide revocations", rig.Request{Method: http.MethodDelete, Path: "/jwt/refresh?userId=nobody-{client}"}},
		{"issue", rig.Request{
			Method: http.MethodPost, Path: "/jwt/issue", Body: `{"applicationsId": "app", "userId": "many-{client}-{n}"}`,
		}},
	} {
		r := kind.request
		r.Key, r.Tenant = attackerKey, attackerTenant
		attacking := loop{Host: s.API, Clients: attackers, Source: address(2, 0), Request: r}
		if err := a.best(ctx, fmt.Sprintf("%d clients: %s", attackers, kind.name), s.API, users, false,
			func(ctx context.Context) error {
				_, err := a.loop(ctx, attacking)
				return err
			}); err != nil {
			return err
		}
	}
	return nil
}
