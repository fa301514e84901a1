package usecase_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
	"github.com/refreshd/refreshd/usecase"
)

// reach is a port.Reach in memory whose calls can be made to fail, and which can lose stamps as a database does that
// fails over to a server that had not received them.
type reach struct {
	mu      sync.Mutex
	head    domain.Position
	facts   map[factKey]domain.Fact
	longest time.Duration
	fail    map[string]error // by method
	hang    map[string]bool  // by method: the call ends with its context
	took    time.Duration    // by a reading, which shows what was stored when it began
	calls   map[string]int
	beats   map[string]time.Time // by reader
	slow    time.Duration        // the time that a beat takes after it is stored

	onBeat func(at time.Time)

	replaced *reach // where readings go, if it is not nil
}

// factKey names a fact.
type factKey struct {
	tenantID      string
	session       domain.ID
	application   string
	user, signing string
}

func keyOf(f domain.Fact) factKey {
	return factKey{f.TenantID, f.SessionID, f.ApplicationID, f.UserID, f.KeyID}
}

func newReach() *reach {
	return &reach{
		facts: make(map[factKey]domain.Fact), longest: 15 * time.Minute,
		fail: make(map[string]error), hang: make(map[string]bool), calls: make(map[string]int),
		beats: make(map[string]time.Time),
	}
}

// call returns the error that a call is to end with.
func (r *reach) call(ctx context.Context, method string) error {
	r.mu.Lock()
	r.calls[method]++
	hang, err := r.hang[method], r.fail[method]
	r.mu.Unlock()
	if hang {
		<-ctx.Done()
		return ctx.Err()
	}
	return err
}

func (r *reach) set(method string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail[method] = err
}

func (r *reach) hangs(method string, is bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hang[method] = is
}

// revoke stores a fact without a position.
func (r *reach) revoke(f domain.Fact) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f.Position = 0
	r.facts[keyOf(f)] = f
}

func (r *reach) Revoked(ctx context.Context, q port.FactQuery, each func(domain.Fact)) (port.Reading, error) {
	r.mu.Lock()
	replaced := r.replaced
	r.mu.Unlock()
	if replaced != nil {
		return replaced.Revoked(ctx, q, each)
	}
	r.mu.Lock()
	var found []domain.Fact
	for _, f := range r.facts {
		if f.Position == 0 || f.Position > q.After {
			found = append(found, f)
		}
	}
	read := port.Reading{Head: r.head, Beat: r.beats[q.Reader]}
	took := r.took
	r.mu.Unlock()
	time.Sleep(took)
	err := r.call(ctx, "Revoked")
	if err != nil {
		found = found[:len(found)/2] // a reading that fails may have begun
	}
	for _, f := range found {
		each(f)
	}
	return read, err
}

func (r *reach) Stamp(ctx context.Context, now time.Time, limit int) (n int, err error) {
	if err := r.call(ctx, "Stamp"); err != nil {
		return 0, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	head := max(r.head+1, domain.Position(now.UnixMicro()))
	for k, f := range r.facts {
		if f.Position == 0 && n < limit {
			f.Position = head
			r.facts[k] = f
			r.head = head
			n++
		}
	}
	return n, nil
}

func (r *reach) Beat(ctx context.Context, reader string, at time.Time) error {
	if err := r.call(ctx, "Beat"); err != nil {
		return err
	}
	r.mu.Lock()
	r.beats[reader] = at
	slow, onBeat := r.slow, r.onBeat
	r.mu.Unlock()
	if onBeat != nil {
		onBeat(at)
	}
	time.Sleep(slow) // a reading shows what a call has stored that has not returned
	return nil
}

// replace makes the store another server, which has taken over all that was written. The returned one still answers
// those that are connected to it.
func (r *reach) replace() (former *reach) {
	r.mu.Lock()
	defer r.mu.Unlock()
	former = newReach()
	former.head, former.facts, former.beats = r.head, maps.Clone(r.facts), maps.Clone(r.beats)
	return former
}

// connect has readings go to a server that was replaced, or to this one if it is nil.
func (r *reach) connect(to *reach) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.replaced = to
}

func (r *reach) LongestAccessTTL(ctx context.Context, tenantID string) (time.Duration, error) {
	if err := r.call(ctx, "LongestAccessTTL"); err != nil {
		return 0, err
	}
	if tenantID == "nobody" {
		return 0, domain.ErrNotFound
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.longest, nil
}

// loseStamps makes the store one that had received no stamp above p.
func (r *reach) loseStamps(p domain.Position) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.head = min(r.head, p)
	for k, f := range r.facts {
		if f.Position > p {
			f.Position = 0
			r.facts[k] = f
		}
	}
}

func (r *reach) count(method string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.calls[method]
}

// feeding is a feed with its workers, in a bubble of testing/synctest.
type feeding struct {
	*usecase.Feed
	ctx     context.Context // done when the test ends
	store   *reach
	notices []usecase.FeedNotice
}

