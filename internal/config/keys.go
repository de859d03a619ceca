package config

import (
	"fmt"
	"reflect"
	"strings"
)

// configKeys lists every key that can be set on its own, in the order of the
// struct. A list of tables is one key.
func configKeys() []string {
	return keysBelow("", reflect.TypeFor[Config]())
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
func fieldOf(c *Config, key string) reflect.Value {
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
	for f := range fields(reflect.TypeFor[Config]()) {
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
	if near := Nearest(plain, all); near != "" {
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

// Nearest returns the candidate with the fewest letters to change, when these
// are few enough to be a slip.
func Nearest(word string, candidates []string) string {
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
