package main

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// The model: which responses one refresh token may give, one call at a time, and how each call changes it. It is
// written from the design and shares no line with the service. An error is hidden only if both make it.
//
// Two things are unknown when a history is checked. A call without a response may have taken effect at any time after
// it was sent, or not at all. It stays in the state as pending, and may take effect before any later step, for as long
// as the network, the service or the database may hold it. And the service read its clock at some time between the
// request and its response; if the response has an access token, its iat and the seconds left give the second. So
// instants are spans, a comparison of spans can be undecided, and a step leads to every state that is then possible.
//
// Whether access tokens with the same claims are the same bytes does not depend on the order of the calls: see
// history.sameBytes.

// instant is a time in microseconds since 1970 on the clocks of the services, which this program controls.
type instant = int64

const (
	second  instant = 1_000_000
	minute          = 60 * second
	forever instant = math.MaxInt64 / 4
)

// span is the time of an event: not before First, not after Last.
type span struct{ First, Last instant }

func (s span) plus(d instant) span { return span{s.First + d, min(s.Last+d, forever)} }

// within returns the part of s that lies in t. It is empty if there is none.
func (s span) within(t span) span { return span{max(s.First, t.First), min(s.Last, t.Last)} }
func (s span) empty() bool        { return s.First > s.Last }

// cut returns s in whole seconds, as an expiry is stored.
func (s span) cut() span { return span{s.First / second * second, s.Last / second * second} }

// or returns the smallest span that contains both.
func (s span) or(t span) span { return span{min(s.First, t.First), max(s.Last, t.Last)} }

// possible is the result of a comparison: it may be true, false, or either.
type possible []bool

// reached reports whether the deadline has come.
func reached(now, deadline span) possible {
	switch {
	case now.First >= deadline.Last:
		return possible{true}
	case now.Last < deadline.First:
		return possible{false}
	}
	return possible{true, false}
}

// apart reports whether the two are less than d apart, in either order.
func apart(a, b span, d instant) (p possible) {
	least := max(0, a.First-b.Last, b.First-a.Last)
	most := max(a.Last-b.First, b.Last-a.First)
	if least < d {
		p = append(p, true)
	}
	if most >= d {
		p = append(p, false)
	}
	return p
}

// rules are an application's policy, as far as an exchange depends on it.
type rules struct {
	grace          instant
	burst          int64
	interval       int64
	life           instant
	maximum        instant // of a sliding lifetime; 0 for none
	access         instant // lifetime of an access token, in whole seconds
	limit          int     // of a user's refresh tokens in the application; 0 for none
	fixed          bool
	reusable       bool
	authenticated  bool // an exchange needs an API key, or the client's authentication
	confidential   bool // the application is a client with a secret, which is authenticated for that reason
	inactive       bool // the application is switched off
	replayTolerant bool // a replay is refused, and the refresh token stays active

	// variants are the rules that the application changes between; none if they stay. They differ neither in the
	// lifetime of an access token nor in the recovery budget, and none has a maximum.
	variants []rules
}

// half returns the half lifetime by which the access token of an old response is moved on.
func (r rules) half() instant { return max(second, r.access/2/second*second) }

// kind is the operation of a call.
type kind string

const (
	issue      kind = "issue"
	exchange   kind = "exchange"
	revoke     kind = "revoke"      // this one
	revokeWide kind = "revoke wide" // this one among others
	spare      kind = "spare"       // all of the user's but this one
	login      kind = "login"       // the issue of another one of the same user, if their number is limited
	read       kind = "read"
	newPolicy  kind = "new policy" // of the application

	accepted kind = "accepted" // a resource server accepted an access token, on a view of that instant
	rejected kind = "rejected" // a resource server refused one as revoked
)

