package main

import (
	"slices"
	"testing"
	"time"

	"github.com/refreshd/refreshd/test/system/prove/observe"
)

// at is an instant of the histories below: milliseconds, which begin a second after the clock does.
func at(ms int) time.Duration { return time.Duration(ms) * time.Millisecond }

const began = time.Second

// did is a call with a response from the first to the second instant, unanswered is one without.
func did(k kind, word string, from, to int) *operation {
	return &operation{Input: input{Kind: k, Rules: "web"}, Output: output{Word: word}, Call: at(from), Return: at(to),
		Answered: true}
}

func unanswered(k kind, from int) *operation {
	return &operation{Input: input{Kind: k, Rules: "web"}, Call: at(from)}
}

func under(rules string, o *operation) *operation {
	o.Input.Rules = rules
	return o
}

// byEarlier is a call of a service that runs the program from before the stream.
func byEarlier(o *operation) *operation {
	o.Input.Earlier = true
	return o
}

// askedAt is an observation of a token that a call returned which began at that instant.
func askedAt(ms int, o observed) observed {
	o.Asked = began + at(ms)
	return o
}

// acceptedAt and refusedAt are observations of a resource server with a maximum age of a second.
func acceptedAt(asOf, start int) observed {
	return seenBy(observe.Observation{Result: observe.Accepted, AsOf: began + at(asOf), Start: began + at(start),
		End: began + at(start)})
}

func refusedAt(start, end int) observed {
	return seenBy(observe.Observation{Result: observe.Revoked, Start: began + at(start), End: began + at(end)})
}

func seenBy(o observe.Observation) observed {
	o.Token = 1
	return observed{Observation: o, Server: "resource server 0", MaxAge: time.Second}
}

func lenient(o observed) observed {
	o.Accepts = true
	return o
}

