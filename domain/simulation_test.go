package domain_test

import (
	"container/heap"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/refreshd/refreshd/domain"
)

var simulate = flag.Bool("simulate", false, "run TestSimulation with large numbers and print its tables")

// TestSimulation plays users and thieves against the rules over simulated time: who is logged out, and how soon is a thief
// caught? `make simulate` prints the tables that the README quotes; without the flag a small run holds the same claims. The
// seed is fixed, so the numbers change when the rules do and not otherwise.
func TestSimulation(t *testing.T) {
	years, thefts, out := 1, 8, io.Discard
	if *simulate {
		years, thefts, out = 40, 300, os.Stdout
	}
	strict := domain.DefaultPolicy()
	strict.GracePeriod, strict.RecoveryBurst = 5*time.Second, 0
	policies := []struct {
		name   string
		policy domain.Policy
		// What the policy promises.
		collisions int
	}{
		{"default (grace 30 s, recovery burst 2, interval 10)", domain.DefaultPolicy(), 3},
		{"strict (grace 5 s, no recovery)", strict, 1},
	}
	for i, p := range policies {
		fmt.Fprintf(out, "\nPolicy: %s\n\n| user | user-years | with a logout | logouts a user-year | recoveries a user-year |\n|---|---|---|---|---|\n", p.name)
		for _, h := range honest {
			n := max(1, years/h.costs)
			var logouts, users, recoveries int
			for user := range n {
				d := newDevices(p.policy, h.lastAnswerWins, rand.New(rand.NewPCG(uint64(user), 1)))
				h.year(d)
				logouts, recoveries = logouts+d.logouts, recoveries+d.recoveries
				users += min(1, d.logouts)
				if h.promised && d.unpaid > 0 {
					t.Errorf("%s, %s: user %d was logged out %d times inside the budget", p.name, h.name, user, d.unpaid)
				}
			}
			if i == 0 && h.never && logouts > 0 {
				t.Errorf("%s, %s: %d logouts in %d user-years, want none", p.name, h.name, logouts, n)
			}
			fmt.Fprintf(out, "| %s | %d | %.1f %% | %.2f | %.2f |\n", h.name, n, 100*float64(users)/float64(n),
				float64(logouts)/float64(n), float64(recoveries)/float64(n))
		}
		fmt.Fprint(out, "\n| thief, with one copied string | caught | median | p95 | worst | collisions, worst | exchanges, median | worst |\n|---|---|---|---|---|---|---|---|\n")
		for _, s := range thieves {
			var all []theft
			for i := range thefts {
				all = append(all, steal(p.policy, s, rand.New(rand.NewPCG(uint64(i), 2))))
			}
			caught := slices.DeleteFunc(slices.Clone(all), func(t theft) bool { return !t.caught })
			for _, th := range all {
				if th.collisions > p.collisions || (s.drifts && !th.caught) {
					t.Errorf("%s, %s: %+v, want caught, at collision %d at the latest", p.name, s.name, th, p.collisions)
				}
			}
			at := func(q float64) string {
				if len(caught) == 0 {
					return "never"
				}
				return humanly(quantile(caught, q, func(t theft) time.Duration { return t.after }))
			}
			answered := func(t theft) int { return t.answered }
			fmt.Fprintf(out, "| %s | %.0f %% | %s | %s | %s | %d | %d | %d |\n", s.name, 100*float64(len(caught))/float64(len(all)), at(.5), at(.95), at(1),
				quantile(all, 1, func(t theft) int { return t.collisions }), quantile(all, .5, answered), quantile(all, 1, answered))
		}
	}
}

