package config_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/refreshd/refreshd/config"
	"github.com/refreshd/refreshd/domain"
)

var (
	masterKey   = base64.StdEncoding.EncodeToString([]byte("an example of 32 bytes of a key."))
	previousKey = base64.RawURLEncoding.EncodeToString([]byte("\xff\xfe another 32 bytes, used before"))
	apiKey      = "ak_0123456789abcdefghijklmn"
)

// schemes are those of the stores that come with refreshd.
var schemes = []config.Scheme{config.Memory, config.SQLite, config.Postgres, config.PostgreSQL}

var compareValues = cmp.Options{
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
}

// writeFile makes a configuration file and gives its path.
func writeFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "refreshd.yaml")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// flags are the flags that args set, as --name=value or --name value, by their names.
func flags(args []string) map[string]string {
	set := map[string]string{}
	for i := 0; i < len(args); i++ {
		name, text, ok := strings.Cut(strings.TrimPrefix(args[i], "--"), "=")
		if !ok {
			i++
			text = args[i]
		}
		set[name] = text
	}
	return set
}

func load(t *testing.T, args, environ []string) config.Config {
	t.Helper()
	c, err := config.Load(flags(args), environ, schemes...)
	if err != nil {
		t.Fatalf("Load(%q, %q): %v", args, environ, err)
	}
	return c
}

// problems are what Load finds wrong.
func problems(t *testing.T, args, environ []string) []config.Problem {
	t.Helper()
	c, err := config.Load(flags(args), environ, schemes...)
	if err == nil {
		t.Fatalf("Load(%q, %q) = %+v, want an error", args, environ, c)
	}
	var refused *config.Error
	if !errors.As(err, &refused) {
		t.Fatalf("Load(%q, %q): %v, want a *config.Error", args, environ, err)
	}
	return refused.Problems
}

func TestDefaultsAreTheDocumentedOnes(t *testing.T) {
	got := load(t, nil, nil)
	want := config.Config{
		Listen:      "127.0.0.1:3000",
		AdminListen: "127.0.0.1:3001",
		Database: config.Database{Scheme: "sqlite", URL: domain.NewSecret("sqlite:refreshd-data/refreshd.db"),
			Redacted: "sqlite:refreshd-data/refreshd.db", MaxConnections: 16, WriteCombining: true},
		PublicURL:       "http://127.0.0.1:3000",
		RootTenant:      "default",
		RateLimits:      config.RateLimits{Address: 100, APIKey: 2000, RefreshToken: 5},
		FeedStreams:     5000,
		PurgeInterval:   time.Hour,
		PurgeAfter:      24 * time.Hour,
		KeyRotation:     2160 * time.Hour,
		KeyCacheAge:     2 * time.Hour,
		AuditRetention:  2160 * time.Hour,
		LogFormat:       config.LogAuto,
		LogLevel:        slog.LevelInfo,
		ShutdownTimeout: 15 * time.Second,
	}
	if diff := cmp.Diff(want, got, compareValues); diff != "" {
		t.Errorf("Load with nothing set (-want +got):\n%s", diff)
	}
}

