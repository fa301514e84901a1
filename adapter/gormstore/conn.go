package gormstore

import (
	"context"
	"database/sql/driver"
	"time"

	"github.com/jackc/pgx/v5/stdlib"
)

// statementDeadline bounds a statement and the reading of its rows. The server's own time-outs are shorter
// (statement_timeout is 10 s), so it takes effect only if the server or the network has stopped; the connection is then
// closed.
const statementDeadline = 12 * time.Second

// serving opens connections on which no caller's context ends a statement. If a context is done while the driver waits
// for the server, the driver would close the connection; the next call dials another, and the server starts a process
// for it. That costs more than the rest of the statement, and a client causes it by hanging up. So the end of a request
// is not the end of its statement:
//
//   - a call whose context is done does not wait for a connection of the pool, and starts no statement;
//   - a statement that has begun runs to its end, or to statementDeadline;
//   - a connection that is being opened is opened, and serves the next call that needs one. Each host has its
//     connect_timeout for that.
//
// Calls of clients that hung up do not accumulate. Those that wait for a connection leave the queue when their context
// is done. Those that hold one are no more than the pool has connections, and hold it no longer than for a client that
// is still connected: a second if they wait for a row (lock_timeout), otherwise 10 s (statement_timeout).
//
// The deadline is set on the socket and not by a context. So it covers the rows too, which are read after the query has
// returned, and the driver needs no goroutine to watch for it. It ends a statement where TCP detects nothing, as with a
// stopped server whose kernel still acknowledges.
type serving struct {
	connector
	limit *poolLimit
}

// Connect implements driver.Connector.
func (s serving) Connect(ctx context.Context) (driver.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if !s.limit.begin() {
		return nil, errNoSlot
	}
	c, err := s.connector.Connect(context.WithoutCancel(ctx))
	s.limit.end(err)
	if err != nil {
		return nil, err
	}
	return &servingConn{c.(*stdlib.Conn), s.limit}, nil // probe relies on *stdlib.Conn, too
}

// servingConn implements every interface that database/sql looks for in a connection. One goroutine uses it at a time.
type servingConn struct {
	*stdlib.Conn
	limit *poolLimit
}

var _ interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.NamedValueChecker
	driver.Pinger
	driver.QueryerContext
	driver.SessionResetter
	driver.Validator
} = (*servingConn)(nil)

// begin returns the context for a statement that starts now, or an error if ctx is done: nothing was sent yet.
func (c *servingConn) begin(ctx context.Context) (context.Context, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return context.WithoutCancel(ctx), c.within(statementDeadline)
}

// within sets the deadline for the next messages in both directions. If that fails, the connection is closed.
func (c *servingConn) within(d time.Duration) error {
	if err := c.Conn.Conn().PgConn().Conn().SetDeadline(time.Now().Add(d)); err != nil {
		return driver.ErrBadConn
	}
	return nil
}

// QueryContext implements driver.QueryerContext.
func (c *servingConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	ctx, err := c.begin(ctx)
	if err != nil {
		return nil, err
	}
	return c.Conn.QueryContext(ctx, query, args)
}

// ExecContext implements driver.ExecerContext.
func (c *servingConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	ctx, err := c.begin(ctx)
	if err != nil {
		return nil, err
	}
	return c.Conn.ExecContext(ctx, query, args)
}

// PrepareContext implements driver.ConnPrepareContext.
func (c *servingConn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	ctx, err := c.begin(ctx)
	if err != nil {
		return nil, err
	}
	s, err := c.Conn.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	return &servingStmt{s, c, query}, nil
}

// Prepare implements driver.Conn.
func (c *servingConn) Prepare(query string) (driver.Stmt, error) {
	return c.PrepareContext(context.Background(), query)
}

// BeginTx implements driver.ConnBeginTx.
func (c *servingConn) BeginTx(ctx context.Context, o driver.TxOptions) (driver.Tx, error) {
	ctx, err := c.begin(ctx)
	if err != nil {
		return nil, err
	}
	tx, err := c.Conn.BeginTx(ctx, o)
	if err != nil {
		return nil, err
	}
	return servingTx{tx, c}, nil
}

// Begin implements driver.Conn.
func (c *servingConn) Begin() (driver.Tx, error) {
	return c.BeginTx(context.Background(), driver.TxOptions{})
}

// Ping implements driver.Pinger.
func (c *servingConn) Ping(ctx context.Context) error {
	ctx, err := c.begin(ctx)
	if err != nil {
		return err
	}
	return c.Conn.Ping(ctx)
}

// ResetSession implements driver.SessionResetter. It checks that the server of an idle connection still responds.
func (c *servingConn) ResetSession(ctx context.Context) error {
	if err := c.within(statementDeadline); err != nil {
		return err
	}
	return c.Conn.ResetSession(context.WithoutCancel(ctx))
}

// IsValid implements driver.Validator. Without it database/sql would close the connection of each transaction whose
// context is done, instead of rolling back.
func (c *servingConn) IsValid() bool { return !c.Conn.Conn().IsClosed() }

// Close implements driver.Conn.
func (c *servingConn) Close() error {
	c.limit.lost()
	_ = c.within(statementDeadline) // for the Terminate message; the connection is closed in any case
	return c.Conn.Close()
}

// servingTx ends a transaction with a deadline of its own.
type servingTx struct {
	driver.Tx
	c *servingConn
}

// Commit implements driver.Tx.
func (t servingTx) Commit() error {
	if err := t.c.within(statementDeadline); err != nil {
		return err
	}
	return t.Tx.Commit()
}

// Rollback implements driver.Tx.
func (t servingTx) Rollback() error {
	if err := t.c.within(statementDeadline); err != nil {
		return err
	}
	return t.Tx.Rollback()
}

// servingStmt is a prepared statement. The driver finds it by its text.
type servingStmt struct {
	driver.Stmt
	c     *servingConn
	query string
}

// QueryContext implements driver.StmtQueryContext.
func (s *servingStmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	return s.c.QueryContext(ctx, s.query, args)
}

// ExecContext implements driver.StmtExecContext.
func (s *servingStmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	return s.c.ExecContext(ctx, s.query, args)
}

// Close implements driver.Stmt.
func (s *servingStmt) Close() error {
	_ = s.c.within(statementDeadline) // on error the connection is closed
	return s.Stmt.Close()
}
