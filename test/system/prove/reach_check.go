package main

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/refreshd/refreshd/test/system/prove/observe"
)

// The properties of the revocation stream, checked from what the clients and the resource servers saw. Instants are
// readings of one clock that no fault moves, see package observe. No property depends on the speed of the machine.
//
// The check knows no rule of the service but these: what a revocation covers (from the calls' own histories), that a
// revocation has no end, and that it takes effect between its request and its response, or not at all, or, if the
// response was lost, up to lingers after its request. So it is sound in any round, whatever the clocks of the
// services show, where the model of one refresh token is not.

// property names what a violation breaks.
type property string

const (
	// soundness: no token of a session is accepted on a view that is complete as of an instant at which a revocation of
	// the session had returned.
	soundness property = "P1"
	// bound: a resource server that refuses on a stale view accepts no token later than its maximum age, and epsilon for
	// the machine, after a revocation of its session returned.
	bound property = "P2"
	// precision: no token is refused as revoked whose session cannot be revoked.
	precision property = "P3"
)

var properties = []property{soundness, bound, precision}

// epsilon is for the schedulers of the machine: an acceptance may be late by as much.
const epsilon = 250 * time.Millisecond

// attempt is a call that may have revoked a session.
type attempt struct {
	Call, Return time.Duration // Return is meaningless without a response
	Answered     bool
	Certain      bool // by its response it has revoked the session, unless something else had
	What         string
}

// last is the last instant at which the attempt can take effect.
func (a attempt) last() time.Duration {
	if a.Answered {
		return a.Return
	}
	return a.Call + lingers
}

// life is what is known of the end of a session.
type life struct {
	// Forgets is set if a store may forget what it has not confirmed, although a client has seen it: a primary that was
	// cut off and replaced. A session that a resource server knows as revoked may then be active.
	Forgets  bool
	Attempts []attempt
	// Alive is the latest instant at which a call began that found the session alive: nothing had revoked it before.
	Alive time.Duration
	// Seen are the instants of responses that say that the session is revoked.
	Seen []time.Duration
	// Unstated are the calls of a program from before the stream that spared the session. It raises the session's epoch,
	// but its mark does not name the session. So the mark covers the access tokens from before: until the session is
	// refreshed, it is refused rather than accepted without proof.
	Unstated []attempt
}

// lifeOf returns what the history of a refresh token says about its end. begin is the instant at which its times begin.
func lifeOf(h *history, begin time.Duration) (l life) {
	issued := time.Duration(-1) // when it was certainly stored
	for _, o := range h.Operations {
		if o.Input.Kind == issue && o.Answered && o.Output.Word == done && (issued < 0 || o.Return < issued) {
			issued = o.Return
		}
	}
	for _, o := range h.Operations {
		a := attempt{Call: begin + o.Call, Return: begin + o.Return, Answered: o.Answered, What: string(o.Input.Kind)}
		alive := false
		switch word := o.Output.Word; o.Input.Kind {
		case issue:
			alive = word == done
		case read:
			alive = word == found
		case spare:
			alive = word == done
			if o.Input.Earlier && (alive || !o.Answered) {
				l.Unstated = append(l.Unstated, a)
			}
		case exchange:
			switch {
			case !o.Answered && !applications[o.Input.Rules].replayTolerant:
				l.Attempts = append(l.Attempts, a) // it may be a replay
			case word == replayed && !applications[o.Input.Rules].replayTolerant:
				a.Certain = true
				l.Attempts = append(l.Attempts, a)
			case word == revoked:
				l.Seen = append(l.Seen, a.Return)
			default:
				alive = slices.Contains([]string{rotated, retried, recovered, unchanged, replayed}, word)
			}
		case revoke:
			if a.Certain = word == done; a.Certain || !o.Answered {
				l.Attempts = append(l.Attempts, a)
			}
		case revokeWide: // it covers what was stored before it began, and may cover what was stored meanwhile
			if word == done || !o.Answered {
				a.Certain = o.Answered && issued >= 0 && issued <= o.Call
				l.Attempts = append(l.Attempts, a)
			}
		case login: // it may end this one, if the limit is reached
			if word == done || !o.Answered {
				l.Attempts = append(l.Attempts, a)
			}
		}
		if alive {
			l.Alive = max(l.Alive, a.Call)
		}
	}
	return l
}

