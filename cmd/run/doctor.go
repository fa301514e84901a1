package run

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/refreshd/refreshd/adapter/cli"
	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/config"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// checkTime bounds each step of the doctor that needs the database.
const checkTime = 10 * time.Second

// foreignPurge is how old the last pass may be where another process makes them: a job of each day, and a second one
// that failed.
const foreignPurge = 49 * time.Hour

// examination is a run of the doctor.
type examination struct {
	*service
	opened Opened
	config config.Config
	report func(Finding)
}

func (e *examination) ok(check, format string, a ...any) {
	e.report(Finding{Check: check, Status: cli.FindingOK, Detail: fmt.Sprintf(format, a...)})
}

func (e *examination) warn(check, advice, format string, a ...any) {
	e.report(Finding{Check: check, Status: cli.FindingWarning, Detail: fmt.Sprintf(format, a...), Advice: advice})
}

func (e *examination) fail(check, advice, format string, a ...any) {
	e.report(Finding{Check: check, Status: cli.FindingFailed, Detail: fmt.Sprintf(format, a...), Advice: advice})
}

// doctor checks the deployment of c. It writes nothing.
func (p process) doctor(ctx context.Context, c config.Config, report func(Finding)) {
	p.examine(ctx, c, report, time.Now)
}

func (p process) examine(ctx context.Context, c config.Config, report func(Finding), clock func() time.Time) {
	e := &examination{service: p.newService(c), config: c, report: report}
	e.log, e.clock = slog.New(slog.DiscardHandler), clock
	e.publicURL()
	e.settings()
	e.restored()
	e.files()
	opened := e.open(ctx)
	if e.store != nil {
		defer e.store.Close()
	}
	// Also after a failure, of which these may find the reason.
	isCurrent := e.schema(ctx, opened)
	e.server(ctx, opened)
	switch {
	case !opened && e.place == place(inMemory{}):
	case !opened || !isCurrent || !e.ready(ctx):
		e.fail("keys, purge, audit trail, API keys", "correct what failed above, and run this again", "not checked")
	default:
		e.masterKeys(ctx)
		e.purge(ctx)
		e.auditTrail(ctx)
		e.apiKeys(ctx)
		e.rootTenant(ctx)
	}
}

// within returns what f does, or an error after checkTime. f may then continue, until the process ends: not every
// database driver heeds a context.
func within[T any](ctx context.Context, f func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		defer cancel()
		value, err := f(ctx)
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		select {
		case r := <-done: // f was done first
			return r.value, r.err
		default:
			var none T
			return none, fmt.Errorf("no response within %s: %w", checkTime, ctx.Err())
		}
	}
}

func (e *examination) publicURL() {
	const check = "public URL"
	u, err := url.Parse(e.config.PublicURL)
	switch {
	case e.config.PublicURL == "" && !e.kind.Local:
		e.fail(check, "set REFRESHD_PUBLIC_URL, the same on every replica",
			"none is set, and `refreshd serve` refuses to start without it")
	case e.config.PublicURL == "":
		e.warn(check, "set REFRESHD_PUBLIC_URL", "none is set, and the port of REFRESHD_LISTEN is chosen at each start: "+
			"links and issuers change with it")
	case err != nil || u.Scheme != "https" && !web.IsLoopback(u.Host):
		e.warn(check, "put a balancer or proxy with TLS in front, and set REFRESHD_PUBLIC_URL to its https URL",
			"%s is not https: tokens and API keys would be sent in plain text, and cookies not at all", e.config.PublicURL)
	default:
		e.ok(check, "%s", e.config.PublicURL)
	}
}

// settings checks settings that are valid, and do not fit together.
func (e *examination) settings() {
	const check = "settings"
	var wrong, advice []string
	c := e.config
	if strings.HasPrefix(c.PublicURL, "https:") && len(c.TrustedProxies) == 0 {
		wrong = append(wrong, "REFRESHD_PUBLIC_URL is https, so a proxy sends all requests, and REFRESHD_TRUSTED_PROXIES "+
			"does not name it: all clients have one address, and share one rate limit")
		advice = append(advice, "set REFRESHD_TRUSTED_PROXIES to the addresses of the proxy")
	}
	if c.Pprof && c.AdminListen == "" {
		wrong = append(wrong, "REFRESHD_PPROF is set, and the admin listener that serves profiles is off")
		advice = append(advice, "set REFRESHD_ADMIN_LISTEN, or remove REFRESHD_PPROF")
	}
	if !c.MasterKey.IsZero() && c.MasterKey.Equal(c.MasterKeyPrevious) {
		wrong = append(wrong, "REFRESHD_MASTER_KEY and REFRESHD_MASTER_KEY_PREVIOUS are the same key")
		advice = append(advice, "set REFRESHD_MASTER_KEY to the new key")
	}
	if len(wrong) > 0 {
		e.warn(check, strings.Join(advice, "; "), "%s", strings.Join(wrong, "; "))
		return
	}
	e.ok(check, "they fit together")
}

