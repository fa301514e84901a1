package rig

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// tick is the unit of CPU times in /proc: USER_HZ, which is 100 on every architecture that Go runs on.
const tick = 10 * time.Millisecond

// Process is a process as /proc describes it. Without /proc, everything in this file is zero.
type Process struct {
	Name     string
	Parent   int
	CPU      time.Duration // processor time of the process itself
	Children time.Duration // processor time of its children that ended and were waited for
	Threads  int
}

// parseStat parses /proc/PID/stat. The name, in brackets, may contain any character.
func parseStat(text string) (p Process, err error) {
	open, end := strings.IndexByte(text, '('), strings.LastIndexByte(text, ')')
	if open < 0 || end < open {
		return p, fmt.Errorf("no name in %q", text)
	}
	p.Name = text[open+1 : end]
	fields := strings.Fields(text[end+1:]) // the first one is field 3 of proc(5)
	if len(fields) < 18 {
		return p, fmt.Errorf("too few fields in %q", text)
	}
	var n [18]int64
	for _, i := range []int{1, 11, 12, 13, 14, 17} {
		if n[i], err = strconv.ParseInt(fields[i], 10, 64); err != nil {
			return p, err
		}
	}
	p.Parent, p.Threads = int(n[1]), int(n[17])
	p.CPU, p.Children = time.Duration(n[11]+n[12])*tick, time.Duration(n[13]+n[14])*tick
	return p, nil
}

// ReadProcess reads a process. It returns false if there is no such process.
func ReadProcess(pid int) (Process, bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Process{}, false
	}
	p, err := parseStat(string(text))
	return p, err == nil
}

// TreeCPU returns the processor time of a process and its children, including those that ended.
func TreeCPU(pid int) time.Duration {
	root, ok := ReadProcess(pid)
	if !ok {
		return 0
	}
	total := root.CPU + root.Children
	entries, _ := filepath.Glob("/proc/[0-9]*")
	for _, entry := range entries {
		child, err := strconv.Atoi(filepath.Base(entry))
		if err != nil {
			continue
		}
		if p, ok := ReadProcess(child); ok && p.Parent == pid {
			total += p.CPU
		}
	}
	return total
}

// Memory returns a line of /proc/PID/status, such as VmRSS or VmHWM, in MiB.
func Memory(pid int, line string) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := bytes.Cut(text, []byte("\n"+line+":"))
	kib, _, _ := bytes.Cut(rest, []byte(" kB"))
	n, _ := strconv.ParseFloat(string(bytes.TrimSpace(kib)), 64)
	return n / 1024
}

// OwnCPU returns the processor time of this process, to the microsecond.
func OwnCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// Machine is the sum of the time of all processors, and the idle part of it.
type Machine struct{ Total, Idle time.Duration }

// parseMachine parses the first line of /proc/stat: user, nice, system, idle, iowait, irq, softirq and steal, in ticks.
func parseMachine(text string) (m Machine, err error) {
	first, _, _ := strings.Cut(text, "\n")
	fields := strings.Fields(first)
	if len(fields) < 9 || fields[0] != "cpu" {
		return m, fmt.Errorf("%q is not the line of the processors", first)
	}
	for i, field := range fields[1:9] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return m, err
		}
		m.Total += time.Duration(n) * tick
		if i == 3 || i == 4 {
			m.Idle += time.Duration(n) * tick
		}
	}
	return m, nil
}

// ReadMachine reads the times of the processors.
func ReadMachine() Machine {
	text, _ := os.ReadFile("/proc/stat")
	m, _ := parseMachine(string(text))
	return m
}
