package config

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"github.com/refreshd/refreshd/domain"
)

// Engine is the kind of store.
type Engine string

const (
	SQLite   Engine = "sqlite"
	Postgres Engine = "postgres"
	Memory   Engine = "memory" // gone when the process ends
)

// Database says where refresh tokens are stored.
type Database struct {
	Engine Engine
	// URL is as it was written. Only PostgreSQL's driver has a use for it.
	URL domain.Secret
	// Path is the file of SQLite, and empty otherwise. It may be relative; its directory may not exist yet.
	Path           string
	MaxConnections int
	// WriteCombining lets exchanges that wait for the database share the next write.
	WriteCombining bool
}

// Redacted names the database for people: engine, hosts and database, or path. Of a PostgreSQL URL neither user nor options are
// shown, because a password can be in either.
func (d Database) Redacted() string {
	switch d.Engine {
	case SQLite:
		return "sqlite:" + d.Path
	case Postgres:
		scheme, rest, _ := strings.Cut(d.URL.Reveal(), "://")
		hosts, database, err := splitPostgres(rest)
		if err != nil {
			return scheme + "://[redacted]"
		}
		return scheme + "://" + hosts + "/" + database
	case Memory:
		return "memory:"
	default:
		return ""
	}
}

func (d *Database) parse(text string) error {
	const known = "memory:, sqlite:PATH and postgres://USER:PASSWORD@HOST/DATABASE, also as postgresql://"
	scheme, rest, found := strings.Cut(text, ":")
	if !found {
		return errors.New("has no scheme; known are " + known)
	}
	switch scheme {
	case "sqlite":
		if err := checkSQLitePath(rest); err != nil {
			return err
		}
		d.Engine, d.Path = SQLite, rest
	case "postgres", "postgresql":
		rest, found := strings.CutPrefix(rest, "//")
		if !found {
			return fmt.Errorf("has no // after %s:; write %[1]s://USER:PASSWORD@HOST/DATABASE", scheme)
		}
		if _, _, err := splitPostgres(rest); err != nil {
			return err
		}
		d.Engine = Postgres
	case "memory":
		if rest != "" {
			return errors.New("has something after memory: where nothing may stand")
		}
		d.Engine = Memory
	default:
		return errors.New("has an unknown scheme; known are " + known)
	}
	d.URL = domain.NewSecret(text)
	return nil
}

// passwordOption finds a password in the form host=HOST password=PASSWORD, which PostgreSQL's own tools take.
var passwordOption = regexp.MustCompile(`(?i)password\s*=`)

// holdsPassword reports whether text, which may be no URL at all, holds what is meant as a password.
func holdsPassword(text string) bool {
	if strings.HasPrefix(text, "sqlite:") {
		return false // the rest is a path
	}
	afterScheme := text[strings.Index(text, "//")+1:]
	if at := strings.LastIndex(afterScheme, "@"); at >= 0 {
		if _, password, _ := strings.Cut(afterScheme[:at], ":"); password != "" {
			return true
		}
	}
	_, options, _ := strings.Cut(text, "?")
	query, _ := url.ParseQuery(options) // what it cannot read it leaves out, as the driver does
	return query.Has("password") || query.Has("sslpassword") || passwordOption.MatchString(text)
}

func checkSQLitePath(path string) error {
	switch {
	case path == "":
		return errors.New("names no file; write sqlite:PATH")
	case path == ":memory:":
		return errors.New("asks SQLite for a store in memory; write memory: alone")
	case strings.HasPrefix(path, "//"):
		return errors.New("has two slashes, as a URL would; write sqlite:PATH, e.g. sqlite:/var/lib/refreshd/refreshd.db")
	case strings.ContainsAny(path, "?#%") || strings.ContainsFunc(path, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return errors.New("has a path with ?, #, % or a control character; options of SQLite cannot be set, name another file")
	}
	return nil
}

// splitPostgres takes what stands after :// apart just as far as is needed to tell hosts and database from what is secret; the driver
// parses it again and knows the rest. A password with a character that ends it early would move part of it into the host or the
// database, and parsers disagree on where. So what can be read in two ways is refused.
func splitPostgres(rest string) (hosts, database string, err error) {
	refused := errors.New("is not postgres://USER:PASSWORD@HOST:PORT/DATABASE?OPTION=VALUE; " +
		"in user and password write @ as %40, : as %3A, / as %2F, ? as %3F, # as %23")
	if strings.Contains(rest, "#") || strings.Count(rest, "@") > 1 {
		return "", "", refused
	}
	if strings.ContainsFunc(rest, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return "", "", refused
	}
	beforeOptions, options, _ := strings.Cut(rest, "?")
	authority, database, _ := strings.Cut(beforeOptions, "/")
	if strings.Contains(database, "@") || strings.Contains(database, "/") || strings.Contains(options, "@") {
		return "", "", refused
	}
	hosts = authority
	if user, after, found := strings.Cut(authority, "@"); found {
		if strings.Count(user, ":") > 1 {
			return "", "", refused
		}
		hosts = after
	}
	for host := range strings.SplitSeq(hosts, ",") {
		// Only a host in brackets has colons of its own.
		name, port, hasPort := strings.Cut(host[strings.LastIndex(host, "]")+1:], ":")
		if hasPort && !isPort(port) || strings.HasPrefix(host, "[") && name != "" {
			return "", "", refused
		}
	}
	return hosts, database, nil
}
