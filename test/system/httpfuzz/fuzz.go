package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/refreshd/refreshd/domain"
)

// A plan is the size of a run: worlds one after the other, each with so many requests, until the time is over.
type plan struct {
	seed      uint64
	stores    []string
	documents []string                              // as stores; only tokens if it is empty
	database  func(context.Context) (string, error) // makes one on PostgreSQL
	worlds    int                                   // 0 for as many as fit into the time
	requests  int                                   // in each world
	long      time.Duration                         // 0 for no limit
	findings  int                                   // the number of findings after which to stop
	show      io.Writer                             // for every request with its response; nil for none
	wrap      func(*world, http.Handler) http.Handler
	hold      func(*world, *call) // called at the end of the last world, while it is still served
}

// A report counts the requests, and has the findings.
type report struct {
	worlds, requests int
	mutated          int                       // how many of the requests were mutated
	byMutation       map[string]map[string]int // by mutation, "" for none: how many got 2xx, 4xx, …
	byStatus         map[int]int
	byOperation      map[string]map[int]int // of unchanged requests
	findings         []finding
	took             time.Duration
}

type finding struct {
	store         string
	document      string
	seed          uint64
	request       int // in its world, from 1; 0 for a finding in the log of the whole world
	mutation      string
	wrong         []string
	wire, command string
	status        int
	content       string
}

func (f finding) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "FOUND on %s, request %d, %q:\n", f.store, f.request, f.mutation)
	for _, w := range f.wrong {
		fmt.Fprintf(&b, "  - %s\n", w)
	}
	if f.request > 0 {
		fmt.Fprintf(&b, "  sent     %.1500q\n  answered %d %.500q\n  as curl  %.3000s\n", f.wire, f.status, f.content,
			f.command)
	}
	fmt.Fprintf(&b, "  again    go run ./test/system/httpfuzz -store=%s -document=%s -seed=%d -worlds=1 -requests=%d "+
		"-hold\n", f.store, f.document, f.seed, f.request)
	return b.String()
}

// run runs the plan. An error means that it could not run; the findings are in the report.
func run(ctx context.Context, p plan) (report, error) {
	r := report{byMutation: map[string]map[string]int{}, byStatus: map[int]int{}, byOperation: map[string]map[int]int{}}
	if len(p.documents) == 0 {
		p.documents = []string{"tokens"}
	}
	grammars := map[string]*grammar{}
	for _, document := range p.documents {
		text, err := os.ReadFile(documentPath(document))
		if err != nil {
			return r, err
		}
		if grammars[document], err = newGrammar(text); err != nil {
			return r, err
		}
	}
	begun := time.Now()
	over := func() bool {
		return ctx.Err() != nil || p.long > 0 && time.Since(begun) > p.long || len(r.findings) >= p.findings
	}
	for i := 0; (p.worlds == 0 || i < p.worlds) && !over(); i++ {
		store, document := p.stores[i%len(p.stores)], p.documents[i/len(p.stores)%len(p.documents)]
		g := grammars[document]
		g.fitting = map[string][][]string{} // a world depends only on its seed
		w, err := newWorld(ctx, p, store, document, p.seed+uint64(i))
		if err != nil {
			return r, err
		}
		last, err := r.live(ctx, p, g, w, store, over)
		if err == nil && p.hold != nil && last != nil {
			p.hold(w, last)
		}
		if closed := w.close(); err == nil {
			err = closed
		}
		if err != nil {
			return r, fmt.Errorf("world %d on %s: %w", w.seed, store, err)
		}
		r.worlds++
	}
	r.took = time.Since(begun)
	return r, nil
}

// documentPath is an openapi.yaml from the top of the tree, or from this folder, where `go test` runs.
func documentPath(document string) string {
	path := "adapter/httpapi/openapi.yaml"
	switch document {
	case administration:
		path = "adapter/adminapi/openapi.yaml"
	case oauth:
		path = "adapter/oauthapi/openapi.yaml"
	}
	if _, err := os.Stat(path); err == nil {
		return path
	}
	return "../../../" + path
}

