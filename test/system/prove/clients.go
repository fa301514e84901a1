package main

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	tenants        = 2
	usersATenant   = 16
	backendKey     = "ak_prove_prove_prove_prove_prove"
	longestSession = 60 // exchanges of one device
	hasty          = 12 // exchanges in a row, more than the burst of a limited refresh token
	intrusion      = 4  // the number of the intruder among the clients of a device
)

// applications are the policies that are proved. The clocks run at five times the speed of the true time.
var applications = map[string]rules{
	// patient is for honest users only. Its grace period is so long that they return within it, whatever happens.
	"patient": {grace: 3 * minute, burst: 2, interval: 10, life: 30 * minute, maximum: 60 * minute, access: 15 * minute},
	// web has a grace period in which access tokens move on by half lifetimes.
	"web":    {grace: 10 * second, burst: 2, interval: 3, life: minute, maximum: 3 * minute, access: 5 * second},
	"strict": {grace: 3 * second, burst: 0, interval: 10, life: 2 * minute, fixed: true, access: 15 * minute},
	"guarded": {
		grace: 10 * second, burst: 1, interval: 4, life: minute, maximum: 2 * minute, authenticated: true,
		access: 15 * minute,
	},
	"forgiving": {grace: 5 * second, burst: 1, interval: 2, life: minute, replayTolerant: true, access: 3 * second},
	"reusable":  {grace: 10 * second, burst: 2, interval: 10, life: minute, reusable: true, access: 15 * minute},
	// brief has a grace period that is shorter than the difference of the clocks. none has no grace period.
	"brief": {grace: second, burst: 2, interval: 4, life: minute, maximum: 3 * minute, access: 15 * minute},
	"none":  {grace: 0, burst: 2, interval: 3, life: minute, access: 15 * minute},
	// confidential is a client with a secret.
	"confidential": {
		grace: 10 * second, burst: 1, interval: 4, life: minute, authenticated: true, confidential: true,
		access: 15 * minute,
	},
	changing: {
		access: 15 * minute, variants: []rules{
			{grace: 10 * second, burst: 2, interval: 3, life: minute, access: 15 * minute},
			{grace: 10 * second, burst: 2, interval: 3, life: 2 * minute, access: 15 * minute, reusable: true},
			{grace: 2 * second, burst: 2, interval: 3, life: 3 * minute, access: 15 * minute, fixed: true},
			{grace: 10 * second, burst: 2, interval: 3, life: minute, access: 15 * minute, inactive: true},
		},
	},
	"limited": {grace: 30 * second, burst: 2, interval: 10, life: 2 * minute, fixed: true, limit: 2, access: 15 * minute},
}

// limitedUsers is so small that the limit is reached all the time.
const limitedUsers = 3

var applicationNames = slices.Sorted(maps.Keys(applications))

// kickstart returns the kickstart file with the tenants and the applications. For resource servers it also has an API
// key that reads the revocation stream, and an application that is deleted and made again.
func kickstart(forReach bool) string {
	names := slices.DeleteFunc(slices.Clone(applicationNames), func(name string) bool { return name == changing })
	if forReach { // also the program from before the clients with a secret reads it
		names = append(slices.DeleteFunc(names, func(name string) bool { return applications[name].confidential }), doomed)
	}
	text := "tenants:\n"
	number := tenants
	if forReach {
		number++ // one that is deleted
	}
	for t := range number {
		text += fmt.Sprintf("  - {id: %s, name: %[1]s, applications: [\n", tenantName(t))
		for _, name := range names {
			r, ok := applications[name]
			if !ok {
				r = applications["reusable"]
			}
			policy, usage := "SlidingWindowWithMaximumLifetime", "OneTimeUse"
			if r.maximum == 0 {
				policy = "SlidingWindow"
			}
			if r.fixed {
				policy = "Fixed"
			}
			if r.reusable {
				usage = "Reusable"
			}
			text += fmt.Sprintf("      {id: %s, name: %[1]s, requireAuthentication: %t, "+
				"jwtConfiguration: {refreshTokenExpirationPolicy: %s, "+
				"refreshTokenTimeToLiveInMinutes: %d, refreshTokenUsagePolicy: %s, refreshTokenOneTimeUseConfiguration: "+
				"{gracePeriodInSeconds: %d, recoveryBurst: %d, recoveryInterval: %d}, "+
				"refreshTokenRevocationPolicy: {onOneTimeTokenReuse: %t}, timeToLiveInSeconds: %d, maximumActiveTokens: %d",
				name, r.authenticated && !r.confidential, policy, r.life/minute, usage, r.grace/second, r.burst, r.interval,
				!r.replayTolerant, r.access/second, r.limit)
			secrets := ""
			if r.confidential {
				secrets = ", clientSecrets: [{secret: " + clientSecret + "}]"
			}
			if r.maximum > 0 {
				text += fmt.Sprintf(", refreshTokenSlidingWindowConfiguration: {maximumTimeToLiveInMinutes: %d}", r.maximum/minute)
			}
			text += "}" + secrets + "},\n"
		}
		text += "    ]}\n"
	}
	feed, operates := "", `, "/application": ["*"]`
	if forReach { // also the program from before this permission reads it
		operates = ""
		feed = `, {name: feed, key: ` + feedKey + `, permissions: {endpoints: {"/revocations": ["GET"]}}}`
	}
	return text + `apiKeys: [{name: prove, key: ` + backendKey + `, permissions: {endpoints: {"*": ["*"]` + operates +
		`}}}` + feed + "]\n"
}

