package cli_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/refreshd/refreshd/adapter/cli"
)

// The compose file is the first thing that many will run. It must hold no secret that works, and a kickstart file that does.
func TestTheComposeFileAsksForItsSecretsAndItsKickstartIsRead(t *testing.T) {
	text, err := os.ReadFile("../../docker-compose.yml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Services map[string]struct{ Environment map[string]string }
		Configs  map[string]struct{ Content string }
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	secrets := []string{"POSTGRES_PASSWORD", "REFRESHD_MASTER_KEY", "BACKEND_KEY"}
	asked := map[string]bool{}
	for service, s := range file.Services {
		for name, value := range s.Environment {
			for _, variable := range regexp.MustCompile(`\$\{(\w+)(:?[?-]?)`).FindAllStringSubmatch(value, -1) {
				if slices.Contains(secrets, variable[1]) && variable[2] != ":?" {
					t.Errorf("%s: %s takes %s without asking for it", service, name, variable[1])
				}
				asked[variable[1]] = true
			}
			if slices.Contains(secrets, name) && !strings.HasPrefix(value, "${") {
				t.Errorf("%s: %s is in the file", service, name)
			}
		}
	}
	for _, name := range secrets {
		if !asked[name] {
			t.Errorf("nothing asks for %s", name)
		}
	}
	content := strings.ReplaceAll(file.Configs["kickstart"].Content, "$$", "$")
	document, err := cli.ReadKickstart("docker-compose.yml", []byte(content), func(name string) (string, bool) {
		return "ak_012345678901234567890123", name == "BACKEND_KEY"
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(document.Kickstart.Tenants) == 0 || len(document.Kickstart.APIKeys) == 0 {
		t.Errorf("the kickstart makes nothing: %+v", document.Kickstart)
	}
}
