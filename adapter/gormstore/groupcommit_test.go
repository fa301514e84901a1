package gormstore_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/refreshd/refreshd/adapter/gormstore"
	"github.com/refreshd/refreshd/domain"
)

// writes is a database that finishes a write when a test says so.
type writes struct {
	gormstore.GroupCommit
	t *testing.T

	mu                 sync.Mutex
	begun              []*write
	failing            error              // the error of a batch, after it has read its rows
	failingAlone       error              // the error of a write of one exchange
	panicking, hanging bool               // instead of writing a batch
	held               map[domain.ID]bool // rows that a batch skips
	policy             domain.Policy      // of all
}

// write is a running write.
type write struct {
	ids    []domain.ID
	finish chan struct{}
}

func newWrites(t *testing.T, slots int) *writes {
	w := &writes{t: t, held: map[domain.ID]bool{}}
	w.GroupCommit = gormstore.NewGroupCommit(slots, w.one, w.many)
	return w
}

func (w *writes) begin(ids ...domain.ID) *write {
	w.mu.Lock()
	defer w.mu.Unlock()
	this := &write{ids: ids, finish: make(chan struct{})}
	w.begun = append(w.begun, this)
	return this
}

// rotate returns what the database writes.
func (w *writes) rotate(e *gormstore.Exchange) (domain.RefreshToken, domain.Policy) {
	before := domain.RefreshToken{ID: e.ID(), Generation: e.Call().Generation}
	return before.Rotated(w.policy, e.Call().Now, ""), w.policy
}

func (w *writes) one(ctx context.Context, e *gormstore.Exchange) error {
	this := w.begin(e.ID())
	select {
	case <-this.finish:
	case <-ctx.Done():
		return ctx.Err()
	}
	e.Answer(w.rotate(e))
	return w.failingAlone
}

func (w *writes) many(ctx context.Context, batch []*gormstore.Exchange) error {
	var ids []domain.ID
	for _, e := range batch {
		ids = append(ids, e.ID())
	}
	this := w.begin(ids...)
	if w.hanging {
		<-ctx.Done()
		return ctx.Err()
	}
	<-this.finish
	if w.panicking {
		panic("a fault of the driver")
	}
	if ctx.Err() != nil {
		w.t.Error("a caller's context ended a write that others share")
	}
	for _, e := range batch {
		if !w.held[e.ID()] {
			e.Finish(w.rotate(e))
		}
	}
	return w.failing
}

// started returns the writes that have begun since the last call.
func (w *writes) started() (begun []*write) {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	begun, w.begun = w.begun, nil
	return begun
}

// result is the result of an exchange.
type result struct {
	token domain.RefreshToken
	err   error
}

// call exchanges generation 1 in a goroutine, and returns when that waits for something.
func (w *writes) call(ctx context.Context, id byte) <-chan result {
	return w.exchange(ctx, id, domain.Call{Generation: 1, Now: start})
}

func (w *writes) exchange(ctx context.Context, id byte, c domain.Call) <-chan result {
	got := make(chan result, 1)
	go func() {
		t, err := w.Do(ctx, domain.ID{id}, c)
		got <- result{t, err}
	}()
	synctest.Wait()
	return got
}

func (w *writes) wantAnswer(got <-chan result, id byte) {
	w.t.Helper()
	synctest.Wait()
	select {
	case r := <-got:
		if r.err != nil || r.token.ID != (domain.ID{id}) {
			w.t.Errorf("exchange of %d: got the result of %d, error %v", id, r.token.ID[0], r.err)
		}
	default:
		w.t.Errorf("exchange of %d has no result", id)
	}
}

func sizes(begun []*write) (sizes []int) {
	for _, w := range begun {
		sizes = append(sizes, len(w.ids))
	}
	return sizes
}

