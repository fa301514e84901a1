package arch

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"unicode"

	"github.com/google/go-cmp/cmp"
)

// A page is a file in Markdown, taken apart as far as it can be held to the tree.
type page struct {
	prose   string   // without code, which has no links
	anchors []string // those of its headings, as GitHub makes them
	spans   []string // what is written as code within a line
}

var (
	inlineLink  = regexp.MustCompile(`\]\(<?([^()\s>]+(?:\([^()\s]*\))?)>?(?:\s+"[^"]*")?\)`)
	linkByName  = regexp.MustCompile(`(?m)^ {0,3}\[[^\]]+\]:\s+<?(\S+?)>?$`)
	heading     = regexp.MustCompile(`(?m)^ {0,3}#{1,6}[ \t]+(.*?)[ \t]*#*$`)
	ownAnchor   = regexp.MustCompile(`<a (?:id|name)="([^"]+)">`)
	linkedWords = regexp.MustCompile(`!?\[([^\]]*)\]\([^)]*\)`)
	codeSpan    = regexp.MustCompile("`([^`]+)`")
)

// read takes the text of a page apart.
func read(text string) (p page) {
	var prose strings.Builder
	fence := "" // that ends the block of code
	for line := range strings.Lines(text) {
		bare := strings.TrimSpace(line)
		switch {
		case fence == "" && (strings.HasPrefix(bare, "```") || strings.HasPrefix(bare, "~~~")):
			fence = strings.TrimSuffix(bare, strings.TrimLeft(bare, bare[:1]))
		case fence == "":
			prose.WriteString(line)
		case strings.HasPrefix(bare, fence):
			fence = ""
		}
	}
	for _, span := range codeSpan.FindAllStringSubmatch(prose.String(), -1) {
		p.spans = append(p.spans, span[1])
	}
	times := map[string]int{}
	for _, h := range heading.FindAllStringSubmatch(prose.String(), -1) {
		anchor := slug(h[1])
		if n := times[anchor]; n > 0 {
			p.anchors = append(p.anchors, fmt.Sprintf("%s-%d", anchor, n))
		} else {
			p.anchors = append(p.anchors, anchor)
		}
		times[anchor]++
	}
	for _, a := range ownAnchor.FindAllStringSubmatch(prose.String(), -1) {
		p.anchors = append(p.anchors, a[1])
	}
	p.prose = codeSpan.ReplaceAllString(prose.String(), "``")
	return p
}

// slug is the anchor that GitHub gives a heading: its text in lower case, of which letters, digits, hyphens and
// underscores stay, and blanks become hyphens.
func slug(text string) string {
	text = linkedWords.ReplaceAllString(text, "$1")
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r):
			return unicode.ToLower(r)
		default:
			return -1
		}
	}, strings.TrimSpace(text))
}

// pages are those of the tree, by name.
func pages(tree fs.FS) (map[string]page, error) {
	all := map[string]page{}
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != "." && (strings.HasPrefix(d.Name(), ".") ||
			slices.Contains([]string{"testdata", "node_modules", working}, d.Name())):
			return fs.SkipDir
		case d.IsDir() || path.Ext(name) != ".md":
			return nil
		}
		text, err := fs.ReadFile(tree, name)
		all[name] = read(string(text))
		return err
	})
	return all, err
}

// deadLinks returns the links of documents that lead to no file, or to no heading in it.
func deadLinks(tree fs.FS) (problems []string, err error) {
	all, err := pages(tree)
	if err != nil {
		return nil, err
	}
	for name, p := range all {
		links := slices.Concat(inlineLink.FindAllStringSubmatch(p.prose, -1), linkByName.FindAllStringSubmatch(p.prose, -1))
		for _, link := range links {
			target := link[1]
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue // of the world, which a test does not depend on
			}
			file, anchor, hasAnchor := strings.Cut(target, "#")
			to := name
			if file != "" {
				to = path.Join(path.Dir(name), file)
			}
			if _, err := fs.Stat(tree, to); err != nil {
				problems = append(problems, fmt.Sprintf("%s links to %s: there is no file %s", name, target, to))
				continue
			}
			if linked, isPage := all[to]; hasAnchor && isPage && !slices.Contains(linked.anchors, anchor) {
				problems = append(problems, fmt.Sprintf("%s links to %s: %s has no such heading", name, target, to))
			}
		}
	}
	slices.Sort(problems)
	return problems, nil
}

var aPath = regexp.MustCompile(`^(?:\./)?((?:` + strings.Join(folders, "|") + `)(?:/[\w.-]+)+)/?$`)

// deadPaths returns the files and folders that pages write as code and that are not in the tree.
func deadPaths(tree fs.FS) (problems []string, err error) {
	all, err := pages(tree)
	if err != nil {
		return nil, err
	}
	for name, p := range all {
		for _, span := range p.spans {
			found := aPath.FindStringSubmatch(span)
			if found == nil {
				continue
			}
			if _, err := fs.Stat(tree, found[1]); err != nil {
				problems = append(problems, fmt.Sprintf("%s names %s, which does not exist", name, found[1]))
			}
		}
	}
	slices.Sort(problems)
	return slices.Compact(problems), nil
}

// A reader who follows a link to nowhere does not know whether the fact moved or was dropped.
func TestNoDocumentHasADeadLink(t *testing.T) {
	problems, err := deadLinks(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Error(p)
	}
}

// A file that a page names and that was moved is not found.
func TestPathsThatDocumentsNameExist(t *testing.T) {
	problems, err := deadPaths(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Error(p)
	}
}