// live sends the requests of one world.
func (r *report) live(
	ctx context.Context, p plan, g *grammar, w *world, store string, over func() bool,
) (last *call, err error) {
	found := finding{store: store, document: w.document, seed: w.seed}
	for i := 1; i <= p.requests && !over(); i++ {
		w.now = w.now.Add(pick(w.rng, []time.Duration{0, time.Millisecond, time.Second, time.Second, 5 * time.Second,
			time.Minute}))
		if w.rng.IntN(60) == 0 {
			w.now = w.now.Add(pick(w.rng, []time.Duration{time.Hour, 26 * time.Hour, 31 * 24 * time.Hour}))
		}
		make := g.valid
		switch w.document {
		case administration:
			make = g.validOfAdministration
		case oauth:
			make = func(w *world) (*call, error) { return g.validOfOAuth(ctx, w) }
		}
		c, err := make(w)
		if err != nil {
			return c, err
		}
		mutated := ""
		owed := c.form != "" && w.formed[c.form] == 0 // each form has to succeed once
		ready := len(w.sessions) >= fewSessions || w.document == administration && i > fewSessions
		if ready && !owed && w.rng.IntN(4) > 0 {
			c, mutated = w.mutate(c)
		}
		scopes := w.store.scopes
		a, err := w.send(c)
		if err != nil {
			return c, fmt.Errorf("request %d, %q: %w; it was %.600q", i, mutated, err, c.wire())
		}
		var wrong []string
		after, err := w.snapshot(ctx)
		if err != nil {
			return c, err
		}
		switch w.document {
		case administration:
			wrong, err = g.judgeAdministration(ctx, w, c, mutated, a)
		case oauth:
			wrong = g.judgeOAuth(w, c, mutated, a, w.previous, after, w.store.scopes-scopes)
		default:
			wrong = g.judge(w, c, mutated, a, w.previous, after, w.store.scopes-scopes)
		}
		if err != nil {
			return c, err
		}
		r.count(c, mutated, a.StatusCode)
		if p.show != nil {
			fmt.Fprintf(p.show, "%d %q %.300q\n   %d %.200q\n", i, mutated, c.wire(), a.StatusCode, a.content)
		}
		if c.form != "" && mutated == "" && a.StatusCode == http.StatusOK {
			w.formed[c.form]++
		}
		if w.document == oauth {
			w.learnOfClient(a)
		} else {
			w.learn(c, a, after)
		}
		w.previous = after
		if last = c; len(wrong) > 0 {
			f := found
			f.request, f.mutation, f.wrong, f.wire, f.command = i, mutated, wrong, string(c.wire()), c.curl(w.addr)
			f.status, f.content = a.StatusCode, string(a.content)
			if r.findings = append(r.findings, f); len(r.findings) >= p.findings {
				return last, nil
			}
		}
	}
	// The log line of a request is written after its response. A server that has shut down has written all of them.
	if p.hold == nil {
		if err := w.server.Shutdown(ctx); err != nil {
			return last, err
		}
		if found.wrong = w.judgeLog(); len(found.wrong) > 0 {
			found.mutation = "the log of the whole world"
			r.findings = append(r.findings, found)
		}
	}
	return last, nil
}

// mutate makes one change: of several mutations that fit, the one that was made least often in this world, because many
// fit nearly every call.
func (w *world) mutate(c *call) (changed *call, name string) {
	changed = c
	for range 24 {
		m, candidate := pick(w.rng, mutations), c.clone()
		if m.apply(w, candidate) && (name == "" || w.made[m.name] < w.made[name]) {
			changed, name = candidate, m.name
		}
	}
	w.made[name]++
	return changed, name
}

func (c *call) clone() *call {
	d := *c
	d.query, d.header, d.body = slices.Clone(c.query), slices.Clone(c.header), slices.Clone(c.body)
	return &d
}

// learn updates the world by a response, as a client does.
func (w *world) learn(c *call, a answer, after map[domain.ID]domain.Snapshot) {
	var body struct {
		Data struct{ RefreshToken, RefreshTokenID, Token string }
	}
	if a.StatusCode != http.StatusOK || json.Unmarshal(a.content, &body) != nil {
		body.Data.Token = ""
	}
	if next := a.Header.Get("Link"); next != "" {
		query, _, _ := strings.Cut(strings.TrimPrefix(next, "<"), ">")
		w.links = append(w.links, link{c.get("X-Stencil-TenantId"), c.path + query})
	}
	if body.Data.Token == "" {
		return
	}
	for _, cookie := range a.Cookies() {
		if cookie.Name == "refresh_token" {
			body.Data.RefreshToken = cookie.Value
		}
	}
	t := after[idOf(body.Data.RefreshTokenID)].Token
	i := slices.IndexFunc(w.sessions, func(s *session) bool { return s.id == t.ID })
	if i < 0 {
		i = len(w.sessions)
		w.sessions = append(w.sessions, &session{tenant: t.TenantID, application: t.ApplicationID, user: t.UserID, id: t.ID})
	}
	s := w.sessions[i]
	s.access = body.Data.Token
	if !slices.Contains(s.strings, body.Data.RefreshToken) {
		s.strings = append(s.strings, body.Data.RefreshToken)
	}
}

func (r *report) count(c *call, mutated string, status int) {
	r.requests++
	r.byStatus[status]++
	if r.byMutation[mutated] == nil {
		r.byMutation[mutated] = map[string]int{}
	}
	r.byMutation[mutated][fmt.Sprintf("%dxx", status/100)]++
	if mutated != "" {
		r.mutated++
	} else {
		name := cmp.Or(c.form, c.operation)
		if r.byOperation[name] == nil {
			r.byOperation[name] = map[int]int{}
		}
		r.byOperation[name][status]++
	}
}

func (r report) print(w io.Writer, seed uint64) {
	for _, f := range r.findings {
		fmt.Fprintln(w, f)
	}
	fmt.Fprintf(w, "%-28s %8s %8s %8s\n", "one mutation", "2xx, 3xx", "4xx", "5xx")
	for _, m := range mutations {
		n := r.byMutation[m.name]
		fmt.Fprintf(w, "%-28s %8d %8d %8d\n", m.name, n["2xx"]+n["3xx"], n["4xx"], n["5xx"])
	}
	fmt.Fprintf(w, "\nunchanged requests, by operation of openapi.yaml and status\n")
	for _, id := range slices.Sorted(maps.Keys(r.byOperation)) {
		fmt.Fprintf(w, "%-42s", id)
		for _, status := range slices.Sorted(maps.Keys(r.byOperation[id])) {
			fmt.Fprintf(w, "  %d: %d", status, r.byOperation[id][status])
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "\nstatuses")
	for _, status := range slices.Sorted(maps.Keys(r.byStatus)) {
		fmt.Fprintf(w, "  %d: %d", status, r.byStatus[status])
	}
	fmt.Fprintf(w, "\nseed %d, %d worlds, %d requests, %d of them with one of %d mutations, %s: %d findings\n",
		seed, r.worlds, r.requests, r.mutated, len(mutations), r.took.Round(100*time.Millisecond), len(r.findings))
}
