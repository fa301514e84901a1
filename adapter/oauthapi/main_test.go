package oauthapi_test

import (
	"os"
	"testing"

	"github.com/refreshd/refreshd/test/support/contract"
)

// checks has what the package's tests got of the service.
var checks = contract.Run{Infallible: []string{"openapi", "docs", "docsStyle", "docsScript"}}

func TestMain(m *testing.M) { os.Exit(checks.Main(m)) }
