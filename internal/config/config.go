package config

import (
	"log/slog"
	"net/netip"

	"podgate/pods"
	"podgate/pods/egress"
)

// Config is everything that can be configured. The toml tags are the keys; a
// key also is an environment variable, PODGATE_SECTION_KEY (load.go). Default
// has the defaults, check (check.go) the rules, and config.example.toml the
// reasons to change anything.
type Config struct {
	PublicURL      string         `toml:"public_url"` // empty: http://localhost and the port that serve listens on
	Listen         string         `toml:"listen"`
	DataDir        string         `toml:"data_dir"`
	TrustedProxies []netip.Prefix `toml:"trusted_proxies"`
	TLS            TLS            `toml:"tls"`
	OAuth          OAuth          `toml:"oauth"`
	Pods           Pods           `toml:"pods"`
	Mail           Mail           `toml:"mail"`
	Notify         Notify         `toml:"notify"`
	Backup         Backup         `toml:"backup"`
	Metrics        Metrics        `toml:"metrics"`
	Telemetry      Telemetry      `toml:"telemetry"`
	Log            Log            `toml:"log"`
	Regions        []Region       `toml:"region"`
	Plans          []Plan         `toml:"plan"`
	NameLists      []NameList     `toml:"name_list"`
}

// OAuth is the section [oauth].
type OAuth struct {
	AccessTokenTTL          Duration `toml:"access_token_ttl"`
	RefreshTokenTTL         Duration `toml:"refresh_token_ttl"`
	CodeTTL                 Duration `toml:"code_ttl"`
	Registration            string   `toml:"registration"` // open, known, off
	ClientMetadataDocuments bool     `toml:"client_metadata_documents"`
	RedirectSchemes         []string `toml:"redirect_schemes"`
}

// Pods is the section [pods].
type Pods struct {
	Domain        string `toml:"domain"` // empty: see resolve
	DefaultRegion string `toml:"default_region"`
	QuotaPods     int    `toml:"quota_pods"`
	QuotaMemory   Size   `toml:"quota_memory"`
}

// Region is one [[region]]: a place where pods run, with what its runtime needs.
type Region struct {
	Name    string   `toml:"name"`
	Runtime string   `toml:"runtime"` // sandbox
	Limits  string   `toml:"limits"`  // auto, require, off; empty: auto
	Binds   []string `toml:"binds"`

	Network    string   `toml:"network"`     // none, names, internet; empty: internet
	Names      []string `toml:"names"`       // of network = "names"
	AllowLocal []string `toml:"allow_local"` // addresses that are not public
	Mail       bool     `toml:"mail"`
}

// NameList is one [[name_list]]: hosts that are named together as @NAME.
type NameList struct {
	Name  string   `toml:"name"`
	Names []string `toml:"names"`
}

// Plan is one [[plan]]: a size that a pod can have.
type Plan struct {
	Name      string  `toml:"name"`
	Memory    Size    `toml:"memory"`
	CPUs      float64 `toml:"cpus"`
	Disk      Size    `toml:"disk"`
	Processes int     `toml:"processes"`
	Network   Rate    `toml:"network"` // in both directions together; empty: no bound
}

// Log is the section [log].
type Log struct {
	Level  string `toml:"level"`
	Format string `toml:"format"` // text, json
}

// The words that settings with a fixed choice accept.
var (
	registrations = []string{"open", "known", "off"}
	limitModes    = []string{"auto", "require", "off"}
	runtimes      = []string{runtimeSandbox}
	networks      = []string{string(egress.ModeNone), string(egress.ModeNames), string(egress.ModeInternet)}
	logLevels     = []string{"debug", "info", "warn", "error"}
	logFormats    = []string{"text", "json"}
)

// runtimeSandbox is the runtime that runs pods on this machine (pods/sandbox).
const runtimeSandbox = "sandbox"

// Default is what podgate does without any configuration.
func Default() Config {
	quota := pods.DefaultQuota()
	return Config{
		Listen:    "localhost:8080",
		DataDir:   "data",
		TLS:       defaultTLS(),
		OAuth:     OAuth{AccessTokenTTL: 30 * day, RefreshTokenTTL: 90 * day, CodeTTL: 10 * minute, Registration: "open", ClientMetadataDocuments: true},
		Pods:      Pods{DefaultRegion: "local", QuotaPods: quota.Pods, QuotaMemory: Size(quota.Memory)},
		Mail:      Mail{TLS: MailStartTLS},
		Notify:    Notify{Events: []string{EventFailed, EventBackupFailed}},
		Telemetry: Telemetry{Percent: 100},
		Backup:    Backup{Schedule: TimeOfDay(3*60 + 30), KeepDaily: 7, KeepWeekly: 4, KeepMonthly: 6, S3Region: "us-east-1"},
		Log:       Log{Level: "info", Format: "text"},
		Regions:   []Region{{Name: "local", Runtime: runtimeSandbox, Limits: "auto"}},
		Plans:     defaultPlans(),
		NameLists: []NameList{{Name: "github", Names: []string{"github.com", "*.github.com", "*.githubusercontent.com"}}},
	}
}

func defaultPlans() []Plan {
	var list []Plan
	for _, p := range pods.DefaultPlans() {
		list = append(list, Plan{p.Name, Size(p.Limits.Memory), p.Limits.CPUs, Size(p.Limits.Disk), p.Limits.Processes, Rate(p.Limits.Network)})
	}
	return list
}

// SlogLevel is the configured log level. check has proved that it is one.
func (l Log) SlogLevel() slog.Level {
	var level slog.Level
	if err := level.UnmarshalText([]byte(l.Level)); err != nil {
		return slog.LevelInfo
	}
	return level
}
