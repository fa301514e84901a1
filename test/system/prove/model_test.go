package main

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// story is a history, in seconds of the services' clock. Calls follow each other unless a call says otherwise.
type story []operation

var testRules = map[string]rules{
	"web":       {grace: 10 * second, burst: 2, interval: 3, life: minute, maximum: 3 * minute, access: 30 * second},
	"quick":     {grace: 10 * second, life: minute, access: 6 * second},
	"patient":   {grace: 10 * second, life: 3 * 60 * minute, access: 30 * second},
	"strict":    {grace: 10 * second, life: minute, fixed: true, access: 30 * second},
	"brief":     {grace: 2 * second, life: minute, access: 30 * second},
	"none":      {burst: 1, interval: 3, life: minute, access: 30 * second},
	"reusable":  {grace: 10 * second, life: minute, reusable: true, access: 30 * second},
	"forgiving": {grace: 5 * second, burst: 1, interval: 2, life: minute, replayTolerant: true, access: 30 * second},
	"limited":   {grace: 10 * second, life: minute, access: 30 * second, limit: 2},

	"changing": {grace: 10 * second, life: minute, access: 30 * second, variants: []rules{
		{grace: 10 * second, life: minute, access: 30 * second},
		{grace: 10 * second, life: minute, access: 30 * second, inactive: true},
		{grace: 10 * second, life: minute, access: 30 * second, reusable: true},
	}},
	"confidential": {grace: 10 * second, life: minute, access: 30 * second, authenticated: true},
}

func call(rules string, kind kind, generation uint32, at instant, out output) operation {
	in := input{Kind: kind, Rules: rules, Generation: generation, At: span{at * second, at * second}}
	return operation{Input: in, Output: out, Answered: true}
}

func issued(rules string, at instant) operation {
	o := exchanged(rules, 0, at, done, 1, "a1", at)
	o.Input.Kind = issue
	return o
}

func exchanged(
	rules string, generation uint32, at instant, word string, answered uint32, access string, minted instant,
) operation {
	return call(rules, exchange, generation, at, output{
		Word: word, Generation: answered, Access: access,
		Minted: minted * second, Ends: minted*second + testRules[rules].access,
	})
}

func ending(o operation, at instant) operation {
	o.Output.Ends = at * second
	return o
}

func inEpoch(o operation, epoch int64) operation {
	o.Output.Epoch = epoch
	return o
}

// tellTime fills in the seconds left of the responses, for refresh tokens that are issued at 100.
func (s story) tellTime() {
	expires, lost := instant(0), false
	for i := range s {
		in, out := s[i].Input, &s[i].Output
		r, at := testRules[in.Rules], in.At.First
		switch {
		case !s[i].Answered:
			lost = true
		case in.Kind == issue && expires == 0:
			expires = 100*second + r.life
		case out.Word == retried && lost:
			expires = out.Minted + r.life
		case out.Word == rotated || out.Word == recovered || out.Word == unchanged:
			if at = out.Minted; !r.fixed {
				expires = at + r.life
			}
			if r.maximum > 0 {
				expires = min(expires, 100*second+r.maximum)
			}
		}
		if out.Access != "" && out.Left == 0 {
			out.Left, out.TokenLeft = min(r.access, out.Ends-at), expires-at
		}
	}
}

// left changes the seconds left in the response.
func left(o operation, access, token instant) operation {
	o.Output.Left, o.Output.TokenLeft = access*second, token*second
	return o
}

// reading sets the span in which a call may have read its clock.
func reading(o operation, first, last instant) operation {
	o.Input.At = span{first * second, last * second}
	return o
}

func refused(rules string, generation uint32, at instant, word string) operation {
	return call(rules, exchange, generation, at, output{Word: word})
}

// policy is a change of the policy of the application changing.
func policy(at instant, to uint8) operation {
	o := call("changing", newPolicy, 0, at, output{Word: done})
	o.Input.To = to
	return o
}

// withoutKey is a call on a refresh token that is bound to a key.
func withoutKey(o operation) operation {
	o.Input.Bound = true
	return o
}

