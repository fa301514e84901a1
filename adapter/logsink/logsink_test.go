package logsink_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/refreshd/refreshd/adapter/logsink"
)

// reader reads from a Sink while it is open.
type reader struct {
	mu   sync.Mutex
	open sync.Cond
	shut bool
	text bytes.Buffer
}

func newReader(shut bool) *reader {
	r := &reader{shut: shut}
	r.open.L = &r.mu
	return r
}

func (r *reader) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.shut {
		r.open.Wait()
	}
	return r.text.Write(p)
}

func (r *reader) set(shut bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.shut = shut
	r.open.Broadcast()
}

func (r *reader) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

func closed(t *testing.T, s *logsink.Sink) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		t.Fatal(err)
	}
}

func announced(lines int64) []byte { return fmt.Appendf(nil, "gap %d\n", lines) }

// A write to the log must not wait for its reader. The reader learns where lines are missing, and how many.
func TestWhatIsNotReadIsDroppedAndCountedInItsPlace(t *testing.T) {
	const limit, lines = 4000, 2000
	r := newReader(true)
	s := logsink.New(r, limit)
	s.Announce(announced)
	for i := range lines {
		if n, err := fmt.Fprintf(s, "line %d\n", i); err != nil || n == 0 {
			t.Fatalf("got %d, %v", n, err)
		}
	}
	lost := int(s.Lost())
	if lost == 0 || lost >= lines {
		t.Fatalf("got %d lines lost of %d", lost, lines)
	}
	r.set(false)
	// The gap is reported without another write.
	for deadline := time.Now().Add(30 * time.Second); !s.Written() && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond) // between looks
	}
	fmt.Fprintln(s, "line", lines)
	closed(t, s)
	next, told, size := 0, 0, 0
	for line := range strings.Lines(r.String()) {
		var n int
		if _, err := fmt.Sscanf(line, "gap %d", &n); err == nil {
			next, told = next+n, told+n
			continue
		}
		if _, err := fmt.Sscanf(line, "line %d", &n); err != nil || n != next {
			t.Fatalf("got %q, want line %d or a gap", line, next)
		}
		next, size = next+1, size+len(line)
	}
	if next != lines+1 || told != lost || s.Lost() != int64(lost) {
		t.Errorf("the last line is %d and %d are reported as lost, want %d and %d", next-1, told, lines, lost)
	}
	if size > limit+20 {
		t.Errorf("%d bytes were kept, want at most %d", size, limit)
	}
}

// faulty is a writer whose writes are incomplete and fail more often than not.
type faulty struct {
	random *rand.Rand
	text   bytes.Buffer
}

func (f *faulty) Write(p []byte) (int, error) {
	n := f.random.IntN(2*len(p) + 1)
	if n >= len(p) {
		return f.text.Write(p)
	}
	f.text.Write(p[:n])
	return n, errors.New("no space left on device")
}

func TestWritesThatFailOrAreCutShortTearAndLoseNoLine(t *testing.T) {
	f := &faulty{random: rand.New(rand.NewPCG(1, 2))}
	s := logsink.New(f, logsink.Limit)
	var want strings.Builder
	for i := range 120 {
		line := fmt.Sprintf("%d %s\n", i, strings.Repeat("x", i))
		want.WriteString(line)
		io.WriteString(s, line)
	}
	// While it closes, the first failure is the last.
	deadline := time.Now().Add(time.Minute)
	for fmt.Fprintln(s, "end"); time.Now().Before(deadline); time.Sleep(time.Millisecond) { // between looks
		if s.Written() {
			break
		}
	}
	closed(t, s)
	if got := f.text.String(); got != want.String()+"end\n" || s.Lost() != 0 {
		t.Errorf("%d lost; got\n%s", s.Lost(), got)
	}
}

