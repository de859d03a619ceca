package main

import (
	"log/slog"
	"net/netip"

	"podgate/pods"
)

// config is everything that can be configured. The toml tags are the keys; a
// key also is an environment variable, PODGATE_SECTION_KEY (configread.go).
// defaultConfig has the defaults, check (configcheck.go) the rules, and
// config.example.toml the reasons to change anything.
type config struct {
	PublicURL      string         `toml:"public_url"` // empty: http://localhost and the port that serve listens on
	Listen         string         `toml:"listen"`
	DataDir        string         `toml:"data_dir"`
	TrustedProxies []netip.Prefix `toml:"trusted_proxies"`
	TLS            tlsConfig      `toml:"tls"`
	OAuth          oauthConfig    `toml:"oauth"`
	Pods           podsConfig     `toml:"pods"`
	Log            logConfig      `toml:"log"`
	Regions        []regionConfig `toml:"region"`
	Plans          []planConfig   `toml:"plan"`
}

type oauthConfig struct {
	AccessTokenTTL          duration `toml:"access_token_ttl"`
	RefreshTokenTTL         duration `toml:"refresh_token_ttl"`
	CodeTTL                 duration `toml:"code_ttl"`
	Registration            string   `toml:"registration"` // open, known, off
	ClientMetadataDocuments bool     `toml:"client_metadata_documents"`
	RedirectSchemes         []string `toml:"redirect_schemes"`
}

type podsConfig struct {
	Domain        string   `toml:"domain"` // empty: see resolve
	DefaultRegion string   `toml:"default_region"`
	QuotaPods     int      `toml:"quota_pods"`
	QuotaMemory   size     `toml:"quota_memory"`
	Limits        string   `toml:"limits"` // auto, require, off
	Binds         []string `toml:"binds"`
}

type regionConfig struct {
	Name    string `toml:"name"`
	Runtime string `toml:"runtime"` // sandbox
}

type planConfig struct {
	Name      string  `toml:"name"`
	Memory    size    `toml:"memory"`
	CPUs      float64 `toml:"cpus"`
	Disk      size    `toml:"disk"`
	Processes int     `toml:"processes"`
}

type logConfig struct {
	Level  string `toml:"level"`
	Format string `toml:"format"` // text, json
}

// The words that settings with a fixed choice accept.
var (
	registrations = []string{"open", "known", "off"}
	limitModes    = []string{"auto", "require", "off"}
	runtimes      = []string{"sandbox"}
	logLevels     = []string{"debug", "info", "warn", "error"}
	logFormats    = []string{"text", "json"}
)

// defaultConfig is what podgate does without any configuration.
func defaultConfig() config {
	quota := pods.DefaultQuota()
	return config{
		Listen:  "localhost:8080",
		DataDir: "data",
		TLS:     defaultTLS(),
		OAuth:   oauthConfig{AccessTokenTTL: 30 * day, RefreshTokenTTL: 90 * day, CodeTTL: 10 * minute, Registration: "open", ClientMetadataDocuments: true},
		Pods:    podsConfig{DefaultRegion: "local", QuotaPods: quota.Pods, QuotaMemory: size(quota.Memory), Limits: "auto"},
		Log:     logConfig{Level: "info", Format: "text"},
		Regions: []regionConfig{{Name: "local", Runtime: "sandbox"}},
		Plans:   defaultPlans(),
	}
}

func defaultPlans() []planConfig {
	var list []planConfig
	for _, p := range pods.DefaultPlans() {
		list = append(list, planConfig{p.Name, size(p.Limits.Memory), p.Limits.CPUs, size(p.Limits.Disk), p.Limits.Processes})
	}
	return list
}

// level is the configured log level. check has proved that it is one.
func (l logConfig) level() slog.Level {
	var level slog.Level
	if err := level.UnmarshalText([]byte(l.Level)); err != nil {
		return slog.LevelInfo
	}
	return level
}
