package run

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/refreshd/refreshd/adapter/cli"
	"github.com/refreshd/refreshd/adapter/metrics"
	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/config"
	"github.com/refreshd/refreshd/domain"
)

// errStopping is the readiness of a process that is stopping.
var errStopping = errors.New("the process is stopping")

// serve runs the service until ctx is done, and then finishes what is running.
func (p process) serve(ctx context.Context, c config.Config) (err error) {
	if kind := p.storeOf(c); !kind.Local && c.PublicURL == "" {
		return fmt.Errorf("REFRESHD_PUBLIC_URL is not set, or empty: issuers of access tokens begin with it, and have to "+
			"be the same for all that serve a %s database; set it to where clients reach the API, e.g. "+
			"https://auth.example.com", kind.Title)
	}
	var kickstart *cli.Document // read first: a mistake in the file must not create a database
	if c.KickstartFile != "" {
		document, err := p.readKickstart(c.KickstartFile, cli.ReadKickstart)
		if err != nil {
			return err
		}
		if document.IsSealed() {
			return fmt.Errorf("%s has sealed keys, which need a passphrase: apply it with `refreshd apply`", c.KickstartFile)
		}
		kickstart = &document
	}
	s, err := p.open(ctx, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.store.Close()) }()
	l, err := listen(c)
	if err != nil {
		return err
	}
	defer l.close()
	publicURL := s.publicURL(c, l.api.Addr())
	if c.Restored {
		s.log.Warn("token strings that are newer than the store are exchanged: unset REFRESHD_RESTORED once clients are back",
			"event", eventRestored)
	}
	if err := p.fill(ctx, s, publicURL, kickstart); err != nil {
		return err
	}
	s.findRootTenant(ctx, c.RootTenant)
	v, err := s.newServer(ctx, c, publicURL)
	if err != nil {
		return err
	}
	if l.admin != nil {
		v.serve(v.admin, l.admin)
		s.log.Info("admin listening", "event", eventListening, "address", l.admin.Addr().String())
	}
	v.serve(v.api, l.api)
	v.background = begin(ctx, s.log, s.workers(c, p.stderr))
	// The start allocates several times what remains, mainly to render documents.
	debug.FreeOSMemory()
	s.log.Info("listening", "event", eventListening, "address", l.api.Addr().String(), "url", publicURL,
		"database", c.Database.Redacted, "version", p.programVersion())
	return errors.Join(v.wait(ctx, c.ShutdownDelay), v.stop(c.ShutdownTimeout))
}

// listeners are the sockets on which a service accepts requests.
type listeners struct {
	api, admin net.Listener // admin is nil if it is turned off
}

func listen(c config.Config) (l listeners, err error) {
	if l.api, err = net.Listen("tcp", c.Listen); err != nil {
		return l, fmt.Errorf("listen for the API (REFRESHD_LISTEN): %w", err)
	}
	if c.AdminListen == "" {
		return l, nil
	}
	if l.admin, err = net.Listen("tcp", c.AdminListen); err != nil {
		l.api.Close()
		return l, fmt.Errorf("listen for metrics and health (REFRESHD_ADMIN_LISTEN; empty turns it off): %w", err)
	}
	return l, nil
}

func (l listeners) close() {
	l.api.Close()
	if l.admin != nil {
		l.admin.Close()
	}
}

// publicURL is the configured URL, or that of the address. It warns if other machines reach a service with the latter.
func (s *service) publicURL(c config.Config, address net.Addr) string {
	derived := config.DerivePublicURL(address.String())
	url := c.PublicURL
	if url == "" {
		url = derived
	}
	if tcp, ok := address.(*net.TCPAddr); ok && !tcp.IP.IsLoopback() && url == derived {
		s.log.Warn("issuers of access tokens begin with an address of this machine: set REFRESHD_PUBLIC_URL",
			"event", eventPublicURLMissing, "url", url)
	}
	return url
}

// findRootTenant warns if there is no root tenant. It may be created later, or its name may be wrong. That of the first
// run need not exist.
func (s *service) findRootTenant(ctx context.Context, id string) {
	if id == "" || id == config.FirstTenant {
		return
	}
	if _, err := s.store.Tenant(ctx, id); errors.Is(err, domain.ErrNotFound) {
		s.log.Warn("the root has no token endpoint and no metadata: create the tenant, or correct REFRESHD_ROOT_TENANT",
			"event", eventRootTenantMissing, "tenant", id)
	}
}

// server is a service with its HTTP servers.
type server struct {
	*service
	api, admin *web.Server
	background *background
	stopping   atomic.Bool
	ended      chan error // of a server that has stopped
}

func (s *service) newServer(ctx context.Context, c config.Config, publicURL string) (*server, error) {
	readiness := &readiness{ctx: ctx, probe: s.store.Ready, log: s.log} // the API's and the admin listener's
	s.metrics.Ready(readiness.scraped)
	s.metrics.PurgeInterval(c.PurgeInterval)
	s.metrics.SigningKeys(func() metrics.SigningKeys { return metrics.SigningKeys(s.keys.Stats(ctx)) })
	handler, err := s.newHandler(ctx, c, publicURL, readiness.ready)
	if err != nil {
		return nil, err
	}
	v := &server{service: s, ended: make(chan error, 2)}
	v.api = web.NewServer(closeConnections(handler, &v.stopping), s.log)
	v.admin = web.NewServer(s.newAdmin(readiness.ready, c.Pprof), s.log)
	v.admin.WriteTimeout = 2 * time.Minute // for profiles
	return v, nil
}

// serve has w serve the connections of l.
func (v *server) serve(w *web.Server, l net.Listener) {
	go func() { v.ended <- w.Serve(l) }()
}

// wait returns when the service has to stop: delay after ctx is done, or if it cannot continue.
func (v *server) wait(ctx context.Context, delay time.Duration) error {
	select {
	case <-ctx.Done():
		v.log.Info("stopping: finishing what is running", "event", eventStopping)
		v.stopping.Store(true)
		// A load balancer takes a moment to see that the process is not ready, and sends requests until then.
		select {
		case <-time.After(delay):
			return nil
		case err := <-v.ended:
			return err
		}
	case err := <-v.ended:
		return fmt.Errorf("serve: %w", err)
	case <-v.background.failed.Done():
		return nil // stop returns why
	}
}

// stop finishes the running requests, for timeout at most.
func (v *server) stop(timeout time.Duration) error {
	v.stopping.Store(true)
	grace, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	v.background.stop()
	// Meanwhile the admin listener reports that the process is not ready. A profile that is being taken there does not
	// delay the end.
	err := errors.Join(v.api.Shutdown(grace), v.admin.Close())
	v.background.end()
	return errors.Join(err, v.background.wait(grace))
}

// closeConnections has each response of a stopping process close its connection. The client's next request then opens a
// connection, which a load balancer gives to another replica. Otherwise that request would be lost if it arrived when
// idle connections are closed.
func closeConnections(next http.Handler, stopping *atomic.Bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if stopping.Load() {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}
