package page

import (
	"fmt"
	"html/template"
	"strings"
	"time"
)

// Plural is a number with its word.
func Plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// BytesWords is a size in the unit people use for memory.
func BytesWords(n int64) string {
	switch {
	case n >= 10<<30:
		return fmt.Sprintf("%d GB", n>>30)
	case n >= 1<<30:
		return strings.Replace(fmt.Sprintf("%.1f GB", float64(n)/(1<<30)), ".0 ", " ", 1)
	case n >= 1<<20:
		return fmt.Sprintf("%d MB", n>>20)
	}
	return "under 1 MB"
}

// Ago is how long before now t was, in one unit.
func Ago(now, t time.Time) string {
	d := now.Sub(t)
	switch {
	case d < time.Minute:
		return "just now"
	case d < time.Hour:
		return Plural(int(d/time.Minute), "minute ago", "minutes ago")
	case d < 24*time.Hour:
		return Plural(int(d/time.Hour), "hour ago", "hours ago")
	case d < 60*24*time.Hour:
		return Plural(int(d/(24*time.Hour)), "day ago", "days ago")
	}
	return "on " + t.UTC().Format("2 January 2006")
}

// Lasts is a duration in the largest unit that fits it whole.
func Lasts(d time.Duration) string {
	switch {
	case d >= 48*time.Hour && d%(24*time.Hour) == 0:
		return fmt.Sprintf("%d days", d/(24*time.Hour))
	case d >= time.Hour && d%time.Hour == 0:
		return Plural(int(d/time.Hour), "hour", "hours")
	case d >= time.Minute:
		return Plural(int(d/time.Minute), "minute", "minutes")
	}
	return Plural(int(d/time.Second), "second", "seconds")
}

func funcs(a *assets) template.FuncMap {
	return template.FuncMap{
		"asset":  func(name string) string { return "/assets/" + a.hashed[name] },
		"plural": Plural,
		"bytes":  BytesWords,
		"clock":  func(t time.Time) string { return t.UTC().Format("15:04:05") },
		"second": func(t time.Time) string { return t.UTC().Format("2 January 2006, 15:04:05 UTC") },
		"lasts":  Lasts,
		"stamp":  func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"date":   func(t time.Time) string { return t.UTC().Format("2 January 2006") },
		"full":   func(t time.Time) string { return t.UTC().Format("2 January 2006, 15:04 UTC") },
	}
}
