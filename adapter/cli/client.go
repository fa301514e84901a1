package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/refreshd/refreshd/domain"
)

// The exit statuses of the commands of administration, besides 0. The topic exit-status describes them.
const (
	StatusFailed   = 1
	StatusUsage    = 2
	StatusNotFound = 3
	StatusRefused  = 4
)

// Failure is an error of a command that has exit statuses of its own.
type Failure struct {
	Status int   // with which the program exits
	Err    error // nil if there is nothing to report
}

func (f *Failure) Error() string {
	if f.Err == nil {
		return ""
	}
	return f.Err.Error()
}

func (f *Failure) Unwrap() error { return f.Err }

func failed(status int, format string, a ...any) error {
	return &Failure{status, fmt.Errorf(format, a...)}
}

// Transport sends requests to the HTTP APIs of a service.
type Transport interface {
	http.RoundTripper
	io.Closer
}

// network is the transport to a service that listens.
type network struct{ http.Transport }

func (n *network) Close() error {
	n.CloseIdleConnections()
	return nil
}

// requestTimeout bounds one request with its response. A service ends a handler after 10 seconds.
const requestTimeout = 30 * time.Second

// maxResponse is the maximum size of a response in bytes. A page of a list ends after 1 MiB and one object.
const maxResponse = 8 << 20

const tenantHeader = "X-Stencil-TenantId"

// client sends requests to the HTTP APIs, and turns their refusals into messages.
type client struct {
	http   http.Client
	server string        // its URL; empty if the transport is this process itself
	key    domain.Secret // zero without a server
	tenant string        // of each request; empty for none
}

