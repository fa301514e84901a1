package main

// newKey is a command, because a key in a document is copied.
const newKey = "$(openssl rand -base64 32)"

// examples are a value for each setting, by its name in the environment: one that is accepted, and is not the default.
var examples = map[string]string{
	"REFRESHD_CONFIG_FILE":              "/etc/refreshd/refreshd.yaml",
	"REFRESHD_LISTEN":                   "0.0.0.0:3000",
	"REFRESHD_ADMIN_LISTEN":             "0.0.0.0:3001",
	"REFRESHD_PPROF":                    "true",
	"REFRESHD_DATABASE_URL":             "postgres://refreshd@db.example/refreshd?sslmode=verify-full",
	"REFRESHD_DATABASE_URL_FILE":        "/run/secrets/database-url",
	"REFRESHD_DATABASE_MAX_CONNECTIONS": "32",
	"REFRESHD_DATABASE_WRITE_COMBINING": "false",
	"REFRESHD_MASTER_KEY":               newKey,
	"REFRESHD_MASTER_KEY_FILE":          "/run/secrets/master-key",
	"REFRESHD_MASTER_KEY_PREVIOUS":      newKey,
	"REFRESHD_MASTER_KEY_PREVIOUS_FILE": "/run/secrets/master-key-previous",
	"REFRESHD_SERVER":                   "https://auth.example.com",
	"REFRESHD_API_KEY":                  "ak_0123456789abcdefghijklmn",
	"REFRESHD_API_KEY_FILE":             "/run/secrets/api-key",
	"REFRESHD_TENANT":                   "acme",
	"REFRESHD_KICKSTART_FILE":           "/etc/refreshd/kickstart.yaml",
	"REFRESHD_PUBLIC_URL":               "https://auth.example.com",
	"REFRESHD_ROOT_TENANT":              "acme",
	"REFRESHD_CORS_ORIGINS":             "https://app.example.com,https://shop.example.com",
	"REFRESHD_TRUSTED_PROXIES":          "10.0.0.0/8,192.168.1.10",
	"REFRESHD_RATE_LIMIT_ADDRESS":       "500",
	"REFRESHD_RATE_LIMIT_API_KEY":       "5000",
	"REFRESHD_RATE_LIMIT_REFRESH_TOKEN": "10",
	"REFRESHD_FEED_STREAMS":             "20000",
	"REFRESHD_PURGE_INTERVAL":           "15m",
	"REFRESHD_PURGE_AFTER":              "168h",
	"REFRESHD_KEY_ROTATION":             "4320h",
	"REFRESHD_KEY_CACHE_AGE":            "1h",
	"REFRESHD_AUDIT_RETENTION":          "8760h",
	"REFRESHD_DPOP_NONCE":               "true",
	"REFRESHD_RESTORED":                 "true",
	"REFRESHD_LOG_FORMAT":               "json",
	"REFRESHD_LOG_LEVEL":                "warn",
	"REFRESHD_SHUTDOWN_DELAY":           "10s",
	"REFRESHD_SHUTDOWN_TIMEOUT":         "30s",
}
