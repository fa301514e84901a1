package storagetest

import (
	"bytes"
	"fmt"
	"time"

	"github.com/refreshd/refreshd/domain"
)

const (
	onceRefuses  = "Once/Once/refuses a key until its instant, to the microsecond, at every handle"
	onceNothing  = "Once/Once/writes nothing where it refuses"
	onceDistinct = "Once/Once/tells keys apart by every byte"
	onceOne      = "Once/Once/of many concurrent calls with one key exactly one succeeds"
	oncePurged   = "Janitor/Purge/deletes the keys of Once up to an instant, and no others, a few in a step"
)

// use stores a key at an instant for a duration.
func (e *env) use(key string, now time.Time, d time.Duration) error {
	return e.store.Once(e.Context(), []byte(key), now, now.Add(d))
}

// purgeOnce runs steps to the end of a pass that deletes keys up to that instant.
func (e *env) purgeOnce(before time.Time, limit int) (deleted int) {
	e.Helper()
	for range 10_000 {
		s := stepOf("one", t0, t0.Add(-24*time.Hour), limit)
		s.OnceBefore = before
		p := e.purgeStep(s)
		if p.OnceKeys > limit {
			e.Errorf("a step of at most %d deleted %d keys", limit, p.OnceKeys)
		}
		if deleted += p.OnceKeys; p.Done {
			return deleted
		}
	}
	e.Fatalf("a pass is not at its end")
	return 0
}

var usingOnce = []clause{
	{onceRefuses, func(e *env) {
		hs := e.handles(3)
		e.must(hs[0].Once(e.Context(), []byte("key"), t0, t0.Add(time.Minute)))
		for i, h := range hs {
			for _, after := range []time.Duration{-time.Hour, 0, time.Minute - tick} {
				now := t0.Add(after)
				e.wantErr(fmt.Sprintf("handle %d, %v after", i, after),
					h.Once(e.Context(), []byte("key"), now, now.Add(time.Minute)), domain.ErrDuplicate)
			}
		}
		again := t0.Add(time.Minute)
		e.must(hs[1].Once(e.Context(), []byte("key"), again, again.Add(time.Hour)))
		e.wantErr("stored again", hs[2].Once(e.Context(), []byte("key"), again.Add(time.Hour-tick), again.Add(2*time.Hour)),
			domain.ErrDuplicate)
	}},

	{onceNothing, func(e *env) {
		e.must(e.use("key", t0, time.Minute))
		e.wantErr("for longer", e.use("key", t0, time.Hour), domain.ErrDuplicate)
		e.wantErr("for less", e.use("key", t0, tick), domain.ErrDuplicate)
		e.wantErr("before the first instant", e.use("key", t0.Add(time.Minute-tick), time.Hour), domain.ErrDuplicate)
		e.must(e.use("key", t0.Add(time.Minute), time.Minute))
	}},

	{onceDistinct, func(e *env) {
		long := bytes.Repeat([]byte{0xff}, 64)
		other := bytes.Clone(long)
		other[63] = 0
		keys := [][]byte{
			{0}, {0, 0}, []byte("key"), []byte("KEY"), []byte("key "), []byte("key\x00"), {0xff, 0xfe}, {0xc3, 0x28}, long,
			other,
		}
		for _, key := range keys {
			e.must(e.store.Once(e.Context(), key, t0, t0.Add(time.Minute)))
		}
		for _, key := range keys {
			e.wantErr(fmt.Sprintf("%x", key), e.store.Once(e.Context(), key, t0, t0.Add(time.Minute)), domain.ErrDuplicate)
		}
	}},

	{onceOne, func(e *env) {
		hs := e.handles(3)
		now := t0
		for range 4 { // of a new key, and of one whose instant has passed
			errs := make([]error, 12)
			together(len(errs), func(i int) {
				errs[i] = hs[i%3].Once(e.Context(), []byte("key"), now, now.Add(time.Minute))
			})
			e.wantOneWinner(errs, domain.ErrDuplicate)
			now = now.Add(time.Minute)
		}
	}},

	{oncePurged, func(e *env) {
		const n = 9
		key := func(i int) string { return fmt.Sprint("key ", i) }
		for i := range n { // two of each instant
			e.must(e.use(key(i), t0, time.Duration(1+i/2)*time.Minute))
		}
		e.must(e.use(key(n), t0.Add(-time.Hour), time.Minute))
		e.must(e.use(key(n), t0, time.Hour)) // stored again since
		if got := e.purgeOnce(time.Time{}, 2); got != 0 {
			e.Errorf("without an instant: deleted %d keys, want none", got)
		}
		if got := e.purgeOnce(t0.Add(time.Minute-tick), 2); got != 0 {
			e.Errorf("a microsecond before: deleted %d keys, want none", got)
		}
		left := 0
		for i, limit := range []int{1, 2, 500} {
			if got := e.purgeOnce(t0.Add(time.Duration(i+1)*time.Minute), limit); got != 2 {
				e.Errorf("at most %d a step: deleted %d keys, want 2", limit, got)
			}
			left += 2
		}
		for i := range n + 1 {
			err := e.use(key(i), t0, time.Second) // as if nothing had passed
			if i < left {
				e.must(err)
			} else {
				e.wantErr(key(i), err, domain.ErrDuplicate)
			}
		}
	}},
}
