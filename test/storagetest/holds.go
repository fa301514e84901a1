package storagetest

import (
	"context"
	"math"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// Holds is for a store whose calls lock records. hold locks a record in the database of s, as another call would, until
// it is released.
func Holds(hold func(s port.Store, what Held) (release func())) Option { return Option{holding(hold)} }

// Held names the record that is locked. One of its fields is set.
type Held struct {
	Token domain.ID    // a refresh token
	Mark  domain.Scope // the mark of a scope
	Head  bool         // the record of the last position, as a Stamp in progress locks it
}

const (
	holdsRecord = "Holds/Stamp/skips what another call has locked, and stamps the others"
	holdsHead   = "Holds/Stamp/does nothing while another one is in progress"
)

// patience is far longer than a Stamp takes that waits for nothing.
const patience = 20 * time.Second

func holding(hold func(s port.Store, what Held) (release func())) []clause {
	revoke := func(e *env) (all []domain.Fact) {
		e.shop(domain.Settings{})
		for _, t := range e.issue(token(1), token(2)) {
			e.must(e.store.Revoke(e.Context(), "acme", t.ID, byRequest(t0), NewEvent()))
			all = append(all, sessionFact(t))
		}
		for _, user := range []string{"bob", "cem"} {
			s := domain.Scope{TenantID: "acme", UserID: user}
			all = append(all, markFact(s, e.revokeScope(s, domain.ID{}, t0), domain.ID{}))
		}
		return all
	}
	stamp := func(e *env, what string) int {
		e.Helper()
		ctx, cancel := context.WithTimeout(e.Context(), patience)
		defer cancel()
		n, err := e.store.Stamp(ctx, t0, 10)
		if err != nil {
			e.Errorf("%s: Stamp: got error %v, want none: it waited", what, err)
		}
		return n
	}
	return []clause{
		{holdsRecord, func(e *env) {
			all := revoke(e)
			e.wantFacts("nothing is stamped", math.MaxInt64, all...)
			for i, what := range []Held{{Token: all[0].SessionID}, {Mark: scopeOf(all[2])}} {
				release := hold(e.handle(), what)
				if n := stamp(e, "one is locked"); n != 2-i {
					e.Errorf("one is locked: %d stamped, want %d", n, 2-i)
				}
				left := all[2*i]
				e.wantFacts("one is locked: what is not stamped", math.MaxInt64, left)
				if n := stamp(e, "one is locked still"); n != 0 {
					e.Errorf("one is locked still: %d stamped, want none", n)
				}
				_, head := e.facts(0)
				release()
				if n := stamp(e, "released"); n != 1 {
					e.Errorf("released: %d stamped, want 1", n)
				}
				e.wantFacts("released: what is above the earlier head", head, left)
				if i == 0 { // all are stamped: the marks become facts again
					for j := range all[2:] {
						s := scopeOf(all[2+j])
						all[2+j] = markFact(s, e.revokeScope(s, domain.ID{}, t0), domain.ID{})
					}
				}
			}
		}},

		{holdsHead, func(e *env) {
			all := revoke(e)
			release := hold(e.handle(), Held{Head: true})
			if n := stamp(e, "another one is in progress"); n != 0 {
				e.Errorf("another one is in progress: %d stamped, want none", n)
			}
			e.wantFacts("nothing is stamped", math.MaxInt64, all...)
			release()
			if n := stamp(e, "the other one has ended"); n != 2 {
				e.Errorf("the other one has ended: %d stamped, want 2", n)
			}
			e.wantFacts("everything is stamped", math.MaxInt64)
		}},
	}
}
