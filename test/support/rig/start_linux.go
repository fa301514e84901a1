package rig

import (
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// starts are run on one thread that never ends, because Linux sends the parent death signal when the thread ends that
// started the child.
var starts = sync.OnceValue(func() chan<- func() {
	c := make(chan func())
	go func() {
		runtime.LockOSThread()
		for start := range c {
			start()
		}
	}()
	return c
})

// start starts a process that is killed when this process ends, however it ends.
func start(c *exec.Cmd) error {
	// In a group of its own, so that Ctrl-C on a terminal does not reach it: this process stops it by SIGTERM.
	if c.SysProcAttr == nil {
		c.SysProcAttr = &syscall.SysProcAttr{}
	}
	c.SysProcAttr.Setpgid, c.SysProcAttr.Pdeathsig = true, syscall.SIGKILL
	started := make(chan error)
	starts() <- func() { started <- c.Start() }
	return <-started
}
