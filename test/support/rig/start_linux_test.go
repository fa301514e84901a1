package rig

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"testing"
	"time"
)

// A test binary that is killed, as go test does after its time limit, must not leave services behind.
func TestServiceDoesNotOutliveUs(t *testing.T) {
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), asParent+"="+program(t).Path)
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	var address string
	if _, err := fmt.Fscanln(out, &address); err != nil {
		t.Fatal(err)
	}
	if status, _, err := get(t.Context(), "http://"+address+"/healthz"); status != http.StatusOK {
		t.Fatalf("the service responds with %d, %v", status, err)
	}
	_ = parent.Process.Kill()
	_ = parent.Wait()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for err == nil { // the kernel sends the signal immediately; the process ends a moment later
		_, _, err = get(ctx, "http://"+address+"/healthz")
	}
	if ctx.Err() != nil {
		t.Error("the service still answers after its parent was killed")
	}
}
