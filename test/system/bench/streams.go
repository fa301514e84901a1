package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/refreshd/refreshd/test/support/rig"
)

const (
	feedStreams = 2500
	// streamRamp is how many streams are opened a second.
	streamRamp = 250
)

// stream reads the revocation stream of a replica as cheaply as it can, because both share the machine.
type stream struct {
	conn   net.Conn
	facts  atomic.Int64 // facts, or only the frames that have some
	fresh  atomic.Int64 // frames
	group  sync.WaitGroup
	closed atomic.Bool
	failed error
}

// errBusy is a refusal with Retry-After.
type errBusy struct{ after time.Duration }

func (e errBusy) Error() string {
	return fmt.Sprintf("the service wants another attempt after %s", e.after)
}

// followStream opens a stream. If it is decoded, each fact is counted, and otherwise each frame of facts.
func followStream(address string, isDecoded bool) (*stream, error) {
	s := &stream{}
	var err error
	if s.conn, err = net.Dial("tcp", address); err != nil {
		return nil, err
	}
	body, err := s.request(address)
	if err != nil {
		s.conn.Close()
		return nil, err
	}
	in := bufio.NewReaderSize(body, 1024)
	s.group.Go(func() { s.failed = s.read(in, isDecoded) })
	return s, nil
}

// request sends the request and returns the body of its response.
func (s *stream) request(address string) (io.Reader, error) {
	s.conn.SetDeadline(time.Now().Add(responseTimeout))
	if _, err := fmt.Fprintf(s.conn, "GET /t/%s/revocations HTTP/1.1\r\nHost: %s\r\nAuthorization: %s\r\n"+
		"Accept: text/event-stream\r\n\r\n", tenant, address, feedKey); err != nil {
		return nil, err
	}
	resp, err := http.ReadResponse(bufio.NewReaderSize(s.conn, 1024), nil)
	if err != nil {
		return nil, fmt.Errorf("open a stream: %w", err)
	}
	switch seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); {
	case resp.StatusCode == http.StatusOK:
		return resp.Body, s.conn.SetDeadline(time.Time{})
	case err == nil:
		return nil, errBusy{time.Duration(seconds) * time.Second}
	}
	return nil, fmt.Errorf("open a stream: got %s, want 200", resp.Status)
}

// read reads the lines of the stream until it ends. A line that is longer than the buffer comes in parts.
func (s *stream) read(in *bufio.Reader, isDecoded bool) error {
	isFacts := false
	for {
		line, err := in.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			if !isDecoded || !isFacts {
				continue
			}
			var rest []byte
			line = slices.Clone(line)
			if rest, err = in.ReadBytes('\n'); err == nil {
				line = append(line, rest...)
			}
		}
		if err != nil {
			if s.closed.Load() {
				return nil
			}
			return fmt.Errorf("a stream has ended: %w", err)
		}
		switch data, is := bytes.CutPrefix(line, []byte("data: ")); {
		case bytes.HasPrefix(line, []byte("event: fresh")):
			s.fresh.Add(1)
		case bytes.HasPrefix(line, []byte("event: facts")):
			isFacts = isDecoded
			if !isDecoded {
				s.facts.Add(1)
			}
		case is && isFacts:
			isFacts = false
			n, err := countFacts(data)
			if err != nil {
				return err
			}
			s.facts.Add(int64(n))
		}
	}
}

// countFacts returns the number of facts in a frame.
func countFacts(data []byte) (int, error) {
	var f struct {
		S, K []string
		M    []json.RawMessage
	}
	if err := json.Unmarshal(data, &f); err != nil {
		return 0, fmt.Errorf("a frame of facts: %w", err)
	}
	return len(f.S) + len(f.M) + len(f.K), nil
}

func (s *stream) close() {
	s.closed.Store(true)
	s.conn.Close()
}

// failure ends the stream and returns why it ended before.
func (s *stream) failure() error {
	s.close()
	s.group.Wait()
	return s.failed
}

// openStreams opens streams at the speed of the ramp, and waits as long as Retry-After says. Several are opened
// concurrently, because a stream begins with a reading of the store that started after its request.
func (b *bench) openStreams(ctx context.Context, address string, n int) (all []*stream, refused int, err error) {
	const openers = 64
	ctx, cancel := context.WithTimeoutCause(ctx, 2*time.Minute, errors.New("the streams take too long to open"))
	defer cancel()
	var (
		mu    sync.Mutex
		group sync.WaitGroup
		next  int
		begin = time.Now()
	)
	take := func() (i int, more bool) {
		mu.Lock()
		defer mu.Unlock()
		if next == n || err != nil {
			return 0, false
		}
		if next%(2*streamRamp) == 0 {
			b.progress("reach: %d of %d streams", len(all), n)
		}
		next++
		return next - 1, true
	}
	for range openers {
		group.Go(func() {
			for i, more := take(); more; i, more = take() {
				s, again, e := openStream(ctx, address, begin.Add(time.Duration(i)*time.Second/streamRamp))
				mu.Lock()
				refused += again
				if e == nil {
					all = append(all, s)
				} else if err == nil {
					err = e
				}
				mu.Unlock()
			}
		})
	}
	group.Wait()
	return all, refused, err
}

