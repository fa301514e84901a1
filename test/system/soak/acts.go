package main

import (
	"context"
	"crypto/rand"
	"fmt"
	mathrand "math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/refreshd/refreshd/domain"
)

const exchangeKind = "exchange"

// act is an action of a user or a backend, and its share in a thousand.
type act struct {
	share int
	do    func(*crowd, context.Context, *session, *mathrand.Rand) error
}

var acts = []act{
	{865, (*crowd).exchange},
	{20, (*crowd).exchangeAndRetry},
	{20, (*crowd).exchangeLost},
	{3, (*crowd).presentLate},
	{2, (*crowd).steal},
	{30, (*crowd).listUser},
	{30, (*crowd).retrieve},
	{10, (*crowd).presentDead},
	{3, (*crowd).revokeID},
	{3, (*crowd).revokeString},
	{2, (*crowd).logOutOfApplication},
	{2, (*crowd).logOut},
	{2, (*crowd).logOutElsewhere},
	{8, (*crowd).logIn},
}

// stay is how long a user stays on average before it leaves its session to expire.
const stay = 90 * time.Second

// crowd is the users of all tenants, with what the checks need.
type crowd struct {
	client  *client
	tenants []*tenant
	faults  *faults
	arrived func() float64 // the share of the users that have arrived
}

// faults are the errors of the service.
type faults struct {
	mu     sync.Mutex
	counts map[string]int
	first  []string
}

func newFaults() *faults { return &faults{counts: map[string]int{}} }

// keptFaults is how many faults are reported in full.
const keptFaults = 20

func (f *faults) add(kind, format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counts[kind]++
	if len(f.first) < keptFaults {
		f.first = append(f.first, fmt.Sprintf("%s: %s: %s", time.Now().UTC().Format(time.TimeOnly), kind,
			fmt.Sprintf(format, args...)))
	}
}

func (f *faults) sum() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, count := range f.counts {
		n += count
	}
	return n
}

const (
	loggedOut   = "a user was logged out wrongly"
	answeredOff = "an ended refresh token was exchanged"
	wrongAnswer = "a response is not what the rules say"
	wrongStore  = "the store and the model differ"
	logged      = "a service logged an error"
)

// step runs one random act.
func (c *crowd) step(ctx context.Context, r *mathrand.Rand) error {
	t := c.tenants[0]
	if r.IntN(10) == 0 {
		t = c.tenants[len(c.tenants)-1]
	}
	t.RLock()
	defer t.RUnlock()
	u, there := c.draw(t, r)
	defer u.Unlock()
	if len(there) == 0 {
		return c.issue(ctx, u, r)
	}
	s := there[r.IntN(len(there))]
	n := r.IntN(1000)
	for _, a := range acts {
		if n -= a.share; n < 0 {
			return a.do(c, ctx, s, r)
		}
	}
	panic("the acts' shares are less than a thousand")
}

// draw locks a user and returns one of its sessions: if possible, one whose last response does not stand any more. An
// exchange of the others writes nothing, and the load is meant to write.
func (c *crowd) draw(t *tenant, r *mathrand.Rand) (u *user, there []*session) {
	for again := range 4 {
		if again > 0 {
			u.Unlock()
		}
		u = t.users[r.IntN(max(1, int(c.arrived()*float64(len(t.users)))))]
		u.Lock()
		now := time.Now()
		there = slices.DeleteFunc(u.living(now), func(s *session) bool { return !s.leaves.After(now) })
		rested := slices.DeleteFunc(slices.Clone(there), func(s *session) bool {
			may, _ := s.stands(span{now, now})
			return may
		})
		if len(there) == 0 || len(rested) > 0 {
			return u, rested
		}
	}
	return u, there
}

func (c *crowd) issue(ctx context.Context, u *user, r *mathrand.Rand) error {
	n := 0
	for _, a := range u.tenant.applications {
		n += a.share
	}
	n = r.IntN(n)
	application := u.tenant.applications[slices.IndexFunc(u.tenant.applications, func(a *application) bool {
		n -= a.share
		return n < 0
	})]
	// The clock that makes the id may be behind: the order of ids is not the order of logins.
	id, err := domain.NewID(time.Now().Add(-time.Duration(r.Int64N(int64(time.Minute)))), rand.Reader)
	if err != nil {
		return err
	}
	got, err := c.client.send(ctx, issueOf(scope{u.tenant.id, application.id, u.id}, id.String()))
	if err != nil {
		return err
	}
	g, generation, err := got.grant()
	if got.status != http.StatusOK || err != nil || g.ID != id.String() || generation != 1 {
		c.faults.add(wrongAnswer, "issue: %s, %v", got, err)
		return nil
	}
	s := newSession(g.ID, u, application, g.TokenString, got.call)
	s.leaves = time.Now().Add(time.Duration(r.ExpFloat64() * float64(stay)))
	u.sessions = append(u.sessions, s)
	u.keepNewest(application, got.call)
	return nil
}

