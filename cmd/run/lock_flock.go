//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package run

import (
	"context"
	"errors"
	"os"
	"syscall"
	"time"
)

// lock waits until this process holds the lock of a directory, and returns the function that releases it. The system
// releases it when the process ends, however it ends: no file remains that a person would have to remove. The function
// is nil, without an error, if the file system has no locks.
func lock(ctx context.Context, dir string) (unlock func(), err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	for {
		switch err := syscall.Flock(int(d.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); {
		case err == nil:
			return func() { d.Close() }, nil
		case errors.Is(err, syscall.EINTR):
			continue
		case !errors.Is(err, syscall.EWOULDBLOCK):
			return nil, d.Close()
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return nil, errors.Join(err, d.Close())
		}
	}
}
