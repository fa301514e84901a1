package config

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

const envPrefix = "REFRESHD_"

// highestRate is the highest limit of requests a second that says anything.
const highestRate = 1_000_000

// configFile is the one setting that says where the others are; it cannot stand in the file.
const configFile = "config_file"

// setting is one row of the table: everything there is to know about a key.
type setting struct {
	name  string // in the file; a dot separates levels
	def   string
	help  string
	list  bool // the file may hold a sequence
	count bool // the file may hold a number
	truth bool // the file may hold true or false
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
}

// draft is a configuration that is being read, and what its settings are checked against.
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
		name: configFile, help: "a YAML file with any of the other keys",
		parse: func(*draft, string) error { return nil },
	},
	{
		name: "listen", def: "127.0.0.1:3000", help: "host:port of the API; port 0 takes a free one",
		parse: func(c *draft, text string) (err error) {
			c.Listen, err = parseListen(text)
			return err
		},
	},
	{
		name: "admin_listen", def: "127.0.0.1:3001", emptyTurnsOff: true,
		help: "host:port of metrics and health; empty turns it off",
		parse: func(c *draft, text string) (err error) {
			if text != "" {
				c.AdminListen, err = parseListen(text)
			}
			return err
		},
	},
	{
		name: "pprof", def: "false", truth: true,
		help: "true: profiles at /debug/pprof of the admin listener, for a Host that is localhost or a loopback address",
		parse: func(c *draft, text string) (err error) {
			c.Pprof, err = parseChoice(text, truths)
			return err
		},
	},
	{
		name: "database_url", def: "sqlite:refreshd-data/refreshd.db", secret: true,
		help:  "sqlite:PATH, postgres://USER:PASSWORD@HOST/DATABASE or memory:; a flag takes no password",
		parse: func(c *draft, text string) error { return c.Database.parse(text, c.schemes) },
	},
	{
		name: "database_max_connections", def: "16", count: true, help: "connections to the database at most, 1 to 1000",
		parse: func(c *draft, text string) (err error) {
			c.Database.MaxConnections, err = parseCount(text, 1, 1000)
			return err
		},
	},
	{
		name: "database_write_combining", def: "true", truth: true, help: "whether exchanges that wait for the database share the next write: true or false",
		parse: func(c *draft, text string) (err error) {
			c.Database.WriteCombining, err = parseChoice(text, truths)
			return err
		},
	},
	{
		name: "master_key", unflagged: true, secret: true, help: "32 bytes in base64 that seal every other key",
		parse: func(c *draft, text string) (err error) {
			c.MasterKey, err = parseMasterKey(text)
			return err
		},
	},
	{
		name: "master_key_previous", unflagged: true, secret: true,
		help: "the master key before this one, while it is being changed",
		parse: func(c *draft, text string) (err error) {
			c.MasterKeyPrevious, err = parseMasterKey(text)
			return err
		},
	},
	{
		name: "kickstart_file", help: "tenants, applications and API keys to create or update at start",
		parse: func(c *draft, text string) error {
			c.KickstartFile = text
			return nil
		},
	},
	{
		name: "public_url",
		help: "where clients reach the API, for issuers and links; PostgreSQL: required, else http:// and the listen address",
		parse: func(c *draft, text string) error {
			if text == "" {
				return nil
			}
			c.PublicURL = text
			return checkPublicURL(text)
		},
	},
	{
		name: "cors_origins", list: true, help: "origins of browser pages that may call the API, exact, separated by commas",
		parse: func(c *draft, text string) (err error) {
			c.CORSOrigins, err = parseList(text, parseOrigin)
			return err
		},
	},
	{
		name: "trusted_proxies", list: true, help: "addresses or CIDR ranges whose X-Forwarded-For is believed, separated by commas",
		parse: func(c *draft, text string) (err error) {
			c.TrustedProxies, err = parseList(text, parseProxy)
			return err
		},
	},
	{
		name: "rate_limit_address", def: "100", count: true,
		help: "requests a second of a client address without a good API key, with a burst of ten times as many; a failed proof counts as ten; 0: any number",
		parse: func(c *draft, text string) (err error) {
			c.RateLimits.Address, err = parseCount(text, 0, highestRate)
			return err
		},
	},
	{
		name: "rate_limit_api_key", def: "2000", count: true, help: "requests a second of an API key, with a burst of ten times as many; 0: any number",
		parse: func(c *draft, text string) (err error) {
			c.RateLimits.APIKey, err = parseCount(text, 0, highestRate)
			return err
		},
	},
	{
		name: "rate_limit_refresh_token", def: "5", count: true, help: "exchanges a second of a refresh token, with a burst of ten times as many; 0: any number",
		parse: func(c *draft, text string) (err error) {
			c.RateLimits.RefreshToken, err = parseCount(text, 0, highestRate)
			return err
		},
	},
	{
		name: "purge_interval", def: "1h", help: "how often the dead are deleted, by one of all replicas, 1s to 168h; 0s: never by this one",
		parse: func(c *draft, text string) (err error) {
			c.PurgeInterval, err = parsePurgeInterval(text)
			return err
		},
	},
	{
		name: "purge_after", def: "24h", help: "how long a dead refresh token is kept, 5m to 8760h; its holder hears [expired], [revoked] or [reused] so long, then [invalid]",
		parse: func(c *draft, text string) (err error) {
			c.PurgeAfter, err = parsePurgeAfter(text)
			return err
		},
	},
	{
		name: "restored", def: "false", truth: true,
		help: "true after a restore from a backup: token strings of a later generation than the stored one are exchanged, with a warning in the log; false: refused",
		parse: func(c *draft, text string) (err error) {
			c.Restored, err = parseChoice(text, truths)
			return err
		},
	},
	{
		name: "log_format", def: "auto", help: "text, json, or auto: text on a terminal, else json",
		parse: func(c *draft, text string) (err error) {
			c.LogFormat, err = parseChoice(text, logFormats)
			return err
		},
	},
	{
		name: "log_level", def: "info", help: "debug, info, warn or error",
		parse: func(c *draft, text string) (err error) {
			c.LogLevel, err = parseChoice(text, logLevels)
			return err
		},
	},
	{
		name: "shutdown_delay", def: "0s", help: "after SIGTERM, how long to be not ready and still take requests, for a balancer to see it",
		parse: func(c *draft, text string) (err error) {
			c.ShutdownDelay, err = parseDelay(text)
			return err
		},
	},
	{
		name: "shutdown_timeout", def: "15s", help: "how long requests that are running then may take, e.g. 15s or 1m",
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
				name: s.name + "_file", holds: s.name, help: "a file that holds " + s.env() + ", instead of it",
				parse: func(*draft, string) error { return nil }, // Load reads it into the setting that it holds
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
}

// Keys are all settings, in the order in which they are documented.
func Keys() []Key {
	keys := make([]Key, len(settings))
	for i, s := range settings {
		keys[i] = Key{Name: s.name, Env: s.env(), Flag: s.kebab(), Default: s.def, Help: s.help}
		if s.name == configFile {
			keys[i].Name = ""
		}
		if s.unflagged {
			keys[i].Flag = ""
		}
	}
	return keys
}

// Usage writes the settings as an aligned table, for --help.
func Usage(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	// What is wrong with w is told by Flush.
	_, _ = fmt.Fprint(table, "ENVIRONMENT\tFLAG\tDEFAULT\tMEANING\n")
	for _, k := range Keys() {
		flag, def := "-", "-"
		if k.Flag != "" {
			flag = "--" + k.Flag
		}
		if k.Default != "" {
			def = k.Default
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", k.Env, flag, def, k.Help)
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("config: write usage: %w", err)
	}
	return nil
}
