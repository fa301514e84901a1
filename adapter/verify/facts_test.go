package verify

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// model is the table, as plainly as it can be written: lists of facts, each with the earliest and the latest instant
// that the table may take for that of its receipt.
type model struct {
	sessions map[[16]byte]*modelFact
	scopes   map[[2]string]*modelScope
	keys     map[string]bool
	keep     time.Duration
}

type modelFact struct {
	earliest, latest time.Duration
	old              bool // the table may have dropped it
}

type modelScope struct {
	modelFact
	marks []modelMark
}

type modelMark struct {
	mark
	old bool
}

func (m *model) addSession(id [16]byte, now time.Duration) {
	if f := m.sessions[id]; f == nil {
		m.sessions[id] = &modelFact{now, now, false}
	} else if f.old {
		f.latest, f.old = now, false
	}
}

func (m *model) addMark(f mark, now time.Duration) {
	scope := m.scopes[[2]string{f.application, f.user}]
	if scope == nil {
		scope = &modelScope{}
		scope.earliest = now
		m.scopes[[2]string{f.application, f.user}] = scope
	}
	raised, known := true, -1
	for i, other := range scope.marks {
		raised = raised && f.epoch > other.epoch
		if f.epoch == other.epoch {
			known = i
		}
	}
	if raised {
		scope.earliest = now
	}
	if known < 0 {
		scope.marks = append(scope.marks, modelMark{f, false})
		scope.latest = now
	} else if scope.marks[known].old {
		scope.marks[known].old = false
		scope.latest = now
	}
}

func (m *model) expire(now time.Duration) {
	for id, f := range m.sessions {
		f.old = f.old || now-f.earliest > m.keep
		if now-f.latest > m.keep+2*time.Minute {
			delete(m.sessions, id)
		}
	}
	for name, scope := range m.scopes {
		for i := range scope.marks {
			scope.marks[i].old = scope.marks[i].old || now-scope.earliest > m.keep
		}
		if now-scope.latest > m.keep+2*time.Minute {
			delete(m.scopes, name)
		}
	}
}

// covers reports whether a fact covers s: one that the table must still have, or also one that it may have.
func (m *model) covers(s *subject, orOld bool) bool {
	for _, id := range [][16]byte{s.sid, s.rsid} {
		if f := m.sessions[id]; f != nil && (orOld || !f.old) {
			return true
		}
	}
	for _, name := range [][2]string{{}, {s.application}, {"", s.user}, {s.application, s.user}} {
		if m.scopes[name] == nil {
			continue
		}
		for _, f := range m.scopes[name].marks {
			if s.epoch < f.epoch && f.except != s.sid && (orOld || !f.old) {
				return true
			}
		}
	}
	return m.keys[s.kid]
}

func someID(r *rand.Rand, of int) (id [16]byte) {
	n := r.IntN(of) + 1
	// Ids that differ in a few bits only, in every part of them.
	binary.BigEndian.PutUint64(id[:8], uint64(n%7)<<61|uint64(n%5))
	binary.BigEndian.PutUint64(id[8:], uint64(n%11+1)<<32|uint64(n/11))
	return id
}

func someScope(r *rand.Rand) (application, user string) {
	if r.IntN(2) == 0 {
		application = fmt.Sprint("x", r.IntN(4))
	}
	if r.IntN(2) == 0 {
		user = fmt.Sprint("x", r.IntN(4)) // the same names as those of applications
	}
	return application, user
}

