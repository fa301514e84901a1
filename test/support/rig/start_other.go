//go:build !linux

package rig

import (
	"os/exec"
	"syscall"
)

// start starts a process that outlives this one where this one is killed: only Linux can tell it in time.
func start(c *exec.Cmd) error {
	if c.SysProcAttr == nil {
		c.SysProcAttr = &syscall.SysProcAttr{}
	}
	c.SysProcAttr.Setpgid = true // as on Linux
	return c.Start()
}
