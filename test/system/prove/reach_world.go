package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/refreshd/refreshd/test/support/postgres"
	"github.com/refreshd/refreshd/test/support/rig"
	"github.com/refreshd/refreshd/test/system/prove/observe"
)

// reach is the part of a setting that concerns resource servers. The clocks of the services run at the speed of the
// true time: a resource server adds durations of its own clock and of the services' clocks.
type reach struct {
	Name    string
	Says    string
	Servers int // resource servers of each tenant
	// Apart is by how much the clocks of services and resource servers are off, in either direction. If it is below zero,
	// only that of the second service is off: it is behind.
	Apart    time.Duration
	Stepping bool                               // the clocks of the services are set again and again
	Upgrade  bool                               // the services first run the build from before the stream existed
	Standby  bool                               // a synchronous standby, for fail-overs
	Bouncer  bool                               // PgBouncer between the services and PostgreSQL
	Proof    bool                               // the resource servers require signed proofs
	Accept   bool                               // half of the resource servers accept on a stale view
	MaxAge   time.Duration                      // of a view
	Env      []string                           // of the services
	Deeds    func(*reachWorld, *nemesis) []deed // nil for none
}

func (s setting) describe() string {
	text := fmt.Sprintf("reach, %s: %s, %d service(s), %d resource server(s) of each tenant",
		s.Name, s.Engine, s.Services, s.Servers)
	if s.Apart > 0 {
		text += fmt.Sprintf(", clocks %s off", s.Apart)
	}
	if s.Stepping {
		text += ", clocks that are set"
	}
	return text
}

// fitsTheModel reports whether the clocks differ by as little as the model of a refresh token assumes, and no store
// forgets what it has shown.
func (r *reach) fitsTheModel() bool { return r.Apart == 0 && !r.Stepping && !r.Standby }

// clock returns the clock of a service.
func (r *reach) clock(i int, base time.Time) clock {
	c := clock{base: base, every: time.Microsecond, jump: 1}
	c.offset = [...]instant{0, 1, -1}[i%3] * r.Apart.Microseconds()
	return c
}

// extend starts what a round with resource servers has beside its database.
func (w *world) extend(ctx context.Context, s setting) (err error) {
	if s.Standby {
		if w.standby, err = postgres.StartStandby(ctx, w.server); err != nil {
			return err
		}
	}
	if s.Bouncer {
		return w.startBouncer(ctx)
	}
	return err
}

// startBouncer starts PgBouncer in transaction mode. It ignores the settings of a connection, so the database has them.
func (w *world) startBouncer(ctx context.Context) error {
	c, err := pgx.Connect(ctx, w.database)
	if err != nil {
		return err
	}
	defer c.Close(context.WithoutCancel(ctx))
	name := pgx.Identifier{c.Config().Database}.Sanitize()
	for _, setting := range postgres.NotPassedOn {
		if _, err := c.Exec(ctx, "ALTER DATABASE "+name+" SET "+setting); err != nil {
			return err
		}
	}
	w.bouncer, err = w.server.StartBouncer(ctx, "pool_mode = transaction", "default_pool_size = 40",
		"server_login_retry = 1", postgres.PassOver)
	return err
}

// reachWorld is a world with resource servers. A connection of a resource server goes through its balancer, which
// chooses a service, and through the wire between the two.
type reachWorld struct {
	*world
	setting setting
	servers []*resourceServer
	routes  []*route // by resource server
	pool    *pool
}

// route is the network between a resource server and the services.
type route struct {
	balancer *balancer
	wires    []*wire // by service
}

const (
	publicURL = "https://prove.example"
	feedKey   = "ak_prove_feed_feed_feed_feed_feed"
	// doomed is an application that is deleted and made again.
	doomed = "doomed"
)

// reachApplications are those whose tokens the resource servers check.
var reachApplications = []string{"patient", "web", "none", "limited", doomed}

// newReachWorld starts the services and the resource servers. The caller has to close the result even if there is an
// error.
func newReachWorld(ctx context.Context, o roundOptions, checker rig.Program) (*reachWorld, error) {
	w := &reachWorld{setting: o.setting, pool: newPool()}
	var err error
	if w.world, err = newWorld(ctx, o.program, o.setting, slices.Concat(o.setting.Env, o.env)); err != nil {
		return w, err
	}
	for t := range tenants + 1 {
		n := o.setting.Servers
		if t == tenants {
			n = 1
		}
		for i := range n {
			if err := w.addServer(t, i, checker); err != nil {
				return w, err
			}
		}
	}
	return w, nil
}

func (w *reachWorld) addServer(tenant, i int, checker rig.Program) (err error) {
	p := &route{}
	w.routes = append(w.routes, p)
	name := fmt.Sprintf("resource server %d of %s", i, tenantName(tenant))
	for j, m := range w.members {
		wire, err := newWire(fmt.Sprintf("%s to service %d", name, j), "127.0.0.1:0", m.settings.Listen)
		if err != nil {
			return err
		}
		p.wires = append(p.wires, wire)
	}
	if p.balancer, err = newBalancer(p.wires); err != nil {
		return err
	}
	base := "http://" + p.balancer.address() + "/t/" + tenantName(tenant)
	file := filepath.Join(checker.Dir, strings.ReplaceAll(name, " ", "-")+fmt.Sprintf("-%d", time.Now().UnixNano()))
	s := &resourceServer{
		name: name, tenant: tenantName(tenant), program: checker, log: file + ".log", pool: w.pool,
		config: observe.Config{
			Issuer: publicURL + "/t/" + tenantName(tenant), Audiences: reachApplications, APIKey: feedKey,
			FeedURL: base + "/revocations", KeysURL: base + "/.well-known/jwks.json",
			MaxAge: w.setting.MaxAge, RequireProof: w.setting.Proof, Accept: w.setting.Accept && i%2 == 1,
		},
	}
	if i%2 == 0 {
		s.config.StateFile = file + ".state"
	}
	s.clockFile = file + ".clock"
	w.servers = append(w.servers, s)
	// The clock of every other one is off in the other direction.
	off := [...]time.Duration{w.setting.Apart, -w.setting.Apart}[i%2]
	if w.setting.Apart < 0 {
		off = 0
	}
	if err := rig.Ahead(off).Set(s.clockFile); err != nil {
		return err
	}
	return s.start()
}

// close ends everything.
func (w *reachWorld) close(ctx context.Context) (err error) {
	for _, s := range w.servers {
		err = errors.Join(err, s.end(false))
	}
	for _, p := range w.routes {
		if p.balancer != nil {
			p.balancer.close()
		}
		for _, wire := range p.wires {
			wire.close()
		}
	}
	if w.world != nil {
		err = errors.Join(err, w.world.close(ctx))
	}
	return err
}
