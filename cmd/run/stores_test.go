package run

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/refreshd/refreshd/adapter/memstore"
	"github.com/refreshd/refreshd/adapter/metrics"
	"github.com/refreshd/refreshd/config"
)

// openAnother opens a store of another program.
func openAnother(context.Context, config.Database, *slog.Logger) (Opened, error) {
	return Opened{Store: memstore.New()}, nil
}

// runAnother runs a command of a program that has one store more, and stops a service once it listens.
func runAnother(t *testing.T, another Store, verb, url string, environ ...string) (stdout, log string, err error) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var out bytes.Buffer
	to := &stopAt{text: `"msg":"listening"`, stop: stop}
	err = Run(ctx, Options{
		Stores: []Store{another}, Args: []string{verb}, Stdout: &out, Stderr: to,
		Environ: append([]string{
			"REFRESHD_DATABASE_URL=" + url, "REFRESHD_LISTEN=127.0.0.1:0", "REFRESHD_ADMIN_LISTEN=", "REFRESHD_LOG_FORMAT=json",
		}, environ...),
	})
	return out.String(), to.String(), err
}

// Processes that share a database need the same issuers and the same master key. A store that says nothing about itself
// may be such a database.
func TestAStoreThatSaysNothingOfItselfIsShared(t *testing.T) {
	t.Chdir(t.TempDir())
	const publicURL = "REFRESHD_PUBLIC_URL=https://auth.example.com"
	another := Store{Scheme: config.Scheme{Name: "foreign"}, Open: openAnother}
	for _, test := range []struct {
		environ []string
		says    string // empty: it starts
	}{
		{nil, "the same for all that serve a foreign database"},
		{[]string{publicURL}, "foreign needs a master key, and none is set"},
		{[]string{publicURL, "REFRESHD_MASTER_KEY=MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="}, ""},
	} {
		printed, log, err := runAnother(t, another, "serve", "foreign:secret", test.environ...)
		if test.says == "" && err != nil || test.says != "" && (err == nil || !strings.Contains(err.Error(), test.says)) {
			t.Errorf("%q: error %v, want one that says %q", test.environ, err, test.says)
		}
		if printed != "" || strings.Contains(log, "secret") {
			t.Errorf("%q: it printed %q, and logged %s", test.environ, printed, log)
		}
	}
	if found, err := os.ReadDir("."); err != nil || len(found) > 0 {
		t.Errorf("it made %v, %v", found, err)
	}
}

// A local store is for a first try or a small installation: it is migrated and filled at its start.
func TestALocalStoreIsMigratedAndFilledAtItsStart(t *testing.T) {
	for _, name := range []string{"in memory", "embedded"} {
		t.Run(name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			var migrated, measured bool
			another := Store{
				Scheme: config.Scheme{Name: "foreign", Local: name == "in memory"},
				Open: func(_ context.Context, d config.Database, _ *slog.Logger) (Opened, error) {
					if name == "embedded" {
						if err := os.WriteFile(d.Rest(), []byte("x"), 0o600); err != nil {
							return Opened{}, err
						}
					}
					return Opened{
						Store:   memstore.New(),
						Migrate: func(_ context.Context, progress func(string)) error { progress("begun"); migrated = true; return nil },
						Measure: func(*metrics.Metrics) { measured = true },
					}, nil
				},
			}
			key := filepath.Join("refreshd-data", firstKeyName+"-memory")
			if name == "embedded" {
				key = firstKeyName
				another.Embedded = &Embedded{File: config.Database.Rest, HoldsNothing: func(path string) (bool, error) {
					_, err := os.Stat(path)
					return errors.Is(err, fs.ErrNotExist), nil
				}}
			}
			printed, _, err := runAnother(t, another, "serve", "foreign:data")
			if err != nil || !migrated || !measured || !strings.Contains(printed, key) {
				t.Fatalf("migrated %t, measured %t, printed %q, %v; want both, and where the key is",
					migrated, measured, printed, err)
			}
			if _, err := os.Stat(key); err != nil {
				t.Error(err)
			}
			if name == "in memory" {
				return
			}
			if err := os.Remove("data"); err != nil {
				t.Fatal(err)
			}
			_, _, err = runAnother(t, another, "serve", "foreign:data")
			if err == nil || !strings.Contains(err.Error(), "a database was here before") {
				t.Errorf("with its database lost: error %v, want a refusal", err)
			}
			_, _, err = runAnother(t, another, "purge", "foreign:data")
			if err == nil || !strings.Contains(err.Error(), "there is no database at data") {
				t.Errorf("purge: error %v, want a refusal", err)
			}
		})
	}
}

// The order of stores must not decide which of them opens a database. A program with two for one scheme does not start.
func TestStoresThatCannotBeUsedAreRefused(t *testing.T) {
	for says, another := range map[string]Store{
		"two stores of the scheme sqlite": {Scheme: config.Scheme{Name: "sqlite"}, Open: openAnother},
		`"My Store" is not the name`:      {Scheme: config.Scheme{Name: "My Store"}, Open: openAnother},
		`"" is not the name`:              {Open: openAnother},
		"scheme foreign has no Open":      {Scheme: config.Scheme{Name: "foreign"}},
		"foreign is embedded, and has no F": {
			Scheme: config.Scheme{Name: "foreign"}, Open: openAnother, Embedded: &Embedded{},
		},
	} {
		if _, _, err := runAnother(t, another, "version", "memory:"); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("error %v, want one that says %q", err, says)
		}
	}
}