// An invariant without a test is a wish.
func TestEveryInvariantHasATest(t *testing.T) {
	text, err := os.ReadFile("../../ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, found := strings.Cut(string(text), "\n| invariant | held by |\n|---|---|\n")
	table, _, ends := strings.Cut(after, "\n\n")
	if !found || !ends {
		t.Fatal("ARCHITECTURE.md has no table of invariants")
	}
	for row := range strings.Lines(table) {
		if !aTestsName.MatchString(row) {
			t.Errorf("no test holds %s", row)
		}
	}
}

// README is for somebody who has five minutes: what is longer belongs into another document.
func TestREADMEIsReadInFiveMinutes(t *testing.T) {
	const most = 12 << 10
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if len(text) > most {
		t.Errorf("README.md has %d bytes, want %d at most", len(text), most)
	}
}

func TestAHeadingHasTheAnchorThatGitHubGivesIt(t *testing.T) {
	for text, want := range map[string]string{
		"Read the log":                            "read-the-log",
		"One exchange, call by call":              "one-exchange-call-by-call",
		"`go test ./...`, and what_it says":       "go-test--and-what_it-says",
		"A [link](x.md#y) & **more**":             "a-link--more",
		"Über Größe 2":                            "über-größe-2",
		"What's new - today":                      "whats-new---today",
		"Policy of tenants and applications: all": "policy-of-tenants-and-applications-all",
	} {
		if got := slug(text); got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
}

// A check that finds nothing because it looks at nothing would always pass.
func TestADeadLinkIsFound(t *testing.T) {
	const a = "# Title\n\n## Same\n\n## Same\n\n<a name=\"own\"></a>\n\n```sh\n## no heading\n```\n"
	for text, want := range map[string]string{
		"[x](b.md)":                          "",
		"[x](b.md#title)":                    "",
		"[x](b.md#same-1) [y](b.md#own)":     "",
		"[x](sub/c.md)":                      "",
		"[x](sub)":                           "",
		"## Here\n\n[x](#here)":              "",
		"`[x](gone.md)`":                     "",
		"```\n[x](gone.md)\n```":             "",
		"````\n```\n[x](gone.md)\n```\n````": "",
		"[x](https://example.com/gone.md)":   "",
		"[x](gone.md)":                       "a.md links to gone.md: there is no file gone.md",
		"[x](b.md#same-2)":                   "a.md links to b.md#same-2: b.md has no such heading",
		"[x](b.md#no-heading)":               "a.md links to b.md#no-heading: b.md has no such heading",
		"[x](#gone)":                         "a.md links to #gone: a.md has no such heading",
		"[a\nb](gone.md)":                    "a.md links to gone.md: there is no file gone.md",
		"![x](gone.png)":                     "a.md links to gone.png: there is no file gone.png",
		"[x][y]\n\n[y]: gone.md":             "a.md links to gone.md: there is no file gone.md",
		"[x](../above.md)":                   "a.md links to ../above.md: there is no file ../above.md",
		"[`x`](gone.md \"with a title\")":    "a.md links to gone.md: there is no file gone.md",
		"| [x](b.md) | [y](sub/gone.md) |\n": "a.md links to sub/gone.md: there is no file sub/gone.md",
	} {
		tree := fstest.MapFS{
			"a.md": {Data: []byte(text)}, "b.md": {Data: []byte(a)}, "sub/c.md": {Data: []byte("[x](../b.md#own)")},
		}
		wantProblems(t, tree, deadLinks, text, want)
	}
}

func TestADeadPathIsFound(t *testing.T) {
	for text, want := range map[string]string{
		"`domain/a.go`, `./domain`, `domain/`, `adapter/…`": "",
		"`domain/gone.go`":                        "a.md names domain/gone.go, which does not exist",
		"`./domain/gone/`":                        "a.md names domain/gone, which does not exist",
		"`domain/gone.go:12`, `domain/*_test.go`": "",
		"```\ndomain/gone.go\n```":                "",
	} {
		tree := fstest.MapFS{"a.md": {Data: []byte(text)}, "domain/a.go": {Data: []byte("package domain\n")}}
		wantProblems(t, tree, deadPaths, text, want)
	}
}

// wantProblems checks what find finds in tree: want, or nothing if that is empty.
func wantProblems(t *testing.T, tree fs.FS, find func(fs.FS) ([]string, error), text, want string) {
	t.Helper()
	got, err := find(tree)
	if err != nil {
		t.Fatal(err)
	}
	var wanted []string
	if want != "" {
		wanted = []string{want}
	}
	if diff := cmp.Diff(wanted, got); diff != "" {
		t.Errorf("%s: problems (-want +got):\n%s", text, diff)
	}
}

// Alerts and the dashboard link to the section that says what to do.
func TestFilesOfMonitoringLinkToHeadingsThatExist(t *testing.T) {
	tree := os.DirFS("../..")
	all, err := pages(tree)
	if err != nil {
		t.Fatal(err)
	}
	link := regexp.MustCompile(`https://` + module + `/blob/main/([A-Z]+\.md)#([\w-]*)`)
	for _, name := range []string{"prometheus-alerts.yaml", "grafana-dashboard.json"} {
		text, err := fs.ReadFile(tree, name)
		if err != nil {
			t.Fatal(err)
		}
		links := link.FindAllStringSubmatch(string(text), -1)
		for _, l := range links {
			if !slices.Contains(all[l[1]].anchors, l[2]) {
				t.Errorf("%s links to %s#%s: there is no such heading", name, l[1], l[2])
			}
		}
		if len(links) == 0 {
			t.Errorf("%s has no link to a document", name)
		}
	}
}
