package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/refreshd/refreshd/test/support/rig"
	"github.com/refreshd/refreshd/test/system/prove/observe"
)

// pool is the access tokens that the resource servers check. Each token goes to every resource server of its tenant.
type pool struct {
	mu      sync.Mutex
	servers []*resourceServer
	tokens  []pooled                // by number, less one
	ofOne   map[*history][]int      // the numbers of the tokens of a session
	checks  map[*history][]observed // what the resource servers saw
	current map[string][]int        // the numbers of the tokens that are checked, by tenant, the oldest first
	results map[observe.Result]int
	invalid []string // the reasons of those that were refused as not valid
}

// pooled is an access token.
type pooled struct {
	h       *history
	command observe.Command
	asked   time.Duration // when the call began that returned it
}

// perTenant is how many tokens are checked at a time. Each is checked for a while after its session was revoked.
const perTenant = 300

func newPool() *pool {
	return &pool{
		ofOne: map[*history][]int{}, checks: map[*history][]observed{}, current: map[string][]int{},
		results: map[observe.Result]int{},
	}
}

// add has the resource servers check a token.
func (p *pool) add(h *history, token string, asked time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.tokens) + 1
	c := observe.Command{Add: n, Audience: h.Application, Token: token}
	p.tokens = append(p.tokens, pooled{h, c, asked})
	p.ofOne[h] = append(p.ofOne[h], n)
	p.tell(h.tenant, c)
	all := append(p.current[h.tenant], n)
	if len(all) > perTenant {
		p.tell(h.tenant, observe.Command{Remove: all[0]})
		all = all[1:]
	}
	p.current[h.tenant] = all
}

// hurry has the resource servers check the tokens of a session more often for a while.
func (p *pool) hurry(h *history) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if all := p.ofOne[h]; len(all) > 0 {
		p.tell(h.tenant, observe.Command{Hurry: all[len(all)-1]})
	}
}

func (p *pool) tell(tenant string, c observe.Command) {
	for _, s := range p.servers {
		if s.tenant == tenant {
			s.tell(c)
		}
	}
}

// welcome tells a resource server that has started which tokens it checks.
func (p *pool) welcome(s *resourceServer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !slices.Contains(p.servers, s) {
		p.servers = append(p.servers, s)
	}
	for _, n := range p.current[s.tenant] {
		s.tell(p.tokens[n-1].command)
	}
}

// saw records an observation.
func (p *pool) saw(s *resourceServer, o observe.Observation) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.results[o.Result]++
	if o.Result == observe.Invalid && !slices.Contains(p.invalid, o.Text) && len(p.invalid) < 10 {
		p.invalid = append(p.invalid, o.Text)
	}
	if o.Token > len(p.tokens) || o.Result != observe.Accepted && o.Result != observe.Revoked {
		return
	}
	o.Text = ""
	of := p.tokens[o.Token-1]
	p.checks[of.h] = append(p.checks[of.h], observed{o, s.name, s.config.MaxAge, s.config.Accept, of.asked})
}

// seen returns what was seen of a session, and the sessions of which anything was.
func (p *pool) seen() map[*history][]observed {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make(map[*history][]observed, len(p.checks))
	for h, o := range p.checks {
		all[h] = slices.Clone(o)
	}
	return all
}

// counts returns the number of checks by result.
func (p *pool) counts() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var text []string
	for _, r := range slices.Sorted(maps.Keys(p.results)) {
		text = append(text, fmt.Sprintf("%c %d", r, p.results[r]))
	}
	return strings.Join(text, ", ")
}

// resourceServer is a process that checks tokens.
type resourceServer struct {
	name, tenant string
	program      rig.Program
	config       observe.Config
	clockFile    string
	log          string
	pool         *pool

	mu sync.Mutex // held by a fault, so that no two meet

	telling sync.Mutex
	cmd     *exec.Cmd
	outbox  chan observe.Command // nil while the process does not run
	running sync.WaitGroup
}

// outbox is how many commands wait for a process that is stopped. Further ones are lost to it.
const outbox = 100_000

// start starts the process, and gives it its tokens.
func (s *resourceServer) start() error {
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() // the process has a descriptor of its own
	c := exec.Command(s.program.Path)
	c.Dir, c.Stderr, c.Env = s.program.Dir, log, append(os.Environ(), rig.ClockFile(s.clockFile))
	input, err := c.StdinPipe()
	if err != nil {
		return err
	}
	output, err := c.StdoutPipe()
	if err != nil {
		return err
	}
	if err := rig.StartCommand(c); err != nil {
		return err
	}
	config, err := json.Marshal(s.config)
	if err != nil {
		return err
	}
	commands := make(chan observe.Command, outbox)
	s.running.Go(func() { s.read(output) })
	s.running.Go(func() {
		_, err := fmt.Fprintf(input, "%s\n", config)
		for c := range commands {
			if err == nil {
				_, err = fmt.Fprintln(input, c)
			}
		}
		input.Close()
	})
	s.telling.Lock()
	s.cmd, s.outbox = c, commands
	s.telling.Unlock()
	s.pool.welcome(s)
	return nil
}

// read records observations until the process ends. A line without an end was cut short by a kill.
func (s *resourceServer) read(output io.Reader) {
	lines := bufio.NewReader(output)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return
		}
		if o, err := observe.Parse(strings.TrimSuffix(line, "\n")); err == nil {
			s.pool.saw(s, o)
		}
	}
}

// tell sends a command to the process. One that does not run is welcomed when it does.
func (s *resourceServer) tell(c observe.Command) {
	s.telling.Lock()
	defer s.telling.Unlock()
	if s.outbox == nil {
		return
	}
	select {
	case s.outbox <- c:
	default:
	}
}

// end ends the process: by a kill, or by the end of its input. It is an error if the process failed.
func (s *resourceServer) end(kill bool) error {
	s.telling.Lock()
	c := s.cmd
	if c != nil {
		if kill {
			_ = c.Process.Kill()
		}
		_ = c.Process.Signal(syscall.SIGCONT)
		close(s.outbox)
	}
	s.cmd, s.outbox = nil, nil
	s.telling.Unlock()
	if c == nil {
		return nil
	}
	s.running.Wait()
	err := c.Wait()
	var status *exec.ExitError
	if kill && errors.As(err, &status) && status.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL {
		return nil
	}
	if err != nil {
		text, _ := os.ReadFile(s.log)
		return fmt.Errorf("%s: %w\n%s", s.name, err, text[max(0, len(text)-2000):])
	}
	return nil
}

// signal sends a signal, if the process runs.
func (s *resourceServer) signal(sig syscall.Signal) error {
	s.telling.Lock()
	defer s.telling.Unlock()
	if s.cmd == nil {
		return nil
	}
	return s.cmd.Process.Signal(sig)
}
