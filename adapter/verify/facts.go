package verify

import (
	"encoding/binary"
	"errors"
	"hash/maphash"
	"maps"
	"math/bits"
	"sync/atomic"
	"time"
)

// subject is what of a token decides whether a fact covers it.
type subject struct {
	sid, rsid         [16]byte
	hasRoot           bool // whether rsid is set
	application, user string
	epoch             uint64
	kid               string
}

// maxKeys bounds the signing keys that were ended. One that was ended is never dropped, and each addition copies all.
const maxKeys = 1000

// errFull is returned for a fact that the table has no room for.
var errFull = errors.New("more facts than MaxFacts, or more than 1000 keys that were ended")

// table holds the facts. Readers call revoked, which takes no lock and allocates nothing. The methods that change the
// table need a lock of their caller's: there is one writer. What a writer has added is found by every read that starts
// later, also while the table grows or drops old facts: the writer does both itself, in between two additions, and
// publishes the new set when it is whole.
type table struct {
	max      int // facts
	seed     maphash.Seed
	sessions atomic.Pointer[sessionSet]
	marks    atomic.Pointer[markSet]
	tenant   atomic.Pointer[mark]              // of the whole tenant; nil if there is none
	keys     atomic.Pointer[map[string]minute] // never changed in place: keys end rarely
	count    atomic.Int64                      // sessions, marks and keys
}

// minute is an instant in minutes, modulo 2^16. The difference of two minutes is their age, as long as it is below 45
// days; maximumKeep makes sure that it is.
type minute uint16

const maximumKeep = 30 * 24 * time.Hour

func newTable(maximum int) *table {
	t := &table{max: maximum, seed: maphash.MakeSeed()}
	t.sessions.Store(newSessionSet(t.seed, 0))
	t.marks.Store(newMarkSet(0))
	t.keys.Store(&map[string]minute{})
	return t
}

// revoked reports whether a fact covers s.
func (t *table) revoked(s *subject) bool {
	sessions := t.sessions.Load()
	if sessions.has(&s.sid) || s.hasRoot && sessions.has(&s.rsid) {
		return true
	}
	if m := t.tenant.Load(); m != nil && m.covers(s) {
		return true
	}
	return t.marks.Load().cover(t.seed, s) || t.ended(s.kid)
}

// ended reports whether a signing key was ended.
func (t *table) ended(kid string) bool {
	keys := *t.keys.Load()
	if len(keys) == 0 {
		return false
	}
	_, ended := keys[kid]
	return ended
}

// addSession adds a session that is revoked itself, and reports whether it is new. The fact keeps the minute of its
// first receipt: the session was revoked before.
func (t *table) addSession(id [16]byte, at minute) (added bool, err error) {
	s := t.sessions.Load()
	slot, known := s.find(&id)
	if known {
		return false, nil
	}
	if !t.room() {
		return false, errFull
	}
	if s.full() {
		s = s.rebuilt(s.count+1, func(minute) bool { return true })
		slot, _ = s.find(&id)
		t.sessions.Store(s)
	}
	s.put(slot, &id, at)
	t.count.Add(1)
	return true, nil
}

// addMark adds m, and reports whether it covers more than was covered before.
func (t *table) addMark(m mark) (added bool, err error) {
	if m.kind() == ofTenant {
		return t.raise(&t.tenant, m, func() { t.tenant.Store(&m) })
	}
	marks := t.marks.Load()
	slot, _ := marks.find(scopeHash(t.seed, m.application, m.user), m.application, m.user)
	return t.raise(&marks.marks[slot], m, func() {
		if marks.full() {
			marks = marks.rebuilt(t.seed, marks.used+1, func(minute) bool { return true })
			t.marks.Store(marks)
		}
		marks.add(t.seed, &m)
	})
}