// A single exchange that waited to fill a batch would be slower for nothing.
func TestAnExchangeThatFindsASlotIsWrittenImmediately(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWrites(t, 2)
		first, second := w.call(t.Context(), 1), w.call(t.Context(), 2)
		begun := w.started()
		if got := sizes(begun); !slices.Equal(got, []int{1, 1}) {
			t.Fatalf("got writes of %v, want two by themselves", got)
		}
		close(begun[1].finish)
		w.wantAnswer(second, 2)
		close(begun[0].finish)
		w.wantAnswer(first, 1)
		if got := w.Free(); got != 2 {
			t.Errorf("%d slots are free, want 2", got)
		}
	})
}

func TestExchangesThatComeDuringAWriteShareTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWrites(t, 1)
		first := w.call(t.Context(), 1)
		var others []<-chan result
		for id := byte(2); id < 6; id++ {
			others = append(others, w.call(t.Context(), id))
		}
		begun := w.started()
		if got := sizes(begun); !slices.Equal(got, []int{1}) {
			t.Fatalf("got writes of %v, want the first by itself and nothing beside it", got)
		}
		close(begun[0].finish)
		w.wantAnswer(first, 1)
		begun = w.started()
		if got := sizes(begun); !slices.Equal(got, []int{4}) {
			t.Fatalf("got writes of %v, want the four others in one", got)
		}
		for _, other := range others {
			select {
			case <-other:
				t.Error("an exchange returned before its write had ended")
			default:
			}
		}
		close(begun[0].finish)
		for i, other := range others {
			w.wantAnswer(other, byte(i+2))
		}
		if free, waiting := w.Free(), w.Waiting(); free != 1 || waiting != 0 {
			t.Errorf("%d slots are free and %d wait, want 1 and 0", free, waiting)
		}
	})
}

// newSharedWrites returns writes under the rule for PostgreSQL.
func newSharedWrites(t *testing.T) *writes {
	w := &writes{t: t, held: map[domain.ID]bool{}}
	w.GroupCommit = gormstore.NewSharedGroupCommit(w.one, w.many)
	return w
}

// On a disk whose commits take long, an exchange must not wait for one commit before it begins its own: they can share
// a flush.
func TestAFurtherWriteStartsAfterAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newSharedWrites(t)
		var all []<-chan result
		var begun []*write
		for id := byte(1); id <= 3; id++ {
			all = append(all, w.call(t.Context(), id))
			if id > 1 {
				all = append(all, w.call(t.Context(), 10*id))
				if got := w.started(); len(got) > 0 {
					t.Fatalf("got writes of %v beside one that has just started, want none", sizes(got))
				}
				time.Sleep(gormstore.WriteApart)
			}
			now := w.started()
			if got, want := sizes(now), []int{min(int(id), 2)}; !slices.Equal(got, want) {
				t.Fatalf("got writes of %v, want %v", got, want)
			}
			begun = append(begun, now...)
		}
		for _, b := range slices.Backward(begun) {
			close(b.finish)
		}
		for i, id := range []byte{1, 2, 20, 3, 30} {
			w.wantAnswer(all[i], id)
		}
		if free, waiting := w.Free(), w.Waiting(); free != gormstore.MostWrites || waiting != 0 {
			t.Errorf("%d slots are free and %d wait, want all and 0", free, waiting)
		}
	})
}

// Two small writes cost the database more than one: a further one starts immediately only for many.
func TestAFurtherWriteStartsForEnoughExchanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newSharedWrites(t)
		all := []<-chan result{w.call(t.Context(), 0)}
		first := w.started()
		for id := 1; id <= gormstore.WriteEnough; id++ {
			if got := w.started(); len(got) > 0 {
				t.Fatalf("got writes of %v for %d that wait, want none", sizes(got), id-1)
			}
			all = append(all, w.call(t.Context(), byte(id)))
		}
		second := w.started()
		if got := sizes(second); !slices.Equal(got, []int{gormstore.WriteEnough}) {
			t.Fatalf("got writes of %v, want one of %d", got, gormstore.WriteEnough)
		}
		for _, b := range slices.Concat(first, second) {
			close(b.finish)
		}
		for id, got := range all {
			w.wantAnswer(got, byte(id))
		}
	})
}

