package usecase

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

const (
	// feedKeepSlack is how much longer than the longest lifetime of its access tokens a tenant's facts matter: leeway
	// of resource servers, clock skew, and the time of a request. It also covers that the lifetime is read every 10 to
	// 20 s only.
	feedKeepSlack = 5 * time.Minute
	// feedMargin is how far below a cursor a reading begins that has to find what an earlier one may have missed: the
	// stamps that a fail-over lost, made again by a host whose clock is behind.
	feedMargin = 2 * time.Minute
	// feedWindow is how long the facts of a tenant without subscribers are held, and how far back the first reading
	// goes. It is enough for the default lifetime of access tokens. A tenant that needs more costs a longer reading
	// when its first stream opens.
	feedWindow = 20*time.Minute + feedMargin

	// feedBlindAfter is the time without a successful reading, or without a confirmed beat, after which the feed gives
	// no more views. It also bounds Follow.
	feedBlindAfter = 2 * time.Second
	// feedIdle is how long the feed reads on after the last stream has ended: clients reconnect.
	feedIdle = time.Minute

	feedKeepInterval = 9 * time.Second // the streams of a tenant, which each ask every 10 s, make one query
	// feedKeepMaxAge is far below feedKeepSlack, which is what makes a longest lifetime of that age safe to use.
	feedKeepMaxAge = time.Minute
)

// ErrBlind reports that the feed cannot say what has been revoked, because the store does not respond. The client is
// better served by another replica. It is an ErrUnavailable.
var ErrBlind = fmt.Errorf("%w: the revocations have not been read for %s", domain.ErrUnavailable, feedBlindAfter)

// Feed gives the streams of a process the facts of their tenants (see [domain.Fact]), and for each view the instant up
// to which it is complete. It reads the store once on behalf of its streams, while there are some. It must not be
// copied.
//
// Two workers have to run: RunReader and RunStamper. A store that fails ends neither.
//
// # Completeness
//
// A view that is complete as of an instant contains every fact of its tenant whose revocation returned before it, as
// far as the fact still matters. That instant is the start of the last successful reading, or the start of the
// confirmed beat that the reading shows if that is earlier: only a server that was the primary then could confirm it.
// It is never one of a call that failed or was cut short.
//
// A connection may lead to a server that was replaced, while another one leads to the new server. So a reading succeeds
// only if it shows the last beat that was confirmed before it, or a later one. A reading that does not adds facts, as
// one that fails does, but neither its start nor its head counts.
//
// Instants are those of Clock with its monotonic reading, so they can be subtracted from each other within the process
// although the wall clock is set meanwhile. They mean nothing in another process.
//
// # Memory
//
// Facts are held in ticks: the facts that were new in one reading, encoded once. A subscriber is a number in the
// sequence of its tenant's ticks, so there are no queues, and a slow subscriber delays no other. Ticks are merged when
// they are some seconds old. A fact is dropped when it has been held as long as it matters.
//
// A fact of no tenant is that a shared key was revoked. Each tenant holds a copy of it, because its subscribers follow
// one sequence of ticks. A tenant that comes later takes the copies from those that are held for no tenant.
//
// A subscriber with a cursor gets the ticks that have a fact without position, or one above the cursor - 2 min; so it
// may get facts again, which is harmless, and never misses one. Each fact would have to be listed with its position to
// send exactly those that are above, which costs more memory than the repetition costs traffic.
type Feed struct {
	Store port.Reach
	// Clock has a monotonic reading, as time.Now has.
	Clock Clock
	// Reader names this process. No other process has the same text.
	Reader string
	// Notice is told what an operator has to know. It may be nil.
	Notice func(FeedNotice)

	keeps flights // by tenant

	mu      sync.Mutex
	tenants map[string]*tenantFacts
	streams int // those included that Follow is opening
	// awakeSince is when the first stream was opened; zero while the workers sleep. idleSince is when the last one
	// ended.
	awakeSince, idleSince time.Time
	demanded              signal // a stream was opened while the workers slept
	progressed            signal // a reading succeeded, or a beat was confirmed

	isRead         bool // false until the first reading has succeeded
	isRewound      bool // the head went backwards, and what matters has not been read again since
	head           domain.Position
	headAt         time.Time // start of the reading that showed another head than the one before
	readAt, readOK time.Time // start and end of the last successful reading
	beaten         time.Time // the instant that the last beat was to store
	isBeating      bool      // that beat has not ended
	ended          signal    // a beat has ended
	beats          []beat    // confirmed: the last one before the reading in progress, and those since
	completeAsOf   time.Time // of the last successful reading
	failedAt       time.Time // when a call failed last; zero once a reading has shown a beat that began later
	checkedAt      time.Time // start of the last successful reading that began below the head
	widening       []*tenantFacts
	failing        map[FeedTask]bool
	facts          int
	repaired       int64
	lastRead       time.Duration
}