// P1 and P3: a table refuses exactly what the facts cover, whatever their order, and forgets none before its time, also
// while it grows and drops others.
func TestATableRefusesWhatItsFactsCover(t *testing.T) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 1))
		facts := newTable(1 << 20)
		m := model{
			sessions: map[[16]byte]*modelFact{}, scopes: map[[2]string]*modelScope{}, keys: map[string]bool{},
			keep: 5 * time.Minute,
		}
		// A process that has been up for so long that minutes wrap around.
		now := time.Duration(r.IntN(1<<16))*time.Minute + time.Duration(r.IntN(60))*time.Second
		at := func() minute { return minute(now / time.Minute) }
		ids := 1 << (4 + r.IntN(8))
		for step := range 3000 {
			switch n := r.IntN(1000); {
			case n < 500:
				id := someID(r, ids)
				if _, err := facts.addSession(id, at()); err != nil {
					t.Fatal(err)
				}
				m.addSession(id, now)
			case n < 520:
				f := mark{epoch: uint64(r.IntN(12)) + 1, at: at()}
				f.application, f.user = someScope(r)
				if f.epoch%2 == 0 {
					// The same session each time: the service gives an epoch to one revocation.
					f.except = someID(rand.New(rand.NewPCG(f.epoch, seed)), ids)
				}
				if _, err := facts.addMark(f); err != nil {
					t.Fatal(err)
				}
				m.addMark(f, now)
			case n < 522:
				kid := fmt.Sprint("key", r.IntN(40))
				if _, err := facts.addKey(kid, at()); err != nil {
					t.Fatal(err)
				}
				m.keys[kid] = true
			case n < 530:
				now += time.Duration(r.IntN(100)) * time.Second
				facts.expire(at(), m.keep)
				m.expire(now)
			case n < 531:
				m.keep += time.Duration(r.IntN(100)) * time.Second
			default:
				s := subject{sid: someID(r, ids), epoch: uint64(r.IntN(13)), kid: fmt.Sprint("key", r.IntN(4000))}
				s.application, s.user = someScope(r)
				if r.IntN(4) == 0 {
					s.rsid, s.hasRoot = someID(r, ids), true
				}
				got := facts.revoked(&s)
				if !got && m.covers(&s, false) {
					t.Fatalf("seed %d, step %d: a fact is lost: %+v is not refused", seed, step, s)
				}
				if got && !m.covers(&s, true) {
					t.Fatalf("seed %d, step %d: %+v is refused, and no fact covers it", seed, step, s)
				}
			}
		}
		total := 0
		facts.sessions.Load().each(func([16]byte, minute) { total++ })
		facts.marks.Load().each(func(*mark) { total++ })
		if facts.tenant.Load() != nil {
			total++
		}
		if total += len(*facts.keys.Load()); int64(total) != facts.count.Load() {
			t.Fatalf("seed %d: got a count of %d for %d facts", seed, facts.count.Load(), total)
		}
	}
}

// P1: what was added before a read began is found by it, also while the table grows, drops old facts and gets others.
func TestReadersSeeWhatWasAddedBeforeTheyBegan(t *testing.T) {
	const sessions, marks = 12_000, 1_200
	facts := newTable(1 << 20)
	id := func(i uint64) (id [16]byte) {
		binary.BigEndian.PutUint64(id[:8], i>>3)
		binary.BigEndian.PutUint64(id[8:], i*0x9e3779b97f4a7c15|1)
		return id
	}
	names := make([]string, marks)
	for i := range names {
		names[i] = fmt.Sprint("user", i)
	}
	var oldest, newest, marked atomic.Uint64 // what is in the table: from oldest to before newest
	var readers sync.WaitGroup
	done := make(chan struct{})
	for n := range uint64(2) {
		readers.Go(func() {
			r := rand.New(rand.NewPCG(n, 2))
			for {
				select {
				case <-done:
					return
				default:
				}
				if end, begin := newest.Load(), oldest.Load(); begin < end {
					i := begin + r.Uint64N(end-begin)
					if r.IntN(2) == 0 {
						i = end - 1
					}
					s := subject{sid: id(i)}
					if !facts.revoked(&s) && oldest.Load() <= i {
						t.Errorf("session %d is lost", i)
						return
					}
				}
				if end := marked.Load(); end > 0 {
					i := r.Uint64N(end)
					s := subject{sid: id(sessions + 1), user: names[i], epoch: 1}
					if !facts.revoked(&s) {
						t.Errorf("mark %d is lost", i)
						return
					}
				}
				s := subject{sid: id(sessions + 1 + r.Uint64N(1000)), user: "nobody", application: "nothing"}
				if facts.revoked(&s) {
					t.Error("a session is refused that no fact covers")
					return
				}
			}
		})
	}
	for i := range uint64(sessions) {
		// Ten minutes after each 1 200 sessions, the earlier ones are dropped. The marks are raised, so they stay.
		now := minute(10 * (i / 4000))
		if i%1200 == 0 && i > 0 {
			for k := range i / 10 {
				if _, err := facts.addMark(mark{user: names[k], epoch: 2 + i, at: now}); err != nil {
					t.Fatal(err)
				}
			}
			oldest.Store(i)
			facts.expire(now, time.Minute)
		}
		if _, err := facts.addSession(id(i), now); err != nil {
			t.Fatal(err)
		}
		newest.Store(i + 1)
		if i%10 == 0 {
			if _, err := facts.addMark(mark{user: names[i/10], epoch: 2 + i, at: now}); err != nil {
				t.Fatal(err)
			}
			marked.Store(i/10 + 1)
		}
		if i%64 == 0 {
			runtime.Gosched()
		}
	}
	close(done)
	readers.Wait()
}

