package domain_test

import (
	"container/heap"
	"flag"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/domain"
)

var simulate = flag.Bool("simulate", false, "run the simulation with large numbers; print its tables and the searches'")

// printed returns the destination of the tables of `make simulate`.
func printed() io.Writer {
	if *simulate {
		return io.MultiWriter(os.Stdout, &tables)
	}
	return io.Discard
}

// tables is what was printed.
var tables strings.Builder

// TestSimulation plays users and thieves against the rules in simulated time: who is logged out, and how soon is a
// thief detected? `make simulate` prints the tables that PROOFS.md quotes; without the flag a small run checks the
// same claims. The seed is fixed, so the numbers change only when the rules do.
func TestSimulation(t *testing.T) {
	strict := domain.DefaultPolicy()
	strict.GracePeriod, strict.RecoveryBurst = 5*time.Second, 0
	for i, p := range []struct {
		name   string
		policy domain.Policy
	}{
		{"default (grace 30 s, recovery burst 2, interval 10)", domain.DefaultPolicy()},
		{"strict (grace 5 s, no recovery)", strict},
	} {
		isDefault := i == 0
		fmt.Fprintf(printed(), "\nPolicy: %s\n\n", p.name)
		simulateUsers(t, p.policy, isDefault)
		for _, o := range owners {
			fmt.Fprintln(printed())
			simulateThieves(t, p.policy, o, isDefault)
		}
	}
	simulateSettings(t)
	checkQuotedTables(t)
}

