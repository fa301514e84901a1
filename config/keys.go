package config

import (
	"errors"
	"slices"
	"strings"

	"github.com/refreshd/refreshd/domain"
)

const envPrefix = "REFRESHD_"

// highestRate is the highest limit of requests per second.
const highestRate = 1_000_000

// FirstTenant is the id of the tenant that a first start makes. As a default of the root tenant it keeps the key set at
// the root of such a store what it is when further tenants are created.
const FirstTenant = "default"

// configFile is the setting that names the file of the others. It cannot stand in that file.
const configFile = "config_file"

// setting is one row of the table.
type setting struct {
	name string // in the file; a dot separates levels
	def  string
	help string
	// takenBy are the commands that use the setting, and so take its flag.
	takenBy []string
	// form is the word for a value in help, e.g. FILE; empty for true and false.
	form    string
	choices []string
	list    bool // the file may hold a sequence
	count   bool // the file may hold a number
	truth   bool // the file may hold true or false
	// unflagged keeps the setting off the command line.
	unflagged bool
	// emptyTurnsOff lets a setting that has a default be empty.
	emptyTurnsOff bool
	// secret gives the setting a second form, whose name ends in _file: a file that holds the value.
	secret bool
	// holds is the secret setting that this one is the file of.
	holds string
	// parse checks text and stores it. Its error says what is wrong and what to do, and does not repeat text.
	parse func(c *draft, text string) error
	// show is the value in force, where it is not the text that was set, or that text is a secret in part.
	show func(c *draft) string
}

// Which commands use a setting: those that read settings, those that open the store, those that open its keys, and
// those of administration, which open the store unless they send requests to a service. Each of the last has commands
// below it, which use the same settings. doctor uses all of serve, which it checks.
var (
	readers = append([]string{"health"}, openers...)
	openers = append([]string{"serve", "doctor", "migrate", "apply", "diff", "export", "purge"}, administrators...)
	keepers = append([]string{"serve", "doctor", "apply", "diff", "export"}, administrators...)
	server  = []string{"serve", "doctor"}

	administrators = []string{"token", "tenant", "application", "apikey", "key", "audit"}
	clients        = append([]string{"export"}, administrators...) // of a running service
)

// draft is a configuration while it is read, with the schemes that its database is checked against.
type draft struct {
	Config
	schemes []Scheme
}

// isShared reports whether the database is known to be one that is not local.
func (c *draft) isShared() bool {
	return slices.ContainsFunc(c.schemes, func(s Scheme) bool { return s.Name == c.Database.Scheme && !s.Local })
}