// P3: no session is taken for another one. Ids that share a part are as different as all others.
func TestNoSessionIsTakenForAnother(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	const shared = 0x8123456789abcdef
	id := func(first, last uint64) (id [16]byte) {
		binary.BigEndian.PutUint64(id[:8], first)
		binary.BigEndian.PutUint64(id[8:], last)
		return id
	}
	for name, make := range map[string]func() [16]byte{
		"random":                   func() [16]byte { return id(r.Uint64(), r.Uint64()|1) },
		"the last half is shared":  func() [16]byte { return id(r.Uint64(), shared) },
		"the first half is shared": func() [16]byte { return id(shared, r.Uint64()|1) },
		"bytes 8 to 11 are shared": func() [16]byte { return id(7, shared>>32<<32|r.Uint64()>>32) },
		"bytes 12 to 15 are shared": func() [16]byte {
			return id(7, shared<<32>>32|r.Uint64()<<32)
		},
	} {
		facts := newTable(1 << 20)
		known := map[[16]byte]bool{}
		for range 100_000 {
			id := make()
			if _, err := facts.addSession(id, 0); err != nil {
				t.Fatal(err)
			}
			known[id] = true
		}
		for range 300_000 {
			s := subject{sid: make()}
			if got, want := facts.revoked(&s), known[s.sid]; got != want {
				t.Fatalf("%s: got %t, want %t for %x", name, got, want, s.sid)
			}
		}
	}
}

// P1: a mark covers a session that it spares if an earlier one covered it, in whatever order they arrive.
func TestAnExceptionIsFromOneMark(t *testing.T) {
	spared, other := [16]byte{15: 1}, [16]byte{15: 2}
	first := mark{user: "u", epoch: 5}
	second := mark{user: "u", epoch: 7, except: spared}
	third := mark{user: "u", epoch: 9, except: spared}
	for _, order := range [][]mark{{first, second, third}, {third, second, first}, {second, third, first, second}} {
		facts := newTable(10)
		for _, m := range order {
			if _, err := facts.addMark(m); err != nil {
				t.Fatal(err)
			}
		}
		for _, tc := range []struct {
			sid   [16]byte
			epoch uint64
			want  bool
		}{
			{spared, 4, true}, {spared, 5, false}, {spared, 8, false}, {spared, 9, false},
			{other, 4, true}, {other, 8, true}, {other, 9, false},
		} {
			s := subject{sid: tc.sid, user: "u", application: "a", epoch: tc.epoch}
			if got := facts.revoked(&s); got != tc.want {
				t.Errorf("after %v, session %x of epoch %d: got %t, want %t", order, tc.sid[15], tc.epoch, got, tc.want)
			}
		}
	}
}

// The view must not be incomplete in silence.
func TestATableRefusesMoreThanMaxFacts(t *testing.T) {
	facts := newTable(3)
	_, one := facts.addSession([16]byte{15: 1}, 1)
	_, two := facts.addMark(mark{user: "u", epoch: 1, at: 2})
	_, three := facts.addKey("k", 3)
	if one != nil || two != nil || three != nil {
		t.Fatal(one, two, three)
	}
	for range 2 {
		_, session := facts.addSession([16]byte{15: 2}, 4)
		_, user := facts.addMark(mark{user: "v", epoch: 1, at: 4})
		_, tenant := facts.addMark(mark{epoch: 1, at: 4})
		_, key := facts.addKey("l", 4)
		for _, err := range []error{session, user, tenant, key} {
			if !errors.Is(err, errFull) {
				t.Errorf("got %v, want %v", err, errFull)
			}
		}
	}
	_, one = facts.addSession([16]byte{15: 1}, 4)
	_, two = facts.addMark(mark{user: "u", epoch: 2, at: 4})
	_, three = facts.addKey("k", 4)
	if one != nil || two != nil || three != nil {
		t.Errorf("facts that are known, or raised, are refused: %v, %v, %v", one, two, three)
	}
	if facts.expire(4, 2*time.Minute); facts.count.Load() != 2 {
		t.Errorf("got %d facts after the session is old, want 2", facts.count.Load())
	}
	if _, err := facts.addSession([16]byte{15: 2}, 4); err != nil {
		t.Errorf("got %v, although an old fact was dropped", err)
	}
}

