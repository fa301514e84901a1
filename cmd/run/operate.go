package run

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/user"
	"strconv"

	"github.com/refreshd/refreshd/adapter/cli"
	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/config"
)

// operate opens the store, and returns a transport to the program's own HTTP APIs over it. So a command has one code
// for both: on a store, and on a running service. Nothing listens, and no request can come from elsewhere: therefore
// the caller of all is the operator, without a limit.
func (p process) operate(ctx context.Context, c config.Config, readOnly bool) (_ cli.Transport, err error) {
	kind := p.storeOf(c)
	where := placeOf(kind, c.Database)
	if err := where.refuses(administration); err != nil {
		return nil, err
	}
	isEmpty, err := where.isEmpty(!c.MasterKey.IsZero())
	switch {
	case err != nil:
		return nil, err
	case isEmpty:
		return nil, fmt.Errorf("there is no database at %s: set REFRESHD_DATABASE_URL, or name a running service with "+
			"--server; `refreshd serve` and `refreshd apply` make a database", c.Database.Redacted)
	}
	if c.LogLevel == slog.LevelInfo {
		c.LogLevel = slog.LevelWarn // the command prints what it did
	}
	open := p.open
	if readOnly {
		open = p.openReadOnly
	}
	s, err := open(ctx, c)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.store.Close())
		}
	}()
	dialects, err := s.operated(ctx, c)
	if err != nil {
		return nil, err
	}
	o := s.options(c.PublicURL)
	o.Authenticate.Operator = operatorName()
	handler, err := web.New(o, dialects...)
	if err != nil {
		return nil, err
	}
	return inProcess{handler, s.store}, nil
}

// administration stands for the commands of administration, which refuse the same places.
const administration = "administration"

// operated are the dialects that commands of administration use.
func (s *service) operated(ctx context.Context, c config.Config) ([]web.Dialect, error) {
	tokens, err := s.tokens(ctx, c, c.PublicURL, s.store.Ready)
	if err != nil {
		return nil, err
	}
	objects, err := s.administration(ctx, c.PublicURL)
	if err != nil {
		return nil, err
	}
	return []web.Dialect{tokens.Undocumented(), objects.Undocumented()}, nil
}

// operatorName is the name of the user of the operating system, or its number if it has no name. It is never empty.
func operatorName() string {
	id := strconv.Itoa(os.Getuid())
	u, err := user.Current()
	if err != nil {
		return "uid " + id
	}
	return cmp.Or(u.Username, "uid "+id)
}

// inProcess passes requests to a handler of this process.
type inProcess struct {
	handler http.Handler
	io.Closer
}

// RoundTrip implements http.RoundTripper.
func (p inProcess) RoundTrip(r *http.Request) (response *http.Response, err error) {
	if r.Body != nil {
		defer r.Body.Close()
	}
	defer func() { // as net/http does for a handler that cannot complete its response
		if v := recover(); v != nil {
			response, err = nil, fmt.Errorf("the request failed: %v", v)
		}
	}()
	w := &buffered{header: http.Header{}}
	served := r.Clone(r.Context())
	if served.Body == nil {
		served.Body = http.NoBody
	}
	p.handler.ServeHTTP(w, served)
	w.WriteHeader(http.StatusOK)
	return &http.Response{
		StatusCode: w.status, Status: fmt.Sprintf("%d %s", w.status, http.StatusText(w.status)),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: w.header, ContentLength: int64(w.body.Len()),
		Body: io.NopCloser(&w.body), Request: r,
	}, nil
}

// buffered is a response in memory. The largest is a page of a list, which ends after 1 MiB.
type buffered struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (b *buffered) Header() http.Header { return b.header }

func (b *buffered) WriteHeader(status int) {
	if b.status == 0 {
		b.status = status
	}
}

func (b *buffered) Write(p []byte) (int, error) {
	b.WriteHeader(http.StatusOK)
	return b.body.Write(p)
}
