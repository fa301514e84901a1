// Command ensure makes sure, before the tests start, that they have a PostgreSQL server and PgBouncer, and prints the
// stores that they run on with the version of the server. It installs what package postgres would install. Doing it
// once and first keeps the time of a download out of the tests, and a missing server is not a failing test.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/refreshd/refreshd/test/support/postgres"
)

func main() {
	server, err := describe(context.Background())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("stores under test: memory, SQLite, PostgreSQL (" + server + ")")
}

func describe(ctx context.Context) (string, error) {
	if _, err := postgres.PgBouncer(ctx); err != nil {
		return "", err
	}
	// Some tests kill their server: they start one of their own in any case.
	bin, err := postgres.Binaries(ctx)
	if err != nil {
		return "", err
	}
	server, err := postgres.StartServer(ctx, postgres.Options{})
	if err != nil {
		return "", err
	}
	version, err := server.Version(ctx)
	if err := errors.Join(err, server.Stop()); err != nil {
		return "", err
	}
	if os.Getenv(postgres.Variable) != "" {
		return version + ", the server that " + postgres.Variable + " names", nil
	}
	return version + ", " + bin, nil
}
