package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"os/signal"
	"path/filepath"
	"reflect"
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
	if c.Database.Engine == config.Postgres && c.PublicURL == "" {
		return errors.New("REFRESHD_PUBLIC_URL is not set, or empty: issuers of access tokens begin with it, and have to " +
			"be the same for all that serve a PostgreSQL database; set it to where clients reach the API, e.g. " +
			"https://auth.example.com")
	}
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
	readiness := &readiness{ctx: ctx, probe: s.store.Ready, log: s.log} // the API's and the admin listener's
	s.metrics.Ready(readiness.isReady)
	api, err := s.api(ctx, c, publicURL, readiness.ready)
	if err != nil {
		return err
	}
	handler, err := api.Handler()
	if err != nil {
		return err
	}
	server := web.NewServer(closeConnections(handler, &stopping), s.log)
	admin := web.NewServer(s.admin(readiness.ready, c.Pprof), s.log)
	admin.WriteTimeout = 2 * time.Minute // a profile takes its time
	ended := make(chan error, 2)
	if adminListener != nil {
		go func() { ended <- admin.Serve(adminListener) }()
		s.log.Info("admin listening", "event", eventListening, "address", adminListener.Addr().String())
	}
	go func() { ended <- server.Serve(listener) }()
	// Keys are read until the last request is answered.
	reading := begin(context.WithoutCancel(ctx), func(ctx context.Context) { s.readKeys(ctx, hangups(p.stderr)) })
	purging := begin(ctx, func(ctx context.Context) { s.runJanitor(ctx, c) })
	s.log.Info("listening", "event", eventListening, "address", listener.Addr().String(), "url", publicURL,
		"database", c.Database.Redacted(), "version", programVersion())

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
	purging.cancel()
	// Meanwhile the admin listener says that the process is not ready. A profile that is being taken there is no reason
	// to stay.
	err = errors.Join(err, server.Shutdown(grace), admin.Close())
	reading.cancel()
	reading.wait(grace)
	purging.wait(grace)
	return err
}