// FeedTask is a call that the workers make.
type FeedTask string

// The tasks of the workers.
const (
	FeedRead  FeedTask = "read"
	FeedStamp FeedTask = "stamp"
	FeedBeat  FeedTask = "beat"
)

// FeedNotice is what an operator has to know: a task that fails for the first time since it worked (Err is set), or
// works again; facts that readings had missed; or a head that went backwards.
type FeedNotice struct {
	Kind  FeedNoticeKind
	Task  FeedTask // of FeedFailed and FeedRecovered
	Err   error    // of FeedFailed
	Facts int      // of FeedRepaired
}

// FeedNoticeKind is the kind of a notice.
type FeedNoticeKind int

// The kinds of notices.
const (
	FeedFailed FeedNoticeKind = iota
	FeedRecovered
	FeedRepaired
	FeedRewound
)

// FeedStats describes a Feed.
type FeedStats struct {
	Streams  int // open, or being opened
	Facts    int
	Repaired int64 // facts that a check found and that readings had missed
	// Age is that of the instant up to which views are complete. It is 0 while the feed sleeps, because there has been
	// no stream for a minute. It begins to grow when the first stream is opened.
	Age      time.Duration
	LastRead time.Duration // duration of the last reading
}

// Stats describes the feed now.
func (f *Feed) Stats() FeedStats {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := FeedStats{Streams: f.streams, Facts: f.facts, Repaired: f.repaired, LastRead: f.lastRead}
	if !f.awakeSince.IsZero() {
		since := f.completeAsOf
		if since.Before(f.awakeSince) {
			since = f.awakeSince
		}
		s.Age = f.Clock().Sub(since)
	}
	return s
}

// Follow returns a subscription to the facts of a tenant for a client that has those up to cursor; 0 stands for none.
// A cursor above the head comes from a store that has lost its stamps since, and stands for none too. Follow returns
// when a reading has succeeded that started after the call, or with ErrUnavailable after 2 s. It returns ErrNotFound
// if the tenant does not exist. The caller has to call Close.
func (f *Feed) Follow(ctx context.Context, tenantID string, cursor domain.Position) (*Subscription, error) {
	call := f.Clock()
	ctx, cancel := context.WithTimeout(ctx, feedBlindAfter)
	defer cancel()
	s := &Subscription{feed: f, tenant: f.join(tenantID)}
	if err := f.ready(ctx, s, call); err != nil {
		s.Close()
		return nil, fmt.Errorf("follow the revocations: %w", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if cursor <= f.head {
		s.cursor = cursor
	}
	return s, nil
}

// ready returns when the facts of the tenant are held as of a moment after call.
func (f *Feed) ready(ctx context.Context, s *Subscription, call time.Time) error {
	// The store recognizes a server that was replaced by a beat that it lacks. So the first question is after a beat.
	if err := f.await(ctx, func() bool { return f.isRead }); err != nil {
		return err
	}
	if _, err := f.Keep(ctx, s.tenant.id); err != nil {
		return err
	}
	return f.await(ctx, func() bool {
		return !f.readAt.Before(call) && s.tenant.covered >= s.tenant.window && f.blind() == nil
	})
}

// await returns when is reports true. is is called with mu held, after each progress.
func (f *Feed) await(ctx context.Context, is func() bool) error {
	for {
		f.mu.Lock()
		done := is()
		progressed := f.progressed.wait()
		f.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-progressed:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ErrBlind, ctx.Err())
		}
	}
}

