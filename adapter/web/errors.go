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

// failures come before everything else, so that a store that cannot be reached is never taken for a refusal, whatever
// else was wrapped. A lost race is one of them: who lost it may send the request again.
var failures = []ErrorStatus{
	{domain.ErrUnavailable, http.StatusServiceUnavailable},
	{domain.ErrBusy, http.StatusServiceUnavailable},
	{domain.ErrConflict, http.StatusServiceUnavailable},
	{context.DeadlineExceeded, http.StatusServiceUnavailable},
	{context.Canceled, http.StatusServiceUnavailable},
}

// refusals are the statuses that dialects have, unless they say otherwise. domain.ErrStale is none of them: only a
// dialect whose requests name a version may return it.
var refusals = []ErrorStatus{
	{domain.ErrUnauthorized, http.StatusUnauthorized},
	{domain.ErrNotFound, http.StatusNotFound},
	{domain.ErrDuplicate, http.StatusBadRequest},
}

// Status returns the status of the response to err, in the dialect of the request. The first that matches counts.
// What nobody thought of is a fault of ours: 500.
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

// FieldErrors is what a 400 has to tell: the fields of a *domain.Invalid, else one problem with the input as a whole.
func FieldErrors(err error) []domain.FieldError {
	if invalid := (*domain.Invalid)(nil); errors.As(err, &invalid) {
		return invalid.Fields
	}
	if errors.Is(err, domain.ErrDuplicate) {
		return []domain.FieldError{{Reason: domain.Duplicate, Message: "the id or name is taken; choose another"}}
	}
	return []domain.FieldError{{Reason: domain.Malformed, Message: Message(http.StatusBadRequest, err)}}
}

// Message is a sentence for people about a refusal with that status, without anything internal.
func Message(status int, err error) string {
	if he := (*echo.HTTPError)(nil); errors.As(err, &he) {
		if s, ok := he.Message.(string); ok {
			return s
		}
	}
	return http.StatusText(status)
}

// A Renderer writes a refusal in the dialect's way, with the given status. It gets all of them: of 401 and 404 it must
// tell nothing to strangers, and of 5xx nothing internal, which err is. WWW-Authenticate and Retry-After are set; it
// may set others.
type Renderer func(c echo.Context, status int, err error) error

// NoBody writes a refusal without a body.
func NoBody(c echo.Context, status int) error {
	header := c.Response().Header()
	header.Del(echo.HeaderContentType)
	header.Del(echo.HeaderContentLength)
	c.Response().WriteHeader(status)
	return nil
}

// refuse responds to errors, by the renderer of the request's dialect. Headers that the status asks for are set before,
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
		defer whole(c)()
	}
	if failed := dialectOf(c).Render(c, status, err); failed != nil {
		level := slog.LevelWarn // most likely the client left while it was written
		if !c.Response().Committed {
			level = slog.LevelError
			c.Response().WriteHeader(http.StatusInternalServerError)
		}
		Note(c).Raise(level, slog.String("answer", failed.Error()))
	}
}

// whole has the response written at one go, with its length, when the returned function is called.
func whole(c echo.Context) (send func()) {
	w := &wholeWriter{ResponseWriter: c.Response().Writer}
	c.Response().Writer = w
	return func() {
		c.Response().Writer = w.ResponseWriter
		if w.status == 0 {
			return
		}
		w.Header().Set(echo.HeaderContentLength, strconv.Itoa(w.body.Len()))
		w.ResponseWriter.WriteHeader(w.status)
		_, _ = w.ResponseWriter.Write(w.body.Bytes()) // the client may have left
	}
}

type wholeWriter struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
}

func (w *wholeWriter) WriteHeader(status int) { w.status = status }

func (w *wholeWriter) Write(p []byte) (int, error) { return w.body.Write(p) }