// A single exchange that waited for company would be slower for nothing, however soon it comes after the last write.
func TestAnExchangeAloneNeverWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newSharedWrites(t)
		for id := byte(1); id <= 20; id++ {
			got := w.call(t.Context(), id)
			begun := w.started()
			if len(begun) != 1 {
				t.Fatalf("exchange %d waits while nothing is written", id)
			}
			close(begun[0].finish)
			w.wantAnswer(got, id)
		}
	})
}

// Each write has a connection of the pool, which other requests need too.
func TestWritesAtATimeHaveABound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newSharedWrites(t)
		var all []<-chan result
		for id := 0; id < gormstore.MostWrites+2; id++ {
			all = append(all, w.call(t.Context(), byte(id)))
			time.Sleep(gormstore.WriteApart)
		}
		begun := w.started()
		if len(begun) != gormstore.MostWrites || w.Free() != 0 || w.Waiting() != 2 {
			t.Fatalf("%d writes, %d slots are free, %d wait, want %d, none and 2", len(begun), w.Free(), w.Waiting(),
				gormstore.MostWrites)
		}
		close(begun[3].finish)
		last := w.started()
		if got := sizes(last); !slices.Equal(got, []int{2}) {
			t.Fatalf("got writes of %v, want the two that wait in one", got)
		}
		for i, b := range slices.Concat(begun, last) {
			if i != 3 {
				close(b.finish)
			}
		}
		for id, got := range all {
			w.wantAnswer(got, byte(id))
		}
	})
}

func TestWritesLeaveConnectionsToOthers(t *testing.T) {
	for connections, want := range map[int]int{1: 2, 2: 2, 5: 2, 6: 3, 16: 8, 20: 8, 200: 8} {
		if got := gormstore.MostWritesWithin(connections); got != want {
			t.Errorf("%d connections: %d writes at a time, want %d", connections, got, want)
		}
	}
}

// What waits for a write of its own refresh token starts when that ends, and until then nothing wakes up for it.
func TestAnExchangeThatWaitsForItsRefreshTokenSetsNoAlarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newSharedWrites(t)
		first := w.call(t.Context(), 1)
		second := w.exchange(t.Context(), 1, domain.Call{Generation: 2, Now: start})
		begun := w.started()
		time.Sleep(10 * gormstore.WriteApart)
		if got := w.started(); len(got) > 0 {
			t.Fatalf("got writes of %v for a refresh token that is being written", sizes(got))
		}
		close(begun[0].finish)
		w.wantAnswer(first, 1)
		next := w.started()
		if got := sizes(next); !slices.Equal(got, []int{1}) {
			t.Fatalf("got writes of %v, want the one that waited", got)
		}
		close(next[0].finish)
		w.wantAnswer(second, 1)
	})
}

// A statement with too many rows would make all of them wait for the last.
func TestABatchHasABound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWrites(t, 1)
		first := w.call(t.Context(), 0)
		var others []<-chan result
		for id := byte(1); id <= gormstore.MaxBatch+10; id++ {
			others = append(others, w.call(t.Context(), id))
		}
		for _, want := range []int{1, gormstore.MaxBatch, 10} {
			begun := w.started()
			if got := sizes(begun); !slices.Equal(got, []int{want}) {
				t.Fatalf("got writes of %v, want one of %d", got, want)
			}
			close(begun[0].finish)
		}
		w.wantAnswer(first, 0)
		for i, other := range others {
			w.wantAnswer(other, byte(i+1))
		}
	})
}

// Two concurrent writes of one row would wait for each other, with all exchanges in them.
func TestARefreshTokenIsInOneWriteOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWrites(t, 2)
		first, again, other := w.call(t.Context(), 1), w.call(t.Context(), 1), w.call(t.Context(), 2)
		begun := w.started()
		if got := sizes(begun); !slices.Equal(got, []int{1, 1}) || begun[1].ids[0] != (domain.ID{2}) {
			t.Fatalf("got writes of %v, want the first and the other", got)
		}
		close(begun[1].finish)
		w.wantAnswer(other, 2)
		if begun := w.started(); len(begun) > 0 {
			t.Error("a refresh token that is being written is written a second time")
		}
		close(begun[0].finish)
		w.wantAnswer(first, 1)
		synctest.Wait()
		// The first has left generation 1 behind, so the one that came after it has lost without a query.
		if r := <-again; !errors.Is(r.err, domain.ErrConflict) {
			t.Errorf("the second exchange of one generation: got error %v, want ErrConflict", r.err)
		}
		if begun := w.started(); len(begun) > 0 {
			t.Error("the database was asked for a known result")
		}
	})
}