// The check finds each violation, and nothing else. The session is issued from 10 to 20 ms unless the history says
// otherwise.
func TestReachTellsRightFromWrong(t *testing.T) {
	born := did(issue, done, 10, 20)
	for _, c := range []struct {
		name  string
		calls []*operation
		seen  []observed
		want  []property
	}{
		{"accepted while it lives", nil, []observed{acceptedAt(50, 60), acceptedAt(5, 60)}, nil},
		{"refused while it lives", nil, []observed{refusedAt(50, 60)}, []property{precision}},
		{"stale is no refusal as revoked", nil, []observed{seenBy(observe.Observation{Result: observe.Stale})}, nil},

		// One refresh token, by its id or by a token string.
		{"accepted as of an instant before the revocation returned", []*operation{did(revoke, done, 100, 200)},
			[]observed{acceptedAt(199, 900)}, nil},
		{"accepted as of its return", []*operation{did(revoke, done, 100, 200)}, []observed{acceptedAt(200, 900)},
			[]property{soundness}},
		{"accepted too late, on an old view", []*operation{did(revoke, done, 100, 200)}, []observed{acceptedAt(150, 1451)},
			[]property{bound}},
		{"accepted within the maximum age and epsilon", []*operation{did(revoke, done, 100, 200)},
			[]observed{acceptedAt(150, 1450)}, nil},
		{"accepted too late by one who accepts on a stale view", []*operation{did(revoke, done, 100, 200)},
			[]observed{lenient(acceptedAt(150, 9000))}, nil},
		{"accepted as of later by one who accepts on a stale view", []*operation{did(revoke, done, 100, 200)},
			[]observed{lenient(acceptedAt(250, 9000))}, []property{soundness}},
		{"both", []*operation{did(revoke, done, 100, 200)}, []observed{acceptedAt(5000, 5001)},
			[]property{soundness, bound}},
		{"refused while the revocation runs", []*operation{did(revoke, done, 100, 200)}, []observed{refusedAt(90, 100)}, nil},
		{"refused before it began", []*operation{did(revoke, done, 100, 200)}, []observed{refusedAt(90, 99)},
			[]property{precision}},
		{"there was nothing to revoke", []*operation{did(revoke, notFound, 100, 200)},
			[]observed{acceptedAt(300, 300), refusedAt(250, 300)}, []property{precision}},

		// Without a response it may have happened, or not, or later.
		{"lost, and accepted", []*operation{unanswered(revoke, 100)}, []observed{acceptedAt(5000, 5000)}, nil},
		{"lost, and refused", []*operation{unanswered(revoke, 100)}, []observed{refusedAt(5000, 5000)}, nil},
		{"lost, and refused before it began", []*operation{unanswered(revoke, 100)}, []observed{refusedAt(80, 90)},
			[]property{precision}},
		{"lost, and later certain", []*operation{unanswered(revoke, 100), did(revoke, done, 300, 400)},
			[]observed{acceptedAt(350, 350), acceptedAt(400, 400)}, []property{soundness}},
		{"lost, and seen by an exchange", []*operation{unanswered(revoke, 100), did(exchange, revoked, 300, 400)},
			[]observed{acceptedAt(350, 350), acceptedAt(400, 400)}, []property{soundness}},
		{"lost, and alive after it can take effect",
			[]*operation{unanswered(revoke, 100), did(exchange, rotated, 40_000, 40_010)},
			[]observed{refusedAt(41_000, 41_000)}, []property{precision}},
		{"lost, alive, and it may still take effect",
			[]*operation{unanswered(revoke, 100), did(exchange, rotated, 500, 510)}, []observed{refusedAt(600, 600)}, nil},
		{"refused, and alive after that", []*operation{unanswered(revoke, 100), did(exchange, rotated, 500, 510)},
			[]observed{refusedAt(400, 450)}, []property{precision}},

		// Wide revocations: of a user, of an application, of both, of a tenant, and the deletion of either.
		{"wide, and it was stored before", []*operation{did(revokeWide, done, 100, 200)}, []observed{acceptedAt(200, 200)},
			[]property{soundness}},
		{"wide, and it was stored meanwhile", []*operation{did(revokeWide, done, 15, 200)},
			[]observed{acceptedAt(300, 300), refusedAt(310, 310)}, nil},
		{"wide, and it was stored meanwhile, and an exchange has seen it",
			[]*operation{did(revokeWide, done, 15, 200), did(exchange, revoked, 300, 310)},
			[]observed{acceptedAt(199, 300), acceptedAt(200, 300)}, []property{soundness}},
		{"wide, lost before it was stored", []*operation{unanswered(revokeWide, 5)},
			[]observed{acceptedAt(300, 300), refusedAt(310, 310)}, nil},
		{"wide, and the application does not exist", []*operation{did(revokeWide, nothingDone, 100, 200)},
			[]observed{acceptedAt(300, 300), refusedAt(310, 310)}, []property{precision}},
		{"a tenant is deleted", []*operation{did(revokeWide, done, 100, 200)},
			[]observed{acceptedAt(150, 160), refusedAt(120, 130), acceptedAt(210, 220)}, []property{soundness}},

		// exceptTokenId.
		{"spared and accepted", []*operation{did(spare, done, 100, 200)}, []observed{acceptedAt(300, 300)}, nil},
		{"spared and refused", []*operation{did(spare, done, 100, 200)}, []observed{refusedAt(300, 300)},
			[]property{precision}},
		{"spared without a response, and refused", []*operation{unanswered(spare, 100)}, []observed{refusedAt(300, 300)},
			[]property{precision}},
		{"spared by a program that does not store the exception, and refused with a token from before",
			[]*operation{byEarlier(did(spare, done, 100, 200))},
			[]observed{askedAt(15, refusedAt(300, 300)), askedAt(199, refusedAt(300, 300))}, nil},
		{"spared by such a program, and refused before that", []*operation{byEarlier(did(spare, done, 100, 200))},
			[]observed{askedAt(15, refusedAt(90, 99))}, []property{precision}},
		{"spared by such a program, and refused with a token of after",
			[]*operation{byEarlier(did(spare, done, 100, 200))}, []observed{askedAt(201, refusedAt(300, 300))},
			[]property{precision}},
		{"spared by such a program, and accepted with a token from before",
			[]*operation{byEarlier(did(spare, done, 100, 200))}, []observed{askedAt(15, acceptedAt(300, 300))}, nil},
		{"not spared by such a program, for another one had ended",
			[]*operation{byEarlier(did(spare, nothingDone, 100, 200))}, []observed{askedAt(15, refusedAt(300, 300))},
			[]property{precision}},
		{"perhaps spared by such a program, without a response", []*operation{byEarlier(unanswered(spare, 100))},
			[]observed{askedAt(15, refusedAt(300, 300))}, nil},
		{"spared, and revoked by the next one", []*operation{did(spare, done, 100, 200), did(revokeWide, done, 300, 400)},
			[]observed{acceptedAt(399, 400), acceptedAt(400, 400)}, []property{soundness}},
		{"another one was to be spared and had ended", []*operation{did(revokeWide, nothingDone, 100, 200)},
			[]observed{acceptedAt(300, 300)}, nil},

		// A replay.
		{"replayed", []*operation{did(exchange, replayed, 100, 200)}, []observed{acceptedAt(199, 200), acceptedAt(200, 200)},
			[]property{soundness}},
		{"replayed, under a policy that tolerates it",
			[]*operation{under("forgiving", did(exchange, replayed, 100, 200))},
			[]observed{acceptedAt(300, 300), refusedAt(310, 310)}, []property{precision}},
		{"an exchange without a response may be a replay", []*operation{unanswered(exchange, 100)},
			[]observed{acceptedAt(300, 300), refusedAt(310, 310)}, nil},
		{"it may not, under a policy that tolerates it", []*operation{under("forgiving", unanswered(exchange, 100))},
			[]observed{refusedAt(310, 310)}, []property{precision}},

		// The limit of a user's refresh tokens.
		{"another login may end it", []*operation{did(login, done, 100, 200)},
			[]observed{acceptedAt(300, 300), refusedAt(310, 310)}, nil},
		{"another login has ended it, as an exchange has seen",
			[]*operation{did(login, done, 100, 200), did(exchange, revoked, 400, 410)},
			[]observed{acceptedAt(199, 300), acceptedAt(200, 300)}, []property{soundness}},
		{"the second login has ended it: the first did not",
			[]*operation{did(login, done, 100, 200), did(exchange, rotated, 220, 230), did(login, done, 300, 400),
				did(exchange, revoked, 500, 510)},
			[]observed{acceptedAt(399, 400), refusedAt(210, 219), acceptedAt(400, 401)}, []property{precision, soundness}},
		{"a login that failed", []*operation{did(login, nothingDone, 100, 200)}, []observed{refusedAt(300, 300)},
			[]property{precision}},

		// Expiry is no revocation.
		{"expired", []*operation{did(exchange, expired, 100, 200)}, []observed{acceptedAt(300, 300), refusedAt(310, 310)},
			[]property{precision}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := &history{ID: "s", Application: "web", Operations: append([]*operation{born}, c.calls...)}
			var got []property
			for _, v := range lifeOf(h, began).check(h.ID, c.seen) {
				got = append(got, v.Property)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("violations of %v, want %v", got, c.want)
			}
		})
	}
}

