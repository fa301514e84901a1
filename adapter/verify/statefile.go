package verify

import (
	"bufio"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"time"
)

// A state file has the facts and the cursor of one moment: the facts hold at least what the cursor says, because the
// cursor is read first, and only grows after its facts are in the table. It is
//
//	a line that names the format, a line of JSON (stateHeader),
//	records: 's' with the id of a session and its age; 'm' and 'k' with the length of a JSON text, and the text; 'e' at
//	the end,
//	the SHA-256 of all that.
//
// Sessions are stored with their ids, which the table has. With hashes, the file would have to hold their seed,
// and its reader could look for sessions that are taken for others. Ages are in minutes, rounded down: the time from
// the last save to the next start does not count, so no clock decides what is dropped, and facts stay longer than they
// have to.
const stateFormat = "refreshd revocations 1\n"

type stateHeader struct {
	Issuer string `json:"issuer"`
	Tenant string `json:"tenant"`
	Cursor int64  `json:"cursor"`
	Saved  int64  `json:"saved"` // seconds since 1970
	Keep   int64  `json:"keep"`  // seconds
}

type stateMark struct {
	Application string `json:"application,omitempty"`
	User        string `json:"user,omitempty"`
	Epoch       uint64 `json:"epoch"`
	Except      []byte `json:"except,omitempty"`
	Floor       uint64 `json:"floor,omitempty"`
	Age         minute `json:"age"`
}

type stateKey struct {
	Kid string `json:"kid"`
}

const (
	maxStateText = 1 << 20
	// An older file has no fact that still matters. It could still be used: no cursor is too old.
	stateSlack = time.Minute
)

// saved is what the last state file has.
type saved struct {
	cursor int64
	at     time.Duration // by the monotonic clock
	failed bool
}

// save writes the state file, if there is something to write. Readers and the stream do not wait for it.
func (f *feed) save() {
	cursor := f.cursor.Load() // before the facts are read
	f.mu.Lock()
	h := stateHeader{
		Issuer: f.config.Issuer, Tenant: *f.tenant.Load(), Cursor: cursor, Saved: f.wallSeconds(),
		Keep: int64(f.keep / time.Second),
	}
	f.mu.Unlock()
	now := f.now().monotonic
	if f.config.StateFile == "" || cursor == noCursor || f.fresh.Load() == nil ||
		cursor == f.saved.cursor && now-f.saved.at < f.keep/4 {
		return
	}
	err := writeFile(f.config.StateFile, func(w io.Writer) error { return f.facts.write(w, h, f.minute()) })
	switch {
	case err != nil && !f.saved.failed:
		f.config.Log.Warn("the state file could not be written", slog.String("file", f.config.StateFile),
			slog.Any("error", err))
	case err == nil && f.saved.failed:
		f.config.Log.Info("the state file is written again", slog.String("file", f.config.StateFile))
	}
	if f.saved.failed = err != nil; err == nil {
		f.saved.cursor, f.saved.at = cursor, now
	}
}

func (f *feed) wallSeconds() int64 { return f.began.Round(0).Add(f.now().wall).Unix() }

// writeFile replaces a file, or leaves it unchanged. Other users cannot read it, also while it is written.
func writeFile(name string, write func(io.Writer) error) (err error) {
	temporary := name + ".tmp"
	if err := os.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(temporary)
		}
	}()
	sum := sha256.New()
	buffered := bufio.NewWriterSize(io.MultiWriter(file, sum), 64<<10)
	err = write(buffered)
	if err == nil {
		err = buffered.Flush()
	}
	if err == nil {
		_, err = file.Write(sum.Sum(nil))
	}
	if err == nil {
		err = file.Sync()
	}
	if closed := file.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(temporary, name)
	}
	if err == nil {
		err = syncDirectory(filepath.Dir(name))
	}
	return err
}

// syncDirectory makes a rename durable.
func syncDirectory(name string) error {
	if runtime.GOOS == "windows" {
		return nil // a directory cannot be synced there
	}
	directory, err := os.Open(name)
	if err != nil {
		return err
	}
	err = directory.Sync()
	return errors.Join(err, directory.Close())
}

