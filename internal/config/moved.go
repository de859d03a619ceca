package config

import (
	"maps"
	"reflect"
	"slices"
	"strings"
)

// movedToRegion are settings that once were for all regions and are a region's
// own now.
var movedToRegion = map[string]string{"pods.binds": "binds", "pods.limits": "limits"}

// movedSetting is one that somebody wrote at its old place.
type movedSetting struct {
	source, key string
	raw         any // as TOML decodes it
}

// movedInEnv collects old settings from the environment.
func (l *loader) movedInEnv(env Environ) {
	for _, key := range slices.Sorted(maps.Keys(movedToRegion)) {
		value, ok := env.Lookup(envName(key))
		if !ok {
			continue
		}
		var raw any = value
		if field, _ := fieldByTag(reflect.ValueOf(Region{}), movedToRegion[key]); field.Kind() == reflect.Slice {
			raw = splitList(value)
		}
		l.moved = append(l.moved, movedSetting{envName(key), key, raw})
	}
}

// explainMoved refuses settings at their old place and says what to write
// instead: the region of this machine as it would be with all of them.
func (l *loader) explainMoved() {
	if len(l.moved) == 0 {
		return
	}
	regions := slices.Clone(l.Regions)
	at := slices.IndexFunc(regions, func(r Region) bool { return r.Runtime == runtimeSandbox })
	if at < 0 {
		at, regions = len(regions), append(regions, Default().Regions[0])
	}
	// The environment wins over the file, so what stands there is mended there.
	inEnv := l.Source("region") == envName("region")
	for _, m := range l.moved {
		field, _ := fieldByTag(reflect.ValueOf(&regions[at]).Elem(), movedToRegion[m.key])
		l.set(m.source, m.key, field, m.raw)
		inEnv = inEnv || m.source == envName(m.key)
	}
	text := regionTable(regions[at])
	if inEnv {
		text = regionVariable(regions)
	}
	for i, m := range l.moved {
		if i > 0 {
			text = " what " + l.moved[0].key + " says"
		}
		l.fault(m.source, m.key, "is a setting of each region now; take it out and write%s", text)
	}
}

// regionTable writes a region as the configuration file has it.
func regionTable(r Region) string {
	const indent = "\n      "
	return indent + "[[region]]" + indent + strings.Join(regionLines(r), indent)
}

// regionVariable writes regions as the environment has them.
func regionVariable(regions []Region) string {
	var all []string
	for _, r := range regions {
		all = append(all, "{"+strings.Join(regionLines(r), ", ")+"}")
	}
	return "\n      " + envName("region") + "='[" + strings.Join(all, ", ") + "]'"
}

// regionLines are the settings of a region that are not empty.
func regionLines(r Region) []string {
	var lines []string
	v := reflect.ValueOf(r)
	for f := range fields(v.Type()) {
		field := v.FieldByIndex(f.Index)
		if empty := field.IsZero() || field.Kind() == reflect.Slice && field.Len() == 0; !empty {
			line, _ := tomlLine(f.Tag.Get("toml"), plainValue(field)) // TOML has all of them
			lines = append(lines, line)
		}
	}
	return lines
}
