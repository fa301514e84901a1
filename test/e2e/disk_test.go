package e2e_test

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// disk is a model of what a power cut leaves of a directory. It follows system calls, and promises only what POSIX
// does: the content of a file at the beginning of an fsync is on the disk once that has returned, and a name once the
// fsync of its directory has. Everything else is unspecified, and survive chooses. Many file systems promise more, but
// a service must not depend on it.
type disk struct {
	root  string // the directory, which existed before
	cwd   string
	open  map[string]*inode // by file descriptor
	names map[string]*name  // by path
	begun map[string]int    // running fsyncs, by thread and descriptor: the writes when it began

	writes, syncs int // for the figures
}

// inode is a file or a directory.
type inode struct {
	path    string // at its creation
	isDir   bool
	synced  []byte // the content that survives a power cut
	pending []change
}

// change is a write, or, if data is nil, a truncation to at.
type change struct {
	at   int64
	data []byte
}

// name is an entry of a directory: its state at the last sync, and all states since.
type name struct {
	synced *inode
	since  []*inode
}

func (n *name) now() *inode {
	if len(n.since) > 0 {
		return n.since[len(n.since)-1]
	}
	return n.synced
}

func newDisk(root string) *disk {
	names := map[string]*name{root: {synced: &inode{path: root, isDir: true}}}
	return &disk{root: root, cwd: root, open: map[string]*inode{}, names: names, begun: map[string]int{}}
}

// reboot forgets the descriptors of a process that ended. Its unsynced writes are still in the kernel.
func (d *disk) reboot() { d.open, d.begun = map[string]*inode{}, map[string]int{} }

var errUnknownCall = errors.New("the model of the disk does not know this system call: teach it")

// follow applies e to the disk. changed is the path for which a power cut now can have another result than before e.
func (d *disk) follow(e syscallEvent) (changed string, err error) {
	// A call whose result is unknown was interrupted by a kill. A write may still have been done; if not, the next
	// process overwrites the same range.
	killed := e.result == "?"
	failed := strings.HasPrefix(e.result, "-") || killed && e.name != "write" && e.name != "pwrite64"
	switch e.name {
	case "close":
		// The descriptor is free before the call returns.
		if !e.returned {
			delete(d.open, e.args[0])
		}
		return "", nil
	case "fsync", "fdatasync":
		file := d.open[e.args[0]]
		switch {
		case file == nil:
			return "", nil
		case !e.returned:
			d.begun[e.args[0]] = len(file.pending)
			return "", nil
		case !failed:
			d.sync(file, d.begun[e.args[0]])
		}
		return file.path, nil
	}
	if !e.returned || failed {
		return "", nil
	}
	switch e.name {
	case "open", "creat":
		return d.opened(e.args[0], e.args[1:], e.result)
	case "openat", "openat2":
		return d.opened(e.args[1], e.args[2:], e.result)
	case "write", "pwrite64":
		file := d.open[e.args[0]]
		if file == nil {
			return "", nil
		}
		n, err := strconv.Atoi(e.result)
		if killed {
			n, err = len(e.args[1]), nil
		}
		if err != nil {
			return "", err
		}
		at := int64(len(file.now()))
		if e.name == "pwrite64" {
			if at, err = strconv.ParseInt(e.args[3], 10, 64); err != nil {
				return "", err
			}
		}
		file.pending = append(file.pending, change{at, []byte(e.args[1][:n])})
		d.writes++
		return file.path, nil
	case "ftruncate":
		file := d.open[e.args[0]]
		if file == nil {
			return "", nil
		}
		size, err := strconv.ParseInt(e.args[1], 10, 64)
		file.pending = append(file.pending, change{at: size})
		return file.path, err
	case "unlink":
		return d.renamed(e.args[0], nil), nil
	case "unlinkat":
		return d.renamed(e.args[1], nil), nil
	case "linkat":
		if from := d.names[d.abs(e.args[1])]; from != nil {
			return d.renamed(e.args[3], from.now()), nil
		}
		return "", nil
	case "mkdir":
		return d.renamed(e.args[0], &inode{path: d.abs(e.args[0]), isDir: true}), nil
	case "mkdirat":
		return d.renamed(e.args[1], &inode{path: d.abs(e.args[1]), isDir: true}), nil
	case "mmap":
		if file := d.open[e.args[4]]; file != nil && strings.Contains(e.args[3], "MAP_SHARED") &&
			!strings.HasSuffix(file.path, "-shm") {
			return "", fmt.Errorf("mmap of a file that has to last: %w", errUnknownCall)
		}
		return "", nil
	case "sendfile", "splice", "copy_file_range":
		return "", nil // to a socket
	}
	for _, arg := range e.args {
		if d.open[arg] != nil || strings.HasPrefix(d.abs(arg), d.root+"/") && d.names[d.abs(arg)] != nil {
			return "", fmt.Errorf("%s(%.200q): %w", e.name, e.args, errUnknownCall)
		}
	}
	return "", nil
}

