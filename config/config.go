// Package config is what a process of refreshd is told before it starts: where it listens, where it stores, which key
// seals its keys. It is not policy: what a tenant or an application may choose is in the store, and comes from a
// kickstart file.
//
// The one thing to know: [Load] is a function of its arguments and of the files that they name. It reports everything
// that is wrong together, and no problem that it reports repeats a value, because any value may be a secret that landed
// in the wrong place.
//
// Decisions:
//
//   - One table (in keys.go) holds name, default, meaning and parser of every setting; help, the README and the check for
//     unknown keys come from it. A struct with tags, decoded by koanf, lost: defaults, help and checks would have stood in
//     three more places, and a decoder's message repeats the value.
//   - koanf reads the file and the environment; the layers are merged here, since a problem must name the source that a value
//     came from and koanf's merge forgets it.
//   - A value that is set and empty is a value: it is how a listener or a list of the file is turned off from the environment.
//     Treating it as unset lost, because then nothing could.
//   - The master keys have no flag, and the database's URL has none with a password: arguments show in process lists.
//     Every secret has a second form, a file that holds it. Load reads that file too: left to the caller, as the master
//     key's once was, each caller had rules of its own for line breaks, empty files and messages.
//   - A line break at the end of a value is not part of it: it comes from `echo`, from an editor, from base64. One is
//     removed, from every source. Removing all white space lost, because a value that is wrong should be seen to be
//     wrong.
//   - A key that is not known stops the start, also in the environment. A warning lost: the misspelt setting is the one
//     that somebody relies on. The exception is what Kubernetes injects for Services, whose names are not this
//     process's choice (see injected).
package config

import (
	"flag"
	"log/slog"
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

	// MasterKey and MasterKeyPrevious are as they were written, in the form that domain.ParseMasterKey takes, or zero
	// if they are not set. Load has decoded them once.
	MasterKey         domain.Secret
	MasterKeyPrevious domain.Secret

	// KickstartFile is empty if there is none.
	KickstartFile string

	// PublicURL has no trailing slash. Where it is not configured it is DerivePublicURL of Listen; but empty if
	// Listen's port is 0, since the address is then the system's choice, or the database is not local: replicas
	// that listen on different addresses would differ in their issuers.
	PublicURL string

	// CORSOrigins are as browsers send them in Origin, so that they compare byte by byte.
	CORSOrigins []string
	// TrustedProxies are masked, and IPv4 is never written as IPv6.
	TrustedProxies []netip.Prefix

	RateLimits RateLimits

	// Restored says that the database was restored from a backup: see [domain.Call.Restored].
	Restored bool
	// PurgeInterval is how long after a pass of the janitor the next one begins; 0 if this process makes none. PurgeAfter is how
	// long a dead refresh token stays; minutes at least.
	PurgeInterval time.Duration
	PurgeAfter    time.Duration

	LogFormat LogFormat
	LogLevel  slog.Level

	// ShutdownDelay is for how long the process says that it is not ready before it stops taking requests. May be 0.
	ShutdownDelay time.Duration
	// ShutdownTimeout is how long running requests may take after the signal to stop. Above 0.
	ShutdownTimeout time.Duration
}

// RateLimits are calls a second; 0 for no limit.
type RateLimits struct {
	Address, APIKey, RefreshToken int
}

// LogFormat is how log lines are written.
type LogFormat string

const (
	LogText LogFormat = "text"
	LogJSON LogFormat = "json"
	LogAuto LogFormat = "auto" // text if stderr is a terminal, else JSON
)

// Load merges defaults, the file that --config or REFRESHD_CONFIG_FILE names, environ (as os.Environ gives it) and args (what
// follows the verb), each over the one before it, and checks the result. verb holds the flags of the verb itself, or is nil; they are
// parsed along, and Load adds its own to it, so it must not have one of the same name. Arguments that are no flags are refused.
// The URL of the database has to be of one of the schemes; messages list them in this order.
//
// An error is flag.ErrHelp, where args ask for help, or an [*Error]. The Config is then not usable.
func Load(args, environ []string, verb *flag.FlagSet, schemes ...Scheme) (Config, error) {
	if verb == nil {
		verb = flag.NewFlagSet("refreshd", flag.ContinueOnError)
	}
	var l loader
	flags, err := l.readFlags(verb, args)
	if err != nil {
		return Config{}, err
	}
	env := l.readEnvironment(environ)
	file := l.readFile(env, flags)

	values := map[string]value{}
	for _, s := range settings {
		values[s.name] = value{text: s.def, source: defaults}
	}
	for _, layer := range []map[string]value{file, env, flags} {
		for name, v := range layer {
			values[name] = v
		}
	}

	l.readSecretFiles(values)

	c := draft{schemes: schemes}
	refused := map[string]bool{}
	for _, s := range settings {
		if err := s.check(&c, values[s.name]); err != nil {
			refused[s.name] = true
			l.note(values[s.name].source, s, err.Error())
		}
	}
	l.checkTogether(&c, values, refused)
	if len(l.problems) > 0 {
		return Config{}, &Error{Problems: l.problems}
	}
	return c.Config, nil
}

// checkTogether holds the rules that concern more than one setting, and derives what follows from another one. A setting that
// was refused by itself is not held against a second one.
func (l *loader) checkTogether(c *draft, values map[string]value, refused map[string]bool) {
	complain := func(name, message string) { l.note(values[name].source, settingNamed(name), message) }
	spelt := func(name string) string { return values[name].source.names(settingNamed(name)) }

	if refused["listen"] {
		return
	}
	if c.Listen == c.AdminListen && !portIsZero(c.Listen) {
		complain("admin_listen", "is the same address as "+spelt("listen")+"; choose another port, or leave it empty to turn it off")
	}
	if c.PublicURL == "" && !refused["public_url"] && !portIsZero(c.Listen) && !c.isShared() {
		c.PublicURL = DerivePublicURL(c.Listen)
		if checkPublicURL(c.PublicURL) != nil {
			complain("public_url", "does not follow from "+spelt("listen")+"; set it, e.g. https://auth.example.com")
		}
	}
}