func tenantName(n int) string { return fmt.Sprintf("tenant-%d", n) }
func userName(n int) string   { return fmt.Sprintf("user-%d", n) }

// crowd is all clients: devices of users, their tabs, thieves with copies, operators. Each has a random source of its
// own, so a seed always gives the same plan. Which call meets which fault depends on the machine.
type crowd struct {
	*caller
	*recorder
	replicas []replica
	logins   logins
	words    words
	limits   bool         // whether the exchanges of a refresh token are limited to a few each second
	dialects bool         // whether all dialects are used, with outsiders in each
	out      atomic.Int64 // honest users who lost a session that was not revoked
}

// words counts responses by kind of call and word.
type words struct {
	mu sync.Mutex
	n  map[string]int
}

func (w *words) add(k kind, word string) {
	if word == "" {
		word = "no response"
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.n == nil {
		w.n = map[string]int{}
	}
	w.n[string(k)+" "+word]++
}

func (c *crowd) replica(r *rand.Rand) replica { return c.replicas[r.IntN(len(c.replicas))] }

// now returns the beginning of the span in which a call reads the clock of its service.
func (r replica) now() span { return span{First: r.clock.at(time.Now())} }

// isEarlier reports whether the next call may be served by the program from before the revocation stream.
func (r replica) isEarlier() bool { return r.earlier != nil && r.earlier.Load() }

// single makes a call on one refresh token and records it. do sends the request and returns its response in the terms
// of the model.
func (c *crowd) single(client int, to replica, h *history, in input, do func() output) output {
	in.At = to.now()
	p := c.recorder.one(client, in, h)
	out := do()
	p.ended(to.clock.at(time.Now()), out.Word != "", func(*history) output { return out })
	c.words.add(in.Kind, out.Word)
	return out
}

// issue is a login. If the number of a user's refresh tokens is limited, it may end the others. again reports that an
// earlier attempt, whose response was lost, may end them too.
func (c *crowd) issue(
	ctx context.Context, client int, to replica, h *history, again bool,
) (out output, tokenString string) {
	limits := applications[h.Application].limit > 0 && !again
	p := c.recorder.call(client, input{At: to.now()}, func(other *history) kind {
		switch {
		case other == h:
			return issue
		case limits && other.scope() == h.scope():
			return login
		}
		return ""
	})
	asked := map[string]string{"userId": h.user, "applicationsId": h.Application, "refreshTokenId": h.ID}
	if h.key != nil {
		asked["dpopJkt"] = h.key.thumbprint()
	}
	a := c.do(ctx, to, "POST", "/jwt/issue", h.tenant, true, asked)
	switch {
	case !a.answered():
	case a.status == 200:
		out, tokenString = c.grant(h, done, a)
	case a.status == 400 && a.code() == "[duplicate]refreshTokenId":
		out.Word = duplicate
	case h.Application == changing && a.status == 400 && a.code() == "[inactive]applicationsId":
		out.Word = inactive
	case h.Application == changing && a.status == 404: // it was switched off before the write
		out.Word = inactive
	default:
		c.unexpected("an issue", a)
	}
	p.ended(to.clock.at(time.Now()), out.Word != "", func(other *history) output {
		switch {
		case other == h:
			return out
		case out.Word == done:
			return output{Word: done}
		}
		return output{Word: nothingDone}
	})
	c.words.add(issue, out.Word)
	return out, tokenString
}

// scope is a user in an application.
type scope struct{ tenant, application, user string }

func (h *history) scope() scope { return scope{h.tenant, h.Application, h.user} }

// logins counts the logins that have begun, and those that have got a response, each once however often it was sent.
type logins struct {
	mu           sync.Mutex
	begun, ended map[scope]int
}

func (l *logins) begin(s scope) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.begun == nil {
		l.begun, l.ended = map[scope]int{}, map[scope]int{}
	}
	l.begun[s]++
}