// withKey is such a call with a proof of that key.
func withKey(o operation) operation {
	o.Input.Key = true
	return withoutKey(o)
}

// foreign is a call that names another tenant or client.
func foreign(o operation) operation {
	o.Input.Foreign = true
	return o
}

func lost(o operation) operation {
	o.Output, o.Answered, o.Input.At.Last = output{}, false, forever
	return o
}

func TestTheModelTellsRightFromWrong(t *testing.T) {
	for _, test := range []struct {
		name  string
		story story
		wrong bool
	}{
		{"a rotation", story{issued("web", 100), exchanged("web", 1, 105, rotated, 2, "a2", 105)}, false},
		{"what was never issued", story{refused("web", 1, 100, invalid)}, false},
		{"a rotation of what was never issued", story{exchanged("web", 1, 105, rotated, 2, "a2", 105)}, true},
		{"two rotations of one string", story{issued("web", 100), exchanged("web", 1, 105, rotated, 2, "a2", 105),
			exchanged("web", 1, 105, rotated, 2, "b2", 105)}, true},
		{"a rotation that skips", story{issued("web", 100), exchanged("web", 1, 105, rotated, 3, "a2", 105)}, true},
		{"an access token of another time", story{issued("web", 100), exchanged("web", 1, 105, rotated, 2, "a2", 104)}, true},
		{"a retry", story{issued("web", 100), exchanged("web", 1, 105, rotated, 2, "a2", 105),
			exchanged("web", 1, 114, retried, 2, "a2", 105)}, false},
		{"a retry with another answer", story{issued("web", 100), exchanged("web", 1, 105, rotated, 2, "a2", 105),
			exchanged("web", 1, 114, retried, 2, "b2", 105)}, true},
		{"a retry refused", story{issued("web", 100), exchanged("web", 1, 105, rotated, 2, "a2", 105),
			refused("web", 1, 114, replayed)}, true},
		{"a retry at the end of its grace period", story{issued("web", 100), exchanged("web", 1, 105, rotated, 2, "a2", 105),
			exchanged("web", 1, 115, retried, 2, "a2", 105)}, true},
		{"a grace period measured from the last retry", story{issued("web", 100),
			exchanged("web", 1, 105, rotated, 2, "a2", 105),
			exchanged("web", 1, 114, retried, 2, "a2", 105), exchanged("web", 1, 116, retried, 2, "a2", 105)}, true},
		{"a retry with the current string", story{issued("web", 100), exchanged("web", 1, 105, rotated, 2, "a2", 105),
			exchanged("web", 2, 114, retried, 2, "a2", 105)}, false},
		{"two rotations within one grace period", story{issued("web", 100), exchanged("web", 1, 105, rotated, 2, "a2", 105),
			exchanged("web", 2, 114, rotated, 3, "a3", 114)}, true},
		{"two rotations a grace period apart", story{issued("web", 100), exchanged("web", 1, 105, rotated, 2, "a2", 105),
			exchanged("web", 2, 115, rotated, 3, "a3", 115)}, false},
		{"a first exchange that is a retry", story{issued("web", 100),
			exchanged("web", 1, 101, retried, 1, "a1", 100)}, true},
		{"a retry by a clock that is behind", story{issued("brief", 100), exchanged("brief", 1, 107, rotated, 2, "a2", 107),
			exchanged("brief", 2, 106, retried, 2, "a2", 107)}, false},
		{"a rotation by a clock that is behind by less than a grace period", story{issued("brief", 100),
			exchanged("brief", 1, 107, rotated, 2, "a2", 107), exchanged("brief", 2, 106, rotated, 3, "a3", 106)}, true},
		{"a clock that is ahead holds a refresh token", story{issued("brief", 100),
			exchanged("brief", 1, 107, rotated, 2, "a2", 107),
			exchanged("brief", 2, 105, retried, 2, "a2", 107)}, true},
		{"a clock that is ahead holds no refresh token", story{issued("brief", 100),
			exchanged("brief", 1, 107, rotated, 2, "a2", 107),
			exchanged("brief", 2, 105, rotated, 3, "a3", 105)}, false},
		{"no grace period", story{issued("none", 100), exchanged("none", 1, 105, rotated, 2, "a2", 105),
			exchanged("none", 2, 105, rotated, 3, "a2", 105),
			exchanged("none", 2, 105, recovered, 3, "a2", 105), refused("none", 1, 105, replayed)}, false},
		{"a retry without a grace period", story{issued("none", 100), exchanged("none", 1, 105, rotated, 2, "a2", 105),
			exchanged("none", 1, 105, retried, 2, "a2", 105)}, true},
		{"the next half lifetime", story{issued("quick", 100), exchanged("quick", 1, 105, rotated, 2, "a2", 105),
			exchanged("quick", 2, 107, retried, 2, "a2", 105),
			exchanged("quick", 2, 108, retried, 2, "b2", 108), exchanged("quick", 1, 110, retried, 2, "b2", 108),
			exchanged("quick", 1, 114, retried, 2, "c2", 114)}, false},
		{"the next half lifetime, too late", story{issued("quick", 100), exchanged("quick", 1, 105, rotated, 2, "a2", 105),
			exchanged("quick", 2, 108, retried, 2, "a2", 105)}, true},
		{"the next half lifetime, too early", story{issued("quick", 100), exchanged("quick", 1, 105, rotated, 2, "a2", 105),
			exchanged("quick", 2, 107, retried, 2, "b2", 108)}, true},
		{"an access token from the retry on", story{issued("quick", 100), exchanged("quick", 1, 105, rotated, 2, "a2", 105),
			exchanged("quick", 2, 106, retried, 2, "b2", 106)}, true},
		{"another answer in the same half lifetime", story{issued("quick", 100),
			exchanged("quick", 1, 105, rotated, 2, "a2", 105),
			exchanged("quick", 2, 108, retried, 2, "b2", 108), exchanged("quick", 2, 110, retried, 2, "c2", 108)}, true},
		{"an access token that outlives the refresh token", story{issued("strict", 100),
			exchanged("strict", 1, 140, rotated, 2, "a2", 140)}, true},
		{"an access token that ends with the refresh token", story{issued("strict", 100),
			ending(exchanged("strict", 1, 140, rotated, 2, "a2", 140), 160)}, false},
		{"an access token that ends before the refresh token", story{issued("strict", 100),
			ending(exchanged("strict", 1, 140, rotated, 2, "a2", 140), 159)}, true},
		{"the seconds left", story{issued("web", 100), exchanged("web", 1, 105, rotated, 2, "a2", 105),
			left(exchanged("web", 1, 114, retried, 2, "a2", 105), 21, 51)}, false},
		{"a second too many", story{issued("web", 100), exchanged("web", 1, 105, rotated, 2, "a2", 105),
			left(exchanged("web", 1, 114, retried, 2, "a2", 105), 22, 51)}, true},
		{"a second too few", story{issued("web", 100), exchanged("web", 1, 105, rotated, 2, "a2", 105),
			left(exchanged("web", 1, 114, retried, 2, "a2", 105), 20, 51)}, true},
		{"a second too many of the refresh token", story{issued("web", 100),
			left(exchanged("web", 1, 105, rotated, 2, "a2", 105), 30, 61)}, true},
		{"a second too few of the refresh token", story{issued("web", 100),
			left(exchanged("web", 1, 105, rotated, 2, "a2", 105), 30, 59)}, true},
		{"by a clock that is behind, more than the lifetime", story{issued("brief", 100),
			exchanged("brief", 1, 107, rotated, 2, "a2", 107),
			left(exchanged("brief", 2, 106, retried, 2, "a2", 107), 31, 61)}, true},
		{"a reusable string", story{issued("reusable", 100), exchanged("reusable", 1, 101, unchanged, 1, "b1", 101),
			exchanged("reusable", 1, 155, unchanged, 1, "c1", 155)}, false},
		{"a reusable string that rotates", story{issued("reusable", 100),
			exchanged("reusable", 1, 101, rotated, 2, "a2", 101)}, true},
		{"a recovery", story{issued("web", 100), exchanged("web", 1, 105, rotated, 2, "a2", 105),
			exchanged("web", 1, 130, recovered, 2, "c", 130), exchanged("web", 1, 150, recovered, 2, "d", 150)}, false},
		{"a retry of a recovery", story{issued("web", 100), exchanged("web", 1, 105, rotated, 2, "a2", 105),
			exchanged("web", 1, 130, recovered, 2, "c", 130),
			exchanged("web", 1, 139, retried, 2, "c", 130), exchanged("web", 2, 139, retried, 2, "c", 130),
			exchanged("web", 2, 140, rotated, 3, "a3", 140)}, false},
		{"a retry of a recovery, answered as the rotation was", story{issued("web", 100),
			exchanged("web", 1, 105, rotated, 2, "a2", 105),
			exchanged("web", 1, 130, recovered, 2, "c", 130), exchanged("web", 1, 139, retried, 2, "a2", 105)}, true},
		{"a rotation that a repeated recovery holds back", story{issued("web", 100),
			exchanged("web", 1, 105, rotated, 2, "a2", 105),
			exchanged("web", 1, 130, recovered, 2, "c", 130), exchanged("web", 1, 140, recovered, 2, "d", 140),
			exchanged("web", 2, 141, retried, 2, "d", 140)}, true},
		{"a rotation that a repeated recovery does not hold back", story{issued("web", 100),
			exchanged("web", 1, 105, rotated, 2, "a2", 105),
			exchanged("web", 1, 130, recovered, 2, "c", 130), exchanged("web", 1, 140, recovered, 2, "d", 140),
			exchanged("web", 2, 141, rotated, 3, "a3", 141)}, false},
		{"two recoveries, each charged once", story{issued("web", 100), exchanged("web", 1, 105, rotated, 2, "a2", 105),
			exchanged("web", 1, 120, recovered, 2, "c", 120), exchanged("web", 1, 130, recovered, 2, "d", 130),
			exchanged("web", 2, 131, rotated, 3, "a3", 131),
			exchanged("web", 2, 141, recovered, 3, "e", 141)}, false},
		{"two recoveries, the first one charged again", story{issued("web", 100),
			exchanged("web", 1, 105, rotated, 2, "a2", 105),
			exchanged("web", 1, 120, recovered, 2, "c", 120), exchanged("web", 1, 130, recovered, 2, "d", 130),
			exchanged("web", 2, 131, rotated, 3, "a3", 131),
			refused("web", 2, 141, replayed)}, true},
		{"a third recovery, which the budget does not allow", story{issued("web", 100),
			exchanged("web", 1, 105, rotated, 2, "a2", 105),
			exchanged("web", 1, 115, recovered, 2, "c", 115), exchanged("web", 2, 125, rotated, 3, "a3", 125),
			exchanged("web", 2, 135, recovered, 3, "d", 135),
			exchanged("web", 3, 145, rotated, 4, "a4", 145), exchanged("web", 3, 155, recovered, 4, "e", 155)}, true},
		{"a recovery where there is no budget", story{issued("strict", 100),
			exchanged("strict", 1, 105, rotated, 2, "a2", 105),
			exchanged("strict", 1, 130, recovered, 2, "c", 130)}, true},
		{"a replay that does not revoke", story{issued("strict", 100), exchanged("strict", 1, 105, rotated, 2, "a2", 105),
			refused("strict", 1, 130, replayed), exchanged("strict", 2, 131, rotated, 3, "a3", 131)}, true},
		{"a replay that revokes", story{issued("strict", 100), exchanged("strict", 1, 105, rotated, 2, "a2", 105),
			refused("strict", 1, 130, replayed), refused("strict", 2, 131, revoked)}, false},
		{"before the deadline", story{issued("strict", 100), ending(exchanged("strict", 1, 159, rotated, 2, "a2", 159),
			160)}, false},
		{"at the deadline", story{issued("strict", 100), ending(exchanged("strict", 1, 160, rotated, 2, "a2", 160),
			160)}, true},
		{"at the deadline, refused", story{issued("strict", 100), refused("strict", 1, 160, expired)}, false},
		{"before the deadline, refused", story{issued("strict", 100), refused("strict", 1, 159, expired)}, true},
		{"a lifetime that slides", story{issued("web", 100), exchanged("web", 1, 155, rotated, 2, "a2", 155),
			exchanged("web", 2, 214, rotated, 3, "a3", 214)}, false},
		{"a lifetime that does not slide", story{issued("web", 100), exchanged("web", 1, 155, rotated, 2, "a2", 155),
			refused("web", 2, 170, expired)}, true},
		{"alive after a wide revocation", story{issued("web", 100), call("web", revokeWide, 0, 103, output{Word: done}),
			exchanged("web", 1, 105, rotated, 2, "a2", 105)}, true},
		{"revoked by nobody", story{issued("web", 100), refused("web", 1, 105, revoked)}, true},
		{"a revocation before the issue", story{call("web", revokeWide, 0, 99, output{Word: done}),
			issued("web", 100), refused("web", 1, 105, revoked)}, true},
		{"a revocation without an answer", story{issued("web", 100), lost(call("web", revokeWide, 0, 103, output{})),
			exchanged("web", 1, 105, rotated, 2, "a2", 105), refused("web", 2, 106, revoked)}, false},
		{"a rotation without an answer", story{issued("web", 100), lost(exchanged("web", 1, 103, rotated, 2, "", 0)),
			exchanged("web", 1, 105, retried, 2, "a2", 103)}, false},
		{"a rotation without an answer, and another", story{issued("web", 100),
			lost(exchanged("web", 1, 103, rotated, 2, "", 0)),
			exchanged("web", 1, 105, retried, 2, "a2", 105)}, false},
		{"a recovery without an answer", story{issued("web", 100), exchanged("web", 1, 105, rotated, 2, "a2", 105),
			lost(exchanged("web", 1, 120, recovered, 2, "", 0)), exchanged("web", 2, 129, retried, 2, "c", 121)}, false},
		{"a rotation whose instant is known to a few seconds", story{issued("web", 100),
			lost(exchanged("web", 1, 103, rotated, 2, "", 0)),
			exchanged("web", 2, 110, retried, 2, "a2", 104), exchanged("web", 2, 114, retried, 2, "a2", 104)}, false},
		{"a rotation whose instant is known from its retry", story{issued("web", 100),
			lost(exchanged("web", 1, 103, rotated, 2, "", 0)),
			exchanged("web", 2, 110, retried, 2, "a2", 104), exchanged("web", 2, 115, retried, 2, "a2", 104)}, true},
		{"at the edge, by a clock that was read in between", story{issued("web", 100),
			exchanged("web", 1, 105, rotated, 2, "a2", 105),
			reading(exchanged("web", 2, 0, retried, 2, "a2", 105), 112, 118),
			reading(exchanged("web", 2, 0, rotated, 3, "a3", 116), 112, 118)}, false},
		{"a call that is held up after it read its clock", story{issued("web", 100),
			exchanged("web", 1, 105, rotated, 2, "a2", 105),
			exchanged("web", 2, 130, rotated, 3, "a3", 130), reading(exchanged("web", 2, 0, recovered, 3, "b3", 119), 119, 131),
			exchanged("web", 3, 131, rotated, 4, "a4", 131)}, false},
		{"two rotations without an answer, the later one by a clock that is behind", story{issued("web", 100),
			lost(exchanged("web", 1, 105, rotated, 2, "", 0)), lost(exchanged("web", 1, 103, rotated, 2, "", 0)),
			exchanged("web", 1, 106, retried, 2, "a2", 103)}, false},
		{"a revocation without an answer, hours ago", story{issued("patient", 100),
			lost(call("patient", revokeWide, 0, 103, output{})),
			exchanged("patient", 1, 5000, rotated, 2, "a2", 5000), refused("patient", 2, 5001, revoked)}, true},
		{"an issue without an answer, and nothing answered until long after", story{lost(issued("patient", 100)),
			call("patient", read, 0, 400, output{Word: found, Generation: 1, Expires: 10_900 * second})}, false},
		{"an issue without an answer, too late", story{lost(issued("patient", 100)),
			call("patient", read, 0, 300, output{Word: notFound}),
			call("patient", read, 0, 400, output{Word: found, Generation: 1, Expires: 10_900 * second})}, true},
		{"an issue and a revocation before it, both without an answer", story{lost(call("web", revokeWide, 0, 99, output{})),
			lost(issued("web", 100)), call("web", issue, 0, 101, output{Word: duplicate})}, false},
		{"a retry of what had no chance to happen", story{issued("web", 100),
			exchanged("web", 1, 105, retried, 2, "a2", 105)}, true},
		{"a string of the future", story{issued("web", 100), exchanged("web", 2, 105, rotated, 3, "a3", 105)}, true},
		{"a read", story{issued("web", 100),
			call("web", read, 0, 101, output{Word: found, Generation: 1, Expires: 160 * second})}, false},
		{"a read of a rotation that is yet to come", story{issued("web", 100),
			call("web", read, 0, 101, output{Word: found, Generation: 2, Expires: 160 * second})}, true},
		{"a read of an older time", story{issued("web", 100), exchanged("web", 1, 105, rotated, 2, "a2", 105),
			call("web", read, 0, 106, output{Word: found, Generation: 1, Expires: 160 * second})}, true},
		{"another expiry", story{issued("web", 100),
			call("web", read, 0, 101, output{Word: found, Generation: 1, Expires: 161 * second})}, true},
		{"revoked, and revoked again", story{issued("web", 100), call("web", revoke, 0, 101, output{Word: done}),
			call("web", revoke, 0, 102, output{Word: notFound})}, false},
		{"revoked twice", story{issued("web", 100), call("web", revoke, 0, 101, output{Word: done}),
			call("web", revoke, 0, 102, output{Word: done})}, true},
		{"an issue again", story{lost(issued("web", 100)), issued("web", 101)}, false},
		{"an issue again with another answer", story{issued("web", 100),
			inEpoch(issued("web", 100), 1)}, true},
		{"an issue again in a later half lifetime", story{issued("quick", 100), func() operation {
			o := exchanged("quick", 0, 110, done, 1, "b1", 109)
			o.Input.Kind = issue
			return o
		}()}, false},
		{"another epoch", story{issued("web", 100), inEpoch(exchanged("web", 1, 105, rotated, 2, "a2", 105), 1)}, true},
		{"another epoch, because it was spared", story{issued("web", 100), call("web", spare, 0, 101, output{Word: done}),
			inEpoch(exchanged("web", 1, 105, rotated, 2, "a2", 105), 1),
			inEpoch(exchanged("web", 1, 106, retried, 2, "a2", 105), 1)}, false},
		{"the same epoch, though it was spared", story{issued("web", 100), call("web", spare, 0, 101, output{Word: done}),
			exchanged("web", 1, 105, rotated, 2, "a2", 105)}, true},
		{"spared after it ended", story{issued("web", 100), call("web", revoke, 0, 101, output{Word: done}),
			call("web", spare, 0, 102, output{Word: done})}, true},
		{"ended by the limit", story{issued("limited", 100), call("limited", login, 0, 101, output{Word: done}),
			call("limited", login, 0, 102, output{Word: done}), refused("limited", 1, 103, revoked)}, false},
		{"ended within the limit", story{issued("limited", 100), call("limited", login, 0, 101, output{Word: done}),
			refused("limited", 1, 103, revoked)}, true},
		{"ended by logins that were answered before it began", story{call("limited", login, 0, 98, output{Word: done}),
			call("limited", login, 0, 99, output{Word: done}), issued("limited", 100),
			refused("limited", 1, 103, revoked)}, true},
		{"ended by the limit, one login without an answer", story{lost(call("limited", login, 0, 98, output{})),
			issued("limited", 100),
			call("limited", login, 0, 102, output{Word: done}), refused("limited", 1, 103, revoked)}, false},
		{"a bound one with its key", story{withoutKey(issued("web", 100)),
			withKey(exchanged("web", 1, 105, rotated, 2, "a2", 105))}, false},
		{"a bound one without its key", story{withoutKey(issued("web", 100)),
			withoutKey(exchanged("web", 1, 105, rotated, 2, "a2", 105))}, true},
		{"a bound one without its key, refused", story{withoutKey(issued("web", 100)),
			withoutKey(refused("web", 1, 105, unbound)), withKey(exchanged("web", 1, 106, rotated, 2, "a2", 106))}, false},
		{"a bound one with its key, refused", story{withoutKey(issued("web", 100)),
			withKey(refused("web", 1, 105, unbound))}, true},
		{"a refusal that says revoked without its key", story{withoutKey(issued("web", 100)),
			call("web", revoke, 0, 101, output{Word: done}), withoutKey(refused("web", 1, 105, revoked))}, true},
		{"a replay without its key that revokes", story{withoutKey(issued("strict", 100)),
			withKey(exchanged("strict", 1, 105, rotated, 2, "a2", 105)), withoutKey(refused("strict", 1, 130, unbound)),
			withKey(refused("strict", 2, 131, revoked))}, true},
		{"another tenant", story{issued("web", 100), foreign(exchanged("web", 1, 105, rotated, 2, "a2", 105))}, true},
		{"another tenant, refused", story{issued("web", 100), foreign(refused("web", 1, 105, invalid)),
			exchanged("web", 1, 106, rotated, 2, "a2", 106)}, false},
		{"another tenant, refused and changed", story{issued("strict", 100),
			exchanged("strict", 1, 105, rotated, 2, "a2", 105), foreign(refused("strict", 1, 130, invalid)),
			refused("strict", 2, 131, revoked)}, true},
		{"its own tenant, refused", story{issued("web", 100), refused("web", 1, 105, invalid)}, true},
		{"no secret", story{issued("confidential", 100),
			exchanged("confidential", 1, 105, rotated, 2, "a2", 105)}, true},
		{"no secret, refused", story{issued("confidential", 100), refused("confidential", 1, 105, unproved)}, false},
		{"no secret, and another client", story{issued("confidential", 100),
			foreign(refused("confidential", 1, 105, unproved))}, true},
		{"inactive, refused", story{issued("changing", 100), policy(101, 1), refused("changing", 1, 105, inactive),
			policy(106, 0), exchanged("changing", 1, 107, rotated, 2, "a2", 107)}, false},
		{"inactive, answered", story{issued("changing", 100), policy(101, 1),
			exchanged("changing", 1, 105, rotated, 2, "a2", 105)}, true},
		{"active again, refused", story{issued("changing", 100), policy(101, 1), policy(102, 0),
			refused("changing", 1, 105, inactive)}, true},
		{"inactive, and changed", story{issued("changing", 100), policy(101, 1),
			refused("changing", 1, 105, inactive), policy(106, 0),
			exchanged("changing", 1, 107, retried, 2, "a2", 105)}, true},
		{"inactive by a change without a response that reads no clock", story{issued("changing", 1000),
			lost(reading(policy(0, 1), 0, 0)), refused("changing", 1, 1005, inactive)}, false},
		{"inactive by a change without a response", story{issued("changing", 100), lost(policy(101, 1)),
			exchanged("changing", 1, 103, rotated, 2, "a2", 103), refused("changing", 2, 105, inactive)}, false},
		{"issued while it is inactive", story{policy(99, 1), issued("changing", 100)}, true},
		{"not issued while it is inactive", story{policy(99, 1),
			call("changing", issue, 0, 100, output{Word: inactive})}, false},
		{"reusable from now on", story{issued("changing", 100), exchanged("changing", 1, 105, rotated, 2, "a2", 105),
			policy(106, 2), exchanged("changing", 2, 120, unchanged, 2, "b2", 120)}, false},
		{"reusable, by an older policy", story{issued("changing", 100),
			exchanged("changing", 1, 105, rotated, 2, "a2", 105), policy(106, 2), policy(107, 0),
			exchanged("changing", 2, 120, unchanged, 2, "b2", 120)}, true},
		{"limited, and not changed", story{issued("web", 100), refused("web", 1, 105, limited),
			exchanged("web", 1, 106, rotated, 2, "a2", 106)}, false},
		{"limited, and changed", story{issued("web", 100), refused("web", 1, 105, limited),
			exchanged("web", 1, 107, retried, 2, "a2", 105)}, true},
		{"ended by logins that were refused", story{issued("limited", 100),
			call("limited", login, 0, 101, output{Word: done}),
			call("limited", login, 0, 102, output{Word: nothingDone}), refused("limited", 1, 103, revoked)}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := &history{}
			test.story.tellTime()
			for i := range test.story {
				o := test.story[i]
				o.Call, o.Return = time.Duration(2*i), time.Duration(2*i+1)
				h.Operations = append(h.Operations, &o)
			}
			want := porcupine.Ok
			if test.wrong {
				want = porcupine.Illegal
			}
			if got := h.check(model(testRules), time.Minute).CheckResult; got != want {
				t.Errorf("the history is %s, want %s", got, want)
			}
		})
	}
}

