package run

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/refreshd/refreshd/adapter/cli"
	"github.com/refreshd/refreshd/adapter/jwxsigner"
	"github.com/refreshd/refreshd/adapter/logsink"
	"github.com/refreshd/refreshd/adapter/memstore"
	"github.com/refreshd/refreshd/adapter/metrics"
	"github.com/refreshd/refreshd/config"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
	"github.com/refreshd/refreshd/usecase"
	"github.com/refreshd/refreshd/usecase/admin"
)

// service holds the parts of a running refreshd.
type service struct {
	store   port.Store
	kind    Store
	place   place
	signer  port.Signer
	keys    *usecase.Keys
	feed    *usecase.Feed
	refused *usecase.Refusals
	metrics *metrics.Metrics
	log     *slog.Logger
	clock   usecase.Clock
	copied  *usecase.CopiedKeys // nil for none
	// published is set by publishing.
	published *usecase.Publish
	// purgeAsked receives when the janitor should make a pass: a token key was revoked.
	purgeAsked chan struct{}
}

// newService returns the parts that need no store.
func (p process) newService(c config.Config) *service {
	kind := p.storeOf(c)
	return &service{
		kind: kind, place: placeOf(kind, c.Database), signer: jwxsigner.New(rand.Reader),
		metrics: metrics.New(p.programVersion()), log: p.logger(c), copied: p.copied, clock: time.Now,
		purgeAsked: make(chan struct{}, 1),
	}
}

// open connects to the store, checks its schema or, if it is local, migrates it, and opens its keys. After an error
// nothing else has changed.
func (p process) open(ctx context.Context, c config.Config) (*service, error) {
	s := p.newService(c)
	if sink, ok := p.stderr.(*logsink.Sink); ok {
		s.metrics.LogLinesLost(sink.Lost)
	}
	unlock, err := s.place.alone(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := s.openStore(ctx, c); err != nil {
		return nil, err
	}
	if err := s.openKeys(ctx, c, false); err != nil {
		return nil, errors.Join(err, s.store.Close())
	}
	return s, nil
}

// openStore opens the store. It migrates a local store, because no other process does.
func (s *service) openStore(ctx context.Context, c config.Config) error {
	isEmpty, err := s.place.isEmpty(!c.MasterKey.IsZero())
	if err != nil {
		return err
	}
	store, err := s.kind.Open(ctx, c.Database, s.log)
	if err != nil {
		return err
	}
	if s.kind.Local && store.Migrate != nil {
		level := slog.LevelInfo
		if isEmpty {
			level = slog.LevelDebug // the notice of a first start is enough
		}
		err = store.Migrate(ctx, func(line string) { s.log.Log(ctx, level, line, "event", eventMigrated) })
	}
	if err == nil {
		err = store.Ready(ctx)
	}
	if err != nil {
		return errors.Join(err, store.Close())
	}
	if store.Measure != nil {
		store.Measure(s.metrics)
	}
	s.store = s.metrics.Store(store.Store)
	s.feed = s.newFeed()
	s.refused = usecase.NewRefusals(s.store, func(err error) {
		s.log.Warn("the audit trail lacks an event", "event", eventRefusalLost, "error", err)
	})
	return nil
}

// openReadOnly is open without a write: it creates no file and migrates nothing. A database that does not exist
// counts as an empty one.
func (p process) openReadOnly(ctx context.Context, c config.Config) (*service, error) {
	s, err := p.openWithoutKeys(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := s.openKeys(ctx, c, true); err != nil {
		return nil, errors.Join(err, s.store.Close())
	}
	return s, nil
}

// openWithoutKeys is openReadOnly for a command that needs no keys, and so no master key.
func (p process) openWithoutKeys(ctx context.Context, c config.Config) (*service, error) {
	s := p.newService(c)
	isEmpty, err := s.place.isEmpty(!c.MasterKey.IsZero())
	if err != nil {
		return nil, err
	}
	if isEmpty {
		s.place, s.store = inMemory{}, memstore.New()
	} else {
		store, err := s.kind.Open(ctx, c.Database, s.log)
		if err != nil {
			return nil, err
		}
		if err := store.Ready(ctx); err != nil {
			return nil, errors.Join(err, store.Close())
		}
		s.store = store.Store
	}
	return s, nil
}

func (s *service) openKeys(ctx context.Context, c config.Config, readOnly bool) error {
	master, err := s.masterKey(ctx, c, readOnly)
	if err != nil {
		return err
	}
	k := usecase.KeysConfig{Store: s.store, Signer: s.signer, Master: master, Clock: s.clock, Random: rand.Reader}
	k.ReadOnly, k.Copied, k.Rotation, k.CacheAge = readOnly, s.copied, c.KeyRotation, c.KeyCacheAge
	k.TokenKeyRevoked = s.askPurge
	if !c.MasterKeyPrevious.IsZero() {
		previous, err := domain.ParseMasterKey(c.MasterKeyPrevious)
		if err != nil {
			return fmt.Errorf("REFRESHD_MASTER_KEY_PREVIOUS: %w", err)
		}
		k.Previous = &previous
	}
	s.keys, err = usecase.OpenKeys(ctx, k)
	if errors.Is(err, domain.ErrWrongMasterKey) {
		return fmt.Errorf("%w: start with the master key that this store was made with; to change it, name that one in "+
			"REFRESHD_MASTER_KEY_PREVIOUS and run `refreshd key reseal`. Nothing was changed", err)
	}
	return err
}

// askPurge has the janitor make a pass soon.
func (s *service) askPurge() {
	select {
	case s.purgeAsked <- struct{}{}:
	default: // it was asked already
	}
}

// masterKey returns the configured key, or that of the place of the store.
func (s *service) masterKey(ctx context.Context, c config.Config, readOnly bool) (domain.MasterKey, error) {
	if !c.MasterKey.IsZero() {
		return domain.ParseMasterKey(c.MasterKey)
	}
	return s.place.masterKey(ctx, s.store, readOnly)
}

func (s *service) applier() *admin.Apply {
	return &admin.Apply{
		Tenants: s.store, Applications: s.store, APIKeys: s.store, Keys: s.keys,
		Clock: s.clock, Random: rand.Reader, ParseClientKeys: s.keys.Signer.ParseClientKeys,
	}
}

func (s *service) pruner() *admin.Prune {
	return &admin.Prune{Apply: *s.applier(), Tokens: s.store}
}

func (p process) logger(c config.Config) *slog.Logger {
	o := &slog.HandlerOptions{Level: c.LogLevel}
	to := func(w io.Writer) *slog.Logger { return slog.New(slog.NewJSONHandler(w, o)) }
	if c.LogFormat == config.LogText || c.LogFormat == config.LogAuto && cli.IsTerminal(p.stderr) {
		to = func(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, o)) }
	}
	if sink, ok := p.stderr.(*logsink.Sink); ok {
		sink.Announce(func(lines int64) []byte {
			var line bytes.Buffer
			to(&line).Log(context.Background(), max(c.LogLevel, slog.LevelWarn),
				"lines of the log were lost here, because it was not read or could not be written",
				"event", eventLogLost, "lines", lines)
			return line.Bytes()
		})
	}
	return to(p.stderr)
}
