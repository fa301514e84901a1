package e2e_test

import (
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/refreshd/refreshd/test/support/postgres"
)

// A stopped server acknowledges what it receives, and sends nothing; a call of the store then lasts until its
// statement's deadline. A balancer and an alert learn of it long before, and a stop takes no longer than its delay.
func TestAServiceWhoseDatabaseIsSilentIsNotReadyAndStopsInTime(t *testing.T) {
	t.Parallel()
	postgres.LeaveOut(t)
	ran.add(postgreSQL)
	// a server whose processes may be stopped
	server, err := postgres.StartServer(t.Context(), postgres.Options{Own: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Stop() })
	dsn, err := server.NewDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	d := database{engine: postgreSQL, dir: t.TempDir(), url: withPassword(t, dsn), masterKey: newMasterKey()}
	d.migrated(t)
	// With one connection nothing responds any more.
	v := start(t, d, settings{
		env: []string{"REFRESHD_DATABASE_MAX_CONNECTIONS=1", "REFRESHD_SHUTDOWN_DELAY=0s", "REFRESHD_SHUTDOWN_TIMEOUT=1s"},
	})
	var pid int
	if err := d.open(t).QueryRowContext(t.Context(), `SELECT pid FROM pg_stat_activity
		WHERE application_name = 'refreshd' AND datname = current_database()`).Scan(&pid); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGCONT) }) // an error if the server has ended
	begun := time.Now()

	v.awaitNotReady(t)
	if got := v.metrics()["refreshd_ready"]; got != "0" {
		t.Errorf("refreshd_ready is %s, want 0", got)
	}
	v.want(t, call{method: "GET", path: "/healthz"}, http.StatusOK)
	told := time.Since(begun)
	v.Stop()
	// The statement that reads the keys began within a second, and its deadline is 12 s. The time-out of a probe is two
	// seconds, and the grace period one: the rest is for a busy machine.
	if took := time.Since(begun); told > 8*time.Second || took > 10*time.Second {
		t.Errorf("not ready after %s, stopped after %s; want 3 s and 4 s", told, took)
	}
}