// join counts a stream, and wakes the workers.
func (f *Feed) join(tenantID string) *tenantFacts {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.streams++
	if f.awakeSince.IsZero() {
		f.awakeSince = f.Clock()
		f.demanded.wake()
	}
	t := f.tenant(tenantID)
	t.streams++
	return t
}

// tenant returns the facts of a tenant. The caller holds mu.
func (f *Feed) tenant(id string) *tenantFacts {
	t, ok := f.tenants[id]
	if !ok {
		if f.tenants == nil {
			f.tenants = make(map[string]*tenantFacts)
		}
		t = newTenantFacts(id)
		f.tenants[id] = t
		if shared, ok := f.tenants[allTenants]; ok {
			t.include(shared)
			f.facts += t.len()
		}
	}
	return t
}

// Keep reads how long the facts of a tenant matter, unless that was done within the last seconds. Each stream calls it
// every 10 s, also to learn that the tenant was purged: ErrNotFound. The views of a tenant end with ErrBlind a minute
// after the last call.
//
// The lifetime is not read with the facts: that would be a query of thousands of tenants ten times a second. 20 s of
// delay cannot hurt, because facts are kept 300 s longer than the lifetime.
func (f *Feed) Keep(ctx context.Context, tenantID string) (time.Duration, error) {
	read := func(ctx context.Context) error {
		began := f.Clock()
		longest, err := f.Store.LongestAccessTTL(ctx, tenantID)
		if err != nil {
			return Wrap("read the longest lifetime of access tokens", err)
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		f.raise(f.tenant(tenantID), longest+feedKeepSlack, began)
		return nil
	}
	for {
		f.mu.Lock()
		t, ok := f.tenants[tenantID]
		if ok && t.keep != 0 && recent(f.Clock(), t.keepAt, feedKeepInterval) {
			keep := t.keep
			f.mu.Unlock()
			return keep, nil
		}
		f.mu.Unlock()
		if err := f.keeps.do(ctx, tenantID, feedBlindAfter, read); err != nil {
			return 0, err
		}
	}
}

// raise notes how long the facts of t matter, as read at an instant. The caller holds mu.
//
// If facts were dropped by an older value that was still recent, none is missing: an access token with a longer
// lifetime is younger than that value, and so than what was revoked before. Otherwise they are read again.
func (f *Feed) raise(t *tenantFacts, keep time.Duration, at time.Time) {
	wasRecent := t.keep != 0 && recent(at, t.keepAt, feedKeepMaxAge)
	isCovered := t.covered >= t.window
	t.keep, t.keepAt = max(t.keep, keep), at
	window := t.keep + feedMargin
	switch {
	case window <= t.window:
	case wasRecent && isCovered:
		t.window, t.covered = window, window
	default:
		t.window = window
		f.widening = append(f.widening, t)
	}
}

// blind returns an error if there has been no successful reading, or no confirmed beat, for a while. The caller holds
// mu.
func (f *Feed) blind() error {
	now := f.Clock()
	if !f.isRead || !recent(now, f.readOK, feedBlindAfter) || !recent(now, f.lastBeat().ended, feedBlindAfter) {
		return ErrBlind
	}
	return nil
}

// View is what a subscriber gets: facts, and after them what it holds then.
type View struct {
	// Ticks are new to the subscriber, as far as the feed knows. Other subscribers have the same ticks.
	Ticks []*Tick
	// News reports whether Ticks has a fact without position, or one above the cursor with which the client came. The
	// others are repeated for safety.
	News bool
	// Cursor is a position up to which the subscriber has all facts once it has Ticks.
	Cursor domain.Position
	// CompleteAsOf is the instant such that the subscriber, once it has Ticks, has every earlier fact that matters.
	CompleteAsOf time.Time
	// Keep is how long a fact matters after a resource server received it.
	Keep time.Duration
}

// Subscription gives one client the facts of a tenant. Its methods must not be called concurrently, except Close.
type Subscription struct {
	feed   *Feed
	tenant *tenantFacts
	cursor domain.Position
	begun  bool        // the client has been given a view
	next   uint32      // the number of the tick after those that the client has been given
	timer  *time.Timer // of Next: streams are thousands, and call it all the time
	closed sync.Once
}

// Next returns a view when there are new facts, or without facts after wait. The first view has all that the client
// needs beyond its cursor. It returns ErrBlind while the feed has had no successful reading or no confirmed beat for 2
// s, and a minute after the last successful call of Keep for the tenant.
func (s *Subscription) Next(ctx context.Context, wait time.Duration) (View, error) {
	for {
		v, news, err := s.view()
		if err != nil || len(v.Ticks) > 0 || wait <= 0 {
			return v, err
		}
		step := min(wait, feedBlindAfter/2) // so that a client that waits long learns that the feed is blind
		if s.timer == nil {
			s.timer = time.NewTimer(step)
		} else {
			s.timer.Reset(step)
		}
		select {
		case <-news:
			s.timer.Stop()
		case <-s.timer.C:
			wait -= step
		case <-ctx.Done():
			s.timer.Stop()
			return View{}, fmt.Errorf("wait for revocations: %w", ctx.Err())
		}
	}
}

// view returns what the client has not been given, and the signal of the next facts.
func (s *Subscription) view() (View, <-chan struct{}, error) {
	f, t := s.feed, s.tenant
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.blind(); err != nil {
		return View{}, nil, err
	}
	if !recent(f.Clock(), t.keepAt, feedKeepMaxAge) {
		return View{}, nil, fmt.Errorf("%w: how long facts matter has not been read for %s", ErrBlind, feedKeepMaxAge)
	}
	v := View{Cursor: f.head, CompleteAsOf: f.completeAsOf, Keep: t.keep}
	if s.begun {
		v.Ticks = t.since(s.next)
		v.News = len(v.Ticks) > 0
	} else {
		for _, k := range t.ticks {
			if k.unstamped > 0 || k.highest > s.cursor-position(feedMargin) {
				v.Ticks = append(v.Ticks, k)
				v.News = v.News || k.unstamped > 0 || k.highest > s.cursor
			}
		}
	}
	s.begun, s.next = true, t.next
	return v, t.news.wait(), nil
}

// Close ends the subscription. It may be called more than once.
func (s *Subscription) Close() {
	s.closed.Do(func() {
		f := s.feed
		f.mu.Lock()
		defer f.mu.Unlock()
		s.tenant.streams--
		f.streams--
		if f.streams == 0 {
			f.idleSince = f.Clock()
		}
		f.forget(s.tenant)
	})
}

// forget removes a tenant that has neither streams nor facts. The caller holds mu.
func (f *Feed) forget(t *tenantFacts) {
	if t.streams == 0 && t.len() == 0 && f.tenants[t.id] == t {
		delete(f.tenants, t.id)
	}
}

// position converts a duration to a difference of positions.
func position(d time.Duration) domain.Position { return domain.Position(d.Microseconds()) }

// signal wakes all that wait for it. The zero value is ready to use. It is guarded by the mutex of its Feed.
type signal struct{ next chan struct{} }

// wait returns a channel that the next wake closes.
func (s *signal) wait() <-chan struct{} {
	if s.next == nil {
		s.next = make(chan struct{})
	}
	return s.next
}

func (s *signal) wake() {
	if s.next != nil {
		close(s.next)
		s.next = nil
	}
}

// note reports a task that fails for the first time since it worked, or works again. After an error, readings begin
// below the head: the store may have failed over. They do so until one shows a later beat, because earlier ones may
// have been served by the former server, with stamps that only it has.
func (f *Feed) note(task FeedTask, err error) {
	f.mu.Lock()
	was := f.failing[task]
	if f.failing == nil {
		f.failing = make(map[FeedTask]bool)
	}
	f.failing[task] = err != nil
	if err != nil {
		f.failedAt = f.Clock()
	}
	f.mu.Unlock()
	switch {
	case err != nil && !was:
		f.notify(FeedNotice{Kind: FeedFailed, Task: task, Err: err})
	case err == nil && was:
		f.notify(FeedNotice{Kind: FeedRecovered, Task: task})
	}
}

func (f *Feed) notify(n FeedNotice) {
	if f.Notice != nil {
		f.Notice(n)
	}
}
