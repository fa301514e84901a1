package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/test/support/rig"
)

// pool is a bulk whose sessions are exchanged one after another in random order, each again only after all the
// others. With more sessions than are exchanged in a grace period each exchange rotates, which is not taken for
// granted: outcomes are counted.
type pool struct {
	*roamers
	mu       sync.Mutex
	order    []int // the numbers in the order of their exchange
	at       int   // the index of the next one
	outcomes map[string]int
}

func newPool(k *bulk, s *service, users int) (p *pool, err error) {
	p = &pool{order: rand.Perm(k.rows), outcomes: map[string]int{}}
	p.roamers, err = newRoamers(k, s, users, p.take)
	return p, err
}

// take returns the number of the next session.
func (p *pool) take(int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	number := p.order[p.at] + 1
	p.at = (p.at + 1) % len(p.order)
	return number
}

// exchange exchanges the next session. An outcome other than rotated is not an error, but it is counted.
func (p *pool) exchange(i int) error {
	number := p.aim(i)
	u := p.users[i]
	g, err := u.present()
	if err != nil {
		return err
	}
	p.count(u)
	p.generations[number], err = generation(g)
	return err
}

func (p *pool) count(u *user) {
	p.mu.Lock()
	p.outcomes[string(u.outcome)]++
	p.mu.Unlock()
}

// generation returns the generation of the token string in a response.
func generation(g grant) (uint32, error) {
	presented, ok := domain.ParseTokenString(string(g.tokenString))
	if !ok {
		return 0, errors.New("a response has a malformed token string")
	}
	return presented.Generation, nil
}

func (p *pool) run(ctx context.Context, w window, s *service, server *server, n int) (run, error) {
	disconnect, err := connect(ctx, p.users[:n], w.warm+w.length)
	defer disconnect()
	if err != nil {
		return run{}, err
	}
	r, err := closedLoop(ctx, w, meter{driver: rig.OwnCPU, service: s, server: server}, n, p.exchange)
	if err != nil {
		return run{}, s.Explain(err)
	}
	return r, errors.Join(err, s.Forget())
}

// exchanged returns how many exchanges there were, and how many of them did not rotate.
func (p *pool) exchanged() (all, others int) {
	for outcome, n := range p.outcomes {
		all += n
		if outcome != rotated {
			others += n
		}
	}
	return all, others
}

// countsText returns the number of exchanges for each outcome.
func countsText(counts map[string]int) string {
	var parts []string
	for _, outcome := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%d %s", counts[outcome], outcome))
	}
	return strings.Join(parts, ", ")
}
