package rig

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

const module = "github.com/refreshd/refreshd"

// Change replaces a text that occurs exactly once in a file of the module.
type Change struct{ File, From, To string }

// Overlay writes the changed source to dir, and a file that names it for go build -overlay. It fails if a change does
// not fit the source. It compiles nothing.
func (o BuildOptions) Overlay(ctx context.Context, dir string) (path string, err error) {
	if o.Clock {
		o = o.withClock()
	}
	return o.overlay(ctx, dir)
}

func (o BuildOptions) overlay(ctx context.Context, dir string) (path string, err error) {
	root, err := moduleRoot(ctx, o.Source)
	if err != nil {
		return "", fmt.Errorf("find this module: %w", err)
	}
	texts := maps.Clone(o.Files)
	if texts == nil {
		texts = map[string]string{}
	}
	for _, c := range o.Changes {
		text, ok := texts[c.File]
		if !ok {
			b, err := os.ReadFile(filepath.Join(root, c.File))
			if err != nil {
				return "", err
			}
			text = string(b)
		}
		if n := strings.Count(text, c.From); n != 1 {
			return "", fmt.Errorf("%s has the text to replace %d times, not once: %.200q", c.File, n, c.From)
		}
		texts[c.File] = strings.Replace(text, c.From, c.To, 1)
	}
	if o.ClockIn != "" {
		if err := clockIn(root, o.ClockIn, texts); err != nil {
			return "", err
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	replace := map[string]string{}
	for file, text := range texts {
		name := filepath.Join(dir, strings.ReplaceAll(file, "/", "_"))
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			return "", err
		}
		replace[filepath.Join(root, file)] = name
	}
	b, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	path = filepath.Join(dir, "overlay.json")
	return path, os.WriteFile(path, b, 0o600)
}

// moduleRoots has the folders of this module that moduleRoot found: a test asks for each of its mutants.
var moduleRoots sync.Map

// moduleRoot returns the folder of this module as the go command finds it from dir; "" is the working directory.
func moduleRoot(ctx context.Context, dir string) (string, error) {
	from, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if root, ok := moduleRoots.Load(from); ok {
		return root.(string), nil
	}
	list := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", module)
	list.Dir = dir
	out, err := list.Output()
	if err != nil {
		return "", err
	}
	root := strings.TrimSpace(string(out))
	moduleRoots.Store(from, root)
	return root, nil
}
