package usecase_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
	"github.com/refreshd/refreshd/usecase"
)

// history is a random history of one store, two replicas with a feed each, and clients that go from one to the other.
type history struct {
	t       *testing.T
	random  *rand.Rand
	store   *reach
	skew    time.Duration // of the store's clock
	feeds   []*replicaFeed
	clients []*client
	revoked []revoked
	n       int
	log     []string
	checked int // facts that views had to have
	depth   int // of actions during a reading
}

// revoked is a revocation that has returned.
type revoked struct {
	fact domain.Fact
	at   time.Time
}

// replicaFeed is a feed, and the store as it sees it.
type replicaFeed struct {
	*usecase.Feed
	*history
	broken int    // so many of the next calls fail
	former *reach // some readings go to this server, which was replaced
	// The starts of the last calls that were good.
	readAt, beatAt time.Time
}

// client is a resource server.
type client struct {
	tenantID string
	known    map[factKey]domain.Fact
	cursor   domain.Position
	at       *usecase.Subscription
	feed     *replicaFeed
}

var errBroken = errors.New("connection reset by peer")

func (r *replicaFeed) breaks() bool {
	if r.broken > 0 {
		r.broken--
		return true
	}
	return false
}

func (r *replicaFeed) Revoked(ctx context.Context, q port.FactQuery, each func(domain.Fact)) (port.Reading, error) {
	began := time.Now()
	var found []domain.Fact
	from := r.store
	if r.former != nil && r.random.IntN(2) == 0 {
		from = r.former
	}
	read, _ := from.Revoked(ctx, q, func(f domain.Fact) { found = append(found, f) })
	r.random.Shuffle(len(found), func(i, j int) { found[i], found[j] = found[j], found[i] })
	r.meanwhile() // the snapshot is old when it arrives
	if r.breaks() {
		for _, f := range found[:len(found)/2] {
			each(f)
		}
		return port.Reading{}, errBroken
	}
	for _, f := range found {
		each(f)
	}
	r.meanwhile()
	r.readAt = began
	return read, nil
}

func (r *replicaFeed) Stamp(ctx context.Context, now time.Time, _ int) (int, error) {
	if r.breaks() {
		return 0, errBroken
	}
	return r.store.Stamp(ctx, now.Add(r.skew), 1+r.random.IntN(5))
}

func (r *replicaFeed) Beat(ctx context.Context, reader string, at time.Time) error {
	began := time.Now()
	r.meanwhile()
	if r.breaks() {
		switch r.random.IntN(3) { // it may have been stored, here or by the server that was replaced
		case 0:
			_ = r.store.Beat(ctx, reader, at)
		case 1:
			if r.former != nil {
				_ = r.former.Beat(ctx, reader, at)
			}
		}
		return errBroken
	}
	r.beatAt = began
	return r.store.Beat(ctx, reader, at)
}

func (r *replicaFeed) LongestAccessTTL(ctx context.Context, tenantID string) (time.Duration, error) {
	return r.store.LongestAccessTTL(ctx, tenantID)
}

// meanwhile is what others do during a call.
func (h *history) meanwhile() {
	if h.depth > 0 {
		return
	}
	h.depth++
	defer func() { h.depth-- }()
	for range h.random.IntN(3) {
		if h.random.IntN(3) == 0 {
			_, _ = h.store.Stamp(context.Background(), time.Now().Add(h.skew), 3)
		} else {
			h.revoke()
		}
	}
	time.Sleep(time.Duration(h.random.IntN(20)) * time.Millisecond)
}

func (h *history) did(format string, args ...any) {
	h.log = append(h.log, fmt.Sprintf("%s ", time.Now().Format("05.000000"))+fmt.Sprintf(format, args...))
}

// revoke revokes a session or raises a mark.
func (h *history) revoke() {
	h.n++
	f := sessionFact([]string{"acme", "globex"}[h.random.IntN(2)], h.n)
	if h.random.IntN(4) == 0 {
		f.SessionID = domain.ID{}
		f.UserID, f.Epoch = []string{"", "u1", "u2"}[h.random.IntN(3)], uint64(h.n)
	}
	h.store.revoke(f)
	time.Sleep(time.Microsecond)
	h.revoked = append(h.revoked, revoked{f, time.Now()})
	h.did("revoked %+v", keyOf(f))
}

func (h *history) step() {
	ctx := h.t.Context()
	r := h.feeds[h.random.IntN(len(h.feeds))]
	switch n := h.random.IntN(100); {
	case n < 12:
		h.revoke()
	case n < 38:
		r.ReadOnce(ctx)
	case n < 50:
		r.BeatOnce(ctx)
	case n < 58:
		r.StampOnce(ctx)
	case n < 80:
		h.clients[h.random.IntN(len(h.clients))].look(h)
	case n < 88:
		h.clients[h.random.IntN(len(h.clients))].move(h, r)
	case n < 92:
		r.broken++
		h.did("breaks")
	case n < 94:
		r.Sweep()
	case n < 95:
		h.failOver()
	case n < 96:
		h.replaced()
	case n < 99:
		time.Sleep(time.Duration(h.random.IntN(500)) * time.Millisecond)
	default:
		pause := []time.Duration{time.Second, 3 * time.Second, 30 * time.Second, 65 * time.Second, 15 * time.Minute}
		time.Sleep(pause[h.random.IntN(len(pause))])
		h.did("paused")
	}
}