// Close waits for the reader of the log, but not forever, and not at all if there is none.
func TestClosingIsBounded(t *testing.T) {
	stalled := newReader(true)
	s := logsink.New(stalled, logsink.Limit)
	fmt.Fprintln(s, "line")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := s.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a reader that does not read: got %v", err)
	}
	stalled.set(false)

	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer write.Close()
	read.Close()
	s = logsink.New(write, logsink.Limit)
	fmt.Fprintln(s, "line")
	if err := s.Close(t.Context()); err == nil {
		t.Error("a closed reader: want an error")
	}
}

func TestLinesOfOneWriterStayInOrderAndWhole(t *testing.T) {
	r := newReader(false)
	s := logsink.New(r, logsink.NoLimit)
	const writers, lines = 8, 500
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() {
			for i := range lines {
				fmt.Fprintf(s, "%d %d %s\n", w, i, strings.Repeat("x", i))
			}
		})
	}
	group.Wait()
	closed(t, s)
	var next [writers]int
	for line := range strings.Lines(r.String()) {
		var w, i int
		var xs string
		if n, _ := fmt.Sscanf(line, "%d %d %s", &w, &i, &xs); n < 2 || i != next[w] || len(xs) != i {
			t.Fatalf("got %q, want line %d", line, next[w])
		}
		next[w]++
	}
	for w, n := range next {
		if n != lines {
			t.Errorf("writer %d: %d lines, want %d", w, n, lines)
		}
	}
}

// sizes records the sizes of the writes.
type sizes struct {
	reader
	writes []string
}

func (s *sizes) Write(p []byte) (int, error) {
	n, err := s.reader.Write(p)
	s.writes = append(s.writes, string(p))
	return n, err
}

// Replicas that share a pipe mix their lines, but not parts of lines.
func TestAWriteIsWholeLinesOfTheSizeThatAPipeKeepsTogether(t *testing.T) {
	r := &sizes{}
	r.open.L, r.shut = &r.mu, true
	s := logsink.New(r, logsink.Limit)
	for i := range 400 {
		fmt.Fprintf(s, "%s\n", strings.Repeat("x", i%300))
	}
	fmt.Fprintf(s, "%s\n", strings.Repeat("y", 10_000))
	fmt.Fprintln(s, "z")
	r.set(false)
	closed(t, s)
	for _, w := range r.writes {
		if !strings.HasSuffix(w, "\n") || len(w) > 4096 && strings.Count(w, "\n") != 1 {
			t.Errorf("a write of %d bytes and %d lines", len(w), strings.Count(w, "\n"))
		}
	}
	if len(r.writes) > 60 {
		t.Errorf("%d writes for 402 lines", len(r.writes))
	}
}

func TestACommandsOutputHasNoLimit(t *testing.T) {
	r := newReader(true)
	s := logsink.New(r, logsink.NoLimit)
	const want = 4 << 20
	for range want / 64 {
		fmt.Fprintf(s, "%63s\n", "x")
	}
	r.set(false)
	closed(t, s)
	if got := len(r.String()); got != want || s.Lost() != 0 {
		t.Errorf("got %d bytes and %d lost, want %d and 0", got, s.Lost(), want)
	}
}

// This is the cost of a line for its writer, into a file, with and without a Sink. The Sink must not cost more.
func BenchmarkLine(b *testing.B) {
	line := []byte(strings.Repeat("x", 349) + "\n")
	open := func(b *testing.B) *os.File {
		f, err := os.OpenFile(filepath.Join(b.TempDir(), "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { f.Close() })
		return f
	}
	b.Run("direct", func(b *testing.B) {
		f := open(b)
		for b.Loop() {
			f.Write(line)
		}
	})
	b.Run("sink", func(b *testing.B) {
		s := logsink.New(open(b), logsink.Limit)
		for i := 0; b.Loop(); i++ {
			s.Write(line)
			for i%1000 == 999 && !s.Written() { // what is still to be written counts as well
				runtime.Gosched()
			}
		}
		if s.Lost() > 0 {
			b.Errorf("%d lines were lost", s.Lost())
		}
	})
}
