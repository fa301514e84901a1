package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/refreshd/refreshd/test/support/apt"
)

// findChromium returns the path of Chromium. It looks on PATH, and otherwise installs the distribution's package.
func findChromium(ctx context.Context) (string, error) {
	onPath := func() (string, bool) {
		for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
			if path, err := exec.LookPath(name); err == nil {
				return path, true
			}
		}
		return "", false
	}
	if path, ok := onPath(); ok {
		return path, nil
	}
	err := apt.Install(ctx, "chromium", func() bool { _, ok := onPath(); return ok })
	if path, ok := onPath(); ok {
		return path, nil
	}
	return "", errors.Join(errors.New("no Chromium to test with: install it and put it on PATH"), err)
}

// page is the origin of a page that uses a client, and what the page sent to it.
type page struct {
	w    *world
	c    client
	dir  string        // of the scripts
	done chan struct{} // closed when the page has run all its checks

	mu      sync.Mutex
	results []result
}

// browser runs a page of its own origin in Chromium.
func (w *world) browser(ctx context.Context, dir string, c client) (results []result, err error) {
	path, err := findChromium(ctx)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", strings.TrimPrefix(w.Page, "http://"))
	if err != nil {
		return nil, err
	}
	p := &page{w: w, c: c, dir: dir, done: make(chan struct{})}
	server := &http.Server{Handler: p}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	defer func() {
		err = errors.Join(err, server.Close())
		if failed := <-served; !errors.Is(failed, http.ErrServerClosed) {
			err = errors.Join(err, failed)
		}
	}()
	profile, err := os.MkdirTemp(w.r.dir, "chromium-")
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	// Without a port for debugging, a browser without a window ends as soon as the page is loaded.
	run := exec.CommandContext(ctx, path, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
		"--disable-background-networking", "--disable-dev-shm-usage", "--remote-debugging-port=0",
		"--user-data-dir="+profile, w.Page+"/")
	var said bytes.Buffer
	run.Stdout, run.Stderr = &said, &said
	run.WaitDelay = time.Minute // a child of its own may hold the pipe after it was killed
	if err := run.Start(); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- run.Wait() }()
	select {
	case <-p.done:
		stop()
		<-ended // it was killed
	case err := <-ended:
		return nil, fmt.Errorf("the browser ended: %w\n%s", errors.Join(err, context.Cause(ctx)), said.String())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.results, nil
}

// ServeHTTP serves the page, and does what its login service would do.
func (p *page) ServeHTTP(out http.ResponseWriter, in *http.Request) {
	switch in.URL.Path {
	case "/":
		http.ServeFile(out, in, filepath.Join(p.dir, p.c.file()+".html"))
	case "/" + p.c.file() + ".mjs":
		out.Header().Set("Content-Type", "text/javascript")
		http.ServeFile(out, in, filepath.Join(p.dir, p.c.file()+".mjs"))
	case "/" + p.c.file() + ".min.js":
		out.Header().Set("Content-Type", "text/javascript")
		http.ServeFile(out, in, filepath.Join(p.dir, "node_modules", p.c.name, "dist/browser", p.c.file()+".min.js"))
	case "/world":
		p.answer(out, map[string]string{"url": p.w.URL, "nonceUrl": p.w.NonceURL})
	case "/issue":
		var asked struct{ URL, Application string }
		session, err := issued{}, json.NewDecoder(in.Body).Decode(&asked)
		if err == nil {
			session, err = p.w.issue(in.Context(), asked.URL, "es", asked.Application)
		}
		if err != nil {
			http.Error(out, err.Error(), http.StatusInternalServerError)
			return
		}
		p.answer(out, map[string]string{"token": session.Token, "refreshToken": session.RefreshToken})
	case "/result":
		var one result
		if err := json.NewDecoder(in.Body).Decode(&one); err != nil {
			http.Error(out, err.Error(), http.StatusBadRequest)
			return
		}
		p.w.r.told(p.c, one)
		p.mu.Lock()
		defer p.mu.Unlock()
		p.results = append(p.results, one)
	case "/end":
		close(p.done)
	default:
		http.NotFound(out, in)
	}
}

func (p *page) answer(out http.ResponseWriter, body any) {
	out.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(out).Encode(body) // a page that was closed reads nothing
}
