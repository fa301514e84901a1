// Package config reads the settings of a process of refreshd: its addresses, its database, its master key, its limits.
// The policy of tenants and applications is not here: a kickstart file sets it, and the store holds it.
//
// [Load] is a function of its arguments and of the files that they name. It reports all problems together. No problem
// repeats a value, because any value may be a secret in the wrong place.
//
// # Decisions
//
//   - One table (in keys.go) holds name, default, meaning, parser and commands of every setting; help, documents and
//     the check for unknown settings come from it. A struct with tags, decoded by koanf, was rejected:
//     defaults, help and checks would be in three more places, and a decoder's message repeats the value.
//   - koanf reads the file and the environment; the layers are merged here, because a problem must name the source
//     of a value, and koanf's merge forgets it. Flags are parsed by the command line, which knows its commands.
//   - A command takes the flags of the settings that it uses, and refuses the others. The environment and the file
//     may hold any setting for every command: the commands of one deployment share them.
//   - A value that is set and empty is a value: this is how the environment turns off a listener or a list of the
//     file. Treating it as unset was rejected, because then nothing could turn one off.
//   - The master keys have no flag, and the database's URL has none with a password: arguments show in process lists.
//     Every secret has a second form, a file that holds it. Load reads that file too: when each caller read it, each
//     had its own rules for line breaks, empty files and messages.
//   - A line break at the end of a value is not part of it: it comes from `echo`, from an editor, from base64. One is
//     removed, from every source. Removing all white space was rejected, because a wrong value should be reported.
//   - An unknown setting stops the start, also in the environment. A warning was rejected: an operator relies on
//     the misspelt setting. The exception is a variable that Kubernetes injects for a Service (see injected).
package config

import (
	"log/slog"
	"maps"
	"net/netip"
	"time"

	"github.com/refreshd/refreshd/domain"
)

// Config is a complete and checked configuration. It may be logged: its secrets show as [redacted].
type Config struct {
	// Listen and AdminListen are host:port. An empty AdminListen turns that listener off.
	Listen      string
	AdminListen string
	// Pprof has the admin listener serve profiles.
	Pprof bool

	Database Database

	// MasterKey and MasterKeyPrevious are in the form that domain.ParseMasterKey takes, or zero if they are not set. Load
	// has checked that they can be decoded.
	MasterKey         domain.Secret
	MasterKeyPrevious domain.Secret

	// SecretFiles are the paths of the files that hold secrets of this configuration.
	SecretFiles []string

	// Server is the URL of the service that a command of administration sends requests to, with no trailing slash. If it
	// is empty, the command opens the database. APIKey authenticates those requests. Tenant is the one that they are
	// about. Each may be zero.
	Server string
	APIKey domain.Secret
	Tenant string

	// KickstartFile is empty if there is none.
	KickstartFile string

	// PublicURL has no trailing slash. Where it is not configured it is DerivePublicURL of Listen; but empty if
	// Listen's port is 0, since the address is then the system's choice, or the database is not local: replicas
	// that listen on different addresses would differ in their issuers.
	PublicURL string

	// RootTenant is the tenant whose keys are published at the root of the API; empty for none. It need not exist.
	RootTenant string

	// CORSOrigins are as browsers send them in Origin, so that they compare byte by byte.
	CORSOrigins []string
	// TrustedProxies are masked, and an IPv4 network is never in the form of IPv6.
	TrustedProxies []netip.Prefix

	RateLimits RateLimits

	// FeedStreams is the maximum number of open streams of revocations.
	FeedStreams int

	// DemandProofNonce refuses a DPoP proof without a current nonce (RFC 9449, section 8).
	DemandProofNonce bool
	// Restored is true if the database was restored from a backup: see [domain.Call.Restored].
	Restored bool
	// PurgeInterval is how long after a pass of the janitor the next one begins; 0 if this process makes no pass.
	// PurgeAfter is how long an expired or revoked refresh token is kept; 5 minutes at least.
	PurgeInterval time.Duration
	PurgeAfter    time.Duration
	// KeyRotation is how long a signing key signs before the next one does; 0 for until an operator rotates it.
	// KeyCacheAge is the greatest age of the key sets that verifiers use.
	KeyRotation time.Duration
	KeyCacheAge time.Duration
	// AuditRetention is how long events are kept.
	AuditRetention time.Duration

	LogFormat LogFormat
	LogLevel  slog.Level

	// ShutdownDelay is how long the process reports that it is not ready before it stops taking requests. May be 0.
	ShutdownDelay time.Duration
	// ShutdownTimeout is how long running requests may take after the signal to stop. Above 0.
	ShutdownTimeout time.Duration
}