// write writes the facts to w. It may run while the writer adds some.
func (t *table) write(w io.Writer, h stateHeader, now minute) (err error) {
	put := func(b []byte) {
		if err == nil {
			_, err = w.Write(b)
		}
	}
	// A receipt was up to a minute later than its minute began. Rounded down, an age does not grow by being saved often.
	age := func(at minute) minute { return max(now-at, 1) - 1 }
	text := func(kind byte, v any) {
		b, failed := json.Marshal(v)
		if failed != nil {
			err = failed
			return
		}
		put(binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(b))))
		put(b)
	}
	header, failed := json.Marshal(h)
	if failed != nil {
		return failed
	}
	put([]byte(stateFormat))
	put(append(header, '\n'))
	record := make([]byte, 19)
	t.sessions.Load().each(func(id [16]byte, at minute) {
		record[0] = 's'
		copy(record[1:], id[:])
		binary.BigEndian.PutUint16(record[17:], uint16(age(at)))
		put(record)
	})
	addMark := func(m *mark) {
		s := stateMark{m.application, m.user, m.epoch, nil, m.floor, age(m.at)}
		if m.except != [16]byte{} {
			s.Except = m.except[:]
		}
		text('m', s)
	}
	if m := t.tenant.Load(); m != nil {
		addMark(m)
	}
	t.marks.Load().each(addMark)
	for kid := range *t.keys.Load() {
		text('k', stateKey{kid})
	}
	put([]byte{'e'})
	return err
}

// load reads the state file into the table. After an error the table is empty, and the stream begins from zero. A
// file makes no view complete: the first fresh frame does.
func (f *feed) load() {
	f.saved.cursor = noCursor
	if f.config.StateFile == "" {
		return
	}
	h, facts, err := f.read(f.config.StateFile)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		f.config.Log.Warn("the state file is not used: the stream begins with every fact",
			slog.String("file", f.config.StateFile), slog.Any("error", err))
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tenant.Store(&h.Tenant)
	f.keep = time.Duration(h.Keep) * time.Second
	f.facts.replace(facts)
	f.cursor.Store(h.Cursor) // no binding waits for news: there is no view before the first fresh frame
}

func (f *feed) read(name string) (h stateHeader, facts *table, err error) {
	info, err := os.Lstat(name)
	switch {
	case err != nil:
		return h, nil, err
	case !info.Mode().IsRegular():
		return h, nil, errors.New("not a regular file")
	case runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0:
		return h, nil, fmt.Errorf("others may read or write it (mode %#o): it must be 0600", info.Mode().Perm())
	}
	file, err := os.Open(name)
	if err != nil {
		return h, nil, err
	}
	defer func() { _ = file.Close() }()
	return f.readState(file, info.Size())
}

// readState reads what write wrote, followed by its checksum.
func (f *feed) readState(file io.Reader, size int64) (h stateHeader, facts *table, err error) {
	if size < sha256.Size {
		return h, nil, io.ErrUnexpectedEOF
	}
	sum := sha256.New()
	body := bufio.NewReaderSize(io.TeeReader(io.LimitReader(file, size-sha256.Size), sum), 64<<10)
	if h, err = f.readHeader(body); err != nil {
		return h, nil, err
	}
	facts = f.facts.empty(int(min(size/19, int64(f.facts.max))))
	if err := facts.readRecords(body, f.minute()); err != nil {
		return h, nil, err
	}
	return h, facts, checkSum(file, sum)
}

// checkSum reads the last bytes of a file.
func checkSum(file io.Reader, sum hash.Hash) error {
	var want [sha256.Size]byte
	if _, err := io.ReadFull(file, want[:]); err != nil {
		return err
	}
	if subtle.ConstantTimeCompare(sum.Sum(nil), want[:]) != 1 {
		return errors.New("it is damaged: wrong checksum")
	}
	return nil
}

