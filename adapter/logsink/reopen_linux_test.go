package logsink_test

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/refreshd/refreshd/adapter/logsink"
)

// The runtime writes the report of a crash itself. It would wait forever at a full pipe without a reader.
func TestNothingThatWritesToTheDescriptorItselfWaits(t *testing.T) {
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(ends[0])
	shared, err := unix.Dup(ends[1]) // as another process has it
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(shared)
	f := os.NewFile(uintptr(ends[1]), "stderr")
	defer f.Close()
	s := logsink.Standard(f, ends[1], logsink.Limit)
	if got, want := s.Fd(), uintptr(ends[1]); got != want {
		t.Errorf("got descriptor %d, want %d", got, want)
	}
	for {
		if _, err = unix.Write(ends[1], make([]byte, 4096)); err != nil {
			break
		}
	}
	if !errors.Is(err, unix.EAGAIN) {
		t.Errorf("a full pipe: got %v, want EAGAIN", err)
	}
	if flags, err := unix.FcntlInt(uintptr(shared), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK != 0 {
		t.Errorf("the others who have the pipe got another mode: %#x, %v", flags, err)
	}
}
