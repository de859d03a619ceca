package config

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"podgate/pods/wire"
)

// Backup is the section [backup]: the backups that the server makes by itself. Without
// a place for them it makes none.
type Backup struct {
	To          string    `toml:"to"`
	Schedule    TimeOfDay `toml:"schedule"`
	KeepDaily   int       `toml:"keep_daily"`
	KeepWeekly  int       `toml:"keep_weekly"`
	KeepMonthly int       `toml:"keep_monthly"`
	Recipients  []string  `toml:"recipients"` // public keys of age
	MaxAge      Duration  `toml:"max_age"`    // 0: an old one is no problem

	// For a bucket of S3 as To, and for the commands that name one.
	S3Endpoint      string `toml:"s3_endpoint"`
	S3Region        string `toml:"s3_region"`
	S3AccessKey     string `toml:"s3_access_key"`
	S3SecretKeyFile string `toml:"s3_secret_key_file"`
}

// On reports whether backups are made.
func (b Backup) On() bool { return b.To != "" }

// bucketScheme begins the place of backups in a bucket.
const bucketScheme = "s3://"

// IsBucket reports whether backups go to a bucket of S3 and not to a folder.
func IsBucket(to string) bool { return strings.HasPrefix(to, bucketScheme) }

// Bucket takes s3://NAME/PREFIX apart. The prefix, which may be empty, has no slash around
// it.
func Bucket(to string) (name, prefix string, err error) {
	name, prefix, _ = strings.Cut(strings.TrimPrefix(to, bucketScheme), "/")
	prefix = strings.TrimSuffix(prefix, "/")
	if len(name) < 3 || len(prefix) > 500 || !plainBucket(name, ".-") {
		err = errors.New("")
	}
	for part := range strings.SplitSeq(prefix, "/") {
		if prefix != "" && (part == "" || !plainBucket(strings.ToLower(part), "._-")) {
			err = errors.New("")
		}
	}
	if err != nil {
		err = fmt.Errorf("%q is no bucket; write for example \"s3://my-backups/podgate\", of lower-case letters, digits, dots and hyphens, and behind the slash also capitals and underscores", to)
	}
	return name, prefix, err
}

// plainBucket accepts names that every storage takes, with the signs of more.
func plainBucket(s, more string) bool {
	return !strings.Contains(s, "..") && s != "." && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789"+more) == ""
}

// BucketReady says what of the settings for a bucket is missing.
func (b Backup) BucketReady() error {
	var missing []string
	for key, value := range map[string]string{"backup.s3_endpoint": b.S3Endpoint, "backup.s3_access_key": b.S3AccessKey, "backup.s3_secret_key_file": b.S3SecretKeyFile} {
		if value == "" {
			missing = append(missing, key)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	slices.Sort(missing)
	return fmt.Errorf("a bucket needs %s too; write what its storage gives you", strings.Join(missing, ", "))
}

// checkEndpoint accepts https anywhere, and http to this machine.
func checkEndpoint(address string) error {
	if address == "" {
		return nil
	}
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Host == "" || u.Opaque != "" || !plainASCII(address) || u.Scheme != "https" && u.Scheme != "http":
		return fmt.Errorf("%q is not a web address; write for example \"https://s3.eu-central-1.amazonaws.com\"", address)
	case u.User != nil || strings.TrimSuffix(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		return fmt.Errorf("is more than scheme and host; write %q, and the bucket into backup.to", u.Scheme+"://"+u.Host)
	case u.Scheme == "http" && !IsLoopback(u.Hostname()):
		return fmt.Errorf("would send everybody's data in clear over the network to %s; write https://", u.Host)
	}
	return nil
}

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
	if IsBucket(b.To) {
		_, _, err := Bucket(b.To)
		report("backup.to", cmp.Or(err, b.BucketReady()))
	} else {
		report("backup.to", checkPath(b.To))
	}
	report("backup.s3_endpoint", checkEndpoint(b.S3Endpoint))
	report("backup.s3_secret_key_file", checkPath(b.S3SecretKeyFile))
	if !plainASCII(b.S3AccessKey) || strings.ContainsAny(b.S3AccessKey, "/,") {
		report("backup.s3_access_key", fmt.Errorf("%q is no access key; write what the storage gives you", b.S3AccessKey))
	}
	if !wire.Label(b.S3Region) {
		report("backup.s3_region", fmt.Errorf("%q is no region; write for example \"eu-central-1\", or \"us-east-1\" where the storage has none", b.S3Region))
	}
	if data, err := filepath.Abs(s.DataDir); b.On() && !IsBucket(b.To) && err == nil && (overlap(b.To, data) || overlap(followed(b.To), followed(data))) {
		report("backup.to", fmt.Errorf("%q and the data folder overlap; write a folder elsewhere, best on another disk", b.To))
	}
	if !b.On() && (len(b.Recipients) > 0 || b.MaxAge != 0) {
		report("backup.to", errors.New("is empty, so no backups are made, and other settings of [backup] are set; write the folder or the bucket that backups go to, or leave them out"))
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
