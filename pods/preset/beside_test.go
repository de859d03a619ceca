package preset

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestBeside(t *testing.T) {
	t.Parallel()
	many := func(line string) string {
		var b strings.Builder
		for i := range maxBeside + 1 {
			fmt.Fprintf(&b, line+"\n", i)
		}
		return b.String()
	}
	for _, c := range []struct{ procfile, want, err string }{
		{"", "", ""},
		{"web: a\nrelease: b\n# note: c\nempty:\n", "", ""},
		{"web: a\nmailer: b --to=x:y\n clock_2 : c\nmailer: d", "mailer=b --to=x:y clock_2=c", ""},
		{"cron: @every 5m a b", "@every 5m=a b", ""},
		{"cron: @daily  a\ncron: 0 3 * * *   a  b\ncron: */5 0 * * 1-5 c", "@daily=a 0 3 * * *=a  b */5 0 * * 1-5=c", ""},
		{"cron: @every 5m", "", "has no command"},
		{"cron: @daily", "", "has no command"},
		{"cron: 0 3 * * *", "", "has no command"},
		{"cron: @fortnightly a", "", "cannot be read"},
		{"cron: @every often a", "", "cannot be read"},
		{"cron: 61 * * * * a", "", "cannot be read"},
		{"cron: TZ=UTC 0 3 * * * a", "", "cannot be read"},
		{"cron: 0 0 30 2 * a", "", "never comes"},
		{many("w%d: a"), "", "9 workers and 0 cron lines; at most 8"},
		{many("cron: @every %dm a"), "", "0 workers and 9 cron lines; at most 8"},
		{"w: \x00", "", "NUL byte"},
	} {
		app := App{Dir: folder(t, map[string]string{"Procfile": c.procfile})}
		b, err := preset(t, "python").Beside(app)
		var got []string
		for _, w := range b.Workers {
			got = append(got, w.Name+"="+w.Shell)
		}
		for _, c := range b.Crons {
			got = append(got, c.When+"="+c.Shell)
		}
		if strings.Join(got, " ") != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%q: %q, %v; want %q, %q", c.procfile, got, err, c.want, c.err)
		}
		if _, err := preset(t, "python").Install(app); (err == nil) != (c.err == "") {
			t.Errorf("%q: the install says %v", c.procfile, err)
		}
		if b, err := preset(t, "static").Beside(app); err != nil || len(b.Workers)+len(b.Crons) > 0 {
			t.Errorf("beside static files: %+v, %v", b, err)
		}
	}
}

// A line comes at the times it says, in UTC.
func TestCronTimes(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 29, 0, 30, 0, 0, time.UTC)
	for line, want := range map[string]time.Time{
		"@every 5m a":  at.Add(5 * time.Minute),
		"0 3 * * * a":  at.Add(2*time.Hour + 30*time.Minute),
		"@monthly a":   time.Date(2026, 4, 1, 0, 0, 0, 0, time.UTC),
		"0 0 29 2 * a": time.Date(2028, 2, 29, 0, 0, 0, 0, time.UTC),
	} {
		c, err := parseCron(line)
		if err != nil || !c.Schedule.Next(at).Equal(want) {
			t.Errorf("%s: %v, %v; want %v", line, c.Schedule.Next(at), err, want)
		}
	}
}

func FuzzCron(f *testing.F) {
	for _, s := range []string{"", "@every 5m a", "0 3 * * * a", "@daily a", "TZ=UTC 1 2 3 4 5 6", "TZ= a b c d e", "@TZ= a", "@every  1h x @every"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		line = strings.TrimSpace(line)
		if c, err := parseCron(line); err == nil && (c.Shell == "" || !strings.HasSuffix(line, c.Shell) || c.Schedule == nil) {
			t.Errorf("%q: %+v", line, c)
		}
	})
}