// raise joins m to the mark in slot. If the slot is empty, it calls add instead.
func (t *table) raise(slot *atomic.Pointer[mark], m mark, add func()) (added bool, err error) {
	old := slot.Load()
	switch {
	case old == nil && !t.room():
		return false, errFull
	case old == nil:
		add()
		t.count.Add(1)
		return true, nil
	}
	joined := old.join(m)
	if joined.covered() == old.covered() {
		return false, nil
	}
	slot.Store(&joined)
	return true, nil
}

// addKey adds a signing key that was ended, and reports whether it is new. It is never dropped: a thief of the key
// gives his tokens any expiry.
func (t *table) addKey(kid string, at minute) (added bool, err error) {
	keys := *t.keys.Load()
	if _, known := keys[kid]; known {
		return false, nil
	}
	if !t.room() || len(keys) >= maxKeys {
		return false, errFull
	}
	keys = maps.Clone(keys)
	keys[kid] = at
	t.keys.Store(&keys)
	t.count.Add(1)
	return true, nil
}

func (t *table) room() bool { return t.count.Load() < int64(t.max) }

// expire drops the sessions and marks that were received more than keep ago.
func (t *table) expire(now minute, keep time.Duration) {
	limit := minutes(keep)
	current := func(at minute) bool { return now-at <= limit }
	sessions, marks := t.sessions.Load(), t.marks.Load()
	before := sessions.count + marks.used
	if n := sessions.countIf(current); n < sessions.count {
		sessions = sessions.rebuilt(n, current)
		t.sessions.Store(sessions)
	}
	if n := marks.countIf(current); n < marks.used {
		marks = marks.rebuilt(t.seed, n, current)
		t.marks.Store(marks)
	}
	dropped := before - sessions.count - marks.used
	if m := t.tenant.Load(); m != nil && !current(m.at) {
		t.tenant.Store(nil)
		dropped++
	}
	t.count.Add(int64(-dropped))
}

// minutes returns the age in whole minutes that a fact may have: what is older was received more than keep ago. Both
// instants of an age are rounded down, so an age of n+1 minutes is at least n.
func minutes(keep time.Duration) minute {
	return minute((min(keep, maximumKeep) + time.Minute - 1) / time.Minute)
}

// sessionSet is a set of ids, with open addressing and linear probing. A keyed hash, of a seed of this process, chooses
// the slot where the search for an id begins; the ids themselves are compared. So a client cannot choose ids that are
// slow to find, no two ids are taken for each other, and a state file can hold the ids. (A table of 64-bit hashes has
// slots of 10 bytes instead of 18. At the lower load that it can have then, it needs nearly the same memory.)
//
// Each id is two words. The second one, most of which is random, marks a slot as taken, so it is stored last; a UUID's
// is never zero.
type sessionSet struct {
	seed  maphash.Seed
	slots []slot
	at    []minute // of receipt; like slot.first, not changed once the slot is taken
	count int      // for the writer
}

// slot is an id. It lies within one cache line.
type slot struct {
	last  atomic.Uint64 // bytes 8 to 15
	first uint64        // bytes 0 to 7
}

const (
	// A set is rebuilt when it is three quarters full, with five of eight slots taken: 24 to 29 bytes a session.
	fullNumerator, fullDenominator = 3, 4
	newNumerator, newDenominator   = 8, 5
	fewestSlots                    = 64
)

func newSessionSet(seed maphash.Seed, count int) *sessionSet {
	n := count*newNumerator/newDenominator + fewestSlots
	return &sessionSet{seed: seed, slots: make([]slot, n), at: make([]minute, n)}
}

// isID reports whether a set can hold id, as it can every UUID of RFC 9562: the variant is in byte 8.
func isID(id [16]byte) bool { return binary.NativeEndian.Uint64(id[8:]) != 0 }

func (s *sessionSet) start(id *[16]byte) int {
	n, _ := bits.Mul64(maphash.Bytes(s.seed, id[:]), uint64(len(s.slots)))
	return int(n)
}

// touch reads the slots at which the searches for ids start. The processor waits for all of them together then, and the
// additions that follow find them in its cache: added one by one, each id waits for memory.
func (s *sessionSet) touch(ids [][16]byte) {
	for i := range ids {
		s.slots[s.start(&ids[i])].last.Load()
	}
}