// The winner's conditions may fail where the loser's do not: only a success decides about the other.
func TestAnExchangeBehindOneThatFailedIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWrites(t, 1)
		ctx, cancel := context.WithCancel(t.Context())
		first, again := w.call(ctx, 1), w.call(t.Context(), 1)
		cancel()
		synctest.Wait()
		if r := <-first; !errors.Is(r.err, context.Canceled) {
			t.Errorf("got error %v, want that of the context", r.err)
		}
		begun := w.started()
		if got := sizes(begun); !slices.Equal(got, []int{1, 1}) {
			t.Fatalf("got writes of %v, want one for each", got)
		}
		close(begun[1].finish)
		w.wantAnswer(again, 1)
	})
}

// A failed wait for the row counts for exchanges that have waited long for it, and not for one that has just arrived.
func TestAnExchangeThatHasJustComeDoesNotFailWithTheOneBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWrites(t, 1)
		first, soon := w.call(t.Context(), 1), w.call(t.Context(), 1)
		time.Sleep(990 * time.Millisecond)
		late := w.call(t.Context(), 1)
		time.Sleep(10 * time.Millisecond)
		w.failingAlone = errLockTimeOut
		close(w.started()[0].finish)
		synctest.Wait()
		for name, got := range map[string]<-chan result{"the one that waited": first, "one that came with it": soon} {
			select {
			case r := <-got:
				if !errors.Is(r.err, errLockTimeOut) {
					t.Errorf("%s: got %v, want the lock time-out", name, r.err)
				}
			default:
				t.Errorf("%s still waits", name)
			}
		}
		begun := w.started()
		if got := sizes(begun); !slices.Equal(got, []int{1}) {
			t.Fatalf("got writes of %v, want one for the one that came late", got)
		}
		w.failingAlone = nil
		close(begun[0].finish)
		w.wantAnswer(late, 1)
	})
}

func TestACallerThatLeavesTakesNobodyAlong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWrites(t, 1)
		first := w.call(t.Context(), 1)
		waitingCtx, leaveWaiting := context.WithCancel(t.Context())
		writtenCtx, leaveWritten := context.WithCancel(t.Context())
		waiting, written, other := w.call(waitingCtx, 2), w.call(writtenCtx, 3), w.call(t.Context(), 4)
		leaveWaiting()
		synctest.Wait()
		if r := <-waiting; !errors.Is(r.err, context.Canceled) {
			t.Errorf("a caller that waited and left: got error %v, want that of its context", r.err)
		}
		begun := w.started()
		close(begun[0].finish)
		w.wantAnswer(first, 1)
		begun = w.started()
		if got := sizes(begun); !slices.Equal(got, []int{2}) {
			t.Fatalf("got writes of %v, want one of the two who stayed", got)
		}
		leaveWritten()
		synctest.Wait()
		if r := <-written; !errors.Is(r.err, context.Canceled) {
			t.Errorf("a caller that left while it was written: got error %v, want that of its context", r.err)
		}
		close(begun[0].finish)
		w.wantAnswer(other, 4)
		if free := w.Free(); free != 1 {
			t.Errorf("%d slots are free, want 1", free)
		}
	})
}

