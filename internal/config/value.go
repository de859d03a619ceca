package config

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Duration is a time span that is written like 10m, 24h or 30d.
type Duration time.Duration

const (
	minute = Duration(time.Minute)
	hour   = Duration(time.Hour)
	day    = 24 * hour
)

// UnmarshalText reads what time.ParseDuration does, and whole days as 30d.
func (d *Duration) UnmarshalText(text []byte) error {
	s := string(text)
	if number, ok := strings.CutSuffix(s, "d"); ok {
		days, err := strconv.ParseUint(number, 10, 16)
		if err != nil {
			return errors.New(`is not a duration; write for example "10m", "24h" or "30d"`)
		}
		*d = Duration(days) * day
		return nil
	}
	parsed, err := time.ParseDuration(s)
	if err != nil {
		return errors.New(`is not a duration; write for example "10m", "24h" or "30d"`)
	}
	*d = Duration(parsed)
	return nil
}

// MarshalText writes the shortest form that UnmarshalText reads back.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

func (d Duration) String() string {
	switch {
	case d >= day && d%day == 0:
		return fmt.Sprintf("%dd", d/day)
	case d >= hour && d%hour == 0:
		return fmt.Sprintf("%dh", d/hour)
	case d >= minute && d%minute == 0:
		return fmt.Sprintf("%dm", d/minute)
	}
	return time.Duration(d).String()
}

// Size is a number of bytes that is written like 256MiB or 1GiB.
type Size int64

const (
	kibibyte = Size(1) << 10
	mebibyte = Size(1) << 20
	gibibyte = Size(1) << 30
	tebibyte = Size(1) << 40
)

// Rate is a number of bytes a second that is written like 20MiB/s. 0, written as
// nothing, is no bound.
type Rate int64

// UnmarshalText reads a size a second.
func (r *Rate) UnmarshalText(text []byte) error {
	if *r = 0; len(text) == 0 {
		return nil
	}
	number, ok := strings.CutSuffix(string(text), "/s")
	if !ok || (*Size)(r).UnmarshalText([]byte(number)) != nil {
		return errors.New(`is not a rate; write a size a second, such as "20MiB/s", or nothing for no bound`)
	}
	return nil
}

// MarshalText writes the shortest form that UnmarshalText reads back.
func (r Rate) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

func (r Rate) String() string {
	if r == 0 {
		return ""
	}
	return Size(r).String() + "/s"
}

// sizeUnits is ordered from large to small, so that String finds the shortest
// form first.
var sizeUnits = []struct {
	name  string
	bytes Size
}{{"TiB", tebibyte}, {"GiB", gibibyte}, {"MiB", mebibyte}, {"KiB", kibibyte}}

// UnmarshalText reads a whole number with a binary unit. Units of a thousand
// are refused rather than guessed at: people write MB and mean either.
func (s *Size) UnmarshalText(text []byte) error {
	for _, u := range sizeUnits {
		number, ok := strings.CutSuffix(string(text), u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(strings.TrimSpace(number), 10, 20)
		if err != nil || n > uint64(1<<62/u.bytes) {
			break
		}
		*s = Size(n) * u.bytes
		return nil
	}
	return errors.New(`is not a size; write a whole number with a unit, such as "256MiB" or "1GiB"`)
}

// MarshalText writes the shortest form that UnmarshalText reads back.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

func (s Size) String() string {
	for _, u := range sizeUnits {
		if s >= u.bytes && s%u.bytes == 0 {
			return fmt.Sprintf("%d%s", s/u.bytes, u.name)
		}
	}
	return fmt.Sprintf("%d bytes", int64(s))
}
