package memstore

import (
	"container/heap"
	"context"
	"time"

	"github.com/refreshd/refreshd/domain"
)

// used holds the keys that were used once.
type used struct {
	until map[string]time.Time
	// queue has the same instants, the first one on top, and those that were replaced.
	queue uses
}

// Once implements port.Once.
func (s *Store) Once(ctx context.Context, key []byte, now, until time.Time) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	now, until = instant(now), instant(until)
	if s.used.until[string(key)].After(now) {
		return domain.ErrDuplicate
	}
	s.used.until[string(key)] = until
	heap.Push(&s.used.queue, use{string(key), until})
	return nil
}

// purge deletes at most limit of the keys whose instant is at or before that one, and returns how many.
func (u *used) purge(before time.Time, limit int) (deleted int) {
	for deleted < limit && len(u.queue) > 0 && !u.queue[0].until.After(before) {
		first := heap.Pop(&u.queue).(use)
		if until, ok := u.until[first.key]; ok && until.Equal(first.until) {
			delete(u.until, first.key)
			deleted++
		}
	}
	return deleted
}

type use struct {
	key   string
	until time.Time
}

// uses is a heap with the first instant on top.
type uses []use

func (h uses) Len() int           { return len(h) }
func (h uses) Less(a, b int) bool { return h[a].until.Before(h[b].until) }
func (h uses) Swap(a, b int)      { h[a], h[b] = h[b], h[a] }
func (h *uses) Push(u any)        { *h = append(*h, u.(use)) }

func (h *uses) Pop() any {
	last := len(*h) - 1
	u := (*h)[last]
	(*h)[last] = use{} // releases the key
	*h = (*h)[:last]
	return u
}
