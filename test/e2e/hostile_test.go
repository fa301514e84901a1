package e2e_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/refreshd/refreshd/test/support/short"
)

// rawTimeout is the time after which a response, or the end of a connection, is considered missing.
const rawTimeout = time.Minute

// rawConn is a connection on which a test sends arbitrary bytes.
type rawConn struct {
	net.Conn
	in *bufio.Reader
}

func (v *service) dial(t *testing.T) *rawConn {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(v.URL(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(rawTimeout)); err != nil {
		t.Fatal(err)
	}
	return &rawConn{c, bufio.NewReader(c)}
}

// probe is a request whose response has a status that no other last response of a test has.
const probe = "GET /probe HTTP/1.1\r\nHost: x\r\n\r\n"

// statuses returns those of all responses until the service closes the connection. After the last of want responses it
// sends the probe: open reports whether the connection may be used for it. The response to the probe comes after all
// others, so none is missed, and no test waits for a time-out.
func (c *rawConn) statuses(want int) (got []int, open bool, err error) {
	for asked := false; ; {
		if len(got) >= want && !asked {
			asked = true
			_, _ = io.WriteString(c, probe) // the connection may be closed
		}
		res, err := http.ReadResponse(c.in, nil)
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
			return got, false, nil
		case err != nil:
			return got, false, err
		}
		if res.StatusCode == http.StatusContinue {
			continue
		}
		_, err = io.Copy(io.Discard, res.Body)
		if err != nil {
			return got, false, err
		}
		if asked && res.StatusCode == http.StatusNotFound {
			return got, true, nil
		}
		got = append(got, res.StatusCode)
	}
}