func (l *logins) end(s scope) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended[s]++
}

func (l *logins) count(s scope) (begun, ended int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.begun[s], l.ended[s]
}

// codes are the error codes of refusals by outcome.
var codes = map[string]string{
	invalid: "[invalid]refreshToken", expired: "[expired]refreshToken", revoked: "[revoked]refreshToken",
	inactive: "[inactive]refreshToken", replayed: "[reused]refreshToken", unbound: "[unproved]refreshToken",
}

// exchange exchanges a token string as its owner does, or without the credential that the application asks for.
func (c *crowd) exchange(
	ctx context.Context, client int, to replica, h *history, presented string, withKey bool,
) (out output, tokenString string) {
	a := c.owner(client, h, generationOf(presented))
	if !withKey && applications[h.Application].authenticated {
		a.lacks = theCredential
	}
	return c.present(ctx, client, to, h, presented, a)
}

func (c *crowd) revoke(ctx context.Context, client int, to replica, h *history, presented string) output {
	return c.single(client, to, h, input{Kind: revoke}, func() output {
		selector := map[string]string{"tokenId": h.ID}
		if presented != "" {
			selector = map[string]string{"tokenString": presented}
		}
		a := c.do(ctx, to, "DELETE", "/jwt/refresh", h.tenant, true, selector)
		switch a.status {
		case 0:
			return output{}
		case 200:
			return output{Word: done}
		case 404:
			return output{Word: notFound}
		}
		return c.unexpected("a revocation", a)
	})
}

// shown is a refresh token as the API returns it.
type shown struct {
	ID                string
	ApplicationsID    string
	Generation        uint32
	ExpirationInstant int64
}

func (s shown) output() output {
	return output{Word: found, Generation: s.Generation, Expires: s.ExpirationInstant * 1000}
}

func (c *crowd) retrieve(ctx context.Context, client int, to replica, h *history) {
	c.single(client, to, h, input{Kind: read}, func() output {
		a := c.do(ctx, to, "GET", "/jwt/refresh/"+h.ID, h.tenant, true, nil)
		switch a.status {
		case 0:
			return output{}
		case 404:
			return output{Word: notFound}
		}
		var s shown
		if err := unmarshal(a, &s); err != nil || a.status != 200 || s.ID != h.ID {
			return c.unexpected("a retrieval of "+h.ID, a)
		}
		return s.output()
	})
}

// list reads all refresh tokens of a user. Each one that is recorded is in the list, or has ended, and there are no
// more than the limit allows.
func (c *crowd) list(ctx context.Context, client int, to replica, tenant, user string) {
	p := c.recorder.call(client, input{At: to.now()}, func(h *history) kind {
		if h.tenant == tenant && h.user == user {
			return read
		}
		return ""
	})
	ended := map[string]int{}
	for _, name := range applicationNames {
		_, ended[name] = c.logins.count(scope{tenant, name, user})
	}
	a := c.do(ctx, to, "GET", "/jwt/refresh?limit=1000&userId="+user, tenant, true, nil)
	var all []shown
	if a.answered() {
		if err := unmarshal(a, &all); err != nil || a.status != 200 {
			c.unexpected("a list", a)
			a = answer{}
		}
	}
	at := to.clock.at(time.Now())
	p.ended(at, a.answered(), func(h *history) output {
		for _, s := range all {
			if s.ID == h.ID {
				return s.output()
			}
		}
		return output{Word: notFound}
	})
	active := map[string]int{}
	for _, s := range all {
		if s.ExpirationInstant*1000 > at+skew { // it has not expired by any of the clocks
			active[s.ApplicationsID]++
		}
	}
	for name, n := range active {
		// A login that is running may have stored its refresh token, and not yet ended the ones above the limit.
		begun, _ := c.logins.count(scope{tenant, name, user})
		if limit := applications[name].limit; limit > 0 && n > limit+begun-ended[name] {
			c.faults.add("%s of %s has %d refresh tokens in %s, with %d logins running: the limit is %d",
				user, tenant, n, name, begun-ended[name], limit)
		}
	}
	word := done
	if !a.answered() {
		word = ""
	}
	c.words.add("list", word)
}

