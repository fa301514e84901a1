package main

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// The policy that everything here has; the kickstart file says the same.
const (
	grace            = time.Second
	recoveryBurst    = 2
	recoveryInterval = 10
	purgeAfter       = 5 * time.Minute
)

// expiration is how a refresh token's end moves.
type expiration int

const (
	fixed expiration = iota
	sliding
	slidingWithMaximum
)

// application is one, with its policy. Its lives are the shortest that the service takes, minutes.
type application struct {
	id         string
	expiration expiration
	ttl        time.Duration
	maximum    time.Duration
	limit      int // of a user's refresh tokens; 0 for none
	share      int // of what is issued
}

// span is an instant of the service's, of which we know only that it lies within a call of ours.
type span struct{ from, to time.Time }

func (s span) isZero() bool             { return s.to.IsZero() }
func (s span) add(d time.Duration) span { return span{s.from.Add(d), s.to.Add(d)} }
func earlier(a, b span) span            { return span{earliest(a.from, b.from), earliest(a.to, b.to)} }

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// state is what the model knows of a refresh token during a call.
type state int

const (
	alive state = iota
	dead
	either // it ends during the call, or only the answer tells
)

// session is a refresh token as the rules of design.md make it, and the strings of it that its user, or a thief, holds.
type session struct {
	id          string
	application *application
	user        *user

	issued, expires span
	strings         []held // the last one is current
	answered        span   // the last answer: the current string's rotation, or its first recovery; zero if there is none
	access          string // the access token of the last answer; empty if it is not known
	paidUntil       int64
	recovered       uint32

	revoked span      // zero if it never was
	unsure  span      // that of a call which may have revoked it; zero if there is none
	leaves  time.Time // from then on its user does not come back, and it expires
}

// held is a token string, and when it stopped being current.
type held struct {
	text       string
	generation uint32
	left       span
}

// keptStrings are how many of a session its user or a thief may still present.
const keptStrings = 6

func newSession(id string, u *user, a *application, text string, call span) *session {
	s := &session{id: id, user: u, application: a, issued: call, strings: []held{{text: text, generation: 1}}}
	s.expires = call.add(a.ttl)
	if a.expiration == slidingWithMaximum {
		s.expires = earlier(s.expires, call.add(a.maximum))
	}
	return s
}

func (s *session) current() held { return s.strings[len(s.strings)-1] }

// previous is the string before the current one, if there is one.
func (s *session) previous() (held, bool) {
	if len(s.strings) < 2 {
		return held{}, false
	}
	return s.strings[len(s.strings)-2], true
}

// state is what it is during a call.
func (s *session) state(call span) state {
	switch {
	case !s.revoked.isZero(), !call.from.Before(s.expires.to):
		return dead
	case !s.unsure.isZero(), !call.to.Before(s.expires.from):
		return either
	default:
		return alive
	}
}

// refusals are the outcomes that a refusal during the call may have.
func (s *session) refusals(call span) (words []string) {
	if !s.revoked.isZero() || !s.unsure.isZero() {
		words = append(words, "revoked")
	}
	if s.revoked.isZero() && !call.to.Before(s.expires.from) {
		words = append(words, "expired")
	}
	if s.mayBeGone(call.to) {
		words = append(words, "invalid")
	}
	return words
}

// died is when it did, at the earliest and at the latest that can be.
func (s *session) died() span {
	d := s.expires
	if !s.revoked.isZero() {
		d = earlier(d, s.revoked)
	}
	if !s.unsure.isZero() {
		d.from = earliest(d.from, s.unsure.from)
	}
	return d
}

// mayBeGone tells whether a purge may have deleted it by now.
func (s *session) mayBeGone(now time.Time) bool {
	return !s.died().from.After(now.Add(-purgeAfter))
}

// isOld tells whether a purge that began at now has to find it dead for long enough. Not when it was revoked counts, but its expiry:
// what a mark ended is dead since the mark was last raised.
func (s *session) isOld(now time.Time) bool {
	return !s.expires.to.After(now.Add(-purgeAfter))
}

func (s *session) slide(call span) {
	switch s.application.expiration {
	case fixed:
	case sliding:
		s.expires = call.add(s.application.ttl)
	case slidingWithMaximum:
		s.expires = earlier(call.add(s.application.ttl), s.issued.add(s.application.maximum))
	}
}

