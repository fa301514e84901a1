package storagetest

import (
	"bytes"
	"context"
	"runtime"
	"sync"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// onceAs makes Once store another key, or for another time.
func onceAs(alter func(key *[]byte, now, until *time.Time)) func(*faulty) {
	return func(f *faulty) {
		f.once = func(ctx context.Context, key []byte, now, until time.Time) error {
			key = bytes.Clone(key)
			alter(&key, &now, &until)
			return f.within.Once(ctx, key, now, until)
		}
	}
}

// memory returns a Once of this handle alone, which compares and stores in two steps.
func memory(f *faulty) {
	var mu sync.Mutex
	stored := make(map[string]time.Time)
	f.once = func(_ context.Context, key []byte, now, until time.Time) error {
		mu.Lock()
		used := stored[string(key)].After(now)
		mu.Unlock()
		if used {
			return domain.ErrDuplicate
		}
		runtime.Gosched()
		mu.Lock()
		defer mu.Unlock()
		stored[string(key)] = until
		return nil
	}
}

var onceMutants = []mutant{
	{clause: onceRefuses, fault: "a key is free a microsecond too early",
		inject: onceAs(func(_ *[]byte, now, _ *time.Time) { *now = now.Add(tick) })},
	{clause: onceRefuses, fault: "a key is used a microsecond too long",
		inject: onceAs(func(_ *[]byte, now, _ *time.Time) { *now = now.Add(-tick) })},
	{clause: onceRefuses, fault: "a key is never free again",
		inject: onceAs(func(_ *[]byte, now, _ *time.Time) { *now = t0.Add(-time.Hour) })},
	{clause: onceRefuses, fault: "each process has its own keys", inject: memory, each: true},
	{clause: onceRefuses, fault: "a key that is stored again has its first instant",
		inject: onceAs(func(_ *[]byte, _, until *time.Time) { *until = t0.Add(time.Minute) })},
	{clause: onceNothing, fault: "a refused call extends the time of the key", inject: func(f *faulty) {
		var mu sync.Mutex
		stored := make(map[string]time.Time)
		f.once = func(_ context.Context, key []byte, now, until time.Time) error {
			mu.Lock()
			defer mu.Unlock()
			before := stored[string(key)]
			if stored[string(key)] = until; before.After(until) {
				stored[string(key)] = before
			}
			if before.After(now) {
				return domain.ErrDuplicate
			}
			return nil
		}
	}},
	{clause: onceNothing, fault: "a refused call shortens the time of the key", inject: func(f *faulty) {
		stored := make(map[string]time.Time)
		f.once = func(_ context.Context, key []byte, now, until time.Time) error {
			before := stored[string(key)]
			if stored[string(key)] = until; before.After(now) {
				return domain.ErrDuplicate
			}
			return nil
		}
	}},
	{clause: onceDistinct, fault: "keys are compared without case",
		inject: onceAs(func(key *[]byte, _, _ *time.Time) { *key = bytes.ToLower(*key) })},
	{clause: onceDistinct, fault: "a key ends with its first zero",
		inject: onceAs(func(key *[]byte, _, _ *time.Time) { *key, _, _ = bytes.Cut(*key, []byte{0}) })},
	{clause: onceDistinct, fault: "a key is text",
		inject: onceAs(func(key *[]byte, _, _ *time.Time) { *key = bytes.ToValidUTF8(*key, []byte("?")) })},
	{clause: onceDistinct, fault: "a key has at most 63 bytes",
		inject: onceAs(func(key *[]byte, _, _ *time.Time) { *key = (*key)[:min(63, len(*key))] })},
	{clause: onceOne, fault: "Once reads, compares and writes", inject: memory},
	{clause: onceOne, fault: "a key that is used is no error", inject: func(f *faulty) {
		f.once = func(ctx context.Context, key []byte, now, until time.Time) error {
			return instead(f.within.Once(ctx, key, now, until), domain.ErrDuplicate)
		}
	}},
	{clause: "Store/Context/one that is done ends every call with an operational error",
		fault: "a key is used although its call was cut off", inject: func(f *faulty) {
			f.once = func(ctx context.Context, key []byte, now, until time.Time) error {
				return f.within.Once(context.WithoutCancel(ctx), key, now, until)
			}
		}},
	{clause: oncePurged, fault: "keys are never deleted",
		inject: stepping(func(s *port.PurgeStep) { s.OnceBefore = time.Time{} })},
	{clause: oncePurged, fault: "keys are deleted a microsecond too early",
		inject: stepping(func(s *port.PurgeStep) { s.OnceBefore = s.OnceBefore.Add(tick) })},
	{clause: oncePurged, fault: "keys are deleted a microsecond too late",
		inject: stepping(func(s *port.PurgeStep) { s.OnceBefore = s.OnceBefore.Add(-tick) })},
	{clause: oncePurged, fault: "all keys are deleted in one step",
		inject: stepping(func(s *port.PurgeStep) { s.Limit = 1000 })},
	{clause: oncePurged, fault: "deleted keys stay used", inject: func(f *faulty) {
		f.once = func(ctx context.Context, key []byte, now, until time.Time) error {
			if until.Sub(now) == time.Second {
				return domain.ErrDuplicate
			}
			return f.within.Once(ctx, key, now, until)
		}
	}},
	{clause: oncePurged, fault: "a key that was stored again is deleted by its first instant", inject: func(f *faulty) {
		f.once = func(ctx context.Context, key []byte, now, until time.Time) error {
			if now.Before(t0) {
				return nil
			}
			if until.Sub(now) == time.Hour {
				until = t0.Add(time.Minute)
			}
			return f.within.Once(ctx, key, now, until)
		}
	}},
}
