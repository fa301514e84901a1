package storagetest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

const (
	factSteps     = 400
	factReaders   = 3
	factRevokers  = 3
	factStampers  = 2
	factsRevoked  = 30 // by each revoker, at least
	factStamps    = 60 // until then revokers continue, within limits: in memory they are fast
	factsOfAStamp = 20 // at most
)

// revocations is what happened: the facts of revocations that returned. A mark replaces that of its scope.
type revocations struct {
	sessions map[domain.ID]domain.Fact
	marks    map[domain.Scope]domain.Fact
}

func newRevocations() revocations {
	return revocations{make(map[domain.ID]domain.Fact), make(map[domain.Scope]domain.Fact)}
}

func scopeOf(f domain.Fact) domain.Scope {
	return domain.Scope{TenantID: f.TenantID, ApplicationID: f.ApplicationID, UserID: f.UserID}
}

func (r revocations) add(f domain.Fact) {
	f.Position = 0
	if f.Epoch == 0 {
		r.sessions[f.SessionID] = f
	} else if r.marks[scopeOf(f)].Epoch <= f.Epoch {
		r.marks[scopeOf(f)] = f
	}
}

// covers reports whether r contains f, or the mark of a later revocation of its scope.
func (r revocations) covers(f domain.Fact) bool {
	if f.Epoch == 0 {
		return r.sessions[f.SessionID] == f
	}
	known := r.marks[scopeOf(f)]
	return known.Epoch > f.Epoch || known == f
}

// factReader is a reader with a cursor, and what it knows.
type factReader struct {
	port.Reach
	known  revocations
	cursor domain.Position
}

// read returns the facts that were new to the reader.
func (r *factReader) read(e *env) ([]domain.Fact, error) {
	all, head, err := factsIn(e, r, r.cursor)
	for i := range all {
		all[i].Position = 0
		r.known.add(all[i])
	}
	r.cursor = head
	return all, err
}

// revoker revokes in random ways. Its users and its application are its own, so that it knows what a call revokes.
type revoker struct {
	*env
	store  port.Store
	random *rand.Rand
	name   string
	next   int               // the number of the next refresh token
	epochs map[string]uint64 // of its own tenant, which it deletes; the others share theirs
}

func (e *env) revoker(n int, s port.Store, random *rand.Rand) *revoker {
	r := &revoker{
		env: e, store: s, random: random, name: fmt.Sprint("revoker ", n), next: 1 + n<<16, epochs: make(map[string]uint64),
	}
	e.application("acme", r.name, noGrace())
	e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: r.tenant()}))
	e.application(r.tenant(), r.name, domain.Settings{})
	return r
}

// tenant is the id of the tenant that the revoker alone uses.
func (r *revoker) tenant() string { return fmt.Sprint("own-", r.next>>16) }

func (r *revoker) insert(tenantID, userID string) (domain.RefreshToken, error) {
	t := tokenOf(r.next, tenantID, r.name, userID)
	r.next++
	return r.store.Insert(r.Context(), t)
}

// revoke does one revocation, by a clock that may be off, and returns its fact.
func (r *revoker) revoke() (domain.Fact, error) {
	at := t0.Add(time.Duration(r.random.IntN(7200)-3600) * time.Second)
	own := domain.Scope{TenantID: "acme", ApplicationID: r.name, UserID: r.name}
	switch kind := r.random.IntN(12); kind {
	case 0: // one of the two goes
		user := fmt.Sprint(r.name, " ", r.next)
		first, err := r.insert("acme", user)
		if err != nil {
			return domain.Fact{}, err
		}
		if _, err = r.insert("acme", user); err != nil {
			return domain.Fact{}, err
		}
		s := domain.Scope{TenantID: "acme", ApplicationID: r.name, UserID: user}
		return sessionFact(first), r.store.KeepNewest(r.Context(), s, 1, byRequest(at), NewEvent())
	case 1, 2:
		before, err := r.insert("acme", r.name)
		if err != nil {
			return domain.Fact{}, err
		}
		after := before
		after.RevokedAt, after.RevokedReason = at, domain.RevokedByReplay
		return sessionFact(before), r.store.Swap(r.Context(), before, after, at, NewEvent())
	case 3, 4, 5:
		var except domain.ID
		if kind == 3 {
			t, err := r.insert("acme", r.name)
			if err != nil {
				return domain.Fact{}, err
			}
			except = t.ID
		}
		if kind == 5 {
			own.UserID = ""
		}
		epoch, err := r.store.RevokeScope(r.Context(), own, except, byRequest(at), NewEvent())
		return markFact(own, epoch, except), err
	case 6: // of its own tenant, so that it knows the epoch
		tenant := r.tenant()
		err := DeleteApplication(r.Context(), r.store, tenant, r.name, at)
		if err == nil {
			err = SaveApplication(r.Context(), r.store, domain.Application{TenantID: tenant, ID: r.name})
		}
		r.epochs[tenant]++
		return markFact(domain.Scope{TenantID: tenant, ApplicationID: r.name}, r.epochs[tenant], domain.ID{}), err
	case 7:
		tenant := r.tenant()
		err := DeleteTenant(r.Context(), r.store, tenant, at)
		if err == nil {
			err = SaveTenant(r.Context(), r.store, domain.Tenant{ID: tenant},
				domain.Application{TenantID: tenant, ID: r.name})
		}
		r.epochs[tenant]++
		return markFact(domain.Scope{TenantID: tenant}, r.epochs[tenant], domain.ID{}), err
	default:
		t, err := r.insert("acme", r.name)
		if err != nil {
			return domain.Fact{}, err
		}
		return sessionFact(t), r.store.Revoke(r.Context(), "acme", t.ID, byRequest(at), NewEvent())
	}
}

