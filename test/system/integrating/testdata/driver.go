// Runs the document's client for the tests: a command a line on standard input, a line of JSON for each on standard
// output.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"example.com/shop/session"
)

type store string

func (s store) Get() (string, error) {
	text, err := os.ReadFile(string(s))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return string(text), err
}

func (s store) Set(text string) error { return os.WriteFile(string(s), []byte(text), 0o600) }
func (s store) Remove() error         { return os.Remove(string(s)) }

func main() {
	var current *session.Session
	ctx := context.Background()
	lines, out := bufio.NewScanner(os.Stdin), json.NewEncoder(os.Stdout)
	for lines.Scan() {
		name, argument, _ := strings.Cut(lines.Text(), " ")
		result, err := "", error(nil)
		switch name {
		case "open":
			current = &session.Session{URL: os.Getenv("REFRESHD"), Store: store(os.Getenv("STORE"))}
			result = "open"
		case "token":
			result, err = current.AccessToken(ctx)
		case "three":
			results, errs := make([]string, 3), make([]error, 3)
			var group sync.WaitGroup
			for i := range results {
				group.Go(func() { results[i], errs[i] = current.AccessToken(ctx) })
			}
			group.Wait()
			result, err = strings.Join(results, " "), errors.Join(errs...)
		case "impatient":
			// Two callers, whose context is done while they wait for one exchange.
			waiting, cancel := context.WithCancel(ctx)
			errs := make([]error, 2)
			var group sync.WaitGroup
			for i := range errs {
				group.Go(func() { _, errs[i] = current.AccessToken(waiting) })
			}
			time.Sleep(100 * time.Millisecond) // so that they wait
			cancel()
			group.Wait()
			said := make([]string, len(errs))
			for i, err := range errs {
				if errors.Is(err, session.ErrUnavailable) && errors.Is(err, context.Canceled) {
					said[i] = context.Canceled.Error()
				} else {
					said[i] = fmt.Sprint(err)
				}
			}
			result = strings.Join(said, ", ")
		case "fetch":
			result, err = get(ctx, current, argument)
		default:
			err = errors.New("no such command: " + name)
		}
		kind := "bug"
		switch {
		case err == nil:
			_ = out.Encode(map[string]string{"result": result})
			continue
		case errors.Is(err, session.ErrLoggedOut):
			kind = "logged out"
		case errors.Is(err, session.ErrUnavailable):
			kind = "unavailable"
		}
		_ = out.Encode(map[string]string{"kind": kind, "message": err.Error()})
	}
}

// get sends a request with an access token, and once more with a new one after a 401.
func get(ctx context.Context, s *session.Session, url string) (string, error) {
	for again := true; ; again = false {
		token, err := s.AccessToken(ctx)
		if err != nil {
			return "", err
		}
		request, err := http.NewRequestWithContext(ctx, "GET", url, nil)
		if err != nil {
			return "", err
		}
		request.Header.Set("Authorization", "Bearer "+token)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return "", err
		}
		text, err := io.ReadAll(response.Body)
		response.Body.Close()
		if response.StatusCode != http.StatusUnauthorized || !again {
			return string(text), err
		}
		s.Invalidate()
	}
}
