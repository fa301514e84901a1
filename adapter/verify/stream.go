package verify

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"strings"
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
	c        Config
	mu       sync.Mutex
	at       time.Time
	sessions map[[16]byte]bool
	keys     map[string]bool
	ch       chan struct{}
}

func newFeed(c Config, k *keySet) *feed {
	return &feed{c: c, ch: make(chan struct{}), sessions: map[[16]byte]bool{}, keys: map[string]bool{}}
}

func (f *feed) run(ctx context.Context) {
	for ctx.Err() == nil {
		f.once(ctx)
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

func (f *feed) once(ctx context.Context) {
	r, _ := http.NewRequestWithContext(ctx, "GET", f.c.FeedURL, nil)
	r.Header.Set("Authorization", "Bearer "+f.c.APIKey)
	r.Header.Set("Accept", "text/event-stream")
	sent := time.Now()
	res, err := f.c.Client.Do(r)
	if err != nil {
		return
	}
	defer res.Body.Close()
	s := bufio.NewScanner(res.Body)
	event := ""
	for s.Scan() {
		if e, ok := strings.CutPrefix(s.Text(), "event: "); ok {
			event = e
		}
		d, ok := strings.CutPrefix(s.Text(), "data: ")
		if !ok {
			continue
		}
		var data struct {
			S []string
			K []string
			E int64
		}
		json.Unmarshal([]byte(d), &data)
		f.mu.Lock()
		for _, s := range data.S {
			b, _ := decode(s)
			f.sessions[[16]byte(b)] = true
		}
		for _, k := range data.K {
			f.keys[k] = true
		}
		switch event {
		case "facts":
			close(f.ch)
			f.ch = make(chan struct{})
		case "fresh":
			f.at = sent.Add(time.Duration(data.E) * time.Millisecond)
		}
		f.mu.Unlock()
	}
}

func (f *feed) revoked(s *subject) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sessions[s.sid] || f.keys[s.kid] || s.hasRoot && f.sessions[s.rsid]
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
