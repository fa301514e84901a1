package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/refreshd/refreshd/test/support/postgres"
	"github.com/refreshd/refreshd/test/support/rig"
)

// sessionSettings are the settings of gormstore's connections. pgbench has them too: without generic plans it would
// plan each statement at least five times.
const sessionSettings = "-c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c enable_bitmapscan=off " +
	"-c enable_hashjoin=off -c enable_mergejoin=off -c jit=off"

// script is the script that each client of pgbench repeats.
type script struct {
	text    string
	defines []string // variables, name=value
	// counted reports that the sum of all generations has to be compared with the number of transactions, because the
	// script itself does not abort if a row was not rotated.
	counted bool
}

// chosen begins both scripts: the first transaction of a client looks up its row. Variables outlive a transaction.
const chosen = `\if :generation = 0
SELECT id, generation, '' AS tenant, '' AS application, '' AS binding, '127.0.0.1' AS address, 0 AS authenticated,
  0 AS ttl
FROM refresh_tokens WHERE tenant_id = '` + tenant + `' AND user_id = 'user-' || :client_id \gset
\endif
\set now :now + 1
`

// bareUpdate is the least that a rotation does: it updates one row by its key if its generation is still the expected
// one. It aborts if no row is returned.
var bareUpdate = script{text: chosen + `UPDATE refresh_tokens
SET generation = generation + 1, rotated_at = :now, last_used_at = :now
WHERE id = :id AND generation = :generation RETURNING id, generation \gset
`}

// fullStatement is gormstore's own statement, with pgbench's variables as parameters. Its result is not stored, because
// that would cost pgbench more than the statement does. The generations at the end show whether rows were rotated.
func fullStatement(text string) script {
	variables := strings.NewReplacer("$1", ":now", "$2", ":address", "$3", ":id", "$4", ":generation", "$5", ":tenant",
		"$6", ":application", "$7", ":binding", "$8", ":authenticated", "$9", ":ttl")
	return script{
		text: chosen + strings.TrimSpace(variables.Replace(text)) + ";\n\\set generation :generation + 1\n", counted: true,
	}
}

// pgbench runs PostgreSQL's own benchmark.
type pgbench struct {
	path   string
	dir    string // for its files
	server *server
	runs   atomic.Int64
}

func newPgbench(ctx context.Context, dir string, s *server) (*pgbench, error) {
	// First the binary of the server's version: on PATH there may be a wrapper that needs a tenth of a second.
	if bin, err := postgres.Binaries(ctx); err == nil {
		if path, err := exec.LookPath(filepath.Join(bin, "pgbench")); err == nil {
			return &pgbench{path: path, dir: dir, server: s}, nil
		}
	}
	path, err := exec.LookPath("pgbench")
	if err != nil {
		return nil, fmt.Errorf("the limit is measured with pgbench, which comes with PostgreSQL "+
			"(Debian, Ubuntu: apt-get install postgresql-contrib; Fedora: dnf install postgresql-contrib): %w", err)
	}
	return &pgbench{path: path, dir: dir, server: s}, nil
}

// run has n clients run the script in a closed loop. On a busy machine their connections can take longer than the
// window. The run is then repeated with more time for them.
func (p *pgbench) run(ctx context.Context, w window, dsn string, n int, s script) (r run, err error) {
	for wait := time.Duration(n) * connecting; wait < time.Minute; wait *= 4 {
		r, err = p.runOnce(ctx, window{w.warm + wait, w.length}, dsn, n, s)
		if err != nil || r.calls > 0 {
			return r, err
		}
	}
	return r, errors.New("pgbench: no transaction was counted")
}

