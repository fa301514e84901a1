package oauthapi_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// requirements are what clients need so that they work unchanged, found by running them against the dialect. Each has
// a section of a specification and a test.
var requirements = []struct{ id, section, what, test string }{
	{"R1", "RFC 6749, section 3.2 and appendix B", "a form with a charset is accepted; success is 200, never a redirect",
		"TestR01FormsAreAcceptedWithTheirCharset"},
	{"R2", "RFC 6749, sections 3.1 and 3.2", "a parameter without a value is absent, an unknown one is ignored",
		"TestR02ParametersWithoutAValueAndUnknownOnesAreIgnored"},
	{"R3", "RFC 6749, section 2.3.1", "Basic with an empty password is a public client",
		"TestR03BasicWithAnEmptyPasswordIsAPublicClient"},
	{"R4", "RFC 6749, section 2.3.1", "Basic may be form-encoded or not", "TestR04BasicIsTakenEncodedAndRaw"},
	{"R5", "RFC 6749, sections 2.3 and 3.2.1", "client_id beside Basic must be the same one, and there is one proof",
		"TestR05TheBodyMayRepeatTheClientOfBasic"},
	{"R6", "RFC 6749, section 5.1", "the members of the answer, never null", "TestR06TheAnswerHasItsMembers"},
	{"R7", "RFC 6749, section 6", "scope may be what the client once asked its login for", "TestR07ScopeMayBeRepeated"},
	{"R8", "RFC 6749, section 5.2", "a refusal is 400 in JSON, without a challenge; 401 has one after Basic only",
		"TestR08ARefusalIsJSONWithoutAChallenge"},
	{"R8", "RFC 6749, section 5.2", "401 has a challenge after Basic only", "TestR08OnlyAClientThatUsedBasicIsChallenged"},
	{"R9", "RFC 6749, section 5.2", "each status has a JSON body with error", "TestR09EveryStatusHasAnErrorInItsBody"},
	{"R10", "RFC 9700, section 4.14", "parallel calls get one answer", "TestR10ParallelCallsGetOneAnswer"},
	{"R11", "RFC 7009, section 2.2", "revocation is 200 without body and Content-Type", "TestR11RevocationHasNoBody"},
	{"R11", "RFC 7662, section 2.2", "introspection has a boolean, in application/json",
		"TestR11IntrospectionSaysWhatATokenIs"},
	{"R12", "RFC 8414, section 3.1", "one document under every form of the address; an unknown tenant is 404",
		"TestR12MetadataIsUnderEveryForm"},
	{"R13", "RFC 8414, section 3.3", "the issuer is that of the access tokens, byte for byte",
		"TestR13TheIssuerIsThatOfTheAccessTokens"},
	{"R14", "RFC 8414, section 2", "the members that clients ask for", "TestR14MetadataHasTheMembersThatClientsNeed"},
	{"R15", "RFC 8414, section 2", "the endpoints of the operator's login", "TestR15MetadataHasTheOperatorsLogin"},
	{"R16", "RFC 7517, sections 4 and 8.5.2", "a key set is JSON, and its keys say what they are for",
		"TestR16KeysSayWhatTheyAreFor"},
	{"R17", "RFC 6454, section 7", "pages of every origin read metadata", "TestR17PagesOfEveryOriginReadMetadata"},
	{"R18", "RFC 6454, section 7", "a page uses a client from its origins only",
		"TestR18APageUsesAClientFromItsOriginsOnly"},
	{"R19", "RFC 8414, section 2", "a first run says that clients refuse http",
		"TestR19AFirstRunSaysThatClientsRefuseHTTP"},
	{"R20", "RFC 6585, section 4", "the burst of a refresh token is kept", "TestR20TheBurstOfARefreshTokenIsKept"},
	{"R21", "RFC 9700, section 4.14.2", "a client with a secret need not rotate",
		"TestR21AClientWithASecretNeedNotRotate"},
}

var isRequirementTest = regexp.MustCompile(`^TestR[0-9]{2}`)

// Each requirement has a test that exists, and each test of a requirement has a row.
func TestEachRequirementHasATest(t *testing.T) {
	tests := map[string]string{} // the comment, by name
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), f.Name(), nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range parsed.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && isRequirementTest.MatchString(f.Name.Name) {
				tests[f.Name.Name] = f.Doc.Text()
			}
		}
	}
	for _, r := range requirements {
		if slices.Contains([]string{r.id, r.section, r.what, r.test}, "") {
			t.Errorf("%s: a cell is empty: %+v", r.id, r)
		}
		comment, ok := tests[r.test]
		number := strings.TrimPrefix(r.id, "R")
		if len(number) == 1 {
			number = "0" + number
		}
		if !ok || !strings.HasPrefix(r.test, "TestR"+number) {
			t.Errorf("%s: there is no test %s of it", r.id, r.test)
		}
		if !strings.Contains(comment, r.id) || !strings.Contains(comment, "RFC ") {
			t.Errorf("%s: the comment names neither requirement nor RFC: %q", r.test, comment)
		}
		delete(tests, r.test)
	}
	for name := range tests {
		t.Errorf("%s has no row", name)
	}
}
