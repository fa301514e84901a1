package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/refreshd/refreshd/test/support/apt"
)

// findChromium returns the path of Chromium. It looks on PATH, and otherwise installs the distribution's package.
func findChromium(ctx context.Context) (string, error) {
	if path, ok := chromiumOnPath(); ok {
		return path, nil
	}
	err := apt.Install(ctx, "chromium", func() bool { _, ok := chromiumOnPath(); return ok })
	if err == nil {
		if path, ok := chromiumOnPath(); ok {
			return path, nil
		}
		err = errors.New("the package is installed, but PATH has no chromium")
	}
	return "", fmt.Errorf("no Chromium to test with: install it (Debian: apt-get install chromium; "+
		"Fedora: dnf install chromium; macOS: brew install --cask chromium) and put it on PATH: %w", err)
}

func chromiumOnPath() (string, bool) {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, true
		}
	}
	return "", false
}

// chromium is a running browser, driven by the Chrome DevTools Protocol over a pipe: JSON messages that end with a NUL
// byte. The pipe needs neither a port nor a WebSocket library, and the browser ends with this process, however that
// ends. A library for the protocol (chromedp) was not taken: it is several modules for the dozen methods used here,
// and its generated types lag behind the Chromium that the distribution has.
type chromium struct {
	version string

	cmd     *exec.Cmd
	stderr  bytes.Buffer
	profile string
	ended   chan struct{} // closed when the pipe is closed

	mu      sync.Mutex
	in      io.WriteCloser
	last    int
	calls   map[int]chan<- message
	waiters map[event][]chan<- struct{}
}

type command struct {
	ID        int    `json:"id"`
	SessionID string `json:"sessionId,omitempty"`
	Method    string `json:"method"`
	Params    any    `json:"params,omitempty"`
}

// message is the response to a command, or an event, which has no ID.
type message struct {
	ID        int
	SessionID string
	Method    string
	Result    json.RawMessage
	Error     *struct{ Message string }
}

type event struct{ session, method string }

// startChromium starts a browser that sends every request to the address, for any host.
func startChromium(ctx context.Context, path, dir, address string) (b *chromium, err error) {
	b = &chromium{
		profile: filepath.Join(dir, "chromium"), ended: make(chan struct{}),
		calls: map[int]chan<- message{}, waiters: map[event][]chan<- struct{}{},
	}
	// Its descriptors 3 and 4 are the pipe.
	commands, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	out, answers, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	b.in = in
	b.cmd = exec.Command(path, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
		"--disable-background-networking", "--disable-dev-shm-usage", "--remote-debugging-pipe",
		// A tab in the background runs at the speed of one in front, so that the service is measured and not the browser.
		"--disable-background-timer-throttling", "--disable-renderer-backgrounding",
		"--disable-backgrounding-occluded-windows",
		"--ignore-certificate-errors", "--host-resolver-rules=MAP * "+address,
		"--user-data-dir="+b.profile, "about:blank")
	b.cmd.ExtraFiles = []*os.File{commands, answers}
	b.cmd.Stderr = &b.stderr
	err = b.cmd.Start()
	err = errors.Join(err, commands.Close(), answers.Close())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start Chromium: %w", err), in.Close(), out.Close())
	}
	go b.read(out)
	var v struct{ Product string }
	if err := b.call(ctx, "", "Browser.getVersion", nil, &v); err != nil {
		err = errors.Join(fmt.Errorf("start Chromium: %w", err), b.stop())
		return nil, fmt.Errorf("%w\n%s", err, b.stderr.String()) // complete, now that it has ended
	}
	b.version = v.Product
	return b, nil
}

const chromiumStopTimeout = 20 * time.Second

// stop closes the pipe, which ends the browser.
func (b *chromium) stop() error {
	err := b.in.Close()
	kill := time.AfterFunc(chromiumStopTimeout, func() { _ = b.cmd.Process.Kill() })
	_ = b.cmd.Wait() // its status depends on what it was doing
	if !kill.Stop() {
		err = errors.Join(err, fmt.Errorf("the browser did not end within %s", chromiumStopTimeout))
	}
	<-b.ended
	return err
}

func (b *chromium) read(out io.ReadCloser) {
	defer close(b.ended)
	defer out.Close()
	for r := bufio.NewReader(out); ; {
		text, err := r.ReadBytes(0)
		if err != nil {
			return
		}
		var m message
		if json.Unmarshal(bytes.TrimSuffix(text, []byte{0}), &m) != nil {
			continue // the call that waits for it reaches its deadline
		}
		b.mu.Lock()
		if call, ok := b.calls[m.ID]; ok {
			delete(b.calls, m.ID)
			call <- m
		}
		e := event{m.SessionID, m.Method}
		for _, waiter := range b.waiters[e] {
			close(waiter)
		}
		delete(b.waiters, e)
		b.mu.Unlock()
	}
}

// callTimeout bounds a call on a busy machine. Nothing is judged by it.
const callTimeout = time.Minute

var errEnded = errors.New("the browser ended")

