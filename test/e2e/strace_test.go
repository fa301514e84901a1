package e2e_test

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/refreshd/refreshd/test/support/apt"
	"github.com/refreshd/refreshd/test/support/short"
)

// strace returns the path of strace. Only the kernel sees what a process asks of its disk, and in which order with its
// responses; and only there can a write fail without a file system of the test's own. strace is installed if it is
// missing and that is possible, otherwise the test fails; `go test -short` leaves it out.
func strace(t *testing.T) string {
	t.Helper()
	short.LeaveOut(t, "strace")
	path, err := exec.LookPath("strace")
	if err == nil {
		return path
	}
	err = apt.Install(t.Context(), "strace", func() bool { _, err := exec.LookPath("strace"); return err == nil })
	if err == nil {
		path, err = exec.LookPath("strace")
	}
	if err != nil {
		t.Fatalf("this test needs strace: install it (Debian, Ubuntu: apt-get install strace; "+
			"Fedora: dnf install strace): %v", err)
	}
	return path
}

// onDisk are the system calls that change files, including those that the model of the disk does not support, so that
// it can report them.
const onDisk = "open,openat,openat2,creat,close,write,writev,pwrite64,pwritev,pwritev2,truncate,ftruncate," +
	"fallocate,fsync,fdatasync,sync_file_range,sync,syncfs,unlink,unlinkat,rename,renameat,renameat2,link,linkat," +
	"symlink,symlinkat,mkdir,mkdirat,rmdir," +
	"dup,dup2,dup3,copy_file_range,sendfile,splice,io_uring_setup,mmap"

// underStrace makes cmd run under strace with args. The process stays a child of the test, and strace is a grandchild,
// so that signals and the exit status are the process's own. Wait returns when strace has written everything.
func underStrace(t *testing.T, cmd *exec.Cmd, args ...string) (wait func() string) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "trace")
	program := strace(t)
	cmd.Args = slices.Concat([]string{program, "-D", "-f", "--seccomp-bpf", "-o", out}, args, []string{cmd.Path},
		cmd.Args[1:])
	cmd.Path = program
	return func() string {
		t.Helper()
		ended := regexp.MustCompile(`(?m)^` + strconv.Itoa(cmd.Process.Pid) + ` +\+\+\+ (exited|killed) `)
		eventually(t, "strace ended", func() bool {
			text, err := os.ReadFile(out)
			if err != nil || len(text) == 0 {
				return false
			}
			return ended.Match(text[max(0, len(text)-8192):])
		})
		return out
	}
}

// syscallEvent is the beginning or the return of a system call that succeeded or was running, as strace saw it.
type syscallEvent struct {
	name     string
	args     []string // strings decoded, the rest as strace writes it
	result   string   // empty until it returns
	returned bool
}

var (
	straceLine   = regexp.MustCompile(`^(\d+) +(?:<\.\.\. (\w+) resumed>|(\w+)\()(.*)$`)
	straceResult = regexp.MustCompile(`^(.*)\) += (\S+).*$`)
	// Signals and ends; and ???(, which strace writes for a thread that was killed before it could read which call the
	// thread was about to make. The kernel has not begun that call.
	straceIgnored = regexp.MustCompile(`^\d+ +(?:---|\+\+\+|\?\?\?\()`)
)

// readTrace calls each with strace's output, in the order in which the calls began and returned.
func readTrace(t *testing.T, path string, each func(e syscallEvent)) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewReaderSize(f, 1<<20)
	underWay := map[string]syscallEvent{}
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimSuffix(line, "\n")
		if straceIgnored.MatchString(line) {
			continue
		}
		m := straceLine.FindStringSubmatch(line)
		if m == nil {
			t.Fatalf("strace wrote a line that the test cannot read: %.300s", line)
		}
		thread, rest := m[1], m[4]
		if m[2] != "" {
			e := underWay[thread]
			delete(underWay, thread)
			r := straceResult.FindStringSubmatch(rest)
			if r == nil || e.name != m[2] {
				continue // it was killed in the call, or the call began before strace did
			}
			e.args = append(e.args, splitArgs(r[1])...)
			e.result, e.returned = r[2], true
			each(e)
			continue
		}
		e := syscallEvent{name: m[3]}
		if begun, ok := strings.CutSuffix(rest, " <unfinished ...>"); ok {
			e.args = splitArgs(begun)
			underWay[thread] = e
			each(e)
			continue
		}
		r := straceResult.FindStringSubmatch(rest)
		if r == nil {
			t.Fatalf("strace wrote a line that the test cannot read: %.300s", line)
		}
		e.args = splitArgs(r[1])
		each(e)
		e.result, e.returned = r[2], true
		each(e)
	}
}

// splitArgs decodes strings, which -xx writes as "\x2f…", so they contain no comma.
func splitArgs(s string) (args []string) {
	for arg := range strings.SplitSeq(s, ",") {
		arg = strings.TrimSpace(arg)
		if arg == "" {
			continue
		}
		if quoted, ok := strings.CutPrefix(arg, `"`); ok {
			text, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSuffix(quoted, `"`), `\x`, ""))
			if err != nil {
				panic(fmt.Sprintf("strace cut a string: %.100s", arg))
			}
			arg = string(text)
		}
		args = append(args, arg)
	}
	return args
}

func TestATraceOfAKilledThreadIsRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trace")
	text := "7 fsync(3) = 0\n8 ???( <unfinished ...>\n8 +++ killed by SIGKILL +++\n7 close(3 <unfinished ...>\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var got []string
	readTrace(t, path, func(e syscallEvent) { got = append(got, fmt.Sprint(e.name, e.args, e.returned)) })
	if want := []string{"fsync[3] false", "fsync[3] true", "close[3] false"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