func feed(t *testing.T, test func(t *testing.T, f *feeding)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := &feeding{store: newReach()}
		var mu sync.Mutex
		f.Feed = &usecase.Feed{Store: f.store, Clock: time.Now, Reader: "one", Notice: func(n usecase.FeedNotice) {
			mu.Lock()
			defer mu.Unlock()
			f.notices = append(f.notices, n)
		}}
		ctx, stop := context.WithCancel(context.Background())
		var workers sync.WaitGroup
		for _, run := range []func(context.Context) error{f.RunReader, f.RunStamper} {
			workers.Go(func() {
				if err := run(ctx); err != nil {
					t.Errorf("a worker ended with %v", err)
				}
			})
		}
		f.ctx = ctx
		defer workers.Wait()
		defer stop()
		test(t, f)
	})
}

func sessionFact(tenantID string, n int) domain.Fact {
	return domain.Fact{TenantID: tenantID, SessionID: domain.ID{15: byte(n), 14: byte(n >> 8), 13: 1}}
}

// sessions returns the numbers of the sessions in a view, ascending.
func sessions(v usecase.View) (n []int) {
	for _, k := range v.Ticks {
		for _, f := range k.Facts() {
			if !f.SessionID.IsZero() {
				n = append(n, int(f.SessionID[14])<<8|int(f.SessionID[15]))
			}
		}
	}
	slices.Sort(n)
	return n
}

func follow(t *testing.T, f *feeding, tenantID string, cursor domain.Position) *usecase.Subscription {
	t.Helper()
	s, err := f.Follow(t.Context(), tenantID, cursor)
	if err != nil {
		t.Fatalf("Follow(%q, %d): %v", tenantID, cursor, err)
	}
	t.Cleanup(s.Close)
	go func() { // as every stream does
		for f.ctx.Err() == nil {
			select {
			case <-time.After(10 * time.Second):
				_, _ = f.Keep(f.ctx, tenantID)
			case <-f.ctx.Done():
			}
		}
	}()
	return s
}

func next(t *testing.T, s *usecase.Subscription, wait time.Duration) usecase.View {
	t.Helper()
	v, err := s.Next(t.Context(), wait)
	if err != nil {
		t.Fatalf("Next: %v", err)
	}
	return v
}

// A stream gets what was revoked before it opened, and then what is revoked, and nothing of another tenant.
func TestFeedGivesATenantsFacts(t *testing.T) {
	feed(t, func(t *testing.T, f *feeding) {
		f.store.revoke(sessionFact("acme", 1))
		f.store.revoke(sessionFact("globex", 2))
		s := follow(t, f, "acme", 0)
		v := next(t, s, time.Minute)
		if got, want := sessions(v), []int{1}; !slices.Equal(got, want) {
			t.Errorf("first view has %v, want %v", got, want)
		}
		if got, want := v.Keep, 20*time.Minute; got != want {
			t.Errorf("Keep is %s, want %s", got, want)
		}
		f.store.revoke(sessionFact("globex", 3))
		began := time.Now()
		if v := next(t, s, 10*time.Second); len(v.Ticks) != 0 {
			t.Errorf("a fact of another tenant gave %v", sessions(v))
		}
		if got, want := time.Since(began), 10*time.Second; got != want {
			t.Errorf("Next returned after %s, want %s", got, want)
		}
		f.store.revoke(sessionFact("acme", 4))
		revoked := time.Now()
		v = next(t, s, 10*time.Second)
		if got, want := sessions(v), []int{4}; !slices.Equal(got, want) {
			t.Errorf("view has %v, want %v", got, want)
		}
		if got, most := time.Since(revoked), 100*time.Millisecond; got > most {
			t.Errorf("Next returned %s after the revocation, want at most %s", got, most)
		}
	})
}

// A revocation is known within a second also while the store is slow, and its readings take at most a tenth of the time
// until they take 80 ms: they must not make it slower.
func TestFeedGivesAFactWithinASecondAlsoIfReadingsAreSlow(t *testing.T) {
	for _, took := range []time.Duration{0, 30 * time.Millisecond, 80 * time.Millisecond, 200 * time.Millisecond} {
		feed(t, func(t *testing.T, f *feeding) {
			s := follow(t, f, "acme", 0)
			next(t, s, 0)
			f.store.mu.Lock()
			f.store.took = took
			f.store.mu.Unlock()
			before, began := f.store.count("Revoked"), time.Now()
			for n := range 40 { // at as many phases of the readings
				time.Sleep(time.Duration(n) * 26 * time.Millisecond) // of the bubble's
				f.store.revoke(sessionFact("acme", n+1))
				revoked := time.Now()
				for !slices.Contains(sessions(next(t, s, 10*time.Second)), n+1) {
				}
				if late := time.Since(revoked); late > time.Second {
					t.Fatalf("readings of %s: a fact came %s after its revocation", took, late)
				}
			}
			readings := time.Duration(f.store.count("Revoked") - before)
			if share := readings * took; took <= 80*time.Millisecond && share > time.Since(began)/10+2*took {
				t.Errorf("readings of %s took %s of %s, more than a tenth", took, share, time.Since(began))
			}
		})
	}
}

