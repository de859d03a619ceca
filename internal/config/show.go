package config

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/BurntSushi/toml"
)

// Setting is one effective value, for «config show».
type Setting struct {
	Key    string `json:"key"`
	Value  any    `json:"value"`
	Source string `json:"source"`
}

// List returns every setting with where it came from, in the order of the
// struct.
func (s *Settings) List() []Setting {
	var list []Setting
	for _, key := range configKeys() {
		list = append(list, Setting{key, plainValue(fieldOf(&s.Config, key)), s.Source(key)})
	}
	return list
}

// plainValue turns a field into what JSON and TOML encode alike.
func plainValue(v reflect.Value) any {
	switch {
	case v.Type().Implements(reflect.TypeFor[fmt.Stringer]()):
		return v.Interface().(fmt.Stringer).String()
	case v.Kind() == reflect.Slice:
		list := make([]any, v.Len())
		for i := range list {
			list[i] = plainValue(v.Index(i))
		}
		return list
	case v.Kind() == reflect.Struct:
		table := map[string]any{}
		for f := range fields(v.Type()) {
			table[f.Tag.Get("toml")] = plainValue(v.FieldByIndex(f.Index))
		}
		return table
	}
	return v.Interface()
}

// Render writes the settings as a configuration file that loads to the same
// values, each line with its source.
func (s *Settings) Render() (string, error) {
	var b strings.Builder
	section := ""
	for _, line := range s.List() {
		if i := strings.LastIndexByte(line.Key, '.'); i > 0 && line.Key[:i] != section {
			section = line.Key[:i]
			fmt.Fprintf(&b, "\n[%s]\n", section)
		}
		text, err := renderSetting(line, fieldOf(&s.Config, line.Key))
		if err != nil {
			return "", err
		}
		b.WriteString(text)
	}
	return b.String(), nil
}

func renderSetting(s Setting, v reflect.Value) (string, error) {
	if !isTableList(v.Type()) {
		text, err := tomlLine(lastPart(s.Key), s.Value)
		return fmt.Sprintf("%-40s # %s\n", text, s.Source), err
	}
	var b strings.Builder
	for i := range v.Len() {
		fmt.Fprintf(&b, "\n[[%s]] # %s\n", s.Key, s.Source)
		for f := range fields(v.Type().Elem()) {
			text, err := tomlLine(f.Tag.Get("toml"), plainValue(v.Index(i).FieldByIndex(f.Index)))
			if err != nil {
				return "", err
			}
			b.WriteString(text + "\n")
		}
	}
	return b.String(), nil
}

func tomlLine(name string, value any) (string, error) {
	raw, err := toml.Marshal(map[string]any{name: value})
	return strings.TrimRight(string(raw), "\n"), err
}