func (e *examination) restored() {
	if e.config.Restored {
		e.warn("restored", "set it only until the clients that were active before the restore have returned, then "+
			"remove it: OPERATING.md, \"Back up and restore\"", "REFRESHD_RESTORED is set: token strings of a later "+
			"generation than the stored one are exchanged, so a replay of one is not detected")
		return
	}
	e.ok("restored", "REFRESHD_RESTORED is not set")
}

// files checks the permissions of the files of secrets.
func (e *examination) files() {
	const check = "file permissions"
	paths := slices.Clone(e.config.SecretFiles)
	if e.kind.Embedded != nil {
		file := e.kind.Embedded.File(e.config.Database)
		dir := filepath.Dir(file)
		paths = append(paths, file, file+"-wal", file+"-shm", filepath.Join(dir, masterKeyName))
		for _, pattern := range []string{firstKeyName + "*", "*." + firstKeyName} {
			more, _ := filepath.Glob(filepath.Join(dir, pattern)) // a malformed path has no such files
			paths = append(paths, more...)
		}
	}
	var open []string
	n := 0
	for _, path := range paths {
		info, err := os.Stat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			e.fail(check, "let the user of the service read it", "%v", err)
			return
		}
		n++
		if info.Mode().Perm()&0o077 != 0 && info.Mode().IsRegular() {
			open = append(open, fmt.Sprintf("%s has %#o", path, info.Mode().Perm()))
		}
	}
	if len(open) > 0 {
		e.warn(check, "run chmod 600 on each, as its owner",
			"other users of this machine may read files of secrets: %s", strings.Join(open, ", "))
		return
	}
	e.ok(check, "only their owner may read the files of secrets (%d)", n)
}

// open opens the store, and creates none.
func (e *examination) open(ctx context.Context) (opened bool) {
	const check = "database"
	if e.place == place(inMemory{}) {
		e.warn(check, "set REFRESHD_DATABASE_URL for anything but a trial",
			"%s is in the memory of one process, and ends with it", e.config.Database.Redacted)
		return false
	}
	isEmpty, err := e.place.isEmpty(!e.config.MasterKey.IsZero())
	switch {
	case err != nil:
		e.fail(check, "see there", "%v", err)
		return false
	case isEmpty:
		e.fail(check, "set REFRESHD_DATABASE_URL; `refreshd serve` and `refreshd apply` make a database",
			"there is none at %s", e.config.Database.Redacted)
		return false
	}
	e.opened, err = within(ctx, func(ctx context.Context) (Opened, error) {
		return e.kind.Open(ctx, e.config.Database, e.log)
	})
	if err != nil {
		e.fail(check, "see OPERATING.md: \"Deploy with PostgreSQL\", \"Fail over\", \"Use PgBouncer\", "+
			"\"Run it on SQLite\"",
			"%s cannot be opened: %v", e.config.Database.Redacted, err)
		return false
	}
	e.store = e.opened.Store
	e.ok(check, "%s responds", e.config.Database.Redacted)
	return true
}

// schema reports whether the schema is that of this program, or a newer one.
func (e *examination) schema(ctx context.Context, opened bool) (isCurrent bool) {
	const check = "schema"
	if e.kind.Schema == nil || !opened && e.kind.Embedded != nil {
		return true
	}
	s, err := within(ctx, func(ctx context.Context) (Schema, error) { return e.kind.Schema(ctx, e.config.Database) })
	switch {
	case err != nil && !opened: // for the same reason
	case err != nil:
		e.fail(check, "`refreshd migrate --status` reads it too", "%v", err)
	case len(s.Pending) > 0 && e.kind.Local:
		e.fail(check, "back up the database, and run `refreshd migrate`, or `refreshd serve`, which migrates it",
			"version %d, this program: %d", s.Version, s.Program)
	case len(s.Pending) > 0:
		e.fail(check, "run `refreshd migrate`", "version %d, this program: %d; `refreshd serve` refuses to start",
			s.Version, s.Program)
	case s.Version > s.Program:
		e.warn(check, "complete the upgrade: run the program that migrated it everywhere",
			"version %d is newer than this program: %d", s.Version, s.Program)
		return true
	default:
		e.ok(check, "version %d, as this program needs", s.Version)
		return true
	}
	return false
}

