package gormstore

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"gorm.io/gorm/logger"
)

// Values of "event" in the log. OPERATING.md lists all.
const (
	eventStatement     = "database.statement"
	eventSlowStatement = "database.slow_statement"
	eventMessage       = "database.message" // of GORM itself
	eventPoolLimited   = "database.pool_limited"
	eventPoolRestored  = "database.pool_restored"
	eventPlainText     = "database.plain_text"
)

// slow is how long a statement may take before a warning is logged.
const slow = 500 * time.Millisecond

// statementLog writes statements to slog, never their values. GORM's own adapter for slog also logs every error that it
// returns, including expected ones (a duplicate), and formats each statement even where nothing is logged.
type statementLog struct{ to *slog.Logger }

func newStatementLog(to *slog.Logger) statementLog { return statementLog{orDiscard(to)} }

func orDiscard(to *slog.Logger) *slog.Logger {
	if to == nil {
		return slog.New(slog.DiscardHandler)
	}
	return to
}

func (l statementLog) LogMode(logger.LogLevel) logger.Interface { return l }

func (l statementLog) Info(ctx context.Context, format string, args ...any) {
	l.to.InfoContext(ctx, fmt.Sprintf(format, args...), "event", eventMessage)
}

func (l statementLog) Warn(ctx context.Context, format string, args ...any) {
	l.to.WarnContext(ctx, fmt.Sprintf(format, args...), "event", eventMessage)
}

func (l statementLog) Error(ctx context.Context, format string, args ...any) {
	l.to.ErrorContext(ctx, fmt.Sprintf(format, args...), "event", eventMessage)
}

func (l statementLog) Trace(ctx context.Context, begin time.Time, statement func() (string, int64), _ error) {
	level, event, took := slog.LevelDebug, eventStatement, time.Since(begin)
	if took >= slow {
		level, event = slog.LevelWarn, eventSlowStatement
	}
	if !l.to.Enabled(ctx, level) {
		return
	}
	text, rows := statement()
	l.to.LogAttrs(ctx, level, "statement", slog.String("event", event), slog.String("sql", text), slog.Int64("rows", rows),
		slog.Float64("durationMs", float64(took.Microseconds())/1000))
}

// ParamsFilter keeps values from Trace.
func (statementLog) ParamsFilter(_ context.Context, text string, _ ...any) (string, []any) {
	return text, nil
}
