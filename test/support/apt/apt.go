// Package apt installs missing packages that tests need, as root on Debian and its derivatives. Elsewhere it returns an
// error that names what it lacks; the caller adds what to install.
package apt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// Install installs the distribution's package of that name, unless isInstalled reports that another process has
// installed it in the meantime.
func Install(ctx context.Context, name string, isInstalled func() bool) error {
	if _, err := exec.LookPath("apt-get"); err != nil {
		return errors.New("installing it needs apt-get")
	}
	if os.Geteuid() != 0 {
		return errors.New("installing it needs root")
	}
	// One at a time: `go test` runs several test binaries concurrently, and apt-get update fails if another one runs.
	// Locking a directory that only root can write to leaves no file behind; apt's own locks are of another kind
	// (fcntl).
	lock, err := os.Open("/var/lib/dpkg")
	if err != nil {
		return fmt.Errorf("lock the package manager: %w", err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("lock the package manager: %w", err)
	}
	if isInstalled() {
		return nil
	}
	fmt.Fprintf(os.Stderr, "%s is missing: installing the distribution's package\n", name)
	for _, args := range [][]string{
		{"update", "-q"},
		{"install", "-q", "-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300", name},
	} {
		cmd := exec.CommandContext(ctx, "apt-get", args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("apt-get %s: %w\n%s", args[0], err, out)
		}
	}
	return nil
}