// server reports what only the kind of the store checks.
func (e *examination) server(ctx context.Context, opened bool) {
	if e.kind.Examine == nil {
		return
	}
	found, err := within(ctx, func(ctx context.Context) ([]Finding, error) {
		return e.kind.Examine(ctx, e.config.Database, e.clock)
	})
	for _, f := range found {
		e.report(f)
	}
	if err != nil && opened { // otherwise the reason was reported
		e.fail("database server", "run it again", "not checked: %v", err)
	}
}

func (e *examination) ready(ctx context.Context) bool {
	_, err := within(ctx, func(ctx context.Context) (struct{}, error) { return struct{}{}, e.store.Ready(ctx) })
	if err != nil {
		e.fail("readiness", "a replica is not ready, and takes no requests, until this is corrected", "%v", err)
		return false
	}
	e.ok("readiness", "the store accepts the writes of the service")
	return true
}

func (e *examination) masterKeys(ctx context.Context) {
	const check = "keys"
	_, err := within(ctx, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, e.openKeys(ctx, e.config, true)
	})
	if err != nil {
		e.fail(check, "set the master key that this database was made with: OPERATING.md, \"When a database or a key is "+
			"lost or stolen\"", "%v", err)
		return
	}
	found, err := within(ctx, e.keys.CheckAll)
	switch {
	case err != nil:
		e.fail(check, "run it again", "not checked: %v", err)
	case len(found.Unopened) > 0:
		e.fail(check, "restore the database from a backup, or name the master key that sealed them in "+
			"REFRESHD_MASTER_KEY_PREVIOUS", "the master key does not open %d of %d: %s", len(found.Unopened), found.Stored,
			few(found.Unopened))
	case found.Stored == 0:
		e.ok(check, "the database has none yet; the first start makes them")
	case found.Previous > 0:
		e.warn(check, "run `refreshd key reseal` with both master keys, which seals them again",
			"only the previous master key opens %d of %d", found.Previous, found.Stored)
	case !e.config.MasterKeyPrevious.IsZero():
		e.warn(check, "remove REFRESHD_MASTER_KEY_PREVIOUS when every replica has the new master key",
			"the master key opens all %d, and the previous one is still set", found.Stored)
	default:
		e.ok(check, "the master key opens all %d", found.Stored)
	}
}

// overdue is how long after the last pass the next one has ended, unless the purge fails.
func (e *examination) overdue() time.Duration {
	if e.config.PurgeInterval == 0 {
		return foreignPurge
	}
	return 2*e.config.PurgeInterval + time.Hour
}

func (e *examination) purge(ctx context.Context) {
	const check = "purge"
	if e.opened.LastPass == nil {
		return
	}
	const advice = "run a replica with REFRESHD_PURGE_INTERVAL above 0s, or `refreshd purge` each day; the log says why " +
		"a pass failed (purge.failed)"
	ended, err := within(ctx, e.opened.LastPass)
	if err != nil {
		e.fail(check, "run it again", "not checked: %v", err)
		return
	}
	now := e.clock()
	if ended.IsZero() {
		old, err := e.hasEventsBefore(ctx, now.Add(-e.overdue()))
		switch {
		case err != nil:
			e.fail(check, "run it again", "not checked: %v", err)
		case old:
			e.warn(check, advice, "no pass has ever ended: ended refresh tokens are not deleted, and the tables grow")
		default:
			e.ok(check, "no pass has ended yet, and the database is new")
		}
		return
	}
	age := now.Sub(ended).Round(time.Second)
	if age > e.overdue() {
		e.warn(check, advice, "the last pass ended %s ago, more than %s: ended refresh tokens are not deleted, and the "+
			"tables grow", age, e.overdue())
		return
	}
	e.ok(check, "the last pass ended %s ago", age)
}

