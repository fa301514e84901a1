package rig

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// BuildCommit builds the program of a commit into dir, as refreshd-base, and returns the short name of the commit too.
// It writes the source below dir and changes nothing in the repository. The working directory has to be within the
// repository.
func BuildCommit(ctx context.Context, dir, commit string) (p Program, short string, err error) {
	name, err := exec.CommandContext(ctx, "git", "rev-parse", "--short", "--verify", commit+"^{commit}").Output()
	if err != nil {
		return Program{}, "", fmt.Errorf("find the commit %q: %w", commit, err)
	}
	short = strings.TrimSpace(string(name))
	source := filepath.Join(dir, "base")
	if err := os.Mkdir(source, 0o700); err != nil {
		return Program{}, "", err
	}
	if err := extract(ctx, short, source); err != nil {
		return Program{}, "", fmt.Errorf("extract the source of %s: %w", short, err)
	}
	p, err = Build(ctx, dir, BuildOptions{Name: "refreshd-base", Version: short, Source: source})
	return p, short, err
}

// extract writes the files of a commit into a directory.
func extract(ctx context.Context, commit, dir string) error {
	top, err := exec.CommandContext(ctx, "git", "rev-parse", "--show-toplevel").Output()
	if err != nil {
		return err
	}
	archive := exec.CommandContext(ctx, "git", "archive", "--format=tar", commit)
	archive.Dir = strings.TrimSpace(string(top)) // in a subdirectory, git archive has only the files of that directory
	tar := exec.CommandContext(ctx, "tar", "-x", "-C", dir)
	archive.Stderr, tar.Stderr = os.Stderr, os.Stderr
	files, err := archive.StdoutPipe()
	if err != nil {
		return err
	}
	tar.Stdin = files
	if err := archive.Start(); err != nil {
		return err
	}
	err = tar.Run()
	_, drained := io.Copy(io.Discard, files)
	return errors.Join(err, drained, archive.Wait())
}