func (c *crowd) logIn(ctx context.Context, s *session, r *mathrand.Rand) error {
	if len(s.user.living(time.Now())) >= 5 {
		return c.exchange(ctx, s, r)
	}
	return c.issue(ctx, s.user, r)
}

// present presents a token string and checks the response. outcomes are the right ones while the session is active.
func (c *crowd) present(ctx context.Context, kind string, s *session, h held, outcomes func(reply) []string) error {
	got, err := c.client.send(ctx, exchangeOf(kind, h.text))
	if err != nil {
		return err
	}
	c.judge(s, h, got, outcomes(got)...)
	return nil
}

func only(outcomes ...string) func(reply) []string {
	return func(reply) []string { return outcomes }
}

// judge checks a response, and updates the model.
func (c *crowd) judge(s *session, h held, got reply, outcomes ...string) {
	complain := func(kind string) {
		c.faults.add(kind, "%s of %s/%s, generation %d presented at %d: got %s, want one of %v or a refusal of %v",
			s.id, s.user.id,
			s.application.id, h.generation, s.current().generation, got, outcomes, s.refusals(got.call))
	}
	state := s.state(got.call)
	was := s.current()
	if got.status == http.StatusOK {
		g, generation, err := got.grant()
		switch {
		case state == dead:
			complain(answeredOff)
			return
		case err != nil || g.ID != s.id || !slices.Contains(outcomes, got.outcome):
			complain(wrongAnswer)
			return
		}
		s.unsure = span{}
		current := h.generation == was.generation
		switch {
		case current && generation == was.generation+1 && (got.outcome == "rotated" || got.calls > 1):
			s.rotate(g.TokenString, got.call, g.AccessToken)
		case current && got.outcome != "retried", generation != was.generation, g.TokenString != was.text:
			complain(wrongAnswer)
			return
		}
		switch {
		case got.outcome == "recovered":
			s.recover(got.call, g.AccessToken)
		case got.outcome == "retried" && s.access == "":
			s.access = g.AccessToken
		case got.outcome == "retried" && g.AccessToken != s.access: // a grace period is less than half of its lifetime
			complain(wrongAnswer + ": a retry's is not the same, byte for byte")
		}
		return
	}
	switch refusals := s.refusals(got.call); {
	case got.status != http.StatusBadRequest:
		complain(wrongAnswer)
	case state != dead && got.outcome == "replayed" && slices.Contains(outcomes, "replayed"),
		// Sent again, because the response to the replay was lost.
		state != dead && got.outcome == "revoked" && slices.Contains(outcomes, "replayed") && got.calls > 1:
		s.end(got.call)
	case state == alive:
		complain(loggedOut)
		s.end(got.call)
	case !slices.Contains(refusals, got.outcome):
		complain(wrongAnswer)
	case state == either && got.outcome == "revoked":
		s.end(span{s.unsure.from, got.call.to})
	case state == either && got.outcome == "expired":
		s.expires.to, s.unsure = earliest(s.expires.to, got.call.to), span{}
	}
}

// afterwards returns the right outcomes of an exchange of the current string, which may have been sent more than once.
func (s *session) afterwards(got reply) (outcomes []string) {
	may, surely := s.stands(got.call)
	if !surely {
		outcomes = append(outcomes, "rotated")
	}
	if may || got.calls > 1 {
		outcomes = append(outcomes, "retried")
	}
	if got.calls > 1 && got.call.to.Sub(got.call.from) >= grace {
		outcomes = append(outcomes, "recovered")
	}
	return outcomes
}

func (c *crowd) exchange(ctx context.Context, s *session, _ *mathrand.Rand) error {
	return c.present(ctx, exchangeKind, s, s.current(), s.afterwards)
}