// replaced has another server take over, which has all that was stored. Some connections stay with the former one,
// which stamps by a clock of its own. Others break.
func (h *history) replaced() {
	former := h.store.replace()
	for _, r := range h.feeds {
		r.former = nil
		r.broken++
		if h.random.IntN(3) > 0 {
			r.former = former
		}
	}
	if h.random.IntN(2) == 0 {
		f := sessionFact("acme", 0)
		former.revoke(f)
		_, _ = former.Stamp(context.Background(), time.Now().Add(h.skew+time.Duration(h.random.IntN(20))*time.Second), 9)
	}
	h.did("replaced")
}

// failOver loses the stamps of some time, and continues with another clock, up to 100 s behind. It breaks all
// connections.
func (h *history) failOver() {
	lost := time.Duration(h.random.IntN(5000)) * time.Millisecond
	if h.random.IntN(4) == 0 { // an older copy
		lost = time.Duration(h.random.IntN(600)) * time.Second
	}
	h.store.loseStamps(h.store.head - domain.Position(lost.Microseconds()))
	h.skew = -time.Duration(h.random.IntN(100)) * time.Second
	for _, r := range h.feeds {
		r.broken++
	}
	h.did("failed over")
}

// move has the client go to a replica, with its cursor or, after a restart, without.
func (c *client) move(h *history, r *replicaFeed) {
	if c.at != nil {
		c.at.Close()
		c.at = nil
	}
	if h.random.IntN(5) == 0 {
		c.known, c.cursor = make(map[factKey]domain.Fact), 0
	}
	type result struct {
		s   *usecase.Subscription
		err error
	}
	done := make(chan result, 1)
	go func() {
		s, err := r.Follow(h.t.Context(), c.tenantID, c.cursor)
		done <- result{s, err}
	}()
	for range 8 {
		synctest.Wait()
		select {
		case got := <-done:
			c.at, c.feed = got.s, r
			h.did("%s follows from %d: %v", c.tenantID, c.cursor, got.err)
			return
		default:
			r.ReadOnce(h.t.Context())
			r.BeatOnce(h.t.Context())
		}
	}
	got := <-done // the bubble's clock advances to the time-out
	c.at, c.feed = got.s, r
	h.did("%s follows from %d: %v", c.tenantID, c.cursor, got.err)
}

// look takes a view, and checks it.
func (c *client) look(h *history) {
	if c.at == nil {
		return
	}
	v, err := c.at.Next(h.t.Context(), 0)
	if err != nil {
		return
	}
	for _, k := range v.Ticks {
		for _, f := range k.Facts() {
			if f.TenantID != c.tenantID {
				h.t.Fatalf("a client of %s got %+v", c.tenantID, f)
			}
			if known, ok := c.known[keyOf(f)]; !ok || known.Epoch < f.Epoch {
				c.known[keyOf(f)] = f
			}
		}
	}
	c.cursor = v.Cursor
	if v.CompleteAsOf.After(c.feed.readAt) || v.CompleteAsOf.After(c.feed.beatAt) {
		h.t.Fatalf("complete as of %s, but the last good reading began at %s, the last good beat at %s",
			v.CompleteAsOf, c.feed.readAt, c.feed.beatAt)
	}
	for _, r := range h.revoked {
		if r.fact.TenantID != c.tenantID || !r.at.Before(v.CompleteAsOf) || time.Since(r.at) > v.Keep {
			continue // time.Since: what matters, by the bubble's clock
		}
		h.checked++
		if known, ok := c.known[keyOf(r.fact)]; !ok || known.Epoch < r.fact.Epoch {
			for _, line := range h.log {
				h.t.Log(line)
			}
			h.t.Fatalf("complete as of %s with cursor %d, without %+v of %s", v.CompleteAsOf.Format("05.000000"), v.Cursor,
				r.fact, r.at.Format("05.000000"))
		}
	}
}

// A resource server accepts a token because its view is complete as of some instant. So in any history, with calls
// that fail, clients that go to another replica, and fail-overs that lose stamps: a view that is complete as of an
// instant has every earlier fact of its tenant that matters, the instant is not after the start of the last successful
// reading and beat, and a client gets nothing of another tenant.
func TestFeedViewsAreComplete(t *testing.T) {
	checked := 0
	for seed := range uint64(250) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &history{t: t, random: rand.New(rand.NewPCG(seed, 14)), store: newReach()}
				for i := range 2 {
					r := &replicaFeed{history: h}
					r.Feed = &usecase.Feed{Store: r, Clock: time.Now, Reader: fmt.Sprint(i)}
					h.feeds = append(h.feeds, r)
				}
				for i := range 4 {
					h.clients = append(h.clients, &client{
						tenantID: []string{"acme", "globex"}[i%2], known: make(map[factKey]domain.Fact),
					})
				}
				for range 300 {
					h.step()
				}
				checked += h.checked
			})
		})
	}
	if checked < 100_000 {
		t.Errorf("views had to have %d facts, want at least 100000: the histories are too short", checked)
	}
}
