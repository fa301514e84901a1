package web_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/adapter/web"
)

// Greedy callers share the places, and the next caller always finds one.
func TestACallerHoldsAsManyPlacesAsAreFree(t *testing.T) {
	b := newBusySite(t)
	for _, step := range []struct {
		address, path string
		want          int
	}{
		{"192.0.2.1", "/work", 256}, {"192.0.2.2", "/work", 128}, {"192.0.2.3", "/work", 64},
		{"[2001:db8::1]", "/work", 32}, {"192.0.2.4", "/other", 8}, {"192.0.2.1", "/work", 0},
	} {
		n := web.MaxInProgress
		if step.path == "/other" {
			n = step.want
		}
		if in, _ := b.occupy(t, n, step.path, one(step.address)); in != step.want {
			t.Errorf("%s got %d places, want %d", step.address, in, step.want)
		}
	}
	b.empty()
	if in, release := b.occupy(t, web.MaxInProgress, "/work", one("192.0.2.1")); in != half {
		t.Errorf("got %d places after all were given back, want %d", in, half)
	} else {
		release()
	}
}

// A document is longer than the buffers of a client that does not read. Such a client does not delay other clients.
func TestReadersOfDocumentsHoldNoPlaces(t *testing.T) {
	b := newBusySite(t)
	const readers = web.MaxInProgress + 100
	in, release := b.occupy(t, readers, "/document", eachItsOwn)
	if in != readers || b.guard.InProgress() != 0 {
		t.Errorf("got %d of %d admitted, and %d in progress; want all, and none", in, readers, b.guard.InProgress())
	}
	in, releaseWork := b.occupy(t, 1, "/work", one("192.0.2.1"))
	if in != 1 {
		t.Error("an exchange beside them has no place")
	}
	go releaseWork() // the two let one another's requests go
	release()
}

// empty releases all requests in progress.
func (b *busySite) empty() {
	for n := b.guard.InProgress(); n > 0; n-- {
		b.letGo <- struct{}{}
	}
	for b.guard.InProgress() > 0 {
		time.Sleep(time.Millisecond)
	}
}

// A verified API key is a caller, whatever its address, and its address is another caller.
func TestAGoodKeyIsACallerOfItsOwn(t *testing.T) {
	b := newBusySite(t)
	const key = "ak_good"
	b.send(caller{key: key}, "/authenticate")
	in, _ := b.occupy(t, half+10, "/work", func(i int) caller {
		return caller{address: eachItsOwn(i).address, key: key}
	})
	if in != half {
		t.Errorf("a key got %d places, want %d", in, half)
	}
	if in, _ := b.occupy(t, 1, "/work", one("198.51.0.0")); in != 1 {
		t.Error("an address from which the key was used has no place")
	}
	b.empty()
}

// Requests other than exchanges run eight at a time for each caller. The others of the same caller wait in the order of
// arrival, hold no place, and are not refused. Other callers do not wait.
func TestRequestsOtherThanExchangesWaitForATurnOfTheirCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newStillSite(t)
		const turns, waiting = 8, 40
		order, letGo := make(chan int, turns+waiting), make(chan struct{})
		b.other = func(n int) { order <- n; <-letGo }
		statuses := make(chan int, turns+waiting)
		for n := range turns + waiting {
			go func() { statuses <- b.sendNumber(t.Context(), "192.0.2.1", n) }()
			synctest.Wait() // it runs, or waits for its turn
		}
		if got := b.guard.InProgress(); got != turns {
			t.Errorf("got %d in progress, want %d", got, turns)
		}
		if status := b.sendTo("192.0.2.1", "/work"); status != 200 {
			t.Errorf("an exchange of the same caller: got %d", status)
		}
		go func() { statuses <- b.sendNumber(t.Context(), "192.0.2.2", 1000) }()
		synctest.Wait()
		for n := range turns {
			if got := <-order; got != n {
				t.Errorf("got %d, want %d", got, n)
			}
		}
		if got := <-order; got != 1000 {
			t.Errorf("got %d, want the other caller's", got)
		}
		for n := range waiting {
			letGo <- struct{}{}
			synctest.Wait()
			if len(order) == 0 { // it was the other caller's that ended
				letGo <- struct{}{}
			}
			if got := <-order; got != turns+n {
				t.Errorf("got %d, want %d", got, turns+n)
			}
		}
		close(letGo)
		for range turns + waiting + 1 {
			if status := <-statuses; status != 200 {
				t.Errorf("got %d", status)
			}
		}
		if got := b.guard.InProgress(); got != 0 {
			t.Errorf("got %d in progress after all responses", got)
		}
	})
}

// Waiting requests take memory. A caller may have as many as are free, so that there is room for the next caller's.
func TestWaitingRequestsAreBoundedForEachCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newStillSite(t)
		letGo := make(chan struct{})
		b.other = func(int) { <-letGo }
		statuses := make(chan int, 2000)
		for i, step := range []struct {
			sent, refused int
		}{{300, 300 - 8 - 256}, {200, 200 - 8 - 128}, {8 + 64, 0}} {
			for n := range step.sent {
				go func() { statuses <- b.sendNumber(t.Context(), fmt.Sprintf("192.0.2.%d", i), n) }()
			}
			time.Sleep(time.Second) // those that were refused have been let go
			for range step.refused {
				if status := <-statuses; status != 503 {
					t.Errorf("got %d, want 503", status)
				}
			}
			if len(statuses) > 0 {
				t.Errorf("caller %d: more than %d were refused", i, step.refused)
			}
		}
		close(letGo)
		for range 8 + 256 + 8 + 128 + 8 + 64 {
			if status := <-statuses; status != 200 {
				t.Errorf("got %d, want 200", status)
			}
		}
	})
}