// exchangeAndRetry is a client that did not store the response.
func (c *crowd) exchangeAndRetry(ctx context.Context, s *session, r *mathrand.Rand) error {
	if err := c.exchange(ctx, s, r); err != nil {
		return err
	}
	h, ok := s.previous()
	if !ok {
		return nil
	}
	return c.present(ctx, "retry", s, h, func(got reply) []string {
		if _, surely := s.stands(got.call); !surely {
			return []string{"retried", "recovered", "replayed"} // it took too long to know
		}
		return []string{"retried"}
	})
}

// exchangeLost is a client whose connection breaks, and that immediately sends the same string again.
func (c *crowd) exchangeLost(ctx context.Context, s *session, _ *mathrand.Rand) error {
	h := s.current()
	begin := time.Now().Add(-clocks)
	c.client.lose(ctx, exchangeOf("lost", h.text))
	got, err := c.client.send(ctx, exchangeOf("retry of a lost answer", h.text))
	if err != nil {
		return err
	}
	got.call.from, got.calls = begin, got.calls+1
	c.judge(s, h, got, s.afterwards(got)...)
	return nil
}

// presentLate is a device that lost a response and returns after the grace period.
func (c *crowd) presentLate(ctx context.Context, s *session, r *mathrand.Rand) error {
	h, ok := s.previous()
	now := time.Now().Add(-2 * clocks)
	if may, _ := s.stands(span{now, now}); !ok || may {
		return c.exchange(ctx, s, r)
	}
	if s.recoverable() {
		return c.present(ctx, "late", s, h, only("recovered"))
	}
	return c.present(ctx, "late", s, h, only("replayed"))
}

// steal is a thief with a copy that is older than any retry or recovery.
func (c *crowd) steal(ctx context.Context, s *session, r *mathrand.Rand) error {
	if len(s.strings) < 3 {
		return c.exchange(ctx, s, r)
	}
	return c.present(ctx, "theft", s, s.strings[len(s.strings)-3], only("replayed"))
}

// presentDead is a client that does not know that it was logged out.
func (c *crowd) presentDead(ctx context.Context, s *session, r *mathrand.Rand) error {
	for _, other := range s.user.sessions {
		if now := time.Now(); other.state(span{now, now}) == dead && r.IntN(2) == 0 {
			return c.present(ctx, "exchange of a dead one", other, other.current(), only())
		}
	}
	return c.exchange(ctx, s, r)
}

func (c *crowd) listUser(ctx context.Context, s *session, r *mathrand.Rand) error {
	sc := scope{tenant: s.user.tenant.id, user: s.user.id}
	if r.IntN(2) == 0 {
		sc.application = s.application.id
	}
	return c.list(ctx, s.user, sc)
}

// list reads the active sessions, and compares them with the model.
func (c *crowd) list(ctx context.Context, u *user, s scope) error {
	got, err := c.client.send(ctx, request{kind: "list", method: http.MethodGet, path: query(s, "limit", "1000"),
		tenant: s.tenant})
	if err != nil {
		return err
	}
	var records []record
	if err := got.data(&records); err != nil || got.status != http.StatusOK {
		c.faults.add(wrongAnswer, "list %s: %s, %v", s, got, err)
		return nil
	}
	listed := map[string]record{}
	for _, r := range records {
		listed[r.ID] = r
	}
	for _, known := range u.sessions {
		if s.application != "" && s.application != known.application.id {
			continue
		}
		found, in := listed[known.id]
		delete(listed, known.id)
		switch state := known.state(got.call); {
		case in && state == dead:
			c.faults.add(wrongAnswer, "list %s: %s has ended and is listed", s, known.id)
		case !in && state == alive:
			c.faults.add(wrongAnswer, "list %s: %s is active and not listed", s, known.id)
		case in && (found.Generation != known.current().generation || found.UserID != u.id ||
			found.ApplicationID != known.application.id):
			c.faults.add(wrongAnswer, "list %s: got %+v, want generation %d of %s", s, found, known.current().generation,
				known.application.id)
		}
	}
	for id := range listed {
		c.faults.add(wrongAnswer, "list %s: %s was not issued", s, id)
	}
	return nil
}