func (d *disk) abs(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(d.cwd, path)
}

func (d *disk) opened(path string, flags []string, descriptor string) (changed string, err error) {
	path = d.abs(path)
	if path != d.root && !strings.HasPrefix(path, d.root+"/") {
		return "", nil
	}
	if d.names[path] == nil || d.names[path].now() == nil {
		if len(flags) == 0 || !strings.Contains(flags[0], "O_CREAT") {
			return "", fmt.Errorf("%s is opened, and the model of the disk has not seen it made", path)
		}
		changed = d.renamed(path, &inode{path: path})
	}
	file := d.names[path].now()
	if len(flags) > 0 && strings.Contains(flags[0], "O_TRUNC") {
		file.pending = append(file.pending, change{})
		changed = path
	}
	d.open[descriptor] = file
	return changed, nil
}

// renamed makes path name to, or nothing.
func (d *disk) renamed(path string, to *inode) (changed string) {
	path = d.abs(path)
	if !strings.HasPrefix(path, d.root+"/") {
		return ""
	}
	if d.names[path] == nil {
		d.names[path] = &name{}
	}
	d.names[path].since = append(d.names[path].since, to)
	return path
}

func (d *disk) sync(file *inode, written int) {
	d.syncs++
	if file.isDir {
		for path, n := range d.names {
			if filepath.Dir(path) == file.path {
				n.synced, n.since = n.now(), nil
			}
		}
		return
	}
	for _, c := range file.pending[:written] {
		file.synced = c.apply(file.synced)
	}
	file.pending = slices.Clone(file.pending[written:])
}

func (c change) apply(to []byte) []byte {
	end := c.at + int64(len(c.data))
	if grow := end - int64(len(to)); grow > 0 {
		to = append(to, make([]byte, grow)...)
	}
	if c.data == nil {
		return to[:c.at]
	}
	copy(to[c.at:], c.data)
	return to
}

// now returns what a process reads from the file.
func (i *inode) now() []byte {
	text := slices.Clone(i.synced)
	for _, c := range i.pending {
		text = c.apply(text)
	}
	return text
}

// luck is how much unsynced data survives a power cut.
type luck struct {
	kept   float64 // the fraction of writes and of names
	sector int     // the size of an atomic write; 0: each write is atomic
}

func (l luck) String() string {
	if l.sector == 0 {
		return fmt.Sprintf("%.0f %% of the writes kept", 100*l.kept)
	}
	return fmt.Sprintf("%.0f %% of the sectors of %d bytes kept", 100*l.kept, l.sector)
}

// lucks are those that are tried. Of two overlapping writes, the earlier may be the one that is kept: so they arrive in
// any order.
var lucks = []luck{{0, 0}, {0.5, 0}, {0.5, 512}, {0.5, 4096}, {0.9, 512}, {0.1, 512}, {0.9, 0}, {1, 0}}

// survive writes to dir what a power cut now would leave, and returns how many writes it dropped.
func (d *disk) survive(dir string, l luck, random *rand.Rand) (dropped int, err error) {
	gone := map[string]bool{}
	for _, path := range slices.Sorted(maps.Keys(d.names)) { // parents first
		n := d.names[path]
		file := n.synced
		if len(n.since) > 0 && random.Float64() < l.kept {
			file = n.since[len(n.since)-1]
			if l.kept < 1 {
				file = n.since[random.IntN(len(n.since))]
			}
		}
		if file == nil || gone[filepath.Dir(path)] || strings.HasSuffix(path, "-shm") { // SQLite creates that one again
			gone[path] = true
			continue
		}
		to := filepath.Join(dir, strings.TrimPrefix(path, d.root))
		if file.isDir {
			if err := os.Mkdir(to, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
				return 0, err
			}
			continue
		}
		text, lost := file.survive(l, random)
		dropped += lost
		if err := os.WriteFile(to, text, 0o600); err != nil {
			return 0, err
		}
	}
	return dropped, nil
}

func (i *inode) survive(l luck, random *rand.Rand) (text []byte, dropped int) {
	text = slices.Clone(i.synced)
	for _, c := range i.pending {
		if l.sector == 0 || c.data == nil {
			if random.Float64() < l.kept {
				text = c.apply(text)
			} else {
				dropped++
			}
			continue
		}
		torn := false
		for at := c.at; at < c.at+int64(len(c.data)); {
			end := min(c.at+int64(len(c.data)), (at/int64(l.sector)+1)*int64(l.sector))
			if random.Float64() < l.kept {
				text = change{at, c.data[at-c.at : end-c.at]}.apply(text)
			} else {
				torn = true
				if random.IntN(2) == 0 && end > int64(len(text)) { // the size was written and the data was not
					text = append(text, make([]byte, end-int64(len(text)))...)
				}
			}
			at = end
		}
		if torn {
			dropped++
		}
	}
	return text, dropped
}
