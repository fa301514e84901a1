package gormstore_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/refreshd/refreshd/adapter/gormstore"
)

// Statements are logged for debugging, with the unit of every figure in its name.
func TestStatementsAreLoggedWithEventAndUnits(t *testing.T) {
	var log bytes.Buffer
	store, err := gormstore.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "a.db"), gormstore.Options{
		MaxConnections: 1, Logger: slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if err := store.Migrate(t.Context(), func(string) {}); err != nil {
		t.Fatal(err)
	}
	log.Reset()
	if _, err := store.HasData(t.Context()); err != nil {
		t.Fatal(err)
	}
	lines := 0
	for text := range bytes.Lines(log.Bytes()) {
		lines++
		var line map[string]any
		if err := json.Unmarshal(text, &line); err != nil {
			t.Fatal(err)
		}
		took, timed := line["durationMs"].(float64)
		if line["event"] != "database.statement" || line["level"] != "DEBUG" || !timed || took < 0 || line["sql"] == "" {
			t.Errorf("got %s", text)
		}
	}
	if lines == 0 {
		t.Error("no statement was logged")
	}
}