func (f *feed) readHeader(body *bufio.Reader) (h stateHeader, err error) {
	format := make([]byte, len(stateFormat))
	if _, err := io.ReadFull(body, format); err != nil {
		return h, err
	}
	if string(format) != stateFormat {
		return h, errors.New("it has another format")
	}
	line, err := body.ReadSlice('\n')
	if err != nil {
		return h, err
	}
	if err := json.Unmarshal(line, &h); err != nil {
		return h, err
	}
	keep := time.Duration(h.Keep) * time.Second
	age := time.Duration(f.wallSeconds()-h.Saved) * time.Second
	switch {
	case h.Issuer != f.config.Issuer:
		return h, fmt.Errorf("it is of the issuer %q", h.Issuer)
	case h.Tenant == "" || *f.tenant.Load() != "" && h.Tenant != *f.tenant.Load():
		return h, fmt.Errorf("it is of the tenant %q", h.Tenant)
	case h.Cursor < 0 || h.Keep <= 0 || h.Keep > int64(maximumKeep/time.Second):
		return h, errors.New("it is damaged")
	case age > keep-stateSlack || age < -keep:
		return h, fmt.Errorf("it was saved at %v", time.Unix(h.Saved, 0))
	}
	return h, nil
}

// readRecords adds records, whose ages are those of now. It adds sessions in batches, see sessionSet.touch.
func (t *table) readRecords(body *bufio.Reader, now minute) error {
	record := make([]byte, 18)
	ids, ages := make([][16]byte, 0, 256), make([]minute, 0, 256)
	addSessions := func() error {
		t.sessions.Load().touch(ids)
		for i, id := range ids {
			if _, err := t.addSession(id, now-ages[i]); err != nil {
				return err
			}
		}
		ids, ages = ids[:0], ages[:0]
		return nil
	}
	text := func(into any) error {
		if _, err := io.ReadFull(body, record[:4]); err != nil {
			return err
		}
		n := binary.BigEndian.Uint32(record)
		if n > maxStateText {
			return errors.New("it is damaged: a text is too long")
		}
		b := make([]byte, n)
		if _, err := io.ReadFull(body, b); err != nil {
			return err
		}
		return json.Unmarshal(b, into)
	}
	for {
		kind, err := body.ReadByte()
		if err != nil {
			return err
		}
		switch kind {
		case 's':
			if _, err = io.ReadFull(body, record); err != nil {
				break
			}
			ids, ages = append(ids, [16]byte(record)), append(ages, minute(binary.BigEndian.Uint16(record[16:])))
			if !isID(ids[len(ids)-1]) {
				return errors.New("it is damaged: an id is zero")
			}
			if len(ids) == cap(ids) {
				err = addSessions()
			}
		case 'm':
			var s stateMark
			if err = text(&s); err == nil {
				m := mark{application: s.Application, user: s.User, epoch: s.Epoch, floor: s.Floor, at: now - s.Age}
				copy(m.except[:], s.Except)
				_, err = t.addMark(m)
			}
		case 'k':
			var s stateKey
			if err = text(&s); err == nil {
				_, err = t.addKey(s.Kid, now)
			}
		case 'e':
			if _, err := body.ReadByte(); err != io.EOF {
				return errors.New("it is damaged: records after the end")
			}
			return addSessions()
		default:
			err = errors.New("it is damaged: an unknown record")
		}
		if err != nil {
			return err
		}
	}
}

// empty returns a table like t without facts, and with room for a number of sessions.
func (t *table) empty(sessions int) *table {
	n := newTable(t.max)
	n.seed = t.seed
	n.sessions.Store(newSessionSet(t.seed, sessions))
	return n
}

// replace makes the facts of other, which t.empty returned and no other goroutine uses, those of t.
func (t *table) replace(other *table) {
	t.sessions.Store(other.sessions.Load())
	t.tenant.Store(other.tenant.Load())
	t.marks.Store(other.marks.Load())
	t.keys.Store(other.keys.Load())
	t.count.Store(other.count.Load())
}