// A request that a proxy and the service may read in two ways must be refused, or end the connection. Otherwise one
// client's bytes become the beginning of another one's request.
func TestEveryHostileRequestIsRefusedOrReadInOneWay(t *testing.T) {
	s := start(t, newDatabase(t, memory), settings{})
	const get = "GET /healthz HTTP/1.1\r\nHost: x\r\n"
	post := func(headers, body string) string {
		return "POST /jwt/refresh HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" + headers + "\r\n" + body
	}
	chunked := func(body string) string { return fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body) }
	for _, tt := range []struct {
		name, sent string
		want       []int
		open       bool // the connection stays open
	}{
		{"a valid one", get + "\r\n", []int{200}, true},
		{"lines end with LF", strings.ReplaceAll(get+"\r\n", "\r\n", "\n"), []int{200}, true},
		{"HTTP/1.0", "GET /healthz HTTP/1.0\r\n\r\n", []int{200}, false},
		{"HTTP/1.0 that stays", "GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", []int{200}, true},
		{"HTTP/0.9", "GET /healthz\r\n", []int{400}, false},
		{"HTTP/2 without TLS", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", []int{404}, false},
		{"HTTP/3.7", "GET /healthz HTTP/3.7\r\nHost: x\r\n\r\n", []int{505}, false},
		{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", []int{400}, false},
		{"garbage", "\x00\x01\x02\x03 nonsense\r\n\r\n", []int{400}, false},
		{"no host", "GET /healthz HTTP/1.1\r\n\r\n", []int{400}, false},
		{"two hosts", get + "Host: y\r\n\r\n", []int{400}, false},
		{"a blank before the colon", get + "X-A : b\r\n\r\n", []int{400}, false},
		{"a NUL in a header", get + "X-A: a\x00b\r\n\r\n", []int{400}, false},
		{"a header without a name", get + ": b\r\n\r\n", []int{400}, false},
		{"a huge header", get + "X-A: " + strings.Repeat("a", 64<<10) + "\r\n\r\n", []int{431}, false},
		{"many headers", get + strings.Repeat("X-A: b\r\n", 16<<10) + "\r\n", []int{431}, false},
		{"headers without end", get + strings.Repeat("X-A: b\r\n", 128<<10), []int{431}, false},
		{"a huge path", "GET /" + strings.Repeat("a", 64<<10) + " HTTP/1.1\r\nHost: x\r\n\r\n", []int{431}, false},
		{"a huge method", strings.Repeat("A", 64<<10) + " / HTTP/1.1\r\nHost: x\r\n\r\n", []int{431}, false},
		{"an unknown method", "BREW /healthz HTTP/1.1\r\nHost: x\r\n\r\n", []int{405}, true},
		{"many pipelined", strings.Repeat(get+"\r\n", 20), repeated(200, 20), true},
		{"many pipelined, one of them malformed", get + "\r\n" + get + "X-A : b\r\n\r\n" + get + "\r\n", []int{200, 400},
			false},
		{"a body longer than it says", post("Content-Length: 2\r\n", "{}"+"{}\r\n\r\n"), []int{400, 400}, false},
		{"a request hidden in a body", post("Content-Length: "+strconv.Itoa(len(get)+2)+"\r\n", get+"\r\n"), []int{400},
			true},
		{"a body where none is taken", "GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}", []int{200}, true},
		{"too much, said", post("Content-Length: 9999999999\r\n", "{"), []int{413}, false},
		{"more than a number holds", post("Content-Length: 99999999999999999999999\r\n", "{}"), []int{400}, false},
		{"a negative length", post("Content-Length: -1\r\n", ""), []int{400}, false},
		{"a length with a sign", post("Content-Length: +2\r\n", "{}"), []int{400}, false},
		{"a length in hexadecimal", post("Content-Length: 0x2\r\n", "{}"), []int{400}, false},
		{"two lengths", post("Content-Length: 2\r\nContent-Length: 4\r\n", "{}"+"{}"), []int{400}, false},
		{"two lengths in one", post("Content-Length: 2, 4\r\n", "{}"+"{}"), []int{400}, false},
		{"chunks", post("Transfer-Encoding: chunked\r\n", chunked("{}")), []int{400}, false},
		{"chunks and a length", post("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", chunked("{}")), []int{400},
			false},
		{"a length and chunks", post("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", chunked("{}")), []int{400},
			false},
		{"a request hidden after chunks", post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"+get+"\r\n"),
			[]int{400}, false},
		{"chunks, twice", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", chunked("{}")), []int{501},
			false},
		{"chunks, and something", post("Transfer-Encoding: chunked, identity\r\n", chunked("{}")), []int{501}, false},
		{"something like chunks", post("Transfer-Encoding: xchunked\r\n", chunked("{}")), []int{501}, false},
		{"chunks of HTTP/1.0", "POST /jwt/refresh HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked("{}"), []int{400},
			false},
		{"a chunk without a size", post("Transfer-Encoding: chunked\r\n", "\r\n{}\r\n0\r\n\r\n"), []int{400}, false},
		{"a chunk of nonsense", post("Transfer-Encoding: chunked\r\n", "zz\r\n{}\r\n0\r\n\r\n"), []int{400}, false},
		{"a negative chunk", post("Transfer-Encoding: chunked\r\n", "-1\r\n{}\r\n0\r\n\r\n"), []int{400}, false},
		{"a chunk longer than it says", post("Transfer-Encoding: chunked\r\n", "2\r\n{}{}\r\n0\r\n\r\n"), []int{400}, false},
		{"a chunk with a huge size", post("Transfer-Encoding: chunked\r\n", "ffffffffffffffffff\r\n{}\r\n"), []int{400},
			false},
		{"a chunk with a huge extension",
			post("Transfer-Encoding: chunked\r\n", "2;"+strings.Repeat("a", 64<<10)+"\r\n{}\r\n0\r\n\r\n"), []int{400}, false},
		{"chunks without end", post("Transfer-Encoding: chunked\r\n", strings.Repeat("2\r\n{}\r\n", 256<<10)), []int{413},
			false},
		{"waits for 100 Continue", post("Content-Length: 2\r\nExpect: 100-continue\r\n", "{}"), []int{400}, true},
		{"waits for something else", post("Content-Length: 2\r\nExpect: 200-ok\r\n", "{}"), []int{417}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := s.dial(t)
			go io.WriteString(c, tt.sent) // the service may close before it has read everything
			got, open, err := c.statuses(len(tt.want))
			if err != nil || fmt.Sprint(got) != fmt.Sprint(tt.want) || open != tt.open {
				t.Errorf("got %v, open %t, %v; want %v, open %t", got, open, err, tt.want, tt.open)
			}
		})
	}
}

func repeated(status, n int) (all []int) {
	for range n {
		all = append(all, status)
	}
	return all
}

// A body that ends early is not the one that its sender meant, whatever it contains.
func TestABodyThatBreaksOffChangesNothing(t *testing.T) {
	s := start(t, newDatabase(t, memory), settings{})
	g := s.issue(t, "alice", "shop")
	body := object("refreshToken", g.RefreshToken)
	for _, sent := range []string{
		fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body)+1, body),
		fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", len(body), body),
	} {
		c := s.dial(t)
		if _, err := io.WriteString(c,
			"POST /jwt/refresh HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"+sent); err != nil {
			t.Fatal(err)
		}
		if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if got, _, err := c.statuses(1); err != nil || fmt.Sprint(got) != "[400]" {
			t.Errorf("got %v, %v; want 400", got, err)
		}
	}
	if outcome, _ := s.outcome(t, g.RefreshToken); outcome != "rotated" {
		t.Errorf("got %s, want the string to be current still", outcome)
	}
}

