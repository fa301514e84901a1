package logsink

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// reopened replaces the open file description of fd by a new one of the same pipe or terminal, and returns its file. It
// returns f if that is not possible: a socket cannot be opened again, a file would lose its shared offset, and a pipe
// may belong to another user.
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
	// f is not closed, because that would close fd. A write to f now returns an error where it would have blocked.
	return os.NewFile(uintptr(fd), f.Name())
}