// call calls a method, in a page's session or, where it is empty, of the browser. The result may be nil.
func (b *chromium) call(ctx context.Context, session, method string, params, result any) error {
	ctx, cancel := context.WithTimeoutCause(ctx, callTimeout, fmt.Errorf("no response within %s", callTimeout))
	defer cancel()
	answer := make(chan message, 1)
	b.mu.Lock()
	b.last++
	b.calls[b.last] = answer
	text, err := json.Marshal(command{b.last, session, method, params})
	if err == nil {
		_, err = b.in.Write(append(text, 0))
	}
	b.mu.Unlock()
	if err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	var m message
	select {
	case m = <-answer:
	case <-b.ended:
		return fmt.Errorf("%s: %w", method, errEnded)
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", method, context.Cause(ctx))
	}
	if m.Error != nil {
		return fmt.Errorf("%s: %s", method, m.Error.Message)
	}
	if result == nil {
		return nil
	}
	return json.Unmarshal(m.Result, result)
}

// await returns a function that waits for the next event of that name. Call await before the cause of the event.
func (b *chromium) await(session, method string) func(context.Context) error {
	seen := make(chan struct{})
	b.mu.Lock()
	e := event{session, method}
	b.waiters[e] = append(b.waiters[e], seen)
	b.mu.Unlock()
	return func(ctx context.Context) error {
		ctx, cancel := context.WithTimeoutCause(ctx, callTimeout, fmt.Errorf("not within %s", callTimeout))
		defer cancel()
		select {
		case <-seen:
			return nil
		case <-b.ended:
			return fmt.Errorf("wait for %s: %w", method, errEnded)
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", method, context.Cause(ctx))
		}
	}
}

// profile is a user of the browser, with a cookie jar of its own.
type profile struct {
	b  *chromium
	id string
}

func (b *chromium) newProfile(ctx context.Context) (*profile, error) {
	var r struct{ BrowserContextID string }
	err := b.call(ctx, "", "Target.createBrowserContext", nil, &r)
	return &profile{b, r.BrowserContextID}, err
}

// close closes the profile's pages and deletes its cookies.
func (p *profile) close(ctx context.Context) error {
	return p.b.call(ctx, "", "Target.disposeBrowserContext", object{"browserContextId": p.id}, nil)
}

// cookie is a cookie in the jar. A host-only cookie has no dot before its domain.
type cookie struct {
	Name, Value, Domain, Path, SameSite string
	HTTPOnly, Secure                    bool
	Expires                             float64
	PartitionKey                        json.RawMessage
}

// hostOnly reports whether the browser sends the cookie only to the host that set it.
func (c cookie) hostOnly() bool { return !strings.HasPrefix(c.Domain, ".") }

// cookies returns all cookies in the jar, of every host.
func (p *profile) cookies(ctx context.Context) ([]cookie, error) {
	var r struct{ Cookies []cookie }
	err := p.b.call(ctx, "", "Storage.getCookies", object{"browserContextId": p.id}, &r)
	return r.Cookies, err
}

func (p *profile) clear(ctx context.Context) error {
	return p.b.call(ctx, "", "Storage.clearCookies", object{"browserContextId": p.id}, nil)
}

// page is a tab.
type page struct {
	p               *profile
	target, session string
}

// open opens a tab and returns when the page has loaded.
func (p *profile) open(ctx context.Context, url string) (*page, error) {
	var target struct{ TargetID string }
	params := object{"url": "about:blank", "browserContextId": p.id}
	if err := p.b.call(ctx, "", "Target.createTarget", params, &target); err != nil {
		return nil, err
	}
	var session struct{ SessionID string }
	attach := object{"targetId": target.TargetID, "flatten": true}
	if err := p.b.call(ctx, "", "Target.attachToTarget", attach, &session); err != nil {
		return nil, err
	}
	t := &page{p, target.TargetID, session.SessionID}
	if err := p.b.call(ctx, t.session, "Page.enable", nil, nil); err != nil {
		return nil, err
	}
	return t, t.navigate(ctx, url)
}

func (t *page) navigate(ctx context.Context, url string) error {
	loaded := t.p.b.await(t.session, "Page.loadEventFired")
	var r struct{ ErrorText string }
	if err := t.p.b.call(ctx, t.session, "Page.navigate", object{"url": url}, &r); err != nil {
		return err
	}
	if r.ErrorText != "" {
		return fmt.Errorf("open %s: %s", url, r.ErrorText)
	}
	return loaded(ctx)
}

// eval runs the body of an asynchronous function with its argument `given`, and decodes its result.
func (t *page) eval(ctx context.Context, body string, given, result any) error {
	argument, err := json.Marshal(given)
	if err != nil {
		return err
	}
	var r struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails *struct {
			Text      string
			Exception struct{ Description string }
		}
	}
	err = t.p.b.call(ctx, t.session, "Runtime.evaluate", object{
		"expression":   "(async given => {" + body + "\n})(" + string(argument) + ")",
		"awaitPromise": true, "returnByValue": true,
	}, &r)
	if err != nil {
		return err
	}
	if e := r.ExceptionDetails; e != nil {
		return fmt.Errorf("in the page: %s %s", e.Text, e.Exception.Description)
	}
	if result == nil {
		return nil
	}
	return json.Unmarshal(r.Result.Value, result)
}

type object map[string]any
