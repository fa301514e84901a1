package usecase_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/refreshd/refreshd/domain"
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
	calls   map[string]int
	each    func(domain.Fact) // is called before each fact of a reading
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

// revoke stores a fact without a position.
func (r *reach) revoke(f domain.Fact) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f.Position = 0
	r.facts[keyOf(f)] = f
}

func (r *reach) Revoked(
	ctx context.Context, after domain.Position, each func(domain.Fact),
) (domain.Position, error) {
	r.mu.Lock()
	var found []domain.Fact
	for _, f := range r.facts {
		if f.Position == 0 || f.Position > after {
			found = append(found, f)
		}
	}
	head := r.head
	r.mu.Unlock()
	err := r.call(ctx, "Revoked")
	if err != nil {
		found = found[:len(found)/2] // a reading that fails may have begun
	}
	for _, f := range found {
		each(f)
	}
	return head, err
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

func (r *reach) Beat(ctx context.Context, _ string, _ time.Time) error { return r.call(ctx, "Beat") }

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
		test(t, f)
		stop()
		workers.Wait()
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
