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
	eventRequest    = "http.request" // unless the request's record says what happened
	eventRefused    = "request.refused"
	eventFailed     = "request.failed"
	eventHTTPServer = "http.server" // of net/http and echo themselves
)

// A Record is what a handler tells about its request, for the one log line and for Observe.
type Record struct {
	RequestID string // for reading: answered in X-Request-Id
	Tenant    string // a tenant that exists, never what a header claimed
	Outcome   string // of an exchange: one word out of a fixed set
	Event     string // what happened, out of a fixed set; empty for nothing but a request
	Kind      string // of the event, where there are several: out of a fixed set, for it becomes a label of a metric
	Routine   bool   // the line is one for debugging, unless the request is refused or fails
	Logged    bool   // why the request failed is in a line of its own: this one is for debugging

	Caller usecase.Caller // who sent the request, once it is identified

	mount    *mount
	path     *path     // nil where no route has the path
	endpoint *endpoint // nil where none has the method besides
	level    slog.Level
	attrs    []slog.Attr
	body     []byte
	payer    payer
	client   context.Context // ends when the client leaves
	begun    time.Time       // of the response of a stream
}

// Raise makes the request's log line at least as loud as level, and adds to it. Nothing secret may be in attrs.
func (r *Record) Raise(level slog.Level, attrs ...slog.Attr) {
	r.level = max(r.level, level)
	r.attrs = append(r.attrs, attrs...)
}

// refused makes the line of a call that a guard refused a warning, or one for debugging if there was a warning a moment ago.
func (r *Record) refused(why *Refused, now time.Time) {
	loud, leftOut := why.log.loud(now)
	r.level = slog.LevelDebug
	if loud {
		r.level = slog.LevelWarn
	}
	r.Event, r.Kind = eventRefused, why.Reason
	r.attrs = append(r.attrs, slog.String("why", why.Error()), slog.Int("refusedBefore", leftOut))
	if why.hint != "" {
		r.attrs = append(r.attrs, slog.String("hint", why.hint))
	}
}

const recordKey = "refreshd.record"

// A Response is what Observe is told of a request. Each of its strings is out of a fixed set.
type Response struct {
	Route  string // as the document writes it: /jwt/refresh/{id}
	Method string
	Status int
	Took   time.Duration // of a stream: until its response began

	Event, Kind string // of the record
}

// Note is the request's record. It belongs to the request's goroutine.
func Note(c echo.Context) *Record {
	if r, ok := c.Get(recordKey).(*Record); ok {
		return r
	}
	r := &Record{}
	c.Set(recordKey, r)
	return r
}

// panicError is a panic on its way to the log.
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

// logged is the outermost middleware: it answers errors and panics, and then writes the request's line. There is one
// line a request, at debug for most of those that a guard refuses, and nothing else logs an error that was answered. A
// panic after the first byte of an answer ends the connection, or the client would take the part for the whole.
func (m *mount) logged(next echo.HandlerFunc) echo.HandlerFunc {
	trusts := trustIn(m.TrustedProxies)
	return func(c echo.Context) error {
		start := time.Now()
		req, res := c.Request(), c.Response()
		record := &Record{RequestID: requestID(req.Header), mount: m}
		c.Set(recordKey, record)
		res.Header().Set(echo.HeaderXRequestID, record.RequestID)
		res.Header().Set(echo.HeaderXContentTypeOptions, "nosniff")
		// A request with chunks and a length besides is read by its chunks, and net/http does not tell. A proxy before us
		// may have gone by the length, and must not send the rest as the next request's beginning (RFC 9112, section 6.1).
		if len(req.TransferEncoding) > 0 {
			res.Header().Set(echo.HeaderConnection, "close")
		}

		torn, err := answered(c, next)
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
			if !record.begun.IsZero() {
				response.Took = record.begun.Sub(start)
			}
			m.Observe(response)
		}
		if torn {
			panic(http.ErrAbortHandler)
		}
		if refused != nil && refused.Reason == Overload {
			if peer, ok := parseAddr(req.RemoteAddr); !ok || !trusts(peer) {
				rest(req.Context(), res)
			}
		}
		return nil
	}
}

// answered runs next and sends the response to an error or a panic of it. It returns that, with an error of the response
// itself, and reports whether the response is torn: begun, and never to be completed.
func answered(c echo.Context, next echo.HandlerFunc) (torn bool, err error) {
	res := c.Response()
	err = recovering(c, next)
	var panicked *panicError
	torn = errors.As(err, &panicked) && (res.Committed || panicked.value == http.ErrAbortHandler)
	if err == nil || torn {
		return torn, err
	}
	answering := recovering(c, func(c echo.Context) error { c.Error(err); return nil })
	torn = answering != nil && res.Committed
	if answering != nil && !torn {
		res.WriteHeader(http.StatusInternalServerError)
	}
	return torn, errors.Join(err, answering)
}

// conclude sets the level of the line of a request that no guard refused, what it says of err, and the event of one
// that has none yet. ctx is that of the request as it came: that of c ends with the handler's time limit.
func (r *Record) conclude(ctx context.Context, c echo.Context, err error) {
	status := c.Response().Status
	fault := status >= 500 || err != nil && Status(c, err) >= 500 // whatever was sent by then
	noteUnauthorized(c, err)
	r.Raise(levelOf(ctx, fault, err), explain(err, fault)...)
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

// writeLine writes the request's line, with how long all of its response took.
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

// levelOf is error for what an operator must look at, which a client that left before its response is not.
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

// left reports whether the client has left, or took no more of its response.
func left(ctx context.Context, err error) bool {
	write := (*net.OpError)(nil)
	return errors.Is(err, context.Canceled) && ctx.Err() != nil || errors.As(err, &write) && write.Op == "write"
}

// explain says why the answer is what it is: faults in full, refused inputs by their codes, and other refusals not at all, since
// their errors may repeat what the caller sent.
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

// codes leaves out every name that the caller made up, an unknown one or one inside a free-form object: a client that posts a
// bare token string as a form has sent it as a name.
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

// knownMethod keeps a caller from making labels of a metric.
func knownMethod(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return method
	default:
		return "other"
	}
}
