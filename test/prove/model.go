package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// The model: what one refresh token may answer, one call at a time, and how each answer changes it. It is written from the design and
// shares no line with the service, so that both have to be wrong in the same way before an error goes unseen.
//
// Two things are not known when a history is checked. A call without an answer may have happened, at any time after it was made, or
// not: it stays in the state as pending, and may happen before any later step, for as long as anything on its way may keep it. And the instant that the service read off its clock is
// known only to lie between the call and its answer: so instants are spans, a comparison of spans can be undecided, and a step leads to
// every state that is then possible.

// instant is microseconds since 1970 on the clocks of the services, which run as the prover tells them.
type instant = int64

const (
	second  instant = 1_000_000
	minute          = 60 * second
	forever instant = math.MaxInt64 / 4
)

// span is when something happened: not before First, not after Last.
type span struct{ First, Last instant }

func (s span) plus(d instant) span { return span{s.First + d, min(s.Last+d, forever)} }

// within leaves the part of s that lies in t. It is empty if there is none.
func (s span) within(t span) span { return span{max(s.First, t.First), min(s.Last, t.Last)} }
func (s span) empty() bool        { return s.First > s.Last }

// or is the smallest span that holds both.
func (s span) or(t span) span { return span{min(s.First, t.First), max(s.Last, t.Last)} }

// never is the span of what did not happen.
var never = span{}

// possible are the answers that "is it so" can have.
type possible []bool

// reached: whether deadline has come.
func reached(now, deadline span) possible {
	switch {
	case now.First >= deadline.Last:
		return possible{true}
	case now.Last < deadline.First:
		return possible{false}
	}
	return possible{true, false}
}

// rules are an application's policy, as far as an exchange depends on it.
type rules struct {
	grace          instant
	burst          int64
	interval       int64
	life           instant
	maximum        instant // of a sliding life; 0 for none
	fixed          bool
	reusable       bool
	authenticated  bool // an exchange needs an API key
	replayTolerant bool // a replay is refused, and the refresh token lives on
}

// kind is what a call asks for.
type kind string

const (
	issue      kind = "issue"
	exchange   kind = "exchange"
	revoke     kind = "revoke"      // this one
	revokeWide kind = "revoke wide" // this one among others
	read       kind = "read"
)

// input is a call, as far as it concerns one refresh token.
type input struct {
	Kind       kind
	Rules      string // the application's, by its name
	Generation uint32 `json:",omitempty"` // of the string that an exchange presents
	APIKey     bool   `json:",omitempty"`
	At         span   // on the clock of the service that was called

	nth     int     // among those without an answer
	pending []input // all of the history that have none
}

// output is what was answered.
type output struct {
	// Word is empty if there was no answer: the call may have happened, at any later time, or not.
	Word       string
	Generation uint32  `json:",omitempty"` // of the string that was answered, or that a read shows
	Access     string  `json:",omitempty"` // a digest of the access token
	Minted     instant `json:",omitempty"` // the access token's iat, to the second
	Expires    instant `json:",omitempty"` // what a read shows, to the millisecond
}

const (
	done     = "done"      // an issue or a revocation
	found    = "found"     // by a read
	notFound = "not found" // by a read, or there was nothing to revoke
	// nothingDone: all but one were to be revoked, and that one is not there.
	nothingDone = "nothing done"
	duplicate   = "duplicate" // an issue under an id that is in use, or was

	rotated   = "rotated"
	retried   = "retried"
	recovered = "recovered"
	unchanged = "unchanged"
	invalid   = "invalid"
	expired   = "expired"
	revoked   = "revoked"
	replayed  = "replayed"
	unproved  = "unproved" // 401: the application asks for an API key
)

// token is the state: one refresh token. It is comparable.
type token struct {
	Issued  bool
	Revoked bool

	Generation          uint32
	IssuedAt            span
	RotatedAt           span
	ExpiresAt           span
	GraceGeneration     uint32
	GraceSince          span
	RecoveredGeneration uint32
	PaidUntil           int64

	First   string // the access token that the issue was answered with, if anybody saw it
	Current string // and the rotation to this generation

	Pending set
}

// set is of calls without an answer, by their number.
type set [4]uint64

const mostPending = 64 * len(set{})

func (s set) has(n int) bool    { return s[n/64]>>(n%64)&1 == 1 }
func (s set) with(n int) set    { s[n/64] |= 1 << (n % 64); return s }
func (s set) without(n int) set { s[n/64] &^= 1 << (n % 64); return s }

// branch is one way in which a call may go.
type branch struct {
	word       string
	generation uint32 // that is answered
	after      token
}

