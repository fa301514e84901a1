// Package rig builds the service from this source and runs it as a real process, for what only whole processes can prove or measure:
// kill -9, restarts on the same address, a store that is down, what a process takes of the machine.
//
// It is not a client, starts no database (test/support/postgres does), and judges nothing: what a service answers is its users' to read.
// There is no testing.TB in it, because commands use it as well; package e2e has a harness of its own, which searches what a
// process wrote for secrets.
//
// The one thing to know: a service logs a line a request into a file in Program.Dir. Whoever sends millions calls Forget now and
// then, or sets REFRESHD_LOG_LEVEL=warn and, since the addresses are then not in the log, Listen and AdminListen (FreeAddresses).
//
// On Linux nothing that it starts outlives the process that started it, also after kill -9.
package rig

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// MasterKey is that of every process here, unless Settings.Env has another.
const MasterKey = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="

const (
	startTimeout = 2 * time.Minute
	stopTimeout  = time.Minute // the service's own is 15 s; the rest is for a busy machine
)

// Program is the service's binary, built from this source.
type Program struct {
	Path    string
	Dir     string // for its files and the working directory of its processes; the caller removes it
	Version string // what it says of itself
}

// BuildOptions are what a binary differs in. The zero value is the program as it stands.
type BuildOptions struct {
	Name    string // of the binary, so that several can stand in one directory; default refreshd
	Version string
	Source  string // the module's directory; default that of the working directory
	Overlay string // path of a file for go build -overlay, which puts other files in the place of some
	Race    bool   // with the race detector, which needs cgo
}

// Build builds the program into dir. Without a Source the working directory has to be within this module, as it is
// for go test and go run.
func Build(ctx context.Context, dir string, o BuildOptions) (Program, error) {
	if o.Name == "" {
		o.Name = "refreshd"
	}
	p := Program{Path: filepath.Join(dir, o.Name), Dir: dir}
	args := []string{"build", "-trimpath", "-buildvcs=false", "-ldflags", "-X main.version=" + o.Version, "-o", p.Path}
	cgo := "CGO_ENABLED=0"
	if o.Race {
		args, cgo = append(args, "-race"), "CGO_ENABLED=1"
	}
	if o.Overlay != "" {
		args = append(args, "-overlay", o.Overlay)
	}
	build := exec.CommandContext(ctx, "go", append(args, "github.com/refreshd/refreshd/cmd/refreshd")...)
	build.Dir, build.Env = o.Source, append(os.Environ(), cgo)
	if out, err := build.CombinedOutput(); err != nil {
		return Program{}, fmt.Errorf("build the service: %w\n%s", err, out)
	}
	said, err := exec.CommandContext(ctx, p.Path, "version").Output()
	if err != nil {
		return Program{}, fmt.Errorf("ask the service for its version: %w", err)
	}
	p.Version = strings.TrimSpace(string(said))
	return p, nil
}

// Settings are what a process is told. Of the environment of this process it gets nothing.
type Settings struct {
	Database    string   // REFRESHD_DATABASE_URL
	Kickstart   string   // the text of the file; empty for none
	Listen      string   // default 127.0.0.1:0; whoever restarts a service on its address gives it
	AdminListen string   // default 127.0.0.1:0
	Env         []string // NAME=value; they win over all above, and over a public URL that is the same for all
	// Stderr is what a service writes its log to, instead of the file that Log reads; Listen and AdminListen then need
	// ports of their own, because the log is where the chosen ones are found.
	Stderr *os.File
}

// processes are those that were started.
var processes atomic.Int64

// command makes one that is still to be started, and a name for its files.
func (p Program) command(s Settings, args ...string) (c *exec.Cmd, name string, err error) {
	// With our own number, for another process of ours may use the directory too: it would find the addresses of the wrong log.
	name = filepath.Join(p.Dir, fmt.Sprintf("%s-%d-%d", filepath.Base(p.Path), os.Getpid(), processes.Add(1)))
	c = exec.Command(p.Path, args...)
	c.Dir = p.Dir
	c.Env = []string{"REFRESHD_DATABASE_URL=" + s.Database, "REFRESHD_MASTER_KEY=" + MasterKey, "REFRESHD_LOG_FORMAT=json",
		"REFRESHD_PUBLIC_URL=https://rig.example",
		"REFRESHD_LISTEN=" + orAnyPort(s.Listen), "REFRESHD_ADMIN_LISTEN=" + orAnyPort(s.AdminListen)}
	for _, limit := range []string{"ADDRESS", "API_KEY", "REFRESH_TOKEN"} { // everybody calls from one address here
		c.Env = append(c.Env, "REFRESHD_RATE_LIMIT_"+limit+"=0")
	}
	if s.Kickstart != "" {
		file := name + "-kickstart.yaml"
		if err := os.WriteFile(file, []byte(s.Kickstart), 0o600); err != nil {
			return nil, "", err
		}
		c.Env = append(c.Env, "REFRESHD_KICKSTART_FILE="+file)
	}
	c.Env = append(c.Env, s.Env...)
	return c, name, nil
}

func orAnyPort(address string) string {
	if address == "" {
		return "127.0.0.1:0"
	}
	return address
}

// Run runs a verb to its end, and returns what it wrote, to standard output and error. When ctx is done the verb gets SIGTERM, and
// the error is that of ctx.
func (p Program) Run(ctx context.Context, s Settings, args ...string) (output string, err error) {
	c, _, err := p.command(s, args...)
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	if err := start(c); err != nil {
		return "", fmt.Errorf("refreshd %s: %w", strings.Join(args, " "), err)
	}
	ended := make(chan struct{})
	release := context.AfterFunc(ctx, func() { _ = end(c.Process, ended) })
	err = c.Wait()
	close(ended)
	if !release() {
		err = errors.Join(ctx.Err(), err)
	}
	if err != nil {
		return out.String(), fmt.Errorf("refreshd %s: %w\n%s", strings.Join(args, " "), err, out.String())
	}
	return out.String(), nil
}

// end sends SIGTERM, and after a while what cannot be ignored.
func end(p *os.Process, ended <-chan struct{}) error {
	_ = p.Signal(syscall.SIGTERM)
	select {
	case <-ended:
		return nil
	case <-time.After(stopTimeout):
		_ = p.Kill()
		<-ended
		return fmt.Errorf("the process did not end within %s of SIGTERM", stopTimeout)
	}
}

// FreeAddresses are n of the loopback's on which nothing listens now. Something else may take one before it is used: with port 0
// that cannot happen, but then the address changes with each start.
func FreeAddresses(n int) (addresses []string, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // all are held before one is let go of, so that they differ
		addresses = append(addresses, l.Addr().String())
	}
	return addresses, nil
}
