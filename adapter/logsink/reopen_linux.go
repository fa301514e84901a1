package logsink

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// reopened puts another description of the pipe or terminal behind fd in its place, and returns a file of it; or f,
// where that cannot be done: a socket cannot be opened, a file would lose the offset that it shares, and a pipe may be
// another user's.
func reopened(f *os.File, fd int) *os.File {
	var stat unix.Stat_t
	if unix.Fstat(fd, &stat) != nil {
		return f
	}
	if kind := stat.Mode & unix.S_IFMT; kind != unix.S_IFIFO {
		if _, err := unix.IoctlGetTermios(fd, unix.TCGETS); err != nil {
			return f
		}
	}
	const mode = unix.O_WRONLY | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC
	again, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", fd), mode, 0)
	if err != nil {
		return f
	}
	defer unix.Close(again)
	if unix.Dup3(again, fd, 0) != nil {
		return f
	}
	// f stays as it is: nothing may close fd, and what writes to f now gets an error where it would have waited.
	return os.NewFile(uintptr(fd), f.Name())
}
