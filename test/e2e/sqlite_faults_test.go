package e2e_test

import (
	"bytes"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/refreshd/refreshd/test/support/rig"
	"github.com/refreshd/refreshd/test/support/short"
)

// smallDisk returns a file system of its own, if mounting is permitted; root in a container often may not. Otherwise
// strace causes the errors, which the service cannot distinguish.
func smallDisk(t *testing.T) (dir string, mounted bool) {
	t.Helper()
	dir = t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "mode=0700,size=8m", "tmpfs",
		dir).CombinedOutput(); err != nil {
		t.Logf("strace makes the disk's errors: mounting a small one is not permitted: %v: %s", err, out)
		return dir, false
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", "-l", dir).CombinedOutput(); err != nil {
			t.Errorf("umount %s: %v: %s", dir, err, out)
		}
	})
	return dir, true
}

func remount(t *testing.T, dir, option string) {
	t.Helper()
	if out, err := exec.Command("mount", "-o", "remount,"+option, dir).CombinedOutput(); err != nil {
		t.Fatalf("remount %s: %v: %s", dir, err, out)
	}
}

// failing makes these system calls fail from the start, or only for path if that is given.
func failing(t *testing.T, calls, errno, path string) settings {
	args := []string{"-e", "trace=" + calls, "-e", "inject=" + calls + ":error=" + errno}
	if path != "" {
		args = append(args, "-P", path)
	}
	return settings{under: func(cmd *exec.Cmd) { underStrace(t, cmd, args...) }}
}