func (s *sessionSet) has(id *[16]byte) bool {
	_, found := s.find(id)
	return found
}

// find returns the number of the slot of id and true, or that of the slot that is free for it and false.
func (s *sessionSet) find(id *[16]byte) (n int, found bool) {
	first, last := binary.NativeEndian.Uint64(id[:8]), binary.NativeEndian.Uint64(id[8:])
	for n = s.start(id); ; {
		switch slot := &s.slots[n]; slot.last.Load() {
		case 0:
			return n, false
		case last:
			if slot.first == first {
				return n, true
			}
		}
		if n++; n == len(s.slots) {
			n = 0
		}
	}
}

func (s *sessionSet) full() bool { return s.count*fullDenominator >= len(s.slots)*fullNumerator }

// put stores id in the slot that is free for it.
func (s *sessionSet) put(n int, id *[16]byte, at minute) {
	s.slots[n].first, s.at[n] = binary.NativeEndian.Uint64(id[:8]), at
	s.slots[n].last.Store(binary.NativeEndian.Uint64(id[8:]))
	s.count++
}

// each calls f for each session of the set. It may run while the writer adds some.
func (s *sessionSet) each(f func(id [16]byte, at minute)) {
	var id [16]byte
	for n := range s.slots {
		if last := s.slots[n].last.Load(); last != 0 {
			binary.NativeEndian.PutUint64(id[:8], s.slots[n].first)
			binary.NativeEndian.PutUint64(id[8:], last)
			f(id, s.at[n])
		}
	}
}

func (s *sessionSet) countIf(keep func(minute) bool) (n int) {
	for i := range s.slots {
		if s.slots[i].last.Load() != 0 && keep(s.at[i]) {
			n++
		}
	}
	return n
}

// rebuilt returns a set with the sessions of s to keep, and room for count.
func (s *sessionSet) rebuilt(count int, keep func(minute) bool) *sessionSet {
	n := newSessionSet(s.seed, count)
	s.each(func(id [16]byte, at minute) {
		if keep(at) {
			slot, _ := n.find(&id)
			n.put(slot, &id, at)
		}
	})
	return n
}

// mark is what wide revocations of one scope have ended. It covers the sessions whose epoch is below its own. The
// session except is spared, unless its epoch is below floor.
type mark struct {
	application, user string // empty if they do not narrow the scope
	epoch             uint64
	except            [16]byte // zero if no session is spared
	floor             uint64
	at                minute // of receipt
}

func (m *mark) covers(s *subject) bool {
	if s.epoch >= m.epoch {
		return false
	}
	return m.except != s.sid || m.except == [16]byte{} || s.epoch < m.floor
}

// join returns the mark that covers what m or other covers, of the same scope; other is received later. An exception is
// from one revocation: the session that the later one spares is still covered by the earlier one. So the order
// in which marks arrive does not matter.
func (m mark) join(other mark) mark {
	later, earlier := m, other
	if later.epoch < earlier.epoch {
		later, earlier = earlier, later
	}
	switch {
	case later.except == [16]byte{}:
	case later.except == earlier.except:
		later.floor = max(later.floor, earlier.floor)
	default:
		later.floor = max(later.floor, earlier.epoch)
	}
	if later.floor >= later.epoch {
		later.except, later.floor = [16]byte{}, 0
	}
	later.at = other.at
	return later
}

// covered returns m without the time of its receipt.
func (m mark) covered() mark {
	m.at = 0
	return m
}

// kind is which of the application and the user a mark is narrowed to.
type kind int

const (
	ofTenant kind = iota
	ofApplication
	ofUser
	ofBoth
	kinds
)

func (m *mark) kind() kind {
	switch {
	case m.application == "" && m.user == "":
		return ofTenant
	case m.user == "":
		return ofApplication
	case m.application == "":
		return ofUser
	default:
		return ofBoth
	}
}

