package verify

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// withFile is a change of a Config.
func withFile(name string) func(*Config) { return func(c *Config) { c.StateFile = name } }

// saveOne saves the state of a process that ends, and returns the name of the file.
func saveOne(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "view")
	inBubble(t, func(w *wire) {
		w.send(helloFrame)
		w.facts(sessionsOf(numbered(1), numbered(2)) + `,"m":[["a","u",5,null],["a",null,6,"` + text(numbered(7)) +
			`"],[null,"ü",7,null],[null,null,2,null]],"k":["stolen"]`)
		w.beat(77)
	}, withFile(name), func(t *testing.T, r *rig) { settle(time.Second) })
	return name
}

// P1: a state file has all facts of its cursor, and makes no view complete: the first fresh frame does.
func TestAStateFileKeepsTheViewOverARestart(t *testing.T) {
	name := saveOne(t)
	if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("got %v, %v, want the mode 0600", info.Mode(), err)
	}
	inBubble(t, func(w *wire) {
		w.send(helloFrame)
		w.sleep(time.Second)
		w.beat(78)
	}, withFile(name), func(t *testing.T, r *rig) {
		settle(500 * time.Millisecond)
		if r.complete() {
			t.Error("the view is complete before the first fresh frame")
		}
		if got := r.s.request(0).URL.Query().Get("cursor"); got != "77" {
			t.Errorf("got the cursor %q, want 77", got)
		}
		settle(time.Second)
		if !r.complete() {
			t.Error("the view is incomplete after the first fresh frame")
		}
		for _, tc := range []struct {
			s    subject
			want bool
		}{
			{subject{sid: numbered(1), epoch: 9}, true}, {subject{sid: numbered(2), epoch: 9}, true},
			{subject{sid: numbered(3), epoch: 9}, false}, {subject{sid: numbered(3), epoch: 1}, true},
			{subject{sid: numbered(3), application: "a", user: "u", epoch: 5}, true},
			{subject{sid: numbered(7), application: "a", user: "v", epoch: 5}, false},
			{subject{sid: numbered(3), user: "ü", epoch: 6}, true}, {subject{sid: numbered(3), epoch: 9, kid: "stolen"}, true},
		} {
			if got := r.revoked(&tc.s); got != tc.want {
				t.Errorf("%+v: got %t, want %t", tc.s, got, tc.want)
			}
		}
		if got := r.facts.count.Load(); got != 7 {
			t.Errorf("got %d facts, want 7", got)
		}
		if log := r.logged(t); log != "" {
			t.Errorf("got the log\n%s", log)
		}
	})
	if left, err := filepath.Glob(name + "*"); err != nil || len(left) != 1 {
		t.Errorf("got the files %v, %v", left, err)
	}
}

// sum replaces the checksum of a state file.
func sum(b []byte) []byte {
	b = b[:len(b)-sha256.Size]
	s := sha256.Sum256(b)
	return append(b, s[:]...)
}

