package run

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/refreshd/refreshd/adapter/cli"
	"github.com/refreshd/refreshd/config"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/usecase"
	"github.com/refreshd/refreshd/usecase/admin"
)

// apply applies a kickstart file to the store; a dry run only prints the changes. The file is read and checked before
// the database is opened: a misspelt name must not make a database.
func (p process) apply(ctx context.Context, c config.Config, o cli.ApplyOptions) error {
	if err := placeOf(p.storeOf(c), c.Database).refuses("apply"); err != nil {
		return err
	}
	document, err := p.readDocument(ctx, o)
	if err != nil {
		return err
	}
	if document.IsSealed() {
		fmt.Fprintf(p.stderr, "The file has %d keys. A store without keys gets them.\n", len(document.Keys))
	}
	// With keys, a dry run comes first: the keys must not be put into a store that then refuses the objects.
	var would []admin.Applied
	if o.DryRun || document.IsSealed() {
		if would, err = p.compare(ctx, c, document, o.Prune, "deleted"); err != nil {
			return err
		}
	}
	if o.DryRun {
		cli.PrintApplied(p.stdout, would, true)
		return nil
	}
	return p.withKeysOf(document).applyTo(ctx, c, document, o)
}

func (p process) applyTo(ctx context.Context, c config.Config, document cli.Document, o cli.ApplyOptions) (err error) {
	s, err := p.open(ctx, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.store.Close()) }()
	if !o.Prune {
		return p.kickstart(ctx, s, document)
	}
	// Nothing is asked and nothing is deleted for a file that the store refuses.
	if _, err := s.applier().DryRun(ctx, document.Kickstart); err != nil {
		return document.Explain(err)
	}
	unnamed, err := s.pruner().Unnamed(ctx, document.Kickstart)
	if err != nil {
		return err
	}
	if err := p.confirm(ctx, unnamed, document.Kickstart, o.Yes); err != nil {
		return err
	}
	done, err := s.applier().Do(ctx, document.Kickstart)
	if err == nil {
		var gone []admin.Applied
		gone, err = s.pruner().Delete(ctx, document.Kickstart.By, unnamed)
		done = append(done, gone...)
	}
	if err == nil || len(done) > 0 {
		cli.PrintApplied(p.stdout, done, false)
	}
	return document.Explain(err)
}

// diff prints how the store differs from a kickstart file, and reports whether it does.
func (p process) diff(ctx context.Context, c config.Config, o cli.ApplyOptions) (differs bool, err error) {
	if err := placeOf(p.storeOf(c), c.Database).refuses("diff"); err != nil {
		return false, err
	}
	document, err := p.readDocument(ctx, o)
	if err != nil {
		return false, err
	}
	would, err := p.compare(ctx, c, document, true, cli.NotInFile)
	if err != nil {
		return false, err
	}
	cli.PrintApplied(p.stdout, would, true)
	for _, one := range would {
		differs = differs || one.Action != "unchanged"
	}
	return differs, nil
}

// compare returns what an apply would do. If unnamed is true it also returns the objects that the file does not name,
// with that action. It writes nothing.
func (p process) compare(
	ctx context.Context, c config.Config, document cli.Document, unnamed bool, action string,
) (would []admin.Applied, err error) {
	s, err := p.withKeysOf(document).openReadOnly(ctx, c)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.store.Close()) }()
	if would, err = s.applier().DryRun(ctx, document.Kickstart); err != nil || !unnamed {
		return would, document.Explain(err)
	}
	rest, err := s.pruner().Unnamed(ctx, document.Kickstart)
	for _, one := range rest {
		one.Applied.Action = action
		would = append(would, one.Applied)
	}
	if err != nil || document.IsSealed() { // a sealed file has all keys of its store
		return would, err
	}
	keys, err := s.pruner().UnnamedKeys(ctx, document.Kickstart)
	for _, one := range keys {
		one.Action = cli.NotInFile
		would = append(would, one)
	}
	return would, err
}

