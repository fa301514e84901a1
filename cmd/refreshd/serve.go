package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"os/signal"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/refreshd/refreshd/adapter/cli"
	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/config"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/usecase"
)

// errStopping is why a process that was told to stop is not ready.
var errStopping = errors.New("the process is stopping")

// serve runs the service until ctx is done, and then finishes what is running.
func (p process) serve(ctx context.Context, c config.Config) (err error) {
	var kickstart *cli.Document // read first: a slip in the file must not make a database
	if c.KickstartFile != "" {
		document, err := p.readKickstart(c.KickstartFile)
		if err != nil {
			return err
		}
		kickstart = &document
	}
	s, err := p.open(ctx, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.store.Close()) }()

	listener, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("listen for the API (REFRESHD_LISTEN): %w", err)
	}
	defer listener.Close()
	var adminListener net.Listener
	if c.AdminListen != "" {
		if adminListener, err = net.Listen("tcp", c.AdminListen); err != nil {
			return fmt.Errorf("listen for metrics and health (REFRESHD_ADMIN_LISTEN; empty turns it off): %w", err)
		}
		defer adminListener.Close()
	}
	publicURL := c.PublicURL
	if publicURL == "" {
		publicURL = config.DerivePublicURL(listener.Addr().String())
	}
	if address, ok := listener.Addr().(*net.TCPAddr); ok && !address.IP.IsLoopback() &&
		publicURL == config.DerivePublicURL(listener.Addr().String()) {
		s.log.Warn("issuers of access tokens begin with an address of this machine: set REFRESHD_PUBLIC_URL",
			"event", eventPublicURLMissing, "url", publicURL)
	}
	if c.Restored {
		s.log.Warn("token strings that are newer than the store are exchanged: unset REFRESHD_RESTORED once clients are back",
			"event", eventRestored)
	}
	if err := p.fill(ctx, c, s, publicURL, kickstart); err != nil {
		return err
	}

	var stopping atomic.Bool
	ready := s.metrics.Readiness((&readiness{ctx: ctx, probe: s.store.Ready}).ready) // the API's and the admin listener's
	api, err := s.api(c, publicURL, ready)
	if err != nil {
		return err
	}
	handler, err := api.Handler()
	if err != nil {
		return err
	}
	server, admin := web.NewServer(parting(handler, &stopping), s.log), web.NewServer(s.admin(ready), s.log)
	admin.WriteTimeout = 2 * time.Minute // a profile takes its time
	ended := make(chan error, 2)
	if adminListener != nil {
		go func() { ended <- admin.Serve(adminListener) }()
		s.log.Info("admin listening", "event", eventListening, "address", adminListener.Addr().String())
	}
	go func() { ended <- server.Serve(listener) }()
	reading, stopReading := context.WithCancel(context.WithoutCancel(ctx)) // until the last request is answered
	read := make(chan struct{})
	go func() {
		defer close(read)
		s.readKeys(reading, hangups())
	}()
	purging, stopPurging := context.WithCancel(ctx)
	purged := make(chan struct{})
	go func() {
		defer close(purged)
		s.runJanitor(purging, c)
	}()
	s.log.Info("listening", "event", eventListening, "address", listener.Addr().String(), "url", publicURL, "database", c.Database.Redacted(),
		"version", programVersion())

	select {
	case <-ctx.Done():
		s.log.Info("stopping: finishing what is running", "event", eventStopping)
		stopping.Store(true)
		// A balancer takes a moment to see that the process is not ready, and until then goes on sending.
		select {
		case <-time.After(c.ShutdownDelay):
		case err = <-ended:
		}
	case err = <-ended:
		err = fmt.Errorf("serve: %w", err)
	}
	stopping.Store(true)
	grace, cancel := context.WithTimeout(context.Background(), c.ShutdownTimeout)
	defer cancel()
	// Meanwhile the admin listener says that the process is not ready. A profile that is being taken there is no reason to stay.
	err = errors.Join(err, server.Shutdown(grace), admin.Close())
	stopReading()
	stopPurging()
	<-read
	<-purged
	return err
}

