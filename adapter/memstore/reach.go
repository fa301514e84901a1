package memstore

import (
	"context"
	"slices"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// factKey names the refresh token, the mark or the signing key that is a fact. The other fields are zero.
type factKey struct {
	session domain.ID
	mark    domain.Scope
	key     keyName
}

// reach holds the positions of the facts. The facts themselves are the refresh tokens, the marks
// and the signing keys.
type reach struct {
	head      domain.Position
	positions map[factKey]domain.Position // of every fact; 0 for one that is not stamped
	unstamped map[factKey]bool
	stamped   []stampedFact        // by position
	beats     map[string]time.Time // by reader: this process has one
}

// stampedFact is void if its fact has another position since, or none: the mark was raised, or the fact deleted.
type stampedFact struct {
	position domain.Position
	key      factKey
}

func newReach() reach {
	return reach{
		positions: make(map[factKey]domain.Position), unstamped: make(map[factKey]bool), beats: make(map[string]time.Time),
	}
}

func (r *reach) add(k factKey) {
	r.positions[k] = 0
	r.unstamped[k] = true
}

func (r *reach) remove(k factKey) {
	delete(r.positions, k)
	delete(r.unstamped, k)
}

func (r *reach) isVoid(f stampedFact) bool { return r.positions[f.key] != f.position }

// after returns the place in stamped of the first fact above a position.
func (r *reach) after(p domain.Position) int {
	at, _ := slices.BinarySearchFunc(r.stamped, p, func(f stampedFact, p domain.Position) int {
		if f.position <= p {
			return -1
		}
		return 1
	})
	return at
}

// put stores t. If it is revoked itself, it is a fact.
func (s *Store) put(t domain.RefreshToken) {
	s.tokens[t.ID] = t
	if !t.RevokedAt.IsZero() {
		s.reach.add(factKey{session: t.ID})
	}
}

// Revoked implements port.Reach.
func (s *Store) Revoked(ctx context.Context, q port.FactQuery, each func(domain.Fact)) (port.Reading, error) {
	facts, reading, err := s.facts(ctx, q)
	for _, f := range facts { // each may call the store: the mutex is not held
		each(f)
	}
	return reading, err
}

func (s *Store) facts(ctx context.Context, q port.FactQuery) (facts []domain.Fact, _ port.Reading, err error) {
	if err := s.lock(ctx); err != nil {
		return nil, port.Reading{}, err
	}
	defer s.mu.Unlock()
	r := &s.reach
	for k := range r.unstamped {
		facts = append(facts, s.fact(k))
	}
	for _, f := range r.stamped[r.after(q.After):] {
		if !r.isVoid(f) {
			facts = append(facts, s.fact(f.key))
		}
	}
	return facts, port.Reading{Head: r.head, Beat: r.beats[q.Reader]}, nil
}

func (s *Store) fact(k factKey) domain.Fact {
	f := domain.Fact{Position: s.reach.positions[k]}
	if !k.session.IsZero() {
		f.TenantID, f.SessionID = s.tokens[k.session].TenantID, k.session
		return f
	}
	if k.key != (keyName{}) {
		f.TenantID, f.KeyID = k.key.tenantID, s.ring.keys[k.key].ID
		return f
	}
	m := s.marks[k.mark]
	f.TenantID, f.ApplicationID, f.UserID = k.mark.TenantID, k.mark.ApplicationID, k.mark.UserID
	f.Epoch, f.Except = m.Epoch, m.except
	return f
}

// outOfUse reports whether no resource server needs the fact any more, as port.Janitor defines it.
func (s *Store) outOfUse(k factKey, tenantID string, at time.Time) bool {
	p, longest := s.reach.positions[k], s.longest[tenantID].access
	floor := domain.FactFloor(at, longest)
	if _, deleted := s.deleted[tenantID]; deleted && k.session.IsZero() {
		floor = domain.TraceFloor(at, longest)
	}
	return p != 0 && p <= floor
}

// Stamp implements port.Reach.
func (s *Store) Stamp(ctx context.Context, now time.Time, limit int) (stamped int, err error) {
	if err := s.lock(ctx); err != nil {
		return 0, err
	}
	defer s.mu.Unlock()
	r := &s.reach
	if len(r.unstamped) == 0 {
		return 0, nil
	}
	if len(r.stamped) > 2*len(r.positions) {
		r.stamped = slices.DeleteFunc(r.stamped, r.isVoid)
	}
	r.head = max(r.head+1, domain.Position(now.UnixMicro()))
	var sessions, marks, keys int
	for k := range r.unstamped {
		delete(r.unstamped, k)
		r.positions[k] = r.head
		r.stamped = append(r.stamped, stampedFact{r.head, k})
		switch {
		case !k.session.IsZero():
			sessions++
		case k.key != (keyName{}):
			keys++
		default:
			marks++
		}
		if max(sessions, marks, keys) == limit {
			break
		}
	}
	return max(sessions, marks, keys), nil
}

// Beat implements port.Reach.
func (s *Store) Beat(ctx context.Context, reader string, at time.Time) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	s.reach.beats[reader] = at
	return nil
}

// LongestAccessTTL implements port.Reach.
func (s *Store) LongestAccessTTL(ctx context.Context, tenantID string) (time.Duration, error) {
	if err := s.lock(ctx); err != nil {
		return 0, err
	}
	defer s.mu.Unlock()
	if _, ok := s.versions[tenantID]; !ok {
		return 0, domain.ErrNotFound
	}
	return s.longest[tenantID].access, nil
}