// revokeWide ends all refresh tokens of a tenant that the selector covers, except spared. covers reports which it
// covers.
func (c *crowd) revokeWide(
	ctx context.Context, client int, to replica, tenant string, selector map[string]any, spared *history,
	covers func(*history) bool,
) {
	p := c.recorder.call(client, input{At: to.now(), Earlier: to.isEarlier()}, func(h *history) kind {
		switch {
		case h.tenant != tenant || !covers(h):
			return ""
		case h == spared:
			return spare
		}
		return revokeWide
	})
	a := c.do(ctx, to, "DELETE", "/jwt/refresh", tenant, true, selector)
	var out output
	switch {
	case a.status == 200:
		out.Word = done
	case a.status == 404 && spared != nil:
		out.Word = nothingDone
	case a.answered():
		c.unexpected("a wide revocation", a)
	}
	p.ended(to.clock.at(time.Now()), out.Word != "", func(*history) output { return out })
	c.words.add(revokeWide, out.Word)
}

// storage is what the tabs of a device share: the token string that they present next.
type storage struct {
	mu         sync.Mutex
	generation uint32
	current    string
	uses       int
	over       bool
}

func (s *storage) load() (current string, over bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.uses++
	s.over = s.over || s.uses > longestSession
	return s.current, s.over
}

// peek is load by somebody whose exchanges do not count.
func (s *storage) peek() (current string, over bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current, s.over
}

func (s *storage) store(tokenString string) {
	_, generation, _ := parseTokenString(tokenString)
	s.mu.Lock()
	defer s.mu.Unlock()
	if generation > s.generation {
		s.generation, s.current = generation, tokenString
	}
}

func (s *storage) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
}

// devices runs one device after another, each with a session of its own, until ctx is done.
func (c *crowd) devices(ctx context.Context, r *rand.Rand, client int) {
	for ctx.Err() == nil {
		application, users := applicationNames[r.IntN(len(applicationNames))], usersATenant
		if applications[application].limit > 0 {
			users = limitedUsers
		}
		h := &history{ID: c.newID(r), Application: application, tenant: tenantName(r.IntN(tenants)),
			user: userName(r.IntN(users))}
		if r.IntN(4) == 0 {
			h.key = newBoundKey()
		}
		c.follow(h)
		c.session(ctx, r, client, h)
		c.recorder.close(h)
	}
}

// session runs a device's session, from its login until it logs out, is logged out, or has exchanged often enough.
func (c *crowd) session(ctx context.Context, r *rand.Rand, client int, h *history) {
	s := &storage{}
	c.logins.begin(h.scope())
	for first, try := time.Now(), 0; ; try++ {
		// After some time, each attempt may take effect later than the model assumes of the first one.
		again := try > 0 && time.Since(first) < lingers/4
		if !again {
			first = time.Now()
		}
		out, tokenString := c.issue(ctx, client, c.replica(r), h, again)
		if out.Word != "" {
			c.logins.end(h.scope())
		}
		if out.Word == done {
			s.store(tokenString)
			break
		}
		if out.Word == duplicate || ctx.Err() != nil {
			return // an earlier attempt, whose response was lost, was issued and has ended by now
		}
		backOff(ctx, r, try)
	}
	var all sync.WaitGroup
	if r.IntN(3) == 0 {
		mine := rand.New(rand.NewPCG(r.Uint64(), 0))
		all.Go(func() { c.intruder(ctx, mine, client+intrusion, h, s) })
	}
	tabs, thieves, tab := 1+r.IntN(3), 0, c.tab
	switch n := r.IntN(10); {
	case n < 3:
		tabs, tab = 1, c.punctual
	case n < 6 && h.Application != "patient":
		thieves = 1
	}
	for i := range tabs {
		mine := rand.New(rand.NewPCG(r.Uint64(), 0))
		all.Go(func() { tab(ctx, mine, client+i, h, s) })
	}
	for i := range thieves {
		mine := rand.New(rand.NewPCG(r.Uint64(), 0))
		all.Go(func() { c.thief(ctx, mine, client+tabs+i, h, s) })
	}
	all.Wait()
	if r.IntN(3) == 0 {
		current, _ := s.load()
		c.revoke(ctx, client, c.replica(r), h, current)
		c.exchange(ctx, client, c.replica(r), h, current, true)
	}
}

