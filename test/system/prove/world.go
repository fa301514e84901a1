package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/refreshd/refreshd/test/support/postgres"
	"github.com/refreshd/refreshd/test/support/rig"
)

// setting is the setting of a round.
type setting struct {
	Engine   string // postgres or sqlite
	Services int
	Jumps    bool // the clocks move by a second at a time, otherwise by milliseconds
	OneByOne bool // no shared writes
	Limits   bool // the rate of a refresh token is limited so that clients reach the limit
	// Purges makes a pass of the purge each second. It compares its clock with PostgreSQL's, which has the true time, so
	// this is for SQLite.
	Purges bool

	*reach // of a round with resource servers

	first *rig.Program // that the services run first, if it is another one than after their next start
}

func (s setting) String() string {
	if s.reach != nil {
		return s.describe()
	}
	text := fmt.Sprintf("%s, %d service(s), clocks that flow", s.Engine, s.Services)
	if s.Jumps {
		text = fmt.Sprintf("%s, %d service(s), clocks that jump", s.Engine, s.Services)
	}
	if s.OneByOne {
		text += ", one by one"
	}
	if s.Limits {
		text += ", limited"
	}
	if s.Purges {
		text += ", purged"
	}
	return text
}

// speed is how much faster than the true time the clocks run.
const speed = 5

// member is a service with its two wires: to its clients and to its database.
type member struct {
	mu       sync.Mutex // held while the process is killed or restarted
	service  *rig.Service
	settings rig.Settings
	clients  *wire
	database *wire // nil for SQLite
	standby  *wire // nil without a standby
	clock    clock
	// address is that of the primary, as an operator moves it by DNS or a virtual address; nil without a standby.
	address *balancer

	clockFile string // of a clock that steps

	earlier atomic.Bool // the process may be of the program from before the revocation stream
}

// world is the processes of a round.
type world struct {
	program rig.Program
	mu      sync.Mutex // held while the database is killed
	server  *postgres.Server
	members []*member

	database string // its URL, without a wire between
	standby  *postgres.Server
	bouncer  *postgres.Bouncer
}

// newWorld starts all processes. The caller has to close the result even if there is an error.
func newWorld(ctx context.Context, program rig.Program, s setting, env []string) (w *world, err error) {
	w = &world{program: program}
	database := "sqlite:" + filepath.Join(program.Dir, fmt.Sprintf("prove-%d.db", time.Now().UnixNano()))
	if s.Engine == "memory" {
		database = "memory:"
	}
	if s.Engine == "postgres" {
		if w.server, err = postgres.StartServer(ctx, postgres.Options{Durable: true, Own: s.reach != nil}); err != nil {
			return w, err
		}
		if database, err = w.server.NewDatabase(ctx); err != nil {
			return w, err
		}
		if out, err := program.Run(ctx, rig.Settings{Database: database}, "migrate"); err != nil {
			return w, fmt.Errorf("%w\n%s", err, out)
		}
	}
	w.database = database
	if s.reach != nil {
		if err := w.extend(ctx, s); err != nil {
			return w, err
		}
	}
	base := time.Now().Truncate(time.Second)
	for i := range s.Services {
		addresses, err := rig.FreeAddresses(4)
		if err != nil {
			return w, err
		}
		m := &member{clock: clock{base: base, every: time.Millisecond, jump: speed * second / 1000}}
		if s.Jumps {
			m.clock.every, m.clock.jump = time.Second/speed, second
		}
		// The clocks of the first two differ by as much as the model allows.
		m.clock.offset = [...]instant{0, skew, skew / 2}[i]
		if s.reach != nil {
			m.clock = s.reach.clock(i, base)
		}
		m.settings = rig.Settings{
			Database: database, Kickstart: kickstart(s.reach != nil), Listen: addresses[0], AdminListen: addresses[1],
		}
		if w.server != nil {
			u, err := url.Parse(database)
			if err != nil {
				return w, err
			}
			host := u.Host
			if w.bouncer != nil {
				host = w.bouncer.Address()
				q := u.Query()
				q.Set("default_query_exec_mode", "exec")
				u.RawQuery = q.Encode()
			}
			if m.database, err = newWire(fmt.Sprintf("database %d", i), addresses[2], host); err != nil {
				return w, err
			}
			u.Host = addresses[2]
			if w.standby != nil {
				if m.standby, err = newWire(fmt.Sprintf("standby %d", i), "127.0.0.1:0", w.standby.Address()); err != nil {
					return w, err
				}
				if m.address, err = newBalancer([]*wire{m.database}); err != nil {
					return w, err
				}
				u.Host = m.address.address()
			}
			m.settings.Database = u.String()
		}
		clockOf := m.clock.environment()
		if s.reach != nil && s.Stepping {
			m.clockFile = filepath.Join(program.Dir, fmt.Sprintf("clock-%d-%d", i, time.Now().UnixNano()))
			if err := m.clock.rigged().Set(m.clockFile); err != nil {
				return w, err
			}
			clockOf = rig.ClockFile(m.clockFile)
		}
		m.settings.Env = append([]string{
			clockOf, "REFRESHD_PUBLIC_URL=" + publicURL, "REFRESHD_LOG_LEVEL=warn",
			"REFRESHD_PURGE_INTERVAL=" + map[bool]string{true: "1s", false: "0s"}[s.Purges],
			// No client presents a string that ended so long ago. Clients of the other rounds choose older ids.
			"REFRESHD_PURGE_AFTER=" + map[bool]string{true: "5m", false: "24h"}[s.Purges],
			"REFRESHD_RATE_LIMIT_REFRESH_TOKEN=" + map[bool]string{true: "1", false: "1000"}[s.Limits],
			"REFRESHD_RATE_LIMIT_ADDRESS=0", // all clients have the same
			fmt.Sprintf("REFRESHD_DATABASE_WRITE_COMBINING=%t", !s.OneByOne),
		}, env...)
		if m.clients, err = newWire(fmt.Sprintf("clients %d", i), addresses[3], addresses[0]); err != nil {
			return w, err
		}
		w.members = append(w.members, m)
		first := program
		if s.first != nil {
			first = *s.first
			m.earlier.Store(true)
		}
		if m.service, err = first.Serve(ctx, m.settings); err != nil {
			return w, err
		}
	}
	return w, nil
}

