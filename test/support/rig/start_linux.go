package rig

import (
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// starts are run on one thread that never ends, because a parent death signal comes when the thread does that started the child.
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

// start starts what must not outlive this process, however that ends.
func start(c *exec.Cmd) error {
	// A group of its own, so that Ctrl-C on a terminal reaches it through us: in its turn, and by SIGTERM.
	if c.SysProcAttr == nil {
		c.SysProcAttr = &syscall.SysProcAttr{}
	}
	c.SysProcAttr.Setpgid, c.SysProcAttr.Pdeathsig = true, syscall.SIGKILL
	started := make(chan error)
	starts() <- func() { started <- c.Start() }
	return <-started
}