// runOnce returns a run without calls if no transaction ended within the window. pgbench logs every transaction, so
// that the ones can be left out in which a client plans and loads its catalogs: with 64 clients they are a tenth of a
// short run.
func (p *pgbench) runOnce(ctx context.Context, w window, dsn string, n int, s script) (r run, err error) {
	before, err := s.generations(ctx, dsn)
	if err != nil {
		return r, err
	}
	name := filepath.Join(p.dir, fmt.Sprintf("pgbench-%d", p.runs.Add(1)))
	if err := os.WriteFile(name+".sql", []byte(s.text), 0o600); err != nil {
		return r, err
	}
	seconds := math.Ceil((w.warm + w.length).Seconds())
	c := exec.CommandContext(ctx, p.path, "-M", "prepared", "-n", "-c", strconv.Itoa(n), "-j", strconv.Itoa(min(n, 2)),
		"-T", strconv.Itoa(int(seconds)), "-D", "generation=0", "-D", fmt.Sprintf("now=%d", time.Now().UnixMicro()),
		"-f", name+".sql", "--log", "--log-prefix", name)
	for _, d := range s.defines {
		c.Args = append(c.Args, "-D", d)
	}
	c.Args = append(c.Args, dsn)
	c.Env = append(os.Environ(), "PGOPTIONS="+sessionSettings)
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	begin := time.Now()
	if err := c.Start(); err != nil {
		return r, fmt.Errorf("pgbench: %w", err)
	}
	m := meter{server: p.server, driver: func() time.Duration {
		s, _ := rig.ReadProcess(c.Process.Pid)
		return s.CPU
	}}
	from, err := m.open(ctx, begin.Add(w.warm))
	to := from
	if err == nil {
		err = rig.Sleep(ctx, time.Until(from.at.Add(w.length)))
	}
	if err == nil {
		to, err = m.shut(ctx)
	}
	if err = errors.Join(err, c.Wait()); err != nil {
		return r, fmt.Errorf("pgbench: %w\n%s", err, out.Bytes())
	}
	after, err := s.generations(ctx, dsn)
	if err != nil {
		return r, err
	}
	if done, err := processed(out.String()); s.counted && (err != nil || done != after-before) {
		return r, fmt.Errorf("pgbench: there were %d rotations: %w\n%s", after-before, err, out.Bytes())
	}
	took, err := readLogs(name, from.at, to.at)
	return between(from, to, took), err
}

// connecting is an upper bound of the time that a client of pgbench needs to connect. pgbench begins when all have.
const connecting = 5 * time.Millisecond

func (s script) generations(ctx context.Context, dsn string) (sum int64, err error) {
	if !s.counted {
		return 0, nil
	}
	return sum, withConnection(ctx, dsn, func(c *pgx.Conn) error {
		return c.QueryRow(ctx, `SELECT COALESCE(sum(generation), 0)::bigint FROM refresh_tokens`).Scan(&sum)
	})
}

// processed returns the number of transactions in pgbench's output.
func processed(output string) (int64, error) {
	_, rest, found := strings.Cut(output, "number of transactions actually processed: ")
	if !found {
		return 0, errors.New("pgbench does not report the number of transactions")
	}
	count, _, _ := strings.Cut(rest, "\n")
	return strconv.ParseInt(count, 10, 64)
}

// readLogs reads and removes the logs of pgbench's threads.
func readLogs(prefix string, from, to time.Time) (took []time.Duration, err error) {
	files, err := filepath.Glob(prefix + ".*")
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		if strings.HasSuffix(file, ".sql") {
			continue
		}
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		took, err = parseLog(took, f, from, to)
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("read pgbench's log: %w", err)
		}
		if err := os.Remove(file); err != nil {
			return nil, err
		}
	}
	return took, nil
}

// parseLog adds the durations of those transactions that ended between from and to. A line is client, number,
// microseconds, script, and the end in seconds and microseconds.
func parseLog(took []time.Duration, r io.Reader, from, to time.Time) ([]time.Duration, error) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 6 {
			return took, fmt.Errorf("%q has fewer than 6 fields", lines.Text())
		}
		var n [6]int64
		for i := range n {
			var err error
			if n[i], err = strconv.ParseInt(fields[i], 10, 64); err != nil {
				return took, err
			}
		}
		if end := time.Unix(n[4], n[5]*1000); end.After(from) && !end.After(to) {
			took = append(took, time.Duration(n[2])*time.Microsecond)
		}
	}
	return took, lines.Err()
}
