package gormstore

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
)

// preparing opens connections to SQLite that prepare each statement once, as pgx does for PostgreSQL: preparing the
// exchange takes longer than running it. The statements are constants, so a connection keeps a few dozen at most.
//
// GORM's own PrepareStmt shares statements between connections, with a lock that is held while a call waits for a
// connection. With a single connection that deadlocks: a transaction has the connection and needs the lock, another
// call has the lock and needs the connection. It also returns the error of one call's context to other calls that wait
// for the same statement.
//
// As on PostgreSQL (see serving), no caller's context ends a statement that has begun: the driver would interrupt it
// and database/sql would close the connection, the only one that writes. A statement needs no deadline here. It waits
// only for locks, which busy_timeout bounds, and for the disk, which nothing could interrupt.
type preparing struct {
	driver.Connector
	check func() error // an error: no connection may be opened
}

// Connect implements driver.Connector.
func (p preparing) Connect(ctx context.Context) (driver.Conn, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c, err := p.Connector.Connect(context.WithoutCancel(ctx))
	if err != nil {
		return nil, err
	}
	inner, ok := c.(sqliteConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("a connection of type %T lacks a required method", c), c.Close())
	}
	return &preparedConn{sqliteConn: inner, statements: map[string]statement{}}, nil
}

// sqliteConn is what database/sql looks for in a connection.
type sqliteConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.Pinger
	driver.SessionResetter
	driver.Validator
}

type statement interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

// preparedConn is used by one goroutine at a time, like every driver.Conn. It cannot have two open results of one
// statement: rows are read to their end before the next statement.
type preparedConn struct {
	sqliteConn
	statements map[string]statement
}

func (c *preparedConn) prepared(ctx context.Context, query string) (statement, error) {
	if s, ok := c.statements[query]; ok {
		return s, nil
	}
	prepared, err := c.PrepareContext(context.WithoutCancel(ctx), query)
	if err != nil {
		return nil, err
	}
	s, ok := prepared.(statement)
	if !ok {
		return nil, errors.Join(fmt.Errorf("a statement of type %T lacks a required method", prepared), prepared.Close())
	}
	c.statements[query] = s
	return s, nil
}

// ExecContext implements driver.ExecerContext.
func (c *preparedConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s, err := c.prepared(ctx, query)
	if err != nil {
		return nil, err
	}
	return s.ExecContext(context.WithoutCancel(ctx), args)
}

// QueryContext implements driver.QueryerContext.
func (c *preparedConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s, err := c.prepared(ctx, query)
	if err != nil {
		return nil, err
	}
	return s.QueryContext(context.WithoutCancel(ctx), args)
}

// BeginTx implements driver.ConnBeginTx.
func (c *preparedConn) BeginTx(ctx context.Context, o driver.TxOptions) (driver.Tx, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return c.sqliteConn.BeginTx(context.WithoutCancel(ctx), o)
}

// Close implements driver.Conn.
func (c *preparedConn) Close() error {
	var errs []error
	for _, s := range c.statements {
		errs = append(errs, s.Close())
	}
	return errors.Join(append(errs, c.sqliteConn.Close())...)
}