func TestEverySourceSetsEverySetting(t *testing.T) {
	want := config.Config{
		Listen:      "0.0.0.0:8080",
		AdminListen: "[::1]:8081",
		Pprof:       true,
		Database: config.Database{Scheme: "postgres",
			URL: domain.NewSecret("postgres://u:pw@db:5432/tokens?sslmode=require"), Redacted: "postgres://db:5432/tokens",
			MaxConnections: 40, WriteCombining: false},
		MasterKey:         domain.NewSecret(masterKey),
		MasterKeyPrevious: domain.NewSecret(previousKey),
		Server:            "https://auth.example.com",
		APIKey:            domain.NewSecret(apiKey),
		Tenant:            "acme",
		KickstartFile:     "kickstart.yaml",
		PublicURL:         "https://auth.example.com/tokens",
		RootTenant:        "globex",
		CORSOrigins:       []string{"https://app.example.com", "http://localhost:5173"},
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.0.2.7/32"),
			netip.MustParsePrefix("2001:db8::/32")},
		RateLimits:       config.RateLimits{Address: 7, APIKey: 0, RefreshToken: 1_000_000},
		FeedStreams:      250,
		DemandProofNonce: true,
		PurgeInterval:    10 * time.Minute,
		PurgeAfter:       48 * time.Hour,
		KeyRotation:      48 * time.Hour,
		KeyCacheAge:      time.Hour,
		AuditRetention:   time.Hour,
		Restored:         true,
		LogFormat:        config.LogJSON,
		LogLevel:         slog.LevelWarn,
		ShutdownDelay:    5 * time.Second,
		ShutdownTimeout:  90 * time.Second,
	}
	// A field with its default would be right from a source that leaves the setting out.
	defaults, set := reflect.ValueOf(load(t, nil, nil)), reflect.ValueOf(want)
	for i := range set.NumField() {
		if set.Type().Field(i).Name == "SecretFiles" { // which excludes the settings: TestEverySecretCanBeInAFile
			continue
		}
		if cmp.Equal(defaults.Field(i).Interface(), set.Field(i).Interface(), compareValues) {
			t.Errorf("want has the default of %s: give it another value, in each source", set.Type().Field(i).Name)
		}
	}
	path := writeFile(t, `
listen: 0.0.0.0:8080
admin_listen: "[::1]:8081"
pprof: true
database_url: postgres://u:pw@db:5432/tokens?sslmode=require
database_max_connections: 40
database_write_combining: false
master_key: `+masterKey+`
master_key_previous: `+previousKey+`
server: https://auth.example.com
api_key: `+apiKey+`
tenant: acme
kickstart_file: kickstart.yaml
public_url: https://auth.example.com/tokens
root_tenant: globex
cors_origins:
  - https://app.example.com
  - http://localhost:5173
trusted_proxies: [10.0.0.0/8, "192.0.2.7", "2001:db8::/32"]
rate_limit_address: 7
rate_limit_api_key: 0
rate_limit_refresh_token: "1000000"
feed_streams: 250
purge_interval: 10m
purge_after: 48h
key_rotation: 48h
key_cache_age: 1h
audit_retention: 1h
restored: true
dpop_nonce: true
log_format: json
log_level: warn
shutdown_delay: 5s
shutdown_timeout: 90s
`)
	keys := []string{
		"REFRESHD_MASTER_KEY=" + masterKey, "REFRESHD_MASTER_KEY_PREVIOUS=" + previousKey, "REFRESHD_API_KEY=" + apiKey,
	}
	const database = "REFRESHD_DATABASE_URL=postgres://u:pw@db:5432/tokens?sslmode=require"
	tests := map[string]struct{ args, environ []string }{
		"file named by a flag":          {args: []string{"--config", path}},
		"file named by the environment": {environ: []string{"REFRESHD_CONFIG_FILE=" + path}},
		"a flag's file wins over another": {args: []string{"--config=" + path},
			environ: []string{"REFRESHD_CONFIG_FILE=/does/not/exist"}},
		"environment": {environ: append([]string{
			"HOME=/", "REFRESHD_LISTEN=0.0.0.0:8080", "REFRESHD_ADMIN_LISTEN=[::1]:8081", "REFRESHD_PPROF=true",
			database, "REFRESHD_DATABASE_MAX_CONNECTIONS=40", "REFRESHD_DATABASE_WRITE_COMBINING=false",
			"REFRESHD_SERVER=https://auth.example.com", "REFRESHD_TENANT=acme",
			"REFRESHD_KICKSTART_FILE=kickstart.yaml", "REFRESHD_PUBLIC_URL=https://auth.example.com/tokens",
			"REFRESHD_ROOT_TENANT=globex",
			"REFRESHD_CORS_ORIGINS=https://app.example.com, http://localhost:5173",
			"REFRESHD_TRUSTED_PROXIES=10.0.0.0/8,::ffff:192.0.2.7,2001:db8::/32",
			"REFRESHD_RATE_LIMIT_ADDRESS=7", "REFRESHD_RATE_LIMIT_API_KEY=0", "REFRESHD_RATE_LIMIT_REFRESH_TOKEN=1000000",
			"REFRESHD_FEED_STREAMS=250",
			"REFRESHD_PURGE_INTERVAL=600s", "REFRESHD_PURGE_AFTER=48h", "REFRESHD_AUDIT_RETENTION=60m",
			"REFRESHD_KEY_ROTATION=48h", "REFRESHD_KEY_CACHE_AGE=60m",
			"REFRESHD_RESTORED=true", "REFRESHD_DPOP_NONCE=true",
			"REFRESHD_LOG_FORMAT=json", "REFRESHD_LOG_LEVEL=warn", "REFRESHD_SHUTDOWN_DELAY=5s",
			"REFRESHD_SHUTDOWN_TIMEOUT=1m30s",
		}, keys...)},
		"flags": {args: []string{
			"--listen=0.0.0.0:8080", "--admin-listen", "[::1]:8081", "--pprof=true",
			"--database-max-connections=40", "--database-write-combining=false",
			"--server=https://auth.example.com", "--tenant=acme",
			"--kickstart-file=kickstart.yaml", "--public-url=https://auth.example.com/tokens",
			"--root-tenant=globex",
			"--cors-origins=https://app.example.com,http://localhost:5173",
			"--trusted-proxies=10.0.0.0/8,192.0.2.7,2001:db8::/32",
			"--rate-limit-address=7", "--rate-limit-api-key", "0", "--rate-limit-refresh-token=1000000",
			"--feed-streams=250",
			"--purge-interval=10m", "--purge-after=48h0m", "--audit-retention=1h", "--restored=true", "--dpop-nonce=true",
			"--key-rotation=48h0m", "--key-cache-age=1h",
			"--log-format=json", "--log-level=warn", "--shutdown-delay=5s", "--shutdown-timeout=90s",
		}, environ: append([]string{database}, keys...)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(want, load(t, tt.args, tt.environ), compareValues); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestLaterSourcesWin(t *testing.T) {
	path := writeFile(t, "listen: file:1\nadmin_listen: file:2\nlog_level: debug\n")
	tests := map[string]struct {
		args, environ []string
		want          string
	}{
		"default":               {nil, nil, "127.0.0.1:3000"},
		"file over default":     {[]string{"--config=" + path}, nil, "file:1"},
		"environment over file": {[]string{"--config=" + path}, []string{"REFRESHD_LISTEN=env:1"}, "env:1"},
		"flag over environment": {[]string{"--config=" + path, "--listen=flag:1"},
			[]string{"REFRESHD_LISTEN=env:1"}, "flag:1"},
		"flag over file": {[]string{"--config=" + path, "--listen=flag:1"}, nil, "flag:1"},
		"a flag with the default's text": {[]string{"--listen=127.0.0.1:3000"}, []string{"REFRESHD_LISTEN=env:1"},
			"127.0.0.1:3000"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := load(t, tt.args, tt.environ).Listen; got != tt.want {
				t.Errorf("Listen = %q, want %q", got, tt.want)
			}
		})
	}
}

// Without this the admin listener of a file could not be turned off for one process.
func TestAnEmptyValueWinsOverAnEarlierOne(t *testing.T) {
	path := writeFile(t, "admin_listen: localhost:9\ncors_origins: [\"https://a.example\"]\n")
	c := load(t, []string{"--config", path, "--cors-origins="}, []string{"REFRESHD_ADMIN_LISTEN="})
	if c.AdminListen != "" || c.CORSOrigins != nil {
		t.Errorf("AdminListen, CORSOrigins = %q, %q, want both empty", c.AdminListen, c.CORSOrigins)
	}
}

func TestUnknownKeysAreRefusedByName(t *testing.T) {
	inFile := func(content string) []string { return []string{"--config=" + writeFile(t, content)} }
	tests := map[string]struct {
		args, environ []string
		source, key   string
		says          string
	}{
		"environment, near miss": {nil, []string{"REFRESHD_LITSEN=x:1"}, "environment", "REFRESHD_LITSEN",
			"did you mean REFRESHD_LISTEN?"},
		"environment, a level": {nil, []string{"REFRESHD_LOG__LEVEL=info"}, "environment", "REFRESHD_LOG__LEVEL",
			"did you mean REFRESHD_LOG_LEVEL?"},
		"environment, lower case": {nil, []string{"REFRESHD_listen=x:1"}, "environment", "REFRESHD_listen",
			"did you mean REFRESHD_LISTEN?"},
		"environment, nothing like it": {nil, []string{"REFRESHD_SPEED=1"}, "environment", "REFRESHD_SPEED",
			"refreshd help configuration"},
		"environment, no name": {nil, []string{"REFRESHD_=1"}, "environment", "REFRESHD_",
			"refreshd help configuration"},
		"environment, a port": {
			nil, []string{"REFRESHD_PORT=8080"}, "environment", "REFRESHD_PORT", "set in REFRESHD_LISTEN",
		},
		"environment, a setting's port": {
			nil, []string{"REFRESHD_LISTEN_PORT=8080"}, "environment", "REFRESHD_LISTEN_PORT", "set in REFRESHD_LISTEN",
		},
		"flag, near miss": {[]string{"--databse-url=memory:"}, nil, "flags", "--databse-url",
			"did you mean --database-url?"},
		"flag, a key's spelling": {[]string{"--log_level=info"}, nil, "flags", "--log_level",
			"did you mean --log-level?"},
		"file, near miss":            {inFile("litsen: x:1"), nil, "file", "litsen", "did you mean listen?"},
		"file, a level":              {inFile("log:\n  level: info"), nil, "file", "log.level", "did you mean log_level?"},
		"file, a level with nothing": {inFile("log: {}"), nil, "file", "log", "is not a known setting"},
		"file, the environment's name": {inFile("REFRESHD_LISTEN: x:1"), nil, "file", "REFRESHD_LISTEN",
			"did you mean listen?"},
		"file, a number":     {inFile("7: x"), nil, "file", "7", "refreshd help configuration"},
		"file, another file": {inFile("config_file: x"), nil, "file", "config_file", "cannot name another"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := problems(t, tt.args, tt.environ)
			if len(got) != 1 {
				t.Fatalf("problems = %+v, want one", got)
			}
			if source, _, _ := strings.Cut(got[0].Source, " "); source != tt.source || got[0].Key != tt.key ||
				!strings.Contains(got[0].Message, tt.says) {
				t.Errorf("problem = %+v, want source %q, key %q, a message with %q", got[0], tt.source, tt.key, tt.says)
			}
		})
	}
}

