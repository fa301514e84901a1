package run

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/refreshd/refreshd/adapter/cli"
	"github.com/refreshd/refreshd/config"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
	"github.com/refreshd/refreshd/usecase/admin"
)

// place is where a database is, and how a process treats it because of that.
type place interface {
	// refuses returns an error if a command does not work on a database here.
	refuses(command string) error
	// alone waits until no other process of this machine opens the database for the first time.
	alone(ctx context.Context) (unlock func(), err error)
	// isEmpty reports whether the database is still to be created. It returns an error if a database was lost.
	isEmpty(masterKeyIsSet bool) (bool, error)
	// masterKey returns the master key where none is configured. If readOnly it writes nothing.
	masterKey(ctx context.Context, store port.Store, readOnly bool) (domain.MasterKey, error)
	// dir is where the files of a first run are; empty if a store here has no first run.
	dir() string
	// firstRun puts a tenant, an application and an API key into an empty store, and the key into a file in dir, which it
	// returns; an empty string if the store was not empty. No other process may do so concurrently.
	firstRun(ctx context.Context, s *service, dir string, k admin.Kickstart, key domain.Secret) (file string, err error)
}

// placeOf returns where the database d of the kind s is.
func placeOf(s Store, d config.Database) place {
	switch {
	case s.Embedded != nil:
		return inFile{path: s.Embedded.File(d), holdsNothing: s.Embedded.HoldsNothing}
	case s.Local:
		return inMemory{}
	default:
		return onServer{title: s.Title}
	}
}

// onServer is the place of a database that processes of any machine use.
type onServer struct{ title string }

func (onServer) refuses(string) error                  { return nil }
func (onServer) alone(context.Context) (func(), error) { return func() {}, nil }
func (onServer) isEmpty(bool) (bool, error)            { return false, nil }
func (onServer) dir() string                           { return "" }

func (o onServer) masterKey(context.Context, port.Store, bool) (domain.MasterKey, error) {
	return domain.MasterKey{}, fmt.Errorf("%s needs a master key, and none is set, or it is empty: "+
		"set REFRESHD_MASTER_KEY or REFRESHD_MASTER_KEY_FILE, made with `openssl rand -base64 32`, and keep a copy: "+
		"without it the keys in the store cannot be decrypted", o.title)
}

func (onServer) firstRun(context.Context, *service, string, admin.Kickstart, domain.Secret) (string, error) {
	return "", nil
}

// inMemory is the place of a store in the memory of one process, which ends with it: each start is the first.
type inMemory struct{}

func (inMemory) refuses(command string) error {
	switch command {
	case "migrate":
		return errors.New("a store in memory has no schema: there is nothing to migrate")
	case "diff", "export":
		return errors.New("a store in memory belongs to one process, and another has nothing to read there")
	case "apply":
		return errors.New("a store in memory belongs to one process: start `refreshd serve` with " +
			"REFRESHD_KICKSTART_FILE instead")
	case "purge":
		return errors.New("a store in memory belongs to one process: `refreshd serve` purges it every " +
			"REFRESHD_PURGE_INTERVAL")
	case administration:
		return errors.New("a store in memory belongs to one process: name the service that has it with --server")
	default:
		return nil
	}
}

func (inMemory) alone(context.Context) (func(), error) { return func() {}, nil }
func (inMemory) isEmpty(bool) (bool, error)            { return true, nil }
func (inMemory) dir() string                           { return "refreshd-data" }

func (inMemory) masterKey(context.Context, port.Store, bool) (domain.MasterKey, error) {
	key, _, err := domain.NewMasterKey(rand.Reader)
	return key, err
}

// firstRun replaces the file of an earlier store.
func (inMemory) firstRun(
	ctx context.Context, s *service, dir string, k admin.Kickstart, key domain.Secret,
) (file string, err error) {
	if _, err := s.applier().Do(ctx, k); err != nil {
		return "", err
	}
	file = filepath.Join(dir, firstKeyName+"-memory")
	if err := removeIfThere(file); err != nil {
		return "", err
	}
	return file, cli.WriteKeyFile(file, key)
}
