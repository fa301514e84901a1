package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/refreshd/refreshd/test/support/rig"
)

// loop is a closed loop of clients: each sends its next request as soon as it has a response, and ignores Retry-After.
type loop struct {
	Host    string
	Clients int
	Source  string // the client address of all
	// Request may have {client} for the number of the client, {user} for one of 20, and {n} for the number of its request.
	Request rig.Request
}

// asLoop is the argument with which this program runs the loop on its standard input.
const asLoop = "loop"

// loop runs until ctx is done, and returns the counts of the responses. It runs in a process of its own with a lower
// priority, because attackers use their own machines: their work is no cost of the service and delays no honest user.
func (a *attack) loop(ctx context.Context, l loop) (counts, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(l)
	if err != nil {
		return nil, err
	}
	c := exec.Command("nice", "-n", "5", self, asLoop)
	c.Stderr = os.Stderr
	input, err := c.StdinPipe() // the loop ends when it is closed, also if this process is killed
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	c.Stdout = &out
	begin := time.Now()
	if err := c.Start(); err != nil {
		return nil, err
	}
	release := context.AfterFunc(ctx, func() { input.Close() })
	defer release()
	if _, err := input.Write(append(text, '\n')); err != nil {
		return nil, err
	}
	if err := c.Wait(); err != nil {
		return nil, fmt.Errorf("the attackers: %w", err)
	}
	answers := counts{}
	if err := json.Unmarshal(out.Bytes(), &answers); err != nil {
		return nil, fmt.Errorf("the attackers: %w", err)
	}
	took := time.Since(begin).Seconds()
	a.progress("the attackers' responses a second, by status (0: none): %s", answers.per(took))
	if ctx.Err() == nil {
		return answers, fmt.Errorf("the attackers ended by themselves")
	}
	return answers, nil
}

// beLoop reads a loop from in, runs it until in ends, and writes the counts of the responses.
func beLoop(in io.Reader, out io.Writer) error {
	lines := bufio.NewReader(in)
	text, err := lines.ReadBytes('\n')
	if err != nil {
		return err
	}
	var l loop
	if err := json.Unmarshal(text, &l); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, lines)
		cancel()
	}()
	return json.NewEncoder(out).Encode(l.run(ctx))
}

func (l loop) run(ctx context.Context) counts {
	var (
		group sync.WaitGroup
		mu    sync.Mutex
		all   = counts{}
	)
	for i := range l.Clients {
		group.Go(func() {
			own := closedLoop(ctx, l.Source, l.Host, func(n int) []byte {
				r := l.Request
				with := strings.NewReplacer("{client}", strconv.Itoa(i), "{user}", strconv.Itoa(i%20), "{n}", strconv.Itoa(n))
				r.Path, r.Body = with.Replace(r.Path), with.Replace(r.Body)
				return r.Bytes(l.Host)
			})
			mu.Lock()
			defer mu.Unlock()
			all.add(own)
		})
	}
	group.Wait()
	return all
}

// closedLoop connects again if the service closed the connection.
func closedLoop(ctx context.Context, source, host string, make func(n int) []byte) counts {
	answers := counts{}
	for n := 0; ctx.Err() == nil; {
		c, err := dialer(source).DialContext(ctx, "tcp", host)
		if err != nil {
			if rig.Sleep(ctx, 10*time.Millisecond) == nil {
				answers[0]++
			}
			continue
		}
		release := context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
		in := bufio.NewReader(c)
		for ; ctx.Err() == nil; n++ {
			status, err := exchangeBytes(c, in, make(n))
			if err != nil {
				if ctx.Err() == nil {
					answers[0]++
				}
				break
			}
			answers[status]++
		}
		release()
		c.Close()
	}
	return answers
}

// exchangeBytes sends a request and reads its response to the end.
func exchangeBytes(c net.Conn, in *bufio.Reader, request []byte) (status int, err error) {
	if _, err := c.Write(request); err != nil {
		return 0, err
	}
	a, err := http.ReadResponse(in, nil)
	if err != nil {
		return 0, err
	}
	defer a.Body.Close()
	_, err = io.Copy(io.Discard, a.Body)
	if err == nil && a.Close {
		err = io.EOF
	}
	return a.StatusCode, err
}