// In an outage each tab of a device loses dozens of calls. A check that tries every combination of their effects does
// not end.
func TestLostCallsAreCheckedInTime(t *testing.T) {
	all := story{issued("forgiving", 100)}
	for i := range instant(36) {
		g := uint32(i/12 + 1)
		all = append(all, lost(exchanged("forgiving", g, 101+i, rotated, g+1, "", 0)),
			call("forgiving", revokeWide, 0, 101+i, output{Word: nothingDone})) // its result depends on all of them
	}
	all = append(all, call("forgiving", read, 0, 137, output{Word: found, Generation: 4, Expires: 190 * second}))
	all.tellTime()
	h := &history{}
	for i := range all {
		all[i].Call, all[i].Return = time.Duration(2*i), time.Duration(2*i+1)
		h.Operations = append(h.Operations, &all[i])
	}
	// It takes a moment; the rest is for a busy machine. Trying every combination would take years.
	if got := h.check(model(testRules), 5*time.Minute).CheckResult; got != porcupine.Ok {
		t.Errorf("the history is %s, want %s", got, porcupine.Ok)
	}
}

// The main promise, checked on the model itself by random walks through what it allows: a string that was current less
// than a grace period ago, less the difference of the clocks, is never refused as replayed. And a client that sends the
// string before the current one, however often, cannot keep the current one from rotating once the responses to both
// are a grace period old.
func TestTheModelKeepsThePromise(t *testing.T) {
	const start = 1000 * second
	for name, r := range testRules {
		if r.reusable {
			continue
		}
		r.life = 24 * 60 * minute
		random := rand.New(rand.NewPCG(1, uint64(len(name))))
		for walk := range 2000 {
			apart := []instant{0, second, skew}[walk%3] // the greatest difference of the clocks
			now := start
			state := token{}.born(r, span{now, now})
			left := map[uint32]instant{}              // when a generation was current last
			rotatedAt, recoveredAt := now, instant(0) // of the current generation, on the clocks
			for range 60 {
				if random.IntN(2) == 0 {
					now += second * random.Int64N(4) * max(1, r.grace/second/4)
				}
				reading := now + second*random.Int64N(apart/second+1)
				p := max(1, state.Generation-uint32(random.IntN(3)))
				ways := state.exchange(r, input{Kind: exchange, Generation: p, APIKey: true, At: span{reading, reading}})
				if len(ways) != 1 {
					t.Fatalf("%s: %d answers to a call whose instant is known", name, len(ways))
				}
				word, before := ways[0].word, state
				state = ways[0].after
				switch word {
				case rotated:
					left[before.Generation], rotatedAt, recoveredAt = now, reading, 0
				case recovered:
					if recoveredAt == 0 {
						recoveredAt = reading
					}
				case replayed:
					if age := now - left[p]; age < r.grace-apart {
						t.Fatalf("%s, clocks %d s apart: generation %d was refused %d s after it was current",
							name, apart/second, p, age/second)
					}
					state.Revoked = false
				}
				old := func(at instant) bool { return at == 0 || max(reading-at, at-reading) >= r.grace }
				if p == before.Generation && word != rotated && old(rotatedAt) && old(recoveredAt) {
					t.Fatalf("%s: generation %d did not rotate, but was %s", name, p, word)
				}
			}
		}
	}
}