// input is a call, as far as it concerns one refresh token.
type input struct {
	Kind       kind
	Rules      string // the application's, by its name
	Generation uint32 `json:",omitempty"` // of the string that an exchange presents
	APIKey     bool   `json:",omitempty"` // or the secret of the client
	Foreign    bool   `json:",omitempty"` // it names another tenant, or another client
	Bound      bool   `json:",omitempty"` // the refresh token is bound to a key
	Key        bool   `json:",omitempty"` // the call proves possession of that key
	To         uint8  `json:",omitempty"` // the variant of the rules that a change puts in force
	At         span   // on the clock of the service that was called
	Earlier    bool   `json:",omitempty"` // the service may run the program from before the revocation stream

	nth  int     // among the calls without a response
	lost *losses // all calls of the history without a response
}

// output is the response to a call.
type output struct {
	// Word is empty if there was no response: the call may have taken effect, at any later time, or not.
	Word       string
	Generation uint32  `json:",omitempty"` // of the string in the response, or of the record that a read returns
	Access     string  `json:",omitempty"` // a digest of the access token
	Minted     instant `json:",omitempty"` // the access token's iat, a whole second
	Ends       instant `json:",omitempty"` // its exp, a whole second
	Epoch      int64   `json:",omitempty"` // its rve
	Left       instant `json:",omitempty"` // expiresIn, whole seconds
	TokenLeft  instant `json:",omitempty"` // refreshTokenExpiresIn, whole seconds
	Expires    instant `json:",omitempty"` // the expiry that a read returns, to the millisecond
}

const (
	done     = "done"      // an issue or a revocation
	found    = "found"     // by a read
	notFound = "not found" // by a read, or there was nothing to revoke
	// nothingDone: all but one were to be revoked, and that one does not exist.
	nothingDone = "nothing done"
	duplicate   = "duplicate" // an issue with an id that is in use, or was

	rotated   = "rotated"
	retried   = "retried"
	recovered = "recovered"
	unchanged = "unchanged"
	invalid   = "invalid"
	inactive  = "inactive" // also of an issue
	expired   = "expired"
	revoked   = "revoked"
	replayed  = "replayed"
	unproved  = "unproved" // 401: the application asks for an API key, or the client for its secret
	unbound   = "unbound"  // the refresh token is bound to a key, of which there is no proof
	limited   = "limited"  // 429
)

// token is the state: one refresh token. It is comparable.
type token struct {
	Issued  bool
	Revoked bool

	Generation uint32
	IssuedAt   span
	ExpiresAt  span
	AnsweredAt span // the rotation to the current generation, or its first recovery; zero at generation 1
	Recovered  bool // whether the current generation was recovered
	PaidUntil  int64

	Epoch  int64 // the revocation epoch in the access tokens
	Raised bool  // whether the next access token has a greater one

	Variant uint8 // of the rules, which is in force

	Later int // logins of the user since the issue, up to the limit

	Pending set
	Reached instant // no clock was read before it by the last of the calls with a response
}

// set is a set of calls without a response, by their number.
type set [4]uint64

const mostPending = 64 * len(set{})

func (s set) has(n int) bool    { return s[n/64]>>(n%64)&1 == 1 }
func (s set) with(n int) set    { s[n/64] |= 1 << (n % 64); return s }
func (s set) without(n int) set { s[n/64] &^= 1 << (n % 64); return s }

// branch is one possible result of a call.
type branch struct {
	word       string
	generation uint32 // of the string in the response
	after      token
}

