package reachapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/usecase"
)

const (
	// beat is the longest time between two frames `fresh` of a stream, and the shortest for which a long poll with a
	// cursor waits.
	beat = 500 * time.Millisecond

	proofInterval = 10 * time.Second
	// proofWait is how long the frames of a stream wait for a proof. It may need the store, whose overload must not
	// delay frames. A long poll that ends waits longer.
	proofWait, lastProofWait = 50 * time.Millisecond, 2 * time.Second

	// A stream lasts for streamAge, give or take up to streamAgeJitter, so that streams that began together do not end
	// together.
	streamAge       = 10 * time.Minute
	streamAgeJitter = time.Minute

	// After a stream has ended its client waits from minAfter to maxAfter, at random for the same reason.
	minAfter, maxAfter = 500 * time.Millisecond, 2500 * time.Millisecond

	// maxBuffer bounds the buffer of a response whose facts are many. Each write has a deadline of its own, so the size
	// of the response does not matter to a client that reads.
	maxBuffer = 64 << 10
)

// ending is the reason of the end of a response, and the kind of its event. It is empty while it continues.
type ending string

const (
	endedAge     ending = "age"
	endedBlind   ending = "blind"   // the feed cannot read the store
	endedClient  ending = "client"  // it has disconnected
	endedRefused ending = "refused" // its caller may no longer read the stream
	endedSlow    ending = "slow"    // the client did not read
	endedStop    ending = "stop"    // the service stops
)

// Endings lists them.
var Endings = []string{
	string(endedAge), string(endedBlind), string(endedClient), string(endedRefused), string(endedSlow),
	string(endedStop),
}

// revocations handles GET /t/:tenantId/revocations.
func (a *API) revocations(c echo.Context) error {
	r, err := newRequest(c)
	if err != nil {
		return err
	}
	f, view, err := a.follow(c, r)
	if err != nil {
		web.LogRecord(c).Logged = errors.Is(err, usecase.ErrBlind) // by the feed, once, and not for each client
		return err
	}
	defer f.subscription.Close()
	if r.stream {
		return a.stream(c, f, view)
	}
	return a.poll(c, f, view)
}

// follower is a subscription with what ends it beside the feed.
type follower struct {
	request
	subscription *usecase.Subscription
	ctx          context.Context
	refusal      <-chan error
	refused      error // why the caller may no longer read; nil if it may
	refusedAt    time.Time
}

// follow returns a follower with its first view. An error means that nothing was sent.
func (a *API) follow(c echo.Context, r request) (*follower, usecase.View, error) {
	f := &follower{request: r, ctx: c.Request().Context()}
	var err error
	if f.subscription, err = a.Feed.Follow(f.ctx, r.tenantID, r.cursor); err != nil {
		return nil, usecase.View{}, noTenant(err)
	}
	view, err := f.subscription.Next(f.ctx, 0)
	if err != nil {
		f.subscription.Close()
		return nil, usecase.View{}, err
	}
	f.refusal = web.Recheck(c, func(ctx context.Context, tenantID string) error {
		_, err := a.Feed.Keep(ctx, tenantID)
		return noTenant(err)
	})
	return f, view, nil
}

// noTenant makes the error of a tenant that does not exist the one that [web.Identify] returns for it.
func noTenant(err error) error {
	if errors.Is(err, domain.ErrNotFound) {
		return fmt.Errorf("%w: %w", domain.ErrUnauthorized, err)
	}
	return err
}

// next returns the view after the next facts, or after wait at the latest. An ending comes without a view, except for
// endedRefused: that view is newer than the refusal, so it has the mark of a tenant that was deleted.
func (f *follower) next(wait time.Duration) (usecase.View, ending, error) {
	view, err := f.subscription.Next(f.ctx, wait)
	switch {
	case f.ctx.Err() != nil && errors.Is(context.Cause(f.ctx), web.ErrStopping):
		return view, endedStop, nil
	case f.ctx.Err() != nil:
		return view, endedClient, nil
	case errors.Is(err, domain.ErrUnavailable):
		return view, endedBlind, nil
	case err != nil:
		return view, "", err
	}
	if f.refused != nil && !view.CompleteAsOf.Before(f.refusedAt) {
		return view, endedRefused, nil
	}
	select {
	case f.refused = <-f.refusal:
		f.refusedAt = time.Now()
	default:
	}
	return view, "", nil
}

// sender writes a response.
type sender struct {
	*API
	*follower
	frames
	w         http.ResponseWriter
	nextProof time.Time
	proofs    chan string // of a proof that is being made; empty text if it failed. nil if none is
}

// newSender sends the header of the response.
func (a *API) newSender(c echo.Context, f *follower, mediaType string) *sender {
	s := &sender{API: a, follower: f, w: c.Response()}
	s.array = !f.stream
	header := s.w.Header()
	header.Set(echo.HeaderContentType, mediaType)
	header.Set(echo.HeaderCacheControl, "no-store, no-transform")
	header.Set("X-Accel-Buffering", "no")
	if f.stream {
		header.Set(echo.HeaderConnection, "close")
	}
	s.w.WriteHeader(http.StatusOK)
	return s
}

// ticks appends the facts of a view, a frame for each tick.
func (s *sender) ticks(view usecase.View) error {
	for _, tick := range view.Ticks {
		s.frames.facts(view.Keep, tick.Encoded(encodeFacts))
		if len(s.buf) >= maxBuffer {
			if err := s.write(); err != nil {
				return err
			}
		}
	}
	return nil
}