// openStream opens a stream at an instant, and after each refusal with Retry-After once more.
func openStream(ctx context.Context, address string, at time.Time) (s *stream, refused int, err error) {
	for {
		if err := sleepUntil(ctx, at); err != nil {
			return nil, refused, err
		}
		s, err := followStream(address, false)
		busy := errBusy{}
		if !errors.As(err, &busy) {
			return s, refused, err
		}
		refused++
		at = time.Now().Add(max(busy.after, time.Second))
	}
}

// reachStreamsPart measures what streams cost a replica.
func reachStreamsPart(ctx context.Context, b *bench) error {
	b.report.section(fmt.Sprintf("%d streams on one replica, PostgreSQL", feedStreams))
	dsn, err := b.newDatabase(ctx, b.withFeed())
	if err != nil {
		return err
	}
	services, addresses, err := b.replicas(ctx, 1, dsn)
	if err != nil {
		return err
	}
	s := services[0]
	length := 5 * time.Second
	if b.plan.retakes {
		length = 15 * time.Second
	}
	busyRate := 10
	grants, err := issueAll(ctx, services, busyRate*int(length.Seconds()))
	if err != nil {
		return err
	}
	b.progress("reach: no streams")
	quiet, _, err := s.cores(ctx, length/2, nil)
	if err != nil {
		return err
	}
	before := rig.Memory(s.PID(), "VmRSS")
	all, refused, err := b.openStreams(ctx, addresses[0], feedStreams)
	defer func() {
		for _, one := range all {
			one.close()
		}
	}()
	if err != nil {
		return s.Explain(err)
	}
	b.progress("reach: %d streams, idle", len(all))
	idle, others, err := s.cores(ctx, length, nil)
	if err != nil {
		return err
	}
	beats := all[0].fresh.Load()
	b.progress("reach: %d streams, %d revocations a second", len(all), busyRate)
	busy, busyOthers, err := s.cores(ctx, length, func(ctx context.Context) error {
		begin := time.Now()
		return concurrently(ctx, services, 2, len(grants), time.Minute, func(c *caller, i int) error {
			if err := sleepUntil(ctx, begin.Add(time.Duration(i)*time.Second/time.Duration(busyRate))); err != nil {
				return err
			}
			return c.expect(http.StatusOK, http.MethodDelete, "/jwt/refresh/"+string(grants[i].id), "")
		})
	})
	if err != nil {
		return err
	}
	after, peak := rig.Memory(s.PID(), "VmRSS"), rig.Memory(s.PID(), "VmHWM")
	ended, frames := 0, int64(0)
	for _, one := range all {
		frames += one.facts.Load()
		if one.failure() != nil || one.facts.Load() == 0 {
			ended++
		}
	}
	if ended > 0 {
		return fmt.Errorf("%d of %d streams ended, or got no facts", ended, len(all))
	}
	b.report.say("%d streams were opened, %d attempts were refused with Retry-After. Memory of the service: %.1f MiB "+
		"before, %.1f MiB after, %.1f MiB at most. Processor: %.3f cores without streams, %.3f with idle streams, which "+
		"got %d frames `fresh` each, and %.3f with %d revocations a second, in %s each. A stream got %.1f frames of facts. "+
		"Other processes than the service, this client included, took %.2f and %.2f cores.",
		len(all), refused, before, after, peak, quiet, idle, beats, busy, busyRate, length,
		float64(frames)/float64(len(all)), others, busyOthers)
	b.report.figure("reach streams memory", max(after, peak)-before)
	b.report.figure("reach streams idle", idle)
	b.report.figure("reach streams busy", busy)
	return nil
}

// cores returns how many processors the service used while f ran, or in a time without f, and how many all others did.
func (s *service) cores(
	ctx context.Context, length time.Duration, f func(context.Context) error,
) (used, others float64, err error) {
	from, _ := rig.ReadProcess(s.PID())
	machine, begin := rig.ReadMachine(), time.Now()
	if f != nil {
		if err := f(ctx); err != nil {
			return 0, 0, err
		}
	}
	if err := sleepUntil(ctx, begin.Add(length)); err != nil {
		return 0, 0, err
	}
	to, ok := rig.ReadProcess(s.PID())
	if !ok {
		return 0, 0, s.Explain(errors.New("the service has ended"))
	}
	took := time.Since(begin)
	now := rig.ReadMachine()
	used = (to.CPU - from.CPU).Seconds() / took.Seconds()
	all := (now.Total - machine.Total - (now.Idle - machine.Idle)).Seconds() / took.Seconds()
	return used, max(0, all-used), nil
}