// revokedBy returns the instant at which a revocation of the session had returned, and what it was.
func (l life) revokedBy() (at time.Duration, what string, ok bool) {
	if l.Forgets {
		l.Seen, l.Alive = nil, 0
	}
	take := func(when time.Duration, by string) {
		if !ok || when < at {
			at, what, ok = when, by, true
		}
	}
	for _, a := range l.Attempts {
		if a.Answered && a.Certain {
			take(a.Return, a.What)
		}
	}
	// A response says that it is revoked, so one of the calls that began before has done it. If all of these have
	// returned, one that had returned by the last of these instants covers it.
	for _, seen := range l.Seen {
		at, by := time.Duration(0), ""
		lost := false
		for _, a := range l.Attempts {
			if a.Call > seen || a.last() < l.Alive && l.Alive <= seen {
				continue
			}
			if !a.Answered {
				lost = true
			} else if a.Return > at {
				at, by = a.Return, a.What
			}
		}
		switch {
		case lost:
			take(seen, "a revocation without a response, which an exchange has seen")
		case by != "":
			take(min(at, seen), by)
		}
	}
	return at, what, ok
}

// mayBeRevoked reports whether the session can be revoked at an instant.
func (l life) mayBeRevoked(at time.Duration) bool {
	return slices.ContainsFunc(l.Attempts, func(a attempt) bool {
		if l.Forgets {
			return a.Call <= at
		}
		return max(a.Call, l.Alive) <= min(at, a.last())
	})
}

// isUnstated reports whether o may be refused because the program that spared the session did not say so. The epoch of
// a token is that of a moment after the call began that returned it.
func (l life) isUnstated(o observed) bool {
	return o.Result == observe.Revoked && slices.ContainsFunc(l.Unstated, func(a attempt) bool {
		return a.Call <= o.End && o.Asked <= a.last()
	})
}

// observed is an observation of a resource server that refuses on a stale view, unless it accepts on one.
type observed struct {
	observe.Observation
	Server  string
	MaxAge  time.Duration
	Accepts bool          // on a stale view: property bound does not hold for it
	Asked   time.Duration // when the call began that returned the token
}

// violation is an observation that breaks a property.
type violation struct {
	Property property
	Session  string
	Text     string
	Story    []string // what the clients saw, one call in a line
}

func (v violation) String() string {
	return fmt.Sprintf("%s, session %s: %s", v.Property, v.Session, v.Text)
}

// check returns the observations of a session's tokens that break a property.
func (l life) check(session string, all []observed) (broken []violation) {
	since, what, isRevoked := l.revokedBy()
	for _, o := range all {
		add := func(p property, format string, args ...any) {
			broken = append(broken, violation{Property: p, Session: session, Text: fmt.Sprintf(
				"%s, token %d, checked at %s: ", o.Server, o.Token, o.Start) + fmt.Sprintf(format, args...)})
		}
		switch o.Result {
		case observe.Accepted:
			if !isRevoked {
				continue
			}
			if o.AsOf >= since {
				add(soundness, "accepted as of %s, %s after a revocation returned (%s)", o.AsOf, o.AsOf-since, what)
			}
			if late := o.Start - since - o.MaxAge; !o.Accepts && late > epsilon {
				add(bound, "accepted %s after a revocation returned (%s), %s more than the maximum age",
					o.Start-since, what, late)
			}
		case observe.Revoked:
			if !l.mayBeRevoked(o.End) && !l.isUnstated(o) {
				add(precision, "refused as revoked, and nothing can have revoked it")
			}
		}
	}
	return broken
}

// closely is the longest time between two checks of a session between which the first refusal is measured.
const closely = 100 * time.Millisecond