// Fail closed: a file that is not whole, not of this tenant, or not of this time is not used, and the stream begins
// from zero. It is logged once.
func TestAWrongStateFileIsNotUsed(t *testing.T) {
	name := saveOne(t)
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	type attempt struct {
		name   string
		file   []byte
		change func(*testing.T, string)
		config func(*Config)
		at     time.Duration // after the file was saved
	}
	replaced := func(old, new string) []byte {
		return sum(bytes.Replace(bytes.Clone(whole), []byte(old), []byte(new), 1))
	}
	id := numbered(1)
	zeros := sum(bytes.Replace(bytes.Clone(whole), id[:], make([]byte, len(id)), 1))
	attempts := []attempt{
		{name: "empty", file: []byte{}},
		{name: "of another format", file: replaced("revocations 1", "revocations 2")},
		{name: "of another issuer", file: replaced(testIssuer, strings.Replace(testIssuer, "acme", "acmf", 1))},
		{name: "of another tenant", file: replaced(`"tenant":"acme"`, `"tenant":"acmf"`)},
		{name: "without a cursor", file: replaced(`"cursor":77`, `"cursor":-7`)},
		{name: "with records after the end", file: sum(append(bytes.Clone(whole), make([]byte, 5)...))},
		{name: "with an id of zeros", file: zeros},
		{name: "old", file: whole, at: 1141 * time.Second},
		{name: "of the future", file: whole, at: -2 * time.Hour},
		{name: "for others", file: whole, change: func(t *testing.T, name string) {
			if err := os.Chmod(name, 0o644); err != nil {
				t.Fatal(err)
			}
		}},
		{name: "a link", file: whole, change: func(t *testing.T, name string) {
			if err := os.Rename(name, name+"2"); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(name+"2", name); err != nil {
				t.Fatal(err)
			}
		}},
		{name: "above MaxFacts", file: whole, config: func(c *Config) { c.MaxFacts = 6 }},
	}
	for i := 0; i < len(whole); i += 1 + len(whole)/60 {
		damaged := bytes.Clone(whole)
		damaged[i] ^= 4
		attempts = append(attempts, attempt{name: fmt.Sprintf("byte %d is damaged", i), file: damaged},
			attempt{name: fmt.Sprintf("cut after %d bytes", i), file: whole[:i]})
	}
	for _, tc := range attempts {
		t.Run(tc.name, func(t *testing.T) {
			name := filepath.Join(t.TempDir(), "view")
			if err := os.WriteFile(name, tc.file, 0o600); err != nil {
				t.Fatal(err)
			}
			if tc.change != nil {
				tc.change(t, name)
			}
			config := func(c *Config) {
				c.StateFile = name
				if tc.config != nil {
					tc.config(c)
				}
			}
			synctest.Test(t, func(t *testing.T) {
				time.Sleep(time.Second) // each bubble begins at the same instant: the file was saved just now
				if tc.at != 0 {
					at := time.Now().Add(-tc.at).Unix()
					moved := strings.Replace(string(tc.file), `"saved":`, fmt.Sprintf(`"saved":%d,"x":`, at), 1)
					if err := os.WriteFile(name, sum([]byte(moved)), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				r := newRig(t, func(w *wire) {
					w.send(helloFrame)
					w.beat(5)
				}, config)
				synctest.Wait()
				if r.s.request(0).URL.Query().Has("cursor") || r.facts.count.Load() != 0 {
					t.Errorf("it is used: %d facts", r.facts.count.Load())
				}
				settle(2 * time.Second)
				if !r.complete() {
					t.Error("the stream was not begun from zero")
				}
				if log := r.logged(t); strings.Count(log, "the state file is not used") != 1 {
					t.Errorf("got the log\n%s", log)
				}
			})
		})
	}
}

// P1: facts are not dropped early because a process restarts often: each start counts from the ages that were saved.
func TestRestartsDoNotAgeFacts(t *testing.T) {
	name := filepath.Join(t.TempDir(), "view")
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		for start := range 60 {
			r := newRig(t, func(w *wire) {
				w.send(helloFrame)
				if start == 0 {
					w.facts(sessionsOf(numbered(1)))
				}
				w.beat(int64(start) + 5)
			}, withFile(name))
			settle(2 * time.Second)
			if !r.refuses(numbered(1)) {
				t.Fatalf("a fact is lost %v after its receipt, at start %d", time.Since(began), start)
			}
			r.end()
		}
	})
}

// P1 (a cursor must not be saved before its facts): whenever a file is written, it has the facts of its cursor. The
// facts of cursor n are the sessions up to n.
func TestAStateFileHasTheFactsOfItsCursor(t *testing.T) {
	const last = 30_000
	c, err := Config{Issuer: testIssuer, Audience: "a", APIKey: testKey}.checked()
	if err != nil {
		t.Fatal(err)
	}
	c.StateFile = filepath.Join(t.TempDir(), "view")
	f := newFeed(c, newKeySet(c))
	conn := f.newConnection(false)
	conn.greeted = true
	f.keep = 4 * time.Nanosecond // so that each save writes
	var writer sync.WaitGroup
	done := make(chan struct{})
	writer.Go(func() {
		defer close(done)
		for n := uint64(1); n <= last; n++ {
			if err := f.add(factsData{Keep: 1200, Sessions: []string{text(numbered(n))}}); err != nil {
				t.Error(err)
				return
			}
			e := int64(-1)
			if err := conn.fresh(fmt.Sprint(n), freshData{E: &e}); err != nil {
				t.Error(err)
				return
			}
		}
	})
	files := 0
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		f.saved.cursor = noCursor
		if f.save(); f.saved.cursor == noCursor {
			continue
		}
		h, facts, err := f.read(c.StateFile)
		if err != nil {
			t.Fatal(err)
		}
		files++
		for n := range uint64(h.Cursor) {
			id := numbered(n + 1)
			if !facts.sessions.Load().has(&id) {
				t.Fatalf("file %d has the cursor %d and no session %d", files, h.Cursor, n+1)
			}
		}
	}
	writer.Wait()
	if files < 2 {
		t.Errorf("got %d files", files)
	}
}