// A replica without its store must refuse streams and end the open ones, so that clients go to another.
func TestFeedThatIsBlindSaysSo(t *testing.T) {
	for _, method := range []string{"Revoked", "Beat"} {
		t.Run(method, func(t *testing.T) {
			feed(t, func(t *testing.T, f *feeding) {
				s := follow(t, f, "acme", 0)
				next(t, s, 0)
				f.store.set(method, errors.New("no route to host"))
				time.Sleep(3 * time.Second)
				if _, err := s.Next(t.Context(), 0); !errors.Is(err, usecase.ErrBlind) {
					t.Errorf("Next: %v, want ErrBlind", err)
				}
				if _, err := f.Follow(t.Context(), "acme", 0); !errors.Is(err, domain.ErrUnavailable) {
					t.Errorf("Follow: %v, want ErrUnavailable", err)
				}
				f.store.set(method, nil)
				time.Sleep(time.Second)
				next(t, follow(t, f, "acme", 0), 0)
				next(t, s, 0)
				var got []usecase.FeedNoticeKind
				for _, n := range f.notices {
					got = append(got, n.Kind)
				}
				if want := []usecase.FeedNoticeKind{usecase.FeedFailed, usecase.FeedRecovered}; !slices.Equal(got, want) {
					t.Errorf("notices are %v, want %v", fmt.Sprint(f.notices), want)
				}
			})
		})
	}
}

// Behind a name or a pooler, the connection that reads may lead to a server that was cut off and replaced, while beats
// go to the new one. The facts that only the new one has are missing in such a reading, however recent the beat is.
func TestFeedDoesNotCountAReadingOfAServerThatWasReplaced(t *testing.T) {
	feed(t, func(t *testing.T, f *feeding) {
		s := follow(t, f, "acme", 0)
		next(t, s, 0)
		f.store.connect(f.store.replace())
		f.store.revoke(sessionFact("acme", 1))
		revoked := time.Now()
		time.Sleep(time.Microsecond)
		isBlind := false
		for time.Since(revoked) < 10*time.Second {
			v, err := s.Next(t.Context(), 100*time.Millisecond)
			if isBlind = err != nil; isBlind {
				time.Sleep(100 * time.Millisecond)
			} else if v.CompleteAsOf.After(revoked) {
				t.Fatalf("complete as of %s after a revocation that the reading cannot show", v.CompleteAsOf.Sub(revoked))
			}
		}
		if !isBlind {
			t.Error("the feed is not blind")
		}
		if _, err := f.Follow(t.Context(), "acme", 0); !errors.Is(err, domain.ErrUnavailable) {
			t.Errorf("Follow: %v, want ErrUnavailable", err)
		}
		f.store.connect(nil)
		time.Sleep(200 * time.Millisecond)
		if got := sessions(next(t, s, 0)); !slices.Equal(got, []int{1}) {
			t.Errorf("connected to the new server: sessions %v, want 1", got)
		}
		want := []usecase.FeedNoticeKind{usecase.FeedFailed, usecase.FeedRecovered}
		for i, n := range f.notices {
			if len(f.notices) != len(want) || n.Kind != want[i] || n.Task != usecase.FeedRead {
				t.Fatalf("notices are %v, want a reading that fails and recovers", f.notices)
			}
		}
	})
}

// The stamps of the server that was replaced are not those of the new one. A head of the former would let the feed skip
// what the latter stamps below it.
func TestFeedTakesNoHeadOfAServerThatWasReplaced(t *testing.T) {
	feed(t, func(t *testing.T, f *feeding) {
		f.store.revoke(sessionFact("acme", 1))
		s := follow(t, f, "acme", 0)
		time.Sleep(2 * time.Second)
		next(t, s, 0)
		former := f.store.replace()
		former.revoke(sessionFact("acme", 2))
		if _, err := former.Stamp(t.Context(), time.Now().Add(time.Minute), 10); err != nil {
			t.Fatal(err)
		}
		f.store.connect(former)
		time.Sleep(1200 * time.Millisecond) // a beat, and some readings
		f.store.revoke(sessionFact("acme", 3))
		if _, err := f.store.Stamp(t.Context(), time.Now(), 10); err != nil {
			t.Fatal(err)
		}
		stamped := time.Now()
		f.store.set("Stamp", errors.New("not now"))
		f.store.mu.Lock()
		f.store.head = former.head + 1 // a later stamp
		f.store.mu.Unlock()
		f.store.connect(nil)
		for known := []int(nil); !slices.Contains(known, 3); {
			v := next(t, s, 100*time.Millisecond)
			if known = append(known, sessions(v)...); !slices.Contains(known, 3) && v.CompleteAsOf.After(stamped) {
				t.Fatal("a view that is complete as of a later instant lacks the session")
			}
		}
	})
}