// fill fills the disk of dir until free is called.
func fill(t *testing.T, dir string) (free func()) {
	t.Helper()
	path := filepath.Join(dir, "ballast")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for block := make([]byte, 1<<16); len(block) > 0; {
		if _, err := f.Write(block); errors.Is(err, syscall.ENOSPC) {
			block = block[:len(block)/2]
		} else if err != nil {
			t.Fatal(err)
		}
	}
	return func() {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// fails makes these system calls of the running service fail, until mend is called.
func (v *service) fails(calls, errno string) (mend func()) {
	v.t.Helper()
	cmd := exec.Command(strace(v.t), "-f", "-o", os.DevNull, "-e", "trace="+calls, "-e", "inject="+calls+":error="+errno,
		"-p", fmt.Sprint(v.process.PID()))
	said, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		v.t.Fatal(err)
	}
	line := make([]byte, 4096)
	n, _ := said.Read(line)
	go io.Copy(io.Discard, said)
	if !bytes.Contains(line[:n], []byte("attached")) {
		cmd.Process.Kill()
		cmd.Wait()
		v.t.Fatalf("strace may not attach to a process: run this test as root, in a container with --cap-add SYS_PTRACE: %s",
			line[:n])
	}
	ended := false
	mend = func() {
		if !ended {
			ended = true
			cmd.Process.Signal(syscall.SIGTERM)
			cmd.Wait()
		}
	}
	v.t.Cleanup(mend)
	return mend
}

// trouble runs users that exchange, causes the fault, expects 503s and no other refusal, ends the fault, and expects
// the users to continue, on the same process.
func trouble(t *testing.T, v *service, refusals int64, make func() (mend func()), says ...string) {
	t.Helper()
	crowd, l, stop := v.crowd(t, 8)
	defer stop()
	goOn := func(what string, n int64, count func() int64) time.Duration {
		t.Helper()
		begin, target := time.Now(), count()+n
		v.await(what, func() bool { return count() >= target || l.failed.Load() != nil })
		return time.Since(begin)
	}
	goOn("answering", 100, l.answered.Load)
	mend := make()
	first := goOn("out of order", refusals, l.unavailable.Load)
	if a := v.mustDo(t, call{method: "GET", path: "/healthz"}); a.status != http.StatusOK {
		t.Errorf("the process lives, and says %s", a)
	}
	mend()
	again := goOn("answering again", 100, l.answered.Load)
	stop()
	if failed := l.failed.Load(); failed != nil {
		t.Fatal(*failed)
	}
	v.holds(t, crowd, l)
	for _, word := range append(says, v.database.path()) {
		v.await("saying "+word, func() bool { return strings.Contains(v.process.Log(), word) })
	}
	t.Logf("%d users, %d exchanges answered, %d answered 503 (the first %d after %s), the next 100 answered %s after "+
		"the end of it", len(crowd), l.answered.Load(), l.unavailable.Load(), refusals,
		first.Round(time.Millisecond), again.Round(time.Millisecond))
}

// on returns an empty database on a file system of its own.
func on(t *testing.T, dir string) database {
	t.Helper()
	d := newDatabase(t, sqlite)
	d.url = "sqlite:" + filepath.Join(dir, "data", "refreshd.db")
	return d
}

// refuses checks that serve ends by itself, with each of words in a few lines, and leaves every file unchanged.
func refuses(t *testing.T, d database, s settings, words ...string) {
	t.Helper()
	before := contents(t, d)
	got := runVerb(t, d, s, "serve")
	if got.Status != 1 { // one that keeps running is killed, and has another
		t.Errorf("serve ended with status %d: %s", got.Status, got)
	}
	for _, word := range append(words, d.path()) {
		if !strings.Contains(got.Stderr, word) {
			t.Errorf("it does not say %q: %s", word, got.Stderr)
		}
	}
	if lines := strings.Count(strings.TrimSpace(got.Stderr), "\n"); lines > 6 ||
		strings.Contains(got.Stderr, "goroutine ") {
		t.Errorf("that is not a clear refusal: %s", got)
	}
	after := contents(t, d)
	for path, text := range before {
		if after[path] != text {
			t.Errorf("%s changed, from %d bytes to %d", path, len(text), len(after[path]))
		}
	}
	for path, text := range after {
		if _, there := before[path]; !there && len(text) > 0 {
			t.Errorf("%s is new, with %d bytes", path, len(text))
		}
	}
	t.Log(strings.TrimSpace(got.Stderr))
}

// contents returns the files of d except -shm, which SQLite creates again.
func contents(t *testing.T, d database) map[string]string {
	t.Helper()
	all := map[string]string{}
	paths, err := filepath.Glob(filepath.Join(filepath.Dir(d.path()), "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && !strings.HasSuffix(path, "-shm") {
			all[path] = read(t, path)
		}
	}
	return all
}

func TestAFullDiskIsNeverARefusal(t *testing.T) {
	disk, mounted := smallDisk(t)
	d := on(t, disk)
	v := start(t, d, settings{expectsErrors: true})
	full, starts := func() func() { return fill(t, disk) }, settings{}
	if !mounted {
		full, starts = func() func() { return v.fails("pwrite64,ftruncate", "ENOSPC") }, failing(t, "pwrite64,ftruncate",
			"ENOSPC", "")
	}
	trouble(t, v, 16, full, "the disk is full")
	v.Stop()
	if mounted {
		defer fill(t, disk)()
	}
	refuses(t, on(t, filepath.Join(disk, "another")), starts, "the disk is full")
	refuses(t, d, starts, "the disk is full")
}

func TestAReadOnlyDatabaseIsAClearError(t *testing.T) {
	disk, mounted := smallDisk(t)
	d := on(t, disk)
	v := start(t, d, settings{expectsErrors: true})
	trouble(t, v, 16, func() func() { return v.fails("pwrite64,ftruncate,fsync", "EROFS") }, "the disk failed")
	trouble(t, v, 16, func() func() { return v.fails("fsync", "EIO") }, "the disk failed")
	v.Stop()
	starts := settings{}
	if mounted {
		remount(t, disk, "ro")
		defer remount(t, disk, "rw")
	} else {
		starts = failing(t, "openat,open", "EROFS", d.path())
	}
	refuses(t, d, starts, "read-only file system", "needs write permission")
	if !mounted {
		starts = failing(t, "mkdirat", "EROFS", "")
	}
	refuses(t, on(t, filepath.Join(disk, "another")), starts, "read-only file system", "needs write permission")
}

// Root ignores permissions, so the program runs as another user (nobody).
func TestADatabaseThatMayNotBeWrittenIsAClearError(t *testing.T) {
	const nobody = 65534
	dir, err := os.MkdirTemp("", "refreshd-e2e-nobody-") // readable by all users, unlike those of package testing
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	d := on(t, dir)
	d.dir = dir
	s := settings{program: rig.Program{Path: filepath.Join(dir, "refreshd")}, under: func(cmd *exec.Cmd) {
		if os.Geteuid() == 0 {
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		}
	}}
	data := filepath.Dir(d.path())
	text := read(t, program.Path)
	may := func(path string, mode os.FileMode) {
		t.Helper()
		err := os.Chmod(path, mode)
		if os.Geteuid() == 0 {
			err = errors.Join(err, os.Chown(path, nobody, nobody))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.WriteFile(s.program.Path, []byte(text), 0o700), os.Mkdir(data, 0o700)); err != nil {
		t.Fatal(err)
	}
	may(s.program.Path, 0o755)
	may(dir, 0o755)
	may(data, 0o555)
	refuses(t, d, s, "permission denied", "needs write permission")
	may(data, 0o755)
	s.noKickstart = true
	v := start(t, d, s)
	v.Stop()
	may(data, 0o555)
	refuses(t, d, s, "needs write permission")
	may(data, 0o755)
	may(d.path(), 0o444)
	refuses(t, d, s, "permission denied", "needs write permission")
	may(d.path(), 0o600)
	v.run()
}

func TestALockedDatabaseIsAClearError(t *testing.T) {
	short.LeaveOut(t, "ten seconds")
	t.Parallel() // it waits
	d := newDatabase(t, sqlite)
	v := start(t, d, settings{expectsErrors: true})
	db := d.open(t)
	trouble(t, v, 1, func() func() {
		tx, err := db.BeginTx(t.Context(), nil) // takes the write lock, because of the DSN
		if err != nil {
			t.Fatal(err)
		}
		return func() { _ = tx.Rollback() }
	}, "another process has locked")
	g := v.issue(t, "alice", "shop")
	v.Stop()
	db.Close()
	db, err := sql.Open("sqlite", "file:"+d.path()+"?_pragma=locking_mode(EXCLUSIVE)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	execute(t, db, `UPDATE tenants SET epoch = epoch`)
	// Reading the file here would release this process's locks on it.
	got := runVerb(t, d, settings{}, "serve")
	if got.Status != 1 || !strings.Contains(got.Stderr, "another process has locked") {
		t.Errorf("serve on a locked file: %s", got)
	}
	t.Log(strings.TrimSpace(got.Stderr))
	db.Close()
	v.run()
	v.exchange(t, g.RefreshToken)
}

func TestADamagedDatabaseIsRefusedAndLeftAlone(t *testing.T) {
	good := newDatabase(t, sqlite)
	v := start(t, good, settings{})
	for n := range 40 {
		v.issue(t, fmt.Sprint("user ", n), "shop")
	}
	v.Stop()
	v.run()
	v.issue(t, "alice", "shop")
	v.Kill9() // leaves a log
	other := newDatabase(t, sqlite)
	w := start(t, other, settings{})
	w.issue(t, "alice", "shop")
	w.Kill9()
	write := func(path string, change func(text []byte) []byte) {
		t.Helper()
		text, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, change(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	remove := func(paths ...string) {
		t.Helper()
		for _, path := range paths {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}
	}
	noise := make([]byte, 4096)
	rand.Read(noise)
	for name, tt := range map[string]struct {
		damage func(path string)
		says   []string
	}{
		"garbage": {func(path string) {
			write(path, func([]byte) []byte { return bytes.Repeat([]byte("no database "), 1000) })
		}, []string{"file is not a database", "REFRESHD_DATABASE_URL"}},
		"a garbled header": {func(path string) {
			write(path, func(text []byte) []byte { copy(text, noise[:100]); return text })
		}, []string{"file is not a database"}},
		"cut off, without its log": {func(path string) {
			remove(path + "-wal")
			write(path, func(text []byte) []byte { return text[:len(text)/2] })
		}, []string{"damaged", "restore it from a backup"}},
		"cut off in the middle of a page": {func(path string) {
			remove(path + "-wal")
			write(path, func(text []byte) []byte { return text[:len(text)/2+100] })
		}, []string{"damaged", "restore it from a backup"}},
		"a header alone": {func(path string) {
			remove(path + "-wal")
			write(path, func(text []byte) []byte { return text[:100] })
		}, []string{"damaged"}},
		"noise in the middle": {func(path string) {
			remove(path + "-wal")
			write(path, func(text []byte) []byte {
				for at := 3 * 4096; at < len(text)-4096; at += 4096 {
					copy(text[at:], noise)
				}
				return text
			})
		}, []string{"damaged", "restore it from a backup"}},
		"empty": {func(path string) {
			remove(path + "-wal")
			write(path, func([]byte) []byte { return nil })
		}, []string{"a database was here before", "master.key"}},
		"empty, with its log": {func(path string) {
			write(path, func([]byte) []byte { return nil })
		}, []string{"a database was here before"}},
		"gone, with its log": {func(path string) { remove(path) }, []string{"a database was here before"}},
		"gone, with its log, and the master key elsewhere": {func(path string) {
			remove(path, filepath.Join(filepath.Dir(path), "master.key"))
		}, []string{"its log", "-wal"}},
		"gone": {func(path string) { remove(path, path+"-wal") }, []string{"a database was here before", "refreshd migrate"}},
		"another one's log": {func(path string) {
			write(path+"-wal", func([]byte) []byte { return []byte(read(t, other.path()+"-wal")) })
		}, []string{"belongs to another database"}},
		"a directory": {func(path string) {
			remove(path)
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
		}, []string{"is a directory"}},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDatabase(t, sqlite)
			if err := os.CopyFS(d.dir, os.DirFS(good.dir)); err != nil {
				t.Fatal(err)
			}
			tt.damage(d.path())
			refuses(t, d, settings{}, tt.says...)
			if slices.Contains([]string{"gone", "empty"}, name) {
				if got := runVerb(t, d, settings{}, "migrate"); got.Status != 0 {
					t.Errorf("a new database, when it is asked for: %s", got)
				}
			}
		})
	}
}

// The next start does not find what a service writes to a deleted file.
func TestAServiceWhoseDatabaseWasTakenAwayAnswersNothing(t *testing.T) {
	aside := func(d database) string { return filepath.Join(d.dir, "aside") }
	rename := func(t *testing.T, from, to string) {
		t.Helper()
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	for name, tt := range map[string]struct {
		take, giveBack func(t *testing.T, d database)
	}{
		"the directory is moved": {
			func(t *testing.T, d database) { rename(t, filepath.Dir(d.path()), aside(d)) },
			func(t *testing.T, d database) { rename(t, aside(d), filepath.Dir(d.path())) },
		},
		"the file is moved, and another is there": {
			func(t *testing.T, d database) {
				rename(t, d.path(), aside(d))
				if err := os.WriteFile(d.path(), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			},
			func(t *testing.T, d database) { rename(t, aside(d), d.path()) },
		},
		// The service still has it open, and copies the log into it when it stops.
		"the log is deleted": {
			func(t *testing.T, d database) {
				if err := os.Remove(d.path() + "-wal"); err != nil {
					t.Fatal(err)
				}
			},
			func(*testing.T, database) {},
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDatabase(t, sqlite)
			v := start(t, d, settings{expectsErrors: true})
			crowd, l, stop := v.crowd(t, 8)
			defer stop()
			v.await("answering", func() bool { return l.answered.Load() >= 100 || l.failed.Load() != nil })
			tt.take(t, d)
			v.await("out of order", func() bool { return l.unavailable.Load() >= 16 || l.failed.Load() != nil })
			answered := l.answered.Load()
			v.awaitNotReady(t)
			if _, _, body := get(t, v.Admin+"/readyz"); !strings.Contains(body, d.path()) ||
				!strings.Contains(body, "restart the service") {
				t.Errorf("/readyz of the admin listener: %s", body)
			}
			v.Stop()
			if got := l.answered.Load(); got != answered {
				t.Errorf("%d exchanges were answered after the first was refused", got-answered)
			}
			tt.giveBack(t, d)
			v.run()
			v.await("answering again", func() bool { return l.answered.Load() >= answered+100 || l.failed.Load() != nil })
			stop()
			if failed := l.failed.Load(); failed != nil {
				t.Fatal(*failed)
			}
			v.holds(t, crowd, l)
			t.Logf("%d exchanges answered before, %d answered 503 during the outage, %d in all", answered, l.unavailable.Load(),
				l.answered.Load())
		})
	}
}