// stands reports whether the last answer may stand during the call, and whether it does, whenever in the call it is
// asked for.
func (s *session) stands(call span) (may, surely bool) {
	if s.answered.isZero() {
		return false, false
	}
	return call.from.Sub(s.answered.to) < grace, call.to.Sub(s.answered.from) < grace
}

// rotate makes text the current string.
func (s *session) rotate(text string, call span, access string) {
	last := &s.strings[len(s.strings)-1]
	last.left = call
	s.strings = append(s.strings, held{text: text, generation: last.generation + 1})
	if len(s.strings) > keptStrings {
		s.strings = slices.Delete(s.strings, 0, len(s.strings)-keptStrings)
	}
	s.answered, s.access = call, access
	s.slide(call)
}

// recoverable tells whether the string before the current one, presented late, is answered.
func (s *session) recoverable() bool {
	g := s.current().generation
	return s.recovered == g || s.paidUntil-int64(g) <= (recoveryBurst-1)*recoveryInterval
}

// recover: the first recovery of a generation is charged, and is the last answer from then on.
func (s *session) recover(call span, access string) {
	if g := s.current().generation; s.recovered != g {
		s.paidUntil, s.recovered = max(s.paidUntil, int64(g))+recoveryInterval, g
		s.answered, s.access = call, access
	}
	s.slide(call)
}

// end has a call revoke it for certain.
func (s *session) end(call span) {
	if s.revoked.isZero() {
		s.revoked, s.unsure = call, span{}
		s.bury()
	}
}

// bury forgets what only a living session needs, because the dead are many.
func (s *session) bury() {
	s.strings, s.access = slices.Clone(s.strings[len(s.strings)-1:]), ""
}

// user is one of a tenant. Whoever looks at a session of it, or calls for it, holds its lock, and shares its tenant's.
type user struct {
	sync.Mutex
	id       string
	tenant   *tenant
	sessions []*session // that may still be stored
}

// living are those that are not surely dead.
func (u *user) living(now time.Time) (all []*session) {
	for _, s := range u.sessions {
		if s.state(span{now, now}) != dead {
			all = append(all, s)
		}
	}
	return all
}

// keepNewest ends all but the latest logins that the application allows its user: a user logs in once at a time, so
// that their order is known. Where one expires meanwhile, which are left is unsure.
func (u *user) keepNewest(a *application, call span) {
	if a.limit == 0 {
		return
	}
	sure, possible := 0, 0
	for _, s := range slices.Backward(u.sessions) {
		if s.application != a {
			continue
		}
		state := s.state(call)
		switch {
		case state == dead:
			continue
		case sure >= a.limit && state == alive:
			s.end(call)
		case possible >= a.limit:
			s.unsure = call
		}
		possible++
		if state == alive {
			sure++
		}
	}
}

// scope is what a wide revocation covers; empty means not narrowed.
type scope struct{ tenant, application, user string }

func (s scope) String() string { return fmt.Sprintf("%s/%s/%s", s.tenant, s.application, s.user) }

// tenant is one. Who calls for a single user shares its lock; a call that covers several holds it alone.
type tenant struct {
	sync.RWMutex
	id           string
	applications []*application
	users        []*user

	mu      sync.Mutex
	marks   map[scope]bool
	epoch   uint64 // the revocations that were answered
	repeats uint64 // calls that were sent again, each of which may have counted
}

func newTenant(id string, users int, applications ...*application) *tenant {
	t := &tenant{id: id, applications: applications, marks: map[scope]bool{}}
	for i := range users {
		t.users = append(t.users, &user{id: fmt.Sprintf("user-%d", i), tenant: t})
	}
	return t
}

// mark records a wide revocation that was answered, after so many calls.
func (t *tenant) mark(s scope, calls int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.marks[s] = true
	t.epoch++
	t.repeats += uint64(calls - 1)
}

// end ends what a wide revocation of several users covers; an empty application stands for all.
func (t *tenant) end(application string, call span) {
	for _, u := range t.users {
		for _, s := range u.sessions {
			if application == "" || s.application.id == application {
				s.end(call)
			}
		}
	}
}

func (t *tenant) sessions() (all []*session) {
	for _, u := range t.users {
		all = append(all, u.sessions...)
	}
	return all
}
