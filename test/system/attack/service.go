package main

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"sync"

	"github.com/refreshd/refreshd/test/support/rig"
)

const (
	honestKey   = "ak_honest_honest_honest_honest_1"
	attackerKey = "ak_attacker_attacker_attacker_1_"
	anyKey      = "ak_any_any_any_any_any_any_any_1"

	honestTenant   = "acme"
	attackerTenant = "other"
)

// kickstart has a tenant of the honest users, and one of the attacker with an application whose strings can be
// presented again and again.
var kickstart = fmt.Sprintf(`
tenants:
  - id: acme
    name: Acme
    jwtConfiguration: {refreshTokenOneTimeUseConfiguration: {gracePeriodInSeconds: %d}}
    applications:
      - {id: shop, name: Shop}
      - {id: fast, name: Fast, jwtConfiguration: {refreshTokenOneTimeUseConfiguration: {gracePeriodInSeconds: 0}}}
      - id: kept
        name: Kept
        jwtConfiguration:
          refreshTokenOneTimeUseConfiguration: {gracePeriodInSeconds: 1}
          refreshTokenRevocationPolicy: {onOneTimeTokenReuse: false}
  - id: other
    name: Other
    applications:
      - {id: app, name: App}
      - {id: again, name: Again, jwtConfiguration: {refreshTokenUsagePolicy: Reusable}}
apiKeys:
  - {name: honest, key: %s, tenantId: acme, permissions: {endpoints: {"*": ["*"]}}}
  - {name: attacker, key: %s, tenantId: other, permissions: {endpoints: {"*": ["*"]}}}
  - {name: any, key: %s, permissions: {endpoints: {"*": ["*"]}}}
`, honestGrace, honestKey, attackerKey, anyKey)

// limits are the default limits; package rig switches them off.
var limits = []string{
	"REFRESHD_RATE_LIMIT_ADDRESS=100", "REFRESHD_RATE_LIMIT_API_KEY=2000", "REFRESHD_RATE_LIMIT_REFRESH_TOKEN=5",
}

// common is the environment of every service. The public URL is required on PostgreSQL.
var common = []string{"REFRESHD_PUBLIC_URL=https://auth.example.com", "REFRESHD_PURGE_INTERVAL=0s"}

func settings(database string, env ...string) rig.Settings {
	return rig.Settings{Database: database, Kickstart: kickstart, Env: append(append([]string(nil), common...), env...)}
}

// serve starts a service that is killed at the end of the part.
func (a *attack) serve(ctx context.Context, s rig.Settings) (*rig.Service, error) {
	service, err := a.program.Serve(ctx, s)
	if err != nil {
		return nil, err
	}
	a.later(service.Kill) // only the part stop judges how a service ends
	return service, nil
}

// postgres makes a database with the program's schema, which is dropped at the end of the part.
func (a *attack) postgres(ctx context.Context) (dsn string, err error) {
	if dsn, err = a.server.NewDatabase(ctx); err != nil {
		return "", err
	}
	a.later(func() error { return a.server.DropDatabase(context.Background(), dsn) })
	_, err = a.program.Run(ctx, rig.Settings{Database: dsn, Env: common}, "migrate")
	return dsn, err
}

// sqlite returns the URL of a database that does not exist yet.
func (a *attack) sqlite() string {
	a.files++
	return "sqlite:" + filepath.Join(a.dir, fmt.Sprintf("%s-%d.db", a.name, a.files))
}

// database returns a database of one of the two kinds.
func (a *attack) database(ctx context.Context, kind string) (string, error) {
	if kind == sqlite {
		return a.sqlite(), nil
	}
	return a.postgres(ctx)
}

const (
	sqlite   = "SQLite"
	postgreS = "PostgreSQL"
)

// backend issues from an address that no other client has.
var backend = newClient("127.0.0.2", answerTimeout)

func issue(ctx context.Context, host, key, tenant, body string) (session, error) {
	a, err := do(ctx, backend, host, rig.Request{
		Method: http.MethodPost, Path: "/jwt/issue", Key: key, Tenant: tenant, Body: body,
	})
	if err != nil {
		return session{}, err
	}
	s, err := granted(a)
	if err != nil {
		return session{}, fmt.Errorf("issue: %w", err)
	}
	return s, nil
}

// issueMany issues refresh tokens of users user-0, user-1, ….
func issueMany(ctx context.Context, host, key, tenant, application, user string, n int) ([]session, error) {
	sessions := make([]session, n)
	return sessions, each(n, 8, func(i int) (err error) {
		sessions[i], err = issue(ctx, host, key, tenant,
			fmt.Sprintf(`{"applicationsId": %q, "userId": "%s-%d"}`, application, user, i))
		return err
	})
}

// each calls f for 0 to n-1, several at a time, and returns the first error.
func each(n, workers int, f func(i int) error) (first error) {
	var (
		group sync.WaitGroup
		mu    sync.Mutex
		next  int
	)
	for range workers {
		group.Go(func() {
			for {
				mu.Lock()
				i := next
				next++
				failed := first != nil
				mu.Unlock()
				if i >= n || failed {
					return
				}
				if err := f(i); err != nil {
					mu.Lock()
					if first == nil {
						first = err
					}
					mu.Unlock()
				}
			}
		})
	}
	group.Wait()
	return first
}

// honestly returns the honest users.
func honestly(ctx context.Context, host string) (users []*user, err error) {
	for i := range honestUsers {
		u := &user{client: newClient(address(1, i), answerTimeout)}
		if u.sessions, err = issueMany(ctx, host, honestKey, honestTenant, "shop", fmt.Sprintf("honest-%d", i),
			honestSessions); err != nil {
			return nil, err
		}
		users = append(users, u)
	}
	return users, nil
}

// onPostgres starts the service, with its default limits, on a database of its own.
func (a *attack) onPostgres(ctx context.Context) (s *rig.Service, dsn string, err error) {
	if dsn, err = a.postgres(ctx); err != nil {
		return nil, "", err
	}
	s, err = a.serve(ctx, settings(dsn, limits...))
	return s, dsn, err
}
