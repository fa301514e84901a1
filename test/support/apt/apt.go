// Package apt installs what tests need and a machine lacks, where it may: as root on a Debian-like system. Elsewhere its error
// says what stands in the way, and the caller's what to install.
package apt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// Install installs the distribution's package of that name, unless there says that another process has done it meanwhile.
func Install(ctx context.Context, name string, there func() bool) error {
	if _, err := exec.LookPath("apt-get"); err != nil {
		return errors.New("installing it needs apt-get")
	}
	if os.Geteuid() != 0 {
		return errors.New("installing it needs root")
	}
	// One at a time: `go test` runs several test binaries at once, and apt-get update fails if another one runs. Locking
	// a directory that only root can write to leaves no file behind; apt's own locks are of another kind (fcntl).
	lock, err := os.Open("/var/lib/dpkg")
	if err != nil {
		return fmt.Errorf("lock the package manager: %w", err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("lock the package manager: %w", err)
	}
	if there() {
		return nil
	}
	fmt.Fprintf(os.Stderr, "%s is not there: installing the distribution's package\n", name)
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
