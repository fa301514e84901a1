package cli_test

import (
	"errors"
	"io"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/adapter/cli"
	"github.com/refreshd/refreshd/domain"
)

const table = "THE TABLE OF SETTINGS\n"

func settings(w io.Writer) error {
	_, err := io.WriteString(w, table)
	return err
}

func usage(t *testing.T, verb string) string {
	t.Helper()
	var out strings.Builder
	if err := cli.VerbUsage(&out, verb, settings); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

var verbs = []string{"serve", "migrate", "apply", "purge", "health", "version"}

func TestHelpNamesEveryVerbAndEndsWithTheSettings(t *testing.T) {
	var out strings.Builder
	if err := cli.Usage(&out, settings); err != nil {
		t.Fatal(err)
	}
	for _, verb := range verbs {
		if !regexp.MustCompile(`(?m)^  ` + verb + ` .*  \w`).MatchString(out.String()) {
			t.Errorf("the help says nothing of %s:\n%s", verb, out.String())
		}
	}
	if !strings.HasSuffix(out.String(), "\n\n"+table) {
		t.Errorf("the help does not end with the table of settings:\n%s", out.String())
	}
	if got := usage(t, "frobnicate"); got != out.String() {
		t.Errorf("of an unknown verb:\n%s\nwant the help as a whole", got)
	}
}

func TestEveryVerbHasHelpOfItsOwn(t *testing.T) {
	for _, verb := range verbs {
		got := usage(t, verb)
		if !strings.HasPrefix(got, "Usage: refreshd "+verb) && !strings.HasPrefix(got, "Usage: refreshd ["+verb+"]") {
			t.Errorf("the help of %s begins with: %.60s", verb, got)
		}
		if takesSettings := verb != "version"; strings.HasSuffix(got, "\n\n"+table) != takesSettings {
			t.Errorf("the help of %s ends with the settings: %t, want %t", verb, !takesSettings, takesSettings)
		}
	}
}

func TestHelpFitsATerminal(t *testing.T) {
	for _, verb := range append(verbs, "") {
		for line := range strings.Lines(usage(t, verb)) {
			if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > 100 {
				t.Errorf("help of %q: %d columns, want at most 100: %s", verb, n, line)
			}
		}
	}
}

// yamlIn is the indented block of a help text that begins with that line.
func yamlIn(t *testing.T, text, first string) string {
	t.Helper()
	_, after, found := strings.Cut(text, "\n  "+first)
	if !found {
		t.Fatalf("no %q in:\n%s", first, text)
	}
	block, _, _ := strings.Cut(after, "\n\n")
	return "  " + first + block + "\n"
}

func TestTheKickstartFileOfTheHelpCanBeApplied(t *testing.T) {
	k := read(t, yamlIn(t, usage(t, "apply"), "tenants:"), map[string]string{"BACKEND_KEY": "ak_0123456789abcdefghijklmn"}).Kickstart
	for _, kt := range k.Tenants {
		if err := kt.Tenant.Validate(); err != nil {
			t.Error(err)
		}
		for _, a := range kt.Applications {
			if err := a.Validate(kt.Tenant); err != nil {
				t.Error(err)
			}
		}
	}
	for _, ka := range k.APIKeys {
		if err := ka.APIKey.Validate(); err != nil {
			t.Error(err)
		}
	}
	if len(k.Tenants) != 1 || len(k.Tenants[0].Applications) != 1 || len(k.APIKeys) != 1 || k.APIKeys[0].APIKey.ExpiresAt.IsZero() {
		t.Errorf("the example is not whole: %+v", k)
	}
}

// The help is where an operator looks the defaults up.
func TestTheDefaultsOfTheHelpAreTheDefaults(t *testing.T) {
	block := yamlIn(t, usage(t, "apply"), "active:")
	tenant := read(t, "tenants:\n- id: a\n"+block, nil).Kickstart.Tenants[0].Tenant
	got, err := domain.Combine(tenant, domain.Application{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(domain.DefaultPolicy(), got); diff != "" {
		t.Errorf("(-default +help):\n%s", diff)
	}
	set := reflect.ValueOf(tenant.Settings)
	for i := range set.NumField() {
		if set.Field(i).IsNil() {
			t.Errorf("the help leaves out %s", set.Type().Field(i).Name)
		}
	}
}

type closedWriter struct{}

var errClosed = errors.New("closed")

func (closedWriter) Write([]byte) (int, error) { return 0, errClosed }

func TestHelpTellsThatItCouldNotBeWritten(t *testing.T) {
	if err := cli.Usage(closedWriter{}, settings); !errors.Is(err, errClosed) {
		t.Errorf("Usage = %v, want %v", err, errClosed)
	}
	if err := cli.Usage(io.Discard, func(io.Writer) error { return errClosed }); !errors.Is(err, errClosed) {
		t.Errorf("Usage = %v, want the error of the settings", err)
	}
}