// checkQuotedTables compares the two tables of PROOFS.md with the program: they have every row of the default policy,
// in the order of the program. With the flag, every figure is compared with the printed one.
func checkQuotedTables(t *testing.T) {
	document, err := os.ReadFile("../PROOFS.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(document), "\n## What is simulated\n")
	text, _, _ = strings.Cut(text, "\n## ")
	var got, want []string
	for _, line := range strings.Split(text, "\n") {
		if cells := strings.Split(line, " | "); strings.HasPrefix(line, "| ") {
			got = append(got, strings.TrimPrefix(cells[0], "| "))
		}
		if *simulate && strings.HasPrefix(line, "|") && !strings.Contains(tables.String(), line+"\n") {
			t.Errorf("PROOFS.md has the row\n%s\nwhich was not printed", line)
		}
	}
	want = append(want, "user")
	for _, u := range users {
		want = append(want, u.name)
	}
	want = append(want, "thief, with one copied string; the owner exchanges "+owners[0].name)
	for _, s := range thieves {
		want = append(want, s.name)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the rows of PROOFS.md (-want +got):\n%s", diff)
	}
}

// simulateUsers prints what a policy means for honest users.
func simulateUsers(t *testing.T, p domain.Policy, isDefault bool) {
	fmt.Fprint(printed(), "| user | user-years | with a logout | logouts a user-year | recoveries a user-year | "+
		"exchanges a user-year | of them written |\n|---|---|---|---|---|---|---|\n")
	for _, u := range users {
		r := u.simulate(p, 40)
		if u.promised && r.unpaid > 0 {
			t.Errorf("%s: logged out %d times inside the budget", u.name, r.unpaid)
		}
		if u.never && isDefault && r.logouts > 0 {
			t.Errorf("%s: %d logouts in %.1f user-years, want none", u.name, r.logouts, r.years)
		}
		fmt.Fprintf(printed(), "| %s | %.0f | %.1f %% | %.2f | %.2f | %.0f | %.0f %% |\n", u.name, r.years,
			100*float64(r.loggedOut)/float64(r.users), float64(r.logouts)/r.years, float64(r.recoveries)/r.years,
			float64(r.exchanges)/r.years, 100*float64(r.writes)/float64(r.exchanges))
	}
}

// simulateThieves prints how soon a policy catches thieves who copied a string of that owner.
func simulateThieves(t *testing.T, p domain.Policy, o owner, isDefault bool) {
	thefts := 20
	if *simulate {
		thefts = 300
	}
	most := 3 // collisions
	if p.RecoveryBurst == 0 {
		most = 1
	}
	fmt.Fprintf(printed(), "| thief, with one copied string; the owner exchanges %s | caught in 60 days | median | "+
		"p95 | worst | collisions, worst | exchanges, median | worst |\n|---|---|---|---|---|---|---|---|\n", o.name)
	for _, s := range thieves {
		if s.daily && o.index > 0 {
			continue
		}
		var all []theft
		for i := range thefts {
			all = append(all, steal(p, s, o, rand.New(rand.NewPCG(uint64(i), 2))))
		}
		caught := slices.DeleteFunc(slices.Clone(all), func(t theft) bool { return !t.caught })
		for _, th := range all {
			if s.drifts && (th.collisions > most || !th.caught) {
				t.Errorf("%s, owner %s: %+v, want caught, at collision %d at the latest", s.name, o.name, th, most)
			}
		}
		after := func(q float64) time.Duration {
			return quantile(caught, q, func(t theft) time.Duration { return t.after })
		}
		at := func(q float64) string {
			if len(caught) == 0 {
				return "never"
			}
			return humanly(after(q))
		}
		if bound := s.median[o.index]; isDefault && bound > 0 && (len(caught) < len(all) || after(.5) > bound) {
			t.Errorf("%s, owner %s: %d of %d caught, median %s; want all, %s at most", s.name, o.name, len(caught),
				len(all), at(.5), humanly(bound))
		}
		answered := func(t theft) int { return t.answered }
		fmt.Fprintf(printed(), "| %s | %.0f %% | %s | %s | %s | %d | %d | %d |\n", s.name,
			100*float64(len(caught))/float64(len(all)), at(.5), at(.95), at(1),
			quantile(all, 1, func(t theft) int { return t.collisions }), quantile(all, .5, answered),
			quantile(all, 1, answered))
	}
}

// simulateSettings prints the effect of other grace periods and access token lifetimes on users whose responses are
// late. It checks the first column, the default, as simulateUsers does. The others are figures and not claims, and
// therefore printed with the flag only.
func simulateSettings(t *testing.T) {
	if !*simulate {
		return
	}
	settings := []struct{ grace, lifetime time.Duration }{
		{30 * time.Second, 15 * time.Minute}, {0, 15 * time.Minute}, {5 * time.Second, 15 * time.Minute},
		{10 * time.Minute, 15 * time.Minute}, {30 * time.Second, time.Minute}, {30 * time.Second, 5 * time.Minute},
		{10 * time.Minute, time.Minute},
	}
	fmt.Fprint(printed(), "\n| logouts a user-year by grace period / access token lifetime |")
	for _, s := range settings {
		fmt.Fprintf(printed(), " %s / %s |", short(s.grace), short(s.lifetime))
	}
	fmt.Fprintln(printed(), "\n|---|---|---|---|---|---|---|---|")
	for _, u := range users {
		if !u.late {
			continue
		}
		fmt.Fprintf(printed(), "| %s |", u.name)
		for i, s := range settings {
			p := domain.DefaultPolicy()
			p.GracePeriod, p.AccessTokenTTL = s.grace, s.lifetime
			r := u.simulate(p, 4)
			if i == 0 && u.never && r.logouts > 0 {
				t.Errorf("%s: %d logouts in %.1f user-years, want none", u.name, r.logouts, r.years)
			}
			fmt.Fprintf(printed(), " %.2f |", float64(r.logouts)/r.years)
		}
		fmt.Fprintln(printed())
	}
}

func short(d time.Duration) string {
	if d >= time.Minute {
		return fmt.Sprintf("%.0f min", d.Minutes())
	}
	return fmt.Sprintf("%.0f s", d.Seconds())
}

// users are honest users. Their client retries an exchange after 2, 6 and 14 s without a response, with the string that
// the storage then holds. One way takes 0.1 s on average, and in one of a hundred cases 1 to 10 s.
var users = []user{
	{name: "one device, 10 exchanges a day, 1 % of the answers lost", promised: true, never: true,
		year: func(d *devices) {
			d.daily(0.01, d.waking)
		}},
	{name: "the same, 10 % lost", promised: true, never: true, year: func(d *devices) { d.daily(0.10, d.waking) }},
	{name: "five tabs restored together each morning, shared storage, 1 % lost", promised: true, never: true,
		year: func(d *devices) {
			d.daily(0.01, func(day time.Time) { d.tabs(day); d.waking(day) })
		}},
	{name: "the same with cookies: the last answer to land wins", lastWins: true, never: true, year: func(d *devices) {
		d.daily(0.01, func(day time.Time) { d.tabs(day); d.waking(day) })
	}},
	{name: "morning storm: five tabs with cookies, three loads each in 10 s, answers 0 to 5 s late", lastWins: true,
		never: true, late: true, answer: 5 * time.Second, year: func(d *devices) {
			d.daily(0.01, func(day time.Time) {
				for range 15 {
					d.request(day.Add(7*time.Hour+30*time.Minute+d.upTo(10*time.Second)), 0)
				}
				d.run()
				d.waking(day)
			})
		}},
	{name: "SPA that refreshes at each load, cookies, answers 0 to 5 s late and out of order", lastWins: true,
		never: true, late: true, answer: 5 * time.Second, costs: 2, year: (*devices).loads},
	{name: "the same, clocks 2 s apart", lastWins: true, never: true, late: true, answer: 5 * time.Second,
		skew: 2 * time.Second, costs: 2, year: (*devices).loads},
	{name: "five tabs with access tokens and timers of their own, cookies, 8 h a day, 1 % lost", lastWins: true,
		never: true, late: true, answer: 5 * time.Second, costs: 10, year: (*devices).timers},
	{name: "the same, clocks 2 s apart", lastWins: true, never: true, late: true, answer: 5 * time.Second,
		skew: 2 * time.Second, costs: 10, year: (*devices).timers},
	{name: "backend: 4 processes, shared storage, every hour, 0.1 % lost", promised: true, never: true, costs: 8,
		year: func(d *devices) {
			d.daily(0.001, func(day time.Time) {
				for hour := range 24 {
					for range 4 {
						d.request(day.Add(time.Duration(hour)*time.Hour+d.upTo(time.Second)), 0)
					}
					d.run()
				}
			})
		}},
	{name: "BFF: 4 processes, a cache that is up to 2 s old, 8 h a day, 0.1 % lost", never: true, late: true, costs: 8,
		year: (*devices).caches},
	{name: "page and service worker with a copy each, 8 h a day, 1 % of the messages lost", never: true, late: true,
		costs: 4, year: (*devices).worker},
	{name: "flaky mobile: 10 a day, 1 % rotate and go dark for hours", promised: true, year: func(d *devices) {
		d.dark = 0.01
		d.daily(0, d.waking)
	}},
	{name: "the same, 5 %", promised: true, year: func(d *devices) {
		d.dark = 0.05
		d.daily(0, d.waking)
	}},
	{name: "flaky mobile, 5 %, and back with 3 requests in 2 s", promised: true, late: true, year: func(d *devices) {
		d.dark = 0.05
		d.daily(0, func(day time.Time) {
			d.awake(func(at time.Time) {
				for range 3 {
					d.request(at.Add(d.upTo(2*time.Second)), 0)
				}
				d.run()
			}, day)
		})
	}},
	{name: "phone that is frozen in mid-exchange, 2 %, and stores the old answer on waking", lastWins: true, late: true,
		frozen: 0.02, year: func(d *devices) {
			d.daily(0, func(day time.Time) {
				d.awake(func(at time.Time) {
					d.request(at, 0)
					d.runUntil(at.Add(20 * time.Minute))
				}, day)
			})
		}},
	{name: "two copies of one storage (a restored backup), both in use", late: true, year: func(d *devices) {
		twin := *d
		d.daily(0, func(day time.Time) {
			d.waking(day)
			if d.logouts == 0 { // a device that logged in again is on its own
				twin.server = d.server
				twin.waking(day)
			}
		})
		d.logouts += twin.logouts
	}},
}

// user is an honest user.
type user struct {
	name string
	// as browsers treat cookies; otherwise a response is stored only if the storage holds the string that was sent
	lastWins bool
	answer   time.Duration // how late an answer may land; 0 for the usual
	skew     time.Duration // between the clocks of two replicas
	frozen   float64       // the share of answers that land hours late
	costs    int           // how many times as many events as the first one
	year     func(*devices)

	promised bool // no logout inside the budget
	never    bool // no logout at all, under the default policy
	late     bool // answers land late or in any order: a row in the table of settings
}

type result struct {
	users, loggedOut                               int
	years                                          float64
	logouts, unpaid, recoveries, exchanges, writes int
}

// simulate plays that many years, or fewer if they cost more; a few months if nothing is printed.
func (u user) simulate(p domain.Policy, years int) result {
	n, days := max(1, years/max(1, u.costs)), 364
	if !*simulate {
		n, days = 2, 182/max(1, u.costs)
	}
	r := result{users: n, years: float64(n) * float64(days) / 364}
	for i := range n {
		d := newDevices(p, u, rand.New(rand.NewPCG(uint64(i), 1)))
		d.days = days
		u.year(d)
		r.logouts, r.recoveries, r.unpaid = r.logouts+d.logouts, r.recoveries+d.recoveries, r.unpaid+d.unpaid
		r.exchanges, r.writes = r.exchanges+d.exchanges, r.writes+d.writes
		r.loggedOut += min(1, d.logouts)
	}
	return r
}

// server is one refresh token with the rule.
type server struct{ domain.Snapshot }

func newServer(p domain.Policy, at time.Time) *server {
	in := domain.RefreshToken{ID: tokenID, TenantID: "acme", ApplicationID: "shop", UserID: "ada"}
	r, err := domain.NewRefreshToken(in, p, at)
	if err != nil {
		panic(err)
	}
	return &server{domain.Snapshot{Token: r, Policy: p}}
}

func (s *server) exchange(generation uint32, at time.Time) domain.Decision {
	d := s.Decide(domain.Call{Generation: generation, Now: at})
	if d.Write {
		s.Token = d.After
	}
	return d
}

// devices are the devices of one user: requests that share a storage, and the refresh token on the server.
type devices struct {
	user
	policy     domain.Policy
	rng        *rand.Rand
	days       int
	lost, dark float64

	server  *server
	storage uint32
	isDark  bool
	queue   events

	logouts, recoveries, exchanges, writes int
	// unpaid counts logouts that the budget should have prevented: for the previous string after the grace period, with
	// credit.
	unpaid int
	credit int64 // of the server's refresh token
}

func newDevices(p domain.Policy, u user, rng *rand.Rand) *devices {
	d := &devices{user: u, policy: p, rng: rng}
	d.login(issued)
	return d
}

func (d *devices) login(at time.Time) {
	d.server, d.storage = newServer(d.policy, at), 1
	d.credit = d.policy.RecoveryBurst * d.policy.RecoveryInterval
}

func (d *devices) upTo(t time.Duration) time.Duration { return time.Duration(d.rng.Int64N(int64(t))) }

func (d *devices) latency() time.Duration {
	if d.rng.IntN(100) == 0 {
		return time.Second + d.upTo(9*time.Second)
	}
	return time.Duration(float64(100*time.Millisecond) * d.rng.ExpFloat64())
}

// landing returns how long a response takes.
func (d *devices) landing() time.Duration {
	if d.frozen > 0 && d.rng.Float64() < d.frozen {
		return time.Hour + d.upTo(7*time.Hour)
	}
	if d.answer > 0 {
		return d.upTo(d.answer)
	}
	return d.latency()
}

func (d *devices) daily(lost float64, day func(time.Time)) {
	d.lost = lost
	for i := range d.days {
		day(issued.Truncate(24 * time.Hour).Add(time.Duration(i+1) * 24 * time.Hour))
	}
}

// awake calls use ten times between eight and midnight.
func (d *devices) awake(use func(time.Time), day time.Time) {
	for i := range 10 {
		d.isDark = false
		use(day.Add(8*time.Hour + time.Duration(i)*84*time.Minute + d.upTo(time.Hour)))
	}
}

// waking makes ten exchanges.
func (d *devices) waking(day time.Time) {
	d.awake(func(at time.Time) {
		d.request(at, 0)
		d.run()
	}, day)
}

// tabs restores five tabs within a second, at half past seven.
func (d *devices) tabs(day time.Time) {
	for range 5 {
		d.request(day.Add(7*time.Hour+30*time.Minute+d.upTo(time.Second)), 0)
	}
	d.run()
}

// loads makes five visits a day, of ten pages each, one every 1 to 20 s.
func (d *devices) loads() {
	d.daily(0.01, func(day time.Time) {
		for visit := range 5 {
			at := day.Add(8*time.Hour + time.Duration(visit)*3*time.Hour + d.upTo(time.Hour))
			for range 10 {
				d.request(at, 0)
				at = at.Add(time.Second + d.upTo(19*time.Second))
			}
			d.run()
		}
	})
}

// request sends the string that the storage holds at that instant, and again if no response arrives.
func (d *devices) request(at time.Time, attempt int) {
	d.send(&client{
		read: func(time.Time) uint32 { return d.storage },
		land: func(presented, answer uint32, _, _ time.Time) {
			if d.lastWins || d.storage == presented {
				d.storage = answer
			}
		},
	}, at, attempt)
}

// client provides the string that is sent, and takes the response and the expiry of its access token.
type client struct {
	read func(at time.Time) uint32
	land func(presented, answer uint32, expires, at time.Time)
}

func (d *devices) send(c *client, at time.Time, attempt int) {
	d.queue.at(at, func() {
		if d.isDark {
			return
		}
		server, presented, answered := d.server, c.read(at), false
		arrival := at.Add(d.latency())
		d.queue.at(arrival, func() {
			if server != d.server {
				return // logged out meanwhile
			}
			decision, expires := d.exchange(presented, arrival)
			if decision.Outcome.Refused() {
				answered = true
				return
			}
			if d.rng.Float64() < d.lost {
				return
			}
			if decision.Outcome == domain.Rotated && d.rng.Float64() < d.dark {
				answered, d.isDark = true, true // by nothing: the device is off
				return
			}
			landed := arrival.Add(d.landing())
			answered = landed.Sub(arrival) > time.Hour // frozen: nothing is sent again meanwhile
			d.queue.at(landed, func() {
				answered = true
				if server == d.server && !d.isDark {
					c.land(presented, decision.After.Generation, expires, landed)
				}
			})
		})
		if attempt < 3 {
			wait := 2 * time.Second << attempt
			d.queue.at(at.Add(wait), func() {
				if !answered && server == d.server {
					d.send(c, at.Add(wait), attempt+1)
				}
			})
		}
	})
}

// exchange makes one decision of the server, and a login after a refusal. It also returns when the access token
// expires.
func (d *devices) exchange(presented uint32, at time.Time) (domain.Decision, time.Time) {
	current, first := d.server.Token.Generation, d.server.Token.RecoveredAt.IsZero()
	now := at
	if d.skew > 0 && d.rng.IntN(2) == 0 {
		now = at.Add(d.skew)
	}
	decision := d.server.exchange(presented, now)
	d.exchanges++
	if decision.Write {
		d.writes++
	}
	switch {
	case decision.Outcome.Refused():
		d.logouts++
		if presented == current-1 && d.credit >= d.policy.RecoveryInterval {
			d.unpaid++
		}
		d.login(at)
		return decision, time.Time{}
	case decision.Outcome == domain.Rotated:
		d.credit = min(d.policy.RecoveryBurst*d.policy.RecoveryInterval, d.credit+1)
	case decision.Outcome == domain.Recovered && first:
		d.recoveries++
		d.credit -= d.policy.RecoveryInterval
	}
	return decision, d.expires(decision, now)
}

func (d *devices) expires(decision domain.Decision, now time.Time) time.Time {
	return domain.NewAccessToken(decision.After, d.policy, "", decision.AnsweredAt, now,
		d.policy.AccessTokenTTL).ExpiresAt
}

// A timer fires this long before an access token expires, and not within timerPause of the last response.
const (
	timerLead  = 10 * time.Second
	timerPause = 5 * time.Second
)

type alarm struct{ due time.Time }

// set calls ring when it is due, unless it is set again or the day has ended by then.
func (d *devices) set(a *alarm, due, end time.Time, ring func(time.Time)) {
	a.due = due
	if due.Before(end) {
		d.queue.at(due, func() {
			if a.due.Equal(due) {
				ring(due)
			}
		})
	}
}

// timers opens five tabs in the course of an hour, which refresh before their access tokens expire.
func (d *devices) timers() {
	d.daily(0.01, func(day time.Time) {
		end := day.Add(16 * time.Hour)
		for range 5 {
			var tab alarm
			var ring func(time.Time)
			c := &client{
				read: func(time.Time) uint32 { return d.storage },
				land: func(_, answer uint32, expires, at time.Time) {
					d.storage = answer
					d.set(&tab, later(expires.Add(-timerLead), at.Add(timerPause)), end, ring)
				},
			}
			ring = func(at time.Time) {
				d.send(c, at, 0)
				d.set(&tab, at.Add(time.Minute), end, ring)
			}
			d.set(&tab, day.Add(8*time.Hour+d.upTo(time.Hour)), end, ring)
		}
		d.run()
	})
}

// caches is a backend of four processes, each with a cache of the session that is up to 2 s old. A page that is loaded
// every 20 s makes four requests, which go to any of them. The process that finds the access token expired refreshes.
func (d *devices) caches() {
	type session struct {
		generation uint32
		expires    time.Time
	}
	var stored session
	var server *server // that stored is of
	d.daily(0.001, func(day time.Time) {
		type process struct {
			cached    session
			read      time.Time
			busyUntil time.Time
		}
		var processes [4]process
		for at := day.Add(8 * time.Hour); at.Before(day.Add(16 * time.Hour)); {
			at = at.Add(10*time.Second + d.upTo(20*time.Second))
			for range 4 {
				p, at := &processes[d.rng.IntN(4)], at.Add(d.upTo(2*time.Second))
				read := func(at time.Time) uint32 {
					if server != d.server { // the user logged in again
						server, stored = d.server, session{1, time.Time{}}
						processes = [4]process{}
					}
					if at.Sub(p.read) > 2*time.Second {
						p.cached, p.read = stored, at
					}
					return p.cached.generation
				}
				d.queue.at(at, func() {
					read(at)
					if at.Before(p.busyUntil) || at.Before(p.cached.expires.Add(-timerLead)) {
						return
					}
					p.busyUntil = at.Add(15 * time.Second)
					d.send(&client{read: read, land: func(_, answer uint32, expires, at time.Time) {
						stored = session{answer, expires}
						p.cached, p.read, p.busyUntil = stored, at, at
					}}, at, 0)
				})
			}
			d.run()
		}
	})
}

// worker is a page and its service worker. Each has a copy of the string and a timer, and sends the other what it
// receives. The page begins the day with the worker's copy.
func (d *devices) worker() {
	var copies [2]uint32
	var expires [2]time.Time
	var server *server // that the copies are of
	fresh := func() {
		if server != d.server {
			server, copies, expires = d.server, [2]uint32{1, 1}, [2]time.Time{}
		}
	}
	d.daily(0, func(day time.Time) {
		end := day.Add(16 * time.Hour)
		var alarms [2]alarm
		var ring [2]func(time.Time)
		get := func(i int, answer uint32, expiry, at time.Time) {
			copies[i], expires[i] = answer, expiry
			d.set(&alarms[i], later(expiry.Add(-timerLead-d.upTo(5*time.Second)), at.Add(timerPause)), end, ring[i])
		}
		fresh()
		copies[0] = copies[1]
		for i := range copies {
			c := &client{
				read: func(time.Time) uint32 { fresh(); return copies[i] },
				land: func(_, answer uint32, expiry, at time.Time) {
					get(i, answer, expiry, at)
					if d.rng.Float64() < 0.01 {
						return
					}
					heard := at.Add(d.latency())
					from := d.server
					d.queue.at(heard, func() {
						if from == d.server && expiry.After(expires[1-i]) {
							get(1-i, answer, expiry, heard)
						}
					})
				},
			}
			ring[i] = func(at time.Time) {
				d.send(c, at, 0)
				d.set(&alarms[i], at.Add(time.Minute), end, ring[i])
			}
			d.set(&alarms[i], day.Add(8*time.Hour+d.upTo(2*time.Second)), end, ring[i])
		}
		d.run()
	})
}

func (d *devices) run() { d.runUntil(issued.Add(1000 * day)) }

func (d *devices) runUntil(at time.Time) {
	for d.queue.Len() > 0 && !d.queue[0].at.After(at) {
		heap.Pop(&d.queue).(event).do()
	}
}

type event struct {
	at time.Time
	do func()
}

type events []event

func (q *events) at(t time.Time, do func()) { heap.Push(q, event{t, do}) }
func (q events) Len() int                   { return len(q) }
func (q events) Less(i, j int) bool         { return q[i].at.Before(q[j].at) }
func (q events) Swap(i, j int)              { q[i], q[j] = q[j], q[i] }
func (q *events) Push(e any)                { *q = append(*q, e.(event)) }
func (q *events) Pop() any {
	last := len(*q) - 1
	e := (*q)[last]
	(*q)[last] = event{}
	*q = (*q)[:last]
	return e
}

// owner is the user whose string was copied, and who loses no responses.
type owner struct {
	name  string
	index int
	day   func(day time.Time, rng *rand.Rand) []time.Time
}

var owners = []owner{
	{"10 times a day", 0, func(day time.Time, rng *rand.Rand) []time.Time { return spread(day, 10, rng) }},
	{"whenever the access token expires, 8 h to 22 h", 1, func(day time.Time, rng *rand.Rand) (all []time.Time) {
		for at := day.Add(8 * time.Hour); at.Before(day.Add(22 * time.Hour)); {
			at = at.Add(time.Duration(rng.Int64N(int64(time.Minute))))
			all = append(all, at)
			at = at.Add(15 * time.Minute)
		}
		return all
	}},
}

var daily = owner{"once a day", 0, func(day time.Time, rng *rand.Rand) []time.Time { return spread(day, 1, rng) }}

// spread returns n instants between 8 and 22 h.
func spread(day time.Time, n int, rng *rand.Rand) (all []time.Time) {
	part := 14 * time.Hour / time.Duration(n)
	for i := range n {
		at := day.Add(8*time.Hour + time.Duration(i)*part)
		all = append(all, at.Add(time.Duration(rng.Int64N(int64(part-20*time.Minute)))))
	}
	return all
}

// strategy says when a thief uses the copy.
type strategy struct {
	name   string
	drifts bool             // more than a grace period from the owner, again and again: must be caught
	keeps  bool             // sends the copied string without end
	daily  bool             // the owner comes once a day
	median [2]time.Duration // under the default policy and for each of the owners, caught by then; 0 for no bound
	next   func(*thief) time.Time
}

// thief is a party that copied a string. next returns the instant of the use after the last one; zero for the first.
type thief struct {
	policy       domain.Policy
	rng          *rand.Rand
	owner        []time.Time
	copied, last time.Time
	uses         int
	period       time.Duration // his own, by chance
}

const endless = 1000 * day

func (th *thief) every(period time.Duration) time.Time {
	if th.last.IsZero() {
		return th.copied.Add(time.Second)
	}
	return th.last.Add(period)
}

// following returns the owner's first exchange after t, or an instant years later.
func (th *thief) following(t time.Time) time.Time {
	i, _ := slices.BinarySearchFunc(th.owner, t.Add(µs), time.Time.Compare)
	if i == len(th.owner) {
		return t.Add(endless)
	}
	return th.owner[i]
}

// behind returns an instant that long after the owner's next exchange that leaves time for it.
func (th *thief) behind(after time.Duration) time.Time {
	return th.following(later(th.copied, th.last.Add(-after))).Add(after)
}

func (th *thief) random(to time.Duration) time.Duration {
	return time.Duration(th.rng.Int64N(int64(to)))
}

var thieves = []strategy{
	{name: "immediately, and whenever the access token expires (15 min)", drifts: true,
		median: [2]time.Duration{4 * time.Hour, 2 * time.Hour},
		next:   func(th *thief) time.Time { return th.every(15 * time.Minute) }},
	{name: "waits for the owner's next exchange, then every 15 min", drifts: true,
		median: [2]time.Duration{3 * time.Hour, time.Hour}, next: func(th *thief) time.Time {
			if th.last.IsZero() {
				return th.following(th.copied).Add(5 * time.Minute)
			}
			return th.last.Add(15 * time.Minute)
		}},
	{name: "every hour", drifts: true,
		median: [2]time.Duration{6 * time.Hour, time.Hour},
		next:   func(th *thief) time.Time { return later(th.copied, th.last).Add(time.Hour) }},
	{name: "alternates with an owner who comes once a day", drifts: true, daily: true,
		median: [2]time.Duration{3 * day, 3 * day}, next: func(th *thief) time.Time {
			return later(th.copied, th.last).Truncate(24 * time.Hour).Add(27 * time.Hour)
		}},
	{name: "every grace period less 1 s, to be just inside", drifts: true,
		median: [2]time.Duration{4 * time.Hour, time.Hour},
		next:   func(th *thief) time.Time { return th.every(th.policy.GracePeriod - time.Second) }},
	{name: "every grace period and 0.1 s, to be just outside", drifts: true,
		median: [2]time.Duration{4 * time.Hour, time.Hour},
		next:   func(th *thief) time.Time { return th.every(th.policy.GracePeriod + 100*time.Millisecond) }},
	{name: "pins the generation: the string before, every grace period and 0.1 s", drifts: true, keeps: true,
		median: [2]time.Duration{4 * time.Hour, time.Hour},
		next: func(th *thief) time.Time {
			if th.last.IsZero() {
				return th.following(th.copied).Add(th.policy.GracePeriod + 100*time.Millisecond)
			}
			return th.last.Add(th.policy.GracePeriod + 100*time.Millisecond)
		}},
	{name: "alternates: a grace period and 1 s after each of the owner's", drifts: true,
		median: [2]time.Duration{6 * time.Hour, time.Hour},
		next:   func(th *thief) time.Time { return th.behind(th.policy.GracePeriod + time.Second) }},
	{name: "half an access token's lifetime after each of the owner's", drifts: true,
		median: [2]time.Duration{6 * time.Hour, time.Hour},
		next:   func(th *thief) time.Time { return th.behind(th.policy.AccessTokenTTL / 2) }},
	{name: "blind: a period of his own, 12 s to a day", drifts: true,
		median: [2]time.Duration{9 * time.Hour, 6 * time.Hour}, next: func(th *thief) time.Time {
			if th.period == 0 {
				th.period = time.Duration(float64(12*time.Second) * math.Pow(7200, th.rng.Float64()))
			}
			return th.every(th.period + th.random(th.period/5))
		}},
	{name: "at random within a grace period and 1 s after each of the owner's", next: func(th *thief) time.Time {
		return th.following(later(th.copied, th.last)).Add(th.random(th.policy.GracePeriod + time.Second))
	}},
	{name: "synchronized: within a second after each of the owner's", next: func(th *thief) time.Time {
		return th.following(later(th.copied, th.last)).Add(th.random(time.Second))
	}},
	{name: "a grace period less 1 s after each of the owner's", next: func(th *thief) time.Time {
		return th.behind(th.policy.GracePeriod - time.Second)
	}},
	{name: "three times in 10 s, and never again", next: func(th *thief) time.Time {
		if th.uses == 3 {
			return th.copied.Add(endless)
		}
		return th.every(5 * time.Second)
	}},
	{name: "immediately, and never again", next: func(th *thief) time.Time { return th.every(endless) }},
}

type theft struct {
	caught     bool
	after      time.Duration // from the thief's first use
	collisions int
	answered   int // exchanges that the thief got
}

// steal plays one theft, of a string that is copied at some moment of the second week, for sixty days.
func steal(p domain.Policy, s strategy, o owner, rng *rand.Rand) theft {
	if s.daily {
		o = daily
	}
	server := newServer(p, issued)
	th := thief{policy: p, rng: rng}
	for i := range 14 + 60 {
		th.owner = append(th.owner, o.day(issued.Truncate(24*time.Hour).Add(time.Duration(i+1)*day), rng)...)
	}
	th.copied = issued.Add(7*day + time.Duration(rng.Int64N(int64(7*day))))
	ownerHolds, thiefHolds := uint32(1), uint32(0)
	var t theft
	var first time.Time
	collided := map[uint32]bool{}
	next := s.next(&th)
	for i := 0; i < len(th.owner); {
		at, isThief, holds := th.owner[i], false, &ownerHolds
		if next.Before(at) {
			at, isThief, holds = next, true, &thiefHolds
			th.last, th.uses = at, th.uses+1
			if first.IsZero() {
				first = at
			}
		} else {
			i++
		}
		if at.After(th.copied.Add(60 * day)) {
			break
		}
		if thiefHolds == 0 && at.After(th.copied) {
			thiefHolds = ownerHolds
		}
		current := server.Token.Generation
		d := server.exchange(*holds, at)
		if *holds == current-1 && d.Outcome != domain.Retried {
			collided[current] = true
		}
		t.collisions = len(collided)
		switch {
		case d.Outcome == domain.RefusedReplayed:
			t.caught, t.after = true, at.Sub(first)
			return t
		case d.Outcome.Refused():
			return t // the maximum lifetime
		}
		if isThief {
			t.answered++
			next = s.next(&th)
		}
		if !isThief || !s.keeps {
			*holds = d.After.Generation
		}
	}
	return t
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func quantile[T any, V int | time.Duration](of []T, q float64, value func(T) V) V {
	values := make([]V, len(of))
	for i, o := range of {
		values[i] = value(o)
	}
	slices.Sort(values)
	return values[int(q*float64(len(values)-1))]
}

func humanly(d time.Duration) string {
	switch {
	case d < time.Hour:
		return fmt.Sprintf("%.0f min", d.Minutes())
	case d < 2*day:
		return fmt.Sprintf("%.1f h", d.Hours())
	default:
		return fmt.Sprintf("%.1f d", d.Hours()/24)
	}
}