// A position that only the server that was replaced has given does not count either: a client with a later cursor, of
// the new server, may not have the fact.
func TestFeedTakesNoPositionOfAServerThatWasReplaced(t *testing.T) {
	feed(t, func(t *testing.T, f *feeding) {
		f.store.set("Stamp", errors.New("not now"))
		f.store.revoke(sessionFact("acme", 1))
		next(t, follow(t, f, "acme", 0), 0)
		former := f.store.replace()
		if _, err := former.Stamp(t.Context(), time.Now(), 10); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Minute)
		f.store.mu.Lock()
		f.store.head = domain.Position(time.Now().UnixMicro())
		cursor := f.store.head
		f.store.longest = 2 * time.Hour // the next reading begins far below the position
		f.store.mu.Unlock()
		time.Sleep(time.Second)
		s, err := f.Follow(t.Context(), "acme", cursor)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		f.store.connect(former)
		time.Sleep(600 * time.Millisecond) // another beat
		if _, err := f.Keep(t.Context(), "globex"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(300 * time.Millisecond)
		if got := sessions(next(t, s, 0)); !slices.Contains(got, 1) {
			t.Errorf("the first view has the sessions %v, without one that has no position", got)
		}
	})
}

// A commit that waits for a standby, or for the network, may be in a snapshot before its call returns.
func TestFeedWaitsForTheBeatThatAReadingShows(t *testing.T) {
	feed(t, func(t *testing.T, f *feeding) {
		f.store.slow = 450 * time.Millisecond // nearly always
		s := follow(t, f, "acme", 0)
		for range 50 {
			time.Sleep(100 * time.Millisecond)
			if v := next(t, s, 0); time.Since(v.CompleteAsOf) > 1600*time.Millisecond {
				t.Fatalf("complete as of %s ago", time.Since(v.CompleteAsOf))
			}
		}
		if len(f.notices) != 0 {
			t.Errorf("notices are %v, want none", f.notices)
		}
	})
}

// If two beats stored the same instant, a reading that shows the former would count as one that shows the latter.
func TestFeedNeverStoresAnInstantTwice(t *testing.T) {
	feed(t, func(t *testing.T, f *feeding) {
		var mu sync.Mutex
		var seen []time.Time
		f.store.onBeat = func(at time.Time) {
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, at)
		}
		next(t, follow(t, f, "acme", 0), 0)
		for range 5 { // at one instant of the clock
			f.BeatOnce(t.Context())
		}
		mu.Lock()
		defer mu.Unlock()
		for i, at := range seen {
			if i > 0 && !at.After(seen[i-1]) {
				t.Errorf("stored %s after %s", at, seen[i-1])
			}
		}
		if len(seen) < 6 {
			t.Errorf("%d beats", len(seen))
		}
	})
}