// closeConnections has each response of a process that is stopping close its connection. The client's next request then
// opens one, which a balancer gives to another replica; else that request would be lost if it is on its way when the
// idle connections are closed.
func closeConnections(next http.Handler, stopping *atomic.Bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if stopping.Load() {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}

// fill puts into the store what the kickstart file says; or, into an embedded store that is empty, what a first user needs.
func (p process) fill(
	ctx context.Context, c config.Config, s *service, publicURL string, kickstart *cli.Document,
) error {
	if kickstart != nil {
		return p.kickstart(ctx, s, *kickstart)
	}
	if c.Database.Engine == config.Postgres {
		return nil
	}
	dir := filepath.Dir(c.Database.Path)
	if c.Database.Engine == config.Memory {
		dir = "refreshd-data"
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	unlock, err := aloneIn(ctx, dir)
	if err != nil {
		return err
	}
	defer unlock()
	k, key, err := cli.FirstRun(rand.Reader)
	if err != nil {
		return err
	}
	var file string
	if c.Database.Engine == config.Memory {
		file, err = s.firstRunInMemory(ctx, dir, k, key)
	} else {
		file, err = s.firstRun(ctx, dir, filepath.Base(c.Database.Path), k, key)
	}
	switch {
	case err != nil:
		return err
	case file != "":
		cli.PrintFirstRun(p.stdout, cli.FirstRunNotice{
			BaseURL: publicURL, TenantID: k.Tenants[0].Tenant.ID, ApplicationID: k.Tenants[0].Applications[0].ID, KeyFile: file,
		})
	case cli.IsTerminal(p.stdout):
		return s.remind(ctx, p.stdout, dir, publicURL)
	}
	return nil
}

// firstRun gives a store that is empty something to try, and an API key in a file in dir, which it returns; none if the
// store was not empty. No other process may do so meanwhile.
//
// The key is first written to a file of the database's own, then stored, then written to the file that people are told
// of. So the API key of a first-api-key is in the store, and one that is in the store is in a file. Where the file of
// the first step is there already, a first run was cut short: it is finished, with the key in it.
func (s *service) firstRun(
	ctx context.Context, dir, database string, k usecase.Kickstart, key domain.Secret,
) (file string, err error) {
	begun := filepath.Join(dir, database+"."+firstKeyName)
	earlier, isBegun, err := cli.ReadAPIKeyFile(begun)
	if err != nil {
		return "", err
	}
	stored := false
	if isBegun {
		key, k.APIKeys[0].Key = earlier, earlier
		if stored, err = s.knows(ctx, key); err != nil {
			return "", err
		}
	}
	if !stored {
		filled, err := s.filled(ctx, k, isBegun)
		if err != nil {
			return "", err
		}
		if filled {
			return "", removeIfThere(begun)
		}
		if !isBegun {
			if err := cli.WriteKeyFile(begun, key); err != nil {
				return "", err
			}
		}
		if _, err := s.applier().Do(ctx, k); err != nil {
			return "", err
		}
	}
	if file, err = writeFirstKey(dir, key); err != nil {
		return "", err
	}
	return file, os.Remove(begun)
}

// firstRunInMemory does so for a store that nobody else can have, and that ends with the process: a file that is there
// is of a store that is gone.
func (s *service) firstRunInMemory(
	ctx context.Context, dir string, k usecase.Kickstart, key domain.Secret,
) (file string, err error) {
	if _, err := s.applier().Do(ctx, k); err != nil {
		return "", err
	}
	file = filepath.Join(dir, firstKeyName+"-memory")
	if err := removeIfThere(file); err != nil {
		return "", err
	}
	return file, cli.WriteKeyFile(file, key)
}

func removeIfThere(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// writeFirstKey writes the key to a file in dir, unless one has it. A file with another key is another database's, and
// stays.
func writeFirstKey(dir string, key domain.Secret) (string, error) {
	first := filepath.Join(dir, firstKeyName)
	path := first
	for n := 2; ; n++ {
		if there, _, err := cli.ReadAPIKeyFile(path); err == nil && there.Equal(key) {
			return path, nil
		}
		if err := cli.WriteKeyFile(path, key); !errors.Is(err, fs.ErrExist) {
			return path, err
		}
		path = fmt.Sprintf("%s-%d", first, n)
	}
}

// remind says on a later start where the API key of the first one is, if it still works.
func (s *service) remind(ctx context.Context, w io.Writer, dir, publicURL string) error {
	files, err := filepath.Glob(filepath.Join(dir, firstKeyName+"*"))
	if err != nil {
		return err
	}
	for _, file := range files {
		key, is, err := cli.ReadAPIKeyFile(file)
		if err != nil || !is {
			continue
		}
		works, err := s.knows(ctx, key)
		if err != nil {
			return err
		}
		if works {
			cli.PrintLaterRun(w, file, publicURL)
			return nil
		}
	}
	return nil
}

// knows reports whether key is an API key that the store knows, and that works.
func (s *service) knows(ctx context.Context, key domain.Secret) (bool, error) {
	authenticate := usecase.Authenticate{APIKeys: s.store, Tenants: s.store, Keys: s.keys, Clock: s.clock}
	_, err := authenticate.APIKey(ctx, key, http.MethodPost, "/jwt/issue")
	if errors.Is(err, domain.ErrUnauthorized) {
		return false, nil
	}
	return err == nil, err
}

// filled reports whether the store holds anything but a part of what a first run makes, which only one that was begun
// leaves: a store that somebody filled otherwise gets no key that nobody asked for.
func (s *service) filled(ctx context.Context, k usecase.Kickstart, begun bool) (bool, error) {
	hasData, err := s.store.HasData(ctx)
	if err != nil || !hasData || !begun {
		return hasData, err
	}
	if _, err := s.store.APIKeyByName(ctx, k.APIKeys[0].APIKey.Name); !errors.Is(err, domain.ErrNotFound) {
		return true, err
	}
	t, one, err := usecase.OnlyTenant(ctx, s.store)
	t.Version = 0
	return !one || !reflect.DeepEqual(t, k.Tenants[0].Tenant), err
}

// admin serves what operators need and the world must not see.
func (s *service) admin(ready func(context.Context) error, profiles bool) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", s.metrics.Handler())
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := ready(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ready")
	})
	if profiles {
		// Without cmdline, which shows arguments to whom process lists do not.
		local := http.NewServeMux()
		local.HandleFunc("/debug/pprof/", pprof.Index)
		local.HandleFunc("/debug/pprof/profile", pprof.Profile)
		local.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		local.HandleFunc("/debug/pprof/trace", pprof.Trace)
		mux.HandleFunc("/debug/pprof/", func(w http.ResponseWriter, r *http.Request) {
			// A page of a stranger in the browser of somebody who can reach the listener reaches it too, by having its
			// own name resolve to the listener's address; but it cannot choose the header.
			if !web.IsLoopback(r.Host) {
				http.Error(w, "profiles are for requests to localhost or a loopback address", http.StatusForbidden)
				return
			}
			local.ServeHTTP(w, r)
		})
	}
	return mux
}

// hangups receives SIGHUP, which asks a service to read again what it can. On a terminal it has another meaning, see
// main.
func hangups(log io.Writer) <-chan os.Signal {
	received := make(chan os.Signal, 1)
	if !cli.IsTerminal(log) {
		signal.Notify(received, syscall.SIGHUP)
	}
	return received
}

// readKeys keeps the known keys up to date until ctx is done. It reads immediately when hangup receives. A store that
// is down for a while is no reason to stop, and is logged once.
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
			s.log.Warn("changes of keys cannot be read; nothing is signed or verified until they can, "+
				"key sets are published as known", "event", eventKeysReloadFailed, "error", err)
		case err == nil && asked:
			s.log.Info("SIGHUP: the keys were read again; the configuration is read at start only",
				"event", eventKeysReloaded)
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
