package run

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/refreshd/refreshd/config"
)

// migrate migrates the schema to the version that this program needs.
func (p process) migrate(ctx context.Context, c config.Config) (err error) {
	kind := p.storeOf(c)
	if err := placeOf(kind, c.Database).refuses("migrate"); err != nil {
		return err
	}
	store, err := kind.Open(ctx, c.Database, p.logger(c))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if store.Migrate == nil {
		return fmt.Errorf("%s has no schema: there is nothing to migrate", c.Database.Redacted)
	}
	if err := store.Migrate(ctx, func(line string) { fmt.Fprintln(p.stdout, line) }); err != nil {
		return err
	}
	fmt.Fprintf(p.stdout, "the schema of %s is up to date\n", c.Database.Redacted)
	return nil
}

// migrateStatus shows the version of the schema. It returns an error if a migration is pending, so that a script sees
// it in the exit status.
func (p process) migrateStatus(ctx context.Context, c config.Config) error {
	kind := p.storeOf(c)
	if err := placeOf(kind, c.Database).refuses("migrate"); err != nil {
		return err
	}
	if kind.Schema == nil {
		return fmt.Errorf("%s has no schema, or its store does not report it", c.Database.Redacted)
	}
	s, err := kind.Schema(ctx, c.Database)
	if err != nil {
		return err
	}
	if kind.Embedded != nil {
		nothing, err := kind.Embedded.HoldsNothing(kind.Embedded.File(c.Database))
		if err != nil {
			return err
		}
		if nothing {
			fmt.Fprintf(p.stdout, "%s does not exist yet, or is empty\n", c.Database.Redacted)
		}
	}
	fmt.Fprintf(p.stdout, "%s: schema version %d, this program: %d\n", c.Database.Redacted, s.Version, s.Program)
	for _, name := range s.Pending {
		fmt.Fprintln(p.stdout, "pending", name)
	}
	switch {
	case len(s.Pending) > 0:
		return fmt.Errorf("pending migrations: %d; run `refreshd migrate`", len(s.Pending))
	case s.Version > s.Program:
		fmt.Fprintln(p.stdout, "the schema is newer than this program; `refreshd serve` refuses to start if it cannot use it")
	default:
		fmt.Fprintln(p.stdout, "the schema is up to date")
	}
	return nil
}

// health asks the service that listens on this machine whether it is ready: a container without a shell has no curl.
func (p process) health(ctx context.Context, c config.Config) error {
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return fmt.Errorf("REFRESHD_LISTEN: %w", err)
	}
	if address := net.ParseIP(host); host == "" || address != nil && address.IsUnspecified() {
		host = "127.0.0.1"
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	url := "http://" + net.JoinHostPort(host, port) + "/readyz"
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	// The default client would use a proxy that the environment names.
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("no response; is `refreshd serve` running, with this REFRESHD_LISTEN? %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s responds with %s: the log says why", url, response.Status)
	}
	fmt.Fprintln(p.stdout, "ready")
	return nil
}