var settings = withFileForms([]setting{
	{
		name: configFile, form: "FILE", takenBy: readers,
		help:  "a YAML file with any of the other settings",
		parse: func(*draft, string) error { return nil },
	},
	{
		name: "listen", takenBy: []string{"serve", "doctor", "health"}, form: "HOST:PORT", def: "127.0.0.1:3000",
		help: "host:port of the API; port 0 chooses a free one",
		parse: func(c *draft, text string) (err error) {
			c.Listen, err = parseListen(text)
			return err
		},
	},
	{
		name: "admin_listen", takenBy: server, form: "HOST:PORT", def: "127.0.0.1:3001", emptyTurnsOff: true,
		help: "host:port of metrics and health; empty turns it off",
		parse: func(c *draft, text string) (err error) {
			if text != "" {
				c.AdminListen, err = parseListen(text)
			}
			return err
		},
	},
	{
		name: "pprof", takenBy: server, choices: namesOf(truths), def: "false", truth: true,
		help: "serve profiles at /debug/pprof of the admin listener, for a Host that is localhost or a " +
			"loopback address",
		parse: func(c *draft, text string) (err error) {
			c.Pprof, err = parseChoice(text, truths)
			return err
		},
	},
	{
		name: "database_url", takenBy: openers, form: "URL", def: "sqlite:refreshd-data/refreshd.db", secret: true,
		help:  "sqlite:PATH, postgres://USER:PASSWORD@HOST/DATABASE or memory:; a flag takes no password",
		parse: func(c *draft, text string) error { return c.Database.parse(text, c.schemes) },
		show:  func(c *draft) string { return c.Database.Redacted },
	},
	{
		name: "database_max_connections", takenBy: openers, form: "N", def: "16", count: true,
		help: "maximum of connections to the database, 1 to 1000; on PostgreSQL plus two for the revocation feed",
		parse: func(c *draft, text string) (err error) {
			c.Database.MaxConnections, err = parseCount(text, 1, 1000)
			return err
		},
	},
	{
		name: "database_write_combining", takenBy: server, choices: namesOf(truths), def: "true", truth: true,
		help: "whether exchanges that wait for the database share the next write",
		parse: func(c *draft, text string) (err error) {
			c.Database.WriteCombining, err = parseChoice(text, truths)
			return err
		},
	},
	{
		name: "master_key", takenBy: keepers, form: "KEY", unflagged: true, secret: true,
		help: "the key that encrypts all other keys: 32 bytes in base64",
		parse: func(c *draft, text string) (err error) {
			c.MasterKey, err = parseMasterKey(text)
			return err
		},
	},
	{
		name: "master_key_previous", takenBy: keepers, form: "KEY", unflagged: true, secret: true,
		help: "the master key before this one, while it is being replaced",
		parse: func(c *draft, text string) (err error) {
			c.MasterKeyPrevious, err = parseMasterKey(text)
			return err
		},
	},
	{
		name: "server", takenBy: clients, form: "URL",
		help: "the URL of a running service that commands of administration and export send requests to, with an API " +
			"key; without it they open the database",
		parse: func(c *draft, text string) error {
			if text == "" {
				return nil
			}
			c.Server = text
			return checkServer(text)
		},
	},
	{
		name: "api_key", takenBy: clients, form: "KEY", unflagged: true, secret: true,
		help: "the API key of requests to the service that --server names",
		parse: func(c *draft, text string) error {
			if text != "" && !domain.IsAPIKey(text) {
				return errors.New("is not an API key: ak_ and at least 24 more of A-Z, a-z, 0-9, _ and -")
			}
			c.APIKey = domain.NewSecret(text)
			return nil
		},
	},
	{
		name: "tenant", takenBy: administrators, form: "ID",
		help: "the tenant that a command of administration is about",
		parse: func(c *draft, text string) error {
			if text != "" && !domain.IsTenantID(text) {
				return errors.New("is not the id of a tenant")
			}
			c.Tenant = text
			return nil
		},
	},
	{
		name: "kickstart_file", takenBy: []string{"serve", "doctor", "apply", "diff"}, form: "FILE",
		help: "a file with tenants, applications and API keys to create or update; serve applies it at each start",
		parse: func(c *draft, text string) error {
			c.KickstartFile = text
			return nil
		},
	},
	{
		name: "public_url", takenBy: append([]string{"serve", "doctor"}, administrators...), form: "URL",
		help: "the URL at which clients reach the API; links begin with it, and by default issuers; required with " +
			"PostgreSQL, otherwise by default http:// and the listen address",
		parse: func(c *draft, text string) error {
			if text == "" {
				return nil
			}
			c.PublicURL = text
			return checkPublicURL(text)
		},
		show: func(c *draft) string { return c.PublicURL },
	},
	{
		name: "root_tenant", takenBy: server, form: "ID", def: FirstTenant, emptyTurnsOff: true,
		help: "the tenant whose keys /.well-known/jwks.json has, beside those that all tenants share; it need not exist " +
			"yet; the default is the tenant that a first start makes; empty: none",
		parse: func(c *draft, text string) error {
			if text != "" && !domain.IsTenantID(text) {
				return errors.New("is not the id of a tenant; leave it empty for none")
			}
			c.RootTenant = text
			return nil
		},
	},
	{
		name: "cors_origins", takenBy: server, form: "LIST", list: true,
		help: "origins of browser pages that may send requests to the API, exact, separated by commas",
		parse: func(c *draft, text string) (err error) {
			c.CORSOrigins, err = parseList(text, parseOrigin)
			return err
		},
	},
	{
		name: "trusted_proxies", takenBy: server, form: "LIST", list: true,
		help: "addresses or CIDR ranges whose X-Forwarded-For is trusted, separated by commas",
		parse: func(c *draft, text string) (err error) {
			c.TrustedProxies, err = parseList(text, parseProxy)
			return err
		},
	},
	{
		name: "rate_limit_address", takenBy: server, form: "N", def: "100", count: true,
		help: "requests per second of a client address without a valid API key, with a burst of ten times " +
			"as many; a failed credential counts as ten; 0: no limit",
		parse: func(c *draft, text string) (err error) {
			c.RateLimits.Address, err = parseCount(text, 0, highestRate)
			return err
		},
	},
	{
		name: "rate_limit_api_key", takenBy: server, form: "N", def: "2000", count: true,
		help: "requests per second of an API key, with a burst of ten times as many; 0: no limit",
		parse: func(c *draft, text string) (err error) {
			c.RateLimits.APIKey, err = parseCount(text, 0, highestRate)
			return err
		},
	},
	{
		name: "rate_limit_refresh_token", takenBy: server, form: "N", def: "5", count: true,
		help: "exchanges per second of a refresh token, with a burst of ten times as many; 0: no limit",
		parse: func(c *draft, text string) (err error) {
			c.RateLimits.RefreshToken, err = parseCount(text, 0, highestRate)
			return err
		},
	},
	{
		name: "feed_streams", takenBy: server, form: "N", def: "5000", count: true,
		help: "maximum number of open revocation streams, 2 to 1000000; one API key gets at most half of them, so set it " +
			"to twice the number that one key opens at one replica while another replica is down",
		parse: func(c *draft, text string) (err error) {
			c.FeedStreams, err = parseCount(text, 2, 1_000_000)
			return err
		},
	},
	{
		name: "purge_interval", takenBy: server, form: "DURATION", def: "1h",
		help: "how often ended refresh tokens are deleted, 1s to 168h; one replica at a time does it; 0s " +
			"disables it in this process",
		parse: func(c *draft, text string) (err error) {
			c.PurgeInterval, err = parsePurgeInterval(text)
			return err
		},
	},
	{
		name: "purge_after", takenBy: []string{"serve", "doctor", "purge"}, form: "DURATION", def: "24h",
		help: "how long an ended refresh token is kept, 5m to 8760h; until then an exchange is refused as " +
			"[expired], [revoked] or [reused], then as [invalid]",
		parse: func(c *draft, text string) (err error) {
			c.PurgeAfter, err = parsePurgeAfter(text)
			return err
		},
	},
	{
		name: "key_rotation", takenBy: keepers, form: "DURATION", def: "2160h",
		help: "how long a signing key signs before the next one does, 48h to 87600h; 0s: until `refreshd key rotate`",
		parse: func(c *draft, text string) (err error) {
			c.KeyRotation, err = parseKeyRotation(text)
			return err
		},
	},
	{
		name: "key_cache_age", takenBy: keepers, form: "DURATION", def: "2h",
		help: "how old the key sets are that verifiers of access tokens use, at most, 1m to 168h: a new key signs no " +
			"earlier, and an old one is published as long",
		parse: func(c *draft, text string) (err error) {
			c.KeyCacheAge, err = parseKeyCacheAge(text)
			return err
		},
	},
	{
		name: "audit_retention", takenBy: []string{"serve", "doctor", "purge"}, form: "DURATION", def: "2160h",
		help: "how long the events of the audit trail (who changed or revoked what) are kept, 1h to 87600h",
		parse: func(c *draft, text string) (err error) {
			c.AuditRetention, err = parseAuditRetention(text)
			return err
		},
	},
	{
		name: "dpop_nonce", takenBy: server, choices: namesOf(truths), def: "false", truth: true,
		help: "demand a nonce of this service in each DPoP proof, which is then at most 6 minutes old whatever the " +
			"client's clock says; a client without one is sent it, and repeats its request; false: check those that are sent",
		parse: func(c *draft, text string) (err error) {
			c.DemandProofNonce, err = parseChoice(text, truths)
			return err
		},
	},
	{
		name: "restored", takenBy: server, choices: namesOf(truths), def: "false", truth: true,
		help: "after a restore from a backup: exchange token strings of a later generation than the stored " +
			"one, with a warning in the log; false refuses them",
		parse: func(c *draft, text string) (err error) {
			c.Restored, err = parseChoice(text, truths)
			return err
		},
	},
	{
		name: "log_format", takenBy: openers, form: "FORMAT", choices: namesOf(logFormats), def: "auto",
		help: "text, json, or auto: text on a terminal, otherwise json",
		parse: func(c *draft, text string) (err error) {
			c.LogFormat, err = parseChoice(text, logFormats)
			return err
		},
	},
	{
		name: "log_level", takenBy: openers, form: "LEVEL", choices: namesOf(logLevels), def: "info",
		help: "debug, info, warn or error",
		parse: func(c *draft, text string) (err error) {
			c.LogLevel, err = parseChoice(text, logLevels)
			return err
		},
	},
	{
		name: "shutdown_delay", takenBy: server, form: "DURATION", def: "0s",
		help: "after SIGTERM, how long the process is not ready but still takes requests, so that a load " +
			"balancer sees it",
		parse: func(c *draft, text string) (err error) {
			c.ShutdownDelay, err = parseDelay(text)
			return err
		},
	},
	{
		name: "shutdown_timeout", takenBy: server, form: "DURATION", def: "15s",
		help: "how long running requests may take after that, e.g. 15s or 1m",
		parse: func(c *draft, text string) (err error) {
			c.ShutdownTimeout, err = parseDuration(text)
			return err
		},
	},
})