func (w *world) replicas() (all []replica) {
	for _, m := range w.members {
		all = append(all, replica{address: m.clients.proxy.Listen, clock: m.clock, earlier: &m.earlier})
	}
	return all
}

func (w *world) close(ctx context.Context) error {
	var errs []error
	for _, m := range w.members {
		if m.service != nil {
			errs = append(errs, m.service.Stop())
		}
		if m.clients != nil {
			m.clients.close()
		}
		if m.database != nil {
			m.database.close()
		}
		if m.standby != nil {
			m.standby.close()
		}
		if m.address != nil {
			m.address.close()
		}
	}
	if w.bouncer != nil {
		errs = append(errs, w.bouncer.Stop())
	}
	if w.standby != nil {
		errs = append(errs, w.standby.Stop())
	}
	if w.server != nil {
		errs = append(errs, w.server.Stop())
	}
	return errors.Join(errs...)
}

// restart starts a service that is down, and waits until it is ready: its database may still be down itself.
func (m *member) restart(ctx context.Context, p rig.Program) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	m.earlier.Store(false) // the former process has ended
	for {
		s, err := p.Serve(ctx, m.settings)
		if err == nil {
			m.service = s
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// nemesis makes something fail from time to time until ctx is done, and then heals everything. Several may run.
type nemesis struct {
	world  *world
	random *rand.Rand
	counts *words
}

// errBusy reports that another nemesis uses the member.
var errBusy = errors.New("another failure is in progress")

// deed is one kind of failure.
type deed struct {
	name  string
	often int
	do    func(context.Context) error
}

func (n *nemesis) deeds() []deed {
	any := func() *member { return n.world.members[n.random.IntN(len(n.world.members))] }
	ill := func(choose func(*member) *wire, i func() illness) func(context.Context) error {
		return func(ctx context.Context) error {
			w := choose(any())
			if err := w.fall(i()); err != nil {
				return err
			}
			pause(ctx, n.random, 2*time.Second)
			return w.heal(context.WithoutCancel(ctx))
		}
	}
	toClients := func(m *member) *wire { return m.clients }
	toDatabase := func(m *member) *wire { return m.database }
	delay := func(toCaller bool) func() illness {
		return func() illness {
			return illness{"latency", fmt.Sprintf(`"latency": %d, "jitter": 100`, 100+n.random.IntN(900)), toCaller}
		}
	}
	swallow := func(toCaller bool) func() illness {
		return func() illness {
			return illness{"timeout", fmt.Sprintf(`"timeout": %d`, 100+n.random.IntN(900)), toCaller}
		}
	}
	reset := func(toCaller bool) func() illness {
		return func() illness {
			return illness{"reset_peer", fmt.Sprintf(`"timeout": %d`, n.random.IntN(50)), toCaller}
		}
	}
	short := func(toCaller bool) func() illness {
		return func() illness { return illness{"limit_data", fmt.Sprintf(`"bytes": %d`, n.random.IntN(400)), toCaller} }
	}
	deeds := []deed{
		{"calls delayed", 2, ill(toClients, delay(false))},
		{"answers delayed", 2, ill(toClients, delay(true))},
		{"calls lost", 2, ill(toClients, swallow(false))},
		{"answers lost", 4, ill(toClients, swallow(true))},
		{"answers cut short", 3, ill(toClients, short(true))},
		{"calls cut short", 1, ill(toClients, short(false))},
		{"client connections reset", 2, ill(toClients, reset(true))},
		{"client connections cut", 2, func(context.Context) error { return any().clients.cut() }},
		{"service killed (kill -9)", 3, n.kill},
		{"service stopped and started", 2, n.stop},
		{"service paused (SIGSTOP)", 2, n.freeze},
	}
	if n.world.server != nil {
		deeds = append(deeds, []deed{
			{"statements delayed", 2, ill(toDatabase, delay(false))},
			{"results delayed", 2, ill(toDatabase, delay(true))},
			{"statements lost", 1, ill(toDatabase, swallow(false))},
			{"results lost", 4, ill(toDatabase, swallow(true))},
			{"results cut short", 2, ill(toDatabase, short(true))},
			{"database connections cut", 3, func(context.Context) error { return any().database.cut() }},
			{"PostgreSQL killed (kill -9)", 2, n.killDatabase},
		}...)
	}
	return deeds
}

func (n *nemesis) run(ctx context.Context, deeds []deed) error {
	total := 0
	for _, d := range deeds {
		total += d.often
	}
	for {
		pause(ctx, n.random, 2*time.Second)
		if ctx.Err() != nil {
			return nil
		}
		at := n.random.IntN(total)
		for _, d := range deeds {
			if at -= d.often; at < 0 {
				err := d.do(ctx)
				if err != nil && !errors.Is(err, errBusy) {
					return fmt.Errorf("%s: %w", d.name, err)
				}
				if err == nil {
					n.counts.add("fault:", d.name)
				}
				break
			}
		}
	}
}

// to runs a failure on a member that no other nemesis uses.
func (n *nemesis) to(do func(*member) error) error {
	m := n.world.members[n.random.IntN(len(n.world.members))]
	if !m.mu.TryLock() {
		return errBusy
	}
	defer m.mu.Unlock()
	return do(m)
}

func (n *nemesis) kill(ctx context.Context) error {
	return n.to(func(m *member) error {
		if err := m.service.Kill(); err != nil {
			return err
		}
		pause(ctx, n.random, 500*time.Millisecond)
		return m.restart(ctx, n.world.program)
	})
}

func (n *nemesis) stop(ctx context.Context) error {
	return n.to(func(m *member) error {
		if err := m.service.Stop(); err != nil {
			return err
		}
		return m.restart(ctx, n.world.program)
	})
}

// freeze suspends a process for a while. It writes afterwards what it read before.
func (n *nemesis) freeze(ctx context.Context) error {
	return n.to(func(m *member) error {
		if err := syscall.Kill(m.service.PID(), syscall.SIGSTOP); err != nil {
			return err
		}
		pause(ctx, n.random, 1500*time.Millisecond)
		return syscall.Kill(m.service.PID(), syscall.SIGCONT)
	})
}

func (n *nemesis) killDatabase(ctx context.Context) error {
	if !n.world.mu.TryLock() {
		return errBusy
	}
	defer n.world.mu.Unlock()
	if err := n.world.server.Kill(); err != nil {
		return err
	}
	pause(ctx, n.random, 300*time.Millisecond)
	return n.world.server.Start()
}
