package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/refreshd/refreshd/test/support/postgres"
	"github.com/refreshd/refreshd/test/support/rig"
)

// Faults of rounds with resource servers.

// both and the others are the directions in which the network between two processes can fail.
var (
	both      = []string{"upstream", "downstream"}
	requests  = []string{"upstream"}
	responses = []string{"downstream"}
)

func (w *reachWorld) anyServer(r *rand.Rand) *resourceServer {
	return w.servers[r.IntN(len(w.servers))]
}

// anyWire returns the wire between a resource server and a service.
func (w *reachWorld) anyWire(r *rand.Rand) *wire {
	p := w.routes[r.IntN(len(w.routes))]
	return p.wires[r.IntN(len(p.wires))]
}

// alone runs a fault on a resource server that no other one uses.
func (w *reachWorld) alone(r *rand.Rand, do func(*resourceServer) error) error {
	s := w.anyServer(r)
	if !s.mu.TryLock() {
		return errBusy
	}
	defer s.mu.Unlock()
	return do(s)
}

// serverDeeds are faults of the resource servers' processes.
func serverDeeds(w *reachWorld, n *nemesis) []deed {
	again := func(kill bool) func(context.Context) error {
		return func(ctx context.Context) error {
			return w.alone(n.random, func(s *resourceServer) error {
				if err := s.end(kill); err != nil {
					return err
				}
				pause(ctx, n.random, 2*time.Second)
				return s.start()
			})
		}
	}
	return []deed{
		{"resource server killed (kill -9)", 3, again(true)},
		{"resource server stopped and started", 3, again(false)},
		{"resource server paused (SIGSTOP)", 3, func(ctx context.Context) error {
			return w.alone(n.random, func(s *resourceServer) error {
				if err := s.signal(syscall.SIGSTOP); err != nil {
					return err
				}
				pause(ctx, n.random, 5*time.Second)
				return s.signal(syscall.SIGCONT)
			})
		}},
	}
}

// streamDeeds are faults of the network between resource servers and services.
func streamDeeds(w *reachWorld, n *nemesis) []deed {
	ill := func(kind string, attributes func() string, toCaller bool) func(context.Context) error {
		return func(ctx context.Context) error {
			at := w.anyWire(n.random)
			if err := at.fall(illness{kind, attributes(), toCaller}); err != nil {
				return err
			}
			pause(ctx, n.random, 6*time.Second)
			return at.heal(context.WithoutCancel(ctx))
		}
	}
	cut := func(directions []string) func(context.Context) error {
		return func(ctx context.Context) error {
			p := w.routes[n.random.IntN(len(w.routes))]
			for i, at := range p.wires {
				if err := at.isolate(directions...); err != nil {
					for _, done := range p.wires[:i] {
						_ = done.join(context.WithoutCancel(ctx), directions...)
					}
					return err
				}
			}
			pause(ctx, n.random, 3*w.setting.MaxAge)
			for _, at := range p.wires {
				if err := at.join(context.WithoutCancel(ctx), directions...); err != nil {
					return err
				}
			}
			return nil
		}
	}
	nothing := func() string { return "" }
	return []deed{
		{"stream connections cut", 4, func(context.Context) error {
			w.routes[n.random.IntN(len(w.routes))].balancer.cut()
			return nil
		}},
		{"stream slow", 2, ill("latency", func() string {
			return fmt.Sprintf(`"latency": %d, "jitter": 300`, 100+n.random.IntN(2500))
		}, true)},
		{"stream sliced", 2, ill("slicer", func() string {
			return `"average_size": 20, "size_variation": 10, "delay": 2000`
		}, true)},
		{"stream narrow", 1, ill("bandwidth", func() string { return `"rate": 1` }, true)},
		{"stream held back by a proxy", 2, ill(held, nothing, true)},
		{"stream cut short", 2, ill("limit_data", func() string {
			return fmt.Sprintf(`"bytes": %d`, n.random.IntN(4000))
		}, true)},
		{"resource server cut off", 2, cut(both)},
		{"resource server cut off, requests", 1, cut(requests)},
		{"resource server cut off, responses", 2, cut(responses)},
	}
}

