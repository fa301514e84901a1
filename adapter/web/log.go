package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/usecase"
)

// The events of the log. OPERATING.md lists all.
const (
	eventRequest    = "http.request" // unless the request's record has another event
	eventRefused    = "request.refused"
	eventFailed     = "request.failed"
	eventHTTPServer = "http.server" // of net/http and echo themselves
)

// A Record has what a handler says about its request, for its log line and for Observe.
type Record struct {
	RequestID string // read-only: the X-Request-Id of the response
	// Arrived is when the header of the request was complete, with a monotonic reading; read-only.
	Arrived time.Time
	Tenant  string // a tenant that exists, never the unverified value of a header
	Outcome string // of an exchange: one word out of a fixed set
	Event   string // what happened, out of a fixed set; empty for http.request
	Kind    string // of the event, out of a fixed set, because it becomes a label of a metric; may be empty
	Routine bool   // the line is at debug, unless the request is refused or fails
	Logged  bool   // another line says why the request failed: this one is at debug

	Caller usecase.Caller // who sent the request, once it is identified

	mount    *mount
	path     *path     // nil if no route has the path
	endpoint *endpoint // nil if no route has the path and the method
	level    slog.Level
	attrs    []slog.Attr
	body     []byte
	charge   charge
	client   context.Context // ends when the client disconnects
	began    time.Time       // when the response of a stream began
}

// Add adds attrs to the request's log line, and raises its level to at least level. attrs must not contain secrets.
func (r *Record) Add(level slog.Level, attrs ...slog.Attr) {
	r.level = max(r.level, level)
	r.attrs = append(r.attrs, attrs...)
}

// refused makes the line of a request that the guard refused a warning, or, if there was one within logEvery, a line at
// debug.
func (r *Record) refused(why *Refused, now time.Time) {
	warn, omitted := why.log.shouldWarn(now)
	r.level = slog.LevelDebug
	if warn {
		r.level = slog.LevelWarn
	}
	r.Event, r.Kind = eventRefused, why.Reason
	r.attrs = append(r.attrs, slog.String("why", why.Error()), slog.Int("refusedBefore", omitted))
	if why.hint != "" {
		r.attrs = append(r.attrs, slog.String("hint", why.hint))
	}
}

const recordKey = "refreshd.record"

// A Response describes a completed request to Observe. Each of its strings is out of a fixed set.
type Response struct {
	Route  string // as in the OpenAPI document: /jwt/refresh/{id}
	Method string
	Status int
	Took   time.Duration // of a stream: until its response began

	Event, Kind string // of the record
}

// LogRecord returns the request's record. Use it only in the request's goroutine.
func LogRecord(c echo.Context) *Record {
	if r, ok := c.Get(recordKey).(*Record); ok {
		return r
	}
	r := &Record{}
	c.Set(recordKey, r)
	return r
}

// panicError is a recovered panic.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

func recovering(c echo.Context, h echo.HandlerFunc) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &panicError{value: v, stack: debug.Stack()}
		}
	}()
	return h(c)
}

// logged is the outermost middleware: it responds to errors and panics, and then writes the request's log line. There
// is one line for each request, at debug for most of those that the guard refuses, and no other line for an error. A
// panic after the first byte of the response closes the connection, otherwise the client would take the response for
// complete.
func (m *mount) logged(next echo.HandlerFunc) echo.HandlerFunc {
	trusts := trustIn(m.TrustedProxies)
	return func(c echo.Context) error {
		start := time.Now()
		req, res := c.Request(), c.Response()
		record := &Record{RequestID: requestID(req.Header), Arrived: start, mount: m}
		c.Set(recordKey, record)
		res.Header().Set(echo.HeaderXRequestID, record.RequestID)
		res.Header().Set(echo.HeaderXContentTypeOptions, "nosniff")
		// net/http reads a request with both chunks and a length by its chunks, and does not report the length. A proxy
		// may have used the length, and must not send the rest as the beginning of the next request (RFC 9112, section
		// 6.1).
		if len(req.TransferEncoding) > 0 {
			res.Header().Set(echo.HeaderConnection, "close")
		}

		truncated, err := respond(c, next)
		response := Response{
			Route: "unmatched", Method: knownMethod(req.Method), Status: res.Status, Took: time.Since(start),
		}
		if record.path != nil {
			response.Route = record.path.label
		}
		refused := (*Refused)(nil)
		if errors.As(err, &refused) {
			record.refused(refused, start)
		} else {
			record.conclude(req.Context(), c, err)
		}
		response.Event, response.Kind = record.Event, record.Kind
		m.writeLine(req.Context(), c, record, response)
		if m.Observe != nil {
			if !record.began.IsZero() {
				response.Took = record.began.Sub(start)
			}
			m.Observe(response)
		}
		if truncated {
			panic(http.ErrAbortHandler)
		}
		if refused != nil && refused.Reason == Overload {
			if peer, ok := parseAddr(req.RemoteAddr); !ok || !trusts(peer) {
				delayNextRead(req.Context(), res)
			}
		}
		return nil
	}
}

