package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

const (
	profileUsers   = 32
	profileSeconds = 10
)

// profile writes CPU and allocation profiles of the service under load into dir, and prints the top of each.
func (b *bench) profile(ctx context.Context, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	dsn, err := b.newDatabase(ctx, b.setup(asItComes, noGrace))
	if err != nil {
		return err
	}
	for _, store := range []struct{ name, url string }{{"postgres", dsn}, {"memory", "memory:"}} {
		if err := b.profileOn(ctx, filepath.Join(dir, store.name), store.url); err != nil {
			return fmt.Errorf("profile on %s: %w", store.name, err)
		}
	}
	return nil
}

func (b *bench) profileOn(ctx context.Context, prefix, url string) (err error) {
	how := b.setup(asItComes, noGrace)
	settings := how.settings(url)
	settings.Env = append(settings.Env, "REFRESHD_PPROF=true")
	served, err := how.program.Serve(ctx, settings)
	if err != nil {
		return err
	}
	s := &service{served}
	defer func() { err = errors.Join(err, s.Stop()) }()
	users, err := s.users(ctx, profileUsers)
	if err != nil {
		return err
	}
	b.progress("profiling for %d seconds: %s", profileSeconds, prefix)
	loaded := make(chan error, 1)
	go func() {
		_, err := exchanges(ctx, window{time.Second, (profileSeconds + 1) * time.Second}, meter{}, users)
		loaded <- err
	}()
	cpu, allocs := prefix+"-cpu.prof", prefix+"-allocs.prof"
	err = s.saveProfile(ctx, fmt.Sprintf("profile?seconds=%d", profileSeconds), cpu)
	if err = errors.Join(err, <-loaded); err != nil {
		return err
	}
	if err := s.saveProfile(ctx, "allocs", allocs); err != nil {
		return err
	}
	for _, top := range [][]string{{cpu}, {"-sample_index=alloc_objects", allocs}, {"-sample_index=alloc_space", allocs}} {
		pprof := exec.CommandContext(ctx, "go", append([]string{"tool", "pprof", "-top", "-nodecount=30"}, top...)...)
		pprof.Stdout, pprof.Stderr = os.Stdout, os.Stderr
		fmt.Printf("\n%s %v\n", prefix, top)
		if err := pprof.Run(); err != nil {
			return fmt.Errorf("go tool pprof: %w", err)
		}
	}
	return nil
}

func (s *service) saveProfile(ctx context.Context, name, file string) error {
	a, err := call(ctx, http.MethodGet, s.Admin, "/debug/pprof/"+name, "")
	if err == nil && a.Status != http.StatusOK {
		err = fmt.Errorf("status %d: %s", a.Status, a.Body)
	}
	if err != nil {
		return fmt.Errorf("read the service's profile: %w", err)
	}
	return os.WriteFile(file, a.Body, 0o644)
}
