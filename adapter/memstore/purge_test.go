package memstore_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/refreshd/refreshd/adapter/memstore"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
	"github.com/refreshd/refreshd/test/storagetest"
)

var start = time.Date(2031, 2, 3, 4, 5, 6, 0, time.UTC)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// crowd returns a store with n refresh tokens in random order of their ids, one in eight of them expired.
func crowd(t testing.TB, n int) *memstore.Store {
	t.Helper()
	s := memstore.New()
	must(t, storagetest.SaveTenant(t.Context(), s, domain.Tenant{ID: "acme"}))
	must(t, storagetest.SaveApplication(t.Context(), s, domain.Application{TenantID: "acme", ID: "shop"}))
	for _, i := range rand.Perm(n) {
		insert(t, s, i, i%8 == 0)
	}
	return s
}

func insert(t testing.TB, s *memstore.Store, n int, expired bool) {
	t.Helper()
	id := domain.ID{1, 15: 1}
	binary.BigEndian.PutUint32(id[4:], uint32(n))
	r := domain.RefreshToken{
		ID: id, TenantID: "acme", ApplicationID: "shop", UserID: fmt.Sprint("user ", n), Generation: 1,
		IssuedAt: start, RotatedAt: start, LastUsedAt: start, ExpiresAt: start.Add(time.Hour),
	}
	if expired {
		r.ExpiresAt = start
	}
	_, err := s.Insert(t.Context(), r)
	must(t, err)
}

func step(t testing.TB, s *memstore.Store, limit int) port.Purged {
	t.Helper()
	p, err := s.Purge(t.Context(), port.PurgeStep{
		LeaseHolder: "one", Now: start, LeaseUntil: start.Add(time.Minute), Before: start,
		MaxClockSkew: domain.MaxClockSkew, Limit: limit,
	})
	must(t, err)
	return p
}

// All other calls wait while a step holds the mutex. The bytes that it allocates stand for the ids that it visits.
func TestAStepOfThePurgeDoesNotGrowWithTheStore(t *testing.T) {
	allocated := func(n int) uint64 {
		s := crowd(t, n)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range 10 {
			step(t, s, 50)
		}
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	if small, big := allocated(1_000), allocated(50_000); big > 2*small+64<<10 {
		t.Errorf("ten steps allocate %d bytes with 1000 refresh tokens, and %d with 50000", small, big)
	}
}

// A pass visits a refresh token that is stored while it runs, in the order of the ids, if its id is above the position.
func TestAPassLooksAtWhatIsStoredAboveIt(t *testing.T) {
	s := memstore.New()
	must(t, storagetest.SaveTenant(t.Context(), s, domain.Tenant{ID: "acme"}))
	must(t, storagetest.SaveApplication(t.Context(), s, domain.Application{TenantID: "acme", ID: "shop"}))
	for _, n := range []int{10, 20, 30, 40} {
		insert(t, s, n, false)
	}
	var got []string
	note := func() { got = append(got, fmt.Sprintf("%+v", step(t, s, 2))) }
	note() // 10, 20
	for _, n := range []int{50, 25, 15, 35} {
		insert(t, s, n, true)
	}
	note() // 25, 30
	note() // 35, 40
	note() // 50
	want := fmt.Sprintf("[%+v %+v %+v %+v]", port.Purged{LookedAt: 2}, port.Purged{LookedAt: 2, Deleted: 1},
		port.Purged{LookedAt: 2, Deleted: 1}, port.Purged{LookedAt: 1, Deleted: 1})
	if fmt.Sprint(got) != want {
		t.Errorf("the steps did %v, want %s", got, want)
	}
	for p := (port.Purged{}); !p.Done; {
		p = step(t, s, 2)
	}
	if p := step(t, s, 9); p.LookedAt != 5 || p.Deleted != 1 {
		t.Errorf("the next pass did %+v, want 1 of 5 deleted", p)
	}
}

func BenchmarkPurgeOfAMillion(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		s := crowd(b, 1_000_000)
		var longest time.Duration
		b.StartTimer()
		for p := (port.Purged{}); !p.Done; {
			begin := time.Now()
			p = step(b, s, 500)
			longest = max(longest, time.Since(begin))
		}
		b.ReportMetric(float64(longest.Microseconds())/1000, "ms/longest-step")
	}
}
