package e2e_test

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// If the model of the disk kept too much, the other tests would miss a loss.
func TestTheModelOfTheDiskPromisesNoMoreThanPOSIX(t *testing.T) {
	call := func(name, result string, args ...string) []syscallEvent {
		return []syscallEvent{{name: name, args: args}, {name: name, args: args, result: result, returned: true}}
	}
	var (
		create  = call("openat", "3", "AT_FDCWD", "/r/file", "O_RDWR|O_CREAT", "0600")
		write   = call("pwrite64", "3", "3", "abc", "3", "0")
		again   = call("pwrite64", "3", "3", "xyz", "3", "0")
		fsync   = call("fsync", "0", "3")
		failed  = call("fsync", "-1", "3")
		openDir = call("open", "4", "/r", "O_RDONLY")
		syncDir = call("fsync", "0", "4")
		unlink  = call("unlink", "0", "/r/file")
	)
	join := func(calls ...[]syscallEvent) (all []syscallEvent) {
		for _, c := range calls {
			all = append(all, c...)
		}
		return all
	}
	begun := []syscallEvent{fsync[0], again[0], again[1], fsync[1]} // a write during an fsync is not part of it
	for name, tt := range map[string]struct {
		calls       []syscallEvent
		worst, best string // -: no file
	}{
		"nothing synced":          {join(create, write), "-", "abc"},
		"the file alone":          {join(create, write, fsync), "-", "abc"},
		"the directory alone":     {join(create, write, openDir, syncDir), "", "abc"},
		"both":                    {join(create, write, fsync, openDir, syncDir), "abc", "abc"},
		"an fsync that failed":    {join(create, openDir, syncDir, write, failed), "", "abc"},
		"written again":           {join(create, write, fsync, openDir, syncDir, again), "abc", "xyz"},
		"written during an fsync": {join(create, write, openDir, syncDir, begun), "abc", "xyz"},
		"cut off": {join(create, write, fsync, openDir, syncDir, call("ftruncate", "0", "3", "1")), "abc",
			"a"},
		"deleted":             {join(create, write, fsync, openDir, syncDir, unlink), "abc", "-"},
		"deleted, and synced": {join(create, write, fsync, openDir, unlink, syncDir), "-", "-"},
		"a name that was given on": {join(create, write, fsync, openDir, syncDir,
			call("linkat", "0", "AT_FDCWD", "/r/file", "AT_FDCWD", "/r/b", "0"), unlink, syncDir), "-", "-"},
		"killed in a write":         {join(create, openDir, syncDir, call("pwrite64", "?", "3", "abc", "3", "0")), "", "abc"},
		"a number that comes again": {join(create, openDir, syncDir, call("close", "0", "3"), write), "", ""},
	} {
		for kept, want := range map[float64]string{0: tt.worst, 1: tt.best} {
			d, dir := newDisk("/r"), t.TempDir()
			for _, e := range tt.calls {
				if _, err := d.follow(e); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
			}
			if _, err := d.survive(dir, luck{kept, 0}, rand.New(rand.NewPCG(1, 1))); err != nil {
				t.Fatal(err)
			}
			got := "-"
			if text, err := os.ReadFile(filepath.Join(dir, "file")); err == nil {
				got = string(text)
			}
			if got != want {
				t.Errorf("%s, %.0f %% kept: the file holds %q, want %q", name, 100*kept, got, want)
			}
		}
	}
}