// respond runs next, and sends the response to its error or panic. It returns that error, joined with an error of the
// response itself, and reports whether the response is truncated: begun, and never completed.
func respond(c echo.Context, next echo.HandlerFunc) (truncated bool, err error) {
	res := c.Response()
	err = recovering(c, next)
	var panicked *panicError
	truncated = errors.As(err, &panicked) && (res.Committed || panicked.value == any(http.ErrAbortHandler))
	if err == nil || truncated {
		return truncated, err
	}
	failed := recovering(c, func(c echo.Context) error { c.Error(err); return nil })
	truncated = failed != nil && res.Committed
	if failed != nil && !truncated {
		res.WriteHeader(http.StatusInternalServerError)
	}
	return truncated, errors.Join(err, failed)
}

// conclude completes the record of a request that the guard admitted: its level, the reason of err, and the event if it
// has none. ctx is the context of the original request, because that of c ends with the handler's time limit.
func (r *Record) conclude(ctx context.Context, c echo.Context, err error) {
	status := c.Response().Status
	fault := status >= 500 || err != nil && Status(c, err) >= 500 // whatever status was sent before
	recordUnauthorized(c, err)
	r.Add(levelOf(ctx, fault, err), explain(err, fault)...)
	if r.Event == "" {
		r.Event = eventRequest
		if fault && !r.Logged {
			r.Event = eventFailed
		}
	}
	if r.Logged || r.Routine && r.level == slog.LevelInfo && status < 400 {
		r.level = slog.LevelDebug
	}
}

// writeLine writes the request's line, with the duration of the complete response.
func (m *mount) writeLine(ctx context.Context, c echo.Context, record *Record, response Response) {
	if !m.Log.Enabled(ctx, record.level) {
		return
	}
	attrs := make([]slog.Attr, 0, 11+len(record.attrs))
	attrs = append(attrs,
		slog.String("event", record.Event),
		slog.String("id", record.RequestID),
		slog.String("method", response.Method),
		slog.String("route", response.Route),
		slog.Int("status", response.Status),
		slog.Float64("durationMs", float64(response.Took.Microseconds())/1000),
		slog.String("tenant", record.Tenant),
		slog.String("outcome", record.Outcome),
		slog.String("client", c.RealIP()),
		slog.Int64("bytes", c.Response().Size),
	)
	if record.Kind != "" {
		attrs = append(attrs, slog.String("kind", record.Kind))
	}
	m.Log.LogAttrs(ctx, record.level, "request", append(attrs, record.attrs...)...)
}

// levelOf returns the level of an error: error for one that an operator must see, which excludes a client that
// disconnected before its response.
func levelOf(ctx context.Context, fault bool, err error) slog.Level {
	switch {
	case !fault:
		return slog.LevelInfo
	case left(ctx, err):
		return slog.LevelInfo
	default:
		return slog.LevelError
	}
}

// left reports whether the client has disconnected, or stopped reading the response.
func left(ctx context.Context, err error) bool {
	write := (*net.OpError)(nil)
	return errors.Is(err, context.Canceled) && ctx.Err() != nil || errors.As(err, &write) && write.Op == "write"
}

// explain returns the reason for the response: a fault in full, an invalid request by its error codes. For other
// refusals it returns nothing, because their errors may repeat what the caller sent.
func explain(err error, fault bool) []slog.Attr {
	if err == nil {
		return nil
	}
	if fault {
		attrs := []slog.Attr{slog.String("error", err.Error())}
		if panicked := (*panicError)(nil); errors.As(err, &panicked) {
			attrs = append(attrs, slog.String("stack", string(panicked.stack)))
		}
		return attrs
	}
	if invalid := (*domain.Invalid)(nil); errors.As(err, &invalid) {
		return []slog.Attr{slog.String("codes", codes(invalid))}
	}
	return nil
}

// codes returns the error codes without names that the caller chose, unknown ones and those within a free-form object:
// a client that posts a bare token string as a form has sent it as a name.
func codes(invalid *domain.Invalid) string {
	var all []string
	for _, f := range invalid.Fields {
		f.Field, _, _ = strings.Cut(f.Field, ".")
		if f.Reason == domain.Unknown {
			f.Field = ""
		}
		all = append(all, f.Code())
	}
	return strings.Join(all, " ")
}

// knownMethod bounds the labels of a metric, which callers must not choose.
func knownMethod(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
		http.MethodOptions:
		return method
	default:
		return "other"
	}
}