// exchange is the table of outcomes in README.md. The first case that fits decides. If it is undecided whether a case
// fits, both branches are taken.
func (t token) exchange(r rules, in input) (ways []branch) {
	p, g := in.Generation, t.Generation
	refuse := func(word string) { ways = append(ways, branch{word: word, after: t}) }
	switch {
	case !t.Issued, in.Foreign:
		refuse(invalid)
		return ways
	case r.authenticated && !in.APIKey:
		refuse(unproved)
		return ways
	case in.Bound && !in.Key:
		refuse(unbound)
		return ways
	case t.Revoked:
		refuse(revoked)
		return ways
	}
	for _, over := range reached(in.At, t.ExpiresAt) {
		switch {
		case over:
			refuse(expired)
		case r.inactive:
			refuse(inactive)
		case p > g:
			refuse(invalid)
		case p == g && r.reusable:
			ways = append(ways, t.slid(r, in.At).answer(unchanged))
		case p < g-1:
			ways = append(ways, t.replay(r))
		default:
			for _, stands := range t.answerStands(r, in.At) {
				switch {
				case stands:
					ways = append(ways, t.answer(retried))
				case p == g:
					ways = append(ways, t.rotate(r, in.At).answer(rotated))
				case t.recoverable(r):
					ways = append(ways, t.recover(r, in.At).answer(recovered))
				default:
					ways = append(ways, t.replay(r))
				}
			}
		}
	}
	return ways
}

func (t token) replay(r rules) branch {
	t.Revoked = !r.replayTolerant
	return branch{word: replayed, after: t}
}

// answer returns the branch that responds with the current string.
func (t token) answer(word string) branch {
	return branch{word: word, generation: t.Generation, after: t}
}

// answerStands reports whether the last response stands at an instant. Before the first rotation there is none.
func (t token) answerStands(r rules, at span) possible {
	if t.Generation == 1 {
		return possible{false}
	}
	return apart(at, t.AnsweredAt, r.grace)
}

func (t token) rotate(r rules, at span) token {
	t.Generation++
	t.AnsweredAt, t.Recovered = at, false
	return t.slid(r, at)
}

// slid moves the expiry. No policy that changes has a maximum, so an expiry in the future never moves to the past.
func (t token) slid(r rules, at span) token {
	if r.fixed {
		return t
	}
	t.ExpiresAt = at.plus(r.life)
	if r.maximum > 0 {
		end := t.IssuedAt.plus(r.maximum)
		t.ExpiresAt = span{min(t.ExpiresAt.First, end.First), min(t.ExpiresAt.Last, end.Last)}
	}
	t.ExpiresAt = t.ExpiresAt.cut()
	return t
}

func (t token) recoverable(r rules) bool {
	return t.Recovered || r.reusable || r.burst > 0 && t.PaidUntil-int64(t.Generation) <= (r.burst-1)*r.interval
}

// recover responds with string g again. Only the first recovery of a generation is charged, and is then the last
// response.
func (t token) recover(r rules, at span) token {
	if !t.Recovered {
		t.AnsweredAt, t.Recovered = at, true
		if !r.reusable {
			t.PaidUntil = max(t.PaidUntil, int64(t.Generation)) + r.interval
		}
	}
	return t.slid(r, at)
}

// step returns the branches of any call.
func (t token) step(r rules, in input) (ways []branch) {
	switch in.Kind {
	case accepted: // the view may be older than the issue
		if !t.Revoked {
			ways = append(ways, branch{word: done, after: t})
		}
		return ways
	case rejected:
		if t.Revoked {
			ways = append(ways, branch{word: done, after: t})
		}
		return ways
	case exchange: // the limit of its rate comes before anything is read
		return append(t.exchange(r, in), branch{word: limited, after: t})
	case revokeWide: // by epoch: it covers what was issued before
		after := t
		after.Revoked = t.Issued
		return []branch{{word: done, after: after}, {word: nothingDone, after: t}}
	case newPolicy:
		after := t
		after.Variant = in.To
		return []branch{{word: done, after: after}}
	case login:
		return append(t.outnumbered(r), branch{word: nothingDone, after: t})
	}
	if in.Kind == issue && r.inactive {
		ways = append(ways, branch{word: inactive, after: t})
		if t.Issued { // it was switched off between the write, which found the id, and the read
			ways = append(ways, branch{word: duplicate, after: t})
		}
		return ways
	}
	if !t.Issued {
		switch in.Kind {
		case issue:
			return []branch{t.born(r, in.At).issued()}
		case spare:
			return []branch{{word: nothingDone, after: t}}
		}
		return []branch{{word: notFound, after: t}}
	}
	over := reached(in.At, t.ExpiresAt)
	if t.Revoked {
		over = possible{true}
	}
	for _, ended := range over {
		after := t
		switch {
		case ended && in.Kind == issue:
			ways = append(ways, branch{word: duplicate, after: t})
		case ended && in.Kind == spare:
			ways = append(ways, branch{word: nothingDone, after: t})
		case ended:
			ways = append(ways, branch{word: notFound, after: t})
		case in.Kind == issue: // again, because its response was lost
			ways = append(ways, t.issued())
		case in.Kind == read:
			ways = append(ways, branch{word: found, generation: t.Generation, after: t})
		case in.Kind == spare:
			after.Raised = true
			ways = append(ways, branch{word: done, after: after})
		case in.Kind == revoke:
			after.Revoked = true
			ways = append(ways, branch{word: done, after: after})
		}
	}
	return ways
}

