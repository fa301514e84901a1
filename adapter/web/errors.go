package web

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strconv"

	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/domain"
)

// An ErrorStatus is the status of the response to an error.
type ErrorStatus struct {
	Err    error
	Status int
}

// failures are matched first, so that an unavailable store is never reported as a refusal, whatever else the error
// wraps. A lost race is a failure: the client may send the request again.
var failures = []ErrorStatus{
	{domain.ErrUnavailable, http.StatusServiceUnavailable},
	{domain.ErrBusy, http.StatusServiceUnavailable},
	{domain.ErrConflict, http.StatusServiceUnavailable},
	{context.DeadlineExceeded, http.StatusServiceUnavailable},
	{context.Canceled, http.StatusServiceUnavailable},
}

// refusals are the statuses of a dialect unless it has others. domain.ErrStale is not among them: only a dialect whose
// requests name a version may return it.
var refusals = []ErrorStatus{
	{domain.ErrUnauthorized, http.StatusUnauthorized},
	{domain.ErrNotFound, http.StatusNotFound},
	{domain.ErrDuplicate, http.StatusBadRequest},
}

// Status returns the status of the response to err, in the dialect of the request. The first match counts. An error
// that matches nothing is an internal error, 500.
func Status(c echo.Context, err error) int {
	if panicked := (*panicError)(nil); errors.As(err, &panicked) {
		return http.StatusInternalServerError
	}
	if refused := (*Refused)(nil); errors.As(err, &refused) {
		return refused.status()
	}
	for _, table := range [...][]ErrorStatus{failures, dialectOf(c).Statuses, refusals} {
		for _, s := range table {
			if errors.Is(err, s.Err) {
				return s.Status
			}
		}
	}
	if invalid := (*domain.Invalid)(nil); errors.As(err, &invalid) {
		return http.StatusBadRequest
	}
	if he := (*echo.HTTPError)(nil); errors.As(err, &he) && he.Code >= 400 && he.Code <= 599 {
		return he.Code
	}
	return http.StatusInternalServerError
}

// FieldErrors returns the errors of a 400, 409 or 412: the fields of a *domain.Invalid, the header If-Match, or one
// error without a field.
func FieldErrors(err error) []domain.FieldError {
	if invalid := (*domain.Invalid)(nil); errors.As(err, &invalid) {
		return invalid.Fields
	}
	if errors.Is(err, domain.ErrDuplicate) {
		return []domain.FieldError{{Reason: domain.Duplicate, Message: "the id or name is taken: choose another"}}
	}
	if errors.Is(err, domain.ErrStale) {
		return []domain.FieldError{{Field: "If-Match", Reason: domain.Stale,
			Message: "the object has another version by now: read it, and decide again"}}
	}
	return []domain.FieldError{{Reason: domain.Malformed, Message: Message(http.StatusBadRequest, err)}}
}

// Message returns a sentence for people about a refusal with that status, without internal details.
func Message(status int, err error) string {
	if he := (*echo.HTTPError)(nil); errors.As(err, &he) {
		if s, ok := he.Message.(string); ok {
			return s
		}
	}
	return http.StatusText(status)
}

// A Renderer writes a refusal in the format of the dialect, with the given status. It must not reveal why a request is
// 401 or 404, nor err of a 5xx, which is internal. WWW-Authenticate and Retry-After are already set.
type Renderer func(c echo.Context, status int, err error) error

// NoBody writes a refusal without a body.
func NoBody(c echo.Context, status int) error {
	header := c.Response().Header()
	header.Del(echo.HeaderContentType)
	header.Del(echo.HeaderContentLength)
	c.Response().WriteHeader(status)
	return nil
}

// refuse responds to errors, with the renderer of the request's dialect. It sets the headers that the status requires,
// unless the handler did.
func (m *mount) refuse(err error, c echo.Context) {
	if c.Response().Committed {
		return
	}
	status := Status(c, err)
	header := c.Response().Header()
	setDefault := func(name, value string) {
		if header.Get(name) == "" {
			header.Set(name, value)
		}
	}
	refused := (*Refused)(nil)
	errors.As(err, &refused)
	switch status {
	case http.StatusUnauthorized:
		setDefault(echo.HeaderWWWAuthenticate, `Bearer realm="refreshd"`)
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		seconds := 1
		if refused != nil {
			seconds = refused.seconds()
		}
		setDefault(echo.HeaderRetryAfter, strconv.Itoa(seconds))
	}
	if refused != nil && refused.Reason == Overload { // it is sent before the handler returns
		defer buffered(c)()
	}
	if failed := dialectOf(c).Render(c, status, err); failed != nil {
		level := slog.LevelWarn // most likely the client disconnected while it was written
		if !c.Response().Committed {
			level = slog.LevelError
			c.Response().WriteHeader(http.StatusInternalServerError)
		}
		LogRecord(c).Add(level, slog.String("answer", failed.Error()))
	}
}

// buffered buffers the response, and sends it with its length when the returned function is called.
func buffered(c echo.Context) (send func()) {
	w := &bufferedWriter{ResponseWriter: c.Response().Writer}
	c.Response().Writer = w
	return func() {
		c.Response().Writer = w.ResponseWriter
		if w.status == 0 {
			return
		}
		w.Header().Set(echo.HeaderContentLength, strconv.Itoa(w.body.Len()))
		w.ResponseWriter.WriteHeader(w.status)
		_, _ = w.ResponseWriter.Write(w.body.Bytes()) // the client may have disconnected
	}
}

type bufferedWriter struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
}

func (w *bufferedWriter) WriteHeader(status int) { w.status = status }

func (w *bufferedWriter) Write(p []byte) (int, error) { return w.body.Write(p) }
