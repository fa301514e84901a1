package usecase_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
	"github.com/refreshd/refreshd/usecase"
	"github.com/refreshd/refreshd/usecase/admin"
)

// recorded stores events as record does.
type recorded struct {
	record func(context.Context, domain.Event) error
}

func (recorded) Events(context.Context, port.EventQuery) (port.EventPage, error) {
	return port.EventPage{}, errors.New("not to be read")
}

func (r recorded) Record(ctx context.Context, e domain.Event) error { return r.record(ctx, e) }

func refusal(key byte, at time.Time) (domain.Event, domain.ID) {
	k := domain.APIKey{ID: domain.ID{15: key}, Name: fmt.Sprint("key ", key), TenantID: "acme"}
	return domain.RefusalEvent(k, domain.RefusedTenant, domain.TokenIssue, "globex", "192.0.2.7", "request", at), k.ID
}

// narrowKey makes an API key of acme that may only issue.
func (w *world) narrowKey(t *testing.T) domain.Secret {
	t.Helper()
	key := domain.NewSecret("ak_narrow-narrow-narrow-narrow")
	_, err := w.apply.Do(t.Context(), admin.Kickstart{APIKeys: []admin.KickstartAPIKey{{
		Key: key,
		APIKey: domain.APIKey{
			Name: "narrow", TenantID: "acme", Permissions: domain.Permissions{"/jwt/issue": {"POST"}},
		},
	}}})
	must(t, err)
	return key
}

// Two processes and many requests make one event a minute and key.
func TestARefusedAPIKeyIsOneEventAMinute(t *testing.T) {
	w := newWorld(t)
	key := w.narrowKey(t)
	before := w.events(t)
	processes := []*usecase.Refusals{
		usecase.NewRefusals(w.store, func(err error) { t.Error(err) }),
		usecase.NewRefusals(w.store, func(err error) { t.Error(err) }),
	}
	ctx, stop := context.WithCancel(t.Context())
	var running, requests sync.WaitGroup
	for _, p := range processes {
		running.Go(func() { must(t, p.Run(ctx)) })
	}
	auth := func(p *usecase.Refusals, key domain.Secret, action domain.Action, tenant string) {
		a := *w.authenticate
		a.Refusals = p
		c := usecase.Credential{APIKey: key, Address: "192.0.2.7", RequestID: "request"}
		_, err := a.Do(t.Context(), c, action, tenant)
		wantErr(t, err, domain.ErrUnauthorized)
	}
	for range 50 {
		for _, p := range processes {
			requests.Go(func() { auth(p, key, domain.TokenRevoke, "acme") })
		}
	}
	requests.Wait()
	at := w.clock.now().Truncate(time.Minute)
	w.clock.advance(time.Minute)
	auth(processes[0], key, domain.TokenIssue, "globex")
	auth(processes[1], domain.NewSecret("ak_unknown-unknown-unknown-unknown"), domain.TokenIssue, "acme")
	stop()
	running.Wait()
	k, err := w.store.APIKeyByName(t.Context(), "narrow")
	must(t, err)
	by := domain.Origin{
		Actor:     domain.Actor{Kind: domain.ActorAPIKey, ID: k.ID.String(), Name: "narrow", Address: "192.0.2.7"},
		RequestID: "request",
	}
	ms := w.clock.now().UnixMilli()
	wantEvents(t, w.since(t, before),
		domain.Event{
			At: at, Origin: by, Kind: domain.APIKeyRefused, TenantID: "acme", ObjectID: k.ID.String(),
			After: domain.Object(fmt.Sprintf(
				`{"action":"token.revoke","instant":%d,"reason":"permission","tenantId":"acme"}`, ms-60_000)),
		},
		domain.Event{
			At: at.Add(time.Minute), Origin: by, Kind: domain.APIKeyRefused, TenantID: "acme", ObjectID: k.ID.String(),
			After: domain.Object(fmt.Sprintf(
				`{"action":"token.issue","instant":%d,"reason":"tenant","tenantId":"globex"}`, ms)),
		})
}

// An expired key is not refused for a permission, and a key that may do the action has no event.
func TestOnlyARefusalOfAKnownAPIKeyIsAnEvent(t *testing.T) {
	w := newWorld(t)
	var n atomic.Int32
	p := usecase.NewRefusals(recorded{func(context.Context, domain.Event) error { n.Add(1); return nil }}, nil)
	a := *w.authenticate
	a.Refusals = p
	_, err := a.Do(t.Context(), usecase.Credential{APIKey: w.narrowKey(t)}, domain.TokenIssue, "acme")
	must(t, err)
	_, err = a.Do(t.Context(), usecase.Credential{APIKey: domain.NewSecret("none")}, domain.TokenIssue, "acme")
	wantErr(t, err, domain.ErrUnauthorized)
	ctx, stop := context.WithCancel(t.Context())
	stop()
	must(t, p.Run(ctx))
	if n.Load() != 0 {
		t.Errorf("%d events, want none", n.Load())
	}
}

// A flood of refusals of many keys does not wait for a store that hangs, and holds a bounded number of events.
func TestARefusalDoesNotWaitForTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var failed atomic.Int32
		var stored atomic.Int32
		hanging := recorded{func(ctx context.Context, _ domain.Event) error {
			stored.Add(1)
			<-ctx.Done()
			return ctx.Err()
		}}
		p := usecase.NewRefusals(hanging, func(error) { failed.Add(1) })
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { must(t, p.Run(ctx)) })
		begin := time.Now()
		e, _ := refusal(1, begin) // one for all: to make each takes most of the test's time
		for n := range 100_000 {
			p.Add(e, domain.ID{byte(n >> 16), byte(n >> 8), byte(n)})
		}
		if took := time.Since(begin); took != 0 {
			t.Errorf("the requests waited for %s", took)
		}
		stop()
		running.Wait()
		if took := time.Since(begin); took > 2*time.Second {
			t.Errorf("Run ended after %s, want at most one time-out of a write", took)
		}
		if got := failed.Load(); got != 100_000 {
			t.Errorf("%d lost events were reported, want each", got)
		}
		if got := stored.Load(); got > 66 {
			t.Errorf("%d events were held, want at most a queue", got)
		}
	})
}

// A write that failed is reported, and not tried again in its minute: a flood would fill the log.
func TestAFailedWriteOfARefusalIsReportedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var failed atomic.Int32
		p := usecase.NewRefusals(recorded{func(context.Context, domain.Event) error {
			return errors.New("no disk")
		}}, func(error) { failed.Add(1) })
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { must(t, p.Run(ctx)) })
		for minute := range 3 {
			for range 100 {
				e, id := refusal(1, t0.Add(time.Duration(minute)*time.Minute))
				p.Add(e, id)
				synctest.Wait()
			}
		}
		stop()
		running.Wait()
		if got := failed.Load(); got != 3 {
			t.Errorf("%d failures were reported, want one a minute", got)
		}
	})
}
