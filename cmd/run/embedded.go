package run

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"

	"github.com/refreshd/refreshd/adapter/cli"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
	"github.com/refreshd/refreshd/usecase"
	"github.com/refreshd/refreshd/usecase/admin"
)

// The files beside an embedded database.
const (
	masterKeyName = "master.key"
	firstKeyName  = "first-api-key"
)

// inFile is the place of an embedded database. Its keys are in files beside it.
type inFile struct {
	path         string
	holdsNothing func(path string) (bool, error)
}

func (f inFile) dir() string { return filepath.Dir(f.path) }

func (f inFile) alone(ctx context.Context) (unlock func(), err error) { return aloneIn(ctx, f.dir()) }

// refuses a purge without a database, because to open one would create it, and an export, which would be empty.
func (f inFile) refuses(command string) error {
	if command != "purge" && command != "export" {
		return nil
	}
	if _, err := os.Stat(f.path); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no database at %s: set REFRESHD_DATABASE_URL", f.path)
	}
	return nil
}

// isEmpty returns an error if a database has been lost: a new one in its place would refuse every issued token string
// as [invalid], and clients would drop it. The keys beside a database are written
// after it; but a master key that is named in the configuration may be an operator's, put there before.
func (f inFile) isEmpty(masterKeyIsSet bool) (bool, error) {
	if nothing, err := f.holdsNothing(f.path); err != nil || !nothing {
		return false, err
	}
	traces := []string{firstKeyName}
	if !masterKeyIsSet {
		traces = append(traces, masterKeyName)
	}
	for _, name := range traces {
		trace := filepath.Join(f.dir(), name)
		if _, err := os.Lstat(trace); err == nil {
			return false, fmt.Errorf("the database %s is not there or empty, but %s beside it is: a database was here "+
				"before. Put it back, or name the right one in REFRESHD_DATABASE_URL; `refreshd migrate` makes a new one "+
				"here, which knows nothing that was issued before. Nothing was changed", f.path, trace)
		}
	}
	return true, nil
}

// masterKey is the key in the file beside the database. The file is created for an empty store only; a reader that
// writes nothing uses a random key instead.
func (f inFile) masterKey(ctx context.Context, store port.Store, readOnly bool) (domain.MasterKey, error) {
	path := filepath.Join(f.dir(), masterKeyName)
	key, err := readMasterKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	revision, err := store.KeyRevision(ctx)
	if err != nil {
		return domain.MasterKey{}, err
	}
	hasData, err := store.HasData(ctx)
	if err != nil {
		return domain.MasterKey{}, err
	}
	if revision > 0 || hasData {
		return domain.MasterKey{}, fmt.Errorf("the master key file %s does not exist, and the store's keys are "+
			"encrypted with the key in it: put it back, or set REFRESHD_MASTER_KEY; nothing was changed", path)
	}
	key, text, err := domain.NewMasterKey(rand.Reader)
	if err != nil || readOnly {
		return key, err
	}
	err = cli.WriteKeyFile(path, text)
	if errors.Is(err, fs.ErrExist) { // another process was faster, on a file system without locks
		return readMasterKey(path)
	}
	return key, err
}

func readMasterKey(path string) (domain.MasterKey, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return domain.MasterKey{}, fmt.Errorf("read the master key: %w", err)
	}
	key, err := domain.ParseMasterKey(domain.NewSecret(string(text)))
	if err != nil {
		return domain.MasterKey{}, fmt.Errorf("the master key file %s: %w", path, err)
	}
	return key, nil
}

// aloneIn has processes that start concurrently in one directory create its database and its keys one after another.
// Each file alone could be created exclusively; but between two of them, a process would take what another has created
// for the traces of a lost database, or overwrite its API key.
func aloneIn(ctx context.Context, dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return func() {}, nil // opening the database there fails with a better message
	}
	unlock, err = lock(ctx, dir)
	if err != nil && ctx.Err() != nil {
		return nil, fmt.Errorf("wait for another process that is starting in %s: %w", dir, err)
	}
	if err != nil || unlock == nil {
		return func() {}, nil
	}
	// No other process writes here now, so an unfinished file stays unfinished.
	if err := cli.RemoveUnfinished(dir); err != nil {
		unlock()
		return nil, err
	}
	return unlock, nil
}

// fill applies the kickstart file to the store. Without one, it does the first run of an empty local store.
func (p process) fill(ctx context.Context, s *service, publicURL string, kickstart *cli.Document) error {
	if kickstart != nil {
		return p.kickstart(ctx, s, *kickstart)
	}
	if s.place.dir() == "" {
		return nil
	}
	dir, err := filepath.Abs(s.place.dir())
	if err != nil {
		return err
	}
	unlock, err := aloneIn(ctx, dir)
	if err != nil {
		return err
	}
	defer unlock()
	k, key, err := cli.FirstRun(rand.Reader)
	if err != nil {
		return err
	}
	file, err := s.place.firstRun(ctx, s, dir, k, key)
	switch {
	case err != nil:
		return err
	case file != "":
		cli.PrintFirstRun(p.stdout, cli.FirstRunNotice{
			BaseURL: publicURL, TenantID: k.Tenants[0].Tenant.ID, ApplicationID: k.Tenants[0].Applications[0].ID, KeyFile: file,
		})
	case cli.IsTerminal(p.stdout):
		return s.remind(ctx, p.stdout, dir, publicURL)
	}
	return nil
}

