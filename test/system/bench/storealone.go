package main

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/refreshd/refreshd/adapter/gormstore"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/test/support/rig"
)

// storeCallers call a store without a service: the single call of the use case, and nothing more. They run in this
// process, so the processor time of the store counts as the driver's.
type storeCallers struct {
	store       *gormstore.Store
	ids         []domain.ID
	generations []uint32
}

func newStoreCallers(ctx context.Context, s *gormstore.Store, users []*user) (*storeCallers, error) {
	c := &storeCallers{store: s, generations: make([]uint32, len(users))}
	for _, u := range users {
		id, ok := domain.ParseID(u.id)
		if !ok {
			return nil, errors.New("the service responded with a malformed id: " + u.id)
		}
		c.ids = append(c.ids, id)
	}
	return c, c.read(ctx)
}

// read reads the generations again, after another variant has rotated.
func (c *storeCallers) read(ctx context.Context) error {
	for i, id := range c.ids {
		shot, err := c.store.Snapshot(ctx, id)
		if err != nil {
			return err
		}
		c.generations[i] = shot.Token.Generation
	}
	return nil
}

func (c *storeCallers) advance(ctx context.Context, i int) error {
	t, _, err := c.store.Advance(ctx, c.ids[i], domain.Call{
		Generation: c.generations[i], Now: time.Now().UTC().Truncate(time.Microsecond), ClientAddress: "127.0.0.1",
	})
	if err == nil && t.Generation != c.generations[i]+1 {
		err = errors.New("the store alone: the refresh token was not rotated")
	}
	c.generations[i]++
	return err
}

func (c *storeCallers) run(ctx context.Context, w window, s *server, n int) (run, error) {
	if err := c.read(ctx); err != nil {
		return run{}, err
	}
	return closedLoop(ctx, w, meter{driver: rig.OwnCPU, server: s}, n, func(i int) error { return c.advance(ctx, i) })
}

// exchangeStatement returns the statement of the store for an exchange. The store logs each statement, without values.
func exchangeStatement(
	ctx context.Context, open func(context.Context, gormstore.Options) (*gormstore.Store, error),
) (string, error) {
	var seen statements
	s, err := open(ctx, gormstore.Options{Logger: slog.New(&seen)})
	if err != nil {
		return "", err
	}
	_, _, err = s.Advance(ctx, domain.ID{1}, domain.Call{Generation: 1, Now: time.Now()})
	if err = errors.Join(s.Close(), unless(err, domain.ErrConflict)); err != nil {
		return "", err
	}
	for _, text := range seen {
		if strings.HasPrefix(strings.TrimSpace(text), "UPDATE refresh_tokens") {
			return text, nil
		}
	}
	return "", errors.New("the store logged no statement that exchanges")
}

func unless(err, expected error) error {
	if errors.Is(err, expected) {
		return nil
	}
	return err
}

// statements is a slog.Handler that keeps the texts of statements.
type statements []string

func (s *statements) Enabled(context.Context, slog.Level) bool { return true }

func (s *statements) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "sql" {
			*s = append(*s, a.Value.String())
		}
		return true
	})
	return nil
}

func (s *statements) WithAttrs([]slog.Attr) slog.Handler { return s }

func (s *statements) WithGroup(string) slog.Handler { return s }