// withFileForms puts the file form of each secret setting after it.
func withFileForms(rows []setting) []setting {
	var all []setting
	for _, s := range rows {
		all = append(all, s)
		if s.secret {
			all = append(all, setting{
				name: s.name + "_file", holds: s.name, takenBy: s.takenBy, form: "FILE",
				help: "a file that holds " + s.env() + ", instead of it",
				parse: func(c *draft, text string) error { // Load reads it into the setting in holds
					if text != "" {
						c.SecretFiles = append(c.SecretFiles, text)
					}
					return nil
				},
			})
		}
	}
	return all
}

func settingNamed(name string) setting {
	return settings[slices.IndexFunc(settings, func(s setting) bool { return s.name == name })]
}

func (s setting) env() string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(s.name, ".", "__"))
}

func (s setting) kebab() string {
	if s.name == configFile {
		return "config"
	}
	return strings.NewReplacer("_", "-", ".", "-").Replace(s.name)
}

// Key documents one setting.
type Key struct {
	Name    string // in the file; empty if it cannot stand there
	Env     string
	Flag    string // without dashes; empty if there is none
	Default string // empty if the default is nothing
	Help    string
	// Commands are the commands that use the setting. `refreshd config show` takes the flag of every setting.
	Commands []string
	// Form is the word for a value, e.g. FILE or DURATION; empty for true and false.
	Form    string
	Choices []string // nil if there are too many to list
}

// Keys returns all settings, in the order of the documentation.
func Keys() []Key {
	keys := make([]Key, len(settings))
	for i, s := range settings {
		keys[i] = Key{
			Name: s.name, Env: s.env(), Flag: s.kebab(), Default: s.def, Help: s.help,
			Commands: slices.Clone(s.takenBy), Form: s.form, Choices: slices.Clone(s.choices),
		}
		if s.name == configFile {
			keys[i].Name = ""
		}
		if s.unflagged {
			keys[i].Flag = ""
		}
	}
	return keys
}