// wakes opens and closes a stream, so that the feed reads, and returns the cursor.
func wakes(t *testing.T, f *feeding, tenantID string) domain.Position {
	t.Helper()
	s, err := f.Follow(t.Context(), tenantID, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	return next(t, s, 0).Cursor
}

// A stream says how old its view is from the request on. If its first view were older than the request, a client that
// wants a view of now would have to guess how long to wait.
func TestFeedFollowWaitsForAReadingOfItsOwn(t *testing.T) {
	feed(t, func(t *testing.T, f *feeding) {
		wakes(t, f, "acme")
		for range 5 {
			call := time.Now()
			v := next(t, follow(t, f, "acme", 0), 0)
			if v.CompleteAsOf.Before(call.Add(-500 * time.Millisecond)) { // the interval of beats
				t.Errorf("complete as of %s before the request", call.Sub(v.CompleteAsOf))
			}
			time.Sleep(time.Second)
		}
		f.store.set("Revoked", errors.New("no route to host"))
		time.Sleep(time.Millisecond) // no reading started at the instant of the call
		if _, err := f.Follow(t.Context(), "acme", 0); !errors.Is(err, domain.ErrUnavailable) {
			t.Errorf("Follow, with the last reading before the call: %v, want ErrUnavailable", err)
		}
	})
}

// A process without resource servers must not read ten times a second, nor keep the facts.
func TestFeedSleepsWithoutStreams(t *testing.T) {
	feed(t, func(t *testing.T, f *feeding) {
		time.Sleep(time.Minute)
		if got := f.store.count("Revoked") + f.store.count("Beat"); got != 0 {
			t.Errorf("%d readings and beats before the first stream", got)
		}
		if got := f.store.count("Stamp"); got < 60 {
			t.Errorf("%d stamps in a minute without streams, want one a second: others read what is stamped", got)
		}
		f.store.revoke(sessionFact("acme", 1))
		time.Sleep(3 * time.Minute)
		f.store.revoke(sessionFact("acme", 3))
		time.Sleep(2 * time.Second) // the head is so far above the first that only a first reading finds that one
		wakes(t, f, "acme")
		time.Sleep(time.Millisecond)
		if got := f.Stats(); got.Facts != 2 || got.Age == 0 {
			t.Errorf("after a stream has ended: %+v, want two facts and an age", got)
		}
		time.Sleep(62 * time.Second)
		reads, beats := f.store.count("Revoked"), f.store.count("Beat")
		time.Sleep(time.Minute)
		if r, b := f.store.count("Revoked")-reads, f.store.count("Beat")-beats; r != 0 || b != 0 {
			t.Errorf("%d readings and %d beats a minute after the last stream", r, b)
		}
		if got := f.Stats(); got.Facts != 0 || got.Age != 0 || got.Streams != 0 {
			t.Errorf("a minute after the last stream: %+v, want no facts, no age", got)
		}
		time.Sleep(4 * time.Minute)
		f.store.revoke(sessionFact("acme", 2))
		time.Sleep(2 * time.Second) // it is stamped
		wakes(t, f, "acme")
		if got := f.Stats().Facts; got != 3 {
			t.Errorf("after another stream: %d facts, want the earlier two as well", got)
		}
	})
}

// An alert on the age fires while resource servers ask a replica that is blind, and not because one of them comes
// after a pause, or none comes.
func TestFeedAgeIsThatOfWhatSomebodyWants(t *testing.T) {
	feed(t, func(t *testing.T, f *feeding) {
		for range 3 {
			wakes(t, f, "acme")
			for range 50 {
				if got := f.Stats().Age; got > time.Second {
					t.Fatalf("age is %s", got)
				}
				time.Sleep(2 * time.Second)
			}
		}
		f.store.set("Revoked", errors.New("no route to host"))
		for range 10 { // clients that are refused come back
			if _, err := f.Follow(t.Context(), "acme", 0); err == nil {
				t.Fatal("a blind feed was followed")
			}
			time.Sleep(time.Second)
		}
		if got := f.Stats().Age; got < 20*time.Second {
			t.Errorf("age is %s after 30 s without a reading, want more than 20s", got)
		}
	})
}

// A database that never responds makes the feed blind. It must not hold the workers, nor those who ask.
func TestFeedSurvivesAStoreThatHangs(t *testing.T) {
	for _, method := range []string{"Revoked", "Beat", "Stamp", "LongestAccessTTL"} {
		t.Run(method, func(t *testing.T) {
			feed(t, func(t *testing.T, f *feeding) {
				s := follow(t, f, "acme", 0)
				f.store.hangs(method, true)
				time.Sleep(15 * time.Second)
				began := time.Now()
				_, _ = f.Follow(t.Context(), "acme", 0)
				if got, most := time.Since(began), 2*time.Second; got > most {
					t.Errorf("Follow returned after %s, want at most %s", got, most)
				}
				if _, err := s.Next(t.Context(), 0); (method == "Revoked" || method == "Beat") != errors.Is(err, usecase.ErrBlind) {
					t.Errorf("Next while %s hangs: %v", method, err)
				}
				f.store.hangs(method, false)
				time.Sleep(35 * time.Second) // the time-out of a reading after some that were cut short is 30 s
				next(t, s, 0)
			})
		})
	}
}

// Stamps and beats share a worker. A view does not need stamps.
func TestFeedIsNotBlindWhileStampsHang(t *testing.T) {
	feed(t, func(t *testing.T, f *feeding) {
		s := follow(t, f, "acme", 0)
		f.store.hangs("Stamp", true)
		f.store.mu.Lock()
		f.store.slow = 50 * time.Millisecond
		f.store.mu.Unlock()
		for range 2000 {
			time.Sleep(10 * time.Millisecond)
			if _, err := s.Next(t.Context(), 0); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// A tenant with access tokens of a longer lifetime than the default needs older facts than the feed has read.
func TestFeedReadsFurtherBackForATenantThatNeedsIt(t *testing.T) {
	feed(t, func(t *testing.T, f *feeding) {
		f.store.revoke(sessionFact("acme", 1))
		f.store.revoke(sessionFact("globex", 2))
		time.Sleep(90 * time.Minute)
		f.store.revoke(sessionFact("initech", 3))
		time.Sleep(2 * time.Second)
		s := follow(t, f, "globex", 0)
		if got := sessions(next(t, s, 0)); len(got) != 0 {
			t.Errorf("the default window has the session %v, revoked 90 min before", got)
		}
		f.store.mu.Lock()
		f.store.longest = 2 * time.Hour
		f.store.mu.Unlock()
		if got, want := sessions(next(t, follow(t, f, "acme", 0), 0)), []int{1}; !slices.Equal(got, want) {
			t.Errorf("sessions %v, want %v", got, want)
		}
		if got := sessions(next(t, s, time.Second)); len(got) != 0 {
			t.Errorf("the other tenant got the session %v, which no longer matters there", got)
		}
	})
}

// What readings miss is found by a check within a minute, counted and sent.
func TestFeedCountsWhatItsCheckRepairs(t *testing.T) {
	feed(t, func(t *testing.T, f *feeding) {
		s := follow(t, f, "acme", 0)
		f.store.revoke(sessionFact("acme", 1))
		time.Sleep(3 * time.Second)
		next(t, s, 0)
		missed := sessionFact("acme", 2)
		missed.Position = f.store.head - 1 // as if a stamp became visible late
		f.store.mu.Lock()
		f.store.facts[keyOf(missed)] = missed
		f.store.mu.Unlock()
		time.Sleep(61 * time.Second)
		if got, want := sessions(next(t, s, 0)), []int{2}; !slices.Equal(got, want) {
			t.Errorf("sessions %v, want %v", got, want)
		}
		if got := f.Stats().Repaired; got != 1 {
			t.Errorf("repaired %d, want 1", got)
		}
		if len(f.notices) != 1 || f.notices[0].Kind != usecase.FeedRepaired || f.notices[0].Facts != 1 {
			t.Errorf("notices are %v, want one of a repair", f.notices)
		}
		f.store.revoke(sessionFact("acme", 3))
		time.Sleep(5 * time.Minute)
		if got := f.Stats().Repaired; got != 1 {
			t.Errorf("repaired %d after facts that were not missed, want 1", got)
		}
	})
}

// A database that was restored, or a standby that took over, may have a lower head, and gives positions below the ones
// that were read.
func TestFeedReadsAgainWhenTheHeadGoesBack(t *testing.T) {
	feed(t, func(t *testing.T, f *feeding) {
		s := follow(t, f, "acme", 0)
		f.store.revoke(sessionFact("acme", 1))
		time.Sleep(3 * time.Second)
		before := next(t, s, 0).Cursor
		f.store.set("Stamp", errors.New("not now")) // another stamp would hide that the head went back
		time.Sleep(2 * time.Second)
		f.store.loseStamps(before - 600_000_000)
		late := sessionFact("acme", 2)
		late.Position = before - 300_000_000
		f.store.mu.Lock()
		f.store.facts[keyOf(late)], f.store.head = late, late.Position
		f.store.mu.Unlock()
		lost := time.Now()
		for known := []int(nil); !slices.Contains(known, 2); {
			v := next(t, s, 100*time.Millisecond)
			if known = append(known, sessions(v)...); !slices.Contains(known, 2) && v.CompleteAsOf.After(lost) {
				t.Fatal("a view that is complete as of a later instant lacks the session")
			}
		}
		if got := f.notices[len(f.notices)-1].Kind; got != usecase.FeedRewound {
			t.Errorf("notices are %v, want that the head went back", f.notices)
		}
		time.Sleep(time.Second)
		got := sessions(next(t, follow(t, f, "acme", before+3_600_000_000), 0))
		if got = slices.Compact(got); !slices.Equal(got, []int{1, 2}) { // the one that lost its position is repeated
			t.Errorf("a cursor above the head gave the sessions %v, want all", got)
		}
	})
}

// A session whose revocation was lost by a fail-over, and that is revoked again, is known to a replica that read it
// before. A client that was on another replica meanwhile does not know it.
func TestFeedResumesWithAFactThatHasLostItsPosition(t *testing.T) {
	feed(t, func(t *testing.T, f *feeding) {
		f.store.revoke(sessionFact("acme", 1))
		s := follow(t, f, "acme", 0)
		time.Sleep(5 * time.Minute)
		f.store.revoke(sessionFact("acme", 2))
		time.Sleep(2 * time.Second)
		cursor := next(t, s, 0).Cursor
		if got := sessions(next(t, follow(t, f, "acme", cursor), 0)); slices.Contains(got, 1) {
			t.Errorf("a resume gave the sessions %v, with one of 5 min before the cursor", got)
		}
		f.store.set("Stamp", errors.New("not now"))
		f.store.revoke(sessionFact("acme", 1)) // again, by another primary
		time.Sleep(time.Second)
		v := next(t, follow(t, f, "acme", cursor), 0)
		if got := sessions(v); !slices.Contains(got, 1) || !v.News {
			t.Errorf("a resume gave the sessions %v, want 1 too", got)
		}
	})
}

// The same subscriber is connected to that replica already: it must get the fact, whether it is read before it has a
// position again or after.
func TestFeedGivesAFactAgainThatHasLostItsPosition(t *testing.T) {
	for _, isStamped := range []bool{false, true} {
		t.Run(fmt.Sprintf("stamped %v", isStamped), func(t *testing.T) {
			feed(t, func(t *testing.T, f *feeding) {
				again := sessionFact("acme", 1)
				f.store.revoke(again)
				s := follow(t, f, "acme", 0)
				time.Sleep(5 * time.Minute)
				f.store.revoke(sessionFact("acme", 2))
				time.Sleep(2 * time.Second)
				s = follow(t, f, "acme", next(t, s, 0).Cursor)
				if got := sessions(next(t, s, 0)); slices.Contains(got, 1) {
					t.Errorf("a resume gave the sessions %v, with one of 5 min before the cursor", got)
				}
				f.store.set("Stamp", errors.New("not now"))
				f.store.mu.Lock()
				if isStamped {
					f.store.head++
					again.Position = f.store.head
				}
				f.store.facts[keyOf(again)] = again
				f.store.mu.Unlock()
				if got := sessions(next(t, s, time.Second)); !slices.Equal(got, []int{1}) {
					t.Errorf("a subscriber without the fact got the sessions %v, want 1", got)
				}
				if got := sessions(next(t, s, time.Minute)); len(got) != 0 {
					t.Errorf("then it got the sessions %v, want none", got)
				}
				if got := f.Stats().Facts; got != 2 {
					t.Errorf("%d facts, want 2", got)
				}
			})
		})
	}
}

// A tenant that was purged begins at epoch 0 if it is created again, and a fail-over may lose the raise of a mark. The
// mark that is stored counts, and not the highest that was ever read.
func TestFeedGivesAMarkThatIsLowerThanTheKnownOne(t *testing.T) {
	feed(t, func(t *testing.T, f *feeding) {
		s := follow(t, f, "acme", 0)
		for _, epoch := range []uint64{5, 6, 1} {
			f.store.revoke(domain.Fact{TenantID: "acme", Epoch: epoch})
			v := next(t, s, time.Minute)
			if len(v.Ticks) != 1 || len(v.Ticks[0].Facts()) != 1 || v.Ticks[0].Facts()[0].Epoch != epoch {
				t.Errorf("a view has %d ticks, want the mark with epoch %d", len(v.Ticks), epoch)
			}
			if got := f.Stats().Facts; got != 1 {
				t.Errorf("%d facts, want the one mark", got)
			}
		}
	})
}

// Ticks of one fact each would cost ten times the memory, and a frame each when a client resumes.
func TestFeedMergesTicks(t *testing.T) {
	feed(t, func(t *testing.T, f *feeding) {
		f.store.revoke(sessionFact("globex", 1))
		time.Sleep(2 * time.Second) // it is stamped, so there is a head
		f.store.set("Stamp", errors.New("not now"))
		s := follow(t, f, "acme", 0)
		var live []int
		for n := range 100 {
			f.store.revoke(sessionFact("acme", n))
			live = append(live, sessions(next(t, s, time.Second))...)
		}
		time.Sleep(30 * time.Second)
		if got := f.TickSizes("acme"); len(got) > 3 {
			t.Errorf("100 facts of a minute are in %d ticks", len(got))
		}
		if got := live; len(got) != 100 {
			t.Errorf("the subscriber got %d facts, want each of 100 once", len(got))
		}
		cursor := next(t, s, 0).Cursor
		if got := len(sessions(next(t, follow(t, f, "acme", cursor), 0))); got != 100 {
			t.Errorf("a resume gave %d facts without position, want 100", got)
		}
		time.Sleep(30 * time.Minute)
		f.store.mu.Lock()
		clear(f.store.facts)
		f.store.mu.Unlock()
		time.Sleep(30 * time.Minute)
		if got := f.Stats().Facts; got != 0 {
			t.Errorf("%d facts are held that no longer matter", got)
		}
	})
}

// Thousands of subscribers share the bytes of a tick.
func TestFeedEncodesATickOnce(t *testing.T) {
	feed(t, func(t *testing.T, f *feeding) {
		f.store.revoke(sessionFact("acme", 1))
		encoded := 0
		for range 3 {
			for _, k := range next(t, follow(t, f, "acme", 0), 0).Ticks {
				if got := string(k.Encoded(func(facts []domain.Fact) []byte {
					encoded++
					return fmt.Append(nil, len(facts))
				})); got != "1" {
					t.Errorf("encoded %q", got)
				}
			}
		}
		if encoded != 1 {
			t.Errorf("a tick was encoded %d times", encoded)
		}
	})
}

// The store recognizes a server that was replaced by a beat that it lacks. Before the first one it cannot.
func TestFeedAsksHowLongFactsMatterAfterABeat(t *testing.T) {
	feed(t, func(t *testing.T, f *feeding) {
		f.store.hangs("Beat", true)
		if _, err := f.Follow(t.Context(), "acme", 0); !errors.Is(err, usecase.ErrBlind) {
			t.Errorf("Follow without a beat: %v, want ErrBlind", err)
		}
		if got := f.store.count("LongestAccessTTL"); got != 0 {
			t.Errorf("got %d queries before a beat, want none", got)
		}
	})
}

// A stream of an unknown tenant is refused, and thousands of streams make one query.
func TestFeedReadsHowLongFactsMatterOncePerTenant(t *testing.T) {
	feed(t, func(t *testing.T, f *feeding) {
		if _, err := f.Follow(t.Context(), "nobody", 0); !errors.Is(err, domain.ErrNotFound) {
			t.Errorf("Follow of an unknown tenant: %v, want ErrNotFound", err)
		}
		before := f.store.count("LongestAccessTTL")
		var streams sync.WaitGroup
		for range 50 {
			streams.Go(func() {
				s, err := f.Follow(t.Context(), "acme", 0)
				if err != nil {
					t.Error(err)
					return
				}
				t.Cleanup(s.Close)
			})
		}
		streams.Wait()
		if got := f.store.count("LongestAccessTTL") - before; got != 1 {
			t.Errorf("50 streams made %d queries, want 1", got)
		}
		s, err := f.Follow(t.Context(), "acme", 0)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		f.store.mu.Lock()
		f.store.longest = time.Hour
		f.store.mu.Unlock()
		time.Sleep(10 * time.Second)
		if _, err := f.Keep(t.Context(), "acme"); err != nil {
			t.Fatal(err)
		}
		if got, want := next(t, s, 0).Keep, time.Hour+5*time.Minute; got != want {
			t.Errorf("Keep is %s, want %s", got, want)
		}
		time.Sleep(61 * time.Second)
		if _, err := s.Next(t.Context(), 0); !errors.Is(err, usecase.ErrBlind) {
			t.Errorf("Next, a minute after the last call of Keep: %v, want ErrBlind", err)
		}
	})
}

// keyIDs returns the signing keys in a view.
func keyIDs(v usecase.View) (ids []string) {
	for _, k := range v.Ticks {
		for _, f := range k.Facts() {
			if f.KeyID != "" {
				ids = append(ids, f.KeyID)
			}
		}
	}
	slices.Sort(ids)
	return ids
}

// A revoked signing key reaches the streams of its tenant; a shared one those of every tenant, also of one that the
// feed did not know when the key was revoked.
func TestFeedGivesRevokedKeysToTheirTenants(t *testing.T) {
	feed(t, func(t *testing.T, f *feeding) {
		acme, globex := follow(t, f, "acme", 0), follow(t, f, "globex", 0)
		want := func(when string, s *usecase.Subscription, want ...string) {
			t.Helper()
			if got := keyIDs(next(t, s, time.Second)); !slices.Equal(got, want) {
				t.Errorf("%s: keys %v, want %v", when, got, want)
			}
		}
		want("before", acme)
		want("before", globex)
		f.store.revoke(domain.Fact{TenantID: "acme", KeyID: "acme-1"})
		want("its key", acme, "acme-1")
		want("another tenant's key", globex)
		f.store.revoke(domain.Fact{KeyID: "shared-1"})
		want("a shared key", acme, "shared-1")
		want("a shared key", globex, "shared-1")
		want("a stream that opens before it is stamped", follow(t, f, "acme", 0), "acme-1", "shared-1")
		want("a tenant that comes before it is stamped", follow(t, f, "initech", 0), "shared-1")
		time.Sleep(10 * time.Minute) // ticks are merged meanwhile
		want("a stream that opens later", follow(t, f, "acme", 0), "acme-1", "shared-1")
		want("a tenant that comes later", follow(t, f, "umbrella", 0), "shared-1")
		f.store.mu.Lock()
		head := f.store.head
		f.store.mu.Unlock()
		time.Sleep(10 * time.Minute)
		f.store.revoke(domain.Fact{KeyID: "shared-2"})
		time.Sleep(2 * time.Second)
		v := next(t, follow(t, f, "hooli", head), time.Second)
		if got := keyIDs(v); !slices.Contains(got, "shared-2") || !v.News {
			t.Errorf("a tenant that comes with a cursor: keys %v, news %t, want shared-2 as news", got, v.News)
		}
		v = next(t, follow(t, f, "hooli", v.Cursor), 0)
		if v.News {
			t.Error("a stream with the last cursor is given news")
		}
		time.Sleep(time.Hour)
		want("a stream that opens when no token of the revoked keys is valid", follow(t, f, "acme", 0))
		if facts := f.Stats().Facts; facts != 0 {
			t.Errorf("%d facts are held, want none", facts)
		}
	})
}

// One reading may hold the revocation of a shared key and, after it, the first fact of a tenant.
func TestFeedGivesASharedKeyToATenantOfTheSameReading(t *testing.T) {
	for range 20 { // the order of the facts of a reading is any
		feed(t, func(t *testing.T, f *feeding) {
			other := follow(t, f, "other", 0)
			next(t, other, 0)
			f.store.mu.Lock()
			for _, fact := range []domain.Fact{sessionFact("acme", 1), {KeyID: "shared-1"}, sessionFact("acme", 2)} {
				f.store.facts[keyOf(fact)] = fact
			}
			f.store.mu.Unlock()
			next(t, other, time.Second)
			v := next(t, follow(t, f, "acme", 0), 0)
			if got := keyIDs(v); !slices.Equal(got, []string{"shared-1"}) {
				t.Fatalf("keys %v, want shared-1", got)
			}
		})
	}
}

// A tenant whose access tokens are valid for longer than the feed holds facts otherwise gets shared keys as early as it
// needs.
func TestFeedGivesOldSharedKeysToATenantWithLongTokens(t *testing.T) {
	feed(t, func(t *testing.T, f *feeding) {
		f.store.longest = 24 * time.Hour
		follow(t, f, "other", 0)
		f.store.revoke(domain.Fact{KeyID: "shared-1"})
		time.Sleep(20 * time.Hour)
		for _, tenant := range []string{"acme", "other"} {
			if got := keyIDs(next(t, follow(t, f, tenant, 0), 0)); !slices.Equal(got, []string{"shared-1"}) {
				t.Errorf("%s: keys %v, want shared-1", tenant, got)
			}
		}
	})
}

// A check finds the last facts of a quiet store again after they were dropped. They had not been missed, and an alert
// would be false.
func TestFeedDoesNotReportTheFactsOfAQuietStoreAsMissed(t *testing.T) {
	feed(t, func(t *testing.T, f *feeding) {
		follow(t, f, "acme", 0)
		f.store.revoke(sessionFact("acme", 1))
		f.store.revoke(domain.Fact{KeyID: "shared-1"})
		time.Sleep(2 * time.Hour)
		if s := f.Stats(); s.Repaired != 0 || s.Facts != 0 {
			t.Errorf("%d facts are reported as missed and %d are held, want none", s.Repaired, s.Facts)
		}
	})
}
