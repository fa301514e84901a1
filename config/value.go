package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/refreshd/refreshd/domain"
)

func parseMasterKey(text string) (domain.Secret, error) {
	if text == "" {
		return domain.Secret{}, nil
	}
	key := domain.NewSecret(text)
	if _, err := domain.ParseMasterKey(key); err != nil {
		return domain.Secret{}, err
	}
	return key, nil
}

func parseListen(text string) (string, error) {
	refused := errors.New("is not host:port with a port of 0 to 65535, e.g. 127.0.0.1:3000 or [::1]:3000")
	host, port, err := net.SplitHostPort(text)
	if err != nil || strings.ContainsAny(host, "/@ \t\r\n") {
		return "", refused
	}
	if !isPort(port) {
		return "", refused
	}
	return text, nil
}

func isPort(text string) bool {
	n, err := strconv.ParseUint(text, 10, 16)
	return err == nil && strconv.FormatUint(n, 10) == text
}

func portIsZero(listen string) bool { return strings.HasSuffix(listen, ":0") }

// DerivePublicURL is the URL of a listener at the address listen, where no URL is configured. A wildcard address
// becomes localhost: what it is to others cannot be known, and is never taken from a request.
func DerivePublicURL(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return ""
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return "http://" + net.JoinHostPort(host, port)
}

func checkPublicURL(text string) error {
	refused := errors.New("is not an absolute http or https URL without user, query, fragment and trailing slash, " +
		"e.g. https://auth.example.com")
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || !namesHost(u) || u.User != nil {
		return refused
	}
	if strings.ContainsAny(text, "?#") || strings.HasSuffix(text, "/") {
		return refused
	}
	return nil
}

// checkServer accepts the URL of a service that gets an API key. In the clear that key stays on this machine.
func checkServer(text string) error {
	if err := checkPublicURL(text); err != nil {
		return err
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" && !isLoopback(u.Hostname()) {
		return errors.New("is a URL of http of another machine, and an API key would be sent to it in the clear: " +
			"use https, " +
			"or a tunnel to a port of this machine")
	}
	return nil
}

// isLoopback reports whether a host is this machine.
func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// namesHost reports whether u has a host and, if it has a port, a valid one.
func namesHost(u *url.URL) bool {
	if u.Port() == "" {
		return u.Hostname() != "" && !strings.HasSuffix(u.Host, ":")
	}
	return u.Hostname() != "" && isPort(u.Port())
}

// parseOrigin accepts an origin only as a browser would send it: anything else could never match.
func parseOrigin(text string) (string, error) {
	if text == "*" || text == "null" {
		return "", errors.New("would let any page send requests; name the origins")
	}
	refused := errors.New("is not scheme://host or scheme://host:port as browsers send it: lower case, no path, " +
		"not even a slash")
	u, err := url.Parse(text)
	if err != nil || u.Scheme == "" || !namesHost(u) || u.Scheme+"://"+u.Host != text {
		return "", refused
	}
	outside := func(r rune) bool { return r <= ' ' || r > '~' || r == '*' }
	if text != strings.ToLower(text) || strings.ContainsFunc(text, outside) {
		return "", refused
	}
	if u.Scheme == "https" && u.Port() == "443" || u.Scheme == "http" && u.Port() == "80" {
		return "", errors.New("names the scheme's own port, which browsers leave out; leave it out")
	}
	return text, nil
}

func parseProxy(text string) (netip.Prefix, error) {
	if ip, err := netip.ParseAddr(text); err == nil && ip.Zone() == "" {
		ip = ip.Unmap()
		return netip.PrefixFrom(ip, ip.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(text)
	if err != nil || prefix.Addr().Is4In6() {
		return netip.Prefix{}, errors.New("is neither an IP address nor a CIDR range, e.g. 10.0.0.0/8")
	}
	if prefix != prefix.Masked() {
		return netip.Prefix{}, errors.New("has bits set after its prefix; write the first address of the range, " +
			"e.g. 10.0.0.0/8")
	}
	return prefix, nil
}

// parseList splits text at commas. It ignores blanks around an entry; an empty text is an empty list.
func parseList[T any](text string, parse func(string) (T, error)) ([]T, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	var list []T
	var problems []string
	for i, entry := range strings.Split(text, ",") {
		parsed, err := parse(strings.TrimSpace(entry))
		if err != nil {
			problems = append(problems, fmt.Sprintf("entry %d %s", i+1, err))
			continue
		}
		list = append(list, parsed)
	}
	if problems != nil {
		return nil, errors.New(strings.Join(problems, "; "))
	}
	return list, nil
}

func parseCount(text string, lowest, highest int) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < lowest || n > highest {
		return 0, fmt.Errorf("is not a whole number of %d to %d", lowest, highest)
	}
	return n, nil
}

func parseDuration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 || d > time.Hour {
		return 0, errors.New("is not a duration above 0 and up to 1h, with its unit, e.g. 15s or 1m")
	}
	return d, nil
}

func parseDelay(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d > time.Hour {
		return 0, errors.New("is not a duration of 0 to 1h, with its unit, e.g. 5s")
	}
	return d, nil
}

func parsePurgeInterval(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d != 0 && (d < time.Second || d > 7*24*time.Hour) {
		return 0, errors.New("is neither 0s nor a duration of 1s to 168h, with its unit, e.g. 1h")
	}
	return d, nil
}

// parsePurgeAfter takes 5 minutes at least: clocks of replicas differ, and an earlier request may still be running.
func parsePurgeAfter(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d < 5*time.Minute || d > 365*24*time.Hour {
		return 0, errors.New("is not a duration of 5m to 8760h, with its unit, e.g. 24h")
	}
	return d, nil
}

// parseKeyRotation takes 48 hours at least: a key is published a day before it signs.
func parseKeyRotation(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d != 0 && (d < 48*time.Hour || d > 10*365*24*time.Hour) {
		return 0, errors.New("is neither 0s nor a duration of 48h to 87600h, with its unit, e.g. 2160h")
	}
	return d, nil
}

func parseKeyCacheAge(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d < time.Minute || d > 7*24*time.Hour {
		return 0, errors.New("is not a duration of 1m to 168h, with its unit, e.g. 2h")
	}
	return d, nil
}

func parseAuditRetention(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d < time.Hour || d > 10*365*24*time.Hour {
		return 0, errors.New("is not a duration of 1h to 87600h, with its unit, e.g. 2160h")
	}
	return d, nil
}

type choice[T any] struct {
	name  string
	value T
}

var (
	logFormats = []choice[LogFormat]{{"text", LogText}, {"json", LogJSON}, {"auto", LogAuto}}
	logLevels  = []choice[slog.Level]{
		{"debug", slog.LevelDebug}, {"info", slog.LevelInfo}, {"warn", slog.LevelWarn}, {"error", slog.LevelError},
	}
	truths = []choice[bool]{{"true", true}, {"false", false}}
)

func namesOf[T any](choices []choice[T]) []string {
	names := make([]string, len(choices))
	for i, c := range choices {
		names[i] = c.name
	}
	return names
}

func parseChoice[T any](text string, choices []choice[T]) (T, error) {
	i := slices.IndexFunc(choices, func(c choice[T]) bool { return c.name == text })
	if i >= 0 {
		return choices[i].value, nil
	}
	names := namesOf(choices)
	message := "is not one of " + strings.Join(names, ", ")
	if near := nearest(text, names); near != "" {
		message += "; did you mean " + near + "?"
	}
	var none T
	return none, errors.New(message)
}
