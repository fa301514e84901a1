package gormstore_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/refreshd/refreshd/adapter/gormstore"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/test/storagetest"
)

// SQLite itself continues with a deleted file, and what it writes then is lost.
func TestSQLiteAnswersNothingOnceItsFileIsNoLongerThere(t *testing.T) {
	for name, suffix := range map[string]string{"the database": "", "its log": "-wal"} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "refreshd.db")
			s := must(gormstore.OpenSQLite(t.Context(), path, gormstore.Options{}))(t)
			defer s.Close()
			if err := s.Migrate(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
			shop(t, s)
			tenant := domain.Tenant{ID: "acme"}
			if err := os.Rename(path+suffix, path+".aside"); err != nil {
				t.Fatal(err)
			}
			refuses := func(when string) {
				t.Helper()
				_, reading := s.Tenant(t.Context(), tenant.ID)
				for call, err := range map[string]error{
					"Ready": s.Ready(t.Context()), "Tenant": reading, "SaveTenant": storagetest.SaveTenant(t.Context(), s, tenant),
				} {
					if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "restart the service") {
						t.Errorf("%s, %s: got error %v, want one that names the file and what to do", when, call, err)
					}
				}
			}
			refuses("without it")
			if err := os.Rename(path+".aside", path+suffix); err != nil {
				t.Fatal(err)
			}
			refuses("with it back") // a connection may have opened another one meanwhile
		})
	}
}

// An empty file must not be taken for an existing store: beside its keys, it is a store that was lost.
func TestHoldsNothingUntilThereIsATable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "refreshd.db")
	holds := func(when string, want bool) {
		t.Helper()
		if got, err := gormstore.HoldsNothing(path); err != nil || got != want {
			t.Errorf("%s: got %t and %v, want %t", when, got, err, want)
		}
	}
	holds("without a file", true)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	holds("an empty file", true)
	open := func() *gormstore.Store {
		s, err := gormstore.OpenSQLite(t.Context(), path, gormstore.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if err := open().Close(); err != nil {
		t.Fatal(err)
	}
	holds("opened once", true)
	s := open()
	if err := s.Migrate(t.Context(), func(string) {}); err != nil {
		t.Fatal(err)
	}
	holds("with its tables in the log", false)
	live, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	holds("closed", false)
	if err := os.WriteFile(path, live, 0o600); err != nil {
		t.Fatal(err)
	}
	holds("as it was while its tables were in the log", true)
	if err := os.WriteFile(path, []byte("no database"), 0o600); err != nil {
		t.Fatal(err)
	}
	holds("something else", false)
}