func (e *examination) hasEventsBefore(ctx context.Context, at time.Time) (bool, error) {
	page, err := within(ctx, func(ctx context.Context) (port.EventPage, error) {
		return e.store.Events(ctx, port.EventQuery{Below: domain.FirstID(at), Limit: 1, MaxBytes: 1, MaxRows: 1})
	})
	return len(page.Events) > 0, err
}

func (e *examination) auditTrail(ctx context.Context) {
	const check = "audit trail"
	keep := e.config.AuditRetention
	old, err := e.hasEventsBefore(ctx, e.clock().Add(-keep-e.overdue()))
	switch {
	case err != nil:
		e.fail(check, "run it again", "not checked: %v", err)
	case old:
		e.warn(check, "see the check of the purge, which deletes them; or set REFRESHD_AUDIT_RETENTION the same everywhere",
			"it has events that are older than REFRESHD_AUDIT_RETENTION, %s, by more than %s", keep, e.overdue())
	default:
		e.ok(check, "events are kept for %s", keep)
	}
}

func (e *examination) rootTenant(ctx context.Context) {
	const check = "root tenant"
	id := e.config.RootTenant
	if id == "" {
		return
	}
	_, err := within(ctx, func(ctx context.Context) (domain.Tenant, error) { return e.store.Tenant(ctx, id) })
	switch {
	case errors.Is(err, domain.ErrNotFound) && id == config.FirstTenant:
		e.ok(check, "there is no tenant %q, and none is named: the root has only the keys that all tenants share", id)
	case errors.Is(err, domain.ErrNotFound):
		e.warn(check, "create the tenant, or correct REFRESHD_ROOT_TENANT",
			"there is no tenant %q: the root has no token endpoint, no metadata, and only the keys that all tenants share", id)
	case err != nil:
		e.fail(check, "run it again", "not checked: %v", err)
	default:
		e.ok(check, "%s exists", id)
	}
}

func (e *examination) apiKeys(ctx context.Context) {
	const check = "API keys"
	all, err := within(ctx, func(ctx context.Context) (all []domain.APIKey, err error) {
		for after := (domain.ID{}); ; {
			page, next, err := e.store.APIKeys(ctx, "", after, port.MaxListRows)
			if err != nil {
				return nil, err
			}
			all = append(all, page...)
			if next == (domain.ID{}) {
				return all, nil
			}
			after = next
		}
	})
	if err != nil {
		e.fail(check, "run it again", "not checked: %v", err)
		return
	}
	var expired, wide []string
	for _, k := range all {
		switch {
		case k.Expired(e.clock()):
			expired = append(expired, k.Name)
		case k.ExpiresAt.IsZero() && isWide(k.Permissions):
			wide = append(wide, k.Name)
		}
	}
	var findings, advice []string
	if len(all) == 0 {
		findings = append(findings, "there are none, so no login service can issue a token")
		advice = append(advice, "run `refreshd apply` or `refreshd apikey create`")
	}
	if len(wide) > 0 {
		findings = append(findings, "permitted everything, administration included, and never expire: "+few(wide))
		advice = append(advice, "use a key for each purpose, and set expiresAt of those of administration")
	}
	if len(expired) > 0 {
		findings = append(findings, "expired: "+few(expired))
		advice = append(advice, "if no client uses them, run `refreshd apikey delete`")
	}
	if len(findings) > 0 {
		e.warn(check, strings.Join(advice, "; "), "%s", strings.Join(findings, "; "))
		return
	}
	e.ok(check, "%d, none has expired, and none is permitted everything without an expiry", len(all))
}

// isWide reports whether p names "*", and an endpoint of administration for more than reading.
func isWide(p domain.Permissions) bool {
	if len(p["*"]) == 0 {
		return false
	}
	for _, endpoint := range domain.AdministrationEndpoints() {
		for named, methods := range p {
			if (named == endpoint || strings.HasPrefix(named, endpoint+"/")) &&
				slices.ContainsFunc(methods, func(m string) bool { return m != "GET" }) {
				return true
			}
		}
	}
	return false
}

// few lists the first names.
func few(names []string) string {
	const most = 5
	if more := len(names) - most; more > 0 {
		return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", more)
	}
	return strings.Join(names, ", ")
}
