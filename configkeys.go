package main

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
)

// configKeys lists every key that can be set on its own, in the order of the
// struct. A list of tables is one key.
func configKeys() []string {
	return keysBelow("", reflect.TypeFor[config]())
}

func keysBelow(prefix string, t reflect.Type) []string {
	var keys []string
	for f := range fields(t) {
		key := prefix + f.Tag.Get("toml")
		if f.Type.Kind() == reflect.Struct && !reflect.PointerTo(f.Type).Implements(unmarshaler) {
			keys = append(keys, keysBelow(key+".", f.Type)...)
		} else {
			keys = append(keys, key)
		}
	}
	return keys
}

func fields(t reflect.Type) func(func(reflect.StructField) bool) {
	return func(yield func(reflect.StructField) bool) {
		for i := range t.NumField() {
			if !yield(t.Field(i)) {
				return
			}
		}
	}
}

// fieldOf returns the field of a key that configKeys lists.
func fieldOf(c *config, key string) reflect.Value {
	v := reflect.ValueOf(c).Elem()
	for name := range strings.SplitSeq(key, ".") {
		field, ok := fieldByTag(v, name)
		if !ok {
			panic("no such setting: " + key) // keys come from configKeys
		}
		v = field
	}
	return v
}

func fieldByTag(v reflect.Value, name string) (reflect.Value, bool) {
	for f := range fields(v.Type()) {
		if f.Tag.Get("toml") == name {
			return v.FieldByIndex(f.Index), true
		}
	}
	return reflect.Value{}, false
}

func isTableList(t reflect.Type) bool {
	return t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct && !reflect.PointerTo(t.Elem()).Implements(unmarshaler)
}

// tableKeys lists the keys inside lists of tables, such as plan.memory.
func tableKeys() []string {
	var keys []string
	for f := range fields(reflect.TypeFor[config]()) {
		if isTableList(f.Type) {
			keys = append(keys, keysBelow(f.Tag.Get("toml")+".", f.Type.Elem())...)
		}
	}
	return keys
}

// suggestion names the setting that somebody who wrote key most likely meant.
func suggestion(key string) string {
	plain := withoutIndex(key)
	all := append(configKeys(), tableKeys()...)
	for _, k := range all {
		if lastPart(k) == lastPart(plain) && k != plain {
			return fmt.Sprintf("; did you mean %s?", k)
		}
	}
	if near := nearest(plain, all); near != "" {
		return fmt.Sprintf("; did you mean %s?", near)
	}
	return "; config.example.toml lists all"
}

func lastPart(key string) string { return key[strings.LastIndexByte(key, '.')+1:] }

// withoutIndex turns plan[2].memory into plan.memory.
func withoutIndex(key string) string {
	open, closing := strings.IndexByte(key, '['), strings.IndexByte(key, ']')
	if open < 0 || closing < open {
		return key
	}
	return key[:open] + key[closing+1:]
}

// nearest returns the candidate with the fewest letters to change, when these
// are few enough to be a slip.
func nearest(word string, candidates []string) string {
	best, fewest := "", 1+len(word)/4
	for _, c := range candidates {
		if d := distance(word, c); d <= fewest && (best == "" || d < fewest) {
			best, fewest = c, d
		}
	}
	return best
}

// distance is the number of letters to insert, delete or replace
// (Levenshtein). Long words are not compared: nobody mistypes those.
func distance(a, b string) int {
	const longest = 64
	if len(a) > longest || len(b) > longest {
		return longest
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}

// setting is one effective value, for «config show».
type setting struct {
	Key    string `json:"key"`
	Value  any    `json:"value"`
	Source string `json:"source"`
}

// list returns every setting with where it came from, in the order of the
// struct.
func (s *settings) list() []setting {
	var list []setting
	for _, key := range configKeys() {
		list = append(list, setting{key, plainValue(fieldOf(&s.config, key)), s.source(key)})
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

// render writes the settings as a configuration file that loads to the same
// values, each line with its source.
func (s *settings) render() (string, error) {
	var b strings.Builder
	section := ""
	for _, line := range s.list() {
		if i := strings.LastIndexByte(line.Key, '.'); i > 0 && line.Key[:i] != section {
			section = line.Key[:i]
			fmt.Fprintf(&b, "\n[%s]\n", section)
		}
		text, err := renderSetting(line, fieldOf(&s.config, line.Key))
		if err != nil {
			return "", err
		}
		b.WriteString(text)
	}
	return b.String(), nil
}

func renderSetting(s setting, v reflect.Value) (string, error) {
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

// oneOf says which words a setting accepts, unless it has one of them.
func oneOf(value string, words []string) error {
	if slices.Contains(words, value) {
		return nil
	}
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = fmt.Sprintf("%q", w)
	}
	return fmt.Errorf("%q is not one of the choices; write %s", value, strings.Join(quoted, " or "))
}
