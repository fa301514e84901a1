package usecase

import (
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/refreshd/refreshd/domain"
)

const (
	// maxTick is the greatest number of facts in a tick, which is a frame of 25 KB on the wire.
	maxTick = 1000
	// feedMergeAfter is the age at which ticks are merged. A subscriber that is further behind gets facts again.
	feedMergeAfter = 10 * time.Second
	// feedMergeSpan bounds the time between the first and the last fact of a tick. Facts are dropped by ticks, so this
	// is how much longer than necessary they are held.
	feedMergeSpan = 2 * time.Minute
)

// tenantFacts are the facts of one tenant that the feed holds. It is guarded by the mutex of the Feed.
type tenantFacts struct {
	id       string
	sessions map[domain.ID]place
	others   map[factScope]otherFact // marks and keys: of each scope the last one
	ticks    []*Tick                 // by number
	next     uint32                  // the number of the next tick
	open     *Tick                   // the tick that is being filled; not in ticks yet
	peak     int                     // the greatest number of sessions since the map was made
	news     signal
	streams  int

	keep   time.Duration // how long facts matter; 0 if it was never read
	keepAt time.Time     // when it was read
	// window is how long facts are held. covered is how far back they have been read: less than window until the
	// reading that it needs has succeeded.
	window, covered time.Duration
}

// place is where a fact is: the number of its tick, and whether it has a position.
type place struct {
	tick    uint32
	stamped bool
}

// allTenants is the tenant of the facts of no tenant, which are facts of all.
const allTenants = ""

type factScope struct{ applicationID, userID, keyID string }

type otherFact struct {
	place
	epoch  uint64
	except domain.ID
}

func newTenantFacts(id string) *tenantFacts {
	return &tenantFacts{id: id, window: feedWindow, covered: feedWindow}
}

// Tick is a set of at most 1000 facts of a tenant, which all its subscribers share.
type Tick struct {
	tenantID string
	// Sessions are by far the most. As values of domain.Fact they would take eight times the memory.
	sessions []domain.ID
	others   []domain.Fact

	once    sync.Once
	encoded []byte

	// Guarded by the mutex of the Feed.
	first, last uint32          // the numbers of the ticks that were merged into this one
	since, seen time.Time       // when its first and its last fact was first read
	unstamped   int             // how many of its facts have no position; those that another tick repeats do not count
	highest     domain.Position // the highest position of its facts
}

// Facts returns the facts, without their positions.
func (k *Tick) Facts() []domain.Fact {
	facts := make([]domain.Fact, 0, k.len())
	for _, id := range k.sessions {
		facts = append(facts, domain.Fact{TenantID: k.tenantID, SessionID: id})
	}
	return append(facts, k.others...)
}

// Encoded returns the facts in the form that encode gives them. It calls encode once for each tick. All callers get
// the same bytes, and must not change them.
func (k *Tick) Encoded(encode func([]domain.Fact) []byte) []byte {
	k.once.Do(func() { k.encoded = encode(k.Facts()) })
	return k.encoded
}

func (k *Tick) len() int { return len(k.sessions) + len(k.others) }

func (t *tenantFacts) len() int { return len(t.sessions) + len(t.others) }

// take adds a fact that was read at now, and reports whether it was unknown. A mark is unknown if it differs from the
// known one of its scope: it was raised, or the store has lost the known one, as by a fail-over. A fact that has lost
// its position counts as unknown for the same reason: it may have been lost, and revoked again, and a subscriber that
// came with a cursor between the two positions has not been given it.
func (t *tenantFacts) take(f domain.Fact, now time.Time) (isNew bool) {
	if !f.SessionID.IsZero() {
		known, ok := t.sessions[f.SessionID]
		if ok && t.settle(&known, f.Position) {
			t.sessions[f.SessionID] = known
			return false
		}
		if t.sessions == nil {
			t.sessions = make(map[domain.ID]place)
		}
		k := t.openTick(f.Position, now)
		k.sessions = append(k.sessions, f.SessionID)
		t.sessions[f.SessionID] = place{k.first, f.Position != 0}
		t.peak = max(t.peak, len(t.sessions))
		return true
	}
	scope := factScope{f.ApplicationID, f.UserID, f.KeyID}
	known, ok := t.others[scope]
	isSame := ok && f.Epoch == known.epoch && f.Except == known.except
	if isSame && t.settle(&known.place, f.Position) {
		t.others[scope] = known
		return false
	}
	if ok && !known.stamped && f.Epoch > known.epoch { // f contains it. A lower one may be of a server that was replaced
		t.tick(known.tick).unstamped--
	}
	if t.others == nil {
		t.others = make(map[factScope]otherFact)
	}
	k := t.openTick(f.Position, now)
	t.others[scope] = otherFact{place{k.first, f.Position != 0}, f.Epoch, f.Except}
	f.Position = 0
	k.others = append(k.others, f)
	return true
}