// markSet is a set of marks, with at most one for each scope, in a table like that of sessionSet. The hash of a scope
// stands beside its mark, so that a search reads the marks of other scopes only if all 64 bits are equal; then it
// compares the scopes. A slot stays with its scope, and its mark is replaced when it is raised.
type markSet struct {
	taken []atomic.Uint64 // the hashes of scopes; stored after the mark
	marks []atomic.Pointer[mark]
	of    [kinds]atomic.Int64 // how many there are: what there is none of is not searched for
	used  int                 // for the writer
}

func newMarkSet(count int) *markSet {
	n := 3*count + fewestSlots
	return &markSet{taken: make([]atomic.Uint64, n), marks: make([]atomic.Pointer[mark], n)}
}

// cover reports whether one of the marks covers s.
func (m *markSet) cover(seed maphash.Seed, s *subject) bool {
	applications, users, both := m.of[ofApplication].Load(), m.of[ofUser].Load(), m.of[ofBoth].Load()
	if applications|users|both == 0 {
		return false
	}
	var application, user uint64
	if applications|both != 0 {
		application = maphash.String(seed, s.application)
	}
	if users|both != 0 {
		user = maphash.String(seed, s.user)
	}
	return applications != 0 && s.application != "" && m.covers(ofOne(application), s.application, "", s) ||
		users != 0 && s.user != "" && m.covers(ofOne(^user), "", s.user, s) ||
		both != 0 && s.application != "" && s.user != "" &&
			m.covers(ofTwo(application, user), s.application, s.user, s)
}

// scopeHash returns the hash of a scope that is narrowed to an application, a user or both. It is not zero, which is
// for empty slots.
func scopeHash(seed maphash.Seed, application, user string) uint64 {
	switch {
	case user == "":
		return ofOne(maphash.String(seed, application))
	case application == "":
		return ofOne(^maphash.String(seed, user))
	default:
		return ofTwo(maphash.String(seed, application), maphash.String(seed, user))
	}
}

func ofOne(hash uint64) uint64 { return max(hash, 1) }

func ofTwo(application, user uint64) uint64 {
	high, low := bits.Mul64(application^0x9e3779b97f4a7c15, user|1)
	return max(high^low, 1)
}

func (m *markSet) covers(hash uint64, application, user string, s *subject) bool {
	_, found := m.find(hash, application, user)
	return found != nil && found.covers(s)
}

// find returns the slot of a scope and its mark. If there is none, it returns an empty slot for it, and nil.
func (m *markSet) find(hash uint64, application, user string) (slot int, found *mark) {
	first, _ := bits.Mul64(hash, uint64(len(m.taken)))
	for slot = int(first); ; {
		switch m.taken[slot].Load() {
		case 0:
			return slot, nil
		case hash:
			found = m.marks[slot].Load()
			if found.application == application && found.user == user {
				return slot, found
			}
		}
		if slot++; slot == len(m.taken) {
			slot = 0
		}
	}
}

func (m *markSet) full() bool { return 2*m.used >= len(m.taken) }

// add adds a mark of a scope that the set has none of.
func (m *markSet) add(seed maphash.Seed, added *mark) {
	hash := scopeHash(seed, added.application, added.user)
	slot, _ := m.find(hash, added.application, added.user)
	m.marks[slot].Store(added)
	m.taken[slot].Store(hash)
	m.of[added.kind()].Add(1)
	m.used++
}

func (m *markSet) each(f func(*mark)) {
	for i := range m.taken {
		if m.taken[i].Load() != 0 {
			f(m.marks[i].Load())
		}
	}
}

func (m *markSet) countIf(keep func(minute) bool) (n int) {
	m.each(func(found *mark) {
		if keep(found.at) {
			n++
		}
	})
	return n
}

func (m *markSet) rebuilt(seed maphash.Seed, count int, keep func(minute) bool) *markSet {
	n := newMarkSet(count)
	m.each(func(found *mark) {
		if keep(found.at) {
			n.add(seed, found)
		}
	})
	return n
}