// serviceDeeds are faults of the services and of their database.
func serviceDeeds(w *reachWorld, n *nemesis) []deed {
	deeds := []deed{
		{"service killed (kill -9)", 2, n.kill},
		{"service stopped and started", 2, n.stop},
		{"service paused (SIGSTOP)", 4, func(ctx context.Context) error {
			return n.to(func(m *member) error {
				if err := syscall.Kill(m.service.PID(), syscall.SIGSTOP); err != nil {
					return err
				}
				pause(ctx, n.random, 5*time.Second)
				return syscall.Kill(m.service.PID(), syscall.SIGCONT)
			})
		}},
	}
	if w.server == nil {
		return deeds
	}
	database := func(do func(context.Context, *wire) error) func(context.Context) error {
		return func(ctx context.Context) error {
			return do(ctx, w.members[n.random.IntN(len(w.members))].database)
		}
	}
	cut := func(directions []string) func(context.Context) error {
		return database(func(ctx context.Context, at *wire) error {
			if err := at.isolate(directions...); err != nil {
				return err
			}
			pause(ctx, n.random, 4*time.Second)
			return at.join(context.WithoutCancel(ctx), directions...)
		})
	}
	return append(deeds,
		deed{"database connections cut", 2, database(func(_ context.Context, at *wire) error { return at.cut() })},
		deed{"database cut off", 1, cut(both)},
		deed{"database cut off, results", 2, cut(responses)},
		deed{"results delayed", 2, database(func(ctx context.Context, at *wire) error {
			err := at.fall(illness{"latency", fmt.Sprintf(`"latency": %d, "jitter": 100`, 50+n.random.IntN(900)), true})
			if err != nil {
				return err
			}
			pause(ctx, n.random, 4*time.Second)
			return at.heal(context.WithoutCancel(ctx))
		})},
		deed{"PostgreSQL killed (kill -9)", 1, n.killDatabase},
		deed{"an old snapshot held", 1, w.holdSnapshot(n)},
	)
}

// holdSnapshot returns a fault: a transaction that has a snapshot for some seconds, so that no dead row is removed.
func (w *reachWorld) holdSnapshot(n *nemesis) func(context.Context) error {
	return func(ctx context.Context) error {
		c, err := pgx.Connect(ctx, w.database)
		if err != nil {
			return errBusy // the database is down
		}
		defer c.Close(context.WithoutCancel(ctx))
		if _, err := c.Exec(ctx, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM tenants"); err != nil {
			return errBusy
		}
		pause(ctx, n.random, 10*time.Second)
		return nil
	}
}

// failOverDeeds replace the primary by its standby. One service still has connections to the old primary, which runs:
// it reads there what was revoked before, and cannot learn what is revoked
// afterwards.
//
// If the address moves, that service has new connections to the new primary too.
func failOverDeeds(w *reachWorld, n *nemesis, moves bool) []deed {
	primary, standby := w.server, w.standby
	wireTo := func(m *member, s *postgres.Server) *wire {
		if s == w.server {
			return m.database
		}
		return m.standby
	}
	failOver := func(ctx context.Context) error {
		left := w.members[n.random.IntN(len(w.members))]
		for _, m := range w.members {
			switch {
			case m != left:
				m.address.use(wireTo(m, standby))
				m.address.cut()
			case moves: // its new connections are to the new primary
				m.address.use(wireTo(m, standby))
			}
		}
		if err := standby.Promote(); err != nil {
			return err
		}
		pause(ctx, n.random, 6*time.Second)
		if err := primary.Kill(); err != nil {
			return err
		}
		left.address.use(wireTo(left, standby))
		left.address.cut()
		again, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		if err := primary.Rejoin(again, standby); err != nil {
			return err
		}
		primary, standby = standby, primary
		pause(ctx, n.random, 2*time.Second)
		return nil
	}
	if moves {
		return []deed{{"fail-over, old primary cut off, address moved", 1, failOver}}
	}
	return []deed{{"fail-over, old primary cut off", 1, failOver}}
}

// upgradeDeeds stop a service, and start it with the newer program.
func upgradeDeeds(_ *reachWorld, n *nemesis) []deed {
	return []deed{{"service upgraded, or restarted", 1, func(ctx context.Context) error {
		pause(ctx, n.random, 4*time.Second)
		return n.stop(ctx)
	}}}
}

// databaseDeeds stop the database, with all that it has in hand.
func databaseDeeds(w *reachWorld, n *nemesis) []deed {
	return []deed{{"PostgreSQL paused (SIGSTOP)", 2, func(ctx context.Context) error {
		if !w.mu.TryLock() {
			return errBusy
		}
		defer w.mu.Unlock()
		if err := w.server.Freeze(); err != nil {
			return err
		}
		pause(ctx, n.random, 5*time.Second)
		return w.server.Thaw()
	}}}
}