// A primary that was cut off shows writes that no standby has confirmed, and they are lost.
func TestReachWithAStoreThatForgets(t *testing.T) {
	for _, c := range []struct {
		name  string
		calls []*operation
		seen  []observed
		want  []property
	}{
		{"shown, and forgotten", []*operation{unanswered(revoke, 100), did(exchange, rotated, 500, 510)},
			[]observed{refusedAt(400, 450), acceptedAt(600, 600)}, nil},
		{"an exchange has seen it, and it is forgotten",
			[]*operation{unanswered(revoke, 100), did(exchange, revoked, 200, 210), did(exchange, rotated, 500, 510)},
			[]observed{acceptedAt(600, 600)}, nil},
		{"confirmed", []*operation{did(revoke, done, 100, 200)}, []observed{acceptedAt(200, 300)}, []property{soundness}},
		{"never begun", nil, []observed{refusedAt(400, 450)}, []property{precision}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := lifeOf(&history{Operations: append([]*operation{did(issue, done, 10, 20)}, c.calls...)}, began)
			l.Forgets = true
			var got []property
			for _, v := range l.check("s", c.seen) {
				got = append(got, v.Property)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("violations of %v, want %v", got, c.want)
			}
		})
	}
}

// seenAt is an observation at an instant: the calls of a story are at 0, 2, 4 and so on, for one.
func seenAt(n time.Duration, r observe.Result) observed {
	return seenBy(observe.Observation{Result: r, Start: n, End: n, AsOf: n})
}

