package postgres

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// slowDisk is a library that PostgreSQL is started with: each flush of its log takes longer, as on a disk of the
// network or with a synchronous standby. It is preloaded, because a delay of the device needs more than a container
// has. Checkpoints, which flush with fsync, are not delayed.
const slowDisk = `
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

int fdatasync(int fd) {
	int (*flush)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
	const char *text = getenv("` + flushVariable + `");
	long microseconds = text ? atol(text) : 0;
	struct timespec delay = {microseconds / 1000000, microseconds % 1000000 * 1000};
	int result = flush(fd);
	nanosleep(&delay, 0);
	return result;
}
`

const flushVariable = "REFRESHD_TEST_FLUSH_MICROSECONDS"

// slowFlush returns the environment of a server whose flushes take d longer, and a function that removes the library.
// It needs gcc.
func slowFlush(ctx context.Context, d time.Duration) (environ []string, remove func() error, err error) {
	dir, err := os.MkdirTemp("/tmp", "refreshd-slowdisk-") // as in newKeeper
	if err != nil {
		return nil, nil, err
	}
	remove = func() error { return os.RemoveAll(dir) }
	source, library := filepath.Join(dir, "slowdisk.c"), filepath.Join(dir, "slowdisk.so")
	if err = os.Chmod(dir, 0o755); err == nil {
		err = os.WriteFile(source, []byte(slowDisk), 0o600)
	}
	if err == nil {
		var out []byte
		if out, err = exec.CommandContext(ctx, "gcc", "-shared", "-fPIC", "-O2", "-o", library, source, "-ldl").
			CombinedOutput(); err != nil {
			err = fmt.Errorf("postgres: build the library that delays flushes: %w: %s", err, out)
		}
	}
	if err != nil {
		_ = remove()
		return nil, nil, err
	}
	return []string{"LD_PRELOAD=" + library, fmt.Sprintf("%s=%d", flushVariable, d.Microseconds())}, remove, nil
}