// Each key that was ended is kept for good, and copied with the others: a stream of them must not fill the memory, or
// keep the stream busy for minutes.
func TestTheNumberOfEndedKeysIsBounded(t *testing.T) {
	facts := newTable(1 << 20)
	for n := range maxKeys {
		if _, err := facts.addKey(fmt.Sprint(n), 0); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := facts.addKey("one more", 0); !errors.Is(err, errFull) {
		t.Errorf("one more: got %v, want %v", err, errFull)
	}
	if added, err := facts.addKey("0", 0); added || err != nil {
		t.Errorf("one that is known: got %t, %v", added, err)
	}
}

// fill adds sessions, and marks of users and of users within applications.
func fill(t testing.TB, facts *table, sessions, marks int) {
	r := rand.New(rand.NewPCG(4, 4))
	for range sessions {
		if _, err := facts.addSession(randomID(r), 0); err != nil {
			t.Fatal(err)
		}
	}
	for i := range marks {
		m := mark{user: userName(i), epoch: 5}
		if i%2 == 0 {
			m.application = fmt.Sprint("application", i%20)
		}
		if _, err := facts.addMark(m); err != nil {
			t.Fatal(err)
		}
	}
	if marks > 0 {
		for _, m := range []mark{{epoch: 2}, {application: "application1", epoch: 3}} {
			if _, err := facts.addMark(m); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func userName(i int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", i) }

func randomID(r *rand.Rand) (id [16]byte) {
	binary.BigEndian.PutUint64(id[:8], r.Uint64())
	binary.BigEndian.PutUint64(id[8:], r.Uint64()>>2|1<<63)
	return id
}

func randomSubjects(n int) []subject {
	r := rand.New(rand.NewPCG(5, 5))
	all := make([]subject, n)
	for i := range all {
		all[i] = subject{
			sid: randomID(r), application: fmt.Sprint("application", r.IntN(40)), user: userName(r.IntN(1_000_000)),
			epoch: 5, kid: "key",
		}
	}
	return all
}

func TestACheckAllocatesNothing(t *testing.T) {
	facts := newTable(1 << 20)
	fill(t, facts, 10_000, 1_000)
	if _, err := facts.addKey("another", 0); err != nil {
		t.Fatal(err)
	}
	all := randomSubjects(1000)
	for i := range all {
		all[i].rsid, all[i].hasRoot = all[i].sid, true
	}
	i := 0
	got := testing.AllocsPerRun(10_000, func() {
		facts.revoked(&all[i%len(all)])
		i++
	})
	if got != 0 {
		t.Errorf("got %v allocations a check, want 0", got)
	}
}

// A session needs at most 32 bytes, whatever their number is, and twice that while the table is rebuilt.
func TestMemoryOfASession(t *testing.T) {
	const each = 18 // bytes of a slot
	const many = 300_000
	facts := newTable(1 << 22)
	r := rand.New(rand.NewPCG(6, 6))
	worst := 0.0
	for n := 1; n <= many; n++ {
		if _, err := facts.addSession(randomID(r), 0); err != nil {
			t.Fatal(err)
		}
		if n < 10_000 {
			continue // the slots of an empty table count
		}
		worst = max(worst, float64(len(facts.sessions.Load().slots)*each)/float64(n))
	}
	t.Logf("at most %.1f bytes a session", worst)
	if worst > 32 {
		t.Errorf("got %.1f bytes a session, want at most 32", worst)
	}
	before := heap()
	rebuilt := facts.sessions.Load().rebuilt(many, func(minute) bool { return true })
	got := float64(heap()-before) / many
	runtime.KeepAlive(rebuilt)
	runtime.KeepAlive(facts)
	t.Logf("a second table of %d sessions: %.1f bytes a session on the heap", many, got)
	if got > 32 {
		t.Errorf("got %.1f bytes a session on the heap, want at most 32", got)
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func BenchmarkRevoked(b *testing.B) {
	for _, size := range []struct{ sessions, marks int }{
		{12_000, 0}, {12_000, 1_000}, {1_200_000, 0}, {1_200_000, 100_000},
	} {
		facts := newTable(1 << 23)
		fill(b, facts, size.sessions, size.marks)
		all := randomSubjects(1 << 16)
		for _, writing := range []bool{false, true} {
			b.Run(fmt.Sprintf("sessions=%d/marks=%d/writing=%t", size.sessions, size.marks, writing), func(b *testing.B) {
				done := make(chan struct{})
				var writer sync.WaitGroup
				if writing {
					writer.Go(func() {
						r := rand.New(rand.NewPCG(7, 7))
						for {
							select {
							case <-done:
								return
							default:
							}
							for range 10 {
								if _, err := facts.addSession(randomID(r), 0); err != nil {
									return
								}
							}
							time.Sleep(time.Millisecond) // ten thousand a second, ten times a storm
						}
					})
				}
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					facts.revoked(&all[i&(len(all)-1)])
					i++
				}
				b.StopTimer()
				close(done)
				writer.Wait()
			})
		}
	}
}