// The last waiting exchange may leave at the moment when it gets the slot. Both outcomes of that race are frequent.
func TestASlotIsNotLostWithACallerThatLeaves(t *testing.T) {
	for range 500 {
		synctest.Test(t, func(t *testing.T) {
			w := newWrites(t, 1)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			first, second := w.call(t.Context(), 1), w.call(ctx, 2)
			begun := w.started()
			go func() {
				time.Sleep(time.Second) // at the time-out of the second, in an unknown order
				close(begun[0].finish)
			}()
			time.Sleep(time.Second)
			w.wantAnswer(first, 1)
			for _, write := range w.started() {
				close(write.finish)
			}
			synctest.Wait()
			<-second
			if free := w.Free(); free != 1 {
				t.Fatalf("%d slots are free, want 1", free)
			}
		})
	}
}

// It is unknown whether a batch that failed was written, for each exchange in it. Skipped exchanges were not written.
func TestWhatABatchDidNotWriteGoesAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWrites(t, 1)
		w.held[domain.ID{2}] = true
		first, held, other := w.call(t.Context(), 1), w.call(t.Context(), 2), w.call(t.Context(), 3)
		close(w.started()[0].finish)
		w.wantAnswer(first, 1)
		close(w.started()[0].finish)
		w.wantAnswer(other, 3)
		begun := w.started()
		if got := sizes(begun); !slices.Equal(got, []int{1}) || begun[0].ids[0] != (domain.ID{2}) {
			t.Fatalf("got writes of %v, want the skipped one by itself", got)
		}
		// It may have to wait for the session that holds the row; the others need not.
		last := w.call(t.Context(), 4)
		close(w.started()[0].finish)
		w.wantAnswer(last, 4)
		close(begun[0].finish)
		w.wantAnswer(held, 2)
	})
}

func TestABatchThatFailsFailsForEachOfIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWrites(t, 1)
		w.failing = errors.New("the server has stopped")
		first, second, third := w.call(t.Context(), 1), w.call(t.Context(), 2), w.call(t.Context(), 3)
		close(w.started()[0].finish)
		w.wantAnswer(first, 1)
		close(w.started()[0].finish)
		synctest.Wait()
		for _, got := range []<-chan result{second, third} {
			if r := <-got; !errors.Is(r.err, w.failing) {
				t.Errorf("got error %v, want that of the batch", r.err)
			}
		}
		if begun := w.started(); len(begun) > 0 || w.Free() != 1 {
			t.Errorf("%d writes have begun and %d slots are free, want 0 and 1", len(begun), w.Free())
		}
	})
}

// Only a commit shows that another exchange has lost.
func TestOneBehindABatchThatFailedIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWrites(t, 1)
		w.failing = errors.New("the commit failed")
		first, second := w.call(t.Context(), 1), w.call(t.Context(), 2)
		third, again := w.call(t.Context(), 3), w.call(t.Context(), 2)
		close(w.started()[0].finish)
		w.wantAnswer(first, 1)
		close(w.started()[0].finish)
		synctest.Wait()
		<-second
		<-third
		begun := w.started()
		if got := sizes(begun); !slices.Equal(got, []int{1}) || begun[0].ids[0] != (domain.ID{2}) {
			t.Fatalf("got writes of %v, want one of who waited", got)
		}
		close(begun[0].finish)
		w.wantAnswer(again, 2)
	})
}