// RateLimits are requests per second; 0 for no limit.
type RateLimits struct {
	Address, APIKey, RefreshToken int
}

// LogFormat is how log lines are written.
type LogFormat string

const (
	LogText LogFormat = "text"
	LogJSON LogFormat = "json"
	LogAuto LogFormat = "auto" // text if stderr is a terminal, otherwise JSON
)

// Load merges defaults, the file that the flag config or REFRESHD_CONFIG_FILE names, environ (as os.Environ gives it)
// and flags, each over the one before it, and checks the result. flags are the texts of the flags that were set, by
// their names without dashes; package cli parses the command line. The URL of the database has to be of one of the
// schemes; messages list them in this order.
//
// An error is an [*Error], and the Config is then not usable.
func Load(flags map[string]string, environ []string, schemes ...Scheme) (Config, error) {
	l, c, _ := resolve(flags, environ, schemes)
	if len(l.problems) > 0 {
		return Config{}, &Error{Problems: l.problems}
	}
	return c.Config, nil
}

// Value is a setting in force. Its text may be shown.
type Value struct {
	Name   string `json:"name" yaml:"name"` // as a file names it
	Text   string `json:"value" yaml:"value"`
	Source string `json:"source" yaml:"source"` // "default", or where it was set, e.g. "environment REFRESHD_LISTEN"
}

// Values returns every setting in the order of [Keys], with the values that [Load] would use with the same arguments,
// and Load's error. A secret shows as [redacted], and the database's URL without its secrets. A value that was refused
// shows as [refused], because it may be a secret in the wrong place.
func Values(flags map[string]string, environ []string, schemes ...Scheme) ([]Value, error) {
	l, c, values := resolve(flags, environ, schemes)
	shown := make([]Value, len(settings))
	for i, s := range settings {
		v := values[s.name]
		text := v.text
		switch {
		case l.refused[s.name]:
			text = "[refused]"
		case s.show != nil:
			text = s.show(c)
		case s.secret && text != "":
			text = "[redacted]"
		}
		shown[i] = Value{Name: s.name, Text: text, Source: v.source.of(s)}
	}
	if len(l.problems) > 0 {
		return shown, &Error{Problems: l.problems}
	}
	return shown, nil
}

// resolve reads the sources and checks their values.
func resolve(set map[string]string, environ []string, schemes []Scheme) (*loader, *draft, map[string]value) {
	l := &loader{refused: map[string]bool{}}
	given := l.takeFlags(set)
	env := l.readEnvironment(environ)
	file := l.readFile(env, given)

	values := map[string]value{}
	for _, s := range settings {
		values[s.name] = value{text: s.def, source: defaults}
	}
	for _, layer := range []map[string]value{file, env, given} {
		maps.Copy(values, layer)
	}
	l.readSecretFiles(values)

	c := &draft{schemes: schemes}
	for _, s := range settings {
		if err := s.check(c, values[s.name]); err != nil {
			l.note(values[s.name].source, s, err.Error())
		}
	}
	l.checkTogether(c, values)
	return l, c, values
}

// checkTogether checks the rules that concern more than one setting, and derives a setting from another one. It skips
// the rules of a setting that was refused already.
func (l *loader) checkTogether(c *draft, values map[string]value) {
	complain := func(name, message string) { l.note(values[name].source, settingNamed(name), message) }
	spelt := func(name string) string { return values[name].source.names(settingNamed(name)) }

	if l.refused["listen"] {
		return
	}
	if c.Listen == c.AdminListen && !portIsZero(c.Listen) {
		complain("admin_listen", "is the same address as "+spelt("listen")+
			"; choose another port, or leave it empty to turn it off")
	}
	if c.PublicURL == "" && !l.refused["public_url"] && !portIsZero(c.Listen) && !c.isShared() {
		c.PublicURL = DerivePublicURL(c.Listen)
		if checkPublicURL(c.PublicURL) != nil {
			complain("public_url", "cannot be derived from "+spelt("listen")+"; set it, e.g. https://auth.example.com")
		}
	}
}
