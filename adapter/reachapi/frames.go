package reachapi

import (
	"encoding/base64"
	"encoding/json"
	"strconv"
	"time"

	"github.com/refreshd/refreshd/domain"
)

// encodeFacts returns the part of a frame that is the same for all subscribers: the members of `facts` after n and
// keep.
func encodeFacts(facts []domain.Fact) (b []byte) {
	begin := func(name string, is func(domain.Fact) bool, value func(domain.Fact)) {
		opened := false
		for _, f := range facts {
			switch {
			case !is(f):
				continue
			case !opened:
				b = append(b, `,"`+name+`":[`...)
			default:
				b = append(b, ',')
			}
			opened = true
			value(f)
		}
		if opened {
			b = append(b, ']')
		}
	}
	begin("s", isSession, func(f domain.Fact) { b = appendID(b, f.SessionID) })
	begin("m", isMark, func(f domain.Fact) {
		b = append(b, '[')
		b = append(appendOptional(b, f.ApplicationID), ',')
		b = append(appendOptional(b, f.UserID), ',')
		b = append(strconv.AppendUint(b, f.Epoch, 10), ',')
		if f.Except.IsZero() {
			b = append(b, "null"...)
		} else {
			b = appendID(b, f.Except)
		}
		b = append(b, ']')
	})
	begin("k", isKey, func(f domain.Fact) { b = appendText(b, f.KeyID) })
	return b
}

func isSession(f domain.Fact) bool { return !f.SessionID.IsZero() }
func isKey(f domain.Fact) bool     { return f.KeyID != "" }
func isMark(f domain.Fact) bool    { return !isSession(f) && !isKey(f) }

func appendID(b []byte, id domain.ID) []byte {
	b = append(b, '"')
	b = base64.RawURLEncoding.AppendEncode(b, id[:])
	return append(b, '"')
}

func appendOptional(b []byte, s string) []byte {
	if s == "" {
		return append(b, "null"...)
	}
	return appendText(b, s)
}

// appendText escapes line breaks, as JSON requires, so that no text ends a line of a stream.
func appendText(b []byte, s string) []byte {
	quoted, err := json.Marshal(s)
	if err != nil {
		panic(err) // a string can be marshalled
	}
	return append(b, quoted...)
}

// frames appends frames to a buffer, in the format of a stream or as elements of the array of a long poll.
type frames struct {
	array bool
	buf   []byte
	begun bool  // the array has an element
	n     int64 // of the last frame that is numbered
}

// open begins a frame. Its data follows, and close.
func (f *frames) open(event string) { f.openWithID(event, "") }

func (f *frames) openWithID(event, id string) {
	if !f.array {
		f.buf = append(f.buf, "event: "+event+"\n"...)
		if id != "" {
			f.buf = append(f.buf, "id: "+id+"\n"...)
		}
		f.buf = append(f.buf, "data: "...)
		return
	}
	if f.begun {
		f.buf = append(f.buf, ',')
	}
	f.begun = true
	f.buf = append(f.buf, `{"event":"`+event+`",`...)
	if id != "" {
		f.buf = append(f.buf, `"id":"`+id+`",`...)
	}
	f.buf = append(f.buf, `"data":`...)
}

func (f *frames) close() {
	if f.array {
		f.buf = append(f.buf, '}')
		return
	}
	f.buf = append(f.buf, "\n\n"...)
}

// number begins the data of a frame with the next number, so that the client notices one that is missing.
func (f *frames) number() {
	f.n++
	f.buf = strconv.AppendInt(append(f.buf, `{"n":`...), f.n, 10)
}

// hello is the first frame.
func (f *frames) hello(tenantID string, keep time.Duration) {
	f.open("hello")
	f.buf = appendText(append(f.buf, `{"v":1,"tenant":`...), tenantID)
	f.buf = strconv.AppendInt(append(f.buf, `,"keep":`...), seconds(keep), 10)
	f.buf = strconv.AppendInt(append(f.buf, `,"beat":`...), beat.Milliseconds(), 10)
	f.buf = append(f.buf, '}')
	f.close()
}

// facts is a frame with what encodeFacts returned.
func (f *frames) facts(keep time.Duration, encoded []byte) {
	f.open("facts")
	f.number()
	f.buf = strconv.AppendInt(append(f.buf, `,"keep":`...), seconds(keep), 10)
	f.buf = append(append(f.buf, encoded...), '}')
	f.close()
}

// fresh says that the client has every fact up to the instant that is age after the arrival of its request.
func (f *frames) fresh(cursor domain.Position, age time.Duration) {
	f.openWithID("fresh", strconv.FormatInt(int64(cursor), 10))
	f.number()
	f.buf = strconv.AppendInt(append(f.buf, `,"e":`...), domain.FloorMilliseconds(age).Milliseconds(), 10)
	f.buf = append(f.buf, '}')
	f.close()
}

func (f *frames) proof(jws string) {
	f.open("proof")
	f.number()
	f.buf = appendText(append(f.buf, `,"jws":`...), jws)
	f.buf = append(f.buf, '}')
	f.close()
}

// bye is the last frame. The client should connect again after that time.
func (f *frames) bye(after time.Duration) {
	f.open("bye")
	f.buf = strconv.AppendInt(append(f.buf, `{"after":`...), after.Milliseconds(), 10)
	f.buf = append(f.buf, '}')
	f.close()
}

// seconds rounds up: a client must not forget a fact too early.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }
