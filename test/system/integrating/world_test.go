package integrating_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/refreshd/refreshd/test/support/rig"
)

// builds is the directory of the service and the document's programs, which are built once.
var builds string

var program = sync.OnceValues(func() (rig.Program, error) {
	return rig.Build(context.Background(), builds, rig.BuildOptions{Version: "integrating"})
})

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "integrating-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	builds = dir
	status := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(status)
}

// world is a service after its first start, as the document begins, and the addresses of the document's programs.
type world struct {
	rig.Program
	settings   rig.Settings
	service    *rig.Service
	refreshd   string // URL
	login, api string // host:port
	key        string // the API key of the first start
	proxy      *proxy // between clients and the service
}

func newWorld(t *testing.T) *world {
	t.Helper()
	p, err := program()
	if err != nil {
		t.Fatal(err)
	}
	p.Dir = t.TempDir()
	addresses, err := rig.FreeAddresses(3)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{Program: p, refreshd: "http://" + addresses[0], login: addresses[1], api: addresses[2]}
	w.settings = rig.Settings{
		Database: "sqlite:refreshd-data/refreshd.db", Listen: addresses[0],
		Env: []string{"REFRESHD_PUBLIC_URL=" + w.refreshd, "REFRESHD_CORS_ORIGINS=http://" + w.login},
	}
	w.serve(t)
	t.Cleanup(func() { w.stop(t) })
	key, err := os.ReadFile(filepath.Join(p.Dir, "refreshd-data", "first-api-key"))
	if err != nil {
		t.Fatal(err)
	}
	w.key = strings.TrimSpace(string(key))
	write(t, p.Dir, ".yaml")
	w.apply(t, "demo.yaml")
	w.proxy = newProxy(t, w.refreshd)
	return w
}

// serve starts the service, at the address that it had before.
func (w *world) serve(t *testing.T) {
	t.Helper()
	service, err := w.Serve(t.Context(), w.settings)
	if err != nil {
		t.Fatal(err)
	}
	w.service = service
}

func (w *world) stop(t *testing.T) {
	t.Helper()
	if err := w.service.Stop(); err != nil {
		t.Error(err)
	}
	for _, line := range w.service.ErrorsLogged() {
		t.Errorf("the service logged an error: %s", line)
	}
}

// apply applies a kickstart file of the service's directory.
func (w *world) apply(t *testing.T, file string) {
	t.Helper()
	if out, err := w.Run(t.Context(), w.settings, "apply", "-f", file); err != nil {
		t.Fatalf("apply %s: %v\n%s", file, err, out)
	}
}

// environment returns the environment of the document's programs.
func (w *world) environment(listen string) []string {
	return append(os.Environ(), "REFRESHD="+w.refreshd, "ISSUER="+w.refreshd+"/t/default", "API=http://"+w.api,
		"LISTEN="+listen, "API_KEY_FILE="+filepath.Join(w.Dir, "refreshd-data", "first-api-key"))
}

// start runs one of the document's programs, and returns when it accepts connections at address.
func (w *world) start(t *testing.T, dir, address string, command ...string) {
	t.Helper()
	var out bytes.Buffer
	c := exec.Command(command[0], command[1:]...)
	c.Dir, c.Env, c.Stdout, c.Stderr = dir, w.environment(address), &out, &out
	c.WaitDelay = time.Second // a child of its own may hold the pipe after it was killed
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	t.Cleanup(func() {
		_ = c.Process.Kill()
		<-ended
		if t.Failed() {
			t.Logf("%s: %s", strings.Join(command, " "), &out)
		}
	})
	for {
		response, err := http.Get("http://" + address)
		if err == nil {
			response.Body.Close()
			return
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("%s ended: %v\n%s", strings.Join(command, " "), err, &out)
		case <-time.After(20 * time.Millisecond): // until it listens
		}
	}
}

// reply is a response that was read.
type reply struct {
	status int
	header http.Header
	body   string
}

// data is the field data of refreshd's body, or the whole body of the login service.
func (r reply) data(t *testing.T) (d tokens) {
	t.Helper()
	var enveloped struct{ Data *tokens }
	if err := json.Unmarshal([]byte(r.body), &enveloped); err != nil {
		t.Fatalf("%q: %v", r.body, err)
	}
	if enveloped.Data != nil {
		return *enveloped.Data
	}
	if err := json.Unmarshal([]byte(r.body), &d); err != nil {
		t.Fatalf("%q: %v", r.body, err)
	}
	return d
}

type tokens struct {
	RefreshToken, RefreshTokenID, Token string
	ExpiresIn                           int
}

// send sends a request. body is JSON or empty; headers are pairs of name and value.
func send(t *testing.T, client *http.Client, method, target, body string, headers ...string) reply {
	t.Helper()
	address, path, _ := strings.Cut(strings.TrimPrefix(target, "http://"), "/")
	request := rig.Request{Method: method, Path: "/" + path, Body: body, Header: map[string]string{}}
	for i := 0; i < len(headers); i += 2 {
		request.Header[headers[i]] = headers[i+1]
	}
	response, err := request.Do(t.Context(), client, address)
	if err != nil {
		t.Fatal(err)
	}
	return reply{response.Status, response.Header, string(response.Body)}
}

// want sends a request and wants a status.
func want(t *testing.T, status int, method, target, body string, headers ...string) reply {
	t.Helper()
	r := send(t, rig.Client, method, target, body, headers...)
	if r.status != status {
		t.Fatalf("%s %s %s: got %d %s, want %d", method, target, body, r.status, r.body, status)
	}
	return r
}

// backend sends a request to refreshd with the API key, and wants 200.
func (w *world) backend(t *testing.T, method, path, body string) reply {
	t.Helper()
	return want(t, http.StatusOK, method, w.refreshd+path, body, "Authorization", w.key, "X-Stencil-TenantId", "default")
}

// browser is a client with a cookie jar. Its requests to refreshd are those of a page of the login service.
func browser(t *testing.T) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{Jar: jar, Timeout: time.Minute}
}

// driver is a process of the document's client.
type driver struct {
	in    io.WriteCloser
	out   *bufio.Scanner
	store string // the file that the client keeps its refresh token in
	why   string // the message of the last failure
}

// newDriver starts the client in dir with a refresh token in its store; through the proxy, as a client of the network.
func (w *world) newDriver(t *testing.T, dir, refreshToken string, command ...string) *driver {
	t.Helper()
	d := &driver{store: filepath.Join(t.TempDir(), "refresh-token")}
	writeFile(t, d.store, refreshToken)
	c := exec.Command(command[0], command[1:]...)
	c.Dir, c.Env, c.Stderr = dir, append(os.Environ(), "REFRESHD="+w.proxy.URL, "STORE="+d.store), os.Stderr
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close(); _ = c.Wait() })
	d.in, d.out = in, bufio.NewScanner(out)
	d.out.Buffer(nil, 1<<20)
	d.do(t, "open")
	return d
}

// ask sends a command, and returns its result or the kind of its failure.
func (d *driver) ask(t *testing.T, command string) (result, kind string) {
	t.Helper()
	if _, err := io.WriteString(d.in, command+"\n"); err != nil {
		t.Fatal(err)
	}
	if !d.out.Scan() {
		t.Fatalf("%s: the client ended: %v", command, d.out.Err())
	}
	var line struct{ Result, Kind, Message string }
	if err := json.Unmarshal(d.out.Bytes(), &line); err != nil {
		t.Fatalf("%q: %v", d.out.Text(), err)
	}
	d.why = line.Message
	if line.Kind == "bug" {
		t.Fatalf("%s: %s", command, line.Message)
	}
	return line.Result, line.Kind
}

// do sends a command that has to succeed.
func (d *driver) do(t *testing.T, command string) string {
	t.Helper()
	result, kind := d.ask(t, command)
	if kind != "" {
		t.Fatalf("%s: %s: %s", command, kind, d.why)
	}
	return result
}

// stored is the refresh token that the client keeps; empty if it dropped it.
func (d *driver) stored(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(d.store)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return string(text)
}

// fault is what the proxy does to one exchange. The zero value does nothing.
type fault struct {
	hold   chan struct{} // the request is held until it is closed, if it is not nil
	lose   bool          // the response is lost, after refreshd sent it
	status int           // the response is this one, and refreshd has not seen the request
	body   string
	header http.Header
}

// proxy stands between clients and the service, and does to the exchanges what networks and balancers do.
type proxy struct {
	*httptest.Server
	mu       sync.Mutex
	faults   []fault  // for the next exchanges, one each
	outcomes []string // what refreshd said to exchanges, "lost" and statuses for the rest
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	to, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{}
	forward := httputil.NewSingleHostReverseProxy(to)
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			forward.ServeHTTP(w, r)
			return
		}
		f := p.next()
		if f.hold != nil {
			<-f.hold
		}
		if f.status != 0 {
			for name, values := range f.header {
				w.Header()[name] = values
			}
			p.note(http.StatusText(f.status))
			w.WriteHeader(f.status)
			_, _ = io.WriteString(w, f.body)
			return
		}
		recorder := httptest.NewRecorder()
		forward.ServeHTTP(recorder, r)
		if f.lose {
			p.note("lost")
			panic(http.ErrAbortHandler)
		}
		p.note(recorder.Header().Get("Refreshd-Outcome"))
		for name, values := range recorder.Header() {
			w.Header()[name] = values
		}
		w.WriteHeader(recorder.Code)
		_, _ = recorder.Body.WriteTo(w)
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *proxy) next() (f fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.faults) > 0 {
		f, p.faults = p.faults[0], p.faults[1:]
	}
	return f
}

func (p *proxy) note(outcome string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.outcomes = append(p.outcomes, outcome)
}

// will sets what happens to the next exchanges, and forgets what happened to the last.
func (p *proxy) will(faults ...fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults, p.outcomes = faults, nil
}

// said returns what happened to the exchanges since.
func (p *proxy) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.outcomes, ", ")
}
