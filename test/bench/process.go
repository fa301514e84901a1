package main

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

// status is what /proc tells of a process. Where there is no /proc, everything is zero, and the report shows no figure.
type status struct {
	name     string
	parent   int
	cpu      time.Duration // its own
	children time.Duration // of those that ended and were waited for
}

// parseStat reads /proc/PID/stat. The name, in brackets, may hold anything.
func parseStat(text string) (s status, err error) {
	open, end := strings.IndexByte(text, '('), strings.LastIndexByte(text, ')')
	if open < 0 || end < open {
		return s, fmt.Errorf("no name in %q", text)
	}
	s.name = text[open+1 : end]
	fields := strings.Fields(text[end+1:]) // the first is the third of proc(5)
	if len(fields) < 15 {
		return s, fmt.Errorf("too few fields in %q", text)
	}
	var n [15]int64
	for _, i := range []int{1, 11, 12, 13, 14} {
		if n[i], err = strconv.ParseInt(fields[i], 10, 64); err != nil {
			return s, err
		}
	}
	s.parent = int(n[1])
	s.cpu, s.children = time.Duration(n[11]+n[12])*tick, time.Duration(n[13]+n[14])*tick
	return s, nil
}

func processStatus(pid int) (status, bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return status{}, false
	}
	s, err := parseStat(string(text))
	return s, err == nil
}

// treeCPU is what a process and its children used, those that ended too.
func treeCPU(pid int) time.Duration {
	root, ok := processStatus(pid)
	if !ok {
		return 0
	}
	total := root.cpu + root.children
	entries, _ := filepath.Glob("/proc/[0-9]*")
	for _, entry := range entries {
		child, err := strconv.Atoi(filepath.Base(entry))
		if err != nil {
			continue
		}
		if s, ok := processStatus(child); ok && s.parent == pid {
			total += s.cpu
		}
	}
	return total
}

// memory is a line of /proc/PID/status, such as VmRSS or VmHWM, in MiB.
func memory(pid int, line string) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := bytes.Cut(text, []byte("\n"+line+":"))
	kib, _, _ := bytes.Cut(rest, []byte(" kB"))
	n, _ := strconv.ParseFloat(string(bytes.TrimSpace(kib)), 64)
	return n / 1024
}

// ownCPU is what this process used, to the microsecond.
func ownCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// machine is how long all processors together have run, and how much of that they had nothing to do.
type machine struct{ total, idle time.Duration }

// parseMachine reads the first line of /proc/stat: user, nice, system, idle, iowait, irq, softirq and steal, in ticks.
func parseMachine(text string) (m machine, err error) {
	first, _, _ := strings.Cut(text, "\n")
	fields := strings.Fields(first)
	if len(fields) < 9 || fields[0] != "cpu" {
		return m, fmt.Errorf("%q does not tell of the processors", first)
	}
	for i, field := range fields[1:9] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return m, err
		}
		m.total += time.Duration(n) * tick
		if i == 3 || i == 4 {
			m.idle += time.Duration(n) * tick
		}
	}
	return m, nil
}

func readMachine() machine {
	text, _ := os.ReadFile("/proc/stat")
	m, _ := parseMachine(string(text))
	return m
}
