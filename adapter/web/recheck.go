package web

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/usecase"
)

const (
	// recheckInterval is the longest time between the end of one check of a stream's permission and the next one. The
	// shortest is three quarters of it: streams that were opened together do not stay together.
	recheckInterval = 10 * time.Second
	recheckTimeout  = 5 * time.Second
)

// Recheck checks again, as long as the context of the stream c lasts, that its caller may do the action of its route.
// The returned channel receives the reason once the caller may not. A store that is unavailable is no reason.
//
// Each check also calls also, whose ErrUnauthorized is such a reason too. It waits for the store in a goroutine of its
// own, so that a slow store does not delay the stream.
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
		ctx: c.Request().Context(), refused: refused,
	}
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
}

func (r *recheck) pause() time.Duration {
	return recheckInterval - rand.N(recheckInterval/4)
}

// run checks once, and plans the next check. Between checks there is no goroutine: streams are many.
func (r *recheck) run() {
	if r.ctx.Err() != nil {
		return
	}
	// A statement whose context ends costs its connection to the database: the end of the stream does not end it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), recheckTimeout)
	defer cancel()
	if err := r.check(ctx); err != nil {
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
