package verify

import (
	"context"
	"sync"
	"time"
)

// subject is what a fact can be about. It is read from a token.
type subject struct {
	sid, rsid   [16]byte
	hasRoot     bool
	application string
	user        string
	epoch       uint64
	kid         string
}

type feed struct {
	mu       sync.Mutex
	at       time.Time
	sessions map[[16]byte]bool
	ch       chan struct{}
}

func newFeed(c Config, k *keySet) *feed {
	return &feed{ch: make(chan struct{}), sessions: map[[16]byte]bool{}}
}

func (f *feed) run(ctx context.Context) { <-ctx.Done() }

func (f *feed) revoked(s *subject) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sessions[s.sid]
}

func (f *feed) asOf() (time.Time, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.at, !f.at.IsZero()
}

func (f *feed) age(now time.Time) (time.Duration, bool) {
	at, ok := f.asOf()
	return now.Sub(at), ok
}

func (f *feed) changed() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ch
}

func (f *feed) state(now time.Time) State {
	age, ok := f.age(now)
	return State{Complete: ok, Age: age}
}
