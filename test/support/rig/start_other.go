//go:build !linux

package rig

import (
	"os/exec"
	"syscall"
)

// start starts a process that outlives this one if this one is killed: only Linux has a parent death signal.
func start(c *exec.Cmd) error {
	if c.SysProcAttr == nil {
		c.SysProcAttr = &syscall.SysProcAttr{}
	}
	c.SysProcAttr.Setpgid = true // as on Linux
	return c.Start()
}