// serviceVariables are what Kubernetes puts into every pod of a namespace for a Service.
func serviceVariables(service string) []string {
	prefix := strings.ToUpper(strings.ReplaceAll(service, "-", "_"))
	environ := []string{
		prefix + "_SERVICE_HOST=10.0.0.1", prefix + "_SERVICE_PORT=3000", prefix + "_SERVICE_PORT_HTTP=3000",
		prefix + "_SERVICE_PORT_WEB_2=3000", prefix + "_PORT=tcp://10.0.0.1:3000",
	}
	for _, protocol := range []string{"TCP", "UDP", "SCTP"} {
		of := prefix + "_PORT_3000_" + protocol
		environ = append(environ, of+"=tcp://[fd00::1]:3000", of+"_PROTO=tcp", of+"_PORT=3000", of+"_ADDR=fd00::1")
	}
	return environ
}

// A Service stops no pod of its namespace from starting, however it is called.
func TestTheVariablesOfAnyServiceAreSkipped(t *testing.T) {
	services := []string{
		"refreshd", "refreshd-db", "refreshd-postgresql", "refreshd-admin", "refreshd-port", "refreshd-service",
	}
	for _, k := range config.Keys() {
		services = append(services, strings.ToLower(strings.ReplaceAll(k.Env, "_", "-")))
	}
	want := load(t, nil, nil)
	for _, service := range services {
		if diff := cmp.Diff(want, load(t, nil, serviceVariables(service)), compareValues); diff != "" {
			t.Errorf("Service %s (-without +with):\n%s", service, diff)
		}
	}
}

// A setting whose name looks like one of a Service would be skipped in silence.
func TestNoSettingHasTheNameOfAServicesVariable(t *testing.T) {
	shape := regexp.MustCompile(`_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT|PORT_\d+_(TCP|UDP|SCTP)(_PROTO|_PORT|_ADDR)?)$`)
	for _, k := range config.Keys() {
		if shape.MatchString(k.Env) {
			t.Errorf("%s looks like a variable that Kubernetes injects", k.Env)
		}
	}
}

// The value of each setting that is neither a choice of its own nor refused for another reason here.
var someValues = map[string]string{
	"REFRESHD_CONFIG_FILE": "", "REFRESHD_LISTEN": "0.0.0.0:8080", "REFRESHD_ADMIN_LISTEN": "localhost:8081",
	"REFRESHD_PPROF":        "true",
	"REFRESHD_DATABASE_URL": "sqlite:some.db", "REFRESHD_DATABASE_URL_FILE": "", "REFRESHD_DATABASE_MAX_CONNECTIONS": "40",
	"REFRESHD_DATABASE_WRITE_COMBINING": "false", "REFRESHD_MASTER_KEY": masterKey, "REFRESHD_MASTER_KEY_FILE": "",
	"REFRESHD_MASTER_KEY_PREVIOUS": previousKey, "REFRESHD_MASTER_KEY_PREVIOUS_FILE": "",
	"REFRESHD_KICKSTART_FILE": "some.yaml",
	"REFRESHD_SERVER":         "https://auth.example.com", "REFRESHD_API_KEY": apiKey, "REFRESHD_API_KEY_FILE": "",
	"REFRESHD_TENANT": "acme", "REFRESHD_ROOT_TENANT": "globex",
	"REFRESHD_PUBLIC_URL": "https://auth.example.com", "REFRESHD_CORS_ORIGINS": "https://app.example.com",
	"REFRESHD_TRUSTED_PROXIES": "10.0.0.0/8", "REFRESHD_RATE_LIMIT_ADDRESS": "7", "REFRESHD_RATE_LIMIT_API_KEY": "8",
	"REFRESHD_RATE_LIMIT_REFRESH_TOKEN": "9", "REFRESHD_FEED_STREAMS": "10",
	"REFRESHD_PURGE_INTERVAL": "10m", "REFRESHD_PURGE_AFTER": "48h", "REFRESHD_AUDIT_RETENTION": "1h",
	"REFRESHD_KEY_ROTATION": "48h", "REFRESHD_KEY_CACHE_AGE": "1h",
	"REFRESHD_RESTORED": "true", "REFRESHD_DPOP_NONCE": "true",
	"REFRESHD_LOG_FORMAT": "json", "REFRESHD_LOG_LEVEL": "warn",
	"REFRESHD_SHUTDOWN_DELAY": "5s", "REFRESHD_SHUTDOWN_TIMEOUT": "90s",
}

