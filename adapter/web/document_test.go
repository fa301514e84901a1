package web_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/refreshd/refreshd/adapter/web"
)

// The examples of each API name the tenant of the deployment, so that what is copied from them works on it.
func TestEveryExampleOfATenantIsThatOfTheDeployment(t *testing.T) {
	files, err := filepath.Glob("../*/openapi.yaml")
	if err != nil || len(files) < 3 {
		t.Fatalf("found %q, %v", files, err)
	}
	ofFirstStart := regexp.MustCompile(`(?m)(example|[tT]enant(Id)?"?|kid): ?"?default\b.*$`)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		before := len(ofFirstStart.FindAll(text, -1))
		for id, want := range map[string]string{"1.0": `"1.0"`, "": `"your-tenant"`} {
			filled := string(web.FillExamples(text, "https://auth.acme.example", id))
			if left := ofFirstStart.FindAllString(filled, -1); len(left) > 0 {
				t.Errorf("%s for the tenant %q still has %q", file, id, left)
			}
			if n := strings.Count(filled, strings.TrimSuffix(want, `"`)); n < before || before == 0 {
				t.Errorf("%s for the tenant %q has it %d times, want at least %d", file, id, n, before)
			}
		}
	}
}
