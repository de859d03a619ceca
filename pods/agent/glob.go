package agent

import (
	"path"
	"slices"
	"strings"

	"podgate/pods/wire"
)

// maxGlobs is how many patterns the alternatives of one glob may come to.
const maxGlobs = 32

// glob is a set of patterns, of which one must match. None matches all. Without a
// slash a pattern is about the last name of a path, otherwise about all of it from
// where the walk began. ** stands for any number of names, {a,b} for either.
type glob [][]string

// parseGlob reads a glob, "" being none.
func parseGlob(s string) (glob, error) {
	if s == "" {
		return nil, nil
	}
	if len(s) > wire.MaxQuery || strings.ContainsRune(s, 0) {
		return nil, badRequest("glob must be text of at most %d bytes", wire.MaxQuery)
	}
	all, err := alternatives(s)
	if err != nil {
		return nil, err
	}
	var g glob
	for _, pattern := range all {
		if !strings.Contains(pattern, "/") {
			pattern = "**/" + pattern
		}
		parts := strings.Split(strings.Trim(pattern, "/"), "/")
		parts = slices.CompactFunc(parts, func(a, b string) bool { return a == "**" && b == "**" })
		for _, p := range parts {
			if _, err := path.Match(p, ""); err != nil {
				return nil, badRequest("glob %.100q cannot be read; use one such as *.js or src/**/*.{ts,tsx}", s)
			}
		}
		g = append(g, parts)
	}
	return g, nil
}

// alternatives replaces each {a,b} by one pattern for a and one for b.
func alternatives(s string) ([]string, error) {
	all := []string{s}
	for i := 0; i < len(all); i++ {
		before, rest, open := strings.Cut(all[i], "{")
		if !open {
			continue
		}
		inner, after, closed := strings.Cut(rest, "}")
		if !closed || strings.Contains(inner, "{") {
			return nil, badRequest("glob %.100q has braces that are not closed, or that lie in others", s)
		}
		all = slices.Delete(all, i, i+1)
		for _, choice := range strings.Split(inner, ",") {
			all = append(all, before+choice+after)
		}
		i--
		if len(all) > maxGlobs {
			return nil, badRequest("glob %.100q has more than %d alternatives", s, maxGlobs)
		}
	}
	return all, nil
}

func (g glob) match(rel string) bool {
	if g == nil {
		return true
	}
	names := strings.Split(rel, "/")
	return slices.ContainsFunc(g, func(parts []string) bool { return matchParts(parts, names) })
}

// matchParts goes back to the last ** only, which is enough and never long.
func matchParts(parts, names []string) bool {
	p, n, star, from := 0, 0, -1, 0
	for n < len(names) {
		switch {
		case p < len(parts) && parts[p] == "**":
			star, from = p, n
			p++
			continue
		case p < len(parts):
			if ok, _ := path.Match(parts[p], names[n]); ok { // the pattern was checked
				p, n = p+1, n+1
				continue
			}
		}
		if star < 0 {
			return false
		}
		from++
		p, n = star+1, from
	}
	for p < len(parts) && parts[p] == "**" {
		p++
	}
	return p == len(parts)
}