func (c *crowd) retrieve(ctx context.Context, s *session, _ *mathrand.Rand) error {
	got, err := c.client.send(ctx, request{kind: "retrieve", method: http.MethodGet, path: "/jwt/refresh/" + s.id,
		tenant: s.user.tenant.id})
	if err != nil {
		return err
	}
	var found record
	state := s.state(got.call)
	switch {
	case got.status == http.StatusNotFound && state != alive:
	case got.status != http.StatusOK || state == dead || got.data(&found) != nil || found.ID != s.id ||
		found.Generation != s.current().generation:
		c.faults.add(wrongAnswer, "retrieve %s at generation %d: %s", s.id, s.current().generation, got)
	}
	return nil
}

func (c *crowd) revokeID(ctx context.Context, s *session, _ *mathrand.Rand) error {
	return c.revokeOne(ctx, s, request{kind: "revoke by id", method: http.MethodDelete, path: "/jwt/refresh/" + s.id,
		tenant: s.user.tenant.id})
}

func (c *crowd) revokeString(ctx context.Context, s *session, r *mathrand.Rand) error {
	h := s.strings[r.IntN(len(s.strings))] // of any generation
	return c.revokeOne(ctx, s, request{
		kind: "revoke by token string", method: http.MethodDelete, path: "/jwt/refresh", tenant: s.user.tenant.id,
		body: `{"tokenString":"` + h.text + `"}`,
	})
}

func (c *crowd) revokeOne(ctx context.Context, s *session, r request) error {
	got, err := c.client.send(ctx, r)
	if err != nil {
		return err
	}
	switch state := s.state(got.call); {
	case got.status == http.StatusOK && state != dead:
		s.end(got.call)
	case got.status == http.StatusNotFound && state == alive && got.calls > 1: // the first request revoked it
		s.end(got.call)
	case got.status == http.StatusNotFound && state == either: // it has ended, and the next exchange shows why
		if s.unsure.isZero() {
			s.expires.to = earliest(s.expires.to, got.call.to)
		}
	default:
		c.faults.add(wrongAnswer, "%s of %s: %s", r.kind, s.id, got)
	}
	return nil
}

func (c *crowd) logOut(ctx context.Context, s *session, _ *mathrand.Rand) error {
	return c.revokeUser(ctx, s.user, "revoke a user", scope{tenant: s.user.tenant.id, user: s.user.id}, nil)
}

func (c *crowd) logOutOfApplication(ctx context.Context, s *session, _ *mathrand.Rand) error {
	return c.revokeUser(ctx, s.user, "revoke a user in an application",
		scope{s.user.tenant.id, s.application.id, s.user.id}, nil)
}

func (c *crowd) logOutElsewhere(ctx context.Context, s *session, r *mathrand.Rand) error {
	if now := time.Now(); s.state(span{now, now.Add(2 * callTimeout)}) != alive {
		return c.exchange(ctx, s, r) // it may expire meanwhile, and then the revocation would have no effect
	}
	return c.revokeUser(ctx, s.user, "revoke a user but one", scope{tenant: s.user.tenant.id, user: s.user.id}, s)
}

func (c *crowd) revokeUser(ctx context.Context, u *user, kind string, s scope, except *session) error {
	var more []string
	if except != nil {
		more = []string{"exceptTokenId", except.id}
	}
	got, err := c.client.send(ctx, revokeOf(kind, s, more...))
	if err != nil {
		return err
	}
	if got.status != http.StatusOK {
		if except == nil || except.state(got.call) == alive || got.status != http.StatusNotFound {
			c.faults.add(wrongAnswer, "%s %s: %s", kind, s, got)
		}
		return nil
	}
	u.tenant.mark(s, got.calls)
	if except != nil {
		except.access = "" // the next access token names another epoch
	}
	for _, other := range u.sessions {
		if other != except && (s.application == "" || s.application == other.application.id) {
			other.end(got.call)
		}
	}
	return nil
}

// revokeAll is a backend that revokes an application, or the tenant if application is empty, while no other call for
// the tenant runs.
func (c *crowd) revokeAll(ctx context.Context, t *tenant, application string) error {
	t.Lock()
	defer t.Unlock()
	kind := "revoke an application"
	s := scope{tenant: t.id, application: application}
	if application == "" {
		kind = "revoke a tenant"
	}
	got, err := c.client.send(ctx, revokeOf(kind, s))
	if err != nil {
		return err
	}
	if got.status != http.StatusOK {
		c.faults.add(wrongAnswer, "%s %s: %s", kind, s, got)
		return nil
	}
	t.mark(s, got.calls)
	t.end(application, got.call)
	return nil
}