// A secret from echo, a value from an editor, a certificate tool's output: each ends in an invisible line break.
func TestOneLineBreakAtTheEndOfAnyValueIsRemoved(t *testing.T) {
	for _, k := range config.Keys() {
		text, ok := someValues[k.Env]
		if !ok {
			t.Errorf("no value for %s", k.Env)
		}
		if text == "" {
			text = writeFile(t, map[string]string{
				"REFRESHD_DATABASE_URL_FILE": "sqlite:some.db", "REFRESHD_MASTER_KEY_FILE": masterKey,
				"REFRESHD_MASTER_KEY_PREVIOUS_FILE": previousKey, "REFRESHD_API_KEY_FILE": apiKey,
			}[k.Env])
		}
		want := load(t, nil, []string{k.Env + "=" + text})
		if k.Env != "REFRESHD_CONFIG_FILE" && cmp.Equal(want, load(t, nil, nil), compareValues) {
			t.Fatalf("%s changes nothing", k.Env)
		}
		for _, lineBreak := range []string{"\n", "\r\n"} {
			got := map[string]config.Config{"environment": load(t, nil, []string{k.Env + "=" + text + lineBreak})}
			if k.Flag != "" {
				got["flag"] = load(t, []string{"--" + k.Flag, text + lineBreak}, nil)
			}
			if k.Name != "" {
				file := writeFile(t, fmt.Sprintf("%s: %q\n", k.Name, text+lineBreak))
				got["file"] = load(t, []string{"--config", file}, nil)
			}
			for source, c := range got {
				if diff := cmp.Diff(want, c, compareValues); diff != "" {
					t.Errorf("%s, %s, %q (-without +with):\n%s", k.Env, source, lineBreak, diff)
				}
			}
		}
	}
	for _, text := range []string{"info\n\n", "info\r", "\ninfo", "in\nfo", "info "} {
		problems(t, nil, []string{"REFRESHD_LOG_LEVEL=" + text})
	}
}

func TestTheRootTenantIsTheIDOfATenantOrEmpty(t *testing.T) {
	for text, want := range map[string]string{"acme": "acme", "": ""} {
		if got := load(t, nil, []string{"REFRESHD_ROOT_TENANT=" + text}).RootTenant; got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
	for _, text := range []string{"a b", "acme/", "../acme", strings.Repeat("x", 65)} {
		if got := problems(t, nil, []string{"REFRESHD_ROOT_TENANT=" + text}); len(got) != 1 ||
			!strings.Contains(got[0].Message, "is not the id of a tenant") {
			t.Errorf("%q: problems %+v, want that it is not the id of a tenant", text, got)
		}
	}
}

// Compose passes a variable that is not set as an empty one.
func TestAnEmptyValueIsCalledEmpty(t *testing.T) {
	turnsOff := []string{"REFRESHD_ADMIN_LISTEN", "REFRESHD_ROOT_TENANT"}
	for _, k := range config.Keys() {
		if k.Default == "" || slices.Contains(turnsOff, k.Env) {
			load(t, nil, []string{k.Env + "="})
			continue
		}
		want := "is empty; give it a value, or do not set it: then it is " + k.Default
		if got := problems(t, nil, []string{k.Env + "="}); len(got) != 1 || got[0].Message != want {
			t.Errorf("%s: problems %+v, want one that says %q", k.Env, got, want)
		}
	}
}

func TestEverySecretCanBeInAFile(t *testing.T) {
	for env, text := range map[string]string{
		"REFRESHD_DATABASE_URL":        "postgres://u:hunter2@db/tokens",
		"REFRESHD_MASTER_KEY":          masterKey,
		"REFRESHD_MASTER_KEY_PREVIOUS": previousKey,
	} {
		t.Run(env, func(t *testing.T) {
			want := load(t, nil, []string{env + "=" + text})
			file := writeFile(t, text+"\n")
			flag := "--" + strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(env, "REFRESHD_")), "_", "-") + "-file"
			name := strings.ToLower(strings.TrimPrefix(env, "REFRESHD_")) + "_file"
			for source, got := range map[string]config.Config{
				"environment":        load(t, nil, []string{env + "_FILE=" + file}),
				"beside an empty":    load(t, nil, []string{env + "_FILE=" + file, env + "="}),
				"a flag":             load(t, []string{flag, file}, nil),
				"configuration file": load(t, []string{"--config", writeFile(t, name+": "+file)}, nil),
			} {
				if diff := cmp.Diff([]string{file}, got.SecretFiles); diff != "" {
					t.Errorf("%s: files of secrets (-want +got):\n%s", source, diff)
				}
				got.SecretFiles = nil
				if diff := cmp.Diff(want, got, compareValues); diff != "" {
					t.Errorf("%s (-by its value +by a file):\n%s", source, diff)
				}
			}
			both := []string{env + "=" + text, env + "_FILE=" + file}
			if got := problems(t, nil, both); len(got) != 1 || got[0].Key != env+"_FILE" ||
				got[0].Message != "is set beside "+env+" (environment); keep one of them" {
				t.Errorf("beside its value: %+v, want one problem that names both", got)
			}
			for what, tt := range map[string]struct{ path, says string }{
				"no file":        {filepath.Join(t.TempDir(), "hunter2"), "no such file"},
				"a directory":    {t.TempDir(), "is a directory"},
				"an empty file":  {writeFile(t, "\n"), "it is empty"},
				"something else": {writeFile(t, "hunter2"), ""},
			} {
				_, err := config.Load(nil, []string{env + "_FILE=" + tt.path}, schemes...)
				if err == nil || !strings.Contains(err.Error(), env+"_FILE ") || !strings.Contains(err.Error(), tt.says) ||
					strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), tt.path) {
					t.Errorf("%s: %v, want a problem of %s_FILE that says %q and no value", what, err, env, tt.says)
				}
			}
		})
	}
}

