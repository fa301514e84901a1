package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/refreshd/refreshd/domain"
)

// minPassphrase is the least length of a passphrase in bytes: it alone protects every key of the deployment.
const minPassphrase = 12

// Terminal is where a command asks its user. In need not be a terminal.
type Terminal struct {
	In  io.Reader
	Out io.Writer
}

// CanAsk reports whether there is a user to ask.
func (t Terminal) CanAsk() bool { return t.In != nil && IsTerminal(t.In) }

// NewPassphrase returns the passphrase in the file, or asks for it twice if file is empty. It refuses a short one.
func (t Terminal) NewPassphrase(ctx context.Context, file string) (domain.Secret, error) {
	first, err := t.Passphrase(ctx, file)
	if err != nil {
		return domain.Secret{}, err
	}
	if len(first.Reveal()) < minPassphrase {
		return domain.Secret{}, fmt.Errorf("the passphrase has less than %d bytes: it alone protects the keys in the file; "+
			"make one with `openssl rand -base64 24`", minPassphrase)
	}
	if file != "" {
		return first, nil
	}
	again, err := t.ask(ctx, "The passphrase again: ", true)
	if err == nil && !first.Equal(domain.NewSecret(again)) {
		err = errors.New("the two passphrases differ")
	}
	return first, err
}

// Passphrase returns the passphrase in the file, or asks for it if file is empty.
func (t Terminal) Passphrase(ctx context.Context, file string) (domain.Secret, error) {
	var text string
	if file == "" {
		if !t.CanAsk() {
			return domain.Secret{}, errors.New("the keys need a passphrase, and there is no terminal to ask for it: " +
				"name a file that holds it with --passphrase-file")
		}
		var err error
		if text, err = t.ask(ctx, "Passphrase of the keys: ", true); err != nil {
			return domain.Secret{}, err
		}
	} else {
		content, err := ReadFile(file)
		if err != nil {
			return domain.Secret{}, fmt.Errorf("read the passphrase: %w", err)
		}
		text = withoutLineBreak(string(content))
	}
	if text == "" {
		return domain.Secret{}, errors.New("the passphrase is empty")
	}
	return domain.NewSecret(text), nil
}

// Confirm asks the question, and reports whether the user typed yes.
func (t Terminal) Confirm(ctx context.Context, question string) (bool, error) {
	typed, err := t.ask(ctx, question, false)
	return strings.TrimSpace(typed) == "yes", err
}

// ask prints the question and returns the line that the user types, which a terminal does not show if it is hidden. It
// returns when ctx is done.
func (t Terminal) ask(ctx context.Context, question string, hidden bool) (string, error) {
	read := t.readLine
	if in, ok := t.In.(*os.File); ok && hidden {
		// Before the question, because what a fast user types must not be shown either. term.ReadPassword is too late.
		before, err := term.MakeRaw(int(in.Fd()))
		if err != nil {
			return "", err
		}
		defer func() { _ = term.Restore(int(in.Fd()), before) }()
		read = t.readHidden
	}
	type answer struct {
		text string
		err  error
	}
	answered := make(chan answer, 1)
	go func() {
		text, err := read(question)
		answered <- answer{text, err}
	}()
	select {
	case a := <-answered:
		return a.text, a.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

func (t Terminal) readLine(question string) (string, error) {
	if _, err := io.WriteString(t.Out, question); err != nil {
		return "", err
	}
	text, err := bufio.NewReader(t.In).ReadString('\n')
	if errors.Is(err, io.EOF) {
		err = nil // an end without an answer is not a yes
	}
	return withoutLineBreak(text), err
}

func (t Terminal) readHidden(question string) (string, error) {
	text, err := term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{t.In, t.Out}, "").ReadPassword(question)
	if errors.Is(err, io.EOF) {
		err = errors.New("no passphrase was typed") // Ctrl-C is no signal in this mode
	}
	return text, err
}

// withoutLineBreak returns text without one line break at its end.
func withoutLineBreak(text string) string {
	if line, ok := strings.CutSuffix(text, "\n"); ok {
		text = strings.TrimSuffix(line, "\r")
	}
	return text
}
