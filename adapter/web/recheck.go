package web

import (
	"context"
	"crypto/sha256"
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
	// shortest is three quarters of it: the checks of streams that were opened together do not stay together.
	recheckInterval = 10 * time.Second
	recheckTimeout  = 5 * time.Second
)

// Recheck checks again, as long as the context of the stream c lasts, that its caller may do the action of its route,
// which is BackendOnly. The returned channel receives the reason once the caller may not. A store that is unavailable
// is no reason.
//
// Each check also calls also, whose ErrUnauthorized is such a reason too. It waits for the store in a goroutine of its
// own, so that a slow store does not delay the stream. The streams of an API key for a tenant share their checks: they
// may be thousands. So also must do the same for all of them.
func Recheck(c echo.Context, also func(ctx context.Context, tenantID string) error) <-chan error {
	record, refused := LogRecord(c), make(chan error, 1)
	cred, err := credential(c)
	if err != nil { // the caller could not have been identified
		refused <- err
		return refused
	}
	m := record.mount
	what := checked{sha256.Sum256([]byte(cred.Reveal())), record.endpoint.Action, record.Caller.TenantID}
	m.rechecksMu.Lock()
	defer m.rechecksMu.Unlock()
	r, ok := m.rechecks[what]
	if !ok {
		r = &recheck{mount: m, checked: what, apiKey: cred, also: also, streams: map[chan<- error]bool{}}
		m.rechecks[what] = r
		time.AfterFunc(r.pause(), r.run)
	}
	r.streams[refused] = true
	context.AfterFunc(c.Request().Context(), func() {
		m.rechecksMu.Lock()
		defer m.rechecksMu.Unlock()
		delete(r.streams, refused)
	})
	return refused
}

// checked is what a recheck checks.
type checked struct {
	keyHash  [sha256.Size]byte // a domain.Secret is not comparable
	action   domain.Action
	tenantID string
}

// recheck does not use the echo.Context, which belongs to the goroutine of the request.
type recheck struct {
	checked
	mount   *mount
	apiKey  domain.Secret
	also    func(ctx context.Context, tenantID string) error
	streams map[chan<- error]bool // guarded by the mutex of the mount
}

func (r *recheck) pause() time.Duration {
	return recheckInterval - rand.N(recheckInterval/4)
}

// run checks once, and plans the next check. Between checks there is no goroutine.
func (r *recheck) run() {
	if r.ends(nil) {
		return
	}
	// A statement whose context ends costs its connection to the database: the end of a stream does not end it.
	ctx, cancel := context.WithTimeout(context.Background(), recheckTimeout)
	defer cancel()
	if r.ends(r.check(ctx)) {
		return
	}
	time.AfterFunc(r.pause(), r.run)
}

// ends reports whether there are no streams to check. If refused is an error, it is their end.
func (r *recheck) ends(refused error) bool {
	m := r.mount
	m.rechecksMu.Lock()
	defer m.rechecksMu.Unlock()
	if refused == nil && len(r.streams) > 0 {
		return false
	}
	for stream := range r.streams {
		stream <- refused
	}
	delete(m.rechecks, r.checked) // a stream that comes later is the first of another
	return true
}

// check returns the reason if the caller may not do the action. A panic is one: it must not end the process, and the
// permission is then unknown for a reason that will not pass.
func (r *recheck) check(ctx context.Context) (refused error) {
	defer func() {
		if v := recover(); v != nil {
			refused = &panicError{value: v, stack: debug.Stack()}
		}
	}()
	_, err := r.mount.Authenticate.Do(ctx, usecase.Credential{APIKey: r.apiKey}, r.action, r.tenantID)
	if errors.Is(err, domain.ErrUnauthorized) {
		return err
	}
	if err := r.also(ctx, r.tenantID); errors.Is(err, domain.ErrUnauthorized) {
		return err
	}
	return nil
}
