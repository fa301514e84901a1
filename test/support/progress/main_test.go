package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// A wrapper that hides a failure or its reason would be worse than no progress.
func TestFailuresAreShownInFullAndFailTheRun(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":           "module example.org/m\n\ngo 1.24\n",
		"good/a_test.go":   "package a\n\nimport \"testing\"\n\nfunc TestGood(t *testing.T) { t.Log(\"quiet\") }\n",
		"empty/a.go":       "package a\n",
		"broken/a.go":      "package a\n\nvar x int = \"broken text\"\n",
		"broken/a_test.go": "package a\n",
		"bad/a_test.go": `package a

import "testing"

func TestGood(t *testing.T) { t.Log("quiet") }

func TestBad(t *testing.T) {
	t.Log("before")
	t.Run("inner", func(t *testing.T) { t.Error("wrong by 7") })
	t.Run("fine", func(t *testing.T) { t.Log("quiet") })
}
`,
		"panics/a_test.go": "package a\n\nimport \"testing\"\n\nfunc TestPanics(*testing.T) { panic(\"at a disco\") }\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	t.Setenv("GOWORK", "off")

	var out bytes.Buffer
	if status, err := run([]string{"./good", "./empty"}, &out); status != 0 || err != nil {
		t.Errorf("got status %d, %v, want 0\n%s", status, err, &out)
	}
	if text := out.String(); !strings.Contains(text, "ok    example.org/m/good") || strings.Contains(text, "quiet") ||
		!strings.Contains(text, "PASS  1 packages, 1 tests") {
		t.Errorf("got\n%s", text)
	}

	out.Reset()
	if status, err := run([]string{"./..."}, &out); status != 1 || err != nil {
		t.Errorf("got status %d, %v, want 1\n%s", status, err, &out)
	}
	text := out.String()
	for _, want := range []string{"before", "wrong by 7", "at a disco", "broken text", "ok    example.org/m/good",
		"FAIL  example.org/m/bad", "FAIL  1 packages, 3 tests passed; exit status 1; failed: example.org/m/b"} {
		if !strings.Contains(text, want) {
			t.Errorf("got\n%s\nwant %q", text, want)
		}
	}
	if strings.Contains(text, "quiet") {
		t.Errorf("got\n%s\nwant nothing of the tests that passed", text)
	}

	// Two runs have one verdict, whichever of them fails, and may have one package.
	for _, args := range [][]string{
		{"-run=Good", "./good", "./bad", and, "-run=TestBad", "./bad"},
		{"-run=TestBad", "./bad", and, "-run=Good", "./good", "./bad"},
	} {
		out.Reset()
		if status, err := run(args, &out); status != 1 || err != nil {
			t.Errorf("%q: got status %d, %v, want 1\n%s", args, status, err, &out)
		}
		text := out.String()
		if strings.Count(text, "wrong by 7") != 1 || strings.Count(text, "ok    example.org/m/") != 2 ||
			!strings.Contains(text, "FAIL  2 packages, 3 tests passed; exit status 1; failed: example.org/m/bad") {
			t.Errorf("%q: got\n%s", args, text)
		}
	}
}

// A package that takes minutes must not look like one that hangs: a line says that it is running.
func TestThereIsASignOfLife(t *testing.T) {
	var out bytes.Buffer
	p := newPrinter(&out)
	p.alive()
	if out.Len() > 0 {
		t.Errorf("got %q at the beginning, want nothing", &out)
	}
	long := func() { p.printed = time.Now().Add(-every) }
	long()
	p.alive()
	for _, text := range []string{`{"Action":"start","Package":"github.com/refreshd/refreshd/test/e2e"}`,
		`{"Action":"pass","Package":"github.com/refreshd/refreshd/test/e2e","Test":"TestA"}`} {
		p.line("", text+"\n")
	}
	long()
	p.alive()
	if text := out.String(); !strings.Contains(text, "building\n") ||
		!strings.Contains(text, "...   test/e2e (1 tests passed)\n") {
		t.Errorf("got\n%s", text)
	}
}

// The suite has to stay short: each run ends with what takes longest, the longest first, and no more than ten of them.
func TestTheSlowestAreNamedAtTheEnd(t *testing.T) {
	var out bytes.Buffer
	p := newPrinter(&out)
	for _, text := range []string{
		`{"Action":"start","Package":"a"}`,
		`{"Action":"pass","Package":"a","Test":"TestA/inner","Elapsed":90}`,
		`{"Action":"pass","Package":"a","Test":"TestA","Elapsed":91}`,
		`{"Action":"fail","Package":"a","Test":"TestB","Elapsed":92}`,
		`{"Action":"pass","Package":"a","Test":"TestC","Elapsed":0.5}`,
		`{"Action":"fail","Package":"a","Elapsed":200}`,
	} {
		p.line("", text+"\n")
	}
	for i := range 2 * slowest {
		p.line("", fmt.Sprintf(`{"Action":"start","Package":"p%d"}`+"\n", i))
		p.line("", fmt.Sprintf(`{"Action":"pass","Package":"p%d","Elapsed":%d}`+"\n", i, i))
	}
	out.Reset()
	p.end(1)
	var got []string
	for _, line := range strings.Split(out.String(), "\n") {
		if _, rest, ok := strings.Cut(line, "slow  "); ok {
			got = append(got, rest)
		}
	}
	want := []string{"200 s  a", "92 s  a TestB", "91 s  a TestA", "19 s  p19", "18 s  p18", "17 s  p17", "16 s  p16",
		"15 s  p15", "14 s  p14", "13 s  p13"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
