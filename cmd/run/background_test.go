package run

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A stop waits for workers that end soon, and no longer than its grace: a call of the store may end long after its
// context.
func TestAStopWaitsForTheBackgroundWithinItsGrace(t *testing.T) {
	for name, test := range map[string]struct{ takes, want time.Duration }{
		"ends in time": {time.Second, time.Second}, "a silent database": {12 * time.Second, 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				grace, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				b := begin(t.Context(), discard, []worker{{name: "slow", run: func(ctx context.Context) error {
					<-ctx.Done()
					time.Sleep(test.takes)
					return nil
				}}})
				begun := time.Now()
				b.end()
				if err := b.wait(grace); err != nil || time.Since(begun) != test.want {
					t.Errorf("waited %s, %v; want %s", time.Since(begun), err, test.want)
				}
				<-b.ended
			})
		})
	}
}

// A service that continued without a worker would serve keys that are out of date, or fill its disk.
func TestAWorkerThatFailsIsLoggedByNameAndStopsTheService(t *testing.T) {
	for name, test := range map[string]struct {
		run        func(context.Context) error
		want, logs string
	}{
		"error": {func(context.Context) error { return errDown }, "purge: the store is down", `"error":"the store is down"}`},
		"end":   {func(context.Context) error { return nil }, "purge: it ended by itself", `"error":"it ended by itself"}`},
		"panic": {func(context.Context) error { panic("off by one") }, "purge: panic: off by one", `background_test.go`},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				served := false
				b := begin(t.Context(), slog.New(slog.NewJSONHandler(&log, nil)), []worker{
					{name: "purge", run: test.run},
					{name: "key reload", forRequests: true, run: func(ctx context.Context) error {
						time.Sleep(time.Second) // a request that is still running
						served = ctx.Err() == nil
						<-ctx.Done()
						return nil
					}},
				})
				<-b.failed.Done()
				b.stop()
				time.Sleep(2 * time.Second)
				b.end()
				if err := b.wait(t.Context()); err == nil || err.Error() != test.want {
					t.Errorf("got error %v, want %s", err, test.want)
				}
				if !served {
					t.Error("a worker that requests need was ended with the one that failed")
				}
				for _, want := range []string{`"event":"background.failed"`, `"worker":"purge"`, test.logs} {
					if !strings.Contains(log.String(), want) {
						t.Errorf("the log has no %s:\n%s", want, log.String())
					}
				}
			})
		})
	}
}

// A stop ends the purge immediately, and the reading of keys after the last request.
func TestAStopEndsFirstWhatNoRequestNeeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		var ended []string
		until := func(name string) func(context.Context) error {
			return func(ctx context.Context) error {
				<-ctx.Done()
				ended = append(ended, name)
				return nil
			}
		}
		b := begin(ctx, discard, []worker{
			{name: "key reload", forRequests: true, run: until("key reload")}, {name: "purge", run: until("purge")},
		})
		stop()
		synctest.Wait()
		if len(ended) != 1 || ended[0] != "purge" {
			t.Errorf("ended are %q, want the purge", ended)
		}
		b.end()
		if err := b.wait(t.Context()); err != nil || len(ended) != 2 {
			t.Errorf("ended are %q, %v; want both", ended, err)
		}
	})
}