// A header that arrives byte by byte may hold a connection until the header time-out, and nothing else.
func TestSlowHeadersAreCutOffAndHoldNobodyUp(t *testing.T) {
	short.LeaveOut(t, "the time-out of a header")
	t.Parallel()
	s := start(t, newDatabase(t, memory), settings{})
	g := s.issue(t, "alice", "chain")
	const slow = 1000 // more than are processed concurrently
	ended := make(chan time.Duration, slow)
	for range slow {
		c := s.dial(t)
		if _, err := io.WriteString(c, "POST /jwt/refresh HTTP/1.1\r\nHost: x\r\nX-A: "); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		go func() {
			for {
				if err := c.SetReadDeadline(time.Now().Add(500 * time.Millisecond)); err != nil {
					break
				}
				_, err := c.in.ReadByte()
				var timeout net.Error
				// As long as the service allows, and a minute at most.
				if errors.As(err, &timeout) && timeout.Timeout() && time.Since(begin) <= rawTimeout {
					if _, err := io.WriteString(c, "a"); err == nil {
						continue
					}
				}
				break
			}
			ended <- time.Since(begin)
		}()
	}
	g = s.exchange(t, g.RefreshToken)
	for range slow {
		// The header time-out is 5 s. Without one a connection stays open while bytes arrive.
		if took := <-ended; took > rawTimeout {
			t.Fatalf("a connection that sends its header byte by byte lived for %s", took)
		}
	}
	s.exchange(t, g.RefreshToken)
}

// Browsers and balancers keep idle connections. These must cost little, and must not keep other clients out.
func Test10000IdleConnectionsCostLittle(t *testing.T) {
	short.LeaveOut(t, "ten thousand descriptors")
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	connections := 10_000
	if room := int(min(limit.Max, 1<<20)) - 500; room < connections {
		connections = room // the limit of the machine: ulimit -Hn
	}
	s := start(t, newDatabase(t, memory), settings{})
	g := s.issue(t, "alice", "chain")
	before := residentKiB(t, s)
	begin := time.Now()
	idle := make([]*rawConn, 0, connections)
	for range connections {
		c := s.dial(t)
		if _, err := io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		res, err := http.ReadResponse(c.in, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("got %d, %v", res.StatusCode, err)
		}
		c.in = nil // so that the test itself uses less memory
		idle = append(idle, c)
	}
	opened := time.Since(begin)
	each := (residentKiB(t, s) - before) / connections
	if each > 64 {
		t.Errorf("an idle connection takes %d KiB, want at most 64", each)
	}
	slowest := time.Duration(0)
	for range 50 {
		s.http.CloseIdleConnections() // so that each request opens a connection
		begin := time.Now()
		g = s.exchange(t, g.RefreshToken)
		slowest = max(slowest, time.Since(begin))
	}
	t.Logf("%d idle connections, opened and used once in %s: %d KiB each; the slowest of 50 exchanges on new "+
		"connections took %s",
		connections, opened.Round(time.Millisecond), each, slowest.Round(10*time.Microsecond))
	for _, c := range idle {
		c.Close()
	}
}

func residentKiB(t *testing.T, s *service) int {
	t.Helper()
	text := read(t, fmt.Sprintf("/proc/%d/status", s.process.PID()))
	_, rest, _ := strings.Cut(text, "\nVmRSS:")
	kib, err := strconv.Atoi(strings.TrimSpace(rest[:max(0, strings.Index(rest, "kB"))]))
	if err != nil {
		t.Fatalf("how much memory the service takes: %v", err)
	}
	return kib
}

// A process without free file descriptors cannot accept connections. It must keep running, serve its open connections,
// and accept new ones as soon as there are descriptors again.
func TestRunningOutOfFileDescriptorsEndsNothing(t *testing.T) {
	const limit = 64
	d := newDatabase(t, memory)
	sh, err := exec.LookPath("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	v := &service{t: t, database: d, settings: settings{
		env: []string{"REFRESHD_KICKSTART_FILE=" + kickstartFile(t, "")},
		under: func(cmd *exec.Cmd) {
			args := cmd.Args[1:]
			cmd.Path = sh
			cmd.Args = append([]string{"sh", "-c", fmt.Sprintf(`ulimit -n %d && exec "$0" "$@"`, limit), program.Path}, args...)
		},
	}}
	v.run()
	t.Cleanup(v.Stop)
	g := v.issue(t, "alice", "chain")
	old := v.dial(t)
	ask := func(c *rawConn) error {
		if _, err := io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			return err
		}
		res, err := http.ReadResponse(c.in, nil)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, res.Body)
		return err
	}
	if err := ask(old); err != nil {
		t.Fatal(err)
	}
	var crowd []*rawConn
	for range 2 * limit { // those that the process cannot accept wait in the kernel
		crowd = append(crowd, v.dial(t))
	}
	v.await("out of file descriptors", func() bool {
		return strings.Contains(v.process.Log(), "too many open files")
	})
	if err := ask(old); err != nil {
		t.Errorf("a connection from before: %v", err)
	}
	g = v.exchange(t, g.RefreshToken) // on an old connection, too
	for _, c := range crowd {
		c.Close()
	}
	fresh := v.dial(t)
	if err := ask(fresh); err != nil {
		t.Errorf("a connection from after: %v", err)
	}
	v.exchange(t, g.RefreshToken)
	if _, err := os.Stat(fmt.Sprintf("/proc/%d", v.process.PID())); err != nil {
		t.Errorf("the process has ended: %v", err)
	}
}