func (t token) born(r rules, at span) token {
	b := token{
		Issued: true, Generation: 1, IssuedAt: at, ExpiresAt: at.plus(r.life).cut(),
		Epoch: -1, Raised: true, Variant: t.Variant, Pending: t.Pending, Reached: t.Reached,
	}
	return b.slid(r, at)
}

// issued responds as at the first time, whatever has happened since.
func (t token) issued() branch { return branch{word: done, generation: 1, after: t} }

// outnumbered is another login of the user. It may end t if, with it, as many logins as the limit allows came after the
// issue of t or overlapped it. A login that got its response before the issue began comes before it here, and does not
// count. The sessions that count may have ended, so t may also stay active.
func (t token) outnumbered(r rules) []branch {
	if !t.Issued || t.Revoked {
		return []branch{{word: done, after: t}}
	}
	t.Later = min(t.Later+1, r.limit)
	ways := []branch{{word: done, after: t}}
	if t.Later == r.limit {
		t.Revoked = true
		ways = append(ways, branch{word: done, after: t})
	}
	return ways
}

// answered returns the states that are possible if out is the response of b; none if it cannot be.
func (b branch) answered(r rules, in input, out output) (all []token) {
	t := b.after
	switch {
	case out.Word != b.word || out.Generation != b.generation:
		return nil
	case in.Kind == read && out.Word == found:
		t.ExpiresAt = t.ExpiresAt.within(span{out.Expires, out.Expires})
		if t.ExpiresAt.empty() {
			return nil
		}
		return []token{t}
	case out.Access == "":
		return []token{t}
	case !t.names(out.Epoch) || !t.endsWith(r, in.At, out):
		return nil
	case in.Kind == issue:
		for _, at := range countsFrom(t.IssuedAt, in.At, r.half(), out.Minted) {
			t.IssuedAt = at
			all = append(all, t)
		}
		return all
	case out.Word == retried:
		for _, at := range countsFrom(t.AnsweredAt, in.At, r.half(), out.Minted) {
			t.AnsweredAt = at
			all = append(all, t)
		}
		return all
	}
	return []token{t} // the time of the call was narrowed before
}

// names reports whether an access token has the epoch of the record.
func (t *token) names(epoch int64) bool {
	if t.Raised && epoch > t.Epoch {
		t.Epoch, t.Raised = epoch, false
	}
	return !t.Raised && epoch == t.Epoch
}

// tellsTime narrows at, the time that the service read, by the seconds that the access token has left. They are rounded
// up, at least one, and at most its lifetime; otherwise it returns false.
func (o output) tellsTime(r rules, at *span) bool {
	then := span{o.Ends - o.Left, o.Ends - o.Left + second - 1}
	if o.Left == r.access { // also by a clock that is behind the one of the first response
		then.First = 0
	}
	*at = at.within(then)
	return 0 < o.Left && o.Left <= r.access && !at.empty()
}

