package web

import (
	"context"
	"crypto/sha256"
	"errors"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/usecase"
)

const (
	// recheckInterval is the longest time between the end of one check of a stream's permission and the beginning of
	// the next one.
	recheckInterval = 10 * time.Second
	// recheckJitter shortens it at random: streams that were opened together do not stay together.
	recheckJitter = recheckInterval / 4
	// recheckAge is the age up to which a check serves another stream of the same caller.
	recheckAge     = time.Second
	recheckTimeout = 5 * time.Second
)

// Recheck checks again, as long as the context of the stream c lasts, that its caller may do the action of its route.
// The returned channel receives the reason once the caller may not. A store that is unavailable is no reason.
//
// Each check also calls also, whose ErrUnauthorized is such a reason too; it must do the same for all streams of the
// route and the tenant. A check waits for the store in a goroutine of its own, so that a slow store does not delay the
// stream.
func Recheck(c echo.Context, also func(context.Context) error) <-chan error {
	record, refused := LogRecord(c), make(chan error, 1)
	cred, err := credential(c)
	if err != nil { // the caller could not have been identified
		refused <- err
		return refused
	}
	r := &recheck{
		authenticate: record.mount.Authenticate, credential: usecase.Credential{APIKey: cred},
		action: record.endpoint.Action, tenantID: record.Caller.TenantID, also: also,
		ctx: c.Request().Context(), refused: refused, shared: &record.mount.rechecks,
	}
	r.subject = recheckSubject{record.endpoint, r.tenantID, sha256.Sum256([]byte(cred.Reveal()))}
	if record.Caller.Owner != nil {
		r.credential = usecase.Credential{AccessToken: cred}
	}
	time.AfterFunc(r.pause(), r.run)
	return refused
}

// recheck does not use the echo.Context, which belongs to the goroutine of the request.
type recheck struct {
	authenticate *usecase.Authenticate
	credential   usecase.Credential
	action       domain.Action
	tenantID     string
	also         func(context.Context) error
	ctx          context.Context
	refused      chan<- error
	shared       *rechecks
	subject      recheckSubject
}

func (r *recheck) pause() time.Duration {
	return recheckInterval - recheckAge - rand.N(recheckJitter)
}

// run checks once, and plans the next check. Between checks there is no goroutine: streams are many.
func (r *recheck) run() {
	if r.ctx.Err() != nil {
		return
	}
	// A statement whose context ends costs its connection to the database: the end of the stream does not end it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), recheckTimeout)
	defer cancel()
	if err := r.shared.do(r.subject, func() error { return r.check(ctx) }); err != nil {
		r.refused <- err
		return
	}
	time.AfterFunc(r.pause(), r.run)
}

// check returns the reason if the caller may not do the action. A panic is one: it must not end the process, and the
// permission is then unknown for a reason that will not pass.
func (r *recheck) check(ctx context.Context) (refused error) {
	defer func() {
		if v := recover(); v != nil {
			refused = &panicError{value: v, stack: debug.Stack()}
		}
	}()
	_, err := r.authenticate.Do(ctx, r.credential, r.action, r.tenantID)
	if errors.Is(err, domain.ErrUnauthorized) {
		return err
	}
	if err := r.also(ctx); errors.Is(err, domain.ErrUnauthorized) {
		return err
	}
	return nil
}

// recheckSubject is what a check is about. The credential is a hash, because the key of a map has to be comparable.
type recheckSubject struct {
	endpoint   *endpoint
	tenantID   string
	credential [sha256.Size]byte
}

// rechecks are the checks that are in progress or recent. The streams of a caller share them: each stream with checks
// of its own would be thousands of statements, which after an interruption of the store wait in front of the requests
// of others.
type rechecks struct {
	mu     sync.Mutex
	recent map[recheckSubject]*sharedCheck
}

type sharedCheck struct {
	done   chan struct{} // closed when result is set
	result error
}

// do returns the result of the subject's check, which it makes if none has begun within recheckAge.
func (s *rechecks) do(subject recheckSubject, check func() error) error {
	s.mu.Lock()
	other, ok := s.recent[subject]
	if ok {
		s.mu.Unlock()
		<-other.done
		return other.result
	}
	if s.recent == nil {
		s.recent = map[recheckSubject]*sharedCheck{}
	}
	own := &sharedCheck{done: make(chan struct{})}
	s.recent[subject] = own
	s.mu.Unlock()
	time.AfterFunc(recheckAge, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.recent, subject)
	})
	defer close(own.done)
	own.result = check()
	return own.result
}