// clockDeeds set the clocks of the services.
func clockDeeds(w *reachWorld, n *nemesis) []deed {
	return []deed{{"clock of a service set", 6, func(context.Context) error {
		m := w.members[n.random.IntN(len(w.members))]
		c := m.clock
		c.offset = n.random.Int64N(10*minute) - 5*minute
		return c.rigged().Set(m.clockFile)
	}}, {"clock of a resource server set", 6, func(context.Context) error {
		return rig.Ahead(time.Duration(n.random.Int64N(10*minute)-5*minute) * time.Microsecond).
			Set(w.anyServer(n.random).clockFile)
	}}}
}

// cutOffDeeds cut a resource server off, and set its clock meanwhile.
func cutOffDeeds(w *reachWorld, n *nemesis) []deed {
	return []deed{{"resource server cut off, and its clock set", 1, func(ctx context.Context) error {
		i := n.random.IntN(len(w.servers))
		s, r := w.servers[i], w.routes[i]
		if !s.mu.TryLock() {
			return errBusy
		}
		defer s.mu.Unlock()
		for _, at := range r.wires {
			if err := at.isolate(both...); err != nil {
				return err
			}
		}
		pause(ctx, n.random, time.Second)
		if err := rig.Ahead(time.Duration(n.random.Int64N(2*minute)-minute) * time.Microsecond).Set(s.clockFile); err != nil {
			return err
		}
		pause(ctx, n.random, 12*time.Second)
		for _, at := range r.wires {
			if err := at.join(context.WithoutCancel(ctx), both...); err != nil {
				return err
			}
		}
		return nil
	}}}
}

// lasting returns a fault that lasts until the end of the round.
func lasting(name string, wires func() []*wire, i func() illness) deed {
	return deed{name, 1, func(ctx context.Context) error {
		for _, at := range wires() {
			if err := at.fallFully(i()); err != nil {
				return err
			}
		}
		<-ctx.Done()
		return nil
	}}
}

func (w *reachWorld) streams() (all []*wire) {
	for _, r := range w.routes {
		all = append(all, r.wires...)
	}
	return all
}

// sliceDeeds slice all streams.
func sliceDeeds(w *reachWorld, _ *nemesis) []deed {
	return []deed{lasting("all streams sliced", w.streams, func() illness {
		return illness{"slicer", `"average_size": 20, "size_variation": 10, "delay": 4000`, true}
	})}
}

// slowDeeds delay all results of the database.
func slowDeeds(w *reachWorld, n *nemesis) []deed {
	return []deed{lasting("all results delayed", func() (all []*wire) {
		for _, m := range w.members {
			all = append(all, m.database)
		}
		return all
	}, func() illness {
		return illness{"latency", fmt.Sprintf(`"latency": %d, "jitter": 100`, 200+n.random.IntN(200)), true}
	})}
}

// blindDeeds cut services off from the database.
func blindDeeds(w *reachWorld, n *nemesis) []deed {
	cut := func(directions []string) func(context.Context) error {
		return func(ctx context.Context) error {
			at := w.members[n.random.IntN(len(w.members))].database
			if err := at.isolate(directions...); err != nil {
				return err
			}
			pause(ctx, n.random, 8*time.Second)
			return at.join(context.WithoutCancel(ctx), directions...)
		}
	}
	return []deed{{"database cut off", 1, cut(both)}, {"database cut off, results", 1, cut(responses)}}
}

// restartDeeds restart resource servers, whose streams are slow.
func restartDeeds(w *reachWorld, n *nemesis) []deed {
	return append(serverDeeds(w, n)[:2], deed{"all streams slow for a while", 3, func(ctx context.Context) error {
		for _, at := range w.streams() {
			if err := at.fallFully(illness{"latency", `"latency": 1000, "jitter": 200`, true}); err != nil {
				return err
			}
		}
		pause(ctx, n.random, 10*time.Second)
		for _, at := range w.streams() {
			if err := at.heal(context.WithoutCancel(ctx)); err != nil {
				return err
			}
		}
		return nil
	}})
}

// together returns the deeds of several lists.
func together(lists ...func(*reachWorld, *nemesis) []deed) func(*reachWorld, *nemesis) []deed {
	return func(w *reachWorld, n *nemesis) (all []deed) {
		for _, list := range lists {
			all = append(all, list(w, n)...)
		}
		return all
	}
}
