package contract_test

import (
	"testing"

	"github.com/refreshd/refreshd/test/support/contract"
)

// If this search found nothing, the check of a log would be useless.
func TestSecretsInALogAreFound(t *testing.T) {
	var s contract.Secrets
	s.Add("aaaaaaaaaaaaaaaa")
	s.Add("header.bbbbbbbbbbbb.cccccccccccc")
	for name, test := range map[string]struct {
		log  string
		want bool
	}{
		"a whole secret":             {`{"error":"no key aaaaaaaaaaaaaaaa"}`, true},
		"a signature":                {`token=cccccccccccc`, true},
		"a payload":                  {`x.bbbbbbbbbbbb.y`, true},
		"a token string, as a shape": {`\nrt_AQAAAQGbL248Wn1Bngxb`, true},
		"an API key, as a shape":     {`key=ak_AQAAAQGbL248Wn1Bngxb`, true},
		"an access token, as one":    {`"eyJhbGciOiJFZERTQSIs"`, true},
		"a JWT's header":             {`header`, false},
		"an id":                      {`"refreshTokenId":"019b2f6e-3c5a-7d41-9e0c-5b7a8d2f1c34"`, false},
	} {
		if got := len(s.In(test.log)) > 0; got != test.want {
			t.Errorf("%s: got found %t, want %t", name, got, test.want)
		}
	}
}
