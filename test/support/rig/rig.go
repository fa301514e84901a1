// Package rig builds the service from this source and runs it as a real process, for what only whole processes can
// prove or measure: kill -9, restarts on the same address, a store that is down, the memory and processor time of a
// process.
//
// All suites send a Request in the same way; each suite checks the Response itself. Package rig starts no database
// (test/support/postgres does). It does not use testing.TB, because commands use it too.
//
// A service logs one line for each request into a file in Program.Dir. A suite that sends millions of requests calls
// Forget from time to time, or sets REFRESHD_LOG_LEVEL=warn. The log then has no addresses, so the suite also sets
// Listen and AdminListen (see FreeAddresses).
//
// On Linux no process that it starts outlives the process that started it, even after kill -9.
package rig

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"
)

// MasterKey is the master key of every process, unless Settings.Env has another one.
const MasterKey = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="

// PublicURL is the public URL of every process, unless Settings.Env has another one.
const PublicURL = "https://rig.example"

const (
	startTimeout = 3 * time.Minute
	stopTimeout  = time.Minute // the service's own time-out is 15 s; the rest is for a busy machine
)

// Program is the service's binary, built from this source.
type Program struct {
	Path    string
	Dir     string // for its files and the working directory of its processes; the caller removes it
	Version string // the version that it prints
}

// BuildOptions are the differences of a binary from the source. The zero value builds the source unchanged.
type BuildOptions struct {
	Name    string // of the binary, so that one directory can hold several; default refreshd
	Version string
	Source  string // the module's directory; default that of the working directory
	Package string // another command of the module, by its path in it; default the service

	// Changes of the source. go build -overlay applies them, so the source needs no hook.
	Changes []Change
	Files   map[string]string // texts of added files, by path from the module's directory
	Clock   bool              // whether it takes the time from a Clock
	ClockIn string            // a package, by its path in the module, that does so by itself
}

// Build builds the program into dir. Without a Source the working directory has to be within this module, as it is
// for go test and go run.
func Build(ctx context.Context, dir string, o BuildOptions) (Program, error) {
	if o.Name == "" {
		o.Name = "refreshd"
	}
	if o.Clock {
		o = o.withClock()
	}
	p := Program{Path: filepath.Join(dir, o.Name), Dir: dir}
	// Without -trimpath, which would compile all packages of the program again, for the paths in the traces of a crash.
	args := []string{"build", "-buildvcs=false", "-ldflags", "-X main.version=" + o.Version, "-o", p.Path}
	if len(o.Changes)+len(o.Files) > 0 || o.ClockIn != "" {
		overlay, err := o.overlay(ctx, p.Path+"-source")
		if err != nil {
			return Program{}, fmt.Errorf("change the source of %s: %w", o.Name, err)
		}
		args = append(args, "-overlay", overlay)
	}
	build := exec.CommandContext(ctx, "go", append(args, path.Join(module, cmp.Or(o.Package, "cmd/refreshd")))...)
	build.Dir, build.Env = o.Source, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return Program{}, fmt.Errorf("build the service: %w\n%s", err, out)
	}
	if o.Package != "" {
		return p, nil
	}
	said, err := exec.CommandContext(ctx, p.Path, "version").Output()
	if err != nil {
		return Program{}, fmt.Errorf("ask the service for its version: %w", err)
	}
	p.Version, _, _ = strings.Cut(string(said), "\n") // what it was built with is on further lines
	return p, nil
}

// StartCommand starts a command that Start of a Program does not fit. On Linux it is killed when this process ends.
func StartCommand(c *exec.Cmd) error { return start(c) }

// Settings configure a process. It inherits nothing from the environment of this process.
type Settings struct {
	Database    string   // REFRESHD_DATABASE_URL
	Kickstart   string   // the text of the file; empty for none
	Listen      string   // default 127.0.0.1:0; set it to restart a service on the same address
	AdminListen string   // default 127.0.0.1:0
	Env         []string // NAME=value; overrides all above, and what Plain leaves out
	Plain       bool     // without the master key, log format and public URL that all others have
	Dir         string   // the working directory; default Program.Dir
	Name        string   // prefix of the names of its files; default the program's name
	// Alter changes the command at the end: its path, its arguments, its credential, and its outputs. If it redirects the
	// log, Listen and AdminListen need fixed ports, because the addresses of chosen ports are read from the log.
	Alter func(*exec.Cmd)
}

// processes counts the processes that were started.
var processes atomic.Int64

// command returns a command that has not been started, and a name for its files.
func (p Program) command(s Settings, args ...string) (c *exec.Cmd, name string, err error) {
	// The name has the number of this process, because another test process may use the directory too and would read the
	// addresses from the wrong log.
	name = cmp.Or(s.Name, filepath.Base(p.Path))
	name = filepath.Join(p.Dir, fmt.Sprintf("%s-%d-%d", name, os.Getpid(), processes.Add(1)))
	c = exec.Command(p.Path, args...)
	c.Dir = cmp.Or(s.Dir, p.Dir)
	const anyPort = "127.0.0.1:0"
	c.Env = []string{"REFRESHD_DATABASE_URL=" + s.Database,
		"REFRESHD_LISTEN=" + cmp.Or(s.Listen, anyPort), "REFRESHD_ADMIN_LISTEN=" + cmp.Or(s.AdminListen, anyPort)}
	if !s.Plain {
		c.Env = append(c.Env,
			"REFRESHD_MASTER_KEY="+MasterKey, "REFRESHD_LOG_FORMAT=json", "REFRESHD_PUBLIC_URL="+PublicURL)
	}
	for _, limit := range []string{"ADDRESS", "API_KEY", "REFRESH_TOKEN"} { // all clients of a test have one address
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

// Result is the exit status of a process, and what it wrote.
type Result struct {
	Status         int
	Stdout, Stderr string
}

func (r Result) String() string {
	return fmt.Sprintf("exit status %d\nstdout: %s\nstderr: %s", r.Status, r.Stdout, r.Stderr)
}

// Verb runs a verb to its end. An exit status other than 0 is not an error. When ctx is done the process gets SIGTERM,
// and the error is that of ctx.
func (p Program) Verb(ctx context.Context, s Settings, args ...string) (Result, error) {
	v, err := p.Start(ctx, s, args...)
	if err != nil {
		return Result{}, err
	}
	select {
	case <-v.Ended():
	case <-ctx.Done():
		v.Terminate()
		err = errors.Join(ctx.Err(), v.Wait())
	}
	return Result{v.State().ExitCode(), v.Stdout(), v.Log()}, err
}

// Run runs a verb that has to succeed, and returns its standard output and standard error.
func (p Program) Run(ctx context.Context, s Settings, args ...string) (output string, err error) {
	r, err := p.Verb(ctx, s, args...)
	if err == nil && r.Status != 0 {
		err = fmt.Errorf("exit status %d", r.Status)
	}
	output = r.Stdout + r.Stderr
	if err != nil {
		return output, fmt.Errorf("refreshd %s: %w\n%s", strings.Join(args, " "), err, output)
	}
	return output, nil
}

// FreeAddresses returns n addresses of the loopback on which nothing listens. Another process may take one before it is
// used. With port 0 that cannot happen, but then the address changes with each start.
func FreeAddresses(n int) (addresses []string, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // all are open until the last one is, so that they differ
		addresses = append(addresses, l.Addr().String())
	}
	return addresses, nil
}