// Arguments show in process lists, and profiles of the command line showed them to every client.
func TestAPasswordInAFlagIsWrongUsage(t *testing.T) {
	for _, text := range []string{
		"postgres://u:hunter2@h/d", "postgresql://u:hunter2@h:1,g:2/d?sslmode=require",
		"postgres://h/d?user=u&password=hunter2",
		"postgres://h/d?p%61ssword=hunter2", "postgres://h/d?sslpassword=hunter2", "host=h user=u password=hunter2",
		"host=h PASSWORD = hunter2", "postgres://u:hun@ter2@h/d", "mysql://u:hunter2@h/d", "u:hunter2@h/d",
		"postgres://u:hunter2@h/d\n",
	} {
		_, err := config.Load(map[string]string{"database-url": text}, nil, schemes...)
		var refused *config.Error
		if !errors.As(err, &refused) || !refused.WrongUsage() || strings.Contains(err.Error(), "ter2") ||
			!strings.Contains(err.Error(), "--database-url holds a password") ||
			!strings.Contains(err.Error(), "REFRESHD_DATABASE_URL_FILE") {
			t.Errorf("%s: %v, want a wrong usage that names the file form", text, err)
		}
	}
	for _, text := range []string{
		"postgres://u@h/d", "postgres://h:5432/d?sslmode=require", "postgres://u@[::1]:5432/d", "sqlite:a:b@c.db", "memory:",
		"postgres://u@h/d?passfile=/run/secrets/pgpass",
	} {
		if got := load(t, []string{"--database-url", text}, nil).Database.URL.Reveal(); got != text {
			t.Errorf("--database-url %s: URL %s", text, got)
		}
	}
	load(t, []string{"--database-url-file", writeFile(t, "postgres://u:hunter2@h/d")}, nil)
	for name, tt := range map[string]struct {
		args, environ []string
		want          bool
	}{
		"an unknown flag":       {[]string{"--speed=1"}, nil, true},
		"a bad value in a flag": {[]string{"--listen=x"}, nil, true},
		"of the environment":    {nil, []string{"REFRESHD_LISTEN=x"}, false},
	} {
		_, err := config.Load(flags(tt.args), tt.environ, schemes...)
		var refused *config.Error
		if !errors.As(err, &refused) || refused.WrongUsage() != tt.want {
			t.Errorf("%s: %v, want wrong usage %t", name, err, tt.want)
		}
	}
}

// Two replicas that listen on different addresses would each be another issuer.
func TestWithPostgreSQLThePublicURLDoesNotFollowTheListenAddress(t *testing.T) {
	const database = "REFRESHD_DATABASE_URL=postgres://h/d"
	if got := load(t, nil, []string{database}).PublicURL; got != "" {
		t.Errorf("PublicURL = %q, want none", got)
	}
	const url = "https://auth.example.com"
	if got := load(t, []string{"--public-url", url}, []string{database}).PublicURL; got != url {
		t.Errorf("PublicURL = %q, want %q", got, url)
	}
}

func TestBadValuesAreRefused(t *testing.T) {
	tests := map[string][]string{
		"LISTEN": {"", "3000", "localhost", "localhost:", "localhost:http", "localhost:65536", "localhost:-1",
			"localhost:+1", "localhost:01", "::1:3000", "http://localhost:3000", "a b:1", "u@h:1"},
		"ADMIN_LISTEN": {"3001", "localhost:x"},
		"DATABASE_URL": {
			"", "refreshd.db", "mysql://u:pw@h/d", "SQLITE:x", "file:x", "memory:x", "memory", "sqlite:", "sqlite::memory:",
			"sqlite:///x", "sqlite:x?mode=ro", "sqlite:x#y", "sqlite:%41", "sqlite:a\nb",
			"postgres:x", "postgres:/h/d", "postgres://u:p@w@h/d", "postgres://u:p/w@h/d", "postgres://u:1/w@h",
			"postgres://u:p?w@h/d", "postgres://u:1?w@h/d",
			"postgres://u:p#w@h/d", "postgres://u:1#w", "postgres://u:p:w@h/d", "postgres://u:pw", "postgres://u:p w@h/d",
			"postgres://h:70000/d", "postgres://h:1,g:x/d", "postgres://[::1]x/d", "postgres://[::1/d",
			"postgres://h/d/pw", "postgres://h/d?user=a@b",
		},
		"DATABASE_MAX_CONNECTIONS": {"", "0", "-1", "1001", "1.5", "many", "16 "},
		"MASTER_KEY": {
			"short", masterKey + "=", masterKey[:42], masterKey[:20] + "\n" + masterKey[21:],
			masterKey[:20] + "\n" + masterKey[20:], strings.Repeat("!", 43),
			base64.StdEncoding.EncodeToString(make([]byte, 31)), base64.StdEncoding.EncodeToString(make([]byte, 33)),
			strings.Repeat("A", 42) + "B",
		},
		"MASTER_KEY_PREVIOUS": {"short"},
		"SERVER": {
			"auth.example.com", "ftp://h", "https://h/", "https://h?x=1", "https://u:p@h", "https://a b",
			"http://auth.example.com", "http://10.0.0.1:3000", "http://[::]:3000", "http://localhost.example",
			"http://2130706433",
		},
		"API_KEY": {"ak_", "ak_short", "0123456789abcdefghijklmnop", "ak_0123456789abcdefghijkl.n"},
		"TENANT":  {"a b", "a/b", "é"},
		"PUBLIC_URL": {
			"auth.example.com", "/x", "ftp://h", "https://", "https:///x", "https://h/", "https://h/x/", "https://h?",
			"https://h?x=1", "https://h#", "https://h#x", "https://u@h", "https://h:", "https://h:x",
			"https://h:70000", "https://a b",
		},
		"CORS_ORIGINS": {
			"*", "null", "https://*.example.com", "https://h/", "https://h/x", "https://h?", "https://h#", "https://u@h", "h",
			"h:1", "//h", "https://", "HTTPS://h", "https://H", "https://h:443", "http://h:80", "https://h:", "https://h:0443",
			"https://ü.example", "https://h,,https://g", "https://h,",
		},
		"TRUSTED_PROXIES": {"proxy", "10.0.0.0/33", "10.0.0.1/8", "10.0.0", "::ffff:10.0.0.0/104", "fe80::1%eth0",
			"10.0.0.1,", "*"},
		"RATE_LIMIT_ADDRESS":       {"", "-1", "1.5", "1000001", "10/s"},
		"RATE_LIMIT_API_KEY":       {"", "-1", "1000001"},
		"RATE_LIMIT_REFRESH_TOKEN": {"", "-1", "1000001"},
		"PURGE_INTERVAL":           {"", "1", "-1h", "999ms", "169h", "daily"},
		"PURGE_AFTER":              {"", "24", "0s", "-24h", "4m59s", "8761h", "later"},
		"KEY_ROTATION":             {"", "90", "1h", "-48h", "47h59m", "87601h", "never"},
		"KEY_CACHE_AGE":            {"", "2", "0s", "-1h", "59s", "169h", "never"},
		"AUDIT_RETENTION":          {"", "90", "0s", "-1h", "59m59s", "87601h", "never"},
		"RESTORED":                 {"", "1", "yes", "TRUE"},
		"DPOP_NONCE":               {"", "1", "yes", "TRUE"},
		"LOG_FORMAT":               {"", "xml", "JSON"},
		"LOG_LEVEL":                {"", "trace", "INFO", "info+1"},
		"SHUTDOWN_DELAY":           {"", "5", "-1s", "61m", "soon"},
		"SHUTDOWN_TIMEOUT":         {"", "15", "0s", "-1s", "61m", "soon"},
	}
	for name, values := range tests {
		for _, text := range values {
			t.Run(fmt.Sprintf("%s=%q", name, text), func(t *testing.T) {
				got := problems(t, nil, []string{"REFRESHD_" + name + "=" + text})
				if len(got) != 1 || got[0].Source != "environment" || got[0].Key != "REFRESHD_"+name || got[0].Message == "" {
					t.Errorf("problems = %+v, want one, of REFRESHD_%s in the environment", got, name)
				}
			})
		}
	}
}

