package config

import (
	"encoding"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
)

// envPrefix begins the environment variable of every key.
const envPrefix = "PODGATE_"

// envConfigFile names the configuration file when --config does not.
const envConfigFile = envPrefix + "CONFIG"

// Fault is one thing that is wrong with the configuration.
type Fault struct {
	Key     string `json:"key"`    // such as oauth.code_ttl; empty for a file that cannot be read
	Source  string `json:"source"` // where the value came from
	Message string `json:"message"`
}

func (f Fault) String() string {
	if f.Key == "" {
		return f.Source + ": " + f.Message
	}
	return fmt.Sprintf("%s (%s): %s", f.Key, f.Source, f.Message)
}

// Error is everything that is wrong with the configuration at once.
type Error struct{ Faults []Fault }

func (e *Error) Error() string {
	lines := make([]string, len(e.Faults))
	for i, f := range e.Faults {
		lines[i] = "  " + f.String()
	}
	return "the configuration does not work:\n" + strings.Join(lines, "\n")
}

// Settings is a configuration with where each of its values came from.
type Settings struct {
	Config
	File    string            // the configuration file; "": none
	Text    string            // what stood in it
	sources map[string]string // key → default, file NAME, PODGATE_…, --flag
	// Warnings are remarks that should not stop a server.
	Warnings []string
}

// Source says where the value of a key came from.
func (s *Settings) Source(key string) string {
	if from, ok := s.sources[key]; ok {
		return from
	}
	return "default"
}

// Load puts defaults, the file, the environment and flags together, the
// later winning, and checks the result. file may be empty: then PODGATE_CONFIG
// names it, and when that is not set either there is none. flags are values by
// key. The error is a *Error with every fault.
func Load(file string, env Environ, flags map[string]string) (*Settings, error) {
	return load(file, env, flags, os.ReadFile)
}

// LoadText is Load with what stood in the file at an earlier time.
func LoadText(text, file string, env Environ, flags map[string]string) (*Settings, error) {
	return load(file, env, flags, func(string) ([]byte, error) { return []byte(text), nil })
}

func load(file string, env Environ, flags map[string]string, read func(string) ([]byte, error)) (*Settings, error) {
	l := newLoader()
	l.file(file, env, read)
	l.env(env)
	for _, key := range slices.Sorted(maps.Keys(flags)) {
		l.text("--"+strings.TrimSuffix(key, "_dir"), key, flags[key])
	}
	l.explainMoved()
	l.resolve()
	l.faults = append(l.faults, l.Settings.check()...)
	if len(l.faults) > 0 {
		return nil, &Error{l.faults}
	}
	l.adviseTokens()
	return &l.Settings, nil
}

// loader collects faults instead of stopping at the first.
type loader struct {
	Settings
	faults []Fault
	moved  []movedSetting
}

func newLoader() loader {
	return loader{Settings: Settings{Config: Default(), sources: map[string]string{}}}
}

func (l *loader) fault(source, key, format string, args ...any) {
	l.faults = append(l.faults, Fault{Key: key, Source: source, Message: fmt.Sprintf(format, args...)})
}

func (l *loader) file(name string, env Environ, read func(string) ([]byte, error)) {
	if name == "" {
		name, _ = env.Lookup(envConfigFile)
	}
	if name == "" {
		return
	}
	l.File = name
	raw, err := read(name)
	if err != nil {
		l.fault(name, "", "cannot be read: %v", errors.Unwrap(err))
		return
	}
	l.Text = string(raw)
	l.document(name, string(raw))
}

// document reads one TOML document.
func (l *loader) document(name, text string) {
	var tree map[string]any
	if _, err := toml.Decode(text, &tree); err != nil {
		l.fault(name, "", "is not TOML: %s", tomlFault(err))
		return
	}
	l.table(name, "", tree, reflect.ValueOf(&l.Config).Elem())
}

func tomlFault(err error) string {
	var parse toml.ParseError
	if errors.As(err, &parse) {
		return fmt.Sprintf("line %d: %s", parse.Position.Line, parse.Message)
	}
	return err.Error()
}

// env reads PODGATE_SECTION_KEY for every key there is.
func (l *loader) env(env Environ) {
	known := []string{strings.TrimPrefix(envConfigFile, envPrefix)}
	for _, key := range configKeys() {
		name := envName(key)
		known = append(known, strings.TrimPrefix(name, envPrefix))
		if value, ok := env.Lookup(name); ok {
			l.text(name, key, value)
		}
	}
	l.movedInEnv(env)
	for _, name := range env.names(envPrefix) {
		// Not a fault: orchestrators set such variables for a service of this
		// name (PODGATE_PORT, PODGATE_SERVICE_HOST).
		word := strings.TrimPrefix(name, envPrefix)
		if near := Nearest(word, known); near != "" && near != word {
			l.Warnings = append(l.Warnings, fmt.Sprintf("the environment variable %s is not a setting; %s%s is", name, envPrefix, near))
		}
	}
}

