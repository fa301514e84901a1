package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/refreshd/refreshd/test/system/prove/observe"
)

// operation is a call and its response, as far as they concern one refresh token.
type operation struct {
	Client   int
	Input    input
	Output   output
	Call     time.Duration // since the run began
	Return   time.Duration // of the response; meaningless without one
	Answered bool
}

// history is everything that happened to one refresh token.
type history struct {
	ID          string
	Application string
	Operations  []*operation

	tenant, user string
	key          *boundKey // nil for a refresh token that is bound to none
	open         int       // calls that are running
	closed       bool      // whether no further call is made
}

// lingers is for how long a call without a response may still take effect, and a revocation on refresh tokens that are
// issued later too. The network holds a request for a second, the service for ten, the database for ten more.
const lingers = 30 * time.Second

// recorder records calls, and hands a history over once nothing can be added to it.
type recorder struct {
	begin    time.Duration // a reading of the clock that the resource servers read too
	complete func(*history)

	mu        sync.Mutex
	histories map[string]*history // those that are not complete
	wide      []*pending          // running or lost: they may also concern what is issued from now on
	policies  map[string]uint8    // the variant of the application changing that was put in force last, by tenant
	calls     int
	lost      int
}

func newRecorder(complete func(*history)) *recorder {
	return &recorder{begin: observe.Monotonic(), complete: complete, histories: map[string]*history{},
		policies: map[string]uint8{}}
}

// since returns the time since the run began.
func (r *recorder) since() time.Duration { return observe.Monotonic() - r.begin }

// follow begins the history of a refresh token, before any request names it.
func (r *recorder) follow(h *history) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.histories[h.ID] = h
	r.inForce(h)
	now := r.since()
	r.wide = slices.DeleteFunc(r.wide, func(p *pending) bool {
		return p.over && (!p.lost || now-p.at > lingers)
	})
	for _, p := range r.wide {
		p.concern(h)
	}
}

// close reports that no further call names the refresh token. Running calls may still end.
func (r *recorder) close(h *history) {
	r.mu.Lock()
	h.closed = true
	r.unlock(h)
}

// closeAll closes the histories that are still open, at the end of a run.
func (r *recorder) closeAll() {
	r.mu.Lock()
	var all []*history
	for _, h := range r.histories {
		h.closed = true
		all = append(all, h)
	}
	r.unlock(all...)
}

// unlock hands over the histories that are complete.
func (r *recorder) unlock(changed ...*history) {
	complete := slices.DeleteFunc(changed, func(h *history) bool {
		return !h.closed || h.open > 0 || r.histories[h.ID] != h
	})
	for _, h := range complete {
		delete(r.histories, h.ID)
	}
	r.mu.Unlock()
	for _, h := range complete {
		r.complete(h)
	}
}

