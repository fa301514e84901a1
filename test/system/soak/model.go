package main

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// The policy of all applications. The kickstart file has the same values.
const (
	grace            = time.Second
	recoveryBurst    = 2
	recoveryInterval = 10
	purgeAfter       = 5 * time.Minute
)

// expiration is how the expiry of a refresh token moves.
type expiration int

const (
	fixed expiration = iota
	sliding
	slidingWithMaximum
)

// application is an application with its policy. Its lifetimes are the shortest that the service accepts: minutes.
type application struct {
	id         string
	expiration expiration
	ttl        time.Duration
	maximum    time.Duration
	limit      int // of a user's refresh tokens; 0 for none
	share      int // of all issues
}

// span is a time on the service's clock that is known only to lie within a call.
type span struct{ from, to time.Time }

func (s span) isZero() bool             { return s.to.IsZero() }
func (s span) add(d time.Duration) span { return span{s.from.Add(d), s.to.Add(d)} }
func earlier(a, b span) span            { return span{earliest(a.from, b.from), earliest(a.to, b.to)} }

// wholeSeconds rounds down: the service expires a refresh token at a whole second.
func (s span) wholeSeconds() span {
	return span{s.from.Truncate(time.Second), s.to.Truncate(time.Second)}
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// state is the state of a refresh token during a call, as far as the model knows it.
type state int

const (
	alive state = iota
	dead
	either // it ends during the call, or only the response shows
)

// session is a refresh token by the rules, with the token strings of it that its user or a thief holds.
type session struct {
	id          string
	application *application
	user        *user

	issued, expires span
	strings         []held // the last one is current
	answered        span   // the rotation of the current string, or its first recovery; zero if there is none
	access          string // the access token of the last response; empty if it is not known
	paidUntil       int64
	recovered       uint32

	revoked span      // zero if it was not revoked
	unsure  span      // of a call that may have revoked it; zero if there is none
	leaves  time.Time // its user does not return after that, and it expires
}

// held is a token string, and when it stopped being current.
type held struct {
	text       string
	generation uint32
	left       span
}

// keptStrings is how many strings of a session its user or a thief may present.
const keptStrings = 6

func newSession(id string, u *user, a *application, text string, call span) *session {
	s := &session{id: id, user: u, application: a, issued: call, strings: []held{{text: text, generation: 1}}}
	s.expires = call.add(a.ttl)
	if a.expiration == slidingWithMaximum {
		s.expires = earlier(s.expires, call.add(a.maximum))
	}
	s.expires = s.expires.wholeSeconds()
	return s
}

func (s *session) current() held { return s.strings[len(s.strings)-1] }

// previous returns the string before the current one, if there is one.
func (s *session) previous() (held, bool) {
	if len(s.strings) < 2 {
		return held{}, false
	}
	return s.strings[len(s.strings)-2], true
}

// state returns the state of the session during a call.
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

// refusals returns the outcomes that a refusal during the call may have.
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

// died returns the earliest and the latest time at which it can have ended.
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

// mayBeGone reports whether a purge may have deleted it by now.
func (s *session) mayBeGone(now time.Time) bool {
	return !s.died().from.After(now.Add(-purgeAfter))
}

// isOld reports whether a purge that began at now has to delete it. Its expiry counts, not its revocation, because a
// purge counts a revocation by mark from when the mark was last raised.
func (s *session) isOld(now time.Time) bool {
	return !s.expires.to.After(now.Add(-purgeAfter))
}

func (s *session) slide(call span) {
	switch s.application.expiration {
	case fixed:
	case sliding:
		s.expires = call.add(s.application.ttl).wholeSeconds()
	case slidingWithMaximum:
		s.expires = earlier(call.add(s.application.ttl), s.issued.add(s.application.maximum)).wholeSeconds()
	}
}

// stands reports whether the last response may stand during the call, and whether it stands during the whole call.
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

// recoverable reports whether the string before the current one can be recovered after the grace period.
func (s *session) recoverable() bool {
	g := s.current().generation
	return s.recovered == g || s.paidUntil-int64(g) <= (recoveryBurst-1)*recoveryInterval
}

// recover charges the first recovery of a generation, which is then the last response.
func (s *session) recover(call span, access string) {
	if g := s.current().generation; s.recovered != g {
		s.paidUntil, s.recovered = max(s.paidUntil, int64(g))+recoveryInterval, g
		s.answered, s.access = call, access
	}
	s.slide(call)
}

// end records that a call revoked it.
func (s *session) end(call span) {
	if s.revoked.isZero() {
		s.revoked, s.unsure = call, span{}
		s.dropDetails()
	}
}

// dropDetails drops what only an active session needs, because most sessions have ended.
func (s *session) dropDetails() {
	s.strings, s.access = slices.Clone(s.strings[len(s.strings)-1:]), ""
}

// user is a user of a tenant. A call for the user, and a read of its sessions, holds the user's lock, and shares the
// tenant's.
type user struct {
	sync.Mutex
	id       string
	tenant   *tenant
	sessions []*session // those that may be stored
}

// living returns the sessions that may be active.
func (u *user) living(now time.Time) (all []*session) {
	for _, s := range u.sessions {
		if s.state(span{now, now}) != dead {
			all = append(all, s)
		}
	}
	return all
}

// keepNewest ends all but the latest logins that the application allows its user. Logins of a user do not overlap, so
// their order is known. If one expires meanwhile, it is unknown which remain.
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

// scope is what a wide revocation covers. An empty field does not restrict it.
type scope struct{ tenant, application, user string }

func (s scope) String() string { return fmt.Sprintf("%s/%s/%s", s.tenant, s.application, s.user) }

// tenant is a tenant. A call for a single user shares its lock; a call that covers several users holds it exclusively.
type tenant struct {
	sync.RWMutex
	id           string
	applications []*application
	users        []*user

	mu      sync.Mutex
	marks   map[scope]bool
	epoch   uint64 // wide revocations that got a response
	repeats uint64 // repeated requests, each of which may have counted
}

func newTenant(id string, users int, applications ...*application) *tenant {
	t := &tenant{id: id, applications: applications, marks: map[scope]bool{}}
	for i := range users {
		t.users = append(t.users, &user{id: fmt.Sprintf("user-%d", i), tenant: t})
	}
	return t
}

// mark records a wide revocation that got a response, after so many attempts.
func (t *tenant) mark(s scope, calls int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.marks[s] = true
	t.epoch++
	t.repeats += uint64(calls - 1)
}

// end ends the sessions that a wide revocation of several users covers. An empty application means all.
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