// A file that cannot be written is logged once, and does not disturb the stream. The last one stays.
func TestAStateFileThatCannotBeWritten(t *testing.T) {
	name := saveOne(t)
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	// A folder with a file in it, where the new state is written first: not even root can replace that.
	if err := os.MkdirAll(filepath.Join(name+".tmp", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	inBubble(t, func(w *wire) {
		w.send(helloFrame)
		w.beat(99)
	}, withFile(name), func(t *testing.T, r *rig) {
		settle(3 * time.Minute)
		if r.age(t) > time.Second {
			t.Errorf("got the age %v", r.age(t))
		}
		if log := r.logged(t); strings.Count(log, "could not be written") != 1 {
			t.Errorf("got the log\n%s", log)
		}
	})
	if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the last state is lost: %v", err)
	}
}

// The state is written every 30 s, and not only at the end: a process can be killed.
func TestTheStateIsWrittenRegularly(t *testing.T) {
	name := filepath.Join(t.TempDir(), "view")
	inBubble(t, func(w *wire) {
		w.send(helloFrame)
		for i := range int64(1000) {
			w.fresh(1 + i)
			w.sleep(500 * time.Millisecond)
		}
	}, withFile(name), func(t *testing.T, r *rig) {
		for i := range 3 {
			settle(31 * time.Second)
			h, _, err := r.read(name)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := h.Cursor, int64(i+1)*60; got < want-2 || got > want+4 {
				t.Errorf("got the cursor %d after %d periods, want about %d", got, i+1, want)
			}
		}
	})
}

// FuzzStateFile: no file makes a process fail or use much memory, and what is used has a valid checksum.
func FuzzStateFile(f *testing.F) {
	c, err := Config{Issuer: testIssuer, Audience: "a", APIKey: testKey}.checked()
	if err != nil {
		f.Fatal(err)
	}
	feed := newFeed(c, newKeySet(c))
	var b bytes.Buffer
	facts := newTable(100)
	for n := range uint64(3) {
		if _, err := facts.addSession(numbered(n+1), 1); err != nil {
			f.Fatal(err)
		}
	}
	if _, err := facts.addMark(mark{user: "u", epoch: 3, except: numbered(1)}); err != nil {
		f.Fatal(err)
	}
	h := stateHeader{Issuer: testIssuer, Tenant: "acme", Cursor: 1, Saved: time.Now().Unix(), Keep: 1 << 20}
	if err := facts.write(&b, h, 1); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte(stateFormat))
	f.Fuzz(func(t *testing.T, body []byte) {
		s := sha256.Sum256(body)
		file := append(bytes.Clone(body), s[:]...)
		_, first, err := feed.readState(bytes.NewReader(file), int64(len(file)))
		if err != nil {
			return
		}
		if n := first.count.Load(); n > int64(len(body)) {
			t.Errorf("got %d facts from %d bytes", n, len(body))
		}
		file[len(file)-1] ^= 1
		if _, _, err := feed.readState(bytes.NewReader(file), int64(len(file))); err == nil {
			t.Error("a wrong checksum is accepted")
		}
	})
}

// BenchmarkRestart measures the time from the start of a process to its first complete view, with a file of 1 200 000
// sessions.
func BenchmarkRestart(b *testing.B) {
	name := filepath.Join(b.TempDir(), "view")
	c, err := Config{Issuer: testIssuer, Audience: "a", APIKey: testKey, StateFile: name}.checked()
	if err != nil {
		b.Fatal(err)
	}
	f := newFeed(c, newKeySet(c))
	fill(b, f.facts, 1_200_000, 0)
	f.tenant.Store(new("acme"))
	f.keep = 20 * time.Minute
	f.cursor.Store(1)
	f.fresh.Store(&freshness{})
	began := time.Now()
	f.save()
	saving := time.Since(began)
	info, err := os.Stat(name)
	if err != nil {
		b.Fatal(err)
	}
	s := &script{serve: func(w *wire) {
		w.send(helloFrame)
		w.beat(2)
	}}
	c.Client = &http.Client{Transport: s}
	c.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	for b.Loop() {
		f := newFeed(c, newKeySet(c))
		ctx, cancel := context.WithCancel(context.Background())
		var running sync.WaitGroup
		running.Go(func() {
			f.load()
			f.follow(ctx)
		})
		for _, ok := f.asOf(); !ok; _, ok = f.asOf() {
			time.Sleep(time.Millisecond)
		}
		b.StopTimer()
		if got := f.facts.count.Load(); got != 1_200_000 {
			b.Fatalf("got %d facts", got)
		}
		cancel()
		running.Wait()
		b.StartTimer()
	}
	b.ReportMetric(saving.Seconds()*1000, "save-ms")
	b.ReportMetric(float64(info.Size())/1e6, "MB")
}

// The ages of a state file round down, whatever the minute of the receipt is modulo 2^16.
func TestSavedAgesRoundDown(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 8))
	for range 1000 {
		at, age := minute(r.Uint32()), minute(r.IntN(2000))
		facts := newTable(10)
		if _, err := facts.addSession(numbered(1), at); err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := facts.write(&b, stateHeader{}, at+age); err != nil {
			t.Fatal(err)
		}
		got := minute(binary.BigEndian.Uint16(b.Bytes()[b.Len()-3:]))
		if want := max(age, 1) - 1; got != want {
			t.Fatalf("got the age %d of a fact of %d minutes, want %d", got, age, want)
		}
	}
}