// tab exchanges the stored token string whenever it needs an access token. Without a response it tries again with the
// same string.
func (c *crowd) tab(ctx context.Context, r *rand.Rand, client int, h *history, s *storage) {
	withKey := applications[h.Application].authenticated
	for ctx.Err() == nil {
		switch r.IntN(20) {
		case 0:
			pause(ctx, r, 20*time.Second) // back when the grace period, or the whole lifetime, is over
		case 1, 2, 3, 4:
			pause(ctx, r, 3*time.Second)
		case 5, 6, 7: // all tabs wake at the same moment
			wait(ctx, time.Now().Truncate(250*time.Millisecond).Add(250*time.Millisecond))
		default:
			pause(ctx, r, 400*time.Millisecond)
		}
		current, over := s.load()
		if over {
			return
		}
		for range r.IntN(2) * r.IntN(2) * hasty * c.limit() { // a client in a loop
			c.exchange(ctx, client, c.replica(r), h, current, withKey)
		}
		if r.IntN(8) == 0 { // suspended between reading the storage and sending, so that it sends an old string
			pause(ctx, r, 4*time.Second)
		}
		if _, ok := c.insist(ctx, r, client, c.replica(r), h, s, current, withKey); !ok {
			return
		}
	}
}

// insist exchanges until there is a response, and stores it. A refusal ends the session.
func (c *crowd) insist(
	ctx context.Context, r *rand.Rand, client int, to replica, h *history, s *storage, current string, withKey bool,
) (out output, ok bool) {
	for try := 0; ctx.Err() == nil; try++ {
		out, next := c.exchange(ctx, client, to, h, current, withKey)
		switch {
		case next != "":
			s.store(next)
			return out, true
		case out.Word == inactive || out.Word == limited: // not for long
		case out.Word != "":
			s.end()
			// Only the policy patient promises that an honest user returns in time. Operators revoke.
			if h.Application == "patient" && out.Word != revoked {
				c.out.Add(1)
			}
			return out, false
		}
		backOff(ctx, r, try)
		to = c.replica(r)
	}
	return out, false
}

// punctual is a device that returns exactly at the end of a lifetime or of a grace period, or a moment before. It
// presents the string that it had, as if the response had been lost, or the current one.
func (c *crowd) punctual(ctx context.Context, r *rand.Rand, client int, h *history, s *storage) {
	rules := applications[h.Application]
	if h.Application == changing {
		rules = rules.variants[0]
	}
	for ctx.Err() == nil {
		old, over := s.load()
		if over {
			return
		}
		to := c.replica(r)
		out, ok := c.insist(ctx, r, client, to, h, s, old, rules.authenticated)
		for again := 1 + r.IntN(3); ok && again > 0; again-- {
			presented := old
			if r.IntN(3) == 0 {
				presented, _ = s.load()
			}
			wait(ctx, to.clock.when(c.deadline(r, rules, out)-second*r.Int64N(2)))
			out, ok = c.insist(ctx, r, client, to, h, s, presented, rules.authenticated)
		}
		if !ok {
			return
		}
	}
}

// deadline returns the end of the grace period or lifetime that a response began.
func (c *crowd) deadline(r *rand.Rand, rules rules, last output) instant {
	switch {
	case rules.grace > minute:
		return last.Minted + 10*second // patient, and honest
	case r.IntN(4) > 0:
		return last.Minted + rules.grace
	case rules.access > rules.life:
		return last.Ends // as the refresh token does
	}
	return last.Minted + rules.life
}

