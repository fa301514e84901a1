package config

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/refreshd/refreshd/domain"
)

// Database is where everything is stored.
type Database struct {
	// Scheme is the name of the URL's scheme, which is one of those given to [Load].
	Scheme string
	// URL is the text that was set.
	URL domain.Secret
	// Redacted names the database for people, in logs and messages: the URL without its secrets.
	Redacted       string
	MaxConnections int
	// WriteCombining lets exchanges that wait for the database share the next write.
	WriteCombining bool
}

// Rest is what follows the scheme and its colon in the URL. It may hold a password.
func (d Database) Rest() string { return strings.TrimPrefix(d.URL.Reveal(), d.Scheme+":") }

// Scheme describes the database URLs that begin with a name and a colon. It does not know the store that opens them.
type Scheme struct {
	// Name is in lower case, as in RFC 3986, section 3.1.
	Name string
	// Form is the form of such a URL, for messages; empty for a scheme that the form of another scheme mentions.
	Form string
	// Parse checks the text after the colon, and returns it without its secrets. Its error says what is wrong with the
	// URL and what to do, as a sentence without a subject, and does not repeat any of the text. If Parse is nil, every
	// text is accepted and none is shown.
	Parse func(rest string) (redacted string, err error)
	// NoPassword is true if these URLs never hold a password, even if a part of one looks like one.
	NoPassword bool
	// Local is true if only processes of one machine use the database. PublicURL may then follow from the listen address.
	Local bool
}

// The schemes of the stores that come with refreshd.
var (
	Memory = Scheme{Name: "memory", Form: "memory:", Local: true, Parse: parseMemory}
	SQLite = Scheme{Name: "sqlite", Form: "sqlite:PATH", Local: true, NoPassword: true, Parse: parseSQLite}

	Postgres = Scheme{
		Name: "postgres", Form: "postgres://USER:PASSWORD@HOST/DATABASE, also as postgresql://",
		Parse: func(rest string) (string, error) { return parsePostgres("postgres", rest) },
	}
	PostgreSQL = Scheme{
		Name: "postgresql", Parse: func(rest string) (string, error) { return parsePostgres("postgresql", rest) },
	}
)

// parse reads a URL of one of the schemes.
func (d *Database) parse(text string, schemes []Scheme) error {
	name, rest, found := strings.Cut(text, ":")
	if !found {
		return errors.New("has no scheme; known are " + forms(schemes))
	}
	i := slices.IndexFunc(schemes, func(s Scheme) bool { return s.Name == name })
	if i < 0 {
		return errors.New("has an unknown scheme; known are " + forms(schemes))
	}
	redacted := "[redacted]"
	if schemes[i].Parse != nil {
		var err error
		if redacted, err = schemes[i].Parse(rest); err != nil {
			return err
		}
	}
	d.Scheme, d.URL, d.Redacted = name, domain.NewSecret(text), name+":"+redacted
	return nil
}

// forms lists the forms of the URLs of the schemes.
func forms(schemes []Scheme) string {
	var all []string
	for _, s := range schemes {
		if s.Form != "" {
			all = append(all, s.Form)
		}
	}
	if len(all) < 2 {
		return strings.Join(all, "")
	}
	return strings.Join(all[:len(all)-1], ", ") + " and " + all[len(all)-1]
}

func parseMemory(rest string) (string, error) {
	if rest != "" {
		return "", errors.New("has text after memory: and must not")
	}
	return "", nil
}

// passwordOption finds a password in the form host=HOST password=PASSWORD, which PostgreSQL's own tools take.
var passwordOption = regexp.MustCompile(`(?i)password\s*=`)

// holdsPassword reports whether text, which may not even be a URL, holds a password.
func holdsPassword(text string, schemes []Scheme) bool {
	hasNone := func(s Scheme) bool { return s.NoPassword && strings.HasPrefix(text, s.Name+":") }
	if slices.ContainsFunc(schemes, hasNone) {
		return false
	}
	afterScheme := text[strings.Index(text, "//")+1:]
	if at := strings.LastIndex(afterScheme, "@"); at >= 0 {
		if _, password, _ := strings.Cut(afterScheme[:at], ":"); password != "" {
			return true
		}
	}
	_, options, _ := strings.Cut(text, "?")
	query, _ := url.ParseQuery(options) // without the parts that it cannot parse, which the driver leaves out as well
	return query.Has("password") || query.Has("sslpassword") || passwordOption.MatchString(text)
}

func parseSQLite(path string) (string, error) {
	switch {
	case path == "":
		return "", errors.New("names no file; write sqlite:PATH")
	case path == ":memory:":
		return "", errors.New("asks SQLite for a store in memory; write memory: alone")
	case strings.HasPrefix(path, "//"):
		return "", errors.New("has two slashes; write sqlite:PATH, e.g. sqlite:/var/lib/refreshd/refreshd.db")
	case strings.ContainsAny(path, "?#%") || strings.ContainsFunc(path, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return "", errors.New("has a path with ?, #, % or a control character; options of SQLite cannot be set, " +
			"name another file")
	}
	return path, nil
}

// parsePostgres shows hosts and database. A password can be in the user as well as in the options.
func parsePostgres(scheme, rest string) (redacted string, err error) {
	rest, found := strings.CutPrefix(rest, "//")
	if !found {
		return "", fmt.Errorf("has no // after %s:; write %[1]s://USER:PASSWORD@HOST/DATABASE", scheme)
	}
	hosts, database, err := splitPostgres(rest)
	if err != nil {
		return "", err
	}
	return "//" + hosts + "/" + database, nil
}

// splitPostgres splits the text after :// as far as is needed to separate hosts and database from secrets; the driver
// parses it again, completely. A password with a character that ends it early would move part of it into
// the host or the database, and parsers disagree on where. So a text that can be read in two ways is refused.
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
