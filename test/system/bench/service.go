package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/refreshd/refreshd/test/support/rig"
)

const (
	apiKey  = "ak_benchmark_benchmark_benchmark"
	feedKey = "ak_benchmark_benchmark_resources" // reads the revocation stream

	operatorKey = "ak_benchmark_benchmark_operators" // for sessions and for administration

	tenant      = "acme"
	application = "shop"
)

// kickstart is the text of the kickstart file, without the policy and further applications.
const kickstart = `
tenants:
  - id: ` + tenant + `
    name: Acme
    jwtConfiguration: {%s}
    applications: [{id: ` + application + `, name: Shop}%s]
apiKeys:
  - {name: bench, key: ` + apiKey + `, permissions: {endpoints: {"*": ["*"]}}}
`

// feedKickstart continues the kickstart file.
const feedKickstart = `  - {name: feed, key: ` + feedKey + `, permissions: {endpoints: {"/revocations": ["GET"]}}}
`

// operatorKickstart continues the kickstart file.
const operatorKickstart = `  - name: operator
    key: ` + operatorKey + `
    permissions:
      endpoints: {"*": ["*"], /sessions: [GET], /audit: [GET], /tenant: ["*"], /application: ["*"], /api-key: ["*"],
        /key: ["GET"]}
`

// service is a running service with a tenant, an application and an API key.
type service struct{ *rig.Service }

// serve starts a service on a store and returns when it is ready.
func (how setup) serve(ctx context.Context, database string) (*service, error) {
	s, err := how.program.Serve(ctx, how.settings(database))
	return &service{s}, err
}

// briefly calls f with a service, stops it, and returns how long it took to be ready.
func (how setup) briefly(
	ctx context.Context, database string, f func(*service) error,
) (started time.Duration, err error) {
	s, err := how.serve(ctx, database)
	if err != nil {
		return 0, err
	}
	return s.ReadyAfter, errors.Join(f(s), s.Stop())
}

// allocations returns the objects and bytes that the service has allocated since its start.
func (s *service) allocations(ctx context.Context) (objects, bytes float64, err error) {
	values, err := s.Metrics(ctx, "go_memstats_mallocs_total", "go_memstats_alloc_bytes_total")
	if err != nil {
		return 0, 0, err
	}
	return values[0], values[1], nil
}

// users returns n users, each with a refresh token of its own.
func (s *service) users(ctx context.Context, n int) (users []*user, err error) {
	for i := range n {
		g, err := s.issue(ctx, fmt.Sprintf(`{"applicationsId": %q, "userId": "user-%d"}`, application, i))
		if err != nil {
			return nil, err
		}
		u, err := newUser(s.API, string(g.tokenString), string(g.id))
		if err != nil {
			return nil, err
		}
		users = append(users, u)
	}
	return users, nil
}

func (s *service) issue(ctx context.Context, body string) (grant, error) {
	a, err := call(ctx, http.MethodPost, s.API, "/jwt/issue", body)
	if err != nil {
		return grant{}, err
	}
	g, err := parseGrant(a.Status, a.Body)
	if err != nil {
		return grant{}, fmt.Errorf("issue: %w", err)
	}
	return g, nil
}

// call sends a request that is not measured.
func call(ctx context.Context, method, address, path, body string) (rig.Response, error) {
	return rig.Request{Method: method, Path: path, Body: body, Key: apiKey, Tenant: tenant}.Do(ctx, rig.Client, address)
}