// exchange is the table of design.md, section 4: the first case that fits decides, and where it is not decided whether one fits, both
// ways are taken.
func (t token) exchange(r rules, in input) (ways []branch) {
	p, g := in.Generation, t.Generation
	refuse := func(word string) { ways = append(ways, branch{word: word, after: t}) }
	switch {
	case !t.Issued:
		refuse(invalid)
		return ways
	case r.authenticated && !in.APIKey:
		refuse(unproved)
		return ways
	case t.Revoked:
		refuse(revoked)
		return ways
	}
	for _, over := range reached(in.At, t.ExpiresAt) {
		if over {
			refuse(expired)
			continue
		}
		switch {
		case p > g:
			refuse(invalid)
		case p == g && r.reusable:
			ways = append(ways, t.slid(r, in.At).answer(unchanged))
		case p == g:
			for _, next := range t.rotate(r, in.At) {
				ways = append(ways, next.answer(rotated))
			}
		default:
			for _, retry := range t.retriedBy(r, in) {
				switch {
				case retry:
					ways = append(ways, t.answer(retried))
				case p == g-1 && t.recoverable(r):
					ways = append(ways, t.recover(r).slid(r, in.At).answer(recovered))
				case r.replayTolerant:
					refuse(replayed)
				default:
					dead := t
					dead.Revoked = true
					ways = append(ways, branch{word: replayed, after: dead})
				}
			}
		}
	}
	return ways
}

// answer is with the current string.
func (t token) answer(word string) branch {
	return branch{word: word, generation: t.Generation, after: t}
}

// rotate leads to one state, or two where it is undecided whether the grace period that several rotations share is over.
func (t token) rotate(r rules, at span) (next []token) {
	over := possible{true}
	if t.GraceSince != never {
		over = reached(at, t.GraceSince.plus(r.grace))
	}
	for _, anew := range over {
		after := t
		if anew {
			after.GraceGeneration, after.GraceSince = t.Generation, at
		}
		after.Generation++
		after.RotatedAt, after.Current = at, ""
		next = append(next, after.slid(r, at))
	}
	return next
}

func (t token) slid(r rules, at span) token {
	if r.fixed {
		return t
	}
	t.ExpiresAt = at.plus(r.life)
	if r.maximum > 0 {
		end := t.IssuedAt.plus(r.maximum)
		t.ExpiresAt = span{min(t.ExpiresAt.First, end.First), min(t.ExpiresAt.Last, end.Last)}
	}
	return t
}

func (t token) retriedBy(r rules, in input) possible {
	young := func(since span) (yes, no bool) {
		over := reached(in.At, since.plus(r.grace))
		return slices.Contains(over, false), slices.Contains(over, true)
	}
	may, mayNot := false, true
	if in.Generation == t.Generation-1 {
		may, mayNot = young(t.RotatedAt)
	}
	if t.GraceGeneration > 0 && in.Generation >= t.GraceGeneration {
		yes, no := young(t.GraceSince)
		may, mayNot = may || yes, mayNot && no
	}
	var p possible
	if may {
		p = append(p, true)
	}
	if mayNot {
		p = append(p, false)
	}
	return p
}

func (t token) recoverable(r rules) bool {
	return t.RecoveredGeneration == t.Generation ||
		r.burst > 0 && t.PaidUntil-int64(t.Generation) <= (r.burst-1)*r.interval
}

func (t token) recover(r rules) token {
	if t.RecoveredGeneration != t.Generation {
		t.PaidUntil = max(t.PaidUntil, int64(t.Generation)) + r.interval
		t.RecoveredGeneration = t.Generation
	}
	return t
}

// step is any call.
func (t token) step(r rules, in input) (ways []branch) {
	switch in.Kind {
	case exchange:
		return t.exchange(r, in)
	case revokeWide: // an epoch: it covers what was issued, and nothing else
		after := t
		after.Revoked = t.Issued
		return []branch{{word: done, after: after}, {word: nothingDone, after: t}}
	}
	if !t.Issued {
		if in.Kind != issue {
			return []branch{{word: notFound, after: t}}
		}
		born := token{
			Issued: true, Generation: 1, IssuedAt: in.At, RotatedAt: in.At, ExpiresAt: in.At.plus(r.life), Pending: t.Pending,
		}
		if r.maximum > 0 {
			born.ExpiresAt = in.At.plus(min(r.life, r.maximum))
		}
		return []branch{born.issued()}
	}
	over := reached(in.At, t.ExpiresAt)
	if t.Revoked {
		over = possible{true}
	}
	for _, dead := range over {
		switch {
		case dead && in.Kind == issue:
			ways = append(ways, branch{word: duplicate, after: t})
		case dead:
			ways = append(ways, branch{word: notFound, after: t})
		case in.Kind == issue: // again, for its answer was lost
			ways = append(ways, t.issued())
		case in.Kind == read:
			ways = append(ways, branch{word: found, generation: t.Generation, after: t})
		case in.Kind == revoke:
			after := t
			after.Revoked = true
			ways = append(ways, branch{word: done, after: after})
		}
	}
	return ways
}