// any returns one of the histories that are not complete, in the order of their ids.
func (r *recorder) any(choose func(n int) int, concerns func(*history) bool) *history {
	r.mu.Lock()
	defer r.mu.Unlock()
	var ids []string
	for id, h := range r.histories {
		if !h.closed && concerns(h) {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	slices.Sort(ids)
	return r.histories[ids[choose(len(ids))]]
}

// pending is a call that is running or over.
type pending struct {
	r        *recorder
	client   int
	in       input
	at       time.Duration
	concerns concerns
	parts    map[*history]*operation
	over     bool
	lost     bool
}

// concerns returns what a call does to a refresh token, or "" if nothing. It may be called after the call is over.
type concerns func(*history) kind

// call begins a call on several refresh tokens. as gives its kind for each.
func (r *recorder) call(client int, in input, as concerns) *pending {
	return r.calling(client, in, as, true)
}

// one begins a call on one refresh token.
func (r *recorder) one(client int, in input, h *history) *pending {
	return r.calling(client, in, func(other *history) kind {
		if other == h {
			return in.Kind
		}
		return ""
	}, false)
}

// calling begins a call. A wide call may also concern refresh tokens that are issued from now on.
func (r *recorder) calling(client int, in input, as concerns, wide bool) *pending {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls++
	p := &pending{r: r, client: client, in: in, at: r.since(), concerns: as, parts: map[*history]*operation{}}
	for _, h := range r.histories {
		p.concern(h)
	}
	if wide {
		r.wide = append(r.wide, p)
	}
	return p
}

// concern adds the call to a history, if it concerns it.
func (p *pending) concern(h *history) {
	in := p.in
	in.Kind, in.Rules, in.Bound = p.concerns(h), h.Application, h.key != nil
	if in.Kind == "" {
		return
	}
	o := &operation{Client: p.client, Input: in, Call: p.at}
	h.Operations = append(h.Operations, o)
	if p.over {
		o.Input.At.Last = forever
		return
	}
	h.open++
	p.parts[h] = o
}

// ended records the response for each of the refresh tokens, or that there was none. at is the time on the clock of the
// service that was called.
func (p *pending) ended(at instant, answered bool, answer func(h *history) output) {
	p.endedWith(at, answered, answer, func() {})
}

// endedWith is ended. It also does what belongs to the response before any other call is recorded.
func (p *pending) endedWith(at instant, answered bool, answer func(h *history) output, besides func()) {
	p.r.mu.Lock()
	besides()
	p.over, p.lost = true, !answered
	now := p.r.since()
	var changed []*history
	for h, o := range p.parts {
		o.Input.At.Last = forever
		if answered {
			o.Answered, o.Output, o.Return, o.Input.At.Last = true, answer(h), now, at
		}
		h.open--
		changed = append(changed, h)
	}
	if p.lost {
		p.r.lost++
	}
	p.r.unlock(changed...)
}

// porcupineHistory returns h for the checker. A call without a response ends immediately: it only becomes pending.
func (h *history) porcupineHistory() (operations []porcupine.Operation, err error) {
	var pending []input
	for _, o := range h.Operations {
		if !o.Answered && o.Input.Kind != read {
			pending = append(pending, o.Input)
		}
	}
	if len(pending) > mostPending {
		return nil, fmt.Errorf("%s has %d calls without a response: the model supports %d", h.ID, len(pending), mostPending)
	}
	lost, n := newLosses(pending), 0
	for _, o := range h.Operations {
		in, end := o.Input, o.Return
		in.lost = lost
		if !o.Answered {
			if in.Kind == read {
				continue // it changed nothing, and returned nothing
			}
			in.nth, end = n, o.Call
			n++
		}
		operations = append(operations, porcupine.Operation{
			ClientId: o.Client, Input: in, Output: o.Output, Call: int64(o.Call), Return: int64(end),
		})
	}
	return operations, nil
}

// verdict is the result of a check.
type verdict struct {
	porcupine.CheckResult
	info porcupine.LinearizationInfo
}

// check takes at most a second, except for histories that are long and wrong.
func (h *history) check(m porcupine.Model, atMost time.Duration) verdict {
	operations, err := h.porcupineHistory()
	if err != nil {
		return verdict{CheckResult: porcupine.Unknown}
	}
	result := porcupine.CheckOperationsTimeout(m, operations, atMost)
	if !h.sameBytes() {
		result = porcupine.Illegal
	}
	if result == porcupine.Ok {
		return verdict{CheckResult: result}
	}
	_, info := porcupine.CheckOperationsVerbose(m, operations, atMost)
	return verdict{result, info}
}

// sameBytes reports whether access tokens with the same claims are the same bytes. Responses within one half lifetime
// are.
func (h *history) sameBytes() bool {
	type claims struct{ minted, ends, epoch int64 }
	said := map[claims]string{}
	for _, o := range h.Operations {
		c := claims{o.Output.Minted, o.Output.Ends, o.Output.Epoch}
		if first, ok := said[c]; ok && first != o.Output.Access {
			return false
		}
		said[c] = o.Output.Access
	}
	return true
}

// keep writes the history and a drawing of it to dir, and returns the name of the first.
func (h *history) keep(dir string, m porcupine.Model, v verdict) (path string, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	path = filepath.Join(dir, h.ID+".json")
	f, err := os.Create(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if err := h.write(f); err != nil {
		return "", err
	}
	return path, porcupine.VisualizePath(m, v.info, filepath.Join(dir, h.ID+".html"))
}

func (h *history) write(w io.Writer) error {
	lines := json.NewEncoder(w)
	if err := lines.Encode(struct{ ID, Application string }{h.ID, h.Application}); err != nil {
		return err
	}
	for _, o := range h.Operations {
		if err := lines.Encode(o); err != nil {
			return err
		}
	}
	return nil
}

// readHistory reads a file that keep wrote.
func readHistory(r io.Reader) (*history, error) {
	h := &history{}
	lines := json.NewDecoder(bufio.NewReader(r))
	if err := lines.Decode(h); err != nil {
		return nil, fmt.Errorf("the first line of a history names its refresh token: %w", err)
	}
	for lines.More() {
		o := &operation{}
		if err := lines.Decode(o); err != nil {
			return nil, fmt.Errorf("operation %d: %w", len(h.Operations)+1, err)
		}
		h.Operations = append(h.Operations, o)
	}
	return h, nil
}