// newClient returns a client of the service at the URL, or, if that is empty, of the one behind the transport.
func newClient(transport http.RoundTripper, server string, key domain.Secret, tenant string) *client {
	return &client{
		http: http.Client{
			Transport: transport, Timeout: requestTimeout,
			// The API never redirects. A proxy that does may send the key to another host, or in the clear.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		server: server, key: key, tenant: tenant,
	}
}

// request is a request of a client.
type request struct {
	method, path string // path is escaped
	query        url.Values
	body         any    // is sent as JSON; nil for none
	ifMatch      string // the version that the object must have; empty for any
	what         string // the object that the path names, for messages: "application shop"
}

// response is a response with a status of success.
type response struct {
	data   json.RawMessage
	header http.Header
}

// do sends a request. Its error is a *Failure, or that of ctx.
func (c *client) do(ctx context.Context, r request) (response, error) {
	sent, err := c.newRequest(ctx, r)
	if err != nil {
		return response{}, err
	}
	got, err := c.http.Do(sent)
	if err != nil {
		return response{}, c.unsent(ctx, err)
	}
	defer got.Body.Close()
	body, err := io.ReadAll(io.LimitReader(got.Body, maxResponse+1))
	switch {
	case err != nil:
		return response{}, c.unsent(ctx, err)
	case len(body) > maxResponse:
		return response{}, failed(StatusFailed, "the response to %s %s is larger than 8 MiB: ask for fewer with --limit",
			r.method, r.path)
	}
	var envelope envelope
	if err := json.Unmarshal(body, &envelope); err != nil {
		envelope = emptyEnvelope
	}
	if got.StatusCode >= 200 && got.StatusCode < 300 && envelope.Success {
		return response{visible(envelope.Data), got.Header}, nil
	}
	return response{}, c.refusal(r, got, envelope)
}

// visible returns JSON with an escape for each character that a terminal could act on. Outside of a text valid JSON has
// none, except for line breaks and tabs. Above U+FFFF there is none, and the reader of YAML takes no escape of two
// halves.
func visible(data json.RawMessage) json.RawMessage {
	var out bytes.Buffer
	for _, r := range string(data) { // U+FFFD for bytes that are not UTF-8, as a decoder of JSON has it
		if r < ' ' || r > 0xffff || unicode.IsPrint(r) {
			out.WriteRune(r)
		} else {
			fmt.Fprintf(&out, `\u%04x`, r)
		}
	}
	return out.Bytes()
}

func (c *client) newRequest(ctx context.Context, r request) (*http.Request, error) {
	var body io.Reader
	if r.body != nil {
		text, err := json.Marshal(r.body)
		if err != nil {
			return nil, failed(StatusFailed, "the request cannot be written as JSON: %v", err)
		}
		body = bytes.NewReader(text)
	}
	at := cmp.Or(c.server, inProcess) + r.path
	if len(r.query) > 0 {
		at += "?" + r.query.Encode()
	}
	sent, err := http.NewRequestWithContext(ctx, r.method, at, body)
	if err != nil {
		return nil, failed(StatusFailed, "the request has no valid URL: %v", err)
	}
	if r.body != nil {
		sent.Header.Set("Content-Type", "application/json")
	}
	if r.ifMatch != "" {
		sent.Header.Set("If-Match", `"`+r.ifMatch+`"`)
	}
	if c.tenant != "" {
		sent.Header.Set(tenantHeader, c.tenant)
	}
	if !c.key.IsZero() {
		sent.Header.Set("Authorization", "Bearer "+c.key.Reveal())
	}
	return sent, nil
}

// inProcess stands for the URL of this process itself, which listens on no address.
const inProcess = "http://refreshd.invalid"

// unsent is the error of a request that had no response.
func (c *client) unsent(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var at *url.Error
	if errors.As(err, &at) {
		err = at.Err // without the URL
	}
	if c.server == "" {
		return failed(StatusFailed, "%v", err)
	}
	return failed(StatusFailed, "no response from %s: %s; check --server, and that the service is running", c.server,
		printable(err.Error())) // which may quote the response
}

// envelope is the body of a response.
type envelope struct {
	Success bool
	Message string
	Data    json.RawMessage
	Errors  struct {
		FieldErrors   map[string][]struct{ Message string }
		GeneralErrors []struct{ Code, Message string }
	}
}

var emptyEnvelope envelope

// refusal is the error of a response whose status is not one of success.
func (c *client) refusal(r request, got *http.Response, e envelope) error {
	switch got.StatusCode {
	case http.StatusUnauthorized:
		return c.unauthorized(r)
	case http.StatusNotFound:
		if got.Header.Get("X-Request-Id") == "" { // each response of the API has one
			return c.otherService(r, got)
		}
		return failed(StatusNotFound, "there is no %s%s", r.what, c.whereNot())
	case http.StatusBadRequest, http.StatusConflict:
		text := e.problems()
		if problems := e.Errors.GeneralErrors; len(problems) > 0 && problems[0].Code == "[unsafe]" {
			text += "\nNothing was done; --force does it anyway" // the message has the instant
		}
		return failed(StatusRefused, "%s", text)
	case http.StatusPreconditionFailed:
		return failed(StatusRefused, "the %s has changed since version %s: show it again, and repeat the change", r.what,
			r.ifMatch)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		why := "the service or its database is overloaded or cannot be reached"
		if got.StatusCode == http.StatusTooManyRequests {
			why = "too many requests: nothing was done"
		}
		if after := got.Header.Get("Retry-After"); after != "" {
			why += "; try again in " + printable(after) + " seconds"
		}
		return failed(StatusFailed, "%s. To repeat the command is safe", why)
	case http.StatusInternalServerError:
		return failed(StatusFailed, "an internal error: the log says more about the request %s",
			printable(got.Header.Get("X-Request-Id")))
	}
	if e.Message != "" {
		return failed(StatusRefused, "%s", printable(e.Message))
	}
	return c.otherService(r, got)
}

// otherService is the error of a response that the API does not send.
func (c *client) otherService(r request, got *http.Response) error {
	return failed(StatusFailed, "the response to %s %s is %s: check that %s is the URL of refreshd's API, of this version",
		r.method, r.path, printable(got.Status), cmp.Or(c.server, "this"))
}

// unauthorized is the error of a 401, which has no reason.
func (c *client) unauthorized(r request) error {
	switch {
	case c.server == "":
		return failed(StatusNotFound, "there is no tenant %s", c.tenant) // no other reason is possible
	case c.key.IsZero():
		return failed(StatusRefused, "no API key is set: set REFRESHD_API_KEY or REFRESHD_API_KEY_FILE")
	}
	reasons := ", or has no " + r.permission()
	if c.tenant != "" {
		reasons = ", has no " + r.permission() + ", is not for the tenant " + c.tenant + ", or that tenant does not exist"
	}
	return failed(StatusRefused,
		"the API key was refused: it is unknown, has expired%s. The log of the service says which",
		reasons)
}

// permission returns the permission that a request needs, as "refreshd help permissions" names them.
func (r request) permission() string {
	if r.method != http.MethodGet && strings.HasPrefix(r.path, "/key/") {
		return "POST on /key"
	}
	path := permissionOf(r.path)
	if r.method == http.MethodGet && path == "/jwt/refresh" && !r.query.Has("userId") {
		path = domain.SessionsPermission
	}
	return r.method + " on " + path
}

// permissionOf returns the endpoint of a path, as a permission names it.
func permissionOf(path string) string {
	for _, parent := range []string{"/jwt/refresh", "/tenant", "/application", "/api-key", "/key", "/audit"} {
		if strings.HasPrefix(path, parent+"/") {
			return parent + "/:id"
		}
	}
	return path
}

// whereNot says in which tenant an object was not found.
func (c *client) whereNot() string {
	if c.tenant == "" {
		return ""
	}
	return " in the tenant " + c.tenant
}

// problems returns the messages of a refusal, one on each line.
func (e envelope) problems() string {
	var all []string
	for field, list := range e.Errors.FieldErrors {
		for _, p := range list {
			all = append(all, short(printable(field))+": "+printable(p.Message))
		}
	}
	slices.Sort(all)
	for _, p := range e.Errors.GeneralErrors {
		all = append(all, printable(p.Message))
	}
	if len(all) == 0 {
		return cmp.Or(printable(e.Message), "the request was refused")
	}
	return strings.Join(all, "\n")
}

// nextLink finds the query of the next page. Only the query is used: the path, and with it the host, stay.
var nextLink = regexp.MustCompile(`<[^<>?]*\?([^<>]*)>\s*;\s*rel="?next"?`)

// pageSize is the number of rows that a client asks for.
const pageSize = 1000

// pages requests the pages of a list, and calls each for each of them, until there are limit rows; 0 for all. It
// reports whether there are more.
func (c *client) pages(
	ctx context.Context, r request, limit int, each func(rows []json.RawMessage) error,
) (more bool, err error) {
	r.method, r.query = http.MethodGet, cloneValues(r.query)
	for left := limit; ; {
		size := pageSize
		if limit > 0 {
			size = min(size, left)
		}
		r.query.Set("limit", strconv.Itoa(size))
		got, err := c.do(ctx, r)
		if err != nil {
			return false, err
		}
		var rows []json.RawMessage
		if err := json.Unmarshal(got.data, &rows); err != nil {
			return false, failed(StatusFailed, "the response to GET %s is not a list", r.path)
		}
		next := nextLink.FindStringSubmatch(got.header.Get("Link"))
		if limit > 0 && len(rows) > left {
			rows, next = rows[:left], []string{"", ""}
		}
		if err := each(rows); err != nil {
			return false, err
		}
		left -= len(rows)
		if next == nil || limit > 0 && left <= 0 {
			return next != nil, nil
		}
		last := r.query.Get("cursor")
		if r.query, err = url.ParseQuery(next[1]); err != nil || r.query.Get("cursor") == last {
			return false, failed(StatusFailed, "GET %s has no valid next page", r.path)
		}
	}
}

func cloneValues(v url.Values) url.Values {
	clone := url.Values{}
	for name, values := range v {
		clone[name] = slices.Clone(values)
	}
	return clone
}

// segment returns the path of an object below a collection.
func segment(collection, id string) string { return collection + "/" + url.PathEscape(id) }
