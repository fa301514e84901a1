package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/refreshd/refreshd/adapter/cli"
	"github.com/refreshd/refreshd/config"
	"github.com/refreshd/refreshd/usecase"
)

// worker is a task that a service runs beside requests, until its context is done.
type worker struct {
	name string
	// forRequests is true if requests need the worker: it then runs until the last response is sent.
	forRequests bool
	// run returns nil once ctx is done, and not sooner.
	run func(ctx context.Context) error
}

// workers returns the workers of a service. One that must work in a single replica at a time takes a lease from the
// store.
func (s *service) workers(c config.Config, log io.Writer) []worker {
	workers := []worker{
		{name: "key reload", forRequests: true, run: func(ctx context.Context) error {
			return s.readKeys(ctx, hangups(log))
		}},
		// A stream needs both until it ends: a view is as new as the last beat.
		{name: "revocation reader", forRequests: true, run: s.feed.RunReader},
		{name: "revocation stamper", forRequests: true, run: s.feed.RunStamper},
		{name: "refused API keys", forRequests: true, run: s.refused.Run},
		{name: "key rotation", run: s.rotateKeys},
	}
	if c.PurgeInterval > 0 {
		workers = append(workers, worker{name: "purge", run: func(ctx context.Context) error {
			return s.runJanitor(ctx, c)
		}})
	}
	return workers
}

// background is a group of running workers. When one of them fails the service has to stop: a supervisor then starts it
// with all of them.
type background struct {
	// stop ends the workers that no request needs. end ends all.
	stop, end context.CancelFunc
	failed    context.Context // done when a worker has failed, or all have ended
	ended     chan struct{}
}

// begin starts the workers. Those that no request needs end also when ctx is done.
func begin(ctx context.Context, log *slog.Logger, workers []worker) *background {
	all, end := context.WithCancel(context.WithoutCancel(ctx))
	some, stop := context.WithCancel(ctx)
	// If one worker fails, requests need the others until the service has stopped: they do not get this context.
	group, failed := errgroup.WithContext(context.WithoutCancel(ctx))
	for _, w := range workers {
		until := some
		if w.forRequests {
			until = all
		}
		group.Go(func() error { return w.try(until, log) })
	}
	b := &background{stop: stop, end: func() { stop(); end() }, failed: failed, ended: make(chan struct{})}
	go func() {
		defer close(b.ended)
		_ = group.Wait() // the cause of failed
	}()
	return b
}

// try runs the worker, and logs why it failed. A panic is an error: if it ended the process, the running requests would
// be lost.
func (w worker) try(ctx context.Context, log *slog.Logger) (err error) {
	defer func() {
		if crash := recover(); crash != nil {
			err = fmt.Errorf("panic: %v", crash)
			log = log.With("stack", string(debug.Stack()))
		}
		if err != nil {
			log.Error("a background worker failed: the service stops",
				"event", eventWorkerFailed, "worker", w.name, "error", err)
			err = fmt.Errorf("%s: %w", w.name, err)
		}
	}()
	if err := w.run(ctx); err != nil || ctx.Err() != nil {
		return err
	}
	return errors.New("it ended by itself")
}

// wait returns when all workers have ended or ctx is done: a call of the store may last longer than its context. As
// after a crash, the next process does the rest of the work. It returns the error of a worker that failed.
func (b *background) wait(ctx context.Context) error {
	select {
	case <-b.ended:
	case <-ctx.Done():
	}
	if err := context.Cause(b.failed); err != context.Canceled { // not wrapped: all have ended well
		return err
	}
	return nil
}

// hangups receives SIGHUP, which has a service read its keys again. On a terminal it has another meaning, see Main.
func hangups(log io.Writer) <-chan os.Signal {
	received := make(chan os.Signal, 1)
	if !cli.IsTerminal(log) {
		signal.Notify(received, syscall.SIGHUP)
	}
	return received
}

// readKeys keeps the known keys up to date until ctx is done. It reads immediately after a value on hangup. It does not
// stop while the store is down, and logs that once.
func (s *service) readKeys(ctx context.Context, hangup <-chan os.Signal) error {
	ticker := time.NewTicker(usecase.KeyReadInterval)
	defer ticker.Stop()
	failing := false
	for asked := false; ; asked = false {
		select {
		case <-ctx.Done():
			return nil
		case <-hangup:
			asked = true
		case <-ticker.C:
		}
		err := s.readKeysOnce(ctx)
		if err != nil && ctx.Err() != nil {
			return nil
		}
		switch {
		case err != nil && (!failing || asked):
			s.log.Warn("changes of keys cannot be read; nothing is signed or verified until they can, "+
				"key sets are published as known", "event", eventKeysReloadFailed, "error", err)
		case err == nil && asked:
			s.log.Info("SIGHUP: the keys were read again; the configuration is read at start only",
				"event", eventKeysReloaded)
		case err == nil && failing:
			s.log.Info("changes of keys are read again", "event", eventKeysReloaded)
		}
		failing = err != nil
	}
}

func (s *service) readKeysOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return s.keys.Reload(ctx)
}