// parting says with each answer of a process that is stopping that its connection ends here. The caller's next call then opens one,
// which a balancer gives to another replica; else it would be on its way when the idle connections are closed, and get lost.
func parting(next http.Handler, stopping *atomic.Bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if stopping.Load() {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}

// fill puts into the store what the kickstart file says; or, into an embedded store that is empty, what a first user needs.
func (p process) fill(ctx context.Context, c config.Config, s *service, publicURL string, kickstart *cli.Document) error {
	if kickstart != nil {
		return p.kickstart(ctx, s, *kickstart)
	}
	if c.Database.Engine == config.Postgres {
		return nil
	}
	k, key, err := cli.FirstRun(rand.Reader)
	if err != nil {
		return err
	}
	if filled, err := s.filled(ctx, c, k); err != nil || filled {
		return err
	}
	notice := cli.FirstRunNotice{
		BaseURL: publicURL, TenantID: k.Tenants[0].Tenant.ID, ApplicationID: k.Tenants[0].Applications[0].ID,
	}
	// The file comes first: a key that is in the store and nowhere else would be lost. It also tells, until the end, that a first run
	// was begun; on a terminal it goes then, for the key is shown.
	if notice.KeyFile, err = writeFirstKey(c, key); err != nil {
		return err
	}
	if _, err := s.applier().Do(ctx, k); err != nil {
		return err
	}
	if !cli.IsTerminal(p.stdout) {
		cli.PrintFirstRun(p.stdout, notice)
		return nil
	}
	file := notice.KeyFile
	notice.Key, notice.KeyFile = key, ""
	cli.PrintFirstRun(p.stdout, notice)
	return os.Remove(file)
}

// filled tells whether the store holds anything but a part of what a first run makes. A first run that was cut short, by a power cut
// say, is gone through again: its API key comes last, and without one there is nothing to try. That it was a first run shows in the file
// with the key that it was about to store: a store that somebody filled otherwise gets no key that nobody asked for.
func (s *service) filled(ctx context.Context, c config.Config, k usecase.Kickstart) (bool, error) {
	hasData, err := s.store.HasData(ctx)
	if err != nil || !hasData {
		return false, err
	}
	beside, err := os.ReadDir(filepath.Dir(c.Database.Path))
	begun := slices.ContainsFunc(beside, func(f fs.DirEntry) bool { return strings.HasPrefix(f.Name(), firstKeyName) })
	if err != nil || !begun {
		return true, err
	}
	if _, err := s.store.APIKeyByName(ctx, k.APIKeys[0].APIKey.Name); !errors.Is(err, domain.ErrNotFound) {
		return true, err
	}
	tenants, err := s.store.Tenants(ctx, 2)
	return len(tenants) != 1 || !reflect.DeepEqual(tenants[0], k.Tenants[0].Tenant), err
}

// writeFirstKey writes the key to a file beside the embedded database. One that is there is another database's, and stays; but that
// of a store in memory, which is gone.
func writeFirstKey(c config.Config, key domain.Secret) (string, error) {
	if c.Database.Engine == config.Memory {
		path, err := filepath.Abs(filepath.Join("refreshd-data", "first-api-key-memory"))
		if err != nil {
			return "", err
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		return path, cli.WriteKeyFile(path, key)
	}
	first, err := filepath.Abs(filepath.Join(filepath.Dir(c.Database.Path), firstKeyName))
	if err != nil {
		return "", err
	}
	path := first
	for n := 2; ; n++ {
		if err := cli.WriteKeyFile(path, key); !errors.Is(err, fs.ErrExist) {
			return path, err
		}
		path = fmt.Sprintf("%s-%d", first, n)
	}
}

// admin serves what operators need and the world must not see.
func (s *service) admin(ready func(context.Context) error) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", s.metrics.Handler())
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "the process lives") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := ready(r.Context()); err != nil {
			s.tellNotReady(err)
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ready")
	})
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}

// tellNotReady logs why a probe of the admin listener failed, at most once a second.
func (s *service) tellNotReady(err error) {
	now, last := time.Now().UnixNano(), s.notReadyAt.Load()
	if now-last >= int64(time.Second) && s.notReadyAt.CompareAndSwap(last, now) {
		s.log.Warn("not ready", "event", eventNotReady, "error", err)
	}
}

// hangups receives SIGHUP, which asks a service to read again what it can. On a terminal it has another meaning, see main.
func hangups() <-chan os.Signal {
	received := make(chan os.Signal, 1)
	if !cli.IsTerminal(os.Stderr) {
		signal.Notify(received, syscall.SIGHUP)
	}
	return received
}

// readKeys keeps what is known of the keys up to date until ctx is done, and reads at once when hangup receives. A store that is down
// for a while is no reason to stop, and is logged once.
func (s *service) readKeys(ctx context.Context, hangup <-chan os.Signal) {
	ticker := time.NewTicker(usecase.KeyReadInterval)
	defer ticker.Stop()
	failing := false
	for asked := false; ; asked = false {
		select {
		case <-ctx.Done():
			return
		case <-hangup:
			asked = true
		case <-ticker.C:
		}
		err := s.readKeysOnce(ctx)
		if err != nil && ctx.Err() != nil {
			return
		}
		switch {
		case err != nil && (!failing || asked):
			s.log.Warn("changes of keys cannot be read; nothing is signed or verified until they can, key sets are published as known",
				"event", eventKeysReloadFailed, "error", err)
		case err == nil && asked:
			s.log.Info("SIGHUP: the keys were read again; the configuration is read at start only", "event", eventKeysReloaded)
		case err == nil && failing:
			s.log.Info("changes of keys are read again", "event", eventKeysReloaded)
		}
		failing = err != nil
	}
}

func (s *service) readKeysOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return s.keys.Reload(ctx)
}
