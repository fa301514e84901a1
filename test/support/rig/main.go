package rig

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// Main runs a command until it returns; a signal cancels ctx. It exits with status 1 if the command fails.
func Main(name string, run func(ctx context.Context, args []string) error) {
	ctx, stop := untilSignal(context.Background(), os.Stdout, os.Stderr)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, name+":", err)
		os.Exit(1)
	}
}

// untilSignal returns a context that a signal to end cancels, and also SIGPIPE if an output has no reader any more.
// Otherwise that signal would end the program before it stops its processes. A connection that was cut raises the same
// signal, which is ignored: these programs cut connections.
func untilSignal(parent context.Context, output ...*os.File) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(parent, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	ctx, cancel := context.WithCancel(ctx)
	pipes := make(chan os.Signal, 1)
	signal.Notify(pipes, syscall.SIGPIPE)
	go func() {
		for {
			select {
			case <-pipes:
				if slices.ContainsFunc(output, isUnread) {
					cancel()
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return ctx, func() { signal.Stop(pipes); cancel(); stop() }
}

// isUnread reports whether f is a pipe without a reader.
func isUnread(f *os.File) bool {
	fds := []unix.PollFd{{Fd: int32(f.Fd())}}
	_, err := unix.Poll(fds, 0)
	return err == nil && fds[0].Revents&unix.POLLERR != 0
}