// The janitor of a process is turned off by an interval of nothing.
func TestAnIntervalOfZeroIsNoPurge(t *testing.T) {
	for _, text := range []string{"0", "0s"} {
		if got := load(t, []string{"--purge-interval", text}, nil).PurgeInterval; got != 0 {
			t.Errorf("purge interval %s = %s, want 0", text, got)
		}
	}
}

func TestAnUnknownSchemeIsRefusedWithTheKnownOnes(t *testing.T) {
	got := problems(t, nil, []string{"REFRESHD_DATABASE_URL=mysql://u:pw@h/d"})[0].Message
	for _, want := range []string{"sqlite:", "postgres://", "postgresql://", "memory:"} {
		if !strings.Contains(got, want) {
			t.Errorf("message %q does not name %s", got, want)
		}
	}
}

func TestAFileHoldsTextAndSaysWhereItDoesNot(t *testing.T) {
	tests := map[string]struct{ content, key, says string }{
		"a number for text":        {"kickstart_file: 0755", "kickstart_file", "quotes"},
		"a boolean for text":       {"log_level: true", "log_level", "quotes"},
		"a fraction for a count":   {"database_max_connections: 1.5", "database_max_connections", "quotes"},
		"nothing":                  {"listen:", "listen", "has no value"},
		"a sequence for one value": {"listen: [x]", "listen", "sequence"},
		"a number in a sequence":   {"cors_origins: [1]", "cors_origins", "entry 1"},
		"a comma in a sequence":    {"cors_origins: [\"https://a.example,https://b.example\"]", "cors_origins", "entry 1"},
		"a mapping for text":       {"listen: {}", "listen", "is not text"},
		"no mapping":               {"just text", "", "not a YAML mapping"},
		"no YAML":                  {"listen: a:1\n\tlog_level: x", "", "line 2"},
		"a key twice":              {"listen: a:1\nlisten: b:1", "", "once, see line 2"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			path := writeFile(t, tt.content)
			got := problems(t, nil, []string{"REFRESHD_CONFIG_FILE=" + path})
			if len(got) != 1 || got[0].Source != "file "+path || got[0].Key != tt.key ||
				!strings.Contains(got[0].Message, tt.says) {
				t.Errorf("problems = %+v, want one of key %q that says %q", got, tt.key, tt.says)
			}
		})
	}
}

func TestAnEmptyFileSetsNothing(t *testing.T) {
	for _, content := range []string{"", "# nothing\n", "{}"} {
		got := load(t, []string{"--config", writeFile(t, content)}, nil)
		if diff := cmp.Diff(load(t, nil, nil), got, compareValues); diff != "" {
			t.Errorf("file %q (-without +with):\n%s", content, diff)
		}
	}
}