// The model of a refresh token decides too, where clocks differ by as little as it assumes: it knows more, such as what
// an exchange has seen.
func TestReachInTheModel(t *testing.T) {
	revokedOne := story{issued("web", 100), call("web", revoke, 0, 101, output{Word: done})}
	for _, c := range []struct {
		name  string
		story story
		seen  []observed
		want  property
	}{
		{"nothing seen", revokedOne, nil, ""},
		{"accepted before, refused after", revokedOne,
			[]observed{seenAt(1, observe.Accepted), seenAt(4, observe.Revoked)}, ""},
		{"accepted after", revokedOne, []observed{seenAt(4, observe.Accepted)}, soundness},
		{"refused before", revokedOne, []observed{seenAt(1, observe.Revoked)}, precision},
		{"accepted as of an instant before the issue", story{issued("web", 100)},
			[]observed{seenAt(-1, observe.Accepted)}, ""},
		{"lost, and seen by an exchange", story{issued("web", 100), lost(call("web", revoke, 0, 101, output{})),
			refused("web", 1, 102, revoked)}, []observed{seenAt(6, observe.Accepted)}, soundness},
		{"lost, and accepted", story{issued("web", 100), lost(call("web", revoke, 0, 101, output{}))},
			[]observed{seenAt(6, observe.Accepted)}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.story.tellTime()
			h := &history{Application: "web"}
			for i := range c.story {
				o := c.story[i]
				o.Call, o.Return = time.Duration(2*i), time.Duration(2*i+1)
				h.Operations = append(h.Operations, &o)
			}
			got, err := h.reachInModel(model(testRules), 0, c.seen, time.Minute)
			if err != nil || got != c.want {
				t.Errorf("breaks %q, %v, want %q", got, err, c.want)
			}
		})
	}
}

func TestReachTime(t *testing.T) {
	revoked := lifeOf(&history{Operations: []*operation{did(issue, done, 10, 20), did(revoke, done, 100, 200)}}, began)
	for _, c := range []struct {
		name   string
		seen   []observed
		want   time.Duration
		wantOK bool
		checks int
	}{
		{"later", []observed{acceptedAt(50, 60), acceptedAt(150, 250), refusedAt(260, 270), refusedAt(280, 290)},
			at(70), true, 3},
		{"before it returned", []observed{acceptedAt(50, 60), refusedAt(160, 170)}, 0, true, 0},
		{"not closely", []observed{acceptedAt(150, 250), refusedAt(360, 370)}, 0, false, 2},
		{"never accepted", []observed{refusedAt(260, 270)}, 0, false, 1},
		{"never refused", []observed{acceptedAt(50, 60)}, 0, false, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, ok := revoked.reachTime(c.seen)
			if ok != c.wantOK || ok && got != c.want {
				t.Errorf("reachTime() = %s, %t, want %s, %t", got, ok, c.want, c.wantOK)
			}
			if n := revoked.checksOfRevoked(c.seen); n != c.checks {
				t.Errorf("checksOfRevoked() = %d, want %d", n, c.checks)
			}
		})
	}
	if _, ok := (life{}).reachTime([]observed{acceptedAt(1, 1), refusedAt(2, 2)}); ok {
		t.Error("a session that is not revoked has a time of reach")
	}
}
