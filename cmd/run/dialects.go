package run

import (
	"context"
	"crypto/rand"
	"net/http"
	"runtime"

	"github.com/refreshd/refreshd/adapter/adminapi"
	"github.com/refreshd/refreshd/adapter/httpapi"
	"github.com/refreshd/refreshd/adapter/metrics"
	"github.com/refreshd/refreshd/adapter/oauthapi"
	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/config"
	"github.com/refreshd/refreshd/usecase"
	"github.com/refreshd/refreshd/usecase/admin"
)

// newHandler puts the use cases behind HTTP, in each dialect.
func (s *service) newHandler(
	ctx context.Context, c config.Config, publicURL string, ready func(context.Context) error,
) (http.Handler, error) {
	origins, err := web.ParseOrigins(c.CORSOrigins)
	if err != nil {
		return nil, err
	}
	limits := web.RateLimits{
		Address: c.RateLimits.Address, APIKey: c.RateLimits.APIKey, RefreshToken: c.RateLimits.RefreshToken,
		Streams: c.FeedStreams,
		Running: max(1, min(c.Database.MaxConnections/2, 2*runtime.GOMAXPROCS(0))),
	}
	guard := web.NewGuard(limits, c.TrustedProxies, s.clock, s.metrics.Refused)
	s.metrics.InProgress(guard.InProgress, web.Refusals)
	s.metrics.Count(metrics.Events(httpapi.Counted))
	options := s.options(publicURL)
	options.Pages.Origins, options.TrustedProxies, options.Guard = origins, c.TrustedProxies, guard
	options.Proofs = &usecase.Proofs{
		Signer: s.signer, Keys: s.keys, Tenants: s.store, PublicURL: publicURL, Clock: s.clock,
		DemandNonce: c.DemandProofNonce,
	}
	options.Observe = func(r web.Response) { s.metrics.Observe(metrics.Response(r)) }
	dialects, err := s.dialects(ctx, c, publicURL, ready)
	if err != nil {
		return nil, err
	}
	return web.New(options, dialects...)
}