// runFactHistory runs revocations, stamps and reads one after another, in random order. So it knows exactly what each
// read may return.
func runFactHistory(e *env, random *rand.Rand) {
	e.shop(domain.Settings{})
	hs := e.handles(factReaders)
	happened := newRevocations()
	revoking := e.revoker(1, hs[0], random)
	readers := make([]*factReader, factReaders)
	for i := range readers {
		readers[i] = &factReader{Reach: hs[i], known: newRevocations()}
	}
	for range factSteps {
		switch i := random.IntN(factReaders); random.IntN(8) {
		case 0, 1, 2:
			f, err := revoking.revoke()
			e.must(err)
			happened.add(f)
		case 3, 4:
			now := t0.Add(time.Duration(random.IntN(7200)-3600) * time.Second)
			_, err := readers[i].Stamp(e.Context(), now, 1+random.IntN(4))
			e.must(err)
		case 5: // a new reader
			readers[i].known, readers[i].cursor = newRevocations(), 0
			fallthrough
		default:
			r := readers[i]
			if random.IntN(8) == 0 { // it resumes from before
				r.cursor -= min(r.cursor, domain.Position(random.IntN(int(time.Hour/time.Microsecond))))
			}
			got, err := r.read(e)
			e.must(err)
			for _, f := range got {
				if f.Epoch == 0 && happened.sessions[f.SessionID] != f || f.Epoch > 0 && happened.marks[scopeOf(f)] != f {
					e.Fatalf("a read returned %+v, which did not happen, or not last", f)
				}
			}
			e.wantSame("the sessions that the reader knows", r.known.sessions, happened.sessions)
			e.wantSame("the marks that the reader knows", r.known.marks, happened.marks)
		}
	}
	all, head := e.facts(0)
	for _, f := range all {
		if f.Position > head || f.Position < 0 {
			e.Errorf("%+v has a position that is not within the head, %d", f, head)
		}
	}
	if _, again := e.facts(math.MaxInt64); again != head {
		e.Errorf("the head is %d, and then %d", head, again)
	}
}

// raceFacts runs revokers, stampers and readers concurrently. A reader must know each fact of which the revocation had
// returned before its call. What returns during the call may be in its result or not.
//
// Readers and stampers wait for some revocations each time. A reader that never waits would see nearly every fact
// before its stamp, which shows little.
func raceFacts(e *env, random *rand.Rand) {
	e.shop(domain.Settings{})
	hs := e.handles(4)
	var log revocationLog
	log.grew.L = &log.mu
	revokers := make([]*revoker, factRevokers)
	for i := range revokers {
		revokers[i] = e.revoker(i+1, hs[i%len(hs)], rand.New(rand.NewPCG(random.Uint64(), 0)))
	}
	log.revokers = len(revokers)
	seeds := make([]uint64, factStampers+factReaders)
	for i := range seeds {
		seeds[i] = random.Uint64()
	}
	together(factRevokers+factStampers+factReaders, func(i int) {
		s := hs[i%len(hs)]
		if i < factRevokers {
			defer log.end()
			for n := 0; n < factsRevoked || n < 10*factsRevoked && !log.isStamped(); n++ {
				f, err := revokers[i].revoke()
				if err != nil {
					e.Errorf("a revocation: got error %v, want none", err)
					return
				}
				log.add(f)
			}
			return
		}
		own := rand.New(rand.NewPCG(seeds[i-factRevokers], 0))
		r := factReader{Reach: s, known: newRevocations()}
		for seen, ended := 0, false; !ended; {
			var before []domain.Fact
			before, ended = log.wait(seen + own.IntN(4))
			if i < factRevokers+factStampers {
				now := t0.Add(time.Duration(own.IntN(2000)-1000) * time.Millisecond)
				if _, err := s.Stamp(e.Context(), now, 1+own.IntN(factsOfAStamp)); err != nil {
					e.Errorf("Stamp: got error %v, want none", err)
					return
				}
				log.stamped()
			} else if !r.readsAll(e, before[seen:]) {
				return
			}
			seen = len(before)
		}
	})
}

// readsAll reads, and checks that the reader then knows those facts.
func (r *factReader) readsAll(e *env, want []domain.Fact) bool {
	if _, err := r.read(e); err != nil {
		e.Errorf("Revoked: got error %v, want none", err)
		return false
	}
	for _, f := range want {
		if !r.known.covers(f) {
			e.Errorf("a reader with cursor %d does not know %+v, of which the revocation had returned", r.cursor, f)
			return false
		}
	}
	return true
}

// revocationLog holds the facts of the revocations that have returned.
type revocationLog struct {
	mu       sync.Mutex
	grew     sync.Cond
	facts    []domain.Fact
	revokers int // that have not ended
	stamps   int
}

func (l *revocationLog) add(f domain.Fact) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.facts = append(l.facts, f)
	l.grew.Broadcast()
}

func (l *revocationLog) stamped() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stamps++
}

// isStamped reports whether there were enough stamps beside the revocations.
func (l *revocationLog) isStamped() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stamps >= factStamps
}

// end records that a revoker has ended.
func (l *revocationLog) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.revokers--
	l.grew.Broadcast()
}

// wait returns the log when it has n facts, or when all revokers have ended.
func (l *revocationLog) wait(n int) (facts []domain.Fact, ended bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.facts) < n && l.revokers > 0 {
		l.grew.Wait()
	}
	return l.facts, l.revokers == 0
}
