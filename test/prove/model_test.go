package main

import (
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// story is told in seconds of the services' clock, one call after the other unless a call says otherwise.
type story []operation

var testRules = map[string]rules{
	"web":     {grace: 10 * second, burst: 2, interval: 3, life: minute, maximum: 3 * minute},
	"patient": {grace: 10 * second, life: 3 * 60 * minute},
	"strict":  {grace: 10 * second, life: minute, fixed: true},
}

func call(rules string, kind kind, generation uint32, at instant, out output) operation {
	return operation{Input: input{Kind: kind, Rules: rules, Generation: generation, At: span{at * second, at * second}}, Output: out, Answered: true}
}

func issued(rules string, at instant) operation {
	return call(rules, issue, 0, at, output{Word: done, Generation: 1, Access: "a1", Minted: at * second})
}

func exchanged(rules string, generation uint32, at instant, word string, answered uint32, access string, minted instant) operation {
	return call(rules, exchange, generation, at, output{Word: word, Generation: answered, Access: access, Minted: minted * second})
}

func refused(rules string, generation uint32, at instant, word string) operation {
	return call(rules, exchange, generation, at, output{Word: word})
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
		{"a retry", story{issued("web", 100), exchanged("web", 1, 105, rotated, 2, "a2", 105), exchanged("web", 1, 114, retried, 2, "a2", 105)}, false},
		{"a retry with another answer", story{issued("web", 100), exchanged("web", 1, 105, rotated, 2, "a2", 105),
			exchanged("web", 1, 114, retried, 2, "b2", 105)}, true},
		{"a retry at the end of its grace period", story{issued("web", 100), exchanged("web", 1, 105, rotated, 2, "a2", 105),
			exchanged("web", 1, 115, retried, 2, "a2", 105)}, true},
		{"a grace period measured from the last retry", story{issued("web", 100), exchanged("web", 1, 105, rotated, 2, "a2", 105),
			exchanged("web", 1, 114, retried, 2, "a2", 105), exchanged("web", 1, 116, retried, 2, "a2", 105)}, true},
		{"two rotations within one grace period", story{issued("web", 100), exchanged("web", 1, 105, rotated, 2, "a2", 105),
			exchanged("web", 2, 106, rotated, 3, "a3", 106), exchanged("web", 1, 114, retried, 3, "a3", 106)}, false},
		{"a recovery", story{issued("web", 100), exchanged("web", 1, 105, rotated, 2, "a2", 105),
			exchanged("web", 1, 130, recovered, 2, "c", 130), exchanged("web", 1, 150, recovered, 2, "d", 150)}, false},
		{"a recovery where there is no budget", story{issued("strict", 100), exchanged("strict", 1, 105, rotated, 2, "a2", 105),
			exchanged("strict", 1, 130, recovered, 2, "c", 130)}, true},
		{"a replay that does not revoke", story{issued("strict", 100), exchanged("strict", 1, 105, rotated, 2, "a2", 105),
			refused("strict", 1, 130, replayed), exchanged("strict", 2, 131, rotated, 3, "a3", 131)}, true},
		{"a replay that revokes", story{issued("strict", 100), exchanged("strict", 1, 105, rotated, 2, "a2", 105),
			refused("strict", 1, 130, replayed), refused("strict", 2, 131, revoked)}, false},
		{"before the deadline", story{issued("strict", 100), exchanged("strict", 1, 159, rotated, 2, "a2", 159)}, false},
		{"at the deadline", story{issued("strict", 100), exchanged("strict", 1, 160, rotated, 2, "a2", 160)}, true},
		{"at the deadline, refused", story{issued("strict", 100), refused("strict", 1, 160, expired)}, false},
		{"before the deadline, refused", story{issued("strict", 100), refused("strict", 1, 159, expired)}, true},
		{"a life that slides", story{issued("web", 100), exchanged("web", 1, 155, rotated, 2, "a2", 155),
			exchanged("web", 2, 214, rotated, 3, "a3", 214)}, false},
		{"a life that does not slide", story{issued("web", 100), exchanged("web", 1, 155, rotated, 2, "a2", 155), refused("web", 2, 170, expired)}, true},
		{"alive after a wide revocation", story{issued("web", 100), call("web", revokeWide, 0, 103, output{Word: done}),
			exchanged("web", 1, 105, rotated, 2, "a2", 105)}, true},
		{"revoked by nobody", story{issued("web", 100), refused("web", 1, 105, revoked)}, true},
		{"a revocation before the issue", story{call("web", revokeWide, 0, 99, output{Word: done}), issued("web", 100), refused("web", 1, 105, revoked)}, true},
		{"a revocation without an answer", story{issued("web", 100), lost(call("web", revokeWide, 0, 103, output{})),
			exchanged("web", 1, 105, rotated, 2, "a2", 105), refused("web", 2, 106, revoked)}, false},
		{"a rotation without an answer", story{issued("web", 100), lost(exchanged("web", 1, 103, rotated, 2, "", 0)),
			exchanged("web", 1, 105, retried, 2, "a2", 103)}, false},
		{"a rotation without an answer, and another", story{issued("web", 100), lost(exchanged("web", 1, 103, rotated, 2, "", 0)),
			exchanged("web", 1, 105, retried, 2, "a2", 105)}, false},
		{"two rotations without an answer, the later one by a clock that is behind", story{issued("web", 100),
			lost(exchanged("web", 1, 105, rotated, 2, "", 0)), lost(exchanged("web", 1, 103, rotated, 2, "", 0)),
			exchanged("web", 1, 106, retried, 2, "a2", 103)}, false},
		{"a revocation without an answer, hours ago", story{issued("patient", 100), lost(call("patient", revokeWide, 0, 103, output{})),
			exchanged("patient", 1, 5000, rotated, 2, "a2", 5000), refused("patient", 2, 5001, revoked)}, true},
		{"an issue and a revocation before it, both without an answer", story{lost(call("web", revokeWide, 0, 99, output{})),
			lost(issued("web", 100)), call("web", issue, 0, 101, output{Word: duplicate})}, false},
		{"a retry of what had no chance to happen", story{issued("web", 100), exchanged("web", 1, 105, retried, 2, "a2", 105)}, true},
		{"a string of the future", story{issued("web", 100), exchanged("web", 2, 105, rotated, 3, "a3", 105)}, true},
		{"a read", story{issued("web", 100), call("web", read, 0, 101, output{Word: found, Generation: 1, Expires: 160 * second})}, false},
		{"a read of a rotation that is yet to come", story{issued("web", 100),
			call("web", read, 0, 101, output{Word: found, Generation: 2, Expires: 160 * second})}, true},
		{"a read of an older time", story{issued("web", 100), exchanged("web", 1, 105, rotated, 2, "a2", 105),
			call("web", read, 0, 106, output{Word: found, Generation: 1, Expires: 160 * second})}, true},
		{"another expiry", story{issued("web", 100), call("web", read, 0, 101, output{Word: found, Generation: 1, Expires: 161 * second})}, true},
		{"revoked, and revoked again", story{issued("web", 100), call("web", revoke, 0, 101, output{Word: done}),
			call("web", revoke, 0, 102, output{Word: notFound})}, false},
		{"revoked twice", story{issued("web", 100), call("web", revoke, 0, 101, output{Word: done}), call("web", revoke, 0, 102, output{Word: done})}, true},
		{"an issue again", story{lost(issued("web", 100)), issued("web", 101)}, false},
		{"an issue again with another answer", story{issued("web", 100),
			call("web", issue, 0, 101, output{Word: done, Generation: 1, Access: "b1", Minted: 100 * second})}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := &history{}
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
