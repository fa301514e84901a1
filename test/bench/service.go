package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/refreshd/refreshd/test/rig"
)

const (
	apiKey = "ak_benchmark_benchmark_benchmark"

	tenant      = "acme"
	application = "shop"
)

const kickstart = `
tenants: [{id: ` + tenant + `, name: Acme, applications: [{id: ` + application + `, name: Shop}]}]
apiKeys: [{name: bench, key: ` + apiKey + `, permissions: {endpoints: {"*": ["*"]}}}]
`

// service is a running one, with a tenant, an application and an API key.
type service struct{ *rig.Service }

// serve starts a service on a store, and returns when it is ready.
func (b *bench) serve(ctx context.Context, m mode, database string) (*service, error) {
	s, err := b.program.Serve(ctx, settings(m, database))
	return &service{s}, err
}

func settings(m mode, database string) rig.Settings {
	return rig.Settings{Database: database, Kickstart: kickstart, Env: m.environ()}
}

// allocations are the objects and bytes that the service has allocated since it began.
func (s *service) allocations(ctx context.Context) (objects, bytes float64, err error) {
	values, err := s.Metrics(ctx, "go_memstats_mallocs_total", "go_memstats_alloc_bytes_total")
	if err != nil {
		return 0, 0, err
	}
	return values[0], values[1], nil
}

// users are n of them, each with a refresh token of its own.
func (s *service) users(ctx context.Context, n int) (users []*user, err error) {
	for i := range n {
		a, err := call(ctx, http.MethodPost, "http://"+s.API+"/jwt/issue",
			fmt.Appendf(nil, `{"applicationsId": %q, "userId": "user-%d"}`, application, i))
		if err != nil {
			return nil, err
		}
		g, err := parseGrant(a.status, a.body)
		if err != nil {
			return nil, fmt.Errorf("issue: %w", err)
		}
		u, err := newUser(s.API, string(g.tokenString), string(g.id))
		if err != nil {
			return nil, err
		}
		users = append(users, u)
	}
	return users, nil
}

type answer struct {
	status int
	header http.Header
	body   []byte
}

// call does what is not counted by the thousand.
func call(ctx context.Context, method, url string, body []byte) (a answer, err error) {
	request, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return a, err
	}
	request.Header.Set("Authorization", apiKey)
	request.Header.Set("X-Stencil-TenantId", tenant)
	request.Header.Set("Content-Type", "application/json")
	response, err := rig.Client.Do(request)
	if err != nil {
		return a, err
	}
	defer response.Body.Close()
	a = answer{status: response.StatusCode, header: response.Header}
	a.body, err = io.ReadAll(response.Body)
	return a, err
}