// endsWith reports whether an access token ends after its lifetime, or with the refresh token if that is sooner, and
// whether the refresh token has as many seconds left as the response says.
func (t *token) endsWith(r rules, at span, out output) bool {
	if out.TokenLeft > 0 { // the token endpoint of OAuth does not say it
		t.ExpiresAt = t.ExpiresAt.within(span{at.First + out.TokenLeft - second + 1, at.Last + out.TokenLeft})
	}
	end := out.Minted + r.access
	if out.Ends < end {
		end = out.Ends
		t.ExpiresAt.Last = min(t.ExpiresAt.Last, end)
	}
	t.ExpiresAt.First = max(t.ExpiresAt.First, end)
	return out.Ends == end && !t.ExpiresAt.empty()
}

// countsFrom returns the instants within from that an access token with that iat can count from, if the call was at
// now: as many whole half lifetimes before the iat as had passed.
func countsFrom(from, now span, half, iat instant) (all []span) {
	for first := iat; first+second > from.First; first -= half {
		at := from.within(span{first, first + second - 1})
		asked := span{iat, iat + half - 1}
		if first == iat { // also by a clock that is behind the one of the first response
			asked.First = 0
		}
		if !at.empty() && !now.within(asked).empty() {
			all = append(all, at)
		}
	}
	return all
}

// narrow narrows a span to the second of the iat of a new response, and reports whether anything is left.
func narrow(s *span, minted instant) bool {
	*s = s.within(span{minted, minted + second - 1})
	return !s.empty()
}

// isNew reports whether the access token of a response counts from the call itself.
func (t token) isNew(in input, out output) bool {
	if in.Kind == issue {
		return out.Word == done && !t.Issued
	}
	return out.Word == rotated || out.Word == recovered || out.Word == unchanged
}

const (
	// skew is how far two clocks of one history may differ.
	skew = 2 * second
	// lasts is for how long a call without a response may still take effect, on any of the clocks.
	lasts = instant(lingers/time.Microsecond)*speed + skew
)

// seen bounds the past: each time in a state was read off a clock before the next call got its response.
func (t token) seen(r rules, by input) token {
	if by.At.Last >= forever {
		return t
	}
	latest := by.At.Last + skew
	for _, s := range []*span{&t.IssuedAt, &t.AnsweredAt} {
		s.Last = min(s.Last, latest)
	}
	t.ExpiresAt.Last = min(t.ExpiresAt.Last, latest+r.longest())
	return t
}

// meanwhile returns the states that t may have after any of the pending calls took effect, in any order.
func (t token) meanwhile(r rules, by input) (all []token) {
	all = []token{t.seen(r, by)}
	known := map[token]bool{all[0]: true}
	for i := 0; i < len(all); i++ {
		for j := 0; j < len(by.lost.equal); j++ {
			now := all[i]
			in, any := now.take(by.lost.equal[j], by)
			if !any {
				continue
			}
			// The service read its clock before the effect, and the effect was before the response of the next call.
			in.At.Last = min(in.At.Last, max(by.At.Last+skew, in.At.First))
			for _, b := range now.step(r.of(now), in) {
				after := b.after
				if slid := after; b.word == unchanged || b.word == recovered {
					// If it can only have moved the expiry, a span expresses that too. Dozens of such calls would otherwise
					// make as many states at each step. It stays pending.
					slid.ExpiresAt, slid.Pending = all[i].ExpiresAt, all[i].Pending
					if slid == all[i] {
						if all[i].ExpiresAt = slid.ExpiresAt.or(after.ExpiresAt); all[i] != slid {
							j = -1 // the others may take effect after this one too
						}
						continue
					}
				}
				if after.Revoked {
					after.Pending = set{} // nothing changes it after this
				}
				if after != now && !known[after] { // a call without effect can stay pending
					known[after] = true
					all = append(all, after)
				}
			}
		}
	}
	return all
}

