package httpapi_test

import (
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/refreshd/refreshd/domain"
)

func itoa(n int) string { return strconv.Itoa(n) }

// largest returns a request of /jwt/issue for the largest refresh token that it accepts, and one that is six times as
// long in a response, where < and & are escaped.
func largest(user string) option {
	return text(`{"applicationsId":"shop","userId":"` + user + `","roles":["` + strings.Repeat("r", 200) + `"],` +
		`"claims":{"x":"` + strings.Repeat("<", 4_000) + `"},"metaData":{"data":{"x":"` + strings.Repeat("&", 4_000) + `"}}}`)
}

// A page is bounded in bytes, not only in refresh tokens. A thousand of the largest are 29 MB, which each slow reader
// would keep in memory.
func TestAPageEndsAfterAMebibyte(t *testing.T) {
	s := newService(t)
	const n = 60
	for range n {
		s.do(t, "POST", "/jwt/issue", backend, largest("big")).want(t, 200)
	}
	var got []string
	pages := 0
	for target := "/jwt/refresh?userId=big&limit=1000"; target != ""; pages++ {
		a := s.do(t, "GET", target, backend).want(t, 200)
		var list []struct{ ID string }
		a.data(t, &list)
		if row := len(a.body) / max(1, len(list)); len(a.body) > 1<<20+row+100 || len(list) == 0 {
			t.Errorf("a page of %d refresh tokens is %d bytes long", len(list), len(a.body))
		}
		for _, one := range list {
			got = append(got, one.ID)
		}
		target = a.next(t, target)
	}
	if len(got) != n || pages != 3 {
		t.Errorf("got %d refresh tokens on %d pages, want %d on 3", len(got), pages, n)
	}
	for i := 1; i < len(got); i++ {
		if got[i] >= got[i-1] {
			t.Fatalf("%s comes after %s", got[i], got[i-1])
		}
	}
}

// Ended sessions cost the store as much as active ones. A list stops after 5 000, says so, and continues from there.
func TestAPageMayBeEmptyAndHaveANext(t *testing.T) {
	s := newService(t)
	first := s.issue(t, "shop", "ada")
	for i := range 5_001 {
		id := domain.ID{0xff, 14: byte(i >> 8), 15: byte(i)}
		if _, err := s.store.Store.Insert(t.Context(), domain.RefreshToken{
			ID: id, TenantID: aTenant, ApplicationID: "shop", UserID: "ada", Generation: 1,
			IssuedAt: began, RotatedAt: began, LastUsedAt: began, ExpiresAt: began.Add(time.Second),
		}); err != nil {
			t.Fatal(err)
		}
	}
	s.wait(time.Minute)
	ids, next := s.page(t, "/jwt/refresh?userId=ada")
	if len(ids) != 0 || next == "" {
		t.Fatalf("got %d refresh tokens and next %q, want none, and a next page", len(ids), next)
	}
	if ids, next = s.page(t, next); len(ids) != 1 || ids[0] != first.RefreshTokenID || next != "" {
		t.Errorf("got %v and next %q, want the active one, and no next page", ids, next)
	}
}

// A count is bounded as a page is, and says so, because it does not know the number of the others.
func TestACountSaysWhereItEnded(t *testing.T) {
	s := newService(t)
	insert := func(from, to int, expires time.Time) {
		for i := from; i < to; i++ {
			if _, err := s.store.Store.Insert(t.Context(), domain.RefreshToken{
				ID: domain.ID{0xff, 14: byte(i >> 8), 15: byte(i)}, TenantID: aTenant, ApplicationID: "kiosk",
				UserID: "u" + itoa(i%3), Generation: 1, IssuedAt: began, RotatedAt: began, LastUsedAt: began, ExpiresAt: expires,
			}); err != nil {
				t.Fatal(err)
			}
		}
	}
	count := func(state string) string {
		a := s.do(t, "GET", "/jwt/refresh?limit=1&count=true&applicationsId=kiosk&state="+state, as("operator"),
			tenant(aTenant))
		return a.want(t, 200).header.Get("X-Total-Count")
	}
	insert(0, 2_000, began.Add(time.Second))
	insert(2_000, 5_000, began.Add(time.Hour))
	s.wait(time.Minute)
	for state, want := range map[string]string{"active": "3000", "ended": "2000", "all": "5000"} {
		if got := count(state); got != want {
			t.Errorf("%s: counted %s, want %s", state, got, want)
		}
	}
	insert(5_000, 6_000, began.Add(time.Hour))
	for state, want := range map[string]string{"active": "4000+", "ended": "1000+", "all": "6000"} {
		if got := count(state); got != want {
			t.Errorf("%s: counted %s, want %s", state, got, want)
		}
	}
}

// stalled is a client that reads nothing until it is released.
type stalled struct {
	header  http.Header
	waiting chan<- struct{}
	release <-chan struct{}
	bytes   int
}

func (s *stalled) Header() http.Header { return s.header }
func (s *stalled) WriteHeader(int)     {}
func (s *stalled) Write(p []byte) (int, error) {
	if s.bytes == 0 {
		s.waiting <- struct{}{}
		<-s.release
	}
	s.bytes += len(p)
	return len(p), nil
}

// The service holds one page for each client that does not read it, for as long as the client waits.
func TestAReaderThatDoesNotReadHoldsOnePage(t *testing.T) {
	s := newService(t)
	for range 30 {
		s.do(t, "POST", "/jwt/issue", backend, largest("big")).want(t, 200)
	}
	held := func() uint64 {
		runtime.GC()
		runtime.GC() // what a pool holds goes in two steps
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	const readers = 10
	waiting, release := make(chan struct{}), make(chan struct{})
	var done sync.WaitGroup
	all := make([]*stalled, readers)
	before := held()
	for i := range all {
		all[i] = &stalled{header: http.Header{}, waiting: waiting, release: release}
		r := &request{Request: httptest.NewRequest("GET", "/jwt/refresh?userId=big", nil)}
		backend(s, r)
		done.Go(func() { s.handler.ServeHTTP(all[i], r.Request) })
	}
	for range readers {
		<-waiting
	}
	each := (held() - before) / readers
	close(release)
	done.Wait()
	t.Logf("a page of %d KiB is held in %d KiB", all[0].bytes>>10, each>>10)
	if all[0].bytes < 1<<20 || each > uint64(all[0].bytes)*5/4 {
		t.Errorf("a page of %d KiB is held in %d KiB, want a quarter more at most", all[0].bytes>>10, each>>10)
	}
}