// firstRun does the remaining steps. The key is first written to a file of the database's own, then stored, then
// written to the file that the notice names. So the API key in a file first-api-key is in the store, and a key in the
// store is in a file.
func (f inFile) firstRun(
	ctx context.Context, s *service, dir string, k admin.Kickstart, key domain.Secret,
) (file string, err error) {
	r := &firstRun{
		service: s, dir: dir, begun: filepath.Join(dir, filepath.Base(f.path)+"."+firstKeyName), kickstart: k, key: key,
	}
	at, err := r.look(ctx)
	if err != nil {
		return "", err
	}
	for _, step := range firstRunSteps[at] {
		if err := step(r, ctx); err != nil {
			return "", err
		}
	}
	return r.file, nil
}

// firstRun is the first run of an embedded database.
type firstRun struct {
	*service
	dir, begun string // where the notice says the key is; the file of the first step
	kickstart  admin.Kickstart
	key        domain.Secret
	file       string // that the notice names
}

// firstRunStage is the progress of the first run of a database.
type firstRunStage int

const (
	notBegun     firstRunStage = iota // the store is empty
	keyWritten                        // the key is in the file of the first step; the store may hold a part of the rest
	keyStored                         // the key is in the store, too
	filledByUser                      // the store was filled otherwise: it gets no further key
)

var firstRunSteps = map[firstRunStage][]func(*firstRun, context.Context) error{
	notBegun:     {(*firstRun).writeKey, (*firstRun).apply, (*firstRun).publish, (*firstRun).end},
	keyWritten:   {(*firstRun).apply, (*firstRun).publish, (*firstRun).end},
	keyStored:    {(*firstRun).publish, (*firstRun).end},
	filledByUser: {(*firstRun).end},
}

// look returns the progress of an earlier process, and takes its key.
func (r *firstRun) look(ctx context.Context) (firstRunStage, error) {
	earlier, isBegun, err := cli.ReadAPIKeyFile(r.begun)
	if err != nil {
		return 0, err
	}
	if isBegun {
		r.key, r.kickstart.APIKeys[0].Key = earlier, earlier
		if stored, err := r.knows(ctx, r.key); err != nil || stored {
			return keyStored, err
		}
	}
	switch filled, err := r.filled(ctx, r.kickstart, isBegun); {
	case err != nil:
		return 0, err
	case filled:
		return filledByUser, nil
	case isBegun:
		return keyWritten, nil
	default:
		return notBegun, nil
	}
}

func (r *firstRun) writeKey(context.Context) error { return cli.WriteKeyFile(r.begun, r.key) }

func (r *firstRun) apply(ctx context.Context) error {
	_, err := r.applier().Do(ctx, r.kickstart)
	return err
}

func (r *firstRun) publish(context.Context) (err error) {
	r.file, err = writeFirstKey(r.dir, r.key)
	return err
}

func (r *firstRun) end(context.Context) error { return removeIfThere(r.begun) }

func removeIfThere(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// writeFirstKey writes the key to a file in dir, unless a file has it. A file with another key belongs to another
// database, and stays.
func writeFirstKey(dir string, key domain.Secret) (string, error) {
	first := filepath.Join(dir, firstKeyName)
	path := first
	for n := 2; ; n++ {
		if there, _, err := cli.ReadAPIKeyFile(path); err == nil && there.Equal(key) {
			return path, nil
		}
		if err := cli.WriteKeyFile(path, key); !errors.Is(err, fs.ErrExist) {
			return path, err
		}
		path = fmt.Sprintf("%s-%d", first, n)
	}
}

// remind prints on a later start where the API key of the first start is, if it is still valid.
func (s *service) remind(ctx context.Context, w io.Writer, dir, publicURL string) error {
	files, err := filepath.Glob(filepath.Join(dir, firstKeyName+"*"))
	if err != nil {
		return err
	}
	for _, file := range files {
		key, is, err := cli.ReadAPIKeyFile(file)
		if err != nil || !is {
			continue
		}
		valid, err := s.knows(ctx, key)
		if err != nil {
			return err
		}
		if valid {
			cli.PrintLaterRun(w, file, publicURL)
			return nil
		}
	}
	return nil
}

// knows reports whether key is a valid API key of the store.
func (s *service) knows(ctx context.Context, key domain.Secret) (bool, error) {
	authenticate := usecase.Authenticate{APIKeys: s.store, Tenants: s.store, Keys: s.keys, Clock: s.clock}
	_, err := authenticate.Do(ctx, usecase.Credential{APIKey: key}, domain.TokenIssue, "")
	if errors.Is(err, domain.ErrUnauthorized) {
		return false, nil
	}
	return err == nil, err
}

// filled reports whether the store holds anything other than a part of what an interrupted first run creates. A store
// that was filled otherwise gets no further key.
func (s *service) filled(ctx context.Context, k admin.Kickstart, begun bool) (bool, error) {
	hasData, err := s.store.HasData(ctx)
	if err != nil || !hasData || !begun {
		return hasData, err
	}
	if _, err := s.store.APIKeyByName(ctx, k.APIKeys[0].APIKey.Name); !errors.Is(err, domain.ErrNotFound) {
		return true, err
	}
	t, one, err := onlyTenant(ctx, s.store)
	t.Version = 0
	return !one || !reflect.DeepEqual(t, k.Tenants[0].Tenant), err
}
