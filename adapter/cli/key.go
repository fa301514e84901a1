package cli

import "github.com/spf13/cobra"

func (l *line) key() *cobra.Command {
	r := &resource{
		name: "key", plural: "keys", command: "key", path: "/key",
		columns: []column{
			{"ID", "id"}, {"KIND", "kind"}, {"TENANT", "tenantId"}, {"ALGORITHM", "algorithm"}, {"NUMBER", "number"},
			{"CREATED", "insertInstant"}, {"STARTS", "startsInstant"}, {"RETIRED", "retiredInstant"},
		},
	}
	return l.noun("key", "List and show the keys of the store, without their secrets",
		`List and show the keys of the store: those that sign access tokens, and those that authenticate
token strings and hash API keys. No secret is shown. The API key of --server needs GET on /key.`,
		"  refreshd key list\n  refreshd key list --tenant acme",
		l.listOf(r, texts{`List the keys: all, or with --tenant those of that tenant.`,
			"  refreshd key list\n  refreshd key list --tenant acme --output json"}),
		l.showOf(r, texts{`Show a key by its id, which an access token names in its header as kid.`,
			"  refreshd key show 01981e2c-9a38-7b4d-8a8e-d5a2f1a4c0de"}),
	)
}
