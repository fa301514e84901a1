package rig

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Clock is the clock of a process whose program was built with BuildOptions.Clock. At the true time t it shows Base +
// (t-Base)/Every*Jump + Offset, with integer division. It can run faster than the true time, move in jumps, be ahead,
// and, with a Jump of 0, stand still. A clock that runs at the speed of the true time keeps the monotonic reading of
// time.Now, as a clock does that is set: differences of its instants are true, also if it is set between them.
type Clock struct {
	Base                time.Time
	Every, Jump, Offset time.Duration
}

// Ahead returns a clock that is ahead of the true time and runs at its speed.
func Ahead(by time.Duration) Clock {
	return Clock{Base: time.Unix(0, 0), Every: time.Microsecond, Jump: time.Microsecond, Offset: by}
}

// Standing returns a clock that stands still.
func Standing(at time.Time) Clock { return Clock{Base: at, Every: time.Microsecond} }

func (c Clock) String() string {
	return fmt.Sprintf("%d %d %d %d",
		c.Base.UnixMicro(), c.Every.Microseconds(), c.Jump.Microseconds(), c.Offset.Microseconds())
}

// Env returns the environment variable that sets the clock of a process until it ends.
func (c Clock) Env() string { return "RIG_CLOCK=" + c.String() }

// ClockFile returns the environment variable that has a process read its clock from a file each time it reads the time.
// Set writes such a file.
func ClockFile(path string) string { return "RIG_CLOCK_FILE=" + path }

// Set sets the clock of every process that reads it from that file.
func (c Clock) Set(path string) error {
	next := path + ".next"
	if err := os.WriteFile(next, []byte(c.String()), 0o600); err != nil {
		return err
	}
	return os.Rename(next, path)
}

// clockSource is added to a program that is built with a clock. It replaces time.Now in a package. A process without a
// clock in its environment uses the true time.
const clockSource = `package %s

import (
	"fmt"
	"os"
	"time"
	"unsafe"
)

func riggedClock(world func() time.Time) func() time.Time {
	told, file := os.Getenv("RIG_CLOCK"), os.Getenv("RIG_CLOCK_FILE")
	if told == "" && file == "" {
		return world
	}
	read := func(told string) func() time.Time {
		var base, every, jump, offset int64
		if _, err := fmt.Sscanf(told, "%%d %%d %%d %%d", &base, &every, &jump, &offset); err != nil {
			panic("the rig's clock: " + err.Error())
		}
		return func() time.Time {
			t := world()
			shown := time.UnixMicro(base + (t.UnixMicro()-base)/every*jump + offset)
			if every != jump {
				return shown
			}
			return riggedSet(t, shown)
		}
	}
	if file == "" {
		return read(told)
	}
	return func() time.Time {
		text, err := os.ReadFile(file)
		if err != nil {
			panic("the rig's clock: " + err.Error())
		}
		return read(string(text))()
	}
}

// riggedSet returns shown with the monotonic reading of t. Package time has no function for it. In a time with such a
// reading, the first word is a bit, 33 bits of seconds and 30 bits of nanoseconds of the wall clock.
func riggedSet(t, shown time.Time) time.Time {
	const nanoseconds = 1<<30 - 1
	seconds := shown.Unix() - t.Unix()
	wall := (*uint64)(unsafe.Pointer(&t))
	if *wall>>63 == 0 {
		return shown
	}
	*wall = *wall&^nanoseconds | uint64(shown.Nanosecond())
	*wall += uint64(seconds) << 30
	return t
}
`

// nowSource is added to a package besides clockSource, in which riggedNow takes the place of time.Now.
const nowSource = `package %s

import "time"

var riggedNow = riggedClock(time.Now)

func riggedSince(t time.Time) time.Duration { return riggedNow().Sub(t) }

func riggedUntil(t time.Time) time.Duration { return t.Sub(riggedNow()) }
`

// withClock returns o with the changes that make a program take its time from a Clock.
func (o BuildOptions) withClock() BuildOptions {
	o.Clock, o.Files = false, maps.Clone(o.Files)
	if o.Files == nil {
		o.Files = map[string]string{}
	}
	o.Files["cmd/run/rig_clock.go"] = fmt.Sprintf(clockSource, "run")
	// It comes first, so that later changes may change its result.
	put := Change{"cmd/run/wire.go", "clock: time.Now,\n", "clock: riggedClock(time.Now),\n"}
	o.Changes = slices.Concat([]Change{put}, o.Changes)
	return o
}

// clockIn changes the texts of a package below root so that it takes its time from a Clock. It adds to texts the files
// that it changes.
func clockIn(root, dir string, texts map[string]string) error {
	names, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
	if err != nil {
		return err
	}
	for _, name := range names {
		file := dir + "/" + filepath.Base(name)
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, ok := texts[file]
		if !ok {
			b, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			text = string(b)
		}
		rigged := strings.NewReplacer("time.Now", "riggedNow", "time.Since(", "riggedSince(", "time.Until(", "riggedUntil(").
			Replace(text)
		if rigged != text {
			// The package may have been imported for these functions alone.
			texts[file] = rigged + "\nvar _ time.Duration\n"
		}
	}
	texts[dir+"/rig_clock.go"] = fmt.Sprintf(clockSource, filepath.Base(dir))
	texts[dir+"/rig_now.go"] = fmt.Sprintf(nowSource, filepath.Base(dir))
	return nil
}
