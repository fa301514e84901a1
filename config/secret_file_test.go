package config_test

import (
	"strings"
	"testing"
)

// A slip in a mount must not take the machine's memory: /dev/zero never ends.
func TestAFileIsReadUpToABound(t *testing.T) {
	for name, tt := range map[string]struct{ args, environ []string }{
		"configuration": {args: []string{"--config=/dev/zero"}},
		"secret":        {environ: []string{"REFRESHD_MASTER_KEY_FILE=/dev/zero"}},
	} {
		got := problems(t, tt.args, tt.environ)
		if len(got) != 1 || !strings.Contains(got[0].Message, "it is larger than ") {
			t.Errorf("%s: got %v, want that it is too large", name, got)
		}
	}
}