// honest are the users. An exchange is retried by its client after 2, 6 and 14 s without an answer, with what the storage
// then holds; one way takes 0.1 s on average, and in one of a hundred cases 1 to 10 s.
var honest = []struct {
	name           string
	lastAnswerWins bool // as browsers treat cookies; else an answer is stored only if the storage holds what was sent
	promised       bool // no logout inside the budget
	never          bool // no logout at all, under the default policy
	costs          int  // how many times as many events as the others
	year           func(*devices)
}{
	{"one device, 10 exchanges a day, 1 % of the answers lost", false, true, true, 1, func(d *devices) {
		d.daily(0.01, d.waking)
	}},
	{"the same, 10 % lost", false, true, true, 1, func(d *devices) {
		d.daily(0.10, d.waking)
	}},
	{"five tabs restored together each morning, shared storage, 1 % lost", false, true, true, 1, func(d *devices) {
		d.daily(0.01, func(day time.Time) { d.tabs(day); d.waking(day) })
	}},
	{"the same with cookies: the last answer to land wins", true, false, false, 1, func(d *devices) {
		d.daily(0.01, func(day time.Time) { d.tabs(day); d.waking(day) })
	}},
	{"flaky mobile: 10 a day, 1 % rotate and go dark for hours", false, true, false, 1, func(d *devices) { d.dark = 0.01; d.daily(0, d.waking) }},
	{"the same, 5 %", false, true, false, 1, func(d *devices) { d.dark = 0.05; d.daily(0, d.waking) }},
	{"backend: 4 processes, shared storage, every hour, 0.1 % lost", false, true, true, 8, func(d *devices) {
		d.daily(0.001, func(day time.Time) {
			for hour := range 24 {
				for range 4 {
					d.request(day.Add(time.Duration(hour)*time.Hour+d.upTo(time.Second)), 0)
				}
				d.run()
			}
		})
	}},
	{"two copies of one storage (a restored backup), both in use", false, false, false, 1, func(d *devices) {
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

// devices are what one user has: requests that share a storage, and the refresh token on the server.
type devices struct {
	policy         domain.Policy
	rng            *rand.Rand
	lastAnswerWins bool
	lost, dark     float64

	server  *world
	storage uint32
	queue   events

	logouts, recoveries int
	// unpaid counts logouts that the budget should have prevented: late for the string before the current one, with credit.
	unpaid int
	credit map[*world]int64
}

func newDevices(p domain.Policy, lastAnswerWins bool, rng *rand.Rand) *devices {
	d := &devices{policy: p, rng: rng, lastAnswerWins: lastAnswerWins, credit: map[*world]int64{}}
	d.login(issued)
	return d
}

func (d *devices) login(at time.Time) {
	d.server = newWorld(domain.Snapshot.Decide, d.policy)
	r := &d.server.snap.Token
	r.IssuedAt, r.RotatedAt, r.ExpiresAt = at, at, at.Add(d.policy.TTL)
	d.storage = 1
	d.credit[d.server] = d.policy.RecoveryBurst * d.policy.RecoveryInterval
}

func (d *devices) upTo(t time.Duration) time.Duration { return time.Duration(d.rng.Int64N(int64(t))) }

func (d *devices) latency() time.Duration {
	if d.rng.IntN(100) == 0 {
		return time.Second + d.upTo(9*time.Second)
	}
	return time.Duration(float64(100*time.Millisecond) * d.rng.ExpFloat64())
}

func (d *devices) daily(lost float64, day func(time.Time)) {
	d.lost = lost
	for i := range 364 {
		day(issued.Truncate(24 * time.Hour).Add(time.Duration(i+1) * 24 * time.Hour))
	}
}

// waking is ten exchanges between eight and ten.
func (d *devices) waking(day time.Time) {
	for i := range 10 {
		d.request(day.Add(8*time.Hour+time.Duration(i)*84*time.Minute+d.upTo(time.Hour)), 0)
		d.run()
	}
}

// tabs is five tabs restored within a second, at half past seven.
func (d *devices) tabs(day time.Time) {
	for range 5 {
		d.request(day.Add(7*time.Hour+30*time.Minute+d.upTo(time.Second)), 0)
	}
	d.run()
}

// request sends what the storage holds at that instant, and again if no answer lands.
func (d *devices) request(at time.Time, attempt int) {
	d.queue.at(at, func() {
		server, presented, answered := d.server, d.storage, false
		arrival := at.Add(d.latency())
		d.queue.at(arrival, func() {
			if server != d.server {
				return // logged out meanwhile
			}
			decision := d.exchange(presented, arrival)
			if decision.Outcome.Refused() {
				answered = true
				return
			}
			if d.rng.Float64() < d.lost {
				return
			}
			if decision.Outcome == domain.Rotated && d.rng.Float64() < d.dark {
				answered = true // by nothing: the device is off
				return
			}
			d.queue.at(arrival.Add(d.latency()), func() {
				answered = true
				if server == d.server && (d.lastAnswerWins || d.storage == presented) {
					d.storage = decision.After.Generation
				}
			})
		})
		if attempt < 3 {
			wait := 2 * time.Second << attempt
			d.queue.at(at.Add(wait), func() {
				if !answered && server == d.server {
					d.request(at.Add(wait), attempt+1)
				}
			})
		}
	})
}

// exchange is one decision of the server, and a login after a refusal.
func (d *devices) exchange(presented uint32, at time.Time) domain.Decision {
	server := d.server
	current, recovered := server.snap.Token.Generation, server.snap.Token.RecoveredGeneration
	decision := server.exchange(domain.Call{Generation: presented, Now: at})
	switch {
	case decision.Outcome.Refused():
		d.logouts++
		if presented == current-1 && d.credit[server] >= d.policy.RecoveryInterval {
			d.unpaid++
		}
		d.login(at)
	case decision.Outcome == domain.Rotated:
		d.credit[server] = min(d.policy.RecoveryBurst*d.policy.RecoveryInterval, d.credit[server]+1)
	case decision.Outcome == domain.Recovered && recovered != current:
		d.recoveries++
		d.credit[server] -= d.policy.RecoveryInterval
	}
	return decision
}

func (d *devices) run() {
	for d.queue.Len() > 0 {
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

// strategy is when a thief uses what he copied. next is the instant of the use after last (zero: the first use), given when he
// copied and when the owner uses his.
type strategy struct {
	name   string
	drifts bool // more than a grace period from the owner, again and again: must be caught
	owner  int  // exchanges a day
	next   func(copied, last time.Time, owner []time.Time) time.Time
}

var thieves = []strategy{
	{"at once, and whenever the access token expires (15 min)", true, 10, func(copied, last time.Time, _ []time.Time) time.Time {
		if last.IsZero() {
			return copied.Add(time.Second)
		}
		return last.Add(15 * time.Minute)
	}},
	{"waits for the owner's next exchange, then every 15 min", true, 10, func(copied, last time.Time, owner []time.Time) time.Time {
		if last.IsZero() {
			return following(owner, copied).Add(5 * time.Minute)
		}
		return last.Add(15 * time.Minute)
	}},
	{"every hour", true, 10, func(copied, last time.Time, _ []time.Time) time.Time {
		return later(copied, last).Add(time.Hour)
	}},
	{"in turn with an owner who comes once a day", true, 1, func(copied, last time.Time, _ []time.Time) time.Time {
		return later(copied, last).Truncate(24 * time.Hour).Add(27 * time.Hour)
	}},
	{"at once, and never again", false, 10, func(copied, last time.Time, _ []time.Time) time.Time {
		if last.IsZero() {
			return copied.Add(time.Second)
		}
		return copied.Add(1000 * day)
	}},
	{"a second after each of the owner's exchanges, from the next one on", false, 10, func(copied, last time.Time, owner []time.Time) time.Time {
		return following(owner, later(copied, last)).Add(time.Second)
	}},
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// following is the first of the instants after t, or years later.
func following(instants []time.Time, t time.Time) time.Time {
	i, _ := slices.BinarySearchFunc(instants, t.Add(µs), time.Time.Compare)
	if i == len(instants) {
		return t.Add(1000 * day)
	}
	return instants[i]
}

type theft struct {
	caught     bool
	after      time.Duration // from the thief's first use
	collisions int
	answered   int // exchanges that the thief got
}

// steal plays one theft: an owner who loses no answers, and a thief who copies the string at some moment of the second week.
func steal(p domain.Policy, s strategy, rng *rand.Rand) theft {
	w := newWorld(domain.Snapshot.Decide, p)
	var owner []time.Time
	for i := range 370 {
		for j := range s.owner {
			part := 14 * time.Hour / time.Duration(s.owner)
			owner = append(owner, issued.Truncate(24*time.Hour).Add(time.Duration(i+1)*day+8*time.Hour+time.Duration(j)*part+
				time.Duration(rng.Int64N(int64(part-20*time.Minute)))))
		}
	}
	copied := issued.Add(7*day + time.Duration(rng.Int64N(int64(7*day))))
	ownerHolds, thiefHolds := uint32(1), uint32(0)
	var t theft
	var first, last time.Time
	collided := map[uint32]bool{}
	for i := 0; i < len(owner); {
		at, isThief, holds := owner[i], false, &ownerHolds
		if thief := s.next(copied, last, owner); thief.Before(at) {
			at, isThief, holds, last = thief, true, &thiefHolds, thief
			if first.IsZero() {
				first = thief
			}
		} else {
			i++
		}
		if thiefHolds == 0 && at.After(copied) {
			thiefHolds = ownerHolds
		}
		current := w.snap.Token
		d := w.exchange(domain.Call{Generation: *holds, Now: at})
		if *holds == current.Generation-1 && d.Outcome != domain.Retried {
			collided[current.Generation] = true
		}
		t.collisions = len(collided)
		switch {
		case d.Outcome == domain.RefusedReplayed:
			t.caught, t.after = true, at.Sub(first)
			return t
		case d.Outcome.Refused():
			return t // the maximum lifetime
		}
		*holds = d.After.Generation
		if isThief {
			t.answered++
		}
	}
	return t
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
