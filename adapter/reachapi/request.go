package reachapi

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/domain"
)

const (
	streamType = "text/event-stream"

	lastEventID = "Last-Event-ID"

	maxWait              = 25 // seconds; less than the 30 after which many proxies give up
	minNonce, maxNonce   = 16, 128
	nonceAlphabet        = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
	maxCursorDigits      = 19 // of the largest 64-bit integer
	notAcceptableMessage = "the Accept must allow " + streamType + " or " + echo.MIMEApplicationJSON
)

// query is the query as it is sent.
type query struct {
	Cursor *string `json:"cursor"`
	Wait   *int64  `json:"wait"`
	Nonce  *string `json:"nonce"`
}

// request is a checked request.
type request struct {
	tenantID  string
	stream    bool            // or else a long poll
	cursor    domain.Position // 0 if there is none
	hasCursor bool
	nonce     string        // empty if there is none
	wait      time.Duration // of a long poll
	arrived   time.Time
}

func newRequest(c echo.Context) (request, error) {
	record := web.LogRecord(c)
	r := request{tenantID: record.Caller.TenantID, arrived: record.Arrived}
	stream, ok := acceptsStream(c.Request().Header)
	if !ok {
		return r, echo.NewHTTPError(http.StatusNotAcceptable, notAcceptableMessage)
	}
	r.stream = stream
	q, err := web.Query[query](c)
	if err != nil {
		return r, err
	}
	var p domain.Problems
	r.cursor, r.hasCursor = cursorOf(q.Cursor, c.Request().Header.Values(lastEventID), &p)
	if q.Wait != nil {
		switch {
		case *q.Wait < 0 || *q.Wait > maxWait:
			p.Add("wait", domain.Malformed, "use 0 to 25 seconds")
		case stream:
			p.Add("wait", domain.Conflict, "a stream does not end after a wait: omit it, or accept "+
				echo.MIMEApplicationJSON+" only")
		}
		r.wait = time.Duration(*q.Wait) * time.Second
	}
	if q.Nonce != nil {
		r.nonce = *q.Nonce
		if n := len(r.nonce); n < minNonce || n > maxNonce || strings.Trim(r.nonce, nonceAlphabet) != "" {
			p.Add("nonce", domain.Malformed, "use 16 to 128 letters, digits, _ or -")
		}
	}
	return r, p.Err()
}

// cursorOf returns the cursor of the query and of the header Last-Event-ID, in which an EventSource of a browser and
// many libraries repeat it.
func cursorOf(query *string, header []string, p *domain.Problems) (cursor domain.Position, ok bool) {
	var cursors []domain.Position
	add := func(field, text string) {
		cursor, ok := parseCursor(text)
		if !ok {
			p.Add(field, domain.Malformed, "send the id of a frame, in decimal digits, or omit this")
			return
		}
		cursors = append(cursors, cursor)
	}
	if query != nil {
		add("cursor", *query)
	}
	for _, value := range header {
		add(lastEventID, value)
	}
	for _, other := range cursors {
		if other != cursors[0] {
			p.Add(lastEventID, domain.Conflict, "the request has two different cursors: send one")
			return 0, false
		}
	}
	if len(cursors) == 0 {
		return 0, false
	}
	return cursors[0], true
}

// parseCursor accepts the one spelling in which a cursor is sent.
func parseCursor(text string) (domain.Position, bool) {
	if text == "" || len(text) > maxCursorDigits || strings.Trim(text, "0123456789") != "" ||
		text[0] == '0' && text != "0" {
		return 0, false
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return domain.Position(n), err == nil
}

// acceptsStream reports whether the client prefers a stream to a long poll, by its Accept. ok is false if it accepts
// neither. Of equal preference, the stream counts only if the client names it: */* is what a program sends that does
// not know of streams.
func acceptsStream(header http.Header) (stream, ok bool) {
	accept := strings.Join(header.Values(echo.HeaderAccept), ",")
	if strings.TrimSpace(accept) == "" {
		return false, true
	}
	streams, named := preference(accept, streamType)
	json, _ := preference(accept, echo.MIMEApplicationJSON)
	return streams > json || streams == json && named, streams > 0 || json > 0
}

// preference returns the quality of a media type in thousandths, by the most specific range that matches it (RFC 9110,
// section 12.5.1), and whether that is the type itself. A range that is malformed matches nothing.
func preference(accept, mediaType string) (quality int, named bool) {
	kind, _, _ := strings.Cut(mediaType, "/")
	found := 0
	for _, item := range strings.Split(accept, ",") {
		name, params, _ := strings.Cut(item, ";")
		specific := 0
		switch strings.ToLower(strings.TrimSpace(name)) {
		case mediaType:
			specific = 3
		case kind + "/*":
			specific = 2
		case "*/*":
			specific = 1
		}
		q, ok := qualityOf(params)
		if !ok || specific == 0 || specific < found {
			continue
		}
		if specific == found {
			q = max(q, quality)
		}
		found, quality = specific, q
	}
	return quality, found == 3
}

// qualityOf returns the parameter q in thousandths, 1000 without one.
func qualityOf(params string) (int, bool) {
	for _, param := range strings.Split(params, ";") {
		name, value, _ := strings.Cut(param, "=")
		if !strings.EqualFold(strings.TrimSpace(name), "q") {
			continue
		}
		whole, part, _ := strings.Cut(strings.TrimSpace(value), ".")
		thousandths, err := strconv.ParseUint((part + "000")[:3], 10, 16)
		switch {
		case err != nil || len(part) > 3 || whole != "0" && whole != "1" || whole == "1" && thousandths > 0:
			return 0, false
		case whole == "1":
			return 1000, true
		}
		return int(thousandths), true
	}
	return 1000, true
}