// thief takes a copy from time to time and exchanges it. Most thieves have no API key or secret where one is needed.
// All have the key that the refresh token is bound to; an intruder has not.
func (c *crowd) thief(ctx context.Context, r *rand.Rand, client int, h *history, s *storage) {
	withKey := applications[h.Application].authenticated && r.IntN(4) == 0
	pause(ctx, r, 3*time.Second)
	copied, over := s.load()
	for !over && ctx.Err() == nil {
		pause(ctx, r, 4*time.Second)
		out, next := c.exchange(ctx, client, c.replica(r), h, copied, withKey)
		if next != "" {
			copied = next
		}
		if out.Word == revoked || out.Word == expired || out.Word == replayed && !applications[h.Application].replayTolerant {
			break
		}
		if r.IntN(4) == 0 { // a fresh copy
			copied, _ = s.load()
		}
		over = s.ended()
	}
}

func (s *storage) ended() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.over
}

// operator lists and revokes by every selector.
func (c *crowd) operator(ctx context.Context, r *rand.Rand, client int) {
	for ctx.Err() == nil {
		pause(ctx, r, 200*time.Millisecond)
		tenant, user := tenantName(r.IntN(tenants)), userName(r.IntN(usersATenant))
		application := applicationNames[r.IntN(len(applicationNames))]
		to := c.replica(r)
		one := func() *history { return c.any(r.IntN, func(h *history) bool { return h.tenant == tenant }) }
		switch n := r.IntN(1000); {
		case n < 600:
			if h := one(); h != nil {
				c.retrieve(ctx, client, to, h)
			}
		case n < 850:
			if r.IntN(2) == 0 {
				user = userName(r.IntN(limitedUsers))
			}
			c.list(ctx, client, to, tenant, user)
		case n < 890:
			if h := one(); h != nil {
				c.revoke(ctx, client, to, h, "")
			}
		case n < 930:
			c.revokeWide(ctx, client, to, tenant, map[string]any{"userId": user}, nil,
				func(h *history) bool { return h.user == user })
		case n < 970:
			c.revokeWide(ctx, client, to, tenant, map[string]any{"userId": user, "applicationsId": application}, nil,
				func(h *history) bool { return h.user == user && h.Application == application })
		case n < 990:
			if h := one(); h != nil {
				c.revokeWide(ctx, client, to, tenant, map[string]any{"userId": h.user, "exceptTokenId": h.ID}, h,
					func(o *history) bool { return o.user == h.user })
			}
		case n < 997:
			c.revokeWide(ctx, client, to, tenant, map[string]any{"applicationsId": application}, nil,
				func(h *history) bool { return h.Application == application })
		default:
			c.revokeWide(ctx, client, to, tenant, map[string]any{"allInTenant": true}, nil, func(*history) bool { return true })
		}
	}
}

// pause waits for a random time of at most most, or until ctx is done.
func pause(ctx context.Context, r *rand.Rand, most time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(time.Duration(r.Int64N(int64(most)))):
	}
}

// backOff waits before another attempt.
func backOff(ctx context.Context, r *rand.Rand, try int) {
	pause(ctx, r, 100*time.Millisecond<<min(try, 4))
}

// wait waits until t, or until ctx is done.
func wait(ctx context.Context, t time.Time) {
	select {
	case <-ctx.Done():
	case <-time.After(time.Until(t)):
	}
}

// newID returns a UUID of version 7 by a clock that is behind by up to a minute, so that the order of ids is not the
// order of logins.
func (c *crowd) newID(r *rand.Rand) string {
	return idOf(r, c.replica(r).clock.at(time.Now())-r.Int64N(minute))
}

// idOf returns a UUID of version 7 of that time.
func idOf(r *rand.Rand, at instant) string {
	made := at / 1000
	a, b := r.Uint64(), r.Uint64()
	return fmt.Sprintf("%08x-%04x-7%03x-%04x-%012x",
		made>>16, made&0xffff, a&0xfff, 0x8000|b>>48&0x3fff, b&0xffffffffffff)
}