// issued is answered as at the first time, whatever has happened since.
func (t token) issued() branch { return branch{word: done, generation: 1, after: t} }

// answered tells whether out can be the answer of b, and what is known after it.
func (b branch) answered(in input, out output) (after token, ok bool) {
	after = b.after
	if out.Word != b.word || out.Generation != b.generation {
		return after, false
	}
	switch {
	case in.Kind == read && out.Word == found:
		after.ExpiresAt = after.ExpiresAt.within(span{out.Expires, out.Expires + 999})
		return after, !after.ExpiresAt.empty()
	case in.Kind == issue && out.Word == done:
		ok = known(&after.First, out.Access) && narrow(&after.IssuedAt, out.Minted)
		if after.Generation == 1 {
			after.RotatedAt = after.IssuedAt
		}
		return after, ok
	case out.Word == rotated || out.Word == retried:
		ok = known(&after.Current, out.Access) && narrow(&after.RotatedAt, out.Minted)
		if after.GraceGeneration == after.Generation-1 { // the grace period began with this rotation
			after.GraceSince = after.RotatedAt
		}
		return after, ok
	}
	return after, true
}

// known: a retry is answered with the same access token as the call that it repeats, byte for byte.
func known(first *string, now string) bool {
	if *first == "" {
		*first = now
	}
	return *first == now
}

// narrow: the iat of an access token is the instant from which its life counts, to the second.
func narrow(s *span, minted instant) bool {
	*s = s.within(span{minted, minted + second - 1})
	return !s.empty()
}

// fresh are the answers whose access token counts from the call itself.
func fresh(word string) bool { return word == rotated || word == recovered || word == unchanged }

const (
	// skew is how far two clocks of one history may differ.
	skew = 2 * second
	// lasts is for how long a call without an answer may still happen, on any of the clocks.
	lasts = instant(lingers/time.Microsecond)*speed + skew
)

// seen bounds what is known of the past: whatever a state holds was read off a clock before the next call was answered.
func (t token) seen(r rules, by input) token {
	if by.At.Last >= forever {
		return t
	}
	latest := by.At.Last + skew
	for _, s := range []*span{&t.IssuedAt, &t.RotatedAt, &t.GraceSince} {
		s.Last = min(s.Last, latest)
	}
	t.ExpiresAt.Last = min(t.ExpiresAt.Last, latest+r.life)
	return t
}

// meanwhile is what t may be once any of the calls that are pending have happened, in any order.
func (t token) meanwhile(r rules, by input) (all []token) {
	all = []token{t.seen(r, by)}
	known := map[token]bool{all[0]: true}
	for i := 0; i < len(all); i++ {
		for n := range by.pending {
			now := all[i]
			in, next := now.earliest(n, by)
			if !next {
				continue
			}
			// The service read its clock before the effect, and that was before the answer of the call that comes next.
			in.At.Last = min(in.At.Last, max(by.At.Last+skew, in.At.First))
			now.Pending = now.Pending.without(n)
			for _, b := range now.step(r, in) {
				after := b.after
				if b.word == unchanged {
					// All that it may have done is to move the expiry: a span says that too, and dozens of such calls would else make
					// as many states at each step. It stays pending.
					all[i].ExpiresAt = all[i].ExpiresAt.or(after.ExpiresAt)
					continue
				}
				if after.Revoked {
					after.Pending = set{} // nothing changes it any more
				}
				if after != now && !known[after] { // what has no effect may as well wait
					known[after] = true
					all = append(all, after)
				}
			}
		}
	}
	return all
}

// earliest is the n-th of the calls without an answer, if it may happen before the call by, and no equal one comes before it: equal calls
// go in their order, and each may have read its clock as early as any of them.
func (t token) earliest(n int, by input) (in input, next bool) {
	in = by.pending[n]
	for i, other := range by.pending {
		if !t.Pending.has(i) || other.At.First+lasts < by.At.First ||
			other.Kind != in.Kind || other.Generation != in.Generation || other.APIKey != in.APIKey {
			continue
		}
		if i < n {
			return in, false
		}
		next = next || i == n
		in.At.First = min(in.At.First, other.At.First)
	}
	return in, next
}

// model is of the calls on one refresh token, under the rules of the applications by name.
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
			if fresh(answer.Word) && !narrow(&call.At, answer.Minted) {
				return nil
			}
			for _, t := range state.(token).meanwhile(r, call) {
				for _, b := range t.step(r, call) {
					if after, ok := b.answered(call, answer); ok {
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

func (i input) String() string {
	if i.Kind == exchange {
		return fmt.Sprintf("exchange %d", i.Generation)
	}
	return string(i.Kind)
}

func (o output) String() string {
	switch {
	case o.Word == "":
		return "no answer"
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
	if t.PaidUntil > 0 {
		fmt.Fprintf(&b, ", recovered %d, paid until %d", t.RecoveredGeneration, t.PaidUntil)
	}
	return b.String()
}
