package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// served starts the service with environ, stops it once it listens, and returns what it printed.
func served(t *testing.T, environ ...string) (printed string, err error) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var stdout bytes.Buffer
	log := &stopAt{text: `"msg":"listening"`, stop: stop}
	p := process{stdout: &stdout, stderr: log, environ: append([]string{
		"REFRESHD_LISTEN=127.0.0.1:0", "REFRESHD_ADMIN_LISTEN=", "REFRESHD_LOG_FORMAT=json",
	}, environ...)}
	err = p.run(ctx, []string{"serve"})
	return stdout.String(), err
}

// A first run that was cut short is gone through again. A store that somebody filled with what looks like a part of one is not: it
// would get a key that nobody asked for.
func TestAStoreThatWasFilledOtherwiseGetsNoKeyOfItsOwn(t *testing.T) {
	dir := t.TempDir()
	database, kickstart := "REFRESHD_DATABASE_URL=sqlite:"+filepath.Join(dir, "refreshd.db"), filepath.Join(t.TempDir(), "kickstart.yaml")
	if err := os.WriteFile(kickstart, []byte(`tenants: [{id: default, name: Default, applications: [{id: web, name: Web}]}]
apiKeys: [{name: backend, key: ak_backend_backend_backend_backend, permissions: {endpoints: {/jwt/refresh: [POST]}}}]
`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := served(t, database, "REFRESHD_KICKSTART_FILE="+kickstart); err != nil {
		t.Fatal(err)
	}
	printed, err := served(t, database)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(printed, "first-api-key") || strings.Contains(printed, "demo") {
		t.Errorf("the second start printed %s", printed)
	}
	if _, err := os.Lstat(filepath.Join(dir, firstKeyName)); !os.IsNotExist(err) {
		t.Errorf("%s: %v, want none", firstKeyName, err)
	}
}

// Who makes the master key first, and puts it where the database is going to be, has lost no database.
func TestAnOperatorsOwnMasterKeyIsNoTraceOfALostDatabase(t *testing.T) {
	dir := t.TempDir()
	key := filepath.Join(dir, masterKeyName)
	if err := os.WriteFile(key, []byte(base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32))+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	database := "REFRESHD_DATABASE_URL=sqlite:" + filepath.Join(dir, "refreshd.db")
	if _, err := served(t, database); err == nil || !strings.Contains(err.Error(), "a database was here before") {
		t.Errorf("with a key that only lies there: error %v, want a refusal", err)
	}
	if _, err := served(t, database, "REFRESHD_MASTER_KEY_FILE="+key); err != nil {
		t.Errorf("with a key that is named: %v", err)
	}
}
