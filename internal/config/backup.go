package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

// Backup is the section [backup]: the backups that the server makes by itself. Without
// a folder it makes none.
type Backup struct {
	To          string    `toml:"to"`
	Schedule    TimeOfDay `toml:"schedule"`
	KeepDaily   int       `toml:"keep_daily"`
	KeepWeekly  int       `toml:"keep_weekly"`
	KeepMonthly int       `toml:"keep_monthly"`
	Recipients  []string  `toml:"recipients"` // public keys of age
	MaxAge      Duration  `toml:"max_age"`    // 0: an old one is no problem
}

// On reports whether backups are made.
func (b Backup) On() bool { return b.To != "" }

// TimeOfDay is minutes after midnight, in the machine's time. It is written like 03:30.
type TimeOfDay int

// Hour and Minute are as a clock shows them.
func (t TimeOfDay) Hour() int   { return int(t) / 60 }
func (t TimeOfDay) Minute() int { return int(t) % 60 }

// UnmarshalText reads the hour and the minute.
func (t *TimeOfDay) UnmarshalText(text []byte) error {
	at, err := time.Parse("15:04", string(text))
	if err != nil || len(text) != 5 {
		return errors.New(`is not a time of the day; write for example "03:30"`)
	}
	*t = TimeOfDay(60*at.Hour() + at.Minute())
	return nil
}

// String is what UnmarshalText reads.
func (t TimeOfDay) String() string { return fmt.Sprintf("%02d:%02d", t.Hour(), t.Minute()) }

// checkBackup looks at [backup].
func (s *Settings) checkBackup(report func(string, error)) {
	b := s.Backup
	report("backup.to", checkPath(b.To))
	if data, err := filepath.Abs(s.DataDir); b.On() && err == nil && (overlap(b.To, data) || overlap(followed(b.To), followed(data))) {
		report("backup.to", fmt.Errorf("%q and the data folder overlap; write a folder elsewhere, best on another disk", b.To))
	}
	if !b.On() && (len(b.Recipients) > 0 || b.MaxAge != 0) {
		report("backup.to", errors.New("is empty, so no backups are made, and other settings of [backup] are set; write the folder that backups go to, or leave them out"))
	}
	for key, n := range map[string]int{"backup.keep_daily": b.KeepDaily, "backup.keep_weekly": b.KeepWeekly, "backup.keep_monthly": b.KeepMonthly} {
		report(key, atLeast(n, 0, "0"))
	}
	for i, key := range b.Recipients {
		if !strings.HasPrefix(key, "age1") {
			report(fmt.Sprintf("backup.recipients[%d]", i), fmt.Errorf("%q is no public key of age; write what «podgate backup key» prints", key))
		}
	}
	report("backup.max_age", noneOrWithin(b.MaxAge, 25*hour, 365*day)) // a backup is made every day
}
