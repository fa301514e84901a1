package rig

import (
	"errors"
	"net"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"
)

// A program that cuts connections gets SIGPIPE when it writes to one. It has to continue.
func TestACutConnectionEndsNoProgram(t *testing.T) {
	ctx, stop := untilSignal(t.Context(), os.Stdout)
	defer stop()
	raised := make(chan os.Signal, 1)
	signal.Notify(raised, syscall.SIGPIPE)
	defer signal.Stop(raised)

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
		t.Fatalf("a write to a closed connection: got %v, want %v", err, syscall.EPIPE)
	}
	select {
	case <-raised:
	case <-ctx.Done():
	}
	select {
	case <-ctx.Done():
		t.Error("the program ends")
	// No event shows that untilSignal has ignored the signal.
	case <-time.After(100 * time.Millisecond):
	}
}

// SIGPIPE ends a program whose output has no reader.
func TestOutputWithoutAReaderEndsAProgram(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if isUnread(w) {
		t.Error("a pipe with a reader is unread")
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if !isUnread(w) {
		t.Error("a pipe without a reader is read")
	}
	ctx, stop := untilSignal(t.Context(), w)
	defer stop()
	if _, err := w.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
		t.Fatalf("got %v, want %v", err, syscall.EPIPE)
	}
	select {
	case <-ctx.Done():
	case <-time.After(time.Minute): // of a machine that is very busy
		t.Error("the program continues")
	}
}