// A request stops waiting when its client disconnects, or when a second of its time remains: with no time left it would
// fail at the store, and be logged as a fault of the store. The next request gets its turn.
func TestAWaitForATurnEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newStillSite(t)
		letGo := make(chan struct{})
		b.other = func(int) { <-letGo }
		running := make(chan int, 8)
		for n := range 8 {
			go func() { running <- b.sendNumber(t.Context(), "192.0.2.1", n) }()
		}
		synctest.Wait()
		begin := time.Now()
		if status := b.sendNumber(t.Context(), "192.0.2.1", 8); status != 503 {
			t.Errorf("got %d, want 503", status)
		}
		if took := time.Since(begin); took < 9*time.Second || took >= 10*time.Second {
			t.Errorf("waited %s, want 9s", took)
		}
		client, leave := context.WithCancel(t.Context())
		left := make(chan int)
		go func() { left <- b.sendNumber(client, "192.0.2.1", 9) }()
		synctest.Wait()
		refusals := b.refused.Load()
		leave()
		<-left
		if got := b.refused.Load(); got != refusals {
			t.Error("a client that left counts as refused")
		}
		last := make(chan int)
		go func() { last <- b.sendNumber(t.Context(), "192.0.2.1", 10) }()
		synctest.Wait()
		letGo <- struct{}{}
		letGo <- struct{}{}
		synctest.Wait()
		if got := b.guard.InProgress(); got != 7 { // 6 of the first, and the last
			t.Errorf("got %d in progress, want 7", got)
		}
		close(letGo)
		for range 8 {
			<-running
		}
		if status := <-last; status != 200 || b.guard.InProgress() != 0 {
			t.Errorf("got %d, and %d in progress", status, b.guard.InProgress())
		}
	})
}

// A list that is slow because it is long says nothing about the store, and must not lower the bound.
func TestOnlyExchangesMoveTheBound(t *testing.T) {
	b := newBusySite(t)
	for range 20 {
		_, release := b.occupy(t, 8, "/other", one("192.0.2.1"))
		b.clock.wait(time.Minute)
		release()
	}
	if in, release := b.occupy(t, web.MaxInProgress, "/work", eachItsOwn); in != web.MaxInProgress {
		t.Errorf("got %d admitted, want %d", in, web.MaxInProgress)
	} else {
		release()
	}
	// Garbage must not raise it either, because it is refused quickly however slow the store is.
	for range 10 {
		_, release := b.occupy(t, 1, "/work", eachItsOwn)
		b.clock.wait(time.Second)
		release()
	}
	for range 4 * web.MaxInProgress {
		b.send(caller{}, "/garbage")
	}
	if in, release := b.occupy(t, web.MaxInProgress, "/work", eachItsOwn); in != web.MinInProgress {
		t.Errorf("got %d admitted, want %d", in, web.MinInProgress)
	} else {
		release()
	}
}

// Only requests that began under the present bound lower it. If earlier ones lowered it again, it would be at its
// minimum after one bad moment, and below what a greedy caller still holds: then there is no place for the next caller.
func TestABoundThatFellIsNotLoweredByWhatBeganBefore(t *testing.T) {
	b := newBusySite(t)
	in, _ := b.occupy(t, half, "/work", one("192.0.2.1"))
	if in != half {
		t.Fatalf("got %d admitted, want %d", in, half)
	}
	b.clock.wait(time.Second)
	b.letGo <- struct{}{} // one is slow, and then another one
	b.clock.wait(time.Second)
	b.letGo <- struct{}{}
	for b.guard.InProgress() > half-2 {
		time.Sleep(time.Millisecond)
	}
	in, _ = b.occupy(t, 200, "/work", eachItsOwn)
	if want := 384 - (half - 2); in != want {
		t.Errorf("got %d places for others, want %d", in, want)
	}
	b.empty()
}

func (b *stillSite) handle(c echo.Context) error {
	n, err := strconv.Atoi(c.QueryParam("n"))
	if err != nil {
		return err
	}
	b.other(n)
	return ok(c)
}

// A stillSite is a busySite without a network and with real, or synctest's, time.
type stillSite struct {
	*site
	guard   *web.Guard
	refused atomic.Int64
	other   func(n int)
}

func newStillSite(t *testing.T) *stillSite {
	t.Helper()
	b := &stillSite{}
	b.guard = web.NewGuard(web.RateLimits{}, nil, time.Now, func(string) { b.refused.Add(1) })
	b.site = newGuardedSite(t, b.guard)
	b.POST("/other", b.handle)
	b.POST("/work", ok)
	return b
}

func (b *stillSite) sendTo(address, path string) int {
	req := httptest.NewRequest("POST", path, strings.NewReader("{}"))
	req.RemoteAddr = address + ":1"
	rec := httptest.NewRecorder()
	b.ServeHTTP(rec, req)
	return rec.Code
}

func (b *stillSite) sendNumber(ctx context.Context, address string, n int) int {
	req := httptest.NewRequestWithContext(ctx, "POST", fmt.Sprint("/other?n=", n), strings.NewReader("{}"))
	req.RemoteAddr = address + ":1"
	rec := httptest.NewRecorder()
	b.ServeHTTP(rec, req)
	return rec.Code
}