// confirm returns an error unless the user agrees that these objects are deleted.
func (p process) confirm(ctx context.Context, unnamed []admin.Unnamed, k admin.Kickstart, yes bool) error {
	if len(unnamed) == 0 {
		return nil
	}
	list := make([]admin.Applied, len(unnamed))
	for i, one := range unnamed {
		list[i] = one.Applied
		list[i].Action = "delete"
	}
	cli.PrintUnnamed(p.stderr, list, k.HasNoKey(time.Now()))
	switch {
	case yes:
		return nil
	case !p.terminal().CanAsk():
		return &cli.Failure{
			Status: cli.StatusUsage,
			Err:    errors.New("there is no terminal to ask: add --yes to delete these; nothing was changed"),
		}
	}
	agreed, err := p.terminal().Confirm(ctx, "Type yes to apply the file and delete these: ")
	if err == nil && !agreed {
		err = errors.New("not confirmed: nothing was changed")
	}
	return err
}

// export writes the configuration as a kickstart file.
func (p process) export(ctx context.Context, c config.Config, o cli.ExportOptions) (err error) {
	if err := placeOf(p.storeOf(c), c.Database).refuses("export"); err != nil {
		return err
	}
	var passphrase domain.Secret
	if o.WithKeys {
		if passphrase, err = p.terminal().NewPassphrase(ctx, o.PassphraseFile); err != nil {
			return err
		}
	}
	open := p.openWithoutKeys
	if o.WithKeys {
		open = p.openReadOnly
	}
	s, err := open(ctx, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.store.Close()) }()
	k, err := (&admin.Export{Tenants: s.store, Applications: s.store, APIKeys: s.store, Keys: s.store}).Do(ctx)
	if err != nil {
		return err
	}
	sealed := ""
	if o.WithKeys {
		// After the configuration, so that each key that it needs is among them.
		keys, err := s.keys.Copy(ctx)
		if err != nil {
			return err
		}
		if sealed, err = cli.Seal(k, keys, passphrase, rand.Reader); err != nil {
			return err
		}
	}
	return cli.Program{Stdout: p.stdout, Stderr: p.stderr}.WriteExport(k, sealed, o.File)
}

func (p process) terminal() cli.Terminal { return cli.Terminal{In: p.stdin, Out: p.stderr} }

// readDocument reads a kickstart file, checks what can be checked without a store, and opens its sealed keys.
func (p process) readDocument(ctx context.Context, o cli.ApplyOptions) (cli.Document, error) {
	read := cli.ReadKickstart
	if o.KeepKeys {
		read = cli.ReadKickstartWithoutKeys
	}
	document, err := p.readKickstart(o.File, read)
	if err != nil {
		return cli.Document{}, err
	}
	if o.Force {
		document = document.Force()
	}
	if o.Prune {
		if err := document.Explain(document.Kickstart.ValidateComplete()); err != nil {
			return cli.Document{}, err
		}
	}
	if !document.IsSealed() {
		return document, nil
	}
	passphrase, err := p.terminal().Passphrase(ctx, o.PassphraseFile)
	if err != nil {
		return cli.Document{}, err
	}
	return document.Unseal(passphrase)
}

func (p process) readKickstart(
	file string, read func(string, []byte, func(string) (string, bool)) (cli.Document, error),
) (cli.Document, error) {
	text, err := cli.ReadFile(file)
	if err != nil {
		return cli.Document{}, fmt.Errorf("read the kickstart file: %w", err)
	}
	document, err := read(file, text, p.lookupEnv)
	if err != nil {
		return cli.Document{}, err
	}
	return document, document.Explain(document.Kickstart.Validate())
}

// withKeysOf returns a process that puts the keys of the document into a store that has none.
func (p process) withKeysOf(document cli.Document) process {
	if document.IsSealed() {
		p.copied = &usecase.CopiedKeys{By: document.Kickstart.By, Keys: document.Keys}
	}
	return p
}

func (p process) kickstart(ctx context.Context, s *service, document cli.Document) error {
	applied, err := s.applier().Do(ctx, document.Kickstart)
	if err == nil || len(applied) > 0 {
		cli.PrintApplied(p.stdout, applied, false)
	}
	return document.Explain(err)
}

func (p process) lookupEnv(name string) (string, bool) {
	for i := len(p.environ) - 1; i >= 0; i-- {
		if value, ok := strings.CutPrefix(p.environ[i], name+"="); ok {
			return value, true
		}
	}
	return "", false
}