// reachTime returns how long after the return of its revocation a resource server first refused a token of the session.
// It returns false if the instant of the revocation is not known, or if the server did not check the session closely
// enough before: the last acceptance, or the revocation, was longer ago.
func (l life) reachTime(all []observed) (after time.Duration, ok bool) {
	since, _, isRevoked := l.revokedBy()
	if !isRevoked {
		return 0, false
	}
	first := time.Duration(-1)
	for _, o := range all {
		if o.Result == observe.Revoked && (first < 0 || o.End < first) {
			first = o.End
		}
	}
	before := time.Duration(-1)
	for _, o := range all {
		if o.Result == observe.Accepted && o.Start < first {
			before = max(before, o.Start)
		}
	}
	return max(0, first-since), first >= 0 && before >= 0 && first-max(before, since) <= closely
}

// checksOfRevoked counts the observations that began after a revocation of the session had returned, and that a
// resource server decided.
func (l life) checksOfRevoked(all []observed) (n int) {
	since, _, isRevoked := l.revokedBy()
	for _, o := range all {
		if isRevoked && o.Start > since && (o.Result == observe.Accepted || o.Result == observe.Revoked) {
			n++
		}
	}
	return n
}

// story returns the calls of the history and the checks of its tokens in the order in which they began.
func (h *history) story(begin time.Duration, all []observed) (lines []string) {
	type line struct {
		at   time.Duration
		text string
	}
	var sorted []line
	for _, o := range h.Operations {
		end := "?"
		if o.Answered {
			end = fmt.Sprint(begin + o.Return)
		}
		sorted = append(sorted, line{begin + o.Call, fmt.Sprintf("%s to %s: %s → %s, epoch %d", begin+o.Call, end, o.Input,
			o.Output, o.Output.Epoch)})
	}
	for _, o := range all {
		sorted = append(sorted, line{o.Start, fmt.Sprintf("%s to %s: %s: %c, token %d, as of %s", o.Start, o.End, o.Server,
			o.Result, o.Token, o.AsOf)})
	}
	slices.SortFunc(sorted, func(a, b line) int { return cmp.Compare(a.at, b.at) })
	lines = append(lines, fmt.Sprintf("application %s, tenant %s, user %s", h.Application, h.tenant, h.user))
	for _, l := range sorted {
		lines = append(lines, l.text)
	}
	return lines
}

// reachInModel checks the observations of a session's tokens in the model of its refresh token, which knows more than
// life, and returns the property that they break. A revocation has no end, so of the acceptances only the one with the
// latest view can be wrong alone, and of the refusals only the first. An error says that the history is wrong or
// undecided without them too.
func (h *history) reachInModel(
	m porcupine.Model, begin time.Duration, all []observed, atMost time.Duration,
) (broken property, err error) {
	var latest, first *operation
	for _, o := range all {
		made := &operation{Client: -1, Answered: true, Output: output{Word: done},
			Input: input{Rules: h.Application, At: span{0, forever}}}
		switch {
		case o.Result == observe.Accepted && (latest == nil || o.AsOf-begin > latest.Call):
			made.Input.Kind, made.Call, made.Return = accepted, o.AsOf-begin, o.AsOf-begin
			latest = made
		case o.Result == observe.Revoked && (first == nil || o.End-begin < first.Return):
			made.Input.Kind, made.Call, made.Return = rejected, o.Start-begin, o.End-begin
			first = made
		}
	}
	with := func(more ...*operation) porcupine.CheckResult {
		g := *h
		g.Operations = slices.Clone(h.Operations)
		for _, o := range more {
			if o != nil {
				g.Operations = append(g.Operations, o)
			}
		}
		return g.check(m, atMost).CheckResult
	}
	if with(latest, first) == porcupine.Ok {
		return "", nil
	}
	switch {
	case with() != porcupine.Ok:
		return "", fmt.Errorf("%s: no order explains the responses", h.ID)
	case with(first) == porcupine.Ok:
		return soundness, nil
	}
	return precision, nil
}