// take has one of several equal calls without a response take effect before the call by, if one may. Each may have read
// its clock as early as any of them. A call takes no effect after a call that began when it could not any more.
func (t *token) take(equal []int, by input) (in input, any bool) {
	for _, i := range equal {
		other := by.lost.calls[i]
		// A change of the policy reads no clock, and is sent again until it is answered or the round is over.
		if !t.Pending.has(i) || other.Kind != newPolicy && other.At.First+lasts < t.Reached {
			continue
		}
		if !any {
			t.Pending, in, any = t.Pending.without(i), other, true
		}
		in.At.First = min(in.At.First, other.At.First)
	}
	return in, any
}

// losses are the calls of a history without a response, and the numbers of those that are equal.
type losses struct {
	calls []input
	equal [][]int
}

func newLosses(calls []input) *losses {
	type asked struct {
		kind                 kind
		generation           uint32
		apiKey, foreign, key bool
		to                   uint8
	}
	l, place := &losses{calls: calls}, map[asked]int{}
	for n, in := range calls {
		what := asked{in.Kind, in.Generation, in.APIKey, in.Foreign, in.Key, in.To}
		i, ok := place[what]
		if !ok {
			i = len(l.equal)
			place[what], l.equal = i, append(l.equal, nil)
		}
		l.equal[i] = append(l.equal[i], n)
	}
	return l
}

// model returns the model of the calls on one refresh token, with the rules of the applications by name.
func model(applications map[string]rules) porcupine.Model {
	m := porcupine.NondeterministicModel{
		Init: func() []any { return []any{token{}} },
		Step: func(state, in, out any) (next []any) {
			call, answer := in.(input), out.(output)
			r, ok := applications[call.Rules]
			if !ok {
				panic("a call under rules that the model does not know: " + call.Rules)
			}
			if answer.Word == "" {
				t := state.(token)
				t.Pending = t.Pending.with(call.nth)
				return []any{t}
			}
			read := call // the clock was read during the call; others may have read theirs until its end
			if answer.Access != "" && !answer.tellsTime(r, &read.At) {
				return nil
			}
			for _, t := range state.(token).meanwhile(r, call) {
				in := read
				if t.isNew(in, answer) && !narrow(&in.At, answer.Minted) {
					continue
				}
				for _, b := range t.step(r.of(t), in) {
					for _, after := range b.answered(r.of(t), in, answer) {
						after.Reached = max(after.Reached, call.At.First)
						next = append(next, after)
					}
				}
			}
			return next
		},
		Equal:             func(a, b any) bool { return a.(token) == b.(token) },
		DescribeOperation: func(in, out any) string { return in.(input).String() + " → " + out.(output).String() },
		DescribeState:     func(state any) string { return state.(token).String() },
	}
	return m.ToModel()
}

// String returns the span in seconds, modulo a thousand.
func (s span) String() string {
	of := func(i instant) string { return fmt.Sprintf("%.3f", float64(i%(1000*second))/float64(second)) }
	return of(s.First) + "-" + of(s.Last)
}

func (i input) String() string {
	if i.Kind == exchange {
		return fmt.Sprintf("exchange %d", i.Generation)
	}
	return string(i.Kind)
}

func (o output) String() string {
	switch {
	case o.Word == "":
		return "no response"
	case o.Generation == 0:
		return o.Word
	}
	return fmt.Sprintf("%s %d", o.Word, o.Generation)
}

func (t token) String() string {
	if !t.Issued {
		return "not issued"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "generation %d", t.Generation)
	if t.Revoked {
		b.WriteString(", revoked")
	}
	if t.Recovered {
		b.WriteString(", recovered")
	}
	if t.PaidUntil > 0 {
		fmt.Fprintf(&b, ", paid until %d", t.PaidUntil)
	}
	if t.Generation > 1 {
		fmt.Fprintf(&b, ", answered at %s", t.AnsweredAt)
	}
	fmt.Fprintf(&b, ", expires at %s", t.ExpiresAt)
	return b.String()
}