// envName is the environment variable of a key.
func envName(key string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

// text sets a key from text: a flag or an environment variable. Lists are
// separated by commas; lists of tables are written as a TOML array.
func (l *loader) text(source, key, value string) {
	v := fieldOf(&l.Config, key)
	switch {
	case isTableList(v.Type()):
		l.inline(source, key, value, v)
	case v.Kind() == reflect.Slice:
		l.set(source, key, v, splitList(value))
	case v.Kind() == reflect.String, v.Addr().Type().Implements(unmarshaler):
		l.set(source, key, v, value)
	default: // numbers, true and false: what TOML would make of it
		l.inline(source, key, value, v)
	}
}

func (l *loader) inline(source, key, value string, v reflect.Value) {
	var tree map[string]any
	if _, err := toml.Decode("value = "+strings.TrimSpace(value), &tree); err != nil || len(tree) != 1 {
		l.fault(source, key, "%q is not a value; write it as in the configuration file after the =", value)
		return
	}
	l.set(source, key, v, tree["value"])
}

func splitList(s string) []any {
	var list []any
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part != "" {
			list = append(list, part)
		}
	}
	return list
}

// table sets the fields of a struct from a TOML table.
func (l *loader) table(source, prefix string, tree map[string]any, v reflect.Value) {
	for _, name := range slices.Sorted(maps.Keys(tree)) {
		key := prefix + name
		if _, ok := movedToRegion[key]; ok {
			l.moved = append(l.moved, movedSetting{source, key, tree[name]})
			continue
		}
		field, ok := fieldByTag(v, name)
		if !ok {
			l.fault(source, key, "there is no such setting%s", suggestion(key))
			continue
		}
		l.set(source, key, field, tree[name])
	}
}

var unmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()

// set assigns what TOML decoded to a field, or reports why it does not fit.
func (l *loader) set(source, key string, v reflect.Value, raw any) {
	if v.Kind() == reflect.Struct && !v.Addr().Type().Implements(unmarshaler) {
		if tree, ok := raw.(map[string]any); ok {
			l.table(source, key+".", tree, v)
			return
		}
		l.fault(source, key, "is a section; write [%s] and its settings below", key)
		return
	}
	l.sources[key] = source
	before := len(l.faults)
	fresh := reflect.New(v.Type()).Elem()
	l.assign(source, key, fresh, raw)
	if len(l.faults) == before {
		v.Set(fresh) // a value with a fault leaves the default, which check accepts
	}
}

func (l *loader) assign(source, key string, v reflect.Value, raw any) {
	switch {
	case v.Type() == reflect.TypeFor[netip.Prefix]():
		l.prefix(source, key, v, raw)
	case v.Addr().Type().Implements(unmarshaler):
		s, ok := raw.(string)
		if !ok {
			l.wrongType(source, key, raw, "text in quotes")
		} else if err := v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(s)); err != nil {
			l.fault(source, key, "%q %v", s, err)
		}
	case v.Kind() == reflect.Slice:
		l.list(source, key, v, raw)
	case v.Kind() == reflect.Struct:
		if tree, ok := raw.(map[string]any); ok {
			l.table(source, key+".", tree, v)
		} else {
			l.wrongType(source, key, raw, "a table")
		}
	default:
		l.scalar(source, key, v, raw)
	}
}

func (l *loader) scalar(source, key string, v reflect.Value, raw any) {
	switch raw := raw.(type) {
	case string:
		if v.Kind() == reflect.String {
			v.SetString(raw)
			return
		}
	case bool:
		if v.Kind() == reflect.Bool {
			v.SetBool(raw)
			return
		}
	case int64:
		if v.Kind() == reflect.Int && !v.OverflowInt(raw) {
			v.SetInt(raw)
			return
		}
		if v.Kind() == reflect.Float64 {
			v.SetFloat(float64(raw))
			return
		}
	case float64:
		if v.Kind() == reflect.Float64 {
			v.SetFloat(raw)
			return
		}
	}
	l.wrongType(source, key, raw, map[reflect.Kind]string{
		reflect.String: "text in quotes", reflect.Int: "a whole number", reflect.Float64: "a number", reflect.Bool: "true or false",
	}[v.Kind()])
}

func (l *loader) prefix(source, key string, v reflect.Value, raw any) {
	s, _ := raw.(string)
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		v.Set(reflect.ValueOf(netip.PrefixFrom(a, a.BitLen())))
		return
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		l.fault(source, key, `%q is not a network; write for example "10.0.0.0/8" or "::1"`, fmt.Sprint(raw))
		return
	}
	v.Set(reflect.ValueOf(p.Masked()))
}

func (l *loader) list(source, key string, v reflect.Value, raw any) {
	items := reflect.ValueOf(raw)
	if !items.IsValid() {
		return // an empty environment variable: an empty list
	}
	if items.Kind() != reflect.Slice {
		l.wrongType(source, key, raw, "a list in [ ]")
		return
	}
	for i := range items.Len() {
		item := reflect.New(v.Type().Elem()).Elem()
		l.assign(source, fmt.Sprintf("%s[%d]", key, i), item, items.Index(i).Interface())
		v.Set(reflect.Append(v, item))
	}
}

func (l *loader) wrongType(source, key string, raw any, want string) {
	l.fault(source, key, "%v is not %s", raw, want)
}