// Of a thousand tabs with the current string, those that wait for the rotation of another one get its result, if they
// are in its grace period. Otherwise the database has to decide.
func TestARotationFinishesWaitingExchangesInItsGracePeriod(t *testing.T) {
	const grace = 30 * time.Second
	for _, test := range []struct {
		name     string
		grace    time.Duration
		behind   time.Duration // the clock of the waiting one
		conflict bool
	}{
		{"within the grace period", grace, time.Second, true},
		{"within it, by a clock that is behind", grace, -grace + time.Microsecond, true},
		{"a grace period later", grace, grace, false},
		{"a grace period before", grace, -grace, false},
		{"without a grace period", 0, 0, false},
	} {
		for _, shared := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, shared=%t", test.name, shared), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWrites(t, 1)
					w.policy.GracePeriod = test.grace
					var first, other <-chan result
					if shared { // a batch of two behind a third
						ahead := w.call(t.Context(), 3)
						first, other = w.call(t.Context(), 1), w.call(t.Context(), 2)
						close(w.started()[0].finish)
						w.wantAnswer(ahead, 3)
					} else {
						first = w.call(t.Context(), 1)
					}
					rotating := w.started()
					got := w.exchange(t.Context(), 1, domain.Call{Generation: 2, Now: start.Add(test.behind)})
					close(rotating[0].finish)
					w.wantAnswer(first, 1)
					if shared {
						w.wantAnswer(other, 2)
					}
					begun := w.started()
					if test.conflict {
						if len(begun) > 0 {
							t.Errorf("got writes of %v, want none", sizes(begun))
						}
						if r := <-got; !errors.Is(r.err, domain.ErrConflict) {
							t.Errorf("got error %v, want ErrConflict", r.err)
						}
					} else {
						if got := sizes(begun); !slices.Equal(got, []int{1}) {
							t.Fatalf("got writes of %v, want one", got)
						}
						close(begun[0].finish)
						w.wantAnswer(got, 1)
					}
					if free, waiting := w.Free(), w.Waiting(); free != 1 || waiting != 0 {
						t.Errorf("%d slots are free and %d wait, want 1 and 0", free, waiting)
					}
				})
			})
		}
	}
}

// A panic in the batch's own goroutine would end the process, with every exchange in it.
func TestAPanicInASharedWriteIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWrites(t, 1)
		w.panicking = true
		first, second, third := w.call(t.Context(), 1), w.call(t.Context(), 2), w.call(t.Context(), 3)
		close(w.started()[0].finish)
		w.wantAnswer(first, 1)
		close(w.started()[0].finish)
		synctest.Wait()
		for _, got := range []<-chan result{second, third} {
			if r := <-got; r.err == nil || !strings.Contains(r.err.Error(), "a fault of the driver") {
				t.Errorf("got error %v, want one that reports the panic", r.err)
			}
		}
		if free := w.Free(); free != 1 {
			t.Errorf("%d slots are free, want 1", free)
		}
	})
}

// Two connections to a stopped server would otherwise stop all exchanges until they time out.
func TestAWriteThatTakesLongReleasesItsSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWrites(t, 1)
		begin := time.Now()
		slow := w.call(t.Context(), 1)
		waited := []<-chan result{w.call(t.Context(), 2), w.call(t.Context(), 3)}
		again := w.call(t.Context(), 1)
		stuck := w.started()
		time.Sleep(time.Second)
		begun := w.started()
		if got := sizes(begun); !slices.Equal(got, []int{2}) {
			t.Fatalf("got writes of %v, want one of the two who waited", got)
		}
		close(begun[0].finish)
		for i, got := range waited {
			w.wantAnswer(got, byte(i+2))
		}
		if begun := w.started(); len(begun) > 0 {
			t.Error("a refresh token that is being written is written a second time")
		}
		if free := w.Free(); free != 1 {
			t.Errorf("%d slots are free beside the slow write, want 1", free)
		}
		close(stuck[0].finish)
		w.wantAnswer(slow, 1)
		if r := <-again; !errors.Is(r.err, domain.ErrConflict) {
			t.Errorf("got error %v, want ErrConflict", r.err)
		}
		if free := w.Free(); free != 1 {
			t.Errorf("%d slots are free, want 1", free)
		}
		if waited := time.Since(begin); waited > 2*time.Second {
			t.Errorf("it took %s", waited)
		}
	})
}

// A batch that hangs would hold its connection, and all of its callers, without end.
func TestASharedWriteHasATimeOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWrites(t, 1)
		w.hanging = true
		first, second, third := w.call(t.Context(), 1), w.call(t.Context(), 2), w.call(t.Context(), 3)
		close(w.started()[0].finish)
		w.wantAnswer(first, 1)
		time.Sleep(time.Minute)
		synctest.Wait()
		for _, got := range []<-chan result{second, third} {
			if r := <-got; !errors.Is(r.err, context.DeadlineExceeded) {
				t.Errorf("got error %v, want that of a time-out", r.err)
			}
		}
	})
}
