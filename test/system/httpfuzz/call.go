package main

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// A call is a request before it is written, in parts that a mutation can change.
type call struct {
	operation string // of the document
	form      string // the POST that stands for it, if it is sent as one
	session   *session
	tenant    string

	method  string
	path    string // as sent
	query   []field
	header  []field // its values are strings
	media   string  // of the body; empty for none
	body    []field
	literal []byte // in place of the body's fields
	cut     int    // by how many bytes the announced length exceeds the body
	chunked bool
	proto   string // empty for HTTP/1.1
	alone   bool   // the connection is closed after it, because its framing may leave bytes behind
}

// A field is a name and a value. A verbatim value is JSON already, or is meant to look like it.
type field struct {
	name  string
	value any
}

type verbatim string

func text(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	if s, ok := v.(verbatim); ok {
		return string(s)
	}
	encoded, _ := json.Marshal(v)
	return string(encoded)
}

const (
	jsonMedia = "application/json"
	formMedia = "application/x-www-form-urlencoded"
)

func (c *call) content() []byte {
	var b bytes.Buffer
	switch {
	case c.literal != nil:
		return c.literal
	case c.media == "":
	case strings.HasPrefix(c.media, formMedia):
		b.WriteString(encodeForm(c.body))
	default:
		b.WriteByte('{')
		for i, f := range c.body {
			if i > 0 {
				b.WriteByte(',')
			}
			name, _ := json.Marshal(f.name)
			b.Write(name)
			b.WriteByte(':')
			if v, ok := f.value.(verbatim); ok {
				b.WriteString(string(v))
				continue
			}
			value, _ := json.Marshal(f.value)
			b.Write(value)
		}
		b.WriteByte('}')
	}
	return b.Bytes()
}

func encodeForm(fields []field) string {
	pairs := make([]string, len(fields))
	for i, f := range fields {
		if v, ok := f.value.(verbatim); ok {
			pairs[i] = url.QueryEscape(f.name) + "=" + string(v)
			continue
		}
		pairs[i] = url.QueryEscape(f.name) + "=" + url.QueryEscape(text(f.value))
	}
	return strings.Join(pairs, "&")
}

// target returns path and query as sent.
func (c *call) target() string {
	if len(c.query) == 0 {
		return c.path
	}
	return c.path + "?" + encodeForm(c.query)
}

func (c *call) set(name, value string) {
	for i, h := range c.header {
		if strings.EqualFold(h.name, name) {
			c.header[i].value = value
			return
		}
	}
	c.header = append(c.header, field{name, value})
}

func (c *call) get(name string) string {
	for _, h := range c.header {
		if strings.EqualFold(h.name, name) {
			return text(h.value)
		}
	}
	return ""
}

func (c *call) drop(name string) (found bool) {
	for i, h := range c.header {
		if strings.EqualFold(h.name, name) {
			c.header = append(c.header[:i:i], c.header[i+1:]...)
			return true
		}
	}
	return false
}

// wire returns the bytes of the request. net/http would refuse to send many of these requests.
func (c *call) wire() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s %s\r\nHost: refreshd.example\r\n", c.method, c.target(), cmp.Or(c.proto, "HTTP/1.1"))
	for _, h := range c.header {
		fmt.Fprintf(&b, "%s: %s\r\n", h.name, text(h.value))
	}
	content := c.content()
	if c.media != "" && c.media != "none" {
		fmt.Fprintf(&b, "Content-Type: %s\r\n", c.media)
	}
	switch {
	case c.chunked:
		fmt.Fprintf(&b, "Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(content), content)
	case len(content) > 0 || c.cut > 0:
		fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(content)+c.cut, content)
	default:
		b.WriteString("\r\n")
	}
	return b.Bytes()
}

// curl returns the call as a command.
func (c *call) curl(addr string) string {
	quote := func(s string) string {
		var b strings.Builder
		b.WriteString("$'")
		for _, x := range []byte(s) {
			if x < ' ' || x > '~' || x == '\'' || x == '\\' {
				fmt.Fprintf(&b, `\x%02x`, x)
				continue
			}
			b.WriteByte(x)
		}
		return b.String() + "'"
	}
	parts := []string{"curl -sS -i --path-as-is -X " + quote(c.method), quote("http://" + addr + c.target())}
	for _, h := range c.header {
		parts = append(parts, "-H "+quote(h.name+": "+text(h.value)))
	}
	if c.media != "" && c.media != "none" {
		parts = append(parts, "-H "+quote("Content-Type: "+c.media))
	}
	if content := c.content(); len(content) > 0 {
		parts = append(parts, "--data-binary "+quote(string(content)))
	}
	return strings.Join(parts, " ")
}

// An answer is the response to a call.
type answer struct {
	*http.Response
	content []byte
}

type conn struct {
	net.Conn
	reader *bufio.Reader
}

// send writes the call and reads its response. A connection is used until one side closes it.
func (w *world) send(c *call) (answer, error) {
	if w.conn == nil {
		dialed, err := net.Dial("tcp", w.addr)
		if err != nil {
			return answer{}, err
		}
		w.conn = &conn{dialed, bufio.NewReader(dialed)}
	}
	hangUp := func() {
		_ = w.conn.Close()
		w.conn = nil
	}
	_ = w.conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := w.conn.Write(c.wire()); err != nil {
		hangUp()
		return answer{}, err
	}
	over := c.alone || c.cut > 0
	if c.cut > 0 || c.get("Transfer-Encoding") != "" { // the service waits for more until it ends
		if err := w.conn.Conn.(*net.TCPConn).CloseWrite(); err != nil {
			hangUp()
			return answer{}, err
		}
	}
	res, err := http.ReadResponse(w.conn.reader, &http.Request{Method: c.method})
	for err == nil && res.StatusCode == http.StatusContinue {
		res, err = http.ReadResponse(w.conn.reader, &http.Request{Method: c.method})
	}
	if err != nil {
		hangUp()
		return answer{}, fmt.Errorf("read the response: %w", err)
	}
	content, err := io.ReadAll(res.Body)
	if over = over || res.Close || err != nil; over {
		hangUp()
	}
	return answer{res, content}, err
}