func TestAMissingFileIsReportedWhereItIsNamed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none.yaml")
	tests := map[string]struct {
		args, environ []string
		source, key   string
	}{
		"flag":        {[]string{"--config", path}, nil, "flags", "--config"},
		"environment": {nil, []string{"REFRESHD_CONFIG_FILE=" + path}, "environment", "REFRESHD_CONFIG_FILE"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			want := []config.Problem{{Source: tt.source, Key: tt.key,
				Message: "names a file that cannot be read: no such file or directory"}}
			if diff := cmp.Diff(want, problems(t, tt.args, tt.environ)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestThePublicURLFollowsTheListenAddress(t *testing.T) {
	tests := map[string]string{
		"127.0.0.1:3000":   "http://127.0.0.1:3000",
		"auth.example:80":  "http://auth.example:80",
		":3000":            "http://localhost:3000",
		"0.0.0.0:3000":     "http://localhost:3000",
		"[::]:3000":        "http://localhost:3000",
		"[2001:db8::1]:99": "http://[2001:db8::1]:99",
		"127.0.0.1:0":      "",
	}
	for listen, want := range tests {
		if got := load(t, nil, []string{"REFRESHD_LISTEN=" + listen}).PublicURL; got != want {
			t.Errorf("listen on %s: PublicURL = %q, want %q", listen, got, want)
		}
	}
	if got, want := load(t, []string{"--listen=:0", "--public-url=https://a.example"}, nil).PublicURL,
		"https://a.example"; got != want {
		t.Errorf("PublicURL = %q, want the configured %q", got, want)
	}
}

func TestSettingsThatDoNotGoTogetherNameBoth(t *testing.T) {
	tests := map[string]struct {
		args, environ []string
		want          config.Problem
	}{
		"master key twice": {
			[]string{"--master-key-file=/nowhere"}, []string{"REFRESHD_MASTER_KEY=" + masterKey},
			config.Problem{Source: "flags", Key: "--master-key-file",
				Message: "is set beside REFRESHD_MASTER_KEY (environment); keep one of them"},
		},
		"one address twice": {
			[]string{"--listen=h:1"}, []string{"REFRESHD_ADMIN_LISTEN=h:1"},
			config.Problem{Source: "environment", Key: "REFRESHD_ADMIN_LISTEN",
				Message: "is the same address as --listen (flags); choose another port, or leave it empty to turn it off"},
		},
		"an address that makes no URL": {
			[]string{"--listen=[fe80::1%eth0]:1"}, nil,
			config.Problem{Source: "defaults", Key: "REFRESHD_PUBLIC_URL",
				Message: "cannot be derived from --listen (flags); set it, e.g. https://auth.example.com"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff([]config.Problem{tt.want}, problems(t, tt.args, tt.environ)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	load(t, []string{"--listen=h:0", "--admin-listen=h:0"}, nil)
}

// An operator who fixes one problem a restart would restart all day.
func TestAllProblemsAreReportedTogether(t *testing.T) {
	path := writeFile(t, "log_format: xml\nlitsen: a:1\nlog_level:\n\"evil\\n  flags\": x\n")
	_, err := config.Load(
		flags([]string{"--config", path, "--speed=9", "--listen=nowhere"}),
		[]string{"REFRESHD_DATABASE_URL=mysql:x", "REFRESHD_LITSEN=x", "REFRESHD_PUBLIC_URL=x"}, schemes...)
	want := `config: 9 problems
  flags: --speed is not a known setting; ` + "`refreshd help configuration`" + ` lists them
  environment: REFRESHD_LITSEN is not a known setting; did you mean REFRESHD_LISTEN?
  file PATH: evil\n  flags is not a known setting; ` + "`refreshd help configuration`" +
		` lists them; a file names them in lower case, without REFRESHD_
  file PATH: litsen is not a known setting; did you mean listen?
  file PATH: log_level has no value; write "" for an empty one, or leave the key out
  flags: --listen is not host:port with a port of 0 to 65535, e.g. 127.0.0.1:3000 or [::1]:3000
  environment: REFRESHD_DATABASE_URL has an unknown scheme; known are memory:, sqlite:PATH ` +
		`and postgres://USER:PASSWORD@HOST/DATABASE, also as postgresql://
  environment: REFRESHD_PUBLIC_URL is not an absolute http or https URL without user, query, fragment ` +
		`and trailing slash, e.g. https://auth.example.com
  file PATH: log_format is not one of text, json, auto`
	if err == nil {
		t.Fatal("no error")
	}
	if diff := cmp.Diff(want, strings.ReplaceAll(err.Error(), path, "PATH")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A secret lands in the wrong key, or is mistyped, sooner or later; the message about it goes to a log that many can
// read.
func TestNoProblemRepeatsAValue(t *testing.T) {
	const secret = "hunter2"
	set := map[string]string{"speed": secret, "master-key": secret}
	var environ []string
	var yaml strings.Builder
	for _, k := range config.Keys() {
		if k.Name == "" {
			continue
		}
		environ = append(environ, k.Env+"=!"+secret)
		fmt.Fprintf(&yaml, "%s: [%s]\n", k.Name, secret)
		if k.Flag != "" {
			set[k.Flag] = "!" + secret
		}
	}
	environ = append(environ, "REFRESHD_MASTER_KEY_FILE="+writeFile(t, secret), "REFRESHD_MASTER_KEY=",
		"REFRESHD_SPEED_PORT="+secret)
	files := map[string]string{
		"values":        yaml.String(),
		"no mapping":    secret,
		"an alias":      "master_key: *" + secret,
		"a tag":         "master_key: !!int " + secret,
		"broken YAML":   "master_key: \"" + secret,
		"a bad merge":   "<<: " + secret,
		"nested values": "a: {b: [" + secret + "]}",
	}
	for name, content := range files {
		t.Run(name, func(t *testing.T) {
			path := writeFile(t, content)
			for _, flags := range []map[string]string{nil, set} {
				environ := append(environ, "REFRESHD_CONFIG_FILE="+path)
				_, err := config.Load(flags, environ)
				shown, same := config.Values(flags, environ)
				if err == nil || same == nil || same.Error() != err.Error() {
					t.Fatalf("Load: %v\nValues: %v", err, same)
				}
				if strings.Contains(err.Error(), secret) {
					t.Errorf("the message repeats a value:\n%v", err)
				}
				shown = slices.DeleteFunc(shown, func(v config.Value) bool {
					return v.Name == "kickstart_file" // any text is the name of a file: none is refused
				})
				if strings.Contains(fmt.Sprint(shown), secret) {
					t.Errorf("Values shows a value that was refused:\n%v", shown)
				}
			}
		})
	}
}

func TestSecretsAreNeverShown(t *testing.T) {
	c := load(t, nil, []string{
		"REFRESHD_MASTER_KEY=" + masterKey, "REFRESHD_MASTER_KEY_PREVIOUS=" + previousKey, "REFRESHD_API_KEY=" + apiKey,
		"REFRESHD_DATABASE_URL=postgres://alice:hunter2@db/tokens?sslpassword=swordfish",
	})
	shown := map[string]string{"Redacted": c.Database.Redacted}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		shown[verb] = fmt.Sprintf(verb, c)
		shown[verb+" of a pointer"] = fmt.Sprintf(verb, &c)
		shown[verb+" of the database"] = fmt.Sprintf(verb, c.Database)
	}
	encoded, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	shown["json"] = string(encoded)
	var text, lines bytes.Buffer
	slog.New(slog.NewTextHandler(&text, nil)).Info("starting", "config", c, "database", c.Database, "key", c.MasterKey)
	slog.New(slog.NewJSONHandler(&lines, nil)).Info("starting", "config", c, "database", c.Database, "key", c.MasterKey)
	shown["slog text"], shown["slog json"] = text.String(), lines.String()

	for how, got := range shown {
		for _, secret := range []string{masterKey, previousKey, apiKey, "hunter2", "swordfish"} {
			if strings.Contains(got, secret) || strings.Contains(got, fmt.Sprintf("%x", secret)) {
				t.Errorf("%s shows %s: %s", how, secret, got)
			}
		}
		if how != "Redacted" && !strings.Contains(got, "[redacted]") {
			t.Errorf("%s does not say [redacted]: %s", how, got)
		}
	}
}

// A program may have stores that this package does not know. Unless they say otherwise, their URLs are secret and their
// databases shared.
func TestAURLOfAnotherStoreIsCheckedByIt(t *testing.T) {
	known := append(slices.Clone(schemes), config.Scheme{Name: "plain"}, config.Scheme{
		Name: "checked", Form: "checked:NAME", Local: true, NoPassword: true,
		Parse: func(rest string) (string, error) {
			if rest == "bad" {
				return "", errors.New("is bad")
			}
			return "shown", nil
		},
	})
	for url, want := range map[string]struct{ redacted, publicURL, problem string }{
		"plain:a":       {"plain:[redacted]", "", ""},
		"plain:u:pw@h":  {"", "", "holds a password"},
		"checked:u:p@h": {"checked:shown", "http://127.0.0.1:3000", ""},
		"checked:bad":   {"", "", "is bad"},
		"other:x":       {"", "", "HOST/DATABASE, also as postgresql:// and checked:NAME"},
	} {
		c, err := config.Load(map[string]string{"database-url": url}, nil, known...)
		if want.problem != "" {
			if err == nil || !strings.Contains(err.Error(), want.problem) {
				t.Errorf("%s: error %v, want one that says %q", url, err, want.problem)
			}
			continue
		}
		if err != nil || c.Database.Redacted != want.redacted || c.PublicURL != want.publicURL {
			t.Errorf("%s: redacted %q, public URL %q, %v; want %+v", url, c.Database.Redacted, c.PublicURL, err, want)
		}
	}
}

// An operator asks where a value comes from, and pastes what is printed into a ticket.
func TestValuesAreThoseInForceWithTheirSourcesAndWithoutSecrets(t *testing.T) {
	secret := writeFile(t, previousKey)
	file := writeFile(t, "admin_listen: \"\"\nlog_level: debug\nlisten: a:1\n")
	environ := []string{
		"REFRESHD_CONFIG_FILE=" + file, "REFRESHD_MASTER_KEY=" + masterKey, "REFRESHD_MASTER_KEY_PREVIOUS_FILE=" + secret,
		"REFRESHD_DATABASE_URL=postgres://alice:hunter2@db:1/tokens?sslpassword=swordfish", "REFRESHD_LOG_LEVEL=warn",
	}
	values, err := config.Values(map[string]string{"listen": "b:2"}, environ, schemes...)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]config.Value{}
	for _, v := range values {
		got[v.Name] = v
	}
	for _, want := range []config.Value{
		{Name: "config_file", Text: file, Source: "environment REFRESHD_CONFIG_FILE"},
		{Name: "listen", Text: "b:2", Source: "flag --listen"},
		{Name: "admin_listen", Text: "", Source: "file " + file},
		{Name: "database_url", Text: "postgres://db:1/tokens", Source: "environment REFRESHD_DATABASE_URL"},
		{Name: "database_url_file", Text: "", Source: "default"},
		{Name: "master_key", Text: "[redacted]", Source: "environment REFRESHD_MASTER_KEY"},
		{Name: "master_key_previous", Text: "[redacted]", Source: "environment REFRESHD_MASTER_KEY_PREVIOUS_FILE"},
		{Name: "log_level", Text: "warn", Source: "environment REFRESHD_LOG_LEVEL"},
		{Name: "purge_interval", Text: "1h", Source: "default"},
	} {
		if got[want.Name] != want {
			t.Errorf("got %+v, want %+v", got[want.Name], want)
		}
	}
	if len(values) != len(config.Keys()) {
		t.Errorf("%d values, want one for each of %d settings", len(values), len(config.Keys()))
	}
	for _, secret := range []string{masterKey, previousKey, "hunter2", "swordfish", "alice"} {
		if strings.Contains(fmt.Sprint(values), secret) {
			t.Errorf("Values shows %s", secret)
		}
	}
	derived, err := config.Values(nil, nil, schemes...)
	want := config.Value{Name: "public_url", Text: "http://127.0.0.1:3000", Source: "default"}
	if err != nil || !slices.Contains(derived, want) {
		t.Errorf("Values with nothing set = %v, %v; want %v among them", derived, err, want)
	}
}

// A table of settings says for each who takes it: a setting that no command takes could not be set by a flag.
func TestEverySettingIsUsedByACommand(t *testing.T) {
	for _, k := range config.Keys() {
		if len(k.Commands) == 0 || k.Help == "" || k.Form == "" && k.Choices == nil {
			t.Errorf("%s has commands %q, help %q, form %q and choices %q; want commands, help, and a form or choices",
				k.Env, k.Commands, k.Help, k.Form, k.Choices)
		}
	}
}

func TestADatabaseIsNamedWithoutItsPassword(t *testing.T) {
	tests := map[string]struct {
		scheme, rest, redacted string
	}{
		"memory:":                   {"memory", "", "memory:"},
		"sqlite:/var/lib/r.db":      {"sqlite", "/var/lib/r.db", "sqlite:/var/lib/r.db"},
		"sqlite:a b/c@d:e.db":       {"sqlite", "a b/c@d:e.db", "sqlite:a b/c@d:e.db"},
		"postgres://u:pw@h:5432/d":  {"postgres", "//u:pw@h:5432/d", "postgres://h:5432/d"},
		"postgresql://u@h/d":        {"postgresql", "//u@h/d", "postgresql://h/d"},
		"postgres://u:p%40w@h":      {"postgres", "//u:p%40w@h", "postgres://h/"},
		"postgres://u:pw@[::1]:1/d": {"postgres", "//u:pw@[::1]:1/d", "postgres://[::1]:1/d"},
		"postgres://u:pw@a:1,b:2/d?target_session_attrs=primary": {"postgres",
			"//u:pw@a:1,b:2/d?target_session_attrs=primary", "postgres://a:1,b:2/d"},
		"postgres:///d?host=/run/pg&password=pw": {"postgres", "///d?host=/run/pg&password=pw",
			"postgres:///d"},
	}
	for text, tt := range tests {
		t.Run(text, func(t *testing.T) {
			db := load(t, nil, []string{"REFRESHD_DATABASE_URL=" + text}).Database
			if db.Scheme != tt.scheme || db.Rest() != tt.rest || db.URL.Reveal() != text || db.Redacted != tt.redacted {
				t.Errorf("scheme, rest, URL, redacted = %q, %q, %q, %q, want %+v and the URL as written",
					db.Scheme, db.Rest(), db.URL.Reveal(), db.Redacted, tt)
			}
		})
	}
}

// People paste generated passwords into URLs without encoding them. Where that moves a part of the password into the
// host, the database or the options, it must not be logged from there.
func TestNoPasswordMovesIntoWhatIsShown(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		password := rapid.StringOfN(rapid.RuneFrom([]rune("aZ19:@/?#%,[]&=+ ")), 0, 12, -1).Draw(t, "password")
		url := "postgres://user:" + password + "@host:5432/tokens?sslmode=require"
		c, err := config.Load(nil, []string{"REFRESHD_DATABASE_URL=" + url}, schemes...)
		if err != nil {
			return
		}
		if got, want := c.Database.Redacted, "postgres://host:5432/tokens"; got != want {
			t.Errorf("Redacted = %q, want %q", got, want)
		}
	})
}