// include adds the facts of shared, those of no tenant, to a tenant that has none yet. They are dropped as early as
// there.
func (t *tenantFacts) include(shared *tenantFacts) {
	ticks := shared.ticks
	if shared.open != nil {
		ticks = append(slices.Clip(ticks), shared.open)
	}
	for _, k := range ticks {
		for _, f := range k.others {
			f.TenantID = t.id
			if k.unstamped == 0 {
				f.Position = k.highest
			}
			t.take(f, k.seen)
		}
		t.publish()
	}
}

// lacksPosition reports whether f is known, and without a position.
func (t *tenantFacts) lacksPosition(f domain.Fact) bool {
	if !f.SessionID.IsZero() {
		known, ok := t.sessions[f.SessionID]
		return ok && !known.stamped
	}
	known, ok := t.others[factScope{f.ApplicationID, f.UserID, f.KeyID}]
	return ok && !known.stamped && f.Epoch == known.epoch && f.Except == known.except
}

// settle notes the position of a known fact. It returns false if the fact had another one, and has lost it.
func (t *tenantFacts) settle(p *place, at domain.Position) bool {
	k := t.tick(p.tick)
	switch {
	case p.stamped:
		return 0 < at && at <= k.highest
	case at != 0:
		k.unstamped--
		k.highest = max(k.highest, at)
		p.stamped = true
	}
	return true
}

// openTick returns the tick to which a fact with that position is being added.
func (t *tenantFacts) openTick(at domain.Position, now time.Time) *Tick {
	if t.open == nil {
		t.open = &Tick{tenantID: t.id, first: t.next, last: t.next, since: now, seen: now}
	}
	t.open.highest = max(t.open.highest, at)
	if at == 0 {
		t.open.unstamped++
	}
	return t.open
}

// publish gives the open tick to the subscribers.
func (t *tenantFacts) publish() {
	if t.open != nil {
		t.ticks, t.open = append(t.ticks, t.open), nil
		t.next++
		t.news.wake()
	}
}

// tick returns the tick with that number, or the one into which it was merged.
func (t *tenantFacts) tick(number uint32) *Tick {
	if i := t.index(number); i < len(t.ticks) {
		return t.ticks[i]
	}
	return t.open
}

// index returns the place in ticks of the first that has that number or a higher one.
func (t *tenantFacts) index(number uint32) int {
	return sort.Search(len(t.ticks), func(i int) bool { return t.ticks[i].last >= number })
}

// since returns the ticks from that number on.
func (t *tenantFacts) since(number uint32) []*Tick {
	if number == t.next {
		return nil
	}
	return slices.Clip(t.ticks[t.index(number):]) // only appended to, or replaced
}

// sweep drops what has been held long enough, and merges ticks. It returns the number of facts that it dropped.
func (t *tenantFacts) sweep(now time.Time) (dropped int) {
	before := t.len()
	for len(t.ticks) > 0 && now.Sub(t.ticks[0].seen) > t.window {
		t.drop(t.ticks[0])
		t.ticks = t.ticks[1:]
	}
	if len(t.sessions) < t.peak/4 { // a map keeps the memory of what was deleted from it
		sessions := make(map[domain.ID]place, len(t.sessions))
		for id, p := range t.sessions {
			sessions[id] = p
		}
		t.sessions, t.peak = sessions, len(sessions)
	}
	t.merge(now)
	return before - t.len()
}

func (t *tenantFacts) drop(k *Tick) {
	within := func(p place) bool { return k.first <= p.tick && p.tick <= k.last }
	for _, id := range k.sessions {
		if p, ok := t.sessions[id]; ok && within(p) {
			delete(t.sessions, id)
		}
	}
	for _, f := range k.others {
		scope := factScope{f.ApplicationID, f.UserID, f.KeyID}
		if o, ok := t.others[scope]; ok && within(o.place) {
			delete(t.others, scope)
		}
	}
}

// merge merges neighbouring ticks that are old enough. Ticks that subscribers may hold are not changed, except for
// what the mutex guards.
func (t *tenantFacts) merge(now time.Time) {
	merged := make([]*Tick, 0, len(t.ticks))
	for from := 0; from < len(t.ticks); {
		first, size, to := t.ticks[from], 0, from
		for to < len(t.ticks) {
			k := t.ticks[to]
			if size += k.len(); to > from &&
				(size > maxTick || k.seen.Sub(first.since) > feedMergeSpan || now.Sub(k.seen) < feedMergeAfter) {
				break
			}
			to++
		}
		merged = append(merged, mergeTicks(t.ticks[from:to]))
		from = to
	}
	t.ticks = merged
}

func mergeTicks(ticks []*Tick) *Tick {
	if len(ticks) == 1 {
		return ticks[0]
	}
	first, last := ticks[0], ticks[len(ticks)-1]
	all := &Tick{tenantID: first.tenantID, first: first.first, last: last.last, since: first.since, seen: last.seen}
	size := 0
	for _, k := range ticks {
		size += len(k.sessions)
	}
	all.sessions = make([]domain.ID, 0, size)
	for _, k := range ticks {
		all.sessions = append(all.sessions, k.sessions...)
		all.others = append(all.others, k.others...)
		all.unstamped += k.unstamped
		all.highest = max(all.highest, k.highest)
	}
	return all
}