// dialects are the HTTP APIs of the service.
func (s *service) dialects(
	ctx context.Context, c config.Config, publicURL string, ready func(context.Context) error,
) (all []web.Dialect, err error) {
	for _, api := range []func() (web.Dialect, error){
		func() (web.Dialect, error) { return documented(s.tokens(ctx, c, publicURL, ready)) },
		func() (web.Dialect, error) { return documented(s.oauth(ctx, c, publicURL)) },
		func() (web.Dialect, error) { return s.revocations(ctx, publicURL) },
		func() (web.Dialect, error) { return documented(s.administration(ctx, publicURL)) },
	} {
		d, err := api()
		if err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	return all, nil
}

// documented returns the dialect of an API with its documentation.
func documented[A interface{ Dialect() (web.Dialect, error) }](api A, err error) (web.Dialect, error) {
	if err != nil {
		return web.Dialect{}, err
	}
	return api.Dialect()
}

// options are those of all handlers.
func (s *service) options(publicURL string) web.Options {
	return web.Options{
		Authenticate: &usecase.Authenticate{
			APIKeys: s.store, Tokens: s.store, Tenants: s.store, Keys: s.keys, Clock: s.clock, Refusals: s.refused,
		},
		Log: s.log, Pages: web.Pages{PublicURL: publicURL},
	}
}

// tokens is the JSON API of refresh tokens.
func (s *service) tokens(
	ctx context.Context, c config.Config, publicURL string, ready func(context.Context) error,
) (*httpapi.API, error) {
	tenantID, applicationID, err := s.examples(ctx)
	if err != nil {
		return nil, err
	}
	minter := usecase.Minter{Keys: s.keys, Signer: s.signer, PublicURL: publicURL}
	return &httpapi.API{
		Issue: &usecase.Issue{
			Tokens: s.store, Revocations: s.store, Applications: s.store, Minter: minter, Clock: s.clock, Random: rand.Reader,
			PurgeAfter: c.PurgeAfter,
		},
		Exchange: &usecase.Exchange{
			Tokens: s.store, Minter: minter, Clock: s.clock, Restored: c.Restored,
		},
		List: &usecase.List{Tokens: s.store, Clock: s.clock},
		Patch: &usecase.Patch{
			Tokens: s.store, Applications: s.store, PublicURL: publicURL, Clock: s.clock, Random: rand.Reader,
		},
		Revoke: &usecase.Revoke{
			Revocations: s.store, Applications: s.store, Keys: s.keys, Clock: s.clock,
		},
		Logout: &usecase.Logout{
			Revocations: s.store, Tokens: s.store, Keys: s.keys, Clock: s.clock,
		},
		Publish:   s.publishing(c, publicURL),
		Ready:     ready,
		Examples:  httpapi.Examples{URL: publicURL, TenantID: tenantID, ApplicationID: applicationID},
		Exchanged: s.exchanged,
	}, nil
}

// oauth is the dialect of OAuth 2.
func (s *service) oauth(ctx context.Context, c config.Config, publicURL string) (*oauthapi.API, error) {
	tenantID, _, err := s.examples(ctx)
	if err != nil {
		return nil, err
	}
	minter := usecase.Minter{Keys: s.keys, Signer: s.signer, PublicURL: publicURL}
	assertions := &usecase.Assertions{
		Signer: s.signer, Applications: s.store, Once: s.store, PublicURL: publicURL, RootTenant: c.RootTenant,
		Clock: s.clock,
	}
	return &oauthapi.API{
		Exchange: &usecase.Exchange{
			Tokens: s.store, Applications: s.store, Minter: minter, Clock: s.clock, Restored: c.Restored,
		},
		Revoke: &usecase.RevokeHeld{
			Revocations: s.store, Tokens: s.store, Applications: s.store, Keys: s.keys, Clock: s.clock,
		},
		Introspect: &usecase.Introspect{
			Tokens: s.store, Keys: s.keys, Clock: s.clock, PublicURL: publicURL, Restored: c.Restored,
		},
		Authenticate: &usecase.AuthenticateClient{
			Applications: s.store, Keys: s.keys, Assertion: assertions.Check,
		},
		Publish:    s.publishing(c, publicURL),
		RootTenant: c.RootTenant,
		URL:        publicURL, TenantID: tenantID,
		Exchanged: s.exchanged,
	}, nil
}

// publishing returns what the dialects publish from one memory.
func (s *service) publishing(c config.Config, publicURL string) *usecase.Publish {
	if s.published == nil {
		s.published = &usecase.Publish{
			Tenants: s.store, Keys: s.keys, Clock: s.clock, RootTenant: c.RootTenant, PublicURL: publicURL,
		}
	}
	return s.published
}

// exchanged counts an exchange, in whichever dialect.
func (s *service) exchanged(e usecase.Exchanged) {
	s.metrics.Exchanged(e.Outcome, e.AddressChanged, e.Why)
}

// administration is the API of tenants, applications, API keys, keys and the audit trail.
func (s *service) administration(ctx context.Context, publicURL string) (*adminapi.API, error) {
	tenantID, _, err := s.examples(ctx)
	if err != nil {
		return nil, err
	}
	return &adminapi.API{
		Tenants: &admin.Tenants{
			Tenants: s.store, Applications: s.store, Keys: s.keys, Clock: s.clock, Random: rand.Reader,
		},
		Applications: &admin.Applications{
			Tenants: s.store, Applications: s.store, Keys: s.keys, Clock: s.clock, Random: rand.Reader,
			ParseClientKeys: s.keys.Signer.ParseClientKeys,
		},
		APIKeys: &admin.APIKeys{
			APIKeys: s.store, Tenants: s.store, Keys: s.keys, Clock: s.clock, Random: rand.Reader,
		},
		Keys: &admin.Keys{
			Keys: s.store, Tenants: s.store, Changes: s.keys, Parse: s.keys.Signer.ParseKey, Rules: s.keys.Rules(),
			Clock: s.clock,
		},
		Audit: &admin.Audit{Events: s.store},
		URL:   publicURL, TenantID: tenantID,
	}, nil
}

// examples are for the documents, which are public: the tenant and its first application, if there is only one tenant.
// With several tenants none is named, because each would learn of another.
func (s *service) examples(ctx context.Context) (tenantID, applicationID string, err error) {
	t, one, err := onlyTenant(ctx, s.store)
	if err != nil || !one {
		return "", "", err
	}
	applications, _, err := s.store.Applications(ctx, t.ID, "", 1)
	if err != nil || len(applications) == 0 {
		return t.ID, "", err
	}
	return t.ID, applications[0].ID, nil
}