// freshness appends how old the view is, and a proof if one is due and ready within wait. One that is ready later is
// appended to a later view: it says itself which one it proves.
func (s *sender) freshness(view usecase.View, wait time.Duration) {
	age := view.CompleteAsOf.Sub(s.arrived)
	s.fresh(view.Cursor, age)
	if s.nonce == "" {
		return
	}
	if now := time.Now(); s.proofs == nil {
		if now.Before(s.nextProof) {
			return
		}
		s.nextProof, s.proofs = now.Add(proofInterval), make(chan string, 1)
		go func(to chan<- string) { to <- s.prove(view.Cursor, age) }(s.proofs)
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case jws := <-s.proofs:
		if s.proofs = nil; jws == "" {
			s.nextProof = time.Time{} // the next view tries again; a client that requires proofs waits for 20 seconds
			return
		}
		s.proof(jws)
	case <-timer.C:
	}
}

// prove returns an empty text if the proof cannot be made. A panic must not end the process.
func (s *sender) prove(cursor domain.Position, age time.Duration) (jws string) {
	defer func() {
		if recover() != nil {
			jws = ""
		}
	}()
	jws, err := s.Prove(s.ctx, s.tenantID, s.nonce, cursor, age)
	if err != nil {
		return ""
	}
	return jws
}

// write sends what is in the buffer.
func (s *sender) write() error {
	_, err := s.w.Write(s.buf)
	if s.buf = s.buf[:0]; cap(s.buf) > maxBuffer/4 { // most views have few facts, and streams are many
		s.buf = nil
	}
	return err
}

// flush is write to the client itself.
func (s *sender) flush() error {
	if err := s.write(); err != nil {
		return err
	}
	return http.NewResponseController(s.w.(*echo.Response).Writer).Flush()
}

// stream sends views until the stream ends.
func (a *API) stream(c echo.Context, f *follower, view usecase.View) error {
	s := a.newSender(c, f, streamType)
	end := time.Now().Add(streamAge - streamAgeJitter + rand.N(2*streamAgeJitter))
	why, err := s.streamUntil(end, view)
	record := web.LogRecord(c)
	record.Event, record.Kind = eventStreamEnded, string(why)
	if f.refused != nil {
		record.Add(slog.LevelInfo, slog.String("why", f.refused.Error()))
	}
	return err
}

// streamUntil returns the reason of the end, or an internal error.
func (s *sender) streamUntil(end time.Time, view usecase.View) (why ending, err error) {
	s.hello(s.tenantID, view.Keep)
	for {
		if err := s.ticks(view); err != nil {
			return cutOff(err), nil
		}
		s.freshness(view, proofWait)
		if why == "" && !time.Now().Before(end) {
			why = endedAge
		}
		if why != "" {
			break
		}
		if err := s.flush(); err != nil {
			return cutOff(err), nil
		}
		if view, why, err = s.next(toBeat(time.Since(started))); err != nil {
			return "", err
		}
		if why != "" && why != endedRefused {
			break
		}
	}
	s.bye(after())
	if err := s.flush(); err != nil {
		return cutOff(err), nil
	}
	return why, nil
}

// poll sends one array: with the facts that the client may not have, as soon as there are any.
func (a *API) poll(c echo.Context, f *follower, view usecase.View) error {
	all, why, err := f.gather(view)
	if err != nil {
		return err
	}
	s := a.newSender(c, f, echo.MIMEApplicationJSON)
	s.buf = append(s.buf, '[')
	s.hello(s.tenantID, view.Keep)
	for _, v := range all {
		if err := s.ticks(v); err != nil {
			return nil // the client has disconnected
		}
	}
	s.freshness(all[len(all)-1], lastProofWait)
	if why != "" {
		s.bye(after())
	}
	s.buf = append(s.buf, "]\n"...)
	_ = s.write()
	return nil
}

// gather returns the first view and those after it, until one has a fact that the client may not have or the poll may
// not wait longer.
func (f *follower) gather(first usecase.View) (all []usecase.View, why ending, err error) {
	all = []usecase.View{first}
	if !f.hasCursor || first.Cursor < f.cursor { // the client knows nothing: it must not wait for its first view
		return all, "", nil
	}
	news := first.News
	end := f.arrived.Add(f.wait)
	for earliest := f.arrived.Add(min(f.wait, beat)); ; {
		now := time.Now()
		if !now.Before(end) || !now.Before(earliest) && news {
			return all, "", nil
		}
		until := min(end.Sub(now), beat)
		if now.Before(earliest) {
			until = earliest.Sub(now)
		}
		view, why, err := f.next(until)
		if err != nil {
			return nil, "", err
		}
		if why != "" && why != endedRefused {
			return all, why, nil
		}
		all, news = append(all, view), news || view.News
		if why != "" {
			return all, why, nil
		}
	}
}

// started is an instant from which beats are counted.
var started = time.Now()

// beatStep divides a beat: the streams that wake in the same step wake together, which takes half of the processor time
// of thousands that wake one by one. All in one step would delay the last of them. A step is as long as the time
// between two readings of the feed: streams wake when there is a new view.
const beatStep = beat / 5

// toBeat returns how long a stream waits for its next beat: at most one beat, and until the end of a step.
func toBeat(since time.Duration) time.Duration { return beat - since%beatStep }

// cutOff returns the reason of an end by an error of a write.
func cutOff(err error) ending {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return endedSlow
	}
	return endedClient
}

func after() time.Duration { return minAfter + rand.N(maxAfter-minAfter) }
