package arch

import (
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

// treeOf is a tree of one file a package, with what each imports.
func treeOf(imports map[string][]string) fstest.MapFS {
	tree := fstest.MapFS{}
	for dir, names := range imports {
		text := "package a\n"
		for _, name := range names {
			text += `import _ "` + name + `"` + "\n"
		}
		tree[dir+"/a.go"] = &fstest.MapFile{Data: []byte(text)}
	}
	return tree
}

func TestTheGraphShowsImportsByLevel(t *testing.T) {
	tree := treeOf(map[string][]string{
		"domain":           {"time"},
		"port":             {module + "/domain"},
		"port/portmock":    {module + "/port"},
		"usecase":          {module + "/domain", module + "/port"},
		"adapter/memstore": {module + "/port"},
		"adapter/httpapi":  {module + "/usecase", "github.com/labstack/echo/v4"},
		"cmd/run":          {module + "/adapter/memstore", module + "/adapter/httpapi"},
		"test/e2e":         {module + "/cmd/run"},
	})
	tree["domain/a_test.go"] = &fstest.MapFile{Data: []byte(`package a; import _ "` + module + `/cmd/run"`)}
	got, err := Graph(tree)
	if err != nil {
		t.Fatal(err)
	}
	want := `flowchart TD
  subgraph level_cmd [cmd]
    cmd_run[cmd/run]
  end
  subgraph level_dialects [dialects]
    adapter_httpapi[adapter/httpapi]
  end
  subgraph level_adapters [adapters]
    adapter_memstore[adapter/memstore]
  end
  subgraph level_use_cases [use cases]
    usecase[usecase]
  end
  subgraph level_port [port]
    port[port]
  end
  subgraph level_config [config]
  end
  subgraph level_domain [domain]
    domain[domain]
  end
  adapter_httpapi --> usecase
  adapter_memstore --> port
  cmd_run --> adapter_httpapi
  cmd_run --> adapter_memstore
  port --> domain
  usecase --> port
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("graph (-want +got):\n%s", diff)
	}
}

func TestTheGraphRefusesWhatTheLayoutDoes(t *testing.T) {
	for from, tc := range map[string]struct{ to, want string }{
		"usecase":          {"adapter/memstore", "usecase imports adapter/memstore, which is above it"},
		"adapter/web":      {"adapter/httpapi", "adapter/web imports adapter/httpapi, which is above it"},
		"adapter/memstore": {"adapter/gormstore", "adapter/memstore imports adapter/gormstore, which its row does not allow"},
		"internal":         {"domain", "internal imports domain, and one of them has no row in the table"},
	} {
		_, err := Graph(treeOf(map[string][]string{from: {module + "/" + tc.to}, tc.to: nil}))
		if want := "refused: " + tc.want; err == nil || err.Error() != want {
			t.Errorf("error: got %v, want %s", err, want)
		}
	}
}

// A row that allowed an import upward would make the graph refuse what the table permits.
func TestNoRowOfTheTablePointsUpward(t *testing.T) {
	for _, r := range table {
		for _, dir := range r.ours {
			if dir == "*" && r.level < cmd {
				t.Errorf("%s may import everything, and is not at the top", r.dir)
			}
			if dir != "*" && ruleOf(dir).level > r.level {
				t.Errorf("%s may import %s, which is above it", r.dir, dir)
			}
		}
	}
}

func TestTheGraphInARCHITECTUREIsUpToDate(t *testing.T) {
	graph, err := Graph(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../../ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	want, err := Replace(string(got), graph)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("run make graph: ARCHITECTURE.md (-want +got):\n%s", diff)
	}
}

func TestAGraphReplacesTheOneInADocument(t *testing.T) {
	got, err := Replace("a\n"+graphBegins+"old\n"+graphEnds+"b\n", "new\n")
	if want := "a\n" + graphBegins + "new\n" + graphEnds + "b\n"; err != nil || got != want {
		t.Errorf("document: got %q, %v, want %q", got, err, want)
	}
	for _, without := range []string{"", graphBegins, graphEnds, strings.TrimSpace(graphBegins)} {
		if got, err := Replace(without, "new\n"); err == nil {
			t.Errorf("document without markers %q: got %q, want an error", without, got)
		}
	}
}
